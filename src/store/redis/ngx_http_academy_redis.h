
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_REDIS_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_REDIS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <hiredis/hiredis.h>
#include "ngx_http_academy_exchange.h"


/*
 * Mailboxes in a Redis that any number of nginx servers, and Python exchanges,
 * share.  A worker has two connections to it: one for commands, which are all
 * scripts, and one on which it is told of what happens to the mailboxes that
 * it has waiting calls for.
 *
 *     redis.c     what a configuration says, and the table of operations
 *     link.c      the two connections; socket.c, greet.c, events.c, command.c,
 *                 channel.c
 *     script.c    scripts, and what Redis says when they fail
 *     call.c      operations on mailboxes
 *     message.c   messages and their leases
 *     wait.c      calls that wait, and waking them
 *     hand.c      messages that are handed over to those
 *     keeper.c    signs of life, and the work that one worker does for all
 *     census.c    who else is connected
 *     walk.c      a look at what there is: survey.c, list.c, inspect.c
 */


#define NGX_HTTP_ACADEMY_NODE_LEN  32

/* of a node's connections */

#define NGX_HTTP_ACADEMY_REDIS_CLIENT  "academy-nginx"


typedef struct ngx_http_academy_redis_s         ngx_http_academy_redis_t;
typedef struct ngx_http_academy_redis_sh_s      ngx_http_academy_redis_sh_t;
typedef struct ngx_http_academy_redis_link_s    ngx_http_academy_redis_link_t;
typedef struct ngx_http_academy_redis_wait_s    ngx_http_academy_redis_wait_t;
typedef struct ngx_http_academy_redis_keeper_s  ngx_http_academy_redis_keeper_t;


/* bytes that are told of one of the others */

#define NGX_HTTP_ACADEMY_REDIS_WHO     160


/* of the leader */

typedef struct {
    ngx_int_t                           newest;     /* id of a node's */
    ngx_int_t                           next;       /* that of this time */
    ngx_int_t                           ours;       /* new since the last one */
    ngx_uint_t                          young;      /* times: one has no name */
    ngx_uint_t                          failed;     /* looks, one by one */
    ngx_int_t                           ever;       /* connections, if known */
    ngx_msec_t                          seen;       /* others; or 0 */
    ngx_msec_t                          asked;      /* for the list */
    ngx_msec_t                          took;       /* that it came */
    ngx_str_t                           who;        /* an other one */
    u_char                              text[NGX_HTTP_ACADEMY_REDIS_WHO];
    unsigned                            asking:1;
    unsigned                            listed:1;   /* this time */
    unsigned                            known:1;
    unsigned                            others:1;
} ngx_http_academy_redis_census_t;


struct ngx_http_academy_redis_s {
    ngx_http_academy_exchange_t         exchange;

    ngx_str_t                           server;     /* as it was written */
    ngx_addr_t                         *addrs;
    ngx_uint_t                          naddrs;
    ngx_str_t                           host;       /* empty: no name */
    in_port_t                           port;
    ngx_resolver_t                     *resolver;   /* NULL: there is none */
    ngx_uint_t                          db;
    ngx_str_t                           user;
    ngx_str_t                           password;
    ngx_str_t                           prefix;
    ngx_msec_t                          connect_timeout;
    ngx_msec_t                          timeout;    /* of a call */

    ngx_shm_zone_t                     *shm_zone;
    ngx_http_academy_redis_sh_t        *sh;         /* nodes of this nginx */

    /* of this process */
    ngx_http_academy_redis_link_t      *link;
    ngx_http_academy_redis_wait_t      *wait;
    ngx_http_academy_redis_keeper_t    *keeper;
    u_char                              node[NGX_HTTP_ACADEMY_NODE_LEN];
    uint64_t                            seq;        /* of leases */
    uint64_t                            ahead;      /* its clock; 0: by ? */
    ngx_http_academy_redis_census_t     census;
    unsigned                            others:1;   /* change keys: leader */
    ngx_queue_t                         walks;      /* listings, first runs */
    void                               *surveying;  /* a walk; or NULL */
};


