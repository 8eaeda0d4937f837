"""How far things move in the dream, against how far they moved in the real game.

Legend: n starts, h frames of the horizon.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dfgym.diffusion.noise import mix
from dfgym.errors import NotMeasuredError
from dfgym.evaluation.plots import line_plot
from dfgym.evaluation.report import Rung, Section, Table
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.games import Game
from dfgym.world.bundle import Starts

NAME = "motion"
COUNT = 192
HORIZONS = (1, 5, 10, 20)
CARD_HORIZON = 10
"""A world's card tells the motion after so many frames."""
ROWS = 32
LOW, HIGH = 0.8, 1.25
"""A thing that moves between these multiples of the real way moves as it should."""


def measure(subject: Subject) -> dict[str, Any]:
    """Compare the motion of the dream with the recorded one; see `compare`.

    Raises:
        NotMeasuredError: nothing is known that could be read off the game's frames, or the starts
            are too short.
    """
    game, world = subject.game, subject.world
    if game is None or game.read is None:
        raise NotMeasuredError(
            f"nothing is read off the frames of {subject.card.source.env}; for a game without "
            "chance, its file in dfgym/games/ can give it a reading"
        )
    history, count = world.card.model.history, subject.scale(COUNT)
    return compare(subject.make, game, world.starts, history, count, subject.seed_of(5))


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return what moves too slowly or too fast, after the horizon that a card speaks of."""
    place = _place(result)
    if not result["starts"][place]:
        return [Finding("untested", "motion was not tested: nothing could be read off the dream")]
    items = []
    for name in result["units"]:
        share = result[name]["share"][place]
        words = (
            f"after {result['horizons'][place]} frames the {name} has changed by "
            f"{share:.2f} of the real way"
        )
        level: Level = "merit" if LOW <= share <= HIGH else "fault" if share < LOW / 2 else "flaw"
        items.append(Finding(level, words, abs(share - 1)))
    return items


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of motion: that after ten frames, if it was measured."""
    if CARD_HORIZON not in result["horizons"]:
        return {}
    place = result["horizons"].index(CARD_HORIZON)
    entries = {
        f"{name}_{key}": result[name][key][place]
        for name in result["units"]
        for key in ("moved", "error", "share")
    }
    return {f"motion_after_{CARD_HORIZON}": entries}


def compare(
    make: MakeDynamics, game: Game, starts: Starts, window: int, count: int = COUNT, seed: int = 5
) -> dict[str, Any]:
    """Dream on from real pasts under the recorded actions, and read off how far things moved.

    Real and dreamed frames are read by the same function. The game has no chance, so every
    difference beyond the reading's own error is the dream's.

    Args:
        make: makes the dynamics.
        game: one with a `read`.
        starts: held-out real episodes.
        window: frames of the past that a dream begins with.
        count: the number of starts to dream from.
        seed: of the choice, and of the dreams.

    Returns:
        `horizons` (those that the starts reach), `starts` (how many were read in both at each
        horizon), `units` (by name) and, for each name in `game.readings`, lists over the horizons:
        `moved` (root mean square of the recorded change), `error` (of the difference between
        dreamed and recorded), `share` (the slope of the dreamed change over the recorded one: 1 if
        things move as fast as they should).

    Raises:
        NotMeasuredError: no episode is longer than the window.
    """
    lengths = np.diff(starts.offsets)
    horizons = [h for h in HORIZONS if h <= lengths.max() - window]
    if not horizons:
        raise NotMeasuredError(
            f"no start has a past of {window} frames and one to compare with; the longest has "
            f"{lengths.max()}"
        )
    last = max(horizons)
    candidates = [(e, t) for e, n in enumerate(lengths) for t in range(window - 1, n - last)]
    indices = np.random.default_rng(seed).permutation(len(candidates))[:count]
    readings: list[tuple[np.ndarray, np.ndarray]] = []  # real and dreamed (h + 1, k) of each start
    for first in range(0, len(indices), ROWS):
        places = [candidates[i] for i in indices[first : first + ROWS]]
        episodes = [starts.episode(e) for e, _ in places]
        actions = np.stack(
            [recorded[t : t + last] for (_, recorded), (_, t) in zip(episodes, places, strict=True)]
        )
        dynamics = make(len(places))
        rows = np.arange(len(places))
        pasts = [
            (frames[t + 1 - window : t + 1], recorded[t + 1 - window : t])
            for (frames, recorded), (_, t) in zip(episodes, places, strict=True)
        ]
        dynamics.reset(rows, np.array([mix(seed, first + i) for i in range(len(rows))]), pasts)
        dreamed = [dynamics.step(actions[:, i]).frames for i in range(last)]
        for row, ((frames, _), (_, t)) in enumerate(zip(episodes, places, strict=True)):
            real = np.array([_read(game, frames[t + h]) for h in (0, *horizons)])
            dream = np.array([real[0], *(_read(game, dreamed[h - 1][row]) for h in horizons)])
            readings.append((real, dream))
    real, dream = (np.stack(side) for side in zip(*readings, strict=True))  # n h + 1 k
    real_change, dream_change = (side[:, 1:] - side[:, :1] for side in (real, dream))
    readable = ~np.isnan(real_change + dream_change).any(2)
    result: dict[str, Any] = {
        "horizons": horizons,
        "starts": readable.sum(0).tolist(),
        "units": {name: reading.unit for name, reading in game.readings.items()},
    }
    for axis, (name, (_, scale)) in enumerate(game.readings.items()):
        pairs = [
            (scale * real_change[rows, i, axis], scale * dream_change[rows, i, axis])
            for i, rows in enumerate(readable.T)
        ]
        result[name] = {
            "moved": [_size(truth) for truth, _ in pairs],
            "error": [_size(dreamt - truth) for truth, dreamt in pairs],
            "share": [float(dreamt @ truth / max(truth @ truth, 1e-12)) for truth, dreamt in pairs],
        }
    return result


