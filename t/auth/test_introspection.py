"""Opaque tokens: what the provider is asked, what its answers come to, and
what happens when it has none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import random
import resource
import signal
import socket
import statistics
import string
import time

import pytest
from academy_nginx import (ASAN, PATIENCE, Connection, resident_bytes, run,
                           wait_until)
from h2client import Http2

import provider as idp
from provider import BASIC, Held, locations, silent
from tokens import ask, bearer, jwk, jwks, token as jwt

BOX = '{"uid":"00000000-0000-4000-8000-000000000001","role":"agent"}'

OK = (200, None)
MISSING = (401, "Bearer")
BAD_REQUEST = (401, 'Bearer error="invalid_request"')
INVALID = (403, 'Bearer error="invalid_token"')
UNAVAILABLE = (503, None)


@pytest.fixture
def exchange(nginx, provider):
    """A function that starts an exchange that asks the provider."""
    def start(more="", server="", http="", each=None, uri="/.introspect",
              **pieces):
        where = locations(provider, **(each or {}))
        return nginx(
            location="academy_auth introspection;"
                     f" academy_introspection {uri}; {more}",
            server=where["server"] + server, http=where["http"] + http,
            **pieces)

    return start


def back(server, text) -> float:
    """Until it is taken again, seconds."""
    begin = time.monotonic()
    wait_until(lambda: look(bearer(server.port, text)) == OK, 10,
               "it is not taken again")
    return time.monotonic() - begin


def look(answer):
    if answer.status == 503:
        assert answer.headers["retry-after"].isdigit()
        assert answer.text == "Tokens cannot be verified at present"
    return answer.status, answer.challenge


# --------------------------------------------------------- what it is asked


def test_what_is_asked(exchange, provider):
    server = exchange()
    text = provider.issue(username="ann")
    assert look(bearer(server.port, text)) == OK
    (call,) = provider.asked()
    assert (call.what, call.method) == ("introspect", "POST")
    assert call.target == idp.PATHS["introspect"]
    assert sorted(call.form) == [("token", text),
                                 ("token_type_hint", "access_token")]
    headers = {k.lower(): v for k, v in call.headers}
    assert len(headers) == len(call.headers)
    assert headers.pop("host") == "provider"
    assert headers.pop("authorization") == BASIC
    assert headers.pop("content-length") == str(len(call.body))
    assert headers.pop("content-type") == "application/x-www-form-urlencoded"
    assert headers.pop("accept") == "application/json"
    assert headers == {}


LETTERS = string.ascii_letters + string.digits + "-._~+/"


def test_every_character_of_a_token(exchange, provider):
    """What is a blank or the end of a value in a form is written otherwise."""
    server = exchange()
    for text in [LETTERS, LETTERS[::-1] + "==", "a+b", "a/b=", "~", "+", "/=",
                 "%2B".replace("%", ""), "a" * 5000, "+" * 5000]:
        text = provider.issue(text, username="ann")
        assert look(bearer(server.port, text)) == OK, text
        assert dict(provider.asked()[-1].form)["token"] == text
        assert provider.asked()[-1].header("Content-Length") == str(
            len(provider.asked()[-1].body))
    rest = set(provider.asked()[-1].body.decode()) - set(LETTERS) - set("=&%")
    assert not rest


def test_nobody_is_asked(exchange, provider):
    """About what cannot be a token."""
    server = exchange()
    assert look(ask(server.port)) == MISSING
    for text in ("", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b",
                 "Bearer a&b=c", "Bearer a%20b", 'Bearer "a"', "Bearer =",
                 "Bearer a\xe9"):
        assert look(ask(server.port, text)) == BAD_REQUEST, text
    assert look(bearer(server.port, "x" * 16385)) == INVALID
    assert provider.asked() == []


# What a caller may send, and what is none of the provider's business.
CALLERS = {
    "Cookie": "session=of-the-caller", "Range": "bytes=0-3",
    "If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT",
    "If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT",
    "If-None-Match": '"1"', "If-Match": '"2"', "If-Range": '"1"',
    "Accept": "text/of-the-caller", "Accept-Language": "of-the-caller",
    "Accept-Encoding": "gzip, of-the-caller",
    "Content-Type": "application/of-the-caller",
    "User-Agent": "agent-of-the-caller", "Referer": "http://of-the-caller/",
    "X-Forwarded-For": "1.2.3.4", "X-Forwarded-Host": "of-the-caller",
    "Forwarded": "for=of-the-caller", "X-Real-IP": "1.2.3.4",
    "Via": "1.1 of-the-caller",
    "Proxy-Authorization": "Basic of-the-caller", "TE": "trailers",
    "X-HTTP-Method-Override": "DELETE", "Expect": "of-the-caller",
    "X-Of-The-Caller": "yes", "Destination": "of-the-caller",
    "Keep-Alive": "timeout=123", "Pragma": "of-the-caller",
    "Cache-Control": "of-the-caller", "Content-Language": "of-the-caller",
}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_nothing_of_the_caller(exchange, provider, method):
    """Neither headers, body, method nor arguments; and conditions and ranges
    of the caller's do not cut the provider's answer."""
    server = exchange(each={"more": "proxy_pass_request_headers on;"})
    text = provider.issue(username="ann")
    bearer(server.port, text)
    for i in range(2):
        text = provider.issue(username="ann")
        answer = bearer(
            server.port, text, method=method, path=("/message", "/a/b")[i]
            + "?token=of-the-caller&active=true", headers=CALLERS,
            body={"mailbox": "of-the-caller"})
        assert answer.status not in (401, 403, 503, 500), answer
        first, last = provider.asked()[0], provider.asked()[-1]
        assert sorted(last.form) == [("token", text),
                                     ("token_type_hint", "access_token")]
        assert (last.method, last.target) == (first.method, first.target)
        assert last.headers == first.headers
    assert len(provider.asked()) == 3


def test_nothing_of_a_caller_without_a_host(exchange, provider):
    """HTTP/1.0, which has none."""
    server = exchange()
    text = provider.issue(username="ann")
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"GET /discover HTTP/1.0\r\nContent-Length: 40\r\n"
                  b"Authorization: Bearer %s\r\n\r\n"
                  b'{"agent": "a", "allow_subclasses": true}' % text.encode())
        assert b" 200 OK" in s.makefile("rb").readline()
    assert [k for k, _ in provider.asked()[0].headers if k == "Host"]


def test_a_body_that_comes_late_or_in_chunks(exchange, provider):
    """The caller's body is read after the provider has been asked."""
    server = exchange()
    said = b'{"agent": "a", "allow_subclasses": true}'
    for head, body in [
            (b"Content-Length: 40\r\n\r\n", said),
            (b"Transfer-Encoding: chunked\r\n\r\n",
             b"28\r\n%s\r\n0\r\n\r\n" % said),
            (b"Content-Length: 60040\r\n\r\n", b" " * 60000 + said)]:
        for split in (0, 1, 20):
            text = provider.issue(username="ann").encode()
            with socket.create_connection(("127.0.0.1", server.port)) as s:
                s.sendall(b"GET /discover HTTP/1.1\r\nHost: x\r\n"
                          b"Authorization: Bearer " + text + b"\r\n"
                          b"Connection: close\r\n" + head + body[:split])
                time.sleep(0.05)
                s.sendall(body[split:])
                answer = s.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 200 OK"), (head, split)
            assert answer.endswith(b'{"agent_ids": ""}'), answer


