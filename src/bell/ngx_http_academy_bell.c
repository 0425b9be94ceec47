
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <sys/eventfd.h>
#include "ngx_http_academy_bell.h"


static void ngx_http_academy_bells_release(void *data);


ngx_http_academy_bells_t *
ngx_http_academy_bells_create(ngx_cycle_t *cycle, ngx_uint_t n,
    ngx_str_t *name, ngx_log_t *log)
{
    int                        fd;
    ngx_http_academy_bells_t  *bells;

    bells = ngx_calloc(sizeof(ngx_http_academy_bells_t) + n * sizeof(int), log);
    if (bells == NULL) {
        return NULL;
    }

    for (bells->n = 0; bells->n < n; bells->n++) {

        fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

        if (fd == -1) {
            ngx_log_error(NGX_LOG_EMERG, log, ngx_errno,
                          "eventfd() failed for zone \"%V\"", name);
            goto failed;
        }

        bells->fd[bells->n] = fd;
    }

    if (ngx_http_academy_bells_hold(bells, cycle) == NGX_OK) {
        return bells;
    }

failed:

    bells->cycles = 1;
    ngx_http_academy_bells_release(bells);

    return NULL;
}


ngx_int_t
ngx_http_academy_bells_hold(ngx_http_academy_bells_t *bells,
    ngx_cycle_t *cycle)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(cycle->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_academy_bells_release;
    cln->data = bells;

    bells->cycles++;

    return NGX_OK;
}


static void
ngx_http_academy_bells_release(void *data)
{
    ngx_http_academy_bells_t  *bells = data;

    ngx_uint_t  i;

    if (--bells->cycles) {
        return;
    }

    for (i = 0; i < bells->n; i++) {
        (void) close(bells->fd[i]);
    }

    ngx_free(bells);
}


void
ngx_http_academy_bell_ring(ngx_http_academy_bells_t *bells, ngx_uint_t n)
{
    uint64_t  one;

    one = 1;

    if (write(bells->fd[n], &one, sizeof(one)) == -1) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_errno,
                      "write() to eventfd %d of a worker failed",
                      bells->fd[n]);
    }
}


ngx_connection_t *
ngx_http_academy_bell_open(ngx_http_academy_bells_t *bells, ngx_uint_t n,
    ngx_event_handler_pt handler, void *data)
{
    ngx_uint_t         flags;
    ngx_connection_t  *c;

    c = ngx_get_connection(bells->fd[n], ngx_cycle->log);
    if (c == NULL) {
        return NULL;
    }

    /* a graceful exit runs the handler of what is idle, with c->close set */

    c->idle = 1;
    c->data = data;
    c->log = ngx_cycle->log;
    c->read->log = ngx_cycle->log;
    c->write->log = ngx_cycle->log;
    c->read->handler = handler;

    flags = (ngx_event_flags & NGX_USE_CLEAR_EVENT) ? NGX_CLEAR_EVENT
                                                    : NGX_LEVEL_EVENT;

    if (ngx_add_event(c->read, NGX_READ_EVENT, flags) != NGX_OK) {
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
        return NULL;
    }

    return c;
}


/* edge-triggered, there is no need to read the counter */

void
ngx_http_academy_bell_heard(ngx_event_t *ev)
{
    uint64_t           count;
    ngx_connection_t  *c;

    c = ev->data;

    if ((ngx_event_flags & NGX_USE_LEVEL_EVENT)
        && read(c->fd, &count, sizeof(count)) == -1
        && ngx_errno != NGX_EAGAIN)
    {
        ngx_log_error(NGX_LOG_ALERT, ev->log, ngx_errno,
                      "read() of an eventfd failed");
    }
}


/* the descriptor is the master's, for the next one that this bell is given */

void
ngx_http_academy_bell_close(ngx_connection_t *c)
{
    if (ngx_del_event(c->read, NGX_READ_EVENT, 0) != NGX_OK) {
        ngx_log_error(NGX_LOG_ALERT, c->log, 0,
                      "eventfd %d could not be left", c->fd);
    }

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;
}
