"""D12: finished frames really noised, and said so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.study.contexts import MODELS, noises, sweep
from dfgym.study.findings import Finding, about, lines, said
from dfgym.study.games import ERRORS
from dfgym.study.lab import Lab

GAMES = ("breakout", "cartpole")


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Sweep the noise; look at the error and at the fine detail that is left."""
    found = {game: {model: sweep(lab, game, model, "noised") for model in MODELS} for game in games}
    told = []
    labels: dict[str, str] = {}
    groups: dict[str, tuple[list[float], dict[str, Any]]] = {}
    for game, by_model in found.items():
        for model, swept in by_model.items():
            most = max(swept)
            text = (
                f"In {game} the {model} model errs {said(swept[0.0])} clean and "
                f"{said(swept[most])} at a noise of {most:g}"
            )
            details = {noise: curve.sharpness for noise, curve in swept.items()}
            if not math.isnan(details[0.0]):
                text += (
                    f"; of the real picture's fine detail it keeps {details[0.0]:.0%} clean and "
                    f"{details[most]:.0%} at {most:g}"
                )
            told.append(text + ".")
        named = {model: list(swept.values()) for model, swept in by_model.items()}
        groups[f"{game}, error"] = ([0.0, *noises(lab)], named)
        labels[f"{game}, error"] = ERRORS[game]
        sharp = {model: [c.sharpness for c in swept.values()] for model, swept in by_model.items()}
        if not np.isnan(list(sharp.values())).all():
            groups[f"{game}, fine detail"] = ([0.0, *noises(lab)], sharp)
            labels[f"{game}, fine detail"] = "share of the real picture's"
    return Finding(
        "D12",
        "noised and told so",
        "to really noise finished frames and say so is in distribution, but drops detail.",
        {
            game: {m: {str(n): about(c) for n, c in swept.items()} for m, swept in by_model.items()}
            for game, by_model in found.items()
        },
        " ".join(told) + " Breakout is drawn in five colours that each cell is rounded to, so it "
        "has no fine detail to lose.",
        lines(groups, "noised", "context noise", labels),
    )
