"""Strips of frames: recorded episodes, and what a world dreams in their place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dfgym.frames import differ, upscale
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

DREAM, REAL = (102, 53, 204), (31, 122, 77)
"""RGB of what belongs to the dream and to the real game, in every picture of the two."""
PAPER, INK = (250, 250, 250), (40, 48, 60)
DIFFERENT = (214, 120, 0)
GAP = 4
MARGIN = 56
FRAME_SIDE = 64
"""Frames are drawn at least so many pixels wide and high."""
CAPTION = "real above, the dream of the same actions below; underlined: frames that differ"


def continue_episodes(
    world: World,
    starts: Sequence[tuple[int, int]],
    frames: int,
    seeds: Sequence[int],
    settings: Settings = Settings(),
) -> tuple[np.ndarray, np.ndarray]:
    """Let the dream go on from held-out episodes, by the actions that were recorded there.

    Args:
        world: a world, which holds the episodes.
        starts: for each row an episode, and the place of its last real frame.
        frames: the length of each strip, that frame included.
        seeds: of the dreams' noise, one for each row.
        settings: how the world is run.

    Returns:
        Two arrays uint8 `(rows, frames, h, w, 3)`, the real frames and the dream's; the first
        frames are equal.
    """
    contexts, real, actions = [], [], []
    for episode, at in starts:
        episode_frames, episode_actions = world.starts.episode(episode)
        first = max(0, at + 1 - world.card.model.history)
        contexts.append((episode_frames[first : at + 1], episode_actions[first:at]))
        real.append(episode_frames[at : at + frames])
        actions.append(episode_actions[at : at + frames - 1])
    dynamics = Dynamics(world, len(starts), settings)
    dynamics.reset(np.arange(len(starts)), np.array(seeds), contexts)
    dream = [dynamics.frames()]
    dream += [dynamics.step(row_actions).frames for row_actions in np.stack(actions, 1)]
    return np.stack(real), np.stack(dream, 1)


def draw(real: np.ndarray, dream: np.ndarray, title: str, tolerance: int = 0) -> np.ndarray:
    """Lay strips out as one picture, in which frames that differ are underlined.

    Args:
        real: uint8 `(rows, frames, h, w, 3)`.
        dream: the same shape.
        title: written above.
        tolerance: grey levels by which equal pixels may differ; see `dfgym.frames.flicker`.

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
    pen.text((GAP * 2, 12), f"{title}: {CAPTION}", INK, font)
    different = np.any(differ(real, dream, tolerance), (-2, -1))
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
