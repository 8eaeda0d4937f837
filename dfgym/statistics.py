"""Intervals of 95 %: over episodes by the bootstrap, over a few seeds by Student's t and Fieller.

The episodes of one agent are many, so their bootstrap needs no assumption. Trainings are dear, and
three seeds are common. The percentile bootstrap of three values cannot leave their range, and holds
the true mean about 70 % of the time. So intervals over seeds assume that the seeds' values are
normal, and then hold at any number of seeds from 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

Interval = tuple[float, float]
"""The lower and the upper end."""

CONFIDENCE = 0.95
RESAMPLES = 10_000


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half along the last axis (Agarwal et al. 2021, section 4.3)."""
    cut = values.shape[-1] // 4
    return np.sort(values, -1)[..., cut : values.shape[-1] - cut].mean(-1)


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the percentile bootstrap interval of a statistic (Efron 1979).

    Args:
        values: float `(n, ...)`, one for each of many independent episodes.
        statistic: takes resampled values `(resamples, n, ...)` and returns `(resamples,)`.
        seed: of the resampling.
        resamples: the number of times that n values are drawn with replacement.
    """
    indices = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    tails = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(statistic(values[indices]), [tails, 100 - tails])
    return float(low), float(high)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Return Student's t interval of the mean of a few normal values, as one for each seed.

    Returns:
        None if there are fewer than 2 values.
    """
    if len(values) < 2:
        return None
    half = student_t(len(values) - 1) * math.sqrt(np.var(values, ddof=1) / len(values))
    mean = float(np.mean(values))
    return mean - half, mean + half


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], paired: bool
) -> Interval | None:
    """Return Fieller's interval of the ratio of two means of a few normal values (Fieller 1954).

    A ratio r is in the interval if a t test does not tell `mean(numerators)` from
    `r * mean(denominators)`. That is exact if `paired`. Otherwise the two variances differ, and the
    degrees of freedom are Satterthwaite's at the estimated ratio (Tamhane and Logan 2004). Unlike
    the delta method, it is not symmetric about the ratio.

    Args:
        numerators: one value for each seed.
        denominators: likewise.
        paired: value i of both belongs to the same agent; otherwise they are independent.

    Returns:
        None if a list has fewer than 2 values, or if the denominators' mean is not significantly
        different from 0: the ratio is then unbounded.
    """
    x, y = np.asarray(numerators, float), np.asarray(denominators, float)
    if min(len(x), len(y)) < 2 or y.mean() == 0:
        return None
    ratio = x.mean() / y.mean()
    var_x, var_y = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)  # of the means
    if paired:
        freedom = len(x) - 1.0
        covariance = float(np.cov(x, y)[0, 1]) / len(x)
    else:
        pieces = np.array([var_x, ratio**2 * var_y])
        squares = pieces**2 / np.array([len(x) - 1, len(y) - 1])
        freedom = float(pieces.sum() ** 2 / squares.sum()) if squares.any() else 1.0
        covariance = 0.0
    t2 = student_t(freedom) ** 2
    # (mean_x - r mean_y)^2 = t^2 (var_x - 2 r covariance + r^2 var_y), a quadratic in r
    a = y.mean() ** 2 - t2 * var_y
    b = x.mean() * y.mean() - t2 * covariance
    c = x.mean() ** 2 - t2 * var_x
    if a <= 0:
        return None
    root = math.sqrt(max(b * b - a * c, 0.0))
    return float((b - root) / a), float((b + root) / a)


def student_t(freedom: float, confidence: float = CONFIDENCE) -> float:
    """Return the t below which |T| of Student's distribution falls with probability `confidence`.

    With `t = sqrt(freedom) * tan(angle)` the density is proportional to `cos(angle) ** (freedom -
    1)`; its integral is inverted on a grid.

    Args:
        freedom: the degrees of freedom, 1 or more and not necessarily whole.
        confidence: in (0, 1).
    """
    angle = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angle) ** (freedom - 1)
    integral = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(math.sqrt(freedom) * np.tan(np.interp(confidence, integral / integral[-1], angle)))
