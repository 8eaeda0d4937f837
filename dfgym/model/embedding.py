"""The embedding of actions.

Legend: n actions, d width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dfgym.actions import Component


def make_embedding(actions: int | tuple[Component, ...], dim: int) -> nn.Module:
    """Make the embedding of so many discrete actions, or of actions of these parts."""
    if isinstance(actions, int):
        return nn.Embedding(actions + 1, dim)
    return PartsEmbedding(actions, dim)


class PartsEmbedding(nn.Module):
    """Embeds actions that are rows of numbers: the sum of an embedding of each part.

    A choice has a vector of its own. A value, brought to [-1, 1] by its bounds, is embedded through
    itself and sines and cosines of it (Tancik et al. 2020), since a network of little depth draws
    fine differences from a single number badly. A row of NaN stands for "no action led here".
    """

    FREQUENCIES = (0.5, 1.0, 2.0, 4.0)  # periods over the range of a value

    def __init__(self, parts: tuple[Component, ...], dim: int) -> None:
        super().__init__()
        counts = [item.n for item in parts if item.n]
        values = [item for item in parts if not item.n]
        self._choices = [i for i, item in enumerate(parts) if item.n]
        self._values = [i for i, item in enumerate(parts) if not item.n]
        self._first = [sum(counts[:i]) for i in range(len(counts))]
        self._middle = [(item.high + item.low) / 2 for item in values]
        self._half = [(item.high - item.low) / 2 or 1.0 for item in values]
        self.choices = nn.Embedding(sum(counts) + 1, dim)  # the last is of no action
        nn.init.normal_(self.choices.weight, std=len(parts) ** -0.5)
        features = len(values) * (1 + 2 * len(self.FREQUENCIES))
        if features:
            self.values = nn.Linear(features, dim, bias=False)
            # A sum of unit variance, like the embedding of a choice: half of the squares is 1/2.
            nn.init.normal_(
                self.values.weight, std=(2 / features * len(values) / len(parts)) ** 0.5
            )

    def forward(self, rows: Tensor) -> Tensor:
        """Embed rows `(n, parts)` as `(n, d)`."""
        none = rows[:, 0].isnan()
        rows = rows.nan_to_num()
        first = torch.tensor(self._first, dtype=torch.int64, device=rows.device)
        index = rows[:, self._choices].round().long() + first
        embedded = self.choices(index).sum(1)
        if self._values:
            middle, half = rows.new_tensor(self._middle), rows.new_tensor(self._half)
            x = (rows[:, self._values] - middle) / half
            angle = x[..., None] * (math.pi * rows.new_tensor(self.FREQUENCIES))
            features = torch.cat((x[..., None], angle.sin(), angle.cos()), -1)
            embedded = embedded + self.values(features.flatten(1))
        return torch.where(none[:, None], self.choices.weight[-1].to(embedded.dtype), embedded)


def embed_all(embedding: nn.Module, rows: Tensor | None) -> Tensor:
    """Embed rows of parts, or without rows every discrete action and that none led to a frame."""
    if rows is not None:
        return embedding(rows)
    assert isinstance(embedding, nn.Embedding)
    return embedding.weight
