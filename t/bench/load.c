/*
 * The load generator of `make bench`.
 *
 * One thread, one epoll, raw sockets.  Every request is written out once and
 * afterwards only its tag is patched in place, so that what is measured is the
 * server.  Responses are read as HTTP/1.1 says (a length, chunks, or the end
 * of the connection), because the Python reference answers in other forms than
 * nginx does.
 *
 * A "cell" is a closed loop of its own: one connection for put and get, four
 * for an action.  Each run is bounded by -s seconds or by -c operations, and
 * by alarm() whatever happens.  The last line of the output is one JSON object.
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "load.h"


#define FILE_MAX    (4 * 1024 * 1024)
#define OPTIONS     "a:p:b:n:N:M:q:B:s:w:c:u:S:P:f:t:H:Tkiv"


options_t  opt = {
    .addr = "127.0.0.1",
    .base = "",
    .header = "",
    .target = "/plain",
    .port = 8700,
    .conns = 1,
    .total = 1000,
    .spread = 1,
    .seed = 1
};

static int  made_role, classes, created, refused;

static void usage(void);



/* an exchange takes a tag that came before for a message that came before */

static void
cell_tags(cell_t *cell)
{
    cell->seq = now() / 1000;
}


/* put and get, on one connection for each cell */

static void
putget_next(cell_t *cell)
{
    /* a request that its mailbox answers: what is remembered is forgotten */

    if ((cell->step & 2) == 0) {
        cell->seq++;
    }

    if (st.next == putget_next) {
        request_tag(&cell->req[cell->step & 2], cell->seq);
        memcpy(cell->tag + 24, cell->req[cell->step & 2].tag, 12);
    }

    conn_send(&cell->c[0], &cell->req[cell->step & 2]);
}


static void
plain_next(cell_t *cell)
{
    putget_next(cell);
}


static void
putget_done(conn_t *c, const char *body, size_t len)
{
    cell_t  *cell;

    cell = &st.cells[c->cell];

    if (c->status != 200) {
        failed(c, "%s: %d %.*s", (cell->step & 1) ? "get" : "put", c->status,
               (int) len, body);
        st.active--;
        return;
    }

    if (cell->step & 1) {
        cell->step++;

        if (st.next == putget_next
            && memmem(body, len, cell->tag, 36) == NULL)
        {
            failed(c, "another message came: %.*s", (int) len, body);
            st.active--;
            return;
        }

        cell_done(cell, now());
        return;
    }

    conn_send(c, &cell->req[1]);
    cell->step++;
}


/*
 * An action: the user's request to the agent's stream, and the agent's
 * response to the user's.  Connections: the user's stream, the user's puts,
 * the agent's stream, the agent's puts.
 */

enum { U_STREAM, U_PUT, A_STREAM, A_PUT };
enum { W_UPUT = 1, W_APUT = 2, W_EVENT = 4, W_ALL = 7 };


static void
action_next(cell_t *cell)
{
    cell->seq++;
    request_tag(&cell->req[0], cell->seq);
    request_tag(&cell->req[1], cell->seq);
    memcpy(cell->tag + 24, cell->req[0].tag, 12);

    cell->wait = W_ALL;
    conn_send(&cell->c[U_PUT], &cell->req[0]);
}


static void
action_have(cell_t *cell, int what)
{
    cell->wait &= ~what;

    if (cell->wait == 0) {
        cell_done(cell, cell->t1);
    }
}


static void
action_put(conn_t *c, const char *body, size_t len)
{
    cell_t  *cell;

    cell = &st.cells[c->cell];

    /* nchan says 201 */

    if (c->status / 100 != 2) {
        failed(c, "put: %d %.*s", c->status, (int) len, body);
        st.active--;
        return;
    }

    action_have(cell, (c == &cell->c[U_PUT]) ? W_UPUT : W_APUT);
}


