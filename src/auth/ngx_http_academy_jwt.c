
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include "ngx_http_academy_jwt.h"


/*
 * Tokens of RFC 7519 in the compact form of RFC 7515.  Nothing is believed
 * before its signature is: the header only says which of our own keys and
 * algorithms to try, and the claims are not even read until one has fitted.
 */


/* the longest of ES512: twice 66 bytes; and the same in DER */

#define NGX_HTTP_ACADEMY_ECDSA_LEN  132
#define NGX_HTTP_ACADEMY_DER_LEN    (NGX_HTTP_ACADEMY_ECDSA_LEN + 16)


typedef struct {
    const ngx_http_academy_algorithm_t  *algorithm;
    ngx_str_t                            kid;
    ngx_str_t                            header;      /* as they came */
    ngx_str_t                            payload;
    ngx_str_t                            input;       /* what is signed */
    ngx_str_t                            signature;   /* decoded */
    unsigned                             has_kid:1;
} ngx_http_academy_jwt_t;


static ngx_int_t ngx_http_academy_jwt_parse(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token,
    ngx_http_academy_jwt_t *jwt, char **reason);
static char *ngx_http_academy_jwt_split(ngx_str_t *token,
    ngx_http_academy_jwt_t *jwt);
static ngx_int_t ngx_http_academy_jwt_header(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, json_t *header,
    ngx_http_academy_jwt_t *jwt, char **reason);
static ngx_int_t ngx_http_academy_jwt_decode(ngx_http_request_t *r,
    ngx_str_t *dst, ngx_str_t *src);
static ngx_int_t ngx_http_academy_jwt_keys_try(ngx_http_academy_jwt_t *jwt,
    ngx_http_academy_keys_t *keys);
static ngx_uint_t ngx_http_academy_jwt_key_fits(ngx_http_academy_jwt_t *jwt,
    ngx_http_academy_key_t *key);
static ngx_int_t ngx_http_academy_jwt_key_verify(ngx_http_academy_jwt_t *jwt,
    ngx_http_academy_key_t *key);
static ngx_int_t ngx_http_academy_jwt_secret_verify(
    ngx_http_academy_jwt_t *jwt, ngx_http_academy_key_t *key);
static ngx_int_t ngx_http_academy_jwt_ecdsa(ngx_http_academy_jwt_t *jwt,
    u_char *der, ngx_str_t *signature);
static ngx_int_t ngx_http_academy_jwt_claims(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_jwt_t *jwt,
    ngx_http_academy_identity_t *identity);


ngx_int_t
ngx_http_academy_jwt_verify(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token,
    ngx_http_academy_keys_t *keys, ngx_http_academy_identity_t *identity,
    ngx_str_t *kid)
{
    char                    *reason;
    ngx_int_t                rc;
    ngx_http_academy_jwt_t   jwt;

    ngx_memzero(&jwt, sizeof(ngx_http_academy_jwt_t));

    rc = ngx_http_academy_jwt_parse(r, acf, token, &jwt, &reason);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc != NGX_OK) {
        return ngx_http_academy_identity_refuse(identity, NGX_HTTP_FORBIDDEN,
                                                reason);
    }

    *kid = jwt.kid;

    rc = ngx_http_academy_jwt_keys_try(&jwt, keys);

    ERR_clear_error();

    if (rc == NGX_DECLINED || rc == NGX_ERROR) {
        return rc;
    }

    if (rc != NGX_OK) {
        return ngx_http_academy_identity_refuse(identity, NGX_HTTP_FORBIDDEN,
                                                "its signature is not valid");
    }

    return ngx_http_academy_jwt_claims(r, acf, &jwt, identity);
}


/* NGX_DECLINED: reason says what is wrong with the token */

static ngx_int_t
ngx_http_academy_jwt_parse(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token,
    ngx_http_academy_jwt_t *jwt, char **reason)
{
    json_t     *header;
    ngx_int_t   rc;
    ngx_str_t   text, signature;

    *reason = ngx_http_academy_jwt_split(token, jwt);

    if (*reason) {
        return NGX_DECLINED;
    }

    *reason = "its header is not base64url";

    rc = ngx_http_academy_jwt_decode(r, &text, &jwt->header);

    if (rc != NGX_OK) {
        return rc;
    }

    *reason = "its signature is not base64url";

    signature = jwt->signature;

    rc = ngx_http_academy_jwt_decode(r, &jwt->signature, &signature);

    if (rc != NGX_OK) {
        return rc;
    }

    *reason = "its header is not a JSON object";

    rc = ngx_http_academy_auth_json(&text, JSON_REJECT_DUPLICATES, &header);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = json_is_object(header)
         ? ngx_http_academy_jwt_header(r, acf, header, jwt, reason)
         : NGX_DECLINED;

    json_decref(header);

    return rc;
}


