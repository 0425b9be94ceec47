
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_block.h"
#include "ngx_http_academy_escape.h"


u_char *
ngx_http_academy_escape(u_char *dst, u_char *src, size_t len)
{
    u_char                    c, *end;
    size_t                    n;
    ngx_http_academy_block_t  b;
    ngx_http_academy_mask_t   mask;

    end = src + len;

    /*
     * What is behind a backslash that is put in is copied once more, by one
     * farther.  A block never goes beyond the end of what is written, since
     * at least as much as it holds is still to come.
     */

    while (end - src >= 2 * NGX_HTTP_ACADEMY_BLOCK) {
        b = ngx_http_academy_block_load(src);
        mask = ngx_http_academy_block_mask(ngx_http_academy_block_quoted(b));

        ngx_http_academy_block_store(dst, b);

        if (mask == 0) {
            src += NGX_HTTP_ACADEMY_BLOCK;
            dst += NGX_HTTP_ACADEMY_BLOCK;

            while (end - src >= 4 * NGX_HTTP_ACADEMY_BLOCK
                   && ngx_http_academy_block_copy(dst, src,
                                               ngx_http_academy_block_quotes))
            {
                src += 4 * NGX_HTTP_ACADEMY_BLOCK;
                dst += 4 * NGX_HTTP_ACADEMY_BLOCK;
            }

            continue;
        }

        while (mask) {
            n = ngx_http_academy_mask_first(mask);

            dst[n] = '\\';
            dst++;

            ngx_http_academy_block_store(dst + n,
                                         ngx_http_academy_block_load(src + n));

            mask = ngx_http_academy_mask_rest(mask);
        }

        src += NGX_HTTP_ACADEMY_BLOCK;
        dst += NGX_HTTP_ACADEMY_BLOCK;
    }

    while (src < end) {
        c = *src++;

        if (c == '"' || c == '\\') {
            *dst++ = '\\';
        }

        *dst++ = c;
    }

    return dst;
}


size_t
ngx_http_academy_escape_count(u_char *src, size_t len)
{
    u_char                    *end;
    size_t                     i, n, left;
    ngx_http_academy_block_t   tally;

    n = 0;
    end = src + len;

    for (left = len / NGX_HTTP_ACADEMY_BLOCK; left; left -= i) {

        tally = ngx_http_academy_block_fill(0);

        for (i = 0; i < ngx_min(left, NGX_HTTP_ACADEMY_TALLY); i++) {
            tally = ngx_http_academy_block_tally(tally,
                        ngx_http_academy_block_quoted(
                            ngx_http_academy_block_load(src)));
            src += NGX_HTTP_ACADEMY_BLOCK;
        }

        n += ngx_http_academy_block_count(tally);
    }

    for ( /* void */ ; src < end; src++) {
        n += (*src == '"') | (*src == '\\');
    }

    return n;
}
