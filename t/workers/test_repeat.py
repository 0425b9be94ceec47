"""A message that comes again is stored once, whichever worker it comes to."""

import asyncio
import json

import pytest
from academy_nginx import run
from exchange import Client, mailbox, message, taken, with_worker

# Rounds, and how long the messages are. The copy of a large one takes so long
# that others begin theirs meanwhile.
@pytest.mark.parametrize("rounds, size", [(30, 10), (10, 4_000_000)],
                         ids=["small", "large"])
def test_at_several_workers_at_once(nginx, figures, rounds, size):
    server = nginx(workers=4, zone="64m",
                   location="academy_message_size 5m;")

    async def test():
        clients = [await with_worker(server.port, lambda pid, w=w: pid == w)
                   for w in server.workers()]
        box = await clients[0].new()
        for n in range(rounds):
            text = message(box, [n, "x" * size], kind="request")
            body = json.dumps({"message": text}).encode()
            head = (b"PUT /message HTTP/1.1\r\nHost: x\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(body))
            for c in clients:
                c.writer.write(head + body[:-1])
            await asyncio.gather(*(c.writer.drain() for c in clients))
            await asyncio.sleep(0.1 if size > 1000 else 0)
            for c in clients:
                c.writer.write(body[-1:])
            answers = await asyncio.gather(*(c.answer() for c in clients))
            assert [a.status for a in answers] == [200] * 4
            # And again, when it has been received.
            assert taken(await clients[n % 4].get(box))[0] == n
            answer = await clients[n % 3].request("PUT", "/message", body)
            assert answer.status == 200
        stats = await clients[0].stats(box)
        figures(f"{5 * rounds} puts acknowledged, {stats['incoming']} stored")
        assert (stats["incoming"], stats["queued"]) == (rounds, 0)

    run(test())


def test_after_a_reload(nginx):
    server = nginx(workers=2)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        body = {"message": message(box, "once")}
        assert (await client.request("PUT", "/message", body)).status == 200
        await asyncio.to_thread(server.reload)
        client = await Client.open(server.port)
        assert (await client.request("PUT", "/message", body)).status == 200
        assert (await client.stats(box))["queued"] == 1

    run(test())


@pytest.mark.zone_only("about a zone's memory")
def test_more_than_are_remembered(nginx, figures):
    """The memory does not grow: the latest are known, the oldest are not."""
    server = nginx(workers=1, zone="2m",
                   location="keepalive_requests 100000;")
    count, latest = 8000, 500

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        src = mailbox("user")
        bodies = [json.dumps({"message": message(box, n, src=src)}).encode()
                  for n in range(count)]

        async def put(body):
            answer = await client.request("PUT", "/message", body)
            assert answer.status == 200

        for body in bodies:
            await put(body)
            assert (await client.get(box)).status == 200

        async def again(some):
            for body in some:
                await put(body)
            stored = (await client.stats(box))["queued"]
            for _ in range(stored):
                assert (await client.get(box)).status == 200
            return stored

        late = await again(bodies[-latest:])
        early = await again(bodies[:latest])
        figures(f"of {count} messages in a zone of 2m, {latest} again: "
                f"{late} of the last and {early} of the first stored twice")
        assert late <= latest * 0.02
        assert early >= latest * 0.8

    run(test())
