"""Pendulum's scripted policy, and what is read off its frames."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pygame")

from dfgym import games
from dfgym.games.pendulum import GAME, PendulumPolicy, State, advance, read
from dfgym.games.source import Opening, Source, open_source

OPENING = Opening("Pendulum-v1", size=(32, 32), filter="area")


@pytest.fixture(scope="module")
def source() -> Source:
    return open_source(OPENING)


def draw(source: Source, angle: float, torque: float = 0.0) -> np.ndarray:
    game: Any = source.env.unwrapped
    game.state, game.last_u = np.array([angle, 0.0]), torque
    return source.frame(None)


def play(source: Source, policy: Any, seed: int) -> tuple[float, list[float]]:
    """The return of an episode, and the torques."""
    policy.reset()
    observation, _ = source.env.reset(seed=seed)
    total, over, torques = 0.0, False, []
    while not over:
        action = policy(source.frame(observation))
        observation, reward, terminated, truncated, _ = source.env.step(action)
        total, over = total + float(reward), terminated or truncated
        torques.append(float(action[0]))
    return total, torques


def test_it_is_the_games_file() -> None:
    assert games.find("Pendulum-v1") is GAME


@pytest.mark.parametrize("torque", [-2.0, 0.0, 2.0])
def test_the_angle_is_read_within_three_degrees(source: Source, torque: float) -> None:
    source.env.reset(seed=0)
    for angle in np.linspace(-math.pi, math.pi, 25):
        reading = read(draw(source, angle, torque))
        assert reading is not None
        assert math.hypot(*reading) == pytest.approx(1)
        error = math.remainder(math.atan2(*reading) - angle, 2 * math.pi)
        assert abs(error) < math.radians(3)


def test_nothing_is_read_where_there_is_no_rod() -> None:
    assert read(np.full((32, 32, 3), 255, np.uint8)) is None
    assert read(np.full((32, 32, 3), (204, 77, 77), np.uint8)) is None  # all around the axle


def test_the_equations_are_the_games(source: Source) -> None:
    source.env.reset(seed=0)
    game: Any = source.env.unwrapped
    for angle, speed, torque in ((0.3, -1.0, 1.5), (-2.0, 7.9, 2.0), (3.0, -8.0, -1.0)):
        game.state = np.array([angle, speed])
        game.step(np.array([torque]))
        assert advance(State(angle, speed), torque) == pytest.approx(tuple(game.state))


def test_it_swings_the_rod_up_and_holds_it(source: Source) -> None:
    returns = [play(source, PendulumPolicy(), seed)[0] for seed in range(2)]
    assert min(returns) > -450  # left hanging, about -1,600; random torques, about -1,200


def test_one_that_errs_plays_worse_and_repeats_itself(source: Source) -> None:
    best, errs = PendulumPolicy(), PendulumPolicy(0.3, seed=5, dawdle=0.5)
    total, torques = play(source, errs, 0)
    assert total < play(source, best, 0)[0]
    assert play(source, PendulumPolicy(0.3, seed=5, dawdle=0.5), 0) == (total, torques)
    assert max(map(abs, torques)) <= 2


def test_a_plan_begins_with_what_it_would_do_now(source: Source) -> None:
    frames = np.stack([draw(source, angle) for angle in (1.0, 0.9)])
    planner, player = PendulumPolicy(), PendulumPolicy()
    plan = planner.plan(frames, 5)
    player(frames[0])
    assert len(plan) == 5
    assert plan[0] == player(frames[1])


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`dawdle` is 2.* \[0, 1\]"):
        PendulumPolicy(dawdle=2)
