"""Flexible horizon: one model, dreams of every length, the error of each frame (row D15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.statistics import bootstrap_interval
from dfgym.study.figures import lines
from dfgym.study.games import RECIPES
from dfgym.study.objectives import full_sequence_spec, half_window
from dfgym.study.runner import StudyRunner, chunked
from dfgym.study.uncertainty import play
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table
from dfgym.world import shelf

GAMES = ("breakout",)
ROWS = 32


def _is_bound(game: Numbers) -> bool | None:
    if "rival" not in game:
        return None
    trained, *others = sorted(game["rival"].values(), key=lambda length: not length["trained"])
    return all(other["interval"][0] > trained["interval"][1] for other in others)


CONDITIONS = (
    Condition(
        "frames of the longest horizons have no more errors than those of the shortest",
        lambda game: game["spans"][-1]["interval"][0] <= game["spans"][0]["interval"][1],
    ),
    Condition(
        "a model that makes whole sequences at once makes more errors at every length but the one "
        "that it was trained at",
        _is_bound,
    ),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream as long as the player lives, and count errors by the frames since the last real one."""
    numbers: dict[str, Any] = {}
    groups, rows, rival_rows, sentences = {}, [], [], []
    for game in games:
        played = play(shelf.load(RECIPES[game]), ROWS, runner.scale.horizon, epsilon=0.05)
        spans = count_by_age(played.age, ~played.legal)
        numbers[game] = {"spans": spans, "rival": measure_rival(runner, game)}
        middles = [float(np.sqrt(span["first"] * span["last"])) for span in spans]
        groups[game] = (middles, {"dream": [span["illegal"] for span in spans]})
        lengths = {int(length): rival for length, rival in numbers[game]["rival"].items()}
        groups[f"{game}, whole sequences"] = (
            list(lengths),
            {"frames made at once": [rival["illegal"] for rival in lengths.values()]},
        )
        rival_rows += [
            [
                *(game, f"{length}{' (as trained)' if rival['trained'] else ''}"),
                f"{1000 * rival['illegal']:.3g}",
                f"{1000 * rival['interval'][0]:.3g} to {1000 * rival['interval'][1]:.3g}",
            ]
            for length, rival in lengths.items()
        ]
        rows += [
            [
                *(game, f"{span['first']} to {span['last']}", str(span["transitions"])),
                f"{1000 * span['illegal']:.2g}",
                f"{1000 * span['interval'][0]:.2g} to {1000 * span['interval'][1]:.2g}",
            ]
            for span in spans
        ]
        ends = (1000 * spans[i]["illegal"] for i in (0, -1))
        sentences.append(
            f"{game}: {next(ends):.2g} illegal in 1,000 in the first frames, {next(ends):.2g} in "
            f"frames {spans[-1]['first']} to {spans[-1]['last']}; whole sequences of "
            f"{', '.join(map(str, lengths))} frames: "
            + ", ".join(f"{1000 * rival['illegal']:.3g}" for rival in lengths.values())
        )
    header = ("game", "frames since a real one", "transitions", "illegal in 1,000", "95 % interval")
    return Finding(
        "Flexible horizon",
        "one model dreams to any horizon, since it goes on frame by frame.",
        "; ".join(sentences) + ".",
        numbers,
        f"{ROWS} dreams of the shipped world, {runner.scale.horizon} frames in all of each, played "
        "by the scripted player with 5% of its actions at random; one that ends begins anew from a "
        "real frame. Intervals are over dreams, one training.\n\n" + table(header, rows) + "\n\n"
        "The rival makes whole sequences at once, at one shared noise level, after a few known "
        "frames (see Full-sequence diffusion, whose small network this is); its dreams are chains "
        "of them. Here it makes sequences of other lengths than it was trained at.\n\n"
        + table(("game", "frames at once", "illegal in 1,000", "95 % interval"), rival_rows),
        lines(
            groups, "errors", "frames since the last real one, or at once", "illegal", log_x=True
        ),
    )


def measure_rival(runner: StudyRunner, game: str) -> dict[str, dict[str, Any]]:
    """Dream with full-sequence diffusion; its errors by how many frames are made at once."""
    num_context = half_window(runner, game)
    spec = full_sequence_spec(runner, game, num_context)
    lengths = sorted({1, spec.new // 2, spec.new, 2 * spec.new, 4 * spec.new} - {0})
    curves = {n: runner.curve(game, chunked(num_context), spec._replace(new=n)) for n in lengths}
    return {
        str(n): {"illegal": curve.mean, "interval": curve.interval, "trained": n == spec.new}
        for n, curve in curves.items()
    }


def count_by_age(age: np.ndarray, illegal: np.ndarray) -> list[dict[str, Any]]:
    """Count errors `(b, t)` in spans of ages, each twice as long as the one before.

    What is left over goes to the last span, unless it is at least half as long as its own would be.
    """
    spans, first, oldest = [], 1, int(age.max())
    while first <= oldest:
        last = 2 * first - 1
        if oldest - last < first:
            last = oldest
        there = (age >= first) & (age <= last)
        sums = np.stack([(there & illegal).sum(1), there.sum(1)], 1)  # of each row
        share = sums[:, 0].sum() / sums[:, 1].sum()
        interval = bootstrap_interval(
            sums, lambda s: s[..., 0].sum(-1) / np.maximum(s[..., 1].sum(-1), 1)
        )
        spans.append(
            {
                **{"first": first, "last": last},
                **{"transitions": int(there.sum()), "illegal": float(share)},
                "interval": interval,
            }
        )
        first = last + 1
    return spans
