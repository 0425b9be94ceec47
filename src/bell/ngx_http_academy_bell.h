
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_BELL_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_BELL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


/*
 * By which processes wake each other: eventfds that the master has made before
 * it starts workers, as many as there can be processes at a time.  Workers of
 * later cycles inherit the same ones, so that old and new can ring each other.
 * Which bell is whose is written elsewhere, in shared memory.
 */


/* they are there as long as any cycle of this master holds them */

typedef struct {
    ngx_uint_t                 cycles;
    ngx_uint_t                 n;
    int                        fd[1];
} ngx_http_academy_bells_t;


/* n bells, held by a cycle whose pool outlives them; NULL is logged */
ngx_http_academy_bells_t *ngx_http_academy_bells_create(ngx_cycle_t *cycle,
    ngx_uint_t n, ngx_str_t *name, ngx_log_t *log);

/* by a further cycle: NGX_OK, or NGX_ERROR without memory */
ngx_int_t ngx_http_academy_bells_hold(ngx_http_academy_bells_t *bells,
    ngx_cycle_t *cycle);

/* a system call: not within a lock */
void ngx_http_academy_bell_ring(ngx_http_academy_bells_t *bells, ngx_uint_t n);

/*
 * Makes a bell this process's own: handler runs when it rings, with the
 * connection's data, and with c->close set when a graceful exit begins.  NULL
 * if nginx has no connection left, or cannot wait for it.
 */
ngx_connection_t *ngx_http_academy_bell_open(ngx_http_academy_bells_t *bells,
    ngx_uint_t n, ngx_event_handler_pt handler, void *data);

/* what the handler begins with */
void ngx_http_academy_bell_heard(ngx_event_t *ev);

void ngx_http_academy_bell_close(ngx_connection_t *c);


#endif /* _NGX_HTTP_ACADEMY_BELL_H_INCLUDED_ */
