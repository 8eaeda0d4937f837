"""The vector environment, over a toy dynamics: as Gymnasium's own with single environments."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import ActionError, ConfigError, StateError
from toys import dynamics as toy_dynamics
from toys.dynamics import MAX_STEPS, NAME, OTHER, N, ToyDynamics

ROWS = 5


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_dynamics.install(monkeypatch)


def play(env: gym.vector.VectorEnv, steps: int) -> list[Any]:
    """Step with random actions; where the mode leaves it to the caller, reset the ended rows."""
    actions = np.random.default_rng(0)
    came: list[Any] = [env.reset(seed=7), env.reset(), env.reset(seed=3, options={"index": 2})]
    for _ in range(steps):
        came.append(env.step(actions.integers(N, size=ROWS)))
        ended = came[-1][2] | came[-1][3]
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and ended.any():
            came.append(env.reset(options={"reset_mask": ended}))
    return came


def singles(**keywords: Any) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: DreamEnv(NAME) for _ in range(ROWS)], **keywords)


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("end", [4, 9, 2**62])
def test_a_batch_does_what_single_environments_do(
    mode: AutoresetMode, end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyDynamics, "END", end)
    batch = play(DreamVectorEnv(ROWS, autoreset_mode=mode, world=NAME), 60)
    single = play(singles(autoreset_mode=mode), 60)
    for number, (mine, theirs) in enumerate(zip(batch, single, strict=True)):
        assert data_equivalence(mine, theirs, exact=True), number
    assert any(record[3].any() for record in batch if len(record) == 5)


def test_the_last_frame_of_an_episode_is_not_the_next_ones_first() -> None:
    env = DreamVectorEnv(ROWS, autoreset_mode=AutoresetMode.SAME_STEP, world=NAME)
    twin = DreamVectorEnv(ROWS, world=NAME)  # NEXT_STEP
    env.reset(seed=0)
    twin.reset(seed=0)
    for _ in range(MAX_STEPS):
        observations, *_, infos = env.step(np.zeros(ROWS, np.int64))
        theirs, _, terminated, truncated, _ = twin.step(np.zeros(ROWS, np.int64))
        if "final_obs" in infos:
            break
    ended = infos["_final_obs"]
    assert ended.any() and np.array_equal(ended, terminated | truncated)
    for row in np.flatnonzero(ended):
        assert np.array_equal(infos["final_obs"][row], theirs[row])
        assert not np.array_equal(observations[row], theirs[row])
        assert infos["final_obs"][row].base is None
    after = twin.step(np.zeros(ROWS, np.int64))
    assert np.array_equal(after[0][ended], observations[ended])
    assert not after[1][ended].any() and not after[2][ended].any() and not after[3][ended].any()


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, MAX_STEPS), (7, 7), (20, 20), (np.int64(3), 3), (-1, None)]
)
def test_truncation_is_no_termination(
    limit: int | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyDynamics, "END", 2**62)
    env = gym.make_vec("Toy-v0", num_envs=2, max_episode_steps=limit, world=OTHER)
    env.reset(seed=0)
    for step in range(1, 30):
        _, _, terminated, truncated, _ = env.step(np.array([0, 1]))
        assert not terminated.any()
        if truncated.any():
            assert step == expected and truncated.all()
            return
    assert expected is None


def test_make_vec_passes_the_registered_limit() -> None:
    env = gym.make_vec("Limited-v0", num_envs=2)
    assert isinstance(env, DreamVectorEnv) and env._rows is not None
    assert env._rows.max_steps == 5


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_gymnasiums_episode_statistics(mode: AutoresetMode) -> None:
    env = RecordEpisodeStatistics(DreamVectorEnv(ROWS, autoreset_mode=mode, world=NAME))
    other = RecordEpisodeStatistics(singles(autoreset_mode=mode))
    for e in (env, other):
        play(e, 40)
    assert list(env.return_queue) == list(other.return_queue) and env.return_queue
    assert list(env.length_queue) == list(other.length_queue)


def test_row_i_is_the_single_environment_of_its_seed() -> None:
    env = DreamVectorEnv(ROWS, world=NAME)
    observations, _ = env.reset(seed=100)
    for row in range(ROWS):
        assert np.array_equal(observations[row], DreamEnv(NAME).reset(seed=100 + row)[0])


def test_seeds_one_by_one() -> None:
    env, other = DreamVectorEnv(3, world=NAME), DreamVectorEnv(3, world=NAME)
    first, _ = env.reset(seed=[9, 5, 2**70])
    again, _ = other.reset(seed=[5, 9, 2**70])
    assert np.array_equal(first[[1, 0, 2]], again)
    env.reset(seed=[None, 5, None])
    assert env._rows is not None and env._rows.episodes.tolist() == [1, 0, 1]


def test_a_partial_reset_leaves_the_other_rows_alone() -> None:
    env, twin = (
        DreamVectorEnv(3, autoreset_mode=AutoresetMode.DISABLED, world=NAME) for _ in range(2)
    )
    for e in (env, twin):
        e.reset(seed=0)
    options = {"reset_mask": np.array([False, True, False]), "index": 2}
    _, infos = env.reset(seed=40, options=options)
    assert options.keys() == {"reset_mask", "index"}  # the caller's own stays as it was
    assert infos["_start_episode"].tolist() == [False, True, False]
    assert infos["start_episode"].tolist() == [0, 2, 0]
    mine, theirs = env.step(np.zeros(3, int)), twin.step(np.zeros(3, int))
    assert np.array_equal(mine[0][[0, 2]], theirs[0][[0, 2]])


@pytest.mark.parametrize("mode", AutoresetMode)
def test_infos_have_the_same_keys_after_every_call(
    mode: AutoresetMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchRL and Minari read the structure off the first reset and want it at every step."""
    monkeypatch.setattr(ToyDynamics, "END", 4)
    records = play(DreamVectorEnv(ROWS, autoreset_mode=mode, world=NAME), 30)
    finals = {"final_obs", "final_info", "_final_obs", "_final_info"}
    keys = [set(record[-1]) - finals for record in records]
    assert keys[1:] == keys[:-1] and "_uncertainty" in keys[0] and "start_frame" in keys[0]
    assert any(record[3].any() for record in records if len(record) == 5)


