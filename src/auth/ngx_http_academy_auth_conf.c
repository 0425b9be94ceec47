
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_module.h"
#include "ngx_http_academy_jwt.h"


/*
 * What a location says of who is calling.  Keys in files are read with the
 * directive that names them, while nginx may still read what its workers may
 * not.
 */


/* bytes of a request's header, one with a token of an OpenID provider */

#define NGX_HTTP_ACADEMY_HEADER_SIZE  4096


static char *ngx_http_academy_auth_missing(ngx_http_academy_auth_conf_t *acf);
static char *ngx_http_academy_auth_share(ngx_conf_t *cf,
    ngx_http_academy_auth_conf_t *acf);
static ngx_int_t ngx_http_academy_auth_digest(ngx_conf_t *cf,
    ngx_http_academy_auth_conf_t *acf);
static void ngx_http_academy_auth_digest_uri(ngx_conf_t *cf, EVP_MD_CTX *md,
    ngx_str_t *uri);
static void ngx_http_academy_auth_digest_str(EVP_MD_CTX *md, ngx_str_t *s);
static void ngx_http_academy_auth_digest_strs(EVP_MD_CTX *md,
    ngx_array_t *strs);


static ngx_conf_enum_t  ngx_http_academy_auth_modes[] = {
    { ngx_string("off"), NGX_HTTP_ACADEMY_AUTH_OFF },
    { ngx_string("variables"), NGX_HTTP_ACADEMY_AUTH_VARIABLES },
    { ngx_string("jwt"), NGX_HTTP_ACADEMY_AUTH_JWT },
    { ngx_string("introspection"), NGX_HTTP_ACADEMY_AUTH_INTROSPECTION },
    { ngx_string("globus"), NGX_HTTP_ACADEMY_AUTH_GLOBUS },
    { ngx_null_string, 0 }
};


