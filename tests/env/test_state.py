"""States over a toy dynamics: cloned, restored, pickled, copied and refused."""

from __future__ import annotations

import copy
import hashlib
import pickle
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym
import numpy as np
import pytest
import safetensors.numpy
from gymnasium.utils.env_checker import data_equivalence
from hypothesis import given
from hypothesis import strategies as st

from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import StateError
from toys import dynamics as toy_dynamics
from toys.dynamics import NAME, OTHER, N, ToyDynamics


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_dynamics.install(monkeypatch)


def started(seed: int = 0, steps: int = 5, **keywords: Any) -> DreamEnv:
    env = DreamEnv(NAME, **keywords)
    env.reset(seed=seed)
    future(env, steps)
    return env


def future(env: gym.Env, steps: int = 30) -> list[Any]:
    """Step on with the same actions each time, and through resets."""
    came: list[Any] = []
    for step in range(steps):
        came.append(env.step(step % N))
        if came[-1][2] or came[-1][3]:
            came.append(env.reset())
    return came


def same(a: Any, b: Any) -> bool:
    return data_equivalence(a, b, exact=True)


def test_a_restored_state_has_the_same_future() -> None:
    env = started()
    state = env.clone_state()
    first = future(env)
    observation = env.restore_state(state)
    assert same(first, future(env))
    other = started(seed=9, steps=2)
    assert np.array_equal(other.restore_state(state), observation)
    assert same(first, future(other))


def test_a_state_restores_into_a_new_environment() -> None:
    env = started()
    fresh = DreamEnv(NAME)
    fresh.restore_state(env.clone_state())
    assert same(future(env), future(fresh))


def test_states_are_byte_stable() -> None:
    env = started()
    state = env.clone_state()
    assert isinstance(state, bytes) and state == env.clone_state()
    env.step(0)
    assert state != env.clone_state()
    env.restore_state(state)
    assert state == env.clone_state()


def test_without_the_generator_the_present_is_the_same_and_chance_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ToyDynamics, "END", 2**62)
    env = started()
    state = env.clone_state(include_rng=False)
    present = env.render() if env.render_mode else env.restore_state(state)
    futures = []
    for _ in range(4):
        assert np.array_equal(env.restore_state(state), present)
        futures.append(env.step(0)[0].tobytes())
    assert len(set(futures)) > 1
    # It is still a function of the environment's own seed.
    one, two = started(seed=1), started(seed=1)
    for e in (one, two):
        e.restore_state(state)
    assert same(future(one), future(two))
    DreamEnv(NAME).restore_state(state)  # draws a seed of its own


def test_an_ended_episode_stays_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyDynamics, "END", 1)
    env = started(steps=0)
    last = env.step(0)
    state = env.clone_state()
    env.reset()
    env.restore_state(state)
    with pytest.warns(UserWarning, match="ended"):
        again = env.step(0)
    assert np.array_equal(again[0], last[0]) and again[2:4] == last[2:4]


def test_elapsed_steps_are_part_of_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyDynamics, "END", 2**62)
    env = started(steps=toy_dynamics.MAX_STEPS - 1)
    state = env.clone_state()
    env.reset()
    env.restore_state(state)
    assert env.step(0)[3]


def test_a_state_of_another_world_is_refused() -> None:
    env = started()
    other = DreamEnv(OTHER)
    other.reset(seed=0)
    before = other.clone_state()
    with pytest.raises(StateError, match=f"'{NAME} .*'{OTHER} "):
        other.restore_state(env.clone_state())
    assert other.clone_state() == before


def test_a_state_of_another_number_of_rows_is_refused() -> None:
    env = started()
    batch = DreamVectorEnv(2, world=NAME)
    batch.reset(seed=0)
    for source, target in ((env, batch), (batch, env)):
        with pytest.raises(StateError, match="number of rows"):
            target.restore_state(source.clone_state())


