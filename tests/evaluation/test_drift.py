"""Drift of dreams whose worth is known."""

from __future__ import annotations

import pytest

from dfgym.evaluation import drift
from dfgym.world.card import Card
from toys.breakout import FrozenDynamics, PerfectDynamics, rows_of


def test_drift_of_the_real_game_is_none(breakout_card: Card) -> None:
    result = drift.track(
        rows_of(PerfectDynamics, breakout_card), breakout_card, frames=400, rows=2, blocks=4
    )
    assert result["block"] == 100
    for name in ("dream", "real"):
        assert result[name]["illegal_per_1000"] == [0.0] * 4
        assert all(0.01 < value < 0.08 for value in result[name]["change"])
    (rung,) = drift.section(result).rungs
    usual = sum(result["real"]["change"]) / 4
    assert "after 300 frames" in rung.question and rung.copy == "0.00"
    cells = [float(rung.figure), float(rung.real)]
    expected = [result[name]["change"][3] / usual for name in ("dream", "real")]
    assert cells == pytest.approx(expected, abs=0.006)
    still = drift.track(
        rows_of(FrozenDynamics, breakout_card), breakout_card, frames=100, rows=1, blocks=2
    )
    assert drift.section(still).rungs[0].figure == "0.00"
    still["real"]["change"] = [0.0, 0.0]
    rung = drift.section(still).rungs[0]
    assert (rung.figure, rung.real, rung.copy) == ("untested", "", "")
    frozen = still["dream"]
    assert frozen["change"] == [0.0, 0.0] and frozen["longest"] == 100
