"""The single environment, over a toy dynamics: what it checks, returns and refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from dfgym.env.env import DreamEnv
from dfgym.errors import ActionError, ConfigError, StateError
from dfgym.world.settings import Settings
from toys import dynamics as toy_dynamics
from toys.dynamics import MAX_STEPS, NAME, OTHER, SCALE, H, N, ToyDynamics, W

MODES = (None, "rgb_array", "rgb_array_list")


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_dynamics.install(monkeypatch)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyDynamics, "END", 2**62)


def play(env: gym.Env, steps: int, seed: int = 0) -> list[Any]:
    """Reset once, then step with random actions, resetting at each end; returns all that came."""
    actions = np.random.default_rng(seed)
    came: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        came.append(env.step(int(actions.integers(N))))
        if came[-1][2] or came[-1][3]:
            came.append(env.reset())
    return came


# --- Conformance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["Toy-v0", "Limited-v0"])
@pytest.mark.parametrize("mode", MODES)
def test_checkers_find_nothing(id: str, mode: str | None) -> None:
    check_env(gym.make(id, render_mode=mode).unwrapped)
    # SB3's render check closes the environment and then goes on using it: Gymnasium's has been.
    check_env_sb3(gym.make(id, render_mode=mode).unwrapped)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
def test_checkers_find_nothing_in_the_wrapped_environment(mode: str | None) -> None:
    if mode != "rgb_array_list":  # Gymnasium cannot make that again from the environment's own spec
        check_env(gym.make("Limited-v0", render_mode=mode))
    check_env_sb3(gym.make("Limited-v0", render_mode=mode))


def test_human_rendering_through_gymnasium(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with pytest.warns(UserWarning, match="HumanRendering wrapper is being applied"):
        env = gym.make("Toy-v0", render_mode="human")
    env.reset(seed=0)
    env.step(0)
    assert env.render() is None
    env.close()


def test_equal_seeds_replay_and_others_differ() -> None:
    first, again, other = (play(gym.make("Toy-v0"), 60, seed) for seed in (3, 3, 4))
    assert data_equivalence(first, again, exact=True)
    assert not data_equivalence(first, other)


def test_episodes_after_one_seed_differ_and_replay() -> None:
    env = DreamEnv(NAME)
    observations = [env.reset(seed=5 if k == 0 else None)[0] for k in range(6)]
    assert len({o.tobytes() for o in observations}) > 1
    env.reset()
    again = [env.reset(seed=5 if k == 0 else None)[0] for k in range(6)]
    assert data_equivalence(observations, again, exact=True)


def test_a_new_environment_draws_its_seed() -> None:
    envs = [DreamEnv(NAME) for _ in range(2)]
    for env in envs:
        env.reset()
    assert envs[0]._rows.seeds[0] != envs[1]._rows.seeds[0]  # type: ignore[union-attr]


def test_the_step_returns_plain_values() -> None:
    env = DreamEnv(NAME)
    observation, info = env.reset(seed=0)
    assert observation.dtype == np.uint8 and observation.shape == (H * SCALE, W * SCALE, 3)
    types = {
        "start_episode": np.int64,
        "start_frame": np.int64,
        "termination_probability": np.float64,
        "uncertainty": np.float64,
    }
    assert {key: type(value) for key, value in info.items()} == types
    start = info
    observation, reward, terminated, truncated, info = env.step(1)
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    assert {key: type(value) for key, value in info.items()} == types
    assert info["start_episode"] == start["start_episode"]
    assert info["termination_probability"] > 0 == start["termination_probability"]


def test_writing_into_what_was_returned_changes_nothing() -> None:
    env, twin = (gym.make("Toy-v0", render_mode="rgb_array") for _ in range(2))
    for scribble, e in ((True, env), (False, twin)):
        observation, _ = e.reset(seed=0)
        if scribble:
            observation[:] = 0
            e.render()[:] = 0  # type: ignore[index,call-overload]
    copied = env.step(0)[0]
    copy = copied.copy()
    assert np.array_equal(copied, twin.step(0)[0])
    env.step(1)
    assert np.array_equal(copied, copy)


# --- Ends ----------------------------------------------------------------------------------------


def length(env: gym.Env, most: int = 40) -> int:
    env.reset(seed=0)
    for step in range(1, most + 1):
        _, _, terminated, truncated, _ = env.step(0)
        assert not terminated
        if truncated:
            return step
    return most


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize("id", ["Limited-v0", "Long-v0"])  # of another world, with 5 and 20
def test_with_another_world_its_own_limit_counts(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = dataclasses.replace(gym.spec("Limited-v0"), id="Long-v0", max_episode_steps=20)
    monkeypatch.setitem(gym.registry, "Long-v0", spec)
    batch = gym.make_vec(id, num_envs=2, world=OTHER)
    batch.reset(seed=0)
    cut = [batch.step(np.zeros(2, int))[3].all() for _ in range(MAX_STEPS)]
    assert cut == [False] * (MAX_STEPS - 1) + [True]
    if id == "Long-v0":
        assert length(gym.make(id, world=OTHER)) == MAX_STEPS
        assert length(gym.make(id, world=OTHER, max_episode_steps=7)) == 7
        return
    with pytest.warns(UserWarning, match=f"give gym.make max_episode_steps={MAX_STEPS}"):
        assert length(gym.make(id, world=OTHER)) == 5
    with pytest.warns(UserWarning):
        assert length(gym.make(id, world=OTHER, max_episode_steps=-1)) == 40


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: DreamEnv(NAME), MAX_STEPS),
        (lambda: gym.make("Toy-v0"), MAX_STEPS),
        (lambda: gym.make("Toy-v0", max_episode_steps=7), 7),
        (lambda: gym.make("Limited-v0"), 5),
        (lambda: gym.make("Limited-v0", max_episode_steps=20), 20),
        (lambda: gym.make("Limited-v0", max_episode_steps=-1), 40),
    ],
)
def test_truncation_is_the_cards_or_gymnasiums(make: Callable[[], gym.Env], expected: int) -> None:
    assert length(make()) == expected


def check_that_it_stands(env: DreamEnv, last: tuple[Any, ...]) -> None:
    state = env.clone_state()
    for _ in range(2):
        with pytest.warns(UserWarning, match="the episode has ended"):
            observation, reward, *end, info = env.step(0)
        assert np.array_equal(observation, last[0]) and (reward, *end) == (0.0, *last[2:4])
        assert info.keys() == last[4].keys() and info["start_frame"] == last[4]["start_frame"]
    assert env.clone_state() == state


@pytest.mark.parametrize("limit", [1, MAX_STEPS])
def test_after_the_end_the_last_frame_comes_again(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyDynamics, "END", 1)
    env = DreamEnv(NAME)
    env.reset(seed=0)
    env._rows.max_steps = limit  # type: ignore[union-attr]
    last = env.step(0)
    assert last[2:4] == (True, limit == 1)
    check_that_it_stands(env, last)
    with pytest.raises(ActionError):
        env.step(N)
    env.reset()
    assert env.step(0)[4]["termination_probability"] > 0


@pytest.mark.usefixtures("endless")
def test_after_truncation_too_and_in_a_restored_state() -> None:
    env = DreamEnv(NAME)
    env.reset(seed=0)
    for _ in range(MAX_STEPS):
        last = env.step(0)
    assert last[2:4] == (False, True)
    check_that_it_stands(env, last)
    other = DreamEnv(NAME)
    other.restore_state(env.clone_state())
    check_that_it_stands(other, last)


def test_a_film_of_an_episode_may_go_on_after_its_end() -> None:
    env = gym.make("Limited-v0")
    env.reset(seed=0)
    lengths = [env.step(0)[3] for _ in range(8)]  # Gymnasium's own limit ends no dream
    assert lengths == [False] * 4 + [True] * 4


def test_no_call_before_reset_or_after_close() -> None:
    env = DreamEnv(NAME, render_mode="rgb_array")
    early: tuple[Callable[[], Any], ...] = (lambda: env.step(0), env.render, env.clone_state)
    for call in early:
        with pytest.raises(StateError, match="reset"):
            call()
    env.reset(seed=0)
    state = env.clone_state()
    env.close()
    env.close()
    closed: tuple[Callable[[], Any], ...] = (
        lambda: env.step(0),
        env.reset,
        env.render,
        env.clone_state,
        lambda: env.restore_state(state),
        env.get_keys_to_action,
    )
    for call in closed:
        with pytest.raises(StateError, match="closed"):
            call()


# --- Actions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [2, np.int64(2), np.uint8(2), np.array(2)])
def test_actions_of_any_integer_type(action: Any) -> None:
    env, twin = DreamEnv(NAME), DreamEnv(NAME)
    env.reset(seed=0)
    twin.reset(seed=0)
    assert np.array_equal(env.step(action)[0], twin.step(2)[0])


@pytest.mark.parametrize(
    "action",
    [
        *(-1, N, 2**70, 1.0, np.float32(1), float("nan"), True, np.bool_(True), None, "1", [1]),
        *(np.array([1]), np.array(1.0), np.array(True), np.array(N), np.int8(-1)),
        np.timedelta64(1),
    ],
    ids=repr,
)
def test_an_invalid_action_raises_and_nothing_advances(action: Any) -> None:
    env = DreamEnv(NAME)
    env.reset(seed=0)
    env.step(0)
    before = env.clone_state()
    with pytest.raises(ActionError, match=f"0 to {N - 1}"):
        env.step(action)
    assert env.clone_state() == before


# --- Keywords, rendering, keys -------------------------------------------------------------------


def test_keywords_reach_the_dynamics() -> None:
    settings: dict[str, Any] = {
        "device": "cpu",
        "denoising_steps": 3,
        "context_mode": "noised",
        "context_noise": 0.2,
    }
    env = gym.make("Toy-v0", **settings)
    assert env.unwrapped.dynamics.settings == Settings(**settings)  # type: ignore[attr-defined]


def test_an_unknown_render_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="'ansi'"):
        DreamEnv(NAME, render_mode="ansi")


def test_the_picture_shows_the_observation_large() -> None:
    env = gym.make("Toy-v0", render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    picture = env.render()
    assert isinstance(picture, np.ndarray) and min(picture.shape[:2]) >= 256
    cell = picture.shape[0] // H
    assert np.array_equal(picture[::cell, ::cell], observation[::SCALE, ::SCALE])
    assert env.metadata["render_fps"] == 30
    with pytest.raises(ConfigError, match="render_mode"):
        env = DreamEnv(NAME)
        env.reset()
        env.render()


def test_keys_are_what_gymnasium_play_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    from gymnasium.utils import play as play_module

    env = gym.make("Toy-v0", render_mode="rgb_array")
    assert env.unwrapped.get_keys_to_action() == {  # type: ignore[attr-defined]
        (pygame.K_a,): 1,
        (pygame.K_RIGHT,): 2,
    }
    steps = []

    def watch(before: Any, after: Any, action: int, *rest: Any) -> None:
        steps.append(action)
        if len(steps) == 3:
            pygame.event.post(pygame.event.Event(pygame.QUIT))
        else:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_RIGHT))

    play_module.play(env, fps=1000, callback=watch, seed=0)
    assert steps[0] == 0 and 2 in steps
