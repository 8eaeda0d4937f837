"""A training step's data: windows of episodes, turned into what the network is shown."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dfgym.data.store import EpisodeStore
from dfgym.data.windows import WindowSampler
from dfgym.diffusion.forcing import Forced, force
from dfgym.diffusion.noise import mix
from dfgym.errors import ConfigError
from dfgym.frames import Codec
from dfgym.train.config import TrainConfig
from dfgym.train.survey import Survey


class Process(NamedTuple):
    """This process among those that `torchrun` started; alone by default."""

    rank: int
    size: int


class Batch(NamedTuple):
    """One step's data, on the device."""

    forced: Forced
    clean: Tensor
    rewards: Tensor
    terminated: Tensor
    valid: Tensor
    jumping: int
    alone: Tensor


class Batches:
    """Windows turned into network inputs, as a function of the step."""

    def __init__(
        self, config: TrainConfig, found: Survey, stores: list[EpisodeStore], process: Process
    ) -> None:
        rows, rest = divmod(config.batch, process.size)
        if rest:
            raise ConfigError(
                f"batch is {config.batch}; it must be a multiple of the {process.size} processes"
            )
        self.config, self.process = config, process
        self.codec = Codec(found.palette)
        self.values = np.array(found.rewards, np.float32)
        self.windows = WindowSampler(stores, config.length, rows, config.seed, config.held_out)

    def __call__(self, step: int, device: torch.device) -> Batch:
        """The batch of a step; the first `image_steps` see single frames, each on its own."""
        config = self.config
        drawn = self.windows.batch(step, self.process.rank, self.process.size)
        window = {name: torch.from_numpy(value).to(device) for name, value in drawn.items()}
        window["rewards"] = torch.from_numpy(
            np.abs(drawn["rewards"][..., None] - self.values).argmin(-1)
        ).to(device)
        if step < config.image_steps:
            # As many frames as in a video step; nothing led to any of them.
            window = {name: value.flatten(0, 1)[:, None] for name, value in window.items()}
            window["actions"] = torch.full_like(window["actions"], self.windows.num_actions)
            window["valid"] = torch.zeros_like(window["valid"])
        alone = torch.zeros_like(window["valid"])
        if step >= config.image_steps:  # the last sequences, since the first learn to jump
            alone[len(alone) - round(config.image_share * len(alone)) :] = True
            apart = torch.arange(config.length, device=device, dtype=torch.int32)
            window["segment"] = torch.where(alone, apart, window["segment"])
            window["actions"] = window["actions"].masked_fill(alone, self.windows.num_actions)
            window["valid"] = window["valid"] & ~alone
        clean = self.codec.encode(window["frames"])
        seed = mix(config.seed, step * self.process.size + self.process.rank)
        first = config.image_steps + round(config.shortcut_from * config.steps)
        learns = config.model.shortcut > 0 and step >= first
        jumping = math.ceil(len(clean) / 4) if learns else 0
        forced = force(
            clean,
            window["actions"],
            window["segment"],
            window=config.model.window,
            shift=config.level_shift,
            generator=torch.Generator().manual_seed(seed),
            law=config.law,
            noise_share=config.noise_share,
            clean_share=config.clean_share,
            clean_frames=config.clean_frames,
            shortcut=config.model.shortcut,
            jumping=jumping,
        )
        rewards, ended, valid = (window[name] for name in ("rewards", "terminated", "valid"))
        return Batch(forced, clean, rewards, ended, valid, jumping, alone)
