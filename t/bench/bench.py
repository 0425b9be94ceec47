#!/usr/bin/env python3
"""`make bench`: what the exchange reaches, beside nginx and the reference.

Every figure with a target is a row; the exit status is 1 when one is missed.
All servers of a comparison run at the same time, and rounds go round them, so
that whatever else the machine does hits all of them alike.  A figure is the
median of the rounds, its range is their lowest and highest.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import statistics
import sys
import time
import traceback
from typing import Callable

import report
import servers
from report import Row
from servers import Load
from servers import load
from servers import LockWatch
from servers import Module
from servers import Nginx
from servers import OnRedis
from servers import Redis
from servers import Reference

KIB = 1024
PARKED = 10_000
AGENTS = 100_000
PAIRS = 16
LIMIT = 600


class Bench:
    """One run of the bench: what is asked for, and what came of it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.quick = args.quick
        self.rounds = args.rounds or (2 if args.quick else 5)
        self.seconds = 0.6 if args.quick else 2.0
        self.warm = 0.1 if args.quick else 0.3
        self.rows: list[Row] = []
        self.rates: dict[str, dict[str, list[dict]]] = {}
        self.large: dict[str, dict[str, list[float]]] = {}
        self.facts: list[tuple[str, str]] = []
        self.seed = 0

    def ids(self) -> tuple[str, int]:
        """Arguments that give a run ids of its own."""
        self.seed += 1
        return '-S', self.seed

    def row(
        self,
        part: str,
        name: str,
        figures: list[float] | float,
        unit: str,
        target: float | None = None,
        *,
        least: bool = False,
        digits: int = 2,
    ) -> None:
        """One figure: the median, held against the least or the most."""
        if not isinstance(figures, list):
            figures = [figures]
        row = Row(part, name, figures, unit, target, least, digits)
        self.rows.append(row)
        print('  ' + row.line(), flush=True)

    def count(self, part: str, name: str, have: int, want: int) -> None:
        self.row(part, name, float(have), '', float(want), least=True, digits=0)

    def clean(self, server: servers.Server) -> None:
        for line in server.alarms()[:3]:
            print(f'  {line}')
            self.count('the log', f'{server.name}: no alert', 0, 1)


def ratio(a: list[dict], b: list[dict], key: str = 'rate') -> list[float]:
    return [x[key] / y[key] for x, y in zip(a, b)]


def median(runs: list[dict], key: str) -> float:
    return statistics.median(run[key] for run in runs)


# rates


def compare(
    bench: Bench,
    name: str,
    runs: list[tuple[servers.Server, str]],
    n: int,
) -> dict[str, list[dict]]:
    """Rounds of one kind of load over all servers."""
    results: dict[str, list[dict]] = {server.name: [] for server, _ in runs}
    for i in range(bench.rounds):
        # not always the same one first
        for server, mode in runs if i % 2 == 0 else reversed(runs):
            results[server.name].append(
                load(
                    server,
                    mode,
                    *('-n', n, '-s', bench.seconds, '-w', bench.warm),
                    *bench.ids(),
                ),
            )
    bench.rates[name] = results
    for server, _ in runs:
        r = results[server.name]
        print(
            f'  {name}: {server.name}: {median(r, "rate"):,.0f}/s, '
            f'{median(r, "cpu"):.1f} us CPU',
            flush=True,
        )
    return results


def part_putget(bench: Bench) -> None:
    """put + get, on one connection and on 16."""
    with Module() as module, Nginx() as plain, Reference() as reference:
        for n in (1, PAIRS):
            name = f'put+get, {n} connection' + 's' * (n > 1)
            results = compare(
                bench,
                name,
                [
                    (module, 'putget'),
                    (plain, 'return200'),
                    (reference, 'putget'),
                ],
                n,
            )
            ours = results[module.name]
            bench.row(
                name,
                'rate, to the reference',
                ratio(ours, results[reference.name]),
                '×',
                20,
                least=True,
                digits=1,
            )
            bench.row(
                name,
                'rate, to `return 200`',
                ratio(ours, results[plain.name]),
                '×',
                0.60,
                least=True,
            )
            bench.row(
                name,
                'worker CPU, to `return 200`',
                ratio(ours, results[plain.name], 'cpu'),
                '×',
            )
        bench.clean(module)


