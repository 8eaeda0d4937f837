"""Transfer, with stand-ins for training and scoring: what is done once, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dfgym.data.cluster import LOCAL
from dfgym.errors import ConfigError, WorldError
from dfgym.evaluation import transfer
from toys.cluster import ToyRay


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch, random_world: Path) -> list[str]:
    """Stands in for training and scoring; lists what was trained."""
    from dfgym.agents import evaluate as scoring
    from dfgym.agents import ppo

    trained: list[str] = []

    def train(config: ppo.Config) -> Path:
        trained.append(f"{config.env} {config.seed} {config.steps}")
        return config.out / "agent.zip"

    def score(agent: str, env: str, episodes: int, seed: int) -> SimpleNamespace:
        dream, at_home = env.startswith("DFWorld"), "dream" in agent
        mean = 1.0 if agent == "random" else 9.0 + at_home * (1 + dream)
        return SimpleNamespace(to_dict=lambda: {"mean": mean, "seed": seed})

    game = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(transfer, "RealEnv", lambda world, trust: game)
    monkeypatch.setattr(ppo, "train", train)
    monkeypatch.setattr(scoring, "evaluate", score)
    monkeypatch.setenv("DFGYM_WORLDS", str(random_world.parent))
    return trained


def test_transfer_goes_on_where_it_stopped(tmp_path: Path, agents: list[str]) -> None:
    assert transfer.summary(tmp_path) is None
    base: dict[str, Any] = {"world": "toy-random-v0", "out": tmp_path, "steps": 10, "episodes": 2}
    result = transfer.transfer(transfer.Config(**base, sides=("dream",), seeds=(0,)))
    assert agents == ["DFWorld/toy-random-v0 0 10"] and "ratio" not in result  # type: ignore[operator]
    result = transfer.transfer(transfer.Config(**base, seeds=(0, 1)))
    assert agents[1:] == [
        "DFReal/toy-random-v0 0 10",
        "DFWorld/toy-random-v0 1 10",
        "DFReal/toy-random-v0 1 10",
    ]
    assert transfer.transfer(transfer.Config(**base, seeds=(0, 1))) == result and len(agents) == 4
    scores = {"mean": 10.0, "interval": [10.0, 10.0], "per_seed": [10.0, 10.0]}
    assert result["dream"]["in_real"] == scores  # type: ignore[index]
    assert result["ratio"] == pytest.approx(10 / 9)  # type: ignore[index]
    assert result["ratio_interval"] == pytest.approx([10 / 9, 10 / 9])  # type: ignore[index]
    assert result["dream_over_real_return"] == pytest.approx(1.1)  # type: ignore[index]
    assert result["random"]["real"]["mean"] == 1.0  # type: ignore[index]


def test_transfer_on_a_cluster(tmp_path: Path, agents: list[str], ray: ToyRay) -> None:
    for name in ("", LOCAL):
        config = transfer.Config("toy-random-v0", tmp_path / name, seeds=(0, 1), steps=9, ray=name)
        assert transfer.transfer(config) is not None
    assert agents[:4] == agents[4:] and not ray.began
    with pytest.raises(ConfigError, match=r"no Ray cluster at '127\.0\.0\.1:1'"):
        transfer.transfer(transfer.Config("toy-random-v0", tmp_path / "other", ray="127.0.0.1:1"))
    assert len(agents) == 8


def test_a_real_game_that_stays_shut_is_named_before_any_dream(
    tmp_path: Path, agents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = transfer.Config("toy-random-v0", tmp_path / "out", seeds=(0,), steps=9)
    result = transfer.transfer(config)

    def refuse(world: str, trust: bool) -> None:
        assert not trust
        raise ConfigError("the game comes from a module; if you trust it, add --trust")

    monkeypatch.setattr(transfer, "RealEnv", refuse)
    assert transfer.transfer(config) == result, "nothing is left to be played"
    with pytest.raises(ConfigError, match="add --trust"):
        transfer.transfer(dataclasses.replace(config, out=tmp_path / "other"))
    assert len(agents) == 2 and not (tmp_path / "other").exists()


def test_returns_below_zero_count_from_random_play() -> None:
    losses = {("dream", "real"): [-300.0], ("real", "real"): [-200.0], ("dream", "dream"): [-260.0]}
    plain = transfer.ratios(losses)
    counted = transfer.ratios(losses, {"real": -1200.0, "dream": -1500.0})
    assert plain["ratio"] == 1.5, "it would be better than the real game's agents"
    assert counted["ratio"] == 0.9
    assert counted["dream_over_real_return"] == pytest.approx(1240 / 900)


def test_a_game_of_losses_says_what_its_shares_are_of(
    tmp_path: Path, agents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfgym.agents import evaluate as scoring

    def score(agent: str, env: str, episodes: int, seed: int) -> SimpleNamespace:
        mean = -1000.0 if agent == "random" else -250.0 if "dream" in agent else -200.0
        return SimpleNamespace(to_dict=lambda: {"mean": mean, "seed": seed})

    monkeypatch.setattr(scoring, "evaluate", score)
    few = transfer.transfer(transfer.Config("toy-random-v0", tmp_path, seeds=(0, 1), steps=9))
    assert few is not None
    (finding,) = transfer.findings(few)
    assert finding.level == "untested" and "2 of the 5 seeds" in finding.words
    result = transfer.transfer(transfer.Config("toy-random-v0", tmp_path, steps=9))
    assert result is not None and result["ratio"] == 750 / 800
    assert "gained over random play" in transfer.section(result).verdict
    assert transfer.card_entries(result)["transfer"]["counted_from"]["real"] == -1000
    (finding,) = transfer.findings(result)
    assert finding.level == "merit"


def test_an_older_result_was_made_with_the_defaults(tmp_path: Path, agents: list[str]) -> None:
    config = transfer.Config("toy-random-v0", tmp_path, seeds=(0,), steps=10)
    result = transfer.transfer(config)
    for path in tmp_path.glob("*.json"):
        table = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in table.items() if k != "gamma"}))
    assert transfer.transfer(config) == result and len(agents) == 2
    with pytest.raises(ConfigError, match=r"`gamma` is 0\.9; expected 0\.98"):
        transfer.transfer(dataclasses.replace(config, gamma=0.9))


def test_transfer_refuses_to_mix_settings(tmp_path: Path, agents: list[str]) -> None:
    transfer.transfer(transfer.Config("toy-random-v0", tmp_path, seeds=(0,), steps=10))
    with pytest.raises(ConfigError, match="`steps` is 11; expected 10"):
        transfer.transfer(transfer.Config("toy-random-v0", tmp_path, seeds=(0,), steps=11))
    with pytest.raises(ConfigError, match="steps is 0; expected int >= 1"):
        transfer.transfer(transfer.Config("toy-random-v0", tmp_path, steps=0))
    with pytest.raises(WorldError):
        transfer.transfer(transfer.Config("no-such-world-v0", tmp_path))
    assert len(agents) == 2
