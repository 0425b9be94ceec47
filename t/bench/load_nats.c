
/*
 * NATS's request and reply, spoken by the load generator itself: what the
 * server can do when its clients cost as little as those of the others.  As
 * nats.go does it, a user has one subscription for all replies, and names a
 * subject under it with each request.
 */

#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"


enum { USER, AGENT };


static request_t  hello = {
    .bytes = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n"
};

static request_t  pong = { .bytes = "PONG\r\n", .len = 6 };


static void
nats_next(cell_t *cell)
{
    cell->seq++;
    request_tag(&cell->req[USER], cell->seq);
    request_mailbox(&cell->req[USER], cell->seq);
    memcpy(cell->tag + 24, cell->req[USER].tag, 12);
    conn_send(&cell->c[USER], &cell->req[USER]);
}


/* MSG subject sid [reply] length */

static void
nats_message(conn_t *c, char *reply, char *payload, size_t len)
{
    cell_t     *cell;
    request_t  *req;

    cell = &st.cells[c->cell];

    if (memmem(payload, len, cell->tag, 36) == NULL) {
        failed(c, "another message came: %.*s", (int) len, payload);
        st.active--;
        return;
    }

    if (c == &cell->c[USER]) {
        cell_done(cell, now());
        return;
    }

    /* the digits end the subject that the reply goes to */

    req = &cell->req[AGENT];
    memcpy(req->uid[0], reply - 12, 12);
    request_tag(req, cell->seq);
    conn_send(c, req);
}


static char *
nats_parse(conn_t *c, char *p, char *end)
{
    char    *nl, *len, *reply;
    size_t   n;

    while (p < end) {
        nl = memchr(p, '\n', end - p);
        if (nl == NULL) {
            return p;
        }

        switch (p[0]) {

        case 'M':
            len = memrchr(p, ' ', nl - p);
            n = strtoul(len, NULL, 10);

            if ((size_t) (end - nl) < 1 + n + 2) {
                return p;
            }

            reply = len;
            p = nl + 1 + n + 2;
            nats_message(c, reply, nl + 1, n);
            continue;

        case 'P':
            if (p[1] == 'I') {
                conn_send(c, &pong);

            } else if (c->opened) {
                c->status = 200;
                c->opened(c);
                c->opened = NULL;
            }
            break;

        case 'I':
            break;

        default:
            failed(c, "%.*s", (int) (nl - p), p);
            st.active--;
        }

        p = nl + 1;
    }

    return p;
}


static void
nats_publish(request_t *req, const char *subject, const char *reply,
    int agent, int i, const char *tag)
{
    int    n;
    char  *text;

    text = agent ? message_make(1, i, 0, i, "response", tag)
                 : message_make(0, i, 1, i, "request", tag);

    n = asprintf(&req->bytes, "PUB %s%s %zu\r\n%s\r\n", subject, reply,
                 strlen(text), text);
    if (n == -1) {
        die("memory");
    }

    req->len = n;
    req->tag = strstr(req->bytes, tag) + 24;
    req->uid[0] = strstr(req->bytes, ".000000000000") + 1;
    req->nuids = 1;
    free(text);
}


void
mode_nats(void)
{
    int        i, k;
    char       subject[2][64];
    conn_t    *c;
    cell_t    *cell;
    request_t  req;

    hello.len = strlen(hello.bytes);
    cells_make(opt.conns, nats_next, NULL);

    for (i = 0; i < opt.conns; i++) {
        cell = &st.cells[i];
        tag_make(cell->tag, i);

        sprintf(subject[AGENT], "agent.%08x.%d", opt.seed, i);
        sprintf(subject[USER], "_INBOX.%08x.%d", opt.seed, i);

        for (k = USER; k <= AGENT; k++) {
            if (asprintf(&req.bytes, "%sSUB %s%s 1\r\nPING\r\n", hello.bytes,
                         subject[k], k == USER ? ".*" : "") == -1)
            {
                die("memory");
            }

            req.len = strlen(req.bytes);
            c = &cell->c[k];
            c->parse = nats_parse;
            stream_open(c, &req);
        }

        strcat(subject[USER], ".000000000000");
        strcat(subject[AGENT], " ");
        nats_publish(&cell->req[USER], subject[AGENT], subject[USER], USER, i,
                     cell->tag);
        nats_publish(&cell->req[AGENT], subject[USER], "", AGENT, i,
                     cell->tag);
    }

    streams_await(2 * opt.conns);
    run(opt.conns);
    print_run(opt.conns);
}
