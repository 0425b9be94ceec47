
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_redis_link.h"


/*
 * A worker's two connections to Redis, on nginx's events: one for commands,
 * one on which Redis tells what happens to keys, as a connection that has
 * subscriptions takes no commands.
 *
 * A command that is given is in the queue until its handler has run.  It is
 * sent at once, or when there is a connection.  One that was sent when the
 * connection is lost ends: nobody knows whether it was carried out.  One that
 * was not waits on until its time has passed.  As all have the same time, the
 * first of the queue is the first whose time passes.
 *
 * hiredis frees a connection by itself when it fails.  Before it does so it
 * calls all handlers of replies, without a reply, and then the hooks of the
 * event loop: there the peer forgets it.
 */


#define NGX_HTTP_ACADEMY_REDIS_RETRY      50      /* milliseconds, at first */
#define NGX_HTTP_ACADEMY_REDIS_RETRY_MAX  5000
#define NGX_HTTP_ACADEMY_REDIS_IDLE       5000    /* until it is asked */
#define NGX_HTTP_ACADEMY_REDIS_LEAVE      1000    /* a worker's last words */
#define NGX_HTTP_ACADEMY_REDIS_LEASES     "100"   /* in one of them */

/* what the events are needed for: keyspace, lists, generic, strings, expiry */

#define NGX_HTTP_ACADEMY_REDIS_EVENTS     "Klg$x"


