"""How workers end: told to, told at once, or killed; and the reload that must
not happen."""

import asyncio
import json
import os
import signal
import time

import pytest
from academy_nginx import (
    ASAN,
    Torn,
    command_line,
    run,
    wait_until,
)
from exchange import (
    IDENTITY,
    Client,
    Named,
    body_of,
    deaf,
    taken,
    with_worker,
)

LARGE = "x" * 300_000


async def parked(port, count):
    """So many polls and as many streams, each on a mailbox of its own."""
    client = await Client.open(port)
    polls, streams = [], []
    for _ in range(count):
        poll = await Client.open(port)
        poll.send_get(await client.new())
        polls.append(poll)
        listener = await Client.open(port)
        streams.append(await listener.stream(await client.new()))
    client.close()
    return polls, streams


def gone(pid):
    return not os.path.exists(f"/proc/{pid}")


def test_quit(nginx, figures):
    """SIGQUIT to the master: every poll is answered, every stream ended, at
    once, and all workers exit."""
    server = nginx(workers=4)
    workers = server.workers()

    async def test():
        polls, streams = await parked(server.port, 100)
        answers = [asyncio.create_task(p.answer()) for p in polls]
        start = time.monotonic()
        server.signal(signal.SIGQUIT)
        assert await asyncio.gather(*(s.next() for s in streams)
                                    ) == [None] * 100
        for answer in await asyncio.gather(*answers):
            assert answer.status == 408
            assert answer.headers["connection"] == "close"
        for poll in polls:
            await poll.closed()
        await asyncio.to_thread(server.process.wait, 20)
        return time.monotonic() - start

    took = run(test())
    figures(f"100 polls and 100 streams ended, 4 workers gone in "
            f"{took * 1e3:.0f} ms")
    assert all(gone(pid) for pid in workers)
    assert took < (10 if ASAN else 2)


def test_quit_of_one_worker(nginx):
    """Its listeners listen again, and the message that came meanwhile is
    there."""
    server = nginx(workers=2)

    async def test():
        client = await Client.open(server.port)
        stays = await client.worker()
        listener = await with_worker(server.port, lambda pid: pid != stays)
        leaves = await listener.worker()
        box = await client.new()
        stream = await listener.stream(box)
        start = time.monotonic()
        server.signal(signal.SIGQUIT, leaves)
        await client.put(box, "meanwhile")
        first = await stream.next()
        if first is not None:
            # It was still in time: and then the end.
            assert body_of(first) == "meanwhile"
            assert await stream.next() is None
        else:
            again = await (await Client.open(server.port)).stream(box)
            assert body_of(await again.next()) == "meanwhile"
        await asyncio.to_thread(
            wait_until, lambda: gone(leaves), 5, "the worker stays")
        assert time.monotonic() - start < (10 if ASAN else 2)

    run(test())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_worker_that_ends_without_a_word(nginx, number):
    """SIGTERM asks for no grace, SIGKILL gives none. What a reader in that
    worker had not taken is for the next one; the worker comes back."""
    server = nginx(workers=2, zone="64m")
    if number == signal.SIGKILL:
        server.expect("exited on signal 9")
    count = 30

    async def test():
        client = await Client.open(server.port)
        stays = await client.worker()
        (leaves,) = set(server.workers()) - {stays}

        # A deaf reader in the worker that goes, and idle listeners in both.
        box = await client.new()
        while True:
            sock = deaf(server.port, "GET", "/mailbox/listen", box)
            await client.put(box, "hello")
            sock.settimeout(10)
            with sock.makefile("rb") as lines:
                while not lines.readline().startswith(b"data: "):
                    pass
            if worker_of(sock, server) == leaves:
                break
            sock.close()
        idle = []
        for wanted in (stays, leaves):
            for _ in range(10):
                listener = await with_worker(
                    server.port, lambda pid: pid == wanted)
                mine = await client.new()
                idle.append((wanted, mine, await listener.stream(mine)))

        for n in range(count):
            await client.put(box, [n, LARGE])
        server.signal(number, leaves)
        await asyncio.to_thread(
            wait_until, lambda: gone(leaves) and len(server.workers()) == 2,
            10, "the worker does not come back")
        sock.close()

        # Those in the other worker have noticed nothing.
        for wanted, mine, stream in idle:
            if wanted == stays:
                await client.put(mine, "still")
                assert body_of(await stream.next()) == "still"
        # Those who were cut off listen again, some in the new worker.
        (new,) = set(server.workers()) - {stays}
        for wanted, mine, stream in idle:
            if wanted == leaves:
                with pytest.raises(Torn):
                    await never_ends(stream)
                listener = await with_worker(
                    server.port, lambda pid: pid == new)
                again = await listener.stream(mine)
                await client.put(mine, "again")
                assert body_of(await again.next()) == "again"

        rest = await (await Client.open(server.port)).stream(box)
        found = []
        while not found or found[-1] < count - 1:
            found.append(body_of(await rest.next())[0])
        # A few were in the sockets' buffers, on the way to the deaf reader.
        assert found == list(range(found[0], count))
        assert found[0] < 15

    run(test())


async def never_ends(stream):
    """A worker that is killed cannot say goodbye: the kernel closes its
    connections, and on a stream without chunks that looks like an end."""
    assert await stream.next() is None
    raise Torn("as an end")


def worker_of(sock, server):
    """The worker that holds the other side of a connection."""
    local, remote = sock.getsockname()[1], sock.getpeername()[1]
    with open("/proc/net/tcp") as table:
        for line in table:
            fields = line.split()
            if fields[1].endswith(f":{remote:04X}") and fields[2].endswith(
                    f":{local:04X}"):
                inode = f"socket:[{fields[9]}]"
                break
    for pid in server.workers():
        for fd in os.scandir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(fd.path) == inode:
                    return pid
            except FileNotFoundError:
                pass
    raise AssertionError("nobody has it")


