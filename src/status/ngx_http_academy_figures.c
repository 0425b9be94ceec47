
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_figures.h"


/*
 * The shared memory of figures: its size does not depend on anything that a
 * configuration says, so that each reload finds it again.  Tallies that were
 * never used take address space only.
 */


static ngx_int_t ngx_http_academy_figures_init(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_uint_t ngx_http_academy_figures_vacant(ngx_atomic_uint_t pid);


ngx_http_academy_figures_t *
ngx_http_academy_figures_add(ngx_conf_t *cf, ngx_str_t *name, void *tag)
{
    size_t                       size;
    ngx_str_t                    s;
    ngx_shm_zone_t              *shm_zone;
    ngx_http_academy_figures_t  *figures;

    static char                  prefix[] = "academy_status:";

    figures = ngx_pcalloc(cf->pool, sizeof(ngx_http_academy_figures_t));
    if (figures == NULL) {
        return NULL;
    }

    s.len = sizeof(prefix) - 1 + name->len;
    s.data = ngx_pnalloc(cf->pool, s.len);
    if (s.data == NULL) {
        return NULL;
    }

    ngx_sprintf(s.data, "%s%V", prefix, name);

    /* the slab pool's own pages, and what it has for each page */

    size = sizeof(ngx_http_academy_figures_sh_t);
    size = ngx_align(size + size / 64 + 8 * ngx_pagesize, ngx_pagesize);

    shm_zone = ngx_shared_memory_add(cf, &s, size, tag);
    if (shm_zone == NULL) {
        return NULL;
    }

    figures->shm_zone = shm_zone;
    figures->mine = &figures->nobody;

    shm_zone->init = ngx_http_academy_figures_init;
    shm_zone->data = figures;

    return figures;
}


static ngx_int_t
ngx_http_academy_figures_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_http_academy_figures_t  *old = data;

    ngx_http_academy_figures_t     *figures;
    ngx_http_academy_figures_sh_t  *sh;

    figures = shm_zone->data;
    figures->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (old) {
        figures->sh = old->sh;

        /* a single process goes on with what it has */

        if (old->mine != &old->nobody) {
            figures->mine = old->mine;
        }

        return NGX_OK;
    }

    sh = ngx_slab_alloc(figures->shpool,
                        sizeof(ngx_http_academy_figures_sh_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(sh, offsetof(ngx_http_academy_figures_sh_t, samples));

    sh->started = ngx_time();
    sh->n = 0;

    figures->sh = sh;

    return NGX_OK;
}


/*
 * Who dies within the lock leaves at the worst a tally that has been used and
 * is free.
 */

void
ngx_http_academy_figures_claim(ngx_http_academy_figures_t *figures)
{
    ngx_uint_t                      i;
    ngx_atomic_uint_t               pid;
    ngx_http_academy_tally_t       *tally;
    ngx_http_academy_figures_sh_t  *sh;

    sh = figures->sh;
    tally = NULL;

    for (i = 0; tally == NULL && i < NGX_MAX_PROCESSES; i++) {

        pid = (i < sh->n) ? sh->tallies[i].pid : 0;

        if (!ngx_http_academy_figures_vacant(pid)) {
            continue;
        }

        ngx_shmtx_lock(&figures->shpool->mutex);

        if (i >= sh->n) {
            i = sh->n;

            if (i == NGX_MAX_PROCESSES) {
                ngx_shmtx_unlock(&figures->shpool->mutex);
                break;
            }

            ngx_memzero(&sh->tallies[i], sizeof(ngx_http_academy_tally_t));
            sh->n++;
            pid = 0;
        }

        if (sh->tallies[i].pid == pid) {
            tally = &sh->tallies[i];
            tally->pid = 0;
            tally->polls = 0;
            tally->streams = 0;
            tally->commands = 0;
            tally->linked = 0;
            tally->exiting = 0;
            tally->started = ngx_time();

            ngx_memory_barrier();

            tally->pid = (ngx_atomic_uint_t) ngx_pid;
        }

        ngx_shmtx_unlock(&figures->shpool->mutex);
    }

    if (tally) {
        figures->mine = tally;
    }
}


static ngx_uint_t
ngx_http_academy_figures_vacant(ngx_atomic_uint_t pid)
{
    return pid == 0
           || (kill((ngx_pid_t) pid, 0) == -1 && ngx_errno == NGX_ESRCH);
}


void
ngx_http_academy_figures_release(ngx_http_academy_figures_t *figures)
{
    if (figures->mine != &figures->nobody) {
        figures->mine->pid = 0;
        figures->mine = &figures->nobody;
    }
}


/* words are read whole, and only grow */

void
ngx_http_academy_figures_sum(ngx_http_academy_figures_t *figures,
    ngx_http_academy_sums_t *sums)
{
    uint64_t                       *sum;
    ngx_uint_t                      i, n;
    volatile uint64_t              *part;
    ngx_http_academy_figures_sh_t  *sh;

    sh = figures->sh;
    sum = (uint64_t *) sums;

    ngx_memzero(sums, sizeof(ngx_http_academy_sums_t));

    for (n = 0; n < sh->n; n++) {
        part = (volatile uint64_t *) &sh->tallies[n].sums;

        for (i = 0; i < sizeof(ngx_http_academy_sums_t) / sizeof(uint64_t); i++)
        {
            sum[i] += part[i];
        }
    }
}


ngx_http_academy_tally_t *
ngx_http_academy_figures_worker(ngx_http_academy_figures_t *figures,
    ngx_uint_t *n)
{
    ngx_http_academy_tally_t       *tally;
    ngx_http_academy_figures_sh_t  *sh;

    sh = figures->sh;

    for ( /* void */ ; *n < sh->n; (*n)++) {
        tally = &sh->tallies[*n];

        if (!ngx_http_academy_figures_vacant(tally->pid)) {
            return tally;
        }
    }

    return NULL;
}


/* as Prometheus does it: evenly spread within a bucket */

double
ngx_http_academy_figures_quantile(uint64_t *buckets, double part)
{
    double      rank, low, high;
    uint64_t    n, below;
    ngx_uint_t  i;

    n = 0;

    for (i = 0; i < NGX_HTTP_ACADEMY_BUCKETS; i++) {
        n += buckets[i];
    }

    if (n == 0) {
        return -1;
    }

    rank = part * n;
    below = 0;

    for (i = 0; i < NGX_HTTP_ACADEMY_BUCKETS - 1; i++) {

        if (below + buckets[i] >= rank && buckets[i]) {
            low = i ? (double) ((uint64_t) 1 << (i - 1)) : 0;
            high = (double) ((uint64_t) 1 << i);

            return low + (high - low) * (rank - below) / buckets[i];
        }

        below += buckets[i];
    }

    return (double) ((uint64_t) 1 << (NGX_HTTP_ACADEMY_BUCKETS - 2));
}
