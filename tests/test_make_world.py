"""One recipe makes a world from nothing; stages that are done are not done again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dfgym import make_world
from dfgym.errors import ConfigError, WorldError
from dfgym.world import bundle

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
precision = "float32"

[train.model]
dim = 16
depth = 1
heads = 2
window = 3

[shown]
observation_scale = 4
extra = "minatar"
keys = {a = 1, d = 2}
"""
SCORE = {"transitions": 10, "illegal_per_1000": 1.23456, "wrong_per_1000": 0.0, "sticky_share": 0.0}
FOUND = {
    "machine": {"cores": 2},
    "legality": {"dream": SCORE, "real": SCORE},
    "speed": {"single_steps_per_second": 123.456},
    "transfer": None,
}


def test_a_recipe_makes_a_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minatar")
    asked: list[Path] = []

    def evaluate(world: Path, out: Path, **keywords: Any) -> dict[str, Any]:
        bundle.load(world)
        asked.append(world)
        return FOUND

    monkeypatch.setattr(make_world, "evaluate", evaluate)
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
    assert len(asked) == 1
    assert world.card.name == "my-breakout-v0" and world.card.frames.observation_scale == 4
    assert world.card.model.dim == 16 and world.card.training["steps_done"] == 4
    assert world.card.measured["legality"]["illegal_per_1000"] == 1.235
    assert set(world.card.measured["seconds"]) == {"record", "train", "evaluate"}
    run = tmp_path / "runs" / "my-breakout-v0"
    assert len((run / "train" / "log.jsonl").read_text().splitlines()) == 4
    json.loads((run / "times.json").read_text())

    with pytest.raises(WorldError, match="never change"):
        make_world.make_world(config)


def test_what_cannot_be_made_is_named_before_anything_is_written(tmp_path: Path) -> None:
    for name, error, message in [
        ("Bad", WorldError, "cannot be named"),
        ("unknown-game-v0", ConfigError, "no recipe for 'unknown-game-v0'"),
    ]:
        with pytest.raises(error, match=message):
            make_world.make_world(
                make_world.Config(name=name, out=tmp_path / "w", runs=tmp_path / "r")
            )
    assert not list(tmp_path.iterdir())
