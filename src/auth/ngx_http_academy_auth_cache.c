
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <openssl/evp.h>
#include "ngx_http_academy_http.h"


/*
 * What tokens were found to be, for all workers, in a zone of its own.
 *
 * The key is the SHA-256 of the location's digest and the token: no token is
 * in the zone, and what was found for one audience, or by keys that were in
 * force before a reload, is not found for another.
 *
 * All is guarded by the slab pool's mutex, which nginx frees when its holder
 * dies.  A holder sets "busy" to its pid; who finds it set follows one that
 * died inside, and empties the zone: it is only a cache.  Nothing but shpool
 * itself is to be remembered from one section to the next.
 */


/* entries that are evicted for the sake of one */

#define NGX_HTTP_ACADEMY_AUTH_EVICTED   32

/* of a refusal, in seconds */

#define NGX_HTTP_ACADEMY_AUTH_REFUSED   5

/* an entry's strings all together: claims cannot be longer than a token */

#define NGX_HTTP_ACADEMY_AUTH_TEXT      (3 * NGX_HTTP_ACADEMY_MAX_TOKEN)


typedef struct ngx_http_academy_auth_entry_s  ngx_http_academy_auth_entry_t;

struct ngx_http_academy_auth_entry_s {
    ngx_http_academy_auth_entry_t   *next;        /* of a bucket */
    ngx_queue_t                      queue;       /* by the last use */
    u_char                           key[NGX_HTTP_ACADEMY_DIGEST_LEN];
    ngx_uint_t                       status;
    time_t                           until;       /* it may be used */
    time_t                           expires;     /* the token does */
    size_t                           id;          /* lengths */
    size_t                           groups;
    size_t                           claims;
    u_char                           data[1];
};


typedef struct {
    ngx_pid_t                        busy;
    ngx_queue_t                      queue;       /* latest use first */
    ngx_uint_t                       mask;
    ngx_http_academy_auth_entry_t   *buckets[1];
} ngx_http_academy_auth_sh_t;


static ngx_int_t ngx_http_academy_auth_cache_init(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_http_academy_auth_cache_clear(ngx_slab_pool_t *shpool);
static ngx_http_academy_auth_sh_t *ngx_http_academy_auth_cache_lock(
    ngx_slab_pool_t *shpool, ngx_pid_t *died);
static void ngx_http_academy_auth_cache_unlock(ngx_slab_pool_t *shpool,
    ngx_pid_t died);
static u_char *ngx_http_academy_auth_cache_key(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token);
static ngx_http_academy_auth_entry_t **ngx_http_academy_auth_cache_find(
    ngx_http_academy_auth_sh_t *sh, u_char *key);
static void ngx_http_academy_auth_cache_delete(ngx_slab_pool_t *shpool,
    ngx_http_academy_auth_sh_t *sh, ngx_http_academy_auth_entry_t **link);
static ngx_http_academy_auth_entry_t *ngx_http_academy_auth_cache_alloc(
    ngx_slab_pool_t *shpool, ngx_http_academy_auth_sh_t *sh, size_t size,
    ngx_uint_t status);
static time_t ngx_http_academy_auth_cache_until(
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_identity_t *identity);


static ngx_str_t  ngx_http_academy_auth_zone =
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
    ngx_slab_pool_t                 *shpool;
    ngx_http_academy_ctx_t          *ctx;
    ngx_http_academy_auth_sh_t      *sh;
    ngx_http_academy_auth_entry_t   *entry, **link;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    ctx->cached = ngx_http_academy_auth_cache_key(r, acf, token);
    if (ctx->cached == NULL) {
        return NGX_ERROR;
    }

    shpool = (ngx_slab_pool_t *) acf->cache_zone->shm.addr;
    size = 0;

    sh = ngx_http_academy_auth_cache_lock(shpool, &died);

    link = sh ? ngx_http_academy_auth_cache_find(sh, ctx->cached) : NULL;
    entry = link ? *link : NULL;

    if (entry && entry->until <= ngx_time()) {
        ngx_http_academy_auth_cache_delete(shpool, sh, link);
        entry = NULL;
    }

    if (entry) {
        ngx_queue_remove(&entry->queue);
        ngx_queue_insert_head(&sh->queue, &entry->queue);

        identity->status = entry->status;
        identity->expires = entry->expires;
        identity->reason = NULL;
        identity->id.len = entry->id;
        identity->groups.len = entry->groups;
        identity->claims.len = entry->claims;

        size = entry->id + entry->groups + entry->claims;
        ngx_memcpy(ngx_http_academy_auth_text, entry->data, size);
    }

    ngx_http_academy_auth_cache_unlock(shpool, died);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "academy token is known: %d", entry != NULL);

    if (entry == NULL) {
        return NGX_DECLINED;
    }

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


