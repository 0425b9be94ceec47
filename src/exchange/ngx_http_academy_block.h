
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_BLOCK_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_BLOCK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Blocks: the bytes that the scanner looks at together, 16 with SSE2 and 8
 * elsewhere.  A test returns a block whose bytes have their high bit set where
 * they passed, and cleared elsewhere: exactly, whatever the bytes beside them
 * are.  A mask has a bit for each such mark, the first byte's lowest.
 */

typedef uint32_t  ngx_http_academy_mask_t;


#if (defined(__SSE2__) && !defined(NGX_HTTP_ACADEMY_PORTABLE))

#include <emmintrin.h>


#define NGX_HTTP_ACADEMY_BLOCK      16
#define NGX_HTTP_ACADEMY_MASK_FULL  0xffff
#define NGX_HTTP_ACADEMY_MASK_ODD   0xaaaa


typedef __m128i  ngx_http_academy_block_t;


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


/* where two blocks have the same byte */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_same(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b)
{
    return _mm_cmpeq_epi8(a, b);
}


/* bytes below 0x20 */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_control(ngx_http_academy_block_t b)
{
    return _mm_cmpeq_epi8(_mm_min_epu8(b, _mm_set1_epi8(0x1f)), b);
}


/* the same, in any of four */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_controls(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b, ngx_http_academy_block_t c,
    ngx_http_academy_block_t d)
{
    return ngx_http_academy_block_control(_mm_min_epu8(_mm_min_epu8(a, b),
                                                       _mm_min_epu8(c, d)));
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_or(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b)
{
    return _mm_or_si128(a, b);
}


static ngx_inline ngx_http_academy_mask_t
ngx_http_academy_block_mask(ngx_http_academy_block_t marked)
{
    return (ngx_http_academy_mask_t) _mm_movemask_epi8(marked);
}


/* whether there is a mark; in text that is not marked, a byte above 0x7f */

static ngx_inline ngx_uint_t
ngx_http_academy_block_any(ngx_http_academy_block_t b)
{
    return _mm_movemask_epi8(b) != 0;
}


/* of marks: as many blocks' as TALLY may be added, and then counted */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_tally(ngx_http_academy_block_t tally,
    ngx_http_academy_block_t marked)
{
    return _mm_sub_epi8(tally, marked);
}


static ngx_inline size_t
ngx_http_academy_block_count(ngx_http_academy_block_t tally)
{
    __m128i  sums;

    sums = _mm_sad_epu8(tally, _mm_setzero_si128());

    return (size_t) (_mm_cvtsi128_si32(sums)
                     + _mm_cvtsi128_si32(_mm_srli_si128(sums, 8)));
}


/* the values of hexadecimal digits, where marked says that they are such */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_hex(ngx_http_academy_block_t b,
    ngx_http_academy_block_t *marked)
{
    __m128i  digit, letter, is_digit, is_letter;

    digit = _mm_sub_epi8(b, _mm_set1_epi8('0'));
    is_digit = _mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit);

    letter = _mm_sub_epi8(_mm_or_si128(b, _mm_set1_epi8(0x20)),
                          _mm_set1_epi8('a'));
    is_letter = _mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8(5)), letter);

    *marked = _mm_or_si128(is_digit, is_letter);

    letter = _mm_add_epi8(letter, _mm_set1_epi8(10));

    return _mm_or_si128(_mm_and_si128(digit, is_digit),
                        _mm_and_si128(letter, is_letter));
}


/* the bytes that two blocks of such values are, the high ones first */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_pairs(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b)
{
    a = _mm_or_si128(_mm_slli_epi16(a, 4), _mm_srli_epi16(a, 8));
    b = _mm_or_si128(_mm_slli_epi16(b, 4), _mm_srli_epi16(b, 8));

    return _mm_packus_epi16(_mm_and_si128(a, _mm_set1_epi16(0xff)),
                            _mm_and_si128(b, _mm_set1_epi16(0xff)));
}


#else

