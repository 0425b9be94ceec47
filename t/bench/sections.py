#!/usr/bin/env python3
"""How long a zone's lock is held at a time, by what is done within.

    sections.py [--only NAME] [--rounds N]

Each scene has one worker do something heavy, and what it does is the same each
time: of what a section took in several rounds the least is taken, occurrence by
occurrence, so that what the kernel, or the host, has put in between does not
count. The last scenes have 2, 4 and 8 workers contend, and have no such thing:
there the quantiles tell.

It is CPU time of who holds the lock, in microseconds, by the module that
`make VARIANT=sections` builds, without what it takes to look at the clocks.

Each section has an echo, which comes right behind it: a loop that is to take as
long, of nothing but counting. The echoes that take more than the bound show how
many of the sections above it are the work of interrupts and of the host.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULE = ROOT / 'build' / 'sections' / 'ngx_http_academy_module.so'
os.environ['ACADEMY_MODULE'] = str(MODULE)
sys.path[:0] = [str(HERE.parent / 'lib'), str(HERE.parent / 'workers')]

from academy_nginx import Nginx, free_port  # noqa: E402, F401
from exchange import IDENTITY, Client, Named, mailbox, message  # noqa: E402
from test_delivery import Listener  # noqa: E402

import servers  # noqa: E402

BOUND = 5.0

# an agent with as many classes as it may have
KNOWN = [('limits', 'create')]
HEAD = struct.Struct('=QQ')
RECORD = struct.Struct('=iiIIII')


# what the processes have noted


class Names:
    """Functions, by where in the module they call lock() and unlock()."""

    def __init__(self) -> None:
        symbols = subprocess.run(
            ['nm', MODULE], check=True, capture_output=True, text=True).stdout
        self.base = int(re.search(
            r'(?m)^(\w+) [tT] ngx_http_academy_zone_lock$', symbols)[1], 16)
        self.known: dict[int, str] = {}

    def learn(self, offsets: set[int]) -> None:
        asked = sorted(offsets - set(self.known))
        if not asked:
            return
        said = subprocess.run(
            ['addr2line', '-f', '-e', MODULE],
            input=''.join(f'{self.base + n - 1:#x}\n' for n in asked),
            check=True, capture_output=True, text=True).stdout.splitlines()
        for n, name in zip(asked, said[::2]):
            self.known[n] = re.sub(
                'ngx_http_academy_(zone_)?(.*?)(_handler)?$', r'\2', name)

    def kind(self, begin: int, end: int) -> str:
        begin, end = self.known[begin], self.known[end]
        return begin if begin == end else f'{begin} … {end}'


NAMES = Names()


def records(where: Path) -> tuple[dict[str, list[tuple]], float]:
    """Wait and CPU time of each section, and its echo's, by kind; and what it
    took to look at the clocks."""
    found = defaultdict(list)
    clocks = 0
    for path in sorted(where.glob('sections.*')):
        with path.open('rb') as f:
            n, clocks = HEAD.unpack(f.read(HEAD.size))
            rows = list(RECORD.iter_unpack(f.read(n * RECORD.size)))
        NAMES.learn({row[0] for row in rows} | {row[1] for row in rows})
        for begin, end, wait, cpu, _wall, echo in rows:
            found[NAMES.kind(begin, end)].append(
                (wait / 1000, max(0, cpu - clocks) / 1000,
                 max(0, echo - clocks) / 1000))
        path.unlink()
    return found, clocks / 1000


class Scene:
    """An nginx whose sections are noted."""

    def __init__(self, **pieces) -> None:
        self.where = Path(tempfile.mkdtemp(prefix='academy-sections-'))
        os.environ['ACADEMY_SECTIONS'] = str(self.where / 'sections')
        pieces.setdefault('zone', '256m')
        main = 'env ACADEMY_SECTIONS; worker_rlimit_nofile 20000;'
        if os.geteuid() == 0:
            main += ' user root;'
        self.server = Nginx(main=main, log_level='warn', connections=16000,
                            **pieces)

    def __enter__(self) -> Nginx:
        return self.server.start()

    def __exit__(self, *exc) -> None:
        self.server.__exit__(*exc)
        self.found, self.clocks = records(self.where)
        self.where.rmdir()


class Bulk:
    """Many requests on one connection, some at a time on their way."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @classmethod
    async def open(cls, port: int, kind=Client) -> Bulk:
        return cls(await kind.open(port))

    async def ask(self, requests, wanted=(200,)) -> None:
        requests = iter(requests)
        while some := list(itertools.islice(requests, 100)):
            for request in some:
                self.client.send(*request)
            for _ in some:
                answer = await self.client.answer()
                assert answer.status in wanted, answer

    async def create(self, n: int, agent: str | None = None) -> list[str]:
        boxes = [mailbox() for _ in range(n)]
        more = {'agent': agent} if agent else {}
        await self.ask(('POST', '/mailbox', {'mailbox': box, **more})
                       for box in boxes)
        return boxes

    async def put(self, box: str, n: int, body: object = 'x', **more) -> None:
        await self.ask(('PUT', '/message',
                        {'message': message(box, body, **more)})
                       for _ in range(n))

    async def terminate(self, boxes: list[str]) -> None:
        await self.ask(('DELETE', '/mailbox', {'mailbox': box})
                       for box in boxes)


