
/*
 * The modes of the load generator that say how the exchange grows: with the
 * number of mailboxes, of messages that wait, and of streams.
 */

#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"


#define LONG      300           /* seconds that filling may take */
#define FILLING   0x8000        /* tags of what was there before */


static int       *owner;        /* of a stream: the cell that puts to it, + 1 */
static uint64_t   dice = 88172645463325252u;


static int
any(int n)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;

    return dice % n;
}


/* messages that wait, as many in each of some mailboxes */

static void
fill_next(cell_t *cell)
{
    request_mailbox(&cell->req[0], (st.started - 1) % opt.spread);
    request_tag(&cell->req[0], ++cell->seq);
    conn_send(&cell->c[0], &cell->req[0]);
}


static void
fill(int mailboxes, long messages)
{
    int        i;
    options_t  asked;

    if (messages == 0) {
        return;
    }

    asked = opt;
    opt.count = messages;
    opt.spread = mailboxes;
    opt.seconds = LONG;
    opt.warm = 0;
    opt.nfiles = 1;

    cells_make(PAIRS, fill_next, replay_done);

    for (i = 0; i < PAIRS; i++) {
        tag_make(st.cells[i].tag, FILLING + i);
        request_message(&st.cells[i].req[0], 1, 0, 1, 0, "response",
                        st.cells[i].tag);
    }

    run(PAIRS);

    if (st.errors || st.ops != (uint64_t) messages) {
        fprintf(stderr, "load: filling: %lu of %ld: %s\n", st.ops, messages,
                st.first);
        exit(2);
    }

    cells_free(PAIRS);
    opt = asked;
}


/* put and get among -M mailboxes, in which -q messages wait; all of them are
   there already with -k */

static void
spread_next(cell_t *cell)
{
    int  i, k;

    if ((cell->step & 2) == 0) {
        cell->seq++;
        i = any(opt.spread);

        for (k = 0; k < 3; k++) {
            request_mailbox(&cell->req[k], i);
        }
    }

    request_tag(&cell->req[cell->step & 2], cell->seq);
    conn_send(&cell->c[0], &cell->req[cell->step & 2]);
}


static void
spread_done(conn_t *c, const char *body, size_t len)
{
    cell_t  *cell;

    cell = &st.cells[c->cell];

    if (c->status != 200) {
        failed(c, "%d %.*s", c->status, (int) len, body);
        st.active--;
        return;
    }

    if (cell->step++ & 1) {
        cell_done(cell, now());
        return;
    }

    conn_send(c, &cell->req[1]);
}


void
mode_spread(void)
{
    alarm(LONG + LONG);

    if (!opt.kept) {
        create(1, opt.spread, PAIRS);
        fill(opt.spread, opt.queue);
    }

    cells_make(opt.conns, spread_next, spread_done);
    putget_requests();
    run(opt.conns);
    print_run(opt.conns);
}


/* gets alone: -N messages that wait in each of -n mailboxes */

static void
drain_next(cell_t *cell)
{
    if (cell->step++ == opt.total) {
        st.active--;
        return;
    }

    conn_send(&cell->c[0], &cell->req[1]);
}


static void
drain_done(conn_t *c, const char *body, size_t len)
{
    if (c->status != 200) {
        failed(c, "get: %d %.*s", c->status, (int) len, body);
        st.active--;
        return;
    }

    cell_done(&st.cells[c->cell], now());
}


void
mode_drain(void)
{
    alarm(LONG);
    create(1, opt.conns, PAIRS);
    fill(opt.conns, (long) opt.conns * opt.total);

    cells_make(opt.conns, drain_next, drain_done);
    putget_requests();
    run(opt.conns);
    print_run(opt.conns);
}


/* a message to any of -N streams, until it is there */

static void
deliver_next(cell_t *cell)
{
    int  i;

    do {
        i = any(opt.total);
    } while (owner[i]);

    owner[i] = cell->id + 1;
    cell->step = i;
    cell->wait = 2;
    request_mailbox(&cell->req[0], i);
    request_tag(&cell->req[0], ++cell->seq);
    memcpy(cell->tag + 24, cell->req[0].tag, 12);
    conn_send(&cell->c[0], &cell->req[0]);
}


static void
deliver_part(cell_t *cell)
{
    if (--cell->wait == 0) {
        owner[cell->step] = 0;
        cell_done(cell, now());
    }
}


static void
deliver_put(conn_t *c, const char *body, size_t len)
{
    if (c->status != 200) {
        failed(c, "put: %d %.*s", c->status, (int) len, body);
        st.active--;
        return;
    }

    deliver_part(&st.cells[c->cell]);
}


static int
deliver_data(conn_t *c, const char *line, size_t len)
{
    cell_t  *cell;

    cell = owner[c->cell] ? &st.cells[owner[c->cell] - 1] : NULL;

    if (cell == NULL || memmem(line, len, cell->tag, 36) == NULL) {
        failed(c, "another event came: %.*s", (int) len, line);
        return 0;
    }

    return 1;
}


static void
deliver_got(conn_t *c)
{
    deliver_part(&st.cells[owner[c->cell] - 1]);
}


void
mode_deliver(void)
{
    int      i;
    cell_t  *cell;

    alarm(LONG);
    create(1, opt.total, PAIRS);

    if (park_open(1, NULL) != opt.total) {
        fprintf(stderr, "load: streams: %s\n", st.first);
        exit(2);
    }

    for (i = 0; i < opt.total; i++) {
        parked[i].data = deliver_data;
        parked[i].got = deliver_got;
    }

    if (opt.conns > opt.total) {
        opt.conns = opt.total;
    }

    owner = need(calloc(opt.total, sizeof(int)));
    cells_make(opt.conns, deliver_next, deliver_put);

    for (i = 0; i < opt.conns; i++) {
        cell = &st.cells[i];
        tag_make(cell->tag, i);
        request_message(&cell->req[0], 1, 0, 1, 0, "response", cell->tag);
    }

    run(opt.conns);
    print_run(opt.conns);
}
