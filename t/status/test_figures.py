"""What is counted is what a load did: at rest, across kills and reloads, and
when the zone is full."""

import asyncio
import os
import random
import signal
import threading
import time
import uuid

import pytest
from academy_nginx import ASAN, PATIENCE, run, wait_until
from academy_redis import STORE
from exchange import Client, deaf, message, taken
from load import prepare, run_load
from look import STATUS, balance, counted, fetch, known, look, settled
from test_delivery import deafen

KILLS = int(os.environ.get("ACADEMY_KILLS", 10 if ASAN else 30))


def test_what_a_load_does(nginx, figures):
    server = nginx(workers=2, server=STATUS)
    before = look(server.port)
    report = run_load(server.port, messages=3200 if ASAN else 16000,
                      kinds=("response",))
    after = settled(server.port)
    totals = after["totals"]
    sent = report.messages() + len(report.received)

    figures(f"{sent} sent; accepted {totals['accepted']}, delivered "
            f"{totals['delivered']}, balance {balance(after)}; latency p50 "
            f"{after['latency']['p50']} s, p99 {after['latency']['p99']} s; "
            + (f"{after['redis']['round_trips']} round trips, p50 "
               f"{after['round_trip']['p50']} s, p99 "
               f"{after['round_trip']['p99']} s" if STORE == "redis"
               else f"{after['lock']['waits']} lock waits"))
    assert not report.complaints and report.judge()["lost"] == 0
    assert counted(before)["totals.accepted"] == 0
    assert totals["accepted"] == totals["delivered"] == sent
    assert totals["sent"] == sent
    assert after["latency"]["count"] <= sent
    assert after["latency"]["count"] == sent or STORE == "redis"
    assert known(totals["redelivered"], 0) and totals["returned"] == 0
    assert after["size"]["count"] == sent == after["routes"]["put"]
    assert after["routes"]["create"] == totals["created"] == 64
    assert after["mailboxes"]["agents"] == 64
    assert after["routes"]["get"] == report.polls
    assert sum(after["polls"].values()) == report.polls
    assert after["wait"]["count"] == report.polls
    assert after["routes"]["listen"] == report.streams
    assert sum(after["refusals"].values()) == 0
    assert balance(after) == 0
    assert known(after["messages"].pop("bytes"), 0)
    assert after["messages"] == dict(queued=0, leased=0, oldest=None)
    if STORE == "redis":
        assert after["redis"]["round_trips"] >= 3 * sent / 16
        assert after["round_trip"]["count"] == after["redis"]["round_trips"]
        assert after["link"] == dict(server=after["link"]["server"],
                                     workers=2, connected=2, in_flight=0)
    assert all(w["polls"] == w["streams"] == 0 for w in after["workers"])


