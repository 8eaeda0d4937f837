"""Measurements as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def number(value: Any) -> str:
    """A number as a cell: whole, or to four digits; words as they are."""
    if isinstance(value, str):
        return value
    big = isinstance(value, int) or value >= 1000
    return f"{value:,.0f}" if big or value == int(value) else f"{value:.4g}"


def print_rows(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one a line."""
    listed = [(name.replace("_", " "), value) for name, value in rows]
    left, right = (max(map(len, column)) for column in zip(*listed, strict=True))
    print(f"\n{title}")
    for name, value in listed:
        print(f"  {name:{left}}  {value:>{right}}", flush=True)


def print_columns(title: str, found: Sequence[dict[str, Any]]) -> None:
    """Print measurements side by side: what each is, then one column a measurement."""
    cells = {name: [number(each[name]) for each in found] for name in found[0]}
    width = max(len(cell) for row in cells.values() for cell in row)
    print_rows(title, [(n, "  ".join(c.rjust(width) for c in row)) for n, row in cells.items()])
