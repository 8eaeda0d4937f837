"""Shortcut forcing: told how far it jumps, a network needs few denoising steps.

A jump `k` spans `2**k / K` of the noise path, `K` the finest number of denoising steps; jump 0 is
the plain estimate of the clean frame. The estimate of a longer jump is the point whose straight
line leads where two jumps of half the length lead, which the network learns from itself (Frans et
al. 2024; on diffusion forcing: Hafner et al. 2025, section 3.2).

In terms of estimates the two halves join to a convex combination, so that an estimate made of
probabilities stays one and can be learned by cross-entropy.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def jump_of(steps: int, finest: int) -> int:
    """The jump of one of `steps` equal denoising steps; 0 where no jump is so long.

    Args:
        steps: how many denoising steps a frame takes.
        finest: K, a power of two; 0 if the network knows no jumps.
    """
    ratio, rest = divmod(finest, steps)
    return ratio.bit_length() - 1 if ratio and not rest else 0


def span(jump: Tensor, finest: int) -> Tensor:
    """How much of the path a jump covers."""
    return 2.0**jump / finest


def draw_jumps(shape: tuple[int, ...], finest: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw jumps above 0, each length as often, and for each one of the levels it starts at.

    Returns:
        Signal levels, float, and jumps, int64, both of `shape`.
    """
    jump = torch.randint(1, finest.bit_length(), shape, generator=generator)
    length = span(jump, finest)
    return (torch.rand(shape, generator=generator) / length).floor() * length, jump


def toward(x: Tensor, estimate: Tensor, tau: Tensor, length: Tensor) -> Tensor:
    """Go straight from `x` at level tau toward the estimate, which lies at level 1.

    Args:
        x: `(b, t, h, w, c)`.
        estimate: like `x`.
        tau: `(b, t)`.
        length: `(b, t)`, how far: up to `1 - tau`.
    """
    return x + (estimate - x) * (length / (1 - tau))[..., None, None, None]


def join(first: Tensor, second: Tensor, tau: Tensor, half: Tensor) -> Tensor:
    """The estimate whose jump of `2 * half` leads where two jumps of `half` lead.

    Args:
        first: `(b, t, h, w, c)`, the estimate at level tau.
        second: the estimate at `tau + half`, where the first has led.
        tau: `(b, t)`.
        half: `(b, t)`, at most `(1 - tau) / 2`.
    """
    rest = 1 - tau
    share = ((rest - 2 * half) / (2 * (rest - half)))[..., None, None, None]
    return first * share + second * (1 - share)
