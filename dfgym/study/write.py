"""The files of the study: for each finding JSON and a figure, and one page of all findings."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dfgym.files import plain, write_atomic, write_json
from dfgym.study.curve import BEGINNING, LASTING, Curve
from dfgym.study.figures import span_at
from dfgym.study.games import Scale
from dfgym.study.verdict import Condition, explain, judge

PAGE = "README.md"
SUBJECTS = {
    "backbones": "Backbones",
    "objectives": "Objectives",
    "pretraining": "Pretraining on images",
    "chunks": "Chunks",
    "schedules": "Schedules",
    "contexts": "Contexts",
    "few-steps": "Few denoising steps",
    "memory": "Memory",
    "clocks": "Clocks",
    "endurance": "Endurance",
    "search": "Search",
    "guidance": "Guidance",
    "composition": "Composition",
    "uncertainty": "Uncertainty",
    "horizon": "Flexible horizon",
}
"""The headings of the subjects, in the order of the page."""


@dataclass(frozen=True)
class Finding:
    """What was measured about one claim.

    Attributes:
        title: a few words.
        claim: what is claimed.
        result: one line of what was measured of it.
        numbers: all that was measured, plain values.
        text: a paragraph, made from the numbers.
        figure: the picture.
        source: who claims it.
    """

    title: str
    claim: str
    result: str
    numbers: dict[str, Any]
    text: str
    figure: Figure
    source: str = "The deck"


def write_finding(
    finding: Finding, name: str, row: str, scale: Scale, command: str, folder: Path
) -> None:
    """Write the JSON and the PNG of a finding.

    Args:
        finding: the finding.
        name: its subject, a hyphen and a word, or the subject alone; also the name of its files.
        row: the row of the deck that claims it, or another short name.
        scale: how large the study is.
        command: the command that makes it.
        folder: where all is written.
    """
    FigureCanvasAgg(finding.figure).print_png(drawing := io.BytesIO())
    write_atomic(folder / f"{name}.png", drawing.getvalue())
    table = {field: getattr(finding, field) for field in ("title", "source", "claim", "result")}
    table |= {"name": name, "subject": subject_of(name), "row": row, "command": command}
    table |= {"scale": _plain_scale(scale), "text": finding.text, "numbers": plain(finding.numbers)}
    write_json(folder / f"{name}.json", table)


def write_page(folder: Path, scale: Scale, conditions: Mapping[str, Sequence[Condition]]) -> None:
    """Write the page of all findings of one scale that a folder holds.

    Args:
        folder: holds the JSON of the findings, and gets the page.
        scale: that of the findings that are wanted.
        conditions: for the name of each claim, what must hold.
    """
    findings = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    findings = [finding for finding in findings if finding["scale"] == _plain_scale(scale)]
    by_subject = {
        subject: sorted((f for f in findings if f["subject"] == subject), key=_order)
        for subject in SUBJECTS
    }
    ordered = [finding for findings in by_subject.values() for finding in findings]
    header = ("claim", "by", "verdict", "what was measured", "row")
    rows = [
        (
            f"[{finding['title']}](#{_anchor(finding['title'])}): {finding['claim']}",
            finding["source"],
            judge(conditions[finding["name"]], finding["numbers"]),
            finding["result"],
            finding["row"],
        )
        for finding in ordered
    ]
    sections = [_head(scale), table(header, rows), _glossary(scale)]
    for subject, group in by_subject.items():
        if group:
            sections += [f"## {SUBJECTS[subject]}"]
            sections += [_section(finding, conditions[finding["name"]]) for finding in group]
    write_atomic(folder / PAGE, ("\n\n".join(sections) + "\n").encode())


def subject_of(name: str) -> str:
    """Return the subject that the name of a finding begins with."""
    return next(subject for subject in SUBJECTS if name.startswith(subject))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summarize(curve: Curve) -> dict[str, Any]:
    """Return the numbers of a curve that a finding keeps."""
    last = len(curve.error)
    steps = [2**i for i in range(last.bit_length()) if 2**i <= last]
    return {
        "error": curve.mean,
        "interval": curve.interval,
        "first": curve.error[0],
        "begins": curve.begins,
        "last": curve.at(last, max(8, last // 8)),
        "doubles_after": curve.doubles(),
        "at": {str(step): curve.at(step, span_at(step)) for step in steps},
        "detail": curve.sharpness,
        "detail_last": curve.over(curve.detail, last // 2, last),
        "sticky_share": curve.sticky,
        "ends_in_1000": curve.ends,
    }


def summarize_all(curves: Mapping[str, Mapping[Any, Curve]]) -> dict[str, dict[str, Any]]:
    """Return the numbers of the curves of each game."""
    return {
        game: {str(name): summarize(curve) for name, curve in named.items()}
        for game, named in curves.items()
    }


def format_error(curve: Curve) -> str:
    """Return a curve's mean error and interval in words."""
    low, high = curve.interval
    return f"{curve.mean:.3g} [{low:.3g}, {high:.3g}]"


