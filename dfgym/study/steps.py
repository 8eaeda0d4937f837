"""Few denoising steps: with and without shortcut forcing, x against v."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.dreams import How
from dfgym.study.findings import Finding, about, lines
from dfgym.study.games import ERRORS, WHOLE
from dfgym.study.lab import Lab
from dfgym.study.laws import OURS

GAMES = ("breakout", "cartpole")
NAMES = {
    "breakout": {OURS: "x", "shortcut": "x, shortcut"},  # colours are told as what they are: x
    "cartpole": {OURS: "x", "v": "v", "shortcut": "x, shortcut"},
}


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """The same dream in 1, 2, 4, 8 and 16 denoising steps."""
    counts = (1, 2, 4, 8, 16) if lab.scale == WHOLE else (1, 2)
    numbers, groups, rows = {}, {}, []
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
            values = " | ".join(f"{c.mean:.3g}" for c in by.values())
            stuck = " | ".join(f"{c.sticky:.2%}" for c in by.values())
            rows.append(f"| {game} | {name} | error | {values} |")
            if game == "breakout":
                rows.append(f"| {game} | {name} | sticky actions | {stuck} |")
    table = "\n".join(
        [
            f"| game | network says | denoising steps: | {' | '.join(map(str, counts))} |",
            "|---|---|---|" + "---|" * len(counts),
            *rows,
        ]
    )
    return Finding(
        "steps",
        "few denoising steps",
        "(Dreamer 4) a network that is also told its step size makes 1, 2 and 4 steps as good as "
        "many; x beats v at few steps.",
        numbers,
        "Where the outcome is chance the noise must decide it; a single step without shortcut "
        "gives the mean of all outcomes, rounded, so the rare one is lost: see the share of "
        f"Breakout's transitions that only a sticky action explains.\n\n{table}",
        lines(groups, "few steps", "denoising steps", ERRORS, log_x=True),
    )
