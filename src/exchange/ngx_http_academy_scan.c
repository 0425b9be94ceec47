
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * The message path's JSON scanner.
 *
 *     body    = object with "message": string   that, unescaped, is a message
 *     wait    = object with "mailbox": string   that, unescaped, is an entity;
 *               if present, "timeout": number
 *     message = object with "header": header and "body": any value
 *     header  = object with "src" and "dest": entity, "tag": uuid,
 *               "kind": "request" or "response"; if present, "label": uuid
 *               or null, "protocol_version": string or null,
 *               "academy_version": string
 *     entity  = object with "uid": uuid; if present, "name": string or null,
 *               "role": "agent" or "user"; and with nothing else
 *
 * All else is RFC 8259 to the letter.  What a client's parser (pydantic) does
 * not take must not be taken here, since a message that it cannot read ends
 * the agent that gets it: hence the limits on nesting and on the digits of a
 * number's integer part.
 *
 * The text is first checked to be UTF-8, all of it at once; from then on bytes
 * above 0x7f are errors anywhere but in strings.  The members that mean
 * something are read here, scan_object.c leads to them.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_utf8.h"
#include "ngx_http_academy_scan_core.h"


static ngx_int_t ngx_http_academy_scan_mailbox_text(
    ngx_http_academy_scan_t *s, u_char *p, ngx_http_academy_entity_t *entity);
static ngx_inline void ngx_http_academy_scan_anybody(
    ngx_http_academy_entity_t *entity);
static ngx_inline void ngx_http_academy_scan_envelope(
    ngx_http_academy_envelope_t *env);
static ngx_inline void ngx_http_academy_scan_open(ngx_http_academy_scan_t *s,
    u_char *p, size_t len, const char *field,
    ngx_http_academy_scan_error_t *err);
static ngx_int_t ngx_http_academy_scan_begin(ngx_http_academy_scan_t *s,
    u_char *p, size_t len, const char *field,
    ngx_http_academy_scan_error_t *err);
static ngx_int_t ngx_http_academy_scan_text(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_object_t *object, void *data);

