"""Judge the pictures and the motion of CartPole by the real game's own drawing and equations.

The player's eye reads cart and pole off a frame; the real game, put into that state, draws it. What
the two pictures differ by is not CartPole. The eye errs a little, since the game draws in whole
pixels of its own, and so does the drawing that it leads to. So the drawing is read as well, and
the first reading is corrected by what the eye got wrong there.

Legend: t frames, h w their size.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfgym.errors import ConfigError
from dfgym.games.cartpole import STEP, TRACK, look
from dfgym.games.source import Source, open_source

ENV = "CartPole-v1"
REACH = TRACK / 2 + 1.25  # beyond this place of the cart nothing of it or of its pole is drawn
NOWHERE = 2 * TRACK  # a cart here leaves the track empty
NOISE = 0.2  # less of the pole's colour is not seen; the player's 0.05 goes astray in faint noise


@dataclass(frozen=True)
class Pictures:
    """What the frames show, and how like the real game's drawing of it they are.

    Attributes:
        position: float `(t,)`, of the cart in the game's units, NaN where no pole is seen.
        angle: float `(t,)`, of the pole in radians, NaN where none is seen.
        drawn: float `(t,)`, root mean square difference in grey levels, over all pixels and
            colours, between the frame and the real drawing of what is read off it; of the empty
            track where no pole is seen.
        sharpness: float `(t,)`, energy of the Laplacian of the pole's colour in the box around the
            pole, relative to that of the real drawing: 1 if as sharp, less if blurred, more if
            noisy; 0 where no pole is seen.
    """

    position: np.ndarray
    angle: np.ndarray
    drawn: np.ndarray
    sharpness: np.ndarray


@dataclass(frozen=True)
class Verdicts(Pictures):
    """The referee's word on one episode.

    Attributes:
        motion: float `(t - 1,)`, how far frame `i + 1` is from where the real equations lead from
            the two frames before it: the distance in units, an angle counted as the way of the
            pole's tip (the pole is 1 unit long, so a radian is a unit). NaN for the first
            transition, before which no speed is known, and where no pole is seen. By the game's
            equations a push moves the speeds first: the frame after the next one is the first
            that shows it, so `motion[i]` depends on `actions[i - 1]` and not on `actions[i]`.
    """

    motion: np.ndarray


def judge_episode(frames: np.ndarray, actions: np.ndarray) -> Verdicts:
    """Judge one episode, which may begin anywhere and be cut anywhere.

    Args:
        frames: uint8 `(t, h, w, 3)`, t at least 1, at most 512 high and wide.
        actions: int `(t - 1,)`, 0 left, 1 right; `actions[i]` leads to `frames[i + 1]`.

    Raises:
        ConfigError: the shapes do not fit each other, or an action is neither 0 nor 1.
    """
    if len(actions) != len(frames) - 1:
        raise ConfigError(f"{len(actions)} actions given; {len(frames)} frames need one less")
    if not np.isin(actions, (0, 1)).all():
        raise ConfigError(f"actions {np.unique(actions)}; CartPole's are 0 (left) and 1 (right)")
    seen = judge_pictures(frames)
    motion = _motion(np.stack([seen.position, seen.angle], 1), actions)
    return Verdicts(seen.position, seen.angle, seen.drawn, seen.sharpness, motion)


def judge_pictures(frames: np.ndarray) -> Pictures:
    """Judge frames uint8 `(t, h, w, 3)` one by one.

    Raises:
        ConfigError: they have another shape or type.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or len(frames) < 1 or frames.dtype != np.uint8:
        raise ConfigError(f"frames are {frames.dtype} {frames.shape}; needed: uint8 (t, h, w, 3)")
    source = _open(frames.shape[1:3])
    empty = _draw(source, np.array([NOWHERE, 0.0]))
    found = np.array([_judge(source, frame, empty) for frame in frames])
    return Pictures(*found.T)


@functools.lru_cache(maxsize=4)
def _open(size: tuple[int, int] | None = None) -> Source:
    """The game, kept open: it takes as long to open as to draw a dozen frames."""
    source = open_source(ENV, size=size)
    source.env.reset(seed=0)
    return source


def _judge(source: Source, frame: np.ndarray, empty: np.ndarray) -> tuple[float, ...]:
    """Position, angle, difference from the drawing, sharpness."""
    first = _look(frame)
    if first is None:
        return np.nan, np.nan, _difference(frame, empty), 0.0
    state, drawing = first, _draw(source, first)
    drawn = _difference(frame, drawing)
    if drawn and (again := _look(drawing)) is not None:
        better = _draw(source, state + first - again)
        if (less := _difference(frame, better)) < drawn:
            state, drawing, drawn = state + first - again, better, less
    return *state, drawn, _sharpness(frame, drawing)


def _look(frame: np.ndarray) -> np.ndarray | None:
    """Position and angle; None where there is no pole, or one that leads off the picture."""
    seen = look(frame, NOISE)
    return None if seen is None or abs(seen[0]) > REACH else np.array(seen)


def _draw(source: Source, state: np.ndarray) -> np.ndarray:
    """The real game's picture of a position and an angle."""
    game: Any = source.env.unwrapped
    game.state = np.array([state[0], 0.0, state[1], 0.0])
    return source.frame(None)


def _difference(frame: np.ndarray, drawing: np.ndarray) -> float:
    return float(np.sqrt(((frame.astype(np.float32) - drawing) ** 2).mean()))


def _sharpness(frame: np.ndarray, drawing: np.ndarray) -> float:
    real = _pole(drawing)
    rows, columns = (np.flatnonzero(real.any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0.0
    box = tuple(slice(max(0, at[0] - 1), at[-1] + 2) for at in (rows, columns))
    energy = (_laplacian(real)[box] ** 2).sum()
    return float((_laplacian(_pole(frame))[box] ** 2).sum() / energy)


def _pole(frame: np.ndarray) -> np.ndarray:
    """How much of the pole's colour, which nothing else drawn has, is in each pixel."""
    return np.clip(frame[..., 0].astype(np.float64) - frame[..., 2], 0, None)


def _laplacian(values: np.ndarray) -> np.ndarray:
    """Of `(h, w)`, by the four neighbours; the border goes on as it is."""
    wide = np.pad(values, 1, mode="edge")
    beside = wide[1:-1, :-2] + wide[1:-1, 2:] + wide[:-2, 1:-1] + wide[2:, 1:-1]
    return np.asarray(beside - 4 * values)


def _motion(places: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Distances `(t - 1,)` of places `(t, 2)` from where the real game leads."""
    game: Any = _open().env.unwrapped
    distance = np.full(len(actions), np.nan)
    for i in range(1, len(actions)):
        before, now, after = places[i - 1 : i + 2]
        if np.isnan([before, now, after]).any():
            continue
        speeds = (now - before) / STEP
        game.state = np.array([before[0], speeds[0], before[1], speeds[1]])
        for action in actions[i - 1 : i + 1]:
            game.steps_beyond_terminated = None  # going on from any state is no fault here
            game.step(int(action))
        distance[i] = np.hypot(*(after - game.state[[0, 2]]))
    return distance
