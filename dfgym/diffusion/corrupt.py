"""Diffusion forcing: how the frames of a training batch are noised, and what each may see.

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
from torch import Tensor

from dfgym.diffusion.draws import Draws
from dfgym.diffusion.levels import Stops, context_levels, target_levels
from dfgym.diffusion.path import interpolate


class NoisedSequences(NamedTuple):
    """The inputs of a network in training: t context copies, then t target copies of the frames.

    Attributes:
        frames: `(b, 2 t, h, w, c)`, noised to their levels.
        tau: `(b, 2 t)`, the signal level of each copy.
        actions: `(b, 2 t)` int64 or `(b, 2 t, parts)`, the action that led to each frame.
        time: `(b, 2 t)` int64, the position of each frame in its sequence.
        mask: `(b, 2 t, 2 t)` bool, True where a copy (row) sees another (column).
    """

    frames: Tensor
    tau: Tensor
    actions: Tensor
    time: Tensor
    mask: Tensor


def visibility(segment: Tensor, window: int) -> Tensor:
    """Return which of the `2 t` copies sees which, bool `(b, 2 t, 2 t)`.

    Args:
        segment: `(b, t)`, the episode each frame belongs to; nothing is seen across episodes.
        window: the number of past frames that a frame attends to.
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


def corrupt(  # noqa: PLR0913 - the mathematics needs them all
    clean: Tensor,
    actions: Tensor,
    segment: Tensor,
    draws: Draws,
    *,
    window: int,
    shift: float = 1.0,
    noise_share: float = 0.1,
    clean_share: float = 0.0,
    stops: Stops | None = None,
) -> NoisedSequences:
    """Noise a batch of sequences, every copy of every frame at a level of its own.

    Args:
        clean: encoded frames `(b, t, h, w, c)`.
        actions: `(b, t)` int64 or `(b, t, parts)`, the action that led to each frame.
        segment: `(b, t)`, the episode each frame belongs to.
        draws: the random numbers, of the CPU, so that they are the same on every device.
        window: the number of past frames that a frame attends to.
        shift: how far the target levels lean to noise, see `levels.shifted`.
        noise_share: the share of target copies that are pure noise, see `levels.target_levels`.
        clean_share: the share of sequences whose context copies are all clean, see
            `levels.context_levels`.
        stops: levels that a share of the target copies takes, see `levels.target_levels`.
    """
    context_tau = context_levels(segment.shape, draws, clean_share)
    target_tau = target_levels(segment.shape, shift, draws, noise_share, stops)
    eps = draw_noise(clean, draws)
    tau = torch.cat((context_tau, target_tau), 1)
    return noise_copies(clean, actions, eps, tau, visibility(segment, window))


def draw_noise(clean: Tensor, draws: Draws) -> Tensor:
    """Draw standard normal noise `(b, 2 t, h, w, c)` on the CPU for both copies of each frame."""
    b, t = clean.shape[:2]
    return draws.randn((b, 2 * t, *clean.shape[2:]))


def noise_copies(
    clean: Tensor, actions: Tensor, eps: Tensor, tau: Tensor, mask: Tensor
) -> NoisedSequences:
    """Lay each frame out twice and noise both copies to their levels.

    Args:
        clean: encoded frames `(b, t, h, w, c)`.
        actions: `(b, t)` int64 or `(b, t, parts)`.
        eps: `(b, 2 t, h, w, c)`, standard normal, on any device.
        tau: `(b, 2 t)`, the levels of the copies, on any device.
        mask: `(b, 2 t, 2 t)` bool, which copy sees which.
    """
    b, t = actions.shape[:2]
    tau = tau.to(clean.device)
    frames = interpolate(clean.repeat(1, 2, 1, 1, 1), eps.to(clean.device), tau)
    time = torch.arange(t, device=clean.device).repeat(b, 2)
    return NoisedSequences(frames, tau, torch.cat((actions, actions), 1), time, mask)
