
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * What the scanner uses of nginx, so that the programs here are built without
 * nginx's sources and a configured tree.
 */


#ifndef _NGX_CONFIG_H_INCLUDED_
#define _NGX_CONFIG_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>


#define ngx_inline  inline

#if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
#define NGX_HAVE_LITTLE_ENDIAN  1
#endif


typedef intptr_t   ngx_int_t;
typedef uintptr_t  ngx_uint_t;


#endif /* _NGX_CONFIG_H_INCLUDED_ */
