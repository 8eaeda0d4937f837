"""Environments with every kind of action: conformance, agreement of the shells, refusals."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import dfgym
from dfgym.env.env import DreamEnv
from dfgym.env.real import RealEnv
from dfgym.errors import ActionError
from dfgym.world import shelf
from toys.actions import SPACES, marker_world

pytestmark = [
    pytest.mark.usefixtures("marker_id"),
    # What SB3 and Gymnasium advise of others' action spaces; the game's own is kept.
    pytest.mark.filterwarnings("ignore:.*symmetric and normalized:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*not based off a numpy array:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*action space.*:UserWarning"),
]
BAD: dict[str, list[Any]] = {
    "discrete": [5, -1, 0.5, None],
    "box": [[0, 0, np.nan], [0, 0, 2], [0, 0], [[0, 0, 0]], None, "abc"],
    "multi-binary": [[0, 1, 0, 2], [0, 1, 0], 1],
    "multi-discrete": [[3, 0], [0, -1], [0.5, 0]],
    "dict": [{}, {"keys": [0, 0, 0], "mouse": [0, 0]}, [0] * 6, None],
    "tuple": [(0,), (0, {"a": [0.0], "b": [2, 0]}), 0],
}


@pytest.fixture(scope="module", params=SPACES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def world(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return marker_world(kind, tmp_path_factory.mktemp("shelf") / "toy-marker-v0")


def play(env: DreamEnv | RealEnv, steps: int = 6) -> list[Any]:
    """Play random actions from a seed; returns them with what came of them."""
    env.action_space.seed(3)
    results: list[Any] = [env.reset(seed=1)[0]]
    for _ in range(steps):
        action = env.action_space.sample()
        results.append((action, env.step(action)))
    return results


def test_checkers_find_nothing(kind: str, world: Path) -> None:
    check_env(gym.make("DFWorld-v0", world=str(world), render_mode="rgb_array").unwrapped)
    check_env(RealEnv(world), skip_render_check=True)
    if kind != "tuple":  # SB3's checker makes one array of it, whatever its shapes
        check_env_sb3(DreamEnv(world))
        check_env_sb3(RealEnv(world))


def test_the_real_game_shows_what_actions_do(world: Path) -> None:
    dream, real = DreamEnv(world), RealEnv(world)
    assert dream.action_space == real.action_space
    frames = [result[1][0] for result in play(real)[1:]]
    assert len({frame.tobytes() for frame in frames}) > 1
    assert all(frame.shape == (40, 40, 3) for frame in frames)


def test_equal_actions_dream_equally_and_others_do_not(world: Path) -> None:
    one, two = DreamEnv(world), DreamEnv(world)
    first, second = play(one), play(two)
    for (_, a), (_, b) in zip(first[1:], second[1:], strict=True):
        assert np.array_equal(a[0], b[0]) and a[1:] == b[1:]
    one.reset(seed=1)
    state, futures = one.clone_state(), set()
    for row in shelf.load(world).card.actions.extremes():
        one.restore_state(state)
        frame, _, _, _, info = one.step(one._open().world.card.actions.native(row))
        futures.add((frame.tobytes(), *info.values()))
    assert len(futures) > 1


def test_copies_go_on_alike(world: Path) -> None:
    env = DreamEnv(world)
    play(env, 2)
    twin = copy.deepcopy(env)
    action = env.action_space.sample()
    assert np.array_equal(env.step(action)[0], twin.step(action)[0])


def test_batches_step_what_single_environments_do(world: Path) -> None:
    rows = 3
    envs = gym.make_vec("DFWorld-v0", num_envs=rows, world=str(world))
    sb3 = dfgym.make_sb3("DFWorld-v0", num_envs=rows, world=str(world))
    singles = [DreamEnv(world) for _ in range(rows)]
    envs.reset(seed=5)
    sb3.seed(5)
    sb3.reset()
    for row, env in enumerate(singles):
        env.reset(seed=5 + row)
        env.action_space.seed(row)
    space = shelf.load(world).card.actions
    for _ in range(2):
        actions = [env.action_space.sample() for env in singles]
        batch = space.native(space.rows(actions, rows))
        frames, *_, infos = envs.step(batch)
        of_list: Any
        of_list, _, _, sb3_infos = sb3.step(actions)  # type: ignore[arg-type]  # as DummyVecEnv
        assert np.array_equal(frames, of_list)
        for row, (env, action) in enumerate(zip(singles, actions, strict=True)):
            frame, _, _, _, info = env.step(action)
            assert np.abs(frame.astype(int) - frames[row]).mean() < 2
            assert info["termination_probability"] == pytest.approx(
                infos["termination_probability"][row], abs=1e-3
            )
            assert sb3_infos[row]["termination_probability"] == pytest.approx(
                infos["termination_probability"][row]
            )
    envs.action_space.seed(0)
    envs.step(envs.action_space.sample())


def test_following_equals_beginning_there(world: Path) -> None:
    """`observe` stands where `reset` with the same frames and actions does, bit for bit."""
    real, env, other = RealEnv(world), DreamEnv(world), DreamEnv(world)
    played = play(real, 3)
    frames = np.stack([played[0], *(result[0] for _, result in played[1:])])
    actions = [action for action, _ in played[1:]]
    env.reset(seed=1, options={"frames": frames[:1]})
    for action, frame in zip(actions, frames[1:], strict=True):
        env.observe(action, frame)
    other.reset(seed=1, options={"frames": frames, "actions": actions})
    action = real.action_space.sample()
    assert np.array_equal(env.step(action)[0], other.step(action)[0])
    outcomes = env.outcomes(real.action_space.sample(), samples=4)
    assert outcomes.observations.shape == (4, 40, 40, 3)


def test_wrong_actions_change_nothing(kind: str, world: Path) -> None:
    dream, real = DreamEnv(world), RealEnv(world)
    batch = gym.make_vec("DFWorld-v0", num_envs=2, world=str(world))
    for env in (dream, real, batch):
        env.reset(seed=0)
    before, all_before = dream.clone_state(), batch.unwrapped.clone_state()  # type: ignore[attr-defined]
    wrong = BAD.get(kind, [None, "a", [None]])
    for bad in wrong:
        for env in (dream, real):
            with pytest.raises(ActionError):
                env.step(bad)
        with pytest.raises(ActionError):
            batch.step([dream.action_space.sample(), bad])
        with pytest.raises(ActionError):
            dream.observe(bad, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ActionError):
        batch.step([dream.action_space.sample()])
    assert dream.clone_state() == before
    assert batch.unwrapped.clone_state() == all_before  # type: ignore[attr-defined]
    assert real.source.env.unwrapped.count == 0  # type: ignore[attr-defined]


def test_sb3_learns_where_it_knows_the_space(kind: str, world: Path) -> None:
    venv = dfgym.make_sb3("DFWorld-v0", num_envs=2, world=str(world))
    if kind in ("dict", "tuple", "multi-discrete of rows", "multi-binary of rows"):
        with pytest.raises((AssertionError, NotImplementedError, TypeError)):
            PPO("CnnPolicy", venv)
        return
    agent = PPO("CnnPolicy", venv, n_steps=4, batch_size=8, device="cpu")
    if kind == "whole numbers":  # SB3 plays numbers between them
        with pytest.raises(ActionError, match="whole numbers"):
            agent.learn(8)
        return
    agent.learn(8)
    observations: Any = venv.reset()
    assert agent.predict(observations)[0].shape[0] == 2