# ------------------------------------------------------------ what it answers


def table():
    now = int(time.time())
    return [
        ({"username": "ann"}, OK),
        ({"sub": "ann"}, OK),
        ({"username": "ann", "sub": "x"}, OK),
        ({"username": "ann", "exp": ...}, OK),
        ({"username": "ann", "exp": now + 600.5}, OK),
        ({"username": "ann", "nbf": now - 1, "iat": now - 1}, OK),
        ({"username": "ann", "unknown": {"x": [1, None, {}]}}, OK),
        ({"username": "\u00e4nn"}, OK),
        ({"username": "", "sub": "ann"}, OK),
        ({"username": 7, "sub": "ann"}, OK),
        ({"username": None, "sub": "ann"}, OK),
        # nobody
        ({}, MISSING),
        ({"username": ""}, MISSING),
        ({"username": 7}, MISSING),
        ({"username": "a\nb", "sub": "ann"}, MISSING),
        ({"username": "a\x7f"}, MISSING),
        ({"username": "a" * 1025}, MISSING),
        # not valid
        ({"username": "ann", "active": False}, INVALID),
        ({"username": "ann", "exp": now - 1}, INVALID),
        ({"username": "ann", "exp": 0}, INVALID),
        ({"username": "ann", "exp": -1}, INVALID),
        ({"username": "ann", "exp": str(now + 600)}, INVALID),
        ({"username": "ann", "exp": None}, INVALID),
        ({"username": "ann", "exp": True}, INVALID),
        ({"username": "ann", "nbf": now + 300}, INVALID),
        ({"username": "ann", "nbf": "0"}, INVALID),
        # no answer
        ({"username": "ann", "active": ...}, UNAVAILABLE),
        ({"username": "ann", "active": "true"}, UNAVAILABLE),
        ({"username": "ann", "active": 1}, UNAVAILABLE),
        ({"username": "ann", "active": None}, UNAVAILABLE),
        ({"username": "ann", "active": [True]}, UNAVAILABLE),
    ]


def test_table(exchange, provider):
    server = exchange()
    wrong = []
    for fields, expected in table():
        answer = look(bearer(server.port, provider.issue(**fields)))
        if answer != expected:
            wrong.append(f"{fields}: {answer}, not {expected}")
    assert not wrong, "\n".join(wrong)
    assert look(bearer(server.port, "unknown")) == INVALID


def test_audience_and_issuer(exchange, provider):
    server = exchange('academy_auth_audience a "b c";'
                      " academy_auth_issuer https://i;"
                      " academy_auth_leeway 60s;")
    good = {"username": "ann", "aud": "a", "iss": "https://i"}
    now = int(time.time())
    for more, expected in [
            ({}, OK), ({"aud": ["x", "b c"]}, OK), ({"exp": now - 30}, OK),
            ({"nbf": now + 30}, OK), ({"aud": ["x"]}, INVALID),
            ({"aud": ...}, INVALID), ({"aud": {"a": "a"}}, INVALID),
            ({"iss": "https://j"}, INVALID), ({"iss": ...}, INVALID),
            ({"exp": now - 61}, INVALID), ({"nbf": now + 120}, INVALID)]:
        assert look(bearer(server.port, provider.issue(**good | more))) == (
            expected), more


