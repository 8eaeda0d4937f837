"""Real environments in one form: rows of `dfgym.actions` in, uint8 RGB frames out."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dfgym.actions import ActionSpace, Row
from dfgym.checks import shorten
from dfgym.errors import ConfigError, DfgymError, MissingPackageError
from dfgym.games import minatar, packages, spaces
from dfgym.games.images import Image, find_image, to_frame
from dfgym.games.resizing import Filter, resize

SourcePolicy = Callable[[Any, np.ndarray], Row]
"""Plays one episode: from an environment's observation and its frame to an action, as a row."""


@dataclass(frozen=True)
class WrappedPolicy:
    """A policy of a game within wrappers of its own, which may skip frames or end at a lost life.

    Attributes:
        wrap: puts the wrappers around the game.
        begin: begins an episode of the wrapped game; returns what chooses its actions, in the
            game's own form, from its observations.
    """

    wrap: Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]
    begin: Callable[[], Callable[[Any], Any]]

    def __call__(self, observation: Any, frame: np.ndarray) -> Row:
        """Refuse to play where there is no game that could be wrapped.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("a player with wrappers plays real games only; record with it")


PolicyFactory = Callable[[np.random.SeedSequence], SourcePolicy]
"""Makes the policy of one episode, whose chance follows from the seed."""


MakeEnv = Callable[[], gym.Env[Any, Any]]
"""Makes an environment, for one that has no id."""


@dataclass(frozen=True)
class Opening:
    """How a game is opened, as plain data: what a recording, a recipe and a card say of it."""

    env: str
    """Gymnasium id or, if `module` is not empty, the name of a class or a function in it."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of `gymnasium.make`."""
    module: str = ""
    """The module that registers the id; empty if it is Gymnasium's, or a package's in
    `dfgym.games.packages`."""
    wrappers: tuple[str, ...] = ()
    """Around the environment, from the inside out: `module:Class`, see `packages.wrap`."""
    image_key: str = ""
    """The way to the picture through Dict and Tuple observations, with dots between."""
    render: bool = False
    """Whether frames are rendered though observations have a picture."""
    size: tuple[int, int] | None = None
    """Height and width of the frames; None: the game's own."""
    filter: Filter = "area"
    """How frames are brought to that size."""


@dataclass(frozen=True)
class Source:
    """A real environment, and where its frames come from.

    Attributes:
        env: the environment, with the wrappers that `gymnasium.make` gives it.
        renders: frames come from `render()`, since the observations are not images.
        size: height and width of the frames; the environment's own if it is None.
        actions: the action space; choices count from 0 here.
        image: where in an observation the frame is; None: an observation is one.
        filter: how frames are brought to the size.
    """

    env: gym.Env[Any, Any]
    renders: bool
    size: tuple[int, int] | None
    actions: ActionSpace
    image: Image | None = None
    filter: Filter = "area"

    @property
    def meanings(self) -> list[str] | None:
        """The meaning of each action, in the environment's words; None if not discrete."""
        if not self.actions.is_discrete:
            return None
        game: Any = self.env.unwrapped
        method = getattr(game, "get_action_meanings", None)  # the Arcade Learning Environment's
        words: Any = method() if callable(method) else None
        if _names_each(words, self.actions.count):
            return [str(word).lower() for word in words]
        words = getattr(game, "action_meanings", None)
        if _names_each(words, self.actions.count):
            return [str(word) for word in words]
        return [str(action) for action in range(self.actions.count)]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what pygame has drawn, which cannot be pickled; games draw it again."""
        return {**vars(self), "env": _undrawn(self.env)}

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
        if not self.renders:
            frame = np.array(observation) if self.image is None else self.image.frame(observation)
        else:
            try:
                frame = _to_frame(self.env.render())
            except gym.error.DependencyNotInstalled as reason:
                raise MissingPackageError(f"{self.env} cannot be drawn: {reason}") from reason
        return frame if self.size is None else resize(frame, self.size, self.filter)

    @property
    def max_steps(self) -> int | None:
        """The game's own limit of an episode's steps; None if it has none."""
        spec = self.env.spec
        limit = spec.max_episode_steps if spec else None
        keywords = spec.kwargs if spec else {}
        if limit is None and "max_num_frames_per_episode" in keywords:  # the ALE's form
            skip = keywords.get("frameskip", 1)
            limit = keywords["max_num_frames_per_episode"] // (skip if type(skip) is int else 1)
        if limit is None:  # MiniGrid's form
            limit = getattr(self.env.unwrapped, "max_steps", None)
        return limit if type(limit) is int and 1 <= limit <= 10**7 else None

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


def open_source(opening: Opening, trusted: bool = False, make: MakeEnv | None = None) -> Source:
    """Make an environment that can be recorded.

    Args:
        opening: how it is made and shown.
        trusted: whether the user has named the modules, so that they may be imported.
        make: makes the environment instead; the opening says how it is shown.

    Raises:
        ConfigError: The id is unknown, its actions are of no kind that can be learned or have no
            bounds, it shows no frames, or a module is neither known nor trusted.
        MissingPackageError: The environment's package is missing.
    """
    size = opening.size
    if size is not None and not (len(size) == 2 and all(1 <= side <= 512 for side in size)):
        raise ConfigError(f"`resize` is {size!r}; expected a height and a width in [1, 512]")
    env: Any = make() if make else _make(opening, trusted)
    if not isinstance(env, gym.Env):
        raise ConfigError(
            f"{opening.env} made {shorten(env)}; expected an environment of Gymnasium (gym.Env)"
        )
    if make:
        env = _wrap(env, opening, trusted)
    try:
        actions = spaces.describe(env.action_space, opening.env)
        image = None if opening.render else find_image(env.observation_space, opening.image_key)
        if image is not None:
            return Source(env, False, size, actions, image, opening.filter)
        modes = env.metadata.get("render_modes", [])
        ready = not make or env.render_mode == "rgb_array"
        if "rgb_array" not in modes or not ready:
            raise ConfigError(
                f"{opening.env} shows no frames: its observations are {env.observation_space}, "
                f"without a picture uint8 (h, w, 3), and its render modes are {modes}, "
                + ("without 'rgb_array'" if ready else "so make it with render_mode='rgb_array'")
            )
        if make:
            return Source(env, True, size, actions, filter=opening.filter)
    except ConfigError:
        env.close()
        raise
    env.close()
    # Games that draw with pygame start SDL, which otherwise handles SIGTERM itself, so that `kill`
    # could not end a training or a recording.
    os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")
    env = _make(opening, trusted, render_mode="rgb_array")
    return Source(env, True, size, actions, filter=opening.filter)


def _names_each(words: Any, count: int) -> bool:
    """Whether a game's own list of actions names each of them; games return anything."""
    return isinstance(words, list | tuple | np.ndarray) and len(words) == count


