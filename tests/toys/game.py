"""A toy world of the real game's size, and two small games, all with ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym.model.config import ModelConfig
from dfgym.world import bundle
from dfgym.world.card import Frames, Source
from toys.world import PALETTE, toy_card, toy_starts, toy_weights

NAME = "toy-minatar-breakout-v0"  # with the game in its name, for the scripted player
DREAM, REAL = f"DFWorld/{NAME}", f"DFReal/{NAME}"
HIDDEN, LENGTHS = "DFTest/Hidden-v0", "DFTest/Lengths-v0"
MAX_STEPS = 40


@pytest.fixture(scope="module")
def toy_ids(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Register a world of random weights under both of its ids, and the two games.

    Yields:
        The world's folder.
    """
    path = tmp_path_factory.mktemp("shelf") / NAME
    card = toy_card(
        name=NAME,
        source=Source(
            env="DFSource/MinAtar-Breakout-v0", kwargs={}, versions={}, extra="minatar", licence=""
        ),
        frames=Frames(height=10, width=10, observation_scale=4, fps=15, palette=PALETTE),
        model=ModelConfig(dim=16, depth=1, heads=2, patch=5, window=2),
    )
    bundle.write(path, card, toy_weights(card), toy_starts(card))
    dream = gym.spec("DFWorld-v0")
    common: dict[str, Any] = {"kwargs": {"world": str(path)}, "max_episode_steps": MAX_STEPS}
    gym.register(DREAM, dream.entry_point, vector_entry_point=dream.vector_entry_point, **common)
    gym.register(REAL, "dfgym.env.real:RealEnv", **common)
    gym.register(HIDDEN, f"{__name__}:Hidden")
    gym.register(LENGTHS, f"{__name__}:Lengths")
    yield path
    for env_id in (DREAM, REAL, HIDDEN, LENGTHS):
        del gym.registry[env_id]


class Hidden(gym.Env[np.ndarray, Any]):
    """Eight steps; action 1 is rewarded while the last rows are bright, and else action 0."""

    observation_space = gym.spaces.Box(0, 255, (40, 40, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.remaining = 8
        return self._frame(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.bright)
        self.remaining -= 1
        return self._frame(), reward, self.remaining == 0, False, {}

    def _frame(self) -> np.ndarray:
        self.bright = int(self.np_random.integers(2))
        frame = np.zeros((40, 40, 3), np.uint8)
        frame[36:] = 255 * self.bright
        return frame


class Lengths(gym.Env[np.ndarray, Any]):
    """Episodes of reward 1 a step: 20 steps where the seed is odd, 1 where it is even."""

    observation_space = gym.spaces.Box(0, 255, (40, 40, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)
    length = 0

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.length = 20 if seed % 2 else 1
        self.remaining = self.length
        return np.zeros((40, 40, 3), np.uint8), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.remaining -= 1
        return np.zeros((40, 40, 3), np.uint8), 1.0, self.remaining == 0, False, {}
