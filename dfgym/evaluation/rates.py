"""Whether things happen in the dream as often as in the real game, under the same players.

A dream can be right in nearly every pixel and yet be unplayable: nothing falls any more, the ball
is gone, no bullet ever comes. Then something that the real game does again and again does not
happen. So the same players play both for the same number of steps, and whatever can be counted
without knowing the rules is: rewards, ends, changed pixels, colours, and blobs that appear.

Legend: t frames of an episode, h w their size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dfgym.agents.players import HOLD
from dfgym.evaluation.blobs import Scenery, find_scenery
from dfgym.evaluation.counting import (
    Play,
    Sample,
    count,
    find_reward_kinds,
    find_usual_reward,
    gather,
)
from dfgym.evaluation.plays import freeze
from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Rung, Section, Table
from dfgym.evaluation.rollout import Dream, Real, Rows, find_game, policies, roll
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.evaluation.verdict import Finding, Level, conclude, sentence
from dfgym.games import Policy, RandomPolicy
from dfgym.statistics import ratio_interval
from dfgym.world.card import Card

NAME = "rates"
COUNT, QUICK_COUNT = 20_000, 2_000
"""Steps of each player in each game, over all rows."""
ROWS = 16
LOW, HIGH = 0.8, 1.25
"""A rate between these multiples of the real one counts as right."""
ENOUGH = 6
"""If a fair coin gives so many events to one of two games, it has less than 5 % of giving none to
the other."""
EPSILON = 0.2
"""The scripted player's share of random actions."""
SECONDS = 10.0
"""A player plays the real game again, for the ceiling, if the first time took no longer."""

GROSS = 4.0
"""A rate that is off by more than this factor is a fault, not a flaw."""

RIGHT, LITTLE, MUCH = "right", "too little", "too much"
NEVER, ONLY, UNSURE, UNTESTED = "never", "only in the dream", "too few to tell", "not tested"
WRONG = (NEVER, LITTLE, ONLY, MUCH)


def measure(subject: Subject) -> dict[str, Any]:
    """Compare the rates of dream and real game; see `compare_players`."""
    count = QUICK_COUNT if subject.quick else COUNT
    return compare_players(subject.make, subject.card, count, seed=subject.seed_of(7))


def compare_players(
    make: MakeDynamics, card: Card, steps: int = COUNT, rows: int = ROWS, seed: int = 7
) -> dict[str, Any]:
    """Have each player play both games for as many steps, and compare whatever can be counted.

    Args:
        make: makes the dynamics.
        card: of the world.
        steps: of each player in each game, over all rows.
        rows: games side by side.
        seed: of the games and of the players.

    Returns:
        `steps`, `rows` and, for each of the `players` by name, a table: for each measure by name
        `unit`, its `dream` and `real` value, their `ratio` (None if the real one is 0) with its
        95 % `interval` (None if it is unbounded), the number of `dream_events` and `real_events`,
        and a `verdict`. For each player also `usual_reward`, the commonest one, which counts as
        none, and `stops_after`: the step of the episode after which nothing appears any more,
        though it does in the real game; or None. `again` (the real game with other chance; None if
        it is slow) and `copy` (the real play's first frames for ever) have `right`, how many of the
        `judged` measures are.
    """
    result: dict[str, Any] = {"steps": steps, "rows": rows, "players": {}}
    limit = card.episode.max_steps
    for player, make_policies in players(card).items():
        begin = time.monotonic()
        real = roll(Real(card, rows, seed), make_policies(rows, seed), steps, limit)
        slow = time.monotonic() - begin > SECONDS
        scenery = find_scenery(np.concatenate([e.frames for e in real]), card.frames.palette)
        sides: dict[str, Rows] = {"dream": Dream(make(rows), seed)}
        if not slow:
            sides["again"] = Real(card, rows, seed + 1)
        games = {n: roll(g, make_policies(rows, seed), steps, limit) for n, g in sides.items()}
        games["copy"] = [freeze(episode) for episode in real]
        truth = gather(real, scenery, limit)
        table: dict[str, Any] = {"usual_reward": find_usual_reward(real), "again": None}
        for name, episodes in games.items():
            own = gather(episodes, scenery, limit)
            measures = compare(own, truth, scenery, rows)
            if name == "dream":
                table |= {"measures": measures, "stops_after": stops_after(own, truth)}
            else:
                table[name] = tally(measures)
        result["players"][player] = table
    return result


def players(card: Card) -> dict[str, Callable[[int, int], list[Policy]]]:
    """Return who plays, by name: each makes so many policies from a seed."""

    def wander(hold: float) -> Callable[[int, int], list[Policy]]:
        return lambda rows, seed: [
            RandomPolicy(card.actions, child, hold)
            for child in np.random.SeedSequence(seed).spawn(rows)
        ]

    result = {"random": wander(0.0), "sticky-random": wander(HOLD)}
    if find_game(card) is not None:
        result["scripted"] = lambda rows, seed: policies(card, rows, EPSILON, seed)
    return result


