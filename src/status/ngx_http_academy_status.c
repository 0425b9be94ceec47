
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


/*
 * From a request to what it asks for, and back.
 */


typedef enum {
    NGX_HTTP_ACADEMY_JSON = 0,
    NGX_HTTP_ACADEMY_PROMETHEUS,
    NGX_HTTP_ACADEMY_OPENMETRICS,
    NGX_HTTP_ACADEMY_HEALTH,
    NGX_HTTP_ACADEMY_HTML
} ngx_http_academy_format_e;


typedef struct {
    ngx_str_t                      name;
    ngx_uint_t                     value;
} ngx_http_academy_choice_t;


static ngx_http_academy_status_t *ngx_http_academy_status_create(
    ngx_http_request_t *r, ngx_http_academy_ctx_t *ctx);
static ngx_int_t ngx_http_academy_status_admin(
    ngx_http_academy_status_t *status);
static ngx_int_t ngx_http_academy_status_view(
    ngx_http_academy_status_t *status, ngx_str_t *view);
static ngx_int_t ngx_http_academy_status_format(ngx_http_request_t *r,
    ngx_uint_t *format);
static ngx_uint_t ngx_http_academy_status_accepts(ngx_http_request_t *r,
    char *type);
static ngx_int_t ngx_http_academy_status_health(
    ngx_http_academy_status_t *status);
static ngx_int_t ngx_http_academy_status_print_json(
    ngx_http_academy_status_t *status);
static ngx_int_t ngx_http_academy_status_print_metrics(
    ngx_http_academy_status_t *status);
static ngx_int_t ngx_http_academy_status_answer(
    ngx_http_academy_status_t *status);
static void ngx_http_academy_status_done(ngx_http_academy_call_t *call);
static void ngx_http_academy_status_cleanup(void *data);


static ngx_http_academy_choice_t  ngx_http_academy_formats[] = {
    { ngx_string("json"), NGX_HTTP_ACADEMY_JSON },
    { ngx_string("prometheus"), NGX_HTTP_ACADEMY_PROMETHEUS },
    { ngx_string("openmetrics"), NGX_HTTP_ACADEMY_OPENMETRICS },
    { ngx_string("health"), NGX_HTTP_ACADEMY_HEALTH },
    { ngx_string("html"), NGX_HTTP_ACADEMY_HTML },
    { ngx_null_string, 0 }
};


