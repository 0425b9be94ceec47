
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_academy_redis_call.h"


/*
 * Who else is connected to a Redis.
 *
 * What nodes do to keys they do to the indexes as well.  Only what others do, a
 * Python exchange or somebody at a prompt, has to be looked for, by events that
 * come with each message and cost more than a part of it.  So once a second
 * the leader looks who is connected.  The connections of nodes have a name.
 * Who came and went between two looks is known from the number of connections
 * that there ever were: they have ids, in the order in which they came.
 *
 * Whoever cannot be known to be alone is not.
 */


/* milliseconds: others may come again, and need not be looked for meanwhile */

#define NGX_HTTP_ACADEMY_REDIS_STAYS     3600000
#define NGX_HTTP_ACADEMY_REDIS_KNOWN     60000

/* looks in a row that may see somebody who has not said yet who it is */

#define NGX_HTTP_ACADEMY_REDIS_YOUNG     3


static void ngx_http_academy_redis_census_list(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);
static ngx_uint_t ngx_http_academy_redis_census_other(
    ngx_http_academy_redis_t *redis, ngx_str_t *line);
static ngx_uint_t ngx_http_academy_redis_census_sentinel(ngx_str_t *name);
static ngx_uint_t ngx_http_academy_redis_census_field(ngx_str_t *line,
    char *name, ngx_str_t *value);
static void ngx_http_academy_redis_census_info(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);


void
ngx_http_academy_redis_census_begin(ngx_http_academy_redis_t *redis)
{
    redis->census.newest = 0;
    redis->census.young = 0;
    redis->census.known = 0;
    redis->census.seen = 0;
}


void
ngx_http_academy_redis_census(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_census_t  *census;

    census = &redis->census;

    if (census->asking
        || (census->seen && ngx_current_msec - census->seen
                            < NGX_HTTP_ACADEMY_REDIS_KNOWN))
    {
        return;
    }

    census->others = 1;

    if (ngx_http_academy_redis_plain(redis, NGX_HTTP_ACADEMY_COMMAND_CLIENTS,
                                     ngx_http_academy_redis_census_list, NULL,
                                     "CLIENT LIST")
        != NGX_OK)
    {
        return;
    }

    census->asking = 1;

    /* behind the list, so that one who comes in between is not of ours */

    if (ngx_http_academy_redis_plain(redis, NGX_HTTP_ACADEMY_COMMAND_INFO,
                                     ngx_http_academy_redis_census_info, NULL,
                                     "INFO stats")
        != NGX_OK)
    {
        census->asking = 0;
    }
}


/* one line for each of them: "id=3 addr=... name=... db=0 ..." */

