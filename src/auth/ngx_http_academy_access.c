
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"


/*
 * Who is calling.  In the access phase this is the last handler, so that it
 * finds what the others have set; it never grants access by itself, as the
 * values that it takes are some other module's word.
 */


static ngx_int_t ngx_http_academy_groups(ngx_http_request_t *r,
    ngx_str_t *list, ngx_http_academy_caller_t *caller);


static ngx_str_t  ngx_http_academy_bearer = ngx_string("Bearer");
static ngx_str_t  ngx_http_academy_missing_headers =
    ngx_string("Missing required headers.");


ngx_int_t
ngx_http_academy_access_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_academy_ctx_t       *ctx;
    ngx_http_academy_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    if (alcf->exchange == NULL || alcf->auth == NGX_HTTP_ACADEMY_AUTH_OFF
        || r != r->main)
    {
        return NGX_DECLINED;
    }

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "academy access handler");

    ctx = ngx_http_academy_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_academy_identify(r, ctx);

    if (rc == NGX_OK) {
        return NGX_DECLINED;
    }

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_finalize_request(r, ngx_http_academy_unauthorized(r));

    return NGX_DONE;
}


ngx_int_t
ngx_http_academy_identify(ngx_http_request_t *r, ngx_http_academy_ctx_t *ctx)
{
    u_char                       *p, *last;
    ngx_str_t                     groups;
    ngx_http_academy_caller_t    *caller;
    ngx_http_academy_loc_conf_t  *alcf;

    if (ctx->identified) {
        return NGX_OK;
    }

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);
    caller = &ctx->caller;

    if (alcf->auth == NGX_HTTP_ACADEMY_AUTH_OFF) {
        ngx_str_set(&caller->id, "");
        ctx->identified = 1;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, alcf->client_id, &caller->id) != NGX_OK) {
        return NGX_ERROR;
    }

    if (caller->id.len == 0) {
        return NGX_DECLINED;
    }

    last = caller->id.data + caller->id.len;

    for (p = caller->id.data; p < last; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            break;
        }
    }

    if (p < last || caller->id.len > NGX_HTTP_ACADEMY_MAX_CLIENT_LEN) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "client id is longer than %d bytes, or has control "
                      "characters in it", NGX_HTTP_ACADEMY_MAX_CLIENT_LEN);
        return NGX_DECLINED;
    }

    if (alcf->client_groups) {

        if (ngx_http_complex_value(r, alcf->client_groups, &groups)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (ngx_http_academy_groups(r, &groups, caller) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    ctx->identified = 1;

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
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_academy_header(r, "WWW-Authenticate",
                                &ngx_http_academy_bearer)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_academy_answer_text(r, NGX_HTTP_UNAUTHORIZED,
                                        &ngx_http_academy_missing_headers);
}
