"""Real environments in one form: rows of `dfgym.actions` in, uint8 RGB frames out."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import gymnasium as gym
import numpy as np

from dfgym.actions import ActionSpace, Row
from dfgym.errors import ConfigError, DfgymError, MissingPackageError
from dfgym.files import import_cv2
from dfgym.games import spaces

SourcePolicy = Callable[[Any, np.ndarray], Row]
"""Plays one episode: from an environment's observation and its frame to an action, as a row."""
PolicyFactory = Callable[[np.random.SeedSequence], SourcePolicy]
"""Makes the policy of one episode, whose chance follows from the seed."""


@dataclass(frozen=True)
class Source:
    """A real environment, and where its frames come from.

    Attributes:
        env: the environment, with the wrappers that `gymnasium.make` gives it.
        renders: frames come from `render()`, since the observations are not images.
        size: height and width of the frames; the environment's own if it is None.
        actions: the action space; choices count from 0 here.
    """

    env: gym.Env[Any, Any]
    renders: bool
    size: tuple[int, int] | None
    actions: ActionSpace

    @property
    def meanings(self) -> list[str] | None:
        """The meaning of each action, in the environment's words; None if not discrete."""
        if not self.actions.is_discrete:
            return None
        game: Any = self.env.unwrapped
        if hasattr(game, "get_action_meanings"):  # the Arcade Learning Environment's form
            return [str(word).lower() for word in game.get_action_meanings()]
        return list(getattr(game, "action_meanings", map(str, range(self.actions.count))))

    def to_env(self, row: Row) -> Any:
        """Return an action in the environment's own form and numbers."""
        return spaces.shift(self.env.action_space, self.actions.native(row))

    def frame(self, observation: Any) -> np.ndarray:
        """Return the current frame, fresh uint8 `(h, w, 3)`.

        Args:
            observation: the environment's latest one.

        Raises:
            MissingPackageError: The environment draws with a package that is missing.
        """
        try:
            frame = np.array(self.env.render() if self.renders else observation)
        except gym.error.DependencyNotInstalled as reason:
            raise MissingPackageError(f"{self.env} cannot be drawn: {reason}") from reason
        return frame if self.size is None else resize(frame, self.size)

    @property
    def can_redraw(self) -> bool:
        """Whether the environment can draw its chance anew in mid-episode (see `redraw`)."""
        return hasattr(self.env.unwrapped, "redraw")

    def redraw(self, seed: int) -> None:
        """Let every chance from here on, in this episode, follow from another seed."""
        game: Any = self.env.unwrapped
        game.redraw(seed)

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages of the environment and of the objects it holds."""
        game = self.env.unwrapped
        modules = {type(item).__module__.split(".")[0] for item in (game, *vars(game).values())}
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
        ConfigError: The id is unknown, its actions are of no kind that can be learned or have no
            bounds, or it shows no frames.
        MissingPackageError: The environment's package is missing.
    """
    if size is not None and not (len(size) == 2 and all(1 <= side <= 512 for side in size)):
        raise ConfigError(f"`resize` is {size!r}; expected a height and a width in [1, 512]")
    env = _make(env_id, kwargs)
    try:
        actions = spaces.describe(env.action_space, env_id)
        if _is_image(env.observation_space):
            return Source(env, renders=False, size=size, actions=actions)
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
    # Games that draw with pygame start SDL, which otherwise handles SIGTERM itself, so that `kill`
    # could not end a training or a recording.
    os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")
    env = _make(env_id, {**(kwargs or {}), "render_mode": "rgb_array"})
    return Source(env, renders=True, size=size, actions=actions)


def resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a uint8 frame `(h, w, 3)` to another height and width, by the mean over each area.

    Raises:
        MissingPackageError: opencv-python cannot be imported.
    """
    if frame.shape[:2] == size:
        return frame
    cv2 = import_cv2()
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
        raise ConfigError(f"`env` is {env_id!r}; expected a Gymnasium id, as id or module:id")
    limit = (kwargs or {}).get("max_episode_steps")
    if limit is not None and (type(limit) is not int or limit < 1) and limit != -1:
        raise ConfigError(
            f"`max_episode_steps` is {limit!r} in env_kwargs; expected at least 1, or -1 for no "
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
