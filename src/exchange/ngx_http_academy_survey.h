
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_SURVEY_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_SURVEY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_id.h"


/*
 * What a store tells of itself: as a whole, of its mailboxes a page at a time,
 * and of one of them.  Each is filled in by an operation, belongs to who calls,
 * and is complete when the call is done.
 */


/* a figure that a store does not have */

#define NGX_HTTP_ACADEMY_UNKNOWN  ((uint64_t) -1)


/* of a survey, which may be some seconds old; times in milliseconds */

typedef struct {
    uint64_t                    active[2];     /* mailboxes, by role */
    uint64_t                    terminated[2];
    uint64_t                    queued;        /* messages */
    uint64_t                    bytes;         /* of these and of leased ones */
    uint64_t                    leased;        /* written, not acknowledged */
    uint64_t                    pending;       /* requests without an answer */
    uint64_t                    kept;          /* of these, for redelivery */
    uint64_t                    waiting;       /* mailboxes with a waiter */

    ngx_msec_t                  oldest;        /* accepted, as a clock's time */
    ngx_http_academy_id_t       oldest_id;     /* if any is queued */

    /* of a zone; bytes */

    uint64_t                    size;
    uint64_t                    free;
    uint64_t                    reserve;
    uint64_t                    largest;       /* free in one run */
} ngx_http_academy_survey_t;


/* bytes of a row's texts; what is longer is cut */

#define NGX_HTTP_ACADEMY_ROW_TEXT  256

typedef struct {
    u_char                      len;
    u_char                      data[NGX_HTTP_ACADEMY_ROW_TEXT - 1];
} ngx_http_academy_row_text_t;


/* by which a listing is in order: a number, then a text, then the id */

typedef struct {
    uint64_t                    number;
    u_char                      text[48];
    u_char                      id[17];
} ngx_http_academy_row_key_t;


typedef struct {
    ngx_http_academy_row_key_t  key;
    ngx_http_academy_id_t       id;
    ngx_http_academy_row_text_t  name;         /* a JSON text, or empty */
    ngx_http_academy_row_text_t  class;        /* the most derived */
    ngx_http_academy_row_text_t  owner;
    uint64_t                    queued;
    uint64_t                    leased;
    uint64_t                    bytes;
    uint64_t                    pending;
    uint64_t                    kept;
    uint64_t                    completed;
    uint64_t                    outgoing;
    uint64_t                    waiters;
    uint64_t                    shares;
    ngx_msec_int_t              heartbeat;     /* since, or -1 */
    ngx_msec_int_t              oldest;        /* age, or -1 */
    unsigned                    terminated:1;
    unsigned                    owned:1;       /* by who asks */
} ngx_http_academy_listed_t;


typedef enum {
    NGX_HTTP_ACADEMY_BY_ID = 0,
    NGX_HTTP_ACADEMY_BY_NAME,
    NGX_HTTP_ACADEMY_BY_CLASS,
    NGX_HTTP_ACADEMY_BY_QUEUED,
    NGX_HTTP_ACADEMY_BY_OLDEST,
    NGX_HTTP_ACADEMY_BY_HEARTBEAT,
    NGX_HTTP_ACADEMY_BY_PROGRESS,
    NGX_HTTP_ACADEMY_BY_COMPLETED
} ngx_http_academy_order_e;


#define NGX_HTTP_ACADEMY_MAX_LISTED  200


typedef struct {

    /* what is asked for */

    ngx_str_t                   search;        /* lower case; or empty */
    ngx_http_academy_order_e    order;
    ngx_http_academy_row_key_t  after;         /* if paged */
    ngx_uint_t                  limit;
    unsigned                    reverse:1;
    unsigned                    paged:1;
    unsigned                    active:1;      /* which states */
    unsigned                    terminated:1;
    unsigned                    agents:1;      /* which roles */
    unsigned                    users:1;

    /* what there is */

    ngx_uint_t                  total;         /* on all pages */
    ngx_uint_t                  n;
    ngx_http_academy_listed_t **rows;
    void                       *room;          /* for all, of the call's pool */
} ngx_http_academy_listing_t;


/* messages of an inspection, and of each the text that its header is in */

#define NGX_HTTP_ACADEMY_MAX_INSPECTED  100
#define NGX_HTTP_ACADEMY_INSPECTED      2048


typedef struct {
    uint64_t                    seq;
    uint64_t                    size;
    ngx_msec_int_t              age;
    uint64_t                    leases;        /* how often it was taken */
    size_t                      len;
    unsigned                    notice:1;      /* the exchange's own */
    u_char                      text[NGX_HTTP_ACADEMY_INSPECTED];
} ngx_http_academy_inspected_t;


typedef struct {
    ngx_http_academy_listed_t   row;
    ngx_uint_t                  limit;
    ngx_uint_t                  n;
    ngx_http_academy_inspected_t  *messages;   /* limit of them */
} ngx_http_academy_inspection_t;


/* nothing is known yet */
void ngx_http_academy_survey_unknown(ngx_http_academy_survey_t *survey);

/* room for them: NGX_OK, or NGX_ERROR without memory */
ngx_int_t ngx_http_academy_listing_rows(ngx_http_academy_listing_t *listing,
    ngx_pool_t *pool);

/* the row for a mailbox with that key; NULL: it is not on this page */
ngx_http_academy_listed_t *ngx_http_academy_listing_place(
    ngx_http_academy_listing_t *listing, ngx_http_academy_row_key_t *key);

void ngx_http_academy_row_key_text(ngx_http_academy_row_key_t *key,
    u_char *data, size_t len);
void ngx_http_academy_row_text(ngx_http_academy_row_text_t *text, u_char *data,
    size_t len);


#endif /* _NGX_HTTP_ACADEMY_SURVEY_H_INCLUDED_ */
