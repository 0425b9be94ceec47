
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * Checks the path of a token with one input, whose first byte says as what it
 * is taken:
 *
 *     a  an Authorization header
 *     b  base64url
 *     t  a token as it stands
 *     h  the header of a token, with good claims, signed by its algorithm
 *     c  the claims of a token with a good header, signed
 *     k  a set of keys
 *
 * Signing by a secret gets the fuzzer past the signature.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <openssl/hmac.h>
#include "ngx_http_academy_jwt.h"
#include "token_check.h"


#define TOKEN_NOW  1800000000


static void check_header(const uint8_t *data, size_t size);
static void check_base64url(const uint8_t *data, size_t size);
static void check_token(ngx_str_t *token, int sealed);
static void check_sealed(const uint8_t *data, size_t size, int header);
static void check_claims(ngx_str_t *claims, ngx_http_academy_identity_t *id);
static void check_keys(const uint8_t *data, size_t size);
static size_t encode(uint8_t *dst, const uint8_t *src, size_t size);
static void fail(const char *what);


token_check_counts_t  token_check_counts;

static u_char  secret[64] = "a secret of the fuzzer's, and of nobody else";

static ngx_str_t  key_set = ngx_string(
    "{\"keys\":["
    "{\"kty\":\"oct\",\"kid\":\"s\",\"k\":\"YSBzZWNyZXQgb2YgdGhlIGZ1enplcidzL"
    "CBhbmQgb2Ygbm9ib2R5IGVsc2UAAAAAAAAAAAAAAAAAAAAAAAAAAA\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-256\","
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}");


void
token_check(const uint8_t *data, size_t size)
{
    uint8_t    *copy;
    ngx_str_t   token;

    if (size == 0) {
        return;
    }

    token_check_counts.inputs++;

    /* of exactly that length, so that a byte too many is found */

    copy = malloc(size);
    memcpy(copy, data + 1, size - 1);
    copy = realloc(copy, size - 1 ? size - 1 : 1);
    token.data = copy;
    token.len = size - 1;

    switch (data[0]) {

    case 'a':
        check_header(copy, size - 1);
        break;

    case 'b':
        check_base64url(copy, size - 1);
        break;

    case 't':
        check_token(&token, 0);
        break;

    case 'h':
        check_sealed(copy, size - 1, 1);
        break;

    case 'c':
        check_sealed(copy, size - 1, 0);
        break;

    case 'k':
        check_keys(copy, size - 1);
        break;
    }

    free(copy);
}


static void
check_header(const uint8_t *data, size_t size)
{
    size_t              i;
    ngx_int_t           rc;
    ngx_str_t           token;
    ngx_table_elt_t     header[2];
    ngx_http_request_t  r;

    ngx_memzero(&r, sizeof(ngx_http_request_t));
    ngx_memzero(header, sizeof(header));

    r.headers_in.headers.part.elts = header;

    if (ngx_http_academy_bearer(&r, &token) != NGX_DECLINED) {
        fail("there is no header");
    }

    ngx_str_set(&header[0].key, "aUTHORIZATION");
    header[0].value.data = (u_char *) data;
    header[0].value.len = size;
    header[1] = header[0];
    r.headers_in.headers.part.nelts = 1;

    rc = ngx_http_academy_bearer(&r, &token);

    if (rc == NGX_OK) {
        rc = ngx_http_academy_bearer_check(&token);
    }

    if (rc == NGX_OK) {
        token_check_counts.bearers++;

        if (strncasecmp((char *) data, "bearer ", 7) != 0
            || token.len == 0 || token.data < data + 7
            || token.data + token.len != data + size)
        {
            fail("the token is not the rest of the header");
        }

        for (i = 0; i < token.len; i++) {
            if (token.data[i] <= ' ' || token.data[i] >= 0x7f
                || strchr("\"\\,;:<>()[]{}@?", token.data[i]))
            {
                fail("the token has a character that none may have");
            }
        }

        if (token.data > data + 7 && data[7] != ' ') {
            fail("something was left out");
        }

    } else if (rc != NGX_ABORT) {
        fail("a header has to be good or bad");
    }

    r.headers_in.headers.part.nelts = 2;

    if (ngx_http_academy_bearer(&r, &token) != NGX_ABORT) {
        fail("two headers");
    }
}


static void
check_base64url(const uint8_t *data, size_t size)
{
    size_t     len;
    uint8_t   *again;
    ngx_str_t  src, dst;

    src.data = (u_char *) data;
    src.len = size;
    dst.data = malloc(ngx_base64_decoded_length(size) + 1);

    if (ngx_http_academy_base64url(&dst, &src) == NGX_OK) {
        token_check_counts.decoded++;

        /* only what an encoder would have written is taken */

        again = malloc(2 * dst.len + 4);
        len = encode(again, dst.data, dst.len);

        if (len != size || memcmp(again, data, len) != 0) {
            fail("base64url of two forms");
        }

        free(again);
    }

    free(dst.data);
}


static void
check_sealed(const uint8_t *data, size_t size, int header)
{
    char          *alg;
    size_t         len;
    uint8_t       *text;
    u_char         md[EVP_MAX_MD_SIZE];
    unsigned       n;
    ngx_str_t      token;
    const char    *other;
    const EVP_MD  *hash;

    alg = "HS256";
    hash = EVP_sha256();

    if (header && memmem(data, size, "HS384", 5)) {
        hash = EVP_sha384();

    } else if (header && memmem(data, size, "HS512", 5)) {
        hash = EVP_sha512();
    }

    text = malloc(2 * size + 512);

    if (header) {
        other = "{\"sub\":\"ann\",\"exp\":1800000001}";
        len = encode(text, data, size);
        text[len++] = '.';
        len += encode(text + len, (uint8_t *) other, strlen(other));

    } else {
        other = "{\"alg\":\"HS256\"}";
        len = encode(text, (uint8_t *) other, strlen(other));
        text[len++] = '.';
        len += encode(text + len, data, size);
    }

    if (HMAC(hash, secret, sizeof(secret), text, len, md, &n) == NULL) {
        fail(alg);
    }

    text[len] = '.';
    token.data = text;
    token.len = len + 1 + encode(text + len + 1, md, n);

    check_token(&token, 1);

    free(text);
}


