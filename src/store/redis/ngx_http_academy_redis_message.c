
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_redis_call.h"


/*
 * Messages, and the leases of those that were taken.
 *
 * What is settled or given back within one turn of the event loop goes to
 * Redis together.  It is kept until Redis has done it: a settled message is
 * not to come back, and one that was given back is not to be lost, whatever
 * happens to the connection.  To do either of them twice does no harm.
 */


/* leases of a command at the most, and bytes of messages that go back */

#define NGX_HTTP_ACADEMY_REDIS_BATCH   40
#define NGX_HTTP_ACADEMY_REDIS_BYTES   131072

#define NGX_HTTP_ACADEMY_REDIS_SEND_ARGS                                      \
    (4 + 3 * NGX_HTTP_ACADEMY_REDIS_BATCH)

/*
 * A Redis that was busy may still read what came on a connection that was lost:
 * milliseconds until what may have been taken there is given back again.
 */

#define NGX_HTTP_ACADEMY_REDIS_DOUBT   5000
#define NGX_HTTP_ACADEMY_REDIS_DOUBTS  2

/*
 * Of so many requests one removes some that have expired: more than one, so
 * that they do not become more.  Which one it is, no client is to choose.
 */

#define NGX_HTTP_ACADEMY_REDIS_TIDY    16

/* so far a message's kind is looked for */

#define NGX_HTTP_ACADEMY_REDIS_KIND    4096

/* a longer name of an entity is null in what is kept of a request */

#define NGX_HTTP_ACADEMY_REDIS_NAME    255

/* fixed text, two ids with names, a tag, a label */

#define NGX_HTTP_ACADEMY_REDIS_HEADER  (512                                   \
                                        + 4 * NGX_HTTP_ACADEMY_UUID_LEN       \
                                        + 2 * NGX_HTTP_ACADEMY_REDIS_NAME)


/* of a put: see put.lua */

#define NGX_HTTP_ACADEMY_REDIS_IDS     (2 + 3 * NGX_HTTP_ACADEMY_UUID_LEN)


typedef struct {
    ngx_queue_t                      leases;
    ngx_http_academy_redis_script_e  script;
} ngx_http_academy_redis_batch_t;


static void ngx_http_academy_redis_arg_times(
    ngx_http_academy_redis_args_t *args, ngx_http_academy_exchange_t *exchange);
static u_char *ngx_http_academy_redis_print_limits(u_char *p,
    ngx_http_academy_limits_t *limits);
static size_t ngx_http_academy_redis_limit(size_t limit);
static void ngx_http_academy_redis_header(ngx_http_academy_envelope_t *env,
    u_char *buf, ngx_str_t *header);
static u_char *ngx_http_academy_redis_print_entity(u_char *p,
    ngx_http_academy_entity_t *entity);
static ngx_uint_t ngx_http_academy_redis_is_response(
    ngx_http_academy_redis_lease_t *lease);
