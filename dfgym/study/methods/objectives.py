"""The rivals of diffusion forcing as objectives: other levels, other targets, pictures, jumps.

| corruption | context copies | target copies | a target sees |
|---|---|---|---|
| `diffusion_forcing` | each its own level | each its own level | contexts before it |
| `teacher_forcing` | clean | each its own level | contexts before it |
| `full_sequence` | clean; for reward and end only | one level for a block | its whole block |

A block of `full_sequence` is `window + 1` frames long and begins anywhere in a sequence; its first
`clean_frames` are clean and not learned (the chunked model of video generators; 0: none). Nor is
what is left of a block whose clean frames the border of a sequence or an episode has cut off, since
it cannot be known; only pictures, frames that have no other of their episode beside them, are.

Legend: b batch, t frames, h w c a frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from msgspec import Meta
from torch import Tensor, nn

from dfgym.checks import check
from dfgym.diffusion.corrupt import NoisedSequences, draw_noise, noise_copies, visibility
from dfgym.diffusion.draws import Draws
from dfgym.diffusion.levels import context_levels, target_levels
from dfgym.errors import ConfigError
from dfgym.model.config import GameSpec, ModelConfig
from dfgym.model.network import build
from dfgym.model.transformer import NetworkOutput, Transformer
from dfgym.study.methods.shortcut import (
    JumpingSequences,
    JumpingTransformer,
    bootstrap,
    draw_jumps,
)
from dfgym.study.methods.targets import Target, Weight, error_weight, regression_target
from dfgym.train.batches import Batch
from dfgym.train.config import TrainConfig
from dfgym.train.loss import Losses, Objective, frame_loss, stops, transition_losses

Corruption = Literal["diffusion_forcing", "teacher_forcing", "full_sequence"]
JUMPING_SHARE = 0.25
"""Share of the sequences that learn to jump."""


@dataclass(frozen=True)
class Method:
    """How a model of the study is trained, beside its `TrainConfig`; the default is the product's.

    Only a transformer can be trained by `full_sequence`, whose frames see later ones.
    """

    corruption: Corruption = "diffusion_forcing"
    """At which levels frames are learned, see the table above."""
    clean_frames: Annotated[int, Meta(ge=0)] = 0
    """Frames of each block that `full_sequence` is given clean; at most the window."""
    image_share: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Share of the video stage's sequences whose frames each stand alone, as pictures."""
    target: Target = "x"
    """What the network predicts; games drawn in colours are learned as x."""
    weight: Weight = "uniform"
    """How an error counts at each level."""
    finest: Literal[0, 2, 4, 8, 16, 32, 64, 128] = 0
    """Finest number of denoising steps whose jumps the network learns; 0: none."""
    jumps_from: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Share of the video stage after which `JUMPING_SHARE` of the sequences learns to jump."""

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        check(self, ConfigError)
        blocks = self.corruption == "full_sequence"
        if self.clean_frames and not blocks:
            raise ConfigError(
                f"clean_frames is {self.clean_frames} and corruption {self.corruption!r}; only "
                "'full_sequence' has blocks, so set it to 0"
            )
        if blocks and self.weight == "fused_snr":
            raise ConfigError(
                "weight is 'fused_snr', which counts the past's levels, and with corruption "
                "'full_sequence' frames see none; use another weight"
            )
        if self.finest and (blocks or self.target != "x"):
            raise ConfigError(
                f"finest is {self.finest}, corruption {self.corruption!r} and target "
                f"{self.target!r}; jumps are learned frame by frame and by the mean: set it to 0"
            )

    @property
    def is_steppable(self) -> bool:
        """Whether `world.Dynamics` can step such a model: one frame at a time, x, no jumps."""
        return self.corruption != "full_sequence" and self.target == "x" and not self.finest

    def objective(self) -> Objective:
        """Return the objective."""
        return Objective(
            self.corruption, partial(corrupt_batch, method=self), partial(compute_losses, self)
        )

    def build(self, config: ModelConfig, game: GameSpec) -> nn.Module:
        """Build the network with fresh weights.

        Raises:
            ConfigError: the network cannot be trained so.
        """
        network = build(config, game)
        if not isinstance(network, Transformer) and (
            self.finest or self.corruption == "full_sequence"
        ):
            raise ConfigError(
                f"model.kind is {config.kind!r}, whose frames see no later ones and no jumps; "
                "use 'transformer'"
            )
        if self.clean_frames > config.window:
            raise ConfigError(
                f"clean_frames is {self.clean_frames}; expected at most the window, {config.window}"
            )
        if self.finest and isinstance(network, Transformer):
            if config.mixture > 1:
                raise ConfigError(
                    f"finest is {self.finest} and model.mixture {config.mixture}; jumps are "
                    "learned by the mean: set it to 1"
                )
            return JumpingTransformer(network, self.finest)
        return network


def corrupt_batch(
    batch: Batch, config: TrainConfig, draws: Draws, method: Method
) -> NoisedSequences | JumpingSequences:
    """Noise a batch as a method asks; the draws of plain methods are the product's."""
    batch = separate_pictures(batch, method)
    window, shape = config.model.window, batch.actions.shape
    context_tau = context_levels(shape, draws, config.clean_share)
    tau = target_levels(shape, config.level_shift, draws, config.noise_share, stops(config))
    mask = visibility(batch.segment, window)
    if method.corruption != "diffusion_forcing":
        context_tau = torch.ones_like(context_tau)
    if method.corruption == "full_sequence":
        tau, visible = _blocks(tau, batch.segment, window, method.clean_frames, draws)
        t = shape[1]
        mask[:, t:] = torch.cat((torch.zeros_like(visible), visible), 2).to(mask)
    eps = draw_noise(batch.clean, draws)
    jump = torch.zeros(shape, dtype=torch.int64)
    if rows := _jumping_rows(batch, config, method):
        tau[:rows], jump[:rows] = draw_jumps((rows, shape[1]), method.finest, draws)
    levels = torch.cat((context_tau, tau), 1)
    noised = noise_copies(batch.clean, batch.actions, eps, levels, mask)
    if not method.finest:
        return noised
    jump = torch.cat((torch.zeros_like(jump), jump), 1)
    return JumpingSequences(*noised, jump.to(batch.clean.device))


