
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_redis_link.h"


/*
 * What is said first on a connection, all of it at once: the last reply makes
 * it ready.  And whether Redis tells what happens to keys: a key of this
 * process's own is written now and then, of which it has to be told.
 */


/* what the events are needed for: keyspace, lists, generic, strings, expiry */

#define NGX_HTTP_ACADEMY_REDIS_EVENTS     "Klg$x"

/* milliseconds until an event is missed, and how often that is too often */

#define NGX_HTTP_ACADEMY_REDIS_PROBE      1000
#define NGX_HTTP_ACADEMY_REDIS_MISSED     2


static ngx_int_t ngx_http_academy_redis_say(ngx_http_academy_redis_peer_t *peer,
    redisCallbackFn *handler, ngx_uint_t n, ...);
static void ngx_http_academy_redis_greet_commands(
    ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_step(ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_greeted(redisAsyncContext *ac, void *reply,
    void *data);
static void ngx_http_academy_redis_greeted_role(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_greeted_write(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_get_events(
    ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_got_events(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_set_events(
    ngx_http_academy_redis_peer_t *peer, char *flags, size_t len);
static void ngx_http_academy_redis_events_set(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_pong(redisAsyncContext *ac, void *reply,
    void *data);
static void ngx_http_academy_redis_pushed(redisAsyncContext *ac, void *reply,
    void *data);


/* a command, with arguments that are ngx_str_t * */

static ngx_int_t
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

    ngx_http_academy_redis_get_events(peer);

    /* to see whether it lets anybody write */

    name.data = redis->link->alive.data + redis->link->channel.len;
    name.len = redis->link->alive.len - redis->link->channel.len;

    (void) ngx_http_academy_redis_say(peer,
                                      ngx_http_academy_redis_greeted_write, 2,
                                      "DEL", &name);
}


static void
ngx_http_academy_redis_step(ngx_http_academy_redis_peer_t *peer)
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

    ngx_http_academy_redis_step(peer);
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

    ngx_http_academy_redis_step(peer);
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

    ngx_http_academy_redis_step(peer);
}


static void
ngx_http_academy_redis_get_events(ngx_http_academy_redis_peer_t *peer)
{
    ngx_str_t  verb, name;

    ngx_str_set(&verb, "GET");
    ngx_str_set(&name, "notify-keyspace-events");

    (void) ngx_http_academy_redis_say(peer, ngx_http_academy_redis_got_events,
                                      3, "CONFIG", &verb, &name);
}


static void
ngx_http_academy_redis_got_events(redisAsyncContext *ac, void *data,
    void *peer)
{
    redisReply  *reply = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
        && reply->element[1]->type == REDIS_REPLY_STRING)
    {
        ngx_http_academy_redis_set_events(peer, reply->element[1]->str,
                                          reply->element[1]->len);

    } else {
        ((ngx_http_academy_redis_peer_t *) peer)->redis->link->doubt = 1;
    }

    ngx_http_academy_redis_step(peer);
}


/* what is needed and not there is added; "A" stands for all but K and E */

static void
ngx_http_academy_redis_set_events(ngx_http_academy_redis_peer_t *peer,
    char *flags, size_t len)
{
    u_char      *p, buf[64];
    ngx_str_t    verb, name, value;
    const char  *need;

    peer->redis->link->doubt = 0;

    if (len > sizeof(buf) - sizeof(NGX_HTTP_ACADEMY_REDIS_EVENTS)) {
        len = 0;
    }

    p = ngx_cpymem(buf, flags, len);

    for (need = NGX_HTTP_ACADEMY_REDIS_EVENTS; *need; need++) {

        if (ngx_strlchr(buf, p, *need) == NULL
            && (*need == 'K' || ngx_strlchr(buf, p, 'A') == NULL))
        {
            *p++ = *need;
        }
    }

    if (p == buf + len) {
        return;
    }

    ngx_str_set(&verb, "SET");
    ngx_str_set(&name, "notify-keyspace-events");
    value.data = buf;
    value.len = p - buf;

    (void) ngx_http_academy_redis_say(peer, ngx_http_academy_redis_events_set,
                                      4, "CONFIG", &verb, &name, &value);
}


static void
ngx_http_academy_redis_events_set(redisAsyncContext *ac, void *data,
    void *peer)
{
    redisReply  *reply = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ((ngx_http_academy_redis_peer_t *) peer)->redis->link->doubt = 1;
    }

    ngx_http_academy_redis_step(peer);
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


static void
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


void
ngx_http_academy_redis_probe(ngx_http_academy_redis_t *redis)
{
    ngx_str_t                       name, value;
    ngx_http_academy_redis_link_t  *link;
    ngx_http_academy_redis_peer_t  *peer;

    link = redis->link;
    peer = &link->commands;

    link->pushed = 0;
    link->heard = 0;

    name.data = link->alive.data + link->channel.len;
    name.len = link->alive.len - link->channel.len;

    (void) ngx_http_academy_redis_say(peer, ngx_http_academy_redis_pong, 2,
                                      "DEL", &name);

    ngx_str_set(&value, "1");
    (void) ngx_http_academy_redis_say(peer, ngx_http_academy_redis_pushed, 3,
                                      "RPUSH", &name, &value);

    ngx_str_set(&value, "60000");
    (void) ngx_http_academy_redis_say(peer, ngx_http_academy_redis_pong, 3,
                                      "PEXPIRE", &name, &value);

    ngx_add_timer(&link->probe, NGX_HTTP_ACADEMY_REDIS_PROBE);
}


/* without memory it pushes nothing, and of nothing there is nothing to tell */

static void
ngx_http_academy_redis_pushed(redisAsyncContext *ac, void *data, void *peer)
{
    redisReply  *reply = data;

    if (reply && reply->type == REDIS_REPLY_INTEGER) {
        ((ngx_http_academy_redis_peer_t *) peer)->redis->link->pushed = 1;
    }
}


void
ngx_http_academy_redis_probe_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_t *redis = ev->data;

    ngx_http_academy_redis_link_t  *link;

    link = redis->link;

    if (!link->up || !link->pushed || link->heard) {
        return;
    }

    link->missed++;

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, ev->log, 0,
                   "academy redis missed events: %ui", link->missed);

    /* somebody may have set it to something else, and may set it again */

    ngx_http_academy_redis_get_events(&link->commands);

    if (link->deaf || (!link->doubt
                       && link->missed < NGX_HTTP_ACADEMY_REDIS_MISSED))
    {
        return;
    }

    link->deaf = 1;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "redis \"%V\" tells nothing of what happens to its keys, and "
                  "this cannot be set from here: \"notify-keyspace-events\""
                  " has to contain \"" NGX_HTTP_ACADEMY_REDIS_EVENTS "\"; until"
                  " then messages are looked for once a second",
                  &redis->exchange.name);
}


void
ngx_http_academy_redis_heard(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;

    link->heard = 1;
    link->missed = 0;

    if (!link->deaf) {
        return;
    }

    link->deaf = 0;

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "redis \"%V\" tells again what happens to its keys",
                  &redis->exchange.name);

    /* all that happened meanwhile */

    ngx_http_academy_redis_wait_down(redis);
    ngx_http_academy_redis_wait_up(redis);
    ngx_http_academy_redis_keeper_down(redis);
    ngx_http_academy_redis_keeper_up(redis);
}
