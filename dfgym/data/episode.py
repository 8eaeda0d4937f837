"""One episode of a real game, played and recorded step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from dfgym.data.game import Game
from dfgym.games import spaces
from dfgym.games.source import SourcePolicy, WrappedPolicy


class EpisodeArrays(NamedTuple):
    """An episode: frames uint8 `(t, h, w, 3)`, actions and rewards `(t - 1, ...)`, and its end."""

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool
    seed: int
    """That the game was reset with."""


class Tap(gym.Env[Any, Any]):
    """A game's one episode, every step of which is recorded, whatever wrappers stand around it.

    Args:
        game: the game.
        seed: of the episode.
        max_steps: truncate there.
        tick: called once for each frame.
    """

    def __init__(self, game: Game, seed: int, max_steps: int, tick: Callable[[], object]) -> None:
        self.game, self.seed, self.max_steps, self.tick = game, seed, max_steps, tick
        self.source = source = game.source
        self.observation_space = source.env.observation_space
        self.action_space = source.env.action_space
        self.metadata, self.spec = source.env.metadata, source.env.spec
        self.render_mode = source.env.render_mode
        self.frames: list[np.ndarray] = []
        self.actions: list[Any] = []
        self.rewards: list[float] = []
        self.terminated = self.truncated = False

    @property
    def unwrapped(self) -> gym.Env[Any, Any]:
        """The game itself, in which wrappers look for its lives and its generator."""
        return self.source.env.unwrapped

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self.terminated or self.truncated

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the episode, once; a wrapper that wants another one cuts it off."""
        if self.actions:
            self.truncated = not self.terminated
            raise gym.error.ResetNeeded("the episode is over")
        if not self.frames:
            observation, info, frame, self.seed = self.game.reset(self.seed)
            self._begin = observation, info
            self._keep(frame)
        return self._begin

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play an action in the game's own form, as wrappers do."""
        space = self.action_space
        return self.step_row(self.source.actions.row(spaces.shift(space, action, -1)))

    def step_row(self, row: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play an action, as a row."""
        if self.over:
            raise gym.error.ResetNeeded("the episode is over")
        observation, frame, reward, self.terminated, truncated, info = self.game.step(row)
        self._keep(frame)
        self.actions.append(row)
        self.rewards.append(reward)
        late = not self.terminated and len(self.actions) >= self.max_steps
        self.truncated = truncated or late
        return observation, reward, self.terminated, self.truncated, info

    def render(self) -> Any:
        """Draw the game."""
        return self.source.env.render()

    def _keep(self, frame: np.ndarray) -> None:
        self.frames.append(frame)
        self.tick()


def play_episode(
    game: Game,
    policy: SourcePolicy | WrappedPolicy,
    seed: int,
    max_steps: int,
    tick: Callable[[], object] = lambda: None,
) -> EpisodeArrays:
    """Play one episode.

    Args:
        game: the game.
        policy: plays it.
        seed: of the game's reset.
        max_steps: truncate there.
        tick: called once for each frame.

    Raises:
        ConfigError: the game answers wrongly or raises.
    """
    tap = Tap(game, seed, max_steps, tick)
    if isinstance(policy, WrappedPolicy):
        _play_wrapped(tap, policy)
    else:
        observation, _ = tap.reset()
        while not tap.over:
            observation, *_ = tap.step_row(policy(observation, tap.frames[-1]))
    return EpisodeArrays(
        np.stack(tap.frames),
        game.source.actions.stack(tap.actions),
        np.array(tap.rewards, np.float32),
        tap.terminated,
        tap.truncated,
        tap.seed,
    )


def _play_wrapped(tap: Tap, policy: WrappedPolicy) -> None:
    """Play through the player's wrappers: what ends for it, as a life does, need not end here."""
    env = policy.wrap(tap)
    try:
        while not tap.over:
            observation, _ = env.reset(seed=None if tap.frames else tap.seed)
            act, ended = policy.begin(), False
            while not ended:
                observation, _, terminated, truncated, _ = env.step(act(observation))
                ended = bool(terminated or truncated)
    except gym.error.ResetNeeded:  # a wrapper went on, as one that skips frames does
        if not tap.over:
            raise
