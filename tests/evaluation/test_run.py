"""The whole measurement of a world."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dfgym import cli
from dfgym.errors import ConfigError, MissingPackageError
from dfgym.evaluation import (
    branches,
    horizon,
    payoff,
    rates,
    run,
    small_network,
    subject,
    uncertainty,
)
from dfgym.evaluation.command import Config, check_mode
from dfgym.evaluation.run import card_entries, compare_worlds, evaluate
from dfgym.world.settings import Settings
from toys.html import external_requests
from toys.world import toy_card


def test_a_missing_game_is_reported_first(
    tmp_path: Path, random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("minatar")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "minatar", None)
    with pytest.raises(MissingPackageError, match=r"dfgym\[minatar\]"):
        evaluate(random_world, tmp_path / "out", quick=True)
    assert not (tmp_path / "out").exists()


def test_an_unknown_game_is_measured_too_and_the_page_says_what_is_missing(
    tmp_path: Path,
    random_world: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module, name, value in (
        (payoff, "QUICK_STEPS", 320),
        (small_network, "LEAST_STEPS", 5),
        (small_network, "EPOCHS", 1),
        (uncertainty, "BATCH", 32),
        (subject, "QUICK", 100),
        (rates, "QUICK_COUNT", 400),
        (branches, "QUICK_COUNT", 3),
        (horizon, "QUICK_COUNT", 3),
    ):
        monkeypatch.setattr(module, name, value)
    results = evaluate(random_world, tmp_path, quick=True, settings=Settings("cpu", 1))
    assert json.loads((tmp_path / "evaluation.json").read_text()) == results
    assert results["settings"]["denoising_steps"] == 1
    missing = {"legality", "ranking", "transfer", "lift", "motion"}  # frames of 8 x 8
    assert set(results["absent"]) == missing
    assert not results.keys() & results["absent"].keys()
    html = (tmp_path / "evaluation.html").read_text()
    assert not external_requests(html) and html.count("<svg") >= 6
    verdict = results["verdict"]
    assert verdict["findings"] and verdict["overall"] in html.replace("&#39;", "'")
    assert f"verdict: {verdict['overall']}" in capsys.readouterr().out
    assert card_entries(results)["verdict"] == verdict["overall"]
    assert "no judge knows the rules" in html and "A quick look" in html
    assert html.index("real against real") < html.index("no judge knows the rules")  # the ladder
    assert "a random policy" in html and "scripted" not in html
    assert (tmp_path / "dream.gif").read_bytes()[:6] == b"GIF89a"


def test_questions_can_be_asked_alone_and_two_answers_compared(
    tmp_path: Path, random_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings("cpu", 1)
    for name in "ab":
        results = evaluate(random_world, tmp_path / name, True, settings, ["chance", "speed"])
    assert results.keys() >= {"chance", "speed"} and not results["absent"]
    assert "counterfactual" not in results and "luck" not in results["settings"]
    path = compare_worlds((tmp_path / "a", tmp_path / "b"), tmp_path)
    assert "Are its odds the game" in path.read_text()
    assert "Are its odds the game's?" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="`rungs` has 'luck'; allowed are rates, legality"):
        evaluate(random_world, tmp_path, rungs=["luck"])


def test_the_settings_name_what_bends_a_dream() -> None:
    subject = SimpleNamespace(settings=Settings(luck=0.5), card=toy_card(), seed=0, quick=True)
    settings = run._settings(subject)  # type: ignore[arg-type]
    assert (settings["luck"], settings["runtime"]) == (0.5, "torch")


def test_another_seed_plays_other_games(tmp_path: Path, random_world: Path) -> None:
    answers = []
    for seed in (0, 0, 1):
        results = evaluate(
            random_world, tmp_path, True, Settings("cpu", 1), ["drift", "next_frame"], seed=seed
        )
        assert results["settings"]["seed"] == seed
        answers.append((results["drift"], results["next_frame"]))
    assert (
        answers[0] == answers[1]
        and answers[0][0] != answers[2][0]
        and (answers[0][1] != answers[2][1])
    )


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("ranking", {"ranking/players.json": "{"}),
        ("transfer", {"transfer/random.json": "{}", "transfer/dream-0.json": "{"}),
        ("transfer", {"transfer/random.json": "{}", "transfer/dream-0.json": "{}"}),
        ("lift", {"lift/10/random.json": "[]", "lift/10/real-1.json": '{"side": "moon"}'}),
    ],
)
def test_a_damaged_result_of_agents_is_named_before_anything_takes_time(
    tmp_path: Path, random_world: Path, name: str, files: dict[str, str]
) -> None:
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError, match=rf"{name}.*\.json .*; (mend|delete) it"):
        evaluate(random_world, tmp_path, rungs=["rates", name])
    assert not (tmp_path / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"compare": (Path("a"), Path("b")), "rungs": ("luck",)}, "`rungs` is .*`compare` does"),
        ({"compare": (Path("a"), Path("b")), "peer": Path("c")}, "`peer` is 'c', and `compare`"),
        ({"peer": Path("c"), "quick": True}, "`quick` is True, and `peer` does not use it"),
        ({"peer": Path("c"), "seed": 3}, "`seed` is 3, and `peer`"),
        ({"denoising_steps_sweep": (1,), "seed": 3}, "`seed` is 3"),
        ({"seed": 10_000}, "seed"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(
    flags: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=words):
        check_mode(Config(**flags))
    check_mode(Config("a", Path("b"), peer=Path("c"), trust=True))
    check_mode(Config("a", Path("b"), True, settings=Settings("cpu"), denoising_steps_sweep=(1,)))
    assert cli.main(["evaluate", "--compare", "a", "b", "--rungs", "luck"]) == 2
    assert "error: `rungs` is ('luck',), and `compare` does not" in capsys.readouterr().err
