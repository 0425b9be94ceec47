"""The exchange over HTTP/2: many requests on one connection, and each of them
ends on its own."""

import asyncio
import time

import pytest
from academy_nginx import ASAN, run
from exchange import body_of, mailbox, message, taken
from h2client import Http2


@pytest.fixture(params=["prior knowledge", "tls"])
def connect(request, nginx):
    """A function that starts a server, and one that connects to it."""
    secure = request.param == "tls"

    def start(**pieces):
        server = nginx(listen=" http2", tls=secure, **pieces)

        async def open():
            return await Http2.open(server.port, server.client_tls())

        return server, open

    return start


async def new(h2):
    box = mailbox()
    assert (await h2.request("POST", "/mailbox", {"mailbox": box})
            ).status == 200
    return box


async def put(h2, box, body):
    answer = await h2.request(
        "PUT", "/message", {"message": message(box, body)})
    assert answer.status == 200, answer


def get(h2, box, timeout=30, **how):
    return h2.start(
        "GET", "/message", {"mailbox": box, "timeout": timeout}, **how)


def listen(h2, box, timeout=30, **how):
    return h2.start(
        "GET", "/mailbox/listen", {"mailbox": box, "timeout": timeout}, **how)


async def stats(h2, box):
    return (await h2.request("GET", "/mailbox/stats", {"mailbox": box})).json()


async def window_full(h2, stream):
    """Waits until a deaf stream has had all that its window lets through."""
    while len(stream.data) < 65_535:
        await stream._wait()
    await h2.flushed()


def test_routes(connect):
    server, open = connect()

    async def test():
        h2 = await open()
        box = await new(h2)
        await put(h2, box, "a")
        assert taken(await get(h2, box).answer()) == "a"
        answer = await get(h2, box, 0.1).answer()
        assert (answer.status, answer.body) == (408, b"Request timeout")
        answer = await h2.request("GET", "/mailbox", {"mailbox": box})
        assert answer.json() == {"status": "ACTIVE"}
        assert (await h2.request("GET", "/message", {})).status == 400
        assert (await h2.request("PATCH", "/message", {})).status == 405
        assert (await h2.request("GET", "/nowhere", {})).status == 404
        assert (await h2.request(
            "DELETE", "/mailbox", {"mailbox": box})).status == 200
        assert (await get(h2, box).answer()).status == 419
        await h2.close()

    run(test())


def test_large_message(connect):
    """Larger than a frame, and together larger than a window."""
    server, open = connect()

    async def test():
        h2 = await open()
        box = await new(h2)
        # The client here sends no more than a window at a time.
        await put(h2, box, "x" * 60_000)
        waiting = get(h2, box)
        assert taken(await waiting.answer()) == "x" * 60_000
        stream = listen(h2, box)
        for n in range(20):
            await put(h2, box, [n, "y" * 60_000])
        for n in range(20):
            assert body_of(await stream.event()) == [n, "y" * 60_000]
        await h2.close()

    run(test())


def test_many_requests_wait_on_one_connection(connect):
    server, open = connect(workers=2, http="http2_max_concurrent_streams 300;")

    async def test():
        h2, other = await open(), await open()
        boxes = [await new(h2) for _ in range(100)]
        polls = [get(h2, box) for box in boxes]
        streams = [listen(h2, box) for box in boxes]
        assert not any(p.ended for p in polls)
        # Two are waiting on each mailbox, and two messages come.
        for box in boxes:
            await put(other, box, "one")
            await put(other, box, "two")
        for poll, stream in zip(polls, streams):
            seen = {taken(await poll.answer()), body_of(await stream.event())}
            assert seen == {"one", "two"}
        for box in boxes:
            await other.request("DELETE", "/mailbox", {"mailbox": box})
        for stream in streams:
            assert await stream.event() is None
        await h2.close()
        await other.close()

    run(test())


def test_stream_headers_and_end(connect):
    server, open = connect()

    async def test():
        h2 = await open()
        box = await new(h2)
        stream = listen(h2, box, 0.5)
        start = time.monotonic()
        assert await stream.event() is None
        assert 0.4 < time.monotonic() - start < (5 if ASAN else 1)
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "connection" not in stream.headers
        # The connection is not the stream's: it goes on.
        await put(h2, box, "on")
        assert taken(await get(h2, box).answer()) == "on"
        await h2.close()

    run(test())


@pytest.mark.parametrize("kind", ["poll", "stream"])
def test_reset_while_parked(connect, kind):
    """The request is gone, its connection is not; the message is for the
    next."""
    server, open = connect(workers=2)

    async def test():
        h2, other = await open(), await open()
        box = await new(h2)
        for n in range(20):
            parked = (get if kind == "poll" else listen)(h2, box)
            if kind == "stream":
                await parked.begun.wait()
            h2.reset(parked)
            await h2.flushed()
            await put(other, box, n)
            assert taken(await get(other, box, 5).answer()) == n
            assert (await stats(h2, box))["queued"] == 0
        await h2.close()
        await other.close()

    run(test())


LARGE = "x" * 50_000


