"""Chunks: long video from full-sequence models, chunk by chunk, for every k (row D6)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dfgym.frames import Codec
from dfgym.study import blocks
from dfgym.study.blocks import RolloutSpec, StudyModel
from dfgym.study.curve import Curve
from dfgym.study.figures import over_horizon
from dfgym.study.methods.delays import action_delays, count_cost
from dfgym.study.objectives import full_sequence_spec
from dfgym.study.runner import OURS, StudyRunner, chunked
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, compare, format_error, summarize, table
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

GAMES = ("breakout",)
HEADER = (
    *("game", "chunks", "error", "ends in 1,000"),
    "error in the first 8, the first 64, the last quarter",
    *("frames before one obeys (mean, most)", "passes a frame", "frames computed a frame"),
    *("ms a frame, alone", "error at borders, inside"),
)


def _extremes(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """The numbers of the smallest and the largest k."""
    chunk = {int(name.removeprefix("k=")): n for name, n in numbers.items() if name != "ours"}
    return chunk[min(chunk)], chunk[max(chunk)]


def _reacts_late(numbers: Numbers) -> bool:
    small, large = (n["frames_before_one_obeys"]["mean"] for n in _extremes(numbers))
    return bool(small > large)


def _jumps(numbers: Numbers) -> bool:
    small, _ = _extremes(numbers)
    return bool(small["border"] > small["inside"])


def _wastes(numbers: Numbers) -> bool:
    small, large = (n["frames_computed_a_frame"] for n in _extremes(numbers))
    return bool(large > small)


def _accumulates(numbers: Numbers) -> bool | None:
    extremes = _extremes(numbers)
    if any(n["last"] is None for n in extremes):  # no dream lasted so long
        return None
    return all(n["last"] > n["begins"] for n in extremes)


CONDITIONS = (
    Condition("the smallest k obeys an action later than the largest", _reacts_late),
    Condition("a small k forgets"),
    Condition("the smallest k errs more at the borders of its blocks than inside", _jumps),
    Condition("the largest k computes more frames for each new one", _wastes),
    Condition(
        "the smallest and the largest k err more at the end of the horizon than at its beginning",
        _accumulates,
    ),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Measure error, delay, cost and jumps of chunks that know k frames, beside ours."""
    numbers: dict[str, Any] = {}
    curves: dict[str, dict[str, Curve]] = {}
    rows, comparisons = [], []
    for game in games:
        f = runner.config(game).model.window + 1
        numbers[game], curves[game] = {}, {}
        for k in sorted({1, max(1, f // 4), f // 2, f - 1}):
            spec, model = full_sequence_spec(runner, game, k), chunked(k)
            curve, trained = runner.curve(game, model, spec), runner.model(game, model)
            schedule = blocks.matrix(trained, spec, k)
            cost, delays = count_cost(schedule), action_delays(schedule)
            border, inside = border_errors(curve, spec.new)
            numbers[game][f"k={k}"] = {
                **summarize(curve),
                "frames_before_one_obeys": {"mean": float(np.mean(delays)), "most": max(delays)},
                "passes_a_frame": cost.calls,
                "frames_computed_a_frame": cost.recomputed,
                "milliseconds_a_frame": frame_time(trained, spec, k, runner.scale.repeats),
                "border": border,
                "inside": inside,
            }
            curves[game][f"k = {k}"] = curve
            rows.append(_row(game, f"k = {k}", curve, numbers[game][f"k={k}"]))
        curve, trained = runner.curve(game, OURS), runner.model(game, OURS)
        cost = count_cost(blocks.matrix(trained, RolloutSpec(), f - 1))
        numbers[game]["ours"] = {
            **summarize(curve),
            "frames_before_one_obeys": {"mean": 0.0, "most": 0},
            "passes_a_frame": cost.calls + 1,
            "frames_computed_a_frame": cost.cached + 1,
            "milliseconds_a_frame": frame_time(trained, RolloutSpec(), f - 1, runner.scale.repeats),
            "border": None,
            "inside": None,
        }
        comparisons += [f"{game}: {name}, {compare(c, curve)}" for name, c in curves[game].items()]
        curves[game]["ours"] = curve
        rows.append(_row(game, "diffusion forcing", curve, numbers[game]["ours"]))
    sizes = " and ".join(f"{runner.config(g).model.window + 1} in {g}" for g in games)
    return Finding(
        "Chunks of full-sequence diffusion",
        "of a block of f frames the last k are known: small k reacts late, forgets and jumps at "
        "the borders; large k wastes compute; errors accumulate in both.",
        "; ".join(comparisons) + " (against ours).",
        numbers,
        "Each k has a model of its own, trained for it. The player plans a block's actions before "
        "it is made, so the error holds what late reaction costs the picture, not what it costs "
        "the player. Ours is stepped through its cache, commit included. Milliseconds are of one "
        f"environment, median of {runner.scale.repeats}, on the machine and under the load of that "
        f"run: compare them with each other only. f is {sizes}; a `-` stands where no dream lasts "
        f"so long.\n\n{table(HEADER, rows)}",
        over_horizon(curves, "chunks"),
    )


def border_errors(curve: Curve, new: int) -> tuple[float | None, float | None]:
    """Return the mean error of frames at the borders of chunks and inside; None without any.

    Episodes begin with a chunk, so each `new`-th frame is at a border.
    """
    place = np.arange(len(curve.error)) % new
    means = []
    for selected in (place == 0, place > 0):
        mean = curve.over(np.where(selected, curve.error, np.nan), 0, len(selected))
        means.append(None if math.isnan(mean) else mean)
    return means[0], means[1]


@torch.inference_mode()
def frame_time(model: StudyModel, spec: RolloutSpec, num_context: int, repeats: int) -> float:
    """Return the wall time of a new frame in milliseconds, one environment, the median."""
    world = model.world
    frames, actions = blocks.context(world, np.random.default_rng(0), num_context)
    key = 0
    times = []
    if spec.new == 1 and spec.schedule == "autoregressive":
        dynamics = Dynamics(world, 1, Settings("cpu"))  # where blocks are made
        dynamics.reset(np.zeros(1, np.int64), np.array([key]), [(frames, actions)])
        for _ in range(repeats):
            began = time.perf_counter()
            dynamics.step(np.zeros(1, np.int64))
            times.append(time.perf_counter() - began)
    else:
        clean = Codec(world.card.frames.palette).encode(torch.from_numpy(frames))[None]
        no_actions = torch.zeros(1, 1, num_context + spec.new, dtype=torch.int64)
        keys = torch.tensor([key])
        for count in range(repeats):
            began = time.perf_counter()
            blocks.block(model, spec, clean, no_actions, keys, torch.tensor([count]))
            times.append((time.perf_counter() - began) / spec.new)
    return float(1000 * np.median(times))


def _row(game: str, name: str, curve: Curve, numbers: dict[str, Any]) -> list[str]:
    keys = ("frames_before_one_obeys", "border", "inside")
    delays, border, inside = (numbers[key] for key in keys)
    last = len(curve.error)
    path = [curve.at(min(step, last), step) for step in (8, 64)] + [curve.at(last, last // 4)]
    counts = ("passes_a_frame", "frames_computed_a_frame", "milliseconds_a_frame")
    return [
        *(game, name, format_error(curve), f"{curve.ends:.2g}"),
        ", ".join("-" if math.isnan(error) else f"{error:.3g}" for error in path),
        f"{delays['mean']:.1f}, {delays['most']}",
        *(f"{numbers[key]:.1f}" for key in counts),
        "-" if border is None or inside is None else f"{border:.3g}, {inside:.3g}",
    ]
