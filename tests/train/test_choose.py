"""What is chosen from the data and the time, that it is written and read back, and the command."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from dfgym import cli, frames
from dfgym.actions import discrete
from dfgym.data.chance import Chance
from dfgym.errors import ConfigError
from dfgym.model.network import build
from dfgym.train import choose as choosing
from dfgym.train import command, launch, memory
from dfgym.train.checkpoint import FILE as CHECKPOINT_FILE
from dfgym.train.checkpoint import read_checkpoint
from dfgym.train.choose import Choice, choose
from dfgym.train.config import TrainConfig
from dfgym.train.loop import train
from dfgym.train.pack import pack
from dfgym.train.recipe import load_training, write_recipe
from dfgym.train.survey import Survey
from toys import walk as toy_walk
from toys.recordings import GOOD, record

CPU = torch.device("cpu")
FACTS = dataclasses.replace(GOOD, height=10, width=10, chance=Chance(2, 0.9, 0.8, 3, 1))


def pick(
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int] = (10, 10),
    colours: int = 6,
    unit: float = 1e-6,
    minutes: float = 60.0,
    longest: int = 61,
    patch: int = 0,
    **facts: Any,
) -> Choice:
    """Choose, on a machine on which each number of a token costs some time."""

    def act(config: TrainConfig, game: Survey, *arguments: Any) -> float:
        processes = arguments[2]
        return unit * config.batch / processes * config.model.dim * config.model.depth

    monkeypatch.setattr(choosing, "measure_step", act)
    monkeypatch.setattr(choosing, "available_bytes", lambda device: 8 * 2**30)
    monkeypatch.setattr(choosing, "longest_episode", lambda stores, held_out: longest)
    palette = tuple((n, n, n) for n in range(colours))
    game = Survey((*size, 3), discrete(2), palette, (0.0, 1.0))
    config = TrainConfig(data=(Path("data"),), out=Path("run"), minutes=minutes)
    choice = choose(config, dataclasses.replace(FACTS, **facts), game, [], CPU, 2, patch)
    build(choice.config.model, game.game_spec)  # the network can be built
    return choice


@pytest.mark.parametrize(
    ("size", "patch"),
    [((10, 10), 2), ((12, 12), 2), ((16, 16), 2), ((28, 28), 4), ((35, 35), 5), ((64, 64), 16),
     ((84, 84), 12), ((96, 96), 16), ((4, 4), 2), ((60, 40), 20)],
)  # fmt: skip
def test_a_frame_is_cut_into_few_patches(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], patch: int
) -> None:
    config = pick(monkeypatch, size).config
    assert config.model.patch == patch
    assert size[0] * size[1] // patch**2 <= frames.MAX_TOKENS
    assert (config.model.kind == "multiscale") == (max(size) > 35)


def test_a_frame_that_cannot_be_cut_is_refused_with_a_size_that_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match=r"37 x 53 .* --resize 32 48"):
        pick(monkeypatch, (37, 53))
    with pytest.raises(ConfigError, match=r"--model\.patch 2$"):
        pick(monkeypatch, (38, 54))
    for size, patch in (((13, 17), 1), ((22, 34), 2)):
        assert pick(monkeypatch, size, patch=patch).config.model.patch == patch, "it was asked for"
    with pytest.raises(ConfigError, match=r"patch is 5; expected a divisor .* 37 and 53"):
        pick(monkeypatch, (37, 53), patch=5)


def test_the_nearest_size_can_be_cut() -> None:
    assert frames.nearest_size(37, 53) == (32, 48) and frames.nearest_size(48, 88) == (48, 84)
    for size in ((10, 10), (64, 64), (12, 16), (64, 96)):
        assert frames.nearest_size(*size) == size
    for size in itertools.product(range(8, 129, 5), range(8, 513, 7)):
        nearest = frames.nearest_size(*size)
        assert frames.patches(*nearest)
        assert nearest[1] <= size[1] and nearest[0] <= max(size[0], 32)


def test_outcomes_follow_from_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    def mixture(outcomes: int | None, colours: int = 5, **more: Any) -> int:
        chance = Chance(2, 0.9, 0.8, outcomes, 1) if outcomes else Chance()
        return pick(monkeypatch, colours=colours, chance=chance, **more).config.model.mixture

    assert [mixture(n) for n in (None, 1, 2, 8, 9, 24, 900)] == [8, 1, 8, 8, 16, 32, 32]
    assert mixture(9, colours=0) == 1, "RGB has no joint outcomes"
    for colours in (5, 15, 40):
        assert mixture(900, colours, size=(64, 64)) * colours * 64**2 <= choosing.MAX_OUTPUTS
    rare = Chance(2, 0.1, 1.0, 1, 1)
    assert pick(monkeypatch, chance=rare).config.model.mixture == 8, "little came again"


def test_denoising_follows_from_codec_chance_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(colours: int, agreement: float | None, outcomes: int = 3, minutes: float = 60) -> int:
        chance = Chance(1, 0.9, agreement, outcomes, 1) if agreement else Chance()
        config = pick(monkeypatch, colours=colours, chance=chance, minutes=minutes).config
        one = config.sampler.denoising_steps == 1
        # Levels are learned where the sampler goes.
        assert (config.noise_share >= 0.5, config.stop_share >= 0.5) == (one, not one)
        return config.sampler.denoising_steps

    assert steps(6, 0.5) == steps(6, 1.0) == steps(0, 1.0) == steps(6, 1.0, minutes=0.1) == 1
    for several in (steps(6, 0.5, 9), steps(6, None), steps(6, 0.5, minutes=0.1)):
        assert several > 1
    assert steps(0, 0.9) == steps(0, None) == choosing.SEVERAL


def test_large_frames_take_few_steps_small_batches_and_no_stage_of_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = Chance(1, 0.9, 0.5, 3, 1)
    large, small = (pick(monkeypatch, size, chance=chance).config for size in ((64, 64), (10, 10)))
    assert large.model.kind == "multiscale" and large.model.fine_patch == 2
    assert (large.model.mixture, large.image_steps) == (1, 0)
    assert 1 < large.sampler.denoising_steps < choosing.SEVERAL
    assert 1 < large.batch < small.batch
    unknown = [pick(monkeypatch, size, chance=Chance()).config for size in ((64, 64), (10, 10))]
    assert [c.model.window for c in unknown] == [18, 8]


def test_the_window_covers_what_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for past in (1, 2, 4, 8, 16):
        config = pick(monkeypatch, chance=Chance(16, 0.9, 0.9, 3, past)).config
        assert config.model.window >= max(6, past) and config.length > config.model.window
        assert config.past == (past if past >= choosing.CLOCKS else 1)
        assert config.length - config.past >= 10, "so many frames of a cut sequence count"


def test_size_follows_from_time_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = [pick(monkeypatch, minutes=m) for m in (0.02, 0.5, 2, 8, 60, 10_000)]
    costs = [c.config.model.dim * c.config.model.depth * c.config.batch for c in choices]
    assert costs == sorted(costs) and costs[0] < costs[2] < costs[-1]
    fast, slow = (pick(monkeypatch, unit=unit, minutes=20).config for unit in (1e-7, 1e-4))
    assert fast.model.dim > slow.model.dim
    for choice in choices[1:]:
        steps = choice.config.seconds / choice.step_seconds
        assert choice.config.image_steps == min(500, round(steps) // 50)
        assert choice.config.checkpoint_every * choice.step_seconds <= 61
        assert choice.config.strip_every * choice.step_seconds <= 30


def test_a_batch_fits_into_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    game = Survey((64, 64, 3), discrete(2), (), (0.0,))
    config = pick(monkeypatch, (64, 64), colours=0).config
    row = memory.row_bytes(config, game.game_spec)
    fixed = memory.fixed_bytes(config, game.game_spec)
    monkeypatch.setattr(choosing, "available_bytes", lambda device: (2 * fixed + 5 * row) / 0.7)
    choice = Choice(dataclasses.replace(config, batch=16))
    choosing._fit_memory(choice, game, CPU, 2)  # each process has weights of its own
    assert choice.config.batch == 4 and "GiB" in choice.memory


def test_a_batch_that_does_not_fit_is_refused_with_the_largest_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    game = Survey((64, 64, 3), discrete(2), (), (0.0,)).game_spec
    config = pick(monkeypatch, (64, 64), colours=0).config
    row, fixed = memory.row_bytes(config, game), memory.fixed_bytes(config, game)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2 * fixed + 15 * row)
    for device, processes, largest in ((CPU, 2, 14), (torch.device("cuda"), 2, 30), (CPU, 1, 15)):
        fitting = dataclasses.replace(config, batch=largest)
        memory.check_memory(fitting, game, device, processes)
        greedy = dataclasses.replace(config, batch=100 * processes)
        with pytest.raises(ConfigError, match=f"batch is .* largest batch that fits is {largest}$"):
            memory.check_memory(greedy, game, device, processes)
    monkeypatch.setattr(memory, "available_bytes", lambda device: fixed)
    with pytest.raises(ConfigError, match="not even a sequence"):
        memory.check_memory(config, game, CPU, 1)


def test_a_sequence_is_no_longer_than_the_longest_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    for longest in (2, 3, 5, 7, 12):
        choice = pick(monkeypatch, longest=longest)
        assert choice.config.length == longest > choice.config.model.window
        assert f"{longest} frames" in choice.reasons["length"]
        clock = pick(monkeypatch, longest=longest, chance=Chance(16, 0.9, 0.9, 3, 16)).config
        assert 1 <= clock.past <= max(1, longest // 2) and clock.length == longest
    assert pick(monkeypatch, longest=16).config == pick(monkeypatch).config


def test_reasons_say_what_is_the_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No dial has the words of another, one outcome is not several, and intervals are the real."""
    chance = Chance(2, 0.1, 1.0, 1, 1)
    choice = pick(monkeypatch, chance=chance, minutes=0.1)
    game = Survey((10, 10, 3), discrete(2), ((0, 0, 0), (1, 1, 1)), (0.0,))
    text, file = choosing.describe(choice, game), tmp_path / "recipe.toml"
    write_recipe(file, choice.config, reasons=choice.reasons)
    assert " none" not in text and 'memory = "none"\n' in file.read_text()
    assert "memory of a step  " in text and "1 outcomes" not in text and "one outcome" in text
    seconds = choice.config.checkpoint_every * choice.step_seconds
    assert choice.reasons["checkpoint_every"] == f"every {seconds:.2g} s" and seconds < 2


