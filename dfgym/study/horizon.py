"""Flexible horizon: one model, dreams of every length, the error of each frame (row D15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.statistics import bootstrap_interval
from dfgym.study.figures import lines
from dfgym.study.games import RECIPES
from dfgym.study.runner import StudyRunner
from dfgym.study.uncertainty import play
from dfgym.study.verdict import Condition
from dfgym.study.write import Finding, table
from dfgym.world import shelf

GAMES = ("breakout",)
ROWS = 32
CONDITIONS = (
    Condition(
        "frames of the longest horizons have no more errors than those of the shortest",
        lambda game: game["spans"][-1]["interval"][0] <= game["spans"][0]["interval"][1],
    ),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream as long as the player lives, and count errors by the frames since the last real one."""
    numbers: dict[str, Any] = {}
    groups, rows, sentences = {}, [], []
    for game in games:
        played = play(shelf.load(RECIPES[game]), ROWS, runner.scale.horizon, epsilon=0.05)
        spans = count_by_age(played.age, ~played.legal)
        numbers[game] = {"spans": spans}
        middles = [float(np.sqrt(span["first"] * span["last"])) for span in spans]
        groups[game] = (middles, {"dream": [span["illegal"] for span in spans]})
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
            f"frames {spans[-1]['first']} to {spans[-1]['last']}"
        )
    header = ("game", "frames since a real one", "transitions", "illegal in 1,000", "95 % interval")
    return Finding(
        "Flexible horizon",
        "one model dreams to any horizon, since it goes on frame by frame.",
        "; ".join(sentences) + ".",
        numbers,
        f"{ROWS} dreams of the shipped world, {runner.scale.horizon} frames in all of each, played "
        "by the scripted player with 5% of its actions at random; one that ends begins anew from a "
        "real frame. Intervals are over dreams, one training. The rival that makes whole sequences "
        "at once has its own claim under Objectives.\n\n" + table(header, rows),
        lines(groups, "errors by horizon", "frames since the last real one", "illegal", log_x=True),
    )


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
