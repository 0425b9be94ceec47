
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * The scanner behind a pipe, for poison.py.  On stdin: request bodies, each
 * behind its length in four bytes, lowest first.  On stdout, for each, one
 * such piece again:
 *
 *     refused: FIELD, ": ", WHY
 *     accepted: "+", src, dest, tag, label or "-", kind, with blanks between
 *               them, src and dest as ROLE:UUID; and, each on a line of its
 *               own, the JSON of src's name, of dest's name, of the message
 */


#include <stdio.h>
#include <stdlib.h>
#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_scan.h"


static size_t driver_read(u_char **body);
static void driver_write(const u_char *p, size_t len);
static u_char *driver_id(u_char *p, ngx_http_academy_id_t *id);
static u_char *driver_str(u_char *p, const u_char *data, size_t len);


int
main(void)
{
    u_char                         *body, *out, *p;
    size_t                          len;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    for ( ;; ) {
        len = driver_read(&body);

        if (body == NULL) {
            return 0;
        }

        out = malloc(3 * len + 1000);

        if (out == NULL) {
            return 1;
        }

        p = out;

        if (ngx_http_academy_scan_put(body, len, (size_t) -1, &env, &err)
            != NGX_OK)
        {
            p += sprintf((char *) p, "%s: %s", err.field, err.why);

        } else {
            p = driver_str(p, (u_char *) "+ ", 2);
            p = driver_id(p, &env.src.id);
            p = driver_id(p, &env.dest.id);
            p = ngx_http_academy_uuid_print(p, env.tag);
            *p++ = ' ';

            if (env.labeled) {
                p = ngx_http_academy_uuid_print(p, env.label);

            } else {
                *p++ = '-';
            }

            p += sprintf((char *) p, " %s\n",
                         env.request ? "request" : "response");

            p = driver_str(p, env.src.name.data, env.src.name.len);
            *p++ = '\n';
            p = driver_str(p, env.dest.name.data, env.dest.name.len);
            *p++ = '\n';
            p = driver_str(p, env.json.data, env.json.len);
        }

        driver_write(out, p - out);

        free(out);
        free(body);
    }
}


static size_t
driver_read(u_char **body)
{
    u_char  head[4];
    size_t  len;

    *body = NULL;

    if (fread(head, 1, 4, stdin) != 4) {
        return 0;
    }

    len = head[0] | head[1] << 8 | head[2] << 16 | (size_t) head[3] << 24;

    *body = malloc(len);

    if (*body == NULL || fread(*body, 1, len, stdin) != len) {
        exit(1);
    }

    return len;
}


static void
driver_write(const u_char *p, size_t len)
{
    u_char  head[4];

    head[0] = (u_char) len;
    head[1] = (u_char) (len >> 8);
    head[2] = (u_char) (len >> 16);
    head[3] = (u_char) (len >> 24);

    fwrite(head, 1, 4, stdout);
    fwrite(p, 1, len, stdout);
    fflush(stdout);
}


static u_char *
driver_id(u_char *p, ngx_http_academy_id_t *id)
{
    p += sprintf((char *) p, "%s:",
                 id->role == NGX_HTTP_ACADEMY_USER ? "user" : "agent");
    p = ngx_http_academy_uuid_print(p, id->uid);
    *p++ = ' ';

    return p;
}


static u_char *
driver_str(u_char *p, const u_char *data, size_t len)
{
    memcpy(p, data, len);

    return p + len;
}
