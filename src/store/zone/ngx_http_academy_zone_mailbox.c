
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * Mailboxes: who may use them, their state, shares and figures.
 */


/* pages of the reserve that new mailboxes and shares may not take */

#define NGX_HTTP_ACADEMY_CREATE_SPARE  1


static ngx_http_academy_mailbox_t **ngx_http_academy_zone_bucket(
    ngx_http_academy_zone_t *zone, ngx_http_academy_id_t *id);
static ngx_http_academy_result_e ngx_http_academy_zone_open_owned(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call,
    ngx_http_academy_mailbox_t **mailbox);
static ngx_http_academy_result_e ngx_http_academy_zone_create_locked(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call);
static ngx_http_academy_mailbox_t *ngx_http_academy_zone_mailbox_alloc(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call,
    ngx_http_academy_client_t *owner);
static void ngx_http_academy_zone_mailbox_name(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_str_t *json);
static ngx_http_academy_result_e ngx_http_academy_zone_share_locked(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call);
static ngx_http_academy_result_e ngx_http_academy_zone_shares_locked(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call,
    u_char *buf, size_t size, size_t *need);
static ngx_http_academy_share_t **ngx_http_academy_zone_share_find(
    ngx_http_academy_mailbox_t *mailbox, ngx_str_t *group);


static ngx_http_academy_mailbox_t **
ngx_http_academy_zone_bucket(ngx_http_academy_zone_t *zone,
    ngx_http_academy_id_t *id)
{
    uint64_t  hash;

    hash = ngx_http_academy_zone_hash_uid(zone, id->uid, id->role);

    return &zone->sh->mailboxes[hash & zone->sh->mask];
}


ngx_http_academy_mailbox_t *
ngx_http_academy_zone_find(ngx_http_academy_zone_t *zone,
    ngx_http_academy_id_t *id)
{
    ngx_http_academy_mailbox_t  *mailbox;

    mailbox = *ngx_http_academy_zone_bucket(zone, id);

    while (mailbox && !ngx_http_academy_id_eq(&mailbox->id, id)) {
        mailbox = mailbox->next;
    }

    return mailbox;
}


ngx_uint_t
ngx_http_academy_zone_permitted(ngx_http_academy_mailbox_t *mailbox,
    ngx_http_academy_caller_t *caller)
{
    ngx_http_academy_share_t  *share;

    if (ngx_http_academy_zone_owned(mailbox, caller)) {
        return 1;
    }

    if (caller->ngroups == 0) {
        return 0;
    }

    for (share = mailbox->shares; share; share = share->next) {
        if (ngx_http_academy_caller_in(caller, share->group, share->len)) {
            return 1;
        }
    }

    return 0;
}


/* the mailbox of a call whose caller may use it; 403 comes before 419 */

ngx_http_academy_result_e
ngx_http_academy_zone_open(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, ngx_http_academy_mailbox_t **mailbox)
{
    *mailbox = ngx_http_academy_zone_find(zone, &call->id);

    if (*mailbox == NULL) {
        return NGX_HTTP_ACADEMY_MISSING;
    }

    if (!ngx_http_academy_zone_permitted(*mailbox, call->caller)
        && !call->admin)
    {
        return NGX_HTTP_ACADEMY_FORBIDDEN;
    }

    if ((*mailbox)->terminated) {
        return NGX_HTTP_ACADEMY_TERMINATED;
    }

    (*mailbox)->used = ngx_http_academy_zone_seconds();

    return NGX_HTTP_ACADEMY_OK;
}


static ngx_http_academy_result_e
ngx_http_academy_zone_open_owned(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, ngx_http_academy_mailbox_t **mailbox)
{
    *mailbox = ngx_http_academy_zone_find(zone, &call->id);

    if (*mailbox == NULL) {
        return NGX_HTTP_ACADEMY_MISSING;
    }

    if (!ngx_http_academy_zone_owned(*mailbox, call->caller)) {
        return NGX_HTTP_ACADEMY_FORBIDDEN;
    }

    if ((*mailbox)->terminated) {
        return NGX_HTTP_ACADEMY_TERMINATED;
    }

    (*mailbox)->used = ngx_http_academy_zone_seconds();

    return NGX_HTTP_ACADEMY_OK;
}


