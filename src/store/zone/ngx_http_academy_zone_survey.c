
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone_walk.h"


/*
 * A look at the zone as a whole, from outside.  What was found is in the zone
 * for a second, for whoever asks in any process; and who asks while this
 * process looks gets what that finds, or each of many that ask at once would
 * look for itself.
 */


/* a survey is as good as new; milliseconds */

#define NGX_HTTP_ACADEMY_SURVEY_AGE     1000


/* of a page's descriptor; see ngx_http_academy_zone_slab.c */

#define NGX_HTTP_ACADEMY_PAGE_MASK      3
#define NGX_HTTP_ACADEMY_PAGE_START     ((uintptr_t) 1                        \
                                         << (8 * sizeof(uintptr_t) - 1))
#define NGX_HTTP_ACADEMY_PAGE_BUSY      ((uintptr_t) -1)


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


void
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


ngx_uint_t
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


/* descriptors in their order: a list of what is free changes meanwhile */

ngx_int_t
ngx_http_academy_zone_survey_pages(ngx_http_academy_zone_walk_t *walk)
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


void
ngx_http_academy_zone_survey_found(ngx_http_academy_zone_walk_t *walk)
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
