
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * Waiting and waking, and a worker's share in it.
 *
 * A call that finds its mailbox empty is counted in the mailbox, by slot, in
 * the same section, and kept in the process's own table.  Who links a message
 * puts one such count on its slot's ready list and rings that slot's eventfd
 * if the list was empty: so that a list that is not empty has a ring under
 * way, unless who was to ring was killed on the way to it, which is why each
 * process looks at its own list from time to time.  The woken process takes
 * messages for as many calls as it has, and wakes another if messages are left
 * that it has nobody for.
 *
 * In the table a mailbox has one place: that of the call that waits longest,
 * on which the others hang.
 */


#define NGX_HTTP_ACADEMY_SWEEP    1000       /* milliseconds */

#define NGX_HTTP_ACADEMY_NO_SLOT  0xffff

/* shares that take as long to look at as a caller to answer */

#define NGX_HTTP_ACADEMY_SHARES_OF  8

/* messages of another process, whose pages this one has never seen */

#define NGX_HTTP_ACADEMY_STRANGE  4

/* old workers that are looked at in a sweep, and the sections it may take */

#define NGX_HTTP_ACADEMY_LODGERS           32
#define NGX_HTTP_ACADEMY_LODGERS_SECTIONS  512


/* states of a call */

#define NGX_HTTP_ACADEMY_IDLE    0
#define NGX_HTTP_ACADEMY_WAITS   1           /* in the table, counted */
#define NGX_HTTP_ACADEMY_SERVED  2           /* done is about to run */


static ngx_http_academy_result_e ngx_http_academy_zone_attend(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call,
    ngx_http_academy_mailbox_t **mailbox);
static ngx_uint_t ngx_http_academy_zone_promised(
    ngx_http_academy_zone_t *zone, ngx_http_academy_mailbox_t *mailbox);
static void ngx_http_academy_zone_deliver(ngx_http_academy_call_t *call);
static ngx_http_academy_waiting_t *ngx_http_academy_zone_waiting(
    ngx_http_academy_zone_t *zone, ngx_http_academy_mailbox_t *mailbox);
static void ngx_http_academy_zone_trim(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);
static ngx_queue_t *ngx_http_academy_zone_parked(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);
static ngx_http_academy_call_t *ngx_http_academy_zone_caller(
    ngx_http_academy_zone_t *zone, ngx_http_academy_mailbox_t *mailbox);
static void ngx_http_academy_zone_park(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_call_t *call);
static void ngx_http_academy_zone_unpark(ngx_http_academy_call_t *call);
static void ngx_http_academy_zone_wake_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_academy_zone_serve_ready(
    ngx_http_academy_zone_t *zone, ngx_queue_t *served);
static ngx_uint_t ngx_http_academy_zone_review(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting, ngx_queue_t *served, ngx_uint_t most);
static ngx_uint_t ngx_http_academy_zone_serve(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting, ngx_queue_t *served, ngx_uint_t most);
static void ngx_http_academy_zone_answer(ngx_http_academy_call_t *call,
    ngx_http_academy_waiting_t *waiting, ngx_http_academy_result_e result,
    ngx_queue_t *served);
static void ngx_http_academy_zone_finish(ngx_http_academy_zone_t *zone,
    ngx_queue_t *served);
static void ngx_http_academy_zone_collect_handler(ngx_event_t *ev);
static void ngx_http_academy_zone_sweep_handler(ngx_event_t *ev);
static ngx_uint_t ngx_http_academy_zone_sweep(ngx_http_academy_zone_t *zone);
static void ngx_http_academy_zone_sweep_lodgers(ngx_http_academy_zone_t *zone);
static void ngx_http_academy_zone_touch_lodgers(
    ngx_http_academy_zone_t *zone);
static ngx_int_t ngx_http_academy_zone_lodgers(ngx_http_academy_zone_t *zone,
    ngx_pid_t *pids, ngx_uint_t *n);
static ngx_http_academy_message_t *ngx_http_academy_zone_lodger_first(
    ngx_http_academy_zone_t *zone);
static ngx_uint_t ngx_http_academy_zone_gone(ngx_pid_t pid);
static ngx_int_t ngx_http_academy_zone_claim(ngx_http_academy_zone_t *zone);
static void ngx_http_academy_zone_bell_handler(ngx_event_t *ev);
static void ngx_http_academy_zone_close(ngx_http_academy_zone_t *zone);
static void ngx_http_academy_zone_release(ngx_http_academy_zone_t *zone);
static ngx_int_t ngx_http_academy_zone_vacate(ngx_http_academy_zone_t *zone,
    ngx_http_academy_slot_t *slot, ngx_pid_t pid);
static void ngx_http_academy_zone_return_all(ngx_http_academy_zone_t *zone,
    ngx_queue_t *messages, ngx_pid_t pid);
static ngx_int_t ngx_http_academy_zone_return_some(
    ngx_http_academy_zone_t *zone, ngx_queue_t *messages, ngx_pid_t pid);


