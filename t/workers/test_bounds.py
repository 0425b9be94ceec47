"""What a mailbox and a client may have, with several workers; and that a zone
which is filled up to them, or to its end, again and again, loses nothing."""

import asyncio
import json
import random
import signal

import pytest
from academy_nginx import ASAN, PATIENCE, run
from academy_zone import census
from exchange import (IDENTITY, Client, Named, body_of, mailbox, message,
                      taken, with_worker)
from test_delivery import Listener

ROUNDS = 3 if ASAN else 12


async def accepted(client: Client, box: str, body, tries: int) -> int:
    """How many of so many puts the mailbox takes."""
    count = 0
    for _ in range(tries):
        answer = await client.try_put(box, body)
        if answer.status == 200:
            count += 1
        else:
            assert answer.status == 429, answer
            assert answer.headers["retry-after"] == "1"
    return count


async def settled(server, size: str, wanted: dict) -> dict[str, int]:
    """The zone's memory, once it is as it was: the last messages go when
    their receiver has acknowledged them."""
    for _ in range(100 * PATIENCE):
        try:
            found = census(server.workers()[0], size)
        except AssertionError:
            # it was changed under the eyes of who looked
            found = None
        if found == wanted:
            break
        await asyncio.sleep(0.05)
    return found


@pytest.mark.parametrize("size", [10, 9000], ids=["small", "large"])
def test_many_senders_at_once(nginx, figures, size):
    """Not one more than the bound, whichever worker they come from."""
    bound = 100
    server = nginx(workers=4, location=f"academy_mailbox_messages {bound};")

    async def test():
        clients = [await Client.open(server.port) for _ in range(32)]
        box, other = await clients[0].new(), await clients[0].new()
        for _ in range(3):
            counts = await asyncio.gather(*(
                accepted(client, box, "x" * size, 20) for client in clients))
            stats = await clients[0].stats(box)
            figures(f"{sum(counts)} of {32 * 20} accepted, "
                    f"{stats['queued']} queued")
            assert sum(counts) == stats["queued"] == bound
            # Nobody else is held up.
            await clients[1].put(other, "y")
            for _ in range(bound):
                taken(await clients[2].get(box, 5))

    run(test())


