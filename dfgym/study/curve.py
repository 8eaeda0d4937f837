"""A curve: how good a model's dreams are over the horizon, with an interval over dreams."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfgym.statistics import Interval, bootstrap_interval

BEGINNING, LASTING = 16, 64
"""Steps whose mean error is that of a beginning, and that must err twice as much to count."""


@dataclass(frozen=True)
class Curve:
    """The errors of dreams over the horizon; the means are over episodes that got so far.

    Attributes:
        error: float `(horizon,)`, the mean error after so many steps (index 0: one); NaN where it
            is unknown.
        detail: likewise the fine detail, see `games.Judged`.
        weight: `(horizon,)`, how many transitions each of them stands for.
        rows: `(seeds * rows, 2)`: of each row the weighted sum of all errors, and the sum of their
            weights.
        sticky: the share of the transitions that only a sticky action explains; NaN without any.
        ends: dreams that ended, in 1,000 frames.
    """

    error: np.ndarray
    detail: np.ndarray
    weight: np.ndarray
    rows: np.ndarray
    sticky: float
    ends: float

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Curve:
        """Return the curve of plain values, as JSON holds them; None stands for NaN."""

        def numbers(values: list[float | None]) -> np.ndarray:
            return np.array([np.nan if value is None else value for value in values])

        sticky = np.nan if table["sticky"] is None else table["sticky"]
        return cls(
            numbers(table["error"]),
            numbers(table["detail"]),
            np.array(table["weight"]),
            np.array(table["rows"]),
            sticky,
            table["ends"],
        )

    @property
    def mean(self) -> float:
        """The mean error of all that was judged."""
        return float(_ratio(self.rows))

    @property
    def interval(self) -> Interval:
        """The 95 % bootstrap interval of `mean`, over rows."""
        return bootstrap_interval(self.rows, _ratio, resamples=2_000)

    def at(self, step: int, width: int = 8) -> float:
        """Return the mean error of the `width` steps that end with this one."""
        return self.over(self.error, max(0, step - width), step)

    @property
    def sharpness(self) -> float:
        """The mean detail over the horizon; NaN without any."""
        return self.over(self.detail, 0, len(self.detail))

    def over(self, values: np.ndarray, first: int, end: int) -> float:
        """Return the weighted mean of `error` or `detail` from a step to before another.

        It is NaN without any.
        """
        selected, weight = values[first:end], self.weight[first:end]
        finite = np.isfinite(selected)
        if not finite.any():
            return math.nan
        return float(np.average(selected[finite], weights=weight[finite]))

    @property
    def begins(self) -> float:
        """The mean error of the first `BEGINNING` steps: one would be a handful of frames."""
        return self.at(BEGINNING, BEGINNING)

    def doubles(self) -> int | None:
        """Return the first step from which `LASTING` steps err on average twice as `begins`.

        None if that never happens within the horizon, or there is no error to double.
        """
        for step in range(1, len(self.error) - LASTING + 1):
            if self.over(self.error, step, step + LASTING) > 2 * self.begins > 0:
                return step
        return None

    def differs(self, other: Curve) -> bool:
        """Return whether the intervals of two mean errors leave a gap."""
        low, high = sorted((self, other), key=lambda curve: curve.mean)
        return low.interval[1] < high.interval[0]


def _ratio(rows: np.ndarray) -> np.ndarray:
    """The mean error, of rows `(..., n, 2)` as `Curve` has them."""
    sums = rows.sum(-2)
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))
