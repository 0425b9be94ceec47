
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_auth_zone.h"


/*
 * One asks a provider, all others wait for what it says, in all workers.
 *
 * Who asks is written down in the zone, and with it the slots of processes in
 * which somebody waits for the answer.  In the process they are in one list:
 * when its bell rings, whoever waits for what is asked no more goes on, finds
 * the answer, or becomes the next to ask.  Once a second the process looks
 * whether those that it waits for are still there.
 */


/* milliseconds */

#define NGX_HTTP_ACADEMY_AUTH_SWEEP   1000

/* after so many seconds somebody else may ask as well */

#define NGX_HTTP_ACADEMY_AUTH_ASKING  60

/* of a section of the lock */

#define NGX_HTTP_ACADEMY_AUTH_STEP    64


typedef struct {
    ngx_queue_t                    queue;
    ngx_http_request_t            *request;
    u_char                        *key;
    unsigned                       queued:1;
} ngx_http_academy_auth_waiter_t;


/* of this process */

typedef struct {
    ngx_http_academy_auth_zone_t  *zone;
    ngx_connection_t              *bell;
    ngx_uint_t                     slot;       /* with a bell */
    ngx_queue_t                    waiting;
    ngx_queue_t                    ready;
    ngx_event_t                    wake;
    ngx_event_t                    sweep;
} ngx_http_academy_auth_worker_t;


static ngx_http_academy_auth_asking_t **ngx_http_academy_auth_asking(
    ngx_http_academy_auth_sh_t *sh, u_char *key);
static void ngx_http_academy_auth_note(ngx_http_academy_auth_asking_t *asking);
static void ngx_http_academy_auth_waiter_cleanup(void *data);
static void ngx_http_academy_auth_ready(ngx_http_academy_auth_waiter_t *waiter);
static void ngx_http_academy_auth_wake_handler(ngx_event_t *ev);
static void ngx_http_academy_auth_resume(ngx_http_request_t *r);
static void ngx_http_academy_auth_bell_handler(ngx_event_t *ev);
static void ngx_http_academy_auth_sweep_handler(ngx_event_t *ev);
static ngx_uint_t ngx_http_academy_auth_fresh(
    ngx_http_academy_auth_asking_t *asking);
static void ngx_http_academy_auth_bury(ngx_http_academy_auth_zone_t *zone);
static void ngx_http_academy_auth_look(ngx_http_academy_auth_zone_t *zone);
static ngx_int_t ngx_http_academy_auth_claim(
    ngx_http_academy_auth_zone_t *zone, ngx_uint_t *slot);
static ngx_uint_t ngx_http_academy_auth_gone(ngx_pid_t pid);


static ngx_http_academy_auth_worker_t  ngx_http_academy_auth_worker;


ngx_int_t
ngx_http_academy_auth_ask(ngx_http_academy_auth_zone_t *zone,
    ngx_http_academy_auth_sh_t *sh, u_char *key)
{
    ngx_http_academy_auth_asking_t  *asking, **link;

    if (ngx_http_academy_auth_worker.bell == NULL) {
        return NGX_DECLINED;
    }

    link = ngx_http_academy_auth_asking(sh, key);
    asking = *link;

    if (asking && ngx_http_academy_auth_fresh(asking)) {
        ngx_http_academy_auth_note(asking);
        return NGX_AGAIN;
    }

    if (asking) {
        asking->pid = ngx_pid;
        asking->since = ngx_time();
        return NGX_OK;
    }

    asking = ngx_http_academy_auth_alloc(zone, sh,
                                       sizeof(ngx_http_academy_auth_asking_t),
                                       0);
    if (asking == NULL) {
        return NGX_DECLINED;
    }

    ngx_memzero(asking, sizeof(ngx_http_academy_auth_asking_t));
    ngx_memcpy(asking->key, key, NGX_HTTP_ACADEMY_DIGEST_LEN);

    asking->pid = ngx_pid;
    asking->since = ngx_time();

    *link = asking;

    return NGX_OK;
}


ngx_uint_t
ngx_http_academy_auth_asked(ngx_http_academy_auth_sh_t *sh, u_char *key)
{
    ngx_http_academy_auth_asking_t  *asking;

    asking = *ngx_http_academy_auth_asking(sh, key);

    return asking && ngx_http_academy_auth_fresh(asking);
}


/* nor does a clock that was set back make one last for longer */

static ngx_uint_t
ngx_http_academy_auth_fresh(ngx_http_academy_auth_asking_t *asking)
{
    time_t  age;

    age = ngx_time() - asking->since;

    return asking->pid && age >= 0 && age < NGX_HTTP_ACADEMY_AUTH_ASKING;
}


