"""What becomes of an action that is changed while a block is being made.

Twice the same block from the same noise: once all goes as planned; once the player, on seeing the
frame before the middle, decides otherwise, and from then on, but not before, the network is told.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from dfgym.diffusion.interactive import delays
from dfgym.frames import Codec
from dfgym.study import dreams
from dfgym.study.dreams import How, Model


class Reaction(NamedTuple):
    """What a change in mid-block did.

    Attributes:
        effect: share of rows in which a frame of the block, from the changed one on, differs.
        first: share of rows in which the first frame after the change differs.
        counted: how many frames come out before one can obey, counted from the matrix.
    """

    effect: float
    first: float
    counted: int


@torch.inference_mode()
def react(model: Model, how: How, rows: int = 32, seed: int = 0) -> Reaction:
    """Change the player's mind in the middle of a block of `how.new` frames."""
    world = model.world
    known, middle = how.known or world.card.model.window, how.new // 2
    codec = Codec(world.card.frames.palette)
    generator = np.random.default_rng(seed)
    drawn = [
        (*dreams.context(world, generator, known), int(generator.integers(2**63)))
        for _ in range(rows)
    ]
    clean = codec.encode(torch.from_numpy(np.stack([frames for frames, _, _ in drawn])))
    count = world.card.actions.n
    past = torch.tensor([[count, *map(int, actions)] for _, actions, _ in drawn])
    keys = torch.tensor([key for _, _, key in drawn])
    planned = torch.from_numpy(generator.integers(count, size=(rows, how.new)))
    changed = planned.clone()
    # Another action, held to the end: one alone may be of no effect at a wall.
    changed[:, middle:] = (planned[:, middle : middle + 1] + 1) % count
    schedule = dreams.matrix(model, how, known)
    finished = (schedule.levels < 1).sum(0).cummax(0).values
    seen = int(finished[known + middle - 1])  # row after which the frame before the middle is out
    steps = len(schedule.levels) - 1
    told = [planned if row < seen else changed for row in range(steps)]
    counts = torch.zeros(rows, dtype=torch.int64)
    frames = [
        codec.decode(dreams.block(model, how, clean, torch.stack(acts), keys, counts)).numpy()
        for acts in (
            [torch.cat((past, planned), 1)] * steps,
            [torch.cat((past, each), 1) for each in told],
        )
    ]
    differs = (frames[0] != frames[1]).any((2, 3, 4))[:, middle:]
    return Reaction(
        float(differs.any(1).mean()), float(differs[:, 0].mean()), delays(schedule)[middle]
    )
