"""`dfgym make-world`: a whole recipe; every stage leaves its result on disk for the next one."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from dfgym.agents.players import make_factory
from dfgym.checks import convert
from dfgym.data.record import record
from dfgym.device import pick_device
from dfgym.errors import DataError, WorldError
from dfgym.evaluation.run import card_entries, evaluate
from dfgym.files import write_json
from dfgym.games import packages
from dfgym.train.launch import count_processes, launch
from dfgym.train.pack import draft_card, pack
from dfgym.train.recipe import find_recipe, load_recipe
from dfgym.train.survey import survey
from dfgym.world import bundle
from dfgym.world.card import check_name
from dfgym.world.settings import Settings


@dataclass(frozen=True)
class Config:
    """Record, train, pack and evaluate a world; the same command continues what was stopped."""

    name: Annotated[str, tyro.conf.Positional]
    """The new world's name, like minatar-breakout-v0."""
    out: Path = Path("worlds")
    """Folder to put the world's folder into; name it in $DFGYM_WORLDS to have it on the shelf."""
    recipe: Path | None = None
    """A recipe's TOML file; the bundled one of the name if left out."""
    runs: Path = Path("runs")
    """Folder for data, checkpoints and the report."""
    processes: int | None = None
    """Training processes, which must divide the recipe's batch. If left out, the largest number
    that does, with a CPU core or a CUDA device for each."""
    device: str = "auto"
    """Where to train and to evaluate: `auto`, `cpu` or `cuda`."""
    quick: bool = False
    """Evaluate a twentieth of the frames."""
    trust: bool = False
    """Run what the recipe names: modules of games and wrappers, and agents' files (pickles)."""


def make_world(config: Config) -> Path:
    """Follow a recipe from nothing to a world and return the world's folder.

    Raises:
        ConfigError: there is no recipe, it is malformed, or `processes` does not fit it.
        WorldError: the name is malformed, the world exists already, or its presentation does not
            fit the recorded game.
    """
    check_name(config.name)
    world, run = config.out / config.name, config.runs / config.name
    if os.path.lexists(world):
        raise WorldError(f"{world} exists: worlds never change, so make a new version (-vN)")
    device = pick_device(config.device)
    recipe = load_recipe(config.recipe or find_recipe(config.name))
    if config.trust:
        packages.trust(*recipe.record.modules)
    else:
        recipe.record.check_trust(str(config.recipe))
    processes = count_processes(config.processes, recipe.train.batch, device)
    clock = _Clock(run / "times.json")

    with clock("record"):
        stores = [record(recipe.record, run / "data", make_factory)]
    with clock("train"):
        train = dataclasses.replace(
            recipe.train, data=(run / "data",), out=run / "train", device=config.device
        )
        # A wrong card raises an error now and not after hours.
        draft_card(train, survey(stores, train.held_out), stores, presentation=recipe.presentation)
        launch(train, processes)
    draft = run / "world" / config.name
    shutil.rmtree(draft, ignore_errors=True)  # an earlier call may have had another presentation
    pack(run / "train", draft, config.name, recipe.presentation)
    with clock("evaluate"):
        settings = Settings(config.device)
        report = evaluate(draft, run / "evaluation", quick=config.quick, settings=settings)
    measured = {"seconds": clock.seconds, **card_entries(report)}
    return publish(draft, world, measured, {"device": str(device), "processes": processes})


def publish(draft: Path, out: Path, measured: dict[str, Any], training: dict[str, Any]) -> Path:
    """Write a packed world again, with measurements in its card, and return the folder `out`."""
    world = bundle.load(draft)
    card = dataclasses.replace(
        world.card, measured=measured, training={**world.card.training, **training}
    )
    bundle.write(out, card, world.weights, world.starts)
    print(f"wrote {out}")
    return out


class _Clock:
    """Adds up the wall time of each stage, over all calls, in a JSON file.

    Attributes:
        seconds: the wall time of each stage.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = {}
        if path.is_file():
            try:
                self.seconds = convert(dict[str, float], json.loads(path.read_text()), DataError)
            except (ValueError, RecursionError) as reason:
                raise DataError(
                    f"{path} holds no times ({reason}); remove it to count them anew"
                ) from reason

    def __call__(self, stage: str) -> _Clock:
        print(f"== {stage}")
        self.stage = stage
        return self

    def __enter__(self) -> None:
        self.begin = time.monotonic()

    def __exit__(self, *_: object) -> None:
        seconds = self.seconds.get(self.stage, 0.0) + time.monotonic() - self.begin
        self.seconds[self.stage] = round(seconds, 1)
        write_json(self.path, self.seconds)
