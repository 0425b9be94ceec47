
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * What nobody asks for goes after a time: messages, requests that nobody
 * answers, and mailboxes with all that belongs to them.
 *
 * A message has no time of its own, it has its place in the order in which
 * all were accepted.  From time to time a mark is made of how far that order
 * has come: so that the newest mark which is old enough says up to where
 * messages have expired.  Queues are in that order, and to look at the oldest
 * message of a mailbox is enough.
 *
 * A cursor goes round the buckets of mailboxes and requests, in the time that
 * being late is allowed, a few of them a second.  Whichever process comes first
 * in a second does that second's part, in sections of a bounded length, with
 * other events in between.  An expired message is taken as for a receiver, and
 * settled: should the process die in between, it returns, and expires again.
 */


/* marks within the time of expiry, and rounds of the cursor */

#define NGX_HTTP_ACADEMY_PARTS     32

/* what a section may cost: the look at a bucket is 1 */

#define NGX_HTTP_ACADEMY_COST      128
#define NGX_HTTP_ACADEMY_COST_OF   16        /* a mailbox or a request */


typedef struct {
    ngx_http_academy_zone_t       *zone;
    time_t                         expiry;   /* of mailboxes */
    uint32_t                       now;
    ngx_int_t                      cost;     /* that may be */

    ngx_uint_t                     n;        /* taken out of their mailboxes */
    ngx_http_academy_delivery_t    stale[NGX_HTTP_ACADEMY_STEP];
} ngx_http_academy_expire_t;


static void ngx_http_academy_zone_mark_time(ngx_http_academy_zone_t *zone,
    uint32_t now);
static ngx_uint_t ngx_http_academy_zone_expire_some(
    ngx_http_academy_expire_t *ex);
static ngx_int_t ngx_http_academy_zone_expire_bucket(
    ngx_http_academy_expire_t *ex, ngx_uint_t i);
static ngx_int_t ngx_http_academy_zone_expire_messages(
    ngx_http_academy_expire_t *ex, ngx_http_academy_mailbox_t *mailbox);
static ngx_uint_t ngx_http_academy_zone_unused(ngx_http_academy_expire_t *ex,
    ngx_http_academy_mailbox_t *mailbox);
static ngx_int_t ngx_http_academy_zone_expire_requests(
    ngx_http_academy_expire_t *ex, ngx_http_academy_mailbox_t *mailbox);
static void ngx_http_academy_zone_expire_cost(ngx_http_academy_expire_t *ex,
    ngx_http_academy_pending_t *pending);
static void ngx_http_academy_zone_forget(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t **link);


void
ngx_http_academy_zone_expire(ngx_http_academy_zone_t *zone)
{
    time_t                       period;
    uint32_t                     now, elapsed;
    uint64_t                     n;
    ngx_uint_t                   alone;
    ngx_http_academy_expiry_t   *expiry;
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;
    expiry = zone->exchange.expiry;
    now = ngx_http_academy_zone_seconds();

    if ((int32_t) (now - sh->time) <= 0 && sh->nmarks) {
        return;
    }

    period = expiry->messages;

    if (period == 0 || (expiry->mailboxes && expiry->mailboxes < period)) {
        period = expiry->mailboxes;
    }

    if (period == 0) {
        return;
    }

    period = ngx_max(period / NGX_HTTP_ACADEMY_PARTS, 1);

    ngx_http_academy_zone_lock(zone);

    elapsed = now - sh->time;

    if ((int32_t) elapsed <= 0 && sh->nmarks) {
        ngx_http_academy_zone_unlock(zone);
        return;
    }

    elapsed = ngx_min(elapsed, (uint32_t) period);

    ngx_http_academy_zone_mark_time(zone, now);

    n = (uint64_t) (sh->mask + 1) * elapsed / period + 1;

    /* unless another process is still at it, or was when it died */

    alone = (sh->left == 0 || sh->cursor == sh->seen);

    sh->time = now;
    sh->seen = sh->cursor;
    sh->left = ngx_min(sh->left + (ngx_uint_t) n, sh->mask + 1);

    ngx_http_academy_zone_unlock(zone);

    if (alone) {
        ngx_post_event(&zone->worker->expire, &ngx_posted_next_events);
    }
}


/* all that were accepted before a mark of that age are older still */

