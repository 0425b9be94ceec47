"""Event streams: GET /mailbox/listen."""

import asyncio
import json
import time

import pytest
from academy_nginx import ASAN, Gone, Refused, Torn, resident_bytes, run
from academy_redis import STORE
from exchange import (
    Client,
    body_of,
    deaf,
    left,
    mailbox,
    message,
    taken,
    until,
    with_worker,
)


def test_begin_and_ping(nginx):
    server = nginx(
        http="academy_ping_interval 100ms; academy_retry 40ms;")

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        stream = await (await Client.open(server.port)).stream(box, 1)
        assert stream.headers["cache-control"] == "no-cache"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["connection"] == "close"
        await client.put(box, "first")
        assert body_of(await stream.next()) == "first"
        # With up to as much again of jitter.
        assert 40 <= stream.retry <= 80
        start = time.monotonic()
        assert await stream.next() is None
        # The timeout counts from the last message, the pings go on till then.
        assert 0.9 < time.monotonic() - start < (5 if ASAN else 1.5)
        assert 8 <= stream.pings <= 11

    run(test())


def test_retry_has_jitter(nginx):
    server = nginx(http="academy_retry 100ms;")

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        seen = set()
        for _ in range(30):
            stream = await (await Client.open(server.port)).stream(box)
            await client.put(box, 0)
            await stream.next()
            seen.add(stream.retry)
            stream.close()
        assert all(100 <= retry <= 200 for retry in seen), seen
        assert len(seen) > 5

    run(test())


def test_message_puts_the_end_off(nginx):
    server = nginx(workers=2)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        stream = await (await Client.open(server.port)).stream(box, 0.5)
        start = time.monotonic()
        for n in range(4):
            await asyncio.sleep(0.3)
            await client.put(box, n)
            assert body_of(await stream.next()) == n
        last = time.monotonic()
        assert last - start > 1
        assert await stream.next() is None
        assert 0.4 < time.monotonic() - last < (5 if ASAN else 1)

    run(test())


def test_refused_before_it_starts(nginx):
    server = nginx(workers=2)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        await client.terminate(box)
        for request, status in (
                ({"mailbox": box}, 419),
                ({"mailbox": mailbox()}, 404),
                ({"mailbox": box, "timeout": 61}, 400),
                ({"mailbox": box, "timeout": 0}, 400),
                ({}, 400)):
            with pytest.raises(Refused) as e:
                await client.listen(request)
            assert e.value.answer.status == status
            # And the connection goes on.
            assert await client.status(box) == "TERMINATED"

    run(test())


def test_ends_at_terminate(nginx):
    """All streams of the mailbox, in all workers, at once and cleanly."""
    server = nginx(workers=4)

    async def test():
        owner = await Client.open(server.port)
        box, other = await owner.new(), await owner.new()
        streams = [await (await Client.open(server.port)).stream(box)
                   for _ in range(20)]
        beside = await (await Client.open(server.port)).stream(other)
        start = time.monotonic()
        await owner.terminate(box)
        assert await asyncio.gather(*(s.next() for s in streams)) == [None] * 20
        assert time.monotonic() - start < (5 if ASAN else 1)
        await owner.put(other, "still here")
        assert body_of(await beside.next()) == "still here"

    run(test())


def test_what_waited_comes_first_and_in_order(nginx):
    server = nginx(workers=4)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        for n in range(500):
            await client.put(box, n)
        stream = await (await Client.open(server.port)).stream(box)
        for n in range(500, 600):
            await client.put(box, n)
        for n in range(600):
            assert body_of(await stream.next()) == n

    run(test())


def test_each_message_to_exactly_one_of_several(nginx):
    """Streams and polls of one mailbox, in four workers."""
    server = nginx(workers=4)

    async def test():
        sender = await Client.open(server.port)
        box = await sender.new()
        streams = [await (await Client.open(server.port)).stream(box)
                   for _ in range(10)]
        seen = []

        async def read(stream):
            mine = []
            while (text := await stream.next()) is not None:
                mine.append(body_of(text))
                seen.append(body_of(text))
            return mine

        readers = [asyncio.create_task(read(s)) for s in streams]
        for n in range(500):
            await sender.put(box, n)
        while len(seen) < 500:
            await asyncio.sleep(0.01)
        await sender.terminate(box)
        for mine in await asyncio.gather(*readers):
            assert mine == sorted(mine)
        assert sorted(seen) == list(range(500))

    run(test())