void
ngx_http_academy_auth_cache_put(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_identity_t *identity)
{
    u_char                          *p;
    size_t                           size;
    time_t                           until;
    ngx_pid_t                        died;
    ngx_slab_pool_t                 *shpool;
    ngx_http_academy_ctx_t          *ctx;
    ngx_http_academy_auth_sh_t      *sh;
    ngx_http_academy_auth_entry_t   *entry, **link;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    size = identity->id.len + identity->groups.len + identity->claims.len;
    until = ngx_http_academy_auth_cache_until(acf, identity);

    if (size > NGX_HTTP_ACADEMY_AUTH_TEXT || until <= ngx_time()) {
        return;
    }

    shpool = (ngx_slab_pool_t *) acf->cache_zone->shm.addr;

    sh = ngx_http_academy_auth_cache_lock(shpool, &died);

    if (sh == NULL) {
        goto done;
    }

    link = ngx_http_academy_auth_cache_find(sh, ctx->cached);

    if (*link) {
        ngx_http_academy_auth_cache_delete(shpool, sh, link);
    }

    entry = ngx_http_academy_auth_cache_alloc(shpool, sh, size,
                                              identity->status);

    if (entry == NULL) {
        goto done;
    }

    ngx_memcpy(entry->key, ctx->cached, NGX_HTTP_ACADEMY_DIGEST_LEN);

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

    link = ngx_http_academy_auth_cache_find(sh, ctx->cached);

    entry->next = NULL;
    *link = entry;
    ngx_queue_insert_head(&sh->queue, &entry->queue);

done:

    ngx_http_academy_auth_cache_unlock(shpool, died);
}


/* until when something may be used again; 0: it is not to be kept */

static time_t
ngx_http_academy_auth_cache_until(ngx_http_academy_auth_conf_t *acf,
    ngx_http_academy_identity_t *identity)
{
    time_t  now, until;

    now = ngx_time();

    switch (identity->status) {

    case NGX_HTTP_OK:
        until = now + acf->cache;

        if (identity->expires) {
            until = ngx_min(until, identity->expires);
        }

        return until;

    case NGX_HTTP_FORBIDDEN:
        return now + ngx_min(acf->cache, NGX_HTTP_ACADEMY_AUTH_REFUSED);

    default:
        return 0;
    }
}


