"""States and workers over the real dynamics, with random weights: bitwise, in any process."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gymnasium.utils.env_checker import data_equivalence

from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import StateError
from dfgym.world import shelf
from toys import fresh
from toys.replay import play, play_batch, run


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
import pathlib, pickle, sys
from dfgym.env.env import DreamEnv
from toys import fresh
from toys.replay import play
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
    play_batch(env, 7)
    state = env.clone_state()
    twin.restore_state(state)
    assert twin.clone_state() == state
    assert data_equivalence(play_batch(env, 20), play_batch(twin, 20), exact=True)


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


def test_a_state_of_another_context_plan_is_refused(random_world: Path) -> None:
    env = DreamEnv(random_world)
    other = DreamEnv(random_world, context_mode="dynamic", context_noise=0.1, denoising_steps=3)
    for e in (env, other):
        e.reset(seed=0)
    before = other.clone_state()
    with pytest.raises(StateError, match="context_mode"):
        other.restore_state(env.clone_state())
    assert other.clone_state() == before


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


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "forkserver", "spawn"])
def test_workers_step_after_the_parent_used_torch(
    random_world: Path, tmp_path: Path, context: str
) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    done = fresh.run(script, random_world, context, OMP_NUM_THREADS=None)
    assert done.stdout.split() == ["2", "True"], done.stderr
