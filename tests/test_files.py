"""Files at rest: modes, drafts, full disks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dfgym.data.store import EpisodeStore
from dfgym.files import draft_path, remove_drafts, write_atomic
from dfgym.world import bundle
from toys.recordings import META, fill
from toys.world import toy_card, toy_starts, toy_weights


@pytest.mark.parametrize(("mask", "file", "folder"), [(0o077, 0o600, 0o700), (0o002, 0o664, 0o775)])
def test_what_is_written_follows_the_umask(
    tmp_path: Path, mask: int, file: int, folder: int
) -> None:
    before = os.umask(mask)
    try:
        fill(tmp_path / "data")
        card = toy_card()
        bundle.write(tmp_path / "toy-random-v0", card, toy_weights(card), toy_starts(card))
    finally:
        os.umask(before)
    for name in ("data", "toy-random-v0"):
        assert (tmp_path / name).stat().st_mode & 0o777 == folder
        modes = {
            path.name: path.stat().st_mode & 0o777
            for path in (tmp_path / name).iterdir()
            if path.name != "lock"  # filelock's own
        }
        assert set(modes.values()) == {file}, modes


def test_no_mode_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every file system has modes: exFAT, CIFS and WSL's mounts answer EPERM."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    fill(tmp_path / "data")
    card = toy_card()
    bundle.write(tmp_path / "toy-random-v0", card, toy_weights(card), toy_starts(card))


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*report.json'"):
        write_atomic(tmp_path / "report.json", b"{}")
    assert not [*tmp_path.iterdir()]


def test_drafts_of_the_named_files_alone_are_removed(tmp_path: Path) -> None:
    mine, other = (draft_path(tmp_path / name) for name in ("a.json", "b.json"))
    young = draft_path(tmp_path / "world-v0")
    for path in (mine, other, tmp_path / "a.json", tmp_path / ".a.json.settings"):
        path.touch()
    young.mkdir()
    remove_drafts(tmp_path, "a.json")
    assert not mine.exists()
    remove_drafts(tmp_path, "world-v0", age=60)
    assert young.exists()
    os.utime(young, (0, 0))
    remove_drafts(tmp_path, "world-v0", age=60)
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", ".a.json.settings", other.name}


KILLED = """
import os, signal, sys
from pathlib import Path
from dfgym.data.store import EpisodeStore
from toys.recordings import META
real = os.fsync
def kill(file):
    if os.path.basename(os.readlink(f"/proc/self/fd/{file}")).startswith(".index.json."):
        os.kill(os.getpid(), signal.SIGKILL)
    real(file)
os.fsync = kill
from toys.recordings import fill
fill(Path(sys.argv[1]))
"""


def test_a_writer_that_was_killed_leaves_no_draft_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "data"
    subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        check=False,
    )
    assert [*path.glob(".index.json.*")] and not (path / "index.json").exists()
    with EpisodeStore.open(path) as store:
        assert len(store) == 3 and store.meta["actions"] == META["actions"]
        store.lock()
    assert not [*path.glob(".index.json.*")] and (path / "index.json").exists()
