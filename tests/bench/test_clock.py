"""Clocks: sections add up and nest, percentiles are those of the times."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dfgym.bench import clock
from dfgym.bench.clock import SectionClock, check_seconds, durations, percentiles
from dfgym.errors import ConfigError


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time that advances by one second whenever it is read."""
    seconds: Iterator[int] = iter(range(10**6))
    monkeypatch.setattr(clock, "timer", lambda: float(next(seconds)))


@pytest.mark.usefixtures("ticks")
def test_a_section_counts_what_happens_within_it() -> None:
    section = SectionClock()
    with section("outer"):
        for _ in range(2):
            with section("inner"):
                pass
    assert section.seconds == {"outer": 5, "inner": 2}
    assert section.calls == {"outer": 1, "inner": 2}
    section.clear()
    assert not section.seconds and not section.calls


@pytest.mark.usefixtures("ticks")
def test_sections_that_are_not_named_cost_no_time() -> None:
    section = SectionClock("outer")
    with section("outer"), section("inner"):
        pass
    assert section.seconds == {"outer": 1}


@pytest.mark.usefixtures("ticks")
def test_the_warm_up_is_not_measured() -> None:
    events: list[str] = []
    times = durations(lambda: events.append("call"), 30.0, lambda: events.append("ready"))
    assert events[-len(times) - 1] == "ready" and events.index("ready") >= 1
    assert np.array_equal(times, np.ones(len(times)))


def test_there_is_at_least_one_measurement() -> None:
    assert len(durations(lambda: None, 1e-9)) >= 1


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles(np.arange(101) / 1000) == pytest.approx(
        {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99}
    )


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_in_which_nothing_can_be_measured_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match=f"seconds is {seconds}; give a number above 0"):
        check_seconds(seconds)
