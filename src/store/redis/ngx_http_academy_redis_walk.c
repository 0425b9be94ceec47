
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_redis_walk.h"


/*
 * From one script to the next.  A look at all mailboxes is many of them, with a
 * pause now and then, and none holds Redis for long: what is seen is not of one
 * moment.
 *
 * A script may be under way when who asked for it is gone: then call is NULL,
 * and what belonged to that one is not touched.
 */


/* scripts in a row before others have their turn, for a millisecond */

#define NGX_HTTP_ACADEMY_REDIS_TURN       4


static void ngx_http_academy_redis_walk_event(ngx_event_t *ev);
static void ngx_http_academy_redis_walk_handler(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);


ngx_http_academy_redis_walk_t *
ngx_http_academy_redis_walk(ngx_http_academy_call_t *call)
{
    ngx_http_academy_redis_walk_t  *walk;

    walk = ngx_calloc(sizeof(ngx_http_academy_redis_walk_t), ngx_cycle->log);
    if (walk == NULL) {
        return NULL;
    }

    walk->call = call;
    walk->redis = ngx_http_academy_redis_of(call->exchange);
    walk->begun = ngx_current_msec;

    walk->event.handler = ngx_http_academy_redis_walk_event;
    walk->event.data = walk;
    walk->event.log = ngx_cycle->log;

    ngx_queue_init(&walk->peers);

    /* a worker that exits waits for the end of it: it is not cancelable */

    call->place = walk;
    call->state = NGX_HTTP_ACADEMY_REDIS_WALKS;

    return walk;
}


void
ngx_http_academy_redis_walk_cancel(ngx_http_academy_call_t *call)
{
    ngx_http_academy_redis_walk_t  *walk;

    walk = call->place;
    call->state = NGX_HTTP_ACADEMY_REDIS_IDLE;

    if (walk->call != call) {
        ngx_queue_remove(&call->queue);
        return;
    }

    walk->call = NULL;

    if (!walk->asking && !walk->surveys) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_OK);
    }
}


void
ngx_http_academy_redis_walk_next(ngx_http_academy_redis_walk_t *walk)
{
    if (++walk->steps % NGX_HTTP_ACADEMY_REDIS_TURN == 0) {
        ngx_add_timer(&walk->event, 1);
        return;
    }

    walk->step(walk);
}


static void
ngx_http_academy_redis_walk_event(ngx_event_t *ev)
{
    ngx_http_academy_redis_walk_t *walk = ev->data;

    walk->step(walk);
}


void
ngx_http_academy_redis_walk_ask(ngx_http_academy_redis_walk_t *walk,
    ngx_http_academy_redis_script_e script, ngx_str_t *args, ngx_uint_t n,
    ngx_http_academy_redis_answered_pt answered)
{
    /* nobody is to wait until it is there again */

    if (ngx_http_academy_redis_away(walk->redis)) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_UNAVAILABLE);
        return;
    }

    walk->asking = 1;
    walk->answered = answered;

    if (ngx_http_academy_redis_run(walk->redis, script, args, n,
                                   ngx_http_academy_redis_walk_handler, walk)
        != NGX_OK)
    {
        walk->asking = 0;
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_FULL);
    }
}


static void
ngx_http_academy_redis_walk_handler(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_walk_t *walk = data;

    walk->asking = 0;

    if ((walk->call == NULL && !walk->surveys)
        || answer->result != NGX_HTTP_ACADEMY_OK)
    {
        ngx_http_academy_redis_walk_end(walk, answer->result);
        return;
    }

    walk->answered(walk, answer->reply);
}


void
ngx_http_academy_redis_walk_end(ngx_http_academy_redis_walk_t *walk,
    ngx_http_academy_result_e result)
{
    ngx_queue_t                    *q, peers;
    ngx_http_academy_call_t        *call;
    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_survey_t       found;
    ngx_http_academy_redis_walk_t  *next;

    call = walk->call;
    redis = walk->redis;
    found = walk->found;
    next = NULL;

    if (walk->event.timer_set) {
        ngx_del_timer(&walk->event);
    }

    if (walk->surveys) {
        ngx_http_academy_redis_surveyed_lock(redis)->walking = 0;
        ngx_http_academy_redis_surveyed_unlock(redis);

        redis->surveying = NULL;
    }

    ngx_queue_init(&peers);

    if (!ngx_queue_empty(&walk->peers)) {
        ngx_queue_add(&peers, &walk->peers);
    }

    if (walk->lists) {

        if (ngx_queue_head(&redis->walks) == &walk->queue) {
            q = ngx_queue_next(&walk->queue);

            if (q != ngx_queue_sentinel(&redis->walks)) {
                next = ngx_queue_data(q, ngx_http_academy_redis_walk_t, queue);
            }
        }

        ngx_queue_remove(&walk->queue);
    }

    ngx_free(walk);

    /* from an event of its own */

    if (next) {
        ngx_add_timer(&next->event, 1);
    }

    if (call) {
        (void) ngx_http_academy_redis_call_end(call, result);
    }

    while (!ngx_queue_empty(&peers)) {
        q = ngx_queue_head(&peers);
        ngx_queue_remove(q);

        call = ngx_queue_data(q, ngx_http_academy_call_t, queue);

        if (result == NGX_HTTP_ACADEMY_OK) {
            *call->in.survey = found;
        }

        (void) ngx_http_academy_redis_call_end(call, result);
    }
}


ngx_uint_t
ngx_http_academy_redis_walk_after(ngx_http_academy_redis_walk_t *walk,
    redisReply *reply)
{
    redisReply  *last;

    last = ngx_http_academy_redis_string(reply, 1);

    if (last == NULL || last->len != NGX_HTTP_ACADEMY_UUID_LEN) {
        walk->len = 0;
        return 0;
    }

    ngx_memcpy(walk->after, last->str, NGX_HTTP_ACADEMY_UUID_LEN);
    walk->len = NGX_HTTP_ACADEMY_UUID_LEN;

    return 1;
}
