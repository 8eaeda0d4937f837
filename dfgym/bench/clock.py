"""Clocks: how long calls take, and the named sections of a step, whatever device they work on."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch.utils.benchmark import timer  # which waits for a GPU's work first

from dfgym.errors import ConfigError

PERCENTILES = (50, 95, 99)


class SectionClock:
    """A clock for `Dynamics.section` and `Learner.section`, which adds up the time of each section.

    Why not `torch.profiler`: it notes every operation, which doubles the time of a step at batch 1.

    Args:
        names: the sections to time; all of them if none is named. On a GPU the clock waits for the
            device before and after each.

    Attributes:
        seconds: the time spent in each section, sections within it included.
        calls: how often each section was entered.
    """

    def __init__(self, *names: str) -> None:
        self.names = names
        self.clear()

    def clear(self) -> None:
        """Forget all that was timed."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the body of a `with` statement as a section of this name."""
        if self.names and name not in self.names:
            yield
            return
        begin = timer()
        yield
        self.seconds[name] += timer() - begin
        self.calls[name] += 1


def check_seconds(seconds: float) -> None:
    """Refuse a time in which nothing can be measured.

    Raises:
        ConfigError: `seconds` is not a finite number above 0.
    """
    if not 0 < seconds < math.inf:
        raise ConfigError(f"seconds is {seconds!r}; give a number above 0, like 2")


def durations(
    call: Callable[[], Any], seconds: float, ready: Callable[[], Any] = lambda: None
) -> np.ndarray:
    """Call again and again and time every call.

    Args:
        call: the function to time.
        seconds: the length of the measurement, after a tenth of it to warm up.
        ready: a function that is called when the warming up is over.

    Returns:
        The seconds of each call, float64 `(n,)`, n >= 1.
    """
    _durations(call, seconds / 10)
    ready()
    return np.array(_durations(call, seconds))


def _durations(call: Callable[[], Any], seconds: float) -> list[float]:
    times: list[float] = []
    begin = timer()
    while not times or timer() - begin < seconds:
        times.append(duration(call))
    return times


def duration(call: Callable[[], Any]) -> float:
    """Return the seconds of one call."""
    begin = timer()
    call()
    return timer() - begin


def percentiles(times: np.ndarray) -> dict[str, float]:
    """Return `p50_ms`, `p95_ms` and `p99_ms` of times in seconds."""
    values = np.percentile(1000 * times, PERCENTILES)
    return {f"p{p}_ms": float(value) for p, value in zip(PERCENTILES, values, strict=True)}
