"""Worlds of random weights: equal for equal seeds, never constant, hardly ever at an end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dfgym.bench import operations, shape
from dfgym.bench.shape import Shape
from dfgym.world import bundle
from dfgym.world.settings import Settings


def test_equal_seeds_make_equal_shapes_and_leave_the_generators_alone() -> None:
    card = Shape(frame="16x16x3").card()
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # type: ignore[index]
    one, two, other = (shape.weights(card, seed) for seed in (1, 1, 2))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # type: ignore[index]
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_a_shape_hardly_ever_ends_and_changes_with_every_step(tmp_path: Path) -> None:
    card = Shape(frame="16x16x3", patch=4, actions=7).card()
    assert card.actions.n == 7
    shape.write(tmp_path / card.name, card)
    dynamics = operations.begin(bundle.load(tmp_path / card.name), 2, Settings("cpu"))
    steps = [dynamics.step(np.zeros(2, np.int64)) for _ in range(3)]
    assert max(step.termination_probability.max() for step in steps) < 1e-6
    assert len({step.frames[row].tobytes() for step in steps for row in range(2)}) == 6
