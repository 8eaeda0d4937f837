"""Where things are in long play: the states that the same players visit, in dream and real game.

For each colour (or, in an RGB game, for all that differs from the median picture) a map says how
often it covers each pixel. A map of the dream and one of the real game are compared by the total
variation of their shares: 0 if things are in the same places equally often.

Legend: k kinds of things, h w a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.evaluation.blobs import find_scenery, name_colour
from dfgym.evaluation.plays import Plays
from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Rung, Section, Table
from dfgym.evaluation.rollout import Episode
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.world.card import Colour

NAME = "occupancy"
FLAWED, FAULTY = 0.1, 0.4
"""More total variation than these, beyond the real game's against itself, is a flaw, a fault."""


def measure(subject: Subject) -> dict[str, Any]:
    """Compare the states that players visit; see `compare`."""
    return compare(subject.plays, subject.card.frames.palette)


def compare(plays: Plays, palette: Sequence[Colour]) -> dict[str, Any]:
    """Compare where things are.

    Args:
        plays: of the same players.
        palette: the game's colours; empty for an RGB game.

    Returns:
        `players`, and for `dream`, `real` (the real game's second play) and `copy`: the mean
        `total_variation` over kinds of things, and `by_kind`, that of each by its name.
    """
    frames = np.concatenate([episode.frames for episode in plays.real])
    scenery = find_scenery(frames, palette)
    names = [name_colour(colour) for colour in scenery.colours] or ["what is not scenery"]
    truth = _maps(plays.real, scenery.masks)
    result: dict[str, Any] = {"players": plays.players}
    for name, play in (("dream", plays.dream), ("real", plays.again), ("copy", plays.copy())):
        gaps = [map_distance(*maps) for maps in zip(_maps(play, scenery.masks), truth, strict=True)]
        result[name] = {
            "total_variation": float(np.mean(gaps)),
            "by_kind": dict(zip(names, gaps, strict=True)),
        }
    return result


def _maps(episodes: Sequence[Episode], masks: Any) -> np.ndarray:
    """Return how often each kind covers each pixel, float64 `(k, h, w)`."""
    return np.asarray(sum(masks(episode.frames).sum(0, dtype=np.float64) for episode in episodes))


def map_distance(counts: np.ndarray, others: np.ndarray) -> float:
    """Return the total variation of the shares of two maps `(h, w)`, 1 if just one is empty."""
    totals = counts.sum(), others.sum()
    if not all(totals):
        return float(any(totals))
    return 0.5 * float(np.abs(counts / totals[0] - others / totals[1]).sum())


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return whether things are where they are in the real game."""
    gap, own = (result[name]["total_variation"] for name in ("dream", "real"))
    excess = gap - own
    kind = max(result["dream"]["by_kind"].items(), key=lambda item: item[1])
    words = f"things are elsewhere by {gap:.2f} ({own:.2f} for the real game against itself)"
    level: Level = "fault" if excess > FAULTY else "flaw" if excess > FLAWED else "merit"
    if level != "merit":
        words += f", most of all {kind[0]}"
    return [Finding(level, words, 10 * excess)]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of the states that are visited."""
    values = {name: result[name]["total_variation"] for name in ("dream", "real")}
    return {NAME: {"total_variation": values["dream"], "total_variation_real": values["real"]}}


def section(result: dict[str, Any]) -> Section:
    """Report where things are."""
    names = ("dream", "real", "copy")
    kinds = result["dream"]["by_kind"]
    rows = [[kind, *(f"{result[name]['by_kind'][kind]:.3f}" for name in names)] for kind in kinds]
    values = {name: f"{result[name]['total_variation']:.3f}" for name in names}
    bars = [Bar(name, result[name]["total_variation"], values[name], name) for name in names]
    return Section(
        "Where things are",
        f"In long play things cover other places by {values['dream']} in total variation; the real "
        f"game differs from itself by {values['real']}.",
        f"{result['players'][:1].upper()}{result['players'][1:]}. The maps of each colour (or of "
        "what is not scenery) are compared as shares of the whole.",
        plots=[bar_plot("total variation of where things are", bars, 0.2)],
        table=Table(["", *names], rows),
        rungs=[
            Rung("laws", "Do players come to the same states? (total variation)", *values.values())
        ],
    )
