"""Playing many rows at once: counts, limits and seeds."""

from __future__ import annotations

from typing import Any

import numpy as np

from dfgym.evaluation.rollout import Dream, Real, policies, roll
from dfgym.games import RandomPolicy
from dfgym.world.card import Card
from toys.breakout import PerfectDynamics
from toys.world import toy_card


def test_roll_cuts_at_the_limit_and_counts(breakout_card: Card) -> None:
    dynamics: Any = PerfectDynamics(breakout_card, 3)
    episodes = roll(Dream(dynamics), [RandomPolicy(3, i) for i in range(3)], 250, max_steps=40)
    per_row = [sum(len(e) for e in episodes if e.row == row) for row in range(3)]
    assert per_row == [84, 84, 84]
    assert max(map(len, episodes)) <= 40
    for episode in episodes:
        assert not episode.terminated[:-1].any()
        assert len(episode.frames) == len(episode) + 1
        assert (episode.frames[0][3] == dynamics.games[0].palette[4]).all()  # whole bricks: a start


def test_real_rows_replay_from_their_seeds(breakout_card: Card) -> None:
    one, two = (
        roll(
            Real(breakout_card, 2, seed=4),
            policies(breakout_card, 2, 0.2, seed=5),
            200,
            max_steps=50,
        )
        for _ in range(2)
    )
    assert len(one) == len(two) > 2
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(one, two, strict=True))
    assert len({e.frames.tobytes() for e in one}) == len(one)


def test_an_unknown_game_is_played_at_random() -> None:
    assert isinstance(policies(toy_card(), 1, 0.1)[0], RandomPolicy)  # Breakout, but 8 x 8