def part_actions(bench: Bench) -> None:
    """Actions over event streams, 16 pairs."""
    name = f'actions, {PAIRS} pairs'
    with Module() as module, Reference() as reference:
        results = compare(
            bench,
            name,
            [(module, 'actions'), (reference, 'actions')],
            PAIRS,
        )
        ours = results[module.name]
        theirs = results[reference.name]
        bench.row(
            name,
            'rate, to the reference',
            ratio(ours, theirs),
            '×',
            15,
            least=True,
            digits=1,
        )
        bench.row(
            name,
            "p99, to the reference's p50",
            [x['p99'] / y['p50'] for x, y in zip(ours, theirs)],
            '×',
            1,
        )
        bench.clean(module)


def part_redis(bench: Bench) -> None:
    """Both with their mailboxes in a Redis, each in one of its own.

    The reference has a hundred connections to it, and each listener keeps one:
    it is started anew for each round, or they are used up.
    """
    rounds = bench.rounds
    with Redis() as ours, Redis() as theirs, OnRedis(ours) as module:
        for name, mode, n, target in (
            (f'on Redis: put+get, {PAIRS} connections', 'putget', PAIRS, 20),
            (f'on Redis: actions, {PAIRS} pairs', 'actions', PAIRS, 40),
        ):
            cpu = ours.cpu()
            results: dict[str, list[dict]] = {}
            bench.rounds = 1
            for i in range(rounds):
                with Reference(theirs) as reference:
                    runs = [(module, mode), (reference, mode)]
                    round_ = compare(
                        bench,
                        name,
                        runs if i % 2 == 0 else runs[::-1],
                        n,
                    )
                for server, figures in round_.items():
                    results.setdefault(server, []).extend(figures)
            bench.rounds = rounds
            bench.rates[name] = results
            cpu = ours.cpu() - cpu
            rates = results[module.name]
            bench.row(
                name,
                'rate, to the reference on Redis',
                ratio(rates, results[reference.name]),
                '×',
                target,
                least=True,
                digits=1,
            )
            done = sum(run['rate'] for run in rates) * (
                bench.seconds + bench.warm
            )
            bench.row(
                name,
                "Redis's CPU of each",
                cpu / done * 1e6,
                'us',
                digits=1,
            )
        bench.clean(module)


# parked streams


def part_parked(bench: Bench) -> None:
    """10,000 event streams, and what they cost."""
    name = f'{PARKED:,} event streams'
    idle_each = idle_bytes(bench)
    idle_seconds = 3 if bench.quick else 10

    with Module('64m') as module:
        run = Load(module, 'park', '-N', PARKED, '-i', *bench.ids())
        assert run.line()['phase'] == 'created'
        before = module.memory()
        parked = run.step()
        after = module.memory()
        bench.count(name, 'streams opened', parked['opened'], PARKED)
        if parked['opened'] != PARKED:
            raise RuntimeError(f'streams: {parked["first_error"]}')

        each = (after[0] - before[0]) / PARKED
        bench.row(
            name,
            "memory each, above an idle keep-alive connection",
            (each - idle_each) / KIB,
            'KiB',
            8,
        )
        bench.row(name, 'memory each', each / KIB, 'KiB')
        bench.row(
            name,
            'zone growth each',
            (after[1] - before[1]) / PARKED / KIB,
            'KiB',
        )
        bench.facts.append(
            ('opening them', f'{parked["seconds"]:.2f} s'),
        )

        # nothing happens but pings, and of those there are none at first
        pings, seconds, cpu = idle_window(run, module, idle_seconds)
        each_ping = 0.0
        if not bench.quick:
            more = idle_window(run, module, 16)
            bench.facts.append(
                (
                    'while idle',
                    f'{more[0]:,} pings in {more[1]:.0f} s: '
                    f'{more[2] * 1e6 / max(1, more[0]):.1f} us CPU each',
                ),
            )
            each_ping = more[2] / max(1, more[0])
        bench.row(
            name,
            'CPU while idle, but for its pings',
            max(0.0, cpu - pings * each_ping) / seconds * 1000,
            'ms/s',
            1,
        )

        done = run.step()
        bench.count(name, 'messages that arrived', done['arrived'], PARKED)
        bench.count(name, 'and no others', PARKED - done['doubled'], PARKED)
        bench.facts.append(
            (
                'one message to each',
                f'{done["seconds"]:.2f} s, {done["ended"]} streams ended',
            ),
        )
        run.step()
        run.close()
        bench.clean(module)

    if not bench.quick:
        with Reference() as reference:
            few = PARKED // 10
            bench.row(
                name,
                "memory each, the reference's, of 1,000",
                stream_bytes(bench, reference, few) / KIB,
                'KiB',
            )


