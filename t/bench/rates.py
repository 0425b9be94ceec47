"""The parts of the bench with rates: what is put, taken and answered."""

from __future__ import annotations

import servers
from peers import ModuleTLS
from peers import nats_go
from peers import Nats
from peers import Nchan
from peers import NginxTLS
from peers import redis_lists
from rounds import Bench
from rounds import compare
from rounds import PAIRS
from rounds import ratio
from servers import Module
from servers import Nginx
from servers import OnRedis
from servers import Redis
from servers import Reference

# what NATS could do if its clients cost no more than those of the others
BARE = 'NATS, bare clients'


def part_putget(bench: Bench) -> None:
    """put + get, on one connection and on 16; Redis has a list for it."""
    with (
        Module() as module,
        Nginx() as plain,
        Reference() as reference,
        Redis() as redis,
    ):
        for n in (1, PAIRS):
            name = f'put+get, {n} connection' + 's' * (n > 1)
            results = compare(
                bench,
                name,
                [
                    (module, 'putget'),
                    (plain, 'return200'),
                    (redis, redis_lists, 'Redis, LPUSH + LPOP'),
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
            to_plain(bench, name, ours, results[plain.name], 0.75)
        bench.clean(module)


def to_plain(
    bench: Bench,
    name: str,
    ours: list[dict],
    theirs: list[dict],
    least: float,
) -> None:
    bench.row(
        name,
        'rate, to `return 200`',
        ratio(ours, theirs),
        '×',
        least,
        least=True,
    )
    bench.row(
        name,
        'worker CPU, to `return 200`',
        ratio(ours, theirs, 'cpu'),
        '×',
    )


def part_tls(bench: Bench) -> None:
    """put + get over TLS, on connections that are kept."""
    name = f'put+get over TLS, {PAIRS} connections'
    with ModuleTLS() as module, NginxTLS() as plain:
        results = compare(
            bench,
            name,
            [(module, 'putget'), (plain, 'return200')],
            PAIRS,
        )
        ours = results[module.name]
        to_plain(bench, name, ours, results[plain.name], 0.9)
        bench.clean(module)


def part_actions(bench: Bench) -> None:
    """Actions over event streams, 16 pairs, and what is like them elsewhere."""
    name = f'actions, {PAIRS} pairs'
    with (
        Module() as module,
        Nchan() as nchan,
        Nats() as nats,
        Reference() as reference,
    ):
        results = compare(
            bench,
            name,
            [
                (module, 'actions'),
                (nats, nats_go),
                (nats, 'nats', BARE),
                (nchan, 'nchan'),
                (reference, 'actions'),
            ],
            PAIRS,
        )
        ours = results[module.name]
        theirs = results[reference.name]
        for other, least in (
            (nats.name, 1.0),
            (BARE, None),
            (nchan.name, 1.6),
            (reference.name, 15),
        ):
            bench.row(
                name,
                f'rate, to {other}',
                ratio(ours, results[other]),
                '×',
                least,
                least=True,
            )
        for other, most in ((nats.name, 1), (BARE, None), (nchan.name, 1)):
            bench.row(
                name,
                f'p99, to that of {other}',
                ratio(ours, results[other], 'p99'),
                '×',
                most,
            )
        bench.row(
            name,
            "p99, to the reference's p50",
            [x['p99'] / y['p50'] for x, y in zip(ours, theirs)],
            '×',
            1,
        )
        bench.row(
            name,
            'worker CPU of each',
            [run['cpu'] for run in ours],
            'us',
            40,
            digits=1,
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
