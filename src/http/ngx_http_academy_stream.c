
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"


/*
 * Event streams.
 *
 * A stream begins as a request.  On HTTP/1 it leaves it once the header is out:
 * the request is freed, as it is for a connection that is kept alive, and the
 * stream has the connection for itself.  It ends with the connection, for what
 * ends without chunks ends cleanly for a client whenever it does.  On HTTP/2,
 * or where something else still holds the request, the request stays.
 *
 * At any time a stream does one of three things: it has a call at the store
 * that waits, it has a batch that its peer has not taken all of, or it runs.
 * Messages of a batch are leased until all of it is written.
 */


/* messages of a batch at the most, and bytes that need no memory */

#define NGX_HTTP_ACADEMY_BATCH       16
#define NGX_HTTP_ACADEMY_BATCH_SIZE  65536

/* batches in a row before others have their turn */

#define NGX_HTTP_ACADEMY_TURN        4


typedef struct {
    ngx_uint_t                     n;
    ngx_http_academy_delivery_t    deliveries[NGX_HTTP_ACADEMY_BATCH];
    u_char                        *pos;
    u_char                        *last;
    u_char                        *end;
    u_char                         data[1];
} ngx_http_academy_batch_t;


typedef struct {
    ngx_http_academy_call_t        call;
    ngx_http_academy_caller_t      caller;

    ngx_connection_t              *connection;
    ngx_http_request_t            *request;   /* NULL: it was left */
    ngx_http_cleanup_t            *cleanup;   /* of the request: stop */
    ngx_pool_cleanup_t            *memory;    /* of the request: free */

    ngx_event_t                    event;     /* posted: run; timed: ping */
    ngx_msec_t                     timeout;
    ngx_msec_t                     ping_interval;
    ngx_msec_t                     send_timeout;
    ngx_msec_t                     deadline;
    ngx_msec_t                     ping;

    ngx_http_academy_batch_t      *batch;     /* not yet all written */
    ngx_chain_t                    out;       /* of a request */

    unsigned                       begun:1;
    unsigned                       calling:1; /* within the operation */
    unsigned                       waiting:1; /* the call is the store's */
    unsigned                       brought:1; /* the call, a message */
    unsigned                       ending:1;
} ngx_http_academy_stream_t;


