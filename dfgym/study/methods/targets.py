"""What a network predicts (the frame, the velocity or the noise), and how errors count by level.

On the path `x_tau = tau * x + (1 - tau) * eps` the clean frame `x`, the velocity `v = x - eps` and
the noise `eps` are each a function of `x_tau` and any other, so a network may learn any of them and
the sampler works with the clean frame all the same.

Legend: b batch, t frames, h w c a frame.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Target = Literal["x", "v", "eps"]
TARGETS: tuple[str, ...] = get_args(Target)
Weight = Literal["uniform", "min_snr", "fused_snr", "ramp"]
WEIGHTS: tuple[str, ...] = get_args(Weight)

SNR_CLIP = 5.0
FUSED_DECAY = 0.96
LEAST_SIGNAL = 0.02
"""Noise alone says nothing about the clean frame: `eps` is divided by this signal at least."""


def _expand(tau: Tensor, like: Tensor) -> Tensor:
    return tau.view(*tau.shape, *[1] * (like.dim() - tau.dim()))


def regression_target(clean: Tensor, noisy: Tensor, tau: Tensor, target: str) -> Tensor:
    """Compute what a network should predict for each frame.

    Args:
        clean: `(b, t, h, w, c)`, or any shape that begins with tau's.
        noisy: the same frames at their levels.
        tau: `(b, t)`, below 1.
        target: one of `TARGETS`.
    """
    if target == "x":
        return clean
    tau = _expand(tau, clean)
    velocity = (clean - noisy) / (1 - tau)
    return velocity if target == "v" else clean - velocity


def predict_clean(output: Tensor, noisy: Tensor, tau: Tensor, target: str) -> Tensor:
    """Compute the estimate of the clean frames from a network's output: `regression_target` undone.

    For `eps` the estimate is clamped to [-1, 1], where frames are, since it magnifies errors near
    noise.
    """
    match target:
        case "x":
            return output
        case "v":
            return noisy + (1 - _expand(tau, output)) * output
        case _:
            tau = _expand(tau, output)
            return ((noisy - (1 - tau) * output) / tau.clamp(min=LEAST_SIGNAL)).clamp(-1, 1)


def error_weight(
    tau: Tensor, context_tau: Tensor, begins: Tensor, target: str, scheme: str
) -> Tensor:
    """Compute how much a squared error in the target's own space counts, `(b, t)`.

    `uniform`: 1. `ramp`: `0.9 tau + 0.1` (Hafner et al. 2025, section 3.2). `min_snr`: an error of
    the clean frame counts `min(SNR, 5)` (Hang et al. 2023). `fused_snr`: the same for the SNR that
    a frame has together with its past, from which it can borrow (Chen et al. 2024, appendix B.1).

    Args:
        tau: `(b, t)`, levels of the frames, below 1.
        context_tau: `(b, t)`, the levels at which later frames see them.
        begins: `(b, t)` bool, frames with none before them; the first of each row is one.
        target: one of `TARGETS`.
        scheme: one of `WEIGHTS`.
    """
    if scheme == "uniform":
        return torch.ones_like(tau)
    if scheme == "ramp":
        return 0.9 * tau + 0.1
    share = _clipped_snr(tau)
    if scheme == "fused_snr":
        past, before = torch.zeros_like(tau[:, 0]), []
        for level, first in zip(_clipped_snr(context_tau).unbind(1), begins.unbind(1), strict=True):
            before.append(past.masked_fill(first, 0))
            past = torch.where(first, level, FUSED_DECAY * past + (1 - FUSED_DECAY) * level)
        share = 1 - (1 - FUSED_DECAY * torch.stack(before, 1)) * (1 - share)
    # From the clean frame's space to the target's: by the square of d clean / d target.
    match target:
        case "x":
            slope = torch.ones_like(tau)
        case "v":
            slope = 1 - tau
        case _:
            slope = (1 - tau) / tau.clamp(min=LEAST_SIGNAL)
    return SNR_CLIP * share * slope.square()


def _clipped_snr(tau: Tensor) -> Tensor:
    """`min(SNR, 5) / 5`, in [0, 1]."""
    return ((tau / (1 - tau).clamp(min=1e-6)).square() / SNR_CLIP).clamp(max=1)
