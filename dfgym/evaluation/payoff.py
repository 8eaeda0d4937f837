"""Where the dream pays more, or lets live longer, than the game does in the same situations.

An agent that trains in a dream goes where it pays. So a careful player plays both games, every step
is sorted by how much of each colour the frame shows (in powers of two: in Breakout, how many bricks
are left), and rewards, ends and, where a judge knows the rules, illegal transitions are counted in
each sort. A return is a reward a step times the steps of an episode, so both are compared too.

Legend: n steps, k colours, r rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.evaluation import legality
from dfgym.evaluation.blobs import find_scenery, name_colour
from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Figure, Rung, Section, Table
from dfgym.evaluation.rollout import (
    Dream,
    Episode,
    Real,
    Rows,
    describe_policy,
    find_game,
    policies,
    roll,
)
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.games import Game
from dfgym.world.card import Card

NAME = "payoff"
STEPS, QUICK_STEPS = 16_000, 1_600
"""Of each play, over all rows."""
ROWS = 16
EPSILON = 0.05
FEW = 100
"""Situations of fewer steps, in either game, are not compared."""
SURE = 3.0
"""A difference of so many standard deviations is no chance; many situations are looked at."""
FLAWED, FAULTY = 1.1, 1.5
"""More than these multiples of the real reward a step, in either direction, is a flaw, a fault."""
RATES = ("reward", "ends", "illegal")
USUAL = 0.9
"""What nearly every frame shows is no situation."""
MOST = 4


def measure(subject: Subject) -> dict[str, Any]:
    """Compare what situations pay; see `compare`."""
    steps = QUICK_STEPS if subject.quick else STEPS
    return compare(subject.make, subject.card, steps, subject.seed_of(23))


def compare(make: MakeDynamics, card: Card, steps: int = STEPS, seed: int = 23) -> dict[str, Any]:
    """Compare rewards, ends and illegal transitions, situation by situation.

    Args:
        make: makes the dynamics.
        card: of the world.
        steps: of each play, over all rows.
        seed: of the games and of the player.

    Returns:
        `policy` (who plays, in words); for `dream`, `real` and `again` (the real game with other
        chance): `reward`, `ends` and, with a judge, `illegal` a step, and `life`, the steps from
        one end to the next (None if there was no end); and `situations`, a list: `name`, and for
        `dream` and `real` a table of `steps`, `share` (of all steps) and the same rates, with
        `deviations`: by how many standard deviations of chance each rate differs.
    """
    game = find_game(card)
    sides: dict[str, Rows] = {
        "dream": Dream(make(ROWS), seed),
        "real": Real(card, ROWS, seed),
        "again": Real(card, ROWS, seed + 1),
    }
    plays = {
        name: roll(side, policies(card, ROWS, EPSILON, seed + place), steps, card.episode.max_steps)
        for place, (name, side) in enumerate(sides.items())
    }
    frames = np.concatenate([episode.frames for episode in plays["real"]])
    scenery = find_scenery(frames, card.frames.palette)
    names = [name_colour(colour) for colour in scenery.colours] or ["what is not scenery"]
    tables = {name: _steps(play, scenery.masks, game) for name, play in plays.items()}
    result: dict[str, Any] = {"policy": describe_policy(card)}
    for name, (_, rates, rows) in tables.items():
        ends = float(rates["ends"].mean())
        table = {key: float(values.mean()) for key, values in rates.items()}
        result[name] = {**table, "life": 1 / ends if ends else None, "rows": int(rows.max()) + 1}
    result["situations"] = []
    for kind, name in enumerate(names):
        for sort in np.union1d(*(tables[side][0][:, kind] for side in ("dream", "real"))):
            entry = _situation([tables[side] for side in ("dream", "real")], kind, int(sort))
            if entry is not None:
                low, high = 2 ** int(sort) - 1, 2 ** (int(sort) + 1) - 2
                count = f"{low}" if low == high else f"{low} to {high}"
                result["situations"].append({"name": f"{count} pixels of {name}", **entry})
    return result


_Steps = tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]


def _steps(episodes: Sequence[Episode], masks: Any, game: Game | None) -> _Steps:
    """Return each step's sorts, int `(n, k)`, its rates, each `(n,)`, and its row, `(n,)`."""
    sorts, rows = [], []
    rates: dict[str, list[np.ndarray]] = {"reward": [], "ends": []}
    for episode in episodes:
        pixels = masks(episode.frames[:-1]).sum((2, 3))
        sorts.append(np.log2(pixels + 1).astype(int))
        rows.append(np.full(len(episode), episode.row))
        rates["reward"].append(episode.rewards)
        rates["ends"].append(episode.terminated.astype(float))
        if game is not None and game.judge is not None:
            illegal = ~legality.judge(game, episode).legal
            rates.setdefault("illegal", []).append(illegal.astype(float))
    values = {name: np.concatenate(arrays) for name, arrays in rates.items()}
    return np.concatenate(sorts), values, np.concatenate(rows)


