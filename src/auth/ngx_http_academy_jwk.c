
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include "ngx_http_academy_jwt.h"


/*
 * Keys that tokens are verified with.  A key has one type, and a type is all
 * that an algorithm is compared with: what was published as an RSA key can
 * never be taken for a secret.
 *
 * OpenSSL's queue of errors is left empty behind every failure, for nginx
 * takes what it finds there for its own.
 */


#define NGX_HTTP_ACADEMY_MAX_RSA       16384
#define NGX_HTTP_ACADEMY_MAX_EXPONENT  64
#define NGX_HTTP_ACADEMY_MIN_SECRET    32
#define NGX_HTTP_ACADEMY_KEY_FILE      (1024 * 1024)


/* what is to become of a key that cannot be used */

#define NGX_HTTP_ACADEMY_KEY_SKIP      NGX_DECLINED    /* not for us */
#define NGX_HTTP_ACADEMY_KEY_BAD       NGX_ABORT       /* see the reason */


typedef struct {
    ngx_str_t                  name;
    ngx_str_t                  group;     /* OpenSSL's name */
    ngx_http_academy_key_e     type;
    size_t                     size;      /* of a coordinate */
} ngx_http_academy_curve_t;


static void ngx_http_academy_keys_cleanup(void *data);
static ngx_int_t ngx_http_academy_jwks_add(ngx_http_academy_keys_t *keys,
    ngx_str_t *text, ngx_uint_t strict, char **reason);
static ngx_int_t ngx_http_academy_jwk_read(ngx_pool_t *pool, json_t *jwk,
    ngx_http_academy_key_t *key, char **reason);
static ngx_int_t ngx_http_academy_jwk_use(json_t *jwk);
static ngx_int_t ngx_http_academy_jwk_rsa(ngx_pool_t *pool, json_t *jwk,
    ngx_http_academy_key_t *key, char **reason);
static ngx_int_t ngx_http_academy_jwk_ec(ngx_pool_t *pool, json_t *jwk,
    ngx_http_academy_key_t *key, char **reason);
static ngx_int_t ngx_http_academy_jwk_okp(ngx_pool_t *pool, json_t *jwk,
    ngx_http_academy_key_t *key, char **reason);
static ngx_int_t ngx_http_academy_jwk_secret(ngx_pool_t *pool, json_t *jwk,
    ngx_http_academy_key_t *key, char **reason);
static ngx_int_t ngx_http_academy_jwk_bytes(ngx_pool_t *pool, json_t *jwk,
    char *name, ngx_str_t *bytes);
static EVP_PKEY *ngx_http_academy_jwk_pkey(char *type, OSSL_PARAM_BLD *bld);
static ngx_int_t ngx_http_academy_pem_add(ngx_http_academy_keys_t *keys,
    ngx_str_t *text, char **reason);
static ngx_int_t ngx_http_academy_pem_read(char *name, u_char *data, long len,
    ngx_http_academy_key_t *key, char **reason);
static ngx_int_t ngx_http_academy_pkey_type(ngx_http_academy_key_t *key,
    char **reason);
static ngx_int_t ngx_http_academy_rsa_check(EVP_PKEY *pkey, char **reason);
static ngx_int_t ngx_http_academy_keys_digest(ngx_http_academy_keys_t *keys,
    ngx_str_t *text);
static ngx_int_t ngx_http_academy_key_file_read(ngx_conf_t *cf,
    ngx_str_t *name, ngx_str_t *text);


