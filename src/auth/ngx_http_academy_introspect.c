
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_inquiry.h"
#include "ngx_http_academy_introspect.h"


/*
 * Opaque tokens: who issued them says what they are worth (RFC 7662).  Of an
 * answer that is anything but what it should be nothing is concluded.
 */


/* bytes of an answer: what may be kept of it, and blanks */

#define NGX_HTTP_ACADEMY_INTROSPECTED  65536


ngx_int_t
ngx_http_academy_introspect(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token,
    ngx_http_academy_identity_t *identity)
{
    ngx_int_t                    rc;
    ngx_http_academy_ctx_t      *ctx;
    ngx_http_academy_inquiry_t  *inquiry;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    inquiry = ctx->inquiry;

    if (inquiry == NULL) {
        ctx->inquiry = ngx_http_academy_introspection(r, acf, token,
                                              "&token_type_hint=access_token");

        return ctx->inquiry ? NGX_AGAIN : NGX_ERROR;
    }

    if (!inquiry->done) {
        return NGX_AGAIN;
    }

    ctx->inquiry = NULL;

    rc = ngx_http_academy_introspected(acf, inquiry, identity);

    ngx_http_academy_inquiry_free(inquiry);

    return rc;
}


ngx_http_academy_inquiry_t *
ngx_http_academy_introspection(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token, char *more)
{
    size_t                       len;
    u_char                      *p;
    ngx_http_academy_inquiry_t  *inquiry;

    len = ngx_strlen(more);

    inquiry = ngx_pcalloc(r->pool, sizeof(ngx_http_academy_inquiry_t));
    p = ngx_pnalloc(r->pool, len + sizeof("token=") + 3 * token->len);

    if (inquiry == NULL || p == NULL) {
        return NULL;
    }

    inquiry->request = r;
    inquiry->uri = acf->introspection;
    inquiry->size = NGX_HTTP_ACADEMY_INTROSPECTED;
    inquiry->form.data = p;

    p = ngx_http_academy_form_add(p, "token", token);
    p = ngx_cpymem(p, more, len);

    inquiry->form.len = p - inquiry->form.data;

    return (ngx_http_academy_inquire(inquiry) == NGX_OK) ? inquiry : NULL;
}


ngx_int_t
ngx_http_academy_introspected(ngx_http_academy_auth_conf_t *acf,
    ngx_http_academy_inquiry_t *inquiry, ngx_http_academy_identity_t *identity)
{
    json_t     *json, *active;
    ngx_int_t   rc;
    ngx_str_t   text;

    json = ngx_http_academy_inquiry_json(inquiry);
    active = json_object_get(json, "active");

    if (json && !json_is_boolean(active)) {
        ngx_http_academy_inquiry_complain(inquiry,
                                          "without a boolean \"active\"");
    }

    if (json_is_true(active)) {
        rc = ngx_http_academy_claims_check(inquiry->request, acf, json,
                                           identity);

    } else if (json_is_false(active)) {
        rc = ngx_http_academy_identity_refuse(identity, NGX_HTTP_FORBIDDEN,
                                              "it is not active");

    } else {
        rc = ngx_http_academy_identity_refuse(identity,
                                              NGX_HTTP_SERVICE_UNAVAILABLE,
                                              "who issued it does not say "
                                              "what it is worth");
    }

    json_decref(json);

    if (rc != NGX_OK || identity->status != NGX_HTTP_OK) {
        return rc;
    }

    (void) ngx_http_academy_inquiry_text(inquiry, &text);

    identity->claims.data = ngx_pstrdup(inquiry->request->pool, &text);
    identity->claims.len = text.len;

    return identity->claims.data ? NGX_OK : NGX_ERROR;
}
