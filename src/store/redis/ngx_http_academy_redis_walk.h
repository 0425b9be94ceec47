
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_REDIS_WALK_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_REDIS_WALK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_redis_call.h"


/*
 * A walk: scripts for who looks, one after the other.
 *
 *     walk.c      from one script to the next, and the end
 *     survey.c    what there is as a whole
 *     list.c      a page of a table, and its rows
 *     inspect.c   one mailbox
 */


typedef struct ngx_http_academy_redis_walk_s  ngx_http_academy_redis_walk_t;

typedef void (*ngx_http_academy_redis_step_pt)(
    ngx_http_academy_redis_walk_t *walk);
typedef void (*ngx_http_academy_redis_answered_pt)(
    ngx_http_academy_redis_walk_t *walk, redisReply *reply);


struct ngx_http_academy_redis_walk_s {
    ngx_http_academy_call_t          *call;      /* NULL: taken back */
    ngx_http_academy_redis_t         *redis;
    ngx_queue_t                       queue;     /* of listings */
    ngx_queue_t                       peers;     /* calls for the survey, too */
    ngx_event_t                       event;
    ngx_http_academy_redis_step_pt    step;      /* what comes next */
    ngx_http_academy_redis_answered_pt  answered;  /* a script did */
    ngx_uint_t                        steps;

    ngx_uint_t                        list;
    u_char                            after[NGX_HTTP_ACADEMY_UUID_LEN];
    size_t                            len;       /* 0: the first page */

    ngx_msec_t                        begun;
    ngx_http_academy_survey_t         found;

    ngx_uint_t                        got;       /* rows of this list */
    ngx_uint_t                        rows;      /* that are filled in */

    unsigned                          asking:1;  /* a script is under way */
    unsigned                          surveys:1; /* nobody else does */
    unsigned                          lists:1;   /* it is in the queue */
    unsigned                          in_order:1;
};


/* walk.c */

/* for a call, which waits; NULL: no memory.  Then a timer calls walk->step */
ngx_http_academy_redis_walk_t *ngx_http_academy_redis_walk(
    ngx_http_academy_call_t *call);

/* walk->step, now or after a pause */
void ngx_http_academy_redis_walk_next(ngx_http_academy_redis_walk_t *walk);

/* runs a script, unless Redis is away or the walk is over without it */
void ngx_http_academy_redis_walk_ask(ngx_http_academy_redis_walk_t *walk,
    ngx_http_academy_redis_script_e script, ngx_str_t *args, ngx_uint_t n,
    ngx_http_academy_redis_answered_pt answered);

/* who waits is answered, and the walk is gone */
void ngx_http_academy_redis_walk_end(ngx_http_academy_redis_walk_t *walk,
    ngx_http_academy_result_e result);

/* where a page ends: 0 behind the last one */
ngx_uint_t ngx_http_academy_redis_walk_after(
    ngx_http_academy_redis_walk_t *walk, redisReply *reply);


/* list.c: of a mailbox, see scripts/common_row.lua */

void ngx_http_academy_redis_row(ngx_http_academy_listed_t *row,
    redisReply *reply, ngx_http_academy_call_t *call);


#endif /* _NGX_HTTP_ACADEMY_REDIS_WALK_H_INCLUDED_ */
