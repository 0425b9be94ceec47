
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_jwks.h"


/*
 * A place is guarded by the mutex of the zone's slab pool.  A process that dies
 * while it writes a text leaves the serial of none.
 */


#define NGX_HTTP_ACADEMY_JWKS_PLACES  (2 * NGX_HTTP_ACADEMY_MAX_JWKS)


typedef struct {
    u_char                         key[NGX_HTTP_ACADEMY_DIGEST_LEN];
    uint64_t                       serial;     /* 0: no text */
    time_t                         fetched;    /* the text */
    time_t                         asked;      /* the last time; 0: never */
    time_t                         used;
    ngx_uint_t                     failed;
    size_t                         len;
    u_char                         text[NGX_HTTP_ACADEMY_JWKS_SIZE];
} ngx_http_academy_jwks_place_t;


typedef struct {
    uint64_t                       serial;     /* the latest */
    ngx_http_academy_jwks_place_t  places[NGX_HTTP_ACADEMY_JWKS_PLACES];
} ngx_http_academy_jwks_sh_t;


static ngx_http_academy_jwks_place_t *ngx_http_academy_jwks_find(
    ngx_http_academy_jwks_sh_t *sh, u_char *key);
static ngx_http_academy_jwks_place_t *ngx_http_academy_jwks_place(
    ngx_http_academy_jwks_sh_t *sh, u_char *key);
static ngx_int_t ngx_http_academy_jwks_init(ngx_shm_zone_t *shm_zone,
    void *data);
static void ngx_http_academy_jwks_cleanup(void *data);


static ngx_str_t  ngx_http_academy_jwks_zone = ngx_string("academy_jwt_keys");