# scenes; each returns what it has found


def small() -> Scene:
    """3,000 of put and get, 3,000 actions, by one client"""
    with (scene := Scene()) as server:
        for mode in ('putget', 'actions'):
            servers.load(Plain(server), mode, '-n', 1, '-c', 3000,
                         '-S', 7 if mode == 'putget' else 8)
    return scene


class Plain:
    """A server of t/lib, for the load generator."""

    name = 'nginx'
    tls = False

    def __init__(self, server: Nginx) -> None:
        self.port = server.port
        self.working = server.workers


def large() -> Scene:
    """120 messages of 500 KB and 500 of each of 5 KB, 3 KB and 900 bytes"""
    async def go(server):
        bulk = await Bulk.open(server.port)
        box, other = await bulk.create(2)
        await bulk.put(box, 120, 'x' * 500_000)
        for size in (5000, 3000, 900):
            await bulk.put(other, 500, 'x' * size)
        for _ in range(60):
            assert (await bulk.client.get(box)).status == 200
        for _ in range(1500):
            assert (await bulk.client.get(other)).status == 200
        await bulk.terminate([box, other])
        await asyncio.sleep(0.3)

    with (scene := Scene()) as server:
        asyncio.run(go(server))
    return scene


def ends() -> Scene:
    """mailboxes end that have 2,000 messages, 1,000 open requests"""
    async def go(server):
        bulk = await Bulk.open(server.port)
        (asker,) = await bulk.create(1)
        box, other = await bulk.create(2, 'a.B,a.C')
        await bulk.put(box, 2000)
        await bulk.put(other, 1000, kind='request', src=asker)
        await bulk.terminate([box, other])
        await asyncio.sleep(0.3)
        for _ in range(1000):
            assert (await bulk.client.get(asker)).status == 200

    with (scene := Scene()) as server:
        asyncio.run(go(server))
    return scene


def leases() -> Scene:
    """two listeners at a mailbox, with 900 messages each, end one by one"""
    async def go(server):
        bulk = await Bulk.open(server.port)
        (box,) = await bulk.create(1)
        listeners = [Listener(server.port, box) for _ in range(2)]
        for listener in listeners:
            await bulk.put(box, 1)
            await asyncio.sleep(0.05)
        for listener in listeners:
            listener.deafen()
        await bulk.put(box, 2500)
        await asyncio.sleep(0.3)
        for listener in listeners:
            listener.close()
            await asyncio.sleep(0.3)
        listener = Listener(server.port, box)
        found = 0
        while found < 2500:
            found += len(await asyncio.to_thread(listener.some))
        await asyncio.sleep(0.3)
        listener.close()

    with (scene := Scene()) as server:
        asyncio.run(go(server))
    return scene


def waiters() -> Scene:
    """2,000 polls at a mailbox with 200 shares; one is withdrawn, all end"""
    async def go(server):
        client = await Named.open(server.port)
        groups = [f'group-{n}' for n in range(199)]
        client.groups = ','.join(['lab', *groups])
        box = await client.new()
        for group in ['lab', *groups]:
            answer = await client.request('POST', '/mailbox/share', {
                'mailbox': box, 'group_id': group})
            assert answer.status == 200
        answer = await client.request('GET', '/mailbox/share',
                                      {'mailbox': box})
        assert len(answer.json()['group_ids']) == 200
        polls = []
        for n in range(2000):
            poll = await Named.open(server.port)
            poll.name = 'bob'
            poll.groups = 'lab' if n % 2 else groups[-1]
            poll.send_get(box, 60)
            polls.append(poll)
        await asyncio.sleep(0.2)
        answer = await client.request('DELETE', '/mailbox/share', {
            'mailbox': box, 'group_id': 'lab'})
        assert answer.status == 200
        for poll in polls[1::2]:
            assert (await poll.answer()).status == 403
        await client.terminate(box)
        for poll in polls[::2]:
            assert (await poll.answer()).status == 419
        for poll in polls:
            poll.close()

    with (scene := Scene(location=IDENTITY)) as server:
        asyncio.run(go(server))
    return scene


