"""How long a dream obeys the real game, judged by the real game itself.

No rules are needed: the real game is brought back to the moment at which a dream begins, and all of
its states that explain the frames so far are stepped along (`dfgym.games.twin`). The *lawful
lifetime* is the number of transitions before the first one that no state explains.

Legend: n dreams.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dfgym.evaluation import moments
from dfgym.evaluation.moments import BLUR, Moment
from dfgym.evaluation.plays import freeze
from dfgym.evaluation.plots import line_plot
from dfgym.evaluation.report import Figure, Rung, Section, Table, percent
from dfgym.evaluation.rollout import Episode, describe_policy, policies
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.games.outcomes import Twin
from dfgym.games.twin import Lifetime, follow
from dfgym.statistics import bootstrap_interval
from dfgym.world.card import Card
from dfgym.world.outcomes import Transition

NAME = "lifetime"
COUNT, QUICK_COUNT = 64, 8
"""Dreams that are judged."""
STEPS, QUICK_STEPS = 300, 60
"""Transitions of a dream at most."""
CHECKS = 8
"""So many of the real plays are judged too: a check of the judge, and the floor's number."""
SECONDS, LEAST = 60.0, 4
"""No further play is judged after this time, if so many have been."""
EPSILON = 0.2
FLAWED, FAULTY = 10.0, 100.0
"""More illegal transitions in 1,000 than these are a flaw, a fault."""


def measure(subject: Subject) -> dict[str, Any]:
    """Judge the dream by the real game; see `compare`."""
    count, steps = (QUICK_COUNT, QUICK_STEPS) if subject.quick else (COUNT, STEPS)
    return compare(subject.make, subject.card, count, steps, subject.seed_of(11))


def compare(
    make: MakeDynamics, card: Card, count: int = COUNT, steps: int = STEPS, seed: int = 11
) -> dict[str, Any]:
    """Have the same player go on from moments of real games, in the dream and in the real game.

    Args:
        make: makes the dynamics.
        card: of the world.
        count: the number of moments.
        steps: transitions of a dream, at most; fewer if it ends.
        seed: of the games, the player, the moments and the dreams.

    Returns:
        `policy` (who plays, in words), `steps`, `tolerance` in grey levels, and for `dream`, `real`
        and `copy` (the last frame for ever) the table of `summarise`.

    Raises:
        NotMeasuredError: the real game cannot be brought back to a moment, or it hides at the reset
            what a dream may lay out otherwise.
    """
    twin = moments.open_judge(card)
    tolerance = 0 if card.frames.palette else BLUR
    pasts = moments.draw(card, count, EPSILON, seed)
    checks = pasts[: min(CHECKS, count)]
    plays = {
        "dream": dream_on(make, card, pasts, steps, seed),
        "real": [_cut(moment, steps) for moment in checks],
        "copy": [freeze(_cut(moment, steps)) for moment in checks],
    }
    result: dict[str, Any] = {
        "policy": describe_policy(card),
        "steps": steps,
        "tolerance": tolerance,
    }
    for name, episodes in plays.items():
        result[name] = summarise(judge_all(twin, pasts, episodes, tolerance))
    return result


def judge_all(
    twin: Twin, pasts: Sequence[Moment], plays: Sequence[Episode], tolerance: int
) -> list[Lifetime]:
    """Judge plays until the time is over; a game that is played again from its start is slow."""
    lifetimes: list[Lifetime] = []
    begin = time.monotonic()
    for past, play in zip(pasts, plays, strict=False):  # the real game and the copy have fewer
        if len(lifetimes) >= LEAST and time.monotonic() - begin > SECONDS:
            break
        episode = past.episode
        lifetimes.append(follow(twin, episode.seed, episode.actions[: past.at], play, tolerance))
    return lifetimes


def dream_on(
    make: MakeDynamics,
    card: Card,
    pasts: Sequence[Moment],
    steps: int,
    seed: int,
    watch: Callable[[Transition], object] = lambda step: None,
) -> list[Episode]:
    """Let the player go on in the dream from each moment, until it ends.

    Args:
        make: makes the dynamics.
        card: of the world.
        pasts: the moments, one a row.
        steps: transitions at most.
        seed: of the dreams and of the player.
        watch: is called with every step of all rows.
    """
    dynamics = make(len(pasts))
    moments.begin(dynamics, pasts, seed)
    players = policies(card, len(pasts), EPSILON, seed)
    frames, transitions = [dynamics.frames()], []
    for _ in range(steps):
        actions = np.array([play(frame) for play, frame in zip(players, frames[-1], strict=True)])
        step = dynamics.step(actions)
        watch(step)
        frames.append(step.frames)
        transitions.append((actions, step.rewards, step.terminated))
    actions, rewards, ended = (np.stack(values, 1) for values in zip(*transitions, strict=True))
    pictures = np.stack(frames, 1)
    lengths = np.where(ended.any(1), ended.argmax(1) + 1, steps)
    return [
        Episode(pictures[i, : n + 1], actions[i, :n], rewards[i, :n], ended[i, :n], i, 0)
        for i, n in enumerate(lengths)
    ]


def _cut(moment: Moment, steps: int) -> Episode:
    """Return how the real game went on."""
    episode, window = moment.episode, slice(moment.at, moment.at + steps)
    return Episode(
        episode.frames[moment.at : moment.at + steps + 1],
        episode.actions[window],
        episode.rewards[window],
        episode.terminated[window],
        0,
        episode.seed,
    )