@pytest.mark.parametrize("state", [b"", b"x" * 100, "text", None, 3, bytes(8)], ids=repr)
def test_what_is_no_state_is_refused(state: Any) -> None:
    env = started()
    before = env.clone_state()
    with pytest.raises(StateError, match=r"clone_state|belongs"):
        env.restore_state(state)
    assert env.clone_state() == before


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "dtype"])
def test_a_state_with_other_contents_is_refused(change: str) -> None:
    env = started()
    before = env.clone_state()
    tensors = safetensors.numpy.load(before[32:])
    match change:
        case "missing":
            del tensors["row.elapsed"]
        case "extra":
            tensors["row.extra"] = np.zeros(1)
        case "shape":
            tensors["dynamics.frame"] = tensors["dynamics.frame"][:, 1:].copy()
        case "dtype":
            tensors["dynamics.frame"] = tensors["dynamics.frame"].astype(np.int8)
    with pytest.raises(StateError, match="restore it with the same"):
        env.restore_state(signed(safetensors.numpy.save(tensors)))
    assert env.clone_state() == before


def signed(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


@pytest.mark.parametrize(
    ("name", "value"), [("row.episode", -1), ("row.elapsed", -3), ("dynamics.time", -5)]
)
def test_a_state_with_other_values_is_refused(name: str, value: int) -> None:
    env = started()
    before = env.clone_state()
    tensors = safetensors.numpy.load(before[32:])
    tensors[name][:] = value
    with pytest.raises(StateError, match="changed"):
        env.restore_state(before[:32] + safetensors.numpy.save(tensors))
    assert env.clone_state() == before


@given(cut=st.integers(0, 2000), flip=st.integers(0, 255))
def test_a_damaged_state_never_raises_anything_else(cut: int, flip: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        toy_dynamics.install(monkeypatch)
        env = started()
        state = bytearray(env.clone_state())
        state[cut % len(state)] ^= flip
        for damaged in (bytes(state), bytes(state[: cut % len(state)])):
            if damaged != env.clone_state():
                with pytest.raises(StateError):
                    env.restore_state(damaged)


@pytest.mark.parametrize("make", [DreamEnv, lambda world: gym.make("Toy-v0"), "limited"])
@pytest.mark.parametrize(
    "copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy, lambda e: roundtrip(e)]
)
def test_copies_in_the_middle_of_an_episode_continue(make: Any, copied: Any) -> None:
    env = gym.make("Limited-v0") if make == "limited" else make(NAME)
    env.action_space.seed(4)
    env.reset(seed=0)
    for _ in range(2):
        env.step(env.action_space.sample())
    twin = copied(env)
    assert twin.action_space.sample() == env.action_space.sample()
    assert same(future(env), future(twin))


def roundtrip(env: gym.Env) -> gym.Env:
    return cloudpickle.loads(cloudpickle.dumps(env))  # what AsyncVectorEnv and SB3 send


def test_a_copy_before_the_first_reset_and_after_close() -> None:
    env, twin = DreamEnv(NAME), copy.deepcopy(DreamEnv(NAME))
    assert same(env.reset(seed=1), twin.reset(seed=1))
    env.close()
    with pytest.raises(StateError, match="closed"):
        pickle.loads(pickle.dumps(env)).reset()


def test_the_copy_and_the_original_share_no_state() -> None:
    env = started()
    twin = copy.deepcopy(env)
    state = env.clone_state()
    future(twin)
    assert env.clone_state() == state


def test_a_pickle_of_a_world_that_has_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(started())
    assert NAME.encode() in data
    monkeypatch.setattr("dfgym.env.rows.load", lambda _: toy_dynamics.toy_world(OTHER))
    with pytest.raises(StateError, match="hash"):
        pickle.loads(data)


def test_a_batch_is_cloned_and_restored_whole() -> None:
    env, twin = DreamVectorEnv(3, world=NAME), DreamVectorEnv(3, world=NAME)
    env.reset(seed=0)
    for step in range(20):
        env.step(np.full(3, step % N))
    state = env.clone_state()
    assert np.array_equal(twin.restore_state(state), env.restore_state(state))
    for step in range(20):
        actions = np.full(3, step % N)
        assert same(env.step(actions), twin.step(actions))
    assert len({o.tobytes() for o in twin.restore_state(state)}) == 3
    without = env.clone_state(include_rng=False)
    twin.restore_state(without)
    env.restore_state(without)
