
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * The checks that scan_fuzz and scan_replay make with each input.
 *
 * jansson is the judge of what is JSON.  Where it cannot be, the text is
 * changed before it sees it, in ways that turn no valid text into an invalid
 * one nor the other way round: it refuses numbers that overflow a double and
 * object keys with a NUL in them.  The limits that are the scanner's own,
 * nesting and the digits of a number, are computed here once more.
 *
 * What a message or an entity id has to be is written here a second time, on
 * top of jansson and without an eye on the scanner.
 *
 * Every text is given to the scanner in a piece of heap of exactly its size:
 * the address sanitizer sees the first byte that is read behind it.
 */


#include <stdio.h>
#include <stdlib.h>
#include <jansson.h>
#include "scan_check.h"


/* what is allowed; the scanner's own constants are not believed */

#define DEPTH   200
#define DIGITS  4300

#define FLAGS  (JSON_ALLOW_NUL | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL)


static json_t *parse(const u_char *data, size_t len);
static json_t *load(const u_char *data, size_t len, size_t flags);
static int overflows(const u_char *data, size_t len);
static int doubled(const u_char *data, size_t len);
static size_t harmless(u_char *dst, const u_char *src, size_t len);
static void limits(const u_char *data, size_t len, size_t *depth,
    size_t *digits);
static int within(const u_char *data, size_t len);
static int uuid_of(json_t *value, u_char uid[16]);
static int uuid_text(const char *s, size_t len, u_char uid[16]);
static int entity_of(json_t *value, ngx_http_academy_entity_t *entity);
static int envelope_of(json_t *value, ngx_http_academy_envelope_t *env);
static int twice(ngx_http_academy_scan_error_t *err);
static int same_error(ngx_http_academy_scan_error_t *a,
    ngx_http_academy_scan_error_t *b);

static void check_value(const u_char *data, size_t len);
static void check_entity(const u_char *data, size_t len);
static void check_wait(const u_char *data, size_t len);
static void check_wait_body(const u_char *data, size_t len);
static void check_uuid(const u_char *data, size_t len);
static void check_escape(const u_char *data, size_t len);
static void check_wrapped(const u_char *data, size_t len);
static void check_body(const u_char *data, size_t len);
static void check_accepted(const u_char *data, size_t len,
    ngx_http_academy_envelope_t *env, const char *text, size_t size);
static void check_same(const u_char *data, size_t len, const u_char *work,
    ngx_int_t rc, ngx_http_academy_envelope_t *env,
    ngx_http_academy_scan_error_t *err);
static int blank_equal(const u_char *a, const u_char *b, size_t len);
static int nul_equal(const u_char *a, const u_char *b, size_t len);
static u_char *copy(const u_char *data, size_t len);
static void wrong(const char *what, const u_char *data, size_t len);


scan_check_counts_t  scan_check_counts;


void
scan_check(const u_char *data, size_t len)
{
    scan_check_counts.inputs++;

    check_value(data, len);
    check_entity(data, len);
    check_wait(data, len);
    check_uuid(data, len);
    check_escape(data, len);
    check_wrapped(data, len);
    check_body(data, len);
}


static void
check_value(const u_char *data, size_t len)
{
    int                            valid;
    u_char                        *p;
    json_t                        *value;
    ngx_int_t                      rc;
    ngx_http_academy_scan_error_t  err, portable;

    value = parse(data, len);
    valid = value != NULL && within(data, len);
    json_decref(value);

    p = copy(data, len);
    err.field = err.why = NULL;

    rc = ngx_http_academy_scan_value(p, len, &err);

    if ((rc == NGX_OK) != valid) {
        wrong(valid ? "a valid value was refused"
                    : "an invalid value was accepted", data, len);
    }

    if (rc != NGX_OK && (rc != NGX_DECLINED || !err.field || !err.why)) {
        wrong("refused without a reason", data, len);
    }

    portable.field = portable.why = NULL;

    if (portable_scan_value(p, len, &portable) != rc
        || !same_error(&portable, &err)
        || (len && memcmp(p, data, len) != 0))
    {
        wrong("the portable scanner read another value", data, len);
    }

    scan_check_counts.values += valid;

    free(p);
}


