"""How a game is shown in a recording: decided once, said aloud, and kept as data."""

from __future__ import annotations

import dataclasses
import logging

import gymnasium as gym
import numpy as np

from dfgym.data.game import Game
from dfgym.errors import ConfigError
from dfgym.frames import nearest_size
from dfgym.games import RandomPolicy, packages
from dfgym.games.images import LEAST
from dfgym.games.resizing import pick_filter, resize
from dfgym.games.source import MakeEnv, Opening, Source, open_source

MAX_SIDE = 512  # of a frame, as of a world's
SYMBOLS = 20
"""A picture without a brighter value is taken for a table of symbols, as MiniGrid's is."""
LOOK_STEPS, LOOK_EVERY = 60, 4
"""How far a game is looked at before a filter is picked, and which of the frames."""

GAP = 8  # pixels between the pictures of a preview

log = logging.getLogger(__name__)


def decide(
    opening: Opening, seed: int, pick: bool = False, make: MakeEnv | None = None
) -> tuple[Opening, Source, list[np.ndarray]]:
    """Open a game that is to be recorded, and decide how it is shown where that is left open.

    Args:
        opening: what the user said; the modules that it names are trusted.
        seed: of the look at the game.
        pick: pick the filter by that look.
        make: makes the environment, if it has no id.

    Returns:
        The opening with all decisions, the environment, and the first frames before they are
        resized, if they are.

    Raises:
        ConfigError: the game shows no frames, or too large ones.
        MissingPackageError: it needs a package.
    """
    source = open_source(opening, True, make)
    if not opening.module and make is None:
        opening = dataclasses.replace(opening, module=_find_module(opening.env))
    try:
        opening, source = _decide_image(opening, source, seed, make)
        frames = _look(dataclasses.replace(source, size=None), opening.env, seed, 0)
        _advise(opening, frames[0].shape[:2])
        frames, opening = _decide_size(opening, source, frames, seed, pick)
    except ConfigError:
        source.env.close()
        raise
    return opening, dataclasses.replace(source, filter=opening.filter), frames


def draw_preview(frames: list[np.ndarray], opening: Opening) -> np.ndarray:
    """Draw a frame as the game has it, and beside it as it is recorded, enlarged to that size."""
    assert opening.size is not None
    before = frames[-1]
    after = resize(resize(before, opening.size, opening.filter), before.shape[:2], "nearest")
    gap = np.full((before.shape[0], GAP, 3), 128, np.uint8)
    return np.concatenate([before, gap, after], axis=1)


def _find_module(env_id: str) -> str:
    """Return the module that registered an id; empty if that is known, as Gymnasium's own is."""
    spec = gym.registry.get(env_id)
    if spec is None or packages.find_package(env_id):
        return ""
    entry = spec.entry_point
    module = entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
    return "" if module.partition(".")[0] in ("gymnasium", "dfgym", "__main__") else module


def _decide_image(
    opening: Opening, source: Source, seed: int, make: MakeEnv | None
) -> tuple[Opening, Source]:
    space, image = source.env.observation_space, source.image
    if image is None:
        kind = type(space).__name__
        why = "as you say" if opening.render else f"as its observations ({kind}) have no picture"
        log.warning("%s: frames are rendered, %s", opening.env, why)
        return opening, source
    if not image.key:
        if image.space.dtype != np.uint8 or image.space.shape[2:] != (3,):
            log.warning("%s: frames are made from observations %s", opening.env, image.space)
        return opening, source
    if opening.image_key:
        return opening, source
    picture = image.frame(source.env.reset(seed=seed)[0])
    can_render = "rgb_array" in source.env.metadata.get("render_modes", []) and make is None
    if can_render and picture.max() <= SYMBOLS:
        source.env.close()
        opening = dataclasses.replace(opening, render=True)
        log.warning(
            "%s: frames are rendered, as %r in its observations holds symbols, no picture; to take "
            "it nevertheless: --image-key %s",
            opening.env, image.key, image.key,
        )  # fmt: skip
        return opening, open_source(opening, True)
    log.warning("%s: frames are %r in its observations", opening.env, image.key)
    return dataclasses.replace(opening, image_key=image.key), source


def _advise(opening: Opening, shape: tuple[int, ...]) -> None:
    """Say which size a network can learn, if it cannot learn this one."""
    height, width = opening.size or shape
    better = nearest_size(height, width)
    if better != (height, width):
        log.warning(
            "%s: no network cuts frames of %d x %d into few patches, so that training will refuse "
            "them; the nearest size that is cut: --resize %d %d",
            opening.env, height, width, *better,
        )  # fmt: skip


def _decide_size(
    opening: Opening, source: Source, frames: list[np.ndarray], seed: int, pick: bool
) -> tuple[list[np.ndarray], Opening]:
    height, width = frames[0].shape[:2]
    if opening.size is None:
        if not all(LEAST <= side <= MAX_SIDE for side in (height, width)):
            raise ConfigError(
                f"{opening.env} is drawn in frames of {height} x {width}; expected sides of "
                f"{LEAST} to {MAX_SIDE}: give --resize, like --resize 64 64"
            )
        return [], opening
    if opening.size == (height, width):
        return [], opening
    frames = _look(dataclasses.replace(source, size=None), opening.env, seed, LOOK_STEPS)
    if pick:
        kind, why = pick_filter(frames, opening.size)
        log.warning(
            "%s: from %d x %d to %d x %d by the filter %r: %s",
            opening.env, height, width, *opening.size, kind, why,
        )  # fmt: skip
        opening = dataclasses.replace(opening, filter=kind)
    return frames, opening


def _look(source: Source, name: str, seed: int, steps: int) -> list[np.ndarray]:
    """Play at random and return some of the frames, the first one among them."""
    policy, game = RandomPolicy(source.actions, seed), Game(source, name)
    frames = [game.reset(seed)[2]]
    for step in range(1, steps + 1):
        _, frame, _, terminated, truncated, _ = game.step(policy(frames[0]))
        if step % LOOK_EVERY == 0:
            frames.append(frame)
        if terminated or truncated:
            game.reset(seed + step)
    return frames
