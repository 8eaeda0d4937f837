"""The test that counts: an agent that was trained in dreams alone plays the real game.

    python -m dfgym.evaluation.transfer --world minatar-breakout-v0 --out runs/evaluation/transfer

trains the same PPO with the same number of steps in the dream and in the real game, once for each
seed, and scores every agent in both. Each agent's result is one JSON file, so the work can be
stopped, continued, and shared between processes (`--sides dream --seeds 1`) or, with `--ray`,
between machines.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from dfgym import checks
from dfgym.command import run_command
from dfgym.data.cluster import Cluster, share_out
from dfgym.env.real import RealEnv, trust_source
from dfgym.errors import ConfigError, NotMeasuredError
from dfgym.evaluation.agent_results import RANDOM, read, summarise_seeds
from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Figure, Rung, Section, Table, percent
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding
from dfgym.files import write_json
from dfgym.statistics import Interval, ratio_interval
from dfgym.world import shelf

NAME = "transfer"
ENOUGH = 0.9
"""Of the real agents' return; an agent that reaches less has not learned the game."""
FEW = 5
"""Agents a side that a verdict needs: trainings differ too much for fewer."""
Side = Literal["dream", "real"]
IDS = {"dream": "DFWorld/{}", "real": "DFReal/{}"}
WORDS = {"dream": "trained in the dream", "real": "trained in the real game"}
Positive = Annotated[int, Meta(ge=1)]
OF_AGENTS = ("frame_stack", "standardize", "normalize_rewards", "gamma", "entropy")


@dataclass(frozen=True)
class Config:
    """Which agents are trained and how they are scored."""

    world: str = shelf.DEFAULT
    """A world on the shelf."""
    out: Path = Path("runs/evaluation/transfer")
    """Folder of the agents and their results."""
    sides: tuple[Side, ...] = ("dream", "real")
    """Where agents are trained."""
    seeds: tuple[Annotated[int, Meta(ge=0)], ...] = (0, 1, 2, 3, 4)
    """One agent each; of fewer than five a ratio says little."""
    steps: Positive = 500_000
    """Environment steps of a training."""
    episodes: Positive = 100
    """Episodes in which an agent is scored, in each game."""
    frame_stack: Positive = 1
    """Frames in one observation; more than 1 where one frame shows no motion."""
    standardize: bool = False
    """See `agents.ppo.Config`, as for the next three."""
    normalize_rewards: bool = False
    gamma: Annotated[float, Meta(ge=0, le=1)] = 0.98
    entropy: Annotated[float, Meta(ge=0)] = 0.01
    trust: bool = False
    """Import the modules that the world's card names to open its real game, which runs them."""
    ray: str = ""
    """Train and score on a Ray cluster, by its address: `auto`, `host:6379`, `ray://host:10001`; or
    `local`, this machine alone. All its machines must see the folder."""
    processes: Positive = 2
    """How many agents are trained at a time where the cluster is `local`."""

    def __post_init__(self) -> None:
        """Check the fields."""
        checks.check(self, ConfigError)


def transfer(config: Config) -> dict[str, Any] | None:
    """Train and score the agents that have no result yet; return the `summary` of all results.

    Raises:
        ConfigError: `out` holds results of other settings, there is no such cluster, or no trust.
        WorldError: the world is not on the shelf.
        MissingPackageError: its real game, or ray, is not installed.
    """
    shelf.card(config.world)
    config = replace(config, out=config.out.resolve())  # which another process finds too
    works: list[Work] = [(config, None, 0)]
    works += [(config, side, seed) for seed in config.seeds for side in config.sides]
    done = {path.stem for path in config.out.glob("*.json")}
    if not done >= {"random", *(f"{side}-{seed}" for _, side, seed in works[1:])}:
        RealEnv(config.world, trust=config.trust).close()  # or says why not before hours of dreams
    list(share_out(_do, works, Cluster(config.ray, config.processes) if config.ray else None))
    return summary(config.out)


