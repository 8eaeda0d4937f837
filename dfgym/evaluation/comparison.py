"""Two measured worlds side by side: `dfgym evaluate --compare A B`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfgym.errors import ConfigError
from dfgym.evaluation import report
from dfgym.evaluation.report import LEVELS, NONE, Heading, Table
from dfgym.files import write_atomic

FILE = "evaluation.json"
AGAIN = "measure the world again with `dfgym evaluate --out`"


def read(place: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `dfgym evaluate` has written.

    Args:
        place: its folder, or the JSON file in it.

    Raises:
        ConfigError: there is no such file, or it is none of `dfgym evaluate`.
    """
    path = Path(place)
    path = path / FILE if path.is_dir() else path
    try:
        results = json.loads(path.read_text())
    except (OSError, ValueError) as reason:
        raise ConfigError(
            f"`compare` has {os.fspath(place)!r}; expected a folder that `dfgym evaluate --out` "
            f"wrote ({reason})"
        ) from reason
    parts = ("world", "settings", "verdict", "absent")
    if not isinstance(results, dict) or not all(isinstance(results.get(p), dict) for p in parts):
        raise ConfigError(f"{path} is no {FILE} of `dfgym evaluate`; {AGAIN}")
    if "name" not in results["world"] or "quick" not in results["settings"]:
        raise ConfigError(f"{path} does not say which world it is of, or how closely; {AGAIN}")
    return results


def name_both(one: dict[str, Any], two: dict[str, Any], places: Sequence[Path]) -> tuple[str, str]:
    """Return the names of two measured worlds, which differ, and say which is a quick look.

    Args:
        one: as `read` returns it.
        two: likewise.
        places: where both were read.
    """
    names = [results["world"]["name"] for results in (one, two)]
    if names[0] == names[1]:
        names = [place.resolve().name for place in places]
    if names[0] == names[1]:
        names = [os.fspath(place) for place in places]
    looks = [results["settings"]["quick"] for results in (one, two)]
    if looks[0] != looks[1]:
        names = [
            f"{name} (quick)" if quick else name for name, quick in zip(names, looks, strict=True)
        ]
    return names[0], names[1]


def beside(one: Table, two: Table, names: tuple[str, str]) -> Table:
    """Put two ladders side by side.

    Args:
        one: a ladder, as `report.climb` makes it.
        two: likewise.
        names: of both.
    """
    lines: dict[tuple[str, str], list[list[str]]] = {}
    for place, table in enumerate((one, two)):
        for level, question, *cells in table.rows:
            line = lines.setdefault((level, question), [["", "", ""], ["", "", ""]])
            line[place] = [cells[0], cells[1], cells[3]]
    ordered = sorted(lines.items(), key=lambda item: LEVELS.index(item[0][0]))
    rows = [
        [*key, one[0], two[0], _ceiling(one[1], two[1]), one[2] or NONE, two[2] or NONE]
        for key, (one, two) in ordered
    ]
    header = ["level", "question", *names, "real against real"]
    return Table([*header, *(f"verdict of {name}" for name in names)], rows)


def _ceiling(*cells: str) -> str:
    """Return what both share, or the one that there is; both where they differ."""
    present = dict.fromkeys(cell for cell in cells if cell not in ("", NONE))
    return " | ".join(present) or NONE


def write(table: Table, names: tuple[str, str], quick: bool, out: Path) -> Path:
    """Write the page of two worlds side by side; returns its path.

    Args:
        table: both ladders.
        names: of both.
        quick: whether either was a quick look.
        out: the folder.
    """
    words = "Each question's figure in both, from single frames to what agents learn."
    heading = Heading(f"{names[0]} beside {names[1]}", words, {}, quick)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "comparison.html"
    write_atomic(path, report.render(heading, [], {}, None, table).encode())
    return path


def lay_out(table: Table) -> str:
    """Return a table as text, its columns aligned."""
    rows = [table.header, *table.rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
