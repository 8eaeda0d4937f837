"""Play a game, dreamed or real, many rows at once, and keep every frame.

Legend: b rows side by side, t frames of an episode, h w a frame of the model's size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dfgym import games
from dfgym.env.real import opening
from dfgym.errors import MissingPackageError
from dfgym.games import Game, Policy, RandomPolicy
from dfgym.games.source import Source, open_source

if TYPE_CHECKING:
    from dfgym.world.bundle import World
    from dfgym.world.card import Card
    from dfgym.world.dynamics import Dynamics


class StepResult(Protocol):
    """The answer to a step: frames uint8 `(b, h, w, 3)`, rewards and terminated `(b,)`."""

    @property
    def frames(self) -> np.ndarray:
        """The current frames."""
        ...

    @property
    def rewards(self) -> np.ndarray:
        """The rewards of the step."""
        ...

    @property
    def terminated(self) -> np.ndarray:
        """Whether the step ended the episode."""
        ...


class Rows(Protocol):
    """Rows of one game, stepped together."""

    num_rows: int

    def reset(self, rows: np.ndarray) -> None:
        """Begin the next episode in these rows."""

    def frames(self) -> np.ndarray:
        """Return the current frames, uint8 `(b, h, w, 3)`."""
        ...

    def step(self, actions: np.ndarray) -> StepResult:
        """Step every row by actions, int64 `(b,)` or float32 `(b, parts)`."""
        ...


Begin = Callable[["World", np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Draws the beginning of an episode: real frames, and the actions between them."""


