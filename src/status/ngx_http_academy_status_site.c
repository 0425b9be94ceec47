
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


/*
 * Whether a request that changes something is of a page from here.
 *
 * Another site's page can make a browser send a form, but not the header
 * X-Academy-Status: that needs a leave which nobody gives here.
 */


static ngx_uint_t ngx_http_academy_status_own_name(ngx_http_request_t *r);
static ngx_uint_t ngx_http_academy_status_matches(ngx_str_t *name,
    ngx_str_t *host);


ngx_uint_t
ngx_http_academy_status_own_site(ngx_http_request_t *r)
{
    u_char     *p, *last;
    ngx_str_t  *value, *host;

    static ngx_str_t  own_name = ngx_string("X-Academy-Status");
    static ngx_str_t  site_name = ngx_string("Sec-Fetch-Site");
    static ngx_str_t  origin_name = ngx_string("Origin");
    static ngx_str_t  host_name = ngx_string("Host");

    value = ngx_http_academy_request_header(r, &own_name, 0);

    if (value == NULL) {
        return 0;
    }

    /* a browser's word, which holds behind a proxy with another name, too */

    value = ngx_http_academy_request_header(r, &site_name, 0);

    if (value) {
        return ngx_http_academy_status_is(value, "same-origin")
               || ngx_http_academy_status_is(value, "none");
    }

    value = ngx_http_academy_request_header(r, &origin_name, 0);

    if (value == NULL) {
        return 1;
    }

    /* of "scheme://host:port" what a browser writes as Host */

    last = value->data + value->len;
    p = ngx_strlchr(value->data, last, '/');

    if (p == NULL || last - p < 2) {
        return 0;
    }

    p += 2;

    host = ngx_http_academy_request_header(r, &host_name, 0);

    return host && host->len == (size_t) (last - p)
           && ngx_strncasecmp(p, host->data, host->len) == 0
           && ngx_http_academy_status_own_name(r);
}


/*
 * Whoever has a name can have it lead here, and a page of that name is of one
 * site with whatever answers: so it has to be a name that this server goes by.
 * An address leads nowhere else.
 */

static ngx_uint_t
ngx_http_academy_status_own_name(ngx_http_request_t *r)
{
    ngx_str_t                    *host, *name;
    ngx_uint_t                    i;
    ngx_http_academy_loc_conf_t  *alcf;

    static ngx_str_t  localhost = ngx_string("localhost");

    host = &r->headers_in.server;

    if (host->len == 0) {
        return 0;
    }

    if (host->data[0] == '['
        || ngx_inet_addr(host->data, host->len) != INADDR_NONE
        || ngx_http_academy_status_matches(&localhost, host))
    {
        return 1;
    }

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_academy_module);
    name = alcf->status_names.elts;

    for (i = 0; i < alcf->status_names.nelts; i++) {

        if (ngx_http_academy_status_matches(&name[i], host)) {
            return 1;
        }
    }

    return 0;
}


/* as in server_name; of an expression nobody knows what it is for */

static ngx_uint_t
ngx_http_academy_status_matches(ngx_str_t *name, ngx_str_t *host)
{
    u_char  *p;
    size_t   len;

    p = name->data;
    len = name->len;

    if (len > 2 && p[len - 1] == '*') {
        len--;

        return host->len > len && ngx_strncasecmp(host->data, p, len) == 0;
    }

    if (len > 2 && p[0] == '*') {
        p++;
        len--;

        return host->len > len
               && ngx_strncasecmp(host->data + host->len - len, p, len) == 0;
    }

    if (len > 1 && p[0] == '.' && host->len >= len) {
        return ngx_strncasecmp(host->data + host->len - len, p, len) == 0;
    }

    if (len > 1 && p[0] == '.') {
        p++;
        len--;
    }

    return len && host->len == len && ngx_strncasecmp(host->data, p, len) == 0;
}
