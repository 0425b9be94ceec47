
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_delivery.h"
#include "ngx_http_academy_variables.h"


/*
 * Variables that tell what a request was about and what became of it.  All is
 * found out when one is asked for, from what the request left behind; only of
 * a message that a poll brought has the header to be read again.
 *
 * What is not known yet may be known later: none of them is cached.
 */


static ngx_int_t ngx_http_academy_route_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_client_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_auth_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_mailbox_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_peer_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_tag_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_kind_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_size_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_wait_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_result_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static const char *ngx_http_academy_result(ngx_http_request_t *r,
    ngx_http_academy_ctx_t *ctx);
static const char *ngx_http_academy_done(ngx_http_academy_ctx_t *ctx);
static ngx_http_academy_ctx_t *ngx_http_academy_called(ngx_http_request_t *r);
static ngx_http_academy_envelope_t *ngx_http_academy_header_of(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_academy_header_scan(ngx_http_request_t *r,
    ngx_buf_t *b, ngx_http_academy_envelope_t *env);
static size_t ngx_http_academy_unescape(u_char *dst, size_t size, u_char *p,
    u_char *last);
static ngx_int_t ngx_http_academy_variable_uuid(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, u_char *uid);
static ngx_int_t ngx_http_academy_variable_text(
    ngx_http_variable_value_t *v, const char *text);
static ngx_int_t ngx_http_academy_variable_none(
    ngx_http_variable_value_t *v);


#define ngx_http_academy_is(route, name)                                      \
    ((route)->op == offsetof(ngx_http_academy_store_t, name))


static ngx_http_variable_t  ngx_http_academy_vars[] = {

    { ngx_string("academy_route"), NULL,
      ngx_http_academy_route_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("academy_client_id"), NULL,
      ngx_http_academy_client_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("academy_auth"), NULL,
      ngx_http_academy_auth_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("academy_mailbox"), NULL,
      ngx_http_academy_mailbox_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("academy_peer"), NULL,
      ngx_http_academy_peer_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("academy_message_tag"), NULL,
      ngx_http_academy_tag_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("academy_message_kind"), NULL,
      ngx_http_academy_kind_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("academy_message_size"), NULL,
      ngx_http_academy_size_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("academy_wait_time"), NULL,
      ngx_http_academy_wait_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("academy_result"), NULL,
      ngx_http_academy_result_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_academy_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_academy_vars; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_route_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    const ngx_http_academy_route_t  *route;

    route = ngx_http_academy_route(r->main);

    if (route == NULL) {
        return ngx_http_academy_variable_none(v);
    }

    return ngx_http_academy_variable_text(v, (char *) route->name.data);
}


static ngx_int_t
ngx_http_academy_client_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r->main, ngx_http_academy_module);

    if (ctx == NULL || !ctx->identified || ctx->caller.id.len == 0) {
        return ngx_http_academy_variable_none(v);
    }

    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->len = ctx->caller.id.len;
    v->data = ctx->caller.id.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_auth_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    const char                   *text;
    ngx_http_academy_ctx_t       *ctx;
    ngx_http_academy_loc_conf_t  *alcf;

    ctx = ngx_http_get_module_ctx(r->main, ngx_http_academy_module);
    alcf = ngx_http_get_module_loc_conf(r->main, ngx_http_academy_module);

    if (ctx == NULL || alcf->exchange == NULL) {
        return ngx_http_academy_variable_none(v);
    }

    if (alcf->auth.mode == NGX_HTTP_ACADEMY_AUTH_OFF) {
        text = "off";

    } else if (alcf->auth.mode == NGX_HTTP_ACADEMY_AUTH_VARIABLES) {
        text = ctx->identified ? "variables" : "none";

    } else if (ctx->verified) {
        text = ctx->asking ? "verified" : "cached";

    } else if (ctx->identity.status == NGX_HTTP_SERVICE_UNAVAILABLE) {
        text = "unavailable";

    } else {
        text = ctx->token.len ? "refused" : "none";
    }

    return ngx_http_academy_variable_text(v, text);
}


