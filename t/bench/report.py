"""What the bench writes: build/bench.md and build/bench.svg."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import re
import statistics
import subprocess
import sys
from html import escape

import servers

OURS = servers.Module.name
PLAIN = servers.Nginx.name
THEIRS = servers.Reference.name

# parts of the bench whose targets are held against others
COMPARED = 'put+get', 'actions', '500 KB that wait', '50,000'

# what was measured, by name and by server, once for each round
Rates = dict[str, dict[str, list[dict]]]
Large = dict[str, dict[str, list[float]]]


@dataclasses.dataclass
class Row:
    """A figure, its range over the rounds, and what it is held against."""

    part: str
    name: str
    figures: list[float]
    unit: str
    target: float | None
    least: bool
    digits: int

    @property
    def figure(self) -> float:
        return statistics.median(self.figures)

    @property
    def ok(self) -> bool | None:
        if self.target is None:
            return None
        if self.least:
            return self.figure >= self.target
        return self.figure <= self.target

    def number(self, value: float) -> str:
        text = f'{value:,.{self.digits}f}'
        return f'{text}{self.unit}' if self.unit == '×' else (
            f'{text} {self.unit}'.strip()
        )

    @property
    def range(self) -> str:
        if len(self.figures) < 2:
            return ''
        low, high = min(self.figures), max(self.figures)
        return f'{low:,.{self.digits}f}–{high:,.{self.digits}f}'

    @property
    def wanted(self) -> str:
        if self.target is None:
            return ''
        sign = '≥' if self.least else '≤'
        text = f'{self.target:,.{self.digits}f}'
        return f'{sign} {text.rstrip("0").rstrip(".") if "." in text else text}'

    @property
    def verdict(self) -> str:
        return {None: '', True: 'reached', False: '**missed**'}[self.ok]

    def line(self) -> str:
        text = f'{self.part}: {self.name}: {self.number(self.figure)}'
        if self.range:
            text += f' ({self.range})'
        if self.wanted:
            text += f', {self.wanted}: {self.verdict.strip("*")}'
        return text


def first_line(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            cwd=servers.ROOT,
        )
    except OSError:
        return ''
    return done.stdout.strip().split('\n')[0] if done.returncode == 0 else ''


def version(*command: str) -> str:
    found = re.search(r'\d+\.\d+\.\d+', first_line(*command))
    return found[0] if found else 'missing'


def about(python: str) -> list[tuple[str, str]]:
    """Date, machine, command and versions."""
    with open('/proc/cpuinfo') as f:
        model = re.search(r'model name\s*: (.*)', f.read())
    with open('/proc/meminfo') as f:
        memory = int(re.search(r'MemTotal:\s+(\d+)', f.read())[1])
    packages = first_line(
        python,
        '-c',
        'import importlib.metadata as m, platform as p; '
        'print("academy-py", m.version("academy-py"), '
        '"with aiohttp", m.version("aiohttp"), '
        '"on Python", p.python_version())',
    )
    return [
        ('date', datetime.datetime.now().strftime('%Y-%m-%d %H:%M')),
        ('command', ' '.join(['bench.py', *sys.argv[1:]])),
        (
            'machine',
            f'{model[1] if model else platform.machine()}, '
            f'{os.cpu_count()} cores, {memory / 1024 / 1024:.0f} GiB, '
            f'Linux {platform.release()}',
        ),
        (
            'this module',
            first_line('git', 'describe', '--always', '--dirty') or 'unknown',
        ),
        (
            'nginx',
            first_line(servers.nginx_binary(), '-v').replace(
                'nginx version: ',
                '',
            )
            + f', {servers.WORKERS} workers',
        ),
        ('reference', packages or 'missing'),
        (
            'nchan',
            version('dpkg-query', '-W', '-f', '${Version}',
                    'libnginx-mod-nchan'),
        ),
        ('NATS', version(f'{servers.BUILD}/bench-nats-server', '-v')),
        ('Redis', version('redis-server', '--version')),
    ]


def table(head: list[str], lines: list[list[str]], left: int = 1) -> str:
    """A Markdown table that can be read as it is, too."""
    width = [
        max(len(line[i]) for line in [head, *lines]) for i in range(len(head))
    ]
    rule = [
        '-' * w if i < left else '-' * (w - 1) + ':'
        for i, w in enumerate(width)
    ]
    out = []
    for line in [head, rule, *lines]:
        cells = [
            text.ljust(w) if i < left else text.rjust(w)
            for i, (text, w) in enumerate(zip(line, width))
        ]
        out.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(out)


def targets(rows: list[Row]) -> str:
    return table(
        ['', 'what', 'median', 'range', 'target', ''],
        [
            [
                row.part if i == 0 or rows[i - 1].part != row.part else '',
                row.name,
                row.number(row.figure),
                row.range,
                row.wanted,
                row.verdict,
            ]
            for i, row in enumerate(rows)
        ],
        left=2,
    )


def mid(runs: list[dict], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def share(runs: list[dict]) -> float:
    """How much of the CPU time in all was the load generator's."""
    own = mid(runs, 'own')
    return 100 * own / (own + mid(runs, 'cpu'))