ngx_int_t
ngx_http_academy_zone_get(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_result_e    result;
    ngx_http_academy_mailbox_t  *mailbox;
    ngx_http_academy_waiting_t  *waiting;

    zone = ngx_http_academy_zone_of(call->exchange);
    call->state = NGX_HTTP_ACADEMY_IDLE;

    ngx_http_academy_zone_lock(zone);

    result = ngx_http_academy_zone_attend(zone, call, &mailbox);

    if (result != NGX_HTTP_ACADEMY_OK) {
        /* void */

    } else if (mailbox->head
               && !ngx_http_academy_zone_promised(zone, mailbox))
    {
        ngx_http_academy_zone_lease(zone, mailbox, call);

    } else if (zone->worker->slot == NULL || ngx_exiting) {
        result = NGX_HTTP_ACADEMY_CLOSING;

    } else {
        if (call->agent_timeout == 0) {
            mailbox->heartbeat = ngx_current_msec;
            mailbox->beaten = 1;
        }

        waiting = ngx_http_academy_zone_waiting(zone, mailbox);

        if (waiting) {
            ngx_http_academy_fault(zone, "wait");

            waiting->count++;

            call->state = NGX_HTTP_ACADEMY_WAITS;
            ngx_http_academy_zone_park(zone, mailbox, call);

        } else {
            result = NGX_HTTP_ACADEMY_FULL;
        }
    }

    ngx_http_academy_zone_unlock(zone);

    if (call->state == NGX_HTTP_ACADEMY_WAITS) {

        if (call->waits) {
            call->waits(call);
        }

        return NGX_AGAIN;
    }

    call->result = result;
    ngx_http_academy_zone_deliver(call);

    return NGX_DONE;
}


/*
 * Finds the mailbox of who asks for a message.  An agent that was silent for
 * long gets first what it, or another one in its place, left unanswered.
 */

static ngx_http_academy_result_e
ngx_http_academy_zone_attend(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, ngx_http_academy_mailbox_t **mailbox)
{
    ngx_http_academy_result_e  result;

    for ( ;; ) {
        result = ngx_http_academy_zone_open(zone, call, mailbox);

        if (result != NGX_HTTP_ACADEMY_OK || !call->asked
            || call->agent_timeout == 0)
        {
            return result;
        }

        ngx_http_academy_zone_sign(*mailbox, call->agent_timeout);

        if (!(*mailbox)->silent
            || ngx_http_academy_zone_revive(zone, *mailbox) == NGX_OK)
        {
            return result;
        }

        ngx_http_academy_zone_unlock(zone);
        ngx_http_academy_zone_lock(zone);
    }
}


/*
 * Whether all that is queued is for callers who have waited longer than one
 * who comes now, and can wait behind them.
 */

static ngx_uint_t
ngx_http_academy_zone_promised(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_uint_t                   covered;
    ngx_http_academy_waiting_t  *waiting;

    if (zone->worker->slot == NULL || ngx_exiting) {
        return 0;
    }

    covered = 0;

    for (waiting = &mailbox->waiting; waiting; waiting = waiting->next) {
        if (waiting->used && waiting->woken
            && ngx_http_academy_zone_alive(zone, waiting))
        {
            covered += waiting->count;
        }
    }

    return covered >= mailbox->queued;
}


static void
ngx_http_academy_zone_deliver(ngx_http_academy_call_t *call)
{
    ngx_str_t                     text;
    ngx_http_academy_message_t   *message;

    if (call->result == NGX_HTTP_ACADEMY_OK) {
        message = call->out.delivery.message;

        if (message->notice) {
            ngx_http_academy_zone_notice(message, &text);
            call->out.delivery.size = text.len;
        }
    }

    call->done(call);
}


void
ngx_http_academy_zone_cancel(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_mailbox_t  *mailbox;
    ngx_http_academy_waiting_t  *waiting;

    zone = ngx_http_academy_zone_of(call->exchange);

    if (call->state == NGX_HTTP_ACADEMY_WALKS) {
        ngx_http_academy_zone_walk_cancel(call);
        return;
    }

    if (call->state == NGX_HTTP_ACADEMY_SERVED) {
        ngx_queue_remove(&call->queue);
        call->state = NGX_HTTP_ACADEMY_IDLE;

        if (call->result == NGX_HTTP_ACADEMY_OK) {
            ngx_http_academy_zone_give_back(call->exchange,
                                            &call->out.delivery, 1);
        }

        return;
    }

    ngx_http_academy_zone_unpark(call);
    call->state = NGX_HTTP_ACADEMY_IDLE;
    mailbox = call->place;

    ngx_http_academy_zone_lock(zone);

    waiting = ngx_http_academy_zone_waiting(zone, mailbox);

    /* what woke it for nothing finds nobody and is passed on */

    if (waiting && waiting->count) {
        waiting->count--;
    }

    mailbox->used = ngx_http_academy_zone_seconds();

    ngx_http_academy_zone_trim(zone, mailbox);

    ngx_http_academy_zone_unlock(zone);
}


/* this process's count in a mailbox; a new one if there is none */

