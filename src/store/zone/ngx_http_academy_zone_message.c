
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * Messages: their memory, their way into a mailbox and out of it, and the
 * requests that wait for an answer.
 *
 * A message is a chain of pieces that the slab hands out without waste: above
 * half a page it gives whole pages only, and of those any one will do, so that
 * a large message finds room as long as there is enough of it anywhere.
 */


/* copied within the lock; what is larger is copied between two sections */

#define NGX_HTTP_ACADEMY_COPY        4096

/* pieces that are allocated within one section, and in one with all the rest */

#define NGX_HTTP_ACADEMY_PIECES      8
#define NGX_HTTP_ACADEMY_FIRST       3

/* steps of a section that a row of a class takes */

#define NGX_HTTP_ACADEMY_ROW_STEPS   3

/* steps that it takes more to tell a requester that nobody will answer */

#define NGX_HTTP_ACADEMY_NOTIFIED    3

/* pages that a message which is copied at once, and its request, may begin */

#define NGX_HTTP_ACADEMY_TOUCHED     4

/* whether a message, or the rest of one, may have as much memory */

#define ngx_http_academy_zone_fits(zone, size)                                \
    ngx_http_academy_zone_spare(zone, (size) / ngx_pagesize + 2)

/* a longer name of an entity comes as null in a notice */

#define NGX_HTTP_ACADEMY_MAX_NAME    255

/* a notice: fixed text, four UUIDs, a tag, a label, three names */

#define NGX_HTTP_ACADEMY_NOTICE_LEN  (512 + 6 * NGX_HTTP_ACADEMY_UUID_LEN     \
                                      + 3 * NGX_HTTP_ACADEMY_MAX_NAME)


static ngx_http_academy_result_e ngx_http_academy_zone_check(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call,
    ngx_http_academy_mailbox_t **dest, ngx_http_academy_mailbox_t **src);
static ngx_uint_t ngx_http_academy_zone_is_repeat(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call,
    ngx_http_academy_mailbox_t *src, uint64_t print[2]);
static ngx_http_academy_result_e ngx_http_academy_zone_admit(
    ngx_http_academy_call_t *call, ngx_http_academy_mailbox_t *dest);
static ngx_http_academy_result_e ngx_http_academy_zone_commit(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call,
    ngx_http_academy_mailbox_t *dest, ngx_http_academy_mailbox_t *src,
    ngx_http_academy_message_t *message, ngx_uint_t bucket);
static ngx_http_academy_result_e ngx_http_academy_zone_message_copy(
    ngx_http_academy_zone_t *zone, ngx_http_academy_message_t *message,
    ngx_http_academy_envelope_t *env, size_t room);
static size_t ngx_http_academy_zone_make_room(ngx_http_academy_zone_t *zone,
    ngx_http_academy_envelope_t *env, ngx_http_academy_mailbox_t *src);
static ngx_http_academy_message_t *ngx_http_academy_zone_message_alloc(
    ngx_http_academy_zone_t *zone, size_t size);
static ngx_int_t ngx_http_academy_zone_chunks_alloc(
    ngx_http_academy_zone_t *zone, ngx_http_academy_chunk_t ***last,
    size_t *left, ngx_uint_t most);
static void ngx_http_academy_zone_message_fill(
    ngx_http_academy_message_t *message, u_char *p);
static ngx_int_t ngx_http_academy_zone_dispose(ngx_http_academy_zone_t *zone,
    ngx_uint_t *left);
static ngx_uint_t ngx_http_academy_zone_pending_bucket(
    ngx_http_academy_zone_t *zone, ngx_http_academy_id_t *id, u_char *tag);
static ngx_http_academy_pending_t **ngx_http_academy_zone_pending_find(
    ngx_http_academy_zone_t *zone, ngx_uint_t bucket,
    ngx_http_academy_id_t *id, u_char *tag);
static ngx_http_academy_pending_t *ngx_http_academy_zone_pending_add(
    ngx_http_academy_zone_t *zone, ngx_http_academy_mailbox_t *mailbox,
    ngx_http_academy_envelope_t *env, ngx_http_academy_message_t *message);
static void ngx_http_academy_zone_pending_unlink(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t **link);
static void ngx_http_academy_zone_pending_leave(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending);
static void ngx_http_academy_zone_pending_free(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending);
static void ngx_http_academy_zone_notify(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending, ngx_http_academy_pending_t **link);


