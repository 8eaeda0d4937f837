"""`dfgym evaluate --denoising-steps-sweep`: a judgement and a speed for each number of steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dfgym import cli
from dfgym.bench.shape import NAME, Shape, write
from dfgym.evaluation import few_steps, legality

pytest.importorskip("minatar")


def test_every_number_of_steps_is_judged(
    random_world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[tuple[int, int]] = []

    def rollout(game: Any, card: Any, transitions: int) -> legality.Legality:
        calls.append((game.num_rows, transitions))
        return legality.Legality(transitions, len(calls), 0, 0)

    monkeypatch.setattr(legality, "play_and_judge", rollout)
    monkeypatch.setattr(legality, "has_rules", lambda card: True)  # the toy is smaller
    flags = ["--denoising-steps-sweep", "1", "3", "--quick", "--out", str(tmp_path / "out")]
    (tmp_path / "file").write_text("")
    aside = [*flags[:-1], str(tmp_path / "file"), "--device", "cpu"]
    assert cli.main(["evaluate", str(random_world), *aside]) == 2 and not calls
    assert "expected a folder that can be made" in capsys.readouterr().err
    assert cli.main(["evaluate", str(random_world), *flags, "--device", "cpu"]) == 0
    assert calls == [(few_steps.ROWS, 100)] * 2
    results = json.loads((tmp_path / "out" / "few_steps.json").read_text())
    assert [row["denoising_steps"] for row in results] == [1, 3]
    assert [row["passes"] for row in results] == [2, 4]
    assert [row["illegal_per_1000"] for row in results] == [10, 20]
    assert all(row["frames_per_second"] > 0 for row in results)
    assert "illegal per 1000" in capsys.readouterr().out


def test_mistakes_are_reported_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / NAME, Shape(frame="8x8x3").card())
    sweep = ["--denoising-steps-sweep", "1", "2"]
    assert cli.main(["evaluate", f"./{NAME}", *sweep]) == 2
    assert "no judge knows the rules of DFTest/Shape-v0" in capsys.readouterr().err
    assert cli.main(["evaluate", *sweep, "--denoising-steps", "2"]) == 2
    assert "denoising_steps is 2; leave it out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
