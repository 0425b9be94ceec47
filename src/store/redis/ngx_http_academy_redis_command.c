
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_redis_link.h"


/*
 * Commands.  One that is given waits until it is sent: at once, or when there
 * is a connection, or when that has taken what was sent before.  One that was
 * sent when the connection is lost ends: nobody knows whether it was carried
 * out.  One that was not waits on, until its time has passed.  All have the
 * same time: the first of a queue is the first whose time passes.
 */


/* bytes that are handed to hiredis at a time, which moves what it has left */

#define NGX_HTTP_ACADEMY_REDIS_AHEAD      (256 * 1024)

#define NGX_HTTP_ACADEMY_REDIS_LEASES     "100"   /* that return at a time */


#define ngx_http_academy_redis_command(q)                                     \
    ngx_queue_data(q, ngx_http_academy_redis_command_t, queue)


static ngx_http_academy_redis_command_t *ngx_http_academy_redis_new(
    ngx_http_academy_redis_t *redis, ngx_http_academy_redis_answer_pt handler,
    void *data);
static void ngx_http_academy_redis_give(
    ngx_http_academy_redis_command_t *command);
static void ngx_http_academy_redis_refuse_handler(ngx_event_t *ev);
static uint64_t ngx_http_academy_redis_clock(void);
static ngx_int_t ngx_http_academy_redis_send(
    ngx_http_academy_redis_command_t *command);
static void ngx_http_academy_redis_replied(redisAsyncContext *ac, void *reply,
    void *data);
static ngx_int_t ngx_http_academy_redis_again(
    ngx_http_academy_redis_command_t *command);
static void ngx_http_academy_redis_loaded(redisAsyncContext *ac, void *reply,
    void *data);
static void ngx_http_academy_redis_end(
    ngx_http_academy_redis_command_t *command,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_timer_handler(ngx_event_t *ev);
static ngx_msec_int_t ngx_http_academy_redis_left(ngx_queue_t *queue);
static void ngx_http_academy_redis_left_handler(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);


void
ngx_http_academy_redis_commands_init(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;

    ngx_queue_init(&link->waiting);
    ngx_queue_init(&link->sent);
    ngx_queue_init(&link->refused);

    link->timer.handler = ngx_http_academy_redis_timer_handler;
    link->timer.data = redis;
    link->timer.log = ngx_cycle->log;
    link->timer.cancelable = 1;

    link->refuse.handler = ngx_http_academy_redis_refuse_handler;
    link->refuse.data = redis;
    link->refuse.log = ngx_cycle->log;
}


ngx_int_t
ngx_http_academy_redis_run(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_script_e script, ngx_str_t *args, ngx_uint_t n,
    ngx_http_academy_redis_answer_pt handler, void *data)
{
    ngx_http_academy_redis_command_t  *command;

    command = ngx_http_academy_redis_new(redis, handler, data);
    if (command == NULL) {
        return NGX_ERROR;
    }

    command->script = script;

    if (ngx_http_academy_redis_script_format(command, args, n) != NGX_OK) {
        ngx_free(command);
        return NGX_ERROR;
    }

    ngx_http_academy_redis_give(command);

    return NGX_OK;
}


ngx_int_t
ngx_http_academy_redis_plain(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_script_e name,
    ngx_http_academy_redis_answer_pt handler, void *data, const char *format,
    ...)
{
    int                                len;
    va_list                            args;
    ngx_http_academy_redis_command_t  *command;

    command = ngx_http_academy_redis_new(redis, handler, data);
    if (command == NULL) {
        return NGX_ERROR;
    }

    va_start(args, format);
    len = redisvFormatCommand(&command->text, format, args);
    va_end(args);

    if (len < 0) {
        ngx_free(command);
        return NGX_ERROR;
    }

    command->len = (size_t) len;
    command->script = name;

    ngx_http_academy_redis_give(command);

    return NGX_OK;
}


static ngx_http_academy_redis_command_t *
ngx_http_academy_redis_new(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_answer_pt handler, void *data)
{
    ngx_http_academy_redis_command_t  *command;

    if (redis->link->exiting) {
        return NULL;
    }

    command = ngx_calloc(sizeof(ngx_http_academy_redis_command_t),
                         ngx_cycle->log);
    if (command == NULL) {
        return NULL;
    }

    command->redis = redis;
    command->handler = handler;
    command->data = data;
    command->deadline = ngx_current_msec + redis->timeout;

    return command;
}


static void
ngx_http_academy_redis_give(ngx_http_academy_redis_command_t *command)
{
    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_redis_link_t  *link;

    redis = command->redis;
    link = redis->link;

    link->n++;
    redis->exchange.figures->mine->commands++;

    if (link->n > NGX_HTTP_ACADEMY_REDIS_WAITING && !link->leaving) {
        ngx_queue_insert_tail(&link->refused, &command->queue);
        ngx_post_event(&link->refuse, &ngx_posted_next_events);
        return;
    }

    ngx_queue_insert_tail(&link->waiting, &command->queue);

    /* a worker that exits waits for the end of it */

    link->timer.cancelable = 0;

    if (!link->timer.timer_set) {
        ngx_add_timer(&link->timer, redis->timeout);
    }

    ngx_http_academy_redis_commands_send(redis);
}


static void
ngx_http_academy_redis_refuse_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_t *redis = ev->data;

    ngx_queue_t                      *q, refused;
    ngx_http_academy_redis_link_t    *link;
    ngx_http_academy_redis_answer_t   answer;

    link = redis->link;

    answer.result = NGX_HTTP_ACADEMY_UNAVAILABLE;
    answer.reply = NULL;
    answer.sent = 0;

    ngx_queue_init(&refused);
    ngx_queue_add(&refused, &link->refused);
    ngx_queue_init(&link->refused);

    while (!ngx_queue_empty(&refused)) {
        q = ngx_queue_head(&refused);

        ngx_http_academy_redis_end(ngx_http_academy_redis_command(q), &answer);
    }
}