def stream_bytes(bench: Bench, server: servers.Server, n: int) -> float:
    """Private memory of each of some parked event streams."""
    run = Load(server, 'park', '-N', n, '-i', *bench.ids())
    run.line()
    before = server.memory()
    parked = run.step()
    after = server.memory()
    run.process.terminate()
    run.close()
    if parked['opened'] != n:
        raise RuntimeError(f'streams: {parked["first_error"]}')
    return (after[0] - before[0]) / n


def idle_bytes(bench: Bench) -> float:
    """Memory of a connection that waits for its next request."""
    with Module('64m') as module:
        run = Load(module, 'idle', '-N', PARKED, '-i', *bench.ids())
        assert run.line()['phase'] == 'ready'
        before = module.memory()
        parked = run.step()
        after = module.memory()
        run.step()
        run.close()
        if parked['opened'] != PARKED:
            raise RuntimeError(f'idle: {parked["first_error"]}')
    each = (after[0] - before[0]) / PARKED
    bench.row(
        f'{PARKED:,} event streams',
        'an idle keep-alive connection',
        each / KIB,
        'KiB',
    )
    return each


def idle_window(
    run: Load,
    server: servers.Server,
    seconds: float,
) -> tuple[int, float, float]:
    """Pings, seconds, and CPU seconds of a time in which nothing is asked."""
    pings = run.step('i')['pings']
    began = time.monotonic()
    cpu = server.cpu()
    time.sleep(seconds)
    cpu = server.cpu() - cpu
    seconds = time.monotonic() - began
    return run.step('i')['pings'] - pings, seconds, cpu


def part_mailbox(bench: Bench) -> None:
    """How many mailboxes a zone holds."""
    size = 16 if bench.quick else 64
    with Module(f'{size}m') as module:
        made = load(module, 'create', '-N', 1_000_000, *bench.ids())
        bench.row(
            'mailboxes',
            f'zone bytes each, {size} MiB filled with agents',
            size * KIB * KIB / max(1, made['created']),
            'bytes',
            KIB,
            digits=0,
        )
        bench.count('mailboxes', 'status when it is full', made['refused'], 503)
        bench.facts.append(
            (
                f'a {size} MiB zone holds',
                f'{made["created"]:,} agents with two classes',
            ),
        )
        bench.clean(module)


def part_expiry(bench: Bench) -> None:
    """What it costs to look at all mailboxes for what has expired: with times
    of a second it is done each second."""
    name = 'expiry'
    count = 50_000 if bench.quick else 200_000
    found = {}
    for what, expiry in (('off', 0), ('on', 1)):
        module = Module('96m')
        module.http += (
            f'\n    academy_message_expiry {expiry};'
            '\n    academy_gravestone_expiry 0;'
        )
        with module:
            made = load(module, 'create', '-N', count, *bench.ids())
            bench.count(name, 'mailboxes', made['created'], count)
            seconds = 2 if bench.quick else 4
            with LockWatch(module) as watch:
                cpu, began = module.cpu(), time.monotonic()
                time.sleep(seconds)
                cpu = module.cpu() - cpu
                found[what] = cpu / (time.monotonic() - began)
            if expiry:
                lock_row(bench, name, watch)
            bench.clean(module)
    each = (found['on'] - found['off']) / count
    bench.row(
        name,
        'worker CPU for a look at a mailbox',
        each * 1e6,
        'us',
        1,
        digits=3,
    )
    # by default there is a round in 1/32 of a week
    bench.facts.append(
        (
            '1,000,000 mailboxes, looked at as by default',
            f'{each * 1e6 / (7 * 86400 / 32) * 1e6:.0f} us of CPU a second',
        ),
    )


# large messages

UID = '0000b19e-0001-4000-8000-000000000001'
MAILBOX = json.dumps(
    {'uid': UID, 'name': None, 'role': 'agent'},
    separators=(',', ':'),
)
GET = json.dumps({'mailbox': MAILBOX, 'timeout': 5}).encode()
SIZE = 500_000


