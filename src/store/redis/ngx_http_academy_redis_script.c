
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_sha1.h>
#include "ngx_http_academy_redis_link.h"
#include "ngx_http_academy_scripts.h"


/*
 * Scripts, and what Redis says when they fail.  Their texts are in scripts/,
 * of which config makes ngx_http_academy_scripts.h.
 */


/* "EVALSHA", its name, how many keys, what all keys begin with */

#define NGX_HTTP_ACADEMY_SCRIPT_ARGS  4

#define NGX_HTTP_ACADEMY_SHA_LEN      40


typedef struct {
    const char                   *error;
    size_t                        len;
    ngx_int_t                     rc;
    ngx_http_academy_result_e     result;
} ngx_http_academy_redis_error_t;


#define ngx_http_academy_redis_error(text, rc, result)                        \
    { text, sizeof(text) - 1, rc, result }


static ngx_str_t  ngx_http_academy_script_texts[NGX_HTTP_ACADEMY_SCRIPTS] = {
    ngx_string(NGX_HTTP_ACADEMY_LUA_CREATE),
    ngx_string(NGX_HTTP_ACADEMY_LUA_TERMINATE),
    ngx_string(NGX_HTTP_ACADEMY_LUA_CLOSE),
    ngx_string(NGX_HTTP_ACADEMY_LUA_STATUS),
    ngx_string(NGX_HTTP_ACADEMY_LUA_SHARE),
    ngx_string(NGX_HTTP_ACADEMY_LUA_UNSHARE),
    ngx_string(NGX_HTTP_ACADEMY_LUA_SHARES),
    ngx_string(NGX_HTTP_ACADEMY_LUA_HEARTBEAT),
    ngx_string(NGX_HTTP_ACADEMY_LUA_BEAT),
    ngx_string(NGX_HTTP_ACADEMY_LUA_STATS),
    ngx_string(NGX_HTTP_ACADEMY_LUA_DISCOVER),
    ngx_string(NGX_HTTP_ACADEMY_LUA_PUT),
    ngx_string(NGX_HTTP_ACADEMY_LUA_TAKE),
    ngx_string(NGX_HTTP_ACADEMY_LUA_STOP),
    ngx_string(NGX_HTTP_ACADEMY_LUA_SWEEP),
    ngx_string(NGX_HTTP_ACADEMY_LUA_SETTLE),
    ngx_string(NGX_HTTP_ACADEMY_LUA_GIVE_BACK),
    ngx_string(NGX_HTTP_ACADEMY_LUA_RESTORE),
    ngx_string(NGX_HTTP_ACADEMY_LUA_LEAVE),
    ngx_string(NGX_HTTP_ACADEMY_LUA_TICK),
    ngx_string(NGX_HTTP_ACADEMY_LUA_INDEX),
    ngx_string(NGX_HTTP_ACADEMY_LUA_REQUESTS),
    ngx_string(NGX_HTTP_ACADEMY_LUA_SURVEY),
    ngx_string(NGX_HTTP_ACADEMY_LUA_SUM),
    ngx_string(NGX_HTTP_ACADEMY_LUA_WALK),
    ngx_string(NGX_HTTP_ACADEMY_LUA_ROWS),
    ngx_string(NGX_HTTP_ACADEMY_LUA_INSPECT)
};


static const char  *ngx_http_academy_script_files[NGX_HTTP_ACADEMY_COMMANDS] = {
    "create", "terminate", "close", "status", "share", "unshare", "shares",
    "heartbeat", "beat", "stats", "discover", "put", "take", "stop", "sweep",
    "settle", "give_back", "restore", "leave", "tick", "index", "requests",
    "survey", "sum", "walk", "rows", "inspect", "scan", "client list", "info"
};


static u_char
    ngx_http_academy_script_names[NGX_HTTP_ACADEMY_SCRIPTS]
                                 [NGX_HTTP_ACADEMY_SHA_LEN];


/* any other one means that there is something wrong with the command */

