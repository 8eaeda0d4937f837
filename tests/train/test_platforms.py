"""What Windows does otherwise, in the place of the systems' own calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from dfgym import files
from dfgym.train import launch
from dfgym.train.__main__ import stop_with

WAITS = """
import signal, sys
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))
print("ready", flush=True)
signal.pause()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="stands for CTRL_BREAK_EVENT")
def test_children_are_asked_to_stop_as_windows_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "CTRL_BREAK_EVENT", signal.SIGUSR1, raising=False)
    command = [sys.executable, "-c", WAITS]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        launch._stop([child])
        assert child.returncode == 7


def test_children_have_a_group_of_their_own_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)
    monkeypatch.setattr(subprocess, "Popen", lambda command, **keywords: calls.append(keywords))
    launch._start(["x"], {})
    assert calls[0]["creationflags"] == 512 and calls[0]["start_new_session"]


@pytest.mark.parametrize("windows", [False, True])
def test_a_process_stops_when_its_parent_is_gone(
    windows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    alive = iter([True, True, False])
    if windows:  # an orphan keeps the number of its parent
        monkeypatch.setattr(os, "getppid", lambda: 77)
        monkeypatch.setattr(psutil, "pid_exists", lambda number: number == 77 and next(alive))
    else:
        monkeypatch.setattr(os, "getppid", lambda: 77 if next(alive) else 1)
        monkeypatch.setattr(psutil, "pid_exists", lambda number: True)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    stop_with(77)
    assert raised == [signal.SIGTERM]


def test_bytes_are_appended_as_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    flags: list[int] = []
    real = os.open
    monkeypatch.setattr(os, "O_BINARY", 1 << 40, raising=False)

    def note(path: Path, flag: int) -> int:
        flags.append(flag)
        return real(path, flag & ~(1 << 40))

    monkeypatch.setattr(os, "open", note)
    os.close(files.open_to_append(tmp_path / "file"))
    assert flags == [os.O_WRONLY | os.O_APPEND | 1 << 40]
