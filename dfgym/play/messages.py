"""The messages that the page sends: JSON objects, checked into one dataclass for each kind.

Everything here comes from outside. The key `do` names the kind, and the other keys are exactly the
fields of its dataclass. Whether the values fit the world (is there such an action, such a start?)
is for the session to check.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

from msgspec import Meta

from dfgym import checks
from dfgym.errors import ConfigError
from dfgym.world.settings import Settings

MAX_BYTES = 4096
"""The length of the longest message."""
MAX_FPS = 240

Integer = Annotated[int, Meta(ge=-(2**53), le=2**53)]
"""An integer that JavaScript represents exactly."""


@dataclass(frozen=True)
class Act:
    """Hold this action from now on; `input` is the page's own count, which frames repeat."""

    action: Integer | tuple[float, ...]
    input: Integer


@dataclass(frozen=True)
class Pause:
    """Pause, or play on from the current frame."""

    on: bool


@dataclass(frozen=True)
class Step:
    """Pause, and play one step."""


@dataclass(frozen=True)
class Reset:
    """Begin an episode at one of the greeting's starts, or at a random one if it is null."""

    start: Integer | None


@dataclass(frozen=True)
class Seek:
    """Pause, and show frame t of the running episode."""

    t: Integer


@dataclass(frozen=True)
class SelectAgent:
    """Hand the controls to an agent, or take them back with null."""

    name: str | None


@dataclass(frozen=True)
class ChangeSettings:
    """Run the world with these settings from now on."""

    settings: Settings


@dataclass(frozen=True)
class SetSpeed:
    """Play so many steps a second; 0 means as many as there can be."""

    fps: Annotated[float, Meta(ge=0, le=MAX_FPS)]


@dataclass(frozen=True)
class ShowReal:
    """Show the real game beside the dream, or hide it."""

    on: bool


@dataclass(frozen=True)
class Ack:
    """Confirm that frame `seq` was drawn."""

    seq: Integer


Message = (
    Act | Pause | Step | Reset | Seek | SelectAgent | ChangeSettings | SetSpeed | ShowReal | Ack
)


def parse(text: str) -> Message:
    """Read a message.

    Raises:
        ConfigError: the text is not JSON or has a key twice, or the message is of an unknown kind,
            has other keys, or has a value of another type or out of range.
    """
    try:
        table = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_to_table)
    except (ValueError, RecursionError) as reason:
        raise ConfigError(f"a message must be JSON: {reason}") from None
    if not isinstance(table, dict):
        raise ConfigError(
            f"the message is {checks.shorten(table)}; expected an object with a key do"
        )
    kind: type[Message]
    match table.pop("do", None):
        case "act":
            kind = Act
        case "pause":
            kind = Pause
        case "step":
            kind = Step
        case "reset":
            kind = Reset
        case "seek":
            kind = Seek
        case "agent":
            kind = SelectAgent
        case "settings":
            kind = ChangeSettings
        case "speed":
            kind = SetSpeed
        case "real":
            kind = ShowReal
        case "ack":
            kind = Ack
        case other:
            raise ConfigError(
                f"do is {checks.shorten(other)}; allowed are act, pause, step, reset, seek, agent, "
                "settings, speed, real, ack"
            )
    return checks.convert(kind, table, ConfigError)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _to_table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice; the readers of JSON disagree on which one counts."""
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        duplicate = next(key for key in table if keys.count(key) > 1)
        raise ValueError(f"the key {checks.shorten(duplicate)} stands there twice")
    return table
