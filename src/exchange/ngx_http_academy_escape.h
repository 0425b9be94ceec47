
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_ESCAPE_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_ESCAPE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Writes len bytes of valid JSON text of one line as the inside of a JSON
 * string: quotation marks and backslashes get a backslash before them.
 * dst must have room for 2 * len bytes; returns the position behind the last
 * one written.  The pieces of a text may be escaped one by one.
 */
u_char *ngx_http_academy_escape(u_char *dst, u_char *src, size_t len);

/* the number of bytes that ngx_http_academy_escape() adds */
size_t ngx_http_academy_escape_count(u_char *src, size_t len);


#endif /* _NGX_HTTP_ACADEMY_ESCAPE_H_INCLUDED_ */