def parked() -> Scene:
    """1,500 streams get a message each, and are told to end by a reload"""
    async def go(server):
        bulk = await Bulk.open(server.port)
        boxes = await bulk.create(1500)
        streams = [await (await Client.open(server.port)).stream(box)
                   for box in boxes]
        await bulk.ask(('PUT', '/message', {'message': message(box, 1)})
                       for box in boxes)
        for stream in streams:
            await stream.next()
        await asyncio.to_thread(server.reload)
        for stream in streams:
            assert await stream.next() is None
            stream.close()

    with (scene := Scene()) as server:
        asyncio.run(go(server))
    return scene


def classes() -> Scene:
    """20,000 agents of a class are discovered, and go"""
    async def go(server):
        bulk = await Bulk.open(server.port)
        boxes = await bulk.create(20_000, 'a.Crowd,a.Base')
        for _ in range(5):
            answer = await bulk.client.request('GET', '/discover', {
                'agent': 'a.Base', 'allow_subclasses': True})
            assert len(answer.body) > 20_000 * 36
        await bulk.terminate(boxes)
        await asyncio.sleep(0.3)

    with (scene := Scene()) as server:
        asyncio.run(go(server))
    return scene


def limits() -> Scene:
    """agents with 128 classes; mailboxes with 256 shares expire"""
    async def go(server):
        client = await Named.open(server.port)
        names = ','.join(f'package.module.Class{n:03}' for n in range(128))
        boxes = []
        for _ in range(200):
            boxes.append(await client.create(mailbox(), names))
        for box in boxes[:100]:
            await client.terminate(box)
        groups = [f'g{n}' for n in range(256)]
        client.groups = ','.join(groups)
        for box in boxes[100:110]:
            for group in groups:
                answer = await client.request('POST', '/mailbox/share', {
                    'mailbox': box, 'group_id': group})
                assert answer.status == 200
            answer = await client.request('GET', '/mailbox/share',
                                          {'mailbox': box})
            assert answer.status == 200
        client.name, client.groups = 'bob', 'g255'
        for box in boxes[100:110]:
            assert await client.status(box) == 'ACTIVE'
        await asyncio.sleep(4.5)

    with (scene := Scene(location=IDENTITY,
                         http='academy_gravestone_expiry 2s;')) as server:
        asyncio.run(go(server))
    return scene


def expiry() -> Scene:
    """20,000 mailboxes, 4,000 messages and 4,000 open requests expire"""
    async def go(server):
        bulk = await Bulk.open(server.port)
        boxes = await bulk.create(20_000)
        await bulk.put(boxes[0], 4000)
        await bulk.put(boxes[1], 2000, 'x' * 3000)
        await bulk.put(boxes[2], 4000, kind='request')
        await asyncio.sleep(7)

    with (scene := Scene(http='academy_message_expiry 2s;'
                              'academy_gravestone_expiry 3s;')) as server:
        asyncio.run(go(server))
    return scene


def again() -> Scene:
    """2,000 requests that an agent has received come to another one"""
    async def go(server):
        bulk = await Bulk.open(server.port)
        box, asker = await bulk.create(2)
        await bulk.put(box, 2000, kind='request', src=asker)
        for _ in range(2):
            listener = Listener(server.port, box)
            found = 0
            while found < 2000:
                found += len(await asyncio.to_thread(listener.some))
            await asyncio.sleep(0.3)
            listener.close()
            await asyncio.sleep(2)
        await bulk.terminate([box])
        await asyncio.sleep(0.5)

    with (scene := Scene(location='academy_redeliver on;'
                                  'academy_agent_timeout 1s;')) as server:
        asyncio.run(go(server))
    return scene


