
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <sys/eventfd.h>
#include "ngx_http_academy_redis_link.h"


/*
 * A worker's two connections to Redis: one for commands, and one on which Redis
 * tells what happens to keys, as a connection that has subscriptions takes no
 * commands.
 *
 * The one for commands comes first, and the other one goes where that went: the
 * two are of use together only, and with one server.  When it is lost, so is
 * the other.
 *
 * hiredis frees a connection by itself when it fails.  Before it does so it
 * calls all handlers of replies, without a reply, and then the hooks of the
 * event loop: there the peer forgets it.
 */


#define NGX_HTTP_ACADEMY_REDIS_RETRY      50      /* milliseconds, at first */
#define NGX_HTTP_ACADEMY_REDIS_RETRY_MAX  5000
#define NGX_HTTP_ACADEMY_REDIS_IDLE       5000    /* until it is asked */
#define NGX_HTTP_ACADEMY_REDIS_LEAVE      1000    /* a worker's last words */
#define NGX_HTTP_ACADEMY_REDIS_FULL       5000    /* after it refused */


static ngx_int_t ngx_http_academy_redis_channel_init(
    ngx_http_academy_redis_t *redis, ngx_cycle_t *cycle);
static ngx_int_t ngx_http_academy_redis_watch(ngx_http_academy_redis_t *redis,
    ngx_cycle_t *cycle);
