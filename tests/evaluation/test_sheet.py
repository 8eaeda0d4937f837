"""The contact sheet: what stands in it, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfgym.errors import ConfigError
from dfgym.evaluation.sheet import Config, contact_sheet, strips
from dfgym.train.strips import DIFFERENT, draw
from dfgym.world import bundle
from dfgym.world.settings import Settings


def test_strips_begin_alike_and_follow_recorded_episodes(random_world: Path) -> None:
    world = bundle.load(random_world)
    real, dream = strips(world, 5, 6, 0, Settings("cpu"))
    assert real.shape == dream.shape == (5, 6, 8, 8, 3)
    assert np.array_equal(real[:, 0], dream[:, 0]) and not np.array_equal(real, dream)
    recorded = [world.starts.episode(i)[0] for i in range(len(world.starts))]
    for strip in real:
        assert any(
            np.array_equal(strip, frames[t : t + 6])
            for frames in recorded
            for t in range(len(frames) - 5)
        )
    again = strips(world, 5, 6, 0, Settings("cpu"))
    assert np.array_equal(again[0], real) and np.array_equal(again[1], dream)
    assert not np.array_equal(strips(world, 5, 6, 1, Settings("cpu"))[0], real)


def test_only_frames_that_differ_are_underlined() -> None:
    real = np.zeros((2, 3, 4, 4, 3), np.uint8)
    dream = real.copy()

    def marks() -> int:
        return int((draw(real, dream, "toy") == DIFFERENT).all(-1).sum())

    assert marks() == 0
    dream[1, 2, 0, 0] = 255
    one = marks()
    dream[0, 1:] = 9
    assert one > 0 and marks() == 3 * one


def test_the_command_writes_a_picture(random_world: Path, tmp_path: Path) -> None:
    out = contact_sheet(
        Config(str(random_world), tmp_path / "sheet.png", 2, 4, settings=Settings("cpu"))
    )
    with Image.open(out) as picture:
        assert picture.format == "PNG" and picture.width > 4 * 64 and picture.height > 2 * 128


@pytest.mark.parametrize(("rows", "frames"), [(0, 5), (-1, 5), (2, 1), (2, 13)])
def test_sizes_out_of_range(random_world: Path, tmp_path: Path, rows: int, frames: int) -> None:
    with pytest.raises(ConfigError, match="frames"):
        contact_sheet(
            Config(str(random_world), tmp_path / "x.png", rows, frames, settings=Settings("cpu"))
        )
    assert not list(tmp_path.iterdir())
