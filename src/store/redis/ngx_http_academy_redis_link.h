
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_REDIS_LINK_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_REDIS_LINK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <hiredis/async.h>
#include "ngx_http_academy_redis.h"


/*
 * What link.c has below it:
 *
 *     socket.c    hiredis on nginx's events
 *     greet.c     what is said first on a connection
 *     events.c    whether Redis tells what happens to keys
 *     command.c   commands that wait, and those that were sent
 *     channel.c   subscriptions, and what comes on them
 *     script.c    scripts, and what Redis says when they fail
 */


/* commands that wait for a connection or an answer, at the most */

#define NGX_HTTP_ACADEMY_REDIS_WAITING  16384


typedef struct ngx_http_academy_redis_peer_s  ngx_http_academy_redis_peer_t;


/* a command that was given and is not ended; it frees itself behind that */

typedef struct {
    ngx_queue_t                          queue;      /* waiting, or sent */
    ngx_http_academy_redis_t            *redis;
    ngx_http_academy_redis_script_e      script;
    ngx_http_academy_redis_answer_pt     handler;
    void                                *data;
    ngx_msec_t                           deadline;
    uint64_t                             sent;       /* microseconds */
    char                                *text;       /* hiredis's */
    size_t                               len;
    unsigned                             again:1;    /* after NOSCRIPT */
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
    ngx_uint_t                           steps;      /* of greeting, left */
    unsigned                             ready:1;
    unsigned                             asked:1;    /* if it lives */
    unsigned                             subscribes:1;
};


struct ngx_http_academy_redis_link_s {
    ngx_http_academy_redis_peer_t        commands;
    ngx_http_academy_redis_peer_t        events;

    /* where both are connected to */
    ngx_sockaddr_t                       sockaddr;
    socklen_t                            socklen;
    ngx_uint_t                           addr;       /* the next one */
    ngx_resolver_ctx_t                  *resolving;

    ngx_queue_t                          waiting;    /* commands, oldest */
    ngx_queue_t                          sent;       /* first */
    ngx_queue_t                          refused;
    ngx_uint_t                           n;          /* waiting and sent */
    size_t                               unwritten;  /* bytes, or less */
    ngx_event_t                          timer;      /* of the oldest */
    ngx_event_t                          refuse;

    uint32_t                             loading;    /* a bit a script */
    uint32_t                             errors[NGX_HTTP_ACADEMY_COMMANDS];

    ngx_connection_t                    *watcher;    /* told of an exit */

    ngx_str_t                            channel;    /* "__keyspace@0__:" */
    ngx_str_t                            alive;      /* one of this process */
    ngx_event_t                          probe;
    ngx_uint_t                           missed;     /* events of probes */
    ngx_msec_t                           since;      /* it is up */
    ngx_msec_t                           full;       /* it was; or 0 */

    unsigned                             up:1;
    unsigned                             told:1;     /* that it is down */
    unsigned                             pushed:1;   /* what is to be heard */
    unsigned                             heard:1;
    unsigned                             changes:1;  /* heard, those as well */
    unsigned                             doubt:1;    /* if events come */
    unsigned                             deaf:1;     /* they do not */
    unsigned                             blind:1;    /* nor those of others */
    unsigned                             leaving:1;
    unsigned                             exiting:1;
};


/* link.c */

/* a connection has been greeted */
void ngx_http_academy_redis_ready(ngx_http_academy_redis_peer_t *peer);

/* it is gone, or was never there */
void ngx_http_academy_redis_lost(ngx_http_academy_redis_peer_t *peer,
    const char *why);

/* it is given up; hiredis frees it a little later if it works on it now */
void ngx_http_academy_redis_down(ngx_http_academy_redis_peer_t *peer,
    const char *why);


/* socket.c */

ngx_int_t ngx_http_academy_redis_attach(ngx_http_academy_redis_peer_t *peer,
    redisAsyncContext *ac);

/* writes and reads for so many milliseconds, without the event loop */
void ngx_http_academy_redis_wait_socket(ngx_http_academy_redis_peer_t *peer,
    ngx_msec_t ms);


/* greet.c */

void ngx_http_academy_redis_greet(ngx_http_academy_redis_peer_t *peer);

/* whether it lives */
void ngx_http_academy_redis_ask(ngx_http_academy_redis_peer_t *peer);

/*
 * A command, of n words, the first a char *, the others ngx_str_t *.  Its
 * handler calls said() if it belongs to the greeting.  NGX_ERROR: not
 * connected, or no memory.
 */
ngx_int_t ngx_http_academy_redis_say(ngx_http_academy_redis_peer_t *peer,
    redisCallbackFn *handler, ngx_uint_t n, ...);
void ngx_http_academy_redis_said(ngx_http_academy_redis_peer_t *peer);

/* the handler of what only shows whether Redis does as it is told */
void ngx_http_academy_redis_pong(redisAsyncContext *ac, void *reply,
    void *data);


/* events.c */

/* whether events come; and one that was to come did */
void ngx_http_academy_redis_probe(ngx_http_academy_redis_t *redis);
void ngx_http_academy_redis_probe_handler(ngx_event_t *ev);
void ngx_http_academy_redis_heard(ngx_http_academy_redis_t *redis);
void ngx_http_academy_redis_heard_changes(ngx_http_academy_redis_t *redis);


/* command.c */

void ngx_http_academy_redis_commands_init(ngx_http_academy_redis_t *redis);

/* sends what waits, as much as is good at a time */
void ngx_http_academy_redis_commands_send(ngx_http_academy_redis_t *redis);

/* all that a node has leased returns; left is set when that is done */
ngx_int_t ngx_http_academy_redis_commands_leave(ngx_http_academy_redis_t *redis,
    ngx_uint_t *left);


/* channel.c */

void ngx_http_academy_redis_event(redisAsyncContext *ac, void *reply,
    void *peer);


/* script.c */

/* "EVALSHA sha 0 prefix args..." as Redis reads it; NGX_ERROR: no memory */
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

/* an error's text ends before what was sent begins, a password perhaps */
char *ngx_http_academy_redis_script_error(redisReply *reply);


#endif /* _NGX_HTTP_ACADEMY_REDIS_LINK_H_INCLUDED_ */
