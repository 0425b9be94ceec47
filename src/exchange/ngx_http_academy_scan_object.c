
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * Objects with a meaning, read member by member.  Their tables lead from one
 * to the next, no deeper than from a message to an entity.
 *
 * No member may be given twice in such an object.  Members that stand in its
 * table have a bit each; others are told apart by a 64-bit hash of their
 * unescaped names and nothing else.  The same name always has the same hash,
 * and who finds two names with one hash has found a way to have his own
 * message refused.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_scan_core.h"


/* what is known of an object so far */

typedef struct {
    ngx_uint_t                             seen;      /* a bit for a member */
    ngx_uint_t                             members;
    ngx_uint_t                             others;    /* where its own begin */
} ngx_http_academy_scan_keys_t;


static ngx_inline u_char *ngx_http_academy_scan_likely(
    ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m);
static u_char *ngx_http_academy_scan_key(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_object_t *object,
    ngx_http_academy_scan_keys_t *keys,
    const ngx_http_academy_scan_member_t **found);
static const ngx_http_academy_scan_member_t *ngx_http_academy_scan_find(
    ngx_http_academy_scan_t *s, const ngx_http_academy_scan_object_t *object,
    ngx_http_academy_scan_string_t *key);
static ngx_inline ngx_uint_t ngx_http_academy_scan_is(
    const ngx_http_academy_scan_member_t *m, u_char *name);
static u_char *ngx_http_academy_scan_missing(ngx_http_academy_scan_t *s,
    const ngx_http_academy_scan_object_t *object, ngx_uint_t seen);


u_char *
ngx_http_academy_scan_object(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_object_t *object, void *data)
{
    u_char                                *value;
    ngx_http_academy_scan_keys_t           keys;
    const ngx_http_academy_scan_member_t  *m, *likely;

    keys.seen = 0;
    keys.members = 0;
    keys.others = s->others;

    likely = object->members;

    s->depth++;

    p = ngx_http_academy_scan_blanks(s, p + 1);

    if (p != s->end && *p == '}') {
        goto done;
    }

    for ( ;; ) {

        /* most write members in the order of their table */

        m = likely;
        value = ngx_http_academy_scan_likely(s, p, m);

        if (value && !(keys.seen & m->bit)
            && keys.members < NGX_HTTP_ACADEMY_JSON_MEMBERS)
        {
            keys.seen |= m->bit;
            keys.members++;

        } else {
            value = ngx_http_academy_scan_key(s, p, object, &keys, &m);

            if (value == NULL) {
                return NULL;
            }
        }

        if (m) {
            likely = m + 1;
            p = m->read(s, value, m, (u_char *) data + m->offset);

        } else {
            p = ngx_http_academy_scan_skip(s, value);
        }

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
    s->others = keys.others;

    if (object->required & ~keys.seen) {
        return ngx_http_academy_scan_missing(s, object, keys.seen);
    }

    return p + 1;
}


/*
 * The value of a member that is written as most write it, with no blank but
 * the one behind the colon; or NULL
 */

static ngx_inline u_char *
ngx_http_academy_scan_likely(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_member_t *m)
{
    size_t  room;

    room = s->end - p;

    if (room < sizeof("\"\": x") + NGX_HTTP_ACADEMY_SCAN_NAME) {

        /* the last ones of a short text */

        if (room < sizeof("\"\": x") + m->len || m->read == NULL
            || *p != '"' || ngx_memcmp(p + 1, m->name, m->len) != 0)
        {
            return NULL;
        }

    } else if (*p != '"' || !ngx_http_academy_scan_is(m, p + 1)) {
        return NULL;
    }

    p += 1 + m->len;

    if (p[0] != '"' || p[1] != ':') {
        return NULL;
    }

    p += 2;

    if (*p > ' ') {
        return p;
    }

    return (p[0] == ' ' && p[1] > ' ') ? p + 1 : NULL;
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

    m = ngx_http_academy_scan_find(s, object, &key);

    *found = m;

    if (m) {

        if (keys->seen & m->bit) {
            return ngx_http_academy_scan_refuse(s, m->field, "given twice");
        }

        keys->seen |= m->bit;

        return ngx_http_academy_scan_colon(s, p);
    }

    if (object->closed) {
        return ngx_http_academy_scan_refuse(s, object->field,
                                            "an unknown member");
    }

    hash = ngx_http_academy_scan_hash(&key);

    for (i = keys->others; i < s->others; i++) {

        if (s->hash[i] == hash) {
            return ngx_http_academy_scan_refuse(s, object->field,
                                                "a member given twice");
        }
    }

    s->hash[s->others++] = hash;

    return ngx_http_academy_scan_colon(s, p);
}


static const ngx_http_academy_scan_member_t *
ngx_http_academy_scan_find(ngx_http_academy_scan_t *s,
    const ngx_http_academy_scan_object_t *object,
    ngx_http_academy_scan_string_t *key)
{
    u_char                                 buf[NGX_HTTP_ACADEMY_SCAN_TEXT];
    ngx_str_t                              name;
    const ngx_http_academy_scan_member_t  *m;

    ngx_http_academy_scan_plain(key, buf, &name);

    /* whole blocks of it are compared */

    if (!key->escaped && s->end - name.data < NGX_HTTP_ACADEMY_SCAN_NAME) {
        ngx_memcpy(buf, name.data,
                   ngx_min(name.len, NGX_HTTP_ACADEMY_SCAN_NAME));
        name.data = buf;
    }

    for (m = object->members; m->read; m++) {

        if (m->len == name.len && ngx_http_academy_scan_is(m, name.data)) {
            return m;
        }
    }

    return NULL;
}


/* whether the name's bytes are the first ones here */

static ngx_inline ngx_uint_t
ngx_http_academy_scan_is(const ngx_http_academy_scan_member_t *m, u_char *name)
{
    size_t                   i;
    uint32_t                 same;
    ngx_http_academy_mask_t  mask;

    same = 0;

    for (i = 0; i < NGX_HTTP_ACADEMY_SCAN_NAME; i += NGX_HTTP_ACADEMY_BLOCK) {

        mask = ngx_http_academy_block_mask(
                   ngx_http_academy_block_same(
                       ngx_http_academy_block_load((u_char *) m->name + i),
                       ngx_http_academy_block_load(name + i)));

        same |= (uint32_t) mask << i;
    }

    return (m->mask & ~same) == 0;
}


static u_char *
ngx_http_academy_scan_missing(ngx_http_academy_scan_t *s,
    const ngx_http_academy_scan_object_t *object, ngx_uint_t seen)
{
    const ngx_http_academy_scan_member_t  *m;

    for (m = object->members; !(object->required & ~seen & m->bit); m++) {
        /* void */
    }

    return ngx_http_academy_scan_refuse(s, m->field, "missing");
}