typedef enum {
    NGX_HTTP_ACADEMY_SCRIPT_CREATE = 0,
    NGX_HTTP_ACADEMY_SCRIPT_TERMINATE,
    NGX_HTTP_ACADEMY_SCRIPT_CLOSE,
    NGX_HTTP_ACADEMY_SCRIPT_STATUS,
    NGX_HTTP_ACADEMY_SCRIPT_SHARE,
    NGX_HTTP_ACADEMY_SCRIPT_UNSHARE,
    NGX_HTTP_ACADEMY_SCRIPT_SHARES,
    NGX_HTTP_ACADEMY_SCRIPT_HEARTBEAT,
    NGX_HTTP_ACADEMY_SCRIPT_BEAT,
    NGX_HTTP_ACADEMY_SCRIPT_STATS,
    NGX_HTTP_ACADEMY_SCRIPT_DISCOVER,
    NGX_HTTP_ACADEMY_SCRIPT_PUT,
    NGX_HTTP_ACADEMY_SCRIPT_TAKE,
    NGX_HTTP_ACADEMY_SCRIPT_STOP,
    NGX_HTTP_ACADEMY_SCRIPT_SWEEP,
    NGX_HTTP_ACADEMY_SCRIPT_SETTLE,
    NGX_HTTP_ACADEMY_SCRIPT_GIVE_BACK,
    NGX_HTTP_ACADEMY_SCRIPT_RESTORE,
    NGX_HTTP_ACADEMY_SCRIPT_LEAVE,
    NGX_HTTP_ACADEMY_SCRIPT_TICK,
    NGX_HTTP_ACADEMY_SCRIPT_INDEX,
    NGX_HTTP_ACADEMY_SCRIPT_REQUESTS,
    NGX_HTTP_ACADEMY_SCRIPT_SURVEY,
    NGX_HTTP_ACADEMY_SCRIPT_SUM,
    NGX_HTTP_ACADEMY_SCRIPT_WALK,
    NGX_HTTP_ACADEMY_SCRIPT_ROWS,
    NGX_HTTP_ACADEMY_SCRIPT_INSPECT,
    NGX_HTTP_ACADEMY_SCRIPTS,

    /* and what is none */
    NGX_HTTP_ACADEMY_COMMAND_SCAN = NGX_HTTP_ACADEMY_SCRIPTS,
    NGX_HTTP_ACADEMY_COMMAND_CLIENTS,
    NGX_HTTP_ACADEMY_COMMAND_INFO,
    NGX_HTTP_ACADEMY_COMMANDS
} ngx_http_academy_redis_script_e;


/* what was found when it was looked for last, of this nginx; milliseconds */

typedef struct {
    ngx_uint_t                          valid;
    ngx_msec_t                          time;
    ngx_msec_t                          took;
    ngx_msec_t                          walking;    /* since when; or 0 */
    ngx_http_academy_survey_t           found;
} ngx_http_academy_redis_surveyed_t;


/*
 * What a script came to: its code, or NGX_HTTP_ACADEMY_UNAVAILABLE with reply
 * NULL, and then sent tells whether Redis may have run it all the same.  The
 * reply is freed behind the handler; a string of it may be taken out
 * (element->str = NULL) and is then freed by ngx_http_academy_redis_free().
 */

typedef struct {
    ngx_http_academy_result_e           result;
    redisReply                         *reply;      /* an array, [0] the code */
    unsigned                            sent:1;
} ngx_http_academy_redis_answer_t;

typedef void (*ngx_http_academy_redis_answer_pt)(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);


/* redis.c */

extern ngx_http_academy_store_t  ngx_http_academy_redis_store;

/* an exchange as an "academy_redis" directive says; NULL: the log says why */
ngx_http_academy_redis_t *ngx_http_academy_redis_add(ngx_conf_t *cf, void *tag);

/* by which its name is looked up again when it is connected to again */
void ngx_http_academy_redis_resolve(ngx_http_academy_exchange_t *exchange,
    ngx_resolver_t *resolver);

