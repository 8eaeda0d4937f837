"""How good a single step is: frame, reward and end, and whether actions matter.

The baselines *copy* and *real* are those of `horizon`.

Legend: n moments, h w a frame of the model's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfgym.evaluation import metrics, moments
from dfgym.evaluation.horizon import GAMES
from dfgym.evaluation.metrics import calibration, event_scores
from dfgym.evaluation.moments import Moment
from dfgym.evaluation.plots import Bar, Plot, bar_plot, line_plot
from dfgym.evaluation.report import Section, Table, percent
from dfgym.evaluation.rollout import describe_policy, open_real
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.world.card import Card
from dfgym.world.dynamics import Dynamics

NAME = "next_frame"
COUNT = 2048
BATCH = 256
EVENTS = {"reward": "rewards foreseen", "termination": "ends foreseen"}


def measure(subject: Subject) -> dict[str, Any]:
    """Compare single steps with the truth; see `compare`."""
    return compare(subject.make, subject.card, subject.scale(COUNT))


def compare(make: MakeDynamics, card: Card, count: int = COUNT, seed: int = 2) -> dict[str, Any]:
    """Compare one step from each of many real pasts with what the real game did.

    Args:
        make: makes the dynamics.
        card: the world's card.
        count: the number of pasts, recorded by the scripted policy with a fifth of random actions.
        seed: of the games, the policy, the choice of pasts and the dreams.

    Returns:
        `policy` (who plays, in words), `moments` (the number of pasts) and, for `dream`, `copy` and
        `real`, `psnr`, `ssim`, `exact`, and for `reward` and `termination` the scores of
        `metrics.event_scores`. For `dream` also `calibration` of the termination probability, and
        `shuffled`: the frame's measures for the same noise under other moments' actions.
    """
    pasts = moments.draw(card, count, 0.2, seed)
    actions = np.array([m.episode.actions[m.at] for m in pasts])
    truth = _Steps(
        np.stack([m.episode.frames[m.at + 1] for m in pasts]),
        np.array([m.episode.rewards[m.at] for m in pasts]),
        np.array([m.episode.terminated[m.at] for m in pasts]),
    )
    dynamics = make(min(BATCH, count))
    dream, probability = _step_all(dynamics, pasts, actions, seed)
    shuffled = np.random.default_rng(seed).permutation(actions)
    other, _ = _step_all(dynamics, pasts, shuffled, seed)
    last = np.stack([m.episode.frames[m.at] for m in pasts])
    result = {
        "policy": describe_policy(card),
        "moments": count,
        "dream": {
            **_scores(dream, truth),
            "calibration": calibration(probability, truth.terminated),
            "shuffled": _frame_scores(other.frames, truth.frames),
        },
        "copy": _scores(_Steps(last, np.zeros(count), np.zeros(count, bool)), truth),
    }
    source = open_real(card)
    if source.can_redraw:
        pairs = enumerate(zip(pasts, actions, strict=True))
        twins = [moments.twin(source, m, np.array([a]), seed + i) for i, (m, a) in pairs]
        real = _Steps(
            np.stack([twin.frames[1] for twin in twins]),
            np.concatenate([twin.rewards for twin in twins]),
            np.concatenate([twin.terminated for twin in twins]),
        )
        result["real"] = _scores(real, truth)
    return result


@dataclass(frozen=True)
class _Steps:
    """One step of each moment: frames `(n, h, w, 3)`, rewards and terminated `(n,)`."""

    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray


def _scores(steps: _Steps, truth: _Steps) -> dict[str, Any]:
    return {
        **_frame_scores(steps.frames, truth.frames),
        "reward": event_scores(steps.rewards, truth.rewards),
        "termination": event_scores(steps.terminated, truth.terminated),
    }


def _frame_scores(frames: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    measures = (metrics.psnr, metrics.ssim, metrics.exact)
    return {measure.__name__: measure(frames, truth) for measure in measures}


def _step_all(
    dynamics: Dynamics, pasts: Sequence[Moment], actions: np.ndarray, seed: int
) -> tuple[_Steps, np.ndarray]:
    """Take one step from each moment; also returns the termination probabilities `(n,)`."""
    rows = dynamics.num_rows
    batches = []
    for first in range(0, len(pasts), rows):
        batch = actions[first : first + rows]
        moments.begin(dynamics, pasts[first : first + rows], seed + first)
        step = dynamics.step(np.concatenate([batch, *[batch[-1:]] * (rows - len(batch))]))
        values = (step.frames, step.rewards, step.terminated, step.termination_probability)
        batches.append([value[: len(batch)] for value in values])
    frames, rewards, terminated, probability = map(np.concatenate, zip(*batches, strict=True))
    return _Steps(frames, rewards, terminated), probability


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return nothing: a card does not speak of single steps."""
    return {}


