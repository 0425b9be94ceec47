
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_redis_call.h"


/*
 * Messages that are handed over.
 *
 * For a mailbox that is armed Redis knows which node waits for it.  Whoever
 * puts a message there, at any node, leases it to that one within the same
 * script, and sends it along: it never is in the queue, and nobody has to look
 * for it.  All that a node is told comes by one connection, so in the order in
 * which it was put.
 *
 * A take has its own way, and could overtake what was handed over before it.
 * So as long as a mailbox is armed nothing is taken: stop.lua ends that, and
 * tells so by the way of the messages.  When that is here, all of them are.
 *
 * What is sent when the connection is lost is leased, and nobody knows of it.
 * When there is a new one all leases of this kind are looked through, up to the
 * last one that was told of by another one; those that are not known here go
 * back.
 */


/* mailboxes of a command, and pairs of an answer: see sweep.lua */

#define NGX_HTTP_ACADEMY_REDIS_STOPS  100
#define NGX_HTTP_ACADEMY_REDIS_SWEPT  50

/* so far, in milliseconds, an id is from the future if Redis's clock was set */

#define NGX_HTTP_ACADEMY_REDIS_SET    100


typedef struct {
    ngx_uint_t                 n;
    u_char                     uids[NGX_HTTP_ACADEMY_REDIS_STOPS][16];
} ngx_http_academy_redis_stops_t;