# ------------------------------------------------------------ difficult people


LARGE = "x" * 300_000


def events_of(sock, count):
    """Reads the messages that such a stream holds."""
    sock.settimeout(20)
    with sock.makefile("rb") as lines:
        found = []
        while len(found) < count:
            line = lines.readline()
            assert line, "the stream ended"
            if line.startswith(b"data: "):
                found.append(body_of(line[6:].decode()))
        return found


def test_reader_that_never_reads(nginx, figures):
    """Its messages stay in the mailbox, not in the worker's memory; others
    notice nothing; when it reads at last, all is there and in order."""
    server = nginx(zone="128m")
    count = 200

    async def test():
        client = await Client.open(server.port)
        box, other = await client.new(), await client.new()
        (worker,) = server.workers()
        sock = deaf(server.port, "GET", "/mailbox/listen", box)
        await client.put(box, [0, LARGE])
        before = resident_bytes(worker)
        slowest = 0
        for n in range(1, count):
            await client.put(box, [n, LARGE])
            start = time.monotonic()
            await client.put(other, n)
            assert (await client.get(other, 1)).status == 200
            slowest = max(slowest, time.monotonic() - start)
        grown = resident_bytes(worker) - before
        queued = (await client.stats(box))["queued"]
        figures(f"{count * len(LARGE) >> 20} MB unread: the worker grew by "
                f"{grown >> 10} KB, {queued} messages stayed in the mailbox; "
                f"slowest put and get of others {slowest * 1e3:.1f} ms")
        # What is on the way is in socket buffers and one message's copy.
        assert queued > count - 20
        if not ASAN:
            assert grown < 8 << 20
            assert slowest < 0.1
        found = await asyncio.to_thread(events_of, sock, count)
        assert found == [[n, LARGE] for n in range(count)]
        sock.close()

    run(test())


def test_reader_that_never_reads_and_leaves(nginx):
    """What its side has not acknowledged is for the next one, in order: all
    of it, for its buffer holds less than one message."""
    server = nginx(workers=2, zone="128m")
    count = 60

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        sock = deaf(server.port, "GET", "/mailbox/listen", box)
        for n in range(count):
            await client.put(box, [n, LARGE])

        async def all_queued():
            return (await client.stats(box))["queued"] == count

        async def some_taken():
            return not await all_queued()

        await until(some_taken)
        sock.close()
        # Who comes before the exchange has seen it go gets what is next.
        await until(all_queued)
        stream = await (await Client.open(server.port)).stream(box)
        found = []
        while not found or found[-1] < count - 1:
            found.append(body_of(await stream.next())[0])
        assert found == list(range(count))

    run(test())


def test_byte_a_minute(nginx):
    """nginx's own timeouts hold for requests that never become whole."""
    server = nginx(http="client_header_timeout 1s; client_body_timeout 1s;")

    async def test():
        slow_head = await Client.open(server.port)
        slow_head.writer.write(b"GET /message HTT")
        slow_body = await Client.open(server.port)
        slow_body.writer.write(
            b"PUT /message HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 1000\r\n\r\n{")
        client = await Client.open(server.port)
        box = await client.new()
        for n in range(100):
            await client.put(box, n)
            assert taken(await client.get(box)) == n
        start = time.monotonic()
        assert await slow_head.reader.read() == b""
        assert await slow_body.reader.read() == b""
        assert time.monotonic() - start < (10 if ASAN else 2)
        fresh = await Client.open(server.port)
        await fresh.put(box, "after")
        assert taken(await fresh.get(box)) == "after"

    run(test())


def test_connections_run_out(nginx, figures):
    """Who is in goes on as before, who comes is turned away; all is well
    again as soon as somebody leaves."""
    server = nginx(connections=64)
    server.expect("worker_connections are not enough")

    async def test():
        client = await Client.open(server.port)
        boxes = [await client.new() for _ in range(64)]

        # One request is under way: its connection is not to be taken from it.
        sender = await Client.open(server.port)
        text = json.dumps({"message": message(boxes[0], "held")}).encode()
        sender.writer.write(
            b"PUT /message HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
            % len(text) + text[:100])

        streams = []
        with pytest.raises((Gone, Torn, ConnectionError)):
            for box in boxes:
                listener = await Client.open(server.port)
                streams.append(await listener.stream(box))
        figures(f"{len(streams)} streams on 64 connections")
        assert len(streams) > 50
        # nginx takes idle keep-alive connections back when it is short.
        await client.closed()

        sender.writer.write(text[100:])
        assert (await sender.answer()).status == 200
        assert body_of(await streams[0].next()) == "held"
        assert not any(s.conn.reader.at_eof() for s in streams)

        for _ in range(3):
            streams.pop().close()
        fresh = await open_again(server.port)
        for box, stream in zip(boxes, streams):
            await fresh.put(box, "again")
            assert body_of(await stream.next()) == "again"

    run(test())


