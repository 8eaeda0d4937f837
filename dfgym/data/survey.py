"""What a recording holds, in numbers: the facts that a recipe is chosen by.

Rewards, ends and actions are counted in all frames; pictures are looked at in whole episodes of an
even sample, so that a large recording takes seconds too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dfgym.actions import ActionSpace
from dfgym.data.chance import Chance, hash_rows, measure_chance
from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError
from dfgym.files import import_cv2

SAMPLE_BYTES = 2**27
"""The frames that pictures are judged by take at most so many bytes."""
MOVER_FRAMES = 400
"""So many transitions are searched for moving things."""
TOLERANCE = 12
"""Grey levels that a colour may differ by and still count as unmoved; resizing blurs."""
PALETTE = 64
"""Games drawn in at most this many colours are learned as colours, others as RGB."""
BUCKETS = 32
"""More different rewards than this are rounded to so many, see `reward_buckets`."""
MANY_COLOURS = 4096
"""Colours are counted up to here."""


@dataclass(frozen=True)
class Facts:
    """The facts of one or several recordings of one game.

    Attributes:
        frames: how many there are.
        episodes: how many there are.
        height: of a frame, cells.
        width: of a frame, cells.
        shortest: steps of the shortest episode.
        median: steps of the median one.
        longest: steps of the longest one.
        terminated: episodes that the game's rules ended.
        truncated: episodes that a limit of time ended.
        colours: different colours, `MANY_COLOURS` for so many or more.
        change: mean share of the pixels that change in a step.
        still: share of the steps that change no pixel.
        mover: cells of the smallest thing that moves often; None where nothing is set off from
            the ground.
        rewards: how often each reward came, by its value, in increasing order.
        buckets: the values that rewards are learned as.
        rounding: mean difference between a reward and its bucket.
        spread: standard deviation of the rewards.
        actions: how often each action was taken; where actions have parts, each choice of a part
            or each quarter of its range.
        meanings: the names of those.
        chance: how much of the next frame is chance.
        sampled: frames that pictures were judged by.
    """

    frames: int
    episodes: int
    height: int
    width: int
    shortest: int
    median: int
    longest: int
    terminated: int
    truncated: int
    colours: int
    change: float
    still: float
    mover: int | None
    rewards: dict[float, int]
    buckets: tuple[float, ...]
    rounding: float
    spread: float
    actions: tuple[int, ...]
    meanings: tuple[str, ...]
    chance: Chance
    sampled: int


def look(stores: Sequence[EpisodeStore]) -> Facts:
    """Look through recordings of one game.

    Raises:
        DataError: there is no finished episode.
    """
    if not stores:
        raise DataError("no data set is named; give at least one folder of `dfgym record`")
    if not any(len(store) for store in stores):
        names = ", ".join(str(store.path) for store in stores)
        raise DataError(f"{names} holds no finished episode; record one: dfgym record")
    lengths = np.concatenate([np.diff(store.offsets) for store in stores]) - 1
    steps = [_is_step(store) for store in stores]
    rewards = np.concatenate([s.rewards[rows] for s, rows in zip(stores, steps, strict=True)])
    actions = np.concatenate([s.actions[rows] for s, rows in zip(stores, steps, strict=True)])
    values, counts = np.unique(rewards, return_counts=True)
    terminated = sum(int(store.terminated.sum()) for store in stores)
    pictures, choices, offsets = _sample(stores)
    follows = np.ones(len(pictures), bool)
    follows[offsets[:-1]] = False  # a first frame follows none
    changes = _changes(pictures, follows)
    buckets = reward_buckets(rewards)
    height = stores[0].frame_shape[0]
    tally = count_actions(stores[0].action_space, actions)
    return Facts(
        frames=sum(store.num_frames for store in stores),
        episodes=len(lengths),
        height=height,
        width=stores[0].frame_shape[1],
        shortest=int(lengths.min()),
        median=int(np.median(lengths)),
        longest=int(lengths.max()),
        terminated=terminated,
        truncated=len(lengths) - terminated,
        colours=_count_colours(pictures),
        change=float(changes.mean()),
        still=float((changes == 0).mean()),
        mover=_smallest_mover(pictures, follows),
        rewards={float(value): int(n) for value, n in zip(values, counts, strict=True)},
        buckets=buckets,
        rounding=float(np.abs(values[:, None] - np.array(buckets)).min(1) @ counts / counts.sum()),
        spread=float(rewards.std()),
        actions=tuple(tally.values()),
        meanings=tuple(tally),
        chance=measure_chance(hash_rows(pictures), number_rows(choices), follows),
        sampled=len(pictures),
    )


def reward_buckets(rewards: np.ndarray) -> tuple[float, ...]:
    """Return the values that rewards are learned as: every one there is, or else `BUCKETS`.

    Of too many values the least and the greatest stay, and each that is more frequent than an even
    share; the others are rounded to evenly spaced quantiles of how often they came.

    Args:
        rewards: each reward of the data, float32 `(n,)`.
    """
    values, counts = np.unique(rewards, return_counts=True)
    if len(values) <= BUCKETS:
        return tuple(values.tolist())
    frequent = values[counts * BUCKETS >= len(rewards)]
    buckets = set(np.concatenate([frequent, values[[0, -1]]]).tolist())
    others = ~np.isin(values, list(buckets))
    places = np.cumsum(counts[others]) / counts[others].sum()
    room = max(BUCKETS - len(buckets), 0)
    middles = (np.arange(room) + 0.5) / max(room, 1)
    buckets |= set(values[others][np.searchsorted(places, middles)].tolist())
    return tuple(sorted(buckets))


def count_actions(space: ActionSpace, rows: np.ndarray) -> dict[str, int]:
    """Count how often each action was taken, by its name.

    Args:
        space: of the actions; where they have parts, the choices of each part are counted, or the
            quarters of its range.
        rows: the actions, `(n,)` or `(n, parts)`.
    """
    if space.is_discrete:
        counts = np.bincount(rows, minlength=space.count).tolist()
        names = map(str, space.meanings or range(space.count))
        return dict(zip(names, counts, strict=True))
    tally: dict[str, int] = {}
    for name, component, column in zip(space.part_names, space.parts, rows.T, strict=True):
        if component.n:
            counts = np.bincount(column.astype(np.int64), minlength=component.n).tolist()
            tally |= {f"{name} = {choice}": count for choice, count in enumerate(counts)}
        else:
            edges = np.linspace(component.low, component.high, 5)
            counts = np.histogram(np.clip(column, component.low, component.high), edges)[0].tolist()
            ranges = [f"{name} {low:g} to {high:g}" for low, high in pairwise(edges)]
            tally |= dict(zip(ranges, counts, strict=True))
    return tally


def number_rows(rows: np.ndarray) -> np.ndarray:
    """Number actions so that equal ones have equal numbers, integers `(n,)`."""
    return rows if rows.ndim == 1 else np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _is_step(store: EpisodeStore) -> np.ndarray:
    """Whether a row holds a transition: each but the last of every episode."""
    rows = np.ones(store.num_frames, bool)
    rows[store.offsets[1:] - 1] = False
    return rows


def _sample(stores: Sequence[EpisodeStore]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole episodes, evenly spread: frames, the action that leads on from each, and offsets."""
    room = max(2, SAMPLE_BYTES // int(np.prod(stores[0].frame_shape)))
    every = [(store, i) for store in stores for i in range(len(store))]
    share = min(1.0, room / sum(store.num_frames for store in stores))
    count = max(1, round(share * len(every)))
    places = np.linspace(0, len(every) - 1, count).round().astype(int)
    slices, total = [], 0
    for store, i in (every[place] for place in np.unique(places)):
        start, stop = (int(row) for row in store.offsets[i : i + 2])
        stop = min(stop, start + room - total)
        if stop - start < 2:
            break
        slices.append((store, slice(start, stop)))
        total += stop - start
    offsets = np.cumsum([0, *(rows.stop - rows.start for _, rows in slices)])
    frames = np.concatenate([store.frames[rows] for store, rows in slices])
    return frames, np.concatenate([store.actions[rows] for store, rows in slices]), offsets


def _changes(frames: np.ndarray, follows: np.ndarray) -> np.ndarray:
    """The share of the pixels that change on arrival at each frame that follows one."""
    shares = []
    for start in range(1, len(frames), 1024):
        stop = min(start + 1024, len(frames))
        differ = (frames[start:stop] != frames[start - 1 : stop - 1]).any(-1)
        shares.append(differ.mean((1, 2))[follows[start:stop]])
    return np.concatenate(shares)


def _count_colours(frames: np.ndarray) -> int:
    colours: set[int] = set()
    for start in range(0, len(frames), 1024):
        rgb = frames[start : start + 1024].reshape(-1, 3).astype(np.int32)
        colours.update(np.flatnonzero(np.bincount(rgb @ (65536, 256, 1), minlength=1)).tolist())
        if len(colours) >= MANY_COLOURS:
            return MANY_COLOURS
    return len(colours)


def _smallest_mover(frames: np.ndarray, follows: np.ndarray) -> int | None:
    """The size of a small thing that is set off from the ground and often changes its place.

    The ground is each cell's median. Things are connected cells that differ from it; they move if
    some of their cells have changed since the frame before. The size returned is the least of
    which, with all smaller ones, there is one in at least a twentieth of the frames.
    """
    cv2 = import_cv2()
    arrivals = np.flatnonzero(follows)
    arrivals = arrivals[np.linspace(0, len(arrivals) - 1, MOVER_FRAMES).astype(int)]
    arrivals = np.unique(arrivals)
    now, before = frames[arrivals].astype(np.int16), frames[arrivals - 1].astype(np.int16)
    ground = np.median(now, axis=0)
    off = (np.abs(now - ground) > TOLERANCE).any(-1)
    moved = (np.abs(now - before) > TOLERANCE).any(-1)
    smallest = []
    for thing, change in zip(off, moved, strict=True):
        count, labels = cv2.connectedComponents(thing.astype(np.uint8), connectivity=8)
        sizes = np.bincount(labels.ravel(), minlength=count)
        moving = np.setdiff1d(np.unique(labels[change]), [0])
        smallest.extend([sizes[moving].min()] if len(moving) else [])
    if len(smallest) < max(1, len(arrivals) // 20):
        return None
    return int(np.sort(smallest)[len(arrivals) // 20 if len(arrivals) >= 20 else 0])
