
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_BLOCK_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_BLOCK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Blocks: the bytes that the scanner looks at together, 16 with SSE2 and 8
 * elsewhere.  A test returns a block whose bytes are marked where they passed;
 * the marks of each byte are exact, whatever the bytes beside it are.  A mask
 * holds the marks of a block, of which _first() finds the first and which
 * must not be 0 then.
 */

#if (defined(__SSE2__) && !defined(NGX_HTTP_ACADEMY_PORTABLE))

#include <emmintrin.h>


#define NGX_HTTP_ACADEMY_BLOCK             16
#define NGX_HTTP_ACADEMY_MASK_FULL         0xffff

#define ngx_http_academy_mask_first(mask)  ((size_t) __builtin_ctz(mask))
#define ngx_http_academy_mask_from(mask, n)  ((mask) & 0xffffffff << (n))
#define ngx_http_academy_mask_rest(mask)   ((mask) & ((mask) - 1))
#define ngx_http_academy_mask_next(mask)   ((mask) << 1 & 0xffff)
#define ngx_http_academy_mask_last(mask)   ((mask) & 0x8000)


typedef __m128i   ngx_http_academy_block_t;
typedef uint32_t  ngx_http_academy_mask_t;


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_load(u_char *p)
{
    return _mm_loadu_si128((__m128i *) p);
}


static ngx_inline void
ngx_http_academy_block_store(u_char *p, ngx_http_academy_block_t b)
{
    _mm_storeu_si128((__m128i *) p, b);
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_fill(char c)
{
    return _mm_set1_epi8(c);
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_is(ngx_http_academy_block_t b, char c)
{
    return _mm_cmpeq_epi8(b, _mm_set1_epi8(c));
}


/* bytes below 0x20 */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_control(ngx_http_academy_block_t b)
{
    return _mm_cmpeq_epi8(_mm_min_epu8(b, _mm_set1_epi8(0x1f)), b);
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_or(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b)
{
    return _mm_or_si128(a, b);
}


/* both for marked blocks and, since a mark is the high bit, for non-ASCII */

static ngx_inline ngx_http_academy_mask_t
ngx_http_academy_block_mask(ngx_http_academy_block_t b)
{
    return (ngx_http_academy_mask_t) _mm_movemask_epi8(b);
}


static ngx_inline size_t
ngx_http_academy_block_count(ngx_http_academy_block_t marked)
{
    __m128i  sums;

    sums = _mm_sad_epu8(_mm_sub_epi8(_mm_setzero_si128(), marked),
                        _mm_setzero_si128());

    return (size_t) (_mm_cvtsi128_si32(sums)
                     + _mm_cvtsi128_si32(_mm_srli_si128(sums, 8)));
}


#else

#define NGX_HTTP_ACADEMY_BLOCK             8
#define NGX_HTTP_ACADEMY_MASK_FULL         0x8080808080808080ull

#if (NGX_HAVE_LITTLE_ENDIAN)

#define ngx_http_academy_mask_first(mask)  ((size_t) __builtin_ctzll(mask) / 8)
#define ngx_http_academy_mask_from(mask, n)                                   \
    ((n) < 8 ? (mask) & ~(uint64_t) 0 << 8 * (n) : 0)
#define ngx_http_academy_mask_rest(mask)   ((mask) & ((mask) - 1))
#define ngx_http_academy_mask_next(mask)   ((mask) << 8)
#define ngx_http_academy_mask_last(mask)   ((mask) & (uint64_t) 0x80 << 56)

#else

#define ngx_http_academy_mask_first(mask)  ((size_t) __builtin_clzll(mask) / 8)
#define ngx_http_academy_mask_from(mask, n)                                   \
    ((n) < 8 ? (mask) & ~(uint64_t) 0 >> 8 * (n) : 0)
#define ngx_http_academy_mask_rest(mask)                                      \
    ngx_http_academy_mask_from(mask, ngx_http_academy_mask_first(mask) + 1)
#define ngx_http_academy_mask_next(mask)   ((mask) >> 8)
#define ngx_http_academy_mask_last(mask)   ((mask) & 0x80)

#endif


typedef uint64_t  ngx_http_academy_block_t;
typedef uint64_t  ngx_http_academy_mask_t;


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_load(u_char *p)
{
    uint64_t  b;

    ngx_memcpy(&b, p, 8);

    return b;
}


static ngx_inline void
ngx_http_academy_block_store(u_char *p, ngx_http_academy_block_t b)
{
    ngx_memcpy(p, &b, 8);
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_fill(char c)
{
    return 0x0101010101010101ull * (u_char) c;
}


/* with their high bits cleared, no byte's sum is carried into the next byte */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_is(ngx_http_academy_block_t b, char c)
{
    uint64_t  low;

    low = ngx_http_academy_block_fill(0x7f);
    b ^= ngx_http_academy_block_fill(c);

    return ~(((b & low) + low) | b | low);
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_control(ngx_http_academy_block_t b)
{
    uint64_t  low;

    low = ngx_http_academy_block_fill(0x7f);

    return ~(((b & low) + ngx_http_academy_block_fill(0x60)) | b | low);
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_or(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b)
{
    return a | b;
}


static ngx_inline ngx_http_academy_mask_t
ngx_http_academy_block_mask(ngx_http_academy_block_t b)
{
    return b & NGX_HTTP_ACADEMY_MASK_FULL;
}


static ngx_inline size_t
ngx_http_academy_block_count(ngx_http_academy_block_t marked)
{
    return (size_t) (((marked >> 7) * ngx_http_academy_block_fill(1)) >> 56);
}

#endif


/* what a JSON string cannot hold as it is: quotes, backslashes, controls */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_quoted(ngx_http_academy_block_t b)
{
    return ngx_http_academy_block_or(ngx_http_academy_block_is(b, '"'),
                                     ngx_http_academy_block_is(b, '\\'));
}


static ngx_inline ngx_http_academy_mask_t
ngx_http_academy_block_special(ngx_http_academy_block_t b)
{
    return ngx_http_academy_block_mask(ngx_http_academy_block_or(
                                           ngx_http_academy_block_quoted(b),
                                           ngx_http_academy_block_control(b)));
}


/* white space and nothing else */

static ngx_inline ngx_uint_t
ngx_http_academy_block_blank(ngx_http_academy_block_t b)
{
    ngx_http_academy_block_t  a;

    a = ngx_http_academy_block_or(ngx_http_academy_block_is(b, ' '),
                                  ngx_http_academy_block_is(b, '\n'));
    b = ngx_http_academy_block_or(ngx_http_academy_block_is(b, '\t'),
                                  ngx_http_academy_block_is(b, '\r'));

    return ngx_http_academy_block_mask(ngx_http_academy_block_or(a, b))
           == NGX_HTTP_ACADEMY_MASK_FULL;
}


#endif /* _NGX_HTTP_ACADEMY_BLOCK_H_INCLUDED_ */
