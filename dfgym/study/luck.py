"""Luck: do agents whose dream was harsher, or kinder, than the game play it better (row D15)?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.agents import ppo
from dfgym.agents.evaluate import evaluate
from dfgym.files import write_json
from dfgym.statistics import mean_interval, ratio_interval
from dfgym.study.figures import lines
from dfgym.study.games import RECIPES
from dfgym.study.runner import StudyRunner
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table

GAMES = ("breakout",)
LUCKS, SEEDS, STEPS, EPISODES = (-0.5, 0.0), 3, 24_000, 64
QUICK = ((-0.5, 0.0), 2, 16, 2)
LOW, HIGH = 0.95, 1.05


def _helps(game: Numbers) -> bool | None:
    best, none = (game["lucks"][name]["real"]["interval"] for name in (game["best"], "0"))
    return None if best is None or none is None else bool(best[0] > none[1])


CONDITIONS = (
    Condition(
        "agents of some luck other than 0 return more in the real game than those of luck 0, by "
        "intervals that leave a gap",
        _helps,
    ),
    Condition(
        "the agents that return most in the real game return as much in the dream without luck "
        f"(the dream over the real game is {LOW} to {HIGH})",
        lambda game: bool(LOW <= game["lucks"][game["best"]]["ratio"] <= HIGH),
    ),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Train agents in dreams of several lucks; score them in the real game, and without luck."""
    quick = runner.scale.horizon < 100
    lucks, seeds, steps, episodes = QUICK if quick else (LUCKS, SEEDS, STEPS, EPISODES)
    numbers: dict[str, Any] = {}
    groups, rows, sentences = {}, [], []
    for game in games:
        # Seed by seed, so that a study that is stopped has something of each luck.
        scores = {
            (seed, luck): _train(runner, game, luck, seed, steps, episodes)
            for seed in range(seeds)
            for luck in lucks
        }
        of_lucks = {
            f"{luck:g}": summarize([scores[seed, luck] for seed in range(seeds)]) for luck in lucks
        }
        best = max(of_lucks, key=lambda name: of_lucks[name]["real"]["mean"])
        numbers[game] = {"lucks": of_lucks, "best": best}
        groups[game] = (
            lucks,
            {place: [n[place]["mean"] for n in of_lucks.values()] for place in ("dream", "real")},
        )
        for name, of_luck in of_lucks.items():
            cells = [_number(of_luck[place]) for place in ("dream", "real")]
            ratio = f"{of_luck['ratio']:.2f}{_ends(of_luck['ratio_interval'], '.2f')}"
            rows.append([game, name, *cells, ratio])
        sentences.append(
            f"{game}: agents of luck {', '.join(of_lucks)} return "
            + ", ".join(f"{n['real']['mean']:.2f}" for n in of_lucks.values())
            + f" in the real game; the best ({best}) {of_lucks[best]['ratio']:.2f} times as much "
            "in the dream"
        )
    header = ("game", "luck", "return in the dream", "in the real game", "dream over real")
    return Finding(
        "Luck",
        "a dream that is harsher than the game trains agents that hold in it.",
        "; ".join(sentences) + ".",
        numbers,
        f"{seeds} PPO agents for each luck, each {steps:,} steps in the dream, which is "
        "early in what they could learn. What an outcome is "
        "worth is what the agent itself holds its frame for worth as it learns. Then "
        f"{episodes} episodes each in the real game, and in the dream without luck, with sampled "
        "actions. Intervals are over agents (Student's t, and Fieller's of the ratio). The best "
        "luck is the one of most return in these same episodes, and no luck above 0 was "
        "measured.\n\n" + table(header, rows),
        lines(groups, "agents by the luck of their dream", "luck", "return"),
        source="Ours",
    )


def summarize(scores: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return what is written of one luck's agents.

    Args:
        scores: of each agent its mean return in the `dream` and in the `real` game.
    """
    values = {place: [score[place] for score in scores] for place in ("dream", "real")}
    means = {place: float(np.mean(of_place)) for place, of_place in values.items()}
    summary: dict[str, Any] = {
        place: {"agents": v, "mean": means[place], "interval": mean_interval(v)}
        for place, v in values.items()
    }
    summary["ratio"] = means["dream"] / max(means["real"], 1e-9)
    summary["ratio_interval"] = ratio_interval(values["dream"], values["real"], paired=True)
    return summary


def _number(of_place: dict[str, Any]) -> str:
    return f"{of_place['mean']:.2f}{_ends(of_place['interval'], '.2f')}"


def _ends(interval: tuple[float, float] | None, form: str) -> str:
    return "" if interval is None else f" ({interval[0]:{form}} to {interval[1]:{form}})"


def _train(
    runner: StudyRunner, game: str, luck: float, seed: int, steps: int, episodes: int
) -> dict[str, float]:
    """Train and score an agent, once; its mean returns."""
    name = f"luck-{luck:g}-{seed}"
    path = runner.folder / game / "measured" / "luck" / f"{name}.json"
    if path.is_file():
        return dict(json.loads(path.read_text()))
    out, world = runner.folder / game / "agents" / name, RECIPES[game]
    sizes: dict[str, Any] = {"num_envs": 2, "rollout": 8, "batch": 16} if steps < 1000 else {}
    agent = ppo.train(ppo.Config(f"DFWorld/{world}", steps, seed=seed, out=out, luck=luck, **sizes))
    envs = {"dream": f"DFWorld/{world}", "real": f"DFReal/{world}"}
    scores = {place: evaluate(f"sb3:ppo:{agent}", e, episodes).mean for place, e in envs.items()}
    write_json(path, scores)
    return scores