static void ngx_http_academy_redis_lease_again(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_lease_t *lease);
static void ngx_http_academy_redis_restored_handler(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_gather(ngx_http_academy_redis_t *redis,
    ngx_queue_t *queue, ngx_http_academy_redis_lease_t *lease);
static void ngx_http_academy_redis_gather_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_sort(ngx_queue_t *leases);
static int ngx_libc_cdecl ngx_http_academy_redis_newer(const void *one,
    const void *two);
static ngx_int_t ngx_http_academy_redis_send(ngx_http_academy_redis_t *redis,
    ngx_queue_t *leases, ngx_http_academy_redis_script_e script);
static ngx_uint_t ngx_http_academy_redis_fill_settle(
    ngx_http_academy_redis_t *redis, ngx_http_academy_redis_batch_t *batch,
    ngx_str_t *args);
static ngx_uint_t ngx_http_academy_redis_fill_returned(
    ngx_http_academy_redis_t *redis, ngx_http_academy_redis_batch_t *batch,
    ngx_queue_t *rest, ngx_str_t *args);
static u_char *ngx_http_academy_redis_fill_name(
    ngx_http_academy_redis_lease_t *lease, ngx_str_t *args, u_char *p);
static u_char *ngx_http_academy_redis_print_seq(u_char *p,
    ngx_http_academy_redis_lease_t *lease);
static void ngx_http_academy_redis_sent_handler(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);


/* numbers and ids of the command that is being made */

static u_char  ngx_http_academy_redis_text[NGX_INT64_LEN
                                           + NGX_HTTP_ACADEMY_REDIS_BATCH
                                             * (NGX_HTTP_ACADEMY_UUID_LEN
                                                + 3 * NGX_INT64_LEN + 1)];


ngx_int_t
ngx_http_academy_redis_put(ngx_http_academy_call_t *call)
{
    u_char                         *p, ids[NGX_HTTP_ACADEMY_REDIS_IDS];
    u_char                          limits[2 * NGX_SIZE_T_LEN + 1];
    u_char                          buf[NGX_HTTP_ACADEMY_REDIS_HEADER];
    ngx_str_t                       header;
    ngx_http_academy_expiry_t      *expiry;
    ngx_http_academy_envelope_t    *env;
    ngx_http_academy_redis_args_t   args;

    env = call->in.envelope;
    expiry = call->exchange->expiry;

    args.n = 0;

    if (ngx_http_academy_redis_arg_caller(&args, call->caller) != NGX_OK) {
        call->result = NGX_HTTP_ACADEMY_FULL;
        call->done(call);
        return NGX_DONE;
    }

    p = ids;
    *p++ = '0' + (call->verify_source ? 1 : 0)
           + (ngx_random() % NGX_HTTP_ACADEMY_REDIS_TIDY ? 0 : 2);
    *p++ = env->request ? 'q' : 'r';
    p = ngx_http_academy_uuid_print(p, env->src.id.uid);
    p = ngx_http_academy_uuid_print(p, env->dest.id.uid);
    p = ngx_http_academy_uuid_print(p, env->tag);

    ngx_http_academy_redis_header(env, buf, &header);

    ngx_http_academy_redis_arg_data(&args, ids, p - ids);
    ngx_http_academy_redis_arg_str(&args, &header);
    ngx_http_academy_redis_arg_str(&args, &env->json);
    ngx_http_academy_redis_arg_number(&args, call->deduplicate);
    ngx_http_academy_redis_arg_number(&args, expiry->messages);
    ngx_http_academy_redis_arg_number(&args, expiry->mailboxes);

    p = ngx_http_academy_redis_print_limits(limits, call->limits);

    ngx_http_academy_redis_arg_data(&args, limits, p - limits);

    ngx_http_academy_redis_arg_times(&args, call->exchange);

    return ngx_http_academy_redis_start(call, NGX_HTTP_ACADEMY_SCRIPT_PUT,
                                        &args);
}


/*
 * Between which times a sign of life was given a moment ago, and when a request
 * of now expires: a script would have to ask, and to calculate.
 */

static void
ngx_http_academy_redis_arg_times(ngx_http_academy_redis_args_t *args,
    ngx_http_academy_exchange_t *exchange)
{
    time_t                     sec, messages;
    ngx_http_academy_redis_t  *redis;

    redis = ngx_http_academy_redis_of(exchange);
    messages = exchange->expiry->messages;

    if (redis->ahead == 0) {
        ngx_http_academy_redis_arg_data(args, NULL, 0);
        ngx_http_academy_redis_arg_data(args, NULL, 0);
        ngx_http_academy_redis_arg_data(args, NULL, 0);
        return;
    }

    sec = (time_t) ((ngx_current_msec + redis->ahead) / 1000);

    ngx_http_academy_redis_arg_number(args, sec - 1);
    ngx_http_academy_redis_arg_number(args, sec + 1);

    if (messages) {
        ngx_http_academy_redis_arg_number(args, sec + messages);

    } else {
        ngx_http_academy_redis_arg_data(args, (u_char *) "+inf", 4);
    }
}


static u_char *
ngx_http_academy_redis_print_limits(u_char *p,
    ngx_http_academy_limits_t *limits)
{
    size_t  messages, bytes;

    messages = ngx_http_academy_redis_limit(limits->messages);
    bytes = ngx_http_academy_redis_limit(limits->bytes);

    if (messages == 0 && bytes == 0) {
        return p;
    }

    return ngx_sprintf(p, "%uz %uz", messages, bytes);
}


static size_t
ngx_http_academy_redis_limit(size_t limit)
{
    return (limit == NGX_HTTP_ACADEMY_NO_LIMIT) ? 0 : limit;
}


/* of a request, as Python's Header reads it; a response leaves nothing */

static void
ngx_http_academy_redis_header(ngx_http_academy_envelope_t *env, u_char *buf,
    ngx_str_t *header)
{
    u_char  *p;

    header->len = 0;
    header->data = buf;

    if (!env->request) {
        return;
    }

    p = ngx_cpymem(buf, "{\"src\":", sizeof("{\"src\":") - 1);
    p = ngx_http_academy_redis_print_entity(p, &env->src);

    p = ngx_cpymem(p, ",\"dest\":", sizeof(",\"dest\":") - 1);
    p = ngx_http_academy_redis_print_entity(p, &env->dest);

    p = ngx_cpymem(p, ",\"tag\":\"", sizeof(",\"tag\":\"") - 1);
    p = ngx_http_academy_uuid_print(p, env->tag);

    p = ngx_cpymem(p, "\",\"label\":", sizeof("\",\"label\":") - 1);

    if (env->labeled) {
        *p++ = '"';
        p = ngx_http_academy_uuid_print(p, env->label);
        *p++ = '"';

    } else {
        p = ngx_cpymem(p, "null", sizeof("null") - 1);
    }

    p = ngx_cpymem(p, ",\"kind\":\"request\",\"protocol_version\":\"1.1\","
                      "\"academy_version\":\"1.0.0\"}",
                   sizeof(",\"kind\":\"request\",\"protocol_version\":\"1.1\","
                      "\"academy_version\":\"1.0.0\"}") - 1);

    header->len = p - buf;
}


/* one with a longer name comes without it */

static u_char *
ngx_http_academy_redis_print_entity(u_char *p,
    ngx_http_academy_entity_t *entity)
{
    size_t  len;

    len = entity->name.len;
    len = (len > NGX_HTTP_ACADEMY_REDIS_NAME) ? 0 : len;

    return ngx_http_academy_id_print(p, &entity->id, entity->name.data, len);
}


/* a message came in one piece */

ngx_int_t
ngx_http_academy_redis_piece(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_str_t *piece)
{
    ngx_http_academy_redis_lease_t  *lease;

    lease = delivery->next;

    if (lease == NULL) {
        return NGX_DONE;
    }

    delivery->next = NULL;

    piece->len = lease->size;
    piece->data = lease->json;

    return NGX_OK;
}


/*
 * What a process had written the system goes on to send when that process has
 * died.  A request may come twice for that, but a response may not: the Python
 * client of 1.0.0 listens no more when it does.  So a response is settled when
 * it is written, and kept here, and leased again when there is a doubt.
 */

void
ngx_http_academy_redis_written(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n, ngx_uint_t written)
{
    ngx_uint_t                       i;
    ngx_http_academy_redis_t        *redis;
    ngx_http_academy_redis_lease_t  *lease, *copy;

    redis = ngx_http_academy_redis_of(exchange);

    for (i = 0; i < n; i++) {
        lease = delivery[i].message;

        if (!written) {

            if (lease->told && !lease->leased) {
                ngx_http_academy_redis_lease_again(redis, lease);
            }

            continue;
        }

        if (lease->told) {
            continue;
        }

        if (lease->handed ? !lease->response
                          : !ngx_http_academy_redis_is_response(lease))
        {
            continue;
        }

        copy = ngx_alloc(sizeof(ngx_http_academy_redis_lease_t),
                         ngx_cycle->log);
        if (copy == NULL) {
            continue;
        }

        *copy = *lease;
        copy->json = NULL;
        lease->told = 1;

        if (lease->handed) {
            ngx_queue_insert_after(&lease->known, &copy->known);
        }

        ngx_http_academy_redis_gather(redis, &redis->wait->gather.settled,
                                      copy);
    }
}


/* whether a message's header says so; where it is not sure, a request */

static ngx_uint_t
ngx_http_academy_redis_is_response(ngx_http_academy_redis_lease_t *lease)
{
    size_t       len;
    u_char      *p, *end, *start;
    ngx_uint_t   depth, header;

    p = lease->json;
    end = p + ngx_min(lease->size, NGX_HTTP_ACADEMY_REDIS_KIND);
    depth = 0;
    header = 0;

    for ( /* void */ ; p < end; p++) {

        if (*p == '{' || *p == '[') {
            depth++;
            continue;
        }

        if (*p == '}' || *p == ']') {

            if (--depth < 2 && header) {
                return 0;
            }

            continue;
        }

        if (*p != '"') {
            continue;
        }

        start = ++p;

        while (p < end && *p != '"') {
            p += (*p == '\\') ? 2 : 1;
        }

        len = p - start;

        for (p++; p < end && *p == ' '; p++) { /* void */ }

        if (p >= end || *p != ':') {
            p--;
            continue;
        }

        if (depth == 1) {
            header = (len == 6 && ngx_memcmp(start, "header", 6) == 0);
            continue;
        }

        if (depth != 2 || !header || len != 4
            || ngx_memcmp(start, "kind", 4) != 0)
        {
            continue;
        }

        for (p++; p < end && *p == ' '; p++) { /* void */ }

        return end - p > (ssize_t) sizeof("\"response\"") - 1
               && ngx_memcmp(p, "\"response\"", sizeof("\"response\"") - 1)
                  == 0;
    }

    return 0;
}


/* whether that comes to anything is seen when it is settled or given back */

static void
ngx_http_academy_redis_lease_again(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_lease_t *lease)
{
    u_char                          old[2 * NGX_INT64_LEN + 1];
    size_t                          len;
    ngx_http_academy_expiry_t      *expiry;
    ngx_http_academy_redis_args_t   args;

    len = ngx_http_academy_redis_print_seq(old, lease) - old;

    if (lease->handed) {
        lease->handed = 0;
        ngx_queue_remove(&lease->known);
    }

    lease->leased = 1;
    lease->seq = ++redis->seq;

    ngx_http_academy_redis_flush(redis);

    expiry = redis->exchange.expiry;
    args.n = 0;

    ngx_http_academy_redis_arg_data(&args, redis->node,
                                    NGX_HTTP_ACADEMY_NODE_LEN);
    ngx_http_academy_redis_arg_uid(&args, lease->uid);
    ngx_http_academy_redis_arg_data(&args, old, len);
    ngx_http_academy_redis_arg_number(&args, lease->seq);
    ngx_http_academy_redis_arg_number(&args, ngx_current_msec - lease->since);
    ngx_http_academy_redis_arg_data(&args, lease->json, lease->size);
    ngx_http_academy_redis_arg_number(&args, expiry->messages);

    (void) ngx_http_academy_redis_run(redis, NGX_HTTP_ACADEMY_SCRIPT_RESTORE,
                                     args.args, args.n,
                                     ngx_http_academy_redis_restored_handler,
                                     NULL);
}


static void
ngx_http_academy_redis_restored_handler(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "academy redis leased again: %ui",
                   (ngx_uint_t) answer->result);
}


