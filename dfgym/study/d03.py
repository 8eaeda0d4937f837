"""D3: a transformer with a window against the recurrent original."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.study.dreams import How
from dfgym.study.findings import Finding, about, over_horizon, said, table
from dfgym.study.lab import Lab
from dfgym.study.laws import OURS
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

GAMES = ("breakout",)
BATCHES = (1, 16)
REPEATS = 21
KEPT = How(mode="kept", steps=6)  # fewer would read the end from too noisy a frame


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Quality, milliseconds a step and memory of both, through the same Env's dynamics."""
    numbers: dict[str, Any] = {}
    found, told = {}, []
    for game in games:
        ways = {"transformer": (OURS, How()), "recurrent": ("recurrent", How())}
        ways["recurrent, latent kept"] = ("recurrent", KEPT)
        found[game] = {name: lab.curve(game, *way) for name, way in ways.items()}
        worlds = {name: lab.model(game, model).world for name, (model, _) in ways.items()}
        times = timings({name: (worlds[name], way[1]) for name, way in ways.items()})
        numbers[game] = {
            name: {
                **about(found[game][name]),
                "milliseconds": times[name],
                "bytes_a_row": remembered(world),
                "parameters": sum(value.numel() for value in world.weights.values()),
            }
            for name, world in worlds.items()
        }
        for name, n in numbers[game].items():
            times_told = ", ".join(f"{ms:.1f}" for ms in n["milliseconds"].values())
            kib, size = f"{n['bytes_a_row'] / 1024:.0f}", f"{n['parameters']:,}"
            told.append([game, name, said(found[game][name]), times_told, kib, size])
    batches = " and ".join(map(str, BATCHES))
    header = ["game", "backbone", "error", f"ms a step at batch {batches}", "KiB a row"]
    return Finding(
        "D3",
        "transformer and recurrent",
        "Oasis is a transformer with a sliding window and cannot remember further; diffusion "
        "forcing's original is recurrent.",
        numbers,
        "Both step through the same dynamics. `kept`: the latent of the last denoising step "
        f"stays, and no commit pass is made; it takes {KEPT.steps} denoising steps, the others "
        "the world's own number and a commit. Times are medians of steps taken in turn, on the "
        "machine and beside the load of that run: compare them with each other only. Whether the "
        "recurrent one remembers what has left the transformer's window is not tested.\n\n"
        + table([*header, "parameters"], told),
        over_horizon(found, "backbones"),
    )


def timings(worlds: dict[str, tuple[World, How]]) -> dict[str, dict[str, float]]:
    """Milliseconds of a step of the whole batch, median of steps taken in turn."""
    found: dict[str, dict[str, float]] = {name: {} for name in worlds}
    for batch in BATCHES:
        running = {}
        for name, (world, how) in worlds.items():
            steps = how.steps or world.card.sampler.denoising_steps
            dynamics = Dynamics(world, batch, Settings("auto", steps, how.mode))  # type: ignore[arg-type]
            frames, _ = world.starts.episode(0)
            start = (frames[:1], np.zeros(0, np.int64))
            dynamics.reset(np.arange(batch), np.arange(batch), [start] * batch)
            running[name] = dynamics
        spent: dict[str, list[float]] = {name: [] for name in worlds}
        for _ in range(REPEATS):
            for name, dynamics in running.items():
                began = time.perf_counter()
                dynamics.step(np.zeros(batch, np.int64))
                spent[name].append(time.perf_counter() - began)
        for name in worlds:
            found[name][str(batch)] = 1000 * statistics.median(spent[name])
    return found


def remembered(world: World) -> int:
    """Bytes that a row's past takes."""
    state = Dynamics(world, 1).get_state(np.zeros(1, np.int64))
    return int(state["rings"].nbytes)