class Watcher(threading.Thread):
    """Looks again and again, and notes what went backwards."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.over = port, threading.Event()
        self.looks, self.back, self.unanswered = 0, [], 0

    def run(self) -> None:
        last: dict[str, float] = {}
        while not self.over.wait(0.02):
            try:
                now = counted(look(self.port))
            except OSError:
                self.unanswered += 1
                continue
            except Exception as e:
                # Cut off by a kill.
                if "Incomplete" not in repr(e) and "Remote" not in repr(e):
                    self.back.append(repr(e))
                self.unanswered += 1
                continue
            self.looks += 1
            self.back += [(k, last[k], v) for k, v in now.items()
                          if v < last.get(k, 0)]
            last = now


@pytest.mark.timeout(240 * PATIENCE)
def test_kills_and_reloads(nginx, figures):
    """Nothing goes backwards, and the sums are off by a thing for each kill
    at most."""
    server = nginx(workers=2, server=STATUS, zone="32m")
    server.expect("exited on signal 9", "was locked by",
                  r"died while it changed zone \"exchange\"")
    boxes = asyncio.run(prepare(server.port, 24))
    watcher = Watcher(server.port)
    done = dict(kills=0, reloads=0)
    begun = threading.Event()

    def upheaval():
        begun.wait()
        for n in range(KILLS):
            time.sleep(random.uniform(0.05, 0.2) * PATIENCE)
            if n % 10 == 9:
                server.signal(signal.SIGHUP)
                done["reloads"] += 1
                continue
            workers = server.workers()
            if len(workers) >= 2:
                server.signal(signal.SIGKILL, random.choice(workers))
                done["kills"] += 1

    upset = threading.Thread(target=upheaval, daemon=True)
    watcher.start()
    upset.start()
    report = run_load(server.port, seconds=KILLS * 0.15 * PATIENCE + 1,
                      boxes=boxes, kinds=("response",), meanwhile=begun.set)
    upset.join()
    wait_until(lambda: len(server.workers()) == 2, 10, "no new workers")
    after = settled(server.port)
    watcher.over.set()
    watcher.join()
    totals = after["totals"]
    sent = report.messages() + len(boxes)
    figures(f"{done['kills']} kills, {done['reloads']} reloads, "
            f"{watcher.looks} looks ({watcher.unanswered} unanswered): "
            f"{sent} acknowledged, {report.repeated_puts} puts made again, "
            f"accepted {totals['accepted']}; balance {balance(after)}; "
            f"{totals['redelivered']} redelivered")
    assert report.judge()["lost"] == 0
    assert not watcher.back
    assert watcher.looks > 50
    # What Redis did for one that was killed meanwhile its sender repeats.
    least = -done["kills"] - (report.repeated_puts if STORE == "redis" else 0)
    assert least <= totals["accepted"] - sent
    assert totals["accepted"] - sent <= report.repeated_puts
    # What a worker had acknowledged and not yet counted is one settling.
    assert abs(balance(after)) <= 16 * done["kills"]
    assert len(after["workers"]) == 2
    assert all(w["polls"] == w["streams"] == 0 for w in after["workers"])


def test_reload_keeps(nginx):
    """Also with more workers, and another exchange."""
    server = nginx(server=STATUS)

    async def some(n):
        client = await Client.open(server.port)
        box = await client.new()
        for i in range(n):
            await client.put(box, i)
        for i in range(n):
            assert taken(await client.get(box, 1)) == i
        client.close()

    run(some(5))
    settled(server.port)
    server.reload()
    run(some(3))
    server.change(workers=3, http="academy_zone zone=other:2m;")
    server.reload()
    run(some(2))
    picture = settled(server.port)
    assert picture["totals"]["accepted"] == 10
    assert picture["totals"]["delivered"] == 10
    assert [w["slot"] for w in picture["workers"]] == sorted(
        w["slot"] for w in picture["workers"])
    assert len(picture["workers"]) == 3


@pytest.mark.zone_only("about a zone's memory")
def test_full_zone(nginx, figures):
    """Refusals for want of memory are counted, and make it unwell."""
    server = nginx(zone="2m", server=STATUS)
    assert fetch(server.port, "format=health")[:2] == (200, "ok\n")

    async def fill():
        client = await Client.open(server.port)
        box = await client.new()
        stored = refused = 0
        while refused < 10:
            answer = await client.try_put(box, "x" * 3000)
            if answer.status == 200:
                stored += 1
            else:
                assert answer.status == 503
                refused += 1
        return client, box, stored, refused

    async def test():
        client, box, stored, refused = await fill()
        code, text, _ = fetch(server.port, "format=health")
        assert (code, text) == (
            503, "the zone is full but for its reserve\n")
        await asyncio.sleep(1.1)
        picture = look(server.port)
        figures(f"{stored} stored, {refused} refused; zone "
                f"{picture['zone']}")
        assert picture["health"]["ok"] is False
        assert picture["totals"]["accepted"] == stored
        assert picture["refusals"]["memory"] == refused
        assert picture["messages"]["queued"] == stored
        zone = picture["zone"]
        assert zone["free"] <= zone["reserve"] + 2 * zone["page"]
        assert 0 < zone["largest_free"] <= zone["free"]
        assert zone["used"] + zone["free"] == zone["size"]
        for _ in range(stored):
            await client.get(box, 1)
        client.close()
        picture = settled(server.port)
        assert balance(picture) == 0
        assert picture["totals"]["delivered"] == stored
        assert fetch(server.port, "format=health")[0] == 200

    run(test())


def test_every_refusal_has_its_reason(nginx):
    server = nginx(server=STATUS + """
        location /bounded/ {
            academy_exchange exchange;
            academy_mailbox_messages 1;
            academy_mailbox_bytes 2k;
            academy_message_size 2k;
        }
    """)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        await client.put(box, 1)

        async def put(path, body):
            return (await client.request("PUT", path, body)).status

        text = message(box, 1)
        assert await put("/bounded/message", {"message": text}) == 429
        assert await put("/message", {"message": 1}) == 400
        assert await put("/bounded/message",
                         {"message": message(box, "x" * 3000)}) == 413
        assert await put("/message", {
            "message": message(box.replace(box[9:13], "0000"), 1)}) == 404
        await client.put(box, "again")
        assert await put("/message", {"message": text}) == 200
        assert await put("/message", {"message": text}) == 200
        await client.terminate(box)
        assert (await client.get(box, 1)).status == 419
        assert (await client.get(await client.new(), 0.01)).status == 408
        picture = settled(server.port)
        assert {k: n for k, n in picture["refusals"].items() if n} == dict(
            mailbox_messages=1, invalid=1, size=1, missing=1, closed=1)
        assert picture["totals"]["duplicates"] == 1
        assert picture["totals"]["dropped"] == 3
        assert picture["totals"]["terminated"] == 1
        assert picture["polls"]["timeout"] == 1
        assert picture["polls"]["closed"] == 1
        assert balance(picture) == 0

    run(test())


def test_refusals_of_who_looks(nginx):
    """They are not the exchange's, and have a figure of their own."""
    server = nginx(server=STATUS + """
        location = /named {
            academy_status exchange;
            academy_auth variables;
            academy_client_id $http_x_client;
        }
        location /lab/ {
            academy_exchange exchange;
            academy_auth variables;
            academy_client_id $http_x_client;
        }
    """)
    nobody = "view=mailbox&id=agent:" + str(uuid.uuid4())
    for code, query, path in (
            (400, "view=nothing", "/status"), (400, "format=no", "/status"),
            (404, nobody, "/status"), (401, "format=json", "/named")):
        assert fetch(server.port, query, path=path)[0] == code
    assert fetch(server.port, method="PUT")[0] == 405
    assert fetch(server.port, path="/lab/mailbox")[0] == 401
    picture = look(server.port)
    assert {k: n for k, n in picture["refusals"].items() if n} == dict(auth=1)
    assert picture["status"]["refused"] == 5


