"""`dfgym make-world`: a whole recipe; every stage leaves its result on disk for the next one."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from msgspec import Meta

from dfgym.agents.players import make_factory
from dfgym.checks import check, convert
from dfgym.data.record import MIN_EPISODES, record
from dfgym.device import pick_device
from dfgym.errors import ConfigError, DataError, DfgymError, WorldError
from dfgym.evaluation.run import RESULTS, card_entries
from dfgym.files import write_json
from dfgym.games import packages
from dfgym.plan_world import DEFAULT_MINUTES, Budget, Game, plan, train_seconds
from dfgym.rounds import check_rounds, train_rounds
from dfgym.train.beginning import check_dials, check_new, check_sequence
from dfgym.train.command import RECIPE_FILE
from dfgym.train.finetune import survey_run
from dfgym.train.launch import count_processes, run_together
from dfgym.train.pack import draft_card
from dfgym.train.recipe import Recipe, find_recipe, load_recipe, write_recipe
from dfgym.world import bundle
from dfgym.world.card import check_name

QUICK_SECONDS, FULL_SECONDS = 45.0, 180.0
"""A quick evaluation and a full one take about so long, as far as is known beforehand."""
PATIENCE = 3
"""Where the time is given, an evaluation may take so many times as long, or what is left of it."""


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
    game: Annotated[Game, tyro.conf.arg(name="")] = field(default_factory=Game)
    """The game of a world that is planned by itself."""
    rounds: Annotated[int, Meta(ge=1)] = 1
    """With 2 or more, an agent learns in the dream after each round and records the real game, and
    the next round goes on with its recording too."""
    trust: bool = False
    """Run what the recipe names: modules of games and wrappers, and agents' files (pickles)."""

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        check(self, ConfigError)


def make_world(config: Config) -> Path:
    """Follow a recipe from nothing to a world and return the world's folder.

    Raises:
        ConfigError: there is no recipe, it is malformed, its training does not fit the game or
            the memory, or `processes` or `rounds` do not fit it.
        WorldError: the name is malformed, the world exists already, or its presentation does not
            fit the recorded game.
    """
    check_name(config.name)
    world, run = config.out / config.name, config.runs / config.name
    if os.path.lexists(world):
        raise WorldError(f"{world} exists: worlds never change, so make a new version (-vN)")
    device = pick_device(config.device)
    clock = _Clock(run / "times.json")
    budget = Budget(60 * config.game.minutes, time.monotonic(), sum(clock.seconds.values()))
    recipe = _find_recipe(config, run)
    is_new_plan = recipe is None
    if recipe is None:
        budget.seconds = budget.seconds or 60 * DEFAULT_MINUTES
        packages.trust(*config.game.recording().modules)
        with clock("record"):
            recipe, reasons = plan(config.game, budget, run, device, config.processes)
        file = run / RECIPE_FILE
        write_recipe(file, recipe.train, recipe.record, recipe.presentation, reasons)
        print(f"the plan is in {file}; edit it and give it back with --recipe")
    processes = count_processes(config.processes, recipe.train.batch, device)
    check_sequence(recipe.train)
    check_rounds(config.rounds, bool(recipe.train.seconds or config.game.minutes))
    train = dataclasses.replace(
        recipe.train, data=(run / "data",), out=run / "train", device=config.device
    )
    with clock("record"):
        # The first episodes tell what the whole recording would be refused for.
        first = dataclasses.replace(recipe.record, frames=MIN_EPISODES)
        stores = [record(first, run / "data", make_factory, progress=False)]
        check_dials(train, survey_run(train, stores), device, processes)
        stores = [record(recipe.record, run / "data", make_factory)]
    quick = config.quick or bool(config.game.env)
    evaluation = QUICK_SECONDS if quick else FULL_SECONDS
    if config.game.minutes and not is_new_plan:
        minutes = train_seconds(budget, evaluation, clock.seconds.get("train", 0)) / 60
        train = dataclasses.replace(train, steps=0, minutes=minutes)
    with clock("train"):
        # A wrong card raises an error now and not after hours.
        game = survey_run(train, stores)
        check_new(train, game, stores, device, processes)
        draft_card(train, game, stores, presentation=recipe.presentation)
        draft = train_rounds(train, config.name, recipe.presentation, config.rounds, processes)
    with clock("evaluate"):
        limit = max(budget.rest, PATIENCE * evaluation) if budget.seconds else None
        measured = evaluate(draft, run / "evaluation", config.device, quick=quick, limit=limit)
    measured = {"seconds": clock.seconds, **measured}
    return publish(draft, world, measured, {"device": str(device), "processes": processes})


def evaluate(
    world: Path, out: Path, device: str, *, quick: bool, limit: float | None
) -> dict[str, Any]:
    """Evaluate a world in a process of its own, so that it is published whatever comes of that.

    Args:
        world: its folder.
        out: the folder of the report.
        device: where to run it.
        quick: whether to take a twentieth of the frames.
        limit: seconds after which what has not been measured is left out; None: take any time.

    Returns:
        What belongs on the card; under `evaluation` what went wrong, if something did.
    """
    results = out / RESULTS
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "dfgym.cli", "evaluate", str(world), "--out", str(out)]
    command += ["--device", device, *(["--quick"] if quick else [])]
    trouble = ""
    try:
        # A random.py of the user's here is not Python's; their game is imported all the same.
        if not run_together(command, [{**os.environ, "PYTHONSAFEPATH": "1"}], "evaluation", limit):
            trouble = f"stopped after {limit:.0f} s"
    except DfgymError:
        trouble = "failed"
    entries: dict[str, Any] = {"verdict": "not evaluated"}
    if results.is_file():
        report = json.loads(results.read_text())
        entries = card_entries(report)
        trouble = trouble and f"{trouble}; not measured: {', '.join(report['absent'])}"
    if trouble:
        print(f"the evaluation {trouble}")
        entries["evaluation"] = trouble
    return entries


def _find_recipe(config: Config, run: Path) -> Recipe | None:
    """The recipe that is named, planned by an earlier call, or bundled; None: plan one.

    Raises:
        ConfigError: it is malformed or not to be trusted, there are two, or a flag asks for
            something else than what the recipe says.
    """
    if config.recipe is not None and config.game.env:
        raise ConfigError(
            f"recipe is {str(config.recipe)!r} and env {config.game.env!r}; give one of them"
        )
    if not config.game.env:
        config.game.check_unplanned()
    planned = run / RECIPE_FILE
    if config.recipe is None and planned.is_file():
        recipe, file = load_recipe(planned), planned
        if config.game.env:
            config.game.check_planned(recipe, planned)
    elif config.game.env:
        return None
    else:
        file = config.recipe or find_recipe(config.name)
        recipe = load_recipe(file)
    if config.trust or config.game.env:
        packages.trust(*recipe.record.modules)
    else:
        recipe.record.check_trust(str(file))
    return recipe


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
