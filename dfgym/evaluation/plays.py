"""Long play of the same players in the dream and, twice, in the real game.

Several questions compare the two: what the second real play has beside the first is as much as
chance alone can make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dfgym.agents.players import HOLD
from dfgym.errors import NotMeasuredError
from dfgym.evaluation.rollout import Dream, Episode, Real, Rows, find_game, policies, roll
from dfgym.games import Policy, RandomPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfgym.world.card import Card
    from dfgym.world.dynamics import Dynamics

STEPS, QUICK_STEPS = 6_000, 1_600
"""Steps over all rows."""
ROWS = 16
EPSILON = 0.2
CLIP = 8
"""Frames of a clip."""


@dataclass(frozen=True)
class Plays:
    """Episodes of the same players.

    Attributes:
        dream: in the dream.
        real: in the real game.
        again: in the real game with other chance.
        players: who plays, in words.
    """

    dream: Sequence[Episode]
    real: Sequence[Episode]
    again: Sequence[Episode]
    players: str

    def copy(self) -> list[Episode]:
        """Return the second real play with each episode's first frame for ever: the floor."""
        return [freeze(episode) for episode in self.again]


def freeze(episode: Episode) -> Episode:
    """Return an episode with its first frame for ever, without rewards and without an end."""
    frames = np.repeat(episode.frames[:1], len(episode.frames), 0)
    return replace(
        episode,
        frames=frames,
        rewards=0 * episode.rewards,
        terminated=np.zeros_like(episode.terminated),
    )


def gather(
    make: Callable[[int], Dynamics], card: Card, steps: int = STEPS, seed: int = 13
) -> Plays:
    """Let the same players play the dream and twice the real game.

    Args:
        make: makes the dynamics.
        card: of the world.
        steps: of each play, over all rows.
        seed: of the games and of the players.
    """
    names = ("the scripted player with 20 % random actions", "a random player")
    if find_game(card) is None:
        names = ("a random player", "one that holds its actions")
    return Plays(
        _play(Dream(make(ROWS), seed), card, steps, seed),
        play_real(card, steps, seed + 1),
        play_real(card, steps, seed + 2),
        " and ".join(names) + " play half of the rows each",
    )


def play_real(card: Card, steps: int, seed: int) -> list[Episode]:
    """Let the players of `gather` play the real game alone."""
    return _play(Real(card, ROWS, seed), card, steps, seed)


def _play(game: Rows, card: Card, steps: int, seed: int) -> list[Episode]:
    return roll(game, _players(card, seed), steps, card.episode.max_steps)


def _players(card: Card, seed: int) -> list[Policy]:
    """Make one policy a row: half of them play by the script, if there is one."""
    half, seeds = ROWS // 2, np.random.SeedSequence(seed).spawn(ROWS)
    random: list[Policy] = [RandomPolicy(card.actions, item) for item in seeds[:half]]
    if find_game(card) is not None:
        return [*random, *policies(card, half, EPSILON, seed)]
    return [*random, *(RandomPolicy(card.actions, item, HOLD) for item in seeds[half:])]


def clips(episodes: Sequence[Episode], stride: int, length: int = CLIP) -> tuple[np.ndarray, ...]:
    """Cut episodes into clips that begin every `stride` frames.

    Returns:
        Frames uint8 `(n, length, h, w, 3)`, the rows that played them, int `(n,)`, and the places
        of their first frames in their episodes, int `(n,)`.

    Raises:
        NotMeasuredError: no episode has so many frames.
    """
    pieces = [
        (episode.frames[at : at + length], episode.row, at)
        for episode in episodes
        for at in range(0, len(episode.frames) - length + 1, stride)
    ]
    if not pieces:
        longest = max((len(episode.frames) for episode in episodes), default=0)
        raise NotMeasuredError(
            f"episodes are too short: the longest has {longest} frames, and a clip {length}"
        )
    frames, rows, places = zip(*pieces, strict=True)
    return np.stack(frames), np.array(rows), np.array(places)