static void
check_entity(const u_char *data, size_t len)
{
    int                            valid;
    u_char                        *p, *q;
    json_t                        *value;
    ngx_int_t                      rc;
    ngx_http_academy_entity_t      entity, expected, other;
    ngx_http_academy_scan_error_t  err, portable;

    value = parse(data, len);
    valid = value && within(data, len) && entity_of(value, &expected);
    json_decref(value);

    p = copy(data, len);
    err.field = err.why = NULL;

    rc = ngx_http_academy_scan_entity(p, len, &entity, &err);

    if (rc == NGX_OK && !valid) {
        wrong("an invalid entity id was accepted", data, len);
    }

    if (rc != NGX_OK && valid && !twice(&err) && !doubled(data, len)) {
        wrong("a valid entity id was refused", data, len);
    }

    if (rc == NGX_OK) {
        scan_check_counts.entities++;

        if (!ngx_http_academy_id_eq(&entity.id, &expected.id)
            || !blank_equal(p, data, len))
        {
            wrong("another entity id was read", data, len);
        }
    }

    q = copy(data, len);
    portable.field = portable.why = NULL;

    if (portable_scan_entity(q, len, &other, &portable) != rc
        || !same_error(&portable, &err)
        || (len && memcmp(p, q, len) != 0)
        || (rc == NGX_OK
            && (memcmp(&other.id, &entity.id, sizeof(other.id)) != 0
                || other.name.len != entity.name.len
                || memcmp(other.name.data, entity.name.data, other.name.len)
                   != 0)))
    {
        wrong("the portable scanner read another entity id", data, len);
    }

    free(p);
    free(q);
}


/* as the body of a receiver's request, and as the mailbox in one */

static void
check_wait(const u_char *data, size_t len)
{
    char    *body;
    json_t  *root;

    check_wait_body(data, len);

    root = json_pack("{s:f, s:s%}", "timeout", 1.5, "mailbox", data, len);
    body = root ? json_dumps(root, 0) : NULL;

    if (body) {
        check_wait_body((u_char *) body, strlen(body));
    }

    free(body);
    json_decref(root);
}


static void
check_wait_body(const u_char *data, size_t len)
{
    int                            valid;
    u_char                        *p, *q;
    json_t                        *value, *box, *inner, *timeout;
    ngx_int_t                      rc;
    ngx_http_academy_wait_t        wait, other;
    ngx_http_academy_entity_t      expected;
    ngx_http_academy_scan_error_t  err, portable;

    value = parse(data, len);
    box = json_object_get(value, "mailbox");
    timeout = json_object_get(value, "timeout");
    inner = json_is_string(box)
            ? parse((u_char *) json_string_value(box), json_string_length(box))
            : NULL;

    valid = json_is_object(value) && within(data, len)
            && inner && entity_of(inner, &expected)
            && (timeout == NULL || json_is_number(timeout));

    p = copy(data, len);
    q = copy(data, len);
    err.field = err.why = NULL;
    portable.field = portable.why = NULL;

    rc = ngx_http_academy_scan_wait(p, len, &wait, &err);

    if (rc == NGX_OK) {
        scan_check_counts.waits++;

        if (!valid
            || !ngx_http_academy_id_eq(&wait.mailbox.id, &expected.id)
            || wait.timed != (timeout != NULL)
            || (timeout && !overflows(data, len)
                && wait.timeout != json_number_value(timeout)))
        {
            wrong("another wait was read", data, len);
        }

    } else if (valid && !twice(&err) && !doubled(data, len)
               && !doubled((u_char *) json_string_value(box),
                           json_string_length(box))
               && strcmp(err.why, "a number that is too long") != 0)
    {
        wrong("a valid wait was refused", data, len);
    }

    /* behind an unescaped text its copy may have left anything */

    if (portable_scan_wait(q, len, &other, &portable) != rc
        || !same_error(&portable, &err)
        || (rc == NGX_OK
            && (other.timed != wait.timed
                || other.json.len != wait.json.len
                || memcmp(other.json.data, wait.json.data, wait.json.len) != 0
                || !ngx_http_academy_id_eq(&other.mailbox.id,
                                           &wait.mailbox.id))))
    {
        wrong("the portable scanner read another wait", data, len);
    }

    json_decref(inner);
    json_decref(value);
    free(p);
    free(q);
}


