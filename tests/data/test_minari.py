"""Minari: there and back again without a bit of difference."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from dfgym.agents.players import make_factory
from dfgym.cli import main
from dfgym.data.minari import ID, from_minari, to_minari
from dfgym.data.record import Recording, record
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError, MissingPackageError
from dfgym.games.recorded import RecordedEnv

META = {
    "env": "Test-v0",
    "kwargs": {"a": [1, 2.5, None]},
    "frame_shape": [6, 5, 3],
    "actions": 4,
    "meanings": ["a", "b", "c", "d"],
    "policies": {"random": 1.0},
}


@pytest.fixture
def minari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("h5py")
    pytest.importorskip("PIL")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return pytest.importorskip("minari")


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    chance = np.random.default_rng(0)
    with EpisodeStore.create(tmp_path / "data", META) as store:
        for index, length in enumerate((2, 30, 9, 11)):
            store.append(
                chance.integers(0, 256, (length, 6, 5, 3), np.uint8),  # noise: JPEG would change it
                chance.integers(0, 4, length - 1),
                chance.normal(size=length - 1).astype(np.float32),
                index % 2 == 0,
                index == 3,
                seed=2**32 - 1 - index,
                policy=f"scripted:0.{index}",
            )
    return store


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if "lock" not in file.name}


def test_there_and_back_is_bitwise_the_same(
    minari: ModuleType, store: EpisodeStore, tmp_path: Path
) -> None:
    dataset = to_minari(store.path, "test/noise-v0")
    assert dataset.total_episodes == 4 and dataset.total_steps == 52 - 4
    back = from_minari("test/noise-v0", tmp_path / "back")
    back.verify()
    assert contents(store.path) == contents(tmp_path / "back")
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o755


def test_minari_reads_what_was_recorded(minari: ModuleType, store: EpisodeStore) -> None:
    to_minari(store.path, "noise-v3")
    dataset = minari.load_dataset("noise-v3")
    episode = dataset[1]
    assert (episode.observations == store.frames[2:32]).all()
    assert (episode.actions == store.actions[2:31]).all() and len(episode.rewards) == 29
    assert (episode.rewards == store.rewards[2:31]).all()
    assert not episode.terminations.any() and not episode.truncations.any()
    assert dataset[3].truncations[-1] and dataset.storage.jpeg_encoding is False
    assert dataset.storage.metadata["dfgym"]["env"] == "Test-v0"


# Minari asks for an author and more.
@pytest.mark.filterwarnings("ignore::UserWarning:minari.utils")
@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_a_data_set_of_others_is_imported(
    minari: ModuleType, tmp_path: Path, data_format: str
) -> None:
    if data_format == "arrow":
        pytest.importorskip("pyarrow")
    from minari.data_collector import EpisodeBuffer

    frames = np.arange(4 * 6 * 5 * 3, dtype=np.uint8).reshape(4, 6, 5, 3)
    episode = EpisodeBuffer(
        observations=frames,
        actions=[7, 8, 7],
        rewards=[0.5, 0, 1],
        terminations=[False, False, False],
        truncations=[False, False, True],
    )
    minari.create_dataset_from_buffers(
        "others/game-v1",
        [episode],
        observation_space=gym.spaces.Box(0, 255, (6, 5, 3), np.uint8),
        action_space=gym.spaces.Discrete(2, start=7),
        data_format=data_format,
        jpeg_encoding=False,
    )
    store = from_minari("others/game-v1", tmp_path / "data")
    assert (store.frames == frames).all() and store.actions.tolist() == [0, 1, 0, 0]
    assert store.rewards.tolist() == [0.5, 0, 1, 0] and store.action_space.count == 2
    assert store.truncated.tolist() == [False, False, True, False] and not store.terminated.any()
    assert store.meta["env"] == "others/game-v1"


@pytest.mark.filterwarnings("ignore::UserWarning:minari.utils")
@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2), r"not uint8 \(h, w, 3\) frames"),
        (gym.spaces.Box(0, 255, (4, 4, 1), np.uint8), gym.spaces.Discrete(2), "frame_shape"),
        (gym.spaces.Box(0, 255, (4, 4, 3), np.uint8), gym.spaces.Text(3), "expected Discrete"),
    ],
)
def test_spaces_that_do_not_fit(
    minari: ModuleType, tmp_path: Path, observations: gym.Space, actions: gym.Space, message: str
) -> None:
    minari.create_dataset_from_buffers(
        "others/odd-v0",
        [],
        observation_space=observations,
        action_space=actions,
        jpeg_encoding=False,
    )
    with pytest.raises(DataError, match=message):
        from_minari("others/odd-v0", tmp_path / "data")
    assert not (tmp_path / "data").exists() and list(tmp_path.glob(".data.*")) == []


def test_nothing_is_overwritten(minari: ModuleType, store: EpisodeStore, tmp_path: Path) -> None:
    to_minari(store.path, "test/noise-v0")
    with pytest.raises(DataError, match="'test/noise-v0' exists"):
        to_minari(store.path, "test/noise-v0")
    with pytest.raises(DataError, match=r"data exists; choose another folder"):
        from_minari("test/noise-v0", store.path)
    assert minari.load_dataset("test/noise-v0").total_episodes == 4


def test_a_failed_copy_leaves_nothing_behind(
    minari: ModuleType, store: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_minari(store.path, "test/noise-v0")
    monkeypatch.setattr(EpisodeStore, "append", broken := lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        from_minari("test/noise-v0", tmp_path / "back")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "minari"]
    monkeypatch.setattr("dfgym.data.minari._buffers", broken)
    with pytest.raises(ZeroDivisionError):
        to_minari(store.path, "test/other-v0")
    assert list(minari.list_local_datasets()) == ["test/noise-v0"]


def test_a_damaged_or_empty_data_set_is_not_exported(
    minari: ModuleType, store: EpisodeStore, tmp_path: Path
) -> None:
    with (store.path / "rewards.bin").open("r+b") as file:
        file.write(b"\x01")
    with pytest.raises(DataError, match=r"episode 0 .* is not as it was recorded"):
        to_minari(store.path, "test/noise-v0")
    EpisodeStore.create(tmp_path / "empty", META)
    with pytest.raises(DataError, match="no episodes to export"):
        to_minari(tmp_path / "empty", "test/noise-v0")
    assert not minari.list_local_datasets()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "noise",
        "noise-v",
        "../../data-v0",
        "/tmp/data-v0",
        "a b-v0",
        "é-v0",
        "a-v0\n",
        "a//b-v0",
    ],
)
def test_malformed_ids_are_refused_at_both_doors(tmp_path: Path, name: str) -> None:
    for call in (to_minari, lambda path, name: from_minari(name, path)):
        with pytest.raises(ConfigError, match="is malformed; it must look like"):
            call(tmp_path / "data", name)


@given(st.from_regex(ID, fullmatch=True))
def test_every_id_that_passes_is_one_for_minari(name: str) -> None:
    pytest.importorskip("h5py")
    parse = pytest.importorskip("minari.dataset.minari_dataset").parse_dataset_id
    assert parse(name)[2] >= 0


def test_unknown_id(minari: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no local Minari data set .* `minari download test/no-v0`"
    ):
        from_minari("test/no-v0", tmp_path / "data")


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_file_is_named(
    minari: ModuleType, store: EpisodeStore, tmp_path: Path, share: float
) -> None:
    to_minari(store.path, "test/noise-v0")
    (file,) = tmp_path.glob("minari/test/noise-v0/data/*.hdf5")
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(DataError, match=r"noise-v0' cannot be copied: .*download it again"):
        from_minari("test/noise-v0", tmp_path / "back")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "minari"]


@pytest.mark.parametrize("package", ["minari", "h5py", "PIL"])
def test_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=r'pip install "dfgym\[minari\]"'):
        to_minari(tmp_path, "test/noise-v0")


def test_a_recording_goes_to_minari_and_its_game_comes_back(
    minari: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("minatar")
    recording = Recording("DFSource/MinAtar-Breakout-v0", 40, resize=(20, 20), max_episode_steps=7)
    store = record(recording, tmp_path / "data", make_factory)
    assert main(["export-data", str(store.path), "minari:test/breakout-v0"]) == 0
    assert f"{store.num_frames - len(store)} steps" in capsys.readouterr().out
    dataset = minari.load_dataset("test/breakout-v0")
    env = dataset.recover_environment()
    check_env(env.unwrapped, skip_render_check=True)
    assert env.observation_space == dataset.observation_space
    assert env.action_space == dataset.action_space
    # The same seed and actions draw the recording's own frames and rewards again.
    details = dataset.storage.get_episode_metadata(dataset.episode_indices)
    for episode, detail in zip(dataset, details, strict=True):
        frames = [env.reset(seed=int(detail["seed"]))[0]]
        for action, reward in zip(episode.actions, episode.rewards, strict=True):
            frame, again, *end, _ = env.step(action)
            frames.append(frame)
            assert again == reward
        assert end == [episode.terminations[-1], episode.truncations[-1]]
        assert np.array_equal(frames, episode.observations)


def test_an_export_to_nowhere_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export-data", str(tmp_path), "hdf5:x"]) == 2
    assert "target is 'hdf5:x'; expected minari:ID" in capsys.readouterr().err


def test_an_opening_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'opening\.x'"):
        RecordedEnv({"env": "CartPole-v1", "x": 1})
    with pytest.raises(ConfigError, match="strange_module"):
        RecordedEnv({"env": "A-v0", "module": "strange_module"})
