
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
 * way.  The woken process takes messages for as many calls as it has, and
 * wakes another if messages are left that it has nobody for.
 */


#define NGX_HTTP_ACADEMY_SWEEP   1000        /* milliseconds */


/* states of a call */

#define NGX_HTTP_ACADEMY_IDLE    0
#define NGX_HTTP_ACADEMY_WAITS   1           /* in the table, counted */
#define NGX_HTTP_ACADEMY_SERVED  2           /* done is about to run */


static ngx_http_academy_waiting_t *ngx_http_academy_zone_waiting(
    ngx_http_academy_zone_t *zone, ngx_http_academy_mailbox_t *mailbox);
static ngx_uint_t ngx_http_academy_zone_alive(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting);
static void ngx_http_academy_zone_ready(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting);
static void ngx_http_academy_zone_trim(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);
static ngx_queue_t *ngx_http_academy_zone_parked(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);
static ngx_http_academy_call_t *ngx_http_academy_zone_caller(
    ngx_queue_t *parked, ngx_http_academy_mailbox_t *mailbox);
static void ngx_http_academy_zone_serve(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting, ngx_queue_t *served);
static void ngx_http_academy_zone_finish(ngx_http_academy_zone_t *zone,
    ngx_queue_t *served);
static void ngx_http_academy_zone_deliver(ngx_http_academy_call_t *call);
static void ngx_http_academy_zone_wake_handler(ngx_event_t *ev);
static void ngx_http_academy_zone_collect_handler(ngx_event_t *ev);
static void ngx_http_academy_zone_sweep_handler(ngx_event_t *ev);
static void ngx_http_academy_zone_bell_handler(ngx_event_t *ev);
static void ngx_http_academy_zone_close(ngx_http_academy_zone_t *zone);
static void ngx_http_academy_zone_vacate(ngx_http_academy_zone_t *zone,
    ngx_http_academy_slot_t *slot);


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

    result = NGX_HTTP_ACADEMY_OK;
    mailbox = ngx_http_academy_zone_find(zone, &call->id);

    if (mailbox == NULL) {
        result = NGX_HTTP_ACADEMY_MISSING;

    } else if (!ngx_http_academy_zone_permitted(mailbox, call->caller)) {
        result = NGX_HTTP_ACADEMY_FORBIDDEN;

    } else if (mailbox->terminated) {
        result = NGX_HTTP_ACADEMY_TERMINATED;

    } else if (mailbox->head) {
        ngx_http_academy_zone_lease(zone, mailbox, call);

    } else if (ngx_exiting || ngx_terminate) {
        result = NGX_HTTP_ACADEMY_CLOSING;

    } else {
        mailbox->heartbeat = ngx_current_msec;
        mailbox->beaten = 1;

        waiting = ngx_http_academy_zone_waiting(zone, mailbox);

        if (waiting) {
            waiting->count++;

            call->state = NGX_HTTP_ACADEMY_WAITS;
            call->place = mailbox;
            ngx_queue_insert_tail(ngx_http_academy_zone_parked(zone, mailbox),
                                  &call->queue);

        } else {
            result = NGX_HTTP_ACADEMY_FULL;
        }
    }

    ngx_http_academy_zone_unlock(zone);

    if (call->state == NGX_HTTP_ACADEMY_WAITS) {
        return NGX_AGAIN;
    }

    call->result = result;
    ngx_http_academy_zone_deliver(call);

    return NGX_DONE;
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

    ngx_queue_remove(&call->queue);

    if (call->state == NGX_HTTP_ACADEMY_SERVED) {
        call->state = NGX_HTTP_ACADEMY_IDLE;

        if (call->result == NGX_HTTP_ACADEMY_OK) {
            ngx_http_academy_zone_give_back(call->exchange,
                                            &call->out.delivery, 1);
        }

        return;
    }

    call->state = NGX_HTTP_ACADEMY_IDLE;
    mailbox = call->place;

    ngx_http_academy_zone_lock(zone);

    waiting = ngx_http_academy_zone_waiting(zone, mailbox);

    /* what woke it for nothing finds nobody and is passed on */

    if (waiting && waiting->count) {
        waiting->count--;
    }

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

        if (waiting->used && !ngx_http_academy_zone_alive(zone, waiting)) {

            /* its process is gone, and its slot was vacated */

            waiting->used = 0;
        }

        if (!waiting->used) {
            vacant = waiting;
            continue;
        }

        if (waiting->slot == zone->worker->nslot) {
            return waiting;
        }
    }

    if (vacant == NULL) {
        vacant = ngx_slab_calloc_locked(zone->shpool,
                                        sizeof(ngx_http_academy_waiting_t));
        if (vacant == NULL) {
            return NULL;
        }

        vacant->next = mailbox->waiting.next;
        mailbox->waiting.next = vacant;
    }

    vacant->mailbox = mailbox;
    vacant->slot = zone->worker->nslot;
    vacant->generation = zone->worker->slot->generation;
    vacant->count = 0;
    vacant->woken = 0;
    vacant->used = 1;

    return vacant;
}


