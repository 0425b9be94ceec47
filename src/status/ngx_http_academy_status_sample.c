
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


/*
 * The last hour.  Whichever worker is first in ten seconds takes a sample; one
 * that dies meanwhile is missed, and the next sample says how long its time
 * was.  A store may be late to tell what there is, so that two workers come at
 * once: the second one's is dropped.
 */


#define NGX_HTTP_ACADEMY_SAMPLE_TICK  1000

/* nearer to the last one there is no other; milliseconds */

#define NGX_HTTP_ACADEMY_SAMPLE_NEAR  (NGX_HTTP_ACADEMY_SAMPLE_TIME * 500)


typedef struct {
    ngx_http_academy_call_t        call;
    ngx_http_academy_caller_t      caller;
    ngx_http_academy_survey_t      survey;
} ngx_http_academy_sampler_t;


static void ngx_http_academy_sample_handler(ngx_event_t *ev);
static ngx_uint_t ngx_http_academy_sample_due(
    ngx_http_academy_figures_t *figures);
static void ngx_http_academy_sample_begin(
    ngx_http_academy_exchange_t *exchange);
static void ngx_http_academy_sample_done(ngx_http_academy_call_t *call);
static void ngx_http_academy_sample_see(ngx_http_academy_sample_t *sample,
    ngx_http_academy_figures_t *figures, ngx_http_academy_survey_t *survey);
static void ngx_http_academy_sample_sum(ngx_http_academy_sample_t *sample,
    ngx_http_academy_figures_t *figures);


static ngx_event_t  ngx_http_academy_sample_event;

/* nginx takes the data of a timer's event for a connection, to log it */

static ngx_connection_t  ngx_http_academy_sample_connection;


void
ngx_http_academy_status_init_worker(ngx_cycle_t *cycle)
{
    ngx_event_t  *ev;

    ngx_http_academy_sample_connection.fd = (ngx_socket_t) -1;

    ev = &ngx_http_academy_sample_event;

    ev->handler = ngx_http_academy_sample_handler;
    ev->data = &ngx_http_academy_sample_connection;
    ev->log = cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, NGX_HTTP_ACADEMY_SAMPLE_TICK);
}


static void
ngx_http_academy_sample_handler(ngx_event_t *ev)
{
    ngx_uint_t                      i;
    ngx_http_academy_exchange_t   **exchange;
    ngx_http_academy_main_conf_t   *amcf;

    amcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_academy_module);

    exchange = amcf ? amcf->exchanges.elts : NULL;

    for (i = 0; amcf && i < amcf->exchanges.nelts; i++) {

        if (ngx_exiting) {
            exchange[i]->figures->mine->exiting = 1;
            continue;
        }

        if (exchange[i]->figures->watched && exchange[i]->store->survey
            && ngx_http_academy_sample_due(exchange[i]->figures))
        {
            ngx_http_academy_sample_begin(exchange[i]);
        }
    }

    ngx_add_timer(ev, NGX_HTTP_ACADEMY_SAMPLE_TICK);
}


static ngx_uint_t
ngx_http_academy_sample_due(ngx_http_academy_figures_t *figures)
{
    time_t                          now;
    ngx_uint_t                      due;
    ngx_http_academy_figures_sh_t  *sh;

    sh = figures->sh;
    now = ngx_time();

    /* a clock that was set back is a time that is long past as well */

    if (now - sh->sampling < NGX_HTTP_ACADEMY_SAMPLE_TIME
        && now >= sh->sampling)
    {
        return 0;
    }

    ngx_shmtx_lock(&figures->shpool->mutex);

    due = (now - sh->sampling >= NGX_HTTP_ACADEMY_SAMPLE_TIME
           || now < sh->sampling);

    if (due) {
        sh->sampling = now;
    }

    ngx_shmtx_unlock(&figures->shpool->mutex);

    return due;
}


