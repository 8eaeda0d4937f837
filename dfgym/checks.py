"""Dataclasses from plain values and back, checked by msgspec; every error in one form.

A field's annotation says what it allows, `Annotated[int, Meta(ge=1, le=64)]` or a `Literal`, and
stands where the field does. `check` is for `__post_init__`, so that values from Python code meet
the same rules as those of a file or of the command line, which come through `convert`.

An error reads `model.dim is 0; expected int >= 1`: the field, its value, what is allowed.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from dfgym.errors import DfgymError

T = TypeVar("T")

MAX_SHOWN = 60
_PLACE = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?", re.DOTALL)
_KEY = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def convert(kind: type[T], value: Any, error: type[DfgymError], where: str = "") -> T:
    """Turn plain values, as TOML or JSON hold them, into an object of type `kind`.

    Args:
        kind: a dataclass, or any type that msgspec knows.
        value: tables, lists, strings, numbers and booleans.
        error: the class of error to raise.
        where: the name of the whole, which begins every name in an error.

    Raises:
        DfgymError: of the class `error`: a key is unknown or missing, or a value is of the wrong
            type or not allowed.
    """
    if (unknown := _unknown(kind, value, where)) is not None:
        raise error(unknown)
    try:
        return msgspec.convert(value, kind, dec_hook=_from_plain)
    except msgspec.ValidationError as reason:
        raise error(_explain(kind, value, reason, where)) from None


def check(instance: Any, error: type[DfgymError], where: str = "") -> None:
    """Check every field of a dataclass instance against its annotation.

    Args:
        instance: of a dataclass; fields that are dataclasses have checked themselves.
        error: the class of error to raise.
        where: the name of the whole, which begins every name in an error.

    Raises:
        DfgymError: of the class `error`: a value is of the wrong type or not allowed.
    """
    for name, hint in _hints(type(instance)).items():  # type: ignore[arg-type]
        value = getattr(instance, name)
        try:
            msgspec.convert(value, hint, dec_hook=_from_plain)
        except msgspec.ValidationError as reason:
            raise error(_explain(hint, value, reason, _join(where, name))) from None


def to_plain(instance: Any) -> Any:
    """Turn a dataclass instance into plain values; paths become strings."""
    return msgspec.to_builtins(instance, enc_hook=str)


def shorten(value: Any) -> str:
    """Show a value in an error, briefly: it may be long, or nested too deep for `repr`."""
    if isinstance(value, dict | list | tuple):
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _from_plain(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _bare(kind: Any) -> Any:
    """A type without its annotation, and without the None that it allows."""
    while hasattr(kind, "__metadata__"):
        kind = get_args(kind)[0]
    options = [option for option in get_args(kind) if option is not type(None)]
    if type(None) in get_args(kind) and len(options) == 1:
        return _bare(options[0])
    return kind


def _unknown(kind: Any, value: Any, where: str) -> str | None:
    """Name the first key that a dataclass does not have; msgspec passes over such keys."""
    kind = _bare(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = _hints(kind)  # type: ignore[arg-type]
        if extra := value.keys() - hints:
            name = min(map(str, extra))
            return f"unknown key {shorten(_join(where, name))}; allowed are {', '.join(hints)}"
        parts = [(hints[name], item, _join(where, name)) for name, item in value.items()]
    elif get_origin(kind) in (list, tuple) and isinstance(value, list | tuple):
        parts = [(get_args(kind)[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    elif get_origin(kind) is dict and isinstance(value, dict):
        parts = [(get_args(kind)[1], item, _join(where, str(name))) for name, item in value.items()]
    else:
        return None
    return next((found for part in parts if (found := _unknown(*part)) is not None), None)


def _explain(kind: Any, value: Any, reason: msgspec.ValidationError, where: str) -> str:
    """Say which value is wrong, and what is allowed there."""
    place = _PLACE.fullmatch(str(reason))
    assert place is not None
    what, name, kind = place["what"], where, _bare(kind)
    for key, index in _KEY.findall(place["path"] or ""):
        name = _join(name, key) if key else f"{name}[{index}]"
        if index == "...":  # a value of a table: msgspec does not say which
            value, kind = _Unnamed(value), Any
        elif index:
            value, kind = value[int(index)], (*get_args(kind), Any)[0]
        else:
            kind = _hints(kind).get(key, Any) if dataclasses.is_dataclass(kind) else Any  # type: ignore[arg-type]
            value = value.get(key) if isinstance(value, dict) else getattr(value, key)
        kind = _bare(kind)
    if isinstance(reason.__cause__, DfgymError):  # a dataclass has refused its values
        return _join(where, str(reason.__cause__)) if not place["path"] else f"{name}: {what}"
    if what.startswith("Object missing"):
        return f"missing key {_join(name, what.split('`')[1])!r}"
    if what.startswith("Invalid enum value") and get_origin(kind) is Literal:
        what = f"allowed are {', '.join(map(str, get_args(kind)))}"
    what = what.replace("`", "").replace("Expected", "expected")
    return f"{name or 'the value'} is {shorten(value)}; {what}"


class _Unnamed:
    """Stands in an error for a value that msgspec does not name."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __repr__(self) -> str:
        return f"one of {', '.join(map(repr, self.table.values()))}"


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
