"""What `make growth` writes: build/growth.md and build/growth.svg."""

from __future__ import annotations

import math
from html import escape

import report
from report import TEXT

RATE = '#2f9e6e'
P99 = '#d9822b'
CPU = '#5b8def'

# a panel: where its plot begins, how large it is
LEFT, TOP, WIDE, HIGH = 58, 46, 250, 120
COLUMN, ROW = 400, 224


def write(
    growth,
    header: list[tuple[str, str]],
    seconds: float,
    out: str,
) -> None:
    about = [pair for pair in header if pair[0] != 'reference']
    text = [
        '# Growth',
        '',
        f'Medians of {growth.rounds} rounds over the points of a curve; '
        f'{seconds:.0f} seconds in all. 16 connections, 2 workers unless said '
        'otherwise, the load generator on the same cores. The last column is '
        "the worker's CPU time for an operation at the end of the curve, "
        'over that at its start; of listeners, over that of 100, since '
        'fewer of them keep fewer connections busy; of bytes, that of one '
        'more byte, over that of one in the message before the last; of '
        'workers, the rate of as many as there are cores, over that of 4.',
        '',
        report.table(['', ''], [list(pair) for pair in about], left=2),
        '',
        report.table(
            ['', 'against', '', '/s', 'range', 'p50, µs', 'p99, µs',
             'worker CPU, µs', 'theory', ''],
            [line for curve in growth.curves for line in lines(curve)],
            left=2,
        ),
    ]
    with open(f'{out}.md', 'w') as f:
        f.write('\n'.join(text) + '\n')
    with open(f'{out}.svg', 'w') as f:
        f.write(plot(growth.curves, dict(header)))


def lines(curve) -> list[list[str]]:
    found = []
    for i, point in enumerate(curve.points):
        low, high = point.span('rate')
        last = point is curve.points[-1]
        found.append(
            [
                '' if i else curve.name,
                '' if i else curve.axis,
                f'{point.value:,}',
                f'{point.mid("rate"):,.0f}',
                f'{low:,.0f}–{high:,.0f}',
                f'{point.mid("p50"):,.0f}',
                f'{point.mid("p99"):,.0f}',
                f'{point.mid("cpu"):,.1f}',
                '' if i else curve.theory,
                f'{curve.ratio:.2f} ×' if last and curve.ratio else '',
            ],
        )
    return found


class Scale:
    """From figures to places on an axis, by their logarithms or not."""

    def __init__(self, low: float, high: float, size: float, log: bool) -> None:
        self.log = log
        self.low, self.high = self.of(low), self.of(high)
        self.size = size

    def of(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def __call__(self, value: float) -> float:
        width = self.high - self.low or 1
        return self.size * (self.of(value) - self.low) / width


def short(value: float) -> str:
    for size, letter in ((1e6, 'M'), (1e3, 'k')):
        if value >= size:
            return f'{value / size:.3g}{letter}'
    return f'{value:.3g}'


def plot(curves, known: dict[str, str]) -> str:
    rows = (len(curves) + 1) // 2
    width, height = 2 * COLUMN, 60 + rows * ROW
    parts = [
        text(0, 24, 'Growth', 19, 600),
        text(0, 44, f'{known["date"]} · {known["machine"]}', 11),
    ]
    for i, curve in enumerate(curves):
        parts.append(
            f'<g transform="translate({i % 2 * COLUMN} '
            f'{60 + i // 2 * ROW})">{panel(curve)}</g>',
        )
    font = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
        f'height="{height}" viewBox="-16 0 {width + 16} {height}" '
        f'role="img" fill="{TEXT}" font-family="{font}">\n'
        + '\n'.join(parts)
        + '\n</svg>\n'
    )


def text(
    x: float,
    y: float,
    words: str,
    size: int = 11,
    weight: int = 400,
    anchor: str = 'start',
    fill: str = '',
) -> str:
    fill = f' fill="{fill}"' if fill else ''
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
        f'font-weight="{weight}" text-anchor="{anchor}"{fill}>'
        f'{escape(words)}</text>'
    )


def panel(curve) -> str:
    """Rate on the left axis, p99 and the worker's CPU on the right one."""
    linear = curve.theory == 'linear'
    values = [point.value for point in curve.points]
    across = Scale(values[0], values[-1], WIDE, log=values[-1] > 4)
    rates = [point.mid('rate') for point in curve.points]
    times = [point.mid(key) for point in curve.points for key in ('p99', 'cpu')]
    least = min(rates) / 2 if linear else 0
    rate = Scale(least, max(rates) * 1.1, HIGH, linear)
    time = Scale(min(times) / 2, max(times) * 1.5, HIGH, True)

    parts = [text(0, 18, f'{curve.name} against {curve.axis}', 14, 600)]
    parts += [
        text(LEFT, 36, 'a second', fill=RATE),
        text(LEFT + WIDE, 36, 'p99, µs', anchor='end', fill=P99),
        text(LEFT + WIDE - 52, 36, 'worker CPU, µs', anchor='end', fill=CPU),
        f'<path d="M{LEFT} {TOP}v{HIGH}h{WIDE}v-{HIGH}" fill="none" '
        f'stroke="{TEXT}" stroke-opacity="0.5"/>',
    ]
    for value in values:
        parts.append(
            text(LEFT + across(value), TOP + HIGH + 16, short(value),
                 anchor='middle'),
        )
    ends: tuple[list, list] = [], []
    for key, scale, colour in (
        ('rate', rate, RATE),
        ('p99', time, P99),
        ('cpu', time, CPU),
    ):
        places = [
            (LEFT + across(p.value), TOP + HIGH - scale(p.mid(key)))
            for p in curve.points
        ]
        path = 'L'.join(f'{x:.1f} {y:.1f}' for x, y in places)
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" '
            f'stroke-width="2"/>',
        )
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
            for x, y in places
        ]
        for at, i in ((ends[0], 0), (ends[1], -1)):
            at.append((places[i][1], short(curve.points[i].mid(key)), colour))
    for x, anchor, end in (
        (LEFT - 8, 'end', ends[0]),
        (LEFT + WIDE + 8, 'start', ends[1]),
    ):
        above = 0.0
        for y, words, colour in sorted(end):
            above = max(y + 4, above + 12)
            parts.append(text(x, above, words, anchor=anchor, fill=colour))
    return ''.join(parts)
