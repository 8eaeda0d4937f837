"""Actions, checked before anything advances, and the keys that play them: dream and real alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from dfgym.errors import ActionError

_KEY_CODES = {  # SDL's, which `gymnasium.utils.play` goes by
    "left": 0x40000050,
    "right": 0x4000004F,
    "up": 0x40000052,
    "down": 0x40000051,
    "space": ord(" "),
    "return": ord("\r"),
}


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a value is an int or a NumPy integer; bool and timedelta64 only look like one."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def check_action(action: Any, n: int) -> int:
    """Return a discrete action as an `int`.

    Args:
        action: an int, a NumPy integer or an integer array of shape `()`.
        n: number of actions.

    Raises:
        ActionError: the action is of another type (bool and float included) or not in [0, n).
    """
    if isinstance(action, np.ndarray) and action.shape == ():
        action = action[()]
    if not is_whole(action):
        raise ActionError(
            f"action {action!r} is a {type(action).__name__}: give an int from 0 to {n - 1}"
        )
    if not 0 <= action < n:
        raise ActionError(f"action {action} is out of range: give an int from 0 to {n - 1}")
    return int(action)


def check_actions(actions: Any, n: int, count: int) -> np.ndarray:
    """Return discrete actions as a fresh int64 array `(count,)`.

    Args:
        actions: an integer array `(count,)`, or a list or tuple of `count` single actions.
        n: number of actions.
        count: how many actions there must be.

    Raises:
        ActionError: the type, the length or a value is wrong; the message names the first.
    """
    if isinstance(actions, list | tuple):
        actions = np.array([check_action(action, n) for action in actions], dtype=np.int64)
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


def key_codes(keys: Mapping[str, int]) -> dict[tuple[int, ...], int]:
    """Return which key plays which action, as `gymnasium.utils.play` wants it.

    Args:
        keys: key names and actions, as a card has them.
    """
    return {(_KEY_CODES.get(key) or ord(key),): action for key, action in keys.items()}