static void
check_uuid(const u_char *data, size_t len)
{
    int     valid;
    u_char  *p, uid[16], again[16], expected[16];
    u_char   text[NGX_HTTP_ACADEMY_UUID_LEN];

    p = copy(data, len);

    valid = uuid_text((const char *) data, len, expected);

    if ((ngx_http_academy_uuid_parse(p, len, uid) == NGX_OK) != valid) {
        wrong("not agreed whether it is a UUID", data, len);
    }

    if (valid) {
        if (ngx_http_academy_uuid_print(text, uid) != text + sizeof(text)
            || ngx_http_academy_uuid_parse(text, sizeof(text), again)
               != NGX_OK
            || memcmp(uid, again, 16) != 0
            || memcmp(uid, expected, 16) != 0)
        {
            wrong("another UUID came back", data, len);
        }
    }

    free(p);
}


static void
check_escape(const u_char *data, size_t len)
{
    u_char  *src, *dst, *plain, *p;
    size_t   i, n, half;

    plain = malloc(2 * len + 1);
    n = 0;

    for (i = 0; i < len; i++) {
        if (data[i] == '"' || data[i] == '\\') {
            plain[n++] = '\\';
        }

        plain[n++] = data[i];
    }

    src = copy(data, len);
    dst = malloc(n + 1);

    if (ngx_http_academy_escape_count(src, len) != n - len
        || portable_escape_count(src, len) != n - len)
    {
        wrong("wrongly counted what escaping adds", data, len);
    }

    /* a byte that must stay as it is, though the room may be larger */

    dst[n] = 0xa5;
    p = ngx_http_academy_escape(dst, src, len);

    if (p != dst + n || memcmp(dst, plain, n) != 0 || dst[n] != 0xa5) {
        wrong("wrongly escaped", data, len);
    }

    memset(dst, 0, n);
    p = portable_escape(dst, src, len);

    if (p != dst + n || memcmp(dst, plain, n) != 0 || dst[n] != 0xa5) {
        wrong("wrongly escaped by the portable form", data, len);
    }

    memset(dst, 0, n);
    half = len / 3;
    p = ngx_http_academy_escape(dst, src, half);
    p = ngx_http_academy_escape(p, src + half, len - half);

    if (p != dst + n || memcmp(dst, plain, n) != 0) {
        wrong("wrongly escaped in two pieces", data, len);
    }

    free(src);
    free(dst);
    free(plain);
}


/* the input as a message; how it is escaped depends on its bytes */

static void
check_wrapped(const u_char *data, size_t len)
{
    u_char   *body, *p, c;
    size_t    i;
    unsigned  r;

    static const char   before[] = "{ \"x\" : [1], \"message\" : \"";
    static const char   compact[] = "{\"message\":\"";
    static const char   after[] = "\"}";

    body = malloc(6 * len + sizeof(before) + sizeof(after));
    r = (unsigned) len;

    p = body + sprintf((char *) body, "%s", r % 2 ? before : compact);

    for (i = 0; i < len; i++) {
        c = data[i];
        r = r * 1103515245 + c;

        if (c < 0x20 || (c < 0x80 && (r >> 16) % 29 == 0)) {
            p += sprintf((char *) p, (r >> 20) % 2 ? "\\u%04x" : "\\u%04X", c);
            continue;
        }

        if (c == '"' || c == '\\') {
            *p++ = '\\';
        }

        *p++ = c;
    }

    memcpy(p, after, sizeof(after) - 1);
    p += sizeof(after) - 1;

    check_body(body, p - body);

    free(body);
}


