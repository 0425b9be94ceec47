
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_redis_call.h"


/*
 * Signs of life, and the work that one worker of all, the leader, does for the
 * rest: what nodes that are gone had leased goes back, mailboxes that were
 * terminated are wound up, and what a Python exchange did comes into the
 * indexes.
 *
 * The leader is told of that by events, as long as there is somebody else: see
 * census.c.  They are gathered for a moment, and then scripts look at the keys
 * themselves: an event more or less, or two in the wrong order, changes
 * nothing.  Whoever becomes the leader, or was without events for a while, goes
 * through all keys once, in small steps.
 */


#define NGX_HTTP_ACADEMY_REDIS_TICK       1000     /* milliseconds */
#define NGX_HTTP_ACADEMY_REDIS_GATHER     200
#define NGX_HTTP_ACADEMY_REDIS_TTL        "10000"
#define NGX_HTTP_ACADEMY_REDIS_LEADER     "5000"

/* all look dead when Redis itself was away: they have so long to speak */

#define NGX_HTTP_ACADEMY_REDIS_STEADY     5000
#define NGX_HTTP_ACADEMY_REDIS_LATE       1500

#define NGX_HTTP_ACADEMY_REDIS_DEAD       64       /* nodes, at a time */
#define NGX_HTTP_ACADEMY_REDIS_RETURN     100      /* leases, in a script */

/* bounds of the scripts: mailboxes, and requests, that they look at */

#define NGX_HTTP_ACADEMY_REDIS_INDEX      22
#define NGX_HTTP_ACADEMY_REDIS_REQUESTS   50

/* more that is to be looked at is found by going through all keys */

#define NGX_HTTP_ACADEMY_REDIS_CHANGES    16384


/* a mailbox, or an open request of one, that is to be looked at */

typedef struct {
    ngx_str_node_t              sn;
    ngx_queue_t                 queue;
    u_char                      text[1];     /* UUID, or UUID:UUID */
} ngx_http_academy_redis_change_t;


typedef struct {
    ngx_rbtree_t                tree;
    ngx_rbtree_node_t           sentinel;
    ngx_queue_t                 queue;       /* oldest first */
    ngx_uint_t                  n;
    ngx_queue_t                 batch;       /* a script looks at these */
} ngx_http_academy_redis_changes_t;


typedef struct {
    u_char                      node[NGX_HTTP_ACADEMY_NODE_LEN];
    unsigned                    sure:1;
} ngx_http_academy_redis_dead_t;


struct ngx_http_academy_redis_keeper_s {
    ngx_event_t                       tick;
    ngx_event_t                       gather;

    ngx_msec_t                        asked;
    ngx_msec_t                        answered;
    ngx_msec_t                        steady;      /* answered in time since */

    ngx_http_academy_redis_changes_t  mailboxes;
    ngx_http_academy_redis_changes_t  requests;

    ngx_str_t                         told;        /* patterns of keys */
    ngx_str_t                         scanned;
    u_char                            cursor[NGX_INT64_LEN + 1];
    size_t                            len;

    ngx_http_academy_redis_dead_t     dead[NGX_HTTP_ACADEMY_REDIS_DEAD];
    ngx_uint_t                        ndead;

    unsigned                          ticking:1;   /* one is under way */
    unsigned                          leader:1;
    unsigned                          counted:1;   /* others, once */
    unsigned                          patterns:1;  /* are subscribed */
    unsigned                          scans:1;
    unsigned                          scanning:1;  /* a step is under way */
    unsigned                          anew:1;      /* and the last one of it */
    unsigned                          leaving:1;   /* a dead one's leases */
};


static ngx_int_t ngx_http_academy_redis_pattern(
    ngx_http_academy_redis_t *redis, char *kind, ngx_str_t *pattern);
static void ngx_http_academy_redis_changes_init(
    ngx_http_academy_redis_changes_t *changes);
