"""D13: dynamic noise augmentation, and all four modes beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dfgym.study.contexts import MODELS, against_clean, against_noise, best, noises, sweep
from dfgym.study.findings import Finding, about, doubled, said, table
from dfgym.study.lab import Lab

GAMES = ("breakout", "cartpole")
HEADER = ("game", "model", "context mode", "its best noise", "error", "doubled")
MODES = ("told_noisy", "noised", "dynamic")


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Find each mode's best noise, and the best mode."""
    numbers: dict[str, dict[str, Any]] = {}
    told, rows = [], []
    for game in games:
        numbers[game] = {}
        for model in MODELS:
            clean = lab.curve(game, model)
            optimum, noisiest, word = {"clean": (0.0, clean)}, {"clean": clean}, {}
            for mode in MODES:
                swept = sweep(lab, game, model, mode)
                level, word[mode] = best(swept), against_clean(swept)
                optimum[mode] = (level, swept[level])
                noisiest[mode] = swept[max(swept)]
            numbers[game][model] = {
                mode: {"noise": level, **about(c)} for mode, (level, c) in optimum.items()
            }
            for mode, (level, c) in optimum.items():
                sharp = noisiest[mode].sharpness
                rows.append(
                    [
                        *(game, model, mode, f"{level:g}", said(c), doubled(c)),
                        said(noisiest[mode]),
                        "-" if math.isnan(sharp) else f"{sharp:.0%}",
                    ]
                )
            verdicts = ", ".join(f"`{mode}` is {how}" for mode, how in word.items())
            told.append(f"In {game}, {model}: {verdicts} a clean context.")
    most = f"error at a noise of {max(noises(lab)):g}"
    return Finding(
        "D13",
        "dynamic noise, and all four",
        "moderate noise on the context in the first denoising steps, none in the last: low "
        "frequencies form first, and artefacts cannot grow.",
        numbers,
        "At its best noise, which was chosen on the same dreams: "
        f"{' '.join(told)}\n\n{table([*HEADER, most, 'fine detail there'], rows)}",
        against_noise(lab, games, MODES, "context modes"),
    )
