"""Run the examples of other libraries, each in a virtual environment of its own.

python .ci/integrations.py [NAME ...] [--folder FOLDER] [--seconds SECONDS]

NAME is a script of docs/integrations; without one, all run. What a script needs stands at its head,
as PEP 723 has it. An environment in FOLDER, build/integrations by default, is made if it is missing
and used as it is if not. Prints a line for each, and exits with 1 if one failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = {path.stem: path for path in sorted((ROOT / "docs" / "integrations").glob("*.py"))}
HEAD = re.compile(r"^# /// script\n((?:#.*\n)+?)# ///$", re.M)


def requirements(script: Path) -> list[str]:
    """Return what a script needs, with dfgym itself from this checkout."""
    head = HEAD.search(script.read_text())
    assert head, f"{script} has no PEP 723 head"
    text = "".join(line[2:] or "\n" for line in head[1].splitlines(keepends=True))
    needed = tomllib.loads(text)["dependencies"]
    return [need.replace("dfgym", str(ROOT), 1) for need in needed]


def prepare(name: str, folder: Path) -> Path:
    """Make a script's environment, if it is missing; returns its Python."""
    home = folder / name
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(home, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet"]
        # torch first: a library that comes before it would take the newest one, with CUDA.
        torch = re.search(r"^torch==.*$", (ROOT / "constraints.txt").read_text(), re.M)
        assert torch
        subprocess.run([*pip, torch[0]], check=True)
        subprocess.run([*pip, torch[0], *requirements(SCRIPTS[name])], check=True)
    return python


def run(name: str, folder: Path, seconds: float) -> bool:
    """Run a script in its environment, and say how it went."""
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as cwd:
            command = [prepare(name, folder), SCRIPTS[name]]
            environment = {**os.environ, "RAY_worker_niceness": "0"}  # else Ray's stand back
            subprocess.run(command, cwd=cwd, check=True, timeout=seconds, env=environment)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as reason:
        print(f"{name}: failed after {time.monotonic() - start:.0f} s: {reason}", flush=True)
        return False
    print(f"{name}: ran in {time.monotonic() - start:.0f} s", flush=True)
    return True


def main() -> int:
    """Run the scripts that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SCRIPTS))
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "integrations")
    parser.add_argument("--seconds", type=float, default=900)
    flags = parser.parse_args()
    if unknown := [name for name in flags.names if name not in SCRIPTS]:
        parser.error(f"there is no script {unknown[0]!r}; there are {', '.join(SCRIPTS)}")
    names = flags.names or list(SCRIPTS)
    results = [run(name, flags.folder.resolve(), flags.seconds) for name in names]
    print(f"{sum(results)} of {len(results)} ran their example")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