def test_waiters_and_the_oldest(nginx):
    server = nginx(workers=2, server=STATUS)

    async def test():
        client = await Client.open(server.port)
        box, other = await client.new(), await client.new()
        polls = [await Client.open(server.port) for _ in range(5)]
        for poll in polls:
            poll.send_get(other, 30)
        streams = [await (await Client.open(server.port)).stream(other, 30)
                   for _ in range(3)]
        await client.put(box, "first")
        await client.put(box, "second")
        await asyncio.sleep(1.5)
        picture = look(server.port)
        workers = picture["workers"]
        assert sum(w["polls"] for w in workers) == 5
        assert sum(w["streams"] for w in workers) == 3
        assert {w["pid"] for w in workers} == set(server.workers())
        assert 1.4 < picture["messages"]["oldest"] < 1.5 + PATIENCE
        assert picture["messages"]["oldest_mailbox"].startswith("agent:")
        assert known(picture["mailboxes"]["waited_at"], 1)
        assert picture["messages"]["queued"] == 2
        for poll in polls[:2]:
            poll.close()
        for stream in streams:
            stream.close()
        await asyncio.sleep(0.3 * PATIENCE)
        workers = look(server.port)["workers"]
        assert sum(w["polls"] for w in workers) == 3
        assert sum(w["streams"] for w in workers) == 0
        assert look(server.port)["polls"]["gone"] == 2
        # Who waits in a worker that dies does not wait any more.
        server.expect("exited on signal 9")
        for pid in server.workers():
            server.signal(signal.SIGKILL, pid)
        await asyncio.to_thread(wait_until,
                                lambda: len(server.workers()) == 2, 5, "none")
        await asyncio.sleep(0.2)
        workers = look(server.port)["workers"]
        assert sum(w["polls"] + w["streams"] for w in workers) == 0
        for poll in polls:
            poll.close()

    run(test())


def test_returned_and_redelivered(nginx):
    """A receiver that is gone before it has acknowledged."""
    server = nginx(server=STATUS)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        gone = deaf(server.port, "GET", "/mailbox/listen", box)
        await asyncio.to_thread(gone.recv, 1000)
        deafen(gone)
        for n in range(3):
            await client.put(box, n)
        await asyncio.sleep(0.3)
        gone.close()

        async def back():
            return (await client.stats(box))["queued"] == 3
        for _ in range(600):
            if await back():
                break
            await asyncio.sleep(0.1)
        for n in range(3):
            assert taken(await client.get(box, 1)) == n
        client.close()
        picture = settled(server.port)
        assert picture["totals"]["returned"] == 3
        assert known(picture["totals"]["redelivered"], 3)
        assert picture["totals"]["delivered"] == 3
        assert picture["totals"]["sent"] == 6
        assert balance(picture) == 0

    run(test())
