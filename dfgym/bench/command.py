"""`dfgym bench`: how fast a world is, what that costs, and where the time goes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from dfgym.bench import operations, shape, speed, training
from dfgym.bench import window as cached
from dfgym.bench.shape import Shape
from dfgym.bench.tables import number, print_columns, print_rows
from dfgym.errors import ConfigError
from dfgym.evaluation.rollout import Dream, is_breakout, open_real
from dfgym.files import write_json
from dfgym.games import breakout_referee as referee
from dfgym.world import execution, memory, shelf
from dfgym.world.bundle import World
from dfgym.world.card import Card
from dfgym.world.device import pick_device
from dfgym.world.fields import shown
from dfgym.world.sampling import Sampling, choose_sampling

BATCHES = "1,64"
DENOISING_STEPS = (1, 2, 4, 8)
JUDGED = 2000
ROWS = 16
"""Games that the referee watches at a time."""


@dataclass(frozen=True)
class Config:
    """Time a world, or a shape of random weights: speed, operations, and where the time goes."""

    world: Annotated[str | None, tyro.conf.Positional] = None
    """Name on the shelf, or a folder's path; the default world if left out."""
    shape: Annotated[Shape, tyro.conf.arg(name="")] = field(default_factory=Shape)
    batch: str | None = None
    """Rows stepped together, each of these in turn; 1,64 if left out. With --training one number:
    sequences a step, those that the world was trained with if left out."""
    seconds: float = 2.0
    """Of each measurement; with two batches there are about two dozen."""
    fidelity: bool = False
    """Have the referee judge the dream at each number of denoising steps: minutes."""
    judged: int | None = None
    """Steps that the referee judges at each; 2,000 if left out."""
    training: bool = False
    """Time the steps of its training instead, on random episodes."""
    length: int | None = None
    """Frames a sequence, with --training; as the world was trained if left out."""
    compile: bool = False
    """Run the network through `torch.compile`: half a minute and more for each batch, once."""
    precision: str = "float32"
    """Of matrix products, `float32` or `bfloat16`."""
    json: Path | None = None
    """Also write all of it to this file."""

    def check(self) -> None:
        """Refuse what cannot be measured; raises ConfigError."""
        self.shape.check()
        if self.world is not None and self.shape.frame is not None:
            raise ConfigError(
                f"world {shown(self.world)} and frame {shown(self.shape.frame)} are given: a world "
                "has frames of its own, so leave one of them out"
            )
        speed.check_seconds(self.seconds)
        if self.judged is not None and not (self.fidelity and self.judged >= 1):
            raise ConfigError(
                f"judged is {self.judged}; allowed is 1 or more, and only together with fidelity"
            )
        if self.training and self.fidelity:
            raise ConfigError("fidelity and training are asked for; ask for one at a time")
        if self.training and self.batch is not None and len(self.batches) > 1:
            raise ConfigError(f"batch is {shown(self.batch)}; with training give one number")
        if self.length is not None and not self.training:
            raise ConfigError(f"length is {self.length}; it is allowed only together with training")
        if self.training and (self.compile or self.precision != "float32"):
            raise ConfigError(
                f"compile is {self.compile} and precision {self.precision!r}; with training leave "
                "both out: steps are timed as `dfgym train` takes them"
            )
        if self.json is not None and self.json.is_dir():
            raise ConfigError(f"json {str(self.json)!r} is a folder; name a file")

    @property
    def execution(self) -> dict[str, Any]:
        """How passes are run, as keywords; what is usual is left out."""
        told = {"compile": self.compile, "precision": self.precision}
        return {k: v for k, v in told.items() if v not in (False, "float32")}

    @property
    def batches(self) -> list[int]:
        """The batches, at least one, each 1 or more."""
        told = BATCHES if self.batch is None else self.batch
        if not re.fullmatch(r"0*[1-9][0-9]{0,8}(?:,0*[1-9][0-9]{0,8})*", told, re.ASCII):
            raise ConfigError(
                f"batch is {shown(told)}; give one or more whole numbers from 1 up, like 1,64"
            )
        return sorted({int(batch) for batch in told.split(",")})


