
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


/*
 * The picture for Prometheus: its own text format, or OpenMetrics, where the
 * family of a counter is named without the _total that its samples have.
 */


typedef struct {
    ngx_http_academy_status_t     *status;
    ngx_http_academy_text_t       *text;
    ngx_str_t                      exchange;   /* a label's value */
} ngx_http_academy_metrics_t;


static ngx_int_t ngx_http_academy_metrics_label(ngx_pool_t *pool,
    ngx_str_t *name, ngx_str_t *label);
static void ngx_http_academy_metrics_counters(ngx_http_academy_metrics_t *m,
    ngx_http_academy_sums_t *sums);
static void ngx_http_academy_metrics_found(ngx_http_academy_metrics_t *m);
static void ngx_http_academy_metrics_workers(ngx_http_academy_metrics_t *m);
static void ngx_http_academy_metrics_histogram(ngx_http_academy_metrics_t *m,
    char *name, char *help, ngx_http_academy_histogram_t *h,
    ngx_http_academy_unit_e unit);
static void ngx_http_academy_metrics_link(ngx_http_academy_metrics_t *m);
static void ngx_http_academy_metrics_family(ngx_http_academy_metrics_t *m,
    char *name, char *type, char *help);
static void ngx_http_academy_metrics_gauge(ngx_http_academy_metrics_t *m,
    char *name, char *help, uint64_t value);


#define ngx_http_academy_route_counter(name)                                  \
    { "routes", name, "academy_http_requests", "route",                       \
      "Requests that a route took, by route." }

#define ngx_http_academy_refusal_counter(name)                                \
    { "refusals", name, "academy_refusals", "reason",                         \
      "Requests that were refused, by reason." }

#define ngx_http_academy_poll_counter(name)                                   \
    { "polls", name, "academy_polls", "result",                               \
      "Long polls that have ended, by result." }


/* in the order of ngx_http_academy_counter_e */

