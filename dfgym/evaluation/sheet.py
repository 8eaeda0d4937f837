"""`dfgym contact-sheet`: one PNG of real strips and of what the world dreams in their place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

from dfgym.errors import ConfigError
from dfgym.evaluation.film import DREAM, REAL
from dfgym.files import write_png
from dfgym.frames import upscale
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

PAPER, INK = (250, 250, 250), (40, 48, 60)
DIFFERENT = (214, 120, 0)
GAP = 4
MARGIN = 56
FRAME_SIDE = 64
"""Frames are drawn at least so many pixels wide and high."""


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
    return write_png(config.out, draw(real, dream, world.card.name))


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
    window = world.card.model.window
    contexts, real, actions = [], [], []
    # Long episodes more often: a draw of frames, not of episodes.
    share = (lengths[long] - frames + 1) / (lengths[long] - frames + 1).sum()
    for episode in generator.choice(long, rows, p=share):
        episode_frames, episode_actions = world.starts.episode(int(episode))
        at = int(generator.integers(len(episode_frames) - frames + 1))
        first = max(0, at + 1 - window)
        contexts.append((episode_frames[first : at + 1], episode_actions[first:at]))
        real.append(episode_frames[at : at + frames])
        actions.append(episode_actions[at : at + frames - 1])
    dynamics = Dynamics(world, rows, settings)
    dynamics.reset(np.arange(rows), generator.integers(2**62, size=rows), contexts)
    dream = [dynamics.frames()]
    dream += [dynamics.step(row_actions).frames for row_actions in np.stack(actions, 1)]
    return np.stack(real), np.stack(dream, 1)


def draw(real: np.ndarray, dream: np.ndarray, title: str) -> np.ndarray:
    """Lay strips out as one picture.

    Args:
        real: uint8 `(rows, frames, h, w, 3)`.
        dream: the same shape.
        title: written above.

    Returns:
        uint8 RGB.
    """
    rows, frames, height, width = real.shape[:4]
    scale = max(1, -(-FRAME_SIDE // min(height, width)))
    high, wide = height * scale, width * scale
    pair = 2 * (high + GAP) + 4 * GAP
    size = (MARGIN + frames * (wide + GAP) + GAP, 40 + rows * pair)
    page = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    caption = "real above, the dream of the same actions below; underlined: frames that differ"
    pen.text((GAP * 2, 12), f"{title}: {caption}", INK, font)
    different = (real != dream).any((2, 3, 4))
    for row in range(rows):
        top = 40 + row * pair
        for line, (name, colour, strip) in enumerate(
            (("real", REAL, real), ("dream", DREAM, dream))
        ):
            y = top + line * (high + GAP)
            pen.rectangle((MARGIN - 6, y, MARGIN - 3, y + high - 1), colour)
            pen.text((GAP * 2, y + high // 2 - 8), name, colour, font)
            for t, frame in enumerate(upscale(strip[row], scale)):
                page.paste(Image.fromarray(frame), (MARGIN + t * (wide + GAP), y))
        y = top + 2 * high + 2 * GAP
        for t in np.flatnonzero(different[row]).tolist():
            x = MARGIN + t * (wide + GAP)
            pen.rectangle((x, y, x + wide - 1, y + 2), DIFFERENT)
    return np.asarray(page)