static ngx_http_academy_stream_t *ngx_http_academy_stream_create(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_academy_stream_header(ngx_http_request_t *r);
static void ngx_http_academy_stream_event_handler(ngx_event_t *ev);
static void ngx_http_academy_stream_begin(ngx_http_academy_stream_t *s);
static ngx_int_t ngx_http_academy_stream_leave(ngx_http_academy_stream_t *s);
static void ngx_http_academy_stream_done(ngx_http_academy_call_t *call);
static void ngx_http_academy_stream_run(ngx_http_academy_stream_t *s);
static ngx_http_academy_batch_t *ngx_http_academy_stream_fill(
    ngx_http_academy_stream_t *s);
static ngx_http_academy_batch_t *ngx_http_academy_stream_room(
    ngx_http_academy_stream_t *s, ngx_http_academy_batch_t *batch,
    size_t size);
static void ngx_http_academy_stream_add(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);
static ngx_int_t ngx_http_academy_stream_write(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);
static ngx_int_t ngx_http_academy_stream_flush(ngx_http_academy_stream_t *s);
static ngx_int_t ngx_http_academy_stream_send(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);
static ngx_int_t ngx_http_academy_stream_block(ngx_http_academy_stream_t *s);
static void ngx_http_academy_stream_release(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch, ngx_uint_t sent);
static void ngx_http_academy_stream_timer(ngx_http_academy_stream_t *s);
static void ngx_http_academy_stream_write_handler(ngx_event_t *wev);
static void ngx_http_academy_stream_request_writer(ngx_http_request_t *r);
static void ngx_http_academy_stream_writable(ngx_http_academy_stream_t *s);
static void ngx_http_academy_stream_read_handler(ngx_event_t *rev);
static ngx_int_t ngx_http_academy_stream_drain(ngx_connection_t *c);
static void ngx_http_academy_stream_end(ngx_http_academy_stream_t *s,
    ngx_int_t rc);
static void ngx_http_academy_stream_stop(void *data);
static void ngx_http_academy_stream_free(void *data);


static ngx_str_t  ngx_http_academy_event_stream =
    ngx_string("text/event-stream");
static ngx_str_t  ngx_http_academy_no_cache = ngx_string("no-cache");
static ngx_str_t  ngx_http_academy_no = ngx_string("no");


/* where streams gather what most of them write at once; one at a time */

static struct {
    ngx_http_academy_batch_t       batch;
    u_char                         data[NGX_HTTP_ACADEMY_BATCH_SIZE];
} ngx_http_academy_shared;


ngx_int_t
ngx_http_academy_answer_listen(ngx_http_request_t *r,
    ngx_http_academy_call_t *call)
{
    ngx_int_t                   rc;
    ngx_http_academy_stream_t  *s;

    if (call->result != NGX_HTTP_ACADEMY_OK) {
        return ngx_http_academy_answer_result(r, call->result);
    }

    s = ngx_http_academy_stream_create(r);
    if (s == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_academy_stream_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    s->begun = 1;

    /*
     * nginx still stands in the middle of this request, and may have found
     * the end of the client already
     */

    ngx_post_event(&s->event, &ngx_posted_events);

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_DECLINED;
}


static ngx_http_academy_stream_t *
ngx_http_academy_stream_create(ngx_http_request_t *r)
{
    u_char                       *p;
    size_t                        size;
    ngx_str_t                    *group;
    ngx_uint_t                    i;
    ngx_pool_cleanup_t           *memory;
    ngx_http_cleanup_t           *cln;
    ngx_http_academy_ctx_t       *ctx;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_academy_caller_t    *caller;
    ngx_http_academy_stream_t    *s;
    ngx_http_academy_loc_conf_t  *alcf;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NULL;
    }

    memory = ngx_pool_cleanup_add(r->pool, 0);
    if (memory == NULL) {
        return NULL;
    }

    /* who is calling outlives the request */

    caller = &ctx->caller;
    size = sizeof(ngx_http_academy_stream_t) + caller->id.len
           + caller->ngroups * sizeof(ngx_str_t);

    for (i = 0; i < caller->ngroups; i++) {
        size += caller->groups[i].len;
    }

    s = ngx_calloc(size, r->connection->log);
    if (s == NULL) {
        return NULL;
    }

    group = (ngx_str_t *) (s + 1);
    p = (u_char *) (group + caller->ngroups);

    s->caller.id.len = caller->id.len;
    s->caller.id.data = p;
    p = ngx_cpymem(p, caller->id.data, caller->id.len);

    s->caller.ngroups = caller->ngroups;
    s->caller.groups = group;

    for (i = 0; i < caller->ngroups; i++) {
        group[i].len = caller->groups[i].len;
        group[i].data = p;
        p = ngx_cpymem(p, caller->groups[i].data, caller->groups[i].len);
    }

    s->call.exchange = ctx->call.exchange;
    s->call.caller = &s->caller;
    s->call.log = r->connection->log;
    s->call.id = ctx->call.id;
    s->call.done = ngx_http_academy_stream_done;
    s->call.data = s;

    s->connection = r->connection;
    s->request = r;

    s->timeout = ctx->timeout;
    s->ping_interval = alcf->ping_interval;
    s->send_timeout = clcf->send_timeout;

    s->event.handler = ngx_http_academy_stream_event_handler;
    s->event.data = s;
    s->event.log = r->connection->log;
    s->event.cancelable = 1;

    cln->handler = ngx_http_academy_stream_stop;
    cln->data = s;
    s->cleanup = cln;

    /* HTTP/2 frames may refer to a batch until the request's pool goes */

    memory->handler = ngx_http_academy_stream_free;
    memory->data = s;
    s->memory = memory;

    ctx->stream = s;

    return s;
}


static ngx_int_t
ngx_http_academy_stream_header(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_msec_t                    retry;
    ngx_buf_t                    *b;
    ngx_chain_t                   out;
    ngx_table_elt_t              *h;
    ngx_http_academy_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    r->keepalive = 0;
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_type = ngx_http_academy_event_stream;
    r->headers_out.content_type_len = ngx_http_academy_event_stream.len;

    if (ngx_http_academy_header(r, "Cache-Control",
                                &ngx_http_academy_no_cache)
        != NGX_OK
        || ngx_http_academy_header(r, "X-Accel-Buffering",
                                   &ngx_http_academy_no)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* events pass by the filters: tell gzip that this is encoded as it is */

    h = ngx_pcalloc(r->pool, sizeof(ngx_table_elt_t));
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&h->key, "Content-Encoding");
    ngx_str_set(&h->value, "identity");
    r->headers_out.content_encoding = h;

    b = ngx_create_temp_buf(r->pool, sizeof("retry: \n\n") + NGX_INT_T_LEN);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* when all streams end at once, they do not come back at once */

    retry = alcf->retry + ngx_random() % (alcf->retry + 1);

    b->last = ngx_sprintf(b->last, "retry: %M\n\n", retry);
    b->flush = 1;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    rc = ngx_http_output_filter(r, &out);

    return (rc == NGX_ERROR) ? NGX_ERROR : NGX_OK;
}


static void
ngx_http_academy_stream_event_handler(ngx_event_t *ev)
{
    ngx_uint_t                  kept;
    ngx_connection_t           *c;
    ngx_http_academy_stream_t  *s;

    s = ev->data;
    c = s->connection;
    kept = (s->request != NULL);

    if (kept) {
        ngx_http_set_log_request(c->log, s->request);
    }

    if (ev->timedout) {
        ev->timedout = 0;
        ngx_http_academy_stream_timer(s);

    } else if (s->begun) {
        ngx_http_academy_stream_begin(s);

    } else {
        ngx_http_academy_stream_run(s);
    }

    if (kept) {
        ngx_http_run_posted_requests(c);
    }
}


static void
ngx_http_academy_stream_begin(ngx_http_academy_stream_t *s)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = s->connection;
    r = s->request;

    if (r->buffered || c->buffered) {

        /* the peer takes not even the header */

        if (ngx_http_academy_stream_block(s) != NGX_OK) {
            ngx_http_academy_stream_end(s, NGX_ERROR);
        }

        return;
    }

    s->begun = 0;

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    s->deadline = ngx_current_msec + s->timeout;
    s->ping = ngx_current_msec + s->ping_interval;

    ngx_add_timer(&s->event, s->ping_interval
                             ? ngx_min(s->timeout, s->ping_interval)
                             : s->timeout);

    if (ngx_http_academy_stream_leave(s) == NGX_ERROR) {
        ngx_http_academy_stream_end(s, NGX_ERROR);
        return;
    }

    ngx_http_academy_stream_run(s);
}


