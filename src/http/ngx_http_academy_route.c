
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"


/*
 * From a request to a call and back.  Once its body is read, a request holds
 * the reference that ngx_http_read_client_request_body() took, and that is
 * given up by the one ngx_http_finalize_request() that ends it: at once, from
 * the end of its call, or from its timer.
 */


#define ngx_http_academy_op(name)                                             \
    offsetof(ngx_http_academy_store_t, name)


typedef struct {
    ngx_str_t                       path;
    ngx_str_t                       allow;
    ngx_http_academy_route_t        routes[4];
} ngx_http_academy_path_t;


static ngx_inline ngx_http_academy_path_t *ngx_http_academy_path(
    ngx_http_request_t *r, ngx_http_academy_loc_conf_t *alcf);
static ngx_int_t ngx_http_academy_refuse(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *text);
static ngx_uint_t ngx_http_academy_encoded(ngx_http_request_t *r);
static void ngx_http_academy_body_handler(ngx_http_request_t *r);
static void ngx_http_academy_body_free(ngx_http_request_t *r);
static void ngx_http_academy_call_handler(ngx_http_academy_call_t *call);
static void ngx_http_academy_cleanup(void *data);


static ngx_str_t  ngx_http_academy_not_found = ngx_string("Not found");
static ngx_str_t  ngx_http_academy_not_allowed =
    ngx_string("Method not allowed");
static ngx_str_t  ngx_http_academy_unsupported =
    ngx_string("A body with a Content-Encoding is not accepted");


/* the most frequent ones first */

static ngx_http_academy_path_t  ngx_http_academy_paths[] = {

    { ngx_string("/message"), ngx_string("GET, PUT"), {
        { NGX_HTTP_PUT, NGX_HTTP_ACADEMY_MESSAGE,
          ngx_http_academy_op(put), ngx_http_academy_answer_done,
          ngx_string("PUT /message") },
        { NGX_HTTP_GET, NGX_HTTP_ACADEMY_MAILBOX|NGX_HTTP_ACADEMY_TIMEOUT,
          ngx_http_academy_op(get), ngx_http_academy_answer_message,
          ngx_string("GET /message") },
        { 0, 0, 0, NULL, ngx_null_string } } },

    { ngx_string("/mailbox/listen"), ngx_string("GET"), {
        { NGX_HTTP_GET, NGX_HTTP_ACADEMY_MAILBOX|NGX_HTTP_ACADEMY_TIMEOUT,
          ngx_http_academy_op(status), ngx_http_academy_answer_listen,
          ngx_string("GET /mailbox/listen") },
        { 0, 0, 0, NULL, ngx_null_string } } },

    { ngx_string("/mailbox/heartbeat"), ngx_string("GET, POST"), {
        { NGX_HTTP_POST, NGX_HTTP_ACADEMY_MAILBOX,
          ngx_http_academy_op(beat), ngx_http_academy_answer_done,
          ngx_string("POST /mailbox/heartbeat") },
        { NGX_HTTP_GET, NGX_HTTP_ACADEMY_MAILBOX,
          ngx_http_academy_op(heartbeat),
          ngx_http_academy_answer_heartbeat,
          ngx_string("GET /mailbox/heartbeat") },
        { 0, 0, 0, NULL, ngx_null_string } } },

    { ngx_string("/mailbox"), ngx_string("DELETE, GET, POST"), {
        { NGX_HTTP_POST, NGX_HTTP_ACADEMY_MAILBOX|NGX_HTTP_ACADEMY_CLASSES,
          ngx_http_academy_op(create), ngx_http_academy_answer_done,
          ngx_string("POST /mailbox") },
        { NGX_HTTP_GET, NGX_HTTP_ACADEMY_MAILBOX,
          ngx_http_academy_op(status), ngx_http_academy_answer_status,
          ngx_string("GET /mailbox") },
        { NGX_HTTP_DELETE, NGX_HTTP_ACADEMY_MAILBOX,
          ngx_http_academy_op(terminate), ngx_http_academy_answer_done,
          ngx_string("DELETE /mailbox") },
        { 0, 0, 0, NULL, ngx_null_string } } },

    { ngx_string("/mailbox/stats"), ngx_string("GET"), {
        { NGX_HTTP_GET, NGX_HTTP_ACADEMY_MAILBOX,
          ngx_http_academy_op(stats), ngx_http_academy_answer_stats,
          ngx_string("GET /mailbox/stats") },
        { 0, 0, 0, NULL, ngx_null_string } } },

    { ngx_string("/discover"), ngx_string("GET"), {
        { NGX_HTTP_GET, NGX_HTTP_ACADEMY_CLASS,
          ngx_http_academy_op(discover), ngx_http_academy_answer_discover,
          ngx_string("GET /discover") },
        { 0, 0, 0, NULL, ngx_null_string } } },

    { ngx_string("/mailbox/share"), ngx_string("DELETE, GET, POST"), {
        { NGX_HTTP_POST, NGX_HTTP_ACADEMY_MAILBOX|NGX_HTTP_ACADEMY_GROUP,
          ngx_http_academy_op(share), ngx_http_academy_answer_done,
          ngx_string("POST /mailbox/share") },
        { NGX_HTTP_GET, NGX_HTTP_ACADEMY_MAILBOX,
          ngx_http_academy_op(shares), ngx_http_academy_answer_shares,
          ngx_string("GET /mailbox/share") },
        { NGX_HTTP_DELETE, NGX_HTTP_ACADEMY_MAILBOX|NGX_HTTP_ACADEMY_GROUP,
          ngx_http_academy_op(unshare), ngx_http_academy_answer_done,
          ngx_string("DELETE /mailbox/share") },
        { 0, 0, 0, NULL, ngx_null_string } } },

    { ngx_null_string, ngx_null_string, {
        { 0, 0, 0, NULL, ngx_null_string } } }
};


