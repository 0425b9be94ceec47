
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
 * The text is first checked to be UTF-8, all of it at once.  From then on
 * only quotation marks, backslashes and control characters matter in strings,
 * and bytes above 0x7f are errors anywhere else.  What an escape stands for
 * is UTF-8 too, so an unescaped message needs no second check.
 *
 * Unescaping goes from left to right in one buffer, and begins to write where
 * the buffer begins, not only where the string does: no escape is shorter than
 * what it stands for, so what is written never catches up with what is still
 * to be read.
 *
 * A function that reads gets the position where its token begins and returns
 * the position behind it, or NULL with s->err filled in.  Nothing at s->end
 * or behind it is touched.  Objects with a meaning are read by _object(), in
 * which the tables lead from one to the next, and no deeper than from a
 * message to an entity; all other values are passed over by _skip(), which
 * keeps its own stack.
 *
 * No member may be given twice in an object with a meaning.  Members that
 * stand in its table have a bit each; others are told apart by a 64-bit hash
 * of their unescaped names and nothing else.  The same name always has the
 * same hash, and who finds two names with one hash has found a way to have
 * his own message refused.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_utf8.h"
#include "ngx_http_academy_block.h"
#include "ngx_http_academy_scan.h"


/*
 * Room for the text of an escaped string.  One that is cut off to fit, which
 * happens up to a character before the end, must still be longer than any that
 * means something: "urn:uuid:" and a UUID are 45.
 */

#define NGX_HTTP_ACADEMY_SCAN_TEXT     64


typedef struct {
    u_char                           *start;
    u_char                           *end;
    ngx_uint_t                        depth;     /* open containers */
    ngx_uint_t                        rewrite;   /* white space to blanks */
    const char                       *field;     /* of syntax errors */
    ngx_http_academy_scan_error_t    *err;
} ngx_http_academy_scan_t;


/* the text between a string's quotation marks, as it was written */

typedef struct {
    u_char                           *data;
    u_char                           *last;
    ngx_uint_t                        escaped;
} ngx_http_academy_scan_string_t;


/*
 * The names met so far in one object: those in its table, a bit each, and the
 * others by a hash
 */

typedef struct {
    ngx_uint_t                        seen;
    ngx_uint_t                        members;
    ngx_uint_t                        others;
    uint64_t                          hash[NGX_HTTP_ACADEMY_JSON_MEMBERS];
} ngx_http_academy_scan_keys_t;


typedef struct ngx_http_academy_scan_member_s  ngx_http_academy_scan_member_t;
typedef struct ngx_http_academy_scan_object_s  ngx_http_academy_scan_object_t;


/* data is the place in the object's structure that the member's offset says */

typedef u_char *(*ngx_http_academy_scan_pt)(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);


struct ngx_http_academy_scan_member_s {
    ngx_str_t                              name;
    const char                            *field;
    ngx_http_academy_scan_pt               read;
    const ngx_http_academy_scan_object_t  *object;
    size_t                                 offset;
    ngx_uint_t                             required;
};


struct ngx_http_academy_scan_object_s {
    const char                            *field;
    const ngx_http_academy_scan_member_t  *members;
    ngx_uint_t                             closed;   /* takes no others */
};


static ngx_int_t ngx_http_academy_scan_begin(ngx_http_academy_scan_t *s,
    u_char *p, size_t len, const char *field,
    ngx_http_academy_scan_error_t *err);
static ngx_int_t ngx_http_academy_scan_text(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_object_t *object, void *data);
static u_char *ngx_http_academy_scan_object(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_object_t *object, void *data);
static u_char *ngx_http_academy_scan_key(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_object_t *object,
    ngx_http_academy_scan_keys_t *keys,
    const ngx_http_academy_scan_member_t **found);
static const ngx_http_academy_scan_member_t *ngx_http_academy_scan_find(
    const ngx_http_academy_scan_object_t *object,
    ngx_http_academy_scan_string_t *key);
static uint64_t ngx_http_academy_scan_hash(
    ngx_http_academy_scan_string_t *key);

