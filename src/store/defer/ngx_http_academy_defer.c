
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_defer.h"


/*
 * A store that is never done at once.  It shows that whoever calls a store can
 * wait for it, and go away while it waits.
 */


#define NGX_HTTP_ACADEMY_DELAY  1      /* milliseconds, before and behind */


typedef struct {
    ngx_http_academy_exchange_t    exchange;
    ngx_http_academy_exchange_t   *inner;
} ngx_http_academy_defer_t;


/* a call under way: its twin goes to the inner store */

typedef struct {
    ngx_http_academy_call_t        call;
    ngx_http_academy_call_t       *outer;
    ngx_http_academy_op_pt         op;
    ngx_event_t                    event;
    unsigned                       inside:1;
    unsigned                       ended:1;
} ngx_http_academy_deferred_t;


static ngx_int_t ngx_http_academy_defer_start(ngx_http_academy_call_t *call,
    size_t op);
static void ngx_http_academy_defer_handler(ngx_event_t *ev);
static void ngx_http_academy_defer_done(ngx_http_academy_call_t *call);
static void ngx_http_academy_defer_waits(ngx_http_academy_call_t *call);
static void ngx_http_academy_defer_cancel(ngx_http_academy_call_t *call);
static ngx_int_t ngx_http_academy_defer_piece(
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_str_t *piece);
static void ngx_http_academy_defer_written(
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n, ngx_uint_t written);
static void ngx_http_academy_defer_settle(
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n);
static void ngx_http_academy_defer_give_back(
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n);
static void ngx_http_academy_defer_commit(
    ngx_http_academy_exchange_t *exchange);
static ngx_int_t ngx_http_academy_defer_init_worker(
    ngx_http_academy_exchange_t *exchange, ngx_cycle_t *cycle);
static void ngx_http_academy_defer_exit_worker(
    ngx_http_academy_exchange_t *exchange, ngx_cycle_t *cycle);


#define ngx_http_academy_inner(e)                                             \
    (((ngx_http_academy_defer_t *) (e))->inner)

#define ngx_http_academy_defer_op(name)                                       \
                                                                              \
static ngx_int_t                                                              \
ngx_http_academy_defer_##name(ngx_http_academy_call_t *call)                  \
{                                                                             \
    return ngx_http_academy_defer_start(call,                                 \
                                  offsetof(ngx_http_academy_store_t, name));  \
}


ngx_http_academy_defer_op(create)
ngx_http_academy_defer_op(terminate)
ngx_http_academy_defer_op(status)
ngx_http_academy_defer_op(share)
ngx_http_academy_defer_op(shares)
ngx_http_academy_defer_op(unshare)
ngx_http_academy_defer_op(heartbeat)
ngx_http_academy_defer_op(beat)
ngx_http_academy_defer_op(stats)
ngx_http_academy_defer_op(discover)
ngx_http_academy_defer_op(put)
ngx_http_academy_defer_op(get)
ngx_http_academy_defer_op(survey)
ngx_http_academy_defer_op(list)
ngx_http_academy_defer_op(inspect)


static char *
ngx_http_academy_defer_ailing(ngx_http_academy_exchange_t *exchange)
{
    exchange = ngx_http_academy_inner(exchange);

    return exchange->store->ailing(exchange);
}


static ngx_http_academy_store_t  ngx_http_academy_defer_store = {
    ngx_http_academy_defer_create,
    ngx_http_academy_defer_terminate,
    ngx_http_academy_defer_status,
    ngx_http_academy_defer_share,
    ngx_http_academy_defer_shares,
    ngx_http_academy_defer_unshare,
    ngx_http_academy_defer_heartbeat,
    ngx_http_academy_defer_beat,
    ngx_http_academy_defer_stats,
    ngx_http_academy_defer_discover,
    ngx_http_academy_defer_put,
    ngx_http_academy_defer_get,
    ngx_http_academy_defer_cancel,
    ngx_http_academy_defer_piece,
    ngx_http_academy_defer_written,
    ngx_http_academy_defer_settle,
    ngx_http_academy_defer_give_back,
    ngx_http_academy_defer_commit,
    ngx_http_academy_defer_init_worker,
    ngx_http_academy_defer_exit_worker,
    ngx_http_academy_defer_survey,
    ngx_http_academy_defer_list,
    ngx_http_academy_defer_inspect,
    ngx_http_academy_defer_ailing,
    "zone",
    (uint64_t) 1 << NGX_HTTP_ACADEMY_N_REDIS_TRIPS
    | (uint64_t) 1 << NGX_HTTP_ACADEMY_N_REDIS_CONNECTS,
    NULL
};


