"""How the trainings of a memory are put together."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dfgym.study import memory


def answer(share: float, apart: float) -> dict[str, Any]:
    gap = {"remembered": share, "interval": [0.0, 1.0], "tiles": 3, "trips": 1}
    return {
        "gaps": {"8": gap | {"dreamed": {"remembered": share / 2}}},
        "emptied": share / 4,
        "pairs": {"apart": apart, "irrelevant": 0.0},
    }


def test_one_training_is_left_as_it_is() -> None:
    assert memory._combine([answer(0.5, 1.0)]) == answer(0.5, 1.0)


def test_several_are_a_mean_with_students_interval_over_them() -> None:
    result = memory._combine([answer(0.4, 1.0), answer(0.5, 0.5), answer(0.6, 0.9)])
    gap = result["gaps"]["8"]
    assert (gap["remembered"], gap["per_seed"]) == (pytest.approx(0.5), [0.4, 0.5, 0.6])
    half = 4.3027 * 0.1 / math.sqrt(3)  # of two degrees of freedom
    assert gap["interval"] == pytest.approx([0.5 - half, 0.5 + half], abs=1e-4)
    assert gap["dreamed"]["remembered"] == pytest.approx(0.25) and gap["tiles"] == 3
    assert result["emptied"] == pytest.approx(0.125)
    assert result["pairs"]["apart"] == pytest.approx(0.8)
