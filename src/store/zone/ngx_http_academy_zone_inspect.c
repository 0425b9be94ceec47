
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone_walk.h"


/*
 * A look at one mailbox, and at messages that wait there, some in a section.
 */


/* messages whose headers are copied in a section */

#define NGX_HTTP_ACADEMY_WALK_MESSAGES  16


static ngx_http_academy_result_e ngx_http_academy_zone_inspect_locked(
    ngx_http_academy_zone_t *zone, ngx_http_academy_call_t *call,
    uint64_t *seq);
static void ngx_http_academy_zone_inspect_message(
    ngx_http_academy_inspected_t *seen, ngx_http_academy_message_t *message);


ngx_int_t
ngx_http_academy_zone_inspect(ngx_http_academy_call_t *call)
{
    uint64_t                        seq;
    ngx_uint_t                      n;
    ngx_http_academy_zone_t        *zone;
    ngx_http_academy_result_e       result;
    ngx_http_academy_inspection_t  *inspection;

    zone = ngx_http_academy_zone_of(call->exchange);
    inspection = call->in.inspection;
    inspection->n = 0;
    seq = 0;

    do {
        n = inspection->n;

        ngx_http_academy_zone_lock(zone);
        result = ngx_http_academy_zone_inspect_locked(zone, call, &seq);
        ngx_http_academy_zone_unlock(zone);

    } while (result == NGX_HTTP_ACADEMY_OK
             && inspection->n == n + NGX_HTTP_ACADEMY_WALK_MESSAGES);

    return ngx_http_academy_zone_done(call, result);
}


/* of a queue what is behind seq; a few each time, none is seen twice */

static ngx_http_academy_result_e
ngx_http_academy_zone_inspect_locked(ngx_http_academy_zone_t *zone,
    ngx_http_academy_call_t *call, uint64_t *seq)
{
    ngx_uint_t                      n, steps;
    ngx_http_academy_mailbox_t     *mailbox;
    ngx_http_academy_message_t     *message;
    ngx_http_academy_inspection_t  *inspection;

    inspection = call->in.inspection;
    mailbox = ngx_http_academy_zone_find(zone, &call->id);

    if (mailbox == NULL) {
        return NGX_HTTP_ACADEMY_MISSING;
    }

    if (!call->admin
        && !ngx_http_academy_zone_permitted(mailbox, call->caller))
    {
        return NGX_HTTP_ACADEMY_FORBIDDEN;
    }

    if (*seq == 0) {
        ngx_http_academy_zone_row(zone, &inspection->row, mailbox, call);
    }

    n = 0;
    steps = 0;

    for (message = mailbox->head; message; message = message->next) {

        if (inspection->n == inspection->limit
            || n == NGX_HTTP_ACADEMY_WALK_MESSAGES
            || steps++ == 4 * NGX_HTTP_ACADEMY_MAX_INSPECTED)
        {
            break;
        }

        if (message->seq <= *seq) {
            continue;
        }

        ngx_http_academy_zone_inspect_message(
                            &inspection->messages[inspection->n++], message);
        *seq = message->seq;
        n++;
    }

    return NGX_HTTP_ACADEMY_OK;
}


static void
ngx_http_academy_zone_inspect_message(ngx_http_academy_inspected_t *seen,
    ngx_http_academy_message_t *message)
{
    size_t                     n;
    ngx_str_t                  text;
    ngx_http_academy_chunk_t  *chunk;

    seen->seq = message->seq;
    seen->size = message->size;
    seen->age = ngx_http_academy_zone_since(message->accepted);
    seen->leases = message->leases;
    seen->notice = message->notice;

    if (message->notice) {
        ngx_http_academy_zone_notice(message, &text);
        seen->size = text.len;

    } else {
        text.data = (u_char *) message + sizeof(ngx_http_academy_message_t);
        text.len = message->first;
    }

    seen->len = ngx_min(text.len, NGX_HTTP_ACADEMY_INSPECTED);
    ngx_memcpy(seen->text, text.data, seen->len);

    for (chunk = message->chunks;
         chunk && seen->len < NGX_HTTP_ACADEMY_INSPECTED;
         chunk = chunk->next)
    {
        n = ngx_min(chunk->len, NGX_HTTP_ACADEMY_INSPECTED - seen->len);

        ngx_memcpy(seen->text + seen->len,
                   (u_char *) chunk + sizeof(ngx_http_academy_chunk_t), n);
        seen->len += n;
    }
}
