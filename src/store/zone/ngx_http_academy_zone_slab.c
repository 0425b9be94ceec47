
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * A slab pool made anew from what is in use.  A process that dies within the
 * pool's functions leaves its lists, maps and counts in any state.  The blocks
 * that are in use are known by other means, they stay where they are, and all
 * else becomes free.
 *
 * What a page's descriptor says is nginx's own affair, in ngx_slab.c, and has
 * long been the same.  That it still is gets tried when a zone is made.
 */


#define NGX_HTTP_ACADEMY_PAGE        0
#define NGX_HTTP_ACADEMY_BIG         1
#define NGX_HTTP_ACADEMY_EXACT       2
#define NGX_HTTP_ACADEMY_SMALL       3

#define NGX_HTTP_ACADEMY_BITS        (8 * sizeof(uintptr_t))

#define NGX_HTTP_ACADEMY_BUSY        ((uintptr_t) -1)
#define NGX_HTTP_ACADEMY_START       ((uintptr_t) 1                           \
                                      << (NGX_HTTP_ACADEMY_BITS - 1))
#define NGX_HTTP_ACADEMY_SHIFT_MASK  0xf
#define NGX_HTTP_ACADEMY_MAP_SHIFT   (NGX_HTTP_ACADEMY_BITS / 2)


#define ngx_http_academy_slab_slots(pool)                                     \
    ((ngx_slab_page_t *) ((u_char *) (pool) + sizeof(ngx_slab_pool_t)))


static ngx_uint_t ngx_http_academy_slab_shift(ngx_slab_pool_t *pool,
    size_t size);
static ngx_uint_t ngx_http_academy_slab_type(ngx_uint_t shift);
static ngx_uint_t ngx_http_academy_slab_header(ngx_uint_t shift);
static ngx_int_t ngx_http_academy_slab_mark_pages(ngx_slab_page_t *page,
    ngx_uint_t n);
static void ngx_http_academy_slab_prepare(ngx_slab_pool_t *pool,
    ngx_slab_page_t *page, ngx_uint_t shift);
static ngx_uint_t ngx_http_academy_slab_full(ngx_slab_pool_t *pool,
    ngx_slab_page_t *page, ngx_uint_t shift, ngx_uint_t type);
static void ngx_http_academy_slab_free_run(ngx_slab_pool_t *pool,
    ngx_slab_page_t *page, ngx_uint_t n);


/*
 * From here to the end nothing may be allocated.  Meanwhile the pages with
 * something in use are known by their next pointers.
 */

void
ngx_http_academy_slab_begin(ngx_slab_pool_t *pool)
{
    ngx_uint_t        i, n;
    ngx_slab_page_t  *slots;

    ngx_memzero(pool->pages,
                (pool->last - pool->pages) * sizeof(ngx_slab_page_t));

    slots = ngx_http_academy_slab_slots(pool);
    n = ngx_pagesize_shift - pool->min_shift;

    for (i = 0; i < n; i++) {
        slots[i].slab = 0;
        slots[i].next = &slots[i];
        slots[i].prev = 0;

        pool->stats[i].total = 0;
        pool->stats[i].used = 0;
    }

    pool->free.slab = 0;
    pool->free.next = &pool->free;
    pool->free.prev = (uintptr_t) &pool->free;
    pool->pfree = 0;
}


/*
 * A block of size bytes is in use.  NGX_OK, NGX_DECLINED if that is known
 * already, or NGX_ERROR if there can be no such block.
 */

