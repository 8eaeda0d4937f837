"""Games with every kind of action are recorded, read as windows, and carried to and from Minari."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from dfgym.actions import ActionSpace
from dfgym.data.minari import from_minari, to_minari
from dfgym.data.store import EpisodeStore
from dfgym.data.survey import count_actions, look
from dfgym.data.windows import WindowSampler
from dfgym.errors import ConfigError, DataError
from dfgym.games.source import Opening, open_source
from dfgym.games.spaces import describe
from toys.actions import MARKER, SPACES
from toys.recordings import record

pytestmark = pytest.mark.usefixtures("marker_id")


def record_kind(kind: str, out: Path, frames: int = 60, player: str = "random") -> EpisodeStore:
    return record(MARKER, out, frames, {player: 1.0}, env_kwargs={"kind": kind})


@pytest.mark.parametrize("kind", SPACES)
def test_what_is_recorded_plays_again(kind: str, tmp_path: Path) -> None:
    """The recorded rows, put into the game's form again, lead to the recorded frames."""
    record_kind(kind, tmp_path / "data")
    store = EpisodeStore.open(tmp_path / "data")
    store.verify()
    space = describe(SPACES[kind], kind)
    assert store.action_space.network_form == space.network_form
    assert store.actions.dtype == space.dtype_of_rows
    assert store.actions.shape == (store.num_frames, *space.row_shape)
    source = open_source(Opening(MARKER, {"kind": kind}))
    for episode in store.episodes:
        observation, _ = source.env.reset(seed=episode.seed)
        for row in range(episode.start, episode.start + episode.frames - 1):
            assert np.array_equal(observation, store.frames[row])
            observation, reward, *_ = source.env.step(source.to_env(store.actions[row]))
            assert reward == pytest.approx(store.rewards[row])


@pytest.mark.parametrize("kind", ["box", "dict", "multi-discrete"])
def test_a_recording_is_continued_and_holds_its_actions(kind: str, tmp_path: Path) -> None:
    record_kind(kind, tmp_path / "data", 30)
    longer = record_kind(kind, tmp_path / "data", 60)
    again = record_kind(kind, tmp_path / "again", 60)
    assert np.array_equal(longer.actions, again.actions)
    sticky = record_kind(kind, tmp_path / "sticky", 300, "sticky-random")
    steps = np.ones(sticky.num_frames, bool)
    steps[sticky.offsets[1:] - 1] = False
    same = (sticky.actions[1:] == sticky.actions[:-1]).all(-1)[steps[:-1] & steps[1:]]
    assert 0.65 < same.mean() < 0.95


@pytest.mark.parametrize("kind", ["box", "dict"])
def test_windows_hold_the_action_that_led_to_each_frame(kind: str, tmp_path: Path) -> None:
    store = record_kind(kind, tmp_path / "data")
    batch = WindowSampler(store, 4, 50, seed=0).batch(0)
    assert batch["actions"].shape == (50, 4, len(store.action_space.parts))
    none = np.isnan(batch["actions"]).all(-1)
    assert np.array_equal(none, ~batch["valid"]) and none[:, 0].all()
    assert np.isfinite(batch["actions"][batch["valid"]]).all()
    for frames, actions, valid in zip(
        batch["frames"], batch["actions"], batch["valid"], strict=True
    ):
        for frame, action in zip(frames[valid], actions[valid], strict=True):
            same = (store.frames[1:] == frame).all((1, 2, 3)) & (store.actions[:-1] == action).all(
                1
            )
            assert same.any()


def test_several_data_sets_must_have_the_same_parts(tmp_path: Path) -> None:
    stores = [record_kind(kind, tmp_path / kind, 30) for kind in ("box", "dict")]
    with pytest.raises(DataError, match=r"mixed actions: .* has Box.*, .* has Dict"):
        WindowSampler(stores, 4, 2, seed=0)
    assert WindowSampler([stores[0], stores[0]], 4, 8, seed=0).batch(0)["actions"].shape == (
        8,
        4,
        3,
    )


@pytest.mark.parametrize("actions", [{"kind": "box"}, {"n": 3}, {}, {"kind": "sphere"}])
def test_damaged_meta_data_are_refused(actions: object, tmp_path: Path) -> None:
    record_kind("box", tmp_path / "data", 30)
    file = tmp_path / "data" / "meta.json"
    meta = json.loads(file.read_text()) | {"actions": actions, "meanings": ["a"]}
    file.write_text(json.dumps(meta))
    with pytest.raises(DataError):
        EpisodeStore.open(tmp_path / "data")


@pytest.mark.parametrize(
    ("row", "message"),
    [([0, 0, np.nan], "'2'"), ([0, 0, 2], "has 2 as"), ([0, 0], "need 1 actions")],
)
def test_rows_that_are_no_action_are_refused(
    row: list[float], message: str, tmp_path: Path
) -> None:
    space = describe(SPACES["box"], "box")
    meta = {"frame_shape": [2, 2, 3], "actions": space.to_plain()}
    frames = np.zeros((2, 2, 2, 3), np.uint8)
    with (
        EpisodeStore.create(tmp_path / "data", meta) as store,
        pytest.raises(DataError, match=message),
    ):
        store.append(
            frames, np.array([row]), np.zeros(1, np.float32), True, False, seed=0, policy="x"
        )


def test_actions_are_counted_by_choice_and_by_range(tmp_path: Path) -> None:
    store = record_kind("dict", tmp_path / "data", 400)
    facts = look([store])
    counts = dict(zip(facts.meanings, facts.actions, strict=True))
    assert counts["go = 0"] + counts["go = 1"] + counts["go = 2"] == facts.frames - facts.episodes
    assert min(facts.actions) > 20
    even = ActionSpace(kind="box", shape=(1,), low=(-1.0,), high=(1.0,), names=("turn",))
    tally = count_actions(even, np.array([[-1], [-0.9], [0.1], [1]], np.float32))
    assert tally == {
        "turn -1 to -0.5": 2,
        "turn -0.5 to 0": 0,
        "turn 0 to 0.5": 1,
        "turn 0.5 to 1": 1,
    }


@pytest.mark.parametrize("bounds", [(-np.inf, 1), (-1, np.inf)])
def test_bounds_without_end_are_refused_with_the_fix(
    bounds: tuple[float, float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(SPACES, "endless", gym.spaces.Box(*bounds, (1,)))
    monkeypatch.setattr("toys.actions.describe", lambda space, where: None)
    with pytest.raises(ConfigError, match=r"finite bounds.*TransformAction"):
        record_kind("endless", tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("kind", SPACES)
def test_minari_and_back(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari", reason='needs pip install "dfgym[minari]"')
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    store = record_kind(kind, tmp_path / "data", 30)
    dataset = to_minari(tmp_path / "data", "toys/marker-v0")
    for episode in dataset:
        assert episode.rewards.shape[0] > 0
    back = from_minari("toys/marker-v0", tmp_path / "back")
    assert np.array_equal(back.actions, store.actions)
    assert np.array_equal(back.frames, store.frames)
    assert back.action_space.network_form == store.action_space.network_form
