"""Learned games as Gymnasium environments: `gym.make("dfgym:DFWorld-v0")`.

Importing this registers every world on the shelf as `DFWorld/<world>`, its real twin as
`DFReal/<world>`, the default world as `DFWorld-v0`, and the games of MinAtar as
`DFSource/MinAtar-<Game>-v0`. It does not import torch: `gym.make` does.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import gymnasium

from dfgym.errors import WorldError
from dfgym.games import minatar, minigrid
from dfgym.world import shelf
from dfgym.world.card import read_bytes, read_episode

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

__version__ = "0.1.0"
__all__ = ["__version__", "make_sb3", "source_id"]


def make_sb3(id: str = "DFWorld-v0", num_envs: int = 1, **make_keywords: Any) -> VecEnv:
    """Make a world as Stable-Baselines3's `VecEnv`: one batched denoising call a step.

    `make_keywords` are those of `gym.make` for the id.

    Raises:
        ConfigError: `id` is not a dream's, or a keyword's value is not allowed.
    """
    from dfgym.env.sb3 import make_sb3 as make

    return make(id, num_envs, **make_keywords)


def source_id(id: str) -> str:
    """Return the Gymnasium id of the real game that a world was learned from.

    Args:
        id: a dream's, `DFWorld/<world>`, or its real twin's, `DFReal/<world>`; any other id is
            returned as it is. A `module:` before it is taken off.

    Raises:
        WorldError: There is no such world, or its card is broken.
    """
    name = id.rpartition(":")[2]
    if not name.startswith(("DFWorld", "DFReal")):
        return name
    spec = gymnasium.registry.get(name)
    keywords = {} if spec is None else spec.kwargs
    return shelf.card(keywords.get("world", shelf.DEFAULT)).source.env


def _register() -> None:
    dream: dict[str, Any] = {
        "entry_point": "dfgym.env.env:DreamEnv",
        "vector_entry_point": "dfgym.env.vector:DreamVectorEnv",
    }
    limits: dict[str, int | None] = {}
    for name in shelf.names():
        try:
            max_steps = read_episode(read_bytes(shelf.find(name))).max_steps
        except WorldError:  # raised again, where it can be dealt with, when the world is made
            max_steps = None
        limits[name] = max_steps
        common: dict[str, Any] = {"kwargs": {"world": name}, "max_episode_steps": max_steps}
        gymnasium.register(f"DFWorld/{name}", **dream, **common)
        gymnasium.register(f"DFReal/{name}", "dfgym.env.real:RealEnv", **common)
    gymnasium.register("DFWorld-v0", **dream, max_episode_steps=limits.get(shelf.DEFAULT))
    minatar.register()
    minigrid.register()


def _use_one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


_register()
# A fork inherits torch's thread pool without its threads, so the first parallel operation in a
# forked worker (Gymnasium's AsyncVectorEnv, SB3's SubprocVecEnv) would wait for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)