static ngx_http_academy_redis_error_t  ngx_http_academy_redis_errors[] = {
    ngx_http_academy_redis_error("-NOSCRIPT ", NGX_AGAIN,
                                 NGX_HTTP_ACADEMY_UNAVAILABLE),
    ngx_http_academy_redis_error("-OOM ", NGX_OK, NGX_HTTP_ACADEMY_FULL),
    ngx_http_academy_redis_error("-READONLY ", NGX_DECLINED,
                                 NGX_HTTP_ACADEMY_UNAVAILABLE),
    ngx_http_academy_redis_error("-LOADING ", NGX_DECLINED,
                                 NGX_HTTP_ACADEMY_UNAVAILABLE),
    ngx_http_academy_redis_error("-MASTERDOWN ", NGX_DECLINED,
                                 NGX_HTTP_ACADEMY_UNAVAILABLE),
    ngx_http_academy_redis_error("-MISCONF ", NGX_DECLINED,
                                 NGX_HTTP_ACADEMY_UNAVAILABLE),
    ngx_http_academy_redis_error("-NOREPLICAS ", NGX_DECLINED,
                                 NGX_HTTP_ACADEMY_UNAVAILABLE),
    ngx_http_academy_redis_error("-NOAUTH ", NGX_DECLINED,
                                 NGX_HTTP_ACADEMY_UNAVAILABLE),
    ngx_http_academy_redis_error("-BUSY ", NGX_OK,
                                 NGX_HTTP_ACADEMY_UNAVAILABLE),
    { NULL, 0, NGX_OK, NGX_HTTP_ACADEMY_UNAVAILABLE }
};


static u_char *ngx_http_academy_redis_script_arg(u_char *p, ngx_str_t *arg);
static u_char *ngx_http_academy_redis_script_number(u_char *p, u_char kind,
    size_t n);
static ngx_http_academy_redis_error_t *ngx_http_academy_redis_find_error(
    redisReply *reply);
static void ngx_http_academy_redis_say_error(
    ngx_http_academy_redis_command_t *command, redisReply *reply);


void
ngx_http_academy_redis_script_init(void)
{
    u_char      digest[20];
    ngx_sha1_t  sha1;
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_ACADEMY_SCRIPTS; i++) {
        ngx_sha1_init(&sha1);
        ngx_sha1_update(&sha1, ngx_http_academy_script_texts[i].data,
                        ngx_http_academy_script_texts[i].len);
        ngx_sha1_final(digest, &sha1);

        ngx_hex_dump(ngx_http_academy_script_names[i], digest, 20);
    }
}


ngx_str_t *
ngx_http_academy_redis_script_text(ngx_uint_t script)
{
    return &ngx_http_academy_script_texts[script];
}


