"""Whether dreams can be told from real play: a classifier, and a distance of distributions.

A small network learns to tell clips of 8 frames apart, and is tested on clips of other rows (a
classifier two-sample test, Lopez-Paz and Oquab 2017): 50 % means that it cannot. The distance is
the unbiased maximum mean discrepancy of a polynomial kernel of degree 3 (Binkowski et al. 2018) on
the features of an agent, or of a network with random weights where none was trained. The real game
against itself shows what chance makes.

Legend: n clips, d features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dfgym.evaluation.eyes import Eyes, find_eyes
from dfgym.evaluation.plays import CLIP, Plays, clips
from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Figure, Rung, Section, Table, percent
from dfgym.evaluation.rollout import Episode
from dfgym.evaluation.small_network import SmallNetwork, stack
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.statistics import mean_interval

NAME = "classifier"
OVERLAP = 2
"""The network learns from clips that begin every so many frames; it is tested on disjoint ones."""
FLAWED, FAULTY = 0.65, 0.9
"""A higher accuracy than these, beyond the real game's against itself, is a flaw, a fault."""
RANDOM = "a random network's"
MOST = 400
"""Clips of each play in the distance."""
SHUFFLES = 200


def measure(subject: Subject) -> dict[str, Any]:
    """Tell dreams from real play; see `compare`."""
    eyes = find_eyes(subject.folder, subject.card.frames.observation_scale)
    return compare(subject.plays, eyes=eyes)


def compare(plays: Plays, seed: int = 0, eyes: tuple[Eyes, str] | None = None) -> dict[str, Any]:
    """Tell three plays from the real game's first one: the dream, the second one, and a copy.

    Args:
        plays: of the same players.
        seed: of the network and of the shuffles.
        eyes: features of clips for the distance, and whose they are; None: a random network's.

    Returns:
        `features` (whose they are) and, for `dream`, `real` and `copy`: `accuracy` in [0, 1] on
        clips of rows that were not learned from, the mean of both classes, its 95 % `interval` over
        rows (None if there are too few), the number of `clips`, the distance `mmd` (the square,
        unbiased, so that it can be less than 0), and `mmd_chance`, below which it is 95 times in
        100 if both are one game.
    """
    read_clips, words = eyes or (_random_eyes(stack(clips(plays.real, CLIP)[0]), seed), RANDOM)
    result: dict[str, Any] = {"features": words}
    for name, play in (("dream", plays.dream), ("real", plays.again), ("copy", plays.copy())):
        sides = [embed(read_clips, episodes, seed) for episodes in (play, plays.real)]
        (ours, owners), (truth, others) = sides
        result[name] = discriminate(play, plays.real, seed)
        result[name] |= distance(ours, truth, (owners, others), seed)
    return result


def discriminate(play: Sequence[Episode], real: Sequence[Episode], seed: int) -> dict[str, Any]:
    """Train a classifier on clips of even rows and test it on odd ones; see `compare`."""
    training, tested = [], []
    for label, episodes in enumerate((real, play)):
        frames, rows, _ = clips([e for e in episodes if e.row % 2 == 0], OVERLAP)
        training.append((frames, np.full(len(rows), label)))
        frames, rows, _ = clips([e for e in episodes if e.row % 2], CLIP)
        tested.append((frames, rows))
    least = min(len(frames) for frames, _ in training)  # as many of each class
    random = np.random.default_rng(seed)
    picks = [random.permutation(len(frames))[:least] for frames, _ in training]
    parts = [(x[i], y[i]) for (x, y), i in zip(training, picks, strict=True)]
    examples, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    network = SmallNetwork(stack(examples), 2, seed)
    network.train(stack(examples), labels)
    values = []
    for label, (frames, rows) in enumerate(tested):
        right = network.read(stack(frames)) == label
        values.append([float(right[rows == row].mean()) for row in np.unique(rows)])
    means = [float(np.mean(value)) for value in values]
    half = [mean_interval(value) for value in values]
    interval = None
    if half[0] is not None and half[1] is not None:
        widths = [(high - low) / 2 for low, high in (half[0], half[1])]
        width = 0.5 * math.hypot(*widths)  # of the mean of two independent means
        interval = [max(0.0, np.mean(means) - width), min(1.0, np.mean(means) + width)]
    count = sum(len(frames) for frames, _ in tested)
    return {"accuracy": float(np.mean(means)), "interval": interval, "clips": count}


def _random_eyes(examples: np.ndarray, seed: int) -> Eyes:
    network = SmallNetwork(examples, 2, seed)

    @torch.no_grad()
    def read_clips(frames: np.ndarray) -> np.ndarray:
        return network.features(stack(frames)).double().numpy()

    return read_clips


