"""Training in several processes of this machine, which end when the one that started them does."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from dfgym.device import available_cores
from dfgym.errors import ConfigError, DfgymError
from dfgym.files import write_json
from dfgym.train.config import TrainConfig, to_table

PATIENCE = 60.0
"""Seconds that a process has for its last step and its checkpoint when it shall stop."""


def count_processes(count: int | None, batch: int, device: torch.device) -> int:
    """Return the number of training processes; each has an equal part of the batch.

    Args:
        count: the number that is wanted. None: the largest that divides the batch, with a CPU core
            or a CUDA device for each.
        batch: sequences in a step.
        device: where they train.

    Raises:
        ConfigError: the number does not fit the batch or the machine.
    """
    cuda = device.type == "cuda"
    most = torch.cuda.device_count() if cuda else available_cores()
    if count is None:
        return max(n for n in range(1, most + 1) if batch % n == 0)
    if count < 1 or batch % count or (cuda and count > most):
        limit = f" and at most the {most} CUDA devices" if cuda else ""
        raise ConfigError(
            f"processes is {count}; expected at least 1{limit}, and a divisor of the "
            f"batch of {batch}"
        )
    return count


def launch(config: TrainConfig, processes: int) -> None:
    """Train in processes of one thread each, which is the fastest way on a CPU.

    They have a session of their own, so that a signal to this process, or Ctrl-C, reaches them only
    through it: it asks them to stop, they save the run, and it waits for them. Where this process
    is killed, they notice.

    Raises:
        DfgymError: the training failed.
    """
    path = config.out / "config.json"
    write_json(path, to_table(config))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONSAFEPATH": "1",  # a random.py of the user's here is not Python's
        # Without these glibc returns freed tensors to the system and fetches them again: slow.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
    }
    if processes > 1:
        environment |= {
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(find_free_port()),
        }
    numbers = range(processes) if processes > 1 else ()
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in numbers] or [{}]
    run_together(
        [sys.executable, "-m", "dfgym.train", str(path), str(os.getpid())],
        [environment | rank for rank in ranks],
        "training",
    )


def run_together(
    command: list[str],
    environments: list[dict[str, str]],
    purpose: str,
    limit: float | None = None,
) -> bool:
    """Run a command in several processes that are stopped when this one is, or when one fails.

    Args:
        command: the command.
        environments: each process's.
        purpose: what it does, for the error.
        limit: seconds after which they are stopped; None: never.

    Returns:
        Whether it came to its end in time.

    Raises:
        DfgymError: it failed.
    """
    children: list[subprocess.Popen[bytes]] = []
    end = math.inf if limit is None else time.monotonic() + limit
    with _sigterm_raises():
        try:
            for environment in environments:
                children.append(_start(command, environment))
            while any(child.poll() is None for child in children):
                if any(child.returncode for child in children):
                    break
                if time.monotonic() > end:
                    return False
                time.sleep(0.05)
        finally:
            _stop(children)
    if any(child.returncode for child in children):
        raise DfgymError(
            f"{purpose} failed, see its messages above; the same command tries it again"
        )
    return True


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that no signal to this one's terminal reaches, as Ctrl-C."""
    group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Windows' form of a session
    return subprocess.Popen(command, env=environment, start_new_session=True, creationflags=group)


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    """Ask what still runs to stop, and end it if it does not."""
    for child in children:
        if child.poll() is None:
            # On Windows SIGTERM would end it at once, with nothing saved.
            child.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))
    deadline = time.monotonic() + PATIENCE
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that what is to be ended is."""

    def raise_exit(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, raise_exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def find_free_port() -> int:
    """Return the number of a port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
