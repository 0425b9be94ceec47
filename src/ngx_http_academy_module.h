
/*
 * Copyright (C) Academy exchange authors
 */


#ifndef _NGX_HTTP_ACADEMY_MODULE_H_INCLUDED_
#define _NGX_HTTP_ACADEMY_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_academy_exchange.h"
#include "ngx_http_academy_auth.h"


typedef struct {
    ngx_array_t                    exchanges;
                                       /* of ngx_http_academy_exchange_t * */
    ngx_http_academy_auth_zone_t  *auth_zone;     /* NULL: none is needed */
    ngx_array_t                    jwks;  /* of ngx_http_academy_jwks_t * */
    ngx_http_academy_expiry_t      expiry;
    ngx_array_t                    mounts; /* of ngx_http_academy_mount_t */
} ngx_http_academy_main_conf_t;


typedef struct {
    ngx_http_academy_exchange_t   *exchange;      /* NULL: not mounted here */
    ngx_str_t                      name;
    ngx_str_t                      file;          /* where it is mounted */
    ngx_uint_t                     line;
    size_t                         prefix;        /* bytes of a URI */

    ngx_msec_t                     listen_timeout;
    ngx_msec_t                     ping_interval; /* 0: none */
    ngx_msec_t                     peer_timeout;  /* 0: the system's */
    ngx_msec_t                     retry;
    ngx_msec_t                     deduplicate;   /* 0: off */
    ngx_msec_t                     agent_timeout;
    ngx_flag_t                     redeliver;
    ngx_flag_t                     log_deliveries;
    size_t                         message_size;

    size_t                         mailbox_messages;
    size_t                         mailbox_bytes;
    size_t                         client_mailboxes;
    ngx_http_academy_limits_t      limits;        /* of these */

    ngx_http_academy_auth_conf_t   auth;
    ngx_flag_t                     verify_source;

    ngx_flag_t                     status;        /* it shows the exchange */
    ngx_http_complex_value_t      *status_admin;
    ngx_flag_t                     status_write;
    ngx_array_t                    status_names;  /* of ngx_str_t */
} ngx_http_academy_loc_conf_t;


/* where an exchange is mounted, for who wants to know */

typedef struct {
    ngx_http_academy_loc_conf_t   *conf;
    ngx_str_t                      location;
} ngx_http_academy_mount_t;


typedef struct ngx_http_academy_ctx_s    ngx_http_academy_ctx_t;
typedef struct ngx_http_academy_route_s  ngx_http_academy_route_t;


/* of a request on a location with an exchange */

struct ngx_http_academy_ctx_s {
    ngx_http_academy_caller_t      caller;
    const ngx_http_academy_route_t  *route;

    ngx_http_academy_call_t        call;
    ngx_http_academy_delivery_t    delivery;      /* while it is answered */
    ngx_event_t                   *timer;         /* of a poll */
    ngx_msec_t                     timeout;
    void                          *status;        /* of who looks */
    void                          *stream;
    void                          *wire;          /* of a poll's message */
    ngx_buf_t                     *answer;        /* in which that is */
    ngx_event_handler_pt           handler;       /* of its connection */

    ngx_str_t                      token;
    ngx_http_academy_identity_t    identity;      /* of the token */
    json_t                        *claims;        /* of the identity */
    u_char                        *cached;        /* its key in the cache */
    ngx_http_academy_auth_zone_t  *asks;          /* as the only one */
    void                          *inquiry;       /* of who asks */
    void                          *waiter;        /* of who waits for that */

    ngx_http_academy_envelope_t   *header;        /* once a variable asks */
    const char                    *refusal;       /* of $academy_result */
    ngx_msec_t                     waited;        /* since when; then for */

    unsigned                       asking:1;      /* what the token is */
    unsigned                       verified:1;    /* the token is good */
    unsigned                       expiring:1;    /* before the timeout */
    unsigned                       identified:1;  /* caller is known */
    unsigned                       pending:1;     /* the call is the store's */
    unsigned                       leased:1;      /* delivery is the poll's */
    unsigned                       empty:1;       /* a poll found nothing */
    unsigned                       waiting:1;     /* counted as a poll */
};


extern ngx_module_t  ngx_http_academy_module;


#endif /* _NGX_HTTP_ACADEMY_MODULE_H_INCLUDED_ */
