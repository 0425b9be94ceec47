
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <openssl/rand.h>
#include "ngx_http_academy_redis_link.h"


/*
 * The store as a whole, and the nodes of this nginx: in a little shared memory
 * each worker notes what it is called, so that what a dead one had in hand is
 * returned as soon as another one looks.
 */


#define NGX_HTTP_ACADEMY_REDIS_NODES   256

/* characters of it, before each key */

#define NGX_HTTP_ACADEMY_REDIS_PREFIX  128


/* a process is known by its id and by when it was started */

typedef struct {
    ngx_pid_t                  pid;        /* 0: vacant */
    uint64_t                   started;    /* 0: not known */
    u_char                     node[NGX_HTTP_ACADEMY_NODE_LEN];
} ngx_http_academy_redis_node_t;


struct ngx_http_academy_redis_sh_s {
    ngx_http_academy_redis_node_t      nodes[NGX_HTTP_ACADEMY_REDIS_NODES];
    ngx_http_academy_redis_surveyed_t  surveyed;
};


/* sets a value: NULL, what is allowed, or NGX_CONF_ERROR if that was told */

typedef char *(*ngx_http_academy_redis_set_pt)(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s);


typedef struct {
    ngx_str_t                      name;
    ngx_http_academy_redis_set_pt  set;
} ngx_http_academy_redis_param_t;


