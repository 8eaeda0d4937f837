"""One sampler for every scheduling matrix: each frame on a little path of its own.

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
from dfgym.diffusion.schedules import Schedule


class Pass(NamedTuple):
    """What a network is told beside the frames, on the CPU.

    Attributes:
        row: of the matrix.
        frames: int64 `(n,)`, the matrix's columns that are shown, rising.
        tau: float64 `(n,)`, the signal level told of each.
        wanted: bool `(n,)`, those whose estimate is used; the others may be anything.
        visible: bool `(n, n)`, which frame sees which; binding for the wanted.
    """

    row: int
    frames: Tensor
    tau: Tensor
    wanted: Tensor
    visible: Tensor


Denoise = Callable[[Tensor, Pass], Tensor]


def roll(
    denoise: Denoise,
    noise: Tensor,
    known: Tensor,
    schedule: Schedule,
    plan: ContextPlan,
    context_noise: Tensor,
    *,
    straight: bool = False,
    finish: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Make a block of frames along a schedule.

    Args:
        denoise: `(x (b, n, h, w, c), pass) -> estimate of the clean x`, the shape of x.
        noise: `(b, t - context, h, w, c)`, standard normal: the start of each new frame.
        known: `(b, context, h, w, c)`.
        schedule: the matrix.
        plan: how finished frames, known ones too, are shown; of as many denoising steps.
        context_noise: `(b, t, h, w, c)`, standard normal: what finished frames are noised with.
        straight: as in `sampler.sample`.
        finish: what is done to a frame that has become clean, as rounding it to grey levels.

    Returns:
        All frames, `(b, t, h, w, c)`.
    """
    x = torch.cat((known, noise), 1)
    levels, visible = schedule.levels, schedule.visible
    previous, done = torch.zeros_like(x), torch.zeros(x.shape[1], dtype=torch.int64)
    before = torch.zeros_like(levels[0])  # the level of each frame's previous estimate
    held, held_tau = x.clone(), torch.ones_like(before)  # what `kept` shows of finished frames
    reads, moving = torch.tensor(plan.reads), schedule.moving()
    assert moving.sum(0).max() == len(reads), "the plan is for another number of denoising steps"
    for row, moves in enumerate(moving):
        tau, after = levels[row], levels[row + 1]
        estimate = torch.empty_like(x)
        for read in reads[done[moves]].unique().tolist():
            wanted = moves & (reads[done.clamp(max=len(reads) - 1)] == read)
            shown = wanted | (visible[wanted].any(0) & (tau > 0))
            frames = shown.nonzero()[:, 0]
            applied, told = plan.levels[read]
            finished, seen = tau[frames] == 1, x[:, frames]
            if plan.kept:
                told, seen[:, finished] = held_tau[frames], held[:, frames][:, finished]
            if applied < 1:
                left = torch.ones_like(tau[frames]).masked_fill(finished, applied).to(x)
                seen = interpolate(seen, context_noise[:, frames], left.expand(seen.shape[:2]))
            shown_tau = torch.where(finished, told, tau[frames])
            view = Pass(row, frames, shown_tau, wanted[frames], visible[frames][:, frames])
            estimate[:, wanted] = denoise(seen, view)[:, wanted[frames]]
        # The rule of `sampler.sample`, for all columns at once.
        u0, u1 = 1 - tau[moves], 1 - after[moves]
        first = done[moves] == 0
        bend = u0 - u1 + torch.xlogy(u1, u1 / u0)
        bend = torch.zeros_like(bend) if straight else bend.masked_fill(first, 0)
        since = (tau - before)[moves].masked_fill(first, 1)
        old, now, last = x[:, moves], estimate[:, moves], previous[:, moves]
        ratio, bend, since = (_wide(part, x) for part in (u1 / u0, bend, since))
        x[:, moves] = now + (old - now) * ratio + (now - last) / since * bend
        previous[:, moves] = now
        held[:, moves], held_tau = old, torch.where(moves, tau, held_tau)
        before, done = torch.where(moves, tau, before), done + moves
        ready = moves & (after == 1)
        if finish is not None and ready.any():
            x[:, ready] = finish(x[:, ready])
    return x


def _wide(part: Tensor, x: Tensor) -> Tensor:
    """One number a frame, `(n,)`, as a factor of frames `(b, n, h, w, c)`."""
    return part.to(x).view(-1, *[1] * (x.dim() - 2))
