"""Measures of frames and of predicted events, each checked against its definition.

Legend: n frames, h w their size; frames are uint8 `(n, h, w, 3)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dfgym.frames import differ

PSNR_CAP = 100.0
"""dB, for frames without any error (which would be infinity)."""
BINS = 10


def colours(frames: np.ndarray) -> np.ndarray:
    """Count the colours of each frame, int `(n,)`; those of one sixteenth of a channel are one."""
    codes = (frames >> 4).astype(np.int32) @ (256, 16, 1)
    flat = np.sort(codes.reshape(len(frames), -1), 1)
    return 1 + (flat[:, 1:] != flat[:, :-1]).sum(1)


def exact(frames: np.ndarray, truth: np.ndarray, tolerance: int = 0) -> float:
    """Return the share of frames with no wrong pixel, in [0, 1]; see `differ`."""
    return float((~differ(frames, truth, tolerance).any((-2, -1))).mean())


def psnr(frames: np.ndarray, truth: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB, of the squared error over all frames together.

    A mean of each frame's own ratio would be ruled by the frames without error.
    """
    error = ((frames.astype(np.float64) - truth) ** 2).mean()
    return PSNR_CAP if error == 0 else min(PSNR_CAP, float(10 * np.log10(255**2 / error)))


def ssim(frames: np.ndarray, truth: np.ndarray) -> float:
    """Return the structural similarity in [-1, 1], mean over frames and colours.

    Wang et al. 2004, with uniform 7x7 windows (smaller ones for smaller frames) and sample
    covariances, which are scikit-image's defaults.
    """
    side = min(7, *frames.shape[1:3])
    count = side * side
    x, y = frames.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = _box_means(x, side), _box_means(y, side)
    scale = count / max(1, count - 1)
    var_x = scale * (_box_means(x * x, side) - mean_x**2)
    var_y = scale * (_box_means(y * y, side) - mean_y**2)
    cov = scale * (_box_means(x * y, side) - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    return float((similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def brightness(frames: np.ndarray) -> float:
    """Return the mean value in [0, 255]; it rises or falls when frames drift."""
    return float(frames.mean())


def detail(frames: np.ndarray) -> float:
    """Return the mean absolute difference of neighbouring pixels; it falls when frames blur."""
    values = frames.astype(np.int16)
    return float(np.mean([np.abs(np.diff(values, axis=axis)).mean() for axis in (-3, -2)]))


def change(frames: np.ndarray, tolerance: int = 0) -> float:
    """Return the share of pixels that differ from the frame before; it falls in a freeze."""
    if len(frames) < 2:
        return 0.0
    return float(differ(frames[1:], frames[:-1], tolerance).mean())


def event_scores(
    predicted: np.ndarray, actual: np.ndarray, usual: float = 0.0
) -> dict[str, float | None]:
    """Score predictions of rare events, which are the values other than the usual one.

    Args:
        predicted: `(n,)`; a prediction is right only if it equals the event's value, but for the
            rounding of a card's float32.
        actual: `(n,)`.
        usual: what is no event, as the living cost of every step.

    Returns:
        `events` and `predictions` (how many there are of each), `precision`, `recall` and `f1`.
        Precision without a prediction is None, and so are recall and F1 without an event: nothing
        was tested.
    """
    foreseen, occurred = ~np.isclose(predicted, usual), ~np.isclose(actual, usual)
    right = int((np.isclose(predicted, actual) & occurred).sum())
    predictions, events = int(foreseen.sum()), int(occurred.sum())
    return {
        "events": events,
        "predictions": predictions,
        "precision": right / predictions if predictions else None,
        "recall": right / events if events else None,
        "f1": 2 * right / (predictions + events) if events else None,
    }


def amounts(predicted: np.ndarray, actual: np.ndarray) -> dict[str, float | None]:
    """Score predictions of real numbers, as of rewards with more values than a world tells apart.

    Args:
        predicted: `(n,)`.
        actual: `(n,)`.

    Returns:
        `error` (the mean absolute one), `spread` (that of the best constant, the median) and
        `correlation`, which is None if either side is constant.
    """
    varied = len(actual) > 1 and np.ptp(predicted) > 0 and np.ptp(actual) > 0
    return {
        "error": float(np.abs(predicted - actual).mean()),
        "spread": float(np.abs(actual - np.median(actual)).mean()),
        "correlation": float(np.corrcoef(predicted, actual)[0, 1]) if varied else None,
    }


def accuracy(
    frames: np.ndarray, truth: np.ndarray, where: np.ndarray, tolerance: int = 0
) -> dict[str, float | None]:
    """Return the share of some pixels that are right, None if there are none, and how many.

    Args:
        frames: uint8 `(n, h, w, 3)`.
        truth: likewise.
        where: bool `(n, h, w)`, the pixels that are looked at.
        tolerance: see `differ`.
    """
    pixels = int(where.sum())
    right = int((where & ~differ(frames, truth, tolerance)).sum())
    return {"pixels": pixels, "right": right / pixels if pixels else None}


def calibration(probability: np.ndarray, occurred: np.ndarray) -> dict[str, Any]:
    """Return the expected calibration error over ten even bins, and the bins that are not empty.

    Naeini et al. 2015, section "Calibration measures".

    Args:
        probability: `(n,)` in [0, 1], of an event.
        occurred: bool `(n,)`, whether it took place.

    Returns:
        `ece`, and lists over the bins: `count`, `probability` (its mean) and `frequency`.
    """
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    members = [bins == b for b in range(BINS) if (bins == b).any()]
    counts = [int(inside.sum()) for inside in members]
    means = [float(probability[inside].mean()) for inside in members]
    frequencies = [float(occurred[inside].mean()) for inside in members]
    gaps = np.abs(np.subtract(means, frequencies))
    return {
        "ece": float(np.average(gaps, weights=counts)),
        "count": counts,
        "probability": means,
        "frequency": frequencies,
    }


def _box_means(values: np.ndarray, side: int) -> np.ndarray:
    """Return the means over all `side` x `side` windows of `(n, h, w, c)`."""
    for axis in (1, 2):
        total = np.insert(np.cumsum(values, axis), 0, 0.0, axis)
        total = np.moveaxis(total, axis, 0)
        values = np.moveaxis((total[side:] - total[:-side]) / side, 0, axis)
    return values
