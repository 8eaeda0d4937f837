"""The real twin of a world: its source game, brought to the world's own spaces."""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import numpy as np

from dfgym.data.source import open_source
from dfgym.errors import ActionError, ConfigError, MissingPackageError, StateError, WorldError
from dfgym.frames import upscale
from dfgym.world import shelf


class RealEnv(gym.Env[np.ndarray, Any]):
    """The real game that a world was learned from, with the same observations and actions.

    Observation: uint8 `(h * scale, w * scale, 3)`; `scale` is the card's `observation_scale`.
    Rewards, ends and `info` are the game's own.

    Args:
        world: a world's name on the shelf, or the path of its folder; only its card is read.
        render_mode: `rgb_array` or None.

    Raises:
        WorldError: there is no such world, or the game's actions are not the card's.
        MissingPackageError: the game's package is missing; the message names the extra.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  Gymnasium's form

    def __init__(
        self, world: str | os.PathLike[str] = shelf.DEFAULT, render_mode: str | None = None
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode {render_mode!r} must be 'rgb_array' or None")
        card = shelf.card(world)
        self.card = card
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": card.frames.fps}
        height, width = card.frames.height, card.frames.width
        self.scale = card.frames.observation_scale
        self.observation_space = gym.spaces.Box(
            0, 255, (height * self.scale, width * self.scale, 3), np.uint8
        )
        self.action_space = gym.spaces.Discrete(card.actions.n)
        self._frame: np.ndarray | None = None
        try:
            self.source = open_source(card.source.env, card.source.kwargs, (height, width))
        except MissingPackageError as reason:
            if not card.source.extra:
                raise
            raise MissingPackageError(
                f"the real game of {card.name} needs more packages: "
                f'pip install "dfgym[{card.source.extra}]" ({reason})'
            ) from reason
        if self.source.num_actions != card.actions.n:
            self.source.env.close()
            raise WorldError(
                f"{card.name} has {card.actions.n} actions and its source {card.source.env} "
                f"{self.source.num_actions}: the card does not fit the installed game"
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode of the real game."""
        super().reset(seed=seed)
        observation, info = self.source.env.reset(seed=seed, options=options)
        self._frame = self.source.frame(observation)
        return self._observation(), info

    def step(
        self, action: int | np.integer[Any]
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Step the real game.

        Raises:
            ActionError: the action is not in the action space; the game has not moved.
        """
        if not self.action_space.contains(action):
            raise ActionError(
                f"action {action!r} must be an integer in [0, {self.card.actions.n - 1}]"
            )
        game_action = self.source.to_env(int(action))
        observation, reward, terminated, truncated, info = self.source.env.step(game_action)
        self._frame = self.source.frame(observation)
        return self._observation(), float(reward), bool(terminated), bool(truncated), info

    def render(self) -> np.ndarray | None:
        """The current observation, in render mode `rgb_array`."""
        return self._observation() if self.render_mode == "rgb_array" else None

    def get_keys_to_action(self) -> dict[str, int]:
        """Which key plays which action, for `gymnasium.utils.play`."""
        return dict(self.card.actions.keys)

    def close(self) -> None:
        """Close the real game."""
        self.source.env.close()

    def _observation(self) -> np.ndarray:
        if self._frame is None:
            raise StateError("there is no frame before the first reset; call reset()")
        return upscale(self._frame, self.scale)
