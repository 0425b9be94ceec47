#!/usr/bin/env python3
"""`make profile`: instructions and system calls of each operation, by room of
the code.  `make test-budget`: the same held against what was recorded, for the
rooms of src/ alone, since those are ours; `make budget` records.
`make status-cost`: two modules, such as one without counting and one with it.

    rooms.py [--budget | --record | --without OTHER] [MODULE]
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import operations
from operations import Callgrind
from operations import ROOT
from operations import Strace

BUDGET = ROOT / 't' / 'budget.json'
OUT = ROOT / 'build' / 'profile.md'
MODULE = ROOT / 'build' / 'ngx_http_academy_module.so'

# more than that is too much: a part, and instructions or calls beside it
TOLERANCE, BESIDE = 0.02, 20

# a room with fewer instructions has no column of its own
SEEN = 150

# a disturbed run has more or fewer: the least of so many counts
RUNS = 3

CALLS = {'epoll_wait': 'epoll_wait', 'recvfrom': 'recv', 'read': 'read',
         'writev': 'writev', 'sendto': 'send', 'write': 'write',
         'ioctl': 'ioctl'}


def ours(counts: Counter) -> dict[str, int]:
    return {room: round(n) for room, n in sorted(counts.items())
            if (room == 'calls' or room.startswith('src')) and round(n)}


def compiler(module: Path) -> str:
    found = re.search(rb'GCC: \([^)]*\) ([\d.]+)', module.read_bytes())
    name = f'gcc {found[1].decode()}' if found else 'another compiler'
    return f'{name}, {platform.machine()}'


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ['| ' + ' | '.join(line) + ' |' for line in (head, *rows)]
    lines.insert(1, '|---|' + '---:|' * (len(head) - 1))
    return '\n'.join(lines) + '\n'


def figure(n: float) -> str:
    return f'{n:,.0f}' if n >= 0.5 else ''


def calls(counts: Counter) -> str:
    parts = []
    others = 0.0
    for name, n in counts.items():
        if round(n, 1) < 0.1:
            continue
        if name not in CALLS:
            others += n
            continue
        parts.append((list(CALLS).index(name), (
            f'{round(n)} ' if round(n) > 1 else '') + CALLS[name]))
    if round(others, 1) >= 0.1:
        parts.append((99, f'{others:.1f} others'))
    return ', '.join(text for _, text in sorted(parts))


def profile(module: Path) -> None:
    counts = operations.operations(Callgrind, str(module))
    system = operations.operations(Strace, str(module))
    most = Counter()
    for part in counts.values():
        part.pop('calls', None)
        most |= part
    rooms = sorted((room for room in most if most[room] >= SEEN),
                   key=lambda room: (not room.startswith('src'), room))
    text = table(['instructions', *rooms, 'others', 'all'], [
        [name, *(figure(part[room]) for room in rooms),
         figure(part.total() - sum(part[room] for room in rooms)),
         figure(part.total())] for name, part in counts.items()])
    text += '\n' + table(['system calls', 'number', 'which'], [
        [name, f'{part.total():.1f}', calls(part)]
        for name, part in system.items()]).replace('---:|---:|', '---:|---|')
    nginx = subprocess.run([operations.nginx_binary(), '-v'],
                           capture_output=True, text=True).stderr.strip()
    text += (f'\n{compiler(module)}, {nginx.removeprefix("nginx version: ")}, '
             f'{date.today():%d %B %Y}\n')
    OUT.write_text(text)
    print(text + f'\nis in {OUT.relative_to(ROOT)}')


def record(module: Path) -> None:
    counts = least(module, RUNS, lambda found: False)
    BUDGET.write_text(json.dumps({
        'compiler': compiler(module), 'operations': counts}, indent=1) + '\n')
    print(f'{BUDGET.relative_to(ROOT)} is new')


def least(module: Path, runs: int, enough) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for _ in range(runs):
        for name, part in operations.operations(
                Callgrind, str(module)).items():
            here = ours(part)
            before = found.get(name, here)
            found[name] = {room: min(here.get(room, 0), before.get(room, 0))
                           for room in here | before}
        if enough(found):
            break
    return found


def grown(found: dict, recorded: dict) -> list[str]:
    said = []
    for name, part in recorded.items():
        here = found.get(name, {})
        for room in sorted(here | part):
            n, most = here.get(room, 0), part.get(room, 0)
            if n > most * (1 + TOLERANCE) + BESIDE:
                what = ('calls of nginx and libraries' if room == 'calls'
                        else f'instructions in {room}')
                by = f', {n / most - 1:+.1%}' if most else ''
                said.append(f'{name}: {n:,} {what}, recorded {most:,}{by}')
    return said


def budget(module: Path) -> int:
    known = json.loads(BUDGET.read_text())
    if compiler(module) != known['compiler']:
        print(f'skipped: {compiler(module)} makes other instructions than '
              f'{known["compiler"]}, with which the budget was recorded')
        return 0
    recorded = known['operations']
    found = least(module, RUNS, lambda found: not grown(found, recorded))
    for name, part in found.items():
        print(f'{name}: ' + ', '.join(f'{room} {n:,}'
                                      for room, n in part.items()))
    said = grown(found, recorded)
    if missing := set(found) ^ set(recorded):
        said.append('not in both: ' + ', '.join(sorted(missing)))
    if said:
        print('\nMore than was recorded (instructions for one operation):')
        print('\n'.join(said))
        print('If that is worth it, `make budget` records anew.')
        return 1
    less = grown(recorded, found)
    if less:
        print(f'\n{len(less)} figures are smaller by now: `make budget` '
              'records them')
    return 0


def compare(without: Path, module: Path) -> int:
    found = []
    for path in (without, module):
        counts = operations.operations(Callgrind, str(path), ('putget',))
        found.append(sum(n for part in (counts['put'], counts['get'])
                         for room, n in part.items() if room != 'calls'))
        print(f'{path}: {found[-1]:,.0f} instructions for a put and a get')
    more = found[1] / found[0] - 1
    print(f'the second takes {more:+.2%}; at most 1 % may be')
    return more > 0.01


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--budget', action='store_true')
    parser.add_argument('--record', action='store_true')
    parser.add_argument('--without', type=Path)
    parser.add_argument('module', nargs='?', type=Path, default=MODULE)
    args = parser.parse_args()
    if args.without:
        return compare(args.without, args.module)
    if args.record:
        record(args.module)
    elif args.budget:
        return budget(args.module)
    else:
        profile(args.module)
    return 0


if __name__ == '__main__':
    sys.exit(main())
