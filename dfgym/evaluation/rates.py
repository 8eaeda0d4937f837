"""Whether things happen in the dream as often as in the real game, under the same players.

A dream can be right in nearly every pixel and yet be unplayable: nothing falls any more, the ball
is gone, no bullet ever comes. Then something that the real game does again and again does not
happen. So the same players play both for the same number of steps, and whatever can be counted
without knowing the rules is: rewards, ends, changed pixels, colours, and blobs that appear.

Legend: t frames of an episode, h w their size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfgym.agents.players import HOLD
from dfgym.evaluation import metrics
from dfgym.evaluation.blobs import Events, Scenery, find_scenery, follow, name_colour
from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Rung, Section, Table
from dfgym.evaluation.rollout import Dream, Episode, Real, Rows, find_game, policies, roll
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.evaluation.verdict import Finding, Level, conclude, sentence
from dfgym.frames import differ, flicker
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
MOST_REWARDS = 8
"""More different rewards than this are counted by their sign."""
EPSILON = 0.2
"""The scripted player's share of random actions."""

GROSS = 4.0
"""A rate that is off by more than this factor is a fault, not a flaw."""

RIGHT, LITTLE, MUCH = "right", "too little", "too much"
NEVER, ONLY, UNSURE, UNTESTED = "never", "only in the dream", "too few to tell", "not tested"
WRONG = (NEVER, LITTLE, ONLY, MUCH)


@dataclass(frozen=True)
class Sample:
    """One measure of one game.

    Attributes:
        values: independent ones, of rows or of episodes; the measure is their mean.
        events: how many events were counted, or in how many frames or episodes it is not 0.
    """

    values: Sequence[float]
    events: int


@dataclass(frozen=True)
class Play:
    """What one player did in one game: the episodes, the blobs of each, and those that ended."""

    episodes: Sequence[Episode]
    blobs: Sequence[Events]
    complete: Sequence[Episode]


