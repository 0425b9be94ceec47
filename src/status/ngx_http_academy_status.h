
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_STATUS_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_STATUS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"


/*
 * A location that shows an exchange.
 *
 * Its figures come from three places.  Counters and histograms are the
 * workers' own (ngx_http_academy_figures.h).  What there is just now the store
 * looks up when somebody asks, at most once a second for all of them
 * (ngx_http_academy_survey.h): nothing is kept up to date for who does not
 * look.  The last hour is a ring of samples that some worker adds to every ten
 * seconds, as long as a location shows the exchange.
 *
 *     ?format=json|prometheus|openmetrics|health|html     the whole picture
 *     ?view=mailboxes      a page of a table, searched and in order
 *     ?view=mailbox&id=    one of them, and its messages' headers
 *     ?view=history        the last hour
 *     ?view=events         the whole picture every second, as an event stream
 *     POST ?view=mailbox&id=&action=terminate
 *
 * Who is calling is found out as for the exchange itself.  Whoever may open
 * the location sees the sums; of mailboxes a caller sees what that caller may
 * use, and an admin all.
 */


/* the version of the module */

#define NGX_HTTP_ACADEMY_VERSION  "1.0.0"


/* what is printed, in pieces; a print has less than so many bytes */

#define NGX_HTTP_ACADEMY_PRINT    1024

typedef struct {
    ngx_pool_t                    *pool;
    ngx_chain_t                   *first;
    ngx_chain_t                  **last;
    ngx_buf_t                     *buf;
    size_t                         total;
    ngx_uint_t                     failed;
} ngx_http_academy_text_t;


typedef struct {
    char                          *group;      /* an object in JSON */
    char                          *name;       /* a member of it */
    char                          *metric;     /* of Prometheus */
    char                          *label;      /* its name; or NULL */
    char                          *help;       /* of a metric's first one */
} ngx_http_academy_status_counter_t;


/* of a histogram */

typedef enum {
    NGX_HTTP_ACADEMY_MILLISECONDS = 0,
    NGX_HTTP_ACADEMY_MICROSECONDS,
    NGX_HTTP_ACADEMY_BYTES
} ngx_http_academy_unit_e;


typedef struct ngx_http_academy_status_s  ngx_http_academy_status_t;

struct ngx_http_academy_status_s {
    ngx_http_request_t            *request;
    ngx_http_academy_exchange_t   *exchange;

    /* what answers once the store has told */
    ngx_int_t                    (*answer)(ngx_http_academy_status_t *status);

    ngx_http_academy_survey_t      survey;
    ngx_http_academy_listing_t     listing;
    ngx_http_academy_inspection_t  inspection;

    /* of an event stream */
    ngx_event_t                    event;
    ngx_pool_t                    *pool;       /* of what is being sent */
    ngx_buf_t                      flush;      /* behind it */
    ngx_msec_t                     interval;
    ngx_msec_t                     next;       /* picture; when */
    ngx_msec_t                     deadline;
    ngx_uint_t                     stalled;    /* pictures */

    unsigned                       admin:1;
    unsigned                       write:1;
    unsigned                       openmetrics:1;
    unsigned                       pending:1;  /* the call is the store's */
    unsigned                       calling:1;  /* within the operation */
    unsigned                       surveys:1;  /* the whole is asked for */
};


extern ngx_http_academy_status_counter_t  ngx_http_academy_status_counters[];


/* ngx_http_academy_status.c */

/* starts an operation; status->answer() answers, now or later */
ngx_int_t ngx_http_academy_status_call(ngx_http_academy_status_t *status,
    ngx_http_academy_op_pt op);

ngx_int_t ngx_http_academy_status_send(ngx_http_academy_status_t *status,
    ngx_uint_t code, char *type, ngx_http_academy_text_t *text);

/* a refusal, in a few words */
ngx_int_t ngx_http_academy_status_refuse(ngx_http_request_t *r,
    ngx_uint_t code, char *text);

/* an argument of the request, unescaped: NGX_OK, NGX_DECLINED or NGX_ERROR */
ngx_int_t ngx_http_academy_status_arg(ngx_http_request_t *r, char *name,
    ngx_str_t *value);
ngx_uint_t ngx_http_academy_status_is(ngx_str_t *value, char *name);


/* ngx_http_academy_status_text.c */

void ngx_http_academy_text_begin(ngx_http_academy_text_t *text,
    ngx_pool_t *pool);
void ngx_http_academy_print(ngx_http_academy_text_t *text, char *format, ...);

/* as a JSON text, in quotes */
void ngx_http_academy_print_string(ngx_http_academy_text_t *text, u_char *data,
    size_t len);

/* a JSON text that is right as it is, for the same */
void ngx_http_academy_print_json(ngx_http_academy_text_t *text, u_char *data,
    size_t len);

/* milliseconds as seconds; a negative time is null */
void ngx_http_academy_print_time(ngx_http_academy_text_t *text,
    ngx_msec_int_t ms);


/* a number, or null for one that is not known; and of two the sum */
void ngx_http_academy_print_number(ngx_http_academy_text_t *text, uint64_t n);
void ngx_http_academy_print_sum(ngx_http_academy_text_t *text, uint64_t one,
    uint64_t two);

/* a value of a histogram: seconds, or bytes */
void ngx_http_academy_print_unit(ngx_http_academy_text_t *text, uint64_t value,
    ngx_http_academy_unit_e unit);


/* ngx_http_academy_status_json.c */

void ngx_http_academy_status_json(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text);
ngx_int_t ngx_http_academy_status_history(ngx_http_academy_status_t *status);


/* ngx_http_academy_status_metrics.c */

void ngx_http_academy_status_metrics(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text);


/* ngx_http_academy_status_table.c */

ngx_int_t ngx_http_academy_status_mailboxes(ngx_http_academy_status_t *status);
void ngx_http_academy_status_print_row(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text, ngx_http_academy_listed_t *row);


/* ngx_http_academy_status_mailbox.c */

ngx_int_t ngx_http_academy_status_mailbox(ngx_http_academy_status_t *status);


/* ngx_http_academy_status_site.c */

ngx_uint_t ngx_http_academy_status_own_site(ngx_http_request_t *r);


/* ngx_http_academy_status_events.c */

ngx_int_t ngx_http_academy_status_events(ngx_http_academy_status_t *status);


/* ngx_http_academy_status_page.c */

ngx_int_t ngx_http_academy_status_page(ngx_http_academy_status_t *status);


/* ngx_http_academy_status_sample.c */

void ngx_http_academy_status_init_worker(ngx_cycle_t *cycle);


#endif /* _NGX_HTTP_ACADEMY_STATUS_H_INCLUDED_ */
