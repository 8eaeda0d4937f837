"""The configuration of a training run: one frozen dataclass, read from and written to TOML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from dfgym.checks import check, convert, to_plain
from dfgym.errors import ConfigError, DataError
from dfgym.model.config import ModelConfig
from dfgym.world.card import Sampler

Count = Annotated[int, Meta(ge=1)]
CountOrNone = Annotated[int, Meta(ge=0)]
Rate = Annotated[float, Meta(ge=0, le=1e100)]
Share = Annotated[float, Meta(ge=0, le=1)]
CHANGEABLE = ("device", "checkpoint_every", "strip_every", "tensorboard")
"""Fields that do not decide what is learned."""
SCHEDULE = ("steps", "minutes", "warmup", "cooldown")
"""Fields that may be others when a run is resumed, which prolongs it or cuts it short."""
DEFAULT_MINUTES = 30.0


@dataclass(frozen=True)
class TrainConfig:
    """One training run; equal configurations on equal data give equal weights on a CPU."""

    data: tuple[Path, ...]
    """Data set folders that `dfgym record` wrote."""
    out: Path
    """Run folder: checkpoint, loss log, strips. An interrupted run there is resumed."""
    steps: CountOrNone = 0
    """Optimiser steps of the video stage; 0 for as many as `minutes` allow."""
    minutes: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    """Wall time to train for, over all calls: the run ends by the clock. 0 where `steps` are given;
    without either, half an hour."""
    image_steps: CountOrNone = 500
    """Optimiser steps on single frames before it: pictures first, then motion."""
    batch: Count = 32
    """Sequences in a step, over all processes."""
    length: Annotated[int, Meta(ge=2)] = 16
    """Frames in a sequence; longer than the window, so that no frame counts as the first."""
    past: Count = 1
    """A frame counts if so many frames of its past, or all since its episode began, are in its
    sequence. A sequence that is cut out of an episode looks as if one began there, so that a clock
    which only a longer past shows would be learned as chance; then set it to the window."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Muon for the matrices of the blocks and AdamW for the rest, or AdamW for all."""
    learning_rate: Rate = 3e-3
    """The peak rate of AdamW."""
    muon_rate: Rate = 0.01
    """The peak rate of Muon, in AdamW's units (its updates are scaled to AdamW's usual size)."""
    warmup: Share = 0.03
    """The first share of the run, over which the rate rises."""
    cooldown: Share = 0.4
    """The last share of the run, over which the rate falls to 0."""
    weight_decay: Rate = 0.01
    """Weight decay of matrices, in both optimisers."""
    ema: Annotated[float, Meta(gt=0, lt=1)] = 0.1
    """The averaged weights, which are the ones that are packed, reach back over about this share of
    the steps."""
    level_shift: Annotated[float, Meta(ge=1e-3, le=1e3)] = 1.0
    """How far the levels that are learned lean to noise, see `diffusion.levels.shifted`."""
    noise_share: Share = 0.1
    """Share of the frames that are learned from pure noise, where every sampled frame begins; more
    for a world that takes few denoising steps."""
    stop_share: Share = 0.0
    """Share of the frames that are learned at one of the levels at which `sampler` asks for them,
    each level as often, instead of anywhere; more for a world that takes two to four steps."""
    clean_share: Share = 0.0
    """Share of the sequences whose past is clean throughout, as context mode `clean` shows it; in
    the others each past frame has a level of its own."""
    end_weight: Rate = 1.0
    """How many times a frame on which an episode ends counts in the errors of reward and
    termination; more where ends are rare, and what they pay hangs on frames long past."""
    action_dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Share of the frames that are learned as if no action had led to them, so that the world can
    be guided by its actions (`dfgym.planning.guidance`); 0.1 is usual."""
    held_out: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    """The last share of the episodes, kept from training for starts and evaluation."""
    from_world: str = ""
    """Begin with the weights of this world, a name or a folder, of the same game or of one of the
    same shape. Its network, sampler and levels are taken over."""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """Seed of initial weights, windows, levels and noise."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the matrix products; `auto` is bfloat16 where the hardware multiplies it."""
    checkpoint_every: Count = 500
    """Steps between checkpoints."""
    strip_every: CountOrNone = 2_000
    """The first PNG strip of the dream beside the real game is drawn after so many steps, the next
    after twice as many, and so on, and one at the end; 0 for none."""
    tensorboard: bool = False
    """Write TensorBoard events too (extra `tensorboard`)."""
    model: ModelConfig = field(
        default_factory=lambda: ModelConfig(
            kind="transformer", dim=64, depth=4, heads=4, patch=2, window=6
        )
    )
    """The sizes of the network."""
    sampler: Sampler = field(
        default_factory=lambda: Sampler(
            denoising_steps=5, shift=1.0, context_mode="clean", context_noise=0.0
        )
    )
    """How the packed world denoises."""

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        check(self, ConfigError)
        if not self.data:
            raise ConfigError("data is empty; give at least one folder that `dfgym record` wrote")
        if self.steps and self.minutes:
            raise ConfigError(
                f"steps is {self.steps} and minutes is {self.minutes:g}; give one of them, and 0 "
                "for the other"
            )
        if self.optimizer == "adamw" and self.muon_rate != TrainConfig.muon_rate:
            raise ConfigError(
                f"muon_rate is {self.muon_rate:g} and optimizer 'adamw', which has learning_rate "
                "alone; leave muon_rate out"
            )

    @property
    def seconds(self) -> float:
        """The wall time after which the run ends; 0 if it ends by its steps."""
        return 0.0 if self.steps else 60 * (self.minutes or DEFAULT_MINUTES)


def to_table(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration but `out` as plain values, the paths of its data absolute."""
    table: dict[str, Any] = to_plain(config)
    del table["out"]
    if "/" in config.from_world:  # a folder, and not a name on the shelf
        table["from_world"] = str(Path(config.from_world).resolve())
    return {**table, "data": [str(path.resolve()) for path in config.data]}


def fixed_settings(config: TrainConfig) -> dict[str, Any]:
    """Return what of `to_table` decides what is learned.

    A resumed run must share it, but for what is named in `SCHEDULE`.
    """
    return {name: value for name, value in to_table(config).items() if name not in CHANGEABLE}


def from_table(table: dict[str, Any], out: Path) -> TrainConfig:
    """Return the configuration that `to_table` or `fixed_settings` made plain.

    Raises:
        DataError: it was written by another version of dfgym.
    """
    try:
        return convert(TrainConfig, {**table, "out": out}, ConfigError)
    except ConfigError as reason:
        raise DataError(f"{out} was trained by another version of dfgym: {reason}") from reason
