
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_ZONE_WALK_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_ZONE_WALK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * A walk: a look at all mailboxes, in sections.
 *
 *     walk.c      from one section to the next, and the end
 *     survey.c    what there is as a whole
 *     list.c      a page of a table, and its rows
 *     inspect.c   one mailbox, which is no walk
 */


/* what a section may cost: the look at a bucket is 1, at a page 1 */

#define NGX_HTTP_ACADEMY_WALK_COST      256


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


/* walk.c */

/* of a listing, or NULL: of a survey.  NULL: no memory */
ngx_http_academy_zone_walk_t *ngx_http_academy_zone_walk(
    ngx_http_academy_call_t *call, ngx_http_academy_listing_t *listing);

/* a call waits for the end of it, and then has its result */
void ngx_http_academy_zone_walk_join(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_call_t *call);


/* survey.c: within the lock, but for what was found */

void ngx_http_academy_zone_survey_mailbox(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_mailbox_t *mailbox);
ngx_int_t ngx_http_academy_zone_survey_pages(
    ngx_http_academy_zone_walk_t *walk);
void ngx_http_academy_zone_survey_found(ngx_http_academy_zone_walk_t *walk);

/* how many wait for a mailbox now */
ngx_uint_t ngx_http_academy_zone_waiters(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);


/* list.c: before the first section; then within the lock */

ngx_int_t ngx_http_academy_zone_list_begin(ngx_http_academy_zone_walk_t *walk);
void ngx_http_academy_zone_list_mailbox(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_mailbox_t *mailbox);

/* of a mailbox, beside the look at it */
ngx_uint_t ngx_http_academy_zone_list_cost(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_mailbox_t *mailbox);

void ngx_http_academy_zone_row(ngx_http_academy_zone_t *zone,
    ngx_http_academy_listed_t *row, ngx_http_academy_mailbox_t *mailbox,
    ngx_http_academy_call_t *call);


/* a worker's clock may be a little behind that of who set it */

static ngx_inline ngx_msec_int_t
ngx_http_academy_zone_since(ngx_msec_t time)
{
    return ngx_max((ngx_msec_int_t) (ngx_current_msec - time), 0);
}


#endif /* _NGX_HTTP_ACADEMY_ZONE_WALK_H_INCLUDED_ */
