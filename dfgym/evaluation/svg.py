"""Line plots as SVG text; the page's style sheet colours them, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple


class Bar(NamedTuple):
    """One row of `bars`."""

    name: str
    look: str
    """The CSS class: dream, real, copy or even."""
    value: float
    text: str
    """The value in words."""
    parts: tuple[float, ...] = ()
    """What it is the mean of."""


WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 30, 40


def lines(
    title: str,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    x_label: str,
    log_x: bool = False,
    y_range: tuple[float, float] | None = None,
) -> str:
    """Draw one line for each series.

    Args:
        title: above the plot.
        x: where the values stand, increasing; positive if `log_x`.
        series: name (also the CSS class of the line) to as many values.
        x_label: below the axis.
        log_x: powers of two are equally far apart.
        y_range: least range of the y axis; it grows to hold every value.
    """
    scale = math.log2 if log_x else float
    xs = [scale(value) for value in x]
    values = [value for line in series.values() for value in line] + list(y_range or ())
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def across(value: float) -> float:
        span = xs[-1] - xs[0] or 1.0
        return LEFT + (value - xs[0]) / span * (WIDTH - LEFT - RIGHT)

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>',
    ]
    for tick in ticks:
        y = down(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    every = math.ceil(max(len(_short(value)) for value in x) * 8 * len(x) / (WIDTH - LEFT - RIGHT))
    for value, place in list(zip(x, xs, strict=True))[:: max(1, every)]:
        at = f'x="{across(place):.1f}" y="{HEIGHT - BOTTOM + 16}"'
        parts.append(f'<text {at} text-anchor="middle">{_short(value)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    for name, line in series.items():
        points = [(across(a), down(b)) for a, b in zip(xs, line, strict=True)]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        parts.append(f'<path class="line {escape(name)}" d="M{path}"/>')
        for (a, b), value in zip(points, line, strict=True):
            dot = f'<circle class="{escape(name)}" cx="{a:.1f}" cy="{b:.1f}" r="2.5">'
            parts.append(f"{dot}<title>{escape(name)}: {value:.4g}</title></circle>")
    return "".join([*parts, "</svg>"])


def bars(title: str, rows: Sequence[Bar], least: float = 0.0) -> str:
    """Draw one bar a row from 0, its value in words at its end and its parts as dots.

    Args:
        title: above the plot.
        rows: from the top down.
        least: the axis reaches at least so far.
    """
    values = [value for row in rows for value in (row.value, *row.parts)]
    high = max([least, *values]) or 1.0
    left, room = 130, WIDTH - 130 - 78
    height = 34 + 30 * len(rows)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f'<text class="title" x="12" y="20">{escape(title)}</text>',
    ]
    for index, row in enumerate(rows):
        y = 34 + 30 * index
        long = max(1.0, row.value / high * room)
        end = max([row.value, *row.parts]) / high * room
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(row.name)}</text>'
        )
        parts.append(
            f'<rect class="{escape(row.look)}" x="{left}" y="{y}" width="{long:.1f}" height="20"/>'
        )
        for value in row.parts:
            x = left + value / high * room
            dot = f'<circle class="part" cx="{x:.1f}" cy="{y + 10}" r="4">'
            parts.append(f"{dot}<title>{value:.4g}</title></circle>")
        parts.append(
            f'<text class="value" x="{left + end + 10:.1f}" y="{y + 15}">{escape(row.text)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _short(value: float) -> str:
    """A number as briefly as an axis needs it: 10k, 0.05, 0."""
    if abs(value) >= 1000 and value % 1000 == 0:
        return f"{value / 1000:g}k"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:g}"


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers that cover the range."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]
