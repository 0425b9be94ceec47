
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_REDIS_LINK_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_REDIS_LINK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <hiredis/async.h>
#include <poll.h>
#include "ngx_http_academy_redis.h"


/* commands that wait for a connection or an answer, at the most */

#define NGX_HTTP_ACADEMY_REDIS_WAITING  16384


typedef struct ngx_http_academy_redis_peer_s  ngx_http_academy_redis_peer_t;


/* a command that was given and is not ended; it frees itself behind that */

typedef struct {
    ngx_queue_t                          queue;      /* in the order given */
    ngx_http_academy_redis_t            *redis;
    ngx_http_academy_redis_script_e      script;
    ngx_http_academy_redis_answer_pt     handler;
    void                                *data;
    ngx_msec_t                           deadline;
    char                                *text;       /* hiredis's */
    size_t                               len;
    unsigned                             sent:1;
    unsigned                             again:1;    /* after NOSCRIPT */
    unsigned                             plain:1;    /* no script */
} ngx_http_academy_redis_command_t;


/* one of the two connections; ac is NULL while there is none */

struct ngx_http_academy_redis_peer_s {
    ngx_http_academy_redis_t            *redis;
    redisAsyncContext                   *ac;
    ngx_connection_t                    *connection;
    ngx_event_t                          retry;      /* to connect again */
    ngx_event_t                          late;       /* it takes too long */
    ngx_event_t                          idle;       /* to ask if it lives */
    ngx_uint_t                           tries;
    ngx_uint_t                           addr;       /* the next one */
    ngx_uint_t                           steps;      /* of greeting, left */
    unsigned                             ready:1;
    unsigned                             failed:1;   /* greeting */
    unsigned                             asked:1;    /* if it lives */
    unsigned                             subscribes:1;
};


struct ngx_http_academy_redis_link_s {
    ngx_http_academy_redis_peer_t        commands;
    ngx_http_academy_redis_peer_t        events;

    ngx_queue_t                          queue;      /* of commands */
    ngx_uint_t                           waiting;
    ngx_event_t                          timer;      /* of the oldest */

    ngx_str_t                            channel;    /* "__keyspace@0__:" */
    ngx_str_t                            alive;      /* one of this process */
    ngx_msec_t                           since;      /* it is up */
    ngx_resolver_ctx_t                  *resolving;

    unsigned                             up:1;
    unsigned                             told:1;     /* that it is down */
    unsigned                             doubt:1;    /* if events come */
    unsigned                             deaf:1;     /* they do not */
    unsigned                             exiting:1;
};


/* script.c */

/* "EVALSHA sha 0 prefix args...", as hiredis makes it; NGX_ERROR: no memory */
ngx_int_t ngx_http_academy_redis_script_format(
    ngx_http_academy_redis_command_t *command, ngx_str_t *args, ngx_uint_t n);

/* the text of a script, as SCRIPT LOAD takes it */
ngx_str_t *ngx_http_academy_redis_script_text(ngx_uint_t script);

/* once a configuration: the scripts' names in Redis, from their texts */
void ngx_http_academy_redis_script_init(void);

/*
 * What Redis's reply means.  NGX_OK: answer is filled in; NGX_AGAIN: Redis does
 * not know the script; NGX_DECLINED: this Redis is not to be used now.
 */
ngx_int_t ngx_http_academy_redis_script_answer(
    ngx_http_academy_redis_command_t *command, redisReply *reply,
    ngx_http_academy_redis_answer_t *answer);

/* whether an error says that this Redis is not to be used now */
ngx_uint_t ngx_http_academy_redis_script_away(redisReply *reply);


#endif /* _NGX_HTTP_ACADEMY_REDIS_LINK_H_INCLUDED_ */
