
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_ZONE_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_bell.h"
#include "ngx_http_academy_exchange.h"


/*
 * Mailboxes in shared memory.
 *
 * Everything in the zone is guarded by the mutex of its slab pool, the only
 * one that nginx frees when its holder dies.  Inside, nothing is parsed,
 * logged or written to a file descriptor, and no step grows with what a client
 * may pile up: long work is cut in steps of NGX_HTTP_ACADEMY_STEP items.
 *
 *     bucket -> mailbox -> mailbox          by keyed hash of uid and role
 *                  |-> message -> message   the queue, oldest first
 *                  |-> pending, pending     requests it has not answered,
 *                  |        `-> message     each with what was received
 *                  |-> waiting -> waiting   a worker each, of who listens
 *                  |-> share -> share       groups
 *                  `-> members              its places in the class index
 *     bucket -> pending -> pending          by keyed hash of uid, role, tag
 *     bucket -> class -> class              by keyed hash of the class name
 *                  `-> row -> row           places of the class's agents
 *     bucket -> client -> client            by keyed hash of the client id
 *     slot                                  a process each
 *                  |-> waiting, waiting     its mailboxes with news
 *                  `-> message, message     filled or leased by it
 *
 * Single links are what a crash leaves whole; the other links, tails and
 * counters follow from them, and are made anew when a process has died within
 * a section.  What is linked is filled before, and taken out before it is
 * freed.  There is no pointer into a process in the zone.
 */

#define NGX_HTTP_ACADEMY_STEP      16

/* sections in a row before other events have their turn */

#define NGX_HTTP_ACADEMY_TURN      4

/* the smallest zone: one message of the default limit fits in twice */
#define NGX_HTTP_ACADEMY_MIN_ZONE  (2 * 1024 * 1024)


typedef struct ngx_http_academy_zone_s         ngx_http_academy_zone_t;
typedef struct ngx_http_academy_mailbox_s      ngx_http_academy_mailbox_t;
typedef struct ngx_http_academy_message_s      ngx_http_academy_message_t;
typedef struct ngx_http_academy_pending_s      ngx_http_academy_pending_t;
typedef struct ngx_http_academy_waiting_s      ngx_http_academy_waiting_t;
typedef struct ngx_http_academy_share_s        ngx_http_academy_share_t;
typedef struct ngx_http_academy_class_s        ngx_http_academy_class_t;
typedef struct ngx_http_academy_client_s       ngx_http_academy_client_t;
typedef struct ngx_http_academy_chunk_s        ngx_http_academy_chunk_t;
typedef struct ngx_http_academy_row_s          ngx_http_academy_row_t;
typedef struct ngx_http_academy_repeats_s      ngx_http_academy_repeats_t;


/* a piece of a message's text, which follows the structure */

struct ngx_http_academy_chunk_s {
    ngx_http_academy_chunk_t      *next;
    size_t                         len;
};


struct ngx_http_academy_message_s {
    ngx_http_academy_message_t    *next;      /* in the mailbox's queue */
    ngx_queue_t                    slot;      /* while filled or leased */
    ngx_http_academy_mailbox_t    *mailbox;
    uint64_t                       seq;       /* order of acceptance */
    ngx_msec_t                     accepted;  /* when that was */
    ngx_http_academy_chunk_t      *chunks;    /* behind the inline text */
    uint32_t                       size;      /* bytes of text */
    uint16_t                       first;     /* of these, inline */
    u_char                         written;   /* its holder's, without lock */
    u_char                         leases;    /* how often; up to 255 */
    ngx_pid_t                      holder;    /* who fills or leases it */
    unsigned                       filling:1; /* in no mailbox yet */
    unsigned                       notice:1;  /* part of a pending */
    unsigned                       response:1;
    unsigned                       watched:1; /* by academy_redeliver */
    unsigned                       bucket:27; /* of its pending, a request's */

    u_char                         settled;   /* the same as with written */

    /* text follows, and is read 16 bytes at a time: none is to be left over */
    u_char                         unused[7];
};