void
ngx_http_academy_redis_settle(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n)
{
    ngx_uint_t                       i;
    ngx_http_academy_redis_t        *redis;
    ngx_http_academy_redis_lease_t  *lease;

    redis = ngx_http_academy_redis_of(exchange);

    for (i = 0; i < n; i++) {
        lease = delivery[i].message;

        ngx_http_academy_redis_free(lease->json);
        lease->json = NULL;

        if (lease->told && !lease->leased) {
            ngx_http_academy_redis_lease_free(lease);
            continue;
        }

        ngx_http_academy_redis_gather(redis, &redis->wait->gather.settled,
                                      lease);
    }
}


void
ngx_http_academy_redis_give_back(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n)
{
    ngx_uint_t                 i;
    ngx_http_academy_redis_t  *redis;

    redis = ngx_http_academy_redis_of(exchange);

    for (i = 0; i < n; i++) {
        ngx_http_academy_redis_return(redis, delivery[i].message);
    }
}


void
ngx_http_academy_redis_return_doubted(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_lease_t *lease)
{
    lease->doubts = NGX_HTTP_ACADEMY_REDIS_DOUBTS;

    ngx_http_academy_redis_return(redis, lease);
}


void
ngx_http_academy_redis_return(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_lease_t *lease)
{
    if (lease->json && !lease->told) {
        ngx_http_academy_redis_free(lease->json);
        lease->json = NULL;
    }

    (void) ngx_http_academy_redis_wait_hold(redis, lease->uid);

    ngx_http_academy_redis_gather(redis, &redis->wait->gather.returned, lease);
}


