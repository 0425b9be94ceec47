
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * A process died while it changed the zone, at any instruction.  What has been
 * committed can be reached: from the slots what is leased, from the buckets
 * mailboxes with their queues, shares and counts, requests, and classes.  All
 * else follows from it: tails, counters, links back, who is to be woken, and
 * what memory is free.  What the process had not committed is gone with it.
 *
 * This changes nothing that it starts from but to finish what was half done,
 * so that it may itself die and be begun anew.
 */


static void ngx_http_academy_zone_rebuild_list(ngx_http_academy_zone_t *zone,
    ngx_queue_t *list);
static ngx_int_t ngx_http_academy_zone_mark(ngx_http_academy_zone_t *zone,
    void *p, size_t size);
static ngx_int_t ngx_http_academy_zone_mark_message(
    ngx_http_academy_zone_t *zone, ngx_http_academy_message_t *message);
static size_t ngx_http_academy_zone_pending_size(
    ngx_http_academy_pending_t *pending);
static void ngx_http_academy_zone_rebuild_garbage(
    ngx_http_academy_zone_t *zone);
static void ngx_http_academy_zone_rebuild_mailbox(
    ngx_http_academy_zone_t *zone, ngx_http_academy_mailbox_t *mailbox);
static void ngx_http_academy_zone_rebuild_queue(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);
static void ngx_http_academy_zone_rebuild_held(ngx_queue_t *list);
static void ngx_http_academy_zone_rebuild_waiting(
    ngx_http_academy_zone_t *zone, ngx_http_academy_mailbox_t *mailbox);
static void ngx_http_academy_zone_rebuild_pendings(
    ngx_http_academy_zone_t *zone, ngx_http_academy_pending_t **link);
static void ngx_http_academy_zone_rebuild_kept(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending);
static void ngx_http_academy_zone_rebuild_order(ngx_queue_t *list);
static uint64_t ngx_http_academy_zone_seq(ngx_queue_t *q);
static void ngx_http_academy_zone_rebuild_clients(
    ngx_http_academy_zone_t *zone, ngx_http_academy_client_t **link);
static void ngx_http_academy_zone_rebuild_classes(
    ngx_http_academy_zone_t *zone, ngx_http_academy_class_t **link);
static void ngx_http_academy_zone_rebuild_class(ngx_http_academy_zone_t *zone,
    ngx_http_academy_class_t *class);
static ngx_uint_t ngx_http_academy_zone_is_member(
    ngx_http_academy_zone_t *zone, ngx_http_academy_mailbox_t *mailbox,
    ngx_http_academy_place_t *place);
static void ngx_http_academy_zone_rebuild_leases(
    ngx_http_academy_zone_t *zone);


/* messages that the process had in hand and that return at once, at most */

#define NGX_HTTP_ACADEMY_LEASES  (64 * NGX_HTTP_ACADEMY_STEP)


