"""Compiled or in bfloat16: the same game, and clear words where it cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import dfgym  # noqa: F401  registers the ids
from dfgym.errors import ConfigError, DeviceError
from dfgym.world import bundle, runtime
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    ),
]


def play(world: Path, steps: int = 12, rows: int = 2, **settings: Any) -> tuple[np.ndarray, ...]:
    """Frames `(steps, rows, h, w, 3)` and ends' probabilities `(steps, rows)`."""
    run = Dynamics(bundle.load(world), rows, Settings(**settings))
    grey = np.full((1, 8, 8, 3), 0, np.uint8)
    begun = [(grey, np.zeros(0, np.int64))] * rows
    run.reset(np.arange(rows), np.arange(rows), begun)
    played = [run.step(np.arange(rows) % 3) for _ in range(steps)]
    return (
        np.stack([one.frames for one in played]),
        np.stack([one.termination_probability for one in played]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_compiled_dream_is_the_same_dream(
    random_world: Path, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("there is no C++ compiler")
    caplog.set_level("INFO", "dfgym")
    plain = play(random_world, device=device)
    fused = play(random_world, device=device, compile=True)
    assert "compiling toy-random-v0 for batches of 2" in caplog.text
    assert (plain[0] == fused[0]).mean() > 0.999, "rounding alone may tip a colour"
    np.testing.assert_allclose(plain[1], fused[1], rtol=0.02)


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_is_coarser_but_the_same_game(random_world: Path, device: str) -> None:
    exact, _ = play(random_world, steps=1, rows=64, device=device)
    coarse, _ = play(random_world, steps=1, rows=64, device=device, precision="bfloat16")
    same = (exact == coarse).all(-1).mean()
    assert 0.9 < same < 1, "near, and not the same arithmetic"


def test_the_environments_take_both_keywords(random_world: Path) -> None:
    for make in (gym.make, gym.make_vec):
        env = make("DFWorld-v0", world=random_world, precision="bfloat16", compile=False)
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"precision": "float16"}, "precision is 'float16'; allowed are float32, bfloat16"),
        ({"compile": 1}, "compile is 1; expected bool"),
        ({"compile": "auto"}, "compile is 'auto'"),
    ],
)
def test_other_values_are_refused(random_world: Path, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        play(random_world, **wrong)


def test_without_a_compiler_nothing_is_compiled_in_silence(
    random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    with pytest.raises(DeviceError, match=r"there is no C\+\+ compiler; install one or leave it"):
        play(random_world, compile=True)


def test_a_compiler_that_fails_is_told() -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("Python.h is missing")

    with pytest.raises(DeviceError, match=r"cannot compile here: Python\.h is missing"):
        runtime.warm_up(broken)


def test_more_rows_than_memory_can_hold_are_refused(
    random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "available_bytes", lambda device: 2**22)
    with pytest.raises(ConfigError, match=r"a batch of 9000 needs .* would fit is \d+"):
        gym.make_vec("DFWorld-v0", num_envs=9000, world=random_world)
    gym.make_vec("DFWorld-v0", num_envs=2, world=random_world).close()


def test_a_world_that_was_loaded_in_inference_mode_can_be_stepped(
    random_world: Path, tmp_path: Path
) -> None:
    copy = tmp_path / random_world.name
    shutil.copytree(random_world, copy)  # loaded worlds are kept by their path
    with torch.inference_mode():
        assert all(weight.is_inference() for weight in bundle.load(copy).weights.values())
    play(copy)