static void
check_body(const u_char *data, size_t len)
{
    int                            valid;
    u_char                        *work, *p;
    size_t                         size;
    json_t                        *body, *inner, *value;
    ngx_int_t                      rc;
    const char                    *text;
    ngx_http_academy_envelope_t    env, expected;
    ngx_http_academy_scan_error_t  err;

    body = parse(data, len);
    inner = json_object_get(body, "message");
    text = NULL;
    size = 0;
    value = NULL;
    valid = 0;

    if (json_is_string(inner) && within(data, len)) {
        text = json_string_value(inner);
        size = json_string_length(inner);

        value = parse((u_char *) text, size);
        valid = value && within((u_char *) text, size)
                && envelope_of(value, &expected);
    }

    work = copy(data, len);
    err.field = err.why = NULL;

    rc = ngx_http_academy_scan_put(work, len, (size_t) -1, &env, &err);

    if (rc == NGX_OK && !valid) {
        wrong("an invalid message was accepted", data, len);
    }

    if (rc != NGX_OK && valid && !twice(&err)
        && !doubled(data, len) && !doubled((u_char *) text, size))
    {
        wrong("a valid message was refused", data, len);
    }

    if (rc == NGX_OK) {
        scan_check_counts.messages++;

        if (env.request != expected.request
            || env.labeled != expected.labeled
            || memcmp(env.tag, expected.tag, 16) != 0
            || (env.labeled && memcmp(env.label, expected.label, 16) != 0)
            || !ngx_http_academy_id_eq(&env.src.id, &expected.src.id)
            || !ngx_http_academy_id_eq(&env.dest.id, &expected.dest.id))
        {
            wrong("another message was read", data, len);
        }

        check_accepted(data, len, &env, text, size);
    }

    check_same(data, len, work, rc, &env, &err);

    if (text && !twice(&err) && !doubled(data, len)) {

        /* the limit counts the message and nothing else */

        scan_check_counts.bodies++;

        p = copy(data, len);

        if (size
            && (ngx_http_academy_scan_put(p, len, size - 1, &env, &err)
                != NGX_ABORT
                || env.json.len != size
                || !nul_equal(env.json.data, (u_char *) text, size)))
        {
            wrong("a message too large was not noticed", data, len);
        }

        memcpy(p, data, len);

        if (ngx_http_academy_scan_put(p, len, size, &env, &err) != rc) {
            wrong("a message was too large that is not", data, len);
        }

        free(p);
    }

    json_decref(value);
    json_decref(body);
    free(work);
}


/* a message that was accepted: what there is now means what came */

static void
check_accepted(const u_char *data, size_t len,
    ngx_http_academy_envelope_t *env, const char *text, size_t size)
{
    u_char                        *json, *body, *p;
    size_t                         i, n;
    ngx_http_academy_envelope_t    again;
    ngx_http_academy_scan_error_t  err;

    if (env->json.len != size
        || !blank_equal(env->json.data, (const u_char *) text, size))
    {
        wrong("unescaping changed the message", data, len);
    }

    for (i = 0; i < size; i++) {
        if (env->json.data[i] < 0x20) {
            wrong("more than one line was left", data, len);
        }
    }

    /* the answer to a receiver, read again */

    json = copy(env->json.data, size);
    n = size + ngx_http_academy_escape_count(json, size);
    body = malloc(n + 14);

    memcpy(body, "{\"message\":\"", 12);
    p = ngx_http_academy_escape(body + 12, json, size);
    memcpy(p, "\"}", 2);

    if (p + 2 != body + n + 14
        || ngx_http_academy_scan_put(body, n + 14, size, &again, &err)
           != NGX_OK
        || again.json.len != size
        || memcmp(again.json.data, json, size) != 0
        || again.src.name.len != env->src.name.len
        || memcmp(again.src.name.data, env->src.name.data,
                  env->src.name.len) != 0
        || memcmp(again.tag, env->tag, 16) != 0
        || again.request != env->request)
    {
        wrong("the message was another one when read again", data, len);
    }

    /* its header alone, and what is cut off somewhere */

    for (i = 0; i < 8; i++) {
        n = size - size * i / 8;
        p = copy(json, n);

        if (ngx_http_academy_scan_header(p, n, &again) != NGX_OK) {

            if (i == 0) {
                wrong("the header was not read again", data, len);
            }

        } else if (memcmp(again.tag, env->tag, 16) != 0
                   || again.request != env->request
                   || !ngx_http_academy_id_eq(&again.src.id, &env->src.id)
                   || !ngx_http_academy_id_eq(&again.dest.id, &env->dest.id))
        {
            wrong("the header was another one when read again", data, len);
        }

        if (memcmp(p, json, n) != 0) {
            wrong("the header was changed when read again", data, len);
        }

        free(p);
    }

    free(json);
    free(body);
}