static ngx_int_t ngx_http_academy_redis_init_zone(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_http_academy_redis_add_zone(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, void *tag);
static char *ngx_http_academy_redis_set_name(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s);
static char *ngx_http_academy_redis_set_server(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s);
static char *ngx_http_academy_redis_set_db(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s);
static char *ngx_http_academy_redis_set_user(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s);
static char *ngx_http_academy_redis_set_password(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *name);
static char *ngx_http_academy_redis_set_prefix(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s);
static char *ngx_http_academy_redis_set_connect_timeout(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s);
static char *ngx_http_academy_redis_set_timeout(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s);
static ngx_int_t ngx_http_academy_redis_set_time(ngx_str_t *s,
    ngx_msec_t *value);
static void ngx_http_academy_redis_commit(
    ngx_http_academy_exchange_t *exchange);
static ngx_int_t ngx_http_academy_redis_init_worker(
    ngx_http_academy_exchange_t *exchange, ngx_cycle_t *cycle);
static void ngx_http_academy_redis_exit_worker(
    ngx_http_academy_exchange_t *exchange, ngx_cycle_t *cycle);
static char *ngx_http_academy_redis_ailing(
    ngx_http_academy_exchange_t *exchange);
static ngx_str_t *ngx_http_academy_redis_server(
    ngx_http_academy_exchange_t *exchange);
static void ngx_http_academy_redis_note(ngx_http_academy_redis_t *redis);
static ngx_uint_t ngx_http_academy_redis_gone(
    ngx_http_academy_redis_node_t *node);
static uint64_t ngx_http_academy_redis_started(ngx_pid_t pid);


static ngx_http_academy_redis_param_t  ngx_http_academy_redis_params[] = {
    { ngx_string("name="), ngx_http_academy_redis_set_name },
    { ngx_string("server="), ngx_http_academy_redis_set_server },
    { ngx_string("db="), ngx_http_academy_redis_set_db },
    { ngx_string("user="), ngx_http_academy_redis_set_user },
    { ngx_string("password_file="), ngx_http_academy_redis_set_password },
    { ngx_string("prefix="), ngx_http_academy_redis_set_prefix },
    { ngx_string("connect_timeout="),
      ngx_http_academy_redis_set_connect_timeout },
    { ngx_string("timeout="), ngx_http_academy_redis_set_timeout },
    { ngx_null_string, NULL }
};


ngx_http_academy_store_t  ngx_http_academy_redis_store = {
    ngx_http_academy_redis_create,
    ngx_http_academy_redis_terminate,
    ngx_http_academy_redis_status,
    ngx_http_academy_redis_share,
    ngx_http_academy_redis_shares,
    ngx_http_academy_redis_unshare,
    ngx_http_academy_redis_heartbeat,
    ngx_http_academy_redis_beat,
    ngx_http_academy_redis_stats,
    ngx_http_academy_redis_discover,
    ngx_http_academy_redis_put,
    ngx_http_academy_redis_get,
    ngx_http_academy_redis_cancel,
    ngx_http_academy_redis_piece,
    ngx_http_academy_redis_written,
    ngx_http_academy_redis_settle,
    ngx_http_academy_redis_give_back,
    ngx_http_academy_redis_commit,
    ngx_http_academy_redis_init_worker,
    ngx_http_academy_redis_exit_worker,
    ngx_http_academy_redis_survey,
    ngx_http_academy_redis_list,
    ngx_http_academy_redis_inspect,
    ngx_http_academy_redis_ailing,
    "redis",

    /* what Redis takes away by itself, or a Python exchange does */

    (uint64_t) 1 << NGX_HTTP_ACADEMY_N_REDELIVERED
    | (uint64_t) 1 << NGX_HTTP_ACADEMY_N_EXPIRED
    | (uint64_t) 1 << NGX_HTTP_ACADEMY_N_ANSWERED
    | (uint64_t) 1 << NGX_HTTP_ACADEMY_N_REQUESTS_EXPIRED
    | (uint64_t) 1 << NGX_HTTP_ACADEMY_N_MAILBOXES_EXPIRED
    | (uint64_t) 1 << NGX_HTTP_ACADEMY_N_LOCK_WAITS
    | (uint64_t) 1 << NGX_HTTP_ACADEMY_N_LOCK_WAIT_NS,

    ngx_http_academy_redis_server
};


ngx_http_academy_redis_t *
ngx_http_academy_redis_add(ngx_conf_t *cf, void *tag)
{
    char                              *allowed;
    ngx_str_t                         *value, s;
    ngx_uint_t                         i, n, seen;
    ngx_http_academy_redis_t          *redis;
    ngx_http_academy_redis_param_t    *param;

    redis = ngx_pcalloc(cf->pool, sizeof(ngx_http_academy_redis_t));
    if (redis == NULL) {
        return NULL;
    }

    ngx_str_set(&redis->prefix, "");

    redis->connect_timeout = 1000;
    redis->timeout = 5000;

    value = cf->args->elts;
    seen = 0;

    for (i = 1; i < cf->args->nelts; i++) {

        param = ngx_http_academy_redis_params;

        for (n = 0; param[n].name.len; n++) {
            if (ngx_strncmp(value[i].data, param[n].name.data,
                            param[n].name.len)
                == 0)
            {
                break;
            }
        }

        if (param[n].name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"academy_redis\" "
                               "directive, allowed are name=, server=, db=, "
                               "user=, password_file=, prefix=, "
                               "connect_timeout=, timeout=", &value[i]);
            return NULL;
        }

        s.data = value[i].data + param[n].name.len;
        s.len = value[i].len - param[n].name.len;

        if (seen & (1 << n)) {
            allowed = "given once";

        } else if (s.len == 0) {
            allowed = "one with a value";

        } else {
            allowed = param[n].set(cf, redis, &s);
        }

        if (allowed == NGX_CONF_ERROR) {
            return NULL;
        }

        if (allowed) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\" in \"academy_redis\" "
                               "directive, it must be %s", &value[i], allowed);
            return NULL;
        }

        seen |= 1 << n;
    }

    if (redis->exchange.name.len == 0 || redis->server.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no \"%s\" in \"academy_redis\" directive, it must "
                           "have name= and server=",
                           redis->exchange.name.len ? "server=" : "name=");
        return NULL;
    }

    if (redis->user.len && redis->password.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no \"password_file=\" in \"academy_redis\" "
                           "directive, user \"%V\" must have one",
                           &redis->user);
        return NULL;
    }

    if (ngx_http_academy_redis_add_zone(cf, redis, tag) != NGX_OK) {
        return NULL;
    }

    redis->exchange.store = &ngx_http_academy_redis_store;

    ngx_http_academy_redis_script_init();

    return redis;
}