def test_every_dial_has_a_reason_and_the_recipe_is_read_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    choice = pick(monkeypatch)
    text = choosing.describe(
        choice, Survey((10, 10, 3), discrete(2), ((0, 0, 0), (1, 1, 1)), (0.0,))
    )
    file = tmp_path / "recipe.toml"
    write_recipe(file, choice.config, reasons=choice.reasons)
    for name in ("patch", "window", "mixture", "batch", "length", "denoising_steps", "dim"):
        assert f"\n  {name} " in text and choice.reasons[name] in text
        assert f"# {choice.reasons[name]}" in file.read_text()
    bare = TrainConfig(data=choice.config.data, out=choice.config.out)
    assert load_training(file, bare) == choice.config
    longer = load_training(file, dataclasses.replace(bare, minutes=90.0))
    assert longer == dataclasses.replace(choice.config, minutes=90.0)
    stepped = load_training(file, dataclasses.replace(bare, steps=5))
    assert (stepped.steps, stepped.minutes) == (5, 0)
    file.write_text("[train]\nlenght = 3")
    with pytest.raises(ConfigError, match=r"recipe.toml: unknown key 'train.lenght'"):
        load_training(file, bare)
    for text in ("[train]\n[train_model]\ndim = 32", "[record]\nenv = 'toys/Catch-v0'", ""):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"recipe.toml: its tables are .*; expected train"):
            load_training(file, bare)


