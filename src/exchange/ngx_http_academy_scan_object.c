
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


/*
 * The names met so far in one object: those in its table, a bit each, and the
 * others by a hash
 */

typedef struct {
    ngx_uint_t                        seen;
    ngx_uint_t                        members;
    ngx_uint_t                        others;

    /* in the table, behind the last one met */
    const ngx_http_academy_scan_member_t
                                     *likely;

    uint64_t                          hash[NGX_HTTP_ACADEMY_JSON_MEMBERS];
} ngx_http_academy_scan_keys_t;


static u_char *ngx_http_academy_scan_key(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_object_t *object,
    ngx_http_academy_scan_keys_t *keys,
    const ngx_http_academy_scan_member_t **found);
static ngx_inline const ngx_http_academy_scan_member_t *
    ngx_http_academy_scan_find(ngx_http_academy_scan_t *s,
    const ngx_http_academy_scan_object_t *object,
    const ngx_http_academy_scan_member_t *likely,
    ngx_http_academy_scan_string_t *key);
static ngx_inline ngx_uint_t ngx_http_academy_scan_is(
    const ngx_http_academy_scan_member_t *m, ngx_str_t *name);


#define ngx_http_academy_scan_bit(object, m)                                  \
    ((ngx_uint_t) 1 << ((m) - (object)->members))


u_char *
ngx_http_academy_scan_object(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_object_t *object, void *data)
{
    ngx_http_academy_scan_keys_t           keys;
    const ngx_http_academy_scan_member_t  *m;

    m = NULL;

    keys.seen = 0;
    keys.members = 0;
    keys.others = 0;
    keys.likely = object->members;

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

    m = ngx_http_academy_scan_find(s, object, keys->likely, &key);

    *found = m;

    if (m) {
        keys->likely = m + 1;

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


/* most write members in the order of their table */

static ngx_inline const ngx_http_academy_scan_member_t *
ngx_http_academy_scan_find(ngx_http_academy_scan_t *s,
    const ngx_http_academy_scan_object_t *object,
    const ngx_http_academy_scan_member_t *likely,
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

    if (likely->read && ngx_http_academy_scan_is(likely, &name)) {
        return likely;
    }

    for (m = object->members; m->read; m++) {

        if (ngx_http_academy_scan_is(m, &name)) {
            return m;
        }
    }

    return NULL;
}


static ngx_inline ngx_uint_t
ngx_http_academy_scan_is(const ngx_http_academy_scan_member_t *m,
    ngx_str_t *name)
{
    size_t                    i, n;
    ngx_http_academy_mask_t   same;
    ngx_http_academy_block_t  b;

    if (m->len != name->len) {
        return 0;
    }

    for (i = 0; i < m->len; i += NGX_HTTP_ACADEMY_BLOCK) {

        b = ngx_http_academy_block_load((u_char *) m->name + i);

        same = ngx_http_academy_block_mask(
                   ngx_http_academy_block_same(b,
                       ngx_http_academy_block_load(name->data + i)));

        n = ngx_min(m->len - i, NGX_HTTP_ACADEMY_BLOCK);

        if (ngx_http_academy_mask_below(~same, n)) {
            return 0;
        }
    }

    return 1;
}
