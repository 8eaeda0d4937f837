"""Step a world beside processes that keep every core busy: `python .ci/busy_speed.py`.

Prints the steps a second of 60 steps of `gym.make` as a user calls it, and with one thread set, in
turns. Neither may be slow because torch's threads wait for each other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from dfgym.device import available_cores

ROUNDS = 3
BUSY = """
import torch
torch.set_num_threads(1)
a = torch.randn(400, 400)
while True: a @ a
"""
LOOP = """
import time
import gymnasium as gym
env = gym.make("dfgym:DFWorld-v0", device="cpu")
env.reset(seed=0)
env.step(0)
begin = time.perf_counter()
for _ in range(60):
    if any(env.step(0)[2:4]):
        env.reset()
print(60 / (time.perf_counter() - begin))
"""


def steps_per_second(**threads: str) -> float:
    """Return the speed of a fresh process."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | threads
    loop = [sys.executable, "-W", "ignore", "-c", LOOP]
    return float(subprocess.run(loop, env=environment, check=True, stdout=-1).stdout)


def main() -> None:
    """Measure and print."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(available_cores())]
    try:
        time.sleep(3)
        for _ in range(ROUNDS):
            plain, one = steps_per_second(), steps_per_second(OMP_NUM_THREADS="1")
            print(f"{plain:.1f} steps a second, {one:.1f} with one thread set", flush=True)
    finally:
        for process in busy:
            process.kill()


if __name__ == "__main__":
    main()
