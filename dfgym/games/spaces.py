"""Gymnasium's action spaces to and from dfgym's own description of them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, get_args

import gymnasium as gym
import numpy as np

from dfgym.actions import ActionSpace, Number
from dfgym.errors import ConfigError


def describe(space: gym.Space[Any], where: str, meanings: tuple[str, ...] = ()) -> ActionSpace:
    """Describe an environment's action space; its choices count from 0 in the description.

    Args:
        space: Gymnasium's.
        where: the name of the environment, for errors.
        meanings: the meaning of each action, where actions are `Discrete` and have some.

    Raises:
        ConfigError: the space is of another kind, has bounds that are not finite, or is too large.
    """
    try:
        return _describe(space, meanings)
    except ConfigError as reason:
        raise ConfigError(f"{where} has actions {space}: {reason}") from None


def _describe(space: gym.Space[Any], meanings: tuple[str, ...] = ()) -> ActionSpace:
    match space:
        case gym.spaces.Discrete():
            return ActionSpace(n=int(space.n), meanings=meanings)
        case gym.spaces.MultiDiscrete():
            counts = tuple(map(int, space.nvec.ravel()))
            return ActionSpace(kind="multi_discrete", n=counts, shape=space.shape)
        case gym.spaces.MultiBinary():
            return ActionSpace(kind="multi_binary", shape=tuple(map(int, space.shape)))
        case gym.spaces.Box():
            return _describe_box(space)
        case gym.spaces.Dict():
            spaces = {str(key): _describe(item) for key, item in space.spaces.items()}
            return ActionSpace(kind="dict", spaces=spaces)
        case gym.spaces.Tuple():
            spaces = {str(key): _describe(item) for key, item in enumerate(space.spaces)}
            return ActionSpace(kind="tuple", spaces=spaces)
    raise ConfigError(
        "expected Discrete, MultiDiscrete, MultiBinary, Box, or a Dict or Tuple of them; wrap the "
        "environment in a gymnasium.ActionWrapper that has such a space"
    )


def _describe_box(space: gym.spaces.Box) -> ActionSpace:
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ConfigError(
            "expected finite bounds, between which values can be drawn and learned; wrap the "
            "environment in gymnasium.wrappers.TransformAction with a Box of finite bounds"
        )
    dtype: Any = str(space.dtype)
    if dtype not in get_args(Number):
        raise ConfigError(f"expected numbers of {', '.join(get_args(Number))}, not {dtype}")
    low, high = (tuple(map(float, bounds.ravel())) for bounds in (space.low, space.high))
    return ActionSpace(kind="box", shape=space.shape, low=low, high=high, dtype=dtype)


def to_gymnasium(space: ActionSpace) -> gym.Space[Any]:
    """Return Gymnasium's form of a space."""
    match space.kind:
        case "discrete":
            return gym.spaces.Discrete(space.count)
        case "multi_discrete":
            return gym.spaces.MultiDiscrete(np.reshape(np.array(space.n, np.int64), space.shape))
        case "multi_binary":
            # SB3 takes a number for a list of switches, and no tuple of it.
            return gym.spaces.MultiBinary(space.shape[0] if len(space.shape) == 1 else space.shape)
        case "box":
            low, high = (
                np.array(bounds, space.dtype).reshape(space.shape)
                for bounds in (space.low, space.high)
            )
            return gym.spaces.Box(low, high, space.shape, np.dtype(space.dtype).type)
        case "dict":
            children = [(key, to_gymnasium(item)) for key, item in space.children]
            return gym.spaces.Dict(OrderedDict(children))
        case "tuple":
            return gym.spaces.Tuple([to_gymnasium(item) for _, item in space.children])


def shift(space: gym.Space[Any], action: Any, sign: int = 1) -> Any:
    """Add to an action's choices, counted from 0, what an environment's space counts from.

    Args:
        space: the environment's own.
        action: in the form of the space; of a batch with the batch in front.
        sign: 1 to go to the environment's numbers, -1 to come from them.
    """
    match space:
        case gym.spaces.Discrete():
            return action + sign * int(space.start)
        case gym.spaces.MultiDiscrete():
            return action + sign * space.start
        case gym.spaces.Dict():
            return {key: shift(item, action[key], sign) for key, item in space.spaces.items()}
        case gym.spaces.Tuple():
            return tuple(shift(item, a, sign) for item, a in zip(space.spaces, action, strict=True))
    return action
