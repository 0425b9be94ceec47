
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <jansson.h>
#include "ngx_http_academy_http.h"


/*
 * What a request says.  What sends and receives messages has the scanner of its
 * own; everything else is jansson's.  Entity ids have one reader, whoever sends
 * them, so that none is taken for two.
 */


static ngx_int_t ngx_http_academy_body_joined(ngx_http_request_t *r,
    ngx_str_t *body);
static ngx_chain_t *ngx_http_academy_body_run(ngx_chain_t *cl, ngx_str_t *run);
static ngx_int_t ngx_http_academy_refuse_field(ngx_http_request_t *r,
    ngx_str_t *text, const char *field, const char *why);
static ngx_int_t ngx_http_academy_message_field(ngx_http_request_t *r,
    ngx_str_t *body, ngx_str_t *text);
static ngx_int_t ngx_http_academy_mailbox_field(ngx_http_request_t *r,
    json_t *root, ngx_str_t *text);
static ngx_int_t ngx_http_academy_name(ngx_http_request_t *r,
    ngx_str_t *json, ngx_str_t *name);
static ngx_int_t ngx_http_academy_classes_field(ngx_http_request_t *r,
    json_t *root, ngx_str_t *text);
static ngx_int_t ngx_http_academy_class_field(ngx_http_request_t *r,
    json_t *root, ngx_str_t *text);
static ngx_int_t ngx_http_academy_group_field(ngx_http_request_t *r,
    json_t *root, ngx_str_t *text);
static ngx_int_t ngx_http_academy_wait_fields(ngx_http_request_t *r,
    ngx_str_t *body, ngx_str_t *text);
static ngx_int_t ngx_http_academy_string(ngx_http_request_t *r, json_t *value,
    ngx_str_t *s);


ngx_int_t
ngx_http_academy_body(ngx_http_request_t *r, ngx_str_t *body)
{
    u_char       *p;
    off_t         size;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    ngx_str_null(body);

    if (r->request_body == NULL || r->request_body->bufs == NULL) {
        return NGX_OK;
    }

    /* a mirror is still to send it as it came */

    if (!r->preserve_body && ngx_http_academy_body_joined(r, body) == NGX_OK) {
        return NGX_OK;
    }

    size = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        size += ngx_buf_size(cl->buf);
    }

    body->data = ngx_pnalloc(r->pool, (size_t) size + 1);
    if (body->data == NULL) {
        return NGX_ERROR;
    }

    p = body->data;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)) {
            p = ngx_cpymem(p, b->pos, b->last - b->pos);
            continue;
        }

        /* a chunked body ends with a buffer that is nowhere */

        if (!b->in_file) {
            continue;
        }

        size = ngx_buf_size(b);

        n = ngx_read_file(b->file, p, (size_t) size, b->file_pos);

        if (n != (ssize_t) size) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "the file of a request body has %z of %O bytes",
                          n, size);
            return NGX_ERROR;
        }

        p += n;
    }

    body->len = p - body->data;

    return NGX_OK;
}


/*
 * The body as it stands in memory, without a copy.  What came with the header
 * stands in another buffer: it goes before the rest, which has been read to a
 * buffer with room for both.
 */

static ngx_int_t
ngx_http_academy_body_joined(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_buf_t    *b;
    ngx_str_t     rest;
    ngx_chain_t  *cl;

    cl = ngx_http_academy_body_run(r->request_body->bufs, body);

    if (cl == NULL) {
        return NGX_OK;
    }

    cl = ngx_http_academy_body_run(cl, &rest);

    b = r->request_body->buf;

    if (cl || b == NULL || b->start != rest.data
        || (size_t) (b->end - b->start) < body->len + rest.len)
    {
        return NGX_DECLINED;
    }

    ngx_memmove(b->start + body->len, b->start, rest.len);
    ngx_memcpy(b->start, body->data, body->len);

    body->data = b->start;
    body->len += rest.len;

    return NGX_OK;
}


/* buffers that follow each other in memory; returns those behind them */

static ngx_chain_t *
ngx_http_academy_body_run(ngx_chain_t *cl, ngx_str_t *run)
{
    ngx_buf_t  *b;

    ngx_str_null(run);

    for ( /* void */ ; cl; cl = cl->next) {
        b = cl->buf;

        /* a body may end with a buffer that is nowhere */

        if (ngx_buf_special(b)) {
            continue;
        }

        if (!ngx_buf_in_memory(b)
            || (run->len && b->pos != run->data + run->len))
        {
            return cl;
        }

        if (run->len == 0) {
            run->data = b->pos;
        }

        run->len += b->last - b->pos;
    }

    return NULL;
}


