
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_auth_zone.h"
#include "ngx_http_academy_inquiry.h"
#include "ngx_http_academy_jwt.h"


/*
 * Keys that are fetched, from a location of the user's.
 *
 * Their text is in the zone, for all workers; each worker reads it once, and
 * again when its serial is another one.  When they are old the request that
 * notices has them fetched in the background and goes on with what there is:
 * a provider that is down is noticed only after a day, or by a token whose key
 * is not among them.
 */


/* bytes of a set: some tens of keys with their certificates */

#define NGX_HTTP_ACADEMY_JWKS_SIZE   (128 * 1024)

/* sets that are kept, of all locations and configurations */

#define NGX_HTTP_ACADEMY_JWKS_SETS   16

/* seconds: that old keys serve without their provider */

#define NGX_HTTP_ACADEMY_JWKS_STALE  86400

/* seconds between two fetches: of keys that are there, and of none */

#define NGX_HTTP_ACADEMY_JWKS_AGAIN  10
#define NGX_HTTP_ACADEMY_JWKS_RETRY  1


/* what a worker has read, of a location */

struct ngx_http_academy_jwks_s {
    ngx_http_academy_auth_zone_t  *zone;
    ngx_str_t                      uri;
    u_char                         key[NGX_HTTP_ACADEMY_DIGEST_LEN];
    uint64_t                       serial;     /* 0: nothing */
    ngx_pool_t                    *pool;
    ngx_http_academy_keys_t       *keys;
};


/* of a request that fetches */

typedef struct {
    ngx_http_academy_inquiry_t     inquiry;
    ngx_http_academy_jwks_t       *jwks;
    unsigned                       asks:1;     /* as the only one */
} ngx_http_academy_fetch_t;


typedef struct {
    uint64_t                       serial;
    time_t                         age;
    time_t                         asked;
    ngx_uint_t                     failed;
} ngx_http_academy_jwks_state_t;


static void ngx_http_academy_jwks_state(ngx_http_academy_jwks_t *jwks,
    ngx_http_academy_jwks_state_t *state);
static ngx_int_t ngx_http_academy_jwks_read(ngx_http_academy_jwks_t *jwks,
    ngx_log_t *log);
static ngx_int_t ngx_http_academy_jwks_fetch(ngx_http_request_t *r,
    ngx_http_academy_jwks_t *jwks, ngx_uint_t background);
static void ngx_http_academy_jwks_fetched(ngx_http_academy_inquiry_t *inquiry);
static ngx_uint_t ngx_http_academy_jwks_usable(ngx_pool_t *pool,
    ngx_str_t *text, ngx_log_t *log);
static ngx_int_t ngx_http_academy_jwks_store(ngx_http_academy_jwks_t *jwks,
    ngx_http_academy_auth_sh_t *sh, ngx_str_t *text);
static void ngx_http_academy_jwks_cleanup(void *data);
static ngx_http_academy_auth_keys_t *ngx_http_academy_jwks_find(
    ngx_http_academy_auth_sh_t *sh, u_char *key);
static ngx_http_academy_auth_keys_t *ngx_http_academy_jwks_place(
    ngx_http_academy_jwks_t *jwks, ngx_http_academy_auth_sh_t *sh);
static void ngx_http_academy_jwks_prune(ngx_http_academy_jwks_t *jwks,
    ngx_http_academy_auth_sh_t *sh);
static void ngx_http_academy_jwks_forget(void *data);


