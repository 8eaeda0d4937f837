"""Filters that make frames smaller: exact where they can be, and none invents a colour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfgym.games.resizing import pick_filter, resize

BLACK, WHITE = np.zeros(3, np.uint8), np.full(3, 255, np.uint8)


def noise(height: int, width: int, colours: int = 0) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    frame = rng.integers(0, 256, (height, width, 3), np.uint8)
    if colours:
        frame = frame.reshape(-1, 3)[rng.integers(0, colours, (height, width))]
    return frame


@given(st.integers(3, 12), st.integers(3, 12), st.integers(1, 5), st.integers(1, 5))
def test_an_enlarged_picture_comes_back(height: int, width: int, down: int, across: int) -> None:
    small = noise(height, width)
    large = small.repeat(down, 0).repeat(across, 1)
    for kind in ("area", "nearest", "contrast"):
        assert (resize(large, (height, width), kind) == small).all()


@given(st.integers(8, 70), st.integers(8, 70), st.integers(3, 64), st.integers(3, 64))
def test_palettes_stay_palettes(height: int, width: int, tall: int, wide: int) -> None:
    frame = noise(height, width, 5)
    colours = {tuple(colour) for colour in frame.reshape(-1, 3).tolist()}
    for kind in ("nearest", "contrast"):
        new = resize(frame, (tall, wide), kind)
        assert new.shape == (tall, wide, 3) and new.dtype == np.uint8
        assert {tuple(colour) for colour in new.reshape(-1, 3).tolist()} <= colours


@pytest.mark.parametrize("size", [(64, 64), (84, 84), (105, 80), (50, 63)])
def test_contrast_keeps_a_single_bright_pixel_wherever_it_is(size: tuple[int, int]) -> None:
    for row, column in np.random.default_rng(0).integers(0, (210, 160), (30, 2)):
        frame = np.tile(np.array([90, 60, 20], np.uint8), (210, 160, 1))
        frame[row, column] = WHITE
        new = resize(frame, size, "contrast")
        places = np.argwhere((new == WHITE).all(-1))
        assert 1 <= len(places) <= 4  # a pixel on a border is in both blocks
        expected = np.array([row * size[0] / 210, column * size[1] / 160])
        assert (abs(places + 0.5 - expected) <= 1.5).all()


def test_contrast_takes_the_pixel_that_is_farthest_from_the_median() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[0, 1], frame[1, 0], frame[3, 3] = (10, 0, 0), (0, 0, 200), (7, 7, 7)
    new = resize(frame, (2, 2), "contrast")
    assert new.reshape(-1, 3).tolist() == [[0, 0, 200], [0, 0, 0], [0, 0, 0], [7, 7, 7]]


def test_the_filter_is_picked_by_measuring() -> None:
    grid = noise(8, 8, 5)
    large = grid.repeat(8, 0).repeat(8, 1)
    assert pick_filter([large], (8, 8))[0] == "nearest"
    assert pick_filter([large], (16, 16))[0] == "nearest"
    assert pick_filter([large], (30, 30))[0] == "contrast"
    dot = large.copy()
    dot[0, 0] = dot[63, 63]
    assert pick_filter([large, noise(64, 64, 5)], (8, 8))[0] == "contrast"
    kind, why = pick_filter([noise(64, 64)], (8, 8))
    assert kind == "area" and "colours" in why