static void ngx_http_academy_redis_stop_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_academy_redis_stop(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_stopped(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_handed(ngx_http_academy_redis_t *redis,
    ngx_str_t *text);
static u_char *ngx_http_academy_redis_parse_id(u_char *p, u_char *end,
    ngx_http_academy_redis_lease_t *lease);
static void ngx_http_academy_redis_ended(
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_sweep_from(ngx_http_academy_redis_t *redis,
    ngx_str_t *from);
static void ngx_http_academy_redis_swept(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_sweep_end(ngx_http_academy_redis_t *redis);
static ngx_int_t ngx_http_academy_redis_swept_one(
    ngx_http_academy_redis_t *redis, redisReply *id, redisReply *uid,
    ngx_queue_t **known);


void
ngx_http_academy_redis_hand_init(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_wait_t *wait)
{
    ngx_queue_init(&wait->ends);
    ngx_queue_init(&wait->known);
    ngx_queue_init(&wait->swept);

    wait->last.data = wait->last_id;

    wait->stop.handler = ngx_http_academy_redis_stop_handler;
    wait->stop.data = redis;
    wait->stop.log = ngx_cycle->log;
}


void
ngx_http_academy_redis_disarm(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_msec_t                      since;
    ngx_http_academy_redis_wait_t  *wait;

    if (mailbox->armed != NGX_HTTP_ACADEMY_REDIS_ARMED) {
        return;
    }

    if (!ngx_http_academy_redis_up(mailbox->redis, &since)) {
        ngx_http_academy_redis_put_off(mailbox);
        return;
    }

    wait = mailbox->redis->wait;

    mailbox->armed = NGX_HTTP_ACADEMY_REDIS_ENDING;
    mailbox->ends = 1;
    ngx_queue_insert_tail(&wait->ends, &mailbox->end);

    ngx_post_event(&wait->stop, &ngx_posted_events);
}


void
ngx_http_academy_redis_hand_down(ngx_http_academy_redis_mailbox_t *mailbox)
{
    if (mailbox->armed != NGX_HTTP_ACADEMY_REDIS_ENDING) {
        return;
    }

    mailbox->armed = NGX_HTTP_ACADEMY_REDIS_ARMED;

    if (mailbox->ends) {
        mailbox->ends = 0;
        ngx_queue_remove(&mailbox->end);
    }

    ngx_http_academy_redis_put_off(mailbox);
}


static void
ngx_http_academy_redis_stop_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_t *redis = ev->data;

    while (!ngx_queue_empty(&redis->wait->ends)) {
        if (ngx_http_academy_redis_stop(redis) != NGX_OK) {
            return;
        }
    }
}


static ngx_int_t
ngx_http_academy_redis_stop(ngx_http_academy_redis_t *redis)
{
    u_char                            *p;
    ngx_str_t                         *arg;
    ngx_uint_t                         n;
    ngx_queue_t                       *q;
    ngx_http_academy_redis_stops_t    *stops;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    static u_char     text[NGX_HTTP_ACADEMY_REDIS_STOPS
                           * NGX_HTTP_ACADEMY_UUID_LEN];
    static ngx_str_t  args[NGX_HTTP_ACADEMY_REDIS_STOPS + 2];

    stops = ngx_alloc(sizeof(ngx_http_academy_redis_stops_t), ngx_cycle->log);

    arg = args;
    arg->data = redis->node;
    arg->len = NGX_HTTP_ACADEMY_NODE_LEN;
    arg++;
    *arg++ = *ngx_http_academy_redis_channel(redis);

    p = text;

    for (n = 0; n < NGX_HTTP_ACADEMY_REDIS_STOPS; n++) {

        if (ngx_queue_empty(&redis->wait->ends)) {
            break;
        }

        q = ngx_queue_head(&redis->wait->ends);
        mailbox = ngx_queue_data(q, ngx_http_academy_redis_mailbox_t, end);

        ngx_queue_remove(q);
        mailbox->ends = 0;

        if (stops == NULL) {
            mailbox->armed = NGX_HTTP_ACADEMY_REDIS_ARMED;
            ngx_http_academy_redis_put_off(mailbox);
            continue;
        }

        ngx_memcpy(stops->uids[n], mailbox->uid, 16);

        arg->data = p;
        p = ngx_http_academy_uuid_print(p, mailbox->uid);
        arg->len = p - arg->data;
        arg++;
    }

    if (stops == NULL) {
        return NGX_ERROR;
    }

    stops->n = n;

    if (ngx_http_academy_redis_run(redis, NGX_HTTP_ACADEMY_SCRIPT_STOP, args,
                                   arg - args, ngx_http_academy_redis_stopped,
                                   stops)
        != NGX_OK)
    {
        ngx_http_academy_redis_stopped(redis, stops, NULL);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* if nobody could be told, nothing can come either */

static void
ngx_http_academy_redis_stopped(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_stops_t *stops = data;

    ngx_uint_t                         i, done;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    done = (answer && answer->result == NGX_HTTP_ACADEMY_OK);

    if (done && ngx_http_academy_redis_integer(answer->reply, 1)) {
        ngx_free(stops);
        return;
    }

    for (i = 0; i < stops->n; i++) {
        mailbox = ngx_http_academy_redis_find(redis->wait, stops->uids[i]);

        if (mailbox == NULL || mailbox->ends
            || mailbox->armed != NGX_HTTP_ACADEMY_REDIS_ENDING)
        {
            continue;
        }

        if (done) {
            ngx_http_academy_redis_ended(mailbox);
            continue;
        }

        mailbox->armed = NGX_HTTP_ACADEMY_REDIS_ARMED;
        ngx_http_academy_redis_put_off(mailbox);
    }

    ngx_free(stops);
}


/*
 * "?" for a request or "!" for a response, a mailbox, an id, a blank and the
 * message; "-" and mailboxes; "=" and an id.  Anything else is an event of the
 * channel's key.
 */

void
ngx_http_academy_redis_told(ngx_http_academy_redis_t *redis, ngx_str_t *text)
{
    u_char                            *p, *end, uid[16];
    ngx_http_academy_redis_wait_t     *wait;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    wait = redis->wait;

    if (text->len < 2) {
        return;
    }

    p = text->data + 1;
    end = text->data + text->len;

    switch (text->data[0]) {

    case '?':
    case '!':
        ngx_http_academy_redis_handed(redis, text);
        return;

    case '-':

        for ( /* void */ ;
             (size_t) (end - p) >= NGX_HTTP_ACADEMY_UUID_LEN;
             p += NGX_HTTP_ACADEMY_UUID_LEN)
        {
            if (ngx_http_academy_uuid_parse(p, NGX_HTTP_ACADEMY_UUID_LEN, uid)
                != NGX_OK)
            {
                return;
            }

            mailbox = ngx_http_academy_redis_find(wait, uid);

            if (mailbox && mailbox->armed && !mailbox->ends) {
                ngx_http_academy_redis_ended(mailbox);
            }
        }

        return;

    case '=':

        if ((size_t) (end - p) <= sizeof(wait->last_id)) {
            ngx_memcpy(wait->last_id, p, end - p);
            wait->last.len = end - p;

            ngx_http_academy_redis_sweep_from(redis, NULL);
        }
    }
}


static void
ngx_http_academy_redis_handed(ngx_http_academy_redis_t *redis, ngx_str_t *text)
{
    u_char                            *p, *end;
    ngx_http_academy_redis_lease_t    *lease;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    p = text->data + 1;
    end = text->data + text->len;

    lease = ngx_calloc(sizeof(ngx_http_academy_redis_lease_t), ngx_cycle->log);
    if (lease == NULL) {
        goto missed;
    }

    if ((size_t) (end - p) < NGX_HTTP_ACADEMY_UUID_LEN
        || ngx_http_academy_uuid_parse(p, NGX_HTTP_ACADEMY_UUID_LEN,
                                       lease->uid)
           != NGX_OK)
    {
        goto missed;
    }

    p = ngx_http_academy_redis_parse_id(p + NGX_HTTP_ACADEMY_UUID_LEN, end,
                                        lease);

    if (p == end) {
        goto missed;
    }

    lease->size = end - ++p;
    lease->json = ngx_alloc(lease->size, ngx_cycle->log);

    if (lease->json == NULL) {
        goto missed;
    }

    mailbox = ngx_http_academy_redis_enter(redis, lease->uid);

    if (mailbox == NULL) {
        ngx_free(lease->json);
        goto missed;
    }

    ngx_memcpy(lease->json, p, lease->size);

    lease->handed = 1;
    lease->response = (text->data[0] == '!');
    lease->order = ++redis->seq;
    lease->since = ngx_current_msec;

    ngx_queue_insert_tail(&redis->wait->known, &lease->known);
    ngx_queue_insert_tail(&mailbox->handed, &lease->queue);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "academy redis handed over: %p armed:%ui asking:%ui",
                   mailbox, (ngx_uint_t) mailbox->armed,
                   (ngx_uint_t) mailbox->asking);

    /* what a look brings, which armed the mailbox, comes before it */

    if (mailbox->asking || mailbox->busy) {
        return;
    }

    /* or Redis knows what was forgotten here */

    if (!mailbox->armed) {
        mailbox->armed = NGX_HTTP_ACADEMY_REDIS_ARMED;
    }

    ngx_http_academy_redis_hand(mailbox);
    ngx_http_academy_redis_step(mailbox);

    return;

missed:

    if (lease) {
        ngx_free(lease);
    }

    redis->wait->missed = 1;
}


/* where it ends */

static u_char *
ngx_http_academy_redis_parse_id(u_char *p, u_char *end,
    ngx_http_academy_redis_lease_t *lease)
{
    uint64_t  n;

    n = 0;

    for ( /* void */ ; p < end; p++) {

        if (*p == '-') {
            lease->seq = n;
            n = 0;
            continue;
        }

        if (*p < '0' || *p > '9') {
            break;
        }

        n = n * 10 + (*p - '0');
    }

    lease->part = n;

    return p;
}


void
ngx_http_academy_redis_hand(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_queue_t                     *q;
    ngx_http_academy_redis_lease_t  *lease;

    while (!mailbox->held && !ngx_queue_empty(&mailbox->handed)) {
        q = ngx_queue_head(&mailbox->handed);
        lease = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);

        ngx_queue_remove(q);

        if (!ngx_http_academy_redis_serve_handed(mailbox, lease)) {
            ngx_queue_insert_head(&mailbox->handed, q);
            break;
        }
    }

    if (!ngx_queue_empty(&mailbox->handed) && !mailbox->armed) {
        mailbox->armed = NGX_HTTP_ACADEMY_REDIS_ARMED;
    }
}


/* all that was handed over is here */

static void
ngx_http_academy_redis_ended(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_queue_t               *q;
    ngx_http_academy_redis_t  *redis;

    redis = mailbox->redis;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "academy redis handed over no more: %p", mailbox);

    mailbox->armed = NGX_HTTP_ACADEMY_REDIS_UNARMED;

    if (mailbox->held) {
        mailbox->held = 0;
        ngx_post_event(&redis->wait->gather.event, &ngx_posted_events);
    }

    while (!ngx_queue_empty(&mailbox->handed)) {
        q = ngx_queue_head(&mailbox->handed);
        ngx_queue_remove(q);

        ngx_http_academy_redis_return(redis,
                   ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue));
    }

    if (!ngx_queue_empty(&mailbox->calls)) {
        mailbox->again = 1;
    }

    ngx_http_academy_redis_step(mailbox);
}


void
ngx_http_academy_redis_sweep(ngx_http_academy_redis_t *redis)
{
    static ngx_str_t  empty = ngx_string("");

    redis->wait->missed = 0;

    ngx_http_academy_redis_sweep_from(redis, &empty);
}


static void
ngx_http_academy_redis_sweep_from(ngx_http_academy_redis_t *redis,
    ngx_str_t *from)
{
    ngx_str_t  args[4];

    args[0].data = redis->node;
    args[0].len = NGX_HTTP_ACADEMY_NODE_LEN;
    args[1] = *ngx_http_academy_redis_channel(redis);

    if (from) {
        args[2] = *from;

    } else {
        ngx_str_set(&args[2], "-");
    }

    args[3] = redis->wait->last;

    if (ngx_http_academy_redis_run(redis, NGX_HTTP_ACADEMY_SCRIPT_SWEEP, args,
                                   4, ngx_http_academy_redis_swept, NULL)
        != NGX_OK)
    {
        redis->wait->missed = 1;
        ngx_http_academy_redis_sweep_end(redis);
    }
}


static void
ngx_http_academy_redis_swept(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
{
    u_char       buf[2 * NGX_INT64_LEN + 2];
    ngx_str_t    from;
    ngx_uint_t   i;
    redisReply  *id, *uid;
    ngx_queue_t *known;

    if (answer->result != NGX_HTTP_ACADEMY_OK) {
        redis->wait->missed = 1;
        ngx_http_academy_redis_sweep_end(redis);
        return;
    }

    id = NULL;
    known = ngx_queue_head(&redis->wait->known);

    for (i = 1; i + 1 < answer->reply->elements; i += 2) {
        id = ngx_http_academy_redis_string(answer->reply, i);
        uid = ngx_http_academy_redis_string(answer->reply, i + 1);

        if (id == NULL || uid == NULL
            || ngx_http_academy_redis_swept_one(redis, id, uid, &known)
               != NGX_OK)
        {
            redis->wait->missed = 1;
            ngx_http_academy_redis_sweep_end(redis);
            return;
        }
    }

    if (i > 2 * NGX_HTTP_ACADEMY_REDIS_SWEPT && id->len < sizeof(buf)) {
        buf[0] = '(';
        ngx_memcpy(buf + 1, id->str, id->len);

        from.data = buf;
        from.len = id->len + 1;

        ngx_http_academy_redis_sweep_from(redis, &from);
        return;
    }

    ngx_http_academy_redis_sweep_end(redis);
}


static ngx_int_t
ngx_http_academy_redis_swept_one(ngx_http_academy_redis_t *redis,
    redisReply *id, redisReply *uid, ngx_queue_t **known)
{
    u_char                          *p;
    ngx_queue_t                     *q;
    ngx_http_academy_redis_lease_t  *lease, *next;

    lease = ngx_calloc(sizeof(ngx_http_academy_redis_lease_t), ngx_cycle->log);
    if (lease == NULL) {
        return NGX_ERROR;
    }

    p = (u_char *) id->str;
    (void) ngx_http_academy_redis_parse_id(p, p + id->len, lease);

    for (q = *known; q != ngx_queue_sentinel(&redis->wait->known);
         q = ngx_queue_next(q))
    {
        next = ngx_queue_data(q, ngx_http_academy_redis_lease_t, known);

        if (next->seq > lease->seq
            || (next->seq == lease->seq && next->part >= lease->part))
        {
            break;
        }
    }

    *known = q;

    if (q != ngx_queue_sentinel(&redis->wait->known)) {
        next = ngx_queue_data(q, ngx_http_academy_redis_lease_t, known);

        if (next->seq == lease->seq && next->part == lease->part) {
            ngx_free(lease);
            return NGX_OK;
        }
    }

    p = (u_char *) uid->str;

    if (ngx_http_academy_uuid_parse(p, uid->len, lease->uid) != NGX_OK) {
        ngx_free(lease);
        return NGX_OK;
    }

    lease->handed = 1;
    lease->order = ++redis->wait->nswept;

    ngx_queue_insert_tail(q, &lease->known);
    ngx_queue_insert_tail(&redis->wait->swept, &lease->queue);

    return NGX_OK;
}


/* all that was found goes back together, so in order */

static void
ngx_http_academy_redis_sweep_end(ngx_http_academy_redis_t *redis)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&redis->wait->swept)) {
        q = ngx_queue_head(&redis->wait->swept);
        ngx_queue_remove(q);

        ngx_http_academy_redis_return(redis,
                   ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue));
    }
}


