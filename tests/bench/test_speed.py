"""What shells add is measured against the dynamics below them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from dfgym.bench import speed
from dfgym.errors import ConfigError, WorldError
from dfgym.frames import upscale
from dfgym.world.settings import Settings


def test_a_shell_that_dawdles_adds_more_to_the_dynamics(
    random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = speed.shells(random_world, 4, 0.05, Settings("cpu"))
    assert [*plain] == ["env", "vector", "sb3"] and min(plain.values()) > 0

    def dawdle(frames: np.ndarray, scale: int) -> np.ndarray:
        time.sleep(0.05)
        return upscale(frames, scale)

    monkeypatch.setattr("dfgym.env.rows.upscale", dawdle)
    slow = speed.shells(random_world, 4, 0.05, Settings("cpu"))
    assert all(slow[name] > 2 * plain[name] for name in ("env", "vector"))


def test_the_network_takes_its_share_of_a_step(random_world: Path) -> None:
    result = speed.vector(random_world, 3, 0.05, Settings("cpu"))
    assert result["batch"] == 3 and 0 < result["outside_network"] < 1
    assert result["frames_per_second"] > 0
    assert result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"]


def test_mistakes_are_refused_before_anything_is_timed(random_world: Path) -> None:
    with pytest.raises(ConfigError, match="seconds is 0"):
        speed.bench(random_world, seconds=0)
    with pytest.raises(WorldError, match="nowhere-v0"):
        speed.bench("nowhere-v0", seconds=1)
