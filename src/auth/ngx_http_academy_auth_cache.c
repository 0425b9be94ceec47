
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <openssl/evp.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_auth_zone.h"


/*
 * What tokens were found to be, for all workers.
 *
 * The key is the SHA-256 of the location's digest and the token: no token is
 * in the zone, and what was found for one audience, or by keys that were in
 * force before a reload, is not found for another.
 */


/* entries that are evicted for the sake of one */

#define NGX_HTTP_ACADEMY_AUTH_EVICTED   64

/* the part of the zone that refusals may have */

#define NGX_HTTP_ACADEMY_AUTH_SHARE     4

/* of a refusal, in seconds */

#define NGX_HTTP_ACADEMY_AUTH_REFUSED   5

/* of a provider that did not answer: the Retry-After of that, in seconds */

#define NGX_HTTP_ACADEMY_AUTH_UNANSWERED  1

/* an entry's strings all together: claims cannot be longer than a token */

#define NGX_HTTP_ACADEMY_AUTH_TEXT      (3 * NGX_HTTP_ACADEMY_MAX_TOKEN)


static ngx_int_t ngx_http_academy_auth_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_http_academy_auth_clear(ngx_slab_pool_t *shpool);
static void ngx_http_academy_auth_cache_read(ngx_http_academy_auth_sh_t *sh,
    ngx_http_academy_auth_entry_t *entry,
    ngx_http_academy_identity_t *identity);
static u_char *ngx_http_academy_auth_cache_key(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token);
static ngx_http_academy_auth_entry_t **ngx_http_academy_auth_cache_find(
    ngx_http_academy_auth_sh_t *sh, u_char *key);
static void ngx_http_academy_auth_cache_delete(
    ngx_http_academy_auth_zone_t *zone, ngx_http_academy_auth_sh_t *sh,
    ngx_http_academy_auth_entry_t **link);
static ngx_int_t ngx_http_academy_auth_cache_evict(
    ngx_http_academy_auth_zone_t *zone, ngx_http_academy_auth_sh_t *sh,
    ngx_uint_t good);
static void ngx_http_academy_auth_cache_store(
    ngx_http_academy_auth_zone_t *zone, ngx_http_academy_auth_sh_t *sh,
    u_char *key, ngx_http_academy_identity_t *identity, time_t until);
static time_t ngx_http_academy_auth_cache_until(
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_identity_t *identity);


static ngx_str_t  ngx_http_academy_auth_zone_name =
    ngx_string("academy_auth_cache");

static EVP_MD      *ngx_http_academy_auth_md;
static EVP_MD_CTX  *ngx_http_academy_auth_md_ctx;

static u_char  ngx_http_academy_auth_text[NGX_HTTP_ACADEMY_AUTH_TEXT];


ngx_int_t
ngx_http_academy_auth_cache_get(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token,
    ngx_http_academy_identity_t *identity)
{
    u_char                          *p;
    size_t                           size;
    ngx_pid_t                        died;
    ngx_http_academy_ctx_t          *ctx;
    ngx_http_academy_auth_sh_t      *sh;
    ngx_http_academy_auth_entry_t   *entry, **link;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    if (ctx->cached == NULL) {
        ctx->cached = ngx_http_academy_auth_cache_key(r, acf, token);
        if (ctx->cached == NULL) {
            return NGX_ERROR;
        }
    }

    sh = ngx_http_academy_auth_lock(acf->zone, &died);

    link = sh ? ngx_http_academy_auth_cache_find(sh, ctx->cached) : NULL;
    entry = link ? *link : NULL;

    if (entry && entry->until <= ngx_time()) {
        ngx_http_academy_auth_cache_delete(acf->zone, sh, link);
        entry = NULL;
    }

    if (entry) {
        ngx_http_academy_auth_cache_read(sh, entry, identity);
    }

    ngx_http_academy_auth_unlock(acf->zone, died);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "academy token is known: %d", entry != NULL);

    ngx_http_academy_tell(r, entry ? NGX_HTTP_ACADEMY_N_AUTH_HITS
                                      : NGX_HTTP_ACADEMY_N_AUTH_MISSES);

    if (entry == NULL) {
        return NGX_DECLINED;
    }

    size = identity->id.len + identity->groups.len + identity->claims.len;

    p = ngx_pnalloc(r->pool, size + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, ngx_http_academy_auth_text, size);

    identity->id.data = p;
    identity->groups.data = identity->id.data + identity->id.len;
    identity->claims.data = identity->groups.data + identity->groups.len;

    return NGX_OK;
}


