"""Contexts: four ways to show finished frames, with how much noise (rows D11, D12 and D13)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dfgym.study.blocks import RolloutSpec
from dfgym.study.curve import Curve
from dfgym.study.figures import lines
from dfgym.study.games import ERRORS, WHOLE
from dfgym.study.runner import OURS, TEACHER, StudyRunner
from dfgym.study.verdict import Condition, Numbers, more_errors
from dfgym.study.write import (
    Finding,
    compare,
    format_doubling,
    format_error,
    summarize,
    summarize_all,
    table,
)

GAMES = ("breakout", "cartpole")
MODELS = (OURS, TEACHER)
MODES = ("told_noisy", "noised", "dynamic")
NOISES = (0.02, 0.05, 0.1, 0.2, 0.3)
QUICK_NOISES = (0.1,)
DETAIL_LOSS = 0.05
"""The share of the fine detail that must go before it counts as lost."""
HEADER = ("game", "model", "context mode", "its best noise", "error", "doubled")
Sweep = dict[float, Curve]


def _best(sweep: Numbers) -> Numbers:
    """The numbers of the noise above 0 with the least error."""
    return min((n for noise, n in sweep.items() if float(noise)), key=lambda n: n["error"])


def _most(sweep: Numbers) -> Numbers:
    """The numbers of the most noise."""
    return dict(sweep[max(sweep, key=float)])


def _best_helps(numbers: Numbers, model: str) -> bool:
    return more_errors(numbers[model]["0.0"], _best(numbers[model]))


def _most_harms(numbers: Numbers, model: str) -> bool:
    return more_errors(_most(numbers[model]), numbers[model]["0.0"])


def _loses_detail(numbers: Numbers, model: str) -> bool | None:
    clean, most = numbers[model]["0.0"]["detail"], _most(numbers[model])["detail"]
    return None if clean is None or most is None else bool(most < (1 - DETAIL_LOSS) * clean)


def _dynamic_beats(numbers: Numbers, model: str, rival: str) -> bool:
    return more_errors(numbers[model][rival], numbers[model]["dynamic"])


TOLD_NOISY_CONDITIONS = (
    Condition(
        "with a clean context the error doubles within the horizon, with either objective",
        lambda game: all(game[model]["0.0"]["doubles_after"] is not None for model in MODELS),
    ),
    *(
        Condition(
            f"{model}: the best level makes fewer errors than a clean context",
            partial(_best_helps, model=model),
        )
        for model in MODELS
    ),
    *(
        Condition(
            f"{model}: the highest level, which is out of distribution, makes more errors",
            partial(_most_harms, model=model),
        )
        for model in MODELS
    ),
)
NOISED_CONDITIONS = (
    Condition(
        "diffusion forcing, which trained on noisy pasts, makes no more errors at the most noise",
        lambda game: not _most_harms(game, OURS),
    ),
    *(
        Condition(
            f"{model}: the most noise takes more than {DETAIL_LOSS:.0%} of the fine detail",
            partial(_loses_detail, model=model),
        )
        for model in MODELS
    ),
)
COMPARISON_CONDITIONS = (
    *(
        Condition(
            f"{model}: dynamic noise makes fewer errors than {words}",
            partial(_dynamic_beats, model=model, rival=rival),
        )
        for model in MODELS
        for rival, words in (("clean", "a clean context"), ("noised", "constant noise"))
    ),
    Condition("low frequencies form first"),
)


def noises(runner: StudyRunner) -> tuple[float, ...]:
    """Return the context noises of a sweep beside 0, which is the mode `clean`."""
    return NOISES if runner.scale == WHOLE else QUICK_NOISES


def sweep(runner: StudyRunner, game: str, model: str, mode: str) -> Sweep:
    """Return the curve of a mode for each context noise; 0 is the clean context."""
    curves = {0.0: runner.curve(game, model)}
    for noise in noises(runner):
        curves[noise] = runner.curve(game, model, RolloutSpec(mode=mode, noise=noise))
    return curves


def best_noise(curves: Sweep) -> float:
    """Return the context noise above 0 with the least mean error."""
    return min((noise for noise in curves if noise), key=lambda noise: curves[noise].mean)


def compare_with_clean(curves: Sweep) -> str:
    """Return how the best noise compares with the clean context, in words."""
    return compare(curves[best_noise(curves)], curves[0.0])


def measure_told_noisy(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Sweep the level that the model is given of frames that are clean."""
    sweeps = _sweeps(runner, games, "told_noisy")
    sentences, comparisons = [], []
    for game, by_model in sweeps.items():
        for model, curves in by_model.items():
            level, most, result = best_noise(curves), max(curves), compare_with_clean(curves)
            comparisons.append(f"{game}, {model}: {result}")
            sentences.append(
                f"In {game} the {model} model has the error {format_error(curves[0.0])} with a "
                f"clean context. At its best noise, {level:g}, it has {format_error(curves[level])}"
                f": {result}. At the most, {most:g}, it has {format_error(curves[most])}."
            )
    return Finding(
        "Context given as noisy, though clean",
        "long rollouts degrade as errors accumulate; to tell the model that finished frames are "
        "slightly noisy stabilises, but is out of distribution, and nothing says how noisy.",
        "; ".join(comparisons) + " (at the best noise, against clean).",
        {game: summarize_all(by_model) for game, by_model in sweeps.items()},
        " ".join(sentences),
        plot_noises(runner, games, ("told_noisy",), "told noisy"),
    )


