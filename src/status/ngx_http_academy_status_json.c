
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


/*
 * The picture as JSON.  The names are documented in README.md: they may be
 * added to, and stay.
 */


static void ngx_http_academy_json_found(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text);
static void ngx_http_academy_json_counters(ngx_http_academy_text_t *text,
    ngx_http_academy_sums_t *sums);
static void ngx_http_academy_json_histogram(ngx_http_academy_text_t *text,
    char *name, ngx_http_academy_histogram_t *h, ngx_uint_t bytes);
static void ngx_http_academy_json_quantiles(ngx_http_academy_text_t *text,
    uint64_t *buckets, ngx_uint_t shift);
static void ngx_http_academy_json_workers(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text);
static void ngx_http_academy_json_limits(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text);
static void ngx_http_academy_json_viewer(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text);


void
ngx_http_academy_status_json(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text)
{
    char                           *ailing;
    ngx_time_t                     *tp;
    ngx_http_academy_sums_t         sums;
    ngx_http_academy_exchange_t    *exchange;
    ngx_http_academy_histogram_t   *h;

    exchange = status->exchange;
    tp = ngx_timeofday();

    ngx_http_academy_figures_sum(exchange->figures, &sums);

    ngx_http_academy_print(text, "{\"exchange\":");
    ngx_http_academy_print_string(text, exchange->name.data,
                                  exchange->name.len);

    ngx_http_academy_print(text, ",\"store\":\"%s\",\"version\":\"%s\","
                           "\"nginx\":\"%s\",\"time\":%T.%03M,\"started\":%T",
                           exchange->store->kind, NGX_HTTP_ACADEMY_VERSION,
                           NGINX_VERSION, tp->sec, tp->msec,
                           exchange->figures->sh->started);

    ailing = exchange->store->ailing ? exchange->store->ailing(exchange)
                                     : NULL;

    if (ailing) {
        ngx_http_academy_print(text, ",\"health\":{\"ok\":false,"
                               "\"reason\":\"%s\"}", ailing);
    } else {
        ngx_http_academy_print(text, ",\"health\":{\"ok\":true,"
                               "\"reason\":null}");
    }

    ngx_http_academy_json_found(status, text);
    ngx_http_academy_json_counters(text, &sums);

    h = sums.histograms;

    ngx_http_academy_json_histogram(text, "latency",
                                    &h[NGX_HTTP_ACADEMY_H_LATENCY], 0);
    ngx_http_academy_json_histogram(text, "wait",
                                    &h[NGX_HTTP_ACADEMY_H_WAIT], 0);
    ngx_http_academy_json_histogram(text, "size",
                                    &h[NGX_HTTP_ACADEMY_H_SIZE], 1);

    ngx_http_academy_json_workers(status, text);
    ngx_http_academy_json_limits(status, text);
    ngx_http_academy_json_viewer(status, text);

    ngx_http_academy_print(text, "}");
}


static void
ngx_http_academy_json_found(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text)
{
    u_char                      id[NGX_HTTP_ACADEMY_UUID_LEN];
    ngx_msec_int_t              oldest;
    ngx_http_academy_survey_t  *found;

    found = &status->survey;

    if (status->exchange->store->survey == NULL) {
        return;
    }

    ngx_http_academy_print(text, ",\"mailboxes\":{\"active\":%uL,"
                           "\"terminated\":%uL,\"agents\":%uL,\"users\":%uL,"
                           "\"waited_at\":%uL}",
                           found->active[0] + found->active[1],
                           found->terminated[0] + found->terminated[1],
                           found->active[0], found->active[1], found->waiting);

    oldest = -1;

    if (found->oldest) {
        oldest = (ngx_msec_int_t) (ngx_current_msec - found->oldest);
        oldest = ngx_max(oldest, 0);
    }

    ngx_http_academy_print(text, ",\"messages\":{\"queued\":%uL,"
                           "\"leased\":%uL,\"bytes\":%uL,\"oldest\":",
                           found->queued, found->leased, found->bytes);
    ngx_http_academy_print_time(text, oldest);

    if (oldest >= 0 && status->admin) {
        (void) ngx_http_academy_uuid_print(id, found->oldest_id.uid);
        ngx_http_academy_print(text, ",\"oldest_mailbox\":\"%s:%*s\"",
                               found->oldest_id.role == NGX_HTTP_ACADEMY_USER
                               ? "user" : "agent", sizeof(id), id);
    }

    ngx_http_academy_print(text, "},\"requests\":{\"pending\":%uL,"
                           "\"kept\":%uL}", found->pending, found->kept);

    if (found->size) {
        ngx_http_academy_print(text, ",\"zone\":{\"size\":%uL,\"used\":%uL,"
                               "\"free\":%uL,\"largest_free\":%uL,"
                               "\"reserve\":%uL,\"page\":%ui}",
                               found->size, found->size - found->free,
                               found->free, found->largest, found->reserve,
                               ngx_pagesize);
    }
}


