
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <openssl/rand.h>
#include "ngx_http_academy_zone.h"


/*
 * The zone as a whole: its directive's part, its first layout, its lock and
 * its hash.
 */


/* slots: what design and measure ask for, and room for reloads with more */

#define NGX_HTTP_ACADEMY_MIN_SLOTS  64

/* a bucket for every so many bytes of the zone */

#define NGX_HTTP_ACADEMY_BUCKET     1024
#define NGX_HTTP_ACADEMY_CLASSES    1024
#define NGX_HTTP_ACADEMY_CLIENTS    4096

/* the part of the zone that remembers what was stored */

#define NGX_HTTP_ACADEMY_REMEMBERED  32


static ngx_int_t ngx_http_academy_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static void ngx_http_academy_zone_commit_conf(
    ngx_http_academy_exchange_t *exchange);
static ngx_int_t ngx_http_academy_zone_layout(ngx_http_academy_zone_t *zone,
    ngx_uint_t nslots);
#if (NGX_HTTP_ACADEMY_FAULTS)
static void ngx_http_academy_zone_faults(ngx_http_academy_zone_sh_t *sh);
#endif
static ngx_uint_t ngx_http_academy_zone_buckets(size_t size, size_t each);
static void ngx_http_academy_zone_contend(ngx_http_academy_zone_t *zone);


ngx_http_academy_store_t  ngx_http_academy_zone_store = {
    ngx_http_academy_zone_create,
    ngx_http_academy_zone_terminate,
    ngx_http_academy_zone_status,
    ngx_http_academy_zone_share,
    ngx_http_academy_zone_shares,
    ngx_http_academy_zone_unshare,
    ngx_http_academy_zone_heartbeat,
    ngx_http_academy_zone_beat,
    ngx_http_academy_zone_stats,
    ngx_http_academy_zone_discover,
    ngx_http_academy_zone_put,
    ngx_http_academy_zone_get,
    ngx_http_academy_zone_cancel,
    ngx_http_academy_zone_piece,
    ngx_http_academy_zone_written,
    ngx_http_academy_zone_settle,
    ngx_http_academy_zone_give_back,
    ngx_http_academy_zone_commit_conf,
    ngx_http_academy_zone_init_worker,
    ngx_http_academy_zone_exit_worker,
    ngx_http_academy_zone_survey,
    ngx_http_academy_zone_list,
    ngx_http_academy_zone_inspect,
    ngx_http_academy_zone_ailing,
    "zone",
    (uint64_t) 1 << NGX_HTTP_ACADEMY_N_REDIS_TRIPS
    | (uint64_t) 1 << NGX_HTTP_ACADEMY_N_REDIS_CONNECTS,
    NULL
};


ngx_http_academy_zone_t *
ngx_http_academy_zone_add(ngx_conf_t *cf, ngx_str_t *name, size_t size,
    void *tag)
{
    ngx_uint_t                i;
    ngx_shm_zone_t           *shm_zone;
    ngx_list_part_t          *part;
    ngx_http_academy_zone_t  *zone;

    /*
     * nginx would quietly make a second, empty zone for the new workers and
     * leave the old ones with the messages
     */

    if (cf->cycle->old_cycle) {
        part = &cf->cycle->old_cycle->shared_memory.part;
        shm_zone = part->elts;

        for (i = 0; part; i++) {

            if (i >= part->nelts) {
                part = part->next;
                if (part == NULL) {
                    break;
                }

                shm_zone = part->elts;
                i = (ngx_uint_t) -1;
                continue;
            }

            if (shm_zone[i].tag != tag
                || shm_zone[i].shm.size == size
                || shm_zone[i].shm.name.len != name->len
                || ngx_strncmp(shm_zone[i].shm.name.data, name->data,
                               name->len)
                   != 0)
            {
                continue;
            }

            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "the size of \"academy_zone\" zone \"%V\" "
                               "cannot be changed from %uz to %uz bytes by "
                               "a reload, only by a restart, which empties it",
                               name, shm_zone[i].shm.size, size);
            return NULL;
        }
    }

    shm_zone = ngx_shared_memory_add(cf, name, size, tag);
    if (shm_zone == NULL) {
        return NULL;
    }

    if (shm_zone->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate \"academy_zone\" zone \"%V\", "
                           "a zone may be given once", name);
        return NULL;
    }

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_http_academy_zone_t));
    if (zone == NULL) {
        return NULL;
    }

    zone->exchange.name = *name;
    zone->exchange.store = &ngx_http_academy_zone_store;
    zone->cycle = cf->cycle;
    zone->shm_zone = shm_zone;

    shm_zone->init = ngx_http_academy_zone_init;
    shm_zone->data = zone;

    return zone;
}


