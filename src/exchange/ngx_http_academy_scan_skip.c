
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * Values that nobody asks for.  They are checked to the letter of RFC 8259
 * and passed over, with a stack of their own: the depth of a value is the
 * client's choice.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_block.h"
#include "ngx_http_academy_scan_core.h"


static ngx_inline u_char *ngx_http_academy_scan_skip_name(
    ngx_http_academy_scan_t *s, u_char *p);
static u_char *ngx_http_academy_scan_number(ngx_http_academy_scan_t *s,
    u_char *p);
static ngx_inline u_char *ngx_http_academy_scan_decimal(
    ngx_http_academy_scan_t *s, u_char *p);


/* a value of any kind */

u_char *
ngx_http_academy_scan_skip(ngx_http_academy_scan_t *s, u_char *p)
{
    u_char      c, *end, *start;
    u_char      stack[NGX_HTTP_ACADEMY_JSON_DEPTH];
    ngx_uint_t  n, max;

    n = 0;
    max = NGX_HTTP_ACADEMY_JSON_DEPTH - s->depth;
    end = s->end;

    for ( ;; ) {

        /* the beginning of a value */

        if (p == end) {
            return ngx_http_academy_scan_syntax(s);
        }

        c = *p;

        switch (c) {

        case '"':
            p = ngx_http_academy_scan_over(s, p + 1);
            break;

        case '{':
        case '[':

            if (n == max) {
                return ngx_http_academy_scan_refuse(s, s->field,
                                                    "nested too deeply");
            }

            /* in ASCII the closing bracket is the next but one */

            stack[n++] = c + 2;

            p = ngx_http_academy_scan_blanks(s, p + 1);

            if (p == end) {
                return ngx_http_academy_scan_syntax(s);
            }

            if (*p == c + 2) {
                break;
            }

            if (c == '{') {
                p = ngx_http_academy_scan_skip_name(s, p);

                if (p == NULL) {
                    return NULL;
                }
            }

            continue;

        case '1': case '2': case '3': case '4': case '5':
        case '6': case '7': case '8': case '9':

            start = p;

            do {
                p++;
            } while (p != end && (u_char) (*p - '0') < 10);

            if (p - start <= NGX_HTTP_ACADEMY_JSON_DIGITS
                && p != end && *p != '.' && *p != 'e' && *p != 'E')
            {
                break;
            }

            p = start;

            /* fall through */

        case '-': case '0':
            p = ngx_http_academy_scan_number(s, p);
            break;

        default:
            p = ngx_http_academy_scan_literal(s, p);
        }

        if (p == NULL) {
            return NULL;
        }

        /* the end of a value, and of those that it is the last one in */

        for ( ;; ) {

            if (n == 0) {
                return p;
            }

            p = ngx_http_academy_scan_blanks(s, p);

            if (p == end) {
                return ngx_http_academy_scan_syntax(s);
            }

            if (*p != stack[n - 1]) {
                break;
            }

            p++;
            n--;
        }

        if (*p != ',') {
            return ngx_http_academy_scan_syntax(s);
        }

        p = ngx_http_academy_scan_blanks(s, p + 1);

        if (stack[n - 1] == '}') {
            p = ngx_http_academy_scan_skip_name(s, p);

            if (p == NULL) {
                return NULL;
            }
        }
    }
}


/* a name that nobody asks for, and the colon */

static ngx_inline u_char *
ngx_http_academy_scan_skip_name(ngx_http_academy_scan_t *s, u_char *p)
{
    if (p == s->end || *p != '"') {
        return ngx_http_academy_scan_syntax(s);
    }

    p = ngx_http_academy_scan_over(s, p + 1);

    return p ? ngx_http_academy_scan_colon(s, p) : NULL;
}


static u_char *
ngx_http_academy_scan_number(ngx_http_academy_scan_t *s, u_char *p)
{
    u_char  *start;

    if (*p == '-') {
        p++;
    }

    start = p;

    if (p != s->end && *p == '0') {
        p++;

    } else {
        p = ngx_http_academy_scan_decimal(s, p);

        if (p == start) {
            return ngx_http_academy_scan_syntax(s);
        }

        if (p - start > NGX_HTTP_ACADEMY_JSON_DIGITS) {
            return ngx_http_academy_scan_refuse(s, s->field,
                                                "a number too long");
        }
    }

    if (p != s->end && *p == '.') {
        start = p + 1;
        p = ngx_http_academy_scan_decimal(s, start);

        if (p == start) {
            return ngx_http_academy_scan_syntax(s);
        }
    }

    if (p != s->end && (*p == 'e' || *p == 'E')) {
        p++;

        if (p != s->end && (*p == '+' || *p == '-')) {
            p++;
        }

        start = p;
        p = ngx_http_academy_scan_decimal(s, start);

        if (p == start) {
            return ngx_http_academy_scan_syntax(s);
        }
    }

    return p;
}


static ngx_inline u_char *
ngx_http_academy_scan_decimal(ngx_http_academy_scan_t *s, u_char *p)
{
    u_char  *end;

    end = s->end;

    while (p != end && (u_char) (*p - '0') < 10) {
        p++;
    }

    return p;
}


u_char *
ngx_http_academy_scan_literal(ngx_http_academy_scan_t *s, u_char *p)
{
    if (ngx_http_academy_scan_here(s, p, "null")
        || ngx_http_academy_scan_here(s, p, "true"))
    {
        return p + 4;
    }

    if (ngx_http_academy_scan_here(s, p, "false")) {
        return p + 5;
    }

    return ngx_http_academy_scan_syntax(s);
}


u_char *
ngx_http_academy_scan_space(ngx_http_academy_scan_t *s, u_char *p)
{
    ngx_http_academy_block_t  b;

    while (s->end - p >= NGX_HTTP_ACADEMY_BLOCK) {
        b = ngx_http_academy_block_load(p);

        if (!ngx_http_academy_block_blank(b)) {
            break;
        }

        if (s->rewrite) {
            ngx_http_academy_block_store(p, ngx_http_academy_block_fill(' '));
        }

        p += NGX_HTTP_ACADEMY_BLOCK;
    }

    while (p != s->end) {

        if (*p == '\n' || *p == '\r' || *p == '\t') {

            if (s->rewrite) {
                *p = ' ';
            }

        } else if (*p != ' ') {
            break;
        }

        p++;
    }

    return p;
}
