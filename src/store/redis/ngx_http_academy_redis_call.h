
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_REDIS_CALL_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_REDIS_CALL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_redis.h"


#define ngx_http_academy_redis_of(e)  ((ngx_http_academy_redis_t *) (e))


/* states of a call */

#define NGX_HTTP_ACADEMY_REDIS_IDLE    0
#define NGX_HTTP_ACADEMY_REDIS_RUNS    1     /* place: an operation */
#define NGX_HTTP_ACADEMY_REDIS_NEW     2     /* in the table; place: mailbox */
#define NGX_HTTP_ACADEMY_REDIS_WAITS   3     /* and was looked for before */
#define NGX_HTTP_ACADEMY_REDIS_SERVED  4     /* done is about to run */
#define NGX_HTTP_ACADEMY_REDIS_WALKS   7     /* place: a walk */


/* what a script is called with; numbers and ids are written beside it */

#define NGX_HTTP_ACADEMY_REDIS_ARGS  16

typedef struct {
    ngx_uint_t                  n;
    u_char                     *last;
    ngx_str_t                   args[NGX_HTTP_ACADEMY_REDIS_ARGS];
    u_char                      data[NGX_HTTP_ACADEMY_REDIS_ARGS
                                     * NGX_HTTP_ACADEMY_UUID_LEN];
} ngx_http_academy_redis_args_t;


/* call.c */

void ngx_http_academy_redis_arg_str(ngx_http_academy_redis_args_t *args,
    ngx_str_t *value);
void ngx_http_academy_redis_arg_data(ngx_http_academy_redis_args_t *args,
    u_char *data, size_t len);
void ngx_http_academy_redis_arg_uid(ngx_http_academy_redis_args_t *args,
    u_char uid[16]);
void ngx_http_academy_redis_arg_number(ngx_http_academy_redis_args_t *args,
    uint64_t value);

/*
 * Who is calling: id and groups, which stand until the next caller's.  NGX_OK,
 * or NGX_ERROR without memory.
 */
ngx_int_t ngx_http_academy_redis_arg_caller(
    ngx_http_academy_redis_args_t *args, ngx_http_academy_caller_t *caller);

/* runs a script that answers a call with a code and no more */
ngx_int_t ngx_http_academy_redis_start(ngx_http_academy_call_t *call,
    ngx_http_academy_redis_script_e script,
    ngx_http_academy_redis_args_t *args);

/* a call has its result; NGX_DONE */
ngx_int_t ngx_http_academy_redis_call_end(ngx_http_academy_call_t *call,
    ngx_http_academy_result_e result);

/* an element of an answer, or NULL */
redisReply *ngx_http_academy_redis_string(redisReply *reply, ngx_uint_t n);
redisReply *ngx_http_academy_redis_array(redisReply *reply, ngx_uint_t n);
int64_t ngx_http_academy_redis_integer(redisReply *reply, ngx_uint_t n);

/* answers the open requests of a terminated mailbox, in the background */
void ngx_http_academy_redis_close(ngx_http_academy_redis_t *redis,
    u_char uid[NGX_HTTP_ACADEMY_UUID_LEN]);


/* walk.c */

void ngx_http_academy_redis_walk_cancel(ngx_http_academy_call_t *call);


/* message.c */

typedef struct {
    ngx_queue_t                 settled;     /* of leases */
    ngx_queue_t                 returned;
    ngx_queue_t                 doubted;     /* to be returned again */
    ngx_event_t                 event;
    unsigned                    stalled:1;   /* Redis did not do it */
    unsigned                    before:1;    /* a mailbox's are begun */
} ngx_http_academy_redis_gather_t;


void ngx_http_academy_redis_gather_init(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_gather_t *gather);

/* does again what Redis did not do */
void ngx_http_academy_redis_gather_again(ngx_http_academy_redis_t *redis);

/* gives back a lease; one that may come into being only later, repeatedly */
void ngx_http_academy_redis_return_doubted(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_lease_t *lease);
void ngx_http_academy_redis_return(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_lease_t *lease);

void ngx_http_academy_redis_lease_free(ngx_http_academy_redis_lease_t *lease);

/* so that what is taken next is behind what was given back */
void ngx_http_academy_redis_flush_returned(ngx_http_academy_redis_t *redis);


/* wait.c */

