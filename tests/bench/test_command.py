"""`dfgym bench`: what it prints and writes, and what it refuses before anything takes time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dfgym import cli
from dfgym.bench import command, shape
from dfgym.bench.command import Config, bench
from dfgym.bench.shape import Shape
from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.world import bundle, runtime
from dfgym.world.settings import Settings
from dfgym.world.shelf import VARIABLE
from toys.world import toy_card

TINY = ["--frame", "16x16x3", "--dim", "16", "--depth", "1", "--heads", "2", "--window", "2"]


def test_a_shape_needs_no_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "results" / "bench.json"
    flags = ["--batch", "3,1", "--seconds", "0.01", "--device", "cpu", "--json", str(out)]
    assert cli.main(["bench", *TINY, *flags]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    report, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert report["frame"] == [16, 16, 3] and report["model"]["window"] == 2
    for table in ("batches", "cached", "vector"):
        assert [row["batch"] for row in report[table]] == [1, 3]
    assert all(0 < row["outside_network"] < 1 for row in report["vector"])
    assert [row["denoising_steps"] for row in report["denoising_steps"]] == [1, 2, 4, 8]
    counts = [row["operations_per_frame"] for row in report["denoising_steps"]]
    assert counts == sorted(counts) and report["batches"][0]["operations_per_frame"] == counts[1]
    assert {"single_steps_per_second", "vector_p99_ms", "outside_network"} <= {*report["gym"]}
    assert [*report["shells"]] == ["env", "vector", "sb3"]
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


def test_a_world_is_read_from_the_shelf_and_its_flags_reach_it(
    random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(random_world.parent))
    config = Config(world=random_world.name, batch="2", seconds=0.01)
    report = bench(config, Settings("cpu", 3))
    assert report["world"] == "toy-random-v0"
    assert report["settings"] == {"device": "cpu", "denoising_steps": 3}
    (row,) = report["batches"]
    assert row["passes"] == 4


def test_every_measurement_is_compiled_where_that_is_requested(
    random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each batch anew, and in both ways that are compared; there are no kinds then."""
    compiled: list[str] = []

    def compiler(call: Any, **_: Any) -> Any:
        compiled.append(call.__qualname__)
        return call

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(runtime, "require_compiler", lambda device: None)
    monkeypatch.setattr(command, "require_compiler", lambda device: None)
    report = bench(
        Config(str(random_world), batch="2", seconds=0.01), Settings("cpu", compile=True)
    )
    assert report["settings"] == {"device": "cpu", "compile": True}
    assert [*report["time"]] == ["batch", "passes"] and report["cached"][0]["ratio"] > 0
    assert set(compiled) == {"Transformer.step", "Transformer.encode_sequence"}
    assert compiled.count("Transformer.encode_sequence") == 1 and len(compiled) > 10


def test_the_precision_reaches_both_ways_and_changes_no_count(random_world: Path) -> None:
    (plain,), (coarse,) = (
        bench(Config(str(random_world), batch="2", seconds=0.01), settings)["cached"]
        for settings in (Settings("cpu"), Settings("cpu", precision="bfloat16"))
    )
    for name in ("cached_operations", "recomputed_operations"):
        assert plain[name] == coarse[name]
    assert plain["largest_difference"] < 1e-4 < coarse["largest_difference"] < 1


def test_numbers_of_steps_that_a_context_mode_refuses_are_left_out(random_world: Path) -> None:
    config = Config(str(random_world), batch="1", seconds=0.01)
    report = bench(config, Settings("cpu", 4, "kept"))
    assert [row["denoising_steps"] for row in report["denoising_steps"]] == [4, 8]
    assert report["batches"][0]["passes"] == 4, "and no commit"


def test_a_network_without_a_window_is_not_compared(tmp_path: Path) -> None:
    card = toy_card(
        name="toy-latent-v0",
        model=ModelConfig(dim=16, depth=2, heads=1, patch=2, window=4, kind="recurrent"),
    )
    bundle.write(tmp_path / card.name, card, shape.weights(card), shape.starts(card))
    report = bench(Config(str(tmp_path / card.name), batch="1", seconds=0.01), Settings("cpu"))
    assert "cached" not in report and report["batches"][0]["operations_per_frame"] > 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere-v0"], "nowhere-v0"),
        (["Bad"], "Bad"),
        (["--frame", "64x64"], "frame is '64x64'; give height x width x 3"),
        (["--frame", "64x64x4"], "64x64x3"),
        (["--frame", "axbx3"], "64x64x3"),
        (["--frame", ""], "64x64x3"),
        (["--frame", "0x64x3"], "height is 0; expected int >= 1"),
        (["--frame", "64x9999x3"], "width is 9999; expected int <= 512"),
        (
            ["--frame", "65x64x3"],
            "model.patch is 8; expected a divisor of the frame's height and width, 65",
        ),
        (["--frame", "64x64x3", "--dim", "30"], "dim is 30; expected an even"),
        (["--frame", "64x64x3", "--window", "0"], "window is 0; expected int >= 1"),
        (["--frame", "64x64x3", "--actions", "0"], "actions is 0; expected int >= 1"),
        (["--frame", "64x64x3", "--denoising-steps", "0"], "denoising_steps is 0"),
        (["--frame", "64x64x3", "--device", "tpu"], "device is 'tpu'"),
        (["minatar-breakout-v0", "--frame", "64x64x3"], "leave one of them out"),
        (["--dim", "64"], "dim is 64 and there is no frame"),
        (["--batch", "0"], "batch is '0'; give whole numbers from 1"),
        (["--batch", "1,"], "batch is '1,'"),
        (["--batch", "-3"], "batch is '-3'"),
        (["--batch", "1,999999999"], "the largest batch that would fit is"),
        (
            ["--frame", "512x512x3", "--patch", "1", "--dim", "2048"],
            "bytes of each environment's past",
        ),
        (["--seconds", "0"], "seconds is 0.0; give a number above 0"),
        (["--seconds", "nan"], "seconds is nan"),
        (["--seconds", "inf"], "seconds is inf"),
        (["--json", "."], "is '.', a folder"),
        (["--length", "4"], "length is 4; it is allowed only together with training"),
        (["--frame", "64x64x3", "--compile"], "there is no C++ compiler; install one"),
        (["--training", "--compile"], "compile is True, and steps are timed as"),
        (["--training", "--precision", "bfloat16"], "precision is 'bfloat16', and steps are timed"),
    ],
)
def test_mistakes_are_reported_in_one_line_before_anything_is_measured(
    arguments: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_measure", lambda *_: pytest.fail("it began"))
    monkeypatch.setattr(runtime, "available_bytes", lambda device: 2**32)
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    assert cli.main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dfgym: error: ") and error.count("\n") == 1
    assert text in error
    assert not [*tmp_path.iterdir()]


def test_flags_reach_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(command, "bench", lambda *args, **kw: calls.append((args, kw)))
    assert cli.main(["bench", "a-v0", "--device", "cpu", "--context-noise", "0.0"]) == 0
    assert cli.main(["bench", "--frame", "8x8x3", "--dim", "16", "--batch", "2"]) == 0
    assert calls == [
        ((Config("a-v0"), Settings("cpu", context_noise=0.0)), {}),
        ((Config(shape=Shape("8x8x3", dim=16), batch="2"), Settings()), {}),
    ]


def test_it_refuses_a_runtime_that_it_cannot_look_into(random_world: Path) -> None:
    with pytest.raises(ConfigError, match="runtime is 'onnx', whose operations"):
        bench(Config(str(random_world)), Settings(device="cpu", runtime="onnx"))
