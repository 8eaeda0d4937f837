"""The episode store: what is written is what is read, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfgym.data.layout import COLUMNS, row_formats
from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError
from toys.recordings import META, episode, fill


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "data")
    return tmp_path / "data"


def test_round_trip_with_the_last_frame_and_both_kinds_of_end(path: Path) -> None:
    store = EpisodeStore.open(path)
    assert len(store) == 3 and store.num_frames == 13
    assert store.offsets.tolist() == [0, 2, 9, 13] and store.offsets.dtype == np.int64
    for index, length in enumerate((2, 7, 4)):
        frames, actions, rewards = episode(length)
        start, end = store.offsets[index], store.offsets[index + 1]
        assert (store.frames[start:end] == frames).all()
        assert store.actions[start:end].tolist() == [*actions, 0]
        assert store.rewards[start:end].tolist() == [*rewards, 0]
        last = [False] * (length - 2) + [True, False]
        never = [False] * length
        assert store.terminated[start:end].tolist() == (never if index % 2 else last)
        assert store.truncated[start:end].tolist() == (last if index % 2 else never)
        assert store.episodes[index].seed == index
    for name, (dtype, shape) in row_formats(store.meta).items():
        column = getattr(store, name)
        assert column.dtype == dtype and column.shape[1:] == shape and not column.flags.writeable
    store.verify()


@pytest.mark.parametrize("name", ["nowhere", "foreign.pt", "folder"])
def test_what_is_no_data_set_is_refused_with_the_commands_that_make_one(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "foreign.pt").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=rf"{name} is not a data set: .*`dfgym import`"):
        EpisodeStore.open(tmp_path / name)


def test_a_reader_sees_what_was_added_after_it_opened_only_when_opened_again(path: Path) -> None:
    reader = EpisodeStore.open(path)
    with EpisodeStore.open(path) as writer:
        writer.append(*episode(5), False, True, seed=9, policy="scripted:0.1")
        assert writer.num_frames == 18 and len(writer.frames) == 18
    assert reader.num_frames == 13 and EpisodeStore.open(path).episodes[-1].seed == 9


@settings(max_examples=30)
@given(cut=st.integers(0, 150))
def test_cut_anywhere_in_the_last_line_costs_that_episode_alone(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("store") / "data"
    fill(path)
    (path / "index.json").unlink()  # a recorder that was killed did not come to it
    index = path / "episodes.jsonl"
    text = index.read_bytes()
    last = text.rstrip(b"\n").rfind(b"\n") + 1
    index.write_bytes(text[: min(last + cut, len(text) - 1)])
    with EpisodeStore.open(path) as store:
        assert store.offsets.tolist() == [0, 2, 9]
        store.verify()
        store.append(*episode(3), True, False, seed=7, policy="random")
        assert store.offsets.tolist() == [0, 2, 9, 12]
    again = EpisodeStore.open(path)
    again.verify()
    assert (again.frames[9:] == episode(3)[0]).all()
    assert (path / "frames.bin").stat().st_size == 12 * 60  # nothing of the dead episode is left


def test_rows_of_an_unfinished_episode_are_overwritten(path: Path) -> None:
    for name in COLUMNS:
        with (path / f"{name}.bin").open("ab") as file:
            file.write(b"\x01" * 17)  # not even whole rows
    with EpisodeStore.open(path) as store:
        store.append(*episode(6), True, False, seed=4, policy="random")
    store = EpisodeStore.open(path)
    store.verify()
    assert (store.frames[13:] == episode(6)[0]).all() and store.num_frames == 19


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", range(6))
def test_failed_append_leaves_the_data_set_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, at: int
) -> None:
    calls, write = [], os.write

    def fail(file: int, data: bytes) -> int:
        calls.append(file)
        if len(calls) > at:
            write(file, data[: len(data) // 2])
            raise error
        return write(file, data)

    with EpisodeStore.open(path) as store:
        monkeypatch.setattr(os, "write", fail)
        with pytest.raises(type(error)):
            store.append(*episode(5), True, False, seed=0, policy="random")
        monkeypatch.undo()
        assert len(store) == 3
        store.append(*episode(6), True, False, seed=0, policy="random")
    EpisodeStore.open(path).verify()
    assert EpisodeStore.open(path).offsets.tolist() == [0, 2, 9, 13, 19]


def test_killed_writer_loses_at_most_the_open_episode_and_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "data"
    code = f"""
