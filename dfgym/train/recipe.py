"""Recipes: what a world is made from, in one TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfgym.errors import ConfigError, WorldError
from dfgym.files import read_capped
from dfgym.train.config import TrainConfig, from_settings, settings
from dfgym.train.pack import Presentation
from dfgym.world.fields import read

FOLDER = Path(__file__).parent / "recipes"
MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Recording:
    """What `dfgym record` is asked for."""

    env: str
    frames: int
    policies: dict[str, float]
    seed: int = 0
    max_episode_steps: int = 10_000
    env_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    resize: tuple[int, int] | None = None


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
        ConfigError: it is missing or not TOML, or a key is unknown or has a wrong value.
    """
    try:
        table = tomllib.loads(read_capped(path, MAX_BYTES, ConfigError).decode())
        if unknown := table.keys() - {"record", "train", "shown"}:
            raise ConfigError(f"unknown table {min(unknown)!r}; allowed: record, train, shown")
        defaults = settings(TrainConfig(data=(Path("data"),), out=Path("run")))
        train = table.get("train", {})
        for part in ("model", "sampler"):
            train[part] = {**defaults[part], **train.get(part, {})}
        return Recipe(
            Recording(**table["record"]),
            from_settings({**defaults, **train}, Path("run")),
            read(Presentation, {**dataclasses.asdict(Presentation()), **table.get("shown", {})}),
        )
    except (KeyError, TypeError, ValueError) as reason:
        what = f"{reason} is missing" if isinstance(reason, KeyError) else reason
        raise ConfigError(f"{path}: {what}") from reason
    except WorldError as reason:
        raise ConfigError(f"{path}: {reason}") from reason
