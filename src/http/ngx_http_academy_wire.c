
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include "ngx_http_academy_delivery.h"
#include "ngx_http_academy_wire.h"


/*
 * What a peer has acknowledged is what was written less what the socket's send
 * queue still holds (SIOCOUTQ).  The kernel tells nobody when that changes, so
 * it is looked at when there is an occasion: before more is written, on a
 * stream if some messages are, when the client says something or leaves, and a
 * few times by a timer that all wires of a process share.
 *
 * How much was written nginx counts for a plain connection, OpenSSL for one of
 * TLS.  Where neither counts, only an empty queue tells.
 *
 * nginx closes a connection without a word to anybody but the cleanups of its
 * pool, which run when the socket is gone.  On HTTP/1 the wire steps in before
 * the handler of the connection that is kept alive.  On HTTP/2 it has its own
 * descriptor of the socket.
 */


/* milliseconds: until a wire is looked at for the first time, and at most */

#define NGX_HTTP_ACADEMY_WIRE_FIRST  50
#define NGX_HTTP_ACADEMY_WIRE_LAST   1000

/* messages whose room is kept when there is none */

#define NGX_HTTP_ACADEMY_WIRE_KEEP   16

/* of what a mailbox may hold, the part that need not be settled at once */

#define NGX_HTTP_ACADEMY_WIRE_SHARE  16

/* bytes that a record of TLS is longer than its text; at most, RFC 5246 */

#define NGX_HTTP_ACADEMY_WIRE_RECORD  2048


static void ngx_http_academy_wire_tell(ngx_http_academy_wire_t *wire,
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n,
    ngx_uint_t acknowledged);
static ngx_uint_t ngx_http_academy_wire_unix(ngx_connection_t *c);
static uint64_t ngx_http_academy_wire_position(ngx_http_academy_wire_t *wire);
static void ngx_http_academy_wire_begin(ngx_http_academy_wire_t *wire);
static size_t ngx_http_academy_wire_buffered(ngx_http_academy_wire_t *wire);
static ngx_int_t ngx_http_academy_wire_grow(ngx_http_academy_wire_t *wire);
static void ngx_http_academy_wire_take(ngx_http_academy_wire_t *wire,
    ngx_uint_t n, ngx_uint_t acknowledged);
static void ngx_http_academy_wire_hold_handler(ngx_event_t *ev);
static void ngx_http_academy_wire_request_cleanup(void *data);
static void ngx_http_academy_wire_read_handler(ngx_event_t *rev);
static void ngx_http_academy_wire_release(ngx_http_academy_wire_t *wire);
static void ngx_http_academy_wire_timer_handler(ngx_event_t *ev);
static void ngx_http_academy_wire_doubt(ngx_http_academy_wire_t *wire);
static void ngx_http_academy_wire_cleanup(void *data);


static ngx_queue_t  ngx_http_academy_wires;
static ngx_event_t  ngx_http_academy_wire_timer;


ngx_http_academy_wire_t *
ngx_http_academy_wire(ngx_connection_t *c, ngx_http_request_t *r,
    ngx_msec_t peer_timeout)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_academy_wire_t  *wire;

#if (NGX_HTTP_V2)
    if (r && r->stream) {
        c = r->stream->connection->connection;
    }
#endif

    wire = ngx_http_academy_wire_find(c);
    if (wire) {
        return wire;
    }

    cln = ngx_pool_cleanup_add(c->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    wire = ngx_calloc(sizeof(ngx_http_academy_wire_t), c->log);
    if (wire == NULL) {
        return NULL;
    }

    wire->connection = c;
    wire->fd = (ngx_socket_t) -1;
    ngx_queue_init(&wire->waits);
    wire->event.handler = ngx_http_academy_wire_hold_handler;
    wire->event.data = wire;
    wire->event.log = c->log;

#ifdef NGX_HTTP_VERSION_30
    if (r && r->http_version >= NGX_HTTP_VERSION_30) {
        wire->datagrams = 1;
    }
#endif

#if (NGX_HTTP_V2)
    if (r && r->stream) {
        wire->fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);

        if (wire->fd == (ngx_socket_t) -1) {
            ngx_log_error(NGX_LOG_CRIT, c->log, ngx_socket_errno,
                          "fcntl(F_DUPFD_CLOEXEC) failed");
            ngx_free(wire);
            return NULL;
        }
    }
#endif

    cln->handler = ngx_http_academy_wire_cleanup;
    cln->data = wire;

    if (!wire->datagrams) {
        ngx_http_academy_wire_timeout(c, peer_timeout);
    }

    return wire;
}


