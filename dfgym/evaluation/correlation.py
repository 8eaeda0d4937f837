"""Correlations of values and of ranks, and how far resampled episodes move them."""

from __future__ import annotations

import math

import numpy as np

from dfgym.statistics import Interval


def interval(value: float, resampled: np.ndarray, nearest: float) -> Interval:
    """Return the 95 % interval of a correlation, which holds the correlation itself.

    Noise in the returns lowers a correlation. Resampled returns have that noise twice, so that
    percentiles of their correlations lie too low, and may all lie below the estimate. Only how far
    they spread is used here, on Fisher's scale atanh(r), on which correlations near 1 are about
    normal. The interval is of the correlation that as many other episodes would give in the mean,
    which the real game's against itself has to be compared with; not of that of endless play.

    Args:
        value: the correlation.
        resampled: `(r,)`, those of resampled episodes.
        nearest: below 1; correlations between this and 1 are not told from 1.
    """
    limit = math.atanh(nearest)
    scaled = np.arctanh(np.clip(np.append(resampled, value), -nearest, nearest))
    reach = 1.96 * float(scaled[:-1].std())
    ends = (float(scaled[-1]) - reach, float(scaled[-1]) + reach)
    low, high = (math.copysign(1.0, z) if abs(z) >= limit else math.tanh(z) for z in ends)
    return min(low, value), max(high, value)


def half_swap(count: int) -> float:
    """Return half of what a rank correlation loses if two neighbours of `count` change places."""
    return 6 / (count * (count**2 - 1))


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Return the correlation of two lists of values; 0 if one is constant."""
    return float(correlate(x, y))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return the correlation of the ranks; equal values share the mean of theirs."""
    return float(correlate(ranks(x), ranks(y)))


def correlate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the correlations along the last axis; 0 where one side is constant."""
    x, y = (side - side.mean(-1, keepdims=True) for side in (np.asarray(x, float), y))
    size = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    constant = (np.ptp(x, -1) == 0) | (np.ptp(y, -1) == 0)
    return np.where(constant, 0.0, (x * y).sum(-1) / np.where(constant, 1.0, size)).clip(-1, 1)


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks along the last axis, from 0; equal values share the mean of theirs."""
    below, other = values[..., :, None], values[..., None, :]
    return 0.5 * ((below > other).sum(-1) + (below >= other).sum(-1) - 1.0)
