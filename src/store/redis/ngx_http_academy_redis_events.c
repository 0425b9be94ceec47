
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_redis_link.h"


/*
 * Whether Redis tells what happens to keys.
 *
 * Who waits has to be told of a mailbox's list.  Of other keys the leader has
 * to be told while somebody else than nodes changes them.  Each message
 * changes some, and to tell of them costs Redis more than a tenth of it: so
 * these kinds of events come into its setting when they are needed for the
 * first time.  Nothing is taken out of it, which is the whole server's.
 *
 * A key of this process's own is written now and then, of which it has to be
 * told.
 */


/* keyspace and lists; generic, strings, expiry */

#define NGX_HTTP_ACADEMY_REDIS_EVENTS     "Kl"
#define NGX_HTTP_ACADEMY_REDIS_CHANGED    "g$x"

/* milliseconds until an event is missed, and how often that is too often */

#define NGX_HTTP_ACADEMY_REDIS_PROBE      1000
#define NGX_HTTP_ACADEMY_REDIS_MISSED     2


static void ngx_http_academy_redis_got_events(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_set_events(
    ngx_http_academy_redis_peer_t *peer, char *flags, size_t len);
static void ngx_http_academy_redis_events_set(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_blind(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_sees(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_pushed(redisAsyncContext *ac, void *reply,
    void *data);


void
ngx_http_academy_redis_ask_events(ngx_http_academy_redis_t *redis)
{
    ngx_str_t                       verb, name;
    ngx_http_academy_redis_peer_t  *peer;

    peer = &redis->link->commands;

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

    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_redis_link_t  *link;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
        && reply->element[1]->type == REDIS_REPLY_STRING)
    {
        ngx_http_academy_redis_set_events(peer, reply->element[1]->str,
                                          reply->element[1]->len);

    } else {
        redis = ((ngx_http_academy_redis_peer_t *) peer)->redis;
        link = redis->link;
        link->doubt = 1;

        if (redis->others && link->up && !link->changes
            && !link->probe.timer_set)
        {
            ngx_http_academy_redis_probe(redis);
        }
    }

    ngx_http_academy_redis_said(peer);
}


/* what is needed and not there is added; "A" stands for all but K and E */

static void
ngx_http_academy_redis_set_events(ngx_http_academy_redis_peer_t *peer,
    char *flags, size_t len)
{
    u_char                    *p, buf[64];
    ngx_str_t                  verb, name, value;
    const char                *need;
    ngx_http_academy_redis_t  *redis;

    static const char          changed[] = NGX_HTTP_ACADEMY_REDIS_EVENTS
                                           NGX_HTTP_ACADEMY_REDIS_CHANGED;

    redis = peer->redis;
    redis->link->doubt = 0;

    if (len > sizeof(buf) - sizeof(changed)) {
        len = 0;
    }

    p = ngx_cpymem(buf, flags, len);

    for (need = redis->others ? changed : NGX_HTTP_ACADEMY_REDIS_EVENTS;
         *need;
         need++)
    {
        if (ngx_strlchr(buf, p, *need) == NULL
            && (*need == 'K' || ngx_strlchr(buf, p, 'A') == NULL))
        {
            *p++ = *need;
        }
    }

    if (p == buf + len) {
        ngx_http_academy_redis_sees(redis);
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

    ngx_http_academy_redis_t  *redis;

    if (reply == NULL) {
        return;
    }

    redis = ((ngx_http_academy_redis_peer_t *) peer)->redis;

    if (reply->type == REDIS_REPLY_ERROR) {
        redis->link->doubt = 1;

        ngx_http_academy_redis_blind(redis);

    } else if (redis->others) {
        redis->link->blind = 0;

        /* it may have been subscribed to them before */

        ngx_http_academy_redis_keeper_told(redis);
    }

    ngx_http_academy_redis_said(peer);
}


static void
ngx_http_academy_redis_blind(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;

    if (!redis->others || link->blind) {
        return;
    }

    link->blind = 1;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "redis \"%V\" does not tell what others change, and this "
                  "cannot be set from here: \"notify-keyspace-events\" has to "
                  "contain \"" NGX_HTTP_ACADEMY_REDIS_EVENTS
                  NGX_HTTP_ACADEMY_REDIS_CHANGED "\"",
                  &redis->exchange.name);
}


/* somebody has set it: what others changed before has to be looked for */

static void
ngx_http_academy_redis_sees(ngx_http_academy_redis_t *redis)
{
    if (!redis->others || !redis->link->blind) {
        return;
    }

    redis->link->blind = 0;

    ngx_http_academy_redis_keeper_told(redis);
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
    link->changes = 0;

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

    if (!link->up || !link->pushed) {
        return;
    }

    if (link->heard) {

        /*
         * The setting cannot be read, or was not what it should be.  One of the
         * kinds that tell of changes stands for all.
         */

        if (link->changes) {
            ngx_http_academy_redis_sees(redis);

        } else if (link->doubt) {
            ngx_http_academy_redis_blind(redis);
        }

        return;
    }

    link->missed++;

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, ev->log, 0,
                   "academy redis missed events: %ui", link->missed);

    /* somebody may have set it to something else, and may set it again */

    ngx_http_academy_redis_ask_events(redis);

    if (link->deaf || (!link->doubt
                       && link->missed < NGX_HTTP_ACADEMY_REDIS_MISSED))
    {
        return;
    }

    link->deaf = 1;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "redis \"%V\" tells nothing of what happens to its keys, and "
                  "this cannot be set from here: \"notify-keyspace-events\""
                  " has to contain \"" NGX_HTTP_ACADEMY_REDIS_EVENTS
                  NGX_HTTP_ACADEMY_REDIS_CHANGED "\"; until"
                  " then messages are looked for once a second",
                  &redis->exchange.name);
}


void
ngx_http_academy_redis_heard_changes(ngx_http_academy_redis_t *redis)
{
    redis->link->changes = 1;
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