def test_the_command_chooses_says_trains_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy_walk.record(tmp_path / "walk", episodes=60)
    run = tmp_path / "run"
    command = ["train", "--data", str(data), "--out", str(run), "--device", "cpu"]
    command += ["--processes", "1"]
    assert cli.main([*command, "--minutes", "0.02", "--length", "9"]) == 0
    printed = capsys.readouterr().out
    assert "2: learned as a palette" in printed and "plan: 0.02 minutes" in printed
    assert "as it was asked for" in printed
    step = read_checkpoint(run).step
    assert step >= 1 and list((run / "strips").glob("*.png"))
    assert cli.main(command) == 0, "the time is over"
    assert read_checkpoint(run).step == step
    assert cli.main([*command, "--minutes", "0.05"]) == 0
    assert read_checkpoint(run).step > step
    assert "plan" not in capsys.readouterr().out, "it is the run's, and is not made anew"
    assert cli.main([*command, "--seed", "1"]) == 2
    assert "trained with seed = 0, now 1" in capsys.readouterr().err
    (run / "recipe.toml").unlink()  # as a run of the Python function has none
    assert cli.main(command) == 0


def train_by_flags(data: Path, run: Path, *flags: str) -> int:
    command = ["train", "--data", str(data), "--out", str(run), "--device", "cpu"]
    return cli.main([*command, *flags])


