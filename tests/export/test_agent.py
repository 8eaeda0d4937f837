"""An agent as ONNX does what Stable-Baselines3 does with it; another world's is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC

from dfgym.agents import flat, saved
from dfgym.agents.sb3 import WholeFrameCNN, make_venv
from dfgym.env.env import DreamEnv
from dfgym.errors import ConfigError
from dfgym.export.agent import export_agent
from dfgym.export.command import Export, export
from dfgym.frames import upscale
from dfgym.world.onnx import open_session
from toys.actions import marker_world
from toys.agents import save, tiny_agent


def compare(name: str, world: Path) -> np.ndarray:
    """Compare 200 actions with SB3's own; returns them."""
    env = DreamEnv(world, device="cpu")
    _, algorithm, path = name.split(":", 2)
    agent = saved.load(algorithm, path, env.observation_space)
    read = flat.find_reader(agent.model.action_space, env.action_space, "the world")
    file = export_agent(name, str(world), rows=2)
    assert file.label == f"sb3:{algorithm}:{Path(path).name}"
    assert file.frame_stack == agent.frame_stack
    session = open_session(file.model)
    random, actions = np.random.default_rng(0), []
    for _ in range(100):
        colours = random.integers(0, 256, (2, 2, 1, 1, 3 * file.frame_stack), np.uint8)
        frames = np.where(random.random((2, 8, 8, 1)) < 0.2, *colours)
        (action,) = session.run(None, {"frames": frames})
        expected = read(agent.choose(upscale(frames, 5), greedy=True))
        np.testing.assert_allclose(action, expected, atol=1e-5)
        assert action.dtype == expected.dtype
        actions.append(action)
    result = np.concatenate(actions)
    assert len(np.unique(result, axis=0)) > 1
    return result


def test_one_that_sees_two_frames(random_world: Path, tmp_path: Path) -> None:
    """As `python -m dfgym.agents.ppo --frame-stack 2 --standardize` trains them."""
    assert set(compare(tiny_agent(random_world, tmp_path / "a.zip"), random_world)) == {0, 1, 2}


def test_dqn(random_world: Path, tmp_path: Path) -> None:
    venv = make_venv("DFWorld-v0", 1, world=str(random_world))
    compare(save(DQN("CnnPolicy", venv, buffer_size=1, seed=0), tmp_path / "it.zip"), random_world)


@pytest.mark.parametrize("kind", ["box", "multi-discrete", "multi-binary"])
def test_actions_of_parts(kind: str, tmp_path: Path) -> None:
    world = marker_world(kind, tmp_path / "toy-random-v0")
    env = DreamEnv(world, device="cpu")
    for algorithm in (PPO, SAC) if kind == "box" else (PPO,):
        model = algorithm("MlpPolicy", env, seed=0)
        actions = compare(save(model, tmp_path / "it.zip"), world)
        if kind == "box":  # some lie at the bounds
            assert actions.min() >= -1 and actions.max() <= 1


def test_what_it_refuses(random_world: Path, tmp_path: Path) -> None:
    class Other(gym.Env[Any, Any]):
        """Frames of another size, or other actions."""

        def __init__(self, side: int, actions: int) -> None:
            self.observation_space = gym.spaces.Box(0, 255, (side, side, 3), np.uint8)
            self.action_space = gym.spaces.Discrete(actions)

    small, greedy = Other(36, 3), Other(40, 4)
    torch.save({}, tmp_path / "empty.zip")
    refusals = {
        "scripted:0": "only agents of Stable-Baselines3 without wrappers",
        "agent.zip": "agent is 'agent.zip'; only agents of Stable-Baselines3",
        save(PPO("MlpPolicy", small), tmp_path / "small.zip"): "from observations .3, 36, 36.",
        save(
            PPO("MlpPolicy", greedy), tmp_path / "greedy.zip"
        ): "actions Discrete.4., and the world has Discrete.3.",
        f"sb3:dqn:{tmp_path}/small.zip": "holds an agent of ppo, not of dqn",
        f"sb3:ppo:{tmp_path}/empty.zip": "cannot be loaded as an agent of ppo",
        f"sb3:ppo:{tmp_path}/none.zip": "there is no file",
        f"sb3:ppo:{tmp_path}/small.zip+gymnasium.wrappers:FlattenObservation": "without wrappers",
    }
    for name, words in refusals.items():
        with pytest.raises(ConfigError, match=words):
            export(Export(str(random_world), tmp_path / "out", agent=name))
        assert not (tmp_path / "out").exists()
    world = marker_world("dict", tmp_path / "toy-random-v0")
    venv = flat.FlatActions(make_venv("DFWorld-v0", 1, world=str(world)), "it")
    name = save(PPO("MlpPolicy", venv), tmp_path / "it.zip")
    with pytest.raises(ConfigError, match="numbers that stand for the world's"):
        export_agent(name, str(world))


def test_the_activation_that_onnx_has_not(random_world: Path, tmp_path: Path) -> None:
    class Odd(WholeFrameCNN):
        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return super().forward(observations).erfinv()

    keywords = {"features_extractor_class": Odd}
    model = PPO("CnnPolicy", DreamEnv(random_world, device="cpu"), policy_kwargs=keywords, seed=0)
    with pytest.raises(ConfigError, match=r"it takes aten::erfinv, which dfgym cannot write"):
        export_agent(save(model, tmp_path / "it.zip"), str(random_world))
