
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_ID_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_ID_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_HTTP_ACADEMY_AGENT     0
#define NGX_HTTP_ACADEMY_USER      1

#define NGX_HTTP_ACADEMY_UID_LEN   16
#define NGX_HTTP_ACADEMY_UUID_LEN  (sizeof("01234567-89ab-cdef-"              \
                                           "0123-456789abcdef") - 1)


/* two ids are the same entity when uid and role are the same */

typedef struct {
    u_char                     uid[16];      /* the UUID's bytes, in order */
    u_char                     role;         /* NGX_HTTP_ACADEMY_AGENT, _USER */
} ngx_http_academy_id_t;


/*
 * An entity id as a client wrote it.  The name is for people only; it is
 * kept as the JSON text it came as, quotes included, or "null", and points
 * into the text that was parsed.
 */

typedef struct {
    ngx_http_academy_id_t      id;
    ngx_str_t                  name;
} ngx_http_academy_entity_t;


/*
 * Reads a UUID in any of the forms that Python's clients accept: upper or
 * lower case, with or without hyphens, in braces, after "urn:uuid:".
 * Returns NGX_OK, or NGX_ERROR if the text is no UUID.
 */
ngx_int_t ngx_http_academy_uuid_parse(u_char *p, size_t len, u_char uid[16]);

/*
 * Writes the NGX_HTTP_ACADEMY_UUID_LEN characters of the canonical lower case
 * form, returns the position behind them.
 */
u_char *ngx_http_academy_uuid_print(u_char *p, u_char uid[16]);

/*
 * Writes an entity id as JSON: name is JSON itself, len 0 stands for null.
 * Returns the position behind it.
 */
u_char *ngx_http_academy_id_print(u_char *p, ngx_http_academy_id_t *id,
    u_char *name, size_t len);


static ngx_inline ngx_uint_t
ngx_http_academy_id_eq(ngx_http_academy_id_t *a, ngx_http_academy_id_t *b)
{
    return a->role == b->role && ngx_memcmp(a->uid, b->uid, 16) == 0;
}


#endif /* _NGX_HTTP_ACADEMY_ID_H_INCLUDED_ */
