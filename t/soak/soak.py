"""Everything at once, for a long time: `make soak`, SECONDS=3600 unless set;
ACADEMY_SOAK is that for this file.

Three exchanges side by side, each with the same work: event streams, long
polls, listeners that die deaf, requests whose agents are terminated, and a
small zone that is full again and again.

    calm       plain, nothing happens to it: its workers' memory stays the same
    stormy     plain, its workers are killed and told to go, it is reloaded
    asan       the same, built with the sanitizers

A line of figures a minute, or ten times in all; at the end a table, and the
exit code is 1 if something is wrong: a message was lost, came twice or out of
order for no reason, a nginx said something, memory grew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "workers")]

import academy_nginx  # noqa: E402
from academy_nginx import (  # noqa: E402
    ROOT,
    Gone,
    Nginx,
    Refused,
    Torn,
    command_line,
    resident_bytes,
)
from academy_zone import Pool, bytes_of, census  # noqa: E402
from exchange import Client, body_of, mailbox, message  # noqa: E402

SECONDS = max(30, min(int(os.environ.get("ACADEMY_SOAK", 3600)), 7 * 86400))
ZONE, SMALL = "32m", "2m"

# Within which what a dead worker had in hand is back, and a put was made again.
MOMENT = 5

SIZES = (10, 10, 10, 300, 300, 3000, 30_000)

COUNTS = ("acknowledged", "delivered", "lost", "doubled", "disordered",
          "again", "late", "deaths", "terminated", "full", "refused", "wrong")


class Tally:
    """What one process of clients has counted; its parent reads it."""

    def __init__(self) -> None:
        self.array = multiprocessing.Array("q", len(COUNTS), lock=False)

    def add(self, name: str, n: int = 1) -> None:
        self.array[COUNTS.index(name)] += n

    def all(self) -> dict[str, int]:
        return dict(zip(COUNTS, self.array))


def complain(*what) -> None:
    print("!", *what, flush=True)


class Asking:
    """Makes a request again when there was no answer to it."""

    def __init__(self, port: int, prefix: str = "") -> None:
        self.port, self.prefix = port, prefix
        self.client: Client | None = None
        self.again = 0
        self.broken = 0.0       # when a connection ended last

    async def ask(self, method: str, path: str, body: dict):
        while True:
            try:
                if self.client is None:
                    self.client = await Client.open(self.port)
                answer = await self.client.request(
                    method, self.prefix + path, body)
            except (Gone, Torn, ConnectionError):
                self.drop()
                self.again += 1
                self.broken = time.monotonic()
                await asyncio.sleep(0.001)
                continue
            if answer.headers.get("connection") == "close":
                self.drop()
            return answer

    async def put(self, text: str):
        return await self.ask("PUT", "/message", {"message": text})

    async def get(self, box: str, timeout: float):
        return await self.ask("GET", "/message", {
            "mailbox": box, "timeout": timeout})

    async def create(self, box: str, agent: str | None = None) -> str:
        more = {"agent": agent} if agent else {}
        answer = await self.ask("POST", "/mailbox", {"mailbox": box, **more})
        assert answer.status == 200, answer
        return box

    async def terminate(self, box: str) -> None:
        answer = await self.ask("DELETE", "/mailbox", {"mailbox": box})
        assert answer.status == 200, answer

    def drop(self) -> None:
        if self.client:
            self.client.close()
            self.client = None


class Box:
    """A mailbox with two senders and one receiver, and what came of what was
    sent, in an amount of memory that does not grow."""

    def __init__(self, port: int, kind: str, tally: Tally, pace: float
                 ) -> None:
        self.port, self.kind, self.tally, self.pace = port, kind, tally, pace
        self.box = mailbox()
        self.sent = [0, 0]
        self.next = [0, 0]                  # all below have come
        self.ahead: list[set[int]] = [set(), set()]
        self.doubtful: dict[tuple[int, int], float] = {}
        self.recent: dict[tuple[int, int], float] = {}
        self.broken = 0.0
        self.done = False
        # A response that was written to a host that vanished goes with its
        # worker: what deaf ones get is requests, which are to be answered.
        self.requests = kind == "deaf"
        self.user = mailbox("user")
        self.owed: asyncio.Queue[str] = asyncio.Queue()

    async def answer(self) -> None:
        """Answers the requests that have come, and takes the answers."""
        asking = Asking(self.port)
        await asking.create(self.user)
        while True:
            text = json.loads(message(self.user, "", src=self.box))
            text["header"]["tag"] = await self.owed.get()
            await asking.put(json.dumps(text))
            await asking.get(self.user, 0.001)
            self.owed.task_done()

    async def send(self, sender: int, over: asyncio.Event) -> None:
        asking = Asking(self.port)
        source = mailbox("user")
        while not over.is_set():
            n = self.sent[sender]
            size = random.choice(SIZES)
            again = asking.again
            # Before the answer: it may come before that does.
            text = message(self.box, [sender, n, "x" * size], src=source,
                           kind="request" if self.requests else "response")
            answer = await asking.put(text)
            if asking.again != again:
                self.doubtful[sender, n] = time.monotonic()
            if answer.status == 200:
                self.sent[sender] = n + 1
                self.tally.add("acknowledged")
            elif answer.status == 503:
                self.tally.add("refused")
            else:
                self.tally.add("wrong")
                complain("put", answer)
            await asyncio.sleep(random.expovariate(1 / self.pace))
        asking.drop()

    def note(self, text: str) -> None:
        sender, n, _ = body_of(text)
        now = time.monotonic()
        if n < self.next[sender] or n in self.ahead[sender]:
            before = self.recent.get((sender, n), 0)
            excused = (now - self.doubtful.get((sender, n), 0) < 60
                       or before and self.broken >= before
                       and self.broken - before < MOMENT)
            self.tally.add("again" if excused else "doubled")
            if not excused:
                complain(self.kind, "doubled", sender, n, now - before)
            return
        self.tally.add("delivered")
        self.recent[sender, n] = now
        if self.requests:
            self.owed.put_nowait(json.loads(text)["header"]["tag"])
        if n < max(self.ahead[sender], default=-1):
            late = now - self.broken < MOMENT
            self.tally.add("late" if late else "disordered")
        self.ahead[sender].add(n)
        while self.next[sender] in self.ahead[sender]:
            self.ahead[sender].remove(self.next[sender])
            self.next[sender] += 1
        for old in (self.recent, self.doubtful):
            while len(old) > 5000:
                del old[next(iter(old))]

    def complete(self) -> bool:
        return self.next == self.sent

    async def receive(self) -> None:
        while not self.done:
            try:
                await getattr(self, self.kind)()
            except (Gone, Torn, ConnectionError):
                pass
            except Refused as e:
                if not self.done:
                    self.tally.add("wrong")
                    complain("listen", e)
                return
            self.broken = time.monotonic()
            await asyncio.sleep(0.001)

    async def stream(self) -> None:
        stream = await (await Client.open(self.port)).stream(self.box, 30)
        try:
            while (text := await stream.next()) is not None:
                self.note(text)
        finally:
            stream.close()

    async def poll(self) -> None:
        client = await Client.open(self.port)
        try:
            while True:
                answer = await client.get(self.box, 5)
                if answer.status == 200:
                    self.note(answer.json()["message"])
                elif answer.status == 419 and self.done:
                    return
                elif answer.status != 408:
                    self.tally.add("wrong")
                    complain("get", answer)
                if answer.headers.get("connection") == "close":
                    return
        finally:
            client.close()

    async def deaf(self) -> None:
        """As in t/workers/test_delivery.py: reads all that was acknowledged,
        and goes."""
        from test_delivery import deafen

        client = await Client.open(self.port)
        stream = await client.stream(self.box, 30)

        async def read():
            while (text := await stream.next()) is not None:
                self.note(text)

        reading = asyncio.create_task(read())
        await asyncio.wait([reading], timeout=random.uniform(0.1, 2))
        sock = client.writer.get_extra_info("socket")
        if not reading.done() and not self.done:
            deafen(sock)
            self.tally.add("deaths")
            await asyncio.wait([reading], timeout=random.uniform(0.1, 1))
        elif not reading.done():
            await reading
        reading.cancel()
        await asyncio.wait([reading])
        client.close()


async def ends_of_agents(port: int, tally: Tally, over: asyncio.Event) -> None:
    """Requests, of which an agent answers some; then it is terminated."""
    asking, listening = Asking(port), Asking(port)
    user = await asking.create(mailbox("user"))
    while not over.is_set():
        agent = await asking.create(mailbox(), "soak.Agent,soak.Base")
        tags = {str(uuid.uuid4()): False for _ in range(6)}
        for tag in tags:
            text = json.loads(message(agent, "?", src=user, kind="request"))
            text["header"]["tag"] = tag
            answer = await asking.put(json.dumps(text))
            assert answer.status == 200, answer
        for _ in range(3):
            answer = await listening.get(agent, 10)
            if answer.status != 200:
                break
            request = json.loads(answer.json()["message"])["header"]
            text = json.loads(message(user, "!", src=agent))
            text["header"]["tag"] = request["tag"]
            await asking.put(json.dumps(text))
        await asking.terminate(agent)
        tally.add("terminated")
        deadline = time.monotonic() + 30
        while not all(tags.values()):
            answer = await listening.get(user, 5)
            if answer.status == 200:
                header = json.loads(answer.json()["message"])["header"]
                if header["tag"] in tags:
                    tags[header["tag"]] = True
            elif time.monotonic() > deadline:
                tally.add("lost", list(tags.values()).count(False))
                complain("requests without an answer", tags)
                break
        await asyncio.sleep(2)
    await asking.terminate(user)
    asking.drop()
    listening.drop()


async def full_zone(port: int, tally: Tally, over: asyncio.Event) -> None:
    """A zone of its own: filled, until puts are refused, and emptied."""
    asking = Asking(port, "/small")
    box = await asking.create(mailbox())
    while not over.is_set():
        count = refused = 0
        while refused < 10:
            answer = await asking.put(message(
                box, [count, "x" * random.choice((300, 3000, 60_000))]))
            if answer.status == 200:
                count += 1
                continue
            refused += 1
            if answer.status != 503 or "retry-after" not in answer.headers:
                tally.add("wrong")
                complain("full", answer)
        tally.add("full")
        tally.add("refused", refused)
        tally.add("acknowledged", count)
        left, newest = set(range(count)), -1
        while left:
            answer = await asking.get(box, 5)
            if answer.status != 200:
                tally.add("lost", len(left))
                complain("full: lost", len(left), "of", count)
                break
            n = body_of(answer.json()["message"])[0]
            if n not in left:
                tally.add("again")
                continue
            left.remove(n)
            tally.add("delivered")
            if n < newest:
                late = time.monotonic() - asking.broken < MOMENT
                tally.add("late" if late else "disordered")
            newest = max(n, newest)
        # What came twice at the end is not for the next turn.
        while (await asking.get(box, 0.2)).status == 200:
            tally.add("again")
        await asyncio.sleep(1)
    asking.drop()


def clients(port: int, tally: Tally, pace: float, until: float) -> None:
    """The process of an exchange's clients."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def all_of_them():
        over = asyncio.Event()
        asking = Asking(port)
        boxes = [Box(port, kind, tally, pace) for kind in
                 ("stream",) * 8 + ("poll",) * 8 + ("deaf",) * 4]
        for box in boxes:
            await asking.create(box.box)
        receivers = [asyncio.create_task(box.receive()) for box in boxes]
        answering = [asyncio.create_task(box.answer()) for box in boxes
                     if box.requests]
        tasks = [asyncio.create_task(box.send(sender, over))
                 for box in boxes for sender in (0, 1)]
        tasks += [asyncio.create_task(ends_of_agents(port, tally, over)),
                  asyncio.create_task(full_zone(port, tally, over))]
        done, _ = await asyncio.wait(
            tasks, timeout=until - time.monotonic(),
            return_when=asyncio.FIRST_EXCEPTION)
        over.set()
        await asyncio.gather(*tasks)
        deadline = time.monotonic() + 60
        while not all(box.complete() for box in boxes):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
        for box in boxes:
            await box.owed.join()
            await asking.terminate(box.user)
        for task in answering:
            task.cancel()
        for box in boxes:
            box.done = True
            tally.add("lost", sum(box.sent) - sum(
                n + len(ahead) for n, ahead in zip(box.next, box.ahead)))
            await asking.terminate(box.box)
        await asyncio.wait(receivers, timeout=60)

    asyncio.run(all_of_them())


