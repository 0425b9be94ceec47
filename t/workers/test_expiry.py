"""What nobody asks for goes after its time: messages, open requests, mailboxes
and gravestones. Times are short here, and so are never met to the second."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from academy_nginx import ASAN, PATIENCE, run
from academy_zone import census
from exchange import IDENTITY, Client, Named, mailbox, message, taken, until
from test_bounds import settled
from test_delivery import Listener, Poller

SHORT = "academy_message_expiry 1s; academy_gravestone_expiry 0;"
GRAVE = "academy_message_expiry 0; academy_gravestone_expiry 1s;"
BOTH = "academy_message_expiry 1s; academy_gravestone_expiry 1s;"

# When it is over: the clock's steps, the marks' and the timer's, a second each.
LATE = 4


async def queued(client: Client, box: str) -> int:
    return (await client.stats(box))["queued"]


@pytest.mark.zone_only("the messages of a mailbox expire together")
@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "large"])
def test_messages(nginx, figures, size):
    """Not before their time, soon after, and the older ones first."""
    server = nginx(workers=2, zone="4m",
                   http="academy_message_expiry 2s;")

    async def test():
        client = await Client.open(server.port)
        boxes = [await client.new() for _ in range(3)]
        empty = census(server.workers()[0], "4m")
        for box in boxes:
            for _ in range(2):
                await client.put(box, "x" * size)
        await asyncio.sleep(1.5)
        later = time.monotonic()
        for box in boxes:
            await client.put(box, "y" * size)
        ages = []
        for left in (1, 0):
            for box in boxes:
                async def so_few():
                    return await queued(client, box) <= left
                await until(so_few)
            ages.append(time.monotonic())
        figures(f"the older ones went {ages[1] - ages[0]:.1f} s before those "
                "that came 1.5 s later")
        assert ages[1] - later >= 2
        for box in boxes:
            assert (await client.get(box, 0.01)).status == 408
        assert await settled(server, "4m", empty) == empty
        # The mailbox takes and gives as before.
        await client.put(boxes[0], "again")
        assert taken(await client.get(boxes[0], 1)) == "again"

    run(test())


def test_how_late(nginx, figures):
    """The age at which each of many messages goes."""
    server = nginx(workers=2, http=SHORT)

    async def test():
        client = await Client.open(server.port)
        ages = []
        put = {}
        for _ in range(20):
            box = await client.new()
            await client.put(box, "x")
            put[box] = time.monotonic()
            await asyncio.sleep(0.09)
        while put:
            for box in list(put):
                if await queued(client, box) == 0:
                    ages.append(time.monotonic() - put.pop(box))
            await asyncio.sleep(0.01)
        figures(f"1 s: {min(ages):.2f} to {max(ages):.2f} s")
        assert 1 <= min(ages) and max(ages) < 3 * LATE * PATIENCE

    run(test())


def test_many_at_once(nginx, figures):
    """More than one section may do, of which some have many pieces; and
    meanwhile others are served."""
    server = nginx(workers=2, zone="64m", http=SHORT)

    async def test():
        client = await Client.open(server.port)
        box, other = await client.new(), await client.new()
        empty = census(server.workers()[0], "64m")
        count = 500 if ASAN else 3000
        for n in range(count):
            client.send("PUT", "/message", {
                "message": message(box, "x" * (100_000 if n % 20 == 0
                                               else 100))})
            assert (await client.answer()).status == 200
        slowest = 0

        async def gone():
            nonlocal slowest
            began = time.monotonic()
            await client.put(other, "x")
            taken(await client.get(other))
            slowest = max(slowest, time.monotonic() - began)
            return await queued(client, box) == 0

        await until(gone, 20)
        figures(f"{count} messages; meanwhile a put and get took at most "
                f"{slowest * 1000:.1f} ms")
        assert await settled(server, "64m", empty) == empty

    run(test())


@pytest.mark.zone_only("keys expire by themselves, renewed now and then")
def test_leased_ones_stay(nginx, figures):
    """What is on its way is not gone; it expires when it has returned."""
    server = nginx(workers=2, http=BOTH)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        listener = Listener(server.port, box)
        await client.put(box, "first")
        assert await asyncio.to_thread(listener.some) == ["first"]
        listener.deafen()
        for n in range(10):
            await client.put(box, n)

        async def on_its_way():
            return await queued(client, box) == 0

        await until(on_its_way)
        # At this one nobody waits: there is only what is on its way.
        polled = await client.create(mailbox(), "a.Polled")
        poller = Poller(server.port, polled)
        await asyncio.sleep(0.1)
        poller.deafen()
        await client.put(polled, "x")
        await asyncio.sleep(LATE)

        async def polled_is_there():
            answer = await client.request("GET", "/discover", {
                "agent": "a.Polled", "allow_subclasses": False})
            return answer.json()["agent_ids"] != ""

        assert await polled_is_there()
        poller.close()
        # The host wakes up: TCP sends it all again.
        sock = listener.raw
        sock.setsockopt(1, 27, bytes(4))              # SO_DETACH_FILTER
        found = []
        while len(found) < 10:
            found += await asyncio.to_thread(listener.some)
        assert found == list(range(10))

        listener.deafen()
        for n in range(10):
            await client.put(box, n)
        await until(on_its_way)
        listener.close()
        await asyncio.sleep(LATE)
        assert await client.status(box) == "MISSING"
        assert not await polled_is_there()
        figures("10 messages were delivered after 4 times their time, 10 that "
                "returned are gone with their mailbox")

    run(test())


def test_open_requests(nginx):
    """A request that its agent took and never answered is forgotten."""
    server = nginx(workers=2, zone="4m", http=SHORT)

    async def test():
        client = await Client.open(server.port)
        asker, agent = await client.new(), await client.new()
        empty = census(server.workers()[0], "4m")
        for _ in range(200):
            await client.put(agent, "?", src=asker, kind="request")
        for _ in range(100):
            taken(await client.get(agent))
        stats = await client.stats(agent)
        assert (stats["incoming"], stats["in_progress"]) == (200, 100)

        async def forgotten():
            return (await client.stats(agent))["incoming"] == 0

        await until(forgotten)
        assert await settled(server, "4m", empty) == empty
        # So there is nothing to tell the asker of.
        await client.terminate(agent)
        assert (await client.get(asker, 0.2)).status == 408

    run(test())


@pytest.mark.zone_only("requests are put back in a zone only")
def test_kept_requests(nginx):
    """What is kept for an agent that may come again goes with its request."""
    server = nginx(workers=2, zone="8m", http=SHORT,
                   location="academy_redeliver on;")

    async def test():
        client = await Client.open(server.port)
        asker, agent = await client.new(), await client.new()
        empty = census(server.workers()[0], "8m")
        for n in range(60):
            await client.put(agent, "x" * (50_000 if n % 2 else 10),
                             src=asker, kind="request")
            taken(await client.get(agent))
        assert (await client.stats(agent))["in_progress"] == 60
        assert await settled(server, "8m", empty) == empty
        assert (await client.stats(agent))["incoming"] == 0

    run(test())


@pytest.mark.zone_only("keys expire by themselves, renewed now and then")
def test_the_first_request(nginx):
    """It is as new as any other, though the order begins with it."""
    server = nginx(workers=2, http="academy_message_expiry 100s;"
                                   "academy_gravestone_expiry 1s;")

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        await client.put(box, "?", src=box, kind="request")
        for _ in range(30):
            await asyncio.sleep(0.1)
            assert (await client.stats(box))["incoming"] == 1

    run(test())


def test_notices_go_too(nginx):
    server = nginx(workers=2, zone="4m", http=SHORT)

    async def test():
        client = await Client.open(server.port)
        asker, agent = await client.new(), await client.new()
        empty = census(server.workers()[0], "4m")
        for _ in range(10):
            await client.put(agent, "?", src=asker, kind="request")
        await client.terminate(agent)
        assert await queued(client, asker) == 10

        async def gone():
            return await queued(client, asker) == 0

        await until(gone)
        assert await settled(server, "4m", empty) == empty

    run(test())


def test_gravestones(nginx, figures):
    """Terminated, and after its time as if it had never been: for its client's
    account, for the zone's memory and for who creates it again."""
    server = nginx(workers=2, zone="4m", http=GRAVE, location=IDENTITY + """
        academy_client_mailboxes 20;""")

    async def test():
        ada, bob = [await Named.open(server.port) for _ in range(2)]
        ada.groups = bob.groups = "lab"
        bob.name = "bob"
        empty = census(server.workers()[0], "4m")
        boxes = []
        for n in range(20):
            boxes.append(await ada.create(mailbox(), f"a.B,a.C{n}"))
            await ada.request("POST", "/mailbox/share", {
                "mailbox": boxes[-1], "group_id": "lab"})
            await ada.put(boxes[-1], "?", src=boxes[0], kind="request")
        answer = await ada.request("POST", "/mailbox", {"mailbox": mailbox()})
        assert answer.status == 429, answer
        for box in boxes:
            await ada.terminate(box)
        assert await ada.status(boxes[0]) == "TERMINATED"

        async def gone():
            return await bob.status(boxes[0]) == "MISSING"

        age = await until(gone)
        figures(f"1 s: gone after {age:.2f} s")
        # Redis has its own clock for it, which began a moment before.
        assert 0.9 <= age < 3 * LATE * PATIENCE
        assert await settled(server, "4m", empty) == empty

        # The id is free again, for others too.
        assert await bob.create(boxes[0])
        await bob.put(boxes[0], "x")
        assert taken(await bob.get(boxes[0])) == "x"
        # On Redis a client's gravestones are counted again a second later.
        for _ in range(20):
            box = mailbox()

            async def created():
                return (await ada.request("POST", "/mailbox", {
                    "mailbox": box})).status == 200

            await until(created, 2)

    run(test())


