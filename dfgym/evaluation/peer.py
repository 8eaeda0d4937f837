"""Rollouts of other systems, judged by the same code: `dfgym evaluate WORLD --peer FOLDER`.

The folder holds one `.npz` a rollout, with the arrays `frames` uint8 `(t, h, w, 3)` in the world's
size, and `actions`, `rewards` and `ends`, t - 1 of each, which lead from every frame to the next. A
rollout ends with its episode, so that only its last transition can be an end. A folder `real` in it
holds rollouts of the real game by the same player; without it, this house's players play the real
game, and differences of the players count as differences of the games.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from dfgym.errors import ActionError, ConfigError, NotMeasuredError
from dfgym.evaluation import classifier, inverse, legality, objects, occupancy, plays
from dfgym.evaluation.plays import CLIP, Plays
from dfgym.evaluation.rollout import Episode, find_game
from dfgym.world.card import Card

DAMAGE = (zipfile.BadZipFile, zlib.error)
ARRAYS = ("frames", "actions", "rewards", "ends")
PIECE = 200
"""Long rollouts are cut into pieces of so many transitions, which count as independent ones."""
LEAST = 8
"""Pieces: half of them teach the classifier, and half of them test it."""


def load(folder: str | os.PathLike[str], card: Card) -> list[Episode]:
    """Read the rollouts in a folder.

    Args:
        folder: of npz files.
        card: of the world whose real game they are judged by.

    Raises:
        ConfigError: there are none, or one of them is damaged, lacks an array, or has other sizes,
            lengths, types or actions than the world's.
    """
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise ConfigError(
            f"`peer` is {os.fspath(folder)!r}; expected a folder with a .npz file for each rollout"
        )
    return [_read(path, card, row) for row, path in enumerate(paths)]


def _read(path: Path, card: Card, row: int) -> Episode:
    try:
        # NumPy would leave a damaged file open.
        with path.open("rb") as stream:
            file = np.load(stream)
            if not isinstance(file, NpzFile):
                raise ValueError("it holds a single array")
            arrays = {name: file[name] for name in ARRAYS if name in file.files}
    except (OSError, ValueError, EOFError, NotImplementedError, *DAMAGE) as reason:
        raise ConfigError(
            f"{path} cannot be read: {reason}; write it again with numpy.savez, or leave it out"
        ) from reason
    if missing := [name for name in ARRAYS if name not in arrays]:
        raise ConfigError(f"{path} lacks {', '.join(missing)}; expected {', '.join(ARRAYS)}")
    frames, _, rewards, ends = arrays.values()
    size = (card.frames.height, card.frames.width, 3)
    if frames.dtype != np.uint8 or frames.shape[1:] != size or len(frames) < 2:
        raise ConfigError(
            f"`frames` in {path} is {frames.dtype} {frames.shape}; expected uint8 (t, "
            f"{', '.join(map(str, size))}) with t of at least 2, as {card.name} has them"
        )
    lengths = {name: len(np.atleast_1d(arrays[name])) for name in ARRAYS[1:]}
    if set(lengths.values()) != {len(frames) - 1}:
        raise ConfigError(
            f"{path} has {lengths}; expected {len(frames) - 1} of each, one less than frames"
        )
    try:
        rows = _check_actions(arrays["actions"], card)
        values = rewards.astype(np.float64, casting="same_kind").reshape(len(rows))
        terminated = ends.reshape(len(rows))
    except (TypeError, ValueError, ActionError) as reason:
        raise ConfigError(f"{path}: {reason}") from reason
    if not np.isfinite(values).all():
        at = int(np.argmin(np.isfinite(values)))
        raise ConfigError(f"{path}: `rewards` has {values[at]} at {at}; expected finite numbers")
    if ends.dtype.kind not in "biu" or not set(terminated.tolist()) <= {0, 1}:
        raise ConfigError(
            f"{path}: `ends` is {ends.dtype} with {terminated[0]} first; expected booleans, or "
            "integers 0 and 1"
        )
    if terminated[:-1].any():
        at = int(terminated.argmax())
        raise ConfigError(
            f"{path}: `ends` is true at {at} of {len(rows)} transitions; expected the last one "
            "alone: write each episode into a file of its own"
        )
    return Episode(frames, rows, values, terminated > 0, row, 0)


def _check_actions(actions: np.ndarray, card: Card) -> np.ndarray:
    """Return actions as rows; raises `TypeError`, `ValueError` or `ActionError` if they are not."""
    space = card.actions
    if not space.is_discrete:
        rows = actions.astype(space.dtype_of_rows, casting="same_kind")
        space.check_rows(rows)
        return rows
    if actions.dtype.kind not in "iu" or actions.ndim != 1:
        raise TypeError(
            f"`actions` is {actions.dtype} {actions.shape}; expected whole numbers, one each"
        )
    wrong = actions[(actions < 0) | (actions >= space.count)]
    if len(wrong):
        raise ValueError(
            f"`actions` has {wrong[0]}; expected whole numbers from 0 to {space.count - 1}"
        )
    return actions.astype(space.dtype_of_rows)


def _count(episodes: Sequence[Episode]) -> str:
    total, longest = sum(map(len, episodes)), max(map(len, episodes))
    return f"{total} transitions, {longest} at most in a rollout"


def cut(episodes: Sequence[Episode], least: int = LEAST) -> list[Episode]:
    """Cut long rollouts into `least` pieces or more, if they can be, each with its own row."""
    shortest = sum(map(len, episodes)) // least
    size = max(CLIP, min(PIECE, shortest))
    pieces: list[Episode] = []
    for episode in episodes:
        for first in range(0, len(episode), size):
            window = slice(first, first + size)
            pieces.append(
                Episode(
                    episode.frames[first : first + size + 1],
                    episode.actions[window],
                    episode.rewards[window],
                    episode.terminated[window],
                    len(pieces),
                    0,
                )
            )
    return pieces


def gather(folder: str | os.PathLike[str], card: Card) -> tuple[list[Episode], Plays]:
    """Read a peer's rollouts, and take or play real ones to hold them against.

    Returns:
        The rollouts as they are, and the pieces that are compared.

    Raises:
        ConfigError: see `load`; or there are too few frames.
    """
    episodes = load(folder, card)
    pieces = cut(episodes)
    if len([piece for piece in pieces if len(piece) >= CLIP]) < LEAST:
        raise ConfigError(
            f"`peer` is {os.fspath(folder)!r} with {_count(episodes)}; expected {LEAST} pieces of "
            f"{CLIP} or more"
        )
    inner = Path(folder) / "real"
    if not inner.exists():
        real, again = (plays.play_real(card, plays.STEPS, seed) for seed in (21, 22))
        return episodes, Plays(pieces, real, again, "the peer's own player, and this house's,")
    recorded = load(inner, card)
    own = cut(recorded, 2 * LEAST)
    if len([piece for piece in own if len(piece) >= CLIP]) < 2 * LEAST:
        raise ConfigError(
            f"{inner} has {_count(recorded)}; expected {2 * LEAST} pieces of {CLIP} or more"
        )
    return episodes, Plays(pieces, _renumber(own[::2]), _renumber(own[1::2]), "the peer's player")


def _renumber(pieces: Sequence[Episode]) -> list[Episode]:
    return [
        Episode(p.frames, p.actions, p.rewards, p.terminated, row, p.seed)
        for row, p in enumerate(pieces)
    ]


def measure(folder: str | os.PathLike[str], card: Card) -> tuple[dict[str, Any], dict[str, str]]:
    """Answer every question that needs no more than rollouts.

    Returns:
        The answers by the questions' names, and for those without an answer the reason.

    Raises:
        ConfigError: see `gather`.
    """
    episodes, pieces = gather(folder, card)
    palette, game = card.frames.palette, find_game(card)
    results: dict[str, Any] = {}
    absent = {}
    if game is not None and game.judge is not None:
        real = [*pieces.real, *pieces.again]
        results[legality.NAME] = legality.compare(game, episodes, real)
    else:
        absent[legality.NAME] = f"no judge knows the rules of {card.source.env}"
    try:
        results[inverse.NAME] = inverse.compare(pieces, card)
    except NotMeasuredError as reason:
        absent[inverse.NAME] = str(reason)
    results[classifier.NAME] = classifier.compare(pieces)
    results[occupancy.NAME] = occupancy.compare(pieces, palette)
    results[objects.NAME] = objects.compare(pieces, palette)
    return results, absent
