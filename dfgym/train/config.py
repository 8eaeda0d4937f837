"""What a training run is told: frozen dataclasses, read from and written to TOML."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from dfgym.diffusion.forcing import Law
from dfgym.diffusion.targets import Weight
from dfgym.errors import ConfigError, DataError
from dfgym.world.card import Model, Sampler
from dfgym.world.fields import read

_WORDS = {int: "whole number", float: "number", bool: "boolean", str: "string"}


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
    image_share: float = 0.0
    """Share of the video stage's sequences whose frames each stand alone, as pictures."""
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
    shortcut_from: float = 0.6
    """Share of the steps after which a quarter of the sequences learns to jump, where the model has
    a `shortcut`."""
    law: Law = "diffusion_forcing"
    """Which levels frames are learned at: each its own, or those of a method to compare with."""
    level_shift: float = 1.0
    """How far the levels that are learned lean to noise, see `diffusion.levels.shifted`."""
    noise_share: float = 0.1
    """Share of the frames that are learned from pure noise, where every sampled frame begins; more
    for a world that takes few denoising steps."""
    clean_share: float = 0.0
    """Share of the sequences whose past is clean throughout, as context mode `clean` shows it; in
    the others each past frame has a level of its own."""
    clean_frames: int = 0
    """Frames of each block that `full_sequence` is given clean."""
    weight: Weight = "uniform"
    """How an error counts at each level."""
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
    """How the packed world denoises."""

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        if not self.data:
            raise ConfigError("data is empty; name at least one folder that `dfgym record` wrote")
        for name, kind in get_type_hints(TrainConfig).items():
            value = getattr(self, name)
            whole = kind is float and type(value) is int
            if kind in _WORDS and type(value) is not kind and not whole:
                raise ConfigError(f"{name} is {value!r}; it must be a {_WORDS[kind]}")
        for name in ("optimizer", "precision", "law", "weight"):
            allowed = get_args(get_type_hints(TrainConfig)[name])
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}"
                )
        if not 1e-3 <= self.level_shift <= 1e3:
            raise ConfigError(f"level_shift is {self.level_shift}; allowed is 0.001 to 1000")
        for name in ("learning_rate", "muon_rate", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for low, names in (
            (0, ("image_steps", "warmup", "strip_every")),
            (1, ("steps", "batch", "checkpoint_every")),
        ):
            for name in names:
                if getattr(self, name) < low:
                    raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        if self.length < 2:
            raise ConfigError(f"length is {self.length}; a sequence needs at least 2 frames")
        for name, value, fits, span in (
            ("held_out", self.held_out, 0 < self.held_out < 1, "0 < held_out < 1"),
            ("ema", self.ema, 0 <= self.ema < 1, "0 <= ema < 1"),
            ("cooldown", self.cooldown, 0 <= self.cooldown <= 1, "0 <= cooldown <= 1"),
            ("shortcut_from", self.shortcut_from, 0 <= self.shortcut_from <= 1, "0 to 1"),
            ("image_share", self.image_share, 0 <= self.image_share < 1, "0 <= image_share < 1"),
            ("noise_share", self.noise_share, 0 <= self.noise_share <= 1, "0 to 1"),
            ("clean_share", self.clean_share, 0 <= self.clean_share <= 1, "0 to 1"),
            ("seed", self.seed, 0 <= self.seed < 2**63, "0 <= seed < 2**63"),
        ):
            if not fits:
                raise ConfigError(f"{name} is {value}; allowed is {span}")
        most = self.model.window if self.law == "full_sequence" else 0
        if not 0 <= self.clean_frames <= most:
            raise ConfigError(
                f"clean_frames is {self.clean_frames}; with law {self.law!r} and a window of "
                f"{self.model.window} allowed is 0 to {most}"
            )
        if self.clean_share and self.law != "diffusion_forcing":
            raise ConfigError(
                f"clean_share is {self.clean_share}, which is for law 'diffusion_forcing' alone; "
                f"law is {self.law!r}, so set it to 0"
            )
        if self.law == "full_sequence" and self.model.kind != "transformer":
            raise ConfigError(
                f"law is 'full_sequence', whose frames see later ones, and model.kind is "
                f"{self.model.kind!r}, which cannot; use 'transformer'"
            )
        if self.weight == "fused_snr" and self.law == "full_sequence":
            raise ConfigError(
                "weight is 'fused_snr', which counts the past's levels, and with law "
                "'full_sequence' frames see none; choose another"
            )
        if self.model.shortcut and self.law == "full_sequence":
            raise ConfigError(
                "law is 'full_sequence', whose frames share a level, and model.shortcut "
                f"{self.model.shortcut}; set it to 0"
            )


def to_plain(config: TrainConfig) -> dict[str, Any]:
    """All but `out`, as plain values; one folder has one path, from wherever it is named."""
    plain = json.loads(json.dumps(asdict(config), default=str))
    del plain["out"]
    return {**plain, "data": [str(path.resolve()) for path in config.data]}


def settings(config: TrainConfig) -> dict[str, Any]:
    """What makes the weights what they are: a resumed run must agree on it."""
    apart = ("device", "checkpoint_every", "strip_every", "tensorboard")
    return {name: value for name, value in to_plain(config).items() if name not in apart}


def from_settings(plain: dict[str, Any], out: Path) -> TrainConfig:
    """Undo `to_plain` or `settings`.

    Raises:
        DataError: they are those of another version.
        ConfigError, WorldError: a value is not allowed.
    """
    try:
        return TrainConfig(
            **{
                **plain,
                "data": tuple(Path(path) for path in plain["data"]),
                "out": out,
                "model": read(Model, plain["model"], "model"),
                "sampler": read(Sampler, plain["sampler"], "sampler"),
            }
        )
    except (KeyError, TypeError) as reason:
        raise DataError(f"{out} was trained by another version of dfgym: {reason}") from reason