/*
 * Redis's clock is no less ahead than it would be if its answer had taken no
 * time, and no more than if the question had taken none.  What was found holds
 * as long as it is between the two: right but for the way of the fastest
 * answer, by which messages look younger than they are.
 */

void
ngx_http_academy_redis_timed(ngx_http_academy_redis_t *redis, uint64_t time,
    ngx_msec_t asked)
{
    uint64_t  least, most;

    /* what this worker did before it read the answer is no way of it */

    ngx_time_update();

    least = time - ngx_current_msec;
    most = time - asked;

    if (redis->ahead == 0
        || (int64_t) (redis->ahead - least) < 0
        || (int64_t) (most - redis->ahead) < 0)
    {
        redis->ahead = least;
    }
}


/*
 * Of what was handed over the id tells, of what was in a queue nothing does.
 * Where Redis's clock was set back, it goes on with the time of the last id.
 */

ngx_msec_t
ngx_http_academy_redis_accepted(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_lease_t *lease)
{
    ngx_msec_t  accepted;

    if (!lease->handed || redis->ahead == 0) {
        return 0;
    }

    accepted = (ngx_msec_t) (lease->seq - redis->ahead);

    if ((ngx_msec_int_t) (accepted - ngx_current_msec)
        > NGX_HTTP_ACADEMY_REDIS_SET)
    {
        return 0;
    }

    return accepted;
}
