
/*
 * How long nginx's processes hold a shared mutex at a time.
 *
 * The kernel stops them where ngx_shmtx_lock() returns and where
 * ngx_shmtx_unlock() begins (uprobes, by way of perf_event_open(2)); nothing
 * is changed in nginx.  What is counted is the holder's CPU time in between:
 * whatever else runs on the machine must not look like a lock that is held.
 * The traps cost about a microsecond, which is in the figure.
 *
 *   bench-lock PID...
 *
 * It says that it is there, measures until its standard input ends, and
 * prints one JSON object.  Exit status 3: this kernel, or this user, cannot.
 */

#define _GNU_SOURCE

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>


#define UPROBE      "/sys/bus/event_source/devices/uprobe/"
#define MAX_PIDS    64
#define RING        (1024 * 4096)


typedef struct {
    struct perf_event_header  header;
    uint64_t                  id;
    uint64_t                  time;
    uint64_t                  n;
    uint64_t                  clock;        /* the leader's count */
    uint64_t                  count;
} record_t;

typedef struct {
    char                     *map;
    uint64_t                  id_lock;
    uint64_t                  since;
    uint64_t                  wall;
    int                       held;
} process_t;


static process_t   processes[MAX_PIDS];
static uint32_t   *cpu, *wall;
static size_t      n, cap;
static uint64_t    lost;


static void
cannot(const char *what)
{
    fprintf(stderr, "bench-lock: %s: %s\n", what, strerror(errno));
    exit(3);
}


/* where in the file a function begins */

static uint64_t
symbol(const char *path, const char *name)
{
    int          fd, i, k;
    char        *p;
    size_t       count;
    Elf64_Sym   *sym;
    struct stat  sb;
    Elf64_Ehdr  *eh;
    Elf64_Shdr  *sh;
    Elf64_Phdr  *ph;

    fd = open(path, O_RDONLY);
    if (fd == -1 || fstat(fd, &sb) == -1) {
        cannot(path);
    }

    p = mmap(NULL, sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        cannot(path);
    }

    close(fd);

    eh = (Elf64_Ehdr *) p;
    sh = (Elf64_Shdr *) (p + eh->e_shoff);
    ph = (Elf64_Phdr *) (p + eh->e_phoff);

    for (i = 0; i < eh->e_shnum; i++) {
        if (sh[i].sh_type != SHT_DYNSYM && sh[i].sh_type != SHT_SYMTAB) {
            continue;
        }

        sym = (Elf64_Sym *) (p + sh[i].sh_offset);
        count = sh[i].sh_size / sizeof(Elf64_Sym);

        for ( /* void */ ; count; count--, sym++) {
            if (strcmp(p + sh[sh[i].sh_link].sh_offset + sym->st_name, name)
                || sym->st_value == 0)
            {
                continue;
            }

            for (k = 0; k < eh->e_phnum; k++) {
                if (ph[k].p_type == PT_LOAD
                    && sym->st_value >= ph[k].p_vaddr
                    && sym->st_value < ph[k].p_vaddr + ph[k].p_filesz)
                {
                    return sym->st_value - ph[k].p_vaddr + ph[k].p_offset;
                }
            }
        }
    }

    errno = ENOENT;
    cannot(name);
    return 0;
}


static int
event_open(struct perf_event_attr *attr, int pid, int group)
{
    int  fd;

    attr->size = sizeof(struct perf_event_attr);

    fd = syscall(SYS_perf_event_open, attr, pid, -1, group,
                 PERF_FLAG_FD_CLOEXEC);
    if (fd == -1) {
        cannot("perf_event_open");
    }

    return fd;
}