static ngx_int_t
ngx_http_academy_mailbox_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_academy_called(r);

    if (ctx && (ctx->route->fields & NGX_HTTP_ACADEMY_MESSAGE)) {
        return ngx_http_academy_variable_uuid(r, v,
                                          ctx->call.in.envelope->dest.id.uid);
    }

    if (ctx && (ctx->route->fields & NGX_HTTP_ACADEMY_MAILBOX)) {
        return ngx_http_academy_variable_uuid(r, v, ctx->call.id.uid);
    }

    return ngx_http_academy_variable_none(v);
}


static ngx_int_t
ngx_http_academy_peer_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_academy_envelope_t  *env;

    env = ngx_http_academy_header_of(r);

    return env ? ngx_http_academy_variable_uuid(r, v, env->src.id.uid)
               : ngx_http_academy_variable_none(v);
}


static ngx_int_t
ngx_http_academy_tag_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_academy_envelope_t  *env;

    env = ngx_http_academy_header_of(r);

    return env ? ngx_http_academy_variable_uuid(r, v, env->tag)
               : ngx_http_academy_variable_none(v);
}


static ngx_int_t
ngx_http_academy_kind_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_academy_envelope_t  *env;

    env = ngx_http_academy_header_of(r);

    if (env == NULL) {
        return ngx_http_academy_variable_none(v);
    }

    return ngx_http_academy_variable_text(v, env->request ? "request"
                                                          : "response");
}


static ngx_int_t
ngx_http_academy_size_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    size_t                   size;
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r->main, ngx_http_academy_module);
    size = 0;

    /* known of one that is too large, too */

    if (ctx && ctx->route && (ctx->route->fields & NGX_HTTP_ACADEMY_MESSAGE)
        && ctx->call.in.envelope)
    {
        size = ctx->call.in.envelope->json.len;

    } else if (ctx && ctx->answer) {
        size = ctx->delivery.size;
    }

    if (size == 0) {
        return ngx_http_academy_variable_none(v);
    }

    v->data = ngx_pnalloc(r->pool, NGX_SIZE_T_LEN);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(v->data, "%uz", size) - v->data;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_wait_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_msec_t               ms;
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_academy_called(r);

    if (ctx == NULL || !ngx_http_academy_is(ctx->route, get)) {
        return ngx_http_academy_variable_none(v);
    }

    ms = ctx->pending ? ngx_current_msec - ctx->waited : ctx->waited;

    v->data = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(v->data, "%M.%03M", ms / 1000, ms % 1000) - v->data;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_result_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    const char              *text;
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r->main, ngx_http_academy_module);

    text = ngx_http_academy_result(r->main, ctx);

    return text ? ngx_http_academy_variable_text(v, text)
                : ngx_http_academy_variable_none(v);
}


/* NULL: not known yet, or nothing of the exchange's */

static const char *
ngx_http_academy_result(ngx_http_request_t *r, ngx_http_academy_ctx_t *ctx)
{
    ngx_uint_t                    status;
    ngx_http_academy_loc_conf_t  *alcf;

    status = r->headers_out.status;
    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    if (alcf->exchange == NULL || alcf->status || status == 0) {
        return NULL;
    }

    if (ctx && ctx->refusal) {
        return ctx->refusal;
    }

    if (status == NGX_HTTP_CLIENT_CLOSED_REQUEST) {
        return "gone";
    }

    if (status >= NGX_HTTP_INTERNAL_SERVER_ERROR
        && (ctx == NULL || ctx->call.result == NGX_HTTP_ACADEMY_OK))
    {
        return (status == NGX_HTTP_INTERNAL_SERVER_ERROR) ? "error"
                                                          : "refused";
    }

    if (ctx == NULL || ctx->call.exchange == NULL) {
        return "refused";
    }

    if (status == NGX_HTTP_OK) {
        return ngx_http_academy_done(ctx);
    }

    switch (ctx->call.result) {

    case NGX_HTTP_ACADEMY_OK:
    case NGX_HTTP_ACADEMY_CLOSING:
        return (status == NGX_HTTP_REQUEST_TIME_OUT) ? "timeout" : "refused";

    case NGX_HTTP_ACADEMY_MISSING:
        return "refused: mailbox";

    case NGX_HTTP_ACADEMY_TERMINATED:
        return "closed";

    case NGX_HTTP_ACADEMY_FORBIDDEN:
        return "refused: permission";

    case NGX_HTTP_ACADEMY_SHARED:
        return "refused: shares";

    case NGX_HTTP_ACADEMY_MANY_MESSAGES:
        return "refused: messages";

    case NGX_HTTP_ACADEMY_MANY_BYTES:
        return "refused: bytes";

    case NGX_HTTP_ACADEMY_MANY_MAILBOXES:
        return "refused: mailboxes";

    case NGX_HTTP_ACADEMY_UNAVAILABLE:
        return "refused: store";

    default: /* NGX_HTTP_ACADEMY_FULL */
        return "refused: memory";
    }
}


