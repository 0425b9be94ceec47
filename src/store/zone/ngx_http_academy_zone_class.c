
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * The index of classes, for discovery.  A class keeps the places of its
 * agents in rows that stay where they are as long as it has members: so that
 * a walk through a class of many can let go of the lock between two steps and
 * go on where it was.  It meets every agent once that is there all the time.
 */


#define NGX_HTTP_ACADEMY_MIN_ROW    64       /* bytes */
#define NGX_HTTP_ACADEMY_MAX_ROW    2048

/* places looked at within one section of a walk */

#define NGX_HTTP_ACADEMY_WALK       32


typedef struct {
    uint64_t                       serial;   /* of the class; 0: not begun */
    ngx_http_academy_row_t        *row;
    ngx_uint_t                     n;
} ngx_http_academy_walk_t;


static ngx_http_academy_class_t **ngx_http_academy_zone_class(
    ngx_http_academy_zone_t *zone, ngx_str_t *name);
static ngx_int_t ngx_http_academy_zone_join_class(
    ngx_http_academy_zone_t *zone, ngx_http_academy_mailbox_t *mailbox,
    ngx_str_t *name);
static ngx_http_academy_place_t *ngx_http_academy_zone_place(
    ngx_http_academy_zone_t *zone, ngx_http_academy_class_t *class);
static void ngx_http_academy_zone_class_free(ngx_http_academy_zone_t *zone,
    ngx_http_academy_class_t *class);
static u_char *ngx_http_academy_zone_walk(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, ngx_http_academy_walk_t *walk, u_char *p);