/* the node of a worker of this nginx that is gone: NGX_OK, or NGX_DECLINED */
ngx_int_t ngx_http_academy_redis_orphan(ngx_http_academy_redis_t *redis,
    u_char *name);

/* what the processes of this nginx share of it */
ngx_http_academy_redis_surveyed_t *ngx_http_academy_redis_surveyed_lock(
    ngx_http_academy_redis_t *redis);
void ngx_http_academy_redis_surveyed_unlock(ngx_http_academy_redis_t *redis);

/* nothing of it is left */
void ngx_http_academy_redis_forget(ngx_http_academy_redis_t *redis,
    u_char *name);


/* link.c */

/*
 * Runs a script.  The prefix comes first by itself; args are copied.  handler
 * runs exactly once, later, from an event: with what the script answered, or
 * when redis->timeout has passed, or the connection was lost.  While there is
 * no connection the command waits for one, for that time at the longest.
 * Commands run in the order in which they were given.  Returns NGX_OK, or
 * NGX_ERROR if memory ran out, and then handler does not run.
 */
ngx_int_t ngx_http_academy_redis_run(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_script_e script, ngx_str_t *args, ngx_uint_t n,
    ngx_http_academy_redis_answer_pt handler, void *data);

/*
 * A command that is no script, in the format of redisvFormatCommand(): for the
 * keeper.  The reply is as Redis gives it, not an array with a code.
 */
ngx_int_t ngx_http_academy_redis_plain(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_script_e name,
    ngx_http_academy_redis_answer_pt handler, void *data, const char *format,
    ...);

/* whether commands can be given; maybe nothing is told of keys yet */
ngx_uint_t ngx_http_academy_redis_commands_up(ngx_http_academy_redis_t *redis);

/* whether both connections are up, and since when (ms, ngx_current_msec) */
ngx_uint_t ngx_http_academy_redis_up(ngx_http_academy_redis_t *redis,
    ngx_msec_t *since);

/* by which others tell this worker what they hand over to it */
ngx_str_t *ngx_http_academy_redis_channel(ngx_http_academy_redis_t *redis);

/* there is no connection, and it is known that one is not to be had */
ngx_uint_t ngx_http_academy_redis_away(ngx_http_academy_redis_t *redis);

/* it had no memory for something a moment ago */
ngx_uint_t ngx_http_academy_redis_full(ngx_http_academy_redis_t *redis);

/* nothing tells this worker what happens to keys: nobody can be woken */
ngx_uint_t ngx_http_academy_redis_deaf(ngx_http_academy_redis_t *redis);

/*
 * Keys whose events this worker is to be told of (without the keyspace's
 * prefix, with redis->prefix).  Remembered by wait.c and keeper.c, not by the
 * link: after a reconnect ngx_http_academy_redis_wait_up() and _keeper_up()
 * give them again.  NGX_ERROR: no memory or not connected.
 */
ngx_int_t ngx_http_academy_redis_subscribe(ngx_http_academy_redis_t *redis,
    ngx_str_t *keys, ngx_uint_t n);
ngx_int_t ngx_http_academy_redis_unsubscribe(ngx_http_academy_redis_t *redis,
    ngx_str_t *keys, ngx_uint_t n);
ngx_int_t ngx_http_academy_redis_psubscribe(ngx_http_academy_redis_t *redis,
    ngx_str_t *pattern);
ngx_int_t ngx_http_academy_redis_punsubscribe(ngx_http_academy_redis_t *redis,
    ngx_str_t *pattern);

/* its setting is to have the events that are needed now: redis->others */
void ngx_http_academy_redis_ask_events(ngx_http_academy_redis_t *redis);

#define ngx_http_academy_redis_free(p)  free(p)

/* what the link calls: wait.c and keeper.c have them */

/* the subscription of a key is in force */
void ngx_http_academy_redis_wait_subscribed(ngx_http_academy_redis_t *redis,
    ngx_str_t *key);
/* something happened to a subscribed key */
void ngx_http_academy_redis_wait_event(ngx_http_academy_redis_t *redis,
    ngx_str_t *key, ngx_str_t *event);