def test_disabled_refuses_to_step_ended_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyDynamics, "END", 1)
    env = DreamVectorEnv(2, autoreset_mode="Disabled", world=NAME)
    env.reset(seed=0)
    env.step(np.zeros(2, int))
    before = env.clone_state()
    with pytest.raises(StateError, match=r"\[0, 1\].*reset_mask"):
        env.step(np.zeros(2, int))
    assert env.clone_state() == before


@pytest.mark.parametrize("actions", [np.array([0, 2], np.uint8), [0, 2], (0, np.int64(2))])
def test_actions_of_any_integer_type(actions: Any) -> None:
    env, twin = DreamVectorEnv(2, world=NAME), DreamVectorEnv(2, world=NAME)
    env.reset(seed=0)
    twin.reset(seed=0)
    assert np.array_equal(env.step(actions)[0], twin.step(np.array([0, 2]))[0])


@pytest.mark.parametrize(
    "actions",
    [
        np.array([0, N]),
        np.array([-1, 0]),
        np.array([0, 1, 0]),
        np.array([0]),
        np.array([[0, 1]]),
        np.array([0.0, 1.0]),
        np.array([0, np.nan]),
        np.array([True, False]),
        np.array([0, 1], object),
        np.array(1),
        [0, True],
        [0, 1.0],
        [0],
        1,
        None,
        "01",
    ],
    ids=repr,
)
def test_invalid_actions_raise_and_nothing_advances(actions: Any) -> None:
    env = DreamVectorEnv(2, world=NAME)
    env.reset(seed=0)
    before = env.clone_state()
    with pytest.raises(ActionError):
        env.step(actions)
    assert env.clone_state() == before


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"seed": -1}, "-1"),
        ({"seed": [1, 2]}, "2 values"),
        ({"seed": [1, 2, -3]}, "-3"),
        ({"seed": [1, 2, 1.5]}, "1.5"),
        *(({"seed": seed}, "must be an int of") for seed in (1.5, True, np.array(3), "3")),
        ({"options": {"reset_mask": [True, False, True]}}, "reset_mask"),
        ({"options": {"reset_mask": np.array([1, 0, 1])}}, "reset_mask"),
        ({"options": {"reset_mask": np.array([True])}}, "reset_mask"),
        ({"options": {"reset_mask": np.zeros(3, bool)}}, "no row"),
        ({"options": {"index": 99}}, "99"),
        ({"options": [1]}, "dict"),
    ],
)
def test_bad_resets_raise_and_nothing_changes(arguments: dict[str, Any], names: str) -> None:
    env = DreamVectorEnv(3, world=NAME)
    env.reset(seed=0)
    before = env.clone_state()
    with pytest.raises(ConfigError, match=names):
        env.reset(**arguments)
    assert env.clone_state() == before
    assert env.np_random_seed == 0