def test_create_and_terminate_for_ever(nginx, figures):
    """A client within its bound cannot fill the zone, and may go on."""
    server = nginx(workers=2, zone="2m", http=GRAVE,
                   location="academy_client_mailboxes 100;")

    async def test():
        client = await Client.open(server.port)
        empty = census(server.workers()[0], "2m")
        made = refused = 0
        end = time.monotonic() + 6
        while time.monotonic() < end:
            box = mailbox()
            answer = await client.request("POST", "/mailbox", {
                "mailbox": box, "agent": "a.B,a.C,a.D"})
            if answer.status == 429:
                refused += 1
                await asyncio.sleep(0.02)
                continue
            assert answer.status == 200, answer
            made += 1
            await client.terminate(box)
        figures(f"{made} mailboxes in 6 s, {refused} times too many")
        assert made > 150 / PATIENCE and refused
        assert await settled(server, "2m", empty) == empty

    run(test())


@pytest.mark.zone_only("keys expire by themselves, renewed now and then")
def test_unused_mailboxes(nginx, figures):
    """Gone, but for those that somebody uses: who waits, sends, beats, holds
    what has not been settled, or has messages in it."""
    server = nginx(workers=2, zone="4m", http=GRAVE)

    async def test():
        client = await Client.open(server.port)
        unused = await client.create(mailbox(), "a.Unused")
        beats = await client.create(mailbox(), "a.Beats")
        polls = await client.create(mailbox(), "a.Polls")
        listens = await client.create(mailbox(), "a.Listens")
        sends = await client.create(mailbox(), "a.Sends")
        full = await client.create(mailbox(), "a.Full")
        await client.put(full, "x")
        poller = await Client.open(server.port)
        poller.send_get(polls, 30)
        stream = await (await Client.open(server.port)).stream(listens)

        async def there(name: str) -> bool:
            answer = await client.request("GET", "/discover", {
                "agent": f"a.{name}", "allow_subclasses": False})
            return answer.json()["agent_ids"] != ""

        for _ in range(8):
            await client.request("POST", "/mailbox/heartbeat",
                                 {"mailbox": beats})
            await client.put(full, "more", src=sends)
            await asyncio.sleep(0.5)
        assert not await there("Unused")
        for name in ("Beats", "Polls", "Listens", "Sends", "Full"):
            assert await there(name), name

        # Who waited is served; then nobody uses any of them.
        await client.put(polls, "y")
        assert taken(await poller.answer()) == "y"
        await client.put(listens, "z")
        assert json.loads(await stream.next())["body"] == "z"
        stream.close()
        for _ in range(await queued(client, full)):
            taken(await client.get(full))

        async def gone():
            return not any([await there(name) for name in (
                "Beats", "Polls", "Listens", "Sends", "Full")])

        figures(f"all gone {await until(gone):.1f} s after their last use")
        for box in (unused, polls, listens, sends, full):
            assert await client.status(box) == "MISSING"
            assert (await client.get(box, 1)).status == 404

    run(test())