void
ngx_http_academy_jwks_state(ngx_http_academy_jwks_t *jwks,
    ngx_http_academy_jwks_state_t *state)
{
    time_t                          now;
    ngx_slab_pool_t                *shpool;
    ngx_http_academy_jwks_place_t  *place;

    ngx_memzero(state, sizeof(ngx_http_academy_jwks_state_t));

    now = ngx_time();
    shpool = (ngx_slab_pool_t *) jwks->shm_zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    place = ngx_http_academy_jwks_find(shpool->data, jwks->key);

    if (place) {
        place->used = now;

        /* of a clock that was set back: nothing is to last for longer */

        place->fetched = ngx_min(place->fetched, now);
        place->asked = ngx_min(place->asked, now);

        state->known = 1;
        state->serial = place->serial;
        state->age = now - place->fetched;
        state->asked = now - place->asked;
        state->failed = (place->failed != 0);
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


ngx_int_t
ngx_http_academy_jwks_read(ngx_http_academy_jwks_t *jwks, ngx_log_t *log)
{
    uint64_t                        serial;
    ngx_str_t                       text;
    ngx_pool_t                     *pool;
    ngx_slab_pool_t                *shpool;
    ngx_http_academy_keys_t        *keys;
    ngx_http_academy_jwks_place_t  *place;

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    text.len = 0;
    text.data = ngx_palloc(pool, NGX_HTTP_ACADEMY_JWKS_SIZE);

    if (text.data == NULL) {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    serial = 0;
    shpool = (ngx_slab_pool_t *) jwks->shm_zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    place = ngx_http_academy_jwks_find(shpool->data, jwks->key);

    if (place && place->serial) {
        serial = place->serial;
        text.len = place->len;
        ngx_memcpy(text.data, place->text, place->len);
    }

    ngx_shmtx_unlock(&shpool->mutex);

    keys = serial ? ngx_http_academy_jwks_parse(pool, &text, 0, log) : NULL;

    if (keys == NULL) {
        ngx_destroy_pool(pool);
        return NGX_DECLINED;
    }

    (void) ngx_pfree(pool, text.data);

    if (jwks->pool) {
        ngx_destroy_pool(jwks->pool);
    }

    jwks->pool = pool;
    jwks->keys = keys;
    jwks->serial = serial;

    return NGX_OK;
}


void
ngx_http_academy_jwks_put(ngx_http_academy_jwks_t *jwks, ngx_str_t *text)
{
    ngx_slab_pool_t                *shpool;
    ngx_http_academy_jwks_sh_t     *sh;
    ngx_http_academy_jwks_place_t  *place;

    shpool = (ngx_slab_pool_t *) jwks->shm_zone->shm.addr;
    sh = shpool->data;

    ngx_shmtx_lock(&shpool->mutex);

    place = ngx_http_academy_jwks_place(sh, jwks->key);

    place->asked = ngx_time();
    place->failed = (text == NULL);

    if (text == NULL) {
        goto done;
    }

    place->fetched = place->asked;

    /* nobody needs to read the same again */

    if (place->serial && place->len == text->len
        && ngx_memcmp(place->text, text->data, text->len) == 0)
    {
        goto done;
    }

    place->serial = 0;

    ngx_memory_barrier();

    place->len = text->len;
    ngx_memcpy(place->text, text->data, text->len);

    ngx_memory_barrier();

    place->serial = ++sh->serial;

done:

    ngx_shmtx_unlock(&shpool->mutex);
}


static ngx_http_academy_jwks_place_t *
ngx_http_academy_jwks_find(ngx_http_academy_jwks_sh_t *sh, u_char *key)
{
    ngx_uint_t                      i;
    ngx_http_academy_jwks_place_t  *place;

    for (i = 0; i < NGX_HTTP_ACADEMY_JWKS_PLACES; i++) {
        place = &sh->places[i];

        if (place->asked
            && ngx_memcmp(place->key, key, NGX_HTTP_ACADEMY_DIGEST_LEN) == 0)
        {
            return place;
        }
    }

    return NULL;
}


/* its own; or one of nobody; or the one of a configuration that is gone */

static ngx_http_academy_jwks_place_t *
ngx_http_academy_jwks_place(ngx_http_academy_jwks_sh_t *sh, u_char *key)
{
    ngx_uint_t                      i;
    ngx_http_academy_jwks_place_t  *place;

    place = ngx_http_academy_jwks_find(sh, key);

    if (place) {
        return place;
    }

    place = &sh->places[0];

    for (i = 1; i < NGX_HTTP_ACADEMY_JWKS_PLACES; i++) {
        if (sh->places[i].used < place->used) {
            place = &sh->places[i];
        }
    }

    place->asked = 0;
    place->serial = 0;

    ngx_memory_barrier();

    place->used = ngx_time();
    ngx_memcpy(place->key, key, NGX_HTTP_ACADEMY_DIGEST_LEN);

    ngx_memory_barrier();

    return place;
}


ngx_http_academy_jwks_t *
ngx_http_academy_jwks_create(ngx_conf_t *cf, ngx_http_academy_auth_conf_t *acf)
{
    u_char                         digest[NGX_HTTP_ACADEMY_DIGEST_LEN];
    ngx_uint_t                     i;
    ngx_pool_cleanup_t            *cln;
    ngx_http_academy_jwks_t       *jwks, **p;
    ngx_http_academy_main_conf_t  *amcf;

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_academy_module);

    if (ngx_http_academy_auth_uri_digest(cf, &acf->key_request, digest)
        != NGX_OK)
    {
        return NULL;
    }

    p = amcf->jwks.elts;

    for (i = 0; i < amcf->jwks.nelts; i++) {
        if (ngx_memcmp(p[i]->key, digest, NGX_HTTP_ACADEMY_DIGEST_LEN) == 0) {
            return p[i];
        }
    }

    if (i == NGX_HTTP_ACADEMY_MAX_JWKS) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "too many different \"academy_jwt_key_request\", there "
                      "may be at most %d", NGX_HTTP_ACADEMY_MAX_JWKS);
        return NULL;
    }

    p = ngx_array_push(&amcf->jwks);
    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_http_academy_jwks_t));

    if (p == NULL || cln == NULL) {
        return NULL;
    }

    jwks = cln->data;
    *p = jwks;

    ngx_memzero(jwks, sizeof(ngx_http_academy_jwks_t));

    cln->handler = ngx_http_academy_jwks_cleanup;

    ngx_memcpy(jwks->key, digest, NGX_HTTP_ACADEMY_DIGEST_LEN);

    jwks->uri = acf->key_request;
    jwks->zone = acf->zone;

    jwks->shm_zone = ngx_shared_memory_add(cf, &ngx_http_academy_jwks_zone,
                                           sizeof(ngx_http_academy_jwks_sh_t)
                                           * 17 / 16 + 16 * ngx_pagesize,
                                           &ngx_http_academy_jwks_zone);
    if (jwks->shm_zone == NULL) {
        return NULL;
    }

    jwks->shm_zone->init = ngx_http_academy_jwks_init;

    return jwks;
}


static ngx_int_t
ngx_http_academy_jwks_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    shm_zone->data = shpool;

    if (data || shm_zone->shm.exists) {
        return NGX_OK;
    }

    /* fresh memory of the system's is zero, and stays untouched */

    shpool->data = ngx_slab_alloc(shpool, sizeof(ngx_http_academy_jwks_sh_t));

    return shpool->data ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_academy_jwks_cleanup(void *data)
{
    ngx_http_academy_jwks_t  *jwks = data;

    if (jwks->pool) {
        ngx_destroy_pool(jwks->pool);
    }
}
