
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * A look at the zone from outside: all mailboxes, or one.
 *
 * Nothing is kept up to date for who looks, so that who does not look does not
 * pay for it.  To look at everything is long work, done in sections of a
 * bounded length with other events in between: what is seen is not of one
 * moment.  What was found as a whole is in the zone for a second, for whoever
 * asks in any process; and who asks while this process looks gets what that
 * finds, or each of many that ask at once would look for itself.
 *
 * However many look, a process is at one of these walks at a time: what it
 * does in a row for all of them is bounded, and only one has room for rows.
 * What serves many, a survey, comes first.
 */


/*
 * What a section may cost: the look at a bucket is 1, at a page 1, at a share
 * 2, at so many bytes of a text that is searched 1.
 */

#define NGX_HTTP_ACADEMY_WALK_COST      256
#define NGX_HTTP_ACADEMY_WALK_MAILBOX   24
#define NGX_HTTP_ACADEMY_WALK_SHARE     2
#define NGX_HTTP_ACADEMY_WALK_TEXT      8

/* sections in a row before others have their turn */

#define NGX_HTTP_ACADEMY_WALK_TURN      128

/* a turn comes at once; see ngx_http_academy_zone_walk_handler() */

#define NGX_HTTP_ACADEMY_WALK_HOLD      1000

/* a survey is as good as new; milliseconds */

#define NGX_HTTP_ACADEMY_SURVEY_AGE     1000

/* messages whose headers are copied in a section */

#define NGX_HTTP_ACADEMY_WALK_MESSAGES  16


/* of a page's descriptor; see ngx_http_academy_zone_slab.c */

#define NGX_HTTP_ACADEMY_PAGE_MASK      3
#define NGX_HTTP_ACADEMY_PAGE_START     ((uintptr_t) 1                        \
                                         << (8 * sizeof(uintptr_t) - 1))
#define NGX_HTTP_ACADEMY_PAGE_BUSY      ((uintptr_t) -1)


struct ngx_http_academy_zone_walk_s {
    ngx_queue_t                    queue;     /* of this process's walks */
    ngx_queue_t                    calls;     /* a listing's is one */
    ngx_http_academy_zone_t       *zone;
    ngx_uint_t                     bucket;
    ngx_uint_t                     page;
    ngx_http_academy_call_t       *call;      /* of a listing */
    ngx_http_academy_listing_t    *listing;   /* NULL: a survey */
    ngx_http_academy_survey_t      found;
    ngx_uint_t                     over;

    /* of a listing: where a search goes on behind so many right bytes */
    uint16_t                       again[NGX_HTTP_ACADEMY_MAX_CLASS_LEN];
};


static ngx_http_academy_zone_walk_t *ngx_http_academy_zone_walk(
    ngx_http_academy_call_t *call, ngx_http_academy_listing_t *listing);
static void ngx_http_academy_zone_walk_queue(
    ngx_http_academy_zone_walk_t *walk);
static void ngx_http_academy_zone_walk_join(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_call_t *call);
static void ngx_http_academy_zone_walk_free(
    ngx_http_academy_zone_walk_t *walk);
static void ngx_http_academy_zone_walk_handler(ngx_event_t *ev);
static void ngx_http_academy_zone_walk_hold(ngx_event_t *ev);
static ngx_int_t ngx_http_academy_zone_list_begin(
    ngx_http_academy_zone_walk_t *walk);
static ngx_int_t ngx_http_academy_zone_walk_section(
    ngx_http_academy_zone_walk_t *walk);
static ngx_int_t ngx_http_academy_zone_walk_pages(
    ngx_http_academy_zone_walk_t *walk);
static void ngx_http_academy_zone_walk_found(
    ngx_http_academy_zone_walk_t *walk);
static void ngx_http_academy_zone_walk_end(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_result_e result);
static void ngx_http_academy_zone_survey_mailbox(
    ngx_http_academy_zone_walk_t *walk, ngx_http_academy_mailbox_t *mailbox);
static ngx_uint_t ngx_http_academy_zone_waiters(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);
static void ngx_http_academy_zone_list_mailbox(
    ngx_http_academy_zone_walk_t *walk, ngx_http_academy_mailbox_t *mailbox);