/* within the lock: to where the strings stand until they have a place */

static void
ngx_http_academy_auth_cache_read(ngx_http_academy_auth_sh_t *sh,
    ngx_http_academy_auth_entry_t *entry,
    ngx_http_academy_identity_t *identity)
{
    if (entry->status == NGX_HTTP_OK) {
        ngx_queue_remove(&entry->queue);
        ngx_queue_insert_head(&sh->queue, &entry->queue);
    }

    identity->status = entry->status;
    identity->expires = entry->expires;
    identity->reason = NULL;
    identity->id.len = entry->id;
    identity->groups.len = entry->groups;
    identity->claims.len = entry->claims;

    ngx_memcpy(ngx_http_academy_auth_text, entry->data,
               entry->id + entry->groups + entry->claims);
}


ngx_int_t
ngx_http_academy_auth_cache_ask(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf)
{
    ngx_int_t                        rc;
    ngx_pid_t                        died;
    ngx_http_cleanup_t              *cln;
    ngx_http_academy_ctx_t          *ctx;
    ngx_http_academy_auth_sh_t      *sh;
    ngx_http_academy_auth_entry_t   *entry;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    sh = ngx_http_academy_auth_lock(acf->zone, &died);

    entry = sh ? *ngx_http_academy_auth_cache_find(sh, ctx->cached) : NULL;

    if (entry && entry->until > ngx_time()) {
        rc = NGX_DECLINED;

    } else if (sh == NULL) {
        rc = NGX_OK;

    } else {
        rc = ngx_http_academy_auth_ask(acf->zone, sh, ctx->cached);

        if (rc == NGX_DECLINED) {
            rc = NGX_OK;

        } else if (rc == NGX_OK) {
            ctx->asks = acf->zone;
            cln->handler = ngx_http_academy_auth_cache_cleanup;
            cln->data = ctx;
        }
    }

    ngx_http_academy_auth_unlock(acf->zone, died);

    if (rc == NGX_AGAIN) {
        return ngx_http_academy_auth_wait(r, ctx->cached);
    }

    return rc;
}


void
ngx_http_academy_auth_cache_cleanup(void *data)
{
    ngx_http_academy_ctx_t *ctx = data;

    if (ctx->asks) {
        ngx_http_academy_auth_give_up(ctx->asks, ctx->cached);
        ctx->asks = NULL;
    }
}


void
ngx_http_academy_auth_cache_put(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_identity_t *identity)
{
    time_t                           until;
    uint64_t                         slots[NGX_HTTP_ACADEMY_AUTH_WORDS];
    ngx_pid_t                        died;
    ngx_http_academy_ctx_t          *ctx;
    ngx_http_academy_auth_sh_t      *sh;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    until = ngx_http_academy_auth_cache_until(acf, identity);

    sh = ngx_http_academy_auth_lock(acf->zone, &died);

    if (sh && until > ngx_time()) {
        ngx_http_academy_auth_cache_store(acf->zone, sh, ctx->cached, identity,
                                          until);
    }

    ngx_memzero(slots, sizeof(slots));

    if (sh && ctx->asks) {
        ngx_http_academy_auth_end(acf->zone, sh, ctx->cached, slots);
    }

    ngx_http_academy_auth_unlock(acf->zone, died);

    if (ctx->asks) {
        ctx->asks = NULL;
        ngx_http_academy_auth_tell(acf->zone, ctx->cached, slots);
    }
}


