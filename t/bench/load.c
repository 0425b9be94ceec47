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
#define WINDOW      64          /* connections being opened at a time */
#define PER_SOURCE  1000        /* connections for one source address */


options_t  opt = {
    .addr = "127.0.0.1",
    .base = "",
    .header = "",
    .target = "/plain",
    .port = 8700,
    .conns = 1,
    .total = 1000,
    .seed = 1
};

static int        made_role, classes, created, refused;

static conn_t    *parked;
static char      *seen;
static int        opened, inflight;
static uint64_t   arrived, doubled;


/* the requests are those of the Python client 1.0.0, byte for byte */

static const char  head_fmt[] =
    "%s %s%s HTTP/1.1\r\n"
    "Host: %s:%d\r\n"
    "academy_version: 1.0.0\r\n"
    "Accept: %s\r\n"
    "Accept-Encoding: gzip, deflate\r\n"
    "User-Agent: Python/3.11 aiohttp/3.14.5\r\n"
    "Content-Length: %zu\r\n"
    "Content-Type: application/json\r\n"
    "%s%s"
    "\r\n"
    "%s";

static const char  body_request[] =
    "{\\\"action\\\":\\\"echo\\\",\\\"serialization\\\":\\\"pickle\\\","
    "\\\"result_serialization\\\":null,"
    "\\\"exception_serialization\\\":null,"
    "\\\"pargs\\\":\\\"gASVCwAAAAAAAACMBWhlbGxvlIWULg==\\\","
    "\\\"kargs\\\":\\\"gAR9lC4=\\\",\\\"kind\\\":\\\"action-request\\\"}";

static const char  body_response[] =
    "{\\\"result\\\":[\\\"__serialized__\\\","
    "\\\"gASVCQAAAAAAAACMBWhlbGxvlC4=\\\"],"
    "\\\"serialization\\\":\\\"pickle\\\","
    "\\\"kind\\\":\\\"action-response\\\"}";


static void
uid_make(char *dst, int role, int i)
{
    sprintf(dst, "%08x-%04x-4000-8000-%012x", opt.seed, role, i);
}


static void
request_make(request_t *req, const char *method, const char *target,
    const char *accept, const char *fmt, ...)
{
    int      n;
    char     body[4096];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(body, sizeof(body), fmt, args);
    va_end(args);

    n = asprintf(&req->bytes, head_fmt, method, opt.base, target, opt.addr,
                 opt.port, accept, strlen(body), opt.header,
                 *opt.header ? "\r\n" : "", body);
    if (n == -1) {
        die("memory");
    }

    req->len = n;
    req->tag = NULL;
}


static void
request_id(request_t *req, const char *method, const char *target, int role,
    int i, const char *more)
{
    char  uid[37];

    uid_make(uid, role, i);
    request_make(req, method, target,
                 strstr(target, "listen") ? "text/event-stream" : "*/*",
                 "{\"mailbox\": \"{\\\"uid\\\":\\\"%s\\\",\\\"name\\\":null,"
                 "\\\"role\\\":\\\"%s\\\"}\"%s}",
                 uid, role ? "agent" : "user", more);
}


static void
request_message(request_t *req, int srole, int src, int drole, int dest,
    const char *kind, const char *tag)
{
    char  s[37], d[37];

    uid_make(s, srole, src);
    uid_make(d, drole, dest);

    request_make(req, "PUT", "/message", "*/*",
                 "{\"message\": \"{\\\"header\\\":"
                 "{\\\"src\\\":{\\\"uid\\\":\\\"%s\\\",\\\"name\\\":null,"
                 "\\\"role\\\":\\\"%s\\\"},"
                 "\\\"dest\\\":{\\\"uid\\\":\\\"%s\\\",\\\"name\\\":null,"
                 "\\\"role\\\":\\\"%s\\\"},"
                 "\\\"tag\\\":\\\"%s\\\","
                 "\\\"label\\\":\\\"310dec42-f562-4184-87ed-f3e118ea12d4\\\","
                 "\\\"kind\\\":\\\"%s\\\",\\\"protocol_version\\\":\\\"1.1\\\","
                 "\\\"academy_version\\\":\\\"1.0.0\\\"},\\\"body\\\":%s}\"}",
                 s, srole ? "agent" : "user", d, drole ? "agent" : "user",
                 tag, kind,
                 strcmp(kind, "request") ? body_response : body_request);

    req->tag = strstr(req->bytes, tag) + 24;
}


static void
request_tag(request_t *req, uint64_t seq)
{
    int                i;
    static const char  hex[] = "0123456789abcdef";

    for (i = 11; i >= 0; i--) {
        req->tag[i] = hex[seq & 15];
        seq >>= 4;
    }
}


/* an exchange takes a tag that came before for a message that came before */

static void
cell_tags(cell_t *cell)
{
    cell->seq = now() / 1000;
}