void
ngx_http_academy_zone_rebuild(ngx_http_academy_zone_t *zone)
{
    ngx_uint_t                    i;
    ngx_http_academy_client_t    *client;
    ngx_http_academy_mailbox_t   *mailbox;
    ngx_http_academy_zone_sh_t   *sh;

    sh = zone->sh;

    ngx_http_academy_slab_begin(zone->shpool);

    (void) ngx_http_academy_zone_mark(zone, zone->shpool->log_ctx,
                                      sh->log_ctx_len);
    (void) ngx_http_academy_zone_mark(zone, sh,
                                      sizeof(ngx_http_academy_zone_sh_t)
                                      + sh->nslots
                                        * sizeof(ngx_http_academy_slot_t));
    (void) ngx_http_academy_zone_mark(zone, sh->mailboxes,
                                      (sh->mask + 1) * sizeof(void *));
    (void) ngx_http_academy_zone_mark(zone, sh->pendings,
                                      (sh->mask + 1) * sizeof(void *));
    (void) ngx_http_academy_zone_mark(zone, sh->classes,
                                      (sh->class_mask + 1) * sizeof(void *));
    (void) ngx_http_academy_zone_mark(zone, sh->repeats,
                                      sh->nrepeats
                                      * sizeof(ngx_http_academy_repeats_t));

    (void) ngx_http_academy_zone_mark(zone, sh->clients,
                                      (sh->client_mask + 1) * sizeof(void *));

    ngx_queue_init(&sh->closing);
    ngx_memzero(&sh->revival, sizeof(ngx_http_academy_revival_t));
    sh->lodger = NULL;

    for (i = 0; i <= sh->client_mask; i++) {
        for (client = sh->clients[i]; client; client = client->next) {
            client->mailboxes = 0;
        }
    }

    /* what is leased comes first: a queue that has it too is to keep it */

    ngx_http_academy_zone_rebuild_list(zone, &sh->lodgers);

    for (i = 0; i < sh->nslots; i++) {
        ngx_http_academy_zone_rebuild_list(zone, &sh->slots[i].messages);
        ngx_queue_init(&sh->slots[i].ready);
    }

    ngx_http_academy_zone_rebuild_garbage(zone);

    for (i = 0; i <= sh->mask; i++) {
        for (mailbox = sh->mailboxes[i]; mailbox; mailbox = mailbox->next) {
            ngx_http_academy_zone_rebuild_mailbox(zone, mailbox);
        }
    }

    /* what is leased still, once the queues have what is theirs */

    ngx_http_academy_zone_rebuild_held(&sh->lodgers);

    for (i = 0; i < sh->nslots; i++) {
        ngx_http_academy_zone_rebuild_held(&sh->slots[i].messages);
    }

    for (i = 0; i <= sh->mask; i++) {
        ngx_http_academy_zone_rebuild_pendings(zone, &sh->pendings[i]);
    }

    for (i = 0; i <= sh->client_mask; i++) {
        ngx_http_academy_zone_rebuild_clients(zone, &sh->clients[i]);
    }

    for (i = 0; i <= sh->class_mask; i++) {
        ngx_http_academy_zone_rebuild_classes(zone, &sh->classes[i]);
    }

    ngx_http_academy_slab_end(zone->shpool);

    for (i = 0; i <= sh->mask; i++) {
        for (mailbox = sh->mailboxes[i]; mailbox; mailbox = mailbox->next) {

            if (mailbox->terminated
                && (mailbox->head || !ngx_queue_empty(&mailbox->pending)))
            {
                mailbox->closing = 1;
                ngx_queue_insert_tail(&sh->closing, &mailbox->close);
            }

            ngx_http_academy_zone_rebuild_order(&mailbox->pending);
            ngx_http_academy_zone_rebuild_waiting(zone, mailbox);
        }
    }

    ngx_http_academy_zone_rebuild_leases(zone);

    if (!ngx_queue_empty(&sh->closing) || ngx_http_academy_zone_littered(sh)) {
        ngx_post_event(&zone->worker->collect, &ngx_posted_next_events);
    }
}


/*
 * Links that lead back are made of those that lead on.  What was being moved
 * from another list leads to that one's head, and is in this one.
 */

static void
ngx_http_academy_zone_rebuild_list(ngx_http_academy_zone_t *zone,
    ngx_queue_t *list)
{
    ngx_queue_t                 *q, *last;
    ngx_http_academy_message_t  *message;
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;
    last = list;

    for (q = ngx_queue_head(list); q != list; q = ngx_queue_next(q)) {

        if (q == &sh->lodgers
            || ((u_char *) q >= (u_char *) sh->slots
                && (u_char *) q < (u_char *) (sh->slots + sh->nslots)))
        {
            break;
        }

        message = ngx_queue_data(q, ngx_http_academy_message_t, slot);

        if (ngx_http_academy_zone_mark_message(zone, message) != NGX_OK) {
            break;
        }

        q->prev = last;
        last = q;
    }

    last->next = list;
    list->prev = last;
}


static ngx_int_t
ngx_http_academy_zone_mark(ngx_http_academy_zone_t *zone, void *p, size_t size)
{
    return ngx_http_academy_slab_mark(zone->shpool, p, size);
}