static ngx_int_t
ngx_http_academy_redis_add_zone(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, void *tag)
{
    ngx_str_t        name;
    ngx_shm_zone_t  *shm_zone;

    name.len = sizeof("academy_redis:") - 1 + redis->exchange.name.len;
    name.data = ngx_pnalloc(cf->pool, name.len);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(name.data, "academy_redis:%V", &redis->exchange.name);

    shm_zone = ngx_shared_memory_add(cf, &name, 16 * ngx_pagesize, tag);
    if (shm_zone == NULL) {
        return NGX_ERROR;
    }

    if (shm_zone->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate name \"%V\" in \"academy_redis\" "
                           "directive, it must be one that no other "
                           "\"academy_zone\" or \"academy_redis\" has",
                           &redis->exchange.name);
        return NGX_ERROR;
    }

    shm_zone->init = ngx_http_academy_redis_init_zone;
    shm_zone->data = redis;

    redis->shm_zone = shm_zone;

    return NGX_OK;
}


static char *
ngx_http_academy_redis_set_name(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s)
{
    redis->exchange.name = *s;

    return NULL;
}


static char *
ngx_http_academy_redis_set_server(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s)
{
    ngx_url_t  u;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = *s;
    u.default_port = 6379;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%s in value \"server=%V\" in \"academy_redis\" "
                           "directive, it must be server=HOST[:PORT] or "
                           "server=unix:PATH", u.err ? u.err : "no memory", s);
        return NGX_CONF_ERROR;
    }

    redis->server = *s;
    redis->addrs = u.addrs;
    redis->naddrs = u.naddrs;

    if (u.family != AF_UNIX) {
        redis->port = u.port;

        if (ngx_inet_addr(u.host.data, u.host.len) == INADDR_NONE
            && u.host.data[0] != '[')
        {
            redis->host = u.host;
        }
    }

    return NULL;
}


static char *
ngx_http_academy_redis_set_db(ngx_conf_t *cf, ngx_http_academy_redis_t *redis,
    ngx_str_t *s)
{
    ngx_int_t  n;

    n = ngx_atoi(s->data, s->len);

    if (n == NGX_ERROR || n > 65535) {
        return "db= with a number from 0 to 65535";
    }

    redis->db = n;

    return NULL;
}


static char *
ngx_http_academy_redis_set_user(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s)
{
    redis->user = *s;

    return NULL;
}


static char *
ngx_http_academy_redis_set_prefix(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s)
{
    if (s->len > NGX_HTTP_ACADEMY_REDIS_PREFIX) {
        return "prefix= with at most 128 characters";
    }

    redis->prefix = *s;

    return NULL;
}


static char *
ngx_http_academy_redis_set_connect_timeout(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s)
{
    return ngx_http_academy_redis_set_time(s, &redis->connect_timeout)
               == NGX_OK ? NULL : "connect_timeout= with a time from 1ms to 1h";
}


static char *
ngx_http_academy_redis_set_timeout(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *s)
{
    return ngx_http_academy_redis_set_time(s, &redis->timeout)
               == NGX_OK ? NULL : "timeout= with a time from 1ms to 1h";
}


void
ngx_http_academy_redis_resolve(ngx_http_academy_exchange_t *exchange,
    ngx_resolver_t *resolver)
{
    ngx_http_academy_redis_t  *redis;

    redis = (ngx_http_academy_redis_t *) exchange;

    /* nginx has one that knows no servers where there is no "resolver" */

    if (resolver && resolver->connections.nelts) {
        redis->resolver = resolver;
    }
}


/* the first line of a file, which is never told to anybody */