ngx_int_t
ngx_http_academy_zone_create(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_t    *zone;
    ngx_http_academy_result_e   result;

    zone = ngx_http_academy_zone_of(call->exchange);

    /* for the mailbox, a client, classes, their places, the list of these */

    ngx_http_academy_zone_touch(zone, 5 + call->in.classes.n / 8);
    ngx_http_academy_zone_lock(zone);

    for ( ;; ) {
        result = ngx_http_academy_zone_create_locked(zone, call);

        if (result != NGX_HTTP_ACADEMY_FULL
            || !ngx_http_academy_zone_littered(zone->sh))
        {
            break;
        }

        ngx_http_academy_zone_reclaim(zone);
    }

    ngx_http_academy_zone_unlock(zone);

    return ngx_http_academy_zone_done(call, result);
}


static ngx_http_academy_result_e
ngx_http_academy_zone_create_locked(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call)
{
    ngx_http_academy_client_t   *owner, **link;
    ngx_http_academy_result_e    result;
    ngx_http_academy_mailbox_t  *mailbox, **bucket;

    result = ngx_http_academy_zone_open(zone, call, &mailbox);

    if (result != NGX_HTTP_ACADEMY_MISSING) {

        /* what is terminated stays so, and to create it again is no error */

        return result == NGX_HTTP_ACADEMY_FORBIDDEN ? result
                                                    : NGX_HTTP_ACADEMY_OK;
    }

    link = ngx_http_academy_zone_client(zone, &call->caller->id);
    owner = *link;

    if ((owner ? owner->mailboxes : 0) >= call->limits->mailboxes) {
        return NGX_HTTP_ACADEMY_MANY_MAILBOXES;
    }

    if (!ngx_http_academy_zone_spare(zone, NGX_HTTP_ACADEMY_CREATE_SPARE)) {
        return NGX_HTTP_ACADEMY_FULL;
    }

    if (owner == NULL) {
        owner = ngx_http_academy_zone_client_add(zone, link,
                                                 &call->caller->id);
        if (owner == NULL) {
            return NGX_HTTP_ACADEMY_FULL;
        }
    }

    mailbox = ngx_http_academy_zone_mailbox_alloc(zone, call, owner);

    if (mailbox == NULL) {
        ngx_http_academy_zone_client_trim(zone, owner);
        return NGX_HTTP_ACADEMY_FULL;
    }

    bucket = ngx_http_academy_zone_bucket(zone, &call->id);
    mailbox->next = *bucket;

    ngx_http_academy_zone_order();
    ngx_http_academy_fault(zone, "create");

    *bucket = mailbox;

    ngx_http_academy_fault(zone, "create linked");

    owner->mailboxes++;

    ngx_http_academy_count(call->exchange, NGX_HTTP_ACADEMY_N_CREATED);

    return NGX_HTTP_ACADEMY_OK;
}


static ngx_http_academy_mailbox_t *
ngx_http_academy_zone_mailbox_alloc(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, ngx_http_academy_client_t *owner)
{
    ngx_http_academy_mailbox_t  *mailbox;

    if (!ngx_http_academy_zone_spare(zone, NGX_HTTP_ACADEMY_CREATE_SPARE)) {
        return NULL;
    }

    mailbox = ngx_slab_calloc_locked(zone->shpool,
                                     sizeof(ngx_http_academy_mailbox_t));
    if (mailbox == NULL) {
        return NULL;
    }

    mailbox->id = call->id;
    mailbox->owner = owner;
    mailbox->used = ngx_http_academy_zone_seconds();
    ngx_queue_init(&mailbox->pending);

    if (call->id.role == NGX_HTTP_ACADEMY_AGENT
        && ngx_http_academy_zone_join(zone, mailbox, call->in.classes.names,
                                      call->in.classes.n)
           != NGX_OK)
    {
        ngx_slab_free_locked(zone->shpool, mailbox);
        return NULL;
    }

    ngx_http_academy_zone_mailbox_name(zone, mailbox,
                                       &call->in.classes.entity);

    return mailbox;
}


