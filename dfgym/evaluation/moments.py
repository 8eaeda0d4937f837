"""Moments of real games that training never used, and how the real game goes on from there.

Legend: t frames, h w a frame of the model's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dfgym.env.real import opening
from dfgym.errors import NotMeasuredError
from dfgym.evaluation.rollout import Episode, Real, find_game, policies, roll
from dfgym.games.outcomes import Twin
from dfgym.games.source import Source
from dfgym.games.twin import open_twin

if TYPE_CHECKING:
    from dfgym.world.card import Card
    from dfgym.world.dynamics import Dynamics

ROWS = 16
BLUR = 48
"""Grey levels by which an RGB dream may be off in any pixel and still show the real frame."""


@dataclass(frozen=True)
class Moment:
    """A frame of a real episode, with all before it."""

    episode: Episode
    at: int

    def context(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the last frames up to here, `window` at most, and the actions between them."""
        first = max(0, self.at + 1 - window)
        return self.episode.frames[first : self.at + 1], self.episode.actions[first : self.at]

    def after(self, steps: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Return how the episode goes on.

        Returns:
            Frames `(steps + 1, h, w, 3)` from here on, the last one held after the end; the
            `steps` actions, 0 after the end; and the number of steps that are recorded: all, if the
            episode ended by itself, otherwise those before it was cut.
        """
        actions = self.episode.actions[self.at :][:steps]
        missing = np.zeros((steps - len(actions), *actions.shape[1:]), actions.dtype)
        recorded = steps if self.episode.terminated[-1] else len(actions)
        frames = hold(self.episode.frames[self.at :], steps)
        return frames, np.concatenate([actions, missing]), recorded


def draw(card: Card, count: int, epsilon: float, seed: int, least: int = 0) -> list[Moment]:
    """Draw moments evenly from fresh real games, played by the scripted policy.

    Args:
        card: of the world.
        count: the number of moments.
        epsilon: the policy's share of random actions.
        seed: of games, policy and draw.
        least: transitions that each row plays at least, so that much may follow a moment.
    """
    rows = min(count, ROWS)
    played = max(4 * count, least * rows)
    game = Real(card, rows, seed)
    episodes = roll(game, policies(card, rows, epsilon, seed), played, card.episode.max_steps)
    moments = [Moment(episode, at) for episode in episodes for at in range(len(episode))]
    indices = np.random.default_rng(seed).choice(len(moments), count, replace=False)
    return [moments[i] for i in indices]


def open_judge(card: Card) -> Twin:
    """Open a world's real game, to judge dreams that go on from moments of it.

    Raises:
        NotMeasuredError: it cannot be brought back to a moment, or it hides at the reset what a
            dream may lay out otherwise.
    """
    game = find_game(card)
    if game is not None and game.hides_layout:
        raise NotMeasuredError(
            "the game's layout is hidden until it comes into sight, and a dream may lay it out "
            "otherwise; see `dfgym study memory` for what it remembers of what was in sight"
        )
    return open_twin(opening(card))


def begin(dynamics: Dynamics, moments: Sequence[Moment], seed: int) -> None:
    """Put a moment into each row of a dream; rows left over get the last one."""
    history, rows = dynamics.world.card.model.history, dynamics.num_rows
    filled = [*moments, *[moments[-1]] * (rows - len(moments))]
    seeds = np.random.default_rng(seed).integers(2**63, size=rows)
    dynamics.reset(np.arange(rows), seeds, [moment.context(history) for moment in filled])


def twin(source: Source, moment: Moment, actions: np.ndarray, seed: int) -> Episode:
    """Play the real game up to a moment again, and on from there with other chance.

    Args:
        source: a copy of the game that can redraw its chance.
        moment: its episode's seed and actions bring the game there.
        actions: t rows, to be carried out from there, until the game ends.
        seed: of the other chance.

    Returns:
        The episode from the moment on.
    """
    frames, rewards, ended = [play_again(source, moment)], [], []
    assert np.array_equal(frames[0], moment.episode.frames[moment.at])
    source.redraw(seed)
    for action in actions:
        observation, reward, terminated, _, _ = source.env.step(source.to_env(action))
        frames.append(source.frame(observation))
        rewards.append(float(reward))
        ended.append(bool(terminated))
        if terminated:
            break
    return Episode(
        np.stack(frames), actions[: len(ended)], np.array(rewards), np.array(ended), 0, 0
    )


def play_again(source: Source, moment: Moment) -> np.ndarray:
    """Bring the real game to a moment by its episode's seed and actions; return the frame there."""
    observation, _ = source.env.reset(seed=moment.episode.seed)
    for action in moment.episode.actions[: moment.at]:
        observation, *_ = source.env.step(source.to_env(action))
    return source.frame(observation)


def hold(frames: np.ndarray, steps: int) -> np.ndarray:
    """Return `steps + 1` frames `(steps + 1, h, w, 3)`, the last of `frames` held for ever."""
    return frames[np.minimum(np.arange(steps + 1), len(frames) - 1)]