static int
action_data(conn_t *c, const char *line, size_t len)
{
    cell_t  *cell;

    cell = &st.cells[c->cell];

    if (memmem(line, len, cell->tag, 36) == NULL) {
        failed(c, "another event came: %.*s", (int) len, line);
        return 0;
    }

    return 1;
}


static void
action_got(conn_t *c)
{
    cell_t  *cell;

    cell = &st.cells[c->cell];

    if (c == &cell->c[A_STREAM]) {
        conn_send(&cell->c[A_PUT], &cell->req[1]);
        return;
    }

    cell->t1 = now();
    action_have(cell, W_EVENT);
}


/* requests from files, in turn */

static void
replay_next(cell_t *cell)
{
    cell->step = 0;

    if (cell->req[0].tag) {
        request_tag(&cell->req[0], cell->seq++);
    }

    conn_send(&cell->c[0], &cell->req[0]);
}


void
replay_done(conn_t *c, const char *body, size_t len)
{
    cell_t  *cell;

    cell = &st.cells[c->cell];

    if (c->status != 200) {
        failed(c, "request %d: %d %.*s", cell->step, c->status, (int) len,
               body);
        st.active--;
        return;
    }

    if (++cell->step < opt.nfiles) {
        conn_send(c, &cell->req[cell->step]);
        return;
    }

    cell_done(cell, now());
}


/* mailboxes, opt.total of them, each once */

static void
create_next(cell_t *cell)
{
    int   i;
    char  more[128];

    /* ten of the rare class, evenly spread; everything has the same base */

    more[0] = '\0';
    i = st.started - 1;

    if (classes) {
        if (i % (opt.total / 10 ? opt.total / 10 : 1) == 0) {
            strcpy(more, ", \"agent\": \"bench.agents.Rare,"
                         "bench.agents.RareBase,academy.agent.Agent\"");
        } else {
            sprintf(more, ", \"agent\": \"bench.agents.Common%03d,"
                          "academy.agent.Agent\"", i % 500);
        }
    }

    free(cell->req[0].bytes);
    request_id(&cell->req[0], "POST", "/mailbox", made_role, i, more);
    conn_send(&cell->c[0], &cell->req[0]);
}


static void
create_done(conn_t *c, const char *body, size_t len)
{
    cell_t  *cell;

    cell = &st.cells[c->cell];

    if (c->status != 200) {
        if (c->status != 503) {
            failed(c, "create: %d %.*s", c->status, (int) len, body);
        }
        refused = c->status;
        st.stopping = 1;
        st.active--;
        return;
    }

    created++;
    cell_done(cell, now());
}


int
create(int who, int n, int conns)
{
    options_t  asked;

    asked = opt;
    opt.count = opt.total = n;
    opt.seconds = 0;
    opt.warm = 0;
    opt.pause = 0;
    made_role = who;
    created = 0;

    if (conns > n) {
        conns = n;
    }

    cells_make(conns, create_next, create_done);
    run(conns);
    cells_free(conns);

    opt = asked;

    if (st.errors || (created != n && !refused)) {
        fprintf(stderr, "load: mailboxes: %s\n", st.first);
        exit(2);
    }

    return created;
}


static void
mode_create(void)
{
    classes = 1;
    create(1, opt.total, 16);
    printf("{\"mode\": \"create\", \"created\": %d, \"refused\": %d, "
           "\"seconds\": %.3f}\n", created, refused,
           run_seconds());
}


void
putget_requests(void)
{
    int      i;
    cell_t  *cell;

    for (i = 0; i < opt.conns; i++) {
        cell = &st.cells[i];
        tag_make(cell->tag, i);
        cell_tags(cell);
        request_message(&cell->req[0], 1, i, 1, i, "request", cell->tag);
        request_id(&cell->req[1], "GET", "/message", 1, i,
                   ", \"timeout\": 10");
        request_message(&cell->req[2], 1, i, 1, i, "response", cell->tag);
    }
}


