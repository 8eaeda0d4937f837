"""Line plots as SVG text; the page's style sheet colours them, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

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
    every = max(1, math.ceil(len(x) / 10))
    for value, place in list(zip(x, xs, strict=True))[::every]:
        at = f'x="{across(place):.1f}" y="{HEIGHT - BOTTOM + 16}"'
        parts.append(f'<text {at} text-anchor="middle">{value:g}</text>')
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


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers that cover the range."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]
