"""Many senders and many receivers, in processes of their own.

Each sender sends to every mailbox in turn; what a message says is who sent it
and its number among what this sender sent to this mailbox. Each mailbox has
one receiver: an event stream for one half of them, long polls for the other.
When all is sent, `finish` puts a last message into each mailbox.

A connection may end between two requests: nginx closes idle ones when it
reloads. A request that not one byte of an answer came to is made once more, on
a new connection, as HTTP clients do; how often that was is counted. So is one
whose answer was cut off, which happens when workers are killed.

With `patient`, 503 is a reason to ask once more, after a moment, as the client
of 1.0.0 does; what was sent is sent again as it was. With several ports, each
of them has its share, and who loses a connection goes on at the next one.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
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
    # Answers of 503, and the longest that one of them took.
    unavailable: int = 0
    slowest_refusal: float = 0
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
        self.unavailable += other.unavailable
        self.slowest_refusal = max(self.slowest_refusal, other.slowest_refusal)
        self.streams += other.streams
        self.polls += other.polls
        self.doubtful |= other.doubtful
        self.complaints += other.complaints
        self.slowest_put = max(self.slowest_put, other.slowest_put)
        self.longest_wait = max(self.longest_wait, other.longest_wait)

    def messages(self) -> int:
        return sum(self.sent.values())

    def judge(self, moment: float = MOMENT) -> dict[str, int]:
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
                               or self.broke(box, first[sender, number],
                                              first[sender, number] + moment))
                    sums["again" if excused else "doubled"] += 1
                    continue
                first[sender, number] = time
                number_then, then = newest.get(sender, (-1, time))
                if number < number_then:
                    excused = self.broke(box, time - moment, then)
                    sums["late" if excused else "disordered"] += 1
                else:
                    newest[sender] = number, time
            wanted = sum(n for (_, to), n in self.sent.items() if to == box)
            sums["lost"] += wanted - len(first)
        return sums

    def note_refusal(self, took: float, answer) -> None:
        self.unavailable += 1
        self.slowest_refusal = max(self.slowest_refusal, took)
        if not answer.headers.get("retry-after", "").isdigit():
            self.complaints.append(f"503 without Retry-After: {answer}")

    def broke(self, box: int, begin: float, end: float) -> bool:
        return any(begin <= t <= end for t in self.broken.get(box, ()))


class Repeating:
    """A client that connects again when its connection has ended."""

    def __init__(self, ports: tuple[int, ...], report: Report,
                 broken: list[float] | None = None,
                 patient: bool = False) -> None:
        self.ports = ports
        self.client: Client | None = None
        self.report = report
        self.broken = [] if broken is None else broken
        self.patient = patient

    async def ask(self, method: str, path: str, body: dict):
        """The answer, and whether the request had to be made again."""
        again = 0
        end = time.monotonic() + 60 * PATIENCE
        while True:
            begin = time.monotonic()
            try:
                if self.client is None:
                    self.client = await Client.open(self.ports[0])
                answer = await self.client.request(method, path, body)
            except (Gone, Torn, ConnectionError):
                self.broken.append(time.monotonic())
                self.drop()
                again += 1
                if self.patient and time.monotonic() < end:
                    await asyncio.sleep(0.02)
                elif again > 20:
                    raise Torn("twenty connections in a row gave no answer")
                continue
            if answer.headers.get("connection") == "close":
                self.drop()
            if (answer.status == 503 and self.patient
                    and time.monotonic() < end):
                self.report.note_refusal(time.monotonic() - begin, answer)
                again += 1
                await asyncio.sleep(0.1)
                continue
            return answer, again

    def drop(self) -> None:
        if self.client:
            self.client.close()
            self.client = None
        self.ports = turned(self.ports, 1)


def turned(ports: tuple[int, ...], n: int) -> tuple[int, ...]:
    n %= len(ports)
    return ports[n:] + ports[:n]


# -------------------------------------------------------------------- senders


async def send(ports: tuple[int, ...], boxes: list[str], sender: int,
               count: int, until: float, enough: str, kinds: tuple[str, ...],
               report: Report, patient: bool) -> None:
    """Sends `count` messages, or as many as there is time for."""
    connection = Repeating(turned(ports, sender), report, patient=patient)
    source = mailbox("user")
    for i in range(count):
        if time.monotonic() > until or os.path.exists(enough):
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


async def poll(ports: tuple[int, ...], boxes: list[str], box: int,
               report: Report, patient: bool) -> None:
    connection = Repeating(ports, report, report.broken[box], patient)
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


async def listen(ports: tuple[int, ...], boxes: list[str], box: int,
                 report: Report, patient: bool) -> None:
    while True:
        begin = time.monotonic()
        try:
            client = await Client.open(ports[0])
            stream = await client.stream(boxes[box], 30)
        except (Gone, Torn, ConnectionError):
            report.broken[box].append(time.monotonic())
            report.repeated_gets += 1
            ports = turned(ports, 1)
            if patient:
                await asyncio.sleep(0.02)
            continue
        except Refused as e:
            if patient and e.answer.status == 503:
                report.note_refusal(time.monotonic() - begin, e.answer)
                client.close()
                await asyncio.sleep(0.1)
                continue
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


def _sender(ports, boxes, senders, count, until, enough, kinds, patient):
    async def all_of_them():
        report = Report()
        await asyncio.gather(*(
            send(ports, boxes, s, count, until, enough, kinds, report, patient)
            for s in senders))
        return report
    return asyncio.run(all_of_them())


def _receiver(ports, boxes, mine, seconds, patient):
    async def all_of_them():
        report = Report(received={box: [] for box in mine},
                        broken={box: [] for box in mine})
        tasks = [asyncio.create_task(
            (listen if box % 2 else poll)(
                turned(ports, box // 2), boxes, box, report, patient))
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


async def finish(ports: tuple[int, ...], boxes: list[str], report: Report,
                 patient: bool = False) -> None:
    connection = Repeating(ports, report, patient=patient)
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


def run_load(port: int | tuple[int, ...], *, messages: int | None = None,
             seconds: float | None = None, meanwhile=None,
             boxes: list[str] | None = None,
             kinds: tuple[str, ...] = ("request", "response"),
             patient: bool = False, pause: float = 0) -> Report:
    """Sends so many messages, or for so many seconds, or else until `meanwhile`
    is over, which is called while they are under way, and waits for a `pause`
    before it comes to an end. The receivers have a minute more, or ten."""
    ports = port if isinstance(port, tuple) else (port,)
    boxes = boxes or asyncio.run(prepare(ports[0]))
    count = messages // SENDERS if messages else 1 << 30
    # The clock is one for all processes of the machine.
    until = time.monotonic() + (seconds or 1 << 20)
    limit = 60 if messages or seconds else 600
    total = Report()
    with tempfile.TemporaryDirectory() as directory, ProcessPoolExecutor(
            2 * PROCESSES, mp_context=multiprocessing.get_context("spawn")
            ) as pool:
        # A file that says so when it is there.
        enough = directory + "/enough"
        # Streams are odd, polls are even: each process has some of both.
        receivers = [pool.submit(
            _receiver, ports, boxes,
            [b for b in range(len(boxes)) if b // 2 % PROCESSES == p],
            limit + (seconds or 0) + pause, patient) for p in range(PROCESSES)]
        senders = [pool.submit(
            _sender, ports, boxes, range(p, SENDERS, PROCESSES), count, until,
            enough, kinds, patient) for p in range(PROCESSES)]
        try:
            if meanwhile:
                meanwhile()
        finally:
            if not messages and not seconds:
                open(enough, "w").close()
        for done in senders:
            total.add(done.result())
        time.sleep(pause)
        asyncio.run(finish(ports, boxes, total, patient))
        for done in receivers:
            total.add(done.result())
    return total
