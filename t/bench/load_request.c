
/*
 * The requests of the load generator: those of the Python client 1.0.0, byte
 * for byte, each written out once.  Afterwards only digits are patched: those
 * of a message's tag, and those of the mailbox that it is about.
 */

#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"


static const char  head_fmt[] =
    "%s %s%s HTTP/1.1\r\n"
    "Host: %s:%d\r\n"
    "academy_version: 1.0.0\r\n"
    "Accept: %s\r\n"
    "Accept-Encoding: gzip, deflate\r\n"
    "User-Agent: Python/3.11 aiohttp/3.14.5\r\n"
    "Content-Length: %zu\r\n"
    "Content-Type: application/json\r\n"
    "%s%s"
    "\r\n"
    "%s";

static const char  message_fmt[] =
    "{\"header\":"
    "{\"src\":{\"uid\":\"%s\",\"name\":null,\"role\":\"%s\"},"
    "\"dest\":{\"uid\":\"%s\",\"name\":null,\"role\":\"%s\"},"
    "\"tag\":\"%s\","
    "\"label\":\"310dec42-f562-4184-87ed-f3e118ea12d4\","
    "\"kind\":\"%s\",\"protocol_version\":\"1.1\","
    "\"academy_version\":\"1.0.0\"},\"body\":%s}";

static const char  body_request[] =
    "{\"action\":\"echo\",\"serialization\":\"pickle\","
    "\"result_serialization\":null,"
    "\"exception_serialization\":null,"
    "\"pargs\":\"gASVCwAAAAAAAACMBWhlbGxvlIWULg==\","
    "\"kargs\":\"gAR9lC4=\",\"kind\":\"action-request\"}";

static const char  body_response[] =
    "{\"result\":[\"__serialized__\","
    "\"gASVCQAAAAAAAACMBWhlbGxvlC4=\"],"
    "\"serialization\":\"pickle\","
    "\"kind\":\"action-response\"}";


void
uid_make(char *dst, int role, int i)
{
    sprintf(dst, "%08x-%04x-4000-8000-%012x", opt.seed, role, i);
}


void
tag_make(char *dst, int id)
{
    /* never the same text as one of the ids of uid_make() */

    sprintf(dst, "%08x-%04x-4000-9000-000000000000", opt.seed,
            id & 0xffff);
}


static void
digits_set(char *p, uint64_t n)
{
    int                i;
    static const char  hex[] = "0123456789abcdef";

    for (i = 11; i >= 0; i--) {
        p[i] = hex[n & 15];
        n >>= 4;
    }
}


void
request_tag(request_t *req, uint64_t seq)
{
    digits_set(req->tag, seq);
}


/* the mailbox that a request is about becomes number i of its role */

void
request_mailbox(request_t *req, int i)
{
    int  k;

    for (k = 0; k < req->nuids; k++) {
        digits_set(req->uid[k], i);
    }
}


static void
request_uids(request_t *req, int role, int i)
{
    char  *p, uid[37];

    uid_make(uid, role, i);
    req->nuids = 0;

    for (p = req->bytes; req->nuids < MAX_UIDS; p += 36) {
        p = strstr(p, uid);
        if (p == NULL) {
            break;
        }

        req->uid[req->nuids++] = p + 24;
    }
}


void
request_make(request_t *req, const char *method, const char *target,
    const char *accept, const char *body)
{
    int  n;

    n = asprintf(&req->bytes, head_fmt, method, opt.base, target, opt.addr,
                 opt.port, accept, strlen(body), opt.header,
                 *opt.header ? "\r\n" : "", body);
    if (n == -1) {
        die("memory");
    }

    req->len = n;
    req->tag = NULL;
    req->nuids = 0;
}


void
request_id(request_t *req, const char *method, const char *target, int role,
    int i, const char *more)
{
    char  uid[37], *body;

    uid_make(uid, role, i);

    if (asprintf(&body, "{\"mailbox\": \"{\\\"uid\\\":\\\"%s\\\","
                 "\\\"name\\\":null,\\\"role\\\":\\\"%s\\\"}\"%s}",
                 uid, role ? "agent" : "user", more) == -1)
    {
        die("memory");
    }

    request_make(req, method, target,
                 strstr(target, "listen") ? "text/event-stream" : "*/*", body);
    request_uids(req, role, i);
    free(body);
}


/* the message itself; with -B its body is a string of that length */

char *
message_make(int srole, int src, int drole, int dest, const char *kind,
    const char *tag)
{
    char        *text, *body, s[37], d[37];
    const char  *known;

    uid_make(s, srole, src);
    uid_make(d, drole, dest);

    known = strcmp(kind, "request") ? body_response : body_request;
    body = NULL;

    if (opt.size) {
        body = need(malloc(opt.size + 3));
        memset(body, 'A', opt.size + 2);
        body[0] = body[opt.size + 1] = '"';
        body[opt.size + 2] = '\0';
    }

    if (asprintf(&text, message_fmt, s, srole ? "agent" : "user",
                 d, drole ? "agent" : "user", tag, kind, body ? body : known)
        == -1)
    {
        die("memory");
    }

    free(body);
    return text;
}


void
request_message(request_t *req, int srole, int src, int drole, int dest,
    const char *kind, const char *tag)
{
    char  *text, *body, *p, *q;

    text = message_make(srole, src, drole, dest, kind, tag);
    body = need(malloc(2 * strlen(text) + 32));
    q = stpcpy(body, "{\"message\": \"");

    for (p = text; *p; p++) {
        if (*p == '"') {
            *q++ = '\\';
        }
        *q++ = *p;
    }

    strcpy(q, "\"}");
    request_make(req, "PUT", "/message", "*/*", body);
    request_uids(req, drole, dest);
    req->tag = strstr(req->bytes, tag) + 24;

    free(text);
    free(body);
}


/* nchan: a channel for each mailbox */

void
request_publish(request_t *req, int srole, int src, int drole, int dest,
    const char *kind, const char *tag)
{
    char  *text, uid[37], target[64];

    uid_make(uid, drole, dest);
    sprintf(target, "/pub?id=%s", uid);
    text = message_make(srole, src, drole, dest, kind, tag);
    request_make(req, "POST", target, "*/*", text);
    req->tag = strstr(req->bytes, tag) + 24;
    free(text);
}


void
request_subscribe(request_t *req, int role, int i)
{
    char  uid[37], target[64];

    uid_make(uid, role, i);
    sprintf(target, "/sub?id=%s", uid);
    request_make(req, "GET", target, "text/event-stream", "");
}