ngx_int_t
ngx_http_academy_zone_put(ngx_http_academy_call_t *call)
{
    size_t                        room;
    uint64_t                      print[2];
    ngx_uint_t                    bucket;
    ngx_http_academy_zone_t      *zone;
    ngx_http_academy_result_e     result;
    ngx_http_academy_mailbox_t   *dest, *src;
    ngx_http_academy_message_t   *message;
    ngx_http_academy_envelope_t  *env;

    zone = ngx_http_academy_zone_of(call->exchange);
    env = call->in.envelope;
    message = NULL;
    room = 0;

    if (call->deduplicate) {
        ngx_http_academy_zone_print(zone, env, print);
    }

    /* where it will look, no other message has been for long */

    bucket = ngx_http_academy_zone_pending_bucket(zone,
                                                  env->request ? &env->dest.id
                                                               : &env->src.id,
                                                  env->tag);

    ngx_http_academy_zone_ahead(&zone->sh->pendings[bucket]);

    if (env->json.len > NGX_HTTP_ACADEMY_COPY) {
        ngx_http_academy_zone_touch_pages(zone, NGX_HTTP_ACADEMY_FIRST + 1);

    } else {
        ngx_http_academy_zone_touch(zone, NGX_HTTP_ACADEMY_TOUCHED);
    }

    ngx_http_academy_zone_lock(zone);

    for ( ;; ) {
        result = ngx_http_academy_zone_check(zone, call, &dest, &src);

        if (result != NGX_HTTP_ACADEMY_OK
            || ngx_http_academy_zone_is_repeat(zone, call, src, print))
        {
            goto done;
        }

        result = ngx_http_academy_zone_admit(call, dest);
        if (result != NGX_HTTP_ACADEMY_OK) {
            goto done;
        }

        if (message) {
            break;
        }

        if (!ngx_http_academy_zone_fits(zone, env->json.len)) {

            /* all may be another when there is room */

            if (ngx_http_academy_zone_littered(zone->sh)) {
                ngx_http_academy_zone_reclaim(zone);
                continue;
            }

            if (room < env->json.len) {
                room = ngx_http_academy_zone_make_room(zone, env, src);

                if (room) {
                    continue;
                }

                result = NGX_HTTP_ACADEMY_FULL;
                goto done;
            }
        }

        message = ngx_http_academy_zone_message_alloc(zone, env->json.len);
        if (message == NULL) {
            result = NGX_HTTP_ACADEMY_FULL;
            goto done;
        }

        message->response = !env->request;

        ngx_http_academy_fault(zone, "put allocated");

        if (env->json.len <= NGX_HTTP_ACADEMY_COPY) {
            ngx_http_academy_zone_message_fill(message, env->json.data);
            break;
        }

        result = ngx_http_academy_zone_message_copy(zone, message, env, room);
        if (result != NGX_HTTP_ACADEMY_OK) {
            goto done;
        }

        /* the same one may have been copied here and elsewhere at once */
    }

    result = ngx_http_academy_zone_commit(zone, call, dest, src, message,
                                          bucket);
    if (result != NGX_HTTP_ACADEMY_OK) {
        goto done;
    }

    /* it is in its mailbox: whoever dies now has it come twice at worst */

    message = NULL;

    ngx_http_academy_fault(zone, "put linked");

    ngx_http_academy_count(call->exchange, NGX_HTTP_ACADEMY_N_ACCEPTED);
    ngx_http_academy_observe_size(call->exchange, env->json.len);

    if (call->deduplicate) {
        ngx_http_academy_zone_remember(zone, print);
    }

done:

    if (message) {
        ngx_http_academy_zone_message_free(zone, message);
    }

    ngx_http_academy_zone_unlock(zone);

    return ngx_http_academy_zone_done(call, result);
}


/*
 * The pieces that a large message lacks, and its text, in several sections.
 * Should this process die, it is found and freed by whoever cleans up.
 */

static ngx_http_academy_result_e
ngx_http_academy_zone_message_copy(ngx_http_academy_zone_t *zone,
    ngx_http_academy_message_t *message, ngx_http_academy_envelope_t *env,
    size_t room)
{
    size_t                      left;
    ngx_uint_t                  most;
    ngx_http_academy_chunk_t  **last;
    ngx_http_academy_result_e   result;

    message->filling = 1;
    message->holder = ngx_pid;
    ngx_http_academy_zone_enlist(zone->worker->messages, &message->slot);

    result = NGX_HTTP_ACADEMY_OK;
    last = &message->chunks;
    left = message->size - message->first;
    most = NGX_HTTP_ACADEMY_FIRST;

    while (left) {

        if (room < message->size && !ngx_http_academy_zone_fits(zone, left)) {

            if (ngx_http_academy_zone_littered(zone->sh)) {
                ngx_http_academy_zone_reclaim(zone);
                continue;
            }

            result = NGX_HTTP_ACADEMY_FULL;
            goto done;
        }

        if (ngx_http_academy_zone_chunks_alloc(zone, &last, &left, most)
            != NGX_OK)
        {
            result = NGX_HTTP_ACADEMY_FULL;
            goto done;
        }

        most = NGX_HTTP_ACADEMY_PIECES;

        ngx_http_academy_fault(zone, "put piece");

        ngx_http_academy_zone_unlock(zone);

        if (left == 0) {
            ngx_http_academy_zone_message_fill(message, env->json.data);

        } else {
            ngx_http_academy_zone_touch_pages(zone, NGX_HTTP_ACADEMY_PIECES);
        }

        ngx_http_academy_zone_lock(zone);
    }

    ngx_http_academy_fault(zone, "put filled");

done:

    ngx_http_academy_zone_delist(zone, message);

    ngx_http_academy_zone_order();

    message->filling = 0;

    return result;
}