/* a mailbox does as well without */

static void
ngx_http_academy_zone_mailbox_name(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_str_t *json)
{
    ngx_http_academy_name_t  *name;

    if (json->len == 0 || json->data[0] != '"'
        || json->len > NGX_HTTP_ACADEMY_NAME_LEN)
    {
        return;
    }

    name = ngx_slab_alloc_locked(zone->shpool,
                                 offsetof(ngx_http_academy_name_t, json)
                                 + json->len);
    if (name) {
        name->len = (uint16_t) json->len;
        ngx_memcpy(name->json, json->data, json->len);
        mailbox->name = name;
    }
}


ngx_int_t
ngx_http_academy_zone_terminate(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_result_e    result;
    ngx_http_academy_mailbox_t  *mailbox;

    zone = ngx_http_academy_zone_of(call->exchange);

    ngx_http_academy_zone_lock(zone);

    result = ngx_http_academy_zone_open(zone, call, &mailbox);

    if (result == NGX_HTTP_ACADEMY_OK) {
        /* a terminated one that is in no queue would never be wound up */

        mailbox->closing = 1;
        ngx_queue_insert_tail(&zone->sh->closing, &mailbox->close);

        ngx_http_academy_zone_order();
        ngx_http_academy_fault(zone, "terminate closing");

        mailbox->terminated = 1;

        ngx_http_academy_fault(zone, "terminate");

        ngx_http_academy_count(call->exchange, NGX_HTTP_ACADEMY_N_TERMINATED);

        ngx_http_academy_zone_leave(zone, mailbox);

        ngx_http_academy_fault(zone, "terminate left");

        ngx_http_academy_zone_wake_all(zone, mailbox);

        /* mostly nothing is in it; else that is a posted event's work */

        if (mailbox->head || !ngx_queue_empty(&mailbox->pending)
            || ngx_http_academy_zone_collect(zone) == NGX_AGAIN)
        {
            ngx_post_event(&zone->worker->collect, &ngx_posted_next_events);
        }

    } else if (result != NGX_HTTP_ACADEMY_FORBIDDEN) {
        result = NGX_HTTP_ACADEMY_OK;
    }

    ngx_http_academy_zone_unlock(zone);

    return ngx_http_academy_zone_done(call, result);
}


ngx_int_t
ngx_http_academy_zone_status(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_result_e    result;
    ngx_http_academy_mailbox_t  *mailbox;

    zone = ngx_http_academy_zone_of(call->exchange);

    ngx_http_academy_zone_lock(zone);
    result = ngx_http_academy_zone_open(zone, call, &mailbox);
    ngx_http_academy_zone_unlock(zone);

    return ngx_http_academy_zone_done(call, result);
}


ngx_int_t
ngx_http_academy_zone_share(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_t    *zone;
    ngx_http_academy_result_e   result;

    zone = ngx_http_academy_zone_of(call->exchange);

    ngx_http_academy_zone_touch(zone, 1);
    ngx_http_academy_zone_lock(zone);
    result = ngx_http_academy_zone_share_locked(zone, call);
    ngx_http_academy_zone_unlock(zone);

    return ngx_http_academy_zone_done(call, result);
}