void
ngx_http_academy_redis_commands_send(ngx_http_academy_redis_t *redis)
{
    ngx_queue_t                       *q;
    ngx_http_academy_redis_link_t     *link;
    ngx_http_academy_redis_command_t  *command;

    link = redis->link;

    while (link->commands.ready
           && link->unwritten < NGX_HTTP_ACADEMY_REDIS_AHEAD
           && !ngx_queue_empty(&link->waiting))
    {
        q = ngx_queue_head(&link->waiting);
        command = ngx_http_academy_redis_command(q);

        if (ngx_http_academy_redis_send(command) != NGX_OK) {
            return;
        }

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&link->sent, q);
    }
}


static ngx_int_t
ngx_http_academy_redis_send(ngx_http_academy_redis_command_t *command)
{
    ngx_http_academy_redis_link_t  *link;

    link = command->redis->link;

    if (redisAsyncFormattedCommand(link->commands.ac,
                                   ngx_http_academy_redis_replied, command,
                                   command->text, command->len)
        != REDIS_OK)
    {
        return NGX_ERROR;
    }

    link->unwritten += command->len;
    command->sent = ngx_http_academy_redis_clock();

    return NGX_OK;
}


/* nginx's own is too coarse for what Redis takes */

static uint64_t
ngx_http_academy_redis_clock(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


static void
ngx_http_academy_redis_replied(redisAsyncContext *ac, void *data,
    void *privdata)
{
    redisReply *reply = data;
    ngx_http_academy_redis_command_t *command = privdata;

    ngx_http_academy_redis_t         *redis;
    ngx_http_academy_redis_peer_t    *peer;
    ngx_http_academy_redis_answer_t   answer;

    peer = ac->data;

    answer.result = NGX_HTTP_ACADEMY_UNAVAILABLE;
    answer.reply = NULL;
    answer.sent = 1;

    if (reply == NULL) {

        /* the connection is lost, and whether this was carried out is open */

        peer->ready = 0;

        ngx_http_academy_redis_end(command, &answer);
        return;
    }

    redis = command->redis;

    ngx_http_academy_count(&redis->exchange, NGX_HTTP_ACADEMY_N_REDIS_TRIPS);
    ngx_http_academy_observe(redis->exchange.figures,
                             NGX_HTTP_ACADEMY_H_REDIS,
                             ngx_http_academy_redis_clock() - command->sent,
                             0);

    switch (ngx_http_academy_redis_script_answer(command, reply, &answer)) {

    case NGX_OK:

        if (answer.result == NGX_HTTP_ACADEMY_FULL) {
            redis->link->full = ngx_max(ngx_current_msec, 1);
        }

        break;

    case NGX_AGAIN:

        if (ngx_http_academy_redis_again(command) == NGX_OK) {
            return;
        }

        answer.sent = 0;
        break;

    default: /* NGX_DECLINED */

        ngx_http_academy_redis_down(peer,
                                  ngx_http_academy_redis_script_error(reply));
        answer.sent = 0;
    }

    ngx_http_academy_redis_end(command, &answer);
}


/* its scripts were flushed, or it is another Redis behind the same address */

static ngx_int_t
ngx_http_academy_redis_again(ngx_http_academy_redis_command_t *command)
{
    uint32_t                        bit;
    ngx_str_t                      *text;
    ngx_http_academy_redis_link_t  *link;

    link = command->redis->link;

    if (command->again || !link->commands.ready) {
        return NGX_ERROR;
    }

    command->again = 1;
    bit = (uint32_t) 1 << command->script;

    if (!(link->loading & bit)) {
        text = ngx_http_academy_redis_script_text(command->script);

        if (redisAsyncCommand(link->commands.ac,
                              ngx_http_academy_redis_loaded,
                              (void *) (uintptr_t) bit, "SCRIPT LOAD %b",
                              text->data, text->len)
            != REDIS_OK)
        {
            return NGX_ERROR;
        }

        link->loading |= bit;
    }

    return ngx_http_academy_redis_send(command);
}


static void
ngx_http_academy_redis_loaded(redisAsyncContext *ac, void *reply, void *data)
{
    ngx_http_academy_redis_peer_t  *peer;

    if (reply) {
        peer = ac->data;
        peer->redis->link->loading &= ~((uint32_t) (uintptr_t) data);
    }
}


static void
ngx_http_academy_redis_end(ngx_http_academy_redis_command_t *command,
    ngx_http_academy_redis_answer_t *answer)
{
    void                              *data;
    ngx_http_academy_redis_t          *redis;
    ngx_http_academy_redis_link_t     *link;
    ngx_http_academy_redis_answer_pt   handler;

    redis = command->redis;
    link = redis->link;
    handler = command->handler;
    data = command->data;

    ngx_queue_remove(&command->queue);

    redis->exchange.figures->mine->commands--;

    if (--link->n == 0) {
        link->timer.cancelable = 1;
    }

    free(command->text);
    ngx_free(command);

    /* when the process ends nobody is there any more, but for its last words */

    if (!link->exiting || handler == ngx_http_academy_redis_left_handler) {
        handler(redis, data, answer);
    }
}


static void
ngx_http_academy_redis_timer_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_t *redis = ev->data;

    ngx_queue_t                      *q;
    ngx_msec_int_t                    left, more;
    ngx_http_academy_redis_link_t    *link;
    ngx_http_academy_redis_answer_t   answer;

    link = redis->link;

    answer.result = NGX_HTTP_ACADEMY_UNAVAILABLE;
    answer.reply = NULL;
    answer.sent = 0;

    /* ends all that were sent */

    if (ngx_http_academy_redis_left(&link->sent) <= 0) {
        ngx_http_academy_redis_down(&link->commands,
                                    "it does not answer in time");
    }

    while (ngx_http_academy_redis_left(&link->waiting) <= 0) {
        q = ngx_queue_head(&link->waiting);

        ngx_http_academy_redis_end(ngx_http_academy_redis_command(q), &answer);
    }

    left = ngx_http_academy_redis_left(&link->sent);
    more = ngx_http_academy_redis_left(&link->waiting);
    left = ngx_min(left, more);

    if (left != NGX_MAX_INT32_VALUE && !ev->timer_set) {
        ngx_add_timer(ev, (ngx_msec_t) ngx_max(left, 1));
    }
}