/* with the pieces that it has still */

static ngx_int_t
ngx_http_academy_zone_mark_message(ngx_http_academy_zone_t *zone,
    ngx_http_academy_message_t *message)
{
    size_t                     size;
    ngx_int_t                  rc;
    ngx_http_academy_chunk_t  *chunk;

    if (message->notice) {
        return ngx_http_academy_zone_mark(zone, message,
                                          ngx_http_academy_zone_pending_size(
                                     (ngx_http_academy_pending_t *) message));
    }

    size = sizeof(ngx_http_academy_message_t) + message->first;

    rc = ngx_http_academy_zone_mark(zone, message,
                                    ngx_http_academy_zone_fit(size));

    if (rc != NGX_OK) {
        return rc;
    }

    for (chunk = message->chunks; chunk; chunk = chunk->next) {
        size = sizeof(ngx_http_academy_chunk_t) + chunk->len;

        (void) ngx_http_academy_zone_mark(zone, chunk,
                                          ngx_http_academy_zone_fit(size));
    }

    return NGX_OK;
}


static size_t
ngx_http_academy_zone_pending_size(ngx_http_academy_pending_t *pending)
{
    return offsetof(ngx_http_academy_pending_t, names)
           + pending->src_name_len + pending->dest_name_len;
}


static void
ngx_http_academy_zone_rebuild_garbage(ngx_http_academy_zone_t *zone)
{
    size_t                        size;
    ngx_http_academy_row_t       *row;
    ngx_http_academy_message_t  **link;

    for (link = &zone->sh->garbage; *link; link = &(*link)->next) {

        if (ngx_http_academy_zone_mark_message(zone, *link) != NGX_OK) {
            *link = NULL;
            break;
        }
    }

    for (row = zone->sh->rows; row; row = row->next) {
        size = offsetof(ngx_http_academy_row_t, places)
               + row->n * sizeof(ngx_http_academy_place_t);

        (void) ngx_http_academy_zone_mark(zone, row, size);
    }
}


static void
ngx_http_academy_zone_rebuild_mailbox(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    size_t                       size;
    ngx_http_academy_share_t    *share;
    ngx_http_academy_waiting_t  *waiting;

    (void) ngx_http_academy_zone_mark(zone, mailbox,
                                      sizeof(ngx_http_academy_mailbox_t));

    mailbox->owner->mailboxes++;

    mailbox->closing = 0;
    mailbox->npending = 0;
    mailbox->nkept = 0;
    mailbox->nshares = 0;
    ngx_queue_init(&mailbox->pending);

    if (mailbox->terminated) {
        mailbox->nmembers = 0;
    }

    if (mailbox->nmembers == 0) {
        mailbox->members = NULL;
    }

    if (mailbox->members) {
        size = mailbox->room * sizeof(ngx_http_academy_member_t);

        (void) ngx_http_academy_zone_mark(zone, mailbox->members, size);
    }

    if (mailbox->name) {
        size = offsetof(ngx_http_academy_name_t, json) + mailbox->name->len;

        (void) ngx_http_academy_zone_mark(zone, mailbox->name, size);
    }

    for (share = mailbox->shares; share; share = share->next) {
        size = offsetof(ngx_http_academy_share_t, group) + share->len;

        (void) ngx_http_academy_zone_mark(zone, share, size);

        mailbox->nshares++;
    }

    for (waiting = mailbox->waiting.next; waiting; waiting = waiting->next) {
        (void) ngx_http_academy_zone_mark(zone, waiting,
                                          sizeof(ngx_http_academy_waiting_t));
    }

    ngx_http_academy_zone_rebuild_queue(zone, mailbox);
}


