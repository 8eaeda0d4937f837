"""The diffusion-forcing objective: every frame at a level of its own.

Each frame of a sequence stands in it twice: once as its successors see it (a context copy, at a
level drawn by `context_levels`) and once to be denoised (a target copy, at a level drawn by
`target_levels`). A target sees the context copies of its window and itself, which is just what the
sampler's passes and commits see at run time, so every frame of a sequence is an example of every
kind of context and none is spent on a past too noisy to predict from. (The layout of block
diffusion, Arriola et al. 2025, section 4; the levels of diffusion forcing, Chen et al. 2024,
algorithm 1.)

Legend: b batch, t frames, h w c a frame.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dfgym.diffusion.levels import context_levels, target_levels
from dfgym.diffusion.path import interpolate


class Forced(NamedTuple):
    """Network inputs, all with `2 t` frames: t context copies, then t target copies."""

    frames: Tensor
    tau: Tensor
    actions: Tensor
    time: Tensor
    mask: Tensor


def visibility(segment: Tensor, window: int) -> Tensor:
    """Which of `2 t` copies sees which: bool `(b, 2 t, 2 t)`.

    Args:
        segment: `(b, t)`, the episode each frame belongs to; nothing is seen across episodes.
        window: how many past frames a frame attends to.
    """
    t = segment.shape[1]
    index = torch.arange(t, device=segment.device)
    age = index[:, None] - index
    near = (segment[:, :, None] == segment[:, None]) & (age <= window)
    own = (age == 0).expand_as(near)
    past = near & (age > 0)
    context = torch.cat((past | own, torch.zeros_like(own)), 2)
    target = torch.cat((past, own), 2)
    return torch.cat((context, target), 1)


def force(
    clean: Tensor,
    actions: Tensor,
    segment: Tensor,
    *,
    window: int,
    shift: float,
    generator: Generator,
) -> Forced:
    """Draw levels and noise for a batch of sequences.

    Args:
        clean: encoded frames `(b, t, h, w, c)`.
        actions: `(b, t)` int64, the action that led to each frame.
        segment: `(b, t)`, the episode each frame belongs to.
        window: how many past frames a frame attends to.
        shift: how far target levels lean to noise, see `levels.shifted`.
        generator: of the CPU; its draws are the same on every device.
    """
    b, t = actions.shape
    tau = torch.cat(
        (context_levels((b, t), generator), target_levels((b, t), shift, generator)), 1
    ).to(clean.device)
    twice = clean.repeat(1, 2, 1, 1, 1)
    noise = torch.randn(twice.shape, generator=generator).to(clean.device)
    time = torch.arange(t, device=clean.device).repeat(b, 2)
    return Forced(
        interpolate(twice, noise, tau),
        tau,
        actions.repeat(1, 2),
        time,
        visibility(segment, window),
    )
