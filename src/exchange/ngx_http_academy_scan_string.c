
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * Strings.  The text is known to be UTF-8: only quotation marks, backslashes
 * and control characters matter in them.  What an escape stands for is UTF-8
 * too, so an unescaped message needs no second check.
 *
 * Unescaping goes from left to right in one buffer, and begins to write where
 * the buffer begins, not only where the string does: no escape is shorter than
 * what it stands for, so what is written never catches up with what is still
 * to be read.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_block.h"
#include "ngx_http_academy_scan_core.h"


static ngx_inline u_char *ngx_http_academy_scan_string_blocks(u_char *p,
    u_char *end, ngx_uint_t *escaped);
static ngx_inline u_char *ngx_http_academy_scan_unescape_head(
    ngx_http_academy_scan_t *s, u_char *p, u_char **last);
static ngx_inline u_char *ngx_http_academy_scan_unescape_tail(
    ngx_http_academy_scan_t *s, u_char *p, u_char **last);
static u_char *ngx_http_academy_scan_unescape_blocks(
    ngx_http_academy_scan_t *s, u_char *p, u_char *end, u_char **last);
static ngx_inline u_char *ngx_http_academy_scan_escape(u_char *p,
    u_char *end, u_char **dst);
static u_char *ngx_http_academy_scan_unicode(u_char *p, u_char *end,
    u_char **dst);
static ngx_int_t ngx_http_academy_scan_hex(u_char *p);


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


/* p is behind the opening quotation mark, here and in _unescape() */