#define NGX_HTTP_ACADEMY_MAX_BUCKETS  (1 << 27)


/* the last message that was accepted by a time, in seconds */

typedef struct {
    uint64_t                       seq;
    uint32_t                       time;
} ngx_http_academy_mark_t;

#define NGX_HTTP_ACADEMY_MARKS     128


/*
 * A request that its mailbox took in and has not answered.  When the mailbox
 * is terminated it becomes the answer itself, a notice in the requester's
 * queue: so that to terminate needs no memory.
 */

struct ngx_http_academy_pending_s {
    ngx_http_academy_message_t     message;   /* the notice */
    ngx_http_academy_pending_t    *next;      /* in the bucket */
    ngx_queue_t                    queue;     /* in the mailbox, oldest first */
    ngx_http_academy_mailbox_t    *mailbox;
    ngx_http_academy_message_t    *kept;      /* received, to be put back */
    ngx_http_academy_id_t          src;
    ngx_http_academy_id_t          dest;
    u_char                         tag[16];
    u_char                         label[16];
    u_char                         labeled;
    u_char                         src_name_len;
    u_char                         dest_name_len;
    u_char                         names[1];  /* src's, dest's, as JSON */
};


/* callers of one process that wait at one mailbox */

struct ngx_http_academy_waiting_s {
    ngx_http_academy_waiting_t    *next;      /* in the mailbox */
    ngx_queue_t                    ready;     /* in the slot */
    ngx_http_academy_mailbox_t    *mailbox;
    uint32_t                       count;
    uint32_t                       review;    /* to be looked at again */
    uint32_t                       generation;
    uint16_t                       slot;
    unsigned                       used:1;
    unsigned                       woken:1;   /* in the slot's ready list */
};


struct ngx_http_academy_share_s {
    ngx_http_academy_share_t      *next;
    uint16_t                       len;
    u_char                         group[1];
};


/* a place holds a mailbox, or the next free place with its lowest bit set */

typedef uintptr_t                  ngx_http_academy_place_t;

struct ngx_http_academy_row_s {
    ngx_http_academy_row_t        *next;
    ngx_uint_t                     n;
    ngx_http_academy_place_t       places[1];
};


struct ngx_http_academy_class_s {
    ngx_http_academy_class_t      *next;
    uint64_t                       serial;    /* no other class ever had it */
    ngx_http_academy_row_t        *rows;
    ngx_http_academy_row_t        *last;
    ngx_http_academy_place_t       free;
    ngx_uint_t                     used;      /* places ever used in last */
    ngx_uint_t                     members;
    uint16_t                       len;
    u_char                         name[1];
};


typedef struct {
    ngx_http_academy_class_t      *class;
    ngx_http_academy_place_t      *place;
} ngx_http_academy_member_t;


/* who owns mailboxes; gone with the last of them */

struct ngx_http_academy_client_s {
    ngx_http_academy_client_t     *next;
    ngx_uint_t                     mailboxes; /* terminated ones too */
    uint16_t                       len;
    u_char                         id[1];
};


/* of an entity, for people only */

typedef struct {
    uint16_t                       len;
    u_char                         json[1];
} ngx_http_academy_name_t;

#define NGX_HTTP_ACADEMY_NAME_LEN  255        /* a longer one is left out */


struct ngx_http_academy_mailbox_s {
    ngx_http_academy_mailbox_t    *next;
    ngx_http_academy_id_t          id;
    u_char                         terminated;
    u_char                         closing;   /* in the closing queue */
    u_char                         beaten;    /* heartbeat is set */
    u_char                         silent;    /* its agent was, for long */
    uint16_t                       nmembers;
    uint16_t                       room;      /* for members */
    uint16_t                       nshares;
    uint32_t                       used;      /* seconds; see its function */

    ngx_http_academy_message_t    *head;
    ngx_http_academy_message_t    *tail;
    ngx_http_academy_message_t    *returned;  /* last, and there still */
    ngx_uint_t                     queued;

    /* those that are leased are its own still */

    ngx_uint_t                     held;      /* queued and leased */
    size_t                         bytes;     /* of these, their text */

