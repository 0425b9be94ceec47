
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_JWT_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_JWT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <openssl/evp.h>
#include "ngx_http_academy_auth.h"


/* bits of a modulus at the least */

#define NGX_HTTP_ACADEMY_MIN_RSA     2048

/* keys that are tried when a token names none */

#define NGX_HTTP_ACADEMY_KEY_TRIES   8


typedef enum {
    NGX_HTTP_ACADEMY_KEY_RSA = 0,
    NGX_HTTP_ACADEMY_KEY_P256,
    NGX_HTTP_ACADEMY_KEY_P384,
    NGX_HTTP_ACADEMY_KEY_P521,
    NGX_HTTP_ACADEMY_KEY_ED25519,
    NGX_HTTP_ACADEMY_KEY_SECRET
} ngx_http_academy_key_e;


typedef struct {
    ngx_str_t                  name;
    ngx_http_academy_key_e     type;      /* of the keys that it is used with */
    const EVP_MD            *(*md)(void); /* NULL: EdDSA */
    size_t                     size;      /* of the digest */
    unsigned                   pss:1;
    unsigned                   named:1;   /* not unless it is configured */
} ngx_http_academy_algorithm_t;


typedef struct {
    ngx_http_academy_key_e               type;
    ngx_str_t                            kid;
    const ngx_http_academy_algorithm_t  *algorithm;   /* NULL: any of its
                                                         type */
    EVP_PKEY                            *pkey;
    ngx_str_t                            secret;
} ngx_http_academy_key_t;


struct ngx_http_academy_keys_s {
    ngx_array_t                keys;      /* of ngx_http_academy_key_t */
    ngx_array_t                digests;   /* of what they were read from */
};


extern const ngx_http_academy_algorithm_t  ngx_http_academy_algorithms[];


/* the algorithm of a name, or NULL */
const ngx_http_academy_algorithm_t *ngx_http_academy_algorithm(u_char *name,
    size_t len);

ngx_http_academy_keys_t *ngx_http_academy_keys_create(ngx_pool_t *pool);

/* adds the keys of a file, JWKS or PEM, or says why it cannot */
ngx_int_t ngx_http_academy_keys_file(ngx_conf_t *cf,
    ngx_http_academy_keys_t *keys, ngx_str_t *name);

/*
 * Decodes base64url: NGX_OK, or NGX_ERROR if it is not what an encoder would
 * have written: with padding, other characters, or bits that mean nothing.
 * dst->data has room for it.
 */
ngx_int_t ngx_http_academy_base64url(ngx_str_t *dst, ngx_str_t *src);


#endif /* _NGX_HTTP_ACADEMY_JWT_H_INCLUDED_ */
