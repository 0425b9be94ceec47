"""Keys by request: academy_jwt_key_request and academy_jwt_key_cache."""

from __future__ import annotations

import asyncio
import json
import signal
import time

import pytest
from academy_nginx import PATIENCE, run, wait_until

import provider as idp
from provider import Held, silent
from test_introspection import CALLERS, Crowd, files, look
from tokens import bearer, claims, jwk, jwks, pem, private, token

OK = (200, None)
INVALID = (403, 'Bearer error="invalid_token"')
UNAVAILABLE = (503, None)


@pytest.fixture
def exchange(nginx, provider):
    provider.keys = [jwk("ES256", kid="1")]

    def start(more="", server="", each=None, **pieces):
        where = idp.locations(provider, **(each or {}))
        return nginx(location="academy_auth jwt;"
                              f" academy_jwt_key_request /.keys; {more}",
                     server=where["server"] + server, http=where["http"],
                     **pieces)

    return start


def made(kid="1", name="", **more):
    """A token that no other is like, of a key of that name."""
    header = {} if kid is None else {"kid": kid}
    return token(key=private("ES256", name), header=header,
                 payload=claims(jti=str(time.monotonic_ns()), **more))


def key(kid, name=""):
    return jwk("ES256", private("ES256", name), kid=kid)


def test_what_is_asked(exchange, provider):
    server = exchange()
    assert look(bearer(server.port, made(), method="GET",
                       headers=CALLERS)) == OK
    (call,) = provider.asked()
    assert (call.what, call.method, call.body) == ("keys", "GET", b"")
    assert call.target == idp.PATHS["keys"]
    assert {k.lower(): v for k, v in call.headers} == {
        "host": "provider", "accept": "application/json"}


def test_once_for_all_workers(exchange, provider, files, figures):
    """A thousand clients with tokens of their own, when nothing is there."""
    server = exchange(workers=4, connections=4096, log_level="warn",
                      main=f"worker_rlimit_nofile {files};")
    provider.does["keys"] = idp.slow(0.3)
    texts = [made(sub=f"s{i}") for i in range(1000)]

    async def go():
        crowd = await Crowd.gather(server.port, 1000)
        for conn, text in zip(crowd.conns, texts):
            crowd.ask(text, [conn])
        assert {a.status for a in await crowd.answers()} == {200}
        crowd.leave()

    run(go())
    figures(f"1000 clients with 1000 tokens on 4 workers: "
            f"{len(provider.asked())} request for keys")
    assert len(provider.asked()) == 1


def test_a_token_is_judged_by_them(exchange, provider):
    server = exchange()
    for text, expected in [
            (made(), OK), (made(None), OK), (made(exp=1), INVALID),
            (made(name="other"), INVALID), (made(None, "other"), INVALID),
            (token("EdDSA", header={"kid": "1"}), INVALID),
            ("a.b.c", INVALID), ("opaque", INVALID)]:
        assert look(bearer(server.port, text)) == expected, text
    assert len(provider.asked()) == 1


# ----------------------------------------------------------------- renewal


def test_renewed_behind_the_scenes(exchange, provider, figures):
    """A request that comes when it is time does not wait for it."""
    server = exchange("academy_jwt_key_cache 1s; academy_auth_cache off;",
                      workers=2)
    assert look(bearer(server.port, made())) == OK
    provider.does["keys"] = idp.slow(0.5)
    slowest, begin = 0, time.monotonic()
    while time.monotonic() < begin + 5:
        start = time.monotonic()
        assert look(bearer(server.port, made())) == OK
        slowest = max(slowest, time.monotonic() - start)
        time.sleep(0.01)
    calls = len(provider.asked())
    figures(f"a set of 1 s, 5 s of requests: fetched {calls} times; the "
            f"slowest request took {slowest * 1000:.0f} ms, the provider 500")
    assert 3 <= calls <= 7
    assert slowest < 0.4 * PATIENCE


def test_not_renewed_by_nobody(exchange, provider):
    """An exchange that is idle asks for nothing."""
    server = exchange("academy_jwt_key_cache 1s;")
    assert look(bearer(server.port, made())) == OK
    time.sleep(3)
    assert len(provider.asked()) <= 2


def test_a_key_that_is_withdrawn(exchange, provider):
    """Is good no longer than the set, and what it had signed no longer than
    the cache of tokens."""
    server = exchange("academy_jwt_key_cache 1s; academy_auth_cache 1s;")
    text = made()
    assert look(bearer(server.port, text)) == OK
    provider.keys = [key("2", "new")]
    begin = time.monotonic()
    wait_until(lambda: look(bearer(server.port, text)) == INVALID, 8,
               "a key is good for ever")
    assert time.monotonic() - begin < 4 * PATIENCE
    assert look(bearer(server.port, made("2", "new"))) == OK


