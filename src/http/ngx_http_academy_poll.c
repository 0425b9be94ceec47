
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_delivery.h"
#include "ngx_http_academy_escape.h"
#include "ngx_http_academy_wire.h"


/*
 * Long polls: a message as an answer, or the end of the wait.  Once all of the
 * answer is written the message is the wire's.  It is given back if the request
 * ends before.
 */


/* bytes of an answer for which there is memory that all share */

#define NGX_HTTP_ACADEMY_POLL_SHARED  16384


static void ngx_http_academy_poll_timeout(ngx_event_t *ev);
static ngx_buf_t *ngx_http_academy_poll_answer(ngx_http_request_t *r,
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery);
static void ngx_http_academy_poll_sent(ngx_http_request_t *r,
    ngx_http_academy_ctx_t *ctx);
static void ngx_http_academy_poll_cleanup(void *data);


ngx_int_t
ngx_http_academy_poll_timer(ngx_http_request_t *r)
{
    ngx_msec_t               left;
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    left = ngx_http_academy_token_left(ctx->identity.expires);

    if (left <= ctx->timeout) {
        ctx->timeout = left;
        ctx->expiring = 1;
    }

    ctx->timer = ngx_pcalloc(r->pool, sizeof(ngx_event_t));
    if (ctx->timer == NULL) {
        return NGX_ERROR;
    }

    ctx->timer->handler = ngx_http_academy_poll_timeout;
    ctx->timer->data = r;
    ctx->timer->log = r->connection->log;
    ctx->timer->cancelable = 1;

    if (ctx->empty) {
        ngx_add_timer(ctx->timer, ctx->timeout);
    }

    ctx->waiting = 1;
    ctx->call.exchange->figures->mine->polls++;

    return NGX_OK;
}


/* the time begins when there is nothing, however long it took to find out */

void
ngx_http_academy_poll_waits(ngx_http_academy_call_t *call)
{
    ngx_http_request_t      *r;
    ngx_http_academy_ctx_t  *ctx;

    r = call->data;
    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    ctx->empty = 1;

    if (ctx->timer) {
        ngx_add_timer(ctx->timer, ctx->timeout);
    }
}


void
ngx_http_academy_poll_count(ngx_http_academy_ctx_t *ctx,
    ngx_http_academy_result_e result)
{
    switch (result) {

    case NGX_HTTP_ACADEMY_OK:
        ngx_http_academy_poll_ends(ctx, NGX_HTTP_ACADEMY_N_POLLS_DELIVERED);
        return;

    default:
        ngx_http_academy_poll_ends(ctx, NGX_HTTP_ACADEMY_N_POLLS_CLOSED);
    }
}


void
ngx_http_academy_poll_ends(ngx_http_academy_ctx_t *ctx,
    ngx_http_academy_counter_e counter)
{
    ngx_http_academy_exchange_t  *exchange;

    exchange = ctx->call.exchange;

    ngx_http_academy_count(exchange, counter);
    ngx_http_academy_observe(exchange->figures, NGX_HTTP_ACADEMY_H_WAIT,
                             ctx->waited, 0);

    if (ctx->waiting) {
        ctx->waiting = 0;
        exchange->figures->mine->polls--;
    }
}


static void
ngx_http_academy_poll_timeout(ngx_event_t *ev)
{
    ngx_int_t                rc;
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_http_academy_ctx_t  *ctx;

    r = ev->data;
    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0, "academy poll timed out");

    ctx->pending = 0;
    ctx->waited = ngx_current_msec - ctx->waited;
    ctx->call.exchange->store->cancel(&ctx->call);

    ngx_http_academy_poll_ends(ctx, NGX_HTTP_ACADEMY_N_POLLS_TIMEOUT);

    rc = ctx->expiring ? ngx_http_academy_invalid(r)
                       : ngx_http_academy_answer_timeout(r);

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);
}