static const char *
ngx_http_academy_done(ngx_http_academy_ctx_t *ctx)
{
    if (ctx->route->fields & NGX_HTTP_ACADEMY_MESSAGE) {
        return ctx->call.repeated ? "repeated" : "accepted";
    }

    if (ngx_http_academy_is(ctx->route, get)) {
        return "delivered";
    }

    return ctx->stream ? "stream" : "done";
}


/* of a request whose fields were read and given to the store; or NULL */

static ngx_http_academy_ctx_t *
ngx_http_academy_called(ngx_http_request_t *r)
{
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r->main, ngx_http_academy_module);

    /* who looks at an exchange calls it without a route */

    return (ctx && ctx->call.exchange && ctx->route) ? ctx : NULL;
}


/* of the message that a request sends, or that it has got; or NULL */

static ngx_http_academy_envelope_t *
ngx_http_academy_header_of(ngx_http_request_t *r)
{
    ngx_http_academy_ctx_t       *ctx;
    ngx_http_academy_envelope_t  *env;

    ctx = ngx_http_academy_called(r);

    if (ctx == NULL) {
        return NULL;
    }

    if (ctx->route->fields & NGX_HTTP_ACADEMY_MESSAGE) {
        return ctx->call.in.envelope;
    }

    if (ctx->answer == NULL || ctx->header) {
        return ctx->header;
    }

    env = ngx_palloc(r->pool, sizeof(ngx_http_academy_envelope_t));

    if (env == NULL
        || ngx_http_academy_header_scan(r, ctx->answer, env) != NGX_OK)
    {
        return NULL;
    }

    ctx->header = env;

    return env;
}


/* the message in an answer is the exchange's own text: {"message": "..."} */

static ngx_int_t
ngx_http_academy_header_scan(ngx_http_request_t *r, ngx_buf_t *b,
    ngx_http_academy_envelope_t *env)
{
    u_char         *p, *last, *all;
    size_t          len;

    static u_char   head[NGX_HTTP_ACADEMY_HEAD_SIZE];

    p = b->start + sizeof("{\"message\": \"") - 1;
    last = b->last - (sizeof("\"}") - 1);

    len = ngx_http_academy_unescape(head, sizeof(head), p, last);

    if (ngx_http_academy_scan_header(head, len, env) == NGX_OK) {
        return NGX_OK;
    }

    if (len < sizeof(head)) {
        return NGX_DECLINED;
    }

    all = ngx_pnalloc(r->pool, last - p);
    if (all == NULL) {
        return NGX_ERROR;
    }

    len = ngx_http_academy_unescape(all, last - p, p, last);

    return ngx_http_academy_scan_header(all, len, env);
}


/* what ngx_http_academy_escape() has done */

static size_t
ngx_http_academy_unescape(u_char *dst, size_t size, u_char *p, u_char *last)
{
    u_char  *d, *end;

    d = dst;
    end = dst + size;

    while (d < end && p < last) {
        p += (*p == '\\');
        *d++ = *p++;
    }

    return d - dst;
}


static ngx_int_t
ngx_http_academy_variable_uuid(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, u_char *uid)
{
    v->data = ngx_pnalloc(r->pool, NGX_HTTP_ACADEMY_UUID_LEN);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    ngx_http_academy_uuid_print(v->data, uid);

    v->len = NGX_HTTP_ACADEMY_UUID_LEN;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_variable_text(ngx_http_variable_value_t *v,
    const char *text)
{
    v->len = ngx_strlen(text);
    v->data = (u_char *) text;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_variable_none(ngx_http_variable_value_t *v)
{
    v->len = 0;
    v->data = (u_char *) "";
    v->valid = 0;
    v->no_cacheable = 1;
    v->not_found = 1;

    return NGX_OK;
}
