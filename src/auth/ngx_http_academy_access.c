
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"


/*
 * Who is calling.  In the access phase this is the last handler, so that it
 * finds what the others have set.  Of variables, which are some other module's
 * word, it never grants access by itself; a token that is good does.
 *
 * "satisfy any" may pass over the access handler.  So the precontent phase
 * asks for the token of whoever comes there without: whatever else was enough
 * to get in, only the token says who it was.
 */


static ngx_int_t ngx_http_academy_access(ngx_http_request_t *r);
static ngx_int_t ngx_http_academy_authenticate(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_ctx_t *ctx);
static ngx_int_t ngx_http_academy_verify(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_ctx_t *ctx);
static ngx_int_t ngx_http_academy_ask(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_ctx_t *ctx);
static ngx_int_t ngx_http_academy_jwt(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_ctx_t *ctx);
static ngx_int_t ngx_http_academy_client(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_ctx_t *ctx);
static ngx_int_t ngx_http_academy_groups(ngx_http_request_t *r,
    ngx_str_t *list, ngx_http_academy_caller_t *caller);
static ngx_int_t ngx_http_academy_challenge(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *challenge, ngx_str_t *text);
static ngx_int_t ngx_http_academy_no_provider(ngx_http_request_t *r);


static ngx_str_t  ngx_http_academy_scheme = ngx_string("Bearer");
static ngx_str_t  ngx_http_academy_invalid_request =
    ngx_string("Bearer error=\"invalid_request\"");
static ngx_str_t  ngx_http_academy_invalid_token =
    ngx_string("Bearer error=\"invalid_token\"");
static ngx_str_t  ngx_http_academy_missing_headers =
    ngx_string("Missing required headers.");
static ngx_str_t  ngx_http_academy_expired =
    ngx_string("Token expired or revoked.");
static ngx_str_t  ngx_http_academy_cannot_tell =
    ngx_string("Tokens cannot be verified at present");
static ngx_str_t  ngx_http_academy_later = ngx_string("1");


ngx_int_t
ngx_http_academy_access_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_academy_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    if (alcf->exchange == NULL || alcf->auth.mode == NGX_HTTP_ACADEMY_AUTH_OFF
        || r != r->main)
    {
        return NGX_DECLINED;
    }

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "academy access handler");

    rc = ngx_http_academy_access(r);

    if (rc == NGX_OK && alcf->auth.mode == NGX_HTTP_ACADEMY_AUTH_VARIABLES) {
        return NGX_DECLINED;
    }

    return rc;
}


ngx_int_t
ngx_http_academy_precontent_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_academy_ctx_t       *ctx;
    ngx_http_academy_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    if (alcf->exchange == NULL || alcf->auth.mode < NGX_HTTP_ACADEMY_AUTH_JWT
        || r != r->main)
    {
        return NGX_DECLINED;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    if (ctx && ctx->identified) {
        return NGX_DECLINED;
    }

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "academy precontent handler");

    rc = ngx_http_academy_access(r);

    return (rc == NGX_OK) ? NGX_DECLINED : rc;
}


/*
 * NGX_OK; NGX_DECLINED: nobody need be known; NGX_AGAIN: the phases run again;
 * NGX_DONE: it has been refused
 */