GOOD = [idp.well, idp.chunked, idp.until_closed, idp.bit_by_bit,
        idp.padded(10_000),
        lambda to, data: to.answer(200, b" \r\n" + data + b"\n\t "),
        lambda to, data: to.answer(200, data, ("Content-Type", "text/html")),
        lambda to, data: to.answer(
            200, data, ("Location", "/x"), ("Refresh", "1"),
            ("X-Accel-Expires", "0"), ("X-Accel-Limit-Rate", "10000"),
            ("X-Accel-Buffering", "no"), ("Content-Disposition", "inline"))]

BAD = {
    **{str(n): idp.status(n) for n in (
        201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 408, 413, 429,
        500, 502, 503, 504)},
    "half": idp.half, "half in chunks": idp.chunked_half,
    "gzip": idp.gzipped,
    "X-Accel-Redirect": lambda to, data: to.answer(
        200, data, ("X-Accel-Redirect", "/discover")),
    "nothing": idp.silence, "reset": idp.reset,
    "no HTTP": idp.no_http, "empty": idp.body(""), "text": idp.body("yes"),
    "no object": idp.body('["active"]'), "true": idp.body("true"),
    "null": idp.body("null"), "string": idp.body('"active"'),
    "text behind": lambda to, data: to.answer(200, data + b" x"),
    "two objects": lambda to, data: to.answer(200, data + data),
    "no end": lambda to, data: to.answer(200, data[:-1]),
    "duplicate": idp.body('{"active":false,"active":true,"username":"ann"}'),
    "UTF-16": lambda to, data: to.answer(
        200, data.decode().encode("utf-16")),
    "byte-order mark": lambda to, data: to.answer(
        200, b"\xef\xbb\xbf" + data),
    "bad UTF-8": idp.body(b'{"active":true,"username":"\xff"}'),
    "deep": idp.body('{"active":true,"username":"ann","x":'
                     + "[" * 100_000 + "]" * 100_000 + "}"),
    "NaN": idp.body('{"active":true,"username":"ann","exp":NaN}'),
    "too large": idp.padded(4_000_000),
    "HTML": idp.body("<html><body>Log in, please</body></html>"),
    "slow": idp.slow(4),
}


def test_good_answers(exchange, provider):
    server = exchange()
    for does in GOOD:
        provider.does["introspect"] = does
        text = provider.issue(username="ann")
        for _ in range(2):
            assert look(bearer(server.port, text)) == OK, does
    assert len(provider.asked()) == len(GOOD)


def test_bad_answers(exchange, provider):
    """503, and what had been found before is as good as ever."""
    server = exchange(each={"timeout": "1s"}, workers=2)
    known = provider.issue(username="ann")
    assert look(bearer(server.port, known)) == OK
    wrong, texts = [], []
    for name, does in BAD.items():
        provider.does["introspect"] = does
        asked = len(provider.asked())
        texts.append(provider.issue(username="ann"))
        for text, expected in [(texts[-1], UNAVAILABLE), (known, OK)] * 2:
            answer = look(bearer(server.port, text))
            if answer != expected:
                wrong.append(f"{name}: {answer}, not {expected}")
        assert len(provider.asked()) > asked, name
    assert not wrong, "\n".join(wrong)
    del provider.does["introspect"]
    # That there was no answer is kept for a second, for those who wait for it.
    for text in texts:
        assert back(server, text) < 2.5 * PATIENCE
    asked = len(provider.asked())
    assert {look(bearer(server.port, t)) for t in texts} == {OK}
    assert len(provider.asked()) == asked


@pytest.mark.parametrize("what", [
    "return 200 '{\"active\":true,\"username\":\"ann\"}';", "return 204;",
    "return 404;", "deny all;", "alias /nowhere;", "return 302 http://x/;",
    "rewrite ^ /discover last;", "proxy_pass http://127.0.0.1:1;",
    "auth_request /.introspect2;"])
def test_what_a_location_may_do(exchange, provider, what):
    """Whatever is configured there: an answer is an answer, and the rest is
    503."""
    server = exchange(uri="/.else", server=f"location = /.else {{ {what} }}"
                      " location = /.introspect2 { return 403; }")
    good = what.startswith("return 200")
    for _ in range(3):
        assert look(bearer(server.port, "token")) == (
            OK if good else UNAVAILABLE), what
    assert provider.asked() == []


def test_no_such_location(exchange, provider):
    """The subrequest comes to the exchange itself: it is not asked again."""
    server = exchange(uri="/nowhere")
    for _ in range(3):
        assert look(bearer(server.port, "token")) == UNAVAILABLE


# ------------------------------------------------------------ who is calling


def use(server, text, method, route, **more):
    return bearer(server.port, text, method=method, path=route,
                  body={"mailbox": BOX} | more).status


def test_the_id(exchange, provider):
    """The name, and "sub" where there is none."""
    server = exchange()
    ann = provider.issue(username="ann", sub="1")
    assert use(server, ann, "POST", "/mailbox") == 200
    for fields, status in [({"username": "ann"}, 200), ({"sub": "ann"}, 200),
                           ({"username": "bob", "sub": "ann"}, 403),
                           ({"sub": "1"}, 403)]:
        text = provider.issue(**fields)
        for _ in range(2):
            assert use(server, text, "GET", "/mailbox") == status, fields


