
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_delivery.h"
#include "ngx_http_academy_stream.h"


/*
 * What an event stream writes.  Messages are gathered to batches: most are
 * written at once, from memory that all streams share, and only what a peer
 * does not take is kept for it.
 */


static ngx_http_academy_wire_t *ngx_http_academy_stream_wire(
    ngx_http_academy_stream_t *s);
static ngx_http_academy_batch_t *ngx_http_academy_stream_room(
    ngx_http_academy_stream_t *s, ngx_http_academy_batch_t *batch,
    size_t size);
static void ngx_http_academy_stream_add(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);
static ngx_int_t ngx_http_academy_stream_keep(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);
static ngx_int_t ngx_http_academy_stream_send(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);
static ngx_int_t ngx_http_academy_stream_filter(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);
static u_char *ngx_http_academy_stream_piece(ngx_http_academy_batch_t *batch,
    size_t size);
static void ngx_http_academy_stream_written(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);
static void ngx_http_academy_stream_release(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);


/* bytes; with the default of http2_chunk_size a frame */

#define NGX_HTTP_ACADEMY_FRAME_SIZE  8192


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

            /* what comes next nobody asks for */

            s->call.asked = 0;

            if (rc == NGX_AGAIN) {
                s->waiting = 1;
                return batch;
            }
        }

        if (s->call.result != NGX_HTTP_ACADEMY_OK) {
            s->ending = 1;
            return batch;
        }

        larger = ngx_http_academy_stream_wire(s)
                 ? ngx_http_academy_stream_room(s, batch,
                                              s->call.out.delivery.size
                                              + sizeof("data: \n\n") - 1)
                 : NULL;

        if (larger == NULL) {
            ngx_http_academy_return(exchange, &s->call.out.delivery, 1);
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


static ngx_http_academy_wire_t *
ngx_http_academy_stream_wire(ngx_http_academy_stream_t *s)
{
    if (s->wire == NULL) {
        s->wire = ngx_http_academy_wire(s->connection, s->request,
                                        s->peer_timeout);
        if (s->wire == NULL) {
            return NULL;
        }

        s->wire->stream = (s->request == NULL);
        s->wire->told = s->told;
    }

    return s->wire;
}


/* a batch with room for size bytes more; NULL, with the old one as it was */

static ngx_http_academy_batch_t *
ngx_http_academy_stream_room(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch, size_t size)
{
    size_t                     used, need;
    ngx_uint_t                 i;
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
        batch->written = 0;
        batch->piece = NULL;
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
    larger->written = 0;
    larger->piece = NULL;
    larger->pos = larger->data;
    larger->last = larger->data;
    larger->end = larger->data + need;

    if (batch) {
        larger->n = batch->n;
        ngx_memcpy(larger->deliveries, batch->deliveries,
                   batch->n * sizeof(ngx_http_academy_delivery_t));
        larger->last = ngx_cpymem(larger->data, batch->data, used);

        for (i = 0; i < batch->n; i++) {
            larger->ends[i] = larger->data + (batch->ends[i] - batch->data);
        }

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
    delivery = &batch->deliveries[batch->n];
    *delivery = s->call.out.delivery;

    p = ngx_cpymem(batch->last, "data: ", sizeof("data: ") - 1);

    while (exchange->store->piece(exchange, delivery, &piece) == NGX_OK) {
        p = ngx_cpymem(p, piece.data, piece.len);
    }

    *p++ = '\n';
    *p++ = '\n';

    batch->last = p;
    batch->ends[batch->n++] = p;
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
    ngx_int_t  rc;

    rc = ngx_http_academy_stream_send(s, batch);

    if (rc == NGX_OK || (rc == NGX_ERROR && s->request == NULL)) {
        ngx_http_academy_stream_release(s, batch);
        return rc;
    }

    if (rc == NGX_ERROR) {
        s->batch = batch;
        return rc;
    }

    if (ngx_http_academy_stream_keep(s, batch) != NGX_OK) {
        return NGX_ERROR;
    }

    /* whoever listens beside a peer that takes nothing is to have the rest */

    if (s->waiting) {
        s->waiting = 0;
        s->call.exchange->store->cancel(&s->call);
    }

    return ngx_http_academy_stream_block(s);
}


/* what was not written of a batch waits in memory of the stream's own */

static ngx_int_t
ngx_http_academy_stream_keep(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch)
{
    size_t                     size;
    ngx_uint_t                 i;
    ngx_http_academy_batch_t  *copy;

    if (batch != &ngx_http_academy_shared.batch) {
        s->batch = batch;
        return NGX_OK;
    }

    size = batch->last - batch->pos;

    copy = ngx_alloc(sizeof(ngx_http_academy_batch_t) + size,
                     s->connection->log);
    if (copy == NULL) {
        ngx_http_academy_stream_release(s, batch);
        return NGX_ERROR;
    }

    copy->n = 0;
    copy->written = 0;
    copy->piece = NULL;

    for (i = batch->written; i < batch->n; i++) {
        copy->deliveries[copy->n] = batch->deliveries[i];
        copy->ends[copy->n++] = copy->data + (batch->ends[i] - batch->pos);
    }

    copy->pos = copy->data;
    copy->last = ngx_cpymem(copy->data, batch->pos, size);
    copy->end = copy->last;

    s->batch = copy;

    return NGX_OK;
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
    ngx_http_academy_stream_release(s, batch);

    return ngx_http_academy_stream_unblock(s);
}


/* NGX_OK: all of it is written, NGX_AGAIN or NGX_ERROR */

static ngx_int_t
ngx_http_academy_stream_send(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch)
{
    size_t             size;
    ssize_t            n;
    ngx_connection_t  *c;

    if (s->request) {
        return ngx_http_academy_stream_filter(s, batch);
    }

    c = s->connection;

    while (batch->pos < batch->last) {

        size = batch->last - batch->pos;

#if (NGX_HTTP_SSL)
        if (c->ssl) {
            size = ngx_http_academy_stream_piece(batch, NGX_SSL_BUFSIZE)
                   - batch->pos;
        }
#endif

        n = c->send(c, batch->pos, size);

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (n == NGX_AGAIN || n == 0) {
            return NGX_AGAIN;
        }

        batch->pos += n;

        ngx_http_academy_stream_written(s, batch);
    }

    return NGX_OK;
}


/* the same by way of a request's filters */

static ngx_int_t
ngx_http_academy_stream_filter(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = s->connection;
    r = s->request;
    b = s->out.buf;

    if (b == NULL) {
        b = ngx_calloc_buf(r->pool);
        if (b == NULL) {
            return NGX_ERROR;
        }

        s->out.buf = b;
    }

    while (batch->pos < batch->last) {

        if (batch->piece) {
            rc = ngx_http_output_filter(r, NULL);

        } else {
            batch->piece = ngx_http_academy_stream_piece(batch,
                                                  NGX_HTTP_ACADEMY_FRAME_SIZE);

            b->memory = 1;
            b->flush = 1;
            b->start = batch->data;
            b->pos = batch->pos;
            b->last = batch->piece;
            b->end = batch->end;

            rc = ngx_http_output_filter(r, &s->out);
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (r->buffered || c->buffered) {
            return NGX_AGAIN;
        }

        batch->pos = batch->piece;
        batch->piece = NULL;

        ngx_http_academy_stream_written(s, batch);
    }

    return NGX_OK;
}


/*
 * The end of what comes next: as many messages as fit in size bytes, or one.
 * A peer sees nothing of a record of TLS or a frame of HTTP/2 before it has
 * come whole: with a message's end there is to be the end of one.
 */

static u_char *
ngx_http_academy_stream_piece(ngx_http_academy_batch_t *batch, size_t size)
{
    u_char      *end;
    ngx_uint_t   i;

    if (batch->written == batch->n) {
        return batch->last;
    }

    end = batch->ends[batch->written];

    for (i = batch->written + 1; i < batch->n; i++) {

        if ((size_t) (batch->ends[i] - batch->pos) > size) {
            break;
        }

        end = batch->ends[i];
    }

    return end;
}


/* hands over to the wire the messages of a batch that are written */

static void
ngx_http_academy_stream_written(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch)
{
    size_t      behind;
    ngx_uint_t  n;

    for (n = batch->written; n < batch->n; n++) {

        if (batch->ends[n] > batch->pos) {
            break;
        }

        behind = batch->pos - batch->ends[n];

        if (s->request
#if (NGX_HTTP_SSL)
            || s->connection->ssl
#endif
            )
        {
            behind = 0;
        }

        if (s->told) {
            ngx_http_academy_delivery_log(s->connection->log, s->call.exchange,
                                          &batch->deliveries[n], 1, "sent");
        }

        ngx_http_academy_wire_add(s->wire, s->call.exchange,
                                  &batch->deliveries[n], behind);
    }

    batch->written = n;
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


/* frees a batch; what was not written of it goes back */

static void
ngx_http_academy_stream_release(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch)
{
    ngx_http_academy_stream_return(s, batch);

    if (batch != &ngx_http_academy_shared.batch) {
        ngx_free(batch);
    }
}


void
ngx_http_academy_stream_return(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch)
{
    ngx_http_academy_exchange_t  *exchange;

    exchange = s->call.exchange;

    if (batch->written < batch->n) {

        if (s->told) {
            ngx_http_academy_delivery_log(s->connection->log, exchange,
                                          batch->deliveries + batch->written,
                                          batch->n - batch->written,
                                          "returned");
        }

        ngx_http_academy_return(exchange,
                                   batch->deliveries + batch->written,
                                   batch->n - batch->written);
    }

    batch->written = batch->n;
}
