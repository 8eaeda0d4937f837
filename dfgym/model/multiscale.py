"""A network of several scales: fine tokens for detail, coarse ones for time, and a copy for free.

A frame comes in together with the pixels of the frames before it, goes through residual
convolutions on fine tokens, each half as fine as the ones before, to coarse tokens, where blocks
with attention over time work as in the transformer, and up again (a U-Net, Ronneberger et al.
2015). The head mixes what it draws with the frame before by a gate of each cell, so what stands
still costs nothing to draw and no patch has to fit into a token. The pixels of the past are one
more layer of the cache.

Legend: b batch, t copies, n = b * t copies folded, h w c a frame, y x a token grid, d width of a
coarse token, k age of a past frame, r slots of a cache, m outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.config import GameSpec, ModelConfig
from dfgym.model.embedding import embed_all, make_embedding
from dfgym.model.layers import (
    Block,
    CachePosition,
    Convolution,
    Modulation,
    cache_position,
    fold,
    modulate,
    rotary,
    unfold,
)
from dfgym.model.slots import hide_slots
from dfgym.model.transformer import (
    FramePrediction,
    NetworkOutput,
    embed_level,
    unflatten_outputs,
)

COPY_GAIN, COPY_GATE = 4.0, 2.0
"""A new network copies: what its gain adds to the logit of a cell's last colour, and the logit of
its share of the last frame."""


def draw(x: Tensor, patch: int) -> Tensor:
    """Lay tokens `(n, y, x, c * p * p)` out as cells, float32 `(n, c, h, w)`, contiguous."""
    n, y, width, _ = x.shape
    x = x.view(n, y, width, -1, patch, patch).permute(0, 3, 1, 4, 2, 5)
    shape = (n, x.shape[1], y * patch, width * patch)
    return x.to(torch.float32, memory_format=torch.contiguous_format).reshape(shape)


class FineBlock(nn.Module):
    """A residual convolution over fine tokens `(n, y, x, width)`, modulated by `(n, d)`."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = Modulation(dim, width)
        self.space = Convolution(width, width, 3)
        self.space_out = Convolution(width, width, zero=True)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Mix tokens with their neighbours."""
        return x + self.space_out(F.silu(self.space(modulate(x, modulation))))


class Conditioning(NamedTuple):
    """What depends on level and action alone, of A actions or of every frame.

    Attributes:
        tokens: `(A, d)`, added to all coarse tokens.
        down: the modulations of the fine blocks on the way down, `(A, 2, 1, 1, width)` each.
        blocks: of the coarse blocks, `(A, depth, 3, 2, 1, 1, d)`.
        up: as `down`, of the way up, from fine to coarse.
    """

    tokens: Tensor
    down: tuple[Tensor, ...]
    blocks: Tensor
    up: tuple[Tensor, ...]

    def select(self, index: Tensor | slice) -> Conditioning:
        """Return those of some rows."""
        down, up = (tuple(m[index] for m in fine) for fine in (self.down, self.up))
        return Conditioning(self.tokens[index], down, self.blocks[index], up)


class PastPosition(NamedTuple):
    """Each row's position in time and in the cache.

    Attributes:
        attention: of the coarse tokens.
        slot: rows and slots, both int64 `(b,)`, where the frame's own pixels go.
        past: of each age the rows and slots of the pixels before.
        begun: bool `(ages, b)`, whether there is a frame of that age.
    """

    attention: CachePosition
    slot: tuple[Tensor, Tensor]
    past: tuple[tuple[Tensor, Tensor], ...]
    begun: Tensor


class Tokens(NamedTuple):
    """What a pass knows of its frames; `Multiscale.predict_frame` draws from it.

    Attributes:
        coarse: the last coarse tokens, `(n, y, x, d)`.
        skips: the fine tokens of each scale on the way down, from fine to coarse.
        modulations: of the fine blocks on the way up, likewise.
        last: the pixels of the frame before, `(n, h, w, c)`, 0 where there is none.
        begun: float `(n, 1, 1, 1)`, 0 where there is none.
    """

    coarse: Tensor
    skips: tuple[Tensor, ...]
    modulations: tuple[Tensor, ...]
    last: Tensor
    begun: Tensor


def find_past(time: Tensor, mask: Tensor, ages: int) -> tuple[Tensor, Tensor]:
    """Find the copies that stand for the frames before each copy.

    Args:
        time: `(b, t)` int64, each copy's position in time.
        mask: `(b, t, t)` bool, which copy (row) sees which (column).
        ages: how many frames before.

    Returns:
        Their indices, int64 `(ages, b, t)`, and whether there is one that the copy sees, bool.
    """
    age = time[:, :, None] - time[:, None]
    at = torch.stack([mask & (age == k) for k in range(1, ages + 1)])
    return at.int().argmax(-1), at.any(-1)


class Multiscale(nn.Module):
    """Predicts clean frames from noisy ones, each given its level, its action and its past."""

    def __init__(self, config: ModelConfig, game: GameSpec) -> None:
        super().__init__()
        self.config, self.game = config, game
        d, m, cell = config.dim, config.mixture, config.fine_patch**2
        self.ages = config.ages
        *widths, _ = sizes = config.widths
        self.embed_patch = Convolution(cell * game.channels, sizes[0])
        self.embed_past = nn.ModuleList(
            Convolution(cell * game.channels, sizes[0]) for _ in range(self.ages)
        )
        self.embed_absent = nn.Parameter(torch.zeros(self.ages, sizes[0]))
        self.embed_position = nn.ParameterList(
            torch.zeros(game.height // patch, game.width // patch, width)
            for patch, width in zip(config.patches, sizes, strict=True)
        )
        self.embed_action = make_embedding(game.actions, d)
        self.embed_level = nn.Sequential(nn.Linear(64, d), nn.SiLU(), nn.Linear(d, d))
        self.down_blocks = nn.ModuleList(FineBlock(d, width) for width in widths)
        self.down = nn.ModuleList(
            Convolution(4 * width, wider) for width, wider in zip(widths, sizes[1:], strict=True)
        )
        self.blocks = nn.ModuleList(Block(d, config.heads) for _ in range(config.depth))
        self.up = nn.ModuleList(
            Convolution(wider, 4 * width) for width, wider in zip(widths, sizes[1:], strict=True)
        )
        self.up_blocks = nn.ModuleList(FineBlock(d, width) for width in widths)
        self.out = Convolution(sizes[0], cell * (game.channels + 1), zero=True)
        if m > 1:  # what each outcome adds; little at first, so that none is lost
            self.out_mixture = Convolution(sizes[0], m * cell * game.channels)
            nn.init.normal_(self.out_mixture.weight, std=0.5 / math.sqrt(sizes[0]))
            self.mixture_logits = nn.Linear(d, m)
            nn.init.zeros_(self.mixture_logits.weight)
            nn.init.zeros_(self.mixture_logits.bias)
        self.head = Convolution(d, d)
        self.head_out = nn.Linear(d, game.rewards + 1)
        for position in self.embed_position:
            nn.init.normal_(position, std=0.02)
        if isinstance(self.embed_action, nn.Embedding):
            nn.init.normal_(self.embed_action.weight)
        nn.init.zeros_(self.head_out.weight)

    def condition(self, tau: Tensor, action: Tensor) -> Conditioning:
        """Compute what levels `(n,)` and embedded actions `(n, d)` decide."""
        condition = embed_level(self.embed_level, tau, action)
        down, up = (
            tuple(block.norm(condition) for block in blocks)  # type: ignore[operator]
            for blocks in (self.down_blocks, self.up_blocks)
        )
        coarse = [block.modulations(condition) for block in self.blocks]  # type: ignore[operator]
        return Conditioning(action, down, torch.stack(coarse, 1), up)

    def conditioning(self, tau: float, actions: Tensor | None = None) -> Conditioning:
        """Precompute what `step` needs of a signal level; arguments as `Transformer`'s."""
        actions = embed_all(self.embed_action, actions)
        return self.condition(torch.full_like(actions[:, 0], tau), actions)

    def encode(
        self, frames: Tensor, past: list[Tensor], conditioning: Conditioning
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Go down to coarse tokens `(n, y, x, d)`; returns the fine tokens of each scale too.

        Args:
            frames: `(n, h, w, c)`.
            past: of each age the embedded pixels, `(n, y, x, width)`.
            conditioning: of each frame.
        """
        x = self.embed_patch(fold(frames, self.config.fine_patch))
        for pixels in past:
            x = x + pixels
        positions, skips = list(self.embed_position), []
        x = x + positions[0].to(x.dtype)
        for block, down, modulation, position in zip(
            self.down_blocks, self.down, conditioning.down, positions[1:], strict=True
        ):
            x = block(x, modulation)
            skips.append(x)
            x = down(fold(x, 2)) + position
        return x + conditioning.tokens[:, None, None], tuple(skips)

    def embed_past_frames(self, frames: Tensor, age: int, begun: Tensor) -> Tensor:
        """Embed pixels `(n, h, w, c)` of frames `age` before; `begun` is bool `(n,)`."""
        x = self.embed_past[age - 1](fold(frames, self.config.fine_patch))
        return self._replace_absent(x, age, begun)

    def _replace_absent(self, x: Tensor, age: int, begun: Tensor) -> Tensor:
        absent = self.embed_absent[age - 1].to(x.dtype)
        return torch.where(begun[:, None, None, None], x, absent)

    def predict_frame(self, tokens: Tokens) -> FramePrediction:
        """Predict the clean frames, going up from coarse tokens to cells."""
        config, game, p = self.config, self.game, self.config.fine_patch
        x = tokens.coarse
        for block, up, skip, modulation in reversed(
            list(zip(self.up_blocks, self.up, tokens.skips, tokens.modulations, strict=True))
        ):
            x = block(unfold(up(x), 2) + skip, modulation)
        x = F.layer_norm(x, x.shape[-1:])
        # Colours stand first in memory, whose softmax is then many times as fast.
        new, gate = draw(self.out(x), p).split((game.channels, 1), 1)
        last, begun = tokens.last.float().movedim(-1, 1), tokens.begun
        if game.categorical:
            scores = new + (gate + COPY_GAIN) * begun * (last + 1) / 2
        else:
            scores = torch.lerp(new, last, (gate + COPY_GATE).sigmoid() * begun)
        scores = scores[:, None]
        log_weights = scores.new_zeros(len(scores), 1)
        if config.mixture > 1:
            outcomes = draw(self.out_mixture(x), p).unflatten(1, (config.mixture, -1))
            scores = scores + outcomes
            log_weights = self.mixture_logits(tokens.coarse.mean((1, 2))).float().log_softmax(-1)
        return FramePrediction(scores.movedim(2, -1), log_weights, game.categorical, balanced=True)

    def predict_transition(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Predict reward, logits `(n, R)`, and termination, logits `(n,)`."""
        return self._transition(tokens.coarse)

    def _transition(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.silu(self.head(F.layer_norm(x, x.shape[-1:])))
        heads = self.head_out(x.mean((1, 2))).float()
        return heads[:, :-1], heads[:, -1]

    def forward(
        self,
        frames: Tensor,
        tau: Tensor,
        actions: Tensor,
        time: Tensor,
        mask: Tensor,
        targets: int | None = None,
    ) -> NetworkOutput:
        """Predict the copies of whole sequences.

        Args:
            frames: `(b, t, h, w, c)`, noised to their levels.
            tau: `(b, t)`, the signal level that each copy is conditioned on.
            actions: `(b, t)` int64 or `(b, t, parts)`, the action that led to each frame.
            time: `(b, t)` int64, each frame's position in time.
            mask: `(b, t, t)` bool, True where a copy (row) sees another (column).
            targets: see `Network`.
        """
        b, t = tau.shape
        first = t - (targets or t)  # of the targets
        others = first or t  # copies that others may see, the first ones
        index, begun = find_past(time, mask, self.ages)
        index = index.clamp(max=others - 1)
        rows = torch.arange(b, device=tau.device)[:, None]
        pixels = frames[:, :others]
        sources = fold(pixels.flatten(0, 1), self.config.fine_patch)
        past = []
        for age, (at, exists) in enumerate(zip(index, begun, strict=True), 1):
            embedded = self.embed_past[age - 1](sources)
            x = embedded[(rows * others + at).flatten()]
            past.append(self._replace_absent(x, age, exists.flatten()))
        conditioning = self.condition(tau.flatten(), self.embed_action(actions.flatten(0, 1)))
        x, skips = self.encode(frames.flatten(0, 1), past, conditioning)
        rope = rotary(time, self.config.dim // self.config.heads)
        modulations = conditioning.blocks.unbind(1)
        for block, modulation in zip(self.blocks, modulations, strict=True):
            x = block(x, modulation, t, rope, mask[:, None])

        def of_targets(tensor: Tensor) -> Tensor:
            return tensor.unflatten(0, (b, t))[:, first:].flatten(0, 1) if first else tensor

        exists = of_targets(begun[0].flatten()).float()[:, None, None, None]
        tokens = Tokens(
            of_targets(x),
            tuple(of_targets(skip) for skip in skips),
            tuple(of_targets(modulation) for modulation in conditioning.up),
            pixels[rows, index[0, :, first:]].flatten(0, 1) * exists,
            exists,
        )
        contexts = x.unflatten(0, (b, t))[:, :others].flatten(0, 1)
        reward, termination = self._transition(contexts)
        return unflatten_outputs(
            self.predict_frame(tokens), (reward, termination), t - first, others
        )

    def empty_cache(
        self, rows: int, device: torch.device | str = "cpu"
    ) -> list[tuple[Tensor, ...]]:
        """Return zeroed pixels `(b, ages + 1, h, w, c)`, then each block's keys and values.

        There is a slot for each frame that is seen and one for the frame itself.
        """
        config, game = self.config, self.game
        zeros = partial(torch.zeros, dtype=self.embed_absent.dtype, device=device)
        sites = game.height * game.width // config.patch**2
        shape = (rows, config.window + 1, sites, config.heads, config.dim // config.heads)
        pixels = zeros((rows, self.ages + 1, game.height, game.width, game.channels))
        return [(pixels,), *((zeros(shape), zeros(shape)) for _ in range(config.depth))]

    def hide(self, cache: Sequence[tuple[Tensor, ...]], time: Tensor) -> None:
        """Zero what is out of sight, see `Network`."""
        for tensor in chain(*cache):
            hide_slots(tensor, time)

    def cache_position(self, time: Tensor) -> PastPosition:
        """Compute the rows' positions for `step`; `time` counts their frames so far, `(b,)`."""
        config, slots = self.config, self.ages + 1
        rows = torch.arange(len(time), device=time.device)
        ages = torch.arange(1, slots, device=time.device)
        return PastPosition(
            cache_position(time, config.window + 1, config.dim // config.heads),
            (rows, time % slots),
            tuple((rows, (time - age) % slots) for age in range(1, slots)),
            ages[:, None] <= time,
        )

    def look(
        self,
        conditioning: Conditioning,
        actions: Tensor,
        position: PastPosition,
        cache: list[tuple[Tensor, ...]],
    ) -> tuple[PastPosition, PastPosition]:
        """See `Network`: there is no memory to look into."""
        return position, position

    def step(
        self,
        frames: Tensor,
        conditioning: Conditioning,
        actions: Tensor,
        position: PastPosition,
        cache: list[tuple[Tensor, ...]],
    ) -> Tokens:
        """Pass one frame of every row, its past in the cache.

        `predict_frame` and `predict_transition` of what it returns equal `forward`'s last column.
        The frame's own pixels, keys and values go into slot `time % r` of their layer, over those
        of the frame that has just left it, as in `Transformer.step`.

        Args:
            frames: `(b, h, w, c)`.
            conditioning: of the level that all rows are conditioned on.
            actions: `(b,)` int64, the action that led to each frame, as an index of `conditioning`.
            position: each row's; slots older than its first frame count as empty.
            cache: the pixels, then keys and values of each block, written in place.
        """
        (pixels,), *layers = cache
        mine = conditioning.select(actions)
        past = [
            self.embed_past_frames(pixels[at], age, begun)
            for age, (at, begun) in enumerate(zip(position.past, position.begun, strict=True), 1)
        ]
        pixels[position.slot] = frames.to(pixels.dtype)
        x, skips = self.encode(frames, past, mine)
        for block, modulation, layer in zip(
            self.blocks, mine.blocks.unbind(1), layers, strict=True
        ):
            x = block.step(x, modulation, position.attention, layer)  # type: ignore[operator]
        begun = position.begun[0].float()[:, None, None, None]
        return Tokens(x, skips, mine.up, pixels[position.past[0]] * begun, begun)
