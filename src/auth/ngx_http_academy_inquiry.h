
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_INQUIRY_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_INQUIRY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_auth.h"


/*
 * A request to a provider: a subrequest to a location of the user's, whose
 * answer is kept in memory.  It has a header of its own: nothing of the
 * caller's gets there.
 */


typedef struct ngx_http_academy_inquiry_s  ngx_http_academy_inquiry_t;

typedef void (*ngx_http_academy_inquiry_pt)(
    ngx_http_academy_inquiry_t *inquiry);

struct ngx_http_academy_inquiry_s {
    ngx_http_request_t            *request;
    ngx_str_t                      uri;
    ngx_str_t                      form;       /* a POST's; empty: a GET */
    ngx_str_t                      token;      /* to show, or empty */
    size_t                         size;       /* of an answer, at most */

    /* NULL: when it is done the phases of the request run on */
    ngx_http_academy_inquiry_pt    handler;
    void                          *data;
    unsigned                       background:1;

    ngx_http_request_t            *sr;
    ngx_buf_t                     *answer;
    ngx_uint_t                     status;     /* 0: there was none */
    unsigned                       done:1;
    unsigned                       whole:1;
};


/* NGX_OK: it is under way; or NGX_ERROR */
ngx_int_t ngx_http_academy_inquire(ngx_http_academy_inquiry_t *inquiry);

/*
 * The whole answer to an inquiry that is done; stands until it is freed.
 * NGX_DECLINED, which is logged: it is not a whole one with the status 200.
 */
ngx_int_t ngx_http_academy_inquiry_text(ngx_http_academy_inquiry_t *inquiry,
    ngx_str_t *text);

/* the same as JSON, of which the caller has a reference; or NULL */
json_t *ngx_http_academy_inquiry_json(ngx_http_academy_inquiry_t *inquiry);

/* of an answer that says what it should not; not more than once a second */
void ngx_http_academy_inquiry_complain(ngx_http_academy_inquiry_t *inquiry,
    char *reason);

/* frees the answer */
void ngx_http_academy_inquiry_free(ngx_http_academy_inquiry_t *inquiry);

/* adds name=value to a form that has room for three times the value */
u_char *ngx_http_academy_form_add(u_char *p, char *name, ngx_str_t *value);


#endif /* _NGX_HTTP_ACADEMY_INQUIRY_H_INCLUDED_ */
