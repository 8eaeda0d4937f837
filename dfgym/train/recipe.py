"""Recipes: what a world is made from, in one TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from dfgym.actions import discrete
from dfgym.checks import convert, to_plain
from dfgym.data.record import Recording
from dfgym.errors import ConfigError, DfgymError
from dfgym.files import read_capped, write_atomic
from dfgym.train.config import TrainConfig
from dfgym.train.pack import Presentation, draft_card
from dfgym.train.survey import Survey
from dfgym.world.card import MAX_LINE

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
        table = _read_table(path)
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


def load_training(path: Path, config: TrainConfig) -> TrainConfig:
    """Return the training of a recipe, whatever else the file holds.

    Args:
        path: the recipe's TOML file.
        config: has `data`, `out` and `device`. Where it has `steps` or `minutes`, they count.

    Raises:
        ConfigError: the file is missing or malformed.
    """
    try:
        table = _read_table(path)
        if "train" not in table or not table.keys() <= {"record", "train", "presentation"}:
            raise ConfigError(
                f"its tables are {', '.join(table) or 'none'}; expected train, and perhaps record "
                "and presentation"
            )
        loaded = convert(TrainConfig, _complete(table["train"]), ConfigError, "train")
    except (DfgymError, ValueError) as reason:
        raise ConfigError(f"{path}: {reason}") from reason
    fixed = {name: getattr(config, name) for name in FLAGS}
    if config.steps or config.minutes:
        fixed |= {"steps": config.steps, "minutes": config.minutes}
    return dataclasses.replace(loaded, **fixed)


def write_recipe(
    path: Path,
    train: TrainConfig,
    record: Recording | None = None,
    presentation: Presentation | None = None,
    reasons: Mapping[str, str] | None = None,
) -> None:
    """Write a recipe that can be edited and followed.

    Args:
        path: the TOML file, which is replaced.
        train: how to train; where its data are and where it runs is left out.
        record: what is recorded, if that is the recipe's.
        presentation: how the world is presented, likewise.
        reasons: the reason of each dial, by its name, which becomes a comment.
    """
    training = {k: v for k, v in to_plain(train).items() if k not in FLAGS}
    parts = {"record": record, "presentation": presentation}
    table = {name: to_plain(value) for name, value in parts.items() if value is not None}
    table = {**table, "train": training}
    lines = tomli_w.dumps(table).splitlines()
    inside = False
    for number, line in enumerate(lines):
        if line.startswith("["):
            inside = line.startswith("[train")
        reason = (reasons or {}).get(line.partition(" = ")[0])
        if inside and reason:
            lines[number] = f"{line}  # {reason}"
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def _read_table(path: Path) -> dict[str, Any]:
    """Read a TOML file of strangers'; raises ConfigError or ValueError, in little time."""
    text = read_capped(path, MAX_BYTES, ConfigError)
    if max(map(len, text.split(b"\n"))) > MAX_LINE:  # of dots, tomllib takes quadratic time
        raise ConfigError(f"a line is longer than {MAX_LINE} bytes; break it")
    try:
        return tomllib.loads(text.decode())
    except RecursionError:
        raise ConfigError("it is nested too deep; write fewer lists or tables in another") from None


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