static void ngx_http_academy_redis_connect(ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_connect_addr(
    ngx_http_academy_redis_peer_t *peer, struct sockaddr *sockaddr,
    socklen_t socklen);
static void ngx_http_academy_redis_resolve_handler(ngx_resolver_ctx_t *ctx);
static ngx_int_t ngx_http_academy_redis_attach(
    ngx_http_academy_redis_peer_t *peer, redisAsyncContext *ac);
static void ngx_http_academy_redis_connected(const redisAsyncContext *ac,
    int status);
static void ngx_http_academy_redis_disconnected(const redisAsyncContext *ac,
    int status);
static void ngx_http_academy_redis_greet(ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_say(ngx_http_academy_redis_peer_t *peer,
    redisCallbackFn *handler, ngx_uint_t n, ...);
static void ngx_http_academy_redis_greeted(redisAsyncContext *ac, void *reply,
    void *data);
static void ngx_http_academy_redis_greeted_events(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_greeted_role(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_set_events(
    ngx_http_academy_redis_peer_t *peer, char *flags, size_t len);
static void ngx_http_academy_redis_greeted_set(redisAsyncContext *ac,
    void *reply, void *data);
static void ngx_http_academy_redis_doubt(ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_probe(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_probed(redisAsyncContext *ac, void *reply,
    void *data);
static void ngx_http_academy_redis_step(ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_ready(ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_lost(ngx_http_academy_redis_peer_t *peer,
    const char *why);
static void ngx_http_academy_redis_down(ngx_http_academy_redis_peer_t *peer,
    const char *why);
static void ngx_http_academy_redis_retry_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_late_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_idle_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_ask(ngx_http_academy_redis_peer_t *peer);
static void ngx_http_academy_redis_pong(redisAsyncContext *ac, void *reply,
    void *data);

static void ngx_http_academy_redis_add_read(void *data);
static void ngx_http_academy_redis_del_read(void *data);
static void ngx_http_academy_redis_add_write(void *data);
static void ngx_http_academy_redis_del_write(void *data);
static void ngx_http_academy_redis_cleanup(void *data);
static void ngx_http_academy_redis_read_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_write_handler(ngx_event_t *ev);

static ngx_http_academy_redis_command_t *ngx_http_academy_redis_command(
    ngx_http_academy_redis_t *redis, ngx_http_academy_redis_answer_pt handler,
    void *data);
static void ngx_http_academy_redis_give(
    ngx_http_academy_redis_command_t *command);
static void ngx_http_academy_redis_send(
    ngx_http_academy_redis_command_t *command);
static void ngx_http_academy_redis_replied(redisAsyncContext *ac, void *reply,
    void *data);
static void ngx_http_academy_redis_load(ngx_http_academy_redis_peer_t *peer,
    ngx_str_t *verb, ngx_str_t *text);
static void ngx_http_academy_redis_end(
    ngx_http_academy_redis_command_t *command,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_timer_handler(ngx_event_t *ev);

static ngx_int_t ngx_http_academy_redis_tell(ngx_http_academy_redis_t *redis,
    const char *verb, ngx_str_t *keys, ngx_uint_t n);
static void ngx_http_academy_redis_event(redisAsyncContext *ac, void *reply,
    void *data);
static void ngx_http_academy_redis_left(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);
static ngx_int_t ngx_http_academy_redis_leave(ngx_http_academy_redis_t *redis,
    ngx_uint_t *left);


static ngx_inline void
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


ngx_int_t
ngx_http_academy_redis_link_init(ngx_http_academy_redis_t *redis,
    ngx_cycle_t *cycle)
{
    u_char                         *p;
    ngx_http_academy_redis_link_t  *link;

    link = ngx_pcalloc(cycle->pool, sizeof(ngx_http_academy_redis_link_t));
    if (link == NULL) {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(cycle->pool, sizeof("__keyspace@__:academy:alive:")
                                 + NGX_INT_T_LEN + redis->prefix.len
                                 + NGX_HTTP_ACADEMY_NODE_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    /* a channel that nothing else comes on, to be asked whether it lives */

    link->channel.data = p;
    link->alive.data = p;

    p = ngx_sprintf(p, "__keyspace@%ui__:", redis->db);
    link->channel.len = p - link->channel.data;

    p = ngx_sprintf(p, "%Vacademy:alive:%*s", &redis->prefix,
                    (size_t) NGX_HTTP_ACADEMY_NODE_LEN, redis->node);
    link->alive.len = p - link->alive.data;

    ngx_queue_init(&link->queue);

    link->timer.handler = ngx_http_academy_redis_timer_handler;
    link->timer.data = redis;
    link->timer.log = cycle->log;
    link->timer.cancelable = 1;

    ngx_http_academy_redis_peer_init(&link->commands, redis);
    ngx_http_academy_redis_peer_init(&link->events, redis);
    link->events.subscribes = 1;

    redis->link = link;

    /* the event loop runs before a connection is tried */

    ngx_add_timer(&link->commands.retry, 1);
    ngx_add_timer(&link->events.retry, 1);

    return NGX_OK;
}


static void
ngx_http_academy_redis_connect(ngx_http_academy_redis_peer_t *peer)
{
    ngx_addr_t                     *addr;
    ngx_resolver_ctx_t             *ctx;
    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_redis_link_t  *link;

    redis = peer->redis;
    link = redis->link;

    /* at the start the addresses are as new as the configuration */

    if (peer->tries && redis->resolver && redis->host.len) {

        if (link->resolving) {
            ngx_add_timer(&peer->retry, NGX_HTTP_ACADEMY_REDIS_RETRY);
            return;
        }

        ctx = ngx_resolve_start(redis->resolver, NULL);

        if (ctx && ctx != NGX_NO_RESOLVER) {
            ctx->name = redis->host;
            ctx->handler = ngx_http_academy_redis_resolve_handler;
            ctx->data = peer;
            ctx->timeout = redis->connect_timeout;
            ctx->cancelable = 1;

            link->resolving = ctx;

            if (ngx_resolve_name(ctx) == NGX_OK) {
                return;
            }

            link->resolving = NULL;
        }
    }

    addr = &redis->addrs[peer->addr++ % redis->naddrs];

    ngx_http_academy_redis_connect_addr(peer, addr->sockaddr, addr->socklen);
}


static void
ngx_http_academy_redis_resolve_handler(ngx_resolver_ctx_t *ctx)
{
    ngx_http_academy_redis_peer_t *peer = ctx->data;

    socklen_t                       socklen;
    ngx_addr_t                     *addr;
    ngx_sockaddr_t                  sockaddr;
    ngx_http_academy_redis_t       *redis;

    redis = peer->redis;
    redis->link->resolving = NULL;

    if (ctx->state || ctx->naddrs == 0) {
        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "\"%V\" of redis \"%V\" could not be resolved: %s",
                      &redis->host, &redis->exchange.name,
                      ngx_resolver_strerror(ctx->state));

        ngx_resolve_name_done(ctx);

        addr = &redis->addrs[peer->addr++ % redis->naddrs];
        ngx_http_academy_redis_connect_addr(peer, addr->sockaddr,
                                            addr->socklen);
        return;
    }

    socklen = ctx->addrs[peer->addr % ctx->naddrs].socklen;
    ngx_memcpy(&sockaddr, ctx->addrs[peer->addr % ctx->naddrs].sockaddr,
               socklen);
    peer->addr++;

    ngx_inet_set_port(&sockaddr.sockaddr, redis->port);

    ngx_resolve_name_done(ctx);

    ngx_http_academy_redis_connect_addr(peer, &sockaddr.sockaddr, socklen);
}


static void
ngx_http_academy_redis_connect_addr(ngx_http_academy_redis_peer_t *peer,
    struct sockaddr *sockaddr, socklen_t socklen)
{
    u_char                     text[NGX_SOCKADDR_STRLEN + 1];
    redisAsyncContext         *ac;
    ngx_http_academy_redis_t  *redis;

    redis = peer->redis;

    text[ngx_sock_ntop(sockaddr, socklen, text, NGX_SOCKADDR_STRLEN, 0)]
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

    /* until it has been greeted */

    ngx_add_timer(&peer->late, redis->connect_timeout);
}


static ngx_int_t
ngx_http_academy_redis_attach(ngx_http_academy_redis_peer_t *peer,
    redisAsyncContext *ac)
{
    ngx_connection_t  *c;

    c = ngx_get_connection(ac->c.fd, ngx_cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->data = peer;
    c->log = ngx_cycle->log;
    c->read->log = ngx_cycle->log;
    c->write->log = ngx_cycle->log;
    c->read->handler = ngx_http_academy_redis_read_handler;
    c->write->handler = ngx_http_academy_redis_write_handler;

    /* a graceful exit runs the handler of what is idle, with c->close set */

    c->idle = peer->subscribes;

    peer->ac = ac;
    peer->connection = c;
    peer->ready = 0;
    peer->failed = 0;
    peer->asked = 0;

    ac->data = peer;
    ac->ev.data = peer;
    ac->ev.addRead = ngx_http_academy_redis_add_read;
    ac->ev.delRead = ngx_http_academy_redis_del_read;
    ac->ev.addWrite = ngx_http_academy_redis_add_write;
    ac->ev.delWrite = ngx_http_academy_redis_del_write;
    ac->ev.cleanup = ngx_http_academy_redis_cleanup;

    redisAsyncSetConnectCallback(ac, ngx_http_academy_redis_connected);
    redisAsyncSetDisconnectCallback(ac, ngx_http_academy_redis_disconnected);

    return NGX_OK;
}


static void
ngx_http_academy_redis_connected(const redisAsyncContext *ac, int status)
{
    int                             value;
    ngx_http_academy_redis_peer_t  *peer;

    peer = ac->data;

    if (status != REDIS_OK) {

        /* hiredis frees it behind this, and tells nobody */

        ngx_http_academy_redis_lost(peer, ac->errstr);
        return;
    }

    if (ac->c.connection_type == REDIS_CONN_TCP) {
        value = 1;
        (void) setsockopt(ac->c.fd, IPPROTO_TCP, TCP_NODELAY, &value,
                          sizeof(int));
        (void) setsockopt(ac->c.fd, SOL_SOCKET, SO_KEEPALIVE, &value,
                          sizeof(int));
    }

    ngx_http_academy_redis_greet(peer);
}


static void
ngx_http_academy_redis_disconnected(const redisAsyncContext *ac, int status)
{
    ngx_http_academy_redis_lost(ac->data, status == REDIS_OK ? "closed"
                                                             : ac->errstr);
}


/* all that has to be said comes at once: the last reply makes it ready */

static void
ngx_http_academy_redis_greet(ngx_http_academy_redis_peer_t *peer)
{
    u_char                     db[NGX_INT_T_LEN];
    ngx_str_t                 *text, name, value;
    ngx_uint_t                 i;
    ngx_http_academy_redis_t  *redis;

    redis = peer->redis;
    peer->steps = 0;

    if (redis->password.len && redis->user.len) {
        ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted, 3,
                                   "AUTH", &redis->user, &redis->password);

    } else if (redis->password.len) {
        ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted, 2,
                                   "AUTH", &redis->password);
    }

    if (peer->subscribes) {

        ngx_http_academy_redis_ask(peer);
        return;
    }

    if (redis->db) {
        value.data = db;
        value.len = ngx_sprintf(db, "%ui", redis->db) - db;
        ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted, 2,
                                   "SELECT", &value);
    }

    ngx_str_set(&name, "LOAD");

    for (i = 0; i < NGX_HTTP_ACADEMY_SCRIPTS; i++) {
        text = ngx_http_academy_redis_script_text(i);
        ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted, 3,
                                   "SCRIPT", &name, text);
    }

    ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted_role, 1,
                               "ROLE");

    ngx_str_set(&name, "GET");
    ngx_str_set(&value, "notify-keyspace-events");
    ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted_events, 3,
                               "CONFIG", &name, &value);
}


/* a command of the greeting: its arguments are ngx_str_t * */

static void
ngx_http_academy_redis_say(ngx_http_academy_redis_peer_t *peer,
    redisCallbackFn *handler, ngx_uint_t n, ...)
{
    size_t       len[4];
    va_list      args;
    ngx_str_t   *arg;
    ngx_uint_t   i;
    const char  *argv[4];

    va_start(args, n);

    argv[0] = va_arg(args, char *);
    len[0] = ngx_strlen(argv[0]);

    for (i = 1; i < n; i++) {
        arg = va_arg(args, ngx_str_t *);
        argv[i] = (char *) arg->data;
        len[i] = arg->len;
    }

    va_end(args);

    peer->steps++;

    if (redisAsyncCommandArgv(peer->ac, handler, peer, (int) n, argv, len)
        != REDIS_OK)
    {
        peer->failed = 1;
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
        ngx_http_academy_redis_down(peer, reply->str);
        return;
    }

    ngx_http_academy_redis_step(peer);
}


/* where a user may not ask for it, the first write tells */

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

    if (reply->type == REDIS_REPLY_ERROR
        && ngx_http_academy_redis_script_away(reply))
    {
        ngx_http_academy_redis_down(peer, reply->str);
        return;
    }

    ngx_http_academy_redis_step(peer);
}


static void
ngx_http_academy_redis_greeted_events(redisAsyncContext *ac, void *data,
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
        ngx_http_academy_redis_doubt(peer);
    }

    ngx_http_academy_redis_step(peer);
}


/* what is needed and not there is added; "A" stands for all but K and E */

static void
ngx_http_academy_redis_set_events(ngx_http_academy_redis_peer_t *peer,
    char *flags, size_t len)
{
    u_char     *p, buf[64];
    ngx_str_t   verb, name, value;
    const char *need;

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
        peer->redis->link->doubt = 0;
        peer->redis->link->deaf = 0;
        return;
    }

    ngx_str_set(&verb, "SET");
    ngx_str_set(&name, "notify-keyspace-events");
    value.data = buf;
    value.len = p - buf;

    ngx_http_academy_redis_say(peer, ngx_http_academy_redis_greeted_set, 4,
                               "CONFIG", &verb, &name, &value);
}


static void
ngx_http_academy_redis_greeted_set(redisAsyncContext *ac, void *data,
    void *peer)
{
    redisReply  *reply = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_http_academy_redis_doubt(peer);

    } else {
        ((ngx_http_academy_redis_peer_t *) peer)->redis->link->doubt = 0;
        ((ngx_http_academy_redis_peer_t *) peer)->redis->link->deaf = 0;
    }

    ngx_http_academy_redis_step(peer);
}


/*
 * It may have been set by who administers it: a key is set once both
 * connections are there, and the event of that tells
 */

static void
ngx_http_academy_redis_doubt(ngx_http_academy_redis_peer_t *peer)
{
    peer->redis->link->doubt = 1;
}


static void
ngx_http_academy_redis_step(ngx_http_academy_redis_peer_t *peer)
{
    if (--peer->steps) {
        return;
    }

    if (peer->failed) {
        ngx_http_academy_redis_down(peer, "no memory");
        return;
    }

    ngx_http_academy_redis_ready(peer);
}


static void
ngx_http_academy_redis_ready(ngx_http_academy_redis_peer_t *peer)
{
    ngx_queue_t                       *q;
    ngx_http_academy_redis_t          *redis;
    ngx_http_academy_redis_link_t     *link;
    ngx_http_academy_redis_command_t  *command;

    redis = peer->redis;
    link = redis->link;

    peer->ready = 1;
    peer->tries = 0;

    if (peer->late.timer_set) {
        ngx_del_timer(&peer->late);
    }

    ngx_add_timer(&peer->idle, NGX_HTTP_ACADEMY_REDIS_IDLE);

    if (link->commands.ready && link->events.ready) {
        link->up = 1;
        link->since = ngx_current_msec;

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "redis \"%V\" at \"%V\" is connected",
                      &redis->exchange.name, &redis->server);
        link->told = 0;
    }

    if (!peer->subscribes) {

        for (q = ngx_queue_head(&link->queue);
             q != ngx_queue_sentinel(&link->queue);
             q = ngx_queue_next(q))
        {
            command = ngx_queue_data(q, ngx_http_academy_redis_command_t,
                                     queue);
            if (!command->sent) {
                ngx_http_academy_redis_send(command);
            }
        }
    }

    if (link->up) {

        if (link->doubt) {
            ngx_http_academy_redis_probe(redis);
        }

        ngx_http_academy_redis_wait_up(redis);
        ngx_http_academy_redis_keeper_up(redis);
    }
}


