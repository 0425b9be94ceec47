
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * Only in a build that measures: how long each section of the zone's lock was
 * waited for and held, and by which functions it was begun and ended.  Each
 * process writes records into a file of its own, named by ACADEMY_SECTIONS and
 * its pid, which t/bench/sections.py reads.
 *
 * Behind each section, without the lock, comes its echo: a loop that takes as
 * long and does nothing.  What an echo takes above that is not the section's
 * work but an interrupt's or the host's, and sections have as much of it.
 */


#define NGX_HTTP_ACADEMY_RECORDS  (1 << 21)

/*
 * Nanoseconds that an echo is meant to take at most: a section that takes more
 * was disturbed, or is found without one; and steps to measure
 */

#define NGX_HTTP_ACADEMY_ECHO        2000
#define NGX_HTTP_ACADEMY_ECHO_STEPS  4096


typedef struct {
    int32_t                             begin;   /* from lock()'s address */
    int32_t                             end;
    uint32_t                            wait;    /* nanoseconds */
    uint32_t                            cpu;
    uint32_t                            wall;
    uint32_t                            echo;    /* CPU time of it */
} ngx_http_academy_section_t;


typedef struct {
    uint64_t                            n;
    uint64_t                            clocks;  /* of each, the clocks' own */
    ngx_http_academy_section_t          records[1];
} ngx_http_academy_sections_t;


static void ngx_http_academy_section_open(void);
static uint64_t ngx_http_academy_section_empty(void);
static void ngx_http_academy_section_spin(uint64_t n);
static uint64_t ngx_http_academy_section_clock(clockid_t clock);


static ngx_pid_t                     owner;
static ngx_http_academy_sections_t  *sections;
static ngx_http_academy_section_t    section;
static uint64_t                      waits, since, since_cpu;
static uint64_t                      steps;      /* in a microsecond */


void
ngx_http_academy_section_wait(void)
{
    if (owner != ngx_pid) {
        ngx_http_academy_section_open();
    }

    waits = ngx_http_academy_section_clock(CLOCK_MONOTONIC);
}


void
ngx_http_academy_section_begin(void *address)
{
    section.begin = (u_char *) address
                    - (u_char *) &ngx_http_academy_zone_lock;

    since = ngx_http_academy_section_clock(CLOCK_MONOTONIC);
    since_cpu = ngx_http_academy_section_clock(CLOCK_THREAD_CPUTIME_ID);

    section.wait = (uint32_t) (since - waits);
}


void
ngx_http_academy_section_end(void *address)
{
    section.cpu = (uint32_t)
                  (ngx_http_academy_section_clock(CLOCK_THREAD_CPUTIME_ID)
                   - since_cpu);
    section.wall = (uint32_t)
                   (ngx_http_academy_section_clock(CLOCK_MONOTONIC) - since);
    section.end = (u_char *) address
                  - (u_char *) &ngx_http_academy_zone_lock;
}


/* the file's pages are not to be touched within a section */

void
ngx_http_academy_section_note(void)
{
    uint64_t                    ns;
    ngx_http_academy_section_t  noted;

    if (sections == NULL || sections->n == NGX_HTTP_ACADEMY_RECORDS) {
        return;
    }

    noted = section;
    ns = noted.cpu - ngx_min(noted.cpu, sections->clocks);

    ngx_http_academy_section_begin(NULL);
    ngx_http_academy_section_spin(ngx_min(ns, NGX_HTTP_ACADEMY_ECHO) * steps
                                  / 1000);
    ngx_http_academy_section_end(NULL);

    noted.echo = section.cpu;

    sections->records[sections->n++] = noted;
}


static void
ngx_http_academy_section_open(void)
{
    int      fd;
    void    *p;
    char    *prefix;
    size_t   size;
    u_char   path[NGX_MAX_PATH + 1];

    owner = ngx_pid;
    sections = NULL;

    prefix = getenv("ACADEMY_SECTIONS");

    if (prefix == NULL) {
        return;
    }

    ngx_snprintf(path, NGX_MAX_PATH, "%s.%P%Z", prefix, ngx_pid);

    size = sizeof(ngx_http_academy_sections_t)
           + NGX_HTTP_ACADEMY_RECORDS * sizeof(ngx_http_academy_section_t);

    fd = open((char *) path, O_RDWR|O_CREAT|O_TRUNC, 0644);

    if (fd == -1 || ftruncate(fd, size) == -1) {
        return;
    }

    p = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED, fd, 0);

    if (p != MAP_FAILED) {
        sections = p;
        sections->clocks = ngx_http_academy_section_empty();
    }

    (void) close(fd);
}


/* CPU time of a section in which nothing is done */

static uint64_t
ngx_http_academy_section_empty(void)
{
    uint64_t    least, spun;
    ngx_uint_t  i;

    least = NGX_MAX_INT_T_VALUE;
    spun = NGX_MAX_INT_T_VALUE;

    for (i = 0; i < 1000; i++) {
        ngx_http_academy_section_begin(NULL);
        ngx_http_academy_section_end(NULL);
        least = ngx_min(least, section.cpu);

        ngx_http_academy_section_begin(NULL);
        ngx_http_academy_section_spin(NGX_HTTP_ACADEMY_ECHO_STEPS);
        ngx_http_academy_section_end(NULL);
        spun = ngx_min(spun, section.cpu);
    }

    steps = NGX_HTTP_ACADEMY_ECHO_STEPS * 1000 / ngx_max(spun - least, 1);

    return least;
}


static void
ngx_http_academy_section_spin(uint64_t n)
{
    while (n--) {
        __asm__ volatile ("" : : : "memory");
    }
}


static uint64_t
ngx_http_academy_section_clock(clockid_t clock)
{
    struct timespec  ts;

    (void) clock_gettime(clock, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}
