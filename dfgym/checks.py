"""Dataclasses from plain values and back, checked by msgspec; every error in one form.

A field's annotation says what it allows, `Annotated[int, Meta(ge=1, le=64)]` or a `Literal`, and
stands where the field does. `check` is for `__post_init__`, so that values from Python code meet
the same rules as those of a file or of the command line, which come through `convert`.

An error reads `model.dim is 0; expected int >= 1`: the field, its value, what is allowed. Values
may come from strangers, so an error shows little of them and no character that a terminal obeys.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from dfgym.errors import DfgymError

T = TypeVar("T")

MAX_WIDTH = 60
# What msgspec calls JSON's kinds, as Python and TOML call them.
_KINDS = {"object": "table", "array": "list", "null": "None"}


def convert(kind: type[T], value: Any, error: type[DfgymError], where: str = "") -> T:
    """Turn plain values, as TOML or JSON hold them, into an object of type `kind`.

    Args:
        kind: a dataclass, or any type that msgspec knows but its Structs.
        value: tables, lists, strings, numbers and booleans.
        error: the class of error to raise.
        where: the name of the whole, which begins every name in an error.

    Raises:
        DfgymError: of the class `error`: a key is unknown or missing, or a value is of the wrong
            type, not finite or not allowed.
    """
    if (reason := _refusal(kind, value, where)) is not None:
        raise error(_printable(reason))
    instance = msgspec.convert(value, kind, dec_hook=_from_plain)
    _fill(instance)
    return instance


def check(instance: Any, error: type[DfgymError], where: str = "") -> None:
    """Check every field of a dataclass instance against its annotation.

    Args:
        instance: of a dataclass; fields that are dataclasses have checked themselves.
        error: the class of error to raise.
        where: the name of the whole, which begins every name in an error.

    Raises:
        DfgymError: of the class `error`: a value is of the wrong type, not finite or not allowed.
    """
    for field, hint in _hints(type(instance)).items():  # type: ignore[arg-type]
        value, name = getattr(instance, field), _join(where, field)
        if isinstance(value, dict) and dataclasses.is_dataclass(_bare(hint)):
            raise error(f"{name} is {shorten(value)}; expected {_bare(hint).__name__}")
        if (reason := _refusal(hint, value, name)) is not None:
            raise error(_printable(reason))


def to_plain(instance: Any) -> Any:
    """Turn a dataclass instance into plain values; paths become strings."""
    return msgspec.to_builtins(instance, enc_hook=_to_plain)


def shorten(value: Any) -> str:
    """Show a value in an error, briefly: it may be long, or nested too deep for `repr`."""
    if isinstance(value, dict | list | tuple):
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 4 * MAX_WIDTH:
        return f"an int of {value.bit_length()} bits"  # Python writes no more than 4,300 digits
    text = repr(value[:MAX_WIDTH] if isinstance(value, str | bytes) else value)
    return text if len(text) <= MAX_WIDTH else f"{text[: MAX_WIDTH - 3]}..."


def _fill(instance: Any) -> None:
    """Give instances the defaults of fields that were left out as values of their own.

    msgspec leaves them to the class, from which `to_plain` does not read them.
    """
    if dataclasses.is_dataclass(instance):
        for field in dataclasses.fields(instance):
            value = getattr(instance, field.name)
            object.__setattr__(instance, field.name, value)  # it may be frozen
            _fill(value)
    elif isinstance(instance, dict):
        _fill(list(instance.values()))
    elif isinstance(instance, list | tuple):
        for value in instance:
            _fill(value)


def _from_plain(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _to_plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no plain value")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """The annotations of a dataclass's fields, by their names."""
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


def _refusal(kind: Any, value: Any, name: str) -> str | None:
    """Why a value is refused, with the innermost name that is to blame; None if it is allowed."""
    bare = _bare(kind)
    table = isinstance(value, dict) and dataclasses.is_dataclass(bare)
    if table and (unknown := value.keys() - (hints := _hints(bare))):
        key = _join(name, min(map(str, unknown))[:MAX_WIDTH])
        return f"unknown key '{key}'; allowed are {', '.join(hints)}"
    for item in _items(bare, value, name):
        if (reason := _refusal(*item)) is not None:
            return reason
    if isinstance(value, float) and not math.isfinite(value):
        return f"{name or 'the value'} is {value}; expected a finite number"
    try:
        msgspec.convert(value, kind, dec_hook=_from_plain)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, DfgymError):  # the dataclass itself has refused its values
            return _join(name, str(error.__cause__))
        problem = str(error).partition(" - at ")[0]
        if table and problem.startswith("Object missing"):
            return f"missing key '{_join(name, problem.split('`')[1])}'"
        if problem.startswith("Invalid enum value") and get_origin(bare) is Literal:
            problem = f"allowed are {', '.join(map(str, get_args(bare)))}"
        problem = re.sub("`(.*?)`", lambda quoted: _spoken(quoted[1]), problem)
        return f"{name or 'the value'} is {shorten(value)}; {problem[0].lower()}{problem[1:]}"
    return None


def parse_table(text: str, name: str, error: type[DfgymError]) -> dict[str, Any]:
    """Read a table that somebody typed, a JSON object.

    Args:
        text: what was typed.
        name: of the flag, for the error.
        error: the class of error to raise, where it is something else.
    """
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as reason:
        raise error(f"{name} is {shorten(text)}; expected JSON: {reason}") from reason
    if not isinstance(table, dict):
        raise error(f"{name} is {shorten(text)}; expected a JSON object, like '{{}}'")
    return table


def _items(kind: Any, value: Any, name: str) -> Iterator[tuple[Any, Any, str]]:
    """The types, values and names of what a value holds, where its type says what that is."""
    arguments = get_args(kind)
    if isinstance(value, dict):
        if dataclasses.is_dataclass(kind):
            hints = _hints(kind)  # type: ignore[arg-type]
            yield from ((hints[key], item, _join(name, key)) for key, item in value.items())
        elif get_origin(kind) is dict:
            for key, item in value.items():
                yield arguments[1], item, _join(name, str(key)[:MAX_WIDTH])
    elif isinstance(value, list | tuple) and get_origin(kind) in (list, tuple):
        several = get_origin(kind) is tuple and arguments[-1] is not ...
        for place, item in enumerate(value[: len(arguments)] if several else value):
            yield arguments[place if several else 0], item, f"{name}[{place}]"


def _spoken(kinds: str) -> str:
    return " | ".join(_KINDS.get(kind, kind) for kind in kinds.split(" | "))


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _printable(text: str) -> str:
    """A text without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
