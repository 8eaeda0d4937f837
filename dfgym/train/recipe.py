"""Recipes: what a world is made from, in one TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfgym.actions import discrete
from dfgym.checks import convert, to_plain
from dfgym.data.record import Recording
from dfgym.errors import ConfigError, DfgymError
from dfgym.files import read_capped
from dfgym.train.config import TrainConfig
from dfgym.train.pack import Presentation, draft_card
from dfgym.train.survey import Survey

FOLDER = Path(__file__).parent / "recipes"
MAX_BYTES = 64 * 1024
FLAGS = ("data", "out", "device")
"""Fields of `TrainConfig` that whoever follows a recipe sets."""


@dataclass(frozen=True)
class Recipe:
    """Record, train and present; whoever follows it sets `train.data` and `train.out`."""

    record: Recording
    train: TrainConfig
    presentation: Presentation = field(default_factory=Presentation)


def find_recipe(name: str) -> Path:
    """Return the path of a world's bundled recipe.

    Raises:
        ConfigError: there is none.
    """
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        bundled = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise ConfigError(f"the recipe is {name!r}; allowed are {bundled}; or give a --recipe file")
    return path


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; keys that are left out keep their defaults.

    Raises:
        ConfigError: it is missing or not TOML, or a key is unknown or has a wrong value. What only
            the data can tell, as whether there is an action for a key, is not looked at.
    """
    try:
        table = tomllib.loads(read_capped(path, MAX_BYTES, ConfigError).decode())
        table["train"] = _complete(table.get("train", {}))
        recipe = convert(Recipe, table, ConfigError)
        # The smallest game that all of this can be true of: a card knows what is allowed.
        model, presentation = recipe.train.model, recipe.presentation
        colours = ((0, 0, 0), (255, 255, 255)) if model.mixture > 1 else ()
        numbers = [action for action in presentation.keys.values() if isinstance(action, int)]
        if len(numbers) < len(presentation.keys) or presentation.names:  # of parts, not known here
            presentation = dataclasses.replace(presentation, keys={}, names=())
        game = Survey(
            (model.patch, model.patch, 3), discrete(1 + max([0, *numbers])), colours, (0.0,)
        )
        draft_card(recipe.train, game, [], presentation=presentation)
        return recipe
    except (DfgymError, ValueError) as reason:
        raise ConfigError(f"{path}: {reason}") from reason


def _complete(training: Any) -> Any:
    """Fill in what a recipe's table `train` leaves out and `TrainConfig` asks for."""
    if not isinstance(training, dict):
        return training  # the error is raised with all others
    standard = to_plain(TrainConfig(data=(Path("data"),), out=Path("run")))
    if fixed := training.keys() & FLAGS:
        allowed = ", ".join(name for name in standard if name not in FLAGS)
        raise ConfigError(f"unknown key 'train.{min(fixed)}'; allowed are {allowed}")
    tables = {
        name: {**standard[name], **training[name]}
        for name in ("model", "sampler")
        if isinstance(training.get(name), dict)
    }
    return {"data": standard["data"], "out": standard["out"], **training, **tables}