static void
check_same(const u_char *data, size_t len, const u_char *work, ngx_int_t rc,
    ngx_http_academy_envelope_t *env, ngx_http_academy_scan_error_t *err)
{
    u_char                         *other;
    ngx_http_academy_envelope_t     also;
    ngx_http_academy_scan_error_t   portable;

    other = copy(data, len);
    portable.field = portable.why = NULL;

    if (portable_scan_put(other, len, (size_t) -1, &also, &portable) != rc
        || !same_error(&portable, err))
    {
        wrong("the portable scanner decided otherwise", data, len);
    }

    if (rc == NGX_OK
        && (also.json.data - other != env->json.data - work
            || also.json.len != env->json.len
            || memcmp(also.json.data, env->json.data, env->json.len) != 0
            || memcmp(also.tag, env->tag, 16) != 0
            || (env->labeled && memcmp(also.label, env->label, 16) != 0)
            || also.labeled != env->labeled
            || also.request != env->request
            || !ngx_http_academy_id_eq(&also.src.id, &env->src.id)
            || !ngx_http_academy_id_eq(&also.dest.id, &env->dest.id)
            || also.src.name.len != env->src.name.len
            || also.dest.name.len != env->dest.name.len))
    {
        wrong("the portable scanner read another message", data, len);
    }

    free(other);
}


/* what jansson makes of a text; NULL if it is no JSON */

static json_t *
parse(const u_char *data, size_t len)
{
    return load(data, len, FLAGS);
}


/* whether a valid text had to be changed, exponents too, for jansson */

static int
overflows(const u_char *data, size_t len)
{
    json_t        *value;
    json_error_t   error;

    value = json_loadb((const char *) data, len, FLAGS, &error);
    json_decref(value);

    return value == NULL;
}


/*
 * Whether a valid text has an object, of whatever kind, with a name twice.
 * Such a text may be refused for the first of two values, though jansson sees
 * the second only.
 */

static int
doubled(const u_char *data, size_t len)
{
    json_t  *value;

    value = load(data, len, FLAGS | JSON_REJECT_DUPLICATES);
    json_decref(value);

    return value == NULL;
}


static json_t *
load(const u_char *data, size_t len, size_t flags)
{
    u_char        *text;
    size_t         n;
    json_t        *value;
    json_error_t   error;

    /* jansson takes no notice of a zero byte behind a number or a literal */

    if (len && memchr(data, '\0', len)) {
        return NULL;
    }

    value = json_loadb((const char *) data, len, flags, &error);

    if (value) {
        return value;
    }

    switch (json_error_code(&error)) {

    case json_error_numeric_overflow:
    case json_error_null_byte_in_key:
        break;

    default:
        return NULL;
    }

    text = malloc(2 * len + 1);
    n = harmless(text, data, len);

    value = json_loadb((const char *) text, n, flags, &error);

    if (value == NULL
        && (json_error_code(&error) == json_error_numeric_overflow
            || json_error_code(&error) == json_error_null_byte_in_key))
    {
        wrong("the check itself failed", data, len);
    }

    free(text);

    return value;
}


/*
 * Outside strings exponents become zeros and long rows of digits are cut; in
 * strings \u0000 becomes \u0001.  A text that is not valid is so still where
 * it was at first.
 */

