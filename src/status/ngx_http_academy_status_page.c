
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <openssl/sha.h>
#include "ngx_http_academy_status.h"
#include "ngx_http_academy_page.h"


/*
 * The page: page/ as one text, which the build assembles.  It has no figures in
 * it, so it is the same for everybody and may be kept by a browser, which asks
 * whether it still is.
 *
 * The policy lets the one style and the one script run whose hashes it names.
 * Whatever else gets into the page, by whatever name of an agent, does nothing.
 */


#define NGX_HTTP_ACADEMY_HASH_LEN                                             \
    ngx_base64_encoded_length(SHA256_DIGEST_LENGTH)

#define NGX_HTTP_ACADEMY_POLICY                                               \
    "default-src 'none'; script-src 'sha256-%V'; style-src 'sha256-%V'; "     \
    "connect-src 'self'; img-src data:; base-uri 'none'; "                    \
    "form-action 'none'; frame-ancestors 'none'"


static void ngx_http_academy_page_init(void);
static void ngx_http_academy_page_hash(char *begin, char *end,
    ngx_str_t *hash);
static ngx_int_t ngx_http_academy_page_headers(ngx_http_request_t *r);


/* of this process; written once */

static u_char     ngx_http_academy_page_policy_text[
                      sizeof(NGX_HTTP_ACADEMY_POLICY)
                      + 2 * NGX_HTTP_ACADEMY_HASH_LEN];
static u_char     ngx_http_academy_page_etag_text[2 + 32];

static ngx_str_t  ngx_http_academy_page_policy;
static ngx_str_t  ngx_http_academy_page_etag;


ngx_int_t
ngx_http_academy_status_page(ngx_http_academy_status_t *status)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_chain_t          out;
    ngx_http_request_t  *r;

    r = status->request;

    if (ngx_http_academy_page_policy.len == 0) {
        ngx_http_academy_page_init();
    }

    b = ngx_calloc_buf(r->pool);

    if (b == NULL || ngx_http_academy_page_headers(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_OK;
    ngx_str_set(&r->headers_out.content_type, "text/html");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    ngx_str_set(&r->headers_out.charset, "utf-8");
    r->headers_out.content_length_n = sizeof(ngx_http_academy_page) - 1;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b->pos = ngx_http_academy_page;
    b->last = b->pos + sizeof(ngx_http_academy_page) - 1;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static void
ngx_http_academy_page_init(void)
{
    u_char     *p, digest[SHA256_DIGEST_LENGTH];
    u_char      script_hash[NGX_HTTP_ACADEMY_HASH_LEN];
    u_char      style_hash[NGX_HTTP_ACADEMY_HASH_LEN];
    ngx_str_t   script, style;

    script.data = script_hash;
    style.data = style_hash;

    ngx_http_academy_page_hash("<script>", "</script>", &script);
    ngx_http_academy_page_hash("<style>", "</style>", &style);

    (void) SHA256(ngx_http_academy_page, sizeof(ngx_http_academy_page) - 1,
                  digest);

    p = ngx_http_academy_page_etag_text;

    *p++ = '"';
    p = ngx_hex_dump(p, digest, 16);
    *p++ = '"';

    ngx_http_academy_page_etag.data = ngx_http_academy_page_etag_text;
    ngx_http_academy_page_etag.len = p - ngx_http_academy_page_etag_text;

    p = ngx_sprintf(ngx_http_academy_page_policy_text, NGX_HTTP_ACADEMY_POLICY,
                    &script, &style);

    ngx_http_academy_page_policy.data = ngx_http_academy_page_policy_text;
    ngx_http_academy_page_policy.len = p - ngx_http_academy_page_policy_text;
}


/* of all that is between two tags, as a policy has it */

static void
ngx_http_academy_page_hash(char *begin, char *end, ngx_str_t *hash)
{
    char       *p;
    u_char      digest[SHA256_DIGEST_LENGTH];
    ngx_str_t   s;

    p = ngx_strstr((char *) ngx_http_academy_page, begin) + ngx_strlen(begin);

    (void) SHA256((u_char *) p, ngx_strstr(p, end) - p, digest);

    s.data = digest;
    s.len = sizeof(digest);

    ngx_encode_base64(hash, &s);
}


static ngx_int_t
ngx_http_academy_page_headers(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_table_elt_t  *etag;

    static struct {
        char       *name;
        ngx_str_t   value;
    } headers[] = {
        { "Cache-Control", ngx_string("no-cache") },
        { "Vary", ngx_string("Accept") },
        { "X-Content-Type-Options", ngx_string("nosniff") },
        { "Referrer-Policy", ngx_string("no-referrer") },
        { "Cross-Origin-Opener-Policy", ngx_string("same-origin") },
        { "Cross-Origin-Resource-Policy", ngx_string("same-origin") }
    };

    for (i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {

        if (ngx_http_academy_header(r, headers[i].name, &headers[i].value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (ngx_http_academy_header(r, "Content-Security-Policy",
                                &ngx_http_academy_page_policy)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    etag = ngx_list_push(&r->headers_out.headers);
    if (etag == NULL) {
        return NGX_ERROR;
    }

    etag->hash = 1;
    ngx_str_set(&etag->key, "ETag");
    etag->value = ngx_http_academy_page_etag;
#if (nginx_version >= 1023000)
    etag->next = NULL;
#endif

    r->headers_out.etag = etag;

    return NGX_OK;
}
