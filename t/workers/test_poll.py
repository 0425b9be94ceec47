"""Long polls: GET /message that waits."""

import asyncio
import contextlib
import json
import signal
import socket
import statistics
import time

import pytest
from academy_nginx import ASAN, PATIENCE, Gone, built_with, cpu_seconds, run
from exchange import (
    IDENTITY,
    Client,
    Named,
    body_of,
    deaf,
    left,
    message,
    taken,
    with_worker,
)


@pytest.mark.parametrize("where", ["same", "other"])
def test_woken_at_once(nginx, figures, where):
    """By a put in the same worker, and by one in another."""
    server = nginx(workers=4)

    async def test():
        waiting = await Client.open(server.port)
        here = await waiting.worker()
        sending = await with_worker(
            server.port, lambda pid: (pid == here) == (where == "same"))
        box = await sending.new()
        times = []
        for n in range(200):
            waiting.send_get(box)
            # A moment for it to be parked: the waking is what is measured.
            await asyncio.sleep(0.002)
            start = time.monotonic()
            await sending.put(box, n)
            assert taken(await waiting.answer()) == n
            times.append(time.monotonic() - start)
        return times

    times = run(test())
    median = statistics.median(times)
    figures(f"from put to answer: median {median * 1e3:.2f} ms, "
            f"longest {max(times) * 1e3:.2f} ms")
    assert median < (0.5 if ASAN else 0.05)


def test_timeout(nginx):
    server = nginx(workers=2)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        for timeout in (0.001, 0.3, 1):
            start = time.monotonic()
            answer = await client.get(box, timeout)
            took = time.monotonic() - start
            assert (answer.status, answer.body) == (408, b"Request timeout")
            assert timeout - 0.01 <= took < timeout + (2 if ASAN else 0.3)
        # The connection is as good as before.
        await client.put(box, "after")
        assert taken(await client.get(box, 1)) == "after"

    run(test())


def test_default_timeout_is_the_configured_one(nginx):
    server = nginx(http="academy_listen_timeout 500ms;")

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        start = time.monotonic()
        answer = await client.request("GET", "/message", {"mailbox": box})
        assert answer.status == 408
        assert 0.45 < time.monotonic() - start < (3 if ASAN else 1)
        assert (await client.get(box, 0.6)).status == 400

    run(test())


def test_client_that_goes_away_takes_nothing_with_it(nginx):
    """With a FIN and with a RST, from the same and from another worker: the
    message is for the next one."""
    server = nginx(workers=2)

    async def test():
        sender = await Client.open(server.port)
        there = await sender.worker()
        for leave in (Client.close, Client.reset):
            for wanted in (lambda pid: pid == there,
                           lambda pid: pid != there):
                box = await sender.new()
                leaver = await with_worker(server.port, wanted)
                leaver.send_get(box)
                await leaver.writer.drain()
                leave(leaver)
                await left(leaver)
                # Right behind it: the server may not have noticed yet.
                await sender.put(box, "for the next")
                next_one = await Client.open(server.port)
                assert taken(await next_one.get(box, 10)) == "for the next"
                assert (await next_one.get(box, 0.05)).status == 408
                next_one.close()

    run(test())


def test_client_that_goes_away_from_where_something_is_to_follow(nginx):
    """nginx would redirect its request, and forget that it waits."""
    silent = socket.create_server(("127.0.0.1", 0))
    server = nginx(location="post_action /after;", server="""
        location = /after { proxy_pass http://127.0.0.1:%d; }
    """ % silent.getsockname()[1])

    async def test():
        sender = await Client.open(server.port)
        box = await sender.new()
        before = await sender.worker()
        leaver = await Client.open(server.port)
        leaver.send_get(box)
        await leaver.writer.drain()
        await asyncio.sleep(0.1)
        leaver.close()
        await left(leaver)
        await asyncio.sleep(0.1)
        await sender.put(box, "for the next")
        assert taken(await sender.get(box)) == "for the next"
        assert await sender.worker() == before

    with silent:
        run(test())


def test_poller_that_leaves_with_its_answer_unread(nginx):
    """The answer is large and was begun: its reader has not got it, and it is
    for the next one."""
    server = nginx(workers=2)
    large = "x" * 400_000

    async def test():
        sender = await Client.open(server.port)
        box = await sender.new()
        for n in range(5):
            sock = deaf(server.port, "GET", "/message", box)
            await sender.put(box, [n, large])
            # It has begun to come.
            await asyncio.to_thread(sock.recv, 1, socket.MSG_PEEK)
            sock.close()
            assert taken(await sender.get(box, 5)) == [n, large]

    run(test())


