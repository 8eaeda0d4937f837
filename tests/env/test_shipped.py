"""The environments over the real dynamics, with random weights: the promises of a learned world.

Everything that the shells decide themselves is tested over a toy, in the other files.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import dfgym
from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import ConfigError, DeviceError
from dfgym.world import shelf
from dfgym.world.dynamics import Dynamics
from toys.replay import play, play_batch, run

IDS = sorted(id for id in gym.registry if id.startswith("DFWorld"))


def make(world: Path, **keywords: Any) -> gym.Env:
    return gym.make("DFWorld-v0", world=str(world), **keywords)


# --- Conformance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, "rgb_array", "rgb_array_list"])
def test_checkers_find_nothing(random_world: Path, mode: str | None) -> None:
    check_env(make(random_world, render_mode=mode).unwrapped)
    check_env_sb3(make(random_world, render_mode=mode).unwrapped)
    check_env_sb3(make(random_world, render_mode=mode))


# Real games have other bounds of actions as well.
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized")
@pytest.mark.parametrize("id", IDS if shelf.DEFAULT in shelf.names() else [])
def test_checkers_find_nothing_in_any_world_on_the_shelf(id: str) -> None:
    check_env(gym.make(id).unwrapped)
    check_env_sb3(gym.make(id))


@pytest.mark.slow
def test_equal_seeds_replay_bitwise_across_processes(random_world: Path) -> None:
    script = """
