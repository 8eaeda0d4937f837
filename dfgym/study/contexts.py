"""What rows D11, D12 and D13 share: four ways to show finished frames, with how much noise."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from dfgym.study.dreams import How
from dfgym.study.findings import apart, lines
from dfgym.study.games import ERRORS, WHOLE
from dfgym.study.lab import Curve, Lab
from dfgym.study.laws import OURS, TEACHER

MODELS = (OURS, TEACHER)
NOISES = (0.02, 0.05, 0.1, 0.2, 0.3)
QUICK_NOISES = (0.1,)


def noises(lab: Lab) -> tuple[float, ...]:
    """Those of the sweep, beside 0, which is the mode `clean`."""
    return NOISES if lab.scale == WHOLE else QUICK_NOISES


def sweep(lab: Lab, game: str, model: str, mode: str) -> dict[float, Curve]:
    """A mode's curve for each context noise; 0 is the clean context."""
    found = {0.0: lab.curve(game, model)}
    for noise in noises(lab):
        found[noise] = lab.curve(game, model, How(mode=mode, noise=noise))
    return found


def best(swept: dict[float, Curve]) -> float:
    """The context noise above 0 of the least mean error."""
    return min((noise for noise in swept if noise), key=lambda noise: swept[noise].mean)


def against_clean(swept: dict[float, Curve]) -> str:
    """How the best noise does against the clean context, in words."""
    clean, rival = swept[0.0], swept[best(swept)]
    if not apart(clean, rival):
        return "not told apart from"
    return "better than" if rival.mean < clean.mean else "worse than"


def against_noise(
    lab: Lab, games: Sequence[str], modes: Sequence[str], title: str, models: Sequence[str] = MODELS
) -> Figure:
    """Mean error against context noise: a panel for each game and model, a line for each mode."""
    groups, labels = {}, {}
    for game in games:
        for model in models:
            swept = {mode: sweep(lab, game, model, mode) for mode in modes}
            named = {mode: list(by.values()) for mode, by in swept.items()}
            groups[f"{game}, {model}"] = ([0.0, *noises(lab)], named)
            labels[f"{game}, {model}"] = ERRORS[game]
    return lines(groups, title, "context noise", labels)