@pytest.mark.zone_only("keys expire by themselves, renewed now and then")
def test_a_poll_that_ends_is_a_use(nginx):
    """It may have waited for longer than a mailbox is kept."""
    server = nginx(workers=2, http=GRAVE)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        for _ in range(2):
            assert (await client.get(box, 3.2)).status == 408
            # the timer comes by meanwhile
            await asyncio.sleep(0.9)

    run(test())


@pytest.mark.zone_only("each request has an expiry of its own")
def test_requests_of_an_unused_mailbox(nginx):
    """They are dropped with it when they do not expire before."""
    server = nginx(workers=2, zone="4m", http=GRAVE)

    async def test():
        client = await Client.open(server.port)
        empty = census(server.workers()[0], "4m")
        asker, agent = await client.new(), await client.new()
        for _ in range(300):
            await client.put(agent, "?", src=asker, kind="request")
            taken(await client.get(agent))
        assert await settled(server, "4m", empty) == empty
        assert await client.status(agent) == "MISSING"

    run(test())


def test_for_ever(nginx):
    server = nginx(workers=2, http="academy_message_expiry 0;"
                                   "academy_gravestone_expiry 0;")

    async def test():
        client = await Client.open(server.port)
        box, grave = await client.new(), await client.new()
        await client.put(box, "x")
        await client.terminate(grave)
        await asyncio.sleep(LATE)
        assert await client.status(grave) == "TERMINATED"
        assert taken(await client.get(box)) == "x"

    run(test())


