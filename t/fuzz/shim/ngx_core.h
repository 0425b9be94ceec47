
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_CORE_H_INCLUDED_
#define _NGX_CORE_H_INCLUDED_


#include <ngx_config.h>


#define NGX_OK          0
#define NGX_ERROR      -1
#define NGX_DECLINED   -5
#define NGX_ABORT      -6


typedef struct {
    size_t   len;
    u_char  *data;
} ngx_str_t;


#define ngx_string(str)      { sizeof(str) - 1, (u_char *) str }
#define ngx_str_set(str, text)                                                \
    (str)->len = sizeof(text) - 1; (str)->data = (u_char *) text
#define ngx_str_null(str)    (str)->len = 0; (str)->data = NULL

#define ngx_memzero(buf, n)       (void) memset(buf, 0, n)
#define ngx_memcpy(dst, src, n)   (void) memcpy(dst, src, n)
#define ngx_min(a, b)             ((a) < (b) ? (a) : (b))
#define ngx_cpymem(dst, src, n)   (((u_char *) memcpy(dst, src, n)) + (n))
#define ngx_memmove(dst, src, n)  (void) memmove(dst, src, n)
#define ngx_memcmp(s1, s2, n)     memcmp((const char *) s1,                   \
                                         (const char *) s2, n)


#endif /* _NGX_CORE_H_INCLUDED_ */