static ngx_uint_t
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

        if (!ngx_http_academy_zone_alive(zone, waiting)
            || (waiting->count == 0 && !waiting->woken))
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

        if (waiting->used && waiting->count && !waiting->woken
            && ngx_http_academy_zone_alive(zone, waiting))
        {
            ngx_http_academy_zone_ready(zone, waiting);
        }
    }
}


static void
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
    ngx_queue_insert_tail(&slot->ready, &waiting->ready);
}


static ngx_queue_t *
ngx_http_academy_zone_parked(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    uintptr_t  p;

    /* a mailbox is 256 bytes at the least, and aligned to its slab's size */

    p = (uintptr_t) mailbox >> 8;

    return &zone->worker->parked[(p ^ (p >> 12))
                                 & (NGX_HTTP_ACADEMY_PARKED - 1)];
}


static ngx_http_academy_call_t *
ngx_http_academy_zone_caller(ngx_queue_t *parked,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_queue_t              *q;
    ngx_http_academy_call_t  *call;

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
ngx_http_academy_zone_wake_handler(ngx_event_t *ev)
{
    ngx_http_academy_worker_t *worker = ev->data;

    ngx_uint_t                   n, more;
    ngx_queue_t                  served, *q;
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_waiting_t  *waiting;

    zone = worker->zone;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "academy wake slot:%ui", (ngx_uint_t) worker->nslot);

    ngx_queue_init(&served);

    ngx_http_academy_zone_lock(zone);

    for (n = 0; n < NGX_HTTP_ACADEMY_STEP; n++) {

        if (ngx_queue_empty(&worker->slot->ready)) {
            break;
        }

        q = ngx_queue_head(&worker->slot->ready);
        waiting = ngx_queue_data(q, ngx_http_academy_waiting_t, ready);

        ngx_queue_remove(q);
        waiting->woken = 0;

        ngx_http_academy_zone_serve(zone, waiting, &served);
    }

    more = !ngx_queue_empty(&worker->slot->ready);

    ngx_http_academy_zone_unlock(zone);

    if (more) {
        ngx_post_event(ev, &ngx_posted_events);
    }

    ngx_http_academy_zone_finish(zone, &served);
}


/*
 * Takes for this process's callers at a mailbox what there is, a message each,
 * or the end of all; what it cannot take goes on to another process's.
 */