static size_t
harmless(u_char *dst, const u_char *src, size_t len)
{
    int     string, exponent;
    size_t  i, n, row;

    n = 0;
    row = 0;
    string = 0;
    exponent = 0;

    for (i = 0; i < len; i++) {

        if (string) {
            dst[n++] = src[i];

            if (src[i] == '"') {
                string = 0;

            } else if (len - i >= 6 && memcmp(src + i, "\\u0000", 6) == 0) {
                memcpy(dst + n, "u0001", 5);
                n += 5;
                i += 5;

            } else if (src[i] == '\\' && i + 1 < len) {
                dst[n++] = src[++i];
            }

            continue;
        }

        if (src[i] >= '0' && src[i] <= '9') {

            if (row++ < 100) {
                dst[n++] = exponent ? '0' : src[i];
            }

            continue;
        }

        row = 0;
        exponent = src[i] == 'e' || src[i] == 'E'
                   || (exponent && (src[i] == '+' || src[i] == '-'));
        string = src[i] == '"';

        dst[n++] = src[i];
    }

    return n;
}


/* how deep a valid text is nested, and the longest integer part in it */

static void
limits(const u_char *data, size_t len, size_t *depth, size_t *digits)
{
    int     string, fraction;
    size_t  i, row, level;

    string = 0;
    fraction = 0;
    row = 0;
    level = 0;

    *depth = 0;
    *digits = 0;

    for (i = 0; i < len; i++) {

        if (string) {
            if (data[i] == '\\') {
                i++;

            } else if (data[i] == '"') {
                string = 0;
            }

            continue;
        }

        if (data[i] >= '0' && data[i] <= '9') {
            row++;

            if (!fraction && row > *digits) {
                *digits = row;
            }

            continue;
        }

        row = 0;
        fraction = data[i] == '.' || data[i] == 'e' || data[i] == 'E'
                   || (fraction && (data[i] == '+' || data[i] == '-'));

        switch (data[i]) {

        case '"':
            string = 1;
            break;

        case '[':
        case '{':
            if (++level > *depth) {
                *depth = level;
            }

            break;

        case ']':
        case '}':
            level--;
        }
    }
}


static int
within(const u_char *data, size_t len)
{
    size_t  depth, digits;

    limits(data, len, &depth, &digits);

    return depth <= DEPTH
           && digits <= DIGITS;
}


static int
uuid_of(json_t *value, u_char uid[16])
{
    return json_is_string(value)
           && uuid_text(json_string_value(value), json_string_length(value),
                        uid);
}


static int
uuid_text(const char *s, size_t len, u_char uid[16])
{
    int     n;
    size_t  i;
    char    digits[33], pair[3], *end;

    if (len == 38 && s[0] == '{' && s[37] == '}') {
        s++;
        len = 36;
    }

    if (len == 45 && strncmp(s, "urn:uuid:", 9) == 0) {
        s += 9;
        len = 36;

    } else if (len == 45) {
        return 0;
    }

    if (len != 36 && len != 32) {
        return 0;
    }

    n = 0;

    for (i = 0; i < len; i++) {
        if (len == 36 && (i == 8 || i == 13 || i == 18 || i == 23)) {
            if (s[i] != '-') {
                return 0;
            }

            continue;
        }

        if (s[i] == '\0' || !strchr("0123456789abcdefABCDEF", s[i])) {
            return 0;
        }

        digits[n++] = s[i];
    }

    for (n = 0; n < 16; n++) {
        pair[0] = digits[2 * n];
        pair[1] = digits[2 * n + 1];
        pair[2] = '\0';
        uid[n] = (u_char) strtoul(pair, &end, 16);
    }

    return 1;
}


