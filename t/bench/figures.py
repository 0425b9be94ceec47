#!/usr/bin/env python3
"""`make figures`: what build/bench.md and build/growth.md say goes into
README.md, between its marks, and their plots beside it."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import sys

from servers import BUILD
from servers import ROOT

README = os.path.join(ROOT, 'README.md')
PLOTS = os.path.join(ROOT, 't', 'bench')


def read(name: str) -> str | None:
    """The text, if the plot that belongs to it is there as well."""
    path = os.path.join(BUILD, name)
    if not os.path.exists(f'{path}.svg'):
        return None
    with open(f'{path}.md') as f:
        return f.read()


def about(text: str, command: str) -> str:
    known = dict(re.findall(r'^\| (\S.*?) *\| (\S.*?) *\|$', text, re.M))
    date = datetime.datetime.fromisoformat(known['date'])
    others = [
        f'{name} {known[name]}'
        for name in ('nchan', 'NATS', 'Redis')
        if name in known and command == 'make bench'
    ]
    return ', '.join(
        [
            f'`{command}`',
            f'{date.day} {date:%B %Y}',
            known['machine'],
            known['nginx'],
            *others,
        ],
    ) + f'. {rounds(text)}'


def rounds(text: str) -> str:
    return f'Medians of {re.search(r" of ([0-9]+) rounds", text)[1]} rounds.'


def table(text: str, name: str) -> str:
    """The one of a section."""
    return re.search(rf'^## {name}\n(?s:.*?)((?:^\|.*\n)+)', text, re.M)[1]


def bench(text: str) -> str:
    return '\n'.join(
        [
            about(text, 'make bench'),
            '',
            table(text, 'Comparison').strip(),
            '',
            table(text, 'Rates').strip(),
            '',
            '![rates and CPU time of each](t/bench/bench.svg)',
        ],
    )


def growth(text: str) -> str:
    return '\n'.join(
        [
            about(text, 'make growth'),
            '',
            text[text.rindex('\n\n') + 2:].strip(),
            '',
            '![rates, p99 and CPU time](t/bench/growth.svg)',
        ],
    )


def main() -> int:
    with open(README) as f:
        readme = f.read()
    os.makedirs(PLOTS, exist_ok=True)
    for name, make in (('bench', bench), ('growth', growth)):
        text = read(name)
        if text is None:
            print(f'{name} was not run: its figures stay')
            continue
        begin, end = f'<!-- {name} -->\n', f'<!-- end of {name} -->\n'
        before, rest = readme.split(begin)
        _, after = rest.split(end)
        readme = f'{before}{begin}\n{make(text)}\n\n{end}{after}'
        plot = f'{name}.svg'
        shutil.copy(os.path.join(BUILD, plot), os.path.join(PLOTS, plot))
    with open(README, 'w') as f:
        f.write(readme)
    return 0


if __name__ == '__main__':
    sys.exit(main())
