"""Budgets of training: what is summarised, and what foretells exploitation."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dfgym.errors import ConfigError, NotMeasuredError
from dfgym.evaluation import lift


def write(folder: Path, budget: int, dream: tuple[float, float], real: float) -> None:
    """Write what three seeds of a budget got: the dream's agents in both games, the real ones."""
    place = folder / str(budget)
    place.mkdir(parents=True)
    common = {"steps": budget, "episodes": 2}
    means: dict[str, Any] = {"dream": dream, "real": (real, real)}
    for seed in range(3):
        for side, (in_dream, in_real) in means.items():
            scores = {"dream": {"mean": in_dream + seed}, "real": {"mean": in_real + seed}}
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
    assert [point["mean"] for point in result["gap"]] == pytest.approx([0, 0, 5])
    assert [point["mean"] for point in result["real"]] == pytest.approx([2.5, 4, 7])
    assert result["warnings"] == pytest.approx(
        {"the return in the dream": 3**0.5 / 2, "the budget": 3**0.5 / 2}
    )
    (finding,) = lift.findings(result)
    assert finding.level == "fault" and "+5.00" in finding.words
    section = lift.section({**result, "recorded": 1200})
    assert "1,200 real frames" in section.verdict and len(section.plots) == 2
    assert section.table is not None and section.table.rows[0][0] == "200"


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
    with pytest.raises(ConfigError, match="has 1 values; expected 4"):
        lift.warning({"x": [1.0]}, gaps)