    ngx_queue_t                    pending;
    ngx_uint_t                     npending;
    ngx_uint_t                     nkept;     /* of these, with a message */
    ngx_uint_t                     outgoing;
    ngx_uint_t                     completed;

    ngx_msec_t                     heartbeat; /* monotonic, of this machine */

    ngx_http_academy_client_t     *owner;
    ngx_http_academy_name_t       *name;      /* NULL: it has none */
    ngx_http_academy_share_t      *shares;
    ngx_http_academy_member_t     *members;   /* most derived class first */

    ngx_http_academy_waiting_t     waiting;   /* the first of its list */
    ngx_queue_t                    close;
};


/*
 * Fingerprints of messages that were stored, and when that was: two lines of
 * the processor's cache.
 */

#define NGX_HTTP_ACADEMY_REPEATS    6

struct ngx_http_academy_repeats_s {
    uint64_t                       prints[NGX_HTTP_ACADEMY_REPEATS][2];
    uint32_t                       times[NGX_HTTP_ACADEMY_REPEATS];
    uint32_t                       unused[2];
};


typedef struct {
    ngx_pid_t                      pid;       /* 0: free */
    uint32_t                       generation;
    ngx_queue_t                    ready;
    ngx_queue_t                    messages;
} ngx_http_academy_slot_t;


/* a mailbox whose kept requests are being put back, in steps */

typedef struct {
    ngx_http_academy_mailbox_t    *mailbox;   /* NULL: none */
    ngx_http_academy_pending_t    *next;      /* to be looked at */
    ngx_http_academy_message_t    *last;      /* put back, and there still */
} ngx_http_academy_revival_t;


/* what was found when somebody looked last */

typedef struct {
    ngx_msec_t                     time;
    ngx_uint_t                     valid;
    ngx_http_academy_survey_t      found;
} ngx_http_academy_surveyed_t;


typedef struct {
    ngx_pid_t                      busy;      /* who is within a section */
    size_t                         log_ctx_len;

    ngx_http_academy_mailbox_t   **mailboxes;
    ngx_http_academy_pending_t   **pendings;
    ngx_http_academy_class_t     **classes;
    ngx_http_academy_client_t    **clients;
    ngx_uint_t                     mask;      /* of mailboxes and pendings */
    ngx_uint_t                     class_mask;
    ngx_uint_t                     client_mask;
    uint64_t                       key[2];    /* of the hashes */
    uint64_t                       print_key[16];
    ngx_http_academy_repeats_t    *repeats;   /* by fingerprint */
    ngx_uint_t                     nrepeats;
    uint64_t                       seq;
    uint64_t                       serial;

    ngx_queue_t                    closing;   /* mailboxes to wind up */
    ngx_http_academy_message_t    *garbage;   /* to be freed in steps */
    ngx_http_academy_row_t        *rows;      /* the same */
    ngx_http_academy_revival_t     revival;

    ngx_uint_t                     reserve;   /* pages */

    /* see ngx_http_academy_zone_expire.c */

    uint32_t                       time;      /* when that was done last */
    uint64_t                       stale;     /* seq of what has expired */
    ngx_uint_t                     cursor;    /* the next bucket */
    ngx_uint_t                     seen;      /* the cursor at that time */
    ngx_uint_t                     left;      /* buckets to look at */
    ngx_uint_t                     nmarks;    /* ever made */
    ngx_http_academy_mark_t        marks[NGX_HTTP_ACADEMY_MARKS];

    /* of processes that have no slot: old ones that let nobody wait */
    ngx_queue_t                    lodgers;
    ngx_http_academy_message_t    *lodger;    /* to be looked at next */

    ngx_http_academy_surveyed_t    surveyed;

#if (NGX_HTTP_ACADEMY_FAULTS)
    char                           fault[32];
    ngx_uint_t                     nfault;
#endif

    ngx_uint_t                     nslots;
    ngx_http_academy_slot_t        slots[1];
} ngx_http_academy_zone_sh_t;


/* who waits here, by mailbox: lists in a table of a power of two */