/* the link that leads, or would lead, to it */

static ngx_http_academy_auth_asking_t **
ngx_http_academy_auth_asking(ngx_http_academy_auth_sh_t *sh, u_char *key)
{
    ngx_http_academy_auth_asking_t  **link;

    for (link = &sh->askings[key[0] % NGX_HTTP_ACADEMY_AUTH_ASKINGS];
         *link;
         link = &(*link)->next)
    {
        if (ngx_memcmp((*link)->key, key, NGX_HTTP_ACADEMY_DIGEST_LEN) == 0) {
            break;
        }
    }

    return link;
}


static void
ngx_http_academy_auth_note(ngx_http_academy_auth_asking_t *asking)
{
    ngx_uint_t  slot;

    slot = ngx_http_academy_auth_worker.slot;

    asking->slots[slot / 64] |= (uint64_t) 1 << slot % 64;
}


void
ngx_http_academy_auth_end(ngx_http_academy_auth_zone_t *zone,
    ngx_http_academy_auth_sh_t *sh, u_char *key, uint64_t *slots)
{
    ngx_http_academy_auth_asking_t  *asking, **link;

    link = ngx_http_academy_auth_asking(sh, key);
    asking = *link;

    if (asking == NULL) {
        ngx_memzero(slots, NGX_HTTP_ACADEMY_AUTH_WORDS * sizeof(uint64_t));
        return;
    }

    ngx_memcpy(slots, asking->slots, sizeof(asking->slots));

    *link = asking->next;

    ngx_slab_free_locked(zone->shpool, asking);
}


void
ngx_http_academy_auth_tell(ngx_http_academy_auth_zone_t *zone, u_char *key,
    uint64_t *slots)
{
    ngx_uint_t                       i, slot;
    ngx_queue_t                     *q, *next;
    ngx_http_academy_auth_waiter_t  *waiter;
    ngx_http_academy_auth_worker_t  *worker;

    worker = &ngx_http_academy_auth_worker;

    for (i = 0; i < NGX_HTTP_ACADEMY_AUTH_WORDS; i++) {
        for (slot = i * 64; slots[i]; slot++, slots[i] >>= 1) {
            if ((slots[i] & 1) && (worker->bell == NULL
                                   || slot != worker->slot))
            {
                ngx_http_academy_bell_ring(zone->bells, slot);
            }
        }
    }

    for (q = ngx_queue_head(&worker->waiting);
         q != ngx_queue_sentinel(&worker->waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        waiter = ngx_queue_data(q, ngx_http_academy_auth_waiter_t, queue);

        if (ngx_memcmp(waiter->key, key, NGX_HTTP_ACADEMY_DIGEST_LEN) == 0) {
            ngx_http_academy_auth_ready(waiter);
        }
    }
}


void
ngx_http_academy_auth_give_up(ngx_http_academy_auth_zone_t *zone, u_char *key)
{
    uint64_t                     slots[NGX_HTTP_ACADEMY_AUTH_WORDS];
    ngx_pid_t                    died;
    ngx_http_academy_auth_sh_t  *sh;

    ngx_memzero(slots, sizeof(slots));

    sh = ngx_http_academy_auth_lock(zone, &died);

    if (sh) {
        ngx_http_academy_auth_end(zone, sh, key, slots);
    }

    ngx_http_academy_auth_unlock(zone, died);

    ngx_http_academy_auth_tell(zone, key, slots);
}


ngx_int_t
ngx_http_academy_auth_wait(ngx_http_request_t *r, u_char *key)
{
    ngx_http_cleanup_t              *cln;
    ngx_http_academy_ctx_t          *ctx;
    ngx_http_academy_auth_waiter_t  *waiter;
    ngx_http_academy_auth_worker_t  *worker;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    worker = &ngx_http_academy_auth_worker;
    waiter = ctx->waiter;

    if (waiter == NULL) {
        waiter = ngx_pcalloc(r->pool, sizeof(ngx_http_academy_auth_waiter_t));
        cln = ngx_http_cleanup_add(r, 0);

        if (waiter == NULL || cln == NULL) {
            return NGX_ERROR;
        }

        cln->handler = ngx_http_academy_auth_waiter_cleanup;
        cln->data = waiter;

        waiter->request = r;
        ctx->waiter = waiter;
    }

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "academy request waits for what another asks");

    waiter->key = key;
    waiter->queued = 1;

    ngx_queue_insert_tail(&worker->waiting, &waiter->queue);

    if (!worker->sweep.timer_set) {
        ngx_add_timer(&worker->sweep, NGX_HTTP_ACADEMY_AUTH_SWEEP);
    }

    return (ngx_http_academy_park(r) == NGX_OK) ? NGX_AGAIN : NGX_ERROR;
}