static char *
ngx_http_academy_jwt_split(ngx_str_t *token, ngx_http_academy_jwt_t *jwt)
{
    u_char  *first, *second, *last;

    last = token->data + token->len;

    first = ngx_strlchr(token->data, last, '.');

    if (first == NULL) {
        return "it does not have three parts";
    }

    second = ngx_strlchr(first + 1, last, '.');

    if (second == NULL || ngx_strlchr(second + 1, last, '.')) {
        return "it does not have three parts";
    }

    jwt->header.data = token->data;
    jwt->header.len = first - token->data;

    jwt->payload.data = first + 1;
    jwt->payload.len = second - (first + 1);

    jwt->input.data = token->data;
    jwt->input.len = second - token->data;

    jwt->signature.data = second + 1;
    jwt->signature.len = last - (second + 1);

    return NULL;
}


static ngx_int_t
ngx_http_academy_jwt_header(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, json_t *header,
    ngx_http_academy_jwt_t *jwt, char **reason)
{
    json_t      *alg, *kid;
    ngx_uint_t   n;

    alg = json_object_get(header, "alg");
    kid = json_object_get(header, "kid");

    if (json_object_get(header, "crit")) {
        *reason = "its header has \"crit\"";
        return NGX_DECLINED;
    }

    if (!json_is_string(alg)) {
        *reason = "its header has no \"alg\"";
        return NGX_DECLINED;
    }

    jwt->algorithm = ngx_http_academy_algorithm(
                                          (u_char *) json_string_value(alg),
                                          json_string_length(alg));

    if (jwt->algorithm == NULL) {
        *reason = "its algorithm is not allowed";
        return NGX_DECLINED;
    }

    n = jwt->algorithm - ngx_http_academy_algorithms;

    if (!(acf->algorithms & ((ngx_uint_t) 1 << n))) {
        *reason = "its algorithm is not allowed";
        return NGX_DECLINED;
    }

    if (kid == NULL) {
        return NGX_OK;
    }

    if (!json_is_string(kid)) {
        *reason = "the \"kid\" of its header is not a string";
        return NGX_DECLINED;
    }

    jwt->has_kid = 1;
    jwt->kid.len = json_string_length(kid);
    jwt->kid.data = ngx_pnalloc(r->pool, jwt->kid.len + 1);

    if (jwt->kid.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(jwt->kid.data, json_string_value(kid), jwt->kid.len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_jwt_decode(ngx_http_request_t *r, ngx_str_t *dst,
    ngx_str_t *src)
{
    dst->data = ngx_pnalloc(r->pool, ngx_base64_decoded_length(src->len) + 1);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    return (ngx_http_academy_base64url(dst, src) == NGX_OK) ? NGX_OK
                                                            : NGX_DECLINED;
}


ngx_int_t
ngx_http_academy_base64url(ngx_str_t *dst, ngx_str_t *src)
{
    u_char     *d, *p, *last;
    uint32_t    bits, n, value;

    last = src->data + src->len;
    d = dst->data;
    bits = 0;
    n = 0;

    for (p = src->data; p < last; p++) {

        if (*p >= 'A' && *p <= 'Z') {
            value = *p - 'A';

        } else if (*p >= 'a' && *p <= 'z') {
            value = *p - 'a' + 26;

        } else if (*p >= '0' && *p <= '9') {
            value = *p - '0' + 52;

        } else if (*p == '-') {
            value = 62;

        } else if (*p == '_') {
            value = 63;

        } else {
            return NGX_ERROR;
        }

        bits = (bits << 6 | value) & 0x3fff;
        n += 6;

        if (n >= 8) {
            n -= 8;
            *d++ = (u_char) (bits >> n);
        }
    }

    /* a character alone, or bits that no byte was made of */

    if (n == 6 || (bits & ((1u << n) - 1))) {
        return NGX_ERROR;
    }

    dst->len = d - dst->data;

    return NGX_OK;
}


/*
 * NGX_OK; NGX_ABORT: the key that it names refutes it; NGX_DECLINED: there is
 * none; NGX_ERROR
 */

static ngx_int_t
ngx_http_academy_jwt_keys_try(ngx_http_academy_jwt_t *jwt,
    ngx_http_academy_keys_t *keys)
{
    ngx_int_t                rc;
    ngx_uint_t               i, tries, named;
    ngx_http_academy_key_t  *key;

    if (keys == NULL) {
        return NGX_DECLINED;
    }

    key = keys->keys.elts;
    tries = 0;
    named = 0;

    for (i = 0; i < keys->keys.nelts; i++) {

        if (jwt->has_kid && key[i].kid.data) {

            if (key[i].kid.len != jwt->kid.len
                || ngx_memcmp(key[i].kid.data, jwt->kid.data, jwt->kid.len)
                   != 0)
            {
                continue;
            }

            named = 1;
        }

        if (!ngx_http_academy_jwt_key_fits(jwt, &key[i])) {
            continue;
        }

        if (tries++ == NGX_HTTP_ACADEMY_KEY_TRIES) {
            break;
        }

        rc = ngx_http_academy_jwt_key_verify(jwt, &key[i]);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    return named ? NGX_ABORT : NGX_DECLINED;
}


static ngx_uint_t
ngx_http_academy_jwt_key_fits(ngx_http_academy_jwt_t *jwt,
    ngx_http_academy_key_t *key)
{
    if (key->type != jwt->algorithm->type) {
        return 0;
    }

    if (key->algorithm && key->algorithm != jwt->algorithm) {
        return 0;
    }

    return key->type != NGX_HTTP_ACADEMY_KEY_SECRET
           || key->secret.len >= jwt->algorithm->size;
}


/* NGX_OK; NGX_DECLINED: it is not signed by this key; NGX_ERROR: no memory */

static ngx_int_t
ngx_http_academy_jwt_key_verify(ngx_http_academy_jwt_t *jwt,
    ngx_http_academy_key_t *key)
{
    u_char         der[NGX_HTTP_ACADEMY_DER_LEN];
    ngx_int_t      rc;
    ngx_str_t      signature;
    ngx_uint_t     ok;
    EVP_MD_CTX    *ctx;
    EVP_PKEY_CTX  *pctx;
    const EVP_MD  *md;

    if (key->type == NGX_HTTP_ACADEMY_KEY_SECRET) {
        return ngx_http_academy_jwt_secret_verify(jwt, key);
    }

    signature = jwt->signature;

    if (key->type >= NGX_HTTP_ACADEMY_KEY_P256
        && key->type <= NGX_HTTP_ACADEMY_KEY_P521)
    {
        rc = ngx_http_academy_jwt_ecdsa(jwt, der, &signature);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    ctx = EVP_MD_CTX_new();
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    md = jwt->algorithm->md ? jwt->algorithm->md() : NULL;

    ok = (EVP_DigestVerifyInit(ctx, &pctx, md, NULL, key->pkey) == 1);

    if (ok && jwt->algorithm->pss) {
        ok = (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1
              && EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx,
                                                  RSA_PSS_SALTLEN_DIGEST)
                 == 1);
    }

    ok = (ok && EVP_DigestVerify(ctx, signature.data, signature.len,
                                 jwt->input.data, jwt->input.len)
                == 1);

    EVP_MD_CTX_free(ctx);

    return ok ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_academy_jwt_secret_verify(ngx_http_academy_jwt_t *jwt,
    ngx_http_academy_key_t *key)
{
    u_char    md[EVP_MAX_MD_SIZE];
    unsigned  len;

    if (HMAC(jwt->algorithm->md(), key->secret.data, (int) key->secret.len,
             jwt->input.data, jwt->input.len, md, &len)
        == NULL)
    {
        return NGX_ERROR;
    }

    if (jwt->signature.len != len
        || CRYPTO_memcmp(jwt->signature.data, md, len) != 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* two numbers of the curve's length, as OpenSSL takes them */

static ngx_int_t
ngx_http_academy_jwt_ecdsa(ngx_http_academy_jwt_t *jwt, u_char *der,
    ngx_str_t *signature)
{
    int         len;
    size_t      size;
    BIGNUM     *r, *s;
    ECDSA_SIG  *sig;

    switch (jwt->algorithm->type) {

    case NGX_HTTP_ACADEMY_KEY_P256:
        size = 32;
        break;

    case NGX_HTTP_ACADEMY_KEY_P384:
        size = 48;
        break;

    default: /* NGX_HTTP_ACADEMY_KEY_P521 */
        size = 66;
    }

    if (jwt->signature.len != 2 * size) {
        return NGX_DECLINED;
    }

    sig = ECDSA_SIG_new();
    r = BN_bin2bn(jwt->signature.data, (int) size, NULL);
    s = BN_bin2bn(jwt->signature.data + size, (int) size, NULL);

    if (sig == NULL || r == NULL || s == NULL
        || ECDSA_SIG_set0(sig, r, s) != 1)
    {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return NGX_ERROR;
    }

    signature->data = der;
    len = i2d_ECDSA_SIG(sig, NULL);

    if (len > 0 && len <= NGX_HTTP_ACADEMY_DER_LEN) {
        len = i2d_ECDSA_SIG(sig, &der);

    } else {
        len = 0;
    }

    ECDSA_SIG_free(sig);

    if (len <= 0) {
        return NGX_ERROR;
    }

    signature->len = len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_jwt_claims(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_jwt_t *jwt,
    ngx_http_academy_identity_t *identity)
{
    json_t     *claims;
    ngx_int_t   rc;
    ngx_str_t   text;

    rc = ngx_http_academy_jwt_decode(r, &text, &jwt->payload);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc != NGX_OK) {
        return ngx_http_academy_identity_refuse(identity, NGX_HTTP_FORBIDDEN,
                                                "its claims are not "
                                                "base64url");
    }

    if (ngx_http_academy_auth_json(&text, JSON_REJECT_DUPLICATES, &claims)
        == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    if (!json_is_object(claims)) {
        json_decref(claims);
        return ngx_http_academy_identity_refuse(identity, NGX_HTTP_FORBIDDEN,
                                                "its claims are not a JSON "
                                                "object");
    }

    identity->claims = text;

    rc = ngx_http_academy_claims_check(r, acf, claims, identity);

    json_decref(claims);

    return rc;
}
