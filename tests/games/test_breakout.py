"""The scripted Breakout player: it must be strong, fast, and see nothing but pixels."""

import numpy as np
import pytest

pytest.importorskip("minatar")

from dfgym.games import breakout as scripted
from dfgym.games.minatar import MinAtarEnv

NAME = "minatar-breakout-v0"


def returns(policy, episodes: int, cap: int, enlarge: int = 1) -> list[float]:
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


def test_it_is_strong():
    assert np.mean(returns(scripted.make(NAME), 10, cap=600)) >= 20


def test_epsilon_weakens_it_and_one_is_random():
    weaker = np.mean(returns(scripted.make(NAME, 0.2, seed=1), 40, cap=1000))
    chance = np.mean(returns(scripted.make(NAME, 1.0, seed=1), 100, cap=1000))
    assert chance < 1 < weaker < 20


def test_it_follows_the_ball_even_under_the_bricks():
    env, policy = MinAtarEnv(), scripted.make(NAME, 0.2, seed=3)
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


def test_dawdling_costs_it_balls_by_sticky_actions_alone():
    calm = returns(scripted.make(NAME, 0, seed=4), 20, cap=600)
    late = returns(scripted.make(NAME, 0, seed=4, dawdle=1.0), 60, cap=600)
    assert 1.5 < np.mean(late) < np.mean(calm) / 2
    env, policy = MinAtarEnv(sticky_action_prob=0.0), scripted.make(NAME, 0, seed=4, dawdle=1.0)
    for seed in range(10):
        policy.reset()
        observation, _ = env.reset(seed=seed)
        for _ in range(100):
            observation, _, terminated, _, _ = env.step(policy(observation))
            assert not terminated


def test_cell_size_does_not_matter():
    small = returns(scripted.make(NAME, 0.1, seed=2), 5, cap=300)
    assert small == returns(scripted.make(NAME, 0.1, seed=2), 5, cap=300, enlarge=4)


def test_same_seed_same_actions():
    frames = np.zeros((50, 10, 10, 3), np.uint8)
    first, again, other = (scripted.make(NAME, 0.5, seed=seed) for seed in (1, 1, 2))
    actions = [[policy(frame) for frame in frames] for policy in (first, again, other)]
    assert actions[0] == actions[1] != actions[2]


@pytest.mark.parametrize("seed", range(3))
def test_no_picture_makes_it_fail(seed):
    chance = np.random.default_rng(seed)
    policy = scripted.make(NAME)
    colours = np.array([scripted.EMPTY, scripted.PADDLE, scripted.BALL, scripted.BRICK], np.uint8)
    for _ in range(300):
        frame = np.repeat(chance.choice(colours, (10, 10, 1)), 3, axis=2)
        assert policy(frame) in (0, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("minatar-asterix-v0",), "no scripted player for 'minatar-asterix-v0'"),
        ((NAME, 1.5), r"epsilon 1.5 must lie in \[0, 1\]"),
        ((NAME, float("nan")), "epsilon nan"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        scripted.make(*arguments)
