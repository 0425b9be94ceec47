"""Workers that are killed, again and again, wherever they are in what they do.

ACADEMY_KILLS    how many; `make kills` has 300
"""

import asyncio
import os
import random
import signal
import threading
import time

import pytest
from academy_nginx import ASAN, PATIENCE, Gone, Torn, run, wait_until
from academy_redis import STORE
from academy_zone import census
from exchange import Client, body_of, deaf, taken
from load import Report, prepare, run_load
from test_delivery import deafen

KILLS = int(os.environ.get("ACADEMY_KILLS", 20 if ASAN else 60))
WORKERS, MAILBOXES, ZONE = 4, 24, "128m"

# On Redis it takes a moment until what a dead worker had is back.
PAUSE = 3 if STORE == "redis" else 0


class Killer(threading.Thread):
    """Kills so many workers, 20 to 120 ms apart."""

    def __init__(self, server, count: int) -> None:
        super().__init__(daemon=True)
        # nginx frees the zone's lock when the one who held it was killed.
        server.expect("exited on signal 9", "was locked by",
                      r"died while it changed zone \"exchange\"")
        self.server, self.count = server, count
        self.killed = 0
        self.begun, self.over = threading.Event(), threading.Event()

    def run(self) -> None:
        self.begun.wait()
        beat = time.monotonic()
        while self.killed < self.count and not self.over.is_set():
            beat += random.uniform(0.02, 0.12) * PATIENCE
            time.sleep(max(0, beat - time.monotonic()))
            if len(workers := self.server.workers()) == WORKERS:
                self.server.signal(signal.SIGKILL, random.choice(workers))
                self.killed += 1
        self.over.set()

    def seconds(self) -> float:
        """What it will take, and a bit."""
        return self.count * 0.085 * PATIENCE + 1


def empty(server, boxes: list[str], report: Report | None = None) -> int:
    """Asks at each mailbox until there is nothing more: so counts of dead
    workers are met, which are dropped then. What is there has come before, to
    somebody whose worker was killed then; how much that was."""
    async def ask():
        client = None
        again = 0
        for n, box in enumerate(boxes):
            while True:
                try:
                    client = client or await Client.open(server.port)
                    answer = await client.get(box, 0.001)
                except (Gone, Torn, ConnectionError):
                    client = None
                    continue
                if answer.status == 408:
                    break
                body = taken(answer)
                assert body == "last" or body in [
                    [sender, number]
                    for sender, number, _ in report.received[n]]
                again += 1
        return again

    return asyncio.run(ask())


@pytest.mark.timeout((60 + KILLS) * PATIENCE)
def test_killed_again_and_again_under_load(nginx, figures):
    """No message is lost, the order is kept but for what was under way to a
    reader, nobody waits for long, and no memory. What may come twice: a
    message whose put was not answered and was made again, and one that its
    reader had and the exchange did not know."""
    server = nginx(workers=WORKERS, zone=ZONE)
    boxes = asyncio.run(prepare(server.port, MAILBOXES))
    empty(server, boxes)
    before = census(server.process.pid, ZONE)

    killer = Killer(server, KILLS)
    killer.start()
    try:
        report = run_load(server.port, seconds=killer.seconds(), boxes=boxes,
                          kinds=("response",), meanwhile=killer.begun.set,
                          pause=PAUSE)
    finally:
        killer.over.set()
        killer.begun.set()
        killer.join()
    wait_until(lambda: len(server.workers()) == WORKERS, 5, "no new workers")
    judged = report.judge()
    mended = server.log().count("died while it changed")
    figures(f"{killer.killed} kills, {mended} of them within a change; "
            f"{report.messages()} acknowledged, {report.repeated_puts} puts "
            f"and {report.repeated_gets} receives made again; {judged}; "
            f"slowest put {report.slowest_put:.2f} s, longest wait of a "
            f"reader {report.longest_wait:.2f} s")
    assert killer.killed >= KILLS * 0.9
    assert judged["lost"] == judged["disordered"] == judged["doubled"] == 0
    # A stream may be cut off with unread data, which is a reset, or within an
    # event.
    assert set(report.complaints) <= {
        "a stream ended reset", "a stream ended in an event"}
    assert report.slowest_put < PATIENCE
    assert report.longest_wait < 2 * PATIENCE + PAUSE

    empty(server, boxes, report)
    assert census(server.process.pid, ZONE) == before


def test_a_response_comes_once(nginx):
    """When the worker is killed that had written it: the system sends it all
    the same, and a client of 1.0.0 that gets it again listens no more. A
    request may come again, but not go."""
    server = nginx(workers=2)
    server.expect("exited on signal 9")

    async def test():
        for kind in ("response", "request"):
            sender = await Client.open(server.port)
            box = await sender.new()
            listener = await Client.open(server.port)
            stream = await listener.stream(box)
            await sender.put(box, kind, kind=kind)
            # Acknowledged, which nobody has noticed yet.
            assert body_of(await stream.next()) == kind
            for worker in (workers := server.workers()):
                server.signal(signal.SIGKILL, worker)
            await asyncio.to_thread(
                wait_until, lambda: len(server.workers()) == 2
                and not set(workers) & set(server.workers()), 5, "no workers")
            sender = await Client.open(server.port)
            stats = await sender.stats(box)
            again = await sender.get(box, 0.1)
            assert stats["queued"] == (again.status == 200)
            if kind == "response":
                assert again.status == 408

    run(test())


def test_a_response_that_nobody_acknowledged(nginx):
    """It comes back: what was written to a host that is silent since is in
    doubt, when its worker is killed."""
    server = nginx(workers=2)
    server.expect("exited on signal 9")

    async def test():
        sender = await Client.open(server.port)
        box = await sender.new()
        gone = deaf(server.port, "GET", "/mailbox/listen", box)
        await asyncio.to_thread(gone.recv, 1000)
        deafen(gone)
        for n in range(3):
            await sender.put(box, n)
            await asyncio.sleep(0.15 * PATIENCE)
        for worker in (workers := server.workers()):
            server.signal(signal.SIGKILL, worker)
        gone.close()
        await asyncio.to_thread(
            wait_until, lambda: len(server.workers()) == 2
            and not set(workers) & set(server.workers()), 5, "no workers")
        receiver = await Client.open(server.port)
        assert [taken(await receiver.get(box, 2)) for _ in range(3)] == [
            0, 1, 2]

    run(test())
