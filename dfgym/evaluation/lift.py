"""What training in the dream buys, and what it hides, budget by budget.

    python -m dfgym.evaluation.lift --world minatar-breakout-v0 --out evaluation/lift \
        --budgets 50000 100000 200000 500000

trains the same agents as `dfgym.evaluation.transfer` with several budgets of steps, in the dream
and in the real game. *Optimisation lift* is the real return of the dream's agents beside that of
agents which took as many real steps; *exploitation*, how much more the dream's agents get in the
dream than in the real game, and how that grows as they train.

Legend: s seeds.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from dfgym import checks
from dfgym.command import run_command
from dfgym.errors import ConfigError, NotMeasuredError
from dfgym.evaluation import transfer
from dfgym.evaluation.plots import line_plot
from dfgym.evaluation.report import Rung, Section, Table
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.statistics import mean_interval

NAME = "lift"
FLAWED, FAULTY = 0.1, 0.5
"""More exploitation than these shares of the real return, at the largest budget, is a flaw, a
fault."""


@dataclass(frozen=True)
class Config:
    """Which budgets are trained with."""

    budgets: tuple[Annotated[int, Meta(ge=1)], ...] = (50_000, 100_000, 200_000, 500_000)
    """Environment steps of the trainings."""
    out: Path = Path("evaluation/lift")
    """The folder that `dfgym evaluate` looks into: `lift` in its own."""
    training: transfer.Config = field(default_factory=transfer.Config)
    """All else; its own `steps` and `out` do not count."""

    def __post_init__(self) -> None:
        """Check the fields."""
        checks.check(self, ConfigError)


def train(config: Config) -> dict[str, Any]:
    """Train and score the agents that have no result yet; returns the result of `summary`."""
    for budget in sorted(config.budgets):
        folder = config.out / str(budget)
        transfer.transfer(dataclasses.replace(config.training, steps=budget, out=folder))
    return summary(config.out)


def summary(folder: Path) -> dict[str, Any]:
    """Summarise the results of all budgets in a folder.

    Returns:
        `budgets`, and of each: `dream` and `real`, the real return of agents that were trained
        there, and `gap`, dream minus real return of the dream's agents; all as
        `transfer.summarise_seeds`, with intervals over seeds. `warnings`: how well what can be
        known without the real game foretells the gap; see `warning`.

    Raises:
        NotMeasuredError: there are none.
    """
    budgets = sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())
    points, promises = [], []
    for budget in budgets:
        table = transfer.summary(folder / str(budget))
        if table is not None and "dream" in table and "real" in table:
            dream = table["dream"]
            pairs = zip(dream["in_dream"]["per_seed"], dream["in_real"]["per_seed"], strict=True)
            gaps = [promised - real for promised, real in pairs]
            points.append((budget, dream["in_real"], table["real"]["in_real"], gaps))
            promises.append(float(dream["in_dream"]["mean"]))
    if not points:
        raise NotMeasuredError(f"no agents have been trained into {folder}")
    signals = {
        "the return in the dream": promises,
        "the budget": [float(budget) for budget, *_ in points],
    }
    return {
        "warnings": warning(signals, [float(np.mean(gaps)) for *_, gaps in points]),
        "budgets": [budget for budget, *_ in points],
        "dream": [dream for _, dream, _, _ in points],
        "real": [real for _, _, real, _ in points],
        "gap": [transfer.summarise_seeds(gaps) for *_, gaps in points],
    }


def measure(subject: Subject) -> dict[str, Any]:
    """Read the results in the folder `lift` of the subject's folder; see `summary`.

    Returns:
        Also `recorded`: the real frames that the world was learned from, if its card says so.
    """
    recorded = subject.card.data.get("frames")
    try:
        return {**summary(subject.folder / NAME), "recorded": recorded}
    except NotMeasuredError as reason:
        command = "dfgym.evaluation.lift --training.world"
        raise NotMeasuredError(transfer.advise(subject, command, NAME)) from reason


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return how much the dream promises too much at the largest budget."""
    gap, real = result["gap"][-1], result["dream"][-1]["mean"]
    share = gap["mean"] / max(abs(real), 1e-9)
    words = (
        f"after {result['budgets'][-1]:,} steps its agents get {gap['mean']:+.2f} more in the "
        f"dream than in the game, of {real:.2f}"
    )
    if gap["interval"] is None or gap["interval"][0] <= 0:
        return [Finding("merit", f"{words}: no more than chance")]
    level: Level = "fault" if share > FAULTY else "flaw" if share > FLAWED else "merit"
    return [Finding(level, words, share)]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return nothing: a card holds the transfer of one budget."""
    return {}


def section(result: dict[str, Any]) -> Section:
    """Report what training buys, budget by budget."""
    budgets = result["budgets"]
    means = {name: [point["mean"] for point in result[name]] for name in ("dream", "real", "gap")}
    rows = [
        [f"{budget:,}", *(_cell(result[name][place]) for name in ("dream", "real", "gap"))]
        for place, budget in enumerate(budgets)
    ]
    recorded = result["recorded"]
    cost = (
        f" The world itself was learned from {recorded:,} real frames."
        if isinstance(recorded, int)
        else ""
    )
    series = {"dream": means["dream"], "real": means["real"]}
    return Section(
        "What training in it buys",
        f"After {budgets[-1]:,} steps the dream's agents get {means['dream'][-1]:.2f} in the real "
        f"game, those of the real game {means['real'][-1]:.2f}; in the dream itself the former get "
        f"{means['gap'][-1]:+.2f} more than in the game.{cost}{_foretell(result['warnings'])}",
        "The same PPO with each budget of steps, in the dream and in the real game; means over "
        "seeds with 95 % intervals of Student's t.",
        plots=[
            line_plot("real return by where it was trained", budgets, series, "steps of training"),
            line_plot(
                "dream minus real return of the dream's agents",
                budgets,
                {"dream": means["gap"], "ideal": [0.0] * len(budgets)},
                "steps of training",
            ),
        ],
        table=Table(["steps", "trained in the dream", "trained in the game", "promised too much"],
                    rows),
        rungs=[
            Rung(
                "players",
                f"What does it promise too much after {budgets[-1]:,} steps? (return)",
                f"{means['gap'][-1]:+.2f}",
                "0.00",
            )
        ],
    )  # fmt: skip


def warning(signals: dict[str, list[float]], gaps: list[float]) -> dict[str, float]:
    """Return how well each signal of a training foretells its exploitation, best first.

    Args:
        signals: by name a value a budget, such as the dream's own return or its uncertainty.
        gaps: dream minus real return at the same budgets.

    Returns:
        The rank correlation of each signal with the gap.

    Raises:
        ConfigError: a signal has another length than the gaps.
    """
    from dfgym.evaluation.ranking import spearman

    for name, values in signals.items():
        if len(values) != len(gaps):
            raise ConfigError(f"`{name}` has {len(values)} values; expected {len(gaps)}, as gaps")
    scores = {name: spearman(np.array(v), np.array(gaps)) for name, v in signals.items()}
    return dict(sorted(scores.items(), key=lambda item: -abs(item[1])))


def _foretell(warnings: dict[str, float]) -> str:
    name, value = next(iter(warnings.items()))
    return f" Of what is known without the game, {name} foretells that best (Spearman {value:.2f})."


def _cell(point: dict[str, Any]) -> str:
    interval = mean_interval(point["per_seed"])
    bounds = "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
    return f"{point['mean']:.2f}{bounds}"


def main() -> int:
    """Run the module as a command; returns the exit code."""
    import tyro

    def command() -> None:
        result = train(tyro.cli(Config, description=__doc__))
        rows = section({**result, "recorded": None}).table
        assert rows is not None
        for row in (rows.header, *rows.rows):
            print("  ".join(row))

    return run_command("dfgym", command, resumes=True)


if __name__ == "__main__":
    sys.exit(main())
