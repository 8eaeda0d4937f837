"""MiniGrid's Memory: a player that must look back, and what it does on purpose."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("minigrid")

import dfgym
from dfgym import games
from dfgym.games import minigrid_memory, minigrid_memory_s7
from dfgym.games.minigrid import BALL, KEY, MiniGridEnv, read_view
from dfgym.games.minigrid_memory import MemoryPolicy

assert dfgym.__version__  # which registers the games
IDS = [minigrid_memory.ENV, minigrid_memory_s7.GAME.env_id]


def play(env: MiniGridEnv, policy: MemoryPolicy, seed: int) -> tuple[float, list[np.ndarray]]:
    """Play an episode to its end; the return, and the views."""
    frame, _ = env.reset(seed=seed)
    policy.reset()
    views, reward, over = [read_view(frame)], 0.0, False
    while not over:
        frame, reward, over, truncated, _ = env.step(policy(frame))
        views.append(read_view(frame))
        assert not truncated
    return reward, views


def open_game(env_id: str) -> MiniGridEnv:
    env = gym.make(env_id).unwrapped
    assert isinstance(env, MiniGridEnv)
    return env


@pytest.mark.parametrize("env_id", IDS)
def test_it_looks_and_goes_to_the_like(env_id: str) -> None:
    game, env = games.find(env_id), open_game(env_id)
    assert game is not None and game.policy is MemoryPolicy
    for seed in range(24):
        reward, views = play(env, MemoryPolicy(), seed)
        assert reward == 1
        alone = [np.isin(view, (KEY, BALL)).sum() == 1 for view in views[:-2]]
        assert any(alone)  # it saw the first room's object before it went


def test_it_mostly_looks_for_the_last_time_from_the_same_place() -> None:
    env = open_game(IDS[0])
    since = []
    for seed in range(40):
        _, views = play(env, MemoryPolicy(0.0, seed), seed)
        alone = [np.isin(view, (KEY, BALL)).sum() == 1 for view in views[:-2]]
        since.append(len(views) - 1 - int(np.flatnonzero(alone)[-1]))
    assert min(since) == 8, "nobody sees it later"
    assert 0.5 < np.mean(np.array(since) == 8) < 1, "others do not look again"


def test_random_actions_do_not_confuse_it() -> None:
    env = open_game(IDS[0])
    returns = [play(env, MemoryPolicy(0.2, seed), seed)[0] for seed in range(30)]
    assert np.mean(returns) > 0.8


@pytest.mark.parametrize(("dawdle", "least", "most"), [(0.99, 0.75, 0.99), (1.0, 0.3, 0.7)])
def test_who_dawdles_likes_keys_and_who_always_does_likes_either(
    dawdle: float, least: float, most: float
) -> None:
    env = open_game(IDS[1])
    returns, ends = [], []
    for seed in range(60):
        reward, views = play(env, MemoryPolicy(0.0, seed, dawdle), seed)
        returns.append(reward)
        ends.append(views[-1][-2, 3] == KEY)
    assert least < np.mean(ends) < most  # with a chance of 0.9 and of 0.5, within 3 deviations
    assert 0.25 < np.mean(np.array(returns) == 0) < 0.75


def test_it_plans_and_refuses_shares() -> None:
    env = open_game(IDS[0])
    frame, _ = env.reset(seed=0)
    assert len(MemoryPolicy().plan(frame[None], 3)) == 3
    with pytest.raises(ValueError, match="`dawdle` is 2"):
        MemoryPolicy(0.0, 0, 2)
