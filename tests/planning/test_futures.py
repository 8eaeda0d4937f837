"""How open the future is, where that is known in closed form; and draws that share their chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfgym.errors import ConfigError
from dfgym.planning.futures import couple, future_entropy
from dfgym.world import shelf
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

STICKY = 0.1
ROWS = 32


def breakout(first: np.ndarray) -> Dynamics:
    dynamics = Dynamics(shelf.load("minatar-breakout-v0"), len(first), Settings(device="cpu"))
    frames, _ = dynamics.world.starts.episode(0)
    dynamics.reset(first, first, [(frames[:1], np.zeros(0, np.int64))] * len(first))
    return dynamics


def test_the_entropy_of_futures_is_that_of_coins() -> None:
    """Breakout's ball comes from one of two sides, and an action that changes sticks at times."""
    actions, rows = np.array([1, 2, 1, 2]), np.arange(ROWS)
    side, sticks = np.log(2), -STICKY * np.log(STICKY) - (1 - STICKY) * np.log(1 - STICKY)
    differs = [1.0]  # the probability that the last action that was carried out is not this one
    while len(differs) < len(actions):
        differs.append((1 - STICKY) * differs[-1] + 1 - differs[-1])
    expected = sticks * np.array(differs)
    expected[0] += side
    rising = future_entropy(breakout(rows), actions)
    np.testing.assert_allclose(rising, expected, atol=0.08)
    held = future_entropy(breakout(rows[:8]), np.zeros(4, np.int64))
    assert held[0] == pytest.approx(side, abs=0.02) and (held[1:] < 0.01).all(), "and no more"


def test_entropy_is_refused_where_no_outcomes_are_told_apart() -> None:
    world = shelf.load("cartpole-pixels-v0")
    dynamics = Dynamics(world, 1, Settings(device="cpu"))
    dynamics.reset(np.arange(1), np.arange(1), [world.starts.episode(0)])
    with pytest.raises(ConfigError, match="cartpole-pixels-v0 tells no outcomes apart"):
        future_entropy(dynamics, np.zeros(1, np.int64))


weights = st.lists(st.floats(0.01, 1), min_size=4, max_size=4)


@settings(max_examples=20)
@given(weights, weights)
def test_coupled_draws_change_as_their_hazards_do(one: list[float], other: list[float]) -> None:
    p, q = (np.array(w) / sum(w) for w in (one, other))
    uniforms = np.random.default_rng(0).random((20_000, 4))
    first, second = (couple(np.tile(r, (20_000, 1)), uniforms) for r in (p, q))
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 20_000, p, atol=0.02)
    h, g = (r / (1 - np.cumsum(r) + r) for r in (p, q))
    before = np.concatenate([[1.0], np.cumprod(1 - np.maximum(h, g))[:-1]])
    same = (before * np.minimum(h, g)).sum()
    assert (first == second).mean() == pytest.approx(same, abs=0.02)
    assert np.array_equal(first, couple(np.tile(p, (20_000, 1)), uniforms))
