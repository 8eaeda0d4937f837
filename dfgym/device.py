"""The device that a name stands for, and how many threads of a CPU to use.

Worlds, training and agents use the same names.
"""

from __future__ import annotations

import functools
import logging
import os

import psutil
import torch

from dfgym.errors import ConfigError, DeviceError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
LOOK = 0.05
"""Seconds for which the cores are watched before some of them are taken."""

logger = logging.getLogger("dfgym")


def pick_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device; `auto` prefers CUDA.

    Of the processes that `torchrun` starts on a machine, each takes a CUDA device of its own.

    Raises:
        ConfigError: the name is another.
        DeviceError: the name is of a CUDA device that this machine or this torch build lacks.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as reason:
        raise ConfigError(f"device is {name!r}; allowed are auto, cpu, cuda, cuda:N") from reason
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index is not None):
        raise ConfigError(f"device is {name!r}; allowed are auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device is {name!r}, but this machine or this torch build has "
            f"{torch.cuda.device_count()} CUDA devices; use device='cpu', or install a CUDA build"
        )
    if str(device) == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    return device


class Threads:
    """A context in which torch runs on a number of CPU threads that suits the machine.

    Threads of one operation wait for each other. Where other work keeps the cores busy, each waits
    for the slowest, and two threads of small networks were up to seventy times as slow as one. So
    a single environment takes one thread, since a second brings it nothing; a batch or a training
    takes as many as there are cores that nobody uses. Outside the context nothing changes, and a
    number that the user has set, before or after, is left as it is.

    Args:
        subject: the work, for the log.
        most: the most threads that the work can use; None: as many as torch takes by itself.
        count: how many to take, where that is decided already.

    Attributes:
        count: how many the context takes.
    """

    def __init__(self, subject: str, most: int | None = None, count: int | None = None) -> None:
        self._own = self.count = torch.get_num_threads()
        self._applied = False
        if self._own == 1 or not _is_torchs_choice(self._own):
            return
        self.count = min(self._own, most or self._own)
        if count is not None:
            self.count = min(self.count, count)
        elif self.count > 1:
            self.count = max(1, min(self.count, _free_cores()))
        _announce(subject, self.count)

    def __enter__(self) -> None:
        """Set the number, unless the user has set another meanwhile."""
        if self.count != self._own == torch.get_num_threads():
            self._applied = True
            torch.set_num_threads(self.count)

    def __exit__(self, *_: object) -> None:
        """Set the number back."""
        if self._applied:
            self._applied = False
            torch.set_num_threads(self._own)


def use_threads(subject: str, count: int | None) -> None:
    """Set torch's number of CPU threads for small networks, in which more than one is slower.

    Args:
        subject: the work, for the log.
        count: how many; None: what the user has set, or else 1.
    """
    own = torch.get_num_threads()
    if count is None:
        count = 1 if _is_torchs_choice(own) else own
    torch.set_num_threads(count)
    _announce(subject, count)


def _is_torchs_choice(count: int) -> bool:
    """Whether torch came to this number by itself: nobody has set it."""
    if any(os.environ.get(name) for name in THREAD_VARIABLES):
        return False
    return count in (available_cores(), psutil.cpu_count(), psutil.cpu_count(logical=False))


def available_cores() -> int:
    """Return how many cores this process may use, as `taskset` or a batch system allow it."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _free_cores() -> int:
    """Return how many of the cores that this process may use nobody uses just now."""
    busy = psutil.cpu_percent(LOOK, percpu=True)
    if hasattr(os, "sched_getaffinity"):
        busy = [busy[core] for core in os.sched_getaffinity(0) if core < len(busy)]
    return round(sum(100 - share for share in busy) / 100)


@functools.cache  # each is said once
def _announce(subject: str, count: int) -> None:
    logger.info(
        "%s: %d CPU thread%s; OMP_NUM_THREADS or torch.set_num_threads say otherwise",
        *(subject, count, "" if count == 1 else "s"),
    )
