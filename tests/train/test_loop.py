"""Training learns, resumes bit for bit, shares its work, and packs into a world that obeys."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError, DeviceError, MissingPackageError, WorldError
from dfgym.train import loop, recipe
from dfgym.train.batches import Batches, Process
from dfgym.train.checkpoint import FILE, read_checkpoint
from dfgym.train.config import from_table, to_table
from dfgym.train.loop import train
from dfgym.train.loss import diffusion_forcing
from dfgym.train.observe import LOG_FILE
from dfgym.train.pack import Presentation, pack
from dfgym.train.survey import survey
from dfgym.world import bundle
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from toys import ranks
from toys import walk as toy_walk
from toys.walk import tiny


@pytest.fixture(scope="session")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_walk.record(tmp_path_factory.mktemp("data") / "walk")


@pytest.fixture(scope="session")
def trained(walks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of some seconds that has learned the toy."""
    run = tmp_path_factory.mktemp("run")
    return train(
        tiny(
            walks,
            run,
            steps=190,
            image_steps=10,
            batch=16,
            learning_rate=2e-2,
            muon_rate=6e-2,
            strip_every=200,
            checkpoint_every=100,
        )
    )


def test_actions_are_dropped_where_a_world_is_to_be_guided(walks: Path, tmp_path: Path) -> None:
    stores = [EpisodeStore.open(walks)]
    plain, dropped = (
        Batches(
            tiny(walks, tmp_path, image_steps=1, batch=64, action_dropout=share),
            survey(stores, 0.05),
            stores,
            Process(0, 1),
        )
        for share in (0.0, 0.25)
    )
    none, cpu = plain.windows.action_space.none, torch.device("cpu")
    whole, batch, again = plain(3, cpu), dropped(3, cpu), dropped(3, cpu)
    assert torch.equal(batch.actions, again.actions) and torch.equal(batch.clean, whole.clean)
    kept = batch.actions == whole.actions
    assert (batch.actions[~kept] == none).all() and torch.equal(batch.valid, whole.valid)
    assert abs((~kept).sum() / (whole.actions != none).sum() - 0.25) < 0.08
    assert not torch.equal(dropped(4, cpu).actions == none, batch.actions == none)


@pytest.mark.slow
def test_it_learns_the_toy_and_the_world_obeys(trained: Path, tmp_path: Path) -> None:
    log = [json.loads(line) for line in (trained / LOG_FILE).read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(200))
    assert log[-1]["frame"] < 0.25 * log[5]["frame"]
    assert len(list((trained / "strips").glob("*.png"))) == 1

    world = bundle.load(pack(trained, tmp_path / "toy-walk-v0", "toy-walk-v0"))
    assert world.card.frames.palette == (toy_walk.GROUND, toy_walk.DOT)
    assert world.card.rewards.values == (0.0, 1.0)
    rows = np.arange(16)
    dream = Dynamics(world, 16, Settings("cpu"))
    begin = toy_walk.draw(1)[None]
    dream.reset(rows, rows, [(begin, np.zeros(0, np.int64))] * 16)
    right = np.zeros(16, bool)
    for place in (2, 3, 4):
        transition = dream.step(np.ones(16, np.int64))
        right = (transition.frames == toy_walk.draw(place)).all((1, 2, 3))
        assert right.mean() > 0.8 and transition.terminated.mean() < 0.3
    transition = dream.step(np.ones(16, np.int64))
    assert transition.rewards[right].mean() > 0.7 and transition.terminated[right].mean() > 0.7
    dream.reset(rows, rows, [(begin, np.zeros(0, np.int64))] * 16)
    transition = dream.step(np.zeros(16, np.int64))
    assert (transition.frames == toy_walk.draw(0)).all((1, 2, 3)).mean() > 0.8


