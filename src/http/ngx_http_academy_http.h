
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_HTTP_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_HTTP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_module.h"


/* what a route reads from its request's body */

#define NGX_HTTP_ACADEMY_MAILBOX     0x01
#define NGX_HTTP_ACADEMY_CLASSES     0x02
#define NGX_HTTP_ACADEMY_GROUP       0x04
#define NGX_HTTP_ACADEMY_TIMEOUT     0x08
#define NGX_HTTP_ACADEMY_CLASS       0x10
#define NGX_HTTP_ACADEMY_MESSAGE     0x20

/* bytes; the body of any request but that of PUT /message */

#define NGX_HTTP_ACADEMY_BODY_SIZE   65536


struct ngx_http_academy_route_s {
    ngx_uint_t                       method;
    ngx_uint_t                       fields;
    size_t                           op;      /* its offset in the store */

    /*
     * answers a call that has ended: what to finalize the request with, or
     * NGX_DECLINED if it is not to be finalized now
     */
    ngx_int_t                      (*answer)(ngx_http_request_t *r,
                                         ngx_http_academy_call_t *call);

    ngx_str_t                        name;
};


/* the n-th line, from 0 on, with that name in a request's header; or NULL */

static ngx_inline ngx_str_t *
ngx_http_academy_request_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_uint_t n)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header;

    part = &r->headers_in.headers.part;
    header = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        if (header[i].key.len == name->len
            && ngx_strncasecmp(header[i].key.data, name->data, name->len) == 0
            && n-- == 0)
        {
            return &header[i].value;
        }
    }
}


/* ngx_http_academy_route.c */

ngx_int_t ngx_http_academy_handler(ngx_http_request_t *r);

/* what a request asks for, whether it may or not; NULL: there is no such */
const ngx_http_academy_route_t *ngx_http_academy_route(ngx_http_request_t *r);

/* waits for something, or for the client's end: NGX_OK, or NGX_ERROR */
ngx_int_t ngx_http_academy_park(ngx_http_request_t *r);

/* a place to keep what this module knows of a request, or NULL */
ngx_http_academy_ctx_t *ngx_http_academy_get_ctx(ngx_http_request_t *r);


/* ngx_http_academy_body.c */

/*
 * The whole body of a request, in one piece that may be overwritten: NGX_OK,
 * or NGX_ERROR without memory or if its file cannot be read.
 */
ngx_int_t ngx_http_academy_body(ngx_http_request_t *r, ngx_str_t *body);

/*
 * Reads what the route asks for into ctx->call, whose strings are then in the
 * request's pool or, of a message, in the body.  Returns NGX_OK, NGX_ERROR, or
 * an HTTP status with the text of a refusal.
 */
ngx_int_t ngx_http_academy_fields(ngx_http_request_t *r, ngx_str_t *body,
    ngx_str_t *text);


/* ngx_http_academy_answer.c: all return what to finalize a request with */

ngx_int_t ngx_http_academy_answer_empty(ngx_http_request_t *r);
ngx_int_t ngx_http_academy_answer_json(ngx_http_request_t *r, ngx_buf_t *b);
ngx_int_t ngx_http_academy_answer_text(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *text);
ngx_int_t ngx_http_academy_answer_result(ngx_http_request_t *r,
    ngx_http_academy_result_e result);
ngx_int_t ngx_http_academy_answer_timeout(ngx_http_request_t *r);
ngx_int_t ngx_http_academy_answer_owing(ngx_http_request_t *r);

/* of a route each */
ngx_int_t ngx_http_academy_answer_done(ngx_http_request_t *r,
    ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_answer_status(ngx_http_request_t *r,
    ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_answer_shares(ngx_http_request_t *r,
    ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_answer_heartbeat(ngx_http_request_t *r,
    ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_answer_stats(ngx_http_request_t *r,
    ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_answer_discover(ngx_http_request_t *r,
    ngx_http_academy_call_t *call);

/* the figures: counts for the location's exchange */
void ngx_http_academy_tell(ngx_http_request_t *r,
    ngx_http_academy_counter_e counter);

/* adds a header; key and value must live as long as the request */
ngx_int_t ngx_http_academy_header(ngx_http_request_t *r, char *key,
    ngx_str_t *value);


/* ngx_http_academy_poll.c */

ngx_int_t ngx_http_academy_answer_message(ngx_http_request_t *r,
    ngx_http_academy_call_t *call);

/* ends a call that is pending ctx->timeout after its mailbox had nothing */
ngx_int_t ngx_http_academy_poll_timer(ngx_http_request_t *r);
void ngx_http_academy_poll_waits(ngx_http_academy_call_t *call);

/* the figures: of a call that is done, and of any end of a poll */
void ngx_http_academy_poll_count(ngx_http_academy_ctx_t *ctx,
    ngx_http_academy_result_e result);
void ngx_http_academy_poll_ends(ngx_http_academy_ctx_t *ctx,
    ngx_http_academy_counter_e counter);


/* ngx_http_academy_stream.c */

/* NGX_DECLINED once there is a stream: it finalizes or frees the request */

ngx_int_t ngx_http_academy_answer_listen(ngx_http_request_t *r,
    ngx_http_academy_call_t *call);


/* ngx_http_academy_access.c */

ngx_int_t ngx_http_academy_access_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_academy_precontent_handler(ngx_http_request_t *r);

/* NGX_OK, with ctx->caller known; NGX_DECLINED: no id; or NGX_ERROR */
ngx_int_t ngx_http_academy_identify(ngx_http_request_t *r,
    ngx_http_academy_ctx_t *ctx);

/* answers 401, and 403 for a token that is not valid any more */
ngx_int_t ngx_http_academy_unauthorized(ngx_http_request_t *r);
ngx_int_t ngx_http_academy_invalid(ngx_http_request_t *r);

/*
 * how long a token with this end is valid; days, if that is longer or if it
 * has none (0): to be asked again then
 */
ngx_msec_t ngx_http_academy_token_left(time_t expires);


/* ngx_http_academy_status.c: of a location that shows an exchange */

ngx_int_t ngx_http_academy_status_handler(ngx_http_request_t *r);

/* whether it is for the page alone, by who has no token yet to show */
ngx_uint_t ngx_http_academy_status_asks(ngx_http_request_t *r);


#endif /* _NGX_HTTP_ACADEMY_HTTP_H_INCLUDED_ */
