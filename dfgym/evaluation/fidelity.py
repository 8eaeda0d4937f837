"""How faithful a dream is: its pictures over the horizon, its rewards and ends, its actions.

Every number stands beside two baselines. *Copy* shows the last real frame for ever. *Real* is the
real game against itself: the same past and the same actions with other chance, which is as close
as any model of a game of chance can come. (Absent where a game's chance cannot be redrawn.)

Legend: n moments, t frames, h w a frame of the model's size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfgym.errors import ConfigError
from dfgym.evaluation import metrics, moments
from dfgym.evaluation.metrics import calibration, event_scores
from dfgym.evaluation.moments import Moment
from dfgym.evaluation.plots import Bar, bar_plot, line_plot
from dfgym.evaluation.report import Section, Table, percent
from dfgym.evaluation.rollout import open_real

if TYPE_CHECKING:
    from dfgym.world.card import Card
    from dfgym.world.dynamics import Dynamics

MakeDynamics = Callable[[int], "Dynamics"]
"""Makes the world's dynamics with so many rows."""

HORIZONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
BATCH = 256
GAMES = ("dream", "real", "copy")
EVENTS = {"reward": "rewards foreseen", "termination": "ends foreseen"}
SPOKEN = 16
"""Steps after which the report's verdict compares dream and truth."""


def horizon(
    make: MakeDynamics,
    card: Card,
    count: int = 64,
    horizons: Sequence[int] = HORIZONS,
    seed: int = 1,
) -> dict[str, Any]:
    """Compare dream and real game so many steps after a real past, under the recorded actions.

    The scripted player with a tenth of random actions has recorded them. A game that has ended
    keeps its last frame, in the dream as in reality.

    Returns:
        `horizons` (those that real episodes reach), `moments` (how many are known that far), and
        for `dream`, `copy` and `real` the lists `psnr` in dB, `ssim` and `exact`.

    Raises:
        ConfigError: real episodes are too short for every horizon.
    """
    chosen = moments.draw(card, count, 0.1, seed, least=2 * max(horizons))
    known = np.array([moment.after(max(horizons))[2] for moment in chosen])
    reached = [h for h in horizons if (known >= h).any()]
    if not reached:
        raise ConfigError(
            f"horizons {tuple(horizons)}: the real game is known for {known.max()} steps at most, "
            f"since its episodes are cut after {card.episode.max_steps}; ask for a nearer one"
        )
    longest = max(reached)
    frames, actions, _ = map(np.stack, zip(*(m.after(longest) for m in chosen), strict=True))
    dynamics = make(count)
    moments.begin(dynamics, chosen, seed)
    seen = {"dream": _dreamt(dynamics, actions)}
    seen["copy"] = np.repeat(frames[:, :1], longest + 1, 1)
    source = open_real(card)
    if source.can_redraw:
        twins = [moments.twin(source, m, a, seed) for m, a in zip(chosen, actions, strict=True)]
        seen["real"] = np.stack([moments.hold(twin.frames, longest) for twin in twins])
    result: dict[str, Any] = {
        "horizons": reached,
        "moments": [int((known >= h).sum()) for h in reached],
    }
    for name, found in seen.items():
        pairs = [(found[known >= h, h], frames[known >= h, h]) for h in reached]
        result[name] = {
            "psnr": [metrics.psnr(*pair) for pair in pairs],
            "ssim": [metrics.ssim(*pair) for pair in pairs],
            "exact": [metrics.exact(*pair) for pair in pairs],
        }
    return result