ngx_int_t
ngx_http_academy_answer_message(ngx_http_request_t *r,
    ngx_http_academy_call_t *call)
{
    ngx_int_t                     rc;
    ngx_buf_t                    *b;
    ngx_http_cleanup_t           *cln;
    ngx_http_academy_ctx_t       *ctx;
    ngx_http_academy_wire_t      *wire;
    ngx_http_academy_loc_conf_t  *alcf;
    ngx_http_academy_delivery_t  *delivery;

    if (call->result != NGX_HTTP_ACADEMY_OK) {
        return ngx_http_academy_answer_result(r, call->result);
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    delivery = &ctx->delivery;
    *delivery = call->out.delivery;

    if (r->connection->read->pending_eof) {
        ngx_http_academy_return(call->exchange, delivery, 1);
        return NGX_HTTP_CLIENT_CLOSED_REQUEST;
    }

    cln = ngx_http_cleanup_add(r, 0);
    wire = ngx_http_academy_wire(r->connection, r, alcf->peer_timeout);

    if (wire) {
        ngx_http_academy_wire_check(wire);
    }

    if (cln == NULL || wire == NULL) {
        ngx_http_academy_return(call->exchange, delivery, 1);
        return ngx_http_academy_answer_result(r, NGX_HTTP_ACADEMY_FULL);
    }

    if (wire->n >= NGX_HTTP_ACADEMY_WIRE_MAX) {
        ngx_http_academy_return(call->exchange, delivery, 1);
        return ngx_http_academy_answer_owing(r);
    }

    cln->handler = ngx_http_academy_poll_cleanup;
    cln->data = ctx;

    wire->told = alcf->log_deliveries;

    ctx->wire = wire;
    ctx->handler = r->connection->read->handler;
    ctx->leased = 1;

    b = ngx_http_academy_poll_answer(r, call->exchange, delivery);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->answer = b;

    /* a connection that is not kept alive stays until the client has it */

    r->lingering_close = 1;

    rc = ngx_http_academy_answer_json(r, b);

    if (rc == NGX_OK && !r->buffered && !r->connection->buffered
        && !r->connection->error)
    {
        ngx_http_academy_poll_sent(r, ctx);
    }

    return rc;
}


/*
 * Escaping may double a message.  It is measured before, or a small one made
 * in memory that all share, and copied to as much as it takes.
 */

static ngx_buf_t *
ngx_http_academy_poll_answer(ngx_http_request_t *r,
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery)
{
    size_t                        size;
    u_char                       *p, *last;
    ngx_buf_t                    *b;
    ngx_str_t                     piece;
    ngx_uint_t                    small;
    ngx_http_academy_store_t     *store;
    ngx_http_academy_delivery_t   count;

    static u_char                 shared[NGX_HTTP_ACADEMY_POLL_SHARED];
    static u_char                 start[] = "{\"message\": \"";
    static u_char                 end[] = "\"}";

    store = exchange->store;
    size = sizeof(start) - 1 + delivery->size + sizeof(end) - 1;
    small = (size + delivery->size <= sizeof(shared));

    if (small) {
        b = NULL;
        p = shared;

    } else {

        for (count = *delivery;
             store->piece(exchange, &count, &piece) == NGX_OK;
             /* void */)
        {
            size += ngx_http_academy_escape_count(piece.data, piece.len);
        }

        b = ngx_create_temp_buf(r->pool, size);
        if (b == NULL) {
            return NULL;
        }

        p = b->last;
    }

    last = ngx_cpymem(p, start, sizeof(start) - 1);

    while (store->piece(exchange, delivery, &piece) == NGX_OK) {
        last = ngx_http_academy_escape(last, piece.data, piece.len);
    }

    last = ngx_cpymem(last, end, sizeof(end) - 1);

    if (small) {
        b = ngx_create_temp_buf(r->pool, last - p);
        if (b == NULL) {
            return NULL;
        }

        ngx_memcpy(b->last, p, last - p);
    }

    b->last += last - p;

    return b;
}


/* all of the answer is written */

static void
ngx_http_academy_poll_sent(ngx_http_request_t *r, ngx_http_academy_ctx_t *ctx)
{
    ngx_http_academy_wire_t  *wire;

    wire = ctx->wire;
    ctx->leased = 0;

    ngx_http_academy_wire_add(wire, ctx->call.exchange, &ctx->delivery, 0);
    ngx_http_academy_wire_hold(wire);
}


static void
ngx_http_academy_poll_cleanup(void *data)
{
    ngx_http_academy_ctx_t *ctx = data;

    ngx_http_request_t           *r;
    ngx_http_academy_wire_t      *wire;
    ngx_http_academy_exchange_t  *exchange;

    r = ctx->call.data;
    exchange = ctx->call.exchange;
    wire = ctx->wire;

    if (ctx->leased) {
        ctx->leased = 0;

        if (r->request_complete && !r->connection->error
            && r->headers_out.status == NGX_HTTP_OK)
        {
            ngx_http_academy_poll_sent(r, ctx);

        } else {
            ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                          "message was not sent whole, it returns to its "
                          "mailbox");

            ctx->refusal = "returned";

            if (wire->told) {
                ngx_http_academy_delivery_log(r->connection->log, exchange,
                                              &ctx->delivery, 1, "returned");
            }

            ngx_http_academy_return(exchange, &ctx->delivery, 1);
        }
    }

    if (r->connection == wire->connection && wire->n
        && (r->keepalive || ngx_exiting || r->connection->error
            || r->connection->timedout || r->connection->read->eof
            || r->connection->read->handler != ctx->handler))
    {
        /* the connection goes with the request, and nobody asks any more */

        wire->fin = (r->connection->read->handler != ctx->handler);

        ngx_http_academy_wire_end(wire);
    }
}
