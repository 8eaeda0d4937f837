"""A data set of episodes: one folder of append-only files, memory-mapped for reading.

Rows are written first and their line in `episodes.jsonl` after them: rows that no line speaks of
were being written when a recorder died, and the next one overwrites them. Only one process at a
time writes. What the files hold stands in `dfgym.data.layout`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dfgym.data.layout import (
    COLUMNS,
    FORMAT,
    INDEX,
    Episode,
    action_space,
    check_episode,
    check_meta,
    hash_episode,
    read_episodes,
    read_meta,
    row_formats,
    write_index,
)
from dfgym.errors import DataError
from dfgym.files import LOCK_FILES, lock_folder, open_to_append, remove_drafts, write_json

if TYPE_CHECKING:
    from filelock import BaseFileLock


class EpisodeStore:
    """A data set on disk; see `dfgym.data.layout` for its form.

    Attributes:
        path: the folder.
        meta: what was recorded (`frame_shape`, `actions`, `env`, ...), from `meta.json`.
        episodes: the finished episodes, in the order of recording.
        action_space: what an action of the recorded game is.
    """

    def __init__(self, path: Path, meta: dict[str, Any], episodes: list[Episode]) -> None:
        self.path, self.meta, self.episodes = path, meta, episodes
        self.action_space = action_space(meta)
        self._formats = row_formats(meta)
        self._columns: dict[str, np.ndarray] = {}
        self._files: dict[str, int] = {}
        self._lock: BaseFileLock | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a data set and check that its parts fit together (not its hashes: see `verify`).

        Raises:
            DataError: a part is missing, damaged or shorter than the list of episodes says.
        """
        folder = Path(path)
        if not (folder / "meta.json").exists():
            form = "a file" if folder.is_file() else "its meta.json is missing"
            form = form if folder.exists() else "no such folder"
            raise DataError(
                f"{folder} is not a data set: {form}; make a data set's folder with `dfgym record`,"
                " or of npz files, videos or Minari with `dfgym import`"
            )
        store = cls(folder, read_meta(folder), read_episodes(folder))
        rows = store.num_frames
        for name in COLUMNS:
            file, need = folder / f"{name}.bin", rows * store._row_bytes(name)
            if not file.is_file():
                raise DataError(f"{folder} is a data set without {name}: {file.name} is missing")
            if file.stat().st_size < need:
                raise DataError(
                    f"{file} has {file.stat().st_size} bytes and its {len(store)} episodes need "
                    f"{need}: it was cut short; record the data set again"
                )
        return store

    @classmethod
    def create(cls, path: str | os.PathLike[str], meta: Mapping[str, Any]) -> Self:
        """Make an empty data set.

        Args:
            path: a folder that does not exist, or is empty but for what an earlier call had made
                when it was killed.
            meta: plain values; `frame_shape` (h, w, 3) and `actions` (how many, or a table, see
                `dfgym.actions`) are needed.

        Raises:
            DataError: the folder is in use, or the meta data are not of that form.
        """
        folder = Path(path)
        if folder.exists() and not (folder.is_dir() and all(map(_is_begun, folder.iterdir()))):
            raise DataError(f"{folder} exists and is not empty; choose another folder")
        checked = check_meta({"format": FORMAT, **meta}, str(folder))
        folder.mkdir(parents=True, exist_ok=True)
        for name in COLUMNS:
            (folder / f"{name}.bin").touch()
        (folder / "episodes.jsonl").touch()
        write_json(folder / "meta.json", checked)  # last: with it, the data set exists
        return cls.open(folder)

    def __len__(self) -> int:
        """How many finished episodes there are."""
        return len(self.episodes)

    @property
    def num_frames(self) -> int:
        """How many frames all finished episodes have together."""
        return self.episodes[-1].start + self.episodes[-1].frames if self.episodes else 0

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width and 3."""
        height, width, channels = self.meta["frame_shape"]
        return height, width, channels

    @property
    def offsets(self) -> np.ndarray:
        """First row of each episode, and the end: int64 `(episodes + 1,)`."""
        return np.array([e.start for e in self.episodes] + [self.num_frames], dtype=np.int64)

    @property
    def frames(self) -> np.ndarray:
        """All frames, uint8 `(n, h, w, 3)`, read-only and memory-mapped."""
        return self._column("frames")

    @property
    def actions(self) -> np.ndarray:
        """Action that leads from each frame to the next: int64 `(n,)`, or float32 `(n, parts)`.

        It is 0 at an episode's last frame.
        """
        return self._column("actions")

    @property
    def rewards(self) -> np.ndarray:
        """Reward of the transition from each frame to the next, float32 `(n,)`."""
        return self._column("rewards")

    @property
    def terminated(self) -> np.ndarray:
        """Whether the transition from each frame to the next ended the episode, bool `(n,)`."""
        return self._column("terminated")

    @property
    def truncated(self) -> np.ndarray:
        """Whether the transition from each frame to the next was the last kept, bool `(n,)`."""
        return self._column("truncated")

    def append(
        self,
        frames: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: bool,
        truncated: bool,
        *,
        seed: int,
        policy: str,
    ) -> None:
        """Add one finished episode; takes the data set's lock until `close`.

        Args:
            frames: uint8 `(t, h, w, 3)`, t >= 2, the terminal frame included.
            actions: rows of `action_space`, integers `(t - 1,)` or numbers `(t - 1, parts)`.
            rewards: numbers `(t - 1,)`, finite.
            terminated: whether the last transition ended the episode by the game's rules.
            truncated: whether it was cut there, by a time limit or the end of the recording.
            seed: that the episode was reset with.
            policy: that played it.

        Raises:
            DataError: the arrays do not fit, or another process is writing.
        """
        check_episode(frames, actions, rewards, self.frame_shape, self.action_space)
        self.lock()
        count = len(frames)
        columns = {
            name: np.zeros((count, *shape), dtype)
            for name, (dtype, shape) in self._formats.items()
            if name != "frames"
        }
        columns = {"frames": np.ascontiguousarray(frames), **columns}
        columns["actions"][:-1] = actions
        columns["rewards"][:-1] = rewards
        columns["terminated"][-2] = terminated
        columns["truncated"][-2] = truncated
        episode = Episode(self.num_frames, count, seed, policy, hash_episode(columns))
        line = json.dumps(vars(episode)) + "\n"
        try:
            for name, column in columns.items():
                _write(self._files[name], column)
            _write(self._files["episodes"], np.frombuffer(line.encode(), np.uint8))
        except BaseException:  # a full disk, an interrupt: the next append must find whole rows
            self._cut_off_unfinished()
            raise
        self.episodes.append(episode)
        self._columns.clear()

    def verify(self) -> None:
        """Compare every episode with the hash it was written with, and with `meta`.

        Raises:
            DataError: names the first episode that is not as recorded, or does not belong here.
        """
        for index, episode in enumerate(self.episodes):
            rows = slice(episode.start, episode.start + episode.frames)
            columns = {name: self._column(name)[rows] for name in COLUMNS}
            where = f"{self.path}: episode {index} (frames {rows.start} to {rows.stop})"
            if hash_episode(columns) != episode.sha256:
                raise DataError(f"{where} is not as it was recorded; record the data set again")
            frames, actions, rewards = (columns[key] for key in ("frames", "actions", "rewards"))
            try:
                check_episode(
                    frames, actions[:-1], rewards[:-1], self.frame_shape, self.action_space
                )
            except DataError as reason:
                raise DataError(f"{where}: {reason}; record the data set again") from reason

    def lock(self) -> None:
        """Become the data set's one writer and drop what a dead writer left behind.

        Raises:
            DataError: another process is writing.
        """
        if self._lock is not None:
            return
        self._lock = lock_folder(self.path, "written", "record into another folder")
        remove_drafts(self.path, "meta.json", INDEX)
        for name in COLUMNS:
            self._files[name] = open_to_append(self.path / f"{name}.bin")
        self._files["episodes"] = open_to_append(self.path / "episodes.jsonl")
        self._cut_off_unfinished()

    def close(self) -> None:
        """Bring everything to the disk and release the lock; reading goes on working."""
        for file in self._files.values():
            os.fsync(file)
            os.close(file)
        if self._files:
            write_index(self.path, len(self))
        self._files.clear()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        """For `with`: closes at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _cut_off_unfinished(self) -> None:
        """Read what is finished, by this writer or one before, and cut off what is not."""
        self.episodes = read_episodes(self.path)
        self._columns.clear()
        for name in COLUMNS:
            os.ftruncate(self._files[name], self.num_frames * self._row_bytes(name))
        lines = (self.path / "episodes.jsonl").read_bytes().rfind(b"\n") + 1
        os.ftruncate(self._files["episodes"], lines)

    def _row_bytes(self, name: str) -> int:
        dtype, shape = self._formats[name]
        return math.prod(shape) * dtype.itemsize

    def _column(self, name: str) -> np.ndarray:
        if name not in self._columns:
            dtype, row_shape = self._formats[name]
            shape = (self.num_frames, *row_shape)
            if self.num_frames == 0:  # an empty file cannot be mapped
                return np.zeros(shape, dtype)
            self._columns[name] = np.asarray(
                np.memmap(self.path / f"{name}.bin", dtype, "r", shape=shape)
            )
        return self._columns[name]


def _is_begun(file: Path) -> bool:
    """Whether a file is one that a killed `create` leaves: empty, a draft, or a lock's."""
    names = {"episodes.jsonl", *(f"{name}.bin" for name in COLUMNS)}
    empty = file.name in names and file.is_file() and not file.stat().st_size
    return empty or file.name in LOCK_FILES or file.name.startswith(".meta.json.")


def _write(file: int, column: np.ndarray) -> None:
    """Write all bytes; one call writes fewer when they are many or the disk is nearly full."""
    data = np.ascontiguousarray(column).data.cast("B")
    while data:
        data = data[os.write(file, data) :]
