"""Real environments brought to one form: discrete actions in, uint8 RGB frames out."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import gymnasium as gym
import numpy as np

from dfgym.errors import ConfigError, DfgymError, MissingPackageError


@dataclass(frozen=True)
class Source:
    """A real environment and how its frames are had.

    Attributes:
        env: the environment, with the wrappers that `gymnasium.make` gives it.
        renders: frames come from `render()`, since the observations are not images.
        size: height and width of the frames; the environment's own if it is None.
    """

    env: gym.Env[Any, Any]
    renders: bool
    size: tuple[int, int] | None

    @property
    def num_actions(self) -> int:
        """How many actions there are; they count from 0 here."""
        return int(self._actions.n)

    @property
    def meanings(self) -> list[str]:
        """What each action does, in the environment's words where it has some."""
        game: Any = self.env.unwrapped
        if hasattr(game, "get_action_meanings"):  # the Arcade Learning Environment's form
            return [str(word).lower() for word in game.get_action_meanings()]
        return list(getattr(game, "action_meanings", map(str, range(self.num_actions))))

    @property
    def _actions(self) -> gym.spaces.Discrete:
        space = self.env.action_space
        assert isinstance(space, gym.spaces.Discrete)
        return space

    def to_env(self, action: int) -> int:
        """The environment's own number for an action."""
        return int(self._actions.start) + action

    def frame(self, observation: Any) -> np.ndarray:
        """The current frame, fresh uint8 `(h, w, 3)`; `observation` is the latest one.

        Raises:
            MissingPackageError: the environment draws with a package that is missing.
        """
        try:
            frame = np.array(self.env.render() if self.renders else observation)
        except gym.error.DependencyNotInstalled as reason:
            raise MissingPackageError(f"{self.env} cannot be drawn: {reason}") from reason
        return frame if self.size is None else resize(frame, self.size)

    def versions(self) -> dict[str, str]:
        """Versions of the packages that the environment, and what it holds, come from."""
        game = self.env.unwrapped
        modules = {type(part).__module__.split(".")[0] for part in (game, *vars(game).values())}
        owners = _owners()
        names = {name for module in modules | {"gymnasium"} for name in owners.get(module, [])}
        return {name.lower(): metadata.version(name) for name in sorted(names)}


def open_source(
    env_id: str, kwargs: Mapping[str, Any] | None = None, size: tuple[int, int] | None = None
) -> Source:
    """Make an environment that can be recorded.

    Args:
        env_id: a Gymnasium id; `module:id` imports the module that registers it.
        kwargs: for `gymnasium.make`.
        size: bring the frames to this height and width.

    Raises:
        ConfigError: the id is unknown, its actions are not discrete, or it shows no frames.
        MissingPackageError: the environment's package is missing.
    """
    if size is not None and not (len(size) == 2 and all(1 <= side <= 512 for side in size)):
        raise ConfigError(f"resize {size!r} must be a height and a width in [1, 512]")
    env = _make(env_id, kwargs)
    try:
        if not isinstance(env.action_space, gym.spaces.Discrete):
            raise ConfigError(
                f"{env_id} has actions {env.action_space}; only Discrete actions can be recorded"
            )
        if _is_image(env.observation_space):
            return Source(env, renders=False, size=size)
        modes = env.metadata.get("render_modes", [])
        if "rgb_array" not in modes:
            raise ConfigError(
                f"{env_id} shows no frames: its observations are {env.observation_space}, not "
                f"uint8 (h, w, 3), and its render modes are {modes}, without 'rgb_array'"
            )
    except ConfigError:
        env.close()
        raise
    env.close()
    # Games that draw with pygame start SDL, which else takes SIGTERM for itself: a training or a
    # recording of theirs could not be ended by `kill`.
    os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")
    return Source(_make(env_id, {**(kwargs or {}), "render_mode": "rgb_array"}), True, size)


def resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a uint8 frame `(h, w, 3)` to another height and width, by the mean over each area.

    Raises:
        MissingPackageError: opencv-python cannot be imported.
    """
    if frame.shape[:2] == size:
        return frame
    try:
        import cv2  # late: it needs system libraries, and few recordings need it
    except ImportError as reason:
        raise MissingPackageError(
            f"resizing frames needs opencv-python, which cannot be imported ({reason}): pip "
            "install opencv-python, and on a bare server the system libraries libGL, glib, xcb"
        ) from reason
    height, width = size
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))


@functools.cache  # half a second, for what does not change
def _owners() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _is_image(space: gym.Space[Any]) -> bool:
    return (
        isinstance(space, gym.spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and space.shape[2] == 3
    )


def _make(env_id: str, kwargs: Mapping[str, Any] | None) -> gym.Env[Any, Any]:
    if env_id.count(":") > 1:
        raise ConfigError(f"{env_id!r} is no Gymnasium id; it must look like id or module:id")
    limit = (kwargs or {}).get("max_episode_steps")
    if limit is not None and (type(limit) is not int or limit < 1) and limit != -1:
        raise ConfigError(
            f"max_episode_steps is {limit!r} in env_kwargs; it must be at least 1, or -1 for no "
            "limit; leave it out for the environment's own"
        )
    try:
        return gym.make(env_id, disable_env_checker=True, **(kwargs or {}))
    except DfgymError:
        raise
    except (ImportError, gym.error.DependencyNotInstalled) as reason:
        raise MissingPackageError(f"{env_id} needs a package that is missing: {reason}") from reason
    except (gym.error.Error, TypeError) as reason:  # TypeError: a keyword that it does not take
        raise ConfigError(f"{env_id!r} with {dict(kwargs or {})}: {reason}") from reason
