"""The running episode: what happened, and the states from which it happens again, exactly.

Frame t is the frame after t steps; frame 0 is the start. A state is cloned every `KEYFRAME` steps
only, since one takes half a megabyte in the default world. The frames between are stepped again,
which gives the same frames, because a dream's noise is a function of its seed and step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfgym.actions import Row
from dfgym.errors import ConfigError
from dfgym.world.card import Card
from dfgym.world.settings import Settings

KEYFRAME = 16
"""The number of steps from one cloned state to the next."""
MAX_CHANGES = 8
"""The number of states kept besides those: one is cloned at every change of the settings."""
MAX_STEPS = 2_000
"""The number of steps kept of an episode; the oldest frames of a longer one are dropped."""


@dataclass(frozen=True, slots=True)
class RealMoment:
    """A frame of the real game after the same actions, and the transition that led to it."""

    frame: np.ndarray
    """uint8 `(h, w, 3)` at model size."""
    reward: float
    score: float
    """The sum of the rewards so far."""
    terminated: bool
    difference: float
    """The share of the cells that differ from the dream's."""
    diverged: int | None
    """The first step at which a cell differed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame of the dream, and the transition that led to it."""

    frame: np.ndarray
    """uint8 `(h, w, 3)` at model size."""
    action: Row | None = None
    by: str = ""
    """Who chose the action: `human`, or an agent's name."""
    reward: float = 0.0
    score: float = 0.0
    """The sum of the rewards so far."""
    terminated: bool = False
    truncated: bool = False
    termination_probability: float | None = None
    uncertainty: float | None = None
    outcome_entropy: float | None = None
    epistemic: float | None = None
    luck_divergence: float | None = None
    recalled: tuple[int, ...] | None = None
    """The steps of the frames that an archive showed for this one, the latest first."""
    map: np.ndarray | None = None
    """uint8 `(g, g, 3)`, a map with the agent in the middle."""
    ms: float = 0.0
    """The time that the step took, in milliseconds."""
    real: RealMoment | None = None


@dataclass(frozen=True)
class Film:
    """An episode from its start, or from the oldest frame that is kept, to the current frame."""

    card: Card
    moments: list[Moment]
    beside: bool
    """Whether every moment has the real game's frame too."""
    seed: int
    """The seed of the dream's noise."""


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A cloned state of the dream, and the settings of the environment that it fits."""

    settings: Settings
    state: bytes | None
    """None if the state was dropped; the frames after it still followed from it, and not from an
    older one."""


class Timeline:
    """The history of one episode, with a cursor in it.

    Args:
        frames: uint8 `(k, h, w, 3)`, k >= 1: the real frames that the dream begins with; the last
            one is frame 0.
        actions: the k - 1 actions between them, as rows.

    Attributes:
        first: the number of the oldest frame that is kept.
        moments: the moments from frame `first` on.
        actions: every action since frame 0, also those that led to frames that were dropped.
        cursor: the number of the current frame, from which the next step goes on.
        branches: how often the future was replaced by another.
        keyframes: the cloned states by the numbers of their frames, in order.
    """

    def __init__(self, frames: np.ndarray, actions: np.ndarray) -> None:
        self._context_frames = list(frames[:-1])
        self._context_actions: list[Row] = list(actions)
        self._no_actions = actions[:0]
        self.first = 0
        self.moments = [Moment(frames[-1])]
        self.actions: list[Row] = []
        self.cursor = 0
        self.branches = 0
        self.keyframes: dict[int, Keyframe] = {}

    @property
    def length(self) -> int:
        """The number of the newest frame."""
        return self.first + len(self.moments) - 1

    @property
    def current(self) -> Moment:
        """The moment at the cursor."""
        return self.moment(self.cursor)

    @property
    def ended(self) -> bool:
        """Whether the episode is over at the cursor."""
        return self.current.terminated or self.current.truncated

    def moment(self, t: int) -> Moment:
        """Return the moment of frame t, which must be kept."""
        return self.moments[t - self.first]

    def seek(self, t: int) -> None:
        """Move the cursor to frame t.

        Raises:
            ConfigError: there is no such frame, or it was dropped.
        """
        if not self.first <= t <= self.length:
            raise ConfigError(f"t is {t}; the timeline has frames {self.first} to {self.length}")
        self.cursor = t

    def append(self, moment: Moment) -> None:
        """Add the moment that followed the newest one, and move the cursor to it."""
        assert self.cursor == self.length and moment.action is not None
        self.moments.append(moment)
        self.actions.append(moment.action)
        self.cursor += 1
        if len(self.moments) > MAX_STEPS + 1:
            self._drop_oldest()

    def branch(self) -> None:
        """Drop all that followed the cursor."""
        del self.moments[self.cursor - self.first + 1 :], self.actions[self.cursor :]
        for t in [t for t in self.keyframes if t > self.cursor]:
            del self.keyframes[t]
        self.branches += 1

    def add_keyframe(self, settings: Settings, state: bytes) -> None:
        """Store the state that the dream has at the cursor, which is the newest frame."""
        assert self.cursor == self.length
        self.keyframes.pop(self.cursor, None)
        self.keyframes[self.cursor] = Keyframe(settings, state)
        states = [t for t, keyframe in self.keyframes.items() if keyframe.state is not None]
        changes = [t for t in states if t % KEYFRAME]
        for t in changes[:-MAX_CHANGES]:
            self.keyframes[t] = Keyframe(self.keyframes[t].settings, None)

    def last_keyframe(self) -> tuple[int, Keyframe] | None:
        """Return the last keyframe at or before the cursor, and the number of its frame."""
        t = max((t for t in self.keyframes if t <= self.cursor), default=None)
        return None if t is None else (t, self.keyframes[t])

    def context(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the last frames up to the cursor, at most `window`, and the actions between."""
        frames = [moment.frame for moment in self.moments[: self.cursor - self.first + 1]]
        actions = self.actions[self.first : self.cursor]
        if self.first == 0:
            frames, actions = self._context_frames + frames, self._context_actions + actions
        frames = frames[-window:]
        between = np.array(actions[len(actions) + 1 - len(frames) :], self._no_actions.dtype)
        return np.stack(frames), between.reshape(-1, *self._no_actions.shape[1:])

    def _drop_oldest(self) -> None:
        """Drop the oldest frames, up to a state: without one a frame cannot be played on from."""
        second = min(t for t in self.keyframes if t > self.first and t % KEYFRAME == 0)
        for t in [t for t in self.keyframes if t < second]:
            del self.keyframes[t]
        del self.moments[: second - self.first]
        self.first = second