def rates(results: Rates) -> str:
    lines = []
    for name, by_server in results.items():
        for i, (server, runs) in enumerate(by_server.items()):
            every = [run['rate'] for run in runs]
            lines.append(
                [
                    name if i == 0 else '',
                    server,
                    f'{statistics.median(every):,.0f}',
                    f'{min(every):,.0f}–{max(every):,.0f}',
                    f'{mid(runs, "cpu"):,.1f}',
                    f'{mid(runs, "own"):,.1f}',
                    f'{share(runs):.0f} %',
                    f'{mid(runs, "p50"):,.0f}',
                    f'{mid(runs, "p99"):,.0f}',
                ],
            )
    return table(
        ['', '', '/s', 'range', 'server CPU, µs', 'load CPU, µs', 'share',
         'p50, µs', 'p99, µs'],
        lines,
        left=2,
    )


def large(results: Large) -> str:
    lines = []
    for name, by_server in results.items():
        ours = by_server.get(OURS, [])
        theirs = by_server.get(THEIRS, [])
        lines.append(
            [
                name,
                f'{statistics.median(ours):.2f}' if ours else '',
                f'{min(ours):.2f}–{max(ours):.2f}' if ours else '',
                f'{statistics.median(theirs):.1f}' if theirs else '',
            ],
        )
    return table(['500 KB of', f'{OURS}, ms', 'range', f'{THEIRS}, ms'], lines)


def comparison(rows: list[Row]) -> list[str]:
    """Those targets that name somebody else."""
    found = [
        row
        for row in rows
        if row.target is not None and row.part.startswith(COMPARED)
    ]
    return ['## Comparison', '', targets(found), ''] if found else []


def write(
    bench,
    header: list[tuple[str, str]],
    seconds: float,
    out: str,
) -> None:
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    text = [
        '# Bench',
        '',
        'Median and range of '
        f'{bench.rounds} rounds that alternate between the servers; '
        f'{seconds:.0f} seconds in all.',
        '',
        table(['', ''], [list(pair) for pair in header], left=2),
        '',
        *comparison(bench.rows),
        '## Targets',
        '',
        targets(bench.rows),
    ]
    if bench.rates:
        text += [
            '',
            '## Rates',
            '',
            'One operation of put+get is two requests, one action is two puts '
            'and two events. `return 200` gets the same request bytes and '
            'looks at none of them. nchan publishes the same messages and '
            'reads them as EventSource; NATS has a request and its reply, '
            'by nats.go, with a connection for each side, and, bare, by the '
            'load generator that the others have. redis-benchmark pushes to '
            'and pops from one list: rates and times are of both together. '
            'CPU time is for one operation, of the server\'s working '
            'processes together and of the load generator, whose share of '
            'the two is given: it runs on the same cores.',
            '',
            rates(bench.rates),
        ]
    if bench.large:
        text += [
            '',
            '## Large messages',
            '',
            'CPU time of the server for one PUT and one GET of the same '
            'message. Where the reference has no figure, it refused it.',
            '',
            large(bench.large),
        ]
    if bench.facts:
        text += [
            '',
            '## Beside these',
            '',
            table(['', ''], [list(fact) for fact in bench.facts], left=2),
        ]
    with open(f'{out}.md', 'w') as f:
        f.write('\n'.join(text) + '\n')
    with open(f'{out}.svg', 'w') as f:
        f.write(plot(bench, header))


# the plot

# Middle tones that can be read on white and on black: a page may be either.
TEXT = '#768390'
COLOUR = {OURS: '#2f9e6e', PLAIN: '#8b95a3', THEIRS: '#d9822b'}
COLOUR |= {f'{name} on Redis': COLOUR[name] for name in (OURS, THEIRS)}
COLOUR |= {f'{name}, TLS': COLOUR[name] for name in (OURS, PLAIN)}
OTHER = '#5b8def'
MISSED = '#d1495b'

