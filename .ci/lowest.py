"""Try the oldest versions that pyproject.toml allows: install them, and run a smoke set of tests.

python .ci/lowest.py [FOLDER]

The virtual environment in FOLDER, build/lowest by default, is made if it is missing. Two ranges are
not tried at their ends: torch, whose older wheels for Linux come with CUDA alone, is that of
constraints.txt; and minari, which needs newer packages than dfgym itself, has a second round.
Old versions warn of what is new, so warnings are no errors here.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("cartpole", "export", "hub", "minatar", "play", "tensorboard", "video")
TESTS = ("hypothesis", "pytest", "pytest-xdist")
SMOKE = ["tests/env", "tests/world", "tests/data/test_record.py", "tests/data/test_store.py"]
SMOKE += ["tests/test_actions.py", "tests/test_cli.py", "tests/test_frames.py"]
SMOKE += ["tests/train/test_loop.py", "tests/train/test_pack.py", "tests/play/test_messages.py"]
MINARI = {"numpy": "2.0.0", "matplotlib": "3.9.0"}
"""What must be newer beside minari, which needs NumPy 2."""


def bounds(requirements: list[str]) -> dict[str, str]:
    """Return the lowest version of each requirement that names one."""
    pairs = (re.match(r"([\w.-]+)(?:\[[^]]*\])?>=([\w.]+)", line) for line in requirements)
    return {pair[1]: pair[2] for pair in pairs if pair}


def lowest(extras: Sequence[str]) -> dict[str, str]:
    """Return the versions to try with these extras, by package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    versions = bounds(project["dependencies"])
    for extra in extras:
        versions |= bounds(optional[extra])
    versions |= {
        name: version for name, version in bounds(optional["test"]).items() if name in TESTS
    }
    torch = re.search(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert torch
    return versions | {"torch": torch[1]}


def main() -> int:
    """Install and run; returns pytest's exit code."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "lowest").resolve()
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(home, with_pip=True)
    pins = [f"{name}=={version}" for name, version in lowest(EXTRAS).items()]
    print("\n".join(sorted(pins)), flush=True)
    install = [python, "-m", "pip", "install", "--quiet"]
    torch = next(pin for pin in pins if pin.startswith("torch=="))
    subprocess.run([*install, torch], check=True)
    subprocess.run([*install, "-e", str(ROOT), *pins], check=True)
    pytest = [python, "-m", "pytest", "-q", "-n0", "-m", "not slow", "-o", "filterwarnings=default"]
    code = subprocess.run([*pytest, *SMOKE], cwd=ROOT).returncode
    versions = lowest([*EXTRAS, "minari"]) | MINARI
    pins = [f"{name}=={version}" for name, version in versions.items()]
    subprocess.run([*install, *pins], check=True)
    return code or subprocess.run([*pytest, "tests/data/test_minari.py"], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