static void
ngx_http_academy_redis_probe(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;

    (void) redisAsyncCommand(link->commands.ac, ngx_http_academy_redis_probed,
                             NULL, "SET %b 1 PX 1000",
                             link->alive.data + link->channel.len,
                             link->alive.len - link->channel.len);

    ngx_add_timer(&link->events.late, redis->connect_timeout);
}


static void
ngx_http_academy_redis_probed(redisAsyncContext *ac, void *reply, void *data)
{
    /* void */
}


/* the connection is gone, or was never there */

static void
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

    if (link->exiting || peer->retry.timer_set) {
        return;
    }

    if (peer->late.timer_set) {
        ngx_del_timer(&peer->late);
    }

    if (peer->idle.timer_set) {
        ngx_del_timer(&peer->idle);
    }

    delay = NGX_HTTP_ACADEMY_REDIS_RETRY << ngx_min(peer->tries, 7);
    delay = ngx_min(delay, NGX_HTTP_ACADEMY_REDIS_RETRY_MAX);
    delay = delay / 2 + ngx_random() % (delay / 2 + 1);

    peer->tries++;
    ngx_add_timer(&peer->retry, delay);

    if (!link->told) {
        link->told = 1;

        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "redis \"%V\" at \"%V\" is not available: %s; trying "
                      "again until it is", &redis->exchange.name,
                      &redis->server, why);
    } else {
        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "redis \"%V\" at \"%V\": %s", &redis->exchange.name,
                      &redis->server, why);
    }

    if (link->up) {
        link->up = 0;

        ngx_http_academy_redis_wait_down(redis);
        ngx_http_academy_redis_keeper_down(redis);
    }
}