def test_large_ones_at_the_same_moment(nginx, figures):
    """While they are copied none of them counts, and one at most may stay."""
    server = nginx(workers=4, location="""
        academy_message_size 5m;
        academy_mailbox_messages 1;""")
    rounds = 10

    async def test():
        clients = [await with_worker(server.port, lambda pid, w=w: pid == w)
                   for w in server.workers()]
        box = await clients[0].new()
        refused = 0
        for _ in range(rounds):
            bodies = [json.dumps({
                "message": message(box, "x" * 4_000_000)}).encode()
                for _ in clients]
            for client, body in zip(clients, bodies):
                client.writer.write(
                    b"PUT /message HTTP/1.1\r\nHost: x\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(body), body[:-1]))
            await asyncio.gather(*(c.writer.drain() for c in clients))
            await asyncio.sleep(0.1)
            for client, body in zip(clients, bodies):
                client.writer.write(body[-1:])
            answers = await asyncio.gather(*(c.answer() for c in clients))
            assert sorted(a.status for a in answers) == [200, 429, 429, 429]
            refused += 3
            taken(await clients[0].get(box, 5))
            # it is gone when that connection asks again
            async with asyncio.timeout(5 * PATIENCE):
                while (await clients[0].try_put(box, "y")).status != 200:
                    await asyncio.sleep(0.01)
            taken(await clients[0].get(box, 5))
            await clients[0].stats(box)
        figures(f"{rounds} of {rounds + refused} accepted")

    run(test())


def test_bytes_of_many_senders(nginx, figures):
    bound = 200_000
    server = nginx(workers=4, location=f"""
        academy_message_size 100k;
        academy_mailbox_bytes {bound};""")

    async def test():
        clients = [await Client.open(server.port) for _ in range(16)]
        box = await clients[0].new()
        dice = random.Random(1)
        sizes = [dice.choice((10, 900, 5000, 60_000)) for _ in clients]
        for _ in range(3):
            await asyncio.gather(*(
                accepted(client, box, "x" * size, 30)
                for client, size in zip(clients, sizes)))
            held = 0
            for _ in range((await clients[0].stats(box))["queued"]):
                answer = await clients[0].get(box, 5)
                held += len(answer.json()["message"].encode())
            figures(f"{held} of {bound} bytes")
            # Less than the smallest message fits in still.
            assert bound - 400 < held <= bound

    run(test())


def test_mailboxes_of_many_creators(nginx, figures):
    bound = 50
    server = nginx(workers=4, location=IDENTITY
                   + f"academy_client_mailboxes {bound};")

    async def create(client):
        count = 0
        for n in range(10):
            box = mailbox()
            answer = await client.request("POST", "/mailbox", {
                "mailbox": box, "agent": "a.B,a.C"})
            if answer.status == 200:
                count += 1
                if n % 2:
                    await client.terminate(box)
            else:
                assert answer.status == 429, answer
                assert answer.headers["retry-after"] == "1"
                assert await client.status(box) == "MISSING"
        return count

    async def test():
        for name in ("ada", "bob"):
            clients = [await Named.open(server.port) for _ in range(16)]
            for client in clients:
                client.name = name
            counts = await asyncio.gather(*(map(create, clients)))
            figures(f"{name}: {sum(counts)} of {16 * 10} created")
            assert sum(counts) == bound

    run(test())


@pytest.mark.parametrize("end", ["close", "kill"])
def test_what_is_on_its_way_counts(nginx, figures, end):
    """A receiver that takes messages and does not acknowledge them keeps them
    in the mailbox's account, until they are back, or gone."""
    bound = 40
    server = nginx(workers=2, location=f"academy_mailbox_messages {bound};")

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        listener = Listener(server.port, box)
        await client.put(box, "first")
        assert await asyncio.to_thread(listener.some) == ["first"]
        listener.deafen()
        await asyncio.sleep(0.2)
        # Requests: of a killed worker's responses those that were written are
        # taken for delivered.
        for n in range(bound):
            await client.put(box, n, kind="request")
        async with asyncio.timeout(5 * PATIENCE):
            while (queued := (await client.stats(box))["queued"]) > bound / 2:
                await asyncio.sleep(0.05)
        figures(f"{bound - queued} of {bound} on their way")
        assert await accepted(client, box, "more", 5) == 0

        # They return, and are there as before.
        if end == "close":
            listener.close()
        else:
            server.expect(r"exited on signal 9")
            for worker in server.workers():
                server.signal(signal.SIGKILL, worker)
                await asyncio.sleep(1.5)
            client = await with_worker(server.port, lambda pid: True)
        async with asyncio.timeout(5 * PATIENCE):
            while (await client.stats(box))["queued"] != bound:
                await asyncio.sleep(0.05)
        assert await accepted(client, box, "more", 5) == 0
        for n in range(bound):
            assert taken(await client.get(box, 5)) == n
        await client.stats(box)
        assert await accepted(client, box, "again", bound + 5) == bound

    run(test())


@pytest.mark.parametrize("bound", [2, 4, 40, 400])
@pytest.mark.parametrize("what", ["messages", "bytes"])
@pytest.mark.parametrize("where", ["", "/free"])
def test_what_a_stream_has_leaves_room(nginx, figures, what, bound, where):
    """Messages on a stream are settled some at a time, but not where a few of
    them are much of what the mailbox may hold, wherever they are put."""
    size = 1024
    limit = bound if what == "messages" else bound * size
    server = nginx(location=f"""
        academy_message_size {size};
        academy_mailbox_{what} {limit};""",
                   server="location /free/ { academy_exchange exchange; }")

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        stream = await (await Client.open(server.port)).listen(
            {"mailbox": box}, where + "/mailbox/listen")
        refused = 0
        for n in range(500):
            answer = await client.try_put(box, f"{n:0400}")
            if answer.status == 200:
                assert body_of(await stream.next()) == f"{n:0400}"
            else:
                refused += 1
        figures(f"{refused} of 500 refused, one at a time")
        assert refused == 0

    run(test())


async def fill_round(server, clients, boxes, answers, dice) -> int:
    """Messages, requests and their answers until there is no room for them,
    and all of them taken out again. How many there were."""
    count, refused = 0, 0
    while refused < 20:
        n = dice.randrange(len(boxes))
        body = "x" * dice.choice((10, 700, 3000, 20_000, 90_000))
        answer = await clients[n % len(clients)].try_put(
            boxes[n], body, src=dice.choice(boxes),
            kind=dice.choice(("request", "response")))
        count += answer.status == 200
        refused += answer.status != 200
        assert answer.status in (200, 429, 503), answer
        assert answer.status == 200 or answer.headers["retry-after"] == "1"

    for n, box in enumerate(boxes):
        queued = (await clients[0].stats(box))["queued"]
        if n % 2:
            stream = await (await Client.open(server.port)).stream(box)
            texts = [await stream.next() for _ in range(queued)]
            stream.close()
        else:
            texts = [(await clients[1].get(box, 10)).json()["message"]
                     for _ in range(queued)]
        for text in texts:
            header = json.loads(text)["header"]
            if header["kind"] == "request":
                # It is remembered until it is answered.
                reply = json.loads(message(
                    answers, "", src=json.dumps(header["dest"])))
                reply["header"]["tag"] = header["tag"]
                answer = await clients[0].request(
                    "PUT", "/message", {"message": json.dumps(reply)})
                assert answer.status == 200, answer
                assert taken(await clients[0].get(answers, 10)) == ""
    return count


@pytest.mark.parametrize("bounds", [
    pytest.param("", id="zone", marks=pytest.mark.zone_only(
        "about a zone's memory")),
    pytest.param("academy_mailbox_messages 30;", id="bounds")])
def test_full_again_and_again(nginx, figures, bounds):
    """Each page and each block of the zone is free again, every time."""
    size = "4m"
    server = nginx(workers=2, zone=size, location=bounds)

    async def test():
        clients = [await Client.open(server.port) for _ in range(4)]
        boxes = [await clients[0].new() for _ in range(10)]
        answers = await clients[0].new()
        empty = census(server.workers()[0], size)
        total = 0
        for n in range(ROUNDS):
            total += await fill_round(
                server, clients, boxes, answers, random.Random(n))
            assert await settled(server, size, empty) == empty
        figures(f"{ROUNDS} times full, {total} messages, "
                f"{empty.get('free')} of 1024 pages free each time")

    run(test(), 100)


@pytest.mark.zone_only("about a zone's memory")
def test_full_census_sees_a_leak(nginx):
    """The test of the test: one message more is one block more."""
    server = nginx(workers=1, zone="2m")

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        empty = census(server.workers()[0], "2m")
        await client.put(box, "x" * 100)
        full = census(server.workers()[0], "2m")
        assert full["512"] == empty["512"] + 1
        taken(await client.get(box))
        assert await settled(server, "2m", empty) == empty

    run(test())


def test_creating_leaves_the_reserve(nginx, figures):
    """A mailbox takes many pages where its classes are many and new."""
    server = nginx(workers=1, zone="2m")

    async def test():
        client = await Client.open(server.port)
        free = census(server.workers()[0], "2m")["free"]
        for n in range(100):
            box = mailbox()
            classes = ",".join(f"a.{n}x{i}".ljust(1000, "x")
                               for i in range(60))
            answer = await client.request("POST", "/mailbox", {
                "mailbox": box, "agent": classes})
            if answer.status != 200:
                break
        assert answer.status == 503 and answer.headers["retry-after"] == "1"
        assert await client.status(box) == "MISSING"
        await asyncio.sleep(0.2)
        left = census(server.workers()[0], "2m")["free"]
        figures(f"{n} created, {left} of {free} pages are left")
        assert left >= max(free // 32, 8)

    run(test())