static void ngx_http_academy_redis_watcher(ngx_event_t *ev);
static void ngx_http_academy_redis_peer_init(
    ngx_http_academy_redis_peer_t *peer, ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_retry_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_academy_redis_look_up(
    ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_resolve_handler(ngx_resolver_ctx_t *ctx);
static void ngx_http_academy_redis_next_addr(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_connect(ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_late_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_idle_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_say_lost(ngx_http_academy_redis_t *redis,
    const char *why);


ngx_int_t
ngx_http_academy_redis_link_init(ngx_http_academy_redis_t *redis,
    ngx_cycle_t *cycle)
{
    ngx_http_academy_redis_link_t  *link;

    link = ngx_pcalloc(cycle->pool, sizeof(ngx_http_academy_redis_link_t));
    if (link == NULL) {
        return NGX_ERROR;
    }

    redis->link = link;

    if (ngx_http_academy_redis_channel_init(redis, cycle) != NGX_OK
        || ngx_http_academy_redis_watch(redis, cycle) != NGX_OK)
    {
        redis->link = NULL;
        return NGX_ERROR;
    }

    ngx_http_academy_redis_commands_init(redis);

    link->probe.handler = ngx_http_academy_redis_probe_handler;
    link->probe.data = redis;
    link->probe.log = cycle->log;
    link->probe.cancelable = 1;

    ngx_http_academy_redis_peer_init(&link->commands, redis);
    ngx_http_academy_redis_peer_init(&link->events, redis);
    link->events.subscribes = 1;

    /* the event loop runs before a connection is tried */

    ngx_add_timer(&link->commands.retry, 1);

    return NGX_OK;
}


/* a key of this process's own, by which it is asked whether events come */

static ngx_int_t
ngx_http_academy_redis_channel_init(ngx_http_academy_redis_t *redis,
    ngx_cycle_t *cycle)
{
    u_char                         *p;
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;

    p = ngx_pnalloc(cycle->pool, sizeof("__keyspace@__:academy:alive:")
                                 + NGX_INT_T_LEN + redis->prefix.len
                                 + NGX_HTTP_ACADEMY_NODE_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    link->channel.data = p;
    link->alive.data = p;

    p = ngx_sprintf(p, "__keyspace@%ui__:", redis->db);
    link->channel.len = p - link->channel.data;

    p = ngx_sprintf(p, "%Vacademy:alive:%*s", &redis->prefix,
                    (size_t) NGX_HTTP_ACADEMY_NODE_LEN, redis->node);
    link->alive.len = p - link->alive.data;

    return NGX_OK;
}


/*
 * When a worker is to exit, nginx closes what is idle.  This is so at any time,
 * whether Redis is there or not.
 */

static ngx_int_t
ngx_http_academy_redis_watch(ngx_http_academy_redis_t *redis,
    ngx_cycle_t *cycle)
{
    int                fd;
    ngx_connection_t  *c;

    fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

    if (fd == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "eventfd() failed for redis \"%V\"",
                      &redis->exchange.name);
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd, cycle->log);

    if (c == NULL) {
        (void) close(fd);
        return NGX_ERROR;
    }

    c->data = redis;
    c->idle = 1;
    c->log = cycle->log;
    c->read->log = cycle->log;
    c->write->log = cycle->log;
    c->read->handler = ngx_http_academy_redis_watcher;

    redis->link->watcher = c;

    return NGX_OK;
}


static void
ngx_http_academy_redis_watcher(ngx_event_t *ev)
{
    ngx_connection_t  *c;

    c = ev->data;

    if (c->close) {
        c->close = 0;
        ngx_http_academy_redis_wait_exit(c->data);
    }
}


static void
ngx_http_academy_redis_peer_init(ngx_http_academy_redis_peer_t *peer,
    ngx_http_academy_redis_t *redis)
{
    peer->redis = redis;

    peer->retry.handler = ngx_http_academy_redis_retry_handler;
    peer->retry.data = peer;
    peer->retry.log = ngx_cycle->log;
    peer->retry.cancelable = 1;

    peer->late.handler = ngx_http_academy_redis_late_handler;
    peer->late.data = peer;
    peer->late.log = ngx_cycle->log;
    peer->late.cancelable = 1;

    peer->idle.handler = ngx_http_academy_redis_idle_handler;
    peer->idle.data = peer;
    peer->idle.log = ngx_cycle->log;
    peer->idle.cancelable = 1;
}


static void
ngx_http_academy_redis_retry_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_peer_t *peer = ev->data;

    ngx_http_academy_redis_t  *redis;

    redis = peer->redis;

    if (peer->subscribes) {
        ngx_http_academy_redis_connect(peer);
        return;
    }

    /* at the start the addresses are as new as the configuration */

    if (peer->tries && redis->resolver && redis->host.len
        && ngx_http_academy_redis_look_up(redis) == NGX_OK)
    {
        return;
    }

    ngx_http_academy_redis_next_addr(redis);
}


static ngx_int_t
ngx_http_academy_redis_look_up(ngx_http_academy_redis_t *redis)
{
    ngx_resolver_ctx_t  *ctx;

    ctx = ngx_resolve_start(redis->resolver, NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        return NGX_ERROR;
    }

    ctx->name = redis->host;
    ctx->handler = ngx_http_academy_redis_resolve_handler;
    ctx->data = redis;
    ctx->timeout = redis->connect_timeout;
    ctx->cancelable = 1;

    redis->link->resolving = ctx;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        redis->link->resolving = NULL;
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_academy_redis_resolve_handler(ngx_resolver_ctx_t *ctx)
{
    ngx_http_academy_redis_t *redis = ctx->data;

    ngx_resolver_addr_t            *addr;
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;
    link->resolving = NULL;

    if (ctx->state || ctx->naddrs == 0) {
        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "\"%V\" of redis \"%V\" could not be resolved: %s",
                      &redis->host, &redis->exchange.name,
                      ngx_resolver_strerror(ctx->state));

        ngx_resolve_name_done(ctx);
        ngx_http_academy_redis_next_addr(redis);
        return;
    }

    addr = &ctx->addrs[link->addr++ % ctx->naddrs];

    link->socklen = addr->socklen;
    ngx_memcpy(&link->sockaddr, addr->sockaddr, addr->socklen);
    ngx_inet_set_port(&link->sockaddr.sockaddr, redis->port);

    ngx_resolve_name_done(ctx);

    ngx_http_academy_redis_connect(&link->commands);
}


static void
ngx_http_academy_redis_next_addr(ngx_http_academy_redis_t *redis)
{
    ngx_addr_t                     *addr;
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;
    addr = &redis->addrs[link->addr++ % redis->naddrs];

    link->socklen = addr->socklen;
    ngx_memcpy(&link->sockaddr, addr->sockaddr, addr->socklen);

    ngx_http_academy_redis_connect(&link->commands);
}


static void
ngx_http_academy_redis_connect(ngx_http_academy_redis_peer_t *peer)
{
    u_char                          text[NGX_SOCKADDR_STRLEN + 1];
    struct sockaddr                *sockaddr;
    redisAsyncContext              *ac;
    ngx_http_academy_redis_link_t  *link;

    link = peer->redis->link;
    sockaddr = &link->sockaddr.sockaddr;

    text[ngx_sock_ntop(sockaddr, link->socklen, text, NGX_SOCKADDR_STRLEN, 0)]
        = '\0';

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                   "academy redis connect to %s, events:%d", text,
                   (int) peer->subscribes);

    if (sockaddr->sa_family == AF_UNIX) {
        ac = redisAsyncConnectUnix((char *) text + sizeof("unix:") - 1);

    } else {
        ac = redisAsyncConnect((char *) text, ngx_inet_get_port(sockaddr));
    }

    if (ac == NULL) {
        ngx_http_academy_redis_lost(peer, "no memory");
        return;
    }

    if (ac->err) {
        ngx_http_academy_redis_lost(peer, ac->errstr);
        redisAsyncFree(ac);
        return;
    }

    if (ngx_http_academy_redis_attach(peer, ac) != NGX_OK) {
        redisAsyncFree(ac);
        ngx_http_academy_redis_lost(peer, "no free connection of nginx's");
        return;
    }

    ngx_add_timer(&peer->late, peer->redis->connect_timeout);
}


void
ngx_http_academy_redis_ready(ngx_http_academy_redis_peer_t *peer)
{
    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_redis_link_t  *link;

    redis = peer->redis;
    link = redis->link;

    peer->ready = 1;
    peer->tries = 0;

    if (peer->late.timer_set) {
        ngx_del_timer(&peer->late);
    }

    ngx_add_timer(&peer->idle, NGX_HTTP_ACADEMY_REDIS_IDLE);

    if (!peer->subscribes) {
        ngx_http_academy_count(&redis->exchange,
                               NGX_HTTP_ACADEMY_N_REDIS_CONNECTS);

        ngx_http_academy_redis_commands_send(redis);
        ngx_http_academy_redis_keeper_up(redis);

        link->events.tries = 0;
        ngx_http_academy_redis_connect(&link->events);
        return;
    }

    link->up = 1;
    redis->exchange.figures->mine->linked = 1;
    link->told = 0;
    link->since = ngx_current_msec;
    link->missed = 0;

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "redis \"%V\" at \"%V\" is connected",
                  &redis->exchange.name, &redis->server);

    ngx_http_academy_redis_probe(redis);

    ngx_http_academy_redis_sweep(redis);
    ngx_http_academy_redis_wait_up(redis);
    ngx_http_academy_redis_keeper_up(redis);
}


void
ngx_http_academy_redis_lost(ngx_http_academy_redis_peer_t *peer,
    const char *why)
{
    ngx_msec_t                      delay;
    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_redis_link_t  *link;

    redis = peer->redis;
    link = redis->link;

    peer->ac = NULL;
    peer->ready = 0;

    if (link->exiting) {
        return;
    }

    if (peer->late.timer_set) {
        ngx_del_timer(&peer->late);
    }

    if (peer->idle.timer_set) {
        ngx_del_timer(&peer->idle);
    }

    if (peer->retry.timer_set) {
        ngx_del_timer(&peer->retry);
    }

    if (!peer->subscribes || link->commands.ready) {
        delay = NGX_HTTP_ACADEMY_REDIS_RETRY << ngx_min(peer->tries, 7);
        delay = ngx_min(delay, NGX_HTTP_ACADEMY_REDIS_RETRY_MAX);
        delay = delay / 2 + ngx_random() % (delay / 2 + 1);

        peer->tries++;
        ngx_add_timer(&peer->retry, delay);

        ngx_http_academy_redis_say_lost(redis, why);
    }

    if (link->up) {
        link->up = 0;
        redis->exchange.figures->mine->linked = 0;

        if (link->probe.timer_set) {
            ngx_del_timer(&link->probe);
        }

        ngx_http_academy_redis_wait_down(redis);
        ngx_http_academy_redis_keeper_down(redis);
    }

    if (!peer->subscribes) {
        link->unwritten = 0;
        link->loading = 0;

        /* the next one may have another clock */

        redis->ahead = 0;

        if (link->events.ac) {
            ngx_http_academy_redis_down(&link->events, why);

        } else if (link->events.retry.timer_set) {
            ngx_del_timer(&link->events.retry);
        }
    }
}


/* what is said of it is said once, until it is there again */

static void
ngx_http_academy_redis_say_lost(ngx_http_academy_redis_t *redis,
    const char *why)
{
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;

    if (link->told) {
        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "redis \"%V\" at \"%V\" is still not available: %s",
                      &redis->exchange.name, &redis->server, why);
        return;
    }

    link->told = 1;

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "redis \"%V\" at \"%V\" is not available: %s; it is tried "
                  "again until it is", &redis->exchange.name, &redis->server,
                  why);
}


