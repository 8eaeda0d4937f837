"""Pictures in observations of any form become frames uint8 (h, w, 3)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfgym.errors import ConfigError
from dfgym.games.images import find_image, is_image, to_frame
from dfgym.games.minatar import palette

Box = gym.spaces.Box
RGB = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
GREY = RGB[..., :1]
OLD = 255 - RGB


@pytest.mark.parametrize(
    ("picture", "high", "frame"),
    [
        (RGB, 255, RGB),
        (RGB.transpose(2, 0, 1), 255, RGB),
        (GREY[..., 0], 255, GREY.repeat(3, 2)),
        (GREY, 255, GREY.repeat(3, 2)),
        (GREY.transpose(2, 0, 1), 255, GREY.repeat(3, 2)),
        (np.dstack([RGB, np.full((9, 12), 255, np.uint8)]), 255, RGB),
        (np.stack([OLD, OLD, RGB]), 255, RGB),
        (np.stack([OLD[..., 0], OLD[..., 1], OLD[..., 2], GREY[..., 0]]), 255, GREY.repeat(3, 2)),
        (np.dstack([OLD, OLD, RGB]), 255, RGB),
        (np.dstack([OLD, GREY]), 255, GREY.repeat(3, 2)),
        (np.stack([OLD, RGB]).transpose(0, 3, 1, 2), 255, RGB),
        (RGB / np.float32(255), 1, RGB),
        (RGB.astype(np.float64), 255, RGB),
        (RGB.astype(np.int64), 255, RGB),
        (GREY > 100, 1, (GREY > 100).repeat(3, 2) * np.uint8(255)),
    ],
)
def test_every_form_of_picture(picture: np.ndarray, high: float, frame: np.ndarray) -> None:
    result = to_frame(picture, high)
    assert result.dtype == np.uint8 and (result == frame).all()
    assert result.shape == frame.shape and result.flags.c_contiguous
    assert not np.shares_memory(result, picture)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("high", [1, 255])
def test_a_picture_of_numbers_that_are_not_finite_is_refused(number: float, high: float) -> None:
    for picture in (RGB / np.float32(255), GREY / np.float32(255)):
        picture[1, 2] = number
        with pytest.raises(ConfigError, match=f"not finite; expected 0 to {high}"):
            to_frame(picture, high)


def test_a_grid_of_channels_is_drawn_as_minatar_draws_it() -> None:
    grid = np.zeros((10, 10, 6), bool)
    grid[1, 2, 3] = grid[1, 2, 0] = grid[4, 5, 5] = True
    frame = to_frame(grid, 1)
    colours = palette(6)
    assert (frame[1, 2] == colours[4]).all() and (frame[4, 5] == colours[6]).all()
    assert (frame != 0).any(-1).sum() == 2


@given(st.integers(3, 20), st.integers(3, 20))
def test_grey_levels_come_back_exactly(height: int, width: int) -> None:
    grey = (np.arange(height * width).reshape(height, width) * 37 % 256).astype(np.uint8)
    assert (to_frame(grey / 255, 1)[..., 0] == grey).all()


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (Box(0, 255, (84, 84), np.uint8), True),
        (Box(0, 255, (4, 84, 84), np.uint8), True),
        (Box(0, 255, (4, 84, 84, 3), np.uint8), True),
        (Box(0, 1, (64, 64, 3), np.float32), True),
        (Box(0, 1, (10, 10, 4), dtype=bool), True),  # type: ignore[arg-type]
        (Box(-np.inf, np.inf, (5, 5), np.float32), False),
        (Box(0, 1, (4, 4), np.float32), False),
        (Box(-1, 1, (64, 64, 3), np.float32), False),
        (Box(0, 1, (8,), np.float32), False),
        (Box(0, 255, (2, 2, 3), np.uint8), False),
        (gym.spaces.Discrete(3), False),
    ],
)
def test_which_spaces_hold_pictures(space: gym.Space[Any], expected: bool) -> None:
    assert is_image(space) == expected


def test_the_picture_in_a_dict_or_tuple_is_found_by_itself_or_by_its_key() -> None:
    picture, other = Box(0, 255, RGB.shape, np.uint8), Box(0, 255, (20, 20), np.uint8)
    vector = Box(-1, 1, (3,))
    space = gym.spaces.Dict({"inner": gym.spaces.Tuple((vector, picture)), "speed": vector})
    image = find_image(space)
    assert image is not None and image.key == "inner.1"
    observation = {"inner": (np.zeros(3), RGB), "speed": np.zeros(3)}
    assert (image.frame(observation) == RGB).all()
    assert find_image(gym.spaces.Dict({"speed": vector})) is None
    both = gym.spaces.Dict({"a": picture, "b": other})
    assert find_image(both, "b") is not None
    with pytest.raises(ConfigError, match="several images, a, b; choose one: --image-key"):
        find_image(both)
    with pytest.raises(ConfigError, match="image-key is 'c'; the observations have images at 'a'"):
        find_image(both, "c")
    with pytest.raises(ConfigError, match="'c'; expected none, as the observations are images"):
        find_image(picture, "c")
    with pytest.raises(ConfigError, match="have no image"):
        find_image(vector, "c")
