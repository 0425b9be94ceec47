
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
static void ngx_http_academy_json_link(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text, ngx_http_academy_sums_t *sums);
static void ngx_http_academy_json_counters(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text, ngx_http_academy_sums_t *sums);
static void ngx_http_academy_json_histogram(ngx_http_academy_text_t *text,
    char *name, ngx_http_academy_histogram_t *h,
    ngx_http_academy_unit_e unit);
static void ngx_http_academy_json_quantiles(ngx_http_academy_text_t *text,
    uint64_t *buckets, ngx_http_academy_unit_e unit, ngx_uint_t named);
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
    ngx_http_academy_json_counters(status, text, &sums);

    h = sums.histograms;

    ngx_http_academy_json_histogram(text, "latency",
                                    &h[NGX_HTTP_ACADEMY_H_LATENCY],
                                    NGX_HTTP_ACADEMY_MILLISECONDS);
    ngx_http_academy_json_histogram(text, "wait",
                                    &h[NGX_HTTP_ACADEMY_H_WAIT],
                                    NGX_HTTP_ACADEMY_MILLISECONDS);
    ngx_http_academy_json_histogram(text, "size",
                                    &h[NGX_HTTP_ACADEMY_H_SIZE],
                                    NGX_HTTP_ACADEMY_BYTES);

    ngx_http_academy_json_link(status, text, &sums);
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

    ngx_http_academy_print(text, ",\"mailboxes\":{\"active\":");
    ngx_http_academy_print_sum(text, found->active[0], found->active[1]);
    ngx_http_academy_print(text, ",\"terminated\":");
    ngx_http_academy_print_sum(text, found->terminated[0],
                               found->terminated[1]);
    ngx_http_academy_print(text, ",\"agents\":");
    ngx_http_academy_print_number(text, found->active[0]);
    ngx_http_academy_print(text, ",\"users\":");
    ngx_http_academy_print_number(text, found->active[1]);
    ngx_http_academy_print(text, ",\"waited_at\":");
    ngx_http_academy_print_number(text, found->waiting);

    oldest = -1;

    if (found->oldest) {
        oldest = (ngx_msec_int_t) (ngx_current_msec - found->oldest);
        oldest = ngx_max(oldest, 0);
    }

    ngx_http_academy_print(text, "},\"messages\":{\"queued\":");
    ngx_http_academy_print_number(text, found->queued);
    ngx_http_academy_print(text, ",\"leased\":");
    ngx_http_academy_print_number(text, found->leased);
    ngx_http_academy_print(text, ",\"bytes\":");
    ngx_http_academy_print_number(text, found->bytes);
    ngx_http_academy_print(text, ",\"oldest\":");
    ngx_http_academy_print_time(text, oldest);

    if (oldest >= 0 && status->admin) {
        (void) ngx_http_academy_uuid_print(id, found->oldest_id.uid);
        ngx_http_academy_print(text, ",\"oldest_mailbox\":\"%s:%*s\"",
                               found->oldest_id.role == NGX_HTTP_ACADEMY_USER
                               ? "user" : "agent", sizeof(id), id);
    }

    ngx_http_academy_print(text, "},\"requests\":{\"pending\":");
    ngx_http_academy_print_number(text, found->pending);
    ngx_http_academy_print(text, ",\"kept\":");
    ngx_http_academy_print_number(text, found->kept);
    ngx_http_academy_print(text, "}");

    if (found->size) {
        ngx_http_academy_print(text, ",\"zone\":{\"size\":%uL,\"used\":%uL,"
                               "\"free\":%uL,\"largest_free\":%uL,"
                               "\"reserve\":%uL,\"page\":%ui}",
                               found->size, found->size - found->free,
                               found->free, found->largest, found->reserve,
                               ngx_pagesize);
    }
}


/* of a store that is to be connected to: this nginx's connections */

static void
ngx_http_academy_json_link(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text, ngx_http_academy_sums_t *sums)
{
    uint64_t                      commands;
    ngx_uint_t                    i, n, linked;
    ngx_str_t                    *server;
    ngx_http_academy_tally_t     *tally;
    ngx_http_academy_exchange_t  *exchange;

    exchange = status->exchange;

    if (exchange->store->server == NULL) {
        return;
    }

    commands = 0;
    linked = 0;
    n = 0;

    for (i = 0; /* void */ ; i++) {
        tally = ngx_http_academy_figures_worker(exchange->figures, &i);

        if (tally == NULL) {
            break;
        }

        n++;
        linked += tally->linked;
        commands += tally->commands;
    }

    ngx_http_academy_print(text, ",\"link\":{\"server\":");

    if (status->admin) {
        server = exchange->store->server(exchange);
        ngx_http_academy_print_string(text, server->data, server->len);

    } else {
        ngx_http_academy_print(text, "null");
    }

    ngx_http_academy_print(text, ",\"workers\":%ui,\"connected\":%ui,"
                           "\"in_flight\":%uL}", n, linked, commands);

    ngx_http_academy_json_histogram(text, "round_trip",
                                    &sums->histograms[NGX_HTTP_ACADEMY_H_REDIS],
                                    NGX_HTTP_ACADEMY_MICROSECONDS);
}


