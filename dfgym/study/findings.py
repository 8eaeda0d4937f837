"""What a row of the study leaves: JSON, a figure and a paragraph; and the page of all rows."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dfgym.files import plain, write_atomic, write_json
from dfgym.study.games import DENSE, ERRORS, SPARSE
from dfgym.study.lab import BEGINNING, LASTING, Curve, Lab

PAGE = "README.md"


@dataclass(frozen=True)
class Finding:
    """What was found of one row of the deck.

    Attributes:
        row: `D3` to `D14`, or `steps`.
        title: a few words.
        claim: what the deck says.
        source: who claims it, if not the deck.
        numbers: all that was measured, plain values.
        text: one paragraph, made from the numbers.
        figure: the picture.
    """

    row: str
    title: str
    claim: str
    numbers: dict[str, Any]
    text: str
    figure: Figure
    source: str = "The deck"


def leave(finding: Finding, lab: Lab, command: str, folder: Path) -> None:
    """Write a finding's JSON, PNG and paragraph, and the page anew."""
    FigureCanvasAgg(finding.figure).print_png(drawing := io.BytesIO())
    write_atomic(folder / f"{finding.row}.png", drawing.getvalue())
    write_json(
        folder / f"{finding.row}.json",
        {
            "row": finding.row,
            "title": finding.title,
            "source": finding.source,
            "claim": finding.claim,
            "command": command,
            "scale": _scale(lab),
            "text": finding.text,
            "numbers": plain(finding.numbers),
        },
    )
    write_atomic(folder / f"{finding.row}.md", (_section(folder, finding.row) + "\n").encode())
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    # Not those that another scale has left there.
    rows = sorted((row for row in found if found[row]["scale"] == _scale(lab)), key=order)
    page = "\n\n".join([_head(lab), *(_section(folder, row) for row in rows)])
    write_atomic(folder / PAGE, (page + "\n").encode())


def _scale(lab: Lab) -> dict[str, Any]:
    scale = dataclasses.asdict(lab.scale)
    return {**scale, "seeds": list(lab.scale.seeds)}


def _head(lab: Lab) -> str:
    scale = lab.scale
    dreams = " and ".join(f"{n * len(scale.seeds)} dreams of {g}" for g, n in scale.rows.items())
    return f"""# The deck's claims, tried

"The deck" is the talk *Video Generation Models as World Simulators* (8 January 2025). Each row is
written by the command below it: `dfgym study` trains what is missing, small networks all alike,
on the same data and for as many steps unless the row says otherwise, and measures {dreams},
each {scale.horizon} frames long (the *horizon*) and played by a scripted player, who begins anew
from real frames where one ends. Each method was trained once: the brackets (95 %, bootstrap over
dreams) do not hold what another training would change.

- **Error** in breakout: the share of transitions that the real game's rules cannot explain (0.025
  is 25 in 1,000). In cartpole: how far frames are, in grey levels of 255 (root mean square), from
  what the real game draws for the cart and pole that are read off them (of real frames, which the
  reading alone gets wrong, row `long` tells it).
- **Doubled**: the first frame from which on {LASTING} err, on average, twice as much as the first
  {BEGINNING}.
- **Ends**: how many dreams end in 1,000 frames, by the model's own word.
- **Sticky actions**: transitions in which only a repeated last action explains the frame, which is
  breakout's chance.
- **Law**: which noise levels a model is trained at. **Commit**: the pass that keeps a finished
  frame's keys and values for those to come. **Obey**: to be made after its action is known.
- **Ours**, diffusion forcing: every frame is trained at a noise level of its own."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _section(folder: Path, row: str) -> str:
    found = json.loads((folder / f"{row}.json").read_text())
    return (
        f"## {row}: {found['title']}\n\n*{found.get('source', 'The deck')}:* {found['claim']}\n\n"
        f"{found['text']}\n\n"
        f"![{found['title']}]({row}.png)\n\n`{found['command']}` ([numbers]({row}.json))"
    )


def order(row: str) -> tuple[int, str]:
    """Rows in the deck's order, then the others by name."""
    return (int(row[1:]), "") if row[1:].isdigit() else (1000, row)


