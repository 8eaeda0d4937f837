"""Worlds with a memory behind the environment: states, sizes, and what a reset reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dfgym.env.env import DreamEnv
from dfgym.errors import StateError
from dfgym.model.config import ModelConfig
from dfgym.world import bundle
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from dfgym.world.shelf import load
from toys.world import toy_card, toy_starts, toy_weights

SIZES = {"none": 0, "archive": 5, "state_space": 4, "spatial_map": 15}
MEMORIES = [name for name in SIZES if name != "none"]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A world of random weights with each memory, all of one name."""
    folders = {}
    for name, size in SIZES.items():
        model = ModelConfig(16, 2, 2, 4, 2, memory=name, memory_size=size)  # type: ignore[arg-type]
        card = toy_card(model=model)
        folders[name] = tmp_path_factory.mktemp(name) / card.name
        weights = toy_weights(card)
        weights["head_out.bias"][-1] = -1e3  # no episode ends
        bundle.write(folders[name], card, weights, toy_starts(card))
    return folders


def step(env: DreamEnv, count: int) -> list[np.ndarray]:
    return [env.step(i % 3)[0] for i in range(count)]


@pytest.mark.parametrize("name", MEMORIES)
def test_a_state_holds_the_memory_and_does_not_grow(worlds: dict[str, Path], name: str) -> None:
    env = DreamEnv(str(worlds[name]))
    env.reset(seed=0)
    step(env, 8)
    state = env.clone_state()
    frames = step(env, 8)
    env.reset(seed=1)
    step(env, 3)
    assert len(env.clone_state()) == len(state)
    env.restore_state(state)
    assert all(np.array_equal(a, b) for a, b in zip(step(env, 8), frames, strict=True))


@pytest.mark.parametrize("name", MEMORIES)
def test_a_row_takes_the_same_bytes_at_any_step(worlds: dict[str, Path], name: str) -> None:
    run = Dynamics(load(str(worlds[name])), 1, Settings("cpu"))
    frames, rows = run.world.starts.episode(0)[0], np.zeros(1, np.int64)
    run.reset(rows, rows, [(frames[:1], rows[:0])])
    sizes = []
    for time in (100, 10_000):
        with torch.inference_mode():
            run.present.time[:] = time
        run.step(rows)
        sizes.append(sum(value.nbytes for value in run.get_state(rows).values()))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("name", MEMORIES)
def test_a_state_of_another_memory_is_refused(worlds: dict[str, Path], name: str) -> None:
    env, other = (DreamEnv(str(worlds[key])) for key in (name, "none"))
    for each_env in (env, other):
        each_env.reset(seed=0)
    with pytest.raises(StateError, match="toy-random-v0"):
        other.restore_state(env.clone_state())


@pytest.mark.parametrize("name", SIZES)
def test_a_reset_reads_given_frames_beyond_the_window(worlds: dict[str, Path], name: str) -> None:
    world = load(str(worlds[name]))
    # As many frames as the archive holds.
    frames, actions = world.starts.frames[:6], world.starts.actions[:5]
    changed = frames.copy()
    changed[0] = frames[0][::-1]
    caches = []
    for context in (frames, changed):
        run, rows = Dynamics(world, 1, Settings("cpu")), np.zeros(1, np.int64)
        run.reset(rows, rows, [(context, actions)])
        run.step(rows)
        caches.append(run.get_state(rows)["cache"].tobytes())
    assert (caches[0] != caches[1]) == (name != "none")