def test_stream_whose_window_stays_closed(connect, figures):
    """Its messages stay in the mailbox, and the other streams of the
    connection go on; when the window opens, all comes and in order."""
    server, open = connect(zone="64m")
    count = 100

    async def test():
        h2 = await open()
        box, other = await new(h2), await new(h2)
        deaf = listen(h2, box, deaf=True)
        for n in range(count):
            await put(h2, box, [n, LARGE])
            await put(h2, other, n)
            assert taken(await get(h2, other).answer()) == n
        await window_full(h2, deaf)
        queued = (await stats(h2, box))["queued"]
        figures(f"{queued} of {count} messages stayed in the mailbox")
        assert queued >= count - 4
        h2.hear(deaf)
        for n in range(count):
            assert body_of(await deaf.event()) == [n, LARGE]
        await h2.close()

    run(test())


def test_stream_that_is_reset_with_its_window_closed(connect):
    """The kernel's buffers are empty, nginx's are not: what the reader has
    not got is for the next one."""
    server, open = connect(workers=2)

    async def test():
        h2, other = await open(), await open()
        box = await new(h2)
        deaf = listen(h2, box, deaf=True)
        for n in range(5):
            await put(other, box, [n, LARGE])
        await window_full(h2, deaf)
        assert body_of(await deaf.event()) == [0, LARGE]
        # The second one was begun.
        assert b"data: " in deaf.data
        h2.reset(deaf)
        await h2.flushed()
        rest = listen(other, box)
        found = [body_of(await rest.event())[0]]
        while found[-1] < 4:
            found.append(body_of(await rest.event())[0])
        # The first may come again, the others must.
        assert found in ([0, 1, 2, 3, 4], [1, 2, 3, 4])
        await h2.close()
        await other.close()

    run(test())


def test_poll_that_is_reset_with_its_window_closed(connect):
    # The server's window is to be larger than the client's.
    server, open = connect(workers=2, http="http2_body_preread_size 1m;")

    async def test():
        h2, other = await open(), await open()
        box = await new(h2)
        deaf = get(h2, box, deaf=True)
        big = "x" * 200_000
        await put(other, box, big)
        await deaf.begun.wait()
        await window_full(h2, deaf)
        assert not deaf.ended
        h2.reset(deaf)
        await h2.flushed()
        assert taken(await get(other, box, 5).answer()) == big
        await h2.close()
        await other.close()

    run(test())


def test_connection_that_closes_with_all_its_requests(connect):
    server, open = connect(workers=2)

    async def test():
        h2, other = await open(), await open()
        boxes = [await new(h2) for _ in range(30)]
        parked = [listen(h2, box) for box in boxes[:15]]
        parked += [get(h2, box) for box in boxes[15:]]
        await h2.flushed()
        await h2.close()
        for box in boxes:
            await put(other, box, "left")
        for box in boxes:
            assert taken(await get(other, box, 5).answer()) == "left"
        await other.close()

    run(test())


def test_quit_ends_streams_at_once(connect):
    server, open = connect()

    async def test():
        h2 = await open()
        box, second = await new(h2), await new(h2)
        stream = listen(h2, box)
        poll = get(h2, second)
        await put(h2, box, "before")
        assert body_of(await stream.event()) == "before"
        start = time.monotonic()
        server.signal(3)
        assert await stream.event() is None
        assert (await poll.answer()).status == 408
        await asyncio.to_thread(server.process.wait, 20)
        assert time.monotonic() - start < (10 if ASAN else 2)
        await h2.close()

    run(test())


def test_stream_with_a_rate_limit(connect):
    """nginx holds an answer back by a timer, which is not to be the stream's
    for something else."""
    server, open = connect(location="limit_rate 20k;")

    async def test():
        h2 = await open()
        box = await new(h2)
        stream = listen(h2, box)
        await stream.begun.wait()
        start = time.monotonic()
        for n in range(3):
            await put(h2, box, [n, "x" * 20_000])
        for n in range(3):
            assert body_of(await stream.event())[0] == n
        assert 1 < time.monotonic() - start < 10
        await put(h2, box, "last")
        assert body_of(await stream.event()) == "last"
        await h2.close()

    run(test())


def test_blocked_stream_takes_no_more(connect):
    """Whoever listens beside a reader that takes nothing has what comes."""
    server, open = connect(workers=2)

    async def test():
        h2, other = await open(), await open()
        box = await new(h2)
        deaf = listen(h2, box, deaf=True)
        await deaf.begun.wait()
        # The second is more than what the first leaves of the window.
        await put(other, box, "x" * 60_000)
        await put(other, box, "y" * 10_000)
        await window_full(h2, deaf)
        await put(other, box, "z")
        assert taken(await get(other, box, 5).answer()) == "z"
        h2.hear(deaf)
        assert body_of(await deaf.event()) == "x" * 60_000
        assert body_of(await deaf.event()) == "y" * 10_000
        await put(other, box, "last")
        assert body_of(await deaf.event()) == "last"
        await h2.close()
        await other.close()

    run(test())