ngx_int_t
ngx_http_academy_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_academy_ctx_t       *ctx;
    ngx_http_academy_path_t      *path;
    ngx_http_academy_loc_conf_t  *alcf;
    ngx_http_academy_route_t     *route;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "academy handler");

    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "an exchange does not serve subrequests");
        return NGX_HTTP_NOT_FOUND;
    }

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    ctx = ngx_http_academy_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* "satisfy any" may have passed over this module's access handler */

    rc = ngx_http_academy_identify(r, ctx);

    if (rc == NGX_DECLINED) {
        return ngx_http_academy_unauthorized(r);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    path = ngx_http_academy_path(r, alcf);

    if (path == NULL) {
        return ngx_http_academy_refuse(r, NGX_HTTP_NOT_FOUND,
                                       &ngx_http_academy_not_found);
    }

    for (route = path->routes; route->method != r->method; route++) {

        if (route->method == 0) {
            if (ngx_http_academy_header(r, "Allow", &path->allow) != NGX_OK) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            return ngx_http_academy_refuse(r, NGX_HTTP_NOT_ALLOWED,
                                           &ngx_http_academy_not_allowed);
        }
    }

    if (ngx_http_academy_encoded(r)) {
        return ngx_http_academy_refuse(r, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE,
                                       &ngx_http_academy_unsupported);
    }

    ctx->route = route;

    ngx_http_academy_count(alcf->exchange,
                           (route->answer == ngx_http_academy_answer_listen)
                           ? NGX_HTTP_ACADEMY_N_LISTEN
                           : NGX_HTTP_ACADEMY_N_ROUTES
                             + route->op / sizeof(ngx_http_academy_op_pt));

    /* its buffer is to have room for what has come with the header */

    r->request_body_in_single_buf = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_academy_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


const ngx_http_academy_route_t *
ngx_http_academy_route(ngx_http_request_t *r)
{
    ngx_http_academy_path_t      *path;
    ngx_http_academy_route_t     *route;
    ngx_http_academy_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    if (alcf->exchange == NULL || alcf->status) {
        return NULL;
    }

    path = ngx_http_academy_path(r, alcf);

    if (path == NULL) {
        return NULL;
    }

    for (route = path->routes; route->method; route++) {

        if (route->method == r->method) {
            return route;
        }
    }

    return NULL;
}


ngx_http_academy_ctx_t *
ngx_http_academy_get_ctx(ngx_http_request_t *r)
{
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    if (ctx == NULL) {
        ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_academy_ctx_t));
        if (ctx == NULL) {
            return NULL;
        }

        ngx_http_set_ctx(r, ctx, ngx_http_academy_module);
    }

    return ctx;
}


