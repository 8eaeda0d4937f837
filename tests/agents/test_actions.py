"""Agents in games with every kind of action: learned flat, played in the game's own form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym.agents import dqn, evaluate, flat, ppo
from dfgym.agents.players import make_factory
from dfgym.errors import ConfigError
from dfgym.games.source import Opening, open_source
from dfgym.games.spaces import describe, shift
from toys.actions import MARKER, SPACES, marker_world
from toys.recordings import record

TINY: dict[str, Any] = {"steps": 32, "num_envs": 2, "rollout": 16, "batch": 32, "epochs": 1}
pytestmark = pytest.mark.usefixtures("marker_id")


@pytest.mark.parametrize("kind", SPACES)
def test_every_flat_action_is_one_of_the_game(kind: str) -> None:
    space = SPACES[kind]
    flattened, own = flat.flatten(space, kind), describe(space, kind)
    assert len(flattened.shape or ()) <= 1
    read = flat.find_reader(flattened, space, kind)
    flattened.seed(0)
    rows = read(np.stack([flattened.sample() - getattr(flattened, "start", 0) for _ in range(200)]))
    assert all(space.contains(shift(space, own.native(row))) for row in rows)
    for i, item in enumerate(own.parts):
        column = rows[:, i] if rows.ndim > 1 else rows
        if item.n:
            assert set(column.tolist()) == set(range(item.n))  # each choice can be made
        else:
            assert column.min() < item.low + 0.1 * (item.high - item.low)
            assert column.max() > item.high - 0.1 * (item.high - item.low)


def test_mixed_actions_are_read_by_hand() -> None:
    read = flat.find_reader(gym.spaces.Box(-1, 1, (6,)), SPACES["dict"], "dict")
    values = np.array([[-1, 1, -0.1, 0.1, -1, 0.5], [1, -1, -1, -1, 0, 2]])
    # go of 3 choices, three switches, two values in [-0.1, 0.1]
    expected = [[0, 1, 0, 1, -0.1, 0.05], [2, 0, 0, 0, 0, 0.1]]
    assert np.allclose(read(values), expected)


@pytest.mark.parametrize("kind", ["box", "dict", "multi-binary", "tuple", "whole numbers"])
def test_ppo_trains_scores_and_records(kind: str, tmp_path: Path) -> None:
    world = marker_world(kind, tmp_path / "toy-marker-v0")
    gym.register("DFTest/DreamMarker-v0", "dfgym.env.env:DreamEnv", kwargs={"world": str(world)})
    gym.register("DFTest/TwinMarker-v0", "dfgym.env.real:RealEnv", kwargs={"world": str(world)})
    try:
        config = ppo.Config("DFTest/DreamMarker-v0", out=tmp_path / "agent", device="cpu", **TINY)
        agent = f"sb3:ppo:{ppo.train(config)}"
        for player in (agent, "random", "sticky-random"):
            for env in ("DFTest/DreamMarker-v0", "DFTest/TwinMarker-v0"):
                score = evaluate.evaluate(player, env, 2, num_envs=2, progress=False)
                assert len(score.returns) == 2
        with pytest.raises(ConfigError, match=r"DQN chooses among Discrete actions alone.*ppo"):
            dqn.train(dqn.Config("DFTest/DreamMarker-v0", steps=9, out=tmp_path / "dqn"))
    finally:
        for name in ("DreamMarker", "TwinMarker"):
            del gym.registry[f"DFTest/{name}-v0"]
    store = record(
        MARKER, tmp_path / "data", 20, {agent: 1.0}, env_kwargs={"kind": kind}, resize=(40, 40)
    )
    assert store.num_frames >= 20


def test_an_agent_of_other_actions_is_refused(tmp_path: Path) -> None:
    world = marker_world("box", tmp_path / "toy-marker-v0")
    gym.register("DFTest/DreamMarker-v0", "dfgym.env.env:DreamEnv", kwargs={"world": str(world)})
    try:
        config = ppo.Config("DFTest/DreamMarker-v0", out=tmp_path / "agent", device="cpu", **TINY)
        agent = f"sb3:ppo:{ppo.train(config)}"
    finally:
        del gym.registry["DFTest/DreamMarker-v0"]
    source = open_source(Opening(MARKER, {"kind": "dict"}, size=(40, 40)))
    with pytest.raises(ConfigError, match=r"learned with actions Box.*the game has Box"):
        make_factory(agent, MARKER, source)
