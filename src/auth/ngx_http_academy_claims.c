
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_http.h"


/*
 * What a verified token says.  The text of the claims is read again only when
 * a variable asks for one of them, and then once a request.
 */


/* the end of the year 9999: no time is later */

#define NGX_HTTP_ACADEMY_LAST_TIME  253402300799

/* claims that a worker keeps as it has read them, and bytes of one at most */

#define NGX_HTTP_ACADEMY_READ       256
#define NGX_HTTP_ACADEMY_READ_LEN   4096


typedef struct {
    ngx_int_t                  index;     /* of the variable */
    ngx_array_t                names;     /* of char *, outermost first */
} ngx_http_academy_claim_set_t;


typedef struct {
    ngx_str_t                  text;
    json_t                    *claims;
} ngx_http_academy_read_t;


static ngx_int_t ngx_http_academy_claims_times(
    ngx_http_academy_auth_conf_t *acf, json_t *claims,
    ngx_http_academy_identity_t *identity);
static ngx_int_t ngx_http_academy_claims_time(json_t *claims, char *name,
    time_t *time);
static ngx_uint_t ngx_http_academy_claims_audience(ngx_array_t *audiences,
    json_t *aud);
static ngx_uint_t ngx_http_academy_claims_named(ngx_array_t *names,
    json_t *value);
static ngx_int_t ngx_http_academy_claims_id(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, json_t *claims,
    ngx_http_academy_identity_t *identity);
static json_t *ngx_http_academy_claims(ngx_http_request_t *r);
static json_t *ngx_http_academy_claims_read(ngx_http_academy_ctx_t *ctx);
static void ngx_http_academy_claims_cleanup(void *data);
static ngx_int_t ngx_http_academy_claim_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_claim_set_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_academy_claim_value(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, json_t *claim);
static ngx_int_t ngx_http_academy_claim_joined(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, json_t *claim);
static ngx_int_t ngx_http_academy_claim_number(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, json_t *claim);


static ngx_http_academy_read_t
    ngx_http_academy_read[NGX_HTTP_ACADEMY_READ];


static ngx_http_variable_t  ngx_http_academy_claim_prefix = {
    ngx_string("academy_claim_"), NULL, ngx_http_academy_claim_variable,
    0, NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_PREFIX, 0
};


ngx_int_t
ngx_http_academy_auth_json(ngx_str_t *text, size_t flags, json_t **json)
{
    json_error_t  error;

    *json = NULL;

    /* jansson takes a zero byte behind a number or a literal for its end */

    if (ngx_strlchr(text->data, text->data + text->len, '\0')) {
        return NGX_DECLINED;
    }

    flags |= JSON_ALLOW_NUL;

    *json = json_loadb((char *) text->data, text->len, flags, &error);

    if (*json == NULL
        && json_error_code(&error) == json_error_numeric_overflow)
    {
        /* an integer of more than 64 bits, which nobody may want to know */

        *json = json_loadb((char *) text->data, text->len,
                           flags|JSON_DECODE_INT_AS_REAL, &error);
    }

    if (*json) {
        return NGX_OK;
    }

    return (json_error_code(&error) == json_error_out_of_memory)
           ? NGX_ERROR : NGX_DECLINED;
}


ngx_int_t
ngx_http_academy_claims_check(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, json_t *claims,
    ngx_http_academy_identity_t *identity)
{
    identity->status = NGX_HTTP_OK;
    identity->reason = NULL;

    if (ngx_http_academy_claims_times(acf, claims, identity) != NGX_OK) {
        return NGX_OK;
    }

    if (acf->audiences
        && !ngx_http_academy_claims_audience(acf->audiences,
                                             json_object_get(claims, "aud")))
    {
        return ngx_http_academy_identity_refuse(identity, NGX_HTTP_FORBIDDEN,
                                                "it is for another audience");
    }

    if (acf->issuers
        && !ngx_http_academy_claims_named(acf->issuers,
                                          json_object_get(claims, "iss")))
    {
        return ngx_http_academy_identity_refuse(identity, NGX_HTTP_FORBIDDEN,
                                                "it is of another issuer");
    }

    return ngx_http_academy_claims_id(r, acf, claims, identity);
}


