"""A small world of random weights, and the fixture that writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dfgym.bench import shape
from dfgym.model.config import ModelConfig
from dfgym.model.network import build
from dfgym.model.transformer import NetworkOutput
from dfgym.world import bundle
from dfgym.world.bundle import World
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

PALETTE = ((0, 0, 0), (200, 40, 40), (250, 250, 250))


def toy_card(**changes: object) -> Card:
    """Return the card of a toy world, 8 x 8 in three colours; `changes` replace whole fields."""
    parts: dict[str, object] = {
        "name": "toy-random-v0",
        "description": "A toy with random weights, for tests.",
        "source": Source(
            env="DFSource/MinAtar-Breakout-v0", kwargs={}, versions={}, extra="", licence="none"
        ),
        "frames": Frames(height=8, width=8, observation_scale=5, fps=15, palette=PALETTE),
        "actions": Actions(n=3, meanings=("stay", "left", "right"), keys={"a": 1, "d": 2}),
        "episode": Episode(max_steps=100),
        "rewards": Rewards(values=(0.0, 1.0)),
        "model": ModelConfig(dim=16, depth=1, heads=2, patch=2, window=4),
        "sampler": Sampler(denoising_steps=2, shift=1.0, context_mode="clean", context_noise=0.0),
        "files": Files(weights="0" * 64, starts="0" * 64),
        "data": {},
        "training": {},
        "measured": {},
    }
    return Card(**(parts | changes))  # type: ignore[arg-type]


def toy_weights(card: Card, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random weights around the initial ones, so that no output is constant."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = build(card.model, card.game_spec).state_dict()
        return {name: value + 0.2 * torch.randn_like(value) for name, value in state.items()}


def world_in_memory(card: Card) -> World:
    """Return a world of random weights and starts that is in no folder."""
    return World(card, "0" * 64, Path("/nowhere"), shape.weights(card), shape.starts(card))


def tensors(output: NetworkOutput) -> tuple[torch.Tensor, ...]:
    """Return all that a network predicts: scores, log weights, reward and termination."""
    return (*output.prediction[:2], output.reward, output.termination)


def toy_starts(card: Card, episodes: int = 4, frames: int = 12, seed: int = 0) -> bundle.Starts:
    """Return episodes of a bright dot that walks over a striped ground."""
    rng = np.random.default_rng(seed)
    height, width = card.frames.height, card.frames.width
    palette = np.array(card.frames.palette, np.uint8)
    actions = rng.integers(0, card.actions.n, episodes * frames)
    pictures = np.zeros((episodes * frames, height, width), np.int64)
    pictures[:, ::4] = 1
    columns = (np.cumsum(actions == 2) - np.cumsum(actions == 1)) % width
    pictures[np.arange(len(actions)), height - 1, columns] = 2
    offsets = np.arange(0, len(actions) + 1, frames)
    seeds = np.arange(episodes)
    return bundle.Starts(frames=palette[pictures], actions=actions, offsets=offsets, seeds=seeds)


@pytest.fixture(scope="session")
def random_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small world whose weights are random: right in form, senseless in content."""
    path = tmp_path_factory.mktemp("shelf") / "toy-random-v0"
    card = toy_card()
    bundle.write(path, card, toy_weights(card), toy_starts(card))
    return path
