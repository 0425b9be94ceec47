
/*
 * The loop of the load generator, the clock, and what was measured.
 *
 * A run has a time to warm up, a window that is measured, and a time to end
 * what was begun, so that no run leaves a message behind for the next.
 */

#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "load.h"


#define GRACE  5                /* seconds to end what was begun */
#define MOST   60               /* seconds for a run that counts */


typedef struct {
    uint64_t     ns;
    int          cell;
} sample_t;


typedef struct {
    int          open;
    uint64_t     begin;
    uint64_t     end;
    uint64_t     cpu;           /* of the watched processes */
    uint64_t     own;

    sample_t    *samples;
    size_t       n;
    size_t       cap;
} window_t;


state_t  st;

static window_t   win;

/* cells that pause; all pause equally long, so the first is due first */

static cell_t    *queue[MAX_CELLS];
static unsigned   qhead, qtail;


void
die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}


uint64_t
now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * 1000000000u + ts.tv_nsec;
}


void *
need(void *p)
{
    if (p == NULL) {
        die("memory");
    }

    return p;
}


void
failed(conn_t *c, const char *fmt, ...)
{
    int      n;
    char    *p;
    va_list  args;

    if (st.errors++ == 0) {
        n = snprintf(st.first, sizeof(st.first), "cell %d: ", c->cell);
        va_start(args, fmt);
        vsnprintf(st.first + n, sizeof(st.first) - n, fmt, args);
        va_end(args);

        for (p = st.first; *p; p++) {
            if (*p == '"' || *p == '\\' || (unsigned char) *p < ' ') {
                *p = '\'';
            }
        }
    }
}


/* nanoseconds of CPU that the watched processes have used, all threads */

static uint64_t
cpu_used(void)
{
    int                  i;
    DIR                 *dir;
    FILE                *f;
    char                 path[320];
    uint64_t             sum, ns;
    struct dirent       *de;

    sum = 0;

    for (i = 0; i < opt.npids; i++) {
        snprintf(path, sizeof(path), "/proc/%d/task", opt.pids[i]);
        dir = opendir(path);
        if (dir == NULL) {
            die(path);
        }

        while ((de = readdir(dir)) != NULL) {
            if (de->d_name[0] == '.') {
                continue;
            }

            snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat",
                     opt.pids[i], de->d_name);
            f = fopen(path, "r");
            if (f != NULL) {
                if (fscanf(f, "%lu", &ns) == 1) {
                    sum += ns;
                }
                fclose(f);
            }
        }

        closedir(dir);
    }

    return sum;
}


static uint64_t
cpu_own(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t) ts.tv_sec * 1000000000u + ts.tv_nsec;
}


/* measuring */

static void
measure_start(uint64_t t)
{
    win.open = 1;
    st.ops = 0;
    st.bytes = 0;
    win.n = 0;
    win.begin = t;
    win.own = cpu_own();
    win.cpu = cpu_used();
}


static void
measure_stop(uint64_t t)
{
    if (win.open) {
        win.cpu = cpu_used() - win.cpu;
        win.own = cpu_own() - win.own;
        win.end = t;
        win.open = 0;
    }
}


static void
cell_start(cell_t *cell, uint64_t t)
{
    if (st.stopping || (opt.count && st.started >= (uint64_t) opt.count)) {
        st.active--;
        return;
    }

    st.started++;
    cell->t0 = t;
    st.next(cell);
}


void
cell_done(cell_t *cell, uint64_t t)
{
    sample_t  *s;

    if (win.open) {
        st.ops++;

        if (win.n == win.cap) {
            win.cap = win.cap ? win.cap * 2 : 65536;
            win.samples = need(realloc(win.samples,
                                     win.cap * sizeof(sample_t)));
        }

        s = &win.samples[win.n++];
        s->ns = t - cell->t0;
        s->cell = cell->id;
    }

    if (opt.pause) {
        cell->due = t + (uint64_t) opt.pause * 1000;
        queue[qtail++ % MAX_CELLS] = cell;
        return;
    }

    cell_start(cell, t);
}


/* handles events until *until is reached, or all cells are done */

void
turn(uint64_t until)
{
    int                 i, n;
    conn_t             *c;
    uint64_t            t, next;
    struct timespec     ts;
    struct epoll_event  ev[256];

    t = now();
    next = until;

    while (qhead != qtail) {
        if (queue[qhead % MAX_CELLS]->due > t && !st.stopping) {
            if (queue[qhead % MAX_CELLS]->due < next) {
                next = queue[qhead % MAX_CELLS]->due;
            }
            break;
        }

        cell_start(queue[qhead++ % MAX_CELLS], t);

        if (st.active == 0) {
            return;
        }
    }

    next = (next > t) ? next - t : 0;
    ts.tv_sec = next / 1000000000u;
    ts.tv_nsec = next % 1000000000u;

    n = epoll_pwait2(st.ep, ev, 256, &ts, NULL);

    for (i = 0; i < n; i++) {
        c = ev[i].data.ptr;

        if (c == NULL) {
            st.typed = 1;
            continue;
        }

        if (c->fd == -1) {
            continue;
        }

        if (ev[i].events & EPOLLOUT) {
            conn_flush(c);
        }

        if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
            conn_read(c);
        }
    }
}


