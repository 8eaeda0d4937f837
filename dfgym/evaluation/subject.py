"""What every question is asked of: a world, how it is run, and how closely one looks.

A question is a module of this folder with a `NAME` and four functions: `measure` takes a subject
and returns plain values for the JSON file, or raises `NotMeasuredError`; `section` writes them into
the report; `findings` says in words what a user must know; `card_entries` picks what belongs on the
world's card. `run.QUESTIONS` lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from dfgym.evaluation import branches, plays
from dfgym.evaluation.branches import Branches
from dfgym.evaluation.plays import Plays
from dfgym.evaluation.report import Section
from dfgym.evaluation.rollout import find_game
from dfgym.evaluation.verdict import Finding
from dfgym.games import Game
from dfgym.world.bundle import World
from dfgym.world.card import Card
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

STRIDE = 100_000
"""Between the seeds of one question under two seeds of an evaluation; none needs so many."""
QUICK = 20
"""A quick look takes this fraction of the frames."""
MakeDynamics = Callable[[int], Dynamics]
"""Makes the world's dynamics with so many rows."""


class Question(Protocol):
    """A module that answers one question about a world."""

    NAME: str
    """The key of its answer in the JSON file."""

    def measure(self, subject: Subject) -> dict[str, Any]:
        """Measure; raises `NotMeasuredError` if the question has no answer."""
        ...

    def section(self, result: dict[str, Any]) -> Section:
        """Write the answer into the report."""
        ...

    def findings(self, result: dict[str, Any]) -> list[Finding]:
        """Return what the answer says of the world, for the verdict over all questions."""
        ...

    def card_entries(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the tables of the answer that belong on the world's card, by name."""
        ...


@dataclass(frozen=True)
class Subject:
    """A world under measurement.

    Attributes:
        world: the world.
        folder: the folder of the results.
        settings: how the world is run.
        quick: whether to take a twentieth of the frames: a look, not a measurement.
        seed: of all that is played and drawn; see `seed_of`.
    """

    world: World
    folder: Path
    settings: Settings = Settings()
    quick: bool = False
    seed: int = 0

    @property
    def card(self) -> Card:
        """The world's card."""
        return self.world.card

    @property
    def game(self) -> Game | None:
        """What is known of the real game at this size of frames."""
        return find_game(self.card)

    @cached_property
    def branches(self) -> Branches:
        """What every action leads to from the same moments; see `branches.grow`.

        Raises:
            NotMeasuredError: the real game cannot be brought back to a moment.
        """
        size = (branches.COUNT, branches.DRAWS)
        if self.quick:
            size = (branches.QUICK_COUNT, branches.QUICK_DRAWS)
        return branches.grow(self.make, self.card, *size, self.seed_of(5))

    @cached_property
    def plays(self) -> Plays:
        """Long play of the same players in both games; see `plays.gather`."""
        steps = plays.QUICK_STEPS if self.quick else plays.STEPS
        return plays.gather(self.make, self.card, steps, self.seed_of(13))

    def make(self, rows: int) -> Dynamics:
        """Make the world's dynamics with so many rows."""
        return Dynamics(self.world, rows, self.settings)

    def seed_of(self, own: int) -> int:
        """Return a question's seed: its own one under seed 0, and other ones under all others."""
        return own + STRIDE * self.seed

    def scale(self, count: int) -> int:
        """Return a number of frames, or the fraction of it that a quick look takes."""
        return count // QUICK if self.quick else count