static ngx_int_t
ngx_http_academy_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_http_academy_zone_t  *ozone = data;

    ngx_uint_t                nslots;
    ngx_core_conf_t          *ccf;
    ngx_http_academy_zone_t  *zone;

    zone = shm_zone->data;

    ccf = (ngx_core_conf_t *) ngx_get_conf(zone->cycle->conf_ctx,
                                           ngx_core_module);

    /* old and new workers during a reload, twice over, and helpers */

    nslots = 4 * ccf->worker_processes + 8;
    nslots = ngx_max(nslots, NGX_HTTP_ACADEMY_MIN_SLOTS);
    nslots = ngx_min(nslots, NGX_MAX_PROCESSES);

    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (ozone) {
        zone->sh = ozone->sh;
        zone->bells = ozone->bells;

        if (nslots > zone->sh->nslots) {
            ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                          "\"academy_zone\" zone \"%V\" was made for at most "
                          "%ui worker processes: more need a restart",
                          &shm_zone->shm.name, (zone->sh->nslots - 8) / 4);
            return NGX_ERROR;
        }

        if (ngx_http_academy_bells_hold(zone->bells, zone->cycle) != NGX_OK) {
            return NGX_ERROR;
        }

        zone->worker = ozone->worker;

        return NGX_OK;
    }

    if (shm_zone->shm.exists) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "\"academy_zone\" zone \"%V\" exists already",
                      &shm_zone->shm.name);
        return NGX_ERROR;
    }

    if (ngx_http_academy_zone_layout(zone, nslots) != NGX_OK) {
        return NGX_ERROR;
    }

    zone->bells = ngx_http_academy_bells_create(zone->cycle, nslots,
                                                &shm_zone->shm.name,
                                                shm_zone->shm.log);

    return zone->bells ? NGX_OK : NGX_ERROR;
}


/*
 * Without a master process nobody starts a worker anew.  Until here a reload
 * may fail, which frees all that it made.
 */

static void
ngx_http_academy_zone_commit_conf(ngx_http_academy_exchange_t *exchange)
{
    ngx_http_academy_zone_t  *zone;

    zone = ngx_http_academy_zone_of(exchange);

    if (zone->worker) {
        zone->worker->zone = zone;
    }
}