static ngx_http_academy_result_e
ngx_http_academy_zone_check(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, ngx_http_academy_mailbox_t **dest,
    ngx_http_academy_mailbox_t **src)
{
    ngx_http_academy_envelope_t  *env;

    env = call->in.envelope;

    *dest = ngx_http_academy_zone_find(zone, &env->dest.id);
    *src = ngx_http_academy_zone_find(zone, &env->src.id);

    if (*dest && !ngx_http_academy_zone_permitted(*dest, call->caller)) {
        return NGX_HTTP_ACADEMY_FORBIDDEN;
    }

    if (*src && !ngx_http_academy_zone_permitted(*src, call->caller)) {

        if (call->verify_source) {
            return NGX_HTTP_ACADEMY_FORBIDDEN;
        }

        /* its figures and its heartbeat are not this caller's to move */

        *src = NULL;
    }

    if (*dest == NULL) {
        return NGX_HTTP_ACADEMY_MISSING;
    }

    return (*dest)->terminated ? NGX_HTTP_ACADEMY_TERMINATED
                               : NGX_HTTP_ACADEMY_OK;
}


/*
 * Whether a message came before: then its sender has not seen the answer.  To
 * ask again is a sign of life.
 */

static ngx_uint_t
ngx_http_academy_zone_is_repeat(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, ngx_http_academy_mailbox_t *src,
    uint64_t print[2])
{
    if (call->deduplicate == 0
        || !ngx_http_academy_zone_repeated(zone, print, call->deduplicate))
    {
        return 0;
    }

    if (src) {
        ngx_http_academy_zone_sign(src, call->agent_timeout);
    }

    call->repeated = 1;
    ngx_http_academy_count(call->exchange, NGX_HTTP_ACADEMY_N_DUPLICATES);

    return 1;
}


/* whether a mailbox may have one more message */

static ngx_http_academy_result_e
ngx_http_academy_zone_admit(ngx_http_academy_call_t *call,
    ngx_http_academy_mailbox_t *dest)
{
    ngx_http_academy_limits_t  *limits;

    limits = call->limits;

    if (dest->held >= limits->messages) {
        return NGX_HTTP_ACADEMY_MANY_MESSAGES;
    }

    if (dest->bytes + call->in.envelope->json.len > limits->bytes) {
        return NGX_HTTP_ACADEMY_MANY_BYTES;
    }

    return NGX_HTTP_ACADEMY_OK;
}


static ngx_http_academy_result_e
ngx_http_academy_zone_commit(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, ngx_http_academy_mailbox_t *dest,
    ngx_http_academy_mailbox_t *src, ngx_http_academy_message_t *message,
    ngx_uint_t bucket)
{
    ngx_uint_t                    answered;
    ngx_http_academy_pending_t  **link;
    ngx_http_academy_envelope_t  *env;

    env = call->in.envelope;
    answered = 0;

    message->seq = ++zone->sh->seq;

    if (env->request) {
        message->bucket = bucket;

        if (ngx_http_academy_zone_pending_add(zone, dest, env, message)
            == NULL)
        {
            return NGX_HTTP_ACADEMY_FULL;
        }

        if (src) {
            src->outgoing++;
        }

        ngx_http_academy_fault(zone, "put pending");

    } else if (src) {
        link = ngx_http_academy_zone_pending_find(zone, bucket, &env->src.id,
                                                  env->tag);

        if (*link) {
            ngx_http_academy_zone_pending_drop(zone, link);
            src->completed++;
            answered = 1;

            ngx_http_academy_count(call->exchange,
                                   NGX_HTTP_ACADEMY_N_ANSWERED);

            ngx_http_academy_fault(zone, "put answered");
        }
    }

    if (src) {
        ngx_http_academy_zone_sign(src, call->agent_timeout);

        /* who answers what it received was there all the time */

        src->silent &= !answered;
    }

    dest->used = ngx_http_academy_zone_seconds();

    ngx_http_academy_zone_append(zone, dest, message);

    return NGX_HTTP_ACADEMY_OK;
}


void
ngx_http_academy_zone_append(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_message_t *message)
{
    message->next = NULL;
    message->mailbox = mailbox;
    message->accepted = ngx_current_msec;

    ngx_http_academy_zone_order();

    if (mailbox->head) {
        mailbox->tail->next = message;

    } else {
        mailbox->head = message;
    }

    ngx_http_academy_fault(zone, "append");

    mailbox->tail = message;
    mailbox->queued++;
    mailbox->held++;
    mailbox->bytes += message->size;

    ngx_http_academy_zone_wake(zone, mailbox);
}