ngx_http_academy_wire_t *
ngx_http_academy_wire_find(ngx_connection_t *c)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = c->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_academy_wire_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


void
ngx_http_academy_wire_timeout(ngx_connection_t *c, ngx_msec_t timeout)
{
    unsigned int  value;

    if (timeout == 0 || ngx_http_academy_wire_unix(c)) {
        return;
    }

    value = (unsigned int) timeout;

    if (setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
                   (const void *) &value, sizeof(value))
        == -1)
    {
        ngx_connection_error(c, ngx_socket_errno,
                             "setsockopt(TCP_USER_TIMEOUT) failed");
    }
}


void
ngx_http_academy_wire_add(ngx_http_academy_wire_t *wire,
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, size_t behind)
{
    size_t       buffered;
    ngx_uint_t   n;

    ngx_http_academy_count(exchange, NGX_HTTP_ACADEMY_N_SENT);

    if (delivery->accepted) {
        ngx_http_academy_observe_time(exchange, NGX_HTTP_ACADEMY_H_LATENCY,
                                      delivery->accepted);
    }

    if (wire->datagrams) {

        /* QUIC knows what is acknowledged, and keeps it to itself */

        ngx_http_academy_wire_tell(wire, exchange, delivery, 1, 1);

        ngx_http_academy_settle(exchange, delivery, 1);
        return;
    }

    if (wire->n == wire->size && ngx_http_academy_wire_grow(wire) != NGX_OK) {
        ngx_http_academy_wire_tell(wire, exchange, delivery, 1, 0);
        ngx_http_academy_return(exchange, delivery, 1);
        return;
    }

    if (wire->n == 0) {
        ngx_http_academy_wire_begin(wire);
    }

    n = wire->n++;

    wire->bytes += delivery->size;
    wire->deliveries[n] = *delivery;
    wire->exchanges[n] = exchange;

    buffered = ngx_http_academy_wire_buffered(wire);

    wire->ends[n] = ngx_http_academy_wire_position(wire) + buffered - behind;

    /*
     * A client of HTTP/2 may have said something that nobody has read: then
     * the system throws away what it has when the process dies.
     */

    if (buffered == 0 && !wire->connection->buffered && !wire->doubted
        && wire->fd == (ngx_socket_t) -1)
    {
        exchange->store->written(exchange, delivery, 1, 1);
    }
}


/* as long as the messages are there to be read */

static void
ngx_http_academy_wire_tell(ngx_http_academy_wire_t *wire,
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n,
    ngx_uint_t acknowledged)
{
    if (wire->told) {
        ngx_http_academy_delivery_log(wire->connection->log, exchange,
                                      delivery, n, acknowledged ? "delivered"
                                                                : "returned");
    }
}


static void
ngx_http_academy_wire_begin(ngx_http_academy_wire_t *wire)
{
    ngx_event_t              *timer;
    ngx_connection_t         *c;

    static ngx_connection_t   dumb;

    c = wire->connection;

    if (ngx_http_academy_wires.next == NULL) {
        ngx_queue_init(&ngx_http_academy_wires);
    }

    ngx_queue_insert_tail(&ngx_http_academy_wires, &wire->queue);

    wire->exact = !ngx_http_academy_wire_unix(c);
    wire->interval = NGX_HTTP_ACADEMY_WIRE_FIRST;
    wire->due = ngx_current_msec + wire->interval;

#if (NGX_HTTP_SSL && defined BIO_get_ktls_send)

    /* what the kernel encrypts is longer than what it was given */

    if (c->ssl && BIO_get_ktls_send(SSL_get_wbio(c->ssl->connection))) {
        wire->exact = 0;
    }

#endif

    timer = &ngx_http_academy_wire_timer;

    if (!timer->timer_set) {

        /* what a debug log is told of a timer is its connection's descriptor */

        dumb.fd = (ngx_socket_t) -1;

        timer->data = &dumb;
        timer->handler = ngx_http_academy_wire_timer_handler;
        timer->log = ngx_cycle->log;

        ngx_add_timer(timer, NGX_HTTP_ACADEMY_WIRE_FIRST);
    }
}


/* c->sockaddr may be what a proxy says of its client (realip) */

static ngx_uint_t
ngx_http_academy_wire_unix(ngx_connection_t *c)
{
    return c->listening && c->listening->sockaddr->sa_family == AF_UNIX;
}


/* bytes that have been written to the socket */

