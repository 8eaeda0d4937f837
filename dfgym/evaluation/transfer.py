"""The test that counts: an agent that has only ever dreamt plays the real game.

    python -m dfgym.evaluation.transfer --world minatar-breakout-v0 --out runs/evaluation/transfer

trains the same PPO with the same number of steps in the dream and in the real game, once a seed,
and scores every agent in both. Each agent's result is one JSON file, so the work can be cut off,
continued, and shared between processes (`--sides dream --seeds 1`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dfgym.errors import ConfigError
from dfgym.files import write_json
from dfgym.world import shelf

Side = Literal["dream", "real"]
IDS = {"dream": "DFWorld/{}", "real": "DFReal/{}"}
# Of result files from before they could be chosen.
_UNSAID = {"frame_stack": 1, "standardize": False, "normalize_rewards": False}


@dataclass(frozen=True)
class Config:
    """Which agents are trained and how they are scored."""

    world: str = shelf.DEFAULT
    """A world on the shelf."""
    out: Path = Path("runs/evaluation/transfer")
    """Folder of the agents and their results."""
    sides: tuple[Side, ...] = ("dream", "real")
    """Where agents are trained."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One agent each."""
    steps: int = 500_000
    """Environment steps of a training."""
    episodes: int = 100
    """Scored in each game."""
    frame_stack: int = 1
    """Frames that an agent sees at once; more than 1 where one frame shows no motion."""
    standardize: bool = False
    """See `agents.ppo.Config`."""
    normalize_rewards: bool = False
    """See `agents.ppo.Config`."""


def transfer(config: Config) -> dict[str, Any] | None:
    """Train and score what is missing; returns `summary` of all that is there.

    Raises:
        ConfigError: a number is out of range, or `out` holds results of other settings.
        WorldError: the world is not on the shelf.
        MissingPackageError: its real game is not installed.
    """
    if min(config.steps, config.episodes, config.frame_stack) < 1:
        raise ConfigError(
            f"steps {config.steps}, episodes {config.episodes} and frame_stack "
            f"{config.frame_stack} must each be at least 1"
        )
    shelf.card(config.world)
    _random(config)
    for seed in config.seeds:
        for side in config.sides:
            _agent(config, side, seed)
    return summary(config.out)


def summary(folder: Path) -> dict[str, Any] | None:
    """Read the results in a folder; None if there are none yet.

    Returns:
        `steps`, `episodes`, `random` (its return in either game); for `dream` and `real`, where
        agents were trained there: `seeds` and the mean returns `in_real` and `in_dream`, over all
        seeds (`mean`) and for each (`each`); and, once both sides are there, `transfer` (real
        return of the dream's agents over that of the real game's) and `honesty` (dream return over
        real return of the dream's agents).
    """
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*-*.json"))]
    chance = folder / "random.json"
    if not results or not chance.is_file():
        return None
    found: dict[str, Any] = {
        "steps": results[0]["steps"],
        "episodes": results[0]["episodes"],
        "random": json.loads(chance.read_text())["scores"],
    }
    for side in IDS:
        trained = [result for result in results if result["side"] == side]
        if trained:
            found[side] = {"seeds": [result["seed"] for result in trained]}
            for game in IDS:
                each = [result["scores"][game]["mean"] for result in trained]
                found[side][f"in_{game}"] = {"mean": float(np.mean(each)), "each": each}
    if "dream" in found:
        dreamt, real = (found["dream"][f"in_{game}"]["mean"] for game in IDS)
        found["honesty"] = dreamt / real if real else None
        if "real" in found:
            taught = found["real"]["in_real"]["mean"]
            found["transfer"] = real / taught if taught else None
    return found


def _agent(config: Config, side: Side, seed: int) -> None:
    wanted = {"side": side, "seed": seed, **_settings(config)}
    path = config.out / f"{side}-{seed}.json"
    if _is_done(path, wanted):
        return
    from dfgym.agents import ppo

    env = IDS[side].format(config.world)
    agent = ppo.train(
        ppo.Config(
            env=env,
            steps=config.steps,
            seed=seed,
            out=config.out / f"{side}-{seed}",
            frame_stack=config.frame_stack,
            standardize=config.standardize,
            normalize_rewards=config.normalize_rewards,
        )
    )
    write_json(path, {**wanted, "scores": _score(f"sb3:ppo:{agent}", config, seed)})


def _random(config: Config) -> None:
    wanted = _settings(config)
    path = config.out / "random.json"
    if not _is_done(path, wanted):
        write_json(path, {**wanted, "scores": _score("random", config, 0)})


def _score(agent: str, config: Config, seed: int) -> dict[str, Any]:
    """Score in both games, with seeds that training has not used."""
    from dfgym.agents import evaluate

    games = {}
    for game, form in IDS.items():
        env = form.format(config.world)
        score = evaluate.evaluate(agent, env, config.episodes, seed=10_000 + 1000 * seed)
        games[game] = score.to_dict()
    return games


def _settings(config: Config) -> dict[str, Any]:
    return {
        "world": config.world,
        "steps": config.steps,
        "episodes": config.episodes,
        "frame_stack": config.frame_stack,
        "standardize": config.standardize,
        "normalize_rewards": config.normalize_rewards,
    }


def _is_done(path: Path, wanted: dict[str, Any]) -> bool:
    if not path.is_file():
        return False
    found = json.loads(path.read_text())
    for key, value in wanted.items():
        there = found.get(key, _UNSAID.get(key))
        if there != value:
            raise ConfigError(f"{path} has {key} {there!r}, asked is {value!r}; choose another out")
    return True


if __name__ == "__main__":
    import tyro

    print(json.dumps(transfer(tyro.cli(Config, description=__doc__)), indent=2))
