"""Shortcut forcing: a network that is given how far it jumps needs few denoising steps.

A jump `k` spans `2**k / K` of the noise path, `K` the finest number of denoising steps; jump 0 is
the plain estimate of the clean frame. The estimate of a longer jump is the point whose straight
line leads where two jumps of half the length lead, which the network learns from itself (Frans et
al. 2024; on diffusion forcing: Hafner et al. 2025, section 3.2).

In terms of estimates the two halves join to a convex combination, so that an estimate made of
probabilities stays one and can be learned by cross-entropy.

Legend: b batch, t frames, h w c a frame, d width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.diffusion.draws import Draws
from dfgym.model.layers import rotary
from dfgym.model.transformer import NetworkOutput, Transformer, unflatten_outputs


class JumpingSequences(NamedTuple):
    """`diffusion.corrupt.NoisedSequences`, and `jump`, `(b, 2 t)` int64, of each copy."""

    frames: Tensor
    tau: Tensor
    actions: Tensor
    time: Tensor
    mask: Tensor
    jump: Tensor


class JumpingTransformer(nn.Module):
    """A transformer whose conditions also hold how far each frame's denoising step jumps.

    Args:
        network: the transformer.
        finest: K, the finest number of denoising steps, a power of two.
    """

    def __init__(self, network: Transformer, finest: int) -> None:
        super().__init__()
        self.network = network
        # Of the jumps above 0; jump 0 adds nothing.
        self.embed_jump = nn.Parameter(torch.zeros(finest.bit_length() - 1, network.config.dim))

    def forward(
        self, frames: Tensor, tau: Tensor, actions: Tensor, time: Tensor, mask: Tensor, jump: Tensor
    ) -> NetworkOutput:
        """Predict every frame of whole sequences, as the transformer does; `jump` is `(b, t)`."""
        network, t = self.network, frames.shape[1]
        action = network.embed_action(actions.flatten(0, 1))
        jumps = F.pad(self.embed_jump, (0, 0, 1, 0))[jump.flatten()]
        condition = network.condition(tau.flatten(), action + jumps)
        x = network.embed(frames.flatten(0, 1)) + action[:, None, None]
        rope = rotary(time, network.config.dim // network.config.heads)
        for block in network.blocks:
            x = block(x, network.modulations(block, condition), t, rope, mask[:, None])
        return unflatten_outputs(network.predict_frame(x), network.predict_transition(x), t)


def jump_of(steps: int, finest: int) -> int:
    """Return the jump of one of `steps` equal denoising steps; 0 where no jump is so long.

    Args:
        steps: the number of denoising steps of a frame.
        finest: K, a power of two; 0 if the network knows no jumps.
    """
    ratio, rest = divmod(finest, steps)
    return ratio.bit_length() - 1 if ratio and not rest else 0


def span(jump: Tensor, finest: int) -> Tensor:
    """Return how much of the path a jump covers."""
    return 2.0**jump / finest


def draw_jumps(shape: tuple[int, ...], finest: int, draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw jumps above 0, each length as often, and for each one of the levels it starts at.

    Returns:
        Signal levels, float, and jumps, int64, both of `shape`.
    """
    jump = draws.randint(1, finest.bit_length(), shape)
    length = span(jump, finest)
    return (draws.rand(shape) / length).floor() * length, jump


def move_toward(x: Tensor, estimate: Tensor, tau: Tensor, length: Tensor) -> Tensor:
    """Go straight from `x` at level tau toward the estimate, which lies at level 1.

    Args:
        x: `(b, t, h, w, c)`.
        estimate: like `x`.
        tau: `(b, t)`.
        length: `(b, t)`, the distance to go: up to `1 - tau`.
    """
    return x + (estimate - x) * (length / (1 - tau))[..., None, None, None]


def join_halves(first: Tensor, second: Tensor, tau: Tensor, half: Tensor) -> Tensor:
    """Return the estimate whose jump of `2 * half` leads where two jumps of `half` lead.

    Args:
        first: `(b, t, h, w, c)`, the estimate at level tau.
        second: the estimate at `tau + half`, where the first jump has led.
        tau: `(b, t)`.
        half: `(b, t)`, at most `(1 - tau) / 2`.
    """
    rest = 1 - tau
    share = ((rest - 2 * half) / (2 * (rest - half)))[..., None, None, None]
    return first * share + second * (1 - share)


def bootstrap(
    estimate: Callable[[JumpingSequences], Tensor], noised: JumpingSequences, finest: int
) -> Tensor:
    """Return what the target copies of rows that jump shall estimate, `(b, t, h, w, c)`.

    Args:
        estimate: returns the estimates of all `2 t` copies, by a network that does not change.
        noised: rows in which every target copy jumps.
        finest: K.
    """
    t = noised.tau.shape[1] // 2
    context_tau, tau = noised.tau.split(t, 1)
    half = span(noised.jump[:, t:], finest) / 2
    halved = noised._replace(jump=(noised.jump - 1).clamp(min=0))
    first = estimate(halved)[:, t:]
    frames = move_toward(noised.frames[:, t:], first, tau, half)
    second = estimate(
        halved._replace(
            frames=torch.cat((noised.frames[:, :t], frames), 1),
            tau=torch.cat((context_tau, tau + half), 1),
        )
    )[:, t:]
    return join_halves(first, second, tau, half)