static ngx_int_t
ngx_http_academy_zone_layout(ngx_http_academy_zone_t *zone, ngx_uint_t nslots)
{
    size_t                       len, size;
    ngx_uint_t                   i, n;
    ngx_slab_pool_t             *shpool;
    ngx_http_academy_zone_sh_t  *sh;

    shpool = zone->shpool;
    size = zone->shm_zone->shm.size;

    len = sizeof(" in academy_zone \"\"") + zone->shm_zone->shm.name.len;

    shpool->log_ctx = ngx_slab_alloc(shpool, len);
    if (shpool->log_ctx == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_academy_slab_try(shpool, shpool->log_ctx, len) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm_zone->shm.log, 0,
                      "the memory pools of this version of nginx are not "
                      "known to the academy module");
        return NGX_ERROR;
    }

    ngx_sprintf(shpool->log_ctx, " in academy_zone \"%V\"%Z",
                &zone->shm_zone->shm.name);

    sh = ngx_slab_calloc(shpool, sizeof(ngx_http_academy_zone_sh_t)
                                 + nslots * sizeof(ngx_http_academy_slot_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    sh->log_ctx_len = len;

    n = ngx_http_academy_zone_buckets(size, NGX_HTTP_ACADEMY_BUCKET);
    sh->mask = n - 1;

    sh->mailboxes = ngx_slab_calloc(shpool, n * sizeof(void *));
    sh->pendings = ngx_slab_calloc(shpool, n * sizeof(void *));

    n = ngx_http_academy_zone_buckets(size, NGX_HTTP_ACADEMY_CLASSES);
    sh->class_mask = n - 1;

    sh->classes = ngx_slab_calloc(shpool, n * sizeof(void *));

    n = ngx_http_academy_zone_buckets(size, NGX_HTTP_ACADEMY_CLIENTS);
    sh->client_mask = n - 1;

    sh->clients = ngx_slab_calloc(shpool, n * sizeof(void *));

    sh->nrepeats = size / NGX_HTTP_ACADEMY_REMEMBERED
                   / sizeof(ngx_http_academy_repeats_t);

    sh->repeats = ngx_slab_calloc(shpool, sh->nrepeats
                                       * sizeof(ngx_http_academy_repeats_t));

    if (sh->mailboxes == NULL || sh->pendings == NULL || sh->classes == NULL
        || sh->clients == NULL || sh->repeats == NULL)
    {
        return NGX_ERROR;
    }

    /* clients choose uids and class names: the hash's key must be a secret */

    if (RAND_bytes((u_char *) sh->key, sizeof(sh->key)) != 1
        || RAND_bytes((u_char *) sh->print_key, sizeof(sh->print_key)) != 1)
    {
        ngx_log_error(NGX_LOG_EMERG, zone->shm_zone->shm.log, 0,
                      "RAND_bytes() failed");
        return NGX_ERROR;
    }

    ngx_queue_init(&sh->closing);
    ngx_queue_init(&sh->lodgers);

    sh->nslots = nslots;

    for (i = 0; i < nslots; i++) {
        ngx_queue_init(&sh->slots[i].ready);
        ngx_queue_init(&sh->slots[i].messages);
    }

    /* 1/32 of the zone, so that a full one can still be worked in */

    sh->reserve = ngx_max(shpool->pfree / 32, 8);

    shpool->log_nomem = 0;
    shpool->data = sh;
    zone->sh = sh;

#if (NGX_HTTP_ACADEMY_FAULTS)
    ngx_http_academy_zone_faults(sh);
#endif

    return NGX_OK;
}


#if (NGX_HTTP_ACADEMY_FAULTS)

/* ACADEMY_FAULT=name:n is where a worker kills itself the n-th time */

static void
ngx_http_academy_zone_faults(ngx_http_academy_zone_sh_t *sh)
{
    char  *fault, *colon;

    fault = getenv("ACADEMY_FAULT");

    if (fault == NULL) {
        return;
    }

    colon = strrchr(fault, ':');

    if (colon == NULL || colon - fault >= (ssize_t) sizeof(sh->fault)) {
        return;
    }

    ngx_memcpy(sh->fault, fault, colon - fault);
    sh->nfault = atoi(colon + 1);
}


void
ngx_http_academy_zone_fault(ngx_http_academy_zone_t *zone, char *name)
{
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;

    if (sh->nfault == 0 || ngx_strcmp(sh->fault, name) != 0
        || --sh->nfault)
    {
        return;
    }

    if (ngx_strcmp(name, "slab") == 0) {

        /* whatever the pool's functions may leave behind */

        ngx_memset(zone->shpool->pages, 0xa5,
                   (zone->shpool->last - zone->shpool->pages)
                   * sizeof(ngx_slab_page_t));
        ngx_memset(&zone->shpool->free, 0xa5, sizeof(ngx_slab_page_t));
        ngx_memset(&zone->shpool->pfree, 0xa5, sizeof(ngx_uint_t));
    }

    (void) kill(ngx_pid, SIGKILL);
}

#endif


static ngx_uint_t
ngx_http_academy_zone_buckets(size_t size, size_t each)
{
    ngx_uint_t  n;

    for (n = 64;
         n * 2 * each <= size && n < NGX_HTTP_ACADEMY_MAX_BUCKETS;
         n *= 2)
    {
        /* void */
    }

    return n;
}


void
ngx_http_academy_zone_lock(ngx_http_academy_zone_t *zone)
{
    ngx_http_academy_zone_sh_t  *sh;

    ngx_http_academy_section_wait();

    if (*zone->shpool->mutex.lock) {
        ngx_http_academy_zone_contend(zone);

    } else {
        ngx_shmtx_lock(&zone->shpool->mutex);
    }

    ngx_http_academy_section_begin(__builtin_return_address(0));

    sh = zone->sh;

    if (sh->busy) {

        /* nginx has freed the lock of a process that died */

        zone->worker->dead = sh->busy;
        ngx_http_academy_zone_rebuild(zone);
    }

    sh->busy = ngx_pid;

    ngx_http_academy_zone_order();
}


/* somebody has the lock: to look at the clock takes less than to wait */

static void
ngx_http_academy_zone_contend(ngx_http_academy_zone_t *zone)
{
    struct timespec  begin, end;

    (void) clock_gettime(CLOCK_MONOTONIC, &begin);

    ngx_shmtx_lock(&zone->shpool->mutex);

    (void) clock_gettime(CLOCK_MONOTONIC, &end);

    ngx_http_academy_count(&zone->exchange, NGX_HTTP_ACADEMY_N_LOCK_WAITS);
    ngx_http_academy_count_n(&zone->exchange,
                             NGX_HTTP_ACADEMY_N_LOCK_WAIT_NS,
                             (end.tv_sec - begin.tv_sec) * 1000000000
                             + end.tv_nsec - begin.tv_nsec);
}


void
ngx_http_academy_zone_unlock(ngx_http_academy_zone_t *zone)
{
    ngx_uint_t                  i, n;
    ngx_http_academy_worker_t  *worker;

    ngx_http_academy_section_end(__builtin_return_address(0));

    ngx_http_academy_zone_order();

    zone->sh->busy = 0;

    ngx_http_academy_zone_order();

    ngx_shmtx_unlock(&zone->shpool->mutex);

    ngx_http_academy_section_note();

    worker = zone->worker;

    if (worker->dead) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "process %P died while it changed zone \"%V\", "
                      "which has been put in order", worker->dead,
                      &zone->exchange.name);
        worker->dead = 0;
    }

    n = worker->nring;
    worker->nring = 0;

    for (i = 0; i < n; i++) {
        ngx_http_academy_bell_ring(zone->bells, worker->ring[i]);
    }
}


