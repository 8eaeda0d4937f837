"""`dfgym bench`: what it prints and writes, and what it refuses before anything takes time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfgym import cli
from dfgym.bench import command as bench
from dfgym.bench import operations, shape, speed
from dfgym.bench.command import Config
from dfgym.bench.shape import Shape
from dfgym.errors import ConfigError, WorldError
from dfgym.games import breakout_referee as referee
from dfgym.world import bundle, execution, memory
from dfgym.world.card import Model
from dfgym.world.shelf import VARIABLE
from toys.world import toy_card

TINY = ["--frame", "16x16x3", "--dim", "16", "--depth", "1", "--heads", "2", "--window", "2"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operations.MATRIX, "cpu", 64)


def same(*arguments: str, seconds: str = "0.01") -> list[str]:
    return ["bench", *arguments, "--seconds", seconds, "--device", "cpu"]


def test_a_shape_needs_no_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "found" / "bench.json"
    assert cli.main(same(*TINY, "--batch", "3,1", "--json", str(out))) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["found"]
    found, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert found["frame"] == [16, 16, 3] and found["model"]["window"] == 2
    assert [each["batch"] for each in found["batches"]] == [1, 3]
    assert [each["batch"] for each in found["cached"]] == [1, 3]
    assert [each["batch"] for each in found["vector"]] == [1, 3]
    assert all(0 < each["outside_network"] < 1 for each in found["vector"])
    assert [each["denoising_steps"] for each in found["denoising_steps"]] == [1, 2, 4, 8]
    counts = [each["operations_per_frame"] for each in found["denoising_steps"]]
    assert counts == sorted(counts) and found["batches"][0]["operations_per_frame"] == counts[1]
    assert {"single_steps_per_second", "vector_p99_ms", "outside_network"} <= {*found["gym"]}
    assert [*found["shells"]] == ["env", "vector", "sb3"]
    for title in (
        "As users step it",
        "gym.make_vec",
        "The machine",
        "The dynamics alone",
        "Where the time goes, batch 3, by passes",
        "Where the time goes, batch 3, by kinds",
        "Cached against the whole window again",
        "Denoising steps, batch 3",
        "What shells add",
    ):
        assert f"\n{title}" in printed
    assert str(out) in printed


def test_a_world_is_found_on_the_shelf_and_its_flags_reach_it(
    random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(random_world.parent))
    config = Config(world=random_world.name, batch="2", seconds=0.01)
    found = bench.bench(config, "cpu", denoising_steps=3)
    assert found["world"] == "toy-random-v0"
    assert found["settings"] == {"device": "cpu", "denoising_steps": 3}
    (timed,) = found["batches"]
    assert timed["passes"] == 4


def test_the_way_passes_are_run_reaches_every_measurement(
    random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled for each batch anew and for both ways that are compared; kinds are left out then."""
    compiled: list[str] = []

    def compiler(call: Any, **_: Any) -> Any:
        compiled.append(call.__qualname__)
        return call

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(execution, "_lack", lambda device: None)
    config = Config(str(random_world), batch="2", seconds=0.01, compile=True)
    found = bench.bench(config, "cpu")
    assert found["settings"] == {"device": "cpu", "compile": True}
    assert [*found["time"]] == ["batch", "passes"] and found["cached"][0]["ratio"] > 0
    assert set(compiled) == {"Transformer.step", "Transformer.see"}
    assert compiled.count("Transformer.see") == 1 and len(compiled) > 10

    plain = bench.bench(Config(str(random_world), batch="2", seconds=0.01), "cpu")
    monkeypatch.undo()
    coarse = bench.bench(
        Config(str(random_world), batch="2", seconds=0.01, precision="bfloat16"), "cpu"
    )
    assert coarse["settings"] == {"device": "cpu", "precision": "bfloat16"}
    for name in ("cached_operations", "recomputed_operations"):
        assert found["cached"][0][name] == plain["cached"][0][name] == coarse["cached"][0][name]
    assert plain["cached"][0]["largest_difference"] < 1e-4
    assert 1e-4 < coarse["cached"][0]["largest_difference"] < 1


def test_numbers_of_steps_that_a_context_mode_refuses_are_left_out(random_world: Path) -> None:
    config = Config(str(random_world), batch="1", seconds=0.01)
    found = bench.bench(config, "cpu", denoising_steps=4, context_mode="kept")
    assert [each["denoising_steps"] for each in found["denoising_steps"]] == [4, 8]
    assert found["batches"][0]["passes"] == 4, "and no commit"


def test_a_network_without_a_window_is_not_compared(tmp_path: Path) -> None:
    card = toy_card(
        name="toy-latent-v0",
        model=Model(dim=16, depth=2, heads=1, patch=2, window=4, kind="recurrent"),
    )
    bundle.write(tmp_path / card.name, card, shape.weights(card), shape.starts(card))
    config = Config(str(tmp_path / card.name), batch="1", seconds=0.01)
    found = bench.bench(config, "cpu")
    assert "cached" not in found and found["batches"][0]["operations_per_frame"] > 0


