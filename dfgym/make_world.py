"""`dfgym make-world`: a world's whole recipe, each stage left on disk and taken up from there."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from dfgym.data.record import record
from dfgym.errors import ConfigError, DfgymError, WorldError
from dfgym.evaluation import transfer
from dfgym.evaluation.run import evaluate
from dfgym.files import plain, write_json
from dfgym.train.config import TrainConfig, to_table
from dfgym.train.pack import draft_card, pack
from dfgym.train.recipe import find_recipe, load_recipe
from dfgym.train.survey import survey
from dfgym.world import bundle
from dfgym.world.card import check_name
from dfgym.world.device import pick_device


@dataclass(frozen=True)
class Config:
    """Record, train, pack and evaluate a world; a call that was stopped goes on."""

    name: Annotated[str, tyro.conf.Positional]
    """The new world's name, like minatar-breakout-v0."""
    out: Path = Path("worlds")
    """Folder to put the world's folder into; name it in $DFGYM_WORLDS to have it on the shelf."""
    recipe: Path | None = None
    """A recipe's TOML file; the bundled one of the name if left out."""
    runs: Path = Path("runs")
    """Folder for data, checkpoints and the report."""
    processes: int | None = None
    """Training processes, which must divide the recipe's batch; if left out, as many as do that
    and have a CPU core or CUDA device each."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    quick: bool = False
    """Evaluate a twentieth of the frames."""


def make_world(config: Config) -> Path:
    """Follow a recipe from nothing to a world; returns the world's folder.

    Raises:
        ConfigError: there is no recipe, it is malformed, or `processes` does not fit it.
        WorldError: the name is malformed, the world exists already, or what is shown does not fit
            the recorded game.
    """
    check_name(config.name)
    world, run = config.out / config.name, config.runs / config.name
    if os.path.lexists(world):
        raise WorldError(f"{world} exists: worlds never change, so make a new version (-vN)")
    device = pick_device(config.device)
    recipe = load_recipe(config.recipe or find_recipe(config.name))
    processes = _processes(config, recipe.train.batch, device)
    clock = _Clock(run / "times.json")

    with clock("record"):
        stores = [record(out=run / "data", **recipe.record.keywords())]
    with clock("train"):
        train = dataclasses.replace(
            recipe.train, data=(run / "data",), out=run / "train", device=config.device
        )
        # A wrong card is told now, not after hours.
        draft_card(train, survey(stores, train.held_out), stores, presentation=recipe.presentation)
        _train(train, processes)
    draft = run / "world" / config.name
    shutil.rmtree(draft, ignore_errors=True)  # packed by an earlier call, with what it was to show
    pack(run / "train", draft, config.name, recipe.presentation)
    with clock("evaluate"):
        found = evaluate(draft, run / "evaluation", quick=config.quick, device=config.device)
    measured = {"seconds": clock.seconds, **summary(found)}
    return publish(draft, world, measured, {"device": str(device), "processes": processes})


def publish(draft: Path, out: Path, measured: dict[str, Any], training: dict[str, Any]) -> Path:
    """Write a packed world once more, with what was measured of it in its card."""
    world = bundle.load(draft)
    card = dataclasses.replace(
        world.card, measured=measured, training={**world.card.training, **training}
    )
    bundle.write(out, card, world.weights, world.starts)
    print(f"wrote {out}")
    return out


def _processes(config: Config, batch: int, device: torch.device) -> int:
    """How many processes train; each has an equal part of the batch."""
    cuda = device.type == "cuda"
    most = torch.cuda.device_count() if cuda else os.cpu_count() or 1
    if config.processes is None:
        return max(n for n in range(1, most + 1) if batch % n == 0)
    if config.processes < 1 or batch % config.processes or (cuda and config.processes > most):
        limit = f" and at most the {most} CUDA devices" if cuda else ""
        raise ConfigError(
            f"processes is {config.processes}; it must be at least 1{limit} and divide the "
            f"recipe's batch of {batch}"
        )
    return config.processes


def _train(config: TrainConfig, processes: int) -> None:
    """Train in as many processes, each with one thread: on a CPU they do not wait for others."""
    path = config.out / "config.json"
    write_json(path, to_table(config))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        # glibc gives freed tensors back to the system and asks for them again, at a great cost.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
    }
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launch, "-m", "dfgym.train", str(path)]
    if subprocess.run(command, env=environment, check=False).returncode:
        raise DfgymError("training failed; its messages stand above. Again: the same command")


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The numbers of an evaluation that belong on a card, to four digits."""
    kept: dict[str, Any] = {"machine": found["machine"]}
    if "legality" in found:
        dream, real = found["legality"]["dream"], found["legality"]["real"]
        kept["legality"] = {
            "transitions": dream["transitions"],
            "illegal_per_1000": dream["illegal_per_1000"],
            "wrong_per_1000": dream["wrong_per_1000"],
            "sticky_share": dream["sticky_share"],
            "sticky_share_real": real["sticky_share"],
        }
    if 10 in found.get("motion", {}).get("horizons", ()):
        at = found["motion"]["horizons"].index(10)
        kept["motion_after_10"] = {
            f"{name}_{key}": found["motion"][name][key][at]
            for name in ("position", "angle")
            for key in ("moved", "error", "share")
        }
    if "drawn_error" in found.get("drift", {}).get("dream", {}):
        dream, real = (found["drift"][game]["drawn_error"] for game in ("dream", "real"))
        kept["picture_error"] = {
            "frames": found["drift"]["block"] * len(dream),
            "dream": sum(dream) / len(dream),
            "dream_last_tenth": dream[-1],
            "real": sum(real) / len(real),
        }
    kept["speed"] = found["speed"]
    if agents := transfer.card_entries(found.get("transfer") or {}):
        kept["transfer"] = agents
    return dict(plain(kept))


class _Clock:
    """Adds up the wall time of each stage, over all calls, in a JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}

    def __call__(self, stage: str) -> _Clock:
        print(f"== {stage}")
        self.stage = stage
        return self

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        spent = time.monotonic() - self.began
        self.seconds[self.stage] = round(self.seconds.get(self.stage, 0.0) + spent, 1)
        write_json(self.path, self.seconds)
