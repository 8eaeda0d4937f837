"""`dfgym contact-sheet`: one PNG of real strips and of what the world dreams in their place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from dfgym.errors import ConfigError
from dfgym.files import write_png
from dfgym.frames import flicker
from dfgym.train.strips import continue_episodes, draw
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.settings import Settings


@dataclass(frozen=True)
class Config:
    """Draw strips of the real game and of the dream that goes on from the same past."""

    world: Annotated[str, tyro.conf.Positional] = shelf.DEFAULT
    """Name on the shelf, or a folder's path."""
    out: Path = Path("contact-sheet.png")
    """The PNG to write."""
    rows: int = 6
    """Pairs of strips."""
    frames: int = 14
    """Frames in a strip, the last real one included; 2 or more."""
    seed: int = 0
    """Of where the strips begin, and of the dream."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = Settings()


def contact_sheet(config: Config) -> Path:
    """Draw and write the sheet; returns its path.

    The strips begin in held-out episodes of the world's own starts, so no real game is needed. The
    first frame of both strips is the last of the real past; then the same recorded actions lead on.
    A dreamed frame that differs from the real one above it is underlined: chance alone does that in
    a game with chance.

    Raises:
        ConfigError: a number is out of range.
        WorldError: there is no such world, or it is damaged.
    """
    if config.rows < 1 or config.frames < 2:
        raise ConfigError(
            f"rows {config.rows} must be at least 1 and frames {config.frames} at least 2"
        )
    world = shelf.load(config.world)
    real, dream = strips(world, config.rows, config.frames, config.seed, config.settings)
    tolerance = flicker(bool(world.card.frames.palette))
    return write_png(config.out, draw(real, dream, world.card.name, tolerance))


def strips(
    world: World, rows: int, frames: int, seed: int, settings: Settings = Settings()
) -> tuple[np.ndarray, np.ndarray]:
    """Play `rows` held-out pasts on, in truth and in the dream.

    Returns:
        Two arrays uint8 `(rows, frames, h, w, 3)`, the real frames and the dream's.

    Raises:
        ConfigError: no held-out episode has so many frames.
    """
    lengths = np.diff(world.starts.offsets)
    long = np.flatnonzero(lengths >= frames)
    if not len(long):
        raise ConfigError(f"frames is {frames}; the longest held-out episode has {lengths.max()}")
    generator = np.random.default_rng(seed)
    # Long episodes more often: a draw of frames, not of episodes.
    share = (lengths[long] - frames + 1) / (lengths[long] - frames + 1).sum()
    episodes = generator.choice(long, rows, p=share)
    starts = [(int(i), int(generator.integers(lengths[i] - frames + 1))) for i in episodes]
    seeds = generator.integers(2**62, size=rows).tolist()
    return continue_episodes(world, starts, frames, seeds, settings)