def _situation(sides: Sequence[_Steps], kind: int, sort: int) -> dict[str, Any] | None:
    """Compare one situation in dream and real game; None if it is too rare."""
    inside = [sorts[:, kind] == sort for sorts, _, _ in sides]
    if min(int(mask.sum()) for mask in inside) < FEW:
        return None
    entry: dict[str, Any] = {"deviations": {}}
    for name, mask, (_, rates, _) in zip(("dream", "real"), inside, sides, strict=True):
        means = {key: float(values[mask].mean()) for key, values in rates.items()}
        entry[name] = {"steps": int(mask.sum()), "share": float(mask.mean()), **means}
    for key in sides[0][1]:
        errors = [_error(rates[key], mask, rows) for mask, (_, rates, rows) in
                  zip(inside, sides, strict=True)]  # fmt: skip
        gap, error = entry["dream"][key] - entry["real"][key], math.hypot(*errors)
        entry["deviations"][key] = gap / error if error else 0.0
    return entry


def _error(values: np.ndarray, mask: np.ndarray, rows: np.ndarray) -> float:
    """Return the standard error of a rate, a ratio of two sums over independent rows."""
    count = int(rows.max()) + 1
    sums = np.bincount(rows[mask], values[mask], count)
    sizes = np.bincount(rows[mask], minlength=count)
    residuals = sums - sizes * sums.sum() / max(sizes.sum(), 1)
    return float(np.sqrt((residuals**2).sum() * count / max(count - 1, 1)) / max(sizes.sum(), 1))


def notable(result: dict[str, Any]) -> list[tuple[str, str, float, float, float]]:
    """Return what differs beyond chance, the most steps of it first.

    Returns:
        For each: the situation's name, the rate's, its values in dream and real game, and the share
        of the dream's steps.
    """
    rows = [
        (item["name"], key, item["dream"][key], item["real"][key], item["dream"]["share"])
        for item in result["situations"]
        for key, deviations in item["deviations"].items()
        if abs(deviations) > SURE and item["dream"]["share"] < USUAL
    ]
    return sorted(rows, key=lambda row: -row[-1] * abs(row[2] - row[3]))


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return what an agent could find in the dream that the game does not have."""
    dream, real = result["dream"]["reward"], result["real"]["reward"]
    items = []
    if dream > 0 and real > 0:
        ratio = dream / real
        size = max(ratio, 1 / ratio)
        level: Level = "fault" if size > FAULTY else "flaw" if size > FLAWED else "merit"
        words = f"a step pays {ratio:.2f} times what it does in the game (careful player)"
        items.append(Finding(level, words, 5 * abs(size - 1)))
    for name, key, of_dream, of_real, share in notable(result)[:2]:
        if key != "illegal" and of_real > 0:
            words = f"with {name}, {key} a step: {of_dream:.4f}, {of_real:.4f} in the game"
            items.append(Finding("flaw", f"{words} ({100 * share:.0f} % of steps)", share))
    return items or [Finding("untested", "what steps pay was not tested: no rewards above 0")]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of what steps pay."""
    entries = {f"{name}_reward": result[name]["reward"] for name in ("dream", "real")}
    entries |= {f"{name}_life": result[name]["life"] for name in ("dream", "real")}
    return {NAME: {name: value for name, value in entries.items() if value is not None}}


def section(result: dict[str, Any]) -> Section:
    """Report where the dream pays more."""
    dream, real = result["dream"], result["real"]
    lives = {n: "no end" if result[n]["life"] is None else f"{result[n]['life']:.0f}"
             for n in ("dream", "real", "again")}  # fmt: skip
    differing = notable(result)
    words = "; ".join(
        f"with {name} {key} are {x:.4f} a step (real: {y:.4f})"
        for name, key, x, y, _ in differing[:MOST]
    )
    rows = []
    for item in result["situations"]:
        cells = [item["name"], f"{item['dream']['steps']:,} / {item['real']['steps']:,}"]
        for key in RATES:
            if key in item["dream"]:
                mark = " *" if abs(item["deviations"][key]) > SURE else ""
                cells.append(f"{item['dream'][key]:.4f} / {item['real'][key]:.4f}{mark}")
        rows.append(cells)
    header = ["dream / real", "steps", *(f"{key} a step" for key in RATES if key in dream)]
    bars = [
        Bar(f"{key}, {name}", value := 1000 * result[name][key], f"{value:.1f}", name)
        for key in ("reward", "ends")
        for name in ("dream", "real")
    ]
    return Section(
        "Where it pays",
        f"A careful player earns {dream['reward']:.4f} a step in the dream and "
        f"{real['reward']:.4f} in the game ({result['again']['reward']:.4f} with other chance), "
        f"and lives {lives['dream']} and {lives['real']} steps ({lives['again']}). "
        + (f"Beyond chance, {words}." if words else "No situation differs beyond chance."),
        f"{result['policy'].capitalize()} with 5 % random actions plays both games. Steps are "
        "sorted by how many pixels of each colour the frame shows; a star marks what differs by "
        f"more than {SURE:.0f} standard deviations of chance, over rows.",
        [Figure(f"{dream['reward'] / real['reward']:.2f}", "times the game's reward a step")]
        if real["reward"]
        else [],
        [bar_plot("in 1,000 steps", bars)],
        Table(header, rows),
        [
            Rung(
                "players",
                "Does it pay as the game does? (reward a step / steps to an end)",
                *(f"{result[n]['reward']:.4f} / {lives[n]}" for n in ("dream", "again")),
            )
        ],
    )
