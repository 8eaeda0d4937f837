"""Recording: any Gymnasium id with frames, any mix of policies, stopped and resumed at any time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError
from dfgym.games import POLICY_VERSION
from toys.recordings import record

BREAKOUT = "DFSource/MinAtar-Breakout-v0"
pytestmark = pytest.mark.usefixtures("counter_ids")


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if "lock" not in file.name}


def test_an_episode_as_it_was_played_with_its_last_frame(tmp_path: Path) -> None:
    store = record("DFTest/Counter-v0", tmp_path / "data", 20)
    assert store.num_frames == 21 and store.offsets.tolist() == [0, 7, 14, 21]
    assert (store.frames[:, 0, 0, 0] == list(range(7)) * 3).all()
    last = np.arange(21) % 7 == 6
    assert (store.rewards[~last] == store.actions[~last] + 0.5).all() and not store.rewards[
        last
    ].any()
    assert (np.flatnonzero(store.terminated) == [5, 12, 19]).all() and not store.truncated.any()
    assert store.meta["env"] == "DFTest/Counter-v0" and store.meta["fps"] == 7
    assert store.meta["actions"] == 3 and store.meta["meanings"] == ["0", "1", "2"]
    assert store.meta["versions"]["gymnasium"] == gym.__version__
    EpisodeStore.open(tmp_path / "data").verify()


def test_frames_come_from_rendering_where_observations_are_no_images(tmp_path: Path) -> None:
    kwargs = {"images": False}
    store = record("DFTest/Counter-v0", tmp_path / "data", 7, env_kwargs=kwargs)
    assert store.frames[:, 0, 0, 0].tolist() == 2 * list(range(7))
    assert store.meta["kwargs"] == kwargs


def test_a_time_limit_truncates_and_does_not_terminate(tmp_path: Path) -> None:
    store = record("DFTest/Timed-v0", tmp_path / "data", 5)
    assert store.num_frames == 10 and np.flatnonzero(store.truncated).tolist() == [3, 8]
    assert not store.terminated.any()


def test_an_endless_episode_is_cut_and_a_true_end_wins(tmp_path: Path) -> None:
    kwargs = {"length": 10**9}
    store = record(
        "DFTest/Counter-v0",
        tmp_path / "a",
        9,
        env_kwargs=kwargs,
        max_episode_steps=8,
    )
    assert np.flatnonzero(store.truncated).tolist() == [7, 16] and not store.terminated.any()
    store = record("DFTest/Counter-v0", tmp_path / "b", 5, max_episode_steps=6)
    assert np.flatnonzero(store.terminated).tolist() == [5, 12] and not store.truncated.any()


def test_actions_count_from_zero_whatever_the_environment_counts_from(tmp_path: Path) -> None:
    store = record("DFTest/Counter-v0", tmp_path / "data", 200, env_kwargs={"start": 5})
    assert set(store.actions.tolist()) == {0, 1, 2}
    last = np.diff(store.offsets, append=0)[:-1] - 1 + store.offsets[:-1]
    steps = np.setdiff1d(np.arange(store.num_frames), last)
    assert (store.rewards[steps] == store.actions[steps] + 5.5).all()


def test_resizing_takes_means_over_areas(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    store = record(
        "DFTest/Counter-v0",
        tmp_path / "data",
        7,
        env_kwargs={"size": [12, 16]},
        resize=(3, 4),
        filter="area",
    )
    assert store.frames.shape == (14, 3, 4, 3)
    assert (store.frames == np.tile(np.arange(7), 2)[:, None, None, None]).all()


def test_policies_get_their_shares_of_the_frames(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    mix = {"scripted:0.1": 4, "random": 2, "sticky-random": 2}
    store = record(BREAKOUT, tmp_path / "data", 4000, mix)
    frames = dict.fromkeys(mix, 0)
    for episode in store.episodes:
        frames[episode.policy] += episode.frames
    assert store.meta["policies"] == {"scripted:0.1": 0.5, "random": 0.25, "sticky-random": 0.25}
    longest = max(episode.frames for episode in store.episodes)
    for name, share in store.meta["policies"].items():
        assert abs(frames[name] - share * store.num_frames) <= longest
    repeats: dict[str, list[bool]] = {name: [] for name in mix}
    for episode in store.episodes:
        actions = store.actions[episode.start : episode.start + episode.frames - 1]
        repeats[episode.policy].extend(actions[1:] == actions[:-1])
    assert np.mean(repeats["random"]) < 0.45 < 0.75 < np.mean(repeats["sticky-random"])
    assert store.meta["meanings"] == ["noop", "left", "right"]
    assert "minatar" in store.meta["versions"]


def test_resumed_recording_is_the_uninterrupted_one(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    mix = {"scripted:0.2": 0.5, "random": 0.5}
    record(BREAKOUT, tmp_path / "whole", 3000, mix, seed=5)
    for frames in (2, 700, 700, 3000, 10):
        store = record(BREAKOUT, tmp_path / "parts", frames, mix, seed=5)
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")
    store.verify()
    other = record(BREAKOUT, tmp_path / "other", 3000, mix, seed=6)
    assert other.frames[:1000].tobytes() != store.frames[:1000].tobytes()


def test_killed_recording_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    path = tmp_path / "killed"
    code = (
        "from dfgym.cli import main;"
        f"main(['record', {BREAKOUT!r}, {str(path)!r}, '--frames', '10000000', '--seed', '2'])"
    )
    recorder = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 240
    while not (path / "frames.bin").exists() or (path / "frames.bin").stat().st_size < 300_000:
        assert time.monotonic() < deadline and recorder.poll() is None
        time.sleep(0.01)
    with pytest.raises(DataError, match=f"written by process {recorder.pid}"):
        record(BREAKOUT, path, 10**7, seed=2)
    recorder.kill()
    recorder.wait()
    frames = EpisodeStore.open(path).num_frames + 500
    record(BREAKOUT, path, frames, seed=2)
    record(BREAKOUT, tmp_path / "whole", frames, seed=2)
    assert contents(path) == contents(tmp_path / "whole")


def test_another_recording_is_not_continued(tmp_path: Path) -> None:
    record("DFTest/Counter-v0", tmp_path / "data", 7)
    before = contents(tmp_path / "data")
    with pytest.raises(DataError, match="another recording: its seed is 0, not 1"):
        record("DFTest/Counter-v0", tmp_path / "data", 70, seed=1)
    with pytest.raises(DataError, match="its policies is"):
        record("DFTest/Counter-v0", tmp_path / "data", 70, {"sticky-random": 1})
    with pytest.raises(DataError, match="its frame_shape is"):
        kwargs = {"size": [5, 5]}
        record("DFTest/Counter-v0", tmp_path / "data", 70, env_kwargs=kwargs)
    assert contents(tmp_path / "data") == before


def test_global_generators_are_left_alone(tmp_path: Path) -> None:
    np.random.seed(1)
    before = np.random.get_state(legacy=False)["state"]["key"].copy()
    record("DFTest/Counter-v0", tmp_path / "data", 50)
    assert (np.random.get_state(legacy=False)["state"]["key"] == before).all()


def test_progress_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record("DFTest/Counter-v0", tmp_path / "data", 20, progress=True)
    assert "20/20" in capsys.readouterr().err


def test_an_sb3_agent_plays_at_the_size_it_learned_at(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    sb3 = pytest.importorskip("stable_baselines3")

    class Large(gym.Wrapper):
        def __init__(self) -> None:
            super().__init__(gym.make(BREAKOUT))
            self.observation_space = gym.spaces.Box(0, 255, (40, 40, 3), np.uint8)

        def reset(self, **keywords: Any) -> Any:
            observation, info = self.env.reset(**keywords)
            return observation.repeat(4, 0).repeat(4, 1), info

        def step(self, action: Any) -> Any:
            observation, *rest = self.env.step(action)
            return observation.repeat(4, 0).repeat(4, 1), *rest

    agent = sb3.PPO("CnnPolicy", Large(), n_steps=8, batch_size=8, device="cpu", seed=0)
    agent.save(tmp_path / "agent.zip")
    name = f"sb3:ppo:{tmp_path / 'agent.zip'}"
    store = record(BREAKOUT, tmp_path / "data", 60, {name: 1})
    assert {episode.policy for episode in store.episodes} == {name}
    for row in range(int(store.offsets[1]) - 1):
        frame = store.frames[row].repeat(4, 0).repeat(4, 1)
        assert store.actions[row] == agent.predict(frame, deterministic=True)[0]
    with pytest.raises(ConfigError, match=r"learned from observations .*40, 40.*3, 4, 3"):
        record("DFTest/Counter-v0", tmp_path / "other", 60, {name: 1})


def test_recording_is_fast(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    begun = time.process_time()
    record(BREAKOUT, tmp_path / "data", 5000, {"scripted:0.1": 1})
    # By the processor's clock, which a loaded machine does not stretch; alone: over 20,000.
    assert 5000 / (time.process_time() - begun) > 2000


def test_other_players_do_not_go_on_under_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record("DFTest/Counter-v0", tmp_path / "data", 20, {"random": 1})
    monkeypatch.setattr("dfgym.data.record.POLICY_VERSION", POLICY_VERSION + 1)
    with pytest.raises(DataError, match=f"another recording: its players is {POLICY_VERSION}, not"):
        record("DFTest/Counter-v0", tmp_path / "data", 40, {"random": 1})
