"""Pong: positions read off drawings, where a ball arrives, and a player that wins rallies."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from dfgym import games
from dfgym.games.pong import (
    BALL,
    BOTTOM,
    DOWN,
    HEIGHT,
    OTHER,
    OWN,
    STAY,
    TOP,
    UP,
    WIDTH,
    PongPolicy,
    arrival,
    read,
)


def draw(
    ball: tuple[int, int] | None = None, own: int | None = None, other: int | None = None
) -> np.ndarray:
    """Return a frame at full size with things whose top left pixels are at these places."""
    frame = np.full((HEIGHT, WIDTH, 3), (144, 72, 17), np.uint8)
    frame[:24, 20:60], frame[:24, 100:140] = OTHER, OWN  # the score
    frame[24:TOP] = frame[BOTTOM:] = BALL
    if ball:
        frame[ball[0] : ball[0] + 4, ball[1] : ball[1] + 2] = BALL
    if own:
        frame[own : own + 16, 140:144] = OWN
    if other:
        frame[other : other + 16, 16:20] = OTHER
    return frame


def test_positions_are_the_middles_of_what_is_drawn() -> None:
    positions = read(draw((100, 80), 60, 150))
    expected = 102 / HEIGHT, 81 / WIDTH, 68 / HEIGHT, 158 / HEIGHT
    assert np.allclose(positions, expected)
    empty = read(draw())
    assert not empty.has_ball and np.isnan(empty).all()
    alone = read(draw((TOP, 0)))
    assert alone.has_ball and np.isnan(alone.own), "a ball at the corner is no bar"
    assert not read(np.full((64, 64, 3), 236, np.uint8)).has_ball, "all white is no ball"


@pytest.mark.parametrize(("row", "expected"), [(0.5, 0.5), (0.1, 0.2238), (1.0, 0.8476)])
def test_a_ball_is_reflected_by_the_bars(row: float, expected: float) -> None:
    assert arrival(row) == pytest.approx(expected, abs=1e-3)
    assert arrival(row + 2 * (BOTTOM - TOP) / HEIGHT) == pytest.approx(arrival(row))


def test_the_player_goes_where_the_ball_will_arrive() -> None:
    def act(*frames: np.ndarray) -> int:
        return PongPolicy().plan(np.stack(frames), 1)[0]

    low = draw((120, 80), 60), draw((124, 84), 60)
    assert act(*low) == DOWN
    assert act(draw((120, 80), 150), draw((116, 84), 150)) == UP
    assert act(draw(own=106)) == STAY, "it waits in the middle"
    assert act(draw((100, 80), 60), draw((104, 76), 60)) == DOWN, (
        "the ball flies away: to the middle"
    )
    assert PongPolicy().plan(np.stack(low), 3) == [DOWN] * 3
    assert act(draw()) == STAY, "no paddle to steer"


def test_a_share_of_actions_is_random_and_a_dawdler_misses() -> None:
    frame = draw((120, 80), 106)
    actions = [PongPolicy(1.0, seed)(frame) for seed in range(200)]
    assert set(actions) == set(range(6))
    assert {PongPolicy(0, seed, 1.0)(frame) for seed in range(400)} == {UP, DOWN}
    with pytest.raises(ValueError, match="`dawdle` is 2"):
        PongPolicy(dawdle=2)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ale_py") is None, reason="ale-py is not installed")
def test_it_returns_more_balls_than_a_random_player() -> None:
    import ale_py
    import gymnasium as gym

    gym.register_envs(ale_py)
    env = gym.make("ALE/Pong-v5")

    def lost(policy: games.Policy) -> int:
        frame, _ = env.reset(seed=1)
        points = 0
        for _ in range(1000):
            frame, reward, ended, _, _ = env.step(policy(frame))
            points += float(reward) < 0
            if ended:
                frame, _ = env.reset()
        return points

    assert 2 * lost(PongPolicy()) < lost(games.RandomPolicy(6, 0))
    env.close()


def test_the_game_is_known() -> None:
    game = games.find("ale_py:ALE/Pong-v5")
    assert game is not None and game.policy is PongPolicy