ngx_int_t
ngx_http_academy_redis_script_format(ngx_http_academy_redis_command_t *command,
    ngx_str_t *args, ngx_uint_t n)
{
    u_char     *p;
    size_t      size;
    ngx_str_t   arg;
    ngx_uint_t  i;

    size = (n + NGX_HTTP_ACADEMY_SCRIPT_ARGS + 1)
           * (sizeof("$" CRLF CRLF) - 1 + NGX_SIZE_T_LEN)
           + sizeof("EVALSHA0") - 1 + NGX_HTTP_ACADEMY_SHA_LEN
           + command->redis->prefix.len;

    for (i = 0; i < n; i++) {
        size += args[i].len;
    }

    p = ngx_alloc(size, ngx_cycle->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    command->text = (char *) p;

    p = ngx_http_academy_redis_script_number(p, '*',
                                          n + NGX_HTTP_ACADEMY_SCRIPT_ARGS);

    ngx_str_set(&arg, "EVALSHA");
    p = ngx_http_academy_redis_script_arg(p, &arg);

    arg.data = ngx_http_academy_script_names[command->script];
    arg.len = NGX_HTTP_ACADEMY_SHA_LEN;
    p = ngx_http_academy_redis_script_arg(p, &arg);

    ngx_str_set(&arg, "0");
    p = ngx_http_academy_redis_script_arg(p, &arg);

    p = ngx_http_academy_redis_script_arg(p, &command->redis->prefix);

    for (i = 0; i < n; i++) {
        p = ngx_http_academy_redis_script_arg(p, &args[i]);
    }

    command->len = p - (u_char *) command->text;

    return NGX_OK;
}


static u_char *
ngx_http_academy_redis_script_arg(u_char *p, ngx_str_t *arg)
{
    p = ngx_http_academy_redis_script_number(p, '$', arg->len);

    if (arg->len) {
        p = ngx_cpymem(p, arg->data, arg->len);
    }

    *p++ = CR;
    *p++ = LF;

    return p;
}


static u_char *
ngx_http_academy_redis_script_number(u_char *p, u_char kind, size_t n)
{
    u_char  *last, text[NGX_SIZE_T_LEN];

    last = text + NGX_SIZE_T_LEN;

    *p++ = kind;

    do {
        *--last = (u_char) ('0' + n % 10);
        n /= 10;
    } while (n);

    p = ngx_cpymem(p, last, text + NGX_SIZE_T_LEN - last);
    *p++ = CR;
    *p++ = LF;

    return p;
}


/* Redis 6 has an error of a command within the text of the script's */

static ngx_http_academy_redis_error_t *
ngx_http_academy_redis_find_error(redisReply *reply)
{
    ngx_http_academy_redis_error_t  *error;

    for (error = ngx_http_academy_redis_errors; error->error; error++) {
        if (ngx_strncmp(reply->str, error->error + 1, error->len - 1) == 0
            || ngx_strstr(reply->str, error->error))
        {
            break;
        }
    }

    return error;
}


char *
ngx_http_academy_redis_script_error(redisReply *reply)
{
    char  *p;

    p = strstr(reply->str, ", with args beginning");

    if (p) {
        *p = '\0';
    }

    return reply->str;
}


/* each once, not for every request that meets it */

static void
ngx_http_academy_redis_say_error(ngx_http_academy_redis_command_t *command,
    redisReply *reply)
{
    char                           *text;
    uint32_t                        hash;
    ngx_http_academy_redis_link_t  *link;

    text = ngx_http_academy_redis_script_error(reply);
    hash = ngx_crc32_short((u_char *) text, ngx_strlen(text));

    link = command->redis->link;

    if (link->errors[command->script] == hash) {
        return;
    }

    link->errors[command->script] = hash;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "redis \"%V\" refused \"%s\": %s",
                  &command->redis->exchange.name,
                  ngx_http_academy_script_files[command->script],
                  text);
}


ngx_uint_t
ngx_http_academy_redis_script_away(redisReply *reply)
{
    return ngx_http_academy_redis_find_error(reply)->rc == NGX_DECLINED;
}


ngx_int_t
ngx_http_academy_redis_script_answer(ngx_http_academy_redis_command_t *command,
    redisReply *reply, ngx_http_academy_redis_answer_t *answer)
{
    long long                        code;
    ngx_http_academy_redis_error_t  *error;

    answer->reply = NULL;

    if (reply->type == REDIS_REPLY_ERROR) {
        error = ngx_http_academy_redis_find_error(reply);
        answer->result = error->result;

        if (error->error == NULL) {
            ngx_http_academy_redis_say_error(command, reply);
        }

        return error->rc;
    }

    if (command->script >= NGX_HTTP_ACADEMY_SCRIPTS) {
        answer->result = NGX_HTTP_ACADEMY_OK;
        answer->reply = reply;
        return NGX_OK;
    }

    code = -1;

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements
        && reply->element[0]->type == REDIS_REPLY_INTEGER)
    {
        code = reply->element[0]->integer;
    }

    if (code < 0 || code >= NGX_HTTP_ACADEMY_CLOSING) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "redis \"%V\" answered \"%s\" with something else",
                      &command->redis->exchange.name,
                      ngx_http_academy_script_files[command->script]);

        answer->result = NGX_HTTP_ACADEMY_UNAVAILABLE;
        return NGX_OK;
    }

    answer->result = (ngx_http_academy_result_e) code;
    answer->reply = reply;

    return NGX_OK;
}
