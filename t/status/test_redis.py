"""What is seen of a Redis that is away, full, or a Python exchange's too."""

import asyncio
import contextlib
import json
import signal
import subprocess
import time

import pytest
import redis
from academy.exchange.cloud.backend import RedisBackend
from academy.exchange.cloud.client_info import ClientInfo
from academy.identifier import AgentId, UserId
from academy_nginx import ASAN, MODULE, PATIENCE, run, wait_until
from academy_redis import STORE, RedisServer
from exchange import Client, body_of, taken
from look import STATUS, fetch, look, samples


def on(nginx, server, more="", seen=None, **pieces):
    """An nginx on this Redis, once both workers are connected: that is looked
    at, unless something else is to say it."""
    at = nginx(exchange=False, location="academy_exchange exchange;",
               http="academy_redis name=exchange "
                    f"server={server.server} {more};",
               main=f"load_module {MODULE};", server=STATUS, workers=2,
               **pieces)
    wait_until(seen or (lambda: look(at.port)["link"]["connected"] == 2), 20,
               "not connected")
    return at


@contextlib.contextmanager
def client_of(server):
    with redis.Redis(unix_socket_path=str(server.socket),
                     decode_responses=True) as client:
        yield client


def healths(at, n=20):
    """The answers of several connections: of all workers, mostly."""
    return {fetch(at.port, "format=health")[:2] for _ in range(n)}


