"""The networks, built from what a world's card says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dfgym.errors import ConfigError
from dfgym.model.transformer import Transformer, TransformerConfig

if TYPE_CHECKING:
    from dfgym.world.card import Card

__all__ = ["Transformer", "TransformerConfig", "build", "network_config", "weight_shapes"]


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


def weight_shapes(card: Card) -> dict[str, tuple[int, ...]]:
    """Names and shapes that a card's weights must have; allocates nothing."""
    with torch.device("meta"):
        network = build(card)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}