def measure(subject: Subject) -> dict[str, Any]:
    """Compare the rates of dream and real game; see `compare_players`."""
    count = QUICK_COUNT if subject.quick else COUNT
    return compare_players(subject.make, subject.card, count)


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
        though it does in the real game; or None.
    """
    result: dict[str, Any] = {"steps": steps, "rows": rows, "players": {}}
    for player, make_policies in players(card).items():
        sides: dict[str, Rows] = {
            "real": Real(card, rows, seed),
            "dream": Dream(make(rows), seed),
        }
        limit = card.episode.max_steps
        games = {
            name: roll(side, make_policies(rows, seed), steps, limit)
            for name, side in sides.items()
        }
        scenery = find_scenery(
            np.concatenate([episode.frames for episode in games["real"]]), card.frames.palette
        )
        plays = {
            name: Play(
                episodes,
                [follow(episode.frames, scenery) for episode in episodes],
                [e for e in episodes if e.terminated[-1] or len(e) == limit],
            )
            for name, episodes in games.items()
        }
        result["players"][player] = {
            "usual_reward": _usual_reward(games["real"]),
            "measures": compare(plays["dream"], plays["real"], scenery, rows),
            "stops_after": stops_after(plays["dream"], plays["real"]),
        }
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
    kinds = _reward_kinds(dream.episodes, real.episodes)
    samples = [_samples(play, scenery, kinds, rows) for play in (dream, real)]
    return {
        name: {"unit": unit, **_compare_samples(of_dream, samples[1][name, unit])}
        for (name, unit), of_dream in samples[0].items()
    }


RewardKind = Callable[[np.ndarray], np.ndarray]


def _reward_kinds(*games: Sequence[Episode]) -> dict[str, RewardKind]:
    """Return which rewards are counted: those that differ from the real game's commonest one.

    They are compared as a card holds them, in single precision.
    """
    usual = _usual_reward(games[1])
    others = sorted({r for game in games for e in game for r in _single(e.rewards).tolist()})
    others.remove(usual)
    kinds: dict[str, RewardKind] = {"rewards": lambda rewards: _single(rewards) != usual}
    if len(others) > MOST_REWARDS:
        kinds["rewards above 0"] = lambda rewards: rewards > 0
        kinds["rewards below 0"] = lambda rewards: rewards < 0
    elif len(others) > 1:
        kinds |= {f"rewards of {value:g}": _equals(value) for value in others}
    return kinds


def _usual_reward(episodes: Sequence[Episode]) -> float:
    rewards = _single(np.concatenate([e.rewards for e in episodes]))
    values, counts = np.unique(rewards, return_counts=True)
    return float(values[counts.argmax()])


def _equals(value: float) -> RewardKind:
    return lambda rewards: _single(rewards) == value


def _single(rewards: np.ndarray) -> np.ndarray:
    return np.asarray(rewards, np.float32).astype(np.float64)


def _samples(
    play: Play, scenery: Scenery, kinds: dict[str, RewardKind], rows: int
) -> dict[tuple[str, str], Sample]:
    """Measure one game: by name and unit, one value a row or a complete episode."""
    episodes, blobs = play.episodes, play.blobs
    lengths = _per_row(play, rows, [np.ones(len(episode)) for episode in episodes])

    def rate(events: Sequence[np.ndarray]) -> Sample:
        totals = _per_row(play, rows, events)
        return Sample((1000 * totals / lengths).tolist(), int(totals.sum()))

    def mean(values: Sequence[np.ndarray]) -> Sample:
        number = sum(int(np.count_nonzero(array)) for array in values)
        return Sample((_per_row(play, rows, values) / lengths).tolist(), number)

    tolerance = flicker(bool(scenery.colours))
    changed = [differ(e.frames[1:], e.frames[:-1], tolerance) for e in episodes]
    samples = {
        (name, "in 1,000 steps"): rate([matches(episode.rewards) for episode in episodes])
        for name, matches in kinds.items()
    }
    samples["ends", "in 1,000 steps"] = rate([episode.terminated for episode in episodes])
    for name, unit, values in (
        ("return", "an episode", [float(e.rewards.sum()) for e in play.complete]),
        ("length", "steps an episode", [float(len(e)) for e in play.complete]),
    ):
        samples[name, unit] = Sample(values, int(np.count_nonzero(values)))
    samples["changed pixels", "share"] = mean([array.mean((1, 2)) for array in changed])
    samples["colours", "in a frame"] = mean([metrics.colours(e.frames[1:]) for e in episodes])
    samples["blobs", "in a frame"] = mean([b.count.sum(1) for b in blobs])
    samples["appearances", "in 1,000 steps"] = rate([b.appearances.sum(1) for b in blobs])
    samples["disappearances", "in 1,000 steps"] = rate([b.disappearances.sum(1) for b in blobs])
    for kind, colour in enumerate(scenery.colours):
        name = name_colour(colour)
        appearances = [b.appearances[:, kind] for b in blobs]
        samples[f"appearances of {name}", "in 1,000 steps"] = rate(appearances)
        samples[f"pixels of {name}", "share"] = mean([b.pixels[:, kind] for b in blobs])
    return samples


def _per_row(play: Play, rows: int, values: Sequence[np.ndarray]) -> np.ndarray:
    """Add up the values of each episode's transitions, float `(rows,)`."""
    places = [episode.row for episode in play.episodes]
    return np.bincount(places, [float(v.sum()) for v in values], rows)


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
    verdicts = [
        entry["verdict"]
        for player in result["players"].values()
        for entry in player["measures"].values()
        if entry["verdict"] not in (UNTESTED, UNSURE)
    ]
    right = sum(verdict == RIGHT for verdict in verdicts)
    return Rung("laws", "Do things come as often as in the game?", f"{right} of {len(verdicts)}")


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