static void
ngx_http_academy_json_counters(ngx_http_academy_text_t *text,
    ngx_http_academy_sums_t *sums)
{
    char                               *group;
    uint64_t                            n;
    ngx_uint_t                          i;
    ngx_http_academy_status_counter_t  *counter;

    group = "";

    for (i = 0; i < NGX_HTTP_ACADEMY_COUNTERS; i++) {
        counter = &ngx_http_academy_status_counters[i];
        n = sums->counters[i];

        if (ngx_strcmp(group, counter->group) != 0) {
            ngx_http_academy_print(text, "%s,\"%s\":{", *group ? "}" : "",
                                   counter->group);
            group = counter->group;

        } else {
            ngx_http_academy_print(text, ",");
        }

        if (i == NGX_HTTP_ACADEMY_N_LOCK_WAIT_NS) {
            ngx_http_academy_print(text, "\"%s\":%uL.%09uL", counter->name,
                                   n / 1000000000, n % 1000000000);
            continue;
        }

        ngx_http_academy_print(text, "\"%s\":%uL", counter->name, n);
    }

    ngx_http_academy_print(text, "}");
}


/* seconds, or bytes; buckets as pairs of a bound and what is not above it */

static void
ngx_http_academy_json_histogram(ngx_http_academy_text_t *text, char *name,
    ngx_http_academy_histogram_t *h, ngx_uint_t bytes)
{
    uint64_t    n, bound;
    ngx_uint_t  i;

    n = 0;

    for (i = 0; i < NGX_HTTP_ACADEMY_BUCKETS; i++) {
        n += h->buckets[i];
    }

    ngx_http_academy_print(text, ",\"%s\":{\"count\":%uL,\"sum\":", name, n);

    if (bytes) {
        ngx_http_academy_print(text, "%uL", h->sum);

    } else {
        ngx_http_academy_print_time(text, (ngx_msec_int_t) h->sum);
    }

    ngx_http_academy_json_quantiles(text, h->buckets,
                                    bytes ? NGX_HTTP_ACADEMY_SIZE_SHIFT : 0);

    ngx_http_academy_print(text, ",\"buckets\":[");

    n = 0;

    for (i = 0; i < NGX_HTTP_ACADEMY_BUCKETS; i++) {
        n += h->buckets[i];

        ngx_http_academy_print(text, i ? ",[" : "[");

        bound = (uint64_t) 1 << i;

        if (i == NGX_HTTP_ACADEMY_BUCKETS - 1) {
            ngx_http_academy_print(text, "null");

        } else if (bytes) {
            ngx_http_academy_print(text, "%uL",
                                   bound << NGX_HTTP_ACADEMY_SIZE_SHIFT);

        } else {
            ngx_http_academy_print_time(text, (ngx_msec_int_t) bound);
        }

        ngx_http_academy_print(text, ",%uL]", n);
    }

    ngx_http_academy_print(text, "]}");
}


static void
ngx_http_academy_json_quantiles(ngx_http_academy_text_t *text,
    uint64_t *buckets, ngx_uint_t shift)
{
    double      value;
    ngx_uint_t  i;

    static struct {
        char   *name;
        double  part;
    } quantiles[] = {
        { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }
    };

    for (i = 0; i < 3; i++) {
        value = ngx_http_academy_figures_quantile(buckets, quantiles[i].part);

        if (value < 0) {
            ngx_http_academy_print(text, ",\"%s\":null", quantiles[i].name);

        } else if (shift) {
            ngx_http_academy_print(text, ",\"%s\":%.0f", quantiles[i].name,
                                   value * (1 << shift));

        } else {
            ngx_http_academy_print(text, ",\"%s\":%.5f", quantiles[i].name,
                                   value / 1000);
        }
    }
}


static void
ngx_http_academy_json_workers(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text)
{
    time_t                     age;
    ngx_uint_t                 i, n;
    ngx_http_academy_tally_t  *tally;

    ngx_http_academy_print(text, ",\"workers\":[");

    for (i = 0, n = 0; /* void */ ; i++, n++) {
        tally = ngx_http_academy_figures_worker(status->exchange->figures, &i);

        if (tally == NULL) {
            break;
        }

        age = ngx_time() - tally->started;

        ngx_http_academy_print(text, "%s{\"slot\":%ui,\"pid\":%P,\"age\":%T,"
                               "\"exiting\":%s,\"polls\":%uL,"
                               "\"streams\":%uL}",
                               n ? "," : "", i, (ngx_pid_t) tally->pid,
                               ngx_max(age, 0),
                               tally->exiting ? "true" : "false",
                               tally->polls, tally->streams);
    }

    ngx_http_academy_print(text, "]");
}


