"""What the files of a data set hold, and reading them with distrust.

`frames.bin actions.bin rewards.bin terminated.bin truncated.bin` hold one row a frame, episode
after episode. Row t holds frame t, the action that leads from it to frame t + 1 (an int or, where
actions have parts, as many floats, see `dfgym.actions`), and that transition's reward and ends; the
last frame of an episode has no transition, so the rest of its row is zero. `episodes.jsonl` has a
line an episode. `meta.json` says what was recorded. `index.json` is written whenever a recorder
closes: how many lines there were, and the hashes of those and of `meta.json`. A recorder that is
killed leaves the one before, which says less and still holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from dfgym import checks
from dfgym.actions import ActionSpace
from dfgym.errors import ActionError, ConfigError, DataError
from dfgym.files import read_capped, write_json

FORMAT = 1
META_CAP = 1 << 20  # bytes
MAX_SIDE = 1 << 15  # of a frame, pixels
MAX_NUMBER = 1 << 62  # of a frame or a seed: whatever counts them fits into 64 bits
INDEX = "index.json"
COLUMNS = ("frames", "actions", "rewards", "terminated", "truncated")

FrameShape: Any = tuple[
    Annotated[int, Meta(ge=1, le=MAX_SIDE)], Annotated[int, Meta(ge=1, le=MAX_SIDE)], Literal[3]
]
"""Height, width, and the three colours."""
OPTIONAL: dict[str, Any] = {
    "env": str,
    "kwargs": dict[str, Any],
    "versions": dict[str, str],
    "fps": Annotated[float, Meta(ge=1, le=1000)],
    "meanings": list[str],
    "module": str,
    "wrappers": list[str],
    "image_key": str,
    "render": bool,
    "filter": str,
    "max_steps": Annotated[int, Meta(ge=1)],
}
"""Types of the keys of `meta.json` that may be left out or null."""


@dataclass(frozen=True)
class Episode:
    """One line of `episodes.jsonl`: rows `start` to `start + frames`, and how they came about."""

    start: int
    frames: Annotated[int, Meta(ge=2, le=MAX_NUMBER)]
    seed: Annotated[int, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
    policy: str
    sha256: str


def action_space(meta: Mapping[str, Any]) -> ActionSpace:
    """Return the action space that checked meta data describe."""
    return ActionSpace.from_plain(meta["actions"], meta.get("meanings"))


def row_formats(meta: Mapping[str, Any]) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return the number format and the shape of one row of each column."""
    space = action_space(meta)
    return {
        "frames": (np.dtype(np.uint8), tuple(meta["frame_shape"])),
        "actions": (space.dtype_of_rows, space.row_shape),
        "rewards": (np.dtype(np.float32), ()),
        "terminated": (np.dtype(np.bool_), ()),
        "truncated": (np.dtype(np.bool_), ()),
    }


def hash_episode(columns: Mapping[str, np.ndarray]) -> str:
    """sha256 of an episode's rows, column after column."""
    digest = hashlib.sha256()
    for name in COLUMNS:
        digest.update(np.ascontiguousarray(columns[name]).data.cast("B"))
    return digest.hexdigest()


def identity(episodes: Sequence[Episode]) -> str:
    """What tells a data set from others, wherever it lies: what was recorded, in one line."""
    lines = "".join(json.dumps(vars(episode)) + "\n" for episode in episodes)
    return f"{len(episodes)} episodes, sha256 {hashlib.sha256(lines.encode()).hexdigest()}"


def check_meta(meta: Any, where: str) -> dict[str, Any]:
    """Return the meta data if they are of this format.

    Raises:
        DataError: names the key, what it says and what it must say.
    """
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        version = meta.get("format") if isinstance(meta, dict) else meta
        raise DataError(f"{where} has format {version!r}; this version reads format {FORMAT}")
    checks.convert(FrameShape, meta.get("frame_shape"), DataError, f"{where}: frame_shape")
    actions = meta.get("actions")
    if type(actions) is not dict and (type(actions) is not int or actions < 1):
        raise DataError(
            f"{where} is a data set without actions: actions is {actions!r}; "
            "it must say how many the game has, or of which parts they are"
        )
    for key, kind in OPTIONAL.items():
        if meta.get(key) is not None:
            checks.convert(kind, meta[key], DataError, f"{where}: {key}")
    meanings = meta.get("meanings")
    if meanings and (type(actions) is dict or len(meanings) != actions):
        count = "of several parts" if type(actions) is dict else actions
        raise DataError(f"{where}: meanings names {len(meanings)} actions; there are {count}")
    try:
        action_space(meta)
    except ConfigError as reason:
        raise DataError(f"{where}: {reason}") from None
    return meta