/*
 * Frees the request, as ngx_http_set_keepalive() does it, and what only a
 * further request would need.  NGX_DECLINED: the request has to stay.
 */

static ngx_int_t
ngx_http_academy_stream_leave(ngx_http_academy_stream_t *s)
{
    ngx_chain_t             *cl, *ln;
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_pool_cleanup_t      *cln;
    ngx_http_connection_t   *hc;

    c = s->connection;
    r = s->request;

    if (r->http_version >= NGX_HTTP_VERSION_20
        || r->main->count != 1 || r->blocked || r->postponed
        || r->posted_requests || r->discard_body)
    {
        return NGX_DECLINED;
    }

    cln = ngx_pool_cleanup_add(c->pool, 0);
    if (cln == NULL) {
        return NGX_DECLINED;
    }

    cln->handler = ngx_http_academy_stream_free;
    cln->data = s;

    s->cleanup->handler = NULL;
    s->memory->handler = NULL;
    s->request = NULL;

    hc = r->http_connection;

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    r->request_complete = 1;
    ngx_http_free_request(r, 0);

    c->data = s;
    c->read->handler = ngx_http_academy_stream_read_handler;
    c->write->handler = ngx_http_academy_stream_write_handler;
    c->log->action = "sending events to client";

    (void) ngx_pfree(c->pool, c->buffer->start);

    for (cl = hc->free; cl; /* void */) {
        ln = cl;
        cl = cl->next;
        (void) ngx_pfree(c->pool, ln->buf->start);
        ngx_free_chain(c->pool, ln);
    }

    hc->free = NULL;

    for (cl = hc->busy; cl; /* void */) {
        ln = cl;
        cl = cl->next;
        (void) ngx_pfree(c->pool, ln->buf->start);
        ngx_free_chain(c->pool, ln);
    }

    hc->busy = NULL;
    hc->nbusy = 0;

#if (NGX_HTTP_SSL)
    if (c->ssl) {
        ngx_ssl_free_buffer(c);
    }
#endif

    if (!c->tcp_nodelay && ngx_tcp_nodelay(c) != NGX_OK) {
        return NGX_ERROR;
    }

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);
    }

    return ngx_handle_read_event(c->read, 0);
}