def test_a_stopped_run_goes_on_bit_for_bit(
    walks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny(walks, tmp_path / "whole")
    train(whole)

    class Stop(Exception):
        pass

    stopped = dataclasses.replace(whole, out=tmp_path / "stopped")
    calls = iter(range(100))
    real = loop.set_rates

    def stop(*arguments: object) -> float:
        if next(calls) == 7:  # two steps after the checkpoint
            raise Stop
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "set_rates", stop)
    with pytest.raises(Stop):
        train(stopped)
    monkeypatch.undo()
    assert read_checkpoint(stopped.out)[1] == 5
    torch.rand(3)  # what others do to the global generator must not matter
    train(stopped)
    assert (whole.out / LOG_FILE).read_bytes() == (stopped.out / LOG_FILE).read_bytes()
    first, second = (read_checkpoint(c.out)[0] for c in (whole, stopped))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_leaves_global_generators_alone(walks: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # type: ignore[index]
    train(tiny(walks, tmp_path, steps=1, image_steps=1))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # type: ignore[index]


def test_any_number_of_processes_learns_the_same(walks: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "two", steps=5, image_steps=1)
    for process in ranks.train(config):
        assert not process.returncode, process.stderr
    tensors, step, *_ = read_checkpoint(config.out)
    assert step == 6
    assert all(value.isfinite().all() for value in tensors.values())
    train(dataclasses.replace(config, out=tmp_path / "one"))
    two, one = (
        [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
        for run in (config.out, tmp_path / "one")
    )
    assert len(two) == len(one) == 6
    for ours, theirs in zip(two, one, strict=True):
        for loss in ("frame", "reward", "termination", "gradient"):
            assert ours[loss] == pytest.approx(theirs[loss], rel=1e-3), (ours["step"], loss)


def test_settings_survive_and_disagreement_is_named(walks: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run", steps=1, image_steps=0)
    assert from_table(to_table(config), config.out) == config
    train(config)
    with pytest.raises(ConfigError, match=r"trained with seed = 0, now 1"):
        train(dataclasses.replace(config, seed=1))


def test_a_damaged_checkpoint_is_named(walks: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run", steps=1, image_steps=0)
    train(config)
    path = config.out / FILE
    data = path.read_bytes()
    for damaged in (b"", data[:100], data[:-1], b"\xff" * 64 + data[64:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="not a whole checkpoint"):
            train(config)
    path.unlink()
    with pytest.raises(DataError, match="train first"):
        pack(config.out, tmp_path / "toy-v0", "toy-v0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": ()}, "data is empty"),
        ({"steps": -1}, "steps is -1"),
        ({"minutes": 1.0}, "steps is 8 and minutes is 1; give one of them"),
        ({"length": 1}, "length is 1"),
        ({"held_out": 0.0}, "held_out is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; expected float"),
        ({"image_steps": -1}, "image_steps is -1; expected int >= 0"),
        ({"warmup": 1.1}, "warmup is 1.1; expected float <= 1.0"),
        ({"strip_every": -1}, "strip_every is -1"),
        ({"seed": -1}, "seed is -1; expected int >= 0"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"ema": 1.0}, "ema is 1.0; expected float < 1.0"),
        ({"cooldown": 1.5}, "cooldown is 1.5; expected float <= 1.0"),
        ({"noise_share": 1.5}, "noise_share is 1.5; expected float <= 1.0"),
        ({"clean_share": -0.1}, "clean_share is -0.1; expected float >= 0.0"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'"),
        ({"precision": "float8"}, "precision is 'float8'"),
    ],
)
def test_wrong_settings_are_named(
    walks: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(walks, tmp_path, **change)


def test_what_the_machine_or_the_data_lack_is_named(
    walks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="no such folder"):
        train(tiny(tmp_path / "nowhere", tmp_path / "run"))
    with pytest.raises(DataError, match=r"longest has 16 frames"):
        train(tiny(walks, tmp_path / "run", length=17))
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="0 CUDA devices"):
            train(tiny(walks, tmp_path / "run", device="cuda"))
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(MissingPackageError, match="--optimizer adamw"):
        train(tiny(walks, tmp_path / "run"))
    assert not (tmp_path / "run" / FILE).exists()


def test_packing_refuses_bad_names_and_existing_worlds(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="cannot be named"):
        pack(trained, tmp_path / "x", "../x")
    presentation = Presentation(keys={"a": 0, "d": 1}, observation_scale=6)
    world = bundle.load(pack(trained, tmp_path / "toy-walk-v1", "toy-walk-v1", presentation))
    assert world.card.actions.keys == {"a": 0, "d": 1}
    with pytest.raises(WorldError, match="never change"):
        pack(trained, tmp_path / "toy-walk-v1", "toy-walk-v1")


def test_a_model_of_another_objective_is_neither_resumed_nor_packed(
    walks: Path, tmp_path: Path
) -> None:
    config = tiny(walks, tmp_path / "run", steps=1, image_steps=0)
    train(config, diffusion_forcing._replace(name="rival"))
    with pytest.raises(ConfigError, match=r"with objective = 'rival', now 'diffusion_forcing'"):
        train(config)
    with pytest.raises(ConfigError, match=r"objective 'rival'; expected 'diffusion_forcing'"):
        pack(config.out, tmp_path / "toy-walk-v1", "toy-walk-v1")


def test_bundled_recipes_are_whole_and_bad_ones_are_named(tmp_path: Path) -> None:
    result = recipe.load_recipe(recipe.find_recipe("minatar-breakout-v0"))
    assert abs(sum(result.record.policies.values()) - 1) < 1e-9
    assert result.train.model.patch == 2 and result.presentation.observation_scale == 4
    with pytest.raises(ConfigError, match=r"allowed are .*minatar-breakout-v0"):
        recipe.find_recipe("nothing-v0")
    good = '[record]\nenv = "a/B-v0"\nframes = 10\npolicies = {random = 1.0}\n'
    for text, message in [
        ("[record", "bad.toml: Expected"),
        ("[train]\nsteps = 1", "missing key 'record'"),
        ('[record]\nenv = "a/B-v0"', "missing key 'record.frames'"),
        (good.replace("10", '"x"'), "record.frames is 'x'; expected int"),
        (good.replace("10", "300.5"), "record.frames is 300.5; expected int"),
        ("record = 5", "record is 5; expected table"),
        (good + '[train]\nsteps = "x"', "train.steps is 'x'; expected int"),
        (good + "[train]\nsteps = 2.5", "train.steps is 2.5; expected int"),
        (good + '[train]\ndevice = "cpu"', "unknown key 'train.device'; allowed are steps,"),
        (good + "[train.model]\ndim = 2.5", "train.model.dim is 2.5; expected int"),
        (
            good + "[presentation]\nobservation_scale = 99",
            "observation_scale is 99; expected int <= 32",
        ),
        (good + '[presentation]\nextra = "A B"', "extra is 'A B'; expected the name of an extra"),
        (good + "[presentation]\nkeys = {a = -1}", "keys.a is -1; expected an action"),
        (good + "[presentation]\nmax_steps = -1", "max_steps is -1; expected int >= 1"),
        (good + "[extra]", "unknown key 'extra'; allowed are record, train, presentation"),
        (good + "[train]\nstep = 1", "unknown key 'train.step'"),
        (good + "[train]\nsteps = -1", "train.steps is -1"),
        (good + "[presentation]\nkey = 1", "unknown key 'presentation.key'"),
    ]:
        path = tmp_path / "bad.toml"
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            recipe.load_recipe(path)


def test_a_recipe_of_a_stranger_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    for text, message in (
        ("a" + 30_000 * ".a" + " = 1", "a line is longer than 1024 bytes"),
        ("a = " + 500 * "[" + "\n" + (500 * "[" + "\n") * 20, "nested too deep"),
        (64 * 1024 * "#\n", "larger than the allowed"),
    ):
        path.write_text(text)
        began = time.monotonic()
        with pytest.raises(ConfigError, match=message):
            recipe.load_recipe(path)
        assert time.monotonic() - began < 5
