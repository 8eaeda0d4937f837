"""The running episode: what happened, and the states from which it happens again, exactly.

Frame t is the one after t steps; frame 0 is the start. A state is cloned every `KEYFRAME` steps
only (half a megabyte each, in the default world); what lies between is stepped again, which gives
the same frames, since a dream's noise is a function of its seed and step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfgym.errors import ConfigError
from dfgym.play.messages import Settings

KEYFRAME = 16
MAX_CHANGES = 8
"""States kept between those: one is cloned at every change of settings."""
MAX_STEPS = 2_000
"""Kept of an episode; of a longer one the oldest frames go."""


@dataclass(frozen=True, slots=True)
class Real:
    """What the real game did with the same actions."""

    frame: np.ndarray
    """uint8 `(h, w, 3)`, model size."""
    reward: float
    score: float
    terminated: bool
    difference: float
    """Share of the cells that are not as in the dream."""
    diverged: int | None
    """The first step at which a cell was not."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame of the dream, and the transition that led to it."""

    frame: np.ndarray
    """uint8 `(h, w, 3)`, model size."""
    action: int | None = None
    by: str = ""
    """Who chose the action: `human`, or an agent's name."""
    reward: float = 0.0
    score: float = 0.0
    terminated: bool = False
    truncated: bool = False
    termination_probability: float | None = None
    uncertainty: float | None = None
    ms: float = 0.0
    real: Real | None = None


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A cloned state of the dream, and the settings of the environment that it fits."""

    settings: Settings
    state: bytes | None
    """None: it is kept no longer, but the frames after it followed from it, not from an older
    one."""


class Timeline:
    """The history of one episode, with a cursor in it.

    Args:
        frames: uint8 `(k, h, w, 3)`, k >= 1: the real frames that the dream begins with, the last
            of which is frame 0.
        actions: int64 `(k - 1,)` between them.

    Attributes:
        first: the oldest frame that is kept.
        moments: from frame `first` on.
        actions: every action since frame 0, also those that led to frames no longer kept.
        cursor: the frame that is shown; the next step goes on from it.
        branches: how often the future was dropped for another.
    """

    def __init__(self, frames: np.ndarray, actions: np.ndarray) -> None:
        self._before = list(frames[:-1]), [int(action) for action in actions]
        self.first = 0
        self.moments = [Moment(frames[-1])]
        self.actions: list[int] = []
        self.cursor = 0
        self.branches = 0
        self._keyframes: dict[int, Keyframe] = {}  # by frame, in order

    @property
    def length(self) -> int:
        """The newest frame."""
        return self.first + len(self.moments) - 1

    @property
    def now(self) -> Moment:
        """What is shown."""
        return self.at(self.cursor)

    @property
    def ended(self) -> bool:
        """Whether the episode is over at the cursor."""
        return self.now.terminated or self.now.truncated

    def at(self, t: int) -> Moment:
        """Frame t, which must be kept."""
        return self.moments[t - self.first]

    def seek(self, t: int) -> None:
        """Show frame t.

        Raises:
            ConfigError: there is no such frame, or it is no longer kept.
        """
        if not self.first <= t <= self.length:
            raise ConfigError(f"t is {t}; the timeline has frames {self.first} to {self.length}")
        self.cursor = t

    def append(self, moment: Moment) -> None:
        """Add what followed the newest frame, and show it."""
        assert self.cursor == self.length and moment.action is not None
        self.moments.append(moment)
        self.actions.append(moment.action)
        self.cursor += 1
        if len(self.moments) > MAX_STEPS + 1:
            self._forget()

    def branch(self) -> None:
        """Drop what followed the cursor."""
        del self.moments[self.cursor - self.first + 1 :], self.actions[self.cursor :]
        for t in [t for t in self._keyframes if t > self.cursor]:
            del self._keyframes[t]
        self.branches += 1

    def keep(self, settings: Settings, state: bytes) -> None:
        """Keep the state that the dream has at the cursor, the newest frame."""
        assert self.cursor == self.length
        self._keyframes.pop(self.cursor, None)
        self._keyframes[self.cursor] = Keyframe(settings, state)
        changes = [t for t, at in self._keyframes.items() if t % KEYFRAME and at.state is not None]
        for t in changes[:-MAX_CHANGES]:
            self._keyframes[t] = Keyframe(self._keyframes[t].settings, None)

    def keyframe(self) -> tuple[int, Keyframe] | None:
        """The last frame at or before the cursor that a state was cloned at, and the state."""
        t = max((t for t in self._keyframes if t <= self.cursor), default=None)
        return None if t is None else (t, self._keyframes[t])

    def context(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """The last frames up to the cursor, at most `window`, and the actions between them."""
        seen = self.moments[: self.cursor - self.first + 1]
        frames = [moment.frame for moment in seen]
        actions = self.actions[self.first : self.cursor]
        if self.first == 0:
            frames, actions = self._before[0] + frames, self._before[1] + actions
        frames = frames[-window:]
        return np.stack(frames), np.array(actions[len(actions) + 1 - len(frames) :], np.int64)

    def _forget(self) -> None:
        """Drop the oldest frames, up to a state: without one a frame cannot be played on from."""
        second = min(t for t in self._keyframes if t > self.first and t % KEYFRAME == 0)
        for t in [t for t in self._keyframes if t < second]:
            del self._keyframes[t]
        del self.moments[: second - self.first]
        self.first = second