def bench(config: Config, device: str = "auto", **sampler: Any) -> dict[str, Any]:
    """Measure, print each table when it is known, and write the JSON file.

    Args:
        config: what to measure.
        device: where the dream runs.
        sampler: `denoising_steps`, `context_mode`, `context_noise`; the card's if left out.

    Returns:
        What the JSON file holds.

    Raises:
        WorldError: there is no such world, it is damaged, or a shape cannot be one.
        ConfigError: a value is not allowed, or a batch does not fit memory.
        MissingPackageError: the referee is asked for and the real game is not installed.
    """
    config.check()
    batches, settings = config.batches, {"device": device, **sampler, **config.execution}
    if config.training:
        found = _measure_training(config, device, sampler)
    elif config.shape.frame is None:
        name = shelf.DEFAULT if config.world is None else config.world
        _check(config, settings, shelf.card(name), batches)
        found = _measure(config, settings, name, batches)
    else:
        card = config.shape.card()
        _check(config, settings, card, batches)
        with tempfile.TemporaryDirectory(prefix="dfgym-") as folder:
            path = Path(folder) / card.name
            shape.write(path, card)
            found = _measure(config, settings, str(path), batches)
    if config.json is not None:
        write_json(config.json, found)
        print(f"\nwrote {config.json}")
    return found


def _check(config: Config, settings: dict[str, Any], card: Card, batches: Sequence[int]) -> None:
    """Refuse before anything takes time or memory."""
    device = pick_device(settings["device"])
    execution.check(device, config.compile, config.precision)
    plan = _sampling(card, settings).context
    if config.fidelity:
        if config.shape.frame is not None or not is_breakout(card):
            raise ConfigError(
                "fidelity is asked for, and the referee knows the rules of MinAtar Breakout alone; "
                f"leave it out, or measure {shelf.DEFAULT}"
            )
        open_real(card).env.close()
    for batch in batches:
        memory.check(card, batch, len(plan.levels), device)
        if card.model.kind == "transformer":  # the whole window again
            memory.check(card, batch, 1, device, card.model.window + 1)


def _sampling(card: Card, settings: dict[str, Any]) -> Sampling:
    steps, mode, noise = map(settings.get, ("denoising_steps", "context_mode", "context_noise"))
    return choose_sampling(card, steps, mode, noise)


def _allows(card: Card, settings: dict[str, Any]) -> bool:
    """Context mode `kept` does not allow every number of denoising steps."""
    try:
        _sampling(card, settings)
    except ConfigError:
        return False
    return True