ngx_int_t
ngx_http_academy_zone_join(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_str_t *names, ngx_uint_t n)
{
    ngx_uint_t  i;

    if (n == 0) {
        return NGX_OK;
    }

    if (!ngx_http_academy_zone_spare(zone, 1)) {
        return NGX_ERROR;
    }

    mailbox->room = (uint16_t) n;
    mailbox->members = ngx_slab_alloc_locked(zone->shpool,
                                      n * sizeof(ngx_http_academy_member_t));
    if (mailbox->members == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        if (ngx_http_academy_zone_join_class(zone, mailbox, &names[i])
            != NGX_OK)
        {
            ngx_http_academy_zone_leave(zone, mailbox);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_zone_join_class(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_str_t *name)
{
    ngx_uint_t                   i;
    ngx_http_academy_class_t    *class, **link;
    ngx_http_academy_place_t    *place;
    ngx_http_academy_member_t   *member;

    link = ngx_http_academy_zone_class(zone, name);
    class = *link;

    if (class == NULL) {

        if (!ngx_http_academy_zone_spare(zone, 1)) {
            return NGX_ERROR;
        }

        class = ngx_slab_calloc_locked(zone->shpool,
                                       offsetof(ngx_http_academy_class_t, name)
                                       + name->len);
        if (class == NULL) {
            return NGX_ERROR;
        }

        class->serial = ++zone->sh->serial;
        class->len = (uint16_t) name->len;
        ngx_memcpy(class->name, name->data, name->len);

        ngx_http_academy_zone_order();

        *link = class;
    }

    for (i = 0; i < mailbox->nmembers; i++) {
        if (mailbox->members[i].class == class) {
            return NGX_OK;
        }
    }

    place = ngx_http_academy_zone_place(zone, class);

    if (place == NULL) {
        if (class->members == 0) {
            ngx_http_academy_zone_class_free(zone, class);
        }

        return NGX_ERROR;
    }

    *place = (ngx_http_academy_place_t) mailbox;

    ngx_http_academy_fault(zone, "join");

    class->members++;

    member = &mailbox->members[mailbox->nmembers++];
    member->class = class;
    member->place = place;

    return NGX_OK;
}


void
ngx_http_academy_zone_leave(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox)
{
    ngx_http_academy_class_t   *class;
    ngx_http_academy_place_t   *place;
    ngx_http_academy_member_t  *member;

    while (mailbox->nmembers) {
        member = &mailbox->members[--mailbox->nmembers];
        class = member->class;
        place = member->place;

        ngx_http_academy_zone_order();

        *place = class->free | 1;

        ngx_http_academy_fault(zone, "leave");

        class->free = (ngx_http_academy_place_t) place;

        if (--class->members == 0) {
            ngx_http_academy_zone_class_free(zone, class);
        }
    }

    if (mailbox->members) {
        ngx_slab_free_locked(zone->shpool, mailbox->members);
        mailbox->members = NULL;
    }
}


/* the link to a class, or the link at the end of its bucket */

static ngx_http_academy_class_t **
ngx_http_academy_zone_class(ngx_http_academy_zone_t *zone, ngx_str_t *name)
{
    uint64_t                    hash;
    ngx_http_academy_class_t  **link;

    hash = ngx_http_academy_zone_hash(zone, name->data, name->len, 0);

    link = &zone->sh->classes[hash & zone->sh->class_mask];

    while (*link
           && ((*link)->len != name->len
               || ngx_memcmp((*link)->name, name->data, name->len) != 0))
    {
        link = &(*link)->next;
    }

    return link;
}


static ngx_http_academy_place_t *
ngx_http_academy_zone_place(ngx_http_academy_zone_t *zone,
    ngx_http_academy_class_t *class)
{
    size_t                     size;
    ngx_http_academy_row_t    *row;
    ngx_http_academy_place_t  *place;

    if (class->free) {
        place = (ngx_http_academy_place_t *) class->free;
        class->free = *place & ~(ngx_http_academy_place_t) 1;
        return place;
    }

    row = class->last;

    if (row == NULL || class->used == row->n) {

        size = offsetof(ngx_http_academy_row_t, places);

        if (row) {
            size += row->n * sizeof(ngx_http_academy_place_t);
            size = ngx_min(size * 2, NGX_HTTP_ACADEMY_MAX_ROW);

        } else {
            size = NGX_HTTP_ACADEMY_MIN_ROW;
        }

        if (!ngx_http_academy_zone_spare(zone, 1)) {
            return NULL;
        }

        row = ngx_slab_calloc_locked(zone->shpool, size);
        if (row == NULL) {
            return NULL;
        }

        row->n = (size - offsetof(ngx_http_academy_row_t, places))
                 / sizeof(ngx_http_academy_place_t);

        ngx_http_academy_zone_order();

        if (class->last) {
            class->last->next = row;

        } else {
            class->rows = row;
        }

        class->last = row;
        class->used = 0;
    }

    return &row->places[class->used++];
}


/* its rows may be many: they are freed in steps */

static void
ngx_http_academy_zone_class_free(ngx_http_academy_zone_t *zone,
    ngx_http_academy_class_t *class)
{
    ngx_str_t                   name;
    ngx_http_academy_class_t  **link;

    name.len = class->len;
    name.data = class->name;

    link = ngx_http_academy_zone_class(zone, &name);
    *link = class->next;

    ngx_http_academy_zone_order();
    ngx_http_academy_fault(zone, "class unlinked");

    if (class->rows != class->last) {
        class->last->next = zone->sh->rows;

        ngx_http_academy_zone_order();
        ngx_http_academy_fault(zone, "class free later");

        zone->sh->rows = class->rows;

        ngx_post_event(&zone->worker->collect, &ngx_posted_next_events);

    } else if (class->rows) {
        ngx_slab_free_locked(zone->shpool, class->rows);
    }

    ngx_slab_free_locked(zone->shpool, class);
}


ngx_int_t
ngx_http_academy_zone_discover(ngx_http_academy_call_t *call)
{
    u_char                   *p, *buf, *end, *old;
    size_t                    size;
    ngx_http_academy_zone_t  *zone;
    ngx_http_academy_walk_t   walk;

    zone = ngx_http_academy_zone_of(call->exchange);
    ngx_memzero(&walk, sizeof(ngx_http_academy_walk_t));

    /* room for what one step can find, before each step */

    size = 2 * NGX_HTTP_ACADEMY_WALK * NGX_HTTP_ACADEMY_UID_LEN;

    buf = ngx_pnalloc(call->pool, size);
    if (buf == NULL) {
        return ngx_http_academy_zone_done(call, NGX_HTTP_ACADEMY_FULL);
    }

    p = buf;
    end = buf + size;

    do {
        if (end - p < NGX_HTTP_ACADEMY_WALK * NGX_HTTP_ACADEMY_UID_LEN) {
            size = 2 * (end - buf);
            old = buf;

            buf = ngx_pnalloc(call->pool, size);
            if (buf == NULL) {
                return ngx_http_academy_zone_done(call,
                                                  NGX_HTTP_ACADEMY_FULL);
            }

            p = ngx_cpymem(buf, old, p - old);
            end = buf + size;

            (void) ngx_pfree(call->pool, old);
        }

        ngx_http_academy_zone_lock(zone);
        p = ngx_http_academy_zone_walk(zone, call, &walk, p);
        ngx_http_academy_zone_unlock(zone);

    } while (walk.row);

    call->out.agents.uids = buf;
    call->out.agents.n = (p - buf) / NGX_HTTP_ACADEMY_UID_LEN;

    return ngx_http_academy_zone_done(call, NGX_HTTP_ACADEMY_OK);
}


/* one step; walk->row is NULL at the end */

static u_char *
ngx_http_academy_zone_walk(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, ngx_http_academy_walk_t *walk, u_char *p)
{
    ngx_uint_t                   n;
    ngx_http_academy_class_t    *class;
    ngx_http_academy_place_t     place;
    ngx_http_academy_mailbox_t  *mailbox;

    class = *ngx_http_academy_zone_class(zone, &call->in.class);

    if (class == NULL || (walk->serial && walk->serial != class->serial)) {

        /* all that were members at the beginning are gone */

        walk->row = NULL;
        return p;
    }

    if (walk->serial == 0) {
        walk->serial = class->serial;
        walk->row = class->rows;
        walk->n = 0;
    }

    for (n = 0; n < NGX_HTTP_ACADEMY_WALK; n++, walk->n++) {

        if (walk->n == walk->row->n) {
            walk->row = walk->row->next;
            walk->n = 0;

            if (walk->row == NULL) {
                break;
            }
        }

        place = walk->row->places[walk->n];

        if (place == 0) {
            walk->row = NULL;
            break;
        }

        if (place & 1) {
            continue;
        }

        mailbox = (ngx_http_academy_mailbox_t *) place;

        if (!call->subclasses && mailbox->members[0].class != class) {
            continue;
        }

        /* a share takes about as long as a place */

        n += mailbox->nshares;

        if (ngx_http_academy_zone_permitted(mailbox, call->caller)) {
            p = ngx_cpymem(p, mailbox->id.uid, NGX_HTTP_ACADEMY_UID_LEN);
        }
    }

    return p;
}
