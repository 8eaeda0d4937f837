"""The one codec between frames at rest (uint8 h w c) and in the model (float in [-1, 1]).

Legend: h, w frame height and width; c channels inside the model (3, or the palette's length).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FLICKER = 16
"""Grey levels by which a pixel of an RGB world may be off and still count as equal: a sixteenth of
the range. A world of few colours has no such flicker."""

MAX_PATCH, MAX_TOKENS = 64, 64
"""The longest side of a patch, and so many of them a frame; more are too slow for what they bring.
"""


@dataclass(frozen=True)
class Codec:
    """Frames to model channels and back; every recorded frame is a fixed point of the round trip.

    With no palette a pixel is its RGB value scaled to [-1, 1]. With a palette (games drawn in a few
    colours) a pixel is one channel for each colour, +1 at its own and -1 elsewhere, and decoding
    takes the strongest channel: the analog bits of Chen et al. 2022, one-hot. Every pair of
    colours is then equally far apart, however alike they look, and a generated frame holds
    recorded colours only, so small errors cannot accumulate from frame to frame.
    """

    palette: tuple[tuple[int, int, int], ...] = ()

    @property
    def channels(self) -> int:
        """Channels of an encoded frame."""
        return len(self.palette) or 3

    def encode(self, frames: Tensor) -> Tensor:
        """Encode uint8 `(..., h, w, 3)` as float32 `(..., h, w, c)` in [-1, 1].

        A colour that is not in the palette counts as the nearest one that is.
        """
        if not self.palette:
            return frames.float() / 127.5 - 1
        return self._one_hot(self.index(frames))

    def index(self, frames: Tensor) -> Tensor:
        """Return each pixel's nearest colour, int64 `(..., h, w)`, of uint8 `(..., h, w, 3)`."""
        palette = torch.tensor(self.palette, dtype=torch.int32, device=frames.device)
        distance = (frames.to(torch.int32).unsqueeze(-2) - palette).square().sum(-1)
        return distance.argmin(-1)

    def decode(self, frames: Tensor) -> Tensor:
        """Decode float `(..., h, w, c)` as uint8 `(..., h, w, 3)`.

        Rounds: truncation would darken a frame a little each time it is fed back.
        """
        return self.round(frames)[0]

    def round(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Round generated frames to recordable ones, as every frame is before it becomes context.

        Returns:
            The frames decoded, uint8 `(..., h, w, 3)`, and encoded again, float `(..., h, w, c)`.
        """
        if not self.palette:
            pixels = ((frames.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
            return pixels, self.encode(pixels)
        index = frames.max(-1).indices  # argmax is slow where colours lie before the cells
        palette = torch.tensor(self.palette, dtype=torch.uint8, device=frames.device)
        return palette[index], self._one_hot(index)

    def _one_hot(self, index: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(index, self.channels).float() * 2 - 1


def upscale(frames: np.ndarray, scale: int) -> np.ndarray:
    """Draw each cell `scale` x `scale`: `(..., h, w, c)` to `(..., h*scale, w*scale, c)`, fresh."""
    if scale == 1:
        return frames.copy()
    return frames.repeat(scale, axis=-3).repeat(scale, axis=-2)


def downscale(frames: np.ndarray, scale: int) -> np.ndarray:
    """Undo `upscale`: keep the top left pixel of each `scale` x `scale` cell, fresh."""
    return frames[..., ::scale, ::scale, :].copy()


def patches(height: int, width: int, most: int = MAX_TOKENS) -> list[int]:
    """Return the sides of patches that cut a frame into at most so many, smallest first."""
    shorter = min(MAX_PATCH, height, width)
    sides = [n for n in range(1, shorter + 1) if height % n == 0 and width % n == 0]
    return [side for side in sides if height * width // side**2 <= most]


def nearest_size(height: int, width: int) -> tuple[int, int]:
    """Return the size, or if no network cuts it into patches the next smaller one that is cut."""
    if patches(height, width):
        return height, width
    sizes = ((max(1, height // n), max(1, width // n), n) for n in range(4, MAX_PATCH + 1, 4))
    rows, columns, side = next(size for size in sizes if size[0] * size[1] <= MAX_TOKENS)
    return side * rows, side * columns


def flicker(has_palette: bool) -> int:
    """Return by how many grey levels equal pixels may differ: 0 in a world of few colours."""
    return 0 if has_palette else FLICKER


def differ(frames: np.ndarray, others: np.ndarray, tolerance: int = 0) -> np.ndarray:
    """Return which pixels differ by more than the tolerance in some colour, bool `(..., h, w)`."""
    if not tolerance:
        return (frames != others).any(-1)
    gap = np.maximum(frames, others) - np.minimum(frames, others)  # uint8 does not overflow so
    return (gap > tolerance).any(-1)
