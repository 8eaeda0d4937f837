"""Search: does thinking ahead in the dream play the real game better than its prior (row D15)?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dfgym.agents import ppo
from dfgym.agents import search as agent
from dfgym.statistics import bootstrap_interval, mean_interval
from dfgym.study.figures import lines
from dfgym.study.games import RECIPES
from dfgym.study.runner import StudyRunner
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table

GAMES = ("breakout",)
BUDGETS, TRAININGS, EPISODES, STEPS = (0, 4, 8, 16, 32, 64), 3, 32, 500_000
SAMPLED = (8, 16)
"""The budgets at which chance is sampled, too, to compare."""
LONG_WORLD, LONG = "minatar-breakout-long-v0", (32,)
"""A world that has learned long games, too, and the budgets at which it is planned in as well."""
ALONE, ALONE_EPISODES, ALONE_ROLLOUT = 64, 16, 2
"""Simulations without any agent, whose leaves are valued by so many steps of random play."""
QUICK = ((0, 2), 1, 2, 16)
GAIN, MONOTONE, PUBLISHED = 0.15, 0.8, 4.3
"""The last is a MuZero's return with search on MinAtar's Breakout, trained on a CPU alone."""


def _gains(game: Numbers) -> bool | None:
    last = game["gain"].get("32")
    return None if last is None else bool(last["mean"] >= GAIN and last["interval"][0] > 0)


def _rises(game: Numbers) -> bool | None:
    return None if len(game["returns"]) < 3 else bool(game["spearman"] >= MONOTONE)


def _never_worse(game: Numbers, budget: str) -> bool | None:
    gain = game["gain"].get(budget)
    return None if gain is None else bool(gain["interval"][1] >= 0)


def _exact_is_better(game: Numbers) -> bool | None:
    intervals = [n["interval"] for n in game["exact_over_sampled"].values()]
    if not intervals:
        return None
    return all(high >= 0 for _, high in intervals) and any(low > 0 for low, _ in intervals)


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
    Condition(
        "the mean over all outcomes is nowhere worse than over sampled ones, and better in one "
        "budget",
        _exact_is_better,
    ),
    Condition(
        f"without any agent, {ALONE} simulations return {PUBLISHED} or more",
        lambda game: bool(game["alone"]["mean"] >= PUBLISHED),
    ),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Play the real game with agents from the dream, and with searches that have them as priors."""
    quick = runner.scale.horizon < 100
    budgets, trainings, episodes, steps = QUICK if quick else (BUDGETS, TRAININGS, EPISODES, STEPS)
    alone_budget, alone_episodes = (2, 2) if quick else (ALONE, ALONE_EPISODES)
    numbers: dict[str, Any] = {}
    groups, rows, sentences = {}, [], []
    for game in games:
        priors = [_prior(runner, game, seed, steps) for seed in range(trainings)]
        play = partial(_play, runner, game)
        returns = {b: np.array([play(p, b, episodes) for p in priors]) for b in budgets}
        sampled = {
            b: np.array([play(p, b, episodes, "sampled") for p in priors])
            for b in SAMPLED
            if b in budgets
        }
        long = {
            b: np.array([play(p, b, episodes, world=LONG_WORLD) for p in priors])
            for b in LONG
            if b in budgets
        }
        alone = play(None, alone_budget, alone_episodes)
        numbers[game] = summarize(returns, sampled) | {"alone": _mean(np.array(alone))}
        means = {budget: values.mean(1) for budget, values in returns.items()}
        groups[game] = (
            [float(budget) for budget in budgets],
            {f"prior {i}": [float(m[i]) for m in means.values()] for i in range(trainings)},
        )
        rows += _rows(game, numbers[game], means)
        if long:
            numbers[game]["long"] = summarize({0: returns[0]} | long)
            in_long = {budget: values.mean(1) for budget, values in long.items()}
            rows += _rows(f"{game}, planned in {LONG_WORLD}", numbers[game]["long"], in_long)
        mean, (low, high) = numbers[game]["alone"].values()
        sentences.append(
            f"{game}: {returns[0].mean():.1f} without a search, "
            + ", ".join(f"{returns[b].mean():.1f} with {b}" for b in budgets[1:])
            + f"; {mean:.1f} ({low:.1f} to {high:.1f}) with {alone_budget} and no agent"
        )
    header = (
        *("game", "simulations", "return of each prior", "all", "over the prior", "sampled"),
        "interval over priors",
    )
    return Finding(
        "Search",
        "a world that branches can be searched: tree search in the dream improves an agent.",
        "; ".join(sentences) + " (mean return in the real game).",
        numbers,
        f"{trainings} PPO agents, each {steps:,} steps in the dream, played greedily as they are "
        f"and as priors of a search in the dream that follows the real game, {episodes} episodes "
        "each from the same seeds. Intervals are over episodes, but the last, of Student's t over "
        "the priors' own gains. `sampled`: an action is worth the mean over outcomes that "
        "simulations have drawn, one each, instead of over all by their probabilities. No agent: "
        f"all actions alike, and states valued by {ALONE_ROLLOUT} steps of random play, "
        f"{alone_episodes} episodes.\n\n" + table(header, rows),
        lines(groups, "search", "simulations", "return in the real game"),
    )