@pytest.mark.zone_only("keys have the expiry that they were written with")
def test_a_reload_changes_it(nginx, figures):
    """What is there already goes by the new time."""
    server = nginx(workers=2)

    async def test():
        client = await Client.open(server.port)
        box, grave = await client.new(), await client.new()
        await client.put(box, "x")
        await client.terminate(grave)
        await asyncio.sleep(2)
        assert await queued(client, box) == 1
        server.change(http=BOTH)
        await asyncio.to_thread(server.reload)
        client = await Client.open(server.port)

        async def gone():
            answer = await client.request("GET", "/mailbox", {"mailbox": grave})
            return answer.json()["status"] == "MISSING"

        figures(f"gone {await until(gone):.1f} s after the reload")
        await asyncio.sleep(LATE)
        assert await client.status(box) == "MISSING"

    run(test())


def cpu(server) -> int:
    """Nanoseconds of all workers."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
               for pid in server.workers())


@pytest.mark.skipif(bool(ASAN), reason="it measures")
def test_what_it_costs(nginx, figures):
    """With the shortest times there can be, all of the zone is looked at each
    second, empty buckets as well. With the usual ones nobody notices."""
    servers = {
        what: nginx(workers=2, zone="256m", http=http)
        for what, http in (("never", "academy_message_expiry 0;"
                                     "academy_gravestone_expiry 0;"),
                           ("1 s", BOTH), ("7 d and 365 d", ""))}
    time.sleep(1.5)
    before = {what: cpu(server) for what, server in servers.items()}
    time.sleep(4)
    found = {what: (cpu(server) - before[what]) / 4e6
             for what, server in servers.items()}
    figures("CPU of an empty zone of 256m: " + ", ".join(
        f"{what}: {cost:.2f} ms/s" for what, cost in found.items()))
    assert found["7 d and 365 d"] < found["never"] + 0.5
    assert found["1 s"] < 50
