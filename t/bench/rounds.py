"""Rounds over servers, and the rows that come of them."""

from __future__ import annotations

import argparse
import statistics
from typing import Callable

import servers
from report import Row
from servers import load
from servers import LockWatch

KIB = 1024
PAIRS = 16


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
        self.idle: float | None = None
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


def compare(
    bench: Bench,
    name: str,
    runs: list[tuple],
    n: int,
) -> dict[str, list[dict]]:
    """Rounds of one kind of load over all servers.

    Each run is a server, a mode of the load generator, or what does as load()
    does, and, where it is not the server's, a name.
    """
    results: dict[str, list[dict]] = {run_name(*run): [] for run in runs}
    for i in range(bench.rounds):
        # not always the same one first
        for run in runs if i % 2 == 0 else reversed(runs):
            server, mode = run[:2]
            do = mode if callable(mode) else loader(mode)
            results[run_name(*run)].append(
                do(
                    server,
                    *('-n', n, '-s', bench.seconds, '-w', bench.warm),
                    *bench.ids(),
                ),
            )
    bench.rates[name] = results
    for key, r in results.items():
        print(
            f'  {name}: {key}: {median(r, "rate"):,.0f}/s, '
            f'{median(r, "cpu"):.1f} us CPU',
            flush=True,
        )
    return results


def loader(mode: str) -> Callable[..., dict]:
    return lambda server, *args: load(server, mode, *args)


def run_name(server: servers.Server, mode: object, name: str = '') -> str:
    return name or server.name


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
