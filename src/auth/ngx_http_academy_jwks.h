
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_JWKS_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_JWKS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_auth.h"


/*
 * Sets of keys that were fetched, for all workers: their text in a zone of
 * their own, in which each has a place of a fixed size, so that nothing that
 * clients send can take its room.  Each worker has read the latest text.
 */


/* bytes of a set: some tens of keys with their certificates */

#define NGX_HTTP_ACADEMY_JWKS_SIZE   (128 * 1024)

/* of all servers together; and twice as many places, for those of a reload */

#define NGX_HTTP_ACADEMY_MAX_JWKS    32


struct ngx_http_academy_jwks_s {
    ngx_http_academy_auth_zone_t  *zone;       /* where it is asked for */
    ngx_shm_zone_t                *shm_zone;
    ngx_str_t                      uri;
    u_char                         key[NGX_HTTP_ACADEMY_DIGEST_LEN];
    uint64_t                       serial;     /* of what was read; 0: none */
    ngx_pool_t                    *pool;
    ngx_http_academy_keys_t       *keys;
};


/* how the set stands; ages are in seconds */

typedef struct {
    uint64_t                       serial;     /* 0: it is not there */
    time_t                         age;
    time_t                         asked;      /* ago; if ever */
    unsigned                       known:1;    /* it was asked for */
    unsigned                       failed:1;   /* the last time */
} ngx_http_academy_jwks_state_t;


void ngx_http_academy_jwks_state(ngx_http_academy_jwks_t *jwks,
    ngx_http_academy_jwks_state_t *state);

/* NGX_OK: jwks->keys are the latest; NGX_DECLINED: there are none; NGX_ERROR */
ngx_int_t ngx_http_academy_jwks_read(ngx_http_academy_jwks_t *jwks,
    ngx_log_t *log);

/* what was fetched, at most NGX_HTTP_ACADEMY_JWKS_SIZE; NULL: nothing was */
void ngx_http_academy_jwks_put(ngx_http_academy_jwks_t *jwks, ngx_str_t *text);


#endif /* _NGX_HTTP_ACADEMY_JWKS_H_INCLUDED_ */