static ngx_http_academy_waiting_t *
ngx_http_academy_zone_waiting(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_http_academy_waiting_t  *waiting, *vacant;

    vacant = NULL;

    for (waiting = &mailbox->waiting; waiting; waiting = waiting->next) {

        if (waiting->used && ngx_http_academy_zone_alive(zone, waiting)) {

            if (waiting->slot == zone->worker->nslot) {
                return waiting;
            }

            continue;
        }

        /* its process is gone; one that is woken still is in a list */

        if (!waiting->woken) {
            waiting->used = 0;
            vacant = waiting;
        }
    }

    if (vacant == NULL) {
        vacant = ngx_slab_calloc_locked(zone->shpool,
                                        sizeof(ngx_http_academy_waiting_t));
        if (vacant == NULL) {
            return NULL;
        }

        vacant->next = mailbox->waiting.next;

        ngx_http_academy_zone_order();

        mailbox->waiting.next = vacant;
    }

    vacant->mailbox = mailbox;
    vacant->slot = zone->worker->nslot;
    vacant->generation = zone->worker->slot->generation;
    vacant->count = 0;
    vacant->review = 0;
    vacant->woken = 0;

    ngx_http_academy_zone_order();

    vacant->used = 1;

    return vacant;
}


ngx_uint_t
ngx_http_academy_zone_alive(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting)
{
    ngx_http_academy_slot_t  *slot;

    slot = &zone->sh->slots[waiting->slot];

    return slot->pid && slot->generation == waiting->generation;
}


/* frees counts of nobody; those in a ready list their process looks at */

static void
ngx_http_academy_zone_trim(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_http_academy_waiting_t  *waiting, **link;

    waiting = &mailbox->waiting;

    if (waiting->count == 0 && !waiting->woken) {
        waiting->used = 0;
    }

    link = &mailbox->waiting.next;

    while (*link) {
        waiting = *link;

        if (!waiting->woken
            && (waiting->count == 0
                || !ngx_http_academy_zone_alive(zone, waiting)))
        {
            *link = waiting->next;
            ngx_slab_free_locked(zone->shpool, waiting);
            continue;
        }

        link = &waiting->next;
    }
}


void
ngx_http_academy_zone_wake(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_uint_t                   covered;
    ngx_http_academy_waiting_t  *waiting, *choice;

    covered = 0;
    choice = NULL;

    for (waiting = &mailbox->waiting; waiting; waiting = waiting->next) {

        if (!waiting->used || !ngx_http_academy_zone_alive(zone, waiting)) {
            continue;
        }

        if (waiting->woken) {
            covered += waiting->count;
            continue;
        }

        /* to wake a caller of this process takes no system call */

        if (waiting->count
            && (choice == NULL || waiting->slot == zone->worker->nslot))
        {
            choice = waiting;
        }
    }

    if (choice && covered < mailbox->queued) {
        ngx_http_academy_zone_ready(zone, choice);
    }
}


void
ngx_http_academy_zone_wake_all(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_http_academy_waiting_t  *waiting;

    for (waiting = &mailbox->waiting; waiting; waiting = waiting->next) {

        if (!waiting->used || waiting->count == 0
            || !ngx_http_academy_zone_alive(zone, waiting))
        {
            continue;
        }

        waiting->review = waiting->count;

        if (!waiting->woken) {
            ngx_http_academy_zone_ready(zone, waiting);
        }
    }
}


void
ngx_http_academy_zone_ready(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting)
{
    ngx_http_academy_slot_t    *slot;
    ngx_http_academy_worker_t  *worker;

    worker = zone->worker;
    slot = &zone->sh->slots[waiting->slot];

    if (waiting->slot == worker->nslot) {
        ngx_post_event(&worker->wake, &ngx_posted_events);

    } else if (ngx_queue_empty(&slot->ready)) {
        worker->ring[worker->nring++] = waiting->slot;
    }

    waiting->woken = 1;

    ngx_http_academy_fault(zone, "ready");

    ngx_queue_insert_tail(&slot->ready, &waiting->ready);
}


static ngx_queue_t *
ngx_http_academy_zone_parked(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    uintptr_t  p;

    /* the slab has 256 bytes for a mailbox at the least, and aligns it so */

    p = (uintptr_t) mailbox >> 8;

    return &zone->worker->parked[(p ^ (p >> 12))
                                 & (NGX_HTTP_ACADEMY_PARKED - 1)];
}


/* of this process's calls at a mailbox, the one that waits longest */

static ngx_http_academy_call_t *
ngx_http_academy_zone_caller(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_queue_t              *q, *parked;
    ngx_http_academy_call_t  *call;

    parked = ngx_http_academy_zone_parked(zone, mailbox);

    for (q = ngx_queue_head(parked);
         q != ngx_queue_sentinel(parked);
         q = ngx_queue_next(q))
    {
        call = ngx_queue_data(q, ngx_http_academy_call_t, queue);

        if (call->place == mailbox) {
            return call;
        }
    }

    return NULL;
}


