"""Action spaces of every kind, and a game that can have any of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym.games.spaces import describe, shift
from dfgym.train.pack import draft_actions
from dfgym.world import bundle
from dfgym.world.bundle import Starts
from dfgym.world.card import Episode, Frames, Source
from toys.world import toy_card, toy_weights

SPACES: dict[str, gym.Space[Any]] = {
    "discrete": gym.spaces.Discrete(5, start=2),
    "multi-discrete": gym.spaces.MultiDiscrete(np.array([3, 4]), start=np.array([1, -2])),
    "multi-discrete of rows": gym.spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])),
    "multi-binary": gym.spaces.MultiBinary(4),
    "multi-binary of rows": gym.spaces.MultiBinary((2, 2)),
    "box": gym.spaces.Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32)),
    "box of rows": gym.spaces.Box(-1, 1, (2, 2), np.float64),
    "one number": gym.spaces.Box(0, 1, ()),
    "whole numbers": gym.spaces.Box(-1, 3, (2,), np.int32),
    "dict": gym.spaces.Dict(
        keys=gym.spaces.MultiBinary(3),
        mouse=gym.spaces.Box(-0.1, 0.1, (2,), np.float64),
        go=gym.spaces.Discrete(3, start=5),
    ),
    "tuple": gym.spaces.Tuple(
        (
            gym.spaces.Discrete(2),
            gym.spaces.Dict(
                a=gym.spaces.Box(-1, 1, (1,)), b=gym.spaces.MultiDiscrete(np.array([2, 2]))
            ),
        )
    ),
}
"""Small action spaces of every kind that can be recorded, by a name for each."""


class Marker(gym.Env[np.ndarray, Any]):
    """A bright square whose place in a frame of 8 x 8 and whose row is the last action's doing.

    The parts of the action, each as a share of its range, move the square across: it is drawn where
    their mean points. The reward is that mean, rounded to a tenth.

    Args:
        kind: a key of `SPACES`, since keywords on a card are plain values.
        length: steps until the episode ends.
        render_mode: nothing.
    """

    metadata = {"render_modes": [], "render_fps": 5}  # noqa: RUF012

    def __init__(self, kind: str = "box", length: int = 6, render_mode: str | None = None) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
        self.action_space, self.length = SPACES[kind], length
        self.described = describe(self.action_space, "Marker")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self._draw(0.0), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), (action, self.action_space)
        row = self.described.row(shift(self.action_space, action, -1))
        values = zip(np.atleast_1d(row), self.described.parts, strict=True)
        shares = [x / max(p.n - 1, 1) if p.n else (x - p.low) / (p.high - p.low) for x, p in values]
        mean = float(np.mean(shares))
        self.count += 1
        return self._draw(mean), round(mean, 1), self.count >= self.length, False, {}

    def _draw(self, place: float) -> np.ndarray:
        frame = np.zeros((8, 8, 3), np.uint8)
        column = round(place * 6)
        frame[3:5, column : column + 2] = 255
        return frame


MARKER = "DFTest/Marker-v0"


def marker_world(kind: str, path: Path) -> Path:
    """Write a world of random weights with such actions, whose starts are real episodes."""
    space = describe(SPACES[kind], kind)
    palette = ((0, 0, 0), (255, 255, 255))
    card = toy_card(
        source=Source(env=MARKER, kwargs={"kind": kind}, versions={}, extra="", licence="none"),
        frames=Frames(height=8, width=8, observation_scale=5, fps=5, palette=palette),
        actions=draft_actions(space, {}),
        episode=Episode(max_steps=6),
    )
    env, random, episodes = Marker(kind), np.random.default_rng(0), []
    for seed in range(3):
        frames, rows = [env.reset(seed=seed)[0]], []
        for _ in range(env.length):
            rows.append(space.sample(random))
            frames.append(env.step(shift(env.action_space, space.native(rows[-1])))[0])
        episodes.append((np.stack(frames), space.stack([*rows, np.zeros_like(rows[0])])))
    starts = Starts(
        np.concatenate([frames for frames, _ in episodes]),
        np.concatenate([rows for _, rows in episodes]),
        np.arange(0, 3 * (env.length + 1) + 1, env.length + 1),
        np.arange(3),
    )
    weights = toy_weights(card)
    weights["head_out.bias"][-1] = -20.0  # the logit of an end
    bundle.write(path, card, weights, starts)
    return path


@pytest.fixture
def marker_id() -> Iterator[str]:
    """Register the game whose frames show its last action."""
    gym.register(MARKER, f"{__name__}:Marker")
    yield MARKER
    del gym.registry[MARKER]