def test_claims(exchange, provider):
    """Fields of the answer, kept with what was found."""
    server = exchange(
        "academy_client_id $academy_claim_client_id;"
        " academy_client_groups $academy_claim_groups;"
        " academy_claim_set $role realm_access role;"
        ' add_header X-V "<$academy_claim_scope|$academy_claim_exp|$role>"'
        " always;", workers=2)
    text = provider.issue(client_id="c", scope="a b", exp=2**31,
                          groups=["g", "h"], realm_access={"role": "r"})
    for _ in range(5):
        answer = bearer(server.port, text)
        assert answer.headers["x-v"] == "<a b|2147483648|r>"
    assert use(server, text, "POST", "/mailbox") == 200
    assert use(server, text, "POST", "/mailbox/share", group_id="g") == 200
    assert use(server, text, "POST", "/mailbox/share", group_id="x") == 403
    assert len(provider.asked()) == 1
    refused = bearer(server.port, provider.issue(active=False, scope="x"))
    assert refused.headers["x-v"] == "<||>"


def test_before_404_and_405(exchange, provider):
    server = exchange()
    bad, good = provider.issue(active=False), provider.issue(username="ann")
    for method, path, status in [("GET", "/nowhere", 404),
                                 ("PATCH", "/message", 405)]:
        assert ask(server.port, method=method, path=path).status == 401
        for text, code in ((bad, 403), (good, status)):
            assert bearer(server.port, text, method=method,
                          path=path).status == code
    provider.does["introspect"] = idp.status(500)
    assert bearer(server.port, "new", path="/nowhere").status == 503


@pytest.mark.parametrize("more,nobody", [
    ("satisfy any; allow 127.0.0.1; deny all;", 401),
    ("satisfy any; deny all;", 401), ("satisfy any; allow all;", 401),
    ("allow 127.0.0.1; deny all;", 401)])
def test_satisfy(exchange, provider, more, nobody):
    server = exchange(more)
    assert ask(server.port).status == nobody
    good = provider.issue(username="ann")
    for text, status in [(provider.issue(active=False), 403), (good, 200),
                         (good, 200)]:
        assert use(server, text, "POST", "/mailbox") == status
    assert use(server, provider.issue(username="bob"), "GET",
               "/mailbox") == 403
    provider.does["introspect"] = idp.status(500)
    assert look(bearer(server.port, "new")) == UNAVAILABLE


def test_denied_without_being_asked(exchange, provider):
    server = exchange("deny all;")
    assert bearer(server.port, provider.issue(username="ann")).status == 403
    assert provider.asked() == []


# ------------------------------------------------------------------ the cache


def test_for_how_long(exchange, provider):
    """A revocation is seen within the time of the cache."""
    server = exchange("academy_auth_cache 2s;", workers=2)
    text = provider.issue(username="ann")
    begin = time.monotonic()
    while time.monotonic() < begin + 3.5:
        assert look(bearer(server.port, text)) == OK
        time.sleep(0.02)
    assert 2 <= len(provider.asked()) <= 4
    provider.revoke(text)
    begin = time.monotonic()
    wait_until(lambda: look(bearer(server.port, text)) == INVALID, 5,
               "it is good for ever")
    assert time.monotonic() - begin < 3


def test_a_refusal_is_soon_forgotten(exchange, provider):
    server = exchange()
    text = "not-yet-known"
    begin = time.monotonic()
    assert look(bearer(server.port, text)) == INVALID
    provider.issue(text, username="ann")
    assert look(bearer(server.port, text)) == INVALID
    assert len(provider.asked()) == 1
    wait_until(lambda: look(bearer(server.port, text)) == OK, 8,
               "it stays refused")
    assert time.monotonic() - begin < 6.5
    assert len(provider.asked()) == 2


def test_not_longer_than_the_token(exchange, provider):
    server = exchange()
    end = int(time.time()) + 2
    text = provider.issue(username="ann", exp=end)
    while time.time() < end - 0.2:
        assert look(bearer(server.port, text)) == OK
        time.sleep(0.05)
    wait_until(lambda: time.time() > end + 0.05, 5, "time stands still")
    # the provider is not asked for its opinion of time
    for _ in range(3):
        assert look(bearer(server.port, text)) == INVALID


def test_off(exchange, provider):
    server = exchange("academy_auth_cache off;")
    text = provider.issue(username="ann")
    for n in range(1, 4):
        assert look(bearer(server.port, text)) == OK
        assert len(provider.asked()) == n
    provider.does["introspect"] = idp.status(500)
    assert look(bearer(server.port, text)) == UNAVAILABLE


def test_locations_differ(exchange, provider):
    """No answer of one audience serves another; equal ones share theirs."""
    def at(path, audience):
        return (f"location {path} {{ academy_exchange exchange;"
                " academy_auth introspection; academy_introspection"
                f" /.introspect; academy_auth_audience {audience}; }}")

    server = exchange("academy_auth_audience a;", server=at("/a/", "a")
                      + at("/b/", "b") + at("/ab/", "a b"))
    text = provider.issue(username="ann", aud="a")
    for path, expected, calls in [("", OK, 1), ("/a", OK, 1),
                                  ("/b", INVALID, 2), ("/ab", OK, 3)]:
        for _ in range(3):
            assert look(bearer(server.port, text,
                               path=path + "/discover")) == expected
        assert len(provider.asked()) == calls


