"""Recipes: what a world is made from, in one TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfgym.errors import ConfigError
from dfgym.files import read_capped
from dfgym.train.config import TrainConfig, from_settings, to_plain
from dfgym.train.pack import Presentation, draft_card
from dfgym.train.survey import Survey
from dfgym.world.fields import read

FOLDER = Path(__file__).parent / "recipes"
MAX_BYTES = 64 * 1024
RECORDING = {"seed": 0, "max_episode_steps": 10_000, "env_kwargs": {}, "resize": []}
"""What is recorded where a recipe does not say."""


@dataclass(frozen=True)
class Recording:
    """What `dfgym record` is asked for."""

    env: str
    frames: int
    policies: dict[str, float]
    seed: int
    max_episode_steps: int
    env_kwargs: dict[str, Any]
    resize: tuple[int, ...]
    """Height and width, or nothing for the game's own."""


@dataclass(frozen=True)
class Recipe:
    """Record, train and show; `train.data` and `train.out` are set when it is followed."""

    record: Recording
    train: TrainConfig
    shown: Presentation


def find_recipe(name: str) -> Path:
    """Path of a world's bundled recipe.

    Raises:
        ConfigError: there is none.
    """
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise ConfigError(f"no recipe for {name!r}; bundled are {known}; or name a --recipe file")
    return path


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; keys that are left out keep their defaults.

    Raises:
        ConfigError: it is missing or not TOML, or a key is unknown or has a wrong value. What only
            the data can tell, as whether there is an action for a key, is not looked at.
    """
    try:
        table = tomllib.loads(read_capped(path, MAX_BYTES, ConfigError).decode())
        if unknown := table.keys() - {"record", "train", "shown"}:
            raise ConfigError(f"unknown table {min(unknown)!r}; allowed: record, train, shown")
        recording, trained, presented = (table.get(n, {}) for n in ("record", "train", "shown"))
        defaults = to_plain(TrainConfig(data=(Path("data"),), out=Path("run")))
        allowed = defaults.keys() - {"data", "device"}  # make-world's own flags set these
        if unknown := trained.keys() - allowed:
            raise ConfigError(
                f"unknown key 'train.{min(unknown)}'; allowed: {', '.join(sorted(allowed))}"
            )
        parts = {n: {**defaults[n], **trained.get(n, {})} for n in ("model", "sampler")}
        train = from_settings({**defaults, **trained, **parts}, Path("run"))
        record = read(Recording, {**RECORDING, **recording}, "record")
        standard = dataclasses.asdict(Presentation())
        shown = read(Presentation, {**standard, **presented}, "shown")
        # The smallest game that all of this can be said of: a card knows what is allowed.
        side, actions = train.model.patch, 1 + max([0, *shown.keys.values()])
        colours = ((0, 0, 0), (255, 255, 255)) if train.model.mixture > 1 else ()
        draft_card(train, Survey((side, side, 3), actions, colours, (0.0,)), [], shown=shown)
        return Recipe(record, train, shown)
    except (AttributeError, TypeError, ValueError) as reason:  # the errors of dfgym among them
        raise ConfigError(f"{path}: {reason}") from reason
