"""Intervals against closed forms, published values and their own promise: 19 times in 20."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dfgym.statistics import (
    Interval,
    bootstrap_interval,
    interquartile_mean,
    mean_interval,
    ratio_interval,
    student_t,
)


def coverage(draw: Callable[[np.random.Generator], Interval | None], truth: float) -> float:
    """Return how often 400 intervals hold the truth; one without bounds always does."""
    generator = np.random.default_rng(0)
    intervals = [draw(generator) for _ in range(400)]
    return float(np.mean([i is None or i[0] <= truth <= i[1] for i in intervals]))


def test_interquartile_mean_is_the_mean_of_the_middle_half() -> None:
    assert interquartile_mean(np.array([100.0, 2, 1, 3, 4, -50, 5, 6])) == 3.5
    assert interquartile_mean(np.array([7.0])) == 7.0


def test_the_bootstrap_interval_covers_the_truth_19_times_in_20() -> None:
    def draw(generator: np.random.Generator) -> Interval:
        values = generator.exponential(2.0, 100)
        return bootstrap_interval(values, lambda samples: samples.mean(-1), resamples=1000)

    assert 0.90 <= coverage(draw, 2.0) <= 0.985


def test_the_bootstrap_resamples_rows_of_a_table() -> None:
    table = np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 10.0]])  # the second column is twice the first

    def ratio(samples: np.ndarray) -> np.ndarray:
        return samples[..., 1].sum(-1) / samples[..., 0].sum(-1)

    assert bootstrap_interval(table, ratio) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.30265), (4, 2.77645), (10, 2.22814), (30, 2.04227)],
)
def test_student_t_is_the_printed_tables(freedom: float, quantile: float) -> None:
    assert student_t(freedom) == pytest.approx(quantile, rel=1e-5)


def test_student_t_of_two_degrees_has_a_closed_form() -> None:
    for confidence in (0.5, 0.9, 0.99):  # P(|T| < t) = t / sqrt(t^2 + 2)
        t = student_t(2, confidence)
        assert t / np.sqrt(t * t + 2) == pytest.approx(confidence, abs=1e-8)


def test_mean_interval_of_three_seeds() -> None:
    low, high = mean_interval([1.0, 2.0, 3.0]) or (0.0, 0.0)
    half = 4.30265 / np.sqrt(3)  # the standard deviation is 1
    assert (low, high) == pytest.approx((2 - half, 2 + half), rel=1e-5)
    assert mean_interval([1.0]) is None


def test_ratio_over_an_exact_denominator_is_the_numerators_interval() -> None:
    low, high = mean_interval([1.0, 2.0, 3.0]) or (0.0, 0.0)
    for paired in (False, True):
        assert ratio_interval([1.0, 2, 3], [4.0, 4, 4], paired) == pytest.approx(
            (low / 4, high / 4)
        )


def test_ratio_of_an_exact_numerator_is_the_denominators_interval_inverted() -> None:
    low, high = mean_interval([9.0, 10.0, 11.0]) or (0.0, 0.0)
    for paired in (False, True):
        interval = ratio_interval([5.0, 5, 5], [9.0, 10, 11], paired)
        assert interval == pytest.approx((5 / high, 5 / low))


def test_ratio_of_proportional_pairs_is_certain() -> None:
    assert ratio_interval([22.0, 24.0, 27.0], [11.0, 12.0, 13.5], True) == pytest.approx((2.0, 2.0))
    assert ratio_interval([6.0, 6.0], [3.0, 3.0], False) == pytest.approx((2.0, 2.0))


def test_ratio_without_bounds_is_none() -> None:
    assert ratio_interval([1.0, 2.0, 3.0], [-1.0, 0.5, 2.0], False) is None
    assert ratio_interval([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], True) is None
    assert ratio_interval([1.0], [1.0, 2.0], False) is None


def test_the_ratio_interval_of_three_seeds_covers_the_truth_19_times_in_20() -> None:
    def independent(generator: np.random.Generator) -> Interval | None:
        numerators, denominators = generator.normal(15, 2, 3), generator.normal(14, 2, 3)
        return ratio_interval(numerators.tolist(), denominators.tolist(), paired=False)

    def paired(generator: np.random.Generator) -> Interval | None:
        agents = generator.normal(0, 2, 3)
        numerators = 15 + agents + generator.normal(0, 0.5, 3)
        return ratio_interval(numerators.tolist(), (14 + agents).tolist(), paired=True)

    assert 0.92 <= coverage(independent, 15 / 14) <= 0.99
    assert 0.92 <= coverage(paired, 15 / 14) <= 0.985
