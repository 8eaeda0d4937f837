"""What a search keeps of the nodes of its trees: a slot of each cache, and numbers beside it.

Legend: p places (nodes of all games, each in one place), a actions, k outcomes of an action.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

NONE = -1  # in place of a place


class Nodes:
    """The nodes of all games' trees.

    Attributes:
        size: p, how many there are.
        parent: int64 `(p,)`, places; `NONE` for a root. Of several that lead there it is one.
        number: int64 `(p,)`, of the node in the present search; `NONE` outside of it.
        time: int64 `(p,)`, how many frames the game has had there.
        frame: uint8 `(p, h, w, 3)`.
        logits: float64 `(p, a)`, the prior policy's.
        value: float64 `(p,)`, the prior's.
        reward: float64 `(p,)`, expected on arrival.
        survival: float64 `(p,)`, the probability that the game goes on.
        children: int64 `(p, a, k)`, places; `NONE` where an action has not been tried, or has fewer
            outcomes.
        weights: float64 `(p, a, k)`, the children's probabilities.
        keys: of every place, what tells it from others; None for a root.
        places: the other way round.
    """

    def __init__(self, frame: tuple[int, ...], num_actions: int, num_outcomes: int) -> None:
        branches = (num_actions, num_outcomes)
        self.size = 0
        self.keys, self.places = list[Hashable](), dict[Hashable, int]()
        self.parent, self.time = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.number = np.zeros(0, np.int64)
        self.frame = np.zeros((0, *frame), np.uint8)
        self.logits, self.value = np.zeros((0, num_actions)), np.zeros(0)
        self.reward, self.survival = np.zeros(0), np.zeros(0)
        self.children, self.weights = np.zeros((0, *branches), np.int64), np.zeros((0, *branches))
        self.slots: list[Tensor] = []

    def add(self, keys: Sequence[Hashable], **numbers: Any) -> np.ndarray:
        """Add nodes that have no children yet; returns their places, int64 `(len(keys),)`."""
        places = np.arange(self.size, self.size + len(keys))
        self.places.update(zip(keys, places.tolist(), strict=True))
        self.keys += keys
        self.size += len(keys)
        if self.size > len(self.parent):
            for name, array in self._arrays().items():
                larger = np.zeros((2 * self.size, *array.shape[1:]), array.dtype)
                larger[: len(array)] = array
                setattr(self, name, larger)
        self.children[places], self.number[places] = NONE, NONE
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
        kept, count = np.zeros(self.size, bool), -1
        kept[there] = True
        while (total := int(kept.sum())) > count:
            below = self.children[: self.size][kept]
            kept[below[below != NONE]], count = True, total
        above = np.flatnonzero(kept)
        below = self.children[above]
        row, child = np.nonzero(below != NONE)[0], below[below != NONE]
        orphans = ~kept[self.parent[child]]
        self.parent[child[orphans]] = above[row[orphans]]
        old = np.flatnonzero(kept)
        moved = np.full(self.size + 1, NONE)  # the last stands for NONE
        moved[old] = np.arange(len(old))
        for array in self._arrays().values():
            array[: len(old)] = array[old]
        for array in (self.parent[: len(old)], self.children[: len(old)]):
            array[:] = moved[array]
        for slot in self.slots:  # in place: fresh memory costs more than the copies
            # Those of roots are the game's own, which have perhaps never been written.
            index = torch.from_numpy(old).to(slot.device).clamp(max=len(slot) - 1)
            slot[: len(old)] = slot[index]
        self.keys = [self.keys[place] for place in old]
        self.places = {key: place for place, key in enumerate(self.keys)}
        self.size = len(old)
        return moved[roots]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
