"""The objective: how a batch is noised, and what is minimised, in nats a frame.

An `Objective` is these two functions. Worlds are trained by `diffusion_forcing`; its rivals stand
in `dfgym.study.methods`.

Legend: b batch, t frames, h w c a frame, m outcomes, R reward buckets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.diffusion.corrupt import NoisedSequences, corrupt
from dfgym.diffusion.draws import Draws
from dfgym.diffusion.levels import TRANSITION_SIGNAL, Stops, denoising_levels
from dfgym.model.transformer import NetworkOutput
from dfgym.train.batches import Batch
from dfgym.train.config import TrainConfig


class Losses(NamedTuple):
    """Means over the frames that count, as scalars."""

    frame: Tensor
    reward: Tensor
    termination: Tensor

    @property
    def total(self) -> Tensor:
        """The sum, which is minimised."""
        return self.frame + self.reward + self.termination


class Objective(NamedTuple):
    """How a network is trained.

    Attributes:
        name: the name that is kept in the checkpoint; a run is resumed under the same one only.
        corrupt: `(batch, config, draws) -> inputs of the network`.
        loss: `(network, inputs, batch, average) -> losses`; `average` is the averaged network, for
            objectives that learn from it.
    """

    name: str
    corrupt: Callable[[Batch, TrainConfig, Draws], Any]
    loss: Callable[[nn.Module, Any, Batch, nn.Module], Losses]


def stops(config: TrainConfig) -> Stops:
    """Return the levels of the run's own sampler, and how often they are learned."""
    sampler = config.sampler
    return Stops(denoising_levels(sampler.denoising_steps, sampler.shift), config.stop_share)


def corrupt_batch(batch: Batch, config: TrainConfig, draws: Draws) -> NoisedSequences:
    """Noise every copy of every frame at a level of its own, see `diffusion.corrupt`."""
    return corrupt(
        batch.clean,
        batch.actions,
        batch.segment,
        draws,
        window=config.model.window,
        shift=config.level_shift,
        noise_share=config.noise_share,
        clean_share=config.clean_share,
        stops=stops(config),
    )


def compute_losses(
    network: nn.Module, noised: NoisedSequences, batch: Batch, average: nn.Module | None = None
) -> Losses:
    """Run the network on both copies of every frame and compare with the clean frames.

    Frames are learned from the target copies. In the video stage only those count that have enough
    of their past in the sequence (`TrainConfig.past`): what a frame is without any past is never
    asked at run time, cannot be known, and would drown rare events in its noise.

    Args:
        network: maps `NoisedSequences` to a `NetworkOutput`.
        noised: the inputs, made from the batch.
        batch: the clean frames and what is known of them.
        average: not needed by this objective.
    """
    t = batch.clean.shape[1]
    output: NetworkOutput = network(*noised, targets=t)
    error = frame_loss(
        output.prediction.scores,
        output.prediction.log_weights,
        batch.clean,
        categorical=output.prediction.categorical,
        balanced=output.prediction.balanced,
    )
    counts = torch.ones_like(error) if batch.stage == "images" else batch.valid.float()
    frame = (error * counts).sum() / share_of_processes(counts.sum())
    return Losses(frame, *transition_losses(output, noised.tau[:, :t], batch))


def frame_loss(
    scores: Tensor,
    log_weights: Tensor,
    clean: Tensor,
    *,
    categorical: bool,
    balanced: bool = False,
) -> Tensor:
    """Compute the error of the prediction for each frame, `(b, t)`.

    For one-hot colours it is the cross-entropy of every cell, summed, whose minimiser is again the
    expected clean frame but which also punishes confident mistakes (Dieleman et al. 2022, section
    3.2); for a mixture the negative log-likelihood. Otherwise it is the squared error, summed over
    the frame.

    Args:
        scores: `(b, t, m, h, w, c)`.
        log_weights: `(b, t, m)`, the logarithms of the outcomes' probabilities.
        clean: `(b, t, h, w, c)`, the regression target; for colours, probabilities brought to
            [-1, 1].
        categorical: whether channels are colours.
        balanced: see `mixture_loss`.
    """
    if categorical:
        target = ((clean + 1) / 2)[:, :, None].movedim(-1, 3).contiguous()
        # Colours before cells, see `dfgym.model.transformer.colour_probabilities`.
        likelihood = (scores.movedim(-1, 3).log_softmax(3) * target).sum((3, 4, 5))
        return mixture_loss(likelihood, log_weights, balanced=balanced)
    return (scores[:, :, 0] - clean).square().sum((2, 3, 4))


def mixture_loss(likelihood: Tensor, log_weights: Tensor, *, balanced: bool) -> Tensor:
    """Compute the error of mixtures, `(...)`, in nats.

    Their negative log-likelihood lets the outcome that learns fastest take all the weight, before
    a chance event of many outcomes has parted them. Balanced, the outcomes are learned as if all
    were equally likely, and their probabilities from how likely each was to have made the frame.
    Both have their minimum where every chance event has outcomes of its own, but only there; the
    balanced error is never less than the other (Jensen).

    Args:
        likelihood: `(..., m)`, the logarithm of the frame's probability by each outcome.
        log_weights: `(..., m)`, the logarithms of the outcomes' probabilities.
        balanced: which of the two.
    """
    if not balanced:
        return -(log_weights + likelihood).logsumexp(-1)
    closest = likelihood.detach().log_softmax(-1)
    share = closest.exp()
    # The bound by `share`, whose gradient is that of equal weights for the outcomes.
    return (share * (closest - log_weights - likelihood)).sum(-1)


def transition_losses(
    output: NetworkOutput, context_tau: Tensor, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Compute the errors of reward and termination, as scalars.

    The commit pass reads them at run time, so they are learned from the context copies, where an
    action led to the frame, enough of its past is there and its signal is at least
    `TRANSITION_SIGNAL`. Ends count `batch.end_weight` times.

    Args:
        output: the predictions of both copies.
        context_tau: `(b, t)`, the signal levels of the context copies.
        batch: the truth.
    """
    t = batch.clean.shape[1]
    share = (batch.valid & (context_tau >= TRANSITION_SIGNAL)).float()
    share = share / share_of_processes(share.sum())
    share = torch.where(batch.terminated, batch.end_weight * share, share)
    reward = F.cross_entropy(
        output.reward[:, :t].flatten(0, 1), batch.rewards.flatten(), reduction="none"
    )
    termination = F.binary_cross_entropy_with_logits(
        output.termination[:, :t], batch.terminated.float(), reduction="none"
    )
    return (reward * share.flatten()).sum(), (termination * share).sum()


def share_of_processes(count: Tensor) -> Tensor:
    """Return the mean of a count over all processes, at least 1 in all: what a loss is divided by.

    The gradient is the mean over the processes, and so the mean over the whole batch, however
    unevenly it is shared.
    """
    if not dist.is_initialized():
        return count.clamp(min=1)
    dist.all_reduce(count)
    return count.clamp(min=1) / dist.get_world_size()


diffusion_forcing = Objective("diffusion_forcing", corrupt_batch, compute_losses)
"""Every frame at a noise level of its own (Chen et al. 2024), as worlds are trained."""