/* as above, for what hiredis is still working on: it frees it a little later */

static void
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
ngx_http_academy_redis_retry_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_connect(ev->data);
}


static void
ngx_http_academy_redis_late_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_peer_t *peer = ev->data;

    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_redis_link_t  *link;

    redis = peer->redis;
    link = redis->link;

    if (!peer->ready) {
        ngx_http_academy_redis_down(peer, "it does not answer");
        return;
    }

    /* the event of the probe did not come */

    if (!link->doubt || link->deaf) {
        return;
    }

    link->deaf = 1;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "redis \"%V\" tells nothing of what happens to its keys, and "
                  "lets nobody set it: its \"notify-keyspace-events\" has to "
                  "contain \"" NGX_HTTP_ACADEMY_REDIS_EVENTS "\"; until then "
                  "messages are looked for once a second",
                  &redis->exchange.name);
}


/* a connection on which nothing was heard is asked, and given up next time */

static void
ngx_http_academy_redis_idle_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_peer_t *peer = ev->data;

    if (!peer->ready) {
        return;
    }

    if (peer->asked) {
        ngx_http_academy_redis_down(peer, "it does not answer any more");
        return;
    }

    peer->asked = 1;

    ngx_http_academy_redis_ask(peer);

    ngx_add_timer(ev, ngx_max(NGX_HTTP_ACADEMY_REDIS_IDLE,
                              peer->redis->timeout));
}