import numpy as np, sys
from dfgym.data.store import EpisodeStore
store = EpisodeStore.create({str(path)!r}, {META!r})
for index in range(100_000):
    frames = np.full((50, 4, 5, 3), index % 256, np.uint8)
    store.append(frames, np.zeros(49, int), np.zeros(49), True, False, seed=index, policy="p")
    if index == 20: print("go", flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None and writer.stdout.readline() == "go\n"
    with pytest.raises(DataError, match=f"is being written by process {writer.pid}"):
        EpisodeStore.open(path).lock()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    with EpisodeStore.open(path) as store:
        assert len(store) > 20
        store.verify()
        assert [e.seed for e in store.episodes] == list(range(len(store)))
        store.append(*episode(4), True, False, seed=1, policy="p")
    EpisodeStore.open(path).verify()


def test_one_writer_at_a_time_and_reading_beside_it(path: Path) -> None:
    with EpisodeStore.open(path) as first:
        first.lock()
        second = EpisodeStore.open(path)
        assert len(second.frames) == 13
        with pytest.raises(DataError, match=f"by process {os.getpid()}.*another folder"):
            second.append(*episode(4), True, False, seed=0, policy="random")
    second.append(*episode(4), True, False, seed=0, policy="random")
    second.close()
    second.close()
    assert len(EpisodeStore.open(path)) == 4


def test_second_writer_goes_on_where_the_first_one_stopped(path: Path) -> None:
    late = EpisodeStore.open(path)
    with EpisodeStore.open(path) as first:
        first.append(*episode(5), True, False, seed=3, policy="random")
    with late:
        late.append(*episode(6), True, False, seed=4, policy="random")
    store = EpisodeStore.open(path)
    store.verify()
    assert store.offsets.tolist() == [0, 2, 9, 13, 18, 24]


def test_a_folder_in_use_is_not_taken(path: Path) -> None:
    for lock in (path, path / "meta.json"):
        with pytest.raises(DataError, match="exists and is not empty"):
            EpisodeStore.create(lock, META)


def test_what_a_killed_create_left_is_taken_up(path: Path) -> None:
    (path / "index.json").unlink()
    for file in path.iterdir():
        file.write_bytes(b"")
    (path / "meta.json").rename(path / ".meta.json.abcd")
    fill(path)
    (path / "meta.json").unlink()
    with pytest.raises(DataError, match="exists and is not empty"):  # these files hold something
        EpisodeStore.create(path, META)


def test_create_checks_before_it_makes_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="without actions"):
        EpisodeStore.create(tmp_path / "new", {"frame_shape": [4, 5, 3]})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("frames", "actions", "rewards", "message"),
    [
        ((1, 4, 5, 3), [], [], r"an episode of 1 frame\(s\) has no transition"),
        ((0, 4, 5, 3), [], [], "has no transition"),
        ((3, 4, 6, 3), [0, 0], [0, 0], r"uint8 \(4, 6, 3\) do not fit .* one frame size"),
        ((3, 4, 5), [0, 0], [0, 0], "do not fit"),
        ((3, 4, 5, 3), [0], [0, 0], "3 frames need 2 actions"),
        ((3, 4, 5, 3), [0, 0], [[0], [0]], "3 frames need 2 actions"),
        ((3, 4, 5, 3), [0, 3], [0, 0], r"run from 0 to 3; they must lie in \[0, 3\)"),
        ((3, 4, 5, 3), [-1, 0], [0, 0], "run from -1 to 0"),
        ((3, 4, 5, 3), [0.0, 1.0], [0, 0], "float64; they must be integers"),
        ((3, 4, 5, 3), [0, 1], [0, np.nan], "rewards must be finite"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    path: Path, frames: Any, actions: Any, rewards: Any, message: str
) -> None:
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    store = EpisodeStore.open(path)
    with pytest.raises(DataError, match=message):
        store.append(
            np.zeros(frames, np.uint8),
            np.array(actions, int if actions == [] else None),
            np.array(rewards, float),
            True,
            False,
            seed=0,
            policy="random",
        )
    store.close()
    assert before == {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(DataError, match="do not fit"):
        store.append(
            np.zeros((3, 4, 5, 3)), np.zeros(2, int), np.zeros(2), True, False, seed=0, policy=""
        )


def test_empty_data_set_reads_as_empty(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "data", META)
    assert store.frames.shape == (0, 4, 5, 3) and store.offsets.tolist() == [0]
    store.verify()
