"""Files at rest: atomic writes, reads with a size cap, one process at a time in a folder."""

from __future__ import annotations

import contextlib
import glob
import json
import math
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfgym.errors import DataError, DfgymError, MissingPackageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

DRAFT_BYTES = 4
"""Of chance, in the name of a file or folder that is being made."""
DRAFT_AGE = 3600.0
"""Seconds after which a draft that no lock guards counts as left behind."""
LOCK_FILES = ("lock", "lock-holder")
"""The files by which `lock_folder` locks a folder, and names the process that holds the lock."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: neither a reader nor a crash meets one half of it.

    The file's mode is what the umask leaves, as of any file that a program opens.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_path(path)
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException as reason:
        draft.unlink(missing_ok=True)
        if isinstance(reason, OSError) and reason.filename in (None, str(draft)):
            reason.filename = str(path)  # "No space left on device": where?
        raise


def open_to_append(path: Path) -> int:
    """Open a file that exists to append bytes; returns the descriptor, for `os.write`."""
    # Windows puts a carriage return before each byte 10 unless it hears that these are bytes.
    return os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))


def draft_path(path: Path) -> Path:
    """Return the place beside `path` at which it can be made, to be renamed when it is whole."""
    return path.with_name(f".{path.name}.{secrets.token_hex(DRAFT_BYTES)}")


def remove_drafts(folder: Path, *names: str, age: float = 0) -> None:
    """Remove what writers of these files or folders left half made when they were killed.

    Args:
        folder: the folder that they are in.
        names: the names of the files.
        age: seconds since the last change; 0 only for the one who holds the folder's lock, since
            another's draft may be in the making.
    """
    suffix = 2 * DRAFT_BYTES * "[0-9a-f]"
    for name in names:
        for draft in folder.glob(f".{glob.escape(name)}.{suffix}"):
            with contextlib.suppress(OSError):  # another removed it
                if time.time() - draft.stat().st_mtime < age:
                    continue
                if draft.is_dir():
                    shutil.rmtree(draft)
                else:
                    draft.unlink()


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
            raise error(f"{path} is missing or not a plain file; bring it back or get it again")
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