def check_episode(
    frames: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    frame_shape: tuple[int, int, int],
    space: ActionSpace,
) -> None:
    """Refuse an episode that does not belong into a data set.

    Raises:
        DataError: says what does not fit.
    """
    shape = frames.shape[1:]
    if frames.dtype != np.uint8 or shape != frame_shape:
        raise DataError(
            f"frames of {frames.dtype} {shape} do not fit the data set's, uint8 {frame_shape}; "
            "a data set has one frame size: record with resize"
        )
    if len(frames) < 2:
        raise DataError(f"an episode of {len(frames)} frame(s) has no transition; it needs 2")
    steps = (len(frames) - 1,)
    if actions.shape != steps + space.row_shape or rewards.shape != steps:
        raise DataError(
            f"{len(frames)} frames need {steps[0]} actions and rewards, one a transition; "
            f"there are {actions.shape} actions and {rewards.shape} rewards"
        )
    if not space.is_discrete:
        try:
            space.check_rows(actions)
        except ActionError as reason:
            raise DataError(f"actions do not fit the data set's, {space}: {reason}") from None
    elif not np.issubdtype(actions.dtype, np.integer):
        raise DataError(f"actions are {actions.dtype}; they must be integers")
    elif actions.min() < 0 or actions.max() >= space.count:
        raise DataError(
            f"actions run from {actions.min()} to {actions.max()}; "
            f"they must lie in [0, {space.count})"
        )
    if not np.isfinite(rewards).all():
        raise DataError("rewards must be finite numbers")


def read_meta(folder: Path) -> dict[str, Any]:
    """Read and check `meta.json`.

    Raises:
        DataError: it is missing, damaged, or of another format.
    """
    file = folder / "meta.json"
    try:
        meta = json.loads(read_capped(file, META_CAP, DataError))
    except (ValueError, RecursionError) as reason:  # ValueError: also a number of 5,000 digits
        raise DataError(f"{file} is not JSON: {reason}") from reason
    return check_meta(meta, str(file))


def read_episodes(folder: Path) -> list[Episode]:
    """Read the complete lines of `episodes.jsonl`; a last line without its end does not count.

    Raises:
        DataError: it is missing, or a line is damaged or leaves a gap.
    """
    file = folder / "episodes.jsonl"
    if not file.is_file():
        raise DataError(f"{folder} is a data set without episodes: {file.name} is missing")
    episodes: list[Episode] = []
    start = 0
    lines = file.read_bytes().split(b"\n")[:-1]
    _check_index(folder, lines)
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as reason:
            raise DataError(f"{file}, line {number} is not JSON: {reason}") from reason
        episode = checks.convert(Episode, values, DataError, f"{file}, line {number}")
        if episode.start != start:
            raise DataError(
                f"{file}, line {number}: start is {episode.start}; the episodes before it have "
                f"{start} frames"
            )
        episodes.append(episode)
        start += episode.frames
    return episodes


def write_index(folder: Path, count: int) -> None:
    """Write how many episodes are finished, and what tells them from others."""
    lines = (folder / "episodes.jsonl").read_bytes().split(b"\n")[:count]
    write_json(folder / INDEX, {"episodes": count, **_hashes(folder, lines)})


def _hashes(folder: Path, lines: Sequence[bytes]) -> dict[str, str]:
    meta = read_capped(folder / "meta.json", META_CAP, DataError)
    contents = {"meta": meta, "lines": b"".join(line + b"\n" for line in lines)}
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _check_index(folder: Path, lines: Sequence[bytes]) -> None:
    """Refuse lines and meta data other than those that a recorder closed with.

    Raises:
        DataError: lines are missing or others, or `meta.json` is another.
    """
    file = folder / INDEX
    if not file.exists():
        return  # a recording that has not been closed yet
    try:
        index = json.loads(read_capped(file, META_CAP, DataError))
        count, before = index["episodes"], {name: index[name] for name in ("meta", "lines")}
        if type(count) is not int or count < 0:
            raise TypeError("episodes is no count")
    except (ValueError, KeyError, TypeError, RecursionError) as reason:
        raise DataError(
            f"{file} is no index of a data set: {checks.shorten(str(reason))}"
        ) from reason
    fix = f"bring it back, or remove {INDEX} to take the data set as it is"
    if len(lines) < count:
        raise DataError(
            f"{folder}/episodes.jsonl has {len(lines)} episodes, and there were {count}: it was "
            f"cut short; {fix}"
        )
    now = _hashes(folder, lines[:count])
    for name, file_name in (("meta", "meta.json"), ("lines", "episodes.jsonl")):
        if now[name] != before[name]:
            raise DataError(f"{folder}/{file_name} has changed since it was recorded; {fix}")
