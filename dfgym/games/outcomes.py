"""In which ways a real game can go on: what `dfgym.games.twin` judges dreams by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from dfgym.actions import Row
from dfgym.games.source import Source


class Outcome(NamedTuple):
    """One way in which the real game goes on from one of its states."""

    state: Any
    key: Any
    """Equal for states that go on equally."""
    frame: np.ndarray
    reward: float
    terminated: bool
    sticky: bool
    """Only a repeated last action leads here."""
    probability: float = math.nan
    """Of all ways from this state; NaN where the game draws real numbers."""


Belief = list[tuple[Any, float]]
"""Real states, each with its probability given all that was drawn so far."""


class Twin(Protocol):
    """The real game, which can be brought back to any of its states.

    Attributes:
        most_states: a set of more states than this is not followed.
        most_draws: a state is stepped by chance no more often than this.
    """

    most_states: int
    most_draws: int

    def begin(self, seed: int, actions: Sequence[Row]) -> tuple[Belief, np.ndarray]:
        """Play an episode again; returns the states that it can be in, and its frame."""
        ...

    def outcomes(self, state: Any, action: Row) -> Iterator[Outcome]:
        """Step a state in every way; raises `NotMeasuredError` if there are too many."""
        ...

    def draw(self, state: Any, action: Row, seed: int) -> Outcome:
        """Step a state once, by chance."""
        ...


def play_again(source: Source, seed: int, actions: Sequence[Row]) -> list[np.ndarray]:
    """Play an episode again and return its frames."""
    observation, _ = source.env.reset(seed=seed)
    frames = [source.frame(observation)]
    for action in actions:
        observation, *_ = source.env.step(source.to_env(action))
        frames.append(source.frame(observation))  # some games go on by being drawn
    return frames


def freeze(value: Any) -> Any:
    """Return a value that can be compared and hashed."""
    match value:
        case np.ndarray():
            return value.shape, value.tobytes()
        case dict():
            return tuple((key, freeze(item)) for key, item in sorted(value.items()))
        case list() | tuple():
            return tuple(freeze(item) for item in value)
    return value
