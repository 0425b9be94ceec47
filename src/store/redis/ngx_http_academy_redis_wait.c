
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_redis_call.h"


/*
 * Calls that wait, and waking them.
 *
 * A mailbox is in the table of this process as long as calls wait for it here,
 * or did a moment ago.  It is looked at by a script that takes messages, one
 * such at a time, in the name of one caller: for that one's calls, which it
 * covers, those that waited longest first.  Each call is looked for once when
 * it comes.  If that brings nothing, the mailbox's queue is subscribed to, and
 * looked at again when that is in force, and whenever anything is told of it.
 * So nothing is missed: what came before a look is found by it, and what comes
 * after it is told.
 *
 * A look that brings less than was told is explained by nothing but a share
 * that was withdrawn: then those calls are looked for that it did not cover.
 *
 * A look for event streams that finds no more messages makes that those that
 * come are handed over, see hand.c; as long as this is so nothing is taken.
 *
 * When a connection is lost, calls stay where they are.  Once there is a new
 * one, all mailboxes are subscribed to again, and looked at, some at a time.
 */


/* calls that a look covers, messages that it takes ahead for a stream */

#define NGX_HTTP_ACADEMY_REDIS_LOOK   16

/* looks of many mailboxes that are under way at a time */

#define NGX_HTTP_ACADEMY_REDIS_LOOKS  64

/* keys of a command */

#define NGX_HTTP_ACADEMY_REDIS_KEYS   512

/* milliseconds without a call that a subscription is kept for */

#define NGX_HTTP_ACADEMY_REDIS_IDLE_TIME  5000


#define NGX_HTTP_ACADEMY_REDIS_NO     0
#define NGX_HTTP_ACADEMY_REDIS_ASKED  1
#define NGX_HTTP_ACADEMY_REDIS_YES    2


#define ngx_http_academy_redis_mailbox(n)                                     \
    ((ngx_http_academy_redis_mailbox_t *)                                     \
     ((u_char *) (n) - offsetof(ngx_http_academy_redis_mailbox_t, node)))


static void ngx_http_academy_redis_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);
static ngx_rbtree_key_t ngx_http_academy_redis_key(u_char uid[16]);
static ngx_http_academy_redis_mailbox_t *ngx_http_academy_redis_find_key(
    ngx_http_academy_redis_t *redis, ngx_str_t *key);
