
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_redis_call.h"


/*
 * Calls under way, and the operations on mailboxes.  Between a call and the
 * script that runs for it there is an operation, which outlives the call if
 * that is taken back: a script that was sent runs all the same.
 */


/* members of a page of discovery; the script has a bound of its own */

#define NGX_HTTP_ACADEMY_REDIS_PAGE      100

/* bytes of a name that is kept */

#define NGX_HTTP_ACADEMY_REDIS_LONGEST   (NGX_HTTP_ACADEMY_ROW_TEXT - 1)

/* requests that are answered at a time when a mailbox is terminated */

#define NGX_HTTP_ACADEMY_REDIS_CLOSE     25


typedef struct ngx_http_academy_redis_op_s  ngx_http_academy_redis_op_t;

/* takes the values of an answer: NGX_OK, NGX_ERROR, or NGX_AGAIN */

typedef ngx_int_t (*ngx_http_academy_redis_read_pt)(
    ngx_http_academy_redis_op_t *op, ngx_http_academy_call_t *call,
    redisReply *reply);


struct ngx_http_academy_redis_op_s {
    ngx_http_academy_call_t         *call;        /* NULL: taken back */
    ngx_http_academy_redis_read_pt   read;        /* or NULL */

    u_char                          *uids;        /* discover */
    ngx_uint_t                       nuids;
    ngx_uint_t                       size;

    ngx_uint_t                       creates;
    ngx_uint_t                       terminates;
    size_t                           puts;        /* bytes of a message */
    u_char                           uid[NGX_HTTP_ACADEMY_UUID_LEN];
};


typedef struct {
    u_char                           uid[NGX_HTTP_ACADEMY_UUID_LEN];
} ngx_http_academy_redis_closing_t;


static ngx_int_t ngx_http_academy_redis_start_op(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_script_e script,
    ngx_http_academy_redis_args_t *args, ngx_http_academy_redis_op_t *op);
static ngx_http_academy_redis_op_t *ngx_http_academy_redis_op(
    ngx_http_academy_call_t *call);
static ngx_uint_t ngx_http_academy_redis_op_count(
    ngx_http_academy_redis_t *redis, ngx_http_academy_redis_op_t *op,
    redisReply *reply);
static void ngx_http_academy_redis_op_handler(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);
static ngx_int_t ngx_http_academy_redis_begin(
    ngx_http_academy_redis_args_t *args, ngx_http_academy_call_t *call);
static ngx_int_t ngx_http_academy_redis_simple(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_script_e script,
    ngx_http_academy_redis_read_pt read);
static void ngx_http_academy_redis_close_next(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_closing_t *closing);
static void ngx_http_academy_redis_close_handler(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);
static ngx_int_t ngx_http_academy_redis_read_shares(
    ngx_http_academy_redis_op_t *op, ngx_http_academy_call_t *call,
    redisReply *reply);
static ngx_int_t ngx_http_academy_redis_read_heartbeat(
    ngx_http_academy_redis_op_t *op, ngx_http_academy_call_t *call,
    redisReply *reply);
static ngx_int_t ngx_http_academy_redis_read_stats(
    ngx_http_academy_redis_op_t *op, ngx_http_academy_call_t *call,
    redisReply *reply);
static ngx_int_t ngx_http_academy_redis_page(ngx_http_academy_redis_op_t *op,
    ngx_http_academy_call_t *call, ngx_str_t *after);
static ngx_int_t ngx_http_academy_redis_read_page(
    ngx_http_academy_redis_op_t *op, ngx_http_academy_call_t *call,
    redisReply *reply);


void
ngx_http_academy_redis_arg_data(ngx_http_academy_redis_args_t *args,
    u_char *data, size_t len)
{
    ngx_str_t  *arg;

    if (args->n == 0) {
        args->last = args->data;
    }

    arg = &args->args[args->n++];
    arg->data = data;
    arg->len = len;
}


