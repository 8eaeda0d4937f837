"""Functions that play an environment to a hash, here and in a fresh process."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from toys import fresh


def play(env: Any, steps: int) -> str:
    """Play fixed actions, with a reset at each end; return a hash of all results."""
    actions = np.random.default_rng(0)
    digest = hashlib.sha256()
    for _ in range(steps):
        result = env.step(int(actions.integers(env.action_space.n)))
        digest.update(result[0].tobytes() + repr(result[1:]).encode())
        if result[2] or result[3]:
            observation, info = env.reset()
            digest.update(observation.tobytes() + repr(info).encode())
    return digest.hexdigest()


def play_batch(env: Any, steps: int) -> list[Any]:
    """Play fixed actions in a batch; return the results of all steps."""
    actions = np.random.default_rng(1).integers(3, size=(steps, env.num_envs))
    return [env.step(row) for row in actions]


def run(script: str, *arguments: object) -> str:
    """Run a script that may import this module in a fresh process; return its output."""
    here = f"import sys\nsys.path.append({str(Path(__file__).parents[1])!r})\n"
    process = fresh.run(here + script, *arguments)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()