static void
ngx_http_academy_zone_serve(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting, ngx_queue_t *served)
{
    ngx_uint_t                   n;
    ngx_queue_t                 *parked;
    ngx_http_academy_call_t     *call;
    ngx_http_academy_mailbox_t  *mailbox;

    mailbox = waiting->mailbox;
    parked = ngx_http_academy_zone_parked(zone, mailbox);

    for (n = 0; mailbox->head || mailbox->terminated; n++) {

        call = ngx_http_academy_zone_caller(parked, mailbox);
        if (call == NULL) {
            break;
        }

        if (n == NGX_HTTP_ACADEMY_STEP) {
            ngx_http_academy_zone_ready(zone, waiting);
            return;
        }

        ngx_queue_remove(&call->queue);
        ngx_queue_insert_tail(served, &call->queue);
        call->state = NGX_HTTP_ACADEMY_SERVED;

        if (mailbox->terminated) {
            call->result = NGX_HTTP_ACADEMY_TERMINATED;

        } else {
            call->result = NGX_HTTP_ACADEMY_OK;
            ngx_http_academy_zone_lease(zone, mailbox, call);
        }

        if (waiting->count) {
            waiting->count--;
        }
    }

    if (mailbox->head) {
        ngx_http_academy_zone_wake(zone, mailbox);
    }

    ngx_http_academy_zone_trim(zone, mailbox);
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

    ngx_int_t  rc;

    ngx_http_academy_zone_lock(worker->zone);
    rc = ngx_http_academy_zone_collect(worker->zone);
    ngx_http_academy_zone_unlock(worker->zone);

    if (rc == NGX_AGAIN) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


/* slots whose process died and whose place nobody took */

static void
ngx_http_academy_zone_sweep_handler(ngx_event_t *ev)
{
    ngx_http_academy_worker_t *worker = ev->data;

    ngx_pid_t                 pid;
    ngx_uint_t                i;
    ngx_http_academy_slot_t  *slot;
    ngx_http_academy_zone_t  *zone;

    zone = worker->zone;

    for (i = 0; i < zone->sh->nslots; i++) {
        slot = &zone->sh->slots[i];
        pid = slot->pid;

        if (pid == 0 || kill(pid, 0) == 0 || ngx_errno != NGX_ESRCH) {
            continue;
        }

        ngx_log_error(NGX_LOG_NOTICE, ev->log, 0,
                      "process %P is gone, its messages return to their "
                      "mailboxes in zone \"%V\"", pid, &zone->exchange.name);

        ngx_http_academy_zone_lock(zone);

        if (slot->pid == pid) {
            ngx_http_academy_zone_vacate(zone, slot);
        }

        ngx_http_academy_zone_unlock(zone);
    }

    if (!ngx_queue_empty(&zone->sh->closing) || zone->sh->garbage) {
        ngx_post_event(&worker->collect, &ngx_posted_events);
    }

    if (!ngx_exiting) {
        ngx_add_timer(ev, NGX_HTTP_ACADEMY_SWEEP);
    }
}


ngx_int_t
ngx_http_academy_zone_init_worker(ngx_http_academy_exchange_t *exchange,
    ngx_cycle_t *cycle)
{
    ngx_uint_t                  i;
    ngx_connection_t           *c;
    ngx_http_academy_zone_t    *zone;
    ngx_http_academy_worker_t  *worker;

    zone = ngx_http_academy_zone_of(exchange);

    if ((ngx_uint_t) ngx_process_slot >= zone->sh->nslots) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0,
                      "process slot %i is not within the %ui of zone \"%V\"",
                      ngx_process_slot, zone->sh->nslots, &exchange->name);
        return NGX_ERROR;
    }

    worker = ngx_calloc(sizeof(ngx_http_academy_worker_t)
                        + zone->sh->nslots * sizeof(uint16_t), cycle->log);
    if (worker == NULL) {
        return NGX_ERROR;
    }

    worker->ring = (uint16_t *) (worker + 1);
    worker->zone = zone;
    worker->nslot = (uint16_t) ngx_process_slot;
    worker->slot = &zone->sh->slots[ngx_process_slot];

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

    c = ngx_get_connection(zone->bells->fd[worker->nslot], cycle->log);
    if (c == NULL) {
        ngx_free(worker);
        return NGX_ERROR;
    }

    /* a graceful exit runs the handler of what is idle, with c->close set */

    c->idle = 1;
    c->data = worker;
    c->log = cycle->log;
    c->read->log = cycle->log;
    c->write->log = cycle->log;
    c->read->handler = ngx_http_academy_zone_bell_handler;

    worker->bell = c;

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_CLEAR_EVENT) != NGX_OK) {
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
        ngx_free(worker);
        return NGX_ERROR;
    }

    zone->worker = worker;

    ngx_http_academy_zone_lock(zone);

    ngx_http_academy_zone_vacate(zone, worker->slot);
    worker->slot->pid = ngx_pid;

    ngx_http_academy_zone_unlock(zone);

    ngx_add_timer(&worker->sweep, NGX_HTTP_ACADEMY_SWEEP);

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

    ngx_http_academy_zone_lock(zone);

    if (zone->worker->slot->pid == ngx_pid) {
        ngx_http_academy_zone_vacate(zone, zone->worker->slot);
    }

    ngx_http_academy_zone_unlock(zone);
}