static void
check_token(ngx_str_t *token, int sealed)
{
    ngx_int_t                      rc;
    ngx_str_t                      kid;
    ngx_log_t                      log;
    ngx_http_request_t             r;
    ngx_http_academy_keys_t       *keys;
    ngx_http_academy_identity_t    identity;
    ngx_http_academy_auth_conf_t   acf;

    ngx_memzero(&r, sizeof(ngx_http_request_t));
    ngx_memzero(&log, sizeof(ngx_log_t));
    ngx_memzero(&acf, sizeof(ngx_http_academy_auth_conf_t));
    ngx_memzero(&identity, sizeof(ngx_http_academy_identity_t));

    r.main = &r;
    r.pool = token_pool_create(TOKEN_NOW);
    acf.mode = NGX_HTTP_ACADEMY_AUTH_JWT;
    acf.algorithms = (ngx_uint_t) -1;

    keys = ngx_http_academy_jwks_parse(r.pool, &key_set, 1, &log);

    if (keys == NULL || keys->keys.nelts != 3) {
        fail("the fuzzer's own keys");
    }

    rc = ngx_http_academy_jwt_verify(&r, &acf, token, keys, &identity, &kid);

    if (rc == NGX_OK && identity.status == NGX_HTTP_OK) {

        if (!sealed) {
            fail("a token that nobody signed");
        }

        token_check_counts.accepted++;
        check_claims(&identity.claims, &identity);

    } else if (rc == NGX_OK && identity.status != NGX_HTTP_FORBIDDEN) {
        fail("neither good nor bad");

    } else if (rc == NGX_OK && identity.reason == NULL) {
        fail("no reason is given");

    } else if (rc != NGX_OK && rc != NGX_DECLINED) {
        fail("there was memory");
    }

    if (rc == NGX_OK && identity.claims.len) {
        token_check_counts.signatures++;
    }

    token_pool_destroy(r.pool);
}


/* what was found good, read once more */

static void
check_claims(ngx_str_t *text, ngx_http_academy_identity_t *identity)
{
    json_t  *claims, *exp, *nbf, *sub;

    claims = json_loadb((char *) text->data, text->len,
                        JSON_REJECT_DUPLICATES, NULL);
    exp = json_object_get(claims, "exp");
    nbf = json_object_get(claims, "nbf");
    sub = json_object_get(claims, "sub");

    if (!json_is_number(exp) || json_number_value(exp) <= TOKEN_NOW
        || (nbf && (!json_is_number(nbf)
                    || json_number_value(nbf) >= TOKEN_NOW + 1)))
    {
        fail("a token that is not valid now");
    }

    if (identity->expires <= TOKEN_NOW
        || (double) identity->expires > json_number_value(exp))
    {
        fail("another end");
    }

    if (identity->id.len != (json_is_string(sub) ? json_string_length(sub)
                                                 : 0)
        || (identity->id.len
            && memcmp(identity->id.data, json_string_value(sub),
                      identity->id.len)
               != 0))
    {
        fail("another id");
    }

    json_decref(claims);
}


static void
check_keys(const uint8_t *data, size_t size)
{
    ngx_log_t                 log;
    ngx_str_t                 text;
    ngx_uint_t                i, strict;
    ngx_pool_t               *pool;
    ngx_http_academy_key_t   *key;
    ngx_http_academy_keys_t  *keys;

    ngx_memzero(&log, sizeof(ngx_log_t));

    text.data = (u_char *) data;
    text.len = size;

    for (strict = 0; strict < 2; strict++) {
        pool = token_pool_create(TOKEN_NOW);

        keys = ngx_http_academy_jwks_parse(pool, &text, strict, &log);

        for (i = 0; keys && i < keys->keys.nelts; i++) {
            key = (ngx_http_academy_key_t *) keys->keys.elts + i;
            token_check_counts.keys++;

            if ((key->type == NGX_HTTP_ACADEMY_KEY_SECRET)
                != (key->pkey == NULL))
            {
                fail("a key that is none");
            }

            if (key->type == NGX_HTTP_ACADEMY_KEY_RSA
                && EVP_PKEY_get_bits(key->pkey) < 2048)
            {
                fail("a weak key");
            }

            if (key->type == NGX_HTTP_ACADEMY_KEY_SECRET
                && key->secret.len < 32)
            {
                fail("a short secret");
            }
        }

        token_pool_destroy(pool);
    }
}


static size_t
encode(uint8_t *dst, const uint8_t *src, size_t size)
{
    size_t    i, n;
    uint32_t  bits, left;

    static const char  table[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    n = 0;
    bits = 0;
    left = 0;

    for (i = 0; i < size; i++) {
        bits = (bits << 8 | src[i]) & 0xffff;

        for (left += 8; left >= 6; left -= 6) {
            dst[n++] = table[bits >> (left - 6) & 63];
        }
    }

    if (left) {
        dst[n++] = table[bits << (6 - left) & 63];
    }

    return n;
}


static void
fail(const char *what)
{
    fprintf(stderr, "token_check: %s\n", what);
    abort();
}