void
ngx_http_academy_redis_arg_str(ngx_http_academy_redis_args_t *args,
    ngx_str_t *value)
{
    ngx_http_academy_redis_arg_data(args, value->data, value->len);
}


void
ngx_http_academy_redis_arg_uid(ngx_http_academy_redis_args_t *args,
    u_char uid[16])
{
    ngx_http_academy_redis_arg_data(args, NULL, NGX_HTTP_ACADEMY_UUID_LEN);

    args->args[args->n - 1].data = args->last;
    args->last = ngx_http_academy_uuid_print(args->last, uid);
}


void
ngx_http_academy_redis_arg_number(ngx_http_academy_redis_args_t *args,
    uint64_t value)
{
    ngx_str_t  *arg;

    ngx_http_academy_redis_arg_data(args, NULL, 0);

    arg = &args->args[args->n - 1];

    arg->data = args->last;
    args->last = ngx_sprintf(args->last, "%uL", value);
    arg->len = args->last - arg->data;
}


/*
 * The groups go joined by commas: one that has a comma in its name, or has no
 * name, is none that a mailbox could be shared with.
 */

ngx_int_t
ngx_http_academy_redis_arg_caller(ngx_http_academy_redis_args_t *args,
    ngx_http_academy_caller_t *caller)
{
    u_char         *p;
    size_t          need;
    ngx_str_t      *group;
    ngx_uint_t      i;

    static u_char  *groups;
    static size_t   size;

    need = 0;

    for (i = 0; i < caller->ngroups; i++) {
        need += caller->groups[i].len + 1;
    }

    if (need > size) {
        p = ngx_alloc(2 * need, ngx_cycle->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (groups) {
            ngx_free(groups);
        }

        groups = p;
        size = 2 * need;
    }

    p = groups;

    for (i = 0; i < caller->ngroups; i++) {
        group = &caller->groups[i];

        if (group->len == 0
            || ngx_strlchr(group->data, group->data + group->len, ','))
        {
            continue;
        }

        if (p != groups) {
            *p++ = ',';
        }

        p = ngx_cpymem(p, group->data, group->len);
    }

    ngx_http_academy_redis_arg_str(args, &caller->id);
    ngx_http_academy_redis_arg_data(args, groups, p - groups);

    return NGX_OK;
}


redisReply *
ngx_http_academy_redis_string(redisReply *reply, ngx_uint_t n)
{
    if (reply == NULL || n >= reply->elements
        || reply->element[n]->type != REDIS_REPLY_STRING)
    {
        return NULL;
    }

    return reply->element[n];
}


redisReply *
ngx_http_academy_redis_array(redisReply *reply, ngx_uint_t n)
{
    if (reply == NULL || n >= reply->elements
        || reply->element[n]->type != REDIS_REPLY_ARRAY)
    {
        return NULL;
    }

    return reply->element[n];
}


int64_t
ngx_http_academy_redis_integer(redisReply *reply, ngx_uint_t n)
{
    if (reply == NULL || n >= reply->elements
        || reply->element[n]->type != REDIS_REPLY_INTEGER)
    {
        return 0;
    }

    return reply->element[n]->integer;
}


static ngx_http_academy_redis_op_t *
ngx_http_academy_redis_op(ngx_http_academy_call_t *call)
{
    ngx_http_academy_redis_op_t  *op;

    op = ngx_calloc(sizeof(ngx_http_academy_redis_op_t), ngx_cycle->log);

    if (op) {
        op->call = call;
    }

    return op;
}


ngx_int_t
ngx_http_academy_redis_start(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_script_e script,
    ngx_http_academy_redis_args_t *args)
{
    return ngx_http_academy_redis_start_op(call, script, args,
                                           ngx_http_academy_redis_op(call));
}


static ngx_int_t
ngx_http_academy_redis_start_op(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_script_e script,
    ngx_http_academy_redis_args_t *args, ngx_http_academy_redis_op_t *op)
{
    if (op == NULL) {
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    if (script == NGX_HTTP_ACADEMY_SCRIPT_PUT) {
        op->puts = call->in.envelope->json.len;
    }

    op->creates = (script == NGX_HTTP_ACADEMY_SCRIPT_CREATE);

    call->place = op;
    call->state = NGX_HTTP_ACADEMY_REDIS_RUNS;

    if (ngx_http_academy_redis_run(ngx_http_academy_redis_of(call->exchange),
                                   script, args->args, args->n,
                                   ngx_http_academy_redis_op_handler, op)
        != NGX_OK)
    {
        ngx_free(op);
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    return NGX_AGAIN;
}


ngx_int_t
ngx_http_academy_redis_call_end(ngx_http_academy_call_t *call,
    ngx_http_academy_result_e result)
{
    call->state = NGX_HTTP_ACADEMY_REDIS_IDLE;
    call->result = result;
    call->done(call);

    return NGX_DONE;
}


static void
ngx_http_academy_redis_op_handler(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_op_t *op = data;

    ngx_int_t                  rc;
    ngx_uint_t                 repeated;
    ngx_http_academy_call_t   *call;
    ngx_http_academy_result_e  result;

    call = op->call;
    result = answer->result;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "academy redis call done: %p %ui", call,
                   (ngx_uint_t) result);

    if (result == NGX_HTTP_ACADEMY_OK && op->terminates
        && ngx_http_academy_redis_integer(answer->reply, 1))
    {
        ngx_http_academy_redis_close(redis, op->uid);
    }

    repeated = (result == NGX_HTTP_ACADEMY_OK
                && ngx_http_academy_redis_op_count(redis, op, answer->reply));

    if (call == NULL) {
        ngx_free(op);
        return;
    }

    call->repeated = repeated;

    if (result == NGX_HTTP_ACADEMY_OK && op->read) {
        rc = op->read(op, call, answer->reply);

        if (rc == NGX_AGAIN) {
            return;
        }

        if (rc == NGX_ERROR) {
            result = NGX_HTTP_ACADEMY_FULL;
        }
    }

    ngx_free(op);

    (void) ngx_http_academy_redis_call_end(call, result);
}


/* whether it had been done before */

static ngx_uint_t
ngx_http_academy_redis_op_count(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_op_t *op, redisReply *reply)
{
    ngx_uint_t                    n;
    ngx_http_academy_exchange_t  *exchange;

    exchange = &redis->exchange;
    n = (ngx_uint_t) ngx_http_academy_redis_integer(reply, 1);

    if (op->puts) {

        if (n) {
            ngx_http_academy_count(exchange, NGX_HTTP_ACADEMY_N_DUPLICATES);
            return 1;
        }

        ngx_http_academy_count(exchange, NGX_HTTP_ACADEMY_N_ACCEPTED);
        ngx_http_academy_observe_size(exchange, op->puts);

    } else if (op->creates) {
        ngx_http_academy_count_n(exchange, NGX_HTTP_ACADEMY_N_CREATED, n);

    } else if (op->terminates) {
        ngx_http_academy_count_n(exchange, NGX_HTTP_ACADEMY_N_TERMINATED,
                                 ngx_http_academy_redis_integer(reply, 2));
        ngx_http_academy_count_n(exchange, NGX_HTTP_ACADEMY_N_DROPPED,
                                 ngx_http_academy_redis_integer(reply, 3));
    }

    return 0;
}


void
ngx_http_academy_redis_cancel(ngx_http_academy_call_t *call)
{
    ngx_http_academy_redis_op_t  *op;

    if (call->state == NGX_HTTP_ACADEMY_REDIS_WALKS) {
        ngx_http_academy_redis_walk_cancel(call);
        return;
    }

    if (call->state != NGX_HTTP_ACADEMY_REDIS_RUNS) {
        ngx_http_academy_redis_wait_cancel(call);
        return;
    }

    op = call->place;
    op->call = NULL;

    call->state = NGX_HTTP_ACADEMY_REDIS_IDLE;
}


/* what most scripts begin with: a mailbox, and who asks for it */

static ngx_int_t
ngx_http_academy_redis_begin(ngx_http_academy_redis_args_t *args,
    ngx_http_academy_call_t *call)
{
    args->n = 0;

    ngx_http_academy_redis_arg_uid(args, call->id.uid);

    return ngx_http_academy_redis_arg_caller(args, call->caller);
}


ngx_int_t
ngx_http_academy_redis_create(ngx_http_academy_call_t *call)
{
    u_char                         *p;
    size_t                          size;
    ngx_int_t                       rc;
    ngx_str_t                       classes, *names;
    ngx_uint_t                      i, n;
    ngx_http_academy_expiry_t      *expiry;
    ngx_http_academy_redis_args_t   args;

    static ngx_str_t  agent = ngx_string("agent");
    static ngx_str_t  user = ngx_string("user");

    n = (call->id.role == NGX_HTTP_ACADEMY_AGENT) ? call->in.classes.n : 0;
    names = call->in.classes.names;
    expiry = call->exchange->expiry;

    ngx_str_null(&classes);

    for (size = 0, i = 0; i < n; i++) {
        size += names[i].len + 1;
    }

    if (size) {
        classes.data = ngx_alloc(size, call->log);
        if (classes.data == NULL) {
            return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
        }

        p = classes.data;

        for (i = 0; i < n; i++) {
            p = ngx_cpymem(p, names[i].data, names[i].len);
            *p++ = ',';
        }

        classes.len = size - 1;
    }

    if (ngx_http_academy_redis_begin(&args, call) == NGX_OK) {
        ngx_http_academy_redis_arg_str(&args, &classes);
        ngx_http_academy_redis_arg_number(&args,
                     call->limits->mailboxes == NGX_HTTP_ACADEMY_NO_LIMIT
                     ? 0 : call->limits->mailboxes);
        ngx_http_academy_redis_arg_number(&args, expiry->mailboxes);
        ngx_http_academy_redis_arg_str(&args,
                                       call->id.role == NGX_HTTP_ACADEMY_USER
                                       ? &user : &agent);

        /* a longer one is not shown anyway */

        if (call->in.classes.entity.len > NGX_HTTP_ACADEMY_REDIS_LONGEST) {
            ngx_http_academy_redis_arg_data(&args, NULL, 0);

        } else {
            ngx_http_academy_redis_arg_str(&args, &call->in.classes.entity);
        }

        rc = ngx_http_academy_redis_start(call,
                                    NGX_HTTP_ACADEMY_SCRIPT_CREATE, &args);

    } else {
        rc = ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    if (size) {
        ngx_free(classes.data);
    }

    return rc;
}


/*
 * The call is done when the mailbox is terminated.  Its open requests may take
 * longer to be answered: if this process dies, the leader goes on.
 */

ngx_int_t
ngx_http_academy_redis_terminate(ngx_http_academy_call_t *call)
{
    ngx_http_academy_expiry_t      *expiry;
    ngx_http_academy_redis_op_t    *op;
    ngx_http_academy_redis_args_t   args;

    expiry = call->exchange->expiry;

    op = ngx_http_academy_redis_op(call);

    if (op == NULL || ngx_http_academy_redis_begin(&args, call) != NGX_OK) {

        if (op) {
            ngx_free(op);
        }

        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    ngx_http_academy_redis_arg_number(&args, expiry->mailboxes);
    ngx_http_academy_redis_arg_number(&args, expiry->messages);
    ngx_http_academy_redis_arg_number(&args, call->admin);

    op->terminates = 1;
    ngx_memcpy(op->uid, args.args[0].data, NGX_HTTP_ACADEMY_UUID_LEN);

    return ngx_http_academy_redis_start_op(call,
                             NGX_HTTP_ACADEMY_SCRIPT_TERMINATE, &args, op);
}


void
ngx_http_academy_redis_close(ngx_http_academy_redis_t *redis,
    u_char uid[NGX_HTTP_ACADEMY_UUID_LEN])
{
    ngx_http_academy_redis_closing_t  *closing;

    closing = ngx_alloc(sizeof(ngx_http_academy_redis_closing_t),
                        ngx_cycle->log);
    if (closing == NULL) {
        return;
    }

    ngx_memcpy(closing->uid, uid, NGX_HTTP_ACADEMY_UUID_LEN);

    ngx_http_academy_redis_close_next(redis, closing);
}


static void
ngx_http_academy_redis_close_next(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_closing_t *closing)
{
    ngx_http_academy_expiry_t      *expiry;
    ngx_http_academy_redis_args_t   args;

    expiry = redis->exchange.expiry;
    args.n = 0;

    ngx_http_academy_redis_arg_data(&args, closing->uid,
                                    NGX_HTTP_ACADEMY_UUID_LEN);
    ngx_http_academy_redis_arg_number(&args, NGX_HTTP_ACADEMY_REDIS_CLOSE);
    ngx_http_academy_redis_arg_number(&args, expiry->mailboxes);
    ngx_http_academy_redis_arg_number(&args, expiry->messages);

    if (ngx_http_academy_redis_run(redis, NGX_HTTP_ACADEMY_SCRIPT_CLOSE,
                                   args.args, args.n,
                                   ngx_http_academy_redis_close_handler,
                                   closing)
        != NGX_OK)
    {
        ngx_free(closing);
    }
}


/* where it fails, the leader goes on with it */

static void
ngx_http_academy_redis_close_handler(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_http_academy_redis_closing_t *closing = data;

    if (answer->result == NGX_HTTP_ACADEMY_OK) {
        ngx_http_academy_count_n(&redis->exchange,
                                 NGX_HTTP_ACADEMY_N_NOTICES,
                                 ngx_http_academy_redis_integer(answer->reply,
                                                                2));
    }

    if (answer->result == NGX_HTTP_ACADEMY_OK
        && ngx_http_academy_redis_integer(answer->reply, 1))
    {
        ngx_http_academy_redis_close_next(redis, closing);
        return;
    }

    ngx_free(closing);
}


ngx_int_t
ngx_http_academy_redis_status(ngx_http_academy_call_t *call)
{
    return ngx_http_academy_redis_simple(call, NGX_HTTP_ACADEMY_SCRIPT_STATUS,
                                         NULL);
}


/* a script that is told of a mailbox and who asks for it, and no more */

static ngx_int_t
ngx_http_academy_redis_simple(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_script_e script,
    ngx_http_academy_redis_read_pt read)
{
    ngx_http_academy_redis_op_t    *op;
    ngx_http_academy_redis_args_t   args;

    op = ngx_http_academy_redis_op(call);

    if (op == NULL || ngx_http_academy_redis_begin(&args, call) != NGX_OK) {

        if (op) {
            ngx_free(op);
        }

        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    op->read = read;

    return ngx_http_academy_redis_start_op(call, script, &args, op);
}


ngx_int_t
ngx_http_academy_redis_share(ngx_http_academy_call_t *call)
{
    ngx_str_t                      *group;
    ngx_http_academy_expiry_t      *expiry;
    ngx_http_academy_redis_args_t   args;

    group = &call->in.group;
    expiry = call->exchange->expiry;
    args.n = 0;

    ngx_http_academy_redis_arg_uid(&args, call->id.uid);
    ngx_http_academy_redis_arg_str(&args, &call->caller->id);
    ngx_http_academy_redis_arg_str(&args, group);
    ngx_http_academy_redis_arg_number(&args,
               ngx_http_academy_caller_in(call->caller, group->data,
                                          group->len)
               ? 1 : 0);
    ngx_http_academy_redis_arg_number(&args, expiry->mailboxes);

    return ngx_http_academy_redis_start(call, NGX_HTTP_ACADEMY_SCRIPT_SHARE,
                                        &args);
}


ngx_int_t
ngx_http_academy_redis_unshare(ngx_http_academy_call_t *call)
{
    ngx_http_academy_redis_args_t  args;

    args.n = 0;

    ngx_http_academy_redis_arg_uid(&args, call->id.uid);
    ngx_http_academy_redis_arg_str(&args, &call->caller->id);
    ngx_http_academy_redis_arg_str(&args, &call->in.group);

    return ngx_http_academy_redis_start(call, NGX_HTTP_ACADEMY_SCRIPT_UNSHARE,
                                        &args);
}


ngx_int_t
ngx_http_academy_redis_shares(ngx_http_academy_call_t *call)
{
    call->out.groups.n = 0;

    return ngx_http_academy_redis_simple(call, NGX_HTTP_ACADEMY_SCRIPT_SHARES,
                                         ngx_http_academy_redis_read_shares);
}


static ngx_int_t
ngx_http_academy_redis_read_shares(ngx_http_academy_redis_op_t *op,
    ngx_http_academy_call_t *call, redisReply *reply)
{
    u_char      *p;
    size_t       size;
    ngx_str_t   *name;
    ngx_uint_t   i, n;

    n = reply->elements - 1;
    size = n * sizeof(ngx_str_t);

    for (i = 1; i <= n; i++) {
        if (ngx_http_academy_redis_string(reply, i) == NULL) {
            return NGX_ERROR;
        }

        size += reply->element[i]->len;
    }

    name = ngx_palloc(call->pool, size);
    if (name == NULL) {
        return NGX_ERROR;
    }

    call->out.groups.names = name;
    call->out.groups.n = n;

    p = (u_char *) (name + n);

    for (i = 1; i <= n; i++, name++) {
        name->len = reply->element[i]->len;
        name->data = p;
        p = ngx_cpymem(p, reply->element[i]->str, name->len);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_academy_redis_heartbeat(ngx_http_academy_call_t *call)
{
    call->out.heartbeat = -1;

    return ngx_http_academy_redis_simple(call,
                                       NGX_HTTP_ACADEMY_SCRIPT_HEARTBEAT,
                                       ngx_http_academy_redis_read_heartbeat);
}


static ngx_int_t
ngx_http_academy_redis_read_heartbeat(ngx_http_academy_redis_op_t *op,
    ngx_http_academy_call_t *call, redisReply *reply)
{
    call->out.heartbeat = (ngx_int_t) ngx_http_academy_redis_integer(reply, 1);

    return NGX_OK;
}


ngx_int_t
ngx_http_academy_redis_beat(ngx_http_academy_call_t *call)
{
    ngx_http_academy_expiry_t      *expiry;
    ngx_http_academy_redis_args_t   args;

    expiry = call->exchange->expiry;

    if (ngx_http_academy_redis_begin(&args, call) != NGX_OK) {
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    ngx_http_academy_redis_arg_number(&args, expiry->mailboxes);

    return ngx_http_academy_redis_start(call, NGX_HTTP_ACADEMY_SCRIPT_BEAT,
                                        &args);
}


ngx_int_t
ngx_http_academy_redis_stats(ngx_http_academy_call_t *call)
{
    ngx_memzero(&call->out.stats, sizeof(ngx_http_academy_stats_t));

    return ngx_http_academy_redis_simple(call, NGX_HTTP_ACADEMY_SCRIPT_STATS,
                                         ngx_http_academy_redis_read_stats);
}


static ngx_int_t
ngx_http_academy_redis_read_stats(ngx_http_academy_redis_op_t *op,
    ngx_http_academy_call_t *call, redisReply *reply)
{
    ngx_http_academy_stats_t  *stats;

    stats = &call->out.stats;

    stats->outgoing = (ngx_uint_t) ngx_http_academy_redis_integer(reply, 1);
    stats->completed = (ngx_uint_t) ngx_http_academy_redis_integer(reply, 2);
    stats->pending = (ngx_uint_t) ngx_http_academy_redis_integer(reply, 3);
    stats->queued = (ngx_uint_t) ngx_http_academy_redis_integer(reply, 4);

    return NGX_OK;
}


ngx_int_t
ngx_http_academy_redis_discover(ngx_http_academy_call_t *call)
{
    ngx_str_t                     after;
    ngx_http_academy_redis_op_t  *op;

    ngx_str_null(&after);

    op = ngx_http_academy_redis_op(call);

    if (op == NULL) {
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    op->read = ngx_http_academy_redis_read_page;

    if (ngx_http_academy_redis_page(op, call, &after) != NGX_OK) {
        ngx_free(op);
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    call->place = op;
    call->state = NGX_HTTP_ACADEMY_REDIS_RUNS;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_academy_redis_page(ngx_http_academy_redis_op_t *op,
    ngx_http_academy_call_t *call, ngx_str_t *after)
{
    ngx_http_academy_redis_args_t  args;

    args.n = 0;

    ngx_http_academy_redis_arg_str(&args, &call->in.class);
    ngx_http_academy_redis_arg_number(&args, call->subclasses);

    if (ngx_http_academy_redis_arg_caller(&args, call->caller) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_academy_redis_arg_str(&args, after);
    ngx_http_academy_redis_arg_number(&args, NGX_HTTP_ACADEMY_REDIS_PAGE);

    return ngx_http_academy_redis_run(
                                  ngx_http_academy_redis_of(call->exchange),
                                  NGX_HTTP_ACADEMY_SCRIPT_DISCOVER,
                                  args.args, args.n,
                                  ngx_http_academy_redis_op_handler, op);
}


static ngx_int_t
ngx_http_academy_redis_read_page(ngx_http_academy_redis_op_t *op,
    ngx_http_academy_call_t *call, redisReply *reply)
{
    u_char      *p, *uid;
    ngx_str_t    after;
    ngx_uint_t   i, n, size;
    redisReply  *last, *uids;

    last = ngx_http_academy_redis_string(reply, 1);
    uids = ngx_http_academy_redis_string(reply, 2);

    if (last == NULL || uids == NULL) {
        return NGX_ERROR;
    }

    n = uids->len / NGX_HTTP_ACADEMY_UUID_LEN;

    if (op->nuids + n > op->size) {
        size = 2 * (op->nuids + n);

        p = ngx_pnalloc(call->pool, size * NGX_HTTP_ACADEMY_UID_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (op->uids) {
            ngx_memcpy(p, op->uids, op->nuids * NGX_HTTP_ACADEMY_UID_LEN);
            (void) ngx_pfree(call->pool, op->uids);
        }

        op->uids = p;
        op->size = size;
    }

    uid = (u_char *) uids->str;

    for (i = 0; i < n; i++, uid += NGX_HTTP_ACADEMY_UUID_LEN) {
        p = op->uids + op->nuids * NGX_HTTP_ACADEMY_UID_LEN;

        if (ngx_http_academy_uuid_parse(uid, NGX_HTTP_ACADEMY_UUID_LEN, p)
            == NGX_OK)
        {
            op->nuids++;
        }
    }

    if (last->len) {
        after.data = (u_char *) last->str;
        after.len = last->len;

        return (ngx_http_academy_redis_page(op, call, &after) == NGX_OK)
               ? NGX_AGAIN : NGX_ERROR;
    }

    call->out.agents.uids = op->uids;
    call->out.agents.n = op->nuids;

    return NGX_OK;
}
