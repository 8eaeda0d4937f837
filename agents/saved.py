"""Agents that Stable-Baselines3 saved.

Its zip files hold pickles, and to load one is to run what its author put there: load none but your
own. That is why only `agents/` does it, and only with a path that the caller spelled out.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3 as sb3
from stable_baselines3.common.base_class import BaseAlgorithm

from dfgym.errors import ConfigError

ALGORITHMS = ("a2c", "dqn", "ppo")
_MARKS = {"exploration_rate": "dqn", "clip_range": "ppo", "gae_lambda": "a2c"}
"""What SB3 writes of one algorithm and not of those after it."""
_UNLOADABLE = (  # what SB3 and torch raise for a file that is damaged or of something else
    AssertionError, AttributeError, EOFError, ImportError, KeyError, OSError, RuntimeError,
    TypeError, ValueError, zipfile.BadZipFile,
)  # fmt: skip


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
        ConfigError: the algorithm is unknown or another one's, there is no such file or it is no
            such zip, or the spaces differ.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"algorithm {algorithm!r} must be one of {', '.join(ALGORITHMS)}")
    if not Path(path).is_file():
        raise ConfigError(f"there is no file {path}; give the zip that SB3's save() wrote")
    found = _algorithm(path)
    if found not in (None, algorithm):
        raise ConfigError(f"{path} holds an agent of {found}, not of {algorithm}: say {found}")
    try:
        model = getattr(sb3, algorithm.upper()).load(path, device="cpu")
    except _UNLOADABLE as reason:
        raise ConfigError(
            f"{path} cannot be loaded as an agent of {algorithm}: {reason}"
        ) from reason
    if not isinstance(model.action_space, gym.spaces.Discrete):
        raise ConfigError(f"{path} has actions {model.action_space}; they must be Discrete")
    learned, seen = list(model.observation_space.shape or ()), list(observation_space.shape or ())
    if learned == seen:
        return SavedAgent(model, 1)
    if len(learned) == len(seen) == 3:
        if learned[0] == seen[2]:  # SB3 keeps images as c h w
            learned = [*learned[1:], learned[0]]
        scale = learned[0] // seen[0]
        if scale and learned == [seen[0] * scale, seen[1] * scale, seen[2]]:
            return SavedAgent(model, scale)
    raise ConfigError(
        f"{path} learned from observations {learned} and the environment's are {seen}; "
        "they must be equal, or images that differ by a whole factor"
    )


def _algorithm(path: str | Path) -> str | None:
    """The algorithm of an agent's zip, told by the names of its values alone, if it is known."""
    try:
        with zipfile.ZipFile(path) as file:
            values = json.loads(file.read("data"))
    except (KeyError, OSError, ValueError, RecursionError, zipfile.BadZipFile):
        return None  # what is wrong with it, SB3 says
    return next((name for mark, name in _MARKS.items() if mark in values), None)
