"""D11: finished frames told to be slightly noisy, though they are clean."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.contexts import MODELS, against_clean, against_noise, best, sweep
from dfgym.study.findings import Finding, about, said
from dfgym.study.lab import Lab

GAMES = ("breakout", "cartpole")


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Sweep what is told over the level and the horizon."""
    found = {
        game: {model: sweep(lab, game, model, "told_noisy") for model in MODELS} for game in games
    }
    told = []
    for game, by_model in found.items():
        for model, swept in by_model.items():
            level = best(swept)
            told.append(
                f"In {game} the {model} model errs {said(swept[0.0])} with a clean context; told "
                f"a noise of {level:g}, which suits it best, {said(swept[level])}, "
                f"{against_clean(swept)} that; told the most, {max(swept):g}, "
                f"{said(swept[max(swept)])}."
            )
    return Finding(
        "D11",
        "told noisy",
        "long rollouts degrade as errors accumulate; to tell the model that finished frames are "
        "slightly noisy stabilises, but is out of distribution, and nothing says how noisy.",
        {
            game: {m: {str(n): about(c) for n, c in swept.items()} for m, swept in by_model.items()}
            for game, by_model in found.items()
        },
        " ".join(told),
        against_noise(lab, games, ("told_noisy",), "told noisy"),
    )