const ngx_http_academy_algorithm_t  ngx_http_academy_algorithms[] = {
    { ngx_string("RS256"), NGX_HTTP_ACADEMY_KEY_RSA, EVP_sha256, 32, 0, 0 },
    { ngx_string("RS384"), NGX_HTTP_ACADEMY_KEY_RSA, EVP_sha384, 48, 0, 0 },
    { ngx_string("RS512"), NGX_HTTP_ACADEMY_KEY_RSA, EVP_sha512, 64, 0, 0 },
    { ngx_string("PS256"), NGX_HTTP_ACADEMY_KEY_RSA, EVP_sha256, 32, 1, 0 },
    { ngx_string("PS384"), NGX_HTTP_ACADEMY_KEY_RSA, EVP_sha384, 48, 1, 0 },
    { ngx_string("PS512"), NGX_HTTP_ACADEMY_KEY_RSA, EVP_sha512, 64, 1, 0 },
    { ngx_string("ES256"), NGX_HTTP_ACADEMY_KEY_P256, EVP_sha256, 32, 0, 0 },
    { ngx_string("ES384"), NGX_HTTP_ACADEMY_KEY_P384, EVP_sha384, 48, 0, 0 },
    { ngx_string("ES512"), NGX_HTTP_ACADEMY_KEY_P521, EVP_sha512, 64, 0, 0 },
    { ngx_string("EdDSA"), NGX_HTTP_ACADEMY_KEY_ED25519, NULL, 0, 0, 0 },
    { ngx_string("HS256"), NGX_HTTP_ACADEMY_KEY_SECRET, EVP_sha256, 32, 0, 1 },
    { ngx_string("HS384"), NGX_HTTP_ACADEMY_KEY_SECRET, EVP_sha384, 48, 0, 1 },
    { ngx_string("HS512"), NGX_HTTP_ACADEMY_KEY_SECRET, EVP_sha512, 64, 0, 1 },
    { ngx_null_string, 0, NULL, 0, 0, 0 }
};


static ngx_http_academy_curve_t  ngx_http_academy_curves[] = {
    { ngx_string("P-256"), ngx_string("prime256v1"),
      NGX_HTTP_ACADEMY_KEY_P256, 32 },
    { ngx_string("P-384"), ngx_string("secp384r1"),
      NGX_HTTP_ACADEMY_KEY_P384, 48 },
    { ngx_string("P-521"), ngx_string("secp521r1"),
      NGX_HTTP_ACADEMY_KEY_P521, 66 },
    { ngx_null_string, ngx_null_string, 0, 0 }
};


const ngx_http_academy_algorithm_t *
ngx_http_academy_algorithm(u_char *name, size_t len)
{
    const ngx_http_academy_algorithm_t  *algorithm;

    for (algorithm = ngx_http_academy_algorithms; algorithm->name.len;
         algorithm++)
    {
        if (algorithm->name.len == len
            && ngx_memcmp(algorithm->name.data, name, len) == 0)
        {
            return algorithm;
        }
    }

    return NULL;
}


ngx_http_academy_keys_t *
ngx_http_academy_keys_create(ngx_pool_t *pool)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_academy_keys_t  *keys;

    cln = ngx_pool_cleanup_add(pool, sizeof(ngx_http_academy_keys_t));
    if (cln == NULL) {
        return NULL;
    }

    keys = cln->data;

    if (ngx_array_init(&keys->keys, pool, 4, sizeof(ngx_http_academy_key_t))
        != NGX_OK
        || ngx_array_init(&keys->digests, pool, 1, sizeof(ngx_str_t))
           != NGX_OK)
    {
        return NULL;
    }

    cln->handler = ngx_http_academy_keys_cleanup;

    return keys;
}


static void
ngx_http_academy_keys_cleanup(void *data)
{
    ngx_http_academy_keys_t *keys = data;

    ngx_uint_t               i;
    ngx_http_academy_key_t  *key;

    key = keys->keys.elts;

    for (i = 0; i < keys->keys.nelts; i++) {
        EVP_PKEY_free(key[i].pkey);

        if (key[i].secret.len) {
            OPENSSL_cleanse(key[i].secret.data, key[i].secret.len);
        }
    }
}


ngx_http_academy_keys_t *
ngx_http_academy_jwks_parse(ngx_pool_t *pool, ngx_str_t *text,
    ngx_uint_t strict, ngx_log_t *log)
{
    char                     *reason;
    ngx_http_academy_keys_t  *keys;

    keys = ngx_http_academy_keys_create(pool);
    if (keys == NULL) {
        return NULL;
    }

    reason = "no memory";

    if (ngx_http_academy_jwks_add(keys, text, strict, &reason) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, log, 0, "set of keys is refused: %s",
                      reason);
        return NULL;
    }

    return keys;
}


