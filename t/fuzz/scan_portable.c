
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * The scanner as it is built where there is no SSE2, beside the other one in
 * the same program, so that each input is read by both.
 */


#define NGX_HTTP_ACADEMY_PORTABLE      1

#define ngx_http_academy_scan_put      portable_scan_put
#define ngx_http_academy_scan_wait     portable_scan_wait
#define ngx_http_academy_scan_entity   portable_scan_entity
#define ngx_http_academy_scan_value    portable_scan_value
#define ngx_http_academy_escape        portable_escape
#define ngx_http_academy_escape_count  portable_escape_count

#include "ngx_http_academy_scan.c"