static ngx_inline ngx_http_academy_path_t *
ngx_http_academy_path(ngx_http_request_t *r, ngx_http_academy_loc_conf_t *alcf)
{
    ngx_str_t                 uri;
    ngx_http_academy_path_t  *path;

    if (r->uri.len < alcf->prefix) {
        return NULL;
    }

    uri.data = r->uri.data + alcf->prefix;
    uri.len = r->uri.len - alcf->prefix;

    for (path = ngx_http_academy_paths; path->path.len; path++) {

        if (uri.len == path->path.len
            && ngx_memcmp(uri.data, path->path.data, uri.len) == 0)
        {
            return path;
        }
    }

    return NULL;
}


/* before the body was read */

static ngx_int_t
ngx_http_academy_refuse(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *text)
{
    ngx_int_t                rc;
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    ctx->refusal = (status == NGX_HTTP_NOT_FOUND) ? "refused: route"
                   : (status == NGX_HTTP_NOT_ALLOWED) ? "refused: method"
                                                      : "refused: encoding";

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_academy_answer_text(r, status, text);
}


static ngx_uint_t
ngx_http_academy_encoded(ngx_http_request_t *r)
{
    ngx_str_t   *value;
    ngx_uint_t   n;

    static ngx_str_t  name = ngx_string("Content-Encoding");

    for (n = 0; /* void */ ; n++) {
        value = ngx_http_academy_request_header(r, &name, n);

        if (value == NULL) {
            return 0;
        }

        if (ngx_strcasecmp(value->data, (u_char *) "identity") != 0) {
            return 1;
        }
    }
}


static void
ngx_http_academy_body_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_str_t                     body, text;
    ngx_http_cleanup_t           *cln;
    ngx_http_academy_op_pt        op;
    ngx_http_academy_ctx_t       *ctx;
    ngx_http_academy_call_t      *call;
    ngx_http_academy_loc_conf_t  *alcf;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "academy body handler");

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);
    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    /* all of it is read: a worker that exits need not wait for more of it */

    r->lingering_close = 0;

    if (ngx_http_academy_body(r, &body) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    rc = ngx_http_academy_fields(r, &body, &text);

    if (rc != NGX_OK) {
        ctx->refusal = (rc == NGX_HTTP_REQUEST_ENTITY_TOO_LARGE)
                       ? "refused: size"
                       : (rc == NGX_HTTP_BAD_REQUEST) ? "refused: request"
                                                      : NULL;

        if (rc != NGX_ERROR) {
            ngx_http_academy_tell(r,
                                     (rc == NGX_HTTP_REQUEST_ENTITY_TOO_LARGE)
                                     ? NGX_HTTP_ACADEMY_N_REFUSED_SIZE
                                     : NGX_HTTP_ACADEMY_N_REFUSED_INVALID);
        }

        rc = (rc == NGX_ERROR) ? NGX_HTTP_INTERNAL_SERVER_ERROR
                               : ngx_http_academy_answer_text(r, rc, &text);

        ngx_http_finalize_request(r, rc);
        return;
    }

    if (ctx->route->fields & NGX_HTTP_ACADEMY_TIMEOUT) {
        ngx_http_academy_body_free(r);
    }

    call = &ctx->call;
    call->exchange = alcf->exchange;
    call->caller = &ctx->caller;
    call->limits = &alcf->limits;
    call->log = r->connection->log;
    call->pool = r->pool;
    call->done = ngx_http_academy_call_handler;
    call->data = r;
    call->verify_source = alcf->verify_source
                          && alcf->auth.mode != NGX_HTTP_ACADEMY_AUTH_OFF;
    call->deduplicate = alcf->deduplicate;
    call->agent_timeout = alcf->redeliver ? alcf->agent_timeout : 0;
    call->asked = 1;
    call->waits = (ctx->route->op == ngx_http_academy_op(get))
                  ? ngx_http_academy_poll_waits : NULL;

    op = *(ngx_http_academy_op_pt *) ((u_char *) alcf->exchange->store
                                      + ctx->route->op);

    if (op(call) == NGX_DONE) {
        return;
    }

    ctx->pending = 1;
    ctx->waited = ngx_current_msec;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        goto failed;
    }

    cln->handler = ngx_http_academy_cleanup;
    cln->data = ctx;

    if (ctx->route->op == ngx_http_academy_op(get)
        && ngx_http_academy_poll_timer(r) != NGX_OK)
    {
        goto failed;
    }

    if (ngx_http_academy_park(r) == NGX_OK) {
        return;
    }