void
ngx_http_academy_redis_down(ngx_http_academy_redis_peer_t *peer,
    const char *why)
{
    redisAsyncContext  *ac;

    ac = peer->ac;

    if (ac == NULL) {
        return;
    }

    ngx_http_academy_redis_lost(peer, why);

    redisAsyncFree(ac);
}


static void
ngx_http_academy_redis_late_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_down(ev->data, "it does not answer");
}


/* a connection on which nothing was heard is asked, and given up next time */

static void
ngx_http_academy_redis_idle_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_peer_t *peer = ev->data;

    ngx_msec_t  delay;

    if (!peer->ready) {
        return;
    }

    if (peer->asked) {
        ngx_http_academy_redis_down(peer, "it does not answer any more");
        return;
    }

    delay = ngx_max(NGX_HTTP_ACADEMY_REDIS_IDLE, peer->redis->timeout);
    ngx_add_timer(ev, delay);

    peer->asked = 1;

    if (!peer->subscribes && peer->redis->link->up) {
        ngx_http_academy_redis_probe(peer->redis);
        return;
    }

    ngx_http_academy_redis_ask(peer);
}


ngx_uint_t
ngx_http_academy_redis_commands_up(ngx_http_academy_redis_t *redis)
{
    return redis->link->commands.ready;
}


