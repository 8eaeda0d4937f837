"""Search: does thinking ahead in the dream play the real game better than its prior (row D15)?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dfgym.agents import ppo
from dfgym.agents import search as agent
from dfgym.statistics import bootstrap_interval
from dfgym.study.figures import lines
from dfgym.study.games import RECIPES
from dfgym.study.runner import StudyRunner
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table

GAMES = ("breakout",)
BUDGETS, TRAININGS, EPISODES, STEPS = (0, 4, 8, 16, 32), 2, 16, 500_000
QUICK = ((0, 2), 1, 2, 64)
GAIN, MONOTONE = 0.15, 0.8


def _gains(game: Numbers) -> bool | None:
    last = game["gain"].get("32")
    return None if last is None else bool(last["mean"] >= GAIN and last["interval"][0] > 0)


def _rises(game: Numbers) -> bool | None:
    return None if len(game["returns"]) < 3 else bool(game["spearman"] >= MONOTONE)


def _never_worse(game: Numbers, budget: str) -> bool | None:
    gain = game["gain"].get(budget)
    return None if gain is None else bool(gain["interval"][1] >= 0)


CONDITIONS = (
    Condition(
        f"a search of 32 simulations returns {GAIN:.0%} more than its prior, whose interval is "
        "above 0",
        _gains,
    ),
    Condition(f"the return rises with simulations (Spearman's {MONOTONE} or more)", _rises),
    *(
        Condition(
            f"with {budget} simulations it is not worse than its prior",
            partial(_never_worse, budget=str(budget)),
        )
        for budget in BUDGETS[1:]
    ),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Play the real game with agents from the dream, and with searches that have them as priors."""
    quick = runner.scale.horizon < 100
    budgets, trainings, episodes, steps = QUICK if quick else (BUDGETS, TRAININGS, EPISODES, STEPS)
    numbers: dict[str, Any] = {}
    groups, rows, sentences = {}, [], []
    for game in games:
        priors = [_prior(runner, game, seed, steps) for seed in range(trainings)]
        returns = {
            budget: np.array([_play(runner, game, prior, budget, episodes) for prior in priors])
            for budget in budgets
        }
        numbers[game] = summarize(returns)
        gains, intervals = numbers[game]["gain"], numbers[game]["intervals"]
        means = {budget: values.mean(1) for budget, values in returns.items()}
        groups[game] = (
            [float(budget) for budget in budgets],
            {f"prior {i}": [float(m[i]) for m in means.values()] for i in range(trainings)},
        )
        for budget in budgets:
            low, high = intervals[str(budget)]
            gain = gains.get(str(budget))
            rows.append(
                [
                    *(game, str(budget), ", ".join(f"{m:.1f}" for m in means[budget])),
                    f"{returns[budget].mean():.1f} ({low:.1f} to {high:.1f})",
                    "-"
                    if gain is None
                    else f"{gain['mean']:+.0%} "
                    f"({gain['interval'][0]:+.0%} to {gain['interval'][1]:+.0%})",
                ]
            )
        sentences.append(
            f"{game}: {returns[0].mean():.1f} without a search, "
            + ", ".join(f"{returns[b].mean():.1f} with {b}" for b in budgets[1:])
        )
    header = ("game", "simulations", "return of each prior", "all", "over the prior alone")
    return Finding(
        "Search",
        "a world that branches can be searched: tree search in the dream improves an agent.",
        "; ".join(sentences) + " (mean return in the real game).",
        numbers,
        f"{trainings} PPO agents, each {steps:,} steps in the dream, played greedily as they are "
        f"and as priors of a search in the dream that follows the real game, {episodes} episodes "
        "each from the same seeds. Intervals are over episodes of both, which two trainings are "
        "too few to say more than.\n\n" + table(header, rows),
        lines(groups, "search", "simulations", "return in the real game"),
    )


def summarize(returns: dict[int, np.ndarray]) -> dict[str, Any]:
    """Return what is written of returns `(prior, episode)` for each number of simulations."""
    flat = {budget: values.ravel() for budget, values in returns.items()}
    base, gains = flat[0], {}
    for budget, values in flat.items():
        if budget:
            pairs = np.stack([np.random.default_rng(0).permutation(values), base], 1)
            gains[str(budget)] = {
                "mean": float(values.mean() / max(base.mean(), 1e-9) - 1),
                "interval": bootstrap_interval(
                    pairs, lambda s: s[..., 0].mean(-1) / np.maximum(s[..., 1].mean(-1), 1e-9) - 1
                ),
            }
    means = np.array([values.mean() for values in flat.values()])
    ranks = means.argsort().argsort()
    return {
        "returns": {str(budget): values.tolist() for budget, values in returns.items()},
        "intervals": {
            str(budget): bootstrap_interval(values, lambda s: s.mean(-1))
            for budget, values in flat.items()
        },
        "gain": gains,
        "spearman": float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]),
    }


def _prior(runner: StudyRunner, game: str, seed: int, steps: int) -> Path:
    """Return an agent from the dream, trained if it is missing."""
    out = runner.folder / game / "agents" / f"ppo-{seed}"
    if not (out / "agent.zip").is_file():
        sizes = {"num_envs": 2, "rollout": 8, "batch": 16} if steps < 1000 else {}
        ppo.train(ppo.Config(f"DFWorld/{RECIPES[game]}", steps, seed=seed, out=out, **sizes))  # type: ignore[arg-type]
    return out / "agent.zip"


def _play(runner: StudyRunner, game: str, prior: Path, budget: int, episodes: int) -> list[float]:
    """Play the real game, once; returns of its episodes."""
    out = runner.folder / game / "measured" / "search" / f"{prior.parent.name}-{budget}.json"
    if not out.is_file():
        agent.main(
            agent.Config(
                RECIPES[game],
                simulations=budget,
                prior=prior,
                episodes=episodes,
                num_envs=episodes,
                out=out,
            )
        )
    return list(json.loads(out.read_text())["returns"])
