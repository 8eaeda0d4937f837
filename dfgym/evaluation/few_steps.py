"""`dfgym evaluate --denoising-steps-sweep`: how lawful the dream is at each number of steps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dfgym.bench.command import print_columns, sweep
from dfgym.errors import ConfigError
from dfgym.evaluation import legality
from dfgym.evaluation.rollout import Dream, open_real
from dfgym.evaluation.run import make_folder
from dfgym.files import write_json
from dfgym.world import shelf
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

ROWS = 16
"""Games that are judged at a time."""


def few_steps(
    world: str | os.PathLike[str],
    out: str | os.PathLike[str],
    steps: Sequence[int],
    quick: bool = False,
    settings: Settings = Settings(),
) -> list[dict[str, float]]:
    """Judge a dream, and time it, at several numbers of denoising steps; writes `few_steps.json`.

    Args:
        world: a name on the shelf, or the path of a folder.
        out: the folder to write to.
        steps: the numbers of denoising steps; those that the context mode refuses are left out.
        quick: whether to judge 100 transitions at each instead of 2,000.
        settings: how the world is run, but for the number of denoising steps.

    Returns:
        For each number the results of `dfgym.bench.command.sweep`, `illegal_per_1000` and
        `wrong_per_1000` transitions.

    Raises:
        WorldError: there is no such world, or it is damaged.
        ConfigError: no judge knows the rules of its game, or a number of steps is not allowed.
        MissingPackageError: the real game is not installed.
    """
    loaded = shelf.load(world)
    card = loaded.card
    if not legality.has_rules(card):
        raise ConfigError(
            f"world is {card.name!r}, and no judge knows the rules of {card.source.env}; "
            f"use {shelf.DEFAULT}"
        )
    open_real(card).env.close()  # first of all, before anything takes time
    make_folder(out)
    result = sweep(loaded, ROWS, 0.5 if quick else 2.0, steps, settings)
    for entry in result:
        run = replace(settings, denoising_steps=int(entry["denoising_steps"]))
        game = Dream(Dynamics(loaded, ROWS, run))
        counts = legality.play_and_judge(game, card, 100 if quick else 2000)
        entry["illegal_per_1000"] = counts.illegal_per_1000
        entry["wrong_per_1000"] = counts.wrong_per_1000
    if not result:
        raise ConfigError(f"denoising_steps is {list(steps)}; the context mode allows none of them")
    write_json(Path(out) / "few_steps.json", result)
    print_columns(f"Denoising steps, {ROWS} rows", result)
    return result