static void
ngx_http_academy_zone_mark_time(ngx_http_academy_zone_t *zone, uint32_t now)
{
    uint32_t                     age;
    ngx_uint_t                   i;
    ngx_http_academy_mark_t     *mark;
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;
    age = (uint32_t) zone->exchange.expiry->messages;

    if (age == 0) {
        sh->stale = 0;
    }

    mark = &sh->marks[(sh->nmarks - 1) % NGX_HTTP_ACADEMY_MARKS];

    if (sh->nmarks == 0
        || now - mark->time >= ngx_max(age / NGX_HTTP_ACADEMY_PARTS, 1))
    {
        mark = &sh->marks[sh->nmarks % NGX_HTTP_ACADEMY_MARKS];
        mark->time = now;
        mark->seq = sh->seq;

        ngx_http_academy_zone_order();
        ngx_http_academy_fault(zone, "expire mark");

        sh->nmarks++;
    }

    /* the oldest one may be half written */

    for (i = 1; age && i <= sh->nmarks && i < NGX_HTTP_ACADEMY_MARKS; i++) {

        mark = &sh->marks[(sh->nmarks - i) % NGX_HTTP_ACADEMY_MARKS];

        if ((int32_t) (now - mark->time) > (int32_t) age) {
            sh->stale = mark->seq;
            break;
        }
    }
}


void
ngx_http_academy_zone_expire_handler(ngx_event_t *ev)
{
    ngx_http_academy_worker_t *worker = ev->data;

    ngx_uint_t                 turn;
    ngx_http_academy_zone_t   *zone;
    ngx_http_academy_expire_t  ex;

    zone = worker->zone;

    if (ngx_exiting) {
        return;
    }

    ex.zone = zone;
    ex.expiry = zone->exchange.expiry->mailboxes;
    ex.now = ngx_http_academy_zone_seconds();

    for (turn = 0; turn < NGX_HTTP_ACADEMY_TURN; turn++) {

        if (ngx_http_academy_zone_expire_some(&ex) == 0) {
            return;
        }
    }

    ngx_post_event(ev, &ngx_posted_next_events);
}


/* in one section; how many buckets are left */

static ngx_uint_t
ngx_http_academy_zone_expire_some(ngx_http_academy_expire_t *ex)
{
    ngx_uint_t                   left;
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_zone_sh_t  *sh;

    zone = ex->zone;
    sh = zone->sh;

    ex->cost = NGX_HTTP_ACADEMY_COST;
    ex->n = 0;

    ngx_http_academy_zone_lock(zone);

    while (sh->left && ex->cost > 0) {

        if (ngx_http_academy_zone_expire_bucket(ex, sh->cursor) != NGX_OK) {
            break;
        }

        sh->cursor = (sh->cursor + 1) & sh->mask;
        sh->left--;
    }

    left = sh->left;

    ngx_http_academy_zone_unlock(zone);

    if (ex->n) {
        ngx_http_academy_count_n(&zone->exchange, NGX_HTTP_ACADEMY_N_EXPIRED,
                                 ex->n);
        ngx_http_academy_zone_settle(&zone->exchange, ex->stale, ex->n);
    }

    return left;
}


/* NGX_AGAIN if there is more to do there than a section may take */

