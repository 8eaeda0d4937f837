"""Films, read back by the packages that wrote them: nothing may be lost on the way."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dfgym.evaluation.film import encode_gif, side_by_side


def decode(data: bytes, frame_milliseconds: int) -> np.ndarray:
    """Read a GIF's frames uint8 `(t, h, w, 3)`; Pillow writes equal ones as one that stays."""
    frames = []
    with Image.open(io.BytesIO(data)) as film:
        for index in range(getattr(film, "n_frames", 1)):
            film.seek(index)
            count, rest = divmod(film.info["duration"], frame_milliseconds)
            assert not rest
            frames += [np.asarray(film.convert("RGB"))] * count
    return np.stack(frames)


@pytest.mark.parametrize("colours", [1, 2, 3, 5, 17, 256])
def test_a_gif_loses_nothing(colours: int) -> None:
    random = np.random.default_rng(colours)
    palette = random.integers(0, 256, (colours, 3), dtype=np.uint8)
    frames = palette[random.integers(0, colours, (4, 61, 90))]
    frames[2] = frames[1]  # nothing changes
    frames[3, 5:9, 7:9] = palette[0]  # little does
    data = encode_gif(frames, fps=10)
    assert np.array_equal(decode(data, 100), frames)
    with Image.open(io.BytesIO(data)) as film:
        assert film.info["loop"] == 0


def test_every_frame_of_a_gif_has_its_own_colours() -> None:
    random = np.random.default_rng(0)
    palettes = random.integers(0, 256, (5, 200, 3), dtype=np.uint8)
    frames = np.stack([palette[random.integers(0, 200, (40, 40))] for palette in palettes])
    assert np.array_equal(decode(encode_gif(iter(frames), fps=50), 20), frames)


def test_a_frame_of_many_colours_keeps_its_looks() -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    frame = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(128)), -1)
    error = decode(encode_gif([frame], fps=10), 100)[0].astype(int) - frame
    assert 0 < np.abs(error).max() <= 24 and np.abs(error.mean()) < 1


def test_a_gif_is_never_faster_than_players_show_it() -> None:
    frames = (
        np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(2, 2).repeat(3, 3)
    )
    with Image.open(io.BytesIO(encode_gif(frames, fps=1000))) as film:
        assert film.info["duration"] == 20


def test_the_shorter_game_holds_its_last_frame() -> None:
    left, right = np.zeros((3, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 9, np.uint8)
    both = side_by_side(left, right, cell=4)
    assert both.shape == (3, 8, 8 + 4 + 8, 3)
    assert (both[:, :, -8:] == 9).all() and (both[:, :, :8] == 0).all()
