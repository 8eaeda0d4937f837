"""The view of a run: its log, its progress, and strips of the dream beside the real game."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError, MissingPackageError
from dfgym.files import write_atomic, write_png
from dfgym.frames import flicker
from dfgym.train.config import TrainConfig
from dfgym.train.loss import Losses
from dfgym.train.pack import draft_card, held_out_starts
from dfgym.train.strips import continue_episodes, draw
from dfgym.train.survey import Survey
from dfgym.world.bundle import World
from dfgym.world.settings import Settings

LOG_FILE = "log.jsonl"

logger = logging.getLogger("dfgym")


class Strips:
    """Pictures of held-out episodes: the real frames above, the dream of the same actions below."""

    def __init__(
        self,
        config: TrainConfig,
        game: Survey,
        stores: list[EpisodeStore],
        device: torch.device,
        rows: int = 3,
        frames: int = 16,
    ) -> None:
        self.folder, self.device, self.frames = config.out / "strips", device, frames
        self.card = draft_card(config, game, stores)
        self.starts = held_out_starts(stores, config.held_out, limit=4096)
        lengths = np.diff(self.starts.offsets)
        self.episodes = np.argsort(-lengths, kind="stable")[:rows]

    def draw(self, step: int, network: nn.Module) -> Path:
        """Dream each episode from its first frame and write one PNG."""
        weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        world = World(self.card, "", self.folder, weights, self.starts)
        rows, lengths = len(self.episodes), np.diff(self.starts.offsets)[self.episodes]
        real, dream = continue_episodes(
            world,
            [(int(episode), 0) for episode in self.episodes],
            min(self.frames, int(lengths.min())),
            range(rows),
            Settings(str(self.device)),
        )
        tolerance = flicker(bool(self.card.frames.palette))
        picture = draw(real, dream, f"step {step:,}", tolerance)
        return write_png(self.folder / f"{step:07d}.png", picture)


class Observer:
    """The loss log, the progress bar, TensorBoard and the strips of a run, from its first step."""

    def __init__(
        self,
        config: TrainConfig,
        game: Survey,
        stores: list[EpisodeStore],
        device: torch.device,
        start: int,
    ) -> None:
        self.config = config
        self.strips = Strips(config, game, stores, device)
        self._board = _open_board(config.out) if config.tensorboard else None
        path = config.out / LOG_FILE
        lines = _lines_before(path, start)
        if start and not lines:
            logger.warning("%s is gone; the log begins again at step %d", path, start)
        write_atomic(path, lines)
        self._log = path.open("a", buffering=1)
        self._bar = tqdm(initial=start, unit="step", dynamic_ncols=True)
        self._began = time.perf_counter()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._bar.close()
        self._log.close()
        if self._board:
            self._board.close()

    def log(self, step: int, loss: Losses, norm: Tensor, rate: float, total: int | None) -> None:
        """Log one step.

        Args:
            step: the number of the step.
            loss: its losses.
            norm: the norm of its gradient.
            rate: the share of the peak learning rates.
            total: the steps of the whole run, if that is known yet.
        """
        values = {name: value.item() for name, value in loss._asdict().items()}
        values |= {"gradient": norm.item(), "rate": rate}
        self._log.write(json.dumps({"step": step, **values}) + "\n")
        now = time.perf_counter()
        speed = self.config.batch * self.config.length / (now - self._began)
        self._began = now
        text = f"loss {loss.total.item():.3f}, {speed:.0f} frames/s"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.total = total
        self._bar.update()
        for name, value in values.items():
            if self._board:
                self._board.add_scalar(name, value, step)

    def sync(self) -> None:
        """Bring the log to the disk, so that no checkpoint is past what a power cut leaves."""
        self._log.flush()
        os.fsync(self._log.fileno())


def is_strip_due(done: int, first: int) -> bool:
    """Whether a strip is drawn after `done` steps: after `first`, twice, four times as many ..."""
    times, rest = divmod(done, first) if first else (0, 1)
    return rest == 0 and times & (times - 1) == 0 and times > 0


def _lines_before(path: Path, start: int) -> bytes:
    """Return the log's whole lines of the steps before `start`; later steps are logged again.

    Raises:
        DataError: a line is not a step's, or steps are missing before `start`.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    earlier: list[bytes] = []
    before: int | None = None
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            continue
        try:
            step = json.loads(line)["step"]
            if type(step) is not int:
                raise TypeError(f"its step is {step!r}")
        except (ValueError, KeyError, TypeError, RecursionError) as reason:
            raise DataError(
                f"{path}, line {number} is not a step's: {line[:80]!r}; delete that line to go on"
            ) from reason
        if step >= start:
            continue
        _check_next(path, before, step)
        before = step
        earlier.append(line)
    if before is not None:
        _check_next(path, before, start)
    return b"".join(earlier)


def _check_next(path: Path, before: int | None, step: int) -> None:
    """Refuse a step that does not follow the one before it."""
    if before is not None and step != before + 1:
        raise DataError(
            f"{path} goes from step {before} to step {step}, so lines have been lost; bring it "
            "back whole, or delete it to go on with a log that begins here"
        )


def _open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as reason:
        raise MissingPackageError(
            'tensorboard is not installed; pip install "dfgym[tensorboard]", or leave '
            "--tensorboard out"
        ) from reason
    return SummaryWriter(str(folder / "tensorboard"))
