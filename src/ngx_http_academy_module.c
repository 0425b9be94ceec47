
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_module.h"
#include "ngx_http_academy_http.h"
#include "ngx_http_academy_wire.h"
#include "ngx_http_academy_variables.h"
#include "ngx_http_academy_status.h"
#include "ngx_http_academy_zone.h"
#include "ngx_http_academy_redis.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#if (NGX_HTTP_ACADEMY_DEFER)
#include "ngx_http_academy_defer.h"
#endif


/* an escaped message is longer than the message; bytes around it */

#define NGX_HTTP_ACADEMY_ESCAPED      6      /* \u0041 for each byte */
#define NGX_HTTP_ACADEMY_BUFFERED     3      /* what Python's JSON comes to */
#define NGX_HTTP_ACADEMY_AROUND       16384

/* of the heap of a worker: what is not mapped by itself, what it keeps */

#define NGX_HTTP_ACADEMY_HEAP_BLOCK   (4 * 1024 * 1024)
#define NGX_HTTP_ACADEMY_HEAP_KEPT    (8 * 1024 * 1024)

/* the client's event stream reader takes no longer line */

#define NGX_HTTP_ACADEMY_CLIENT_SIZE  (512 * 1024)


/* bounds of a directive's value, and how they are told */

typedef struct {
    ngx_int_t                      min;
    ngx_int_t                      max;
    char                          *allowed;
} ngx_http_academy_bounds_t;


static char *ngx_http_academy_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_academy_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_academy_exchange_add(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_http_academy_main_conf_t *amcf, ngx_http_academy_exchange_t *exchange);
static ngx_http_academy_exchange_t *ngx_http_academy_exchange_find(
    ngx_http_academy_main_conf_t *amcf, ngx_str_t *name);