def test_old_workers_that_cannot_leave(nginx, figures):
    """A client that sends half of a request holds its worker back, as a long
    download would. Reload after reload is done meanwhile: the new workers
    come, and serve."""
    server = nginx(workers=4)
    reloads = 20

    def serving():
        return [pid for pid in server.workers()
                if "shutting down" not in command_line(pid)]

    async def test():
        held = []
        for n in range(reloads):
            now = set(serving())
            for wanted in now:
                client = await with_worker(
                    server.port, lambda pid: pid == wanted)
                client.writer.write(b"GET /mailbox HT")
                held.append(client)
            server.signal(signal.SIGHUP)
            await asyncio.to_thread(
                wait_until, lambda: len(serving()) == 4
                and not now & set(serving()), 10,
                f"no new workers beside {len(server.workers())} old ones")
            client = await Client.open(server.port)
            box = await client.new()
            stream = await (await Client.open(server.port)).stream(box)
            await client.put(box, n)
            assert body_of(await stream.next()) == n
            stream.close()
            client.close()
        figures(f"{len(server.workers())} workers, 4 of them serving")
        for client in held:
            client.close()
        await asyncio.to_thread(
            wait_until, lambda: len(server.workers()) == 4, 10,
            "old workers stay")

    run(test())


def test_old_worker_that_is_killed_beside_another(nginx):
    """Old workers that a slow reader holds back keep what they have taken for
    it. One of them is killed: that is for the next reader at once, though
    an older one lives on."""
    server = nginx(workers=1, zone="64m")
    server.expect("exited on signal 9")

    async def test():
        old = []
        for _ in range(2):
            client = await Client.open(server.port)
            box = await client.new()
            for n in range(20):
                await client.put(box, [n, LARGE])
            before = server.workers()
            sock = deaf(server.port, "GET", "/mailbox/listen", box)
            while (await client.stats(box))["queued"] == 20:
                await asyncio.sleep(0.01)
            (serving,) = [pid for pid in before
                          if "shutting down" not in command_line(pid)]
            old.append((serving, box, sock))
            client.close()
            server.signal(signal.SIGHUP)
            await asyncio.to_thread(
                wait_until, lambda: any(
                    pid not in before for pid in server.workers())
                and "shutting down" in command_line(serving), 10,
                "no reload")

        killed, box, sock = old[1]
        server.signal(signal.SIGKILL, killed)
        await asyncio.to_thread(wait_until, lambda: gone(killed), 5, "lives")
        assert not gone(old[0][0])
        client = await Client.open(server.port)
        stream = await client.stream(box)
        found = []
        while not found or found[-1] < 19:
            found.append(body_of(await stream.next())[0])
        assert sorted(found)[0] < 15
        assert sorted(found) == list(range(min(found), 20))
        for _, _, sock in old:
            sock.close()

    run(test())


@pytest.mark.zone_only("about a zone's size")
def test_zone_with_another_size_is_refused(nginx):
    """The reload fails with a message that says why; the old configuration,
    its workers and all that is in the zone serve on."""
    server = nginx(workers=2, zone="16m")
    server.expect(r"\[emerg\].*zone")
    workers = set(server.workers())

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        await client.put(box, "kept")
        listener = await (await Client.open(server.port)).stream(
            await client.new())

        mark = len(server.log())
        server.change(zone="32m")
        server.signal(signal.SIGHUP)
        await asyncio.to_thread(
            wait_until, lambda: "[emerg]" in server.log()[mark:], 10,
            "nothing was said")
        said = [line for line in server.log()[mark:].splitlines()
                if "[emerg]" in line]
        assert "exchange" in said[0] and "size" in said[0], said
        assert set(server.workers()) == workers
        assert taken(await client.get(box, 1)) == "kept"
        assert not listener.conn.reader.at_eof()

        # And a reload with the right size goes through.
        server.change(zone="16m")
        await asyncio.to_thread(server.reload)
        assert await listener.next() is None
        fresh = await Client.open(server.port)
        assert await fresh.status(box) == "ACTIVE"

    run(test())


def test_reload_keeps_everything(nginx):
    """Mailboxes, messages, owners, shares, statistics and agents."""
    server = nginx(workers=2, http=IDENTITY)

    async def test():
        ada = await Named.open(server.port)
        box = await ada.new()
        agent = await ada.create(await ada.new(), "a.B,a.A")
        named = json.dumps({**json.loads(agent), "uid":
                            "00000000-0000-0000-0000-00000000000b"})
        await ada.create(named, "a.B,a.A")
        await ada.put(box, "kept", kind="request", src=named)
        await ada.request("POST", "/mailbox/share",
                          {"mailbox": box, "group_id": "lab"})
        before = await ada.stats(box)
        await asyncio.to_thread(server.reload)

        ada = await Named.open(server.port)
        assert await ada.stats(box) == before
        assert (await ada.stats(named))["outgoing"] == 1
        shares = await ada.request("GET", "/mailbox/share", {"mailbox": box})
        assert shares.json() == {"group_ids": ["lab"]}
        found = await ada.request(
            "GET", "/discover", {"agent": "a.A", "allow_subclasses": True})
        assert found.json() == {"agent_ids": json.loads(named)["uid"]}
        assert taken(await ada.get(box, 1)) == "kept"
        eve = await Named.open(server.port)
        eve.name = "eve"
        answer = await eve.request("GET", "/mailbox", {"mailbox": named})
        assert answer.status == 403

    run(test())
