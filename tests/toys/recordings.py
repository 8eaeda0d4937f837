"""Small recordings of random frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dfgym.agents.players import make_factory
from dfgym.data import record as recorder
from dfgym.data.chance import Chance
from dfgym.data.store import EpisodeStore
from dfgym.data.survey import Facts

META = {"env": "Test-v0", "frame_shape": [4, 5, 3], "actions": 3}

GOOD = Facts(
    frames=5000, episodes=100, height=8, width=8, shortest=10, median=50, longest=60,
    terminated=90, truncated=10, colours=3, change=0.1, still=0.2, mover=1,
    rewards={0.0: 4000, 1.0: 900}, buckets=(0.0, 1.0), rounding=0.0, spread=0.4,
    actions=(2450, 2450), meanings=("left", "right"), chance=Chance(1, 0.9, 1.0, 1, 1),
    sampled=5000,
)  # fmt: skip
"""Facts of a recording that lacks nothing."""


def episode(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the frames, actions and rewards of a random episode."""
    rng = np.random.default_rng([frames, seed])
    return (
        rng.integers(0, 256, (frames, 4, 5, 3), np.uint8),
        rng.integers(0, 3, frames - 1),
        rng.normal(size=frames - 1).astype(np.float32),
    )


def fill(path: Path, lengths: tuple[int, ...] = (2, 7, 4)) -> EpisodeStore:
    """Write episodes of these numbers of frames, terminated and truncated by turns."""
    with EpisodeStore.create(path, META) as store:
        for index, length in enumerate(lengths):
            ended = index % 2 == 0
            store.append(*episode(length), ended, not ended, seed=index, policy="random")
    return store


def record(
    env: str,
    out: Path,
    frames: int,
    policies: Any = None,
    progress: bool = False,
    **fields: Any,
) -> EpisodeStore:
    """Record an environment; `fields` are those of a `Recording`."""
    mix = {"random": 1.0} if policies is None else policies
    return recorder.record(
        recorder.Recording(env, frames, mix, **fields), out, make_factory, progress=progress
    )
