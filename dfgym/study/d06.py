"""D6: long video from full-sequence models, chunk by chunk, for every k."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dfgym.diffusion.interactive import cost, delays
from dfgym.frames import Codec
from dfgym.study import dreams
from dfgym.study.findings import Finding, about, over_horizon, said, table
from dfgym.study.lab import Curve, Lab, chunked
from dfgym.study.laws import OURS, blocks
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

GAMES = ("breakout",)
REPEATS = 15
HEADER = (
    *("game", "chunks", "error", "ends in 1,000"),
    "error in the first 8, the first 64, the last quarter",
    *("frames before one obeys (mean, most)", "passes a frame", "frames computed a frame"),
    *("ms a frame, alone", "error at borders, inside"),
)


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Error, delay, cost and jumps of chunks that know k frames, beside ours."""
    numbers: dict[str, Any] = {}
    found: dict[str, dict[str, Curve]] = {}
    told = []
    for game in games:
        f = lab.config(game, OURS).model.window + 1
        numbers[game], found[game] = {}, {}
        for k in sorted({1, max(1, f // 4), f // 2, f - 1}):
            how, model = blocks(lab, game, k), chunked(k)
            curve = lab.curve(game, model, how)
            trained = lab.model(game, model)
            schedule = dreams.matrix(trained, how, k)
            spent, late = cost(schedule), delays(schedule)
            border, inside = jumps(curve, how.new)
            numbers[game][f"k={k}"] = {
                **about(curve),
                "frames_before_one_obeys": {"mean": float(np.mean(late)), "most": max(late)},
                "passes_a_frame": spent.calls,
                "frames_computed_a_frame": spent.recomputed,
                "milliseconds_a_frame": milliseconds(trained, how, k),
                "border": border,
                "inside": inside,
            }
            found[game][f"k = {k}"] = curve
            told.append(_row(game, f"k = {k}", curve, numbers[game][f"k={k}"]))
        curve = lab.curve(game, OURS)
        trained = lab.model(game, OURS)
        spent = cost(dreams.matrix(trained, dreams.How(), f - 1))
        numbers[game]["ours"] = {
            **about(curve),
            "frames_before_one_obeys": {"mean": 0.0, "most": 0},
            "passes_a_frame": spent.calls + 1,
            "frames_computed_a_frame": spent.cached + 1,
            "milliseconds_a_frame": milliseconds(trained, dreams.How(), f - 1),
            "border": None,
            "inside": None,
        }
        found[game]["ours"] = curve
        told.append(_row(game, "diffusion forcing", curve, numbers[game]["ours"]))
    sizes = " and ".join(f"{lab.config(g, OURS).model.window + 1} in {g}" for g in games)
    return Finding(
        "D6",
        "chunks of full-sequence diffusion",
        "of a block of f frames the last k are known: small k reacts late, forgets and jumps at "
        "the borders; large k wastes compute; errors accumulate in both.",
        numbers,
        "Each k has a model of its own, trained for it. The player plans a block's actions before "
        "it is made, so the error holds what late reaction costs the picture, not what it costs "
        "the player. Ours is stepped through its cache, commit included. Milliseconds are of one "
        f"environment, median of {REPEATS}, on the machine and beside the load of that run: "
        f"compare them with each other only. f is {sizes}; where no dream lasts so long stands "
        f"`-`.\n\n{table(HEADER, told)}",
        over_horizon(found, "chunks"),
    )


def jumps(curve: Curve, new: int) -> tuple[float | None, float | None]:
    """Mean error of the frames at the borders of chunks, and of those inside; None without any.

    Episodes begin with a chunk, so the border's frames are each `new`-th.
    """
    place = np.arange(len(curve.error)) % new
    means = []
    for part in (place == 0, place > 0):
        mean = curve.over(np.where(part, curve.error, np.nan), 0, len(part))
        means.append(None if math.isnan(mean) else mean)
    return means[0], means[1]


@torch.inference_mode()
def milliseconds(model: dreams.Model, how: dreams.How, known: int) -> float:
    """Wall time of a new frame, one environment, median."""
    world = model.world
    frames, actions = dreams.context(world, np.random.default_rng(0), known)
    key = 0
    times = []
    if how.new == 1 and how.schedule == "autoregressive":
        dynamics = Dynamics(world, 1, Settings("cpu"))  # where blocks are made
        dynamics.reset(np.zeros(1, np.int64), np.array([key]), [(frames, actions)])
        for _ in range(REPEATS):
            began = time.perf_counter()
            dynamics.step(np.zeros(1, np.int64))
            times.append(time.perf_counter() - began)
    else:
        clean = Codec(world.card.frames.palette).encode(torch.from_numpy(frames))[None]
        led = torch.zeros(1, 1, known + how.new, dtype=torch.int64)
        keys = torch.tensor([key])
        for count in range(REPEATS):
            began = time.perf_counter()
            dreams.block(model, how, clean, led, keys, torch.tensor([count]))
            times.append((time.perf_counter() - began) / how.new)
    return float(1000 * np.median(times))


def _row(game: str, name: str, curve: Curve, numbers: dict[str, Any]) -> list[str]:
    late, border, inside = (numbers[key] for key in ("frames_before_one_obeys", "border", "inside"))
    last = len(curve.error)
    path = [curve.at(min(step, last), step) for step in (8, 64)] + [curve.at(last, last // 4)]
    counts = ("passes_a_frame", "frames_computed_a_frame", "milliseconds_a_frame")
    return [
        *(game, name, said(curve), f"{curve.ends:.2g}"),
        ", ".join("-" if math.isnan(error) else f"{error:.3g}" for error in path),
        f"{late['mean']:.1f}, {late['most']}",
        *(f"{numbers[key]:.1f}" for key in counts),
        "-" if border is None or inside is None else f"{border:.3g}, {inside:.3g}",
    ]
