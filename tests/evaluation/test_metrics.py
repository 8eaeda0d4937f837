"""Measures of frames and events against their definitions and known answers."""

from __future__ import annotations

import numpy as np
import pytest

from dfgym.evaluation import metrics
from dfgym.frames import FLICKER, flicker


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    assert metrics.psnr(black, black) == metrics.PSNR_CAP
    assert metrics.psnr(black + 255, black) == 0
    half = black.copy()
    half[0] = 51  # a fifth of the range in half of the frames
    assert metrics.psnr(half, black) == pytest.approx(10 * np.log10(25 * 2))
    assert metrics.exact(half, black) == 0.5


def test_ssim_equals_its_definition() -> None:
    x, y = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 8, 3), dtype=np.uint8)
    expected = []
    for n, c in np.ndindex(3, 3):
        for i, j in np.ndindex(3, 2):
            a, b = (v[n, i : i + 7, j : j + 7, c].astype(float) for v in (x, y))
            cov = np.cov(a.ravel(), b.ravel())
            numerator = (2 * a.mean() * b.mean() + 6.5025) * (2 * cov[0, 1] + 58.5225)
            denominator = a.mean() ** 2 + b.mean() ** 2 + 6.5025
            expected.append(numerator / denominator / (cov[0, 0] + cov[1, 1] + 58.5225))
    assert metrics.ssim(x, y) == pytest.approx(np.mean(expected))
    assert metrics.ssim(x, x) == pytest.approx(1)
    tiny = np.zeros((1, 1, 1, 3), np.uint8)
    assert metrics.ssim(tiny, tiny) == pytest.approx(1)


def test_drift_measures_react_to_blur_and_freezing() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    flat = np.broadcast_to(frames.mean((1, 2), keepdims=True).astype(np.uint8), frames.shape)
    assert metrics.detail(flat) == 0 < metrics.detail(frames)
    assert metrics.change(frames[:1].repeat(5, 0)) == 0 < metrics.change(frames)
    assert metrics.brightness(np.full((1, 2, 2, 3), 7)) == 7


def test_only_equal_values_count_as_right_events() -> None:
    actual = np.array([0, 1, 1, 0, 2, 0])
    predicted = np.array([0, 1, 0, 1, 1, 0])
    assert metrics.event_scores(predicted, actual) == {
        "events": 3,
        "predictions": 3,
        "precision": 1 / 3,
        "recall": 1 / 3,
        "f1": 1 / 3,
    }


def test_what_no_event_has_tested_has_no_score() -> None:
    nothing, events = np.zeros(4), np.array([0, 1, 0, 1])
    silent = metrics.event_scores(nothing, events)
    assert silent["precision"] is None and silent["recall"] == silent["f1"] == 0
    alarms = metrics.event_scores(events, nothing)
    assert alarms["precision"] == 0 and alarms["recall"] is alarms["f1"] is None
    quiet = metrics.event_scores(nothing, nothing)
    assert quiet["events"] == quiet["predictions"] == 0 and quiet["f1"] is None


def test_a_living_cost_is_no_event_and_float32_rounds() -> None:
    actual = np.array([-1.0, -1, 0.1, -1, -1])
    predicted = np.array([-1.0, -1, np.float32(0.1), -1, 0])
    scores = metrics.event_scores(predicted, actual, usual=-1)
    assert scores["events"] == 1 and scores["predictions"] == 2 and scores["recall"] == 1
    assert metrics.event_scores(actual, np.full(5, -1.0), usual=-1)["f1"] is None


def test_amounts_are_compared_with_the_best_constant() -> None:
    actual = np.array([0.0, 1.0, 2.0, 3.0])
    scores = metrics.amounts(actual + 0.5, actual)
    assert scores["error"] == 0.5 and scores["spread"] == 1
    assert scores["correlation"] == pytest.approx(1)
    assert metrics.amounts(np.ones(4), actual)["correlation"] is None


def test_only_the_pixels_in_question_count() -> None:
    truth = np.zeros((1, 4, 4, 3), np.uint8)
    frames = truth.copy()
    frames[0, 0, 0] = 255
    frames[0, 1, 1, 2] = 10
    where = np.zeros((1, 4, 4), bool)
    assert metrics.accuracy(frames, truth, where) == {"pixels": 0, "right": None}
    where[0, :2, :2] = True
    assert metrics.accuracy(frames, truth, where) == {"pixels": 4, "right": 0.5}
    assert metrics.accuracy(frames, truth, where, FLICKER) == {"pixels": 4, "right": 0.75}


def test_flicker_of_the_last_digits_is_no_change() -> None:
    rng = np.random.default_rng(0)
    frames = (100 + rng.integers(0, 9, (6, 8, 8, 3))).astype(np.uint8)
    assert metrics.change(frames) > 0.9 and metrics.change(frames, FLICKER) == 0
    assert metrics.exact(frames[1:], frames[:-1], flicker(False)) == 1
    assert metrics.exact(frames[1:], frames[:-1], flicker(True)) == 0
    frames[3, 2, 2] = 250
    assert metrics.change(frames, FLICKER) == pytest.approx(2 / 64 / 5)


def test_calibration_error() -> None:
    probability = np.array([0.0, 0.0, 0.95, 0.95, 1.0])
    occurred = np.array([False, False, True, True, True])
    bins = metrics.calibration(probability, occurred)
    assert bins["ece"] == pytest.approx(0.1 / 5)
    assert bins["count"] == [2, 3] and bins["frequency"] == [0, 1]
    assert metrics.calibration(probability, ~occurred)["ece"] == pytest.approx((2 + 2.9) / 5)
