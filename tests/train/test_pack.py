"""Which held-out episodes a world carries as its starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfgym.data.store import EpisodeStore
from dfgym.train.pack import START_BYTES, held_out_starts

HELD_OUT = 0.5


def store_of(path: Path, lengths: list[int], side: int = 4) -> EpisodeStore:
    """As many episodes to train on, then held-out ones of these lengths; frames tell them apart."""
    meta = {"env": "Toy-v0", "actions": 2, "frame_shape": [side, side, 3]}
    with EpisodeStore.create(path, meta) as store:
        for seed, length in enumerate([2] * len(lengths) + lengths):
            frames = np.full((length, side, side, 3), seed, np.uint8)
            steps = np.ones(length - 1, int), np.zeros(length - 1)
            store.append(frames, *steps, True, False, seed=seed, policy="random")
    return EpisodeStore.open(path)


def first(lengths: list[int], *seeds: int) -> list[tuple[int, int]]:
    return [(len(lengths) + seed, lengths[seed]) for seed in seeds]


def starts_of(store: EpisodeStore, **limits: int) -> list[tuple[int, int]]:
    """Seed and length of each start, checked against what was recorded."""
    starts = held_out_starts([store], HELD_OUT, **limits)
    for i, seed in enumerate(starts.seeds):
        frames, actions = starts.episode(i)
        assert (frames == seed).all() and actions.tolist() == [1] * (len(frames) - 1)
    assert starts.offsets[-1] == len(starts.frames) == len(starts.actions)
    return list(zip(starts.seeds.tolist(), np.diff(starts.offsets).tolist(), strict=True))


def test_those_that_fit_are_kept_whole(tmp_path: Path) -> None:
    lengths = [5, 30, 6, 9, 4]
    store = store_of(tmp_path / "data", lengths)
    assert starts_of(store) == first(lengths, 0, 1, 2, 3, 4)
    assert starts_of(store, limit=20) == first(lengths, 0, 2, 3)
    assert starts_of(store, limit=15) == first(lengths, 0, 2, 4)


@pytest.mark.parametrize(("room", "seeds"), [(54, range(5)), (53, range(4)), (20, (0, 2, 3))])
def test_bytes_are_limited_as_frames_are(tmp_path: Path, room: int, seeds: list[int]) -> None:
    lengths, size = [5, 30, 6, 9, 4], 4 * 4 * 3
    store = store_of(tmp_path / "data", lengths)
    assert starts_of(store, limit_bytes=room * size) == first(lengths, *seeds)
    assert starts_of(store, limit_bytes=room * size + size - 1) == first(lengths, *seeds)


def test_one_is_kept_though_none_fits(tmp_path: Path) -> None:
    lengths = [40, 30, 50]
    store = store_of(tmp_path / "data", lengths)
    assert starts_of(store, limit=10) == starts_of(store, limit_bytes=1) == first(lengths, 1)


def test_large_frames_do_not_swell_a_world(tmp_path: Path) -> None:
    episode = 100 * 128 * 128 * 3
    store = store_of(tmp_path / "data", [100] * 6, side=128)
    starts = held_out_starts([store], HELD_OUT)
    assert len(starts) == 3 and starts.frames.nbytes == 3 * episode <= START_BYTES < 4 * episode


def test_every_store_gives_its_last_episodes(tmp_path: Path) -> None:
    one, two = store_of(tmp_path / "one", [3, 4]), store_of(tmp_path / "two", [5])
    starts = held_out_starts([one, two], HELD_OUT)
    assert np.diff(starts.offsets).tolist() == [3, 4, 5] and starts.seeds.tolist() == [2, 3, 1]