def _read(game: Game, frame: np.ndarray) -> tuple[float, ...]:
    assert game.read is not None
    return game.read(frame) or (np.nan,) * len(game.readings)


def _size(values: np.ndarray) -> float:
    """Return the root mean square; 0 if there is no value."""
    return float(np.sqrt(np.square(values).mean())) if len(values) else 0.0


def section(result: dict[str, Any]) -> Section:
    """Report how far things move and how far they should."""
    rows = [["starts read in both", *map(str, result["starts"])]]
    rows += [
        [f"{name}, {words}", *(f"{value:.3g}" for value in result[name][key])]
        for name in result["units"]
        for key, words in (
            ("moved", "recorded change"),
            ("error", "error of the dreamed one"),
            ("share", "slope of dreamed over recorded"),
        )
    ]
    plots = [
        line_plot(
            f"{name}, {unit}",
            result["horizons"],
            {"real": result[name]["moved"], "dream": result[name]["error"]},
            "frames dreamed",
            y_range=(0, 0),
        )
        for name, unit in result["units"].items()
    ]
    steps, count = result["horizons"][-1], result["starts"][-1]
    parts = [
        f"the {name} is off by {result[name]['error'][-1]:.2g} where it changed by "
        f"{result[name]['moved'][-1]:.2g} {unit}"
        for name, unit in result["units"].items()
    ]
    return Section(
        "Motion",
        f"After {steps} frames {' and '.join(parts)} (root mean squares over {count} starts)."
        if count
        else f"After {steps} frames nothing could be read off the dream: not tested, 0 starts.",
        "The dream goes on from real pasts under the recorded actions. How far things moved "
        "in the recording (real) and how far the dream is from there (dream), root mean squares "
        "over the starts that can be read in both.",
        plots=plots,
        table=Table(["frames dreamed", *map(str, result["horizons"])], rows),
        rungs=[_rung(result)],
    )


def _place(result: dict[str, Any]) -> int:
    """Return the place of the horizon that a card speaks of, or of the one below it."""
    return max(i for i, h in enumerate(result["horizons"]) if h <= CARD_HORIZON or i == 0)


def _rung(result: dict[str, Any]) -> Rung:
    """Return the ladder's line; without chance the real game repeats itself, and a copy rests."""
    place, names = _place(result), list(result["units"])
    question = f"Do things move the real way in {result['horizons'][place]} frames? (share of it: "
    shares = [
        f"{result[name]['share'][place]:.2f}" if result["starts"][place] else "untested"
        for name in names
    ]
    sides = (shares, ["1.00"] * len(names), ["0.00"] * len(names))
    return Rung("laws", f"{question}{' / '.join(names)})", *map(" / ".join, sides))
