"""Few denoising steps: with and without shortcut forcing, x against v."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.dreams import How
from dfgym.study.findings import Finding, about, apart, lines, table
from dfgym.study.games import ERRORS, WHOLE
from dfgym.study.lab import Curve, Lab
from dfgym.study.laws import OURS

GAMES = ("breakout", "cartpole")
NAMES = {
    # Colours are told as what they are, x, and outcomes are told apart of colours alone.
    "breakout": {OURS: "x", "shortcut": "x, shortcut", "outcomes": "x, 8 outcomes"},
    "cartpole": {OURS: "x", "v": "v", "shortcut": "x, shortcut"},
}


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """The same dream in 1, 2, 4, 8 and 16 denoising steps."""
    counts = (1, 2, 4, 8, 16) if lab.scale == WHOLE else (1, 2)
    numbers, groups, rows, told = {}, {}, [], []
    for game in games:
        found = {
            name: {steps: lab.curve(game, model, How(steps=steps)) for steps in counts}
            for model, name in NAMES[game].items()
        }
        numbers[game] = {
            name: {str(steps): about(c) for steps, c in by.items()} for name, by in found.items()
        }
        groups[game] = (
            list(counts),
            {name: list(by.values()) for name, by in found.items()},
        )
        for name, by in found.items():
            rows.append([game, name, "error", *(f"{c.mean:.3g}" for c in by.values())])
            if game == "breakout":
                sticky = (f"{c.sticky:.2%}" for c in by.values())
                rows.append([game, name, "sticky actions", *sticky])
        plain = found.pop("x")
        told.append(f"In {game}, against plain x: {_verdicts(plain, found)}.")
    header = ["game", "network says", "denoising steps", *map(str, counts)]
    return Finding(
        "steps",
        "few denoising steps",
        "a network that is also told its step size makes 1, 2 and 4 steps as good as many; x beats "
        "v at few steps.",
        numbers,
        f"{' '.join(told)} One step rounds the mean of all outcomes, or has to decide them from "
        "the noise alone, unless the network tells them apart and one is drawn (`model.mixture`): "
        "see Breakout's sticky actions, which are its chance.\n\n" + table(header, rows),
        lines(groups, "few steps", "denoising steps", ERRORS, log_x=True),
        source="Dreamer 4",
    )


def _verdicts(plain: dict[int, Curve], others: dict[str, dict[int, Curve]]) -> str:
    """Where others err more or less than a plain network, as far as intervals tell, in words."""
    told = []
    for name, by in others.items():
        differ = {steps: c for steps, c in by.items() if apart(c, plain[steps])}
        parts = [
            f"{'more' if c.mean > plain[steps].mean else 'less'} at {steps}"
            for steps, c in differ.items()
        ]
        told.append(f"{name} errs {', '.join(parts) if parts else 'alike at any number of steps'}")
    return "; ".join(told)
