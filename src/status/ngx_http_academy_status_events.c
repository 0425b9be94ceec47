
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


/*
 * The picture every second, as an event stream.
 *
 * What is sent stands in a pool of its own, which goes when all of it is
 * written: a viewer that reads slowly gets fewer pictures, and none is piled
 * up for it.  Otherwise it goes with the request's pool and not before, as
 * HTTP/2 still writes what is in its queue when the request has ended.  The
 * timer is not cancelable, so that a worker that exits runs it once more and
 * ends the stream in order; nor is it long, or that one would not exit.
 */


#define NGX_HTTP_ACADEMY_EVENTS_TICK     1000       /* milliseconds */
#define NGX_HTTP_ACADEMY_EVENTS_STALLED  60         /* pictures */
#define NGX_HTTP_ACADEMY_EVENTS_LONGEST  600000     /* milliseconds */


static ngx_int_t ngx_http_academy_events_begin(
    ngx_http_academy_status_t *status);
static void ngx_http_academy_events_wait(ngx_http_academy_status_t *status,
    ngx_msec_t ms);
static void ngx_http_academy_events_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_academy_events_tick(
    ngx_http_academy_status_t *status);
static void ngx_http_academy_events_done(ngx_http_academy_call_t *call);
static ngx_int_t ngx_http_academy_events_write(
    ngx_http_academy_status_t *status);
static ngx_int_t ngx_http_academy_events_forget(
    ngx_http_academy_status_t *status);
static void ngx_http_academy_events_writer(ngx_http_request_t *r);
static void ngx_http_academy_events_cleanup(void *data);
static void ngx_http_academy_events_end(ngx_http_academy_status_t *status,
    ngx_int_t rc);


