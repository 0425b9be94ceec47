
/*
 * Event streams and idle connections of the load generator, many that wait,
 * opened from as many addresses as they need.
 */

#define _GNU_SOURCE

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"


#define WINDOW      64          /* connections being opened at a time */
#define PER_SOURCE  1000        /* connections for one source address */


conn_t           *parked;

static char      *seen;
static int        opened, inflight;
static uint64_t   arrived, doubled;


static void
stream_done(conn_t *c, const char *body, size_t len)
{
    failed(c, "a stream ended: %d %.*s", c->status, (int) len, body);
}


/* one step for whoever measures from outside: say so, and wait for a line */

static int
step(const char *name, const char *fmt, ...)
{
    char     line[64];
    va_list  args;

    printf("{\"phase\": \"%s\"", name);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("}\n");
    fflush(stdout);

    if (!opt.steps) {
        return 0;
    }

    st.typed = 0;
    while (!st.typed) {
        turn(now() + 1000000000u);
    }

    if (read(0, line, sizeof(line)) <= 0) {
        exit(0);
    }

    return line[0];
}


/* connections that wait */

void
stream_opened(conn_t *c)
{
    if (c->status == 200) {
        opened++;
    } else {
        failed(c, "stream: %d", c->status);
    }

    inflight--;
}


static void
idle_done(conn_t *c, const char *body, size_t len)
{
    if (c->status == 200) {
        opened++;
    } else {
        failed(c, "idle: %d %.*s", c->status, (int) len, body);
    }

    inflight--;
}


void
stream_open(conn_t *c, request_t *req)
{
    c->stream = 1;
    c->opened = stream_opened;
    c->done = stream_done;

    inflight++;
    conn_send(c, req);
}


void
streams_await(int n)
{
    uint64_t  deadline;

    deadline = now() + 10000000000u;

    while (inflight && now() < deadline) {
        turn(deadline);
    }

    if (opened != n) {
        fprintf(stderr, "load: streams: %s\n", st.first);
        exit(2);
    }
}


static int
park_data(conn_t *c, const char *line, size_t len)
{
    char  uid[37];

    uid_make(uid, 1, c->cell);

    if (memmem(line, len, uid, 36) == NULL) {
        failed(c, "another mailbox's event: %.*s", (int) len, line);
        return 0;
    }

    return 1;
}


static void
park_got(conn_t *c)
{
    if (seen[c->cell]++) {
        doubled++;
    } else {
        arrived++;
    }
}


int
park_open(int stream, request_t *plain)
{
    int        i;
    conn_t    *c;
    uint64_t   deadline;
    request_t  req;

    parked = need(calloc(opt.total, sizeof(conn_t)));
    seen = need(calloc(opt.total, 1));
    deadline = now() + 60000000000u;
    req.bytes = NULL;

    for (i = 0; i < opt.total || inflight; /* void */) {

        if (i == opt.total || inflight == WINDOW) {
            if (now() > deadline || st.errors) {
                break;
            }
            turn(deadline);
            continue;
        }

        c = &parked[i];
        c->fd = -1;
        c->cell = i;
        c->from = 0x7f000002 + i / PER_SOURCE;

        if (stream) {
            c->data = park_data;
            c->got = park_got;
            request_id(&req, "GET", "/mailbox/listen", 1, i, "");
            stream_open(c, &req);

        } else {
            c->done = idle_done;
            inflight++;
            conn_send(c, plain);
        }

        if (c->out_len) {
            failed(c, "a request did not fit the socket");
        }

        if (stream) {
            free(req.bytes);
        }

        i++;
    }

    return opened;
}


/* one message to each stream */

static void
park_next(cell_t *cell)
{
    int   i;
    char  tag[37];

    i = st.started - 1;
    sprintf(tag, "%08x-ffff-4000-9000-%012x", opt.seed, i);

    free(cell->req[0].bytes);
    request_message(&cell->req[0], 1, i, 1, i, "response", tag);
    conn_send(&cell->c[0], &cell->req[0]);
}


void
mode_park(void)
{
    int       conns;
    uint64_t  t0, t1, deadline;

    conns = 16;
    step("created", ", \"mailboxes\": %d", create(1, opt.total, conns));

    t0 = now();
    park_open(1, NULL);
    t1 = now();
    step("parked", ", \"opened\": %d, \"seconds\": %.3f, \"errors\": %lu, "
         "\"first_error\": \"%s\"", opened, (t1 - t0) / 1e9, st.errors,
         st.first);

    /* "i" asks for the pings so far; another line goes on */

    while (step("idle", ", \"pings\": %lu, \"ended\": %lu", st.pings, st.ended)
           == 'i')
    {
        /* void */
    }

    opt.count = opt.total;
    opt.seconds = 30;
    opt.warm = 0;
    t0 = now();
    cells_make(conns, park_next, replay_done);
    opt.nfiles = 1;
    run(conns);

    deadline = t0 + 30000000000u;
    while (arrived < (uint64_t) opt.total && now() < deadline) {
        turn(deadline);
    }
    t1 = now();

    step("delivered", ", \"sent\": %lu, \"arrived\": %lu, \"doubled\": %lu, "
         "\"pings\": %lu, \"ended\": %lu, \"seconds\": %.3f", st.ops, arrived,
         doubled, st.pings, st.ended, (t1 - t0) / 1e9);

    print_run(conns);
}


void
mode_idle(void)
{
    request_t  req;

    if (asprintf(&req.bytes, "GET %s HTTP/1.1\r\nHost: %s:%d\r\n"
                 "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
                 "User-Agent: Python/3.11 aiohttp/3.14.5\r\n\r\n",
                 opt.target, opt.addr, opt.port) == -1)
    {
        die("memory");
    }

    req.len = strlen(req.bytes);
    step("ready", "");
    park_open(0, &req);
    step("parked", ", \"opened\": %d, \"errors\": %lu, \"first_error\": "
         "\"%s\"", opened, st.errors, st.first);
    print_run(0);
}


