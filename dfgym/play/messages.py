"""What the page may say: JSON text, checked by hand, into frozen dataclasses.

Everything here comes from outside. A message has exactly the keys of its dataclass, and `do`;
whether its values fit the world (is there such an action, such a start?) is the session's to check.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from dfgym.errors import ConfigError

MAX_BYTES = 4096
"""Of a message."""
MAX_FPS = 240
_MAX_INT = 2**53  # beyond it a page's numbers are no longer exact


@dataclass(frozen=True)
class Act:
    """This action is held from now on; `input` is the page's own count, told back with frames."""

    action: int
    input: int


@dataclass(frozen=True)
class Pause:
    """Stop, or go on from the frame that is shown."""

    on: bool


@dataclass(frozen=True)
class Step:
    """Pause, and play one step."""


@dataclass(frozen=True)
class Reset:
    """Begin an episode: at a start of the greeting's list, or a random one."""

    start: int | None


@dataclass(frozen=True)
class Seek:
    """Pause, and show frame t of the running episode."""

    t: int


@dataclass(frozen=True)
class Agent:
    """Hand the controls to an agent, or take them back."""

    name: str | None


@dataclass(frozen=True)
class Settings:
    """How the dream is made from now on; see `dfgym.env.env.DreamEnv`."""

    denoising_steps: int
    context_mode: str
    context_noise: float


@dataclass(frozen=True)
class Speed:
    """Steps a second; 0: as fast as it goes."""

    fps: float


@dataclass(frozen=True)
class Real:
    """The real game beside the dream, or not."""

    on: bool


@dataclass(frozen=True)
class Ack:
    """Frame `seq` was drawn."""

    seq: int


Message = Act | Pause | Step | Reset | Seek | Agent | Settings | Speed | Real | Ack
_Kind = TypeVar("_Kind", bound=Message)
_DO = "act, pause, step, reset, seek, agent, settings, speed, real, ack"


def parse(text: str) -> Message:
    """Read a message.

    Raises:
        ConfigError: it is not JSON, has a key twice, is of an unknown kind, has other keys, or a
            value of another type or out of range.
    """
    try:
        table = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as reason:
        raise ConfigError(f"a message must be JSON: {reason}") from None
    if not isinstance(table, dict):
        raise ConfigError(f'a message must be an object like {{"do": "step"}}, not {_shown(table)}')
    match table.pop("do", None):
        case "act":
            return _read(Act, table)
        case "pause":
            return _read(Pause, table)
        case "step":
            return _read(Step, table)
        case "reset":
            return _read(Reset, table)
        case "seek":
            return _read(Seek, table)
        case "agent":
            return _read(Agent, table)
        case "settings":
            return _read(Settings, table)
        case "speed":
            message = _read(Speed, table)
            if not 0 <= message.fps <= MAX_FPS:
                raise ConfigError(f"fps is {message.fps:g}; allowed is 0 (no limit) to {MAX_FPS}")
            return message
        case "real":
            return _read(Real, table)
        case "ack":
            return _read(Ack, table)
        case other:
            raise ConfigError(f"do is {_shown(other)}; it must be one of {_DO}")


def _whole(value: Any) -> bool:
    return type(value) is int and abs(value) <= _MAX_INT


# By annotation: what it is in words, and whether a value is one. A bool is no int here.
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", _whole),
    "int | None": ("a whole number or null", lambda value: value is None or _whole(value)),
    "float": (
        "a finite number",
        lambda value: _whole(value) or (type(value) is float and math.isfinite(value)),
    ),
    "bool": ("true or false", lambda value: type(value) is bool),
    "str": ("a text", lambda value: type(value) is str),
    "str | None": ("a text or null", lambda value: value is None or type(value) is str),
}


def _read(kind: type[_Kind], table: dict[str, Any]) -> _Kind:
    fields = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    if table.keys() != fields.keys():
        wanted = ", ".join(["do", *fields])
        raise ConfigError(
            f"a message {kind.__name__.lower()} has the keys {wanted}, not {_shown(list(table))}"
        )
    for name, annotation in fields.items():
        words, fits = _TYPES[annotation]
        if not fits(table[name]):
            raise ConfigError(f"{name} is {_shown(table[name])}; it must be {words}")
    return kind(**table)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in table if keys.count(key) > 1)
        raise ValueError(f"the key {_shown(twice)} stands there twice")
    return table


def _shown(value: Any) -> str:
    """The value in an error, cut short: it came from outside."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
