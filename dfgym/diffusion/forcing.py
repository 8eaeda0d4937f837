"""Training laws: at which level each frame is learned, and what it sees meanwhile.

Each frame of a sequence stands in it twice: once as its successors see it (a context copy, at a
level drawn by `context_levels`) and once to be denoised (a target copy, at a level drawn by
`target_levels`). A target sees the context copies of its window and itself, which is just what the
sampler's passes and commits see at run time, so every frame of a sequence is an example of every
kind of context and none is spent on a past too noisy to predict from. (The layout of block
diffusion, Arriola et al. 2025, section 4; the levels of diffusion forcing, Chen et al. 2024,
algorithm 1.)

| law | context copies | target copies | a target sees |
|---|---|---|---|
| `diffusion_forcing` | each a level of its own | each a level of its own | contexts before it |
| `teacher_forcing` | clean | each a level of its own | contexts before it |
| `full_sequence` | clean; for reward and end only | one level for a block | its whole block |

A block of `full_sequence` is `window + 1` frames long and begins anywhere in a sequence; its first
`clean_frames` are clean and not learned (the chunked model of video generators; 0: none). Nor is
what is left of a block whose clean frames a sequence's or episode's border has cut off, since it
cannot be known; only pictures, frames that have no other of their episode beside them, are.

Legend: b batch, t frames, h w c a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Generator, Tensor

from dfgym.diffusion.levels import context_levels, target_levels
from dfgym.diffusion.path import interpolate
from dfgym.diffusion.shortcut import draw_jumps, join, span, toward

Law = Literal["diffusion_forcing", "teacher_forcing", "full_sequence"]
LAWS: tuple[str, ...] = get_args(Law)


class Forced(NamedTuple):
    """Network inputs, all with `2 t` frames: t context copies, then t target copies."""

    frames: Tensor
    tau: Tensor
    actions: Tensor
    time: Tensor
    mask: Tensor
    jump: Tensor


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
    law: str = "diffusion_forcing",
    noise_share: float = 0.1,
    clean_share: float = 0.0,
    clean_frames: int = 0,
    shortcut: int = 0,
    jumping: int = 0,
) -> Forced:
    """Draw levels and noise for a batch of sequences.

    Args:
        clean: encoded frames `(b, t, h, w, c)`.
        actions: `(b, t)` int64, the action that led to each frame.
        segment: `(b, t)`, the episode each frame belongs to.
        window: how many past frames a frame attends to.
        shift: how far target levels lean to noise, see `levels.shifted`.
        generator: of the CPU; its draws are the same on every device.
        law: one of `LAWS`.
        noise_share: of the target copies, see `levels.target_levels`.
        clean_share: of the sequences, see `levels.context_levels`.
        clean_frames: of each block of `full_sequence`.
        shortcut: finest number of denoising steps, see `diffusion.shortcut`.
        jumping: in so many rows, the first, every target copy is one to jump from.
    """
    b, t = actions.shape
    past = context_levels((b, t), generator, clean_share)
    tau = target_levels((b, t), shift, generator, noise_share)
    mask = visibility(segment, window)
    if law != "diffusion_forcing":
        past = torch.ones_like(past)
    if law == "full_sequence":
        place = torch.arange(t) + torch.randint(window + 1, (b, 1), generator=generator)
        block = place // (window + 1)
        tau = tau.gather(1, block)
        same = (segment[:, :, None] == segment[:, None]).cpu()
        together = same & (block[:, :, None] == block[:, None])
        if clean_frames:
            film = same.sum(2) > 1
            tau[film & (place % (window + 1) < clean_frames)] = 1
            known = (together & (tau == 1)[:, None]).any(2)
            tau[film & ~known] = 1
        mask[:, t:] = torch.cat((torch.zeros_like(together), together), 2).to(mask)
    twice = clean.repeat(1, 2, 1, 1, 1)
    noise = torch.randn(twice.shape, generator=generator).to(clean.device)
    jump = torch.zeros_like(actions, device="cpu")
    if jumping:
        tau[:jumping], jump[:jumping] = draw_jumps((jumping, t), shortcut, generator)
    levels = torch.cat((past, tau), 1).to(clean.device)
    time = torch.arange(t, device=clean.device).repeat(b, 2)
    return Forced(
        interpolate(twice, noise, levels),
        levels,
        actions.repeat(1, 2),
        time,
        mask,
        torch.cat((torch.zeros_like(jump), jump), 1).to(clean.device),
    )


def bootstrap(estimate: Callable[[Forced], Tensor], forced: Forced, shortcut: int) -> Tensor:
    """What the target copies of rows that jump shall estimate, `(b, t, h, w, c)`.

    Args:
        estimate: of all `2 t` copies, by a network that stands still.
        forced: rows of which every target copy jumps.
        shortcut: finest number of denoising steps.
    """
    t = forced.tau.shape[1] // 2
    past, tau = forced.tau.split(t, 1)
    half = span(forced.jump[:, t:], shortcut) / 2
    told = forced._replace(jump=(forced.jump - 1).clamp(min=0))
    first = estimate(told)[:, t:]
    frames = toward(forced.frames[:, t:], first, tau, half)
    second = estimate(
        told._replace(
            frames=torch.cat((forced.frames[:, :t], frames), 1),
            tau=torch.cat((past, tau + half), 1),
        )
    )[:, t:]
    return join(first, second, tau, half)
