"""Whether a dream knows where it errs: its own uncertainty, held against what went wrong.

Two kinds of faults are looked for. A *surprise* is a next frame that differs from the one that the
real game drew after the same past: chance, or ignorance. An *illegal* transition is one that no
state of the real game explains (`dfgym.games.twin`). A score is of use if it is higher where faults
are: its AUROC is the probability that a fault has a higher score than a transition without, so
that 0.5 says nothing; and a risk-coverage curve says how many faults are left if the least certain
transitions are not trusted (El-Yaniv and Wiener 2010). The probability of an end is held against
the real game's ends. They are rare, so moments just before them are added: an AUROC compares pairs,
and does not depend on how many there are of either kind; a risk does, and is left out for ends.

Legend: n transitions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.errors import NotMeasuredError
from dfgym.evaluation import lifetime, moments
from dfgym.evaluation.moments import BLUR, Moment
from dfgym.evaluation.plots import Bar, bar_plot, line_plot
from dfgym.evaluation.report import Figure, Rung, Section, Table
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.frames import differ, flicker
from dfgym.games.outcomes import Twin
from dfgym.statistics import bootstrap_interval
from dfgym.world.card import Card

NAME = "uncertainty"
COUNT, BATCH = 1024, 128
"""Moments of one step, and those of a batch."""
PLAYS, STEPS = 32, 100
"""Dreams that are judged by the real game, and their transitions at most."""
QUICK_PLAYS, QUICK_STEPS = 4, 40
ROUNDS, ENOUGH, SECONDS = 4, 30, 40.0
"""Such plays are judged again and again, at most so often, until there are enough illegal
transitions, or until another round would end after this time."""
ENDS = 64
"""Moments just before ends that are added, at most."""
SCORES = ("uncertainty", "outcome_entropy", "epistemic")
"""Fields of a transition, those that it has."""
EPSILON, AGE = 0.2, 200
FEW = 10
"""Fewer faults are no test."""
USEFUL, USELESS = 0.7, 0.55
"""An AUROC of this is a merit; of less than that, a flaw."""
POINTS = 20
RESAMPLES = 500


def measure(subject: Subject) -> dict[str, Any]:
    """Hold the dream's uncertainty against its faults; see `compare`."""
    sizes = (QUICK_PLAYS, QUICK_STEPS) if subject.quick else (PLAYS, STEPS)
    rounds = 1 if subject.quick else ROUNDS
    count = max(BATCH, subject.scale(COUNT))
    return compare(subject.make, subject.card, count, *sizes, subject.seed_of(19), rounds)


def compare(
    make: MakeDynamics,
    card: Card,
    count: int = COUNT,
    plays: int = PLAYS,
    steps: int = STEPS,
    seed: int = 19,
    rounds: int = 1,
) -> dict[str, Any]:
    """Hold scores of transitions against faults.

    Args:
        make: makes the dynamics.
        card: of the world.
        count: moments from which one step is compared with the real game's.
        plays: dreams that the real game judges in a round.
        steps: their transitions at most.
        seed: of the games, the player, the moments and the dreams.
        rounds: at most; no other begins after `ENOUGH` faults or `SECONDS`.

    Returns:
        For each score of `SCORES` that the world has, a table with `surprise` and, if the game can
        be brought back, `illegal`: see `validate`. `end`: the same of the probability of an end,
        against the real game's ends, without a curve of risk.
    """
    scores, differs, ended = _surprises(make, card, count, seed)
    result: dict[str, Any] = {"scores": {}, "end": validate(scores.pop("end"), ended, curve=False)}
    for name, values in scores.items():
        result["scores"][name] = {"surprise": validate(values, differs)}
    try:
        scores, faults = _faults(make, card, (plays, steps, rounds), seed)
    except NotMeasuredError as reason:
        return result | {"not_judged": str(reason)}
    for name, values in scores.items():
        result["scores"][name]["illegal"] = validate(values, faults)
    return result


