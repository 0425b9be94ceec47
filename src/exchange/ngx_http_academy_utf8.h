
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_UTF8_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_UTF8_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_block.h"


/*
 * A state of the UTF-8 check is the bit position of six bits that say, in the
 * table's word for the next byte, which state comes then.  0 is the state of
 * no return: no word has anything there.
 */

#define NGX_HTTP_ACADEMY_UTF8_DONE   6    /* at the end of a character */
#define NGX_HTTP_ACADEMY_UTF8_ONE    12   /* one more byte, 80..BF */
#define NGX_HTTP_ACADEMY_UTF8_TWO    18
#define NGX_HTTP_ACADEMY_UTF8_THREE  24
#define NGX_HTTP_ACADEMY_UTF8_E0     30   /* behind the byte of this value */
#define NGX_HTTP_ACADEMY_UTF8_ED     36
#define NGX_HTTP_ACADEMY_UTF8_F0     42
#define NGX_HTTP_ACADEMY_UTF8_F4     48

#define ngx_http_academy_utf8_go(from, to)                                    \
    ((uint64_t) NGX_HTTP_ACADEMY_UTF8_##to << NGX_HTTP_ACADEMY_UTF8_##from)

#define ngx_http_academy_utf8_more                                            \
    (ngx_http_academy_utf8_go(ONE, DONE)                                      \
     | ngx_http_academy_utf8_go(TWO, ONE)                                     \
     | ngx_http_academy_utf8_go(THREE, TWO))

#define ngx_http_academy_utf8_80                                              \
    (ngx_http_academy_utf8_more                                               \
     | ngx_http_academy_utf8_go(ED, ONE)                                      \
     | ngx_http_academy_utf8_go(F4, TWO))

#define ngx_http_academy_utf8_90                                              \
    (ngx_http_academy_utf8_more                                               \
     | ngx_http_academy_utf8_go(ED, ONE)                                      \
     | ngx_http_academy_utf8_go(F0, TWO))

#define ngx_http_academy_utf8_a0                                              \
    (ngx_http_academy_utf8_more                                               \
     | ngx_http_academy_utf8_go(E0, ONE)                                      \
     | ngx_http_academy_utf8_go(F0, TWO))

#define ngx_http_academy_utf8_4(w)   w, w, w, w
#define ngx_http_academy_utf8_16(w)                                           \
    ngx_http_academy_utf8_4(w), ngx_http_academy_utf8_4(w),                   \
    ngx_http_academy_utf8_4(w), ngx_http_academy_utf8_4(w)


static const uint64_t  ngx_http_academy_utf8_words[256] = {

    /* 00..7F */

    ngx_http_academy_utf8_16(ngx_http_academy_utf8_go(DONE, DONE)),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_go(DONE, DONE)),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_go(DONE, DONE)),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_go(DONE, DONE)),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_go(DONE, DONE)),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_go(DONE, DONE)),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_go(DONE, DONE)),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_go(DONE, DONE)),

    /* 80..BF */

    ngx_http_academy_utf8_16(ngx_http_academy_utf8_80),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_90),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_a0),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_a0),

    /* C0 and C1 would be overlong */

    0, 0,
    ngx_http_academy_utf8_go(DONE, ONE), ngx_http_academy_utf8_go(DONE, ONE),
    ngx_http_academy_utf8_4(ngx_http_academy_utf8_go(DONE, ONE)),
    ngx_http_academy_utf8_4(ngx_http_academy_utf8_go(DONE, ONE)),
    ngx_http_academy_utf8_4(ngx_http_academy_utf8_go(DONE, ONE)),
    ngx_http_academy_utf8_16(ngx_http_academy_utf8_go(DONE, ONE)),

    /* E0..EF: E0 not overlong, ED not a surrogate */

    ngx_http_academy_utf8_go(DONE, E0),
    ngx_http_academy_utf8_4(ngx_http_academy_utf8_go(DONE, TWO)),
    ngx_http_academy_utf8_4(ngx_http_academy_utf8_go(DONE, TWO)),
    ngx_http_academy_utf8_4(ngx_http_academy_utf8_go(DONE, TWO)),
    ngx_http_academy_utf8_go(DONE, ED),
    ngx_http_academy_utf8_go(DONE, TWO), ngx_http_academy_utf8_go(DONE, TWO),

    /* F0..F4: F0 not overlong, F4 not above U+10FFFF */

    ngx_http_academy_utf8_go(DONE, F0),
    ngx_http_academy_utf8_go(DONE, THREE),
    ngx_http_academy_utf8_go(DONE, THREE),
    ngx_http_academy_utf8_go(DONE, THREE),
    ngx_http_academy_utf8_go(DONE, F4),
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
};


/* what is in any of four blocks */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_4(u_char *p)
{
    ngx_http_academy_block_t  a, b;

    a = ngx_http_academy_block_or(
            ngx_http_academy_block_load(p),
            ngx_http_academy_block_load(p + NGX_HTTP_ACADEMY_BLOCK));
    b = ngx_http_academy_block_or(
            ngx_http_academy_block_load(p + 2 * NGX_HTTP_ACADEMY_BLOCK),
            ngx_http_academy_block_load(p + 3 * NGX_HTTP_ACADEMY_BLOCK));

    return ngx_http_academy_block_or(a, b);
}


/* whether the text is UTF-8: nothing overlong, no surrogate, to U+10FFFF */

static ngx_inline ngx_uint_t
ngx_http_academy_utf8(u_char *p, u_char *end)
{
    u_char    *start, *last;
    uint64_t   state;

    start = p;
    state = NGX_HTTP_ACADEMY_UTF8_DONE;

    while (end - p >= NGX_HTTP_ACADEMY_BLOCK) {

        last = p + NGX_HTTP_ACADEMY_BLOCK;

        if (state == NGX_HTTP_ACADEMY_UTF8_DONE) {

            while (end - p >= 4 * NGX_HTTP_ACADEMY_BLOCK
                   && !ngx_http_academy_block_any(ngx_http_academy_block_4(p)))
            {
                p += 4 * NGX_HTTP_ACADEMY_BLOCK;
            }

            if (p >= last) {
                continue;
            }

            if (!ngx_http_academy_block_any(ngx_http_academy_block_load(p))) {
                p = last;
                continue;
            }
        }

        while (p < last) {
            state = ngx_http_academy_utf8_words[*p++] >> state & 63;
        }
    }

    /* less than a block: with what is before it there is a whole one */

    if (state == NGX_HTTP_ACADEMY_UTF8_DONE
        && end - start >= NGX_HTTP_ACADEMY_BLOCK
        && !ngx_http_academy_block_any(
                ngx_http_academy_block_load(end - NGX_HTTP_ACADEMY_BLOCK)))
    {
        return 1;
    }

    while (p < end) {
        state = ngx_http_academy_utf8_words[*p++] >> state & 63;
    }

    return state == NGX_HTTP_ACADEMY_UTF8_DONE;
}


#endif /* _NGX_HTTP_ACADEMY_UTF8_H_INCLUDED_ */