/* a call has ended: at once, or one that waited */

static void
ngx_http_academy_stream_done(ngx_http_academy_call_t *call)
{
    ngx_uint_t                  kept;
    ngx_connection_t           *c;
    ngx_http_academy_stream_t  *s;

    s = call->data;

    if (s->calling) {
        return;
    }

    c = s->connection;
    kept = (s->request != NULL);

    s->waiting = 0;
    s->brought = 1;

    ngx_http_academy_stream_run(s);

    if (kept) {
        ngx_http_run_posted_requests(c);
    }
}


/* writes what there is, until the stream waits, is blocked or has ended */

static void
ngx_http_academy_stream_run(ngx_http_academy_stream_t *s)
{
    ngx_int_t                  rc;
    ngx_uint_t                 turn;
    ngx_http_academy_batch_t  *batch;

    for (turn = 0; !s->batch && !s->waiting; turn++) {

        if (s->ending) {
            ngx_http_academy_stream_end(s, NGX_OK);
            return;
        }

        if (turn == NGX_HTTP_ACADEMY_TURN) {
            ngx_post_event(&s->event, &ngx_posted_next_events);
            return;
        }

        batch = ngx_http_academy_stream_fill(s);

        if (batch == NULL) {
            continue;
        }

        rc = ngx_http_academy_stream_write(s, batch);

        if (rc == NGX_ERROR) {
            ngx_http_academy_stream_end(s, NGX_ERROR);
            return;
        }
    }
}


/*
 * Takes messages until there are no more, the batch is full, or the mailbox
 * has come to its end.  Returns NULL if there was none.
 */

static ngx_http_academy_batch_t *
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
    size_t                     used;
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

    larger = ngx_alloc(sizeof(ngx_http_academy_batch_t) + used + size,
                       s->connection->log);
    if (larger == NULL) {
        return NULL;
    }

    larger->n = 0;
    larger->pos = larger->data;
    larger->last = larger->data;
    larger->end = larger->data + used + size;

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


/*
 * Writes a batch, and keeps as s->batch what the peer does not take now.
 * Returns NGX_OK, or NGX_ERROR, after which the stream has to end.
 */

static ngx_int_t
ngx_http_academy_stream_write(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch)
{
    size_t                     size;
    ngx_int_t                  rc;
    ngx_http_academy_batch_t  *copy;

    rc = ngx_http_academy_stream_send(s, batch);

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

    return ngx_http_academy_stream_block(s);
}


/* goes on with s->batch: NGX_OK if it is written or blocked, or NGX_ERROR */

static ngx_int_t
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

    if (s->connection->write->timer_set) {
        ngx_del_timer(s->connection->write);
    }

    return NGX_OK;
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