static void
putget(int plain)
{
    if (!plain) {
        create(1, opt.conns, opt.conns);
    }

    cells_make(opt.conns, plain ? plain_next : putget_next, putget_done);
    putget_requests();
    run(opt.conns);
    print_run(opt.conns);
}


static void
mode_putget(void)
{
    putget(0);
}


static void
mode_return200(void)
{
    putget(1);
}


static void
actions(int nchan)
{
    int        i, k;
    conn_t    *c;
    cell_t    *cell;
    request_t  req;

    if (!nchan) {
        create(0, opt.conns, opt.conns);
        create(1, opt.conns, opt.conns);
    }

    cells_make(opt.conns, action_next, action_put);

    for (i = 0; i < opt.conns; i++) {
        cell = &st.cells[i];
        tag_make(cell->tag, i);
        cell_tags(cell);

        if (nchan) {
            request_publish(&cell->req[0], 0, i, 1, i, "request", cell->tag);
            request_publish(&cell->req[1], 1, i, 0, i, "response", cell->tag);

        } else {
            request_message(&cell->req[0], 0, i, 1, i, "request", cell->tag);
            request_message(&cell->req[1], 1, i, 0, i, "response", cell->tag);
        }

        for (k = 0; k < 4; k += 2) {
            c = &cell->c[k];
            c->data = action_data;
            c->got = action_got;

            if (nchan) {
                request_subscribe(&req, k == A_STREAM, i);

            } else {
                request_id(&req, "GET", "/mailbox/listen", k == A_STREAM, i,
                           "");
            }

            stream_open(c, &req);
        }
    }

    streams_await(2 * opt.conns);
    run(opt.conns);
    print_run(opt.conns);
}


static void
mode_actions(void)
{
    actions(0);
}


static void
mode_nchan(void)
{
    actions(1);
}


/* the messages of an action, for another load generator */

static void
mode_messages(void)
{
    char  tag[37];

    tag_make(tag, 0);
    puts(message_make(0, 0, 1, 0, "request", tag));
    puts(message_make(1, 0, 0, 0, "response", tag));
}


static void
mode_replay(void)
{
    int        i, k;
    char      *p;
    FILE      *f;
    size_t     n;
    request_t  req[MAX_FILES];

    static const char  tag[] = "0000b19e-0000-4000-9000-";

    if (opt.nfiles == 0 || (opt.count == 0 && opt.seconds == 0)) {
        usage();
    }

    cells_make(opt.conns, replay_next, replay_done);

    for (k = 0; k < opt.nfiles; k++) {
        f = fopen(opt.files[k], "rb");
        if (f == NULL) {
            die(opt.files[k]);
        }

        p = need(malloc(FILE_MAX));
        n = fread(p, 1, FILE_MAX, f);
        fclose(f);
        req[k].bytes = p;
        req[k].len = n;
        req[k].tag = NULL;
    }

    for (i = 0; i < opt.conns; i++) {
        memcpy(st.cells[i].req, req, sizeof(req));
        cell_tags(&st.cells[i]);

        p = memmem(req[0].bytes, req[0].len, tag, sizeof(tag) - 1);

        if (p) {
            n = p - req[0].bytes + sizeof(tag) - 1;

            p = need(malloc(req[0].len));
            st.cells[i].req[0].bytes = memcpy(p, req[0].bytes, req[0].len);
            st.cells[i].req[0].tag = p + n;
        }
    }

    run(opt.conns);
    print_run(opt.conns);
}


static const struct {
    const char  *name;
    void       (*run)(void);
    const char  *what;
} modes[] = {
    { "putget", mode_putget,
      "put and get, -n connections with a mailbox each" },
    { "return200", mode_return200,
      "the same bytes, where nobody looks at them" },
    { "actions", mode_actions,
      "request and response over two streams, -n pairs" },
    { "nchan", mode_nchan,
      "the same messages, published and read as nchan has it" },
    { "nats", mode_nats,
      "the same messages, NATS's request and reply, -n pairs" },
    { "messages", mode_messages,
      "prints them" },
    { "create", mode_create,
      "-N mailboxes with classes, until 503" },
    { "park", mode_park,
      "-N streams, then a message to each" },
    { "idle", mode_idle,
      "-N connections after one request each" },
    { "replay", mode_replay,
      "the requests in -f files in turn, -n connections" },
    { "spread", mode_spread,
      "put and get among -M mailboxes, in which -q messages wait" },
    { "drain", mode_drain,
      "gets alone: -N messages wait in each of -n mailboxes" },
    { "deliver", mode_deliver,
      "-n connections put to -N streams, and wait for the event" },
    { NULL, NULL, NULL }
};


