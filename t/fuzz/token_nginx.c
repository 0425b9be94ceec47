
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * What src/auth uses of nginx, for programs that are none: as little as will
 * do.  A pool is a list of allocations, each one guarded by the sanitizers.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "token_check.h"


typedef struct token_block_s  token_block_t;

struct token_block_s {
    token_block_t       *next;
};


static ngx_time_t          token_time;
volatile ngx_time_t       *ngx_cached_time = &token_time;
ngx_module_t               ngx_http_academy_module;
volatile ngx_cycle_t      *ngx_cycle;


ngx_pool_t *
token_pool_create(time_t now)
{
    token_time.sec = now;

    return calloc(1, sizeof(ngx_pool_t));
}


void
token_pool_destroy(ngx_pool_t *pool)
{
    token_block_t       *block, *next;
    ngx_pool_cleanup_t  *cln;

    for (cln = pool->cleanup; cln; cln = cln->next) {
        if (cln->handler) {
            cln->handler(cln->data);
        }
    }

    for (block = (token_block_t *) pool->large; block; block = next) {
        next = block->next;
        free(block);
    }

    free(pool);
}


void *
ngx_palloc(ngx_pool_t *pool, size_t size)
{
    token_block_t  *block;

    block = malloc(sizeof(token_block_t) + size);

    if (block == NULL) {
        return NULL;
    }

    block->next = (token_block_t *) pool->large;
    pool->large = (ngx_pool_large_t *) block;

    return block + 1;
}


void *
ngx_pnalloc(ngx_pool_t *pool, size_t size)
{
    return ngx_palloc(pool, size);
}


ngx_pool_cleanup_t *
ngx_pool_cleanup_add(ngx_pool_t *pool, size_t size)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_palloc(pool, sizeof(ngx_pool_cleanup_t));
    cln->data = size ? ngx_palloc(pool, size) : NULL;
    cln->handler = NULL;
    cln->next = pool->cleanup;
    pool->cleanup = cln;

    return cln;
}


ngx_array_t *
ngx_array_create(ngx_pool_t *pool, ngx_uint_t n, size_t size)
{
    ngx_array_t  *array;

    array = ngx_palloc(pool, sizeof(ngx_array_t));
    (void) ngx_array_init(array, pool, n, size);

    return array;
}


void *
ngx_array_push(ngx_array_t *array)
{
    void  *elts;

    if (array->nelts == array->nalloc) {
        elts = ngx_palloc(array->pool, 2 * array->nalloc * array->size);
        ngx_memcpy(elts, array->elts, array->nelts * array->size);
        array->elts = elts;
        array->nalloc *= 2;
    }

    return (u_char *) array->elts + array->size * array->nelts++;
}


ngx_int_t
ngx_strncasecmp(u_char *s1, u_char *s2, size_t n)
{
    return strncasecmp((char *) s1, (char *) s2, n);
}


/* what is only called while a configuration is read, or a variable is */

void *
ngx_alloc(size_t size, ngx_log_t *log)
{
    return malloc(size);
}


u_char *ngx_cdecl
ngx_sprintf(u_char *buf, const char *fmt, ...)
{
    abort();
}


void
ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...)
{
    /* void */
}


void ngx_cdecl
ngx_conf_log_error(ngx_uint_t level, ngx_conf_t *cf, ngx_err_t err,
    const char *fmt, ...)
{
    abort();
}


ssize_t
ngx_read_file(ngx_file_t *file, u_char *buf, size_t size, off_t offset)
{
    abort();
}


ngx_http_variable_t *
ngx_http_add_variable(ngx_conf_t *cf, ngx_str_t *name, ngx_uint_t flags)
{
    abort();
}


ngx_int_t
ngx_http_get_variable_index(ngx_conf_t *cf, ngx_str_t *name)
{
    abort();
}


char *
ngx_http_academy_auth_allowed(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_str_t *value, char *allowed)
{
    abort();
}
