"""Measures of pictures and events against known answers; GIFs and plots read back by others."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from dfgym.evaluation import gif, pictures, scores, svg


def test_psnr_of_a_known_error():
    black = np.zeros((2, 4, 4, 3), np.uint8)
    assert pictures.psnr(black, black) == pictures.PSNR_CAP
    assert pictures.psnr(black + 255, black) == 0
    half = black.copy()
    half[0] = 51  # a fifth of the range in half of the frames
    assert pictures.psnr(half, black) == pytest.approx(10 * np.log10(25 * 2))
    assert pictures.exact(half, black) == 0.5


def test_ssim_equals_its_definition():
    x, y = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 8, 3), dtype=np.uint8)
    expected = []
    for n, c in np.ndindex(3, 3):
        for i, j in np.ndindex(3, 2):
            a, b = (v[n, i : i + 7, j : j + 7, c].astype(float) for v in (x, y))
            cov = np.cov(a.ravel(), b.ravel())
            numerator = (2 * a.mean() * b.mean() + 6.5025) * (2 * cov[0, 1] + 58.5225)
            denominator = a.mean() ** 2 + b.mean() ** 2 + 6.5025
            expected.append(numerator / denominator / (cov[0, 0] + cov[1, 1] + 58.5225))
    assert pictures.ssim(x, y) == pytest.approx(np.mean(expected))
    assert pictures.ssim(x, x) == pytest.approx(1)
    tiny = np.zeros((1, 1, 1, 3), np.uint8)
    assert pictures.ssim(tiny, tiny) == pytest.approx(1)


def test_drift_measures_see_blur_and_frost():
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    flat = np.broadcast_to(frames.mean((1, 2), keepdims=True).astype(np.uint8), frames.shape)
    assert pictures.detail(flat) == 0 < pictures.detail(frames)
    assert pictures.change(frames[:1].repeat(5, 0)) == 0 < pictures.change(frames)
    assert pictures.brightness(np.full((1, 2, 2, 3), 7)) == 7


def test_events_count_only_equal_values_as_right():
    truth = np.array([0, 1, 1, 0, 2, 0])
    found = np.array([0, 1, 0, 1, 1, 0])
    result = scores.events(found, truth)
    assert result == {"precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3, "events": 3}
    assert scores.events(truth * 0, truth)["recall"] == 0
    assert scores.events(truth * 0, truth * 0)["f1"] == 1


def test_calibration_error():
    said = np.array([0.0, 0.0, 0.95, 0.95, 1.0])
    happened = np.array([False, False, True, True, True])
    assert scores.calibration(said, happened)["ece"] == pytest.approx(0.1 / 5)
    assert scores.calibration(said, ~happened)["ece"] == pytest.approx((2 + 2.9) / 5)
    assert scores.calibration(said, happened)["count"] == [2, 3]


@pytest.mark.parametrize("colours", [1, 2, 3, 5, 17, 256])
def test_gif_loses_nothing(tmp_path: Path, colours: int):
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(colours)
    palette = random.integers(0, 256, (colours, 3), dtype=np.uint8)
    frames = palette[random.integers(0, colours, (4, 61, 90))]
    frames[2] = frames[1]  # nothing changes
    frames[3, 5:9, 7:9] = palette[0]  # little does
    gif.write(tmp_path / "a.gif", frames, fps=10)
    with image.open(tmp_path / "a.gif") as film:
        assert film.info["loop"] == 0
        shown = []
        for index in range(film.n_frames):
            film.seek(index)
            count, rest = divmod(film.info["duration"], 100)  # Pillow joins equal frames
            assert not rest
            shown += [np.array(film.convert("RGB"))] * count
    assert np.array_equal(np.stack(shown), frames)


def test_gif_of_many_colours_is_rounded(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    gif.write(tmp_path / "a.gif", frames, fps=30)
    with image.open(tmp_path / "a.gif") as film:
        error = frames[0].astype(int) - np.array(film.convert("RGB"))
    assert error.min() >= 0 and error.max() <= 63


def test_beside_holds_the_shorter_game():
    left, right = np.zeros((3, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 9, np.uint8)
    both = gif.beside(left, right, cell=4)
    assert both.shape == (3, 8, 8 + 4 + 8, 3)
    assert (both[:, :, -8:] == 9).all() and (both[:, :, :8] == 0).all()


def test_plot_is_xml_with_every_point_inside():
    series = {"dream": [0.1, 0.5, 120.0], "real": [3.0, -2.0, 1e-3]}
    root = ElementTree.fromstring(svg.lines("a < b & c", [1, 2, 512], series, "x", log_x=True))
    dots = root.findall("circle")
    assert len(dots) == 6
    for dot in dots:
        assert svg.LEFT <= float(dot.attrib["cx"]) <= svg.WIDTH - svg.RIGHT
        assert svg.TOP <= float(dot.attrib["cy"]) <= svg.HEIGHT - svg.BOTTOM
    ElementTree.fromstring(svg.lines("flat, one point", [1], {"dream": [0.0]}, "x"))
