"""Whether the dream's odds are the game's: the same moment, drawn again and again.

A dream can be lawful and yet never surprise, or surprise too often. So its probability of each next
frame is held against how often the real game draws that frame from the very same moment. Scores are
proper (Gneiting and Raftery 2007): none but the true odds make the mean Brier and log scores best,
and the real game's own are as good as any dream's can be.

Legend: n moments.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dfgym.evaluation.branches import Branch, Branches, mass
from dfgym.evaluation.metrics import BINS
from dfgym.evaluation.plots import Bar, bar_plot, line_plot
from dfgym.evaluation.report import Figure, Rung, Section, Table
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding, Level

NAME = "chance"
LEAST = 1e-4
"""A frame that the dream holds to be impossible counts as this likely in the log score."""
CERTAIN = 1e-9
"""Nats below which the real game has no chance."""
FEW = 10
"""Fewer moments with chance are no test."""
FLAWED, FAULTY = 0.02, 0.2
"""More than these above the real game's own Brier score is a flaw, a fault."""
UNRULY = 0.1
"""Nats of entropy where the game has none that are a flaw."""


def measure(subject: Subject) -> dict[str, Any]:
    """Compare odds with frequencies; see `compare`."""
    return compare(subject.branches)


def compare(branches: Branches) -> dict[str, Any]:
    """Compare the dream's odds with the real game's, over all moments and actions.

    Args:
        branches: from the same moments.

    Returns:
        `moments` (of them times the actions, those in which the real game has chance), `certain`
        (those in which it has none), `exact` (whether the real odds are), and for `dream`, `real`
        (the real game's own odds) and `copy`: the expected `brier` and `log` score over moments
        with chance, None if there are none; for `dream` and `real` also the mean `entropy` there
        and `entropy_where_certain`. `reliability`: over bins of the dream's probability that are
        not empty, lists `count`, `probability` and the real `frequency`.
    """
    rows: list[list[Any]] = []
    for dreams, reals, last in zip(branches.dream, branches.real, branches.last, strict=True):
        for dream, real in zip(dreams, reals, strict=True):
            still = Branch(last[None], np.ones(1), 0.0, 0.0, None)
            sides = [mass(x, real.frames, branches.tolerance) for x in (dream, real, still)]
            rows.append([*sides, real.entropy > CERTAIN])
    unsure = [row for row in rows if row[-1]]
    sure = [row for row in rows if not row[-1]]
    result: dict[str, Any] = {
        "moments": len(unsure),
        "certain": len(sure),
        "exact": branches.exact,
        "reliability": _reliability(rows),
    }
    for place, name in enumerate(("dream", "real", "copy")):
        result[name] = {
            "brier": _average([brier(row[place], row[1]) for row in unsure]),
            "log": _average([log_score(row[place], row[1]) for row in unsure]),
            "entropy": _average([_entropy(row[place]) for row in unsure]),
            "entropy_where_certain": _average([_entropy(row[place]) for row in sure]),
        }
    return result


