"""The part of the bench with discovery, and what others notice of it."""

from __future__ import annotations

import json
import os
import select
import statistics

import servers
from rounds import Bench
from rounds import lock_row
from servers import Load
from servers import load
from servers import LockWatch
from servers import Module

AGENTS = 100_000

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
