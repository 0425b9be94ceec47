
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
    uint64_t                          hash[NGX_HTTP_ACADEMY_JSON_MEMBERS];
} ngx_http_academy_scan_keys_t;


static u_char *ngx_http_academy_scan_key(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_object_t *object,
    ngx_http_academy_scan_keys_t *keys,
    const ngx_http_academy_scan_member_t **found);
static const ngx_http_academy_scan_member_t *ngx_http_academy_scan_find(
    const ngx_http_academy_scan_object_t *object,
    ngx_http_academy_scan_string_t *key);


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
