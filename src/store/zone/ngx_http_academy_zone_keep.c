
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * Requests that outlive their agent.  What its receiver has acknowledged goes
 * from the list of what is leased to the record of its request, and is freed
 * with that.  When the agent was silent for long, and somebody listens in its
 * place, it goes to the mailbox's queue again, in the order of acceptance.
 *
 * In both directions it is linked where it comes to before it is taken out of
 * where it was: what is elsewhere too when a process has died is not kept.
 *
 * Of many requests some are put back in each section.  Whoever has to do with
 * that meanwhile goes on with it where it stands.
 */


static void ngx_http_academy_zone_put_back(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending);
static ngx_http_academy_pending_t *ngx_http_academy_zone_pending_next(
    ngx_http_academy_pending_t *pending);


ngx_int_t
ngx_http_academy_zone_keep(ngx_http_academy_zone_t *zone,
    ngx_http_academy_message_t *message)
{
    ngx_http_academy_mailbox_t  *mailbox;
    ngx_http_academy_pending_t  *pending;

    mailbox = message->mailbox;

    if (message->response || !message->watched || mailbox->terminated) {
        return NGX_DECLINED;
    }

    pending = zone->sh->pendings[message->bucket];

    while (pending && pending->message.seq != message->seq) {
        pending = pending->next;
    }

    if (pending == NULL) {

        /* it was answered before that was known */

        return NGX_DECLINED;
    }

    message->next = NULL;
    pending->kept = message;

    ngx_http_academy_zone_order();
    ngx_http_academy_fault(zone, "keep linked");

    ngx_http_academy_zone_delist(zone, message);

    ngx_http_academy_fault(zone, "keep removed");

    message->settled = 0;

    mailbox->nkept++;
    ngx_http_academy_zone_uncount(message);

    return NGX_OK;
}


void
ngx_http_academy_zone_keep_end(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending)
{
    ngx_http_academy_message_t  *message;

    message = pending->kept;
    pending->kept = NULL;

    ngx_http_academy_zone_order();
    ngx_http_academy_fault(zone, "keep ended");

    pending->mailbox->nkept--;

    ngx_http_academy_zone_message_free(zone, message);
}


void
ngx_http_academy_zone_keep_leave(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending)
{
    ngx_http_academy_revival_t  *revival;

    revival = &zone->sh->revival;

    if (revival->next == pending) {
        revival->next = ngx_http_academy_zone_pending_next(pending);
    }

    if (pending->mailbox->npending == 1) {

        /* the mailbox itself may go next */

        pending->mailbox->silent = 0;
        revival->mailbox = NULL;
    }
}


ngx_int_t
ngx_http_academy_zone_revive(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_uint_t                   n;
    ngx_http_academy_mailbox_t  *target;
    ngx_http_academy_pending_t  *pending;
    ngx_http_academy_revival_t  *revival;

    revival = &zone->sh->revival;

    if (revival->mailbox == NULL) {

        if (mailbox->nkept == 0) {
            mailbox->silent = 0;
            return NGX_OK;
        }

        revival->mailbox = mailbox;
        revival->next = ngx_queue_data(ngx_queue_head(&mailbox->pending),
                                       ngx_http_academy_pending_t, queue);
        revival->last = NULL;
    }

    target = revival->mailbox;

    for (n = 0; n < NGX_HTTP_ACADEMY_STEP; n++) {

        pending = revival->next;

        if (pending == NULL || target->nkept == 0 || target->terminated) {
            target->silent = 0;
            revival->mailbox = NULL;
            revival->last = NULL;

            return (target == mailbox) ? NGX_OK : NGX_AGAIN;
        }

        revival->next = ngx_http_academy_zone_pending_next(pending);

        if (pending->kept) {
            ngx_http_academy_zone_put_back(zone, pending);
        }
    }

    return NGX_AGAIN;
}


static void
ngx_http_academy_zone_put_back(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending)
{
    ngx_http_academy_mailbox_t   *mailbox;
    ngx_http_academy_message_t   *message, **link;
    ngx_http_academy_revival_t   *revival;

    revival = &zone->sh->revival;
    mailbox = pending->mailbox;
    message = pending->kept;

    /* only what was leased and returned can be older */

    link = revival->last ? &revival->last->next : &mailbox->head;

    while (*link && (*link)->seq < message->seq) {
        link = &(*link)->next;
    }

    if (*link == NULL) {
        mailbox->tail = message;
    }

    message->next = *link;

    ngx_http_academy_zone_order();

    *link = message;

    ngx_http_academy_zone_order();
    ngx_http_academy_fault(zone, "revive linked");

    pending->kept = NULL;

    ngx_http_academy_fault(zone, "revive taken");

    mailbox->nkept--;
    mailbox->queued++;
    mailbox->held++;
    mailbox->bytes += message->size;

    revival->last = message;

    ngx_http_academy_zone_wake(zone, mailbox);
}


static ngx_http_academy_pending_t *
ngx_http_academy_zone_pending_next(ngx_http_academy_pending_t *pending)
{
    ngx_queue_t  *q;

    q = ngx_queue_next(&pending->queue);

    if (q == ngx_queue_sentinel(&pending->mailbox->pending)) {
        return NULL;
    }

    return ngx_queue_data(q, ngx_http_academy_pending_t, queue);
}
