
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_zone.h"


/*
 * Clients: whose a mailbox is, and how many they have.  A client is linked
 * before its first mailbox is, and unlinked after the last one: so that each
 * mailbox has an owner at every instruction.
 */


ngx_http_academy_client_t **
ngx_http_academy_zone_client(ngx_http_academy_zone_t *zone, ngx_str_t *id)
{
    uint64_t                     hash;
    ngx_http_academy_client_t  **link;

    hash = ngx_http_academy_zone_hash(zone, id->data, id->len, 0);

    link = &zone->sh->clients[hash & zone->sh->client_mask];

    while (*link
           && ((*link)->len != id->len
               || ngx_memcmp((*link)->id, id->data, id->len) != 0))
    {
        link = &(*link)->next;
    }

    return link;
}


ngx_http_academy_client_t *
ngx_http_academy_zone_client_add(ngx_http_academy_zone_t *zone,
    ngx_http_academy_client_t **link, ngx_str_t *id)
{
    ngx_http_academy_client_t  *client;

    client = ngx_slab_alloc_locked(zone->shpool,
                                   offsetof(ngx_http_academy_client_t, id)
                                   + id->len);
    if (client == NULL) {
        return NULL;
    }

    client->next = NULL;
    client->mailboxes = 0;
    client->len = (uint16_t) id->len;
    ngx_memcpy(client->id, id->data, id->len);

    ngx_http_academy_zone_order();

    *link = client;

    ngx_http_academy_fault(zone, "client");

    return client;
}


void
ngx_http_academy_zone_client_trim(ngx_http_academy_zone_t *zone,
    ngx_http_academy_client_t *client)
{
    ngx_str_t                    id;
    ngx_http_academy_client_t  **link;

    if (client->mailboxes) {
        return;
    }

    id.len = client->len;
    id.data = client->id;

    link = ngx_http_academy_zone_client(zone, &id);
    *link = client->next;

    ngx_http_academy_zone_order();
    ngx_http_academy_fault(zone, "expire client");

    ngx_slab_free_locked(zone->shpool, client);
}
