"""`dfgym bench --training`: how fast a card's network is trained, what that costs, where time goes.

The steps are those of `dfgym.train.loop`, on random episodes in the card's form.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dfgym.bench import operations
from dfgym.bench.speed import Around, percentiles, repeat, replaced, wait
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError
from dfgym.model import weight_shapes
from dfgym.train import loop
from dfgym.train.batches import Batches, Process
from dfgym.train.config import TrainConfig
from dfgym.train.survey import Survey
from dfgym.world import memory
from dfgym.world.card import Card

TOLD = ("batch", "length", "optimizer", "law", "level_shift", "weight", "precision")
"""What a card's table `training` may say of how steps are taken; else it is `TrainConfig`'s."""
STAGE = 10**6
"""Steps of each stage of the run that is acted: more than can be timed."""
EPISODES = 8
SAVED, SHARED, CELLS = 28, 10, 4
"""At the peak of a step so many numbers are held for each number of all tokens by every block, and
by all else, and for each number of all frames: fitted from above to what autograd keeps."""


def plan(card: Card, batch: int | None = None, length: int | None = None) -> TrainConfig:
    """The run that is acted: image stage, then video stage, whose second half learns to jump.

    Args:
        card: whose network is trained, as its table `training` says.
        batch: sequences a step, if not the card's.
        length: frames a sequence, if not the card's.

    Raises:
        ConfigError: a value is not allowed.
    """
    told = {name: card.training[name] for name in TOLD if name in card.training}
    told |= {k: v for k, v in (("batch", batch), ("length", length)) if v is not None}
    here = Path()
    return TrainConfig(
        **{
            **told,
            "data": (here,),
            "out": here,
            "image_steps": STAGE,
            "steps": 2 * STAGE,
            "shortcut_from": 0.5,
            "model": card.model,
            "sampler": card.sampler,
        }
    )


def check(card: Card, config: TrainConfig, device: torch.device) -> None:
    """Refuse a batch that does not fit; the message names the largest that would.

    Raises:
        ConfigError: an estimate of what a step holds is more than is available.
    """
    frames, model = 2 * config.length, card.model
    cells = card.frames.height * card.frames.width
    tokens = cells // model.patch**2 * model.dim
    held = tokens * (SAVED * model.depth + SHARED) + CELLS * cells * (len(card.frames.palette) or 3)
    row = 4 * frames * held + 5 * frames**2  # and which copy sees which
    # Weights, their average, gradients and what two optimisers remember.
    fixed = 4 * 5 * sum(int(np.prod(shape)) for shape in weight_shapes(card).values())
    free = memory.available_bytes(device)
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
    """Write a data set of nothing but noise in a card's form, equal for equal seeds."""
    shape = (2 * length, card.frames.height, card.frames.width)
    palette, rng = np.array(card.frames.palette, np.uint8), np.random.default_rng(seed)
    meta = {"frame_shape": [*shape[1:], 3], "actions": card.actions.n}
    with EpisodeStore.create(folder, meta) as store:
        for number in range(EPISODES):
            drawn = rng.integers(len(palette) or 256, size=shape if len(palette) else (*shape, 3))
            store.append(
                palette[drawn] if len(palette) else drawn.astype(np.uint8),
                rng.integers(card.actions.n, size=shape[0] - 1),
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
        card: whose network is trained, from fresh weights.
        config: of `plan`.
        device: where.
        seconds: of each measurement: two for each stage.

    Returns:
        `precision`, which the loop has picked; `rates`, the operations a second of one big product
        in float32 and in that precision; `stages`, what `_stage` says of each that the card has.
    """
    with tempfile.TemporaryDirectory(prefix="dfgym-") as folder:
        stores = [draw(Path(folder) / "data", card, config.length)]
        size = (card.frames.height, card.frames.width, 3)
        found = Survey(size, card.actions.n, card.frames.palette, card.rewards.values)
        batches = Batches(config, found, stores, Process(0, 1))
        learner = loop.begin(config, card, device)
        kinds = dict.fromkeys((torch.float32, learner.precision))
        rates = {
            str(kind).removeprefix("torch."): operations.matrix_rate(device, dtype=kind)[
                "matrix_product"
            ]
            for kind in kinds
        }
        stages = ["pictures", "videos", *(["jumps"] if card.model.shortcut else [])]
        return {
            "precision": str(learner.precision).removeprefix("torch."),
            "rates": rates,
            "stages": [
                _stage(name, Steps(learner, config, batches, device, i * STAGE), seconds, rates)
                for i, name in enumerate(stages)
            ],
        }


class Steps:
    """Training steps, one a call, from a step on."""

    def __init__(
        self,
        learner: loop.Learner,
        config: TrainConfig,
        batches: Batches,
        device: torch.device,
        first: int,
    ) -> None:
        self.learner, self.config, self.device = learner, config, device
        self.batches, self.process, self.step = batches, batches.process, first

    def __call__(self) -> None:
        """Take one, as the loop does."""
        batch = self.batches(self.step, self.device)
        loop.advance(self.learner, self.config, self.process, batch, self.step)
        self.step += 1


def count(steps: Steps) -> int:
    """Count the operations of one step's forward and backward passes; updates no weights.

    Attention is counted as plain matrix products of all copies with all, since torch's counter does
    not see the CPU's fused one; half of it is masked.
    """
    with ExitStack() as stack:
        for optimizer in steps.learner.optimizers:
            stack.enter_context(replaced(optimizer, ("step",), lambda *_: lambda: None))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        return operations.flops(steps)


def _stage(name: str, steps: Steps, seconds: float, rates: dict[str, float]) -> dict[str, Any]:
    """Time one stage.

    Returns:
        `stage`, `steps` (how many were timed), `steps_per_second`, `frames_per_second` (of the
        sequences: each goes through the network as two copies), `p50_ms`, `p95_ms`, `p99_ms`,
        `operations_per_step`, `share_of_float32` and likewise of the other precision; `time`, see
        `parts`.
    """
    counted, config = count(steps), steps.config
    times = repeat(steps, seconds)
    speed = float(1 / times.mean())
    return {
        "stage": name,
        "steps": len(times),
        "steps_per_second": speed,
        "frames_per_second": speed * config.batch * config.length,
        **percentiles(times),
        "operations_per_step": counted,
        **{f"share_of_{kind}": speed * counted / rate for kind, rate in rates.items()},
        "time": parts(steps, seconds),
    }


def parts(steps: Steps, seconds: float) -> dict[str, float]:
    """Shares of a step's time by part of `loop.advance`; they add up to 1."""
    learner, spent = steps.learner, defaultdict[str, float](float)
    owners: list[tuple[str, object, str]] = [
        ("batch", steps, "batches"),
        ("forward and losses", loop, "losses"),
        ("backward", Tensor, "backward"),
        ("gradient clip", nn.utils, "clip_grad_norm_"),
        *((type(each).__name__, each, "step") for each in learner.optimizers),
        ("average", learner.average, "update_parameters"),
    ]
    with ExitStack() as stack:
        for label, owner, name in owners:
            stack.enter_context(replaced(owner, (name,), _clocked(label, spent)))
        total = float(repeat(steps, seconds, spent.clear).sum())
    shares = {label: spent[label] / total for label, *_ in owners}
    return {**shares, "the rest": 1 - sum(shares.values())}


def _clocked(label: str, spent: dict[str, float]) -> Around:
    def around(_: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            wait()
            before = time.perf_counter()
            result = original(*args, **kwargs)
            wait()
            spent[label] += time.perf_counter() - before
            return result

        return call

    return around
