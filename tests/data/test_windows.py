"""The window sampler: right pairs, whole coverage, no state, fast."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfgym.data.store import EpisodeStore
from dfgym.data.windows import WindowSampler, first_held_out
from dfgym.errors import ConfigError, DataError
from dfgym.train.batches import Batches, Process
from dfgym.train.config import TrainConfig
from dfgym.train.survey import Survey

LENGTHS = (5, 3, 9, 4, 6, 2, 8)


def make(
    path: Path,
    lengths: Sequence[int] = LENGTHS,
    size: tuple[int, int] = (2, 2),
    actions: int = 4,
    first: int = 0,
) -> EpisodeStore:
    """Frame number n (over all) is drawn in grey n; its action is n % 4, its reward n."""
    meta = {"frame_shape": [*size, 3], "actions": actions}
    with EpisodeStore.create(path, meta) as store:
        for index, length in enumerate(lengths):
            number = np.arange(first, first + length)
            frames = np.broadcast_to(number[:, None, None, None], (length, *size, 3))
            frames, steps = frames.astype(np.uint8), number[:-1]
            ended = index % 2 == 0
            store.append(frames, steps % 4, steps * 1.0, ended, not ended, seed=0, policy="p")
            first += length
    return store


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    return make(tmp_path / "data")


def test_a_window_pairs_each_frame_with_what_led_to_it(store: EpisodeStore) -> None:
    batch = WindowSampler(store, 6, 400, seed=0, held_out=0.2).batch(0)
    shapes = {name: (array.shape, array.dtype.name) for name, array in batch.items()}
    assert shapes == {
        "frames": ((400, 6, 2, 2, 3), "uint8"),
        "actions": ((400, 6), "int64"),
        "rewards": ((400, 6), "float32"),
        "terminated": ((400, 6), "bool"),
        "segment": ((400, 6), "int32"),
        "valid": ((400, 6), "bool"),
    }
    offsets = store.offsets
    for window in range(400):
        numbers = batch["frames"][window, :, 0, 0, 0].astype(int)
        assert (np.diff(numbers) == 1).all()
        episodes = np.searchsorted(offsets, numbers, side="right") - 1
        assert (batch["segment"][window] == episodes - episodes[0]).all()
        for place, number in enumerate(numbers):
            has_action = place > 0 and number not in offsets
            last = number + 1 in offsets
            terminated = has_action and last and episodes[place] % 2 == 0
            assert batch["valid"][window, place] == has_action
            assert batch["actions"][window, place] == ((number - 1) % 4 if has_action else 4)
            assert batch["rewards"][window, place] == (number - 1 if has_action else 0)
            assert batch["terminated"][window, place] == terminated


@pytest.mark.parametrize("past", [1, 3, 5])
def test_only_a_frame_whose_past_is_in_the_window_counts(store: EpisodeStore, past: int) -> None:
    batch = WindowSampler(store, 6, 400, seed=0, held_out=0.2, past=past).batch(0)
    offsets = store.offsets
    for numbers, valid in zip(
        batch["frames"][..., 0, 0, 0].astype(int), batch["valid"], strict=True
    ):
        begins = offsets[np.searchsorted(offsets, numbers, side="right") - 1]
        whole = (numbers - numbers[0] >= past) | (begins >= numbers[0])
        assert (valid == ((numbers != begins) & whole)).all()
    plain = WindowSampler(store, 6, 400, seed=0, held_out=0.2).batch(0)
    assert all((batch[name] == plain[name]).all() for name in batch if name != "valid")


@pytest.mark.parametrize("past", [0, 6, 7])
def test_a_past_that_no_window_holds_is_refused(store: EpisodeStore, past: int) -> None:
    with pytest.raises(ConfigError, match=f"past is {past}; .*less than the 6 frames"):
        WindowSampler(store, 6, 4, seed=0, past=past)


def test_every_window_of_the_training_part_is_drawn_and_no_held_out_frame(
    store: EpisodeStore,
) -> None:
    border = int(store.offsets[first_held_out(store, 0.3)])  # the last two episodes: 10 frames
    assert border == 27
    train = WindowSampler(store, 4, 500, seed=1, held_out=0.3)
    numbers = train.batch(0)["frames"][..., 0, 0, 0]
    assert set(numbers[:, 0].tolist()) == set(range(24)) and train.num_windows == 24
    assert numbers.max() == 26


def test_windows_are_drawn_evenly(store: EpisodeStore) -> None:
    batch = WindowSampler(store, 4, 24_000, seed=2, held_out=0.3).batch(0)
    counts = np.bincount(batch["frames"][:, 0, 0, 0, 0], minlength=24)
    assert ((counts > 850) & (counts < 1150)).all()


def test_a_batch_is_a_function_of_seed_and_step(tmp_path: Path, store: EpisodeStore) -> None:
    def numbers(seed: int, step: int, store: EpisodeStore = store) -> Any:
        return WindowSampler(store, 4, 64, seed).batch(step)["frames"].tobytes()

    assert numbers(0, 5) == numbers(0, 5, EpisodeStore.open(store.path))
    assert len({numbers(0, 5), numbers(0, 6), numbers(1, 5), numbers(5, 0)}) == 4


def test_ranks_draw_the_parts_of_one_batch(store: EpisodeStore) -> None:
    whole = WindowSampler(store, 4, 12, seed=3).batch(7)
    parts = [WindowSampler(store, 4, 4, seed=3).batch(7, rank, 3) for rank in range(3)]
    for name, array in whole.items():
        assert (np.concatenate([chunk[name] for chunk in parts]) == array).all()


def test_the_past_is_asked_of_each_data_set_and_by_the_training(
    tmp_path: Path, store: EpisodeStore
) -> None:
    other = make(tmp_path / "other", lengths=[30, 40])
    both = WindowSampler([store, other], 6, 400, seed=0, past=4).batch(0)
    cut = both["segment"].max(1) == 0
    assert not both["valid"][cut, :4].all(1).any() and both["valid"][cut, 4:].all()
    config = TrainConfig((store.path,), tmp_path / "run", batch=8, length=6, past=4, image_steps=0)
    game = Survey(store.frame_shape, store.action_space, (), (0.0,))
    batch = Batches(config, game, [store], Process(0, 1))(0, torch.device("cpu"))
    expected = WindowSampler(store, 6, 8, seed=0, past=4).batch(0)["valid"]
    assert (batch.valid.numpy() == expected).all()


def test_batches_are_fresh(store: EpisodeStore) -> None:
    sampler = WindowSampler(store, 4, 8, seed=0)
    first = sampler.batch(0)
    copies = {name: array.copy() for name, array in first.items()}
    for array in sampler.batch(0).values():
        array.fill(1)
    assert all((first[name] == copies[name]).all() for name in first)
    assert all((sampler.batch(0)[name] == copies[name]).all() for name in first)


def test_several_data_sets_are_drawn_by_size_and_never_mixed_in_a_window(
    tmp_path: Path, store: EpisodeStore
) -> None:
    other = make(tmp_path / "other", (30, 30, 8), first=100)
    sampler = WindowSampler([store, other], 4, 3000, seed=0, held_out=0.3)
    batch = sampler.batch(0)
    numbers = batch["frames"][..., 0, 0, 0].astype(int)
    assert (np.diff(numbers, axis=1) == 1).all()
    assert set(numbers[:, 0]) == set(range(24)) | set(range(100, 157))
    share = (numbers[:, 0] < 100).mean()
    assert abs(share - 24 / 81) < 0.03
    assert (batch["rewards"] == np.where(batch["valid"], numbers - 1, 0)).all()


def test_held_out_episodes_are_the_last_share_and_at_least_one(store: EpisodeStore) -> None:
    assert first_held_out(store, 0.01) == 6
    assert first_held_out(store, 0.3) == 5
    assert first_held_out(store, 0.99) == 1
    for fraction in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ConfigError, match=r"must lie in \(0, 1\)"):
            first_held_out(store, fraction)


def test_window_longer_than_any_episode(store: EpisodeStore) -> None:
    with pytest.raises(DataError, match=r"length is 10, .* the longest has 9 frames; .* 9 at most"):
        WindowSampler(store, 10, 4, seed=0)
    WindowSampler(store, 9, 4, seed=0).batch(0)


@pytest.mark.parametrize("lengths", [(), (5,)])
def test_too_few_episodes(tmp_path: Path, lengths: Sequence[int]) -> None:
    with pytest.raises(DataError, match=rf"has {len(lengths)} episode\(s\); it needs at least 2"):
        WindowSampler(make(tmp_path / "data", lengths), 2, 4, seed=0)


def test_mixed_frame_sizes_and_actions(tmp_path: Path, store: EpisodeStore) -> None:
    wide = make(tmp_path / "wide", size=(2, 3))
    with pytest.raises(DataError, match=r"mixed frame sizes: .* \(2, 2, 3\), .* \(2, 3, 3\)"):
        WindowSampler([store, wide], 4, 4, seed=0)
    more = make(tmp_path / "more", actions=5)
    with pytest.raises(DataError, match=r"mixed actions: .* has Discrete.4., .* has Discrete.5."):
        WindowSampler([store, more], 4, 4, seed=0)
    with pytest.raises(DataError, match="no data set"):
        WindowSampler([], 4, 4, seed=0)


@pytest.mark.parametrize(("length", "batch"), [(1, 4), (0, 4), (4, 0)])
def test_bad_numbers(store: EpisodeStore, length: int, batch: int) -> None:
    with pytest.raises(ConfigError, match="at least 2 frames"):
        WindowSampler(store, length, batch, seed=0)


def test_a_batch_costs_the_same_whatever_the_size_of_the_data_set(tmp_path: Path) -> None:
    def seconds(episodes: int) -> float:
        store = make(tmp_path / str(episodes), (200,) * episodes, size=(10, 10), actions=200)
        sampler = WindowSampler(store, 16, 64, seed=0)
        times = []
        for step in range(40):
            begun = time.process_time()
            sampler.batch(step)
            times.append(time.process_time() - begun)
        return float(np.median(times))

    assert seconds(100) < 4 * seconds(5)
