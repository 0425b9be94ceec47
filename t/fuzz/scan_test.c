
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * What the scanner makes of given texts, in tables: a text, and the field and
 * the reason of the error; no reason means that the text is accepted.  Each is
 * read by the scanner and by its portable form, from a piece of heap of
 * exactly its size.
 */


#include <stdio.h>
#include <stdlib.h>
#include "scan_check.h"


#define U1      "11111111-2222-3333-4444-aabbccddeeff"
#define U2      "01234567-89ab-cdef-0123-456789abcdef"
#define SRC     "\"src\":{\"uid\":\"" U1 "\",\"name\":null,\"role\":\"agent\"}"
#define DEST    "\"dest\":{\"uid\":\"" U2 "\",\"role\":\"user\"}"
#define TAG     "\"tag\":\"" U1 "\""
#define KIND    "\"kind\":\"request\""
#define HEADER  "\"header\":{" SRC "," DEST "," TAG "," KIND "}"
#define BODY    "\"body\":null"

/* a message with more in its header, or with another source */

#define HEADED(more)    "{\"header\":{" SRC "," DEST "," TAG "," KIND ","     \
                        more "}," BODY "}"
#define SOURCED(entity) "{\"header\":{\"src\":" entity "," DEST "," TAG ","   \
                        KIND "}," BODY "}"
#define BODIED(value)   "{" HEADER ",\"body\":" value "}"

/* what is allowed, as it is documented */

#define DEPTH    200
#define DIGITS   4300
#define MEMBERS  64

#define TEXT(s)  s, sizeof(s) - 1


typedef struct {
    const char  *text;
    size_t       len;
    const char  *field;
    const char  *why;
} case_t;


typedef ngx_int_t (*put_pt)(u_char *body, size_t len, size_t limit,
    ngx_http_academy_envelope_t *env, ngx_http_academy_scan_error_t *err);
typedef ngx_int_t (*entity_pt)(u_char *p, size_t len,
    ngx_http_academy_entity_t *entity, ngx_http_academy_scan_error_t *err);
typedef ngx_int_t (*value_pt)(u_char *p, size_t len,
    ngx_http_academy_scan_error_t *err);
typedef u_char *(*escape_pt)(u_char *dst, u_char *src, size_t len);


typedef struct {
    const char  *name;
    put_pt       put;
    entity_pt    entity;
    value_pt     value;
    escape_pt    escape;
} scanner_t;


static const scanner_t  scanners[] = {
    { "scanner", ngx_http_academy_scan_put, ngx_http_academy_scan_entity,
      ngx_http_academy_scan_value, ngx_http_academy_escape },
    { "portable scanner", portable_scan_put, portable_scan_entity,
      portable_scan_value, portable_escape }
};


static int              tests, failures;
static const scanner_t *scanner;


