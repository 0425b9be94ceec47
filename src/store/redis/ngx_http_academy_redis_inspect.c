
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_redis_walk.h"


/*
 * A look at one mailbox, and at the messages that wait there, some in a script.
 */


static void ngx_http_academy_redis_inspect_next(
    ngx_http_academy_redis_walk_t *walk);
static void ngx_http_academy_redis_inspected(
    ngx_http_academy_redis_walk_t *walk, redisReply *reply);


ngx_int_t
ngx_http_academy_redis_inspect(ngx_http_academy_call_t *call)
{
    ngx_http_academy_redis_walk_t  *walk;

    call->in.inspection->n = 0;

    if (ngx_http_academy_redis_away(
                                  ngx_http_academy_redis_of(call->exchange)))
    {
        return ngx_http_academy_redis_call_end(call,
                                               NGX_HTTP_ACADEMY_UNAVAILABLE);
    }

    walk = ngx_http_academy_redis_walk(call);
    if (walk == NULL) {
        return ngx_http_academy_redis_call_end(call, NGX_HTTP_ACADEMY_FULL);
    }

    walk->step = ngx_http_academy_redis_inspect_next;

    ngx_add_timer(&walk->event, 0);

    return NGX_AGAIN;
}


static void
ngx_http_academy_redis_inspect_next(ngx_http_academy_redis_walk_t *walk)
{
    ngx_http_academy_call_t        *call;
    ngx_http_academy_redis_args_t   args;
    ngx_http_academy_inspection_t  *inspection;

    call = walk->call;
    inspection = call->in.inspection;

    args.n = 0;

    ngx_http_academy_redis_arg_uid(&args, call->id.uid);

    if (ngx_http_academy_redis_arg_caller(&args, call->caller) != NGX_OK) {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_FULL);
        return;
    }

    ngx_http_academy_redis_arg_number(&args, call->admin);
    ngx_http_academy_redis_arg_number(&args, call->exchange->expiry->messages);
    ngx_http_academy_redis_arg_number(&args, inspection->n);
    ngx_http_academy_redis_arg_number(&args, inspection->limit
                                             - inspection->n);
    ngx_http_academy_redis_arg_number(&args, NGX_HTTP_ACADEMY_INSPECTED);

    ngx_http_academy_redis_walk_ask(walk, NGX_HTTP_ACADEMY_SCRIPT_INSPECT,
                                    args.args, args.n,
                                    ngx_http_academy_redis_inspected);
}


static void
ngx_http_academy_redis_inspected(ngx_http_academy_redis_walk_t *walk,
    redisReply *reply)
{
    ngx_uint_t                      i;
    redisReply                     *text, *role, *state;
    ngx_http_academy_call_t        *call;
    ngx_http_academy_inspected_t   *seen;
    ngx_http_academy_inspection_t  *inspection;

    call = walk->call;
    inspection = call->in.inspection;

    if (inspection->n == 0) {
        ngx_http_academy_redis_row(&inspection->row,
                                   ngx_http_academy_redis_array(reply, 1),
                                   call);

        state = ngx_http_academy_redis_string(
                                   ngx_http_academy_redis_array(reply, 1), 0);
        role = ngx_http_academy_redis_string(reply, 2);

        inspection->row.id = call->id;
        inspection->row.terminated = (state == NULL
                                      || ngx_strcmp(state->str, "ACTIVE")
                                         != 0);

        if (role && role->len) {
            inspection->row.id.role = (role->str[0] == 'u')
                                      ? NGX_HTTP_ACADEMY_USER
                                      : NGX_HTTP_ACADEMY_AGENT;
        }
    }

    for (i = 4;
         i + 1 < reply->elements && inspection->n < inspection->limit;
         i += 2)
    {
        text = ngx_http_academy_redis_string(reply, i + 1);

        if (text == NULL) {
            continue;
        }

        seen = &inspection->messages[inspection->n++];

        seen->seq = NGX_HTTP_ACADEMY_UNKNOWN;
        seen->size = ngx_http_academy_redis_integer(reply, i);
        seen->age = -1;
        seen->leases = NGX_HTTP_ACADEMY_UNKNOWN;
        seen->notice = 0;
        seen->len = ngx_min(text->len, NGX_HTTP_ACADEMY_INSPECTED);
        ngx_memcpy(seen->text, text->str, seen->len);
    }

    if (i == 4 || inspection->n == inspection->limit
        || !ngx_http_academy_redis_integer(reply, 3))
    {
        ngx_http_academy_redis_walk_end(walk, NGX_HTTP_ACADEMY_OK);
        return;
    }

    ngx_http_academy_redis_walk_next(walk);
}