char *
ngx_http_academy_auth_check(ngx_conf_t *cf, ngx_http_academy_auth_conf_t *acf,
    ngx_str_t *file, ngx_uint_t line)
{
    char                      *missing;
    ngx_str_t                 *mode;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_core_srv_conf_t  *cscf;

    missing = ngx_http_academy_auth_missing(acf);
    mode = &ngx_http_academy_auth_modes[acf->mode].name;

    if (missing) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"academy_auth %V\" needs %s for the exchange in "
                      "%V:%ui", mode, missing, file, line);
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (acf->mode == NGX_HTTP_ACADEMY_AUTH_VARIABLES
        && clcf->satisfy == NGX_HTTP_SATISFY_ANY)
    {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "with \"satisfy any\" a client may come to the "
                      "exchange in %V:%ui without having been verified: "
                      "the value of \"academy_client_id\" must be empty "
                      "then, which that of $remote_user is not",
                      file, line);
    }

    if (acf->mode < NGX_HTTP_ACADEMY_AUTH_JWT) {
        return NGX_CONF_OK;
    }

    /* a header with a token in it is to be read at once, not in two parts */

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    cscf->client_header_buffer_size = ngx_max(cscf->client_header_buffer_size,
                                              NGX_HTTP_ACADEMY_HEADER_SIZE);

    if (ngx_http_academy_auth_digest(cf, acf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_academy_auth_share(cf, acf);
}


/* what workers have in common */

static char *
ngx_http_academy_auth_share(ngx_conf_t *cf, ngx_http_academy_auth_conf_t *acf)
{
    ngx_uint_t                     keys;
    ngx_http_academy_main_conf_t  *amcf;

    keys = (acf->mode == NGX_HTTP_ACADEMY_AUTH_JWT && acf->key_request.len);

    if (acf->cache == 0 && !keys) {
        return NGX_CONF_OK;
    }

    acf->zone = ngx_http_academy_auth_zone_add(cf, acf->cache_size);
    if (acf->zone == NULL) {
        return NGX_CONF_ERROR;
    }

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_academy_module);
    amcf->auth_zone = acf->zone;

    if (keys) {
        acf->jwks = ngx_http_academy_jwks_create(cf, acf);
        if (acf->jwks == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* what must be configured beside the mode, and is not */

static char *
ngx_http_academy_auth_missing(ngx_http_academy_auth_conf_t *acf)
{
    switch (acf->mode) {

    case NGX_HTTP_ACADEMY_AUTH_VARIABLES:
        return acf->client_id ? NULL : "\"academy_client_id\"";

    case NGX_HTTP_ACADEMY_AUTH_JWT:
        return (acf->keys || acf->key_request.len)
               ? NULL : "\"academy_jwt_key_file\" or "
                        "\"academy_jwt_key_request\"";

    case NGX_HTTP_ACADEMY_AUTH_GLOBUS:

        if (acf->dependent_tokens.len == 0) {
            return "\"academy_globus_dependent_tokens\"";
        }

        if (acf->globus_groups.len == 0) {
            return "\"academy_globus_groups\"";
        }

        /* a token for any other service of Globus would do without */

        if (acf->audiences == NULL) {
            return "\"academy_auth_audience\"";
        }

        /* fall through */

    case NGX_HTTP_ACADEMY_AUTH_INTROSPECTION:
        return acf->introspection.len ? NULL : "\"academy_introspection\"";

    default:
        return NULL;
    }
}


static ngx_int_t
ngx_http_academy_auth_digest(ngx_conf_t *cf, ngx_http_academy_auth_conf_t *acf)
{
    unsigned     n;
    EVP_MD_CTX  *md;

    md = EVP_MD_CTX_new();
    if (md == NULL) {
        return NGX_ERROR;
    }

    if (EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(md);
        return NGX_ERROR;
    }

    EVP_DigestUpdate(md, &acf->mode, sizeof(acf->mode));
    EVP_DigestUpdate(md, &acf->leeway, sizeof(acf->leeway));
    EVP_DigestUpdate(md, &acf->algorithms, sizeof(acf->algorithms));

    ngx_http_academy_auth_digest_strs(md, acf->audiences);
    ngx_http_academy_auth_digest_strs(md, acf->issuers);
    ngx_http_academy_auth_digest_strs(md, acf->keys ? &acf->keys->digests
                                                    : NULL);

    ngx_http_academy_auth_digest_uri(cf, md, &acf->key_request);
    ngx_http_academy_auth_digest_uri(cf, md, &acf->introspection);
    ngx_http_academy_auth_digest_uri(cf, md, &acf->dependent_tokens);
    ngx_http_academy_auth_digest_uri(cf, md, &acf->globus_groups);

    n = EVP_DigestFinal_ex(md, acf->digest, NULL);

    EVP_MD_CTX_free(md);

    return n ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_academy_auth_uri_digest(ngx_conf_t *cf, ngx_str_t *uri,
    u_char *digest)
{
    unsigned     n;
    EVP_MD_CTX  *md;

    md = EVP_MD_CTX_new();
    if (md == NULL) {
        return NGX_ERROR;
    }

    n = EVP_DigestInit_ex(md, EVP_sha256(), NULL);

    if (n) {
        ngx_http_academy_auth_digest_uri(cf, md, uri);
        n = EVP_DigestFinal_ex(md, digest, NULL);
    }

    EVP_MD_CTX_free(md);

    return n ? NGX_OK : NGX_ERROR;
}


/* the same URI is another location in another server */

static void
ngx_http_academy_auth_digest_uri(ngx_conf_t *cf, EVP_MD_CTX *md, ngx_str_t *uri)
{
    ngx_str_t                  file;
    ngx_http_core_srv_conf_t  *cscf;

    ngx_http_academy_auth_digest_str(md, uri);

    if (uri->len == 0) {
        return;
    }

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    file.data = cscf->file_name;
    file.len = ngx_strlen(file.data);

    ngx_http_academy_auth_digest_str(md, &file);
    EVP_DigestUpdate(md, &cscf->line, sizeof(cscf->line));
}


/* with its length, or two settings might come to the same bytes */

static void
ngx_http_academy_auth_digest_str(EVP_MD_CTX *md, ngx_str_t *s)
{
    EVP_DigestUpdate(md, &s->len, sizeof(s->len));

    if (s->len) {
        EVP_DigestUpdate(md, s->data, s->len);
    }
}


static void
ngx_http_academy_auth_digest_strs(EVP_MD_CTX *md, ngx_array_t *strs)
{
    ngx_str_t   *s;
    ngx_uint_t   i, n;

    n = strs ? strs->nelts : 0;

    EVP_DigestUpdate(md, &n, sizeof(n));

    if (n == 0) {
        return;
    }

    s = strs->elts;

    for (i = 0; i < n; i++) {
        ngx_http_academy_auth_digest_str(md, &s[i]);
    }
}


void
ngx_http_academy_auth_create(ngx_http_academy_auth_conf_t *acf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     acf->client_id = NULL;
     *     acf->client_groups = NULL;
     *     acf->key_request = { 0, NULL };
     *     acf->algorithms = 0;
     *     acf->introspection = { 0, NULL };
     *     acf->dependent_tokens = { 0, NULL };
     *     acf->globus_groups = { 0, NULL };
     *     acf->cache_size = 0;
     *     acf->jwks = NULL;
     *     acf->zone = NULL;
     */

    acf->mode = NGX_CONF_UNSET_UINT;
    acf->claim_sets = NGX_CONF_UNSET_PTR;
    acf->audiences = NGX_CONF_UNSET_PTR;
    acf->issuers = NGX_CONF_UNSET_PTR;
    acf->leeway = NGX_CONF_UNSET;
    acf->keys = NGX_CONF_UNSET_PTR;
    acf->key_cache = NGX_CONF_UNSET;
    acf->cache = NGX_CONF_UNSET;
}


char *
ngx_http_academy_auth_merge(ngx_conf_t *cf, ngx_http_academy_auth_conf_t *prev,
    ngx_http_academy_auth_conf_t *conf)
{
    ngx_uint_t  i;

    ngx_conf_merge_uint_value(conf->mode, prev->mode,
                              NGX_HTTP_ACADEMY_AUTH_OFF);
    ngx_conf_merge_ptr_value(conf->claim_sets, prev->claim_sets, NULL);
    ngx_conf_merge_ptr_value(conf->audiences, prev->audiences, NULL);
    ngx_conf_merge_ptr_value(conf->issuers, prev->issuers, NULL);
    ngx_conf_merge_sec_value(conf->leeway, prev->leeway, 0);
    ngx_conf_merge_ptr_value(conf->keys, prev->keys, NULL);
    ngx_conf_merge_str_value(conf->key_request, prev->key_request, "");
    ngx_conf_merge_sec_value(conf->key_cache, prev->key_cache, 600);
    ngx_conf_merge_str_value(conf->introspection, prev->introspection, "");
    ngx_conf_merge_str_value(conf->dependent_tokens, prev->dependent_tokens,
                             "");
    ngx_conf_merge_str_value(conf->globus_groups, prev->globus_groups, "");

    if (conf->client_id == NULL) {
        conf->client_id = prev->client_id;
    }

    if (conf->client_groups == NULL) {
        conf->client_groups = prev->client_groups;
    }

    if (conf->algorithms == 0) {
        conf->algorithms = prev->algorithms;
    }

    if (conf->algorithms == 0) {
        for (i = 0; ngx_http_academy_algorithms[i].name.len; i++) {
            if (!ngx_http_academy_algorithms[i].named) {
                conf->algorithms |= (ngx_uint_t) 1 << i;
            }
        }
    }

    if (conf->cache == NGX_CONF_UNSET) {
        conf->cache_size = prev->cache_size;
    }

    ngx_conf_merge_sec_value(conf->cache, prev->cache, 60);

    return NGX_CONF_OK;
}


char *
ngx_http_academy_auth_mode(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t                     *value;
    ngx_conf_enum_t               *e;
    ngx_http_academy_auth_conf_t  *acf;

    acf = (ngx_http_academy_auth_conf_t *) (p + cmd->offset);

    if (acf->mode != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (e = ngx_http_academy_auth_modes; e->name.len; e++) {
        if (value[1].len == e->name.len
            && ngx_memcmp(value[1].data, e->name.data, e->name.len) == 0)
        {
            acf->mode = e->value;
            return NGX_CONF_OK;
        }
    }

    return ngx_http_academy_auth_allowed(cf, cmd, &value[1],
                                         "\"off\", \"variables\", \"jwt\", "
                                         "\"introspection\" or \"globus\"");
}


/* audiences or issuers */

char *
ngx_http_academy_auth_names(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t    *value, *s;
    ngx_uint_t    i;
    ngx_array_t **names;

    names = (ngx_array_t **) (p + cmd->offset);

    if (*names != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    *names = ngx_array_create(cf->pool, 2, sizeof(ngx_str_t));
    if (*names == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (value[i].len == 0) {
            return ngx_http_academy_auth_allowed(cf, cmd, &value[i],
                                                 "one or more names, none of "
                                                 "them empty");
        }

        s = ngx_array_push(*names);
        if (s == NULL) {
            return NGX_CONF_ERROR;
        }

        *s = value[i];
    }

    return NGX_CONF_OK;
}


char *
ngx_http_academy_auth_uri(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t  *value, *uri;

    uri = (ngx_str_t *) (p + cmd->offset);

    if (uri->data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].data[0] != '/'
        || ngx_strlchr(value[1].data, value[1].data + value[1].len, '?'))
    {
        return ngx_http_academy_auth_allowed(cf, cmd, &value[1],
                                             "the URI of a location, which "
                                             "begins with \"/\" and has no "
                                             "arguments");
    }

    *uri = value[1];

    return NGX_CONF_OK;
}


char *
ngx_http_academy_auth_time(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    time_t                            value, *field;
    ngx_str_t                        *args;
    ngx_http_academy_auth_bounds_t   *bounds;

    field = (time_t *) (p + cmd->offset);

    if (*field != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    args = cf->args->elts;
    bounds = cmd->post;

    value = ngx_parse_time(&args[1], 1);

    if (value == (time_t) NGX_ERROR || value < bounds->min
        || value > bounds->max)
    {
        return ngx_http_academy_auth_allowed(cf, cmd, &args[1],
                                             bounds->allowed);
    }

    *field = value;

    return NGX_CONF_OK;
}


char *
ngx_http_academy_auth_algorithms(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    char  *p = conf;

    ngx_str_t                           *value;
    ngx_uint_t                           i;
    ngx_http_academy_auth_conf_t        *acf;
    const ngx_http_academy_algorithm_t  *algorithm;

    acf = (ngx_http_academy_auth_conf_t *) (p + cmd->offset);

    if (acf->algorithms) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        algorithm = ngx_http_academy_algorithm(value[i].data, value[i].len);

        if (algorithm == NULL) {
            return ngx_http_academy_auth_allowed(cf, cmd, &value[i],
                        "one or more of RS256, RS384, RS512, PS256, PS384, "
                        "PS512, ES256, ES384, ES512, EdDSA, HS256, HS384 and "
                        "HS512");
        }

        acf->algorithms |= (ngx_uint_t) 1
                           << (algorithm - ngx_http_academy_algorithms);
    }

    return NGX_CONF_OK;
}


char *
ngx_http_academy_auth_cache(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    time_t                         time;
    off_t                          size;
    ngx_str_t                     *value, s;
    ngx_http_academy_auth_conf_t  *acf;

    acf = (ngx_http_academy_auth_conf_t *) (p + cmd->offset);

    if (acf->cache != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        acf->cache = 0;
        return NGX_CONF_OK;
    }

    time = ngx_parse_time(&value[1], 1);

    if (time == (time_t) NGX_ERROR || time < 1 || time > 86400) {
        return ngx_http_academy_auth_allowed(cf, cmd, &value[1],
                                             "a time from 1s to 1d, or "
                                             "\"off\"");
    }

    acf->cache = time;

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[2].data, "size=", 5) != 0) {
        return ngx_http_academy_auth_allowed(cf, cmd, &value[2],
                                             "size=size");
    }

    s.data = value[2].data + 5;
    s.len = value[2].len - 5;

    size = ngx_parse_offset(&s);

    if (size < NGX_HTTP_ACADEMY_MIN_AUTH_CACHE
        || size > NGX_HTTP_ACADEMY_MAX_AUTH_CACHE)
    {
        return ngx_http_academy_auth_allowed(cf, cmd, &value[2],
                                             "size=size from 256k to 1g");
    }

    acf->cache_size = (size_t) size;

    return NGX_CONF_OK;
}


char *
ngx_http_academy_auth_key_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t                     *value;
    ngx_http_academy_auth_conf_t  *acf;

    acf = (ngx_http_academy_auth_conf_t *) (p + cmd->offset);

    value = cf->args->elts;

    if (value[1].len == 0) {
        return ngx_http_academy_auth_allowed(cf, cmd, &value[1],
                                             "the name of a file");
    }

    if (acf->keys == NGX_CONF_UNSET_PTR) {
        acf->keys = ngx_http_academy_keys_create(cf->pool);
        if (acf->keys == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_conf_full_name(cf->cycle, &value[1], 1) != NGX_OK
        || ngx_http_academy_keys_file(cf, acf->keys, &value[1]) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_academy_auth_allowed(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_str_t *value, char *allowed)
{
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\" directive, "
                       "it must be %s", value, &cmd->name, allowed);

    return NGX_CONF_ERROR;
}
