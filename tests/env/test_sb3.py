"""Stable-Baselines3's view, over a toy dynamics: as its `DummyVecEnv` of single environments."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack

import dfgym
from dfgym.env.env import DreamEnv
from dfgym.env.sb3 import DreamVecEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import ConfigError
from toys import dynamics as toy_dynamics
from toys.dynamics import NAME, SCALE, H, N, ToyDynamics, W

ROWS = 4


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_dynamics.install(monkeypatch)


def play(env: VecEnv, steps: int) -> list[Any]:
    actions = np.random.default_rng(0)
    env.seed(11)
    env.set_options({"index": 1})
    came: list[Any] = [env.reset(), list(env.reset_infos), env.reset()]
    for _ in range(steps):  # a DummyVecEnv writes into some of what it returned
        observations, rewards, dones, infos = env.step(actions.integers(N, size=ROWS))
        came += [np.array(observations), rewards.copy(), dones.copy()]
        came += [list(infos), list(env.reset_infos)]
    return came


@pytest.mark.parametrize("end", [4, 2**62])
def test_it_does_what_a_dummy_vec_env_does(end: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyDynamics, "END", end)
    mine = play(dfgym.make_sb3("Toy-v0", num_envs=ROWS).unwrapped, 40)
    theirs = play(DummyVecEnv([lambda: DreamEnv(NAME) for _ in range(ROWS)]), 40)
    for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
        assert data_equivalence(one, other, exact=True), number


def test_truncation_is_told_from_termination(monkeypatch: pytest.MonkeyPatch) -> None:
    env = cast(Any, dfgym.make_sb3("Limited-v0", num_envs=1))
    for end, truncated in ((2**62, True), (1, False)):
        monkeypatch.setattr(ToyDynamics, "END", end)
        env.seed(3)
        env.reset()
        done = False
        while not done:
            observation, _, (done,), (info,) = env.step(np.ones(1, int))
        assert info["TimeLimit.truncated"] is truncated
        assert info["terminal_observation"].shape == (H * SCALE, W * SCALE, 3)
        assert not np.array_equal(info["terminal_observation"], observation[0])
        assert info["episode"]["l"] == (5 if truncated else 1)


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (PPO, {"n_steps": 16, "batch_size": 32, "n_epochs": 1}),
        (DQN, {"buffer_size": 200, "learning_starts": 50, "batch_size": 8, "train_freq": 8}),
    ],
)
def test_agents_train(algorithm: Any, settings: dict[str, Any]) -> None:
    env = dfgym.make_sb3("Toy-v0", num_envs=ROWS)
    model = algorithm("CnnPolicy", env, device="cpu", seed=0, **settings)
    model.learn(256)
    assert model.num_timesteps >= 256 and len(model.ep_info_buffer) > 0
    score, _ = evaluate_policy(model, env, n_eval_episodes=4)
    assert np.isfinite(score)


def test_frames_stack_and_pictures_tile() -> None:
    env = VecFrameStack(dfgym.make_sb3("Toy-v0", num_envs=ROWS, render_mode="rgb_array"), 4)
    assert env.reset().shape == (ROWS, H * SCALE, W * SCALE, 12)  # type: ignore[union-attr]
    picture = env.render()
    assert picture is not None and picture.shape[0] >= 2 * 256


def test_attributes_are_shared_and_methods_are_not_a_rows_own() -> None:
    env = dfgym.make_sb3("Toy-v0", num_envs=ROWS)
    assert env.get_attr("num_envs") == [ROWS] * ROWS
    assert env.get_attr("render_mode", [0, 2]) == [None, None]
    assert not env.has_attr("no_such_thing")
    assert env.env_is_wrapped(object) == [False] * ROWS  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="clone_state"):
        env.env_method("clone_state")
    with pytest.raises(NotImplementedError, match="render_mode"):
        env.set_attr("render_mode", "rgb_array")
    env.close()
    env.close()


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="leave autoreset_mode out"):
        dfgym.make_sb3("Toy-v0", num_envs=2, autoreset_mode="NextStep")
    with pytest.raises(ConfigError, match="make_vec_env"):
        dfgym.make_sb3("CartPole-v1", num_envs=2)
    with pytest.raises(ConfigError, match="num_envs = 0"):
        dfgym.make_sb3("Toy-v0", num_envs=0)
    with pytest.raises(ConfigError, match="SAME_STEP"):
        DreamVecEnv(DreamVectorEnv(2, world=NAME))
    with pytest.raises(ConfigError, match="one dict"):
        dfgym.make_sb3("Toy-v0", num_envs=2).set_options([{}, {}])
