"""The report: one self-contained HTML page from the sections of a measurement.

Every question about a world makes one `Section`; the template `report.html.j2` lays them out and
knows nothing of any question.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
class Section:
    """The answer to one question.

    Attributes:
        title: a few words.
        verdict: what the figures say, in one or two sentences; it also stands at the page's top.
        method: how it was measured.
        figures: the one or two figures to read first.
        plots: the figures drawn.
        table: the numbers behind the plots, folded away on the screen.
    """

    title: str
    verdict: str
    method: str
    figures: Sequence[Figure] = ()
    plots: Sequence[Plot] = ()
    table: Table | None = None


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


def percent(share: float, digits: int = 0) -> str:
    """Write a share of 1 in words."""
    return f"{100 * share:.{digits}f} %"


def render(
    heading: Heading,
    sections: Sequence[Section],
    absent: Mapping[str, str],
    film: bytes | None = None,
) -> str:
    """Return the page.

    Args:
        heading: what stands at its top.
        sections: in order.
        absent: for each question without an answer, why there is none.
        film: a GIF, put into the page.
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
        absent=absent,
        film=None if film is None else base64.b64encode(film).decode(),
        light=COLOURS,
        dark=DARK,
    )
