
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * How fast the scanner is, for each kind of content that a client may send:
 *
 *     scan_speed [KILOBYTES [NAME]]
 *
 * For each kind: the size of the request body, what scan_put() reads of it in
 * a second, what escape() takes of the message in a second, and the
 * milliseconds that both take for the one message.  The best of several
 * rounds counts, since others use the machine as well.
 */


#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_academy_scan.h"
#include "ngx_http_academy_escape.h"


#define ROUNDS  7
#define BUDGET  0.02    /* seconds for a round */


typedef struct {
    const char  *name;
    const char  *piece;      /* repeated as often as there is room */
    const char  *before;
    const char  *after;
    const char  *comma;      /* between two pieces */
} content_t;


static const char  head[] =
    "{\"header\":{\"src\":{\"uid\":\"5d1c8d2e-6c5f-4f0e-9c1e-0b9a4b7d9a11\","
    "\"name\":\"worker-1\",\"role\":\"agent\"},"
    "\"dest\":{\"uid\":\"0b8f3c52-93a4-4f57-8b1c-1f1d2c3b4a59\","
    "\"name\":null,\"role\":\"user\"},"
    "\"tag\":\"f6b2a7c0-3c7a-4f0b-a7b5-1e2d3c4b5a69\","
    "\"label\":\"a3a1c2d4-0e5b-4c6d-8f7e-9a8b7c6d5e4f\","
    "\"kind\":\"request\",\"protocol_version\":\"1.1\","
    "\"academy_version\":\"1.0.0\"},\"body\":";

static const char  action[] =
    "{\"action\":\"square\",\"serialization\":\"pickle\","
    "\"result_serialization\":null,\"exception_serialization\":null,"
    "\"pargs\":\"gASVBQAAAAAAAABLA4WULg==\","
    "\"kargs\":\"gAR9lC4=\",\"kind\":\"action-request\"}";


static const content_t  contents[] = {
    { "string", "the quick brown fox jumps over it ", "\"", "\"", "" },
    { "base64", "gASVBQAAAAAAAABLA4WULg0uW2xpc3Q1", "\"", "\"", "" },
    { "words", "\"lorem\",\"ipsum\",\"dolor\",\"sit\"", "[", "]", "," },
    { "a", "\"a\"", "[", "]", "," },
    { "empty strings", "\"\"", "[", "]", "," },
    { "backslashes", "\\\\", "\"", "\"", "" },
    { "quotes", "\\\"", "\"", "\"", "" },
    { "newlines", "\\n", "\"", "\"", "" },
    { "some escapes", "\\n0123456789", "\"", "\"", "" },
    { "\\u0041", "\\u0041", "\"", "\"", "" },
    { "\\u20ac", "\\u20ac", "\"", "\"", "" },
    { "\\ud83d\\ude00", "\\ud83d\\ude00", "\"", "\"", "" },
    { "utf-8 2", "\xc3\xa9\xd0\xb6", "\"", "\"", "" },
    { "utf-8 3", "\xe2\x82\xac\xe4\xb8\xad", "\"", "\"", "" },
    { "utf-8 4", "\xf0\x9f\x98\x80", "\"", "\"", "" },
    { "utf-8 mixed", "a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80 ok", "\"", "\"",
      "" },
    { "digits", "1234567890", "0.", "", "" },
    { "one digit", "7", "[", "]", "," },
    { "integers", "12345", "[", "]", "," },
    { "floats", "0.8444218515250481,-12.5,3.0e-7", "[", "]", "," },
    { "literals", "true,false,null", "[", "]", "," },
    { "{}", "{}", "[", "]", "," },
    { "[]", "[]", "[", "]", "," },
    { "[[[]]]", "[[[[[[[[[[[[]]]]]]]]]]]]", "[", "]", "," },
    { "{\"a\":1}", "{\"a\":1}", "[", "]", "," },
    { "records", "{\"id\": 17, \"name\": \"x-17\", \"ok\": true}", "[", "]",
      ", " },
    { "blanks", "          ", "", "0", "" },
    { "tabs", "\t", "", "0", "" },
    { "blank, digit", " 1 ", "[", "]", "," },
    { "lines", "\n        1", "[", "]", "," },
    { NULL, NULL, NULL, NULL, NULL }
};


static double
now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return ts.tv_sec + ts.tv_nsec / 1e9;
}


/* random tokens: nothing for a branch predictor to learn */

static size_t
random_body(char *p, size_t size)
{
    size_t               n, len;
    unsigned             i, r;
    static const char   *tokens[] = {
        "1", "\"\"", "[]", "{}", "\"a\"", "null", "-2.5", "[1]", "{\"k\":0}",
        "\"caf\xc3\xa9\"", "\"\\\\\"", "\"\\n\"", "true", " 1", "12345678",
        "\"a longer string than that\""
    };

    r = 12345;
    n = 0;
    p[n++] = '[';

    for ( ;; ) {
        r = r * 1103515245 + 12345;
        i = r >> 20 & 15;
        len = strlen(tokens[i]);

        if (n + len + 4 > size) {
            break;
        }

        memcpy(p + n, tokens[i], len);
        n += len;
        p[n++] = ',';
    }

    p[n - 1] = ']';

    return n;
}


