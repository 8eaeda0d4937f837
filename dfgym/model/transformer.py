"""The causal video transformer: patch tokens, attention over time, one level for each frame.

Legend: b batch, t frames, h w c a frame, y x the token grid, d width, r slots of a ring, R reward
buckets. Frames come and go as `(b, t, h, w, c)`; inside, batch and time are folded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.errors import ConfigError
from dfgym.model.layers import Block, Convolution, Now, Ring, now, rotary


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
        shortcut: finest number of denoising steps whose jumps it is told, a power of two; 0: none.
        mixture: joint outcomes that it tells apart.
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
    shortcut: int = 0
    mixture: int = 1

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        if self.height % self.patch or self.width % self.patch:
            raise ConfigError(
                f"patch is {self.patch}; it must divide the frame, {self.height} x {self.width}"
            )
        if self.dim % self.heads or self.dim // self.heads % 2:
            raise ConfigError(f"dim is {self.dim}; it must be an even multiple of heads")


class Picture(NamedTuple):
    """What is said of the clean frame: a mixture of outcomes, and its mean.

    Cells that a chance event changes together change together within an outcome, which is what a
    frame's cells, each with colour probabilities of its own, cannot say (a mixture density network,
    Bishop 1994, over whole frames).

    Attributes:
        scores: `(..., m, h, w, c)` of each outcome: colour logits if categorical, else estimates.
        odds: `(..., m)`, the logarithm of each outcome's probability.
        categorical: whether channels are colours.
    """

    scores: Tensor
    odds: Tensor
    categorical: bool

    @property
    def estimate(self) -> Tensor:
        """The expected clean frame `(..., h, w, c)`, in [-1, 1]."""
        if not self.categorical:
            return self.scores.squeeze(-4)
        share = self.odds.exp()[..., None, None, None]
        return (self.scores.softmax(-1) * share).sum(-4) * 2 - 1

    def draw(self, chance: Tensor) -> Tensor:
        """One outcome's own expected frame `(n, h, w, c)`, drawn by its odds.

        Args:
            chance: `(n,)`, uniform in [0, 1).
        """
        n, m = self.odds.shape
        if m == 1:
            return self.estimate
        below = self.odds.exp().double().cumsum(1)  # ends near 1
        chosen = (below <= chance[:, None] * below[:, -1:]).sum(1)
        return self.scores[torch.arange(n, device=chosen.device), chosen].softmax(-1) * 2 - 1


class Output(NamedTuple):
    """What one pass says of every frame.

    Attributes:
        picture: of the clean frame, `(b, t)` in front.
        reward: `(b, t, R)` logits of the reward on arrival at the frame.
        termination: `(b, t)` logit of the episode's end at the frame.
    """

    picture: Picture
    reward: Tensor
    termination: Tensor


def say(picture: Picture, outcome: tuple[Tensor, Tensor], t: int) -> Output:
    """What is said of `t` frames of each sequence, from what is said of all in a row."""
    scores, odds, reward, termination = (
        part.unflatten(0, (-1, t)) for part in (picture.scores, picture.odds, *outcome)
    )
    return Output(Picture(scores, odds, picture.categorical), reward, termination)


class Told(NamedTuple):
    """What the network makes of one level and of every action, worked out once.

    A sampler visits a handful of levels, so what depends on level and action alone need not be
    computed for every row and pass.

    Attributes:
        tokens: `(A + 1, d)`, added to all tokens of a frame that the action led to.
        modulations: `(A + 1, depth, 3, 2, 1, 1, d)`, of the blocks' norms.
    """

    tokens: Tensor
    modulations: Tensor


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
        if config.shortcut:  # of the jumps above 0, which adds nothing
            self.embed_jump = nn.Parameter(torch.zeros(config.shortcut.bit_length() - 1, d))
        self.blocks = nn.ModuleList(Block(d, config.heads) for _ in range(config.depth))
        self.out = Convolution(d, cell, zero=True)
        if config.mixture > 1:  # what each outcome adds; little at first, so that none is lost
            self.out_apart = Convolution(d, config.mixture * cell)
            nn.init.normal_(self.out_apart.weight, std=0.1 / math.sqrt(d))
            self.odds = nn.Linear(d, config.mixture)
            nn.init.zeros_(self.odds.weight)
            nn.init.zeros_(self.odds.bias)
        self.head = Convolution(d, d)
        self.head_out = nn.Linear(d, config.rewards + 1)
        nn.init.normal_(self.embed_site, std=0.02)
        nn.init.normal_(self.embed_action.weight)
        nn.init.zeros_(self.head_out.weight)

    def embed(self, frames: Tensor) -> Tensor:
        """Tokens `(n, y, x, d)` of frames `(n, h, w, c)`."""
        n, h, w, c = frames.shape
        p = self.config.patch
        x = frames.view(n, h // p, p, w // p, p, c).transpose(2, 3).reshape(n, h // p, w // p, -1)
        return self.embed_patch(x) + self.embed_site

    def condition(self, tau: Tensor, action: Tensor, jump: Tensor | None = None) -> Tensor:
        """Conditions `(n, d)` of levels `(n,)`, embedded actions `(n, d)` and jumps `(n,)`."""
        angle = tau[:, None] * (
            math.pi * torch.logspace(-1, 2, 32, base=2.0, device=tau.device, dtype=tau.dtype)
        )
        level = self.embed_level(torch.cat((angle.cos(), angle.sin()), 1))
        if self.config.shortcut:
            level = level + F.pad(self.embed_jump, (0, 0, 1, 0))[jump]
        return F.silu(level + action)

    def told(self, tau: float, jump: int = 0) -> Told:
        """What `step` needs to know of a level, and of the jump from there."""
        actions = self.embed_action.weight
        level = torch.full_like(actions[:, 0], tau)
        condition = self.condition(level, actions, torch.full_like(level, jump, dtype=torch.int64))
        return Told(actions, torch.stack([self.modulations(b, condition) for b in self.blocks], 1))

    @staticmethod
    def modulations(block: nn.Module, condition: Tensor) -> Tensor:
        """A block's modulations `(n, 3, 2, 1, 1, d)` for conditions `(n, d)`."""
        assert isinstance(block, Block)
        return block.modulations(condition)

    def picture(self, x: Tensor) -> Picture:
        """What is said of frames by their last tokens `(n, y, x, d)`."""
        config, p = self.config, self.config.patch
        n, y, width, _ = x.shape
        x = F.layer_norm(x, x.shape[-1:])
        scores = self.out(x)[:, None].float()  # outcomes may differ by little
        if config.mixture > 1:
            apart = self.out_apart(x).float().unflatten(-1, (config.mixture, -1))
            scores = scores + apart.permute(0, 3, 1, 2, 4)
            odds = self.odds(x.mean((1, 2))).float().log_softmax(-1)
        else:
            odds = x.new_zeros(n, 1, dtype=torch.float32)
        scores = scores.reshape(n, -1, y, width, p, p, config.channels).transpose(3, 4)
        scores = scores.reshape(n, -1, config.height, config.width, config.channels)
        return Picture(scores, odds, config.categorical)

    def outcome(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of reward `(n, R)` and termination `(n,)` of the last tokens `(n, y, x, d)`."""
        x = F.silu(self.head(F.layer_norm(x, x.shape[-1:])))
        heads = self.head_out(x.mean((1, 2))).float()
        return heads[:, :-1], heads[:, -1]

    def see(
        self,
        frames: Tensor,
        tau: Tensor,
        actions: Tensor,
        time: Tensor,
        mask: Tensor,
        jump: Tensor | None = None,
    ) -> Tensor:
        """See whole sequences at once; the last tokens of all frames, `(b * t, y, x, d)`.

        Args:
            frames: `(b, t, h, w, c)`, noised to their levels.
            tau: `(b, t)`, the level each frame is told to be at.
            actions: `(b, t)` int64, the action that led to each frame.
            time: `(b, t)` int64, each frame's position in time.
            mask: `(b, t, t)` bool, True where a frame (row) sees another (column).
            jump: `(b, t)` int64, how far the sampler will jump, see `diffusion.shortcut`; 0 where
                the estimate itself is asked for.
        """
        t = frames.shape[1]
        jump = torch.zeros_like(actions) if jump is None else jump
        action = self.embed_action(actions.flatten())
        condition = self.condition(tau.flatten(), action, jump.flatten())
        x = self.embed(frames.flatten(0, 1)) + action[:, None, None]
        turn = rotary(time, self.config.dim // self.config.heads)
        for block in self.blocks:
            x = block(x, self.modulations(block, condition), t, turn, mask[:, None])
        return x

    def forward(self, frames: Tensor, *told: Tensor) -> Output:
        """What is said of every frame of whole sequences; arguments as for `see`."""
        x = self.see(frames, *told)
        return say(self.picture(x), self.outcome(x), frames.shape[1])

    def empty_rings(self, rows: int, device: torch.device | str = "cpu") -> list[Ring]:
        """Zeroed keys and values for `rows` sequences: a slot for each past frame and one's own."""
        config = self.config
        sites = config.height * config.width // config.patch**2
        e = config.dim // config.heads
        shape = (rows, config.window + 1, sites, config.heads, e)
        empty = partial(torch.zeros, shape, dtype=self.embed_site.dtype, device=device)
        return [(empty(), empty()) for _ in range(config.depth)]

    def now(self, time: Tensor) -> Now:
        """Where in time rows are, for `step`; `time` counts their frames so far, `(b,)` int64."""
        return now(time, self.config.window + 1, self.config.dim // self.config.heads)

    def step(
        self, frames: Tensor, told: Told, actions: Tensor, now: Now, rings: list[Ring]
    ) -> Tensor:
        """See one frame a row, its past in the rings.

        `picture` and `outcome` of what it returns equal `forward`'s last column. The frame's own
        keys and values go into slot `time % r`, over those of the frame that has just left the
        window. So a denoising pass leaves only what the next pass overwrites, and the last pass
        over a frame, at the level its successors shall see, commits it.

        Args:
            frames: `(b, h, w, c)`.
            told: the level that all rows are told to be at.
            actions: `(b,)` int64, the action that led to each frame.
            now: where in time each row is; slots older than its first frame count as empty.
            rings: one for each block, written in place.

        Returns:
            The last tokens, `(b, y, x, d)`.
        """
        x = self.embed(frames) + told.tokens[actions][:, None, None]
        every = told.modulations[actions].unbind(1)
        for block, by, ring in zip(self.blocks, every, rings, strict=True):
            assert isinstance(block, Block)
            x = block.step(x, by, now, ring)
        return x
