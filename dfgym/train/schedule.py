"""How far a run has come, by its steps or by the clock, and whether it shall stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple, Self

import torch
import torch.distributed as dist

from dfgym.train.batches import Process
from dfgym.train.config import TrainConfig

SMOOTHING = 0.9
"""The share of the step time so far in the running mean of step times."""


class Progress(NamedTuple):
    """Where a step stands in its run.

    Attributes:
        begin: share of the run, in [0, 1], that is done before the step.
        end: the share that will be done after it.
        total: the steps of the whole run; by the clock, an estimate, and None before the first
            step has been measured.
        finished: whether the run is over, so that the step is not taken.
        interrupted: whether a signal has come, so that the run shall stop for now.
        seconds: the wall time of the run, over all calls.
    """

    begin: float
    end: float
    total: int | None
    finished: bool
    interrupted: bool
    seconds: float


class Schedule:
    """Says before each step how far the run has come, the same to all processes.

    Args:
        config: the run.
        process: this process. The first one's clock counts, and any one's signal.
        device: where the processes exchange numbers.
        seconds: the wall time that earlier calls have trained for.
        clock: the time, in seconds.
    """

    def __init__(
        self,
        config: TrainConfig,
        process: Process,
        device: torch.device,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config, self.process, self.device, self.clock = config, process, device, clock
        self._began = clock() - seconds
        self._last: float | None = None
        self._step_seconds = 0.0
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take SIGINT, SIGTERM and Windows' SIGBREAK as wishes to stop after the current step."""
        if threading.current_thread() is threading.main_thread():
            for number in {
                signal.SIGINT,
                signal.SIGTERM,
                getattr(signal, "SIGBREAK", signal.SIGINT),
            }:
                self._handlers[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def look(self, step: int) -> Progress:
        """Return where the step number `step`, from 0, stands in the run."""
        seconds, step_seconds, interrupted = self._agree()
        if not self.config.seconds:
            steps = self.config.image_steps + self.config.steps
            return Progress(
                min(1.0, step / steps), min(1.0, (step + 1) / steps), steps, step >= steps,
                interrupted, seconds,
            )  # fmt: skip
        budget = self.config.seconds
        rest = max(0.0, budget - seconds)
        # The last step is the one that ends nearest to the time.
        finished = step > 0 and rest <= step_seconds / 2
        total = step if finished else None
        if not finished and step_seconds:
            total = step + max(1, round(rest / step_seconds))
        begin = min(1.0, seconds / budget)
        end = min(1.0, (seconds + step_seconds) / budget)
        seconds = max(seconds, budget) if finished else seconds  # so that no call finds a rest
        return Progress(begin, end, total, finished, interrupted, seconds)

    def stop(self) -> None:
        """End the call as the signal asks, once the run is saved.

        Raises:
            KeyboardInterrupt: it was SIGINT, or another process's.
            SystemExit: it was SIGTERM or SIGBREAK.
        """
        if self._signal not in (None, signal.SIGINT):
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:  # the second time, at once
            self.stop()
        self._signal = number

    def _agree(self) -> tuple[float, float, bool]:
        """The wall time, the time of a step, and whether any process got a signal."""
        now = self.clock()
        if self._last is not None:
            last = now - self._last
            mean = self._step_seconds or last
            self._step_seconds = SMOOTHING * mean + (1 - SMOOTHING) * last
        self._last = now
        mine = [now - self._began, self._step_seconds, float(self._signal is not None)]
        if self.process.size == 1:
            return mine[0], mine[1], bool(mine[2])
        if self.process.rank:
            mine[:2] = 0.0, 0.0
        values = torch.tensor(mine, dtype=torch.float64, device=self.device)
        dist.all_reduce(values)
        seconds, step_seconds, signals = values.tolist()
        return seconds, step_seconds, bool(signals)
