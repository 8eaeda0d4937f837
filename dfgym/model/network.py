"""What every network can do, and how one is built from its sizes."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dfgym.model.config import GameSpec, ModelConfig
from dfgym.model.multiscale import Multiscale
from dfgym.model.recurrent import Recurrent
from dfgym.model.transformer import FramePrediction, Transformer


class Network(Protocol):
    """What steps a world's frames; each kind of network has a past of its own form.

    A past is a sequence of caches: tuples of tensors `(b, ...)`. A pass over a row's frame number
    `time` reads what the passes over the frames before it have left, and writes the frame's own
    part alone, so that successors see the frame as the last pass over it did, and what a pass reads
    no other pass over the same frame changes. What is attended to has a slot for each frame of the
    window and one for the frame itself, `time % r`; where only the last frame's counts, two slots
    take turns. What a pass returns is for `predict_frame` and `predict_transition` alone to read.

    In training a network is called with the copies of whole sequences, `NoisedSequences`. With a
    number of `targets` it predicts the pictures of that many copies, the last ones, which no other
    copy sees, and reward and termination of those before them; else both of all.
    """

    def empty_cache(self, rows: int, device: torch.device) -> Sequence[tuple[Tensor, ...]]:
        """Return the past of `rows` rows that have none, all zeros."""

    def conditioning(self, tau: float, actions: Tensor | None = None) -> Any:
        """Precompute what `step` needs of a signal level, and of actions `(n, parts)`."""

    def cache_position(self, time: Tensor) -> Any:
        """Precompute what `step` needs of the rows' positions in time, int64 `(b,)`."""

    def hide(self, cache: Sequence[tuple[Tensor, ...]], time: Tensor) -> None:
        """Zero in place all of a cache that the pass over frame number `time`, `(b,)`, ignores."""

    def look(self, conditioning: Any, actions: Tensor, position: Any, cache: Any) -> Any:
        """Look up what all passes over one frame of every row read, whatever the frame.

        Returns two positions that hold it: one for the passes after which another follows, and one
        for the last. With `cache_position`'s own, which suits any pass, `step` looks by itself.
        """

    def step(
        self, frames: Tensor, conditioning: Any, actions: Tensor, position: Any, cache: Any
    ) -> Any:
        """Pass one frame of every row; returns its last tokens and writes the cache in place."""

    def predict_frame(self, x: Any) -> FramePrediction:
        """Predict the clean frames from last tokens."""

    def predict_transition(self, x: Any) -> tuple[Tensor, Tensor]:
        """Predict reward, logits `(b, R)`, and termination, logits `(b,)`, from last tokens."""


def build(config: ModelConfig, game: GameSpec) -> Transformer | Recurrent | Multiscale:
    """Build a network with fresh weights.

    Raises:
        ConfigError: the network cannot be built for the game.
    """
    config.check_game(game)
    match config.kind:
        case "transformer":
            return Transformer(config, game)
        case "recurrent":
            return Recurrent(config, game)
        case "multiscale":
            return Multiscale(config, game)


def build_empty(config: ModelConfig, game: GameSpec) -> Transformer | Recurrent | Multiscale:
    """Build a network on the meta device: shapes, for weights that come from a file."""
    with torch.device("meta"), _NoInitialisation():
        return build(config, game)


@functools.lru_cache(maxsize=32)  # every environment asks, for what its memory will be
def weight_shapes(config: ModelConfig, game: GameSpec) -> Mapping[str, tuple[int, ...]]:
    """Return the names and shapes of a network's weights; allocates nothing."""
    state = build_empty(config, game).state_dict()
    return MappingProxyType({name: tuple(value.shape) for name, value in state.items()})


class _NoInitialisation(TorchFunctionMode):
    """Leaves tensors as they are instead of initialising them.

    On the meta device that would import torch's compiler, for which every first environment of a
    process would have to wait more than a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a torch function, unless it initialises."""
        kwargs = kwargs or {}
        if func is torch.Tensor.normal_ or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
