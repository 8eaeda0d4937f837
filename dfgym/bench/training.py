"""`dfgym bench --training`: how fast a card's network is trained, what that costs, where time goes.

The steps are those of `dfgym.train.loop`, on random episodes in the card's form.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from dfgym.bench import operations
from dfgym.bench.clock import SectionClock, durations, percentiles
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError
from dfgym.train import loop, memory
from dfgym.train.batches import Batches, Process
from dfgym.train.config import TrainConfig
from dfgym.train.schedule import Progress
from dfgym.train.survey import Survey
from dfgym.world import runtime
from dfgym.world.card import Card

SETTINGS = ("batch", "length", "optimizer", "level_shift", "precision")
"""The settings of a step that a card's table `training` may hold; `TrainConfig` has the others."""
STAGE = 10**6
"""The steps of each stage of the run that is acted: more than can be timed."""
PLATEAU = Progress(0.5, 0.5, 2 * STAGE, finished=False, interrupted=False, seconds=0.0)
EPISODES = 8
LABELS = {
    "dfgym::batch": "batch",
    "dfgym::corrupt": "corrupt",
    "dfgym::losses": "forward and losses",
    "dfgym::backward": "backward",
    "dfgym::clip_gradient": "gradient clip",
    "dfgym::average": "average",
}


def plan(card: Card, batch: int | None = None, length: int | None = None) -> TrainConfig:
    """Return the run that is acted: an image stage, then a video stage.

    Args:
        card: the card of the network that is trained, as its table `training` describes.
        batch: sequences a step; the card's if None.
        length: frames a sequence; the card's if None.

    Raises:
        ConfigError: a value is not allowed.
    """
    settings = {name: card.training[name] for name in SETTINGS if name in card.training}
    settings |= {k: v for k, v in (("batch", batch), ("length", length)) if v is not None}
    here = Path()
    return TrainConfig(
        **settings,
        data=(here,),
        out=here,
        image_steps=STAGE,
        steps=STAGE,
        model=card.model,
        sampler=card.sampler,
    )


def check(card: Card, config: TrainConfig, device: torch.device) -> None:
    """Refuse a batch that does not fit; the message names the largest that would.

    Raises:
        ConfigError: an estimate of what a step holds is more than is available.
    """
    row = memory.row_bytes(config, card.game_spec)
    fixed = memory.fixed_bytes(config, card.game_spec)
    free = runtime.available_bytes(device)
    largest = max(0, (free - fixed) // row)
    if config.batch > largest:
        fix = f"the largest batch that would fit is {largest}"
        if largest == 0:
            fix = "not even a batch of 1 would fit: make the length or the network smaller"
        raise ConfigError(
            f"training with a batch of {config.batch} and a length of {config.length} needs about "
            f"{(fixed + config.batch * row) / 2**30:.3g} GiB and {device} has "
            f"{free / 2**30:.3g} GiB free; {fix}"
        )


def draw(folder: Path, card: Card, length: int, seed: int = 0) -> EpisodeStore:
    """Write a data set of nothing but noise in a card's form; equal seeds write equal ones."""
    shape = (2 * length, card.frames.height, card.frames.width)
    palette, rng = np.array(card.frames.palette, np.uint8), np.random.default_rng(seed)
    meta = {"frame_shape": [*shape[1:], 3], "actions": card.actions.to_plain()}
    with EpisodeStore.create(folder, meta) as store:
        for number in range(EPISODES):
            cells = rng.integers(len(palette) or 256, size=shape if len(palette) else (*shape, 3))
            store.append(
                palette[cells] if len(palette) else cells.astype(np.uint8),
                card.actions.sample(rng, shape[0] - 1),
                rng.choice(card.rewards.values, size=shape[0] - 1),
                False,
                True,
                seed=number,
                policy="random",
            )
    return EpisodeStore.open(folder)


def measure(
    card: Card, config: TrainConfig, device: torch.device, seconds: float
) -> dict[str, Any]:
    """Time each stage of a run, one after the other on one network.

    Args:
        card: the card of the network that is trained, from fresh weights.
        config: the result of `plan`.
        device: where it is trained.
        seconds: the length of each measurement, two for each stage.

    Returns:
        `precision`, which the loop has picked; `rates`, the operations a second of one big product
        in float32 and in that precision; `stages`, the results of `_stage`.
    """
    with tempfile.TemporaryDirectory(prefix="dfgym-") as folder:
        stores = [draw(Path(folder) / "data", card, config.length)]
        size = (card.frames.height, card.frames.width, 3)
        survey = Survey(size, card.actions, card.frames.palette, card.rewards.values)
        batches = Batches(config, survey, stores, Process(0, 1))
        learner = loop.begin(config, survey.game_spec, device)
        kinds = dict.fromkeys((torch.float32, learner.precision))
        rates = {
            str(kind).removeprefix("torch."): operations.matrix_rate(device, dtype=kind)[
                "matrix_product"
            ]
            for kind in kinds
        }
        return {
            "precision": str(learner.precision).removeprefix("torch."),
            "rates": rates,
            "stages": [
                _stage(name, Steps(learner, config, batches, device, i * STAGE), seconds, rates)
                for i, name in enumerate(("pictures", "videos"))
            ],
        }


@dataclass
class Steps:
    """Training steps, one a call, from the step number `step` on."""

    learner: loop.Learner
    config: TrainConfig
    batches: Batches
    device: torch.device
    step: int

    def __call__(self) -> None:
        """Take one step, as the loop does."""
        with self.learner.section("dfgym::batch"):
            batch = self.batches(self.step, self.device)
        loop.advance(self.learner, self.config, self.batches.process, batch, PLATEAU)
        self.step += 1


def count(steps: Steps) -> int:
    """Count the operations of one step's forward and backward passes; no weight is changed.

    Attention is counted as plain matrix products of all copies with all, since torch's counter does
    not see the CPU's fused one; half of it is masked.
    """
    learner = steps.learner
    steps.learner = learner._replace(optimizers=[], average=copy.deepcopy(learner.average))
    with sdpa_kernel(SDPBackend.MATH):
        counted = operations.flops(steps)
    steps.learner = learner
    learner.network.zero_grad(set_to_none=True)
    return counted


def _stage(name: str, steps: Steps, seconds: float, rates: dict[str, float]) -> dict[str, Any]:
    """Time one stage.

    Returns:
        `stage`, `steps` (how many were timed), `steps_per_second`, `frames_per_second` (of the
        sequences: each goes through the network as two copies), `p50_ms`, `p95_ms`, `p99_ms`,
        `operations_per_step`, `share_of_float32` and likewise of the other precision; `time`, see
        `shares`.
    """
    counted, config = count(steps), steps.config
    times = durations(steps, seconds)
    speed = float(1 / times.mean())
    return {
        "stage": name,
        "steps": len(times),
        "steps_per_second": speed,
        "frames_per_second": speed * config.batch * config.length,
        **percentiles(times),
        "operations_per_step": counted,
        **{f"share_of_{kind}": speed * counted / rate for kind, rate in rates.items()},
        "time": shares(steps, seconds),
    }


def shares(steps: Steps, seconds: float) -> dict[str, float]:
    """Return the shares of a step's time that the sections of `loop.advance` take; sum 1."""
    learner, clock = steps.learner, SectionClock()
    steps.learner = learner._replace(section=clock)
    total = float(durations(steps, seconds, clock.clear).sum())
    steps.learner = learner
    result = {
        LABELS.get(name, name.removeprefix("dfgym::")): seconds / total
        for name, seconds in clock.seconds.items()
    }
    return {**result, "the rest": 1 - sum(result.values())}
