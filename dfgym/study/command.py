"""`dfgym study`: try a row of the deck, or all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dfgym.errors import ConfigError
from dfgym.study import (
    d03,
    d04,
    d05,
    d06,
    d07,
    d08,
    d09,
    d10,
    d11,
    d12,
    d13,
    d14,
    long,
    steps,
)
from dfgym.study.findings import Finding, leave
from dfgym.study.games import QUICK, WHOLE, GameName
from dfgym.study.lab import Lab
from dfgym.world.fields import shown

Row = Callable[[Lab, Sequence[str]], Finding]
ROWS: dict[str, tuple[Row, tuple[str, ...]]] = {
    f"D{number}": (row.run, row.GAMES)
    for number, row in enumerate((d03, d04, d05, d06, d07, d08, d09, d10, d11, d12, d13, d14), 3)
} | {"steps": (steps.run, steps.GAMES), "long": (long.run, long.GAMES)}


@dataclass(frozen=True)
class Config:
    """Try the deck's claims: train what is missing, measure, and write figures and numbers.

    What is trained and measured is kept, so a study that was stopped goes on.
    """

    row: Annotated[str | None, tyro.conf.Positional] = None
    """D3 to D14, `steps` (few denoising steps), or `long` (10,000 frames)."""
    all: bool = False
    """Every row, in the deck's order."""
    quick: bool = False
    """A few training steps and a few frames: shows that everything runs, and nothing else."""
    games: tuple[GameName, ...] = ()
    """Only these, of those that a row is tried on."""
    out: Path = Path("docs/study")
    """Folder for JSON, figures and the page."""
    runs: Path = Path("runs/study")
    """Folder for data, models and measurements."""
    device: str = "auto"
    """Where models are trained: `auto`, `cpu` or `cuda`."""


def study(config: Config) -> None:
    """Try the rows that are asked for.

    Raises:
        ConfigError: no such row, none or both of a row and all are asked for, or a row is not tried
            on the games.
        DataError: a model that is there was trained by another version.
        MissingPackageError: a game's package is missing.
    """
    known = ", ".join(ROWS)
    if config.all == (config.row is not None):
        raise ConfigError(f"give either one row ({known}) or --all")
    if config.row is not None and config.row not in ROWS:
        raise ConfigError(f"row {shown(config.row)} is unknown; there are {known}")
    asked = list(ROWS) if config.row is None else [config.row]
    scale = QUICK if config.quick else WHOLE
    lab = Lab(config.runs / ("quick" if config.quick else "whole"), scale, config.device)
    for name in asked:
        run, possible = ROWS[name]
        chosen = [game for game in possible if not config.games or game in config.games]
        if not chosen:
            if config.all:
                continue
            raise ConfigError(
                f"row {name} is tried on {', '.join(possible)}, not on {', '.join(config.games)}"
            )
        began = time.monotonic()
        leave(run(lab, chosen), lab, _command(name, config), config.out)
        print(f"{name}: wrote {config.out / name}.md ({time.monotonic() - began:.0f} s)")


def _command(name: str, config: Config) -> str:
    games = f" --games {' '.join(config.games)}" if config.games else ""
    return f"dfgym study {name}{games}{' --quick' if config.quick else ''}"
