"""The causal video transformer: patch tokens, attention over time, one level for each frame.

Legend: b batch, t frames, h w c a frame, y x the token grid, d width, r slots of a ring, R reward
buckets. Frames come and go as `(b, t, h, w, c)`; inside, batch and time are folded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.errors import ConfigError
from dfgym.model.layers import Block, Convolution, Ring, rotary


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a network.

    Attributes:
        height, width, channels: an encoded frame.
        categorical: channels are one-hot colours, so the estimate is their expectation.
        actions: number of discrete actions; index `actions` itself means "no action led here".
        rewards: number of reward buckets.
        dim, depth, heads, patch: width, blocks, attention heads, cells a token side.
        window: how many past frames a frame attends to.
    """

    height: int
    width: int
    channels: int
    categorical: bool
    actions: int
    rewards: int
    dim: int = 128
    depth: int = 4
    heads: int = 4
    patch: int = 2
    window: int = 6

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        if self.height % self.patch or self.width % self.patch:
            raise ConfigError(
                f"patch is {self.patch}; it must divide the frame, {self.height} x {self.width}"
            )
        if self.dim % self.heads or self.dim // self.heads % 2:
            raise ConfigError(f"dim is {self.dim}; it must be an even multiple of heads")


class Output(NamedTuple):
    """What one pass says of every frame.

    Attributes:
        scores: `(b, t, h, w, c)`: colour logits if categorical, else the estimate itself.
        estimate: `(b, t, h, w, c)`: the expected clean frame, in [-1, 1].
        reward: `(b, t, R)` logits of the reward on arrival at the frame.
        termination: `(b, t)` logit of the episode's end at the frame.
    """

    scores: Tensor
    estimate: Tensor
    reward: Tensor
    termination: Tensor


class Transformer(nn.Module):
    """Estimate clean frames from noisy ones, each given its level, its action and its past."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        d, cell = config.dim, config.patch**2 * config.channels
        self.embed_patch = Convolution(cell, d)
        self.embed_site = nn.Parameter(
            torch.zeros(config.height // config.patch, config.width // config.patch, d)
        )
        self.embed_action = nn.Embedding(config.actions + 1, d)
        self.embed_level = nn.Sequential(nn.Linear(64, d), nn.SiLU(), nn.Linear(d, d))
        self.blocks = nn.ModuleList(Block(d, config.heads) for _ in range(config.depth))
        self.out = Convolution(d, cell, zero=True)
        self.head = Convolution(d, d)
        self.head_out = nn.Linear(d, config.rewards + 1)
        nn.init.normal_(self.embed_site, std=0.02)
        nn.init.normal_(self.embed_action.weight)
        nn.init.zeros_(self.head_out.weight)

    def embed(self, frames: Tensor, tau: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens `(n, y, x, d)` and conditions `(n, d)` of frames `(n, h, w, c)`."""
        n, h, w, c = frames.shape
        p = self.config.patch
        x = frames.view(n, h // p, p, w // p, p, c).transpose(2, 3).reshape(n, h // p, w // p, -1)
        action = self.embed_action(actions)
        angle = tau[:, None] * (
            math.pi * torch.logspace(-1, 2, 32, base=2.0, device=tau.device, dtype=tau.dtype)
        )
        level = self.embed_level(torch.cat((angle.cos(), angle.sin()), 1))
        return self.embed_patch(x) + self.embed_site + action[:, None, None], F.silu(level + action)

    def read(self, x: Tensor, t: int) -> Output:
        """Read the outputs off the last tokens, `(b * t, y, x, d)`."""
        config, p = self.config, self.config.patch
        x = F.layer_norm(x, x.shape[-1:])
        n, y, width, _ = x.shape
        scores = self.out(x).view(n, y, width, p, p, -1).transpose(2, 3)
        scores = scores.reshape(n // t, t, config.height, config.width, -1).float()
        estimate = scores.softmax(-1) * 2 - 1 if config.categorical else scores
        heads = self.head_out(F.silu(self.head(x)).mean((1, 2))).float().view(n // t, t, -1)
        return Output(scores, estimate, heads[..., :-1], heads[..., -1])

    def forward(
        self, frames: Tensor, tau: Tensor, actions: Tensor, time: Tensor, mask: Tensor
    ) -> Output:
        """See whole sequences at once.

        Args:
            frames: `(b, t, h, w, c)`, noised to their levels.
            tau: `(b, t)`, the level each frame is told to be at.
            actions: `(b, t)` int64, the action that led to each frame.
            time: `(b, t)` int64, each frame's position in time.
            mask: `(b, t, t)` bool, True where a frame (row) sees another (column).
        """
        t = frames.shape[1]
        x, condition = self.embed(frames.flatten(0, 1), tau.flatten(), actions.flatten())
        turn = rotary(time, self.config.dim // self.config.heads)
        for block in self.blocks:
            x = block(x, condition, t, turn, mask[:, None])
        return self.read(x, t)

    def empty_rings(self, rows: int, device: torch.device | str = "cpu") -> list[Ring]:
        """Zeroed keys and values for `rows` sequences: a slot for each past frame and one's own."""
        config = self.config
        sites = config.height * config.width // config.patch**2
        e = config.dim // config.heads
        shape = (rows, config.window + 1, sites * config.heads, e)
        return [
            (torch.zeros(shape, device=device), torch.zeros(shape, device=device))
            for _ in range(config.depth)
        ]

    def step(
        self, frames: Tensor, tau: Tensor, actions: Tensor, time: Tensor, rings: list[Ring]
    ) -> Output:
        """See one frame a row, its past in the rings; equals `forward`'s last column.

        The frame's own keys and values go into slot `time % r`, over those of the frame that has
        just left the window. So a denoising pass leaves only what the next pass overwrites, and
        the last pass over a frame, at the level its successors shall see, commits it.

        Args:
            frames: `(b, h, w, c)`.
            tau: `(b,)`.
            actions: `(b,)` int64.
            time: `(b,)` int64 from 0: the row's frames so far; older slots count as empty.
            rings: one for each block, written in place.

        Returns:
            Outputs with t = 1.
        """
        slots = self.config.window + 1
        x, condition = self.embed(frames, tau, actions)
        turn = rotary(time[:, None], self.config.dim // self.config.heads)
        index = torch.arange(slots, device=time.device)
        age = (time[:, None] - index) % slots
        mask = torch.where(age <= time[:, None], 0.0, -torch.inf)[..., None]
        place = (torch.arange(len(time), device=time.device), time % slots)
        for block, ring in zip(self.blocks, rings, strict=True):
            assert isinstance(block, Block)
            x = block.step(x, condition, turn, ring, place, mask)
        return self.read(x, 1)
