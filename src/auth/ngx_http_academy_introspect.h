
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_INTROSPECT_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_INTROSPECT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_inquiry.h"


/*
 * The first step of whoever has to ask.  more is what follows the token in
 * the form, from a "&" on.  NULL: an error.
 */
ngx_http_academy_inquiry_t *ngx_http_academy_introspection(
    ngx_http_request_t *r, ngx_http_academy_auth_conf_t *acf,
    ngx_str_t *token, char *more);

/* the second: what the answer says.  NGX_OK: identity; NGX_ERROR: no memory */
ngx_int_t ngx_http_academy_introspected(ngx_http_academy_auth_conf_t *acf,
    ngx_http_academy_inquiry_t *inquiry,
    ngx_http_academy_identity_t *identity);


#endif /* _NGX_HTTP_ACADEMY_INTROSPECT_H_INCLUDED_ */
