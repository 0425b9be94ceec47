
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_stream.h"


/*
 * Event streams.
 *
 * A stream begins as a request.  On HTTP/1 it leaves it once the header is out:
 * the request is freed, as it is for a connection that is kept alive, and the
 * stream has the connection for itself.  It ends with the connection, for what
 * ends without chunks ends cleanly for a client whenever it does.  On HTTP/2,
 * or where something else still holds the request, the request stays.
 *
 * At any time a stream does one of four things: it has a call at the store
 * that waits, it has a batch that its peer has not taken all of, it waits until
 * its peer acknowledges what it was sent, or it runs.  What is written of a
 * batch is the wire's.
 */


/* batches in a row before others have their turn */

#define NGX_HTTP_ACADEMY_TURN        4


static ngx_http_academy_stream_t *ngx_http_academy_stream_create(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_academy_stream_header(ngx_http_request_t *r);
static void ngx_http_academy_stream_event_handler(ngx_event_t *ev);
static void ngx_http_academy_stream_begin(ngx_http_academy_stream_t *s);
static ngx_int_t ngx_http_academy_stream_leave(ngx_http_academy_stream_t *s);
static void ngx_http_academy_stream_done(ngx_http_academy_call_t *call);
static void ngx_http_academy_stream_run(ngx_http_academy_stream_t *s);
#if (NGX_HTTP_SSL && NGX_HTTP_V2)
static void ngx_http_academy_stream_rest(ngx_http_request_t *r);
#endif
static void ngx_http_academy_stream_timer(ngx_http_academy_stream_t *s);
static void ngx_http_academy_stream_write_handler(ngx_event_t *wev);
static void ngx_http_academy_stream_writable(ngx_http_academy_stream_t *s);
static void ngx_http_academy_stream_read_handler(ngx_event_t *rev);
static ngx_int_t ngx_http_academy_stream_drain(ngx_connection_t *c);
static void ngx_http_academy_stream_end(ngx_http_academy_stream_t *s,
    ngx_int_t rc);
static ngx_int_t ngx_http_academy_stream_shutdown(
    ngx_http_academy_stream_t *s);
static void ngx_http_academy_stream_shut(ngx_connection_t *c);
static void ngx_http_academy_stream_close(ngx_http_academy_stream_t *s);
static void ngx_http_academy_stream_cleanup(void *data);
static void ngx_http_academy_stream_stop(void *data);
static void ngx_http_academy_stream_free(void *data);


static ngx_str_t  ngx_http_academy_event_stream =
    ngx_string("text/event-stream");
static ngx_str_t  ngx_http_academy_no_cache = ngx_string("no-cache");
static ngx_str_t  ngx_http_academy_no = ngx_string("no");


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
    s->call.agent_timeout = ctx->call.agent_timeout;
    s->call.asked = 1;
    s->call.stays = 1;
    s->call.done = ngx_http_academy_stream_done;
    s->call.data = s;

    s->connection = r->connection;
    s->request = r;

    s->timeout = ctx->timeout;
    s->expires = ctx->identity.expires;
    s->ping_interval = alcf->ping_interval;
    s->peer_timeout = alcf->peer_timeout;
    s->send_timeout = clcf->send_timeout;
    s->told = alcf->log_deliveries;

    s->event.handler = ngx_http_academy_stream_event_handler;
    s->event.data = s;
    s->event.log = r->connection->log;
    s->event.cancelable = 1;

    cln->handler = ngx_http_academy_stream_cleanup;
    cln->data = s;
    s->cleanup = cln;

    /* HTTP/2 frames may refer to a batch until the request's pool goes */

    memory->handler = ngx_http_academy_stream_free;
    memory->data = s;
    s->memory = memory;

    ctx->stream = s;

    s->tally = s->call.exchange->figures->mine;
    s->tally->streams++;

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
    r->lingering_close = 1;
    r->disable_not_modified = 1;
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

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "academy stream event handler: t:%ui, begun:%ui",
                   (ngx_uint_t) ev->timedout, (ngx_uint_t) s->begun);

    if (ev->timedout) {
        ev->timedout = 0;
        ngx_http_academy_stream_timer(s);

    } else if (s->begun) {
        ngx_http_academy_stream_begin(s);

    } else {
        ev->cancelable = 1;
        ngx_http_academy_stream_run(s);
    }

    if (kept) {
        ngx_http_run_posted_requests(c);
    }
}


