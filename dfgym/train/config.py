"""What a training run is told: frozen dataclasses, read from and written to TOML."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from dfgym.errors import ConfigError, DataError
from dfgym.world.card import Model, Sampler


@dataclass(frozen=True)
class TrainConfig:
    """One training run; equal configurations on equal data give equal weights on a CPU."""

    data: tuple[Path, ...]
    """Data set folders that `dfgym record` wrote."""
    out: Path
    """Run folder: checkpoint, loss log, strips. An interrupted run there is resumed."""
    steps: int = 20_000
    """Optimiser steps of the video stage."""
    image_steps: int = 500
    """Optimiser steps on single frames before it: pictures first, then motion."""
    batch: int = 32
    """Sequences a step, over all processes."""
    length: int = 16
    """Frames a sequence; longer than the window, so that no frame counts as the first."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Muon turns the matrices of the blocks and AdamW the rest, or AdamW all."""
    learning_rate: float = 3e-3
    """AdamW's peak."""
    muon_rate: float = 0.01
    """Muon's peak, in AdamW's units (its updates are brought to AdamW's usual size)."""
    warmup: int = 200
    """Steps over which the rate rises."""
    cooldown: float = 0.4
    """Last share of the steps, over which the rate falls to 0."""
    weight_decay: float = 0.01
    """Of matrices, in both."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones that are packed."""
    held_out: float = 0.05
    """Last share of the episodes, kept from training: starts and evaluation come from them."""
    seed: int = 0
    """Of initial weights, windows, levels and noise."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the matrix products; `auto` is bfloat16 where the hardware multiplies it."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    strip_every: int = 2_000
    """Steps between PNG strips of the dream beside the real game; 0 for none."""
    tensorboard: bool = False
    """Write TensorBoard events too (extra `tensorboard`)."""
    model: Model = field(
        default_factory=lambda: Model(
            kind="transformer", dim=64, depth=4, heads=4, patch=2, window=6
        )
    )
    """The network's sizes."""
    sampler: Sampler = field(
        default_factory=lambda: Sampler(
            denoising_steps=5, shift=1.0, context_mode="clean", context_noise=0.0
        )
    )
    """How the packed world denoises; its shift also spreads the training levels."""

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        if not self.data:
            raise ConfigError("data is empty; name at least one folder that `dfgym record` wrote")
        for name in ("optimizer", "precision"):
            allowed = get_args(get_type_hints(TrainConfig)[name])
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}"
                )
        for name in ("learning_rate", "muon_rate", "weight_decay", "ema", "cooldown"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("steps", "batch", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.length < 2:
            raise ConfigError(f"length is {self.length}; a sequence needs at least 2 frames")
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out is {self.held_out}; allowed is 0 < held_out < 1")


def settings(config: TrainConfig) -> dict[str, Any]:
    """What makes the weights what they are, as plain values: a resumed run must agree on it."""
    plain = json.loads(json.dumps(asdict(config), default=str))
    apart = ("out", "device", "checkpoint_every", "strip_every", "tensorboard")
    return {name: value for name, value in plain.items() if name not in apart}


def from_settings(plain: dict[str, Any], out: Path) -> TrainConfig:
    """Undo `settings`.

    Raises:
        DataError: they are those of another version.
    """
    try:
        return TrainConfig(
            **{
                **plain,
                "data": tuple(Path(path) for path in plain["data"]),
                "out": out,
                "model": Model(**plain["model"]),
                "sampler": Sampler(**plain["sampler"]),
            }
        )
    except (KeyError, TypeError) as reason:
        raise DataError(f"{out} was trained by another version of dfgym: {reason}") from reason
