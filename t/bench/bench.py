#!/usr/bin/env python3
"""`make bench`: what the exchange reaches, beside nginx and the reference.

Every figure with a target is a row; the exit status is 1 when one is missed.
All servers of a comparison run at the same time, and rounds go round them, so
that whatever else the machine does hits all of them alike.  A figure is the
median of the rounds, its range is their lowest and highest.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from typing import Callable

import discovery
import large
import parked
import rates
import report
import servers
import zone
from rounds import Bench
from servers import Reference

LIMIT = 600

PARTS: dict[str, Callable[[Bench], None]] = {
    'putget': rates.part_putget,
    'tls': rates.part_tls,
    'actions': rates.part_actions,
    'waiting': large.part_waiting,
    'redis': rates.part_redis,
    'parked': parked.part_parked,
    'crowd': parked.part_crowd,
    'mailbox': zone.part_mailbox,
    'expiry': zone.part_expiry,
    'large': large.part_large,
    'discovery': discovery.part_discovery,
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
        print(f'{part}, after {time.monotonic() - began:.0f} s:', flush=True)
        try:
            PARTS[part](bench)
        except SystemExit as e:
            # what there is by now is written all the same
            bench.count(part, str(e), 0, 1)
            break
        except Exception as e:  # noqa: BLE001
            # one part that breaks is a target missed, not the end of the rest
            traceback.print_exc()
            what = ''.join(str(e).splitlines()[:1])
            bench.count(part, f'ended by {type(e).__name__}: {what}', 0, 1)

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
