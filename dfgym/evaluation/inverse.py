"""Which action was taken, read off the frames: does the dream do what it is commanded?

A small network learns from real transitions to name the action between two frames (an inverse
dynamics model, as in Baker et al. 2022), and then reads dreamed ones. What it reaches on real
transitions that it has not learned from is the ceiling: stickiness, and walls, hide actions.

Legend: n transitions, a actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.errors import NotMeasuredError
from dfgym.evaluation.plays import Plays
from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Figure, Rung, Section, Table, percent
from dfgym.evaluation.rollout import Episode
from dfgym.evaluation.small_network import SmallNetwork, stack
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.world.card import Card

NAME = "inverse"
CONTEXT = 3
"""Frames that are read: speeds show only in the one before."""
MOST = 4000
"""Transitions that are read of each play."""
FLAWED, FAULTY = 0.9, 0.5
"""Less than these shares of the ceiling, above chance, are a flaw, a fault."""
HIDDEN = 0.1
"""A reader that is no better than chance by so much on real transitions says nothing."""


def measure(subject: Subject) -> dict[str, Any]:
    """Read actions off dreamed transitions; see `compare`."""
    return compare(subject.plays, subject.card)


def compare(plays: Plays, card: Card, seed: int = 0) -> dict[str, Any]:
    """Train a reader of actions on real play, and let it read the dream.

    Args:
        plays: of the same players; the reader learns from `real` and is tested on the others.
        card: of the world.
        seed: of the reader.

    Returns:
        `actions` (their names), `chance` (the score of a constant guess) and, for `dream`, `real`
        (real transitions that the reader has not learned from) and `copy`: `transitions`,
        `accuracy`, `f1` (the mean over actions) and the `confusion` matrix: of each action that was
        taken, the share that was read as each.

    Raises:
        NotMeasuredError: the actions have parts, or there are too few transitions.
    """
    if not card.actions.is_discrete:
        raise NotMeasuredError("the actions have parts; a reader of actions needs discrete ones")
    random = np.random.default_rng(seed)
    count = card.actions.count
    examples, labels = transitions(plays.real, random)
    reader = SmallNetwork(examples, count, seed)
    reader.train(examples, labels)
    result: dict[str, Any] = {"actions": list(card.actions.meanings)}
    for name, episodes in (("dream", plays.dream), ("real", plays.again), ("copy", plays.copy())):
        stacks, actions = transitions(episodes, random)
        result[name] = score(reader.read(stacks), actions, count)
    largest = np.bincount(labels, minlength=count).max() / len(labels)
    return result | {"chance": float(2 * largest / (1 + largest) / count)}


def transitions(
    episodes: Sequence[Episode], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return stacks of frames uint8 `(n, h, w, c)` and the action before each one's last frame."""
    places = [(e, at) for e in episodes for at in range(CONTEXT - 2, len(e))]
    if not places:
        raise NotMeasuredError("episodes are too short to read actions off them")
    pairs = [places[place] for place in random.permutation(len(places))[:MOST]]
    frames = np.stack([e.frames[at + 2 - CONTEXT : at + 2] for e, at in pairs])
    return stack(frames), np.array([int(e.actions[at]) for e, at in pairs])


def score(guesses: np.ndarray, actions: np.ndarray, count: int) -> dict[str, Any]:
    """Score guesses at the actions that were taken, both int `(n,)`; see `compare`."""
    table = np.zeros((count, count))
    np.add.at(table, (actions, guesses), 1)
    right = np.diag(table)
    sums = table.sum(0) + table.sum(1)
    f1 = (2 * right / np.maximum(sums, 1))[sums > 0]
    return {
        "transitions": len(actions),
        "accuracy": float(right.sum() / len(actions)),
        "f1": float(f1.mean()),
        "confusion": (table / np.maximum(table.sum(1, keepdims=True), 1)).tolist(),
    }


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return whether the dream does what it is commanded."""
    dream, real, chance = result["dream"]["f1"], result["real"]["f1"], result["chance"]
    if real - chance < HIDDEN:
        words = f"a reader scores {real:.2f} on real transitions, where a constant guess gets"
        return [Finding("untested", f"actions cannot be read off frames: {words} {chance:.2f}")]
    share = (dream - chance) / (real - chance)
    words = f"a reader of actions scores {dream:.2f} on dreams, {real:.2f} on the real game"
    level: Level = "fault" if share < FAULTY else "flaw" if share < FLAWED else "merit"
    return [Finding(level, words, 10 * (1 - share))]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of actions that can be read off its frames."""
    return {NAME: {"f1": result["dream"]["f1"], "f1_real": result["real"]["f1"]}}


def section(result: dict[str, Any]) -> Section:
    """Report which actions a reader sees in dreams."""
    names = ("dream", "real", "copy")
    scores = {name: f"{result[name]['f1']:.3f}" for name in names}
    rows = [
        [f"{action}, {name}", *(percent(share, 1) for share in result[name]["confusion"][place])]
        for place, action in enumerate(result["actions"])
        for name in names[:2]
    ]
    bars = [Bar(name, result[name]["f1"], scores[name], name) for name in names]
    return Section(
        "Actions read off frames",
        f"A small network that learned from real transitions reads the action off dreamed ones "
        f"with a mean F1 of {scores['dream']}; off other real ones, of {scores['real']}.",
        f"It sees {CONTEXT} frames and names the action before the last. It is tested on "
        f"{result['dream']['transitions']:,} dreamed and {result['real']['transitions']:,} real "
        "transitions of the same players. Stickiness, walls and small movements hide actions, in "
        "the real game too.",
        [
            Figure(
                scores["dream"], f"F1 of actions read off dreams; off real play: {scores['real']}"
            )
        ],
        [bar_plot("mean F1 over actions", bars, 1.0)],
        Table(["taken", *(f"read as {action}" for action in result["actions"])], rows),
        [Rung("actions", "Can the action be read off what it does? (F1)", *scores.values())],
    )
