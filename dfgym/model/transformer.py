"""The causal video transformer: patch tokens, attention over time, one level for each frame.

Legend: b batch, t frames, h w c a frame, y x the token grid, d width, r slots of a cache, R reward
buckets. Frames come and go as `(b, t, h, w, c)`; inside, batch and time are folded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    cache_position,
    rotary,
)
from dfgym.model.memory import Memory, begun_frames, build_memories
from dfgym.model.slots import Recalled, hide_slots


class FramePrediction(NamedTuple):
    """The predictive distribution over the clean frame: a mixture of outcomes.

    Cells that a chance event changes together change together within an outcome, which cells with
    colour probabilities of their own could not express (a mixture density network, Bishop 1994,
    over whole frames).

    Attributes:
        scores: `(..., m, h, w, c)` of each outcome: colour logits if categorical, else its mean.
        log_weights: `(..., m)`, the logarithm of each outcome's probability.
        categorical: whether channels are colours.
        balanced: whether outcomes are learned as if all were equally likely, see
            `dfgym.train.loss.mixture_loss`.
    """

    scores: Tensor
    log_weights: Tensor
    categorical: bool
    balanced: bool = False

    @property
    def mean(self) -> Tensor:
        """The expected clean frame `(..., h, w, c)`, in [-1, 1]."""
        if not self.categorical:
            return self.scores.squeeze(-4)
        share = self.log_weights.exp()[..., None, None, None]
        return (colour_probabilities(self.scores) * share).sum(-4) * 2 - 1

    @property
    def outcomes(self) -> Tensor:
        """Each outcome's own expected frame `(..., m, h, w, c)`, in [-1, 1]."""
        return colour_probabilities(self.scores) * 2 - 1 if self.categorical else self.scores

    @property
    def entropy(self) -> Tensor:
        """The entropy of the frames that may come, float64 `(n,)`, in nats.

        Outcomes that are drawn alike, in each cell's likeliest colour, count as one.
        """
        weights, cells = self.log_weights.double().softmax(-1), self.scores.max(-1).indices
        same = (cells[:, :, None] == cells[:, None]).flatten(3).all(-1)
        alike = (same * weights[:, None]).sum(2)  # the probability of each outcome's frame
        return -(weights * alike.log()).sum(1)

    def sample(self, uniforms: Tensor) -> Tensor:
        """Sample an outcome and return its own expected frame, `(n, h, w, c)`.

        Args:
            uniforms: `(n,)`, uniform in [0, 1).
        """
        n, m = self.log_weights.shape
        if m == 1:
            return self.mean
        below = self.log_weights.exp().double().cumsum(1)  # ends near 1
        outcome = (below <= uniforms[:, None] * below[:, -1:]).sum(1)
        scores = self.scores[torch.arange(n, device=outcome.device), outcome]
        return colour_probabilities(scores) * 2 - 1


def colour_probabilities(scores: Tensor) -> Tensor:
    """Turn colour logits `(..., h, w, c)` into probabilities.

    On a CPU a softmax over so short a last axis takes many times as long as one before the cells.
    """
    return scores.movedim(-1, -3).softmax(-3).movedim(-3, -1)


class NetworkOutput(NamedTuple):
    """What one pass predicts for every frame of sequences.

    Attributes:
        prediction: of the clean frame, `(b, t)` in front.
        reward: `(b, t, R)` logits of the reward on arrival at the frame.
        termination: `(b, t)` logit of the episode's end at the frame.
    """

    prediction: FramePrediction
    reward: Tensor
    termination: Tensor


def unflatten_outputs(
    prediction: FramePrediction,
    transition: tuple[Tensor, Tensor],
    t: int,
    transitions: int | None = None,
) -> NetworkOutput:
    """Fold the predictions of `b * t` frames back to sequences of `t` frames.

    Args:
        prediction: of the clean frames.
        transition: of reward and termination.
        t: frames of a sequence that are predicted.
        transitions: frames of which reward and termination are; `t` if None.
    """
    scores, log_weights = (
        tensor.unflatten(0, (-1, t)) for tensor in (prediction.scores, prediction.log_weights)
    )
    reward, termination = (tensor.unflatten(0, (-1, transitions or t)) for tensor in transition)
    folded = prediction._replace(scores=scores, log_weights=log_weights)
    return NetworkOutput(folded, reward, termination)