ngx_int_t
ngx_http_academy_fields(ngx_http_request_t *r, ngx_str_t *body,
    ngx_str_t *text)
{
    json_t                  *root;
    ngx_int_t                rc;
    ngx_uint_t               fields;
    json_error_t             error;
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    fields = ctx->route->fields;

    if (fields & NGX_HTTP_ACADEMY_MESSAGE) {
        return ngx_http_academy_message_field(r, body, text);
    }

    if (body->len > NGX_HTTP_ACADEMY_BODY_SIZE) {
        return ngx_http_academy_refuse_field(r, text, "request body",
                                             "longer than 65536 bytes");
    }

    if (fields & NGX_HTTP_ACADEMY_TIMEOUT) {
        return ngx_http_academy_wait_fields(r, body, text);
    }

    /* jansson takes a zero byte behind a number or a literal for its end */

    if (ngx_strlchr(body->data, body->data + body->len, '\0')) {
        return ngx_http_academy_refuse_field(r, text, "request body",
                                             "a zero byte");
    }

    /* as reals, integers may have any size, and no number is looked at */

    root = json_loadb((char *) body->data, body->len,
                      JSON_REJECT_DUPLICATES|JSON_ALLOW_NUL
                      |JSON_DECODE_INT_AS_REAL,
                      &error);

    if (root == NULL) {
        switch (json_error_code(&error)) {

        case json_error_out_of_memory:
            return NGX_ERROR;

        case json_error_duplicate_key:
            return ngx_http_academy_refuse_field(r, text, "request body",
                                                 "a key is given twice");

        default:
            return ngx_http_academy_refuse_field(r, text, "request body",
                                                 "not a JSON object");
        }
    }

    if (!json_is_object(root)) {
        rc = ngx_http_academy_refuse_field(r, text, "request body",
                                           "not a JSON object");
        goto done;
    }

    rc = NGX_OK;

    if (fields & NGX_HTTP_ACADEMY_MAILBOX) {
        rc = ngx_http_academy_mailbox_field(r, root, text);
    }

    if (rc == NGX_OK && (fields & NGX_HTTP_ACADEMY_GROUP)) {
        rc = ngx_http_academy_group_field(r, root, text);
    }

    if (rc == NGX_OK && (fields & NGX_HTTP_ACADEMY_CLASSES)) {
        rc = ngx_http_academy_classes_field(r, root, text);
    }

    if (rc == NGX_OK && (fields & NGX_HTTP_ACADEMY_CLASS)) {
        rc = ngx_http_academy_class_field(r, root, text);
    }

done:

    json_decref(root);

    return rc;
}


static ngx_int_t
ngx_http_academy_refuse_field(ngx_http_request_t *r, ngx_str_t *text,
    const char *field, const char *why)
{
    static char  start[] = "Missing or invalid field: ";

    text->data = ngx_pnalloc(r->pool, sizeof(start) + ngx_strlen(field)
                                      + sizeof(": ") + ngx_strlen(why));
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    text->len = ngx_sprintf(text->data, "%s%s: %s", start, field, why)
                - text->data;

    return NGX_HTTP_BAD_REQUEST;
}


static ngx_int_t
ngx_http_academy_message_field(ngx_http_request_t *r, ngx_str_t *body,
    ngx_str_t *text)
{
    ngx_int_t                      rc;
    ngx_http_academy_ctx_t        *ctx;
    ngx_http_academy_envelope_t   *env;
    ngx_http_academy_loc_conf_t   *alcf;
    ngx_http_academy_scan_error_t  error;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);
    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    env = ngx_palloc(r->pool, sizeof(ngx_http_academy_envelope_t));
    if (env == NULL) {
        return NGX_ERROR;
    }

    ctx->call.in.envelope = env;

    rc = ngx_http_academy_scan_put(body->data, body->len, alcf->message_size,
                                   env, &error);

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_academy_refuse_field(r, text, error.field, error.why);
    }

    text->data = ngx_pnalloc(r->pool,
                             sizeof("Message of size  larger than limit .")
                             + 2 * NGX_SIZE_T_LEN);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    text->len = ngx_sprintf(text->data,
                            "Message of size %uz larger than limit %uz.",
                            env->json.len, alcf->message_size)
                - text->data;

    return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
}


