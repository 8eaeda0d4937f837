"""A game that counts its steps, for the tests of recording."""

import gymnasium as gym
import numpy as np
import pytest


class Counter(gym.Env):
    """Shows how many steps it has made, in one and the same array; ends after `length` of them."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012

    def __init__(self, length=6, images=True, start=0, space=None, render_mode=None, size=(3, 4)):
        self.length, self.images, self.render_mode = length, images, render_mode
        self.picture = np.zeros((*size, 3), np.uint8)
        image = gym.spaces.Box(0, 255, self.picture.shape, np.uint8)
        self.observation_space = image if images else gym.spaces.Box(0, 1, (2,))
        self.action_space = space or gym.spaces.Discrete(3, start=start)

    def _see(self):
        self.picture[:] = self.count
        return self.picture if self.images else np.zeros(2, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        self.seen = []
        return self._see(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.count += 1
        reward = float(action) + 0.5
        return self._see(), reward, self.count >= self.length, False, {}

    def render(self):
        return self.picture.copy() if self.render_mode == "rgb_array" else None


class Dark(Counter):
    metadata = {"render_modes": []}  # noqa: RUF012


@pytest.fixture
def counter_ids():
    gym.register("DFTest/Counter-v0", "toys.counter:Counter")
    gym.register("DFTest/Timed-v0", "toys.counter:Counter", max_episode_steps=4)
    gym.register("DFTest/Dark-v0", "toys.counter:Dark")
    yield
    for name in ("Counter", "Timed", "Dark"):
        del gym.registry[f"DFTest/{name}-v0"]