def summary(folder: Path) -> dict[str, Any] | None:
    """Summarise the results in a folder.

    Returns:
        None if there are no results yet. Otherwise `steps`, `episodes`, `random` (its scores in
        either game); for `dream` and `real`, where agents were trained there, `seeds` and their
        returns `in_real` and `in_dream` (see `summarise_seeds`); the ratios of `ratios`; and, where
        a return is below 0, `counted_from`, random play's return in each game.

    Raises:
        ConfigError: a result is damaged.
    """
    results = [read(path) for path in sorted(folder.glob("*-*.json"))]
    random = folder / RANDOM
    if not results or not random.is_file():
        return None
    report: dict[str, Any] = {
        "steps": results[0]["steps"],
        "episodes": results[0]["episodes"],
        "random": read(random)["scores"],
    }
    for side in IDS:
        trained = [result for result in results if result["side"] == side]
        if trained:
            report[side] = {"seeds": [result["seed"] for result in trained]}
            for game in IDS:
                means = [result["scores"][game]["mean"] for result in trained]
                report[side][f"in_{game}"] = summarise_seeds(means)
    returns = {
        (side, game): report[side][f"in_{game}"]["per_seed"]
        for side in IDS
        if side in report
        for game in IDS
    }
    scores = [mean for means in returns.values() for mean in means]
    if min(scores) < 0:
        report["counted_from"] = {game: report["random"][game]["mean"] for game in IDS}
    return report | ratios(returns, report.get("counted_from"))


def ratios(
    returns: dict[tuple[str, str], list[float]], zero: dict[str, float] | None = None
) -> dict[str, Any]:
    """Return the ratios of mean returns, each with its 95 % interval over seeds.

    Args:
        returns: the mean returns per seed, by where the agents were trained and where they were
            scored: `returns["dream", "real"]` of the dream's agents in the real game.
        zero: the return in each game from which others count; None: 0. A ratio says something only
            of returns above it.

    Returns:
        `dream_over_real_return` and its `..._interval`: the return of the dream's agents in the
        dream over their return in the real game, so what a dream promises too much. `ratio` and
        `ratio_interval`: the real return of the dream's agents over that of the real game's agents.
        Intervals are Fieller's, of the same agents in the first (paired), of independent trainings
        in the second; None if there are too few seeds, or the ratio is unbounded.
    """
    result: dict[str, Any] = {}
    for name, above, below, paired in (
        ("dream_over_real_return", ("dream", "dream"), ("dream", "real"), True),
        ("ratio", ("dream", "real"), ("real", "real"), False),
    ):
        if above in returns and below in returns:
            numerators, denominators = (
                [mean - (zero[game] if zero else 0.0) for mean in returns[side, game]]
                for side, game in (above, below)
            )
            mean = float(np.mean(denominators))
            result[name] = float(np.mean(numerators)) / mean if mean else None
            interval = ratio_interval(numerators, denominators, paired)
            result[f"{name}_interval"] = None if interval is None else list(interval)
    return result


def measure(subject: Subject) -> dict[str, Any]:
    """Read the results in the folder `transfer` of the subject's folder; see `summary`.

    Raises:
        NotMeasuredError: there are none.
    """
    result = summary(subject.folder / NAME)
    if result is None:
        raise NotMeasuredError(advise(subject, "dfgym.evaluation.transfer --world", NAME))
    return result