static void
ngx_http_academy_redis_gather(ngx_http_academy_redis_t *redis,
    ngx_queue_t *queue, ngx_http_academy_redis_lease_t *lease)
{
    ngx_queue_insert_tail(queue, &lease->queue);

    ngx_post_event(&redis->wait->gather.event, &ngx_posted_events);
}


void
ngx_http_academy_redis_gather_init(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_gather_t *gather)
{
    ngx_queue_init(&gather->settled);
    ngx_queue_init(&gather->returned);
    ngx_queue_init(&gather->doubted);

    gather->event.handler = ngx_http_academy_redis_gather_handler;
    gather->event.data = redis;
    gather->event.log = ngx_cycle->log;
}


static void
ngx_http_academy_redis_gather_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_t *redis = ev->data;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0, "academy redis gather");

    /* as long as Redis does nothing, once a second will do */

    if (!redis->wait->gather.stalled) {
        ngx_http_academy_redis_flush(redis);
    }
}


void
ngx_http_academy_redis_gather_again(ngx_http_academy_redis_t *redis)
{
    ngx_queue_t                      *q;
    ngx_http_academy_redis_lease_t   *lease;
    ngx_http_academy_redis_gather_t  *gather;

    gather = &redis->wait->gather;

    while (!ngx_queue_empty(&gather->doubted)) {
        q = ngx_queue_head(&gather->doubted);
        lease = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);

        if ((ngx_msec_int_t) (lease->due - ngx_current_msec) > 0) {
            break;
        }

        ngx_queue_remove(q);
        ngx_http_academy_redis_return(redis, lease);
    }

    if (gather->stalled) {
        gather->stalled = 0;
        ngx_http_academy_redis_flush(redis);
    }
}


