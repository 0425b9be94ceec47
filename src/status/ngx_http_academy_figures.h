
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_FIGURES_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_FIGURES_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * What an exchange counts, in shared memory of its own that no store's
 * rebuilding touches.
 *
 * Each worker has a slot and is the only one that writes there: an addition
 * to a word of its own cache lines, without a lock and without an atomic
 * instruction.  Whoever answers adds up all slots.
 *
 * What is counted belongs to the slot, not to the process: who takes the slot
 * of one that has gone goes on where that one stopped.  So nothing is lost by
 * the end of a worker, however it ends, and a sum that somebody reads is never
 * less than one that was read before, at a reload neither.  Only what says how
 * it is now, such as how many wait, begins at zero with each process, and
 * counts only as long as that process lives.
 *
 * A worker that is killed between what it does and the counting of it leaves
 * one thing uncounted.
 *
 * Stores count what they alone know: what was accepted, dropped as a
 * duplicate, expired.  The rest is counted where requests are answered, in the
 * same way for all stores.
 *
 * Latency is the time from a message's acceptance until all of it is written
 * to its receiver's connection.  When the receiver acknowledges it is known
 * only at the next look at that connection, up to a second later, and would
 * tell more of those looks than of the exchange.  A message that is written
 * twice counts twice.  Where a store does not know when it was accepted it does
 * not count.
 *
 * Histograms have a bucket for each power of two: the bucket of a value is one
 * instruction away.  Times are in milliseconds, nginx's own clock, but those of
 * Redis, which are in microseconds.
 */


/* counters; ngx_http_academy_status_counters names them in this order */

typedef enum {
    NGX_HTTP_ACADEMY_N_ACCEPTED = 0,
    NGX_HTTP_ACADEMY_N_NOTICES,
    NGX_HTTP_ACADEMY_N_SENT,
    NGX_HTTP_ACADEMY_N_DELIVERED,
    NGX_HTTP_ACADEMY_N_REDELIVERED,
    NGX_HTTP_ACADEMY_N_RETURNED,
    NGX_HTTP_ACADEMY_N_DUPLICATES,
    NGX_HTTP_ACADEMY_N_EXPIRED,
    NGX_HTTP_ACADEMY_N_DROPPED,
    NGX_HTTP_ACADEMY_N_ANSWERED,
    NGX_HTTP_ACADEMY_N_REQUESTS_EXPIRED,
    NGX_HTTP_ACADEMY_N_CREATED,
    NGX_HTTP_ACADEMY_N_TERMINATED,
    NGX_HTTP_ACADEMY_N_MAILBOXES_EXPIRED,

    NGX_HTTP_ACADEMY_N_REFUSED_MESSAGES,
    NGX_HTTP_ACADEMY_N_REFUSED_BYTES,
    NGX_HTTP_ACADEMY_N_REFUSED_MAILBOXES,
    NGX_HTTP_ACADEMY_N_REFUSED_SHARES,
    NGX_HTTP_ACADEMY_N_REFUSED_MEMORY,
    NGX_HTTP_ACADEMY_N_REFUSED_PERMISSION,
    NGX_HTTP_ACADEMY_N_REFUSED_AUTH,
    NGX_HTTP_ACADEMY_N_REFUSED_PROVIDER,
    NGX_HTTP_ACADEMY_N_REFUSED_INVALID,
    NGX_HTTP_ACADEMY_N_REFUSED_SIZE,
    NGX_HTTP_ACADEMY_N_REFUSED_MISSING,
    NGX_HTTP_ACADEMY_N_REFUSED_CLOSED,
    NGX_HTTP_ACADEMY_N_REFUSED_OWING,
    NGX_HTTP_ACADEMY_N_REFUSED_STORE,

    /* one for each operation of a store, in its order */

    NGX_HTTP_ACADEMY_N_ROUTES,
    NGX_HTTP_ACADEMY_N_LISTEN = NGX_HTTP_ACADEMY_N_ROUTES + 12,

    NGX_HTTP_ACADEMY_N_POLLS_DELIVERED,
    NGX_HTTP_ACADEMY_N_POLLS_TIMEOUT,
    NGX_HTTP_ACADEMY_N_POLLS_CLOSED,
    NGX_HTTP_ACADEMY_N_POLLS_GONE,

    NGX_HTTP_ACADEMY_N_LOCK_WAITS,
    NGX_HTTP_ACADEMY_N_LOCK_WAIT_NS,

    NGX_HTTP_ACADEMY_N_AUTH_HITS,
    NGX_HTTP_ACADEMY_N_AUTH_MISSES,
    NGX_HTTP_ACADEMY_N_AUTH_UPSTREAM,

    NGX_HTTP_ACADEMY_N_REDIS_TRIPS,
    NGX_HTTP_ACADEMY_N_REDIS_CONNECTS,

    NGX_HTTP_ACADEMY_N_STATUS,
    NGX_HTTP_ACADEMY_N_STATUS_REFUSED,

    NGX_HTTP_ACADEMY_COUNTERS
} ngx_http_academy_counter_e;


typedef enum {
    NGX_HTTP_ACADEMY_H_LATENCY = 0,
    NGX_HTTP_ACADEMY_H_WAIT,
    NGX_HTTP_ACADEMY_H_SIZE,
    NGX_HTTP_ACADEMY_H_REDIS,
    NGX_HTTP_ACADEMY_HISTOGRAMS
} ngx_http_academy_histogram_e;


/* up to 1, 2, 4, ... 2^18 of a unit, and all above */