static void
ngx_http_academy_auth_cache_store(ngx_http_academy_auth_zone_t *zone,
    ngx_http_academy_auth_sh_t *sh, u_char *key,
    ngx_http_academy_identity_t *identity, time_t until)
{
    u_char                          *p;
    size_t                           size;
    ngx_uint_t                       good;
    ngx_http_academy_auth_entry_t   *entry, **link;

    size = identity->id.len + identity->groups.len + identity->claims.len;

    if (size > NGX_HTTP_ACADEMY_AUTH_TEXT) {
        return;
    }

    link = ngx_http_academy_auth_cache_find(sh, key);

    if (*link) {
        ngx_http_academy_auth_cache_delete(zone, sh, link);
    }

    good = (identity->status == NGX_HTTP_OK);

    if (!good && sh->nrefused >= sh->most) {
        ngx_http_academy_auth_cache_evict(zone, sh, 0);
    }

    entry = ngx_http_academy_auth_alloc(zone, sh,
                         offsetof(ngx_http_academy_auth_entry_t, data) + size,
                         good);
    if (entry == NULL) {
        return;
    }

    ngx_memcpy(entry->key, key, NGX_HTTP_ACADEMY_DIGEST_LEN);

    entry->status = identity->status;
    entry->until = until;
    entry->expires = identity->expires;
    entry->id = identity->id.len;
    entry->groups = identity->groups.len;
    entry->claims = identity->claims.len;

    p = entry->data;

    if (entry->id) {
        p = ngx_cpymem(p, identity->id.data, entry->id);
    }

    if (entry->groups) {
        p = ngx_cpymem(p, identity->groups.data, entry->groups);
    }

    if (entry->claims) {
        ngx_memcpy(p, identity->claims.data, entry->claims);
    }

    /* the place may be another one, where something was evicted */

    link = ngx_http_academy_auth_cache_find(sh, key);

    entry->next = NULL;
    *link = entry;

    if (good) {
        ngx_queue_insert_head(&sh->queue, &entry->queue);

    } else {
        ngx_queue_insert_head(&sh->refused, &entry->queue);
        sh->nrefused++;
    }
}


/* until when something may be used again */

static time_t
ngx_http_academy_auth_cache_until(ngx_http_academy_auth_conf_t *acf,
    ngx_http_academy_identity_t *identity)
{
    time_t  now, until;

    now = ngx_time();

    switch (identity->status) {

    case NGX_HTTP_OK:
        until = now + acf->cache;

        if (identity->keep) {
            until = ngx_min(until, now + identity->keep);
        }

        if (identity->expires) {
            until = ngx_min(until, identity->expires);
        }

        return until;

    case NGX_HTTP_FORBIDDEN:
        return now + ngx_min(acf->cache, NGX_HTTP_ACADEMY_AUTH_REFUSED);

    default:

        /* whoever waits for the same is told the same, not to ask as well */

        return now + NGX_HTTP_ACADEMY_AUTH_UNANSWERED;
    }
}


static u_char *
ngx_http_academy_auth_cache_key(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token)
{
    u_char      *key;
    EVP_MD_CTX  *md;

    if (ngx_http_academy_auth_md == NULL) {
        ngx_http_academy_auth_md = EVP_MD_fetch(NULL, "SHA256", NULL);
    }

    if (ngx_http_academy_auth_md_ctx == NULL) {
        ngx_http_academy_auth_md_ctx = EVP_MD_CTX_new();
    }

    md = ngx_http_academy_auth_md_ctx;

    key = ngx_pnalloc(r->pool, NGX_HTTP_ACADEMY_DIGEST_LEN);

    if (key == NULL || md == NULL || ngx_http_academy_auth_md == NULL
        || EVP_DigestInit_ex2(md, ngx_http_academy_auth_md, NULL) != 1
        || EVP_DigestUpdate(md, acf->digest, NGX_HTTP_ACADEMY_DIGEST_LEN) != 1
        || EVP_DigestUpdate(md, token->data, token->len) != 1
        || EVP_DigestFinal_ex(md, key, NULL) != 1)
    {
        return NULL;
    }

    return key;
}


