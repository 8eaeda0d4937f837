"""What is minimised: nats a frame, for the picture, its reward and its end.

Legend: b batch, t frames, h w c a frame, R reward buckets.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.diffusion.forcing import Forced, bootstrap
from dfgym.diffusion.targets import goal, weight
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


def frame_loss(scores: Tensor, odds: Tensor, wanted: Tensor, *, categorical: bool) -> Tensor:
    """Error of what the network says of each frame, `(b, t)`.

    One-hot colours: the cross-entropy of every cell, summed, whose minimiser is again the expected
    clean frame but which also punishes confident mistakes (Dieleman et al. 2022, section 3.2); of
    a mixture its negative log-likelihood. Otherwise the squared error, summed over the frame.

    Args:
        scores: `(b, t, m, h, w, c)`.
        odds: `(b, t, m)`, log-probabilities.
        wanted: `(b, t, h, w, c)`, in the target's space; of colours, probabilities brought to
            [-1, 1].
        categorical: whether channels are colours.
    """
    if categorical:
        likely = (scores.log_softmax(-1) * ((wanted + 1) / 2)[:, :, None]).sum((3, 4, 5))
        return -(odds + likely).logsumexp(-1)
    return (scores[:, :, 0] - wanted).square().sum((2, 3, 4))


def losses(
    network: nn.Module,
    forced: Forced,
    clean: Tensor,
    rewards: Tensor,
    terminated: Tensor,
    valid: Tensor,
    jumping: int = 0,
    alone: Tensor | None = None,
    *,
    categorical: bool,
    target: str = "x",
    scheme: str = "uniform",
    teacher: nn.Module | None = None,
    shortcut: int = 0,
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
        jumping: how many rows, the first, learn to jump.
        alone: `(b, t)` bool, frames that the video stage learns as pictures; none if left out.
        categorical: see `frame_loss`.
        target: what the network says, see `diffusion.targets`.
        scheme: how errors count there.
        teacher: the averaged network, which says where jumps should lead.
        shortcut: finest number of denoising steps.
    """
    t = clean.shape[1]
    if jumping:
        assert teacher is not None
        rows = Forced(*(part[:jumping] for part in forced))
        with torch.no_grad():
            reached = bootstrap(lambda told: teacher(*told).picture.estimate, rows, shortcut)
        clean = torch.cat((reached, clean[jumping:]))
    output: Output = network(*forced)
    past, tau = forced.tau.split(t, 1)
    learned = tau < 1  # the clean frames of a block are given
    pictures = ~valid.any() if alone is None else alone | ~valid.any()
    counts = ((valid | pictures) & learned).float()
    tau = tau.where(learned, 0.0)
    frame = frame_loss(
        output.picture.scores[:, t:],
        output.picture.odds[:, t:],
        goal(clean, forced.frames[:, t:], tau, target),
        categorical=categorical,
    )
    counted = weight(tau, past, ~valid, target, scheme) * counts
    frame = (frame * counted).sum() / counts.sum().clamp(min=1)
    share = (valid & (past >= 0.7)).float()
    share = share / share.sum().clamp(min=1)
    reward = F.cross_entropy(
        output.reward[:, :t].flatten(0, 1), rewards.flatten(), reduction="none"
    )
    termination = F.binary_cross_entropy_with_logits(
        output.termination[:, :t], terminated.float(), reduction="none"
    )
    return Losses(frame, (reward * share.flatten()).sum(), (termination * share).sum())