def measure_noised(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Sweep the noise; look at the error and at the fine detail that is left."""
    sweeps = _sweeps(runner, games, "noised")
    sentences, comparisons = [], []
    labels: dict[str, str] = {}
    groups: dict[str, tuple[list[float], dict[str, Any]]] = {}
    for game, by_model in sweeps.items():
        for model, curves in by_model.items():
            most = max(curves)
            comparisons.append(f"{game}, {model}: {compare(curves[most], curves[0.0])}")
            sentence = (
                f"In {game} the {model} model has the error {format_error(curves[0.0])} with a "
                f"clean context and {format_error(curves[most])} at a noise of {most:g}"
            )
            details = {noise: curve.sharpness for noise, curve in curves.items()}
            if not math.isnan(details[0.0]):
                sentence += (
                    f"; of the real picture's fine detail it keeps {details[0.0]:.0%} clean and "
                    f"{details[most]:.0%} at {most:g}"
                )
            sentences.append(sentence + ".")
        x = [0.0, *noises(runner)]
        groups[f"{game}, error"] = (x, {m: list(curves.values()) for m, curves in by_model.items()})
        labels[f"{game}, error"] = ERRORS[game]
        sharp = {m: [c.sharpness for c in curves.values()] for m, curves in by_model.items()}
        if not np.isnan(list(sharp.values())).all():
            groups[f"{game}, fine detail"] = (x, sharp)
            labels[f"{game}, fine detail"] = "share of the real picture's"
    return Finding(
        "Context noised, and given so",
        "to really noise finished frames and say so is in distribution, but drops detail.",
        "; ".join(comparisons) + " (at the most noise, against clean).",
        {game: summarize_all(by_model) for game, by_model in sweeps.items()},
        " ".join(sentences) + " Breakout is drawn in five colours that each cell is rounded to, so "
        "it has no fine detail to lose.",
        lines(groups, "noised", "context noise", labels),
    )


def measure_all(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Find the best noise of each mode, and the best mode."""
    numbers: dict[str, dict[str, Any]] = {}
    comparisons, rows = [], []
    for game in games:
        numbers[game] = {}
        for model in MODELS:
            clean = runner.curve(game, model)
            sweeps = {mode: sweep(runner, game, model, mode) for mode in MODES}
            best = {"clean": (0.0, clean)}
            best |= {m: (best_noise(s), s[best_noise(s)]) for m, s in sweeps.items()}
            noisiest = {"clean": clean, **{mode: s[max(s)] for mode, s in sweeps.items()}}
            numbers[game][model] = {
                mode: {"noise": level, **summarize(curve)} for mode, (level, curve) in best.items()
            }
            for mode, (level, curve) in best.items():
                sharp = noisiest[mode].sharpness
                rows.append(
                    [
                        *(game, model, mode, f"{level:g}", format_error(curve)),
                        *(format_doubling(curve), format_error(noisiest[mode])),
                        "-" if math.isnan(sharp) else f"{sharp:.0%}",
                    ]
                )
            results = ", ".join(f"`{mode}` {compare_with_clean(s)}" for mode, s in sweeps.items())
            comparisons.append(f"{game}, {model}: {results}")
    most = f"error at a noise of {max(noises(runner)):g}"
    return Finding(
        "Dynamic noise, and all four modes",
        "moderate noise on the context in the first denoising steps, none in the last: low "
        "frequencies form first, and artefacts cannot grow.",
        "; ".join(comparisons) + " (against clean).",
        numbers,
        "Each mode at its best noise, which was chosen on the same dreams, against a clean "
        f"context. In {'. In '.join(comparisons)}.\n\n"
        + table([*HEADER, most, "fine detail there"], rows),
        plot_noises(runner, games, MODES, "context modes"),
    )


def plot_noises(
    runner: StudyRunner, games: Sequence[str], modes: Sequence[str], title: str
) -> Figure:
    """Draw the error against context noise: a panel for a game and model, a line for a mode."""
    groups, labels = {}, {}
    for game in games:
        for model in MODELS:
            named = {mode: list(sweep(runner, game, model, mode).values()) for mode in modes}
            groups[f"{game}, {model}"] = ([0.0, *noises(runner)], named)
            labels[f"{game}, {model}"] = ERRORS[game]
    return lines(groups, title, "context noise", labels)


def _sweeps(runner: StudyRunner, games: Sequence[str], mode: str) -> dict[str, dict[str, Sweep]]:
    return {game: {model: sweep(runner, game, model, mode) for model in MODELS} for game in games}
