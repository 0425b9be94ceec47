
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_redis_walk.h"


/*
 * A page of a table of mailboxes, which are in lists by state and role, in the
 * order of their ids.  All of a list is looked at unless that is in order
 * already.  Listings of a process come one after the other.
 */


/* mailboxes of a script, which has a bound of its own */

#define NGX_HTTP_ACADEMY_REDIS_WALK       "64"
#define NGX_HTTP_ACADEMY_REDIS_ROWS       20

/* lists: active agents, active users, terminated agents, terminated users */

#define NGX_HTTP_ACADEMY_REDIS_LISTS      4


static void ngx_http_academy_redis_list_begin(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_list_counted(
    ngx_http_academy_redis_walk_t *walk, redisReply *reply);
static ngx_uint_t ngx_http_academy_redis_list_wanted(
    ngx_http_academy_listing_t *listing, ngx_uint_t list);
static void ngx_http_academy_redis_list_walk(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_list_walked(
    ngx_http_academy_redis_walk_t *walk, redisReply *reply);
static void ngx_http_academy_redis_list_found(
    ngx_http_academy_redis_walk_t *walk, redisReply *uid, redisReply *place);
static void ngx_http_academy_redis_list_key(ngx_http_academy_row_key_t *key,
    redisReply *place, ngx_http_academy_order_e order);
static void ngx_http_academy_redis_list_rows(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_list_filled(
    ngx_http_academy_redis_walk_t *walk, redisReply *reply);


static char  *ngx_http_academy_redis_orders[] = {
    "id", "name", "class", "queued", "oldest", "heartbeat", "in_progress",
    "completed"
};


ngx_int_t
ngx_http_academy_redis_list(ngx_http_academy_call_t *call)
{
    ngx_uint_t                      first;
    ngx_http_academy_redis_t       *redis;
    ngx_http_academy_listing_t     *listing;
    ngx_http_academy_redis_walk_t  *walk;

    listing = call->in.listing;
    listing->n = 0;
    listing->total = 0;

    redis = ngx_http_academy_redis_of(call->exchange);

    if (ngx_http_academy_redis_away(redis)) {
        return ngx_http_academy_redis_call_end(call,
                                               NGX_HTTP_ACADEMY_UNAVAILABLE);
    }

    walk = ngx_http_academy_redis_walk(call);
    if (walk == NULL) {
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    walk->step = ngx_http_academy_redis_list_begin;
    walk->in_order = (listing->order == NGX_HTTP_ACADEMY_BY_ID
                      && listing->search.len == 0 && call->admin);

    first = ngx_queue_empty(&redis->walks);
    ngx_queue_insert_tail(&redis->walks, &walk->queue);
    walk->lists = 1;

    if (first) {
        ngx_add_timer(&walk->event, 0);
    }

    return NGX_AGAIN;
}


static void
ngx_http_academy_redis_list_begin(ngx_http_academy_redis_walk_t *walk)
{
    if (ngx_http_academy_listing_rows(walk->call->in.listing, walk->call->pool)
        != NGX_OK)
    {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_FULL);
        return;
    }

    if (walk->in_order) {
        ngx_http_academy_redis_walk_ask(walk, NGX_HTTP_ACADEMY_SCRIPT_SURVEY,
                                        NULL, 0,
                                        ngx_http_academy_redis_list_counted);
        return;
    }

    walk->step = ngx_http_academy_redis_list_walk;
    ngx_http_academy_redis_list_walk(walk);
}


static void
ngx_http_academy_redis_list_counted(ngx_http_academy_redis_walk_t *walk,
    redisReply *reply)
{
    ngx_uint_t                   i;
    ngx_http_academy_listing_t  *listing;

    listing = walk->call->in.listing;

    for (i = 0; i < NGX_HTTP_ACADEMY_REDIS_LISTS; i++) {
        if (ngx_http_academy_redis_list_wanted(listing, i)) {
            listing->total += ngx_http_academy_redis_integer(reply, i + 1);
        }
    }

    walk->step = ngx_http_academy_redis_list_walk;
    ngx_http_academy_redis_list_walk(walk);
}


static ngx_uint_t
ngx_http_academy_redis_list_wanted(ngx_http_academy_listing_t *listing,
    ngx_uint_t list)
{
    return ((list & 2) ? listing->terminated : listing->active)
           && ((list & 1) ? listing->users : listing->agents);
}


static void
ngx_http_academy_redis_list_walk(ngx_http_academy_redis_walk_t *walk)
{
    ngx_http_academy_call_t        *call;
    ngx_http_academy_listing_t     *listing;
    ngx_http_academy_redis_args_t   args;

    static ngx_str_t  active = ngx_string("active");
    static ngx_str_t  terminated = ngx_string("terminated");
    static ngx_str_t  agent = ngx_string("agent");
    static ngx_str_t  user = ngx_string("user");
    static ngx_str_t  size = ngx_string(NGX_HTTP_ACADEMY_REDIS_WALK);

    call = walk->call;
    listing = call->in.listing;

    while (walk->list < NGX_HTTP_ACADEMY_REDIS_LISTS
           && !ngx_http_academy_redis_list_wanted(listing, walk->list))
    {
        walk->list++;
    }

    if (walk->list == NGX_HTTP_ACADEMY_REDIS_LISTS) {
        walk->step = ngx_http_academy_redis_list_rows;
        ngx_http_academy_redis_list_rows(walk);
        return;
    }

    if (walk->in_order && listing->paged && walk->len == 0 && walk->got == 0) {
        (void) ngx_http_academy_uuid_print(walk->after, listing->after.id);
        walk->len = NGX_HTTP_ACADEMY_UUID_LEN;
    }

    args.n = 0;

    ngx_http_academy_redis_arg_str(&args,
                                   (walk->list & 2) ? &terminated : &active);
    ngx_http_academy_redis_arg_str(&args, (walk->list & 1) ? &user : &agent);
    ngx_http_academy_redis_arg_data(&args, walk->after, walk->len);
    ngx_http_academy_redis_arg_str(&args, &size);
    ngx_http_academy_redis_arg_data(&args,
              (u_char *) ngx_http_academy_redis_orders[listing->order],
              ngx_strlen(ngx_http_academy_redis_orders[listing->order]));
    ngx_http_academy_redis_arg_number(&args,
                                      walk->in_order && listing->reverse);

    if (ngx_http_academy_redis_arg_caller(&args, call->caller) != NGX_OK) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_FULL);
        return;
    }

    ngx_http_academy_redis_arg_number(&args, call->admin);
    ngx_http_academy_redis_arg_str(&args, &listing->search);

    ngx_http_academy_redis_walk_ask(walk, NGX_HTTP_ACADEMY_SCRIPT_WALK,
                                    args.args, args.n,
                                    ngx_http_academy_redis_list_walked);
}


static void
ngx_http_academy_redis_list_walked(ngx_http_academy_redis_walk_t *walk,
    redisReply *reply)
{
    ngx_uint_t   i, more;

    for (i = 2; i + 1 < reply->elements; i += 2) {
        ngx_http_academy_redis_list_found(walk,
                                  ngx_http_academy_redis_string(reply, i),
                                  reply->element[i + 1]);
    }

    more = ngx_http_academy_redis_walk_after(walk, reply);

    if (walk->in_order && walk->got >= walk->call->in.listing->limit) {
        more = 0;
    }

    if (!more) {
        walk->list++;
        walk->len = 0;
        walk->got = 0;
    }

    ngx_http_academy_redis_walk_next(walk);
}


static void
ngx_http_academy_redis_list_found(ngx_http_academy_redis_walk_t *walk,
    redisReply *uid, redisReply *place)
{
    ngx_http_academy_id_t        id;
    ngx_http_academy_listed_t   *row;
    ngx_http_academy_listing_t  *listing;
    ngx_http_academy_row_key_t   key;

    if (uid == NULL
        || ngx_http_academy_uuid_parse((u_char *) uid->str, uid->len, id.uid)
           != NGX_OK)
    {
        return;
    }

    id.role = (walk->list & 1) ? NGX_HTTP_ACADEMY_USER
                               : NGX_HTTP_ACADEMY_AGENT;

    listing = walk->call->in.listing;
    listing->total += !walk->in_order;
    walk->got++;

    ngx_http_academy_redis_list_key(&key, place, listing->order);

    ngx_memcpy(key.id, id.uid, 16);
    key.id[16] = id.role;

    row = ngx_http_academy_listing_place(listing, &key);

    if (row) {
        row->id = id;
        row->terminated = (walk->list & 2) != 0;
    }
}


/* smaller ones come first: what is large, or has waited for long */

static void
ngx_http_academy_redis_list_key(ngx_http_academy_row_key_t *key,
    redisReply *place, ngx_http_academy_order_e order)
{
    u_char  *text;
    size_t   len;

    ngx_memzero(key, sizeof(ngx_http_academy_row_key_t));

    if (place->type == REDIS_REPLY_STRING) {
        text = (u_char *) place->str;
        len = place->len;

        if (order == NGX_HTTP_ACADEMY_BY_NAME && len >= 2) {
            text++;
            len -= 2;
        }

        key->number = (place->len == 0);
        ngx_http_academy_row_key_text(key, text, len);
        return;
    }

    if (place->type != REDIS_REPLY_INTEGER) {
        return;
    }

    switch (order) {

    case NGX_HTTP_ACADEMY_BY_QUEUED:
    case NGX_HTTP_ACADEMY_BY_PROGRESS:
    case NGX_HTTP_ACADEMY_BY_COMPLETED:
        key->number = ~ (uint64_t) place->integer;
        return;

    default: /* -1: none is the last one */
        key->number = (uint64_t) place->integer;
    }
}


static void
ngx_http_academy_redis_list_rows(ngx_http_academy_redis_walk_t *walk)
{
    u_char                       text[NGX_HTTP_ACADEMY_REDIS_ROWS]
                                     [NGX_HTTP_ACADEMY_UUID_LEN];
    u_char                       expiry[NGX_TIME_T_LEN];
    ngx_str_t                    args[NGX_HTTP_ACADEMY_REDIS_ROWS + 1];
    ngx_uint_t                   i, n;
    ngx_http_academy_listing_t  *listing;

    listing = walk->call->in.listing;

    n = ngx_min(listing->n - walk->rows, NGX_HTTP_ACADEMY_REDIS_ROWS);

    if (n == 0) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_OK);
        return;
    }

    args[0].data = expiry;
    args[0].len = ngx_sprintf(expiry, "%T",
                              walk->redis->exchange.expiry->messages)
                  - expiry;

    for (i = 0; i < n; i++) {
        (void) ngx_http_academy_uuid_print(text[i],
                                     listing->rows[walk->rows + i]->id.uid);
        args[i + 1].data = text[i];
        args[i + 1].len = NGX_HTTP_ACADEMY_UUID_LEN;
    }

    ngx_http_academy_redis_walk_ask(walk, NGX_HTTP_ACADEMY_SCRIPT_ROWS, args,
                                    n + 1, ngx_http_academy_redis_list_filled);
}