static void
tag_make(char *dst, int id)
{
    /* never the same text as one of the ids of uid_make() */

    sprintf(dst, "%08x-%04x-4000-9000-000000000000", opt.seed,
            id & 0xffff);
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

    if (c->status != 200) {
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


static void
stream_done(conn_t *c, const char *body, size_t len)
{
    failed(c, "a stream ended: %d %.*s", c->status, (int) len, body);
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


static void
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


static void
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


/* many connections that wait */

static void
park_opened(conn_t *c)
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


static void
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
            c->stream = 1;
            c->opened = park_opened;
            c->done = stream_done;
            c->data = park_data;
            c->got = park_got;
            request_id(&req, "GET", "/mailbox/listen", 1, i, "");

        } else {
            c->done = idle_done;
            req = *plain;
        }

        inflight++;
        conn_send(c, &req);

        if (c->out_len) {
            failed(c, "a request did not fit the socket");
        }

        if (stream) {
            free(req.bytes);
        }

        i++;
    }
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


static void
mode_park(void)
{
    int       conns;
    uint64_t  t0, t1, deadline;

    conns = 16;
    create(1, opt.total, conns);
    step("created", ", \"mailboxes\": %d", created);

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


static void
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


static void
mode_create(void)
{
    classes = 1;
    create(1, opt.total, 16);
    printf("{\"mode\": \"create\", \"created\": %d, \"refused\": %d, "
           "\"seconds\": %.3f}\n", created, refused,
           run_seconds());
}


static void
mode_putget(int plain)
{
    int      i;
    cell_t  *cell;

    if (!plain) {
        create(1, opt.conns, opt.conns);
    }

    cells_make(opt.conns, plain ? plain_next : putget_next, putget_done);

    for (i = 0; i < opt.conns; i++) {
        cell = &st.cells[i];
        tag_make(cell->tag, i);
        cell_tags(cell);
        request_message(&cell->req[0], 1, i, 1, i, "request", cell->tag);
        request_id(&cell->req[1], "GET", "/message", 1, i,
                   ", \"timeout\": 10");
        request_message(&cell->req[2], 1, i, 1, i, "response", cell->tag);
    }

    run(opt.conns);
    print_run(opt.conns);
}


static void
mode_actions(void)
{
    int        i, k;
    conn_t    *c;
    cell_t    *cell;
    uint64_t   deadline;
    request_t  req;

    create(0, opt.conns, opt.conns);
    create(1, opt.conns, opt.conns);
    cells_make(opt.conns, action_next, action_put);
    inflight = 0;

    for (i = 0; i < opt.conns; i++) {
        cell = &st.cells[i];
        tag_make(cell->tag, i);
        cell_tags(cell);
        request_message(&cell->req[0], 0, i, 1, i, "request", cell->tag);
        request_message(&cell->req[1], 1, i, 0, i, "response", cell->tag);

        for (k = 0; k < 4; k += 2) {
            c = &cell->c[k];
            c->stream = 1;
            c->opened = park_opened;
            c->done = stream_done;
            c->data = action_data;
            c->got = action_got;
            request_id(&req, "GET", "/mailbox/listen", k == A_STREAM, i, "");
            inflight++;
            conn_send(c, &req);
        }
    }

    deadline = now() + 10000000000u;
    while (inflight && now() < deadline) {
        turn(deadline);
    }

    if (opened != 2 * opt.conns) {
        fprintf(stderr, "load: streams: %s\n", st.first);
        exit(2);
    }

    run(opt.conns);
    print_run(opt.conns);
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


static void
usage(void)
{
    fprintf(stderr,
        "usage: load MODE [options]\n"
        "  putget      put and get, -n connections with a mailbox each\n"
        "  return200   the same bytes, where nobody looks at them\n"
        "  actions     request and response over two streams, -n pairs\n"
        "  create      -N mailboxes with classes, until 503\n"
        "  park        -N streams, then a message to each\n"
        "  idle        -N connections after one request each\n"
        "  replay      the requests in -f files in turn, -n connections\n"
        "options: -a address, -p port, -b prefix of the exchange,\n"
        "  -s seconds, -w seconds to warm up,\n"
        "  -c operations, -u microseconds between them, -S seed of the ids,\n"
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

    while ((c = getopt(argc, argv, "a:p:b:n:N:s:w:c:u:S:P:f:t:H:iv")) != -1) {
        switch (c) {
        case 'a': opt.addr = optarg; break;
        case 'p': opt.port = atoi(optarg); break;
        case 'b': opt.base = optarg; break;
        case 'n': opt.conns = atoi(optarg); break;
        case 'N': opt.total = atoi(optarg); break;
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

    if (strcmp(opt.mode, "putget") == 0) {
        mode_putget(0);

    } else if (strcmp(opt.mode, "return200") == 0) {
        mode_putget(1);

    } else if (strcmp(opt.mode, "actions") == 0) {
        mode_actions();

    } else if (strcmp(opt.mode, "create") == 0) {
        mode_create();

    } else if (strcmp(opt.mode, "park") == 0) {
        mode_park();

    } else if (strcmp(opt.mode, "idle") == 0) {
        mode_idle();

    } else if (strcmp(opt.mode, "replay") == 0 && opt.nfiles) {
        if (opt.count == 0 && opt.seconds == 0) {
            usage();
        }
        mode_replay();

    } else {
        usage();
    }

    return st.errors ? 1 : 0;
}