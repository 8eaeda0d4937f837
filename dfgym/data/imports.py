"""Data sets from what others recorded: arrays in npz files, or videos and a table beside them.

Both hold one row a frame: row t is frame t, the action that leads from it to frame t + 1, and the
reward and the ends of that step. An end in row t makes frame t + 1 the episode's last one, and what
its own row says of a step does not count. The very last row may lack its action, as may its end.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from msgspec import Meta

from dfgym.actions import ActionSpace
from dfgym.checks import check, shorten
from dfgym.data.draft import drafting
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError
from dfgym.files import import_cv2
from dfgym.games.images import to_frame
from dfgym.games.packages import split_id
from dfgym.games.resizing import Filter, pick_filter, resize

VIDEOS = (".avi", ".gif", ".mkv", ".mov", ".mp4", ".webm")
TABLE = "actions.csv"
LOOKS = 16
NAMES = {
    "frames": ("frames", "observations", "obs"),
    "actions": ("actions", "action"),
    "rewards": ("rewards", "reward"),
    "terminated": ("terminated", "terminations", "terminals", "done"),
    "truncated": ("truncated", "truncations", "timeouts"),
}
"""The names that each column may have."""


@dataclass(frozen=True)
class Import:
    """Make a data set of what others recorded: npz files, videos with a table, or Minari.

    Files hold one row a frame: row t is frame t, the action that leads from it to frame t + 1, and
    the reward and the ends of that step. An npz file has the arrays `frames`, `actions` and if
    there are some `rewards`, `terminated`, `truncated`.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """An npz file, a video, a folder of either, or `minari:<id>`."""
    out: Annotated[Path, tyro.conf.Positional]
    """The new data set's folder."""
    table: Path | None = None
    """The videos' table, a CSV file: columns `action` (or several that begin so, for actions of
    several parts), `reward`, `terminated`, `truncated`, and `video`, the file's name, if there are
    several. `actions.csv` beside the videos if left out."""
    resize: tuple[Annotated[int, Meta(ge=1, le=512)], ...] = ()
    """Height and width of the frames, or nothing for their own."""
    filter: Filter | Literal["auto"] = "auto"
    """How frames are brought to that size, see `dfgym record --help`."""
    actions: Annotated[int, Meta(ge=0, le=1024)] = 0
    """How many discrete actions the game has; 0: one more than the largest."""
    repeat_last: bool = False
    """For data that lack each episode's last frame (one row a step): repeat the one before."""
    env: str = ""
    """The real game's Gymnasium id (or `module:id`), if there is one to measure a world against."""
    fps: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    """Frames a second; 0: the video's own, or 15."""

    def __post_init__(self) -> None:
        """Check the fields."""
        check(self, ConfigError)
        if len(self.resize) not in (0, 2):
            raise ConfigError(f"resize is {list(self.resize)}; expected height and width")