static void
ngx_http_academy_zone_park(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_call_t *call)
{
    ngx_http_academy_call_t  *leader;

    leader = ngx_http_academy_zone_caller(zone, mailbox);

    call->place = mailbox;

    if (leader) {
        call->leads = 0;
        ngx_queue_insert_tail(&leader->peers, &call->peers);
        return;
    }

    call->leads = 1;
    ngx_queue_init(&call->peers);
    ngx_queue_insert_tail(ngx_http_academy_zone_parked(zone, mailbox),
                          &call->queue);
}


static void
ngx_http_academy_zone_unpark(ngx_http_academy_call_t *call)
{
    ngx_http_academy_call_t  *next;

    if (call->leads) {

        if (!ngx_queue_empty(&call->peers)) {
            next = ngx_queue_data(ngx_queue_next(&call->peers),
                                  ngx_http_academy_call_t, peers);
            next->leads = 1;
            ngx_queue_insert_after(&call->queue, &next->queue);
        }

        ngx_queue_remove(&call->queue);
    }

    ngx_queue_remove(&call->peers);
}


static void
ngx_http_academy_zone_wake_handler(ngx_event_t *ev)
{
    ngx_http_academy_worker_t *worker = ev->data;

    ngx_int_t    rc;
    ngx_uint_t   turn;
    ngx_queue_t  served;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "academy wake slot:%ui", (ngx_uint_t) worker->nslot);

    ngx_queue_init(&served);

    for (turn = 0; turn < NGX_HTTP_ACADEMY_TURN; turn++) {

        if (worker->slot == NULL) {
            return;
        }

        ngx_http_academy_zone_lock(worker->zone);
        rc = ngx_http_academy_zone_serve_ready(worker->zone, &served);
        ngx_http_academy_zone_unlock(worker->zone);

        ngx_http_academy_zone_finish(worker->zone, &served);

        if (rc == NGX_OK) {
            return;
        }
    }

    ngx_post_event(ev, &ngx_posted_next_events);
}


/* NGX_AGAIN if there are more than a section may take */

static ngx_int_t
ngx_http_academy_zone_serve_ready(ngx_http_academy_zone_t *zone,
    ngx_queue_t *served)
{
    ngx_uint_t                   n;
    ngx_queue_t                 *q;
    ngx_http_academy_worker_t   *worker;
    ngx_http_academy_waiting_t  *waiting;

    worker = zone->worker;

    for (n = 0; n < NGX_HTTP_ACADEMY_STEP; n++) {

        if (ngx_queue_empty(&worker->slot->ready)) {
            return NGX_OK;
        }

        /* both mailboxes and callers count for the length of this section */

        q = ngx_queue_head(&worker->slot->ready);
        waiting = ngx_queue_data(q, ngx_http_academy_waiting_t, ready);

        ngx_queue_remove(q);
        waiting->woken = 0;

        n += ngx_http_academy_zone_review(zone, waiting, served,
                                          NGX_HTTP_ACADEMY_STEP - n);
        n += ngx_http_academy_zone_serve(zone, waiting, served,
                                         NGX_HTTP_ACADEMY_STEP - n);
    }

    return ngx_queue_empty(&worker->slot->ready) ? NGX_OK : NGX_AGAIN;
}


/*
 * A share was withdrawn: ends the calls that lived by it.  Those that are
 * looked at go behind the others, and so each has its turn.  Returns how many
 * it looked at.
 */

static ngx_uint_t
ngx_http_academy_zone_review(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting, ngx_queue_t *served, ngx_uint_t most)
{
    ngx_uint_t                   n;
    ngx_http_academy_call_t     *call;
    ngx_http_academy_mailbox_t  *mailbox;

    mailbox = waiting->mailbox;

    for (n = 0; waiting->review && n < most; n++) {

        waiting->review--;

        call = ngx_http_academy_zone_caller(zone, mailbox);
        if (call == NULL) {
            waiting->review = 0;
            break;
        }

        n += mailbox->nshares / NGX_HTTP_ACADEMY_SHARES_OF;

        if (!ngx_http_academy_zone_permitted(mailbox, call->caller)) {
            ngx_http_academy_zone_answer(call, waiting,
                                         NGX_HTTP_ACADEMY_FORBIDDEN, served);
            continue;
        }

        ngx_http_academy_zone_unpark(call);
        ngx_http_academy_zone_park(zone, mailbox, call);
    }

    return ngx_min(n, most);
}


/*
 * Takes for this process's callers at a mailbox what there is, a message each,
 * or the end of all; what it cannot take goes on to another process's.  Returns
 * how many were served.
 */