static char *ngx_http_academy_exchange(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_academy_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_academy_time(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_academy_size(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_academy_number(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_academy_allowed(ngx_conf_t *cf, ngx_command_t *cmd,
    char *allowed);

static void *ngx_http_academy_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_academy_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_academy_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_academy_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_academy_mount(ngx_conf_t *cf,
    ngx_http_academy_loc_conf_t *conf);
static char *ngx_http_academy_named(ngx_conf_t *cf,
    ngx_http_academy_loc_conf_t *conf);
static char *ngx_http_academy_show(ngx_conf_t *cf,
    ngx_http_academy_loc_conf_t *conf);
static ngx_int_t ngx_http_academy_show_names(ngx_conf_t *cf,
    ngx_http_academy_loc_conf_t *conf);
static ngx_int_t ngx_http_academy_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_academy_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_academy_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_academy_init_process(ngx_cycle_t *cycle);
static void ngx_http_academy_heap_init(void);
static void ngx_http_academy_exit_process(ngx_cycle_t *cycle);


static ngx_http_academy_bounds_t  ngx_http_academy_timeout_bounds = {
    1, 86400000, "a time from 1ms to 1d"
};

static ngx_http_academy_bounds_t  ngx_http_academy_ping_bounds = {
    0, 86400000, "a time up to 1d, or 0 for none"
};

static ngx_http_academy_bounds_t  ngx_http_academy_retry_bounds = {
    0, 3600000, "a time up to 1h"
};

static ngx_http_academy_bounds_t  ngx_http_academy_peer_bounds = {
    0, 3600000, "a time up to 1h, or 0 for the system's own"
};

static ngx_http_academy_bounds_t  ngx_http_academy_repeat_bounds = {
    0, 3600000, "a time up to 1h, or 0 for none"
};

static ngx_http_academy_bounds_t  ngx_http_academy_message_bounds = {
    1024, 64 * 1024 * 1024, "a size from 1k to 64m"
};

static ngx_http_academy_bounds_t  ngx_http_academy_bytes_bounds = {
    0, NGX_MAX_INT_T_VALUE, "a size, or 0 for no bound"
};

static ngx_http_academy_bounds_t  ngx_http_academy_number_bounds = {
    0, NGX_MAX_INT_T_VALUE, "a number, or 0 for no bound"
};

static ngx_http_academy_auth_bounds_t  ngx_http_academy_expiry_bounds = {
    0, 3650 * 86400, "a time up to 3650d, or 0 for no end"
};

static ngx_http_academy_auth_bounds_t  ngx_http_academy_leeway_bounds = {
    0, 3600, "a time up to 1h"
};

static ngx_http_academy_auth_bounds_t  ngx_http_academy_key_cache_bounds = {
    1, 86400, "a time from 1s to 1d"
};


static ngx_command_t  ngx_http_academy_commands[] = {

    { ngx_string("academy_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("academy_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_academy_redis,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("academy_message_expiry"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_auth_time,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_academy_main_conf_t, expiry.messages),
      &ngx_http_academy_expiry_bounds },

    { ngx_string("academy_gravestone_expiry"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_auth_time,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_academy_main_conf_t, expiry.mailboxes),
      &ngx_http_academy_expiry_bounds },

    { ngx_string("academy_exchange"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_exchange,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("academy_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("academy_status_admin"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, status_admin),
      NULL },

    { ngx_string("academy_status_write"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, status_write),
      NULL },

    { ngx_string("academy_listen_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, listen_timeout),
      &ngx_http_academy_timeout_bounds },

    { ngx_string("academy_message_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_size,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, message_size),
      &ngx_http_academy_message_bounds },

    { ngx_string("academy_mailbox_messages"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_number,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, mailbox_messages),
      &ngx_http_academy_number_bounds },

    { ngx_string("academy_mailbox_bytes"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_size,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, mailbox_bytes),
      &ngx_http_academy_bytes_bounds },

    { ngx_string("academy_client_mailboxes"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_number,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, client_mailboxes),
      &ngx_http_academy_number_bounds },

    { ngx_string("academy_ping_interval"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, ping_interval),
      &ngx_http_academy_ping_bounds },

    { ngx_string("academy_peer_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, peer_timeout),
      &ngx_http_academy_peer_bounds },

    { ngx_string("academy_retry"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, retry),
      &ngx_http_academy_retry_bounds },

    { ngx_string("academy_deduplicate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, deduplicate),
      &ngx_http_academy_repeat_bounds },

    { ngx_string("academy_redeliver"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, redeliver),
      NULL },

    { ngx_string("academy_agent_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, agent_timeout),
      &ngx_http_academy_timeout_bounds },

    { ngx_string("academy_log_deliveries"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, log_deliveries),
      NULL },

    { ngx_string("academy_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_auth_mode,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth),
      NULL },

    { ngx_string("academy_client_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth.client_id),
      NULL },

    { ngx_string("academy_client_groups"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth.client_groups),
      NULL },

    { ngx_string("academy_claim_set"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_2MORE,
      ngx_http_academy_claim_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth),
      NULL },

    { ngx_string("academy_auth_audience"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_academy_auth_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth.audiences),
      NULL },

    { ngx_string("academy_auth_issuer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_academy_auth_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth.issuers),
      NULL },

    { ngx_string("academy_auth_leeway"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_auth_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth.leeway),
      &ngx_http_academy_leeway_bounds },

    { ngx_string("academy_auth_cache"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_academy_auth_cache,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth),
      NULL },

    { ngx_string("academy_jwt_key_file"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_auth_key_file,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth),
      NULL },

    { ngx_string("academy_jwt_key_request"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_auth_uri,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth.key_request),
      NULL },

    { ngx_string("academy_jwt_key_cache"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_auth_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth.key_cache),
      &ngx_http_academy_key_cache_bounds },

    { ngx_string("academy_jwt_algorithms"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_academy_auth_algorithms,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth),
      NULL },

    { ngx_string("academy_introspection"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_auth_uri,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth.introspection),
      NULL },

    { ngx_string("academy_globus_dependent_tokens"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_auth_uri,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth.dependent_tokens),
      NULL },

    { ngx_string("academy_globus_groups"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_academy_auth_uri,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, auth.globus_groups),
      NULL },

    { ngx_string("academy_verify_source"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_academy_loc_conf_t, verify_source),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_academy_module_ctx = {
    ngx_http_academy_add_variables,        /* preconfiguration */
    ngx_http_academy_init,                 /* postconfiguration */

    ngx_http_academy_create_main_conf,     /* create main configuration */
    ngx_http_academy_init_main_conf,       /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_academy_create_loc_conf,      /* create location configuration */
    ngx_http_academy_merge_loc_conf        /* merge location configuration */
};


ngx_module_t  ngx_http_academy_module = {
    NGX_MODULE_V1,
    &ngx_http_academy_module_ctx,          /* module context */
    ngx_http_academy_commands,             /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_academy_init_module,          /* init module */
    ngx_http_academy_init_process,         /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_academy_exit_process,         /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_http_academy_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_academy_main_conf_t  *amcf = conf;

    u_char                        *p;
    off_t                          size;
    ngx_str_t                     *value, name, s;
    ngx_http_academy_zone_t       *zone;

    value = cf->args->elts;

    if (ngx_strncmp(value[1].data, "zone=", 5) != 0) {
        return ngx_http_academy_allowed(cf, cmd, "zone=name:size");
    }

    name.data = value[1].data + 5;

    p = (u_char *) ngx_strchr(name.data, ':');

    if (p == NULL || p == name.data) {
        return ngx_http_academy_allowed(cf, cmd, "zone=name:size");
    }

    name.len = p - name.data;

    s.data = p + 1;
    s.len = value[1].data + value[1].len - s.data;

    size = ngx_parse_offset(&s);

    if (size == NGX_ERROR || size < NGX_HTTP_ACADEMY_MIN_ZONE) {
        return ngx_http_academy_allowed(cf, cmd,
                                        "zone=name:size with at least 2m");
    }

    zone = ngx_http_academy_zone_add(cf, &name, (size_t) size,
                                     &ngx_http_academy_module);
    if (zone == NULL) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_academy_exchange_add(cf, cmd, amcf, &zone->exchange);
}


static char *
ngx_http_academy_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_academy_main_conf_t  *amcf = conf;

    ngx_http_academy_redis_t  *redis;

    redis = ngx_http_academy_redis_add(cf, &ngx_http_academy_module);

    if (redis == NULL) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_academy_exchange_add(cf, cmd, amcf, &redis->exchange);
}


static char *
ngx_http_academy_exchange_add(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_http_academy_main_conf_t *amcf, ngx_http_academy_exchange_t *exchange)
{
    ngx_http_academy_exchange_t  **added;

    if (ngx_http_academy_exchange_find(amcf, &exchange->name)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate name \"%V\" in \"%V\" directive, it "
                           "must be one that no other \"academy_zone\" or "
                           "\"academy_redis\" has", &exchange->name,
                           &cmd->name);
        return NGX_CONF_ERROR;
    }

    exchange->expiry = &amcf->expiry;
    exchange->figures = ngx_http_academy_figures_add(cf, &exchange->name,
                                                    &ngx_http_academy_module);
    if (exchange->figures == NULL) {
        return NGX_CONF_ERROR;
    }

#if (NGX_HTTP_ACADEMY_DEFER)

    /* calls to Redis end later in any case */

    if (exchange->store != &ngx_http_academy_redis_store) {
        exchange = ngx_http_academy_defer(cf, exchange);
        if (exchange == NULL) {
            return NGX_CONF_ERROR;
        }
    }

#endif

    exchange->least.messages = NGX_HTTP_ACADEMY_NO_LIMIT;
    exchange->least.bytes = NGX_HTTP_ACADEMY_NO_LIMIT;

    added = ngx_array_push(&amcf->exchanges);
    if (added == NULL) {
        return NGX_CONF_ERROR;
    }

    *added = exchange;

    return NGX_CONF_OK;
}


static ngx_http_academy_exchange_t *
ngx_http_academy_exchange_find(ngx_http_academy_main_conf_t *amcf,
    ngx_str_t *name)
{
    ngx_uint_t                     i;
    ngx_http_academy_exchange_t  **exchange;

    exchange = amcf->exchanges.elts;

    for (i = 0; i < amcf->exchanges.nelts; i++) {
        if (exchange[i]->name.len == name->len
            && ngx_memcmp(exchange[i]->name.data, name->data, name->len) == 0)
        {
            return exchange[i];
        }
    }

    return NULL;
}


/* the name is looked up when all zones have been read */

static char *
ngx_http_academy_exchange(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_academy_loc_conf_t  *alcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    if (alcf->name.data) {
        return alcf->status ? "is in a location with \"academy_status\""
                            : "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return ngx_http_academy_allowed(cf, cmd, "the name of a zone");
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->exact_match || clcf->named
#if (NGX_PCRE)
        || clcf->regex
#endif
       )
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" cannot be mounted in location \"%V\", "
                           "it needs a prefix location such as \"/\" or "
                           "\"/v1/\"", &cmd->name, &clcf->name);
        return NGX_CONF_ERROR;
    }

    alcf->name = value[1];
    alcf->file = cf->conf_file->file.name;
    alcf->line = cf->conf_file->line;

    /* routes begin with a slash, whether the location ends with one or not */

    alcf->prefix = clcf->name.len;

    if (alcf->prefix && clcf->name.data[alcf->prefix - 1] == '/') {
        alcf->prefix--;
    }

    clcf->handler = ngx_http_academy_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_academy_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_academy_loc_conf_t  *alcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    if (alcf->name.data) {
        return alcf->status ? "is duplicate"
                            : "is in a location with \"academy_exchange\"";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return ngx_http_academy_allowed(cf, cmd, "the name of a zone");
    }

    alcf->name = value[1];
    alcf->file = cf->conf_file->file.name;
    alcf->line = cf->conf_file->line;
    alcf->status = 1;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_academy_status_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_academy_time(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_int_t                   value;
    ngx_str_t                  *args;
    ngx_msec_t                 *field;
    ngx_http_academy_bounds_t  *bounds;

    field = (ngx_msec_t *) (p + cmd->offset);

    if (*field != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    args = cf->args->elts;
    bounds = cmd->post;

    value = ngx_parse_time(&args[1], 0);

    if (value == NGX_ERROR || value < bounds->min || value > bounds->max) {
        return ngx_http_academy_allowed(cf, cmd, bounds->allowed);
    }

    *field = (ngx_msec_t) value;

    return NGX_CONF_OK;
}


static char *
ngx_http_academy_size(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    size_t                     *field;
    ssize_t                     value;
    ngx_str_t                  *args;
    ngx_http_academy_bounds_t  *bounds;

    field = (size_t *) (p + cmd->offset);

    if (*field != NGX_CONF_UNSET_SIZE) {
        return "is duplicate";
    }

    args = cf->args->elts;
    bounds = cmd->post;

    value = ngx_parse_size(&args[1]);

    if (value == NGX_ERROR || value < bounds->min || value > bounds->max) {
        return ngx_http_academy_allowed(cf, cmd, bounds->allowed);
    }

    if (bounds == &ngx_http_academy_message_bounds
        && value > NGX_HTTP_ACADEMY_CLIENT_SIZE)
    {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "value \"%V\" of \"%V\" is above 512k, where the "
                           "event stream reader of the Python client ends: "
                           "its agents cannot receive longer messages",
                           &args[1], &cmd->name);
    }

    *field = (size_t) value;

    return NGX_CONF_OK;
}


static char *
ngx_http_academy_number(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    size_t                     *field;
    ngx_int_t                   value;
    ngx_str_t                  *args;
    ngx_http_academy_bounds_t  *bounds;

    field = (size_t *) (p + cmd->offset);

    if (*field != NGX_CONF_UNSET_SIZE) {
        return "is duplicate";
    }

    args = cf->args->elts;
    bounds = cmd->post;

    value = ngx_atoi(args[1].data, args[1].len);

    if (value == NGX_ERROR || value < bounds->min || value > bounds->max) {
        return ngx_http_academy_allowed(cf, cmd, bounds->allowed);
    }

    *field = (size_t) value;

    return NGX_CONF_OK;
}


static char *
ngx_http_academy_allowed(ngx_conf_t *cf, ngx_command_t *cmd, char *allowed)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\" directive, "
                       "it must be %s", &value[1], &cmd->name, allowed);

    return NGX_CONF_ERROR;
}


static void *
ngx_http_academy_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_academy_main_conf_t  *amcf;

    amcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_academy_main_conf_t));
    if (amcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&amcf->exchanges, cf->pool, 4,
                       sizeof(ngx_http_academy_exchange_t *))
        != NGX_OK
        || ngx_array_init(&amcf->jwks, cf->pool, 1,
                          sizeof(ngx_http_academy_jwks_t *))
           != NGX_OK
        || ngx_array_init(&amcf->mounts, cf->pool, 4,
                          sizeof(ngx_http_academy_mount_t))
           != NGX_OK)
    {
        return NULL;
    }

    amcf->expiry.messages = NGX_CONF_UNSET;
    amcf->expiry.mailboxes = NGX_CONF_UNSET;

    return amcf;
}


static char *
ngx_http_academy_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_academy_main_conf_t  *amcf = conf;

    ngx_conf_init_value(amcf->expiry.messages, 7 * 86400);
    ngx_conf_init_value(amcf->expiry.mailboxes, 365 * 86400);

    return NGX_CONF_OK;
}


static void *
ngx_http_academy_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_academy_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_academy_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->exchange = NULL;
     *     conf->name = { 0, NULL };
     *     conf->file = { 0, NULL };
     *     conf->line = 0;
     *     conf->prefix = 0;
     *     conf->limits = { 0 };
     *     conf->status = 0;
     *     conf->status_admin = NULL;
     */

    conf->listen_timeout = NGX_CONF_UNSET_MSEC;
    conf->message_size = NGX_CONF_UNSET_SIZE;
    conf->mailbox_messages = NGX_CONF_UNSET_SIZE;
    conf->mailbox_bytes = NGX_CONF_UNSET_SIZE;
    conf->client_mailboxes = NGX_CONF_UNSET_SIZE;
    conf->ping_interval = NGX_CONF_UNSET_MSEC;
    conf->peer_timeout = NGX_CONF_UNSET_MSEC;
    conf->retry = NGX_CONF_UNSET_MSEC;
    conf->deduplicate = NGX_CONF_UNSET_MSEC;
    conf->agent_timeout = NGX_CONF_UNSET_MSEC;
    conf->redeliver = NGX_CONF_UNSET;
    conf->log_deliveries = NGX_CONF_UNSET;
    conf->verify_source = NGX_CONF_UNSET;
    conf->status_write = NGX_CONF_UNSET;

    ngx_http_academy_auth_create(&conf->auth);

    return conf;
}


static char *
ngx_http_academy_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_academy_loc_conf_t  *prev = parent;
    ngx_http_academy_loc_conf_t  *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    ngx_conf_merge_msec_value(conf->listen_timeout, prev->listen_timeout,
                              60000);
    ngx_conf_merge_size_value(conf->message_size, prev->message_size,
                              NGX_HTTP_ACADEMY_CLIENT_SIZE);
    ngx_conf_merge_size_value(conf->mailbox_messages, prev->mailbox_messages,
                              0);
    ngx_conf_merge_size_value(conf->mailbox_bytes, prev->mailbox_bytes, 0);
    ngx_conf_merge_size_value(conf->client_mailboxes, prev->client_mailboxes,
                              0);
    ngx_conf_merge_msec_value(conf->ping_interval, prev->ping_interval, 15000);
    ngx_conf_merge_msec_value(conf->peer_timeout, prev->peer_timeout, 30000);
    ngx_conf_merge_msec_value(conf->retry, prev->retry, 100);
    ngx_conf_merge_msec_value(conf->deduplicate, prev->deduplicate, 60000);
    ngx_conf_merge_msec_value(conf->agent_timeout, prev->agent_timeout, 90000);
    ngx_conf_merge_value(conf->redeliver, prev->redeliver, 0);
    ngx_conf_merge_value(conf->log_deliveries, prev->log_deliveries, 0);
    ngx_conf_merge_value(conf->verify_source, prev->verify_source, 1);
    ngx_conf_merge_value(conf->status_write, prev->status_write, 0);

    if (conf->status_admin == NULL) {
        conf->status_admin = prev->status_admin;
    }

    if (ngx_http_academy_auth_merge(cf, &prev->auth, &conf->auth)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /*
     * "if" and "limit_except" are the same location, others within are not;
     * nor is an "if" that something else answers in
     */

    if (conf->name.data == NULL && clcf->noname && clcf->handler == NULL
        && prev->name.data)
    {
        conf->name = prev->name;
        conf->file = prev->file;
        conf->line = prev->line;
        conf->prefix = prev->prefix;
        conf->status = prev->status;

        clcf->handler = conf->status ? ngx_http_academy_status_handler
                                     : ngx_http_academy_handler;
    }

    if (conf->name.data) {
        return conf->status ? ngx_http_academy_show(cf, conf)
                            : ngx_http_academy_mount(cf, conf);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_academy_mount(ngx_conf_t *cf, ngx_http_academy_loc_conf_t *conf)
{
    size_t                         size;
    ngx_http_academy_mount_t      *mount;
    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_academy_limits_t     *least;
    ngx_http_academy_main_conf_t  *amcf;

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_academy_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (ngx_http_academy_named(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (conf->mailbox_bytes && conf->mailbox_bytes < conf->message_size) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"academy_mailbox_bytes\" is %uz, less than the "
                      "\"academy_message_size\" of %uz, for the exchange "
                      "in %V:%ui: no mailbox could take such a message",
                      conf->mailbox_bytes, conf->message_size, &conf->file,
                      conf->line);
        return NGX_CONF_ERROR;
    }

    if (conf->redeliver
        && conf->exchange->store == &ngx_http_academy_redis_store)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"academy_redeliver on\" for the exchange in %V:%ui: "
                      "requests are put back in a zone only, not in redis "
                      "\"%V\"", &conf->file, conf->line, &conf->name);
        return NGX_CONF_ERROR;
    }

    if (!clcf->noname) {
        mount = ngx_array_push(&amcf->mounts);
        if (mount == NULL) {
            return NGX_CONF_ERROR;
        }

        mount->conf = conf;
        mount->location = clcf->name;
    }

    conf->limits.messages = conf->mailbox_messages
                            ? conf->mailbox_messages
                            : NGX_HTTP_ACADEMY_NO_LIMIT;
    conf->limits.bytes = conf->mailbox_bytes ? conf->mailbox_bytes
                                             : NGX_HTTP_ACADEMY_NO_LIMIT;
    conf->limits.mailboxes = conf->client_mailboxes
                             ? conf->client_mailboxes
                             : NGX_HTTP_ACADEMY_NO_LIMIT;

    /* a mailbox is filled and emptied by different locations */

    least = &conf->exchange->least;

    least->messages = ngx_min(least->messages, conf->limits.messages);
    least->bytes = ngx_min(least->bytes, conf->limits.bytes);

    /*
     * A user need not know how long the body of a request becomes.  With a
     * Content-Length nginx takes no larger a buffer than that.
     */

    size = conf->message_size * NGX_HTTP_ACADEMY_ESCAPED
           + NGX_HTTP_ACADEMY_AROUND;

    if (clcf->client_max_body_size
        && clcf->client_max_body_size < (off_t) size)
    {
        clcf->client_max_body_size = (off_t) size;
    }

    size = conf->message_size * NGX_HTTP_ACADEMY_BUFFERED
           + NGX_HTTP_ACADEMY_AROUND;

    clcf->client_body_buffer_size = ngx_max(clcf->client_body_buffer_size,
                                            size);

    /* a connection that is not kept alive stays until its client has it all */

    if (clcf->lingering_close == NGX_HTTP_LINGERING_OFF) {
        clcf->lingering_close = NGX_HTTP_LINGERING_ON;
    }

    /*
     * nginx redirects a request whose client has gone from its wait, without
     * a word to who waits
     */

    ngx_str_null(&clcf->post_action);

    /* an event stream ends cleanly whenever its connection does */

    clcf->chunked_transfer_encoding = 0;

    return NGX_CONF_OK;
}


static char *
ngx_http_academy_named(ngx_conf_t *cf, ngx_http_academy_loc_conf_t *conf)
{
    ngx_http_academy_main_conf_t  *amcf;

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_academy_module);

    conf->exchange = ngx_http_academy_exchange_find(amcf, &conf->name);

    if (conf->exchange == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "unknown zone \"%V\" in \"%s\" directive in %V:%ui, it "
                      "must be one that \"academy_zone\" or "
                      "\"academy_redis\" names", &conf->name,
                      conf->status ? "academy_status" : "academy_exchange",
                      &conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    return ngx_http_academy_auth_check(cf, &conf->auth, &conf->file,
                                       conf->line);
}


static char *
ngx_http_academy_show(ngx_conf_t *cf, ngx_http_academy_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (ngx_http_academy_named(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    conf->exchange->figures->watched = 1;

    /* who looks waits as well; see ngx_http_academy_mount() */

    ngx_str_null(&clcf->post_action);

    return (ngx_http_academy_show_names(cf, conf) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* nginx keeps its own list no longer than it reads the configuration */

static ngx_int_t
ngx_http_academy_show_names(ngx_conf_t *cf, ngx_http_academy_loc_conf_t *conf)
{
    ngx_str_t                 *name;
    ngx_uint_t                 i;
    ngx_http_server_name_t    *server_name;
    ngx_http_core_srv_conf_t  *cscf;

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);
    server_name = cscf->server_names.elts;

    if (ngx_array_init(&conf->status_names, cf->pool,
                       cscf->server_names.nelts + 1, sizeof(ngx_str_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < cscf->server_names.nelts; i++) {

#if (NGX_PCRE)
        if (server_name[i].regex) {
            continue;
        }
#endif

        name = ngx_array_push(&conf->status_names);
        if (name == NULL) {
            return NGX_ERROR;
        }

        *name = server_name[i].name;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_add_variables(ngx_conf_t *cf)
{
    if (ngx_http_academy_claims_variables(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_academy_variables(cf);
}


static ngx_int_t
ngx_http_academy_init(ngx_conf_t *cf)
{
    ngx_uint_t                      i;
    ngx_http_handler_pt            *h;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_core_main_conf_t      *cmcf;
    ngx_http_academy_exchange_t   **exchange;
    ngx_http_academy_main_conf_t   *amcf;

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_academy_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    exchange = amcf->exchanges.elts;

    for (i = 0; i < amcf->exchanges.nelts; i++) {
        if (exchange[i]->store == &ngx_http_academy_redis_store) {
            ngx_http_academy_redis_resolve(exchange[i], clcf->resolver);
        }
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    /*
     * nginx runs the handlers of a phase from the last one to the first: as
     * the first one it sees what auth_basic and auth_request came to
     */

    h = cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers.elts;

    ngx_memmove(h + 1, h, (cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers.nelts
                           - 1) * sizeof(ngx_http_handler_pt));

    *h = ngx_http_academy_access_handler;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_academy_precontent_handler;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t                      i;
    ngx_http_academy_exchange_t   **exchange;
    ngx_http_academy_main_conf_t   *amcf;

    amcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_academy_module);

    if (amcf == NULL) {
        return NGX_OK;
    }

    ngx_http_academy_auth_commit(amcf->auth_zone);

    exchange = amcf->exchanges.elts;

    for (i = 0; i < amcf->exchanges.nelts; i++) {
        exchange[i]->store->commit(exchange[i]);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                      i;
    ngx_http_academy_exchange_t   **exchange;
    ngx_http_academy_main_conf_t   *amcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    amcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_academy_module);

    if (amcf == NULL) {
        return NGX_OK;
    }

    if (ngx_http_academy_auth_init_worker(amcf->auth_zone) != NGX_OK) {
        return NGX_ERROR;
    }

    if (amcf->exchanges.nelts) {
        ngx_http_academy_heap_init();
    }

    exchange = amcf->exchanges.elts;

    for (i = 0; i < amcf->exchanges.nelts; i++) {
        ngx_http_academy_figures_claim(exchange[i]->figures);

        if (exchange[i]->store->init_worker(exchange[i], cycle) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (amcf->exchanges.nelts) {
        ngx_http_academy_status_init_worker(cycle);
    }

    return NGX_OK;
}


/*
 * A large message is a body, and an answer, of as many pages.  By default the
 * C library gives these back to the kernel with each request and gets them
 * again, zeroed, with the next, which costs as much as all else about it.
 */

static void
ngx_http_academy_heap_init(void)
{
#ifdef __GLIBC__
    (void) mallopt(M_MMAP_THRESHOLD, NGX_HTTP_ACADEMY_HEAP_BLOCK);
    (void) mallopt(M_TRIM_THRESHOLD, NGX_HTTP_ACADEMY_HEAP_KEPT);
#endif
}


static void
ngx_http_academy_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                      i;
    ngx_http_academy_exchange_t   **exchange;
    ngx_http_academy_main_conf_t   *amcf;

    amcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_academy_module);

    if (amcf == NULL) {
        return;
    }

    ngx_http_academy_auth_exit_worker();
    ngx_http_academy_wire_exit();

    exchange = amcf->exchanges.elts;

    for (i = 0; i < amcf->exchanges.nelts; i++) {
        exchange[i]->store->exit_worker(exchange[i], cycle);
        ngx_http_academy_figures_release(exchange[i]->figures);
    }
}
