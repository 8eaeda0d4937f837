"""The noise levels of frames: drawn by chance in training, along a path in sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dfgym.diffusion.draws import Draws

TRANSITION_SIGNAL = 0.7
"""Reward and termination are learned from, and so read at, this signal level and above."""


def shifted(u: Tensor, shift: float) -> Tensor:
    """Warp uniform positions in [0, 1] toward noise: `u / (u + shift * (1 - u))`.

    `shift > 1` spends more of the path at high noise, where the outcome of a random transition is
    decided (Esser et al. 2024, section 5.3.2, with their t = 1 - tau). End points stay.
    """
    return u / (u + shift * (1 - u))


def denoising_levels(steps: int, shift: float) -> list[float]:
    """Signal levels a frame passes through: `steps` values from 0 up; 1 comes after the last."""
    return shifted(torch.arange(steps, dtype=torch.float64) / steps, shift).tolist()


class Stops(NamedTuple):
    """The levels at which a sampler of few steps asks for the clean frame, and how often they come.

    Attributes:
        levels: as `denoising_levels` returns them.
        share: of the targets that are learned just there, each level as often.
    """

    levels: Sequence[float]
    share: float


def target_levels(
    shape: tuple[int, ...],
    shift: float,
    draws: Draws,
    noise_share: float = 0.1,
    stops: Stops | None = None,
) -> Tensor:
    """Draw one independent level for each frame to be denoised, spread as the sampler visits them.

    Args:
        shape: of the levels.
        shift: see `shifted`.
        draws: the random numbers.
        noise_share: share of frames that are pure noise, where every sampled frame begins.
        stops: levels that a share of the frames takes instead.
    """
    tau = shifted(draws.rand(shape), shift)
    tau = tau * (draws.rand(shape) >= noise_share)
    if stops is None or not stops.share:
        return tau
    levels = torch.tensor(stops.levels, dtype=tau.dtype)
    stop = levels[draws.randint(0, len(levels), shape)]
    return torch.where(draws.rand(shape) < stops.share, stop, tau)


def context_levels(shape: tuple[int, ...], draws: Draws, clean_share: float = 0.0) -> Tensor:
    """Draw one independent level for each frame as its successors see it.

    Three fifths are clean, three tenths slightly noisy (so that a context that is noised is in
    distribution), a tenth anywhere down to pure noise (a forgotten frame: partial masking, Chen et
    al. 2024, section 3.1). Windows that are clean throughout are rare then, one in 60 for 8 frames,
    though a sampler that shows its frames as they are sees no others: hence `clean_share`.

    Args:
        shape: `(b, t)`.
        draws: the random numbers.
        clean_share: share of the sequences that are clean from end to end.
    """
    kind = draws.rand(shape)
    u = draws.rand(shape)
    past = torch.where(kind < 0.6, torch.ones(()), torch.where(kind < 0.9, 1 - 0.3 * u, u))
    if clean_share:
        past[draws.rand(shape[:1]) < clean_share] = 1
    return past
