"""Legality of dreams whose worth is known."""

from __future__ import annotations

from dfgym.evaluation import legality
from dfgym.evaluation.rollout import Dream, Real
from dfgym.world.card import Card
from toys.breakout import FrozenDynamics, PerfectDynamics, rows_of


def test_a_perfect_dream_is_lawful_and_a_frozen_one_is_not(breakout_card: Card) -> None:
    dynamics = rows_of(PerfectDynamics, breakout_card)(8)
    perfect = legality.play_and_judge(Dream(dynamics), breakout_card, 4000)
    assert (perfect.transitions, perfect.illegal, perfect.wrong) == (4000, 0, 0)
    assert 0.02 < perfect.sticky_share < 0.07
    real = legality.play_and_judge(Real(breakout_card, 8, seed=1), breakout_card, 4000)
    assert (real.illegal, real.wrong) == (0, 0)
    game, episodes = legality.play(Real(breakout_card, 8, seed=1), breakout_card, 4000)
    result = legality.compare(game, episodes[:4], episodes)
    still = result["copy"]
    assert legality.COPIED <= still["transitions"] < 4000 and still["illegal_per_1000"] > 250
    section = legality.section(result)
    (rung,) = section.rungs
    assert (rung.figure, rung.real) == ("0.00", "0.00") and float(rung.copy) > 250
    assert section.table is not None and len(section.table.rows) == 3
    older = legality.section({name: result[name] for name in ("dream", "real")})
    assert older.rungs[0].copy == ""
    dynamics = rows_of(FrozenDynamics, breakout_card)(2)
    frozen = legality.play_and_judge(Dream(dynamics), breakout_card, 400)
    assert frozen.illegal_per_1000 > 250  # the lost ball may be under the bricks for a while
