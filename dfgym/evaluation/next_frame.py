"""How good a single step is: frame, reward and end, and whether actions matter.

The baselines *copy* and *real* are those of `horizon`.

Legend: n moments, h w a frame of the model's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfgym.evaluation import metrics, moments
from dfgym.evaluation.horizon import GAMES
from dfgym.evaluation.metrics import calibration, event_scores
from dfgym.evaluation.moments import Moment
from dfgym.evaluation.plots import Bar, Plot, bar_plot, line_plot
from dfgym.evaluation.report import Rung, Section, Table, percent
from dfgym.evaluation.rollout import describe_policy, open_real
from dfgym.evaluation.subject import MakeDynamics, Subject
from dfgym.evaluation.verdict import Finding, sentence
from dfgym.frames import differ, flicker
from dfgym.games.source import Source
from dfgym.statistics import mean_interval
from dfgym.world.card import Card
from dfgym.world.dynamics import Dynamics

NAME = "next_frame"
COUNT = 2048
BATCH = 256
EVENTS = {"reward": "rewards foreseen", "termination": "ends foreseen"}
PIXELS = {"changing": "pixels that change", "rare": "pixels of rare colours"}
RARE = 0.01
"""A colour of fewer pixels than this share is rare."""
RETURN_STEPS = 8
"""Rewards of more values than a world tells apart are compared as their sum over so many steps."""
PROBES = 16
"""So often is it tried whether other actions show in the real game at all."""
FEW = 10
"""Fewer events than this are no test."""
CLOSE = 0.8
"""A dream does well if it reaches this share of the real game against itself, or half of all where
that is not known."""


def measure(subject: Subject) -> dict[str, Any]:
    """Compare single steps with the truth; see `compare`."""
    return compare(subject.make, subject.card, subject.scale(COUNT), subject.seed_of(2))


def compare(make: MakeDynamics, card: Card, count: int = COUNT, seed: int = 2) -> dict[str, Any]:
    """Compare one step from each of many real pasts with what the real game did.

    Args:
        make: makes the dynamics.
        card: the world's card.
        count: the number of pasts, recorded by the scripted policy with a fifth of random actions.
        seed: of the games, the policy, the choice of pasts and the dreams.

    Returns:
        `policy` (who plays, in words), `moments` (the number of pasts), `usual_reward` (the
        commonest one, which is no event) and, for `dream`, `copy` and `real`, `psnr`, `ssim`,
        `exact`; for `reward` and `termination` the scores of `metrics.event_scores`; for `changing`
        and `rare` those of `metrics.accuracy` on pixels that differ from the frame before and, in a
        world of few colours, on pixels of rare colours. If the game has more rewards than the world
        tells apart, `reward` is left out, and `return` of the `dream` holds `metrics.amounts` of
        the sum over the next `steps` rewards. For `dream` also `calibration` of the termination
        probability; `shuffled`: the frame's measures for the same noise under other moments'
        actions; and `listening`: the squared error that other actions add in the `moments` where
        they differ, with its 95 % `interval`, and in how many of `tried` ones the real game itself
        shows another frame (`parted`; both left out where it cannot be played again).
    """
    pasts = moments.draw(card, count, 0.2, seed)
    actions = np.array([m.episode.actions[m.at] for m in pasts])
    truth = _Steps(
        np.stack([m.episode.frames[m.at + 1] for m in pasts]),
        np.array([m.episode.rewards[m.at] for m in pasts]),
        np.array([m.episode.terminated[m.at] for m in pasts]),
    )
    last = np.stack([m.episode.frames[m.at] for m in pasts])
    dynamics = make(min(BATCH, count))
    dream, probability = _step_all(dynamics, pasts, actions, seed)
    shuffled = np.random.default_rng(seed).permutation(actions)
    other, _ = _step_all(dynamics, pasts, shuffled, seed)
    other_action = (actions != shuffled).reshape(count, -1).any(1)
    scale = _Scale.of(card, last, truth)
    result: dict[str, Any] = {
        "policy": describe_policy(card),
        "moments": count,
        "usual_reward": scale.usual,
        "dream": {
            **scale.scores(dream, truth),
            "calibration": calibration(probability, truth.terminated),
            "shuffled": scale.frame_scores(other.frames, truth.frames),
            "listening": _listening(dream, other, truth, other_action),
        },
        "copy": scale.scores(
            _Steps(last, np.full(count, scale.usual), np.zeros(count, bool)), truth
        ),
    }
    if scale.many_rewards:
        result["dream"]["return"] = _compare_returns(dynamics, pasts, seed)
    source = open_real(card)
    places = np.flatnonzero(other_action)[:PROBES]
    choices = [(pasts[place], shuffled[place]) for place in places]
    result["dream"]["listening"] |= _count_parted(source, choices, scale.tolerance)
    if source.can_redraw:
        pairs = enumerate(zip(pasts, actions, strict=True))
        twins = [moments.twin(source, m, np.array([a]), seed + i) for i, (m, a) in pairs]
        real = _Steps(
            np.stack([twin.frames[1] for twin in twins]),
            np.concatenate([twin.rewards for twin in twins]),
            np.concatenate([twin.terminated for twin in twins]),
        )
        result["real"] = scale.scores(real, truth)
    return result


@dataclass(frozen=True)
class _Steps:
    """One step of each moment: frames `(n, h, w, 3)`, rewards and terminated `(n,)`."""

    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray


@dataclass(frozen=True)
class _Scale:
    """What is measured in all games alike.

    Attributes:
        tolerance: grey levels by which equal pixels may differ.
        changing: bool `(n, h, w)`, pixels of the truth that differ from the frame before.
        rare: the same of rare colours; None in an RGB world.
        usual: the commonest reward.
        many_rewards: the game has more rewards than the world tells apart.
    """

    tolerance: int
    changing: np.ndarray
    rare: np.ndarray | None
    usual: float
    many_rewards: bool

    @classmethod
    def of(cls, card: Card, last: np.ndarray, truth: _Steps) -> _Scale:
        """Choose the scale by the truth, and by the frames before it."""
        tolerance = flicker(bool(card.frames.palette))
        rare = np.zeros(truth.frames.shape[:-1], bool)
        for colour in card.frames.palette:
            pixels = (truth.frames == colour).all(-1)
            if pixels.mean() < RARE:
                rare |= pixels
        values, counts = np.unique(truth.rewards, return_counts=True)
        gaps = np.abs(values[:, None] - np.array(card.rewards.values))
        return cls(
            tolerance,
            differ(truth.frames, last, tolerance),
            rare if card.frames.palette else None,
            float(values[counts.argmax()]),
            bool((gaps.min(1) > 1e-5 * np.maximum(1, np.abs(values))).any()),
        )

    def scores(self, steps: _Steps, truth: _Steps) -> dict[str, Any]:
        """Score frames, rewards and ends."""
        result: dict[str, Any] = self.frame_scores(steps.frames, truth.frames)
        if not self.many_rewards:
            result["reward"] = event_scores(steps.rewards, truth.rewards, self.usual)
        result["termination"] = event_scores(steps.terminated, truth.terminated)
        for name, where in (("changing", self.changing), ("rare", self.rare)):
            if where is not None:
                pair = (steps.frames, truth.frames)
                result[name] = metrics.accuracy(*pair, where, self.tolerance)
        return result

    def frame_scores(self, frames: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """Score frames alone."""
        return {
            "psnr": metrics.psnr(frames, truth),
            "ssim": metrics.ssim(frames, truth),
            "exact": metrics.exact(frames, truth, self.tolerance),
        }


def _listening(dream: _Steps, other: _Steps, truth: _Steps, where: np.ndarray) -> dict[str, Any]:
    """Return the squared error that other actions add, over the moments where they differ."""
    errors = [
        ((steps.frames[where].astype(np.float64) - truth.frames[where]) ** 2).mean((1, 2, 3))
        for steps in (dream, other)
    ]
    extra = errors[1] - errors[0]
    interval = mean_interval(extra.tolist())
    return {
        "moments": int(where.sum()),
        "error": float(extra.mean()) if len(extra) else None,
        "interval": None if interval is None else list(interval),
    }


def _count_parted(
    source: Source, choices: Sequence[tuple[Moment, np.ndarray]], tolerance: int
) -> dict[str, int]:
    """Count the moments from which another action leads the real game to another frame at once."""
    parted = 0
    for moment, action in choices:
        frame = moments.play_again(source, moment)
        if not np.array_equal(frame, moment.episode.frames[moment.at]):
            return {}
        frame = source.frame(source.env.step(source.to_env(action))[0])
        parted += bool(differ(frame, moment.episode.frames[moment.at + 1], tolerance).any())
    return {"tried": len(choices), "parted": parted}


def _compare_returns(dynamics: Dynamics, pasts: Sequence[Moment], seed: int) -> dict[str, Any]:
    """Compare the sums of rewards over the steps after each moment, under the recorded actions."""
    steps, rows = RETURN_STEPS, dynamics.num_rows
    full = [moment for moment in pasts if moment.after(steps)[2] == steps]
    sums = []
    for first in range(0, len(full), rows):
        batch = full[first : first + rows]
        filled = [*batch, *[batch[-1]] * (rows - len(batch))]
        actions = np.stack([moment.after(steps)[1] for moment in filled], 1)
        moments.begin(dynamics, batch, seed + first)
        total, ended = np.zeros(rows), np.zeros(rows, bool)
        for column in actions:
            step = dynamics.step(column)
            total += np.where(ended, 0.0, step.rewards)
            ended |= step.terminated
        sums.append(total[: len(batch)])
    actual = np.array([m.episode.rewards[m.at : m.at + steps].sum() for m in full])
    result: dict[str, Any] = {"steps": steps, "moments": len(full)}
    return result | (metrics.amounts(np.concatenate(sums), actual) if full else {})


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


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return whether a step is of use, listens to its action, and foresees what is rare."""
    dream, copy, real = result["dream"], result["copy"], result.get("real")
    items = []
    psnr = f"{dream['psnr']:.1f} dB against {copy['psnr']:.1f}"
    if dream["psnr"] > copy["psnr"]:
        items.append(Finding("merit", f"the next frame is better than the last one copied: {psnr}"))
    elif real is None or real["psnr"] > copy["psnr"]:
        items.append(Finding("fault", f"worse than copying the last frame: {psnr}", 15.0))
    items += _hearing(dream["listening"])
    for key, title in {**EVENTS, **PIXELS}.items():
        entry, unit = dream.get(key), "events" if key in EVENTS else "pixels"
        if entry is None:
            continue
        score = "f1" if key in EVENTS else "right"
        if entry[unit] < (FEW if key in EVENTS else 1):
            items.append(Finding("untested", f"{title} were not tested: {entry[unit]} {unit}"))
            continue
        limit = CLOSE * real[key][score] if real else 0.5
        words = f"{title}: {entry[score]:.2f} right of {entry[unit]:,} {unit}"
        if entry[score] < limit:
            items.append(Finding("flaw", words, 1 - entry[score] / max(limit, 1e-9)))
    if "return" in dream and dream["return"]["moments"]:
        items += _returns(dream["return"])
    return items


