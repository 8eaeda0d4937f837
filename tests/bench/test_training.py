"""`dfgym bench --training`: steps that are the loop's, a count that adds up, clear refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dfgym import cli
from dfgym.bench import operations, training
from dfgym.bench.shape import Shape
from dfgym.errors import ConfigError
from dfgym.train import loop
from dfgym.train.batches import Batches, Process
from dfgym.train.survey import survey
from dfgym.world import memory
from dfgym.world.card import Card, Model
from toys.world import toy_card

CPU = torch.device("cpu")
TINY = ["--frame", "8x8x3", "--dim", "16", "--depth", "1", "--heads", "2", "--window", "2"]
JUMPING = toy_card(
    model=Model(dim=16, depth=1, heads=2, patch=2, window=2, shortcut=4),
    training={"batch": 2, "length": 3, "optimizer": "adamw", "precision": "float32", "steps": 9},
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operations.MATRIX, "cpu", 64)


def begun(card: Card, folder: Path, first: int = 0) -> training.Steps:
    config = training.plan(card)
    stores = [training.draw(folder, card, config.length)]
    batches = Batches(config, survey(stores, config.held_out), stores, Process(0, 1))
    return training.Steps(loop.begin(config, card, CPU), config, batches, CPU, first)


def test_a_shape_is_trained_without_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--batch", "2", "--length", "4", "--seconds", "0.01", "--device", "cpu"]
    assert cli.main(["bench", "--training", *TINY, *arguments, "--json", "found.json"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
    found, printed = json.loads(Path("found.json").read_text()), capsys.readouterr().out
    assert (found["batch"], found["length"], found["frame"]) == (2, 4, [8, 8, 3])
    assert [stage["stage"] for stage in found["stages"]] == ["pictures", "videos"]
    assert found["precision"] in found["rates"] and "float32" in found["rates"]
    for stage in found["stages"]:
        assert stage["frames_per_second"] == pytest.approx(8 * stage["steps_per_second"])
        reached = stage["steps_per_second"] * stage["operations_per_step"]
        for kind, rate in found["rates"].items():
            assert stage[f"share_of_{kind}"] == pytest.approx(reached / rate)
        assert sum(stage["time"].values()) == pytest.approx(1)
        assert min(stage["time"].values()) > 0, "all parts were met"
        assert {"Muon", "AdamW", "backward", "batch"} < {*stage["time"]}
    for title in ("The machine", "Training steps, in", "Where the time goes: pictures, videos"):
        assert f"\n{title}" in printed


def test_a_card_says_how_it_was_trained_and_flags_say_it_better() -> None:
    told = training.plan(JUMPING)
    assert (told.batch, told.length, told.optimizer, told.precision) == (2, 3, "adamw", "float32")
    assert told.steps == 2 * training.STAGE, "how long it was trained is of no matter"
    assert (training.plan(JUMPING, 5, 7).batch, training.plan(JUMPING, 5, 7).length) == (5, 7)
    bare = dataclasses.replace(JUMPING, training={})
    assert (training.plan(bare).batch, training.plan(bare).length) == (32, 16)
    with pytest.raises(ConfigError, match="length is 1"):
        training.plan(JUMPING, length=1)


def test_each_stage_is_the_one_that_it_is_called(tmp_path: Path) -> None:
    steps = begun(JUMPING, tmp_path / "data")
    seen = [steps.batches(i * training.STAGE, CPU) for i in range(3)]
    assert [batch.clean.shape[:2] for batch in seen] == [(6, 1), (2, 3), (2, 3)]
    assert [batch.jumping for batch in seen] == [0, 0, 1]
    found = training.measure(JUMPING, steps.config, CPU, 0.01)
    assert [stage["stage"] for stage in found["stages"]] == ["pictures", "videos", "jumps"]
    counts = [stage["operations_per_step"] for stage in found["stages"]]
    assert counts == sorted(counts) and counts[2] > counts[1], "the teacher's passes count too"


def test_operations_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    """Forward; twice that backward, but for what leads to no weight: the patches themselves."""
    card = dataclasses.replace(JUMPING, model=dataclasses.replace(JUMPING.model, shortcut=0))
    steps = begun(card, tmp_path / "data", training.STAGE)
    b, t, d, cell = 2, 3, 16, 4 * 3  # of patches of 2 x 2 in 3 colours
    copies, actions, rewards = 2 * b * t, 3, 2
    tokens = copies * 16
    embedded = 2 * tokens * cell * d
    space = 9 * d * d + d * d
    attention = 3 * d * d + d * d + 2 * (2 * t) * d
    wide = 4 * d * d
    read = d * cell + d * d
    a_frame = 64 * d + d * d + 3 * d * 2 * d + d * d + d * (rewards + 1)
    levels = 2 * copies * 64 * d
    forward = embedded + 2 * (tokens * (space + attention + wide + read) + copies * a_frame)
    assert training.count(steps) == 3 * forward - embedded - levels
    assert actions == card.actions.n


def test_counting_changes_no_weights_and_steps_do(tmp_path: Path) -> None:
    steps = begun(JUMPING, tmp_path / "data", training.STAGE)
    weights = torch.nn.utils.parameters_to_vector(steps.learner.network.parameters()).clone()
    training.count(steps)
    after = torch.nn.utils.parameters_to_vector(steps.learner.network.parameters())
    assert torch.equal(weights, after)
    steps()
    moved = torch.nn.utils.parameters_to_vector(steps.learner.network.parameters())
    assert not torch.equal(weights, moved)


def test_equal_runs_take_equal_steps(tmp_path: Path) -> None:
    """Clocks and counts around them are of no effect."""
    one, two = (begun(JUMPING, tmp_path / name, training.STAGE) for name in ("one", "two"))
    training.parts(one, 0.01)
    for _ in range(one.step - two.step):
        two()
    first, second = (steps.learner.average.state_dict() for steps in (one, two))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_drawn_episodes_are_of_the_card(tmp_path: Path) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    store = training.draw(tmp_path / "palette", JUMPING, 4)
    found = survey([store], 0.05)
    assert found.palette == JUMPING.frames.palette and found.actions == JUMPING.actions.n
    assert found.rewards == JUMPING.rewards.values and found.frame_shape == (8, 8, 3)
    grey = training.draw(tmp_path / "rgb", Shape(frame="8x16x3").card(), 4)
    assert grey.frame_shape == (8, 16, 3) and survey([grey], 0.05).palette == ()
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch", "1,2"], "with training give one number"),
        (["--batch", "0"], "batch is '0'"),
        (["--length", "1"], "length is 1; a sequence needs at least 2"),
        (["--batch", "999999999"], "the largest batch that would fit is"),
        (["--length", "9999999"], "not even a batch of 1"),
        (["--fidelity"], "one at a time"),
        (["--denoising-steps", "2"], "training does not sample; leave it out"),
        (["--seconds", "0"], "seconds is 0.0"),
        (["--device", "tpu"], "device is 'tpu'"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "--training", *TINY, *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("dfgym: error: ") and says in told


def test_a_length_is_only_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", *TINY, "--length", "4"]) == 2
    assert "only together with training" in capsys.readouterr().err


def test_the_largest_batch_that_fits_is_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda _: 10**8)
    with pytest.raises(ConfigError, match="the largest batch that would fit is") as refused:
        training.check(JUMPING, training.plan(JUMPING, 10**6), CPU)
    largest = int(str(refused.value).rsplit(" ", 1)[1])
    training.check(JUMPING, training.plan(JUMPING, largest), CPU)
    with pytest.raises(ConfigError):
        training.check(JUMPING, training.plan(JUMPING, largest + 1), CPU)