#define NGX_HTTP_ACADEMY_PARKED    4096


/* what a zone has in one process; on the heap, where no cycle's end frees it */

typedef struct {
    ngx_http_academy_zone_t       *zone;

    /* NULL in a worker that exits, or when too many old ones have not yet */
    ngx_http_academy_slot_t       *slot;
    uint16_t                       nslot;
    ngx_queue_t                   *messages;  /* filled or leased here */

    ngx_connection_t              *bell;
    ngx_event_t                    wake;      /* this slot has news */
    ngx_event_t                    collect;   /* wind terminated ones up */
    ngx_event_t                    sweep;     /* look for dead processes */
    ngx_event_t                    expire;    /* the next step of it */

    ngx_slab_page_t               *touched;   /* and some that follow it */

    ngx_uint_t                     nring;
    uint16_t                      *ring;      /* slots to ring on unlock */

    ngx_pid_t                      dead;      /* after whom it was rebuilt */

    ngx_queue_t                    parked[NGX_HTTP_ACADEMY_PARKED];
} ngx_http_academy_worker_t;


typedef struct ngx_http_academy_zone_walk_s  ngx_http_academy_zone_walk_t;

struct ngx_http_academy_zone_s {
    ngx_http_academy_exchange_t    exchange;

    ngx_cycle_t                   *cycle;
    ngx_shm_zone_t                *shm_zone;
    ngx_slab_pool_t               *shpool;
    ngx_http_academy_zone_sh_t    *sh;
    ngx_http_academy_bells_t      *bells;
    ngx_http_academy_worker_t     *worker;
    ngx_http_academy_zone_walk_t  *walk;      /* that surveys; or NULL */
};


#define ngx_http_academy_zone_of(e)                                           \
    ngx_queue_data(e, ngx_http_academy_zone_t, exchange)

/* there is what waits to be freed */
#define ngx_http_academy_zone_littered(sh)  ((sh)->garbage || (sh)->rows)

/* memory for clients' things only, for what the exchange itself needs: all */
#define ngx_http_academy_zone_spare(zone, pages)                              \
    ((zone)->shpool->pfree >= (zone)->sh->reserve + (pages))


/*
 * Stores before come before stores behind.  A process that dies leaves all
 * that it stored until then, in the order of its program: it is enough to keep
 * the compiler from changing that.
 */
#define ngx_http_academy_zone_order()  __asm__ volatile ("" ::: "memory")

/* what a section is about to read comes from memory before it begins */

#define ngx_http_academy_zone_ahead(p)  __builtin_prefetch(p)


/*
 * A sign of life of a mailbox's agent.  Whether it was silent before is to be
 * known until somebody listens: it may send a heartbeat first.
 */

static ngx_inline void
ngx_http_academy_zone_sign(ngx_http_academy_mailbox_t *mailbox,
    ngx_msec_t timeout)
{
    if (timeout && mailbox->nkept
        && (ngx_msec_int_t) (ngx_current_msec - mailbox->heartbeat)
           >= (ngx_msec_int_t) timeout)
    {
        mailbox->silent = 1;
    }

    mailbox->heartbeat = ngx_current_msec;
    mailbox->beaten = 1;
}


/*
 * Seconds of a clock that only goes on, the same in all processes.  A cached
 * one: that of another process may be a little ahead.
 */
#define ngx_http_academy_zone_seconds()                                       \
    ((uint32_t) (ngx_current_msec / 1000))


/* at the end of a list, which a crash leaves whole from its head on */

static ngx_inline void
ngx_http_academy_zone_enlist(ngx_queue_t *list, ngx_queue_t *q)
{
    q->prev = list->prev;
    q->next = list;

    ngx_http_academy_zone_order();

    list->prev->next = q;

    ngx_http_academy_zone_order();

    list->prev = q;
}


/* out of the list of what a process fills or leases */

#define ngx_http_academy_zone_delist(zone, message)                           \
                                                                              \
    do {                                                                      \
        if ((zone)->sh->lodger == (message)) {                                \
            ngx_http_academy_zone_lodger_leave(zone);                         \
        }                                                                     \
                                                                              \
        ngx_queue_remove(&(message)->slot);                                   \
    } while (0)