failed:

    ngx_http_academy_cleanup(ctx);
    ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
}


ngx_int_t
ngx_http_academy_park(ngx_http_request_t *r)
{
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    /* or an end of the client that came with the request goes unnoticed */

    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);
        return NGX_OK;
    }

    return ngx_handle_read_event(r->connection->read, 0);
}


/*
 * Of a body without a length nginx keeps a buffer for the longest that it may
 * have; who waits is not to hold it.
 */

static void
ngx_http_academy_body_free(ngx_http_request_t *r)
{
    ngx_http_request_body_t  *rb;

    rb = r->request_body;

    if (rb == NULL || rb->buf == NULL || r->preserve_body) {
        return;
    }

    /* what stands in the header's buffer is not the pool's to free */

    if (ngx_pfree(r->pool, rb->buf->start) == NGX_OK) {
        rb->buf = NULL;
        rb->bufs = NULL;
    }
}


static void
ngx_http_academy_call_handler(ngx_http_academy_call_t *call)
{
    ngx_int_t                rc;
    ngx_uint_t               later;
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_http_academy_ctx_t  *ctx;

    r = call->data;
    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    /* run from within the operation, or from an event of the store's */

    later = ctx->pending;
    ctx->pending = 0;

    if (later) {
        ctx->waited = ngx_current_msec - ctx->waited;

        ngx_http_set_log_request(c->log, r);

        if (ctx->timer && ctx->timer->timer_set) {
            ngx_del_timer(ctx->timer);
        }
    }

    if (ctx->route->op == ngx_http_academy_op(get)) {
        ngx_http_academy_poll_count(ctx, call->result);
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "academy call done: %ui, later:%ui",
                   (ngx_uint_t) call->result, later);

    rc = ctx->route->answer(r, call);

    /* NGX_DECLINED: the request is an event stream's now */

    if (rc != NGX_DECLINED) {
        ngx_http_finalize_request(r, rc);
    }

    if (later) {
        ngx_http_run_posted_requests(c);
    }
}


static void
ngx_http_academy_cleanup(void *data)
{
    ngx_http_academy_ctx_t *ctx = data;

    if (ctx->timer && ctx->timer->timer_set) {
        ngx_del_timer(ctx->timer);
    }

    if (ctx->pending) {
        ctx->pending = 0;
        ctx->waited = ngx_current_msec - ctx->waited;
        ctx->call.exchange->store->cancel(&ctx->call);

        if (ctx->waiting) {
            ngx_http_academy_poll_ends(ctx, NGX_HTTP_ACADEMY_N_POLLS_GONE);
        }
    }
}
