"""The real twin: the source game in the world's own spaces."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from toys.dynamics import install
from toys.world import toy_card, toy_starts, toy_weights

pytest.importorskip("minatar")

from gymnasium.utils.env_checker import check_env

from dfgym.env.env import DreamEnv
from dfgym.env.real import RealEnv
from dfgym.errors import ActionError, ConfigError, MissingPackageError, StateError, WorldError
from dfgym.games.minatar import MinAtarEnv, palette
from dfgym.world import bundle
from dfgym.world.card import Actions, Frames, Source

COLOURS = tuple(tuple(colour) for colour in palette(4).tolist())


def world(folder: Path, source: dict[str, Any] | None = None, **changes: Any) -> Path:
    card = toy_card(
        frames=Frames(height=10, width=10, observation_scale=4, fps=12, palette=COLOURS),
        **changes,
    )
    card = dataclasses.replace(card, source=dataclasses.replace(card.source, **(source or {})))
    path = folder / card.name
    bundle.write(path, card, toy_weights(card), toy_starts(card))
    return path


@pytest.fixture(scope="module")
def breakout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world(tmp_path_factory.mktemp("shelf"), {"kwargs": {"sticky_action_prob": 0.2}})


def rendered(env: gym.Env) -> np.ndarray:
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    return picture


def test_it_is_the_source_enlarged(breakout: Path) -> None:
    real, source = RealEnv(breakout), MinAtarEnv(sticky_action_prob=0.2)
    assert real.observation_space.shape == (40, 40, 3) and real.action_space == gym.spaces.Discrete(
        3
    )
    chance = np.random.default_rng(0)
    seed = 4
    for step in range(200):
        if step % 50 == 0:
            (ours, _), (theirs, _) = real.reset(seed=seed + step), source.reset(seed=seed + step)
        else:
            action = chance.integers(3)
            ours, *ends, _ = real.step(action)
            theirs, *expected, _ = source.step(action)
            assert ends == expected
            if ends[1]:
                (ours, _), (theirs, _) = real.reset(), source.reset()
        assert (ours == theirs.repeat(4, 0).repeat(4, 1)).all() and ours.dtype == np.uint8


def test_checkers_and_rendering(breakout: Path) -> None:
    gym.register(
        "DFTest/Real-v0",
        "dfgym.env.real:RealEnv",
        kwargs={"world": breakout},
        max_episode_steps=20,
    )
    try:
        env = gym.make("DFTest/Real-v0", render_mode="rgb_array")
        check_env(env.unwrapped)
        observation, _ = env.reset(seed=0)
        assert rendered(env).shape == (260, 260, 3) and env.metadata["render_fps"] == 12
        assert (rendered(env)[::26, ::26] == observation[::4, ::4]).all()
        assert env.get_wrapper_attr("get_keys_to_action")() == {(ord("a"),): 1, (ord("d"),): 2}
        env.close()
        env.close()
        stable = pytest.importorskip("stable_baselines3.common.env_checker")
        stable.check_env(gym.make("DFTest/Real-v0"))
    finally:
        del gym.registry["DFTest/Real-v0"]


def test_observations_share_no_memory(breakout: Path) -> None:
    env = RealEnv(breakout, render_mode="rgb_array")
    first, _ = env.reset(seed=0)
    copy = first.copy()
    first.fill(7)
    picture = rendered(env)
    assert (picture[::26, ::26] == copy[::4, ::4]).all()
    picture.fill(9)
    assert (rendered(env)[::26, ::26] == copy[::4, ::4]).all()


def test_a_larger_source_is_brought_to_the_cards_frames(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    path = world(tmp_path)
    gym.register("DFTest-Large-v0", lambda **keywords: Large(**keywords))
    try:
        frames = RealEnv(world(tmp_path / "large", {"env": "DFTest-Large-v0"})).reset(seed=3)[0]
    finally:
        del gym.registry["DFTest-Large-v0"]
    assert (frames == RealEnv(path).reset(seed=3)[0]).all()


class Large(gym.Wrapper):
    """Breakout drawn 30 x 30, as another package might."""

    def __init__(self) -> None:
        super().__init__(MinAtarEnv())
        self.observation_space = gym.spaces.Box(0, 255, (30, 30, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation, info = self.env.reset(seed=seed)
        return observation.repeat(3, 0).repeat(3, 1), info


@pytest.mark.parametrize("action", [3, -1, 1.0, np.nan, np.array([0, 1]), None, True, "1"])
def test_an_invalid_action_is_refused(breakout: Path, action: Any) -> None:
    env = RealEnv(breakout)
    env.reset(seed=0)
    with pytest.raises(ActionError, match=r"give an int from 0 to 2"):
        env.step(action)


def test_actions_of_any_integer_type(breakout: Path) -> None:
    env = RealEnv(breakout)
    actions: list[Any] = [1, np.int8(1), np.uint64(1), np.array(1)]
    for action in actions:
        env.reset(seed=0)
        assert env.step(action)[0].shape == (40, 40, 3)


def test_calls_at_the_wrong_time_are_refused_as_in_a_dream(
    breakout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RealEnv(breakout, render_mode="rgb_array")
    install(monkeypatch)
    for env in (real, DreamEnv("toy-v0", render_mode="rgb_array")):
        calls: list[Callable[[], Any]] = [partial(env.step, 0), env.render, env.reset]
        for call in calls[:2]:
            with pytest.raises(StateError, match=r"call reset\(\)"):
                call()
        env.reset(seed=0)
        last = env.step(0)
        while not any(last[2:4]):
            last = env.step(0)
        for _ in range(2):
            with pytest.warns(UserWarning, match="the episode has ended"):
                observation, reward, *end, info = env.step(0)
            assert np.array_equal(observation, last[0]) and (reward, *end) == (0.0, *last[2:4])
            assert info.keys() == last[4].keys()
        with pytest.raises(ActionError):
            env.step(3)
        env.reset()
        env.close()
        for call in calls:
            with pytest.raises(StateError, match="closed"):
                call()


def test_reset_options_are_ignored_and_a_warning_says_so(breakout: Path) -> None:
    env = RealEnv(breakout)
    expected, _ = env.reset(seed=1, options={})
    with pytest.warns(UserWarning, match="the real game ignores the options .'x%s': 1"):
        observation, _ = env.reset(seed=1, options={"x%s": 1})
    assert np.array_equal(observation, expected)
    for options in ([1], [], "x"):
        with pytest.raises(ConfigError, match="must be a dict"):
            env.reset(options=options)  # type: ignore[arg-type]


def test_a_game_that_pygame_has_drawn_can_be_pickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pygame")
    source = {"env": "CartPole-v1", "render": True, "filter": "area"}
    env = RealEnv(world(tmp_path, source, actions=Actions(2, ("left", "right"), keys={})))
    env.reset(seed=3)
    env.step(1)
    game: Any = env.source.env.unwrapped
    screen = game.screen
    assert type(screen).__module__.startswith("pygame")
    for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        for action in (0, 1, 1):
            theirs = twin.step(action)
    assert game.screen is screen  # the original keeps its own
    rest = [env.step(action) for action in (0, 1, 1)]
    assert np.array_equal(rest[-1][0], theirs[0]) and rest[-1][1:4] == theirs[1:4]


def test_what_actions_mean(breakout: Path) -> None:
    assert RealEnv(breakout).get_action_meanings() == ["STAY", "LEFT", "RIGHT"]


def test_no_picture_without_a_render_mode(breakout: Path) -> None:
    env = RealEnv(breakout)
    env.reset()
    with pytest.raises(ConfigError, match="render_mode is None"):
        env.render()


def test_a_twin_of_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFGYM_WORLDS", str(tmp_path))
    itself = {"env": "DFReal/toy-random-v0"}
    with pytest.raises(WorldError, match="leads back to itself"):
        RealEnv(world(tmp_path, itself))
    other = world(tmp_path, {"env": "DFReal/toy-random-v0"}, name="toy-other-v0")
    with pytest.raises(WorldError, match="leads back to itself"):
        RealEnv(other)


def test_errors(breakout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorldError, match="no world 'nowhere-v0'"):
        RealEnv("nowhere-v0")
    with pytest.raises(ConfigError, match="'human' must be 'rgb_array' or None"):
        RealEnv(breakout, render_mode="human")
    two = Actions(n=2, meanings=("a", "b"), keys={})
    with pytest.raises(WorldError, match=r"has actions Discrete.2. and its source .* Discrete.3."):
        RealEnv(world(tmp_path / "two", actions=two))
    unknown = Source("DFNone/Game-v0", {}, {}, "", "none")
    with pytest.raises(ConfigError, match="'DFNone/Game-v0' with"):
        RealEnv(world(tmp_path / "unknown", vars(unknown)))
    path = world(tmp_path / "extra", {"extra": "minatar"})
    monkeypatch.setitem(sys.modules, "minatar.environments.breakout", None)
    message = r'the real game of toy-random-v0 needs .*pip install "dfgym\[minatar\]"'
    with pytest.raises(MissingPackageError, match=message):
        RealEnv(path)
