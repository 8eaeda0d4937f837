"""Few denoising steps: with and without shortcut forcing, with outcomes, x against v."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.blocks import RolloutSpec
from dfgym.study.curve import Curve
from dfgym.study.figures import lines
from dfgym.study.games import ERRORS, WHOLE
from dfgym.study.runner import OURS, StudyRunner
from dfgym.study.write import Finding, compare, summarize_all, table

GAMES = ("breakout", "cartpole")
NAMES = {
    # Colours are predicted as what they are, x, and outcomes are learned for colours alone.
    "breakout": {OURS: "x", "shortcut": "x, shortcut", "outcomes": "x, 8 outcomes"},
    "cartpole": {OURS: "x", "v": "v", "shortcut": "x, shortcut"},
}


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream the same dreams in 1, 2, 4, 8 and 16 denoising steps."""
    counts = (1, 2, 4, 8, 16) if runner.scale == WHOLE else (1, 2)
    numbers, groups, rows, verdicts = {}, {}, [], []
    for game in games:
        curves = {
            name: {n: runner.curve(game, model, RolloutSpec(steps=n)) for n in counts}
            for model, name in NAMES[game].items()
        }
        numbers[game] = summarize_all(curves)
        groups[game] = (
            list(counts),
            {name: list(by_steps.values()) for name, by_steps in curves.items()},
        )
        for name, by_steps in curves.items():
            rows.append([game, name, "error", *(f"{c.mean:.3g}" for c in by_steps.values())])
            if game == "breakout":
                sticky = (f"{c.sticky:.2%}" for c in by_steps.values())
                rows.append([game, name, "sticky actions", *sticky])
        base = curves.pop("x")
        verdicts.append(f"{game}: {compare_steps(base, curves)}")
    header = ["game", "network predicts", "denoising steps", *map(str, counts)]
    return Finding(
        "Few denoising steps",
        "a network that is also told its step size makes 1, 2 and 4 steps as good as many; x beats "
        "v at few steps.",
        "; ".join(verdicts) + " (against plain x).",
        numbers,
        f"Against plain x, in {'; in '.join(verdicts)}. Models of v and of shortcuts see a past of "
        "one window, the others what their cache holds. One step rounds the mean of all outcomes, "
        "or has to decide them from the noise alone, unless the network tells them apart and one "
        "is drawn (`model.mixture`): see Breakout's sticky actions, which are its chance.\n\n"
        + table(header, rows),
        lines(groups, "few steps", "denoising steps", ERRORS, log_x=True),
        source="Dreamer 4",
    )


def compare_steps(base: dict[int, Curve], others: dict[str, dict[int, Curve]]) -> str:
    """Return where others err more or less than a plain network, in words."""
    sentences = []
    for name, by_steps in others.items():
        results = {steps: compare(curve, base[steps]) for steps, curve in by_steps.items()}
        parts = [
            f"{words} at {', '.join(str(n) for n, result in results.items() if result == words)}"
            for words in ("more errors", "fewer errors")
            if words in results.values()
        ]
        sentences.append(f"{name}, {', '.join(parts) or 'no significant difference'}")
    return "; ".join(sentences)