def _rows(game: str, numbers: Numbers, means: dict[int, np.ndarray]) -> list[list[str]]:
    rows = []
    for budget, of_priors in means.items():
        name = str(budget)
        low, high = numbers["intervals"][name]
        mean, gain = numbers["means"][name], numbers["gain"].get(name)
        sampled = numbers["sampled"].get(name)
        rows.append(
            [
                *(game, name, ", ".join(f"{m:.1f}" for m in of_priors)),
                f"{mean:.1f} ({low:.1f} to {high:.1f})",
                "-"
                if gain is None
                else f"{gain['mean']:+.0%} "
                f"({gain['interval'][0]:+.0%} to {gain['interval'][1]:+.0%})",
                "-"
                if sampled is None
                else f"{sampled['mean']:.1f} ({sampled['interval'][0]:.1f} to "
                f"{sampled['interval'][1]:.1f})",
                "-"
                if gain is None or (over := gain["by_prior"]["interval"]) is None
                else f"{over[0]:+.0%} to {over[1]:+.0%}",
            ]
        )
    return rows


def summarize(
    returns: dict[int, np.ndarray], sampled: dict[int, np.ndarray] | None = None
) -> dict[str, Any]:
    """Return what is written of returns `(prior, episode)` for each number of simulations.

    Args:
        returns: with exact chance.
        sampled: with sampled chance, of some of them.
    """
    flat = {budget: values.ravel() for budget, values in returns.items()}
    flat_sampled = {budget: values.ravel() for budget, values in (sampled or {}).items()}
    base, none = flat[0], returns[0]
    means = np.array([values.mean() for values in flat.values()])
    ranks = means.argsort().argsort()
    return {
        "returns": {str(budget): values.tolist() for budget, values in returns.items()},
        "means": {str(budget): float(values.mean()) for budget, values in flat.items()},
        "intervals": {str(budget): _mean(values)["interval"] for budget, values in flat.items()},
        "gain": {
            str(b): _compare(values.ravel(), base, _gain) | {"by_prior": _over_priors(values, none)}
            for b, values in returns.items()
            if b
        },
        "sampled": {str(budget): _mean(values) for budget, values in flat_sampled.items()},
        "exact_over_sampled": {
            str(budget): _compare(flat[budget], values, np.subtract)
            for budget, values in flat_sampled.items()
        },
        "spearman": float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]),
    }


def _gain(mean: np.ndarray, base: np.ndarray) -> np.ndarray:
    return np.asarray(mean / np.maximum(base, 1e-9) - 1)


def _over_priors(returns: np.ndarray, none: np.ndarray) -> dict[str, Any]:
    """Compare each prior's mean return, of `(prior, episode)`, with its own without a search."""
    gains = (returns.mean(1) / np.maximum(none.mean(1), 1e-9) - 1).tolist()
    return {"gains": gains, "interval": mean_interval(gains)}


def _mean(values: np.ndarray) -> dict[str, Any]:
    interval = bootstrap_interval(values, lambda s: s.mean(-1))
    return {"mean": float(values.mean()), "interval": interval}


def _compare(
    values: np.ndarray, base: np.ndarray, difference: Callable[..., np.ndarray]
) -> dict[str, Any]:
    """Compare the means of two sets of as many episodes, which are not paired."""
    pairs = np.stack([np.random.default_rng(0).permutation(values), base], 1)
    interval = bootstrap_interval(
        pairs, lambda s: difference(s[..., 0].mean(-1), s[..., 1].mean(-1))
    )
    return {"mean": float(difference(values.mean(), base.mean())), "interval": interval}


def _prior(runner: StudyRunner, game: str, seed: int, steps: int) -> Path:
    """Return an agent from the dream, trained if it is missing."""
    out = runner.folder / game / "agents" / f"ppo-{seed}"
    if not (out / "agent.zip").is_file():
        sizes = {"num_envs": 2, "rollout": 8, "batch": 16} if steps < 1000 else {}
        ppo.train(ppo.Config(f"DFWorld/{RECIPES[game]}", steps, seed=seed, out=out, **sizes))  # type: ignore[arg-type]
    return out / "agent.zip"


def _play(
    runner: StudyRunner,
    game: str,
    prior: Path | None,
    budget: int,
    episodes: int,
    chance: Literal["exact", "sampled"] = "exact",
    world: str = "",
) -> list[float]:
    """Play the real game, once; returns of its episodes."""
    name = f"{prior.parent.name if prior else 'none'}-{budget}"
    name += "-sampled" if chance == "sampled" else ""
    name += "-long" if world else ""
    out = runner.folder / game / "measured" / "search" / f"{name}.json"
    if not out.is_file():
        agent.main(
            agent.Config(
                world or RECIPES[game],
                f"DFReal/{RECIPES[game]}",
                simulations=budget,
                prior=prior,
                episodes=episodes,
                num_envs=episodes,
                chance=chance,
                rollout=ALONE_ROLLOUT,
                out=out,
            )
        )
    return list(json.loads(out.read_text())["returns"])