/* where there are subscriptions, PING is none of hiredis's commands */

static void
ngx_http_academy_redis_ask(ngx_http_academy_redis_peer_t *peer)
{
    int                             rc;
    size_t                          len[2];
    const char                     *argv[2];
    ngx_http_academy_redis_link_t  *link;

    link = peer->redis->link;

    argv[0] = peer->subscribes ? "SUBSCRIBE" : "PING";
    len[0] = ngx_strlen(argv[0]);
    argv[1] = (char *) link->alive.data;
    len[1] = link->alive.len;

    rc = redisAsyncCommandArgv(peer->ac,
                               peer->subscribes ? ngx_http_academy_redis_event
                                                : ngx_http_academy_redis_pong,
                               peer, peer->subscribes ? 2 : 1, argv, len);

    if (rc != REDIS_OK) {
        ngx_http_academy_redis_down(peer, "no memory");
    }
}


static void
ngx_http_academy_redis_pong(redisAsyncContext *ac, void *data, void *peer)
{
    redisReply  *reply = data;

    if (reply && reply->type == REDIS_REPLY_ERROR) {
        ngx_http_academy_redis_down(peer, reply->str);
    }
}


static void
ngx_http_academy_redis_add_read(void *data)
{
    ngx_http_academy_redis_peer_t *peer = data;

    ngx_event_t  *rev;

    rev = peer->connection->read;

    /* hiredis reads once for an event, not all that there is */

    if (!rev->active
        && ngx_add_event(rev, NGX_READ_EVENT, NGX_LEVEL_EVENT) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "events of a connection to redis could not be added");
    }
}


static void
ngx_http_academy_redis_del_read(void *data)
{
    ngx_http_academy_redis_peer_t *peer = data;

    if (peer->connection->read->active) {
        (void) ngx_del_event(peer->connection->read, NGX_READ_EVENT, 0);
    }
}