class Exchange:
    """One nginx, and the process of its clients."""

    def __init__(self, name: str, module: str, workers: int, pace: float,
                 until: float) -> None:
        self.name, self.workers = name, workers
        # The harness has them as its own.
        academy_nginx.MODULE = module
        academy_nginx.ASAN = academy_nginx._sanitizer_runtime()
        more = "".join(
            f"{setting};" for setting in ("academy_gravestone_expiry 10s",)
            if setting.split()[0].encode() in Path(module).read_bytes())
        self.server = Nginx(
            workers=workers, zone=ZONE, log_level="notice",
            http=f"academy_zone zone=small:{SMALL};" + more,
            server="location /small/ { academy_exchange small; }").start()
        self.before = [census(self.server.process.pid, size)["free"]
                       for size in (ZONE, SMALL)]
        self.tally = Tally()
        self.process = multiprocessing.get_context("spawn").Process(
            target=clients, args=(self.server.port, self.tally, pace, until))
        self.process.start()
        self.storms = {"kills": 0, "ends": 0, "reloads": 0}
        self.samples: list[tuple[float, float, int]] = []

    def storm(self, over: threading.Event) -> None:
        """What happens to it: in another thread, until it is over."""
        self.server.expect(
            "exited on signal 9", "was locked by", "died while it changed")
        calm = time.monotonic() + 10
        while not over.wait(random.uniform(0.2, 3)):
            # nginx is alarmed when one that is leaving is told to end at once.
            workers = [pid for pid in self.server.workers()
                       if "shutting down" not in command_line(pid)]
            if time.monotonic() > calm:
                self.server.signal(signal.SIGHUP)
                self.storms["reloads"] += 1
                calm = time.monotonic() + random.uniform(5, 15)
            elif workers:
                number, what = random.choice(
                    [(signal.SIGKILL, "kills")] * 6
                    + [(signal.SIGTERM, "ends"), (signal.SIGQUIT, "ends")])
                with contextlib.suppress(ProcessLookupError):
                    self.server.signal(number, random.choice(workers))
                    self.storms[what] += 1

    def sample(self) -> str:
        rss = []
        for pid in self.server.workers():
            with contextlib.suppress(OSError, AttributeError):
                rss.append(resident_bytes(pid) / (1 << 20))
        free = Pool(self.server.process.pid, bytes_of(ZONE)).pfree
        self.samples.append((time.monotonic(), max(rss, default=0), free))
        return (f"{self.name} {self.tally.all()['acknowledged']:,} "
                f"rss {max(rss, default=0):.1f} MiB, {free} pages free")

    def memory_is_flat(self) -> bool:
        """The largest worker of the last quarter against that of the second;
        the first is for growing up."""
        quarter = len(self.samples) // 4
        if not quarter:
            return True
        early, late = (
            statistics.median(rss for _, rss, _ in self.samples[a:b])
            for a, b in ((quarter, 2 * quarter), (-quarter, None)))
        return late <= early * 1.1 + 1

    def zones_are_as_before(self) -> bool:
        """But for the gravestones, 300 bytes each."""
        stones = self.tally.all()["terminated"] + 25
        after = [census(self.server.process.pid, size)["free"]
                 for size in (ZONE, SMALL)]
        self.lost_pages = [a - b for a, b in zip(self.before, after)]
        return (self.lost_pages[0] <= stones * 512 // 4096 + 8
                and self.lost_pages[1] <= 4)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="academy-soak-") as where:
        os.chmod(where, 0o755)
        return soak(where)


