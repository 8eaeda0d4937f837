"""Make a world of games that nobody here prepared, by their ids alone, and try it as a user would.

    python .ci/own_games.py --minutes 60 --out trial          # all twelve
    python .ci/own_games.py --minutes 2 --out trial --only catch frozen-lake

For each game: `dfgym make-world NAME --env ID --minutes M`; then, each in a fresh process, the
dream and the real game step, `dfgym evaluate` judges and `dfgym play` serves its page. One line a
game goes to `OUT/results.jsonl`, and what stands there already is not tried again. The rates of
rewards and ends are that evaluation's, dream over real, under each player who saw any in either;
`null` where the dream alone had some. `--processes 1` trains in one process, where the other cores
have something else to do. Needs the games' packages: `minatar ale-py minigrid` and
`gymnasium[box2d,classic-control,toy-text]`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

DFGYM = [sys.executable, "-m", "dfgym.cli"]
GAMES: dict[str, tuple[str, list[str]]] = {
    "breakout": ("MinAtar/Breakout-v1", []),
    "space-invaders": ("MinAtar/SpaceInvaders-v1", []),
    "freeway": ("MinAtar/Freeway-v1", []),
    "asterix": ("MinAtar/Asterix-v1", []),
    "seaquest": ("MinAtar/Seaquest-v1", []),
    "pong": ("ALE/Pong-v5", []),
    "frozen-lake": ("FrozenLake-v1", []),
    "minigrid-empty": ("MiniGrid-Empty-8x8-v0", []),
    "lunar-lander": ("LunarLander-v3", []),
    "acrobot": ("Acrobot-v1", []),
    "pendulum": ("Pendulum-v1", []),
    "catch": ("mygame:mygame/Catch-v0", ["--trust"]),
}
"""A name for each game, its id, and the flag that a game of one's own needs."""

CATCH = '''"""Catch what falls from a random column, with three cells of paddle and three lives."""

import gymnasium as gym
import numpy as np

COLOURS = np.array(
    [(0, 0, 0), (80, 160, 255), (255, 60, 60), (60, 220, 60), (240, 240, 240)], np.uint8
)


class Catch(gym.Env):
    observation_space = gym.spaces.Box(0, 255, (12, 12, 3), np.uint8)
    action_space = gym.spaces.Discrete(3)

    def _serve(self):
        self.row, self.column = 1, int(self.np_random.integers(12))
        self.colour = int(self.np_random.integers(2, 4))

    def _draw(self):
        cells = np.zeros((12, 12), np.int64)
        cells[0, : self.lives] = 4
        cells[self.row, self.column] = self.colour
        cells[11, self.paddle - 1 : self.paddle + 2] = 1
        return COLOURS[cells]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.paddle, self.lives = 6, 3
        self._serve()
        return self._draw(), {}

    def step(self, action):
        self.paddle = int(np.clip(self.paddle + action - 1, 1, 10))
        self.row, reward = self.row + 1, 0.0
        if self.row == 11:
            caught = abs(self.column - self.paddle) <= 1
            reward, self.lives = (1.0, self.lives) if caught else (-1.0, self.lives - 1)
            self._serve()
        return self._draw(), reward, self.lives == 0, False, {}


gym.register("mygame/Catch-v0", entry_point=Catch, max_episode_steps=500)
'''

STEP = """
import sys
import gymnasium as gym
import dfgym
if sys.argv[2:]:
    sys.path.insert(0, "")
env = gym.make(sys.argv[1], **({"trust": True} if sys.argv[2:] else {}))
env.action_space.seed(0)
env.reset(seed=0)
for _ in range(20):
    if any(env.step(env.action_space.sample())[2:4]):
        env.reset()
"""


def run(command: list[str], folder: Path, log: Path, shelf: Path) -> bool:
    """Run a command in a folder, its output in a file; returns whether it succeeded."""
    environment = {**os.environ, "DFGYM_WORLDS": str(shelf)}
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        ended = subprocess.run(
            command, cwd=folder, stdout=file, stderr=file, env=environment, check=False
        )
    return ended.returncode == 0


def plays(command: list[str], folder: Path, shelf: Path) -> bool:
    """Return whether `dfgym play` serves its page within two minutes."""
    environment = {**os.environ, "DFGYM_WORLDS": str(shelf), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        timer = time.monotonic() + 120
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if address := re.search(r"http://\S+", line):
                    with urllib.request.urlopen(address[0], timeout=30) as page:
                        return b"<canvas" in page.read()
                if time.monotonic() > timer:
                    return False
        except OSError:
            return False
        finally:
            server.send_signal(signal.SIGTERM)
    return False


def read_rates(report: Path) -> dict[str, dict[str, float | None]]:
    """Return of rewards and ends the dream's rate over the real one, by player."""
    players = json.loads(report.read_text())["rates"]["players"]
    rates: dict[str, dict[str, float | None]] = {}
    for kind in ("rewards", "ends"):
        measured = {player: result["measures"].get(kind) for player, result in players.items()}
        rates[kind] = {
            player: measure["ratio"]
            for player, measure in measured.items()
            if measure and (measure["dream_events"] or measure["real_events"])
        }
    return rates


def try_game(name: str, minutes: float, out: Path, processes: list[str]) -> dict[str, Any]:
    """Make a world of a game and try it; returns what worked and how long it took."""
    env_id, flags = GAMES[name]
    world, log, shelf = f"trial-{name}-v0", out / f"{name}.log", out / "worlds"
    trust = [flag for flag in flags if flag == "--trust"]
    begin = time.monotonic()
    make = [*DFGYM, "make-world", world, "--env", env_id, "--minutes", str(minutes)]
    make += [*flags, *processes]
    succeeded = run(make, out, log, shelf)
    seconds = time.monotonic() - begin
    step = [sys.executable, "-c", STEP]
    evaluate = [*DFGYM, "evaluate", world, "--quick", "--out", f"evaluation-{name}", *trust]
    worked = {
        "make-world": succeeded,
        "DFWorld": succeeded and run([*step, f"DFWorld/{world}"], out, log, shelf),
        "DFReal": succeeded and run([*step, f"DFReal/{world}", *trust], out, log, shelf),
        "evaluate": succeeded and run(evaluate, out, log, shelf),
        "play": succeeded and plays([*DFGYM, "play", world, "--no-open", *trust], out, shelf),
    }
    rates = {}
    if worked["evaluate"]:
        rates = read_rates(out / f"evaluation-{name}" / "evaluation.json")
    figures = {"game": name, "id": env_id, "minutes": minutes, "seconds": round(seconds)}
    return {**figures, **worked, **rates}


def main() -> None:
    """Try the games that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path("trial"))
    parser.add_argument("--only", nargs="*", choices=GAMES, default=list(GAMES))
    parser.add_argument("--processes", help="of training, as of make-world")
    options = parser.parse_args()
    processes = ["--processes", options.processes] if options.processes else []
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    (out / "mygame.py").write_text(CATCH)
    results = out / "results.jsonl"
    done = (
        {json.loads(line)["game"] for line in results.read_text().splitlines()}
        if (results.exists())
        else set()
    )
    for name in options.only:
        if name not in done:
            line = json.dumps(try_game(name, options.minutes, out, processes))
            print(line)
            with results.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