void
ngx_http_academy_redis_flush(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_gather_t  *gather;

    if (redis->wait == NULL) {
        return;
    }

    gather = &redis->wait->gather;

    if (gather->event.posted) {
        ngx_delete_posted_event(&gather->event);
    }

    while (!ngx_queue_empty(&gather->settled)) {
        if (ngx_http_academy_redis_send(redis, &gather->settled,
                                        NGX_HTTP_ACADEMY_SCRIPT_SETTLE)
            != NGX_OK)
        {
            gather->stalled = 1;
            break;
        }
    }

    ngx_http_academy_redis_flush_returned(redis);
}


void
ngx_http_academy_redis_flush_returned(ngx_http_academy_redis_t *redis)
{
    ngx_queue_t                       leases, *q, *next;
    ngx_http_academy_redis_lease_t   *lease;
    ngx_http_academy_redis_gather_t  *gather;

    gather = &redis->wait->gather;

    if (ngx_queue_empty(&gather->returned)) {
        return;
    }

    ngx_queue_init(&leases);

    for (q = ngx_queue_head(&gather->returned);
         q != ngx_queue_sentinel(&gather->returned);
         q = next)
    {
        next = ngx_queue_next(q);
        lease = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);

        /* what a look brings for nobody is newer, and has to go before */

        if (!ngx_http_academy_redis_wait_hold(redis, lease->uid)) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&leases, q);
        }
    }

    if (ngx_queue_empty(&leases)) {
        return;
    }

    ngx_http_academy_redis_sort(&leases);

    gather->before = 0;

    while (!ngx_queue_empty(&leases)) {
        if (ngx_http_academy_redis_send(redis, &leases,
                                        NGX_HTTP_ACADEMY_SCRIPT_GIVE_BACK)
            != NGX_OK)
        {
            ngx_queue_add(&gather->returned, &leases);
            gather->stalled = 1;
            break;
        }
    }
}


/*
 * By mailbox, and the newest first: the head of a mailbox is where the oldest
 * goes last.
 */