static uint64_t
ngx_http_academy_wire_position(ngx_http_academy_wire_t *wire)
{
    ngx_connection_t  *c;

    c = wire->connection;

    if (c->fd == (ngx_socket_t) -1) {

        /* it is closed: that much had been written at least */

        return wire->position;
    }

#if (NGX_HTTP_SSL)
    if (c->ssl) {
        wire->position = BIO_number_written(
                                          SSL_get_wbio(c->ssl->connection));
        return wire->position;
    }
#endif

    /*
     * nginx counts anew for each request.  What it counted between two looks
     * and forgot is missing here, so that less seems to be acknowledged.
     */

    if (c->sent < wire->sent) {
        wire->base += wire->sent;
    }

    wire->sent = c->sent;
    wire->position = wire->base + c->sent;

    return wire->position;
}


/* bytes that nginx has encrypted, or is about to, and not written */

static size_t
ngx_http_academy_wire_buffered(ngx_http_academy_wire_t *wire)
{
#if (NGX_HTTP_SSL)
    ngx_connection_t  *c;

    c = wire->connection;

    if (c->fd != (ngx_socket_t) -1 && c->ssl && c->ssl->buf
        && c->ssl->buf->pos != c->ssl->buf->last)
    {
        return c->ssl->buf->last - c->ssl->buf->pos
               + NGX_HTTP_ACADEMY_WIRE_RECORD;
    }
#endif

    return 0;
}


