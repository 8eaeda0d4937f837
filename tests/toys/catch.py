"""Catch, a game of one's own in a module that nobody knows: `toys.catch:toys/Catch-v0`.

It is not named in `conftest.py`, so that a fresh process has to import it to open it.
"""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np

SIDE = 8


class Catch(gym.Env[np.ndarray, Any]):
    """A thing falls from a random column to a paddle that moves; an episode is three things."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, side: int = SIDE, render_mode: str | None = None) -> None:
        self.side, self.render_mode = side, render_mode
        self.observation_space = gym.spaces.Box(0, 255, (side, side, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.paddle, self.things = self.side // 2, 0
        self._drop()
        return self._draw(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.paddle = int(np.clip(self.paddle + int(action) - 1, 0, self.side - 1))
        self.row += 1
        reward = 0.0
        if self.row == self.side - 1:
            reward = 1.0 if self.column == self.paddle else -1.0
            self._drop()
        return self._draw(), reward, self.things > 3, False, {}

    def render(self) -> Any:
        return self._draw() if self.render_mode == "rgb_array" else None

    def _drop(self) -> None:
        self.row, self.column = 0, int(self.np_random.integers(self.side))
        self.things += 1

    def _draw(self) -> np.ndarray:
        frame = np.zeros((self.side, self.side, 3), np.uint8)
        frame[self.row, self.column] = (250, 220, 40)
        frame[-1, self.paddle] = (40, 200, 80)
        return frame


class Slow(Catch):
    """A step takes 5 ms, as an emulator's may; an episode is twenty things."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(0.005)
        frame, reward, _, cut, info = super().step(action)
        return frame, reward, self.things > 20, cut, info


class Negative(gym.ObservationWrapper[np.ndarray, Any, np.ndarray]):
    """Light and dark exchanged."""

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return 255 - observation


gym.register("toys/Catch-v0", f"{__name__}:Catch", max_episode_steps=100)


def still(observation: np.ndarray) -> int:
    """Play without moving: a player from a module."""
    return 1


class Drift:
    """Moves to one side for a whole episode, by chance: a player with a state."""

    def __init__(self, seed: int) -> None:
        self.action = 2 * int(np.random.default_rng(seed).integers(2))

    def __call__(self, observation: np.ndarray) -> int:
        return self.action