ngx_int_t
ngx_http_academy_jwt_keys(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_keys_t **keys)
{
    ngx_int_t                       rc;
    ngx_http_academy_ctx_t         *ctx;
    ngx_http_academy_jwks_t        *jwks;
    ngx_http_academy_jwks_state_t   state;

    jwks = acf->jwks;
    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    ngx_http_academy_jwks_state(jwks, &state);

    if (state.serial == 0 || state.age >= NGX_HTTP_ACADEMY_JWKS_STALE) {

        /* nor does a request fetch twice, if there is no room for the keys */

        if (ctx->inquiry
            || (state.failed && state.asked < NGX_HTTP_ACADEMY_JWKS_RETRY))
        {
            return NGX_DECLINED;
        }

        return ngx_http_academy_jwks_fetch(r, jwks, 0);
    }

    if (state.serial != jwks->serial) {

        rc = ngx_http_academy_jwks_read(jwks, r->connection->log);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (state.age >= acf->key_cache
        && state.asked >= ngx_min(acf->key_cache, NGX_HTTP_ACADEMY_JWKS_AGAIN)
        && ngx_http_academy_jwks_fetch(r, jwks, 1) == NGX_ERROR)
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

    return ngx_http_academy_jwks_fetch(r, acf->jwks, 0);
}


/* how the set in the zone stands; ages are in seconds */

static void
ngx_http_academy_jwks_state(ngx_http_academy_jwks_t *jwks,
    ngx_http_academy_jwks_state_t *state)
{
    time_t                         now;
    ngx_pid_t                      died;
    ngx_http_academy_auth_sh_t    *sh;
    ngx_http_academy_auth_keys_t  *keys;

    ngx_memzero(state, sizeof(ngx_http_academy_jwks_state_t));

    now = ngx_time();
    state->asked = now;

    sh = ngx_http_academy_auth_lock(jwks->zone, &died);

    keys = sh ? ngx_http_academy_jwks_find(sh, jwks->key) : NULL;

    if (keys) {
        keys->used = now;

        state->serial = keys->serial;
        state->age = now - keys->fetched;
        state->asked = now - keys->asked;
        state->failed = keys->failed;
    }

    ngx_http_academy_auth_unlock(jwks->zone, died);
}


/* NGX_DECLINED: it is not there any more */

static ngx_int_t
ngx_http_academy_jwks_read(ngx_http_academy_jwks_t *jwks, ngx_log_t *log)
{
    uint64_t                       serial;
    ngx_str_t                      text;
    ngx_pid_t                      died;
    ngx_pool_t                    *pool;
    ngx_http_academy_keys_t       *parsed;
    ngx_http_academy_auth_sh_t    *sh;
    ngx_http_academy_auth_keys_t  *keys;

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    text.data = ngx_palloc(pool, NGX_HTTP_ACADEMY_JWKS_SIZE);
    if (text.data == NULL) {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    text.len = 0;
    serial = 0;

    sh = ngx_http_academy_auth_lock(jwks->zone, &died);

    keys = sh ? ngx_http_academy_jwks_find(sh, jwks->key) : NULL;

    if (keys && keys->serial) {
        serial = keys->serial;
        text.len = keys->size;
        ngx_memcpy(text.data, keys->text, keys->size);
    }

    ngx_http_academy_auth_unlock(jwks->zone, died);

    parsed = serial ? ngx_http_academy_jwks_parse(pool, &text, 0, log) : NULL;

    if (parsed == NULL) {
        ngx_destroy_pool(pool);
        return NGX_DECLINED;
    }

    (void) ngx_pfree(pool, text.data);

    if (jwks->pool) {
        ngx_destroy_pool(jwks->pool);
    }

    jwks->pool = pool;
    jwks->keys = parsed;
    jwks->serial = serial;

    return NGX_OK;
}


/*
 * NGX_AGAIN: somebody fetches, and the request's phases run on after that;
 * in the background: NGX_OK.
 */

static ngx_int_t
ngx_http_academy_jwks_fetch(ngx_http_request_t *r,
    ngx_http_academy_jwks_t *jwks, ngx_uint_t background)
{
    ngx_int_t                    rc;
    ngx_pid_t                    died;
    ngx_http_cleanup_t          *cln;
    ngx_http_academy_ctx_t      *ctx;
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

    cln->handler = ngx_http_academy_jwks_cleanup;
    cln->data = fetch;

    if (!background) {
        ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
        ctx->inquiry = fetch;
    }

    fetch->jwks = jwks;
    fetch->inquiry.request = r;
    fetch->inquiry.uri = jwks->uri;
    fetch->inquiry.size = NGX_HTTP_ACADEMY_JWKS_SIZE;
    fetch->inquiry.handler = ngx_http_academy_jwks_fetched;
    fetch->inquiry.data = fetch;
    fetch->inquiry.background = background;

    if (ngx_http_academy_inquire(&fetch->inquiry) != NGX_OK) {
        return NGX_ERROR;
    }

    return background ? NGX_OK : NGX_AGAIN;
}


static void
ngx_http_academy_jwks_fetched(ngx_http_academy_inquiry_t *inquiry)
{
    uint64_t                       slots[NGX_HTTP_ACADEMY_AUTH_WORDS];
    ngx_int_t                      rc;
    ngx_str_t                      text;
    ngx_pid_t                      died;
    ngx_log_t                     *log;
    ngx_http_academy_jwks_t       *jwks;
    ngx_http_academy_fetch_t      *fetch;
    ngx_http_academy_auth_sh_t    *sh;
    ngx_http_academy_auth_keys_t  *keys;

    fetch = inquiry->data;
    jwks = fetch->jwks;
    log = inquiry->request->connection->log;

    rc = ngx_http_academy_inquiry_text(inquiry, &text);

    if (rc == NGX_OK
        && !ngx_http_academy_jwks_usable(inquiry->request->pool, &text, log))
    {
        ngx_http_academy_inquiry_complain(inquiry, "no set of usable keys");
        rc = NGX_DECLINED;
    }

    ngx_memzero(slots, sizeof(slots));

    sh = ngx_http_academy_auth_lock(jwks->zone, &died);

    keys = sh ? ngx_http_academy_jwks_place(jwks, sh) : NULL;

    if (keys && rc == NGX_OK) {
        rc = ngx_http_academy_jwks_store(jwks, sh, &text);
    }

    if (keys) {
        keys->asked = ngx_time();
        keys->failed = (rc != NGX_OK);
    }

    if (sh && fetch->asks) {
        ngx_http_academy_auth_end(jwks->zone, sh, jwks->key, slots);
    }

    ngx_http_academy_auth_unlock(jwks->zone, died);

    if (keys == NULL || rc == NGX_ERROR) {
        ngx_log_error(NGX_LOG_CRIT, log, 0,
                      "no room for the keys of \"%V\", \"size\" in "
                      "\"academy_auth_cache\" is too small", &jwks->uri);
    }

    if (fetch->asks) {
        fetch->asks = 0;
        ngx_http_academy_auth_tell(jwks->zone, jwks->key, slots);
    }

    ngx_http_academy_inquiry_free(inquiry);
}


static ngx_uint_t
ngx_http_academy_jwks_usable(ngx_pool_t *pool, ngx_str_t *text, ngx_log_t *log)
{
    ngx_http_academy_keys_t  *keys;

    keys = ngx_http_academy_jwks_parse(pool, text, 0, log);

    return keys && keys->keys.nelts;
}


/* within the lock */

static ngx_int_t
ngx_http_academy_jwks_store(ngx_http_academy_jwks_t *jwks,
    ngx_http_academy_auth_sh_t *sh, ngx_str_t *text)
{
    u_char                        *p, *old;
    ngx_http_academy_auth_keys_t  *keys;

    keys = ngx_http_academy_jwks_find(sh, jwks->key);

    keys->fetched = ngx_time();

    /* nobody needs to read the same again */

    if (keys->serial && keys->size == text->len
        && ngx_memcmp(keys->text, text->data, text->len) == 0)
    {
        return NGX_OK;
    }

    p = ngx_http_academy_auth_alloc(jwks->zone, sh, text->len, 0);

    if (p == NULL) {
        keys->fetched = 0;
        keys->serial = 0;
        return NGX_ERROR;
    }

    ngx_memcpy(p, text->data, text->len);

    old = keys->text;

    keys->text = p;
    keys->size = text->len;

    keys->serial = ++sh->serial;

    if (old) {
        ngx_slab_free_locked(jwks->zone->shpool, old);
    }

    return NGX_OK;
}


/* a request that fetches has ended before there was an answer */

static void
ngx_http_academy_jwks_cleanup(void *data)
{
    ngx_http_academy_fetch_t  *fetch = data;

    if (fetch->asks) {
        fetch->asks = 0;
        ngx_http_academy_auth_give_up(fetch->jwks->zone, fetch->jwks->key);
    }
}


static ngx_http_academy_auth_keys_t *
ngx_http_academy_jwks_find(ngx_http_academy_auth_sh_t *sh, u_char *key)
{
    ngx_http_academy_auth_keys_t  *keys;

    for (keys = sh->keys; keys; keys = keys->next) {
        if (ngx_memcmp(keys->key, key, NGX_HTTP_ACADEMY_DIGEST_LEN) == 0) {
            break;
        }
    }

    return keys;
}


static ngx_http_academy_auth_keys_t *
ngx_http_academy_jwks_place(ngx_http_academy_jwks_t *jwks,
    ngx_http_academy_auth_sh_t *sh)
{
    ngx_http_academy_auth_keys_t  *keys;

    keys = ngx_http_academy_jwks_find(sh, jwks->key);

    if (keys) {
        return keys;
    }

    ngx_http_academy_jwks_prune(jwks, sh);

    keys = ngx_http_academy_auth_alloc(jwks->zone, sh,
                                       sizeof(ngx_http_academy_auth_keys_t),
                                       0);
    if (keys == NULL) {
        return NULL;
    }

    ngx_memzero(keys, sizeof(ngx_http_academy_auth_keys_t));
    ngx_memcpy(keys->key, jwks->key, NGX_HTTP_ACADEMY_DIGEST_LEN);

    keys->used = ngx_time();

    keys->next = sh->keys;
    sh->keys = keys;

    return keys;
}


/* what configurations before this one had */

static void
ngx_http_academy_jwks_prune(ngx_http_academy_jwks_t *jwks,
    ngx_http_academy_auth_sh_t *sh)
{
    ngx_uint_t                     n;
    ngx_http_academy_auth_keys_t  *keys, **link, **oldest;

    n = 0;
    oldest = NULL;

    for (link = &sh->keys; *link; link = &(*link)->next) {

        if (oldest == NULL || (*link)->used < (*oldest)->used) {
            oldest = link;
        }

        n++;
    }

    if (n < NGX_HTTP_ACADEMY_JWKS_SETS) {
        return;
    }

    keys = *oldest;
    *oldest = keys->next;

    if (keys->text) {
        ngx_slab_free_locked(jwks->zone->shpool, keys->text);
    }

    ngx_slab_free_locked(jwks->zone->shpool, keys);
}


ngx_http_academy_jwks_t *
ngx_http_academy_jwks_create(ngx_conf_t *cf, ngx_http_academy_auth_conf_t *acf)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_academy_jwks_t  *jwks;

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_http_academy_jwks_t));
    if (cln == NULL) {
        return NULL;
    }

    jwks = cln->data;
    ngx_memzero(jwks, sizeof(ngx_http_academy_jwks_t));

    cln->handler = ngx_http_academy_jwks_forget;

    jwks->zone = acf->zone;
    jwks->uri = acf->key_request;

    if (ngx_http_academy_auth_uri_digest(cf, &jwks->uri, jwks->key)
        != NGX_OK)
    {
        return NULL;
    }

    return jwks;
}


static void
ngx_http_academy_jwks_forget(void *data)
{
    ngx_http_academy_jwks_t  *jwks = data;

    if (jwks->pool) {
        ngx_destroy_pool(jwks->pool);
    }
}