/*
 * What is read of the pool may be changing, and leads to some page of the zone
 * whatever it is.
 */

void
ngx_http_academy_zone_touch_pages(ngx_http_academy_zone_t *zone, ngx_uint_t n)
{
    u_char           *p;
    uintptr_t         run;
    ngx_slab_pool_t  *pool;
    ngx_slab_page_t  *page;

    pool = zone->shpool;
    page = pool->free.next;

    zone->worker->touched = page;

    while (n && page >= pool->pages && page < pool->last) {

        p = pool->start + ((size_t) (page - pool->pages) << ngx_pagesize_shift);

        for (run = page->slab; run && n && p < pool->end; run--) {
            (void) *(volatile u_char *) p;
            p += ngx_pagesize;
            n--;
        }

        if (run == page->slab) {
            return;
        }

        page = page->next;
    }
}


void
ngx_http_academy_zone_touch_tables(ngx_http_academy_zone_t *zone)
{
    u_char                      *p, *end;
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;
    end = (u_char *) (sh->repeats + sh->nrepeats);

    for (p = (u_char *) zone->shpool; p < end; p += ngx_pagesize) {
        (void) *(volatile u_char *) p;
    }
}


/*
 * Folded multiplication with a secret key, as in wyhash by Wang Yi (public
 * domain): 16 bytes a step.
 */

uint64_t
ngx_http_academy_zone_hash(ngx_http_academy_zone_t *zone, u_char *p, size_t len,
    uint64_t more)
{
    uint64_t  a, b, h;

    h = zone->sh->key[0] ^ more ^ ((uint64_t) len << 32);

    for ( ;; ) {
        a = 0;
        b = 0;

        if (len >= 16) {
            ngx_memcpy(&a, p, 8);
            ngx_memcpy(&b, p + 8, 8);

        } else if (len > 8) {
            ngx_memcpy(&a, p, 8);
            ngx_memcpy(&b, p + 8, len - 8);

        } else {
            ngx_memcpy(&a, p, len);
        }

        h = ngx_http_academy_zone_fold(a ^ h, b ^ zone->sh->key[1]);

        if (len <= 16) {
            return h;
        }

        p += 16;
        len -= 16;
    }
}


ngx_int_t
ngx_http_academy_zone_done(ngx_http_academy_call_t *call,
    ngx_http_academy_result_e result)
{
    call->result = result;
    call->done(call);

    return NGX_DONE;
}