def section(result: dict[str, Any]) -> Section:
    """Report how single steps compare with the truth."""
    dream, shuffled = result["dream"], result["dream"]["shuffled"]
    names = [name for name in GAMES if name in result]
    rows = [[name, *_frame_cells(result[name]), *_event_cells(result[name])] for name in names]
    rows.append(["dream, shuffled actions", *_frame_cells(shuffled), *[""] * 3 * len(EVENTS)])
    scores = ("precision", "recall", "F1")
    header = ["", "PSNR", "SSIM", "exact"]
    header += [f"{title}, {score}" for title in EVENTS.values() for score in scores]
    return Section(
        "The next frame",
        _verdict(result),
        f"One step from each of {result['moments']:,} real pasts, recorded by {result['policy']} "
        "with 20 % random actions, held against what the real game did. The expected calibration "
        f"error of the end's probability is {dream['calibration']['ece']:.4f}.",
        plots=_plots(result, names),
        table=Table(header, rows),
    )


def _verdict(result: dict[str, Any]) -> str:
    dream = result["dream"]
    sentences = [
        f"One step ahead {percent(dream['exact'], 1)} of frames have no wrong pixel"
        + (
            f" (the real game with other chance: {percent(result['real']['exact'], 1)})"
            if "real" in result
            else ""
        )
        + f", PSNR {dream['psnr']:.1f} dB."
    ]
    for kind, title in EVENTS.items():
        count, f1 = dream[kind]["events"], dream[kind]["f1"]
        answer = f"F1 {f1:.2f} of {count} events" if count else "not tested, 0 events"
        sentences.append(f"{title.capitalize()}: {answer}.")
    lost = dream["psnr"] - dream["shuffled"]["psnr"]
    sentences.append(
        f"Under shuffled actions PSNR falls by {lost:.1f} dB: the dream obeys its actions."
        if lost > 0
        else "Under shuffled actions PSNR does not fall: the dream ignores its actions."
    )
    return " ".join(sentences)


def _plots(result: dict[str, Any], names: Sequence[str]) -> list[Plot]:
    dream = result["dream"]
    sources = [(name, name, result[name]) for name in names]
    sources.append(("shuffled actions", "copy", dream["shuffled"]))
    plots = [
        bar_plot(
            title,
            [
                Bar(name, item[key], form.format(item[key]), colour)
                for name, colour, item in sources
            ],
            least,
        )
        for key, title, form, least in (
            ("exact", "share of frames with no wrong pixel", "{:.3f}", 1.0),
            ("psnr", "PSNR, dB", "{:.1f}", 0.0),
        )
    ]
    for kind, title in EVENTS.items():
        if dream[kind]["events"]:
            bars = [
                Bar(name, score, f"{score:.3f}", name)
                for name in names
                if (score := result[name][kind]["f1"]) is not None
            ]
            plots.append(bar_plot(f"{title}, F1 of {dream[kind]['events']} events", bars, 1.0))
    bins = dream["calibration"]
    if len(bins["probability"]) > 1:
        plots.append(
            line_plot(
                "frequency of the end of an episode",
                bins["probability"],
                {"dream": bins["frequency"], "ideal": bins["probability"]},
                "its predicted probability",
                y_range=(0, 1),
            )
        )
    return plots


def _frame_cells(scores: dict[str, Any]) -> list[str]:
    return [f"{scores['psnr']:.1f}", f"{scores['ssim']:.4f}", f"{scores['exact']:.4f}"]


def _event_cells(scores: dict[str, Any]) -> list[str]:
    return [
        "not tested" if scores[kind][name] is None else f"{scores[kind][name]:.3f}"
        for kind in EVENTS
        for name in ("precision", "recall", "f1")
    ]