@pytest.mark.parametrize("how", ["half-close", "close", "reset"])
def test_pollers_come_and_go(nginx, figures, how):
    """While messages are put. Who half-closes reads on to the end: then each
    message was read there or is still in the mailbox; it may be both, for nginx
    closes a connection that its client has half closed, and what the client
    acknowledges after that nobody learns. Who closes may have it in a buffer
    that nobody reads any more; what is left is in order then."""
    server = nginx(workers=4)
    count = 100 if ASAN else 500

    async def test():
        sender = await Client.open(server.port)
        box = await sender.new()
        there, left_over = [], []
        over = asyncio.Event()

        async def flicker(n):
            while not over.is_set():
                client = await Client.open(server.port)
                client.send_get(box, 30)
                await asyncio.sleep(0.001 * (n % 5))
                if how == "half-close":
                    client.writer.write_eof()
                    with contextlib.suppress(Gone):
                        there.append(taken(await client.answer()))
                client.reset() if how == "reset" else client.close()
                await left(client)
                n += 1

        flickers = [asyncio.create_task(flicker(n)) for n in range(4)]
        for n in range(count):
            await sender.put(box, n)
        over.set()
        await asyncio.gather(*flickers)
        reader = await Client.open(server.port)
        while (answer := await reader.get(box, 1)).status == 200:
            left_over.append(taken(answer))
        return there, left_over

    there, left_over = run(test())
    doubled = len(set(there) & set(left_over))
    figures(f"{count} messages, {len(left_over)} not taken by those who went, "
            f"{doubled} of them taken all the same")
    assert left_over == sorted(set(left_over))
    if how == "half-close":
        assert set(there) | set(left_over) == set(range(count))
        assert doubled <= count // 20


def test_each_message_to_exactly_one_of_several(nginx):
    server = nginx(workers=4)
    pollers, messages = 20, 400

    async def test():
        sender = await Client.open(server.port)
        box = await sender.new()
        seen = []

        async def poll():
            client = await Client.open(server.port)
            mine = []
            while (body := taken(await client.get(box))) != "last":
                mine.append(body)
                seen.append(body)
            client.close()
            return mine

        tasks = [asyncio.create_task(poll()) for _ in range(pollers)]
        for n in range(messages):
            await sender.put(box, n)
        for _ in tasks:
            await sender.put(box, "last")
        for mine in await asyncio.gather(*tasks):
            assert mine == sorted(mine)
        assert sorted(seen) == list(range(messages))
        assert (await sender.stats(box))["queued"] == 0

    run(test())


def test_all_pollers_hear_of_the_end(nginx):
    server = nginx(workers=4)

    async def test():
        owner = await Client.open(server.port)
        box = await owner.new()
        pollers = [await Client.open(server.port) for _ in range(20)]
        for poller in pollers:
            poller.send_get(box)
        answers = [asyncio.create_task(p.answer()) for p in pollers]
        # One is served, and so the others wait.
        await owner.put(box, 1)
        (served,), waiting = await asyncio.wait(
            answers, return_when=asyncio.FIRST_COMPLETED)
        assert taken(served.result()) == 1
        start = time.monotonic()
        await owner.terminate(box)
        for answer in await asyncio.gather(*waiting):
            assert (answer.status, answer.body) == (419, b"Mailbox was closed")
        assert time.monotonic() - start < (5 if ASAN else 1)
        # Their connections are kept: each may ask again, and hears it again.
        for poller in pollers:
            assert (await poller.get(box, 5)).status == 419

    run(test())


def test_share_withdrawn_from_who_waits(nginx):
    """Who waits by a share hears of its end at once, in all workers; who is
    one of another group, or the owner, waits on."""
    server = nginx(workers=4, http=IDENTITY)
    pollers = 100

    async def test():
        ada = await Named.open(server.port)
        ada.groups = "lab,hall"
        box = await ada.new()
        for group in ("lab", "hall"):
            answer = await ada.request("POST", "/mailbox/share",
                                       {"mailbox": box, "group_id": group})
            assert answer.status == 200
        bobs = []
        for n in range(pollers):
            bob = await Named.open(server.port)
            bob.name, bob.groups = "bob", ["lab", "hall"][n % 2]
            if n % 4 < 2:
                bob.send_get(box)
                bobs.append((bob.groups, asyncio.create_task(bob.answer())))
            else:
                stream = await bob.stream(box)
                bobs.append((bob.groups, asyncio.create_task(stream.next())))
        mine = await Named.open(server.port)
        mine.send_get(box)
        mine_answer = asyncio.create_task(mine.answer())
        await ada.status(box)

        start = time.monotonic()
        answer = await ada.request("DELETE", "/mailbox/share",
                                   {"mailbox": box, "group_id": "lab"})
        assert answer.status == 200
        ended = await asyncio.gather(*(t for g, t in bobs if g == "lab"))
        assert time.monotonic() - start < (5 if ASAN else 1)
        assert sum(e is None for e in ended) == pollers // 4
        assert sum(e is not None and e.status == 403 for e in ended
                   ) == pollers // 4
        assert not any(t.done() for g, t in bobs if g == "hall")
        assert not mine_answer.done()
        await ada.terminate(box)
        got = await asyncio.gather(*(t for g, t in bobs if g == "hall"))
        assert all(g is None or g.status == 419 for g in got)
        assert (await mine_answer).status == 419

    run(test())