static ngx_http_academy_result_e
ngx_http_academy_zone_share_locked(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call)
{
    ngx_str_t                   *group;
    ngx_http_academy_share_t    *share, **last;
    ngx_http_academy_result_e    result;
    ngx_http_academy_mailbox_t  *mailbox;

    result = ngx_http_academy_zone_open_owned(zone, call, &mailbox);

    if (result != NGX_HTTP_ACADEMY_OK
        && result != NGX_HTTP_ACADEMY_TERMINATED)
    {
        return result;
    }

    group = &call->in.group;

    if (!ngx_http_academy_caller_in(call->caller, group->data, group->len)) {
        return NGX_HTTP_ACADEMY_FORBIDDEN;
    }

    if (result != NGX_HTTP_ACADEMY_OK) {
        return result;
    }

    last = ngx_http_academy_zone_share_find(mailbox, group);
    if (*last) {
        return NGX_HTTP_ACADEMY_OK;
    }

    if (mailbox->nshares == NGX_HTTP_ACADEMY_MAX_SHARES) {
        return NGX_HTTP_ACADEMY_SHARED;
    }

    if (!ngx_http_academy_zone_spare(zone, NGX_HTTP_ACADEMY_CREATE_SPARE)) {
        return NGX_HTTP_ACADEMY_FULL;
    }

    share = ngx_slab_alloc_locked(zone->shpool,
                                  offsetof(ngx_http_academy_share_t, group)
                                  + group->len);
    if (share == NULL) {
        return NGX_HTTP_ACADEMY_FULL;
    }

    share->next = NULL;
    share->len = (uint16_t) group->len;
    ngx_memcpy(share->group, group->data, group->len);

    ngx_http_academy_zone_order();

    *last = share;

    ngx_http_academy_fault(zone, "share");

    mailbox->nshares++;

    return NGX_HTTP_ACADEMY_OK;
}


/* the link to the share with a group, or the link at the end of the list */

static ngx_http_academy_share_t **
ngx_http_academy_zone_share_find(ngx_http_academy_mailbox_t *mailbox,
    ngx_str_t *group)
{
    ngx_http_academy_share_t  **link;

    for (link = &mailbox->shares; *link; link = &(*link)->next) {
        if ((*link)->len == group->len
            && ngx_memcmp((*link)->group, group->data, group->len) == 0)
        {
            break;
        }
    }

    return link;
}


ngx_int_t
ngx_http_academy_zone_shares(ngx_http_academy_call_t *call)
{
    u_char                     *buf;
    size_t                      size, need;
    ngx_http_academy_zone_t    *zone;
    ngx_http_academy_result_e   result;

    zone = ngx_http_academy_zone_of(call->exchange);

    /* memory is taken outside of the lock: until what there is suffices */

    for (size = 0, buf = NULL; /* void */ ; size = need) {

        if (size) {
            buf = ngx_palloc(call->pool, size);
            if (buf == NULL) {
                return ngx_http_academy_zone_done(call, NGX_HTTP_ACADEMY_FULL);
            }
        }

        ngx_http_academy_zone_lock(zone);
        result = ngx_http_academy_zone_shares_locked(zone, call, buf, size,
                                                     &need);
        ngx_http_academy_zone_unlock(zone);

        if (need <= size) {
            break;
        }
    }

    return ngx_http_academy_zone_done(call, result);
}


static ngx_http_academy_result_e
ngx_http_academy_zone_shares_locked(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, u_char *buf, size_t size, size_t *need)
{
    u_char                      *p;
    ngx_str_t                   *name;
    ngx_uint_t                   n;
    ngx_http_academy_share_t    *share;
    ngx_http_academy_result_e    result;
    ngx_http_academy_mailbox_t  *mailbox;

    *need = 0;
    call->out.groups.n = 0;

    result = ngx_http_academy_zone_open_owned(zone, call, &mailbox);
    if (result != NGX_HTTP_ACADEMY_OK) {
        return result;
    }

    n = 0;

    for (share = mailbox->shares; share; share = share->next) {
        *need += sizeof(ngx_str_t) + share->len;
        n++;
    }

    if (*need > size) {
        return result;
    }

    name = (ngx_str_t *) buf;
    p = buf + n * sizeof(ngx_str_t);

    call->out.groups.names = name;
    call->out.groups.n = n;

    for (share = mailbox->shares; share; share = share->next) {
        name->len = share->len;
        name->data = p;
        p = ngx_cpymem(p, share->group, share->len);
        name++;
    }

    return result;
}


