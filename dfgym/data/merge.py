"""Shards of one recording, put together: nothing lost, nothing twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dfgym.data.draft import drafting
from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError


def verify(paths: Sequence[str | os.PathLike[str]]) -> list[EpisodeStore]:
    """Open data sets and compare every episode with the hash it was written with.

    Raises:
        DataError: one is damaged, or no data set.
    """
    stores = [EpisodeStore.open(path) for path in paths]
    for store in stores:
        store.verify()
    return stores


def merge(paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> EpisodeStore:
    """Put all shards of one recording together, in the order of their episodes' numbers.

    The result is not continued by `record`: to have more frames, continue each shard with a larger
    `--frames` and merge them again.

    Args:
        paths: the shards' folders, in any order.
        out: the new data set's folder.

    Raises:
        DataError: a shard is missing, twice, damaged or of another recording, or `out` exists.
    """
    stores = verify(paths)
    shards: dict[int, EpisodeStore] = {}
    count, first = 0, stores[0]
    for store in stores:
        if "shard" not in store.meta:
            raise DataError(
                f"{store.path} is no shard (`dfgym record --shard i/n`) but a recording of its own;"
                " train on several with --data A B"
            )
        index, count = store.meta["shard"]
        if index in shards:
            raise DataError(f"{store.path} is shard {index}/{count}, as is {shards[index].path}")
        for key in sorted(first.meta.keys() | store.meta.keys()):
            same = first.meta.get(key) == store.meta.get(key)
            if key == "shard":
                same = first.meta["shard"][1] == count
            if not same:
                raise DataError(
                    f"{store.path} is of another recording than {first.path}: its {key} is "
                    f"{store.meta.get(key)!r}, not {first.meta.get(key)!r}"
                )
        shards[index] = store
    if absent := sorted(set(range(1, count + 1)) - set(shards)):
        names = ", ".join(f"{index}/{count}" for index in absent)
        raise DataError(f"the recording has {count} shards, and {names} is missing; add it")
    order = sorted(
        (position * count + index, index, position)
        for index, store in shards.items()
        for position in range(len(store))
    )
    meta = {key: value for key, value in first.meta.items() if key != "shard"}
    seeds: set[int] = set()
    with drafting(out, {**meta, "shards": count}) as merged:
        for _, index, position in order:
            _copy(shards[index], position, merged, seeds)
    return EpisodeStore.open(Path(out))


def _copy(store: EpisodeStore, position: int, merged: EpisodeStore, seeds: set[int]) -> None:
    episode = store.episodes[position]
    if episode.seed in seeds:
        raise DataError(f"{store.path}: episode {position} (seed {episode.seed}) is there twice")
    seeds.add(episode.seed)
    rows = slice(episode.start, episode.start + episode.frames)
    steps = slice(rows.start, rows.stop - 1)
    merged.append(
        store.frames[rows],
        store.actions[steps],
        store.rewards[steps],
        bool(store.terminated[rows.stop - 2]),
        bool(store.truncated[rows.stop - 2]),
        seed=episode.seed,
        policy=episode.policy,
    )