def test_under_torchrun_a_recipe_counts_and_the_processes_are_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[TrainConfig] = []
    monkeypatch.setattr(command.loop, "train", runs.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    recipe, data = tmp_path / "recipe.toml", tmp_path / "walk"
    written = toy_walk.tiny(data, tmp_path / "run", steps=7)
    write_recipe(recipe, written)
    flags = ("--recipe", str(recipe), "--seed", "3")
    assert train_by_flags(data, tmp_path / "run", *flags) == 0
    assert runs == [dataclasses.replace(written, seed=3, device="cpu")]
    assert train_by_flags(data, tmp_path / "run", *flags, "--processes", "2") == 2
    assert "processes is 2; torchrun has started them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--optimizer", "adamw", "--muon-rate", "0.5"), "muon_rate is 0.5 and optimizer 'adamw'"),
        (("--model.patch", "4"), "patch is 4; expected a divisor .* 6 and 6"),
        (("--length", "6", "--model.window", "6"), "length is 6 and model.window 6; expected"),
        (("--length", "9", "--past", "9"), "length is 9 and past 9; expected a length above it"),
        (("--length", "30"), "length is 30, and no episode in .* longest has 16 frames"),
        (("--batch", "100000000"), r"batch is 100000000 .* largest batch that fits is \d+"),
    ],
)
def test_a_wrong_dial_is_refused_in_one_line_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    data, run = toy_walk.record(tmp_path / "walk", episodes=60), tmp_path / "run"
    both = ("--minutes", "0.02", "--processes", "2")
    assert train_by_flags(data, run, *both, *flags) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1
    assert not run.exists()
    recipe = tmp_path / "recipe.toml"
    write_recipe(recipe, toy_walk.tiny(data, tmp_path, steps=0))
    assert train_by_flags(data, run, *both, "--recipe", str(recipe), *flags) == 2
    assert re.search(message, capsys.readouterr().err) and not run.exists()


def test_a_wrong_dial_of_a_world_to_begin_with_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = toy_walk.record(tmp_path / "walk", episodes=60), tmp_path / "run"
    world = pack(train(toy_walk.tiny(data, tmp_path / "first")), tmp_path / "toy-v0", "toy-v0")
    capsys.readouterr()
    flags = ("--minutes", "0.02", "--processes", "2", "--model.depth", "2")
    assert train_by_flags(data, run, "--from-world", str(world), *flags) == 2
    error = capsys.readouterr().err
    assert "leave the model out" in error and error.count("\n") == 1 and not run.exists()


