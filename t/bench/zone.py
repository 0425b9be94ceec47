"""The parts of the bench about a zone full of mailboxes."""

from __future__ import annotations

import time

from rounds import Bench
from rounds import KIB
from rounds import lock_row
from servers import load
from servers import LockWatch
from servers import Module


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
