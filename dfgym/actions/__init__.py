"""Action spaces: what an action is made of, and the row of numbers that stands for it inside.

Gymnasium's spaces in plain data, so that a recording and a world's card can hold them. Outside, an
action has the form of its space: an int, an array, a dict of them. Inside, from the recording to
the network, it is a row: of `Discrete` the int itself, of every other space float32 `(parts,)`, the
leaves of the space one after another (those of a dict in the order of their sorted keys). A part is
a choice, counted from 0, or a value between bounds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta

from dfgym import checks
from dfgym.actions.forms import check_choice, check_choices, compose, flatten
from dfgym.errors import ActionError, ConfigError, DfgymError

Kind = Literal["discrete", "multi_discrete", "multi_binary", "box", "dict", "tuple"]
Number = Literal["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8"]
Choices = Annotated[int, Meta(ge=1, le=1024)]
Bound = Annotated[float, Meta(ge=-1e9, le=1e9)]
Text = Annotated[str, Meta(max_length=64)]
Row = int | np.ndarray
"""An action inside: an int, or float32 `(parts,)`."""

MAX_PARTS = 256
MAX_NESTING = 4


@dataclass(frozen=True)
class Component:
    """One number of a row: a choice, or a value between bounds."""

    n: int = 0
    """Number of choices; 0 for a value."""
    low: float = 0.0
    """Lowest value, or first choice."""
    high: float = 0.0
    """Highest value, or last choice."""

    @classmethod
    def of_choices(cls, n: int) -> Component:
        """Return a choice among n."""
        return cls(n, 0.0, n - 1.0)

    @property
    def extremes(self) -> Sequence[float]:
        """All choices, or the lowest and the highest value."""
        return range(self.n) if self.n else (self.low, self.high)


@dataclass(frozen=True)
class ActionSpace:
    """What an action is made of.

    Raises:
        ConfigError: the fields do not describe a space.
    """

    n: Choices | tuple[Choices, ...] = ()
    """Number of choices: an int for `discrete`, one of each part for `multi_discrete`."""
    meanings: tuple[Text | tuple[Text, ...], ...] = ()
    """What each choice means; for `multi_discrete` a list for each part. May be left out."""
    kind: Kind = "discrete"
    """Gymnasium's kind of space."""
    shape: tuple[Annotated[int, Meta(ge=1, le=MAX_PARTS)], ...] = ()
    """Shape of the array, for `multi_discrete`, `multi_binary` and `box`."""
    low: tuple[Bound, ...] = ()
    """Lowest value of each part of a `box`."""
    high: tuple[Bound, ...] = ()
    """Highest value of each part of a `box`."""
    dtype: Number = "float32"
    """Number format of a `box`."""
    names: tuple[Text, ...] = ()
    """A name for each part of an array; their numbers if left out."""
    spaces: dict[Text, ActionSpace] = field(default_factory=dict)
    """The spaces of a `dict` by their keys, or of a `tuple` by their numbers "0", "1", ..."""

    error: ClassVar[type[DfgymError]] = ConfigError

    def __post_init__(self) -> None:
        checks.check(self, self.error)
        self._check_fields()
        if (count := len(self.parts)) > MAX_PARTS or not count:
            raise self.error(f"shape gives an action {count} parts; expected 1 to {MAX_PARTS}")
        if self._nesting > MAX_NESTING:
            raise self.error(f"spaces is nested too deep; expected at most {MAX_NESTING} levels")
        for text in (*self._texts(), *self.names, *self.spaces):
            if not text.isprintable():
                raise self.error(f"meanings or names has {text!r}; expected printable text")

    def _check_fields(self) -> None:
        needed: dict[Kind, set[str]] = {
            "discrete": {"n"},
            "multi_discrete": {"n", "shape"},
            "multi_binary": {"shape"},
            "box": {"shape", "low", "high"},
            "dict": {"spaces"},
            "tuple": {"spaces"},
        }
        optional = {"discrete": {"meanings"}, "multi_discrete": {"meanings", "names"}}
        optional |= {"multi_binary": {"names"}, "box": {"names", "dtype"}}
        empty = {"n": (), "meanings": (), "shape": (), "low": (), "high": (), "names": ()}
        allowed = needed[self.kind] | optional.get(self.kind, set())
        for name, value in (empty | {"spaces": {}, "dtype": "float32"}).items():
            if getattr(self, name) != value and name not in allowed:
                raise self.error(f"{name} means nothing where kind is '{self.kind}'; leave it out")
            if name in needed[self.kind] - {"shape"} and getattr(self, name) == value:
                raise self.error(f"{name} is missing; it is needed where kind is '{self.kind}'")
        if isinstance(self.n, int) != (self.kind == "discrete"):
            raise self.error(f"n is {self.n!r}; expected an int for 'discrete' alone, else a list")
        size = math.prod(self.shape)
        for name in ("n", "low", "high", "names"):
            values = getattr(self, name)
            if isinstance(values, tuple) and values and len(values) != size:
                raise self.error(f"{name} has {len(values)} values; expected {size}, as shape says")
        for low, high in zip(self.low, self.high, strict=True):
            if low > high:
                raise self.error(f"low is {low} and high {high}; expected low <= high")
        self._check_meanings()
        if self.kind == "tuple" and set(self.spaces) != set(map(str, range(len(self.spaces)))):
            raise self.error(f"spaces of a tuple are {', '.join(self.spaces)}; expected 0, 1, ...")

    def _check_meanings(self) -> None:
        if not self.meanings:
            return
        counts = self.n
        if isinstance(counts, int):
            if len(self.meanings) != counts or not all(isinstance(m, str) for m in self.meanings):
                raise self.error(
                    f"meanings has {len(self.meanings)} actions; expected n, which is {counts}"
                )
        elif [len(m) if isinstance(m, tuple) else 0 for m in self.meanings] != list(counts):
            raise self.error("meanings do not fit n; expected a list for each part, one a choice")

    def _texts(self) -> Iterator[str]:
        for meaning in self.meanings:
            yield from (meaning,) if isinstance(meaning, str) else meaning

    @property
    def _nesting(self) -> int:
        return 1 + max((space._nesting for space in self.spaces.values()), default=0)

    @property
    def children(self) -> list[tuple[str, ActionSpace]]:
        """The spaces of a dict or a tuple, in the order in which their parts stand in a row."""
        number = int if self.kind == "tuple" else str
        return sorted(self.spaces.items(), key=lambda item: number(item[0]))

    @functools.cached_property
    def parts(self) -> tuple[Component, ...]:
        """What each number of a row is."""
        match self.kind:
            case "discrete":
                assert isinstance(self.n, int)
                return (Component.of_choices(self.n),)
            case "multi_discrete":
                assert isinstance(self.n, tuple)
                return tuple(map(Component.of_choices, self.n))
            case "multi_binary":
                return (Component.of_choices(2),) * math.prod(self.shape)
            case "box":
                return tuple(
                    Component(0, *bounds) for bounds in zip(self.low, self.high, strict=True)
                )
            case "dict" | "tuple":
                return tuple(item for _, space in self.children for item in space.parts)

    @functools.cached_property
    def bounds(self) -> np.ndarray:
        """The lowest and the highest number of each part, float64 `(2, parts)`."""
        return np.array([(item.low, item.high) for item in self.parts]).T

    @functools.cached_property
    def part_names(self) -> tuple[str, ...]:
        """A name for each number of a row, such as "0", "torque" or "mouse.0"."""
        if not self.spaces:
            return self.names or tuple(map(str, range(len(self.parts))))
        return tuple(
            key if space.kind == "discrete" else f"{key}.{name}"
            for key, space in self.children
            for name in space.part_names
        )

    @property
    def is_discrete(self) -> bool:
        """Whether a row is an int, one of finitely many actions."""
        return self.kind == "discrete"

    @property
    def count(self) -> int:
        """The number of discrete actions.

        Raises:
            ConfigError: actions are of another kind.
        """
        if not isinstance(self.n, int):
            raise ConfigError(f"actions are {self}; expected Discrete actions here")
        return self.n

    @property
    def network_form(self) -> int | tuple[Component, ...]:
        """What a network embeds: the number of discrete actions, or the parts of a row."""
        return self.count if self.is_discrete else self.parts

    @property
    def dtype_of_rows(self) -> np.dtype[Any]:
        """int64 for discrete actions, float32 for others."""
        return np.dtype(np.int64 if self.is_discrete else np.float32)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """`()` for discrete actions, `(parts,)` for others."""
        return () if self.is_discrete else (len(self.parts),)

    @property
    def none(self) -> int | float:
        """What a row is filled with where no action led to a frame."""
        return self.count if self.is_discrete else math.nan

    @property
    def rest(self) -> Row:
        """The action that does least: choices at 0, values at 0 or what the bounds allow next."""
        if self.is_discrete:
            return 0
        return np.clip(0, *self.bounds).astype(np.float32)

    def extremes(self) -> list[Row]:
        """Return actions that differ: all discrete ones or, of each part, all choices or bounds."""
        rest = self.rest
        if isinstance(rest, int):
            return list(range(self.count))
        rows: list[Row] = []
        for place, component in enumerate(self.parts):
            for value in component.extremes:
                row = rest.copy()
                row[place] = value
                rows.append(row)
        return rows

    def fill(self, count: int) -> np.ndarray:
        """Return `count` rows that stand for no action."""
        return np.full((count, *self.row_shape), self.none, self.dtype_of_rows)

    def __str__(self) -> str:
        match self.kind:
            case "discrete":
                return f"Discrete({self.n})"
            case "multi_discrete":
                return f"MultiDiscrete({list(self.n) if isinstance(self.n, tuple) else self.n})"
            case "multi_binary":
                return f"MultiBinary({_format_shape(self.shape)})"
            case "box":
                return f"Box({min(self.low)}, {max(self.high)}, {self.shape}, {self.dtype})"
            case "dict" | "tuple":
                inner = ", ".join(f"{key}: {space}" for key, space in self.children)
                return f"{self.kind.capitalize()}({inner})"

    def to_plain(self) -> int | dict[str, Any]:
        """Return what `from_plain` reads: the number of discrete actions, or a table."""
        return self.count if self.is_discrete else self.to_table()

    def to_table(self) -> dict[str, Any]:
        """Return the fields that are not at their defaults, as plain values."""
        table: dict[str, Any] = {"kind": self.kind}
        for name in ("n", "shape", "low", "high", "names"):
            if value := getattr(self, name):
                table[name] = list(value) if isinstance(value, tuple) else value
        if self.meanings:
            table["meanings"] = [m if isinstance(m, str) else list(m) for m in self.meanings]
        if self.dtype != "float32":
            table["dtype"] = self.dtype
        if self.spaces:
            table["spaces"] = {key: space.to_table() for key, space in self.spaces.items()}
        return table

    @staticmethod
    def from_plain(value: Any, meanings: Any = None) -> ActionSpace:
        """Read what `to_plain` returned.

        Raises:
            ConfigError: it is none.
        """
        if type(value) is int:
            value = {"n": value, "meanings": meanings or ()}
        return checks.convert(ActionSpace, value, ConfigError, "actions")

    def sample(self, random: np.random.Generator, count: int | None = None) -> Any:
        """Draw a row evenly, or with a `count` so many: int64 `(count,)`, float32 `(count, parts)`.

        Args:
            random: the generator.
            count: how many; None for one row.
        """
        if self.is_discrete:
            draw = random.integers(self.count, size=count)
            return int(draw) if count is None else draw
        size = () if count is None else (count,)
        columns = [
            random.integers(item.n, size=size) if item.n else random.uniform(*bounds, size=size)
            for item, bounds in zip(self.parts, self._sampling_bounds, strict=True)
        ]
        rows = np.stack(columns, -1)
        return self.round(rows)

    @functools.cached_property
    def _sampling_bounds(self) -> tuple[tuple[float, float], ...]:
        """The bounds between which values are drawn; those of whole numbers half a number wider."""
        if self.kind == "box":
            margin = 0.0 if self.dtype.startswith("float") else 0.499
            return tuple((item.low - margin, item.high + margin) for item in self.parts)
        if self.spaces:
            return tuple(b for _, space in self.children for b in space._sampling_bounds)
        return ((0.0, 0.0),) * len(self.parts)

    def round(self, rows: np.ndarray) -> np.ndarray:
        """Round rows to what the space's number formats can hold; float32, within the bounds."""
        return flatten(self, compose(self, rows), rows.shape[:-1]).astype(np.float32)

    def stack(self, rows: Any) -> np.ndarray:
        """Stack rows to an array: int64 `(t,)` or float32 `(t, parts)`."""
        return np.array(rows, self.dtype_of_rows).reshape(-1, *self.row_shape)

    def row(self, action: Any) -> Row:
        """Turn an action in the form of its space into a row.

        Args:
            action: for `discrete` an int, a NumPy integer or an integer array of shape `()`; else
                an array, a dict or a tuple of the space's form.

        Raises:
            ActionError: the type, the shape or a value is wrong, or not a number.
        """
        if self.is_discrete:
            return check_choice(action, self.count)
        return flatten(self, action, ()).astype(np.float32)

    def rows(self, actions: Any, count: int) -> np.ndarray:
        """Turn a batch of actions into fresh rows: int64 `(count,)` or float32 `(count, parts)`.

        Args:
            actions: in the form of Gymnasium's `batch_space`: arrays with the batch in front; or a
                list (for all but tuples of spaces also a tuple) of single actions.
            count: how many actions there must be.

        Raises:
            ActionError: the type, the length or a value is wrong; the message names the first.
        """
        if self.is_discrete:
            return check_choices(actions, self.count, count)
        if isinstance(actions, list) or (isinstance(actions, tuple) and self.kind != "tuple"):
            if len(actions) != count:
                raise ActionError(f"there are {len(actions)} actions: give {count}")
            return self.stack([self.row(action) for action in actions])
        return flatten(self, actions, (count,)).astype(np.float32)

    def parse_row(self, numbers: int | Sequence[float]) -> Row:
        """Return the row of an int or of a list of numbers, as JSON holds them.

        Raises:
            ActionError: they are no action.
        """
        if self.is_discrete:
            return check_choice(numbers, self.count)
        row = np.array(numbers, np.float32)
        self.check_rows(row[None])
        return row

    def check_rows(self, rows: np.ndarray) -> None:
        """Check rows `(t, parts)` of numbers.

        Raises:
            ActionError: they do not belong to the space.
        """
        if rows.dtype.kind not in "iuf" or rows.shape[1:] != self.row_shape:
            raise ActionError(
                f"rows are {rows.dtype} {rows.shape}: give numbers (t, {len(self.parts)})"
            )
        low, high = self.bounds.astype(np.float32)
        wrong = ~((rows >= low) & (rows <= high))  # NaN too
        whole = np.array([item.n > 0 for item in self.parts])
        wrong |= whole & (rows != np.rint(rows))
        if wrong.any():
            t, i = np.argwhere(wrong)[0]
            raise ActionError(
                f"row {t} has {rows[t, i]:g} as its part {self.part_names[i]!r}: give "
                f"{'a whole number' if whole[i] else 'a number'} from {low[i]:g} to {high[i]:g}"
            )

    def native(self, rows: Any) -> Any:
        """Turn a row, or a batch of rows, into the form of the space.

        Args:
            rows: an int, or `(..., parts)`; of discrete actions any array.

        Returns:
            An int, an array, a dict or a tuple; of a batch arrays with the batch in front.
        """
        if self.is_discrete:
            return int(rows) if np.ndim(rows) == 0 else np.asarray(rows, np.int64)
        return compose(self, np.asarray(rows))


def discrete(n: int) -> ActionSpace:
    """Return the space of `n` discrete actions."""
    return ActionSpace(n=n)


def _format_shape(shape: tuple[int, ...]) -> int | tuple[int, ...]:
    return shape[0] if len(shape) == 1 else shape
