"""What agents have reached: the files that `transfer` writes and `lift` reads too."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfgym.errors import ConfigError
from dfgym.statistics import mean_interval

RANDOM = "random.json"
"""The file of the random player, which has no side and no seed."""


def read(path: Path) -> dict[str, Any]:
    """Read one agent's result: its `scores` in both games, its `steps`, `side` and `seed`.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        result = json.loads(path.read_text())
        numbers = [result["steps"], result["episodes"]]
        numbers += [result["scores"][game]["mean"] for game in ("dream", "real")]
        if path.name != RANDOM:
            numbers.append(result["seed"])
            if result["side"] not in ("dream", "real"):
                raise ValueError(f"`side` is {result['side']!r}")
        if not all(map(math.isfinite, numbers)):
            raise ValueError("some numbers are not finite")
    except (OSError, ValueError, TypeError, KeyError) as reason:
        raise ConfigError(
            f"{path} is no result of an agent ({type(reason).__name__}: {reason}); delete it, and "
            "the command that trained the agent makes it again"
        ) from reason
    return dict(result)


def summarise_seeds(means: Sequence[float]) -> dict[str, Any]:
    """Return the `mean` over seeds, its 95 % `interval` over seeds, and the values `per_seed`.

    Args:
        means: each seed's mean return. The chance of the scored episodes is a part of what its
            values differ by, so the interval holds it too.
    """
    values = [float(value) for value in means]
    interval = mean_interval(values)
    return {
        "mean": float(np.mean(values)),
        "interval": None if interval is None else list(interval),
        "per_seed": values,
    }
