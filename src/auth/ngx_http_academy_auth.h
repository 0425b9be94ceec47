
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_AUTH_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_AUTH_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <jansson.h>


/* how an exchange learns who is calling; from JWT on, by bearer tokens */

#define NGX_HTTP_ACADEMY_AUTH_OFF            0
#define NGX_HTTP_ACADEMY_AUTH_VARIABLES      1
#define NGX_HTTP_ACADEMY_AUTH_JWT            2
#define NGX_HTTP_ACADEMY_AUTH_INTROSPECTION  3
#define NGX_HTTP_ACADEMY_AUTH_GLOBUS         4

/* bytes of a token at the most */

#define NGX_HTTP_ACADEMY_MAX_TOKEN           16384

/* the length of a digest of settings or tokens: SHA-256 */

#define NGX_HTTP_ACADEMY_DIGEST_LEN          32

/* of the zone that what was found is kept in; bytes */

#define NGX_HTTP_ACADEMY_AUTH_CACHE          (4 * 1024 * 1024)
#define NGX_HTTP_ACADEMY_MIN_AUTH_CACHE      (256 * 1024)
#define NGX_HTTP_ACADEMY_MAX_AUTH_CACHE      (1024 * 1024 * 1024)


/* of a directive's time, and how they are told */

typedef struct {
    time_t                     min;
    time_t                     max;
    char                      *allowed;
} ngx_http_academy_auth_bounds_t;


typedef struct ngx_http_academy_keys_s       ngx_http_academy_keys_t;
typedef struct ngx_http_academy_auth_zone_s  ngx_http_academy_auth_zone_t;
typedef struct ngx_http_academy_jwks_s       ngx_http_academy_jwks_t;


/* what a location says of who is calling */

typedef struct {
    ngx_uint_t                 mode;
    ngx_http_complex_value_t  *client_id;         /* NULL: the default */
    ngx_http_complex_value_t  *client_groups;
    ngx_array_t               *claim_sets;

    ngx_array_t               *audiences;         /* of ngx_str_t, or NULL */
    ngx_array_t               *issuers;           /* of ngx_str_t, or NULL */
    time_t                     leeway;            /* s */

    ngx_http_academy_keys_t   *keys;              /* of files, or NULL */
    ngx_str_t                  key_request;       /* a URI, as all below */
    time_t                     key_cache;         /* s */
    ngx_http_academy_jwks_t   *jwks;              /* of key_request */
    ngx_uint_t                 algorithms;        /* a bit each */

    ngx_str_t                  introspection;
    ngx_str_t                  dependent_tokens;
    ngx_str_t                  globus_groups;

    time_t                     cache;             /* s; 0: off */
    size_t                     cache_size;        /* 0: not said */
    ngx_http_academy_auth_zone_t  *zone;          /* NULL: nothing is shared */

    /*
     * of all of the above that decides what a token is worth, keys in files
     * included; what is cached for one location serves only its equals
     */
    u_char                     digest[NGX_HTTP_ACADEMY_DIGEST_LEN];
} ngx_http_academy_auth_conf_t;


/*
 * What a token was found to be.  The strings are in the pool of the request
 * that asked.
 */

typedef struct {
    ngx_uint_t                 status;    /* NGX_HTTP_OK, NGX_HTTP_FORBIDDEN,
                                             NGX_HTTP_SERVICE_UNAVAILABLE */
    time_t                     expires;   /* Unix time; 0: not said */
    time_t                     keep;      /* s at the most; 0: not said */
    ngx_str_t                  id;        /* of the client, by default */
    ngx_str_t                  groups;    /* of Globus, comma-joined */
    ngx_str_t                  claims;    /* the text of a JSON object */
    char                      *reason;    /* of a refusal, for the log */
} ngx_http_academy_identity_t;


/* ngx_http_academy_auth_conf.c */

void ngx_http_academy_auth_create(ngx_http_academy_auth_conf_t *acf);
char *ngx_http_academy_auth_merge(ngx_conf_t *cf,
    ngx_http_academy_auth_conf_t *prev, ngx_http_academy_auth_conf_t *conf);

/* that all is there which the exchange mounted in file:line needs */
char *ngx_http_academy_auth_check(ngx_conf_t *cf,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *file, ngx_uint_t line);

/* what a location's URI leads to; of another server it is another */
ngx_int_t ngx_http_academy_auth_uri_digest(ngx_conf_t *cf, ngx_str_t *uri,
    u_char *digest);

