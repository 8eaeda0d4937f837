"""Options of reset, over a toy dynamics: where episodes begin, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dfgym.env.env import DreamEnv
from dfgym.env.starts import choose, parse
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import ActionError, ConfigError
from toys import dynamics as toy_dynamics
from toys.dynamics import NAME, SCALE, H, N, W


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_dynamics.install(monkeypatch)


def test_starts_are_first_frames_of_held_out_episodes() -> None:
    env = DreamEnv(NAME)
    starts = toy_dynamics.toy_world().starts
    visited = set()
    env.reset(seed=0)
    for _ in range(40):
        observation, info = env.reset()
        assert info["start_frame"] == 0
        first = starts.episode(info["start_episode"])[0][0]
        assert np.array_equal(observation[::SCALE, ::SCALE], first)
        visited.add(info["start_episode"])
    assert visited == {0, 1, 2}


def test_starts_anywhere_are_every_frame_but_the_last() -> None:
    env = DreamEnv(NAME)
    starts = toy_dynamics.toy_world().starts
    visited = set()
    for seed in range(300):
        observation, info = env.reset(seed=seed, options={"start": "anywhere"})
        frame = starts.episode(info["start_episode"])[0][info["start_frame"]]
        assert np.array_equal(observation[::SCALE, ::SCALE], frame)
        visited.add((info["start_episode"], info["start_frame"]))
    assert visited == {(e, f) for e, n in enumerate((2, 5, 9)) for f in range(n - 1)}


def test_the_start_index_picks_the_episode() -> None:
    env = DreamEnv(NAME)
    info = env.reset(options={"index": 1})[1]
    assert (info["start_episode"], info["start_frame"]) == (1, 0)
    frames = set()
    for seed in range(60):
        info = env.reset(seed=seed, options={"start": "anywhere", "index": np.int64(1)})[1]
        assert info["start_episode"] == 1
        frames.add(info["start_frame"])
    assert frames == {0, 1, 2, 3}


def test_a_context_is_the_last_window_of_frames_with_the_actions_between() -> None:
    world = toy_dynamics.toy_world()
    for seed in range(50):
        start = parse(world, {"start": "anywhere", "index": 2})
        frames, actions, (_, last) = choose(world, seed, start)
        end = last + 1
        begin = max(0, end - world.card.model.window)
        episode = world.starts.episode(2)
        assert np.array_equal(frames, episode[0][begin:end])
        assert np.array_equal(actions, episode[1][begin : end - 1])


def test_own_frames_at_model_and_at_observation_size() -> None:
    frames, actions = toy_dynamics.toy_world().starts.episode(1)
    large = frames.repeat(SCALE, 1).repeat(SCALE, 2)
    env = DreamEnv(NAME)
    for own, acts in ((frames, actions), (large, list(actions))):
        observation, info = env.reset(seed=1, options={"frames": own, "actions": acts})
        assert np.array_equal(observation, large[-1])
        assert (info["start_episode"], info["start_frame"]) == (-1, 4)
    assert np.array_equal(env.reset(options={"frames": frames[:1]})[0], large[0])


FRAMES = np.zeros((2, H, W, 3), np.uint8)
BLURRED = np.arange(H * SCALE * W * SCALE * 3).astype(np.uint8).reshape(1, H * SCALE, W * SCALE, 3)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("episode", "'episode'"),
        ([("start", "episode")], "must be a dict"),
        ({"start": "middle"}, "'middle'"),
        ({"start": ["episode"]}, "episode, anywhere"),
        ({"start": None}, "None"),
        ({"index": 3}, "3 must be an int from 0 to 2"),
        ({"index": -1}, "-1"),
        ({"index": 1.0}, "1.0"),
        ({"index": True}, "True"),
        ({"frames": FRAMES}, r"shape \(0,\)"),
        ({"frames": FRAMES, "actions": [0, 0]}, r"shape \(2,\)"),
        ({"frames": FRAMES, "actions": [N]}, f"action {N} "),
        ({"frames": FRAMES, "actions": np.array([np.nan])}, "float64"),
        ({"frames": FRAMES, "actions": [True]}, "bool"),
        ({"frames": FRAMES, "actions": 0}, "of type int"),
        ({"frames": FRAMES, "actions": [0], "index": 0}, "leave out start and index"),
        ({"frames": FRAMES, "actions": [0], "start": "episode"}, "leave out start and index"),
        ({"actions": [0]}, "needs the option frames"),
        ({"frames": FRAMES.astype(float), "actions": [0]}, "float64"),
        ({"frames": FRAMES.tolist(), "actions": [0]}, "of type list"),
        ({"frames": FRAMES[0], "actions": []}, "shape"),
        ({"frames": FRAMES[:0], "actions": []}, "shape"),
        ({"frames": FRAMES[..., :1], "actions": [0]}, "shape"),
        ({"frames": FRAMES.transpose(0, 2, 1, 3), "actions": [0]}, "shape"),
        ({"frames": BLURRED}, "cells"),
    ],
)
def test_bad_options_raise_and_nothing_changes(options: Any, names: str) -> None:
    env = DreamEnv(NAME)
    env.reset(seed=0)
    before = env.clone_state()
    with pytest.raises((ConfigError, ActionError), match=names):
        env.reset(seed=1, options=options)
    assert env.clone_state() == before
    assert env.np_random_seed == 0


@pytest.mark.parametrize("options", [{"strat": "x%s"}, {1: 2}, {"reset_mask": np.array([True])}])
def test_unknown_options_are_ignored_and_a_warning_says_so(options: dict[Any, Any]) -> None:
    """Libraries send options of their own through every environment, as Minari's collector."""
    env, batch = DreamEnv(NAME), DreamVectorEnv(1, world=NAME)
    expected, _ = env.reset(seed=0, options={"index": 1})
    for e in (env, batch):
        if e is batch and "reset_mask" in options:
            continue
        with pytest.warns(UserWarning, match=f"ignores the option {next(iter(options))!r}: use"):
            observation, _ = e.reset(seed=0, options={**options, "index": 1})
        assert np.array_equal(observation.reshape(expected.shape), expected)
