"""A zone that is full."""

import asyncio
import json

import pytest
from academy_nginx import ASAN, run, virtual_bytes
from academy_zone import census
from exchange import Client, body_of, mailbox, message, taken

ROUNDS = 20

zone_only = pytest.mark.zone_only("about a zone's memory")

# The smallest zone that there is.
ZONE = "2m"


async def fill(clients, boxes, body):
    """Puts until there is no room; how many there were."""
    count = 0
    while True:
        n = count % len(boxes)
        answer = await clients[n % len(clients)].try_put(boxes[n], body)
        if answer.status != 200:
            assert answer.status == 503, answer
            assert int(answer.headers["retry-after"]) > 0
            return count
        count += 1


async def drain(client, box, kind="poll"):
    """Receives all that waits; how many there were."""
    queued = (await client.stats(box))["queued"]
    if kind == "poll":
        for _ in range(queued):
            answer = await client.get(box, 10)
            assert answer.status == 200, answer
        return queued
    stream = await (await Client.open(client.port)).stream(box)
    for _ in range(queued):
        await stream.next()
    stream.close()
    return queued


@zone_only
@pytest.mark.parametrize("kind", ["poll", "stream"])
@pytest.mark.parametrize("size", [300, 5000, 100_000])
def test_as_many_fit_each_time(nginx, figures, kind, size):
    """Fill, drain, fill again: nothing leaks, nothing falls to pieces."""
    server = nginx(workers=2, zone=ZONE)
    rounds = ROUNDS // 4 if ASAN else ROUNDS

    async def test():
        clients = [await Client.open(server.port) for _ in range(8)]
        boxes = [await clients[0].new() for _ in range(16)]
        fitted = []
        for _ in range(rounds):
            fitted.append(await fill(clients, boxes, "x" * size))
            drained = 0
            for box in boxes:
                drained += await drain(clients[0], box, kind)
            assert drained == fitted[-1]
        return fitted

    fitted = run(test(), 90)
    figures(f"{fitted[0]} messages of {size} bytes, {rounds} times")
    assert fitted[0] > 10
    assert fitted == [fitted[0]] * rounds


@zone_only
def test_full_zone_serves_on(nginx, figures):
    """With no room left: nothing of what was refused is there, receives,
    deletes, heartbeats and statistics work, and one message out is one in."""
    server = nginx(workers=2, zone=ZONE)

    async def test():
        client = await Client.open(server.port)
        boxes = [await client.new() for _ in range(4)]
        count = await fill([client], boxes, "x" * 1000)
        queued = [(await client.stats(box))["queued"] for box in boxes]
        assert sum(queued) == count
        for box in boxes:
            for method, path in (("POST", "/mailbox/heartbeat"),
                                 ("GET", "/mailbox/heartbeat"),
                                 ("GET", "/mailbox"),
                                 ("GET", "/mailbox/stats")):
                answer = await client.request(method, path, {"mailbox": box})
                assert answer.status == 200, (path, answer)
        # A listener is served with the zone full.
        stream = await (await Client.open(server.port)).stream(boxes[0])
        assert body_of(await stream.next()) == "x" * 1000
        stream.close()
        # Room is made by a receive, and by the end of a mailbox.
        for _ in range(3):
            assert taken(await client.get(boxes[1], 1)) == "x" * 1000
        await client.put(boxes[2], "y" * 1000)
        await client.terminate(boxes[3])
        again = await fill([client], boxes[:1], "x" * 1000)
        assert again >= queued[3] - 2
        figures(f"{count} messages in 2 MB, {again} again after the end of a "
                f"mailbox that held {queued[3]}")

    run(test())


@zone_only
def test_mailboxes_until_full(nginx, figures):
    """Mailboxes fill the zone as well. Those that are there work on."""
    server = nginx(workers=2, zone=ZONE)

    async def test():
        client = await Client.open(server.port)
        boxes = []
        while True:
            box = mailbox()
            answer = await client.request("POST", "/mailbox", {"mailbox": box})
            if answer.status != 200:
                break
            boxes.append(box)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert await client.status(box) == "MISSING"
        figures(f"{len(boxes)} mailboxes in 2 MB, "
                f"{(2 << 20) / len(boxes):.0f} bytes each")
        assert len(boxes) > 1000
        for box in boxes[::50]:
            assert await client.status(box) == "ACTIVE"
            answer = await client.request(
                "POST", "/mailbox/heartbeat", {"mailbox": box})
            assert answer.status == 200
            assert (await client.get(box, 0.001)).status == 408
        # To end one needs no room, and gives none for the id: its gravestone.
        await client.terminate(boxes[0])
        assert await client.status(boxes[0]) == "TERMINATED"

    run(test())


@zone_only
def test_requests_that_nobody_answers(nginx, figures):
    """What the exchange remembers of a request ends with its answer, or with
    the mailbox."""
    server = nginx(workers=2, zone=ZONE)

    async def test():
        client = await Client.open(server.port)
        asker = await client.create(mailbox("user"))
        fitted = []
        for n in range(6):
            agent = await client.new()
            count = 0
            requests = []
            while True:
                text = message(agent, count, src=asker, kind="request")
                answer = await client.request(
                    "PUT", "/message", {"message": text})
                if answer.status == 503:
                    break
                requests.append(json.loads(text)["header"]["tag"])
                count += 1
            fitted.append(count)
            # Taken in, they are remembered still.
            assert await drain(client, agent) == count
            stats = await client.stats(agent)
            assert (stats["in_progress"], stats["queued"]) == (count, 0)
            # The end of the agent answers them all: there has to be room for
            # that too, and the asker reads each.
            await client.terminate(agent)
            answered = set()
            for _ in requests:
                text = (await client.get(asker, 10)).json()["message"]
                answered.add(json.loads(text)["header"]["tag"])
                assert body_of(text)["error_code"] == 0
            assert answered == set(requests)
        return fitted

    fitted = run(test(), 90)
    figures(f"requests that fit: {fitted}")
    # Each round leaves one gravestone.
    assert min(fitted) >= max(fitted) * 0.98


