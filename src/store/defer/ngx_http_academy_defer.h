
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_DEFER_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_DEFER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_exchange.h"


/*
 * For tests: an exchange in front of another one, in which each call is
 * started by a later event, and ended by one that comes later still.  NULL
 * without memory.
 */
ngx_http_academy_exchange_t *ngx_http_academy_defer(ngx_conf_t *cf,
    ngx_http_academy_exchange_t *inner);


#endif /* _NGX_HTTP_ACADEMY_DEFER_H_INCLUDED_ */
