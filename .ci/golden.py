"""Compare the working tree with an earlier commit, bit for bit: `python .ci/golden.py COMMIT`.

Both are run on this machine, one after the other: 200 steps of both shipped worlds at batch 1 and 8
(frames, rewards, ends, info), a short recording of each game, and two trainings of 20 steps. A
difference is named and the exit code is 1. Weights may have been renamed: of a checkpoint the
tensors count, not their names. Bits differ between processors, so no hash is kept anywhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
FOLDERS = {"dfgym": "dfgym", "agents": "dfgym/agents", "envs_registry": "dfgym/worlds"}
PROBE = """
import hashlib, subprocess, sys, warnings
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
import gymnasium as gym
import dfgym
from safetensors.numpy import load_file

def run(*arguments):
    done = subprocess.run([sys.executable, "-m", "dfgym.cli", *map(str, arguments)],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"dfgym {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")

out = Path(sys.argv[1])
arrays = {"where": np.array(str(Path(dfgym.__file__).parent))}

def keep(name, values):
    arrays[name] = np.stack([np.asarray(value) for value in values])

def play(name, env, batch):
    random = np.random.default_rng(7)
    observation, info = env.reset(seed=11)
    frames, rewards, ends, infos = [observation], [], [], []
    for _ in range(200):
        action = random.integers(env.action_space.n) if not batch else random.integers(
            env.single_action_space.n, size=batch)
        observation, reward, terminated, truncated, info = env.step(action)
        frames.append(observation)
        rewards.append(reward)
        ends.append([terminated, truncated])
        infos.append([info["termination_probability"], info["uncertainty"]])
        if not batch and (terminated or truncated):
            frames.append(env.reset()[0])
    for kind, values in (("frames", frames), ("rewards", rewards), ("ends", ends),
                         ("info", infos)):
        keep(f"{name} {kind}", values)
    env.close()

for world in ("minatar-breakout-v0", "cartpole-pixels-v0"):
    play(f"{world} single", gym.make(f"DFWorld/{world}", device="cpu"), 0)
    play(f"{world} vector", gym.make_vec(f"DFWorld/{world}", num_envs=8, device="cpu"), 8)

game, pole = out / "game", out / "pole"
run("record", "DFSource/MinAtar-Breakout-v0", game, "--frames", 1500, "--seed", 3,
    "--policies", "scripted:0.2:0.5", "0.5", "random", "0.25", "sticky-random", "0.25")
run("record", "CartPole-v1", pole, "--frames", 600, "--seed", 3, "--resize", 64, 64,
    "--policies", "scripted:0.6:1", "0.2", "random", "0.8")
common = ["--steps", 20, "--image-steps", 5, "--batch", 4, "--length", 8, "--device", "cpu",
          "--checkpoint-every", 20, "--strip-every", 0, "--held-out", 0.2,
          "--model.depth", 2, "--model.dim", 16, "--model.heads", 2, "--precision", "float32"]
run("train", "--data", game, "--out", out / "run-game", *common, "--model.mixture", 4,
    "--sampler.denoising-steps", 1, "--noise-share", 0.5, "--clean-share", 0.5)
run("train", "--data", pole, "--out", out / "run-pole", *common, "--model.patch", 8)
for folder in (game, pole):
    for file in sorted(folder.glob("*.bin")):
        arrays[f"recording {file.relative_to(out)}"] = np.fromfile(file, np.uint8)
for folder in (out / "run-game", out / "run-pole"):
    for file in sorted(folder.rglob("*.safetensors")):
        tensors = [(str(value.shape), hashlib.sha256(value.tobytes()).hexdigest())
                   for value in load_file(file).values()]
        arrays[f"training {file.relative_to(out)}"] = np.array(sorted(tensors))
assert sum(name.startswith("recording") for name in arrays) > 2, sorted(arrays)
assert sum(name.startswith("training") for name in arrays) == 2, sorted(arrays)
np.savez(out / "trace.npz", **arrays)
"""


def lay_out(source: Path, target: Path) -> None:
    """Lay a checkout's packages out as they are installed."""
    for folder, place in FOLDERS.items():
        shutil.copytree(source / folder, target / place, dirs_exist_ok=True)


def trace(name: str, source: Path, work: Path) -> dict[str, np.ndarray]:
    """Run the probe against a checkout."""
    home, out = work / f"{name}-packages", work / f"{name}-out"
    lay_out(source, home)
    out.mkdir()
    environment = os.environ | {"PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    # As under torchrun a training takes its flags alone, and chooses nothing from a measured speed.
    environment |= {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "1"}
    command = [sys.executable, "-W", "ignore", "-c", PROBE, str(out)]
    if subprocess.run(command, env=environment, cwd=out, check=False).returncode:
        sys.exit(f"the probe failed in {name}")
    with np.load(out / "trace.npz") as file:
        values = dict(file)
    assert str(values.pop("where")).startswith(str(home)), "another dfgym was imported"
    return values


def main(commit: str) -> int:
    """Compare; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        work, base = Path(folder), Path(folder, "base")
        base.mkdir()
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=-1).stdout
        subprocess.run(["tar", "x", "-C", base], input=archive, check=True)
        before, after = trace("base", base, work), trace("tree", ROOT, work)
    differ = sorted(before.keys() ^ after.keys())
    for name in sorted(before.keys() & after.keys()):
        one, other = before[name], after[name]
        same = one.dtype == other.dtype and one.shape == other.shape
        if not (same and one.tobytes() == other.tobytes()):
            differ.append(name)
    for name in differ:
        print(f"differs: {name}")
    print(f"{len(before)} arrays of {commit} compared, {len(differ)} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
