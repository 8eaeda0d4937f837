"""Damaged data sets: what was changed is named, and nothing is read wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfgym.data.layout import COLUMNS
from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError
from toys.recordings import fill


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("name", COLUMNS)
def test_verify_names_the_episode_that_changed(path: Path, name: str) -> None:
    row = (path / f"{name}.bin").stat().st_size // 13
    with (path / f"{name}.bin").open("r+b") as file:
        file.seek(5 * row)  # within the second episode
        byte = file.read(1)[0]
        file.seek(5 * row)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(DataError, match=r"episode 1 \(frames 2 to 9\) is not as it was recorded"):
        EpisodeStore.open(path).verify()


def test_verify_names_the_episode_whose_actions_the_game_lacks(path: Path) -> None:
    damage(path, "meta.json", edit(actions=1))
    damage(path, "index.json", None)
    with pytest.raises(DataError, match=r"episode \d .*actions run from .* to \d; .*\[0, 1\)"):
        EpisodeStore.open(path).verify()


def damage(path: Path, file: str, change: Callable[[bytes], bytes] | None) -> None:
    target = path / file
    if change is None:
        target.unlink()
    else:
        target.write_bytes(change(target.read_bytes()))


def edit(**changes: Any) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        return json.dumps({**json.loads(data), **changes}).encode()

    return change


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("actions.bin", None, "without actions: actions.bin is missing"),
        ("meta.json", edit(actions=0), "without actions: actions is 0"),
        ("meta.json", edit(actions=True), "without actions: actions is True"),
        ("rewards.bin", None, "without rewards"),
        ("frames.bin", lambda data: data[:-1], "has 779 bytes .* need 780: it was cut short"),
        ("episodes.jsonl", None, "without episodes"),
        ("meta.json", None, "meta.json is missing"),
        ("meta.json", lambda data: data[:-5], "is not JSON"),
        ("meta.json", lambda data: b"\xff", "is not JSON"),
        ("meta.json", lambda data: b"[" * 100_000, "is not JSON"),
        ("meta.json", lambda data: b"[]", "has format"),
        ("meta.json", edit(format=2), "has format 2; this version reads format 1"),
        (
            "meta.json",
            edit(frame_shape=[4, 5]),
            "is a list of 2; expected list of length 3",
        ),
        ("meta.json", edit(frame_shape=[4, 5, 1]), r"frame_shape\[2\] is 1; allowed are 3"),
        ("meta.json", edit(frame_shape=[4, -5, 3]), r"frame_shape\[1\] is -5; expected int >= 1"),
        ("meta.json", edit(frame_shape=[2**31, 2**31, 3]), "expected int <= 32768"),
        ("meta.json", edit(frame_shape=[10**30, 1, 3]), "expected int <= 32768"),
        ("meta.json", lambda data: b"[" + b"9" * 5000 + b"]", "is not JSON"),
        ("meta.json", edit(fps=99), "meta.json has changed since it was recorded; bring it back"),
        ("episodes.jsonl", lambda data: data.replace(b"random", b"script"), "jsonl has changed"),
        ("episodes.jsonl", lambda data: data.replace(b'eed": 1', b'eed": 7'), "jsonl has changed"),
        ("episodes.jsonl", lambda data: b"", "has 0 episodes, and there were 3: it was cut short"),
        (
            "episodes.jsonl",
            lambda data: data[: data.rindex(b'{"start')],
            "has 2 episodes, and there were 3: it was cut short; bring it back, or remove index",
        ),
        ("index.json", lambda data: b"[]", "is no index"),
        ("index.json", lambda data: b'{"episodes": -1, "meta": "", "lines": ""}', "is no index"),
        ("index.json", lambda data: b"[" * 100_000, "is no index"),
        ("meta.json", lambda data: b" " * (2 << 20), "larger than the allowed"),
        ("meta.json", edit(fps="x"), "fps is 'x'; expected float"),
        ("meta.json", lambda data: data[:-2] + b', "fps": 1e400}', "fps is inf"),
        ("meta.json", edit(meanings=5), "meanings is 5; expected list"),
        ("meta.json", edit(meanings=[1, 2, 3]), r"meanings\[0\] is 1; expected str"),
        ("meta.json", edit(meanings=["a"]), "meanings names 1 actions; there are 3"),
        ("meta.json", edit(env=5), "env is 5; expected str"),
        ("meta.json", edit(kwargs=[1]), "kwargs is a list of 1; expected table"),
        ("meta.json", edit(versions={"a": 1}), "versions.a is 1; expected str"),
    ],
)
def test_a_damaged_data_set_is_refused_with_the_reason(
    path: Path, file: str, change: Callable[[bytes], bytes] | None, message: str
) -> None:
    damage(path, file, change)
    with pytest.raises(DataError, match=message):
        EpisodeStore.open(path)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("meta.json", edit(frame_shape=[400, 500, 3]), "it was cut short"),
        ("meta.json", edit(frame_shape=[32768, 32768, 3]), "it was cut short"),
        ("episodes.jsonl", lambda data: b"[]\n" + data, "line 1 is a list of 0; expected table"),
        ("episodes.jsonl", lambda data: b"\xff\n" + data, "line 1 is not JSON"),
        ("episodes.jsonl", lambda data: b'{"start": 0}\n' + data, "missing key .*line 1.frames"),
        ("episodes.jsonl", lambda data: data.split(b"\n", 1)[1], "line 1: start is 2; .* 0 frames"),
        (
            "episodes.jsonl",
            lambda data: data.replace(b'es": 2', b'es": 1'),
            "s is 1; expected int >= 2",
        ),
        (
            "episodes.jsonl",
            lambda data: data.replace(b'es": 4', b'es": "4"'),
            "3.frames is '4'; expe",
        ),
        (
            "episodes.jsonl",
            lambda data: data.replace(b'es": 4', b'es": 4' + 80 * b"0"),
            "frames is .*; expected int <= ",
        ),
        (
            "episodes.jsonl",
            lambda data: data.replace(b'eed": 1', b'eed": 1' + 30 * b"0"),
            "seed is .*; expe",
        ),
    ],
)
def test_a_damaged_recording_that_was_never_closed_is_refused(
    path: Path, file: str, change: Callable[[bytes], bytes] | None, message: str
) -> None:
    damage(path, "index.json", None)
    damage(path, file, change)
    with pytest.raises(DataError, match=message):
        EpisodeStore.open(path)


def test_the_next_recorder_cuts_nothing_off_a_data_set_whose_list_was_cut(path: Path) -> None:
    store = EpisodeStore.open(path)
    before = {file.name: file.stat().st_size for file in path.glob("*.bin")}
    damage(path, "episodes.jsonl", lambda data: data[: data.rindex(b'{"start')])
    with pytest.raises(DataError, match="it was cut short"):
        store.lock()
    assert before == {file.name: file.stat().st_size for file in path.glob("*.bin")}


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder; make .* `dfgym record`"):
        EpisodeStore.open(tmp_path / "none")
