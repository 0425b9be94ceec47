"""The part of the bench with event streams that wait, and what they cost."""

from __future__ import annotations

import time

import servers
from peers import Listened
from rounds import Bench
from rounds import KIB
from servers import Load
from servers import Module
from servers import Reference

PARKED = 10_000

# as many as four processes have open, and four workers
CROWD = 50_000
CROWDS = 4


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
            2,
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


def part_crowd(bench: Bench) -> None:
    """50,000 event streams, and a message to each of them."""
    total = 10_000 if bench.quick else CROWD
    name = f'{CROWD:,} event streams'
    idle_each = idle_bytes(bench)
    with Listened('128m') as module:
        each = ('park', '-N', total // CROWDS, '-i')
        runs = [Load(module, *each, *bench.ids()) for _ in range(CROWDS)]
        for run in runs:
            assert run.line()['phase'] == 'created'
        before = module.memory()[0]
        opened = sum(run.step()['opened'] for run in runs)
        held = module.memory()[0] - before
        bench.count(name, 'streams opened', opened, total)
        bench.row(
            name,
            'memory each, above an idle keep-alive connection',
            (held / total - idle_each) / KIB,
            'KiB',
            2,
        )

        for run in runs:
            run.step('i')
        cpu = module.cpu()
        for run in runs:
            run.tell()
        done = [run.line() for run in runs]
        cpu = module.cpu() - cpu
        arrived = sum(each['arrived'] for each in done)
        bench.count(name, 'messages that arrived', arrived, total)
        bench.row(
            name,
            'CPU to put a message to each, and wake it',
            cpu * CROWD / total,
            's',
            2,
        )
        bench.facts.append(
            (
                f'one message to each of {total:,}',
                f'{max(each["seconds"] for each in done):.2f} s',
            ),
        )
        for run in runs:
            run.step()
            run.close()
        bench.clean(module)


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
    if bench.idle is not None:
        return bench.idle
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
    each = bench.idle = (after[0] - before[0]) / PARKED
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
