"""Any seeded game as a twin: a state is its seed and all steps since, played again if need be."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from dfgym.actions import Row
from dfgym.games import RandomPolicy
from dfgym.games.decisions import Decisions, walk
from dfgym.games.outcomes import Belief, Outcome, freeze, play_again
from dfgym.games.source import Source

WIDE = 64
"""Chance that can fall in more ways is too wide, as each way plays the episode again."""
MOST_STATES, MOST_DRAWS = 8, 16
"""See `dfgym.games.outcomes.Twin`: few, for the same reason."""
TRIED = 200
"""A game is played for so many steps to see which generators it uses."""
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)


class _Step(NamedTuple):
    """A step of a path: the action, and how chance fell; None if it fell as the seed had it."""

    action: Any
    picks: tuple[int, ...] | None


class ReplayTwin:
    """A game that is played again; see `dfgym.games.outcomes.Twin`."""

    most_states, most_draws = MOST_STATES, MOST_DRAWS

    def __init__(self, source: Source) -> None:
        self.source = source
        self.game: Any = source.env.unwrapped
        self.path: tuple[int, tuple[_Step, ...]] | None = None

    def begin(self, seed: int, actions: Sequence[Row]) -> tuple[Belief, np.ndarray]:
        """See `Twin`."""
        frame = play_again(self.source, seed, actions)[-1]
        self.path = (seed, tuple(_Step(_plain(action), None) for action in actions))
        return [(self.path, 1.0)], frame

    def outcomes(self, state: Any, action: Row) -> Iterator[Outcome]:
        """See `Twin`."""
        seed, steps = state

        def play(decisions: Decisions) -> Outcome:
            self._load(seed, steps)
            observation, reward, terminated = self._step(action, decisions)
            self.path = (seed, (*steps, _Step(_plain(action), tuple(decisions.picks))))
            frame, chance = self.source.frame(observation), decisions.probability
            return Outcome(self.path, self.path, frame, reward, terminated, False, chance)

        yield from walk(play, WIDE)

    def draw(self, state: Any, action: Row, seed: int) -> Outcome:
        """See `Twin`."""
        self._load(*state)
        observation, reward, terminated = self._step(action, np.random.default_rng(seed))
        frame = self.source.frame(observation)
        return Outcome(None, None, frame, reward, terminated, False)

    def _load(self, seed: int, steps: tuple[_Step, ...]) -> None:
        if self.path == (seed, steps):
            return
        play_again(self.source, seed, ())
        for step in steps:
            row = step.action if isinstance(step.action, int) else np.array(step.action, np.float32)
            decisions = None if step.picks is None else Decisions(step.picks)
            self.source.frame(self._step(row, decisions)[0])
        self.path = (seed, steps)

    def _step(self, action: Row, decisions: Any) -> tuple[Any, float, bool]:
        generator = self.game._np_random
        self.path = None  # until the step is done
        if decisions is not None:
            self.game._np_random = decisions
        try:
            observation, reward, terminated, _, _ = self.source.env.step(self.source.to_env(action))
        finally:
            self.game._np_random = generator
        return observation, float(reward), bool(terminated)


def _plain(action: Row) -> Any:
    return int(action) if np.ndim(action) == 0 else tuple(np.asarray(action).tolist())


def generators_used(source: Source) -> list[str]:
    """Return the attributes that hold generators, besides Gymnasium's, by which steps draw."""
    source.env.reset(seed=0)
    layers: list[Any] = [source.env]
    while layers[-1] is not source.env.unwrapped:
        layers.append(layers[-1].env)
    own = {
        name: (item, _state(item))
        for layer in layers
        for name, item in vars(layer).items()
        if isinstance(item, GENERATORS) and name != "_np_random"
    }
    if own:
        policy = RandomPolicy(source.actions, 0, 0.5)
        for _ in range(TRIED):
            action = source.to_env(policy(np.zeros(0)))
            _, _, terminated, truncated, _ = source.env.step(action)
            if terminated or truncated:
                break
    return [name for name, (item, state) in own.items() if _state(item) != state]


def _state(generator: Any) -> Any:
    """Return a generator's state as a value that can be compared."""
    if isinstance(generator, np.random.Generator):
        return freeze(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        return freeze(generator.get_state(legacy=False))
    return generator.getstate()
