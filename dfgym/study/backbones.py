"""Backbones: a transformer with a window against the recurrent original (row D3)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.study.blocks import RolloutSpec
from dfgym.study.figures import over_horizon
from dfgym.study.runner import OURS, StudyRunner
from dfgym.study.verdict import Condition
from dfgym.study.write import Finding, compare, format_error, summarize, table
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

GAMES = ("breakout",)
BATCHES = (1, 16)
CONDITIONS = (Condition("a recurrent network remembers what has left a transformer's window"),)
KEPT = RolloutSpec(mode="kept", steps=6)  # fewer would read the end from too noisy a frame


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Measure quality, milliseconds a step and memory of both, through the same dynamics."""
    numbers: dict[str, Any] = {}
    curves, rows, comparisons = {}, [], []
    for game in games:
        ways = {"transformer": (OURS, RolloutSpec()), "recurrent": ("recurrent", RolloutSpec())}
        ways["recurrent, latent kept"] = ("recurrent", KEPT)
        curves[game] = {name: runner.curve(game, *way) for name, way in ways.items()}
        worlds = {name: runner.model(game, model).world for name, (model, _) in ways.items()}
        timed = {name: (worlds[name], way[1]) for name, way in ways.items()}
        times = step_times(timed, runner.scale.repeats)
        numbers[game] = {
            name: {
                **summarize(curves[game][name]),
                "milliseconds": times[name],
                "bytes_a_row": memory_bytes(world),
                "parameters": sum(value.numel() for value in world.weights.values()),
            }
            for name, world in worlds.items()
        }
        for name, n in numbers[game].items():
            milliseconds = ", ".join(f"{ms:.1f}" for ms in n["milliseconds"].values())
            kib, size = f"{n['bytes_a_row'] / 1024:.0f}", f"{n['parameters']:,}"
            rows.append([game, name, format_error(curves[game][name]), milliseconds, kib, size])
        difference = compare(curves[game]["recurrent"], curves[game]["transformer"])
        comparisons.append(f"{game}: recurrent, {difference}")
    batches = " and ".join(map(str, BATCHES))
    header = ["game", "backbone", "error", f"ms a step at batch {batches}", "KiB a row"]
    return Finding(
        "Transformer and recurrent",
        "Oasis is a transformer with a sliding window and cannot remember further; diffusion "
        "forcing's original is recurrent.",
        "; ".join(comparisons) + ". Memory beyond the window is not tested.",
        numbers,
        "Both step through the same dynamics. `kept`: the latent of the last denoising step "
        f"stays, and no commit pass is made; it takes {KEPT.steps} denoising steps, the others "
        "the world's own number and a commit. Times are medians of steps taken in turn, on the "
        "machine and under the load of that run: compare them with each other only. Whether the "
        "recurrent one remembers what has left the transformer's window is not tested.\n\n"
        + table([*header, "parameters"], rows),
        over_horizon(curves, "backbones"),
    )


def step_times(
    worlds: dict[str, tuple[World, RolloutSpec]], repeats: int, batches: Sequence[int] = BATCHES
) -> dict[str, dict[str, float]]:
    """Return the milliseconds of a step of the whole batch, the median of steps taken in turn."""
    times: dict[str, dict[str, float]] = {name: {} for name in worlds}
    for batch in batches:
        running = {}
        for name, (world, spec) in worlds.items():
            steps = spec.steps or world.card.sampler.denoising_steps
            settings = Settings(denoising_steps=steps, context_mode=spec.mode)  # type: ignore[arg-type]
            dynamics = Dynamics(world, batch, settings)
            frames, _ = world.starts.episode(0)
            start = (frames[:1], np.zeros(0, np.int64))
            dynamics.reset(np.arange(batch), np.arange(batch), [start] * batch)
            running[name] = dynamics
        spent: dict[str, list[float]] = {name: [] for name in worlds}
        for _ in range(repeats):
            for name, dynamics in running.items():
                began = time.perf_counter()
                dynamics.step(np.zeros(batch, np.int64))
                spent[name].append(time.perf_counter() - began)
        for name in worlds:
            times[name][str(batch)] = 1000 * statistics.median(spent[name])
    return times


def memory_bytes(world: World) -> int:
    """Return the bytes that the past of one row takes."""
    state = Dynamics(world, 1).get_state(np.zeros(1, np.int64))
    return int(state["cache"].nbytes)
