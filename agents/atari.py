"""Agents of Atari games, trained the usual way: `make_atari_env` and `VecFrameStack(4)`.

They see four grey frames of 84 x 84, choose at every fourth frame, and an episode of theirs ends
with each life. Recorded is the game itself, in its own frames and with its own rewards.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from stable_baselines3.common.atari_wrappers import AtariWrapper

from dfgym.games.source import Source

if TYPE_CHECKING:
    from dfgym.agents.players import Player

SIDE = 84
SKIP = 4


def find_wrappers(
    player: Player, source: Source
) -> Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]] | None:
    """Return what wraps an Atari game as `make_atari_env` does, if an agent learned so.

    An agent learned so if the game is the Arcade Learning Environment's, its own observations are
    not 84 x 84, and the agent's are. A game that skips frames itself is not made to skip more.
    """
    shape = source.env.observation_space.shape or ()
    if not hasattr(source.env.unwrapped, "ale") or SIDE in shape:
        return None
    if _shape(player.file).count(SIDE) != 2:
        return None
    own = getattr(source.env.unwrapped, "_frameskip", 1)
    skip = SKIP if own == 1 else 1
    return lambda env: AtariWrapper(env, frame_skip=skip)


def _shape(file: str) -> tuple[int, ...]:
    """Return the shape of the observations that an agent's zip names; () if it names none."""
    try:
        with zipfile.ZipFile(file) as archive:
            values = json.loads(archive.read("data"))
        return tuple(values["observation_space"]["_shape"])
    except (KeyError, OSError, ValueError, TypeError, RecursionError, zipfile.BadZipFile):
        return ()  # what is wrong with it, SB3 says