static void
usage(void)
{
    int  i;

    fprintf(stderr, "usage: load MODE [options]\n");

    for (i = 0; modes[i].name; i++) {
        fprintf(stderr, "  %-10s  %s\n", modes[i].name, modes[i].what);
    }

    fprintf(stderr,
        "options: -a address, -p port, -b prefix of the exchange,\n"
        "  -s seconds, -w seconds to warm up,\n"
        "  -c operations, -u microseconds between them, -S seed of the ids,\n"
        "  -B bytes of a message's body, -T over TLS,\n"
        "  -k what this seed makes for a spread is there already,\n"
        "  -P pid whose CPU time is counted, -i steps on standard input,\n"
        "  -v figures for each connection, -t target of idle,\n"
        "  -H a header for each request\n");
    exit(2);
}


int
main(int argc, char **argv)
{
    int                 c;
    struct rlimit       rl;
    struct epoll_event  ev;

    if (argc < 2) {
        usage();
    }

    opt.mode = argv[1];
    optind = 2;

    while ((c = getopt(argc, argv, OPTIONS)) != -1) {
        switch (c) {
        case 'a': opt.addr = optarg; break;
        case 'p': opt.port = atoi(optarg); break;
        case 'b': opt.base = optarg; break;
        case 'n': opt.conns = atoi(optarg); break;
        case 'N': opt.total = atoi(optarg); break;
        case 'M': opt.spread = atoi(optarg); break;
        case 'q': opt.queue = atol(optarg); break;
        case 'B': opt.size = strtoul(optarg, NULL, 0); break;
        case 'T': opt.tls = 1; break;
        case 'k': opt.kept = 1; break;
        case 's': opt.seconds = atof(optarg); break;
        case 'w': opt.warm = atof(optarg); break;
        case 'c': opt.count = atol(optarg); break;
        case 'u': opt.pause = atoi(optarg); break;
        case 'S': opt.seed = strtoul(optarg, NULL, 0); break;
        case 't': opt.target = optarg; break;
        case 'H': opt.header = optarg; break;
        case 'i': opt.steps = 1; break;
        case 'v': opt.each = 1; break;

        case 'P':
            if (opt.npids == MAX_PIDS) {
                usage();
            }
            opt.pids[opt.npids++] = atoi(optarg);
            break;

        case 'f':
            if (opt.nfiles == MAX_FILES) {
                usage();
            }
            opt.files[opt.nfiles++] = optarg;
            break;

        default:
            usage();
        }
    }

    if (opt.conns < 1 || opt.conns > MAX_CELLS || opt.total < 1
        || opt.spread < 1
        || (ntohl(inet_addr(opt.addr)) >> 24) != 127)
    {
        usage();
    }

    alarm(120 + (unsigned) (opt.seconds + opt.warm));

    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);

    st.ep = epoll_create1(0);
    if (st.ep == -1) {
        die("epoll_create1");
    }

    if (opt.steps) {
        ev.events = EPOLLIN;
        ev.data.ptr = NULL;
        if (epoll_ctl(st.ep, EPOLL_CTL_ADD, 0, &ev) == -1) {
            die("standard input");
        }
    }

    for (c = 0; modes[c].name; c++) {
        if (strcmp(opt.mode, modes[c].name) == 0) {
            modes[c].run();
            return st.errors ? 1 : 0;
        }
    }

    usage();
}