def next_frame(make: MakeDynamics, card: Card, count: int = 2048, seed: int = 2) -> dict[str, Any]:
    """Judge single steps after a real past: frame, reward, end, and whether actions matter.

    Returns:
        For `dream`, `copy` and `real`: `psnr`, `ssim`, `exact`, and `reward` and `termination`
        (`precision`, `recall`, `f1`). For `dream` also `calibration` of the termination
        probability, and `shuffled`: the frame's measures for the same noise under other moments'
        actions.
    """
    chosen = moments.draw(card, count, 0.2, seed)
    actions = np.array([m.episode.actions[m.at] for m in chosen])
    truth = _Steps(
        np.stack([m.episode.frames[m.at + 1] for m in chosen]),
        np.array([m.episode.rewards[m.at] for m in chosen]),
        np.array([m.episode.terminated[m.at] for m in chosen]),
    )
    dynamics = make(min(BATCH, count))
    dream, probability = _step_each(dynamics, chosen, actions, seed)
    shuffled = np.random.default_rng(seed).permutation(actions)
    other, _ = _step_each(dynamics, chosen, shuffled, seed)
    last = np.stack([m.episode.frames[m.at] for m in chosen])
    result = {
        "moments": count,
        "dream": {
            **_compare(dream, truth),
            "calibration": calibration(probability, truth.terminated),
            "shuffled": _compare_frames(other.frames, truth.frames),
        },
        "copy": _compare(_Steps(last, np.zeros(count), np.zeros(count, bool)), truth),
    }
    source = open_real(card)
    if source.can_redraw:
        pairs = enumerate(zip(chosen, actions, strict=True))
        twins = [moments.twin(source, m, np.array([a]), seed + i) for i, (m, a) in pairs]
        real = _Steps(
            np.stack([twin.frames[1] for twin in twins]),
            np.concatenate([twin.rewards for twin in twins]),
            np.concatenate([twin.terminated for twin in twins]),
        )
        result["real"] = _compare(real, truth)
    return result


@dataclass(frozen=True)
class _Steps:
    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray


def _compare(found: _Steps, truth: _Steps) -> dict[str, Any]:
    return {
        **_compare_frames(found.frames, truth.frames),
        "reward": event_scores(found.rewards, truth.rewards),
        "termination": event_scores(found.terminated, truth.terminated),
    }