static void
ngx_http_academy_auth_waiter_cleanup(void *data)
{
    ngx_http_academy_auth_waiter_t  *waiter = data;

    if (waiter->queued) {
        ngx_queue_remove(&waiter->queue);
        waiter->queued = 0;
    }
}


static void
ngx_http_academy_auth_ready(ngx_http_academy_auth_waiter_t *waiter)
{
    ngx_http_academy_auth_worker_t  *worker;

    worker = &ngx_http_academy_auth_worker;

    ngx_queue_remove(&waiter->queue);
    ngx_queue_insert_tail(&worker->ready, &waiter->queue);

    ngx_post_event(&worker->wake, &ngx_posted_events);
}


static void
ngx_http_academy_auth_wake_handler(ngx_event_t *ev)
{
    ngx_queue_t                     *q;
    ngx_http_academy_auth_waiter_t  *waiter;
    ngx_http_academy_auth_worker_t  *worker;

    worker = ev->data;

    while (!ngx_queue_empty(&worker->ready)) {
        q = ngx_queue_head(&worker->ready);
        waiter = ngx_queue_data(q, ngx_http_academy_auth_waiter_t, queue);

        ngx_queue_remove(q);
        waiter->queued = 0;

        ngx_http_academy_auth_resume(waiter->request);
    }
}


static void
ngx_http_academy_auth_resume(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "academy request goes on");

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);

    } else {
        ngx_http_core_run_phases(r);
    }

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_academy_auth_bell_handler(ngx_event_t *ev)
{
    ngx_connection_t                *c;
    ngx_http_academy_auth_worker_t  *worker;

    c = ev->data;
    worker = c->data;

    if (c->close) {

        /* who waits here still has to be told: see exit_worker() */

        c->close = 0;
        return;
    }

    ngx_http_academy_bell_heard(ev);

    ngx_http_academy_auth_look(worker->zone);
}


/* while somebody waits here; a worker that exits stays for them */

static void
ngx_http_academy_auth_sweep_handler(ngx_event_t *ev)
{
    ngx_http_academy_auth_worker_t  *worker;

    worker = ev->data;

    if (ngx_queue_empty(&worker->waiting)) {
        return;
    }

    ngx_http_academy_auth_bury(worker->zone);
    ngx_http_academy_auth_look(worker->zone);

    ngx_add_timer(ev, NGX_HTTP_ACADEMY_AUTH_SWEEP);
}


/*
 * What processes that are gone have asked nobody asks any more.  Who asks next
 * inherits those who are to be told; if nobody does it goes after a while.
 */

static void
ngx_http_academy_auth_bury(ngx_http_academy_auth_zone_t *zone)
{
    ngx_pid_t                        pids[NGX_HTTP_ACADEMY_AUTH_STEP];
    ngx_pid_t                        died, pid;
    ngx_uint_t                       i, n, bucket;
    ngx_http_academy_auth_sh_t      *sh;
    ngx_http_academy_auth_asking_t  *asking, **link;

    for (bucket = 0; bucket < NGX_HTTP_ACADEMY_AUTH_ASKINGS; bucket++) {

        n = 0;

        sh = ngx_http_academy_auth_lock(zone, &died);

        link = sh ? &sh->askings[bucket] : NULL;

        while (link && *link && n < NGX_HTTP_ACADEMY_AUTH_STEP) {
            asking = *link;

            if (asking->pid == 0
                && ngx_time() - asking->since >= NGX_HTTP_ACADEMY_AUTH_ASKING)
            {
                *link = asking->next;
                ngx_slab_free_locked(zone->shpool, asking);
                continue;
            }

            if (asking->pid && asking->pid != ngx_pid) {
                pids[n++] = asking->pid;
            }

            link = &asking->next;
        }

        ngx_http_academy_auth_unlock(zone, died);

        for (i = 0; i < n; i++) {

            pid = pids[i];

            if (!ngx_http_academy_auth_gone(pid)) {
                continue;
            }

            sh = ngx_http_academy_auth_lock(zone, &died);

            asking = sh ? sh->askings[bucket] : NULL;

            for ( /* void */ ; asking; asking = asking->next) {
                if (asking->pid == pid) {
                    asking->pid = 0;
                }
            }

            ngx_http_academy_auth_unlock(zone, died);
        }
    }
}


/* whoever waits for what is asked no more goes on */

