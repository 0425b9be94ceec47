
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
 */


#define NGX_HTTP_ACADEMY_RECORDS  (1 << 21)


typedef struct {
    int32_t                             begin;   /* from lock()'s address */
    int32_t                             end;
    uint32_t                            wait;    /* nanoseconds */
    uint32_t                            cpu;
    uint32_t                            wall;
} ngx_http_academy_section_t;


typedef struct {
    uint64_t                            n;
    uint64_t                            clocks;  /* of each, the clocks' own */
    ngx_http_academy_section_t          records[1];
} ngx_http_academy_sections_t;


static void ngx_http_academy_section_open(void);
static uint64_t ngx_http_academy_section_empty(void);
static uint64_t ngx_http_academy_section_clock(clockid_t clock);


static ngx_pid_t                     owner;
static ngx_http_academy_sections_t  *sections;
static ngx_http_academy_section_t    section;
static uint64_t                      waits, since, since_cpu;


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
    if (sections && sections->n < NGX_HTTP_ACADEMY_RECORDS) {
        sections->records[sections->n++] = section;
    }
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
    uint64_t    least;
    ngx_uint_t  i;

    least = NGX_MAX_INT_T_VALUE;

    for (i = 0; i < 1000; i++) {
        ngx_http_academy_section_begin(NULL);
        ngx_http_academy_section_end(NULL);
        least = ngx_min(least, section.cpu);
    }

    return least;
}


static uint64_t
ngx_http_academy_section_clock(clockid_t clock)
{
    struct timespec  ts;

    (void) clock_gettime(clock, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}
