"""Dreams of MinAtar Breakout whose worth is known: one frozen, one without fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dfgym.games.minatar import MinAtarEnv
from dfgym.world.bundle import Starts
from dfgym.world.card import Card, Frames, Source
from dfgym.world.outcomes import Transition
from toys.world import toy_card


@pytest.fixture(scope="session")
def breakout_card() -> Card:
    """The card of a world of MinAtar Breakout, as far as evaluation reads it."""
    palette = tuple(tuple(map(int, colour)) for colour in MinAtarEnv().palette)
    return toy_card(
        name="minatar-breakout-v0",
        frames=Frames(10, 10, 4, 10, palette),  # type: ignore[arg-type]
        source=Source("DFSource/MinAtar-Breakout-v0", {}, {}, "minatar", "GPL-3.0"),
    )


class FrozenDynamics:
    """A dream that shows its context's last frame for ever and never ends."""

    def __init__(self, card: Card, num_rows: int) -> None:
        first = MinAtarEnv().reset(seed=0)[0][None]
        starts = Starts(first, np.zeros(1, np.int64), np.array([0, 1]), np.zeros(1, np.int64))
        self.world = SimpleNamespace(card=card, starts=starts)
        self.num_rows = num_rows
        size = (card.frames.height, card.frames.width)
        self.current = np.zeros((num_rows, *size, 3), np.uint8)

    def reset(
        self,
        rows: np.ndarray,
        seeds: np.ndarray,
        contexts: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Begin rows anew from their contexts."""
        for row, seed, (frames, actions) in zip(rows, seeds, contexts, strict=True):
            assert 0 < len(frames) == len(actions) + 1 <= self.world.card.model.window
            self.current[row] = frames[-1]
            self.begin(row, int(seed))

    def begin(self, row: int, seed: int) -> None:
        """Begin a row; a frozen dream has nothing to begin."""

    def frames(self) -> np.ndarray:
        """Return the current frames."""
        return self.current.copy()

    def step(self, actions: np.ndarray) -> Transition:
        """Change nothing."""
        zero = np.zeros(self.num_rows)
        return Transition(self.frames(), zero, zero > 0, zero + 0.25, zero)


class PerfectDynamics(FrozenDynamics):
    """A faultless dream: the real game itself, from its own start."""

    def __init__(self, card: Card, num_rows: int) -> None:
        super().__init__(card, num_rows)
        self.games = [MinAtarEnv() for _ in range(num_rows)]

    def begin(self, row: int, seed: int) -> None:
        """Begin a new game."""
        self.current[row] = self.games[row].reset(seed=seed % 2**32)[0]

    def step(self, actions: np.ndarray) -> Transition:
        """Step the games."""
        rewards, ended = np.zeros(self.num_rows), np.zeros(self.num_rows, bool)
        for row, game in enumerate(self.games):
            self.current[row], rewards[row], ended[row], _, _ = game.step(int(actions[row]))
        return Transition(self.frames(), rewards, ended, ended * 1.0, rewards)


def rows_of(kind: type[FrozenDynamics], card: Card) -> Callable[[int], Any]:
    """Make what an evaluation takes for a maker of `Dynamics`, which the toys resemble."""
    return lambda num_rows: kind(card, num_rows)
