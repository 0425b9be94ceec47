
/*
 * Copyright (C) Academy exchange authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_survey.h"


/*
 * A page of a listing: of all mailboxes that a store shows it, in any order,
 * it keeps the first ones.
 */


static ngx_int_t ngx_http_academy_listing_cmp(
    ngx_http_academy_listing_t *listing, ngx_http_academy_row_key_t *one,
    ngx_http_academy_row_key_t *two);


void
ngx_http_academy_survey_unknown(ngx_http_academy_survey_t *survey)
{
    ngx_memset(survey, 0xff, sizeof(ngx_http_academy_survey_t));

    survey->oldest = 0;
    survey->size = 0;
}


ngx_int_t
ngx_http_academy_listing_rows(ngx_http_academy_listing_t *listing,
    ngx_pool_t *pool)
{
    ngx_uint_t                  i;
    ngx_http_academy_listed_t  *rows;

    rows = ngx_palloc(pool, listing->limit
                            * (sizeof(ngx_http_academy_listed_t)
                               + sizeof(void *)));
    if (rows == NULL) {
        return NGX_ERROR;
    }

    listing->room = rows;
    listing->rows = (ngx_http_academy_listed_t **) (rows + listing->limit);

    for (i = 0; i < listing->limit; i++) {
        listing->rows[i] = &rows[i];
    }

    return NGX_OK;
}


ngx_http_academy_listed_t *
ngx_http_academy_listing_place(ngx_http_academy_listing_t *listing,
    ngx_http_academy_row_key_t *key)
{
    ngx_int_t                   rc;
    ngx_uint_t                  low, high, i;
    ngx_http_academy_listed_t  *row;

    if (listing->paged
        && ngx_http_academy_listing_cmp(listing, key, &listing->after) <= 0)
    {
        return NULL;
    }

    low = 0;
    high = listing->n;

    if (high == listing->limit
        && ngx_http_academy_listing_cmp(listing, key,
                                        &listing->rows[high - 1]->key)
           >= 0)
    {
        return NULL;
    }

    while (low < high) {
        i = low + (high - low) / 2;

        rc = ngx_http_academy_listing_cmp(listing, key,
                                          &listing->rows[i]->key);
        if (rc < 0) {
            high = i;

        } else {
            low = i + 1;
        }
    }

    listing->n += (listing->n < listing->limit);

    row = listing->rows[listing->n - 1];

    ngx_memmove(&listing->rows[low + 1], &listing->rows[low],
                (listing->n - 1 - low) * sizeof(void *));

    listing->rows[low] = row;
    row->key = *key;

    return row;
}


static ngx_int_t
ngx_http_academy_listing_cmp(ngx_http_academy_listing_t *listing,
    ngx_http_academy_row_key_t *one, ngx_http_academy_row_key_t *two)
{
    ngx_int_t  rc;

    if (one->number != two->number) {
        rc = (one->number < two->number) ? -1 : 1;

    } else {
        rc = ngx_memcmp(one->text, two->text, sizeof(one->text));

        if (rc == 0) {
            rc = ngx_memcmp(one->id, two->id, sizeof(one->id));
        }
    }

    return listing->reverse ? -rc : rc;
}


void
ngx_http_academy_row_key_text(ngx_http_academy_row_key_t *key, u_char *data,
    size_t len)
{
    ngx_strlow(key->text, data, ngx_min(sizeof(key->text), len));
}


/* not in the middle of a character */

void
ngx_http_academy_row_text(ngx_http_academy_row_text_t *text, u_char *data,
    size_t len)
{
    if (len > sizeof(text->data)) {
        len = sizeof(text->data);

        while (len && (data[len] & 0xc0) == 0x80) {
            len--;
        }
    }

    text->len = (u_char) len;
    ngx_memcpy(text->data, data, len);
}