def test_away_and_there_again(nginx, figures):
    """503 at once while it is away, nothing hangs, and all is back."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        at = on(nginx, server, "timeout=1s")
        assert healths(at) == {(200, "ok\n")}

        async def before():
            client = await Client.open(at.port)
            box = await client.new()
            await client.put(box, 1)
            client.close()
        run(before())
        wait_until(lambda: look(at.port)["messages"]["queued"] == 1, 5, "none")
        there = look(at.port)
        server.kill()
        begin = time.monotonic()
        wait_until(lambda: healths(at) == {(503, "redis is away\n")}, 5,
                   "nobody says it")
        told = time.monotonic() - begin
        begin = time.monotonic()
        away = look(at.port)
        metrics = samples(fetch(at.port, "format=prometheus")[1])
        took = time.monotonic() - begin
        assert took < 0.5 * PATIENCE
        assert away["health"] == dict(ok=False, reason="redis is away")
        assert away["link"]["connected"] == 0
        assert away["messages"]["queued"] is None
        assert away["mailboxes"]["active"] is None
        assert away["totals"]["accepted"] == 1
        assert metrics['academy_healthy{exchange="exchange"}'] == 0
        assert 'academy_messages_queued{exchange="exchange"}' not in metrics
        for view in "mailboxes", "mailbox&id=agent:" + "0" * 32:
            begin = time.monotonic()
            assert fetch(at.port, "view=" + view)[0] == 503
            assert time.monotonic() - begin < 0.5 * PATIENCE

        async def refused():
            client = await Client.open(at.port)
            assert (await client.request("GET", "/mailbox", {"mailbox": (
                '{"uid":"%s"}' % ("0" * 32))})).status == 503
            client.close()
        run(refused())
        assert look(at.port)["refusals"]["store"] == 1
        assert look(at.port)["status"]["refused"] == 2
        server.start()
        begin = time.monotonic()
        wait_until(lambda: healths(at) == {(200, "ok\n")}, 20,
                   "it is not there again")
        again = time.monotonic() - begin
        wait_until(lambda: look(at.port)["messages"]["queued"] == 1, 5, "none")
        after = look(at.port)
        figures(f"told after {1000 * told:.0f} ms, looked at in "
                f"{1000 * took:.0f} ms meanwhile, well {1000 * again:.0f} ms "
                f"after it was there; connections {there['redis']['connects']}"
                f", then {after['redis']['connects']}")
        assert there["redis"]["connects"] == 2
        assert after["redis"]["connects"] >= 4


def test_slow(nginx):
    """Commands that wait for it are in flight; how long, the histogram says."""
    with RedisServer() as server:
        at = on(nginx, server)

        async def test():
            clients = [await Client.open(at.port) for _ in range(8)]
            boxes = [await client.new() for client in clients]
            server.process.send_signal(signal.SIGSTOP)
            try:
                puts = [asyncio.create_task(client.put(box, 1))
                        for client, box in zip(clients, boxes)]
                await asyncio.sleep(0.7)
                # A look at what is in Redis would wait as well.
                text = fetch(at.port, "view=history")[0]
                assert text == 200
            finally:
                server.process.send_signal(signal.SIGCONT)
            await asyncio.gather(*puts)
            for client in clients:
                client.close()
        run(test())
        picture = look(at.port)
        slow = picture["round_trip"]["buckets"]
        late = slow[-1][1] - slow[-2][1]
        assert slow[-2][0] > 0.26 and 8 <= late < 30
        assert picture["round_trip"]["sum"] > 8 * 0.5
        wait_until(lambda: look(at.port)["link"]["in_flight"] == 0, 5,
                   "something is under way")


@pytest.mark.skipif(STORE != "redis", reason="a quarter of a minute, only "
                    "where the run is about Redis")
def test_samples_that_are_late(nginx, figures):
    """Two that waited for Redis, and come together, are one."""
    with RedisServer() as server:
        with client_of(server) as db:
            at = on(nginx, server, "timeout=60s", seen=lambda: sum(
                client["cmd"] != "client|list"
                for client in db.client_list()) == 4)
        # Nobody has looked yet, so it is Redis that the samples come from.
        server.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(11.5)
        finally:
            server.process.send_signal(signal.SIGCONT)
        time.sleep(1)
        late = look(at.port, "view=history")["samples"]
        wait_until(lambda: look(at.port, "view=history")["samples"], 15,
                   "no more of them")
        rows = look(at.port, "view=history")["samples"]
        figures(f"{len(late)} behind the first one, then one after "
                f"{rows[0][1]} s")
        assert late == []
        assert rows[0][1] >= 5
        # Redelivered: Redis does not know.
        assert rows[0][4] is None


def test_full(nginx, figures):
    with RedisServer(maxmemory="6mb") as server:
        at = on(nginx, server)

        async def fill():
            client = await Client.open(at.port)
            box = await client.new()
            stored = 0
            while (await client.try_put(box, "x" * 20000)).status == 200:
                stored += 1
            # The worker that was told so says it.
            answer = await client.request("GET", "/status?format=health")
            assert (answer.status, answer.body) == (503, b"redis is full\n")
            for _ in range(stored):
                await client.get(box, 1)
            client.close()
            return stored
        stored = run(fill())
        wait_until(lambda: healths(at) == {(200, "ok\n")}, 10, "not well")
        picture = look(at.port)
        figures(f"{stored} stored, {picture['refusals']['memory']} refused")
        assert picture["refusals"]["memory"] == 1
        assert picture["totals"]["accepted"] == stored


def test_python_exchange(nginx):
    """Its mailboxes are in the lists, and what it ends leaves them."""
    with RedisServer() as server:
        at = on(nginx, server)
        anyone = ClientInfo(client_id="", group_memberships=set())
        agent, user = AgentId.new(name="agent"), UserId.new(name="user")

        async def call(name, *args):
            backend = RedisBackend(
                kwargs={"unix_socket_path": str(server.socket)})
            try:
                return await getattr(backend, name)(*args)
            finally:
                await backend._client.aclose()

        def rows(state="active"):
            page = look(at.port, f"view=mailboxes&state={state}")
            return {row["id"]: row for row in page["mailboxes"]}

        run(call("create_mailbox", anyone, agent, ("lab.Mine", "lab.Base")))
        run(call("create_mailbox", anyone, user))
        names = {f"agent:{agent.uid}", f"user:{user.uid}"}
        wait_until(lambda: set(rows()) == names, 10, "they are not listed")
        row = rows()[f"agent:{agent.uid}"]
        assert row["class"] == "lab.Mine" and row["name"] is None
        run(call("terminate", anyone, agent))
        wait_until(lambda: set(rows("terminated")) == {f"agent:{agent.uid}"},
                   10, "its end is not seen")
        assert set(rows()) == {f"user:{user.uid}"}


def test_two_exchanges(nginx):
    """Counters are each one's own; what is in Redis both show."""
    with RedisServer() as server:
        one, two = on(nginx, server), on(nginx, server)

        async def test():
            client = await Client.open(one.port)
            box = await client.new()
            for n in range(3):
                await client.put(box, n)
            client.close()
            return json.loads(box)["uid"]
        uid = run(test())
        wait_until(lambda: look(two.port)["messages"]["queued"] == 3, 5, "none")
        assert look(two.port)["totals"]["accepted"] == 0
        assert look(one.port)["totals"]["accepted"] == 3
        shown = look(two.port, f"view=mailbox&id=agent:{uid}")
        assert shown["mailbox"]["queued"] == 3 == len(shown["messages"])
        code, text, _ = fetch(
            two.port, f"view=mailbox&id=agent:{uid}&action=terminate",
            method="POST", headers={"X-Academy-Status": "1"})
        assert (code, json.loads(text)) == (200, {"terminated": True})
        assert look(two.port)["totals"]["dropped"] == 3
        shown = look(one.port, f"view=mailbox&id=agent:{uid}")
        assert shown["mailbox"]["state"] == "terminated"
        assert shown["messages"] == []


