"""Agents that Stable-Baselines3 saved.

Its zip files hold pickles, and to load one is to run what its author put there: load none but your
own. That is why only `agents/` does it, and only with a path that the caller spelled out.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3 as sb3
from stable_baselines3.common.base_class import BaseAlgorithm

from dfgym.actions import Row
from dfgym.agents.flat import Reader
from dfgym.errors import ConfigError, MissingPackageError

ALGORITHMS = ("a2c", "ddpg", "dqn", "ppo", "sac", "td3")
CONTRIB = {
    "ars": "ARS",
    "crossq": "CrossQ",
    "maskableppo": "MaskablePPO",
    "qrdqn": "QRDQN",
    "recurrentppo": "RecurrentPPO",
    "tqc": "TQC",
    "trpo": "TRPO",
}
"""The algorithms of sb3-contrib, and its classes."""
_MARKS = {"exploration_rate": "dqn", "clip_range": "ppo", "gae_lambda": "a2c"}
"""What SB3 writes of one algorithm and not of those after it."""
_RELATIVES = {"dqn": ("qrdqn",), "ppo": ("maskableppo", "recurrentppo"), "a2c": ("trpo",)}
"""The algorithms of sb3-contrib that write the same."""
_UNLOADABLE = (  # what SB3 and torch raise for a file that is damaged or of something else
    AssertionError, AttributeError, EOFError, ImportError, KeyError, OSError, RuntimeError,
    TypeError, ValueError, zipfile.BadZipFile,
)  # fmt: skip


class SavedAgent:
    """An agent, and how an environment's frames become what it learned from.

    Attributes:
        model: SB3's.
        scale: by how much frames are enlarged.
        frame_stack: how many frames it sees at once, as through SB3's `VecFrameStack`.
    """

    def __init__(self, model: BaseAlgorithm, scale: int = 1, frame_stack: int = 1) -> None:
        self.model, self.scale, self.frame_stack = model, scale, frame_stack

    def choose(self, observations: np.ndarray, greedy: bool) -> np.ndarray:
        """Choose an action for each observation of a batch, or for one without a batch.

        Args:
            observations: `(..., h, w, c * frame_stack)` where they are images, newest frame last.
            greedy: the likeliest action, instead of a sampled one (torch's global generator).
        """
        if self.scale > 1:
            observations = observations.repeat(self.scale, axis=-3).repeat(self.scale, axis=-2)
        return self.model.predict(observations, deterministic=greedy)[0]

    def begin_rows(self, greedy: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Begin to play rows: return the function from observations, and begins, to actions.

        What a recurrent agent remembers of a row is forgotten where an episode begins.
        """
        state: Any = None

        def play(observations: np.ndarray, begins: np.ndarray) -> np.ndarray:
            nonlocal state
            if not self.remembers:
                return self.choose(observations, greedy)
            actions, state = self.model.predict(observations, state, begins, deterministic=greedy)
            return actions

        return play

    def begin(self, read: Reader) -> Callable[[np.ndarray], Row]:
        """Begin an episode and return the function that plays it greedily, in rows, step by step.

        An agent of several frames at once remembers them; those before the first are 0, as
        `VecFrameStack` has them.

        Args:
            read: reads the agent's actions, see `flat.find_reader`.
        """
        if self.remembers:
            return self._begin_recurrent(read)

        def choose(observation: np.ndarray) -> Row:
            return _one(read, self.choose(observation, greedy=True))

        if self.frame_stack == 1:
            return choose
        frames: deque[np.ndarray] = deque(maxlen=self.frame_stack)

        def play(observation: np.ndarray) -> Row:
            if not frames:
                frames.extend([np.zeros_like(observation)] * self.frame_stack)
            frames.append(np.array(observation))
            return choose(np.concatenate(frames, axis=-1))

        return play

    @property
    def remembers(self) -> bool:
        """Whether it is recurrent: then `choose` would have it forget."""
        return hasattr(getattr(self.model, "policy", None), "lstm_actor")

    def _begin_recurrent(self, read: Reader) -> Callable[[np.ndarray], Row]:
        state: Any = None
        start = np.array([True])

        def play(observation: np.ndarray) -> Row:
            nonlocal state
            action, state = self.model.predict(observation, state, start, deterministic=True)
            start[:] = False
            return _one(read, action)

        return play


def _one(read: Reader, action: Any) -> Row:
    row = read(np.asarray(action)[None])[0]
    return row if isinstance(row, np.ndarray) else int(row)


def load(algorithm: str, path: str | Path, observation_space: gym.Space[Any]) -> SavedAgent:
    """Load an agent to play an environment.

    Args:
        algorithm: one of `ALGORITHMS`.
        path: the zip file that SB3's `save` wrote.
        observation_space: of the environment; its images `(h, w, c)` may be smaller than the
            agent's by a whole factor, and have fewer channels by another: then the agent learned
            from so many frames at once.

    Raises:
        ConfigError: the algorithm is unknown or another one's, there is no such file or it is no
            such zip, or the spaces differ.
    """
    if algorithm not in (*ALGORITHMS, *CONTRIB):
        allowed = ", ".join((*ALGORITHMS, *CONTRIB))
        raise ConfigError(f"algorithm is {algorithm!r}; allowed are {allowed}")
    if not Path(path).is_file():
        raise ConfigError(f"there is no file {path}; give the zip that SB3's save() wrote")
    actual = find_algorithm(path)
    if actual is not None and algorithm not in (actual, *_RELATIVES[actual]):
        raise ConfigError(f"{path} holds an agent of {actual}, not of {algorithm}; use {actual}")
    try:
        model = _find_class(algorithm).load(path, device="cpu")
    except _UNLOADABLE as reason:
        raise ConfigError(
            f"{path} cannot be loaded as an agent of {algorithm}: {reason}"
        ) from reason
    agent_shape = model.observation_space.shape or ()
    env_shape = observation_space.shape or ()
    if agent_shape == env_shape:
        return SavedAgent(model)
    if len(agent_shape) == len(env_shape) == 3:
        height, width, channels = env_shape
        # SB3 keeps images as c h w.
        for tall, wide, deep in (agent_shape, agent_shape[1:] + agent_shape[:1]):
            scale, frame_stack = tall // height, deep // channels
            shape = (height * scale, width * scale, channels * frame_stack)
            if shape == (tall, wide, deep) and scale and frame_stack:
                return SavedAgent(model, scale, frame_stack)
    raise ConfigError(
        f"{path} learned from observations {list(agent_shape)} and the environment's are "
        f"{list(env_shape)}; expected equal ones, or images that differ by a whole factor in size, "
        "in channels (frames stacked in an observation), or both"
    )


def _find_class(algorithm: str) -> type[BaseAlgorithm]:
    if algorithm in ALGORITHMS:
        return getattr(sb3, algorithm.upper())
    try:
        contrib = importlib.import_module("sb3_contrib")
    except ImportError as reason:
        raise MissingPackageError(
            f"agents of {algorithm} need the package sb3-contrib: pip install sb3-contrib"
        ) from reason
    return getattr(contrib, CONTRIB[algorithm])


def find_algorithm(path: str | Path) -> str | None:
    """The algorithm of an agent's zip, told by the names of its values alone, if it is known."""
    try:
        with zipfile.ZipFile(path) as file:
            values = json.loads(file.read("data"))
    except (KeyError, OSError, ValueError, RecursionError, zipfile.BadZipFile):
        return None  # what is wrong with it, SB3 says
    return next((name for mark, name in _MARKS.items() if mark in values), None)
