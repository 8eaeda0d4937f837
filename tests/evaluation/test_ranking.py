"""Rankings of players: closed forms, the real game itself, and a dream that turns them around."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dfgym.errors import ConfigError, NotMeasuredError
from dfgym.evaluation import ranking
from dfgym.evaluation.ranking import Config, pearson, spearman, violation
from dfgym.world.card import Card
from toys.breakout import PerfectDynamics, rows_of


def players(order: int = 1, count: int = 12) -> ranking.Returns:
    """Return players whose real returns rise, and whose dreamed ones rise or fall."""
    return {
        str(i): {"dream": [order * i, order * i + 0.1], "real": [i, i + 0.2], "again": [i + 0.1]}
        for i in range(count)
    }


def test_correlations_are_those_of_their_definitions() -> None:
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 4.0, 9.0, 16.0])
    assert spearman(x, y) == pytest.approx(1) and pearson(x, y) == pytest.approx(0.9844, abs=1e-4)
    assert spearman(x, np.array([1.0, 1.0, 2.0, 2.0])) == pytest.approx(2 / 5**0.5)
    assert spearman(x, np.array([2.0, 1.0, 4.0, 3.0])) == pytest.approx(0.6)
    assert spearman(x, np.ones(4)) == 0


def test_a_violation_is_the_gap_that_is_turned_around() -> None:
    real = np.array([0.0, 1.0, 5.0])
    assert violation(real, real) == 0
    assert violation(np.array([0.0, 6.0, 5.0]), real) == pytest.approx((0 + 4 + 4) / 3)


def test_the_best_by_the_dream_may_cost_all() -> None:
    same, turned = ranking.compare(players()), ranking.compare(players(-1))
    assert same["spearman"] == pytest.approx(1) and same["regret"] == 0
    assert same["real_spearman"] == pytest.approx(1)
    assert turned["spearman"] == pytest.approx(-1) and turned["regret"] == 1
    assert turned["violation"] == pytest.approx(np.mean([11, 10, 9, 8, 7, 6] * 2) / 11)
    low, high = same["spearman_interval"]
    assert 0.99 < low <= high <= 1 + 1e-9
    assert (
        ranking.findings(same)[0].level == "merit" and ranking.findings(turned)[0].level == "fault"
    )
    lucky = ranking.compare({n: {**p, "again": [0.0]} for n, p in players().items()})
    assert ranking.findings(lucky)[0].level == "untested"
    section = ranking.section({"steps": 10, **same})
    assert section.table is not None and len(section.table.rows) == 12 and len(section.rungs) == 2


def test_fewer_players_than_a_ranking_needs_are_refused() -> None:
    with pytest.raises(ConfigError, match="has 11 players; expected at least 12"):
        ranking.compare(players(count=11))


def test_a_game_without_scripted_players_needs_agents(tmp_path: Path, breakout_card: Card) -> None:
    subject: Any = SimpleNamespace(
        card=SimpleNamespace(
            source=SimpleNamespace(env="DFTest/Nothing-v0", kwargs={}), frames=breakout_card.frames
        ),
        folder=tmp_path,
        quick=True,
    )
    with pytest.raises(NotMeasuredError, match="needs 12 players, and there are 0"):
        ranking.measure(subject)
    agents = tuple(f"sb3:ppo:{i}.zip" for i in range(12))
    config = Config(agents[:5], out=tmp_path / "ranking", episodes=2)
    ranking.score_players(config, lambda player, env: [float(len(env)), 1.0])
    path = ranking.score_players(Config(agents, out=config.out), lambda player, env: [2.0])
    assert len(json.loads(path.read_text())) == 12
    assert len(ranking.measure(subject)["players"]) == 12


def test_the_real_game_ranks_players_as_itself(breakout_card: Card) -> None:
    pytest.importorskip("minatar")
    make = rows_of(PerfectDynamics, breakout_card)
    returns = ranking.score_grid(make, breakout_card, episodes=3, steps=120)
    result = ranking.compare(returns)
    assert len(returns) == 12 and all(len(player["dream"]) == 3 for player in returns.values())
    assert result["spearman"] > 0.5 and result["regret"] < 0.5
