
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_inquiry.h"


static ngx_int_t ngx_http_academy_inquiry_headers(
    ngx_http_academy_inquiry_t *inquiry, ngx_http_request_t *sr);
static ngx_int_t ngx_http_academy_inquiry_form(
    ngx_http_academy_inquiry_t *inquiry, ngx_http_request_t *sr);
static ngx_table_elt_t *ngx_http_academy_inquiry_header(
    ngx_http_request_t *sr, char *name, ngx_str_t *value);
static ngx_int_t ngx_http_academy_inquiry_room(
    ngx_http_academy_inquiry_t *inquiry, ngx_http_request_t *sr);
static ngx_int_t ngx_http_academy_inquiry_done(ngx_http_request_t *sr,
    void *data, ngx_int_t rc);
static void ngx_http_academy_inquiry_forgive(ngx_http_request_t *sr);


static ngx_str_t  ngx_http_academy_post = ngx_string("POST");
static ngx_str_t  ngx_http_academy_json = ngx_string("application/json");
static ngx_str_t  ngx_http_academy_form =
    ngx_string("application/x-www-form-urlencoded");


ngx_int_t
ngx_http_academy_inquire(ngx_http_academy_inquiry_t *inquiry)
{
    ngx_uint_t                   flags;
    ngx_http_request_t          *r, *sr;
    ngx_http_post_subrequest_t  *ps;

    r = inquiry->request;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "academy inquiry \"%V\"", &inquiry->uri);

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    if (ps == NULL) {
        return NGX_ERROR;
    }

    ps->handler = ngx_http_academy_inquiry_done;
    ps->data = inquiry;

    flags = NGX_HTTP_SUBREQUEST_IN_MEMORY
            | (inquiry->background ? NGX_HTTP_SUBREQUEST_BACKGROUND
                                   : NGX_HTTP_SUBREQUEST_WAITED);

    if (ngx_http_subrequest(r, &inquiry->uri, NULL, &sr, ps, flags) != NGX_OK) {
        return NGX_ERROR;
    }

    /* from here on the inquiry ends with its handler */

    inquiry->sr = sr;

    ngx_http_academy_tell(r, NGX_HTTP_ACADEMY_N_AUTH_UPSTREAM);

    sr->unparsed_uri = sr->uri;

    /* nginx takes that from a response that it cannot finish */

    sr->keepalive = 1;

    if (ngx_http_academy_inquiry_headers(inquiry, sr) != NGX_OK
        || ngx_http_academy_inquiry_form(inquiry, sr) != NGX_OK
        || ngx_http_academy_inquiry_room(inquiry, sr) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* instead of the caller's, whatever is in there */

static ngx_int_t
ngx_http_academy_inquiry_headers(ngx_http_academy_inquiry_t *inquiry,
    ngx_http_request_t *sr)
{
    u_char     *p;
    ngx_str_t   value;

    ngx_memzero(&sr->headers_in, sizeof(ngx_http_headers_in_t));

    sr->headers_in.content_length_n = -1;
    sr->headers_in.keep_alive_n = -1;

    if (ngx_list_init(&sr->headers_in.headers, sr->pool, 4,
                      sizeof(ngx_table_elt_t))
        != NGX_OK
        || ngx_http_academy_inquiry_header(sr, "Accept",
                                           &ngx_http_academy_json)
           == NULL)
    {
        return NGX_ERROR;
    }

    if (inquiry->token.len == 0) {
        return NGX_OK;
    }

    value.len = sizeof("Bearer ") - 1 + inquiry->token.len;
    value.data = ngx_pnalloc(sr->pool, value.len + 1);

    if (value.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(value.data, "Bearer ", sizeof("Bearer ") - 1);
    p = ngx_cpymem(p, inquiry->token.data, inquiry->token.len);
    *p = '\0';

    sr->headers_in.authorization = ngx_http_academy_inquiry_header(sr,
                                                   "Authorization", &value);

    return sr->headers_in.authorization ? NGX_OK : NGX_ERROR;
}


/*
 * A body of its own is there in any case: the caller's is not to be read, nor
 * is its file to be closed
 */

static ngx_int_t
ngx_http_academy_inquiry_form(ngx_http_academy_inquiry_t *inquiry,
    ngx_http_request_t *sr)
{
    ngx_buf_t                *b;
    ngx_str_t                 length;
    ngx_chain_t              *cl;
    ngx_http_request_body_t  *rb;

    rb = ngx_pcalloc(sr->pool, sizeof(ngx_http_request_body_t));
    if (rb == NULL) {
        return NGX_ERROR;
    }

    sr->request_body = rb;

    if (inquiry->form.len == 0) {
        return NGX_OK;
    }

    b = ngx_calloc_buf(sr->pool);
    cl = ngx_alloc_chain_link(sr->pool);
    length.data = ngx_pnalloc(sr->pool, NGX_SIZE_T_LEN + 1);

    if (b == NULL || cl == NULL || length.data == NULL) {
        return NGX_ERROR;
    }

    b->start = inquiry->form.data;
    b->pos = b->start;
    b->end = b->start + inquiry->form.len;
    b->last = b->end;
    b->memory = 1;
    b->last_buf = 1;

    cl->buf = b;
    cl->next = NULL;

    rb->bufs = cl;
    rb->buf = b;

    sr->method = NGX_HTTP_POST;
    sr->method_name = ngx_http_academy_post;

    length.len = ngx_sprintf(length.data, "%uz%Z", inquiry->form.len)
                 - length.data - 1;

    sr->headers_in.content_length_n = inquiry->form.len;
    sr->headers_in.content_length = ngx_http_academy_inquiry_header(sr,
                                                 "Content-Length", &length);
    sr->headers_in.content_type = ngx_http_academy_inquiry_header(sr,
                                     "Content-Type", &ngx_http_academy_form);

    if (sr->headers_in.content_length == NULL
        || sr->headers_in.content_type == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_table_elt_t *
ngx_http_academy_inquiry_header(ngx_http_request_t *sr, char *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&sr->headers_in.headers);
    if (h == NULL) {
        return NULL;
    }

    h->key.len = ngx_strlen(name);
    h->key.data = (u_char *) name;
    h->value = *value;

    h->lowcase_key = ngx_pnalloc(sr->pool, h->key.len);
    if (h->lowcase_key == NULL) {
        return NULL;
    }

    h->hash = ngx_hash_strlow(h->lowcase_key, h->key.data, h->key.len);

#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return h;
}


/*
 * The buffer that nginx would make itself, but as large as it takes: a user
 * need not know of subrequest_output_buffer_size
 */

static ngx_int_t
ngx_http_academy_inquiry_room(ngx_http_academy_inquiry_t *inquiry,
    ngx_http_request_t *sr)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    b = ngx_create_temp_buf(sr->pool, inquiry->size);
    cl = ngx_alloc_chain_link(sr->pool);

    if (b == NULL || cl == NULL) {
        return NGX_ERROR;
    }

    b->last_buf = 1;

    cl->buf = b;
    cl->next = NULL;

    sr->out = cl;
    inquiry->answer = b;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_inquiry_done(ngx_http_request_t *sr, void *data, ngx_int_t rc)
{
    ngx_http_academy_inquiry_t  *inquiry = data;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, sr->connection->log, 0,
                   "academy inquiry done: %i, status:%ui", rc,
                   sr->headers_out.status);

    if (rc == NGX_ERROR) {
        ngx_http_academy_inquiry_forgive(sr);
    }

    /* nginx may finalize a subrequest again that it has ended */

    if (inquiry->done) {
        return NGX_OK;
    }

    switch (rc) {

    case NGX_ERROR:

    case NGX_HTTP_CLOSE:
    case NGX_HTTP_REQUEST_TIME_OUT:
    case NGX_HTTP_CLIENT_CLOSED_REQUEST:

        /* the end of this one is not that of the caller's request */

        inquiry->status = 0;
        break;

    default:

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE || rc == NGX_HTTP_CREATED
            || rc == NGX_HTTP_NO_CONTENT)
        {
            /* nginx makes a page of it, or goes elsewhere, and comes back */

            return rc;
        }

        inquiry->status = sr->headers_out.status;
        inquiry->whole = sr->keepalive;
    }

    inquiry->done = 1;

    if (inquiry->handler) {
        inquiry->handler(inquiry);
    }

    return NGX_OK;
}


/*
 * When an answer does not fit into its buffer, nginx takes the caller's
 * connection for the one that failed.  But an answer that is kept in memory
 * never gets there.
 */

static void
ngx_http_academy_inquiry_forgive(ngx_http_request_t *sr)
{
    ngx_connection_t  *c;

    c = sr->connection;

#if (NGX_HTTP_V2)
    if (sr->stream && sr->stream->out_closed) {
        return;
    }
#endif

    if (!c->read->error && !c->read->eof && !c->write->error && !c->timedout) {
        c->error = 0;
    }
}


ngx_int_t
ngx_http_academy_inquiry_text(ngx_http_academy_inquiry_t *inquiry,
    ngx_str_t *text)
{
    ngx_buf_t           *b;
    ngx_http_request_t  *sr;

    sr = inquiry->sr;
    b = inquiry->answer;

    if (inquiry->status != NGX_HTTP_OK || b == NULL) {
        ngx_http_academy_inquiry_complain(inquiry, "not 200");
        return NGX_DECLINED;
    }

    text->data = b->pos;
    text->len = b->last - b->pos;

    if (!inquiry->whole
        || (sr->headers_out.content_length_n != -1
            && sr->headers_out.content_length_n != (off_t) text->len))
    {
        ngx_http_academy_inquiry_complain(inquiry, "not whole");
        return NGX_DECLINED;
    }

    return NGX_OK;
}


json_t *
ngx_http_academy_inquiry_json(ngx_http_academy_inquiry_t *inquiry)
{
    json_t     *json;
    ngx_str_t   text;

    if (ngx_http_academy_inquiry_text(inquiry, &text) != NGX_OK) {
        return NULL;
    }

    (void) ngx_http_academy_auth_json(&text, JSON_REJECT_DUPLICATES, &json);

    if (json == NULL) {
        ngx_http_academy_inquiry_complain(inquiry, "not JSON, or not whole");
    }

    return json;
}


void
ngx_http_academy_inquiry_complain(ngx_http_academy_inquiry_t *inquiry,
    char *reason)
{
    static time_t  last;

    if (last == ngx_time()) {
        return;
    }

    last = ngx_time();

    ngx_log_error(NGX_LOG_ERR, inquiry->request->connection->log, 0,
                  "the answer of \"%V\", with the status %ui, is %s",
                  &inquiry->uri, inquiry->status, reason);
}


void
ngx_http_academy_inquiry_free(ngx_http_academy_inquiry_t *inquiry)
{
    if (inquiry->answer) {
        inquiry->sr->out = NULL;
        (void) ngx_pfree(inquiry->request->pool, inquiry->answer->start);
        inquiry->answer = NULL;
    }
}


u_char *
ngx_http_academy_form_add(u_char *p, char *name, ngx_str_t *value)
{
    p = ngx_cpymem(p, name, ngx_strlen(name));
    *p++ = '=';

    return (u_char *) ngx_escape_uri(p, value->data, value->len,
                                     NGX_ESCAPE_URI_COMPONENT);
}