def fill(item: Callable[[int], str], room: int) -> str:
    """A JSON array of items, as long as there is room."""
    parts = []
    used = 2
    while used < room - 1200:
        parts.append(item(len(parts)))
        used += len(parts[-1].encode()) + 1
    return '[' + ','.join(parts) + ']'


def contents() -> dict[str, Callable[[int], str]]:
    """What a body of 500 KB may hold: each makes JSON of about its size."""
    rng = random.Random(1)
    digits = ''.join(rng.choice('123456789') for _ in range(1000))
    text = 'Žluťoučký kůň 漢字かな交じり文 Привет 🙂🚀 '
    return {
        'one long string': lambda n: '"' + 'x' * (n - 2) + '"',
        'floats': lambda n: fill(lambda i: repr(rng.uniform(-1e6, 1e6)), n),
        'raw UTF-8': lambda n: '"' + text * (n // len(text.encode())) + '"',
        'small objects': lambda n: fill(
            lambda i: '{"id":%d,"name":"n%d","ok":true,"x":[]}' % (i, i),
            n,
        ),
        '"a","a",…': lambda n: '[' + ','.join(['"a"'] * ((n - 2) // 4)) + ']',
        'backslashes': lambda n: '"' + '\\\\' * ((n - 2) // 2) + '"',
        'digits': lambda n: fill(lambda i: digits, n),
        '{},{},…': lambda n: '[' + ','.join(['{}'] * ((n - 2) // 3)) + ']',
        'UTF-8, escaped': lambda n: (
            '"' + text * (n // len(text.encode())) + '"'
        ),
    }


def large_message(
    name: str, make: Callable[[int], str], number: int
) -> tuple[str, bytes]:
    """A message of 500 KB, and the body of the PUT that brings it; two with
    one number would be taken for the same, sent again."""
    header = json.dumps(
        {
            'src': json.loads(MAILBOX),
            'dest': json.loads(MAILBOX),
            # the load generator counts in it
            'tag': f'0000b19e-0000-4000-9000-{number:012x}',
            'label': None,
            'kind': 'response',
            'protocol_version': '1.1',
            'academy_version': '1.0.0',
        },
        separators=(',', ':'),
    )
    room = SIZE - len(header) - len('{"header":,"body":}')
    message = '{"header":%s,"body":%s}' % (header, make(room))
    # the Python client escapes whatever is not ASCII
    escape = name.endswith('escaped')
    body = json.dumps({'message': message}, ensure_ascii=escape)
    return message, body.encode()


def raw_request(server: servers.Server, method: str, body: bytes) -> bytes:
    head = (
        f'{method} /message HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n'
        f'Content-Length: {len(body)}\r\n'
        'Content-Type: application/json\r\n\r\n'
    )
    return head.encode() + body


def pair(server: servers.Server, body: bytes) -> list[bytes]:
    return [raw_request(server, 'PUT', body), raw_request(server, 'GET', GET)]


def part_large(bench: Bench) -> None:
    """PUT and GET of 500 KB of whatever."""
    name = '500 KB, PUT + GET'
    count = 10 if bench.quick else 30
    with Module() as module, Reference() as reference:
        made = {
            key: large_message(key, f, n)
            for n, (key, f) in enumerate(contents().items())
        }
        for server in (module, reference):
            create = {'mailbox': MAILBOX}
            assert server.request('POST', '/mailbox', create)[0] == 200

        # what is not passed on untouched need not be measured
        intact = [
            key
            for key, (message, body) in made.items()
            if passes(module, message, body, key)
        ]
        bench.count(
            name,
            'contents that come as they were sent',
            len(intact),
            len(made),
        )
        bench.large = {key: {} for key in intact}

        for i in range(bench.rounds):
            for key in intact:
                body = made[key][1]
                for server in (module, reference):
                    if server is reference and (i > 0 or bench.quick):
                        continue
                    cpu = run_large(
                        server,
                        pair(server, body),
                        count if server is module else 3,
                    )
                    if cpu is not None:
                        figures = bench.large[key].setdefault(server.name, [])
                        figures.append(cpu)

        for key in intact:
            bench.row(
                name,
                f'{key}: worker CPU',
                bench.large[key][module.name],
                'ms',
                4,
            )

        with LockWatch(module) as watch:
            for key in intact:
                run_large(module, pair(module, made[key][1]), 50)
        lock_row(bench, name, watch)
        bench.clean(module)


def passes(
    server: servers.Server,
    message: str,
    body: bytes,
    key: str,
) -> bool:
    """Whether a message comes out as it went in."""
    status, text = server.request('PUT', '/message', body)
    if status == 200:
        status, text = server.request('GET', '/message', GET)
    if status == 200:
        if json.loads(text)['message'] == message:
            return True
        text = b'another message came back'
    print(f'  {key}: {status} {text[:200].decode(errors="replace")}')
    return False


def run_large(
    server: servers.Server,
    requests: list[bytes],
    count: int,
) -> float | None:
    """CPU time of one message in ms; None if the reference refuses it."""
    args: list[object] = ['-c', count]
    for i, request in enumerate(requests):
        path = os.path.join(server.dir, f'request-{i}')
        with open(path, 'wb') as f:
            f.write(request)
        args += ['-f', path]
    try:
        return load(server, 'replay', *args)['cpu'] / 1000
    except RuntimeError as e:
        if server.name != Reference.name:
            raise
        print(f'  {e}')
        return None


# discovery

RARE = 'bench.agents.Rare'
BASE = 'academy.agent.Agent'


def discover_file(
    server: servers.Server,
    agent: str,
    subclasses: bool,
    base: str = '',
) -> str:
    body = json.dumps({'agent': agent, 'allow_subclasses': subclasses})
    name = f'discover-{agent}-{subclasses}{base.replace("/", "-")}'
    path = os.path.join(server.dir, name)
    with open(path, 'wb') as f:
        f.write(
            f'GET {base}/discover HTTP/1.1\r\n'
            f'Host: 127.0.0.1:{server.port}\r\n'
            f'Content-Length: {len(body)}\r\n\r\n{body}'.encode(),
        )
    return path


def part_discovery(bench: Bench) -> None:
    """Discovery among 100,000 agents, and what others notice of it."""
    name = f'discovery among {AGENTS:,} agents'
    count = 300 if bench.quick else 1000
    with Module('256m', other=True) as module:
        for base in ('', '/other'):
            made = load(
                module,
                'create',
                *('-N', AGENTS, '-b', base),
                *bench.ids(),
            )
            bench.count(name, f'{base}/ agents', made['created'], AGENTS)

        queries = [
            ('10 members, by class', RARE, False, 10),
            ('10 members, by base class', RARE + 'Base', True, 10),
            ('no member', 'bench.agents.None', True, 0),
            ('all, by base class', BASE, True, AGENTS),
        ]
        for what, agent, subclasses, members in queries:
            _, text = module.request(
                'GET',
                '/discover',
                {'agent': agent, 'allow_subclasses': subclasses},
            )
            ids = [i for i in json.loads(text)['agent_ids'].split(',') if i]
            right = len(set(ids)) == len(ids) == members
            bench.count(name, f'{what}: the right members', right, 1)
            few = members < AGENTS
            path = discover_file(module, agent, subclasses)
            runs = [
                load(
                    module,
                    'replay',
                    *('-c', count if few else 20, '-f', path),
                )
                for _ in range(bench.rounds)
            ]
            # p99 tells more of what else the machine does
            for label, key, most in (
                ('median time', 'p50', 2),
                ('p99', 'p99', None),
                ('worker CPU', 'cpu', 2),
            ):
                bench.row(
                    name,
                    f'{what}: {label}',
                    [run[key] / 1000 for run in runs],
                    'ms',
                    most if few else None,
                    digits=3,
                )
        part_stall(bench, module, name)
        bench.clean(module)


def part_stall(bench: Bench, module: Module, name: str) -> None:
    """What puts notice while somebody asks for all agents.

    Somebody who asks for as much in another zone takes as much CPU, but not
    the lock: what is between the two is what the lock does.
    """
    bases = {'this zone': '', 'another zone': '/other'}
    figures: dict[tuple[str, bool, str], list[float]] = {}
    for _ in range(bench.rounds):
        for zone, base in bases.items():
            cells = stall_cells(bench, module, base)
            for same, some in cells.items():
                for key in ('p90', 'p99'):
                    figures.setdefault((zone, same, key), []).append(
                        statistics.median(cell[key] / 1000 for cell in some),
                    )

    for zone in bases:
        for same in (False, True):
            if (zone, same, 'p99') in figures:
                worker = 'the same' if same else 'another'
                bench.row(
                    name,
                    f'put+get while {zone} is asked, {worker} worker: p99',
                    figures[zone, same, 'p99'],
                    'ms',
                    digits=3,
                )
    # half of the puts meet somebody who asks, so a lock that is held shows in
    # the p90; of other load on the machine the best rounds have the least
    bench.row(
        name,
        'what the lock adds to the p90 in another worker',
        min(figures['this zone', False, 'p90'])
        - min(figures['another zone', False, 'p90']),
        'ms',
        0.5,
        digits=3,
    )

    with LockWatch(module) as watch:
        stall_cells(bench, module, '')
    lock_row(bench, name, watch, 0.1)


def lock_row(
    bench: Bench,
    name: str,
    watch: LockWatch,
    most: float | None = None,
) -> None:
    """How long the lock was held at a time, but for one time in a thousand."""
    if watch.result is None or watch.result['holds'] == 0:
        return
    bench.row(
        name,
        'lock held at a time, holder\'s CPU: p99.9',
        watch.result['p999'] / 1000,
        'ms',
        most,
        digits=3,
    )


def stall_cells(
    bench: Bench,
    module: Module,
    base: str,
) -> dict[bool, list[dict]]:
    """Connections that put and get meanwhile, by: is it the asked worker."""
    seconds = 1.0 if bench.quick else 2.0
    path = discover_file(module, BASE, True, base)
    for _ in range(5):
        asks = Load(
            module,
            'replay',
            *('-f', path, '-v', '-u', 10_000, '-s', seconds + 0.5),
        )
        puts = Load(
            module,
            'putget',
            *('-n', 8, '-u', 1000, '-v', '-s', seconds, '-w', 0.2),
            *bench.ids(),
        )
        where = watch_workers(module, puts)
        cells = puts.result()['cells']
        other = where[asks.result()['cells'][0]['port']]
        found: dict[bool, list[dict]] = {}
        for cell in cells:
            found.setdefault(where[cell['port']] == other, []).append(cell)
        # the kernel may have given them all to one worker
        if False in found:
            return found
    raise RuntimeError('no connection fell to another worker')


def watch_workers(module: Module, puts: Load) -> dict[int, int]:
    """Looks now and then, while the load runs, who holds its connections."""
    found: dict[int, int] = {}
    while not select.select([puts.process.stdout], [], [], 0.25)[0]:
        found.update(module.holders())
    return found


PARTS: dict[str, Callable[[Bench], None]] = {
    'putget': part_putget,
    'actions': part_actions,
    'redis': part_redis,
    'parked': part_parked,
    'mailbox': part_mailbox,
    'expiry': part_expiry,
    'large': part_large,
    'discovery': part_discovery,
}


def too_long(*_: object) -> None:
    raise SystemExit(f'bench: not done in {LIMIT} s')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='under a minute')
    parser.add_argument(
        '--only',
        action='append',
        choices=list(PARTS),
        metavar='NAME',
        help='one of: ' + ', '.join(PARTS),
    )
    parser.add_argument('--rounds', type=int, help='of each comparison')
    parser.add_argument(
        '--reference',
        default=os.environ.get('ACADEMY_REFERENCE', sys.executable),
        metavar='PYTHON',
        help='the Python that has academy-py 1.0.0 (ACADEMY_REFERENCE)',
    )
    parser.add_argument('--out', help='files to write, without .md and .svg')
    args = parser.parse_args()

    out = args.out or os.path.join(
        servers.BUILD,
        'bench-part' if args.only else 'bench-quick' if args.quick else 'bench',
    )
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT)
    servers.raise_limits()
    Reference.python = args.reference
    bench = Bench(args)
    began = time.monotonic()
    about = report.about(args.reference)

    for part in args.only or PARTS:
        print(f'{part}:', flush=True)
        try:
            PARTS[part](bench)
        except Exception as e:  # noqa: BLE001
            # one part that breaks is a target missed, not the end of the rest
            traceback.print_exc()
            bench.count(part, f'ended by {type(e).__name__}: {e}', 0, 1)

    seconds = time.monotonic() - began
    report.write(bench, about, seconds, out)
    missed = [row for row in bench.rows if row.ok is False]
    print(f'\n{report.targets(bench.rows)}')
    print(f'{os.path.relpath(out)}.md, .svg: {seconds:.0f} s')
    if missed:
        print(f'{len(missed)} targets missed')
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