static void
ngx_http_academy_redis_add_write(void *data)
{
    ngx_http_academy_redis_peer_t *peer = data;

    ngx_event_t  *wev;

    wev = peer->connection->write;

    if (wev->active || wev->posted) {
        return;
    }

    /* all that this turn of the loop gives is written at its end */

    if (peer->ready) {
        ngx_post_event(wev, &ngx_posted_events);
        return;
    }

    if (ngx_add_event(wev, NGX_WRITE_EVENT, NGX_LEVEL_EVENT) != NGX_OK) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "events of a connection to redis could not be added");
    }
}


static void
ngx_http_academy_redis_del_write(void *data)
{
    ngx_http_academy_redis_peer_t *peer = data;

    if (peer->connection->write->active) {
        (void) ngx_del_event(peer->connection->write, NGX_WRITE_EVENT, 0);
    }
}


/* hiredis closes the descriptor behind this */

static void
ngx_http_academy_redis_cleanup(void *data)
{
    ngx_http_academy_redis_peer_t *peer = data;

    ngx_connection_t  *c;

    c = peer->connection;
    peer->connection = NULL;

    if (c == NULL) {
        return;
    }

    if (c->read->active) {
        (void) ngx_del_event(c->read, NGX_READ_EVENT, 0);
    }

    if (c->write->active) {
        (void) ngx_del_event(c->write, NGX_WRITE_EVENT, 0);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;
}


static void
ngx_http_academy_redis_read_handler(ngx_event_t *ev)
{
    ngx_connection_t               *c;
    ngx_http_academy_redis_peer_t  *peer;

    c = ev->data;
    peer = c->data;

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, ev->log, 0,
                   "academy redis read, events:%d, close:%d",
                   (int) peer->subscribes, (int) c->close);

    if (c->close) {
        c->close = 0;
        ngx_http_academy_redis_wait_exit(peer->redis);
        return;
    }

    /* a connection that says something lives */

    peer->asked = 0;

    redisAsyncHandleRead(peer->ac);
}


static void
ngx_http_academy_redis_write_handler(ngx_event_t *ev)
{
    ngx_connection_t               *c;
    redisAsyncContext              *ac;
    ngx_http_academy_redis_peer_t  *peer;

    c = ev->data;
    peer = c->data;
    ac = peer->ac;

    redisAsyncHandleWrite(ac);

    /* what the socket did not take */

    if (peer->ac == ac && peer->ready && ac->c.obuf && *ac->c.obuf
        && !ev->active
        && ngx_add_event(ev, NGX_WRITE_EVENT, NGX_LEVEL_EVENT) != NGX_OK)
    {
        ngx_http_academy_redis_down(peer, "its events could not be added");
    }
}