/* where a build for tests may kill itself */

#if (NGX_HTTP_ACADEMY_FAULTS)

#define ngx_http_academy_fault(zone, name)                                    \
    ngx_http_academy_zone_fault(zone, name)

void ngx_http_academy_zone_fault(ngx_http_academy_zone_t *zone, char *name);

#else

#define ngx_http_academy_fault(zone, name)

#endif


/* where another such build looks at the clock */

#if (NGX_HTTP_ACADEMY_SECTIONS)

void ngx_http_academy_section_wait(void);
void ngx_http_academy_section_begin(void *address);
void ngx_http_academy_section_end(void *address);
void ngx_http_academy_section_note(void);

#else

#define ngx_http_academy_section_wait()
#define ngx_http_academy_section_begin(address)
#define ngx_http_academy_section_end(address)
#define ngx_http_academy_section_note()

#endif


/* ngx_http_academy_zone.c */

ngx_http_academy_zone_t *ngx_http_academy_zone_add(ngx_conf_t *cf,
    ngx_str_t *name, size_t size, void *tag);

void ngx_http_academy_zone_lock(ngx_http_academy_zone_t *zone);

/* rings whom a section that ends here has woken */
void ngx_http_academy_zone_unlock(ngx_http_academy_zone_t *zone);

/*
 * Outside of the lock: has this process know the next n pages that the pool
 * gives out, for the first touch of one takes longer than most sections.
 */
void ngx_http_academy_zone_touch_pages(ngx_http_academy_zone_t *zone,
    ngx_uint_t n);

#define ngx_http_academy_zone_touch(zone, n)                                  \
                                                                              \
    do {                                                                      \
        if ((zone)->worker->touched != (zone)->shpool->free.next) {           \
            ngx_http_academy_zone_touch_pages(zone, n);                       \
        }                                                                     \
    } while (0)

/* the same for what is never freed */
void ngx_http_academy_zone_touch_tables(ngx_http_academy_zone_t *zone);

uint64_t ngx_http_academy_zone_hash(ngx_http_academy_zone_t *zone, u_char *p,
    size_t len, uint64_t more);

/* the halves of a product of 128 bits, folded */

static ngx_inline uint64_t
ngx_http_academy_zone_fold(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    __uint128_t  m;

    m = (__uint128_t) a * b;

    return (uint64_t) m ^ (uint64_t) (m >> 64);

#else
    uint64_t  low, high, middle, cross;

    low = (a & 0xffffffff) * (b & 0xffffffff);
    high = (a >> 32) * (b >> 32);
    middle = (a >> 32) * (b & 0xffffffff) + (low >> 32);
    cross = (a & 0xffffffff) * (b >> 32) + (middle & 0xffffffff);

    return ((low & 0xffffffff) | (cross << 32))
           ^ (high + (middle >> 32) + (cross >> 32));
#endif
}


/* of 16 bytes the same as by _hash() */

static ngx_inline uint64_t
ngx_http_academy_zone_hash_uid(ngx_http_academy_zone_t *zone, u_char uid[16],
    uint64_t more)
{
    uint64_t  a, b;

    ngx_memcpy(&a, uid, 8);
    ngx_memcpy(&b, uid + 8, 8);

    a ^= zone->sh->key[0] ^ more ^ ((uint64_t) 16 << 32);

    return ngx_http_academy_zone_fold(a, b ^ zone->sh->key[1]);
}


static ngx_inline ngx_uint_t
ngx_http_academy_zone_owned(ngx_http_academy_mailbox_t *mailbox,
    ngx_http_academy_caller_t *caller)
{
    ngx_http_academy_client_t  *owner;

    owner = mailbox->owner;

    return owner->len == caller->id.len
           && (owner->len == 0
               || ngx_memcmp(owner->id, caller->id.data, owner->len) == 0);
}


/* ends a call that was not parked */
ngx_int_t ngx_http_academy_zone_done(ngx_http_academy_call_t *call,
    ngx_http_academy_result_e result);