ngx_http_academy_exchange_t *
ngx_http_academy_defer(ngx_conf_t *cf, ngx_http_academy_exchange_t *inner)
{
    ngx_http_academy_defer_t  *defer;

    defer = ngx_pcalloc(cf->pool, sizeof(ngx_http_academy_defer_t));
    if (defer == NULL) {
        return NULL;
    }

    defer->exchange.name = inner->name;
    defer->exchange.store = &ngx_http_academy_defer_store;
    defer->exchange.expiry = inner->expiry;
    defer->exchange.figures = inner->figures;
    defer->inner = inner;

    return &defer->exchange;
}


static ngx_int_t
ngx_http_academy_defer_start(ngx_http_academy_call_t *call, size_t op)
{
    ngx_http_academy_exchange_t  *inner;
    ngx_http_academy_deferred_t  *deferred;

    deferred = ngx_calloc(sizeof(ngx_http_academy_deferred_t), call->log);
    if (deferred == NULL) {
        call->result = NGX_HTTP_ACADEMY_FULL;
        call->done(call);
        return NGX_DONE;
    }

    inner = ngx_http_academy_inner(call->exchange);

    deferred->call = *call;
    deferred->call.exchange = inner;
    deferred->call.done = ngx_http_academy_defer_done;
    deferred->call.waits = call->waits ? ngx_http_academy_defer_waits : NULL;
    deferred->call.data = deferred;
    deferred->outer = call;
    deferred->op = *(ngx_http_academy_op_pt *) ((u_char *) inner->store + op);

    call->place = deferred;

    /* not cancelable: a worker that exits waits for the end of it */

    deferred->event.handler = ngx_http_academy_defer_handler;
    deferred->event.data = deferred;
    deferred->event.log = ngx_cycle->log;

    ngx_add_timer(&deferred->event, NGX_HTTP_ACADEMY_DELAY);

    return NGX_AGAIN;
}


static void
ngx_http_academy_defer_handler(ngx_event_t *ev)
{
    ngx_http_academy_deferred_t *deferred = ev->data;

    ngx_http_academy_call_t  *outer;

    if (!deferred->ended) {
        deferred->inside = 1;
        (void) deferred->op(&deferred->call);
        return;
    }

    outer = deferred->outer;
    outer->result = deferred->call.result;
    outer->out = deferred->call.out;
    outer->repeated = deferred->call.repeated;

    ngx_free(deferred);

    outer->done(outer);
}


static void
ngx_http_academy_defer_done(ngx_http_academy_call_t *call)
{
    ngx_http_academy_deferred_t *deferred = call->data;

    deferred->inside = 0;
    deferred->ended = 1;

    ngx_add_timer(&deferred->event, NGX_HTTP_ACADEMY_DELAY);
}


static void
ngx_http_academy_defer_waits(ngx_http_academy_call_t *call)
{
    ngx_http_academy_deferred_t *deferred = call->data;

    deferred->outer->waits(deferred->outer);
}


static void
ngx_http_academy_defer_cancel(ngx_http_academy_call_t *call)
{
    ngx_http_academy_exchange_t  *inner;
    ngx_http_academy_deferred_t  *deferred;

    deferred = call->place;
    inner = deferred->call.exchange;

    if (deferred->event.timer_set) {
        ngx_del_timer(&deferred->event);
    }

    if (deferred->inside) {
        inner->store->cancel(&deferred->call);

    } else if (deferred->ended && deferred->op == inner->store->get
               && deferred->call.result == NGX_HTTP_ACADEMY_OK)
    {
        inner->store->give_back(inner, &deferred->call.out.delivery, 1);
    }

    ngx_free(deferred);
}


static ngx_int_t
ngx_http_academy_defer_piece(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_str_t *piece)
{
    exchange = ngx_http_academy_inner(exchange);

    return exchange->store->piece(exchange, delivery, piece);
}


static void
ngx_http_academy_defer_written(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n, ngx_uint_t written)
{
    exchange = ngx_http_academy_inner(exchange);

    exchange->store->written(exchange, delivery, n, written);
}


static void
ngx_http_academy_defer_settle(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n)
{
    exchange = ngx_http_academy_inner(exchange);

    exchange->store->settle(exchange, delivery, n);
}


static void
ngx_http_academy_defer_give_back(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n)
{
    exchange = ngx_http_academy_inner(exchange);

    exchange->store->give_back(exchange, delivery, n);
}


static void
ngx_http_academy_defer_commit(ngx_http_academy_exchange_t *exchange)
{
    exchange = ngx_http_academy_inner(exchange);

    exchange->store->commit(exchange);
}


static ngx_int_t
ngx_http_academy_defer_init_worker(ngx_http_academy_exchange_t *exchange,
    ngx_cycle_t *cycle)
{
    exchange = ngx_http_academy_inner(exchange);

    return exchange->store->init_worker(exchange, cycle);
}


static void
ngx_http_academy_defer_exit_worker(ngx_http_academy_exchange_t *exchange,
    ngx_cycle_t *cycle)
{
    exchange = ngx_http_academy_inner(exchange);

    exchange->store->exit_worker(exchange, cycle);
}
