"""Things in the picture, without any rule of the game: connected blobs that come, stay and go.

In a game of few colours a blob is a connected region of one colour, other than the commonest one
of the real frames. In an RGB game it is a connected region that differs from the median of the real
frames. Neighbours are the eight cells around a cell.

A blob *appears* if nothing alike (of its colour) is within reach of it in the frame before, and
*disappears* if nothing alike is within reach in the frame after. A thing that moves farther than
the reach in one step does both, in the dream as in the real game.

Legend: t frames, h w their size, k kinds of blobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfgym.files import import_cv2

CONTRAST = 32
"""Grey levels by which an RGB pixel must differ from the scenery to belong to a blob."""
SCENES = 512
"""The scenery of an RGB game is the median of at most so many frames."""
REACH = 10
"""A blob is looked for within a tenth of the frame's shorter side of where it was."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Events:
    """What the blobs of one episode do, for each of its `t - 1` transitions.

    Attributes:
        appearances: int `(t - 1, k)`.
        disappearances: int `(t - 1, k)`.
        count: int `(t - 1, k)`, the blobs in the frame that each transition leads to.
        pixels: float `(t - 1, k)`, the share of that frame's pixels that belong to them.
    """

    appearances: np.ndarray
    disappearances: np.ndarray
    count: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True)
class Scenery:
    """What a game's frames show where there is no blob.

    Attributes:
        colours: the colour of each kind of blobs; empty for an RGB game, which has one kind.
        median: for an RGB game the median real frame, uint8 `(h, w, 3)`.
        reach: in pixels.
    """

    colours: tuple[Colour, ...]
    median: np.ndarray
    reach: int

    @property
    def kinds(self) -> int:
        """The number of kinds of blobs."""
        return len(self.colours) or 1

    def masks(self, frames: np.ndarray) -> np.ndarray:
        """Return which pixels belong to blobs of each kind, bool `(t, k, h, w)`."""
        if self.colours:
            return np.stack([(frames == colour).all(-1) for colour in self.colours], 1)
        difference = np.abs(frames.astype(np.int16) - self.median).max(-1)
        return (difference > CONTRAST)[:, None]


def find_scenery(frames: np.ndarray, palette: Sequence[Colour]) -> Scenery:
    """Find what does not count as a blob in real frames.

    Args:
        frames: uint8 `(t, h, w, 3)`, of the real game.
        palette: the game's colours; empty for an RGB game.
    """
    reach = max(1, min(frames.shape[1:3]) // REACH)
    stride = -(-len(frames) // SCENES)
    median = np.median(frames[::stride], 0).astype(np.uint8)
    shares = [(frames == colour).all(-1).mean() for colour in palette]
    commonest = int(np.argmax(shares)) if palette else 0
    colours = tuple(colour for i, colour in enumerate(palette) if i != commonest)
    return Scenery(colours, median, reach)


def follow(frames: np.ndarray, scenery: Scenery) -> Events:
    """Follow the blobs through the frames uint8 `(t, h, w, 3)` of one episode."""
    cv2 = import_cv2()
    masks = scenery.masks(frames).astype(np.uint8)
    shape = (len(frames), scenery.kinds)
    appearances, disappearances, count = (np.zeros(shape, np.int64) for _ in range(3))
    around = np.ones((2 * scenery.reach + 1,) * 2, np.uint8)
    for kind in range(scenery.kinds):
        before = None  # the previous frame's number of blobs, their labels, and what is near them
        for t in range(len(frames)):
            mask = masks[t, kind]
            if t and np.array_equal(mask, masks[t - 1, kind]):
                count[t, kind] = count[t - 1, kind]  # nothing has moved
                continue
            if mask.any():
                number, labels = cv2.connectedComponents(mask, connectivity=8)
                now = (number - 1, labels, cv2.dilate(mask, around))
            else:
                now = (0, mask, mask)
            count[t, kind] = now[0]
            if before is not None:
                appearances[t, kind] = _far(now, before[2])
                disappearances[t, kind] = _far(before, now[2])
            before = now
    pixels = masks.mean((2, 3))
    return Events(appearances[1:], disappearances[1:], count[1:], pixels[1:])


def _far(blobs: tuple[int, np.ndarray, np.ndarray], near: np.ndarray) -> int:
    """Count the blobs of one frame that do not touch what is near those of another."""
    number, labels, _ = blobs
    if not number:
        return 0
    touched = np.unique(labels[near > 0])
    return number - int((touched > 0).sum())


NAMED = {
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
    "red": (220, 30, 30),
    "orange": (240, 140, 20),
    "yellow": (240, 230, 40),
    "brown": (120, 70, 20),
    "green": (30, 170, 50),
    "cyan": (40, 210, 210),
    "blue": (40, 60, 220),
    "violet": (140, 50, 200),
    "pink": (250, 130, 190),
}
"""Colours that have a name."""


def name_colour(colour: Colour) -> str:
    """Name a colour by the nearest one that has a name, and its own value: `red (#c82828)`."""
    nearest = min(NAMED, key=lambda name: np.square(np.subtract(colour, NAMED[name])).sum())
    return f"{nearest} (#{colour[0]:02x}{colour[1]:02x}{colour[2]:02x})"
