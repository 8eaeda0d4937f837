"""The memory of a training step, estimated before it is taken."""

from __future__ import annotations

import math

import torch

from dfgym.errors import ConfigError
from dfgym.model.config import GameSpec
from dfgym.model.network import weight_shapes
from dfgym.train.config import TrainConfig
from dfgym.world.runtime import available_bytes

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


def step_bytes(config: TrainConfig, game: GameSpec, device: torch.device, processes: int) -> int:
    """Return the bytes of a step on its device, which processes share but for CUDA's."""
    shared = _sharing(device, processes)
    rows = config.batch * shared // processes
    return shared * fixed_bytes(config, game) + rows * row_bytes(config, game)


def check_memory(config: TrainConfig, game: GameSpec, device: torch.device, processes: int) -> None:
    """Refuse a batch that does not fit; the message names the largest that would.

    Raises:
        ConfigError: a step needs more memory than is free.
    """
    free, need = available_bytes(device), step_bytes(config, game, device, processes)
    if need <= free:
        return
    shared = _sharing(device, processes)
    rows = (free - shared * fixed_bytes(config, game)) // row_bytes(config, game)
    largest = rows // shared * processes  # as much for each of them
    fix = f"the largest batch that fits is {largest}"
    if largest < 1:
        fix = "not even a sequence for each process fits: take a smaller model, or length"
    raise ConfigError(
        f"batch is {config.batch} and length {config.length}, which need about "
        f"{need / 2**30:.3g} GiB, and {device} has {free / 2**30:.3g} GiB free; {fix}"
    )


def _sharing(device: torch.device, processes: int) -> int:
    """How many processes share a device's memory."""
    return 1 if device.type == "cuda" else processes
