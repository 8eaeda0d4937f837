"""One thread at a time: a call that would meet another in the middle is refused, not queued."""

from __future__ import annotations

import os
import threading

from dfgym.errors import StateError


class Exclusive:
    """A context that one thread at a time may be in; any other raises StateError at once.

    It waits for nothing and is no lock of the system's, so an interrupt at any point leaves its
    own thread free to go on, and a fork its child. Copies and pickles of it are free.

    Args:
        subject: the name of what it guards, for the error.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._owner: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> None:
        """Enter, unless another thread is inside.

        Raises:
            StateError: it is.
        """
        here = os.getpid(), threading.get_ident()
        try:
            inside = self._owner.setdefault("owner", here)  # one operation, so no thread between
            if inside[0] != here[0]:  # a thread of the process that this one was forked from
                inside = self._owner["owner"] = here
        except BaseException:
            self.__exit__()
            raise
        if inside != here:
            raise StateError(
                f"another thread is in the middle of a call to {self._subject}: let one thread "
                "at a time use it, or give each its own"
            )

    def __exit__(self, *_: object) -> None:
        """Leave."""
        if self._owner.get("owner") == (os.getpid(), threading.get_ident()):
            self._owner.pop("owner", None)

    def __reduce__(self) -> tuple[type[Exclusive], tuple[str]]:
        return Exclusive, (self._subject,)
