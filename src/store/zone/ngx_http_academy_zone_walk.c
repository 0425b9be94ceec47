
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone_walk.h"


/*
 * Nothing is kept up to date for who looks, so that who does not look does not
 * pay for it.  To look at everything is long work, done in sections of a
 * bounded length with other events in between: what is seen is not of one
 * moment.
 *
 * However many look, a process is at one of these walks at a time: what it
 * does in a row for all of them is bounded, and only one has room for rows.
 * What serves many, a survey, comes first.
 */


/* of a section's cost that of a mailbox */

#define NGX_HTTP_ACADEMY_WALK_MAILBOX   24

/* sections in a row before others have their turn */

#define NGX_HTTP_ACADEMY_WALK_TURN      128

/* a turn comes at once; see ngx_http_academy_zone_walk_handler() */

#define NGX_HTTP_ACADEMY_WALK_HOLD      1000


static void ngx_http_academy_zone_walk_queue(
    ngx_http_academy_zone_walk_t *walk);
static void ngx_http_academy_zone_walk_free(
    ngx_http_academy_zone_walk_t *walk);
static void ngx_http_academy_zone_walk_handler(ngx_event_t *ev);
static void ngx_http_academy_zone_walk_hold(ngx_event_t *ev);
static ngx_int_t ngx_http_academy_zone_walk_section(
    ngx_http_academy_zone_walk_t *walk);
static void ngx_http_academy_zone_walk_end(ngx_http_academy_zone_walk_t *walk,
    ngx_http_academy_result_e result);


/* this process's; the first one is under way */

static ngx_queue_t       ngx_http_academy_walks = {
    &ngx_http_academy_walks, &ngx_http_academy_walks
};

/* posted: the next sections; and what a worker that exits waits for */

static ngx_event_t       ngx_http_academy_walk_event;
static ngx_event_t       ngx_http_academy_walk_holds;

/* nginx takes the data of a timer's event for a connection, to log it */

static ngx_connection_t  ngx_http_academy_walk_connection;


ngx_http_academy_zone_walk_t *
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


void
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
            ngx_http_academy_zone_survey_found(walk);
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

    return walk->listing ? NGX_OK : ngx_http_academy_zone_survey_pages(walk);
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