static ngx_msec_int_t
ngx_http_academy_redis_left(ngx_queue_t *queue)
{
    ngx_http_academy_redis_command_t  *command;

    if (ngx_queue_empty(queue)) {
        return NGX_MAX_INT32_VALUE;
    }

    command = ngx_http_academy_redis_command(ngx_queue_head(queue));

    return (ngx_msec_int_t) (command->deadline - ngx_current_msec);
}


ngx_int_t
ngx_http_academy_redis_commands_leave(ngx_http_academy_redis_t *redis,
    ngx_uint_t *left)
{
    ngx_int_t                       rc;
    ngx_str_t                       args[3];
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;

    args[0].data = redis->node;
    args[0].len = NGX_HTTP_ACADEMY_NODE_LEN;
    ngx_str_set(&args[1], NGX_HTTP_ACADEMY_REDIS_LEASES);
    ngx_str_set(&args[2], "0");

    link->leaving = 1;
    link->exiting = 0;

    rc = ngx_http_academy_redis_run(redis, NGX_HTTP_ACADEMY_SCRIPT_LEAVE, args,
                                    3, ngx_http_academy_redis_left_handler,
                                    left);
    link->exiting = 1;

    return rc;
}


static void
ngx_http_academy_redis_left_handler(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_uint_t *left = data;

    if (answer->result != NGX_HTTP_ACADEMY_OK) {
        return;
    }

    if (answer->reply->elements < 2
        || answer->reply->element[1]->integer == 0)
    {
        *left = 1;
        return;
    }

    (void) ngx_http_academy_redis_commands_leave(redis, left);
}
