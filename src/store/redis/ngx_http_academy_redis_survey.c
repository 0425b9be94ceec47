
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_redis_call.h"


/*
 * A look at what is in Redis: all mailboxes, or one.
 *
 * Mailboxes are in lists by state and role, in the order of their ids.  To look
 * at all of them is many scripts, one after the other, with a pause now and
 * then, and none holds Redis for long: what is seen is not of one moment.  What
 * was found as a whole is in the memory of this nginx for a time that is long
 * against what it took, for whoever asks in any process.
 *
 * A listing looks at all of a list unless that is in order already.  Listings
 * of a process come one after the other.
 *
 * A page or more may be under way when who asked for it is gone: then call is
 * NULL, and what belonged to that one is not touched.
 */


/* mailboxes of a script, which has a bound of its own */

#define NGX_HTTP_ACADEMY_REDIS_SUM        "100"
#define NGX_HTTP_ACADEMY_REDIS_WALK       "64"
#define NGX_HTTP_ACADEMY_REDIS_ROWS       20
#define NGX_HTTP_ACADEMY_REDIS_SEEN       100     /* messages */

/* scripts in a row before others have their turn, for a millisecond */

#define NGX_HTTP_ACADEMY_REDIS_TURN       4

/* a survey is as good as new; milliseconds, and by what it took */

#define NGX_HTTP_ACADEMY_REDIS_AGE        1000
#define NGX_HTTP_ACADEMY_REDIS_REST       10

/* who began to look at all may have died; milliseconds */

#define NGX_HTTP_ACADEMY_REDIS_LOST       30000

/* lists: active agents, active users, terminated agents, terminated users */

#define NGX_HTTP_ACADEMY_REDIS_LISTS      4


typedef struct ngx_http_academy_redis_walk_s  ngx_http_academy_redis_walk_t;

typedef void (*ngx_http_academy_redis_step_pt)(
    ngx_http_academy_redis_walk_t *walk);