def test_rotation(exchange, provider):
    """A new key is used at once: its kid is unknown, and that is reason to
    ask, unless that was done within ten seconds. The old one stays as long as
    the provider has it."""
    server = exchange(workers=2)
    assert look(bearer(server.port, made())) == OK
    time.sleep(11)
    provider.keys = [key("1"), key("2", "new")]
    assert look(bearer(server.port, made("2", "new"))) == OK
    assert look(bearer(server.port, made())) == OK
    assert len(provider.asked()) == 2


def test_unknown_kids_do_not_hammer(exchange, provider, figures):
    server = exchange(workers=2)
    assert look(bearer(server.port, made())) == OK
    begin, sent = time.monotonic(), 0
    while time.monotonic() < begin + 3:
        for i in range(20):
            assert look(bearer(server.port, made(f"kid-{i}"))) == INVALID
            sent += 1
        assert look(bearer(server.port, made())) == OK
    figures(f"{sent} tokens with unknown kids in 3 s: "
            f"{len(provider.asked())} requests for keys")
    assert len(provider.asked()) <= 2


def test_a_new_key_within_ten_seconds_of_the_last_question(exchange, provider):
    """Is refused until then, and good after."""
    server = exchange("academy_auth_cache off;")
    assert look(bearer(server.port, made())) == OK
    assert look(bearer(server.port, made("2", "new"))) == INVALID
    asked = time.monotonic()
    provider.keys = [key("1"), key("2", "new")]
    assert look(bearer(server.port, made("2", "new"))) == INVALID
    wait_until(lambda: look(bearer(server.port, made("2", "new"))) == OK, 15,
               "it is never asked again")
    assert 5 < time.monotonic() - asked < 12 * PATIENCE
    assert len(provider.asked()) == 2


def test_no_kid_is_no_reason_to_ask(exchange, provider):
    server = exchange()
    assert look(bearer(server.port, made())) == OK
    for _ in range(3):
        assert look(bearer(server.port, made(None, "other"))) == INVALID
        assert look(bearer(server.port, made("1", "other"))) == INVALID
    assert len(provider.asked()) == 1


# ------------------------------------------------------------------- outages