def compare(dream: Play, real: Play, scenery: Scenery, rows: int) -> dict[str, Any]:
    """Return the table of all measures of one player's play of the same length in both games."""
    kinds = find_reward_kinds(dream.episodes, real.episodes)
    samples = [count(play, scenery, kinds, rows) for play in (dream, real)]
    return {
        name: {"unit": unit, **_compare_samples(of_dream, samples[1][name, unit])}
        for (name, unit), of_dream in samples[0].items()
    }


def _compare_samples(dream: Sample, real: Sample) -> dict[str, Any]:
    tested = len(dream.values) > 0 and len(real.values) > 0
    means = [float(np.mean(s.values)) if len(s.values) else None for s in (dream, real)]
    interval = ratio_interval(dream.values, real.values, paired=False) if tested else None
    ratio = means[0] / means[1] if means[0] is not None and means[1] else None
    return {
        "dream": means[0],
        "real": means[1],
        "ratio": ratio,
        "interval": None if interval is None else list(interval),
        "dream_events": dream.events,
        "real_events": real.events,
        "verdict": judge(dream, real, ratio, interval),
    }


def judge(
    dream: Sample, real: Sample, ratio: float | None, interval: tuple[float, float] | None
) -> str:
    """Say whether a measure is right.

    It is wrong only if the whole interval lies outside the band, or if something that happens often
    in one game never happens in the other.
    """
    if not (len(dream.values) and len(real.values)) or not (any(dream.values) or any(real.values)):
        return UNTESTED
    if not any(dream.values) and real.events >= ENOUGH:
        return NEVER
    if not any(real.values) and dream.events >= ENOUGH:
        return ONLY
    if interval is not None and interval[1] < LOW:
        return LITTLE
    if interval is not None and interval[0] > HIGH:
        return MUCH
    return RIGHT if ratio is not None and LOW <= ratio <= HIGH else UNSURE


def tally(measures: dict[str, Any]) -> dict[str, int]:
    """Count the measures that are `right`, of those that are `judged`."""
    verdicts = [entry["verdict"] for entry in measures.values()]
    right = verdicts.count(RIGHT)
    return {"right": right, "judged": right + sum(verdict in WRONG for verdict in verdicts)}


def stops_after(dream: Play, real: Play) -> int | None:
    """Return the step of an episode after which nothing appears in the dream any more.

    Returns:
        None if things go on to appear, or if too few would have been expected after that step.
    """
    ages = [_ages(play) for play in (dream, real)]
    last = max(np.flatnonzero(ages[0][1]) + 1, default=0)
    exposure = ages[0][0][last:].sum()
    real_exposure, real_events = (counts[last:].sum() for counts in ages[1])
    if not real_exposure or exposure * real_events / real_exposure < ENOUGH:
        return None
    return int(last)


