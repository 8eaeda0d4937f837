"""Few denoising steps: with and without shortcut forcing, with outcomes, x against v."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.blocks import RolloutSpec
from dfgym.study.curve import Curve
from dfgym.study.figures import lines
from dfgym.study.games import ERRORS, WHOLE
from dfgym.study.runner import OURS, StudyRunner
from dfgym.study.verdict import Condition, Numbers, more_errors, never_more
from dfgym.study.write import Finding, compare, summarize_all, table

GAMES = ("breakout", "cartpole")
NAMES = {
    # Colours are predicted as what they are, x, and outcomes are learned for colours alone.
    "breakout": {OURS: "x", "shortcut": "x, shortcut", "outcomes": "x, 8 outcomes"},
    "cartpole": {OURS: "x", "v": "v", "shortcut": "x, shortcut"},
}
FEW = ("1", "2", "4")


def _few(by_steps: Numbers) -> list[Numbers]:
    return [by_steps[steps] for steps in FEW if steps in by_steps]


def _shortcut_is_as_good(numbers: Numbers) -> bool:
    """Whether few steps are as good as the most that were tried."""
    by_steps = numbers["x, shortcut"]
    return never_more(_few(by_steps), by_steps[max(by_steps, key=int)])


def _beats(numbers: Numbers, name: str, rival: str) -> bool | None:
    """Whether one network makes fewer errors than another at each of the few steps."""
    if rival not in numbers:
        return None
    pairs = zip(_few(numbers[name]), _few(numbers[rival]), strict=True)
    return all(more_errors(worse, better) for better, worse in pairs)


CONDITIONS = (
    Condition(
        "given its step size, a network makes no more errors in 1, 2 and 4 steps than in the most",
        _shortcut_is_as_good,
    ),
    Condition(
        "in 1, 2 and 4 steps it makes fewer errors than a network that is not given it",
        lambda game: _beats(game, "x, shortcut", "x"),
    ),
    Condition("in 1, 2 and 4 steps x beats v", lambda game: _beats(game, "x", "v")),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream the same dreams in 1, 2, 4, 8 and 16 denoising steps."""
    counts = (1, 2, 4, 8, 16) if runner.scale == WHOLE else (1, 2)
    numbers, groups, rows, comparisons = {}, {}, [], []
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
        comparisons.append(f"{game}: {compare_steps(base, curves)}")
    header = ["game", "network predicts", "denoising steps", *map(str, counts)]
    return Finding(
        "Few denoising steps",
        "a network that is also told its step size makes 1, 2 and 4 steps as good as many; x beats "
        "v at few steps.",
        "; ".join(comparisons) + " (against plain x).",
        numbers,
        f"Against plain x, in {'; in '.join(comparisons)}. Models of v and of shortcuts see a past "
        "of one window, the others what their cache holds. One step rounds the mean of all "
        "outcomes, or has to decide them from the noise alone, unless the network tells them apart "
        "and one is drawn (`model.mixture`): see Breakout's sticky actions, which are its chance."
        "\n\n" + table(header, rows),
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
