
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_EXCHANGE_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_EXCHANGE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_id.h"
#include "ngx_http_academy_caller.h"
#include "ngx_http_academy_scan.h"
#include "ngx_http_academy_survey.h"
#include "ngx_http_academy_figures.h"


/*
 * The exchange as routes see it: a table of operations on mailboxes, each
 * started with a call and ended by one run of the call's done handler.
 *
 * An operation returns NGX_DONE if done has run already, after which the call
 * may be gone, or NGX_AGAIN if done will run later, from an event.  Until then
 * the call and all that it points to belong to the store; cancel() takes them
 * back: done does not run any more, and what the store took out of a mailbox
 * for this call is in the mailbox again.
 *
 * A message that get() brought is leased, not gone: it comes to an end by
 * settle(), if the receiver has it, or by give_back(), which puts it where it
 * was.  Whoever got it calls exactly one of the two.
 */


/* bounds of what a mailbox is created with; bytes, but for the first */

#define NGX_HTTP_ACADEMY_MAX_CLASSES     128
#define NGX_HTTP_ACADEMY_MAX_CLASS_LEN   1024
#define NGX_HTTP_ACADEMY_MAX_CLIENT_LEN  1024
#define NGX_HTTP_ACADEMY_MAX_GROUP_LEN   256

/* groups that a mailbox may be shared with */

#define NGX_HTTP_ACADEMY_MAX_SHARES      256


typedef struct ngx_http_academy_call_s      ngx_http_academy_call_t;
typedef struct ngx_http_academy_exchange_s  ngx_http_academy_exchange_t;


typedef enum {
    NGX_HTTP_ACADEMY_OK = 0,
    NGX_HTTP_ACADEMY_MISSING,          /* no such mailbox */
    NGX_HTTP_ACADEMY_TERMINATED,
    NGX_HTTP_ACADEMY_FORBIDDEN,
    NGX_HTTP_ACADEMY_FULL,             /* no memory, nothing was stored */
    NGX_HTTP_ACADEMY_SHARED,           /* with as many groups as may be */
    NGX_HTTP_ACADEMY_MANY_MESSAGES,    /* for the limits of the call */
    NGX_HTTP_ACADEMY_MANY_BYTES,
    NGX_HTTP_ACADEMY_MANY_MAILBOXES,
    NGX_HTTP_ACADEMY_CLOSING,          /* this worker lets nobody wait now */
    NGX_HTTP_ACADEMY_UNAVAILABLE       /* the store is not to be reached */
} ngx_http_academy_result_e;


/*
 * What a call may make a store hold.  Messages count until their receiver has
 * them, and mailboxes as long as their ids are taken.
 */

typedef struct {
    size_t                      messages;      /* in a mailbox */
    size_t                      bytes;         /* of their JSON */
    size_t                      mailboxes;     /* of a client */
} ngx_http_academy_limits_t;

#define NGX_HTTP_ACADEMY_NO_LIMIT  NGX_MAX_SIZE_T_VALUE


typedef struct {
    ngx_uint_t                  outgoing;
    ngx_uint_t                  completed;
    ngx_uint_t                  pending;
    ngx_uint_t                  queued;
} ngx_http_academy_stats_t;


/* a leased message, and where reading it stands: at first, next is message */

typedef struct {
    void                       *message;       /* the store's */
    size_t                      size;          /* bytes of JSON */
    void                       *next;          /* the store's */
    ngx_msec_t                  accepted;      /* when; 0: not known */
} ngx_http_academy_delivery_t;


typedef void (*ngx_http_academy_done_pt)(ngx_http_academy_call_t *call);


struct ngx_http_academy_call_s {
    ngx_http_academy_exchange_t       *exchange;
    ngx_http_academy_caller_t         *caller;
    ngx_http_academy_limits_t         *limits;     /* create, put */
    ngx_log_t                         *log;

    ngx_http_academy_done_pt           done;
    ngx_http_academy_done_pt           waits;      /* get: there is nothing */
    void                              *data;       /* of who calls */

    ngx_http_academy_id_t              id;         /* the mailbox */

    unsigned                           subclasses:1;     /* discover */
    unsigned                           verify_source:1;  /* put */
    unsigned                           asked:1;          /* get: by a client */
    unsigned                           stays:1;          /* get: and again */
    unsigned                           repeated:1;       /* put: came again */
    unsigned                           admin:1;  /* may do all, by decree */

    ngx_msec_t                         deduplicate;      /* put; 0: off */

    /*
     * beat, put, get: requests that an agent received are kept until it has
     * answered, and brought again when it was silent for so long; 0: off
     */
    ngx_msec_t                         agent_timeout;

    ngx_http_academy_result_e          result;

    union {
        struct {
            ngx_str_t                 *names;
            ngx_uint_t                 n;
            ngx_str_t                  entity;     /* its name: JSON */
        } classes;                                 /* create */

        ngx_str_t                      class;      /* discover */
        ngx_str_t                      group;      /* share, unshare */
        ngx_http_academy_envelope_t   *envelope;   /* put */

        ngx_http_academy_survey_t     *survey;
        ngx_http_academy_listing_t    *listing;    /* list */
        ngx_http_academy_inspection_t  *inspection;  /* inspect */
    } in;

