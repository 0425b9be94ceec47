"""How long the zone's lock is held at a time, where there is much to do: the
CPU time of who holds it, by bench-lock (t/bench/lock.c)."""

import asyncio
import contextlib
import functools
import json
import subprocess

import pytest
from academy_nginx import ASAN, PATIENCE, ROOT, run
from exchange import IDENTITY, Client, Named, mailbox, message, until
from test_delivery import Listener

PROBE = ROOT / "build" / "bench-lock"

# Microseconds. A section is some 64 steps, and takes less than 200 on a machine
# that does nothing else; one that does, or whose host does, adds to the longest.
BOUND = 2000 * PATIENCE

# The host may stop a processor where it likes, for milliseconds, and that time
# looks like the holder's. It does not do so at the same place again and again.
TRIES = 3

pytestmark = pytest.mark.skipif(
    bool(ASAN), reason="what sanitizers cost is not the lock's affair")


class Held(AssertionError):
    """A section was longer than it may be."""


def tried(test):
    """Fails when a section was too long each time."""
    @functools.wraps(test)
    def often(**fixtures):
        for left in reversed(range(TRIES)):
            try:
                return test(**fixtures)
            except Held as held:
                if not left:
                    raise
                fixtures["figures"](f"tried again: {held}")
    return often


class Watch:
    """What the probe sees within the block."""

    def __init__(self, server):
        if not PROBE.exists():
            subprocess.run(["make", "-s", "-C", ROOT / "t/bench",
                            "../../build/bench-lock"], check=True)
        self.probe = subprocess.Popen(
            [PROBE, *map(str, server.workers())], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        if not self.probe.stdout.readline():
            pytest.skip(self.probe.stderr.read())

    def end(self):
        out, _ = self.probe.communicate(timeout=60)
        return json.loads(out)


@contextlib.contextmanager
def watched(server, figures, what):
    watch = Watch(server)
    try:
        yield
    finally:
        seen = watch.end()
    figures(f"{what}: held {seen['holds']} times, {seen['max']:.0f} us at "
            f"most, p99 {seen['p99']:.1f}")
    assert seen["holds"] > 0 and seen["lost"] == 0
    assert seen["p99"] < BOUND / 10
    if seen["max"] >= BOUND:
        raise Held(f"{what}: {seen['max']:.0f} us")


@tried
def test_large_messages(nginx, figures):
    """One of 60 MB, and many, are put, delivered and dropped."""
    server = nginx(workers=1, zone="300m", location="""
        academy_message_size 64m; client_max_body_size 100m;""")

    async def test():
        client = await Client.open(server.port)
        box, other = await client.new(), await client.new()
        with watched(server, figures, "a message of 60 MB is put"):
            await client.put(box, "x" * 60_000_000)
        with watched(server, figures, "it is dropped with its mailbox"):
            await client.terminate(box)
            await asyncio.sleep(0.5)
        with watched(server, figures, "120 of 500 KB are put"):
            for _ in range(120):
                await client.put(other, "x" * 500_000)
        with watched(server, figures, "they are dropped with their mailbox"):
            await client.terminate(other)
            await asyncio.sleep(0.5)

    run(test(), 100)


@tried
def test_kept_request(nginx, figures):
    """A request of 60 MB was received and is kept until it is answered."""
    server = nginx(workers=1, zone="300m", location="""
        academy_redeliver on;
        academy_message_size 64m; client_max_body_size 100m;""")

    async def test():
        client = await Client.open(server.port)
        box, other = await client.new(), await client.new()
        text = message(box, "x" * 60_000_000, src=other, kind="request")
        tag = json.loads(text)["header"]["tag"]
        answer = await client.request("PUT", "/message", {"message": text})
        assert answer.status == 200
        client.reader._limit = 1 << 30
        assert (await client.get(box, 20)).status == 200
        await client.stats(box)
        reply = json.loads(message(other, "", src=box))
        reply["header"]["tag"] = tag
        with watched(server, figures, "it is answered"):
            answer = await client.request(
                "PUT", "/message", {"message": json.dumps(reply)})
            assert answer.status == 200
            await asyncio.sleep(0.5)
        assert (await client.stats(box))["completed"] == 1

    run(test(), 100)


@tried
def test_many_leases(nginx, figures):
    """A connection ends with 1,000 messages on it."""
    server = nginx(workers=1, zone="32m")

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        listener = Listener(server.port, box)
        await client.put(box, "first")
        assert await asyncio.to_thread(listener.some) == ["first"]
        listener.deafen()
        for n in range(1500):
            await client.put(box, n)

        async def lent():
            return (await client.stats(box))["queued"] < 600

        await until(lent, 20)
        with watched(server, figures, "1,000 return"):
            listener.close()

            async def back():
                return (await client.stats(box))["queued"] == 1500

            await until(back, 20)
        listener = Listener(server.port, box)
        with watched(server, figures, "1,500 are delivered"):
            found = []
            while len(found) < 1500:
                found += await asyncio.to_thread(listener.some)
            await asyncio.sleep(0.5)
        listener.close()
        assert found == list(range(1500))

    run(test(), 100)


@tried
def test_many_waiters(nginx, figures):
    """A share is withdrawn under those who wait by it, and by others."""
    server = nginx(workers=1, connections=8000, location=IDENTITY)
    count = 3000

    async def test():
        client = await Named.open(server.port)
        groups = [f"group-{n}" for n in range(200)]
        client.groups = ",".join(["lab", *groups])
        box = await client.new()
        for group in ["lab", *groups]:
            answer = await client.request("POST", "/mailbox/share", {
                "mailbox": box, "group_id": group})
            assert answer.status == 200
        waiters = []
        for n in range(count):
            waiter = await Named.open(server.port)
            waiter.name = "bob"
            waiter.groups = "lab" if n % 2 else groups[-1]
            waiter.send_get(box, 60)
            waiters.append(waiter)
        await asyncio.sleep(0.5)
        with watched(server, figures, f"{count} waiters, one share less"):
            answer = await client.request("DELETE", "/mailbox/share", {
                "mailbox": box, "group_id": "lab"})
            assert answer.status == 200
            answers = await asyncio.gather(
                *(waiter.answer() for waiter in waiters[1::2]))
        assert {answer.status for answer in answers} == {403}
        with watched(server, figures, "the end of all"):
            await client.terminate(box)
            answers = await asyncio.gather(
                *(waiter.answer() for waiter in waiters[::2]))
        assert {answer.status for answer in answers} == {419}
        for waiter in waiters:
            waiter.close()

    run(test(), 100)


@tried
def test_large_class(nginx, figures):
    """The last one of a class of 100,000 goes."""
    server = nginx(workers=1, zone="200m")
    count = 100_000

    async def test():
        client = await Client.open(server.port)
        boxes = [mailbox() for _ in range(count)]
        for start in range(0, count, 500):
            some = boxes[start:start + 500]
            for box in some:
                client.send("POST", "/mailbox",
                            {"mailbox": box, "agent": "a.Crowd"})
            for _ in some:
                assert (await client.answer()).status == 200
        with watched(server, figures, f"{count} of a class go"):
            for start in range(0, count, 500):
                some = boxes[start:start + 500]
                for box in some:
                    client.send("DELETE", "/mailbox", {"mailbox": box})
                for _ in some:
                    assert (await client.answer()).status == 200
            await asyncio.sleep(0.2)

    run(test(), 200)
