"""What a person sees of a run: strips of the dream beside the real game, and TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dfgym.data.store import EpisodeStore
from dfgym.errors import MissingPackageError
from dfgym.files import write_png
from dfgym.frames import upscale
from dfgym.train.config import TrainConfig
from dfgym.train.pack import draft_card, held_out_starts
from dfgym.train.survey import Survey
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics


class Strips:
    """Pictures of held-out episodes: the real frames above, the dream of the same actions below."""

    def __init__(
        self,
        config: TrainConfig,
        found: Survey,
        stores: list[EpisodeStore],
        device: torch.device,
        rows: int = 3,
        frames: int = 16,
    ) -> None:
        self.folder, self.device, self.frames = config.out / "strips", device, frames
        self.card = draft_card(config, found, stores)
        self.starts = held_out_starts(stores, config.held_out, limit=4096)
        lengths = np.diff(self.starts.offsets)
        self.episodes = np.argsort(-lengths, kind="stable")[:rows]

    def draw(self, step: int, network: nn.Module) -> Path:
        """Dream each episode from its first frame and write one PNG."""
        weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        world = World(self.card, "", self.folder, weights, self.starts)
        dynamics = Dynamics(world, len(self.episodes), device=str(self.device))
        episodes = [self.starts.episode(int(i)) for i in self.episodes]
        length = min(self.frames, *(len(frames) for frames, _ in episodes))
        rows = np.arange(len(episodes))
        dynamics.reset(rows, rows, [(frames[:1], actions[:0]) for frames, actions in episodes])
        dreams = [dynamics.frames()]
        for t in range(length - 1):
            dreams.append(dynamics.step(np.array([actions[t] for _, actions in episodes])).frames)
        dream = np.stack(dreams, 1)  # rows, t, h, w, 3
        real = np.stack([frames[:length] for frames, _ in episodes])
        pairs = np.pad(
            np.stack((real, dream), 1), ((0, 0),) * 3 + ((0, 1), (0, 1), (0, 0)), constant_values=96
        )  # rows, 2, t, h + 1, w + 1, 3
        sheet = pairs.transpose(0, 1, 3, 2, 4, 5)
        sheet = sheet.reshape(np.prod(sheet.shape[:3]), -1, 3)
        scale = max(1, 960 // sheet.shape[1])
        return write_png(self.folder / f"{step:07d}.png", upscale(sheet, scale))


class Tensorboard:
    """Scalars for TensorBoard, in the run's folder."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as reason:
            raise MissingPackageError(
                'tensorboard is not installed; pip install "dfgym[tensorboard]", or leave '
                "--tensorboard out"
            ) from reason
        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Add every number under its name."""
        for name, value in values.items():
            if name != "step":
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush."""
        self.writer.close()
