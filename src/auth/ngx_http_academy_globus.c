
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_introspect.h"


/*
 * Tokens of Globus Auth, as the reference's server has them checked: by
 * introspection; then the token is exchanged for one that the groups service
 * takes, and that one is asked in which groups the caller is active.
 *
 * The first decides whether the caller gets in.  If one of the others fails,
 * the caller has no groups for some seconds, and still its own mailboxes.
 */


/* bytes of an answer: a group has some kilobytes, and a person many groups */

#define NGX_HTTP_ACADEMY_GLOBUS_TOKENS  65536
#define NGX_HTTP_ACADEMY_GLOBUS_GROUPS  (2 * 1024 * 1024)

/* seconds for which groups that could not be had are not asked for again */

#define NGX_HTTP_ACADEMY_GLOBUS_RETRY   5


#define NGX_HTTP_ACADEMY_GLOBUS_GRANT                                         \
    "grant_type=urn%3Aglobus%3Aauth%3Agrant_type%3Adependent_token&"

#define NGX_HTTP_ACADEMY_GLOBUS_SCOPE                                         \
    "urn:globus:auth:scope:groups.api.globus.org:"                            \
    "view_my_groups_and_memberships"


typedef enum {
    NGX_HTTP_ACADEMY_GLOBUS_TOKEN = 0,
    NGX_HTTP_ACADEMY_GLOBUS_DEPENDENT,
    NGX_HTTP_ACADEMY_GLOBUS_MEMBER
} ngx_http_academy_globus_e;


static ngx_int_t ngx_http_academy_globus_next(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_ctx_t *ctx,
    ngx_http_academy_inquiry_t *inquiry,
    ngx_http_academy_identity_t *identity);
static ngx_http_academy_inquiry_t *ngx_http_academy_globus_dependent(
    ngx_http_request_t *r, ngx_http_academy_auth_conf_t *acf,
    ngx_str_t *token);
static ngx_http_academy_inquiry_t *ngx_http_academy_globus_groups(
    ngx_http_request_t *r, ngx_http_academy_auth_conf_t *acf,
    ngx_str_t *token);
static ngx_int_t ngx_http_academy_globus_token(
    ngx_http_academy_inquiry_t *inquiry, ngx_str_t *token);
static ngx_uint_t ngx_http_academy_globus_scoped(json_t *scope);
static ngx_int_t ngx_http_academy_globus_member(
    ngx_http_academy_inquiry_t *inquiry, ngx_str_t *groups);
static ngx_uint_t ngx_http_academy_globus_active(json_t *group);


ngx_int_t
ngx_http_academy_globus(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token,
    ngx_http_academy_identity_t *identity)
{
    ngx_int_t                    rc;
    ngx_http_academy_ctx_t      *ctx;
    ngx_http_academy_inquiry_t  *inquiry;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    inquiry = ctx->inquiry;

    if (inquiry == NULL) {
        ctx->inquiry = ngx_http_academy_introspection(r, acf, token, "");
        return ctx->inquiry ? NGX_AGAIN : NGX_ERROR;
    }

    if (!inquiry->done) {
        return NGX_AGAIN;
    }

    ctx->inquiry = NULL;

    rc = ngx_http_academy_globus_next(r, acf, ctx, inquiry, identity);

    ngx_http_academy_inquiry_free(inquiry);

    return rc;
}


/* how far it has come an inquiry says by its data */

