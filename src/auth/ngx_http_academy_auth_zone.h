
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_AUTH_ZONE_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_AUTH_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_bell.h"
#include "ngx_http_academy_auth.h"


/*
 * What workers share of tokens, in a zone of its own.
 *
 *     bucket -> entry -> entry        what tokens were found to be
 *     bucket -> asking -> asking      what somebody asks just now
 *     slot                            a process that can be told
 *
 * All is guarded by the slab pool's mutex, which nginx frees when its holder
 * dies.  A holder sets "busy" to its pid; who finds it set follows one that
 * died inside, and empties the zone but for its slots: all else can be had
 * again.  Nothing but shpool itself is to be remembered from one section to
 * the next.
 */


/* processes that can be told of the end of an asking; others ask themselves */

#define NGX_HTTP_ACADEMY_AUTH_SLOTS    256
#define NGX_HTTP_ACADEMY_AUTH_WORDS    (NGX_HTTP_ACADEMY_AUTH_SLOTS / 64)

#define NGX_HTTP_ACADEMY_AUTH_ASKINGS  256    /* buckets */


typedef struct ngx_http_academy_auth_entry_s   ngx_http_academy_auth_entry_t;
typedef struct ngx_http_academy_auth_asking_s  ngx_http_academy_auth_asking_t;


struct ngx_http_academy_auth_entry_s {
    ngx_http_academy_auth_entry_t   *next;        /* of a bucket */
    ngx_queue_t                      queue;
    u_char                           key[NGX_HTTP_ACADEMY_DIGEST_LEN];
    ngx_uint_t                       status;
    time_t                           until;       /* it may be used */
    time_t                           expires;     /* the token does */
    size_t                           id;          /* lengths */
    size_t                           groups;
    size_t                           claims;
    u_char                           data[1];
};


struct ngx_http_academy_auth_asking_s {
    ngx_http_academy_auth_asking_t  *next;        /* of a bucket */
    u_char                           key[NGX_HTTP_ACADEMY_DIGEST_LEN];
    ngx_pid_t                        pid;         /* 0: it is gone */
    time_t                           since;
    uint64_t                         slots[NGX_HTTP_ACADEMY_AUTH_WORDS];
};


typedef struct {
    ngx_pid_t                        busy;
    ngx_queue_t                      queue;       /* good: latest use first */
    ngx_uint_t                       mask;        /* of buckets */
    ngx_queue_t                      refused;     /* the others: newest first */
    ngx_uint_t                       nrefused;
    ngx_uint_t                       most;        /* of them */
    ngx_http_academy_auth_asking_t  *askings[NGX_HTTP_ACADEMY_AUTH_ASKINGS];
    ngx_pid_t                        slots[NGX_HTTP_ACADEMY_AUTH_SLOTS];
    ngx_http_academy_auth_entry_t   *buckets[1];
} ngx_http_academy_auth_sh_t;


/* of a cycle */

struct ngx_http_academy_auth_zone_s {
    ngx_shm_zone_t                  *shm_zone;
    ngx_slab_pool_t                 *shpool;
    ngx_cycle_t                     *cycle;
    size_t                           size;        /* 0: the default */
    ngx_http_academy_bells_t        *bells;
};


/* ngx_http_academy_auth_cache.c */

/*
 * NULL: there is nothing to be found, nor anything to be put; unlock() has to
 * be called all the same.
 */
ngx_http_academy_auth_sh_t *ngx_http_academy_auth_lock(
    ngx_http_academy_auth_zone_t *zone, ngx_pid_t *died);
void ngx_http_academy_auth_unlock(ngx_http_academy_auth_zone_t *zone,
    ngx_pid_t died);

/*
 * Within the lock: memory, for which what tokens were found to be makes room:
 * bad ones first, and good ones only where "good" is set.  NULL if there is
 * none.
 */
void *ngx_http_academy_auth_alloc(ngx_http_academy_auth_zone_t *zone,
    ngx_http_academy_auth_sh_t *sh, size_t size, ngx_uint_t good);


/*
 * ngx_http_academy_auth_ask.c: one asks, all others wait
 *
 * Within the lock.  NGX_OK: this process is the one who asks, and has to call
 * end(); NGX_AGAIN: another asks, whose end this process will be told of;
 * NGX_DECLINED: nobody can be told, everyone has to ask.
 */
ngx_int_t ngx_http_academy_auth_ask(ngx_http_academy_auth_zone_t *zone,
    ngx_http_academy_auth_sh_t *sh, u_char *key);

/* whether somebody does */
ngx_uint_t ngx_http_academy_auth_asked(ngx_http_academy_auth_sh_t *sh,
    u_char *key);

/*
 * Within the lock: it is asked for no more; slots is who has to be told, by
 * tell(), outside of it.
 */
void ngx_http_academy_auth_end(ngx_http_academy_auth_zone_t *zone,
    ngx_http_academy_auth_sh_t *sh, u_char *key, uint64_t *slots);
void ngx_http_academy_auth_tell(ngx_http_academy_auth_zone_t *zone,
    u_char *key, uint64_t *slots);

/* both at once, for who asked and has found nothing */
void ngx_http_academy_auth_give_up(ngx_http_academy_auth_zone_t *zone,
    u_char *key);

/*
 * Parks a request until nobody asks for key any more, which stands as long as
 * the request; then its phases run on.  NGX_AGAIN, or NGX_ERROR.
 */
ngx_int_t ngx_http_academy_auth_wait(ngx_http_request_t *r, u_char *key);


#endif /* _NGX_HTTP_ACADEMY_AUTH_ZONE_H_INCLUDED_ */
