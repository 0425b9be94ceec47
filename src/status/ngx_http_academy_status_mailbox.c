
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


/*
 * One mailbox with its messages' headers; and the end of one.
 */


static ngx_int_t ngx_http_academy_status_id(ngx_http_request_t *r,
    ngx_http_academy_id_t *id);
static ngx_int_t ngx_http_academy_status_print_mailbox(
    ngx_http_academy_status_t *status);
static void ngx_http_academy_status_print_message(
    ngx_http_academy_text_t *text, ngx_http_academy_inspected_t *message);
static ngx_int_t ngx_http_academy_status_terminate(
    ngx_http_academy_status_t *status, ngx_http_academy_id_t *id);
static ngx_int_t ngx_http_academy_status_terminated(
    ngx_http_academy_status_t *status);


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
