"""Frames drawn for people: `render`, dream and real alike."""

from __future__ import annotations

import numpy as np

from dfgym.errors import ConfigError
from dfgym.frames import upscale

RENDER_MODES = ["rgb_array"]
RENDER_SIDE = 256
"""Rendered frames are at least this many pixels wide and high, so that people can see them."""


def check_render_mode(mode: str | None) -> str | None:
    """Return the mode if an environment itself can draw it; raises ConfigError if not."""
    if mode is not None and mode not in RENDER_MODES:
        raise ConfigError(
            f"render_mode {mode!r} must be 'rgb_array' or None; gym.make (not make_vec, nor the "
            f"class itself) also takes 'rgb_array_list' and 'human'"
        )
    return mode


def draw(mode: str | None, frame: np.ndarray) -> np.ndarray:
    """Draw a model-size frame for people; raises ConfigError without a render mode."""
    if mode is None:
        raise ConfigError("render_mode is None: give render_mode='rgb_array' to gym.make")
    return upscale(frame, -(-RENDER_SIDE // min(frame.shape[:2])))