static void
ngx_http_academy_auth_look(ngx_http_academy_auth_zone_t *zone)
{
    ngx_pid_t                        died;
    ngx_uint_t                       n;
    ngx_queue_t                     *q, *next;
    ngx_http_academy_auth_sh_t      *sh;
    ngx_http_academy_auth_waiter_t  *waiter;
    ngx_http_academy_auth_worker_t  *worker;

    worker = &ngx_http_academy_auth_worker;

    q = ngx_queue_head(&worker->waiting);

    while (q != ngx_queue_sentinel(&worker->waiting)) {

        sh = ngx_http_academy_auth_lock(zone, &died);

        for (n = 0; n < NGX_HTTP_ACADEMY_AUTH_STEP; n++) {

            if (q == ngx_queue_sentinel(&worker->waiting)) {
                break;
            }

            next = ngx_queue_next(q);
            waiter = ngx_queue_data(q, ngx_http_academy_auth_waiter_t, queue);

            if (sh == NULL || !ngx_http_academy_auth_asked(sh, waiter->key)) {
                ngx_http_academy_auth_ready(waiter);
            }

            q = next;
        }

        ngx_http_academy_auth_unlock(zone, died);
    }
}


/* without a master process a reload goes on in the same one */

void
ngx_http_academy_auth_commit(ngx_http_academy_auth_zone_t *zone)
{
    ngx_http_academy_auth_worker_t  *worker;

    worker = &ngx_http_academy_auth_worker;

    if (worker->zone == NULL) {
        return;
    }

    if (zone == NULL) {
        ngx_http_academy_auth_exit_worker();
    }

    worker->zone = zone;
}


ngx_int_t
ngx_http_academy_auth_init_worker(ngx_http_academy_auth_zone_t *zone)
{
    ngx_uint_t                       slot;
    ngx_http_academy_auth_worker_t  *worker;

    worker = &ngx_http_academy_auth_worker;

    if (worker->wake.handler == NULL) {
        ngx_queue_init(&worker->waiting);
        ngx_queue_init(&worker->ready);

        worker->wake.handler = ngx_http_academy_auth_wake_handler;
        worker->wake.data = worker;

        worker->sweep.handler = ngx_http_academy_auth_sweep_handler;
        worker->sweep.data = worker;
    }

    worker->wake.log = ngx_cycle->log;
    worker->sweep.log = ngx_cycle->log;

    worker->zone = zone;

    if (zone == NULL) {
        return NGX_OK;
    }

    if (ngx_http_academy_auth_claim(zone, &slot) == NGX_OK) {
        worker->slot = slot;
        worker->bell = ngx_http_academy_bell_open(zone->bells, slot,
                                         ngx_http_academy_auth_bell_handler,
                                         worker);
    }

    if (worker->bell == NULL) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "this process cannot be told what others were told of "
                      "tokens, and asks for itself");
    }

    return NGX_OK;
}


void
ngx_http_academy_auth_exit_worker(void)
{
    ngx_pid_t                        died;
    ngx_http_academy_auth_sh_t      *sh;
    ngx_http_academy_auth_worker_t  *worker;

    worker = &ngx_http_academy_auth_worker;

    if (worker->bell == NULL) {
        return;
    }

    ngx_http_academy_bell_close(worker->bell);
    worker->bell = NULL;

    sh = ngx_http_academy_auth_lock(worker->zone, &died);

    if (sh && sh->slots[worker->slot] == ngx_pid) {
        sh->slots[worker->slot] = 0;
    }

    ngx_http_academy_auth_unlock(worker->zone, died);
}


/* a slot that nobody has, or whose process is gone */

static ngx_int_t
ngx_http_academy_auth_claim(ngx_http_academy_auth_zone_t *zone,
    ngx_uint_t *slot)
{
    ngx_pid_t                    died, pid;
    ngx_uint_t                   i, n;
    ngx_http_academy_auth_sh_t  *sh;

    n = zone->bells->n;

    for (i = 0; i < n; i++) {

        sh = ngx_http_academy_auth_lock(zone, &died);
        pid = sh ? sh->slots[i] : 0;
        ngx_http_academy_auth_unlock(zone, died);

        if (sh == NULL) {
            break;
        }

        if (pid && !ngx_http_academy_auth_gone(pid)) {
            continue;
        }

        sh = ngx_http_academy_auth_lock(zone, &died);

        if (sh && sh->slots[i] == pid) {
            sh->slots[i] = ngx_pid;
            *slot = i;

        } else {
            sh = NULL;
        }

        ngx_http_academy_auth_unlock(zone, died);

        if (sh) {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_uint_t
ngx_http_academy_auth_gone(ngx_pid_t pid)
{
    return kill(pid, 0) == -1 && ngx_errno == NGX_ESRCH;
}