static ngx_uint_t
ngx_http_academy_zone_serve(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting, ngx_queue_t *served, ngx_uint_t most)
{
    ngx_uint_t                   n;
    ngx_http_academy_call_t     *call;
    ngx_http_academy_mailbox_t  *mailbox;
    ngx_http_academy_result_e    result;

    mailbox = waiting->mailbox;

    for (n = 0; /* void */ ; n++) {

        if (n >= most || waiting->review) {

            /* it keeps its turn */

            waiting->woken = 1;
            ngx_queue_insert_head(&zone->worker->slot->ready, &waiting->ready);
            return ngx_min(n, most);
        }

        if (mailbox->head == NULL && !mailbox->terminated) {
            break;
        }

        call = ngx_http_academy_zone_caller(zone, mailbox);
        if (call == NULL) {
            waiting->count = 0;
            break;
        }

        if (mailbox->terminated) {
            result = NGX_HTTP_ACADEMY_TERMINATED;

        } else if (!ngx_http_academy_zone_permitted(mailbox, call->caller)) {
            result = NGX_HTTP_ACADEMY_FORBIDDEN;
            n += mailbox->nshares / NGX_HTTP_ACADEMY_SHARES_OF;

        } else {
            result = NGX_HTTP_ACADEMY_OK;
            n += mailbox->nshares / NGX_HTTP_ACADEMY_SHARES_OF;
            ngx_http_academy_zone_lease(zone, mailbox, call);
        }

        ngx_http_academy_zone_answer(call, waiting, result, served);
    }

    if (mailbox->head) {
        ngx_http_academy_zone_wake(zone, mailbox);
    }

    ngx_http_academy_zone_trim(zone, mailbox);

    return ngx_min(n, most);
}


static void
ngx_http_academy_zone_answer(ngx_http_academy_call_t *call,
    ngx_http_academy_waiting_t *waiting, ngx_http_academy_result_e result,
    ngx_queue_t *served)
{
    ngx_http_academy_zone_unpark(call);
    ngx_queue_insert_tail(served, &call->queue);

    call->state = NGX_HTTP_ACADEMY_SERVED;
    call->result = result;

    if (waiting && waiting->count) {
        waiting->count--;
    }
}


/* one by one: a handler may cancel calls that come after its own */

static void
ngx_http_academy_zone_finish(ngx_http_academy_zone_t *zone,
    ngx_queue_t *served)
{
    ngx_queue_t              *q;
    ngx_http_academy_call_t  *call;

    while (!ngx_queue_empty(served)) {
        q = ngx_queue_head(served);
        call = ngx_queue_data(q, ngx_http_academy_call_t, queue);

        ngx_queue_remove(q);
        call->state = NGX_HTTP_ACADEMY_IDLE;

        ngx_http_academy_zone_deliver(call);
    }
}


static void
ngx_http_academy_zone_collect_handler(ngx_event_t *ev)
{
    ngx_http_academy_worker_t *worker = ev->data;

    ngx_int_t   rc;
    ngx_uint_t  turn;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0, "academy collect");

    for (turn = 0; turn < NGX_HTTP_ACADEMY_TURN; turn++) {

        ngx_http_academy_zone_lock(worker->zone);
        rc = ngx_http_academy_zone_collect(worker->zone);
        ngx_http_academy_zone_unlock(worker->zone);

        if (rc == NGX_OK) {
            return;
        }
    }

    ngx_post_event(ev, &ngx_posted_next_events);
}


static void
ngx_http_academy_zone_sweep_handler(ngx_event_t *ev)
{
    ngx_http_academy_worker_t *worker = ev->data;

    ngx_http_academy_zone_t  *zone;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0, "academy sweep");

    zone = worker->zone;

    (void) ngx_http_academy_zone_sweep(zone);
    ngx_http_academy_zone_sweep_lodgers(zone);

    if (!ngx_queue_empty(&zone->sh->closing)
        || ngx_http_academy_zone_littered(zone->sh))
    {
        ngx_post_event(&worker->collect, &ngx_posted_events);
    }

    if (worker->slot && !ngx_queue_empty(&worker->slot->ready)) {

        /* somebody was killed between the list and the bell */

        ngx_post_event(&worker->wake, &ngx_posted_events);
    }

    if (ngx_exiting) {
        return;
    }

    ngx_http_academy_zone_expire(zone);

    if (worker->slot == NULL) {
        (void) ngx_http_academy_zone_claim(zone);
    }

    ngx_add_timer(ev, NGX_HTTP_ACADEMY_SWEEP);
}


/* vacates the slots of processes that died; returns a free one, or nslots */

static ngx_uint_t
ngx_http_academy_zone_sweep(ngx_http_academy_zone_t *zone)
{
    ngx_pid_t                 pid;
    ngx_uint_t                i, vacant;
    ngx_http_academy_slot_t  *slot;

    vacant = zone->sh->nslots;

    for (i = zone->sh->nslots; i-- > 0; /* void */ ) {
        slot = &zone->sh->slots[i];
        pid = slot->pid;

        if (pid && ngx_http_academy_zone_gone(pid)
            && ngx_http_academy_zone_vacate(zone, slot, pid) == NGX_OK)
        {
            ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                          "process %P is gone, what it held in zone \"%V\" "
                          "is free again", pid, &zone->exchange.name);
        }

        if (slot->pid == 0) {
            vacant = i;
        }
    }

    return vacant;
}


/* the same for what processes without a slot hold: those are few */