def test_the_referee_judges_where_it_is_asked_to(
    random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def rollout(game: Any, card: Any, transitions: int) -> referee.Legality:
        asked.append((game.num_rows, transitions))
        return referee.Legality(transitions, len(asked), 0, 0)

    monkeypatch.setattr(referee, "rollout", rollout)
    config = Config(str(random_world), seconds=0.01, fidelity=True, judged=50)
    world, settings = bundle.load(random_world), {"device": "cpu"}
    found = [bench._at_steps(config, settings, world, 1, n) for n in bench.DENOISING_STEPS]
    assert asked == [(bench.ROWS, 50)] * 4
    assert [each["illegal_per_1000"] for each in found] == [20, 40, 60, 80]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere-v0"], "nowhere-v0"),
        (["Bad"], "Bad"),
        (["--frame", "64x64"], "frame is '64x64'; give height x width x 3"),
        (["--frame", "64x64x4"], "64x64x3"),
        (["--frame", "axbx3"], "64x64x3"),
        (["--frame", ""], "64x64x3"),
        (["--frame", "0x64x3"], "frames.height = 0"),
        (["--frame", "64x9999x3"], "frames.width = 9999"),
        (["--frame", "65x64x3"], "model.patch = 8: must divide frames.height = 65"),
        (["--frame", "64x64x3", "--dim", "30"], "model.dim = 30"),
        (["--frame", "64x64x3", "--window", "0"], "model.window = 0"),
        (["--frame", "64x64x3", "--actions", "0"], "actions.n = 0"),
        (["--frame", "64x64x3", "--denoising-steps", "0"], "denoising_steps is 0"),
        (["--frame", "64x64x3", "--device", "tpu"], "device is 'tpu'"),
        (["--frame", "64x64x3", "--fidelity"], "leave it out"),
        (["minatar-breakout-v0", "--frame", "64x64x3"], "leave one of them out"),
        (["--dim", "64"], "dim is 64 and there is no frame"),
        (["--batch", "0"], "batch is '0'; give one or more whole numbers from 1"),
        (["--batch", "1,"], "batch is '1,'"),
        (["--batch", "-3"], "batch is '-3'"),
        (["--batch", "1,999999999"], "the largest batch that would fit is"),
        (["--frame", "512x512x3", "--patch", "1", "--dim", "2048"], "not even a batch of 1"),
        (["--seconds", "0"], "seconds is 0.0; give a number above 0"),
        (["--seconds", "nan"], "seconds is nan"),
        (["--seconds", "inf"], "seconds is inf"),
        (["--judged", "5"], "together with fidelity"),
        (["--fidelity", "--judged", "0"], "judged is 0"),
        (["--json", "."], "is a folder"),
        (["--frame", "64x64x3", "--precision", "half"], "precision is 'half'; allowed are float32"),
        (["--frame", "64x64x3", "--compile"], "there is no C++ compiler; install one"),
        (["--training", "--compile"], "compile is True and precision 'float32'; with training"),
        (["--training", "--precision", "bfloat16"], "with training leave both out"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_is_measured(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "_measure", lambda *_: pytest.fail("it began"))
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**32)
    monkeypatch.setattr(execution.shutil, "which", lambda name: None)
    assert cli.main(["bench", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("dfgym: error: ") and told.count("\n") == 1
    assert says in told
    assert not [*tmp_path.iterdir()]


def test_no_seconds_are_refused_wherever_time_is_taken(random_world: Path) -> None:
    with pytest.raises(ConfigError, match="seconds is 0"):
        speed.bench(random_world, seconds=0)
    with pytest.raises(WorldError, match="nowhere-v0"):
        speed.bench("nowhere-v0", seconds=1)


# Shapes


def test_equal_seeds_make_equal_shapes_and_leave_the_generators_alone() -> None:
    card = Shape(frame="16x16x3").card()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    one, two, other = (shape.weights(card, seed) for seed in (1, 1, 2))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_a_shape_hardly_ever_ends_and_changes_with_every_step(tmp_path: Path) -> None:
    card = Shape(frame="16x16x3", patch=4, actions=7).card()
    assert card.actions.n == 7
    shape.write(tmp_path / card.name, card)
    dynamics = operations.begin(bundle.load(tmp_path / card.name), 2, "cpu")
    seen = [dynamics.step(np.zeros(2, np.int64)) for _ in range(3)]
    assert max(step.termination_probability.max() for step in seen) < 1e-6
    assert len({step.frames[row].tobytes() for step in seen for row in range(2)}) == 6


def test_flags_reach_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(bench, "bench", lambda *args, **kw: called.append((args, kw)))
    assert cli.main(["bench", "a-v0", "--device", "cpu", "--context-noise", "0.0"]) == 0
    assert cli.main(["bench", "--frame", "8x8x3", "--dim", "16", "--batch", "2"]) == 0
    assert called == [
        ((Config("a-v0"),), {"device": "cpu", "context_noise": 0.0}),
        ((Config(shape=Shape("8x8x3", dim=16), batch="2"),), {"device": "auto"}),
    ]