def _surprises(
    make: MakeDynamics, card: Card, count: int, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Take one step from each moment.

    Returns:
        The scores and which frames differ, of `count` moments each; but of the score `end`, and of
        the real ends, also those that were added.
    """
    pasts = choose_moments(card, count, seed)
    dynamics = make(min(BATCH, count))
    rows, notes, frames = dynamics.num_rows, [], []
    for first in range(0, len(pasts), rows):
        batch = pasts[first : first + rows]
        filled = [*batch, *[batch[-1]] * (rows - len(batch))]
        moments.begin(dynamics, batch, seed + first)
        step = dynamics.step(np.array([m.episode.actions[m.at] for m in filled]))
        notes.append({name: value[: len(batch)] for name, value in _notes(step).items()})
        frames.append(step.frames[: len(batch)])
    truth = np.stack([m.episode.frames[m.at + 1] for m in pasts[:count]])
    tolerance = flicker(bool(card.frames.palette))
    wrong = np.asarray(differ(np.concatenate(frames)[:count], truth, tolerance).any((1, 2)))
    ended = np.array([m.episode.terminated[m.at] for m in pasts])
    scores = {name: np.concatenate([note[name] for note in notes]) for name in notes[0]}
    return {n: v if n == "end" else v[:count] for n, v in scores.items()}, wrong, ended


def choose_moments(card: Card, count: int, seed: int) -> list[Moment]:
    """Draw moments of real play evenly, and after them others for the ends.

    These are the last moments of as many of the same episodes as ended, `ENDS` at most. Where a
    good player leaves too few, a random one plays too: moments of its play and its ends, since only
    among the same player's moments is it hard to tell which of them end.

    Args:
        card: of the world.
        count: of the moments that are drawn evenly.
        seed: of the games, the players and the draw.
    """
    pasts = moments.draw(card, count, EPSILON, seed, least=AGE)
    ends = _find_ends(pasts)
    if len(ends) >= ENDS:
        return [*pasts, *ends[:ENDS]]
    others = moments.draw(card, ENDS, 1.0, seed + 2, least=AGE // 2)
    return [*pasts, *others, *[*ends, *_find_ends(others)][:ENDS]]


def _find_ends(pasts: Sequence[Moment]) -> list[Moment]:
    """Return the last moments of the episodes that ended, but for those that are given."""
    present = {(id(moment.episode), moment.at) for moment in pasts}
    episodes = {id(moment.episode): moment.episode for moment in pasts}
    return [
        Moment(episode, len(episode) - 1)
        for key, episode in episodes.items()
        if episode.terminated[-1] and (key, len(episode) - 1) not in present
    ]


def _notes(step: Any) -> dict[str, np.ndarray]:
    """Return a transition's scores that it has, each `(b,)`."""
    values = {name: getattr(step, name, None) for name in SCORES}
    present = {name: value for name, value in values.items() if value is not None}
    return {**present, "end": step.termination_probability}


def _faults(
    make: MakeDynamics, card: Card, sizes: tuple[int, int, int], seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Let dreams go on until the real game forbids them; returns scores and what it forbade.

    Args:
        make: makes the dynamics.
        card: of the world.
        sizes: plays of a round, their transitions, and rounds.
        seed: of the moments, the player and the dreams.
    """
    plays, steps, rounds = sizes
    twin, begin = moments.open_judge(card), time.monotonic()
    tables: list[dict[str, np.ndarray]] = []
    faults: list[np.ndarray] = []
    for number in range(rounds):
        pasts = moments.draw(card, plays, EPSILON, seed + 1 + 1000 * number, least=AGE)
        scores, forbidden = _judge(make, card, twin, pasts, (steps, seed + 1000 * number))
        tables.append(scores)
        faults.append(forbidden)
        expected = (time.monotonic() - begin) * (number + 2) / (number + 1)
        if sum(map(np.sum, faults)) >= ENOUGH or expected > SECONDS:
            break
    names = tables[0].keys()
    joined = {name: np.concatenate([table[name] for table in tables]) for name in names}
    return joined, np.concatenate(faults)


def _judge(
    make: MakeDynamics, card: Card, twin: Twin, pasts: Sequence[Moment], options: tuple[int, int]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Judge a round of dreams, of so many steps and from a seed; see `_faults`."""
    steps, seed = options
    notes: list[dict[str, np.ndarray]] = []

    def watch(step: Any) -> None:
        notes.append(_notes(step))

    dreams = lifetime.dream_on(make, card, pasts, steps, seed, watch)
    judged = lifetime.judge_all(twin, pasts, dreams, 0 if card.frames.palette else BLUR)
    scores: dict[str, list[float]] = {name: [] for name in notes[0] if name != "end"}
    faults: list[bool] = []
    for row, life in enumerate(judged):
        count = life.lawful + (life.end == "illegal")
        faults += [place == life.lawful for place in range(count)]
        for name, values in scores.items():
            values += [float(note[name][row]) for note in notes[:count]]
    return {name: np.array(values) for name, values in scores.items()}, np.array(faults, bool)


def validate(scores: np.ndarray, faults: np.ndarray, curve: bool = True) -> dict[str, Any]:
    """Say what scores `(n,)` are worth for foretelling faults, bool `(n,)`.

    Returns:
        `transitions`, `faults`, `auroc` and its 95 % `interval` over transitions, None if all or
        none are faults; and of the risk-coverage curve `coverage`, `risk` (the share of faults
        among the most certain transitions of that share), and their mean `area`; without `curve`,
        as where faults were added on purpose, none.
    """
    count = int(faults.sum())
    result: dict[str, Any] = {"transitions": len(faults), "faults": count}
    if not 0 < count < len(faults):
        return result | {"auroc": None, "interval": None, "coverage": [], "risk": [], "area": None}
    pairs = np.stack([scores, faults], 1).astype(float)
    interval = bootstrap_interval(pairs, _auroc_of_samples, resamples=RESAMPLES)
    result |= {"auroc": auroc(scores, faults), "interval": list(interval)}
    if not curve:
        return result | {"coverage": [], "risk": [], "area": None}
    coverage, risk = risk_coverage(scores, faults)
    places = np.linspace(0, len(risk) - 1, POINTS + 1).astype(int)[1:]
    return result | {
        "coverage": coverage[places].tolist(),
        "risk": risk[places].tolist(),
        "area": float(risk.mean()),
    }


def is_tested(entry: dict[str, Any]) -> bool:
    """Return whether there were faults enough to judge scores by."""
    return entry["auroc"] is not None and entry["faults"] >= FEW


def auroc(scores: np.ndarray, faults: np.ndarray) -> float:
    """Return the probability that a fault scores higher than what is none; ties count half.

    Args:
        scores: `(n,)`.
        faults: bool `(n,)`, some but not all.
    """
    # The rank-sum statistic of Mann and Whitney, with the mean of their ranks for equal scores.
    order, values = np.argsort(scores, kind="stable"), np.sort(scores)
    first, last = np.searchsorted(values, values), np.searchsorted(values, values, "right")
    ranks = np.empty(len(scores))
    ranks[order] = 0.5 * (first + last + 1)
    count = int(faults.sum())
    above = ranks[faults].sum() - count * (count + 1) / 2
    return float(above / (count * (len(faults) - count)))


def _auroc_of_samples(pairs: np.ndarray) -> np.ndarray:
    """Return the AUROC of each sample `(r, n, 2)`; a half where a sample has but one kind."""
    values = []
    for scores, faults in np.moveaxis(pairs, -1, 1):
        mixed = 0 < faults.sum() < len(faults)
        values.append(auroc(scores, faults > 0) if mixed else 0.5)
    return np.array(values)


def risk_coverage(scores: np.ndarray, faults: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of faults among the most certain transitions, for every number of them.

    Args:
        scores: `(n,)`, higher where less is certain.
        faults: bool `(n,)`.

    Returns:
        Coverage in (0, 1] and risk in [0, 1], both `(n,)`; equal scores share their mean risk.
    """
    order = np.argsort(scores, kind="stable")
    _, inverse = np.unique(scores[order], return_inverse=True)
    share = np.bincount(inverse, faults[order]) / np.bincount(inverse)
    ranks = np.arange(1, len(scores) + 1)
    return ranks / len(scores), np.cumsum(share[inverse]) / ranks


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return whether the dream knows where it errs."""
    return list(_find_all(result).values())


def _find_all(result: dict[str, Any]) -> dict[str, Finding]:
    """Return a finding for each kind of faults, and one for the ends."""
    items = {}
    for fault, words in (
        ("illegal", "illegal transitions"),
        ("surprise", "frames unlike the real"),
    ):
        tables = {name: t[fault] for name, t in result["scores"].items() if fault in t}
        tested = {name: table for name, table in tables.items() if is_tested(table)}
        if tested:
            best = max(tested, key=lambda name: tested[name]["auroc"])
            items[fault] = _find(f"`{best}` foretells {words}", tested[best])
        else:
            count = max((table["faults"] for table in tables.values()), default=0)
            reason = f"uncertainty of {words} was not tested: {count} faults"
            items[fault] = Finding("untested", reason)
    end = result["end"]
    items["end"] = (
        _find("the probability of an end foretells ends", end)
        if is_tested(end)
        else Finding("untested", f"whether ends are foreseen was not tested: {end['faults']} ends")
    )
    return items


def _find(clause: str, entry: dict[str, Any]) -> Finding:
    value = entry["auroc"]
    level: Level = "merit" if value >= USEFUL else "flaw" if value < USELESS else "untested"
    words = f"{clause} with an AUROC of {value:.2f} ({entry['faults']} of them)"
    return Finding(level, words, 1 - value)


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of its uncertainty."""
    entries = {
        f"{name}_{fault}_auroc": entry["auroc"]
        for name, table in result["scores"].items()
        for fault, entry in table.items()
        if is_tested(entry)
    }
    if is_tested(result["end"]):
        entries["end_auroc"] = result["end"]["auroc"]
    return {NAME: entries} if entries else {}


def section(result: dict[str, Any]) -> Section:
    """Report what the dream's own uncertainty is worth."""
    tables = [
        (f"{name.replace('_', ' ')}: {fault}", entry)
        for name, table in result["scores"].items()
        for fault, entry in table.items()
    ]
    tables.append(("probability of an end: the end", result["end"]))
    tested = [(name, entry) for name, entry in tables if is_tested(entry)]
    rows = [
        [
            name,
            f"{entry['faults']:,} of {entry['transitions']:,}",
            "not tested" if entry["auroc"] is None else f"{entry['auroc']:.3f}",
            "" if entry["interval"] is None else "{:.3f} to {:.3f}".format(*entry["interval"]),
            "" if entry["area"] is None else f"{entry['area']:.4f}",
        ]
        for name, entry in tables
    ]
    plots = []
    if tested:
        bars = [
            Bar(n, e["auroc"], f"{e['auroc']:.2f}", "dream", interval=tuple(e["interval"]))
            for n, e in tested
        ]
        plots.append(bar_plot("AUROC (0.5: it says nothing)", bars, 1.0))
    for name, entry in tested:
        if not entry["risk"]:
            continue
        base = [entry["faults"] / entry["transitions"]] * len(entry["risk"])
        series = {"dream": entry["risk"], "copy": base}
        title = f"share of faults left, {name}"
        plots.append(line_plot(title, entry["coverage"], series, "share trusted", y_range=(0, 0)))
    words = [item.words for item in findings(result)]
    best = max(tested, key=lambda item: item[1]["auroc"], default=None)
    return Section(
        "Does it know where it errs?",
        f"{'; '.join(words)}.",
        "A surprise is a frame that differs from the real game's after the same past; an illegal "
        "transition is one that no state of the real game explains. AUROC is the probability that "
        "a fault scores higher than what is none. The dotted line is what trusting at random "
        f"leaves. For the ends up to {ENDS} moments just before one were added."
        + (f" Not judged: {result['not_judged']}." if "not_judged" in result else ""),
        [] if best is None else [Figure(f"{best[1]['auroc']:.2f}", f"AUROC of the {best[0]}")],
        plots,
        Table(["", "faults", "AUROC", "95 % interval", "area under risk and coverage"], rows),
        _rungs(result),
    )


def _rungs(result: dict[str, Any]) -> list[Rung]:
    """Return the ladder's lines; a coin has an AUROC of a half, the real game no uncertainty."""
    levels = {name: finding.level for name, finding in _find_all(result).items()}
    rungs = [
        Rung(
            "trust",
            f"Does it foretell its own {fault} frames? (AUROC)",
            " / ".join(
                f"{table[fault]['auroc']:.2f}" if is_tested(table[fault]) else "untested"
                for table in result["scores"].values()
                if fault in table
            ),
            "",
            "0.50",
            levels[fault],
        )
        for fault in ("surprise", "illegal")
        if any(fault in table for table in result["scores"].values())
    ]
    end = f"{result['end']['auroc']:.2f}" if is_tested(result["end"]) else "untested"
    rungs.append(Rung("trust", "Does it foresee ends? (AUROC)", end, "", "0.50", levels["end"]))
    return rungs
