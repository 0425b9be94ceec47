"""A message that comes again is stored once, whichever worker it comes to."""

import asyncio
import json

import pytest
from academy_nginx import run
from exchange import Client, body_of, mailbox, message, with_worker

ROUNDS = 30


@pytest.mark.parametrize("size", [10, 200_000])
def test_at_several_workers_at_once(nginx, figures, size):
    server = nginx(workers=4, zone="16m")

    async def test():
        clients = [await with_worker(server.port, lambda pid, w=w: pid == w)
                   for w in server.workers()]
        box = await clients[0].new()
        for n in range(ROUNDS):
            text = message(box, [n, "x" * size], kind="request")
            body = json.dumps({"message": text}).encode()
            answers = await asyncio.gather(*(
                c.request("PUT", "/message", body) for c in clients))
            assert [a.status for a in answers] == [200] * 4
            # And again, when it has been received.
            text = (await clients[n % 4].get(box)).json()["message"]
            assert body_of(text)[0] == n
            answer = await clients[n % 3].request("PUT", "/message", body)
            assert answer.status == 200
        stats = await clients[0].stats(box)
        figures(f"{5 * ROUNDS} puts acknowledged, {stats['incoming']} stored")
        assert (stats["incoming"], stats["queued"]) == (ROUNDS, 0)

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
