"""Actions in the form of their space, checked, to and from rows of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from dfgym import checks
from dfgym.errors import ActionError

if TYPE_CHECKING:
    from dfgym.actions import ActionSpace


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a value is an int or a NumPy integer; bool and timedelta64 only look like one."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def as_array(action: Any) -> Any:
    """Return a tensor of another library, as torch or jax, as a NumPy array; others as they are."""
    if isinstance(action, np.ndarray | np.generic) or not hasattr(action, "__array__"):
        return action
    if hasattr(action, "cpu"):  # torch's, which may lie on another device
        action = action.detach().cpu()
    return np.asarray(action)


def check_choice(action: Any, n: int) -> int:
    """Return a discrete action as an `int`.

    Args:
        action: an int, a NumPy integer or an integer array or tensor of shape `()`.
        n: number of actions.

    Raises:
        ActionError: the action is of another type (bool and float included) or not in [0, n).
    """
    action = as_array(action)
    if isinstance(action, np.ndarray) and action.shape == ():
        action = action[()]
    if not is_whole(action):
        raise ActionError(
            f"action {action!r} is a {type(action).__name__}: give an int from 0 to {n - 1}"
        )
    if not 0 <= action < n:
        raise ActionError(f"action {action} is out of range: give an int from 0 to {n - 1}")
    return int(action)


def check_choices(actions: Any, n: int, count: int) -> np.ndarray:
    """Return `count` discrete actions as a fresh int64 array, or raise ActionError."""
    actions = as_array(actions)
    if isinstance(actions, list | tuple):
        actions = np.array([check_choice(action, n) for action in actions], dtype=np.int64)
    if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "iu":
        kind = getattr(actions, "dtype", type(actions).__name__)
        raise ActionError(f"actions are of type {kind}: give an integer array of shape ({count},)")
    if actions.shape != (count,):
        raise ActionError(f"actions have shape {actions.shape}: give {count}, shape ({count},)")
    wrong = np.flatnonzero((actions < 0) | (actions >= n))
    if wrong.size:
        raise ActionError(
            f"actions[{wrong[0]}] = {actions[wrong[0]]} is out of range: give 0 to {n - 1}"
        )
    return actions.astype(np.int64)


def compose(space: ActionSpace, values: np.ndarray) -> Any:
    """Return numbers `(..., parts)` in the form of a space."""
    lead = values.shape[:-1]
    match space.kind:
        case "discrete":
            choice = values[..., 0].astype(np.int64)
            return choice if lead else int(choice)
        case "multi_discrete":
            return values.astype(np.int64).reshape((*lead, *space.shape))
        case "multi_binary":
            return values.astype(np.int8).reshape((*lead, *space.shape))
        case "box":
            # float32 may lie a rounding beyond bounds of more digits.
            values = np.clip(values.astype(np.float64), space.low, space.high)
            if not space.dtype.startswith("float"):
                values = np.rint(values)
            low, high = (np.array(bounds, space.dtype) for bounds in (space.low, space.high))
            values = np.asarray(np.clip(values.astype(space.dtype), low, high))
            return values.reshape((*lead, *space.shape))
        case "dict" | "tuple":
            composed, first = {}, 0
            for key, child in space.children:
                last = first + len(child.parts)
                composed[key] = compose(child, values[..., first:last])
                first = last
            return composed if space.kind == "dict" else tuple(composed.values())


def flatten(
    space: ActionSpace, action: Any, lead: tuple[int, ...], name: str = "action"
) -> np.ndarray:
    """Check an action, or a batch of them, and return float64 `(*lead, parts)`."""
    match space.kind:
        case "dict":
            if not isinstance(action, dict) or set(action) != set(space.spaces):
                keys = list(action) if isinstance(action, dict) else type(action).__name__
                raise ActionError(
                    f"{name} has {keys}: give a dict of {', '.join(sorted(space.spaces))}"
                )
            items = [(f"{name}[{k!r}]", child, action[k]) for k, child in space.children]
        case "tuple":
            if not isinstance(action, tuple | list) or len(action) != len(space.spaces):
                raise ActionError(
                    f"{name} is {checks.shorten(action)}: give a tuple of {len(space.spaces)}"
                )
            pairs = zip(space.children, action, strict=True)
            items = [(f"{name}[{k}]", child, item) for (k, child), item in pairs]
        case _:
            return _flatten_array(space, action, lead, name)
    return np.concatenate([flatten(child, item, lead, place) for place, child, item in items], -1)


def _flatten_array(space: ActionSpace, action: Any, lead: tuple[int, ...], name: str) -> np.ndarray:
    try:
        values = np.asarray(as_array(action))
    except ValueError:  # lists of different lengths
        values = np.zeros(0, object)
    shape = (*lead, *space.shape)
    whole = space.kind != "box"
    if values.dtype.kind not in ("iufb" if space.kind == "multi_binary" else "iuf"):
        raise ActionError(
            f"{name} is of type {values.dtype}: give numbers of shape {shape}, for {space}"
        )
    if values.shape != shape:
        raise ActionError(f"{name} has shape {values.shape}: give {shape}, for {space}")
    values = values.astype(np.float64).reshape((*lead, len(space.parts)))
    if not np.isfinite(values).all():
        raise ActionError(f"{name} holds a value that is no number: give finite ones")
    low, high = space.bounds
    if whole or not space.dtype.startswith("float"):
        if (values != np.rint(values)).any():
            raise ActionError(f"{name} is not of whole numbers: give some, for {space}")
    else:  # as precise as rows are
        low, high, values = (a.astype(np.float32).astype(float) for a in (low, high, values))
    wrong = np.argwhere((values < low) | (values > high))
    if wrong.size:
        place = tuple(wrong[0])
        raise ActionError(
            f"{name} has {values[place]:g} as its part {space.part_names[place[-1]]!r}, out of "
            f"range: give {low[place[-1]]:g} to {high[place[-1]]:g}"
        )
    return values
