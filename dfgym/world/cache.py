"""The rings that hold what networks keep of their rows' past, copied out and put back.

Legend: b rows, r slots. A ring is a tuple of tensors `(b, r, ...)`; a network has several, and a
dynamics one such set for each context level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Rings = Sequence[tuple[Tensor, ...]]


def take(levels: Sequence[Rings], rows: Tensor, time: Tensor) -> Tensor:
    """Copy some rows' rings: `(rows, levels, rings, parts of a ring, slots, ...)`.

    Slots that are out of sight are written as 0, so that equal situations give equal bytes however
    they were reached.

    Args:
        levels: the rings of each context level.
        rows: int64 `(n,)`, which.
        time: int64 `(n,)`, how many frames each of them has had.
    """
    found = torch.stack(
        [
            torch.stack([torch.stack([part[rows] for part in ring]) for ring in rings])
            for rings in levels
        ]
    ).movedim(3, 0)
    slots = found.shape[4]
    last = time[:, None] - 1
    age = (last - torch.arange(slots, device=time.device)) % slots
    hidden = age > last.clamp(max=slots - 2)
    # Not times 0, which would keep the sign of what was there.
    return found.masked_fill(hidden.view(-1, 1, 1, 1, slots, *[1] * (found.dim() - 5)), 0)


def put(levels: Sequence[Rings], rows: Tensor, new: Sequence[Rings] | Tensor) -> None:
    """Write the first of `new`'s rows over `rows`, in place."""
    for rings, others in zip(levels, new, strict=True):
        for ring, other in zip(rings, others, strict=True):
            for part, value in zip(ring, other, strict=True):
                part[rows] = value[: len(rows)]
