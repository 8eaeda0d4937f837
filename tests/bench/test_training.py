"""`dfgym bench --training`: steps that are the loop's, a count that adds up, clear refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfgym import cli
from dfgym.bench import training
from dfgym.bench.shape import Shape
from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.train import loop
from dfgym.train.batches import Batches, Process
from dfgym.train.survey import survey
from dfgym.world import runtime
from dfgym.world.card import Card
from toys.world import toy_card

CPU = torch.device("cpu")
TINY = ["--frame", "8x8x3", "--dim", "16", "--depth", "1", "--heads", "2", "--window", "2"]
SMALL = toy_card(
    model=ModelConfig(dim=16, depth=1, heads=2, patch=2, window=2),
    training={"batch": 2, "length": 3, "optimizer": "adamw", "precision": "float32", "steps": 9},
)


def begin(card: Card, folder: Path, first: int = 0, **plan: Any) -> training.Steps:
    """Return training steps of a card from the step `first` on."""
    config = training.plan(card, **plan)
    stores = [training.draw(folder, card, config.length)]
    batches = Batches(config, survey(stores, config.held_out), stores, Process(0, 1))
    return training.Steps(loop.begin(config, card.game_spec, CPU), config, batches, CPU, first)


def weights(steps: training.Steps) -> torch.Tensor:
    """Return a copy of the network's weights and of their average, in one row."""
    networks = (steps.learner.network, steps.learner.average)
    return torch.cat([torch.nn.utils.parameters_to_vector(n.parameters()) for n in networks])


def test_a_shape_is_trained_without_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--batch", "2", "--length", "4", "--seconds", "0.01", "--device", "cpu"]
    assert cli.main(["bench", "--training", *TINY, *arguments, "--json", "report.json"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    report, printed = json.loads(Path("report.json").read_text()), capsys.readouterr().out
    assert (report["batch"], report["length"], report["frame"]) == (2, 4, [8, 8, 3])
    assert [stage["stage"] for stage in report["stages"]] == ["pictures", "videos"]
    assert report["precision"] in report["rates"] and "float32" in report["rates"]
    for stage in report["stages"]:
        assert stage["frames_per_second"] == pytest.approx(8 * stage["steps_per_second"])
        reached = stage["steps_per_second"] * stage["operations_per_step"]
        for kind, rate in report["rates"].items():
            assert stage[f"share_of_{kind}"] == pytest.approx(reached / rate)
        assert sum(stage["time"].values()) == pytest.approx(1)
        assert min(stage["time"].values()) > 0, "every section was entered"
        assert {"batch", "forward and losses", "backward", "gradient clip"} < {*stage["time"]}
        assert {"Muon", "AdamW", "average", "the rest"} < {*stage["time"]}
    for title in ("The machine", "Training steps, in", "Where the time goes: pictures, videos"):
        assert f"\n{title}" in printed


def test_a_plan_is_the_cards_training_unless_flags_change_it() -> None:
    plan = training.plan(SMALL)
    assert (plan.batch, plan.length, plan.optimizer, plan.precision) == (2, 3, "adamw", "float32")
    assert plan.steps == training.STAGE, "how long the world was trained does not matter"
    assert (training.plan(SMALL, 5, 7).batch, training.plan(SMALL, 5, 7).length) == (5, 7)
    bare = training.plan(dataclasses.replace(SMALL, training={}))
    assert (bare.batch, bare.length) == (32, 16)
    with pytest.raises(ConfigError, match="length is 1"):
        training.plan(SMALL, length=1)


def test_a_stage_of_pictures_comes_before_one_of_videos(tmp_path: Path) -> None:
    steps = begin(SMALL, tmp_path / "data")
    pictures, videos = (steps.batches(i * training.STAGE, CPU) for i in range(2))
    assert pictures.clean.shape[:2] == (6, 1) and videos.clean.shape[:2] == (2, 3)


def test_operations_grow_with_the_batch_and_by_the_same_for_every_block(tmp_path: Path) -> None:
    def count(depth: int = 1, batch: int = 2) -> int:
        card = dataclasses.replace(SMALL, model=dataclasses.replace(SMALL.model, depth=depth))
        folder = tmp_path / f"{depth}-{batch}"
        return training.count(begin(card, folder, training.STAGE, batch=batch))

    one, two, three = (count(depth) for depth in (1, 2, 3))
    assert 0 < two - one == three - two
    assert count(batch=4) == 2 * one


def test_counting_changes_no_weights_and_steps_do(tmp_path: Path) -> None:
    steps = begin(SMALL, tmp_path / "data", training.STAGE)
    before = weights(steps)
    training.count(steps)
    assert torch.equal(before, weights(steps))
    assert all(p.grad is None for p in steps.learner.network.parameters())
    steps()
    assert not torch.equal(before, weights(steps))


def test_clocks_do_not_change_the_steps_that_they_time(tmp_path: Path) -> None:
    one, two = (begin(SMALL, tmp_path / name, training.STAGE) for name in ("one", "two"))
    training.shares(one, 0.01)
    for _ in range(one.step - two.step):
        two()
    assert torch.equal(weights(one), weights(two))


def test_drawn_episodes_have_the_form_of_the_card(tmp_path: Path) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    data = survey([training.draw(tmp_path / "palette", SMALL, 4)], 0.05)
    assert data.palette == SMALL.frames.palette and data.actions.count == SMALL.actions.count
    assert data.rewards == SMALL.rewards.values and data.frame_shape == (8, 8, 3)
    grey = training.draw(tmp_path / "rgb", Shape(frame="8x16x3").card(), 4)
    assert grey.frame_shape == (8, 16, 3) and survey([grey], 0.05).palette == ()
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--batch", "1,2"], "with training give one number"),
        (["--batch", "0"], "batch is '0'"),
        (["--length", "1"], "length is 1; expected int >= 2"),
        (["--batch", "999999999"], "the largest batch that would fit is"),
        (["--length", "9999999"], "not even a batch of 1"),
        (["--denoising-steps", "2"], "does not sample; with training leave it out"),
        (["--seconds", "0"], "seconds is 0.0"),
        (["--device", "tpu"], "device is 'tpu'"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "--training", *TINY, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dfgym: error: ") and text in error


def test_the_largest_batch_that_fits_is_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "available_bytes", lambda _: 10**8)
    with pytest.raises(ConfigError, match="the largest batch that would fit is") as refusal:
        training.check(SMALL, training.plan(SMALL, 10**6), CPU)
    largest = int(str(refusal.value).rsplit(" ", 1)[1])
    training.check(SMALL, training.plan(SMALL, largest), CPU)
    with pytest.raises(ConfigError):
        training.check(SMALL, training.plan(SMALL, largest + 1), CPU)
