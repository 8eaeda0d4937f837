"""Periods of hidden timers: the real game is its own oracle, and another clock is noticed."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("minatar")

from dfgym import games
from dfgym.errors import ConfigError
from dfgym.evaluation import timers
from dfgym.evaluation.rollout import Episode, Real
from dfgym.games.minatar import MinAtarEnv, env_id, palette, read_cells
from dfgym.games.space_invaders import GAME, LEFT_ALIEN, RIGHT_ALIEN, SpaceInvadersPolicy
from dfgym.world import shelf
from dfgym.world.card import Card

MOVE, SHOOT = "aliens move", "an alien shoots"


def play(seed: int, steps: int, change: int = 0) -> tuple[Episode, dict[str, np.ndarray]]:
    """Play one real episode; also return when the game's own timers stood at 0.

    Args:
        seed: of game and player.
        steps: at most.
        change: a bomb comes sooner or later by up to so many steps.
    """
    env, policy = MinAtarEnv("space_invaders", 0.0), SpaceInvadersPolicy(0.1, seed)
    random, game = np.random.default_rng(seed), env.game
    frames: list[Any] = [env.reset(seed=seed)[0]]
    due: list[tuple[bool, bool]] = []
    over = False
    while not over and len(due) < steps:
        due.append((game.alien_move_timer == 0, game.alien_shot_timer == 0))
        frame, _, over, _, _ = env.step(policy(frames[-1]))
        if due[-1][1] and change:
            game.alien_shot_timer += int(random.integers(-change, change + 1))
        frames.append(frame)
    count = len(due)
    episode = Episode(
        np.stack(frames), np.zeros(count, int), np.zeros(count), np.zeros(count, bool), 0, seed
    )
    return episode, dict(zip((MOVE, SHOOT), np.array(due).T, strict=True))


def test_the_timers_read_off_frames_are_the_games_own() -> None:
    for seed in range(6):
        episode, due = play(seed, 400)
        assert GAME.timers is not None
        read = GAME.timers(episode.frames)
        assert np.array_equal(read[SHOOT], due[SHOOT]) and due[SHOOT].any()
        cells = read_cells(episode.frames, palette(6))
        several = np.isin(cells, (LEFT_ALIEN, RIGHT_ALIEN)).sum((1, 2))[:-1] > 3
        # The last ones may be hidden by a bomb, or killed as they move.
        assert np.array_equal(read[MOVE][several], due[MOVE][several])
        assert not (read[MOVE] & ~due[MOVE]).any()


def test_two_real_games_agree_and_another_clock_does_not() -> None:
    one, same = ([play(seed + k, 400)[0] for seed in range(4)] for k in (0, 50))
    other = [play(seed, 400, change=3)[0] for seed in range(4)]
    periods = [timers.find_periods(GAME, episodes) for episodes in (one, same, other)]
    alike, apart = timers.compare(periods[1], periods[0]), timers.compare(periods[2], periods[0])
    assert alike[SHOOT]["usual"] == 10
    assert alike[SHOOT]["real"] > 0.95 and alike[SHOOT]["distance"] < 0.05
    assert apart[SHOOT]["distance"] > 0.5 > apart[SHOOT]["dream"]
    assert alike[MOVE]["distance"] < 0.2 and apart[MOVE]["distance"] < 0.2


def test_distances() -> None:
    assert timers.distance(np.array([2, 2, 3, 3]), np.array([3, 2])) == 0
    assert timers.distance(np.array([1, 1]), np.array([5])) == 1
    assert timers.distance(np.array([2, 4]), np.array([2, 2])) == 0.5
    assert timers.distance(np.array([], int), np.array([2])) is None


def test_a_dream_in_which_nothing_happens_is_no_error() -> None:
    result = timers.compare({}, {SHOOT: np.array([10, 10])})[SHOOT]
    assert result["dream"] is None and result["distance"] is None and result["real"] == 1


def test_a_game_without_known_timers_is_refused() -> None:
    breakout = games.find(env_id("breakout"))
    assert breakout is not None
    with pytest.raises(ConfigError, match="no hidden timers of DFSource/MinAtar-Breakout-v0"):
        timers.find_periods(breakout, [])


class RealDynamics:
    """The real game in the place of a dream."""

    def __init__(self, card: Card, num_rows: int) -> None:
        self.real, self.num_rows = Real(card, num_rows, seed=99), num_rows
        self.world = shelf.load(shelf.DEFAULT)  # for its starts, which do not matter

    def reset(self, rows: np.ndarray, seeds: np.ndarray, contexts: Any) -> None:
        self.real.reset(rows)

    def frames(self) -> np.ndarray:
        return self.real.frames()

    def step(self, actions: np.ndarray) -> Any:
        return self.real.step(actions)


def test_a_world_is_measured_beside_the_real_game() -> None:
    shipped = shelf.load(shelf.DEFAULT).card
    source = dataclasses.replace(shipped.source, env=env_id("space_invaders"))
    card = dataclasses.replace(shipped, source=source)
    make: Any = partial(RealDynamics, card)
    result = timers.measure(make, card, steps=1_200, rows=4)
    assert result[SHOOT]["usual"] == 10 and result[SHOOT]["distance"] < 0.05
    assert result[SHOOT]["dream_count"] > 50 < result[SHOOT]["real_count"]
    with pytest.raises(ConfigError, match="no hidden timers"):
        timers.measure(make, shipped, steps=40, rows=4)
