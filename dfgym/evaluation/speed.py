"""How fast a world is stepped, as `dfgym bench` times it."""

from __future__ import annotations

from typing import Any

from dfgym.bench.speed import BATCH, bench
from dfgym.evaluation.report import Figure, Section, Table
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding

NAME = "speed"
SECONDS, QUICK_SECONDS = 5.0, 0.5


def measure(subject: Subject) -> dict[str, Any]:
    """Time single and batched environments; see `dfgym.bench.speed.bench`."""
    seconds = QUICK_SECONDS if subject.quick else SECONDS
    return bench(subject.world.path, seconds, subject.settings)


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return nothing: a slow world may be as good as a fast one."""
    return []


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of its speed."""
    return {NAME: result}


def section(result: dict[str, Any]) -> Section:
    """Report the timings."""
    single, vector = result["single_steps_per_second"], result["vector_frames_per_second"]
    rows = [[name.replace("_", " "), _number(value)] for name, value in result.items()]
    return Section(
        "Speed",
        f"On {result['device']}, {single:,.0f} steps a second of one environment, and "
        f"{vector:,.0f} frames a second of {BATCH} in one batch.",
        "Timed through Gymnasium's interface; p50, p95 and p99 are quantiles of a step's time.",
        [
            Figure(f"{single:,.0f}", "steps a second, one environment"),
            Figure(f"{vector:,.0f}", f"frames a second, {BATCH} environments"),
        ],
        table=Table(["", ""], rows),
    )


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"