def summarise(lifetimes: Sequence[Lifetime]) -> dict[str, Any]:
    """Return what many lifetimes come to.

    Returns:
        `dreams`, `transitions` (judged), `illegal`, `illegal_per_1000` with its 95 % `interval`
        over dreams (a dream is judged to its first illegal transition, so that each of these was
        preceded by lawful ones only), `wrong`, `sticky` and `chance` (see `Lifetime`), `too_wide`
        (dreams that chance made impossible to judge on), and the survival curve (Kaplan and Meier
        1958): the share `surviving` after so many `after` transitions, and their `median`, None if
        more than half survive.
    """
    lawful = np.array([lifetime.lawful for lifetime in lifetimes])
    illegal = np.array([lifetime.end == "illegal" for lifetime in lifetimes])
    judged = lawful + illegal

    def rate(values: np.ndarray) -> np.ndarray:
        totals = values.sum(-2)
        return 1000 * totals[..., 0] / np.maximum(totals[..., 1], 1)

    counts = np.stack([illegal, judged], 1).astype(float)
    longest = int(judged.max(initial=0))
    surviving, share = [1.0], 1.0
    for after in range(1, longest + 1):
        exposed = (judged >= after).sum()
        share *= 1 - (illegal & (judged == after)).sum() / max(exposed, 1)
        surviving.append(float(share))
    below = [after for after, value in enumerate(surviving) if value <= 0.5]
    return {
        "dreams": len(lifetimes),
        "transitions": int(judged.sum()),
        "illegal": int(illegal.sum()),
        "illegal_per_1000": float(rate(counts)),
        "interval": list(bootstrap_interval(counts, rate, resamples=2000)),
        "wrong": sum(lifetime.wrong for lifetime in lifetimes),
        "sticky": sum(lifetime.sticky for lifetime in lifetimes),
        "chance": sum(lifetime.chance for lifetime in lifetimes),
        "too_wide": sum(lifetime.end == "wide" for lifetime in lifetimes),
        "surviving": surviving,
        "median": below[0] if below else None,
    }


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return how long the dream obeys, if the judge can be trusted."""
    dream, real = result["dream"], result["real"]
    if real["illegal"] or real["wrong"]:
        words = f"the twin finds {real['illegal'] + real['wrong']} faults in the real game itself"
        return [Finding("untested", f"the lawful lifetime was not tested: {words}")]
    if not dream["transitions"]:
        words = "chance is too wide to be walked through"
        return [Finding("untested", f"the lawful lifetime was not tested: {words}")]
    rate = dream["illegal_per_1000"]
    median = dream["median"]
    life = f"more than {len(dream['surviving']) - 1}" if median is None else str(median)
    obey, faulty = "obey the real game", FAULTY
    if result["tolerance"]:
        # A thing that is drawn a pixel late breaks no law, but makes every later frame another one.
        obey, faulty = "are the real game pixel by pixel", result["copy"]["illegal_per_1000"]
    words = f"half of the dreams {obey} for {life} frames ({rate:.1f} illegal in 1,000)"
    level: Level = "merit" if rate <= FLAWED else "flaw" if rate < faulty else "fault"
    return [Finding(level, words, rate / 10)]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of lifetimes."""
    dream = result["dream"]
    entries = {name: dream[name] for name in ("transitions", "illegal_per_1000", "median")}
    return {NAME: {name: value for name, value in entries.items() if value is not None}}


def section(result: dict[str, Any]) -> Section:
    """Report how long dreams stay lawful."""
    names = ("dream", "real", "copy")
    longest = max(len(result[name]["surviving"]) for name in names)
    curves = {
        name: result[name]["surviving"]
        + [result[name]["surviving"][-1]] * (longest - len(result[name]["surviving"]))
        for name in names
    }
    rows = []
    for name in names:
        entry = result[name]
        low, high = entry["interval"]
        life = "more than half survive" if entry["median"] is None else f"{entry['median']}"
        rate = f"{entry['illegal_per_1000']:.2f} ({low:.2f} to {high:.2f})"
        counts = [str(entry[key]) for key in ("dreams", "transitions", "wrong")]
        lawful = max(entry["transitions"] - entry["illegal"], 1)
        shares = [percent(entry[key] / lawful, 1) for key in ("sticky", "chance")]
        rows.append([name, life, rate, *counts, *shares, str(entry["too_wide"])])
    header = ["", "median lifetime", "illegal in 1,000, 95 % interval", "plays", "transitions"]
    header += ["wrong reward or end", "last action repeated", "decided by chance", "too wide"]
    dream = result["dream"]
    life = "more than half of the dreams" if dream["median"] is None else "half of the dreams"
    return Section(
        "Lawful lifetime",
        f"After {dream['median'] or len(dream['surviving']) - 1} frames {life} still show what the "
        f"real game could have drawn; of {dream['transitions']:,} transitions {dream['illegal']} "
        f"were the first that it could not, and {result['real']['illegal']} of its own "
        f"{result['real']['transitions']:,}.",
        f"{result['policy'].capitalize()} with 20 % random actions goes on from moments of real "
        f"games, for {result['steps']} frames at most. The real game is brought back to the same "
        "moment, and all of its states that explain the frames so far are stepped along, in every "
        "way in which its chance can fall. A dream is judged to its first illegal frame. Frames "
        + ("must be equal." if not result["tolerance"] else _tolerance(result["tolerance"])),
        [Figure(f"{dream['illegal_per_1000']:.1f}", "of 1,000 lawful transitions are the last")],
        [
            line_plot(
                "share of plays that are lawful so far",
                list(range(longest)),
                curves,
                "frames after the moment",
                y_range=(0, 1),
            )
        ],
        Table(header, rows),
        [
            Rung(
                "laws",
                "How soon does it break the game's laws? (illegal in 1,000)",
                *(f"{result[name]['illegal_per_1000']:.2f}" for name in names),
            )
        ],
    )


def _tolerance(levels: int) -> str:
    return f"may differ by {levels} grey levels of 255 in each pixel."