ngx_http_academy_message_t *
ngx_http_academy_zone_take(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_http_academy_message_t  *message;

    message = mailbox->head;

    message->holder = ngx_pid;
    message->written = 0;
    message->settled = 0;
    message->watched = 0;
    ngx_http_academy_zone_enlist(zone->worker->messages, &message->slot);

    ngx_http_academy_zone_order();
    ngx_http_academy_fault(zone, "lease listed");

    mailbox->head = message->next;

    ngx_http_academy_fault(zone, "lease taken");

    mailbox->queued--;

    if (mailbox->returned == message) {
        mailbox->returned = NULL;
    }

    if (zone->sh->revival.last == message) {
        zone->sh->revival.last = NULL;
    }

    return message;
}


void
ngx_http_academy_zone_lease(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_call_t *call)
{
    ngx_http_academy_message_t   *message;
    ngx_http_academy_delivery_t  *delivery;

    message = ngx_http_academy_zone_take(zone, mailbox);

    /* where silence matters, to send something to an agent is no sign of it */

    message->watched = (call->agent_timeout != 0);
    mailbox->used = ngx_http_academy_zone_seconds();

    if (!message->watched) {
        mailbox->heartbeat = ngx_current_msec;
        mailbox->beaten = 1;
    }

    if (message->leases) {
        ngx_http_academy_count(call->exchange,
                               NGX_HTTP_ACADEMY_N_REDELIVERED);
    }

    message->leases += (message->leases < 255);

    delivery = &call->out.delivery;
    delivery->message = message;
    delivery->next = message;
    delivery->size = message->size;
    delivery->accepted = message->accepted;
}


/*
 * The link of what goes back into a mailbox comes first, and is taken out of
 * the list of what is leased last: between them it is in both, which a second
 * return finds out.
 */

void
ngx_http_academy_zone_return(ngx_http_academy_zone_t *zone,
    ngx_http_academy_message_t *message)
{
    ngx_http_academy_mailbox_t   *mailbox;
    ngx_http_academy_message_t  **link, *returned;

    mailbox = message->mailbox;

    if (message->settled
        && ngx_http_academy_zone_keep(zone, message) == NGX_OK)
    {
        return;
    }

    if (message->filling || message->settled || mailbox->terminated) {
        ngx_http_academy_zone_delist(zone, message);

        if (!message->filling) {
            ngx_http_academy_zone_uncount(message);
        }

        if (!message->filling && !message->settled) {
            ngx_http_academy_count(&zone->exchange,
                                   NGX_HTTP_ACADEMY_N_DROPPED);
        }

        ngx_http_academy_zone_message_free(zone, message);
        return;
    }

    /* only what was leased and returned as well can be older */

    returned = mailbox->returned;

    link = (returned && returned->seq < message->seq) ? &returned->next
                                                      : &mailbox->head;

    while (*link && (*link)->seq < message->seq) {
        link = &(*link)->next;
    }

    if (*link != message) {

        if (*link == NULL) {
            mailbox->tail = message;
        }

        message->next = *link;

        ngx_http_academy_zone_order();

        *link = message;

        ngx_http_academy_fault(zone, "return linked");

        mailbox->queued++;
    }

    mailbox->returned = message;

    ngx_http_academy_zone_delist(zone, message);

    ngx_http_academy_fault(zone, "return removed");

    ngx_http_academy_zone_wake(zone, mailbox);
}


/* what was leased, and is about to be freed, counts no more */

void
ngx_http_academy_zone_uncount(ngx_http_academy_message_t *message)
{
    ngx_http_academy_mailbox_t  *mailbox;

    mailbox = message->mailbox;

    mailbox->held--;
    mailbox->bytes -= message->size;
}


void
ngx_http_academy_zone_written(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n, ngx_uint_t written)
{
    ngx_uint_t                   i;
    ngx_http_academy_message_t  *message;

    for (i = 0; i < n; i++) {
        message = delivery[i].message;
        message->written = (u_char) written;
    }
}


/*
 * Nobody gets a settled message again, not from a process that dies here.
 * They and their pieces may be many: the section ends in between.
 */