static u_char *
ngx_http_academy_auth_cache_key(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token)
{
    u_char      *key;
    EVP_MD_CTX  *md;

    if (ngx_http_academy_auth_md_ctx == NULL) {
        ngx_http_academy_auth_md = EVP_MD_fetch(NULL, "SHA256", NULL);
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


/*
 * NULL: there is nothing to be found, nor anything to be put; unlock() has to
 * be called all the same.
 */

static ngx_http_academy_auth_sh_t *
ngx_http_academy_auth_cache_lock(ngx_slab_pool_t *shpool, ngx_pid_t *died)
{
    ngx_http_academy_auth_sh_t  *sh;

    *died = 0;

    ngx_shmtx_lock(&shpool->mutex);

    sh = shpool->data;

    if (sh && sh->busy) {
        *died = sh->busy;

        if (ngx_http_academy_auth_cache_clear(shpool) != NGX_OK) {
            return NULL;
        }

        sh = shpool->data;
    }

    if (sh) {
        sh->busy = ngx_pid;
    }

    return sh;
}


static void
ngx_http_academy_auth_cache_unlock(ngx_slab_pool_t *shpool, ngx_pid_t died)
{
    ngx_http_academy_auth_sh_t  *sh;

    sh = shpool->data;

    if (sh) {
        ngx_memory_barrier();
        sh->busy = 0;
    }

    ngx_shmtx_unlock(&shpool->mutex);

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
ngx_http_academy_auth_cache_delete(ngx_slab_pool_t *shpool,
    ngx_http_academy_auth_sh_t *sh, ngx_http_academy_auth_entry_t **link)
{
    ngx_http_academy_auth_entry_t  *entry;

    entry = *link;
    *link = entry->next;

    ngx_queue_remove(&entry->queue);
    ngx_slab_free_locked(shpool, entry);
}


/*
 * Whoever sends tokens that he made up is not to drive out good ones: for a
 * refusal nothing is evicted that is of use.
 */

static ngx_http_academy_auth_entry_t *
ngx_http_academy_auth_cache_alloc(ngx_slab_pool_t *shpool,
    ngx_http_academy_auth_sh_t *sh, size_t size, ngx_uint_t status)
{
    ngx_uint_t                       i;
    ngx_queue_t                     *q;
    ngx_http_academy_auth_entry_t   *entry, **link;

    size += offsetof(ngx_http_academy_auth_entry_t, data);

    for (i = 0; i < NGX_HTTP_ACADEMY_AUTH_EVICTED; i++) {

        entry = ngx_slab_alloc_locked(shpool, size);

        if (entry || ngx_queue_empty(&sh->queue)) {
            return entry;
        }

        q = ngx_queue_last(&sh->queue);
        entry = ngx_queue_data(q, ngx_http_academy_auth_entry_t, queue);

        if (status != NGX_HTTP_OK && entry->status == NGX_HTTP_OK
            && entry->until > ngx_time())
        {
            return NULL;
        }

        link = ngx_http_academy_auth_cache_find(sh, entry->key);

        ngx_http_academy_auth_cache_delete(shpool, sh, link);
    }

    return NULL;
}


char *
ngx_http_academy_auth_cache_zone(ngx_conf_t *cf,
    ngx_http_academy_auth_conf_t *acf)
{
    size_t           size;
    ngx_shm_zone_t  *shm_zone;

    shm_zone = ngx_shared_memory_add(cf, &ngx_http_academy_auth_zone, 0,
                                     &ngx_http_academy_auth_zone);
    if (shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    /* of several sizes the largest; the default is none of them */

    size = shm_zone->data ? shm_zone->shm.size : 0;
    size = ngx_max(size, acf->cache_size);

    if (acf->cache_size) {
        shm_zone->data = acf;
    }

    shm_zone->shm.size = size ? size : NGX_HTTP_ACADEMY_AUTH_CACHE;
    shm_zone->init = ngx_http_academy_auth_cache_init;

    acf->cache_zone = shm_zone;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_academy_auth_cache_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    /* whatever the configuration was: what is in the zone is in shpool */

    shm_zone->data = shpool;

    if (data || shm_zone->shm.exists) {
        return NGX_OK;
    }

    return ngx_http_academy_auth_cache_clear(shpool);
}


/* what is left in the slab pool of a process that died is not to be trusted */

static ngx_int_t
ngx_http_academy_auth_cache_clear(ngx_slab_pool_t *shpool)
{
    ngx_uint_t                   n;
    ngx_http_academy_auth_sh_t  *sh;

    shpool->data = NULL;

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
    ngx_queue_init(&sh->queue);

    shpool->data = sh;

    return NGX_OK;
}