def test_a_run_with_other_settings_is_refused_before_processes_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = toy_walk.record(tmp_path / "walk", episodes=60), tmp_path / "run"
    train(toy_walk.tiny(data, run))
    capsys.readouterr()
    assert train_by_flags(data, run, "--processes", "2", "--seed", "1") == 2
    error = capsys.readouterr().err
    assert "trained with seed = 0, now 1" in error and error.count("\n") == 1
    other = toy_walk.record(tmp_path / "other", episodes=60, seed=1)
    assert train_by_flags(other, run, "--processes", "2") == 2
    assert "was trained on other data" in capsys.readouterr().err


def test_a_plan_is_measured_as_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(config: TrainConfig, *_: Any) -> float:
        return 1e-3 * config.batch * config.length

    monkeypatch.setattr(choosing, "measure_step", act)
    monkeypatch.setattr(command, "launch", lambda config, count: None)
    data, run = toy_walk.record(tmp_path / "walk", episodes=60), tmp_path / "run"
    flags = ("--minutes", "1", "--processes", "2", "--batch", "500", "--image-steps", "3")
    assert train_by_flags(data, run, *flags) == 0
    plan = capsys.readouterr().out
    assert "(1,000 frames a second, measured)" in plan
    assert re.search(r"batch +500 +as it was asked for", plan)
    config = load_training(run / "recipe.toml", TrainConfig(data=(data,), out=run))
    assert (config.batch, config.image_steps, config.strip_every) == (500, 3, 2)


@pytest.mark.usefixtures("counter_ids")
def test_a_patch_that_is_asked_for_is_taken_where_none_is_advised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "measure_step", lambda *_: 0.1)
    monkeypatch.setattr(command, "launch", lambda config, count: None)
    data, run = tmp_path / "data", tmp_path / "run"
    record("DFTest/Counter-v0", data, 60, env_kwargs={"size": (22, 34)})
    flags = ("--minutes", "1", "--processes", "2")
    assert train_by_flags(data, run, *flags) == 2
    assert "learn slowly with --model.patch 2" in capsys.readouterr().err
    for patch in (2, 1):  # 2 is what `TrainConfig` has
        assert train_by_flags(data, tmp_path / str(patch), *flags, "--model.patch", str(patch)) == 0
        words = f"{22 * 34 // patch**2} tokens a frame, as it was asked for"
        assert words in capsys.readouterr().out


def test_several_processes_are_stopped_with_the_one_that_started_them(tmp_path: Path) -> None:
    """SIGTERM to the parent: the children save the run and end; none is left."""
    data, recipe = toy_walk.record(tmp_path / "walk", episodes=60), tmp_path / "recipe.toml"
    write_recipe(recipe, toy_walk.tiny(data, tmp_path, steps=10_000, checkpoint_every=2))
    for number in (signal.SIGTERM, signal.SIGKILL):
        run = tmp_path / str(number.value)
        command = [sys.executable, "-m", "dfgym.cli", "train", "--data", str(data)]
        command += ["--out", str(run), "--recipe", str(recipe), "--device", "cpu"]
        command += ["--processes", "2"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while not (run / CHECKPOINT_FILE).is_file():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        children = _children(process.pid)
        assert len(children) == 2
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == (143 if number == signal.SIGTERM else -9)
        assert b"Traceback" not in errors
        while any(os.path.exists(f"/proc/{child}") for child in children):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert read_checkpoint(run).step > 0


def _children(parent: int) -> list[int]:
    return [child.pid for child in psutil.Process(parent).children()]


def test_processes_divide_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "available_cores", lambda: 6)
    assert [launch.count_processes(None, batch, CPU) for batch in (16, 6, 7, 1)] == [4, 6, 1, 1]
    assert launch.count_processes(8, 16, CPU) == 8
    for wrong in (-1, 0, 3, 32):
        with pytest.raises(ConfigError, match=rf"processes is {wrong}; .* batch of 16"):
            launch.count_processes(wrong, 16, CPU)