void
ngx_http_academy_zone_settle(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n)
{
    ngx_uint_t                   i, steps;
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_chunk_t    *chunk;
    ngx_http_academy_message_t  *message;

    zone = ngx_http_academy_zone_of(exchange);

    for (i = 0; i < n; i++) {
        message = delivery[i].message;
        message->settled = 1;

        if (message->watched) {
            ngx_http_academy_zone_ahead(&zone->sh->pendings[message->bucket]);
        }
    }

    ngx_http_academy_zone_lock(zone);

    ngx_http_academy_fault(zone, "settle marked");

    steps = 0;

    for (i = 0; i < n; i++) {
        message = delivery[i].message;

        if (steps++ >= NGX_HTTP_ACADEMY_STEP) {
            steps = 0;
            ngx_http_academy_zone_unlock(zone);
            ngx_http_academy_zone_lock(zone);
        }

        if (message->watched) {
            message->mailbox->heartbeat = ngx_current_msec;
            message->mailbox->beaten = 1;

            /* it is looked for among the requests */

            steps++;

            if (ngx_http_academy_zone_keep(zone, message) == NGX_OK) {
                continue;
            }
        }

        for (chunk = message->chunks; chunk; chunk = message->chunks) {

            if (steps++ >= NGX_HTTP_ACADEMY_STEP) {
                steps = 0;
                ngx_http_academy_zone_unlock(zone);
                ngx_http_academy_zone_lock(zone);
            }

            message->chunks = chunk->next;

            ngx_http_academy_fault(zone, "settle chunk");

            ngx_slab_free_locked(zone->shpool, chunk);
        }

        ngx_http_academy_zone_delist(zone, message);

        ngx_http_academy_fault(zone, "settle removed");

        ngx_http_academy_zone_uncount(message);
        ngx_http_academy_zone_message_free(zone, message);
    }

    ngx_http_academy_zone_unlock(zone);
}


void
ngx_http_academy_zone_give_back(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n)
{
    ngx_uint_t                i;
    ngx_http_academy_zone_t  *zone;

    zone = ngx_http_academy_zone_of(exchange);

    /* whoever dies from here on leaves what is known to be undelivered */

    ngx_http_academy_zone_written(exchange, delivery, n, 0);

    ngx_http_academy_zone_lock(zone);

    for (i = 0; i < n; i++) {

        if (i && i % NGX_HTTP_ACADEMY_STEP == 0) {
            ngx_http_academy_zone_unlock(zone);
            ngx_http_academy_zone_lock(zone);
        }

        ngx_http_academy_zone_return(zone, delivery[i].message);
    }

    ngx_http_academy_zone_unlock(zone);
}


/* the slab's size of the next piece of a message of which need bytes remain */

size_t
ngx_http_academy_zone_fit(size_t need)
{
    size_t  size;

    if (need >= ngx_pagesize) {
        return ngx_pagesize;
    }

    for (size = 64; size < need; size *= 2) { /* void */ }

    /* with less than 5/8 of it used, half of it and another piece is better */

    return (size > 64 && need * 8 < size * 5) ? size / 2 : size;
}


/*
 * An agent that answers a request which is kept for it is not to be kept from
 * it by lack of memory: the answer takes the request's place.  Returns the size
 * of what is freed, or 0.
 */

static size_t
ngx_http_academy_zone_make_room(ngx_http_academy_zone_t *zone,
    ngx_http_academy_envelope_t *env, ngx_http_academy_mailbox_t *src)
{
    size_t                       size;
    ngx_http_academy_pending_t  *pending;

    if (env->request || src == NULL || src->nkept == 0) {
        return 0;
    }

    pending = *ngx_http_academy_zone_pending_link(zone, &env->src.id,
                                                  env->tag);

    if (pending == NULL || pending->kept == NULL) {
        return 0;
    }

    size = pending->kept->size;

    ngx_http_academy_zone_keep_end(zone, pending);

    return size;
}


/* frees some of what waits for it, and lets go of the lock for a moment */

void
ngx_http_academy_zone_reclaim(ngx_http_academy_zone_t *zone)
{
    ngx_uint_t  left;

    left = NGX_HTTP_ACADEMY_STEP;

    (void) ngx_http_academy_zone_dispose(zone, &left);

    ngx_http_academy_zone_unlock(zone);
    ngx_http_academy_zone_lock(zone);
}


/* memory for a message that is copied at once, or for the head of another */

static ngx_http_academy_message_t *
ngx_http_academy_zone_message_alloc(ngx_http_academy_zone_t *zone, size_t size)
{
    size_t                        n, head, left;
    ngx_http_academy_chunk_t    **last;
    ngx_http_academy_message_t   *message;

    head = sizeof(ngx_http_academy_message_t);
    n = ngx_http_academy_zone_fit(head + size);

    ngx_http_academy_fault(zone, "slab");

    message = ngx_slab_alloc_locked(zone->shpool, n);
    if (message == NULL) {
        return NULL;
    }

    ngx_memzero(message, head);

    message->size = (uint32_t) size;
    message->first = (uint16_t) ngx_min(n - head, size);

    last = &message->chunks;
    left = size - message->first;

    if (size <= NGX_HTTP_ACADEMY_COPY
        && ngx_http_academy_zone_chunks_alloc(zone, &last, &left,
                                              NGX_HTTP_ACADEMY_PIECES)
           != NGX_OK)
    {
        ngx_http_academy_zone_message_free(zone, message);
        return NULL;
    }

    return message;
}


/*
 * The next pieces of a message, of whose text so much is left.  They are pages
 * mostly, and the first touch of one takes longer than all else that is done
 * with it.
 */