def advise(subject: Subject, command: str, name: str) -> str:
    """Say how a world's agents are trained: by a module's command, which ends before the world."""
    world, shelved = subject.card.name, subject.card.name in shelf.names()
    place = "" if shelved else f"{shelf.VARIABLE}={subject.world.path.resolve().parent} "
    return (
        f"agents are not trained here, since that takes hours; run {place}python -m {command} "
        f"{world} --out {subject.folder / name}, then evaluate again"
    )


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return what an agent that learned in the dream is worth in the real game."""
    ratio, interval = result.get("ratio"), result.get("ratio_interval")
    if ratio is None:
        return [Finding("untested", "transfer was not tested: no agents of both games to compare")]
    share = f"{percent(ratio)} ({_percents(interval)})"
    words = f"an agent that learned in the dream reaches {share} of the real game's agents"
    if (least := min(len(result[side]["seeds"]) for side in IDS)) < FEW:
        return [
            Finding("untested", f"{words}, by {least} of the {FEW} seeds that it takes to tell")
        ]
    if ratio >= ENOUGH:
        return [Finding("merit", words)]
    certain = interval is not None and interval[1] < ENOUGH
    if not certain:
        return [Finding("untested", f"{words}, by too few seeds to tell")]
    return [Finding("fault" if ratio < ENOUGH / 2 else "flaw", words, 1 / max(ratio, 0.1))]


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of transfer; nothing before both sides are there."""
    if "ratio" not in result:
        return {}
    entries: dict[str, Any] = {"steps": result["steps"], "episodes": result["episodes"]}
    entries |= {name: result[name] for name in ("counted_from",) if name in result}
    for name in ("ratio", "dream_over_real_return"):
        entries |= {name: result[name], f"{name}_interval": result[f"{name}_interval"]}
    for side in IDS:
        for game in ("real", "dream"):
            entries[f"{side}_trained_in_{game}"] = _without_none(result[side][f"in_{game}"])
    entries["random_in_real"] = result["random"]["real"]["mean"]
    return {NAME: _without_none(entries)}


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    """Leave out what there is none of, as TOML has no word for it."""
    return {key: value for key, value in table.items() if value is not None}


def section(result: dict[str, Any]) -> Section:
    """Report how agents of the dream do beside agents of the real game."""
    trained = [side for side in IDS if side in result]
    random = {game: result["random"][game]["mean"] for game in IDS}
    plots = [
        bar_plot(
            f"mean return in the {name}, its 95 % interval, and a dot for each agent",
            [
                Bar("random player", random[game], f"{random[game]:.2f}", "copy"),
                *(
                    Bar(
                        WORDS[side],
                        scores["mean"],
                        f"{scores['mean']:.2f}",
                        side,
                        tuple(scores["per_seed"]),
                        scores["interval"],
                    )
                    for side in trained
                    for scores in [result[side][f"in_{game}"]]
                ),
            ],
        )
        for game, name in (("real", "real game"), ("dream", "dream"))
    ]
    rows = [["random", f"{random['real']:.2f}", "", "", f"{random['dream']:.2f}", ""]]
    for side in trained:
        real, dream = result[side]["in_real"], result[side]["in_dream"]
        rows.append(
            [
                f"PPO {WORDS[side]}",
                *_mean_cells(real),
                ", ".join(f"{value:.2f}" for value in real["per_seed"]),
                *_mean_cells(dream),
            ]
        )
    header = ["mean return", "in the real game", "95 % interval", "each seed", "in the dream"]
    header.append("95 % interval")
    ratio = result.get("ratio")
    return Section(
        "Transfer",
        _verdict(result),
        f"The same PPO, {result['steps']:,} steps in either game, scored over "
        f"{result['episodes']} episodes a seed. Intervals hold 95 % over trainings with other "
        "seeds (Student's t; Fieller's for ratios) and assume that the seeds' means are normal.",
        []
        if ratio is None
        else [
            Figure(
                percent(ratio),
                "of the real training's real return, after dreams only; "
                + _percents(result["ratio_interval"]),
            )
        ],
        plots,
        Table(header, rows),
        _rungs(result),
    )


def _rungs(result: dict[str, Any]) -> list[Rung]:
    """Return the ladder's lines; none before both sides are there. The floor is random play's."""
    if result.get("ratio") is None:
        return []
    zero = result.get("counted_from", {}).get("real", 0.0)
    floor = (result["random"]["real"]["mean"] - zero) / (result["real"]["in_real"]["mean"] - zero)
    words = "Does what it teaches help in the game? (of the real agents' return)"
    share = f"{percent(result['ratio'])} ({_percents(result['ratio_interval'])})"
    rungs = [Rung("players", words, share, "100 %", percent(floor))]
    if (promise := result.get("dream_over_real_return")) is not None:
        words = "Does it promise its agents too much? (dream over real return)"
        figure = f"{promise:.2f} ({_times(result['dream_over_real_return_interval'])})"
        rungs.append(Rung("players", words, figure, "1.00"))
    return rungs