static ngx_int_t
ngx_http_academy_wire_grow(ngx_http_academy_wire_t *wire)
{
    u_char                        *p;
    uint64_t                      *ends;
    ngx_uint_t                     size;
    ngx_http_academy_delivery_t   *deliveries;
    ngx_http_academy_exchange_t  **exchanges;

    size = wire->size ? 2 * wire->size : 2;

    p = ngx_alloc(size * (sizeof(uint64_t) + sizeof(void *)
                          + sizeof(ngx_http_academy_delivery_t)),
                  wire->connection->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ends = (uint64_t *) p;
    exchanges = (ngx_http_academy_exchange_t **) (ends + size);
    deliveries = (ngx_http_academy_delivery_t *) (exchanges + size);

    if (wire->size) {
        ngx_memcpy(ends, wire->ends, wire->n * sizeof(uint64_t));
        ngx_memcpy(exchanges, wire->exchanges, wire->n * sizeof(void *));
        ngx_memcpy(deliveries, wire->deliveries,
                   wire->n * sizeof(ngx_http_academy_delivery_t));

        ngx_free(wire->ends);
    }

    wire->ends = ends;
    wire->exchanges = exchanges;
    wire->deliveries = deliveries;
    wire->size = size;

    return NGX_OK;
}


void
ngx_http_academy_wire_check(ngx_http_academy_wire_t *wire)
{
    int                queued;
    uint64_t           position;
    ngx_uint_t         n, all;
    ngx_socket_t       fd;
    ngx_connection_t  *c;

    if (wire->n == 0) {
        return;
    }

    c = wire->connection;
    fd = (wire->fd == (ngx_socket_t) -1) ? c->fd : wire->fd;

    if (fd == (ngx_socket_t) -1 || ioctl(fd, SIOCOUTQ, &queued) == -1) {
        return;
    }

    position = ngx_http_academy_wire_position(wire);

    if (queued && wire->fin) {

        /* the end of the connection counts as a byte, the last one */

        queued--;
    }

    /* closed with bytes unsent, it keeps the mark of it */

    all = (queued == 0 && !c->buffered);

    for (n = 0; n < wire->n; n++) {

        if (!all && (!wire->exact || wire->ends[n] + queued > position)) {
            break;
        }
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "academy wire: %ui of %ui acknowledged, queue:%d",
                   n, wire->n, queued);

    if (n) {
        ngx_http_academy_wire_take(wire, n, 1);
    }
}


/*
 * A stream is woken by each message.  What it was sent before is to be worth a
 * system call and a lock, unless its mailbox is to hold so little that a few
 * messages more would be missed.
 */

void
ngx_http_academy_wire_glance(ngx_http_academy_wire_t *wire,
    ngx_http_academy_limits_t *limits)
{
    if (!wire->doubted
        && wire->n < NGX_HTTP_ACADEMY_WIRE_SOME
        && wire->bytes < NGX_HTTP_ACADEMY_WIRE_BYTES
        && wire->n < limits->messages / NGX_HTTP_ACADEMY_WIRE_SHARE
        && wire->bytes < limits->bytes / NGX_HTTP_ACADEMY_WIRE_SHARE)
    {
        return;
    }

    ngx_http_academy_wire_check(wire);
}


/* the first n: they are settled, or go back */

static void
ngx_http_academy_wire_take(ngx_http_academy_wire_t *wire, ngx_uint_t n,
    ngx_uint_t acknowledged)
{
    ngx_uint_t                     i, run;
    ngx_queue_t                   *q;
    ngx_http_academy_exchange_t   *exchange;
    ngx_http_academy_wire_wait_t  *wait;

    for (i = 0; i < n; i++) {
        wire->bytes -= wire->deliveries[i].size;
    }

    for (i = 0; i < n; i += run) {
        exchange = wire->exchanges[i];

        for (run = 1; i + run < n && wire->exchanges[i + run] == exchange;
             run++)
        {
            /* void */
        }

        ngx_http_academy_wire_tell(wire, exchange, wire->deliveries + i, run,
                                   acknowledged);

        if (acknowledged) {
            wire->doubted = 0;
            ngx_http_academy_settle(exchange, wire->deliveries + i, run);

        } else {
            ngx_http_academy_return(exchange, wire->deliveries + i, run);
        }
    }

    wire->n -= n;

    while (!ngx_queue_empty(&wire->waits)) {
        q = ngx_queue_head(&wire->waits);
        wait = ngx_queue_data(q, ngx_http_academy_wire_wait_t, queue);

        ngx_post_event(wait->event, &ngx_posted_events);
        ngx_http_academy_wire_leave(wait);
    }

    if (wire->n) {
        ngx_memmove(wire->ends, wire->ends + n, wire->n * sizeof(uint64_t));
        ngx_memmove(wire->exchanges, wire->exchanges + n,
                    wire->n * sizeof(void *));
        ngx_memmove(wire->deliveries, wire->deliveries + n,
                    wire->n * sizeof(ngx_http_academy_delivery_t));

        /* who acknowledges is there, and will acknowledge more */

        wire->interval = NGX_HTTP_ACADEMY_WIRE_FIRST;
        wire->due = ngx_current_msec + wire->interval;
        return;
    }

    ngx_queue_remove(&wire->queue);

    if (wire->held) {
        ngx_post_event(&wire->event, &ngx_posted_events);
    }

    if (wire->size > NGX_HTTP_ACADEMY_WIRE_KEEP) {
        ngx_free(wire->ends);
        wire->size = 0;
    }
}


void
ngx_http_academy_wire_end(ngx_http_academy_wire_t *wire)
{
    ngx_http_academy_wire_check(wire);

    if (wire->n) {
        ngx_log_error(NGX_LOG_INFO, wire->connection->log, 0,
                      "client has not acknowledged %ui messages, they return "
                      "to their mailboxes", wire->n);

        ngx_http_academy_wire_take(wire, wire->n, 0);
    }
}


void
ngx_http_academy_wire_wait(ngx_http_academy_wire_t *wire,
    ngx_http_academy_wire_wait_t *wait, ngx_event_t *event)
{
    if (wait->event == NULL) {
        wait->event = event;
        ngx_queue_insert_tail(&wire->waits, &wait->queue);
    }
}


void
ngx_http_academy_wire_leave(ngx_http_academy_wire_wait_t *wait)
{
    if (wait->event) {
        wait->event = NULL;
        ngx_queue_remove(&wait->queue);
    }
}


/*
 * An answer is out and its request freed.  As long as it is not acknowledged,
 * nginx is not to close the connection, be it to make room or to exit.
 */

static void
ngx_http_academy_wire_hold_handler(ngx_event_t *ev)
{
    ngx_connection_t         *c;
    ngx_http_cleanup_t       *cln;
    ngx_http_academy_wire_t  *wire;

    wire = ev->data;
    c = wire->connection;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "academy wire hold handler: %ui, held:%ui",
                   wire->n, (ngx_uint_t) wire->held);

    if (wire->n == 0) {

        if (wire->held) {
            ngx_http_academy_wire_release(wire);
        }

        return;
    }

    if (wire->held) {
        return;
    }

    if (wire->fd == (ngx_socket_t) -1) {

        if (wire->stream) {
            return;
        }

        if (!c->destroyed) {

            /* a request is under way: once it is freed */

            cln = ngx_http_cleanup_add((ngx_http_request_t *) c->data, 0);

            if (cln) {
                cln->handler = ngx_http_academy_wire_request_cleanup;
                cln->data = wire;
            }

            return;
        }

        wire->handler = c->read->handler;
        c->read->handler = ngx_http_academy_wire_read_handler;
    }

    /* it was not idle within keepalive_min_timeout */

    wire->held = 1;
    wire->idle = c->idle;
    c->idle = 0;
    ngx_reusable_connection(c, 0);
}


