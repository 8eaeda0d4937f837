"""The report: one self-contained HTML page from the sections of a measurement.

Every question about a world makes one `Section`; the template `report.html.j2` lays them out and
knows nothing of any question.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import jinja2

from dfgym.evaluation.plots import COLOURS, Plot
from dfgym.evaluation.verdict import Verdict

DARK = {
    "dream": "#b79cff",
    "real": "#5fd39a",
    "copy": "#98a3b3",
    "ink": "#e6eaf0",
    "soft": "#a9b4c2",
    "rule": "#364150",
    "card": "#1b212a",
}
"""The dark theme's colours; `plots.COLOURS` are the light one's."""


Level = Literal["pixels", "actions", "chance", "laws", "trust", "players"]
"""The ladder's levels, the lowest first: single frames; what an action does; how often chance falls
which way; whether long play obeys the game; whether the dream knows where it errs; and what it is
worth to those who choose, search and learn in it."""
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Table:
    """Cells of text; the first column names the rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figure:
    """A figure to read first: a number, and what it counts."""

    value: str
    words: str


@dataclass(frozen=True)
class Rung:
    """One line of the ladder from single pixels to what an agent learns.

    Attributes:
        level: one of `LEVELS`.
        question: in words, with a question mark.
        figure: the dream's.
        real: the real game's against itself; empty if that means nothing.
        copy: the floor, that of a dream which shows its last frame for ever, or of a player that
            chooses at random; empty if that means nothing.
        verdict: the level of the line's own finding; empty: the worst of its question's.
    """

    level: Level
    question: str
    figure: str
    real: str = ""
    copy: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Section:
    """The answer to one question.

    Attributes:
        title: a few words.
        verdict: what the figures say, in one or two sentences; it also stands at the page's top.
        method: how it was measured.
        figures: the one or two figures to read first.
        plots: the figures drawn.
        table: the numbers behind the plots, folded away on the screen.
        rungs: its lines of the ladder.
    """

    title: str
    verdict: str
    method: str
    figures: Sequence[Figure] = ()
    plots: Sequence[Plot] = ()
    table: Table | None = None
    rungs: Sequence[Rung] = ()


@dataclass(frozen=True)
class Heading:
    """What stands at the top of the page.

    Attributes:
        name: the world's.
        description: what the game is.
        conditions: how and on what it was measured, by name.
        quick: whether this is a look at a few frames, and no measurement.
        verdict: over all questions.
    """

    name: str
    description: str
    conditions: Mapping[str, object]
    quick: bool
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Step:
    """A rung of the ladder, and what the findings of its question say of it.

    Attributes:
        rung: the line.
        verdict: the worst level of the findings.
    """

    rung: Rung
    verdict: str


NONE = "-"
"""Stands in the ladder for a ceiling or a floor that would mean nothing, or was not measured."""
LADDER = ("level", "question", "dream", "real against real", "copy", "verdict")
"""The header of the ladder's table."""


def climb(steps: Sequence[Step]) -> Table:
    """Return the ladder as a table, the lowest level first; `NONE` where there is no figure."""
    ordered = sorted(steps, key=lambda step: LEVELS.index(step.rung.level))
    rows = [
        [step.rung.level, step.rung.question, step.rung.figure, step.rung.real or NONE,
         step.rung.copy or NONE, step.rung.verdict or step.verdict]
        for step in ordered
    ]  # fmt: skip
    return Table(LADDER, rows)


def percent(share: float, digits: int = 0) -> str:
    """Write a share of 1 in words."""
    return f"{100 * share:.{digits}f} %"


def render(
    heading: Heading,
    sections: Sequence[Section],
    absent: Mapping[str, str],
    film: bytes | None = None,
    ladder: Table | None = None,
) -> str:
    """Return the page.

    Args:
        heading: what stands at its top.
        sections: in order.
        absent: for each question without an answer, why there is none.
        film: a GIF, put into the page.
        ladder: the table at its top.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dfgym.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        heading=heading,
        sections=sections,
        ladder=ladder,
        absent=absent,
        film=None if film is None else base64.b64encode(film).decode(),
        light=COLOURS,
        dark=DARK,
    )