def _verdict(result: dict[str, Any]) -> str:
    if "dream" not in result:
        return "No agent was trained in the dream: not tested."
    count = len(result["dream"]["seeds"])
    words = [
        f"{count} agent{'s' * (count != 1)} trained in the dream alone reach"
        f"{'es' * (count == 1)} a mean return of {result['dream']['in_real']['mean']:.2f} in the "
        f"real game (random play: {result['random']['real']['mean']:.2f})"
    ]
    if (ratio := result.get("ratio")) is not None:
        interval = result["ratio_interval"]
        words[0] += (
            f", {percent(ratio)} of what the real game's agents reach ({_percents(interval)})"
        )
        if interval is not None and interval[0] <= 1 <= interval[1]:
            words.append("The difference is not significant at this number of seeds")
    if (ratio := result.get("dream_over_real_return")) is not None:
        words.append(
            f"Their return in the dream is {ratio:.2f} times that "
            f"({_times(result['dream_over_real_return_interval'])})"
        )
    if "counted_from" in result:
        words.append("As returns are below 0, these shares are of what is gained over random play")
    return ". ".join(words) + "."


def _percents(interval: Sequence[float] | None) -> str:
    if interval is None:
        return "no bounded interval"
    return f"95 % interval over seeds {percent(interval[0])} to {percent(interval[1])}"


def _times(interval: Sequence[float] | None) -> str:
    if interval is None:
        return "no bounded interval"
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def _mean_cells(scores: dict[str, Any]) -> Iterable[str]:
    interval: Interval | None = scores["interval"]
    bounds = "one seed: none" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
    return f"{scores['mean']:.2f}", bounds


Work = tuple[Config, Side | None, int]
"""An agent to train and to score, by its side and its seed; None: the random player."""


def _do(work: Work) -> None:
    config, side, seed = work
    if config.trust:
        trust_source(config.world)
    if side is None:
        _score_random(config)
    else:
        _train_agent(config, side, seed)


def _train_agent(config: Config, side: Side, seed: int) -> None:
    settings = {"side": side, "seed": seed, **_settings(config)}
    path = config.out / f"{side}-{seed}.json"
    if _is_done(path, settings):
        return
    from dfgym.agents import ppo

    env = IDS[side].format(config.world)
    agent = ppo.train(
        ppo.Config(
            env=env,
            steps=config.steps,
            seed=seed,
            out=config.out / f"{side}-{seed}",
            **{name: getattr(config, name) for name in OF_AGENTS},
        )
    )
    write_json(path, {**settings, "scores": _score(f"sb3:ppo:{agent}", config, seed)})


def _score_random(config: Config) -> None:
    settings = _settings(config)
    path = config.out / RANDOM
    if not _is_done(path, settings):
        write_json(path, {**settings, "scores": _score("random", config, 0)})


def _score(agent: str, config: Config, seed: int) -> dict[str, Any]:
    """Score in both games, with seeds that training has not used."""
    from dfgym.agents import evaluate

    scores = {}
    for game, form in IDS.items():
        env = form.format(config.world)
        score = evaluate.evaluate(agent, env, config.episodes, seed=10_000 + 1000 * seed)
        scores[game] = score.to_dict()
    return scores


def _settings(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("world", "steps", "episodes", *OF_AGENTS)}


def _is_done(path: Path, settings: dict[str, Any]) -> bool:
    if not path.is_file():
        return False
    result = read(path)
    for key, value in settings.items():
        before = result.get(key, getattr(Config, key, None))  # an older result names fewer
        if before != value:
            raise ConfigError(
                f"`{key}` is {value!r}; expected {before!r}, as in {path}; give another `out`"
            )
    return True


def main() -> int:
    """Run the module as a command; returns the exit code."""
    import tyro

    def command() -> None:
        print(json.dumps(transfer(tyro.cli(Config, description=__doc__)), indent=2))

    return run_command("dfgym", command, resumes=True)


if __name__ == "__main__":
    from dfgym.evaluation import transfer as itself  # by the name that other processes import

    sys.exit(itself.main())