static void
ngx_http_academy_zone_sweep_lodgers(ngx_http_academy_zone_t *zone)
{
    ngx_pid_t     pids[NGX_HTTP_ACADEMY_LODGERS];
    ngx_int_t     rc;
    ngx_uint_t    i, n, sections;
    ngx_queue_t  *lodgers;

    lodgers = &zone->sh->lodgers;

    if (ngx_queue_empty(lodgers)) {
        return;
    }

    n = 0;
    sections = 0;

    do {
        ngx_http_academy_zone_touch_lodgers(zone);

        ngx_http_academy_zone_lock(zone);
        rc = ngx_http_academy_zone_lodgers(zone, pids, &n);
        ngx_http_academy_zone_unlock(zone);

    } while (rc == NGX_AGAIN
             && ++sections < NGX_HTTP_ACADEMY_LODGERS_SECTIONS);

    for (i = 0; i < n; i++) {
        if (ngx_http_academy_zone_gone(pids[i])) {
            ngx_http_academy_zone_return_all(zone, lodgers, pids[i]);
        }
    }
}


/*
 * Brings the next pages in before the lock is taken.  Nothing keeps the list
 * as it is, and what was freed may hold anything, but wherever it leads to in
 * the zone there is memory.
 */

static void
ngx_http_academy_zone_touch_lodgers(ngx_http_academy_zone_t *zone)
{
    ngx_uint_t                   i;
    ngx_queue_t                 *q;
    ngx_slab_pool_t             *pool;
    ngx_http_academy_message_t  *message;

    pool = zone->shpool;
    message = zone->sh->lodger;
    q = message ? &message->slot : &zone->sh->lodgers;

    for (i = 0; i <= NGX_HTTP_ACADEMY_STRANGE; i++) {

        if ((u_char *) q < pool->start || (u_char *) (q + 1) > pool->end
            || (uintptr_t) q % sizeof(void *))
        {
            return;
        }

        q = *(ngx_queue_t *volatile *) &q->next;
    }
}


/*
 * Who they are: some are looked at, and the others from there on next time.
 * Returns NGX_AGAIN if there are more.
 */

static ngx_int_t
ngx_http_academy_zone_lodgers(ngx_http_academy_zone_t *zone, ngx_pid_t *pids,
    ngx_uint_t *n)
{
    ngx_uint_t                   i, step;
    ngx_http_academy_message_t  *message;

    message = ngx_http_academy_zone_lodger_first(zone);

    for (step = 0; message && step < NGX_HTTP_ACADEMY_STRANGE; step++) {

        for (i = 0; i < *n && pids[i] != message->holder; i++) { /* void */ }

        if (i == NGX_HTTP_ACADEMY_LODGERS) {
            return NGX_OK;
        }

        if (i == *n) {
            pids[(*n)++] = message->holder;
        }

        ngx_http_academy_zone_lodger_leave(zone);

        message = zone->sh->lodger;
    }

    return message ? NGX_AGAIN : NGX_OK;
}


static ngx_http_academy_message_t *
ngx_http_academy_zone_lodger_first(ngx_http_academy_zone_t *zone)
{
    ngx_queue_t                 *lodgers;
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;
    lodgers = &sh->lodgers;

    if (sh->lodger == NULL && !ngx_queue_empty(lodgers)) {
        sh->lodger = ngx_queue_data(ngx_queue_head(lodgers),
                                    ngx_http_academy_message_t, slot);
    }

    return sh->lodger;
}


void
ngx_http_academy_zone_lodger_leave(ngx_http_academy_zone_t *zone)
{
    ngx_queue_t                 *q;
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;
    q = ngx_queue_next(&sh->lodger->slot);

    sh->lodger = (q == ngx_queue_sentinel(&sh->lodgers))
                 ? NULL
                 : ngx_queue_data(q, ngx_http_academy_message_t, slot);
}


static ngx_uint_t
ngx_http_academy_zone_gone(ngx_pid_t pid)
{
    return kill(pid, 0) == -1 && ngx_errno == NGX_ESRCH;
}


ngx_int_t
ngx_http_academy_zone_init_worker(ngx_http_academy_exchange_t *exchange,
    ngx_cycle_t *cycle)
{
    ngx_int_t                   rc;
    ngx_uint_t                  i;
    ngx_http_academy_zone_t    *zone;
    ngx_http_academy_worker_t  *worker;

    zone = ngx_http_academy_zone_of(exchange);

    worker = ngx_calloc(sizeof(ngx_http_academy_worker_t)
                        + zone->sh->nslots * sizeof(uint16_t), cycle->log);
    if (worker == NULL) {
        return NGX_ERROR;
    }

    worker->ring = (uint16_t *) (worker + 1);
    worker->zone = zone;
    worker->nslot = NGX_HTTP_ACADEMY_NO_SLOT;
    worker->messages = &zone->sh->lodgers;

    for (i = 0; i < NGX_HTTP_ACADEMY_PARKED; i++) {
        ngx_queue_init(&worker->parked[i]);
    }

    worker->wake.handler = ngx_http_academy_zone_wake_handler;
    worker->wake.data = worker;
    worker->wake.log = cycle->log;

    worker->collect.handler = ngx_http_academy_zone_collect_handler;
    worker->collect.data = worker;
    worker->collect.log = cycle->log;

    worker->sweep.handler = ngx_http_academy_zone_sweep_handler;
    worker->sweep.data = worker;
    worker->sweep.log = cycle->log;
    worker->sweep.cancelable = 1;

    worker->expire.handler = ngx_http_academy_zone_expire_handler;
    worker->expire.data = worker;
    worker->expire.log = cycle->log;

    zone->worker = worker;

    ngx_http_academy_zone_touch_tables(zone);

    rc = ngx_http_academy_zone_claim(zone);

    if (rc == NGX_DECLINED) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "no slot of %ui in zone \"%V\" is free for this "
                      "process: nobody can wait here until an old one exits",
                      zone->sh->nslots, &exchange->name);

    } else if (rc == NGX_ERROR) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "zone \"%V\" has no event for this process: nobody "
                      "can wait here until there is one", &exchange->name);
    }

    ngx_add_timer(&worker->sweep, NGX_HTTP_ACADEMY_SWEEP);

    return NGX_OK;
}


