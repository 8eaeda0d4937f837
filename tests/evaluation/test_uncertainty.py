"""Uncertainty held against faults: closed forms, and a dream that knows or does not know them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dfgym.evaluation import moments, uncertainty
from dfgym.evaluation.uncertainty import auroc, risk_coverage, validate
from dfgym.world.card import Card
from dfgym.world.outcomes import Transition
from toys.branching import RealGame


def test_auroc_counts_pairs_and_ties_by_half() -> None:
    faults = np.array([False, True, False, True])
    assert auroc(np.array([0.1, 0.9, 0.2, 0.8]), faults) == 1
    assert auroc(np.array([0.9, 0.1, 0.8, 0.2]), faults) == 0
    assert auroc(np.ones(4), faults) == 0.5
    assert auroc(np.array([1, 2, 2, 3]), faults) == pytest.approx(3.5 / 4)


def test_auroc_of_two_normals_is_that_of_the_closed_form() -> None:
    """Phi(d / sqrt(2)) is 0.7602 at d = 1 (Bamber 1975)."""
    random = np.random.default_rng(0)
    scores = np.concatenate([random.normal(0, 1, 20_000), random.normal(1, 1, 20_000)])
    faults = np.arange(40_000) >= 20_000
    assert auroc(scores, faults) == pytest.approx(0.7602, abs=0.005)


def test_risk_is_that_of_what_is_trusted() -> None:
    scores, faults = np.array([3.0, 1.0, 2.0, 4.0]), np.array([True, False, False, True])
    coverage, risk = risk_coverage(scores, faults)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert risk_coverage(np.ones(4), faults)[1].tolist() == pytest.approx([0.5] * 4)


def test_scores_without_faults_are_not_tested() -> None:
    table = validate(np.arange(5.0), np.zeros(5, bool))
    assert table["auroc"] is None and table["faults"] == 0
    good = validate(np.arange(40.0), np.arange(40) > 20)
    assert good["auroc"] == 1 and good["interval"] == [1, 1] and good["risk"][-1] == 19 / 40


def test_ends_may_be_added_to_an_auroc_and_not_to_a_risk() -> None:
    """The AUROC of two normals does not depend on how many there are of either."""
    random = np.random.default_rng(0)
    values = []
    for count in (2000, 300):
        scores = np.concatenate([random.normal(0, 1, 20_000), random.normal(1, 1, count)])
        table = validate(scores[-2000 - count :], np.arange(2000 + count) >= 2000, curve=False)
        assert table["risk"] == table["coverage"] == [] and table["area"] is None
        assert table["interval"][0] < table["auroc"] < table["interval"][1]
        values.append(table["auroc"])
    assert values == pytest.approx([0.7602, 0.7602], abs=0.04)


def test_moments_just_before_ends_are_added(
    breakout_card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minatar")
    monkeypatch.setattr(uncertainty, "AGE", 120)
    pasts = uncertainty.choose_moments(breakout_card, 64, 0)
    even = moments.draw(breakout_card, 64, uncertainty.EPSILON, 0, least=120)
    assert [(m.episode.seed, m.at) for m in pasts[:64]] == [(m.episode.seed, m.at) for m in even]
    others, ends = pasts[64:128], pasts[128:]  # a random player's moments, and the ends of both
    assert sum(not m.episode.terminated[m.at] for m in others) > 48
    assert 30 < len(ends) <= 64 and all(m.episode.terminated[m.at] for m in ends)
    places = [(id(m.episode), m.at) for m in pasts]
    assert len(set(places)) == len(places)
    monkeypatch.setattr(uncertainty, "ENDS", 3)
    few = uncertainty.choose_moments(breakout_card, 64, 0)
    assert len(few) == 67 and all(m.episode.terminated[m.at] for m in few[64:])


class Candid(RealGame):
    """The real game, of whose frames a tenth are spoiled, and which says so."""

    def step(self, actions: np.ndarray) -> Transition:
        random = np.random.default_rng(len(self.history))
        self.history.append(random)
        spoiled = random.random(self.num_rows) < 0.1
        rewards, ended = np.zeros(self.num_rows), np.zeros(self.num_rows, bool)
        for row, action in enumerate(actions):
            ways = self.ways(row, int(action))
            way = ways[random.choice(len(ways), p=[way.probability for way in ways])]
            self.beliefs[row] = [(way.state, 1.0)]
            self.current[row], rewards[row], ended[row] = way.frame, way.reward, way.terminated
            if spoiled[row]:
                self.current[row, 0, 0] = 9
        calm = np.zeros(self.num_rows)
        return Transition(self.frames(), rewards, ended, ended * 1.0, spoiled + 0.0, calm)


def test_a_candid_dream_foretells_its_faults(
    breakout_card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minatar")
    monkeypatch.setattr(uncertainty, "AGE", 24)
    monkeypatch.setattr(moments, "ROWS", 8)
    card = replace(breakout_card, model=replace(breakout_card.model, window=48))
    monkeypatch.setattr(uncertainty, "ENDS", 24)
    monkeypatch.setattr(uncertainty, "ENOUGH", 1000)
    pasts = [
        *uncertainty.choose_moments(card, 32, 0),
        *moments.draw(card, 12, uncertainty.EPSILON, 1, least=24),
        *moments.draw(card, 12, uncertainty.EPSILON, 1001, least=24),
    ]

    def make(rows: int) -> Any:
        return Candid(card, rows, pasts)

    result = uncertainty.compare(make, card, 32, 12, 15, seed=0, rounds=2)
    table = result["scores"]["uncertainty"]
    assert table["illegal"]["faults"] >= 10 and table["illegal"]["auroc"] == 1
    assert table["surprise"]["auroc"] > 0.5
    assert result["scores"]["outcome_entropy"]["illegal"]["auroc"] == 0.5
    section = uncertainty.section(result)
    assert section.table is not None and len(section.rungs) == 3
    assert result["scores"]["uncertainty"]["surprise"]["transitions"] == 32
    end = result["end"]
    assert end["transitions"] > 40 and end["faults"] >= 10 and end["auroc"] > 0.95
    rung = section.rungs[-1]
    assert rung.question == "Does it foresee ends? (AUROC)" and rung.copy == "0.50"
    assert float(rung.figure) > 0.95
    assert uncertainty.card_entries(result)["uncertainty"]["end_auroc"] == end["auroc"]
    assert "foretells ends" in uncertainty.findings(result)[-1].words
    blind = {**result, "end": validate(np.zeros(40), np.arange(40) < 16, curve=False)}
    assert uncertainty.findings(blind)[-1].level == "flaw"
    none = {**result, "end": validate(np.zeros(40), np.zeros(40, bool), curve=False)}
    assert uncertainty.findings(none)[-1].level == "untested"
    assert uncertainty.section(none).rungs[-1].figure == "untested"
    assert [rung.verdict for rung in uncertainty.section(none).rungs][1:] == ["merit", "untested"]
    assert "end_auroc" not in uncertainty.card_entries(none)["uncertainty"]
    assert {len(row) for row in section.table.rows} == {len(section.table.header)}
    assert uncertainty.findings(result)[0].level == "merit"
    monkeypatch.setattr(uncertainty, "SECONDS", 0.0)
    shorter = uncertainty.compare(make, card, 32, 12, 15, seed=0, rounds=2)["scores"]["uncertainty"]
    assert shorter["illegal"]["transitions"] < table["illegal"]["transitions"]
    assert uncertainty.card_entries(result)["uncertainty"]["uncertainty_illegal_auroc"] == 1
