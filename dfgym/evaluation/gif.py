"""Moving pictures without loss: a GIF of the dream beside the real game.

Written by Pillow, since OpenCV's own GIF writer mixes neighbouring colours.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from dfgym.files import write_atomic
from dfgym.frames import upscale

GAP = 40
"""Grey value of what lies between two games."""


def beside(left: np.ndarray, right: np.ndarray, cell: int = 16) -> np.ndarray:
    """Draw two games next to each other.

    Args:
        left: uint8 `(t, h, w, 3)`.
        right: the same; whichever is shorter holds its last frame.
        cell: a pixel becomes this many, across and down.

    Returns:
        uint8 `(t, h * cell, w', 3)`.
    """
    count = max(len(left), len(right))
    drawn = [
        upscale(np.concatenate([f, np.repeat(f[-1:], count - len(f), 0)]), cell)
        for f in (left, right)
    ]
    gap = np.full((count, drawn[0].shape[1], cell, 3), GAP, np.uint8)
    return np.concatenate([drawn[0], gap, drawn[1]], 2)


def write(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write an endless GIF, atomically.

    Args:
        path: of the file.
        frames: uint8 `(t, h, w, 3)`; exact up to 256 colours, else rounded to 3, 3, 2 bits.
        fps: frames a second; GIF counts in hundredths of a second, at least 2 of them.
    """
    index, colours = _quantise(frames)
    pictures = []
    for picture in index:
        image = Image.frombytes("P", picture.shape[::-1], picture.tobytes())
        image.putpalette(colours.tobytes())
        pictures.append(image)
    file = io.BytesIO()
    pictures[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=10 * max(2, round(100 / fps)),
        loop=0,
        optimize=False,
    )
    write_atomic(path, file.getvalue())


def _quantise(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour numbers uint8 `(t, h, w)` and their colours uint8 `(n, 3)`."""
    packed = (frames.astype(np.int32) << np.array([16, 8, 0])).sum(-1)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) > 256:
        return _quantise((frames & np.array([0xE0, 0xE0, 0xC0])).astype(np.uint8))
    split = (colours[:, None] >> np.array([16, 8, 0])) & 0xFF
    return index.reshape(packed.shape).astype(np.uint8), split.astype(np.uint8)