static u_char *ngx_http_academy_scan_json(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_nested(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_first(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_uuid(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_label(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_kind(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_role(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_name(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_version(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_nullable(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_timeout(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_any(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_word(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, u_char *buf,
    ngx_str_t *word);


/* bytes of a decimal number whose digits a double has exactly */

#define NGX_HTTP_ACADEMY_SCAN_EXACT  15


#define ngx_http_academy_scan_entity_members(prefix)                          \
    { ngx_http_academy_scan_name_of(0, "uid"), prefix ".uid",                 \
      ngx_http_academy_scan_uuid, NULL,                                       \
      offsetof(ngx_http_academy_entity_t, id.uid) },                          \
    { ngx_http_academy_scan_name_of(1, "name"), prefix ".name",               \
      ngx_http_academy_scan_name, NULL,                                       \
      offsetof(ngx_http_academy_entity_t, name) },                            \
    { ngx_http_academy_scan_name_of(2, "role"), prefix ".role",               \
      ngx_http_academy_scan_role, NULL,                                       \
      offsetof(ngx_http_academy_entity_t, id.role) },                         \
    ngx_http_academy_scan_null_member

/* no text is like it: not sixteen zeros */

#define ngx_http_academy_scan_null_member                                     \
    { 0, 0, 0xffff, { 0 }, NULL, NULL, NULL, 0 }


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_mailbox_members[] =
{
    ngx_http_academy_scan_entity_members("mailbox")
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_mailbox = {
    "mailbox", ngx_http_academy_scan_mailbox_members,
    ngx_http_academy_scan_bit(0), 1
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_src_members[] =
{
    ngx_http_academy_scan_entity_members("header.src")
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_src = {
    "header.src", ngx_http_academy_scan_src_members,
    ngx_http_academy_scan_bit(0), 1
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_dest_members[] =
{
    ngx_http_academy_scan_entity_members("header.dest")
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_dest = {
    "header.dest", ngx_http_academy_scan_dest_members,
    ngx_http_academy_scan_bit(0), 1
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_header_members[] =
{
    { ngx_http_academy_scan_name_of(0, "src"), "header.src",
      ngx_http_academy_scan_nested, &ngx_http_academy_scan_src,
      offsetof(ngx_http_academy_envelope_t, src) },

    { ngx_http_academy_scan_name_of(1, "dest"), "header.dest",
      ngx_http_academy_scan_nested, &ngx_http_academy_scan_dest,
      offsetof(ngx_http_academy_envelope_t, dest) },

    { ngx_http_academy_scan_name_of(2, "tag"), "header.tag",
      ngx_http_academy_scan_uuid, NULL,
      offsetof(ngx_http_academy_envelope_t, tag) },

    { ngx_http_academy_scan_name_of(3, "label"), "header.label",
      ngx_http_academy_scan_label, NULL, 0 },

    { ngx_http_academy_scan_name_of(4, "kind"), "header.kind",
      ngx_http_academy_scan_kind, NULL, 0 },

    { ngx_http_academy_scan_name_of(5, "protocol_version"),
      "header.protocol_version",
      ngx_http_academy_scan_nullable, NULL, 0 },

    { ngx_http_academy_scan_name_of(6, "academy_version"),
      "header.academy_version",
      ngx_http_academy_scan_version, NULL, 0 },

    ngx_http_academy_scan_null_member
};

static const ngx_http_academy_scan_object_t
    ngx_http_academy_scan_header_object =
{
    "header", ngx_http_academy_scan_header_members,
    ngx_http_academy_scan_bit(0) | ngx_http_academy_scan_bit(1)
    | ngx_http_academy_scan_bit(2) | ngx_http_academy_scan_bit(4), 0
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_message_members[] =
{
    { ngx_http_academy_scan_name_of(0, "header"), "header",
      ngx_http_academy_scan_nested, &ngx_http_academy_scan_header_object,
      0 },

    { ngx_http_academy_scan_name_of(1, "body"), "body",
      ngx_http_academy_scan_any, NULL, 0 },

    ngx_http_academy_scan_null_member
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_message = {
    "message", ngx_http_academy_scan_message_members,
    ngx_http_academy_scan_bit(0) | ngx_http_academy_scan_bit(1), 0
};


/* of a message that was read before nothing matters behind the header */

static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_head_members[] =
{
    { ngx_http_academy_scan_name_of(0, "header"), "header",
      ngx_http_academy_scan_first, &ngx_http_academy_scan_header_object,
      0 },

    ngx_http_academy_scan_null_member
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_head = {
    "message", ngx_http_academy_scan_head_members,
    ngx_http_academy_scan_bit(0), 0
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_request_members[] =
{
    { ngx_http_academy_scan_name_of(0, "message"), "message",
      ngx_http_academy_scan_json, NULL,
      offsetof(ngx_http_academy_envelope_t, json) },

    ngx_http_academy_scan_null_member
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_request = {
    "request body", ngx_http_academy_scan_request_members,
    ngx_http_academy_scan_bit(0), 0
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_wait_members[] =
{
    { ngx_http_academy_scan_name_of(0, "mailbox"), "mailbox",
      ngx_http_academy_scan_json, NULL,
      offsetof(ngx_http_academy_wait_t, json) },

    { ngx_http_academy_scan_name_of(1, "timeout"), "timeout",
      ngx_http_academy_scan_timeout, NULL, 0 },

    ngx_http_academy_scan_null_member
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_waits = {
    "request body", ngx_http_academy_scan_wait_members,
    ngx_http_academy_scan_bit(0), 0
};


ngx_int_t
ngx_http_academy_scan_put(u_char *body, size_t len, size_t limit,
    ngx_http_academy_envelope_t *env, ngx_http_academy_scan_error_t *err)
{
    ngx_http_academy_scan_t  s;

    ngx_http_academy_scan_envelope(env);

    if (ngx_http_academy_scan_begin(&s, body, len, "request body", err)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (ngx_http_academy_scan_text(&s, body, &ngx_http_academy_scan_request,
                                   env)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (env->json.len > limit) {
        return NGX_ABORT;
    }

    s.end = env->json.data + env->json.len;
    s.rewrite = 1;

    return ngx_http_academy_scan_text(&s, env->json.data,
                                      &ngx_http_academy_scan_message, env);
}


ngx_int_t
ngx_http_academy_scan_wait(u_char *body, size_t len,
    ngx_http_academy_wait_t *wait, ngx_http_academy_scan_error_t *err)
{
    ngx_http_academy_scan_t  s;

    wait->timed = 0;

    if (ngx_http_academy_scan_begin(&s, body, len, "request body", err)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (ngx_http_academy_scan_text(&s, body, &ngx_http_academy_scan_waits,
                                   wait)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    s.end = wait->json.data + wait->json.len;
    s.rewrite = 1;

    return ngx_http_academy_scan_mailbox_text(&s, wait->json.data,
                                              &wait->mailbox);
}


ngx_int_t
ngx_http_academy_scan_header(u_char *p, size_t len,
    ngx_http_academy_envelope_t *env)
{
    ngx_http_academy_scan_t        s;
    ngx_http_academy_scan_error_t  err;

    ngx_http_academy_scan_envelope(env);
    ngx_http_academy_scan_open(&s, p, len, "message", &err);

    err.why = "";

    (void) ngx_http_academy_scan_text(&s, p, &ngx_http_academy_scan_head, env);

    return err.why ? NGX_DECLINED : NGX_OK;
}


ngx_int_t
ngx_http_academy_scan_entity(u_char *p, size_t len,
    ngx_http_academy_entity_t *entity, ngx_http_academy_scan_error_t *err)
{
    ngx_http_academy_scan_t  s;

    if (ngx_http_academy_scan_begin(&s, p, len, "mailbox", err) != NGX_OK) {
        return NGX_DECLINED;
    }

    s.rewrite = 1;

    return ngx_http_academy_scan_mailbox_text(&s, p, entity);
}


static ngx_int_t
ngx_http_academy_scan_mailbox_text(ngx_http_academy_scan_t *s, u_char *p,
    ngx_http_academy_entity_t *entity)
{
    ngx_http_academy_scan_anybody(entity);

    return ngx_http_academy_scan_text(s, p, &ngx_http_academy_scan_mailbox,
                                      entity);
}


ngx_int_t
ngx_http_academy_scan_value(u_char *p, size_t len,
    ngx_http_academy_scan_error_t *err)
{
    ngx_http_academy_scan_t  s;

    if (ngx_http_academy_scan_begin(&s, p, len, "value", err) != NGX_OK) {
        return NGX_DECLINED;
    }

    p = ngx_http_academy_scan_skip(&s, ngx_http_academy_scan_blanks(&s, p));

    if (p == NULL) {
        return NGX_DECLINED;
    }

    if (ngx_http_academy_scan_blanks(&s, p) != s.end) {
        ngx_http_academy_scan_syntax(&s);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* what is not in a text */

static ngx_inline void
ngx_http_academy_scan_anybody(ngx_http_academy_entity_t *entity)
{
    entity->id.role = NGX_HTTP_ACADEMY_AGENT;
    ngx_str_set(&entity->name, "null");
}


static ngx_inline void
ngx_http_academy_scan_envelope(ngx_http_academy_envelope_t *env)
{
    ngx_http_academy_scan_anybody(&env->src);
    ngx_http_academy_scan_anybody(&env->dest);

    ngx_str_null(&env->json);

    env->labeled = 0;
    env->request = 0;
}


static ngx_inline void
ngx_http_academy_scan_open(ngx_http_academy_scan_t *s, u_char *p, size_t len,
    const char *field, ngx_http_academy_scan_error_t *err)
{
    s->start = p;
    s->end = p + len;
    s->depth = 0;
    s->rewrite = 0;
    s->field = field;
    s->err = err;
    s->plain = NULL;
    s->plain_last = NULL;
    s->others = 0;
}


static ngx_int_t
ngx_http_academy_scan_begin(ngx_http_academy_scan_t *s, u_char *p, size_t len,
    const char *field, ngx_http_academy_scan_error_t *err)
{
    ngx_http_academy_scan_open(s, p, len, field, err);

    if (!ngx_http_academy_utf8(p, s->end)) {
        ngx_http_academy_scan_refuse(s, field, "not valid UTF-8");
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* one object, and nothing but white space around it */

static ngx_int_t
ngx_http_academy_scan_text(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_object_t *object, void *data)
{
    s->field = object->field;

    p = ngx_http_academy_scan_blanks(s, p);

    if (p == s->end || *p != '{') {
        ngx_http_academy_scan_refuse(s, s->field, "not a JSON object");
        return NGX_DECLINED;
    }

    p = ngx_http_academy_scan_object(s, p, object, data);

    if (p == NULL) {
        return NGX_DECLINED;
    }

    if (ngx_http_academy_scan_blanks(s, p) != s->end) {
        ngx_http_academy_scan_syntax(s);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* the members that mean something */

static u_char *
ngx_http_academy_scan_json(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    if (p == s->end || *p != '"') {
        return ngx_http_academy_scan_refuse(s, m->field, "not a string");
    }

    return ngx_http_academy_scan_unescape(s, p + 1, data);
}


static u_char *
ngx_http_academy_scan_nested(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    if (p == s->end || *p != '{') {
        return ngx_http_academy_scan_refuse(s, m->field, "not a JSON object");
    }

    return ngx_http_academy_scan_object(s, p, m->object, data);
}


/* there is no reason to read on */

static u_char *
ngx_http_academy_scan_first(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    p = ngx_http_academy_scan_nested(s, p, m, data);

    return p ? ngx_http_academy_scan_refuse(s, NULL, NULL) : NULL;
}


static u_char *
ngx_http_academy_scan_uuid(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    u_char     buf[NGX_HTTP_ACADEMY_SCAN_TEXT];
    ngx_str_t  word;

    /* what a UUID is made of needs no other look at it */

    if (s->end - p >= (ssize_t) (NGX_HTTP_ACADEMY_UUID_LEN + 2)
        && p[0] == '"' && p[NGX_HTTP_ACADEMY_UUID_LEN + 1] == '"'
        && ngx_http_academy_uuid_parse(p + 1, NGX_HTTP_ACADEMY_UUID_LEN, data)
           == NGX_OK)
    {
        return p + NGX_HTTP_ACADEMY_UUID_LEN + 2;
    }

    p = ngx_http_academy_scan_word(s, p, m, buf, &word);

    if (p == NULL) {
        return NULL;
    }

    if (ngx_http_academy_uuid_parse(word.data, word.len, data) != NGX_OK) {
        return ngx_http_academy_scan_refuse(s, m->field, "not a UUID");
    }

    return p;
}


static u_char *
ngx_http_academy_scan_label(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    ngx_http_academy_envelope_t  *env = data;

    if (p != s->end && *p == 'n') {
        return ngx_http_academy_scan_literal(s, p);
    }

    env->labeled = 1;

    return ngx_http_academy_scan_uuid(s, p, m, env->label);
}


static u_char *
ngx_http_academy_scan_kind(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    ngx_http_academy_envelope_t  *env = data;

    u_char     buf[NGX_HTTP_ACADEMY_SCAN_TEXT];
    ngx_str_t  word;

    if (ngx_http_academy_scan_here(s, p, "\"response\"")) {
        return p + sizeof("\"response\"") - 1;
    }

    if (ngx_http_academy_scan_here(s, p, "\"request\"")) {
        env->request = 1;
        return p + sizeof("\"request\"") - 1;
    }

    /* a letter may have been escaped */

    p = ngx_http_academy_scan_word(s, p, m, buf, &word);

    if (p == NULL) {
        return NULL;
    }

    if (word.len == 7 && ngx_memcmp(word.data, "request", 7) == 0) {
        env->request = 1;
        return p;
    }

    if (word.len == 8 && ngx_memcmp(word.data, "response", 8) == 0) {
        return p;
    }

    return ngx_http_academy_scan_refuse(s, m->field,
                                        "neither request nor response");
}


static u_char *
ngx_http_academy_scan_role(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    u_char  *role = data;

    u_char     buf[NGX_HTTP_ACADEMY_SCAN_TEXT];
    ngx_str_t  word;

    if (ngx_http_academy_scan_here(s, p, "\"agent\"")) {
        *role = NGX_HTTP_ACADEMY_AGENT;
        return p + sizeof("\"agent\"") - 1;
    }

    if (ngx_http_academy_scan_here(s, p, "\"user\"")) {
        *role = NGX_HTTP_ACADEMY_USER;
        return p + sizeof("\"user\"") - 1;
    }

    /* a letter may have been escaped */

    p = ngx_http_academy_scan_word(s, p, m, buf, &word);

    if (p == NULL) {
        return NULL;
    }

    if (word.len == 5 && ngx_memcmp(word.data, "agent", 5) == 0) {
        *role = NGX_HTTP_ACADEMY_AGENT;
        return p;
    }

    if (word.len == 4 && ngx_memcmp(word.data, "user", 4) == 0) {
        *role = NGX_HTTP_ACADEMY_USER;
        return p;
    }

    return ngx_http_academy_scan_refuse(s, m->field,
                                        "neither agent nor user");
}


static u_char *
ngx_http_academy_scan_name(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    u_char     *last;
    ngx_str_t  *name = data;

    last = ngx_http_academy_scan_nullable(s, p, m, data);

    if (last) {
        name->data = p;
        name->len = last - p;
    }

    return last;
}


static u_char *
ngx_http_academy_scan_nullable(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    if (p != s->end && *p == 'n') {
        return ngx_http_academy_scan_literal(s, p);
    }

    return ngx_http_academy_scan_version(s, p, m, data);
}


static u_char *
ngx_http_academy_scan_version(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    if (p == s->end || *p != '"') {
        return ngx_http_academy_scan_refuse(s, m->field, "not a string");
    }

    return ngx_http_academy_scan_over(s, p + 1);
}


/* converted where it is read: its text may be written over afterwards */

static u_char *
ngx_http_academy_scan_timeout(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    ngx_http_academy_wait_t *wait = data;

    u_char  *q, *start, buf[NGX_HTTP_ACADEMY_SCAN_TEXT];
    double   number, scale;

    if (p == s->end || (*p != '-' && (*p < '0' || *p > '9'))) {
        return ngx_http_academy_scan_refuse(s, m->field, "not a number");
    }

    start = p;
    p = ngx_http_academy_scan_skip(s, p);

    if (p == NULL) {
        return NULL;
    }

    wait->timed = 1;

    /* few digits: both numbers are exact, and so one division is */

    number = 0;
    scale = 0;

    for (q = start; q < p && p - start <= NGX_HTTP_ACADEMY_SCAN_EXACT; q++) {

        if (*q == '.') {
            scale = 1;
            continue;
        }

        if (*q < '0' || *q > '9') {
            break;
        }

        number = number * 10 + (*q - '0');
        scale *= 10;
    }

    if (q == p) {
        wait->timeout = number / (scale ? scale : 1);
        return p;
    }

    if ((size_t) (p - start) >= sizeof(buf)) {
        return ngx_http_academy_scan_refuse(s, m->field,
                                            "a number that is too long");
    }

    ngx_memcpy(buf, start, p - start);
    buf[p - start] = '\0';

    wait->timeout = strtod((char *) buf, NULL);

    return p;
}


static u_char *
ngx_http_academy_scan_any(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    return ngx_http_academy_scan_skip(s, p);
}


/* a string that is compared with something short */

static u_char *
ngx_http_academy_scan_word(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, u_char *buf, ngx_str_t *word)
{
    ngx_http_academy_scan_string_t  string;

    if (p == s->end || *p != '"') {
        return ngx_http_academy_scan_refuse(s, m->field, "not a string");
    }

    p = ngx_http_academy_scan_string(s, p + 1, &string);

    if (p) {
        ngx_http_academy_scan_plain(&string, buf, word);
    }

    return p;
}


u_char *
ngx_http_academy_scan_refuse(ngx_http_academy_scan_t *s, const char *field,
    const char *why)
{
    s->err->field = field;
    s->err->why = why;

    return NULL;
}


u_char *
ngx_http_academy_scan_syntax(ngx_http_academy_scan_t *s)
{
    return ngx_http_academy_scan_refuse(s, s->field, "not valid JSON");
}