static void ngx_http_academy_redis_vacate(
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_discard(
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_bring(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_http_academy_redis_lease_t *lease);
static void ngx_http_academy_redis_leave(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_look(
    ngx_http_academy_redis_mailbox_t *mailbox);
static ngx_http_academy_call_t *ngx_http_academy_redis_cover(
    ngx_http_academy_redis_mailbox_t *mailbox, ngx_uint_t *n,
    ngx_uint_t *asked);
static ngx_str_t *ngx_http_academy_redis_arm(
    ngx_http_academy_redis_mailbox_t *mailbox);
static ngx_uint_t ngx_http_academy_redis_same(ngx_http_academy_caller_t *one,
    ngx_http_academy_caller_t *two);
static ngx_int_t ngx_http_academy_redis_reserve(
    ngx_http_academy_redis_mailbox_t *mailbox, ngx_uint_t n);
static void ngx_http_academy_redis_release(
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_look_handler(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_left_over(
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_brought(
    ngx_http_academy_redis_mailbox_t *mailbox, redisReply *reply,
    ngx_queue_t *served);
static void ngx_http_academy_redis_refused(
    ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_http_academy_result_e result, ngx_queue_t *served);
static void ngx_http_academy_redis_failed(
    ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_http_academy_redis_answer_t *answer, ngx_queue_t *served);
static void ngx_http_academy_redis_serve(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_http_academy_result_e result, ngx_queue_t *served);
static void ngx_http_academy_redis_lead(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_uncover(
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_review(
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_finish(ngx_queue_t *served);
static void ngx_http_academy_redis_put_by(
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_place(
    ngx_http_academy_redis_mailbox_t *mailbox, ngx_queue_t *queue);
static void ngx_http_academy_redis_pump(ngx_http_academy_redis_wait_t *wait);
static void ngx_http_academy_redis_want(
    ngx_http_academy_redis_mailbox_t *mailbox);
static void ngx_http_academy_redis_subscribe_handler(ngx_event_t *ev);
static ngx_str_t *ngx_http_academy_redis_keys(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_print_key(ngx_http_academy_redis_t *redis,
    ngx_str_t *keys, ngx_uint_t n, u_char uid[16]);
static void ngx_http_academy_redis_look_at_all(
    ngx_http_academy_redis_wait_t *wait);
static void ngx_http_academy_redis_expire(ngx_http_academy_redis_t *redis);


/* events that tell of what was taken, or of no message at all */

static ngx_str_t  ngx_http_academy_redis_dull[] = {
    ngx_string("lpop"),
    ngx_string("rpop"),
    ngx_string("del"),
    ngx_string("expire"),
    ngx_string("lrem"),
    ngx_string("ltrim"),
    ngx_null_string
};


ngx_int_t
ngx_http_academy_redis_wait_init(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_wait_t  *wait;

    wait = ngx_calloc(sizeof(ngx_http_academy_redis_wait_t), ngx_cycle->log);
    if (wait == NULL) {
        return NGX_ERROR;
    }

    ngx_http_academy_redis_gather_init(redis, &wait->gather);

    ngx_rbtree_init(&wait->mailboxes, &wait->sentinel,
                    ngx_http_academy_redis_insert);

    ngx_queue_init(&wait->todo);
    ngx_queue_init(&wait->late);
    ngx_queue_init(&wait->idle);
    ngx_queue_init(&wait->wanted);

    wait->subscribe.handler = ngx_http_academy_redis_subscribe_handler;
    wait->subscribe.data = redis;
    wait->subscribe.log = ngx_cycle->log;

    ngx_http_academy_redis_hand_init(redis, wait);

    redis->wait = wait;

    return NGX_OK;
}


static void
ngx_http_academy_redis_insert(ngx_rbtree_node_t *temp, ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *sentinel)
{
    ngx_rbtree_node_t                **p;
    ngx_http_academy_redis_mailbox_t  *one, *two;

    one = ngx_http_academy_redis_mailbox(node);

    for ( ;; ) {

        if (node->key != temp->key) {
            p = (node->key < temp->key) ? &temp->left : &temp->right;

        } else {
            two = ngx_http_academy_redis_mailbox(temp);
            p = (ngx_memcmp(one->uid, two->uid, 16) < 0) ? &temp->left
                                                         : &temp->right;
        }

        if (*p == sentinel) {
            break;
        }

        temp = *p;
    }

    *p = node;
    node->parent = temp;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}


static ngx_rbtree_key_t
ngx_http_academy_redis_key(u_char uid[16])
{
    ngx_rbtree_key_t  key;

    ngx_memcpy(&key, uid, sizeof(ngx_rbtree_key_t));

    return key;
}


ngx_http_academy_redis_mailbox_t *
ngx_http_academy_redis_find(ngx_http_academy_redis_wait_t *wait,
    u_char uid[16])
{
    ngx_int_t                          rc;
    ngx_rbtree_key_t                   key;
    ngx_rbtree_node_t                 *node, *sentinel;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    key = ngx_http_academy_redis_key(uid);
    node = wait->mailboxes.root;
    sentinel = wait->mailboxes.sentinel;

    while (node != sentinel) {

        if (key != node->key) {
            node = (key < node->key) ? node->left : node->right;
            continue;
        }

        mailbox = ngx_http_academy_redis_mailbox(node);
        rc = ngx_memcmp(uid, mailbox->uid, 16);

        if (rc == 0) {
            return mailbox;
        }

        node = (rc < 0) ? node->left : node->right;
    }

    return NULL;
}


static ngx_http_academy_redis_mailbox_t *
ngx_http_academy_redis_find_key(ngx_http_academy_redis_t *redis,
    ngx_str_t *key)
{
    size_t   len;
    u_char  *p, uid[16];

    len = redis->prefix.len + sizeof("queue:") - 1;

    if (key->len != len + NGX_HTTP_ACADEMY_UUID_LEN) {
        return NULL;
    }

    p = key->data + len;

    if (ngx_http_academy_uuid_parse(p, NGX_HTTP_ACADEMY_UUID_LEN, uid)
        != NGX_OK)
    {
        return NULL;
    }

    return ngx_http_academy_redis_find(redis->wait, uid);
}


ngx_http_academy_redis_mailbox_t *
ngx_http_academy_redis_enter(ngx_http_academy_redis_t *redis, u_char uid[16])
{
    ngx_http_academy_redis_wait_t     *wait;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    wait = redis->wait;
    mailbox = ngx_http_academy_redis_find(wait, uid);

    if (mailbox) {
        if (mailbox->idle) {
            mailbox->idle = 0;
            ngx_queue_remove(&mailbox->place);
        }

        return mailbox;
    }

    mailbox = ngx_calloc(sizeof(ngx_http_academy_redis_mailbox_t),
                         ngx_cycle->log);
    if (mailbox == NULL) {
        return NULL;
    }

    mailbox->redis = redis;
    mailbox->most = 1;
    ngx_memcpy(mailbox->uid, uid, 16);

    ngx_queue_init(&mailbox->calls);
    ngx_queue_init(&mailbox->asked);
    ngx_queue_init(&mailbox->leases);
    ngx_queue_init(&mailbox->stock);
    ngx_queue_init(&mailbox->handed);

    mailbox->node.key = ngx_http_academy_redis_key(uid);
    ngx_rbtree_insert(&wait->mailboxes, &mailbox->node);

    return mailbox;
}


/* nobody waits; a stream may be back at once */

static void
ngx_http_academy_redis_vacate(ngx_http_academy_redis_mailbox_t *mailbox)
{
    if (mailbox->todo) {
        mailbox->todo = 0;
        ngx_queue_remove(&mailbox->place);
    }

    if (mailbox->wanted) {
        mailbox->wanted = 0;
        ngx_queue_remove(&mailbox->subscribe);
    }

    if (mailbox->armed) {
        ngx_http_academy_redis_disarm(mailbox);
        return;
    }

    if (mailbox->subscribed == NGX_HTTP_ACADEMY_REDIS_NO) {
        ngx_http_academy_redis_discard(mailbox);
        return;
    }

    if (!mailbox->idle) {
        mailbox->idle = 1;
        mailbox->left = ngx_current_msec;
        ngx_queue_insert_tail(&mailbox->redis->wait->idle, &mailbox->place);
    }
}


static void
ngx_http_academy_redis_discard(ngx_http_academy_redis_mailbox_t *mailbox)
{
    if (mailbox->idle) {
        ngx_queue_remove(&mailbox->place);
    }

    ngx_rbtree_delete(&mailbox->redis->wait->mailboxes, &mailbox->node);
    ngx_free(mailbox);
}


ngx_int_t
ngx_http_academy_redis_get(ngx_http_academy_call_t *call)
{
    ngx_queue_t                       *q;
    ngx_http_academy_redis_t          *redis;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    redis = ngx_http_academy_redis_of(call->exchange);

    call->state = NGX_HTTP_ACADEMY_REDIS_IDLE;
    call->leads = 0;

    if (ngx_exiting) {
        call->result = NGX_HTTP_ACADEMY_CLOSING;
        call->done(call);
        return NGX_DONE;
    }

    mailbox = ngx_http_academy_redis_enter(redis, call->id.uid);
    if (mailbox == NULL) {
        call->result = NGX_HTTP_ACADEMY_FULL;
        call->done(call);
        return NGX_DONE;
    }

    if (mailbox->last == call && !call->asked && !mailbox->held
        && (!ngx_queue_empty(&mailbox->stock)
            || !ngx_queue_empty(&mailbox->handed)))
    {
        q = ngx_queue_head(ngx_queue_empty(&mailbox->stock)
                           ? &mailbox->handed : &mailbox->stock);
        ngx_queue_remove(q);

        ngx_http_academy_redis_bring(call, mailbox,
                   ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue));

        call->result = NGX_HTTP_ACADEMY_OK;
        call->done(call);

        return NGX_DONE;
    }

    call->place = mailbox;
    ngx_queue_insert_tail(&mailbox->calls, &call->queue);
    ngx_queue_init(&call->peers);

    if (mailbox->last == call && !call->asked && mailbox->sure
        && !mailbox->more && !mailbox->again && !mailbox->asking)
    {
        /* the look that brought the message before has left none */

        call->state = NGX_HTTP_ACADEMY_REDIS_WAITS;
        return NGX_AGAIN;
    }

    call->state = NGX_HTTP_ACADEMY_REDIS_NEW;

    ngx_http_academy_redis_lead(call, mailbox);
    ngx_http_academy_redis_step(mailbox);

    return NGX_AGAIN;
}


static void
ngx_http_academy_redis_bring(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_http_academy_redis_lease_t *lease)
{
    call->out.delivery.message = lease;
    call->out.delivery.next = lease;
    call->out.delivery.size = lease->size;
    call->out.delivery.accepted = ngx_http_academy_redis_accepted(
                                                      mailbox->redis, lease);
    mailbox->last = call;
}


void
ngx_http_academy_redis_wait_cancel(ngx_http_academy_call_t *call)
{
    ngx_http_academy_redis_mailbox_t  *mailbox;

    if (call->state == NGX_HTTP_ACADEMY_REDIS_SERVED) {
        ngx_queue_remove(&call->queue);
        call->state = NGX_HTTP_ACADEMY_REDIS_IDLE;

        if (call->result == NGX_HTTP_ACADEMY_OK) {
            ngx_http_academy_redis_give_back(call->exchange,
                                             &call->out.delivery, 1);
        }

        return;
    }

    mailbox = call->place;

    ngx_http_academy_redis_leave(call, mailbox);
    call->state = NGX_HTTP_ACADEMY_REDIS_IDLE;

    if (mailbox->last == call) {
        mailbox->last = NULL;
    }

    ngx_http_academy_redis_step(mailbox);
}


static void
ngx_http_academy_redis_leave(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_queue_remove(&call->queue);
    ngx_queue_remove(&call->peers);

    if (call->leads) {
        call->leads = 0;
        mailbox->leads--;
    }
}


static void
ngx_http_academy_redis_lead(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_mailbox_t *mailbox)
{
    if (!call->leads) {
        call->leads = 1;
        mailbox->leads++;
    }
}


void
ngx_http_academy_redis_step(ngx_http_academy_redis_mailbox_t *mailbox)
{
    if (mailbox->asking || mailbox->busy
        || mailbox->armed == NGX_HTTP_ACADEMY_REDIS_ENDING)
    {
        return;
    }

    if (ngx_queue_empty(&mailbox->calls)) {
        ngx_http_academy_redis_vacate(mailbox);
        return;
    }

    if (mailbox->leads || mailbox->again) {

        if (mailbox->armed) {
            ngx_http_academy_redis_disarm(mailbox);
            return;
        }

        ngx_http_academy_redis_look(mailbox);
        return;
    }

    if (mailbox->subscribed == NGX_HTTP_ACADEMY_REDIS_NO) {
        ngx_http_academy_redis_want(mailbox);
    }
}


static void
ngx_http_academy_redis_look(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_str_t                      *channel;
    ngx_uint_t                      n, asked;
    ngx_http_academy_call_t        *call;
    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_expiry_t      *expiry;
    ngx_http_academy_redis_args_t   args;

    redis = mailbox->redis;
    expiry = redis->exchange.expiry;

    /* that of the connection is the order of messages as well */

    ngx_http_academy_redis_flush_returned(redis);

    call = ngx_http_academy_redis_cover(mailbox, &n, &asked);

    if (n == 1 && !call->asked && mailbox->more) {
        n = mailbox->most;
    }

    args.n = 0;
    ngx_http_academy_redis_arg_uid(&args, mailbox->uid);

    if (ngx_http_academy_redis_arg_caller(&args, call->caller) != NGX_OK
        || ngx_http_academy_redis_reserve(mailbox, n) != NGX_OK)
    {
        goto failed;
    }

    ngx_http_academy_redis_arg_data(&args, redis->node,
                                    NGX_HTTP_ACADEMY_NODE_LEN);
    ngx_http_academy_redis_arg_number(&args, redis->seq + 1 - n);
    ngx_http_academy_redis_arg_number(&args, n);
    ngx_http_academy_redis_arg_number(&args, asked);
    ngx_http_academy_redis_arg_number(&args, expiry->messages);
    ngx_http_academy_redis_arg_number(&args, expiry->mailboxes);

    channel = ngx_http_academy_redis_arm(mailbox);
    ngx_http_academy_redis_arg_str(&args, channel);

    if (ngx_http_academy_redis_run(redis, NGX_HTTP_ACADEMY_SCRIPT_TAKE,
                                   args.args, args.n,
                                   ngx_http_academy_redis_look_handler,
                                   mailbox)
        != NGX_OK)
    {
        goto failed;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "academy redis look: %p n:%ui told:%ui subscribed:%ui",
                   mailbox, n, mailbox->events,
                   (ngx_uint_t) mailbox->subscribed);

    if (mailbox->todo) {
        mailbox->todo = 0;
        ngx_queue_remove(&mailbox->place);
    }

    mailbox->n = mailbox->events;
    mailbox->events = 0;
    mailbox->asking = 1;
    mailbox->again = 0;
    mailbox->last = NULL;
    mailbox->held = 0;
    mailbox->arms = (channel->len != 0);
    mailbox->sure = (mailbox->subscribed == NGX_HTTP_ACADEMY_REDIS_YES);

    return;

failed:

    ngx_http_academy_redis_release(mailbox);
    ngx_http_academy_redis_uncover(mailbox);
    ngx_http_academy_redis_lead(call, mailbox);
    ngx_http_academy_redis_put_off(mailbox);
}


/*
 * Whose turn it is: who was not looked for yet, or else who waits longest, and
 * with it all calls of the same caller that there is room for.
 */

static ngx_http_academy_call_t *
ngx_http_academy_redis_cover(ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_uint_t *n, ngx_uint_t *asked)
{
    ngx_uint_t                room;
    ngx_queue_t              *q;
    ngx_http_academy_call_t  *call, *target;

    q = ngx_queue_head(&mailbox->calls);
    target = ngx_queue_data(q, ngx_http_academy_call_t, queue);

    while (mailbox->leads && !target->leads) {
        q = ngx_queue_next(q);
        target = ngx_queue_data(q, ngx_http_academy_call_t, queue);
    }

    *n = 0;
    *asked = 0;
    room = NGX_HTTP_ACADEMY_REDIS_LOOK - 1;

    for (q = ngx_queue_head(&mailbox->calls);
         q != ngx_queue_sentinel(&mailbox->calls);
         q = ngx_queue_next(q))
    {
        call = ngx_queue_data(q, ngx_http_academy_call_t, queue);

        if (call != target) {

            if (room == 0) {
                if (!target->leads) {
                    break;
                }

                continue;
            }

            if (!ngx_http_academy_redis_same(call->caller, target->caller)) {
                continue;
            }

            room--;
        }

        if (call->state == NGX_HTTP_ACADEMY_REDIS_NEW && call->asked) {
            *asked = 1;
        }

        if (call->leads) {
            call->leads = 0;
            mailbox->leads--;
        }

        ngx_queue_insert_tail(&mailbox->asked, &call->peers);
        (*n)++;
    }

    return target;
}


/*
 * By what those messages are told that come when none is left: empty, unless
 * an event stream waits, and nobody else.
 */

static ngx_str_t *
ngx_http_academy_redis_arm(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_queue_t              *q;
    ngx_http_academy_call_t  *call;

    static ngx_str_t  none = ngx_null_string;

    if (mailbox->subscribed != NGX_HTTP_ACADEMY_REDIS_YES || mailbox->leads
        || ngx_exiting)
    {
        return &none;
    }

    for (q = ngx_queue_head(&mailbox->calls);
         q != ngx_queue_sentinel(&mailbox->calls);
         q = ngx_queue_next(q))
    {
        call = ngx_queue_data(q, ngx_http_academy_call_t, queue);

        if (!call->stays) {
            return &none;
        }
    }

    return ngx_http_academy_redis_channel(mailbox->redis);
}


static ngx_uint_t
ngx_http_academy_redis_same(ngx_http_academy_caller_t *one,
    ngx_http_academy_caller_t *two)
{
    ngx_uint_t  i;

    if (one->id.len != two->id.len || one->ngroups != two->ngroups
        || ngx_memcmp(one->id.data, two->id.data, one->id.len) != 0)
    {
        return 0;
    }

    for (i = 0; i < one->ngroups; i++) {
        if (one->groups[i].len != two->groups[i].len
            || ngx_memcmp(one->groups[i].data, two->groups[i].data,
                          one->groups[i].len)
               != 0)
        {
            return 0;
        }
    }

    return 1;
}


/* memory for what a look brings, before it is too late */

static ngx_int_t
ngx_http_academy_redis_reserve(ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_uint_t n)
{
    ngx_uint_t                       i;
    ngx_http_academy_redis_lease_t  *lease;

    for (i = 0; i < n; i++) {
        lease = ngx_calloc(sizeof(ngx_http_academy_redis_lease_t),
                           ngx_cycle->log);
        if (lease == NULL) {
            return NGX_ERROR;
        }

        lease->seq = ++mailbox->redis->seq;
        lease->order = lease->seq;
        lease->since = ngx_current_msec;
        ngx_memcpy(lease->uid, mailbox->uid, 16);

        ngx_queue_insert_tail(&mailbox->leases, &lease->queue);
    }

    return NGX_OK;
}


static void
ngx_http_academy_redis_release(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_queue_t                     *q;
    ngx_http_academy_redis_lease_t  *lease;

    while (!ngx_queue_empty(&mailbox->leases)) {
        q = ngx_queue_head(&mailbox->leases);
        lease = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);

        ngx_queue_remove(q);
        ngx_free(lease);
    }
}


static void
ngx_http_academy_redis_look_handler(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_mailbox_t *mailbox = data;

    ngx_uint_t                      put_off;
    ngx_queue_t                     served;
    ngx_http_academy_redis_wait_t  *wait;

    wait = redis->wait;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "academy redis looked: %p %ui n:%uz", mailbox,
                   (ngx_uint_t) answer->result,
                   answer->reply ? answer->reply->elements : 0);

    mailbox->asking = 0;

    if (mailbox->held) {
        ngx_post_event(&wait->gather.event, &ngx_posted_events);
    }

    if (mailbox->paced) {
        mailbox->paced = 0;
        wait->looks--;
    }

    put_off = 0;
    ngx_queue_init(&served);

    switch (answer->result) {

    case NGX_HTTP_ACADEMY_OK:
        ngx_http_academy_redis_brought(mailbox, answer->reply, &served);

        if (mailbox->later) {

            /*
             * Others are giving back what comes first, and who waits is told
             * when they have, unless they end before
             */

            mailbox->sure = 0;
            mailbox->again = 1;
        }

        break;

    case NGX_HTTP_ACADEMY_MISSING:
    case NGX_HTTP_ACADEMY_TERMINATED:
    case NGX_HTTP_ACADEMY_FORBIDDEN:
        ngx_http_academy_redis_refused(mailbox, answer->result, &served);
        break;

    default:
        ngx_http_academy_redis_failed(mailbox, answer, &served);
        put_off = 1;
    }

    /* who comes back at once is looked for together with others */

    mailbox->busy = 1;
    ngx_http_academy_redis_finish(&served);
    mailbox->busy = 0;

    mailbox->most = ngx_min(2 * mailbox->most, NGX_HTTP_ACADEMY_REDIS_LOOK);

    if (!ngx_queue_empty(&mailbox->stock)) {
        mailbox->most = 1;
    }

    ngx_http_academy_redis_left_over(mailbox);

    if (put_off && !ngx_queue_empty(&mailbox->calls)) {
        ngx_http_academy_redis_put_off(mailbox);

    } else if (mailbox->later && !ngx_queue_empty(&mailbox->calls)) {
        ngx_http_academy_redis_put_by(mailbox);

    } else {
        ngx_http_academy_redis_step(mailbox);
    }

    ngx_http_academy_redis_pump(wait);
}


/*
 * What a look brought for nobody goes back, before what came behind it: if
 * messages are handed over, when they no more are.
 */

static void
ngx_http_academy_redis_left_over(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&mailbox->stock)) {
        q = ngx_queue_last(&mailbox->stock);
        ngx_queue_remove(q);

        if (mailbox->armed) {
            ngx_queue_insert_head(&mailbox->handed, q);
            continue;
        }

        ngx_http_academy_redis_return(mailbox->redis,
                   ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue));
    }

    ngx_http_academy_redis_hand(mailbox);
}


static void
ngx_http_academy_redis_brought(ngx_http_academy_redis_mailbox_t *mailbox,
    redisReply *reply, ngx_queue_t *served)
{
    int64_t                          more;
    ngx_uint_t                       i;
    ngx_queue_t                     *q;
    redisReply                      *json;
    ngx_http_academy_call_t         *call;
    ngx_http_academy_redis_t        *redis;
    ngx_http_academy_redis_lease_t  *lease;

    redis = mailbox->redis;
    more = ngx_http_academy_redis_integer(reply, 1);
    mailbox->more = (more == 1);
    mailbox->later = (more == 2);

    if (more == 3) {
        mailbox->armed = NGX_HTTP_ACADEMY_REDIS_ARMED;
    }

    for (i = 2; i < reply->elements; i++) {
        json = ngx_http_academy_redis_string(reply, i);

        if (json == NULL || ngx_queue_empty(&mailbox->leases)) {
            ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                          "unexpected answer of Redis to a take");
            break;
        }

        q = ngx_queue_head(&mailbox->leases);
        ngx_queue_remove(q);

        lease = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);
        lease->json = (u_char *) json->str;
        lease->size = json->len;
        json->str = NULL;

        if (ngx_exiting || mailbox->held) {
            ngx_http_academy_redis_return(redis, lease);
            continue;
        }

        if (ngx_queue_empty(&mailbox->asked)) {
            ngx_queue_insert_tail(&mailbox->stock, &lease->queue);
            continue;
        }

        q = ngx_queue_head(&mailbox->asked);
        call = ngx_queue_data(q, ngx_http_academy_call_t, peers);

        ngx_http_academy_redis_bring(call, mailbox, lease);
        ngx_http_academy_redis_serve(call, mailbox, NGX_HTTP_ACADEMY_OK,
                                     served);
    }

    ngx_http_academy_redis_release(mailbox);

    if (reply->elements - 2 < mailbox->n) {
        ngx_http_academy_redis_review(mailbox);
    }

    ngx_http_academy_redis_uncover(mailbox);

    if (mailbox->more || (mailbox->held && reply->elements > 2)) {
        mailbox->again = 1;
    }
}


/* not for the caller's calls, and for others' perhaps not either */

static void
ngx_http_academy_redis_refused(ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_http_academy_result_e result, ngx_queue_t *served)
{
    ngx_queue_t              *q;
    ngx_http_academy_call_t  *call;

    while (!ngx_queue_empty(&mailbox->asked)) {
        q = ngx_queue_head(&mailbox->asked);
        call = ngx_queue_data(q, ngx_http_academy_call_t, peers);

        ngx_http_academy_redis_serve(call, mailbox, result, served);
    }

    mailbox->more = 0;
    mailbox->sure = 0;

    ngx_http_academy_redis_release(mailbox);
    ngx_http_academy_redis_review(mailbox);
}


/*
 * Redis may have run the script: then there are leases that nobody else knows
 * of.  Who has just asked is told that it failed, also those who only waited
 * for their turn; who waits already does so on.
 */

static void
ngx_http_academy_redis_failed(ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_http_academy_redis_answer_t *answer, ngx_queue_t *served)
{
    ngx_queue_t               *q, *next;
    ngx_http_academy_call_t   *call;
    ngx_http_academy_redis_t  *redis;

    redis = mailbox->redis;

    if (mailbox->arms && answer->sent) {
        mailbox->armed = NGX_HTTP_ACADEMY_REDIS_ARMED;
    }

    if (answer->sent || answer->result != NGX_HTTP_ACADEMY_UNAVAILABLE) {

        while (!ngx_queue_empty(&mailbox->leases)) {
            q = ngx_queue_last(&mailbox->leases);
            ngx_queue_remove(q);

            ngx_http_academy_redis_return_doubted(redis,
                   ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue));
        }
    }

    ngx_http_academy_redis_release(mailbox);

    mailbox->sure = 0;

    while (!ngx_queue_empty(&mailbox->asked)) {
        q = ngx_queue_head(&mailbox->asked);
        call = ngx_queue_data(q, ngx_http_academy_call_t, peers);

        ngx_queue_remove(&call->peers);
        ngx_queue_init(&call->peers);

        ngx_http_academy_redis_lead(call, mailbox);
    }

    for (q = ngx_queue_head(&mailbox->calls);
         q != ngx_queue_sentinel(&mailbox->calls);
         q = next)
    {
        next = ngx_queue_next(q);
        call = ngx_queue_data(q, ngx_http_academy_call_t, queue);

        if (call->state == NGX_HTTP_ACADEMY_REDIS_NEW && call->asked) {
            ngx_http_academy_redis_serve(call, mailbox, answer->result,
                                         served);
        }
    }
}


static void
ngx_http_academy_redis_serve(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_http_academy_result_e result, ngx_queue_t *served)
{
    ngx_http_academy_redis_leave(call, mailbox);
    ngx_queue_insert_tail(served, &call->queue);

    call->state = NGX_HTTP_ACADEMY_REDIS_SERVED;
    call->result = result;
}


/* calls that a look covered, and brought nothing for */

static void
ngx_http_academy_redis_uncover(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_queue_t              *q;
    ngx_http_academy_call_t  *call;

    while (!ngx_queue_empty(&mailbox->asked)) {
        q = ngx_queue_head(&mailbox->asked);
        call = ngx_queue_data(q, ngx_http_academy_call_t, peers);

        ngx_queue_remove(q);
        ngx_queue_init(q);

        if (call->state == NGX_HTTP_ACADEMY_REDIS_NEW && call->waits) {
            call->waits(call);
        }

        call->state = NGX_HTTP_ACADEMY_REDIS_WAITS;
    }
}


/* all that the last look did not cover are to be looked for */

static void
ngx_http_academy_redis_review(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_queue_t              *q;
    ngx_http_academy_call_t  *call;

    for (q = ngx_queue_head(&mailbox->calls);
         q != ngx_queue_sentinel(&mailbox->calls);
         q = ngx_queue_next(q))
    {
        call = ngx_queue_data(q, ngx_http_academy_call_t, queue);

        if (ngx_queue_empty(&call->peers)) {
            ngx_http_academy_redis_lead(call, mailbox);
        }
    }
}


ngx_uint_t
ngx_http_academy_redis_wait_hold(ngx_http_academy_redis_t *redis,
    u_char uid[16])
{
    ngx_http_academy_redis_mailbox_t  *mailbox;

    mailbox = ngx_http_academy_redis_find(redis->wait, uid);

    if (mailbox == NULL || (!mailbox->asking && !mailbox->armed)) {
        return 0;
    }

    mailbox->held = 1;

    if (mailbox->armed) {
        ngx_http_academy_redis_disarm(mailbox);
    }

    return 1;
}


ngx_uint_t
ngx_http_academy_redis_serve_handed(ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_http_academy_redis_lease_t *lease)
{
    ngx_queue_t               served, *q;
    ngx_http_academy_call_t  *call;

    for (q = ngx_queue_head(&mailbox->calls);
         q != ngx_queue_sentinel(&mailbox->calls);
         q = ngx_queue_next(q))
    {
        call = ngx_queue_data(q, ngx_http_academy_call_t, queue);

        if (call->state == NGX_HTTP_ACADEMY_REDIS_WAITS) {
            break;
        }
    }

    if (q == ngx_queue_sentinel(&mailbox->calls)) {
        return 0;
    }

    ngx_http_academy_redis_bring(call, mailbox, lease);

    ngx_queue_init(&served);
    ngx_http_academy_redis_serve(call, mailbox, NGX_HTTP_ACADEMY_OK, &served);

    mailbox->busy = 1;
    ngx_http_academy_redis_finish(&served);
    mailbox->busy = 0;

    return 1;
}


/* one by one: a handler may cancel calls that come after its own */

static void
ngx_http_academy_redis_finish(ngx_queue_t *served)
{
    ngx_queue_t              *q;
    ngx_http_academy_call_t  *call;

    while (!ngx_queue_empty(served)) {
        q = ngx_queue_head(served);
        call = ngx_queue_data(q, ngx_http_academy_call_t, queue);

        ngx_queue_remove(q);
        call->state = NGX_HTTP_ACADEMY_REDIS_IDLE;

        call->done(call);
    }
}


void
ngx_http_academy_redis_put_off(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_http_academy_redis_wait_t  *wait;

    wait = mailbox->redis->wait;
    wait->stalled = 1;

    ngx_http_academy_redis_place(mailbox, &wait->todo);
}


/* until it is told of, or the next second */

static void
ngx_http_academy_redis_put_by(ngx_http_academy_redis_mailbox_t *mailbox)
{
    mailbox->later = 0;

    if (mailbox->subscribed == NGX_HTTP_ACADEMY_REDIS_NO) {
        ngx_http_academy_redis_want(mailbox);
    }

    ngx_http_academy_redis_place(mailbox, &mailbox->redis->wait->late);
}


/* behind the others, unless it has a place already */

static void
ngx_http_academy_redis_place(ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_queue_t *queue)
{
    if (!mailbox->todo) {
        mailbox->todo = 1;
        ngx_queue_insert_tail(queue, &mailbox->place);
    }
}


static void
ngx_http_academy_redis_pump(ngx_http_academy_redis_wait_t *wait)
{
    ngx_queue_t                       *q;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    while (!wait->stalled && wait->looks < NGX_HTTP_ACADEMY_REDIS_LOOKS
           && !ngx_queue_empty(&wait->todo))
    {
        q = ngx_queue_head(&wait->todo);
        mailbox = ngx_queue_data(q, ngx_http_academy_redis_mailbox_t, place);

        ngx_queue_remove(q);
        mailbox->todo = 0;

        if (mailbox->asking || mailbox->busy
            || ngx_queue_empty(&mailbox->calls)
            || (mailbox->leads == 0 && !mailbox->again))
        {
            ngx_http_academy_redis_step(mailbox);
            continue;
        }

        ngx_http_academy_redis_step(mailbox);

        if (mailbox->asking) {
            mailbox->paced = 1;
            wait->looks++;
        }
    }
}


static void
ngx_http_academy_redis_want(ngx_http_academy_redis_mailbox_t *mailbox)
{
    ngx_http_academy_redis_wait_t  *wait;

    wait = mailbox->redis->wait;

    if (mailbox->wanted) {
        return;
    }

    mailbox->wanted = 1;
    ngx_queue_insert_tail(&wait->wanted, &mailbox->subscribe);

    ngx_post_event(&wait->subscribe, &ngx_posted_events);
}


static void
ngx_http_academy_redis_subscribe_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_t *redis = ev->data;

    ngx_int_t                          rc;
    ngx_str_t                         *keys;
    ngx_uint_t                         i, n;
    ngx_queue_t                       *q;
    ngx_http_academy_redis_wait_t     *wait;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    wait = redis->wait;

    if (ngx_queue_empty(&wait->wanted)) {
        return;
    }

    keys = ngx_http_academy_redis_keys(redis);
    if (keys == NULL) {
        return;
    }

    n = 0;

    for (q = ngx_queue_head(&wait->wanted);
         q != ngx_queue_sentinel(&wait->wanted)
         && n < NGX_HTTP_ACADEMY_REDIS_KEYS;
         q = ngx_queue_next(q))
    {
        mailbox = ngx_queue_data(q, ngx_http_academy_redis_mailbox_t,
                                 subscribe);

        ngx_http_academy_redis_print_key(redis, keys, n++, mailbox->uid);
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "academy redis subscribe: %ui", n);

    rc = ngx_http_academy_redis_subscribe(redis, keys, n);

    ngx_free(keys);

    if (rc != NGX_OK) {

        /* once there is a connection, or in a second */

        return;
    }

    for (i = 0; i < n; i++) {
        q = ngx_queue_head(&wait->wanted);
        mailbox = ngx_queue_data(q, ngx_http_academy_redis_mailbox_t,
                                 subscribe);

        ngx_queue_remove(q);

        mailbox->wanted = 0;
        mailbox->subscribed = NGX_HTTP_ACADEMY_REDIS_ASKED;
    }

    if (!ngx_queue_empty(&wait->wanted)) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


/* room for the names of as many keys as go in a command */

static ngx_str_t *
ngx_http_academy_redis_keys(ngx_http_academy_redis_t *redis)
{
    size_t  size;

    size = sizeof(ngx_str_t) + redis->prefix.len + sizeof("queue:") - 1
           + NGX_HTTP_ACADEMY_UUID_LEN;

    return ngx_alloc(NGX_HTTP_ACADEMY_REDIS_KEYS * size, ngx_cycle->log);
}


static void
ngx_http_academy_redis_print_key(ngx_http_academy_redis_t *redis,
    ngx_str_t *keys, ngx_uint_t n, u_char uid[16])
{
    u_char  *p;

    p = (u_char *) (keys + NGX_HTTP_ACADEMY_REDIS_KEYS);

    keys[n].len = redis->prefix.len + sizeof("queue:") - 1
                  + NGX_HTTP_ACADEMY_UUID_LEN;
    keys[n].data = p + n * keys[n].len;

    p = ngx_cpymem(keys[n].data, redis->prefix.data, redis->prefix.len);
    p = ngx_cpymem(p, "queue:", sizeof("queue:") - 1);
    (void) ngx_http_academy_uuid_print(p, uid);
}


void
ngx_http_academy_redis_wait_subscribed(ngx_http_academy_redis_t *redis,
    ngx_str_t *key)
{
    ngx_http_academy_redis_mailbox_t  *mailbox;

    mailbox = ngx_http_academy_redis_find_key(redis, key);

    if (mailbox == NULL
        || mailbox->subscribed != NGX_HTTP_ACADEMY_REDIS_ASKED)
    {
        return;
    }

    mailbox->subscribed = NGX_HTTP_ACADEMY_REDIS_YES;

    if (ngx_queue_empty(&mailbox->calls)) {
        return;
    }

    /* what came before is not told */

    mailbox->again = 1;

    ngx_http_academy_redis_place(mailbox, &redis->wait->todo);

    ngx_http_academy_redis_pump(redis->wait);
}


void
ngx_http_academy_redis_wait_event(ngx_http_academy_redis_t *redis,
    ngx_str_t *key, ngx_str_t *event)
{
    ngx_str_t                         *dull;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    for (dull = ngx_http_academy_redis_dull; dull->len; dull++) {
        if (dull->len == event->len
            && ngx_memcmp(dull->data, event->data, event->len) == 0)
        {
            return;
        }
    }

    mailbox = ngx_http_academy_redis_find_key(redis, key);

    if (mailbox == NULL) {
        return;
    }

    mailbox->sure = 0;
    mailbox->last = NULL;
    mailbox->events++;

    if (!ngx_queue_empty(&mailbox->calls)) {
        mailbox->again = 1;
        ngx_http_academy_redis_step(mailbox);
    }
}


void
ngx_http_academy_redis_wait_down(ngx_http_academy_redis_t *redis)
{
    ngx_rbtree_t                      *tree;
    ngx_rbtree_node_t                 *node, *next;
    ngx_http_academy_redis_wait_t     *wait;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    wait = redis->wait;
    tree = &wait->mailboxes;

    if (tree->root == tree->sentinel) {
        return;
    }

    for (node = ngx_rbtree_min(tree->root, tree->sentinel);
         node;
         node = next)
    {
        next = ngx_rbtree_next(tree, node);
        mailbox = ngx_http_academy_redis_mailbox(node);

        mailbox->subscribed = NGX_HTTP_ACADEMY_REDIS_NO;
        mailbox->sure = 0;
        mailbox->last = NULL;

        ngx_http_academy_redis_hand_down(mailbox);

        if (mailbox->asking || mailbox->busy) {
            continue;
        }

        if (ngx_queue_empty(&mailbox->calls)) {
            ngx_http_academy_redis_vacate(mailbox);

        } else {
            ngx_http_academy_redis_want(mailbox);
        }
    }
}


void
ngx_http_academy_redis_wait_up(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_wait_t  *wait;

    wait = redis->wait;
    wait->stalled = 0;

    if (!ngx_queue_empty(&wait->late)) {
        ngx_queue_add(&wait->todo, &wait->late);
        ngx_queue_init(&wait->late);
    }

    ngx_http_academy_redis_gather_again(redis);

    ngx_post_event(&wait->subscribe, &ngx_posted_events);

    ngx_http_academy_redis_pump(wait);
}


void
ngx_http_academy_redis_wait_tick(ngx_http_academy_redis_t *redis)
{
    ngx_msec_t  since;

    if (!ngx_http_academy_redis_up(redis, &since)) {
        return;
    }

    if (ngx_http_academy_redis_deaf(redis)) {
        ngx_http_academy_redis_look_at_all(redis->wait);
    }

    if (redis->wait->missed) {
        ngx_http_academy_redis_sweep(redis);
    }

    ngx_http_academy_redis_wait_up(redis);
    ngx_http_academy_redis_expire(redis);
}


/* Redis does not tell of anything: better late than never */

static void
ngx_http_academy_redis_look_at_all(ngx_http_academy_redis_wait_t *wait)
{
    ngx_rbtree_t                      *tree;
    ngx_rbtree_node_t                 *node;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    tree = &wait->mailboxes;

    if (tree->root == tree->sentinel) {
        return;
    }

    for (node = ngx_rbtree_min(tree->root, tree->sentinel);
         node;
         node = ngx_rbtree_next(tree, node))
    {
        mailbox = ngx_http_academy_redis_mailbox(node);

        if (ngx_queue_empty(&mailbox->calls)) {
            continue;
        }

        mailbox->again = 1;

        ngx_http_academy_redis_place(mailbox, &wait->todo);
    }
}


/* nobody came back: what is told of these mailboxes is of no use */

static void
ngx_http_academy_redis_expire(ngx_http_academy_redis_t *redis)
{
    ngx_str_t                         *keys;
    ngx_uint_t                         n;
    ngx_queue_t                       *q;
    ngx_msec_int_t                     age;
    ngx_http_academy_redis_wait_t     *wait;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    wait = redis->wait;
    keys = NULL;
    n = 0;

    while (!ngx_queue_empty(&wait->idle)) {
        q = ngx_queue_head(&wait->idle);
        mailbox = ngx_queue_data(q, ngx_http_academy_redis_mailbox_t, place);

        age = (ngx_msec_int_t) (ngx_current_msec - mailbox->left);

        if (age < NGX_HTTP_ACADEMY_REDIS_IDLE_TIME) {
            break;
        }

        if (mailbox->subscribed == NGX_HTTP_ACADEMY_REDIS_ASKED) {

            /* that it is in force is not to be told of a later one */

            ngx_queue_remove(q);
            ngx_queue_insert_tail(&wait->idle, q);
            mailbox->left = ngx_current_msec;
            continue;
        }

        if (keys == NULL) {
            keys = ngx_http_academy_redis_keys(redis);
            if (keys == NULL) {
                return;
            }
        }

        ngx_http_academy_redis_print_key(redis, keys, n++, mailbox->uid);
        ngx_http_academy_redis_discard(mailbox);

        if (n == NGX_HTTP_ACADEMY_REDIS_KEYS) {
            (void) ngx_http_academy_redis_unsubscribe(redis, keys, n);
            n = 0;
        }
    }

    if (n) {
        (void) ngx_http_academy_redis_unsubscribe(redis, keys, n);
    }

    if (keys) {
        ngx_free(keys);
    }
}


void
ngx_http_academy_redis_wait_exit(ngx_http_academy_redis_t *redis)
{
    ngx_queue_t                        served, *q;
    ngx_rbtree_t                      *tree;
    ngx_rbtree_node_t                 *node;
    ngx_http_academy_call_t           *call;
    ngx_http_academy_redis_mailbox_t  *mailbox;

    tree = &redis->wait->mailboxes;

    if (tree->root == tree->sentinel) {
        return;
    }

    ngx_queue_init(&served);

    for (node = ngx_rbtree_min(tree->root, tree->sentinel);
         node;
         node = ngx_rbtree_next(tree, node))
    {
        mailbox = ngx_http_academy_redis_mailbox(node);

        while (!ngx_queue_empty(&mailbox->calls)) {
            q = ngx_queue_head(&mailbox->calls);
            call = ngx_queue_data(q, ngx_http_academy_call_t, queue);

            ngx_http_academy_redis_serve(call, mailbox,
                                         NGX_HTTP_ACADEMY_CLOSING, &served);
        }

        ngx_http_academy_redis_disarm(mailbox);
    }

    ngx_http_academy_redis_finish(&served);
}