/*
 * Nobody waits there any more, and what was taken there is in its mailbox
 * again.  Counts in mailboxes go stale by the generation, and are dropped
 * where they are met.
 */

static void
ngx_http_academy_zone_vacate(ngx_http_academy_zone_t *zone,
    ngx_http_academy_slot_t *slot)
{
    ngx_queue_t                 *q;
    ngx_http_academy_mailbox_t  *mailbox;
    ngx_http_academy_message_t  *message;
    ngx_http_academy_waiting_t  *waiting;

    slot->pid = 0;
    slot->generation++;

    while (!ngx_queue_empty(&slot->ready)) {
        q = ngx_queue_head(&slot->ready);
        waiting = ngx_queue_data(q, ngx_http_academy_waiting_t, ready);
        mailbox = waiting->mailbox;

        ngx_queue_remove(q);
        waiting->woken = 0;

        if (mailbox->head) {
            ngx_http_academy_zone_wake(zone, mailbox);
        }
    }

    while (!ngx_queue_empty(&slot->messages)) {
        q = ngx_queue_head(&slot->messages);
        message = ngx_queue_data(q, ngx_http_academy_message_t, slot);

        ngx_http_academy_zone_return(zone, message);
    }
}


static void
ngx_http_academy_zone_bell_handler(ngx_event_t *ev)
{
    ngx_connection_t           *c;
    ngx_http_academy_worker_t  *worker;

    c = ev->data;
    worker = c->data;

    if (!c->close) {

        /* edge-triggered: there is no need to read the counter */

        ngx_http_academy_zone_wake_handler(&worker->wake);
        return;
    }

    /* the descriptor is the master's, for the next one in this slot */

    if (ngx_del_event(ev, NGX_READ_EVENT, 0) != NGX_OK) {
        ngx_log_error(NGX_LOG_ALERT, ev->log, 0,
                      "eventfd of zone \"%V\" could not be left",
                      &worker->zone->exchange.name);
    }

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;

    ngx_http_academy_zone_close(worker->zone);

    /* whatever it was rung for, others may wait for the same */

    ngx_http_academy_zone_wake_handler(&worker->wake);
}


/* a worker that exits gracefully: whoever waits in it is told at once */

static void
ngx_http_academy_zone_close(ngx_http_academy_zone_t *zone)
{
    ngx_uint_t                   i;
    ngx_queue_t                  served, *q, *parked;
    ngx_http_academy_call_t     *call;
    ngx_http_academy_mailbox_t  *mailbox;
    ngx_http_academy_waiting_t  *waiting;

    ngx_queue_init(&served);

    for (i = 0; i < NGX_HTTP_ACADEMY_PARKED; i++) {
        parked = &zone->worker->parked[i];

        while (!ngx_queue_empty(parked)) {
            q = ngx_queue_head(parked);
            call = ngx_queue_data(q, ngx_http_academy_call_t, queue);
            mailbox = call->place;

            ngx_http_academy_zone_lock(zone);

            ngx_queue_remove(q);
            ngx_queue_insert_tail(&served, q);

            call->state = NGX_HTTP_ACADEMY_SERVED;
            call->result = NGX_HTTP_ACADEMY_CLOSING;

            waiting = ngx_http_academy_zone_waiting(zone, mailbox);

            if (waiting && waiting->count) {
                waiting->count--;
            }

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