def first_frame(world: World, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the first frame of a held-out episode."""
    frames, actions = world.starts.episode(int(generator.integers(len(world.starts))))
    return frames[:1], actions[:0]


class Dream:
    """The learned game; every episode begins as `begin` draws it."""

    def __init__(self, dynamics: Dynamics, seed: int = 0, begin: Begin = first_frame) -> None:
        self.dynamics, self.begin = dynamics, begin
        self.num_rows = dynamics.num_rows
        self._random = [np.random.default_rng(s) for s in _seeds(seed, self.num_rows)]

    def reset(self, rows: np.ndarray) -> None:
        """Begin the next episode in these rows."""
        contexts, seeds = [], []
        for row in rows:
            contexts.append(self.begin(self.dynamics.world, self._random[row]))
            seeds.append(self._random[row].integers(2**63))
        self.dynamics.reset(rows, np.array(seeds, np.int64), contexts)

    def frames(self) -> np.ndarray:
        """Return the current frames."""
        return self.dynamics.frames()

    def step(self, actions: np.ndarray) -> StepResult:
        """Step every row."""
        return self.dynamics.step(actions)


@dataclass(frozen=True)
class RealStep:
    """A `StepResult` of the real game."""

    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray


class Real:
    """The source game, a copy a row; what a row plays follows from the seed and its actions."""

    def __init__(self, card: Card, num_rows: int, seed: int = 0) -> None:
        self.num_rows = num_rows
        self.seeds = [0] * num_rows  # of the running episodes
        self._random = [np.random.default_rng(s) for s in _seeds(seed, num_rows)]
        self._sources = [open_real(card) for _ in range(num_rows)]
        self._frames = np.zeros((num_rows, card.frames.height, card.frames.width, 3), np.uint8)

    def reset(self, rows: np.ndarray) -> None:
        """Begin the next episode in these rows."""
        for row in rows:
            self.seeds[row] = int(self._random[row].integers(2**32))
            source = self._sources[row]
            self._frames[row] = source.frame(source.env.reset(seed=self.seeds[row])[0])

    def frames(self) -> np.ndarray:
        """Return the current frames."""
        return self._frames.copy()

    def step(self, actions: np.ndarray) -> RealStep:
        """Step every row."""
        rewards, terminated = np.zeros(self.num_rows), np.zeros(self.num_rows, bool)
        for row, (source, action) in enumerate(zip(self._sources, actions, strict=True)):
            observation, reward, ends, _, _ = source.env.step(source.to_env(action))
            self._frames[row] = source.frame(observation)
            rewards[row], terminated[row] = reward, ends
        return RealStep(self.frames(), rewards, terminated)


def open_real(card: Card) -> Source:
    """Make a world's source game, its frames brought to the model's size.

    Raises:
        MissingPackageError: The game is not installed; the message names the extra to install.
    """
    try:
        return open_source(opening(card))
    except MissingPackageError as reason:
        if not card.source.extra:
            raise
        raise MissingPackageError(
            f"{card.name} is measured against its real game, which needs more packages: "
            f'pip install "dfgym[{card.source.extra}]" ({reason})'
        ) from reason


@dataclass(frozen=True)
class Episode:
    """Frames and transitions, from a reset to the episode's end or to where it was cut.

    Attributes:
        frames: uint8 `(t, h, w, 3)`.
        actions: t - 1 rows; `actions[i]`, `rewards[i]`, `terminated[i]` lead to frame i + 1.
        rewards: float64 `(t - 1,)`.
        terminated: bool `(t - 1,)`.
        row: the row that played it.
        seed: the seed of the real game's reset; 0 in a dream.
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    row: int
    seed: int

    def __len__(self) -> int:
        """Count the transitions."""
        return len(self.actions)


_Played = tuple[np.ndarray, np.ndarray, float, bool]  # frame, action, reward, end


def roll(
    game: Rows, policies: Sequence[Policy], transitions: int, max_steps: int | None = None
) -> list[Episode]:
    """Play until there are at least `transitions`, as many in each row.

    An episode that ends, or reaches `max_steps`, begins anew. The last one of each row is cut.

    Args:
        game: of the dream or of the real game.
        policies: one a row.
        transitions: over all rows.
        max_steps: of one episode; None for no limit.

    Returns:
        Episodes, those of one row in order.
    """
    rows = game.num_rows
    steps = -(-transitions // rows)
    finished: list[list[Episode]] = [[] for _ in range(rows)]
    running: list[list[_Played]] = [[] for _ in range(rows)]
    seeds = getattr(game, "seeds", [0] * rows)
    game.reset(np.arange(rows))
    frames = game.frames()
    for policy in policies:
        policy.reset()
    for step in range(1, steps + 1):
        actions = np.array([play(frame) for play, frame in zip(policies, frames, strict=True)])
        after = game.step(actions)
        over = []
        for row in range(rows):
            played = running[row]
            terminated = bool(after.terminated[row])
            played.append((frames[row], actions[row], float(after.rewards[row]), terminated))
            ends = terminated or len(played) == max_steps
            if ends or step == steps:
                finished[row].append(_episode(played, after.frames[row], row, seeds[row]))
                running[row] = []
            if ends:
                over.append(row)
        frames = after.frames
        if over and step < steps:
            game.reset(np.array(over))
            frames = game.frames()
            for row in over:
                policies[row].reset()
    return [episode for row in finished for episode in row]


def find_game(card: Card) -> Game | None:
    """Return what is known of a world's game, or None; also None if it is drawn otherwise."""
    size = (card.frames.height, card.frames.width)
    return games.find(card.source.env, size, card.source.kwargs)


def policies(card: Card, count: int, epsilon: float, seed: int = 0) -> list[Policy]:
    """Make one policy a row: the game's scripted one with a share `epsilon` of random actions.

    A game of which nothing is known is played at random.
    """
    seeds = _seeds(seed, count)
    game = find_game(card)
    if game is None:
        return [RandomPolicy(card.actions, item) for item in seeds]
    return [game.policy(epsilon, item) for item in seeds]


def describe_policy(card: Card) -> str:
    """Return who plays in `policies`, in words for the report."""
    return "a random policy" if find_game(card) is None else "the game's scripted policy"


def _seeds(seed: int, count: int) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence(seed).spawn(count)


def _episode(played: list[_Played], last: np.ndarray, row: int, seed: int) -> Episode:
    frames, actions, rewards, terminated = zip(*played, strict=True)
    return Episode(
        np.stack([*frames, last]),
        np.array(actions),
        np.array(rewards),
        np.array(terminated),
        row,
        seed,
    )
