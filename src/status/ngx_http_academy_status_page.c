
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_status.h"


ngx_int_t
ngx_http_academy_status_page(ngx_http_academy_status_t *status)
{
    ngx_http_academy_text_t  text;

    ngx_http_academy_text_begin(&text, status->request->pool);
    ngx_http_academy_print(&text, "<!doctype html><title>Academy exchange"
                           "</title><a href=\"?format=json\">JSON</a>\n");

    return ngx_http_academy_status_send(status, NGX_HTTP_OK,
                                        "text/html; charset=utf-8", &text);
}
