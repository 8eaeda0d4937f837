"""Dreams of MinAtar Breakout that stand at the real game's own moments, some with one lie.

Each is brought to a moment as the twin is, by the seed and the actions of the episode that shows
the same past; so it knows what a network would have to infer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dfgym.env.real import opening
from dfgym.evaluation import branches, moments
from dfgym.evaluation.moments import Moment
from dfgym.games.twin import open_twin
from dfgym.world.card import Card
from dfgym.world.outcomes import Outcomes
from toys.breakout import FrozenDynamics

AGE = 48


class RealGame(FrozenDynamics):
    """The real game itself: must pass every rung."""

    exact = True

    def __init__(self, card: Card, num_rows: int, pasts: Sequence[Moment]) -> None:
        super().__init__(card, num_rows)
        self.twin: Any = open_twin(opening(card))
        window = card.model.window
        self.pasts = {moment.context(window)[0].tobytes(): moment for moment in pasts}
        self.beliefs: list[Any] = [None] * num_rows
        self.history: list[Any] = []

    def reset(
        self,
        rows: np.ndarray,
        seeds: np.ndarray,
        contexts: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Go to the moments of these contexts."""
        super().reset(rows, seeds, contexts)
        for row, (frames, _) in zip(rows, contexts, strict=True):
            moment = self.pasts[frames.tobytes()]
            past = list(moment.episode.actions[: moment.at])
            self.beliefs[row] = self.twin.begin(moment.episode.seed, past)[0]

    def ways(self, row: int, action: int) -> list[Any]:
        """Return the real game's outcomes."""
        return branches.odds(self.twin, self.beliefs[row], action, 50, 0)[0]

    def outcomes(self, actions: np.ndarray, samples: int = 8) -> Outcomes:
        """Return what every row may lead to."""
        rows = [self.ways(row, int(action)) for row, action in enumerate(actions)]
        most = max(map(len, rows))
        rows = [ways + [ways[0]._replace(probability=0.0)] * (most - len(ways)) for ways in rows]
        frames, odds, rewards, ends = (
            np.array([[getattr(way, name) for way in ways] for ways in rows])
            for name in ("frame", "probability", "reward", "terminated")
        )
        return Outcomes(frames, odds, rewards, ends * 1.0, exact=True, state={})


class Mirrored(RealGame):
    """A dream in which left and right are exchanged."""

    def ways(self, row: int, action: int) -> list[Any]:
        return super().ways(row, (0, 2, 1)[action])


class Lucky(RealGame):
    """A dream whose actions stick with a probability of 0.2 where the real one is 0.1."""

    def ways(self, row: int, action: int) -> list[Any]:
        ways = super().ways(row, action)
        odds = [w.probability * (2 if w.sticky else (1 - 0.2) / (1 - 0.1)) for w in ways]
        total = sum(odds)
        return [w._replace(probability=p / total) for w, p in zip(ways, odds, strict=True)]


class Ballless(RealGame):
    """A dream that draws no ball."""

    def ways(self, row: int, action: int) -> list[Any]:
        ball = np.array(self.world.card.frames.palette[2], np.uint8)
        ways = copy.deepcopy(super().ways(row, action))
        for way in ways:
            way.frame[(way.frame == ball).all(-1)] = 0
        return ways


def branch(kind: type[RealGame], card: Card, count: int, seed: int = 5) -> branches.Branches:
    """Branch with a toy in the place of the dream."""
    card = replace(card, model=replace(card.model, window=AGE))  # no two moments look alike
    pasts = moments.draw(card, count, branches.EPSILON, seed, least=AGE)

    def make(rows: int) -> Any:
        return kind(card, rows, pasts)

    return branches.grow(make, card, count, seed=seed, age=AGE)
