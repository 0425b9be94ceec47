
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
#include "ngx_http_academy_id.h"


#define NGX_HTTP_ACADEMY_UUID_URN  "urn:uuid:"


static ngx_uint_t ngx_http_academy_uuid_hex(u_char c);


/* where the 16 bytes start in the hyphenated form */

static const u_char  ngx_http_academy_uuid_offsets[16] = {
    0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34
};


ngx_int_t
ngx_http_academy_uuid_parse(u_char *p, size_t len, u_char uid[16])
{
    ngx_uint_t  i, hyphens, bad, high, low;

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

    bad = 0;

    for (i = 0; i < 16; i++) {
        high = hyphens ? ngx_http_academy_uuid_offsets[i] : 2 * i;
        low = ngx_http_academy_uuid_hex(p[high + 1]);
        high = ngx_http_academy_uuid_hex(p[high]);

        bad |= high | low;
        uid[i] = (u_char) (high << 4 | low);
    }

    return bad > 15 ? NGX_ERROR : NGX_OK;
}


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


/* the digit's value, or 16 if it is none */

static ngx_uint_t
ngx_http_academy_uuid_hex(u_char c)
{
    u_char  d;

    d = (u_char) (c - '0');

    if (d < 10) {
        return d;
    }

    d = (u_char) ((c | 0x20) - 'a');

    return d < 6 ? d + 10U : 16;
}