# ------------------------------------------------- one new token, many callers


@pytest.fixture
def files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


DISCOVER = json.dumps({"agent": "a", "allow_subclasses": True})


class Crowd:
    """Many connections that make one request each, at once."""

    def __init__(self, conns):
        self.conns = conns

    @classmethod
    async def gather(cls, port, count):
        conns = []
        for _ in range(0, count, 100):
            conns += await asyncio.gather(*(
                Connection.open(port) for _ in range(min(100, count))))
        return cls(conns)

    def ask(self, text, conns=None):
        for conn in conns or self.conns:
            conn.writer.write((
                "GET /discover HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer"
                f" {text}\r\nContent-Length: {len(DISCOVER)}\r\n\r\n{DISCOVER}"
            ).encode())

    async def answers(self, conns=None):
        return await asyncio.gather(*(c.answer() for c in
                                      conns or self.conns),
                                    return_exceptions=True)

    def leave(self):
        for conn in self.conns:
            conn.close()


@pytest.mark.parametrize("expected", [200, 403])
def test_a_thousand_clients_make_one_call(exchange, provider, files, figures,
                                          expected):
    count = 1000
    server = exchange(workers=4, connections=4096, log_level="warn",
                      main=f"worker_rlimit_nofile {files};")

    async def go():
        crowd = await Crowd.gather(server.port, count)
        held = provider.does["introspect"] = Held()
        text = (provider.issue(username="ann") if expected == 200
                else "unknown")
        crowd.ask(text)
        await asyncio.to_thread(held.wait)
        # all of them are in and wait
        await asyncio.sleep(1)
        assert not any(c.reader._buffer for c in crowd.conns)
        begin = time.monotonic()
        held.let_go()
        answers = await crowd.answers()
        took = time.monotonic() - begin
        assert {a.status for a in answers} == {expected}
        # and whoever comes later finds it
        crowd.ask(text)
        assert {a.status for a in await crowd.answers()} == {expected}
        crowd.leave()
        return took

    took = run(go())
    assert len(provider.asked()) == 1
    figures(f"{count} clients with one new token on 4 workers: "
            f"{len(provider.asked())} call, all answered with {expected} "
            f"{took * 1000:.0f} ms after it")


def test_as_they_come(exchange, provider, files, figures):
    """The same without anybody being held: from 0 to 1,000 clients as fast as
    they can, with a provider that takes its time."""
    server = exchange(workers=4, connections=4096, log_level="warn",
                      main=f"worker_rlimit_nofile {files};")
    provider.does["introspect"] = idp.slow(0.2)

    async def go():
        crowd = await Crowd.gather(server.port, 1000)
        begin = time.monotonic()
        for _ in range(3):
            text = provider.issue(username="ann")
            crowd.ask(text)
            assert {a.status for a in await crowd.answers()} == {200}
        crowd.leave()
        return time.monotonic() - begin

    took = run(go())
    assert len(provider.asked()) == 3
    figures(f"3 tokens, 1000 clients each: 3 calls of 0.2 s in {took:.2f} s")


def test_many_tokens_at_once(exchange, provider, files):
    """Each has its own call, and its own answer."""
    server = exchange("academy_auth_cache 60s size=1m;", workers=4,
                      connections=4096, log_level="warn",
                      main=f"worker_rlimit_nofile {files};")
    provider.does["introspect"] = idp.slow(0.05)
    names = [f"user{i}" for i in range(50)]
    texts = {n: provider.issue(username=n) for n in names[:40]}
    texts |= {n: f"unknown-{n}" for n in names[40:]}

    async def go():
        crowd = await Crowd.gather(server.port, 500)
        who = [random.choice(names) for _ in crowd.conns]
        for conn, name in zip(crowd.conns, who):
            crowd.ask(texts[name], [conn])
        for name, answer in zip(who, await crowd.answers()):
            assert answer.status == (200 if name in names[:40] else 403)
        crowd.leave()
        return len(set(who))

    assert run(go()) == len(provider.asked())


def test_those_who_wait_are_told_of_an_outage(exchange, provider, files):
    """Nobody is let in, and the crowd does not fall upon the provider."""
    server = exchange(workers=2, connections=4096, log_level="crit",
                      main=f"worker_rlimit_nofile {files};")

    async def go():
        crowd = await Crowd.gather(server.port, 300)
        held = provider.does["introspect"] = Held(idp.status(500))
        crowd.ask(provider.issue(username="ann"))
        await asyncio.to_thread(held.wait)
        await asyncio.sleep(0.5)
        held.let_go()
        answers = await asyncio.wait_for(crowd.answers(), 20)
        assert {a.status for a in answers} == {503}
        assert all(a.headers["retry-after"] for a in answers)
        crowd.leave()

    run(go())
    assert len(provider.asked()) <= 10


