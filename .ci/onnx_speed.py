"""Time a world stepped by onnxruntime against PyTorch, in turns in one run on one thread.

Run it from the repository's root:
`python .ci/onnx_speed.py [WORLD] [--batch 1 64] [--narrow] [--legality 2000]`.
Prints, for each batch, the processor's milliseconds of a step by each, and the median of the ratio
over the turns with its middle half, so that other work costs little. `--narrow` adds narrower
numbers: matrices quantised to int8 (onnxruntime's dynamic quantisation; it has no bfloat16 on the
CPU), and PyTorch's bfloat16. `--legality` judges so many transitions of each by the game's rules.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dfgym.evaluation.legality import play_and_judge
from dfgym.evaluation.rollout import Dream
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.onnx import open_session
from dfgym.world.settings import Settings
from dfgym.world.step import export_step

TURNS = 30


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", nargs="?", default=shelf.DEFAULT)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--narrow", action="store_true")
    parser.add_argument("--legality", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    world = shelf.load(arguments.world)
    for rows in arguments.batch:
        runs = make_runs(world, rows, arguments.narrow)
        times = {name: [] for name in runs}  # type: dict[str, list[float]]
        for _ in range(TURNS):
            for name, run in runs.items():
                times[name].append(clock(run, 5 if rows == 1 else 1))
        for name, own in times.items():
            ratio = np.percentile(np.array(times["torch"]) / own, [25, 50, 75])
            print(
                f"batch {rows}, {name}: {1000 * np.median(own):.2f} ms a step, "
                f"{ratio[1]:.2f} times as fast as torch ({ratio[0]:.2f} to {ratio[2]:.2f})",
                flush=True,
            )
    if arguments.legality:
        for name, run in make_runs(world, 16, arguments.narrow).items():
            counts = play_and_judge(Dream(run), world.card, arguments.legality)
            print(name, counts, f"{counts.illegal_per_1000:.2f} illegal in 1,000", flush=True)


def make_runs(world: World, rows: int, narrow: bool) -> dict[str, Dynamics]:
    """Return the same rows run in each way, with an episode begun in each."""
    runs = {
        "torch": Dynamics(world, rows, Settings(device="cpu")),
        "onnx": Dynamics(world, rows, Settings(device="cpu", runtime="onnx")),
    }
    if narrow:
        runs["torch bfloat16"] = Dynamics(world, rows, Settings(device="cpu", precision="bfloat16"))
        runs["onnx int8"] = Dynamics(world, rows, Settings(device="cpu", runtime="onnx"))
        step = runs["onnx int8"]._onnx
        assert step is not None
        step._session = open_session(quantise(export_step(world, rows)))
    frames, actions = world.starts.episode(0)
    for run in runs.values():
        run.reset(np.arange(rows), np.arange(rows), [(frames[:1], actions[:0])] * rows)
    return runs


def quantise(model: bytes) -> bytes:
    """Quantise the matrices of an ONNX file to int8; activations are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        source.write_bytes(model)
        quantize_dynamic(source, result, weight_type=QuantType.QInt8)
        return result.read_bytes()


def clock(run: Dynamics, steps: int) -> float:
    """Return the processor's seconds of a step."""
    actions = run.world.card.actions.fill(run.num_rows) * 0
    began = time.process_time()
    for _ in range(steps):
        run.step(actions)
    return (time.process_time() - began) / steps


if __name__ == "__main__":
    main()
