"""Whether things persist: what vanishes, doubles or jumps in long play, without any rules.

Things are blobs: connected regions of one colour (`blobs`). One that disappears and one of its kind
that appears elsewhere in the same step is a *jump*. What else disappears *vanishes*, what else
appears *comes from nowhere*, and where there are more than before though none came from afar, one
has *doubled*. The real game does all of this too, where a ball passes bricks: it is the measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.evaluation.blobs import Scenery, find_scenery, follow
from dfgym.evaluation.plays import Plays
from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Rung, Section, Table
from dfgym.evaluation.rollout import Episode
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.world.card import Colour

NAME = "objects"
EVENTS = ("vanish", "appear", "double", "jump")
WORDS = {
    "vanish": "things vanish",
    "appear": "things come from nowhere",
    "double": "things double",
    "jump": "things jump",
}
FLAWED, FAULTY = 1.5, 4.0
"""More than these multiples of the real game's rate are a flaw, a fault, if the rate also exceeds
it by `MARGIN`."""
MARGIN = 5.0


def measure(subject: Subject) -> dict[str, Any]:
    """Count what does not persist; see `compare`."""
    return compare(subject.plays, subject.card.frames.palette)


def compare(plays: Plays, palette: Sequence[Colour]) -> dict[str, Any]:
    """Count what does not persist.

    Args:
        plays: of the same players.
        palette: the game's colours; empty for an RGB game.

    Returns:
        `players`, and for `dream`, `real`, `again` (the real game's second play) and `copy` (its
        first frames for ever) the rate in 1,000 steps of each of `EVENTS`.
    """
    frames = np.concatenate([episode.frames for episode in plays.real])
    scenery = find_scenery(frames, palette)
    sides = {"dream": plays.dream, "real": plays.real, "again": plays.again, "copy": plays.copy()}
    rates = {name: count(episodes, scenery) for name, episodes in sides.items()}
    return {"players": plays.players, **rates}


def count(episodes: Sequence[Episode], scenery: Scenery) -> dict[str, float]:
    """Return the rate of each of `EVENTS` in 1,000 steps."""
    totals, steps = dict.fromkeys(EVENTS, 0), 0
    for episode in episodes:
        events = follow(episode.frames, scenery)
        jumps = np.minimum(events.appearances, events.disappearances)
        more = np.diff(events.count, axis=0)
        news = (events.appearances - events.disappearances)[1:]
        totals["jump"] += int(jumps.sum())
        totals["vanish"] += int((events.disappearances - jumps).sum())
        totals["appear"] += int((events.appearances - jumps).sum())
        totals["double"] += int(np.maximum(more - news, 0).sum())
        steps += len(episode)
    return {name: 1000 * total / max(steps, 1) for name, total in totals.items()}


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return what persists less than in the real game."""
    items = []
    for name in EVENTS:
        dream, usual = result["dream"][name], max(result["real"][name], result["again"][name])
        if dream - usual > MARGIN and dream > FLAWED * usual:
            level: Level = "fault" if dream > FAULTY * usual else "flaw"
            words = f"{WORDS[name]} {dream:.1f} times in 1,000 steps, {usual:.1f} in the real game"
            items.append(Finding(level, words, dream / max(usual, 1.0)))
    return items or [Finding("merit", "things persist as they do in the real game")]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of things that do not persist."""
    return {NAME: {f"{name}_per_1000": result["dream"][name] for name in EVENTS}}


def section(result: dict[str, Any]) -> Section:
    """Report what does not persist."""
    names = {"dream": "dream", "real": "real", "again": "real again", "copy": "copy"}
    sides = [side for side in names if side in result]  # an older result has no copy
    rows = [[WORDS[name], *(f"{result[side][name]:.1f}" for side in sides)] for name in EVENTS]
    bars = [
        Bar(f"{WORDS[name]}, {side}", value := result[side][name], f"{value:.1f}", side)
        for name in EVENTS
        for side in ("dream", "real")
    ]
    text = "; ".join(
        f"{WORDS[name]} {result['dream'][name]:.1f} times (real: {result['real'][name]:.1f})"
        for name in EVENTS
    )
    return Section(
        "Things that persist",
        f"In 1,000 steps {text}.",
        f"{result['players'][:1].upper()}{result['players'][1:]}. A thing is a connected region of "
        "one colour, or one that differs from the median picture. Things that pass each other hide "
        "and split in the real game too, so its own rates are the measure. In a frame that is "
        "copied for ever all things persist: this question alone says little.",
        plots=[bar_plot("times in 1,000 steps", bars)],
        table=Table(["in 1,000 steps", *(names[side] for side in sides)], rows),
        rungs=[
            Rung(
                "laws",
                "Do things persist? (vanish / double / jump in 1,000)",
                *(
                    " / ".join(f"{result[side][name]:.1f}" for name in ("vanish", "double", "jump"))
                    for side in sides
                    if side != "real"
                ),
            )
        ],
    )