ngx_http_academy_status_counter_t  ngx_http_academy_status_counters[] = {

    { "totals", "accepted", "academy_messages_accepted", NULL,
      "Messages that were accepted from clients." },
    { "totals", "notices", "academy_messages_notices", NULL,
      "Responses of the exchange itself for terminated mailboxes." },
    { "totals", "sent", "academy_messages_sent", NULL,
      "Messages that were written to a receiver, repetitions too." },
    { "totals", "delivered", "academy_messages_delivered", NULL,
      "Messages that their receiver acknowledged." },
    { "totals", "redelivered", "academy_messages_redelivered", NULL,
      "Messages that were taken for a receiver again." },
    { "totals", "returned", "academy_messages_returned", NULL,
      "Messages that went back because their receiver did not get them." },
    { "totals", "duplicates", "academy_messages_duplicates", NULL,
      "Messages that came again and were dropped." },
    { "totals", "expired", "academy_messages_expired", NULL,
      "Messages that nobody collected in time." },
    { "totals", "dropped", "academy_messages_dropped", NULL,
      "Messages that were dropped with their terminated mailbox." },
    { "totals", "answered", "academy_requests_answered", NULL,
      "Requests of agents and users that were answered." },
    { "totals", "requests_expired", "academy_requests_expired", NULL,
      "Requests of agents and users that nobody answered in time." },
    { "totals", "created", "academy_mailboxes_created", NULL,
      "Mailboxes that were created." },
    { "totals", "terminated", "academy_mailboxes_terminated", NULL,
      "Mailboxes that were terminated." },
    { "totals", "mailboxes_expired", "academy_mailboxes_expired", NULL,
      "Mailboxes that nobody used for long, terminated ones too." },

    ngx_http_academy_refusal_counter("mailbox_messages"),
    ngx_http_academy_refusal_counter("mailbox_bytes"),
    ngx_http_academy_refusal_counter("client_mailboxes"),
    ngx_http_academy_refusal_counter("shares"),
    ngx_http_academy_refusal_counter("memory"),
    ngx_http_academy_refusal_counter("permission"),
    ngx_http_academy_refusal_counter("auth"),
    ngx_http_academy_refusal_counter("provider"),
    ngx_http_academy_refusal_counter("invalid"),
    ngx_http_academy_refusal_counter("size"),
    ngx_http_academy_refusal_counter("missing"),
    ngx_http_academy_refusal_counter("closed"),
    ngx_http_academy_refusal_counter("unacknowledged"),
    ngx_http_academy_refusal_counter("store"),

    ngx_http_academy_route_counter("create"),
    ngx_http_academy_route_counter("terminate"),
    ngx_http_academy_route_counter("status"),
    ngx_http_academy_route_counter("share"),
    ngx_http_academy_route_counter("shares"),
    ngx_http_academy_route_counter("unshare"),
    ngx_http_academy_route_counter("heartbeat"),
    ngx_http_academy_route_counter("beat"),
    ngx_http_academy_route_counter("stats"),
    ngx_http_academy_route_counter("discover"),
    ngx_http_academy_route_counter("put"),
    ngx_http_academy_route_counter("get"),
    ngx_http_academy_route_counter("listen"),

    ngx_http_academy_poll_counter("delivered"),
    ngx_http_academy_poll_counter("timeout"),
    ngx_http_academy_poll_counter("closed"),
    ngx_http_academy_poll_counter("gone"),

    { "lock", "waits", "academy_lock_waits", NULL,
      "Times that a worker waited for the lock of the zone." },
    { "lock", "seconds", "academy_lock_wait_seconds", NULL,
      "Time that workers waited for the lock of the zone." },

    { "auth", "cache_hits", "academy_auth_cache_hits", NULL,
      "Tokens that were found in the cache." },
    { "auth", "cache_misses", "academy_auth_cache_misses", NULL,
      "Tokens that were not found in the cache." },
    { "auth", "upstream", "academy_auth_upstream_requests", NULL,
      "Requests to a provider of tokens or keys." },

    { "redis", "round_trips", "academy_redis_round_trips", NULL,
      "Commands that Redis answered." },
    { "redis", "connects", "academy_redis_connects", NULL,
      "Connections to Redis that were made." },

    { "status", "requests", "academy_status_requests", NULL,
      "Requests for this picture, in any form." },
    { "status", "refused", "academy_status_refusals", NULL,
      "Requests for this picture that were refused." }
};


void
ngx_http_academy_status_metrics(ngx_http_academy_status_t *status,
    ngx_http_academy_text_t *text)
{
    ngx_http_academy_sums_t        sums;
    ngx_http_academy_metrics_t     m;
    ngx_http_academy_exchange_t   *exchange;
    ngx_http_academy_histogram_t  *h;

    exchange = status->exchange;

    m.status = status;
    m.text = text;

    if (ngx_http_academy_metrics_label(text->pool, &exchange->name,
                                       &m.exchange)
        != NGX_OK)
    {
        text->failed = 1;
        return;
    }

    ngx_http_academy_figures_sum(exchange->figures, &sums);

    ngx_http_academy_metrics_family(&m, "academy_build_info", "gauge",
                                    "Versions, the value is always 1.");
    ngx_http_academy_print(text, "academy_build_info{exchange=\"%V\","
                           "store=\"%s\",version=\"%s\",nginx=\"%s\"} 1\n",
                           &m.exchange, exchange->store->kind,
                           NGX_HTTP_ACADEMY_VERSION, NGINX_VERSION);

    ngx_http_academy_metrics_gauge(&m, "academy_start_time_seconds",
                                   "When counting began, as Unix time.",
                                   exchange->figures->sh->started);

    ngx_http_academy_metrics_gauge(&m, "academy_healthy",
                                   "Whether clients are served, 1 or 0.",
                                   exchange->store->ailing == NULL
                                   || exchange->store->ailing(exchange)
                                      == NULL);

    ngx_http_academy_metrics_found(&m);
    ngx_http_academy_metrics_counters(&m, &sums);
    ngx_http_academy_metrics_workers(&m);

    h = sums.histograms;

    ngx_http_academy_metrics_histogram(&m, "academy_delivery_latency_seconds",
                  "Time from acceptance of a message until it was written to "
                  "its receiver.", &h[NGX_HTTP_ACADEMY_H_LATENCY],
                  NGX_HTTP_ACADEMY_MILLISECONDS);
    ngx_http_academy_metrics_histogram(&m, "academy_poll_wait_seconds",
                  "Time that long polls waited.",
                  &h[NGX_HTTP_ACADEMY_H_WAIT], NGX_HTTP_ACADEMY_MILLISECONDS);
    ngx_http_academy_metrics_histogram(&m, "academy_message_size_bytes",
                  "Size of accepted messages.",
                  &h[NGX_HTTP_ACADEMY_H_SIZE], NGX_HTTP_ACADEMY_BYTES);

    if (exchange->store->server) {
        ngx_http_academy_metrics_link(&m);
        ngx_http_academy_metrics_histogram(&m,
                  "academy_redis_round_trip_seconds",
                  "Time from a command to Redis until its answer.",
                  &h[NGX_HTTP_ACADEMY_H_REDIS],
                  NGX_HTTP_ACADEMY_MICROSECONDS);
    }

    if (status->openmetrics) {
        ngx_http_academy_print(text, "# EOF\n");
    }
}


