
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_DELIVERY_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_DELIVERY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_exchange.h"


/* bytes of a message in which its header is found, but for the odd one */

#define NGX_HTTP_ACADEMY_HEAD_SIZE  4096


/* academy_log_deliveries: what became of n messages that are leased */
void ngx_http_academy_delivery_log(ngx_log_t *log,
    ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n, const char *what);


#endif /* _NGX_HTTP_ACADEMY_DELIVERY_H_INCLUDED_ */
