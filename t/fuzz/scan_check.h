
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _SCAN_CHECK_H_INCLUDED_
#define _SCAN_CHECK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_scan.h"
#include "ngx_http_academy_escape.h"


/* the scanner built again, without SSE2: scan_portable.c */

ngx_int_t portable_scan_put(u_char *body, size_t len, size_t limit,
    ngx_http_academy_envelope_t *env, ngx_http_academy_scan_error_t *err);
ngx_int_t portable_scan_wait(u_char *body, size_t len,
    ngx_http_academy_wait_t *wait, ngx_http_academy_scan_error_t *err);
ngx_int_t portable_scan_entity(u_char *p, size_t len,
    ngx_http_academy_entity_t *entity, ngx_http_academy_scan_error_t *err);
ngx_int_t portable_scan_value(u_char *p, size_t len,
    ngx_http_academy_scan_error_t *err);
u_char *portable_escape(u_char *dst, u_char *src, size_t len);
size_t portable_escape_count(u_char *src, size_t len);


/*
 * Holds the scanner against jansson with one input, taken as a value, as a
 * message, as a request body, as an entity id and as text to be escaped.
 * Says on stderr what differs, and aborts.
 */
void scan_check(const u_char *data, size_t len);


/* what scan_check() has seen, so that a run can show that it tried enough */

typedef struct {
    size_t   inputs;
    size_t   values;
    size_t   bodies;
    size_t   messages;
    size_t   entities;
    size_t   waits;
} scan_check_counts_t;

extern scan_check_counts_t  scan_check_counts;


#endif /* _SCAN_CHECK_H_INCLUDED_ */
