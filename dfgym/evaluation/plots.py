"""Plots of the report, as SVG text whose colours are the page's own and follow light and dark.

Matplotlib draws with the light theme's colours. In its SVG each of them then becomes a CSS variable
of that name, which the page sets for either theme and for print. Text stays text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

COLOURS = {
    "dream": "#6635cc",
    "real": "#1f7a4d",
    "copy": "#6b7480",
    "ink": "#1c2430",
    "soft": "#566170",
    "rule": "#d8dde3",
    "card": "#f4f6f8",
}
"""The light theme's colours, by the names of their CSS variables."""
SERIES: dict[str, dict[str, Any]] = {
    "dream": {"color": COLOURS["dream"], "marker": "o", "markersize": 3.5},
    "real": {"color": COLOURS["real"], "marker": "s", "markersize": 2.5, "linestyle": (0, (4, 3))},
    "copy": {"color": COLOURS["copy"], "linestyle": ":"},
    "ideal": {"color": COLOURS["copy"], "linestyle": ":"},
}
"""How a line is drawn; dashes and dots tell the lines apart in print and for the colour-blind."""
STYLE: Any = {
    "svg.fonttype": "none",  # text, not outlines
    "svg.hashsalt": "dfgym",  # the same plot gives the same bytes
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["rule"],
    "axes.labelcolor": COLOURS["soft"],
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.7,
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["soft"],
    "ytick.labelcolor": COLOURS["soft"],
    "legend.frameon": False,
}
WIDTH = 4.6
"""Inches; the page scales a plot to its column."""


@dataclass(frozen=True)
class Plot:
    """A title and the SVG element below it."""

    title: str
    svg: str


@dataclass(frozen=True)
class Bar:
    """One row of `bar_plot`.

    Attributes:
        name: stands left of it.
        value: its length.
        text: the value in words, which stands right of it.
        colour: one of `COLOURS`.
        points: values that `value` is the mean of, drawn as dots.
        interval: its lower and upper end, drawn as a whisker.
    """

    name: str
    value: float
    text: str
    colour: str
    points: tuple[float, ...] = ()
    interval: tuple[float, float] | None = None


def line_plot(
    title: str,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    x_label: str,
    log_x: bool = False,
    y_range: tuple[float, float] | None = None,
) -> Plot:
    """Draw one line for each series.

    Args:
        title: what the y axis shows, with its unit.
        x: the places of the values, increasing; positive if `log_x`.
        series: values by name, each as many as `x`; the names are those of `SERIES`.
        x_label: what the x axis shows.
        log_x: space powers of two evenly.
        y_range: the least range of the y axis, which grows to hold every value.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
        axes = figure.subplots()
        for place, (name, values) in enumerate(series.items()):  # dashes above the whole line
            axes.plot(x, values, label=name, zorder=3 + place, linewidth=1.6, **SERIES[name])
        values = [v for line in series.values() for v in line] + list(y_range or ())
        low, high = min(values), max(values)
        room = 0.04 * ((high - low) or 1.0)
        axes.set_ylim(low if low == 0 and y_range else low - room, high + room)
        if log_x:
            axes.set_xscale("log", base=2)
            axes.set_xticks(x)
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6))
        _finish_lines(axes, x_label)
        return Plot(title, _svg(figure, title))


def bar_plot(title: str, bars: Sequence[Bar], least: float = 0.0) -> Plot:
    """Draw horizontal bars from 0, from the top down; those below 0 to the left.

    Args:
        title: what the bars show, with its unit.
        bars: the rows.
        least: the axis reaches at least this far.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.2 + 0.34 * len(bars)), layout="constrained")
        axes = figure.subplots()
        values = [[0.0, bar.value, *bar.points, *(bar.interval or ())] for bar in bars]
        left, right = min(map(min, values)), max([*map(max, values), least])
        reach = right - left or 1.0
        for place, (bar, end) in enumerate(zip(bars, map(max, values), strict=True)):
            length = bar.value if bar.value < 0 else max(bar.value, 0.004 * reach)
            axes.barh(place, length, 0.62, color=COLOURS[bar.colour])
            if bar.interval is not None:
                axes.plot(bar.interval, [place] * 2, color=COLOURS["ink"], linewidth=1.2)
            axes.plot(
                bar.points,
                [place] * len(bar.points),
                linestyle="",
                marker="o",
                markersize=5,
                markerfacecolor=COLOURS["card"],
                markeredgecolor=COLOURS["ink"],
            )
            axes.text(end + (0.05 if bar.points else 0.02) * reach, place, bar.text, va="center")
        axes.set_xlim(left, right + 0.25 * reach)
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0)
        return Plot(title, _svg(figure, title))


def scatter_plot(
    title: str, x: Sequence[float], y: Sequence[float], labels: tuple[str, str]
) -> Plot:
    """Draw points, and the line on which both values are the same.

    Args:
        title: what a point is.
        x: the places of the points to the right.
        y: the places upwards.
        labels: of both axes.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes = figure.subplots()
        ends = [min(*x, *y), max(*x, *y)]
        axes.plot(ends, ends, **SERIES["ideal"])
        axes.plot(x, y, linestyle="", marker="o", markersize=4.5, color=COLOURS["dream"])
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.grid()
        axes.tick_params(length=0)
        return Plot(title, _svg(figure, title))


def curves_plot(
    title: str, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str
) -> Plot:
    """Draw lines whose points lie at places of their own.

    Args:
        title: what the y axis shows, with its unit.
        curves: the places and the values by name; the names are those of `SERIES`.
        x_label: what the x axis shows, from 0.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
        axes = figure.subplots()
        for name, (x, y) in curves.items():
            axes.plot(x, y, label=name, linewidth=1.6, **SERIES[name])
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        _finish_lines(axes, x_label)
        return Plot(title, _svg(figure, title))


def _finish_lines(axes: Axes, x_label: str) -> None:
    """Give lines their ticks, their grid, and their names in their colours."""
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _shorten(value)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 0.98), ncols=4, fontsize=8, labelcolor="linecolor"
    )


def _svg(figure: Figure, label: str) -> str:
    """Return a figure as one SVG element that can stand in a page beside others."""
    file = io.StringIO()
    metadata: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(file, metadata=metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'<(g|text) id="[^"]*"', r"<\1", text)  # nothing refers to them
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(label, quote=True)}"', 1)
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return re.sub(r" font-family: [^;]*;", "", text)  # the page's own font


def _shorten(value: float) -> str:
    """Write a number as briefly as an axis needs it: 10k, 0.05, 0."""
    if abs(value) >= 1000 and value % 1000 == 0:
        return f"{value / 1000:g}k"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:g}"
