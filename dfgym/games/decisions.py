"""Chance walked through: a stand-in for a generator that returns, one after another, all it could.

A game is given `Decisions` in the place of its random generator, and is played once for each way in
which its choices can fall.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from dfgym.errors import NotMeasuredError

Result = TypeVar("Result")
GRID = (0.2, 0.4, 0.7)
"""What stands for a real number in [0, 1): it falls on every side of 1/3, 1/2 and 2/3."""
WIDE = 4096
"""Chance that can fall in more ways than this is too wide to be walked through."""


class Decisions:
    """Stands in for a random generator, and makes the choices that it is given.

    Attributes:
        counts: how many possibilities each choice so far had.
        picks: which was taken.
        probability: of all picks so far; NaN once a real number was drawn, whose possibilities
            stand for ranges that only the game knows.
    """

    def __init__(self, picks: Sequence[int] = ()) -> None:
        self._fixed = picks
        self.counts: list[int] = []
        self.picks: list[int] = []
        self.probability = 1.0

    def _pick(self, count: int) -> int:
        place = len(self.picks)
        self.counts.append(count)
        self.picks.append(self._fixed[place] if place < len(self._fixed) else 0)
        return self.picks[-1]

    def random(self, size: object = None) -> float:
        """Return one of the values that stand for all in [0, 1)."""
        self._refuse(size)
        self.probability = math.nan
        return GRID[self._pick(len(GRID))]

    def rand(self, *shape: int) -> float:
        """Do the same, in the form of NumPy's older generator."""
        return self.random(shape or None)

    def integers(
        self, low: int, high: int | None = None, size: object = None, endpoint: bool = False
    ) -> int:
        """Return any integer of the range."""
        self._refuse(size)
        first, last = (0, low) if high is None else (low, high)
        count = int(last - first + endpoint)
        self.probability /= count
        return first + self._pick(count)

    randint = integers

    def choice(self, items: Any, size: object = None, replace: bool = True, p: Any = None) -> Any:
        """Return any item that is possible."""
        self._refuse(size)
        values = np.arange(items) if isinstance(items, int) else items
        possible = range(len(values)) if p is None else np.flatnonzero(p)
        place = int(possible[self._pick(len(possible))])
        self.probability *= 1 / len(values) if p is None else float(p[place])
        return values[place]

    def _refuse(self, size: object) -> None:
        if size is not None:
            raise NotMeasuredError("the game draws many numbers at once: too wide a chance")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NotMeasuredError(f"the game draws by `{name}`: too wide a chance")


def walk(play: Callable[[Decisions], Result], most: int = WIDE) -> Iterator[Result]:
    """Play one step in every way in which its chance can fall.

    Raises:
        NotMeasuredError: there are more than `most` ways.
    """
    picks: Sequence[int] = ()
    for _ in range(most):
        decisions = Decisions(picks)
        yield play(decisions)
        picks = _successor(decisions)
        if not picks:
            return
    raise NotMeasuredError(f"the game's chance can fall in more than {most} ways")


def _successor(decisions: Decisions) -> list[int]:
    """Return the choices to make next; none if all have been made."""
    picks, counts = list(decisions.picks), decisions.counts
    while picks and picks[-1] + 1 == counts[len(picks) - 1]:
        picks.pop()
    if picks:
        picks[-1] += 1
    return picks
