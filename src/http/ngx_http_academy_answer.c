
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <jansson.h>
#include "ngx_http_academy_http.h"


/*
 * Answers, built by hand: what ngx_http_finalize_request() makes of 408, 413
 * or 419 is nothing, the end of the connection, or an answer without a type.
 */


#define NGX_HTTP_ACADEMY_CLOSED    419

/* the part of a type that the charset filter would add its own charset to */

#define NGX_HTTP_ACADEMY_TYPE_LEN  (sizeof("text/plain") - 1)


static ngx_int_t ngx_http_academy_send(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *type, ngx_buf_t *b);
static ngx_int_t ngx_http_academy_printed(ngx_http_request_t *r, u_char *data,
    u_char *last);
static ngx_int_t ngx_http_academy_unavailable(ngx_http_request_t *r);
static ngx_int_t ngx_http_academy_retry(ngx_http_request_t *r,
    ngx_str_t *text);
static ngx_int_t ngx_http_academy_bounded(ngx_http_request_t *r,
    ngx_http_academy_result_e result);


static ngx_str_t  ngx_http_academy_json = ngx_string("application/json");
static ngx_str_t  ngx_http_academy_text =
    ngx_string("text/plain; charset=utf-8");
static ngx_str_t  ngx_http_academy_unknown = ngx_string("Unknown mailbox ID");
static ngx_str_t  ngx_http_academy_forbidden =
    ngx_string("Incorrect permissions");
static ngx_str_t  ngx_http_academy_closed = ngx_string("Mailbox was closed");
static ngx_str_t  ngx_http_academy_timed_out = ngx_string("Request timeout");
static ngx_str_t  ngx_http_academy_shared_full =
    ngx_string("The mailbox is shared with 256 groups, the most it may be");
static ngx_str_t  ngx_http_academy_full =
    ngx_string("Out of memory, nothing was stored");
static ngx_str_t  ngx_http_academy_away =
    ngx_string("The exchange's store does not answer, try again");
static ngx_str_t  ngx_http_academy_owing =
    ngx_string("Too many messages on this connection are unacknowledged");

/* the reason phrase of a status that nginx has none for */

static ngx_str_t  ngx_http_academy_terminated =
    ngx_string("419 Mailbox Closed");

static ngx_str_t  ngx_http_academy_retry_after = ngx_string("1");


ngx_int_t
ngx_http_academy_answer_empty(ngx_http_request_t *r)
{
    r->disable_not_modified = 1;
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = 0;
    r->header_only = 1;

    return ngx_http_send_header(r);
}


ngx_int_t
ngx_http_academy_answer_json(ngx_http_request_t *r, ngx_buf_t *b)
{
    return ngx_http_academy_send(r, NGX_HTTP_OK, &ngx_http_academy_json, b);
}


ngx_int_t
ngx_http_academy_answer_text(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *text)
{
    ngx_buf_t  *b;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->memory = 1;
    b->pos = text->data;
    b->last = text->data + text->len;

    if (status != NGX_HTTP_REQUEST_TIME_OUT) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "exchange refused with %ui: %V", status, text);
    }

    return ngx_http_academy_send(r, status, &ngx_http_academy_text, b);
}