ngx_http_academy_auth_sh_t *
ngx_http_academy_auth_lock(ngx_http_academy_auth_zone_t *zone, ngx_pid_t *died)
{
    ngx_slab_pool_t             *shpool;
    ngx_http_academy_auth_sh_t  *sh;

    shpool = zone->shpool;
    *died = 0;

    ngx_shmtx_lock(&shpool->mutex);

    sh = shpool->data;

    if (sh == NULL || sh->busy) {

        /* without it somebody died while he was about to empty it */

        *died = sh ? sh->busy : 0;

        if (ngx_http_academy_auth_clear(shpool) != NGX_OK) {
            return NULL;
        }

        sh = shpool->data;
    }

    if (sh) {
        sh->busy = ngx_pid;
        ngx_memory_barrier();
    }

    return sh;
}


void
ngx_http_academy_auth_unlock(ngx_http_academy_auth_zone_t *zone,
    ngx_pid_t died)
{
    ngx_http_academy_auth_sh_t  *sh;

    sh = zone->shpool->data;

    if (sh) {
        ngx_memory_barrier();
        sh->busy = 0;
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    if (died) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "process %P died in the cache of tokens, which is "
                      "emptied", died);
    }
}


/* the link that leads, or would lead, to an entry */

static ngx_http_academy_auth_entry_t **
ngx_http_academy_auth_cache_find(ngx_http_academy_auth_sh_t *sh, u_char *key)
{
    uint32_t                         hash;
    ngx_http_academy_auth_entry_t  **link;

    ngx_memcpy(&hash, key, sizeof(uint32_t));

    for (link = &sh->buckets[hash & sh->mask]; *link; link = &(*link)->next) {
        if (ngx_memcmp((*link)->key, key, NGX_HTTP_ACADEMY_DIGEST_LEN) == 0) {
            break;
        }
    }

    return link;
}


static void
ngx_http_academy_auth_cache_delete(ngx_http_academy_auth_zone_t *zone,
    ngx_http_academy_auth_sh_t *sh, ngx_http_academy_auth_entry_t **link)
{
    ngx_http_academy_auth_entry_t  *entry;

    entry = *link;
    *link = entry->next;

    if (entry->status != NGX_HTTP_OK) {
        sh->nrefused--;
    }

    ngx_queue_remove(&entry->queue);
    ngx_slab_free_locked(zone->shpool, entry);
}


/*
 * Whoever sends tokens that he made up drives out others of the kind, and has
 * a part of the zone at most.
 */

void *
ngx_http_academy_auth_alloc(ngx_http_academy_auth_zone_t *zone,
    ngx_http_academy_auth_sh_t *sh, size_t size, ngx_uint_t good)
{
    void        *p;
    ngx_uint_t   i;

    for (i = 0; i < NGX_HTTP_ACADEMY_AUTH_EVICTED; i++) {

        p = ngx_slab_alloc_locked(zone->shpool, size);

        if (p || ngx_http_academy_auth_cache_evict(zone, sh, good) != NGX_OK) {
            return p;
        }
    }

    return NULL;
}


/* the oldest refusal; of the good ones, if it may be, the least used */

static ngx_int_t
ngx_http_academy_auth_cache_evict(ngx_http_academy_auth_zone_t *zone,
    ngx_http_academy_auth_sh_t *sh, ngx_uint_t good)
{
    ngx_queue_t                     *queue;
    ngx_http_academy_auth_entry_t   *entry, **link;

    queue = &sh->refused;

    if (ngx_queue_empty(queue)) {
        queue = &sh->queue;
    }

    if (ngx_queue_empty(queue)) {
        return NGX_DECLINED;
    }

    entry = ngx_queue_data(ngx_queue_last(queue),
                           ngx_http_academy_auth_entry_t, queue);

    /* what nobody may use any more is nobody's loss */

    if (queue == &sh->queue && !good && entry->until > ngx_time()) {
        return NGX_DECLINED;
    }

    link = ngx_http_academy_auth_cache_find(sh, entry->key);

    ngx_http_academy_auth_cache_delete(zone, sh, link);

    return NGX_OK;
}