static ngx_int_t
ngx_http_academy_jwks_add(ngx_http_academy_keys_t *keys, ngx_str_t *text,
    ngx_uint_t strict, char **reason)
{
    size_t                   i;
    json_t                  *root, *list, *jwk;
    ngx_int_t                rc;
    ngx_http_academy_key_t  *key, k;

    root = json_loadb((char *) text->data, text->len, JSON_REJECT_DUPLICATES,
                      NULL);
    list = json_object_get(root, "keys");

    if (!json_is_array(list)) {
        json_decref(root);
        *reason = "it is not a JSON object with an array \"keys\"";
        return NGX_ERROR;
    }

    json_array_foreach(list, i, jwk) {

        ngx_memzero(&k, sizeof(ngx_http_academy_key_t));

        rc = ngx_http_academy_jwk_read(keys->keys.pool, jwk, &k, reason);

        ERR_clear_error();

        if (rc == NGX_HTTP_ACADEMY_KEY_SKIP
            || (rc == NGX_HTTP_ACADEMY_KEY_BAD && !strict))
        {
            EVP_PKEY_free(k.pkey);
            continue;
        }

        key = (rc == NGX_OK) ? ngx_array_push(&keys->keys) : NULL;

        if (key == NULL) {
            EVP_PKEY_free(k.pkey);
            json_decref(root);
            return NGX_ERROR;
        }

        *key = k;
    }

    json_decref(root);

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_jwk_read(ngx_pool_t *pool, json_t *jwk,
    ngx_http_academy_key_t *key, char **reason)
{
    json_t      *alg, *kid;
    const char  *kty;

    kty = json_string_value(json_object_get(jwk, "kty"));
    alg = json_object_get(jwk, "alg");
    kid = json_object_get(jwk, "kid");

    if (kty == NULL || ngx_http_academy_jwk_use(jwk) != NGX_OK) {
        return NGX_HTTP_ACADEMY_KEY_SKIP;
    }

    if (alg) {
        key->algorithm = ngx_http_academy_algorithm(
                                          (u_char *) json_string_value(alg),
                                          json_string_length(alg));

        if (key->algorithm == NULL) {
            return NGX_HTTP_ACADEMY_KEY_SKIP;
        }
    }

    if (kid) {

        if (!json_is_string(kid)) {
            return NGX_HTTP_ACADEMY_KEY_SKIP;
        }

        key->kid.len = json_string_length(kid);
        key->kid.data = ngx_pnalloc(pool, key->kid.len + 1);

        if (key->kid.data == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(key->kid.data, json_string_value(kid), key->kid.len);
    }

    if (ngx_strcmp(kty, "RSA") == 0) {
        return ngx_http_academy_jwk_rsa(pool, jwk, key, reason);
    }

    if (ngx_strcmp(kty, "EC") == 0) {
        return ngx_http_academy_jwk_ec(pool, jwk, key, reason);
    }

    if (ngx_strcmp(kty, "OKP") == 0) {
        return ngx_http_academy_jwk_okp(pool, jwk, key, reason);
    }

    if (ngx_strcmp(kty, "oct") == 0) {
        return ngx_http_academy_jwk_secret(pool, jwk, key, reason);
    }

    return NGX_HTTP_ACADEMY_KEY_SKIP;
}


/* NGX_OK if the key is one for signatures, or does not say what it is for */

static ngx_int_t
ngx_http_academy_jwk_use(json_t *jwk)
{
    size_t       i;
    json_t      *use, *ops, *op;
    const char  *s;

    use = json_object_get(jwk, "use");
    ops = json_object_get(jwk, "key_ops");

    if (use) {
        s = json_string_value(use);

        if (s == NULL || ngx_strcmp(s, "sig") != 0) {
            return NGX_DECLINED;
        }
    }

    if (ops == NULL) {
        return NGX_OK;
    }

    json_array_foreach(ops, i, op) {
        s = json_string_value(op);

        if (s && ngx_strcmp(s, "verify") == 0) {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_academy_jwk_rsa(ngx_pool_t *pool, json_t *jwk,
    ngx_http_academy_key_t *key, char **reason)
{
    BIGNUM          *n, *e;
    ngx_str_t        modulus, exponent;
    OSSL_PARAM_BLD  *bld;

    key->type = NGX_HTTP_ACADEMY_KEY_RSA;

    if (ngx_http_academy_jwk_bytes(pool, jwk, "n", &modulus) != NGX_OK
        || ngx_http_academy_jwk_bytes(pool, jwk, "e", &exponent) != NGX_OK)
    {
        *reason = "an RSA key needs \"n\" and \"e\" in base64url";
        return NGX_HTTP_ACADEMY_KEY_BAD;
    }

    bld = OSSL_PARAM_BLD_new();
    n = BN_bin2bn(modulus.data, (int) modulus.len, NULL);
    e = BN_bin2bn(exponent.data, (int) exponent.len, NULL);

    if (bld && n && e
        && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n)
        && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e))
    {
        key->pkey = ngx_http_academy_jwk_pkey("RSA", bld);
    }

    OSSL_PARAM_BLD_free(bld);
    BN_free(n);
    BN_free(e);

    if (key->pkey == NULL) {
        *reason = "an RSA key is none";
        return NGX_HTTP_ACADEMY_KEY_BAD;
    }

    return ngx_http_academy_rsa_check(key->pkey, reason);
}


static ngx_int_t
ngx_http_academy_jwk_ec(ngx_pool_t *pool, json_t *jwk,
    ngx_http_academy_key_t *key, char **reason)
{
    u_char                     point[1 + 2 * 66];
    ngx_str_t                  x, y;
    const char                *crv;
    OSSL_PARAM_BLD            *bld;
    ngx_http_academy_curve_t  *curve;

    crv = json_string_value(json_object_get(jwk, "crv"));

    if (crv == NULL) {
        return NGX_HTTP_ACADEMY_KEY_SKIP;
    }

    for (curve = ngx_http_academy_curves; curve->name.len; curve++) {
        if (ngx_strcmp(crv, curve->name.data) == 0) {
            break;
        }
    }

    if (curve->name.len == 0) {
        return NGX_HTTP_ACADEMY_KEY_SKIP;
    }

    key->type = curve->type;

    if (ngx_http_academy_jwk_bytes(pool, jwk, "x", &x) != NGX_OK
        || ngx_http_academy_jwk_bytes(pool, jwk, "y", &y) != NGX_OK
        || x.len != curve->size || y.len != curve->size)
    {
        *reason = "an EC key needs \"x\" and \"y\" of its curve's length in "
                  "base64url";
        return NGX_HTTP_ACADEMY_KEY_BAD;
    }

    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    ngx_memcpy(point + 1, x.data, x.len);
    ngx_memcpy(point + 1 + x.len, y.data, y.len);

    bld = OSSL_PARAM_BLD_new();

    if (bld
        && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME,
                                           (char *) curve->group.data,
                                           curve->group.len)
        && OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY,
                                            point, 1 + 2 * curve->size))
    {
        key->pkey = ngx_http_academy_jwk_pkey("EC", bld);
    }

    OSSL_PARAM_BLD_free(bld);

    if (key->pkey == NULL) {
        *reason = "an EC key is not a point of its curve";
        return NGX_HTTP_ACADEMY_KEY_BAD;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_jwk_okp(ngx_pool_t *pool, json_t *jwk,
    ngx_http_academy_key_t *key, char **reason)
{
    ngx_str_t    x;
    const char  *crv;

    crv = json_string_value(json_object_get(jwk, "crv"));

    if (crv == NULL || ngx_strcmp(crv, "Ed25519") != 0) {
        return NGX_HTTP_ACADEMY_KEY_SKIP;
    }

    key->type = NGX_HTTP_ACADEMY_KEY_ED25519;

    if (ngx_http_academy_jwk_bytes(pool, jwk, "x", &x) == NGX_OK) {
        key->pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
                                                x.data, x.len);
    }

    if (key->pkey == NULL) {
        *reason = "an Ed25519 key needs \"x\" of 32 bytes in base64url";
        return NGX_HTTP_ACADEMY_KEY_BAD;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_jwk_secret(ngx_pool_t *pool, json_t *jwk,
    ngx_http_academy_key_t *key, char **reason)
{
    size_t  min;

    key->type = NGX_HTTP_ACADEMY_KEY_SECRET;

    min = (key->algorithm && key->algorithm->md)
          ? key->algorithm->size : NGX_HTTP_ACADEMY_MIN_SECRET;

    if (ngx_http_academy_jwk_bytes(pool, jwk, "k", &key->secret) != NGX_OK
        || key->secret.len < min)
    {
        *reason = "a secret key needs \"k\" in base64url, at least as long "
                  "as the algorithm's hash";
        return NGX_HTTP_ACADEMY_KEY_BAD;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_jwk_bytes(ngx_pool_t *pool, json_t *jwk, char *name,
    ngx_str_t *bytes)
{
    json_t     *value;
    ngx_str_t   src;

    value = json_object_get(jwk, name);

    if (!json_is_string(value)) {
        return NGX_ERROR;
    }

    src.data = (u_char *) json_string_value(value);
    src.len = json_string_length(value);

    bytes->data = ngx_pnalloc(pool, ngx_base64_decoded_length(src.len));
    if (bytes->data == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_academy_base64url(bytes, &src);
}


static EVP_PKEY *
ngx_http_academy_jwk_pkey(char *type, OSSL_PARAM_BLD *bld)
{
    EVP_PKEY      *pkey;
    OSSL_PARAM    *params;
    EVP_PKEY_CTX  *ctx;

    pkey = NULL;
    params = OSSL_PARAM_BLD_to_param(bld);
    ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);

    if (params == NULL || ctx == NULL
        || EVP_PKEY_fromdata_init(ctx) != 1
        || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
    {
        pkey = NULL;
    }

    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);

    return pkey;
}


static ngx_int_t
ngx_http_academy_pem_add(ngx_http_academy_keys_t *keys, ngx_str_t *text,
    char **reason)
{
    BIO                     *bio;
    char                    *name, *header;
    long                     len;
    u_char                  *data;
    ngx_int_t                rc;
    ngx_uint_t               n;
    ngx_http_academy_key_t  *key, k;

    bio = BIO_new_mem_buf(text->data, (int) text->len);
    if (bio == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_OK;

    for (n = 0; PEM_read_bio(bio, &name, &header, &data, &len) == 1; n++) {

        ngx_memzero(&k, sizeof(ngx_http_academy_key_t));

        rc = ngx_http_academy_pem_read(name, data, len, &k, reason);

        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, len);

        key = (rc == NGX_OK) ? ngx_array_push(&keys->keys) : NULL;

        if (key == NULL) {
            EVP_PKEY_free(k.pkey);
            rc = NGX_ERROR;
            break;
        }

        *key = k;
    }

    /* what does not end as a PEM file does is not to be half of one */

    if (rc == NGX_OK
        && (n == 0
            || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE))
    {
        *reason = "it is neither JWKS nor PEM";
        rc = NGX_ERROR;
    }

    ERR_clear_error();
    BIO_free(bio);

    return rc;
}


static ngx_int_t
ngx_http_academy_pem_read(char *name, u_char *data, long len,
    ngx_http_academy_key_t *key, char **reason)
{
    X509          *x509;
    const u_char  *p;

    p = data;

    if (ngx_strcmp(name, PEM_STRING_PUBLIC) == 0) {
        key->pkey = d2i_PUBKEY(NULL, &p, len);

    } else if (ngx_strcmp(name, PEM_STRING_RSA_PUBLIC) == 0) {
        key->pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &p, len);

    } else if (ngx_strcmp(name, PEM_STRING_X509) == 0) {
        x509 = d2i_X509(NULL, &p, len);

        if (x509) {
            key->pkey = X509_get_pubkey(x509);
            X509_free(x509);
        }

    } else {
        *reason = "a PEM file may hold public keys and certificates only";
        return NGX_ERROR;
    }

    if (key->pkey == NULL) {
        *reason = "a key in it cannot be read";
        return NGX_ERROR;
    }

    return ngx_http_academy_pkey_type(key, reason);
}


static ngx_int_t
ngx_http_academy_pkey_type(ngx_http_academy_key_t *key, char **reason)
{
    char                       group[32];
    size_t                     len;
    ngx_http_academy_curve_t  *curve;

    switch (EVP_PKEY_get_base_id(key->pkey)) {

    case EVP_PKEY_RSA:
        key->type = NGX_HTTP_ACADEMY_KEY_RSA;
        return ngx_http_academy_rsa_check(key->pkey, reason);

    case EVP_PKEY_ED25519:
        key->type = NGX_HTTP_ACADEMY_KEY_ED25519;
        return NGX_OK;

    case EVP_PKEY_EC:

        if (EVP_PKEY_get_group_name(key->pkey, group, sizeof(group), &len)
            != 1)
        {
            break;
        }

        for (curve = ngx_http_academy_curves; curve->name.len; curve++) {
            if (ngx_strcmp(group, curve->group.data) == 0) {
                key->type = curve->type;
                return NGX_OK;
            }
        }

        break;
    }

    *reason = "its keys must be RSA, EC of the curves P-256, P-384 and P-521, "
              "or Ed25519";

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_academy_rsa_check(EVP_PKEY *pkey, char **reason)
{
    int         bits;
    BIGNUM     *e;
    ngx_int_t   rc;

    bits = EVP_PKEY_get_bits(pkey);

    if (bits < NGX_HTTP_ACADEMY_MIN_RSA || bits > NGX_HTTP_ACADEMY_MAX_RSA) {
        *reason = "an RSA key must have from 2048 to 16384 bits";
        return NGX_HTTP_ACADEMY_KEY_BAD;
    }

    e = NULL;
    rc = NGX_OK;

    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1
        || !BN_is_odd(e) || BN_is_one(e)
        || BN_num_bits(e) > NGX_HTTP_ACADEMY_MAX_EXPONENT)
    {
        *reason = "an RSA key's exponent must be an odd number, of 2 to 64 "
                  "bits";
        rc = NGX_HTTP_ACADEMY_KEY_BAD;
    }

    BN_free(e);

    return rc;
}


ngx_int_t
ngx_http_academy_keys_file(ngx_conf_t *cf, ngx_http_academy_keys_t *keys,
    ngx_str_t *name)
{
    char       *reason;
    u_char     *p;
    ngx_int_t   rc;
    ngx_str_t   text;
    ngx_uint_t  n;

    if (ngx_http_academy_key_file_read(cf, name, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    n = keys->keys.nelts;
    reason = "no memory";

    rc = ngx_http_academy_keys_digest(keys, &text);

    if (rc != NGX_OK) {
        goto done;
    }

    for (p = text.data; p < text.data + text.len; p++) {
        if (*p != ' ' && *p != '\t' && *p != CR && *p != LF) {
            break;
        }
    }

    if (p < text.data + text.len && *p == '{') {
        rc = ngx_http_academy_jwks_add(keys, &text, 1, &reason);

    } else {
        rc = ngx_http_academy_pem_add(keys, &text, &reason);
    }

done:

    OPENSSL_cleanse(text.data, text.len);
    ngx_free(text.data);

    if (rc == NGX_OK && keys->keys.nelts == n) {
        reason = "there is no key in it that tokens can be verified with";
        rc = NGX_ERROR;
    }

    if (rc != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid key file \"%V\" in "
                           "\"academy_jwt_key_file\" directive: %s",
                           name, reason);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_keys_digest(ngx_http_academy_keys_t *keys, ngx_str_t *text)
{
    ngx_str_t  *digest;

    digest = ngx_array_push(&keys->digests);
    if (digest == NULL) {
        return NGX_ERROR;
    }

    digest->len = NGX_HTTP_ACADEMY_DIGEST_LEN;
    digest->data = ngx_pnalloc(keys->digests.pool, digest->len);

    if (digest->data == NULL
        || EVP_Digest(text->data, text->len, digest->data, NULL, EVP_sha256(),
                      NULL)
           != 1)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_key_file_read(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *text)
{
    ssize_t          n;
    ngx_int_t        rc;
    ngx_file_t       file;
    ngx_file_info_t  fi;

    ngx_memzero(&file, sizeof(ngx_file_t));

    file.name = *name;
    file.log = cf->log;
    file.fd = ngx_open_file(name->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                            NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    if (ngx_fd_info(file.fd, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_fd_info_n " \"%V\" failed", name);
        goto done;
    }

    if (!ngx_is_file(&fi) || ngx_file_size(&fi) < 1
        || ngx_file_size(&fi) > NGX_HTTP_ACADEMY_KEY_FILE)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid key file \"%V\" in "
                           "\"academy_jwt_key_file\" directive: it must be a "
                           "file of 1 byte to 1m", name);
        goto done;
    }

    text->len = (size_t) ngx_file_size(&fi);
    text->data = ngx_alloc(text->len, cf->log);
    if (text->data == NULL) {
        goto done;
    }

    n = ngx_read_file(&file, text->data, text->len, 0);

    if (n != (ssize_t) text->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           ngx_read_file_n " \"%V\" has read only %z of %uz",
                           name, n, text->len);
        OPENSSL_cleanse(text->data, text->len);
        ngx_free(text->data);
        goto done;
    }

    rc = NGX_OK;

done:

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", name);
    }

    return rc;
}