/* what others, or scripts of its own, tell this worker: see hand.c */
void ngx_http_academy_redis_told(ngx_http_academy_redis_t *redis,
    ngx_str_t *text);
/* it can be told from now on; what it was not told before is looked for */
void ngx_http_academy_redis_sweep(ngx_http_academy_redis_t *redis);
/* both connections are up (again); one of them is lost */
void ngx_http_academy_redis_wait_up(ngx_http_academy_redis_t *redis);
void ngx_http_academy_redis_wait_down(ngx_http_academy_redis_t *redis);
/* this worker is to end: nobody waits any longer */
void ngx_http_academy_redis_wait_exit(ngx_http_academy_redis_t *redis);

void ngx_http_academy_redis_keeper_event(ngx_http_academy_redis_t *redis,
    ngx_str_t *key, ngx_str_t *event);              /* of a pattern */
/* the leader is told of changes from now on */
void ngx_http_academy_redis_keeper_told(ngx_http_academy_redis_t *redis);
/* whether there is somebody who changes keys and is no node */
void ngx_http_academy_redis_keeper_company(ngx_http_academy_redis_t *redis,
    ngx_uint_t others);
void ngx_http_academy_redis_keeper_up(ngx_http_academy_redis_t *redis);
void ngx_http_academy_redis_keeper_down(ngx_http_academy_redis_t *redis);


/* census.c: who else is there, which the keeper is told */

/* what was known is for nothing */
void ngx_http_academy_redis_census_begin(ngx_http_academy_redis_t *redis);
void ngx_http_academy_redis_census(ngx_http_academy_redis_t *redis);


/* message.c: a lease as a delivery's message */

typedef struct {
    ngx_queue_t                         queue;      /* gathered to be sent */
    ngx_queue_t                         known;      /* handed over: by id */
    u_char                             *json;       /* malloc()ed, hiredis's */
    size_t                              size;
    uint64_t                            seq;        /* or an id, seq-part */
    uint64_t                            part;
    uint64_t                            order;      /* the first seq of it */
    ngx_msec_t                          since;
    ngx_msec_t                          due;        /* in doubt: again */
    u_char                              uid[16];
    unsigned                            doubts:2;
    unsigned                            told:1;     /* settled: see written() */
    unsigned                            leased:1;   /* again, with a new seq */
    unsigned                            handed:1;   /* over: seq is an id */
    unsigned                            response:1; /* and this is known */
} ngx_http_academy_redis_lease_t;


/* operations, by file; see ngx_http_academy_store_t */

ngx_int_t ngx_http_academy_redis_create(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_terminate(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_status(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_share(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_shares(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_unshare(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_heartbeat(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_beat(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_stats(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_discover(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_put(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_get(ngx_http_academy_call_t *call);
void ngx_http_academy_redis_cancel(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_piece(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_str_t *piece);
void ngx_http_academy_redis_written(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n, ngx_uint_t written);
void ngx_http_academy_redis_settle(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n);
void ngx_http_academy_redis_give_back(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n);

ngx_int_t ngx_http_academy_redis_survey(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_list(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_redis_inspect(ngx_http_academy_call_t *call);

/* once a worker: NGX_OK or NGX_ERROR; and at its end, whatever the cause */
ngx_int_t ngx_http_academy_redis_wait_init(ngx_http_academy_redis_t *redis);
ngx_int_t ngx_http_academy_redis_keeper_init(ngx_http_academy_redis_t *redis);
ngx_int_t ngx_http_academy_redis_link_init(ngx_http_academy_redis_t *redis,
    ngx_cycle_t *cycle);

/*
 * The worker ends: what is settled or given back and not yet told to Redis is
 * told now, all leases of the node are returned (leave), within a second and
 * blocking; then the connections are closed.
 */
void ngx_http_academy_redis_link_exit(ngx_http_academy_redis_t *redis);

/* settles and gives back what is gathered to go in one command */
void ngx_http_academy_redis_flush(ngx_http_academy_redis_t *redis);


#endif /* _NGX_HTTP_ACADEMY_REDIS_H_INCLUDED_ */