typedef struct {
    ngx_rbtree_node_t           node;
    ngx_http_academy_redis_t   *redis;
    ngx_queue_t                 calls;       /* longest first */
    ngx_queue_t                 asked;       /* those of the take under way */
    ngx_queue_t                 leases;      /* for what it brings */
    ngx_queue_t                 stock;       /* brought for nobody yet */
    ngx_queue_t                 handed;      /* over, behind the stock */
    ngx_queue_t                 place;       /* in todo, late or idle */
    ngx_queue_t                 subscribe;   /* in wanted */
    ngx_queue_t                 end;         /* in the queue of ends */
    ngx_http_academy_call_t    *last;        /* it knows there are none */
    ngx_msec_t                  left;        /* by its last call */
    ngx_uint_t                  leads;       /* calls to be looked for */
    ngx_uint_t                  events;      /* since the last look */
    ngx_uint_t                  n;           /* asked for */
    ngx_uint_t                  most;        /* to ask for ahead */
    u_char                      uid[16];
    unsigned                    subscribed:2;
    unsigned                    armed:2;     /* messages are handed over */
    unsigned                    asking:1;    /* a take is under way */
    unsigned                    arms:1;      /* and arms, if none is left */
    unsigned                    ends:1;      /* in ends */
    unsigned                    busy:1;      /* handlers run */
    unsigned                    again:1;
    unsigned                    sure:1;      /* subscribed, and no event */
    unsigned                    more:1;
    unsigned                    later:1;     /* there may be some */
    unsigned                    held:1;      /* older ones are to go back */
    unsigned                    todo:1;
    unsigned                    paced:1;
    unsigned                    idle:1;
    unsigned                    wanted:1;
} ngx_http_academy_redis_mailbox_t;


struct ngx_http_academy_redis_wait_s {
    ngx_http_academy_redis_gather_t    gather;
    ngx_rbtree_t                       mailboxes;
    ngx_rbtree_node_t                  sentinel;
    ngx_queue_t                        todo;      /* to be looked at */
    ngx_queue_t                        late;      /* in a second */
    ngx_queue_t                        idle;      /* oldest first */
    ngx_queue_t                        wanted;    /* to be subscribed */
    ngx_queue_t                        ends;      /* to be handed no more */
    ngx_queue_t                        known;     /* leases, by id */
    ngx_queue_t                        swept;     /* that were unknown */
    ngx_event_t                        subscribe;
    ngx_event_t                        stop;
    ngx_str_t                          last;      /* id, of those swept */
    u_char                             last_id[2 * NGX_INT64_LEN + 1];
    uint64_t                           nswept;
    ngx_uint_t                         looks;     /* of todo, under way */
    unsigned                           stalled:1;
    unsigned                           missed:1;  /* something told */
};


/*
 * Whether a look at a mailbox is under way; then what it brings does not come
 * before what is to go back.
 */
ngx_uint_t ngx_http_academy_redis_wait_hold(ngx_http_academy_redis_t *redis,
    u_char uid[16]);

ngx_http_academy_redis_mailbox_t *ngx_http_academy_redis_find(
    ngx_http_academy_redis_wait_t *wait, u_char uid[16]);
ngx_http_academy_redis_mailbox_t *ngx_http_academy_redis_enter(
    ngx_http_academy_redis_t *redis, u_char uid[16]);

/* what a mailbox needs now; it may be gone afterwards */
void ngx_http_academy_redis_step(ngx_http_academy_redis_mailbox_t *mailbox);

/* to be looked at when Redis is there again, or can do more */
void ngx_http_academy_redis_put_off(ngx_http_academy_redis_mailbox_t *mailbox);

/* a call gets what was handed over: whether there is one for it */
ngx_uint_t ngx_http_academy_redis_serve_handed(
    ngx_http_academy_redis_mailbox_t *mailbox,
    ngx_http_academy_redis_lease_t *lease);

/* once a second */
void ngx_http_academy_redis_wait_tick(ngx_http_academy_redis_t *redis);

void ngx_http_academy_redis_wait_cancel(ngx_http_academy_call_t *call);


/* hand.c: whether messages are handed over to a mailbox's calls here */

#define NGX_HTTP_ACADEMY_REDIS_UNARMED  0
#define NGX_HTTP_ACADEMY_REDIS_ARMED    1     /* or may be */
#define NGX_HTTP_ACADEMY_REDIS_ENDING   2


void ngx_http_academy_redis_hand_init(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_wait_t *wait);

/* no more are to come; then step() */
void ngx_http_academy_redis_disarm(ngx_http_academy_redis_mailbox_t *mailbox);

/* the connection is lost by which it is told when no more come */
void ngx_http_academy_redis_hand_down(
    ngx_http_academy_redis_mailbox_t *mailbox);

/* gives those that wait here to those calls that wait */
void ngx_http_academy_redis_hand(ngx_http_academy_redis_mailbox_t *mailbox);

/* the time of Redis, in ms, as it answered who asked at that time */
void ngx_http_academy_redis_timed(ngx_http_academy_redis_t *redis,
    uint64_t time, ngx_msec_t asked);

/* when a message was accepted, by this worker's clock; 0: not known */
ngx_msec_t ngx_http_academy_redis_accepted(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_lease_t *lease);


#endif /* _NGX_HTTP_ACADEMY_REDIS_CALL_H_INCLUDED_ */