ngx_int_t
ngx_http_academy_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_str_t                   view;
    ngx_http_academy_ctx_t     *ctx;
    ngx_http_academy_status_t  *status;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "academy status handler");

    if (r != r->main) {
        return NGX_HTTP_NOT_FOUND;
    }

    ctx = ngx_http_academy_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* "satisfy any" may have passed over this module's access handler */

    rc = ngx_http_academy_identify(r, ctx);

    if (rc == NGX_DECLINED && !ngx_http_academy_status_asks(r)) {
        return ngx_http_academy_unauthorized(r);
    }

    if (rc != NGX_OK && rc != NGX_DECLINED) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    status = ngx_http_academy_status_create(r, ctx);
    if (status == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_academy_count(status->exchange, NGX_HTTP_ACADEMY_N_STATUS);

    if (ngx_http_academy_status_arg(r, "view", &view) == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_academy_status_view(status, &view);
}


/*
 * The page has nothing in it that is not for everybody.  A browser cannot show
 * a token before it has the page, which asks for one.
 */

ngx_uint_t
ngx_http_academy_status_asks(ngx_http_request_t *r)
{
    ngx_str_t                     view;
    ngx_uint_t                    format;
    ngx_http_academy_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    return alcf->status && alcf->auth.mode >= NGX_HTTP_ACADEMY_AUTH_JWT
           && (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
           && r->headers_in.authorization == NULL
           && ngx_http_academy_status_arg(r, "view", &view) == NGX_DECLINED
           && ngx_http_academy_status_format(r, &format) == NGX_OK
           && format == NGX_HTTP_ACADEMY_HTML;
}


static ngx_http_academy_status_t *
ngx_http_academy_status_create(ngx_http_request_t *r,
    ngx_http_academy_ctx_t *ctx)
{
    ngx_http_cleanup_t           *cln;
    ngx_http_academy_status_t    *status;
    ngx_http_academy_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    status = ngx_pcalloc(r->pool, sizeof(ngx_http_academy_status_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (status == NULL || cln == NULL) {
        return NULL;
    }

    status->request = r;
    status->exchange = alcf->exchange;
    status->write = alcf->status_write;

    if (ngx_http_academy_status_admin(status) != NGX_OK) {
        return NULL;
    }

    cln->handler = ngx_http_academy_status_cleanup;
    cln->data = status;

    ctx->status = status;

    return status;
}


static ngx_int_t
ngx_http_academy_status_admin(ngx_http_academy_status_t *status)
{
    ngx_str_t                     value;
    ngx_http_request_t           *r;
    ngx_http_academy_loc_conf_t  *alcf;

    r = status->request;
    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    if (alcf->status_admin == NULL) {
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, alcf->status_admin, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    status->admin = (value.len && (value.len != 1 || value.data[0] != '0'));

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_status_view(ngx_http_academy_status_t *status,
    ngx_str_t *view)
{
    ngx_int_t            rc;
    ngx_uint_t           format, mailbox;
    ngx_http_request_t  *r;

    static ngx_str_t     get = ngx_string("GET, HEAD");
    static ngx_str_t     post = ngx_string("GET, HEAD, POST");

    r = status->request;

    mailbox = ngx_http_academy_status_is(view, "mailbox");

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
        && !(r->method == NGX_HTTP_POST && mailbox))
    {
        if (ngx_http_academy_header(r, "Allow", mailbox ? &post : &get)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_academy_status_refuse(r, NGX_HTTP_NOT_ALLOWED,
                                              "Method not allowed");
    }

    if (mailbox) {
        return ngx_http_academy_status_mailbox(status);
    }

    if (ngx_http_academy_status_is(view, "mailboxes")) {
        return ngx_http_academy_status_mailboxes(status);
    }

    if (ngx_http_academy_status_is(view, "events")) {
        return ngx_http_academy_status_events(status);
    }

    if (ngx_http_academy_status_is(view, "history")) {
        return ngx_http_academy_status_history(status);
    }

    if (view->len) {
        return ngx_http_academy_status_refuse(r, NGX_HTTP_BAD_REQUEST,
                                              "There is no such view");
    }

    rc = ngx_http_academy_status_format(r, &format);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_academy_status_refuse(r, NGX_HTTP_BAD_REQUEST,
                                              "There is no such format");
    }

    switch (format) {

    case NGX_HTTP_ACADEMY_HEALTH:
        return ngx_http_academy_status_health(status);

    case NGX_HTTP_ACADEMY_HTML:
        return ngx_http_academy_status_page(status);

    case NGX_HTTP_ACADEMY_JSON:
        status->answer = ngx_http_academy_status_print_json;
        break;

    default: /* NGX_HTTP_ACADEMY_PROMETHEUS, _OPENMETRICS */
        status->openmetrics = (format == NGX_HTTP_ACADEMY_OPENMETRICS);
        status->answer = ngx_http_academy_status_print_metrics;
    }

    return ngx_http_academy_status_call(status,
                                        status->exchange->store->survey);
}


static ngx_int_t
ngx_http_academy_status_format(ngx_http_request_t *r, ngx_uint_t *format)
{
    ngx_int_t                   rc;
    ngx_str_t                   value;
    ngx_http_academy_choice_t  *choice;

    rc = ngx_http_academy_status_arg(r, "format", &value);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_OK) {

        for (choice = ngx_http_academy_formats; choice->name.len; choice++) {

            if (choice->name.len == value.len
                && ngx_memcmp(choice->name.data, value.data, value.len) == 0)
            {
                *format = choice->value;
                return NGX_OK;
            }
        }

        return NGX_DECLINED;
    }

    if (ngx_http_academy_status_accepts(r, "text/html")) {
        *format = NGX_HTTP_ACADEMY_HTML;

    } else if (ngx_http_academy_status_accepts(r,
                                               "application/openmetrics-text"))
    {
        *format = NGX_HTTP_ACADEMY_OPENMETRICS;

    } else if (ngx_http_academy_status_accepts(r, "text/plain")
               && !ngx_http_academy_status_accepts(r, "application/json"))
    {
        *format = NGX_HTTP_ACADEMY_PROMETHEUS;

    } else {
        *format = NGX_HTTP_ACADEMY_JSON;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_academy_status_accepts(ngx_http_request_t *r, char *type)
{
    ngx_str_t   *value;
    ngx_uint_t   n;

    static ngx_str_t  name = ngx_string("Accept");

    for (n = 0; /* void */ ; n++) {
        value = ngx_http_academy_request_header(r, &name, n);

        if (value == NULL) {
            return 0;
        }

        if (ngx_strcasestrn(value->data, type, ngx_strlen(type) - 1)) {
            return 1;
        }
    }
}


static ngx_int_t
ngx_http_academy_status_health(ngx_http_academy_status_t *status)
{
    char                     *ailing;
    ngx_http_academy_text_t   text;

    ailing = status->exchange->store->ailing
             ? status->exchange->store->ailing(status->exchange) : NULL;

    ngx_http_academy_text_begin(&text, status->request->pool);
    ngx_http_academy_print(&text, "%s\n", ailing ? ailing : "ok");

    return ngx_http_academy_status_send(status,
                                        ailing ? NGX_HTTP_SERVICE_UNAVAILABLE
                                               : NGX_HTTP_OK,
                                        "text/plain; charset=utf-8", &text);
}


static ngx_int_t
ngx_http_academy_status_print_json(ngx_http_academy_status_t *status)
{
    ngx_http_academy_text_t  text;

    ngx_http_academy_text_begin(&text, status->request->pool);
    ngx_http_academy_status_json(status, &text);
    ngx_http_academy_print(&text, "\n");

    return ngx_http_academy_status_send(status, NGX_HTTP_OK,
                                        "application/json", &text);
}


static ngx_int_t
ngx_http_academy_status_print_metrics(ngx_http_academy_status_t *status)
{
    ngx_http_academy_text_t  text;

    static char  prometheus[] = "text/plain; version=0.0.4; charset=utf-8";
    static char  openmetrics[] =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    ngx_http_academy_text_begin(&text, status->request->pool);
    ngx_http_academy_status_metrics(status, &text);

    return ngx_http_academy_status_send(status, NGX_HTTP_OK,
                                        status->openmetrics ? openmetrics
                                                            : prometheus,
                                        &text);
}


ngx_int_t
ngx_http_academy_status_call(ngx_http_academy_status_t *status,
    ngx_http_academy_op_pt op)
{
    ngx_int_t                 rc;
    ngx_http_request_t       *r;
    ngx_http_academy_ctx_t   *ctx;
    ngx_http_academy_call_t  *call;

    r = status->request;
    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    if (op == NULL) {
        return ngx_http_academy_status_refuse(r, NGX_HTTP_NOT_IMPLEMENTED,
                                       "The store of this exchange does not "
                                       "tell that");
    }

    call = &ctx->call;
    call->exchange = status->exchange;
    call->caller = &ctx->caller;
    call->log = r->connection->log;
    call->pool = r->pool;
    call->done = ngx_http_academy_status_done;
    call->data = status;
    call->admin = status->admin;

    if (op == status->exchange->store->survey) {
        status->surveys = 1;
        call->in.survey = &status->survey;
        ngx_http_academy_survey_unknown(&status->survey);

    } else if (op == status->exchange->store->list) {
        call->in.listing = &status->listing;

    } else if (op == status->exchange->store->inspect) {
        call->in.inspection = &status->inspection;
    }

    status->calling = 1;
    rc = op(call);
    status->calling = 0;

    if (rc == NGX_DONE) {
        return ngx_http_academy_status_answer(status);
    }

    status->pending = 1;
    r->main->count++;

    if (ngx_http_academy_park(r) != NGX_OK) {
        ngx_http_academy_status_cleanup(status);
        r->main->count--;
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DONE;
}


static ngx_int_t
ngx_http_academy_status_answer(ngx_http_academy_status_t *status)
{
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(status->request, ngx_http_academy_module);

    /* of a store that is away the rest is known all the same */

    if (ctx->call.result != NGX_HTTP_ACADEMY_OK
        && !(ctx->call.result == NGX_HTTP_ACADEMY_UNAVAILABLE
             && status->surveys))
    {
        return ngx_http_academy_answer_result(status->request,
                                              ctx->call.result);
    }

    return status->answer(status);
}


static void
ngx_http_academy_status_done(ngx_http_academy_call_t *call)
{
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_http_academy_status_t  *status;

    status = call->data;

    if (status->calling) {
        return;
    }

    r = status->request;
    c = r->connection;

    status->pending = 0;

    ngx_http_set_log_request(c->log, r);

    ngx_http_finalize_request(r, ngx_http_academy_status_answer(status));

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_academy_status_cleanup(void *data)
{
    ngx_http_academy_status_t *status = data;

    ngx_http_academy_ctx_t  *ctx;

    if (status->event.timer_set) {
        ngx_del_timer(&status->event);
    }

    if (status->pending) {
        status->pending = 0;

        ctx = ngx_http_get_module_ctx(status->request,
                                      ngx_http_academy_module);
        status->exchange->store->cancel(&ctx->call);
    }
}


ngx_int_t
ngx_http_academy_status_send(ngx_http_academy_status_t *status,
    ngx_uint_t code, char *type, ngx_http_academy_text_t *text)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    static ngx_str_t  no_store = ngx_string("no-store");
    static ngx_str_t  nosniff = ngx_string("nosniff");

    r = status->request;

    if (text->failed || text->buf == NULL
        || ngx_http_academy_header(r, "Cache-Control", &no_store) != NGX_OK
        || ngx_http_academy_header(r, "X-Content-Type-Options", &nosniff)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->disable_not_modified = 1;
    r->headers_out.status = code;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_length_n = text->total;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    text->buf->last_buf = 1;
    text->buf->last_in_chain = 1;

    return ngx_http_output_filter(r, text->first);
}


ngx_int_t
ngx_http_academy_status_refuse(ngx_http_request_t *r, ngx_uint_t code,
    char *text)
{
    ngx_str_t  s;

    s.data = (u_char *) text;
    s.len = ngx_strlen(text);

    ngx_http_academy_tell(r, NGX_HTTP_ACADEMY_N_STATUS_REFUSED);

    return ngx_http_academy_answer_text(r, code, &s);
}


ngx_int_t
ngx_http_academy_status_arg(ngx_http_request_t *r, char *name,
    ngx_str_t *value)
{
    u_char     *p, *src, *dst;
    ngx_str_t   raw;

    ngx_str_null(value);

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &raw) != NGX_OK) {
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(r->pool, raw.len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, raw.data, raw.len);

    /* as a form writes a blank */

    for (src = p; src < p + raw.len; src++) {
        if (*src == '+') {
            *src = ' ';
        }
    }

    /* what is unescaped is never longer */

    src = p;
    dst = p;

    ngx_unescape_uri(&dst, &src, raw.len, 0);

    value->data = p;
    value->len = dst - p;

    return NGX_OK;
}


ngx_uint_t
ngx_http_academy_status_is(ngx_str_t *value, char *name)
{
    return value->len == ngx_strlen(name)
           && ngx_strncmp(value->data, name, value->len) == 0;
}
