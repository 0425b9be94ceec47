
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_auth_zone.h"
#include "ngx_http_academy_inquiry.h"
#include "ngx_http_academy_jwks.h"
#include "ngx_http_academy_jwt.h"


/*
 * Keys that are fetched, from a location of the user's.
 *
 * When they are old the request that notices has them fetched in the
 * background and goes on with what there is: a provider that is down is noticed
 * only after a day, or by a token whose key is not among them.
 */


/* seconds: that old keys serve without their provider */

#define NGX_HTTP_ACADEMY_JWKS_STALE  86400

/* seconds between two fetches: of keys that are there, and of none */

#define NGX_HTTP_ACADEMY_JWKS_AGAIN  10
#define NGX_HTTP_ACADEMY_JWKS_RETRY  1


/* of a request that fetches */

typedef struct {
    ngx_http_academy_inquiry_t     inquiry;
    ngx_http_academy_jwks_t       *jwks;
    unsigned                       asks:1;     /* as the only one */
} ngx_http_academy_fetch_t;


static ngx_int_t ngx_http_academy_fetch(ngx_http_request_t *r,
    ngx_http_academy_jwks_t *jwks, ngx_uint_t background);
static void ngx_http_academy_fetched(ngx_http_academy_inquiry_t *inquiry);
static ngx_uint_t ngx_http_academy_fetched_keys(ngx_pool_t *pool,
    ngx_str_t *text, ngx_log_t *log);
static void ngx_http_academy_fetch_cleanup(void *data);


ngx_int_t
ngx_http_academy_jwt_keys(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_keys_t **keys)
{
    ngx_int_t                       rc;
    ngx_http_academy_jwks_t        *jwks;
    ngx_http_academy_jwks_state_t   state;

    jwks = acf->jwks;

    ngx_http_academy_jwks_state(jwks, &state);

    if (state.serial == 0 || state.age >= NGX_HTTP_ACADEMY_JWKS_STALE) {

        if (state.known && state.failed
            && state.asked < NGX_HTTP_ACADEMY_JWKS_RETRY)
        {
            return NGX_DECLINED;
        }

        return ngx_http_academy_fetch(r, jwks, 0);
    }

    if (state.serial != jwks->serial) {

        rc = ngx_http_academy_jwks_read(jwks, r->connection->log);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (state.age >= acf->key_cache
        && state.asked >= ngx_min(acf->key_cache, NGX_HTTP_ACADEMY_JWKS_AGAIN)
        && ngx_http_academy_fetch(r, jwks, 1) == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    *keys = jwks->keys;

    return NGX_OK;
}


ngx_int_t
ngx_http_academy_jwt_keys_renew(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf)
{
    ngx_http_academy_jwks_state_t  state;

    ngx_http_academy_jwks_state(acf->jwks, &state);

    if (state.serial != acf->jwks->serial) {
        return NGX_OK;
    }

    if (state.asked < NGX_HTTP_ACADEMY_JWKS_AGAIN) {
        return state.failed ? NGX_DECLINED : NGX_ABORT;
    }

    return ngx_http_academy_fetch(r, acf->jwks, 0);
}


/*
 * NGX_AGAIN: somebody fetches, and the request's phases run on after that;
 * in the background: NGX_OK.
 */

static ngx_int_t
ngx_http_academy_fetch(ngx_http_request_t *r,
    ngx_http_academy_jwks_t *jwks, ngx_uint_t background)
{
    ngx_int_t                    rc;
    ngx_pid_t                    died;
    ngx_http_cleanup_t          *cln;
    ngx_http_academy_fetch_t    *fetch;
    ngx_http_academy_auth_sh_t  *sh;

    fetch = ngx_pcalloc(r->pool, sizeof(ngx_http_academy_fetch_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (fetch == NULL || cln == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_DECLINED;

    sh = ngx_http_academy_auth_lock(jwks->zone, &died);

    if (sh && (!background || !ngx_http_academy_auth_asked(sh, jwks->key))) {
        rc = ngx_http_academy_auth_ask(jwks->zone, sh, jwks->key);
        fetch->asks = (rc == NGX_OK);
    }

    ngx_http_academy_auth_unlock(jwks->zone, died);

    if (background && rc != NGX_OK) {
        return NGX_OK;
    }

    if (rc == NGX_AGAIN) {
        return ngx_http_academy_auth_wait(r, jwks->key);
    }

    cln->handler = ngx_http_academy_fetch_cleanup;
    cln->data = fetch;

    fetch->jwks = jwks;
    fetch->inquiry.request = r;
    fetch->inquiry.uri = jwks->uri;
    fetch->inquiry.size = NGX_HTTP_ACADEMY_JWKS_SIZE;
    fetch->inquiry.handler = ngx_http_academy_fetched;
    fetch->inquiry.data = fetch;
    fetch->inquiry.background = background;

    if (ngx_http_academy_inquire(&fetch->inquiry) != NGX_OK) {

        /* an error_page may bring this request here again: not to wait */

        ngx_http_academy_fetch_cleanup(fetch);
        return NGX_ERROR;
    }

    return background ? NGX_OK : NGX_AGAIN;
}


static void
ngx_http_academy_fetched(ngx_http_academy_inquiry_t *inquiry)
{
    ngx_int_t                  rc;
    ngx_str_t                  text;
    ngx_http_academy_fetch_t  *fetch;

    fetch = inquiry->data;

    rc = ngx_http_academy_inquiry_text(inquiry, &text);

    if (rc == NGX_OK
        && !ngx_http_academy_fetched_keys(inquiry->request->pool, &text,
                                          inquiry->request->connection->log))
    {
        ngx_http_academy_inquiry_complain(inquiry, "no set of usable keys");
        rc = NGX_DECLINED;
    }

    ngx_http_academy_jwks_put(fetch->jwks, (rc == NGX_OK) ? &text : NULL);

    ngx_http_academy_fetch_cleanup(fetch);

    ngx_http_academy_inquiry_free(inquiry);
}


static ngx_uint_t
ngx_http_academy_fetched_keys(ngx_pool_t *pool, ngx_str_t *text, ngx_log_t *log)
{
    ngx_http_academy_keys_t  *keys;

    keys = ngx_http_academy_jwks_parse(pool, text, 0, log);

    return keys && keys->keys.nelts;
}


/* with an answer, or since its request has ended before there was one */

static void
ngx_http_academy_fetch_cleanup(void *data)
{
    ngx_http_academy_fetch_t  *fetch = data;

    if (fetch->asks) {
        fetch->asks = 0;
        ngx_http_academy_auth_give_up(fetch->jwks->zone, fetch->jwks->key);
    }
}
