"""What mailboxes, callers that wait, and messages take of the memory.

ACADEMY_FOOTPRINT    the zone's size; `make memory` has one of 64m
"""

import asyncio
import itertools
import json
import os
import uuid

import pytest
from academy_nginx import ASAN, resident_bytes, run
from academy_zone import PAGE, bytes_of, census
from exchange import Client, mailbox

ZONE = os.environ.get("ACADEMY_FOOTPRINT", "8m")

pytestmark = [
    pytest.mark.zone_only("about a zone's memory"),
    pytest.mark.skipif(bool(ASAN), reason="it is the same, and slow")]

# Of the zone, in a hundredth: what messages of a size are when no more fit.
LEAST = {200: 30, 2048: 75, 500_000: 70}
if ZONE != "8m":
    LEAST[500_000] = 90


def of_size(size: int, src: str, dest: str, kind: str) -> str:
    """A message whose own JSON has so many bytes; 200 are about the fewest
    that one can have."""
    ids = [json.loads(box)["uid"] for box in (src, dest)]
    text = ('{"header":{"src":{"uid":"%s"},"dest":{"uid":"%s"},"tag":"%s",'
            '"kind":"%s"},"body":"' % (*ids, uuid.uuid4(), kind))
    return text + "x" * (size - len(text) - 2) + '"}'


async def ask(client: Client, method: str, path: str, bodies) -> int:
    """Many requests, some of them on their way at a time, until one is refused
    for lack of memory; how many were not."""
    bodies, done = iter(bodies), 0
    while some := list(itertools.islice(bodies, 64)):
        for body in some:
            client.send(method, path, body)
        found = [(await client.answer()).status for _ in some]
        assert set(found) <= {200, 503}, found
        done += found.count(200)
        if 503 in found:
            break
    return done


def free(server) -> int:
    return PAGE * census(server.process.pid, ZONE)["free"]


def test_mailboxes(nginx, figures):
    server = nginx(workers=1, zone=ZONE)
    count = 4000

    async def test():
        client = await Client.open(server.port)
        taken = {}
        # the first of each begins a page
        for name, role, classes in (
            ("a user", "user", ""),
            ("an agent", "agent", "lab.agents.Simulation,academy.agent.Agent")):
            boxes = [{"mailbox": mailbox(role)} for _ in range(count)]
            before = free(server)
            made = await ask(client, "POST", "/mailbox",
                             (box | {"agent": classes} if classes else box
                              for box in boxes))
            assert made == count
            taken[name] = (before - free(server)) / count
        before = free(server)
        await ask(client, "DELETE", "/mailbox", boxes)
        await asyncio.sleep(0.1)
        taken["a gravestone"] = taken["an agent"] - (free(server) - before
                                                     ) / count
        return taken

    taken = run(test())
    for name, each in taken.items():
        figures(f"{name}: {each:.0f} bytes of the zone")
    assert taken["a user"] < 300
    assert taken["an agent"] < 400


def test_callers_that_wait(nginx, figures):
    """Streams are measured by `make streams`, by the ten thousands."""
    server = nginx(workers=2, zone=ZONE, connections=4000)
    count = 1000

    async def test():
        client = await Client.open(server.port)
        boxes = [mailbox() for _ in range(count)]
        await ask(client, "POST", "/mailbox", ({"mailbox": b} for b in boxes))
        before = free(server)
        own = sum(map(resident_bytes, server.workers()))
        found, polls = [], []
        for _ in range(3):
            for box in boxes:
                polls.append(await Client.open(server.port))
                polls[-1].send_get(box, 60)
            await client.stats(boxes[0])
            await asyncio.sleep(0.1)
            found.append(before - free(server))
            if len(polls) == count:
                own = sum(map(resident_bytes, server.workers())) - own
        for poll in polls:
            poll.close()
        return found[0] / count, found[-1] / count, own / count

    first, all_, own = run(test())
    figures(f"of the zone, for a mailbox at which one waits: {first:.0f} bytes "
            f"more; at which three do, with one worker or two: {all_:.0f}; a "
            f"poll has {own / 1024:.1f} KiB of its worker")
    assert first < 8
    assert all_ <= 64


@pytest.mark.parametrize("kind", ["response", "request"])
@pytest.mark.parametrize("size", LEAST)
def test_messages(nginx, figures, size, kind):
    """Until no more fit. A request is remembered until it is answered: that
    is counted, and so are the tables and the reserve."""
    server = nginx(workers=1, zone=ZONE)

    async def test():
        client = await Client.open(server.port)
        box, asker = await client.new(), await client.new()
        before = free(server)
        count = await ask(client, "PUT", "/message",
                          ({"message": of_size(size, asker, box, kind)}
                           for _ in itertools.count()))
        assert (await client.stats(box))["queued"] == count
        return count, (before - free(server)) / count

    count, each = run(test(), 100)
    share = 100 * count * size / bytes_of(ZONE)
    figures(f"{count} {kind}s of {size} bytes in {ZONE}: {each:.0f} bytes "
            f"each, {100 * size / each:.0f} % of that, and {share:.0f} % of "
            "the zone, are messages")
    assert share >= LEAST[size]