ngx_int_t
ngx_http_academy_identity_refuse(ngx_http_academy_identity_t *identity,
    ngx_uint_t status, char *reason)
{
    identity->status = status;
    identity->reason = reason;

    ngx_str_null(&identity->id);
    ngx_str_null(&identity->groups);
    ngx_str_null(&identity->claims);

    return NGX_OK;
}


/* NGX_DECLINED, with a refusal, if the token is not valid now */

static ngx_int_t
ngx_http_academy_claims_times(ngx_http_academy_auth_conf_t *acf,
    json_t *claims, ngx_http_academy_identity_t *identity)
{
    char       *reason;
    time_t      exp, nbf, now;
    ngx_int_t   rc;

    identity->expires = 0;
    now = ngx_time();

    rc = ngx_http_academy_claims_time(claims, "exp", &exp);

    if (rc == NGX_ERROR
        || (rc == NGX_DECLINED && acf->mode == NGX_HTTP_ACADEMY_AUTH_JWT))
    {
        reason = "its \"exp\" is missing or not a number";
        goto refused;
    }

    if (rc == NGX_OK) {

        if (now >= exp + acf->leeway) {
            reason = "it has expired";
            goto refused;
        }

        identity->expires = exp + acf->leeway;
    }

    rc = ngx_http_academy_claims_time(claims, "nbf", &nbf);

    if (rc == NGX_ERROR) {
        reason = "its \"nbf\" is not a number";
        goto refused;
    }

    if (rc == NGX_OK && now + acf->leeway < nbf) {
        reason = "it is not yet valid";
        goto refused;
    }

    return NGX_OK;

refused:

    ngx_http_academy_identity_refuse(identity, NGX_HTTP_FORBIDDEN, reason);

    return NGX_DECLINED;
}


/* NGX_DECLINED: there is none; NGX_ERROR: it is not a number */

