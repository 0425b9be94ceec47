
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _TOKEN_CHECK_H_INCLUDED_
#define _TOKEN_CHECK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <stdint.h>


typedef struct {
    size_t  inputs;
    size_t  bearers;
    size_t  decoded;
    size_t  signatures;
    size_t  accepted;
    size_t  keys;
} token_check_counts_t;


extern token_check_counts_t  token_check_counts;


/* aborts if something is not as it has to be */
void token_check(const uint8_t *data, size_t size);

/* token_nginx.c */
ngx_pool_t *token_pool_create(time_t now);
void token_pool_destroy(ngx_pool_t *pool);


#endif /* _TOKEN_CHECK_H_INCLUDED_ */
