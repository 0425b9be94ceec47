
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_auth.h"


/*
 * The bearer token of a request, as RFC 6750, 2.1 writes it.  All headers are
 * looked at: nginx before 1.23 keeps the first Authorization of several, and
 * something in front of it may have looked at the last.
 */


static ngx_int_t ngx_http_academy_bearer_parse(ngx_str_t *value,
    ngx_str_t *token);


/* letters, digits and -._~+/: a byte each, for a token is long */

static u_char  ngx_http_academy_bearer_chars[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0,
    0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1,
    0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
};


ngx_int_t
ngx_http_academy_bearer(ngx_http_request_t *r, ngx_str_t *token)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header, *found;

    found = NULL;
    part = &r->headers_in.headers.part;
    header = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        if (header[i].key.len != sizeof("Authorization") - 1
            || ngx_strncasecmp(header[i].key.data, (u_char *) "Authorization",
                               sizeof("Authorization") - 1)
               != 0)
        {
            continue;
        }

        if (found) {
            return NGX_ABORT;
        }

        found = &header[i];
    }

    if (found == NULL) {
        return NGX_DECLINED;
    }

    return ngx_http_academy_bearer_parse(&found->value, token);
}


static ngx_int_t
ngx_http_academy_bearer_parse(ngx_str_t *value, ngx_str_t *token)
{
    u_char  *p, *last;

    p = value->data;
    last = p + value->len;

    if (value->len < sizeof("Bearer ") - 1
        || ngx_strncasecmp(p, (u_char *) "Bearer ", sizeof("Bearer ") - 1)
           != 0)
    {
        return NGX_ABORT;
    }

    for (p += sizeof("Bearer ") - 1; p < last && *p == ' '; p++) {
        /* void */
    }

    token->data = p;
    token->len = last - p;

    return token->len ? NGX_OK : NGX_ABORT;
}


ngx_int_t
ngx_http_academy_bearer_check(ngx_str_t *token)
{
    u_char  *p, *last;

    p = token->data;
    last = p + token->len;

    while (p < last && ngx_http_academy_bearer_chars[*p]) {
        p++;
    }

    if (p == token->data) {
        return NGX_ABORT;
    }

    for ( /* void */ ; p < last; p++) {
        if (*p != '=') {
            return NGX_ABORT;
        }
    }

    return NGX_OK;
}