def read_out(
    predict_frame: Callable[[Tensor], FramePrediction],
    predict_transition: Callable[[Tensor], tuple[Tensor, Tensor]],
    x: Tensor,
    t: int,
    targets: int | None,
) -> NetworkOutput:
    """Read off the last tokens `(b * t, y, x, d)` of all copies what a `Network` predicts of them.

    Nobody asks for the pictures of copies that others see, and with many outcomes they take long.
    """
    copies, others = x.unflatten(0, (-1, t)), t - (targets or 0)
    pictures = copies[:, -(targets or t) :].flatten(0, 1)
    return unflatten_outputs(
        predict_frame(pictures),
        predict_transition(copies[:, :others].flatten(0, 1)),
        targets or t,
        others,
    )


def embed_level(embed: nn.Module, tau: Tensor, action: Tensor) -> Tensor:
    """Compute conditions `(n, d)` from levels `(n,)` and embedded actions `(n, d)`.

    Args:
        embed: maps 64 angles to d numbers.
        tau: signal levels.
        action: the embedded actions.
    """
    angle = tau[:, None] * (
        math.pi * torch.logspace(-1, 2, 32, base=2.0, device=tau.device, dtype=tau.dtype)
    )
    return F.silu(embed(torch.cat((angle.cos(), angle.sin()), 1)) + action)


class Conditioning(NamedTuple):
    """Embeddings of one signal level and of A actions, computed once.

    A sampler visits a handful of levels, so what depends on level and action alone need not be
    computed for every row and pass. Of discrete actions these are all, and that none led to a
    frame; of others those that the rows are about to take.

    Attributes:
        tokens: `(A, d)`, added to all tokens of a frame that the action led to.
        modulations: `(A, depth, 3, 2, 1, 1, d)`, of the blocks' norms.
    """

    tokens: Tensor
    modulations: Tensor