ngx_http_academy_auth_zone_t *
ngx_http_academy_auth_zone_add(ngx_conf_t *cf, size_t size)
{
    ngx_shm_zone_t                *shm_zone;
    ngx_http_academy_auth_zone_t  *zone;

    shm_zone = ngx_shared_memory_add(cf, &ngx_http_academy_auth_zone_name, 0,
                                     &ngx_http_academy_auth_zone_name);
    if (shm_zone == NULL) {
        return NULL;
    }

    zone = shm_zone->data;

    if (zone == NULL) {
        zone = ngx_pcalloc(cf->pool, sizeof(ngx_http_academy_auth_zone_t));
        if (zone == NULL) {
            return NULL;
        }

        zone->shm_zone = shm_zone;
        zone->cycle = cf->cycle;

        shm_zone->init = ngx_http_academy_auth_zone_init;
        shm_zone->data = zone;
    }

    /* of several sizes the largest; the default is none of them */

    zone->size = ngx_max(zone->size, size);

    shm_zone->shm.size = zone->size ? zone->size : NGX_HTTP_ACADEMY_AUTH_CACHE;

    return zone;
}


static ngx_int_t
ngx_http_academy_auth_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_http_academy_auth_zone_t  *ozone = data;

    ngx_uint_t                     n;
    ngx_core_conf_t               *ccf;
    ngx_http_academy_auth_zone_t  *zone;

    zone = shm_zone->data;
    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (ozone) {
        zone->bells = ozone->bells;
        return ngx_http_academy_bells_hold(zone->bells, zone->cycle);
    }

    if (!shm_zone->shm.exists
        && ngx_http_academy_auth_clear(zone->shpool) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(zone->cycle->conf_ctx,
                                           ngx_core_module);

    /* old and new workers during a reload, twice over, and helpers */

    n = ngx_min(4 * ccf->worker_processes + 8, NGX_HTTP_ACADEMY_AUTH_SLOTS);

    zone->bells = ngx_http_academy_bells_create(zone->cycle, n,
                                                &shm_zone->shm.name,
                                                shm_zone->shm.log);

    return zone->bells ? NGX_OK : NGX_ERROR;
}


/*
 * What is left in the slab pool of a process that died is not to be trusted,
 * but whose a slot is, which a single store says.
 */

static ngx_int_t
ngx_http_academy_auth_clear(ngx_slab_pool_t *shpool)
{
    ngx_pid_t                    slots[NGX_HTTP_ACADEMY_AUTH_SLOTS];
    ngx_uint_t                   n;
    ngx_http_academy_auth_sh_t  *sh;

    ngx_memzero(slots, sizeof(slots));

    sh = shpool->data;

    if (sh) {
        ngx_memcpy(slots, sh->slots, sizeof(slots));
    }

    shpool->data = NULL;

    ngx_memory_barrier();

    ngx_slab_init(shpool);

    shpool->log_nomem = 0;

    /* a bucket for each kilobyte */

    for (n = 64; n < (size_t) (shpool->end - shpool->start) / 1024; n *= 2) {
        /* void */
    }

    sh = ngx_slab_calloc_locked(shpool, sizeof(ngx_http_academy_auth_sh_t)
                       + (n - 1) * sizeof(ngx_http_academy_auth_entry_t *));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    sh->mask = n - 1;
    sh->most = (shpool->end - shpool->start) / NGX_HTTP_ACADEMY_AUTH_SHARE
               / sizeof(ngx_http_academy_auth_entry_t);

    ngx_queue_init(&sh->queue);
    ngx_queue_init(&sh->refused);
    ngx_memcpy(sh->slots, slots, sizeof(slots));

    ngx_memory_barrier();

    shpool->data = sh;

    return NGX_OK;
}
