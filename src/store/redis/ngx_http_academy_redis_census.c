
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
 * Redis goes through all connections to list them.  That is asked for when
 * there are new ones, and now and then, as one may have gone to this database.
 *
 * Whoever cannot be known to be alone is not.  Redis may be too busy to answer,
 * however, and is not to be given more to do for that.
 */


/* milliseconds: others may come again, and need not be looked for meanwhile */

#define NGX_HTTP_ACADEMY_REDIS_STAYS     3600000
#define NGX_HTTP_ACADEMY_REDIS_KNOWN     60000

/* milliseconds until the next list; times that the last one took, if more */

#define NGX_HTTP_ACADEMY_REDIS_LISTED    5000
#define NGX_HTTP_ACADEMY_REDIS_REST      20

/* looks in a row that may see somebody who has not said yet who it is */

#define NGX_HTTP_ACADEMY_REDIS_YOUNG     3

/* looks in a row that fail: more than a moment */

#define NGX_HTTP_ACADEMY_REDIS_FAILED    5


static ngx_int_t ngx_http_academy_redis_census_info(
    ngx_http_academy_redis_t *redis, ngx_http_academy_redis_answer_pt handler);
static void ngx_http_academy_redis_census_glance(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_census_look(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_census_list(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer);
static ngx_uint_t ngx_http_academy_redis_census_young(ngx_str_t *line);
static ngx_uint_t ngx_http_academy_redis_census_other(
    ngx_http_academy_redis_t *redis, ngx_str_t *line);
static ngx_uint_t ngx_http_academy_redis_census_sentinel(ngx_str_t *name);
static void ngx_http_academy_redis_census_who(
    ngx_http_academy_redis_census_t *census, ngx_str_t *line);
static ngx_uint_t ngx_http_academy_redis_census_field(ngx_str_t *line,
    char *name, ngx_str_t *value);
static void ngx_http_academy_redis_census_counted(
    ngx_http_academy_redis_t *redis, void *data,
    ngx_http_academy_redis_answer_t *answer);
static void ngx_http_academy_redis_census_fail(ngx_http_academy_redis_t *redis);
static void ngx_http_academy_redis_census_end(ngx_http_academy_redis_t *redis);
static ngx_int_t ngx_http_academy_redis_census_ever(
    ngx_http_academy_redis_t *redis, ngx_http_academy_redis_answer_t *answer,
    ngx_int_t *ever);


void
ngx_http_academy_redis_census_begin(ngx_http_academy_redis_t *redis)
{
    redis->census.newest = 0;
    redis->census.young = 0;
    redis->census.failed = 0;
    redis->census.took = 0;
    redis->census.known = 0;
    redis->census.seen = 0;
}


void
ngx_http_academy_redis_census(ngx_http_academy_redis_t *redis)
{
    ngx_msec_t                        passed;
    ngx_http_academy_redis_census_t  *census;

    census = &redis->census;

    if (census->asking
        || (census->seen && ngx_current_msec - census->seen
                            < NGX_HTTP_ACADEMY_REDIS_KNOWN))
    {
        return;
    }

    passed = ngx_current_msec - census->asked;

    if (!census->known || passed >= NGX_HTTP_ACADEMY_REDIS_LISTED) {
        ngx_http_academy_redis_census_look(redis);
        return;
    }

    census->asking = (ngx_http_academy_redis_census_info(redis,
                                          ngx_http_academy_redis_census_glance)
                      == NGX_OK);
}


static ngx_int_t
ngx_http_academy_redis_census_info(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_answer_pt handler)
{
    return ngx_http_academy_redis_plain(redis, NGX_HTTP_ACADEMY_COMMAND_INFO,
                                        handler, NULL, "INFO stats");
}


/* without a new connection all is as it was */

static void
ngx_http_academy_redis_census_glance(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_int_t                         ever;
    ngx_http_academy_redis_census_t  *census;

    census = &redis->census;

    if (ngx_http_academy_redis_census_ever(redis, answer, &ever) != NGX_OK) {
        return;
    }

    if (ever == NGX_ERROR) {
        ngx_http_academy_redis_census_fail(redis);
        return;
    }

    if (census->known && ever == census->ever) {
        census->failed = 0;

        ngx_http_academy_redis_census_end(redis);
        return;
    }

    ngx_http_academy_redis_census_look(redis);
}


static void
ngx_http_academy_redis_census_look(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_census_t  *census;

    census = &redis->census;

    if (census->known && ngx_current_msec - census->asked
                         < NGX_HTTP_ACADEMY_REDIS_REST * census->took)
    {
        return;
    }

    census->listed = 0;
    census->asked = ngx_current_msec;

    if (ngx_http_academy_redis_plain(redis, NGX_HTTP_ACADEMY_COMMAND_CLIENTS,
                                     ngx_http_academy_redis_census_list, NULL,
                                     "CLIENT LIST")
        != NGX_OK)
    {
        return;
    }

    /* behind the list, so that one who comes in between is not of ours */

    census->asking = (ngx_http_academy_redis_census_info(redis,
                                         ngx_http_academy_redis_census_counted)
                      == NGX_OK);
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

    if (answer->reply == NULL || answer->reply->type != REDIS_REPLY_STRING) {
        return;
    }

    ngx_time_update();

    census->took = ngx_current_msec - census->asked;
    census->took = ngx_min(census->took, NGX_HTTP_ACADEMY_REDIS_LISTED
                                         / NGX_HTTP_ACADEMY_REDIS_REST);
    census->listed = 1;
    census->others = 0;
    census->ours = 0;
    census->next = census->newest;

    ngx_str_set(&census->who, "somebody who is gone");

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

        /* a node says at once who it is, and all say which database: then */

        if (ngx_http_academy_redis_census_young(&line)) {
            young = 1;
            continue;
        }

        if (ngx_http_academy_redis_census_other(redis, &line)
            || !ngx_http_academy_redis_census_field(&line, "id=", &value))
        {
            if (!census->others) {
                ngx_http_academy_redis_census_who(census, &line);
            }

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


static ngx_uint_t
ngx_http_academy_redis_census_young(ngx_str_t *line)
{
    return ngx_strnstr(line->data, " name= ", line->len)
           && ngx_strnstr(line->data, " age=0 ", line->len);
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


/* Redis lets no blank and no control character into a name */

static void
ngx_http_academy_redis_census_who(ngx_http_academy_redis_census_t *census,
    ngx_str_t *line)
{
    ngx_str_t  addr, name;

    ngx_str_null(&addr);
    ngx_str_null(&name);

    (void) ngx_http_academy_redis_census_field(line, " addr=", &addr);
    (void) ngx_http_academy_redis_census_field(line, " name=", &name);

    census->who.data = census->text;
    census->who.len = ngx_snprintf(census->text, NGX_HTTP_ACADEMY_REDIS_WHO,
                                   "\"%V\" at %V", &name, &addr)
                      - census->text;
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


/* how many there ever were, with those of the list */

static void
ngx_http_academy_redis_census_counted(ngx_http_academy_redis_t *redis,
    void *data, ngx_http_academy_redis_answer_t *answer)
{
    ngx_int_t                         ever;
    ngx_http_academy_redis_census_t  *census;

    census = &redis->census;

    if (ngx_http_academy_redis_census_ever(redis, answer, &ever) != NGX_OK) {
        return;
    }

    if (!census->listed || (ever == NGX_ERROR && !census->others)) {
        ngx_http_academy_redis_census_fail(redis);
        return;
    }

    census->failed = 0;

    /* the next look sees who that is */

    if (!census->others && census->young
        && census->young <= NGX_HTTP_ACADEMY_REDIS_YOUNG)
    {
        return;
    }

    /* fewer than before: somebody has reset what Redis counts */

    if (census->young
        || ever == NGX_ERROR
        || (census->known && (ever < census->ever
                              || ever - census->ever > census->ours)))
    {
        census->others = 1;
    }

    census->known = (ever != NGX_ERROR);
    census->ever = ever;
    census->newest = census->next;

    ngx_http_academy_redis_census_end(redis);
}


/* it may be busy for a moment, or not tell this user */

static void
ngx_http_academy_redis_census_fail(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_census_t  *census;

    census = &redis->census;

    if (++census->failed < NGX_HTTP_ACADEMY_REDIS_FAILED) {
        return;
    }

    ngx_str_set(&census->who, "it does not say who is");

    census->others = 1;
    census->known = 0;

    ngx_http_academy_redis_census_end(redis);
}


static void
ngx_http_academy_redis_census_end(ngx_http_academy_redis_t *redis)
{
    ngx_http_academy_redis_census_t  *census;

    census = &redis->census;

    if (census->others) {
        census->seen = ngx_max(ngx_current_msec, 1);
    }

    ngx_http_academy_redis_keeper_company(redis,
                   census->seen && ngx_current_msec - census->seen
                                   < NGX_HTTP_ACADEMY_REDIS_STAYS);
}


/*
 * Of INFO's answer; NGX_ERROR where it does not say.  NGX_DECLINED: the
 * connection is lost.
 */

static ngx_int_t
ngx_http_academy_redis_census_ever(ngx_http_academy_redis_t *redis,
    ngx_http_academy_redis_answer_t *answer, ngx_int_t *ever)
{
    ngx_str_t  text, value;

    redis->census.asking = 0;

    if (!ngx_http_academy_redis_commands_up(redis)) {
        return NGX_DECLINED;
    }

    *ever = NGX_ERROR;

    if (answer->reply && answer->reply->type == REDIS_REPLY_STRING) {
        text.data = (u_char *) answer->reply->str;
        text.len = answer->reply->len;

        if (ngx_http_academy_redis_census_field(&text,
                                                "total_connections_received:",
                                                &value))
        {
            *ever = ngx_atoi(value.data, value.len);
        }
    }

    return NGX_OK;
}
