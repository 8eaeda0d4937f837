"""Record a game of 5 ms a step with Ray and with one process, kill a worker, compare the bits.

PYTHONPATH=tests python .ci/ray_speed.py [--frames 6000] [--workers 4]

Needs `pip install "dfgym[ray]"`. Prints JSON: the seconds of each, their ratio, how many workers
were killed, and whether the recordings are the same byte for byte. The workers' start is timed too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from dfgym.agents.players import make_factory
from dfgym.data.cluster import LOCAL, Cluster
from dfgym.data.record import Recording, record
from toys.catch import Slow


def contents(path: Path) -> dict[str, bytes]:
    """Return a recording's files."""
    return {file.name: file.read_bytes() for file in path.iterdir() if "lock" not in file.name}


def kill_one(path: Path, frames: int, killed: list[int]) -> None:
    """Kill a worker of this process once a third of the frames is there."""
    file = path / "rewards.bin"
    while not file.exists() or file.stat().st_size < 4 * frames // 3:
        time.sleep(0.05)
    for child in psutil.Process().children(recursive=True):
        if "ray::_work" in " ".join(child.cmdline()):
            child.kill()
            killed.append(child.pid)
            return


def main() -> int:
    """Measure; returns 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument("--workers", type=int, default=4)
    flags = parser.parse_args()
    game, killed, seconds = Recording("Slow", flags.frames), [], {}
    with tempfile.TemporaryDirectory() as folder:
        hands: dict[str, Any] = {"one": 1, "ray": Cluster(LOCAL, flags.workers)}
        for name, processes in hands.items():
            path, start = Path(folder) / name, time.monotonic()
            if name == "ray":
                arguments = (path, flags.frames, killed)
                threading.Thread(target=kill_one, args=arguments, daemon=True).start()
            record(game, path, make_factory, progress=False, env=Slow, processes=processes)
            seconds[name] = round(time.monotonic() - start, 2)
        same = contents(Path(folder) / "one") == contents(Path(folder) / "ray")
    ratio = round(seconds["one"] / seconds["ray"], 2)
    print(json.dumps({**seconds, "ratio": ratio, "killed": len(killed), "same": same}))
    return 0 if same and killed else 1


if __name__ == "__main__":
    sys.exit(main())