def compute_losses(
    method: Method,
    network: nn.Module,
    noised: NoisedSequences | JumpingSequences,
    batch: Batch,
    average: nn.Module,
) -> Losses:
    """Compare the predictions with a method's targets, see `train.loss.compute_losses`.

    Pictures are learned from every frame, videos from the frames whose past is in the window;
    neither from the clean frames of a block.
    """
    batch = separate_pictures(batch, method)
    clean, t = batch.clean, batch.clean.shape[1]
    if isinstance(noised, JumpingSequences):
        if rows := int((noised.jump[:, -1] > 0).sum()):
            jumping = JumpingSequences(*(tensor[:rows] for tensor in noised))
            with torch.no_grad():
                reached = bootstrap(
                    lambda inputs: average(*inputs).prediction.mean, jumping, method.finest
                )
            clean = torch.cat((reached, clean[rows:]))
    output: NetworkOutput = network(*noised)
    if method.target != "x" and output.prediction.categorical:
        raise ConfigError(f"target is {method.target!r}; colours are learned as 'x'")
    context_tau, tau = noised.tau.split(t, 1)
    is_noised = tau < 1  # the clean frames of a block are given
    is_picture = torch.full_like(is_noised, batch.stage == "images") | _is_alone(batch, method)
    counts = ((batch.valid | is_picture) & is_noised).float()
    tau = tau.where(is_noised, 0.0)
    error = frame_loss(
        output.prediction.scores[:, t:],
        output.prediction.log_weights[:, t:],
        regression_target(clean, noised.frames[:, t:], tau, method.target),
        categorical=output.prediction.categorical,
        balanced=output.prediction.balanced,
    )
    weight = error_weight(tau, context_tau, ~batch.valid, method.target, method.weight)
    frame = (error * (weight * counts)).sum() / counts.sum().clamp(min=1)
    return Losses(frame, *transition_losses(output, context_tau, batch))


def separate_pictures(batch: Batch, method: Method) -> Batch:
    """Let the frames of a share of the video sequences, the last ones, each stand alone."""
    alone = _is_alone(batch, method)
    t = batch.actions.shape[1]
    apart = torch.arange(t, device=alone.device, dtype=batch.segment.dtype)
    no_action = int(batch.actions.max())  # that of the first frame of every window
    return batch._replace(
        segment=torch.where(alone, apart, batch.segment),
        actions=batch.actions.masked_fill(alone, no_action),
        valid=batch.valid & ~alone,
    )


def _is_alone(batch: Batch, method: Method) -> Tensor:
    """Which frames of the video stage are learned as pictures, bool `(b, t)`."""
    alone = torch.zeros_like(batch.valid)
    if batch.stage == "videos":
        alone[len(alone) - round(method.image_share * len(alone)) :] = True
    return alone


def _jumping_rows(batch: Batch, config: TrainConfig, method: Method) -> int:
    """How many rows of a batch, the first ones, learn to jump."""
    first_step = config.image_steps + round(method.jumps_from * config.steps)
    learns = method.finest > 0 and batch.step >= first_step
    return math.ceil(len(batch.clean) * JUMPING_SHARE) if learns else 0


def _blocks(
    tau: Tensor, segment: Tensor, window: int, clean_frames: int, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Cut sequences into blocks.

    Args:
        tau: `(b, t)`, a level for each frame, of which each block takes one.
        segment: `(b, t)`, the episode each frame belongs to.
        window: a block is one frame longer.
        clean_frames: the first frames of each block, which are clean.
        draws: decide where the blocks begin.

    Returns:
        The levels `(b, t)`, 1 where a frame is not learned, and which frames are in one block,
        bool `(b, t, t)`.
    """
    b, t = tau.shape
    place = torch.arange(t) + draws.randint(0, window + 1, (b, 1))
    block = place // (window + 1)
    tau = tau.gather(1, block)
    same_episode = (segment[:, :, None] == segment[:, None]).cpu()
    together = same_episode & (block[:, :, None] == block[:, None])
    if clean_frames:
        is_video = same_episode.sum(2) > 1
        tau[is_video & (place % (window + 1) < clean_frames)] = 1
        has_clean = (together & (tau == 1)[:, None]).any(2)
        tau[is_video & ~has_clean] = 1
    return tau, together