def test_a_client_that_goes_while_it_waits(exchange, provider):
    """Of those who wait, the one who made the call among them: the others get
    their answer."""
    server = exchange(workers=2)

    async def go():
        for gone in ("first", "others", "all"):
            held = provider.does["introspect"] = Held()
            calls = len(provider.asked())
            text = provider.issue(username="ann")
            crowd = await Crowd.gather(server.port, 20)
            crowd.ask(text, crowd.conns[:1])
            await asyncio.to_thread(held.wait)
            crowd.ask(text, crowd.conns[1:])
            await asyncio.sleep(0.3)
            leaving = {"first": crowd.conns[:1], "others": crowd.conns[1:11],
                       "all": crowd.conns}[gone]
            staying = [c for c in crowd.conns if c not in leaving]
            for i, conn in enumerate(leaving):
                conn.reset() if i % 2 else conn.close()
            await asyncio.sleep(0.3)
            held.let_go()
            for conn in staying:
                answer = await asyncio.wait_for(conn.answer(), 10)
                assert answer.status == 200, gone
            if gone != "all":
                assert len(provider.asked()) <= calls + 2
            crowd.leave()
            # it is known, or can be known
            assert await asyncio.to_thread(back, server, text) < (
                2.5 * PATIENCE)
    run(go())


def test_other_workers_are_told_at_once(exchange, provider, figures):
    """Not when they look the next time, which they do once a second."""
    server = exchange(workers=2, listen=" reuseport")

    async def go():
        at = {}
        while len(at) < 2:
            conn = await Connection.open(server.port)
            at[await conn.worker()] = conn
        crowd = Crowd(list(at.values()))
        took = []
        for _ in range(9):
            held = provider.does["introspect"] = Held()
            text = provider.issue(username="ann")
            crowd.ask(text, crowd.conns[:1])
            await asyncio.to_thread(held.wait)
            crowd.ask(text, crowd.conns[1:])
            await asyncio.sleep(random.uniform(0.1, 0.6))
            held.let_go()
            assert (await crowd.conns[0].answer()).status == 200
            begin = time.monotonic()
            assert (await crowd.conns[1].answer()).status == 200
            took.append(time.monotonic() - begin)
        crowd.leave()
        return statistics.median(took)

    took = run(go())
    assert len(provider.asked()) == 9
    figures(f"in the other worker the answer comes {took * 1000:.1f} ms later")
    assert took < 0.2 * PATIENCE


def test_a_worker_that_dies_while_it_asks(exchange, provider, figures):
    """Those who wait in other workers: one of them asks anew."""
    server = exchange(workers=2, listen=" reuseport")
    server.expect("exited on signal 9")

    async def go():
        held = provider.does["introspect"] = Held()
        text = provider.issue(username="ann")
        conns = [await Connection.open(server.port) for _ in range(60)]
        at = {}
        for conn in conns:
            at.setdefault(await conn.worker(), []).append(conn)
        assert len(at) == 2, "all connections are with one worker"
        asking, waiting = at
        crowd = Crowd(conns)
        crowd.ask(text, at[asking][:1])
        await asyncio.to_thread(held.wait)
        crowd.ask(text, at[waiting])
        crowd.ask(text, at[asking][1:])
        await asyncio.sleep(0.5)
        del provider.does["introspect"]
        begin = time.monotonic()
        server.signal(signal.SIGKILL, asking)
        answers = await asyncio.wait_for(crowd.answers(at[waiting]),
                                         30 * PATIENCE)
        took = time.monotonic() - begin
        assert {a.status for a in answers} == {200}
        held.let_go()
        crowd.leave()
        return took

    took = run(go())
    assert len(provider.asked()) == 2
    assert took < 5 * PATIENCE
    figures(f"the asking worker killed: the others' answer came {took:.2f} s "
            "after it")


@pytest.mark.parametrize("how", ["reload", "quit"])
def test_a_reload_while_it_asks(exchange, provider, how):
    """Everybody gets an answer, from the old worker or the new one."""
    server = exchange(workers=2)

    async def go():
        held = provider.does["introspect"] = Held()
        text = provider.issue(username="ann")
        crowd = await Crowd.gather(server.port, 30)
        crowd.ask(text)
        await asyncio.to_thread(held.wait)
        await asyncio.sleep(0.3)
        server.signal(signal.SIGHUP if how == "reload" else signal.SIGQUIT)
        await asyncio.sleep(0.5)
        held.let_go()
        answers = await asyncio.wait_for(crowd.answers(), 20 * PATIENCE)
        # Who was only waiting may be told to come again.
        assert {a.status for a in answers} <= {200, 503}, answers
        assert 200 in {a.status for a in answers}
        crowd.leave()
        if how == "reload":
            del provider.does["introspect"]
            await asyncio.to_thread(back, server, text)

    run(go())


def test_a_reload_keeps_what_was_found(exchange, provider):
    server = exchange(workers=2)
    text, bad = provider.issue(username="ann"), "unknown"
    for _ in range(2):
        assert look(bearer(server.port, text)) == OK
        assert look(bearer(server.port, bad)) == INVALID
    server.reload()
    provider.does["introspect"] = idp.status(500)
    assert look(bearer(server.port, text)) == OK
    assert look(bearer(server.port, bad)) == INVALID
    assert len(provider.asked()) == 2