static ngx_http_academy_redis_command_t *
ngx_http_academy_redis_command(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_answer_pt handler, void *data)
{
    ngx_http_academy_redis_link_t     *link;
    ngx_http_academy_redis_command_t  *command;

    link = redis->link;

    if (link->waiting == NGX_HTTP_ACADEMY_REDIS_WAITING || link->exiting) {
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


ngx_int_t
ngx_http_academy_redis_run(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_script_e script, ngx_str_t *args, ngx_uint_t n,
    ngx_http_academy_redis_answer_pt handler, void *data)
{
    ngx_http_academy_redis_command_t  *command;

    command = ngx_http_academy_redis_command(redis, handler, data);
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
ngx_http_academy_redis_scan(ngx_http_academy_redis_t *redis,
    ngx_str_t *cursor, ngx_str_t *match,
    ngx_http_academy_redis_answer_pt handler, void *data)
{
    int                                len;
    ngx_http_academy_redis_command_t  *command;

    command = ngx_http_academy_redis_command(redis, handler, data);
    if (command == NULL) {
        return NGX_ERROR;
    }

    len = redisFormatCommand(&command->text, "SCAN %b MATCH %b COUNT 500",
                             cursor->data, cursor->len, match->data,
                             match->len);
    if (len < 0) {
        ngx_free(command);
        return NGX_ERROR;
    }

    command->len = (size_t) len;
    command->plain = 1;

    ngx_http_academy_redis_give(command);

    return NGX_OK;
}


static void
ngx_http_academy_redis_give(ngx_http_academy_redis_command_t *command)
{
    ngx_http_academy_redis_link_t  *link;

    link = command->redis->link;

    ngx_queue_insert_tail(&link->queue, &command->queue);
    link->waiting++;

    /* a worker that exits waits for the end of it */

    link->timer.cancelable = 0;

    if (!link->timer.timer_set) {
        ngx_add_timer(&link->timer, command->redis->timeout);
    }

    if (link->commands.ready) {
        ngx_http_academy_redis_send(command);
    }
}


static void
ngx_http_academy_redis_send(ngx_http_academy_redis_command_t *command)
{
    ngx_http_academy_redis_peer_t  *peer;

    peer = &command->redis->link->commands;

    /* else it waits until its time has passed */

    if (redisAsyncFormattedCommand(peer->ac, ngx_http_academy_redis_replied,
                                   command, command->text, command->len)
        == REDIS_OK)
    {
        command->sent = 1;
    }
}


static void
ngx_http_academy_redis_replied(redisAsyncContext *ac, void *data,
    void *privdata)
{
    redisReply *reply = data;
    ngx_http_academy_redis_command_t *command = privdata;

    ngx_str_t                         *text, verb;
    ngx_http_academy_redis_peer_t     *peer;
    ngx_http_academy_redis_answer_t    answer;

    peer = ac->data;

    if (reply == NULL) {

        /* the connection is lost, and whether this was carried out is open */

        peer->ready = 0;

        answer.result = NGX_HTTP_ACADEMY_UNAVAILABLE;
        answer.reply = NULL;
        answer.sent = 1;

        ngx_http_academy_redis_end(command, &answer);
        return;
    }

    answer.sent = 1;

    switch (ngx_http_academy_redis_script_answer(command, reply, &answer)) {

    case NGX_OK:
        break;

    case NGX_AGAIN:

        /* its scripts were flushed, or it is another one */

        if (peer->ready && !command->again) {
            command->again = 1;
            command->sent = 0;

            ngx_str_set(&verb, "LOAD");
            text = ngx_http_academy_redis_script_text(command->script);
            ngx_http_academy_redis_load(peer, &verb, text);
            ngx_http_academy_redis_send(command);
            return;
        }

        answer.result = NGX_HTTP_ACADEMY_UNAVAILABLE;
        answer.reply = NULL;
        answer.sent = 0;
        break;

    default: /* NGX_DECLINED */

        ngx_http_academy_redis_down(peer, reply->str);
        answer.sent = 0;
        break;
    }

    ngx_http_academy_redis_end(command, &answer);
}


static void
ngx_http_academy_redis_load(ngx_http_academy_redis_peer_t *peer,
    ngx_str_t *verb, ngx_str_t *text)
{
    (void) redisAsyncCommand(peer->ac, ngx_http_academy_redis_pong, peer,
                             "SCRIPT %b %b", verb->data, verb->len,
                             text->data, text->len);
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

    if (--link->waiting == 0) {
        link->timer.cancelable = 1;
    }

    free(command->text);
    ngx_free(command);

    /* what this process has leased when it ends, its last words return */

    if (!link->exiting || handler == ngx_http_academy_redis_left) {
        handler(redis, data, answer);
    }
}


static void
ngx_http_academy_redis_timer_handler(ngx_event_t *ev)
{
    ngx_http_academy_redis_t *redis = ev->data;

    ngx_queue_t                       *q;
    ngx_msec_int_t                     left;
    ngx_http_academy_redis_link_t     *link;
    ngx_http_academy_redis_answer_t    answer;
    ngx_http_academy_redis_command_t  *command;

    link = redis->link;

    answer.result = NGX_HTTP_ACADEMY_UNAVAILABLE;
    answer.reply = NULL;
    answer.sent = 0;

    while (!ngx_queue_empty(&link->queue)) {
        q = ngx_queue_head(&link->queue);
        command = ngx_queue_data(q, ngx_http_academy_redis_command_t, queue);

        left = (ngx_msec_int_t) (command->deadline - ngx_current_msec);

        if (left > 0) {
            ngx_add_timer(ev, (ngx_msec_t) left);
            return;
        }

        if (command->sent) {

            /* ends all that were sent, this one among them */

            ngx_http_academy_redis_down(&link->commands,
                                        "it does not answer in time");
            continue;
        }

        ngx_http_academy_redis_end(command, &answer);
    }
}


ngx_uint_t
ngx_http_academy_redis_up(ngx_http_academy_redis_t *redis, ngx_msec_t *since)
{
    *since = redis->link->since;

    return redis->link->up;
}


ngx_uint_t
ngx_http_academy_redis_deaf(ngx_http_academy_redis_t *redis)
{
    return redis->link->deaf;
}


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
    int                             rc;
    u_char                         *p, *buf;
    size_t                          size, *len;
    ngx_uint_t                      i;
    const char                    **argv;
    ngx_http_academy_redis_link_t  *link;
    ngx_http_academy_redis_peer_t  *peer;

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

static void
ngx_http_academy_redis_event(redisAsyncContext *ac, void *data, void *privdata)
{
    redisReply *reply = data;
    ngx_http_academy_redis_peer_t *peer = privdata;

    char                           *kind;
    ngx_str_t                       key, event;
    ngx_uint_t                      i, pattern;
    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_redis_link_t  *link;

    if (reply == NULL || peer->ac != ac) {
        return;
    }

    redis = peer->redis;
    link = redis->link;

    if (reply->type == REDIS_REPLY_ERROR) {
        ngx_http_academy_redis_down(peer, reply->str);
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        return;
    }

    kind = reply->element[0]->str;
    pattern = (kind[0] == 'p');
    i = 1;

    if (pattern && ngx_strcmp(kind, "pmessage") == 0) {
        i = 2;

        if (reply->elements < 4) {
            return;
        }
    }

    if (reply->element[i]->type != REDIS_REPLY_STRING) {
        return;
    }

    key.data = (u_char *) reply->element[i]->str;
    key.len = reply->element[i]->len;

    if (key.len == link->alive.len
        && ngx_memcmp(key.data, link->alive.data, key.len) == 0)
    {
        if (!peer->ready) {
            ngx_http_academy_redis_ready(peer);
        }

        if (ngx_strcmp(kind, "message") == 0) {
            link->doubt = 0;
            link->deaf = 0;
        }

        return;
    }

    if (key.len < link->channel.len) {
        return;
    }

    key.data += link->channel.len;
    key.len -= link->channel.len;

    if (ngx_strcmp(kind, "subscribe") == 0) {
        ngx_http_academy_redis_wait_subscribed(redis, &key);
        return;
    }

    if (ngx_strcmp(kind + pattern, "message") != 0
        || reply->element[i + 1]->type != REDIS_REPLY_STRING)
    {
        return;
    }

    event.data = (u_char *) reply->element[i + 1]->str;
    event.len = reply->element[i + 1]->len;

    if (pattern) {
        ngx_http_academy_redis_keeper_event(redis, &key, &event);

    } else {
        ngx_http_academy_redis_wait_event(redis, &key, &event);
    }
}


static void
ngx_http_academy_redis_left(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
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

    (void) ngx_http_academy_redis_leave(redis, left);
}


static ngx_int_t
ngx_http_academy_redis_leave(ngx_http_academy_redis_t *redis, ngx_uint_t *left)
{
    ngx_int_t  rc;
    ngx_str_t  args[3];

    args[0].data = redis->node;
    args[0].len = NGX_HTTP_ACADEMY_NODE_LEN;
    ngx_str_set(&args[1], NGX_HTTP_ACADEMY_REDIS_LEASES);
    ngx_str_set(&args[2], "0");

    redis->link->exiting = 0;
    rc = ngx_http_academy_redis_run(redis, NGX_HTTP_ACADEMY_SCRIPT_LEAVE, args,
                                    3, ngx_http_academy_redis_left, left);
    redis->link->exiting = 1;

    return rc;
}


void
ngx_http_academy_redis_link_exit(ngx_http_academy_redis_t *redis)
{
    int                             ms;
    ngx_uint_t                      left;
    ngx_msec_t                      end;
    struct pollfd                   pfd;
    redisAsyncContext              *ac;
    ngx_http_academy_redis_link_t  *link;

    link = redis->link;
    left = 0;

    if (link->commands.ready) {
        ngx_http_academy_redis_flush(redis);
        (void) ngx_http_academy_redis_leave(redis, &left);
    }

    link->exiting = 1;

    ngx_time_update();
    end = ngx_current_msec + NGX_HTTP_ACADEMY_REDIS_LEAVE;

    while (!left && link->commands.ready) {

        ac = link->commands.ac;
        ms = (int) (ngx_msec_int_t) (end - ngx_current_msec);

        if (ms <= 0) {
            break;
        }

        pfd.fd = ac->c.fd;
        pfd.events = POLLIN | ((ac->c.obuf && *ac->c.obuf) ? POLLOUT : 0);
        pfd.revents = 0;

        if (poll(&pfd, 1, ms) == -1 && ngx_errno != NGX_EINTR) {
            break;
        }

        if (pfd.revents & POLLOUT) {
            redisAsyncHandleWrite(ac);
        }

        if (link->commands.ac == ac
            && (pfd.revents & (POLLIN|POLLERR|POLLHUP)))
        {
            redisAsyncHandleRead(ac);
        }

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

    if (link->commands.ac) {
        ac = link->commands.ac;
        link->commands.ac = NULL;
        redisAsyncFree(ac);
    }

    if (link->events.ac) {
        ac = link->events.ac;
        link->events.ac = NULL;
        redisAsyncFree(ac);
    }
}
