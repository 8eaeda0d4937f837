"""The errors of dfgym: each is for the caller and names the value, what is allowed, and the fix."""

from __future__ import annotations

import sys
from collections.abc import Callable


class DfgymError(Exception):
    """Base of every error that dfgym raises on purpose."""


class WorldError(DfgymError, ValueError):
    """A world's name, card, weights or starts are malformed, unknown, damaged or foreign."""


class DataError(DfgymError, ValueError):
    """A data set is malformed, damaged, empty or does not fit what is asked of it."""


class ActionError(DfgymError, ValueError):
    """An action has the wrong type, range or batch length; nothing has advanced."""


class ConfigError(DfgymError, ValueError):
    """A keyword or configuration value is not allowed."""


class StateError(DfgymError, RuntimeError):
    """A call came at the wrong time, or a state belongs to another world."""


class DeviceError(DfgymError, RuntimeError):
    """A device was asked for that this machine or this torch build lacks."""


class MissingPackageError(DfgymError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


def run_command(name: str, command: Callable[[], int | None], resumes: bool = False) -> int:
    """Run a command; what its caller can mend is told in one line on stderr, without a traceback.

    Args:
        name: how the line begins.
        command: runs it; returns an exit code, or None for 0.
        resumes: whether the same command, given again, goes on where it was stopped.

    Returns:
        The exit code: the command's own, 2 for such an error, 130 after Ctrl-C.
    """
    try:
        return command() or 0
    except DfgymError as error:
        return fail(name, str(error))
    except OSError as error:
        where = "" if error.filename is None else f"{str(error.filename)!r}: "
        return fail(name, where + (error.strerror or str(error)))
    except KeyboardInterrupt:
        goes_on = "; the same command goes on" if resumes else ""
        print(f"\n{name}: stopped{goes_on}", file=sys.stderr)
        return 130


def fail(name: str, message: str) -> int:
    """Tell an error in one line on stderr; returns the exit code 2."""
    print(f"{name}: error: {' '.join(message.split())}", file=sys.stderr)
    return 2