def deaths() -> Scene:
    """a worker is killed, with 1,800 messages; another exits, with as many"""
    async def go(server):
        bulk = await Bulk.open(server.port)
        (box,) = await bulk.create(1)

        async def lend():
            listeners = [Listener(server.port, box) for _ in range(2)]
            for listener in listeners:
                await bulk.put(box, 1)
                await asyncio.sleep(0.05)
                listener.deafen()
            await bulk.put(box, 2000)
            await asyncio.sleep(0.3)
            return listeners

        listeners = await lend()
        server.expect('exited on signal 9')
        os.kill(server.workers()[0], signal.SIGKILL)
        await asyncio.sleep(1.5)
        for listener in listeners:
            listener.close()
        bulk = await Bulk.open(server.port)
        listeners = await lend()
        (old,) = server.workers()
        server.signal(signal.SIGHUP)
        await asyncio.sleep(3.5)
        with contextlib.suppress(ProcessLookupError):
            os.kill(old, signal.SIGKILL)
        await asyncio.sleep(2.5)
        for listener in listeners:
            listener.close()

    with (scene := Scene()) as server:
        asyncio.run(go(server))
    return scene


def looks() -> Scene:
    """20,000 mailboxes and 2,000 messages are looked at by the status page"""
    async def go(server):
        bulk = await Bulk.open(server.port)
        boxes = await bulk.create(20_000, 'a.B')
        await bulk.put(boxes[0], 2000)
        for query in ('format=json', 'view=mailboxes', 'view=mailboxes&sort='
                      'name', 'view=mailboxes&search=abc'):
            answer = await bulk.client.request('GET', '/status?' + query)
            assert answer.status == 200, answer
            await asyncio.sleep(1.1)

    with (scene := Scene(server='location = /status { academy_status exchange;'
                                ' academy_status_admin 1; }')) as server:
        asyncio.run(go(server))
    return scene


SCENES = (small, large, ends, leases, waiters, parked, classes, limits, expiry,
          again, deaths, looks)


# what came of it


def least(rounds: list[list[float]]) -> tuple[list[float], bool]:
    """Of each occurrence; by rank, where there are not as many each time: and
    whether there were."""
    counts = {len(times) for times in rounds}
    if len(counts) > 1:
        most = min(counts)
        rounds = [sorted(times)[-most:] for times in rounds]
    return sorted(map(min, zip(*rounds))), len(counts) == 1


def quantile(times: list[float], q: float) -> float:
    return times[min(len(times) - 1, int(q * len(times)))]


class Noise:
    """Sections and their echoes: how many are above the bound, and the most
    that one took."""

    def __init__(self) -> None:
        self.n = 0
        self.above = [0, 0]
        self.most = [0.0, 0.0]

    def add(self, times: list[tuple]) -> Noise:
        self.n += len(times)
        for i in (0, 1):
            part = [time[i + 1] for time in times]
            self.above[i] += sum(t > BOUND for t in part)
            self.most[i] = max(self.most[i], *part)
        return self

    def join(self, other: Noise) -> None:
        self.n += other.n
        self.above = [sum(pair) for pair in zip(self.above, other.above)]
        self.most = [max(pair) for pair in zip(self.most, other.most)]

    def __str__(self) -> str:
        return (f'{self.n:,} sections, {self.above[0]:,} above {BOUND:.0f} us, '
                f'the longest {self.most[0]:.1f}; of their echoes '
                f'{self.above[1]:,}, the longest {self.most[1]:.1f}')


def beside(noise: Noise) -> str:
    return '  '.join(f'{above:5} {most:7.2f}'
                     for above, most in zip(noise.above, noise.most))


def play(scene, rounds: int) -> list[tuple]:
    found = [scene().found for _ in range(rounds)]
    rows = []
    for kind in sorted(set().union(*found)):
        rounds_of = [[cpu for _, cpu, _ in round_.get(kind, [])]
                     for round_ in found]
        rounds_of = [times for times in rounds_of if times]
        times, same = least(rounds_of)
        noise = Noise()
        for round_ in found:
            if kind in round_:
                noise.add(round_[kind])
        rows.append((kind, len(times), statistics.median(times),
                     quantile(times, 0.99),
                     quantile(times, 1 if same else 0.999), noise))
    return rows


def contend(workers: int, seconds: float) -> tuple[list[tuple], tuple]:
    """By kind; and of an action: sections, microseconds held and of CPU."""
    with (scene := Scene(workers=workers)) as server:
        run = servers.load(Plain(server), 'actions', '-n', 32, '-s', seconds,
                           '-S', workers)
    held = [cpu for times in scene.found.values() for _, cpu, _ in times]
    # what interrupts take is everybody's, not the lock's
    most = quantile(sorted(held), 0.999)
    sections = len(held) / run['ops']
    # looked at twice
    beside = sum(echo + 2 * scene.clocks
                 for times in scene.found.values() for _, _, echo in times)
    action = (sections, sum(min(cpu, most) for cpu in held) / run['ops'],
              run['cpu'] - beside / run['ops'])
    rows = []
    for kind, times in sorted(scene.found.items()):
        cpu = sorted(cpu for _, cpu, _ in times)
        wait = sorted(wait for wait, _, _ in times)
        rows.append((kind, len(cpu), quantile(cpu, 0.5), quantile(cpu, 0.99),
                     quantile(cpu, 0.999),
                     sum(t > BOUND for t in cpu) / len(cpu),
                     quantile(wait, 0.5), quantile(wait, 0.99),
                     quantile(wait, 0.999), Noise().add(times)))
    return rows, action


