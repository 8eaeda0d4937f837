"""The memory of a training step, estimated before it is taken."""

from __future__ import annotations

import math

from dfgym.model.config import GameSpec
from dfgym.model.network import weight_shapes
from dfgym.train.config import TrainConfig

SAVED, SHARED, CELLS = 28, 10, 4
"""At the peak of a step so many numbers are held for each number of all tokens by every block, and
by all else, and for each number of all frames: fitted from above to what autograd keeps."""


def fixed_bytes(config: TrainConfig, game: GameSpec) -> int:
    """Return the bytes of the weights, their average, gradients and what optimisers remember."""
    shapes = weight_shapes(config.model, game).values()
    return 4 * 5 * sum(math.prod(shape) for shape in shapes)


def row_bytes(config: TrainConfig, game: GameSpec) -> int:
    """Return the bytes that a step holds for each sequence of the batch."""
    frames, model = 2 * config.length, config.model
    cells = game.height * game.width
    tokens = cells // model.patch**2 * model.dim
    held = tokens * (SAVED * model.depth + SHARED) + CELLS * cells * game.channels
    # Finer tokens go through one block down, and those of the targets through one up.
    held += (model.numbers(game.height, game.width) - tokens) * SAVED
    return 4 * frames * held + 5 * frames**2  # and which copy sees which