static int
entity_of(json_t *value, ngx_http_academy_entity_t *entity)
{
    json_t      *uid, *name, *role;
    const char  *key;

    memset(entity, 0, sizeof(ngx_http_academy_entity_t));

    if (!json_is_object(value)) {
        return 0;
    }

    uid = json_object_get(value, "uid");
    name = json_object_get(value, "name");
    role = json_object_get(value, "role");

    if (json_object_size(value)
        != (size_t) (!!uid + !!name + !!role))
    {
        return 0;
    }

    if (!uuid_of(uid, entity->id.uid)) {
        return 0;
    }

    if (name && !json_is_null(name) && !json_is_string(name)) {
        return 0;
    }

    if (role == NULL) {
        return 1;
    }

    key = json_string_value(role);

    if (key == NULL || strlen(key) != json_string_length(role)) {
        return 0;
    }

    entity->id.role = strcmp(key, "user") == 0 ? NGX_HTTP_ACADEMY_USER
                                               : NGX_HTTP_ACADEMY_AGENT;

    return strcmp(key, "user") == 0 || strcmp(key, "agent") == 0;
}


static int
envelope_of(json_t *value, ngx_http_academy_envelope_t *env)
{
    json_t      *header, *m;
    const char  *kind;

    memset(env, 0, sizeof(ngx_http_academy_envelope_t));

    header = json_object_get(value, "header");

    if (!json_is_object(header) || json_object_get(value, "body") == NULL) {
        return 0;
    }

    if (!entity_of(json_object_get(header, "src"), &env->src)
        || !entity_of(json_object_get(header, "dest"), &env->dest)
        || !uuid_of(json_object_get(header, "tag"), env->tag))
    {
        return 0;
    }

    m = json_object_get(header, "label");

    if (m && !json_is_null(m)) {
        env->labeled = 1;

        if (!uuid_of(m, env->label)) {
            return 0;
        }
    }

    m = json_object_get(header, "protocol_version");

    if (m && !json_is_null(m) && !json_is_string(m)) {
        return 0;
    }

    m = json_object_get(header, "academy_version");

    if (m && !json_is_string(m)) {
        return 0;
    }

    m = json_object_get(header, "kind");
    kind = json_string_value(m);

    if (kind == NULL || strlen(kind) != json_string_length(m)) {
        return 0;
    }

    env->request = strcmp(kind, "request") == 0;

    return env->request || strcmp(kind, "response") == 0;
}


/* the reasons for which a text is refused that jansson takes */

static int
twice(ngx_http_academy_scan_error_t *err)
{
    return err->why
           && (strcmp(err->why, "given twice") == 0
               || strcmp(err->why, "a member given twice") == 0
               || strcmp(err->why, "more than 64 members") == 0);
}


static int
same_error(ngx_http_academy_scan_error_t *a, ngx_http_academy_scan_error_t *b)
{
    if (a->why == NULL || b->why == NULL) {
        return a->why == b->why;
    }

    return strcmp(a->field, b->field) == 0 && strcmp(a->why, b->why) == 0;
}


/* the same text, but for white space that became blanks in the first */

static int
blank_equal(const u_char *a, const u_char *b, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (a[i] != b[i]
            && (a[i] != ' '
                || (b[i] != '\n' && b[i] != '\r' && b[i] != '\t')))
        {
            return 0;
        }
    }

    return 1;
}


/* the same text, but for zero bytes that harmless() turned into ones */

static int
nul_equal(const u_char *a, const u_char *b, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (a[i] != b[i] && (a[i] != 0 || b[i] != 1)) {
            return 0;
        }
    }

    return 1;
}


static u_char *
copy(const u_char *data, size_t len)
{
    u_char  *p;

    /* of 0 bytes as well: not even the first may be touched */

    p = malloc(len);

    if (p == NULL) {
        abort();
    }

    if (len) {
        memcpy(p, data, len);
    }

    return p;
}


static void
wrong(const char *what, const u_char *data, size_t len)
{
    size_t  i;

    fprintf(stderr, "\nscan_check: %s:\n", what);

    for (i = 0; i < len && i < 4000; i++) {
        if (data[i] >= 0x20 && data[i] < 0x7f) {
            fputc(data[i], stderr);

        } else {
            fprintf(stderr, "<%02x>", data[i]);
        }
    }

    fprintf(stderr, "\n");
    abort();
}
