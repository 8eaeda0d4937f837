"""Agents that Stable-Baselines3 saved.

Its zip files hold pickles, and to load one is to run what its author put there: load none but your
own. That is why only `agents/` does it, and only with a path that the caller spelled out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3 as sb3
from stable_baselines3.common.base_class import BaseAlgorithm

ALGORITHMS = ("a2c", "dqn", "ppo")


class SavedAgent:
    """Plays as its policy does without chance; frames are enlarged to the size it learned at."""

    def __init__(self, model: BaseAlgorithm, scale: int) -> None:
        self.model, self.scale = model, scale

    @property
    def num_actions(self) -> int:
        """How many actions it chooses from."""
        assert isinstance(self.model.action_space, gym.spaces.Discrete)
        return int(self.model.action_space.n)

    def __call__(self, observation: np.ndarray) -> int:
        """Choose an action, from 0."""
        if self.scale > 1:
            observation = observation.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        action, _ = self.model.predict(observation, deterministic=True)
        return int(action)


def load(algorithm: str, path: str | Path, observation_space: gym.Space[Any]) -> SavedAgent:
    """Load an agent to play an environment.

    Args:
        algorithm: one of `ALGORITHMS`.
        path: the zip file that SB3's `save` wrote.
        observation_space: of the environment; its images may be smaller than the agent's by a
            whole factor.

    Raises:
        ValueError: the algorithm is unknown, the file is not such a zip, or the spaces differ.
        FileNotFoundError: there is no such file.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm {algorithm!r} must be one of {', '.join(ALGORITHMS)}")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}; give the zip that SB3's save() wrote")
    model = getattr(sb3, algorithm.upper()).load(path, device="cpu")
    if not isinstance(model.action_space, gym.spaces.Discrete):
        raise ValueError(f"{path} has actions {model.action_space}; they must be Discrete")
    learned, seen = list(model.observation_space.shape or ()), list(observation_space.shape or ())
    if learned == seen:
        return SavedAgent(model, 1)
    if len(learned) == len(seen) == 3:
        if learned[0] == seen[2]:  # SB3 keeps images as c h w
            learned = [*learned[1:], learned[0]]
        scale = learned[0] // seen[0]
        if scale and learned == [seen[0] * scale, seen[1] * scale, seen[2]]:
            return SavedAgent(model, scale)
    raise ValueError(
        f"{path} learned from observations {learned} and the environment's are {seen}; "
        "they must be equal, or images that differ by a whole factor"
    )