static void
ngx_http_academy_redis_list_filled(ngx_http_academy_redis_walk_t *walk,
    redisReply *reply)
{
    ngx_uint_t                   i;
    ngx_http_academy_listing_t  *listing;

    listing = walk->call->in.listing;

    for (i = 1; i < reply->elements && walk->rows < listing->n; i++) {
        ngx_http_academy_redis_row(listing->rows[walk->rows++],
                                   ngx_http_academy_redis_array(reply, i),
                                   walk->call);
    }

    if (i == 1) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_UNAVAILABLE);
        return;
    }

    ngx_http_academy_redis_walk_next(walk);
}


void
ngx_http_academy_redis_row(ngx_http_academy_listed_t *row, redisReply *reply,
    ngx_http_academy_call_t *call)
{
    u_char      *p, *last;
    ngx_int_t    n;
    redisReply  *owner, *class, *name, *held;

    owner = ngx_http_academy_redis_string(reply, 1);
    class = ngx_http_academy_redis_string(reply, 2);
    name = ngx_http_academy_redis_string(reply, 3);
    held = ngx_http_academy_redis_string(reply, 11);

    row->name.len = 0;
    row->class.len = 0;
    row->owner.len = 0;
    row->owned = 0;

    /* a text of JSON is not to be cut */

    if (name && name->len < sizeof(row->name.data)) {
        ngx_http_academy_row_text(&row->name, (u_char *) name->str, name->len);
    }

    if (class) {
        ngx_http_academy_row_text(&row->class, (u_char *) class->str,
                                  class->len);
    }

    if (owner && owner->len) {
        ngx_http_academy_row_text(&row->owner, (u_char *) owner->str,
                                  owner->len - 1);

        row->owned = (owner->len - 1 == call->caller->id.len
                      && ngx_memcmp(owner->str, call->caller->id.data,
                                    owner->len - 1)
                         == 0);
    }

    row->queued = ngx_http_academy_redis_integer(reply, 4);
    row->pending = ngx_http_academy_redis_integer(reply, 5);
    row->completed = ngx_http_academy_redis_integer(reply, 6);
    row->outgoing = ngx_http_academy_redis_integer(reply, 7);
    row->shares = ngx_http_academy_redis_integer(reply, 8);
    row->heartbeat = ngx_http_academy_redis_integer(reply, 9);
    row->oldest = ngx_http_academy_redis_integer(reply, 10);

    row->kept = NGX_HTTP_ACADEMY_UNKNOWN;
    row->waiters = NGX_HTTP_ACADEMY_UNKNOWN;
    row->leased = NGX_HTTP_ACADEMY_UNKNOWN;
    row->bytes = NGX_HTTP_ACADEMY_UNKNOWN;

    if (held == NULL || held->len == 0) {
        return;
    }

    last = (u_char *) held->str + held->len;
    p = ngx_strlchr((u_char *) held->str, last, ' ');

    if (p) {
        n = ngx_atoi((u_char *) held->str, p - (u_char *) held->str);
        row->leased = (n == NGX_ERROR) ? NGX_HTTP_ACADEMY_UNKNOWN
                                       : (uint64_t) n;
        n = ngx_atoi(p + 1, last - p - 1);
        row->bytes = (n == NGX_ERROR) ? NGX_HTTP_ACADEMY_UNKNOWN
                                      : (uint64_t) n;
    }
}