ngx_int_t
ngx_http_academy_status_events(ngx_http_academy_status_t *status)
{
    ngx_int_t                 n;
    ngx_str_t                 value;
    ngx_msec_t                left;
    ngx_http_request_t       *r;
    ngx_http_academy_ctx_t   *ctx;

    r = status->request;
    status->interval = 1000;

    if (ngx_http_academy_status_arg(r, "interval", &value) == NGX_OK) {
        n = ngx_atoi(value.data, value.len);

        if (n < 1 || n > 60) {
            return ngx_http_academy_status_refuse(r, NGX_HTTP_BAD_REQUEST,
                                                  "interval must be from 1 to "
                                                  "60 seconds");
        }

        status->interval = n * 1000;
    }

    if (status->exchange->store->survey == NULL) {
        return ngx_http_academy_status_refuse(r, NGX_HTTP_NOT_IMPLEMENTED,
                                       "The store of this exchange does not "
                                       "tell that");
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    left = ngx_http_academy_token_left(ctx->identity.expires);
    left = ngx_min(left, NGX_HTTP_ACADEMY_EVENTS_LONGEST);

    status->deadline = ngx_current_msec + left;

    return ngx_http_academy_events_begin(status);
}


static ngx_int_t
ngx_http_academy_events_begin(ngx_http_academy_status_t *status)
{
    ngx_int_t            rc;
    ngx_table_elt_t     *h;
    ngx_pool_cleanup_t  *cln;
    ngx_http_request_t  *r;

    static ngx_str_t  no_store = ngx_string("no-store");
    static ngx_str_t  no = ngx_string("no");

    r = status->request;

    h = ngx_pcalloc(r->pool, sizeof(ngx_table_elt_t));
    cln = ngx_pool_cleanup_add(r->pool, 0);

    if (h == NULL || cln == NULL
        || ngx_http_academy_header(r, "Cache-Control", &no_store) != NGX_OK
        || ngx_http_academy_header(r, "X-Accel-Buffering", &no) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_academy_events_cleanup;
    cln->data = status;

    /* nobody is to hold events back to compress them */

    ngx_str_set(&h->key, "Content-Encoding");
    ngx_str_set(&h->value, "identity");
    r->headers_out.content_encoding = h;

    r->disable_not_modified = 1;
    r->headers_out.status = NGX_HTTP_OK;
    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    status->event.handler = ngx_http_academy_events_handler;
    status->event.data = status;
    status->event.log = r->connection->log;

    r->main->count++;

    if (ngx_http_academy_park(r) != NGX_OK) {
        r->main->count--;
        return NGX_ERROR;
    }

    r->write_event_handler = ngx_http_academy_events_writer;

    /* the first one at once */

    ngx_http_academy_events_wait(status, 1);

    return NGX_DONE;
}


static void
ngx_http_academy_events_wait(ngx_http_academy_status_t *status, ngx_msec_t ms)
{
    status->next = ngx_current_msec + ms;

    ngx_add_timer(&status->event, ngx_min(ms, NGX_HTTP_ACADEMY_EVENTS_TICK));
}


static void
ngx_http_academy_events_handler(ngx_event_t *ev)
{
    ngx_msec_int_t              left;
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_http_academy_status_t  *status;

    status = ev->data;
    r = status->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "academy status events handler");

    left = (ngx_msec_int_t) (status->next - ngx_current_msec);

    if (ngx_exiting
        || (ngx_msec_int_t) (status->deadline - ngx_current_msec) <= 0)
    {
        ngx_http_academy_events_end(status, NGX_OK);

    } else if (left > 0) {
        ngx_add_timer(ev, ngx_min(left, NGX_HTTP_ACADEMY_EVENTS_TICK));

    } else if (ngx_http_academy_events_tick(status) == NGX_ERROR) {
        ngx_http_academy_events_end(status, NGX_ERROR);
    }

    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_academy_events_tick(ngx_http_academy_status_t *status)
{
    ngx_int_t                 rc;
    ngx_http_request_t       *r;
    ngx_http_academy_ctx_t   *ctx;
    ngx_http_academy_call_t  *call;

    r = status->request;

    if (r->buffered || r->connection->buffered) {

        if (++status->stalled == NGX_HTTP_ACADEMY_EVENTS_STALLED) {
            return NGX_ERROR;
        }

        ngx_http_academy_events_wait(status, status->interval);
        return NGX_OK;
    }

    status->stalled = 0;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    call = &ctx->call;
    call->exchange = status->exchange;
    call->caller = &ctx->caller;
    call->log = r->connection->log;
    call->pool = r->pool;
    call->done = ngx_http_academy_events_done;
    call->data = status;
    call->in.survey = &status->survey;

    ngx_http_academy_survey_unknown(&status->survey);

    status->calling = 1;
    rc = status->exchange->store->survey(call);
    status->calling = 0;

    if (rc == NGX_AGAIN) {
        status->pending = 1;
        return NGX_OK;
    }

    return ngx_http_academy_events_write(status);
}


static void
ngx_http_academy_events_done(ngx_http_academy_call_t *call)
{
    ngx_connection_t           *c;
    ngx_http_academy_status_t  *status;

    status = call->data;

    if (status->calling) {
        return;
    }

    status->pending = 0;
    c = status->request->connection;

    ngx_http_set_log_request(c->log, status->request);

    if (ngx_http_academy_events_write(status) == NGX_ERROR) {
        ngx_http_academy_events_end(status, NGX_ERROR);
    }

    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_academy_events_write(ngx_http_academy_status_t *status)
{
    ngx_http_request_t       *r;
    ngx_http_academy_text_t   text;

    r = status->request;

    if (status->pool && ngx_http_academy_events_forget(status) != NGX_OK) {
        return NGX_ERROR;
    }

    status->pool = ngx_create_pool(4096, r->connection->log);
    if (status->pool == NULL) {
        return NGX_ERROR;
    }

    ngx_http_academy_text_begin(&text, status->pool);
    ngx_http_academy_print(&text, "data: ");
    ngx_http_academy_status_json(status, &text);
    ngx_http_academy_print(&text, "\n\n");

    if (text.failed) {
        return NGX_ERROR;
    }

    text.buf->flush = 1;
    text.buf->last_in_chain = 1;

    if (ngx_http_output_filter(r, text.first) == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_http_academy_events_wait(status, status->interval);

    if (r->buffered || r->connection->buffered) {
        return ngx_handle_write_event(r->connection->write, 0);
    }

    return NGX_OK;
}


/* filters look once more at what they have passed on before */

static ngx_int_t
ngx_http_academy_events_forget(ngx_http_academy_status_t *status)
{
    ngx_chain_t  out;

    ngx_memzero(&status->flush, sizeof(ngx_buf_t));

    status->flush.flush = 1;
    out.buf = &status->flush;
    out.next = NULL;

    if (ngx_http_output_filter(status->request, &out) == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_http_academy_events_cleanup(status);

    return NGX_OK;
}


static void
ngx_http_academy_events_writer(ngx_http_request_t *r)
{
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    if (r->connection->write->delayed) {
        (void) ngx_handle_write_event(r->connection->write, 0);
        return;
    }

    if (ngx_http_output_filter(r, NULL) == NGX_ERROR
        || ngx_handle_write_event(r->connection->write, 0) != NGX_OK)
    {
        ngx_http_academy_events_end(ctx->status, NGX_ERROR);
    }
}


static void
ngx_http_academy_events_end(ngx_http_academy_status_t *status, ngx_int_t rc)
{
    ngx_http_request_t  *r;

    r = status->request;

    if (status->event.timer_set) {
        ngx_del_timer(&status->event);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    ngx_http_finalize_request(r, rc);
}


static void
ngx_http_academy_events_cleanup(void *data)
{
    ngx_http_academy_status_t *status = data;

    if (status->pool) {
        ngx_destroy_pool(status->pool);
        status->pool = NULL;
    }
}
