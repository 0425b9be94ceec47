
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_CALLER_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_CALLER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* who is calling; with authentication off the id is empty */

typedef struct {
    ngx_str_t                   id;
    ngx_str_t                  *groups;        /* sorted */
    ngx_uint_t                  ngroups;
} ngx_http_academy_caller_t;


/* brings the groups into the order that they are looked up by */
void ngx_http_academy_caller_sort(ngx_http_academy_caller_t *caller);

/* whether the caller is one of a group; needs the order */
ngx_uint_t ngx_http_academy_caller_in(ngx_http_academy_caller_t *caller,
    u_char *group, size_t len);


#endif /* _NGX_HTTP_ACADEMY_CALLER_H_INCLUDED_ */