static ngx_int_t
ngx_http_academy_mailbox_field(ngx_http_request_t *r, json_t *root,
    ngx_str_t *text)
{
    json_t                         *value;
    ngx_http_academy_ctx_t         *ctx;
    ngx_http_academy_entity_t       entity;
    ngx_http_academy_scan_error_t   error;

    value = json_object_get(root, "mailbox");

    if (value == NULL) {
        return ngx_http_academy_refuse_field(r, text, "mailbox", "missing");
    }

    if (!json_is_string(value)) {
        return ngx_http_academy_refuse_field(r, text, "mailbox",
                                             "not a string that holds JSON");
    }

    /* jansson's own copy of the text, which nobody else sees */

    if (ngx_http_academy_scan_entity((u_char *) json_string_value(value),
                                     json_string_length(value), &entity,
                                     &error)
        != NGX_OK)
    {
        return ngx_http_academy_refuse_field(r, text, error.field, error.why);
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    ctx->call.id = entity.id;

    if (ctx->route->fields & NGX_HTTP_ACADEMY_CLASSES) {
        return ngx_http_academy_name(r, &entity.name,
                                     &ctx->call.in.classes.entity);
    }

    return NGX_OK;
}


/*
 * As people write it, and look for it: Python's JSON has \u00e4 for whatever
 * is not ASCII, which takes twice the room, too.
 */

static ngx_int_t
ngx_http_academy_name(ngx_http_request_t *r, ngx_str_t *json, ngx_str_t *name)
{
    u_char  *p, *s;
    size_t   len;
    json_t  *value;

    value = NULL;

    if (json->data[0] == '"'
        && ngx_strlchr(json->data, json->data + json->len, '\\'))
    {
        value = json_loadb((char *) json->data, json->len,
                           JSON_DECODE_ANY|JSON_ALLOW_NUL, NULL);
    }

    s = value ? (u_char *) json_string_value(value) : json->data;
    len = value ? json_string_length(value) : json->len;

    /* what is escaped once more is never longer than it was */

    p = ngx_pnalloc(r->pool, json->len);

    if (p) {
        name->data = p;

        if (value) {
            *p++ = '"';
            p = (u_char *) ngx_escape_json(p, s, len);
            *p++ = '"';

        } else {
            p = ngx_cpymem(p, s, len);
        }

        name->len = p - name->data;
    }

    json_decref(value);

    return p ? NGX_OK : NGX_ERROR;
}


/* the names between commas; the empty string is one name, an empty one */

static ngx_int_t
ngx_http_academy_classes_field(ngx_http_request_t *r, json_t *root,
    ngx_str_t *text)
{
    u_char                  *p, *last;
    json_t                  *value;
    ngx_str_t                list, *name;
    ngx_uint_t               n;
    ngx_http_academy_ctx_t  *ctx;

    value = json_object_get(root, "agent");

    if (value == NULL || json_is_null(value)) {
        return NGX_OK;
    }

    if (!json_is_string(value)) {
        return ngx_http_academy_refuse_field(r, text, "agent",
                                             "not a string");
    }

    if (ngx_http_academy_string(r, value, &list) != NGX_OK) {
        return NGX_ERROR;
    }

    last = list.data + list.len;
    n = 1;

    for (p = list.data; p < last; p++) {
        n += (*p == ',');
    }

    if (n > NGX_HTTP_ACADEMY_MAX_CLASSES) {
        return ngx_http_academy_refuse_field(r, text, "agent",
                                             "more than 128 classes");
    }

    name = ngx_palloc(r->pool, n * sizeof(ngx_str_t));
    if (name == NULL) {
        return NGX_ERROR;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);
    ctx->call.in.classes.names = name;
    ctx->call.in.classes.n = n;

    name->data = list.data;

    for (p = list.data; /* void */ ; p++) {

        if (p < last && *p != ',') {
            continue;
        }

        name->len = p - name->data;

        if (name->len > NGX_HTTP_ACADEMY_MAX_CLASS_LEN) {
            return ngx_http_academy_refuse_field(r, text, "agent",
                                     "a class name longer than 1024 bytes");
        }

        if (p == last) {
            return NGX_OK;
        }

        name++;
        name->data = p + 1;
    }
}


static ngx_int_t
ngx_http_academy_class_field(ngx_http_request_t *r, json_t *root,
    ngx_str_t *text)
{
    json_t                  *value;
    ngx_http_academy_ctx_t  *ctx;

    value = json_object_get(root, "agent");

    if (value == NULL) {
        return ngx_http_academy_refuse_field(r, text, "agent", "missing");
    }

    if (!json_is_string(value)) {
        return ngx_http_academy_refuse_field(r, text, "agent",
                                             "not a string");
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    if (ngx_http_academy_string(r, value, &ctx->call.in.class) != NGX_OK) {
        return NGX_ERROR;
    }

    value = json_object_get(root, "allow_subclasses");

    if (value == NULL) {
        return ngx_http_academy_refuse_field(r, text, "allow_subclasses",
                                             "missing");
    }

    if (!json_is_boolean(value)) {
        return ngx_http_academy_refuse_field(r, text, "allow_subclasses",
                                             "not a boolean");
    }

    ctx->call.subclasses = json_is_true(value);

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_group_field(ngx_http_request_t *r, json_t *root,
    ngx_str_t *text)
{
    size_t                   len;
    json_t                  *value;
    ngx_http_academy_ctx_t  *ctx;

    value = json_object_get(root, "group_id");

    if (value == NULL) {
        return ngx_http_academy_refuse_field(r, text, "group_id", "missing");
    }

    if (!json_is_string(value)) {
        return ngx_http_academy_refuse_field(r, text, "group_id",
                                             "not a string");
    }

    len = json_string_length(value);

    if (len == 0 || len > NGX_HTTP_ACADEMY_MAX_GROUP_LEN) {
        return ngx_http_academy_refuse_field(r, text, "group_id",
                                             "not of 1 to 256 bytes");
    }

    if (ngx_strlchr((u_char *) json_string_value(value),
                    (u_char *) json_string_value(value) + len, ',')
        != NULL)
    {
        return ngx_http_academy_refuse_field(r, text, "group_id",
                                             "a comma in it");
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    return ngx_http_academy_string(r, value, &ctx->call.in.group);
}


static ngx_int_t
ngx_http_academy_wait_fields(ngx_http_request_t *r, ngx_str_t *body,
    ngx_str_t *text)
{
    double                          timeout;
    ngx_http_academy_ctx_t         *ctx;
    ngx_http_academy_wait_t         wait;
    ngx_http_academy_loc_conf_t    *alcf;
    ngx_http_academy_scan_error_t   error;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);
    ctx = ngx_http_get_module_ctx(r, ngx_http_academy_module);

    if (ngx_http_academy_scan_wait(body->data, body->len, &wait, &error)
        != NGX_OK)
    {
        return ngx_http_academy_refuse_field(r, text, error.field, error.why);
    }

    ctx->call.id = wait.mailbox.id;

    if (!wait.timed) {
        ctx->timeout = alcf->listen_timeout;
        return NGX_OK;
    }

    timeout = wait.timeout * 1000;

    if (timeout > 0 && timeout <= (double) alcf->listen_timeout) {

        /* at least the clock's step: who waits at all gets what is there */

        ctx->timeout = (ngx_msec_t) timeout;
        ctx->timeout = ngx_max(ctx->timeout, 1);
        return NGX_OK;
    }

    text->data = ngx_pnalloc(r->pool, 128);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    if (alcf->listen_timeout % 1000) {
        text->len = ngx_snprintf(text->data, 128, "Invalid timeout (must be "
                                 "less than %M.%03M and greater than 0)",
                                 alcf->listen_timeout / 1000,
                                 alcf->listen_timeout % 1000)
                    - text->data;

    } else {
        text->len = ngx_snprintf(text->data, 128, "Invalid timeout (must be "
                                 "less than %M and greater than 0)",
                                 alcf->listen_timeout / 1000)
                    - text->data;
    }

    return NGX_HTTP_BAD_REQUEST;
}


static ngx_int_t
ngx_http_academy_string(ngx_http_request_t *r, json_t *value, ngx_str_t *s)
{
    s->len = json_string_length(value);

    s->data = ngx_pnalloc(r->pool, s->len + 1);
    if (s->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(s->data, json_string_value(value), s->len);

    return NGX_OK;
}