@pytest.mark.parametrize(
    ("keywords", "names"),
    [
        *(({"num_envs": n}, f"num_envs = {n} ") for n in (0, -2, 2.0, True, 10**7, 2**62)),
        ({"max_episode_steps": 0}, "max_episode_steps = 0"),
        ({"max_episode_steps": -2}, "-2"),
        ({"max_episode_steps": 1.5}, "1.5"),
        ({"autoreset_mode": "sometimes"}, "'NextStep', 'SameStep', 'Disabled'"),
        ({"render_mode": "human"}, "'human'"),
    ],
)
def test_bad_keywords(keywords: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        gym.make_vec("Toy-v0", **{"num_envs": 2, **keywords})


def test_no_call_before_reset_or_after_close() -> None:
    env = DreamVectorEnv(2, world=NAME, render_mode="rgb_array")
    early: tuple[Callable[[], Any], ...] = (
        lambda: env.step(np.zeros(2, int)),
        env.render,
        env.clone_state,
    )
    for call in early:
        with pytest.raises(StateError, match="reset"):
            call()
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(StateError, match="every row"):
        env.step(np.zeros(2, int))
    env.reset()
    state = env.clone_state()
    env.close()
    env.close()
    closed: tuple[Callable[[], Any], ...] = (
        lambda: env.step(np.zeros(2, int)),
        env.reset,
        env.render,
        env.clone_state,
        lambda: env.restore_state(state),
    )
    for call in closed:
        with pytest.raises(StateError, match="closed"):
            call()


def test_writing_into_what_was_returned_changes_nothing() -> None:
    env, twin = DreamVectorEnv(2, world=NAME), DreamVectorEnv(2, world=NAME)
    for e in (env, twin):
        e.reset(seed=0)
    for _ in range(20):
        mine, theirs = env.step(np.zeros(2, int)), twin.step(np.zeros(2, int))
        assert data_equivalence(mine, theirs, exact=True)
        for array in mine[:4]:
            array[:] = 1
        for array in mine[4].values():
            array[:] = True


def test_render_gives_a_picture_a_row() -> None:
    env = gym.make_vec("Toy-v0", num_envs=3, render_mode="rgb_array")
    env.reset(seed=0)
    pictures = env.render()
    assert pictures is not None and len(pictures) == 3
    assert all(isinstance(p, np.ndarray) and min(p.shape[:2]) >= 256 for p in pictures)


def test_a_deep_copy_continues() -> None:
    env = DreamVectorEnv(ROWS, world=NAME)
    env.reset(seed=0)
    for _ in range(5):
        env.step(np.zeros(ROWS, int))
    twin = copy.deepcopy(env)
    for _ in range(20):
        mine, theirs = env.step(np.ones(ROWS, int)), twin.step(np.ones(ROWS, int))
        assert data_equivalence(mine, theirs, exact=True)