static ngx_uint_t ngx_http_academy_zone_list_cost(
    ngx_http_academy_zone_walk_t *walk, ngx_http_academy_mailbox_t *mailbox);
static ngx_uint_t ngx_http_academy_zone_matches(
    ngx_http_academy_zone_walk_t *walk, ngx_http_academy_mailbox_t *mailbox);
static ngx_uint_t ngx_http_academy_zone_has(
    ngx_http_academy_zone_walk_t *walk, u_char *data, size_t len);
static void ngx_http_academy_zone_list_key(ngx_http_academy_row_key_t *key,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_order_e order);
static void ngx_http_academy_zone_row(ngx_http_academy_zone_t *zone,
    ngx_http_academy_listed_t *row, ngx_http_academy_mailbox_t *mailbox,
    ngx_http_academy_call_t *call);
static ngx_http_academy_result_e ngx_http_academy_zone_inspect_locked(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call,
    uint64_t *seq);
static void ngx_http_academy_zone_inspect_message(
    ngx_http_academy_inspected_t *seen, ngx_http_academy_message_t *message);
static ngx_msec_int_t ngx_http_academy_zone_since(ngx_msec_t time);


/* this process's; the first one is under way */

static ngx_queue_t       ngx_http_academy_walks = {
    &ngx_http_academy_walks, &ngx_http_academy_walks
};

/* posted: the next sections; and what a worker that exits waits for */

static ngx_event_t       ngx_http_academy_walk_event;
static ngx_event_t       ngx_http_academy_walk_holds;

/* nginx takes the data of a timer's event for a connection, to log it */

static ngx_connection_t  ngx_http_academy_walk_connection;


char *
ngx_http_academy_zone_ailing(ngx_http_academy_exchange_t *exchange)
{
    ngx_http_academy_zone_t  *zone;

    zone = ngx_http_academy_zone_of(exchange);

    /* a message takes two pages at the most, if it is a small one */

    return ngx_http_academy_zone_spare(zone, 2)
           ? NULL : "the zone is full but for its reserve";
}


ngx_int_t
ngx_http_academy_zone_survey(ngx_http_academy_call_t *call)
{
    ngx_uint_t                   fresh;
    ngx_http_academy_zone_t     *zone;
    ngx_http_academy_zone_sh_t  *sh;

    zone = ngx_http_academy_zone_of(call->exchange);
    sh = zone->sh;

    ngx_http_academy_zone_lock(zone);

    fresh = sh->surveyed.valid
            && ngx_http_academy_zone_since(sh->surveyed.time)
               < NGX_HTTP_ACADEMY_SURVEY_AGE;

    if (fresh) {
        *call->in.survey = sh->surveyed.found;
        call->in.survey->free = zone->shpool->pfree * ngx_pagesize;
    }

    ngx_http_academy_zone_unlock(zone);

    if (fresh) {
        return ngx_http_academy_zone_done(call, NGX_HTTP_ACADEMY_OK);
    }

    if (zone->walk == NULL) {
        zone->walk = ngx_http_academy_zone_walk(call, NULL);
        if (zone->walk == NULL) {
            return ngx_http_academy_zone_done(call, NGX_HTTP_ACADEMY_FULL);
        }
    }

    ngx_http_academy_zone_walk_join(zone->walk, call);

    return NGX_AGAIN;
}


ngx_int_t
ngx_http_academy_zone_list(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_walk_t  *walk;

    call->in.listing->n = 0;
    call->in.listing->total = 0;
    call->in.listing->rows = NULL;

    walk = ngx_http_academy_zone_walk(call, call->in.listing);
    if (walk == NULL) {
        return ngx_http_academy_zone_done(call, NGX_HTTP_ACADEMY_FULL);
    }

    ngx_http_academy_zone_walk_join(walk, call);

    return NGX_AGAIN;
}


static ngx_http_academy_zone_walk_t *
ngx_http_academy_zone_walk(ngx_http_academy_call_t *call,
    ngx_http_academy_listing_t *listing)
{
    size_t                         size;
    ngx_http_academy_zone_walk_t  *walk;

    size = listing ? sizeof(ngx_http_academy_zone_walk_t)
                   : offsetof(ngx_http_academy_zone_walk_t, again);

    walk = ngx_calloc(size, call->log);
    if (walk == NULL) {
        return NULL;
    }

    ngx_queue_init(&walk->calls);

    walk->zone = ngx_http_academy_zone_of(call->exchange);
    walk->call = call;
    walk->listing = listing;

    ngx_http_academy_zone_walk_queue(walk);

    return walk;
}


