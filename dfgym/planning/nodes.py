"""What a search keeps of the nodes of its trees: a slot of each cache, and numbers beside it.

Legend: p places (nodes of all games, each in one place), a actions, k outcomes of an action. A
child always stands behind its parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

NONE = -1  # in place of a place


class Nodes:
    """The nodes of all games' trees.

    Attributes:
        size: p, how many there are.
        parent: int64 `(p,)`, places; `NONE` for a root.
        time: int64 `(p,)`, how many frames the game has had there.
        frame: uint8 `(p, h, w, 3)`.
        logits: float64 `(p, a)`, the prior policy's.
        value: float64 `(p,)`, the prior's.
        reward: float64 `(p,)`, expected on arrival.
        survival: float64 `(p,)`, the probability that the game goes on.
        children: int64 `(p, a, k)`, places; `NONE` where an action has not been tried, or has fewer
            outcomes.
        weights: float64 `(p, a, k)`, the children's probabilities.
    """

    def __init__(self, frame: tuple[int, ...], num_actions: int, num_outcomes: int) -> None:
        branches = (num_actions, num_outcomes)
        self.size = 0
        self.parent, self.time = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.frame = np.zeros((0, *frame), np.uint8)
        self.logits, self.value = np.zeros((0, num_actions)), np.zeros(0)
        self.reward, self.survival = np.zeros(0), np.zeros(0)
        self.children, self.weights = np.zeros((0, *branches), np.int64), np.zeros((0, *branches))
        self.slots: list[Tensor] = []

    def add(self, count: int, **numbers: Any) -> np.ndarray:
        """Add nodes that have no children yet; returns their places, int64 `(count,)`."""
        places = np.arange(self.size, self.size + count)
        self.size += count
        if self.size > len(self.parent):
            for name, array in self._arrays().items():
                larger = np.zeros((2 * self.size, *array.shape[1:]), array.dtype)
                larger[: len(array)] = array
                setattr(self, name, larger)
        self.children[places] = NONE
        for name, values in numbers.items():
            getattr(self, name)[places] = values
        return places

    def write(self, places: np.ndarray, tensors: Sequence[Tensor], time: Tensor) -> None:
        """Keep the slots that passes at `time` have written in caches, for neighbouring places."""
        first, end = int(places[0]), int(places[-1]) + 1
        if not self.slots or len(self.slots[0]) < end:
            old = self.slots or [tensor[:0, 0] for tensor in tensors]
            self.slots = [slot.new_empty(2 * end, *slot.shape[1:]) for slot in old]
            for slot, before in zip(self.slots, old, strict=True):
                slot[: len(before)] = before
        rows = torch.arange(end - first, device=time.device)
        for slot, tensor in zip(self.slots, tensors, strict=True):
            slot[first:end] = tensor[rows, time % tensor.shape[1]]

    def keep(self, roots: np.ndarray) -> np.ndarray:
        """Forget all nodes but those below some, which become roots.

        Args:
            roots: int64 `(n,)`, places, or `NONE`.

        Returns:
            Their new places.
        """
        there = roots[roots != NONE]
        self.parent[there] = NONE
        parent, kept = self.parent[: self.size], np.zeros(self.size, bool)
        kept[there] = True
        while (more := kept | ((parent != NONE) & kept[parent])).sum() > kept.sum():
            kept = more
        old = np.flatnonzero(kept)
        moved = np.full(self.size + 1, NONE)  # the last stands for NONE
        moved[old] = np.arange(len(old))
        for name, array in self._arrays().items():
            setattr(self, name, array[old])
        self.parent, self.children = moved[self.parent], moved[self.children]
        index = torch.from_numpy(old)
        # The slots of roots are those of the game itself, which have perhaps never been written.
        self.slots = [slot[index.clamp(max=len(slot) - 1)] for slot in self.slots]
        self.size = len(old)
        return moved[roots]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