def _measure(
    config: Config, settings: dict[str, Any], name: str, batches: Sequence[int]
) -> dict[str, Any]:
    world = shelf.load(name)
    card, seconds = world.card, config.seconds
    device = pick_device(settings["device"])
    found: dict[str, Any] = {
        "world": card.name,
        "frame": [card.frames.height, card.frames.width, 3],
        "model": vars(card.model),
        "settings": settings,
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    print(f"{card.name}, {card.frames.height}x{card.frames.width}x3, on {found['device']}", end="")
    print(f", {found['threads']} threads: {', '.join(f'{k} {v}' for k, v in settings.items())}")
    found["gym"] = speed.bench(name, seconds, **settings)
    print_rows("As users step it", [(k, number(v)) for k, v in found["gym"].items()])
    found["vector"] = [speed.vector(name, batch, seconds, **settings) for batch in batches]
    print_columns("gym.make_vec", found["vector"])
    rates = found["machine"] = operations.matrix_rate(device)
    print_rows(
        "The machine: one product of float32 matrices, GFLOP a second",
        [(k, f"{rates[k] / 1e9:.0f}") for k in ("matrix_product", "convolution")],
    )
    found["batches"] = [
        operations.measure(operations.begin(world, batch, **settings), seconds, rates)
        for batch in batches
    ]
    print_columns("The dynamics alone", found["batches"])
    dynamics = operations.begin(world, batches[-1], **settings)
    found["time"] = {"batch": batches[-1], "passes": operations.passes(dynamics, seconds)}
    if not config.compile:  # which makes them one
        found["time"]["kinds"] = operations.kinds(dynamics)
    for way, shares in found["time"].items():
        if way != "batch":
            print_rows(
                f"Where the time goes, batch {batches[-1]}, by {way}",
                [(k, f"{100 * v:.1f} %") for k, v in shares.items()],
            )
    if card.model.kind == "transformer":
        steps = settings.get("denoising_steps")
        found["cached"] = [
            cached.compare(world, batch, seconds, settings["device"], steps, **config.execution)
            for batch in batches
        ]
        print_columns("Cached against the whole window again", found["cached"])
    found["denoising_steps"] = [
        _at_steps(config, settings, world, batches[-1], steps)
        for steps in DENOISING_STEPS
        if _allows(card, {**settings, "denoising_steps": steps})
    ]
    if found["denoising_steps"]:
        print_columns(f"Denoising steps, batch {batches[-1]}", found["denoising_steps"])
    found["shells"] = speed.shells(name, batches[-1], seconds, **settings)
    print_rows(
        f"What shells add to the dynamics (env 1 row, the others {batches[-1]})",
        [(k, f"{100 * v:.2f} %") for k, v in found["shells"].items()],
    )
    return found


def _measure_training(config: Config, device: str, sampler: dict[str, Any]) -> dict[str, Any]:
    for name, value in sampler.items():
        raise ConfigError(f"{name} is {value!r}, and training does not sample; leave it out")
    name = shelf.DEFAULT if config.world is None else config.world
    card = shelf.card(name) if config.shape.frame is None else config.shape.card()
    place, batch = pick_device(device), None if config.batch is None else config.batches[0]
    plan = training.plan(card, batch, config.length)
    training.check(card, plan, place)
    found: dict[str, Any] = {
        "world": card.name,
        "frame": [card.frames.height, card.frames.width, 3],
        "model": vars(card.model),
        "batch": plan.batch,
        "length": plan.length,
        "device": _device_name(place),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    print(f"training {card.name}, {plan.batch} x {plan.length} frames a step, ", end="")
    print(f"on {found['device']}, {found['threads']} threads", flush=True)
    found |= training.measure(card, plan, place, config.seconds)
    print_rows(
        "The machine: one matrix product, GFLOP a second",
        [(kind, f"{rate / 1e9:.0f}") for kind, rate in found["rates"].items()],
    )
    stages = found["stages"]
    print_columns(
        f"Training steps, in {found['precision']}",
        [{k: v for k, v in stage.items() if k != "time"} for stage in stages],
    )
    percent = {
        k: [f"{100 * stage['time'][k]:.1f} %" for stage in stages] for k in stages[0]["time"]
    }
    print_rows(
        f"Where the time goes: {', '.join(stage['stage'] for stage in stages)}",
        [(k, "  ".join(cell.rjust(7) for cell in cells)) for k, cells in percent.items()],
    )
    return found


def _at_steps(
    config: Config, settings: dict[str, Any], world: World, batch: int, steps: int
) -> dict[str, float]:
    settings = {**settings, "denoising_steps": steps}
    timed = operations.measure(operations.begin(world, batch, **settings), config.seconds)
    names = ("frames_per_second", "p50_ms", "p95_ms", "operations_per_frame", "passes")
    found = {"denoising_steps": float(steps), **{name: timed[name] for name in names}}
    if config.fidelity:
        game = Dream(operations.begin(world, ROWS, **settings))
        judged = referee.rollout(game, world.card, config.judged or JUDGED)
        found["illegal_per_1000"] = judged.illegal_per_1000
        found["wrong_per_1000"] = judged.wrong_per_1000
    return found


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