def embed(
    read_clips: Eyes, episodes: Sequence[Episode], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return features of disjoint clips, float64 `(n, d)`, and the rows that played them."""
    frames, rows, _ = clips(episodes, CLIP)
    picks = np.random.default_rng(seed).permutation(len(frames))[:MOST]
    return read_clips(frames[picks]), rows[picks]


def distance(
    play: np.ndarray, real: np.ndarray, rows: tuple[np.ndarray, np.ndarray], seed: int = 0
) -> dict[str, float]:
    """Return the distance of features and what it is by chance alone; see `compare`.

    Args:
        play: `(n, d)`.
        real: `(m, d)`.
        rows: int `(n,)` and `(m,)`. Clips of one row resemble each other, so that chance is what
            shuffles of whole rows give.
        seed: of the shuffles.
    """
    deviation = np.maximum(real.std(0), 1e-9)
    # Bounded, so that no single clip with something rare in it decides.
    both = np.tanh((np.concatenate([play, real]) - real.mean(0)) / deviation)
    kernel = (both @ both.T / both.shape[1] + 1) ** 3
    owners = np.concatenate([rows[0], rows[1] + rows[0].max() + 1])
    names = np.unique(owners)
    half, random, shuffled = len(np.unique(rows[0])), np.random.default_rng(seed), []
    for _ in range(SHUFFLES):
        inside = np.isin(owners, random.permutation(names)[:half])
        shuffled.append(_mmd(kernel, inside))
    chance = float(np.percentile(shuffled, 95))
    return {"mmd": _mmd(kernel, np.arange(len(both)) < len(play)), "mmd_chance": chance}


def _mmd(kernel: np.ndarray, inside: np.ndarray) -> float:
    """Return the squared discrepancy of some of the clips, bool `(n,)`, from the others."""
    x, y = np.flatnonzero(inside), np.flatnonzero(~inside)
    within = [
        (block.sum() - np.trace(block)) / max(len(block) * (len(block) - 1), 1)
        for block in (kernel[np.ix_(x, x)], kernel[np.ix_(y, y)])
    ]
    return float(sum(within) - 2 * kernel[np.ix_(x, y)].mean())


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return whether a dream can be told from the real game."""
    dream, real = result["dream"], result["real"]
    excess = dream["accuracy"] - max(0.5, real["accuracy"]) + 0.5
    words = (
        f"a classifier tells clips of {CLIP} frames from real ones in {percent(dream['accuracy'])}"
    )
    sure = dream["interval"] is not None and dream["interval"][0] > 0.5
    level: Level = "fault" if excess > FAULTY else "flaw" if excess > FLAWED and sure else "merit"
    return [Finding(level, f"{words} of cases (50 %: it cannot)", 10 * (excess - 0.5))]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of telling it from its game."""
    dream, real = result["dream"], result["real"]
    return {NAME: {"accuracy": dream["accuracy"], "accuracy_real": real["accuracy"]}}


def section(result: dict[str, Any]) -> Section:
    """Report whether a dream can be told from the real game."""
    names = ("dream", "real", "copy")
    scores = {name: percent(result[name]["accuracy"], 1) for name in names}
    distances = {name: f"{result[name]['mmd']:.3f}" for name in names}
    rows = [
        [
            name,
            scores[name],
            _span(result[name]["interval"]),
            f"{result[name]['clips']:,}",
            distances[name],
            f"{result[name]['mmd_chance']:.3f}",
        ]
        for name in names
    ]
    header = ["", "told apart", "95 % interval over rows", "clips", "distance", "by chance below"]
    bars = [
        Bar(
            name,
            result[name]["accuracy"],
            scores[name],
            name,
            interval=result[name]["interval"] and tuple(result[name]["interval"]),
        )
        for name in names
    ]
    dream = result["dream"]
    near = "within" if dream["mmd"] <= dream["mmd_chance"] else "beyond"
    return Section(
        "Dream or real?",
        f"A classifier tells dreamed clips of {CLIP} frames from real ones in {scores['dream']} of "
        f"cases, and two real plays in {scores['real']}; 50 % is a guess. The distance of their "
        f"distributions is {distances['dream']}, {near} what chance makes "
        f"({dream['mmd_chance']:.3f}).",
        "It learns from the even rows and is tested on the odd ones. The distance is the squared "
        f"maximum mean discrepancy of a polynomial kernel of degree 3, on features of {MOST} clips "
        f"at most, {result.get('features', RANDOM)}; chance is what {SHUFFLES} shuffles of the "
        "rows give.",
        [Figure(scores["dream"], "of clips are rightly called dream or real; 50 % is a guess")],
        [bar_plot("share of clips told from real ones", bars, 1.0)],
        Table(header, rows),
        [
            Rung("pixels", "Can a classifier tell it from the game? (50 %: no)", *scores.values()),
            Rung("pixels", "How far apart are the distributions of clips?", *distances.values()),
        ],
    )


def _span(interval: Sequence[float] | None) -> str:
    if interval is None:
        return "too few rows"
    return f"{percent(interval[0], 1)} to {percent(interval[1], 1)}"