static u_char *ngx_http_academy_scan_json(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);
static u_char *ngx_http_academy_scan_nested(ngx_http_academy_scan_t *s,
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
static void ngx_http_academy_scan_plain(
    ngx_http_academy_scan_string_t *string, u_char *buf, ngx_str_t *text);

static u_char *ngx_http_academy_scan_skip(ngx_http_academy_scan_t *s,
    u_char *p);
static ngx_inline u_char *ngx_http_academy_scan_skip_name(
    ngx_http_academy_scan_t *s, u_char *p);
static ngx_inline u_char *ngx_http_academy_scan_skip_string(
    ngx_http_academy_scan_t *s, u_char *p);
static ngx_inline u_char *ngx_http_academy_scan_colon(
    ngx_http_academy_scan_t *s, u_char *p);
static u_char *ngx_http_academy_scan_string(ngx_http_academy_scan_t *s,
    u_char *p, ngx_http_academy_scan_string_t *string);
static ngx_inline u_char *ngx_http_academy_scan_string_blocks(u_char *p,
    u_char *end, ngx_uint_t *escaped);
static u_char *ngx_http_academy_scan_unescape(ngx_http_academy_scan_t *s,
    u_char *p, ngx_str_t *text);
static u_char *ngx_http_academy_scan_unescape_blocks(u_char *p, u_char *end,
    u_char **last);
static ngx_inline u_char *ngx_http_academy_scan_escape(u_char *p,
    u_char *end, u_char **dst);
static u_char *ngx_http_academy_scan_unicode(u_char *p, u_char *end,
    u_char **dst);
static ngx_int_t ngx_http_academy_scan_hex(u_char *p);
static u_char *ngx_http_academy_scan_number(ngx_http_academy_scan_t *s,
    u_char *p);
static u_char *ngx_http_academy_scan_literal(ngx_http_academy_scan_t *s,
    u_char *p);
static ngx_inline u_char *ngx_http_academy_scan_decimal(
    ngx_http_academy_scan_t *s, u_char *p);
static ngx_inline u_char *ngx_http_academy_scan_blanks(
    ngx_http_academy_scan_t *s, u_char *p);
static u_char *ngx_http_academy_scan_space(ngx_http_academy_scan_t *s,
    u_char *p);

static u_char *ngx_http_academy_scan_refuse(ngx_http_academy_scan_t *s,
    const char *field, const char *why);
static u_char *ngx_http_academy_scan_syntax(ngx_http_academy_scan_t *s);


/* of characters up to the blank: the blank, CR, LF and TAB */

#define ngx_http_academy_scan_blank(c)  (0x100002600ull >> (c) & 1)

#define ngx_http_academy_scan_bit(object, m)                                  \
    ((ngx_uint_t) 1 << ((m) - (object)->members))

#define ngx_http_academy_scan_entity_members(prefix)                          \
    { ngx_string("uid"), prefix ".uid", ngx_http_academy_scan_uuid, NULL,     \
      offsetof(ngx_http_academy_entity_t, id.uid), 1 },                       \
    { ngx_string("name"), prefix ".name", ngx_http_academy_scan_name, NULL,   \
      offsetof(ngx_http_academy_entity_t, name), 0 },                         \
    { ngx_string("role"), prefix ".role", ngx_http_academy_scan_role, NULL,   \
      offsetof(ngx_http_academy_entity_t, id.role), 0 },                      \
    ngx_http_academy_scan_null_member

#define ngx_http_academy_scan_null_member                                     \
    { { 0, NULL }, NULL, NULL, NULL, 0, 0 }


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_mailbox_members[] =
{
    ngx_http_academy_scan_entity_members("mailbox")
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_mailbox = {
    "mailbox", ngx_http_academy_scan_mailbox_members, 1
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_src_members[] =
{
    ngx_http_academy_scan_entity_members("header.src")
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_src = {
    "header.src", ngx_http_academy_scan_src_members, 1
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_dest_members[] =
{
    ngx_http_academy_scan_entity_members("header.dest")
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_dest = {
    "header.dest", ngx_http_academy_scan_dest_members, 1
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_header_members[] =
{
    { ngx_string("src"), "header.src",
      ngx_http_academy_scan_nested, &ngx_http_academy_scan_src,
      offsetof(ngx_http_academy_envelope_t, src), 1 },

    { ngx_string("dest"), "header.dest",
      ngx_http_academy_scan_nested, &ngx_http_academy_scan_dest,
      offsetof(ngx_http_academy_envelope_t, dest), 1 },

    { ngx_string("tag"), "header.tag",
      ngx_http_academy_scan_uuid, NULL,
      offsetof(ngx_http_academy_envelope_t, tag), 1 },

    { ngx_string("label"), "header.label",
      ngx_http_academy_scan_label, NULL, 0, 0 },

    { ngx_string("kind"), "header.kind",
      ngx_http_academy_scan_kind, NULL, 0, 1 },

    { ngx_string("protocol_version"), "header.protocol_version",
      ngx_http_academy_scan_nullable, NULL, 0, 0 },

    { ngx_string("academy_version"), "header.academy_version",
      ngx_http_academy_scan_version, NULL, 0, 0 },

    ngx_http_academy_scan_null_member
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_header = {
    "header", ngx_http_academy_scan_header_members, 0
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_message_members[] =
{
    { ngx_string("header"), "header",
      ngx_http_academy_scan_nested, &ngx_http_academy_scan_header, 0, 1 },

    { ngx_string("body"), "body",
      ngx_http_academy_scan_any, NULL, 0, 1 },

    ngx_http_academy_scan_null_member
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_message = {
    "message", ngx_http_academy_scan_message_members, 0
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_request_members[] =
{
    { ngx_string("message"), "message",
      ngx_http_academy_scan_json, NULL,
      offsetof(ngx_http_academy_envelope_t, json), 1 },

    ngx_http_academy_scan_null_member
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_request = {
    "request body", ngx_http_academy_scan_request_members, 0
};


static const ngx_http_academy_scan_member_t
    ngx_http_academy_scan_wait_members[] =
{
    { ngx_string("mailbox"), "mailbox",
      ngx_http_academy_scan_json, NULL,
      offsetof(ngx_http_academy_wait_t, json), 1 },

    { ngx_string("timeout"), "timeout",
      ngx_http_academy_scan_timeout, NULL, 0, 0 },

    ngx_http_academy_scan_null_member
};

static const ngx_http_academy_scan_object_t  ngx_http_academy_scan_waits = {
    "request body", ngx_http_academy_scan_wait_members, 0
};


#define NGX_HTTP_ACADEMY_SCAN_UNICODE  1

/* what a character behind a backslash stands for; 0: it must not be there */

static const u_char  ngx_http_academy_scan_escapes[256] = {
    ['"'] = '"', ['\\'] = '\\', ['/'] = '/',
    ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t',
    ['u'] = NGX_HTTP_ACADEMY_SCAN_UNICODE
};


#define NGX_HTTP_ACADEMY_SCAN_DIGIT    0x10

static const u_char  ngx_http_academy_scan_digits[256] = {
    ['0'] = 0x10, ['1'] = 0x11, ['2'] = 0x12, ['3'] = 0x13, ['4'] = 0x14,
    ['5'] = 0x15, ['6'] = 0x16, ['7'] = 0x17, ['8'] = 0x18, ['9'] = 0x19,
    ['a'] = 0x1a, ['b'] = 0x1b, ['c'] = 0x1c,
    ['d'] = 0x1d, ['e'] = 0x1e, ['f'] = 0x1f,
    ['A'] = 0x1a, ['B'] = 0x1b, ['C'] = 0x1c,
    ['D'] = 0x1d, ['E'] = 0x1e, ['F'] = 0x1f
};


ngx_int_t
ngx_http_academy_scan_put(u_char *body, size_t len, size_t limit,
    ngx_http_academy_envelope_t *env, ngx_http_academy_scan_error_t *err)
{
    ngx_http_academy_scan_t  s;

    ngx_memzero(env, sizeof(ngx_http_academy_envelope_t));

    ngx_str_set(&env->src.name, "null");
    ngx_str_set(&env->dest.name, "null");

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

    return ngx_http_academy_scan_entity(wait->json.data, wait->json.len,
                                        &wait->mailbox, err);
}


ngx_int_t
ngx_http_academy_scan_entity(u_char *p, size_t len,
    ngx_http_academy_entity_t *entity, ngx_http_academy_scan_error_t *err)
{
    ngx_http_academy_scan_t  s;

    ngx_memzero(entity, sizeof(ngx_http_academy_entity_t));

    ngx_str_set(&entity->name, "null");

    if (ngx_http_academy_scan_begin(&s, p, len, "mailbox", err) != NGX_OK) {
        return NGX_DECLINED;
    }

    s.rewrite = 1;

    return ngx_http_academy_scan_text(&s, p, &ngx_http_academy_scan_mailbox,
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


u_char *
ngx_http_academy_escape(u_char *dst, u_char *src, size_t len)
{
    u_char                    c, *end;
    size_t                    n;
    ngx_http_academy_block_t  b;
    ngx_http_academy_mask_t   mask;

    end = src + len;

    /*
     * What is behind a backslash that is put in is copied once more, by one
     * farther.  A block never goes beyond the end of what is written, since
     * at least as much as it holds is still to come.
     */

    while (end - src >= 2 * NGX_HTTP_ACADEMY_BLOCK) {
        b = ngx_http_academy_block_load(src);
        mask = ngx_http_academy_block_mask(ngx_http_academy_block_quoted(b));

        ngx_http_academy_block_store(dst, b);

        while (mask) {
            n = ngx_http_academy_mask_first(mask);

            dst[n] = '\\';
            dst++;

            ngx_http_academy_block_store(dst + n,
                                         ngx_http_academy_block_load(src + n));

            mask = ngx_http_academy_mask_rest(mask);
        }

        src += NGX_HTTP_ACADEMY_BLOCK;
        dst += NGX_HTTP_ACADEMY_BLOCK;
    }

    while (src < end) {
        c = *src++;

        if (c == '"' || c == '\\') {
            *dst++ = '\\';
        }

        *dst++ = c;
    }

    return dst;
}


size_t
ngx_http_academy_escape_count(u_char *src, size_t len)
{
    u_char  *end;
    size_t   n;

    n = 0;
    end = src + len;

    while (end - src >= NGX_HTTP_ACADEMY_BLOCK) {
        n += ngx_http_academy_block_count(ngx_http_academy_block_quoted(
                                          ngx_http_academy_block_load(src)));
        src += NGX_HTTP_ACADEMY_BLOCK;
    }

    for ( /* void */ ; src < end; src++) {
        n += (*src == '"') | (*src == '\\');
    }

    return n;
}


static ngx_int_t
ngx_http_academy_scan_begin(ngx_http_academy_scan_t *s, u_char *p, size_t len,
    const char *field, ngx_http_academy_scan_error_t *err)
{
    s->start = p;
    s->end = p + len;
    s->depth = 0;
    s->rewrite = 0;
    s->field = field;
    s->err = err;

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


static u_char *
ngx_http_academy_scan_object(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_object_t *object, void *data)
{
    ngx_http_academy_scan_keys_t           keys;
    const ngx_http_academy_scan_member_t  *m;

    m = NULL;

    keys.seen = 0;
    keys.members = 0;
    keys.others = 0;

    s->depth++;

    p = ngx_http_academy_scan_blanks(s, p + 1);

    if (p != s->end && *p == '}') {
        goto done;
    }

    for ( ;; ) {
        p = ngx_http_academy_scan_key(s, p, object, &keys, &m);

        if (p == NULL) {
            return NULL;
        }

        p = m ? m->read(s, p, m, (u_char *) data + m->offset)
              : ngx_http_academy_scan_skip(s, p);

        if (p == NULL) {
            return NULL;
        }

        p = ngx_http_academy_scan_blanks(s, p);

        if (p == s->end) {
            return ngx_http_academy_scan_syntax(s);
        }

        if (*p == '}') {
            break;
        }

        if (*p != ',') {
            return ngx_http_academy_scan_syntax(s);
        }

        p = ngx_http_academy_scan_blanks(s, p + 1);
    }

done:

    s->depth--;

    for (m = object->members; m->read; m++) {

        if (m->required
            && !(keys.seen & ngx_http_academy_scan_bit(object, m)))
        {
            return ngx_http_academy_scan_refuse(s, m->field, "missing");
        }
    }

    return p + 1;
}


/* a member's name and the colon; found is NULL for a name without a meaning */

static u_char *
ngx_http_academy_scan_key(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_object_t *object,
    ngx_http_academy_scan_keys_t *keys,
    const ngx_http_academy_scan_member_t **found)
{
    uint64_t                               hash;
    ngx_uint_t                             i;
    ngx_http_academy_scan_string_t         key;
    const ngx_http_academy_scan_member_t  *m;

    if (p == s->end || *p != '"') {
        return ngx_http_academy_scan_syntax(s);
    }

    p = ngx_http_academy_scan_string(s, p + 1, &key);

    if (p == NULL) {
        return NULL;
    }

    if (keys->members++ == NGX_HTTP_ACADEMY_JSON_MEMBERS) {
        return ngx_http_academy_scan_refuse(s, object->field,
                                            "more than 64 members");
    }

    m = ngx_http_academy_scan_find(object, &key);

    *found = m;

    if (m) {

        if (keys->seen & ngx_http_academy_scan_bit(object, m)) {
            return ngx_http_academy_scan_refuse(s, m->field, "given twice");
        }

        keys->seen |= ngx_http_academy_scan_bit(object, m);

        return ngx_http_academy_scan_colon(s, p);
    }

    if (object->closed) {
        return ngx_http_academy_scan_refuse(s, object->field,
                                            "an unknown member");
    }

    hash = ngx_http_academy_scan_hash(&key);

    for (i = 0; i < keys->others; i++) {

        if (keys->hash[i] == hash) {
            return ngx_http_academy_scan_refuse(s, object->field,
                                                "a member given twice");
        }
    }

    keys->hash[keys->others++] = hash;

    return ngx_http_academy_scan_colon(s, p);
}


static const ngx_http_academy_scan_member_t *
ngx_http_academy_scan_find(const ngx_http_academy_scan_object_t *object,
    ngx_http_academy_scan_string_t *key)
{
    u_char                                 buf[NGX_HTTP_ACADEMY_SCAN_TEXT];
    size_t                                 i;
    ngx_str_t                              name;
    const ngx_http_academy_scan_member_t  *m;

    ngx_http_academy_scan_plain(key, buf, &name);

    for (m = object->members; m->read; m++) {

        if (m->name.len != name.len) {
            continue;
        }

        /* a few bytes, for which a call costs more */

        for (i = 0; i < name.len && m->name.data[i] == name.data[i]; i++) {
            /* void */
        }

        if (i == name.len) {
            return m;
        }
    }

    return NULL;
}


/* FNV-1a of what the name is once it is unescaped */

static uint64_t
ngx_http_academy_scan_hash(ngx_http_academy_scan_string_t *key)
{
    u_char    *p, *q, *last, buf[4];
    uint64_t   hash;

    hash = 0xcbf29ce484222325ull;

    for (p = key->data; p < key->last; /* void */ ) {

        if (*p != '\\') {
            hash = (hash ^ *p++) * 0x100000001b3ull;
            continue;
        }

        last = buf;
        p = ngx_http_academy_scan_escape(p, key->last, &last);

        for (q = buf; q < last; q++) {
            hash = (hash ^ *q) * 0x100000001b3ull;
        }
    }

    return hash;
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


static u_char *
ngx_http_academy_scan_uuid(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    u_char     buf[NGX_HTTP_ACADEMY_SCAN_TEXT];
    ngx_str_t  word;

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
    ngx_http_academy_scan_string_t  string;

    if (p == s->end || *p != '"') {
        return ngx_http_academy_scan_refuse(s, m->field, "not a string");
    }

    return ngx_http_academy_scan_string(s, p + 1, &string);
}


/* converted where it is read: its text may be written over afterwards */

static u_char *
ngx_http_academy_scan_timeout(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m, void *data)
{
    ngx_http_academy_wait_t *wait = data;

    u_char  *start, buf[NGX_HTTP_ACADEMY_SCAN_TEXT];

    if (p == s->end || (*p != '-' && (*p < '0' || *p > '9'))) {
        return ngx_http_academy_scan_refuse(s, m->field, "not a number");
    }

    start = p;
    p = ngx_http_academy_scan_skip(s, p);

    if (p == NULL) {
        return NULL;
    }

    if ((size_t) (p - start) >= sizeof(buf)) {
        return ngx_http_academy_scan_refuse(s, m->field,
                                            "a number that is too long");
    }

    ngx_memcpy(buf, start, p - start);
    buf[p - start] = '\0';

    wait->timeout = strtod((char *) buf, NULL);
    wait->timed = 1;

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


/* the text of a string that was read; what has no room in buf is cut off */

static void
ngx_http_academy_scan_plain(ngx_http_academy_scan_string_t *string,
    u_char *buf, ngx_str_t *text)
{
    u_char  *p, *dst;

    if (!string->escaped) {
        text->data = string->data;
        text->len = string->last - string->data;
        return;
    }

    dst = buf;

    for (p = string->data; p < string->last; /* void */ ) {

        if (dst - buf > NGX_HTTP_ACADEMY_SCAN_TEXT - 4) {
            break;
        }

        if (*p != '\\') {
            *dst++ = *p++;
            continue;
        }

        p = ngx_http_academy_scan_escape(p, string->last, &dst);
    }

    text->data = buf;
    text->len = dst - buf;
}


/* a value of any kind */

static u_char *
ngx_http_academy_scan_skip(ngx_http_academy_scan_t *s, u_char *p)
{
    u_char      c, *end, *start;
    u_char      stack[NGX_HTTP_ACADEMY_JSON_DEPTH];
    ngx_uint_t  n, max;

    n = 0;
    max = NGX_HTTP_ACADEMY_JSON_DEPTH - s->depth;
    end = s->end;

    for ( ;; ) {

        /* the beginning of a value */

        if (p == end) {
            return ngx_http_academy_scan_syntax(s);
        }

        c = *p;

        switch (c) {

        case '"':
            p = ngx_http_academy_scan_skip_string(s, p + 1);
            break;

        case '{':
        case '[':

            if (n == max) {
                return ngx_http_academy_scan_refuse(s, s->field,
                                                    "nested too deeply");
            }

            /* in ASCII the closing bracket is the next but one */

            stack[n++] = c + 2;

            p = ngx_http_academy_scan_blanks(s, p + 1);

            if (p == end) {
                return ngx_http_academy_scan_syntax(s);
            }

            if (*p == c + 2) {
                break;
            }

            if (c == '{') {
                p = ngx_http_academy_scan_skip_name(s, p);

                if (p == NULL) {
                    return NULL;
                }
            }

            continue;

        case '1': case '2': case '3': case '4': case '5':
        case '6': case '7': case '8': case '9':

            start = p;

            do {
                p++;
            } while (p != end && (u_char) (*p - '0') < 10);

            if (p - start <= NGX_HTTP_ACADEMY_JSON_DIGITS
                && p != end && *p != '.' && *p != 'e' && *p != 'E')
            {
                break;
            }

            p = start;

            /* fall through */

        case '-': case '0':
            p = ngx_http_academy_scan_number(s, p);
            break;

        default:
            p = ngx_http_academy_scan_literal(s, p);
        }

        if (p == NULL) {
            return NULL;
        }

        /* the end of a value, and of those that it is the last one in */

        for ( ;; ) {

            if (n == 0) {
                return p;
            }

            p = ngx_http_academy_scan_blanks(s, p);

            if (p == end) {
                return ngx_http_academy_scan_syntax(s);
            }

            if (*p != stack[n - 1]) {
                break;
            }

            p++;
            n--;
        }

        if (*p != ',') {
            return ngx_http_academy_scan_syntax(s);
        }

        p = ngx_http_academy_scan_blanks(s, p + 1);

        if (stack[n - 1] == '}') {
            p = ngx_http_academy_scan_skip_name(s, p);

            if (p == NULL) {
                return NULL;
            }
        }
    }
}


/* a name that nobody asks for, and the colon */

static ngx_inline u_char *
ngx_http_academy_scan_skip_name(ngx_http_academy_scan_t *s, u_char *p)
{
    if (p == s->end || *p != '"') {
        return ngx_http_academy_scan_syntax(s);
    }

    p = ngx_http_academy_scan_skip_string(s, p + 1);

    return p ? ngx_http_academy_scan_colon(s, p) : NULL;
}


/* a string that nobody asks for; most are short and have no escapes */

static ngx_inline u_char *
ngx_http_academy_scan_skip_string(ngx_http_academy_scan_t *s, u_char *p)
{
    u_char                          *last;
    ngx_http_academy_mask_t          mask;
    ngx_http_academy_block_t         b;
    ngx_http_academy_scan_string_t   string;

    if (s->end - p >= NGX_HTTP_ACADEMY_BLOCK) {
        b = ngx_http_academy_block_load(p);
        mask = ngx_http_academy_block_mask(
                   ngx_http_academy_block_or(
                       ngx_http_academy_block_stop(b),
                       ngx_http_academy_block_is(b, '\\')));

        if (mask) {
            last = p + ngx_http_academy_mask_first(mask);

            if (*last == '"') {
                return last + 1;
            }
        }
    }

    return ngx_http_academy_scan_string(s, p, &string);
}


/* what stands between a member's name and its value */

static ngx_inline u_char *
ngx_http_academy_scan_colon(ngx_http_academy_scan_t *s, u_char *p)
{
    p = ngx_http_academy_scan_blanks(s, p);

    if (p == s->end || *p != ':') {
        return ngx_http_academy_scan_syntax(s);
    }

    return ngx_http_academy_scan_blanks(s, p + 1);
}


/* p is behind the opening quotation mark, here and in _unescape() */

static u_char *
ngx_http_academy_scan_string(ngx_http_academy_scan_t *s, u_char *p,
    ngx_http_academy_scan_string_t *string)
{
    u_char  *end;

    end = s->end;

    string->data = p;
    string->escaped = 0;

    for ( ;; ) {

        p = ngx_http_academy_scan_string_blocks(p, end, &string->escaped);

        while (p != end && *p != '"' && *p != '\\' && *p >= 0x20) {
            p++;
        }

        if (p == end) {
            return ngx_http_academy_scan_syntax(s);
        }

        if (*p == '"') {
            string->last = p;
            return p + 1;
        }

        if (*p != '\\') {
            return ngx_http_academy_scan_refuse(s, s->field,
                                          "a control character in a string");
        }

        string->escaped = 1;

        do {
            p = ngx_http_academy_scan_escape(p, end, NULL);

            if (p == NULL) {
                return ngx_http_academy_scan_refuse(s, s->field,
                                                    "an invalid escape");
            }

        } while (p != end && *p == '\\');
    }
}


/* block by block up to what _string() itself has to look at */

static ngx_inline u_char *
ngx_http_academy_scan_string_blocks(u_char *p, u_char *end,
    ngx_uint_t *escaped)
{
    size_t                    n;
    ngx_http_academy_mask_t   starts, stops, wrong;
    ngx_http_academy_block_t  b, slashes, stop;

    while (end - p >= NGX_HTTP_ACADEMY_BLOCK) {

        b = ngx_http_academy_block_load(p);

        slashes = ngx_http_academy_block_is(b, '\\');
        stop = ngx_http_academy_block_stop(b);

        if (!ngx_http_academy_block_any(ngx_http_academy_block_or(slashes,
                                                                  stop)))
        {
            p += NGX_HTTP_ACADEMY_BLOCK;
            continue;
        }

        starts = ngx_http_academy_mask_escapes(
                     ngx_http_academy_block_mask(slashes));
        stops = ngx_http_academy_block_mask(stop) & ~(starts << 1);

        n = NGX_HTTP_ACADEMY_BLOCK;

        if (stops) {
            n = ngx_http_academy_mask_first(stops);
            starts = ngx_http_academy_mask_below(starts, n);
        }

        if (starts) {
            *escaped = 1;

            if (ngx_http_academy_mask_last(starts)) {
                starts ^= ngx_http_academy_mask_last(starts);
                n--;
            }

            wrong = starts << 1
                    & ~ngx_http_academy_block_mask(
                           ngx_http_academy_block_escaped(b));

            if (wrong) {
                return p + ngx_http_academy_mask_first(wrong) - 1;
            }
        }

        p += n;

        if (stops) {
            break;
        }
    }

    return p;
}


static u_char *
ngx_http_academy_scan_unescape(ngx_http_academy_scan_t *s, u_char *p,
    ngx_str_t *text)
{
    u_char  *dst, *end;

    end = s->end;

    /* all that is before p was read: there is more room to work in */

    dst = s->start;

    text->data = dst;

    for ( ;; ) {

        p = ngx_http_academy_scan_unescape_blocks(p, end, &dst);

        /* bytes at the end, or the first ones, for want of room */

        while (p != end && *p != '"' && *p != '\\' && *p >= 0x20) {
            *dst++ = *p++;
        }

        if (p == end) {
            return ngx_http_academy_scan_syntax(s);
        }

        if (*p == '"') {
            text->len = dst - text->data;
            return p + 1;
        }

        if (*p != '\\') {
            return ngx_http_academy_scan_refuse(s, s->field,
                                          "a control character in a string");
        }

        p = ngx_http_academy_scan_escape(p, end, &dst);

        if (p == NULL) {
            return ngx_http_academy_scan_refuse(s, s->field,
                                                "an invalid escape");
        }
    }
}


/*
 * Block by block up to what _unescape() itself has to look at.  A block has to
 * lie between dst and p, so that one that is written does not touch what is
 * still to be read.  What is behind an escape is copied once more, to where it
 * belongs then: so the way from one escape to the next depends on nothing but
 * the mask.
 */

static u_char *
ngx_http_academy_scan_unescape_blocks(u_char *p, u_char *end, u_char **last)
{
    u_char                    c, *dst, *next;
    size_t                    i, n;
    ngx_http_academy_mask_t   starts, stops;
    ngx_http_academy_block_t  b, slashes, stop;

    dst = *last;

    if (p - dst < NGX_HTTP_ACADEMY_BLOCK) {
        return p;
    }

    while (end - p > 2 * NGX_HTTP_ACADEMY_BLOCK) {

        b = ngx_http_academy_block_load(p);

        ngx_http_academy_block_store(dst, b);

        slashes = ngx_http_academy_block_is(b, '\\');
        stop = ngx_http_academy_block_stop(b);

        n = NGX_HTTP_ACADEMY_BLOCK;

        if (!ngx_http_academy_block_any(ngx_http_academy_block_or(slashes,
                                                                  stop)))
        {
            p += n;
            dst += n;
            continue;
        }

        starts = ngx_http_academy_mask_escapes(
                     ngx_http_academy_block_mask(slashes));
        stops = ngx_http_academy_block_mask(stop) & ~(starts << 1);

        if (stops) {
            n = ngx_http_academy_mask_first(stops);
            starts = ngx_http_academy_mask_below(starts, n);
        }

        if (ngx_http_academy_mask_last(starts)) {
            starts ^= ngx_http_academy_mask_last(starts);
            n--;
        }

        if (!(starts << 1 & ~ngx_http_academy_block_mask(
                                 ngx_http_academy_block_quoted(b))))
        {
            /* the usual case: the backslashes go, and nothing changes */

            while (starts) {
                i = ngx_http_academy_mask_first(starts) + 1;
                starts = ngx_http_academy_mask_rest(starts);

                dst--;

                ngx_http_academy_block_store(dst + i,
                                         ngx_http_academy_block_load(p + i));
            }
        }

        while (starts) {
            i = ngx_http_academy_mask_first(starts);
            starts = ngx_http_academy_mask_rest(starts);

            c = ngx_http_academy_scan_escapes[p[i + 1]];

            if (c <= NGX_HTTP_ACADEMY_SCAN_UNICODE) {
                p += i;
                dst += i;

                do {
                    next = ngx_http_academy_scan_escape(p, end, &dst);

                    if (next == NULL) {
                        *last = dst;
                        return p;
                    }

                    p = next;

                } while (p != end && *p == '\\');

                n = 0;
                stops = 0;
                break;
            }

            dst[i] = c;
            dst--;

            ngx_http_academy_block_store(dst + i + 2,
                                     ngx_http_academy_block_load(p + i + 2));
        }

        p += n;
        dst += n;

        if (stops) {
            break;
        }
    }

    *last = dst;

    return p;
}


/* what a backslash begins; NULL if it must not be there */

static ngx_inline u_char *
ngx_http_academy_scan_escape(u_char *p, u_char *end, u_char **dst)
{
    u_char  c;

    if (end - p < 2) {
        return NULL;
    }

    c = ngx_http_academy_scan_escapes[p[1]];

    if (c <= NGX_HTTP_ACADEMY_SCAN_UNICODE) {
        return c ? ngx_http_academy_scan_unicode(p, end, dst) : NULL;
    }

    if (dst) {
        *(*dst)++ = c;
    }

    return p + 2;
}


static u_char *
ngx_http_academy_scan_unicode(u_char *p, u_char *end, u_char **dst)
{
    u_char     *d;
    ngx_int_t   c, low;

    if (end - p < 6) {
        return NULL;
    }

    c = ngx_http_academy_scan_hex(p + 2);

    if (c < 0 || (c >= 0xdc00 && c <= 0xdfff)) {
        return NULL;
    }

    p += 6;

    if (c >= 0xd800 && c <= 0xdbff) {

        if (end - p < 6 || p[0] != '\\' || p[1] != 'u') {
            return NULL;
        }

        low = ngx_http_academy_scan_hex(p + 2);

        if (low < 0xdc00 || low > 0xdfff) {
            return NULL;
        }

        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);

        p += 6;
    }

    if (dst == NULL) {
        return p;
    }

    d = *dst;

    if (c < 0x80) {
        *d++ = (u_char) c;

    } else if (c < 0x800) {
        *d++ = (u_char) (0xc0 | c >> 6);
        *d++ = (u_char) (0x80 | (c & 0x3f));

    } else if (c < 0x10000) {
        *d++ = (u_char) (0xe0 | c >> 12);
        *d++ = (u_char) (0x80 | (c >> 6 & 0x3f));
        *d++ = (u_char) (0x80 | (c & 0x3f));

    } else {
        *d++ = (u_char) (0xf0 | c >> 18);
        *d++ = (u_char) (0x80 | (c >> 12 & 0x3f));
        *d++ = (u_char) (0x80 | (c >> 6 & 0x3f));
        *d++ = (u_char) (0x80 | (c & 0x3f));
    }

    *dst = d;

    return p;
}


/* four hexadecimal digits, -1 if they are not */

static ngx_int_t
ngx_http_academy_scan_hex(u_char *p)
{
    ngx_uint_t  a, b, c, d;

    a = ngx_http_academy_scan_digits[p[0]];
    b = ngx_http_academy_scan_digits[p[1]];
    c = ngx_http_academy_scan_digits[p[2]];
    d = ngx_http_academy_scan_digits[p[3]];

    if (!(a & b & c & d & NGX_HTTP_ACADEMY_SCAN_DIGIT)) {
        return -1;
    }

    return (ngx_int_t) ((a & 0xf) << 12 | (b & 0xf) << 8
                        | (c & 0xf) << 4 | (d & 0xf));
}


static u_char *
ngx_http_academy_scan_number(ngx_http_academy_scan_t *s, u_char *p)
{
    u_char  *start;

    if (*p == '-') {
        p++;
    }

    start = p;

    if (p != s->end && *p == '0') {
        p++;

    } else {
        p = ngx_http_academy_scan_decimal(s, p);

        if (p == start) {
            return ngx_http_academy_scan_syntax(s);
        }

        if (p - start > NGX_HTTP_ACADEMY_JSON_DIGITS) {
            return ngx_http_academy_scan_refuse(s, s->field,
                                                "a number too long");
        }
    }

    if (p != s->end && *p == '.') {
        start = p + 1;
        p = ngx_http_academy_scan_decimal(s, start);

        if (p == start) {
            return ngx_http_academy_scan_syntax(s);
        }
    }

    if (p != s->end && (*p == 'e' || *p == 'E')) {
        p++;

        if (p != s->end && (*p == '+' || *p == '-')) {
            p++;
        }

        start = p;
        p = ngx_http_academy_scan_decimal(s, start);

        if (p == start) {
            return ngx_http_academy_scan_syntax(s);
        }
    }

    return p;
}


static ngx_inline u_char *
ngx_http_academy_scan_decimal(ngx_http_academy_scan_t *s, u_char *p)
{
    u_char  *end;

    end = s->end;

    while (p != end && (u_char) (*p - '0') < 10) {
        p++;
    }

    return p;
}


static u_char *
ngx_http_academy_scan_literal(ngx_http_academy_scan_t *s, u_char *p)
{
    if (s->end - p >= 4
        && (ngx_memcmp(p, "null", 4) == 0 || ngx_memcmp(p, "true", 4) == 0))
    {
        return p + 4;
    }

    if (s->end - p >= 5 && ngx_memcmp(p, "false", 5) == 0) {
        return p + 5;
    }

    return ngx_http_academy_scan_syntax(s);
}


static ngx_inline u_char *
ngx_http_academy_scan_blanks(ngx_http_academy_scan_t *s, u_char *p)
{
    if (p == s->end || *p > ' ') {
        return p;
    }

    /* the one blank behind a comma or a colon */

    if (p + 1 != s->end && p[1] > ' ' && ngx_http_academy_scan_blank(*p)) {

        if (s->rewrite) {
            *p = ' ';
        }

        return p + 1;
    }

    return ngx_http_academy_scan_space(s, p);
}


static u_char *
ngx_http_academy_scan_space(ngx_http_academy_scan_t *s, u_char *p)
{
    ngx_http_academy_block_t  b;

    while (s->end - p >= NGX_HTTP_ACADEMY_BLOCK) {
        b = ngx_http_academy_block_load(p);

        if (!ngx_http_academy_block_blank(b)) {
            break;
        }

        if (s->rewrite) {
            ngx_http_academy_block_store(p, ngx_http_academy_block_fill(' '));
        }

        p += NGX_HTTP_ACADEMY_BLOCK;
    }

    while (p != s->end) {

        if (*p == '\n' || *p == '\r' || *p == '\t') {

            if (s->rewrite) {
                *p = ' ';
            }

        } else if (*p != ' ') {
            break;
        }

        p++;
    }

    return p;
}


static u_char *
ngx_http_academy_scan_refuse(ngx_http_academy_scan_t *s, const char *field,
    const char *why)
{
    s->err->field = field;
    s->err->why = why;

    return NULL;
}


static u_char *
ngx_http_academy_scan_syntax(ngx_http_academy_scan_t *s)
{
    return ngx_http_academy_scan_refuse(s, s->field, "not valid JSON");
}
