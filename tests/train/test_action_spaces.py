"""From a game with other than discrete actions to a world that obeys them: the whole way."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO

import dfgym
from dfgym.actions import ActionSpace
from dfgym.env.real import RealEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import WorldError
from dfgym.games.spaces import describe
from dfgym.model.config import ModelConfig
from dfgym.train import recipe
from dfgym.train.loop import train
from dfgym.train.pack import Presentation, draft_actions, pack
from dfgym.world import bundle
from toys.actions import MARKER, SPACES
from toys.recordings import record
from toys.walk import tiny


@pytest.mark.slow
@pytest.mark.usefixtures("marker_id")
@pytest.mark.parametrize("kind", ["box", "dict", "multi-discrete"])
def test_a_world_obeys_what_it_was_recorded_with(kind: str, tmp_path: Path) -> None:
    """Record, train, pack, `gym.make`, step beside the real game, learn in it."""
    data = tmp_path / "data"
    record(MARKER, data, 4_000, env_kwargs={"kind": kind})
    run = train(
        tiny(
            data,
            tmp_path / "run",
            steps=200,
            image_steps=10,
            batch=16,
            learning_rate=2e-2,
            muon_rate=6e-2,
            length=4,
            checkpoint_every=500,
            model=ModelConfig(kind="transformer", dim=16, depth=1, heads=2, patch=4, window=3),
        )
    )
    world = pack(run, tmp_path / "toy-marker-v0", "toy-marker-v0", Presentation(max_steps=6))
    envs = gym.make_vec("DFWorld-v0", num_envs=32, world=str(world))
    assert isinstance(envs.unwrapped, DreamVectorEnv)
    observations, _ = envs.reset(seed=0)
    envs.action_space.seed(0)
    reals = [RealEnv(world) for _ in range(32)]
    for row, real in enumerate(reals):
        real.reset(seed=row)
    space = bundle.load(world).card.actions
    errors, changes = [], []
    for _ in range(4):
        actions = envs.action_space.sample()
        rows = space.rows(actions, 32)
        observations = envs.step(actions)[0]
        steps = [real.step(space.native(row)) for real, row in zip(reals, rows, strict=True)]
        truth = np.stack([step[0] for step in steps])
        errors.append((observations != truth).any(-1).mean())
        changes.append((np.roll(truth, 1, 0) != truth).any(-1).mean())
    assert np.mean(errors) < 0.35 * np.mean(changes)  # obeys its own actions, not others'
    venv = dfgym.make_sb3("DFWorld-v0", num_envs=2, world=str(world))
    if kind != "dict":
        PPO("MlpPolicy", venv, n_steps=8, batch_size=16, device="cpu").learn(16)


def test_parts_have_keys_where_the_recipe_names_none() -> None:
    box = draft_actions(describe(SPACES["box"], "box"), {}, ("turn", "gas", "brake"))
    assert box.keys == {
        "left": {"turn": -1.0},
        "right": {"turn": 1.0},
        "up": {"gas": 1.0},
        "d": {"brake": 1.0},
    }
    both = draft_actions(describe(SPACES["dict"], "dict"), {})
    assert both.keys["1"] == {"go": 1.0} and both.keys["3"] == {"keys.0": 1.0}
    assert both.keys["left"] == {"mouse.0": pytest.approx(-0.1)}
    assert draft_actions(describe(SPACES["discrete"], ""), {}).keys == {}


def test_keys_and_names_of_parts() -> None:
    space = describe(SPACES["box"], "box")
    keys: dict[str, int | dict[str, float]] = {"left": {"turn": -1}, "up": {"gas": 1}}
    actions = draft_actions(space, keys, ("turn", "gas", "brake"))
    assert actions.part_names == ("turn", "gas", "brake")
    assert np.array_equal(actions.press(), [0, 0, 0])
    assert np.array_equal(actions.press(*keys.values()), [-1, 1, 0])
    for wrong, message in (
        ({"left": 1}, "values of parts"),
        ({"left": {"steer": 1.0}}, "parts of turn, gas, brake, and not 'steer'"),
        ({"left": {"turn": 2.0}}, "from -1 to 1"),
        ({"left": {"turn": float("nan")}}, "nan as its part 'turn'"),
    ):
        with pytest.raises(WorldError, match=message):
            draft_actions(space, wrong, ("turn", "gas", "brake"))  # type: ignore[arg-type]
    with pytest.raises(WorldError, match="names has 1 values; expected 3"):
        draft_actions(space, {}, ("turn",))
    with pytest.raises(WorldError, match="an action, 0 to 4"):
        draft_actions(describe(SPACES["discrete"], ""), {"a": {"0": 1.0}})


def test_the_bundled_recipe_of_continuous_actions_is_whole() -> None:
    loaded = recipe.load_recipe(recipe.find_recipe("pendulum-pixels-v0"))
    torque = ActionSpace(kind="box", shape=(1,), low=(-2.0,), high=(2.0,))
    actions = draft_actions(torque, loaded.presentation.keys, loaded.presentation.names)
    assert actions.press(actions.keys["left"]) == [2.0] and actions.part_names == ("torque",)