static size_t
fill(char *p, const content_t *c, size_t size)
{
    size_t  n, len, comma;

    n = strlen(c->before);
    memcpy(p, c->before, n);

    len = strlen(c->piece);
    comma = strlen(c->comma);

    for ( ;; ) {
        memcpy(p + n, c->piece, len);
        n += len;

        if (n + comma + len + strlen(c->after) > size) {
            break;
        }

        memcpy(p + n, c->comma, comma);
        n += comma;
    }

    memcpy(p + n, c->after, strlen(c->after));

    return n + strlen(c->after);
}


/* the best time that a run takes; the copy it works on costs extra */

static double
measure(u_char *work, u_char *body, size_t len, u_char *out, int what)
{
    int                            i, n, count;
    double                         t, best;
    ngx_str_t                      json;
    ngx_http_academy_envelope_t    env;
    ngx_http_academy_scan_error_t  err;

    best = 1e9;
    count = 1;

    memcpy(work, body, len);

    if (ngx_http_academy_scan_put(work, len, len, &env, &err) != NGX_OK) {
        fprintf(stderr, "refused: %s: %s\n", err.field, err.why);
        exit(1);
    }

    json = env.json;

    for (i = 0; i < ROUNDS; i++) {

        for ( ;; ) {
            t = now();

            for (n = 0; n < count; n++) {

                switch (what) {

                case 0:
                    memcpy(work, body, len);
                    __asm__ __volatile__ ("" : : "r" (work) : "memory");
                    break;

                case 1:
                    memcpy(work, body, len);
                    ngx_http_academy_scan_put(work, len, len, &env, &err);
                    break;

                default:
                    ngx_http_academy_escape(out, json.data, json.len);
                    __asm__ __volatile__ ("" : : "r" (out) : "memory");
                }
            }

            t = now() - t;

            if (t > BUDGET / 2) {
                break;
            }

            count = t < BUDGET / 64 ? count * 16 : count * 2;
        }

        if (t / count < best) {
            best = t / count;
        }
    }

    return best;
}


static void
report(const char *name, char *value, size_t n, size_t size)
{
    double   copy, put, escape;
    u_char  *message, *body, *work, *out, *p;
    size_t   len;

    message = malloc(sizeof(head) + n + 1);
    body = malloc(2 * (sizeof(head) + n) + 64);
    work = malloc(2 * (sizeof(head) + n) + 64);
    out = malloc(2 * (sizeof(head) + n) + 64);

    len = sizeof(head) - 1;
    memcpy(message, head, len);
    memcpy(message + len, value, n);
    len += n;
    message[len++] = '}';

    /* tabs come as \t, as a client's library writes them */

    p = body + sprintf((char *) body, "{\"message\": \"");

    for (n = 0; n < len; n++) {
        if (message[n] == '\t' || message[n] == '\n') {
            *p++ = '\\';
            *p++ = message[n] == '\t' ? 't' : 'n';
            continue;
        }

        if (message[n] == '"' || message[n] == '\\') {
            *p++ = '\\';
        }

        *p++ = message[n];
    }

    p += sprintf((char *) p, "\"}");

    copy = measure(work, body, p - body, out, 0);
    put = measure(work, body, p - body, out, 1) - copy;
    escape = measure(work, body, p - body, out, 2);

    printf("%-14s %8zu %8.0f %8.0f %10.4f%s\n", name, p - body,
           (p - body) / put / 1e6, len / escape / 1e6, (put + escape) * 1e3,
           size == 0 ? "   (a usual action)" : "");

    free(message);
    free(body);
    free(work);
    free(out);
}


int
main(int argc, char **argv)
{
    char             *value;
    size_t            size;
    const content_t  *c;

    size = (argc > 1 ? strtoul(argv[1], NULL, 10) : 500) * 1000;
    value = malloc(size + 256);

    printf("%-14s %8s %8s %8s %10s\n", "content", "bytes", "put", "escape",
           "ms");
    printf("%-14s %8s %8s %8s %10s\n", "", "", "MB/s", "MB/s", "both");

    if (argc < 3) {
        memcpy(value, action, sizeof(action));
        report("small", value, sizeof(action) - 1, 0);
        report("random", value, random_body(value, size), size);
    }

    for (c = contents; c->name; c++) {
        if (argc < 3 || strcmp(c->name, argv[2]) == 0) {
            report(c->name, value, fill(value, c, size), size);
        }
    }

    free(value);

    return 0;
}
