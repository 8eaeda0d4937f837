"""A world's folder: `world.toml`, `weights.safetensors`, `starts.safetensors`, checked before use.

The card holds the other files' sha256, so the hash of the card is the hash of the whole world.
safetensors cannot carry code, but it reads flipped bytes and NaN without a word: hence the hashes,
and the checks of names, shapes, dtypes and finiteness here.

Legend: n frames over all episodes, e episodes, h w a frame of model size.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

from dfgym.checks import shorten
from dfgym.errors import ActionError, WorldError
from dfgym.files import DRAFT_AGE, draft_path, read_capped, remove_drafts, write_atomic
from dfgym.model.network import weight_shapes
from dfgym.world import card as cards
from dfgym.world import format1
from dfgym.world.card import Card, Files

WEIGHTS_FILE = "weights.safetensors"
STARTS_FILE = "starts.safetensors"
MAX_WEIGHTS_BYTES = 2**31
MAX_STARTS_BYTES = 2**28
MAX_HEADER_BYTES = 2**20  # what safetensors writes before the weights themselves
MAX_LOADED = 8  # worlds kept in memory

_DTYPES = {"F32": "<f4", "U8": "|u1", "I64": "<i8"}  # safetensors' names, and NumPy's
_KINDS = {numpy: name for name, numpy in _DTYPES.items()}


@dataclass(frozen=True, eq=False)
class Starts:
    """Whole held-out episodes of the real game, one after another; read-only once loaded."""

    frames: np.ndarray
    """uint8 `(n, h, w, 3)`, model size."""
    actions: np.ndarray
    """Rows, int64 `(n,)` or float32 `(n, parts)`: `actions[t]` leads from frame t to t + 1; an
    episode's last to nothing."""
    offsets: np.ndarray
    """int64 `(e + 1,)`: episode i is frames `offsets[i]` to `offsets[i + 1]`."""
    seeds: np.ndarray
    """int64 `(e,)`: with which the real game was reset, so that it can be played again."""

    def __len__(self) -> int:
        """Count the episodes."""
        return len(self.offsets) - 1

    def episode(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return episode `index`, 0 <= index < len: frames `(t, h, w, 3)`, and t - 1 actions."""
        begin, end = self.offsets[index], self.offsets[index + 1]
        return self.frames[begin:end], self.actions[begin : end - 1]


@dataclass(frozen=True, eq=False)
class World:
    """A checked world in memory, shared by all who load it: do not write into its arrays."""

    card: Card
    hash: str
    """sha256 of `world.toml`, which holds the other files' hashes."""
    path: Path
    weights: dict[str, torch.Tensor]
    """float32, on the CPU."""
    starts: Starts


def load(path: Path | str) -> World:
    """Read and check a world's folder; an unchanged world is read once and shared.

    Raises:
        WorldError: a file is missing, damaged, oversized, or does not fit the card.
    """
    try:
        folder = Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as reason:  # a symlink loop, a NUL
        raise WorldError(f"{str(path)!r} is no folder: {shorten(str(reason))}") from None
    return _load(folder, cards.read_bytes(folder))


def write(path: Path, card: Card, weights: dict[str, torch.Tensor], starts: Starts) -> None:
    """Write a new world folder, whole or not at all; the card's `files` are filled in here.

    The world is read back and checked before it appears at `path`.

    Raises:
        WorldError: something is at `path` already, or the parts do not fit each other.
    """
    immutable = f"{path} exists: worlds never change, so write a new version (-vN)"
    if os.path.lexists(path):
        raise WorldError(immutable)
    weight_bytes = safetensors.torch.save(
        {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    )
    start_bytes = safetensors.numpy.save(
        {name: np.ascontiguousarray(array) for name, array in vars(starts).items()}
    )
    files = Files(*(hashlib.sha256(data).hexdigest() for data in (weight_bytes, start_bytes)))
    toml = dataclasses.replace(card, files=files).to_toml().encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_drafts(path.parent, path.name, age=DRAFT_AGE)
    draft = draft_path(path)
    try:
        draft.mkdir()
        write_atomic(draft / WEIGHTS_FILE, weight_bytes)
        write_atomic(draft / STARTS_FILE, start_bytes)
        write_atomic(draft / cards.CARD_FILE, toml)
        _check(draft, toml)
        try:
            draft.rename(path)
        except OSError as reason:
            if reason.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            raise WorldError(immutable) from None  # somebody else wrote it meanwhile
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check(folder: Path, toml: bytes) -> World:
    """Read a world's folder, given its card's bytes, and check all of it."""
    card = Card.from_toml(toml, str(folder / cards.CARD_FILE))
    shapes = weight_shapes(card.model, card.game_spec)
    stored = {name: format1.old_weight_name(name) if card.format == 1 else name for name in shapes}
    size = sum(4 * math.prod(shape) for shape in shapes.values())
    if size > MAX_WEIGHTS_BYTES:
        raise WorldError(
            f"{folder / cards.CARD_FILE}: its model has {size} bytes of weights, "
            f"allowed are {MAX_WEIGHTS_BYTES}"
        )
    arrays = _read_arrays(
        folder / WEIGHTS_FILE,
        card.files.weights,
        size + MAX_HEADER_BYTES,
        {stored[name]: ("F32", shape) for name, shape in shapes.items()},
    )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise WorldError(f"{folder / WEIGHTS_FILE}: {name} holds values that are not finite")
    return World(
        card=card,
        hash=hashlib.sha256(toml).hexdigest(),
        path=folder,
        weights={name: torch.from_numpy(arrays[stored[name]]) for name in shapes},
        starts=_read_starts(folder / STARTS_FILE, card),
    )


_load = functools.lru_cache(MAX_LOADED)(_check)


def _read_starts(file: Path, card: Card) -> Starts:
    space = card.actions
    arrays = _read_arrays(
        file,
        card.files.starts,
        MAX_STARTS_BYTES,
        {
            "frames": ("U8", (None, card.frames.height, card.frames.width, 3)),
            "actions": (_KINDS[space.dtype_of_rows.str], (None, *space.row_shape)),
            "offsets": ("I64", (None,)),
            "seeds": ("I64", (None,)),
        },
    )
    starts = Starts(**arrays)
    n, offsets, actions = len(starts.frames), starts.offsets, starts.actions
    if len(actions) != n:
        raise WorldError(f"{file}: {n} frames, but {len(actions)} actions")
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != n or (np.diff(offsets) < 1).any():
        raise WorldError(f"{file}: offsets must rise from 0 to the number of frames, {n}")
    if len(starts.seeds) != len(starts):
        raise WorldError(f"{file}: {len(starts)} episodes, but {len(starts.seeds)} seeds")
    if not space.is_discrete:
        try:
            space.check_rows(actions)
        except ActionError as reason:
            raise WorldError(f"{file}: actions must fit the card: {reason}") from None
    elif actions.min() < 0 or actions.max() >= space.count:
        raise WorldError(f"{file}: actions must be 0 to {space.count - 1}")
    for array in arrays.values():
        array.flags.writeable = False
    return starts


def _read_arrays(
    file: Path, digest: str, cap: int, expected: Mapping[str, tuple[str, tuple[int | None, ...]]]
) -> dict[str, np.ndarray]:
    """Read a safetensors file of exactly these names, dtypes and shapes (None: any length)."""
    data = read_capped(file, cap, WorldError)
    actual = hashlib.sha256(data).hexdigest()
    if actual != digest:
        raise WorldError(
            f"{file} is damaged or foreign: its sha256 is {actual}, not {digest}; "
            "get the world again"
        )
    try:
        entries = dict(safetensors.deserialize(data))
    except safetensors.SafetensorError as reason:
        raise WorldError(f"{file} is not a safetensors file: {reason}") from None
    for problem, names in (
        ("lacks", expected.keys() - entries),
        ("holds an unknown", entries.keys() - expected),
    ):
        if names:
            raise WorldError(f"{file} {problem} tensor {shorten(min(names))}")
    arrays = {}
    for name, (kind, shape) in expected.items():
        entry = entries[name]
        if entry["dtype"] != kind:
            raise WorldError(f"{file}: {name} is {entry['dtype']}, must be {kind}")
        if len(entry["shape"]) != len(shape) or any(
            length not in (size, None) for size, length in zip(entry["shape"], shape, strict=True)
        ):
            raise WorldError(f"{file}: {name} has shape {entry['shape']}, must be {list(shape)}")
        arrays[name] = np.frombuffer(entry["data"], _DTYPES[kind]).reshape(entry["shape"])
    return arrays