static void
ngx_http_academy_stream_begin(ngx_http_academy_stream_t *s)
{
    ngx_msec_int_t       left;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = s->connection;
    r = s->request;

    if (c->error) {
        ngx_http_academy_stream_end(s, NGX_ERROR);
        return;
    }

    if (r->buffered || c->buffered) {

        /* the peer takes not even the header */

        if (ngx_http_academy_stream_block(s) != NGX_OK) {
            ngx_http_academy_stream_end(s, NGX_ERROR);
        }

        return;
    }

    s->begun = 0;

    if (ngx_http_academy_stream_unblock(s) != NGX_OK) {
        ngx_http_academy_stream_end(s, NGX_ERROR);
        return;
    }

    if (s->request->http_version < NGX_HTTP_VERSION_20) {
        ngx_http_academy_wire_timeout(s->connection, s->peer_timeout);
    }

    s->deadline = ngx_current_msec + s->timeout;
    s->ping = ngx_current_msec + s->ping_interval;

    left = (ngx_msec_int_t) ngx_http_academy_token_left(s->expires);
    left = ngx_min(left, (ngx_msec_int_t) s->timeout);

    if (s->ping_interval) {
        left = ngx_min(left, (ngx_msec_int_t) s->ping_interval);
    }

    ngx_add_timer(&s->event, (ngx_msec_t) left);

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
    ngx_chain_t               *cl, *ln;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_pool_cleanup_t        *cln;
    ngx_http_connection_t     *hc;
    ngx_http_core_loc_conf_t  *clcf;

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

    /* that of a poll before */

    s->wire = ngx_http_academy_wire_find(c);

    if (s->wire) {
        s->wire->stream = 1;
        s->wire->told = s->told;
    }

    hc = r->http_connection;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    /* limit_rate ends with the request */

    c->write->delayed = 0;

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

    if (c->tcp_nopush == NGX_TCP_NOPUSH_SET) {

        if (ngx_tcp_push(c->fd) == -1) {
            ngx_connection_error(c, ngx_socket_errno, ngx_tcp_push_n " failed");
            return NGX_ERROR;
        }

        c->tcp_nopush = NGX_TCP_NOPUSH_UNSET;
    }

    if (clcf->tcp_nodelay && ngx_tcp_nodelay(c) != NGX_OK) {
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

    if (kept) {
        ngx_http_set_log_request(c->log, s->request);
    }

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

    if (s->draining) {

        if (s->wire->n == 0) {
            ngx_http_academy_stream_close(s);
            return;
        }

        ngx_http_academy_wire_wait(s->wire, &s->wait, &s->event);
        return;
    }

    if (s->wire) {
        ngx_http_academy_wire_leave(&s->wait);
        ngx_http_academy_wire_glance(s->wire, &s->call.exchange->least);
    }

    for (turn = 0; !s->batch && !s->waiting; turn++) {

        if (s->ending || ngx_exiting) {
            ngx_http_academy_stream_end(s, NGX_OK);
            return;
        }

        if (turn == NGX_HTTP_ACADEMY_TURN) {

            /* a worker that exits is not to go before it has run once more */

            s->event.cancelable = 0;
            ngx_post_event(&s->event, &ngx_posted_next_events);
            return;
        }

        if (s->wire && s->wire->n >= NGX_HTTP_ACADEMY_WIRE_MAX) {

            /* until its peer acknowledges some */

            ngx_http_academy_wire_wait(s->wire, &s->wait, &s->event);
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

#if (NGX_HTTP_SSL && NGX_HTTP_V2)
    if (s->waiting && s->request) {
        ngx_http_academy_stream_rest(s->request);
    }
#endif
}


#if (NGX_HTTP_SSL && NGX_HTTP_V2)

/* nothing is to be written for a while: 16k of a connection are for that */

static void
ngx_http_academy_stream_rest(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    if (r->stream) {
        c = r->stream->connection->connection;

        if (c->ssl && !c->buffered) {
            ngx_ssl_free_buffer(c);
        }
    }
}

#endif


/* a ping is due, or nothing came for as long as the client wanted to wait */

static void
ngx_http_academy_stream_timer(ngx_http_academy_stream_t *s)
{
    ngx_msec_int_t  left, ping, expires;

    if (s->draining) {
        ngx_http_academy_stream_close(s);
        return;
    }

    expires = (ngx_msec_int_t) ngx_http_academy_token_left(s->expires);

    if (expires == 0) {
        ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                      "event stream ends with its client's token");

        /* half an event is no clean end, but the only one there is */

        ngx_http_academy_stream_end(s, s->batch ? NGX_ERROR : NGX_OK);
        return;
    }

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

            if (s->batch == NULL
                && ngx_http_academy_stream_ping(s) != NGX_OK)
            {
                ngx_http_academy_stream_end(s, NGX_ERROR);
                return;
            }
        }

        left = ngx_min(left, ping);
    }

    left = ngx_min(left, expires);

    ngx_add_timer(&s->event, (ngx_msec_t) left);
}