static void ngx_http_academy_redis_tick_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_tick(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_ticked(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_lead(ngx_http_academy_redis_t *redis,
    redisReply *reply);
static void ngx_http_academy_redis_bury(ngx_http_academy_redis_t *redis,
    u_char *node, ngx_uint_t sure);
static void ngx_http_academy_redis_bury_next(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_buried(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_change(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_changes_t *changes, u_char *p, size_t len);
static void ngx_http_academy_redis_take_out(
    ngx_http_academy_redis_changes_t *changes,
    ngx_http_academy_redis_change_t *change);
static void ngx_http_academy_redis_gather_soon(
    ngx_http_academy_redis_keeper_t *keeper);
static void ngx_http_academy_redis_gather_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_gather(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_look(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_changes_t *changes,
    ngx_http_academy_redis_script_e script);
static void ngx_http_academy_redis_put_back(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_changes_t *changes, int64_t n);
static void ngx_http_academy_redis_looked(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_scan_begin(
    ngx_http_academy_redis_keeper_t *keeper);
static void ngx_http_academy_redis_scan_next(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_scanned(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);


ngx_int_t
ngx_http_academy_redis_keeper_init(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = ngx_pcalloc(ngx_cycle->pool,
                         sizeof(ngx_http_academy_redis_keeper_t));
    if (keeper == NULL) {
        return NGX_ERROR;
    }

    /*
     * "active:", "owner:" and "request:", or the first and the last of them,
     * and none of the exchange's other keys: each event is held against each
     * pattern, so there is one
     */

    if (ngx_http_academy_redis_pattern(redis, "[aor][cwe][tnq][ieu][vre]*",
                                       &keeper->told)
        != NGX_OK
        || ngx_http_academy_redis_pattern(redis, "[ar][ce][tq]*",
                                          &keeper->scanned)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_academy_redis_changes_init(&keeper->mailboxes);
    ngx_http_academy_redis_changes_init(&keeper->requests);

    keeper->tick.handler = ngx_http_academy_redis_tick_handler;
    keeper->tick.data = redis;
    keeper->tick.log = ngx_cycle->log;
    keeper->tick.cancelable = 1;

    keeper->gather.handler = ngx_http_academy_redis_gather_handler;
    keeper->gather.data = redis;
    keeper->gather.log = ngx_cycle->log;
    keeper->gather.cancelable = 1;

    redis->keeper = keeper;

    ngx_add_timer(&keeper->tick, NGX_HTTP_ACADEMY_REDIS_TICK);

    return NGX_OK;
}


/* nothing of the prefix is to stand for anything else */

static ngx_int_t
ngx_http_academy_redis_pattern(ngx_http_academy_redis_t *redis, char *kind,
    ngx_str_t *pattern)
{
    u_char      *p;
    ngx_uint_t   i;

    pattern->data = ngx_pnalloc(ngx_cycle->pool, 2 * redis->prefix.len
                                                 + ngx_strlen(kind));
    if (pattern->data == NULL) {
        return NGX_ERROR;
    }

    p = pattern->data;

    for (i = 0; i < redis->prefix.len; i++) {

        if (ngx_strchr("*?[]^\\", redis->prefix.data[i])) {
            *p++ = '\\';
        }

        *p++ = redis->prefix.data[i];
    }

    p = ngx_cpymem(p, kind, ngx_strlen(kind));

    pattern->len = p - pattern->data;

    return NGX_OK;
}


static void
ngx_http_academy_redis_changes_init(ngx_http_academy_redis_changes_t *changes)
{
    ngx_rbtree_init(&changes->tree, &changes->sentinel,
                    ngx_str_rbtree_insert_value);
    ngx_queue_init(&changes->queue);
    ngx_queue_init(&changes->batch);
}


void
ngx_http_academy_redis_keeper_up(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_tick(redis);
}


/* whoever is the leader when Redis is there again begins anew */

void
ngx_http_academy_redis_keeper_down(ngx_http_academy_redis_t *redis)
{
    redis->keeper->leader = 0;
    redis->keeper->patterns = 0;
    redis->keeper->scans = 0;

    redis->others = 0;
}


static void
ngx_http_academy_redis_tick_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_t *redis = ev->data;

    ngx_add_timer(ev, NGX_HTTP_ACADEMY_REDIS_TICK);

    ngx_http_academy_redis_wait_tick(redis);

    ngx_http_academy_redis_tick(redis);
}


static void
ngx_http_academy_redis_tick(ngx_http_academy_redis_t *redis)
{
    u_char                            node[NGX_HTTP_ACADEMY_NODE_LEN];
    u_char                            expiry[NGX_TIME_T_LEN];
    ngx_str_t                         args[4];
    ngx_msec_t                        since;
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;

    /* a node lives as long as it can take messages */

    if (keeper->ticking || !ngx_http_academy_redis_commands_up(redis)) {
        return;
    }

    if (ngx_http_academy_redis_orphan(redis, node) == NGX_OK) {
        ngx_http_academy_redis_bury(redis, node, 1);
    }

    args[0].data = redis->node;
    args[0].len = NGX_HTTP_ACADEMY_NODE_LEN;
    ngx_str_set(&args[1], NGX_HTTP_ACADEMY_REDIS_TTL);
    ngx_str_set(&args[2], NGX_HTTP_ACADEMY_REDIS_LEADER);

    args[3].data = expiry;
    args[3].len = ngx_sprintf(expiry, "%T",
                              redis->exchange.expiry->mailboxes)
                  - expiry;

    if (ngx_exiting || !ngx_http_academy_redis_up(redis, &since)) {
        ngx_str_set(&args[2], "0");
    }

    if (ngx_http_academy_redis_run(redis, NGX_HTTP_ACADEMY_SCRIPT_TICK, args,
                                   4, ngx_http_academy_redis_ticked, NULL)
        == NGX_OK)
    {
        keeper->ticking = 1;
        keeper->asked = ngx_current_msec;
    }
}


static void
ngx_http_academy_redis_ticked(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;
    keeper->ticking = 0;

    if (answer->result != NGX_HTTP_ACADEMY_OK) {
        return;
    }

    if (ngx_current_msec - keeper->asked > NGX_HTTP_ACADEMY_REDIS_LATE
        || ngx_current_msec - keeper->answered
           > NGX_HTTP_ACADEMY_REDIS_TICK + NGX_HTTP_ACADEMY_REDIS_LATE)
    {
        keeper->steady = ngx_current_msec;
    }

    keeper->answered = ngx_current_msec;

    ngx_http_academy_redis_timed(redis,
                             ngx_http_academy_redis_integer(answer->reply, 4),
                             keeper->asked);

    if (ngx_http_academy_redis_integer(answer->reply, 1)) {
        ngx_http_academy_redis_lead(redis, answer->reply);
        return;
    }

    keeper->leader = 0;
    keeper->scans = 0;
    redis->others = 0;

    if (keeper->patterns) {
        keeper->patterns = 0;

        (void) ngx_http_academy_redis_punsubscribe(redis, &keeper->told);
    }
}


static void
ngx_http_academy_redis_lead(ngx_http_academy_redis_t *redis, redisReply *reply)
{
    ngx_uint_t                        i;
    ngx_msec_t                        since;
    redisReply                       *list, *item;
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;

    if (!ngx_http_academy_redis_up(redis, &since)) {
        return;
    }

    if (!keeper->leader) {

        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "this worker does the common work of redis \"%V\"",
                      &redis->exchange.name);

        keeper->leader = 1;
        keeper->counted = 0;

        ngx_http_academy_redis_census_begin(redis);
    }

    ngx_http_academy_redis_census(redis);

    if (redis->others) {

        /* somebody may have set it to something else: see events.c */

        ngx_http_academy_redis_ask_events(redis);
    }

    list = ngx_http_academy_redis_array(reply, 3);

    for (i = 0; list && i < list->elements; i++) {
        item = ngx_http_academy_redis_string(list, i);

        if (item && item->len == NGX_HTTP_ACADEMY_UUID_LEN) {
            ngx_http_academy_redis_close(redis, (u_char *) item->str);
        }
    }

    if (ngx_current_msec - since < NGX_HTTP_ACADEMY_REDIS_STEADY
        || ngx_current_msec - keeper->steady < NGX_HTTP_ACADEMY_REDIS_STEADY)
    {
        return;
    }

    list = ngx_http_academy_redis_array(reply, 2);

    for (i = 0; list && i < list->elements; i++) {
        item = ngx_http_academy_redis_string(list, i);

        if (item && item->len == NGX_HTTP_ACADEMY_NODE_LEN) {
            ngx_http_academy_redis_bury(redis, (u_char *) item->str, 0);
        }
    }
}


/*
 * As long as all others are nodes nothing has to be told.  What somebody did
 * before others were counted, or before the patterns are in force, is found by
 * going through all keys.
 */

void
ngx_http_academy_redis_keeper_company(ngx_http_academy_redis_t *redis,
    ngx_uint_t others)
{
    ngx_uint_t                        first;
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;

    if (!keeper->leader) {
        return;
    }

    first = !keeper->counted;
    keeper->counted = 1;

    redis->others = others;

    if (!others && keeper->patterns) {
        keeper->patterns = 0;

        (void) ngx_http_academy_redis_punsubscribe(redis, &keeper->told);
    }

    if (!others || keeper->patterns) {

        if (first) {
            ngx_http_academy_redis_scan_begin(keeper);
        }

        return;
    }

    ngx_http_academy_redis_ask_events(redis);

    if (ngx_http_academy_redis_psubscribe(redis, &keeper->told) != NGX_OK) {

        /* the next look tells of them again */

        keeper->counted = !first;

        redis->census.seen = 0;
        return;
    }

    ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                  "others are connected to redis \"%V\", "
                  "what they change is looked for: %V",
                  &redis->exchange.name, &redis->census.who);

    keeper->patterns = 1;
}


void
ngx_http_academy_redis_keeper_told(ngx_http_academy_redis_t *redis)
{
    if (redis->keeper->leader) {
        ngx_http_academy_redis_scan_begin(redis->keeper);
    }
}


/*
 * What a node that is gone had leased returns.  Unless its process is known to
 * have ended, it may show up until the script runs.
 */

static void
ngx_http_academy_redis_bury(ngx_http_academy_redis_t *redis, u_char *node,
    ngx_uint_t sure)
{
    ngx_uint_t                        i;
    ngx_http_academy_redis_dead_t    *dead;
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;

    for (i = 0; i < keeper->ndead; i++) {
        dead = &keeper->dead[i];

        if (ngx_memcmp(dead->node, node, NGX_HTTP_ACADEMY_NODE_LEN) == 0) {
            dead->sure |= sure;
            return;
        }
    }

    if (keeper->ndead == NGX_HTTP_ACADEMY_REDIS_DEAD) {
        return;
    }

    dead = &keeper->dead[keeper->ndead++];
    ngx_memcpy(dead->node, node, NGX_HTTP_ACADEMY_NODE_LEN);
    dead->sure = sure;

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "worker \"%*s\" of redis \"%V\" is gone, what it had not "
                  "delivered returns to its mailboxes",
                  (size_t) NGX_HTTP_ACADEMY_NODE_LEN, node,
                  &redis->exchange.name);

    ngx_http_academy_redis_bury_next(redis);
}


static void
ngx_http_academy_redis_bury_next(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_args_t     args;
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;

    if (keeper->leaving || keeper->ndead == 0) {
        return;
    }

    args.n = 0;
    ngx_http_academy_redis_arg_data(&args, keeper->dead[0].node,
                                    NGX_HTTP_ACADEMY_NODE_LEN);
    ngx_http_academy_redis_arg_number(&args, NGX_HTTP_ACADEMY_REDIS_RETURN);
    ngx_http_academy_redis_arg_number(&args, !keeper->dead[0].sure);

    if (ngx_http_academy_redis_run(redis, NGX_HTTP_ACADEMY_SCRIPT_LEAVE,
                                   args.args, args.n,
                                   ngx_http_academy_redis_buried, NULL)
        != NGX_OK)
    {
        /* the next tick tells of it again */

        keeper->ndead = 0;
        return;
    }

    keeper->leaving = 1;
}


static void
ngx_http_academy_redis_buried(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
{
    int64_t                           rc;
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;
    keeper->leaving = 0;

    if (answer->result != NGX_HTTP_ACADEMY_OK) {
        keeper->ndead = 0;
        return;
    }

    rc = ngx_http_academy_redis_integer(answer->reply, 1);

    if (rc != 1) {

        /* 2: it lives */

        if (rc == 0) {
            ngx_http_academy_redis_forget(redis, keeper->dead[0].node);
        }

        keeper->ndead--;
        ngx_memmove(&keeper->dead[0], &keeper->dead[1],
                    keeper->ndead * sizeof(ngx_http_academy_redis_dead_t));
    }

    ngx_http_academy_redis_bury_next(redis);
}


/*
 * "active:UID" or "owner:UID" was set, "request:UID:TAG" was set or went.  A
 * Python exchange that makes a mailbox sets its owner last.
 */

void
ngx_http_academy_redis_keeper_event(ngx_http_academy_redis_t *redis,
    ngx_str_t *key, ngx_str_t *event)
{
    u_char                           *p;
    size_t                            len;
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;

    if (!keeper->leader || key->len < redis->prefix.len) {
        return;
    }

    p = key->data + redis->prefix.len;
    len = key->len - redis->prefix.len;

    if ((len == sizeof("active:") - 1 + NGX_HTTP_ACADEMY_UUID_LEN
         && ngx_strncmp(p, "active:", sizeof("active:") - 1) == 0)
        || (len == sizeof("owner:") - 1 + NGX_HTTP_ACADEMY_UUID_LEN
            && ngx_strncmp(p, "owner:", sizeof("owner:") - 1) == 0))
    {
        if (event->len == 3 && ngx_strncmp(event->data, "set", 3) == 0) {
            ngx_http_academy_redis_change(redis, &keeper->mailboxes,
                                          p + len - NGX_HTTP_ACADEMY_UUID_LEN,
                                          NGX_HTTP_ACADEMY_UUID_LEN);
        }

        return;
    }

    if (len != sizeof("request::") - 1 + 2 * NGX_HTTP_ACADEMY_UUID_LEN
        || ngx_strncmp(p, "request:", sizeof("request:") - 1) != 0
        || (event->len == 6 && ngx_strncmp(event->data, "expire", 6) == 0))
    {
        return;
    }

    ngx_http_academy_redis_change(redis, &keeper->requests,
                                  p + sizeof("request:") - 1,
                                  2 * NGX_HTTP_ACADEMY_UUID_LEN + 1);
}


static void
ngx_http_academy_redis_change(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_changes_t *changes, u_char *p, size_t len)
{
    uint32_t                          hash;
    ngx_str_t                         text;
    ngx_http_academy_redis_change_t  *change;
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;

    text.data = p;
    text.len = len;
    hash = ngx_crc32_short(p, len);

    if (ngx_str_rbtree_lookup(&changes->tree, &text, hash)) {
        return;
    }

    change = NULL;

    if (changes->n < NGX_HTTP_ACADEMY_REDIS_CHANGES) {
        change = ngx_alloc(offsetof(ngx_http_academy_redis_change_t, text)
                           + len, ngx_cycle->log);
    }

    if (change == NULL) {
        ngx_http_academy_redis_scan_begin(keeper);
        return;
    }

    ngx_memcpy(change->text, p, len);

    change->sn.node.key = hash;
    change->sn.str.data = change->text;
    change->sn.str.len = len;

    ngx_rbtree_insert(&changes->tree, &change->sn.node);
    ngx_queue_insert_tail(&changes->queue, &change->queue);
    changes->n++;

    ngx_http_academy_redis_gather_soon(keeper);
}


static void
ngx_http_academy_redis_take_out(ngx_http_academy_redis_changes_t *changes,
    ngx_http_academy_redis_change_t *change)
{
    ngx_rbtree_delete(&changes->tree, &change->sn.node);
    ngx_queue_remove(&change->queue);
    changes->n--;
}


static void
ngx_http_academy_redis_gather_soon(ngx_http_academy_redis_keeper_t *keeper)
{
    if (!keeper->gather.timer_set) {
        ngx_add_timer(&keeper->gather, NGX_HTTP_ACADEMY_REDIS_GATHER);
    }
}


static void
ngx_http_academy_redis_gather_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_gather(ev->data);
}


static void
ngx_http_academy_redis_gather(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;

    ngx_http_academy_redis_look(redis, &keeper->mailboxes,
                                NGX_HTTP_ACADEMY_SCRIPT_INDEX);
    ngx_http_academy_redis_look(redis, &keeper->requests,
                                NGX_HTTP_ACADEMY_SCRIPT_REQUESTS);

    if (keeper->scans) {
        ngx_http_academy_redis_scan_next(redis);
    }
}


static void
ngx_http_academy_redis_look(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_changes_t *changes,
    ngx_http_academy_redis_script_e script)
{
    u_char                            expiry[NGX_TIME_T_LEN];
    ngx_str_t                         args[1 + 2
                                           * NGX_HTTP_ACADEMY_REDIS_REQUESTS];
    ngx_uint_t                        n, pairs;
    ngx_queue_t                      *q;
    ngx_http_academy_redis_change_t  *change;

    if (!ngx_queue_empty(&changes->batch) || changes->n == 0) {
        return;
    }

    pairs = (script == NGX_HTTP_ACADEMY_SCRIPT_REQUESTS);

    args[0].data = expiry;
    args[0].len = ngx_sprintf(expiry, "%T",
                              pairs ? redis->exchange.expiry->messages
                                    : redis->exchange.expiry->mailboxes)
                  - expiry;
    n = 1;

    /* what happens to one of them from now on is for the next look */

    while (!ngx_queue_empty(&changes->queue)
           && n < 1 + (pairs ? 2 * NGX_HTTP_ACADEMY_REDIS_REQUESTS
                             : NGX_HTTP_ACADEMY_REDIS_INDEX))
    {
        q = ngx_queue_head(&changes->queue);
        change = ngx_queue_data(q, ngx_http_academy_redis_change_t, queue);

        ngx_http_academy_redis_take_out(changes, change);
        ngx_queue_insert_tail(&changes->batch, &change->queue);

        args[n].data = change->text;
        args[n].len = NGX_HTTP_ACADEMY_UUID_LEN;
        n++;

        if (pairs) {
            args[n].data = change->text + NGX_HTTP_ACADEMY_UUID_LEN + 1;
            args[n].len = NGX_HTTP_ACADEMY_UUID_LEN;
            n++;
        }
    }

    if (ngx_http_academy_redis_run(redis, script, args, n,
                                   ngx_http_academy_redis_looked, changes)
        != NGX_OK)
    {
        ngx_http_academy_redis_put_back(redis, changes, 0);
    }
}


/* all but the first n, which were looked at */

static void
ngx_http_academy_redis_put_back(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_changes_t *changes, int64_t n)
{
    ngx_queue_t                      *q;
    ngx_http_academy_redis_change_t  *change;

    while (!ngx_queue_empty(&changes->batch)) {
        q = ngx_queue_head(&changes->batch);
        ngx_queue_remove(q);

        change = ngx_queue_data(q, ngx_http_academy_redis_change_t, queue);

        if (n-- <= 0) {
            ngx_http_academy_redis_change(redis, changes, change->text,
                                          change->sn.str.len);
        }

        ngx_free(change);
    }
}


/* the script tells how many of them it has looked at, from the first on */

static void
ngx_http_academy_redis_looked(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_changes_t *changes = data;

    int64_t  done;

    if (answer->result != NGX_HTTP_ACADEMY_OK) {

        /* the leader goes through all when Redis is there again */

        ngx_http_academy_redis_put_back(redis, changes, NGX_MAX_INT32_VALUE);
        redis->keeper->leader = 0;
        return;
    }

    done = ngx_http_academy_redis_integer(answer->reply, 1);

    ngx_http_academy_redis_put_back(redis, changes, done);

    if (done) {
        ngx_http_academy_redis_gather(redis);
    }
}


static void
ngx_http_academy_redis_scan_begin(ngx_http_academy_redis_keeper_t *keeper)
{
    keeper->scans = 1;
    keeper->anew = keeper->scanning;
    keeper->cursor[0] = '0';
    keeper->len = 1;

    ngx_http_academy_redis_gather_soon(keeper);
}


static void
ngx_http_academy_redis_scan_next(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;

    /* what was found comes first */

    if (keeper->scanning || keeper->mailboxes.n || keeper->requests.n
        || !ngx_queue_empty(&keeper->mailboxes.batch)
        || !ngx_queue_empty(&keeper->requests.batch))
    {
        return;
    }

    if (ngx_http_academy_redis_plain(redis, NGX_HTTP_ACADEMY_COMMAND_SCAN,
                                     ngx_http_academy_redis_scanned, NULL,
                                     "SCAN %b MATCH %b COUNT 500",
                                     keeper->cursor, keeper->len,
                                     keeper->scanned.data, keeper->scanned.len)
        != NGX_OK)
    {
        ngx_http_academy_redis_gather_soon(keeper);
        return;
    }

    keeper->scanning = 1;
}


static void
ngx_http_academy_redis_scanned(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
{
    ngx_str_t                         key, event;
    ngx_uint_t                        i;
    redisReply                       *cursor, *keys, *item;
    ngx_http_academy_redis_keeper_t  *keeper;

    keeper = redis->keeper;
    keeper->scanning = 0;

    if (!keeper->leader || !keeper->scans
        || answer->result != NGX_HTTP_ACADEMY_OK)
    {
        keeper->leader = 0;
        return;
    }

    cursor = ngx_http_academy_redis_string(answer->reply, 0);
    keys = ngx_http_academy_redis_array(answer->reply, 1);

    if (cursor == NULL || keys == NULL
        || cursor->len > sizeof(keeper->cursor))
    {
        keeper->scans = 0;
        return;
    }

    if (keeper->anew) {
        keeper->anew = 0;

    } else {
        ngx_memcpy(keeper->cursor, cursor->str, cursor->len);
        keeper->len = cursor->len;

        if (cursor->len == 1 && cursor->str[0] == '0') {
            keeper->scans = 0;
        }
    }

    ngx_str_set(&event, "set");

    for (i = 0; i < keys->elements; i++) {
        item = ngx_http_academy_redis_string(keys, i);

        if (item) {
            key.data = (u_char *) item->str;
            key.len = item->len;
            ngx_http_academy_redis_keeper_event(redis, &key, &event);
        }
    }

    ngx_http_academy_redis_gather(redis);
}