def about(curve: Curve) -> dict[str, Any]:
    """The numbers of a curve that rows tell."""
    last = len(curve.error)
    steps = [2**i for i in range(last.bit_length()) if 2**i <= last]
    return {
        "error": curve.mean,
        "interval": curve.interval,
        "first": curve.error[0],
        "begins": curve.begins,
        "last": curve.at(last, max(8, last // 8)),
        "doubles_after": curve.doubles(),
        "at": {str(step): curve.at(step, _around(step)) for step in steps},
        "detail": curve.sharpness,
        "detail_last": curve.over(curve.detail, last // 2, last),
        "sticky_share": curve.sticky,
        "ends_in_1000": curve.ends,
    }


def said(curve: Curve) -> str:
    """A curve's mean error and interval in words."""
    low, high = curve.interval
    return f"{curve.mean:.3g} [{low:.3g}, {high:.3g}]"


def doubled(curve: Curve) -> str:
    """When a curve's error has doubled, in words; `-` where there is none to double."""
    after = curve.doubles()
    return "-" if curve.begins == 0 else "never" if after is None else f"after {after} frames"


def apart(first: Curve, second: Curve) -> bool:
    """Whether the intervals of two mean errors leave a gap."""
    low, high = sorted((first, second), key=lambda curve: curve.mean)
    return low.interval[1] < high.interval[0]


def _panels(count: int) -> tuple[Figure, Sequence[Any]]:
    """A figure with so many panels, two a row."""
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(5.2 * columns, 3.6 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in panels[count:]:
        empty.set_axis_off()
    return figure, panels[:count]


def _around(step: int) -> int:
    """How many frames up to a step are taken together: a quarter, and never none that is judged."""
    return max(1 if step <= DENSE else SPARSE, step // 4)


def over_horizon(curves: Mapping[str, Mapping[str, Curve]], title: str) -> Figure:
    """One panel for each game: error over the horizon, a line for each method."""
    figure, panels = _panels(len(curves))
    for panel, (game, lines) in zip(panels, curves.items(), strict=True):
        for name, curve in lines.items():
            steps = np.unique(np.geomspace(1, len(curve.error), 24).astype(int))
            values = [curve.at(int(step), _around(int(step))) for step in steps]
            panel.plot(steps, values, label=name, marker=".", linewidth=1.2)
        panel.set(xscale="log", xlabel="frames since the last real one", ylabel=ERRORS[game])
        panel.set_ylim(bottom=0)
        panel.set_title(f"{game}: {title}", fontsize=9)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    return figure


def bars(
    groups: Mapping[str, Mapping[str, float]], title: str, y_label: str | Mapping[str, str]
) -> Figure:
    """One panel for each group, a bar for each name; `y_label` may be one for each group."""
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
    y_label: str | Mapping[str, str],
    log_x: bool = False,
) -> Figure:
    """One panel for each group: x values, and a line for each name.

    `y_label` may be one for each group. Curves stand for their mean errors, with intervals.
    """
    figure, panels = _panels(len(groups))
    for panel, (group, (x, named)) in zip(panels, groups.items(), strict=True):
        for name, found in named.items():
            values = [value.mean if isinstance(value, Curve) else value for value in found]
            ends = [c.interval if isinstance(c, Curve) else (c, c) for c in found]
            # A percentile interval may leave its mean out by a hair.
            spread = [[max(0, v - low) for v, (low, _) in zip(values, ends, strict=True)]]
            spread += [[max(0, high - v) for v, (_, high) in zip(values, ends, strict=True)]]
            panel.errorbar(
                x[: len(values)], values, spread, label=name, marker="o", linewidth=1.2, capsize=2
            )
        label = y_label if isinstance(y_label, str) else y_label[group]
        panel.set(xlabel=x_label, ylabel=label)
        panel.set_ylim(bottom=0)
        if log_x:
            panel.set_xscale("log", base=2)
        panel.set_title(f"{group}: {title}", fontsize=9)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    return figure
