"""What survives of an error in the past: whether a frame copies its past or is drawn anew."""

from __future__ import annotations

import numpy as np

from dfgym.study import blocks
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics

AFTER = 8  # frames


def survival(world: World, noise: float, rows: int = 16, seed: int = 0) -> np.ndarray:
    """Return how large an error of the past is in the frames after it, as a share of itself.

    The same dreams are made twice with the same noise and actions: once from real frames, once from
    frames that are darker here and there. Differences are root mean squares over pixels. Beyond a
    few frames they show that moving things are at other places, no longer the error itself.

    Args:
        world: of a game in more than 64 colours; others are rounded to colours.
        noise: root mean square of the error in each pixel of the window, in grey levels above 0.
        rows: blocks.
        seed: of contexts, errors and actions.

    Returns:
        float `(AFTER,)`: the share after 1, 2, ... frames.
    """
    generator = np.random.default_rng(seed)
    real = [blocks.context(world, generator, world.card.model.window) for _ in range(rows)]
    wrong = [(_darkened(frames, noise, generator), actions) for frames, actions in real]
    space = world.card.actions
    actions = space.sample(generator, AFTER * rows).reshape(AFTER, rows, *space.row_shape)

    def dream(contexts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        dynamics = Dynamics(world, rows)
        dynamics.reset(np.arange(rows), np.arange(rows), contexts)
        return np.stack([dynamics.step(action).frames for action in actions])

    error_before = np.concatenate(
        [_distance(a[0], b[0]).ravel() for a, b in zip(wrong, real, strict=True)]
    )
    error = _distance(dream(wrong), dream(real))
    return np.sqrt((error**2).mean((1, 2, 3, 4)) / (error_before**2).mean())


def _darkened(frames: np.ndarray, noise: float, generator: np.random.Generator) -> np.ndarray:
    """Darker, since most of a white ground cannot be brighter."""
    darker = frames - np.abs(generator.normal(0, noise, frames.shape))
    return darker.clip(0, 255).round().astype(np.uint8)


def _distance(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    return frames.astype(np.float64) - others
