
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


/*
 * A page of a table of mailboxes.
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
static ngx_int_t ngx_http_academy_status_sort(
    ngx_http_academy_status_t *status, char **wrong);
static ngx_int_t ngx_http_academy_status_filter(
    ngx_http_academy_status_t *status, char **wrong);
static void ngx_http_academy_status_search_id(
    ngx_http_academy_listing_t *listing);
static ngx_int_t ngx_http_academy_status_page_after(
    ngx_http_academy_status_t *status, char **wrong);
static ngx_int_t ngx_http_academy_status_print_list(
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
        ngx_http_academy_status_search_id(listing);
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


/* "agent:" or "user:" and the beginning of an id, as rows have it */

static void
ngx_http_academy_status_search_id(ngx_http_academy_listing_t *listing)
{
    size_t      i, len;
    u_char      ch;
    ngx_str_t  *search;

    search = &listing->search;

    if (search->len > 6 && ngx_strncmp(search->data, "agent:", 6) == 0) {
        len = 6;

    } else if (search->len > 5 && ngx_strncmp(search->data, "user:", 5) == 0) {
        len = 5;

    } else {
        return;
    }

    for (i = len; i < search->len; i++) {
        ch = search->data[i];

        if (!((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f')
              || ch == '-'))
        {
            return;
        }
    }

    if (len == 6) {
        listing->users = 0;

    } else {
        listing->agents = 0;
    }

    search->data += len;
    search->len -= len;
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


void
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