async def open_again(port):
    """A connection that is served, once the server has room for one."""
    while True:
        client = await Client.open(port)
        try:
            await client.worker()
            return client
        except (Gone, Torn, ConnectionError):
            client.close()


@pytest.mark.parametrize("where", ["same worker", "other worker"])
@pytest.mark.parametrize("how", ["close", "reset", "half-close", "tls close",
                                 "tls reset"])
def test_listener_that_leaves_in_the_middle(nginx, how, where):
    """While messages are put: no crash, and the next listener has exactly what
    the one who left has not got."""
    server = nginx(workers=2, tls=how.startswith("tls"))
    tls = server.client_tls()

    async def test():
        sender = await Client.open(server.port, tls=tls)
        here = await sender.worker()
        box = await sender.new()
        leaver = await with_worker(
            server.port, lambda pid: (pid == here) == (where == "same worker"),
            tls=tls)
        stream = await leaver.stream(box)
        await sender.put(box, 0)
        assert body_of(await stream.next()) == 0

        if how == "half-close":
            leaver.writer.write_eof()
        else:
            leaver.reset() if how.endswith("reset") else leaver.close()
            await left(leaver)
        for n in range(1, 20):
            await sender.put(box, n)
        got = []
        if how == "half-close":
            # It may read on until the server has seen that it leaves.
            while (text := await stream.next()) is not None:
                got.append(body_of(text))
        rest = await (await Client.open(server.port, tls=tls)).stream(box)
        while not got or got[-1] < 19:
            got.append(body_of(await rest.next()))
        assert got == list(range(1, 20))

    run(test())


def test_pipelined_request_behind_a_stream(nginx):
    """It is not answered, for the stream has the connection to its end; the
    stream itself is not disturbed."""
    server = nginx()

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        listener = await Client.open(server.port)
        stream = await listener.stream(box)
        listener.send("GET", "/mailbox", {"mailbox": box})
        await client.put(box, "through")
        assert body_of(await stream.next()) == "through"
        await client.terminate(box)
        # The bytes that nobody read may turn the end into a reset: that is
        # how TCP tells it. No answer may come.
        try:
            assert await stream.next() is None
        except Torn as e:
            assert "reset" in str(e)

    run(test())


def test_message_text_is_one_line(nginx):
    """JSON with line breaks between its tokens is an event of one line."""
    server = nginx()

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        stream = await (await Client.open(server.port)).stream(box)
        text = json.dumps(json.loads(message(box, {"a": [1, {"b": "\n"}]})),
                          indent=2).replace("\n", "\r\n")
        answer = await client.request("PUT", "/message", {"message": text})
        assert answer.status == 200
        got = await stream.next()
        assert json.loads(got) == json.loads(text)

    run(test())


def test_exit_between_turns(nginx):
    """A stream with much to say is cut by no exit of its worker: nginx would
    say that a socket is left open."""
    server = nginx(workers=1, zone="256m")
    count = 2000 if ASAN else 20_000

    async def test():
        client = await Client.open(server.port)
        boxes = [await client.new() for _ in range(8)]
        for n in range(count):
            await client.put(boxes[n % 8], n)
        found = {box: [] for box in boxes}

        async def read(box):
            while len(found[box]) < count // 8:
                stream = await (await Client.open(server.port)).stream(box)
                while (text := await stream.next()) is not None:
                    found[box].append(body_of(text))

        readers = [asyncio.create_task(read(box)) for box in boxes]
        for _ in range(20):
            await asyncio.sleep(0.02)
            await asyncio.to_thread(server.reload)
        for _ in range(1000):
            if all(task.done() for task in readers):
                break
            # Whose last message had come before: it listens for no more.
            await asyncio.sleep(0.02)
        for task in readers:
            task.cancel()
        for k, box in enumerate(boxes):
            if STORE == "redis":
                # What a worker returns while it exits may come too late for
                # who is at the next one already.
                found[box].sort()
            assert found[box] == list(range(k, count, 8))

    run(test())