#define NGX_HTTP_ACADEMY_BUCKETS     20

/* the unit: a millisecond, a microsecond of Redis, or 2^8 bytes */

#define NGX_HTTP_ACADEMY_SIZE_SHIFT  8


typedef struct {
    uint64_t                           sum;
    uint64_t                           buckets[NGX_HTTP_ACADEMY_BUCKETS];
} ngx_http_academy_histogram_t;


typedef struct {
    uint64_t                           counters[NGX_HTTP_ACADEMY_COUNTERS];
    ngx_http_academy_histogram_t
                                histograms[NGX_HTTP_ACADEMY_HISTOGRAMS];
} ngx_http_academy_sums_t;


/* of a process at a time; two of them share no cache line */

typedef struct {
    ngx_atomic_t                       pid;       /* 0: free */
    time_t                             started;
    ngx_uint_t                         exiting;
    uint64_t                           polls;     /* that wait now */
    uint64_t                           streams;   /* that are open now */
    uint64_t                           commands;  /* to Redis, under way now */
    ngx_uint_t                         linked;    /* to Redis */
    ngx_http_academy_sums_t            sums;
    u_char                             apart[64];
} ngx_http_academy_tally_t;


/* what the last hour looked like: a sample every ten seconds */

#define NGX_HTTP_ACADEMY_SAMPLES      361
#define NGX_HTTP_ACADEMY_SAMPLE_TIME  10

typedef struct {
    time_t                             time;
    ngx_msec_t                         taken;     /* by ngx_current_msec */
    uint64_t                           accepted;
    uint64_t                           delivered;
    uint64_t                           redelivered;
    uint64_t                           refused;
    uint64_t                           latency[NGX_HTTP_ACADEMY_BUCKETS];
    uint64_t                           queued;
    uint64_t                           bytes;
    uint64_t                           waiting;
    uint64_t                           mailboxes;
    uint64_t                           free;
} ngx_http_academy_sample_t;


typedef struct {
    time_t                             started;
    ngx_uint_t                         size;      /* of a tally */
    time_t                             sampling;  /* when it began last */
    ngx_uint_t                         nsamples;  /* ever taken */
    ngx_http_academy_sample_t          samples[NGX_HTTP_ACADEMY_SAMPLES];

    ngx_uint_t                         n;         /* tallies ever used */
    ngx_http_academy_tally_t           tallies[NGX_MAX_PROCESSES];
} ngx_http_academy_figures_sh_t;


/* an exchange's, in one cycle of a process */

typedef struct ngx_http_academy_figures_s  ngx_http_academy_figures_t;

struct ngx_http_academy_figures_s {
    ngx_http_academy_tally_t          *mine;      /* never NULL */
    ngx_http_academy_figures_sh_t     *sh;
    ngx_shm_zone_t                    *shm_zone;
    ngx_slab_pool_t                   *shpool;
    ngx_uint_t                         watched;   /* some location shows it */
    ngx_http_academy_tally_t           nobody;    /* of who is no worker */
};


#define ngx_http_academy_count(exchange, counter)                             \
    ngx_http_academy_count_n(exchange, counter, 1)

#define ngx_http_academy_count_n(exchange, counter, n)                        \
    (exchange)->figures->mine->sums.counters[counter] += (n)


static ngx_inline void
ngx_http_academy_observe(ngx_http_academy_figures_t *figures,
    ngx_http_academy_histogram_e histogram, uint64_t value, ngx_uint_t shift)
{
    uint64_t                       rest;
    ngx_uint_t                     i;
    ngx_http_academy_histogram_t  *h;

    h = &figures->mine->sums.histograms[histogram];
    h->sum += value;

    /* the bucket of what is at most 2^i units */

    rest = value ? (value - 1) >> shift : 0;
    i = rest ? 64 - __builtin_clzll(rest) : 0;

    h->buckets[ngx_min(i, NGX_HTTP_ACADEMY_BUCKETS - 1)]++;
}


#define ngx_http_academy_observe_size(exchange, size)                         \
    ngx_http_academy_observe((exchange)->figures, NGX_HTTP_ACADEMY_H_SIZE,    \
                             size, NGX_HTTP_ACADEMY_SIZE_SHIFT)

/* since some value of ngx_current_msec */

#define ngx_http_academy_observe_time(exchange, histogram, since)             \
    ngx_http_academy_observe((exchange)->figures, histogram,                  \
                             ngx_max((ngx_msec_int_t)                         \
                                     (ngx_current_msec - (since)), 0), 0)


/* for an exchange of that name; NULL is logged */
ngx_http_academy_figures_t *ngx_http_academy_figures_add(ngx_conf_t *cf,
    ngx_str_t *name, void *tag);

/* a worker begins and ends */
void ngx_http_academy_figures_claim(ngx_http_academy_figures_t *figures);
void ngx_http_academy_figures_release(ngx_http_academy_figures_t *figures);

void ngx_http_academy_figures_sum(ngx_http_academy_figures_t *figures,
    ngx_http_academy_sums_t *sums);

/* the next living worker from the n-th tally on, and its number; or NULL */
ngx_http_academy_tally_t *ngx_http_academy_figures_worker(
    ngx_http_academy_figures_t *figures, ngx_uint_t *n);

/* that of a histogram's values up to which a part of them is; or -1 */
double ngx_http_academy_figures_quantile(uint64_t *buckets, double part);


#endif /* _NGX_HTTP_ACADEMY_FIGURES_H_INCLUDED_ */