#define NGX_HTTP_ACADEMY_BLOCK      8
#define NGX_HTTP_ACADEMY_MASK_FULL  0xff
#define NGX_HTTP_ACADEMY_MASK_ODD   0xaa

/* what gathers the lowest bits of all bytes in the highest byte, in order */

#if (NGX_HAVE_LITTLE_ENDIAN)
#define NGX_HTTP_ACADEMY_MASK_GATHER  0x0102040810204080ull
#else
#define NGX_HTTP_ACADEMY_MASK_GATHER  0x8040201008040201ull
#endif


typedef uint64_t  ngx_http_academy_block_t;


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
ngx_http_academy_block_same(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b)
{
    return ngx_http_academy_block_is(a ^ b, '\0');
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_control(ngx_http_academy_block_t b)
{
    uint64_t  low;

    low = ngx_http_academy_block_fill(0x7f);

    return ~(((b & low) + ngx_http_academy_block_fill(0x60)) | b | low);
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_controls(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b, ngx_http_academy_block_t c,
    ngx_http_academy_block_t d)
{
    return ngx_http_academy_block_control(a) | ngx_http_academy_block_control(b)
           | ngx_http_academy_block_control(c)
           | ngx_http_academy_block_control(d);
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_or(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b)
{
    return a | b;
}


static ngx_inline ngx_http_academy_mask_t
ngx_http_academy_block_mask(ngx_http_academy_block_t marked)
{
    marked = marked >> 7 & ngx_http_academy_block_fill(1);

    return (ngx_http_academy_mask_t)
               (marked * NGX_HTTP_ACADEMY_MASK_GATHER >> 56);
}


static ngx_inline ngx_uint_t
ngx_http_academy_block_any(ngx_http_academy_block_t b)
{
    return (b & ~ngx_http_academy_block_fill(0x7f)) != 0;
}


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_tally(ngx_http_academy_block_t tally,
    ngx_http_academy_block_t marked)
{
    return tally + (marked >> 7);
}


static ngx_inline size_t
ngx_http_academy_block_count(ngx_http_academy_block_t tally)
{
    return (size_t) (tally * ngx_http_academy_block_fill(1) >> 56);
}

#endif


/* with 8 bytes in a block their sum is still a byte */

#define NGX_HTTP_ACADEMY_TALLY  31


/* the number of the first byte; there must be one */

#define ngx_http_academy_mask_first(mask)     ((size_t) __builtin_ctz(mask))

/* all but the first byte; those before a byte; the last one of a block */

#define ngx_http_academy_mask_rest(mask)      ((mask) & ((mask) - 1))
#define ngx_http_academy_mask_below(mask, n)                                  \
    ((mask) & (((ngx_http_academy_mask_t) 1 << (n)) - 1))
#define ngx_http_academy_mask_last(mask)                                      \
    ((mask) & (ngx_http_academy_mask_t) 1 << (NGX_HTTP_ACADEMY_BLOCK - 1))


static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_quoted(ngx_http_academy_block_t b)
{
    return ngx_http_academy_block_or(ngx_http_academy_block_is(b, '"'),
                                     ngx_http_academy_block_is(b, '\\'));
}


/* what ends a string, or must not be in it, unless it is escaped */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_stop(ngx_http_academy_block_t b)
{
    return ngx_http_academy_block_or(ngx_http_academy_block_is(b, '"'),
                                     ngx_http_academy_block_control(b));
}


/* what ends a run of a string's bytes that stand for themselves */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_special(ngx_http_academy_block_t b)
{
    return ngx_http_academy_block_or(ngx_http_academy_block_stop(b),
                                     ngx_http_academy_block_is(b, '\\'));
}


/* whether there is a quotation mark or a backslash in four blocks */

static ngx_inline ngx_uint_t
ngx_http_academy_block_quotes(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b, ngx_http_academy_block_t c,
    ngx_http_academy_block_t d)
{
    return ngx_http_academy_block_any(
               ngx_http_academy_block_or(
                   ngx_http_academy_block_or(ngx_http_academy_block_quoted(a),
                                             ngx_http_academy_block_quoted(b)),
                   ngx_http_academy_block_or(ngx_http_academy_block_quoted(c),
                                           ngx_http_academy_block_quoted(d))));
}


/* whether there is anything special in four blocks */

static ngx_inline ngx_uint_t
ngx_http_academy_block_specials(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b, ngx_http_academy_block_t c,
    ngx_http_academy_block_t d)
{
    ngx_http_academy_block_t  controls;

    controls = ngx_http_academy_block_controls(a, b, c, d);

    a = ngx_http_academy_block_or(ngx_http_academy_block_quoted(a),
                                  ngx_http_academy_block_quoted(b));
    c = ngx_http_academy_block_or(ngx_http_academy_block_quoted(c),
                                  ngx_http_academy_block_quoted(d));

    return ngx_http_academy_block_any(
               ngx_http_academy_block_or(ngx_http_academy_block_or(a, c),
                                         controls));
}


/* what is looked for in four blocks */

typedef ngx_uint_t (*ngx_http_academy_block_pt)(ngx_http_academy_block_t a,
    ngx_http_academy_block_t b, ngx_http_academy_block_t c,
    ngx_http_academy_block_t d);


/* copies four blocks, unless they hold what is looked for: whether it did */

static ngx_inline ngx_uint_t
ngx_http_academy_block_copy(u_char *dst, u_char *src,
    ngx_http_academy_block_pt found)
{
    ngx_http_academy_block_t  a, b, c, d;

    a = ngx_http_academy_block_load(src);
    b = ngx_http_academy_block_load(src + NGX_HTTP_ACADEMY_BLOCK);
    c = ngx_http_academy_block_load(src + 2 * NGX_HTTP_ACADEMY_BLOCK);
    d = ngx_http_academy_block_load(src + 3 * NGX_HTTP_ACADEMY_BLOCK);

    if (found(a, b, c, d)) {
        return 0;
    }

    ngx_http_academy_block_store(dst, a);
    ngx_http_academy_block_store(dst + NGX_HTTP_ACADEMY_BLOCK, b);
    ngx_http_academy_block_store(dst + 2 * NGX_HTTP_ACADEMY_BLOCK, c);
    ngx_http_academy_block_store(dst + 3 * NGX_HTTP_ACADEMY_BLOCK, d);

    return 1;
}


/* what may stand behind a backslash, but for u */

static ngx_inline ngx_http_academy_block_t
ngx_http_academy_block_escaped(ngx_http_academy_block_t b)
{
    ngx_http_academy_block_t  a, c;

    a = ngx_http_academy_block_or(ngx_http_academy_block_is(b, '/'),
                                  ngx_http_academy_block_is(b, 'n'));
    c = ngx_http_academy_block_or(ngx_http_academy_block_is(b, 't'),
                                  ngx_http_academy_block_is(b, 'r'));
    a = ngx_http_academy_block_or(a, c);
    c = ngx_http_academy_block_or(ngx_http_academy_block_is(b, 'b'),
                                  ngx_http_academy_block_is(b, 'f'));
    a = ngx_http_academy_block_or(a, c);

    return ngx_http_academy_block_or(a, ngx_http_academy_block_quoted(b));
}


/*
 * Of backslashes, those that begin an escape: in each run of them the first,
 * the third, and so on.  A run must not have begun before the block.
 *
 * To subtract the runs from the bits at odd places and behind each backslash
 * changes these bits in a run from its beginning on if that is at an even
 * place, and by one bit later otherwise.
 */

static ngx_inline ngx_http_academy_mask_t
ngx_http_academy_mask_escapes(ngx_http_academy_mask_t slashes)
{
    ngx_http_academy_mask_t  odd;

    odd = (slashes << 1 | NGX_HTTP_ACADEMY_MASK_ODD) - slashes;

    return (odd ^ NGX_HTTP_ACADEMY_MASK_ODD) & slashes;
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