static void
ngx_http_academy_zone_walk_queue(ngx_http_academy_zone_walk_t *walk)
{
    ngx_event_t  *ev;

    if (ngx_queue_empty(&ngx_http_academy_walks)) {
        ev = &ngx_http_academy_walk_event;
        ev->handler = ngx_http_academy_zone_walk_handler;
        ev->log = ngx_cycle->log;

        ngx_post_event(ev, &ngx_posted_events);
    }

    if (walk->listing) {
        ngx_queue_insert_tail(&ngx_http_academy_walks, &walk->queue);

    } else {
        ngx_queue_insert_head(&ngx_http_academy_walks, &walk->queue);
    }
}


static void
ngx_http_academy_zone_walk_join(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_call_t *call)
{
    call->state = NGX_HTTP_ACADEMY_WALKS;
    call->place = walk;

    ngx_queue_insert_tail(&walk->calls, &call->queue);
}


void
ngx_http_academy_zone_walk_cancel(ngx_http_academy_call_t *call)
{
    ngx_http_academy_zone_walk_t  *walk;

    walk = call->place;

    ngx_queue_remove(&call->queue);
    call->state = 0;

    if (ngx_queue_empty(&walk->calls) && !walk->over) {
        ngx_http_academy_zone_walk_free(walk);
    }
}


static void
ngx_http_academy_zone_walk_free(ngx_http_academy_zone_walk_t *walk)
{
    if (walk->zone->walk == walk) {
        walk->zone->walk = NULL;
    }

    ngx_queue_remove(&walk->queue);

    if (ngx_queue_empty(&ngx_http_academy_walks)
        && ngx_http_academy_walk_holds.timer_set)
    {
        ngx_del_timer(&ngx_http_academy_walk_holds);
    }

    ngx_free(walk);
}


static void
ngx_http_academy_zone_walk_handler(ngx_event_t *ev)
{
    ngx_int_t                      rc;
    ngx_uint_t                     turn;
    ngx_queue_t                   *q;
    ngx_http_academy_zone_walk_t  *walk;

    for (turn = 0; !ngx_queue_empty(&ngx_http_academy_walks); turn++) {

        if (turn == NGX_HTTP_ACADEMY_WALK_TURN) {
            ngx_http_academy_zone_walk_hold(&ngx_http_academy_walk_holds);

            ngx_post_event(ev, &ngx_posted_next_events);
            return;
        }

        q = ngx_queue_head(&ngx_http_academy_walks);
        walk = ngx_queue_data(q, ngx_http_academy_zone_walk_t, queue);

        if (walk->listing && walk->listing->rows == NULL
            && ngx_http_academy_zone_list_begin(walk) != NGX_OK)
        {
            ngx_http_academy_zone_walk_end(walk, NGX_HTTP_ACADEMY_FULL);
            continue;
        }

        ngx_http_academy_zone_lock(walk->zone);
        rc = ngx_http_academy_zone_walk_section(walk);
        ngx_http_academy_zone_unlock(walk->zone);

        if (rc == NGX_AGAIN) {
            continue;
        }

        if (walk->listing == NULL) {
            ngx_http_academy_zone_walk_found(walk);
        }

        ngx_http_academy_zone_walk_end(walk, NGX_HTTP_ACADEMY_OK);
    }
}


/* a worker that exits waits for timers, not for what is posted */

static void
ngx_http_academy_zone_walk_hold(ngx_event_t *ev)
{
    if (ev->timer_set) {
        return;
    }

    ngx_http_academy_walk_connection.fd = (ngx_socket_t) -1;

    ev->handler = ngx_http_academy_zone_walk_hold;
    ev->data = &ngx_http_academy_walk_connection;
    ev->log = ngx_cycle->log;

    ngx_add_timer(ev, NGX_HTTP_ACADEMY_WALK_HOLD);
}


/* room for the rows, and for a search what Knuth, Morris and Pratt need */