ngx_uint_t
ngx_http_academy_redis_up(ngx_http_academy_redis_t *redis, ngx_msec_t *since)
{
    *since = redis->link->since;

    return redis->link->up;
}


ngx_str_t *
ngx_http_academy_redis_channel(ngx_http_academy_redis_t *redis)
{
    return &redis->link->alive;
}


ngx_uint_t
ngx_http_academy_redis_away(ngx_http_academy_redis_t *redis)
{
    return !redis->link->commands.ready && redis->link->told;
}


ngx_uint_t
ngx_http_academy_redis_full(ngx_http_academy_redis_t *redis)
{
    ngx_msec_t  full;

    full = redis->link->full;

    return full && ngx_current_msec - full < NGX_HTTP_ACADEMY_REDIS_FULL;
}


ngx_uint_t
ngx_http_academy_redis_deaf(ngx_http_academy_redis_t *redis)
{
    return redis->link->deaf;
}


void
ngx_http_academy_redis_link_exit(ngx_http_academy_redis_t *redis)
{
    ngx_uint_t                      left;
    ngx_msec_t                      end;
    ngx_connection_t               *c;
    redisAsyncContext              *ac;
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;
    left = 0;

    if (link->resolving) {
        ngx_resolve_name_done(link->resolving);
    }

    if (link->commands.ready) {
        ngx_http_academy_redis_flush(redis);

        if (ngx_http_academy_redis_commands_leave(redis, &left) != NGX_OK) {
            ngx_http_academy_redis_down(&link->commands, "no memory");
        }
    }

    link->exiting = 1;

    ngx_time_update();
    end = ngx_current_msec + NGX_HTTP_ACADEMY_REDIS_LEAVE;

    while (!left && link->commands.ready
           && (ngx_msec_int_t) (end - ngx_current_msec) > 0)
    {
        ngx_http_academy_redis_wait_socket(&link->commands,
                                           end - ngx_current_msec);
        ngx_time_update();
    }

    if (left) {
        ngx_http_academy_redis_forget(redis, redis->node);

    } else {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "redis \"%V\" was not told that this worker ends: what "
                      "it had not delivered another one returns in a moment",
                      &redis->exchange.name);
    }

    ac = link->commands.ac;

    if (ac) {
        link->commands.ac = NULL;
        redisAsyncFree(ac);
    }

    ac = link->events.ac;

    if (ac) {
        link->events.ac = NULL;
        redisAsyncFree(ac);
    }

    c = link->watcher;

    if (c) {
        link->watcher = NULL;

        (void) close(c->fd);
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
    }
}