static ngx_int_t
ngx_http_academy_claims_time(json_t *claims, char *name, time_t *time)
{
    double   value;
    json_t  *claim;

    claim = json_object_get(claims, name);

    if (claim == NULL) {
        return NGX_DECLINED;
    }

    if (!json_is_number(claim)) {
        return NGX_ERROR;
    }

    value = json_number_value(claim);

    if (value < 0) {
        value = 0;
    }

    if (value > (double) NGX_HTTP_ACADEMY_LAST_TIME) {
        value = (double) NGX_HTTP_ACADEMY_LAST_TIME;
    }

    *time = (time_t) value;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_academy_claims_audience(ngx_array_t *audiences, json_t *aud)
{
    size_t   i;
    json_t  *element;

    if (!json_is_array(aud)) {
        return ngx_http_academy_claims_named(audiences, aud);
    }

    json_array_foreach(aud, i, element) {
        if (ngx_http_academy_claims_named(audiences, element)) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_academy_claims_named(ngx_array_t *names, json_t *value)
{
    ngx_str_t   *name;
    ngx_uint_t   i;

    if (!json_is_string(value)) {
        return 0;
    }

    name = names->elts;

    for (i = 0; i < names->nelts; i++) {
        if (name[i].len == json_string_length(value)
            && ngx_memcmp(name[i].data, json_string_value(value),
                          name[i].len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_academy_claims_id(ngx_http_request_t *r,
    ngx_http_academy_auth_conf_t *acf, json_t *claims,
    ngx_http_academy_identity_t *identity)
{
    json_t  *id;

    ngx_str_null(&identity->id);

    id = NULL;

    if (acf->mode != NGX_HTTP_ACADEMY_AUTH_JWT) {
        id = json_object_get(claims, "username");
    }

    if (!json_is_string(id) || json_string_length(id) == 0) {
        id = json_object_get(claims, "sub");
    }

    if (!json_is_string(id)) {
        return NGX_OK;
    }

    identity->id.len = json_string_length(id);
    identity->id.data = ngx_pnalloc(r->pool, identity->id.len + 1);

    if (identity->id.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(identity->id.data, json_string_value(id), identity->id.len);

    return NGX_OK;
}


/* of a request whose token is good, else NULL */

static json_t *
ngx_http_academy_claims(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r->main, ngx_http_academy_module);

    if (ctx == NULL || !ctx->verified) {
        return NULL;
    }

    if (ctx->claims) {
        return ctx->claims;
    }

    cln = ngx_pool_cleanup_add(r->main->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    ctx->claims = ngx_http_academy_claims_read(ctx);

    cln->handler = ngx_http_academy_claims_cleanup;
    cln->data = ctx->claims;

    return ctx->claims;
}


/*
 * Reading the claims takes as long as all the rest of a request.  So a worker
 * keeps what it has read, by the key of the cache, and compares the text: the
 * same token may be answered otherwise later.
 */

static json_t *
ngx_http_academy_claims_read(ngx_http_academy_ctx_t *ctx)
{
    u_char                    *data;
    json_t                    *claims;
    uint32_t                   hash;
    ngx_str_t                 *text;
    ngx_http_academy_read_t   *read;

    text = &ctx->identity.claims;
    read = NULL;

    if (ctx->cached && text->len <= NGX_HTTP_ACADEMY_READ_LEN) {
        ngx_memcpy(&hash, ctx->cached, sizeof(uint32_t));

        read = &ngx_http_academy_read[hash % NGX_HTTP_ACADEMY_READ];

        if (read->claims && read->text.len == text->len
            && ngx_memcmp(read->text.data, text->data, text->len) == 0)
        {
            return json_incref(read->claims);
        }
    }

    (void) ngx_http_academy_auth_json(text, 0, &claims);

    if (read == NULL || claims == NULL) {
        return claims;
    }

    data = ngx_alloc(text->len, ngx_cycle->log);
    if (data == NULL) {
        return claims;
    }

    ngx_memcpy(data, text->data, text->len);

    if (read->claims) {
        json_decref(read->claims);
        ngx_free(read->text.data);
    }

    read->text.data = data;
    read->text.len = text->len;
    read->claims = json_incref(claims);

    return claims;
}


static void
ngx_http_academy_claims_cleanup(void *data)
{
    json_decref(data);
}


ngx_int_t
ngx_http_academy_claims_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *v;

    v = ngx_http_add_variable(cf, &ngx_http_academy_claim_prefix.name,
                              ngx_http_academy_claim_prefix.flags);
    if (v == NULL) {
        return NGX_ERROR;
    }

    v->get_handler = ngx_http_academy_claim_prefix.get_handler;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_claim_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t *name = (ngx_str_t *) data;

    size_t       len;
    json_t      *claim;
    u_char       key[256];

    len = name->len - ngx_http_academy_claim_prefix.name.len;

    if (len == 0 || len >= sizeof(key)) {
        return ngx_http_academy_claim_value(r, v, NULL);
    }

    ngx_memcpy(key, name->data + ngx_http_academy_claim_prefix.name.len, len);
    key[len] = '\0';

    claim = json_object_get(ngx_http_academy_claims(r), (char *) key);

    return ngx_http_academy_claim_value(r, v, claim);
}


static ngx_int_t
ngx_http_academy_claim_set_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    char                         **name;
    json_t                        *claim;
    ngx_int_t                      index;
    ngx_uint_t                     i, n;
    ngx_http_academy_loc_conf_t   *alcf;
    ngx_http_academy_claim_set_t  *set;

    index = (ngx_int_t) data;
    alcf = ngx_http_get_module_loc_conf(r->main, ngx_http_academy_module);
    claim = NULL;

    if (alcf->auth.claim_sets) {
        set = alcf->auth.claim_sets->elts;

        for (i = 0; i < alcf->auth.claim_sets->nelts; i++) {

            if (set[i].index != index) {
                continue;
            }

            claim = ngx_http_academy_claims(r);
            name = set[i].names.elts;

            for (n = 0; n < set[i].names.nelts; n++) {
                claim = json_object_get(claim, name[n]);
            }

            break;
        }
    }

    return ngx_http_academy_claim_value(r, v, claim);
}


static ngx_int_t
ngx_http_academy_claim_value(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, json_t *claim)
{
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->len = 0;
    v->data = (u_char *) "";

    switch (json_typeof(claim ? claim : json_null())) {

    case JSON_STRING:
        v->data = (u_char *) json_string_value(claim);
        v->len = json_string_length(claim);
        break;

    case JSON_ARRAY:
        return ngx_http_academy_claim_joined(r, v, claim);

    case JSON_INTEGER:
    case JSON_REAL:
        return ngx_http_academy_claim_number(r, v, claim);

    default:
        break;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_claim_joined(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, json_t *claim)
{
    size_t   i, len;
    u_char  *p;
    json_t  *element;

    len = 0;

    json_array_foreach(claim, i, element) {

        if (!json_is_string(element)) {
            return NGX_OK;
        }

        len += json_string_length(element) + 1;
    }

    p = ngx_pnalloc(r->pool, len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;

    json_array_foreach(claim, i, element) {

        if (!ngx_http_academy_claim_plain(element)) {
            continue;
        }

        if (p > v->data) {
            *p++ = ',';
        }

        p = ngx_cpymem(p, json_string_value(element),
                       json_string_length(element));
    }

    v->len = p - v->data;

    return NGX_OK;
}


ngx_uint_t
ngx_http_academy_claim_plain(json_t *element)
{
    size_t   len;
    u_char  *s;

    s = (u_char *) json_string_value(element);
    len = json_string_length(element);

    if (len == 0) {
        return 0;
    }

    return ngx_strlchr(s, s + len, ',') == NULL
           && s[0] != ' ' && s[0] != '\t'
           && s[len - 1] != ' ' && s[len - 1] != '\t';
}


static ngx_int_t
ngx_http_academy_claim_number(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, json_t *claim)
{
    size_t  precision, n;

    v->data = ngx_pnalloc(r->pool, 64);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    if (json_is_integer(claim)) {
        v->len = ngx_sprintf(v->data, "%L",
                             (int64_t) json_integer_value(claim))
                 - v->data;
        return NGX_OK;
    }

    /* as few digits as it takes to be the same number */

    for (precision = 15; precision <= 17; precision++) {

        n = json_dumpb(claim, (char *) v->data, 63,
                       JSON_ENCODE_ANY|JSON_REAL_PRECISION(precision));

        if (n > 63) {
            return NGX_OK;
        }

        v->data[n] = '\0';
        v->len = n;

        if (strtod((char *) v->data, NULL) == json_real_value(claim)) {
            break;
        }
    }

    return NGX_OK;
}


char *
ngx_http_academy_claim_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    char                          **name;
    ngx_str_t                      *value;
    ngx_uint_t                      i;
    ngx_http_variable_t            *v;
    ngx_http_academy_claim_set_t   *set;
    ngx_http_academy_auth_conf_t   *acf;

    acf = (ngx_http_academy_auth_conf_t *) (p + cmd->offset);
    value = cf->args->elts;

    if (value[1].len < 2 || value[1].data[0] != '$') {
        return ngx_http_academy_auth_allowed(cf, cmd, &value[1],
                                             "the name of a variable, with "
                                             "its \"$\"");
    }

    value[1].len--;
    value[1].data++;

    if (acf->claim_sets == NGX_CONF_UNSET_PTR) {
        acf->claim_sets = ngx_array_create(cf->pool, 2,
                                         sizeof(ngx_http_academy_claim_set_t));
        if (acf->claim_sets == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    v = ngx_http_add_variable(cf, &value[1],
                              NGX_HTTP_VAR_CHANGEABLE
                              |NGX_HTTP_VAR_NOCACHEABLE);
    if (v == NULL) {
        return NGX_CONF_ERROR;
    }

    if (v->get_handler
        && v->get_handler != ngx_http_academy_claim_set_variable)
    {
        return ngx_http_academy_auth_allowed(cf, cmd, &value[1],
                                             "a variable that nothing else "
                                             "sets");
    }

    set = ngx_array_push(acf->claim_sets);
    if (set == NULL) {
        return NGX_CONF_ERROR;
    }

    set->index = ngx_http_get_variable_index(cf, &value[1]);
    if (set->index == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    v->get_handler = ngx_http_academy_claim_set_variable;
    v->data = (uintptr_t) set->index;

    if (ngx_array_init(&set->names, cf->pool, 2, sizeof(char *)) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (value[i].len == 0) {
            return ngx_http_academy_auth_allowed(cf, cmd, &value[i],
                                                 "the name of a claim");
        }

        name = ngx_array_push(&set->names);
        if (name == NULL) {
            return NGX_CONF_ERROR;
        }

        *name = (char *) value[i].data;
    }

    return NGX_CONF_OK;
}