void
run(int cells)
{
    int       i;
    uint64_t  t, warm, limit;

    t = now();
    warm = t + (uint64_t) (opt.warm * 1e9);
    limit = warm + (uint64_t) ((opt.seconds ? opt.seconds : MOST) * 1e9);
    st.active = cells;

    if (opt.warm == 0) {
        measure_start(t);
    }

    for (i = 0; i < cells; i++) {
        cell_start(&st.cells[i], now());
    }

    while (st.active > 0) {
        t = now();

        if (!win.open && !st.stopping && t >= warm) {
            measure_start(t);
        }

        if (!st.stopping && t >= limit) {
            measure_stop(t);
            st.stopping = 1;
        }

        if (st.stopping && t >= limit + GRACE * 1000000000ull) {
            failed(&st.cells[0].c[0], "%d cells did not end", st.active);
            break;
        }

        turn(st.stopping ? limit + GRACE * 1000000000ull
                        : win.open ? limit : warm);
    }

    measure_stop(now());
}


void
cells_make(int n, void (*next)(cell_t *), void (*done)(conn_t *, const char *,
    size_t))
{
    int      i, k;

    st.next = next;
    st.cells = need(calloc(n, sizeof(cell_t)));

    for (i = 0; i < n; i++) {
        st.cells[i].id = i;
        for (k = 0; k < 4; k++) {
            st.cells[i].c[k].fd = -1;
            st.cells[i].c[k].cell = i;
            st.cells[i].c[k].done = done;
        }
    }
}


void
cells_free(int n)
{
    int  i, k;

    for (i = 0; i < n; i++) {
        for (k = 0; k < 4; k++) {
            conn_close(&st.cells[i].c[k]);
            free(st.cells[i].c[k].keep);
            free(st.cells[i].c[k].body);
        }
        for (k = 0; k < MAX_FILES; k++) {
            free(st.cells[i].req[k].bytes);
        }
    }

    free(st.cells);
    st.stopping = 0;
    st.started = 0;
    qhead = qtail = 0;
}


double
run_seconds(void)
{
    return (win.end - win.begin) / 1e9;
}


static int
sample_cmp(const void *a, const void *b)
{
    uint64_t  x, y;

    x = ((const sample_t *) a)->ns;
    y = ((const sample_t *) b)->ns;
    return x < y ? -1 : x > y;
}


static double
quantile(sample_t *s, size_t n, double q)
{
    return n ? s[(size_t) (q * (n - 1) + 0.5)].ns / 1e3 : 0;
}


static void
print_cells(int cells)
{
    int        i;
    size_t     k, n;
    sample_t  *part;

    part = need(malloc((win.n + 1) * sizeof(sample_t)));
    printf(", \"cells\": [");

    for (i = 0; i < cells; i++) {
        n = 0;
        for (k = 0; k < win.n; k++) {
            if (win.samples[k].cell == i) {
                part[n++] = win.samples[k];
            }
        }

        printf("%s{\"port\": %d, \"ops\": %zu, \"p50\": %.1f, \"p90\": %.1f, "
               "\"p99\": %.1f}", i ? ", " : "", st.cells[i].c[0].port, n,
               quantile(part, n, 0.5), quantile(part, n, 0.9),
               quantile(part, n, 0.99));
    }

    printf("]");
    free(part);
}


void
print_run(int cells)
{
    double  seconds;

    seconds = (win.end - win.begin) / 1e9;
    qsort(win.samples, win.n, sizeof(sample_t), sample_cmp);

    printf("{\"mode\": \"%s\", \"ops\": %lu, \"seconds\": %.4f, "
           "\"rate\": %.2f, \"errors\": %lu, \"first_error\": \"%s\", "
           "\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f, \"bytes\": %lu, "
           "\"cpu\": %.3f, \"own\": %.3f, \"ended\": %lu",
           opt.mode, st.ops, seconds, seconds ? st.ops / seconds : 0, st.errors,
           st.first,
           quantile(win.samples, win.n, 0.5),
           quantile(win.samples, win.n, 0.99),
           quantile(win.samples, win.n, 1),
           st.bytes,
           st.ops ? win.cpu / 1e3 / st.ops : 0,
           st.ops ? win.own / 1e3 / st.ops : 0,
           st.ended);

    if (opt.each) {
        print_cells(cells);
    }

    printf("}\n");
}