static void
watch(process_t *pr, int pid)
{
    int                     leader, fd[2], i, type;
    char                    path[64], exe[4096];
    FILE                   *f;
    ssize_t                 len;
    struct perf_event_attr  attr;

    f = fopen(UPROBE "type", "r");
    if (f == NULL || fscanf(f, "%d", &type) != 1) {
        cannot(UPROBE);
    }

    fclose(f);

    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    len = readlink(path, exe, sizeof(exe) - 1);
    if (len == -1) {
        cannot(path);
    }

    exe[len] = '\0';

    memset(&attr, 0, sizeof(attr));
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_TASK_CLOCK;
    attr.read_format = PERF_FORMAT_GROUP;
    leader = event_open(&attr, pid, -1);

    for (i = 0; i < 2; i++) {
        memset(&attr, 0, sizeof(attr));
        attr.type = type;
        attr.config = (i == 0);                     /* at the return */
        attr.uprobe_path = (uintptr_t) exe;
        attr.probe_offset = symbol(exe, i == 0 ? "ngx_shmtx_lock"
                                               : "ngx_shmtx_unlock");
        attr.sample_period = 1;
        attr.sample_type = PERF_SAMPLE_IDENTIFIER|PERF_SAMPLE_TIME
                           |PERF_SAMPLE_READ;
        attr.read_format = PERF_FORMAT_GROUP;
        fd[i] = event_open(&attr, pid, leader);
    }

    /* both into one ring, so that they come in order */

    pr->map = mmap(NULL, 4096 + RING, PROT_READ|PROT_WRITE, MAP_SHARED, fd[0],
                   0);
    if (pr->map == MAP_FAILED) {
        cannot("mmap");
    }

    if (ioctl(fd[1], PERF_EVENT_IOC_SET_OUTPUT, fd[0]) == -1
        || ioctl(fd[0], PERF_EVENT_IOC_ID, &pr->id_lock) == -1)
    {
        cannot("ioctl");
    }
}


static void
held(uint64_t on, uint64_t all)
{
    if (n == cap) {
        cap = cap ? cap * 2 : 65536;
        cpu = realloc(cpu, cap * sizeof(uint32_t));
        wall = realloc(wall, cap * sizeof(uint32_t));
        if (cpu == NULL || wall == NULL) {
            cannot("memory");
        }
    }

    cpu[n] = on > UINT32_MAX ? UINT32_MAX : on;
    wall[n++] = all > UINT32_MAX ? UINT32_MAX : all;
}


static void
drain(process_t *pr)
{
    char                         *data;
    size_t                        i, size;
    uint64_t                      head, tail;
    union {
        record_t                  r;
        char                      bytes[256];
    } u;
    struct perf_event_mmap_page  *page;

    page = (struct perf_event_mmap_page *) pr->map;
    data = pr->map + page->data_offset;
    head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);

    for (tail = page->data_tail; tail < head; tail += u.r.header.size) {

        for (i = 0; i < sizeof(struct perf_event_header); i++) {
            u.bytes[i] = data[(tail + i) & (RING - 1)];
        }

        size = u.r.header.size;
        if (size > sizeof(u)) {
            size = sizeof(u);
        }

        for ( /* void */ ; i < size; i++) {
            u.bytes[i] = data[(tail + i) & (RING - 1)];
        }

        if (u.r.header.type == PERF_RECORD_LOST) {
            lost++;
            pr->held = 0;
            continue;
        }

        if (u.r.header.type != PERF_RECORD_SAMPLE) {
            continue;
        }

        if (u.r.id == pr->id_lock) {
            pr->held = 1;
            pr->since = u.r.clock;
            pr->wall = u.r.time;

        } else if (pr->held) {
            pr->held = 0;
            held(u.r.clock - pr->since, u.r.time - pr->wall);
        }
    }

    __atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
}


static int
compare(const void *a, const void *b)
{
    uint32_t  x, y;

    x = *(const uint32_t *) a;
    y = *(const uint32_t *) b;
    return x < y ? -1 : x > y;
}


static double
quantile(uint32_t *v, double q)
{
    return n ? v[(size_t) (q * (n - 1) + 0.5)] / 1e3 : 0;
}


int
main(int argc, char **argv)
{
    int            i, done;
    struct pollfd  pfd;

    if (argc < 2 || argc - 1 > MAX_PIDS) {
        fprintf(stderr, "usage: bench-lock PID...\n");
        return 2;
    }

    alarm(120);

    for (i = 1; i < argc; i++) {
        watch(&processes[i - 1], atoi(argv[i]));
    }

    printf("{\"phase\": \"watching\"}\n");
    fflush(stdout);

    pfd.fd = 0;
    pfd.events = POLLIN;

    do {
        done = poll(&pfd, 1, 50);

        for (i = 1; i < argc; i++) {
            drain(&processes[i - 1]);
        }
    } while (done == 0);

    qsort(cpu, n, sizeof(uint32_t), compare);
    qsort(wall, n, sizeof(uint32_t), compare);

    printf("{\"mode\": \"lock\", \"holds\": %zu, \"lost\": %lu, "
           "\"p50\": %.2f, \"p99\": %.2f, \"p999\": %.2f, "
           "\"max\": %.2f, \"wall_p99\": %.2f, \"wall_max\": %.2f}\n",
           n, lost, quantile(cpu, 0.5), quantile(cpu, 0.99),
           quantile(cpu, 0.999), quantile(cpu, 1), quantile(wall, 0.99),
           quantile(wall, 1));

    return 0;
}
