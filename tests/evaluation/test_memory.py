"""Tests of memory on players whose memory is known: one that recalls all, and one that none."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dfgym.errors import ConfigError
from dfgym.evaluation import memory
from dfgym.evaluation.memory import Trip
from dfgym.games.minigrid import FLOORS

pytest.importorskip("minigrid")
GAP = 16


class Recall:
    """A dream that knows every tile that its given frames have shown, and where it stands.

    It replays the trips that it was given the beginning of; `span` is how many frames back it
    remembers.
    """

    def __init__(self, trips: Sequence[Trip], span: int) -> None:
        self.trips, self.span = trips, span

    def __call__(self, rows: int) -> Any:
        assert rows == len(self.trips)
        return self

    def reset(self, rows: Any, seeds: Any, contexts: Sequence[Any]) -> None:
        self.begun = self.time = len(contexts[0][0]) - 1

    def frames(self) -> np.ndarray:
        return np.stack([trip.frames[self.time] for trip in self.trips])

    def step(self, actions: np.ndarray) -> Any:
        self.time += 1
        frames = self.frames()
        for frame, trip in zip(frames, self.trips, strict=True):
            remembered = trip.in_sight(slice(max(0, self.time - self.span), self.begun + 1))
            for row, places in enumerate(trip.places[self.time].tolist()):
                for column, place in enumerate(places):
                    if tuple(place) not in remembered:
                        frame[row + 1, column] = (1, 2, 3)
        return SimpleNamespace(frames=frames)


@pytest.fixture(scope="module")
def trips() -> list[Trip]:
    return memory.make_trips(GAP, 6, seed=1)


def test_trips_lead_home(trips: list[Trip]) -> None:
    for trip in trips:
        assert len(trip.actions) - trip.home == GAP
        assert np.array_equal(trip.places[trip.home], trip.places[-1])
        assert np.array_equal(trip.frames[trip.home], trip.frames[-1])
    layouts = {trip.frames[trip.home].tobytes() for trip in trips}
    assert len(layouts) > 1
    again = memory.make_trips(GAP, 6, seed=1)
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(trips, again, strict=True))


def test_a_whole_memory_is_right_and_a_short_one_wrong(trips: list[Trip]) -> None:
    cells = np.array([trip.remembered.sum() for trip in trips])
    assert cells.min() > 0
    for trip in trips:
        assert set(trip.views[-1][trip.remembered]) <= set(FLOORS)
    for frames in (memory.dream_return(Recall(trips, 100), trips), memory.look_up(trips)):
        assert np.array_equal(memory.accuracy(frames, trips), np.stack((cells, cells), 1))
    short = memory.accuracy(memory.dream_return(Recall(trips, 6), trips), trips)
    assert np.array_equal(short, np.stack((0 * cells, cells), 1))


def test_no_guess_is_better_than_a_third(trips: list[Trip]) -> None:
    right, cells = memory.accuracy(memory.prior(trips), trips).sum(0)
    assert cells > 60 and abs(right / cells - 1 / 3) < 0.18, "three deviations of chance"


@pytest.mark.parametrize("relevant", [True, False])
def test_pairs_differ_in_what_home_shows_or_not(relevant: bool) -> None:
    pairs = memory.make_pairs(GAP, 4, seed=0, relevant=relevant)
    for one, other, _ in pairs:
        different = (one.views != other.views).any((1, 2))
        assert different[: one.home + 1].any(), "one past is another"
        assert different[-1] == different[one.home] == relevant
        assert not different[-1 - memory.RECENT : -1].any(), "the present is the same"
        assert (one.views[-1] != other.views[-1]).sum() == relevant


def test_a_memory_tells_pairs_apart_and_none_does_not() -> None:
    pairs = memory.make_pairs(GAP, 4, seed=0, relevant=True)

    class Either(Recall):
        """Recalls whichever half of the pairs it is given."""

        def reset(self, rows: Any, seeds: Any, contexts: Sequence[Any]) -> None:
            super().reset(rows, seeds, contexts)
            first = np.array_equal(contexts[0][0], pairs[0].one.frames[: self.begun + 1])
            self.trips = [pair.one if first else pair.other for pair in pairs]

    result = memory.compare_pairs(Either([p.one for p in pairs], 100), pairs)
    assert result["apart"] == [1.0] * 4 and min(result["changed"]) > 0
    result = memory.compare_pairs(Either([p.one for p in pairs], 6), pairs)
    assert result == {"apart": [0.5] * 4, "changed": [0.0] * 4}


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (3, "gap is 3; expected an even number of 2 or more"),
        (0, "gap is 0; expected an even number"),
        (64, "gap is 64; expected at most 36: an episode has 60 steps, of which 24 lead home"),
    ],
)
def test_a_gap_that_cannot_be_walked_is_refused(gap: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        memory.make_trips(gap, 1, 0, max_steps=60)
