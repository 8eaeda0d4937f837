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
from dfgym.evaluation.correlation import half_swap, interval, pearson, spearman
from dfgym.evaluation.ranking import Config, violation
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
    assert ranking.card_entries(same)["ranking"]["real_spearman"] == pytest.approx(1)
    section = ranking.section({"steps": 10, **same})
    assert section.table is not None and len(section.table.rows) == 12 and len(section.rungs) == 2
    assert [rung.copy for rung in section.rungs] == ["0.00", "50.0 %"]
    assert section.method.startswith("2 episodes of each player")


def test_what_the_game_cannot_rank_is_neither_praised_nor_on_the_card() -> None:
    lucky = ranking.compare({n: {**p, "again": [0.0]} for n, p in players().items()})
    assert ranking.findings(lucky)[0].level == "untested"
    assert ranking.card_entries(lucky) == {}
    once = ranking.compare({n: {g: p[g] for g in ("dream", "real")} for n, p in players().items()})
    assert once["real_spearman"] is None and "real_spearman" not in ranking.card_entries(once)


def test_an_interval_holds_its_own_correlation() -> None:
    """The one that was printed before, 0.811 to 0.986, did not hold its estimate of 0.988."""
    random = np.random.default_rng(0)
    for noise in (0.0, 0.3, 1.0, 3.0):
        games = {g: np.arange(12) + noise * random.normal(size=(6, 12)) for g in ("dream", "real")}
        returns = {str(i): {g: games[g][:, i].tolist() for g in games} for i in range(12)}
        result = ranking.compare(returns)
        for name in ("spearman", "pearson"):
            low, high = result[f"{name}_interval"]
            assert -1 <= low <= result[name] <= high <= 1
    assert interval(1.0, np.ones(9), 1 - half_swap(12)) == (1, 1)
    spread = np.tanh(np.arctanh(0.5) + np.array([-0.1, 0.1]))
    expected = np.tanh(np.arctanh(0.5) + np.array([-0.196, 0.196]))
    assert interval(0.5, spread, 0.999) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("order", "noise"),
    [
        ((4, 0, 2, 8, 1, 3, 11, 5, 6, 10, 7, 9), 0.7),
        ((3, 1, 2, 0, 4, 8, 6, 7, 5, 9, 10, 11), 0.5),
    ],
)
def test_an_interval_covers_the_correlation_of_true_means(
    order: tuple[int, ...], noise: float
) -> None:
    """1 - 6 sum(d^2) / (n (n^2 - 1)), of ranks that differ by d (Spearman 1904)."""
    ranks, sizes = np.arange(12), (100, 12, 12)
    truth = 1 - 6 * ((np.array(order) - ranks) ** 2).sum() / (12 * 143)
    random = np.random.default_rng(3)
    spread = noise * 12**0.5  # of an episode; `noise` is that of a mean
    dreams, reals = (mean + spread * random.normal(size=sizes) for mean in (order, ranks))
    results = [
        ranking.compare({str(i): {"dream": dream[:, i].tolist(), "real": real[:, i].tolist()}
                         for i in range(12)})
        for dream, real in zip(dreams, reals, strict=True)
    ]  # fmt: skip
    low, high = np.array([result["spearman_interval"] for result in results]).T
    assert ((low <= truth) & (truth <= high)).mean() >= 0.9
    assert (high - low).mean() < 0.35


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
    ranking.score_players(config, lambda player, env, seed: [float(len(env)), 1.0])
    path = ranking.score_players(
        Config(agents, out=config.out),
        lambda player, env, seed: [seed + agents.index(player) + 0.5 * env.startswith("DFWorld")],
    )
    returns = json.loads(path.read_text())
    assert len(returns) == 12 and returns[agents[1]] == {
        "dream": [10_001.5], "real": [10_001.0], "again": [20_001.0]
    }  # fmt: skip
    result = ranking.measure(subject)
    assert len(result["players"]) == 12 and result["real_spearman"] == pytest.approx(1)
    path.write_text(json.dumps({**returns, agents[3]: {"dream": [1.0]}}))
    with pytest.raises(ConfigError, match=r"players.json: player 'sb3:ppo:3.zip' lacks .* `real`"):
        ranking.measure(subject)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ("[1]", "holds no table of players"),
        ('{"a": 3}', "player 'a' has no table"),
        ('{"a": {"dream": [1]}}', "player 'a' lacks the returns `real`"),
        ('{"a": {"dream": [1], "real": []}}', "`real` of player 'a' must be a list of numbers"),
        ('{"a": {"dream": [1], "real": [1], "again": ["x"]}}', "`again` of player 'a' must be"),
        ('{"a": {"dream": [NaN], "real": [1]}}', "`dream` of player 'a' must be"),
    ],
)
def test_a_damaged_file_of_players_says_what_is_missing(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "players.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        ranking.score_players(Config(("b",), out=tmp_path), lambda *_: [1.0])
    assert str(error.value).startswith(f"{path}") and reason in str(error.value)
    assert f"dfgym.evaluation.ranking --players ... --out {tmp_path}" in str(error.value)
    assert path.read_text() == text


def test_a_slow_game_is_played_for_one_round(
    monkeypatch: pytest.MonkeyPatch, breakout_card: Card
) -> None:
    monkeypatch.setattr(ranking, "ROUND", 1)
    monkeypatch.setattr(ranking, "play_once", lambda game, policies, steps: np.ones(12))
    make: Any = lambda rows: None  # noqa: E731
    monkeypatch.setattr(ranking, "Dream", lambda dynamics, seed: None)
    assert len(ranking.score_grid(make, breakout_card, 5)["scripted:0"]["dream"]) == 5
    monkeypatch.setattr(ranking, "SECONDS", 0.0)
    assert len(ranking.score_grid(make, breakout_card, 5)["scripted:0"]["again"]) == 1


def test_the_real_game_ranks_players_as_itself(breakout_card: Card) -> None:
    pytest.importorskip("minatar")
    make = rows_of(PerfectDynamics, breakout_card)
    returns = ranking.score_grid(make, breakout_card, episodes=3, steps=120)
    result = ranking.compare(returns)
    assert len(returns) == 12 and all(len(player["dream"]) == 3 for player in returns.values())
    assert result["spearman"] > 0.5 and result["regret"] < 0.5