static void
ngx_http_academy_json_limits(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text)
{
    ngx_uint_t                      i, n;
    ngx_http_academy_mount_t       *mount;
    ngx_http_academy_loc_conf_t    *conf;
    ngx_http_academy_main_conf_t   *amcf;

    amcf = ngx_http_get_module_main_conf(status->request,
                                         ngx_http_academy_module);

    ngx_http_academy_print(text, ",\"expiry\":{\"messages\":%T,"
                           "\"mailboxes\":%T},\"locations\":[",
                           amcf->expiry.messages, amcf->expiry.mailboxes);

    mount = amcf->mounts.elts;

    for (i = 0, n = 0; i < amcf->mounts.nelts; i++) {
        conf = mount[i].conf;

        if (conf->exchange != status->exchange) {
            continue;
        }

        ngx_http_academy_print(text, "%s{\"location\":", n++ ? "," : "");
        ngx_http_academy_print_string(text, mount[i].location.data,
                                      mount[i].location.len);

        ngx_http_academy_print(text, ",\"auth\":%s,\"message_size\":%uz,"
                               "\"mailbox_messages\":%uz,"
                               "\"mailbox_bytes\":%uz,"
                               "\"client_mailboxes\":%uz,\"listen_timeout\":",
                               conf->auth.mode ? "true" : "false",
                               conf->message_size, conf->mailbox_messages,
                               conf->mailbox_bytes, conf->client_mailboxes);
        ngx_http_academy_print_time(text, conf->listen_timeout);
        ngx_http_academy_print(text, ",\"deduplicate\":");
        ngx_http_academy_print_time(text, conf->deduplicate);
        ngx_http_academy_print(text, ",\"redeliver\":%s,\"agent_timeout\":",
                               conf->redeliver ? "true" : "false");
        ngx_http_academy_print_time(text, conf->agent_timeout);
        ngx_http_academy_print(text, "}");
    }

    ngx_http_academy_print(text, "]");
}


static void
ngx_http_academy_json_viewer(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text)
{
    ngx_http_academy_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(status->request, ngx_http_academy_module);

    ngx_http_academy_print(text, ",\"viewer\":{\"id\":");
    ngx_http_academy_print_string(text, ctx->caller.id.data,
                                  ctx->caller.id.len);
    ngx_http_academy_print(text, ",\"admin\":%s,\"write\":%s}",
                           status->admin ? "true" : "false",
                           status->write ? "true" : "false");
}


/* columns, oldest first; what is counted is per second since the one before */

ngx_int_t
ngx_http_academy_status_history(ngx_http_academy_status_t *status)
{
    uint64_t                        buckets[NGX_HTTP_ACADEMY_BUCKETS];
    ngx_uint_t                      i, n, first, b;
    ngx_http_academy_text_t         text;
    ngx_http_academy_sample_t      *one, *two;
    ngx_http_academy_figures_sh_t  *sh;

    sh = status->exchange->figures->sh;
    n = sh->nsamples;
    first = (n < NGX_HTTP_ACADEMY_SAMPLES) ? 0
                                           : n - NGX_HTTP_ACADEMY_SAMPLES + 1;

    ngx_http_academy_text_begin(&text, status->request->pool);
    ngx_http_academy_print(&text, "{\"interval\":%d,\"columns\":[\"time\","
                           "\"seconds\",\"accepted\",\"delivered\","
                           "\"redelivered\",\"refused\",\"queued\",\"bytes\","
                           "\"waiting\",\"mailboxes\",\"zone_free\",\"p50\","
                           "\"p90\",\"p99\"],\"samples\":[",
                           NGX_HTTP_ACADEMY_SAMPLE_TIME);

    for (i = first + 1; i < n; i++) {
        one = &sh->samples[(i - 1) % NGX_HTTP_ACADEMY_SAMPLES];
        two = &sh->samples[i % NGX_HTTP_ACADEMY_SAMPLES];

        for (b = 0; b < NGX_HTTP_ACADEMY_BUCKETS; b++) {
            buckets[b] = two->latency[b] - one->latency[b];
        }

        ngx_http_academy_print(&text, "%s[%T,%T,%uL,%uL,%uL,%uL,%uL,%uL,%uL,"
                               "%uL,%uL", i == first + 1 ? "" : ",",
                               two->time, two->time - one->time,
                               two->accepted - one->accepted,
                               two->delivered - one->delivered,
                               two->redelivered - one->redelivered,
                               two->refused - one->refused,
                               two->queued, two->bytes, two->waiting,
                               two->mailboxes, two->free);

        for (b = 0; b < 3; b++) {
            double  value, parts[] = { 0.5, 0.9, 0.99 };

            value = ngx_http_academy_figures_quantile(buckets, parts[b]);

            if (value < 0) {
                ngx_http_academy_print(&text, ",null");

            } else {
                ngx_http_academy_print(&text, ",%.5f", value / 1000);
            }
        }

        ngx_http_academy_print(&text, "]");
    }

    ngx_http_academy_print(&text, "]}\n");

    return ngx_http_academy_status_send(status, NGX_HTTP_OK,
                                        "application/json", &text);
}