def test_with_a_full_cache(exchange, provider, files):
    """Whom it has no room for is answered all the same."""
    server = exchange("academy_auth_cache 1h size=256k;", workers=2,
                      connections=4096, log_level="warn",
                      main=f"worker_rlimit_nofile {files};")
    pad = "x" * 3000
    for i in range(100):
        assert look(bearer(server.port, provider.issue(
            username=f"u{i}", pad=pad))) == OK

    async def go():
        crowd = await Crowd.gather(server.port, 400)
        for i, conn in enumerate(crowd.conns):
            crowd.ask(provider.issue(username=f"v{i}", pad=pad), [conn])
        assert {a.status for a in await crowd.answers()} == {200}
        crowd.leave()

    run(go())


# ------------------------------------------------------------------ an outage


def test_an_outage(exchange, provider, figures):
    """New tokens are 503, what is known goes on, and when the provider is back
    all is well, without a reload."""
    server = exchange("academy_auth_cache 1h;", workers=2)
    known = provider.issue(username="ann")
    assert look(bearer(server.port, known)) == OK
    new = provider.issue(username="bob")
    provider.stop()
    took = []
    for _ in range(5):
        begin = time.monotonic()
        assert look(bearer(server.port, new)) == UNAVAILABLE
        took.append(time.monotonic() - begin)
        assert look(bearer(server.port, known)) == OK
    provider.start()
    figures(f"down: 503 after {max(took) * 1000:.0f} ms at most; up again: "
            f"access after {back(server, new):.1f} s")


def test_a_provider_that_takes_too_long(exchange, provider):
    server = exchange(each={"timeout": "500ms"})
    provider.does["introspect"] = idp.slow(3)
    begin = time.monotonic()
    assert look(bearer(server.port, provider.issue(username="ann"))) == (
        UNAVAILABLE)
    assert time.monotonic() - begin < 2 * PATIENCE


def test_a_crowd_in_an_outage(exchange, provider, files):
    """Of many clients with many tokens each gets its 503, and none access."""
    server = exchange(workers=2, connections=4096, log_level="crit",
                      main=f"worker_rlimit_nofile {files};")
    provider.stop()

    async def go():
        crowd = await Crowd.gather(server.port, 300)
        for _ in range(3):
            for i, conn in enumerate(crowd.conns):
                crowd.ask(f"token-{i % 30}", [conn])
            answers = await crowd.answers()
            assert {a.status for a in answers} == {503}
        crowd.leave()

    run(go())


# --------------------------------------------------------------- HTTP/2, waits


def test_on_http2(exchange, provider):
    server = exchange(listen=" http2", workers=2)

    async def go():
        h2 = await Http2.open(server.port)
        held = provider.does["introspect"] = Held()
        body = json.loads(DISCOVER)
        for name, token, status in [
                ("good", provider.issue(username="ann"), 200),
                ("bad", "unknown", 403)]:
            calls = len(provider.asked())
            h2.headers = [("authorization", f"Bearer {token}")] + [
                (k.lower(), v) for k, v in CALLERS.items()
                if k not in ("TE", "Keep-Alive", "Expect")]
            streams = [h2.start("GET", "/discover", body) for _ in range(20)]
            await asyncio.to_thread(held.wait)
            await h2.flushed()
            held.let_go()
            for stream in streams:
                assert int((await stream.answer()).status) == status, name
            assert len(provider.asked()) == calls + 1
        for call in provider.asked():
            assert "caller" not in str(call.headers), call.headers
        await h2.close()

    run(go())


class Client(Connection):
    """With a token on every request."""

    token: str

    def send(self, method, path, body=b""):
        data = json.dumps(body).encode()
        self.writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {self.token}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode() + data)


async def client(server, token) -> Client:
    conn = await Client.open(server.port, tls=server.client_tls())
    conn.token = token
    return conn


@pytest.mark.parametrize("tls", [False, True])
def test_what_waits_ends_with_its_token(exchange, provider, tls):
    """Whether the token was new or known when the waiting began."""
    async def go():
        server = exchange(tls=tls, workers=2)
        end = int(time.time()) + 3
        text = provider.issue(username="ann", exp=end)
        poll, listener, late = [await client(server, text) for _ in range(3)]
        poll.send("POST", "/mailbox", {"mailbox": BOX})
        assert (await poll.answer()).status == 200
        waiting = {"mailbox": BOX, "timeout": 30}
        poll.send("GET", "/message", waiting)
        stream = await listener.listen(waiting)
        answer = await poll.answer()
        assert (answer.status, answer.body) == (
            403, b"Token expired or revoked.")
        assert answer.headers["www-authenticate"] == (
            'Bearer error="invalid_token"')
        assert await stream.next() is None
        over = time.time() - end
        assert -0.05 < over < 0.5 * PATIENCE, over
        late.send("GET", "/message", waiting)
        assert (await late.answer()).status == 403
    run(go())


