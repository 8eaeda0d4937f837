"""How far CartPole's cart and pole move in the dream, against how far they moved in the real game.

Legend: n starts, h frames of the horizon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dfgym.diffusion.noise import mix
from dfgym.errors import ConfigError
from dfgym.evaluation.plots import line_plot
from dfgym.evaluation.report import Section, Table
from dfgym.games.cartpole import look

if TYPE_CHECKING:
    from dfgym.evaluation.fidelity import MakeDynamics
    from dfgym.world.bundle import Starts

HORIZONS = (1, 5, 10, 20)
ROWS = 32
SCALES = {"position": 1.0, "angle": 180 / np.pi}
"""Units of the game, and degrees."""


def motion(
    make: MakeDynamics, starts: Starts, window: int, count: int = 192, seed: int = 5
) -> dict[str, Any]:
    """Dream on from real pasts under the recorded actions and read off what moved.

    Real and dreamed frames are read by the same eye (`agents.cartpole.look`), whose own error is
    about 0.3 degrees. CartPole has no chance, so whatever differs is the dream's.

    Args:
        make: makes the dynamics.
        starts: held-out real episodes.
        window: frames of the past that a dream is given.
        count: starts to dream from.
        seed: of the choice, and of the dreams.

    Returns:
        `horizons` (those that the starts reach), `starts` (how many were read in both at each
        horizon) and, for `position` in units and `angle` in degrees, lists over the horizons:
        `moved` (root mean square of the recorded change), `error` (of the difference between
        dreamed and recorded), `share` (the slope of the dreamed change over the recorded one: 1 if
        things move as fast as they should).

    Raises:
        ConfigError: no episode is longer than the window.
    """
    lengths = np.diff(starts.offsets)
    horizons = [h for h in HORIZONS if h <= lengths.max() - window]
    if not horizons:
        raise ConfigError(
            f"no start has a past of {window} frames and one to compare with; the longest has "
            f"{lengths.max()}"
        )
    last = max(horizons)
    known = [(e, t) for e, n in enumerate(lengths) for t in range(window - 1, n - last)]
    chosen = np.random.default_rng(seed).permutation(len(known))[:count]
    read: list[tuple[np.ndarray, np.ndarray]] = []  # real and dreamed (h + 1, 2) of each start
    for first in range(0, len(chosen), ROWS):
        places = [known[i] for i in chosen[first : first + ROWS]]
        episodes = [starts.episode(e) for e, _ in places]
        actions = np.stack(
            [led[t : t + last] for (_, led), (_, t) in zip(episodes, places, strict=True)]
        )
        dynamics = make(len(places))
        rows = np.arange(len(places))
        pasts = [
            (frames[t + 1 - window : t + 1], led[t + 1 - window : t])
            for (frames, led), (_, t) in zip(episodes, places, strict=True)
        ]
        dynamics.reset(rows, np.array([mix(seed, first + i) for i in range(len(rows))]), pasts)
        dreamed = [dynamics.step(actions[:, i]).frames for i in range(last)]
        for row, ((frames, _), (_, t)) in enumerate(zip(episodes, places, strict=True)):
            real = np.array([_see(frames[t + h]) for h in (0, *horizons)])
            dream = np.array([real[0], *(_see(dreamed[h - 1][row]) for h in horizons)])
            read.append((real, dream))
    real, dream = (np.stack(side) for side in zip(*read, strict=True))  # n h + 1 2
    recorded, made = (side[:, 1:] - side[:, :1] for side in (real, dream))
    seen = ~np.isnan(recorded + made).any(2)
    found: dict[str, Any] = {"horizons": horizons, "starts": seen.sum(0).tolist()}
    for axis, (name, scale) in enumerate(SCALES.items()):
        pairs = [
            (scale * recorded[seen[:, i], i, axis], scale * made[seen[:, i], i, axis])
            for i in range(len(horizons))
        ]
        found[name] = {
            "moved": [_size(truth) for truth, _ in pairs],
            "error": [_size(dreamt - truth) for truth, dreamt in pairs],
            "share": [float(dreamt @ truth / max(truth @ truth, 1e-12)) for truth, dreamt in pairs],
        }
    return found


def _see(frame: np.ndarray) -> tuple[float, float]:
    return look(frame, 0.2) or (np.nan, np.nan)


def _size(values: np.ndarray) -> float:
    """Root mean square; 0 of nothing."""
    return float(np.sqrt(np.square(values).mean())) if len(values) else 0.0


def section(result: dict[str, Any]) -> Section:
    """Report how far things move and how far they should."""
    rows = [["starts read in both", *map(str, result["starts"])]]
    rows += [
        [f"{name}, {words}", *(f"{value:.3g}" for value in result[name][key])]
        for name in SCALES
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
        for name, unit in (("position", "units of the game"), ("angle", "degrees"))
    ]
    steps, count = result["horizons"][-1], result["starts"][-1]
    parts = [
        f"the {name} is off by {result[name]['error'][-1]:.2g} where it changed by "
        f"{result[name]['moved'][-1]:.2g} {unit}"
        for name, unit in (("position", "units"), ("angle", "degrees"))
    ]
    return Section(
        "Motion",
        f"After {steps} frames {' and '.join(parts)} (root mean squares over {count} starts)."
        if count
        else f"After {steps} frames nothing could be read off the dream: not tested, 0 starts.",
        "The dream goes on from real pasts under the recorded actions. How far cart and pole moved "
        "in the recording (real) and how far the dream is from there (dream), root mean squares "
        "over the starts that can be read in both.",
        plots=plots,
        table=Table(["frames dreamed", *map(str, result["horizons"])], rows),
    )
