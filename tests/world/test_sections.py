"""The parts of a step have names, which a profile shows and which change no bit."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from torch.profiler import ProfilerActivity, profile, record_function

from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import StateError
from dfgym.world import bundle
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings


def test_a_profile_shows_the_parts_of_a_step_and_the_dream_is_the_same(random_world: Path) -> None:
    world, rows = bundle.load(random_world), np.arange(2)
    frames = []
    events: dict[str, int] = {}
    for section in (None, record_function):
        dynamics = Dynamics(world, 2, Settings("cpu"))
        if section is not None:
            dynamics.section = section
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            dynamics.reset(rows, rows, [(world.starts.episode(0)[0][:1], np.zeros(0, int))] * 2)
            frames.append(dynamics.step(np.zeros(2, np.int64)).frames)
        events = {event.key: event.count for event in profiler.key_averages()}
    assert np.array_equal(*frames)  # type: ignore[arg-type]
    assert {name: count for name, count in events.items() if name.startswith("dfgym::")} == {
        "dfgym::reset": 1,
        "dfgym::step": 1,
        "dfgym::cache_position": 1,
        "dfgym::denoise": 2,
        "dfgym::predict_frame": 2,
        "dfgym::commit": 2,  # one of them in the reset
        "dfgym::predict_transition": 1,
    }


def test_environments_give_access_to_their_dynamics_until_they_are_closed(
    random_world: Path,
) -> None:
    single = gym.make("dfgym:DFWorld-v0", world=str(random_world), device="cpu")
    batch = gym.make_vec("dfgym:DFWorld-v0", num_envs=3, world=str(random_world), device="cpu")
    for env, num_rows in ((single, 1), (batch, 3)):
        shell = env.unwrapped
        assert isinstance(shell, DreamEnv | DreamVectorEnv)
        assert shell.dynamics.num_rows == num_rows
        env.close()
        with pytest.raises(StateError, match="closed"):
            _ = shell.dynamics
