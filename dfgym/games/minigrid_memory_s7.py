"""MiniGrid's Memory with a hall of 7 tiles: as `minigrid_memory`, but nearer."""

from __future__ import annotations

import dataclasses

from dfgym.games import minigrid_memory

GAME = dataclasses.replace(minigrid_memory.GAME, env_id="DFSource/MiniGrid-MemoryS7-v0")
