"""What situations pay: the real game itself, and a dream that pays for the last bricks twice."""

from __future__ import annotations

import numpy as np
import pytest

from dfgym.evaluation import payoff
from dfgym.world.card import Card
from dfgym.world.outcomes import Transition
from toys.breakout import PerfectDynamics, rows_of


class Generous(PerfectDynamics):
    """The real game, which pays twice while many bricks are left."""

    def step(self, actions: np.ndarray) -> Transition:
        brick = np.array(self.world.card.frames.palette[4], np.uint8)
        many = (self.current == brick).all(-1).sum((1, 2)) > 26
        step = super().step(actions)
        return step._replace(rewards=step.rewards * np.where(many, 2, 1))


def test_the_error_of_a_rate_is_that_of_its_rows() -> None:
    """Rows of equal length: the standard error of the rows' means."""
    random = np.random.default_rng(0)
    values, rows = random.normal(size=200), np.repeat(np.arange(10), 20)
    means = values.reshape(10, 20).mean(1)
    error = payoff._error(values, np.ones(200, bool), rows)
    assert error == pytest.approx(means.std(ddof=1) / 10**0.5)
    assert payoff._error(np.ones(200), np.ones(200, bool), rows) == 0


def test_the_real_game_pays_as_itself(breakout_card: Card) -> None:
    pytest.importorskip("minatar")
    result = payoff.compare(rows_of(PerfectDynamics, breakout_card), breakout_card, 3200)
    assert result["dream"]["reward"] == pytest.approx(result["real"]["reward"], rel=0.2)
    assert result["dream"]["illegal"] == result["real"]["illegal"] == 0
    assert not [row for row in payoff.notable(result) if row[1] != "ends"]
    shares = [item["dream"]["share"] for item in result["situations"] if "pink" in item["name"]]
    assert 0.9 < sum(shares) <= 1
    section = payoff.section(result)
    assert section.table is not None and len(section.rungs) == 1
    assert {len(row) for row in section.table.rows} == {len(section.table.header)}


def test_a_place_that_pays_too_much_is_named(
    breakout_card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minatar")
    monkeypatch.setattr(payoff, "USUAL", 1.1)  # in so short a play the wall is always there
    result = payoff.compare(rows_of(Generous, breakout_card), breakout_card, 3200)
    rates = {name: (x, y) for name, key, x, y, _ in payoff.notable(result) if key == "reward"}
    dream, real = next(pair for name, pair in rates.items() if "15 to 30 pixels" in name)
    assert dream > 1.3 * real
    items = payoff.findings(result)
    assert items[0].level in ("flaw", "fault") and "a step pays 1." in items[0].words