# rows that are plotted as memory
WAITING = {
    'an idle keep-alive connection': ('idle keep-alive', PLAIN),
    'memory each': ('event stream', OURS),
    'zone growth each': ('and in the zone', OURS),
    "memory each, the reference's, of 1,000": ('reference, of 1,000', THEIRS),
}

WIDTH = 760
LABEL = 190
BAR = 15
STEP = 21
ROOM = WIDTH - LABEL - 170


class Canvas:
    """Lines of SVG, from top to bottom."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 0

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int = 12,
        anchor: str = 'start',
        weight: int = 400,
    ) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
            f'font-weight="{weight}" text-anchor="{anchor}">'
            f'{escape(text)}</text>',
        )

    def heading(self, title: str, note: str) -> None:
        self.y += 34
        self.text(0, self.y, title, 15, weight=600)
        self.y += 18
        self.text(0, self.y, note)
        self.y += 12

    def bar(
        self,
        label: str,
        value: float,
        most: float,
        note: str,
        colour: str,
    ) -> None:
        width = max(1.5, ROOM * value / most)
        self.text(LABEL - 10, self.y + 12, label, anchor='end')
        self.parts.append(
            f'<rect x="{LABEL}" y="{self.y}" width="{width:.1f}" '
            f'height="{BAR}" rx="2" fill="{colour}"/>',
        )
        self.text(LABEL + width + 8, self.y + 12, note)
        self.y += STEP

    def limit(self, value: float, most: float, top: float, note: str) -> None:
        x = LABEL + ROOM * value / most
        self.parts.append(
            f'<path d="M{x:.1f} {top:.1f}V{self.y:.1f}" fill="none" '
            f'stroke="{TEXT}" stroke-dasharray="3 3"/>',
        )
        self.y += 12
        self.text(x, self.y, note, 11, 'middle')

    def render(self) -> str:
        height = self.y + 24
        font = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" '
            f'width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="-16 0 {WIDTH + 16} {height:.0f}" role="img" '
            f'fill="{TEXT}" font-family="{font}">\n'
            + '\n'.join(self.parts)
            + '\n</svg>\n'
        )


def plot(bench, header: list[tuple[str, str]]) -> str:
    canvas = Canvas()
    known = dict(header)
    canvas.y = 24
    canvas.text(0, canvas.y, 'The exchange, measured', 19, weight=600)
    canvas.y += 20
    canvas.text(0, canvas.y, f'{known["date"]} · {known["machine"]}', 11)

    if bench.rates:
        plot_rates(canvas, bench.rates)
    if any(bench.large.values()):
        plot_large(canvas, bench.large)
    memory = [row for row in bench.rows if row.name in WAITING]
    if memory:
        plot_memory(canvas, memory)
    return canvas.render()


def plot_rates(canvas: Canvas, results: Rates) -> None:
    for name, by_server in results.items():
        canvas.heading(name, 'operations a second, and server CPU for each')
        most = max(mid(runs, 'rate') for runs in by_server.values())
        for server, runs in by_server.items():
            rate = mid(runs, 'rate')
            canvas.bar(
                server,
                rate,
                most,
                f'{rate:,.0f}/s · {mid(runs, "cpu"):,.0f} µs',
                COLOUR.get(server, OTHER),
            )


def plot_large(canvas: Canvas, results: Large) -> None:
    canvas.heading(
        'PUT and GET of 500 KB',
        'worker CPU in ms, by what the message holds',
    )
    figures = {
        name: statistics.median(by_server[OURS])
        for name, by_server in results.items()
        if by_server.get(OURS)
    }
    limit = 4.0
    most = max([limit * 1.05, *figures.values()])
    top = canvas.y - 2
    for name, value in figures.items():
        colour = COLOUR[OURS] if value <= limit else MISSED
        canvas.bar(name, value, most, f'{value:.2f} ms', colour)
    canvas.limit(limit, most, top, 'at most 4 ms')


def plot_memory(canvas: Canvas, rows: list[Row]) -> None:
    canvas.heading(
        'Waiting connections',
        'memory of each, of 10,000',
    )
    most = max([0.1, *(row.figure for row in rows)])
    for row in rows:
        label, server = WAITING[row.name]
        canvas.bar(
            label,
            row.figure,
            most,
            f'{row.figure:.2f} KiB',
            COLOUR[server],
        )
