"""The whole measurement of a world."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dfgym.errors import MissingPackageError
from dfgym.evaluation.run import card_entries, evaluate
from dfgym.world.settings import Settings
from toys.html import external_requests


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
    tmp_path: Path, random_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = evaluate(random_world, tmp_path, quick=True, settings=Settings("cpu", 1))
    assert json.loads((tmp_path / "evaluation.json").read_text()) == results
    assert results["settings"]["denoising_steps"] == 1
    assert set(results["absent"]) == {"legality", "transfer", "motion"}  # frames of 8 x 8
    assert not results.keys() & results["absent"].keys()
    html = (tmp_path / "evaluation.html").read_text()
    assert not external_requests(html) and html.count("<svg") >= 6
    verdict = results["verdict"]
    assert verdict["findings"] and verdict["overall"] in html.replace("&#39;", "'")
    assert f"verdict: {verdict['overall']}" in capsys.readouterr().out
    assert card_entries(results)["verdict"] == verdict["overall"]
    assert "no judge knows the rules" in html and "A quick look" in html
    assert "a random policy" in html and "scripted" not in html
    assert (tmp_path / "dream.gif").read_bytes()[:6] == b"GIF89a"