static char *
ngx_http_academy_redis_set_password(ngx_conf_t *cf,
    ngx_http_academy_redis_t *redis, ngx_str_t *name)
{
    u_char     *end, buf[1024];
    ssize_t     n;
    ngx_fd_t    fd;
    ngx_str_t   file;

    file = *name;

    if (ngx_conf_full_name(cf->cycle, &file, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(file.data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" of \"academy_redis\" "
                           "directive's password_file= failed", &file);
        return NGX_CONF_ERROR;
    }

    n = ngx_read_fd(fd, buf, sizeof(buf));

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", &file);
    }

    if (n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_read_fd_n " \"%V\" of \"academy_redis\" "
                           "directive's password_file= failed", &file);
        return NGX_CONF_ERROR;
    }

    end = ngx_strlchr(buf, buf + n, '\n');
    end = end ? end : buf + n;

    if (end > buf && end[-1] == '\r') {
        end--;
    }

    if (end == buf || (size_t) (end - buf) == sizeof(buf)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"password_file=%V\" in "
                           "\"academy_redis\" directive, the first line of "
                           "it must be a password of 1 to %uz bytes", name,
                           sizeof(buf) - 1);
        return NGX_CONF_ERROR;
    }

    redis->password.len = end - buf;
    redis->password.data = ngx_pnalloc(cf->pool, redis->password.len);
    if (redis->password.data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memcpy(redis->password.data, buf, redis->password.len);
    ngx_explicit_memzero(buf, sizeof(buf));

    return NULL;
}


static ngx_int_t
ngx_http_academy_redis_set_time(ngx_str_t *s, ngx_msec_t *value)
{
    ngx_int_t  ms;

    ms = ngx_parse_time(s, 0);

    if (ms == NGX_ERROR || ms < 1 || ms > 3600000) {
        return NGX_ERROR;
    }

    *value = (ngx_msec_t) ms;

    return NGX_OK;
}


