"""How long a dream follows the real game: frames over the horizon, from one real past.

Every number stands beside two baselines. *Copy* shows the last real frame for ever. *Real* is the
real game against itself: the same past and the same actions with other chance, which is as close
as any model of a game of chance can come. It is left out where a game's chance cannot be redrawn.

Legend: n moments, t frames, h w a frame of the model's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.errors import NotMeasuredError
from dfgym.evaluation import metrics, moments
from dfgym.evaluation.plots import line_plot
from dfgym.evaluation.report import Rung, Section, Table, percent
from dfgym.evaluation.rollout import describe_policy, open_real
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.evaluation.verdict import Finding
from dfgym.frames import flicker
from dfgym.world.card import Card
from dfgym.world.dynamics import Dynamics

NAME = "horizon"
HORIZONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
COUNT, QUICK_COUNT = 64, 8
GAMES = ("dream", "real", "copy")
VERDICT_STEPS = 16
"""The verdict compares dream and truth after so many steps, or after fewer."""


def measure(subject: Subject) -> dict[str, Any]:
    """Compare dream and real game over the horizon; see `compare`."""
    count = QUICK_COUNT if subject.quick else COUNT
    return compare(subject.make, subject.card, count, seed=subject.seed_of(1))


def compare(
    make: MakeDynamics,
    card: Card,
    count: int = COUNT,
    horizons: Sequence[int] = HORIZONS,
    seed: int = 1,
) -> dict[str, Any]:
    """Compare dream and real game so many steps after a real past, under the recorded actions.

    A policy with a tenth of random actions has recorded them. A game that has ended
    keeps its last frame, in the dream as in reality.

    Args:
        make: makes the dynamics.
        card: the world's card.
        count: the number of pasts.
        horizons: numbers of steps, increasing.
        seed: of the games, the policy, the choice of pasts and the dreams.

    Returns:
        `policy` (who plays, in words), `horizons` (those that real episodes reach), `moments` (how
        many pasts are recorded that far), and for `dream`, `copy` and `real` the lists `psnr` in
        dB, `ssim` and `exact`.

    Raises:
        NotMeasuredError: real episodes are too short for every horizon.
    """
    pasts = moments.draw(card, count, 0.1, seed, least=2 * max(horizons))
    recorded = np.array([moment.after(max(horizons))[2] for moment in pasts])
    reached = [h for h in horizons if (recorded >= h).any()]
    if not reached:
        raise NotMeasuredError(
            f"`horizons` is {tuple(horizons)}; expected at most {recorded.max()} steps, since real "
            f"episodes are cut after {card.episode.max_steps}"
        )
    longest = max(reached)
    truth, actions, _ = map(np.stack, zip(*(m.after(longest) for m in pasts), strict=True))
    dynamics = make(count)
    moments.begin(dynamics, pasts, seed)
    futures = {"dream": _dream_on(dynamics, actions)}
    futures["copy"] = np.repeat(truth[:, :1], longest + 1, 1)
    source = open_real(card)
    if source.can_redraw:
        twins = [moments.twin(source, m, a, seed) for m, a in zip(pasts, actions, strict=True)]
        futures["real"] = np.stack([moments.hold(twin.frames, longest) for twin in twins])
    result: dict[str, Any] = {
        "policy": describe_policy(card),
        "horizons": reached,
        "moments": [int((recorded >= h).sum()) for h in reached],
    }
    tolerance = flicker(bool(card.frames.palette))
    for name, frames in futures.items():
        pairs = [(frames[recorded >= h, h], truth[recorded >= h, h]) for h in reached]
        result[name] = {
            "psnr": [metrics.psnr(*pair) for pair in pairs],
            "ssim": [metrics.ssim(*pair) for pair in pairs],
            "exact": [metrics.exact(*pair, tolerance) for pair in pairs],
        }
    return result


def _dream_on(dynamics: Dynamics, actions: np.ndarray) -> np.ndarray:
    """Return frames `(n, t + 1, h, w, 3)` of a dream that has begun, under actions `(n, t)`."""
    frames = [dynamics.frames()]
    ended = np.zeros(len(actions), bool)
    for column in actions.swapaxes(0, 1):
        step = dynamics.step(np.ascontiguousarray(column))
        frames.append(np.where(ended[:, None, None, None], frames[-1], step.frames))
        ended |= step.terminated
    return np.stack(frames, 1)


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return nothing: where chance rules, no dream can follow the recording for long."""
    return []


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return nothing: a card does not speak of the horizon."""
    return {}


def section(result: dict[str, Any]) -> Section:
    """Report how dream and truth part over the horizon."""
    names = [name for name in GAMES if name in result]
    plots = [
        line_plot(
            title,
            result["horizons"],
            {name: result[name][key] for name in names},
            "steps after the real past",
            log_x=True,
            y_range=y_range,
        )
        for key, title, y_range in (
            ("exact", "share of frames with no wrong pixel", (0.0, 1.0)),
            ("psnr", "PSNR, dB", None),
            ("ssim", "SSIM", (0.0, 1.0)),
        )
    ]
    rows = [["pasts", *map(str, result["moments"])]]
    for key, form in (("exact", "{:.3f}"), ("psnr", "{:.1f} dB"), ("ssim", "{:.3f}")):
        rows += [[f"{name}, {key}", *map(form.format, result[name][key])] for name in names]
    return Section(
        "Over the horizon",
        _verdict(result),
        f"Real pasts were recorded by {result['policy']} with 10 % random actions; the dream goes "
        "on from them under the recorded actions. Where the game's chance can be redrawn, the real "
        "game does so too: its own line is as high as any dream can stay.",
        plots=plots,
        table=Table(["steps", *map(str, result["horizons"])], rows),
        rungs=[_rung(result)],
    )


def _place(result: dict[str, Any]) -> int:
    """Return the place of the horizon that the verdict speaks of."""
    return max(i for i, h in enumerate(result["horizons"]) if h <= VERDICT_STEPS or i == 0)


def _rung(result: dict[str, Any]) -> Rung:
    place = _place(result)
    steps = result["horizons"][place]
    cells = [
        f"{percent(result[name]['exact'][place])} / {result[name]['psnr'][place]:.1f} dB"
        if name in result
        else ""
        for name in GAMES
    ]
    return Rung("laws", f"Is it the same game {steps} steps on? (no wrong pixel / PSNR)", *cells)


def _verdict(result: dict[str, Any]) -> str:
    place = _place(result)
    steps, count = result["horizons"][place], result["moments"][place]
    exact, psnr = (result["dream"][key][place] for key in ("exact", "psnr"))
    verdict = (
        f"After {steps} steps {percent(exact)} of {count} dreams show the real frame without a "
        f"wrong pixel (PSNR {psnr:.1f} dB); "
    )
    if "real" in result:
        exact, psnr = (result["real"][key][place] for key in ("exact", "psnr"))
        return (
            f"{verdict}the real game with other chance does so in {percent(exact)} ({psnr:.1f} dB)."
        )
    psnr = result["copy"]["psnr"][place]
    return (
        f"{verdict}the last real frame, kept, is at {psnr:.1f} dB. The game's chance, if it has "
        "any, cannot be redrawn, so there is no bound to compare with."
    )