def _compare_frames(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    measures = (metrics.psnr, metrics.ssim, metrics.exact)
    return {measure.__name__: measure(found, truth) for measure in measures}


def _dreamt(dynamics: Dynamics, actions: np.ndarray) -> np.ndarray:
    """Frames `(n, t + 1, h, w, 3)` of a dream that has begun, under actions `(n, t)`."""
    frames = [dynamics.frames()]
    ended = np.zeros(len(actions), bool)
    for column in actions.T:
        step = dynamics.step(np.ascontiguousarray(column))
        frames.append(np.where(ended[:, None, None, None], frames[-1], step.frames))
        ended |= step.terminated
    return np.stack(frames, 1)


def _step_each(
    dynamics: Dynamics, chosen: Sequence[Moment], actions: np.ndarray, seed: int
) -> tuple[_Steps, np.ndarray]:
    """One step from each moment, and the termination probabilities `(n,)`."""
    rows = dynamics.num_rows
    parts = []
    for first in range(0, len(chosen), rows):
        part = actions[first : first + rows]
        moments.begin(dynamics, chosen[first : first + rows], seed + first)
        step = dynamics.step(np.concatenate([part, np.zeros(rows - len(part), np.int64)]))
        values = (step.frames, step.rewards, step.terminated, step.termination_probability)
        parts.append([value[: len(part)] for value in values])
    frames, rewards, terminated, probability = map(np.concatenate, zip(*parts, strict=True))
    return _Steps(frames, rewards, terminated), probability


def horizon_section(result: dict[str, Any]) -> Section:
    """Report how dream and truth part over the horizon."""
    games = [name for name in GAMES if name in result]
    plots = [
        line_plot(
            title,
            result["horizons"],
            {name: result[name][key] for name in games},
            "steps after the real past",
            log_x=True,
            y_range=least,
        )
        for key, title, least in (
            ("exact", "share of frames with no wrong pixel", (0.0, 1.0)),
            ("psnr", "PSNR, dB", None),
            ("ssim", "SSIM", (0.0, 1.0)),
        )
    ]
    rows = [["pasts", *map(str, result["moments"])]]
    for key, form in (("exact", "{:.3f}"), ("psnr", "{:.1f} dB"), ("ssim", "{:.3f}")):
        rows += [[f"{name}, {key}", *map(form.format, result[name][key])] for name in games]
    place = max(i for i, h in enumerate(result["horizons"]) if h <= SPOKEN or i == 0)
    steps, count = result["horizons"][place], result["moments"][place]
    verdict = (
        f"After {steps} steps {percent(result['dream']['exact'][place])} of {count} dreams show "
        f"the real frame without a wrong pixel (PSNR {result['dream']['psnr'][place]:.1f} dB); "
    )
    if "real" in result:
        verdict += (
            f"the real game with other chance does so in {percent(result['real']['exact'][place])} "
            f"({result['real']['psnr'][place]:.1f} dB)."
        )
    else:
        verdict += f"the last real frame kept is at {result['copy']['psnr'][place]:.1f} dB."
    return Section(
        "Over the horizon",
        verdict,
        "The dream goes on from real pasts under the recorded actions. Where the game's chance can "
        "be redrawn, the real game does so too: its own line is as high as any dream can stay.",
        plots=plots,
        table=Table(["steps", *map(str, result["horizons"])], rows),
    )


def next_frame_section(result: dict[str, Any]) -> Section:
    """Report how single steps compare with the truth."""
    dream, shuffled = result["dream"], result["dream"]["shuffled"]
    games = [name for name in GAMES if name in result]
    frames = [(name, name, result[name]) for name in games]
    frames.append(("shuffled actions", "copy", shuffled))
    plots = [
        bar_plot(
            title,
            [Bar(name, one[key], form.format(one[key]), colour) for name, colour, one in frames],
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
                for name in games
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
    rows = [[name, *_frame_cells(result[name]), *_event_cells(result[name])] for name in games]
    rows.append(["dream, shuffled actions", *_frame_cells(shuffled), *[""] * 3 * len(EVENTS)])
    scores = ("precision", "recall", "F1")
    header = ["", "PSNR", "SSIM", "exact"]
    header += [f"{title}, {score}" for title in EVENTS.values() for score in scores]
    lost = dream["psnr"] - shuffled["psnr"]
    verdict = f"One step ahead {percent(dream['exact'], 1)} of frames have no wrong pixel"
    if "real" in result:
        verdict += f" (the real game with other chance: {percent(result['real']['exact'], 1)})"
    verdict += f", PSNR {dream['psnr']:.1f} dB. "
    verdict += " ".join(_event_verdict(title, dream[kind]) for kind, title in EVENTS.items())
    verdict += (
        f" Under shuffled actions PSNR falls by {lost:.1f} dB: the dream obeys its actions."
        if lost > 0
        else " Under shuffled actions PSNR does not fall: the dream ignores its actions."
    )
    return Section(
        "The next frame",
        verdict,
        f"One step from each of {result['moments']:,} real pasts, held against what the real game "
        f"did. The expected calibration error of the end's probability is {bins['ece']:.4f}.",
        plots=plots,
        table=Table(header, rows),
    )


def _frame_cells(scores: dict[str, Any]) -> list[str]:
    return [f"{scores['psnr']:.1f}", f"{scores['ssim']:.4f}", f"{scores['exact']:.4f}"]


def _event_cells(scores: dict[str, Any]) -> list[str]:
    return [
        "not tested" if scores[kind][name] is None else f"{scores[kind][name]:.3f}"
        for kind in EVENTS
        for name in ("precision", "recall", "f1")
    ]


def _event_verdict(title: str, scores: dict[str, Any]) -> str:
    if not scores["events"]:
        return f"{title.capitalize()}: not tested, 0 events."
    return f"{title.capitalize()}: F1 {scores['f1']:.2f} of {scores['events']} events."