static void
ngx_http_academy_zone_rebuild_queue(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_int_t                     rc;
    ngx_http_academy_message_t   *message, **link;

    mailbox->tail = NULL;
    mailbox->returned = NULL;
    mailbox->queued = 0;
    mailbox->bytes = 0;

    for (link = &mailbox->head; *link; link = &message->next) {
        message = *link;

        rc = ngx_http_academy_zone_mark_message(zone, message);

        if (rc == NGX_ERROR || (rc == NGX_DECLINED && mailbox->terminated)) {

            /* from here on it has been dropped */

            *link = NULL;
            break;
        }

        if (rc == NGX_DECLINED) {

            /* it was being taken, or given back: nobody has it */

            ngx_queue_remove(&message->slot);
        }

        mailbox->tail = message;
        mailbox->queued++;
        mailbox->bytes += message->size;
    }

    mailbox->held = mailbox->queued;
}


static void
ngx_http_academy_zone_rebuild_held(ngx_queue_t *list)
{
    ngx_queue_t                 *q;
    ngx_http_academy_message_t  *message;

    for (q = ngx_queue_head(list);
         q != ngx_queue_sentinel(list);
         q = ngx_queue_next(q))
    {
        message = ngx_queue_data(q, ngx_http_academy_message_t, slot);

        if (!message->filling) {
            message->mailbox->held++;
            message->mailbox->bytes += message->size;
        }
    }
}


/* all that wait are woken once: who finds nothing goes on waiting */

static void
ngx_http_academy_zone_rebuild_waiting(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_http_academy_waiting_t  *waiting;

    for (waiting = &mailbox->waiting; waiting; waiting = waiting->next) {

        waiting->woken = 0;

        if (!waiting->used || waiting->count == 0
            || !ngx_http_academy_zone_alive(zone, waiting))
        {
            continue;
        }

        /* whether a share of its was withdrawn is not known */

        waiting->review = waiting->count;

        ngx_http_academy_zone_ready(zone, waiting);
    }
}


static void
ngx_http_academy_zone_rebuild_pendings(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t **link)
{
    size_t                       size;
    ngx_http_academy_pending_t  *pending;

    while (*link) {
        pending = *link;
        size = ngx_http_academy_zone_pending_size(pending);

        if (ngx_http_academy_zone_mark(zone, pending, size) != NGX_OK) {

            /* it is in its requester's queue already */

            *link = pending->next;
            continue;
        }

        pending->message.notice = 0;
        pending->mailbox->npending++;

        if (pending->kept) {
            ngx_http_academy_zone_rebuild_kept(zone, pending);
        }

        ngx_queue_insert_tail(&pending->mailbox->pending, &pending->queue);

        link = &pending->next;
    }
}


/* what is in a list or a queue too is not kept yet, or no more */

static void
ngx_http_academy_zone_rebuild_kept(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending)
{
    if (ngx_http_academy_zone_mark_message(zone, pending->kept) != NGX_OK) {
        pending->kept = NULL;
        return;
    }

    pending->kept->settled = 0;
    pending->mailbox->nkept++;
}


/*
 * Requests, which come in the order of their buckets, are brought into that
 * of their acceptance: runs of a length that doubles are merged.
 */

static void
ngx_http_academy_zone_rebuild_order(ngx_queue_t *list)
{
    ngx_uint_t    n, size, left, right, runs;
    ngx_queue_t  *a, *b, *q, *last;

    for (size = 1; /* void */ ; size *= 2) {

        a = ngx_queue_head(list);
        last = list;
        runs = 0;

        while (a != list) {
            runs++;

            for (b = a, left = 0; left < size && b != list; left++) {
                b = ngx_queue_next(b);
            }

            for (n = left, right = size; n || (right && b != list); /**/ ) {

                if (n && (right == 0 || b == list
                          || ngx_http_academy_zone_seq(a)
                             < ngx_http_academy_zone_seq(b)))
                {
                    q = a;
                    a = ngx_queue_next(a);
                    n--;

                } else {
                    q = b;
                    b = ngx_queue_next(b);
                    right--;
                }

                last->next = q;
                q->prev = last;
                last = q;
            }

            a = b;
        }

        last->next = list;
        list->prev = last;

        if (runs <= 1) {
            return;
        }
    }
}


