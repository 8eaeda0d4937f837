"""Numbers about pictures: how like two frames are, and what one frame looks like.

Legend: n frames, h w their size; frames are uint8 `(n, h, w, 3)`.
"""

from __future__ import annotations

import numpy as np

PSNR_CAP = 100.0
"""dB, for pictures without any error (which would be infinity)."""


def exact(frames: np.ndarray, truth: np.ndarray) -> float:
    """Share of frames with no wrong pixel, in [0, 1]."""
    return float((frames == truth).all((-3, -2, -1)).mean())


def psnr(frames: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, of the squared error over all frames together.

    Taken over all frames, since a mean of each frame's would be ruled by those without error.
    """
    error = ((frames.astype(np.float64) - truth) ** 2).mean()
    return PSNR_CAP if error == 0 else min(PSNR_CAP, float(10 * np.log10(255**2 / error)))


def ssim(frames: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004), in [-1, 1], mean over frames and colours.

    Uniform 7x7 windows (smaller ones for smaller frames) and sample covariances, as scikit-image
    takes it by default.
    """
    side = min(7, *frames.shape[1:3])
    count = side * side
    x, y = frames.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = _box(x, side), _box(y, side)
    scale = count / max(1, count - 1)
    var_x = scale * (_box(x * x, side) - mean_x**2)
    var_y = scale * (_box(y * y, side) - mean_y**2)
    cov = scale * (_box(x * y, side) - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    return float((similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def brightness(frames: np.ndarray) -> float:
    """Mean value, in [0, 255]: rises or falls when the picture drifts."""
    return float(frames.mean())


def detail(frames: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels: falls when the picture blurs."""
    values = frames.astype(np.int16)
    return float(np.mean([np.abs(np.diff(values, axis=axis)).mean() for axis in (-3, -2)]))


def change(frames: np.ndarray) -> float:
    """Share of pixels that differ from the frame before: falls when the picture freezes."""
    return float((frames[1:] != frames[:-1]).any(-1).mean()) if len(frames) > 1 else 0.0


def _box(values: np.ndarray, side: int) -> np.ndarray:
    """Means over all `side` x `side` windows of `(n, h, w, c)`."""
    for axis in (1, 2):
        total = np.cumsum(values, axis)
        total = np.insert(total, 0, 0.0, axis)
        total = np.moveaxis(total, axis, 0)
        values = np.moveaxis((total[side:] - total[:-side]) / side, 0, axis)
    return values
