"""Frames made smaller, by the filter that fits the game."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from dfgym.files import import_cv2

Filter = Literal["area", "nearest", "contrast"]
FEW_COLOURS = 64
"""A game that is drawn in at most so many is one of flat colours, which a mean would mix."""


def resize(frame: np.ndarray, size: tuple[int, int], kind: Filter = "area") -> np.ndarray:
    """Bring a uint8 frame `(h, w, 3)` to another height and width.

    Args:
        frame: the frame.
        size: height and width.
        kind: `area` takes the mean over the source pixels of each new one; `nearest` takes the one
            in the middle; `contrast` the one that differs most from the frame's median colour, so
            that small things stay, and colours stay what they are.

    Raises:
        MissingPackageError: `area` needs opencv-python, which cannot be imported.
    """
    if frame.shape[:2] == size:
        return frame
    match kind:
        case "area":
            cv2 = import_cv2()
            height, width = size
            return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
        case "nearest":
            rows, columns = (
                (2 * np.arange(new) + 1) * old // (2 * new)
                for new, old in zip(size, frame.shape[:2], strict=True)
            )
            return frame[rows[:, None], columns]
        case "contrast":
            return _resize_by_contrast(frame, size)


def _resize_by_contrast(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = frame.shape[:2]
    pixels = frame.reshape(-1, 3)
    distance = np.abs(pixels.astype(np.int16) - _median(pixels)).sum(-1, dtype=np.int16)
    blocks = _blocks((height, width), size)  # (h * w, pixels of a block)
    best = distance[blocks].argmax(axis=1)
    return pixels[blocks[np.arange(len(blocks)), best]].reshape(*size, 3)


def _median(pixels: np.ndarray) -> np.ndarray:
    """Return the median of each channel of uint8 `(n, 3)`, int16 `(3,)`, from the counts."""
    counts = np.stack([np.bincount(pixels[:, channel], minlength=256) for channel in range(3)])
    return (counts.cumsum(axis=1) * 2 >= len(pixels)).argmax(axis=1).astype(np.int16)


@lru_cache(maxsize=8)
def _blocks(old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Return the source pixels that each new pixel covers, whole or in part, int64 `(h * w, k)`.

    Blocks are as large as the largest one; in a smaller one its last pixels come several times.
    """
    rows, columns = (_spans(*pair) for pair in zip(old, new, strict=True))
    grid = rows[:, None, :, None] * old[1] + columns[None, :, None, :]
    return grid.reshape(new[0] * new[1], -1)


def _spans(old: int, new: int) -> np.ndarray:
    first = np.arange(new) * old // new
    last = -(-(np.arange(new) + 1) * old // new) - 1
    return np.minimum(first[:, None] + np.arange(int((last - first).max()) + 1), last[:, None])


def pick_filter(frames: Sequence[np.ndarray], size: tuple[int, int]) -> tuple[Filter, str]:
    """Pick the filter for a game, from some of its frames; returns it and the reason in words.

    Args:
        frames: uint8 `(h, w, 3)` each, of the game's own size.
        size: height and width that they will have.
    """
    packed = [frame.astype(np.int32) @ (65536, 256, 1) for frame in frames]
    colours = len(np.unique(np.concatenate([np.unique(frame) for frame in packed])))
    height, width = frames[0].shape[:2]
    if colours > FEW_COLOURS:
        return "area", f"the game is drawn in {colours:,} colours, so means fit"
    if height % size[0] == 0 and width % size[1] == 0:
        down, across = height // size[0], width // size[1]
        corner = [frame[::down, ::across] for frame in packed]
        whole = [c.repeat(down, 0).repeat(across, 1) for c in corner]
        if all((a == b).all() for a, b in zip(whole, packed, strict=True)):
            return "nearest", f"each pixel is drawn {down} high and {across} wide, in flat colours"
    return "contrast", f"the game is drawn in {colours} flat colours, and small things must stay"