import sys
import gymnasium as gym
import dfgym
from toys.replay import play
env = gym.make("DFWorld-v0", world=sys.argv[1])
env.reset(seed=5)
print(play(env, 400))
"""
    env = make(random_world)
    env.reset(seed=5)
    here = play(env, 400)
    assert run(script, random_world) == here
    few = []
    for seed in (5, 6):
        env.reset(seed=seed)
        few.append(play(env, 20))
    assert few[0] != few[1]


def test_global_generators_are_untouched(random_world: Path) -> None:
    def generators() -> list[Any]:
        return [torch.get_rng_state().tolist(), np.random.get_state(), random.getstate()]

    before = generators()
    env = make(random_world)
    env.reset(seed=0)
    env.reset(options={"start": "anywhere"})
    env.step(0)
    state = env.unwrapped.clone_state(include_rng=False)  # type: ignore[attr-defined]
    env.unwrapped.restore_state(state)  # type: ignore[attr-defined]
    batch = DreamVectorEnv(3, world=random_world, autoreset_mode=AutoresetMode.SAME_STEP)
    batch.reset()
    play_batch(batch, 5)
    assert str(before) == str(generators())


def test_rows_do_not_depend_on_their_company(random_world: Path) -> None:
    env, other, permuted = (DreamVectorEnv(4, world=random_world) for _ in range(3))
    order = np.array([2, 0, 3, 1])
    first = [env.reset(seed=[5, 6, 7, 8])[0]]
    second = [other.reset(seed=[5, 60, 70, 80])[0]]
    third = [permuted.reset(seed=[7, 5, 8, 6])[0]]
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions, noise = rng.integers(3, size=(2, 4))
        first.append(env.step(actions)[0])
        second.append(other.step(np.array([actions[0], *noise[1:]]))[0])
        third.append(permuted.step(actions[order])[0])
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(first, second, strict=True))
    assert all(np.array_equal(a[order], c) for a, c in zip(first, third, strict=True))


def test_a_batch_agrees_with_single_rows_from_one_restored_state(random_world: Path) -> None:
    world = shelf.load(random_world)
    env = DreamVectorEnv(6, world=random_world)
    env.reset(seed=0)
    dynamics = env._rows.dynamics  # type: ignore[union-attr]
    single = Dynamics(world, 1)
    wrong = pixels = 0
    for step in range(20):
        play_batch(env, 1)
        states = [dynamics.get_state(np.array([row])) for row in range(6)]
        actions = np.arange(6) % 3
        batch = dynamics.step(actions)
        for row, state in enumerate(states):
            single.set_state(np.array([0]), state)
            alone = single.step(actions[row : row + 1])
            wrong += int((alone.frames[0] != batch.frames[row]).any(-1).sum())
            pixels += alone.frames[0, ..., 0].size
            for name in ("termination_probability", "uncertainty"):
                assert getattr(alone, name)[0] == pytest.approx(
                    getattr(batch, name)[row], abs=2e-3
                ), (step, name)
    assert wrong <= 0.001 * pixels


def test_actions_matter(random_world: Path) -> None:
    env = DreamEnv(random_world)
    differ = 0
    for seed in range(20):
        env.reset(seed=seed, options={"start": "anywhere"})
        state = env.clone_state()
        frames = []
        for action in range(3):
            env.restore_state(state)
            frames.append(env.step(action)[0].tobytes())
        differ += len(set(frames)) > 1
    assert differ >= 15


def test_single_and_batched_frames_begin_alike(random_world: Path) -> None:
    observations, infos = DreamVectorEnv(3, world=random_world).reset(seed=10)
    for row in range(3):
        observation, info = DreamEnv(random_world).reset(seed=10 + row)
        assert np.array_equal(observation, observations[row])
        assert {key: infos[key][row] for key in info} == info


def test_two_environments_share_weights_and_nothing_else(random_world: Path) -> None:
    one, two, alone = (DreamEnv(random_world) for _ in range(3))
    assert one._rows.world is two._rows.world  # type: ignore[union-attr]
    for env, seed in ((one, 1), (two, 2), (alone, 1)):
        env.reset(seed=seed)
    for _ in range(10):
        digest = play(one, 3)
        play(two, 2)
        assert digest == play(alone, 3)


# --- Keywords ------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_refused(random_world: Path) -> None:
    for device in ("cuda", "cuda:3"):
        with pytest.raises(DeviceError, match=device):
            make(random_world, device=device)


@pytest.mark.parametrize(
    "keywords",
    [
        {"context_mode": "dirty"},
        {"context_noise": 1.0},
        {"context_noise": -0.1},
        {"context_noise": float("nan")},
        {"context_noise": 0.2},  # the card's mode is clean: it would be ignored
        {"context_mode": "noised"},  # the card has no noise: it would be clean
        {"denoising_steps": 0},
        {"denoising_steps": 1.5},
        {"denoising_steps": True},
        {"denoising_steps": 10**9},
    ],
    ids=repr,
)
def test_bad_keywords_are_refused(random_world: Path, keywords: dict[str, Any]) -> None:
    (value,) = keywords.values()
    with pytest.raises(ConfigError, match=str(value)):
        make(random_world, **keywords)
    with pytest.raises(ConfigError, match=str(value)):
        gym.make_vec("DFWorld-v0", num_envs=2, world=str(random_world), **keywords)


def test_a_mode_that_there_is_not_is_told_first(random_world: Path) -> None:
    with pytest.raises(ConfigError, match=r"'Clean'; allowed are clean, told_noisy"):
        make(random_world, context_mode="Clean")


def test_torchs_default_dtype_changes_nothing(random_world: Path) -> None:
    def future() -> str:
        env = make(random_world, context_mode="noised", context_noise=0.1, denoising_steps=3)
        env.reset(seed=0)
        return play(env, 10)

    expected = future()
    torch.set_default_dtype(torch.float64)
    try:
        assert future() == expected
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("context_mode", ["clean", "told_noisy", "noised", "dynamic"])
def test_every_context_mode_steps(random_world: Path, context_mode: str) -> None:
    noise = 0.0 if context_mode == "clean" else 0.1
    env = make(random_world, context_mode=context_mode, context_noise=noise, denoising_steps=3)
    env.reset(seed=0)
    digest = play(env, 10)
    env.reset(seed=0)
    assert play(env, 10) == digest


# --- Stable-Baselines3 ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (PPO, {"n_steps": 32, "batch_size": 64, "n_epochs": 1}),
        (DQN, {"buffer_size": 300, "learning_starts": 100, "batch_size": 8}),
    ],
)
def test_agents_train(random_world: Path, algorithm: Any, settings: dict[str, Any]) -> None:
    env = dfgym.make_sb3(num_envs=4, world=str(random_world), max_episode_steps=20)
    model = algorithm("CnnPolicy", env, device="cpu", seed=0, **settings).learn(256)
    assert model.num_timesteps >= 256 and len(model.ep_info_buffer) > 0
