"""D13: dynamic noise augmentation, and all four modes beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dfgym.study.contexts import MODELS, against_noise, best, detail, noises, sweep
from dfgym.study.findings import Finding, about, doubled, said
from dfgym.study.lab import Lab

GAMES = ("breakout", "cartpole")
MODES = ("told_noisy", "noised", "dynamic")


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Find each mode's best noise, and the best mode."""
    numbers: dict[str, dict[str, Any]] = {}
    told, rows = [], []
    for game in games:
        numbers[game] = {}
        for model in MODELS:
            clean = lab.curve(game, model)
            optimum, noisiest = {"clean": (0.0, clean)}, {"clean": clean}
            for mode in MODES:
                swept = sweep(lab, game, model, mode)
                level = best({noise: c for noise, c in swept.items() if noise})
                optimum[mode] = (level, swept[level])
                noisiest[mode] = swept[max(swept)]
            numbers[game][model] = {
                mode: {"noise": level, **about(c)} for mode, (level, c) in optimum.items()
            }
            for mode, (level, c) in optimum.items():
                sharp = detail(noisiest[mode])
                rows.append(
                    f"| {game} | {model} | {mode} | {level:g} | {said(c)} | {doubled(c)} | "
                    f"{said(noisiest[mode])} | {'-' if math.isnan(sharp) else f'{sharp:.0%}'} |"
                )
            winner = min(optimum, key=lambda mode: optimum[mode][1].mean)
            apart = optimum[winner][1].interval[1] < clean.interval[0]
            told.append(
                f"In {game} with the {model} model the least error is that of `{winner}`"
                + (
                    "."
                    if winner == "clean"
                    else f" at {optimum[winner][0]:g}, "
                    + ("apart from" if apart else "within the interval of")
                    + " the clean context's."
                )
            )
    table = "\n".join(
        [
            "| game | model | context mode | its best noise | error | doubled | "
            f"error at a noise of {max(noises(lab)):g} | fine detail there |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
        ]
    )
    return Finding(
        "D13",
        "dynamic noise, and all four",
        "moderate noise on the context in the first denoising steps, none in the last: low "
        "frequencies form first, and artefacts cannot grow.",
        numbers,
        f"{' '.join(told)}\n\n{table}",
        against_noise(lab, games, MODES, "context modes"),
    )
