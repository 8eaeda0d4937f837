"""How long two ways of computing a world dream the same, under its scripted player.

Run it from the repository's root: `python .ci/same_dream.py [WORLD] [--seeds 6] [--steps 500]`,
and with `--chance 1` under one that acts at random.
The player sees the frames of PyTorch with one row, and the same actions and seeds go to onnxruntime
with one row and to PyTorch with two. Prints, for each of these, how many frames differ, by how
much, and how fast a first difference grows: the slope, for each step, of the logarithm of the sum
of all differences in grey levels, from the first to where a pixel differs by 64.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from dfgym.evaluation.rollout import policies
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

ROWS = 2


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", nargs="?", default="cartpole-pixels-v0")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--chance", type=float, default=0.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    world = shelf.load(arguments.world)
    runs = {
        "PyTorch": Dynamics(world, 1, Settings(device="cpu")),
        "onnxruntime": Dynamics(world, 1, Settings(runtime="onnx")),
        f"PyTorch, {ROWS} rows": Dynamics(world, ROWS, Settings(device="cpu")),
    }
    largest: dict[str, list[int]] = {name: [] for name in list(runs)[1:]}
    slopes: dict[str, list[float]] = {name: [] for name in largest}
    for seed in range(arguments.seeds):
        for name, differences in compare(world, runs, seed, arguments).items():
            levels, sums = differences.T
            largest[name] += levels.tolist()
            end = int(np.argmax(levels >= 64))
            if end:
                begin = end - int(np.argmin(sums[:end][::-1] > 0))  # after they were last alike
                slopes[name] += [np.polyfit(np.arange(end - begin), np.log(sums[begin:end]), 1)[0]]
    for name, differing in largest.items():
        counts = [sum(level > bound for level in differing) for bound in (0, 1)]
        print(
            f"{name}: of {len(differing)} frames {counts[0]} differ and {counts[1]} by more than a "
            f"grey level, the most by {max(differing)}; growth {np.round(slopes[name], 3).tolist()}"
        )


def compare(
    world: World, runs: dict[str, Dynamics], seed: int, flags: argparse.Namespace
) -> dict[str, np.ndarray]:
    """Play an episode; returns the largest difference and the sum of all, `(t, 2)`, for each."""
    card = world.card
    frames, actions = world.starts.episode(seed % len(world.starts))
    for run in runs.values():
        rows = np.arange(run.num_rows)
        run.reset(rows, rows + seed, [(frames[:1], actions[:0])] * run.num_rows)
    (policy,) = policies(card, 1, flags.chance, seed)
    reference, *rivals = runs
    differences: dict[str, list[tuple[int, int]]] = {name: [] for name in rivals}
    for _ in range(flags.steps):
        row = policy(runs[reference].present.frames[0])
        outcomes = {
            name: run.step(np.stack([np.asarray(row)] * run.num_rows)) for name, run in runs.items()
        }
        expected = outcomes[reference].frames[0].astype(int)
        for name, all_differences in differences.items():
            distance = np.abs(outcomes[name].frames[0] - expected)
            all_differences.append((int(distance.max()), int(distance.sum())))
        if outcomes[reference].terminated[0]:
            break
    return {name: np.array(pairs) for name, pairs in differences.items()}


if __name__ == "__main__":
    main()