/* ngx_http_academy_zone_mailbox.c; all within the lock but operations */

ngx_http_academy_mailbox_t *ngx_http_academy_zone_find(
    ngx_http_academy_zone_t *zone, ngx_http_academy_id_t *id);
ngx_uint_t ngx_http_academy_zone_permitted(ngx_http_academy_mailbox_t *mailbox,
    ngx_http_academy_caller_t *caller);

ngx_http_academy_result_e ngx_http_academy_zone_open(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call,
    ngx_http_academy_mailbox_t **mailbox);

ngx_int_t ngx_http_academy_zone_create(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_terminate(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_status(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_share(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_shares(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_unshare(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_heartbeat(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_beat(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_stats(ngx_http_academy_call_t *call);


/* ngx_http_academy_zone_client.c; within the lock */

/* the link to a client, or the link at the end of its bucket */
ngx_http_academy_client_t **ngx_http_academy_zone_client(
    ngx_http_academy_zone_t *zone, ngx_str_t *id);

/* a new one, which is to have a mailbox at once; or NULL without memory */
ngx_http_academy_client_t *ngx_http_academy_zone_client_add(
    ngx_http_academy_zone_t *zone, ngx_http_academy_client_t **link,
    ngx_str_t *id);

/* frees a client that has no mailboxes */
void ngx_http_academy_zone_client_trim(ngx_http_academy_zone_t *zone,
    ngx_http_academy_client_t *client);


/* ngx_http_academy_zone_message.c */

ngx_int_t ngx_http_academy_zone_put(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_piece(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_str_t *piece);
void ngx_http_academy_zone_written(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n, ngx_uint_t written);
void ngx_http_academy_zone_settle(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n);
void ngx_http_academy_zone_give_back(ngx_http_academy_exchange_t *exchange,
    ngx_http_academy_delivery_t *delivery, ngx_uint_t n);

/* the text of a notice; it stands until the next one is written */
void ngx_http_academy_zone_notice(ngx_http_academy_message_t *message,
    ngx_str_t *text);

/* within the lock */

void ngx_http_academy_zone_message_free(ngx_http_academy_zone_t *zone,
    ngx_http_academy_message_t *message);
void ngx_http_academy_zone_append(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_message_t *message);
void ngx_http_academy_zone_lease(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_http_academy_call_t *call);

/* puts a message where it was */
void ngx_http_academy_zone_return(ngx_http_academy_zone_t *zone,
    ngx_http_academy_message_t *message);

/*
 * Goes on with what terminated mailboxes and others left behind: at most
 * NGX_HTTP_ACADEMY_STEP items.  Returns NGX_AGAIN if there is more.
 */
ngx_int_t ngx_http_academy_zone_collect(ngx_http_academy_zone_t *zone);

/* where memory is short: frees some, and lets go of the lock for a moment */
void ngx_http_academy_zone_reclaim(ngx_http_academy_zone_t *zone);


size_t ngx_http_academy_zone_fit(size_t need);


void ngx_http_academy_zone_uncount(ngx_http_academy_message_t *message);

/* the oldest message of a mailbox, for this process */
ngx_http_academy_message_t *ngx_http_academy_zone_take(
    ngx_http_academy_zone_t *zone, ngx_http_academy_mailbox_t *mailbox);

/* forgets the request that a link leads to */
void ngx_http_academy_zone_pending_drop(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t **link);
ngx_http_academy_pending_t **ngx_http_academy_zone_pending_link(
    ngx_http_academy_zone_t *zone, ngx_http_academy_id_t *id, u_char *tag);


/* ngx_http_academy_zone_keep.c; within the lock */

/* what its receiver has: NGX_OK, or NGX_DECLINED if it is to be freed */
ngx_int_t ngx_http_academy_zone_keep(ngx_http_academy_zone_t *zone,
    ngx_http_academy_message_t *message);
void ngx_http_academy_zone_keep_end(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending);

/* a pending is about to leave a mailbox of which some are being put back */
void ngx_http_academy_zone_keep_leave(ngx_http_academy_zone_t *zone,
    ngx_http_academy_pending_t *pending);

/*
 * Puts back what is kept for an agent that was silent: some of it, perhaps
 * another mailbox's first.  NGX_OK if this one's is all back, or NGX_AGAIN.
 */
ngx_int_t ngx_http_academy_zone_revive(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);


/* ngx_http_academy_zone_repeat.c */

/* of who sends what to whom; outside of the lock */
void ngx_http_academy_zone_print(ngx_http_academy_zone_t *zone,
    ngx_http_academy_envelope_t *env, uint64_t print[2]);

/* within it: whether it is known and not older than so many milliseconds */
ngx_uint_t ngx_http_academy_zone_repeated(ngx_http_academy_zone_t *zone,
    uint64_t print[2], ngx_msec_t age);
void ngx_http_academy_zone_remember(ngx_http_academy_zone_t *zone,
    uint64_t print[2]);


/* ngx_http_academy_zone_class.c */

/* NGX_OK, or NGX_ERROR without memory, with nothing changed */
ngx_int_t ngx_http_academy_zone_join(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox, ngx_str_t *names, ngx_uint_t n);
void ngx_http_academy_zone_leave(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);
ngx_int_t ngx_http_academy_zone_discover(ngx_http_academy_call_t *call);


/* ngx_http_academy_zone_wait.c */

ngx_int_t ngx_http_academy_zone_get(ngx_http_academy_call_t *call);
void ngx_http_academy_zone_cancel(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_init_worker(
    ngx_http_academy_exchange_t *exchange, ngx_cycle_t *cycle);
void ngx_http_academy_zone_exit_worker(ngx_http_academy_exchange_t *exchange,
    ngx_cycle_t *cycle);

/* within the lock: there is a message for one caller, or an end for all */
void ngx_http_academy_zone_wake(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);
void ngx_http_academy_zone_wake_all(ngx_http_academy_zone_t *zone,
    ngx_http_academy_mailbox_t *mailbox);


void ngx_http_academy_zone_ready(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting);

/* the message that is to be looked at next leaves the lodgers' list */
void ngx_http_academy_zone_lodger_leave(ngx_http_academy_zone_t *zone);

ngx_uint_t ngx_http_academy_zone_alive(ngx_http_academy_zone_t *zone,
    ngx_http_academy_waiting_t *waiting);


/* ngx_http_academy_zone_expire.c */

/* once a second, in any process */
void ngx_http_academy_zone_expire(ngx_http_academy_zone_t *zone);
void ngx_http_academy_zone_expire_handler(ngx_event_t *ev);


/* ngx_http_academy_zone_survey.c, _list.c, _inspect.c */

ngx_int_t ngx_http_academy_zone_survey(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_list(ngx_http_academy_call_t *call);
ngx_int_t ngx_http_academy_zone_inspect(ngx_http_academy_call_t *call);
char *ngx_http_academy_zone_ailing(ngx_http_academy_exchange_t *exchange);

/* ngx_http_academy_zone_walk.c: of a call that is under way there */
void ngx_http_academy_zone_walk_cancel(ngx_http_academy_call_t *call);

#define NGX_HTTP_ACADEMY_WALKS   3           /* a state of such a call */


/* ngx_http_academy_zone_rebuild.c; within the lock */

void ngx_http_academy_zone_rebuild(ngx_http_academy_zone_t *zone);


/* ngx_http_academy_zone_slab.c; within the lock */

void ngx_http_academy_slab_begin(ngx_slab_pool_t *pool);
ngx_int_t ngx_http_academy_slab_mark(ngx_slab_pool_t *pool, void *data,
    size_t size);
void ngx_http_academy_slab_end(ngx_slab_pool_t *pool);
ngx_int_t ngx_http_academy_slab_try(ngx_slab_pool_t *pool, void *block,
    size_t size);


extern ngx_http_academy_store_t  ngx_http_academy_zone_store;


#endif /* _NGX_HTTP_ACADEMY_ZONE_H_INCLUDED_ */
