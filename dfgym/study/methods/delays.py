"""What a schedule costs and how late it reacts, counted from its matrix.

A player's action that leads to a frame is known only when the frame before it has been seen. A
schedule that has by then begun the frame has decided it without the action.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from dfgym.diffusion.schedules import Schedule


class Cost(NamedTuple):
    """What a new frame costs, on average over a block; commit passes come on top.

    Attributes:
        calls: network passes one after the other.
        cached: frames in them, if keys and values of finished frames are kept.
        recomputed: frames in them, if all that is seen is passed again (`Schedule.read`).
    """

    calls: float
    cached: float
    recomputed: float


def count_cost(schedule: Schedule) -> Cost:
    """Count a schedule's network passes for a new frame."""
    moving, read = schedule.moving(), schedule.read()
    new = schedule.levels.shape[1] - schedule.context
    counts = moving.any(1).sum(), moving.sum(), read.sum()
    return Cost(*(count.item() / new for count in counts))


def action_delays(schedule: Schedule) -> list[int]:
    """Count for the action before each new frame the frames before the first that can obey it.

    An action is given on seeing the frame before; frames come out in their order. A frame can obey
    if by then neither it nor any later frame that it sees has begun: what has begun was decided
    without that action, and a frame between decided ones has to lead from one to the other. If no
    frame of the block can, the next block's first does.
    """
    levels, context = schedule.levels, schedule.context
    frames = levels.shape[1]
    later = schedule.visible.triu(1)
    finished = (levels < 1).sum(0).cummax(0).values  # the row after which a frame comes out
    delays = []
    for n in range(context, frames):
        begun = levels[finished[n - 1] if n > context else 0] > 0
        free = ~begun & ~(later & begun).any(1)
        delays.append(int(torch.cat((free[n:], torch.tensor([True]))).int().argmax()))
    return delays