def _average(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def brier(odds: np.ndarray, truth: np.ndarray) -> float:
    """Return the expected squared error of odds over outcomes drawn by the truth (Brier 1950).

    Args:
        odds: `(k,)` probabilities.
        truth: `(k,)`, likewise.
    """
    return float((odds**2).sum() - 2 * odds @ truth + 1)


def log_score(odds: np.ndarray, truth: np.ndarray) -> float:
    """Return the expected negative log-likelihood of outcomes drawn by the truth, in nats."""
    return float(-(truth * np.log(np.maximum(odds, LEAST))).sum())


def _entropy(odds: np.ndarray) -> float:
    positive = odds[odds > 0]
    return float(-(positive * np.log(positive)).sum())


def _reliability(rows: list[list[Any]]) -> dict[str, list[float]]:
    """Return how often the real game draws what the dream holds to be so likely, bin by bin."""
    odds, truth = (np.concatenate([row[place] for row in rows]) for place in (0, 1))
    possible = (odds > 0) | (truth > 0)
    odds, truth = odds[possible], truth[possible]
    bins = np.minimum((odds * BINS).astype(int), BINS - 1)
    filled = sorted(set(bins.tolist()))
    return {
        "count": [int((bins == b).sum()) for b in filled],
        "probability": [float(odds[bins == b].mean()) for b in filled],
        "frequency": [float(truth[bins == b].mean()) for b in filled],
    }


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return whether chance falls as in the real game."""
    dream, real = result["dream"], result["real"]
    items = []
    if result["moments"] >= FEW:
        excess = dream["brier"] - real["brier"]
        words = (
            f"the odds of the next frame score {dream['brier']:.3f} (Brier), "
            f"the real game's own {real['brier']:.3f}"
        )
        level: Level = "fault" if excess > FAULTY else "flaw" if excess > FLAWED else "merit"
        items.append(Finding(level, words, 10 * excess))
    else:
        words = f"odds were not tested: {result['moments']} moments with chance"
        items.append(Finding("untested", words))
    unruly = dream["entropy_where_certain"]
    if unruly is not None and unruly > UNRULY:
        words = f"there is chance where the game has none: {unruly:.2f} nats a step"
        items.append(Finding("flaw", words, unruly))
    return items


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of chance; nothing where the game has none."""
    if not result["moments"]:
        return {}
    dream, real = result["dream"], result["real"]
    names = ("brier", "log", "entropy")
    entries = {name: dream[name] for name in names}
    return {NAME: {**entries, **{f"{name}_real": real[name] for name in names}}}


def section(result: dict[str, Any]) -> Section:
    """Report whether chance falls as often as in the real game."""
    sides = ("dream", "real", "copy")
    rows = [[name, *(_cell(value) for value in result[name].values())] for name in sides]
    header = ["", "Brier score", "log score, nats", "entropy, nats", "entropy where it is 0"]
    bins = result["reliability"]
    plots = []
    if len(bins["count"]) > 1:
        series = {"dream": bins["frequency"], "ideal": bins["probability"]}
        title = "how often the real game draws it"
        plots.append(
            line_plot(title, bins["probability"], series, "the dream's probability", y_range=(0, 1))
        )
    scores = {name: _cell(result[name]["brier"]) for name in sides}
    if result["moments"]:
        bars = [Bar(name, result[name]["brier"], scores[name], name) for name in sides]
        plots.append(bar_plot("Brier score of the next frame (less is better)", bars))
        log = {name: f"{result[name]['log']:.3f}" for name in ("dream", "real")}
        verdict = (
            f"In {result['moments']} cases with chance the dream's odds score {scores['dream']} "
            f"(Brier) and {log['dream']} nats; the real game's own {scores['real']} and "
            f"{log['real']}."
        )
    else:
        verdict = "The real game showed no chance in these moments."
    certain = _cell(result["dream"]["entropy_where_certain"])
    return Section(
        "Odds",
        f"{verdict} Where the game has no chance ({result['certain']} cases), the dream's entropy "
        f"is {certain} nats.",
        "The moments and actions are those of the counterfactuals. The real odds are "
        + (
            "exact: its chance was walked through. "
            if result["exact"]
            else "frequencies of draws. "
        )
        + "All outcomes that the real game cannot draw count as one.",
        [
            Figure(
                scores["dream"],
                f"Brier score of the dream's odds; the game's own: {scores['real']}",
            )
        ]
        if result["moments"]
        else [],
        plots,
        Table(header, rows),
        [
            Rung("chance", "Are its odds the game's? (Brier score)", scores["dream"],
                 scores["real"], scores["copy"], findings(result)[0].level),
            Rung("chance", "Is it certain where the game is? (entropy in nats)", certain, "0.000",
                 verdict=_judge_certainty(result)),
        ],
    )  # fmt: skip


def _judge_certainty(result: dict[str, Any]) -> Level:
    entropy = result["dream"]["entropy_where_certain"]
    return "untested" if entropy is None else "flaw" if entropy > UNRULY else "merit"


def _cell(value: float | None) -> str:
    return "not tested" if value is None else f"{value:.3f}"