def predict(workers: int, action: tuple, handover: float,
            shards: int = 1) -> float:
    """Actions a second of so many busy workers, by mean value analysis: each
    works for some time outside of the lock, and waits for it behind those who
    came first. When it is wanted by others each section takes a hand-over
    longer. With shards there are as many locks, each with its part."""
    sections, held, cpu = action
    outside = cpu - held
    queue, rate = 0.0, 0.0
    for n in range(1, workers + 1):
        busy = min(1.0, rate * held / shards)
        service = held + sections * handover * busy
        response = service * (1 + queue)
        rate = n / (outside + response)
        queue = rate * response / shards
    return rate * 1e6


def model(action: tuple) -> None:
    subprocess.run(['make', '-s', '-C', HERE, '../../build/bench-handover'],
                   check=True)
    said = [subprocess.run([ROOT / 'build' / 'bench-handover'], check=True,
                           capture_output=True, text=True).stdout.split()
            for _ in range(3)]
    alone, handover = (min(float(x[i]) for x in said) / 1000 for i in (0, 1))
    sections, held, cpu = action
    print(f'an action: {cpu:.1f} us of CPU, {sections:.1f} sections, '
          f'{held:.2f} us within; a lock nobody wants {alone:.3f} us, a '
          f'hand-over {handover:.3f} us')
    one = predict(1, action, handover)
    for shards in (1, 4):
        print(f'with {shards} lock' + 's' * (shards > 1) + ': ' + ', '.join(
            f'{n} workers {predict(n, action, handover, shards):,.0f}/s '
            f'({predict(n, action, handover, shards) / one / n:.0%})'
            for n in (2, 4, 8, 16, 32)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--only', action='append', metavar='NAME',
                        choices=[f.__name__ for f in SCENES] + ['contend'])
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    servers.raise_limits()
    began = time.monotonic()
    worst: dict[str, tuple] = {}
    noise: dict[str, Noise] = {}

    for scene in SCENES:
        if args.only and scene.__name__ not in args.only:
            continue
        print(f'{scene.__name__}: {scene.__doc__}; sections, p50, p99 and '
              f'most of the least; above {BOUND:.0f} us and the longest of all '
              'rounds, and of their echoes', flush=True)
        for row in play(scene, args.rounds):
            kind, n, p50, p99, most, seen = row
            print(f'  {kind:44} {n:7} {p50:6.2f} {p99:6.2f} {most:6.2f}   '
                  + beside(seen), flush=True)
            if (scene.__name__, kind) not in KNOWN:
                noise.setdefault(kind, Noise()).join(seen)
            if kind not in worst or p99 > worst[kind][1]:
                worst[kind] = (scene.__name__, p99)

    if not args.only or 'contend' in args.only:
        for workers in (2, 4, 8):
            print(f'{workers} workers, actions: sections, held p50 p99 p99.9, '
                  f'share above {BOUND:.0f} us, waited p50 p99 p99.9; above '
                  f'{BOUND:.0f} us and the longest, and of echoes')
            rows, action = contend(workers, 2)
            if workers == 2:
                first = action
            for row in rows:
                kind, n, *held, share, w50, w99, w999, seen = row
                noise.setdefault(kind, Noise()).join(seen)
                print(f'  {kind:44} {n:7} '
                      + ' '.join(f'{t:6.2f}' for t in held)
                      + f' {share:8.5f} {w50:6.2f} {w99:6.2f} {w999:8.2f}   '
                      + beside(seen), flush=True)
        model(first)

    whole = Noise()
    for kind, seen in sorted(noise.items()):
        print(f'{kind}: {seen}')
        whole.join(seen)
    print(f'all: {whole}')

    above = {kind: row for kind, row in worst.items() if row[1] > BOUND
             and (row[0], kind) not in KNOWN}
    for kind, (scene, most) in sorted(above.items()):
        print(f'above {BOUND:.0f} us: {kind}, p99 {most:.1f} us ({scene})')
    print(f'{time.monotonic() - began:.0f} s')
    return 1 if above else 0


if __name__ == '__main__':
    sys.exit(main())
