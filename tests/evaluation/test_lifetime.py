"""Lawful lifetimes of dreams whose worth is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dfgym.errors import NotMeasuredError
from dfgym.evaluation import branches, lifetime
from dfgym.games import minigrid
from dfgym.games.twin import Lifetime
from dfgym.world.card import Card
from toys.breakout import FrozenDynamics, rows_of


def test_a_frozen_dream_lives_as_long_as_a_copy(breakout_card: Card) -> None:
    result = lifetime.compare(rows_of(FrozenDynamics, breakout_card), breakout_card, 12, 30)
    dream, real, copy = result["dream"], result["real"], result["copy"]
    assert real["illegal"] == real["wrong"] == 0 and real["transitions"] > 10
    assert dream["illegal"] == 12 and dream["illegal_per_1000"] > 300
    assert copy["illegal"] == copy["dreams"] == 8
    assert dream["median"] <= 3 and dream["surviving"][-1] == 0 and real["surviving"][-1] == 1
    (finding,) = lifetime.findings(result)
    assert finding.level == "fault"
    section = lifetime.section(result)
    assert section.table is not None
    assert {len(row) for row in section.table.rows} == {len(section.table.header)}
    assert "0 of its own" in section.verdict
    real_row = dict(zip(section.table.header, section.table.rows[1], strict=True))
    share = 100 * real["chance"] / real["transitions"]
    assert real_row["decided by chance"] == f"{share:.1f} %" != "0.0 %"
    assert lifetime.card_entries(result)["lifetime"]["median"] == dream["median"]


def test_survival_counts_what_was_cut() -> None:
    """Kaplan and Meier: 1/3 of those still played end at 2, half of the rest at 4."""
    plays = [(1, "illegal"), (2, "cut"), (3, "illegal"), (5, "cut")]
    result = lifetime.summarise([Lifetime(n, end, 0, 0) for n, end in plays])  # type: ignore[arg-type]
    assert result["surviving"][:2] == [1, 1] and result["surviving"][2] == 3 / 4
    assert result["surviving"][4] == pytest.approx(3 / 8) and result["median"] == 4
    assert result["illegal"] == 2 and result["transitions"] == 13
    assert result["illegal_per_1000"] == pytest.approx(2000 / 13)


def test_a_judge_that_forbids_the_real_game_is_not_believed() -> None:
    good = lifetime.summarise([Lifetime(10, "cut", 0, 0)])
    bad = lifetime.summarise([Lifetime(0, "illegal", 0, 0)])
    wide = lifetime.summarise([Lifetime(0, "wide", 0, 0)])

    def level(dream: dict[str, Any], real: dict[str, Any], **rest: Any) -> str:
        return lifetime.findings({"dream": dream, "real": real, "tolerance": 0, **rest})[0].level

    assert level(good, bad) == level(wide, good) == "untested"
    assert level(good, good) == "merit"
    assert level(bad, good) == "fault"
    # Where frames need not be equal, a thing drawn late breaks no law, and a still one does.
    late = lifetime.summarise([Lifetime(5, "illegal", 0, 0)])
    assert level(late, good) == "fault"
    assert level(late, good, tolerance=48, copy=bad) == "flaw"
    assert level(bad, good, tolerance=48, copy=bad) == "fault"


def test_a_game_that_hides_its_layout_is_not_followed(breakout_card: Card) -> None:
    source = dataclasses.replace(breakout_card.source, env=minigrid.ENV)
    card = dataclasses.replace(breakout_card, source=source)
    card = dataclasses.replace(card, frames=dataclasses.replace(card.frames, height=8, width=8))
    with pytest.raises(NotMeasuredError, match="hidden until it comes into sight"):
        lifetime.compare(rows_of(FrozenDynamics, card), card, 2, 2)
    with pytest.raises(NotMeasuredError, match="hidden until it comes into sight"):
        branches.grow(rows_of(FrozenDynamics, card), card, 2, 2)
