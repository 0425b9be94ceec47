#!/usr/bin/env python3
"""`make growth`: throughput and p99 against what may grow.

Each curve has a server, or one of its own for each point, and rounds that go
over all of its points, so that whatever else the machine does hits all alike.
Rates say what the machine gives; whether something grows with the exchange is
read off the worker's CPU time for an operation, which hardly depends on it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import signal
import statistics
import sys
import time
from typing import Callable
from typing import Iterator

import growth_report
import report
import servers
from peers import Listened
from servers import Load
from servers import load
from servers import Module
from servers import Nginx

LIMIT = 900
PAIRS = 16
# a process's own files, less those that it needs beside
STREAMS = 15_000
# an operation may cost so much more at the end of a curve than at its start;
# a byte more, since a large message is not in the processor's cache
FLAT = 1.5
LINEAR = 2.0


@dataclasses.dataclass
class Point:
    """What was measured for one value, once for each round."""

    value: int
    runs: list[dict] = dataclasses.field(default_factory=list)

    def mid(self, key: str) -> float:
        return statistics.median(run[key] for run in self.runs)

    def span(self, key: str) -> tuple[float, float]:
        every = [run[key] for run in self.runs]
        return min(every), max(every)


@dataclasses.dataclass
class Curve:
    """Points, and what theory says of them: is it kept?"""

    name: str
    axis: str
    points: list[Point]
    theory: str
    ratio: float | None = None

    @property
    def ok(self) -> bool | None:
        most = LINEAR if self.theory == 'linear' else FLAT
        return None if self.ratio is None else self.ratio <= most


class Growth:
    """One run: how long each round is, and the curves so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.quick = args.quick
        self.rounds = args.rounds or (1 if args.quick else 3)
        self.seconds = 0.4 if args.quick else 1.2
        self.curves: list[Curve] = []
        self.seed = 0

    def ids(self) -> int:
        self.seed += 1
        return self.seed

    def values(self, *values: int) -> list[int]:
        """Where it has to be quick, a thirtieth of the largest is enough."""
        if self.quick:
            return [v for v in values if v <= max(values) // 30 or v <= 4]
        return list(values)

    def window(self) -> tuple[object, ...]:
        return '-n', PAIRS, '-s', self.seconds, '-w', 0.2

    def measure(
        self,
        curve: Curve,
        run: Callable[[Point], dict],
    ) -> None:
        self.curves.append(curve)
        for i in range(self.rounds):
            for point in curve.points if i % 2 == 0 else curve.points[::-1]:
                point.runs.append(run(point))
        for point in curve.points:
            print(
                f'  {curve.name}: {point.value:,} {curve.axis}: '
                f'{point.mid("rate"):,.0f}/s, p99 {point.mid("p99"):,.0f} us, '
                f'{point.mid("cpu"):.1f} us CPU',
                flush=True,
            )

    def flat(self, curve: Curve, points: list[Point] | None = None) -> None:
        points = points or curve.points
        curve.ratio = points[-1].mid('cpu') / points[0].mid('cpu')
        print(f'  {curve.name}: CPU at the end / at the start: '
              f'{curve.ratio:.2f}', flush=True)


def points(values: list[int]) -> list[Point]:
    return [Point(value) for value in values]


@contextlib.contextmanager
def filled(
    growth: Growth,
    values: list[int],
    zone: Callable[[int], str],
    option: Callable[[int], tuple],
) -> Iterator[Callable[[Point], dict]]:
    """A server for each value, filled; and what measures one of them."""
    with contextlib.ExitStack() as stack:
        made = {}
        for value in values:
            server = stack.enter_context(Module(zone(value)))
            made[value] = server, growth.ids()
            load(
                server,
                'spread',
                *option(value),
                *('-n', PAIRS, '-s', 0.1, '-S', made[value][1]),
            )

        def run(point: Point) -> dict:
            server, seed = made[point.value]
            return load(
                server,
                'spread',
                '-k',
                *option(point.value),
                *growth.window(),
                *('-S', seed),
            )

        yield run
        for server, _ in made.values():
            quiet(server)


def quiet(server: servers.Server) -> None:
    if server.alarms():
        raise RuntimeError(server.alarms()[0])


def curve_mailboxes(growth: Growth) -> None:
    """put + get among more and more mailboxes."""
    values = growth.values(10, 100, 1000, 10_000, 100_000, 1_000_000)
    curve = Curve('put + get', 'mailboxes', points(values), 'flat')
    with filled(
        growth,
        values,
        lambda v: '512m' if v > 100_000 else '64m',
        lambda v: ('-M', v),
    ) as run:
        growth.measure(curve, run)
    growth.flat(curve)


def curve_queue(growth: Growth) -> None:
    """put + get on one mailbox in which messages wait."""
    values = growth.values(1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
    curve = Curve('put + get', 'messages that wait', points(values), 'flat')
    with filled(
        growth,
        values,
        lambda v: '2g' if v > 100_000 else '256m',
        lambda v: ('-M', 1, '-q', v),
    ) as run:
        growth.measure(curve, run)
    growth.flat(curve)


def curve_size(growth: Growth) -> None:
    """put + get of larger and larger messages, beside `return 200`."""
    values = [100, 1000, 10_000, 100_000, 523_900]
    curve = Curve('put + get', 'bytes', points(values), 'linear')
    plain_curve = Curve('return 200', 'bytes', points(values), 'linear')
    with Module('256m') as module, Nginx() as plain:

        def run(server: servers.Server, mode: str) -> Callable[[Point], dict]:
            return lambda point: load(
                server,
                mode,
                *('-B', point.value, '-S', growth.ids()),
                *growth.window(),
            )

        growth.measure(curve, run(module, 'putget'))
        growth.measure(plain_curve, run(plain, 'return200'))
        quiet(module)
    # what a byte takes, beyond what a message takes: as much at the end?
    first, *_, middle, last = curve.points
    curve.ratio = byte_cost(first, last) / byte_cost(first, middle)


def byte_cost(small: Point, large: Point) -> float:
    return (large.mid('cpu') - small.mid('cpu')) / (large.value - small.value)


def curve_listeners(growth: Growth) -> None:
    """Messages to any of more and more listeners."""
    values = growth.values(10, 100, 1000, 10_000, 50_000)
    curve = Curve('deliveries', 'listeners', points(values), 'flat')
    growth.measure(curve, lambda point: deliver(growth, point.value))
    # fewer listeners than connections keep fewer of these busy
    growth.flat(curve, curve.points[1:])


def deliver(growth: Growth, listeners: int) -> dict:
    """One process measures, with as many streams as it may have open; others
    hold the rest."""
    with Listened('128m') as server, contextlib.ExitStack() as stack:
        before = server.memory()[0]
        rest = listeners
        while rest > STREAMS:
            n = min(rest - STREAMS, STREAMS)
            rest -= n
            holder = Load(server, 'park', '-i', '-N', n, '-S', growth.ids())
            stack.callback(release, holder)
            holder.line()
            opened = holder.step()
            if opened['opened'] != n:
                raise RuntimeError(f'streams: {opened["first_error"]}')
        held = server.memory()[0] - before
        done = load(
            server,
            'deliver',
            *('-N', rest, '-S', growth.ids()),
            *growth.window(),
        )
        if listeners > rest:
            done['each'] = held / (listeners - rest)
        quiet(server)
    return done


def release(holder: Load) -> None:
    holder.process.terminate()
    holder.close()


def curve_workers(growth: Growth) -> None:
    """put + get, and actions, with one worker and more."""
    values = [1, 2, 3, 4]
    with contextlib.ExitStack() as stack:
        made = {}
        for value in values:
            module = Module()
            module.workers = value
            made[value] = stack.enter_context(module)
        for name, mode in (('put + get', 'putget'), ('actions', 'actions')):
            curve = Curve(name, 'workers', points(values), 'up to the cores')
            growth.measure(
                curve,
                lambda point, mode=mode: load(
                    made[point.value],
                    mode,
                    *('-S', growth.ids()),
                    *growth.window(),
                ),
            )
            # more than the cores bring nothing, and are to take little
            cores = curve.points[servers.WORKERS - 1]
            curve.ratio = cores.mid('rate') / curve.points[-1].mid('rate')
        for server in made.values():
            quiet(server)


CURVES = {
    'mailboxes': curve_mailboxes,
    'listeners': curve_listeners,
    'size': curve_size,
    'queue': curve_queue,
    'workers': curve_workers,
}


def too_long(*_: object) -> None:
    raise SystemExit(f'growth: not done in {LIMIT} s')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='smaller, shorter')
    parser.add_argument(
        '--only',
        action='append',
        choices=list(CURVES),
        metavar='NAME',
        help='one of: ' + ', '.join(CURVES),
    )
    parser.add_argument('--rounds', type=int, help='of each curve')
    args = parser.parse_args()

    part = bool(args.only or args.quick)
    out = os.path.join(servers.BUILD, 'growth-part' if part else 'growth')
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT)
    servers.raise_limits()
    growth = Growth(args)
    began = time.monotonic()
    about = report.about(sys.executable)

    for name in args.only or CURVES:
        print(f'{name}:', flush=True)
        CURVES[name](growth)

    seconds = time.monotonic() - began
    growth_report.write(growth, about, seconds, out)
    print(f'{os.path.relpath(out)}.md, .svg: {seconds:.0f} s')
    bad = [curve for curve in growth.curves if curve.ok is False]
    for curve in bad:
        print(f'not {curve.theory}: {curve.name} against {curve.axis}')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
