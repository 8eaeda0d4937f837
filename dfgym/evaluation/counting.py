"""What can be counted in play without knowing a game's rules: rewards, ends, pixels, blobs.

Legend: t frames of an episode, h w their size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dfgym.evaluation import metrics
from dfgym.evaluation.blobs import Events, Scenery, follow, name_colour
from dfgym.evaluation.rollout import Episode
from dfgym.frames import differ, flicker

MOST_REWARDS = 8
"""More different rewards than this are counted by their sign."""


@dataclass(frozen=True)
class Sample:
    """One measure of one game.

    Attributes:
        values: independent ones, of rows or of episodes; the measure is their mean.
        events: how many events were counted, or in how many frames or episodes it is not 0.
    """

    values: Sequence[float]
    events: int


@dataclass(frozen=True)
class Play:
    """What one player did in one game: the episodes, the blobs of each, and those that ended."""

    episodes: Sequence[Episode]
    blobs: Sequence[Events]
    complete: Sequence[Episode]


def gather(episodes: Sequence[Episode], scenery: Scenery, limit: int | None) -> Play:
    """Follow the blobs of episodes, and pick those that ended or reached the limit of steps."""
    return Play(
        episodes,
        [follow(episode.frames, scenery) for episode in episodes],
        [e for e in episodes if e.terminated[-1] or len(e) == limit],
    )


RewardKind = Callable[[np.ndarray], np.ndarray]


def find_reward_kinds(*games: Sequence[Episode]) -> dict[str, RewardKind]:
    """Return which rewards are counted: those that differ from the real game's commonest one.

    They are compared as a card holds them, in single precision.
    """
    usual = find_usual_reward(games[1])
    others = sorted({r for game in games for e in game for r in _single(e.rewards).tolist()})
    others.remove(usual)
    kinds: dict[str, RewardKind] = {"rewards": lambda rewards: _single(rewards) != usual}
    if len(others) > MOST_REWARDS:
        kinds["rewards above 0"] = lambda rewards: rewards > 0
        kinds["rewards below 0"] = lambda rewards: rewards < 0
    elif len(others) > 1:
        kinds |= {f"rewards of {value:g}": _equals(value) for value in others}
    return kinds


def find_usual_reward(episodes: Sequence[Episode]) -> float:
    """Return the commonest reward, as a card holds it."""
    rewards = _single(np.concatenate([e.rewards for e in episodes]))
    values, counts = np.unique(rewards, return_counts=True)
    return float(values[counts.argmax()])


def _equals(value: float) -> RewardKind:
    return lambda rewards: _single(rewards) == value


def _single(rewards: np.ndarray) -> np.ndarray:
    return np.asarray(rewards, np.float32).astype(np.float64)


def count(
    play: Play, scenery: Scenery, kinds: dict[str, RewardKind], rows: int
) -> dict[tuple[str, str], Sample]:
    """Measure one game: by name and unit, one value a row or a complete episode."""
    episodes, blobs = play.episodes, play.blobs
    lengths = _add_up(play, rows, [np.ones(len(episode)) for episode in episodes])

    def rate(events: Sequence[np.ndarray]) -> Sample:
        totals = _add_up(play, rows, events)
        return Sample((1000 * totals / lengths).tolist(), int(totals.sum()))

    def mean(values: Sequence[np.ndarray]) -> Sample:
        number = sum(int(np.count_nonzero(array)) for array in values)
        return Sample((_add_up(play, rows, values) / lengths).tolist(), number)

    tolerance = flicker(bool(scenery.colours))
    changed = [differ(e.frames[1:], e.frames[:-1], tolerance) for e in episodes]
    samples = {
        (name, "in 1,000 steps"): rate([matches(episode.rewards) for episode in episodes])
        for name, matches in kinds.items()
    }
    samples["ends", "in 1,000 steps"] = rate([episode.terminated for episode in episodes])
    for name, unit, values in (
        ("return", "an episode", [float(e.rewards.sum()) for e in play.complete]),
        ("length", "steps an episode", [float(len(e)) for e in play.complete]),
    ):
        samples[name, unit] = Sample(values, int(np.count_nonzero(values)))
    samples["changed pixels", "share"] = mean([array.mean((1, 2)) for array in changed])
    samples["colours", "in a frame"] = mean([metrics.colours(e.frames[1:]) for e in episodes])
    samples["blobs", "in a frame"] = mean([b.count.sum(1) for b in blobs])
    samples["appearances", "in 1,000 steps"] = rate([b.appearances.sum(1) for b in blobs])
    samples["disappearances", "in 1,000 steps"] = rate([b.disappearances.sum(1) for b in blobs])
    for kind, colour in enumerate(scenery.colours):
        name = name_colour(colour)
        appearances = [b.appearances[:, kind] for b in blobs]
        samples[f"appearances of {name}", "in 1,000 steps"] = rate(appearances)
        samples[f"pixels of {name}", "share"] = mean([b.pixels[:, kind] for b in blobs])
    return samples


def _add_up(play: Play, rows: int, values: Sequence[np.ndarray]) -> np.ndarray:
    """Add up the values of each episode's transitions, float `(rows,)`."""
    places = [episode.row for episode in play.episodes]
    return np.bincount(places, [float(v.sum()) for v in values], rows)