static ngx_int_t
ngx_http_academy_zone_chunks_alloc(ngx_http_academy_zone_t *zone,
    ngx_http_academy_chunk_t ***last, size_t *left, ngx_uint_t most)
{
    size_t                     n, head;
    ngx_uint_t                 i;
    ngx_http_academy_chunk_t  *chunk;

    head = sizeof(ngx_http_academy_chunk_t);

    for (i = 0; *left && i < most; i++) {

        n = ngx_http_academy_zone_fit(head + *left);

        chunk = ngx_slab_alloc_locked(zone->shpool, n);
        if (chunk == NULL) {
            return NGX_ERROR;
        }

        chunk->next = NULL;
        chunk->len = ngx_min(n - head, *left);

        ngx_http_academy_zone_order();

        **last = chunk;
        *last = &chunk->next;

        *left -= chunk->len;
    }

    return NGX_OK;
}


static void
ngx_http_academy_zone_message_fill(ngx_http_academy_message_t *message,
    u_char *p)
{
    ngx_http_academy_chunk_t  *chunk;

    ngx_memcpy((u_char *) message + sizeof(ngx_http_academy_message_t), p,
               message->first);
    p += message->first;

    for (chunk = message->chunks; chunk; chunk = chunk->next) {
        ngx_memcpy((u_char *) chunk + sizeof(ngx_http_academy_chunk_t), p,
                   chunk->len);
        p += chunk->len;
    }
}


/* nothing leads to it any more; what has many pieces is freed in steps */

void
ngx_http_academy_zone_message_free(ngx_http_academy_zone_t *zone,
    ngx_http_academy_message_t *message)
{
    ngx_http_academy_chunk_t  *chunk, *next;

    if (message->size > NGX_HTTP_ACADEMY_COPY && message->chunks) {

        message->next = zone->sh->garbage;

        ngx_http_academy_zone_order();
        ngx_http_academy_fault(zone, "free later");

        zone->sh->garbage = message;

        ngx_post_event(&zone->worker->collect, &ngx_posted_next_events);
        return;
    }

    for (chunk = message->chunks; chunk; chunk = next) {
        next = chunk->next;
        ngx_slab_free_locked(zone->shpool, chunk);
    }

    /* a notice is the first member of its pending */

    ngx_slab_free_locked(zone->shpool, message);
}


/* frees what waits for it: NGX_AGAIN if that is more than left blocks */

static ngx_int_t
ngx_http_academy_zone_dispose(ngx_http_academy_zone_t *zone, ngx_uint_t *left)
{
    ngx_http_academy_row_t      *row;
    ngx_http_academy_chunk_t    *chunk;
    ngx_http_academy_message_t  *message;
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;

    for ( /* void */ ; *left; (*left)--) {

        message = sh->garbage;

        if (message && message->chunks) {
            chunk = message->chunks;
            message->chunks = chunk->next;

            ngx_http_academy_zone_order();
            ngx_http_academy_fault(zone, "dispose chunk");

            ngx_slab_free_locked(zone->shpool, chunk);
            continue;
        }

        if (message) {
            sh->garbage = message->next;

            ngx_http_academy_zone_order();
            ngx_http_academy_fault(zone, "dispose message");

            ngx_slab_free_locked(zone->shpool, message);
            continue;
        }

        row = sh->rows;

        if (row == NULL) {
            return NGX_OK;
        }

        sh->rows = row->next;

        ngx_http_academy_zone_order();
        ngx_http_academy_fault(zone, "dispose row");

        ngx_slab_free_locked(zone->shpool, row);

        /* it is a page of its own, that nobody has looked at for long */

        *left -= ngx_min(*left - 1, NGX_HTTP_ACADEMY_ROW_STEPS - 1);
    }

    return NGX_AGAIN;
}


static ngx_uint_t
ngx_http_academy_zone_pending_bucket(ngx_http_academy_zone_t *zone,
    ngx_http_academy_id_t *id, u_char *tag)
{
    uint64_t  hash;

    hash = ngx_http_academy_zone_hash_uid(zone, id->uid, id->role);
    hash = ngx_http_academy_zone_hash_uid(zone, tag, hash);

    return hash & zone->sh->mask;
}


ngx_http_academy_pending_t **
ngx_http_academy_zone_pending_link(ngx_http_academy_zone_t *zone,
    ngx_http_academy_id_t *id, u_char *tag)
{
    ngx_uint_t  bucket;

    bucket = ngx_http_academy_zone_pending_bucket(zone, id, tag);

    return ngx_http_academy_zone_pending_find(zone, bucket, id, tag);
}


/* the link to a request, or the link at the end of its bucket */

static ngx_http_academy_pending_t **
ngx_http_academy_zone_pending_find(ngx_http_academy_zone_t *zone,
    ngx_uint_t bucket, ngx_http_academy_id_t *id, u_char *tag)
{
    ngx_http_academy_pending_t  **link;

    link = &zone->sh->pendings[bucket];

    while (*link
           && (!ngx_http_academy_id_eq(&(*link)->mailbox->id, id)
               || ngx_memcmp((*link)->tag, tag, 16) != 0))
    {
        link = &(*link)->next;
    }

    return link;
}


