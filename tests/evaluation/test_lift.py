"""Budgets of training: what is summarised, and what foretells exploitation."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dfgym.errors import ConfigError, NotMeasuredError
from dfgym.evaluation import lift


def write(
    folder: Path,
    budget: int,
    dream: tuple[float, float],
    real: float,
    uncertainty: float | None = None,
    seeds: int = 3,
) -> None:
    """Write what the seeds of a budget got: the dream's agents in both games, the real ones.

    Seed i gets i more in the real game, and i / 2 more than that in the dream.
    """
    place = folder / str(budget)
    place.mkdir(parents=True)
    common = {"steps": budget, "episodes": 2}
    means: dict[str, Any] = {"dream": dream, "real": (real, real)}
    for seed in range(seeds):
        for side, (in_dream, in_real) in means.items():
            scores: dict[str, Any] = {
                "dream": {"mean": in_dream + 1.5 * seed},
                "real": {"mean": in_real + seed},
            }
            if uncertainty is not None:
                scores["dream"]["uncertainty"] = uncertainty + 0.1 * seed
            result = {**common, "side": side, "seed": seed, "scores": scores}
            (place / f"{side}-{seed}.json").write_text(json.dumps(result))
    scores = {game: {"mean": 0.5} for game in ("dream", "real")}
    (place / "random.json").write_text(json.dumps({**common, "scores": scores}))


def test_exploitation_grows_with_the_budget(tmp_path: Path) -> None:
    write(tmp_path, 1000, (2.0, 2.0), 3.0)
    write(tmp_path, 200, (1.0, 1.0), 1.5)
    write(tmp_path, 5000, (9.0, 4.0), 6.0)
    (tmp_path / "notes").mkdir()
    result = lift.summary(tmp_path)
    assert result["budgets"] == [200, 1000, 5000]
    assert [point["mean"] for point in result["gap"]] == pytest.approx([0.5, 0.5, 5.5])
    assert [point["mean"] for point in result["real"]] == pytest.approx([2.5, 4, 7])
    assert result["agents"] == 9 and len(result["warnings"]) == 2
    (finding,) = lift.findings(result)
    assert finding.level == "fault" and "+5.50" in finding.words
    result["gap"][-1]["interval"] = None  # a single seed
    (finding,) = lift.findings(result)
    assert finding.level == "untested" and "too few seeds" in finding.words
    section = lift.section({**result, "recorded": 1200})
    assert "1,200 real frames" in section.verdict and len(section.plots) == 3
    assert "over 9 agents" in section.verdict and "a training of its own" in section.method
    table = section.table
    assert table is not None and table.rows[0][0] == "200"
    assert [row[4:] for row in table.rows] == [["1,200", b] for b in ("200", "1,000", "5,000")]
    unknown = lift.section({**result, "recorded": None})
    assert len(unknown.plots) == 2 and unknown.table is not None
    assert unknown.table.rows[0][4] == "unknown"


def test_every_agent_is_a_point_and_its_uncertainty_a_signal(tmp_path: Path) -> None:
    """The gaps of six agents are 0, 0.5, 1, 2, 2.5 and 3, and so are their uncertainties."""
    write(tmp_path, 100, (1.0, 1.0), 2.0, 0.1)
    write(tmp_path, 200, (2.0, 0.0), 2.0, 0.5)
    result = lift.summary(tmp_path)
    assert result["agents"] == 6
    names = list(result["warnings"])
    assert names[0] == "the uncertainty in the dream" and len(names) == 3
    assert result["warnings"][names[0]] == pytest.approx(1)
    assert result["warnings"]["the budget"] == pytest.approx((13.5 / 17.5) ** 0.5)
    assert "the uncertainty in the dream foretells that best (Spearman 1.00 over 6 agents)" in (
        lift.section({**result, "recorded": 10}).verdict
    )
    path = tmp_path / "100" / "dream-1.json"
    older = json.loads(path.read_text())
    del older["scores"]["dream"]["uncertainty"]
    path.write_text(json.dumps(older))
    assert "the uncertainty in the dream" not in lift.summary(tmp_path)["warnings"]


def test_three_agents_foretell_nothing(tmp_path: Path) -> None:
    write(tmp_path, 100, (1.0, 1.0), 2.0, 0.1)
    result = lift.summary(tmp_path)
    assert result["agents"] == 3 and result["warnings"] == {}
    assert "foretells" not in lift.section({**result, "recorded": 10}).verdict
    write(tmp_path, 200, (1.0, 1.0), 2.0, 0.1, seeds=1)
    assert lift.summary(tmp_path)["warnings"]


def test_no_agents_and_no_budget(tmp_path: Path) -> None:
    with pytest.raises(NotMeasuredError, match="no agents"):
        lift.summary(tmp_path)
    card, world = SimpleNamespace(name="my-v0", data={}), SimpleNamespace(path=tmp_path / "my-v0")
    subject: Any = SimpleNamespace(card=card, world=world, folder=tmp_path)
    with pytest.raises(NotMeasuredError) as reason:
        lift.measure(subject)
    assert f"DFGYM_WORLDS={tmp_path} python -m dfgym.evaluation.lift" in str(reason.value)
    assert f"--training.world my-v0 --out {tmp_path / 'lift'}" in str(reason.value)
    with pytest.raises(ConfigError, match="budgets"):
        lift.Config(budgets=(0,))


def test_the_signal_that_foretells_the_gap_comes_first() -> None:
    gaps = [0.0, 1.0, 2.0, 5.0]
    signals = {"return": [1.0, 3.0, 2.0, 4.0], "uncertainty": [0.1, 0.2, 0.3, 0.9]}
    result = lift.warning(signals, gaps)
    assert list(result) == ["uncertainty", "return"] and result["return"] == pytest.approx(0.8)
    assert lift.warning({"x": [1.0, 2.0, 3.0]}, gaps[:3]) == {}
    with pytest.raises(ConfigError, match="has 1 values; expected 4"):
        lift.warning({"x": [1.0]}, gaps)