static void
ngx_http_academy_json_counters(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text, ngx_http_academy_sums_t *sums)
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

        if (status->exchange->store->uncounted & ((uint64_t) 1 << i)) {
            ngx_http_academy_print(text, "\"%s\":null", counter->name);
            continue;
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
    ngx_http_academy_histogram_t *h, ngx_http_academy_unit_e unit)
{
    uint64_t    n, bound;
    ngx_uint_t  i;

    n = 0;

    for (i = 0; i < NGX_HTTP_ACADEMY_BUCKETS; i++) {
        n += h->buckets[i];
    }

    ngx_http_academy_print(text, ",\"%s\":{\"count\":%uL,\"sum\":", name, n);
    ngx_http_academy_print_unit(text, h->sum, unit);
    ngx_http_academy_json_quantiles(text, h->buckets, unit, 1);
    ngx_http_academy_print(text, ",\"buckets\":[");

    n = 0;

    for (i = 0; i < NGX_HTTP_ACADEMY_BUCKETS; i++) {
        n += h->buckets[i];

        ngx_http_academy_print(text, i ? ",[" : "[");

        if (i == NGX_HTTP_ACADEMY_BUCKETS - 1) {
            ngx_http_academy_print(text, "null");

        } else {
            bound = (uint64_t) 1 << i;

            if (unit == NGX_HTTP_ACADEMY_BYTES) {
                bound <<= NGX_HTTP_ACADEMY_SIZE_SHIFT;
            }

            ngx_http_academy_print_unit(text, bound, unit);
        }

        ngx_http_academy_print(text, ",%uL]", n);
    }

    ngx_http_academy_print(text, "]}");
}


/* with their names, as members of an object; or as items of an array */

static void
ngx_http_academy_json_quantiles(ngx_http_academy_text_t *text,
    uint64_t *buckets, ngx_http_academy_unit_e unit, ngx_uint_t named)
{
    double      value;
    ngx_uint_t  i;

    static struct {
        char   *name;
        double  part;
    } quantiles[] = {
        { "\"p50\":", 0.5 }, { "\"p90\":", 0.9 }, { "\"p99\":", 0.99 }
    };

    for (i = 0; i < 3; i++) {
        value = ngx_http_academy_figures_quantile(buckets, quantiles[i].part);

        ngx_http_academy_print(text, ",%s", named ? quantiles[i].name : "");

        if (value < 0) {
            ngx_http_academy_print(text, "null");

        } else if (unit == NGX_HTTP_ACADEMY_BYTES) {
            ngx_http_academy_print(text, "%.0f",
                                   value * (1 << NGX_HTTP_ACADEMY_SIZE_SHIFT));

        } else if (unit == NGX_HTTP_ACADEMY_MICROSECONDS) {
            ngx_http_academy_print(text, "%.7f", value / 1000000);

        } else {
            ngx_http_academy_print(text, "%.5f", value / 1000);
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
                               "\"streams\":%uL",
                               n ? "," : "", i, (ngx_pid_t) tally->pid,
                               ngx_max(age, 0),
                               tally->exiting ? "true" : "false",
                               tally->polls, tally->streams);

        if (status->exchange->store->server) {
            ngx_http_academy_print(text, ",\"connected\":%s,"
                                   "\"in_flight\":%uL",
                                   tally->linked ? "true" : "false",
                                   tally->commands);
        }

        ngx_http_academy_print(text, "}");
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
    ngx_uint_t                      i, n, first, b, again;
    ngx_http_academy_text_t         text;
    ngx_http_academy_sample_t      *one, *two;
    ngx_http_academy_figures_sh_t  *sh;

    sh = status->exchange->figures->sh;
    again = !(status->exchange->store->uncounted
              & ((uint64_t) 1 << NGX_HTTP_ACADEMY_N_REDELIVERED));
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

        ngx_http_academy_print(&text, "%s[%T,%T,%uL,%uL,",
                               i == first + 1 ? "" : ",",
                               two->time,
                               (time_t) (two->taken - one->taken + 500) / 1000,
                               two->accepted - one->accepted,
                               two->delivered - one->delivered);
        ngx_http_academy_print_number(&text,
                                      again ? two->redelivered
                                              - one->redelivered
                                            : NGX_HTTP_ACADEMY_UNKNOWN);
        ngx_http_academy_print(&text, ",%uL,", two->refused - one->refused);
        ngx_http_academy_print_number(&text, two->queued);
        ngx_http_academy_print(&text, ",");
        ngx_http_academy_print_number(&text, two->bytes);
        ngx_http_academy_print(&text, ",%uL,", two->waiting);
        ngx_http_academy_print_number(&text, two->mailboxes);
        ngx_http_academy_print(&text, ",");
        ngx_http_academy_print_number(&text, two->free);

        ngx_http_academy_json_quantiles(&text, buckets,
                                        NGX_HTTP_ACADEMY_MILLISECONDS, 0);
        ngx_http_academy_print(&text, "]");
    }

    ngx_http_academy_print(&text, "]}\n");

    return ngx_http_academy_status_send(status, NGX_HTTP_OK,
                                        "application/json", &text);
}
