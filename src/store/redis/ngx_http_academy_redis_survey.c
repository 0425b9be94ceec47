
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_redis_walk.h"


/*
 * A look at what is in Redis as a whole: all mailboxes, a page of a list after
 * the other.  What was found is in the memory of this nginx for a time that is
 * long against what it took, for whoever asks in any process.
 */


/* mailboxes of a script, which has a bound of its own */

#define NGX_HTTP_ACADEMY_REDIS_SUM        "100"

/* a survey is as good as new; milliseconds, and by what it took */

#define NGX_HTTP_ACADEMY_REDIS_AGE        1000
#define NGX_HTTP_ACADEMY_REDIS_REST       10

/* who began to look at all may have died; milliseconds */

#define NGX_HTTP_ACADEMY_REDIS_LOST       30000


static void ngx_http_academy_redis_survey_begin(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_survey_counted(
    ngx_http_academy_redis_walk_t *walk, redisReply *reply);
static void ngx_http_academy_redis_survey_sum(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_survey_summed(
    ngx_http_academy_redis_walk_t *walk, redisReply *reply);
static void ngx_http_academy_redis_survey_end(
    ngx_http_academy_redis_walk_t *walk);


ngx_int_t
ngx_http_academy_redis_survey(ngx_http_academy_call_t *call)
{
    ngx_msec_t                          age;
    ngx_uint_t                          known, walks;
    ngx_http_academy_redis_t           *redis;
    ngx_http_academy_redis_walk_t      *walk;
    ngx_http_academy_redis_surveyed_t  *surveyed;

    redis = ngx_http_academy_redis_of(call->exchange);

    if (ngx_http_academy_redis_away(redis)) {
        return ngx_http_academy_redis_call_end(call,
                                               NGX_HTTP_ACADEMY_UNAVAILABLE);
    }

    surveyed = ngx_http_academy_redis_surveyed_lock(redis);

    age = ngx_current_msec - surveyed->time;
    known = surveyed->valid
            && age < ngx_max(NGX_HTTP_ACADEMY_REDIS_AGE,
                             NGX_HTTP_ACADEMY_REDIS_REST * surveyed->took);

    /* it is being looked for: what was will do */

    walks = (surveyed->walking
             && ngx_current_msec - surveyed->walking
                < NGX_HTTP_ACADEMY_REDIS_LOST);

    if (known || (surveyed->valid && walks)) {
        known = 1;
        *call->in.survey = surveyed->found;

    } else if (redis->surveying == NULL) {
        surveyed->walking = ngx_max(ngx_current_msec, 1);
    }

    ngx_http_academy_redis_surveyed_unlock(redis);

    if (known) {
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_OK);
    }

    walk = redis->surveying;

    if (walk) {
        ngx_queue_insert_tail(&walk->peers, &call->queue);
        call->place = walk;
        call->state = NGX_HTTP_ACADEMY_REDIS_WALKS;
        return NGX_AGAIN;
    }

    walk = ngx_http_academy_redis_walk(call);
    if (walk == NULL) {
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    redis->surveying = walk;

    ngx_http_academy_survey_unknown(&walk->found);

    walk->found.queued = 0;
    walk->found.pending = 0;

    walk->surveys = 1;
    walk->step = ngx_http_academy_redis_survey_begin;

    ngx_add_timer(&walk->event, 0);

    return NGX_AGAIN;
}


static void
ngx_http_academy_redis_survey_begin(ngx_http_academy_redis_walk_t *walk)
{
    ngx_http_academy_redis_walk_ask(walk, NGX_HTTP_ACADEMY_SCRIPT_SURVEY,
                                    NULL, 0,
                                    ngx_http_academy_redis_survey_counted);
}


static void
ngx_http_academy_redis_survey_counted(ngx_http_academy_redis_walk_t *walk,
    redisReply *reply)
{
    ngx_http_academy_survey_t  *found;

    found = &walk->found;

    found->active[0] = ngx_http_academy_redis_integer(reply, 1);
    found->active[1] = ngx_http_academy_redis_integer(reply, 2);
    found->terminated[0] = ngx_http_academy_redis_integer(reply, 3);
    found->terminated[1] = ngx_http_academy_redis_integer(reply, 4);
    found->leased = ngx_http_academy_redis_integer(reply, 5);

    walk->step = ngx_http_academy_redis_survey_sum;

    ngx_http_academy_redis_survey_sum(walk);
}


static void
ngx_http_academy_redis_survey_sum(ngx_http_academy_redis_walk_t *walk)
{
    u_char     expiry[NGX_TIME_T_LEN];
    ngx_str_t  args[4];

    if (walk->list) {
        ngx_str_set(&args[0], "user");

    } else {
        ngx_str_set(&args[0], "agent");
    }

    args[1].data = walk->after;
    args[1].len = walk->len;
    ngx_str_set(&args[2], NGX_HTTP_ACADEMY_REDIS_SUM);
    args[3].data = expiry;
    args[3].len = ngx_sprintf(expiry, "%T",
                              walk->redis->exchange.expiry->messages)
                  - expiry;

    ngx_http_academy_redis_walk_ask(walk, NGX_HTTP_ACADEMY_SCRIPT_SUM, args, 4,
                                    ngx_http_academy_redis_survey_summed);
}


static void
ngx_http_academy_redis_survey_summed(ngx_http_academy_redis_walk_t *walk,
    redisReply *reply)
{
    int64_t                     age;
    ngx_msec_t                  oldest;
    redisReply                 *uid;
    ngx_http_academy_survey_t  *found;

    found = &walk->found;

    found->queued += ngx_http_academy_redis_integer(reply, 2);
    found->pending += ngx_http_academy_redis_integer(reply, 3);

    uid = ngx_http_academy_redis_string(reply, 4);
    age = ngx_http_academy_redis_integer(reply, 5);

    if (age >= 0 && uid && uid->len == NGX_HTTP_ACADEMY_UUID_LEN) {
        oldest = ngx_max(ngx_current_msec - (ngx_msec_t) age, 1);

        if (found->oldest == 0
            || (ngx_msec_int_t) (oldest - found->oldest) < 0)
        {
            found->oldest = oldest;
            found->oldest_id.role = walk->list ? NGX_HTTP_ACADEMY_USER
                                               : NGX_HTTP_ACADEMY_AGENT;
            (void) ngx_http_academy_uuid_parse((u_char *) uid->str, uid->len,
                                               found->oldest_id.uid);
        }
    }

    if (ngx_http_academy_redis_walk_after(walk, reply)) {
        ngx_http_academy_redis_walk_next(walk);
        return;
    }

    if (walk->list == 0) {
        walk->list = 1;
        ngx_http_academy_redis_walk_next(walk);
        return;
    }

    ngx_http_academy_redis_survey_end(walk);
}


static void
ngx_http_academy_redis_survey_end(ngx_http_academy_redis_walk_t *walk)
{
    ngx_http_academy_redis_surveyed_t  *surveyed;

    surveyed = ngx_http_academy_redis_surveyed_lock(walk->redis);

    surveyed->valid = 0;

    ngx_memory_barrier();

    surveyed->time = ngx_current_msec;
    surveyed->took = ngx_current_msec - walk->begun;
    surveyed->found = walk->found;

    ngx_memory_barrier();

    surveyed->valid = 1;

    ngx_http_academy_redis_surveyed_unlock(walk->redis);

    if (walk->call) {
        *walk->call->in.survey = walk->found;
    }

    ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_OK);
}
