"""One recipe makes a world from nothing; stages that are done are not done again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dfgym import make_world
from dfgym.errors import ConfigError, DataError, DfgymError, WorldError
from dfgym.evaluation.run import evaluate, machine
from dfgym.evaluation.subject import Subject
from dfgym.train import launch
from dfgym.train.recipe import load_recipe
from dfgym.world import bundle
from dfgym.world.settings import Settings

RECIPE = """
[record]
env = "DFSource/MinAtar-Breakout-v0"
frames = 600
seed = 3
policies = {"scripted:0.1" = 0.8, random = 0.2}

[train]
steps = 3
image_steps = 1
batch = 2
length = 8
held_out = 0.2
strip_every = 0
checkpoint_every = 2
precision = "float32"

[train.model]
dim = 16
depth = 1
heads = 2
window = 3

[presentation]
observation_scale = 4
extra = "minatar"
keys = {a = 1, d = 2}
"""
SCORE = {"transitions": 10, "illegal_per_1000": 1.23456, "wrong_per_1000": 0.0, "sticky_share": 0.0}
REPORT = {
    "verdict": {"overall": "no fault was measured", "findings": []},
    "machine": {"cores": 2},
    "legality": {"dream": SCORE, "real": SCORE},
    "speed": {"single_steps_per_second": 123.456},
}


@pytest.mark.slow
def test_a_recipe_makes_a_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minatar")
    calls: list[Path] = []

    def measure(world: Path, out: Path, **keywords: Any) -> dict[str, Any]:
        bundle.load(world)
        calls.append(world)
        return REPORT

    monkeypatch.setattr(make_world, "evaluate", measure)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    config = make_world.Config(
        name="my-breakout-v0",
        out=tmp_path / "worlds",
        recipe=recipe,
        runs=tmp_path / "runs",
        processes=1,
        device="cpu",
    )
    world = bundle.load(make_world.make_world(config))
    assert len(calls) == 1
    assert world.card.name == "my-breakout-v0" and world.card.frames.observation_scale == 4
    assert world.card.model.dim == 16 and world.card.training["steps_done"] == 4
    assert world.card.measured["legality"]["illegal_per_1000"] == 1.235
    assert world.card.measured["verdict"] == "no fault was measured"
    assert set(world.card.measured["seconds"]) == {"record", "train", "evaluate"}
    run = tmp_path / "runs" / "my-breakout-v0"
    assert len((run / "train" / "log.jsonl").read_text().splitlines()) == 4
    settings = json.loads((run / "train" / "config.json").read_text())
    assert settings["strip_every"] == 0 and settings["checkpoint_every"] == 2
    json.loads((run / "times.json").read_text())

    with pytest.raises(WorldError, match="never change"):
        make_world.make_world(config)

    # It was stopped before it was published, and its presentation has changed since.
    shutil.rmtree(config.out)
    recipe.write_text(RECIPE.replace("observation_scale = 4", "observation_scale = 3"))
    assert bundle.load(make_world.make_world(config)).card.frames.observation_scale == 3

    # An action that the game does not have raises an error before it trains.
    shutil.rmtree(config.out)
    shutil.rmtree(run / "train")
    recipe.write_text(RECIPE.replace("d = 2", "d = 7"))
    with pytest.raises(WorldError, match=r"keys.d is 7; expected an action, 0 to 2"):
        make_world.make_world(config)
    assert not (run / "train").exists()


def test_a_card_can_hold_the_machine(tmp_path: Path, random_world: Path) -> None:
    entries = {"machine": machine(Subject(bundle.load(random_world), tmp_path, Settings("cpu")))}
    folder = make_world.publish(random_world, tmp_path / "toy-v0", entries, {})
    assert bundle.load(folder).card.measured["machine"]["torch"] == torch.__version__


def test_evaluate_makes_its_folder_before_it_measures(tmp_path: Path, random_world: Path) -> None:
    pytest.importorskip("minatar")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"`out` is .*file/x'; expected a folder"):
        evaluate(random_world, tmp_path / "file" / "x", quick=True)


def test_mistakes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name, error, message in [
        ("Bad", WorldError, "cannot be named"),
        ("unknown-game-v0", ConfigError, "recipe is 'unknown-game-v0'; allowed are"),
        ("minatar-breakout-v0", ConfigError, "processes is -1"),
    ]:
        with pytest.raises(error, match=message):
            make_world.make_world(
                make_world.Config(name=name, out=tmp_path / "w", runs=tmp_path / "r", processes=-1)
            )
    assert not list(tmp_path.iterdir())


def test_damaged_times_are_named(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    for text in ("{", "[]", '{"record": "x"}', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(DataError, match=r"times.json holds no times .*; remove it"):
            make_world._Clock(path)
    path.write_text('{"record": 3}')
    assert make_world._Clock(path).seconds == {"record": 3}


def test_children_use_the_cores_that_are_ours_and_not_the_folder_s_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "available_cores", lambda: 1)
    assert launch.count_processes(None, 16, torch.device("cpu")) == 1
    (tmp_path / "random.py").write_text("x = 1")
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    config = load_recipe(recipe).train
    with pytest.raises(DfgymError, match="training failed"):  # for want of data alone
        launch.launch(
            dataclasses.replace(config, data=(tmp_path / "none",), out=tmp_path / "run"), 1
        )
    assert "none is not a data set: no such folder" in capfd.readouterr().err
