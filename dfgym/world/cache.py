"""The caches that hold what networks keep of their rows' past, copied out and put back.

Legend: b rows, r slots, l layers. A layer's cache is a tuple of tensors `(b, r, ...)`; a `Cache` is
a network's, one tuple for each layer. A dynamics has one for each context level: several exist in
the context mode `dynamic` alone, where the past is shown at more than one level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Cache = Sequence[tuple[Tensor, ...]]


class Batch(NamedTuple):
    """Rows that pass the network together: all that their next frames are a function of.

    Attributes:
        caches: the cache of each context level, written by every pass.
        time: int64 `(b,)`, how many frames each row has had.
        seeds: int64 `(b,)`, of each row's noise.
    """

    caches: Sequence[Cache]
    time: Tensor
    seeds: Tensor

    def select(self, rows: Tensor) -> Batch:
        """Copy some rows, int64 `(n,)`, each as often as it is named."""
        caches = [
            [tuple(tensor[rows] for tensor in layer) for layer in cache] for cache in self.caches
        ]
        return Batch(caches, self.time[rows], self.seeds[rows])

    def repeat(self, copies: int) -> Batch:
        """Copy every row so many times, copies of a row side by side."""
        rows = torch.arange(len(self.time), device=self.time.device)
        return self.select(rows.repeat_interleave(copies))


def copy_rows(caches: Sequence[Cache], rows: Tensor, time: Tensor) -> Tensor:
    """Copy some rows' caches: `(rows, context levels, l, tensors of a layer, r, ...)`.

    Slots that are out of sight are written as 0, so that equal situations give equal bytes however
    they were reached.

    Args:
        caches: the cache of each context level.
        rows: int64 `(n,)`, indices of the rows.
        time: int64 `(n,)`, how many frames each of them has had.
    """
    stacked = torch.stack(
        [
            torch.stack([torch.stack([tensor[rows] for tensor in layer]) for layer in cache])
            for cache in caches
        ]
    ).movedim(3, 0)
    slots = stacked.shape[4]
    last = time[:, None] - 1
    age = (last - torch.arange(slots, device=time.device)) % slots
    hidden = age > last.clamp(max=slots - 2)
    # Not times 0, which would keep the sign of what was there.
    return stacked.masked_fill(hidden.view(-1, 1, 1, 1, slots, *[1] * (stacked.dim() - 5)), 0)


def write_rows(caches: Sequence[Cache], rows: Tensor, new: Sequence[Cache] | Tensor) -> None:
    """Write the first of `new`'s rows over `rows`, in place."""
    for cache, new_cache in zip(caches, new, strict=True):
        for layer, new_layer in zip(cache, new_cache, strict=True):
            for tensor, value in zip(layer, new_layer, strict=True):
                tensor[rows] = value[: len(rows)]