class Transformer(nn.Module):
    """Predicts clean frames from noisy ones, each given its level, its action and its past.

    Args:
        config: the dials.
        game: what the game fixes.
        depth: number of blocks; the config's if None.
    """

    def __init__(self, config: ModelConfig, game: GameSpec, depth: int | None = None) -> None:
        super().__init__()
        self.config, self.game = config, game
        d, cell = config.dim, config.patch**2 * game.channels
        self.embed_patch = Convolution(cell, d)
        self.embed_position = nn.Parameter(
            torch.zeros(game.height // config.patch, game.width // config.patch, d)
        )
        self.embed_action = make_embedding(game.actions, d)
        self.embed_level = nn.Sequential(nn.Linear(64, d), nn.SiLU(), nn.Linear(d, d))
        depth = config.depth if depth is None else depth
        self.blocks = nn.ModuleList(Block(d, config.heads) for _ in range(depth))
        self.memory_blocks = build_memories(config, game)
        self.out = Convolution(d, cell, zero=True)
        if config.mixture > 1:  # what each outcome adds; little at first, so that none is lost
            self.out_mixture = Convolution(d, config.mixture * cell)
            nn.init.normal_(self.out_mixture.weight, std=0.1 / math.sqrt(d))
            self.mixture_logits = nn.Linear(d, config.mixture)
            nn.init.zeros_(self.mixture_logits.weight)
            nn.init.zeros_(self.mixture_logits.bias)
        self.head = Convolution(d, d)
        self.head_out = nn.Linear(d, game.rewards + 1)
        nn.init.normal_(self.embed_position, std=0.02)
        if isinstance(self.embed_action, nn.Embedding):
            nn.init.normal_(self.embed_action.weight)
        nn.init.zeros_(self.head_out.weight)

    def embed(self, frames: Tensor) -> Tensor:
        """Embed frames `(n, h, w, c)` as tokens `(n, y, x, d)`."""
        n, h, w, c = frames.shape
        p = self.config.patch
        x = frames.view(n, h // p, p, w // p, p, c).transpose(2, 3).reshape(n, h // p, w // p, -1)
        return self.embed_patch(x) + self.embed_position

    def condition(self, tau: Tensor, action: Tensor) -> Tensor:
        """Compute conditions `(n, d)` from levels `(n,)` and embedded actions `(n, d)`."""
        return embed_level(self.embed_level, tau, action)

    def conditioning(self, tau: float, actions: Tensor | None = None) -> Conditioning:
        """Precompute what `step` needs of a signal level.

        Args:
            tau: the signal level.
            actions: `(n, parts)`, of which the actions of `step` are then the indices; None where
                actions are discrete, and are indices themselves.
        """
        actions = embed_all(self.embed_action, actions)
        condition = self.condition(torch.full_like(actions[:, 0], tau), actions)
        modulations = [self.modulations(block, condition) for block in self.blocks]
        return Conditioning(actions, torch.stack(modulations, 1))

    def memory(self, i: int) -> Memory | None:
        """Return the memory before a block, if there is one."""
        return self.memory_blocks[str(i)] if str(i) in self.memory_blocks else None  # type: ignore[return-value]

    @staticmethod
    def modulations(block: nn.Module, condition: Tensor) -> Tensor:
        """Compute a block's modulations `(n, 3, 2, 1, 1, d)` from conditions `(n, d)`."""
        assert isinstance(block, Block)
        return block.modulations(condition)

    def predict_frame(self, x: Tensor) -> FramePrediction:
        """Predict the clean frames from their last tokens `(n, y, x, d)`."""
        config, game, p = self.config, self.game, self.config.patch
        n, y, width, _ = x.shape
        x = F.layer_norm(x, x.shape[-1:])
        scores = self.out(x)[:, None].float()  # outcomes may differ by little
        if config.mixture > 1:
            outcomes = self.out_mixture(x).float().unflatten(-1, (config.mixture, -1))
            scores = scores + outcomes.permute(0, 3, 1, 2, 4)
            log_weights = self.mixture_logits(x.mean((1, 2))).float().log_softmax(-1)
        else:
            log_weights = x.new_zeros(n, 1, dtype=torch.float32)
        scores = scores.reshape(n, -1, y, width, p, p, game.channels).transpose(3, 4)
        size = (game.height, game.width)
        if game.categorical:  # laid out as `colour_probabilities` goes through them
            scores = scores.movedim(-1, 2).reshape(n, -1, game.channels, *size).movedim(2, -1)
        else:
            scores = scores.reshape(n, -1, *size, game.channels)
        return FramePrediction(scores, log_weights, game.categorical)

    def predict_transition(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict reward, logits `(n, R)`, and termination, logits `(n,)`, from last tokens."""
        x = F.silu(self.head(F.layer_norm(x, x.shape[-1:])))
        heads = self.head_out(x.mean((1, 2))).float()
        return heads[:, :-1], heads[:, -1]

    def encode_sequence(
        self, frames: Tensor, tau: Tensor, actions: Tensor, time: Tensor, mask: Tensor
    ) -> Tensor:
        """Pass whole sequences at once; returns the last tokens of all frames, `(b * t, y, x, d)`.

        Args:
            frames: `(b, t, h, w, c)`, noised to their levels.
            tau: `(b, t)`, the signal level that each frame is conditioned on.
            actions: `(b, t)` int64 or `(b, t, parts)`, the action that led to each frame.
            time: `(b, t)` int64, each frame's position in time.
            mask: `(b, t, t)` bool, True where a frame (row) sees another (column).
        """
        t = frames.shape[1]
        action = self.embed_action(actions.flatten(0, 1))
        condition = self.condition(tau.flatten(), action)
        x = self.embed(frames.flatten(0, 1)) + action[:, None, None]
        rope = rotary(time, self.config.dim // self.config.heads)
        for i, block in enumerate(self.blocks):
            if (memory := self.memory(i)) is not None:
                begun = begun_frames(mask)
                arrivals = action.unflatten(0, (-1, t))[:, : t // 2]
                x = x + memory(x.unflatten(0, (-1, t)), arrivals, begun).flatten(0, 1)
            x = block(x, self.modulations(block, condition), t, rope, mask[:, None])
        return x

    def forward(
        self,
        frames: Tensor,
        tau: Tensor,
        actions: Tensor,
        time: Tensor,
        mask: Tensor,
        targets: int | None = None,
    ) -> NetworkOutput:
        """Predict the frames of whole sequences; arguments as for `encode_sequence`, `Network`."""
        x = self.encode_sequence(frames, tau, actions, time, mask)
        return read_out(self.predict_frame, self.predict_transition, x, frames.shape[1], targets)

    def empty_cache(
        self, rows: int, device: torch.device | str = "cpu"
    ) -> list[tuple[Tensor, ...]]:
        """Return zeroed keys and values of `rows` sequences, and behind them empty memories.

        There is a slot for each past frame of the window and one for the frame itself.
        """
        config = self.config
        sites = self.game.height * self.game.width // config.patch**2
        shape = (rows, config.window + 1, sites, config.heads, config.dim // config.heads)
        zeros = partial(torch.zeros, shape, dtype=self.embed_position.dtype, device=device)
        layers: list[tuple[Tensor, ...]] = [(zeros(), zeros()) for _ in range(config.depth)]
        for memory in self.memory_blocks.values():
            layers.append(tuple(item.to(device) for item in memory.empty_cache(rows)))  # type: ignore[operator]
        return layers

    def hide(self, cache: Sequence[tuple[Tensor, ...]], time: Tensor) -> None:
        """Zero what is out of sight, see `Network`."""
        depth = self.config.depth
        for tensor in chain(*cache[:depth]):
            hide_slots(tensor, time)
        for memory, layer in zip(self.memory_blocks.values(), cache[depth:], strict=True):
            memory.hide(layer, time)  # type: ignore[operator]

    def recall(self, cache: Sequence[tuple[Tensor, ...]], time: Tensor) -> Recalled:
        """Return what its memory holds; `time` counts the rows' frames so far, `(b,)`."""
        for memory, layer in zip(
            self.memory_blocks.values(), cache[self.config.depth :], strict=True
        ):
            return memory.recall(layer, time)  # type: ignore[operator]
        return Recalled()

    def cache_position(self, time: Tensor) -> CachePosition:
        """Compute the rows' positions for `step`; `time` counts their frames so far, `(b,)`."""
        return cache_position(time, self.config.window + 1, self.config.dim // self.config.heads)

    def look(
        self,
        conditioning: Conditioning,
        actions: Tensor,
        position: CachePosition,
        cache: Sequence[tuple[Tensor, ...]],
    ) -> tuple[CachePosition, CachePosition]:
        """Look into the memories, see `Network`; arguments as for `step`."""
        if not self.memory_blocks:
            return position, position
        action = conditioning.tokens[actions]
        layers = zip(self.memory_blocks.values(), cache[len(self.blocks) :], strict=True)
        looked = tuple(memory.look(action, position.memory, layer) for memory, layer in layers)  # type: ignore[operator]
        return position._replace(looked=looked, writes=False), position._replace(looked=looked)

    def step(
        self,
        frames: Tensor,
        conditioning: Conditioning,
        actions: Tensor,
        position: CachePosition,
        cache: Sequence[tuple[Tensor, ...]],
    ) -> Tensor:
        """Pass one frame of every row, its past in the cache.

        `predict_frame` and `predict_transition` of what it returns equal `forward`'s last column.
        The frame's own keys and values go into slot `time % r`, over those of the frame that has
        just left the window. So a denoising pass leaves only what the next pass overwrites, and
        the last pass over a frame, at the level its successors shall see, commits it.

        Args:
            frames: `(b, h, w, c)`.
            conditioning: of the level that all rows are conditioned on.
            actions: `(b,)` int64, the action that led to each frame, as an index of `conditioning`.
            position: each row's; slots older than its first frame count as empty.
            cache: keys and values of each block, then the memories; written in place.

        Returns:
            The last tokens, `(b, y, x, d)`.
        """
        action = conditioning.tokens[actions]
        x = self.embed(frames) + action[:, None, None]
        modulations = conditioning.modulations[actions].unbind(1)
        if position.looked is None:
            position = self.look(conditioning, actions, position, cache)[1]
        looked = iter(position.looked or ())
        memory_caches = iter(cache[len(self.blocks) :])
        for i, (block, modulation) in enumerate(zip(self.blocks, modulations, strict=True)):
            if (memory := self.memory(i)) is not None:
                of_frame, layer = next(looked), next(memory_caches)
                added = memory.read(x, of_frame)
                if position.writes:
                    memory.write(x, of_frame, position.memory, layer)
                x = x + added
            assert isinstance(block, Block)
            keys, values = cache[i]
            x = block.step(x, modulation, position, (keys, values))
        return x
