
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_redis_link.h"


/*
 * What is said first on a connection, all of it at once: the last reply makes
 * it ready.
 */


static void ngx_http_academy_redis_greet_commands(
    ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_greeted(redisAsyncContext *ac, void *reply,
    void *data);
static void ngx_http_academy_redis_greeted_name(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_greeted_role(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_greeted_write(redisAsyncContext *ac,
    void *reply, void *data);


/* a command, with arguments that are ngx_str_t * */

ngx_int_t
ngx_http_academy_redis_say(ngx_http_academy_redis_peer_t *peer,
    redisCallbackFn *handler, ngx_uint_t n, ...)
{
    size_t       len[4];
    va_list      args;
    ngx_str_t   *arg;
    ngx_uint_t   i;
    const char  *argv[4];

    if (peer->ac == NULL) {
        return NGX_ERROR;
    }

    va_start(args, n);

    argv[0] = va_arg(args, char *);
    len[0] = ngx_strlen(argv[0]);

    for (i = 1; i < n; i++) {
        arg = va_arg(args, ngx_str_t *);
        argv[i] = (char *) arg->data;
        len[i] = arg->len;
    }

    va_end(args);

    if (redisAsyncCommandArgv(peer->ac, handler, peer, (int) n, argv, len)
        != REDIS_OK)
    {
        return NGX_ERROR;
    }

    peer->steps++;

    return NGX_OK;
}


void
ngx_http_academy_redis_greet(ngx_http_academy_redis_peer_t *peer)
{
    ngx_str_t                  verb, name;
    ngx_http_academy_redis_t  *redis;

    redis = peer->redis;
    peer->steps = 0;

    /* without memory for one of these, the connection is late in the end */

    if (redis->user.len) {
        (void) ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted,
                                          3, "AUTH", &redis->user,
                                          &redis->password);

    } else if (redis->password.len) {
        (void) ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted,
                                          2, "AUTH", &redis->password);
    }

    ngx_str_set(&verb, "SETNAME");
    ngx_str_set(&name, NGX_HTTP_ACADEMY_REDIS_CLIENT);

    (void) ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted_name,
                                      3, "CLIENT", &verb, &name);

    if (peer->subscribes) {
        ngx_http_academy_redis_ask(peer);

    } else {
        ngx_http_academy_redis_greet_commands(peer);
    }
}


static void
ngx_http_academy_redis_greet_commands(ngx_http_academy_redis_peer_t *peer)
{
    u_char                     db[NGX_INT_T_LEN];
    ngx_str_t                  name, value;
    ngx_uint_t                 i;
    ngx_http_academy_redis_t  *redis;

    redis = peer->redis;

    if (redis->db) {
        value.data = db;
        value.len = ngx_sprintf(db, "%ui", redis->db) - db;

        (void) ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted,
                                          2, "SELECT", &value);
    }

    ngx_str_set(&name, "LOAD");

    for (i = 0; i < NGX_HTTP_ACADEMY_SCRIPTS; i++) {
        (void) ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted,
                                      3, "SCRIPT", &name,
                                      ngx_http_academy_redis_script_text(i));
    }

    (void) ngx_http_academy_redis_say(peer,
                                      ngx_http_academy_redis_greeted_role, 1,
                                      "ROLE");

    ngx_http_academy_redis_ask_events(redis);

    /* to see whether it lets anybody write */

    name.data = redis->link->alive.data + redis->link->channel.len;
    name.len = redis->link->alive.len - redis->link->channel.len;

    (void) ngx_http_academy_redis_say(peer,
                                      ngx_http_academy_redis_greeted_write, 2,
                                      "DEL", &name);
}


void
ngx_http_academy_redis_said(ngx_http_academy_redis_peer_t *peer)
{
    if (peer->steps && --peer->steps == 0 && !peer->ready && peer->ac
        && !peer->subscribes)
    {
        ngx_http_academy_redis_ready(peer);
    }
}


static void
ngx_http_academy_redis_greeted(redisAsyncContext *ac, void *data, void *peer)
{
    redisReply  *reply = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_http_academy_redis_down(peer,
                                  ngx_http_academy_redis_script_error(reply));
        return;
    }

    ngx_http_academy_redis_said(peer);
}


/* it may not be allowed: then the leader takes this for somebody else */

static void
ngx_http_academy_redis_greeted_name(redisAsyncContext *ac, void *reply,
    void *peer)
{
    if (reply) {
        ngx_http_academy_redis_said(peer);
    }
}


static void
ngx_http_academy_redis_greeted_role(redisAsyncContext *ac, void *data,
    void *peer)
{
    redisReply  *reply = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements
        && reply->element[0]->type == REDIS_REPLY_STRING
        && ngx_strcmp(reply->element[0]->str, "slave") == 0)
    {
        ngx_http_academy_redis_down(peer, "it is a replica");
        return;
    }

    /* a user may not be allowed to ask for it, and need not */

    ngx_http_academy_redis_said(peer);
}


static void
ngx_http_academy_redis_greeted_write(redisAsyncContext *ac, void *data,
    void *peer)
{
    redisReply  *reply = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR
        && ngx_http_academy_redis_script_away(reply))
    {
        ngx_http_academy_redis_down(peer,
                                  ngx_http_academy_redis_script_error(reply));
        return;
    }

    ngx_http_academy_redis_said(peer);
}


/* where there are subscriptions, PING is none of hiredis's commands */

void
ngx_http_academy_redis_ask(ngx_http_academy_redis_peer_t *peer)
{
    ngx_int_t  rc;

    if (peer->subscribes) {
        rc = ngx_http_academy_redis_say(peer, ngx_http_academy_redis_event, 2,
                                        "SUBSCRIBE",
                                        &peer->redis->link->alive);
    } else {
        rc = ngx_http_academy_redis_say(peer, ngx_http_academy_redis_pong, 1,
                                        "PING");
    }

    if (rc != NGX_OK) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "redis \"%V\" could not be asked whether it is there",
                      &peer->redis->exchange.name);
    }
}


void
ngx_http_academy_redis_pong(redisAsyncContext *ac, void *data, void *peer)
{
    redisReply  *reply = data;

    if (reply && reply->type == REDIS_REPLY_ERROR
        && ngx_http_academy_redis_script_away(reply))
    {
        ngx_http_academy_redis_down(peer,
                                  ngx_http_academy_redis_script_error(reply));
    }
}
