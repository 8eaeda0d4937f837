"""The data of a training step: windows of episodes, encoded for the network."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dfgym.data.store import EpisodeStore
from dfgym.data.windows import WindowSampler
from dfgym.diffusion.draws import Draws
from dfgym.diffusion.noise import mix
from dfgym.errors import ConfigError
from dfgym.frames import Codec
from dfgym.train.config import TrainConfig
from dfgym.train.survey import Survey

Stage = Literal["images", "videos"]


class Process(NamedTuple):
    """This process among those that `torchrun` started; alone by default."""

    rank: int
    size: int


class Batch(NamedTuple):
    """The data of one step, on the device.

    Attributes:
        step: the step of the run, from 0.
        stage: `images` while every frame is a sequence of its own, then `videos`.
        clean: encoded frames `(b, t, h, w, c)`.
        actions: `(b, t)` int64 or float32 `(b, t, parts)`, the action that led to each frame; the
            number of actions, or NaN, where none did.
        segment: `(b, t)`, the episode each frame belongs to.
        rewards: `(b, t)` int64, the reward bucket on arrival at each frame.
        terminated: `(b, t)` bool, whether the episode ended there.
        valid: `(b, t)` bool, whether the frame counts, with its reward and its end: an action led
            there, and enough of its past is in the window, see `TrainConfig.past`; nowhere in the
            image stage.
        end_weight: how many times an end counts, see `TrainConfig.end_weight`.
    """

    step: int
    stage: Stage
    clean: Tensor
    actions: Tensor
    segment: Tensor
    rewards: Tensor
    terminated: Tensor
    valid: Tensor
    end_weight: float = 1.0


class Batches:
    """Windows turned into batches, as a function of the step."""

    def __init__(
        self, config: TrainConfig, survey: Survey, stores: list[EpisodeStore], process: Process
    ) -> None:
        rows, rest = divmod(config.batch, process.size)
        if rest:
            raise ConfigError(
                f"batch is {config.batch}; expected a multiple of the {process.size} processes"
            )
        self.config, self.process = config, process
        self.codec = Codec(survey.palette)
        self.values = np.array(survey.rewards, np.float32)
        self.windows = WindowSampler(
            stores, config.length, rows, config.seed, config.held_out, config.past
        )

    def __call__(self, step: int, device: torch.device) -> Batch:
        """Return the batch of a step; in the first `image_steps` each frame stands alone."""
        windows = self.windows.batch(step, self.process.rank, self.process.size)
        window = {name: torch.from_numpy(value).to(device) for name, value in windows.items()}
        window["rewards"] = torch.from_numpy(
            np.abs(windows["rewards"][..., None] - self.values).argmin(-1)
        ).to(device)
        stage: Stage = "images" if step < self.config.image_steps else "videos"
        if stage == "images":
            # As many frames as in a video step; no action led to any of them.
            window = {name: value.flatten(0, 1)[:, None] for name, value in window.items()}
            window["actions"] = torch.full_like(window["actions"], self.windows.action_space.none)
            window["valid"] = torch.zeros_like(window["valid"])
        elif self.config.action_dropout:
            shape = window["valid"].shape
            first = step * self.config.batch + self.process.rank * shape[0]
            # Other generators than those of the levels and the noise.
            draws = Draws([mix(~self.config.seed, first + row) for row in range(shape[0])], 1)
            drop = draws.rand(shape) < self.config.action_dropout
            drop = drop.to(device).view(*shape, *[1] * (window["actions"].dim() - 2))
            window["actions"] = window["actions"].masked_fill(drop, self.windows.action_space.none)
        clean = self.codec.encode(window.pop("frames"))
        return Batch(
            step=step, stage=stage, clean=clean, end_weight=self.config.end_weight, **window
        )


def make_draws(config: TrainConfig, batch: Batch, process: Process) -> Draws:
    """Return the random numbers of a step: each of its windows has its own, see `Draws`."""
    count = config.batch // process.size
    first = batch.step * config.batch + process.rank * count
    seeds = [mix(config.seed, first + row) for row in range(count)]
    return Draws(seeds, len(batch.clean) // count)