def soak(where: str) -> int:
    # A reload would load what has been built since.
    plain, asan = (shutil.copy(ROOT / built / "ngx_http_academy_module.so",
                               f"{where}/{name}.so")
                   for name, built in (("plain", "build"),
                                       ("asan", "build/asan")))
    until = time.monotonic() + SECONDS
    every = max(5, min(60, SECONDS / 10))
    exchanges = []
    over = threading.Event()
    bad = []
    try:
        for name, module, workers, pace in (
                ("calm", plain, 2, 0.15), ("stormy", plain, 4, 0.15),
                ("asan", asan, 2, 0.4)):
            exchanges.append(Exchange(name, module, workers, pace, until))
        storms = [threading.Thread(target=e.storm, args=(over,))
                  for e in exchanges[1:]]
        for thread in storms:
            thread.start()
        while time.monotonic() < until:
            time.sleep(max(0, min(every, until - time.monotonic())))
            print(f"{SECONDS - until + time.monotonic():6.0f} s  "
                  + ";  ".join(e.sample() for e in exchanges), flush=True)
            if any(not e.process.is_alive() for e in exchanges):
                break
        over.set()
        for thread in storms:
            thread.join()
        print()
        for e in exchanges:
            e.process.join(180)
            counts = e.tally.all()
            if e.process.exitcode != 0:
                bad.append(f"{e.name}: its clients ended with "
                           f"{e.process.exitcode}")
            for name in ("lost", "doubled", "disordered", "wrong"):
                if counts[name]:
                    bad.append(f"{e.name}: {name} {counts[name]}")
            if counts["delivered"] != counts["acknowledged"]:
                bad.append(f"{e.name}: not all that was acknowledged came")
            time.sleep(3)
            if not e.zones_are_as_before():
                bad.append(f"{e.name}: zones lost {e.lost_pages} pages")
            if e.name == "calm" and not e.memory_is_flat():
                bad.append(f"{e.name}: its workers have grown")
        table(exchanges)
    finally:
        over.set()
        for e in exchanges:
            if e.process.is_alive():
                e.process.kill()
            e.process.join(10)
            try:
                e.server.stop()
            except AssertionError as error:
                bad.append(f"{e.name}: {error}")
    for line in bad:
        print(line)
    print("FAILED" if bad else "all is well")
    return bool(bad)


def table(exchanges: list[Exchange]) -> None:
    rows = [(name, [e.tally.all()[name] for e in exchanges])
            for name in COUNTS]
    rows += [(name, [e.storms[name] for e in exchanges])
             for name in ("kills", "ends", "reloads")]
    for word, pick in (("second", slice(1, 2)), ("last", slice(3, 4))):
        at = []
        for e in exchanges:
            quarter = max(1, len(e.samples) // 4)
            part = e.samples[pick.start * quarter:][:quarter] or e.samples
            at.append(round(statistics.median(r for _, r, _ in part), 1))
        rows.append((f"MiB of a worker, {word} quarter", at))
    rows.append(("pages that the zones lack",
                 ["+".join(map(str, e.lost_pages)) for e in exchanges]))
    print(f"after {SECONDS} s".ljust(36) + "".join(
        e.name.rjust(12) for e in exchanges))
    for name, values in rows:
        print(name.ljust(36) + "".join(
            (f"{v:,}" if isinstance(v, int) else str(v)).rjust(12)
            for v in values))
    print()


if __name__ == "__main__":
    sys.exit(main())