static ngx_int_t
ngx_http_academy_zone_expire_bucket(ngx_http_academy_expire_t *ex, ngx_uint_t i)
{
    ngx_http_academy_mailbox_t   *mailbox, **link;
    ngx_http_academy_pending_t  **pending;
    ngx_http_academy_zone_sh_t   *sh;

    sh = ex->zone->sh;
    ex->cost--;

    for (pending = &sh->pendings[i]; *pending; /* void */ ) {

        ex->cost -= NGX_HTTP_ACADEMY_COST_OF;

        if ((*pending)->message.seq <= sh->stale
            && !(*pending)->mailbox->closing)
        {
            ngx_http_academy_zone_expire_cost(ex, *pending);
            ngx_http_academy_zone_pending_drop(ex->zone, pending);
            ngx_http_academy_count(&ex->zone->exchange,
                                   NGX_HTTP_ACADEMY_N_REQUESTS_EXPIRED);
            continue;
        }

        pending = &(*pending)->next;
    }

    for (link = &sh->mailboxes[i]; *link; /* void */ ) {

        mailbox = *link;
        ex->cost -= NGX_HTTP_ACADEMY_COST_OF;

        if (ngx_http_academy_zone_expire_messages(ex, mailbox) != NGX_OK) {
            return NGX_AGAIN;
        }

        if (!ngx_http_academy_zone_unused(ex, mailbox)) {
            link = &mailbox->next;
            continue;
        }

        if (ngx_http_academy_zone_expire_requests(ex, mailbox) != NGX_OK) {
            return NGX_AGAIN;
        }

        ex->cost -= mailbox->nmembers + mailbox->nshares;

        ngx_http_academy_zone_forget(ex->zone, link);
        ngx_http_academy_count(&ex->zone->exchange,
                               NGX_HTTP_ACADEMY_N_MAILBOXES_EXPIRED);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_zone_expire_messages(ngx_http_academy_expire_t *ex,
    ngx_http_academy_mailbox_t *mailbox)
{
    while (mailbox->head && mailbox->head->seq <= ex->zone->sh->stale) {

        if (mailbox->closing) {
            break;
        }

        if (ex->n == NGX_HTTP_ACADEMY_STEP) {
            return NGX_AGAIN;
        }

        ex->stale[ex->n++].message = ngx_http_academy_zone_take(ex->zone,
                                                                mailbox);
    }

    return NGX_OK;
}


/* it was used last when it was named by somebody, or at its heartbeat */

static ngx_uint_t
ngx_http_academy_zone_unused(ngx_http_academy_expire_t *ex,
    ngx_http_academy_mailbox_t *mailbox)
{
    uint32_t                     used, beat;
    ngx_http_academy_waiting_t  *waiting;

    if (ex->expiry == 0 || mailbox->held || mailbox->closing) {
        return 0;
    }

    used = mailbox->used;
    beat = (uint32_t) (mailbox->heartbeat / 1000);

    if (mailbox->beaten && (int32_t) (beat - used) > 0) {
        used = beat;
    }

    if ((int32_t) (ex->now - used) <= (int32_t) ex->expiry) {
        return 0;
    }

    for (waiting = &mailbox->waiting; waiting; waiting = waiting->next) {

        if (waiting->woken
            || (waiting->used && waiting->count
                && ngx_http_academy_zone_alive(ex->zone, waiting)))
        {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_academy_zone_expire_requests(ngx_http_academy_expire_t *ex,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_queue_t                  *q;
    ngx_http_academy_pending_t   *pending, **link;

    while (!ngx_queue_empty(&mailbox->pending)) {

        if (ex->cost <= 0) {
            return NGX_AGAIN;
        }

        ex->cost -= NGX_HTTP_ACADEMY_COST_OF;

        q = ngx_queue_head(&mailbox->pending);
        pending = ngx_queue_data(q, ngx_http_academy_pending_t, queue);

        ngx_http_academy_zone_expire_cost(ex, pending);

        link = ngx_http_academy_zone_pending_link(ex->zone, &mailbox->id,
                                                  pending->tag);

        ngx_http_academy_zone_pending_drop(ex->zone, link);
        ngx_http_academy_count(&ex->zone->exchange,
                               NGX_HTTP_ACADEMY_N_REQUESTS_EXPIRED);
    }

    return NGX_OK;
}


/* a request that was received and is kept goes with all its pieces */

static void
ngx_http_academy_zone_expire_cost(ngx_http_academy_expire_t *ex,
    ngx_http_academy_pending_t *pending)
{
    if (pending->kept) {
        ex->cost -= NGX_HTTP_ACADEMY_COST_OF
                    * (1 + pending->kept->size / ngx_pagesize);
    }
}


/* from the first step on it is as if it had never been */

static void
ngx_http_academy_zone_forget(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t **link)
{
    ngx_slab_pool_t             *shpool;
    ngx_http_academy_share_t    *share, *next_share;
    ngx_http_academy_mailbox_t  *mailbox;
    ngx_http_academy_waiting_t  *waiting, *next;

    shpool = zone->shpool;
    mailbox = *link;

    *link = mailbox->next;

    ngx_http_academy_zone_order();
    ngx_http_academy_fault(zone, "expire unlinked");

    ngx_http_academy_zone_leave(zone, mailbox);

    for (share = mailbox->shares; share; share = next_share) {
        next_share = share->next;
        ngx_slab_free_locked(shpool, share);
    }

    ngx_http_academy_fault(zone, "expire shares");

    for (waiting = mailbox->waiting.next; waiting; waiting = next) {
        next = waiting->next;
        ngx_slab_free_locked(shpool, waiting);
    }

    if (mailbox->name) {
        ngx_slab_free_locked(shpool, mailbox->name);
    }

    mailbox->owner->mailboxes--;
    ngx_http_academy_zone_client_trim(zone, mailbox->owner);

    ngx_slab_free_locked(shpool, mailbox);
}
