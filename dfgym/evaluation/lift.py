"""What training in the dream buys, and what it hides, budget by budget.

    python -m dfgym.evaluation.lift --training.world minatar-breakout-v0 \
        --out evaluation/lift --budgets 50000 100000 200000 500000

trains the same agents as `dfgym.evaluation.transfer` with several budgets of steps, in the dream
and in the real game. *Optimisation lift* is the real return of the dream's agents beside that of
agents which took as many real steps; *exploitation*, how much more the dream's agents get in the
dream than in the real game, and how that grows with the budget. Each budget is a training of its
own, from its own beginning: this is no learning curve of one agent.
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
from dfgym.evaluation.agent_results import read, summarise_seeds
from dfgym.evaluation.correlation import spearman
from dfgym.evaluation.plots import Plot, curves_plot, line_plot
from dfgym.evaluation.report import Rung, Section, Table
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.statistics import mean_interval

NAME = "lift"
POINTS = 4
"""A rank correlation of fewer agents says nothing."""
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
        `summarise_seeds`, with intervals over seeds. `warnings`: how well what can be
        known without the real game foretells each agent's gap (see `warning`): its budget, its
        return in the dream and, if all results have it, its mean uncertainty there; over so many
        `agents`, of all budgets and seeds.

    Raises:
        NotMeasuredError: there are none.
    """
    budgets = sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())
    points: list[tuple[int, dict[str, Any], dict[str, Any], list[float]]] = []
    signals: dict[str, list[float]] = {"the return in the dream": [], "the budget": []}
    uncertainties: list[float | None] = []
    for budget in budgets:
        table = transfer.summary(folder / str(budget))
        if table is not None and "dream" in table and "real" in table:
            dream = table["dream"]
            pairs = zip(dream["in_dream"]["per_seed"], dream["in_real"]["per_seed"], strict=True)
            gaps = [promised - real for promised, real in pairs]
            points.append((budget, dream["in_real"], table["real"]["in_real"], gaps))
            signals["the return in the dream"] += dream["in_dream"]["per_seed"]
            signals["the budget"] += [float(budget)] * len(gaps)
            uncertainties += _uncertainties(folder / str(budget))
    if not points:
        raise NotMeasuredError(f"no agents have been trained into {folder}")
    if present := [value for value in uncertainties if value is not None]:
        if len(present) == len(uncertainties):
            signals["the uncertainty in the dream"] = present
    every = [gap for *_, gaps in points for gap in gaps]
    return {
        "agents": len(every),
        "warnings": warning(signals, every),
        "budgets": [budget for budget, *_ in points],
        "dream": [dream for _, dream, _, _ in points],
        "real": [real for _, _, real, _ in points],
        "gap": [summarise_seeds(gaps) for *_, gaps in points],
    }


def _uncertainties(folder: Path) -> list[float | None]:
    """Return the mean uncertainty of the dream's agents in the dream, in the order of `transfer`.

    None where a result was written before it was kept.
    """
    results = [read(path) for path in sorted(folder.glob("*-*.json"))]
    scores = [result["scores"]["dream"] for result in results if result["side"] == "dream"]
    return [score.get("uncertainty") for score in scores]


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
    if gap["interval"] is None:
        return [Finding("untested", f"{words}, by too few seeds to tell")]
    if gap["interval"][0] <= 0:
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
    recorded = result["recorded"] if isinstance(result["recorded"], int) else None
    used = "unknown" if recorded is None else f"{recorded:,}"
    rows = [
        [
            f"{budget:,}",
            *(_cell(result[name][place]) for name in ("dream", "real", "gap")),
            used,
            f"{budget:,}",
        ]
        for place, budget in enumerate(budgets)
    ]
    cost = (
        ""
        if recorded is None
        else f" The dream was learned from {recorded:,} real frames, and all of its agents need no "
        "more."
    )
    series = {"dream": means["dream"], "real": means["real"]}
    return Section(
        "What training in it buys",
        f"After {budgets[-1]:,} steps the dream's agents get {means['dream'][-1]:.2f} in the real "
        f"game, those of the real game {means['real'][-1]:.2f}; in the dream itself the former get "
        f"{means['gap'][-1]:+.2f} more than in the game.{cost}{_foretell(result)}",
        "The same PPO in the dream and in the real game, a training of its own for each budget of "
        "steps; means over seeds with 95 % intervals of Student's t. Real frames used are those "
        "of the recording that the dream was learned from, or of the training.",
        plots=[
            line_plot("real return by where it was trained", budgets, series, "steps of training"),
            line_plot(
                "dream minus real return of the dream's agents",
                budgets,
                {"dream": means["gap"], "ideal": [0.0] * len(budgets)},
                "steps of training",
            ),
            *([] if recorded is None else [_plot_cost(budgets, means, recorded)]),
        ],
        table=Table(["steps", "trained in the dream", "trained in the game", "promised too much",
                     "real frames used, recording included: dream", "game"], rows),
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
        signals: by name a value an agent, such as its return in the dream or the uncertainty there.
        gaps: dream minus real return of the same agents.

    Returns:
        The rank correlation of each signal with the gap; nothing of fewer than 4 agents.

    Raises:
        ConfigError: a signal has another length than the gaps.
    """
    for name, values in signals.items():
        if len(values) != len(gaps):
            raise ConfigError(f"`{name}` has {len(values)} values; expected {len(gaps)}, as gaps")
    if len(gaps) < POINTS:
        return {}
    scores = {name: spearman(np.array(v), np.array(gaps)) for name, v in signals.items()}
    return dict(sorted(scores.items(), key=lambda item: -abs(item[1])))


def _foretell(result: dict[str, Any]) -> str:
    if not result["warnings"]:
        return ""
    name, value = next(iter(result["warnings"].items()))
    agents = f" over {result['agents']} agents" if "agents" in result else ""
    return (
        f" Of what is known without the game, {name} foretells that best (Spearman {value:.2f}"
        f"{agents})."
    )


def _plot_cost(budgets: list[int], means: dict[str, list[float]], recorded: int) -> Plot:
    """Draw return over real frames: the dream's agents stand at those of its recording."""
    curves = {
        "dream": ([recorded] * len(budgets), means["dream"]),
        "real": (budgets, means["real"]),
    }
    return curves_plot(
        "real return by real frames used, recording included", curves, "real frames used"
    )


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