static void
ngx_http_academy_redis_sort(ngx_queue_t *leases)
{
    ngx_uint_t                        i, n;
    ngx_queue_t                      *q;
    ngx_http_academy_redis_lease_t  **all;

    n = 0;

    for (q = ngx_queue_head(leases);
         q != ngx_queue_sentinel(leases);
         q = ngx_queue_next(q))
    {
        n++;
    }

    if (n == 1) {
        return;
    }

    all = ngx_alloc(n * sizeof(ngx_http_academy_redis_lease_t *),
                    ngx_cycle->log);
    if (all == NULL) {
        return;
    }

    for (i = 0; i < n; i++) {
        q = ngx_queue_head(leases);
        ngx_queue_remove(q);
        all[i] = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);
    }

    ngx_qsort(all, n, sizeof(ngx_http_academy_redis_lease_t *),
              ngx_http_academy_redis_newer);

    for (i = 0; i < n; i++) {
        ngx_queue_insert_tail(leases, &all[i]->queue);
    }

    ngx_free(all);
}


static int ngx_libc_cdecl
ngx_http_academy_redis_newer(const void *one, const void *two)
{
    int                              rc;
    ngx_http_academy_redis_lease_t  *a, *b;

    a = *(ngx_http_academy_redis_lease_t **) one;
    b = *(ngx_http_academy_redis_lease_t **) two;

    rc = ngx_memcmp(a->uid, b->uid, 16);

    if (rc || a->order == b->order) {
        return rc;
    }

    return (a->order > b->order) ? -1 : 1;
}


/* sends the first ones of a queue */

static ngx_int_t
ngx_http_academy_redis_send(ngx_http_academy_redis_t *redis,
    ngx_queue_t *leases, ngx_http_academy_redis_script_e script)
{
    size_t                           size;
    ngx_str_t                        args[NGX_HTTP_ACADEMY_REDIS_SEND_ARGS];
    ngx_uint_t                       n;
    ngx_queue_t                     *q;
    ngx_http_academy_redis_batch_t  *batch;
    ngx_http_academy_redis_lease_t  *lease;

    batch = ngx_alloc(sizeof(ngx_http_academy_redis_batch_t), ngx_cycle->log);
    if (batch == NULL) {
        return NGX_ERROR;
    }

    ngx_queue_init(&batch->leases);
    batch->script = script;

    size = 0;

    for (n = 0; n < NGX_HTTP_ACADEMY_REDIS_BATCH; n++) {

        if (ngx_queue_empty(leases)) {
            break;
        }

        q = ngx_queue_head(leases);
        lease = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);

        if (script == NGX_HTTP_ACADEMY_SCRIPT_GIVE_BACK && n
            && size + lease->size > NGX_HTTP_ACADEMY_REDIS_BYTES)
        {
            break;
        }

        size += lease->size;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&batch->leases, q);
    }

    if (script == NGX_HTTP_ACADEMY_SCRIPT_SETTLE) {
        n = ngx_http_academy_redis_fill_settle(redis, batch, args);

    } else {
        n = ngx_http_academy_redis_fill_returned(redis, batch, leases, args);
    }

    if (ngx_http_academy_redis_run(redis, script, args, n,
                                   ngx_http_academy_redis_sent_handler, batch)
        != NGX_OK)
    {
        ngx_queue_add(leases, &batch->leases);
        ngx_free(batch);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_academy_redis_fill_settle(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_batch_t *batch, ngx_str_t *args)
{
    u_char                          *p;
    ngx_str_t                       *arg;
    ngx_queue_t                     *q;
    ngx_http_academy_redis_lease_t  *lease;

    p = ngx_http_academy_redis_text;
    arg = args;

    arg->data = redis->node;
    arg->len = NGX_HTTP_ACADEMY_NODE_LEN;
    arg++;

    for (q = ngx_queue_head(&batch->leases);
         q != ngx_queue_sentinel(&batch->leases);
         q = ngx_queue_next(q))
    {
        lease = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);

        p = ngx_http_academy_redis_fill_name(lease, arg, p);
        arg += 2;

        arg->data = p;
        p = ngx_sprintf(p, "%uz", lease->size);
        arg->len = p - arg->data;
        arg++;
    }

    return arg - args;
}