static void
ngx_http_academy_sample_begin(ngx_http_academy_exchange_t *exchange)
{
    ngx_http_academy_sampler_t  *sampler;

    sampler = ngx_calloc(sizeof(ngx_http_academy_sampler_t), ngx_cycle->log);
    if (sampler == NULL) {
        return;
    }

    sampler->call.exchange = exchange;
    sampler->call.caller = &sampler->caller;
    sampler->call.log = ngx_cycle->log;
    sampler->call.done = ngx_http_academy_sample_done;
    sampler->call.data = sampler;
    sampler->call.in.survey = &sampler->survey;

    ngx_http_academy_survey_unknown(&sampler->survey);

    (void) exchange->store->survey(&sampler->call);
}


static void
ngx_http_academy_sample_done(ngx_http_academy_call_t *call)
{
    ngx_http_academy_sample_t       sample, *last;
    ngx_http_academy_figures_t     *figures;
    ngx_http_academy_sampler_t     *sampler;
    ngx_http_academy_figures_sh_t  *sh;

    sampler = call->data;
    figures = call->exchange->figures;
    sh = figures->sh;

    /* what the store could not tell is unknown */

    ngx_http_academy_sample_see(&sample, figures, &sampler->survey);

    ngx_shmtx_lock(&figures->shpool->mutex);

    last = sh->nsamples ? &sh->samples[(sh->nsamples - 1)
                                       % NGX_HTTP_ACADEMY_SAMPLES]
                        : NULL;

    if (last == NULL
        || (ngx_msec_int_t) (sample.taken - last->taken)
           >= NGX_HTTP_ACADEMY_SAMPLE_NEAR)
    {
        /* within the lock, so that no sum is less than the one before it */

        ngx_http_academy_sample_sum(&sample, figures);

        sh->samples[sh->nsamples % NGX_HTTP_ACADEMY_SAMPLES] = sample;

        ngx_memory_barrier();

        sh->nsamples++;
    }

    ngx_shmtx_unlock(&figures->shpool->mutex);

    ngx_free(sampler);
}


static void
ngx_http_academy_sample_see(ngx_http_academy_sample_t *sample,
    ngx_http_academy_figures_t *figures, ngx_http_academy_survey_t *survey)
{
    ngx_uint_t                 i;
    ngx_http_academy_tally_t  *tally;

    sample->time = ngx_time();
    sample->taken = ngx_current_msec;
    sample->waiting = 0;

    for (i = 0; /* void */ ; i++) {
        tally = ngx_http_academy_figures_worker(figures, &i);

        if (tally == NULL) {
            break;
        }

        sample->waiting += tally->polls + tally->streams;
    }

    sample->queued = survey->queued;
    sample->bytes = survey->bytes;
    sample->mailboxes = (survey->active[0] == NGX_HTTP_ACADEMY_UNKNOWN)
                        ? NGX_HTTP_ACADEMY_UNKNOWN
                        : survey->active[0] + survey->active[1];
    sample->free = survey->free;
}


static void
ngx_http_academy_sample_sum(ngx_http_academy_sample_t *sample,
    ngx_http_academy_figures_t *figures)
{
    ngx_uint_t               i;
    ngx_http_academy_sums_t  sums;

    ngx_http_academy_figures_sum(figures, &sums);

    sample->accepted = sums.counters[NGX_HTTP_ACADEMY_N_ACCEPTED];
    sample->delivered = sums.counters[NGX_HTTP_ACADEMY_N_DELIVERED];
    sample->redelivered = sums.counters[NGX_HTTP_ACADEMY_N_REDELIVERED];
    sample->refused = 0;

    for (i = NGX_HTTP_ACADEMY_N_REFUSED_MESSAGES;
         i < NGX_HTTP_ACADEMY_N_ROUTES;
         i++)
    {
        sample->refused += sums.counters[i];
    }

    ngx_memcpy(sample->latency,
               sums.histograms[NGX_HTTP_ACADEMY_H_LATENCY].buckets,
               sizeof(sample->latency));
}
