"""Many senders and many receivers, in processes of their own.

Each sender sends to every mailbox in turn; what a message says is who sent it
and its number among what this sender sent to this mailbox. Each mailbox has
one receiver: an event stream for one half of them, long polls for the other.
When all is sent, `finish` puts a last message into each mailbox.

A connection may end between two requests: nginx closes idle ones when it
reloads. A request that not one byte of an answer came to is made once more, on
a new connection, as HTTP clients do; how often that was is counted. So is one
whose answer was cut off, which happens when workers are killed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from academy_nginx import PATIENCE, Gone, Refused, Torn
from exchange import Client, body_of, mailbox, message

SENDERS = 32
MAILBOXES = 64
PROCESSES = 2           # of senders, and as many of receivers

# The time within which what a dead worker had in hand is back.
MOMENT = 1.5 * PATIENCE


@dataclass
class Report:
    """What a process, or all of them, saw."""

    sent: dict[tuple[int, int], int] = field(default_factory=dict)
    # By mailbox: sender, number and when it came.
    received: dict[int, list[tuple[int, int, float]]] = field(
        default_factory=dict)
    # By mailbox: when a connection of its receiver ended with no word.
    broken: dict[int, list[float]] = field(default_factory=dict)
    repeated_puts: int = 0
    repeated_gets: int = 0
    streams: int = 0
    polls: int = 0
    # Message numbers that a sender had to send once more.
    doubtful: set[tuple[int, int, int]] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    # The longest that a put took, and that a receiver waited, in seconds.
    slowest_put: float = 0
    longest_wait: float = 0

    def add(self, other: Report) -> None:
        self.sent |= other.sent
        self.received |= other.received
        self.broken |= other.broken
        self.repeated_puts += other.repeated_puts
        self.repeated_gets += other.repeated_gets
        self.streams += other.streams
        self.polls += other.polls
        self.doubtful |= other.doubtful
        self.complaints += other.complaints
        self.slowest_put = max(self.slowest_put, other.slowest_put)
        self.longest_wait = max(self.longest_wait, other.longest_wait)

    def messages(self) -> int:
        return sum(self.sent.values())

    def judge(self) -> dict[str, int]:
        """How many messages were lost, came twice or out of order, and of
        these, how many may: `again` are those whose put was made again, or
        that came a moment before their receiver's connection broke, and
        `late` those that came after newer ones because the connection broke
        that they were under way on."""
        sums = dict(lost=0, doubled=0, disordered=0, again=0, late=0)
        for box, came in self.received.items():
            first: dict[tuple[int, int], float] = {}
            newest: dict[int, tuple[int, float]] = {}
            for sender, number, time in came:
                if (sender, number) in first:
                    excused = ((sender, box, number) in self.doubtful
                               or self._broke(box, first[sender, number],
                                              first[sender, number] + MOMENT))
                    sums["again" if excused else "doubled"] += 1
                    continue
                first[sender, number] = time
                number_then, then = newest.get(sender, (-1, time))
                if number < number_then:
                    excused = self._broke(box, time - MOMENT, then)
                    sums["late" if excused else "disordered"] += 1
                else:
                    newest[sender] = number, time
            wanted = sum(n for (_, to), n in self.sent.items() if to == box)
            sums["lost"] += wanted - len(first)
        return sums

    def _broke(self, box: int, begin: float, end: float) -> bool:
        return any(begin <= t <= end for t in self.broken.get(box, ()))


class Repeating:
    """A client that connects again when its connection has ended."""

    def __init__(self, port: int, broken: list[float] | None = None) -> None:
        self.port = port
        self.client: Client | None = None
        self.broken = [] if broken is None else broken

    async def ask(self, method: str, path: str, body: dict):
        """The answer, and whether the request had to be made again."""
        again = 0
        while True:
            try:
                if self.client is None:
                    self.client = await Client.open(self.port)
                answer = await self.client.request(method, path, body)
            except (Gone, Torn, ConnectionError):
                self.broken.append(time.monotonic())
                self.drop()
                again += 1
                if again > 20:
                    raise Torn("twenty connections in a row gave no answer")
                continue
            if answer.headers.get("connection") == "close":
                self.drop()
            return answer, again

    def drop(self) -> None:
        if self.client:
            self.client.close()
            self.client = None


# -------------------------------------------------------------------- senders


async def send(port: int, boxes: list[str], sender: int, count: int,
               until: float, kinds: tuple[str, ...], report: Report) -> None:
    """Sends `count` messages, or as many as there is time for."""
    connection = Repeating(port)
    source = mailbox("user")
    for i in range(count):
        if time.monotonic() > until:
            break
        box = (sender + i) % len(boxes)
        number = report.sent.get((sender, box), 0)
        text = message(boxes[box], [sender, number], src=source,
                       kind=kinds[i % len(kinds)])
        begin = time.monotonic()
        answer, again = await connection.ask(
            "PUT", "/message", {"message": text})
        report.slowest_put = max(
            report.slowest_put, time.monotonic() - begin)
        if again:
            report.repeated_puts += again
            report.doubtful.add((sender, box, number))
        if answer.status != 200:
            report.complaints.append(f"PUT: {answer.status} {answer.body!r}")
            break
        report.sent[sender, box] = number + 1
    connection.drop()


# ------------------------------------------------------------------ receivers


def note(report: Report, box: int, text: str) -> bool:
    """Notes what came; False when it was the last."""
    body = body_of(text)
    now = time.monotonic()
    if came := report.received[box]:
        report.longest_wait = max(report.longest_wait, now - came[-1][2])
    if body == "last":
        return False
    report.received[box].append((*body, now))
    return True


async def poll(port: int, boxes: list[str], box: int, report: Report) -> None:
    connection = Repeating(port, report.broken[box])
    while True:
        answer, again = await connection.ask(
            "GET", "/message", {"mailbox": boxes[box], "timeout": 30})
        report.polls += 1
        report.repeated_gets += again
        if answer.status == 408:
            continue
        if answer.status != 200:
            report.complaints.append(f"GET: {answer.status} {answer.body!r}")
            break
        if not note(report, box, answer.json()["message"]):
            break
    connection.drop()


async def listen(port: int, boxes: list[str], box: int, report: Report
                 ) -> None:
    while True:
        try:
            client = await Client.open(port)
            stream = await client.stream(boxes[box], 30)
        except (Gone, Torn, ConnectionError):
            report.broken[box].append(time.monotonic())
            report.repeated_gets += 1
            continue
        except Refused as e:
            report.complaints.append(f"listen: {e}")
            return
        report.streams += 1
        try:
            while (text := await stream.next()) is not None:
                if not note(report, box, text):
                    return
        except Torn as e:
            report.complaints.append(f"a stream ended {e}")
        finally:
            # An end may be the kernel's, for a worker that was killed.
            report.broken[box].append(time.monotonic())
            stream.close()


# ------------------------------------------------------------------ processes


def _sender(port, boxes, senders, count, until, kinds):
    async def all_of_them():
        report = Report()
        await asyncio.gather(*(
            send(port, boxes, s, count, until, kinds, report)
            for s in senders))
        return report
    return asyncio.run(all_of_them())


def _receiver(port, boxes, mine, seconds):
    async def all_of_them():
        report = Report(received={box: [] for box in mine},
                        broken={box: [] for box in mine})
        tasks = [asyncio.create_task(
            (listen if box % 2 else poll)(port, boxes, box, report))
            for box in mine]
        _, late = await asyncio.wait(tasks, timeout=seconds * PATIENCE)
        for task in late:
            task.cancel()
        if late:
            report.complaints.append(f"{len(late)} receivers saw no end")
        for task in tasks:
            if task not in late and task.exception():
                report.complaints.append(repr(task.exception()))
        return report
    return asyncio.run(all_of_them())


async def finish(port: int, boxes: list[str]) -> None:
    connection = Repeating(port)
    for box in boxes:
        answer, _ = await connection.ask(
            "PUT", "/message", {"message": message(box, "last")})
        assert answer.status == 200, answer
    connection.drop()


async def prepare(port: int, mailboxes: int = MAILBOXES) -> list[str]:
    client = await Client.open(port)
    boxes = [await client.new() for _ in range(mailboxes)]
    client.close()
    return boxes


def run_load(port: int, *, messages: int | None = None,
             seconds: float | None = None, meanwhile=None,
             boxes: list[str] | None = None,
             kinds: tuple[str, ...] = ("request", "response")) -> Report:
    """Sends so many messages, or for so many seconds; calls `meanwhile` while
    they are under way. The receivers have 60 seconds in any case."""
    boxes = boxes or asyncio.run(prepare(port))
    count = messages // SENDERS if messages else 1 << 30
    # The clock is one for all processes of the machine.
    until = time.monotonic() + (seconds or 1 << 20)
    total = Report()
    with ProcessPoolExecutor(
            2 * PROCESSES, mp_context=multiprocessing.get_context("spawn")
            ) as pool:
        # Streams are odd, polls are even: each process has some of both.
        receivers = [pool.submit(
            _receiver, port, boxes,
            [b for b in range(len(boxes)) if b // 2 % PROCESSES == p],
            60 + (seconds or 0)) for p in range(PROCESSES)]
        senders = [pool.submit(
            _sender, port, boxes, range(p, SENDERS, PROCESSES), count, until,
            kinds) for p in range(PROCESSES)]
        if meanwhile:
            meanwhile()
        for done in senders:
            total.add(done.result())
        asyncio.run(finish(port, boxes))
        for done in receivers:
            total.add(done.result())
    return total
