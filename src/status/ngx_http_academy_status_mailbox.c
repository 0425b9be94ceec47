
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


/*
 * Mailboxes: a page of a table, or one with its messages' headers; and the end
 * of one.
 *
 * The next page is asked for with the place of the last row in the order, so
 * that a page is right whatever came or went before it.
 */


#define NGX_HTTP_ACADEMY_LISTED  50


typedef struct {
    ngx_str_t                      name;
    ngx_http_academy_order_e       order;
} ngx_http_academy_status_order_t;


static ngx_int_t ngx_http_academy_status_query(
    ngx_http_academy_status_t *status, char **wrong);
static ngx_int_t ngx_http_academy_status_sort(ngx_http_academy_status_t *status,
    char **wrong);
static ngx_int_t ngx_http_academy_status_filter(
    ngx_http_academy_status_t *status, char **wrong);
static ngx_int_t ngx_http_academy_status_page_after(
    ngx_http_academy_status_t *status, char **wrong);
static ngx_int_t ngx_http_academy_status_print_list(
    ngx_http_academy_status_t *status);
static void ngx_http_academy_status_print_row(
    ngx_http_academy_status_t *status, ngx_http_academy_text_t *text,
    ngx_http_academy_listed_t *row);
static ngx_int_t ngx_http_academy_status_id(ngx_http_request_t *r,
    ngx_http_academy_id_t *id);
static ngx_int_t ngx_http_academy_status_print_mailbox(
    ngx_http_academy_status_t *status);
static void ngx_http_academy_status_print_message(
    ngx_http_academy_text_t *text, ngx_http_academy_inspected_t *message);
static ngx_int_t ngx_http_academy_status_terminate(
    ngx_http_academy_status_t *status, ngx_http_academy_id_t *id);
static ngx_uint_t ngx_http_academy_status_own_site(ngx_http_request_t *r);
static ngx_uint_t ngx_http_academy_status_own_name(ngx_http_request_t *r);
static ngx_uint_t ngx_http_academy_status_matches(ngx_str_t *name,
    ngx_str_t *host);
static ngx_int_t ngx_http_academy_status_terminated(
    ngx_http_academy_status_t *status);


static ngx_http_academy_status_order_t  ngx_http_academy_status_orders[] = {
    { ngx_string("id"), NGX_HTTP_ACADEMY_BY_ID },
    { ngx_string("name"), NGX_HTTP_ACADEMY_BY_NAME },
    { ngx_string("class"), NGX_HTTP_ACADEMY_BY_CLASS },
    { ngx_string("queued"), NGX_HTTP_ACADEMY_BY_QUEUED },
    { ngx_string("oldest"), NGX_HTTP_ACADEMY_BY_OLDEST },
    { ngx_string("heartbeat"), NGX_HTTP_ACADEMY_BY_HEARTBEAT },
    { ngx_string("in_progress"), NGX_HTTP_ACADEMY_BY_PROGRESS },
    { ngx_string("completed"), NGX_HTTP_ACADEMY_BY_COMPLETED },
    { ngx_null_string, 0 }
};