def test_message_is_not_for_who_may_no_longer(nginx):
    """Whatever comes first, the message or the news: it stays."""
    server = nginx(workers=2, http=IDENTITY)

    async def test():
        ada = await Named.open(server.port)
        for n in range(50):
            box = await ada.new()
            await ada.request("POST", "/mailbox/share",
                              {"mailbox": box, "group_id": "lab"})
            bob = await Named.open(server.port)
            bob.name = "bob"
            bob.send_get(box)
            await bob.writer.drain()
            await asyncio.sleep(0.002)
            ada.send("DELETE", "/mailbox/share",
                     {"mailbox": box, "group_id": "lab"})
            ada.send("PUT", "/message", {"message": message(box, n, src=box)})
            assert (await ada.answer()).status == 200
            assert (await ada.answer()).status == 200
            assert (await bob.answer()).status == 403
            assert taken(await ada.get(box, 5)) == n
            bob.close()

    run(test())


@pytest.mark.parametrize("method", ["poll", "select"])
def test_other_event_methods(nginx, method):
    """Waking, streams and blocked readers without epoll; and no spinning.
    nginx has these methods only where it was built with them."""
    if f"--with-{method}_module" not in built_with():
        pytest.skip("not in this nginx")
    server = nginx(workers=2, method=method)

    async def test():
        client = await Client.open(server.port)
        boxes = [await client.new() for _ in range(10)]
        pollers = [await Client.open(server.port) for _ in boxes]
        for poller, box in zip(pollers, boxes):
            poller.send_get(box)
        streams = [await (await Client.open(server.port)).stream(box)
                   for box in boxes]
        for n, box in enumerate(boxes):
            await client.put(box, n)
            await client.put(box, n)
        for n, (poller, stream) in enumerate(zip(pollers, streams)):
            assert taken(await poller.answer()) == n
            assert body_of(await stream.next()) == n
        slow = await (await Client.open(server.port)).stream(boxes[0])
        streams[0].close()
        for n in range(20):
            await client.put(boxes[0], [n, "x" * 400_000])
        for n in range(20):
            assert body_of(await slow.next())[0] == n
        before = sum(map(cpu_seconds, server.workers()))
        await asyncio.sleep(1)
        used = sum(map(cpu_seconds, server.workers())) - before
        assert used < 0.1, used

    run(test())


def test_poller_that_acknowledges_nothing(nginx, figures):
    """Its connection gets no more than so many messages, and is told why."""
    server = nginx()
    count, most = 1100, 1024

    async def test():
        sender = await Client.open(server.port)
        box = await sender.new()
        for n in range(count):
            await sender.put(box, n)

        sock = deaf(server.port, "GET", "/message", box)
        with contextlib.closing(sock):
            body = b'{"mailbox": %s}' % json.dumps(box).encode()
            sock.sendall(b"GET /message HTTP/1.1\r\nHost: x\r\n"
                         b"Content-Length: %d\r\n\r\n%s"
                         % (len(body), body) * (count - 1))
            refused = 0
            while not refused or (
                    refused != (await sender.stats(box))["queued"]):
                await asyncio.sleep(0.05)
                refused = server.log().count("exchange refused with 503")

            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
            sock.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=sock)
            reading = Client(server.port, reader, writer)
            answers = [await reading.answer() for _ in range(count)]

        given = [answer for answer in answers if answer.status == 200]
        assert [taken(answer) for answer in given] == [*range(len(given))]
        for answer in answers[len(given):]:
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.body == (b"Too many messages on this connection "
                                   b"are unacknowledged")
        figures(f"{len(given)} of {count} given, {refused} refused")
        # What its socket took unread is acknowledged.
        assert most <= len(given) < count
        assert "out of memory" not in server.log()

    run(test())


@pytest.mark.zone_only("of two workers either may come first")
def test_a_newcomer_waits_behind_who_is_woken(nginx):
    """The message is for the one who waited, though its worker is slow."""
    server = nginx(workers=2)

    async def test():
        one, two = server.workers()
        waits = await with_worker(server.port, lambda w: w == one)
        comes = await with_worker(server.port, lambda w: w == two)
        box = await comes.new()
        waits.send_get(box, 10)
        # A moment for it to be parked.
        await asyncio.sleep(0.05 * PATIENCE)
        server.signal(signal.SIGSTOP, one)
        try:
            await comes.put(box, "for who waited")
            assert (await comes.get(box, 0.3)).status == 408
        finally:
            server.signal(signal.SIGCONT, one)
        assert taken(await waits.answer()) == "for who waited"

    run(test())