static void
ngx_http_academy_wire_request_cleanup(void *data)
{
    ngx_http_academy_wire_t *wire = data;

    ngx_http_academy_wire_check(wire);
    ngx_http_academy_wire_hold(wire);
}


/*
 * A kept alive connection: a request, the client's end, or that of the wait.
 * Each time all is looked at: a request may end the connection, and then nobody
 * is asked before the socket is gone.
 */

static void
ngx_http_academy_wire_read_handler(ngx_event_t *rev)
{
    ngx_connection_t         *c;
    ngx_http_academy_wire_t  *wire;

    c = rev->data;
    wire = ngx_http_academy_wire_find(c);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "academy wire read handler: %ui", wire->n);

    ngx_http_academy_wire_check(wire);

    rev->handler = wire->handler;

    wire->held = 0;
    c->idle = wire->idle;
    ngx_reusable_connection(c, wire->idle);

    /* the handler may find nothing to read, or begin another wait */

    if (wire->n) {
        ngx_http_academy_wire_hold(wire);
    }

    rev->handler(rev);
}


/* all is settled: the connection may be closed by whoever wants to */

static void
ngx_http_academy_wire_release(ngx_http_academy_wire_t *wire)
{
    ngx_connection_t  *c;

    c = wire->connection;

    wire->held = 0;
    c->idle = wire->idle;

    if (wire->fd == (ngx_socket_t) -1) {
        c->read->handler = wire->handler;
        ngx_reusable_connection(c, wire->idle);

    } else if (c->destroyed) {

        /* HTTP/2 without a stream */

        ngx_reusable_connection(c, 1);
    }

    if (ngx_exiting && c->idle) {
        c->close = 1;
        c->read->handler(c->read);
    }
}


static void
ngx_http_academy_wire_timer_handler(ngx_event_t *ev)
{
    ngx_uint_t                n;
    ngx_queue_t              *q, *next;
    ngx_http_academy_wire_t  *wire;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "academy wire timer handler");

    for (q = ngx_queue_head(&ngx_http_academy_wires);
         q != ngx_queue_sentinel(&ngx_http_academy_wires);
         q = next)
    {
        next = ngx_queue_next(q);
        wire = ngx_queue_data(q, ngx_http_academy_wire_t, queue);

        if ((ngx_msec_int_t) (wire->due - ngx_current_msec) > 0) {
            continue;
        }

        wire->interval = ngx_min(2 * wire->interval,
                                 NGX_HTTP_ACADEMY_WIRE_LAST);
        wire->due = ngx_current_msec + wire->interval;

        n = wire->n;

        ngx_http_academy_wire_check(wire);

        /* what is left may have been written a moment ago */

        if (wire->n && wire->n == n && !wire->doubted) {
            ngx_http_academy_wire_doubt(wire);
        }
    }

    if (!ngx_queue_empty(&ngx_http_academy_wires)) {
        ngx_add_timer(ev, NGX_HTTP_ACADEMY_WIRE_FIRST);
    }
}


/* the peer may be gone: until it acknowledges something */

static void
ngx_http_academy_wire_doubt(ngx_http_academy_wire_t *wire)
{
    ngx_uint_t                    i;
    ngx_http_academy_exchange_t  *exchange;

    wire->doubted = 1;

    for (i = 0; i < wire->n; i++) {
        exchange = wire->exchanges[i];
        exchange->store->written(exchange, &wire->deliveries[i], 1, 0);
    }
}


void
ngx_http_academy_wire_exit(void)
{
    ngx_queue_t              *q, *next;
    ngx_http_academy_wire_t  *wire;

    if (ngx_http_academy_wires.next == NULL) {
        return;
    }

    for (q = ngx_queue_head(&ngx_http_academy_wires);
         q != ngx_queue_sentinel(&ngx_http_academy_wires);
         q = next)
    {
        next = ngx_queue_next(q);
        wire = ngx_queue_data(q, ngx_http_academy_wire_t, queue);

        ngx_http_academy_wire_check(wire);
    }
}


static void
ngx_http_academy_wire_cleanup(void *data)
{
    ngx_http_academy_wire_t *wire = data;

    ngx_http_academy_wire_end(wire);

    if (wire->event.posted) {
        ngx_delete_posted_event(&wire->event);
    }

    if (wire->fd != (ngx_socket_t) -1 && close(wire->fd) == -1) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_socket_errno,
                      "close() of an HTTP/2 connection's duplicate failed");
    }

    if (wire->size) {
        ngx_free(wire->ends);
    }

    ngx_free(wire);
}