static ngx_http_academy_pending_t *
ngx_http_academy_zone_pending_add(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_envelope_t *env,
    ngx_http_academy_message_t *message)
{
    size_t                        src_len, dest_len;
    u_char                       *p;
    ngx_http_academy_pending_t   *pending, *old, **link;

    src_len = env->src.name.len;
    src_len = (src_len > NGX_HTTP_ACADEMY_MAX_NAME) ? 0 : src_len;

    dest_len = env->dest.name.len;
    dest_len = (dest_len > NGX_HTTP_ACADEMY_MAX_NAME) ? 0 : dest_len;

    pending = ngx_slab_calloc_locked(zone->shpool,
                                  offsetof(ngx_http_academy_pending_t, names)
                                  + src_len + dest_len);
    if (pending == NULL) {
        return NULL;
    }

    pending->message.seq = message->seq;
    pending->mailbox = mailbox;
    pending->src = env->src.id;
    pending->dest = env->dest.id;
    ngx_memcpy(pending->tag, env->tag, 16);

    if (env->labeled) {
        pending->labeled = 1;
        ngx_memcpy(pending->label, env->label, 16);
    }

    pending->src_name_len = (u_char) src_len;
    pending->dest_name_len = (u_char) dest_len;

    p = ngx_cpymem(pending->names, env->src.name.data, src_len);
    ngx_memcpy(p, env->dest.name.data, dest_len);

    /* the same tag again stands for the later request, as in a dictionary */

    link = ngx_http_academy_zone_pending_find(zone, message->bucket,
                                              &mailbox->id, env->tag);
    old = *link;

    pending->next = old ? old->next : NULL;

    ngx_http_academy_zone_order();

    *link = pending;

    ngx_http_academy_fault(zone, "pending linked");

    if (old) {
        ngx_http_academy_fault(zone, "pending replaced");

        ngx_http_academy_zone_pending_leave(zone, old);
        ngx_http_academy_zone_pending_free(zone, old);
    }

    ngx_queue_insert_tail(&mailbox->pending, &pending->queue);
    mailbox->npending++;

    return pending;
}


static void
ngx_http_academy_zone_pending_unlink(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t **link)
{
    ngx_http_academy_pending_t  *pending;

    pending = *link;
    *link = pending->next;

    ngx_http_academy_fault(zone, "pending unlinked");

    ngx_http_academy_zone_pending_leave(zone, pending);
}


/* its mailbox, when it is in no bucket any more */

static void
ngx_http_academy_zone_pending_leave(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending)
{
    if (zone->sh->revival.mailbox == pending->mailbox) {
        ngx_http_academy_zone_keep_leave(zone, pending);
    }

    ngx_queue_remove(&pending->queue);
    pending->mailbox->npending--;
}


void
ngx_http_academy_zone_pending_drop(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t **link)
{
    ngx_http_academy_pending_t  *pending;

    pending = *link;

    ngx_http_academy_zone_pending_unlink(zone, link);
    ngx_http_academy_zone_pending_free(zone, pending);
}


static void
ngx_http_academy_zone_pending_free(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending)
{
    if (pending->kept) {
        ngx_http_academy_zone_keep_end(zone, pending);
    }

    ngx_slab_free_locked(zone->shpool, pending);
}


