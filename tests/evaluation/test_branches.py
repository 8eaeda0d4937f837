"""Counterfactuals and odds: closed forms, the real game itself, and dreams with one lie each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dfgym.errors import NotMeasuredError
from dfgym.evaluation import branches, chance, counterfactual
from dfgym.evaluation.branches import Branch, Branches, align, mass
from dfgym.world.card import Card
from toys.branching import Ballless, Lucky, Mirrored, RealGame, branch

COUNT = 12


def flat(*values: int) -> np.ndarray:
    """Return frames of one grey level each."""
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def toss(*odds: float, draws: int | None = None, first: int = 0) -> Branch:
    """Return ways that draw the grey levels 0, 100 and 200 with these odds."""
    levels = range(100 * first, 100 * (first + len(odds)), 100)
    return Branch(flat(*levels), np.array(odds), 0.0, 0.0, draws)


def test_total_variation_and_legal_share_are_those_of_the_definition() -> None:
    assert counterfactual.total_variation(toss(0.5, 0.5), toss(0.4, 0.6), 0) == pytest.approx(
        (0.1, 1.0)
    )
    assert counterfactual.total_variation(toss(0.3, 0.3, 0.4), toss(0.5, 0.5), 0) == pytest.approx(
        (0.4, 0.6)
    )
    assert counterfactual.total_variation(toss(1.0, first=2), toss(0.5, 0.5), 0) == (1.0, 0.0)


def test_frames_are_aligned_within_the_tolerance_only() -> None:
    assert align(flat(3, 60, 190), flat(0, 200), 10).tolist() == [0, -1, 1]
    assert mass(toss(0.25, 0.75), flat(100, 0), 0).tolist() == [0.75, 0.25, 0.0]


def test_scores_are_proper_and_entropy_is_that_of_a_coin() -> None:
    truth = np.array([0.3, 0.7])
    assert chance.brier(truth, truth) == pytest.approx(0.42)
    assert chance.log_score(truth, truth) == pytest.approx(
        -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    )
    for other in ([0.4, 0.6], [0.2, 0.8], [1.0, 0.0]):
        odds = np.array(other)
        gap = ((odds - truth) ** 2).sum()
        assert chance.brier(odds, truth) == pytest.approx(0.42 + gap)
        assert chance.log_score(odds, truth) > chance.log_score(truth, truth)
    assert toss(0.5, 0.5).entropy == pytest.approx(math.log(2))


def test_draws_of_the_real_game_differ_from_it_as_much_as_chance_makes() -> None:
    """The mean |p - 1/2| of 16 tosses is 0.098 (the binomial distribution's)."""
    coin = toss(0.5, 0.5, draws=16)
    count = 600
    twins = Branches(["a"], flat(*[50] * count), [[coin]] * count, [[toss(0.5, 0.5)]] * count, 0)
    result = counterfactual.compare(twins)
    assert result["real"]["total_variation"] == pytest.approx(0.0982, abs=0.012)
    assert result["dream"]["total_variation"] == 0 and result["copy"]["total_variation"] == 1


def test_a_game_without_chance_has_no_odds_to_test() -> None:
    sure = Branches(["a"], flat(50), [[toss(0.5, 0.5)]], [[toss(1.0)]], 0)
    result = chance.compare(sure)
    assert result["moments"] == 0 and result["dream"]["brier"] is None
    assert result["dream"]["entropy_where_certain"] == pytest.approx(math.log(2))
    levels = {finding.level for finding in chance.findings(result)}
    assert levels == {"untested", "flaw"} and not chance.card_entries(result)
    assert "showed no chance" in chance.section(result).verdict
    assert [rung.verdict for rung in chance.section(result).rungs] == ["untested", "flaw"]
    calm = chance.compare(Branches(["a"], flat(50), [[toss(1.0)]], [[toss(1.0)]], 0))
    assert [rung.verdict for rung in chance.section(calm).rungs] == ["untested", "merit"]
    lots = [[toss(0.5, 0.5)] * 12]
    unsure = chance.compare(Branches(["a"] * 12, flat(50), lots, lots, 0))
    assert [rung.verdict for rung in chance.section(unsure).rungs] == ["merit", "untested"]


@pytest.fixture(scope="module")
def honest(breakout_card: Card) -> Branches:
    pytest.importorskip("minatar")
    return branch(RealGame, breakout_card, COUNT)


def questions(twins: Branches) -> tuple[dict[str, Any], dict[str, Any]]:
    return counterfactual.compare(twins), chance.compare(twins)


def test_the_real_game_passes(honest: Branches) -> None:
    actions, odds = questions(honest)
    assert actions["dream"]["total_variation"] == pytest.approx(0, abs=1e-9)
    assert actions["dream"]["legal"] == pytest.approx(1) and actions["exact"]
    assert actions["dream"]["apart"] == 1 and actions["dream"]["pairs"] > 5
    assert actions["dream"]["reward_error"] == pytest.approx(0)
    assert odds["dream"] == odds["real"] and odds["moments"] >= 10
    assert np.allclose(odds["reliability"]["probability"], odds["reliability"]["frequency"])
    for module, result in ((counterfactual, actions), (chance, odds)):
        assert {finding.level for finding in module.findings(result)} == {"merit"}
        section = module.section(result)
        assert section.table is not None and len(section.rungs) == 2
        assert {len(row) for row in section.table.rows} == {len(section.table.header)}


def test_a_wrong_effect_of_an_action_is_noticed(breakout_card: Card, honest: Branches) -> None:
    actions, _ = questions(branch(Mirrored, breakout_card, COUNT))
    by_action = actions["dream"]["legal_by_action"]
    assert by_action[0] == pytest.approx(1) and max(by_action[1:]) < 0.5
    assert actions["dream"]["apart"] == 1  # they part, the wrong way
    assert counterfactual.findings(actions)[0].level == "fault"


def test_odds_that_are_off_by_a_tenth_are_noticed(breakout_card: Card, honest: Branches) -> None:
    actions, odds = questions(branch(Lucky, breakout_card, COUNT))
    cases = [b for row in honest.real for b in row if b.entropy > 1e-9]
    share = len(cases) / (3 * len(honest.real))
    assert actions["dream"]["total_variation"] == pytest.approx(0.1 * share, rel=0.15)
    assert odds["dream"]["brier"] - odds["real"]["brier"] == pytest.approx(0.02, rel=0.15)
    assert odds["dream"]["log"] > odds["real"]["log"]


def test_an_object_that_vanishes_is_noticed(breakout_card: Card) -> None:
    actions, odds = questions(branch(Ballless, breakout_card, COUNT))
    assert actions["dream"]["legal"] < 0.2
    for module, result in ((counterfactual, actions), (chance, odds)):
        assert module.findings(result)[0].level == "fault"


def test_a_game_that_is_too_slow_is_not_measured(
    breakout_card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minatar")
    monkeypatch.setattr(branches, "MOST_SECONDS", -1.0)
    with pytest.raises(NotMeasuredError, match="0 moments in -1 seconds, and 4 are needed"):
        branch(RealGame, breakout_card, 2)
