"""A game that counts its steps, for the tests of recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest


class Counter(gym.Env[np.ndarray, Any]):
    """Shows the number of its steps, always in the same array; ends after `length` of them."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012

    def __init__(
        self,
        length: int = 6,
        images: bool = True,
        start: int = 0,
        space: gym.Space[Any] | None = None,
        render_mode: str | None = None,
        size: tuple[int, int] = (3, 4),
    ) -> None:
        self.length, self.images, self.render_mode = length, images, render_mode
        self.picture = np.zeros((*size, 3), np.uint8)
        image = gym.spaces.Box(0, 255, self.picture.shape, np.uint8)
        self.observation_space = image if images else gym.spaces.Box(0, 1, (2,))
        self.action_space = space or gym.spaces.Discrete(3, start=start)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.count += 1
        return self._observe(), float(action) + 0.5, self.count >= self.length, False, {}

    def render(self) -> Any:
        return self.picture.copy() if self.render_mode == "rgb_array" else None

    def _observe(self) -> np.ndarray:
        self.picture[:] = self.count
        return self.picture if self.images else np.zeros(2, np.float32)


class Dark(Counter):
    """A game that cannot be drawn."""

    metadata = {"render_modes": []}  # noqa: RUF012


@pytest.fixture
def counter_ids() -> Iterator[None]:
    """Register the games that count, one of them with a limit of 4 steps."""
    gym.register("DFTest/Counter-v0", "toys.counter:Counter")
    gym.register("DFTest/Timed-v0", "toys.counter:Counter", max_episode_steps=4)
    gym.register("DFTest/Dark-v0", "toys.counter:Dark")
    yield
    for name in ("Counter", "Timed", "Dark"):
        del gym.registry[f"DFTest/{name}-v0"]
