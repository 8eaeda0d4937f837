"""What a transformer carries beyond its window: one small interface, one file a memory.

A memory stands before one of the blocks and adds to its tokens what it has of the past. In training
it reads whole sequences of two copies: every copy of a frame reads what the context copies of all
frames before it wrote, and target copies write nothing. At run time it reads and writes its part of
the cache, of constant size: a pass over frame number `time` reads what the passes over the frames
before have left and writes the frame's own part alone, so passes over one frame can be repeated,
and the last of them, the commit, counts. What follows from the action alone is looked up once for
all of them.

Legend: b batch, t frames, y x the token grid, d width, r slots.
"""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.archive import Archive
from dfgym.model.config import GameSpec, ModelConfig
from dfgym.model.slots import MemoryPosition, Recalled
from dfgym.model.spatial_map import SpatialMap
from dfgym.model.state_space import StateSpace


class Memory(Protocol):
    """What every memory can do."""

    def __call__(self, x: Tensor, action: Tensor, begun: Tensor) -> Tensor:
        """Compute what is added to the tokens of whole sequences.

        Args:
            x: `(b, 2 t, y, x, d)`: t context copies, then t target copies.
            action: `(b, t, d)`, the embedded action that led to each frame.
            begun: bool `(b, t)`, whether a frame has one before it in its episode.
        """

    def empty_cache(self, rows: int) -> tuple[Tensor, ...]:
        """Return the memory of `rows` rows that have no past, all zeros."""

    def look(
        self, action: Tensor, position: MemoryPosition, cache: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Look up what all passes over one frame a row read, whatever the frame.

        Args:
            action: `(b, d)`, embedded.
            position: each row's.
            cache: the memory, in which nothing changes that another pass would read.
        """

    def read(self, x: Tensor, looked: tuple[Tensor, ...]) -> Tensor:
        """Compute what is added to the tokens `(b, y, x, d)` of one frame a row."""

    def write(
        self,
        x: Tensor,
        looked: tuple[Tensor, ...],
        position: MemoryPosition,
        cache: tuple[Tensor, ...],
    ) -> None:
        """Take in one frame a row, as it was before something was added: writes in place."""

    def recall(self, cache: tuple[Tensor, ...], time: Tensor) -> Recalled:
        """Return what the last frame read, or what is stored; `time` as in `hide`."""

    def hide(self, cache: tuple[Tensor, ...], time: Tensor) -> None:
        """Zero in place what the pass over frame number `time`, `(b,)`, does not read."""


def begun_frames(mask: Tensor) -> Tensor:
    """Return whether each frame has one before it, bool `(b, t)`, from `NoisedSequences.mask`."""
    t = mask.shape[1] // 2
    return F.pad(mask.diagonal(-1, 1, 2)[:, : t - 1], (1, 0))


def build_memories(config: ModelConfig, game: GameSpec) -> nn.ModuleDict:
    """Build the memories of a network, by the number of the block that each stands before."""
    return nn.ModuleDict({str(i): _build(config, game) for i in config.memory_places})


def _build(config: ModelConfig, game: GameSpec) -> nn.Module:
    grid = (game.height // config.patch, game.width // config.patch)
    match config.memory:
        case "archive":
            return Archive(config.dim, config.patch, grid, config.memory_size)
        case "state_space":
            return StateSpace(config.dim, config.patch, grid, config.memory_size)
        case "spatial_map":
            return SpatialMap(config.dim, config.patch, grid, config.memory_size)
        case "none":
            raise AssertionError("a network without memory has no place for one")
