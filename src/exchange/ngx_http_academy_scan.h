
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_SCAN_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_SCAN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_id.h"


/*
 * The message path's own JSON scanner.  It accepts what jansson accepts with
 * JSON_ALLOW_NUL, but for
 *
 *     numbers, which may have any size, and up to
 *     NGX_HTTP_ACADEMY_JSON_DIGITS digits before the point,
 *     nesting, of which it takes NGX_HTTP_ACADEMY_JSON_DEPTH levels,
 *     names of members, which may have a \u0000 in them, and
 *     a zero byte behind a number or a literal, which is an error here.
 *
 * It allocates nothing and works in time linear in its input, whatever that
 * holds.
 */

#define NGX_HTTP_ACADEMY_JSON_DEPTH    200

/* Python makes no integer of more: a client would refuse the message */

#define NGX_HTTP_ACADEMY_JSON_DIGITS   4300

/* the members of the outer object, of a message and of a header, each */

#define NGX_HTTP_ACADEMY_JSON_MEMBERS  64


typedef struct {
    ngx_http_academy_entity_t  src;
    ngx_http_academy_entity_t  dest;
    u_char                     tag[16];
    u_char                     label[16];

    /* the message's own JSON, on one line: no CR, LF or TAB remains in it */
    ngx_str_t                  json;

    unsigned                   labeled:1;
    unsigned                   request:1;    /* else a response */
} ngx_http_academy_envelope_t;


/* what a receiver asks for: a mailbox, and for how long */

typedef struct {
    ngx_str_t                  json;         /* the mailbox's */
    ngx_http_academy_entity_t  mailbox;
    double                     timeout;      /* seconds, if it is timed */
    ngx_uint_t                 timed;
} ngx_http_academy_wait_t;


/* where and why a text was refused; both are constant strings */

typedef struct {
    const char                *field;        /* such as "header.tag" */
    const char                *why;          /* such as "not a UUID" */
} ngx_http_academy_scan_error_t;


/*
 * Reads the body of a PUT /message request, {"message": "<JSON>"}, of which
 * other members are checked and ignored, and the message in it.  The body is
 * overwritten, from its beginning: the message is unescaped in place, its
 * white space becomes blanks, and env points into it.  A name that is absent
 * is "null".
 *
 * Returns NGX_OK; NGX_DECLINED if the body or the message is refused, with
 * err filled in; NGX_ABORT if the body is right and the message larger than
 * limit bytes: then only env->json is set, and what is in it was not read.
 */
ngx_int_t ngx_http_academy_scan_put(u_char *body, size_t len, size_t limit,
    ngx_http_academy_envelope_t *env, ngx_http_academy_scan_error_t *err);

/*
 * Reads the body of a GET /message or GET /mailbox/listen request,
 * {"mailbox": "<JSON>", "timeout": 60.0}, of which the timeout may be absent
 * and other members are checked and ignored, and the entity id in it.  The
 * body is overwritten as by ngx_http_academy_scan_put().
 *
 * Returns NGX_OK, or NGX_DECLINED with err filled in.
 */
ngx_int_t ngx_http_academy_scan_wait(u_char *body, size_t len,
    ngx_http_academy_wait_t *wait, ngx_http_academy_scan_error_t *err);

/*
 * Reads the header of a message that was accepted before, of which p may be
 * the beginning only.  Nothing is overwritten; of env the names point to p.
 * Returns NGX_OK, or NGX_DECLINED if all of the header is not there.
 */
ngx_int_t ngx_http_academy_scan_header(u_char *p, size_t len,
    ngx_http_academy_envelope_t *env);

/*
 * Reads one entity id.  White space that is not a blank is overwritten by
 * blanks.  Returns NGX_OK, or NGX_DECLINED with err filled in.
 */
ngx_int_t ngx_http_academy_scan_entity(u_char *p, size_t len,
    ngx_http_academy_entity_t *entity, ngx_http_academy_scan_error_t *err);

/*
 * Checks that the text is one JSON value with nothing but white space around
 * it.  Returns NGX_OK or NGX_DECLINED with err filled in.
 */
ngx_int_t ngx_http_academy_scan_value(u_char *p, size_t len,
    ngx_http_academy_scan_error_t *err);


#endif /* _NGX_HTTP_ACADEMY_SCAN_H_INCLUDED_ */
