
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


/*
 * Answers that are printed in pieces, into as many buffers as it takes.  When
 * there is no memory nothing more is printed, and "failed" says so.
 */


#define NGX_HTTP_ACADEMY_TEXT_SIZE  8192


static u_char *ngx_http_academy_text_room(ngx_http_academy_text_t *text,
    size_t size);
static ngx_uint_t ngx_http_academy_text_mend(u_char *dst, u_char *data,
    size_t len);


void
ngx_http_academy_text_begin(ngx_http_academy_text_t *text, ngx_pool_t *pool)
{
    ngx_memzero(text, sizeof(ngx_http_academy_text_t));

    text->pool = pool;
    text->last = &text->first;
}


static u_char *
ngx_http_academy_text_room(ngx_http_academy_text_t *text, size_t size)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (text->failed) {
        return NULL;
    }

    b = text->buf;

    if (b && (size_t) (b->end - b->last) >= size) {
        return b->last;
    }

    b = ngx_create_temp_buf(text->pool,
                            ngx_max(size, NGX_HTTP_ACADEMY_TEXT_SIZE));
    cl = ngx_alloc_chain_link(text->pool);

    if (b == NULL || cl == NULL) {
        text->failed = 1;
        return NULL;
    }

    cl->buf = b;
    cl->next = NULL;

    *text->last = cl;
    text->last = &cl->next;
    text->buf = b;

    return b->last;
}


void
ngx_http_academy_print(ngx_http_academy_text_t *text, char *format, ...)
{
    u_char   *p, *last;
    va_list   args;

    p = ngx_http_academy_text_room(text, NGX_HTTP_ACADEMY_PRINT);
    if (p == NULL) {
        return;
    }

    va_start(args, format);
    last = ngx_vslprintf(p, p + NGX_HTTP_ACADEMY_PRINT, format, args);
    va_end(args);

    /* a configuration may have longer names than anybody reads */

    if (last == p + NGX_HTTP_ACADEMY_PRINT) {
        text->failed = 1;
        return;
    }

    text->total += last - p;
    text->buf->last = last;
}


void
ngx_http_academy_print_string(ngx_http_academy_text_t *text, u_char *data,
    size_t len)
{
    u_char     *p, *last;
    uintptr_t   escape;

    /* what a variable says is any bytes, and one of them broke a whole page */

    if (ngx_http_academy_text_mend(NULL, data, len)) {

        p = ngx_pnalloc(text->pool, len);
        if (p == NULL) {
            text->failed = 1;
            return;
        }

        (void) ngx_http_academy_text_mend(p, data, len);
        data = p;
    }

    escape = ngx_escape_json(NULL, data, len);

    p = ngx_http_academy_text_room(text, len + escape + 2);
    if (p == NULL) {
        return;
    }

    last = p;
    *last++ = '"';
    last = (u_char *) ngx_escape_json(last, data, len);
    *last++ = '"';

    text->total += last - p;
    text->buf->last = last;
}


/* "?" for each byte that is not UTF-8; how many these are */

static ngx_uint_t
ngx_http_academy_text_mend(u_char *dst, u_char *data, size_t len)
{
    u_char      *p, *last;
    uint32_t     ch;
    ngx_uint_t   n;

    n = 0;
    last = data + len;

    while (data < last) {
        p = data;
        ch = (*p < 0x80) ? *p++ : ngx_utf8_decode(&p, last - p);

        if (ch > 0x10ffff || (ch >= 0xd800 && ch <= 0xdfff)) {
            n++;
            p = data + 1;

            if (dst) {
                *dst++ = '?';
            }

        } else if (dst) {
            dst = ngx_cpymem(dst, data, p - data);
        }

        data = p;
    }

    return n;
}


void
ngx_http_academy_print_json(ngx_http_academy_text_t *text, u_char *data,
    size_t len)
{
    u_char  *p;

    p = ngx_http_academy_text_room(text, len);
    if (p == NULL) {
        return;
    }

    text->buf->last = ngx_cpymem(p, data, len);
    text->total += len;
}


void
ngx_http_academy_print_time(ngx_http_academy_text_t *text, ngx_msec_int_t ms)
{
    if (ms < 0) {
        ngx_http_academy_print(text, "null");
        return;
    }

    ngx_http_academy_print(text, "%M.%03M", (ngx_msec_t) ms / 1000,
                           (ngx_msec_t) ms % 1000);
}


void
ngx_http_academy_print_number(ngx_http_academy_text_t *text, uint64_t n)
{
    if (n == NGX_HTTP_ACADEMY_UNKNOWN) {
        ngx_http_academy_print(text, "null");

    } else {
        ngx_http_academy_print(text, "%uL", n);
    }
}


void
ngx_http_academy_print_sum(ngx_http_academy_text_t *text, uint64_t one,
    uint64_t two)
{
    ngx_http_academy_print_number(text,
                                  (one == NGX_HTTP_ACADEMY_UNKNOWN
                                   || two == NGX_HTTP_ACADEMY_UNKNOWN)
                                  ? NGX_HTTP_ACADEMY_UNKNOWN : one + two);
}


void
ngx_http_academy_print_unit(ngx_http_academy_text_t *text, uint64_t value,
    ngx_http_academy_unit_e unit)
{
    switch (unit) {

    case NGX_HTTP_ACADEMY_BYTES:
        ngx_http_academy_print(text, "%uL", value);
        return;

    case NGX_HTTP_ACADEMY_MICROSECONDS:
        ngx_http_academy_print(text, "%uL.%06uL", value / 1000000,
                               value % 1000000);
        return;

    default: /* NGX_HTTP_ACADEMY_MILLISECONDS */
        ngx_http_academy_print_time(text, (ngx_msec_int_t) value);
    }
}
