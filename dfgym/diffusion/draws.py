"""The random numbers of training: each sequence has a generator of its own.

So what is drawn for a sequence does not depend on the batch it is in, nor on how many processes
share that batch. (At run time noise is a function of a row's seed and step, see `noise`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Generator, Tensor


class Draws:
    """Random tensors of the CPU, whose rows come from generators one after the other.

    Args:
        seeds: of the generators.
        rows: rows of a tensor that a generator draws. None: one generator draws all of them.
    """

    def __init__(self, seeds: Sequence[int], rows: int | None = None) -> None:
        assert rows is not None or len(seeds) == 1
        self._generators = [Generator().manual_seed(seed) for seed in seeds]
        self._rows = rows

    def _blocks(self, count: int) -> Iterator[tuple[Generator, int]]:
        rows = count if self._rows is None else self._rows
        assert count <= rows * len(self._generators), "a row without a generator"
        for generator, first in zip(self._generators, range(0, count, rows), strict=False):
            yield generator, min(rows, count - first)

    def _draw(
        self, shape: Sequence[int], function: Callable[[Sequence[int], Generator], Tensor]
    ) -> Tensor:
        count, *rest = shape
        return torch.cat([function((n, *rest), source) for source, n in self._blocks(count)])

    def rand(self, shape: Sequence[int]) -> Tensor:
        """Draw float32 numbers, uniform in [0, 1)."""
        return self._draw(shape, lambda block, source: torch.rand(block, generator=source))

    def randn(self, shape: Sequence[int]) -> Tensor:
        """Draw float32 numbers of the standard normal distribution."""
        return self._draw(shape, lambda block, source: torch.randn(block, generator=source))

    def randint(self, low: int, high: int, shape: Sequence[int]) -> Tensor:
        """Draw int64 numbers, uniform in [low, high)."""
        return self._draw(
            shape, lambda block, source: torch.randint(low, high, block, generator=source)
        )