ngx_int_t
ngx_http_academy_zone_unshare(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_share_t   **link, *share;
    ngx_http_academy_result_e    result;
    ngx_http_academy_mailbox_t  *mailbox;

    zone = ngx_http_academy_zone_of(call->exchange);

    ngx_http_academy_zone_lock(zone);

    result = ngx_http_academy_zone_open_owned(zone, call, &mailbox);

    if (result == NGX_HTTP_ACADEMY_OK) {
        link = ngx_http_academy_zone_share_find(mailbox, &call->in.group);
        share = *link;

        if (share) {
            *link = share->next;

            ngx_http_academy_fault(zone, "unshare");

            mailbox->nshares--;
            ngx_slab_free_locked(zone->shpool, share);

            /* who waits by this share alone is to wait no longer */

            ngx_http_academy_zone_wake_all(zone, mailbox);
        }
    }

    ngx_http_academy_zone_unlock(zone);

    return ngx_http_academy_zone_done(call, result);
}


ngx_int_t
ngx_http_academy_zone_heartbeat(ngx_http_academy_call_t *call)
{
    ngx_msec_t                   beat;
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_result_e    result;
    ngx_http_academy_mailbox_t  *mailbox;

    zone = ngx_http_academy_zone_of(call->exchange);
    beat = ngx_current_msec;
    call->out.heartbeat = -1;

    ngx_http_academy_zone_lock(zone);

    result = ngx_http_academy_zone_open(zone, call, &mailbox);

    if (result == NGX_HTTP_ACADEMY_OK && mailbox->beaten) {

        /* a worker's clock may be a little behind that of who set it */

        call->out.heartbeat = (ngx_msec_int_t) (beat - mailbox->heartbeat);
        call->out.heartbeat = ngx_max(call->out.heartbeat, 0);
    }

    ngx_http_academy_zone_unlock(zone);

    return ngx_http_academy_zone_done(call, result);
}


ngx_int_t
ngx_http_academy_zone_beat(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_result_e    result;
    ngx_http_academy_mailbox_t  *mailbox;

    zone = ngx_http_academy_zone_of(call->exchange);

    ngx_http_academy_zone_lock(zone);

    result = ngx_http_academy_zone_open(zone, call, &mailbox);

    if (result == NGX_HTTP_ACADEMY_OK) {
        ngx_http_academy_zone_sign(mailbox, call->agent_timeout);
    }

    ngx_http_academy_zone_unlock(zone);

    return ngx_http_academy_zone_done(call, result);
}


ngx_int_t
ngx_http_academy_zone_stats(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_stats_t    *stats;
    ngx_http_academy_result_e    result;
    ngx_http_academy_mailbox_t  *mailbox;

    zone = ngx_http_academy_zone_of(call->exchange);
    stats = &call->out.stats;
    ngx_memzero(stats, sizeof(ngx_http_academy_stats_t));

    ngx_http_academy_zone_lock(zone);

    result = ngx_http_academy_zone_open(zone, call, &mailbox);

    if (result == NGX_HTTP_ACADEMY_OK) {
        stats->outgoing = mailbox->outgoing;
        stats->completed = mailbox->completed;
        stats->pending = mailbox->npending;
        stats->queued = mailbox->queued;

    } else if (result != NGX_HTTP_ACADEMY_FORBIDDEN) {
        result = NGX_HTTP_ACADEMY_OK;
    }

    ngx_http_academy_zone_unlock(zone);

    return ngx_http_academy_zone_done(call, result);
}
