"""The joint sampler: many frames along any scheduling matrix, each on a noise path of its own.

With levels `tau(s)` that rise for each frame at its own pace, the flow

    d x_n = (D_n(x, tau) - x_n) / (1 - tau_n) d tau_n,   D_n = E[clean x_n | all frames as they are]

carries noise to data whatever the pace: the velocity of a noisy distribution is the mean of its
paths' velocities given where they are (flow matching, Lipman et al. 2023, with a level for each
frame). It asks that every frame sees all those that overlap with it: under a causal mask only paces
without overlap are exact. Every column is solved by the second-order multistep rule of `sampler`,
from its own last two estimates.

Finished frames are shown as a `ContextPlan` says, at the level that belongs to the denoising step
of the frame that looks at them, each with noise of its own that stays. Where frames at different
denoising steps move together and the plan's level changes with the step (`dynamic`), a row takes
one network pass for each level. In mode `kept` a finished frame is shown as the pass before its
last move saw it, at that level.

Legend: b batch, t frames of the matrix, n frames of one pass, h w c a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dfgym.diffusion.context import ContextPlan
from dfgym.diffusion.path import interpolate
from dfgym.diffusion.sampler import multistep_update, multistep_weights
from dfgym.diffusion.schedules import Schedule


class Pass(NamedTuple):
    """The inputs of one network pass beside the frames, on the CPU.

    Attributes:
        row: the row of the matrix.
        frames: int64 `(n,)`, the columns of the matrix that are shown, rising.
        tau: float64 `(n,)`, the signal level that the network is given for each.
        wanted: bool `(n,)`, the frames whose estimate is used; the others may be anything.
        visible: bool `(n, n)`, which frame sees which; binding for the wanted.
    """

    row: int
    frames: Tensor
    tau: Tensor
    wanted: Tensor
    visible: Tensor


Denoise = Callable[[Tensor, Pass], Tensor]


def sample_jointly(  # noqa: PLR0913 - the mathematics needs them all
    denoise: Denoise,
    noise: Tensor,
    context: Tensor,
    schedule: Schedule,
    plan: ContextPlan,
    context_eps: Tensor,
    *,
    first_order: bool = False,
    finish: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Make a block of frames along a schedule.

    Args:
        denoise: `(x (b, n, h, w, c), pass) -> estimate of the clean x`, the shape of x.
        noise: `(b, t - context, h, w, c)`, standard normal: the start of each new frame.
        context: `(b, context, h, w, c)`, the frames that are there from the start.
        schedule: the matrix.
        plan: how finished frames, given ones too, are shown; for as many denoising steps.
        context_eps: `(b, t, h, w, c)`, standard normal: the noise of finished frames.
        first_order: as in `sampler.sample`.
        finish: applied to each frame that has become clean, for instance to round it.

    Returns:
        All frames, `(b, t, h, w, c)`.
    """
    x = torch.cat((context, noise), 1)
    levels, visible = schedule.levels, schedule.visible
    previous, done = torch.zeros_like(x), torch.zeros(x.shape[1], dtype=torch.int64)
    before = torch.zeros_like(levels[0])  # the level of each frame's previous estimate
    latest, latest_tau = x.clone(), torch.ones_like(before)  # what `kept` shows of finished frames
    reads, moving = torch.tensor(plan.reads), schedule.moving()
    assert moving.sum(0).max() == len(reads), "the plan is for another number of denoising steps"
    for row, moves in enumerate(moving):
        tau, after = levels[row], levels[row + 1]
        estimate = torch.empty_like(x)
        for read in reads[done[moves]].unique().tolist():
            wanted = moves & (reads[done.clamp(max=len(reads) - 1)] == read)
            inputs_mask = wanted | (visible[wanted].any(0) & (tau > 0))
            frames = inputs_mask.nonzero()[:, 0]
            applied, conditioned = plan.levels[read]
            finished, inputs = tau[frames] == 1, x[:, frames]
            if plan.kept:
                conditioned = latest_tau[frames]
                inputs[:, finished] = latest[:, frames][:, finished]
            if applied < 1:
                signal = torch.ones_like(tau[frames]).masked_fill(finished, applied).to(x)
                signal = signal.expand(inputs.shape[:2])
                inputs = interpolate(inputs, context_eps[:, frames], signal)
            input_tau = torch.where(finished, conditioned, tau[frames])
            view = Pass(row, frames, input_tau, wanted[frames], visible[frames][:, frames])
            estimate[:, wanted] = denoise(inputs, view)[:, wanted[frames]]
        old, now = x[:, moves], estimate[:, moves]
        last = None if first_order else previous[:, moves]
        weights = _weights(tau, after, before, done, moves)
        x[:, moves] = multistep_update(old, now, last, *(_expand(weight, x) for weight in weights))
        previous[:, moves] = now
        latest[:, moves], latest_tau = old, torch.where(moves, tau, latest_tau)
        before, done = torch.where(moves, tau, before), done + moves
        ready = moves & (after == 1)
        if finish is not None and ready.any():
            x[:, ready] = finish(x[:, ready])
    return x


def _weights(
    tau: Tensor, after: Tensor, before: Tensor, done: Tensor, moves: Tensor
) -> tuple[Tensor, ...]:
    """The `multistep_weights` of the frames that move, float64 `(n,)` each."""
    columns = (values[moves].tolist() for values in (tau, after, before, done))
    weights = [
        multistep_weights(level, target, previous if steps else None)
        for level, target, previous, steps in zip(*columns, strict=True)
    ]
    return torch.tensor(weights, dtype=torch.float64).unbind(1)


def _expand(numbers: Tensor, x: Tensor) -> Tensor:
    """One number a frame, `(n,)`, as a factor of frames `(b, n, h, w, c)`."""
    return numbers.to(x).view(-1, *[1] * (x.dim() - 2))
