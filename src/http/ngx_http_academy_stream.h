
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_STREAM_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_STREAM_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_wire.h"


/* messages of a batch at the most, and bytes that need no memory */

#define NGX_HTTP_ACADEMY_BATCH       16
#define NGX_HTTP_ACADEMY_BATCH_SIZE  65536


typedef struct {
    ngx_uint_t                     n;
    ngx_uint_t                     written;   /* of n: these are the wire's */
    ngx_http_academy_delivery_t    deliveries[NGX_HTTP_ACADEMY_BATCH];
    u_char                        *ends[NGX_HTTP_ACADEMY_BATCH];
    u_char                        *piece;     /* end of what filters have */
    u_char                        *pos;
    u_char                        *last;
    u_char                        *end;
    u_char                         data[1];
} ngx_http_academy_batch_t;


typedef struct {
    ngx_http_academy_call_t        call;
    ngx_http_academy_caller_t      caller;

    ngx_http_academy_tally_t      *tally;     /* that counts it */
    ngx_connection_t              *connection;
    ngx_http_request_t            *request;   /* NULL: it was left */
    ngx_http_cleanup_t            *cleanup;   /* of the request: stop */
    ngx_pool_cleanup_t            *memory;    /* of the request: free */
    ngx_http_academy_wire_t       *wire;      /* NULL: no message yet */
    ngx_http_academy_wire_wait_t   wait;

    ngx_event_t                    event;     /* posted: run; timed: ping */
    ngx_msec_t                     timeout;
    ngx_msec_t                     ping_interval;
    ngx_msec_t                     peer_timeout;
    ngx_msec_t                     send_timeout;
    ngx_msec_t                     deadline;
    ngx_msec_t                     ping;
    time_t                         expires;   /* the caller's token; or 0 */

    ngx_http_academy_batch_t      *batch;     /* not yet all written */
    ngx_chain_t                    out;       /* of a request */

    unsigned                       begun:1;
    unsigned                       calling:1; /* within the operation */
    unsigned                       waiting:1; /* the call is the store's */
    unsigned                       brought:1; /* the call, a message */
    unsigned                       ending:1;
    unsigned                       draining:1; /* waits for acknowledgements */
    unsigned                       told:1;    /* what becomes of messages */
} ngx_http_academy_stream_t;


/* ngx_http_academy_stream_batch.c */

/*
 * Takes messages until there are no more, the batch is full, or the mailbox
 * has come to its end.  Returns NULL if there was none.
 */
ngx_http_academy_batch_t *ngx_http_academy_stream_fill(
    ngx_http_academy_stream_t *s);

/* writes a comment: NGX_OK, or NGX_ERROR, after which the stream must end */
ngx_int_t ngx_http_academy_stream_ping(ngx_http_academy_stream_t *s);

/*
 * Writes a batch, and keeps as s->batch what the peer does not take now.
 * Returns NGX_OK, or NGX_ERROR, after which the stream must end.
 */
ngx_int_t ngx_http_academy_stream_write(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);

/* goes on with s->batch: NGX_OK if it is written or blocked, or NGX_ERROR */
ngx_int_t ngx_http_academy_stream_flush(ngx_http_academy_stream_t *s);

/* the messages of a batch that are not written are in their mailbox again */
void ngx_http_academy_stream_return(ngx_http_academy_stream_t *s,
    ngx_http_academy_batch_t *batch);

/* waits until the peer takes more: NGX_OK or NGX_ERROR */
ngx_int_t ngx_http_academy_stream_block(ngx_http_academy_stream_t *s);

/* it has taken all that it was sent: NGX_OK or NGX_ERROR */
ngx_int_t ngx_http_academy_stream_unblock(ngx_http_academy_stream_t *s);


/* ngx_http_academy_stream.c */

void ngx_http_academy_stream_request_writer(ngx_http_request_t *r);


#endif /* _NGX_HTTP_ACADEMY_STREAM_H_INCLUDED_ */