static void
ngx_http_academy_redis_census_list(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
{
    u_char                           *p, *last;
    ngx_int_t                         id;
    ngx_str_t                         line, value;
    ngx_uint_t                        young;
    ngx_http_academy_redis_census_t  *census;

    census = &redis->census;

    census->ours = 0;
    census->next = census->newest;

    if (answer->reply == NULL || answer->reply->type != REDIS_REPLY_STRING) {
        return;
    }

    census->others = 0;
    young = 0;

    p = (u_char *) answer->reply->str;
    last = p + answer->reply->len;

    for ( /* void */ ; p < last; p = line.data + line.len + 1) {

        line.data = p;
        p = ngx_strlchr(p, last, LF);
        line.len = (p ? p : last) - line.data;

        if (line.len == 0) {
            continue;
        }

        if (ngx_http_academy_redis_census_other(redis, &line)) {

            /* a node says at once who it is: a moment later */

            if (ngx_strnstr(line.data, " name= ", line.len)
                && ngx_strnstr(line.data, " age=0 ", line.len))
            {
                young = 1;

            } else {
                census->others = 1;
            }

            continue;
        }

        if (!ngx_http_academy_redis_census_field(&line, "id=", &value)) {
            census->others = 1;
            continue;
        }

        id = ngx_atoi(value.data, value.len);

        if (id > census->newest) {
            census->ours++;
            census->next = ngx_max(census->next, id);
        }
    }

    census->young = young ? census->young + 1 : 0;
}


/* replicas and sentinels change nothing, who uses another database neither */

static ngx_uint_t
ngx_http_academy_redis_census_other(ngx_http_academy_redis_t *redis,
    ngx_str_t *line)
{
    ngx_str_t  value;

    if (!ngx_http_academy_redis_census_field(line, " name=", &value)) {
        return 1;
    }

    if (value.len == sizeof(NGX_HTTP_ACADEMY_REDIS_CLIENT) - 1
        && ngx_strncmp(value.data, NGX_HTTP_ACADEMY_REDIS_CLIENT, value.len)
           == 0)
    {
        return 0;
    }

    if (ngx_http_academy_redis_census_sentinel(&value)) {
        return 0;
    }

    if (ngx_http_academy_redis_census_field(line, " flags=", &value)
        && (ngx_strlchr(value.data, value.data + value.len, 'S')
            || ngx_strlchr(value.data, value.data + value.len, 'M')))
    {
        return 0;
    }

    if (ngx_http_academy_redis_census_field(line, " db=", &value)) {
        return ngx_atoi(value.data, value.len) == (ngx_int_t) redis->db;
    }

    return 1;
}


/* "sentinel-", eight digits of its id, and "-cmd" or "-pubsub" */

static ngx_uint_t
ngx_http_academy_redis_census_sentinel(ngx_str_t *name)
{
    size_t      len;
    u_char     *p;
    ngx_str_t   rest;

    len = sizeof("sentinel-") - 1;

    if (name->len < len + 8 || ngx_strncmp(name->data, "sentinel-", len) != 0) {
        return 0;
    }

    for (p = name->data + len; p < name->data + len + 8; p++) {
        if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'))) {
            return 0;
        }
    }

    rest.data = p;
    rest.len = name->len - len - 8;

    return (rest.len == sizeof("-cmd") - 1
            && ngx_strncmp(rest.data, "-cmd", rest.len) == 0)
           || (rest.len == sizeof("-pubsub") - 1
               && ngx_strncmp(rest.data, "-pubsub", rest.len) == 0);
}


/* up to a blank, or the end of a line */

static ngx_uint_t
ngx_http_academy_redis_census_field(ngx_str_t *line, char *name,
    ngx_str_t *value)
{
    u_char  *p, *last;

    last = line->data + line->len;

    p = ngx_strnstr(line->data, name, line->len);
    if (p == NULL) {
        return 0;
    }

    value->data = p + ngx_strlen(name);

    for (p = value->data; p < last && *p > ' '; p++) { /* void */ }

    value->len = p - value->data;

    return 1;
}


static void
ngx_http_academy_redis_census_info(ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer)
{
    ngx_int_t                         ever;
    ngx_str_t                         text, value;
    ngx_http_academy_redis_census_t  *census;

    census = &redis->census;
    census->asking = 0;

    ever = NGX_ERROR;

    if (answer->reply && answer->reply->type == REDIS_REPLY_STRING) {
        text.data = (u_char *) answer->reply->str;
        text.len = answer->reply->len;

        if (ngx_http_academy_redis_census_field(&text,
                                                "total_connections_received:",
                                                &value))
        {
            ever = ngx_atoi(value.data, value.len);
        }
    }

    /* the next look sees who that is */

    if (ever != NGX_ERROR && !census->others && census->young
        && census->young <= NGX_HTTP_ACADEMY_REDIS_YOUNG)
    {
        return;
    }

    /* fewer than before: somebody has reset what Redis counts */

    if (ever == NGX_ERROR || census->young
        || (census->known && (ever < census->ever
                              || ever - census->ever > census->ours)))
    {
        census->others = 1;
    }

    census->known = (ever != NGX_ERROR);
    census->ever = ever;
    census->newest = census->next;

    if (census->others) {
        census->seen = ngx_max(ngx_current_msec, 1);
    }

    ngx_http_academy_redis_keeper_company(redis,
                   census->seen && ngx_current_msec - census->seen
                                   < NGX_HTTP_ACADEMY_REDIS_STAYS);
}