def wait_for_hand_over(server, box):
    """Until Redis knows that this mailbox has somebody who waits."""
    with client_of(server) as db:
        wait_until(lambda: db.exists("academy:waits:" + json.loads(box)["uid"]),
                   5, "nothing is handed over")


def test_latency(nginx, figures):
    """Of what is handed over it is known when Redis had it; of what waited in
    a queue it is not, and that does not count as if it had just come."""
    with RedisServer() as server:
        at = on(nginx, server)

        async def test():
            sender, other = [await Client.open(at.port) for _ in range(2)]
            box = await sender.new()
            await sender.put(box, "queued")
            await sender.put(box, "queued")
            await asyncio.sleep(1)
            assert taken(await other.get(box)) == "queued"
            stream = await other.stream(box)
            assert body_of(await stream.next()) == "queued"
            await asyncio.to_thread(wait_for_hand_over, server, box)
            assert look(at.port)["latency"]["count"] == 0
            begin = time.monotonic()
            for n in range(200):
                await sender.put(box, n)
                assert body_of(await stream.next()) == n
            took = time.monotonic() - begin
            stream.close()
            sender.close()
            return took
        took = run(test())
        found = look(at.port)["latency"]
        figures(f"200 in {took:.3f} s, latency p50 {found['p50']} s, p99 "
                f"{found['p99']} s, {found['sum']} s in all")
        assert look(at.port)["totals"]["sent"] == 202
        assert found["count"] == 200
        # Each was there before the next one was sent.
        assert found["sum"] <= took
        assert found["p50"] <= 0.01 * PATIENCE


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long ahead(void)
{
    long s = 0;
    FILE *f = fopen(getenv("CLOCK"), "r");

    if (f && fscanf(f, "%ld", &s) != 1) {
        s = 0;
    }
    if (f) {
        fclose(f);
    }

    return s;
}

int gettimeofday(struct timeval *tv, void *tz)
{
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int rc = real(tv, tz);

    tv->tv_sec += ahead();
    return rc;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT,
                                                      "clock_gettime");
    int rc = real(id, ts);

    if (id == CLOCK_REALTIME) {
        ts->tv_sec += ahead();
    }
    return rc;
}
"""


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """A function that sets the clock of the Redis that is started here."""
    (tmp_path / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", "clock.so",
                    "clock.c", "-ldl"], cwd=tmp_path, check=True)
    file = tmp_path / "ahead"

    def put(seconds):
        (tmp_path / "new").write_text(str(seconds))
        (tmp_path / "new").rename(file)

    def start(seconds):
        put(seconds)
        monkeypatch.setenv("CLOCK", str(file))
        monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "clock.so"))
        server = RedisServer().start()
        monkeypatch.delenv("LD_PRELOAD")
        return server, put

    return start


@pytest.mark.skipif(bool(ASAN), reason="a while, and the sanitizer sees "
                    "it above")
def test_latency_by_another_clock(nginx, figures, clock):
    """Redis's clock is an hour ahead, and is set twice meanwhile."""
    server, put = clock(3600)
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        at = on(nginx, server)

        async def test():
            sender, other = [await Client.open(at.port) for _ in range(2)]
            box = await sender.new()
            stream = await other.stream(box)
            await asyncio.to_thread(wait_for_hand_over, server, box)
            counts = []

            async def some():
                for n in range(20):
                    await sender.put(box, n)
                    assert body_of(await stream.next()) == n
                counts.append(look(at.port)["latency"]["count"])

            await some()
            for ahead in (-7200, -86400):
                put(ahead)
                # Ids go on with the time of the last one, which is to come:
                # that is known with the next look at the clock.
                await some()
                await asyncio.sleep(2.5)
                await some()
            put(86400)
            await some()
            await asyncio.sleep(2.5)
            await some()
            stream.close()
            sender.close()
            return counts
        counts = run(test())
        found = look(at.port)["latency"]
        figures(f"counted {counts} of 20 more each, {found['sum']} s in all, "
                f"p99 {found['p99']} s")
        assert counts[0] == 20
        # None of them took an hour.
        assert found["sum"] < 5 * PATIENCE
        # Where the clock says nothing, nothing is said; and it is learned anew.
        assert counts[1] == counts[2] == counts[3] == counts[4]
        assert counts[-1] == counts[-2] + 20
