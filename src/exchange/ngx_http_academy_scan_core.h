
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_SCAN_CORE_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_SCAN_CORE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_block.h"
#include "ngx_http_academy_scan.h"


/*
 * What the scanner's own files share; the other rooms need scan.h alone.
 *
 *     scan.c         which objects and members mean something
 *     scan_object.c  such an object, member by member
 *     scan_string.c  strings: where they end, and what they stand for
 *     scan_skip.c    all other values
 *
 * A function that reads gets the position where its token begins and returns
 * the position behind it, or NULL with s->err filled in.  Nothing at s->end
 * or behind it is touched.
 */


/*
 * Room for the text of an escaped string.  One that is cut off to fit, which
 * happens up to a character before the end, must still be longer than any that
 * means something: "urn:uuid:" and a UUID are 45.
 */

#define NGX_HTTP_ACADEMY_SCAN_TEXT     64


/* blocks of a string before it is taken for a long one */

#define NGX_HTTP_ACADEMY_SCAN_NEAR     3


/*
 * Objects with a meaning that are open at a time: a message, its header and an
 * entity, which takes no other members
 */

#define NGX_HTTP_ACADEMY_SCAN_OBJECTS  2


typedef struct {
    u_char                           *start;
    u_char                           *end;
    ngx_uint_t                        depth;     /* open containers */
    ngx_uint_t                        rewrite;   /* white space to blanks */
    const char                       *field;     /* of syntax errors */
    ngx_http_academy_scan_error_t    *err;

    /* the longest run of what was unescaped that is a string's, all of it */
    u_char                           *plain;
    u_char                           *plain_last;

    /* of the names without a meaning in the objects that are open */
    ngx_uint_t                        others;
    uint64_t                          hash[NGX_HTTP_ACADEMY_SCAN_OBJECTS
                                           * NGX_HTTP_ACADEMY_JSON_MEMBERS];
} ngx_http_academy_scan_t;


/* the text between a string's quotation marks, as it was written */

typedef struct {
    u_char                           *data;
    u_char                           *last;
    ngx_uint_t                        escaped;
} ngx_http_academy_scan_string_t;


typedef struct ngx_http_academy_scan_member_s  ngx_http_academy_scan_member_t;
typedef struct ngx_http_academy_scan_object_s  ngx_http_academy_scan_object_t;


/* data is the place in the object's structure that the member's offset says */

typedef u_char *(*ngx_http_academy_scan_pt)(ngx_http_academy_scan_t *s,
    u_char *p, const ngx_http_academy_scan_member_t *m, void *data);


/*
 * Room for the name of a member that means something, one or two blocks, and a
 * bit for each of its bytes.
 */

#define NGX_HTTP_ACADEMY_SCAN_NAME     16

#define ngx_http_academy_scan_bit(n)  ((ngx_uint_t) 1 << (n))

#define ngx_http_academy_scan_name_of(n, text)                                \
    ngx_http_academy_scan_bit(n), sizeof(text) - 1,                           \
    ((uint32_t) 1 << (sizeof(text) - 1)) - 1, { text }


struct ngx_http_academy_scan_member_s {
    ngx_uint_t                             bit;      /* of its object's */
    size_t                                 len;
    uint32_t                               mask;
    u_char                                 name[NGX_HTTP_ACADEMY_SCAN_NAME + 1];
    const char                            *field;
    ngx_http_academy_scan_pt               read;
    const ngx_http_academy_scan_object_t  *object;
    size_t                                 offset;
};


struct ngx_http_academy_scan_object_s {
    const char                            *field;
    const ngx_http_academy_scan_member_t  *members;
    ngx_uint_t                             required; /* bits of members */
    ngx_uint_t                             closed;   /* takes no others */
};


u_char *ngx_http_academy_scan_object(ngx_http_academy_scan_t *s, u_char *p,
    const ngx_http_academy_scan_object_t *object, void *data);