static const case_t  values[] = {
    { TEXT("null"), NULL, NULL },
    { TEXT("true"), NULL, NULL },
    { TEXT("false"), NULL, NULL },
    { TEXT("0"), NULL, NULL },
    { TEXT("-0"), NULL, NULL },
    { TEXT("-0.0e-0"), NULL, NULL },
    { TEXT("10"), NULL, NULL },
    { TEXT("1e999999"), NULL, NULL },
    { TEXT("1E+5"), NULL, NULL },
    { TEXT("0.00000000000000000000000000000001"), NULL, NULL },
    { TEXT("123456789012345678901234567890"), NULL, NULL },
    { TEXT("\"\""), NULL, NULL },
    { TEXT("\"\\u0000\""), NULL, NULL },
    { TEXT("{\"\\u0000\":1}"), NULL, NULL },
    { TEXT("\"\\ud83d\\ude00\\uD83D\\uDE00\""), NULL, NULL },
    { TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), NULL, NULL },
    { TEXT("\"\x7f\xc2\x80\xdf\xbf\""), NULL, NULL },
    { TEXT("\"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\""),
      NULL, NULL },
    { TEXT("\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""), NULL, NULL },
    { TEXT("[]"), NULL, NULL },
    { TEXT("{}"), NULL, NULL },
    { TEXT("{\"a\":1,\"a\":2}"), NULL, NULL },
    { TEXT(" \t\r\n[ 1 ,\t{ \"a\"\n:\r2 } ] \n"), NULL, NULL },
    { TEXT("[[],[[]],{\"a\":{}}]"), NULL, NULL },

    { TEXT(""), "value", "not valid JSON" },
    { TEXT(" "), "value", "not valid JSON" },
    { TEXT("nul"), "value", "not valid JSON" },
    { TEXT("nulll"), "value", "not valid JSON" },
    { TEXT("True"), "value", "not valid JSON" },
    { TEXT("fals"), "value", "not valid JSON" },
    { TEXT("NaN"), "value", "not valid JSON" },
    { TEXT("Infinity"), "value", "not valid JSON" },
    { TEXT("-Infinity"), "value", "not valid JSON" },
    { TEXT("-"), "value", "not valid JSON" },
    { TEXT("+1"), "value", "not valid JSON" },
    { TEXT("01"), "value", "not valid JSON" },
    { TEXT("-01"), "value", "not valid JSON" },
    { TEXT("1."), "value", "not valid JSON" },
    { TEXT(".5"), "value", "not valid JSON" },
    { TEXT("1.e5"), "value", "not valid JSON" },
    { TEXT("1e"), "value", "not valid JSON" },
    { TEXT("1e+"), "value", "not valid JSON" },
    { TEXT("1e5.5"), "value", "not valid JSON" },
    { TEXT("0x10"), "value", "not valid JSON" },
    { TEXT("1_000"), "value", "not valid JSON" },
    { TEXT("1 2"), "value", "not valid JSON" },
    { TEXT("1\0"), "value", "not valid JSON" },
    { TEXT("[1,]"), "value", "not valid JSON" },
    { TEXT("[,1]"), "value", "not valid JSON" },
    { TEXT("[1 2]"), "value", "not valid JSON" },
    { TEXT("[1}"), "value", "not valid JSON" },
    { TEXT("[1"), "value", "not valid JSON" },
    { TEXT("["), "value", "not valid JSON" },
    { TEXT("]"), "value", "not valid JSON" },
    { TEXT("{"), "value", "not valid JSON" },
    { TEXT("{\"a\""), "value", "not valid JSON" },
    { TEXT("{\"a\":"), "value", "not valid JSON" },
    { TEXT("{\"a\":1"), "value", "not valid JSON" },
    { TEXT("{\"a\":1,}"), "value", "not valid JSON" },
    { TEXT("{\"a\"}"), "value", "not valid JSON" },
    { TEXT("{\"a\":1]"), "value", "not valid JSON" },
    { TEXT("{\"a\" 1}"), "value", "not valid JSON" },
    { TEXT("{a:1}"), "value", "not valid JSON" },
    { TEXT("{1:1}"), "value", "not valid JSON" },
    { TEXT("{,}"), "value", "not valid JSON" },
    { TEXT("'a'"), "value", "not valid JSON" },
    { TEXT("[1] // no"), "value", "not valid JSON" },
    { TEXT("[\v1]"), "value", "not valid JSON" },
    { TEXT("\xc2\xa0" "1"), "value", "not valid JSON" },
    { TEXT("\xef\xbb\xbf" "1"), "value", "not valid JSON" },
    { TEXT("\"a"), "value", "not valid JSON" },
    { TEXT("\"a\n\""), "value", "a control character in a string" },
    { TEXT("\"\0\""), "value", "a control character in a string" },
    { TEXT("\"\x1f\""), "value", "a control character in a string" },
    { TEXT("\"\\"), "value", "an invalid escape" },
    { TEXT("\"\\\""), "value", "not valid JSON" },
    { TEXT("\"\\x\""), "value", "an invalid escape" },
    { TEXT("\"\\'\""), "value", "an invalid escape" },
    { TEXT("\"\\u123\""), "value", "an invalid escape" },
    { TEXT("\"\\u12g4\""), "value", "an invalid escape" },
    { TEXT("\"\\U0041\""), "value", "an invalid escape" },
    { TEXT("\"\\ud83d\""), "value", "an invalid escape" },
    { TEXT("\"\\ude00\""), "value", "an invalid escape" },
    { TEXT("\"\\ud83d\\u0041\""), "value", "an invalid escape" },
    { TEXT("\"\\ud83d\\ud83d\""), "value", "an invalid escape" },
    { TEXT("\"\\ud83dxxude00\""), "value", "an invalid escape" },
    { TEXT("\"\\ud83d\\n\""), "value", "an invalid escape" },

    { TEXT("\"\x80\""), "value", "not valid UTF-8" },
    { TEXT("\"\xc3\""), "value", "not valid UTF-8" },
    { TEXT("\"\xc0\x80\""), "value", "not valid UTF-8" },
    { TEXT("\"\xc1\xbf\""), "value", "not valid UTF-8" },
    { TEXT("\"\xe0\x9f\xbf\""), "value", "not valid UTF-8" },
    { TEXT("\"\xe2\x82\""), "value", "not valid UTF-8" },
    { TEXT("\"\xed\xa0\x80\""), "value", "not valid UTF-8" },
    { TEXT("\"\xf0\x8f\xbf\xbf\""), "value", "not valid UTF-8" },
    { TEXT("\"\xf4\x90\x80\x80\""), "value", "not valid UTF-8" },
    { TEXT("\"\xf5\x80\x80\x80\""), "value", "not valid UTF-8" },
    { TEXT("\"\xff\""), "value", "not valid UTF-8" },
    { TEXT("\"0123456789abcdef\xc3"), "value", "not valid UTF-8" },
    { TEXT("\0[\0" "1\0]"), "value", "not valid JSON" },
    { TEXT("\xff\xfe[\0]\0"), "value", "not valid UTF-8" }
};


static const case_t  bodies[] = {
    { TEXT("{\"message\":\"{\\\"header\\\":1}\"}"),
      "header", "not a JSON object" },
    { TEXT(""), "request body", "not a JSON object" },
    { TEXT("[]"), "request body", "not a JSON object" },
    { TEXT("\"{}\""), "request body", "not a JSON object" },
    { TEXT("null"), "request body", "not a JSON object" },
    { TEXT("\xef\xbb\xbf{}"), "request body", "not a JSON object" },
    { TEXT("{}"), "message", "missing" },
    { TEXT("{"), "request body", "not valid JSON" },
    { TEXT("{\"message\":\"\""), "request body", "not valid JSON" },
    { TEXT("{\"message\":\"\",}"), "request body", "not valid JSON" },
    { TEXT("{\"message\":\"\"}{}"), "request body", "not valid JSON" },
    { TEXT("{\"message\":\"\"} x"), "request body", "not valid JSON" },
    { TEXT("{\"message\":\"\"}\0"), "request body", "not valid JSON" },
    { TEXT("{\"message\":\"\xff\"}"), "request body", "not valid UTF-8" },
    { TEXT("{\"x\":\"\\ud800\",\"message\":\"\"}"),
      "request body", "an invalid escape" },
    { TEXT("{\"message\":\"\\ud800\"}"), "request body",
      "an invalid escape" },
    { TEXT("{\"message\":\"\t\"}"), "request body",
      "a control character in a string" },
    { TEXT("{\"message\":{}}"), "message", "not a string" },
    { TEXT("{\"message\":null}"), "message", "not a string" },
    { TEXT("{\"message\":"), "message", "not a string" },
    { TEXT("{\"message\":\"\"}"), "message", "not a JSON object" },
    { TEXT("{\"message\":\" \"}"), "message", "not a JSON object" },
    { TEXT("{\"message\":\"[]\"}"), "message", "not a JSON object" },
    { TEXT("{\"message\":\"\\u0000\"}"), "message", "not a JSON object" },
    { TEXT("{\"message\":\"{\\u0000}\"}"), "message", "not valid JSON" },
    { TEXT("{\"message\":\"{\\\"a\\u0000\\\":1}\"}"),
      "message", "a control character in a string" },
    { TEXT("{\"message\":\"{\\\"a\\\":\\\"\\\\ud800\\\"}\"}"),
      "message", "an invalid escape" },
    { TEXT("{\"message\":\"{}\"}"), "header", "missing" },
    { TEXT("{\"message\":\"{}\",\"message\":\"{}\"}"),
      "message", "given twice" },
    { TEXT("{\"message\":\"{}\",\"m\\u0065ssage\":\"{}\"}"),
      "message", "given twice" },
    { TEXT("{\"a\":1,\"message\":\"{}\",\"\\u0061\":\"{}\"}"),
      "request body", "a member given twice" },
    { TEXT("{\"\\u006dessage\":\"{}\"}"), "header", "missing" },
    { TEXT("{\"Message\":\"{}\"}"), "message", "missing" },
    { TEXT("{\"message\\u0000\":\"{}\"}"), "message", "missing" },
    { TEXT("{\"message;:\":1}"), "message", "missing" },
    { TEXT("{\"message;:\":\"a text that is not a short one\"}"),
      "message", "missing" },
    { TEXT("{\"x\":[{\"y\":1.5}],\"message\":\"{}\"}"), "header", "missing" }
};


static const case_t  messages[] = {
    { TEXT("{" HEADER "," BODY "}"), NULL, NULL },
    { TEXT("{" BODY "," HEADER "}"), NULL, NULL },
    { TEXT(" \n{" HEADER ",\t" BODY "}\r\n"), NULL, NULL },
    { TEXT("{\"h\\u0065ader\":{" SRC "," DEST "," TAG "," KIND "}," BODY "}"),
      NULL, NULL },
    { TEXT("{\"\":1," HEADER ",\"\\u0000\":[2]," BODY "}"), NULL, NULL },
    { TEXT("{" HEADER "," BODY ",\"\":\"a text that is not a short one\"}"),
      NULL, NULL },
    { TEXT("{\"header\":{\"x\":1," SRC "," DEST "," TAG "," KIND "},"
           "\"x\":1," BODY "}"), NULL, NULL },
    { TEXT(BODIED("[1,{\"a\":1,\"a\":2}]")), NULL, NULL },
    { TEXT(BODIED("\"\\u0000\"")), NULL, NULL },
    { TEXT(BODIED("1e999999")), NULL, NULL },
    { TEXT(HEADED("\"label\":null")), NULL, NULL },
    { TEXT(HEADED("\"label\":\"" U1 "\"")), NULL, NULL },
    { TEXT(HEADED("\"label\":\"{" U1 "}\"")), NULL, NULL },
    { TEXT(HEADED("\"protocol_version\":null")), NULL, NULL },
    { TEXT(HEADED("\"protocol_version\":\"\\u0000\"")), NULL, NULL },
    { TEXT(HEADED("\"academy_version\":\"9\"")), NULL, NULL },
    { TEXT(HEADED("\"later\":{\"tag\":1}")), NULL, NULL },
    { TEXT(SOURCED("{\"role\":\"\\u0075ser\",\"uid\":\"urn:uuid:" U1 "\"}")),
      NULL, NULL },
    { TEXT(SOURCED("{\"uid\":\"\\u0030123456789abcdef0123456789abcdef\"}")),
      NULL, NULL },
    { TEXT(HEADED("\"label\":\"\\u0075rn:uuid:" U1 "\"")), NULL, NULL },

    { TEXT("{" HEADER "}"), "body", "missing" },
    { TEXT("{" BODY "}"), "header", "missing" },
    { TEXT("{" HEADER "," BODY "} x"), "message", "not valid JSON" },
    { TEXT("{" HEADER "," BODY "}{}"), "message", "not valid JSON" },
    { TEXT("{" HEADER "," BODY), "message", "not valid JSON" },
    { TEXT("{" HEADER "," BODY ",}"), "message", "not valid JSON" },
    { TEXT("{" HEADER " " BODY "}"), "message", "not valid JSON" },
    { TEXT(BODIED("NaN")), "message", "not valid JSON" },
    { TEXT(BODIED("")), "message", "not valid JSON" },
    { TEXT("{" HEADER "," HEADER "," BODY "}"), "header", "given twice" },
    { TEXT("{" HEADER "," BODY ",\"b\\u006fdy\":1}"), "body", "given twice" },
    { TEXT("{" HEADER "," BODY ",\"x\":1,\"x\":1}"),
      "message", "a member given twice" },
    { TEXT("{" HEADER "," BODY ",\"\xc3\xa9\":1,\"\\u00E9\":1}"),
      "message", "a member given twice" },
    { TEXT("{" HEADER "," BODY ",\"\\ud83d\\ude00\":1,"
           "\"\xf0\x9f\x98\x80\":1}"),
      "message", "a member given twice" },
    { TEXT("{\"header\":[]," BODY "}"), "header", "not a JSON object" },
    { TEXT("{\"header\":null," BODY "}"), "header", "not a JSON object" },
    { TEXT("{\"header\":{}," BODY "}"), "header.src", "missing" },
    { TEXT("{\"header\":{" SRC "}," BODY "}"), "header.dest", "missing" },
    { TEXT("{\"header\":{" SRC "," DEST "}," BODY "}"),
      "header.tag", "missing" },
    { TEXT("{\"header\":{" SRC "," DEST "," TAG "}," BODY "}"),
      "header.kind", "missing" },
    { TEXT(HEADED(KIND)), "header.kind", "given twice" },
    { TEXT(HEADED(TAG)), "header.tag", "given twice" },
    { TEXT(HEADED("\"t\\u0061g\":\"" U1 "\"")), "header.tag", "given twice" },
    { TEXT(HEADED("\"label\":null,\"label\":null")),
      "header.label", "given twice" },
    { TEXT(HEADED("\"x\":1,\"x\":2")), "header", "a member given twice" },
    { TEXT(HEADED("\"label\":\"\"")), "header.label", "not a UUID" },
    { TEXT(HEADED("\"label\":false")), "header.label", "not a string" },
    { TEXT(HEADED("\"label\":nul")), "message", "not valid JSON" },
    { TEXT(HEADED("\"protocol_version\":1")),
      "header.protocol_version", "not a string" },
    { TEXT(HEADED("\"academy_version\":1")),
      "header.academy_version", "not a string" },
    { TEXT(HEADED("\"academy_version\":null")),
      "header.academy_version", "not a string" },
    { TEXT("{\"header\":{\"tag\":1}," BODY "}"),
      "header.tag", "not a string" },
    { TEXT("{\"header\":{\"tag\":\"x\"}," BODY "}"),
      "header.tag", "not a UUID" },
    { TEXT("{\"header\":{\"tag\":\"\\u0075rn:uuid:" U1 "0\"}," BODY "}"),
      "header.tag", "not a UUID" },
    { TEXT("{\"header\":{\"tag\":\"" U1 "\\u0030\"}," BODY "}"),
      "header.tag", "not a UUID" },
    { TEXT("{\"header\":{\"tag\":null}," BODY "}"),
      "header.tag", "not a string" },
    { TEXT("{\"header\":{\"kind\":\"Request\"}," BODY "}"),
      "header.kind", "neither request nor response" },
    { TEXT("{\"header\":{\"kind\":\"request\\u0000\"}," BODY "}"),
      "header.kind", "neither request nor response" },
    { TEXT("{\"header\":{\"kind\":1}," BODY "}"),
      "header.kind", "not a string" },
    { TEXT(SOURCED("null")), "header.src", "not a JSON object" },
    { TEXT(SOURCED("\"" U1 "\"")), "header.src", "not a JSON object" },
    { TEXT(SOURCED("{}")), "header.src.uid", "missing" },
    { TEXT(SOURCED("{\"uid\":1}")), "header.src.uid", "not a string" },
    { TEXT(SOURCED("{\"uid\":\"" U1 " \"}")),
      "header.src.uid", "not a UUID" },
    { TEXT(SOURCED("{\"uid\":\"" U1 "\",\"name\":1}")),
      "header.src.name", "not a string" },
    { TEXT(SOURCED("{\"uid\":\"" U1 "\",\"role\":null}")),
      "header.src.role", "not a string" },
    { TEXT(SOURCED("{\"uid\":\"" U1 "\",\"role\":\"admin\"}")),
      "header.src.role", "neither agent nor user" },
    { TEXT(SOURCED("{\"uid\":\"" U1 "\",\"x\":1}")),
      "header.src", "an unknown member" },
    { TEXT(SOURCED("{\"uid\":\"" U1 "\",\"uid\":\"" U1 "\"}")),
      "header.src.uid", "given twice" },
    { TEXT(SOURCED("{\"name\":null,\"uid\":\"" U1 "\",\"name\":null}")),
      "header.src.name", "given twice" },
    { TEXT(SOURCED("{\"uid\":\"" U1 "\",\"role\":\"user\","
                   "\"rol\\u0065\":\"agent\"}")),
      "header.src.role", "given twice" },
    { TEXT("{\"header\":{\"dest\":{\"uid\":\"\"}}," BODY "}"),
      "header.dest.uid", "not a UUID" }
};


static const case_t  entities[] = {
    { TEXT("{\"uid\":\"" U1 "\"}"), NULL, NULL },
    { TEXT("\r\n{\t\"uid\" : \"" U1 "\" ,\"name\":\"\\n\"} "), NULL, NULL },
    { TEXT("{\"role\":\"user\",\"name\":null,\"uid\":\"" U1 "\"}"),
      NULL, NULL },
    { TEXT(""), "mailbox", "not a JSON object" },
    { TEXT("\"" U1 "\""), "mailbox", "not a JSON object" },
    { TEXT("{\"uid\":\"" U1 "\""), "mailbox", "not valid JSON" },
    { TEXT("{\"uid\":\"" U1 "\"}x"), "mailbox", "not valid JSON" },
    { TEXT("{\"uid\":\"" U1 "\",\"name\":\"\xff\"}"),
      "mailbox", "not valid UTF-8" },
    { TEXT("{}"), "mailbox.uid", "missing" },
    { TEXT("{\"uid\":\"" U1 "\",\"name\":[]}"),
      "mailbox.name", "not a string" },
    { TEXT("{\"uid\":\"" U1 "\",\"\":1}"), "mailbox", "an unknown member" }
};


static const case_t  uuids[] = {
    { TEXT(U1), NULL, NULL },
    { TEXT("11111111-2222-3333-4444-AABBCCDDEEFF"), NULL, NULL },
    { TEXT("11111111222233334444aabbccddeeff"), NULL, NULL },
    { TEXT("{" U1 "}"), NULL, NULL },
    { TEXT("urn:uuid:" U1), NULL, NULL },
    { TEXT(""), "", "" },
    { TEXT("{11111111222233334444aabbccddeeff}"), "", "" },
    { TEXT("urn:uuid:11111111222233334444aabbccddeeff"), "", "" },
    { TEXT("urn:uuid:{" U1 "}"), "", "" },
    { TEXT("URN:UUID:" U1), "", "" },
    { TEXT("uuid:" U1), "", "" },
    { TEXT(" " U1), "", "" },
    { TEXT(U1 " "), "", "" },
    { TEXT("{" U1 " "), "", "" },
    { TEXT(" " U1 "}"), "", "" },
    { TEXT("(" U1 ")"), "", "" },
    { TEXT("1111111-12222-3333-4444-aabbccddeeff"), "", "" },
    { TEXT("11111111-2222-3333-4444_aabbccddeeff"), "", "" },
    { TEXT("11111111-2222-3333-4444-aabbccddeefg"), "", "" },
    { TEXT("11111111-2222-3333-4444-aabbccddee/f"), "", "" },
    { TEXT("11111111-2222-3333-4444-aabbccddee:f"), "", "" },
    { TEXT("11111111-2222-3333-4444-aabbccddee@f"), "", "" },
    { TEXT("11111111-2222-3333-4444-aabbccddee\0f"), "", "" },
    { TEXT("11111111-2222-3333-4444-aabbccddee\xc3\xa9"), "", "" }
};


static void run(const char *what, const case_t *cases, size_t n,
    void (*test)(const char *what, const case_t *c));
static void test_value(const char *what, const case_t *c);
static void test_body(const char *what, const case_t *c);
static void test_message(const char *what, const case_t *c);
static void test_entity(const char *what, const case_t *c);
static void test_uuid(const char *what, const case_t *c);

static void test_fields(void);
static void test_limits(void);
static void test_members(void);
static void test_beginnings(void);
static void test_offsets(void);
static void test_escapes(void);
static void test_utf8(void);
static void test_white_space(void);
static void test_size(void);

static u_char *copy(const char *text, size_t len);
static u_char *wrap(const char *text, size_t len, size_t *size);
static void judge(const char *what, const case_t *c, ngx_int_t rc,
    ngx_http_academy_scan_error_t *err);
static void ok(int passed, const char *what);


#define RUN(cases, test)                                                      \
    run(#cases, cases, sizeof(cases) / sizeof(cases[0]), test)


int
main(void)
{
    for (scanner = scanners; scanner < scanners + 2; scanner++) {
        RUN(values, test_value);
        RUN(bodies, test_body);
        RUN(messages, test_message);
        RUN(entities, test_entity);
        RUN(uuids, test_uuid);

        test_fields();
        test_limits();
        test_members();
        test_beginnings();
        test_offsets();
        test_escapes();
        test_utf8();
        test_white_space();
        test_size();
    }

    printf("scan_test: %d tests, %d failed\n", tests, failures);

    return failures != 0;
}


static void
run(const char *what, const case_t *cases, size_t n,
    void (*test)(const char *what, const case_t *c))
{
    size_t  i;

    for (i = 0; i < n; i++) {
        test(what, &cases[i]);
    }
}


static void
test_value(const char *what, const case_t *c)
{
    u_char                         *p;
    ngx_int_t                       rc;
    ngx_http_academy_scan_error_t   err;

    p = copy(c->text, c->len);
    rc = scanner->value(p, c->len, &err);

    judge(what, c, rc, &err);
    ok(memcmp(p, c->text, c->len) == 0, "a value stays as it is");

    free(p);
}


static void
test_body(const char *what, const case_t *c)
{
    u_char                         *p;
    ngx_int_t                       rc;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    p = copy(c->text, c->len);
    rc = scanner->put(p, c->len, 1000, &env, &err);

    judge(what, c, rc, &err);

    free(p);
}


static void
test_message(const char *what, const case_t *c)
{
    u_char                         *p;
    size_t                          size;
    ngx_int_t                       rc;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    p = wrap(c->text, c->len, &size);
    rc = scanner->put(p, size, c->len, &env, &err);

    judge(what, c, rc, &err);

    free(p);
}


static void
test_entity(const char *what, const case_t *c)
{
    u_char                         *p;
    ngx_int_t                       rc;
    ngx_http_academy_entity_t       entity;
    ngx_http_academy_scan_error_t   err;

    p = copy(c->text, c->len);
    rc = scanner->entity(p, c->len, &entity, &err);

    judge(what, c, rc, &err);

    free(p);
}


static void
test_uuid(const char *what, const case_t *c)
{
    u_char                         *p, uid[16], text[36];
    ngx_int_t                       rc;
    ngx_http_academy_scan_error_t   err;

    p = copy(c->text, c->len);
    rc = ngx_http_academy_uuid_parse(p, c->len, uid);

    err.field = err.why = "";
    judge(what, c, rc == NGX_OK ? NGX_OK : NGX_DECLINED, &err);

    if (rc == NGX_OK) {
        ok(ngx_http_academy_uuid_print(text, uid) == text + 36
           && memcmp(text, U1, 36) == 0, "a UUID is printed");
    }

    free(p);
}


/* all that an envelope tells */

static void
test_fields(void)
{
    u_char                         *p, text[36];
    size_t                          size;
    ngx_http_academy_entity_t       entity;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    static const char  full[] =
        "{\"header\":{\"src\":{\"uid\":\"{" U1 "}\","
        "\"name\":\"a\\\"\xc3\xa9\"},"
        "\"dest\":{\"role\":\"user\",\"uid\":\"" U2 "\",\"name\":null},"
        "\"tag\":\"" U2 "\",\"label\":\"" U1 "\",\"kind\":\"response\"},"
        "\"body\":1}";
    static const char  bare[] = "{" HEADER "," BODY "}";
    static const char  one[] =
        "{\"uid\":\"" U2 "\",\"name\":\"n\",\"role\":\"user\"}";

    p = wrap(full, sizeof(full) - 1, &size);

    ok(scanner->put(p, size, 1000, &env, &err) == NGX_OK, "all fields");

    ngx_http_academy_uuid_print(text, env.src.id.uid);
    ok(memcmp(text, U1, 36) == 0, "src.uid");
    ngx_http_academy_uuid_print(text, env.dest.id.uid);
    ok(memcmp(text, U2, 36) == 0, "dest.uid");
    ngx_http_academy_uuid_print(text, env.tag);
    ok(memcmp(text, U2, 36) == 0, "tag");
    ngx_http_academy_uuid_print(text, env.label);
    ok(memcmp(text, U1, 36) == 0 && env.labeled, "label");

    ok(env.src.id.role == NGX_HTTP_ACADEMY_AGENT, "src is an agent");
    ok(env.dest.id.role == NGX_HTTP_ACADEMY_USER, "dest is a user");
    ok(!env.request, "a response");
    ok(env.src.name.len == 7
       && memcmp(env.src.name.data, "\"a\\\"\xc3\xa9\"", 7) == 0, "src.name");
    ok(env.dest.name.len == 4
       && memcmp(env.dest.name.data, "null", 4) == 0, "dest.name");
    ok(env.json.len == sizeof(full) - 1
       && memcmp(env.json.data, full, env.json.len) == 0, "the message");

    free(p);

    p = wrap(bare, sizeof(bare) - 1, &size);

    ok(scanner->put(p, size, 1000, &env, &err) == NGX_OK, "few fields");
    ok(env.request && !env.labeled, "a request without a label");
    ok(env.dest.name.len == 4
       && memcmp(env.dest.name.data, "null", 4) == 0, "no name is null");

    free(p);

    p = copy(one, sizeof(one) - 1);

    ok(scanner->entity(p, sizeof(one) - 1, &entity, &err) == NGX_OK,
       "an entity id");
    ngx_http_academy_uuid_print(text, entity.id.uid);
    ok(memcmp(text, U2, 36) == 0
       && entity.id.role == NGX_HTTP_ACADEMY_USER
       && entity.name.len == 3
       && memcmp(entity.name.data, "\"n\"", 3) == 0, "its fields");

    free(p);
}


/* nesting and digits: as much as is allowed, and one more */

static void
test_limits(void)
{
    int                             i, n;
    char                            text[10000];
    u_char                         *p;
    size_t                          len, size;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    for (i = 0; i <= 1; i++) {
        n = DEPTH + i;

        memset(text, '[', n);
        memset(text + n, ']', n);
        p = copy(text, 2 * n);

        ok(scanner->value(p, 2 * n, &err) == (i ? NGX_DECLINED : NGX_OK),
           "nested arrays");
        ok(i == 0 || strcmp(err.why, "nested too deeply") == 0, "too deeply");

        free(p);

        /* in a body, the message is one level, and so is the header */

        len = sprintf(text, "{" HEADER ",\"body\":");
        memset(text + len, '[', n - 1);
        memset(text + len + n - 1, ']', n - 1);
        len += 2 * (n - 1);
        text[len++] = '}';

        p = wrap(text, len, &size);

        ok(scanner->put(p, size, len, &env, &err)
           == (i ? NGX_DECLINED : NGX_OK), "a nested body");
        ok(i == 0 || (strcmp(err.field, "message") == 0
                      && strcmp(err.why, "nested too deeply") == 0),
           "a body nested too deeply");

        free(p);

        len = sprintf(text, "{\"header\":{" SRC "," DEST "," TAG "," KIND
                      ",\"x\":");

        memset(text + len, '[', n - 2);
        memset(text + len + n - 2, ']', n - 2);
        len += 2 * (n - 2);
        len += sprintf(text + len, "}," BODY "}");

        p = wrap(text, len, &size);

        ok(scanner->put(p, size, len, &env, &err)
           == (i ? NGX_DECLINED : NGX_OK), "a nested member of the header");

        free(p);

        n = DIGITS + i;

        text[0] = '-';
        memset(text + 1, '7', n);
        memcpy(text + n + 1, ".5", 2);
        p = copy(text, n + 3);

        ok(scanner->value(p, n + 3, &err) == (i ? NGX_DECLINED : NGX_OK),
           "digits");
        ok(i == 0 || strcmp(err.why, "a number too long") == 0,
           "too many digits");
        ok(scanner->value(p + 1, n, &err) == (i ? NGX_DECLINED : NGX_OK),
           "digits of an integer");

        free(p);

        text[0] = '[';
        text[n + 1] = ']';
        p = copy(text, n + 2);

        ok(scanner->value(p, n + 2, &err) == (i ? NGX_DECLINED : NGX_OK),
           "digits of an integer in an array");

        free(p);
    }

    memcpy(text, "0.", 2);
    memset(text + 2, '7', 6000);
    p = copy(text, 6002);

    ok(scanner->value(p, 6002, &err) == NGX_OK, "digits behind the point");

    free(p);
}


/* as many members as are allowed, and one more */

static void
test_members(void)
{
    int                             i, n;
    char                            text[4000], members[2000];
    u_char                         *p;
    size_t                          len, size;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    /* of 64, 4 in a header and 2 in a message are there */

    for (i = 0; i <= 1; i++) {
        len = 0;

        for (n = 0; n < MEMBERS - 4 + i; n++) {
            len += sprintf(members + len, ",\"k%d\":[%d]", n, n);
        }

        len = sprintf(text, "{\"header\":{" SRC "," DEST "," TAG "," KIND "%s},"
                      BODY "}", members);
        p = wrap(text, len, &size);

        ok(scanner->put(p, size, len, &env, &err)
           == (i ? NGX_DECLINED : NGX_OK), "members of a header");
        ok(i == 0 || (strcmp(err.field, "header") == 0
                      && strcmp(err.why, "more than 64 members") == 0),
           "more members than a header may have");

        free(p);

        len = sprintf(text, "{\"l\":1,\"m\":2%s," HEADER "," BODY "}", members);
        p = wrap(text, len, &size);

        ok(scanner->put(p, size, len, &env, &err)
           == (i ? NGX_DECLINED : NGX_OK), "members of a message");
        ok(i == 0 || strcmp(err.field, "message") == 0,
           "more members than a message may have");

        free(p);
    }
}


/* the first escapes at each distance from the beginning of the message */

static void
test_beginnings(void)
{
    char                            text[500];
    u_char                         *body;
    size_t                          n, len, size;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    for (n = 0; n < 100; n++) {
        len = sprintf(text, "%*s{" HEADER ",\"body\":\"%.*s\"}", (int) n, "",
                      (int) n / 2,
                      "01234567890123456789012345678901234567890123456789");
        body = wrap(text, len, &size);

        ok(scanner->put(body, size, len, &env, &err) == NGX_OK
           && env.json.len == len && memcmp(env.json.data, text, len) == 0,
           text);

        free(body);
    }
}


/* each kind of escape at each distance from the ends of a string */

static void
test_offsets(void)
{
    char                            text[2000], *p;
    u_char                         *body, *json, *last;
    size_t                          i, k, n, len, size, count;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    static const char  *escapes[] = {
        "\\\\", "\\\"", "\\n", "\\u20ac", "\\ud83d\\ude00", "\xf0\x9f\x98\x80",
        "\xc3\xa9", "\\\\\\\\\\\"", ""
    };

    for (k = 0; k < sizeof(escapes) / sizeof(escapes[0]); k++) {
        for (n = 0; n < 40; n++) {
            for (i = 0; i < 40; i++) {

                p = text + sprintf(text, "{" HEADER ",\"body\":\"");
                p += sprintf(p, "%.*s%s%.*s%s%.*s\"}", (int) n,
                             "0123456789012345678901234567890123456789",
                             escapes[k], (int) i,
                             "abcdefghijabcdefghijabcdefghijabcdefghij",
                             escapes[k], (int) (n / 2),
                             "ABCDEFGHIJABCDEFGHIJ");
                len = p - text;

                body = wrap(text, len, &size);
                json = copy(text, len);

                if (scanner->put(body, size, len, &env, &err) != NGX_OK
                    || env.json.len != len
                    || memcmp(env.json.data, text, len) != 0)
                {
                    ok(0, text);
                    return;
                }

                count = ngx_http_academy_escape_count(json, len);

                if (portable_escape_count(json, len) != count) {
                    ok(0, text);
                    return;
                }

                free(body);
                body = malloc(len + count);
                last = scanner->escape(body, json, len);

                ok(last == body + len + count, "the length that was counted");

                free(body);
                free(json);
            }
        }
    }
}


/* each character behind a backslash, in a value and around the message */

static void
test_escapes(void)
{
    int                             c, n, valid;
    char                            text[200];
    u_char                         *p;
    size_t                          len;
    ngx_int_t                       rc;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    for (c = 1; c < 0x80; c++) {
        valid = strchr("\"\\/bfnrt", c) != NULL;

        for (n = 0; n < 40; n++) {
            len = sprintf(text, "{\"message\":\"{ \\\"x\\\": \\\"%*s\\%c%40s\"",
                          n, "", c, "");
            p = copy(text, len);
            rc = scanner->put(p, len, 200, &env, &err);

            /* up to where the body ends before it should */

            ok(rc == NGX_DECLINED
               && strcmp(err.why, valid ? "not valid JSON"
                                        : "an invalid escape") == 0,
               "an escape in a body");

            free(p);

            len = sprintf(text, "\"%*s\\%c%40s\"", n, "", c, "");
            p = copy(text, len);
            rc = scanner->value(p, len, &err);

            ok(rc == (valid ? NGX_OK : NGX_DECLINED)
               && (valid || strcmp(err.why, "an invalid escape") == 0),
               "an escape in a value");

            free(p);
        }
    }
}


/* a character at each distance from the beginning, whole and torn apart */

static void
test_utf8(void)
{
    char                            text[200];
    u_char                         *p;
    size_t                          i, n, gap, len;
    ngx_int_t                       rc;
    ngx_http_academy_scan_error_t   err;

    static const char  *characters[] = {
        "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"
    };

    for (i = 0; i < 3; i++) {
        for (n = 0; n < 40; n++) {
            for (gap = 0; gap < 40; gap++) {

                /* torn behind its first byte */

                len = sprintf(text, "\"%*s%.1s%*s%s\"", (int) n, "",
                              characters[i], (int) gap, "",
                              characters[i] + 1);
                p = copy(text, len);
                rc = scanner->value(p, len, &err);

                ok(rc == (gap ? NGX_DECLINED : NGX_OK), "UTF-8");
                ok(gap == 0 || strcmp(err.why, "not valid UTF-8") == 0,
                   "torn UTF-8");

                free(p);
            }
        }
    }
}


static void
test_white_space(void)
{
    u_char                         *p;
    size_t                          i, size;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    static const char  text[] =
        "\n\t\r {\n    \"header\" :\t{" SRC "\r\n,\n" DEST "\t\t\t\t\t\t\t\t\t"
        "\t\t\t\t\t\t\t\t\t," TAG "," KIND "},\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"
        "\"body\"\n:[\r1\n,\n\"a\\n b\\u000a\"\t]\n                }\n\n";
    static const char  line[] =
        "    {     \"header\" : {" SRC "  , " DEST "         "
        "         ," TAG "," KIND "},                "
        "\"body\" :[ 1 , \"a\\n b\\u000a\" ]                 }  ";

    p = wrap(text, sizeof(text) - 1, &size);

    ok(scanner->put(p, size, 1000, &env, &err) == NGX_OK, "white space");
    ok(env.json.len == sizeof(line) - 1 && sizeof(text) == sizeof(line)
       && memcmp(env.json.data, line, env.json.len) == 0, "a single line");

    for (i = 0; i < env.json.len; i++) {
        if (env.json.data[i] < 0x20) {
            ok(0, "a control character is left");
        }
    }

    free(p);
}


static void
test_size(void)
{
    u_char                         *p;
    size_t                          size;
    ngx_http_academy_envelope_t     env;
    ngx_http_academy_scan_error_t   err;

    static const char  text[] = BODIED("\"\xc3\xa9\\u00e9\"");

    p = wrap(text, sizeof(text) - 1, &size);
    ok(scanner->put(p, size, sizeof(text) - 1, &env, &err) == NGX_OK,
       "of the size that is allowed");
    free(p);

    p = wrap(text, sizeof(text) - 1, &size);
    ok(scanner->put(p, size, sizeof(text) - 2, &env, &err) == NGX_ABORT,
       "larger by a byte");
    ok(env.json.len == sizeof(text) - 1, "how large it is");
    free(p);

    p = copy(TEXT("{\"message\":\"123456\",\"message\":1}"));
    ok(scanner->put(p, 32, 5, &env, &err) == NGX_DECLINED,
       "too large, and in a body that is not valid");
    free(p);
}


static u_char *
copy(const char *text, size_t len)
{
    u_char  *p;

    p = malloc(len);
    memcpy(p, text, len);

    return p;
}


/* a request body with the message in it */

static u_char *
wrap(const char *text, size_t len, size_t *size)
{
    u_char  *p, *body;
    size_t   i;

    body = malloc(6 * len + 16);
    p = body + sprintf((char *) body, "{\"message\":\"");

    for (i = 0; i < len; i++) {
        if ((u_char) text[i] < 0x20) {
            p += sprintf((char *) p, "\\u%04x", (u_char) text[i]);
            continue;
        }

        if (text[i] == '"' || text[i] == '\\') {
            *p++ = '\\';
        }

        *p++ = (u_char) text[i];
    }

    p += sprintf((char *) p, "\"}");

    *size = p - body;
    p = copy((char *) body, *size);
    free(body);

    return p;
}


static void
judge(const char *what, const case_t *c, ngx_int_t rc,
    ngx_http_academy_scan_error_t *err)
{
    tests++;

    if (c->why == NULL) {

        if (rc == NGX_OK) {
            return;
        }

        fprintf(stderr, "%s: %s: refused (%s: %s): %.*s\n", scanner->name,
                what, err->field, err->why, (int) c->len, c->text);

    } else {

        if (rc == NGX_DECLINED && strcmp(err->field, c->field) == 0
            && strcmp(err->why, c->why) == 0)
        {
            return;
        }

        fprintf(stderr, "%s: %s: %s (%s: %s), not (%s: %s): %.*s\n",
                scanner->name, what, rc == NGX_OK ? "accepted" : "refused",
                rc == NGX_OK ? "" : err->field, rc == NGX_OK ? "" : err->why,
                c->field, c->why, (int) c->len, c->text);
    }

    failures++;
}


static void
ok(int passed, const char *what)
{
    tests++;

    if (!passed) {
        failures++;
        fprintf(stderr, "%s: failed: %s\n", scanner->name, what);
    }
}
