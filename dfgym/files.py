"""Files at rest: atomic writes, reads with a size cap, one process at a time in a folder."""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfgym.errors import DataError, DfgymError, MissingPackageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_FILES = ("lock", "lock-holder")
"""The files by which `lock_folder` locks a folder, and names the process that holds the lock."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: neither a reader nor a crash meets one half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp makes 0600, which locks other users out
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2) + "\n").encode())


def plain(value: Any) -> Any:
    """Turn values into those that JSON has: numbers of four digits, None where not finite."""
    match value:
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | np.ndarray():
            return [plain(item) for item in value]
        case float() | np.floating():
            return float(f"{value:.4g}") if math.isfinite(value) else None
        case np.integer():
            return int(value)
        case _:
            return value


def read_capped(path: Path, cap: int, error: type[DfgymError]) -> bytes:
    """Read a file of at most `cap` bytes.

    Raises:
        DfgymError: of the class `error`: the file is missing, no plain file or larger than `cap`.
    """
    try:
        if not path.is_file():
            raise error(f"{path} is missing or not a plain file")
        with path.open("rb") as file:
            data = file.read(cap + 1)
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason}") from reason
    if len(data) > cap:
        raise error(f"{path} is larger than the allowed {cap} bytes")
    return data


def lock_folder(folder: Path, use: str, fix: str) -> BaseFileLock:
    """Become the folder's one user, until `release()`.

    The operating system releases the lock when its holder dies, so no stale lock can be left.

    Args:
        folder: must exist.
        use: the purpose of the lock, for the error, like "written".
        fix: the way out of the error besides waiting.

    Raises:
        DataError: Another user holds the lock.
    """
    import filelock  # late: `import dfgym` does not need it

    name, holder = (folder / file for file in LOCK_FILES)
    lock = filelock.FileLock(name)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as reason:
        process = holder.read_text(errors="replace").strip() if holder.is_file() else "unknown"
        raise DataError(
            f"{folder} is being {use} by process {process[:20]}; wait for it, or {fix}"
        ) from reason
    holder.write_text(f"{os.getpid()}\n")
    return lock


def import_cv2() -> Any:
    """Import OpenCV late: it is slow to load and needs system libraries that a bare server lacks.

    Raises:
        MissingPackageError: it cannot be imported; the message says what to install.
    """
    try:
        import cv2
    except ImportError as reason:
        raise MissingPackageError(
            f"opencv-python cannot be imported ({reason}); on a bare server install its system "
            "libraries (Debian: apt-get install libgl1 libglib2.0-0 libxcb1), or replace it: "
            "pip uninstall opencv-python && pip install opencv-python-headless"
        ) from reason
    return cv2


def write_png(path: Path, picture: np.ndarray) -> Path:
    """Write a uint8 RGB picture `(h, w, 3)` as PNG, atomically; returns the path."""
    cv2 = import_cv2()
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    assert done
    write_atomic(path, data.tobytes())
    return path