static void
ngx_http_academy_stream_write_handler(ngx_event_t *wev)
{
    ngx_connection_t  *c;

    c = wev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "academy stream write handler");

    ngx_http_academy_stream_writable(c->data);
}


void
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

    if (c->write->delayed) {

        /* limit_rate */

        if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
            ngx_http_academy_stream_end(s, NGX_ERROR);
        }

        return;
    }

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

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "academy stream read handler");

    if (c->close) {
        ngx_log_error(NGX_LOG_INFO, c->log, 0,
                      "event stream closed, its worker exits");
        ngx_http_academy_stream_end(s, NGX_ERROR);
        return;
    }

    if (ngx_http_academy_stream_drain(c) != NGX_OK) {
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

    if (rc == NGX_OK && ngx_http_academy_stream_shutdown(s) == NGX_AGAIN) {
        return;
    }

#if (NGX_HTTP_SSL)
    if (c->ssl && rc != NGX_OK) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;
    }
#endif

    ngx_http_academy_stream_close(s);
}


/*
 * The end of the stream is told, and that of the connection is put off until
 * the peer has acknowledged what it was sent: NGX_AGAIN.
 */

static ngx_int_t
ngx_http_academy_stream_shutdown(ngx_http_academy_stream_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;

    (void) ngx_http_academy_stream_drain(c);

    if (s->wire == NULL) {
        return NGX_OK;
    }

    ngx_http_academy_wire_check(s->wire);

    if (s->wire->n == 0) {
        return NGX_OK;
    }

    s->draining = 1;

    ngx_http_academy_wire_wait(s->wire, &s->wait, &s->event);

    ngx_add_timer(&s->event, s->peer_timeout ? s->peer_timeout
                                             : s->send_timeout);

#if (NGX_HTTP_SSL)
    if (c->ssl) {

        /* what follows is not counted: all of it is acknowledged, or none */

        s->wire->exact = 0;
        c->ssl->no_wait_shutdown = 1;

        if (ngx_ssl_shutdown(c) == NGX_AGAIN) {
            c->ssl->handler = ngx_http_academy_stream_shut;
            return NGX_AGAIN;
        }
    }
#endif

    ngx_http_academy_stream_shut(c);

    return NGX_AGAIN;
}


static void
ngx_http_academy_stream_shut(ngx_connection_t *c)
{
    ngx_http_academy_stream_t  *s;

    s = c->data;

    c->read->handler = ngx_http_academy_stream_read_handler;
    c->write->handler = ngx_http_academy_stream_write_handler;

    if (ngx_shutdown_socket(c->fd, NGX_WRITE_SHUTDOWN) == -1) {
        ngx_connection_error(c, ngx_socket_errno,
                             ngx_shutdown_socket_n " failed");

        /* the client is gone; not from here, whoever called goes on */

        ngx_http_academy_wire_end(s->wire);
        ngx_post_event(&s->event, &ngx_posted_events);
        return;
    }

    s->wire->fin = 1;
}


static void
ngx_http_academy_stream_close(ngx_http_academy_stream_t *s)
{
    if (s->wire) {
        ngx_http_academy_wire_end(s->wire);
    }

    ngx_http_close_connection(s->connection);
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
            ngx_http_academy_return(exchange, &s->call.out.delivery, 1);
        }
    }

    if (s->batch) {
        ngx_http_academy_stream_return(s, s->batch);
    }

    ngx_http_academy_wire_leave(&s->wait);
}


/* of a request that the stream has not left */

static void
ngx_http_academy_stream_cleanup(void *data)
{
    ngx_http_academy_stream_t *s = data;

    ngx_http_academy_stream_stop(s);

    if (s->wire == NULL) {
        return;
    }

    if (s->wire->connection == s->connection) {

        /* the connection goes with it */

        ngx_http_academy_wire_end(s->wire);
        return;
    }

    /* as long as it is known how much was written of what is not whole yet */

    ngx_http_academy_wire_check(s->wire);
    ngx_http_academy_wire_hold(s->wire);
}


static void
ngx_http_academy_stream_free(void *data)
{
    ngx_http_academy_stream_t *s = data;

    ngx_http_academy_stream_stop(s);

    s->tally->streams--;

    if (s->batch) {
        ngx_free(s->batch);
    }

    ngx_free(s);
}
