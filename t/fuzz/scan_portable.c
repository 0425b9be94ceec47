
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
#define ngx_http_academy_scan_header   portable_scan_header
#define ngx_http_academy_scan_entity   portable_scan_entity
#define ngx_http_academy_scan_value    portable_scan_value
#define ngx_http_academy_escape        portable_escape
#define ngx_http_academy_escape_count  portable_escape_count

/* what the scanner's files share */

#define ngx_http_academy_scan_object     portable_scan_object
#define ngx_http_academy_scan_skip       portable_scan_skip
#define ngx_http_academy_scan_literal    portable_scan_literal
#define ngx_http_academy_scan_space      portable_scan_space
#define ngx_http_academy_scan_far        portable_scan_far
#define ngx_http_academy_scan_string     portable_scan_string
#define ngx_http_academy_scan_unescape   portable_scan_unescape
#define ngx_http_academy_scan_unescaped  portable_scan_unescaped
#define ngx_http_academy_scan_hash       portable_scan_hash
#define ngx_http_academy_scan_refuse     portable_scan_refuse
#define ngx_http_academy_scan_syntax     portable_scan_syntax

#include "ngx_http_academy_scan.c"
#include "ngx_http_academy_scan_object.c"
#include "ngx_http_academy_scan_string.c"
#include "ngx_http_academy_scan_skip.c"
#include "ngx_http_academy_escape.c"