struct ngx_http_academy_redis_walk_s {
    ngx_http_academy_call_t          *call;      /* NULL: taken back */
    ngx_http_academy_redis_t         *redis;
    ngx_queue_t                       queue;     /* of listings */
    ngx_queue_t                       peers;     /* calls for the survey, too */
    ngx_event_t                       event;
    ngx_http_academy_redis_step_pt    step;      /* what comes next */
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


static ngx_http_academy_redis_walk_t *ngx_http_academy_redis_walk(
    ngx_http_academy_call_t *call);
static void ngx_http_academy_redis_walk_next(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_walk_event(ngx_event_t *ev);
static void ngx_http_academy_redis_walk_ask(
    ngx_http_academy_redis_walk_t *walk,
    ngx_http_academy_redis_script_e script, ngx_str_t *args, ngx_uint_t n,
    ngx_http_academy_redis_answer_pt handler);
static redisReply *ngx_http_academy_redis_walk_answered(
    ngx_http_academy_redis_walk_t *walk,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_walk_end(
    ngx_http_academy_redis_walk_t *walk, ngx_http_academy_result_e result);
static ngx_uint_t ngx_http_academy_redis_walk_after(
    ngx_http_academy_redis_walk_t *walk, redisReply *reply);

static void ngx_http_academy_redis_survey_begin(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_survey_counted(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_survey_sum(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_survey_summed(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_survey_end(
    ngx_http_academy_redis_walk_t *walk);

static void ngx_http_academy_redis_list_begin(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_list_counted(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_list_walk(
    ngx_http_academy_redis_walk_t *walk);
static ngx_uint_t ngx_http_academy_redis_list_wanted(
    ngx_http_academy_listing_t *listing, ngx_uint_t list);
static void ngx_http_academy_redis_list_walked(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_list_found(
    ngx_http_academy_redis_walk_t *walk, redisReply *uid, redisReply *place);
static void ngx_http_academy_redis_list_key(ngx_http_academy_row_key_t *key,
    redisReply *place, ngx_http_academy_order_e order);
static void ngx_http_academy_redis_list_rows(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_list_filled(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_row(ngx_http_academy_listed_t *row,
    redisReply *reply, ngx_http_academy_call_t *call);

static void ngx_http_academy_redis_inspect_next(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_inspected(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);


static char  *ngx_http_academy_redis_orders[] = {
    "id", "name", "class", "queued", "oldest", "heartbeat", "in_progress",
    "completed"
};


static ngx_http_academy_redis_walk_t *
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


static void
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


static void
ngx_http_academy_redis_walk_ask(ngx_http_academy_redis_walk_t *walk,
    ngx_http_academy_redis_script_e script, ngx_str_t *args, ngx_uint_t n,
    ngx_http_academy_redis_answer_pt handler)
{
    /* nobody is to wait until it is there again */

    if (ngx_http_academy_redis_away(walk->redis)) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_UNAVAILABLE);
        return;
    }

    walk->asking = 1;

    if (ngx_http_academy_redis_run(walk->redis, script, args, n, handler, walk)
        != NGX_OK)
    {
        walk->asking = 0;
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_FULL);
    }
}


/* NULL: it is over */

static redisReply *
ngx_http_academy_redis_walk_answered(ngx_http_academy_redis_walk_t *walk,
    ngx_http_academy_redis_answer_t *answer)
{
    walk->asking = 0;

    if ((walk->call == NULL && !walk->surveys)
        || answer->result != NGX_HTTP_ACADEMY_OK)
    {
        ngx_http_academy_redis_walk_end(walk, answer->result);
        return NULL;
    }

    return answer->reply;
}


static void
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


/* where a page ends: 0 behind the last one */

static ngx_uint_t
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
ngx_http_academy_redis_survey_counted(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_walk_t *walk = data;

    redisReply                 *reply;
    ngx_http_academy_survey_t  *found;

    reply = ngx_http_academy_redis_walk_answered(walk, answer);
    if (reply == NULL) {
        return;
    }

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
ngx_http_academy_redis_survey_summed(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_walk_t *walk = data;

    int64_t                     age;
    ngx_msec_t                  oldest;
    redisReply                 *reply, *uid;
    ngx_http_academy_survey_t  *found;

    reply = ngx_http_academy_redis_walk_answered(walk, answer);
    if (reply == NULL) {
        return;
    }

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


ngx_int_t
ngx_http_academy_redis_list(ngx_http_academy_call_t *call)
{
    ngx_uint_t                      first;
    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_listing_t     *listing;
    ngx_http_academy_redis_walk_t  *walk;

    listing = call->in.listing;
    listing->n = 0;
    listing->total = 0;

    redis = ngx_http_academy_redis_of(call->exchange);

    if (ngx_http_academy_redis_away(redis)) {
        return ngx_http_academy_redis_call_end(call,
                                               NGX_HTTP_ACADEMY_UNAVAILABLE);
    }

    walk = ngx_http_academy_redis_walk(call);
    if (walk == NULL) {
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    walk->step = ngx_http_academy_redis_list_begin;
    walk->in_order = (listing->order == NGX_HTTP_ACADEMY_BY_ID
                      && listing->search.len == 0 && call->admin);

    first = ngx_queue_empty(&redis->walks);
    ngx_queue_insert_tail(&redis->walks, &walk->queue);
    walk->lists = 1;

    if (first) {
        ngx_add_timer(&walk->event, 0);
    }

    return NGX_AGAIN;
}


static void
ngx_http_academy_redis_list_begin(ngx_http_academy_redis_walk_t *walk)
{
    if (ngx_http_academy_listing_rows(walk->call->in.listing, walk->call->pool)
        != NGX_OK)
    {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_FULL);
        return;
    }

    if (walk->in_order) {
        ngx_http_academy_redis_walk_ask(walk, NGX_HTTP_ACADEMY_SCRIPT_SURVEY,
                                        NULL, 0,
                                        ngx_http_academy_redis_list_counted);
        return;
    }

    walk->step = ngx_http_academy_redis_list_walk;
    ngx_http_academy_redis_list_walk(walk);
}


static void
ngx_http_academy_redis_list_counted(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_walk_t *walk = data;

    ngx_uint_t                   i;
    redisReply                  *reply;
    ngx_http_academy_listing_t  *listing;

    reply = ngx_http_academy_redis_walk_answered(walk, answer);
    if (reply == NULL) {
        return;
    }

    listing = walk->call->in.listing;

    for (i = 0; i < NGX_HTTP_ACADEMY_REDIS_LISTS; i++) {
        if (ngx_http_academy_redis_list_wanted(listing, i)) {
            listing->total += ngx_http_academy_redis_integer(reply, i + 1);
        }
    }

    walk->step = ngx_http_academy_redis_list_walk;
    ngx_http_academy_redis_list_walk(walk);
}


static ngx_uint_t
ngx_http_academy_redis_list_wanted(ngx_http_academy_listing_t *listing,
    ngx_uint_t list)
{
    return ((list & 2) ? listing->terminated : listing->active)
           && ((list & 1) ? listing->users : listing->agents);
}


static void
ngx_http_academy_redis_list_walk(ngx_http_academy_redis_walk_t *walk)
{
    ngx_http_academy_call_t        *call;
    ngx_http_academy_listing_t     *listing;
    ngx_http_academy_redis_args_t   args;

    static ngx_str_t  active = ngx_string("active");
    static ngx_str_t  terminated = ngx_string("terminated");
    static ngx_str_t  agent = ngx_string("agent");
    static ngx_str_t  user = ngx_string("user");
    static ngx_str_t  size = ngx_string(NGX_HTTP_ACADEMY_REDIS_WALK);

    call = walk->call;
    listing = call->in.listing;

    while (walk->list < NGX_HTTP_ACADEMY_REDIS_LISTS
           && !ngx_http_academy_redis_list_wanted(listing, walk->list))
    {
        walk->list++;
    }

    if (walk->list == NGX_HTTP_ACADEMY_REDIS_LISTS) {
        walk->step = ngx_http_academy_redis_list_rows;
        ngx_http_academy_redis_list_rows(walk);
        return;
    }

    if (walk->in_order && listing->paged && walk->len == 0 && walk->got == 0) {
        (void) ngx_http_academy_uuid_print(walk->after, listing->after.id);
        walk->len = NGX_HTTP_ACADEMY_UUID_LEN;
    }

    args.n = 0;

    ngx_http_academy_redis_arg_str(&args,
                                   (walk->list & 2) ? &terminated : &active);
    ngx_http_academy_redis_arg_str(&args, (walk->list & 1) ? &user : &agent);
    ngx_http_academy_redis_arg_data(&args, walk->after, walk->len);
    ngx_http_academy_redis_arg_str(&args, &size);
    ngx_http_academy_redis_arg_data(&args,
              (u_char *) ngx_http_academy_redis_orders[listing->order],
              ngx_strlen(ngx_http_academy_redis_orders[listing->order]));
    ngx_http_academy_redis_arg_number(&args,
                                      walk->in_order && listing->reverse);

    if (ngx_http_academy_redis_arg_caller(&args, call->caller) != NGX_OK) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_FULL);
        return;
    }

    ngx_http_academy_redis_arg_number(&args, call->admin);
    ngx_http_academy_redis_arg_str(&args, &listing->search);

    ngx_http_academy_redis_walk_ask(walk, NGX_HTTP_ACADEMY_SCRIPT_WALK,
                                    args.args, args.n,
                                    ngx_http_academy_redis_list_walked);
}


static void
ngx_http_academy_redis_list_walked(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_walk_t *walk = data;

    ngx_uint_t   i, more;
    redisReply  *reply;

    reply = ngx_http_academy_redis_walk_answered(walk, answer);
    if (reply == NULL) {
        return;
    }

    for (i = 2; i + 1 < reply->elements; i += 2) {
        ngx_http_academy_redis_list_found(walk,
                                  ngx_http_academy_redis_string(reply, i),
                                  reply->element[i + 1]);
    }

    more = ngx_http_academy_redis_walk_after(walk, reply);

    if (walk->in_order && walk->got >= walk->call->in.listing->limit) {
        more = 0;
    }

    if (!more) {
        walk->list++;
        walk->len = 0;
        walk->got = 0;
    }

    ngx_http_academy_redis_walk_next(walk);
}


static void
ngx_http_academy_redis_list_found(ngx_http_academy_redis_walk_t *walk,
    redisReply *uid, redisReply *place)
{
    ngx_http_academy_id_t        id;
    ngx_http_academy_listed_t   *row;
    ngx_http_academy_listing_t  *listing;
    ngx_http_academy_row_key_t   key;

    if (uid == NULL
        || ngx_http_academy_uuid_parse((u_char *) uid->str, uid->len, id.uid)
           != NGX_OK)
    {
        return;
    }

    id.role = (walk->list & 1) ? NGX_HTTP_ACADEMY_USER
                               : NGX_HTTP_ACADEMY_AGENT;

    listing = walk->call->in.listing;
    listing->total += !walk->in_order;
    walk->got++;

    ngx_http_academy_redis_list_key(&key, place, listing->order);

    ngx_memcpy(key.id, id.uid, 16);
    key.id[16] = id.role;

    row = ngx_http_academy_listing_place(listing, &key);

    if (row) {
        row->id = id;
        row->terminated = (walk->list & 2) != 0;
    }
}


/* smaller ones come first: what is large, or has waited for long */

static void
ngx_http_academy_redis_list_key(ngx_http_academy_row_key_t *key,
    redisReply *place, ngx_http_academy_order_e order)
{
    u_char  *text;
    size_t   len;

    ngx_memzero(key, sizeof(ngx_http_academy_row_key_t));

    if (place->type == REDIS_REPLY_STRING) {
        text = (u_char *) place->str;
        len = place->len;

        if (order == NGX_HTTP_ACADEMY_BY_NAME && len >= 2) {
            text++;
            len -= 2;
        }

        key->number = (place->len == 0);
        ngx_http_academy_row_key_text(key, text, len);
        return;
    }

    if (place->type != REDIS_REPLY_INTEGER) {
        return;
    }

    switch (order) {

    case NGX_HTTP_ACADEMY_BY_QUEUED:
    case NGX_HTTP_ACADEMY_BY_PROGRESS:
    case NGX_HTTP_ACADEMY_BY_COMPLETED:
        key->number = ~ (uint64_t) place->integer;
        return;

    default: /* -1: none is the last one */
        key->number = (uint64_t) place->integer;
    }
}


static void
ngx_http_academy_redis_list_rows(ngx_http_academy_redis_walk_t *walk)
{
    u_char                       text[NGX_HTTP_ACADEMY_REDIS_ROWS]
                                     [NGX_HTTP_ACADEMY_UUID_LEN];
    u_char                       expiry[NGX_TIME_T_LEN];
    ngx_str_t                    args[NGX_HTTP_ACADEMY_REDIS_ROWS + 1];
    ngx_uint_t                   i, n;
    ngx_http_academy_listing_t  *listing;

    listing = walk->call->in.listing;

    n = ngx_min(listing->n - walk->rows, NGX_HTTP_ACADEMY_REDIS_ROWS);

    if (n == 0) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_OK);
        return;
    }

    args[0].data = expiry;
    args[0].len = ngx_sprintf(expiry, "%T",
                              walk->redis->exchange.expiry->messages)
                  - expiry;

    for (i = 0; i < n; i++) {
        (void) ngx_http_academy_uuid_print(text[i],
                                     listing->rows[walk->rows + i]->id.uid);
        args[i + 1].data = text[i];
        args[i + 1].len = NGX_HTTP_ACADEMY_UUID_LEN;
    }

    ngx_http_academy_redis_walk_ask(walk, NGX_HTTP_ACADEMY_SCRIPT_ROWS, args,
                                    n + 1, ngx_http_academy_redis_list_filled);
}


static void
ngx_http_academy_redis_list_filled(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_walk_t *walk = data;

    ngx_uint_t                   i;
    redisReply                  *reply;
    ngx_http_academy_listing_t  *listing;

    reply = ngx_http_academy_redis_walk_answered(walk, answer);
    if (reply == NULL) {
        return;
    }

    listing = walk->call->in.listing;

    for (i = 1; i < reply->elements && walk->rows < listing->n; i++) {
        ngx_http_academy_redis_row(listing->rows[walk->rows++],
                                   ngx_http_academy_redis_array(reply, i),
                                   walk->call);
    }

    if (i == 1) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_UNAVAILABLE);
        return;
    }

    ngx_http_academy_redis_walk_next(walk);
}


/* see scripts/common_row.lua */

static void
ngx_http_academy_redis_row(ngx_http_academy_listed_t *row, redisReply *reply,
    ngx_http_academy_call_t *call)
{
    u_char      *p, *last;
    ngx_int_t    n;
    redisReply  *owner, *class, *name, *held;

    owner = ngx_http_academy_redis_string(reply, 1);
    class = ngx_http_academy_redis_string(reply, 2);
    name = ngx_http_academy_redis_string(reply, 3);
    held = ngx_http_academy_redis_string(reply, 11);

    row->name.len = 0;
    row->class.len = 0;
    row->owner.len = 0;
    row->owned = 0;

    /* a text of JSON is not to be cut */

    if (name && name->len < sizeof(row->name.data)) {
        ngx_http_academy_row_text(&row->name, (u_char *) name->str, name->len);
    }

    if (class) {
        ngx_http_academy_row_text(&row->class, (u_char *) class->str,
                                  class->len);
    }

    if (owner && owner->len) {
        ngx_http_academy_row_text(&row->owner, (u_char *) owner->str,
                                  owner->len - 1);

        row->owned = (owner->len - 1 == call->caller->id.len
                      && ngx_memcmp(owner->str, call->caller->id.data,
                                    owner->len - 1)
                         == 0);
    }

    row->queued = ngx_http_academy_redis_integer(reply, 4);
    row->pending = ngx_http_academy_redis_integer(reply, 5);
    row->completed = ngx_http_academy_redis_integer(reply, 6);
    row->outgoing = ngx_http_academy_redis_integer(reply, 7);
    row->shares = ngx_http_academy_redis_integer(reply, 8);
    row->heartbeat = ngx_http_academy_redis_integer(reply, 9);
    row->oldest = ngx_http_academy_redis_integer(reply, 10);

    row->kept = NGX_HTTP_ACADEMY_UNKNOWN;
    row->waiters = NGX_HTTP_ACADEMY_UNKNOWN;
    row->leased = NGX_HTTP_ACADEMY_UNKNOWN;
    row->bytes = NGX_HTTP_ACADEMY_UNKNOWN;

    if (held == NULL || held->len == 0) {
        return;
    }

    last = (u_char *) held->str + held->len;
    p = ngx_strlchr((u_char *) held->str, last, ' ');

    if (p) {
        n = ngx_atoi((u_char *) held->str, p - (u_char *) held->str);
        row->leased = (n == NGX_ERROR) ? NGX_HTTP_ACADEMY_UNKNOWN
                                       : (uint64_t) n;
        n = ngx_atoi(p + 1, last - p - 1);
        row->bytes = (n == NGX_ERROR) ? NGX_HTTP_ACADEMY_UNKNOWN
                                      : (uint64_t) n;
    }
}


ngx_int_t
ngx_http_academy_redis_inspect(ngx_http_academy_call_t *call)
{
    ngx_http_academy_redis_walk_t  *walk;

    call->in.inspection->n = 0;

    if (ngx_http_academy_redis_away(
                                  ngx_http_academy_redis_of(call->exchange)))
    {
        return ngx_http_academy_redis_call_end(call,
                                               NGX_HTTP_ACADEMY_UNAVAILABLE);
    }

    walk = ngx_http_academy_redis_walk(call);
    if (walk == NULL) {
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    walk->step = ngx_http_academy_redis_inspect_next;

    ngx_add_timer(&walk->event, 0);

    return NGX_AGAIN;
}


static void
ngx_http_academy_redis_inspect_next(ngx_http_academy_redis_walk_t *walk)
{
    ngx_http_academy_call_t        *call;
    ngx_http_academy_redis_args_t   args;
    ngx_http_academy_inspection_t  *inspection;

    call = walk->call;
    inspection = call->in.inspection;

    args.n = 0;

    ngx_http_academy_redis_arg_uid(&args, call->id.uid);

    if (ngx_http_academy_redis_arg_caller(&args, call->caller) != NGX_OK) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_FULL);
        return;
    }

    ngx_http_academy_redis_arg_number(&args, call->admin);
    ngx_http_academy_redis_arg_number(&args, call->exchange->expiry->messages);
    ngx_http_academy_redis_arg_number(&args, inspection->n);
    ngx_http_academy_redis_arg_number(&args, inspection->limit
                                             - inspection->n);
    ngx_http_academy_redis_arg_number(&args, NGX_HTTP_ACADEMY_INSPECTED);

    ngx_http_academy_redis_walk_ask(walk, NGX_HTTP_ACADEMY_SCRIPT_INSPECT,
                                    args.args, args.n,
                                    ngx_http_academy_redis_inspected);
}


static void
ngx_http_academy_redis_inspected(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_walk_t *walk = data;

    ngx_uint_t                      i;
    redisReply                     *reply, *text, *role, *state;
    ngx_http_academy_call_t        *call;
    ngx_http_academy_inspected_t   *seen;
    ngx_http_academy_inspection_t  *inspection;

    reply = ngx_http_academy_redis_walk_answered(walk, answer);
    if (reply == NULL) {
        return;
    }

    call = walk->call;
    inspection = call->in.inspection;

    if (inspection->n == 0) {
        ngx_http_academy_redis_row(&inspection->row,
                                   ngx_http_academy_redis_array(reply, 1),
                                   call);

        state = ngx_http_academy_redis_string(
                                   ngx_http_academy_redis_array(reply, 1), 0);
        role = ngx_http_academy_redis_string(reply, 2);

        inspection->row.id = call->id;
        inspection->row.terminated = (state == NULL
                                      || ngx_strcmp(state->str, "ACTIVE")
                                         != 0);

        if (role && role->len) {
            inspection->row.id.role = (role->str[0] == 'u')
                                      ? NGX_HTTP_ACADEMY_USER
                                      : NGX_HTTP_ACADEMY_AGENT;
        }
    }

    for (i = 4;
         i + 1 < reply->elements && inspection->n < inspection->limit;
         i += 2)
    {
        text = ngx_http_academy_redis_string(reply, i + 1);

        if (text == NULL) {
            continue;
        }

        seen = &inspection->messages[inspection->n++];

        seen->seq = NGX_HTTP_ACADEMY_UNKNOWN;
        seen->size = ngx_http_academy_redis_integer(reply, i);
        seen->age = -1;
        seen->leases = NGX_HTTP_ACADEMY_UNKNOWN;
        seen->notice = 0;
        seen->len = ngx_min(text->len, NGX_HTTP_ACADEMY_INSPECTED);
        ngx_memcpy(seen->text, text->str, seen->len);
    }

    if (i == 4 || inspection->n == inspection->limit
        || !ngx_http_academy_redis_integer(reply, 3))
    {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_OK);
        return;
    }

    ngx_http_academy_redis_walk_next(walk);
}
