
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_stream.h"


/*
 * What an event stream writes.  Messages are gathered to batches: most are
 * written at once, from memory that all streams share, and only what a peer
 * does not take is kept for it.
 */


static ngx_http_academy_batch_t *ngx_http_academy_stream_room(
    ngx_http_academy_stream_t *s, ngx_http_academy_batch_t *batch,
    size_t size);
static void ngx_http_academy_stream_add(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);
static ngx_int_t ngx_http_academy_stream_send(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);
static void ngx_http_academy_stream_release(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch, ngx_uint_t sent);


/* where streams gather what most of them write at once; one at a time */

static struct {
    ngx_http_academy_batch_t       batch;
    u_char                         data[NGX_HTTP_ACADEMY_BATCH_SIZE];
} ngx_http_academy_shared;


ngx_http_academy_batch_t *
ngx_http_academy_stream_fill(ngx_http_academy_stream_t *s)
{
    ngx_int_t                     rc;
    ngx_http_academy_batch_t     *batch, *larger;
    ngx_http_academy_exchange_t  *exchange;

    exchange = s->call.exchange;
    batch = NULL;

    do {
        if (s->brought) {

            /* the message that a call has waited for */

            s->brought = 0;

        } else {
            s->calling = 1;
            rc = exchange->store->get(&s->call);
            s->calling = 0;

            if (rc == NGX_AGAIN) {
                s->waiting = 1;
                return batch;
            }
        }

        if (s->call.result != NGX_HTTP_ACADEMY_OK) {
            s->ending = 1;
            return batch;
        }

        larger = ngx_http_academy_stream_room(s, batch,
                                              s->call.out.delivery.size
                                              + sizeof("data: \n\n") - 1);
        if (larger == NULL) {
            exchange->store->give_back(exchange, &s->call.out.delivery, 1);
            s->ending = 1;
            return batch;
        }

        batch = larger;
        ngx_http_academy_stream_add(s, batch);

        s->deadline = ngx_current_msec + s->timeout;

    } while (batch->n < NGX_HTTP_ACADEMY_BATCH
             && batch->last - batch->data < NGX_HTTP_ACADEMY_BATCH_SIZE);

    return batch;
}


/* a batch with room for size bytes more; NULL, with the old one as it was */

static ngx_http_academy_batch_t *
ngx_http_academy_stream_room(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch, size_t size)
{
    size_t                     used, need;
    ngx_http_academy_batch_t  *larger;

    if (batch && (size_t) (batch->end - batch->last) >= size) {
        return batch;
    }

    /* OpenSSL and nginx's filters want to find unsent bytes where they were */

    if (batch == NULL && size <= NGX_HTTP_ACADEMY_BATCH_SIZE
        && s->request == NULL
#if (NGX_HTTP_SSL)
        && s->connection->ssl == NULL
#endif
        )
    {
        batch = &ngx_http_academy_shared.batch;

        batch->n = 0;
        batch->pos = batch->data;
        batch->last = batch->data;
        batch->end = batch->data + NGX_HTTP_ACADEMY_BATCH_SIZE;

        return batch;
    }

    used = batch ? batch->last - batch->data : 0;

    /* a batch of many small messages is copied a few times, not each time */

    need = used + size;

    if (batch && need < NGX_HTTP_ACADEMY_BATCH_SIZE) {
        need = ngx_min(2 * need, NGX_HTTP_ACADEMY_BATCH_SIZE);
    }

    larger = ngx_alloc(sizeof(ngx_http_academy_batch_t) + need,
                       s->connection->log);
    if (larger == NULL) {
        return NULL;
    }

    larger->n = 0;
    larger->pos = larger->data;
    larger->last = larger->data;
    larger->end = larger->data + need;

    if (batch) {
        larger->n = batch->n;
        ngx_memcpy(larger->deliveries, batch->deliveries,
                   batch->n * sizeof(ngx_http_academy_delivery_t));
        larger->last = ngx_cpymem(larger->data, batch->data, used);

        if (batch != &ngx_http_academy_shared.batch) {
            ngx_free(batch);
        }
    }

    return larger;
}


static void
ngx_http_academy_stream_add(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch)
{
    u_char                       *p;
    ngx_str_t                     piece;
    ngx_http_academy_exchange_t  *exchange;
    ngx_http_academy_delivery_t  *delivery;

    exchange = s->call.exchange;
    delivery = &batch->deliveries[batch->n++];
    *delivery = s->call.out.delivery;

    p = ngx_cpymem(batch->last, "data: ", sizeof("data: ") - 1);

    while (exchange->store->piece(exchange, delivery, &piece) == NGX_OK) {
        p = ngx_cpymem(p, piece.data, piece.len);
    }

    *p++ = '\n';
    *p++ = '\n';

    batch->last = p;
}