static ngx_int_t
ngx_http_academy_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_buf_t *b)
{
    ngx_int_t    rc;
    ngx_chain_t  out;

    /* what has been done is done, whatever conditions the client set */

    r->disable_not_modified = 1;

    r->headers_out.status = status;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = (type == &ngx_http_academy_text)
                                      ? NGX_HTTP_ACADEMY_TYPE_LEN : type->len;
    r->headers_out.content_length_n = b->last - b->pos;

    if (status == NGX_HTTP_ACADEMY_CLOSED) {
        r->headers_out.status_line = ngx_http_academy_terminated;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_http_academy_printed(ngx_http_request_t *r, u_char *data, u_char *last)
{
    ngx_buf_t  *b;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->temporary = 1;
    b->pos = data;
    b->last = last;

    return ngx_http_academy_answer_json(r, b);
}


/* of a store's results */

static ngx_http_academy_counter_e  ngx_http_academy_refusals[] = {
    0,                                        /* NGX_HTTP_ACADEMY_OK */
    NGX_HTTP_ACADEMY_N_REFUSED_MISSING,
    NGX_HTTP_ACADEMY_N_REFUSED_CLOSED,
    NGX_HTTP_ACADEMY_N_REFUSED_PERMISSION,
    NGX_HTTP_ACADEMY_N_REFUSED_MEMORY,
    NGX_HTTP_ACADEMY_N_REFUSED_SHARES,
    NGX_HTTP_ACADEMY_N_REFUSED_MESSAGES,
    NGX_HTTP_ACADEMY_N_REFUSED_BYTES,
    NGX_HTTP_ACADEMY_N_REFUSED_MAILBOXES,
    0,                                        /* NGX_HTTP_ACADEMY_CLOSING */
    NGX_HTTP_ACADEMY_N_REFUSED_STORE
};


ngx_int_t
ngx_http_academy_answer_result(ngx_http_request_t *r,
    ngx_http_academy_result_e result)
{
    if (result != NGX_HTTP_ACADEMY_OK && result != NGX_HTTP_ACADEMY_CLOSING) {
        ngx_http_academy_tell(r, ngx_http_academy_refusals[result]);
    }

    switch (result) {

    case NGX_HTTP_ACADEMY_OK:
        return ngx_http_academy_answer_empty(r);

    case NGX_HTTP_ACADEMY_MISSING:
        return ngx_http_academy_answer_text(r, NGX_HTTP_NOT_FOUND,
                                            &ngx_http_academy_unknown);

    case NGX_HTTP_ACADEMY_TERMINATED:
        return ngx_http_academy_answer_text(r, NGX_HTTP_ACADEMY_CLOSED,
                                            &ngx_http_academy_closed);

    case NGX_HTTP_ACADEMY_FORBIDDEN:
        return ngx_http_academy_answer_text(r, NGX_HTTP_FORBIDDEN,
                                            &ngx_http_academy_forbidden);

    case NGX_HTTP_ACADEMY_SHARED:
        return ngx_http_academy_answer_text(r, NGX_HTTP_BAD_REQUEST,
                                            &ngx_http_academy_shared_full);

    case NGX_HTTP_ACADEMY_MANY_MESSAGES:
    case NGX_HTTP_ACADEMY_MANY_BYTES:
    case NGX_HTTP_ACADEMY_MANY_MAILBOXES:
        return ngx_http_academy_bounded(r, result);

    case NGX_HTTP_ACADEMY_CLOSING:
        return ngx_http_academy_answer_timeout(r);

    case NGX_HTTP_ACADEMY_UNAVAILABLE:
        return ngx_http_academy_retry(r, &ngx_http_academy_away);

    default: /* NGX_HTTP_ACADEMY_FULL */
        return ngx_http_academy_unavailable(r);
    }
}


ngx_int_t
ngx_http_academy_answer_timeout(ngx_http_request_t *r)
{
    return ngx_http_academy_answer_text(r, NGX_HTTP_REQUEST_TIME_OUT,
                                        &ngx_http_academy_timed_out);
}


void
ngx_http_academy_tell(ngx_http_request_t *r,
    ngx_http_academy_counter_e counter)
{
    ngx_http_academy_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    /* what is refused to who looks is no refusal of the exchange's */

    if (alcf->status && counter >= NGX_HTTP_ACADEMY_N_REFUSED_MESSAGES
        && counter < NGX_HTTP_ACADEMY_N_ROUTES)
    {
        counter = NGX_HTTP_ACADEMY_N_STATUS_REFUSED;
    }

    ngx_http_academy_count(alcf->exchange, counter);
}


static ngx_int_t
ngx_http_academy_unavailable(ngx_http_request_t *r)
{
    ngx_http_academy_loc_conf_t  *alcf;

    static time_t                 said;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    /* a full zone is one event, not one for every sender that it turns away */

    if (said != ngx_time()) {
        said = ngx_time();

        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "exchange \"%V\" is out of memory", &alcf->name);
    }

    return ngx_http_academy_retry(r, &ngx_http_academy_full);
}


/* the client's own connection has as many messages as one may */

ngx_int_t
ngx_http_academy_answer_owing(ngx_http_request_t *r)
{
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    ctx->refusal = "refused: connection";

    ngx_http_academy_tell(r, NGX_HTTP_ACADEMY_N_REFUSED_OWING);

    return ngx_http_academy_retry(r, &ngx_http_academy_owing);
}


static ngx_int_t
ngx_http_academy_retry(ngx_http_request_t *r, ngx_str_t *text)
{
    if (ngx_http_academy_header(r, "Retry-After",
                                &ngx_http_academy_retry_after)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_academy_answer_text(r, NGX_HTTP_SERVICE_UNAVAILABLE, text);
}


/* a bound that is the configuration's, not the memory's */

static ngx_int_t
ngx_http_academy_bounded(ngx_http_request_t *r,
    ngx_http_academy_result_e result)
{
    ngx_str_t                     text;
    ngx_http_academy_loc_conf_t  *alcf;

    static char  messages[] = "Too many messages: a mailbox holds at most %uz";
    static char  bytes[] = "Too many bytes: a mailbox holds at most %uz";
    static char  mailboxes[] = "Too many mailboxes: a client has at most %uz";

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);

    text.data = ngx_pnalloc(r->pool, sizeof(messages) + NGX_SIZE_T_LEN);
    if (text.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    switch (result) {

    case NGX_HTTP_ACADEMY_MANY_MESSAGES:
        text.len = ngx_sprintf(text.data, messages, alcf->mailbox_messages)
                   - text.data;
        break;

    case NGX_HTTP_ACADEMY_MANY_BYTES:
        text.len = ngx_sprintf(text.data, bytes, alcf->mailbox_bytes)
                   - text.data;
        break;

    default: /* NGX_HTTP_ACADEMY_MANY_MAILBOXES */
        text.len = ngx_sprintf(text.data, mailboxes, alcf->client_mailboxes)
                   - text.data;
    }

    if (ngx_http_academy_header(r, "Retry-After",
                                &ngx_http_academy_retry_after)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_academy_answer_text(r, NGX_HTTP_TOO_MANY_REQUESTS, &text);
}


ngx_int_t
ngx_http_academy_answer_done(ngx_http_request_t *r,
    ngx_http_academy_call_t *call)
{
    return ngx_http_academy_answer_result(r, call->result);
}


ngx_int_t
ngx_http_academy_answer_status(ngx_http_request_t *r,
    ngx_http_academy_call_t *call)
{
    ngx_buf_t  *b;
    ngx_str_t  *status;

    static ngx_str_t  active = ngx_string("{\"status\": \"ACTIVE\"}");
    static ngx_str_t  missing = ngx_string("{\"status\": \"MISSING\"}");
    static ngx_str_t  terminated = ngx_string("{\"status\": \"TERMINATED\"}");

    switch (call->result) {

    case NGX_HTTP_ACADEMY_OK:
        status = &active;
        break;

    case NGX_HTTP_ACADEMY_MISSING:
        status = &missing;
        break;

    case NGX_HTTP_ACADEMY_TERMINATED:
        status = &terminated;
        break;

    default:
        return ngx_http_academy_answer_result(r, call->result);
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->memory = 1;
    b->pos = status->data;
    b->last = status->data + status->len;

    return ngx_http_academy_answer_json(r, b);
}


ngx_int_t
ngx_http_academy_answer_shares(ngx_http_request_t *r,
    ngx_http_academy_call_t *call)
{
    size_t       size;
    u_char      *p;
    json_t      *groups, *root;
    ngx_str_t   *name;
    ngx_uint_t   i;

    if (call->result != NGX_HTTP_ACADEMY_OK) {
        return ngx_http_academy_answer_result(r, call->result);
    }

    /* group ids are the clients' texts: jansson knows what to escape */

    groups = json_array();
    name = call->out.groups.names;

    for (i = 0; i < call->out.groups.n; i++) {
        if (json_array_append_new(groups,
                                  json_stringn((char *) name[i].data,
                                               name[i].len))
            != 0)
        {
            json_decref(groups);
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    root = json_pack("{s:o}", "group_ids", groups);
    size = json_dumpb(root, NULL, 0, 0);
    p = size ? ngx_pnalloc(r->pool, size) : NULL;

    if (p == NULL || json_dumpb(root, (char *) p, size, 0) != size) {
        json_decref(root);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    json_decref(root);

    return ngx_http_academy_printed(r, p, p + size);
}


ngx_int_t
ngx_http_academy_answer_heartbeat(ngx_http_request_t *r,
    ngx_http_academy_call_t *call)
{
    u_char     *p, *last;
    ngx_int_t   ms;

    if (call->result != NGX_HTTP_ACADEMY_OK) {
        return ngx_http_academy_answer_result(r, call->result);
    }

    p = ngx_pnalloc(r->pool, sizeof("{\"heartbeat\": .000}")
                             + NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ms = call->out.heartbeat;

    if (ms < 0) {
        last = ngx_sprintf(p, "{\"heartbeat\": null}");

    } else {
        last = ngx_sprintf(p, "{\"heartbeat\": %i.%03i}", ms / 1000,
                           ms % 1000);
    }

    return ngx_http_academy_printed(r, p, last);
}


ngx_int_t
ngx_http_academy_answer_stats(ngx_http_request_t *r,
    ngx_http_academy_call_t *call)
{
    u_char                    *p, *last;
    ngx_uint_t                 progress;
    ngx_http_academy_stats_t  *stats;

    static char  format[] = "{\"incoming\": %ui, \"outgoing\": %ui, "
                            "\"completed\": %ui, \"in_progress\": %ui, "
                            "\"queued\": %ui}";

    if (call->result != NGX_HTTP_ACADEMY_OK) {
        return ngx_http_academy_answer_result(r, call->result);
    }

    p = ngx_pnalloc(r->pool, sizeof(format) + 5 * NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    stats = &call->out.stats;

    progress = (stats->pending > stats->queued) ? stats->pending - stats->queued
                                                : 0;

    last = ngx_sprintf(p, format, stats->completed + stats->pending,
                       stats->outgoing, stats->completed, progress,
                       stats->queued);

    return ngx_http_academy_printed(r, p, last);
}


ngx_int_t
ngx_http_academy_answer_discover(ngx_http_request_t *r,
    ngx_http_academy_call_t *call)
{
    u_char      *p, *last, *uid;
    ngx_uint_t   i;

    if (call->result != NGX_HTTP_ACADEMY_OK) {
        return ngx_http_academy_answer_result(r, call->result);
    }

    uid = call->out.agents.uids;

    p = ngx_pnalloc(r->pool, sizeof("{\"agent_ids\": \"\"}")
                             + call->out.agents.n
                               * (NGX_HTTP_ACADEMY_UUID_LEN + 1));
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    last = ngx_cpymem(p, "{\"agent_ids\": \"",
                      sizeof("{\"agent_ids\": \"") - 1);

    for (i = 0; i < call->out.agents.n; i++) {

        if (i) {
            *last++ = ',';
        }

        last = ngx_http_academy_uuid_print(last, uid);
        uid += NGX_HTTP_ACADEMY_UID_LEN;
    }

    last = ngx_cpymem(last, "\"}", sizeof("\"}") - 1);

    /* all of it may be unread for long: it is not to be there twice */

    (void) ngx_pfree(r->pool, call->out.agents.uids);

    return ngx_http_academy_printed(r, p, last);
}


ngx_int_t
ngx_http_academy_header(ngx_http_request_t *r, char *key, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.len = ngx_strlen(key);
    h->key.data = (u_char *) key;
    h->value = *value;

#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return NGX_OK;
}
