"""What becomes of an action that is changed while a block is being made.

The same block is made twice from the same noise: once everything goes as planned; once the player,
on seeing the frame before the middle, decides otherwise, and the network is given the new actions
from then on, but not before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from dfgym.frames import Codec
from dfgym.study import blocks
from dfgym.study.blocks import RolloutSpec, StudyModel
from dfgym.study.methods.delays import action_delays


class Reaction(NamedTuple):
    """The effect of a change in mid-block.

    Attributes:
        effect: share of rows in which a frame of the block, from the changed one on, differs.
        first: share of rows in which the first frame after the change differs.
        delay: the frames that come out before one can obey, counted from the matrix.
    """

    effect: float
    first: float
    delay: int


@torch.inference_mode()
def react(model: StudyModel, spec: RolloutSpec, rows: int = 32, seed: int = 0) -> Reaction:
    """Change the player's mind in the middle of a block of `spec.new` frames."""
    world = model.world
    num_context, middle = spec.num_context or world.card.model.window, spec.new // 2
    codec = Codec(world.card.frames.palette)
    generator = np.random.default_rng(seed)
    starts = [
        (*blocks.context(world, generator, num_context), int(generator.integers(2**63)))
        for _ in range(rows)
    ]
    clean = codec.encode(torch.from_numpy(np.stack([frames for frames, _, _ in starts])))
    count = world.card.actions.count
    past = torch.tensor([[count, *map(int, actions)] for _, actions, _ in starts])
    keys = torch.tensor([key for _, _, key in starts])
    planned = torch.from_numpy(generator.integers(count, size=(rows, spec.new)))
    changed = planned.clone()
    # Another action, held to the end: one alone may be of no effect at a wall.
    changed[:, middle:] = (planned[:, middle : middle + 1] + 1) % count
    schedule = blocks.matrix(model, spec, num_context)
    finished = (schedule.levels < 1).sum(0).cummax(0).values
    # The row after which the frame before the middle is out.
    decision = int(finished[num_context + middle - 1])
    steps = len(schedule.levels) - 1
    plans = [planned if row < decision else changed for row in range(steps)]
    counts = torch.zeros(rows, dtype=torch.int64)
    frames = [
        codec.decode(blocks.block(model, spec, clean, torch.stack(acts), keys, counts)).numpy()
        for acts in (
            [torch.cat((past, planned), 1)] * steps,
            [torch.cat((past, actions), 1) for actions in plans],
        )
    ]
    differs = (frames[0] != frames[1]).any((2, 3, 4))[:, middle:]
    return Reaction(
        float(differs.any(1).mean()), float(differs[:, 0].mean()), action_delays(schedule)[middle]
    )