ngx_int_t
ngx_http_academy_stream_ping(ngx_http_academy_stream_t *s)
{
    ngx_http_academy_batch_t  *batch;

    static u_char  ping[] = ": ping\n\n";

    batch = ngx_http_academy_stream_room(s, NULL, sizeof(ping) - 1);
    if (batch == NULL) {
        return NGX_ERROR;
    }

    batch->last = ngx_cpymem(batch->last, ping, sizeof(ping) - 1);

    return ngx_http_academy_stream_write(s, batch);
}


ngx_int_t
ngx_http_academy_stream_write(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch)
{
    size_t                     size;
    ngx_int_t                  rc;
    ngx_http_academy_batch_t  *copy;

    rc = (batch->n && ngx_http_academy_gone(s->connection, s->request))
         ? NGX_ERROR : ngx_http_academy_stream_send(s, batch);

    if (rc == NGX_OK || (rc == NGX_ERROR && s->request == NULL)) {
        ngx_http_academy_stream_release(s, batch, rc == NGX_OK);
        return rc;
    }

    if (rc == NGX_ERROR) {
        s->batch = batch;
        return rc;
    }

    if (batch == &ngx_http_academy_shared.batch) {

        size = batch->last - batch->pos;

        copy = ngx_alloc(sizeof(ngx_http_academy_batch_t) + size,
                         s->connection->log);
        if (copy == NULL) {
            ngx_http_academy_stream_release(s, batch, 0);
            return NGX_ERROR;
        }

        copy->n = batch->n;
        ngx_memcpy(copy->deliveries, batch->deliveries,
                   batch->n * sizeof(ngx_http_academy_delivery_t));
        copy->pos = copy->data;
        copy->last = ngx_cpymem(copy->data, batch->pos, size);
        copy->end = copy->last;

        batch = copy;
    }

    s->batch = batch;

    /* whoever listens beside a peer that takes nothing is to have the rest */

    if (s->waiting) {
        s->waiting = 0;
        s->call.exchange->store->cancel(&s->call);
    }

    return ngx_http_academy_stream_block(s);
}


ngx_int_t
ngx_http_academy_stream_flush(ngx_http_academy_stream_t *s)
{
    ngx_int_t                  rc;
    ngx_http_academy_batch_t  *batch;

    batch = s->batch;
    rc = ngx_http_academy_stream_send(s, batch);

    if (rc == NGX_AGAIN) {
        return ngx_http_academy_stream_block(s);
    }

    if (rc == NGX_ERROR) {
        return rc;
    }

    s->batch = NULL;
    ngx_http_academy_stream_release(s, batch, 1);

    return ngx_http_academy_stream_unblock(s);
}


/* NGX_OK: all of it is written, NGX_AGAIN or NGX_ERROR */

static ngx_int_t
ngx_http_academy_stream_send(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch)
{
    ssize_t              n;
    ngx_buf_t           *b;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = s->connection;
    r = s->request;

    if (r == NULL) {

        while (batch->pos < batch->last) {

            n = c->send(c, batch->pos, batch->last - batch->pos);

            if (n == NGX_ERROR) {
                return NGX_ERROR;
            }

            if (n == NGX_AGAIN || n == 0) {
                return NGX_AGAIN;
            }

            batch->pos += n;
        }

        return NGX_OK;
    }

    if (batch != s->batch) {
        b = s->out.buf;

        if (b == NULL) {
            b = ngx_calloc_buf(r->pool);
            if (b == NULL) {
                return NGX_ERROR;
            }

            s->out.buf = b;
        }

        b->memory = 1;
        b->flush = 1;
        b->start = batch->data;
        b->pos = batch->pos;
        b->last = batch->last;
        b->end = batch->end;

        if (ngx_http_output_filter(r, &s->out) == NGX_ERROR) {
            return NGX_ERROR;
        }

    } else if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        return NGX_ERROR;
    }

    return (r->buffered || c->buffered) ? NGX_AGAIN : NGX_OK;
}


ngx_int_t
ngx_http_academy_stream_block(ngx_http_academy_stream_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;

    if (s->request) {
        s->request->write_event_handler =
                                       ngx_http_academy_stream_request_writer;
    }

    if (!c->write->delayed) {
        ngx_add_timer(c->write, s->send_timeout);
    }

    return ngx_handle_write_event(c->write, 0);
}


ngx_int_t
ngx_http_academy_stream_unblock(ngx_http_academy_stream_t *s)
{
    ngx_event_t  *wev;

    wev = s->connection->write;

    if (!wev->delayed && wev->timer_set) {
        ngx_del_timer(wev);
    }

    if (s->request) {
        s->request->write_event_handler = ngx_http_request_empty_handler;
    }

    /* with a level-triggered method it would be told again and again */

    return ngx_handle_write_event(wev, 0);
}


static void
ngx_http_academy_stream_release(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch, ngx_uint_t sent)
{
    ngx_http_academy_exchange_t  *exchange;

    exchange = s->call.exchange;

    if (batch->n) {
        if (sent) {
            exchange->store->settle(exchange, batch->deliveries, batch->n);

        } else {
            exchange->store->give_back(exchange, batch->deliveries, batch->n);
        }
    }

    if (batch != &ngx_http_academy_shared.batch) {
        ngx_free(batch);
    }
}