/* with those that come next, a mailbox's may be in more than one command */

static ngx_uint_t
ngx_http_academy_redis_fill_returned(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_batch_t *batch, ngx_queue_t *rest, ngx_str_t *args)
{
    u_char                          *p;
    ngx_str_t                       *arg;
    ngx_uint_t                       after;
    ngx_queue_t                     *q;
    ngx_http_academy_expiry_t       *expiry;
    ngx_http_academy_redis_lease_t  *lease, *next;
    ngx_http_academy_redis_gather_t *gather;

    gather = &redis->wait->gather;
    expiry = redis->exchange.expiry;
    p = ngx_http_academy_redis_text;
    after = 0;

    q = ngx_queue_last(&batch->leases);
    lease = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);

    if (!ngx_queue_empty(rest)) {
        q = ngx_queue_head(rest);
        next = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);
        after = (ngx_memcmp(lease->uid, next->uid, 16) == 0);
    }

    args[0].data = redis->node;
    args[0].len = NGX_HTTP_ACADEMY_NODE_LEN;
    args[1].data = (u_char *) (gather->before ? "1" : "0");
    args[1].len = 1;
    args[2].data = (u_char *) (after ? "1" : "0");
    args[2].len = 1;
    args[3].data = p;
    p = ngx_sprintf(p, "%T", expiry->messages);
    args[3].len = p - args[3].data;

    gather->before = after;

    arg = &args[4];

    for (q = ngx_queue_head(&batch->leases);
         q != ngx_queue_sentinel(&batch->leases);
         q = ngx_queue_next(q))
    {
        lease = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);

        p = ngx_http_academy_redis_fill_name(lease, arg, p);
        arg += 2;

        arg->data = lease->json;
        arg->len = lease->json ? lease->size : 0;
        arg++;
    }

    return arg - args;
}


static u_char *
ngx_http_academy_redis_fill_name(ngx_http_academy_redis_lease_t *lease,
    ngx_str_t *args, u_char *p)
{
    args[0].data = p;
    p = ngx_http_academy_uuid_print(p, lease->uid);
    args[0].len = p - args[0].data;

    args[1].data = p;
    p = ngx_http_academy_redis_print_seq(p, lease);
    args[1].len = p - args[1].data;

    return p;
}


static u_char *
ngx_http_academy_redis_print_seq(u_char *p,
    ngx_http_academy_redis_lease_t *lease)
{
    if (lease->handed) {
        return ngx_sprintf(p, "%uL-%uL", lease->seq, lease->part);
    }

    return ngx_sprintf(p, "%uL", lease->seq);
}


static void
ngx_http_academy_redis_sent_handler(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_batch_t *batch = data;

    ngx_queue_t                      *q;
    ngx_http_academy_redis_lease_t   *lease;
    ngx_http_academy_redis_gather_t  *gather;

    if (answer->result != NGX_HTTP_ACADEMY_OK) {
        gather = &redis->wait->gather;
        gather->stalled = 1;

        if (batch->script == NGX_HTTP_ACADEMY_SCRIPT_SETTLE) {
            ngx_queue_add(&gather->settled, &batch->leases);

        } else {
            ngx_queue_add(&gather->returned, &batch->leases);
        }

        ngx_free(batch);
        return;
    }

    while (!ngx_queue_empty(&batch->leases)) {
        q = ngx_queue_head(&batch->leases);
        lease = ngx_queue_data(q, ngx_http_academy_redis_lease_t, queue);

        ngx_queue_remove(q);

        if (lease->doubts) {
            lease->doubts--;
            lease->due = ngx_current_msec + NGX_HTTP_ACADEMY_REDIS_DOUBT;
            ngx_queue_insert_tail(&redis->wait->gather.doubted, q);
            continue;
        }

        ngx_http_academy_redis_lease_free(lease);
    }

    ngx_free(batch);
}


void
ngx_http_academy_redis_lease_free(ngx_http_academy_redis_lease_t *lease)
{
    if (lease->handed) {
        ngx_queue_remove(&lease->known);
    }

    if (lease->json) {
        ngx_http_academy_redis_free(lease->json);
    }

    ngx_free(lease);
}