static ngx_int_t
ngx_http_academy_zone_list_begin(ngx_http_academy_zone_walk_t *walk)
{
    ngx_str_t                   *search;
    ngx_uint_t                   i, n;
    ngx_http_academy_listing_t  *listing;

    listing = walk->listing;
    search = &listing->search;

    if (ngx_http_academy_listing_rows(listing, walk->call->pool) != NGX_OK) {
        return NGX_ERROR;
    }

    if (search->len > NGX_HTTP_ACADEMY_MAX_CLASS_LEN) {
        return NGX_OK;
    }

    for (i = 1, n = 0; i < search->len; i++) {

        while (n && search->data[i] != search->data[n]) {
            n = walk->again[n - 1];
        }

        n += (search->data[i] == search->data[n]);

        walk->again[i] = (uint16_t) n;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_zone_walk_section(ngx_http_academy_zone_walk_t *walk)
{
    ngx_int_t                    cost;
    ngx_http_academy_mailbox_t  *mailbox;
    ngx_http_academy_zone_sh_t  *sh;

    sh = walk->zone->sh;

    for (cost = NGX_HTTP_ACADEMY_WALK_COST;
         walk->bucket <= sh->mask;
         walk->bucket++, cost--)
    {
        if (cost <= 0) {
            return NGX_AGAIN;
        }

        for (mailbox = sh->mailboxes[walk->bucket];
             mailbox;
             mailbox = mailbox->next)
        {
            if (walk->listing) {
                ngx_http_academy_zone_list_mailbox(walk, mailbox);
                cost -= ngx_http_academy_zone_list_cost(walk, mailbox);

            } else {
                ngx_http_academy_zone_survey_mailbox(walk, mailbox);
            }

            cost -= NGX_HTTP_ACADEMY_WALK_MAILBOX;
        }
    }

    return walk->listing ? NGX_OK : ngx_http_academy_zone_walk_pages(walk);
}


/* descriptors in their order: a list of what is free changes meanwhile */

static ngx_int_t
ngx_http_academy_zone_walk_pages(ngx_http_academy_zone_walk_t *walk)
{
    uintptr_t         slab;
    ngx_uint_t        n, left;
    ngx_slab_page_t  *page;
    ngx_slab_pool_t  *pool;

    pool = walk->zone->shpool;
    n = pool->last - pool->pages;

    for (left = NGX_HTTP_ACADEMY_WALK_COST; walk->page < n; left--) {

        if (left == 0) {
            return NGX_AGAIN;
        }

        page = &pool->pages[walk->page++];
        slab = page->slab;

        if ((page->prev & NGX_HTTP_ACADEMY_PAGE_MASK)
            || slab == NGX_HTTP_ACADEMY_PAGE_BUSY || slab == 0)
        {
            continue;
        }

        if (slab & NGX_HTTP_ACADEMY_PAGE_START) {
            slab &= ~NGX_HTTP_ACADEMY_PAGE_START;

        } else {
            walk->found.largest = ngx_max(walk->found.largest, slab);
        }

        walk->page += slab - 1;
    }

    return NGX_OK;
}


static void
ngx_http_academy_zone_walk_found(ngx_http_academy_zone_walk_t *walk)
{
    ngx_slab_pool_t             *pool;
    ngx_http_academy_zone_sh_t  *sh;
    ngx_http_academy_survey_t   *found;

    sh = walk->zone->sh;
    pool = walk->zone->shpool;
    found = &walk->found;

    found->size = (uint64_t) (pool->last - pool->pages) * ngx_pagesize;
    found->free = pool->pfree * ngx_pagesize;
    found->reserve = sh->reserve * ngx_pagesize;
    found->largest *= ngx_pagesize;

    ngx_http_academy_zone_lock(walk->zone);

    sh->surveyed.valid = 0;

    ngx_http_academy_zone_order();

    sh->surveyed.time = ngx_current_msec;
    sh->surveyed.found = *found;

    ngx_http_academy_zone_order();

    sh->surveyed.valid = 1;

    ngx_http_academy_zone_unlock(walk->zone);
}


/* the end of one call may be the end of others, and the beginning of a walk */

static void
ngx_http_academy_zone_walk_end(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_result_e result)
{
    ngx_queue_t              *q;
    ngx_http_academy_call_t  *call;

    walk->over = 1;

    if (walk->zone->walk == walk) {
        walk->zone->walk = NULL;
    }

    while (!ngx_queue_empty(&walk->calls)) {
        q = ngx_queue_head(&walk->calls);
        ngx_queue_remove(q);

        call = ngx_queue_data(q, ngx_http_academy_call_t, queue);
        call->state = 0;
        call->result = result;

        if (walk->listing == NULL) {
            *call->in.survey = walk->found;
        }

        call->done(call);
    }

    ngx_http_academy_zone_walk_free(walk);
}


static void
ngx_http_academy_zone_survey_mailbox(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_uint_t                  role;
    ngx_http_academy_survey_t  *found;

    found = &walk->found;
    role = (mailbox->id.role == NGX_HTTP_ACADEMY_USER);

    if (mailbox->terminated) {
        found->terminated[role]++;
        return;
    }

    found->active[role]++;
    found->queued += mailbox->queued;
    found->leased += mailbox->held - mailbox->queued;
    found->bytes += mailbox->bytes;
    found->pending += mailbox->npending;
    found->kept += mailbox->nkept;
    found->waiting += (ngx_http_academy_zone_waiters(walk->zone, mailbox)
                       != 0);

    if (mailbox->head == NULL) {
        return;
    }

    if (found->oldest == 0
        || (ngx_msec_int_t) (mailbox->head->accepted - found->oldest) < 0)
    {
        found->oldest = mailbox->head->accepted;
        found->oldest_id = mailbox->id;
    }
}


static ngx_uint_t
ngx_http_academy_zone_waiters(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_uint_t                   n;
    ngx_http_academy_waiting_t  *waiting;

    n = 0;

    for (waiting = &mailbox->waiting; waiting; waiting = waiting->next) {
        if (waiting->used && ngx_http_academy_zone_alive(zone, waiting)) {
            n += waiting->count;
        }
    }

    return n;
}


static void
ngx_http_academy_zone_list_mailbox(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_http_academy_listed_t    *row;
    ngx_http_academy_listing_t   *listing;
    ngx_http_academy_row_key_t    key;

    listing = walk->listing;

    if (!(mailbox->terminated ? listing->terminated : listing->active)
        || !(mailbox->id.role == NGX_HTTP_ACADEMY_USER ? listing->users
                                                       : listing->agents)
        || (!walk->call->admin
            && !ngx_http_academy_zone_permitted(mailbox, walk->call->caller))
        || !ngx_http_academy_zone_matches(walk, mailbox))
    {
        return;
    }

    listing->total++;

    ngx_http_academy_zone_list_key(&key, mailbox, listing->order);

    row = ngx_http_academy_listing_place(listing, &key);

    if (row) {
        ngx_http_academy_zone_row(walk->zone, row, mailbox, walk->call);
    }
}


static ngx_uint_t
ngx_http_academy_zone_list_cost(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_mailbox_t *mailbox)
{
    size_t      len;
    ngx_uint_t  cost;

    cost = 0;

    if (!walk->call->admin && walk->call->caller->ngroups) {
        cost = NGX_HTTP_ACADEMY_WALK_SHARE * mailbox->nshares;
    }

    if (walk->listing->search.len) {
        len = mailbox->name ? mailbox->name->len : 0;
        len += mailbox->nmembers ? mailbox->members[0].class->len : 0;

        cost += len / NGX_HTTP_ACADEMY_WALK_TEXT;
    }

    return cost;
}


/* within the name or the class, or at the beginning of the id */

static ngx_uint_t
ngx_http_academy_zone_matches(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_mailbox_t *mailbox)
{
    u_char                     id[NGX_HTTP_ACADEMY_UUID_LEN];
    ngx_str_t                 *search;
    ngx_http_academy_class_t  *class;

    search = &walk->listing->search;

    if (search->len == 0) {
        return 1;
    }

    if (mailbox->name
        && ngx_http_academy_zone_has(walk, mailbox->name->json,
                                     mailbox->name->len))
    {
        return 1;
    }

    if (mailbox->nmembers) {
        class = mailbox->members[0].class;

        if (ngx_http_academy_zone_has(walk, class->name, class->len)) {
            return 1;
        }
    }

    if (search->len > NGX_HTTP_ACADEMY_UUID_LEN) {
        return 0;
    }

    (void) ngx_http_academy_uuid_print(id, mailbox->id.uid);

    return ngx_memcmp(id, search->data, search->len) == 0;
}


/* looks at each byte once, whatever the names and the search are */

static ngx_uint_t
ngx_http_academy_zone_has(ngx_http_academy_zone_walk_t *walk, u_char *data,
    size_t len)
{
    u_char      ch;
    size_t      i;
    ngx_str_t  *search;
    ngx_uint_t  n;

    search = &walk->listing->search;

    if (len < search->len || search->len > NGX_HTTP_ACADEMY_MAX_CLASS_LEN) {
        return 0;
    }

    for (i = 0, n = 0; i < len; i++) {
        ch = ngx_tolower(data[i]);

        while (n && ch != search->data[n]) {
            n = walk->again[n - 1];
        }

        n += (ch == search->data[n]);

        if (n == search->len) {
            return 1;
        }
    }

    return 0;
}


/* smaller ones come first: what is large, or has waited for long */

static void
ngx_http_academy_zone_list_key(ngx_http_academy_row_key_t *key,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_order_e order)
{
    ngx_http_academy_class_t  *class;

    ngx_memzero(key, sizeof(ngx_http_academy_row_key_t));

    ngx_memcpy(key->id, mailbox->id.uid, 16);
    key->id[16] = mailbox->id.role;

    switch (order) {

    case NGX_HTTP_ACADEMY_BY_NAME:
        key->number = (mailbox->name == NULL);

        if (mailbox->name) {
            ngx_http_academy_row_key_text(key, mailbox->name->json + 1,
                                          mailbox->name->len - 2);
        }

        return;

    case NGX_HTTP_ACADEMY_BY_CLASS:
        key->number = (mailbox->nmembers == 0);

        if (mailbox->nmembers) {
            class = mailbox->members[0].class;
            ngx_http_academy_row_key_text(key, class->name, class->len);
        }

        return;

    case NGX_HTTP_ACADEMY_BY_QUEUED:
        key->number = ~ (uint64_t) mailbox->queued;
        return;

    case NGX_HTTP_ACADEMY_BY_OLDEST:
        key->number = mailbox->head ? (uint64_t) mailbox->head->accepted
                                    : (uint64_t) -1;
        return;

    case NGX_HTTP_ACADEMY_BY_HEARTBEAT:
        key->number = mailbox->beaten ? (uint64_t) mailbox->heartbeat
                                      : (uint64_t) -1;
        return;

    case NGX_HTTP_ACADEMY_BY_PROGRESS:
        key->number = ~ (uint64_t) (mailbox->npending
                                    - ngx_min(mailbox->npending,
                                              mailbox->queued));
        return;

    case NGX_HTTP_ACADEMY_BY_COMPLETED:
        key->number = ~ (uint64_t) mailbox->completed;
        return;

    default: /* NGX_HTTP_ACADEMY_BY_ID */
        return;
    }
}


static void
ngx_http_academy_zone_row(ngx_http_academy_zone_t *zone,
    ngx_http_academy_listed_t *row, ngx_http_academy_mailbox_t *mailbox,
    ngx_http_academy_call_t *call)
{
    ngx_http_academy_class_t   *class;
    ngx_http_academy_client_t  *owner;

    row->id = mailbox->id;
    row->name.len = 0;
    row->class.len = 0;

    if (mailbox->name) {
        ngx_http_academy_row_text(&row->name, mailbox->name->json,
                                  mailbox->name->len);
    }

    if (mailbox->nmembers) {
        class = mailbox->members[0].class;
        ngx_http_academy_row_text(&row->class, class->name, class->len);
    }

    owner = mailbox->owner;
    ngx_http_academy_row_text(&row->owner, owner->id, owner->len);

    row->owned = (owner->len == call->caller->id.len
                  && ngx_memcmp(owner->id, call->caller->id.data, owner->len)
                     == 0);

    row->terminated = mailbox->terminated;
    row->queued = mailbox->queued;
    row->leased = mailbox->held - mailbox->queued;
    row->bytes = mailbox->bytes;
    row->pending = mailbox->npending;
    row->kept = mailbox->nkept;
    row->completed = mailbox->completed;
    row->outgoing = mailbox->outgoing;
    row->waiters = ngx_http_academy_zone_waiters(zone, mailbox);
    row->shares = mailbox->nshares;

    row->heartbeat = mailbox->beaten
                     ? ngx_http_academy_zone_since(mailbox->heartbeat) : -1;
    row->oldest = mailbox->head
                  ? ngx_http_academy_zone_since(mailbox->head->accepted) : -1;
}


ngx_int_t
ngx_http_academy_zone_inspect(ngx_http_academy_call_t *call)
{
    uint64_t                        seq;
    ngx_uint_t                      n;
    ngx_http_academy_zone_t        *zone;
    ngx_http_academy_result_e       result;
    ngx_http_academy_inspection_t  *inspection;

    zone = ngx_http_academy_zone_of(call->exchange);
    inspection = call->in.inspection;
    inspection->n = 0;
    seq = 0;

    do {
        n = inspection->n;

        ngx_http_academy_zone_lock(zone);
        result = ngx_http_academy_zone_inspect_locked(zone, call, &seq);
        ngx_http_academy_zone_unlock(zone);

    } while (result == NGX_HTTP_ACADEMY_OK
             && inspection->n == n + NGX_HTTP_ACADEMY_WALK_MESSAGES);

    return ngx_http_academy_zone_done(call, result);
}


/* of a queue what is behind seq; a few each time, none is seen twice */

static ngx_http_academy_result_e
ngx_http_academy_zone_inspect_locked(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, uint64_t *seq)
{
    ngx_uint_t                      n, steps;
    ngx_http_academy_mailbox_t     *mailbox;
    ngx_http_academy_message_t     *message;
    ngx_http_academy_inspection_t  *inspection;

    inspection = call->in.inspection;
    mailbox = ngx_http_academy_zone_find(zone, &call->id);

    if (mailbox == NULL) {
        return NGX_HTTP_ACADEMY_MISSING;
    }

    if (!call->admin
        && !ngx_http_academy_zone_permitted(mailbox, call->caller))
    {
        return NGX_HTTP_ACADEMY_FORBIDDEN;
    }

    if (*seq == 0) {
        ngx_http_academy_zone_row(zone, &inspection->row, mailbox, call);
    }

    n = 0;
    steps = 0;

    for (message = mailbox->head; message; message = message->next) {

        if (inspection->n == inspection->limit
            || n == NGX_HTTP_ACADEMY_WALK_MESSAGES
            || steps++ == 4 * NGX_HTTP_ACADEMY_MAX_INSPECTED)
        {
            break;
        }

        if (message->seq <= *seq) {
            continue;
        }

        ngx_http_academy_zone_inspect_message(
                            &inspection->messages[inspection->n++], message);
        *seq = message->seq;
        n++;
    }

    return NGX_HTTP_ACADEMY_OK;
}


static void
ngx_http_academy_zone_inspect_message(ngx_http_academy_inspected_t *seen,
    ngx_http_academy_message_t *message)
{
    size_t                     n;
    ngx_str_t                  text;
    ngx_http_academy_chunk_t  *chunk;

    seen->seq = message->seq;
    seen->size = message->size;
    seen->age = ngx_http_academy_zone_since(message->accepted);
    seen->leases = message->leases;
    seen->notice = message->notice;

    if (message->notice) {
        ngx_http_academy_zone_notice(message, &text);
        seen->size = text.len;

    } else {
        text.data = (u_char *) message + sizeof(ngx_http_academy_message_t);
        text.len = message->first;
    }

    seen->len = ngx_min(text.len, NGX_HTTP_ACADEMY_INSPECTED);
    ngx_memcpy(seen->text, text.data, seen->len);

    for (chunk = message->chunks;
         chunk && seen->len < NGX_HTTP_ACADEMY_INSPECTED;
         chunk = chunk->next)
    {
        n = ngx_min(chunk->len, NGX_HTTP_ACADEMY_INSPECTED - seen->len);

        ngx_memcpy(seen->text + seen->len,
                   (u_char *) chunk + sizeof(ngx_http_academy_chunk_t), n);
        seen->len += n;
    }
}


/* a worker's clock may be a little behind that of who set it */

static ngx_msec_int_t
ngx_http_academy_zone_since(ngx_msec_t time)
{
    return ngx_max((ngx_msec_int_t) (ngx_current_msec - time), 0);
}
