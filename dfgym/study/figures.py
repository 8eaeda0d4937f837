"""The figures of the study: errors over the horizon, bars and lines, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dfgym.study.curve import Curve
from dfgym.study.games import DENSE, ERRORS, SPARSE

Labels = str | Mapping[str, str]


def _panels(count: int) -> tuple[Figure, Sequence[Any]]:
    """A figure of so many panels, two in a row."""
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(5.2 * columns, 3.6 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in panels[count:]:
        empty.set_axis_off()
    return figure, panels[:count]


def span_at(step: int) -> int:
    """Return how many frames up to a step are averaged: a quarter, at least one that is judged."""
    return max(1 if step <= DENSE else SPARSE, step // 4)


def over_horizon(curves: Mapping[str, Mapping[str, Curve]], title: str) -> Figure:
    """Draw one panel for each game: the error over the horizon, a line for each method."""
    figure, panels = _panels(len(curves))
    for panel, (game, lines) in zip(panels, curves.items(), strict=True):
        for name, curve in lines.items():
            steps = np.unique(np.geomspace(1, len(curve.error), 24).astype(int))
            values = [curve.at(int(step), span_at(int(step))) for step in steps]
            panel.plot(steps, values, label=name, marker=".", linewidth=1.2)
        panel.set(xscale="log", xlabel="frames since the last real one", ylabel=ERRORS[game])
        panel.set_ylim(bottom=0)
        panel.set_title(f"{game}: {title}", fontsize=9)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    return figure


def bars(groups: Mapping[str, Mapping[str, float]], title: str, y_label: Labels) -> Figure:
    """Draw one panel for each group, a bar for each name; `y_label` may be one for each group."""
    figure, panels = _panels(len(groups))
    for panel, (group, values) in zip(panels, groups.items(), strict=True):
        panel.bar(list(values), list(values.values()), color="#6635cc")
        panel.set_ylabel(y_label if isinstance(y_label, str) else y_label[group])
        panel.set_title(f"{group}: {title}", fontsize=9)
        panel.tick_params("x", rotation=30, labelsize=7)
        panel.grid(alpha=0.3, axis="y")
    return figure


def lines(
    groups: Mapping[str, tuple[Sequence[float], Mapping[str, Sequence[float | Curve]]]],
    title: str,
    x_label: str,
    y_label: Labels,
    log_x: bool = False,
) -> Figure:
    """Draw one panel for each group: x values, and a line for each name.

    `y_label` may be one for each group. Curves stand for their mean errors, with intervals.
    """
    figure, panels = _panels(len(groups))
    for panel, (group, (x, named)) in zip(panels, groups.items(), strict=True):
        for name, points in named.items():
            values = [point.mean if isinstance(point, Curve) else point for point in points]
            ends = [p.interval if isinstance(p, Curve) else (p, p) for p in points]
            # A percentile interval may leave its mean out by a hair.
            spread = [[max(0, v - low) for v, (low, _) in zip(values, ends, strict=True)]]
            spread += [[max(0, high - v) for v, (_, high) in zip(values, ends, strict=True)]]
            panel.errorbar(
                x[: len(values)], values, spread, label=name, marker="o", linewidth=1.2, capsize=2
            )
        panel.set(xlabel=x_label, ylabel=y_label if isinstance(y_label, str) else y_label[group])
        panel.set_ylim(bottom=0)
        if log_x:
            panel.set_xscale("log", base=2)
        panel.set_title(f"{group}: {title}", fontsize=9)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    return figure
