
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone_walk.h"


/*
 * A page of a table of mailboxes: all of them are looked at, and those that are
 * on it leave a row.
 */


/* of a section: what a share costs; and 1 for so many bytes of a search */

#define NGX_HTTP_ACADEMY_WALK_SHARE     2
#define NGX_HTTP_ACADEMY_WALK_TEXT      8


static ngx_uint_t ngx_http_academy_zone_matches(
    ngx_http_academy_zone_walk_t *walk, ngx_http_academy_mailbox_t *mailbox);
static ngx_uint_t ngx_http_academy_zone_has(ngx_http_academy_zone_walk_t *walk,
    u_char *data, size_t len);
static void ngx_http_academy_zone_list_key(ngx_http_academy_row_key_t *key,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_order_e order);


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


/* room for the rows, and for a search what Knuth, Morris and Pratt need */

ngx_int_t
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


void
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


ngx_uint_t
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


void
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

    row->owned = ngx_http_academy_zone_owned(mailbox, call->caller);

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
