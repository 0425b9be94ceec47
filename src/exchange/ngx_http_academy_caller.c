
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_caller.h"


/*
 * A caller's groups are held against those of a mailbox within a lock: so they
 * are sorted once, and looked up by halves.
 */


static int ngx_libc_cdecl ngx_http_academy_caller_cmp(const void *one,
    const void *two);


void
ngx_http_academy_caller_sort(ngx_http_academy_caller_t *caller)
{
    ngx_qsort(caller->groups, caller->ngroups, sizeof(ngx_str_t),
              ngx_http_academy_caller_cmp);
}


ngx_uint_t
ngx_http_academy_caller_in(ngx_http_academy_caller_t *caller, u_char *group,
    size_t len)
{
    int         rc;
    ngx_str_t   key;
    ngx_uint_t  low, high, i;

    key.data = group;
    key.len = len;

    low = 0;
    high = caller->ngroups;

    while (low < high) {
        i = low + (high - low) / 2;

        rc = ngx_http_academy_caller_cmp(&key, &caller->groups[i]);

        if (rc == 0) {
            return 1;
        }

        if (rc < 0) {
            high = i;

        } else {
            low = i + 1;
        }
    }

    return 0;
}


static int ngx_libc_cdecl
ngx_http_academy_caller_cmp(const void *one, const void *two)
{
    const ngx_str_t *first = one;
    const ngx_str_t *second = two;

    if (first->len != second->len) {
        return (first->len < second->len) ? -1 : 1;
    }

    return ngx_memcmp(first->data, second->data, first->len);
}
