"""How every command of dfgym ends: an exit code, and errors in one line instead of a traceback."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable

from dfgym.errors import DfgymError


def run_command(name: str, command: Callable[[], int | None], resumes: bool = False) -> int:
    """Run a command; an error that its caller can mend is printed in one line on stderr.

    Args:
        name: the name of the program, which begins the line.
        command: a function that runs the command and returns an exit code, or None for 0.
        resumes: whether the same command, given again, continues where it was stopped.

    Returns:
        The exit code: the command's own, 2 after such an error, 130 after Ctrl-C, 141 where nobody
        reads its output any more (`dfgym worlds | head -1`).
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot spell a path's name
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return command() or 0
        finally:
            sys.stdout.flush()  # here, and not at Python's end, a closed pipe is noticed
    except DfgymError as error:
        return fail(name, str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _is_output_closed():
            return 141  # 128 and SIGPIPE, as a shell has it
        where = "" if error.filename is None else f"{str(error.filename)!r}: "
        return fail(name, where + (error.strerror or str(error)))
    except KeyboardInterrupt:
        hint = "; the same command continues" if resumes else ""
        print(f"\n{name}: stopped{hint}", file=sys.stderr)
        return 130


def fail(name: str, message: str) -> int:
    """Print an error in one line on stderr and return the exit code 2."""
    print(f"{name}: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _is_output_closed() -> bool:
    """Whether the reader of stdout is gone; what is still to be written there is then dropped."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # no file of the system's
        return False
    if hasattr(select, "poll"):  # not on Windows
        poll = select.poll()
        poll.register(descriptor, 0)
        if not poll.poll(0):
            return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)  # or Python complains at its end
    return True
