"""Toy worlds whose episodes end by the time limit alone, and how to play them, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfgym.model.config import ModelConfig
from dfgym.play.session import Session
from dfgym.play.timeline import RealMoment
from dfgym.world import bundle, shelf
from dfgym.world.card import Episode
from dfgym.world.settings import Settings
from toys.world import toy_card, toy_starts, toy_weights

MAX_STEPS = 60
ACTIONS = [2, 2, 1, 0, 2, 1, 1, 0, 0, 1, 2, 0, 1, 1, 2, 0, 0, 2, 1, 2] * 2  # beyond two keyframes


@pytest.fixture(scope="session")
def calm_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a world whose episodes end by the time limit alone."""
    path = tmp_path_factory.mktemp("shelf") / "toy-calm-v0"
    card = toy_card(name="toy-calm-v0", episode=Episode(max_steps=MAX_STEPS))
    weights = toy_weights(card)
    weights["head_out.bias"][-1] = -1000.0  # of termination
    bundle.write(path, card, weights, toy_starts(card))
    return path


@pytest.fixture(scope="session")
def breakout_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a world of random weights that begins where the real game did."""
    path = tmp_path_factory.mktemp("shelf") / "toy-minatar-breakout-v0"
    shipped = shelf.load(shelf.DEFAULT)
    card = toy_card(
        name="toy-minatar-breakout-v0",
        source=shipped.card.source,
        frames=shipped.card.frames,
        actions=shipped.card.actions,
        episode=Episode(max_steps=MAX_STEPS),
        model=ModelConfig(dim=16, depth=1, heads=2, patch=5, window=4),
    )
    weights = toy_weights(card)
    weights["head_out.bias"][-1] = -1000.0
    bundle.write(path, card, weights, shipped.starts)
    return path


def memory_world(folder: Path, name: str) -> Path:
    """Write a world with a memory, or "none", whose episodes end by the time limit alone."""
    size = {"none": 0, "archive": 5, "state_space": 4, "spatial_map": 15}[name]
    model = ModelConfig(16, 2, 2, 4, 2, memory=name, memory_size=size)  # type: ignore[arg-type]
    card = toy_card(model=model, episode=Episode(max_steps=MAX_STEPS))
    weights = toy_weights(card)
    weights["head_out.bias"][-1] = -1000.0
    path = folder / name / card.name
    bundle.write(path, card, weights, toy_starts(card))
    return path


@pytest.fixture
def game(calm_world: Path) -> Session:
    """Return a game of the calm world."""
    return Session(str(calm_world), Settings(device="cpu"), seed=0)


def play(game: Session, actions: Iterable[int]) -> None:
    """Play a step with each of some actions."""
    for number, action in enumerate(actions):
        paused, game.paused = game.paused, True  # in a pause, what was held before is no tap
        game.hold(action, number)
        game.paused = paused
        game.advance()


def frames(game: Session) -> np.ndarray:
    """Return all frames of the running episode."""
    return np.stack([moment.frame for moment in game.timeline.moments])


def read_frame(data: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Split a binary frame into its header and one or two pictures `(h, w, 3)`."""
    size = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + size])
    pixels = np.frombuffer(data[4 + size :], np.uint8)
    side = int((len(pixels) / 3 / (1 + (header["real"] is not None))) ** 0.5)
    return header, list(pixels.reshape(-1, side, side, 3))


def real_moments(game: Session) -> list[RealMoment]:
    """Return what the real game did, frame by frame."""
    moments = [moment.real for moment in game.timeline.moments]
    assert None not in moments
    return [moment for moment in moments if moment is not None]