static ngx_int_t
ngx_http_academy_access(ngx_http_request_t *r)
{
    ngx_int_t                      rc;
    ngx_http_academy_ctx_t        *ctx;
    ngx_http_academy_loc_conf_t   *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    if (alcf->status && ngx_http_academy_status_asks(r)) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_academy_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (alcf->auth.mode >= NGX_HTTP_ACADEMY_AUTH_JWT && !ctx->verified) {

        rc = ngx_http_academy_authenticate(r, &alcf->auth, ctx);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    rc = ngx_http_academy_identify(r, ctx);

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_finalize_request(r, ngx_http_academy_unauthorized(r));

    return NGX_DONE;
}


static ngx_int_t
ngx_http_academy_authenticate(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_ctx_t *ctx)
{
    ngx_int_t  rc;

    rc = ctx->token.len ? NGX_OK : ngx_http_academy_bearer(r, &ctx->token);

    if (rc == NGX_OK) {
        rc = ngx_http_academy_verify(r, acf, ctx);
    }

    switch (rc) {

    case NGX_OK:
        break;

    case NGX_AGAIN:
        return NGX_AGAIN;

    case NGX_DECLINED:
        ngx_http_finalize_request(r, ngx_http_academy_unauthorized(r));
        return NGX_DONE;

    case NGX_ABORT:
        ngx_http_finalize_request(r,
                 ngx_http_academy_challenge(r, NGX_HTTP_UNAUTHORIZED,
                                           &ngx_http_academy_invalid_request,
                                           &ngx_http_academy_missing_headers));
        return NGX_DONE;

    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->identity.status == NGX_HTTP_OK) {
        ctx->verified = 1;
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "token is refused: %s",
                  ctx->identity.reason ? ctx->identity.reason
                                       : "it was refused before");

    rc = (ctx->identity.status == NGX_HTTP_FORBIDDEN)
         ? ngx_http_academy_invalid(r) : ngx_http_academy_no_provider(r);

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


/*
 * NGX_OK: ctx->identity says what the token is worth; NGX_AGAIN; NGX_ABORT: it
 * is no token at all; NGX_ERROR
 */

static ngx_int_t
ngx_http_academy_verify(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_ctx_t *ctx)
{
    ngx_int_t  rc;

    while (!ctx->asking) {

        if (acf->cache) {
            rc = ngx_http_academy_auth_cache_get(r, acf, &ctx->token,
                                                 &ctx->identity);
            if (rc != NGX_DECLINED) {
                return rc;
            }
        }

        if (ngx_http_academy_bearer_check(&ctx->token) != NGX_OK) {
            return NGX_ABORT;
        }

        if (ctx->token.len > NGX_HTTP_ACADEMY_MAX_TOKEN) {
            return ngx_http_academy_identity_refuse(&ctx->identity,
                                                    NGX_HTTP_FORBIDDEN,
                                                    "it is too long");
        }

        /* what a worker finds out by itself others need not wait for */

        if (acf->cache && acf->mode >= NGX_HTTP_ACADEMY_AUTH_INTROSPECTION) {

            rc = ngx_http_academy_auth_cache_ask(r, acf);

            if (rc == NGX_DECLINED) {
                continue;
            }

            if (rc != NGX_OK) {
                return rc;
            }
        }

        ctx->asking = 1;
    }

    rc = ngx_http_academy_ask(r, acf, ctx);

    if (rc == NGX_OK && acf->cache) {
        ngx_http_academy_auth_cache_put(r, acf, &ctx->identity);
    }

    if (rc == NGX_ERROR) {

        /* an error_page may bring this request here again: not to wait */

        ngx_http_academy_auth_cache_cleanup(ctx);
    }

    return rc;
}


static ngx_int_t
ngx_http_academy_ask(ngx_http_request_t *r, ngx_http_academy_auth_conf_t *acf,
    ngx_http_academy_ctx_t *ctx)
{
    switch (acf->mode) {

    case NGX_HTTP_ACADEMY_AUTH_JWT:
        return ngx_http_academy_jwt(r, acf, ctx);

    case NGX_HTTP_ACADEMY_AUTH_INTROSPECTION:
        return ngx_http_academy_introspect(r, acf, &ctx->token,
                                           &ctx->identity);

    default: /* NGX_HTTP_ACADEMY_AUTH_GLOBUS */
        return ngx_http_academy_globus(r, acf, &ctx->token, &ctx->identity);
    }
}


static ngx_int_t
ngx_http_academy_jwt(ngx_http_request_t *r, ngx_http_academy_auth_conf_t *acf,
    ngx_http_academy_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_str_t                 kid;
    ngx_http_academy_keys_t  *keys;

    rc = ngx_http_academy_jwt_verify(r, acf, &ctx->token, acf->keys,
                                     &ctx->identity, &kid);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rc = acf->jwks ? NGX_OK : NGX_ABORT;

    while (rc == NGX_OK) {

        rc = ngx_http_academy_jwt_keys(r, acf, &keys);

        if (rc != NGX_OK) {
            break;
        }

        rc = ngx_http_academy_jwt_verify(r, acf, &ctx->token, keys,
                                         &ctx->identity, &kid);

        if (rc != NGX_DECLINED) {
            return rc;
        }

        rc = kid.len ? ngx_http_academy_jwt_keys_renew(r, acf) : NGX_ABORT;
    }

    switch (rc) {

    case NGX_DECLINED:
        return ngx_http_academy_identity_refuse(&ctx->identity,
                                                NGX_HTTP_SERVICE_UNAVAILABLE,
                                                "its key is not to be had");

    case NGX_ABORT:
        return ngx_http_academy_identity_refuse(&ctx->identity,
                                                NGX_HTTP_FORBIDDEN,
                                                "no key fits it");

    default: /* NGX_AGAIN, NGX_ERROR */
        return rc;
    }
}


ngx_int_t
ngx_http_academy_identify(ngx_http_request_t *r, ngx_http_academy_ctx_t *ctx)
{
    ngx_int_t                     rc;
    ngx_str_t                     groups;
    ngx_http_academy_loc_conf_t  *alcf;

    if (ctx->identified) {
        return NGX_OK;
    }

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    if (alcf->auth.mode == NGX_HTTP_ACADEMY_AUTH_OFF) {
        ngx_str_set(&ctx->caller.id, "");
        ctx->identified = 1;
        return NGX_OK;
    }

    if (alcf->auth.mode >= NGX_HTTP_ACADEMY_AUTH_JWT && !ctx->verified) {
        return NGX_DECLINED;
    }

    rc = ngx_http_academy_client(r, &alcf->auth, ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    groups = ctx->identity.groups;

    if (alcf->auth.client_groups
        && ngx_http_complex_value(r, alcf->auth.client_groups, &groups)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (groups.len
        && ngx_http_academy_groups(r, &groups, &ctx->caller) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ctx->identified = 1;

    return NGX_OK;
}


/* NGX_DECLINED: there is no id, or none that can be one */

static ngx_int_t
ngx_http_academy_client(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_ctx_t *ctx)
{
    u_char     *p, *last;
    ngx_str_t  *id;

    id = &ctx->caller.id;
    *id = ctx->identity.id;

    if (acf->client_id
        && ngx_http_complex_value(r, acf->client_id, id) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (id->len == 0) {
        return NGX_DECLINED;
    }

    last = id->data + id->len;

    for (p = id->data; p < last; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            break;
        }
    }

    if (p < last || id->len > NGX_HTTP_ACADEMY_MAX_CLIENT_LEN) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "client id is longer than %d bytes, or has control "
                      "characters in it", NGX_HTTP_ACADEMY_MAX_CLIENT_LEN);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* names between commas, without the blanks around them */

static ngx_int_t
ngx_http_academy_groups(ngx_http_request_t *r, ngx_str_t *list,
    ngx_http_academy_caller_t *caller)
{
    u_char      *p, *last, *start, *end;
    ngx_str_t   *group;
    ngx_uint_t   n;

    last = list->data + list->len;
    n = 1;

    for (p = list->data; p < last; p++) {
        n += (*p == ',');
    }

    group = ngx_palloc(r->pool, n * sizeof(ngx_str_t));
    if (group == NULL) {
        return NGX_ERROR;
    }

    caller->groups = group;
    caller->ngroups = 0;

    for (start = list->data; start < last; start = p + 1) {

        p = ngx_strlchr(start, last, ',');
        if (p == NULL) {
            p = last;
        }

        end = p;

        while (start < end && (*start == ' ' || *start == '\t')) {
            start++;
        }

        while (start < end && (end[-1] == ' ' || end[-1] == '\t')) {
            end--;
        }

        if (start < end) {
            group->data = start;
            group->len = end - start;
            group++;
            caller->ngroups++;
        }
    }

    ngx_http_academy_caller_sort(caller);

    return NGX_OK;
}


ngx_int_t
ngx_http_academy_unauthorized(ngx_http_request_t *r)
{
    return ngx_http_academy_challenge(r, NGX_HTTP_UNAUTHORIZED,
                                      &ngx_http_academy_scheme,
                                      &ngx_http_academy_missing_headers);
}


ngx_int_t
ngx_http_academy_invalid(ngx_http_request_t *r)
{
    return ngx_http_academy_challenge(r, NGX_HTTP_FORBIDDEN,
                                      &ngx_http_academy_invalid_token,
                                      &ngx_http_academy_expired);
}


static ngx_int_t
ngx_http_academy_challenge(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *challenge, ngx_str_t *text)
{
    ngx_int_t                rc;
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    ctx->refusal = (challenge == &ngx_http_academy_scheme)
                   ? "refused: unauthorized" : "refused: token";

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_academy_tell(r, NGX_HTTP_ACADEMY_N_REFUSED_AUTH);

    if (ngx_http_academy_header(r, "WWW-Authenticate", challenge) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_academy_answer_text(r, status, text);
}


static ngx_int_t
ngx_http_academy_no_provider(ngx_http_request_t *r)
{
    ngx_int_t                rc;
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    ctx->refusal = "refused: provider";

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_academy_tell(r, NGX_HTTP_ACADEMY_N_REFUSED_PROVIDER);

    if (ngx_http_academy_header(r, "Retry-After", &ngx_http_academy_later)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_academy_answer_text(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                        &ngx_http_academy_cannot_tell);
}


ngx_msec_t
ngx_http_academy_token_left(time_t expires)
{
    ngx_time_t  *tp;

    if (expires == 0) {
        return NGX_MAX_INT32_VALUE;
    }

    tp = ngx_timeofday();

    if (expires <= tp->sec) {
        return 0;
    }

    if (expires - tp->sec > NGX_MAX_INT32_VALUE / 1000) {
        return NGX_MAX_INT32_VALUE;
    }

    return (ngx_msec_t) (expires - tp->sec) * 1000 - tp->msec;
}