static ngx_int_t
ngx_http_academy_redis_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_http_academy_redis_t  *old = data;

    ngx_slab_pool_t              *shpool;
    ngx_http_academy_redis_t     *redis;
    ngx_http_academy_redis_sh_t  *sh;

    redis = shm_zone->data;
    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (old) {
        redis->sh = old->sh;
        return NGX_OK;
    }

    if (shm_zone->shm.exists) {
        redis->sh = shpool->data;
        return NGX_OK;
    }

    sh = ngx_slab_calloc(shpool, sizeof(ngx_http_academy_redis_sh_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    shpool->data = sh;
    redis->sh = sh;

    return NGX_OK;
}


static void
ngx_http_academy_redis_commit(ngx_http_academy_exchange_t *exchange)
{
    /* what a worker holds of Redis it gets when it starts */
}


static ngx_int_t
ngx_http_academy_redis_init_worker(ngx_http_academy_exchange_t *exchange,
    ngx_cycle_t *cycle)
{
    u_char                     random[NGX_HTTP_ACADEMY_NODE_LEN / 2];
    ngx_http_academy_redis_t  *redis;

    redis = (ngx_http_academy_redis_t *) exchange;

    if (RAND_bytes(random, sizeof(random)) != 1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "RAND_bytes() failed");
        return NGX_ERROR;
    }

    ngx_hex_dump(redis->node, random, sizeof(random));
    redis->seq = 1;
    ngx_queue_init(&redis->walks);

    ngx_http_academy_redis_note(redis);

    if (ngx_http_academy_redis_wait_init(redis) != NGX_OK
        || ngx_http_academy_redis_keeper_init(redis) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_academy_redis_link_init(redis, cycle);
}


static void
ngx_http_academy_redis_exit_worker(ngx_http_academy_exchange_t *exchange,
    ngx_cycle_t *cycle)
{
    ngx_http_academy_redis_t  *redis;

    redis = (ngx_http_academy_redis_t *) exchange;

    if (redis->link) {
        ngx_http_academy_redis_link_exit(redis);
    }
}


/* as this worker sees it: who answers is one that clients come to, too */

static char *
ngx_http_academy_redis_ailing(ngx_http_academy_exchange_t *exchange)
{
    ngx_msec_t                 since;
    ngx_http_academy_redis_t  *redis;

    redis = (ngx_http_academy_redis_t *) exchange;

    if (redis->link == NULL || !ngx_http_academy_redis_up(redis, &since)) {
        return "redis is away";
    }

    return ngx_http_academy_redis_full(redis) ? "redis is full" : NULL;
}


static ngx_str_t *
ngx_http_academy_redis_server(ngx_http_academy_exchange_t *exchange)
{
    return &((ngx_http_academy_redis_t *) exchange)->server;
}


/* without room for it, Redis itself finds out after some seconds */

static void
ngx_http_academy_redis_note(ngx_http_academy_redis_t *redis)
{
    uint64_t                        started;
    ngx_uint_t                      i;
    ngx_slab_pool_t                *shpool;
    ngx_http_academy_redis_node_t  *node;

    shpool = (ngx_slab_pool_t *) redis->shm_zone->shm.addr;
    started = ngx_http_academy_redis_started(ngx_pid);

    ngx_shmtx_lock(&shpool->mutex);

    for (i = 0; i < NGX_HTTP_ACADEMY_REDIS_NODES; i++) {
        node = &redis->sh->nodes[i];

        if (node->pid == 0) {
            node->started = started;
            ngx_memcpy(node->node, redis->node, NGX_HTTP_ACADEMY_NODE_LEN);
            ngx_memory_barrier();
            node->pid = ngx_pid;
            break;
        }
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


ngx_int_t
ngx_http_academy_redis_orphan(ngx_http_academy_redis_t *redis, u_char *name)
{
    ngx_uint_t                      i;
    ngx_http_academy_redis_node_t  *node;

    for (i = 0; i < NGX_HTTP_ACADEMY_REDIS_NODES; i++) {
        node = &redis->sh->nodes[i];

        if (node->pid
            && ngx_memcmp(node->node, redis->node, NGX_HTTP_ACADEMY_NODE_LEN)
               != 0
            && ngx_http_academy_redis_gone(node))
        {
            ngx_memcpy(name, node->node, NGX_HTTP_ACADEMY_NODE_LEN);
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


/* another process may have its id by now */

static ngx_uint_t
ngx_http_academy_redis_gone(ngx_http_academy_redis_node_t *node)
{
    uint64_t  started;

    if (kill(node->pid, 0) == -1 && ngx_errno == ESRCH) {
        return 1;
    }

    started = ngx_http_academy_redis_started(node->pid);

    return started && node->started && started != node->started;
}


/* in ticks since the system's start; 0: there is no telling */

static uint64_t
ngx_http_academy_redis_started(ngx_pid_t pid)
{
    char               *p, name[64], buf[1024];
    FILE               *f;
    size_t              n;
    unsigned long long  started;

    ngx_sprintf((u_char *) name, "/proc/%P/stat%Z", pid);

    f = fopen(name, "r");
    if (f == NULL) {
        return 0;
    }

    n = fread(buf, 1, sizeof(buf) - 1, f);
    buf[n] = '\0';

    (void) fclose(f);

    /* the name of the program may hold anything */

    p = strrchr(buf, ')');

    if (p == NULL
        || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u "
                  "%*d %*d %*d %*d %*d %*d %llu", &started) != 1)
    {
        return 0;
    }

    return started;
}


ngx_http_academy_redis_surveyed_t *
ngx_http_academy_redis_surveyed_lock(ngx_http_academy_redis_t *redis)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) redis->shm_zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    return &redis->sh->surveyed;
}


void
ngx_http_academy_redis_surveyed_unlock(ngx_http_academy_redis_t *redis)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) redis->shm_zone->shm.addr;

    ngx_shmtx_unlock(&shpool->mutex);
}


void
ngx_http_academy_redis_forget(ngx_http_academy_redis_t *redis, u_char *name)
{
    ngx_uint_t                      i;
    ngx_slab_pool_t                *shpool;
    ngx_http_academy_redis_node_t  *node;

    shpool = (ngx_slab_pool_t *) redis->shm_zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    for (i = 0; i < NGX_HTTP_ACADEMY_REDIS_NODES; i++) {
        node = &redis->sh->nodes[i];

        if (node->pid
            && ngx_memcmp(node->node, name, NGX_HTTP_ACADEMY_NODE_LEN) == 0)
        {
            node->pid = 0;
        }
    }

    ngx_shmtx_unlock(&shpool->mutex);
}