BAD = {
    **{str(n): idp.status(n) for n in (201, 204, 302, 304, 401, 403, 404, 500,
                                       503)},
    "half": idp.half, "half in chunks": idp.chunked_half,
    "gzip": idp.gzipped, "silence": idp.silence, "empty": idp.body(""),
    "no JSON": idp.body("<html>"), "no keys": idp.body('{"keys":[]}'),
    "no set": idp.body('{"x":1}'), "a list": idp.body("[]"),
    "a key alone": idp.body(json.dumps(jwk("ES256", kid="1"))),
    "weak keys": idp.body(jwks(jwk("RS256", private("RS256", "weak", 1024),
                                   kid="1"))),
    "PEM": idp.body(pem(private("ES256"))),
    "too large": idp.padded(4_000_000), "slow": idp.slow(3),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_answers_at_first(exchange, provider, name):
    server = exchange("academy_auth_cache off;", each={"timeout": "1s"})
    provider.does["keys"] = BAD[name]
    for _ in range(2):
        assert look(bearer(server.port, made())) == UNAVAILABLE


def test_none_at_first(exchange, provider):
    """The crowd that comes does not fall upon the provider, and there is an
    answer soon after the provider has one."""
    server = exchange(workers=2, log_level="crit")
    provider.does["keys"] = idp.status(500)
    begin = time.monotonic()
    while time.monotonic() < begin + 2.5:
        assert look(bearer(server.port, made())) == UNAVAILABLE
    assert 2 <= len(provider.asked()) <= 5
    del provider.does["keys"]
    wait_until(lambda: look(bearer(server.port, made())) == OK, 3,
               "it is not asked again")


def test_bad_answers_later(exchange, provider):
    """What is there serves on."""
    server = exchange("academy_jwt_key_cache 1s; academy_auth_cache off;",
                      each={"timeout": "1s"}, workers=2)
    assert look(bearer(server.port, made())) == OK
    for name, does in BAD.items():
        provider.does["keys"] = does
        asked = len(provider.asked())
        while len(provider.asked()) == asked:
            assert look(bearer(server.port, made())) == OK, name
            time.sleep(0.02)
        # and when the answer is there
        time.sleep(0.1)
        assert look(bearer(server.port, made())) == OK, name


def test_other_keys_in_a_set_do_no_harm(exchange, provider):
    provider.keys = [
        {"kty": "weird"}, {}, jwk("RS256", private("RS256", "weak", 1024)),
        {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
        jwk("RS256", use="enc", kid="1"), key("1")]
    keys = provider.keys
    server = exchange()
    provider.keys = keys
    assert look(bearer(server.port, made())) == OK


def test_keys_survive_an_outage(exchange, provider, figures):
    """And a reload in the middle of it, and a worker's death; new tokens are
    verified with what is there."""
    server = exchange("academy_jwt_key_cache 1s; academy_auth_cache off;",
                      workers=2)
    server.expect("exited on signal 9")
    assert look(bearer(server.port, made())) == OK
    provider.stop()
    begin = time.monotonic()
    for part in range(3):
        while time.monotonic() < begin + 1.5 * (part + 1):
            assert look(bearer(server.port, made())) == OK
            assert look(bearer(server.port, made("2", "new"))) in (
                INVALID, UNAVAILABLE)
            time.sleep(0.05)
        if part == 0:
            server.reload()
        if part == 1:
            server.signal(signal.SIGKILL, server.workers()[0])
            wait_until(lambda: len(server.workers()) == 2, 5, "no worker")
    lines = [line for line in server.log().splitlines()
             if "connect() failed" in line]
    figures(f"an outage of 4.5 s with a set of 1 s: the provider was asked "
            f"{len(lines)} times")
    assert len(lines) <= 60
    provider.keys = [key("2", "new")]
    provider.start()
    wait_until(lambda: look(bearer(server.port, made("2", "new"))) == OK, 15,
               "it is not asked again")


def test_a_worker_that_dies_while_it_asks(exchange, provider):
    server = exchange(workers=2, listen=" reuseport")
    server.expect("exited on signal 9")

    async def go():
        held = provider.does["keys"] = Held()
        crowd = await Crowd.gather(server.port, 40)
        at = {}
        for conn in crowd.conns:
            at.setdefault(await conn.worker(), []).append(conn)
        assert len(at) == 2
        asking, waiting = at
        crowd.ask(made(), at[asking][:1])
        await asyncio.to_thread(held.wait)
        for conn in at[waiting]:
            crowd.ask(made(), [conn])
        await asyncio.sleep(0.3)
        del provider.does["keys"]
        server.signal(signal.SIGKILL, asking)
        answers = await asyncio.wait_for(crowd.answers(at[waiting]),
                                         30 * PATIENCE)
        assert {a.status for a in answers} == {200}
        held.let_go()
        crowd.leave()

    run(go())
    assert len(provider.asked()) <= 3


# ---------------------------------------------------------- files beside it


def test_beside_files(exchange, provider, tmp_path):
    """Keys of both are good; what a file has is known without a question."""
    tmp_path.chmod(0o755)
    (tmp_path / "keys").write_text(jwks(key("file", "of-file")))
    server = exchange(f"academy_jwt_key_file {tmp_path}/keys;")
    assert look(bearer(server.port, made("file", "of-file"))) == OK
    assert provider.asked() == []
    assert look(bearer(server.port, made())) == OK
    assert look(bearer(server.port, made("file", "of-file"))) == OK
    assert look(bearer(server.port, made("file"))) == INVALID
    assert len(provider.asked()) == 1
    provider.stop()
    assert look(bearer(server.port, made("file", "of-file"))) == OK


def test_two_providers(nginx, provider):
    """Two locations, two sets: no key of the one is good for the other."""
    with idp.Provider() as other:
        provider.keys, other.keys = [key("1", "one")], [key("1", "two")]
        one = idp.locations(provider)
        two = idp.locations(other)
        server = nginx(
            location="academy_auth jwt; academy_jwt_key_request /.keys;",
            server=one["server"] + two["server"].replace(
                "/.keys", "/.other").replace("http://provider/", "http://o/")
            .replace("/.introspect", "/.i").replace("/.token", "/.t").replace(
                "/.groups", "/.g")
            + "location /two/ { academy_exchange exchange; academy_auth jwt;"
              " academy_jwt_key_request /.other; }",
            http=one["http"] + f"upstream o {{ server 127.0.0.1:{other.port};"
                               " }")
        for path, good, bad in (("", "one", "two"), ("/two", "two", "one")):
            for _ in range(2):
                for name, expected in ((good, OK), (bad, INVALID)):
                    assert look(bearer(
                        server.port, made(name=name),
                        path=path + "/discover")) == expected
        assert len(provider.asked()) == len(other.asked()) == 1


def test_many_keys(exchange, provider):
    """As many as a large set has."""
    server = exchange()
    provider.keys = [key(f"k{i}", f"n{i % 10}") for i in range(100)]
    for i in (0, 57, 99):
        assert look(bearer(server.port, made(f"k{i}", f"n{i % 10}"))) == OK
        assert look(bearer(server.port, made(f"k{i}", "other"))) == INVALID
    assert len(provider.asked()) == 1


def test_a_reload_that_changes_nothing(exchange, provider):
    server = exchange(workers=2)
    text = made()
    assert look(bearer(server.port, text)) == OK
    server.reload()
    provider.stop()
    assert look(bearer(server.port, text)) == OK
    assert look(bearer(server.port, made())) == OK


def test_nothing_secret_in_the_log(exchange, provider):
    server = exchange("academy_jwt_key_cache 1s;", log_level="debug",
                      each={"timeout": "300ms"})
    texts = []
    for does in [idp.well, *BAD.values()]:
        provider.does["keys"] = does
        texts.append(made())
        bearer(server.port, texts[-1])
    parts = [p for t in texts for p in t.split(".")[1:]]
    silent(server.log(), *texts, *parts)
