"""Where a memory reads and writes in its part of the cache: two slots that take turns.

A pass over frame number `time` reads the slot of the frame before and writes its own, so it can be
repeated.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class MemoryPosition(NamedTuple):
    """Each row's position in time.

    Attributes:
        rows: int64 `(b,)`, the numbers of the rows.
        time: int64 `(b,)`, how many frames each row has had.
    """

    rows: Tensor
    time: Tensor

    def read(self, slots: Tensor) -> Tensor:
        """Return what the frame before has left of `(b, 2, ...)`; zeros where there is none."""
        last = slots[self.rows, (self.time + 1) % 2]
        begun = (self.time > 0).view(-1, *[1] * (last.dim() - 1))
        return torch.where(begun, last, 0.0)

    def write(self, slots: Tensor, value: Tensor) -> None:
        """Write the frame's own part of `(b, 2, ...)`."""
        slots[self.rows, self.time % 2] = value.to(slots.dtype)  # of half precision, perhaps


class Recalled(NamedTuple):
    """What rows' memories hold, for someone who looks in; None where a memory holds no such thing.

    Attributes:
        ages: int64 `(b, k)`, how many frames ago those were that the last frame read; 0 for none.
        picture: `(b, g, g, 3)` in [-1, 1], a map with the agent in the middle, looking up: its
            first three numbers as colours.
    """

    ages: Tensor | None = None
    picture: Tensor | None = None


def memory_position(time: Tensor) -> MemoryPosition:
    """Compute the rows' positions; `time` counts their frames so far, `(b,)`."""
    return MemoryPosition(torch.arange(len(time), device=time.device), time)


def hide_slots(tensor: Tensor, time: Tensor) -> None:
    """Zero in place the slots of `(b, r, ...)` that hold none of the r - 1 frames before `time`."""
    last, count = time[:, None] - 1, tensor.shape[1]
    age = (last - torch.arange(count, device=time.device)) % count
    hidden = age > last.clamp(max=count - 2)
    # Not times 0, which would keep the sign of what was there.
    tensor.masked_fill_(hidden.view(*hidden.shape, *[1] * (tensor.dim() - 2)), 0)
