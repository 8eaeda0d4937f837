"""A real game as a recording shows it, made again by its description alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dfgym.checks import convert
from dfgym.errors import ConfigError
from dfgym.games.source import Opening, open_source
from dfgym.games.spaces import to_gymnasium

ENTRY_POINT = "dfgym.games.recorded:RecordedEnv"


class RecordedEnv(gym.Env[np.ndarray, Any]):
    """A real game with the frames, uint8 `(h, w, 3)`, and actions of a recording of it.

    Args:
        opening: the fields of `dfgym.games.source.Opening`.
        render_mode: `rgb_array`, which draws the same frames, or None.

    Raises:
        ConfigError: the opening is malformed, or names a module that is neither known nor trusted.
        MissingPackageError: the game's package is missing.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  Gymnasium's form

    def __init__(self, opening: Mapping[str, Any], render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode is {render_mode!r}; expected 'rgb_array' or None")
        self.render_mode = render_mode
        self.source = open_source(convert(Opening, dict(opening), ConfigError, "opening"))
        self.action_space = to_gymnasium(self.source.actions)
        shape = self.reset(seed=0)[0].shape
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; the options are the game's own."""
        super().reset(seed=seed)
        observation, info = self.source.env.reset(seed=seed, options=options)
        self._frame = self.source.frame(observation)
        return self._frame.copy(), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Step the game.

        Raises:
            ActionError: the action is of another form or out of range.
        """
        row = self.source.actions.row(action)
        observation, reward, *end, info = self.source.env.step(self.source.to_env(row))
        self._frame = self.source.frame(observation)
        return self._frame.copy(), float(reward), bool(end[0]), bool(end[1]), info

    def render(self) -> np.ndarray | None:
        """Draw the current frame."""
        return None if self.render_mode is None else self._frame.copy()

    def close(self) -> None:
        """Close the game."""
        self.source.env.close()


def recorded_spec(meta: Mapping[str, Any]) -> EnvSpec | None:
    """Return what `gymnasium.make` makes a recording's game of; None if it was imported.

    Args:
        meta: the recording's `meta.json`.
    """
    names = ("env", "kwargs", "module", "wrappers", "image_key", "render", "filter")
    opening: dict[str, Any] = {name: meta[name] for name in names if name in meta}
    if "kwargs" not in opening:
        return None
    opening["size"] = list(meta["frame_shape"][:2])
    limit = meta.get("max_episode_steps")
    return EnvSpec(
        "DFRecorded-v0", ENTRY_POINT, kwargs={"opening": opening}, max_episode_steps=limit
    )
