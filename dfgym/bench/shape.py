"""A world of random weights in any shape: what a bench needs where there is no world to measure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta

from dfgym.checks import check, shorten
from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.model.network import build
from dfgym.world import bundle
from dfgym.world.card import (
    Actions,
    Card,
    Episode,
    Files,
    Frames,
    Rewards,
    Sampler,
    Source,
)

NAME = "shape-random-v0"
DENOISING_STEPS = 2
SPREAD = 0.02
"""The deviation of what is added to the initial weights, many of which are 0."""
END_LOGIT = -20.0
"""The logit of an episode's end, which is rare so that steps are timed and not resets."""
EPISODES, LENGTH = 4, 8


@dataclass(frozen=True)
class Shape:
    """A world's sizes; the defaults are those that the documentation of speed measures."""

    frame: str | None = None
    """Time a world of random weights with frames of this height x width x 3, like 64x64x3."""
    window: int | None = None
    """Past frames that a frame attends to; 4 if left out. Like the next five, only with --frame."""
    dim: int | None = None
    """Width of the network; 96 if left out."""
    depth: int | None = None
    """Blocks of the network; 4 if left out."""
    heads: int | None = None
    """Attention heads; 4 if left out."""
    patch: int | None = None
    """Cells on a side of a token; 8 if left out."""
    actions: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Number of actions; 4 if left out."""

    def __post_init__(self) -> None:
        """Refuse flags that would be without effect."""
        check(self, ConfigError)
        if self.frame is None:
            for name, value in vars(self).items():
                if value is not None:
                    raise ConfigError(
                        f"{name} is {value} and there is no frame: a world has its own {name}, so "
                        "give --frame too, like 64x64x3, or leave it out"
                    )

    def card(self) -> Card:
        """Return the card of such a world.

        Raises:
            ConfigError: the frame is malformed.
            WorldError: a size is out of range, or sizes do not fit each other.
        """
        frame = self.frame or ""
        sizes = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})x3", frame, re.ASCII)
        if not sizes:
            raise ConfigError(
                f"frame is {shorten(frame)}; give height x width x 3 (frames are RGB), like 64x64x3"
            )
        height, width = map(int, sizes.groups())
        actions = 4 if self.actions is None else self.actions
        dials: dict[str, Any] = {"dim": 96, "depth": 4, "heads": 4, "patch": 8, "window": 4}
        dials |= {k: v for k, v in vars(self).items() if k in dials and v is not None}
        return Card(
            name=NAME,
            description="Random weights, to be timed.",
            source=Source(env="DFTest/Shape-v0", kwargs={}, versions={}, extra="", licence="none"),
            frames=Frames(height=height, width=width, observation_scale=1, fps=10, palette=()),
            actions=Actions(
                n=actions, meanings=tuple(f"action {i}" for i in range(actions)), keys={}
            ),
            episode=Episode(max_steps=500),
            rewards=Rewards(values=(-1.0, 0.0, 1.0)),
            model=ModelConfig(**dials),
            sampler=Sampler(
                denoising_steps=DENOISING_STEPS, shift=1.0, context_mode="clean", context_noise=0.0
            ),
            files=Files(weights="0" * 64, starts="0" * 64),
            data={},
            training={},
            measured={},
        )


def write(folder: Path, card: Card, seed: int = 0) -> None:
    """Write a world of random weights and starts; equal seeds write equal worlds.

    Raises:
        WorldError: the folder exists already.
    """
    bundle.write(folder, card, weights(card, seed), starts(card, seed))


def weights(card: Card, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random weights by which no output is constant and episodes hardly ever end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - the fork gives it back
        state = build(card.model, card.game_spec).state_dict()
        result = {name: value + SPREAD * torch.randn_like(value) for name, value in state.items()}
    (last,) = (name for name in result if name.split(".")[-2:] == ["head_out", "bias"])
    result[last][-1] = END_LOGIT
    return result


def starts(card: Card, seed: int = 0) -> bundle.Starts:
    """Return held-out episodes of nothing but noise."""
    rng = np.random.default_rng(seed)
    shape = (EPISODES * LENGTH, card.frames.height, card.frames.width, 3)
    return bundle.Starts(
        frames=rng.integers(256, size=shape, dtype=np.uint8),
        actions=card.actions.sample(rng, shape[0]),
        offsets=np.arange(0, EPISODES * LENGTH + 1, LENGTH),
        seeds=np.arange(EPISODES),
    )
