
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_WIRE_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_WIRE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_exchange.h"


/*
 * A connection's messages that are written and that its peer has not
 * acknowledged yet, in the order in which they were written.  They are settled
 * when it has, and given back when the connection ends before.
 *
 * A wire lives as long as its connection: longer than requests and streams.
 */


/* messages that one connection may owe before it gets no more */

#define NGX_HTTP_ACADEMY_WIRE_MAX  1024

/* messages of a stream, and bytes, that one look is to be worth */

#define NGX_HTTP_ACADEMY_WIRE_SOME   3
#define NGX_HTTP_ACADEMY_WIRE_BYTES  4096


typedef struct {
    ngx_queue_t                    queue;      /* of wires that carry some */
    ngx_connection_t              *connection;
    ngx_socket_t                   fd;         /* a duplicate; HTTP/2 */

    ngx_event_t                    event;      /* posted: hold */
    ngx_event_handler_pt           handler;    /* of what is held */
    ngx_queue_t                    waits;      /* for room */

    ngx_uint_t                     n;
    ngx_uint_t                     size;
    size_t                         bytes;      /* of their JSON */
    ngx_http_academy_delivery_t   *deliveries;
    ngx_http_academy_exchange_t  **exchanges;
    uint64_t                      *ends;       /* position behind each */
    uint64_t                       position;   /* when last looked at */
    uint64_t                       base;       /* of earlier requests */
    off_t                          sent;
    ngx_msec_t                     due;
    ngx_msec_t                     interval;

    unsigned                       exact:1;    /* positions can be compared */
    unsigned                       doubted:1;  /* whether the peer is there */
    unsigned                       datagrams:1;
    unsigned                       held:1;
    unsigned                       idle:1;     /* c->idle before the hold */
    unsigned                       stream:1;   /* one has the connection */
    unsigned                       fin:1;      /* it was shut down */
    unsigned                       told:1;     /* what becomes of messages */
} ngx_http_academy_wire_t;


/* an event to post when messages of a wire are settled */

typedef struct {
    ngx_queue_t                    queue;
    ngx_event_t                   *event;      /* NULL: does not wait */
} ngx_http_academy_wire_wait_t;


/* the wire of a connection, or of that which a request's stream is on; NULL */
ngx_http_academy_wire_t *ngx_http_academy_wire(ngx_connection_t *c,
    ngx_http_request_t *r, ngx_msec_t peer_timeout);

/* the wire of a connection that has one already; NULL */
ngx_http_academy_wire_t *ngx_http_academy_wire_find(ngx_connection_t *c);

/* a host that vanished is noticed: milliseconds; 0: as the system does it */
void ngx_http_academy_wire_timeout(ngx_connection_t *c, ngx_msec_t timeout);

/*
 * A leased message that has been written, with behind bytes after it.  It is
 * the wire's to settle or to give back.
 */
void ngx_http_academy_wire_add(ngx_http_academy_wire_t *wire,
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, size_t behind);

/* settles what is acknowledged: a system call if there is anything to settle */
void ngx_http_academy_wire_check(ngx_http_academy_wire_t *wire);

/* the same if there is enough to settle; the rest is the timer's */
void ngx_http_academy_wire_glance(ngx_http_academy_wire_t *wire,
    ngx_http_academy_limits_t *limits);

/* settles what is acknowledged, and gives back the rest */
void ngx_http_academy_wire_end(ngx_http_academy_wire_t *wire);

void ngx_http_academy_wire_wait(ngx_http_academy_wire_t *wire,
    ngx_http_academy_wire_wait_t *wait, ngx_event_t *event);
void ngx_http_academy_wire_leave(ngx_http_academy_wire_wait_t *wait);

/* once the request is freed: nobody is to close the connection too early */
#define ngx_http_academy_wire_hold(wire)                                      \
    ngx_post_event(&(wire)->event, &ngx_posted_events)

/* this process ends without closing its connections: settles what it may */
void ngx_http_academy_wire_exit(void);


#endif /* _NGX_HTTP_ACADEMY_WIRE_H_INCLUDED_ */
