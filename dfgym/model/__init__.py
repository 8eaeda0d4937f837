"""The networks, built from what a world's card says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dfgym.errors import ConfigError
from dfgym.model.recurrent import Recurrent
from dfgym.model.transformer import Picture, Transformer, TransformerConfig

if TYPE_CHECKING:
    from dfgym.world.card import Card

__all__ = [
    "Network",
    "Picture",
    "Recurrent",
    "Transformer",
    "TransformerConfig",
    "build",
    "build_empty",
    "network_config",
    "weight_shapes",
]


class Network(Protocol):
    """What steps a world's frames; every kind of model does it, each with a past of its own form.

    A past is a sequence of rings: tuples of tensors `(b, r, ...)`. A pass over a row's frame number
    `time` reads slots of at most the `r - 1` frames before it and writes slot `time % r` alone,
    so that the last pass over a frame is the one that its successors see.
    """

    def empty_rings(self, rows: int, device: torch.device) -> Sequence[tuple[Tensor, ...]]:
        """The past of `rows` rows that have none, all zeros."""

    def told(self, tau: float, jump: int = 0) -> Any:
        """What `step` needs to know of a level and a jump."""

    def now(self, time: Tensor) -> Any:
        """What `step` needs to know of where in time rows are, int64 `(b,)`."""

    def step(self, frames: Tensor, told: Any, actions: Tensor, now: Any, rings: Any) -> Tensor:
        """One pass over one frame a row; the last tokens. Writes the rings in place."""

    def picture(self, x: Tensor) -> Picture:
        """What is said of frames by last tokens."""

    def outcome(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of reward `(b, R)` and termination `(b,)` of last tokens."""


def network_config(card: Card) -> TransformerConfig:
    """Read the network's configuration, which all kinds share, off a card."""
    return TransformerConfig(
        height=card.frames.height,
        width=card.frames.width,
        channels=len(card.frames.palette) or 3,
        categorical=bool(card.frames.palette),
        actions=card.actions.n,
        rewards=len(card.rewards.values),
        dim=card.model.dim,
        depth=card.model.depth,
        heads=card.model.heads,
        patch=card.model.patch,
        window=card.model.window,
        shortcut=card.model.shortcut,
        mixture=card.model.mixture,
    )


def build(card: Card) -> Transformer | Recurrent:
    """Build a card's network with fresh weights.

    Raises:
        ConfigError: a model kind that this version does not know.
    """
    match card.model.kind:
        case "transformer":
            return Transformer(network_config(card))
        case "recurrent":
            return Recurrent(network_config(card))
        case kind:
            raise ConfigError(f"model kind is {kind!r}; allowed are 'transformer', 'recurrent'")


def build_empty(card: Card) -> Transformer | Recurrent:
    """Build a card's network on the meta device: shapes, for weights that come from a file."""
    with torch.device("meta"), _NoDraws():
        return build(card)


def weight_shapes(card: Card) -> dict[str, tuple[int, ...]]:
    """Names and shapes that a card's weights must have; allocates nothing."""
    return {name: tuple(value.shape) for name, value in build_empty(card).state_dict().items()}


class _NoDraws(TorchFunctionMode):
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