/*
 * Takes a free slot and its eventfd.  NGX_DECLINED if there is none, NGX_ERROR
 * if it is of no use; then this process does all but to let callers wait, and
 * tries again from time to time.
 */

static ngx_int_t
ngx_http_academy_zone_claim(ngx_http_academy_zone_t *zone)
{
    ngx_uint_t                  n;
    ngx_connection_t           *c;
    ngx_http_academy_slot_t    *slot;
    ngx_http_academy_worker_t  *worker;

    worker = zone->worker;
    slot = NULL;

    for ( ;; ) {
        n = ngx_http_academy_zone_sweep(zone);

        if (n == zone->sh->nslots) {
            return NGX_DECLINED;
        }

        ngx_http_academy_zone_lock(zone);

        if (zone->sh->slots[n].pid == 0) {
            slot = &zone->sh->slots[n];
            slot->pid = ngx_pid;
        }

        ngx_http_academy_zone_unlock(zone);

        if (slot) {
            break;
        }
    }

    c = ngx_http_academy_bell_open(zone->bells, n,
                                   ngx_http_academy_zone_bell_handler, worker);
    if (c == NULL) {
        (void) ngx_http_academy_zone_vacate(zone, slot, ngx_pid);
        return NGX_ERROR;
    }

    worker->bell = c;
    worker->slot = slot;
    worker->nslot = (uint16_t) n;
    worker->messages = &slot->messages;

    return NGX_OK;
}


/* also after a SIGTERM, which runs no request's cleanup */

void
ngx_http_academy_zone_exit_worker(ngx_http_academy_exchange_t *exchange,
    ngx_cycle_t *cycle)
{
    ngx_http_academy_zone_t  *zone;

    zone = ngx_http_academy_zone_of(exchange);

    if (zone->worker == NULL) {
        return;
    }

    if (zone->worker->slot) {
        (void) ngx_http_academy_zone_vacate(zone, zone->worker->slot, ngx_pid);
    }

    ngx_http_academy_zone_return_all(zone, &zone->sh->lodgers, ngx_pid);
}


/*
 * What was taken there is in its mailbox again, and nobody waits there any
 * more.  Counts in mailboxes go stale by the generation, and are dropped where
 * they are met.  NGX_DECLINED if somebody else was faster.
 */

static ngx_int_t
ngx_http_academy_zone_vacate(ngx_http_academy_zone_t *zone,
    ngx_http_academy_slot_t *slot, ngx_pid_t pid)
{
    ngx_int_t                    rc;
    ngx_uint_t                   n;
    ngx_queue_t                 *q;
    ngx_http_academy_mailbox_t  *mailbox;
    ngx_http_academy_waiting_t  *waiting;

    ngx_http_academy_zone_return_all(zone, &slot->messages, pid);

    do {
        rc = NGX_DECLINED;

        ngx_http_academy_zone_lock(zone);

        if (slot->pid != pid) {
            goto done;
        }

        /* it is to be woken no more, and who waits elsewhere is */

        slot->generation++;

        ngx_http_academy_fault(zone, "vacate");

        for (n = 0; n < NGX_HTTP_ACADEMY_STEP; n++) {

            if (ngx_queue_empty(&slot->ready)) {
                slot->pid = 0;
                rc = NGX_OK;
                break;
            }

            q = ngx_queue_head(&slot->ready);
            waiting = ngx_queue_data(q, ngx_http_academy_waiting_t, ready);
            mailbox = waiting->mailbox;

            ngx_queue_remove(q);
            waiting->woken = 0;

            if (mailbox->head) {
                ngx_http_academy_zone_wake(zone, mailbox);
            }

            rc = NGX_AGAIN;
        }

    done:

        ngx_http_academy_zone_unlock(zone);

    } while (rc == NGX_AGAIN);

    return rc;
}


/*
 * The oldest first, in sections of a bounded length.
 *
 * What a process had written the system goes on to send when that process has
 * died.  A request may come twice for that: its agent answers twice, and the
 * second answer is a repeat.  A response may not, for the Python client of
 * 1.0.0 takes one that it does not wait for as an error, and listens no more.
 */