ngx_int_t
ngx_http_academy_zone_collect(ngx_http_academy_zone_t *zone)
{
    ngx_uint_t                    left;
    ngx_queue_t                  *q;
    ngx_http_academy_mailbox_t   *mailbox;
    ngx_http_academy_pending_t   *pending, **link;
    ngx_http_academy_zone_sh_t   *sh;

    sh = zone->sh;

    for (left = NGX_HTTP_ACADEMY_STEP; left > NGX_HTTP_ACADEMY_NOTIFIED; left--)
    {
        if (ngx_http_academy_zone_dispose(zone, &left) == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (ngx_queue_empty(&sh->closing)) {
            return NGX_OK;
        }

        q = ngx_queue_head(&sh->closing);
        mailbox = ngx_queue_data(q, ngx_http_academy_mailbox_t, close);

        if (mailbox->head) {
            mailbox->tail->next = sh->garbage;

            ngx_http_academy_zone_order();
            ngx_http_academy_fault(zone, "collect joined");

            sh->garbage = mailbox->head;

            ngx_http_academy_zone_order();
            ngx_http_academy_fault(zone, "collect taken");

            ngx_http_academy_count_n(&zone->exchange,
                                     NGX_HTTP_ACADEMY_N_DROPPED,
                                     mailbox->queued);

            /* their bytes do not matter, as nothing comes in any more */

            mailbox->head = NULL;
            mailbox->returned = NULL;
            mailbox->held -= mailbox->queued;
            mailbox->queued = 0;
            continue;
        }

        if (ngx_queue_empty(&mailbox->pending)) {
            ngx_queue_remove(q);
            mailbox->closing = 0;
            continue;
        }

        q = ngx_queue_head(&mailbox->pending);
        pending = ngx_queue_data(q, ngx_http_academy_pending_t, queue);

        link = ngx_http_academy_zone_pending_link(zone, &mailbox->id,
                                                  pending->tag);

        ngx_http_academy_zone_notify(zone, pending, link);
        left -= NGX_HTTP_ACADEMY_NOTIFIED;
    }

    return NGX_AGAIN;
}


/*
 * The exchange answers in the place of a terminated mailbox.  The request is
 * forgotten when its requester has that, not before.
 */

static void
ngx_http_academy_zone_notify(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending, ngx_http_academy_pending_t **link)
{
    ngx_http_academy_mailbox_t  *mailbox;

    mailbox = ngx_http_academy_zone_find(zone, &pending->src);

    if (mailbox == NULL || mailbox->terminated) {
        ngx_http_academy_zone_pending_drop(zone, link);
        return;
    }

    if (pending->kept) {
        ngx_http_academy_zone_keep_end(zone, pending);
    }

    pending->message.notice = 1;
    pending->message.response = 1;
    pending->message.seq = ++zone->sh->seq;

    ngx_http_academy_zone_append(zone, mailbox, &pending->message);

    ngx_http_academy_fault(zone, "notify");

    ngx_http_academy_count(&zone->exchange, NGX_HTTP_ACADEMY_N_NOTICES);

    ngx_http_academy_zone_pending_unlink(zone, link);
}


ngx_int_t
ngx_http_academy_zone_piece(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_str_t *piece)
{
    ngx_http_academy_chunk_t    *chunk;
    ngx_http_academy_message_t  *message;

    message = delivery->message;

    if (delivery->next == message) {
        delivery->next = message->chunks;

        if (message->notice) {
            ngx_http_academy_zone_notice(message, piece);
            return NGX_OK;
        }

        piece->len = message->first;
        piece->data = (u_char *) message + sizeof(ngx_http_academy_message_t);
        return NGX_OK;
    }

    chunk = delivery->next;

    if (chunk == NULL) {
        return NGX_DONE;
    }

    delivery->next = chunk->next;

    piece->len = chunk->len;
    piece->data = (u_char *) chunk + sizeof(ngx_http_academy_chunk_t);

    return NGX_OK;
}


/* the text of a notice, which stands until the next one is written */

void
ngx_http_academy_zone_notice(ngx_http_academy_message_t *message,
    ngx_str_t *text)
{
    u_char                      *p, *src, *dest;
    ngx_http_academy_pending_t  *pending;

    static u_char                notice[NGX_HTTP_ACADEMY_NOTICE_LEN];

    pending = (ngx_http_academy_pending_t *) message;
    src = pending->names;
    dest = pending->names + pending->src_name_len;

    p = ngx_cpymem(notice, "{\"header\":{\"src\":",
                   sizeof("{\"header\":{\"src\":") - 1);
    p = ngx_http_academy_id_print(p, &pending->dest, dest,
                                  pending->dest_name_len);

    p = ngx_cpymem(p, ",\"dest\":", sizeof(",\"dest\":") - 1);
    p = ngx_http_academy_id_print(p, &pending->src, src,
                                  pending->src_name_len);

    p = ngx_cpymem(p, ",\"tag\":\"", sizeof(",\"tag\":\"") - 1);
    p = ngx_http_academy_uuid_print(p, pending->tag);

    p = ngx_cpymem(p, "\",\"label\":", sizeof("\",\"label\":") - 1);

    if (pending->labeled) {
        *p++ = '"';
        p = ngx_http_academy_uuid_print(p, pending->label);
        *p++ = '"';

    } else {
        p = ngx_cpymem(p, "null", sizeof("null") - 1);
    }

    /* the fields and the values of academy-py 1.0.0, which 0.5.0 reads too */

    p = ngx_cpymem(p, ",\"kind\":\"response\",\"protocol_version\":\"1.1\","
                      "\"academy_version\":\"1.0.0\"},\"body\":{\"kind\":"
                      "\"academy-error-response\",\"error_code\":0,"
                      "\"mailbox_id\":",
                   sizeof(",\"kind\":\"response\",\"protocol_version\":\"1.1\","
                      "\"academy_version\":\"1.0.0\"},\"body\":{\"kind\":"
                      "\"academy-error-response\",\"error_code\":0,"
                      "\"mailbox_id\":") - 1);

    p = ngx_http_academy_id_print(p, &pending->dest, dest,
                                  pending->dest_name_len);
    *p++ = '}';
    *p++ = '}';

    text->data = notice;
    text->len = p - notice;
}
