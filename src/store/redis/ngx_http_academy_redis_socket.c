
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <poll.h>
#include "ngx_http_academy_redis_link.h"


/*
 * hiredis on nginx's events.  hiredis reads and writes, and closes what it has
 * opened; nginx tells when.
 */


/* hiredis's buffer ends with a zero byte, and no command begins with one */

#define ngx_http_academy_redis_unwritten(ac)                                  \
    ((ac)->c.obuf && *(ac)->c.obuf)


static void ngx_http_academy_redis_connected(const redisAsyncContext *ac,
    int status);
static void ngx_http_academy_redis_disconnected(const redisAsyncContext *ac,
    int status);
static void ngx_http_academy_redis_add_read(void *data);
static void ngx_http_academy_redis_del_read(void *data);
static void ngx_http_academy_redis_add_write(void *data);
static void ngx_http_academy_redis_del_write(void *data);
static void ngx_http_academy_redis_cleanup(void *data);
static void ngx_http_academy_redis_read_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_write_handler(ngx_event_t *ev);
static void ngx_http_academy_redis_write(ngx_http_academy_redis_peer_t *peer);


ngx_int_t
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

    peer->ac = ac;
    peer->connection = c;
    peer->ready = 0;
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

        ngx_http_academy_redis_lost(peer, ac->errstr ? ac->errstr
                                                     : "connect() failed");
        return;
    }

    if (ac->c.connection_type == REDIS_CONN_TCP) {
        value = 1;

        (void) setsockopt(ac->c.fd, IPPROTO_TCP, TCP_NODELAY, &value,
                          sizeof(int));
    }

    ngx_add_timer(&peer->late, peer->redis->timeout);

    ngx_http_academy_redis_greet(peer);
}


static void
ngx_http_academy_redis_disconnected(const redisAsyncContext *ac, int status)
{
    ngx_http_academy_redis_peer_t  *peer;

    peer = ac->data;

    /* what was given up is forgotten already */

    if (peer->ac == ac) {
        ngx_http_academy_redis_lost(peer, ac->errstr);
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

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, ev->log, 0,
                   "academy redis read, events:%d", (int) peer->subscribes);

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

    ngx_http_academy_redis_write(peer);

    /* what the socket did not take */

    if (peer->ac == ac && peer->ready && !ev->active
        && ngx_http_academy_redis_unwritten(ac))
    {
        if (ev->posted) {
            ngx_delete_posted_event(ev);
        }

        if (ngx_add_event(ev, NGX_WRITE_EVENT, NGX_LEVEL_EVENT) != NGX_OK) {
            ngx_http_academy_redis_down(peer, "its events could not be added");
        }
    }
}


static void
ngx_http_academy_redis_write(ngx_http_academy_redis_peer_t *peer)
{
    redisAsyncContext  *ac;

    ac = peer->ac;

    redisAsyncHandleWrite(ac);

    if (peer->ac == ac && !peer->subscribes && peer->ready
        && !ngx_http_academy_redis_unwritten(ac))
    {
        peer->redis->link->unwritten = 0;
        ngx_http_academy_redis_commands_send(peer->redis);
    }
}


void
ngx_http_academy_redis_wait_socket(ngx_http_academy_redis_peer_t *peer,
    ngx_msec_t ms)
{
    struct pollfd       pfd;
    redisAsyncContext  *ac;

    ac = peer->ac;

    pfd.fd = ac->c.fd;
    pfd.events = POLLIN;
    pfd.revents = 0;

    if (ngx_http_academy_redis_unwritten(ac)) {
        pfd.events |= POLLOUT;
    }

    if (poll(&pfd, 1, (int) ms) == -1) {

        if (ngx_errno != NGX_EINTR) {
            ngx_http_academy_redis_down(peer, "poll() failed");
        }

        return;
    }

    if (pfd.revents & POLLOUT) {
        ngx_http_academy_redis_write(peer);
    }

    if (peer->ac == ac && (pfd.revents & (POLLIN|POLLERR|POLLHUP))) {
        redisAsyncHandleRead(ac);
    }
}