    union {
        ngx_int_t                      heartbeat;  /* ms since, or -1 */
        ngx_http_academy_stats_t       stats;
        ngx_http_academy_delivery_t    delivery;   /* get */

        struct {
            ngx_str_t                 *names;
            ngx_uint_t                 n;
        } groups;                                  /* shares */

        struct {
            u_char                    *uids;       /* of 16 bytes */
            ngx_uint_t                 n;
        } agents;                                  /* discover */
    } out;

    ngx_pool_t                        *pool;  /* of shares, discover, list */

    /* the store's while the call is under way */
    ngx_queue_t                        queue;
    ngx_queue_t                        peers;
    void                              *place;
    unsigned                           state:3;
    unsigned                           leads:1;
};


typedef ngx_int_t (*ngx_http_academy_op_pt)(ngx_http_academy_call_t *call);


typedef struct {
    ngx_http_academy_op_pt      create;
    ngx_http_academy_op_pt      terminate;
    ngx_http_academy_op_pt      status;
    ngx_http_academy_op_pt      share;
    ngx_http_academy_op_pt      shares;
    ngx_http_academy_op_pt      unshare;
    ngx_http_academy_op_pt      heartbeat;
    ngx_http_academy_op_pt      beat;
    ngx_http_academy_op_pt      stats;
    ngx_http_academy_op_pt      discover;
    ngx_http_academy_op_pt      put;

    /*
     * Waits until there is a message; how long is the caller's business, whose
     * handler waits, unless NULL, runs once when the store has found none.
     */
    ngx_http_academy_op_pt      get;

    void                      (*cancel)(ngx_http_academy_call_t *call);

    /*
     * The JSON of a leased message, piece by piece: NGX_OK with the next
     * piece, which stands until the next call of any operation, or NGX_DONE.
     */
    ngx_int_t                 (*piece)(ngx_http_academy_exchange_t *exchange,
                                       ngx_http_academy_delivery_t *delivery,
                                       ngx_str_t *piece);

    /*
     * Whether all of n messages is in the hands of the system, which sends it
     * whatever becomes of this process, and there is no doubt that somebody
     * is there to get it: a hint, for what is to come once at the most.
     */
    void                      (*written)(
                                        ngx_http_academy_exchange_t *exchange,
                                        ngx_http_academy_delivery_t *delivery,
                                        ngx_uint_t n, ngx_uint_t written);

    void                      (*settle)(
                                        ngx_http_academy_exchange_t *exchange,
                                        ngx_http_academy_delivery_t *delivery,
                                        ngx_uint_t n);

    void                      (*give_back)(
                                        ngx_http_academy_exchange_t *exchange,
                                        ngx_http_academy_delivery_t *delivery,
                                        ngx_uint_t n);

    /* a configuration is in force, and nothing of it can fail any more */
    void                      (*commit)(ngx_http_academy_exchange_t *exchange);

    /* a worker starts: NGX_OK or NGX_ERROR; and ends, whatever the cause */
    ngx_int_t                 (*init_worker)(
                                        ngx_http_academy_exchange_t *exchange,
                                        ngx_cycle_t *cycle);
    void                      (*exit_worker)(
                                        ngx_http_academy_exchange_t *exchange,
                                        ngx_cycle_t *cycle);

    /*
     * What there is, for who looks: as a whole, of mailboxes that the caller
     * may use, and of one of them.  NULL: a store does not tell.
     */
    ngx_http_academy_op_pt      survey;
    ngx_http_academy_op_pt      list;
    ngx_http_academy_op_pt      inspect;

    /* NULL if clients are served, or in a few words why they are not */
    char                     *(*ailing)(
                                        ngx_http_academy_exchange_t *exchange);

    char                       *kind;          /* "zone", "redis" */

    /* counters that it has nothing for: a bit for each */
    uint64_t                    uncounted;

    /* where it is, if there is something to be connected to; or NULL */
    ngx_str_t                *(*server)(
                                        ngx_http_academy_exchange_t *exchange);
} ngx_http_academy_store_t;


/*
 * How many seconds a store keeps what nobody asks for; 0: for ever.  A store
 * looks for it by itself, and may be late by a small part of that time.
 */

typedef struct {
    time_t                      messages;      /* and open requests */
    time_t                      mailboxes;     /* terminated ones too */
} ngx_http_academy_expiry_t;


struct ngx_http_academy_exchange_s {
    ngx_str_t                   name;
    ngx_http_academy_store_t   *store;
    ngx_http_academy_expiry_t  *expiry;
    ngx_http_academy_figures_t *figures;
    ngx_http_academy_limits_t   least;         /* of any location's */
};


/* the two ends of what get() brought, with what is counted of them */

#define ngx_http_academy_settle(exchange, delivery, n)                        \
    do {                                                                      \
        ngx_http_academy_count_n(exchange, NGX_HTTP_ACADEMY_N_DELIVERED, n);  \
        (exchange)->store->settle(exchange, delivery, n);                     \
    } while (0)

#define ngx_http_academy_return(exchange, delivery, n)                        \
    do {                                                                      \
        ngx_http_academy_count_n(exchange, NGX_HTTP_ACADEMY_N_RETURNED, n);   \
        (exchange)->store->give_back(exchange, delivery, n);                  \
    } while (0)


#endif /* _NGX_HTTP_ACADEMY_EXCHANGE_H_INCLUDED_ */