def test_a_token_that_never_ends(exchange, provider):
    """No "exp": what waits does, as long as it likes."""
    async def go():
        server = exchange("academy_auth_cache 1s;")
        text = provider.issue(username="ann", exp=...)
        conn = await client(server, text)
        conn.send("POST", "/mailbox", {"mailbox": BOX})
        assert (await conn.answer()).status == 200
        conn.send("GET", "/message", {"mailbox": BOX, "timeout": 2.5})
        assert (await conn.answer()).status == 408
    run(go())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_share_that_is_withdrawn(exchange, provider, workers):
    async def go():
        server = exchange("academy_client_groups $academy_claim_groups;",
                          workers=workers)
        owner = await client(server, provider.issue(
            username="ann", groups=["red"]))
        share = {"mailbox": BOX, "group_id": "red"}
        for route in ("/mailbox", "/mailbox/share"):
            assert (await owner.request("POST", route, share)).status == 200
        red = provider.issue(username="bob", groups=["red"])
        poll, listener = [await client(server, red) for _ in range(2)]
        waiting = {"mailbox": BOX, "timeout": 30}
        poll.send("GET", "/message", waiting)
        stream = await listener.listen(waiting)
        assert (await owner.request("DELETE", "/mailbox/share", share)
                ).status == 200
        answer = await asyncio.wait_for(poll.answer(), 5 * PATIENCE)
        assert (answer.status, answer.body) == (403, b"Incorrect permissions")
        assert await asyncio.wait_for(stream.next(), 5 * PATIENCE) is None
    run(go())


# ---------------------------------------------------------------------- other


def test_pipelined(exchange, provider):
    """Several requests in one segment, each with a token of its own."""
    server = exchange()
    texts = [provider.issue(username="ann"), "unknown",
             provider.issue(username="bob"), "unknown2"] * 2
    request = "".join(
        f"GET /discover HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {t}\r\n"
        f"Content-Length: {len(DISCOVER)}\r\n\r\n{DISCOVER}" for t in texts)
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(request.encode())
        s.settimeout(10)
        got = b""
        while got.count(b"HTTP/1.1 ") < 8:
            more = s.recv(65536)
            assert more, got
            got += more
    assert [int(x[:3]) for x in got.decode().split("HTTP/1.1 ")[1:]] == [
        200, 403] * 4
    assert len(provider.asked()) == 4


def test_beside_an_auth_request(exchange, provider):
    """Another module's subrequest comes before."""
    server = exchange("auth_request /ok;",
                      server="location = /ok { return 204; }"
                             "location /no/ { academy_exchange exchange;"
                             " academy_auth introspection;"
                             " academy_introspection /.introspect;"
                             " auth_request /forbidden; }"
                             "location = /forbidden { return 403; }")
    text = provider.issue(username="ann")
    for _ in range(2):
        assert look(bearer(server.port, text)) == OK
    assert look(bearer(server.port, "unknown")) == INVALID
    assert bearer(server.port, text, path="/no/discover").challenge is None
    assert len(provider.asked()) == 2


def test_jwt_beside_it(exchange, provider, tmp_path):
    """Locations of both kinds, and one cache."""
    tmp_path.chmod(0o755)
    (tmp_path / "keys").write_text(jwks(jwk("ES256")))
    server = exchange(
        server="location /jwt/ { academy_exchange exchange; academy_auth jwt;"
               f" academy_jwt_key_file {tmp_path}/keys; }}")
    text, opaque = jwt(), provider.issue(username="ann")
    for _ in range(2):
        assert look(bearer(server.port, text)) == INVALID
        assert look(bearer(server.port, opaque)) == OK
        assert look(bearer(server.port, text, path="/jwt/discover")) == OK
        assert look(bearer(server.port, opaque, path="/jwt/discover")) == (
            INVALID)


def test_with_a_proxy_cache(exchange, provider):
    """What a user might do to the location: it does no harm."""
    server = exchange(
        http=" proxy_cache_path cache keys_zone=c:1m;",
        each={"more": "proxy_cache c; proxy_cache_valid 200 1h;"
                      " proxy_buffering on;"})
    a, b = provider.issue(username="ann"), "unknown"
    for _ in range(2):
        assert look(bearer(server.port, a)) == OK
        assert look(bearer(server.port, b)) == INVALID


def test_nothing_secret_in_the_log(exchange, provider):
    """But for nginx's own debug lines."""
    server = exchange(log_level="debug", workers=2, each={"timeout": "300ms"},
                      more="academy_client_groups $academy_claim_groups;")
    texts = [provider.issue(username="ann-of-the-lab",
                            groups=["group-of-the-lab"]), "unknown-token-x"]
    for text in texts * 2:
        bearer(server.port, text)
    for i, does in enumerate([*BAD.values()]):
        provider.does["introspect"] = does
        texts.append(f"token-number-{i}-of-them")
        bearer(server.port, texts[-1])
    assert "academy access handler" in server.log()
    silent(server.log(), *texts, BASIC.split()[1], idp.SECRET)


def test_lines_in_the_log(exchange, provider):
    """What an operator reads, at the default level, in an outage: it is the
    provider's fault, and said as nginx says it of any upstream."""
    server = exchange(log_level="info")
    provider.stop()
    assert look(bearer(server.port, "token")) == UNAVAILABLE
    assert "connect() failed" in server.log()
    assert "/.introspect" in server.log()


@pytest.mark.skipif(bool(ASAN), reason="a sanitizer's figures are no figures")
def test_memory_comes_back(exchange, provider):
    """A worker that asks thousands of times is as large as before."""
    server = exchange("academy_auth_cache off;", log_level="warn")
    text = provider.issue(username="ann", pad="x" * 2000)

    def many(n):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert {a.status for a in pool.map(
                lambda _: bearer(server.port, text), range(n))} == {200}

    many(500)
    before = resident_bytes(server.workers()[0])
    many(1500)
    assert resident_bytes(server.workers()[0]) < before + 512 * 1024
