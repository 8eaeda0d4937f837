"""Checks for the fields of a card, and the reader that turns TOML tables into its dataclasses.

Every check raises `WorldError` with the key, the value and what is allowed.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, get_args, get_origin, get_type_hints

from dfgym.errors import WorldError

MAX_DEPTH = 8
MAX_TEXT = 1024


def read(kind: Any, value: Any, key: str = "") -> Any:
    """Turn a TOML value into a field of type `kind`; lists become tuples, tables dataclasses.

    Raises:
        WorldError: a key is unknown or missing, a type is wrong, or a dataclass refuses its values.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        table = _expect(dict, value, key)
        for problem, names in (
            ("unknown", table.keys() - hints),
            ("missing", hints.keys() - table),
        ):
            if names:
                raise WorldError(f"{problem} key {shown(_join(key, min(names)))}")
        return kind(**{name: read(hints[name], table[name], _join(key, name)) for name in hints})
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        table = _expect(dict, value, key)
        return {name: read(arguments[1], item, _join(key, name)) for name, item in table.items()}
    if get_origin(kind) is tuple:
        items = _expect(list, value, key)
        if arguments[-1] is not ... and len(items) != len(arguments):
            raise WorldError(f"{key} = {shown(items)}: must hold {len(arguments)} values")
        return tuple(read(arguments[0], item, key) for item in items)
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    return value if kind is Any else _expect(kind, value, key)


def between(key: str, value: float, low: float, high: float) -> None:
    """Check that a number is `low` to `high`, both included."""
    if not low <= value <= high:  # also refuses NaN
        raise WorldError(f"{key} = {shown(value)}: must be {low} to {high}")


def one_of(key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Check that a value is one of those allowed."""
    if value not in allowed:
        raise WorldError(f"{key} = {shown(value)}: must be one of {', '.join(map(str, allowed))}")


def matches(key: str, value: str, pattern: re.Pattern[str], what: str) -> None:
    """Check that a whole string fits a pattern; `what` describes it in words."""
    if not pattern.fullmatch(value):
        raise WorldError(f"{key} = {shown(value)}: must be {what}")


def text(key: str, value: str, limit: int) -> None:
    """Check that a string is short and printable: escape codes would reach the terminal."""
    if len(value) > limit or not value.isprintable():
        raise WorldError(f"{key} = {shown(value)}: must be printable, at most {limit} characters")


def plain(key: str, value: Any, depth: int = 0) -> None:
    """Check that a value is made of strings, booleans, finite numbers, lists and tables only.

    Strings and keys must be printable: escape codes would reach the terminal.
    """
    if depth > MAX_DEPTH:
        raise WorldError(f"{key}: tables and lists may be nested {MAX_DEPTH} deep at most")
    if type(value) is dict:
        for name, item in value.items():
            text(f"{key}: a key", name, MAX_TEXT)
            plain(_join(key, name), item, depth + 1)
    elif type(value) in (list, tuple):
        for item in value:
            plain(key, item, depth + 1)
    elif type(value) not in (str, bool, int, float):
        raise WorldError(
            f"{key} = {shown(value)}: must be a string, boolean, number, list or table"
        )
    elif type(value) is str:
        text(key, value, MAX_TEXT)
    elif type(value) is float and not math.isfinite(value):
        raise WorldError(f"{key} = {value}: must be finite")


def shown(value: Any) -> str:
    """Show a value in an error, briefly: it may be long, or nested too deep for `repr`."""
    if isinstance(value, dict | list | tuple):
        return f"({'table' if isinstance(value, dict) else 'list'} of {len(value)})"
    written = repr(value)
    return written if len(written) <= 80 else f"{written[:77]}..."


def _expect(kind: type, value: Any, key: str) -> Any:
    if type(value) is not kind:  # not isinstance: True is an int to Python, but not to a card
        raise WorldError(f"{key} = {shown(value)}: must be a {_TOML_NAMES[kind]}")
    return value


_TOML_NAMES = {str: "string", int: "whole number", float: "number", list: "list", dict: "table"}


def _join(key: str, name: str) -> str:
    name = name if name.isprintable() else shown(name)
    return f"{key}.{name}" if key else name