def _hearing(listening: dict[str, Any]) -> list[Finding]:
    """Return whether other actions lead to other frames."""
    interval = listening["interval"]
    if interval is None:
        return [Finding("untested", "actions were not tested: all were the same")]
    if interval[0] > 0:
        return [Finding("merit", "it listens to actions: others predict worse")]
    words = f"other actions predict as well in {listening['moments']:,} moments"
    if listening["moments"] < FEW:
        return [Finding("untested", f"actions were hardly tested: {words}")]
    if listening.get("tried") and not listening["parted"]:
        words = "in the real game, too, none of them shows within one step"
        return [Finding("untested", f"actions were not tested on single steps: {words}")]
    return [Finding("fault", f"does not listen to actions: {words}", 12.0)]


def _returns(scores: dict[str, Any]) -> list[Finding]:
    """Return how well the sum of the next rewards is foreseen."""
    words = (
        f"the sum of {scores['steps']} rewards is off by {scores['error']:.3g}, "
        f"{scores['spread']:.3g} for a constant guess"
    )
    return [Finding("merit" if scores["error"] < 0.7 * scores["spread"] else "flaw", words, 1.0)]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return nothing: a card does not speak of single steps."""
    return {}


def section(result: dict[str, Any]) -> Section:
    """Report how single steps compare with the truth."""
    dream, shuffled = result["dream"], result["dream"]["shuffled"]
    events = {key: title for key, title in EVENTS.items() if key in dream}
    pixels = {key: title for key, title in PIXELS.items() if key in dream}
    names = [name for name in GAMES if name in result]
    rows = [
        [
            name,
            *_frame_cells(result[name]),
            *_event_cells(result[name], events),
            *(_share(result[name][key]["right"]) for key in pixels),
        ]
        for name in names
    ]
    empty = [""] * (3 * len(events) + len(pixels))
    rows.append(["dream, shuffled actions", *_frame_cells(shuffled), *empty])
    scores = ("precision", "recall", "F1")
    header = ["", "PSNR", "SSIM", "exact"]
    header += [f"{title}, {score}" for title in events.values() for score in scores]
    header += [f"{title}, right of {dream[key]['pixels']:,}" for key, title in pixels.items()]
    return Section(
        "The next frame",
        _verdict(result),
        f"One step from each of {result['moments']:,} real pasts, recorded by {result['policy']} "
        "with 20 % random actions, held against what the real game did. The expected calibration "
        f"error of the end's probability is {dream['calibration']['ece']:.4f}.",
        plots=_plots(result, names),
        table=Table(header, rows),
        rungs=[
            Rung(
                "pixels",
                "Is the next frame right? (no wrong pixel)",
                *(
                    percent(result[name]["exact"], 1) if name in result else ""
                    for name in ("dream", "real", "copy")
                ),
            )
        ],
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
        if kind not in dream:
            continue
        count, f1 = dream[kind]["events"], dream[kind]["f1"]
        answer = f"F1 {f1:.2f} of {count} events" if count else "not tested, 0 events"
        sentences.append(f"{title.capitalize()}: {answer}.")
    for kind, title in PIXELS.items():
        if kind in dream:
            count, right = dream[kind]["pixels"], dream[kind]["right"]
            answer = (
                "not tested, 0 pixels" if right is None else f"{percent(right)} of {count:,} right"
            )
            sentences.append(f"{title.capitalize()}: {answer}.")
    if "return" in dream and dream["return"]["moments"]:
        sentences += [sentence([item.words]) for item in _returns(dream["return"])]
    lost = dream["psnr"] - dream["shuffled"]["psnr"]
    obeys = _hearing(dream["listening"])[0].level
    sentences.append(
        f"Under shuffled actions PSNR falls by {lost:.1f} dB: the dream obeys its actions."
        if obeys == "merit"
        else f"Under shuffled actions PSNR falls by {lost:.1f} dB: the dream ignores its actions."
        if obeys == "fault"
        else "Whether the dream obeys its actions was not tested."
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
        if kind in dream and dream[kind]["events"]:
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


def _share(value: float | None) -> str:
    return "not tested" if value is None else f"{value:.3f}"


def _event_cells(scores: dict[str, Any], events: Iterable[str]) -> list[str]:
    return [_share(scores[kind][name]) for kind in events for name in ("precision", "recall", "f1")]
