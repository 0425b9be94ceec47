
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_redis_link.h"


/* Subscriptions, and what comes on them. */


static ngx_int_t ngx_http_academy_redis_tell(ngx_http_academy_redis_t *redis,
    const char *verb, ngx_str_t *keys, ngx_uint_t n);
static void ngx_http_academy_redis_alive(ngx_http_academy_redis_peer_t *peer,
    char *kind, redisReply *event);


ngx_int_t
ngx_http_academy_redis_subscribe(ngx_http_academy_redis_t *redis,
    ngx_str_t *keys, ngx_uint_t n)
{
    return ngx_http_academy_redis_tell(redis, "SUBSCRIBE", keys, n);
}


ngx_int_t
ngx_http_academy_redis_unsubscribe(ngx_http_academy_redis_t *redis,
    ngx_str_t *keys, ngx_uint_t n)
{
    return ngx_http_academy_redis_tell(redis, "UNSUBSCRIBE", keys, n);
}


ngx_int_t
ngx_http_academy_redis_psubscribe(ngx_http_academy_redis_t *redis,
    ngx_str_t *pattern)
{
    return ngx_http_academy_redis_tell(redis, "PSUBSCRIBE", pattern, 1);
}


ngx_int_t
ngx_http_academy_redis_punsubscribe(ngx_http_academy_redis_t *redis,
    ngx_str_t *pattern)
{
    return ngx_http_academy_redis_tell(redis, "PUNSUBSCRIBE", pattern, 1);
}


static ngx_int_t
ngx_http_academy_redis_tell(ngx_http_academy_redis_t *redis, const char *verb,
    ngx_str_t *keys, ngx_uint_t n)
{
    int                              rc;
    u_char                          *p, *buf;
    size_t                           size, *len;
    ngx_uint_t                       i;
    const char                     **argv;
    ngx_http_academy_redis_link_t   *link;
    ngx_http_academy_redis_peer_t   *peer;

    link = redis->link;
    peer = &link->events;

    if (!peer->ready) {
        return NGX_ERROR;
    }

    size = (n + 1) * (sizeof(char *) + sizeof(size_t));

    for (i = 0; i < n; i++) {
        size += link->channel.len + keys[i].len;
    }

    buf = ngx_alloc(size, ngx_cycle->log);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    argv = (const char **) buf;
    len = (size_t *) (argv + n + 1);
    p = (u_char *) (len + n + 1);

    argv[0] = verb;
    len[0] = ngx_strlen(verb);

    for (i = 0; i < n; i++) {
        argv[i + 1] = (char *) p;
        len[i + 1] = link->channel.len + keys[i].len;

        p = ngx_cpymem(p, link->channel.data, link->channel.len);
        p = ngx_cpymem(p, keys[i].data, keys[i].len);
    }

    rc = redisAsyncCommandArgv(peer->ac, ngx_http_academy_redis_event, peer,
                               (int) n + 1, argv, len);

    ngx_free(buf);

    return (rc == REDIS_OK) ? NGX_OK : NGX_ERROR;
}


/* "subscribe" and its like, "message", "pmessage" with its pattern */

void
ngx_http_academy_redis_event(redisAsyncContext *ac, void *data, void *privdata)
{
    redisReply *reply = data;
    ngx_http_academy_redis_peer_t *peer = privdata;

    char                           *kind;
    ngx_str_t                       key, event;
    ngx_uint_t                      i, pattern;
    redisReply                    **element;
    ngx_http_academy_redis_link_t  *link;

    if (reply == NULL || peer->ac != ac) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_http_academy_redis_down(peer,
                                  ngx_http_academy_redis_script_error(reply));
        return;
    }

    link = peer->redis->link;
    element = reply->element;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3
        || element[0]->type != REDIS_REPLY_STRING)
    {
        return;
    }

    kind = element[0]->str;
    pattern = (ngx_strcmp(kind, "pmessage") == 0);
    i = pattern ? 2 : 1;

    if (reply->elements < i + 2
        || element[i]->type != REDIS_REPLY_STRING
        || element[i]->len < (size_t) link->channel.len)
    {
        return;
    }

    key.data = (u_char *) element[i]->str;
    key.len = element[i]->len;

    if (key.len == link->alive.len
        && ngx_memcmp(key.data, link->alive.data, key.len) == 0)
    {
        ngx_http_academy_redis_alive(peer, kind, element[i + 1]);
        return;
    }

    key.data += link->channel.len;
    key.len -= link->channel.len;

    if (ngx_strcmp(kind, "subscribe") == 0) {
        ngx_http_academy_redis_wait_subscribed(peer->redis, &key);
        return;
    }

    if (ngx_strcmp(kind, "psubscribe") == 0) {
        ngx_http_academy_redis_keeper_told(peer->redis);
        return;
    }

    if ((!pattern && ngx_strcmp(kind, "message") != 0)
        || element[i + 1]->type != REDIS_REPLY_STRING)
    {
        return;
    }

    event.data = (u_char *) element[i + 1]->str;
    event.len = element[i + 1]->len;

    if (pattern) {
        ngx_http_academy_redis_keeper_event(peer->redis, &key, &event);

    } else {
        ngx_http_academy_redis_wait_event(peer->redis, &key, &event);
    }
}


/* the key of this process's own */

static void
ngx_http_academy_redis_alive(ngx_http_academy_redis_peer_t *peer, char *kind,
    redisReply *event)
{
    ngx_str_t  text;

    if (!peer->ready) {
        ngx_http_academy_redis_ready(peer);
        return;
    }

    if (event->type != REDIS_REPLY_STRING || ngx_strcmp(kind, "message") != 0) {
        return;
    }

    if (ngx_strcmp(event->str, "rpush") == 0) {
        ngx_http_academy_redis_heard(peer->redis);
        return;
    }

    if (ngx_strcmp(event->str, "expire") == 0) {
        ngx_http_academy_redis_heard_changes(peer->redis);
        return;
    }

    text.data = (u_char *) event->str;
    text.len = event->len;

    ngx_http_academy_redis_told(peer->redis, &text);
}