/* a value of any kind */
u_char *ngx_http_academy_scan_skip(ngx_http_academy_scan_t *s, u_char *p);
u_char *ngx_http_academy_scan_literal(ngx_http_academy_scan_t *s, u_char *p);
u_char *ngx_http_academy_scan_space(ngx_http_academy_scan_t *s, u_char *p);

/* what follows of a long string, as _run() does it */
u_char *ngx_http_academy_scan_far(ngx_http_academy_scan_t *s, u_char *p);

/* p is behind the opening quotation mark */
u_char *ngx_http_academy_scan_string(ngx_http_academy_scan_t *s, u_char *p,
    ngx_http_academy_scan_string_t *string);
u_char *ngx_http_academy_scan_unescape(ngx_http_academy_scan_t *s, u_char *p,
    ngx_str_t *text);

/* what an escaped string stands for; what has no room in buf is cut off */
void ngx_http_academy_scan_unescaped(ngx_http_academy_scan_string_t *string,
    u_char *buf, ngx_str_t *text);

/* of the text that the name of a member stands for */
uint64_t ngx_http_academy_scan_hash(ngx_http_academy_scan_string_t *key);

u_char *ngx_http_academy_scan_refuse(ngx_http_academy_scan_t *s,
    const char *field, const char *why);
u_char *ngx_http_academy_scan_syntax(ngx_http_academy_scan_t *s);


static ngx_inline u_char *
ngx_http_academy_scan_blanks(ngx_http_academy_scan_t *s, u_char *p)
{
    if (p == s->end || *p > ' ') {
        return p;
    }

    /* the one blank behind a comma or a colon */

    if (*p == ' ' && p + 1 != s->end && p[1] > ' ') {
        return p + 1;
    }

    return ngx_http_academy_scan_space(s, p);
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


/*
 * Over bytes of a string that stand for themselves: to the first one that does
 * not, or to less than a block before the end.
 */

static ngx_inline u_char *
ngx_http_academy_scan_run(ngx_http_academy_scan_t *s, u_char *p)
{
    u_char                  *end;
    ngx_uint_t               i;
    ngx_http_academy_mask_t  mask;

    end = s->end;

    for (i = 0; end - p >= NGX_HTTP_ACADEMY_BLOCK; i++) {

        if (i == NGX_HTTP_ACADEMY_SCAN_NEAR) {
            return ngx_http_academy_scan_far(s, p);
        }

        mask = ngx_http_academy_block_mask(
                   ngx_http_academy_block_special(
                       ngx_http_academy_block_load(p)));

        if (mask) {
            return p + ngx_http_academy_mask_first(mask);
        }

        p += NGX_HTTP_ACADEMY_BLOCK;
    }

    return p;
}


/* a string that nobody asks for; most are short and have no escapes */

static ngx_inline u_char *
ngx_http_academy_scan_over(ngx_http_academy_scan_t *s, u_char *p)
{
    u_char                          *last;
    ngx_http_academy_mask_t          mask;
    ngx_http_academy_scan_string_t   string;

    if (s->end - p >= NGX_HTTP_ACADEMY_BLOCK) {
        mask = ngx_http_academy_block_mask(
                   ngx_http_academy_block_special(
                       ngx_http_academy_block_load(p)));

        if (mask) {
            last = p + ngx_http_academy_mask_first(mask);

            if (*last == '"') {
                return last + 1;
            }
        }
    }

    return ngx_http_academy_scan_string(s, p, &string);
}


/* whether a text that is known stands here */

#define ngx_http_academy_scan_here(s, p, text)                                \
    ((s)->end - (p) >= (ssize_t) sizeof(text) - 1                             \
     && ngx_memcmp(p, text, sizeof(text) - 1) == 0)


/* the text of a string that was read; few are escaped */

static ngx_inline void
ngx_http_academy_scan_plain(ngx_http_academy_scan_string_t *string,
    u_char *buf, ngx_str_t *text)
{
    if (string->escaped) {
        ngx_http_academy_scan_unescaped(string, buf, text);
        return;
    }

    text->data = string->data;
    text->len = string->last - string->data;
}


#endif /* _NGX_HTTP_ACADEMY_SCAN_CORE_H_INCLUDED_ */
