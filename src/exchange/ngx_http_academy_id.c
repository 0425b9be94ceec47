
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * The forms of a UUID are those that pydantic takes, and no others:
 *
 *     32 hexadecimal digits
 *     the same with hyphens, 8-4-4-4-12
 *     the hyphenated form in braces
 *     the hyphenated form behind "urn:uuid:", in lower case
 *
 * Their lengths differ, so the length says which one is expected.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_block.h"
#include "ngx_http_academy_id.h"


#define NGX_HTTP_ACADEMY_UUID_URN  "urn:uuid:"


static ngx_int_t ngx_http_academy_uuid_digits_parse(u_char *p,
    ngx_uint_t hyphens, u_char uid[16]);


#if (NGX_HTTP_ACADEMY_BLOCK != 16)

/* a hexadecimal digit's value, and a bit that says that it is one */

#define NGX_HTTP_ACADEMY_UUID_DIGIT  0x10

static const u_char  ngx_http_academy_uuid_digits[256] = {
    ['0'] = 0x10, ['1'] = 0x11, ['2'] = 0x12, ['3'] = 0x13, ['4'] = 0x14,
    ['5'] = 0x15, ['6'] = 0x16, ['7'] = 0x17, ['8'] = 0x18, ['9'] = 0x19,
    ['a'] = 0x1a, ['b'] = 0x1b, ['c'] = 0x1c,
    ['d'] = 0x1d, ['e'] = 0x1e, ['f'] = 0x1f,
    ['A'] = 0x1a, ['B'] = 0x1b, ['C'] = 0x1c,
    ['D'] = 0x1d, ['E'] = 0x1e, ['F'] = 0x1f
};


/* where the 16 bytes start in the hyphenated form */

static const u_char  ngx_http_academy_uuid_offsets[16] = {
    0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34
};

#endif


ngx_int_t
ngx_http_academy_uuid_parse(u_char *p, size_t len, u_char uid[16])
{
    ngx_uint_t  hyphens;

    hyphens = 1;

    switch (len) {

    case 32:
        hyphens = 0;
        break;

    case NGX_HTTP_ACADEMY_UUID_LEN:
        break;

    case NGX_HTTP_ACADEMY_UUID_LEN + 2:
        if (p[0] != '{' || p[len - 1] != '}') {
            return NGX_ERROR;
        }

        p++;
        break;

    case NGX_HTTP_ACADEMY_UUID_LEN + sizeof(NGX_HTTP_ACADEMY_UUID_URN) - 1:
        if (ngx_memcmp(p, NGX_HTTP_ACADEMY_UUID_URN,
                       sizeof(NGX_HTTP_ACADEMY_UUID_URN) - 1)
            != 0)
        {
            return NGX_ERROR;
        }

        p += sizeof(NGX_HTTP_ACADEMY_UUID_URN) - 1;
        break;

    default:
        return NGX_ERROR;
    }

    if (hyphens
        && (p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-'))
    {
        return NGX_ERROR;
    }

    return ngx_http_academy_uuid_digits_parse(p, hyphens, uid);
}


#if (NGX_HTTP_ACADEMY_BLOCK == 16)

static ngx_int_t
ngx_http_academy_uuid_digits_parse(u_char *p, ngx_uint_t hyphens,
    u_char uid[16])
{
    u_char                    buf[32];
    ngx_http_academy_block_t  high, low, first, second;

    if (hyphens) {
        ngx_memcpy(buf, p, 8);
        ngx_memcpy(buf + 8, p + 9, 4);
        ngx_memcpy(buf + 12, p + 14, 4);
        ngx_memcpy(buf + 16, p + 19, 4);
        ngx_memcpy(buf + 20, p + 24, 12);
        p = buf;
    }

    high = ngx_http_academy_block_hex(ngx_http_academy_block_load(p), &first);
    low = ngx_http_academy_block_hex(ngx_http_academy_block_load(p + 16),
                                     &second);

    ngx_http_academy_block_store(uid, ngx_http_academy_block_pairs(high, low));

    return (ngx_http_academy_block_mask(first)
            & ngx_http_academy_block_mask(second))
           == NGX_HTTP_ACADEMY_MASK_FULL ? NGX_OK : NGX_ERROR;
}

#else

static ngx_int_t
ngx_http_academy_uuid_digits_parse(u_char *p, ngx_uint_t hyphens,
    u_char uid[16])
{
    ngx_uint_t  i, n, digits, high, low;

    digits = NGX_HTTP_ACADEMY_UUID_DIGIT;

    for (i = 0; i < 16; i++) {
        n = hyphens ? ngx_http_academy_uuid_offsets[i] : 2 * i;

        high = ngx_http_academy_uuid_digits[p[n]];
        low = ngx_http_academy_uuid_digits[p[n + 1]];

        digits &= high & low;
        uid[i] = (u_char) (high << 4 | (low & 0x0f));
    }

    return digits ? NGX_OK : NGX_ERROR;
}

#endif


u_char *
ngx_http_academy_uuid_print(u_char *p, u_char uid[16])
{
    ngx_uint_t           i;
    static const u_char  hex[] = "0123456789abcdef";

    for (i = 0; i < 16; i++) {

        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }

        *p++ = hex[uid[i] >> 4];
        *p++ = hex[uid[i] & 0x0f];
    }

    return p;
}


u_char *
ngx_http_academy_id_print(u_char *p, ngx_http_academy_id_t *id, u_char *name,
    size_t len)
{
    p = ngx_cpymem(p, "{\"uid\":\"", sizeof("{\"uid\":\"") - 1);
    p = ngx_http_academy_uuid_print(p, id->uid);
    p = ngx_cpymem(p, "\",\"name\":", sizeof("\",\"name\":") - 1);

    if (len) {
        p = ngx_cpymem(p, name, len);

    } else {
        p = ngx_cpymem(p, "null", sizeof("null") - 1);
    }

    if (id->role == NGX_HTTP_ACADEMY_USER) {
        return ngx_cpymem(p, ",\"role\":\"user\"}",
                          sizeof(",\"role\":\"user\"}") - 1);
    }

    return ngx_cpymem(p, ",\"role\":\"agent\"}",
                      sizeof(",\"role\":\"agent\"}") - 1);
}
