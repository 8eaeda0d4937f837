"""Whether the real game can judge dreams of itself: it must forbid none of its own transitions.

    python -m dfgym.evaluation.sources DFSource/MinAtar-Breakout-v0 ALE/Pong-v5 --transitions 10000

plays each game at random, and lets the twin (`dfgym.games.twin`) judge it.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from msgspec import Meta

from dfgym import checks
from dfgym.command import run_command
from dfgym.errors import ConfigError, NotMeasuredError
from dfgym.evaluation.rollout import Episode
from dfgym.files import write_json
from dfgym.games import RandomPolicy
from dfgym.games.source import Opening, Source, open_source
from dfgym.games.twin import follow, open_twin

HOLD = 0.5
"""The player repeats its last action so often, which leads farther."""
AFTER = 60
"""Transitions that are judged from one moment on."""
LATEST = 40
"""The moment lies in the first so many steps of an episode."""
Positive = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class Config:
    """Which games are judged, and for how long."""

    envs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Gymnasium ids."""
    transitions: Positive = 10_000
    """Of each game."""
    minutes: Annotated[float, Meta(gt=0)] = 60.0
    """Of each game at most."""
    size: tuple[int, int] | None = None
    """Height and width of the frames; the game's own if left out."""
    seed: Annotated[int, Meta(ge=0)] = 0
    """Of the games and of the player."""
    out: Path | None = None
    """A JSON file for the counts."""

    def __post_init__(self) -> None:
        """Check the fields."""
        checks.check(self, ConfigError)


def judge_source(
    opening: Opening, transitions: int, seed: int = 0, minutes: float = 60.0
) -> dict[str, Any]:
    """Let a real game judge its own play.

    Args:
        opening: how the game is opened.
        transitions: so many are judged at least.
        seed: of the first episode.
        minutes: no other episode is begun after this time.

    Returns:
        `transitions` (judged), `illegal`, `wrong` (reward or end), `sticky`, `wide` (moments whose
        chance could not be walked through), `plays` and `seconds`.

    Raises:
        ConfigError: the game cannot be opened.
        MissingPackageError: its package is missing.
        NotMeasuredError: it does not come back by its seed and its actions.
    """
    twin, source = open_twin(opening), open_source(opening)
    counts: Counter[str] = Counter()
    begin = time.monotonic()
    while counts["transitions"] < transitions and time.monotonic() - begin < 60 * minutes:
        episode = _play(source, seed + counts["plays"])
        at = min(int(np.random.default_rng(episode.seed).integers(LATEST)), len(episode) - 1)
        after = Episode(
            episode.frames[at:],
            episode.actions[at:],
            episode.rewards[at:],
            episode.terminated[at:],
            0,
            episode.seed,
        )
        life = follow(twin, episode.seed, episode.actions[:at], after)
        counts["transitions"] += life.lawful + (life.end == "illegal")
        counts["illegal"] += life.end == "illegal"
        counts["wide"] += life.end == "wide"
        counts["wrong"] += life.wrong
        counts["sticky"] += life.sticky
        counts["plays"] += 1
        if counts["wide"] == counts["plays"] > 20 and not counts["transitions"]:
            raise NotMeasuredError(f"{opening.env}: chance is too wide to be walked through")
    source.env.close()
    names = ("transitions", "illegal", "wrong", "sticky", "wide", "plays")
    return {**{name: counts[name] for name in names}, "seconds": time.monotonic() - begin}


def _play(source: Source, seed: int) -> Episode:
    """Play an episode at random, or its first steps."""
    policy = RandomPolicy(source.actions, seed, HOLD)
    frames = [source.frame(source.env.reset(seed=seed)[0])]
    actions, rewards, ends = [], [], []
    for _ in range(LATEST + AFTER):
        actions.append(policy(frames[-1]))
        observation, reward, terminated, truncated, _ = source.env.step(source.to_env(actions[-1]))
        frames.append(source.frame(observation))
        rewards.append(float(reward))
        ends.append(bool(terminated))
        if terminated or truncated:
            break
    arrays = (np.stack(frames), np.array(actions), np.array(rewards), np.array(ends))
    return Episode(*arrays, 0, seed)


def main() -> int:
    """Run the module as a command; returns the exit code."""

    def command() -> None:
        config = tyro.cli(Config, description=__doc__)
        results = {}
        for env in config.envs:
            opening = Opening(env, size=config.size)
            try:
                counts = judge_source(opening, config.transitions, config.seed, config.minutes)
            except NotMeasuredError as reason:
                print(f"{env}: not judged: {reason}", flush=True)
                continue
            results[env] = counts
            text = ", ".join(f"{value:,.0f} {name}" for name, value in counts.items())
            print(f"{env}: {text}", flush=True)
        if config.out is not None:
            write_json(config.out, results)

    return run_command("dfgym", command)


if __name__ == "__main__":
    sys.exit(main())
