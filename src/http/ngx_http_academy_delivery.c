
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_delivery.h"


/*
 * What the error log is told of messages.  An event stream brings many of them
 * and has one line in the access log, and nothing there tells when a message
 * was acknowledged.  Each header is read from the store once more, which costs
 * nobody anything who has not asked for these lines.
 */


static ngx_int_t ngx_http_academy_delivery_header(
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_http_academy_envelope_t *env);
static size_t ngx_http_academy_delivery_copy(
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, u_char *buf, size_t size);


void
ngx_http_academy_delivery_log(ngx_log_t *log,
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n, const char *what)
{
    u_char                       tag[NGX_HTTP_ACADEMY_UUID_LEN],
                                 src[NGX_HTTP_ACADEMY_UUID_LEN],
                                 dest[NGX_HTTP_ACADEMY_UUID_LEN];
    ngx_uint_t                   i;
    ngx_http_academy_envelope_t  env;

    for (i = 0; i < n; i++) {

        if (ngx_http_academy_delivery_header(exchange, &delivery[i], &env)
            != NGX_OK)
        {
            ngx_log_error(NGX_LOG_NOTICE, log, 0,
                          "message %s, of %uz bytes", what, delivery[i].size);
            continue;
        }

        ngx_http_academy_uuid_print(tag, env.tag);
        ngx_http_academy_uuid_print(src, env.src.id.uid);
        ngx_http_academy_uuid_print(dest, env.dest.id.uid);

        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "message %s, tag: %*s, kind: %s, mailbox: %*s, "
                      "peer: %*s, size: %uz",
                      what, NGX_HTTP_ACADEMY_UUID_LEN, tag,
                      env.request ? "request" : "response",
                      NGX_HTTP_ACADEMY_UUID_LEN, dest,
                      NGX_HTTP_ACADEMY_UUID_LEN, src, delivery[i].size);
    }
}


/* NGX_OK, with env whose names are not to be used, or NGX_ERROR */

static ngx_int_t
ngx_http_academy_delivery_header(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_http_academy_envelope_t *env)
{
    size_t         len;
    u_char        *p;
    ngx_int_t      rc;

    static u_char  head[NGX_HTTP_ACADEMY_HEAD_SIZE];

    len = ngx_http_academy_delivery_copy(exchange, delivery, head,
                                         sizeof(head));

    rc = ngx_http_academy_scan_header(head, len, env);

    if (rc == NGX_OK || delivery->size <= sizeof(head)) {
        return rc;
    }

    p = ngx_alloc(delivery->size, ngx_cycle->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    len = ngx_http_academy_delivery_copy(exchange, delivery, p,
                                         delivery->size);

    rc = ngx_http_academy_scan_header(p, len, env);

    ngx_free(p);

    return rc;
}


/* the first bytes of a message; whoever reads it stays where he is */

static size_t
ngx_http_academy_delivery_copy(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, u_char *buf, size_t size)
{
    u_char                       *p, *last;
    ngx_str_t                     piece;
    ngx_http_academy_delivery_t   from;

    from = *delivery;
    from.next = from.message;

    p = buf;
    last = buf + size;

    while (p < last
           && exchange->store->piece(exchange, &from, &piece) == NGX_OK)
    {
        p = ngx_cpymem(p, piece.data,
                       ngx_min(piece.len, (size_t) (last - p)));
    }

    return p - buf;
}
