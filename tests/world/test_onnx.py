"""Stepped by onnxruntime, a world does what it does stepped by PyTorch."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dfgym.env.env import DreamEnv
from dfgym.errors import ConfigError, MissingPackageError, WorldError
from dfgym.games.spaces import describe
from dfgym.model.config import ModelConfig
from dfgym.train.pack import draft_actions
from dfgym.world.bundle import World
from dfgym.world.card import Card, Frames, Sampler
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from dfgym.world.step import export_step
from toys.actions import SPACES, marker_world
from toys.world import toy_card, toy_starts, toy_weights

ROWS, STEPS = 3, 8  # the window of 4 rolls over
ONNX = Settings(device="cpu", runtime="onnx")


def model(**changes: object) -> ModelConfig:
    dials: dict[str, object] = {"dim": 16, "depth": 2, "heads": 2, "patch": 2, "window": 4}
    return ModelConfig(**(dials | changes))  # type: ignore[arg-type]


CARDS = {
    "transformer": toy_card(),
    "mixture": toy_card(model=model(mixture=3)),
    "recurrent": toy_card(model=model(kind="recurrent", heads=1)),
    "multiscale": toy_card(
        model=model(kind="multiscale", patch=4, fine_patch=2, fine_dim=8, mixture=3)
    ),
    "grey levels": toy_card(
        frames=Frames(height=8, width=8, observation_scale=5, fps=15, palette=()),
        model=model(kind="multiscale", patch=4, fine_patch=2, fine_dim=8),
    ),
}
Keywords = dict[str, Any]
ONE: Keywords = {"denoising_steps": 1}
THREE: Keywords = {"denoising_steps": 3}
DYNAMIC: Keywords = {"denoising_steps": 3, "context_mode": "dynamic", "context_noise": 0.3}
NOISED: Keywords = {"context_mode": "noised", "context_noise": 0.2}
CASES: list[tuple[str, Keywords]] = [
    ("transformer", THREE),
    ("mixture", ONE),
    ("mixture", DYNAMIC),
    ("recurrent", THREE),
    ("recurrent", NOISED),
    ("multiscale", ONE),
    ("grey levels", DYNAMIC),
]


def world_of(card: Card) -> World:
    plain = toy_card(frames=card.frames)
    starts = toy_starts(toy_card()) if not card.frames.palette else toy_starts(plain)
    return World(card, "0" * 64, Path("/nowhere"), toy_weights(card), starts)


def begun(world: World, settings: Settings) -> Dynamics:
    """Rows that begin with one, two and three frames."""
    run = Dynamics(world, ROWS, settings)
    contexts = [
        (frames[: i + 1], world.card.actions.fill(i))
        for i, (frames, _) in enumerate(map(world.starts.episode, range(ROWS)))
    ]
    run.reset(np.arange(ROWS), np.array([5, 2**62, -7]), contexts)
    return run


def compare(world: World, settings: Keywords, actions: np.ndarray) -> None:
    """Step both, which must agree in every number but for rounding."""
    runs = [
        begun(world, Settings(device="cpu", runtime=runtime, **settings))
        for runtime in ("torch", "onnx")
    ]
    changed = 0
    for row in actions:
        expected, actual = (run.step(row) for run in runs)
        changed += len(np.unique(expected.frames))
        assert np.abs(expected.frames.astype(int) - actual.frames).max() <= 1
        assert (expected.rewards == actual.rewards).all()
        assert (expected.terminated == actual.terminated).all()
        for name in ("termination_probability", "uncertainty", "outcome_entropy"):
            of_torch, of_onnx = getattr(expected, name), getattr(actual, name)
            assert (of_torch is None) == (of_onnx is None)
            if of_torch is not None:
                np.testing.assert_allclose(of_onnx, of_torch, atol=2e-3)
    assert changed > len(actions)  # pictures
    states = [run.get_state(np.arange(ROWS)) for run in runs]
    assert (states[0]["time"] == states[1]["time"]).all()
    assert states[0]["cache"].any()
    np.testing.assert_allclose(states[1]["cache"], states[0]["cache"], atol=0.05)


@pytest.mark.parametrize("name, settings", CASES, ids=str)
def test_it_steps_as_pytorch_does(name: str, settings: Keywords) -> None:
    actions = np.random.default_rng(0).integers(3, size=(STEPS, ROWS))
    compare(world_of(CARDS[name]), settings, actions)


def test_actions_of_parts() -> None:
    space = describe(SPACES["dict"], "a test")
    random = np.random.default_rng(0)
    rows = np.stack([space.sample(random, ROWS) for _ in range(STEPS)])
    compare(world_of(toy_card(actions=draft_actions(space, {}))), {}, rows)


def test_an_environment_keeps_its_promises(tmp_path: Path) -> None:
    """It repeats itself bit by bit, and copies go on as it does."""
    env = DreamEnv(marker_world("discrete", tmp_path / "toy-random-v0"), runtime="onnx")
    runs = []
    for _ in range(2):
        env.reset(seed=4)
        runs.append([env.step(i)[0] for i in range(4)])
    assert np.array_equal(runs[0], runs[1])
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    observation = env.step(1)[0]
    assert all(np.array_equal(other.step(1)[0], observation) for other in copies)
    check_env(env, skip_render_check=True)


def test_the_other_methods_go_on_from_where_it_is() -> None:
    """Outcomes, given frames and states are PyTorch's work, on the same caches."""
    world = world_of(CARDS["mixture"])
    run = begun(world, Settings(device="cpu", runtime="onnx", denoising_steps=1))
    actions = np.array([1, 2, 0])
    for _ in range(STEPS):
        run.step(actions)
    outcomes, transition = run.outcomes(actions), run.step(actions)
    for row in range(ROWS):
        same = (outcomes.frames[row] == transition.frames[row]).all((1, 2, 3))
        assert same.any(), "what was stepped to is one of the outcomes"
    state = run.get_state(np.arange(ROWS))
    first = run.step(actions).frames
    run.set_state(np.arange(ROWS), state)
    assert (run.step(actions).frames == first).all()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"luck": 1.0}, "luck is 1.0, which an ONNX file cannot express"),
        ({"precision": "bfloat16"}, "precision is 'bfloat16', which"),
        ({"compile": True}, "compile is True, which"),
        ({"context_mode": "kept"}, "context_mode is 'kept'"),
        ({"device": "cuda"}, "device is 'cuda'; runtime='onnx' is for the CPU"),
    ],
)
def test_it_refuses_what_a_file_cannot_hold(settings: Keywords, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings(runtime="onnx", **settings)


def test_it_refuses_a_world_that_no_file_can_hold() -> None:
    sampler = Sampler(denoising_steps=4, shift=1.0, context_mode="kept", context_noise=0.0)
    with pytest.raises(ConfigError, match="context_mode is 'kept'"):
        export_step(world_of(toy_card(sampler=sampler)))
    model = ModelConfig(16, 1, 2, 2, 4, memory="archive", memory_size=5)
    with pytest.raises(ConfigError, match="has the memory 'archive', which ONNX does not express"):
        export_step(world_of(toy_card(model=model)))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith("dfgym.tracing.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingPackageError, match=r'pip install "dfgym\[export\]"'):
        Dynamics(world_of(CARDS["transformer"]), 1, ONNX)


def test_useless_weights_are_an_error() -> None:
    world = world_of(CARDS["transformer"])
    world.weights["embed_patch.weight"][:] = 3e38
    with pytest.raises(WorldError, match="not finite"):
        begun(world, ONNX).step(np.zeros(ROWS, np.int64))