static ngx_int_t
ngx_http_academy_stream_block(ngx_http_academy_stream_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;

    if (s->request) {
        s->request->write_event_handler =
                                       ngx_http_academy_stream_request_writer;
    }

    ngx_add_timer(c->write, s->send_timeout);

    return ngx_handle_write_event(c->write, 0);
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


/* a ping is due, or nothing came for as long as the client wanted to wait */

static void
ngx_http_academy_stream_timer(ngx_http_academy_stream_t *s)
{
    ngx_msec_int_t             left, ping;
    ngx_http_academy_batch_t  *batch;

    left = (ngx_msec_int_t) (s->deadline - ngx_current_msec);

    if (left <= 0 && s->batch == NULL) {
        ngx_http_academy_stream_end(s, NGX_OK);
        return;
    }

    if (s->batch) {
        left = ngx_max(left, 1000);
    }

    if (s->ping_interval) {
        ping = (ngx_msec_int_t) (s->ping - ngx_current_msec);

        if (ping <= 0) {
            ping = s->ping_interval;
            s->ping = ngx_current_msec + s->ping_interval;

            /* bytes that are not taken say as much as a ping */

            if (s->batch == NULL) {
                batch = ngx_http_academy_stream_room(s, NULL,
                                                     sizeof(": ping\n\n"));
                if (batch == NULL) {
                    ngx_http_academy_stream_end(s, NGX_ERROR);
                    return;
                }

                batch->last = ngx_cpymem(batch->last, ": ping\n\n",
                                         sizeof(": ping\n\n") - 1);

                if (ngx_http_academy_stream_write(s, batch) == NGX_ERROR) {
                    ngx_http_academy_stream_end(s, NGX_ERROR);
                    return;
                }
            }
        }

        left = ngx_min(left, ping);
    }

    ngx_add_timer(&s->event, (ngx_msec_t) left);
}


static void
ngx_http_academy_stream_write_handler(ngx_event_t *wev)
{
    ngx_connection_t  *c;

    c = wev->data;

    ngx_http_academy_stream_writable(c->data);
}


static void
ngx_http_academy_stream_request_writer(ngx_http_request_t *r)
{
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    ngx_http_academy_stream_writable(ctx->stream);
}


static void
ngx_http_academy_stream_writable(ngx_http_academy_stream_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;

    if (c->write->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client takes no more events");
        c->timedout = 1;
        ngx_http_academy_stream_end(s, NGX_ERROR);
        return;
    }

    if (s->begun) {

        if (ngx_http_output_filter(s->request, NULL) == NGX_ERROR) {
            ngx_http_academy_stream_end(s, NGX_ERROR);
            return;
        }

        /* not from here, where nginx still has the request in hand */

        ngx_post_event(&s->event, &ngx_posted_events);
        return;
    }

    if (s->batch == NULL) {
        return;
    }

    if (ngx_http_academy_stream_flush(s) == NGX_ERROR) {
        ngx_http_academy_stream_end(s, NGX_ERROR);
        return;
    }

    ngx_http_academy_stream_run(s);
}


/* a client has nothing to say here but that it is gone */

static void
ngx_http_academy_stream_read_handler(ngx_event_t *rev)
{
    ngx_connection_t           *c;
    ngx_http_academy_stream_t  *s;

    c = rev->data;
    s = c->data;

    if (c->close || ngx_http_academy_stream_drain(c) != NGX_OK) {
        ngx_log_error(NGX_LOG_INFO, c->log, 0, "client closed event stream");
        ngx_http_academy_stream_end(s, NGX_ERROR);
        return;
    }

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_next_events);
        return;
    }

    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_http_academy_stream_end(s, NGX_ERROR);
    }
}


/* reads and drops what a client has sent: unread, it would turn FIN to RST */

static ngx_int_t
ngx_http_academy_stream_drain(ngx_connection_t *c)
{
    ssize_t        n;
    ngx_uint_t     i;

    static u_char  buf[4096];

    for (i = 0; i < 16 && c->read->ready; i++) {

        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR || n == 0) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* the stream may be gone afterwards, and does nothing any more if it is not */

static void
ngx_http_academy_stream_end(ngx_http_academy_stream_t *s, ngx_int_t rc)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = s->connection;
    r = s->request;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0, "academy stream end: %i",
                   rc);

    ngx_http_academy_stream_stop(s);

    if (r) {
        if (rc == NGX_OK) {
            rc = ngx_http_send_special(r, NGX_HTTP_LAST);
        }

        ngx_http_finalize_request(r, rc);
        return;
    }

    if (rc == NGX_OK) {
        (void) ngx_http_academy_stream_drain(c);
    }

#if (NGX_HTTP_SSL)
    if (c->ssl && rc != NGX_OK) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;
    }
#endif

    ngx_http_close_connection(c);
}


/* leaves the store with what it is owed; may run more than once */

static void
ngx_http_academy_stream_stop(void *data)
{
    ngx_http_academy_stream_t *s = data;

    ngx_http_academy_exchange_t  *exchange;

    exchange = s->call.exchange;

    if (s->event.timer_set) {
        ngx_del_timer(&s->event);
    }

    if (s->event.posted) {
        ngx_delete_posted_event(&s->event);
    }

    if (s->waiting) {
        s->waiting = 0;
        exchange->store->cancel(&s->call);
    }

    if (s->brought) {
        s->brought = 0;

        if (s->call.result == NGX_HTTP_ACADEMY_OK) {
            exchange->store->give_back(exchange, &s->call.out.delivery, 1);
        }
    }

    if (s->batch && s->batch->n) {
        exchange->store->give_back(exchange, s->batch->deliveries,
                                   s->batch->n);
        s->batch->n = 0;
    }
}


static void
ngx_http_academy_stream_free(void *data)
{
    ngx_http_academy_stream_t *s = data;

    ngx_http_academy_stream_stop(s);

    if (s->batch) {
        ngx_free(s->batch);
    }

    ngx_free(s);
}
