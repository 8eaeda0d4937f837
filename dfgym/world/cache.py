"""The caches that hold what networks keep of their rows' past, copied out and put back.

Legend: b rows, r slots, l layers. A layer's cache is a tuple of tensors `(b, r, ...)`; a `Cache` is
a network's, one tuple for each layer. A dynamics has one for each context level: several exist in
the context mode `dynamic` alone, where the past is shown at more than one level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dfgym.model.network import Network

Cache = Sequence[tuple[Tensor, ...]]


class Present(NamedTuple):
    """The moment that the rows have come to.

    Attributes:
        frames: uint8 `(b, h, w, 3)`, the current frames.
        time: int64 `(b,)`, how many frames each row has had. What the caches hold from there on is
            out of sight, and the next step overwrites it.
    """

    frames: np.ndarray
    time: Tensor


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

    def copy(self) -> Batch:
        """Copy all rows: a pass writes into caches, and a gradient needs them as it saw them."""
        caches = [[tuple(t.clone() for t in layer) for layer in cache] for cache in self.caches]
        return self._replace(caches=caches)

    def repeat(self, copies: int) -> Batch:
        """Copy every row so many times, copies of a row side by side."""
        rows = torch.arange(len(self.time), device=self.time.device)
        return self.select(rows.repeat_interleave(copies))


def copy_rows(network: Network, caches: Sequence[Cache], rows: Tensor, time: Tensor) -> Tensor:
    """Copy some rows' caches: `(rows, context levels, numbers)`, layer after layer.

    What is out of sight is written as 0, so that equal situations give equal bytes however
    they were reached.

    Args:
        network: whose caches they are.
        caches: the cache of each context level.
        rows: int64 `(n,)`, indices of the rows.
        time: int64 `(n,)`, how many frames each of them has had.
    """
    levels = []
    for cache in caches:
        copy = [tuple(tensor[rows] for tensor in layer) for layer in cache]
        network.hide(copy, time)
        levels.append(torch.cat([tensor.flatten(1) for layer in copy for tensor in layer], 1))
    return torch.stack(levels, 1)


def restore_rows(caches: Sequence[Cache], rows: Tensor, saved: Tensor) -> None:
    """Write what `copy_rows` copied over `rows`, in place."""
    for cache, numbers in zip(caches, saved.unbind(1), strict=True):
        tensors = [tensor for layer in cache for tensor in layer]
        pieces = numbers.split([tensor[0].numel() for tensor in tensors], 1)
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor[rows] = piece.view(-1, *tensor.shape[1:])


def write_rows(caches: Sequence[Cache], rows: Tensor, new: Sequence[Cache]) -> None:
    """Write the first of `new`'s rows over `rows`, in place."""
    for cache, new_cache in zip(caches, new, strict=True):
        for layer, new_layer in zip(cache, new_cache, strict=True):
            for tensor, value in zip(layer, new_layer, strict=True):
                tensor[rows] = value[: len(rows)]
