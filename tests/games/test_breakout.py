"""The scripted Breakout policy: it must be strong, and see nothing but pixels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("minatar")

from dfgym.games.breakout import BreakoutPolicy
from dfgym.games.minatar import MinAtarEnv, palette


def returns(policy: BreakoutPolicy, episodes: int, cap: int, enlarge: int = 1) -> list[float]:
    env, totals = MinAtarEnv(), []
    for seed in range(episodes):
        policy.reset()
        observation, _ = env.reset(seed=seed)
        total = 0.0
        for _ in range(cap):
            picture = observation.repeat(enlarge, 0).repeat(enlarge, 1)
            observation, reward, terminated, _, _ = env.step(policy(picture))
            total += reward
            if terminated:
                break
        totals.append(total)
    return totals


def test_it_is_strong() -> None:
    assert np.mean(returns(BreakoutPolicy(), 10, cap=600)) >= 20


def test_epsilon_weakens_it_and_one_is_random() -> None:
    weaker = np.mean(returns(BreakoutPolicy(0.2, seed=1), 40, cap=1000))
    chance = np.mean(returns(BreakoutPolicy(1.0, seed=1), 100, cap=1000))
    assert chance < 1 < weaker < 20


def test_it_follows_the_ball_even_under_the_bricks() -> None:
    env, policy = MinAtarEnv(), BreakoutPolicy(0.2, seed=3)
    hidden = 0
    for seed in range(40):
        policy.reset()
        observation, _ = env.reset(seed=seed)
        observation, *_ = env.step(policy(observation))  # the serve is hidden: nothing to follow
        terminated = False
        while not terminated:
            action = policy(observation)
            ball = env.game.ball_x, env.game.ball_y
            assert policy.ball is not None and policy.ball[:2] == ball
            hidden += int(env.game.brick_map[ball[::-1]])
            observation, _, terminated, _, _ = env.step(action)
    assert hidden > 5


def test_dawdling_costs_it_balls_by_sticky_actions_alone() -> None:
    calm = returns(BreakoutPolicy(0, seed=4), 20, cap=600)
    late = returns(BreakoutPolicy(0, seed=4, dawdle=1.0), 60, cap=600)
    assert 1.5 < np.mean(late) < np.mean(calm) / 2
    env, policy = MinAtarEnv(sticky_action_prob=0.0), BreakoutPolicy(0, seed=4, dawdle=1.0)
    for seed in range(10):
        policy.reset()
        observation, _ = env.reset(seed=seed)
        for _ in range(100):
            observation, _, terminated, _, _ = env.step(policy(observation))
            assert not terminated


def test_cell_size_does_not_matter() -> None:
    small = returns(BreakoutPolicy(0.1, seed=2), 5, cap=300)
    assert small == returns(BreakoutPolicy(0.1, seed=2), 5, cap=300, enlarge=4)


def test_same_seed_same_actions() -> None:
    frames = np.zeros((50, 10, 10, 3), np.uint8)
    first, again, other = (BreakoutPolicy(0.5, seed=seed) for seed in (1, 1, 2))
    actions = [[policy(frame) for frame in frames] for policy in (first, again, other)]
    assert actions[0] == actions[1] != actions[2]


@pytest.mark.parametrize("seed", range(3))
def test_no_picture_makes_it_fail(seed: int) -> None:
    chance = np.random.default_rng(seed)
    policy = BreakoutPolicy()
    for _ in range(300):
        frame = chance.choice(palette(4)[[0, 1, 2, 4]], (10, 10))
        assert policy(frame) in (0, 1, 2)


@pytest.mark.parametrize("share", [1.5, -0.1, float("nan")])
def test_a_share_out_of_range_is_named(share: float) -> None:
    with pytest.raises(ValueError, match=rf"`epsilon` is {share}; expected a number in \[0, 1\]"):
        BreakoutPolicy(share)
    with pytest.raises(ValueError, match="`dawdle` is"):
        BreakoutPolicy(dawdle=share)
