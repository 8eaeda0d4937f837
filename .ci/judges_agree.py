"""How often two judges agree about the same dreams: the real game itself, and its rule book.

    python .ci/judges_agree.py --world minatar-breakout-v0 --transitions 20000

Dreams go on from moments of real games. The twin (`dfgym.games.twin`) judges each up to its first
illegal transition, and the rule book's verdict is compared on every one of these transitions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial

import numpy as np
import tyro

from dfgym.env.real import opening
from dfgym.evaluation import lifetime, moments
from dfgym.evaluation.rollout import find_game
from dfgym.games.twin import follow, open_twin
from dfgym.world import shelf
from dfgym.world.dynamics import Dynamics


@dataclass(frozen=True)
class Config:
    """Which dreams are judged."""

    world: str = "minatar-breakout-v0"
    transitions: int = 20_000
    steps: int = 300
    seed: int = 21
    """Of the first 64 dreams; the next have the next."""


def main() -> None:
    """Judge, and print the counts."""
    config = tyro.cli(Config, description=__doc__)
    world = shelf.load(config.world)
    game = find_game(world.card)
    assert game is not None and game.judge is not None
    twin, counts, seed = open_twin(opening(world.card)), Counter[str](), config.seed
    while counts["transitions"] < config.transitions:
        pasts = moments.draw(world.card, 64, 0.2, seed)
        make = partial(Dynamics, world)
        for past, dream in zip(
            pasts, lifetime.dream_on(make, world.card, pasts, config.steps, seed), strict=True
        ):
            before = past.episode
            life = follow(twin, before.seed, before.actions[: past.at], dream)
            verdicts = game.judge(
                np.concatenate([before.frames[: past.at], dream.frames]),
                np.concatenate([before.actions[: past.at], dream.actions]),
                np.concatenate([before.rewards[: past.at], dream.rewards]),
                np.concatenate([before.terminated[: past.at], dream.terminated]),
            )
            illegal = life.end == "illegal"
            legal = verdicts.legal[past.at :][: life.lawful + illegal]
            expected = np.arange(len(legal)) < life.lawful
            counts["transitions"] += len(legal)
            counts["the same verdict"] += int((legal == expected).sum())
            counts["illegal by the game itself"] += illegal
            counts["illegal by the rule book"] += int((~legal).sum())
            counts["dreams"] += 1
            counts["not followed to the end"] += life.end == "wide"
        seed += 1
    print(", ".join(f"{value:,} {name}" for name, value in counts.items()))


if __name__ == "__main__":
    main()
