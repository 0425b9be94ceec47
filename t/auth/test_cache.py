"""What tokens were found to be, kept for all workers."""

from __future__ import annotations

import concurrent.futures
import os
import re
import socket
import struct
import tempfile
import time
from pathlib import Path

import pytest
from academy_nginx import built_with, wait_until

from tokens import bearer, claims, jwk, jwks, private, token

DEBUG = pytest.mark.skipif("--with-debug" not in built_with(),
                           reason="this nginx has no debug log")


@pytest.fixture
def exchange(nginx, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "keys").write_text(jwks(jwk("ES256")))

    def start(more="", **pieces):
        return nginx(location=f"academy_auth jwt; {more}"
                              f"academy_jwt_key_file {tmp_path}/keys;",
                     **{"log_level": "debug"} | pieces)

    return start


def known(server) -> list[int]:
    return [int(n) for n in
            re.findall(r"academy token is known: (\d)", server.log())]


def workers_of(server) -> set[str]:
    return set(re.findall(r"\[debug\] (\d+)#.*academy token is known",
                          server.log()))


@DEBUG
def test_a_token_is_verified_once_for_all_workers(exchange):
    server = exchange(workers=4)
    text = token()
    assert bearer(server.port, text).status == 200
    # which worker takes a connection is the kernel's choice
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for _ in range(20):
            for answer in pool.map(lambda _: bearer(server.port, text),
                                   range(32)):
                assert answer.status == 200
            if len(workers_of(server)) > 1:
                break
    assert len(workers_of(server)) > 1
    seen = known(server)
    assert seen[0] == 0 and set(seen[1:]) == {1}


@DEBUG
def test_off(exchange):
    server = exchange("academy_auth_cache off;")
    for _ in range(3):
        assert bearer(server.port, token()).status == 200
    assert known(server) == []


@DEBUG
def test_for_how_long(exchange):
    server = exchange("academy_auth_cache 2s;")
    text = token()
    begin = time.time()
    while time.time() < begin + 4.5:
        assert bearer(server.port, text).status == 200
        time.sleep(0.05)
    # looked up all the time, and verified anew every two seconds or less
    assert 3 <= known(server).count(0) <= 5


def test_not_longer_than_the_token(exchange):
    server = exchange(log_level="info")
    end = int(time.time()) + 2
    text = token(payload=claims(exp=end))
    while time.time() < end - 0.5:
        assert bearer(server.port, text).status == 200
    wait_until(lambda: time.time() > end + 0.05, 5, "time stands still")
    assert bearer(server.port, text).status == 403


def test_a_refusal_is_soon_forgotten(exchange):
    server = exchange(log_level="info")
    begin = int(time.time()) + 1
    text = token(payload=claims(nbf=begin))
    assert bearer(server.port, text).status == 403
    assert bearer(server.port, text).status == 403
    assert "it was refused before" in server.log()
    wait_until(lambda: bearer(server.port, text).status == 200, 8,
               "it stays refused")
    assert time.time() < begin + 6.5


def zone_of(server, size) -> tuple[int, int]:
    """Where the zone is in the memory of the master and of its workers."""
    for line in Path(f"/proc/{server.process.pid}/maps").read_text().split(
            "\n"):
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-s .*(zero|deleted)",
                         line)
        if found:
            begin, end = (int(x, 16) for x in found.groups()[:2])
            if end - begin == size:
                return begin, end
    raise AssertionError("there is no such zone")


def memory(pid, begin, end) -> bytes:
    with open(f"/proc/{pid}/mem", "rb") as f:
        f.seek(begin)
        return f.read(end - begin)


def test_no_token_is_in_it(exchange):
    server = exchange("academy_auth_cache 60s size=516k;", log_level="info")
    good, bad = token(payload=claims(sub="it-is-me")), token(
        key=private("ES256", "other"))
    assert bearer(server.port, good).status == 200
    assert bearer(server.port, bad).status == 403
    held = memory(server.process.pid, *zone_of(server, 516 * 1024))
    assert b"it-is-me" in held
    for text in (good, bad):
        for part in text.split("."):
            assert part.encode() not in held


@DEBUG
def test_least_recently_used_first(exchange):
    """More than it holds; the one that is in use all the time stays."""
    server = exchange("academy_auth_cache 1h size=256k;")
    used = token(payload=claims(sub="used"))
    rest = [token(payload=claims(sub=f"s{i}", x="y" * 2000))
            for i in range(300)]
    assert bearer(server.port, used).status == 200
    for i, text in enumerate(rest):
        assert bearer(server.port, text).status == 200, i
        if i % 10 == 0:
            assert bearer(server.port, used).status == 200
    seen = known(server)
    assert seen.count(1) == 30 and seen.count(0) == 301
    assert bearer(server.port, rest[-1]).status == 200
    assert known(server)[-1] == 1
    assert bearer(server.port, rest[0]).status == 200
    assert known(server)[-1] == 0
    assert "no memory" not in server.log()


@DEBUG
def test_made_up_tokens_drive_out_no_good_one(exchange):
    server = exchange("academy_auth_cache 1h size=256k;")
    good = [token(payload=claims(sub=f"s{i}", x="y" * 2000))
            for i in range(120)]
    for text in good:
        assert bearer(server.port, text).status == 200
    for i in range(1500):
        assert bearer(server.port, f"made.up.{i}").status == 403
    before = len(known(server))
    for text in good[-20:]:
        assert bearer(server.port, text).status == 200
    assert known(server)[before:] == [1] * 20


