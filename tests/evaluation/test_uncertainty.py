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
    pasts = [
        *moments.draw(card, 32, uncertainty.EPSILON, 0, least=24),
        *moments.draw(card, 24, uncertainty.EPSILON, 1, least=24),
    ]

    def make(rows: int) -> Any:
        return Candid(card, rows, pasts)

    result = uncertainty.compare(make, card, 32, 24, 15, seed=0)
    table = result["scores"]["uncertainty"]
    assert table["illegal"]["faults"] >= 10 and table["illegal"]["auroc"] == 1
    assert table["surprise"]["auroc"] > 0.5
    assert result["scores"]["outcome_entropy"]["illegal"]["auroc"] == 0.5
    section = uncertainty.section(result)
    assert section.table is not None and len(section.rungs) == 2
    assert {len(row) for row in section.table.rows} == {len(section.table.header)}
    assert uncertainty.findings(result)[0].level == "merit"
    assert uncertainty.card_entries(result)["uncertainty"]["uncertainty_illegal_auroc"] == 1