static ngx_int_t
ngx_http_academy_metrics_label(ngx_pool_t *pool, ngx_str_t *name,
    ngx_str_t *label)
{
    u_char      *p;
    ngx_uint_t   i;

    p = ngx_pnalloc(pool, 2 * name->len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    label->data = p;

    for (i = 0; i < name->len; i++) {

        if (name->data[i] == '\n') {
            *p++ = '\\';
            *p++ = 'n';
            continue;
        }

        if (name->data[i] == '"' || name->data[i] == '\\') {
            *p++ = '\\';
        }

        *p++ = name->data[i];
    }

    label->len = p - label->data;

    return NGX_OK;
}


static void
ngx_http_academy_metrics_family(ngx_http_academy_metrics_t *m, char *name,
    char *type, char *help)
{
    char  *suffix;

    suffix = (!m->status->openmetrics && ngx_strcmp(type, "counter") == 0)
             ? "_total" : "";

    ngx_http_academy_print(m->text, "# HELP %s%s %s\n# TYPE %s%s %s\n",
                           name, suffix, help, name, suffix, type);
}


static void
ngx_http_academy_metrics_gauge(ngx_http_academy_metrics_t *m, char *name,
    char *help, uint64_t value)
{
    if (value == NGX_HTTP_ACADEMY_UNKNOWN) {
        return;
    }

    ngx_http_academy_metrics_family(m, name, "gauge", help);
    ngx_http_academy_print(m->text, "%s{exchange=\"%V\"} %uL\n", name,
                           &m->exchange, value);
}


static void
ngx_http_academy_metrics_found(ngx_http_academy_metrics_t *m)
{
    ngx_uint_t                  role;
    ngx_msec_int_t              oldest;
    ngx_http_academy_survey_t  *found;

    static char  *roles[] = { "agent", "user" };

    found = &m->status->survey;

    if (found->queued == NGX_HTTP_ACADEMY_UNKNOWN) {
        return;
    }

    ngx_http_academy_metrics_family(m, "academy_mailboxes", "gauge",
                                    "Mailboxes, by role and state.");

    for (role = 0; role < 2; role++) {
        ngx_http_academy_print(m->text, "academy_mailboxes{exchange=\"%V\","
                               "role=\"%s\",state=\"active\"} %uL\n"
                               "academy_mailboxes{exchange=\"%V\","
                               "role=\"%s\",state=\"terminated\"} %uL\n",
                               &m->exchange, roles[role], found->active[role],
                               &m->exchange, roles[role],
                               found->terminated[role]);
    }

    ngx_http_academy_metrics_gauge(m, "academy_messages_queued",
                                   "Messages that wait in mailboxes.",
                                   found->queued);
    ngx_http_academy_metrics_gauge(m, "academy_messages_leased",
                                   "Messages that are on their way, and not "
                                   "acknowledged.", found->leased);
    ngx_http_academy_metrics_gauge(m, "academy_messages_held_bytes",
                                   "Bytes of queued and leased messages.",
                                   found->bytes);

    oldest = found->oldest
             ? (ngx_msec_int_t) (ngx_current_msec - found->oldest) : 0;
    oldest = ngx_max(oldest, 0);

    ngx_http_academy_metrics_family(m, "academy_oldest_message_age_seconds",
                                    "gauge", "Age of the oldest message that "
                                    "waits in a mailbox.");
    ngx_http_academy_print(m->text, "academy_oldest_message_age_seconds"
                           "{exchange=\"%V\"} %M.%03M\n", &m->exchange,
                           (ngx_msec_t) oldest / 1000,
                           (ngx_msec_t) oldest % 1000);

    ngx_http_academy_metrics_gauge(m, "academy_requests_pending",
                                   "Requests of agents and users that are not "
                                   "answered yet.", found->pending);
    ngx_http_academy_metrics_gauge(m, "academy_requests_kept",
                                   "Requests that were received, and are kept "
                                   "for redelivery.", found->kept);

    if (found->size == 0) {
        return;
    }

    ngx_http_academy_metrics_gauge(m, "academy_zone_size_bytes",
                                   "Size of the zone.", found->size);
    ngx_http_academy_metrics_gauge(m, "academy_zone_free_bytes",
                                   "Free pages of the zone.", found->free);
    ngx_http_academy_metrics_gauge(m, "academy_zone_largest_free_bytes",
                                   "The largest run of free pages.",
                                   found->largest);
    ngx_http_academy_metrics_gauge(m, "academy_zone_reserve_bytes",
                                   "What of the zone no message may take.",
                                   found->reserve);
}


static void
ngx_http_academy_metrics_counters(ngx_http_academy_metrics_t *m,
    ngx_http_academy_sums_t *sums)
{
    char                               *metric;
    uint64_t                            n;
    ngx_uint_t                          i;
    ngx_http_academy_status_counter_t  *counter;

    metric = "";

    for (i = 0; i < NGX_HTTP_ACADEMY_COUNTERS; i++) {
        counter = &ngx_http_academy_status_counters[i];
        n = sums->counters[i];

        if (m->status->exchange->store->uncounted & ((uint64_t) 1 << i)) {
            continue;
        }

        if (ngx_strcmp(metric, counter->metric) != 0) {
            metric = counter->metric;
            ngx_http_academy_metrics_family(m, metric, "counter",
                                            counter->help);
        }

        ngx_http_academy_print(m->text, "%s_total{exchange=\"%V\"", metric,
                               &m->exchange);

        if (counter->label) {
            ngx_http_academy_print(m->text, ",%s=\"%s\"", counter->label,
                                   counter->name);
        }

        if (i == NGX_HTTP_ACADEMY_N_LOCK_WAIT_NS) {
            ngx_http_academy_print(m->text, "} %uL.%09uL\n", n / 1000000000,
                                   n % 1000000000);
            continue;
        }

        ngx_http_academy_print(m->text, "} %uL\n", n);
    }
}


/* by slot, of which there are few, and not by pid, of which there are many */

static void
ngx_http_academy_metrics_workers(ngx_http_academy_metrics_t *m)
{
    ngx_uint_t                   i, n, pass;
    ngx_http_academy_tally_t    *tally;
    ngx_http_academy_figures_t  *figures;

    figures = m->status->exchange->figures;

    ngx_http_academy_metrics_family(m, "academy_waiters", "gauge",
                                    "Clients that wait for messages, by kind "
                                    "and worker.");
    n = 0;

    for (pass = 0; pass < 2; pass++) {

        for (i = 0; /* void */ ; i++) {
            tally = ngx_http_academy_figures_worker(figures, &i);

            if (tally == NULL) {
                break;
            }

            if (pass) {
                ngx_http_academy_print(m->text,
                                       "academy_worker_start_time_seconds"
                                       "{exchange=\"%V\",worker=\"%ui\"} %T\n",
                                       &m->exchange, i, tally->started);
                n++;
                continue;
            }

            ngx_http_academy_print(m->text,
                                   "academy_waiters{exchange=\"%V\","
                                   "worker=\"%ui\",kind=\"poll\"} %uL\n"
                                   "academy_waiters{exchange=\"%V\","
                                   "worker=\"%ui\",kind=\"stream\"} %uL\n",
                                   &m->exchange, i, tally->polls,
                                   &m->exchange, i, tally->streams);
        }

        if (pass == 0) {
            ngx_http_academy_metrics_family(m,
                                        "academy_worker_start_time_seconds",
                                        "gauge", "When a worker began, as "
                                        "Unix time.");
        }
    }

    ngx_http_academy_metrics_gauge(m, "academy_workers",
                                   "Worker processes, exiting ones too.", n);
}


static void
ngx_http_academy_metrics_link(ngx_http_academy_metrics_t *m)
{
    ngx_uint_t                   i, pass;
    ngx_http_academy_tally_t    *tally;
    ngx_http_academy_figures_t  *figures;

    static struct {
        char  *name;
        char  *help;
    } gauges[] = {
        { "academy_redis_connected",
          "Whether a worker is connected to Redis, 1 or 0." },
        { "academy_redis_commands_in_flight",
          "Commands to Redis that wait or are not answered yet." }
    };

    figures = m->status->exchange->figures;

    for (pass = 0; pass < 2; pass++) {

        ngx_http_academy_metrics_family(m, gauges[pass].name, "gauge",
                                        gauges[pass].help);

        for (i = 0; /* void */ ; i++) {
            tally = ngx_http_academy_figures_worker(figures, &i);

            if (tally == NULL) {
                break;
            }

            ngx_http_academy_print(m->text,
                                   "%s{exchange=\"%V\",worker=\"%ui\"} %uL\n",
                                   gauges[pass].name, &m->exchange, i,
                                   pass ? tally->commands
                                        : (uint64_t) tally->linked);
        }
    }
}


static void
ngx_http_academy_metrics_histogram(ngx_http_academy_metrics_t *m, char *name,
    char *help, ngx_http_academy_histogram_t *h, ngx_http_academy_unit_e unit)
{
    uint64_t                  n, bound;
    ngx_uint_t                i;
    ngx_http_academy_text_t  *text;

    text = m->text;
    n = 0;

    ngx_http_academy_metrics_family(m, name, "histogram", help);

    for (i = 0; i < NGX_HTTP_ACADEMY_BUCKETS; i++) {
        n += h->buckets[i];
        bound = (uint64_t) 1 << i;

        ngx_http_academy_print(text, "%s_bucket{exchange=\"%V\",le=\"", name,
                               &m->exchange);

        if (i == NGX_HTTP_ACADEMY_BUCKETS - 1) {
            ngx_http_academy_print(text, "+Inf");

        } else if (unit == NGX_HTTP_ACADEMY_BYTES) {
            ngx_http_academy_print(text, "%uL.0",
                                   bound << NGX_HTTP_ACADEMY_SIZE_SHIFT);

        } else {
            ngx_http_academy_print_unit(text, bound, unit);
        }

        ngx_http_academy_print(text, "\"} %uL\n", n);
    }

    ngx_http_academy_print(text, "%s_sum{exchange=\"%V\"} ", name,
                           &m->exchange);
    ngx_http_academy_print_unit(text, h->sum, unit);
    ngx_http_academy_print(text, "\n%s_count{exchange=\"%V\"} %uL\n", name,
                           &m->exchange, n);
}