def _ages(play: Play) -> tuple[np.ndarray, np.ndarray]:
    """Count, for each step of an episode, how often it was exposure and what appeared in it."""
    longest = max(map(len, play.episodes))
    exposure, events = np.zeros(longest, np.int64), np.zeros(longest, np.int64)
    for episode, blobs in zip(play.episodes, play.blobs, strict=True):
        exposure[: len(episode)] += 1
        events[: len(episode)] += blobs.appearances.sum(1)
    return exposure, events


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return in words what comes too rarely, too often or never, each measure once."""
    tables = {name: player["measures"] for name, player in result["players"].items()}
    names = dict.fromkeys(name for table in tables.values() for name in table)
    worst = {name: _worst(name, tables) for name in names}
    items = _stops(result)
    wrong = {name for name, finding in worst.items() if finding is not None}
    if items:
        wrong.discard("appearances")
    if items or "appearances" in wrong:
        wrong -= {"disappearances", "blobs"}
    for name in list(wrong):  # of one colour, and of all rewards, the first that is wrong is enough
        if name.startswith("appearances of"):
            wrong.discard(name.replace("appearances", "pixels", 1))
        if name.startswith("rewards "):
            wrong.discard("rewards")
    items += [finding for name in names if name in wrong and (finding := worst[name])]
    for name in ("rewards", "ends"):
        verdicts = {table[name]["verdict"] for table in tables.values()}
        if verdicts <= {UNTESTED, UNSURE}:
            events = sum(table[name]["real_events"] for table in tables.values())
            words = f"{name} were not tested: {events} events in the real game under these players"
            if name == "rewards":
                usual = {player["usual_reward"] for player in result["players"].values()}
                words += f", who get {' or '.join(f'{value:g}' for value in usual)} a step"
            items.append(Finding("untested", words))
    if not any(item.level in ("fault", "flaw") for item in items):
        words = "whatever was counted and tested comes at 0.8 to 1.25 times the real rate"
        items.append(Finding("merit", words))
    return items


def _worst(name: str, tables: dict[str, dict[str, Any]]) -> Finding | None:
    """Return the worst finding of one measure over the players, or None if none is wrong."""
    candidates = []
    for player, table in tables.items():
        entry = table.get(name)
        if entry is None or entry["verdict"] not in WRONG:
            continue
        ratio = entry["ratio"]
        size = abs(np.log(ratio)) if ratio is not None and ratio > 0 else np.inf
        gross = size > np.log(GROSS) and name not in ("colours", "changed pixels")
        level: Level = "fault" if gross and entry["verdict"] != ONLY else "flaw"
        words = f"{_clause(name, entry)} ({player} player)"
        candidates.append(Finding(level, words, min(float(size), 10.0)))
    return next(iter(conclude(candidates).findings), None)


def _clause(name: str, entry: dict[str, Any]) -> str:
    counts = f"{entry['dream_events']:,} against {entry['real_events']:,}"
    is_event = entry["unit"] == "in 1,000 steps"
    match entry["verdict"]:
        case "never":
            return f"{name} never {'come' if is_event else 'show'} in the dream: {counts}"
        case "only in the dream":
            return f"{name} {'come' if is_event else 'show'} only in the dream: {counts}"
    if is_event:
        return f"{name} come at {entry['ratio']:.2f} of the real rate: {counts}"
    return f"{name}: {entry['dream']:.3g} {entry['unit']}, {entry['real']:.3g} in the real game"


def _stops(result: dict[str, Any]) -> list[Finding]:
    """Return the finding that nothing appears any more, by the player under whom it is worst."""
    after = {name: player["stops_after"] for name, player in result["players"].items()}
    stopped = {name: step for name, step in after.items() if step is not None}
    if not stopped:
        return []
    player = min(stopped, key=lambda name: stopped[name])
    when = f"after {stopped[player]} frames of an episode" if stopped[player] else "in the dream"
    words = f"nothing new appears {when}, though it does in the real game ({player} player)"
    return [Finding("fault", words, 20.0)]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of rates: those of the main events over the real ones."""
    entries = {
        f"{player.replace('-', '_')}_{name}": entry["ratio"]
        for player, game in result["players"].items()
        for name in ("rewards", "ends", "appearances")
        if (entry := game["measures"][name])["ratio"] is not None
    }
    return {NAME: entries} if entries else {}


def section(result: dict[str, Any]) -> Section:
    """Report all rates beside the real ones."""
    rows, plots = [], []
    for player, game in result["players"].items():
        tested = {k: e for k, e in game["measures"].items() if e["verdict"] != UNTESTED}
        rows += [[f"{name}, {e['unit']}", player, *_cells(e)] for name, e in tested.items()]
        bars = [Bar("real", 1.0, "1", "real")]
        bars += [
            Bar(name, min(e["ratio"], 3.0), f"{e['ratio']:.2f}", "dream")
            for name, e in tested.items()
            if e["ratio"] is not None and " of " not in name
        ]
        plots.append(bar_plot(f"dream over real, {player} player (drawn to 3)", bars, 1.5))
    words = [item.words for item in findings(result)]
    header = ["", "player", "dream", "real", "ratio", "95 % interval", "events", "verdict"]
    return Section(
        "Rates",
        sentence(words[:4]),
        f"Each player takes {result['steps']:,} steps in the dream and as many in the real game, "
        f"in {result['rows']} rows{_scripted(result)}. A blob is a "
        "connected region of one colour, other than the commonest, or, in an RGB game, one that "
        "differs from the median picture; it appears if nothing alike was near it in the frame "
        "before. Intervals are over rows or episodes. A rate is right between "
        f"{LOW} and {HIGH} times the real one, and wrong if its whole interval lies outside.",
        plots=plots,
        table=Table(header, rows),
        rungs=[_rung(result)],
    )


def _rung(result: dict[str, Any]) -> Rung:
    players = result["players"].values()
    sides = (
        [tally(player["measures"]) for player in players],
        [player.get("again") for player in players],
        [player.get("copy") for player in players],
    )
    cells = [
        f"{sum(t['right'] for t in tallies)} of {sum(t['judged'] for t in tallies)}"
        if all(tallies)
        else ""
        for tallies in sides
    ]
    return Rung("laws", "Do things come as often as in the game?", *cells)


def _scripted(result: dict[str, Any]) -> str:
    return (
        "; the scripted player has 20 % random actions" if "scripted" in result["players"] else ""
    )


def _cells(entry: dict[str, Any]) -> list[str]:
    interval = entry["interval"]
    return [
        *("" if entry[key] is None else f"{entry[key]:.3g}" for key in ("dream", "real", "ratio")),
        "unbounded" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}",
        f"{entry['dream_events']:,} / {entry['real_events']:,}",
        entry["verdict"],
    ]
