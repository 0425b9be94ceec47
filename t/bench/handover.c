/*
 * What it takes to hand a lock over between processors: two processes take one
 * in turn with what nginx's ngx_shmtx_lock() does before it sleeps, and hold it
 * for no time.  Prints nanoseconds for a lock that nobody else wants, and the
 * median for one that the other has just had: others on the machine may keep
 * either from running.
 */

#define _GNU_SOURCE

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


#define ROUNDS  2000000
#define TURNS   100000


typedef struct {
    _Atomic unsigned long  lock;
    char                   pad[120];
    _Atomic unsigned long  turn;
    _Atomic int            ready;
} shared_t;


static double
now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1e9 + ts.tv_nsec;
}


static void
take(shared_t *sh, unsigned long who)
{
    unsigned long  free;

    for ( ;; ) {
        free = 0;
        if (atomic_load_explicit(&sh->lock, memory_order_relaxed) == 0
            && atomic_compare_exchange_strong(&sh->lock, &free, who))
        {
            return;
        }

        __builtin_ia32_pause();
    }
}


static void
leave(shared_t *sh, unsigned long who)
{
    atomic_compare_exchange_strong(&sh->lock, &who, 0);
}


/* strictly in turn: each lock is taken from the other process */

static void
alternate(shared_t *sh, unsigned long who, float *times)
{
    double         t, last;
    unsigned long  i;

    last = now();

    for (i = 0; i < TURNS; i++) {
        while (atomic_load(&sh->turn) != who) {
            __builtin_ia32_pause();
        }

        take(sh, who);
        atomic_store(&sh->turn, 3 - who);
        leave(sh, who);

        t = now();
        times[i] = (t - last) / 2;
        last = t;
    }
}


static int
compare(const void *a, const void *b)
{
    float  x, y;

    x = *(const float *) a;
    y = *(const float *) b;
    return x < y ? -1 : x > y;
}


int
main(void)
{
    int        i;
    double     alone;
    pid_t      pid;
    shared_t  *sh;

    static float  times[TURNS];

    alarm(20);

    sh = mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1,
              0);
    if (sh == MAP_FAILED) {
        return 2;
    }

    alone = now();

    for (i = 0; i < ROUNDS; i++) {
        take(sh, 1);
        leave(sh, 1);
    }

    alone = (now() - alone) / ROUNDS;

    sh->turn = 1;
    pid = fork();

    if (pid == -1) {
        return 2;
    }

    if (pid == 0) {
        alarm(20);
        sh->ready = 1;
        alternate(sh, 2, times);
        return 0;
    }

    while (!sh->ready) { /* void */ }

    alternate(sh, 1, times);
    waitpid(pid, NULL, 0);

    qsort(times, TURNS, sizeof(float), compare);
    printf("%.1f %.1f\n", alone, times[TURNS / 2]);
    return 0;
}
