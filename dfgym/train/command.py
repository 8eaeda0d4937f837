"""`dfgym train`: choose what is not given, say the plan, and train in several processes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dfgym.data.store import EpisodeStore
from dfgym.data.summary import describe as describe_facts
from dfgym.data.survey import look
from dfgym.device import pick_device
from dfgym.errors import ConfigError
from dfgym.frames import MAX_PATCH
from dfgym.train import choose as choosing
from dfgym.train import loop
from dfgym.train.beginning import check_new, check_resumed
from dfgym.train.checkpoint import FILE, read_checkpoint
from dfgym.train.choose import adapt, choose
from dfgym.train.config import DEFAULT_MINUTES, TrainConfig, from_table
from dfgym.train.finetune import survey_run
from dfgym.train.launch import count_processes, launch
from dfgym.train.recipe import load_training, write_recipe

RECIPE_FILE = "recipe.toml"


class Flags(NamedTuple):
    """What was given on the command line, over some defaults.

    Attributes:
        config: the training.
        recipe: the file to take it from.
        processes: how many share the batch.
    """

    config: TrainConfig
    recipe: Path | None
    processes: int | None


def train(parse: Callable[[TrainConfig | None], Flags]) -> None:
    """Train as the flags say; what they leave open is chosen, or as it was when the run began.

    Args:
        parse: reads the flags over the defaults that it is given; None: `TrainConfig`'s own.

    Raises:
        ConfigError: the dials do not fit the data, the memory or one another, or the run in the
            folder has others; nothing has been written or started then.
    """
    config, recipe, processes = parse(None)
    if "WORLD_SIZE" in os.environ:  # torchrun has started several of these, which must agree
        if processes is not None:
            raise ConfigError(
                f"processes is {processes}; torchrun has started them, so leave it out"
            )
        loop.train(parse(load_training(recipe, config)).config if recipe else config)
        return
    device = pick_device(config.device)
    file = recipe or config.out / RECIPE_FILE
    begun = (config.out / FILE).is_file()
    if recipe is None and not file.is_file() and not begun:
        config = _plan(parse, config, device, processes)
        count = count_processes(processes, config.batch, device)
    else:
        written = recipe is not None or file.is_file()
        config = parse(load_training(file, config) if written else _saved(config)).config
        count = count_processes(processes, config.batch, device)
        stores = [EpisodeStore.open(path) for path in config.data]
        if begun:
            check_resumed(config, stores)
        else:
            check_new(config, survey_run(config, stores), stores, device, count)
    if count == 1:
        loop.train(config)
    else:
        launch(config, count)


def _plan(
    parse: Callable[[TrainConfig | None], Flags],
    config: TrainConfig,
    device: torch.device,
    processes: int | None,
) -> TrainConfig:
    """Choose what the flags leave open, say it, and write it as a recipe into the run's folder."""
    stores = [EpisodeStore.open(path) for path in config.data]
    facts, game = look(stores), survey_run(config, stores)
    print(describe_facts(facts))
    timed = config.steps or config.minutes
    config = config if timed else dataclasses.replace(config, minutes=DEFAULT_MINUTES)
    choice = choose(config, facts, game, stores, device, processes, _fixed_patch(parse, config))
    config = parse(choice.config).config
    check_new(config, game, stores, device, count_processes(processes, config.batch, device))
    if config != choice.config:
        adapt(choice, config, game, stores, device, processes)
        config = parse(choice.config).config
        choice.override(config)
    print(choosing.describe(choice, game))
    write_recipe(config.out / RECIPE_FILE, config, reasons=choice.reasons)
    print(f"the plan is in {config.out / RECIPE_FILE}, to be edited: --recipe")
    return config


def _fixed_patch(parse: Callable[[TrainConfig | None], Flags], config: TrainConfig) -> int:
    """Return the patch that the flags name whatever the default is; 0 if they name none."""
    model = config.model
    other = dataclasses.replace(model, patch=1 + model.patch % MAX_PATCH)
    try:
        again = parse(dataclasses.replace(config, model=other)).config.model.patch
    except ConfigError:  # scales that do not fit this patch
        return 0
    return model.patch if again == model.patch else 0


def _saved(config: TrainConfig) -> TrainConfig:
    """The settings that a run began with, where no recipe was written."""
    saved = from_table(read_checkpoint(config.out).origin.settings, config.out)
    timed = config.steps or config.minutes
    changes: dict[str, Any] = {"data": config.data, "device": config.device}
    if timed:
        changes |= {"steps": config.steps, "minutes": config.minutes}
    return dataclasses.replace(saved, **changes)