static ngx_int_t
ngx_http_academy_globus_next(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_ctx_t *ctx,
    ngx_http_academy_inquiry_t *inquiry, ngx_http_academy_identity_t *identity)
{
    ngx_int_t  rc;
    ngx_str_t  token;

    switch ((uintptr_t) inquiry->data) {

    case NGX_HTTP_ACADEMY_GLOBUS_TOKEN:

        rc = ngx_http_academy_introspected(acf, inquiry, identity);

        if (rc != NGX_OK || identity->status != NGX_HTTP_OK) {
            return rc;
        }

        ctx->inquiry = ngx_http_academy_globus_dependent(r, acf, &ctx->token);

        return ctx->inquiry ? NGX_AGAIN : NGX_ERROR;

    case NGX_HTTP_ACADEMY_GLOBUS_DEPENDENT:

        if (ngx_http_academy_globus_token(inquiry, &token) != NGX_OK) {
            break;
        }

        ctx->inquiry = ngx_http_academy_globus_groups(r, acf, &token);

        return ctx->inquiry ? NGX_AGAIN : NGX_ERROR;

    default: /* NGX_HTTP_ACADEMY_GLOBUS_MEMBER */

        rc = ngx_http_academy_globus_member(inquiry, &identity->groups);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    identity->keep = NGX_HTTP_ACADEMY_GLOBUS_RETRY;

    return NGX_OK;
}


static ngx_http_academy_inquiry_t *
ngx_http_academy_globus_dependent(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token)
{
    u_char                      *p;
    ngx_str_t                    scope;
    ngx_http_academy_inquiry_t  *inquiry;

    ngx_str_set(&scope, NGX_HTTP_ACADEMY_GLOBUS_SCOPE);

    inquiry = ngx_pcalloc(r->pool, sizeof(ngx_http_academy_inquiry_t));
    p = ngx_pnalloc(r->pool, sizeof(NGX_HTTP_ACADEMY_GLOBUS_GRANT)
                             + sizeof("token=&scope=")
                             + 3 * (token->len + scope.len));

    if (inquiry == NULL || p == NULL) {
        return NULL;
    }

    inquiry->request = r;
    inquiry->uri = acf->dependent_tokens;
    inquiry->size = NGX_HTTP_ACADEMY_GLOBUS_TOKENS;
    inquiry->data = (void *) NGX_HTTP_ACADEMY_GLOBUS_DEPENDENT;
    inquiry->form.data = p;

    p = ngx_cpymem(p, NGX_HTTP_ACADEMY_GLOBUS_GRANT,
                   sizeof(NGX_HTTP_ACADEMY_GLOBUS_GRANT) - 1);
    p = ngx_http_academy_form_add(p, "token", token);
    *p++ = '&';
    p = ngx_http_academy_form_add(p, "scope", &scope);

    inquiry->form.len = p - inquiry->form.data;

    return (ngx_http_academy_inquire(inquiry) == NGX_OK) ? inquiry : NULL;
}


static ngx_http_academy_inquiry_t *
ngx_http_academy_globus_groups(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token)
{
    ngx_http_academy_inquiry_t  *inquiry;

    inquiry = ngx_pcalloc(r->pool, sizeof(ngx_http_academy_inquiry_t));
    if (inquiry == NULL) {
        return NULL;
    }

    inquiry->request = r;
    inquiry->uri = acf->globus_groups;
    inquiry->size = NGX_HTTP_ACADEMY_GLOBUS_GROUPS;
    inquiry->data = (void *) NGX_HTTP_ACADEMY_GLOBUS_MEMBER;
    inquiry->token = *token;

    return (ngx_http_academy_inquire(inquiry) == NGX_OK) ? inquiry : NULL;
}


/* of the tokens that were granted, the one for the groups service */

static ngx_int_t
ngx_http_academy_globus_token(ngx_http_academy_inquiry_t *inquiry,
    ngx_str_t *token)
{
    size_t     i;
    json_t    *json, *grant, *value;
    ngx_int_t  rc;
    ngx_str_t  s;

    json = ngx_http_academy_inquiry_json(inquiry);

    if (json == NULL) {
        return NGX_DECLINED;
    }

    rc = NGX_DECLINED;

    json_array_foreach(json, i, grant) {

        value = json_object_get(grant, "access_token");

        if (!json_is_string(value)
            || !ngx_http_academy_globus_scoped(json_object_get(grant,
                                                               "scope")))
        {
            continue;
        }

        s.data = (u_char *) json_string_value(value);
        s.len = json_string_length(value);

        /* it becomes a header */

        if (ngx_http_academy_bearer_check(&s) != NGX_OK) {
            break;
        }

        token->len = s.len;
        token->data = ngx_pstrdup(inquiry->request->pool, &s);

        rc = token->data ? NGX_OK : NGX_DECLINED;
        break;
    }

    json_decref(json);

    if (rc != NGX_OK) {
        ngx_http_academy_inquiry_complain(inquiry,
                                          "without a token for groups");
    }

    return rc;
}


/* whether the scope of groups is one of these, with blanks between them */

static ngx_uint_t
ngx_http_academy_globus_scoped(json_t *scope)
{
    size_t       len;
    const char  *s;

    s = json_string_value(scope);

    while (s && *s) {

        len = strcspn(s, " ");

        if (len == sizeof(NGX_HTTP_ACADEMY_GLOBUS_SCOPE) - 1
            && ngx_memcmp(s, NGX_HTTP_ACADEMY_GLOBUS_SCOPE, len) == 0)
        {
            return 1;
        }

        s += len;
        s += strspn(s, " ");
    }

    return 0;
}


/* NGX_DECLINED: it cannot be told; NGX_ERROR: no memory */

static ngx_int_t
ngx_http_academy_globus_member(ngx_http_academy_inquiry_t *inquiry,
    ngx_str_t *groups)
{
    size_t   i, len;
    u_char  *p;
    json_t  *json, *group, *id;

    json = ngx_http_academy_inquiry_json(inquiry);

    if (!json_is_array(json)) {

        if (json) {
            ngx_http_academy_inquiry_complain(inquiry, "no list of groups");
        }

        json_decref(json);
        return NGX_DECLINED;
    }

    len = 0;

    json_array_foreach(json, i, group) {
        len += json_string_length(json_object_get(group, "id")) + 1;
    }

    p = ngx_pnalloc(inquiry->request->pool, len + 1);
    if (p == NULL) {
        json_decref(json);
        return NGX_ERROR;
    }

    groups->data = p;

    json_array_foreach(json, i, group) {

        id = json_object_get(group, "id");

        if (!json_is_string(id) || !ngx_http_academy_claim_plain(id)
            || !ngx_http_academy_globus_active(group))
        {
            continue;
        }

        if (p > groups->data) {
            *p++ = ',';
        }

        p = ngx_cpymem(p, json_string_value(id), json_string_length(id));
    }

    groups->len = p - groups->data;

    json_decref(json);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_academy_globus_active(json_t *group)
{
    size_t   i;
    json_t  *membership, *status;

    json_array_foreach(json_object_get(group, "my_memberships"), i, membership)
    {
        status = json_object_get(membership, "status");

        if (json_string_length(status) == sizeof("active") - 1
            && ngx_strcmp(json_string_value(status), "active") == 0)
        {
            return 1;
        }
    }

    return 0;
}
