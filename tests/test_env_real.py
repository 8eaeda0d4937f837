"""The environments over the real dynamics, with random weights: the promises of a learned world.

Everything that the shells decide themselves is tested over a toy, in the other files.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import dfgym
from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import ConfigError, DeviceError, StateError
from dfgym.world import shelf
from dfgym.world.dynamics import Dynamics

IDS = sorted(id for id in gym.registry if id.startswith("DFWorld"))


def play(env, steps):  # also run as a script
    """Step with fixed actions, resetting at each end; returns a hash of all that came."""
    actions = np.random.default_rng(0)
    digest = hashlib.sha256()
    for _ in range(steps):
        came = env.step(int(actions.integers(env.action_space.n)))
        digest.update(came[0].tobytes() + repr(came[1:]).encode())
        if came[2] or came[3]:
            observation, info = env.reset()
            digest.update(observation.tobytes() + repr(info).encode())
    return digest.hexdigest()


IMPORTS = """
import hashlib, pathlib, pickle, sys
import gymnasium as gym, numpy as np
import dfgym
from dfgym.env.env import DreamEnv
"""


def run(script: str, *arguments: object) -> str:
    """Run a script that knows `play` in a fresh process; returns what it printed."""
    script = IMPORTS + inspect.getsource(play) + script
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def played(env: Any, steps: int) -> list[Any]:
    """Step a batch with fixed actions; returns all that came."""
    actions = np.random.default_rng(1).integers(3, size=(steps, env.num_envs))
    return [env.step(row) for row in actions]


def make(world: Path, **keywords: Any) -> gym.Env:
    return gym.make("DFWorld-v0", world=str(world), **keywords)


# --- Conformance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, "rgb_array", "rgb_array_list"])
def test_checkers_find_nothing(random_world: Path, mode: str | None) -> None:
    check_env(make(random_world, render_mode=mode).unwrapped)
    check_env_sb3(make(random_world, render_mode=mode).unwrapped)
    check_env_sb3(make(random_world, render_mode=mode))


@pytest.mark.parametrize("id", IDS if shelf.DEFAULT in shelf.names() else [])
def test_checkers_find_nothing_in_any_world_on_the_shelf(id: str) -> None:
    check_env(gym.make(id).unwrapped)
    check_env_sb3(gym.make(id))


def test_equal_seeds_replay_bitwise_across_processes(random_world: Path) -> None:
    script = """
env = gym.make("DFWorld-v0", world=sys.argv[1])
env.reset(seed=5)
print(play(env, 1000))
"""
    env = make(random_world)
    env.reset(seed=5)
    here = play(env, 1000)
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
    played(batch, 5)
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
        played(env, 1)
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


# --- State ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda env: pickle.loads(pickle.dumps(env)),
        lambda env: restored(env),
    ],
)
def test_copies_continue_bitwise(random_world: Path, copied: Callable[[Any], Any]) -> None:
    env = DreamEnv(random_world)
    env.reset(seed=3)
    play(env, 17)
    twin = copied(env)
    assert twin.clone_state() == env.clone_state()
    assert play(env, 150) == play(twin, 150)  # past the card's 100 steps


def restored(env: DreamEnv) -> DreamEnv:
    twin = DreamEnv(shelf.find(env._rows.world.path))  # type: ignore[union-attr]
    twin.restore_state(env.clone_state())
    return twin


def test_a_state_and_a_pickle_continue_in_a_fresh_process(
    random_world: Path, tmp_path: Path
) -> None:
    env = DreamEnv(random_world)
    env.reset(seed=3)
    play(env, 17)
    (tmp_path / "state").write_bytes(env.clone_state())
    (tmp_path / "pickle").write_bytes(pickle.dumps(env))
    script = """
folder = pathlib.Path(sys.argv[2])
one = DreamEnv(sys.argv[1])
one.restore_state((folder / "state").read_bytes())
two = pickle.loads((folder / "pickle").read_bytes())
print(play(one, 50), play(two, 50))
"""
    assert run(script, random_world, tmp_path).split() == [play(env, 50)] * 2


def test_a_batch_restores_bitwise(random_world: Path) -> None:
    env, twin = (DreamVectorEnv(3, world=random_world) for _ in range(2))
    env.reset(seed=0)
    played(env, 7)
    state = env.clone_state()
    twin.restore_state(state)
    assert twin.clone_state() == state
    assert data_equivalence(played(env, 20), played(twin, 20), exact=True)


def test_without_the_generator_chance_is_another(random_world: Path) -> None:
    env = DreamEnv(random_world)
    env.reset(seed=0)
    state = env.clone_state(include_rng=False)
    present, futures = set(), set()
    for _ in range(8):
        present.add(env.restore_state(state).tobytes())
        futures.add(env.step(0)[0].tobytes())
    assert len(present) == 1 and len(futures) > 1


def test_pickles_hold_no_weights(random_world: Path) -> None:
    env = DreamEnv(random_world)
    env.reset(seed=0)
    env.step(0)
    data = pickle.dumps(env)
    world = shelf.load(random_world)
    assert len(data) < 2**20
    assert world.hash.encode() in data
    for name, weight in world.weights.items():
        if weight.numel() >= 16:
            assert weight.numpy().tobytes() not in data, name


# --- Workers -------------------------------------------------------------------------------------

WORKERS = """
import sys
import gymnasium as gym, torch
import dfgym

def make():
    torch.ones(10**7).sum()  # so large that torch uses all its threads
    return gym.make("DFWorld-v0", world=sys.argv[1])

if __name__ == "__main__":
    torch.set_num_threads(2)
    env = make()
    env.reset(seed=0)
    env.step(0)
    envs = gym.vector.AsyncVectorEnv([make] * 2, context=sys.argv[2])
    envs.reset(seed=0)
    for _ in range(3):
        observations, *_ = envs.step([0, 1])
    envs.close()
    print(observations.shape[0], observations.any())
"""


@pytest.mark.parametrize("context", ["fork", "forkserver", "spawn"])
def test_workers_step_after_the_parent_used_torch(
    random_world: Path, tmp_path: Path, context: str
) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, script, random_world, context],
        capture_output=True,
        text=True,
        timeout=90,
        env=environment,
    )
    assert done.stdout.split() == ["2", "True"], done.stderr


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


@pytest.mark.parametrize("context_mode", ["clean", "told_noisy", "noised", "dynamic"])
def test_every_context_mode_steps(random_world: Path, context_mode: str) -> None:
    env = make(random_world, context_mode=context_mode, context_noise=0.1, denoising_steps=3)
    env.reset(seed=0)
    digest = play(env, 10)
    env.reset(seed=0)
    assert play(env, 10) == digest


def test_a_state_of_another_context_plan_is_refused(random_world: Path) -> None:
    env = DreamEnv(random_world)
    other = DreamEnv(random_world, context_mode="dynamic", context_noise=0.1, denoising_steps=3)
    for e in (env, other):
        e.reset(seed=0)
    before = other.clone_state()
    with pytest.raises(StateError, match="context_mode"):
        other.restore_state(env.clone_state())
    assert other.clone_state() == before


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