static uint64_t
ngx_http_academy_zone_seq(ngx_queue_t *q)
{
    ngx_http_academy_pending_t  *pending;

    pending = ngx_queue_data(q, ngx_http_academy_pending_t, queue);

    return pending->message.seq;
}


static void
ngx_http_academy_zone_rebuild_clients(ngx_http_academy_zone_t *zone,
    ngx_http_academy_client_t **link)
{
    size_t                      size;
    ngx_http_academy_client_t  *client;

    while (*link) {
        client = *link;

        if (client->mailboxes == 0) {
            *link = client->next;
            continue;
        }

        size = offsetof(ngx_http_academy_client_t, id) + client->len;

        (void) ngx_http_academy_zone_mark(zone, client, size);

        link = &client->next;
    }
}


static void
ngx_http_academy_zone_rebuild_classes(ngx_http_academy_zone_t *zone,
    ngx_http_academy_class_t **link)
{
    size_t                     size;
    ngx_http_academy_row_t    *row;
    ngx_http_academy_class_t  *class;

    while (*link) {
        class = *link;

        ngx_http_academy_zone_rebuild_class(zone, class);

        if (class->members == 0) {
            *link = class->next;
            continue;
        }

        size = offsetof(ngx_http_academy_class_t, name) + class->len;

        (void) ngx_http_academy_zone_mark(zone, class, size);

        for (row = class->rows; row; row = row->next) {
            size = offsetof(ngx_http_academy_row_t, places)
                   + row->n * sizeof(ngx_http_academy_place_t);

            (void) ngx_http_academy_zone_mark(zone, row, size);
        }

        link = &class->next;
    }
}


static void
ngx_http_academy_zone_rebuild_class(ngx_http_academy_zone_t *zone,
    ngx_http_academy_class_t *class)
{
    ngx_uint_t                   i;
    ngx_http_academy_row_t      *row;
    ngx_http_academy_place_t    *place;

    class->free = 0;
    class->members = 0;
    class->used = 0;
    class->last = NULL;

    for (row = class->rows; row; row = row->next) {

        class->last = row;
        class->used = 0;

        for (i = 0; i < row->n; i++) {
            place = &row->places[i];

            if (*place == 0) {
                break;
            }

            class->used = i + 1;

            if (!(*place & 1)
                && ngx_http_academy_zone_is_member(zone,
                              (ngx_http_academy_mailbox_t *) *place, place))
            {
                class->members++;
                continue;
            }

            *place = class->free | 1;
            class->free = (ngx_http_academy_place_t) place;
        }
    }
}


/*
 * A mailbox that was being made has taken places, and is in no bucket.  Its
 * memory is as it was as long as nothing is allocated.
 */

static ngx_uint_t
ngx_http_academy_zone_is_member(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_place_t *place)
{
    ngx_uint_t  i;

    if (ngx_http_academy_zone_find(zone, &mailbox->id) != mailbox) {
        return 0;
    }

    for (i = 0; i < mailbox->nmembers; i++) {
        if (mailbox->members[i].place == place) {
            return 1;
        }
    }

    return 0;
}


/*
 * nginx has freed the lock, so the process is gone.  What it had in hand
 * returns before anybody can take what is newer; of very much a part, and the
 * rest when its slot is vacated.
 */

static void
ngx_http_academy_zone_rebuild_leases(ngx_http_academy_zone_t *zone)
{
    ngx_uint_t                   i, n;
    ngx_queue_t                 *q, *next, *list;
    ngx_http_academy_message_t  *message;
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;
    n = 0;

    for (i = 0; i <= sh->nslots; i++) {

        list = (i < sh->nslots) ? &sh->slots[i].messages : &sh->lodgers;

        for (q = ngx_queue_head(list);
             q != ngx_queue_sentinel(list) && n < NGX_HTTP_ACADEMY_LEASES;
             q = next)
        {
            next = ngx_queue_next(q);
            message = ngx_queue_data(q, ngx_http_academy_message_t, slot);

            if (message->holder == sh->busy) {
                ngx_http_academy_zone_return(zone, message);
                n++;
            }
        }
    }
}
