"""What is minimised: nats a frame, for the picture, its reward and its end.

Legend: b batch, t frames, h w c a frame, R reward buckets.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dfgym.diffusion.forcing import Forced
from dfgym.model import Transformer
from dfgym.model.transformer import Output


class Losses(NamedTuple):
    """Means over the frames that count, as scalars."""

    frame: Tensor
    reward: Tensor
    termination: Tensor

    @property
    def total(self) -> Tensor:
        """The sum."""
        return self.frame + self.reward + self.termination


def frame_loss(output: Output, clean: Tensor, *, categorical: bool) -> Tensor:
    """Error of each frame's estimate, `(b, t)`.

    One-hot colours: the cross-entropy of every cell, summed, whose minimiser is again the expected
    clean frame but which also punishes confident mistakes (Dieleman et al. 2022, section 3.2).
    Otherwise the squared error, summed over the frame.
    """
    if categorical:
        return (
            F.cross_entropy(
                output.scores.flatten(0, 3), clean.argmax(-1).flatten(), reduction="none"
            )
            .view(clean.shape[:4])
            .sum((2, 3))
        )
    return (output.estimate - clean).square().sum((2, 3, 4))


def losses(
    network: Transformer | torch.nn.Module,
    forced: Forced,
    clean: Tensor,
    rewards: Tensor,
    terminated: Tensor,
    valid: Tensor,
    *,
    categorical: bool,
) -> Losses:
    """Run the network on both copies of every frame and compare.

    Pictures are learned from the target copies. Once there is motion, only from frames whose past
    is in the window: what a frame is without any past is never asked for, cannot be known, and
    would drown rare events in its noise. Reward and termination, which the commit pass reads at
    run time, are learned from the context copies whose noise is at most 0.3.

    Args:
        network: maps `Forced` to `Output`.
        forced: `2 t` copies.
        clean: `(b, t, h, w, c)`.
        rewards: `(b, t)` int64 bucket on arrival at each frame.
        terminated: `(b, t)` bool, whether the episode ended there.
        valid: `(b, t)` bool, whether the two are known, since an action led there from a frame
            in the window; none is in the image stage.
        categorical: see `frame_loss`.
    """
    t = clean.shape[1]
    output: Output = network(*forced)
    target = Output(*(part[:, t:] for part in output))
    counts = (valid | ~valid.any()).float()
    frame = frame_loss(target, clean, categorical=categorical)
    frame = (frame * counts).sum() / counts.sum()
    weight = (valid & (forced.tau[:, :t] >= 0.7)).float()
    weight = weight / weight.sum().clamp(min=1)
    reward = F.cross_entropy(
        output.reward[:, :t].flatten(0, 1), rewards.flatten(), reduction="none"
    )
    termination = F.binary_cross_entropy_with_logits(
        output.termination[:, :t], terminated.float(), reduction="none"
    )
    return Losses(frame, (reward * weight.flatten()).sum(), (termination * weight).sum())
