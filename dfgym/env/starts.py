"""Where an episode begins: `reset(options=...)` checked, and the start context that follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import logger

from dfgym.actions.forms import is_whole
from dfgym.diffusion.noise import mix
from dfgym.errors import ConfigError
from dfgym.frames import downscale, upscale
from dfgym.world.bundle import World

OPTIONS = ("start", "index", "frames", "actions")
STARTS = ("episode", "anywhere")

Place = tuple[int, int]
"""A held-out episode, and a frame in it."""


@dataclass(frozen=True)
class Start:
    """A checked request for starts."""

    where: str = "episode"
    """`episode`: the first frame of a held-out real episode; `anywhere`: any frame but the last."""
    index: int | None = None
    """The held-out episode; any if None."""
    context: tuple[np.ndarray, np.ndarray] | None = None
    """The caller's own: frames, uint8 `(t, h, w, 3)` at model size, and t - 1 actions, as rows."""


def check_seed(seed: Any) -> int | None:
    """Return the seed of a reset as an `int`.

    Raises:
        ConfigError: it is neither None nor a whole number of at least 0.
    """
    if seed is None:
        return None
    if not is_whole(seed) or seed < 0:
        raise ConfigError(f"seed {seed!r} must be an int of at least 0, or None")
    return int(seed)


def parse(world: World, options: dict[str, Any] | None) -> Start:
    """Check the options of a reset, before anything changes.

    Args:
        world: the world, whose sizes and held-out episodes bound the options.
        options: any of `start` ("episode" or "anywhere"), `index` (a held-out episode) or else
            `frames` (uint8 `(t, h, w, 3)` at model or observation size) and `actions` (t - 1, as a
            vector environment takes them; may be left out for one frame).

    Raises:
        ConfigError: a value is of the wrong type, shape or range.
        ActionError: the actions are.

    Warns:
        UserWarning: a key is unknown. Libraries send options of their own through every
            environment, and Gymnasium's own environments take no notice of them.
    """
    if not isinstance(options, dict | None):
        raise ConfigError(f"options {options!r} must be a dict with any of {', '.join(OPTIONS)}")
    options = options or {}
    if unknown := [key for key in options if key not in OPTIONS]:
        ignored = ", ".join(repr(key) for key in unknown)
        logger.warn("%s", f"reset() ignores the option {ignored}: use {', '.join(OPTIONS)}")
    if "frames" in options or "actions" in options:
        if "start" in options or "index" in options:
            raise ConfigError("options frames and actions are a start: leave out start and index")
        if "frames" not in options:
            raise ConfigError("option actions needs the option frames, one frame more than actions")
        return Start(context=_own(world, options["frames"], options.get("actions", [])))
    where, index, count = options.get("start", "episode"), options.get("index"), len(world.starts)
    if not isinstance(where, str) or where not in STARTS:
        raise ConfigError(f"option start = {where!r} must be one of {', '.join(STARTS)}")
    if index is not None and not (is_whole(index) and 0 <= index < count):
        raise ConfigError(
            f"option index = {index!r} must be an int from 0 to {count - 1}, a held-out episode"
        )
    return Start(where, None if index is None else int(index))


def choose(world: World, seed: int, start: Start) -> tuple[np.ndarray, np.ndarray, Place]:
    """Choose a start context as a function of the seed alone.

    Returns:
        frames uint8 `(t, h, w, 3)` at model size with t at most the model's window, the t - 1
        actions between them, as rows, and the held-out episode and the frame in it that the dream
        begins with (-1 and t - 1 for own frames).
    """
    if start.context is not None:
        frames, actions = start.context
        episode, frame = -1, len(frames) - 1
    else:
        lengths = np.diff(world.starts.offsets)
        # An episode's last frame is where it ended: nothing follows it.
        choices = np.ones_like(lengths) if start.where == "episode" else np.maximum(lengths - 1, 1)
        before = np.cumsum(choices) - choices
        if start.index is None:
            number = mix(seed, 0) % int(choices.sum())
        else:
            number = int(before[start.index]) + mix(seed, 0) % int(choices[start.index])
        episode = int(np.searchsorted(before, number, side="right")) - 1
        frame = number - int(before[episode])
        frames, actions = world.starts.episode(episode)
    return *_past(world, frames, actions, frame), (episode, frame)


def context_of(world: World, episode: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what a dream that begins at a frame of a held-out episode is given; see `choose`."""
    return _past(world, *world.starts.episode(episode), frame)


def _past(
    world: World, frames: np.ndarray, actions: np.ndarray, frame: int
) -> tuple[np.ndarray, np.ndarray]:
    first = max(0, frame + 1 - world.card.model.history)
    return frames[first : frame + 1].copy(), actions[first:frame].copy()


def _own(world: World, frames: Any, actions: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check the caller's own start and bring it to model size."""
    small = check_frames(world, frames, "option frames")
    if len(small) == 0:
        raise ConfigError(f"option frames has shape {frames.shape}: give at least one frame")
    return small, world.card.actions.rows(actions, len(small) - 1)


def check_frames(world: World, frames: Any, name: str, count: int | None = None) -> np.ndarray:
    """Check frames of the caller's and bring them to model size, freshly allocated.

    Args:
        world: the world, whose sizes they must have.
        frames: uint8 `(t, h, w, 3)` at model or observation size.
        name: what to call them in an error.
        count: t, if it matters.

    Raises:
        ConfigError: they are of another type or shape.
    """
    card = world.card
    size, scale = (card.frames.height, card.frames.width, 3), card.frames.observation_scale
    observation_size = (size[0] * scale, size[1] * scale, 3)
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        kind = getattr(frames, "dtype", type(frames).__name__)
        raise ConfigError(f"{name} is of type {kind}: give a uint8 array (t, h, w, 3)")
    if (
        frames.ndim != 4
        or frames.shape[1:] not in (size, observation_size)
        or count not in (None, len(frames))
    ):
        raise ConfigError(
            f"{name} has shape {frames.shape}: give (t, h, w, c) with "
            f"t {'at least 1' if count is None else count} and "
            f"(h, w, c) = {size}, or {observation_size} as observations are"
        )
    if frames.shape[1:] == size:
        return frames.copy()
    small = downscale(frames, scale)
    if not np.array_equal(upscale(small, scale), frames):
        raise ConfigError(
            f"{name} is not drawn in cells of {scale}x{scale} equal pixels as this "
            f"world's observations are: give frames at model size, {size}"
        )
    return small
