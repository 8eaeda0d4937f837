"""Sections of the report whose figures come from other rooms: legality and speed."""

from __future__ import annotations

from typing import Any

from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Figure, Section, Table


def legality(result: dict[str, Any]) -> Section:
    """Report how many transitions the real game's rules allow."""
    plots = [
        bar_plot(
            title,
            [
                Bar(name, scale * counts[key], form.format(scale * counts[key]), name)
                for name, counts in result.items()
            ],
            least,
        )
        for key, title, scale, form, least in (
            ("illegal_per_1000", "illegal transitions in 1,000", 1, "{:.2f}", 10.0),
            ("wrong_per_1000", "wrong reward or end in 1,000 legal ones", 1, "{:.2f}", 2.0),
            ("sticky_share", "transitions by a repeated last action", 100, "{:.2f} %", 0.0),
        )
    ]
    rows = [
        [
            name,
            f"{counts['transitions']:,}",
            f"{counts['illegal_per_1000']:.2f}",
            f"{counts['wrong_per_1000']:.2f}",
            f"{100 * counts['sticky_share']:.2f} %",
        ]
        for name, counts in result.items()
    ]
    header = ["", "transitions", "illegal in 1,000", "wrong in 1,000 legal", "last action repeated"]
    dream, real = result["dream"], result["real"]
    return Section(
        "Legal transitions",
        f"The real game's rules forbid {dream['illegal']:,} of {dream['transitions']:,} dreamed "
        f"transitions, and {real['illegal']:,} of {real['transitions']:,} of its own. Of the "
        f"legal dreamed ones {dream['wrong']:,} have a wrong reward or end.",
        "A transition is legal if the real game's rules lead to its frame from any hidden state "
        "that fits all that was drawn before, under the commanded action or, where the game's "
        "chance repeats the last action, under that one. The scripted player with 20 % random "
        "actions plays episodes of 500 frames at most.",
        [
            Figure(f"{dream['illegal_per_1000']:.2g}", "of 1,000 dreamed transitions are illegal"),
            Figure(
                f"{dream['wrong_per_1000']:.2g}", "of 1,000 legal ones have a wrong reward or end"
            ),
        ],
        plots,
        Table(header, rows),
    )


def speed(result: dict[str, Any]) -> Section:
    """Report the timings."""
    single, vector = result["single_steps_per_second"], result["vector_frames_per_second"]
    rows = [[name.replace("_", " "), _number(value)] for name, value in result.items()]
    return Section(
        "Speed",
        f"On {result['device']}, {single:,.0f} steps a second of one environment, and "
        f"{vector:,.0f} frames a second of 64 in one batch.",
        "Timed through Gymnasium's interface; p50, p95 and p99 are quantiles of a step's time.",
        [
            Figure(f"{single:,.0f}", "steps a second, one environment"),
            Figure(f"{vector:,.0f}", "frames a second, 64 environments"),
        ],
        table=Table(["", ""], rows),
    )


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"