u_char *
ngx_http_academy_scan_string(ngx_http_academy_scan_t *s, u_char *p,
    ngx_http_academy_scan_string_t *string)
{
    u_char  *end;

    end = s->end;

    string->data = p;
    string->escaped = 0;

    p = ngx_http_academy_scan_run(s, p);

    if (p != end && *p == '"') {
        string->last = p;
        return p + 1;
    }

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


u_char *
ngx_http_academy_scan_far(ngx_http_academy_scan_t *s, u_char *p)
{
    u_char                   *end;
    ngx_http_academy_mask_t   mask;

    end = s->end;

    if (p >= s->plain && p < s->plain_last) {
        p = s->plain_last;
    }

    while (end - p >= 4 * NGX_HTTP_ACADEMY_BLOCK
           && !ngx_http_academy_block_specials(
                   ngx_http_academy_block_load(p),
                   ngx_http_academy_block_load(p + NGX_HTTP_ACADEMY_BLOCK),
                   ngx_http_academy_block_load(p + 2 * NGX_HTTP_ACADEMY_BLOCK),
                   ngx_http_academy_block_load(p + 3 * NGX_HTTP_ACADEMY_BLOCK)))
    {
        p += 4 * NGX_HTTP_ACADEMY_BLOCK;
    }

    while (end - p >= NGX_HTTP_ACADEMY_BLOCK) {

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


u_char *
ngx_http_academy_scan_unescape(ngx_http_academy_scan_t *s, u_char *p,
    ngx_str_t *text)
{
    u_char  *dst, *end;

    end = s->end;

    /* all that is before p was read: there is more room to work in */

    dst = s->start;

    text->data = dst;

    for ( ;; ) {

        if (p - dst < NGX_HTTP_ACADEMY_BLOCK) {
            p = ngx_http_academy_scan_unescape_head(s, p, &dst);
        }

        if (p - dst >= NGX_HTTP_ACADEMY_BLOCK) {
            p = ngx_http_academy_scan_unescape_blocks(s, p, end, &dst);
            p = ngx_http_academy_scan_unescape_tail(s, p, &dst);
        }

        /* a few bytes, of a short text or for want of room */

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
 * Where there is no room yet for a block between dst and p: some blocks from a
 * copy.  What is written goes beyond p by less than a block, which is put
 * right.
 */

static ngx_inline u_char *
ngx_http_academy_scan_unescape_head(ngx_http_academy_scan_t *s, u_char *p,
    u_char **last)
{
    u_char  *q, copy[5 * NGX_HTTP_ACADEMY_BLOCK];
    size_t   i;

    if ((size_t) (s->end - p) < sizeof(copy)) {
        return p;
    }

    for (i = 0; i < sizeof(copy); i += NGX_HTTP_ACADEMY_BLOCK) {
        ngx_http_academy_block_store(copy + i,
                                     ngx_http_academy_block_load(p + i));
    }

    q = ngx_http_academy_scan_unescape_blocks(s, copy,
                                     copy + 4 * NGX_HTTP_ACADEMY_BLOCK, last);
    p += q - copy;

    ngx_http_academy_block_store(p, ngx_http_academy_block_load(q));

    return p;
}


/* the last two blocks: from a copy with zeros behind, which end a string too */

static ngx_inline u_char *
ngx_http_academy_scan_unescape_tail(ngx_http_academy_scan_t *s, u_char *p,
    u_char **last)
{
    u_char                    *q, copy[4 * NGX_HTTP_ACADEMY_BLOCK];
    size_t                     n;
    ngx_http_academy_block_t   zero;

    n = s->end - p;

    if (n == 0 || n > 2 * NGX_HTTP_ACADEMY_BLOCK || *p == '"'
        || s->end - s->start < 2 * NGX_HTTP_ACADEMY_BLOCK)
    {
        return p;
    }

    zero = ngx_http_academy_block_fill(0);

    ngx_http_academy_block_store(copy,
        ngx_http_academy_block_load(s->end - 2 * NGX_HTTP_ACADEMY_BLOCK));
    ngx_http_academy_block_store(copy + NGX_HTTP_ACADEMY_BLOCK,
        ngx_http_academy_block_load(s->end - NGX_HTTP_ACADEMY_BLOCK));
    ngx_http_academy_block_store(copy + 2 * NGX_HTTP_ACADEMY_BLOCK, zero);
    ngx_http_academy_block_store(copy + 3 * NGX_HTTP_ACADEMY_BLOCK, zero);

    q = copy + 2 * NGX_HTTP_ACADEMY_BLOCK - n;

    return p + (ngx_http_academy_scan_unescape_blocks(s, q,
                                              copy + sizeof(copy), last)
                - q);
}


/*
 * Block by block up to what _unescape() itself has to look at.  A block has to
 * lie between dst and p, so that one that is written does not touch what is
 * still to be read.  What is behind an escape is copied once more, to where it
 * belongs then: so the way from one escape to the next depends on nothing but
 * the mask.
 */

static u_char *
ngx_http_academy_scan_unescape_blocks(ngx_http_academy_scan_t *s, u_char *p,
    u_char *end, u_char **last)
{
    u_char                    c, *dst, *next, *plain;
    size_t                    i, n;
    ngx_http_academy_mask_t   starts, stops;
    ngx_http_academy_block_t  b, slashes, stop;

    dst = *last;

    while (end - p > 2 * NGX_HTTP_ACADEMY_BLOCK) {

        b = ngx_http_academy_block_load(p);

        ngx_http_academy_block_store(dst, b);

        slashes = ngx_http_academy_block_is(b, '\\');
        stop = ngx_http_academy_block_stop(b);

        n = NGX_HTTP_ACADEMY_BLOCK;

        if (!ngx_http_academy_block_any(ngx_http_academy_block_or(slashes,
                                                                  stop)))
        {
            plain = dst;

            p += n;
            dst += n;

            while (end - p > 5 * NGX_HTTP_ACADEMY_BLOCK
                   && ngx_http_academy_block_copy(dst, p,
                                             ngx_http_academy_block_specials))
            {
                p += 4 * NGX_HTTP_ACADEMY_BLOCK;
                dst += 4 * NGX_HTTP_ACADEMY_BLOCK;
            }

            if (dst - plain > s->plain_last - s->plain) {
                s->plain = plain;
                s->plain_last = dst;
            }

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


void
ngx_http_academy_scan_unescaped(ngx_http_academy_scan_string_t *string,
    u_char *buf, ngx_str_t *text)
{
    u_char  *p, *dst;

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


/* FNV-1a of what the name is once it is unescaped */

uint64_t
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