def format_doubling(curve: Curve) -> str:
    """Return when a curve's error has doubled, in words; `-` where there is none to double."""
    after = curve.doubles()
    if curve.begins == 0:
        return "-"
    if after is None:
        return "never"
    return f"after {after} frame{'s' if after != 1 else ''}"


def compare(curve: Curve, other: Curve) -> str:
    """Return how the mean error of a curve compares with another's, in words."""
    if not curve.differs(other):
        return "no significant difference"
    return "more errors" if curve.mean > other.mean else "fewer errors"


def capitalize(text: str) -> str:
    """Return a text whose first letter is a capital, the others as they are."""
    return text[:1].upper() + text[1:]


def _plain_scale(scale: Scale) -> dict[str, Any]:
    return {**dataclasses.asdict(scale), "seeds": list(scale.seeds)}


def _order(finding: dict[str, Any]) -> tuple[int, str]:
    """Rows in the order of the deck, then the others by name."""
    row = finding["row"]
    return (int(row[1:]), "") if row[1:].isdigit() else (1000, row)


def _anchor(title: str) -> str:
    """The anchor of a heading, as Markdown renderers make it."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")


def _section(finding: dict[str, Any], conditions: Sequence[Condition]) -> str:
    title, name, numbers = finding["title"], finding["name"], finding["numbers"]
    return (
        f"### {title}\n\n*{finding['source']}:* {finding['claim']}\n\n"
        f"*Verdict:* {judge(conditions, numbers)}, by these conditions:\n\n"
        f"{explain(conditions, numbers)}\n\n"
        f"*Measured:* {finding['result']}\n\n{finding['text']}\n\n![{title}]({name}.png)\n\n"
        f"`{finding['command']}` ([numbers]({name}.json))"
    )


def _head(scale: Scale) -> str:
    dreams = " and ".join(f"{n * len(scale.seeds)} dreams of {g}" for g, n in scale.rows.items())
    return f"""# The study: claims about video world models, tried

"The deck" is the talk *Video Generation Models as World Simulators* (8 January 2025); its rows D3
to D15 and D17 name its claims. `dfgym study` trains what is missing, small networks all alike, on
the same data and for as many steps unless a section says otherwise, and measures {dreams}, each
{scale.horizon} frames long (the *horizon*). A scripted player plays them, and a dream that ends
begins anew from real frames. Each method was trained once: the brackets are 95 % intervals by
bootstrap over dreams, so they do not hold what another training would change. "No significant
difference" means that two such intervals overlap.

Each section says which conditions must hold if its claim is true, and the measured numbers answer
them. A claim is *supported* if all of them were tried and hold in every game where they can be
asked, *not supported* if none holds anywhere, *not tested* if none was tried, and else *partly*
supported. `dfgym study --page` writes this page anew from the numbers."""


def _glossary(scale: Scale) -> str:
    return f"""## What the words mean

- **Error** in breakout: the share of transitions that the rules of the real game cannot explain
  (0.025 is 25 in 1,000). In cartpole: the distance of a frame, in grey levels of 255 (root mean
  square), from what the real game draws for the cart and the pole that are read off it. What the
  reading alone gets wrong in real frames stands under Endurance.
- **Doubled**: the first frame from which on {LASTING} frames have, on average, twice the error of
  the first {BEGINNING}.
- **Ends**: the number of dreams that end in 1,000 frames, as the model predicts it.
- **Sticky actions**: transitions in which only a repeated last action explains the frame, which is
  breakout's chance.
- **Objective**: the noise levels that a model is trained at. **Commit**: the pass that writes the
  keys and values of a finished frame into the cache.
- **Diffusion forcing** (also "ours"): every frame is trained at a noise level of its own."""