ngx_int_t
ngx_http_academy_status_mailboxes(ngx_http_academy_status_t *status)
{
    char       *wrong;
    ngx_int_t   rc;

    wrong = NULL;
    rc = ngx_http_academy_status_query(status, &wrong);

    if (rc == NGX_DECLINED) {
        return ngx_http_academy_status_refuse(status->request,
                                              NGX_HTTP_BAD_REQUEST, wrong);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    status->answer = ngx_http_academy_status_print_list;

    return ngx_http_academy_status_call(status, status->exchange->store->list);
}


static ngx_int_t
ngx_http_academy_status_query(ngx_http_academy_status_t *status, char **wrong)
{
    ngx_int_t                    rc, n;
    ngx_str_t                    value;
    ngx_http_request_t          *r;
    ngx_http_academy_listing_t  *listing;

    r = status->request;
    listing = &status->listing;

    listing->limit = NGX_HTTP_ACADEMY_LISTED;

    rc = ngx_http_academy_status_arg(r, "limit", &value);

    if (rc == NGX_OK) {
        n = ngx_atoi(value.data, value.len);

        if (n < 1 || n > NGX_HTTP_ACADEMY_MAX_LISTED) {
            *wrong = "limit must be from 1 to 200";
            return NGX_DECLINED;
        }

        listing->limit = n;
    }

    if (rc == NGX_ERROR
        || ngx_http_academy_status_arg(r, "search", &listing->search)
           == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    ngx_strlow(listing->search.data, listing->search.data,
               listing->search.len);

    rc = ngx_http_academy_status_sort(status, wrong);

    if (rc == NGX_OK) {
        rc = ngx_http_academy_status_filter(status, wrong);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_academy_status_page_after(status, wrong);
    }

    return rc;
}


static ngx_int_t
ngx_http_academy_status_sort(ngx_http_academy_status_t *status, char **wrong)
{
    ngx_int_t                         rc;
    ngx_str_t                         value;
    ngx_http_academy_status_order_t  *order;

    rc = ngx_http_academy_status_arg(status->request, "sort", &value);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (value.len) {

        for (order = ngx_http_academy_status_orders; /* void */ ; order++) {

            if (order->name.len == 0) {
                *wrong = "sort must be id, name, class, queued, oldest, "
                         "heartbeat, in_progress or completed";
                return NGX_DECLINED;
            }

            if (order->name.len == value.len
                && ngx_memcmp(order->name.data, value.data, value.len) == 0)
            {
                break;
            }
        }

        status->listing.order = order->order;
    }

    if (ngx_http_academy_status_arg(status->request, "reverse", &value)
        == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    status->listing.reverse = ngx_http_academy_status_is(&value, "1");

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_status_filter(ngx_http_academy_status_t *status, char **wrong)
{
    ngx_str_t                    state, role;
    ngx_http_request_t          *r;
    ngx_http_academy_listing_t  *listing;

    r = status->request;
    listing = &status->listing;

    if (ngx_http_academy_status_arg(r, "state", &state) == NGX_ERROR
        || ngx_http_academy_status_arg(r, "role", &role) == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    listing->active = (state.len == 0
                       || ngx_http_academy_status_is(&state, "active")
                       || ngx_http_academy_status_is(&state, "all"));
    listing->terminated = (ngx_http_academy_status_is(&state, "terminated")
                           || ngx_http_academy_status_is(&state, "all"));

    listing->agents = (role.len == 0
                       || ngx_http_academy_status_is(&role, "agent"));
    listing->users = (role.len == 0
                      || ngx_http_academy_status_is(&role, "user"));

    if (!listing->active && !listing->terminated) {
        *wrong = "state must be active, terminated or all";
        return NGX_DECLINED;
    }

    if (!listing->agents && !listing->users) {
        *wrong = "role must be agent or user";
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* the bytes of a key, in hexadecimal */

static ngx_int_t
ngx_http_academy_status_page_after(ngx_http_academy_status_t *status,
    char **wrong)
{
    u_char                      *p;
    ngx_int_t                    rc, n;
    ngx_str_t                    value;
    ngx_uint_t                   i;
    ngx_http_academy_listing_t  *listing;

    listing = &status->listing;

    rc = ngx_http_academy_status_arg(status->request, "after", &value);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (value.len == 0) {
        return NGX_OK;
    }

    *wrong = "after must be what a page before said is next";

    if (value.len != 2 * sizeof(ngx_http_academy_row_key_t)) {
        return NGX_DECLINED;
    }

    p = (u_char *) &listing->after;

    for (i = 0; i < sizeof(ngx_http_academy_row_key_t); i++) {
        n = ngx_hextoi(value.data + 2 * i, 2);

        if (n == NGX_ERROR) {
            return NGX_DECLINED;
        }

        *p++ = (u_char) n;
    }

    listing->paged = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_status_print_list(ngx_http_academy_status_t *status)
{
    u_char                       next[2 * sizeof(ngx_http_academy_row_key_t)];
    ngx_uint_t                   i;
    ngx_http_academy_ctx_t      *ctx;
    ngx_http_academy_text_t      text;
    ngx_http_academy_listing_t  *listing;

    ctx = ngx_http_get_module_ctx(status->request, ngx_http_academy_module);

    if (ctx->call.result != NGX_HTTP_ACADEMY_OK) {
        return ngx_http_academy_answer_result(status->request,
                                              ctx->call.result);
    }

    listing = &status->listing;

    ngx_http_academy_text_begin(&text, status->request->pool);
    ngx_http_academy_print(&text, "{\"total\":%ui,\"mailboxes\":[",
                           listing->total);

    for (i = 0; i < listing->n; i++) {
        ngx_http_academy_print(&text, i ? ",\n" : "\n");
        ngx_http_academy_status_print_row(status, &text, listing->rows[i]);
    }

    ngx_http_academy_print(&text, "],\"next\":");

    if (listing->n == listing->limit) {
        ngx_hex_dump(next, (u_char *) &listing->rows[listing->n - 1]->key,
                     sizeof(ngx_http_academy_row_key_t));
        ngx_http_academy_print(&text, "\"%*s\"}\n", sizeof(next), next);

    } else {
        ngx_http_academy_print(&text, "null}\n");
    }

    /* all of it may be unread for long: it is not to be there twice */

    (void) ngx_pfree(status->request->pool, listing->room);

    return ngx_http_academy_status_send(status, NGX_HTTP_OK,
                                        "application/json", &text);
}


static void
ngx_http_academy_status_print_row(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text, ngx_http_academy_listed_t *row)
{
    u_char      id[NGX_HTTP_ACADEMY_UUID_LEN];
    uint64_t    progress, numbers[9];
    ngx_uint_t  i;

    static char  *names[] = {
        "queued", "leased", "bytes", "in_progress", "pending", "kept",
        "completed", "outgoing", "waiters"
    };

    (void) ngx_http_academy_uuid_print(id, row->id.uid);

    progress = row->pending - ngx_min(row->pending, row->queued);

    ngx_http_academy_print(text, "{\"id\":\"%s:%*s\",\"state\":\"%s\","
                           "\"name\":",
                           row->id.role == NGX_HTTP_ACADEMY_USER ? "user"
                                                                 : "agent",
                           sizeof(id), id,
                           row->terminated ? "terminated" : "active");

    if (row->name.len) {
        ngx_http_academy_print_json(text, row->name.data, row->name.len);

    } else {
        ngx_http_academy_print(text, "null");
    }

    ngx_http_academy_print(text, ",\"class\":");

    if (row->class.len) {
        ngx_http_academy_print_string(text, row->class.data, row->class.len);

    } else {
        ngx_http_academy_print(text, "null");
    }

    if (status->admin || row->owned) {
        ngx_http_academy_print(text, ",\"owner\":");
        ngx_http_academy_print_string(text, row->owner.data, row->owner.len);
    }

    numbers[0] = row->queued;
    numbers[1] = row->leased;
    numbers[2] = row->bytes;
    numbers[3] = progress;
    numbers[4] = row->pending;
    numbers[5] = row->kept;
    numbers[6] = row->completed;
    numbers[7] = row->outgoing;
    numbers[8] = row->waiters;

    for (i = 0; i < 9; i++) {
        ngx_http_academy_print(text, ",\"%s\":", names[i]);
        ngx_http_academy_print_number(text, numbers[i]);
    }

    ngx_http_academy_print(text, ",\"shares\":%uL,\"heartbeat\":",
                           row->shares);
    ngx_http_academy_print_time(text, row->heartbeat);
    ngx_http_academy_print(text, ",\"oldest\":");
    ngx_http_academy_print_time(text, row->oldest);
    ngx_http_academy_print(text, "}");
}


ngx_int_t
ngx_http_academy_status_mailbox(ngx_http_academy_status_t *status)
{
    ngx_http_request_t             *r;
    ngx_http_academy_ctx_t         *ctx;
    ngx_http_academy_id_t           id;
    ngx_http_academy_inspection_t  *inspection;

    r = status->request;

    if (ngx_http_academy_status_id(r, &id) != NGX_OK) {
        return ngx_http_academy_status_refuse(r, NGX_HTTP_BAD_REQUEST,
                                       "id must be agent:UUID or user:UUID");
    }

    if (r->method == NGX_HTTP_POST) {
        return ngx_http_academy_status_terminate(status, &id);
    }

    inspection = &status->inspection;
    inspection->limit = NGX_HTTP_ACADEMY_MAX_INSPECTED;
    inspection->messages = ngx_palloc(r->pool,
                                      inspection->limit
                                      * sizeof(ngx_http_academy_inspected_t));
    if (inspection->messages == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    ctx->call.id = id;

    status->answer = ngx_http_academy_status_print_mailbox;

    return ngx_http_academy_status_call(status,
                                        status->exchange->store->inspect);
}


static ngx_int_t
ngx_http_academy_status_id(ngx_http_request_t *r, ngx_http_academy_id_t *id)
{
    u_char     *p;
    size_t      len;
    ngx_str_t   value;

    if (ngx_http_academy_status_arg(r, "id", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    p = value.data;
    len = value.len;

    if (len > 6 && ngx_strncmp(p, "agent:", 6) == 0) {
        id->role = NGX_HTTP_ACADEMY_AGENT;
        p += 6;
        len -= 6;

    } else if (len > 5 && ngx_strncmp(p, "user:", 5) == 0) {
        id->role = NGX_HTTP_ACADEMY_USER;
        p += 5;
        len -= 5;

    } else {
        return NGX_ERROR;
    }

    return ngx_http_academy_uuid_parse(p, len, id->uid);
}


static ngx_int_t
ngx_http_academy_status_print_mailbox(ngx_http_academy_status_t *status)
{
    ngx_uint_t                      i;
    ngx_http_academy_text_t         text;
    ngx_http_academy_inspection_t  *inspection;

    inspection = &status->inspection;

    ngx_http_academy_text_begin(&text, status->request->pool);
    ngx_http_academy_print(&text, "{\"mailbox\":");
    ngx_http_academy_status_print_row(status, &text, &inspection->row);
    ngx_http_academy_print(&text, ",\"messages\":[");

    for (i = 0; i < inspection->n; i++) {
        ngx_http_academy_print(&text, i ? ",\n" : "\n");
        ngx_http_academy_status_print_message(&text, &inspection->messages[i]);
    }

    ngx_http_academy_print(&text, "],\"more\":%s}\n",
                           inspection->n == inspection->limit ? "true"
                                                              : "false");

    (void) ngx_pfree(status->request->pool, inspection->messages);

    return ngx_http_academy_status_send(status, NGX_HTTP_OK,
                                        "application/json", &text);
}


static void
ngx_http_academy_status_print_message(ngx_http_academy_text_t *text,
    ngx_http_academy_inspected_t *message)
{
    u_char                       id[NGX_HTTP_ACADEMY_UUID_LEN];
    ngx_http_academy_envelope_t  env;

    ngx_http_academy_print(text, "{\"seq\":");
    ngx_http_academy_print_number(text, message->seq);
    ngx_http_academy_print(text, ",\"size\":%uL,\"age\":", message->size);
    ngx_http_academy_print_time(text, message->age);
    ngx_http_academy_print(text, ",\"deliveries\":");
    ngx_http_academy_print_number(text, message->leases);

    if (ngx_http_academy_scan_header(message->text, message->len, &env)
        != NGX_OK)
    {
        ngx_http_academy_print(text, ",\"tag\":null,\"kind\":null,"
                               "\"label\":null,\"from\":null}");
        return;
    }

    (void) ngx_http_academy_uuid_print(id, env.tag);

    ngx_http_academy_print(text, ",\"tag\":\"%*s\",\"kind\":\"%s\","
                           "\"label\":", sizeof(id), id,
                           env.request ? "request" : "response");

    if (env.labeled) {
        (void) ngx_http_academy_uuid_print(id, env.label);
        ngx_http_academy_print(text, "\"%*s\"", sizeof(id), id);

    } else {
        ngx_http_academy_print(text, "null");
    }

    (void) ngx_http_academy_uuid_print(id, env.src.id.uid);

    ngx_http_academy_print(text, ",\"from\":{\"uid\":\"%*s\",\"role\":\"%s\","
                           "\"name\":", sizeof(id), id,
                           env.src.id.role == NGX_HTTP_ACADEMY_USER ? "user"
                                                                    : "agent");

    if (env.src.name.len) {
        ngx_http_academy_print_json(text, env.src.name.data,
                                    env.src.name.len);

    } else {
        ngx_http_academy_print(text, "null");
    }

    ngx_http_academy_print(text, "}}");
}


/*
 * Another site's page can make a browser send a form, but not this header:
 * that needs a leave which nobody gives here.
 */

static ngx_int_t
ngx_http_academy_status_terminate(ngx_http_academy_status_t *status,
    ngx_http_academy_id_t *id)
{
    ngx_str_t                action;
    ngx_http_request_t      *r;
    ngx_http_academy_ctx_t  *ctx;

    r = status->request;

    if (!status->write) {
        return ngx_http_academy_status_refuse(r, NGX_HTTP_FORBIDDEN,
                                     "academy_status_write is off");
    }

    if (!ngx_http_academy_status_own_site(r)) {
        return ngx_http_academy_status_refuse(r, NGX_HTTP_FORBIDDEN,
                                     "Not a request of this site's own page");
    }

    if (ngx_http_academy_status_arg(r, "action", &action) == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!ngx_http_academy_status_is(&action, "terminate")) {
        return ngx_http_academy_status_refuse(r, NGX_HTTP_BAD_REQUEST,
                                              "action must be terminate");
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    ctx->call.id = *id;

    status->answer = ngx_http_academy_status_terminated;

    return ngx_http_academy_status_call(status,
                                        status->exchange->store->terminate);
}


static ngx_uint_t
ngx_http_academy_status_own_site(ngx_http_request_t *r)
{
    u_char     *p, *last;
    ngx_str_t  *value, *host;

    static ngx_str_t  own_name = ngx_string("X-Academy-Status");
    static ngx_str_t  site_name = ngx_string("Sec-Fetch-Site");
    static ngx_str_t  origin_name = ngx_string("Origin");
    static ngx_str_t  host_name = ngx_string("Host");

    value = ngx_http_academy_request_header(r, &own_name, 0);

    if (value == NULL) {
        return 0;
    }

    /* a browser's word, which holds behind a proxy with another name, too */

    value = ngx_http_academy_request_header(r, &site_name, 0);

    if (value) {
        return ngx_http_academy_status_is(value, "same-origin")
               || ngx_http_academy_status_is(value, "none");
    }

    value = ngx_http_academy_request_header(r, &origin_name, 0);

    if (value == NULL) {
        return 1;
    }

    /* of "scheme://host:port" what a browser writes as Host */

    last = value->data + value->len;
    p = ngx_strlchr(value->data, last, '/');

    if (p == NULL || last - p < 2) {
        return 0;
    }

    p += 2;

    host = ngx_http_academy_request_header(r, &host_name, 0);

    return host && host->len == (size_t) (last - p)
           && ngx_strncasecmp(p, host->data, host->len) == 0
           && ngx_http_academy_status_own_name(r);
}


/*
 * Whoever has a name can have it lead here, and a page of that name is of one
 * site with whatever answers: so it has to be a name that this server goes by.
 * An address leads nowhere else.
 */

static ngx_uint_t
ngx_http_academy_status_own_name(ngx_http_request_t *r)
{
    ngx_str_t                    *host, *name;
    ngx_uint_t                    i;
    ngx_http_academy_loc_conf_t  *alcf;

    static ngx_str_t  localhost = ngx_string("localhost");

    host = &r->headers_in.server;

    if (host->len == 0) {
        return 0;
    }

    if (host->data[0] == '['
        || ngx_inet_addr(host->data, host->len) != INADDR_NONE
        || ngx_http_academy_status_matches(&localhost, host))
    {
        return 1;
    }

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);
    name = alcf->status_names.elts;

    for (i = 0; i < alcf->status_names.nelts; i++) {

        if (ngx_http_academy_status_matches(&name[i], host)) {
            return 1;
        }
    }

    return 0;
}


/* as in server_name; of an expression nobody knows what it is for */

static ngx_uint_t
ngx_http_academy_status_matches(ngx_str_t *name, ngx_str_t *host)
{
    u_char  *p;
    size_t   len;

    p = name->data;
    len = name->len;

    if (len > 2 && p[len - 1] == '*') {
        len--;

        return host->len > len && ngx_strncasecmp(host->data, p, len) == 0;
    }

    if (len > 2 && p[0] == '*') {
        p++;
        len--;

        return host->len > len
               && ngx_strncasecmp(host->data + host->len - len, p, len) == 0;
    }

    if (len > 1 && p[0] == '.' && host->len >= len) {
        return ngx_strncasecmp(host->data + host->len - len, p, len) == 0;
    }

    if (len > 1 && p[0] == '.') {
        p++;
        len--;
    }

    return len && host->len == len && ngx_strncasecmp(host->data, p, len) == 0;
}


static ngx_int_t
ngx_http_academy_status_terminated(ngx_http_academy_status_t *status)
{
    u_char                    id[NGX_HTTP_ACADEMY_UUID_LEN];
    ngx_http_academy_ctx_t   *ctx;
    ngx_http_academy_text_t   text;

    ctx = ngx_http_get_module_ctx(status->request, ngx_http_academy_module);

    (void) ngx_http_academy_uuid_print(id, ctx->call.id.uid);

    ngx_log_error(NGX_LOG_NOTICE, status->request->connection->log, 0,
                  "mailbox %*s was terminated from a status location by "
                  "\"%V\"", sizeof(id), id, &ctx->caller.id);

    ngx_http_academy_text_begin(&text, status->request->pool);
    ngx_http_academy_print(&text, "{\"terminated\":true}\n");

    return ngx_http_academy_status_send(status, NGX_HTTP_OK,
                                        "application/json", &text);
}
