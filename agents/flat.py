"""Actions that Stable-Baselines3's agents know, for games whose actions they do not.

Its agents choose `Discrete`, or lists: of choices, of switches, of values. So a `Dict` or a `Tuple`
of choices becomes a list of choices, and a table of values a list of them. Where actions have both,
or whole numbers, every part becomes a value in [-1, 1]: of a choice among n, each n-th of the range
is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from dfgym.actions import ActionSpace
from dfgym.errors import ConfigError
from dfgym.games.spaces import describe, shift

Reader = Callable[[Any], np.ndarray]
"""From a batch of an agent's actions to rows of the game's, see `dfgym.actions`."""


def flatten(space: gym.Space[Any], where: str) -> gym.Space[Any]:
    """Return the space that an agent learns in: the game's own where agents know it.

    Args:
        space: the game's.
        where: the environment's name, for errors.

    Raises:
        ConfigError: the game's actions are of no kind that can be learned.
    """
    described = describe(space, where)
    lists = len(described.shape) == 1 and described.dtype.startswith("float")
    if described.is_discrete or (lists and not described.spaces):
        return space
    parts = described.parts
    if all(item.n for item in parts):
        return gym.spaces.MultiDiscrete([item.n for item in parts])
    low, high = described.bounds.astype(np.float32)
    if not any(item.n for item in parts) and described.dtype.startswith("float"):
        return gym.spaces.Box(low, high)
    return gym.spaces.Box(-1, 1, (len(parts),), np.float32)


def find_reader(agent: gym.Space[Any], space: gym.Space[Any], where: str) -> Reader:
    """Return the function that reads an agent's actions.

    Args:
        agent: the space that the agent learned in.
        space: the game's.
        where: the environment's name, for errors.

    Raises:
        ConfigError: the agent learned in another space than `flatten` makes of the game's.
    """
    own = describe(space, where)
    expected, flat = flatten(space, where), describe(agent, "the agent")
    if flat != describe(expected, where):
        raise ConfigError(f"the agent learned with actions {agent}, and {where} has {expected}")
    if flat.parts == own.parts:  # in the same order, so rows are the same
        return lambda actions: flat.rows(np.asarray(actions), len(actions))
    return lambda actions: _stretch(own, np.asarray(actions, np.float64))


def to_batch(space: gym.Space[Any], described: ActionSpace, rows: np.ndarray) -> Any:
    """Return rows as SB3's vectorised environments take them: an array, or a list of actions."""
    if described.spaces:
        return [shift(space, described.native(row)) for row in rows]
    return shift(space, described.native(rows))


def _stretch(space: ActionSpace, actions: np.ndarray) -> np.ndarray:
    low, high = space.bounds
    share = (np.clip(actions, -1, 1) + 1) / 2
    counts = np.array([item.n for item in space.parts])
    choices = np.minimum(np.floor(share * counts), np.maximum(counts - 1, 0))
    return space.round(np.where(counts > 0, choices, low + share * (high - low)))


class FlatActions(VecEnvWrapper):
    """Environments whose actions are flat; those that agents know as they are stay so."""

    def __init__(self, venv: VecEnv, where: str) -> None:
        self._game = venv.action_space
        self._described = describe(self._game, where)
        super().__init__(venv, action_space=flatten(self._game, where))
        self._read = find_reader(self.action_space, self._game, where)

    def reset(self) -> Any:
        """Begin episodes."""
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        """Step with the game's own form of the actions."""
        batch: Any = to_batch(self._game, self._described, self._read(actions))
        self.venv.step_async(batch)

    def step_wait(self) -> VecEnvStepReturn:
        """Return what came of it."""
        return self.venv.step_wait()