static void
ngx_http_academy_zone_return_all(ngx_http_academy_zone_t *zone,
    ngx_queue_t *messages, ngx_pid_t pid)
{
    ngx_int_t                    rc;
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;

    if (messages == &sh->lodgers) {

        /* whoever else goes through them goes on where this one ends */

        ngx_http_academy_zone_lock(zone);
        sh->lodger = NULL;
        ngx_http_academy_zone_unlock(zone);
    }

    do {
        ngx_http_academy_zone_lock(zone);
        rc = ngx_http_academy_zone_return_some(zone, messages, pid);
        ngx_http_academy_zone_unlock(zone);

    } while (rc == NGX_AGAIN);
}


/*
 * In a slot's list all are of one process, and so the first ones are; among
 * the lodgers each is looked at.
 */

static ngx_int_t
ngx_http_academy_zone_return_some(ngx_http_academy_zone_t *zone,
    ngx_queue_t *messages, ngx_pid_t pid)
{
    ngx_uint_t                   step, lodgers;
    ngx_http_academy_message_t  *message;

    lodgers = (messages == &zone->sh->lodgers);

    for (step = 0; step < NGX_HTTP_ACADEMY_STRANGE; step++) {

        if (ngx_queue_empty(messages)) {
            return NGX_OK;
        }

        message = lodgers ? ngx_http_academy_zone_lodger_first(zone)
                          : ngx_queue_data(ngx_queue_head(messages),
                                           ngx_http_academy_message_t, slot);

        if (message->holder == pid) {

            if (message->response && message->written && !message->settled) {
                message->settled = 1;
                ngx_http_academy_count(&zone->exchange,
                                       NGX_HTTP_ACADEMY_N_DELIVERED);
            }

            ngx_http_academy_zone_return(zone, message);

        } else if (lodgers) {
            ngx_http_academy_zone_lodger_leave(zone);

        } else {
            return NGX_OK;
        }

        if (lodgers && zone->sh->lodger == NULL) {
            return NGX_OK;
        }
    }

    return NGX_AGAIN;
}


static void
ngx_http_academy_zone_bell_handler(ngx_event_t *ev)
{
    ngx_connection_t           *c;
    ngx_http_academy_worker_t  *worker;

    c = ev->data;
    worker = c->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "academy bell close:%d", (int) c->close);

    if (!c->close) {
        ngx_http_academy_bell_heard(ev);
        ngx_http_academy_zone_wake_handler(&worker->wake);
        return;
    }

    ngx_http_academy_bell_close(c);

    ngx_http_academy_zone_close(worker->zone);
    ngx_http_academy_zone_release(worker->zone);
}


/*
 * The slot is for a new worker: this one may go on for long, with requests
 * that somebody sends or reads slowly.  What it still holds it holds without.
 */

static void
ngx_http_academy_zone_release(ngx_http_academy_zone_t *zone)
{
    ngx_queue_t                *messages;
    ngx_http_academy_slot_t    *slot;
    ngx_http_academy_worker_t  *worker;

    worker = zone->worker;
    slot = worker->slot;
    messages = &slot->messages;

    ngx_http_academy_zone_lock(zone);

    if (!ngx_queue_empty(messages)) {
        ngx_queue_add(&zone->sh->lodgers, messages);

        ngx_http_academy_fault(zone, "release");

        ngx_queue_init(messages);
    }

    worker->slot = NULL;
    worker->nslot = NGX_HTTP_ACADEMY_NO_SLOT;
    worker->messages = &zone->sh->lodgers;

    ngx_http_academy_zone_unlock(zone);

    (void) ngx_http_academy_zone_vacate(zone, slot, ngx_pid);
}


/* a worker that exits gracefully: whoever waits in it is told at once */

static void
ngx_http_academy_zone_close(ngx_http_academy_zone_t *zone)
{
    ngx_uint_t                   i;
    ngx_queue_t                  served, *q, *parked;
    ngx_http_academy_call_t     *call;
    ngx_http_academy_mailbox_t  *mailbox;

    ngx_queue_init(&served);

    for (i = 0; i < NGX_HTTP_ACADEMY_PARKED; i++) {
        parked = &zone->worker->parked[i];

        while (!ngx_queue_empty(parked)) {
            q = ngx_queue_head(parked);
            call = ngx_queue_data(q, ngx_http_academy_call_t, queue);
            mailbox = call->place;

            ngx_http_academy_zone_lock(zone);

            ngx_http_academy_zone_answer(call,
                                  ngx_http_academy_zone_waiting(zone, mailbox),
                                  NGX_HTTP_ACADEMY_CLOSING, &served);

            mailbox->used = ngx_http_academy_zone_seconds();

            ngx_http_academy_zone_trim(zone, mailbox);

            /* it may have been woken for a message: another takes that */

            if (mailbox->head) {
                ngx_http_academy_zone_wake(zone, mailbox);
            }

            ngx_http_academy_zone_unlock(zone);
        }
    }

    ngx_http_academy_zone_finish(zone, &served);
}