/* setters; an ngx_http_academy_auth_conf_t is at cmd->offset of conf */
char *ngx_http_academy_auth_mode(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_academy_auth_names(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_academy_auth_uri(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_academy_auth_time(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_academy_auth_algorithms(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_academy_auth_cache(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_academy_auth_key_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* says what a directive's value must be, and returns NGX_CONF_ERROR */
char *ngx_http_academy_auth_allowed(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_str_t *value, char *allowed);


/* ngx_http_academy_bearer.c */

/*
 * The token of the one Authorization header, in the request: NGX_OK;
 * NGX_DECLINED: none came; NGX_ABORT: malformed, doubled, another scheme.
 */
ngx_int_t ngx_http_academy_bearer(ngx_http_request_t *r, ngx_str_t *token);

/*
 * Whether it is written as a token may be: NGX_OK or NGX_ABORT.  One that was
 * found good before need not be looked through again.
 */
ngx_int_t ngx_http_academy_bearer_check(ngx_str_t *token);


/* ngx_http_academy_jwk.c: sets of keys belong to the pool that they are in */

/*
 * Of the text of a JWKS: what is in it and not understood, or not meant for
 * signatures, is left out.  NULL without memory, or if it is no JWKS, which is
 * logged; "strict" refuses weak keys as well, else they too are left out.
 */
ngx_http_academy_keys_t *ngx_http_academy_jwks_parse(ngx_pool_t *pool,
    ngx_str_t *text, ngx_uint_t strict, ngx_log_t *log);


/* ngx_http_academy_jwt.c */

/*
 * NGX_OK: identity says what the token is worth.  NGX_DECLINED: it may be
 * good, but no key of this set has its "kid", which is in the request's pool
 * then and empty if it has none.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_academy_jwt_verify(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token,
    ngx_http_academy_keys_t *keys, ngx_http_academy_identity_t *identity,
    ngx_str_t *kid);


/* ngx_http_academy_claims.c */

/*
 * JSON that others have written, of which the caller has a reference then:
 * with integers of any size, and zeros in strings.  NGX_OK, NGX_DECLINED: it
 * is none, or NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_academy_auth_json(ngx_str_t *text, size_t flags,
    json_t **json);

/*
 * exp, nbf, aud and iss of a token that is else found good, and the client's
 * id: fills identity but for claims and groups.  NGX_OK, or NGX_ERROR without
 * memory.
 */
ngx_int_t ngx_http_academy_claims_check(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, json_t *claims,
    ngx_http_academy_identity_t *identity);

/* a refusal: status and reason of identity; returns NGX_OK */
ngx_int_t ngx_http_academy_identity_refuse(
    ngx_http_academy_identity_t *identity, ngx_uint_t status, char *reason);

/*
 * Whether a string is still itself when it is one of several between commas,
 * where blanks around it do not count
 */
ngx_uint_t ngx_http_academy_claim_plain(json_t *element);

/* adds $academy_claim_ */
ngx_int_t ngx_http_academy_claims_variables(ngx_conf_t *cf);

/* setter of academy_claim_set, as the ones above */
char *ngx_http_academy_claim_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/*
 * ngx_http_academy_auth_cache.c: what tokens were found to be, for all workers
 */

/* NGX_OK: identity is what was found; NGX_DECLINED: nothing was; NGX_ERROR */
ngx_int_t ngx_http_academy_auth_cache_get(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token,
    ngx_http_academy_identity_t *identity);

/*
 * What get() has not found.  NGX_OK: this request is to ask; NGX_AGAIN: another
 * one does, this one is parked and its phases run on after that; NGX_DECLINED:
 * it is known by now; NGX_ERROR.
 */
ngx_int_t ngx_http_academy_auth_cache_ask(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf);

/* what get() has not found; ends the asking */
void ngx_http_academy_auth_cache_put(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf,
    ngx_http_academy_identity_t *identity);

/* a request that asked, if it did, ends without an answer; data: its context */
void ngx_http_academy_auth_cache_cleanup(void *data);

/* the one zone of a configuration; size 0: the default.  NULL: an error */
ngx_http_academy_auth_zone_t *ngx_http_academy_auth_zone_add(ngx_conf_t *cf,
    size_t size);


/* ngx_http_academy_auth_ask.c; zone may be NULL */

void ngx_http_academy_auth_commit(ngx_http_academy_auth_zone_t *zone);
ngx_int_t ngx_http_academy_auth_init_worker(
    ngx_http_academy_auth_zone_t *zone);
void ngx_http_academy_auth_exit_worker(void);


/* ngx_http_academy_introspect.c, ngx_http_academy_globus.c */

/* NGX_AGAIN while subrequests run; NGX_OK: identity; NGX_ERROR */
ngx_int_t ngx_http_academy_introspect(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token,
    ngx_http_academy_identity_t *identity);
ngx_int_t ngx_http_academy_globus(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_str_t *token,
    ngx_http_academy_identity_t *identity);


/* ngx_http_academy_jwks.c */

/* of a location with academy_jwt_key_request; NULL: an error */
ngx_http_academy_jwks_t *ngx_http_academy_jwks_create(ngx_conf_t *cf,
    ngx_http_academy_auth_conf_t *acf);


/* ngx_http_academy_jwt_keys.c */

/*
 * The keys of academy_jwt_key_request, to be used before the next event.
 * NGX_OK: keys; NGX_AGAIN while they are fetched; NGX_DECLINED: there are none
 * to be had now, which is 503; NGX_ERROR.
 */
ngx_int_t ngx_http_academy_jwt_keys(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, ngx_http_academy_keys_t **keys);

/*
 * When these keys do not have the one that a token names.  NGX_OK: there are
 * others by now; NGX_AGAIN, after which there may be; NGX_ABORT: not long ago
 * there were none; NGX_DECLINED: that could not be found out; NGX_ERROR.
 */
ngx_int_t ngx_http_academy_jwt_keys_renew(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf);


#endif /* _NGX_HTTP_ACADEMY_AUTH_H_INCLUDED_ */
