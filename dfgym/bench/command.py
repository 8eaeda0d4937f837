"""`dfgym bench`: how fast a world is, what that costs, and where the time goes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from msgspec import Meta

from dfgym import checks
from dfgym.bench import operations, shape, speed, training, window
from dfgym.bench.clock import check_seconds
from dfgym.bench.shape import Shape
from dfgym.device import pick_device
from dfgym.errors import ConfigError
from dfgym.files import write_json
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.card import Card
from dfgym.world.runtime import check_memory, require_compiler
from dfgym.world.sampling import resolve_sampling
from dfgym.world.settings import Settings

DENOISING_STEPS = (1, 2, 4, 8)


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
    """Length of each measurement; with two batches there are about two dozen."""
    training: bool = False
    """Time the steps of the world's training instead, on random episodes."""
    length: Annotated[int, Meta(ge=2)] | None = None
    """Frames a sequence, with --training; as the world was trained if left out."""
    json: Path | None = None
    """Also write all results to this file."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        checks.check(self, ConfigError)
        check_seconds(self.seconds)
        if self.world is not None and self.shape.frame is not None:
            raise ConfigError(
                f"world is {checks.shorten(self.world)} and frame {self.shape.frame!r}: a world "
                "has frames of its own; leave one of them out"
            )
        if self.training and len(self.batches) > 1 and self.batch is not None:
            raise ConfigError(f"batch is {self.batch!r}; with training give one number")
        if self.length is not None and not self.training:
            raise ConfigError(f"length is {self.length}; it is allowed only together with training")
        if self.json is not None and self.json.is_dir():
            raise ConfigError(f"json is {str(self.json)!r}, a folder; name a file")

    @property
    def batches(self) -> list[int]:
        """The batches in ascending order, at least one, each 1 or more."""
        text = "1,64" if self.batch is None else self.batch
        if not re.fullmatch(r"0*[1-9][0-9]{0,8}(?:,0*[1-9][0-9]{0,8})*", text, re.ASCII):
            raise ConfigError(
                f"batch is {checks.shorten(text)}; give whole numbers from 1 up, like 1,64"
            )
        return sorted({int(batch) for batch in text.split(",")})


def bench(config: Config, settings: Settings = Settings()) -> dict[str, Any]:
    """Measure, print each table as soon as it is ready, and write the JSON file.

    Args:
        config: what to measure.
        settings: how the world is run.

    Returns:
        The content of the JSON file.

    Raises:
        WorldError: there is no such world, it is damaged, or a shape cannot be one.
        ConfigError: a value is not allowed, or a batch does not fit memory.
    """
    if config.training:
        report = _measure_training(config, settings)
    elif config.shape.frame is None:
        name = shelf.DEFAULT if config.world is None else config.world
        _check(config, settings, shelf.card(name))
        report = _measure(config, settings, name)
    else:
        card = config.shape.card()
        _check(config, settings, card)
        with tempfile.TemporaryDirectory(prefix="dfgym-") as folder:
            path = Path(folder) / card.name
            shape.write(path, card)
            report = _measure(config, settings, str(path))
    if config.json is not None:
        write_json(config.json, report)
        print(f"\nwrote {config.json}")
    return report


def _check(config: Config, settings: Settings, card: Card) -> None:
    """Refuse settings and batches before anything takes time or memory."""
    if settings.runtime != "torch":
        raise ConfigError(
            f"runtime is {settings.runtime!r}, whose operations and passes a bench cannot see; "
            "`python .ci/onnx_speed.py` in the repository times it against torch"
        )
    device = pick_device(settings.device)
    if settings.compile:
        require_compiler(device)
    plan = resolve_sampling(card, settings).context
    for batch in config.batches:
        check_memory(card, batch, len(plan.levels), device)
        if card.model.kind == "transformer":  # the whole window again
            check_memory(card, batch, 1, device, card.model.window + 1)


def _is_allowed(card: Card, settings: Settings) -> bool:
    """Return whether a world can be sampled so: `kept` does not allow every number of steps."""
    try:
        resolve_sampling(card, settings)
    except ConfigError:
        return False
    return True


def _measure(config: Config, settings: Settings, name: str) -> dict[str, Any]:
    world = shelf.load(name)
    card, seconds, batches, largest = world.card, config.seconds, config.batches, config.batches[-1]
    device = pick_device(settings.device)
    keywords = {"device": settings.device, **settings.keywords()}
    report = {**_subject(card, device), "settings": keywords}
    print(f"{card.name}, {card.frames.height}x{card.frames.width}x3, on {report['device']}", end="")
    print(f", {report['threads']} threads: {', '.join(f'{k} {v}' for k, v in keywords.items())}")
    report["gym"] = speed.bench(name, seconds, settings)
    print_rows("As users step it", [(k, number(v)) for k, v in report["gym"].items()])
    report["vector"] = [speed.vector(name, batch, seconds, settings) for batch in batches]
    print_columns("gym.make_vec", report["vector"])
    rates = report["machine"] = operations.matrix_rate(device)
    print_rows(
        "The machine: one product of float32 matrices, GFLOP a second",
        [(k, f"{rates[k] / 1e9:.0f}") for k in ("matrix_product", "convolution")],
    )
    report["batches"] = [
        operations.measure(world, batch, seconds, rates, settings) for batch in batches
    ]
    print_columns("The dynamics alone", report["batches"])
    dynamics = operations.begin(world, largest, settings)
    report["time"] = {"batch": largest, "passes": operations.passes(dynamics, seconds)}
    if not settings.compile:  # a compiled pass is one operation
        report["time"]["kinds"] = operations.kinds(dynamics)
    for way, shares in report["time"].items():
        if way != "batch":
            print_rows(
                f"Where the time goes, batch {largest}, by {way}",
                [(k, f"{100 * v:.1f} %") for k, v in shares.items()],
            )
    if card.model.kind == "transformer":
        report["cached"] = [window.compare(world, batch, seconds, settings) for batch in batches]
        print_columns("Cached against the whole window again", report["cached"])
    report["denoising_steps"] = sweep(world, largest, seconds, DENOISING_STEPS, settings)
    if report["denoising_steps"]:
        print_columns(f"Denoising steps, batch {largest}", report["denoising_steps"])
    report["shells"] = speed.shells(name, largest, seconds, settings)
    print_rows(
        f"What shells add to the dynamics (env 1 row, the others {largest})",
        [(k, f"{100 * v:.2f} %") for k, v in report["shells"].items()],
    )
    return report


def sweep(
    world: World, rows: int, seconds: float, steps: Iterable[int], settings: Settings
) -> list[dict[str, float]]:
    """Time the dynamics at each number of denoising steps that the context mode allows.

    Returns:
        For each: `denoising_steps` and the results of `operations.measure` that depend on them.
    """
    names = ("frames_per_second", "p50_ms", "p95_ms", "operations_per_frame", "passes")
    result = []
    for count in steps:
        with_steps = replace(settings, denoising_steps=count)
        if _is_allowed(world.card, with_steps):
            timed = operations.measure(world, rows, seconds, settings=with_steps)
            result.append({"denoising_steps": count, **{name: timed[name] for name in names}})
    return result


def _measure_training(config: Config, settings: Settings) -> dict[str, Any]:
    for name, value in replace(settings, device="auto").keywords().items():
        raise ConfigError(
            f"{name} is {value!r}, and steps are timed as `dfgym train` takes them, which does not "
            "sample; with training leave it out"
        )
    name = shelf.DEFAULT if config.world is None else config.world
    card = shelf.card(name) if config.shape.frame is None else config.shape.card()
    place, batch = pick_device(settings.device), None if config.batch is None else config.batches[0]
    plan = training.plan(card, batch, config.length)
    training.check(card, plan, place)
    report = {**_subject(card, place), "batch": plan.batch, "length": plan.length}
    print(f"training {card.name}, {plan.batch} x {plan.length} frames a step, ", end="")
    print(f"on {report['device']}, {report['threads']} threads", flush=True)
    report |= training.measure(card, plan, place, config.seconds)
    print_rows(
        "The machine: one matrix product, GFLOP a second",
        [(kind, f"{rate / 1e9:.0f}") for kind, rate in report["rates"].items()],
    )
    stages = report["stages"]
    print_columns(
        f"Training steps, in {report['precision']}",
        [{k: v for k, v in stage.items() if k != "time"} for stage in stages],
    )
    percent = {
        k: [f"{100 * stage['time'][k]:.1f} %" for stage in stages] for k in stages[0]["time"]
    }
    print_rows(
        f"Where the time goes: {', '.join(stage['stage'] for stage in stages)}",
        [(k, "  ".join(cell.rjust(7) for cell in cells)) for k, cells in percent.items()],
    )
    return report


def _subject(card: Card, device: torch.device) -> dict[str, Any]:
    """Return what is measured and on what machine, as the JSON file begins."""
    gpu = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return {
        "world": card.name,
        "frame": [card.frames.height, card.frames.width, 3],
        "model": vars(card.model),
        "device": f"{device}{gpu}",
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


# Tables on the terminal


def number(value: Any) -> str:
    """Return a number as a cell, whole or to four digits, and text as it is."""
    if isinstance(value, str):
        return value
    big = isinstance(value, int) or value >= 1000
    return f"{value:,.0f}" if big or value == int(value) else f"{value:.4g}"


def print_rows(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line."""
    cells = [(name.replace("_", " "), value) for name, value in rows]
    left, right = (max(map(len, column)) for column in zip(*cells, strict=True))
    print(f"\n{title}")
    for name, value in cells:
        print(f"  {name:{left}}  {value:>{right}}", flush=True)


def print_columns(title: str, results: Sequence[dict[str, Any]]) -> None:
    """Print the results of equal measurements side by side, one column for each."""
    cells = {name: [number(result[name]) for result in results] for name in results[0]}
    width = max(len(cell) for row in cells.values() for cell in row)
    print_rows(title, [(n, "  ".join(c.rjust(width) for c in row)) for n, row in cells.items()])
