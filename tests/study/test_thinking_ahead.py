"""The study's claims about thinking ahead: what their numbers mean, on numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest

from dfgym.study import horizon, search, uncertainty
from dfgym.world import shelf


def test_ages_are_counted_in_spans() -> None:
    age = np.array([[1, 2, 3, 4, 5], [1, 2, 1, 2, 3]])
    illegal = np.array([[0, 0, 1, 0, 1], [0, 1, 0, 0, 0]], bool)
    spans = horizon.count_by_age(age, illegal)
    assert [(s["first"], s["last"], s["transitions"]) for s in spans] == [
        (1, 1, 3),
        (2, 3, 5),
        (4, 5, 2),
    ]
    assert [s["illegal"] for s in spans] == [0, 2 / 5, 1 / 2]
    spans = horizon.count_by_age(age[:, :4], illegal[:, :4])  # one frame of age 4 is no span
    assert [(s["first"], s["last"], s["transitions"]) for s in spans] == [(1, 1, 3), (2, 4, 5)]


def test_gains_are_over_the_prior() -> None:
    none, more = np.array([[10.0, 10, 12], [8, 10, 10]]), np.array([[15.0, 15, 15], [15, 15, 15]])
    numbers = search.summarize({0: none, 32: more, 4: none + 1})
    assert numbers["gain"]["32"]["mean"] == pytest.approx(0.5)
    low, high = numbers["gain"]["32"]["interval"]
    assert 0.3 < low < 0.5 < high < 0.75 and numbers["spearman"] == pytest.approx(0.5)
    assert next(c.holds(numbers) for c in search.CONDITIONS if c.holds)


def test_noise_in_the_weights_changes_the_matrices_alone() -> None:
    world = shelf.load(shelf.DEFAULT)
    spoiled = uncertainty.spoil(world)
    for name, weight in world.weights.items():
        change = (spoiled.weights[name] - weight).std()
        expected = uncertainty.NOISE * weight.std() if weight.dim() > 1 else 0.0
        assert change == pytest.approx(float(expected), rel=0.1), name
