"""Action spaces: each of Gymnasium's forms becomes a row of numbers and comes back the same."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st

from dfgym.actions import ActionSpace, discrete
from dfgym.errors import ActionError, ConfigError
from dfgym.games.spaces import describe, shift, to_gymnasium
from toys.actions import SPACES

Space = gym.Space[Any]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_space_is_plain_data(space: Space) -> None:
    described = describe(space, "Toy-v0")
    again = ActionSpace.from_plain(json.loads(json.dumps(described.to_plain(), sort_keys=True)))
    assert again == described
    assert len(described.parts) == len(set(described.part_names))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_actions_survive_as_rows(space: Space) -> None:
    """The description's space holds what its rows stand for, and the environment's own does too."""
    described = describe(space, "Toy-v0")
    same = to_gymnasium(described)
    same.seed(0)
    random = np.random.default_rng(0)
    for _ in range(20):
        row = described.row(same.sample())
        assert np.shape(row) == described.row_shape
        native = described.native(row)
        assert same.contains(native)
        assert np.array_equal(described.row(native), row)
        sampled = described.native(described.sample(random))
        assert same.contains(sampled)
        assert space.contains(shift(space, sampled))
        back = shift(space, shift(space, sampled), -1)
        assert np.array_equal(described.row(back), described.row(sampled))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_batches_are_gymnasium_s_or_lists(space: Space) -> None:
    described = describe(space, "Toy-v0")
    batched = batch_space(to_gymnasium(described), 3)
    batched.seed(0)
    rows = described.rows(batched.sample(), 3)
    assert rows.shape == (3, *described.row_shape)
    assert rows.dtype == described.dtype_of_rows
    assert batched.contains(described.native(rows)) or described.is_discrete
    assert np.array_equal(described.rows(described.native(rows), 3), rows)
    single = [described.native(row) for row in rows]
    assert np.array_equal(described.rows(single, 3), rows)
    assert np.array_equal(rows, described.stack([described.row(action) for action in single]))
    none = described.rows(described.native(rows[:0]), 0)
    assert none.shape == (0, *described.row_shape)
    with pytest.raises(ActionError):
        described.rows(described.native(rows), 2)
    with pytest.raises(ActionError):
        described.rows(single, 4)


def test_draws_cover_choices_and_bounds() -> None:
    space = describe(SPACES["dict"], "Toy-v0")
    rows = space.sample(np.random.default_rng(0), 4000)
    for item, column in zip(space.parts, rows.T, strict=True):
        if item.n:
            shares = np.bincount(column.astype(int), minlength=item.n) / len(column)
            assert np.abs(shares - 1 / item.n).max() < 0.04
        else:
            middle, half = (item.low + item.high) / 2, (item.high - item.low) / 2
            assert abs(column.mean() - middle) < 0.1 * half
            assert abs(column.std() - half / 3**0.5) < 0.1 * half
    whole = describe(SPACES["whole numbers"], "Toy-v0").sample(np.random.default_rng(0), 4000)
    assert set(whole[:, 0]) == set(range(-1, 4))


BOX = describe(gym.spaces.Box(-2, 2, (2,)), "Toy-v0")
KEYS = describe(gym.spaces.MultiBinary(2), "Toy-v0")
BOTH = describe(SPACES["dict"], "Toy-v0")


@pytest.mark.parametrize(
    ("space", "action", "message"),
    [
        (BOX, [0, np.nan], "no number"),
        (BOX, [0, np.inf], "no number"),
        (BOX, [0, 2.001], "2.001 as its part '1', out of range: give -2 to 2"),
        (BOX, [0], r"shape \(1,\): give \(2,\)"),
        (BOX, 0.5, r"shape \(\)"),
        (BOX, [[0, 0]], r"shape \(1, 2\)"),
        (BOX, ["a", "b"], "type <U1"),
        (BOX, None, "type object"),
        (BOX, [True, False], "type bool"),
        (BOX, [[0], [0, 1]], "type object"),
        (KEYS, [0, 2], "out of range: give 0 to 1"),
        (KEYS, [0, 0.5], "whole numbers"),
        (KEYS, {"a": 1}, "type object"),
        (BOTH, {"keys": [0, 0, 0]}, "give a dict of go, keys, mouse"),
        (BOTH, [0, 0], "has list: give a dict"),
        (BOTH, {"keys": [0, 0, 0], "mouse": [0, 9], "go": 0}, r"action\['mouse'\] has 9"),
        (BOTH, {"keys": [0, 0, 0], "mouse": [0, 0], "go": 3}, r"action\['go'\].*out of range"),
        (discrete(3), 3, "out of range"),
        (discrete(3), 1.0, "is a float"),
        (discrete(3), True, "is a bool"),
    ],
)
def test_wrong_actions_are_refused(space: ActionSpace, action: Any, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        space.row(action)
    with pytest.raises(ActionError):
        space.rows([action], 1)


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=2))
def test_bounds_are_allowed_and_nothing_is_lost_but_rounding(action: list[float]) -> None:
    native = BOX.native(BOX.row(action))
    assert native.dtype == np.float32
    assert np.array_equal(native, np.array(action, np.float32))


def test_narrow_bounds_of_more_digits_stay_bounds() -> None:
    """0.1 as float32 lies above 0.1."""
    space = gym.spaces.Box(-0.1, 0.1, (1,), np.float64)
    described = describe(space, "Toy-v0")
    assert space.contains(described.native(described.row(space.high)))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (gym.spaces.Box(-np.inf, 1, (2,)), "finite bounds"),
        (gym.spaces.Text(3), "expected Discrete, MultiDiscrete"),
        (gym.spaces.Dict(a=gym.spaces.Text(3)), "expected Discrete, MultiDiscrete"),
        (gym.spaces.Box(-1, 1, (300,)), r"shape\[0\] is 300"),
        (gym.spaces.Discrete(5000), "n is 5000"),
        (gym.spaces.Box(-1, 1, (0,)), r"shape\[0\] is 0"),
    ],
)
def test_other_spaces_are_refused(space: Space, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)Toy-v0 has actions .*{message}"):
        describe(space, "Toy-v0")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "n is missing"),
        ({"n": (2, 3)}, "expected an int for 'discrete'"),
        ({"n": 3, "meanings": ("a", "b")}, "meanings has 2 actions"),
        ({"n": 3, "low": (1.0,)}, "low means nothing"),
        ({"kind": "box", "shape": (2,), "low": (0.0,), "high": (1.0, 1.0)}, "low has 1 values"),
        ({"kind": "box", "shape": (1,), "low": (2.0,), "high": (1.0,)}, "low is 2.0 and high 1.0"),
        ({"kind": "box", "shape": (1,), "low": (0.0,), "high": (float("inf"),)}, "finite"),
        ({"kind": "box", "shape": (1,)}, "low is missing"),
        ({"kind": "multi_discrete", "n": 3, "shape": (1,)}, "else a list"),
        ({"kind": "multi_binary", "shape": (2,), "names": ("a\x1b", "b")}, "printable"),
        ({"kind": "tuple", "spaces": {"1": discrete(2)}}, "expected 0, 1"),
        ({"kind": "dict", "spaces": {}}, "spaces is missing"),
        ({"kind": "torus"}, "kind is 'torus'"),
    ],
)
def test_what_describes_no_space_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ActionSpace(**fields)


def test_nesting_is_bounded() -> None:
    space = discrete(2)
    for _ in range(3):
        space = ActionSpace(kind="dict", spaces={"inner": space})
    with pytest.raises(ConfigError, match="nested too deep"):
        ActionSpace(kind="dict", spaces={"inner": space})


def test_tensors_are_actions() -> None:
    space = discrete(3)
    assert space.row(torch.tensor(2)) == 2
    batch = space.rows(torch.tensor([0, 2], dtype=torch.int32), 2)
    assert batch.tolist() == [0, 2] and batch.dtype == np.int64
    box = ActionSpace(kind="box", shape=(1,), low=(-1.0,), high=(1.0,))
    assert box.rows(torch.tensor([[0.5], [1.0]], requires_grad=True), 2).tolist() == [[0.5], [1.0]]
    for wrong in (torch.tensor(1.0), torch.tensor(True), torch.tensor([1]), torch.tensor(3)):
        with pytest.raises(ActionError):
            space.row(wrong)
    with pytest.raises(ActionError, match="float32"):
        space.rows(torch.zeros(2), 2)