def _undrawn(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return a shallow copy of an environment, through its wrappers, without pygame's objects."""
    bare = object.__new__(type(env))
    for name, value in vars(env).items():
        if type(value).__module__.partition(".")[0] == "pygame":
            value = None
        elif name == "env" and isinstance(value, gym.Env):
            value = _undrawn(value)
        vars(bare)[name] = value
    return bare


def _to_frame(drawing: Any) -> np.ndarray:
    """Bring what `render()` returns to a frame; numbers that are no bytes run to 1 or to 255."""
    array = np.asarray(drawing)
    floats = array.dtype != np.uint8 and array.ndim in (2, 3) and array.size
    return to_frame(array, 1 if floats and float(array.max()) <= 1 else 255)


@functools.cache  # half a second, for what does not change
def _owners() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _make(opening: Opening, trusted: bool, **more: Any) -> gym.Env[Any, Any]:
    env_id, kwargs = opening.env, {**opening.kwargs, **more}
    _check_kwargs(env_id, opening.kwargs)
    try:
        env = gym.make(find_spec(opening, trusted), disable_env_checker=True, **kwargs)
    except DfgymError:
        raise
    except (ImportError, gym.error.DependencyNotInstalled) as reason:
        raise MissingPackageError(f"{env_id} needs a package that is missing: {reason}") from reason
    except (gym.error.Error, TypeError) as reason:  # TypeError: a keyword that it does not take
        unknown = isinstance(reason, gym.error.NameNotFound | gym.error.NamespaceNotFound)
        hint = packages.plain_hint(opening.module, env_id) or f"; expected {packages.FORM}"
        hint = hint if unknown else ""
        text = str(reason).split(" Have you installed")[0] if unknown else str(reason)
        raise ConfigError(f"{env_id!r} with {dict(opening.kwargs)}: {text}{hint}") from reason
    return _wrap(env, opening, trusted)


def _wrap(env: gym.Env[Any, Any], opening: Opening, trusted: bool) -> gym.Env[Any, Any]:
    for wrapper in opening.wrappers:
        env = packages.wrap(env, wrapper, trusted)
    return env


def find_spec(opening: Opening, trusted: bool) -> str | EnvSpec:
    """Return what `gymnasium.make` takes, after the module that registers it is imported.

    Raises:
        ConfigError: the module is neither known nor trusted.
        MissingPackageError: it is not installed.
    """
    env_id, module = opening.env, opening.module
    if env_id in gym.registry and not (module and trusted):
        return env_id
    if not module:
        package = packages.find_package(env_id)
        if package is not None:
            packages.import_game(package.module, env_id)
        return env_id
    imported = packages.import_game(module, env_id, trusted)
    vouched = trusted or packages.is_trusted(module)
    entry = getattr(imported, env_id, None) if env_id.isidentifier() and vouched else None
    if env_id not in gym.registry and callable(entry):
        return EnvSpec(env_id, entry_point=entry)
    return env_id


def _check_kwargs(env_id: str, kwargs: Mapping[str, Any]) -> None:
    limit = kwargs.get("max_episode_steps")
    if limit is not None and (type(limit) is not int or limit < 1) and limit != -1:
        raise ConfigError(
            f"`max_episode_steps` is {limit!r} in env_kwargs; expected at least 1, or -1 for no "
            "limit; leave it out for the environment's own"
        )
    if env_id.startswith("DFSource/MinAtar-") and "game" in kwargs:
        ids = ", ".join(map(minatar.env_id, minatar.GAMES))
        raise ConfigError(
            f"`game` is {kwargs['game']!r} in env_kwargs; expected none, as {env_id} is one game; "
            f"the games are {ids}"
        )
