"""The networks, built from what a world's card says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from dfgym.errors import ConfigError
from dfgym.model.transformer import Transformer, TransformerConfig

if TYPE_CHECKING:
    from dfgym.world.card import Card

__all__ = [
    "Transformer",
    "TransformerConfig",
    "build",
    "build_empty",
    "network_config",
    "weight_shapes",
]


def network_config(card: Card) -> TransformerConfig:
    """Read the network's configuration off a card.

    Raises:
        ConfigError: a model kind that this version does not know.
    """
    match card.model.kind:
        case "transformer":
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
            )
        case kind:
            raise ConfigError(f"model kind is {kind!r}; allowed is 'transformer'")


def build(card: Card) -> Transformer:
    """Build a card's network with fresh weights."""
    return Transformer(network_config(card))


def build_empty(card: Card) -> Transformer:
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