ngx_int_t
ngx_http_academy_slab_mark(ngx_slab_pool_t *pool, void *data, size_t size)
{
    u_char           *p;
    uintptr_t         m, *map;
    ngx_uint_t        n, shift, type;
    ngx_slab_page_t  *page;

    p = data;

    if (p < pool->start || p >= pool->end) {
        return NGX_ERROR;
    }

    n = (p - pool->start) >> ngx_pagesize_shift;
    page = &pool->pages[n];

    if (size > ngx_pagesize / 2) {
        n = (size + ngx_pagesize - 1) >> ngx_pagesize_shift;

        if (((uintptr_t) p & (ngx_pagesize - 1))
            || (ngx_uint_t) (pool->last - page) < n)
        {
            return NGX_ERROR;
        }

        return ngx_http_academy_slab_mark_pages(page, n);
    }

    if (page >= pool->last) {
        return NGX_ERROR;
    }

    shift = ngx_http_academy_slab_shift(pool, size);
    type = ngx_http_academy_slab_type(shift);

    if (page->next == NULL) {
        ngx_http_academy_slab_prepare(pool, page, shift);

    } else if (page->prev != type
               || (type != NGX_HTTP_ACADEMY_EXACT
                   && (page->slab & NGX_HTTP_ACADEMY_SHIFT_MASK) != shift))
    {
        return NGX_ERROR;
    }

    if ((uintptr_t) p & (((uintptr_t) 1 << shift) - 1)) {
        return NGX_ERROR;
    }

    n = ((uintptr_t) p & (ngx_pagesize - 1)) >> shift;
    map = &page->slab;

    if (type == NGX_HTTP_ACADEMY_SMALL) {
        map = (uintptr_t *) ((uintptr_t) p & ~((uintptr_t) ngx_pagesize - 1));
        map += n / NGX_HTTP_ACADEMY_BITS;
        n %= NGX_HTTP_ACADEMY_BITS;

    } else if (type == NGX_HTTP_ACADEMY_BIG) {
        n += NGX_HTTP_ACADEMY_MAP_SHIFT;
    }

    m = (uintptr_t) 1 << n;

    if (*map & m) {
        return NGX_DECLINED;
    }

    *map |= m;
    pool->stats[shift - pool->min_shift].used++;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_academy_slab_shift(ngx_slab_pool_t *pool, size_t size)
{
    ngx_uint_t  shift;

    for (shift = pool->min_shift; ((size_t) 1 << shift) < size; shift++) {
        /* void */
    }

    return shift;
}


/* a word has a bit for each block of a page that is divided exactly so */

static ngx_uint_t
ngx_http_academy_slab_type(ngx_uint_t shift)
{
    size_t  exact;

    exact = ngx_pagesize / NGX_HTTP_ACADEMY_BITS;

    if (((size_t) 1 << shift) == exact) {
        return NGX_HTTP_ACADEMY_EXACT;
    }

    return (((size_t) 1 << shift) < exact) ? NGX_HTTP_ACADEMY_SMALL
                                           : NGX_HTTP_ACADEMY_BIG;
}


/* blocks of a page of small ones that hold its map */

static ngx_uint_t
ngx_http_academy_slab_header(ngx_uint_t shift)
{
    ngx_uint_t  n;

    n = (ngx_pagesize >> shift) / (((size_t) 1 << shift) * 8);

    return n ? n : 1;
}


static ngx_int_t
ngx_http_academy_slab_mark_pages(ngx_slab_page_t *page, ngx_uint_t n)
{
    ngx_uint_t  i;

    if (page->next) {
        return (page->slab == (n | NGX_HTTP_ACADEMY_START)) ? NGX_DECLINED
                                                            : NGX_ERROR;
    }

    for (i = 1; i < n; i++) {
        if (page[i].next) {
            return NGX_ERROR;
        }
    }

    for (i = 0; i < n; i++) {
        page[i].slab = i ? NGX_HTTP_ACADEMY_BUSY : n | NGX_HTTP_ACADEMY_START;
        page[i].next = page;
    }

    return NGX_OK;
}


static void
ngx_http_academy_slab_prepare(ngx_slab_pool_t *pool, ngx_slab_page_t *page,
    ngx_uint_t shift)
{
    uintptr_t   *map;
    ngx_uint_t   i, n;

    n = 0;

    page->prev = ngx_http_academy_slab_type(shift);
    page->slab = (page->prev == NGX_HTTP_ACADEMY_EXACT) ? 0 : shift;
    page->next = page;

    if (page->prev == NGX_HTTP_ACADEMY_SMALL) {
        map = (uintptr_t *) (pool->start
                             + ((size_t) (page - pool->pages)
                                << ngx_pagesize_shift));

        ngx_memzero(map, (ngx_pagesize >> shift) / 8);

        n = ngx_http_academy_slab_header(shift);

        for (i = 0; i < n; i++) {
            map[i / NGX_HTTP_ACADEMY_BITS] |=
                                (uintptr_t) 1 << (i % NGX_HTTP_ACADEMY_BITS);
        }
    }

    pool->stats[shift - pool->min_shift].total += (ngx_pagesize >> shift) - n;
}


/* what has not been marked is free */

void
ngx_http_academy_slab_end(ngx_slab_pool_t *pool)
{
    ngx_uint_t        n, shift, type;
    ngx_slab_page_t  *page, *slot;

    n = 0;

    for (page = pool->pages; page < pool->last; page++) {

        if (page->next == NULL) {
            n++;
            continue;
        }

        if (n) {
            ngx_http_academy_slab_free_run(pool, page - n, n);
            n = 0;
        }

        page->next = NULL;
        type = page->prev;

        if (type == NGX_HTTP_ACADEMY_PAGE) {
            continue;
        }

        shift = (type == NGX_HTTP_ACADEMY_EXACT)
                ? ngx_http_academy_slab_shift(pool, ngx_pagesize
                                                    / NGX_HTTP_ACADEMY_BITS)
                : page->slab & NGX_HTTP_ACADEMY_SHIFT_MASK;

        if (ngx_http_academy_slab_full(pool, page, shift, type)) {
            continue;
        }

        slot = ngx_http_academy_slab_slots(pool) + shift - pool->min_shift;

        page->next = slot->next;
        page->prev = (uintptr_t) slot | type;

        slot->next->prev = (uintptr_t) page | type;
        slot->next = page;
    }

    if (n) {
        ngx_http_academy_slab_free_run(pool, page - n, n);
    }
}


static ngx_uint_t
ngx_http_academy_slab_full(ngx_slab_pool_t *pool, ngx_slab_page_t *page,
    ngx_uint_t shift, ngx_uint_t type)
{
    uintptr_t   *map;
    ngx_uint_t   i, n;

    n = ngx_pagesize >> shift;

    if (type == NGX_HTTP_ACADEMY_EXACT) {
        return page->slab == NGX_HTTP_ACADEMY_BUSY;
    }

    if (type == NGX_HTTP_ACADEMY_BIG) {
        return page->slab >> NGX_HTTP_ACADEMY_MAP_SHIFT
               == ((uintptr_t) 1 << n) - 1;
    }

    map = (uintptr_t *) (pool->start + ((size_t) (page - pool->pages)
                                        << ngx_pagesize_shift));

    for (i = 0; i < n / NGX_HTTP_ACADEMY_BITS; i++) {
        if (map[i] != NGX_HTTP_ACADEMY_BUSY) {
            return 0;
        }
    }

    return 1;
}


static void
ngx_http_academy_slab_free_run(ngx_slab_pool_t *pool, ngx_slab_page_t *page,
    ngx_uint_t n)
{
    ngx_memzero(page, n * sizeof(ngx_slab_page_t));

    page->slab = n;

    if (n > 1) {
        page[n - 1].prev = (uintptr_t) page;
    }

    page->next = pool->free.next;
    page->prev = (uintptr_t) &pool->free;
    page->next->prev = (uintptr_t) page;
    pool->free.next = page;

    pool->pfree += n;
}


/*
 * Whether all of the above describes the pools of this nginx: what it makes of
 * blocks of all sizes must be what nginx made of them, and nginx must be able
 * to free them.  The pool must have nothing in it but the given block.
 */

ngx_int_t
ngx_http_academy_slab_try(ngx_slab_pool_t *pool, void *block, size_t size)
{
    void             *p[64];
    size_t            sizes[64];
    ngx_int_t         rc;
    ngx_uint_t        i, n, pfree, shift;
    ngx_slab_page_t  *page;

    n = 0;

    for (shift = pool->min_shift; shift < ngx_pagesize_shift + 2; shift++) {
        sizes[n++] = (size_t) 1 << shift;
        sizes[n++] = ((size_t) 1 << shift) - 1;
    }

    rc = NGX_OK;
    pfree = pool->pfree;

    for (i = 0; i < n; i++) {
        p[i] = ngx_slab_alloc_locked(pool, sizes[i]);

        if (p[i] == NULL) {
            rc = NGX_ERROR;
            n = i;
        }
    }

    if (rc == NGX_OK) {
        ngx_http_academy_slab_begin(pool);

        (void) ngx_http_academy_slab_mark(pool, block, size);

        for (i = 0; i < n; i++) {
            if (ngx_http_academy_slab_mark(pool, p[i], sizes[i]) != NGX_OK) {
                rc = NGX_ERROR;
            }
        }

        ngx_http_academy_slab_end(pool);
    }

    for (i = 0; i < n; i++) {
        ngx_slab_free_locked(pool, p[i]);
    }

    /* all of it is one run again, but for the block's page */

    page = pool->free.next;

    return (pool->pfree == pfree && page->slab == pfree) ? rc : NGX_ERROR;
}
