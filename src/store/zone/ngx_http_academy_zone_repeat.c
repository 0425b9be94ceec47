
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * What was stored is remembered for a while, so that a message whose sender
 * did not get the answer and sends it again is not stored twice.  The memory
 * is a table of sets that is as large as it ever gets: of a set the oldest
 * goes first.
 *
 * Two messages are one when their fingerprints are the same 128 bits.  These
 * depend on a key that nobody knows, so nobody can make a message that another
 * one would be taken for.
 */


/* how much a worker's clock may be behind another's; milliseconds */

#define NGX_HTTP_ACADEMY_CLOCKS  1000


static ngx_http_academy_repeats_t *ngx_http_academy_zone_repeats(
    ngx_http_academy_zone_t *zone, uint64_t print[2]);


void
ngx_http_academy_zone_print(ngx_http_academy_zone_t *zone,
    ngx_http_academy_envelope_t *env, uint64_t print[2])
{
    uint64_t    w[8], *key;
    ngx_uint_t  i;

    ngx_memcpy(&w[0], env->src.id.uid, 16);
    ngx_memcpy(&w[2], env->dest.id.uid, 16);
    ngx_memcpy(&w[4], env->tag, 16);

    w[6] = env->src.id.role | env->dest.id.role << 1 | env->request << 2;
    w[7] = 0;

    key = zone->sh->print_key;

    for (i = 0; i < 2; i++, key += 8) {
        print[i] = ngx_http_academy_zone_fold(w[0] ^ key[0], w[1] ^ key[1])
                   + ngx_http_academy_zone_fold(w[2] ^ key[2], w[3] ^ key[3])
                   + ngx_http_academy_zone_fold(w[4] ^ key[4], w[5] ^ key[5])
                   + ngx_http_academy_zone_fold(w[6] ^ key[6], w[7] ^ key[7]);
    }

    ngx_http_academy_zone_ahead(ngx_http_academy_zone_repeats(zone, print));
}


static ngx_http_academy_repeats_t *
ngx_http_academy_zone_repeats(ngx_http_academy_zone_t *zone, uint64_t print[2])
{
    ngx_http_academy_zone_sh_t  *sh;

    sh = zone->sh;

    return &sh->repeats[((print[1] >> 32) * sh->nrepeats) >> 32];
}


ngx_uint_t
ngx_http_academy_zone_repeated(ngx_http_academy_zone_t *zone,
    uint64_t print[2], ngx_msec_t age)
{
    uint32_t                     since;
    ngx_uint_t                   i;
    ngx_http_academy_repeats_t  *repeats;

    repeats = ngx_http_academy_zone_repeats(zone, print);

    for (i = 0; i < NGX_HTTP_ACADEMY_REPEATS; i++) {

        if (repeats->prints[i][0] == print[0]
            && repeats->prints[i][1] == print[1])
        {
            since = (uint32_t) ngx_current_msec + NGX_HTTP_ACADEMY_CLOCKS
                    - repeats->times[i];

            if (since < age + NGX_HTTP_ACADEMY_CLOCKS) {
                return 1;
            }
        }
    }

    return 0;
}


/* in place of an older one of the same, of none, or of the oldest */

void
ngx_http_academy_zone_remember(ngx_http_academy_zone_t *zone,
    uint64_t print[2])
{
    uint32_t                     since, oldest, now;
    ngx_uint_t                   i, n;
    ngx_http_academy_repeats_t  *repeats;

    repeats = ngx_http_academy_zone_repeats(zone, print);
    now = (uint32_t) ngx_current_msec + NGX_HTTP_ACADEMY_CLOCKS;

    n = 0;
    oldest = 0;

    for (i = 0; i < NGX_HTTP_ACADEMY_REPEATS; i++) {

        if (repeats->prints[i][0] == 0
            || (repeats->prints[i][0] == print[0]
                && repeats->prints[i][1] == print[1]))
        {
            n = i;
            break;
        }

        since = now - repeats->times[i];

        if (since >= oldest) {
            oldest = since;
            n = i;
        }
    }

    /* what is half written is to be no message's */

    repeats->prints[n][0] = 0;

    ngx_http_academy_zone_order();

    repeats->prints[n][1] = print[1];
    repeats->times[n] = (uint32_t) ngx_current_msec;

    ngx_http_academy_zone_order();
    ngx_http_academy_fault(zone, "remember");

    repeats->prints[n][0] = print[0];
}
