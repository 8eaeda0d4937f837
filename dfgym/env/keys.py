"""What actions mean, and which keys play them, as other tools want it: dream and real alike."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from dfgym.errors import ConfigError
from dfgym.world.card import Actions

_KEY_CODES = {  # SDL's, which `gymnasium.utils.play` goes by
    "left": 0x40000050,
    "right": 0x4000004F,
    "up": 0x40000052,
    "down": 0x40000051,
    "space": ord(" "),
    "return": ord("\r"),
}
MAX_HELD = 3
"""Keys that are held together, where each sets some parts of an action."""


def key_codes(actions: Actions) -> dict[tuple[int, ...], Any]:
    """Return which keys play which action, as `gymnasium.utils.play` wants it.

    Where actions have parts, also keys that are held together: each sets its own.
    """
    codes = {key: _KEY_CODES.get(key) or ord(key) for key in actions.keys}
    most = 1 if actions.is_discrete else MAX_HELD
    return {
        tuple(sorted(codes[key] for key in keys)): actions.native(
            actions.press(*(actions.keys[key] for key in keys))
        )
        for count in range(1, most + 1)
        for keys in combinations(actions.keys, count)
    }


def action_meanings(actions: Actions) -> list[str]:
    """Return what each action means, in the Arcade Learning Environment's form, as "NOOP".

    Raises:
        ConfigError: actions are not discrete.
    """
    if not actions.is_discrete:
        raise ConfigError(f"actions are {actions}, of which not each has a meaning of its own")
    words = actions.meanings or map(str, range(actions.count))
    return ["".join(letter for letter in str(word) if letter.isalnum()).upper() for word in words]
