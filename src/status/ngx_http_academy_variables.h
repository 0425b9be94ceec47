
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_VARIABLES_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_VARIABLES_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


ngx_int_t ngx_http_academy_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_ACADEMY_VARIABLES_H_INCLUDED_ */
