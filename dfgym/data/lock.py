"""One process at a time in a folder: the lock that recording and training take."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dfgym.errors import DataError


def take_lock(folder: Path, busy: str, fix: str) -> int:
    """Become the folder's one user; returns a file descriptor, whose closing ends it.

    The kernel releases the lock when its holder dies, so no stale lock can be left.

    Args:
        folder: must exist; the file `lock` in it names the holder.
        busy: what another holder is doing to it, for the error, like `written`.
        fix: what to do about that.

    Raises:
        DataError: another process holds it.
    """
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as reason:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        raise DataError(
            f"{folder} is being {busy} by process {holder or 'unknown'}; wait for it, or {fix}"
        ) from reason
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