@zone_only
def test_refused_put_wakes_nobody(nginx):
    """A put that finds no room leaves the listener parked and the order as it
    was."""
    server = nginx(workers=2, zone=ZONE)

    async def test():
        client = await Client.open(server.port)
        full, quiet = await client.new(), await client.new()
        stream = await (await Client.open(server.port)).stream(quiet)
        await fill([client], [full], "x" * 1000)
        answer = await client.try_put(quiet, "y" * 100_000)
        assert answer.status == 503
        await drain(client, full)
        await client.put(quiet, "z")
        async with asyncio.timeout(5):
            assert body_of(await stream.next()) == "z"

    run(test())


@pytest.mark.skipif(bool(ASAN), reason="freed memory stays in its quarantine")
def test_waiting_requests_without_a_length(nginx, figures):
    """nginx takes the longest body's room for each; who waits does not keep
    it."""
    server = nginx(workers=1)
    pollers = 200

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        (worker,) = server.workers()
        before = virtual_bytes(worker)
        body = json.dumps({"mailbox": box}).encode()
        parked = []
        for _ in range(pollers):
            poller = await Client.open(server.port)
            # a body that came with the header stays in the header's buffer
            poller.writer.write(
                b"GET /message HTTP/1.1\r\nHost: x\r\n"
                b"Expect: 100-continue\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n")
            assert b" 100 " in await poller.reader.readuntil(b"\r\n\r\n")
            poller.writer.write(
                b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            parked.append(poller)
        await client.status(box)
        each = (virtual_bytes(worker) - before) / pollers
        figures(f"{each / 1024:.1f} KiB of address space for each")
        assert each < 64 * 1024
        for poller in parked:
            poller.close()

    run(test())


@zone_only
def test_full_while_senders_go_on(nginx, figures):
    """Senders go on while nobody receives, until each has been refused, and
    are served when the receivers return. What was acknowledged comes, once and
    in order, what was refused does not, and no memory is lost."""
    server = nginx(workers=2, zone=ZONE)
    rounds = 3 if ASAN else 10
    sizes = (10, 300, 5000, 60_000)
    refused = 0

    async def send(box, sender, least):
        """Until it was refused and then accepted so many times more."""
        nonlocal refused
        client = await Client.open(server.port)
        number, more = 0, None
        while more is None or more < least:
            size = sizes[(sender + number) % len(sizes)]
            answer = await client.try_put(box, [sender, number, "x" * size])
            if answer.status == 200:
                number += 1
                more = more and more + 1
                continue
            assert answer.status == 503, answer
            assert int(answer.headers["retry-after"]) > 0
            refused += 1
            more = more or 1
            await asyncio.sleep(0.01)
        client.close()
        return number

    async def receive(box, found, stream):
        client = await Client.open(server.port)
        try:
            if stream:
                events = await client.stream(box)
                while True:
                    found.append(body_of(await events.next())[:2])
            while True:
                found.append(taken(await client.get(box))[:2])
        finally:
            # Or it would take messages of the next round.
            client.close()

    async def one_round(boxes):
        senders = [asyncio.create_task(send(boxes[n % len(boxes)], n, 30))
                   for n in range(2 * len(boxes))]
        # One of them cannot go on: it waits for room.
        until = refused + 10
        while refused < until:
            await asyncio.sleep(0.01)
        found = [[] for _ in boxes]
        receivers = [asyncio.create_task(receive(box, found[n], n % 2))
                     for n, box in enumerate(boxes)]
        sent = await asyncio.gather(*senders)
        async with asyncio.timeout(30):
            while sum(map(len, found)) < sum(sent):
                await asyncio.sleep(0.01)
        for receiver in receivers:
            receiver.cancel()
        await asyncio.wait(receivers)
        for n, came in enumerate(found):
            for sender in (n, n + len(boxes)):
                assert [number for who, number in came if who == sender
                        ] == list(range(sent[sender]))
        return sum(sent)

    async def empty(boxes):
        """The memory that is free when nobody waits for anything."""
        client = await Client.open(server.port)
        for box in boxes:
            assert (await client.get(box, 0.001)).status == 408
        client.close()
        return census(server.process.pid, ZONE)

    async def test():
        client = await Client.open(server.port)
        boxes = [await client.new() for _ in range(4)]
        before = await empty(boxes)
        sent = 0
        for _ in range(rounds):
            sent += await one_round(boxes)
        # The last receivers' connections are gone when nothing is held.
        async with asyncio.timeout(10):
            while await empty(boxes) != before:
                await asyncio.sleep(0.05)
        figures(f"full {rounds} times, {refused} puts refused; {sent} "
                f"acknowledged and delivered, 0 lost, 0 doubled; "
                f"{before['free']} pages free before and after")

    run(test(), 90)