@dataclass(frozen=True)
class Rows:
    """One file's rows: frames `(n, h, w, 3)`, the others `(n, ...)`; `where` names the file."""

    where: str
    frames: Sequence[np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    fps: float = 0.0


def import_files(config: Import) -> EpisodeStore:
    """Copy files into a new data set.

    Raises:
        ConfigError: there is nothing to import.
        DataError: a file is damaged or lacks a column, the rows do not fit, or `out` exists.
        MissingPackageError: videos need opencv-python.
    """
    files = _find_files(config.source)
    tables = _read_table(config, files) if files[0].suffix in VIDEOS else {}
    steps = [tables[file][0] if tables else _column(_load(file), "actions", file) for file in files]
    space = _describe(steps, config.actions, files[0])
    size = (config.resize[0], config.resize[1]) if config.resize else None
    kind: Filter = "area" if config.filter == "auto" else config.filter
    first = _read(files[0], tables)
    if size and config.filter == "auto":
        every = max(1, len(first.frames) // LOOKS)
        kind, why = pick_filter(list(first.frames[::every]), size)
        print(f"frames come to {size[0]} x {size[1]} by the filter {kind!r}: {why}")
    meta = _meta(config, space, _resize(first.frames[:1], size, kind)[0].shape, kind, first.fps)
    with drafting(config.out, meta) as store:
        for number, file in enumerate(files):
            rows = first if number == 0 else _read(file, tables)
            _append(store, rows, size, kind, config.repeat_last)
    return EpisodeStore.open(config.out)


def _meta(
    config: Import, space: ActionSpace, shape: tuple[int, ...], kind: Filter, fps: float
) -> dict[str, Any]:
    module, env = split_id(config.env) if config.env else ("", "")
    meta: dict[str, Any] = {
        "frame_shape": list(shape),
        "actions": space.to_plain(),
        "fps": min(max(config.fps or fps or 15, 1), 1000),
        "imported": config.source.name,
    }
    meta |= {"env": env} if env else {}
    meta |= {"module": module} if module else {}
    return meta | ({"filter": kind} if config.resize and kind != "area" else {})


def _find_files(source: Path) -> list[Path]:
    kinds = (".npz", *VIDEOS)
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    files = [file for file in files if file.suffix.lower() in kinds and file.is_file()]
    if not files:
        raise ConfigError(
            f"{source} holds nothing to import; expected {', '.join(kinds)}, a folder of such "
            "files, or minari:<id>"
        )
    if len({file.suffix == ".npz" for file in files}) > 1:
        raise ConfigError(f"{source} holds npz files and videos; import them one after the other")
    return files


def _append(
    store: EpisodeStore, rows: Rows, size: tuple[int, int] | None, kind: Filter, repeat: bool
) -> None:
    """Add the episodes of one file."""
    count, start = len(rows.frames), 0
    ends = rows.terminated | rows.truncated
    while start < count - 1 + repeat:
        later = np.flatnonzero(ends[start:])
        end = start + int(later[0]) if len(later) else count - 2 + repeat
        if end + 1 >= count and not repeat:
            raise DataError(
                f"{rows.where}: the end in row {end} has no frame after it, the episode's last one;"
                " add it, or import with --repeat-last"
            )
        frames = list(rows.frames[start : end + 1 + (not repeat)])
        frames += frames[-1:] * repeat
        steps = slice(start, end + 1)
        terminated = bool(rows.terminated[end])
        store.append(
            np.stack(_resize(frames, size, kind)),
            _to_rows(store.action_space, rows.actions[steps]),
            rows.rewards[steps],
            terminated,
            not terminated,
            seed=len(store),
            policy="imported",
        )
        start = end + 1 + (not repeat)


def _to_rows(space: ActionSpace, actions: np.ndarray) -> np.ndarray:
    if space.is_discrete:
        return actions.astype(np.int64)
    return actions.reshape(len(actions), -1).astype(np.float32)


def _resize(
    frames: Sequence[np.ndarray], size: tuple[int, int] | None, kind: Filter
) -> list[np.ndarray]:
    return [frame if size is None else resize(frame, size, kind) for frame in frames]


def _describe(columns: list[np.ndarray], count: int, where: Path) -> ActionSpace:
    """Return the space of all actions in the files: discrete, of several choices, or numbers."""
    try:
        actions = np.concatenate(columns)
    except ValueError as reason:
        raise DataError(f"{where}: the files' actions differ in form: {reason}") from reason
    if not len(actions) or not np.isfinite(actions).all():
        raise DataError(f"{where}: actions are missing, or not finite numbers")
    whole = bool((actions == np.rint(actions)).all()) and actions.min() >= 0
    if actions.ndim == 1 and whole:
        most = int(actions.max()) + 1
        if count and count < most:
            raise ConfigError(f"actions is {count}; the data have an action {most - 1}")
        return ActionSpace(n=count or most)
    flat = actions.reshape(len(actions), -1)
    shape = actions.shape[1:] or (1,)
    if whole and actions.dtype.kind in "iu":
        choices = tuple(int(most) + 1 for most in flat.max(axis=0))
        return ActionSpace(kind="multi_discrete", n=choices, shape=shape)
    low, high = (tuple(map(float, bound)) for bound in (flat.min(axis=0), flat.max(axis=0)))
    return ActionSpace(kind="box", shape=shape, low=low, high=high, dtype="float32")


def _read(file: Path, tables: dict[Path, tuple[np.ndarray, ...]]) -> Rows:
    if tables:
        frames, fps = _read_video(file)
        return _fit(file, frames, tables[file], fps)
    arrays = _load(file)
    pictures = _column(arrays, "frames", file)
    high = 1 if pictures.dtype != np.uint8 and pictures.size and pictures.max() <= 1 else 255
    try:
        frames = [to_frame(picture, high) for picture in pictures]
    except ConfigError as reason:
        raise DataError(f"{file}: {reason}") from reason
    count = len(_column(arrays, "actions", file))
    others = [
        _column(arrays, name, file, np.zeros(count))
        for name in ("actions", "rewards", "terminated", "truncated")
    ]
    return _fit(file, frames, tuple(others))


def _fit(
    file: Path, frames: list[np.ndarray], columns: tuple[np.ndarray, ...], fps: float = 0.0
) -> Rows:
    """Bring the columns to one row a frame."""
    count, lengths = len(frames), {len(column) for column in columns}
    if count < 2 or not lengths <= {count, count - 1}:
        raise DataError(
            f"{file} has {count} frames and columns of {sorted(lengths)} rows; expected 2 frames "
            "or more, and one row a frame (the last one may be missing)"
        )
    padded = [
        np.concatenate([column, column[-1:] * 0]) if len(column) < count else column
        for column in columns
    ]
    actions, rewards, terminated, truncated = padded
    return Rows(
        str(file), frames, actions, rewards.astype(np.float32), terminated > 0, truncated > 0, fps
    )


def _load(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as reason:
        raise DataError(f"{file} cannot be read as npz of plain arrays: {reason}") from reason


def _column(
    arrays: dict[str, np.ndarray], name: str, file: Path, default: np.ndarray | None = None
) -> np.ndarray:
    column = next((arrays[key] for key in NAMES[name] if key in arrays), default)
    if column is None:
        raise DataError(
            f"{file} has {', '.join(arrays) or 'nothing'}; expected {name} "
            f"({' or '.join(NAMES[name])})"
        )
    if column.dtype.kind not in "biuf":
        raise DataError(f"{file}: {name} is of {column.dtype}; expected numbers")
    return column


def _read_video(file: Path) -> tuple[list[np.ndarray], float]:
    cv2 = import_cv2()
    capture = cv2.VideoCapture(str(file))
    frames = []
    while True:
        done, picture = capture.read()
        if not done:
            break
        frames.append(np.ascontiguousarray(picture[..., ::-1]))
    fps = float(capture.get(cv2.CAP_PROP_FPS) or 0)
    capture.release()
    if not frames:
        raise DataError(f"{file} cannot be read as a video; expected one that OpenCV plays")
    return frames, fps


def _read_table(config: Import, files: list[Path]) -> dict[Path, tuple[np.ndarray, ...]]:
    """Read a table; returns actions, rewards, terminated and truncated of each video."""
    path = config.table or files[0].parent / TABLE
    if not path.is_file():
        raise ConfigError(f"there is no table {path}; give --table, a CSV file of the actions")
    with path.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    header = list(lines[0]) if lines else []
    parts = [name for name in header if name in NAMES["actions"]] or [
        name for name in header if name.startswith("action")
    ]
    if not parts or ("video" not in header and len(files) > 1):
        raise DataError(
            f"{path} has the columns {', '.join(header) or 'none'}; expected action, and video as "
            "there are several; reward, terminated and truncated if there are any"
        )
    tables = {}
    for file in files:
        own = [line for line in lines if line.get("video", file.name) in (file.name, file.stem)]
        if not own:
            raise DataError(f"{path} has no row of the video {file.name}")
        numbers = [[_number(line, name, path) for name in parts] for line in own]
        actions = np.array(numbers)
        others = [
            np.array([_number(line, name, path) for line in own])
            if (name := next((key for key in NAMES[column] if key in header), ""))
            else np.zeros(len(own))
            for column in ("rewards", "terminated", "truncated")
        ]
        tables[file] = (actions[:, 0] if len(parts) == 1 else actions, *others)
    return tables


def _number(line: dict[str, str], name: str, path: Path) -> float:
    """Read a cell; words for yes and no count as 1 and 0, and so does nothing as 0."""
    text = (line.get(name) or "").strip().lower()
    words = {"": 0.0, "true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
    try:
        return words[text] if text in words else float(text)
    except ValueError:
        raise DataError(f"{path}: {name} is {shorten(text)}; expected a number") from None