def test_longer_than_the_memory(exchange):
    """What does not fit is verified each time."""
    server = exchange("academy_auth_cache 1h size=256k;", log_level="info",
                      http="large_client_header_buffers 4 64k;")
    texts = [token(payload=claims(sub=f"s{i}", x="y" * 10000))
             for i in range(60)]
    for _ in range(2):
        for text in texts:
            assert bearer(server.port, text).status == 200


@DEBUG
def test_after_a_worker_died_in_it(exchange):
    """It is emptied, and goes on. That somebody died inside is written into
    the zone from without: the instant is too short to be hit."""
    size = 520 * 1024
    server = exchange("academy_auth_cache 60s size=520k;")
    server.expect("died in the cache of tokens")
    text = token()
    for _ in range(2):
        assert bearer(server.port, text).status == 200
    begin, _ = zone_of(server, size)
    # "data" of ngx_slab_pool_t points to what begins with "busy"
    pool = memory(server.process.pid, begin, begin + 256)
    inside = [struct.unpack_from("<Q", pool, at)[0]
              for at in range(0, 256, 8)]
    place = [at for at in inside if begin < at < begin + size
             and at % 64 == 0]
    changed = 0
    with open(f"/proc/{server.process.pid}/mem", "r+b", buffering=0) as f:
        for at in place:
            f.seek(at)
            first = struct.unpack("<QQQQ", f.read(32))
            # busy, the queue's two links, the mask
            if first[0] == 0 and first[3] in (255, 511, 1023) and all(
                    begin < link < begin + size for link in first[1:3]):
                f.seek(at)
                f.write(struct.pack("<Q", 12345))
                changed += 1
    assert changed == 1
    for _ in range(3):
        assert bearer(server.port, text).status == 200
    assert known(server) == [0, 1, 0, 1, 1]
    assert server.log().count("process 12345 died in the cache") == 1


def made_up(port, count):
    """Requests with as many tokens that are none, in one connection."""
    body = b'{"agent":"a","allow_subclasses":false}'
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        answers = sock.makefile("rb")
        for begin in range(0, count, 100):
            sock.sendall(b"".join(
                b"GET /discover HTTP/1.1\r\nHost: x\r\n"
                b"Authorization: Bearer %x.%x.x\r\n"
                b"Content-Length: %d\r\n\r\n%s"
                % (begin + n, time.monotonic_ns(), len(body), body)
                for n in range(100)))
            for _ in range(100):
                assert b" 403 " in answers.readline()
                length = 0
                while (line := answers.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                answers.read(length)


@DEBUG
def test_made_up_tokens_drive_out_no_good_ones(exchange, figures):
    """Not even when further good ones, and longer, need room."""
    server = exchange("academy_auth_cache 60s size=256k;")
    good = [token(payload=claims(sub=f"c{n}")) for n in range(40)]
    for text in good:
        assert bearer(server.port, text).status == 200
    made_up(server.port, 6000)
    for n in range(40):
        assert bearer(server.port, token(
            payload=claims(sub=f"d{n}", x="x" * 400))).status == 200
    before = len(known(server))
    for text in good:
        assert bearer(server.port, text).status == 200
    kept = sum(known(server)[before:])
    figures(f"{kept} of {len(good)} good tokens are still known")
    assert kept == len(good)


@pytest.fixture
def readable():
    """A directory that workers may read, not only the master: pytest keeps
    its own for itself."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_made_up_tokens_take_no_room_of_keys(nginx, readable):
    keys = readable / "keys"

    def have(name):
        # with a certificate, as providers have them: more than a page
        keys.with_suffix(".new").write_text(jwks(jwk(
            "ES256", private("ES256", name), kid=name, x5c=["A" * 9000])))
        keys.with_suffix(".new").rename(keys)

    def of(name):
        return token(key=private("ES256", name), header={"kid": name})

    have("one")
    server = nginx(
        log_level="info",
        location="academy_auth jwt; academy_jwt_key_request /.keys;"
                 "academy_jwt_key_cache 1s;"
                 "academy_auth_cache 60s size=256k;",
        server=f"location = /.keys {{ internal; alias {keys}; }}")
    made_up(server.port, 6000)
    assert bearer(server.port, of("one")).status == 200
    made_up(server.port, 6000)
    have("two")
    wait_until(lambda: bearer(server.port, of("two")).status == 200, 15,
               "the new keys are not there")


def test_what_reloads_change(exchange, tmp_path):
    server = exchange("academy_auth_cache 60s size=512k;", log_level="info")
    text = token(payload=claims(aud="a"))
    assert bearer(server.port, text).status == 200
    for more, status in [
            ("academy_auth_cache 60s size=512k; academy_auth_audience b;",
             403),
            ("academy_auth_cache 60s size=1m; academy_auth_audience a;", 200),
            ("academy_jwt_algorithms EdDSA;", 403),
            ("academy_auth_cache off;", 200)]:
        server.change(location="academy_exchange exchange; academy_auth jwt;"
                      f"{more} academy_jwt_key_file {tmp_path}/keys;")
        server.reload()
        for _ in range(2):
            assert bearer(server.port, text).status == status, more


def test_its_name_is_taken(exchange):
    server = exchange(log_level="info")
    server.change(zone="64m", http="academy_zone zone=academy_auth_cache:2m;")
    code, said = server.test_config()
    server.expect("academy_auth_cache")
    assert code != 0 and "already declared for a different use" in said
