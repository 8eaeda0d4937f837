"""The sizes of a network: its dials, and what the game fixes. Importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from dfgym import checks
from dfgym.actions import Component
from dfgym.errors import ConfigError

PAST = 2
"""Past frames whose pixels kind `multiscale` sees: two show speeds."""
HISTORY = 1024
"""Given frames that a network with a memory reads at most."""
ARCHIVE_TOP = 4
"""Frames of an archive that a frame attends to."""
MAP_CHANNELS, MAP_AHEAD = 12, 16
"""Numbers in a cell of a spatial map, and those that decide how an action moves it."""
Side = Annotated[int, Meta(ge=1, le=64)]
MemoryKind = Literal["none", "archive", "state_space", "spatial_map"]


@dataclass(frozen=True)
class ModelConfig:
    """The dials of a network; it is also the `[model]` table of a world's card.

    Raises:
        ConfigError: a value is not allowed.
    """

    dim: Annotated[int, Meta(ge=1, le=2048)]
    """Width of a token."""
    depth: Side
    """Number of blocks."""
    heads: Side
    """Attention heads; 1 for the recurrent network, which has no attention."""
    patch: Side
    """Cells along each side of a token; it divides the frame's height and width."""
    window: Annotated[int, Meta(ge=1, le=1024)]
    """Past frames that a transformer attends to, and that any network is given of a start."""
    mixture: Side = 1
    """Joint outcomes of a frame that the network tells apart; each denoising step samples one. With
    1 the prediction of each cell is its own mean. More are for frames of a palette's colours."""
    kind: Literal["transformer", "recurrent", "multiscale"] = "transformer"
    """The network: attention over a window, or a latent that is carried on, or attention between
    coarse tokens with fine ones and the last frames' pixels around it, for rich pictures."""
    fine_patch: Annotated[int, Meta(ge=0, le=64)] = 0
    """Cells along each side of the finest token of kind `multiscale`: patch, or patch divided by
    2, 4, 8, ... as often as there are finer scales. 0 for the other kinds."""
    fine_dim: Annotated[int, Meta(ge=0, le=2048)] = 0
    """Width of the finest token of kind `multiscale`; that of each coarser scale is twice as wide,
    but at most `dim`, the width of the coarsest. 0 for the other kinds."""
    memory: MemoryKind = "none"
    """What a transformer carries beyond its window: a bank of past frames that it attends to,
    states that every frame updates, or a map around an agent that sees the world from within."""
    memory_size: Annotated[int, Meta(ge=0, le=4096)] = 0
    """Frames in the archive, numbers along a state's side, or cells along the map's. 0 for none."""

    def __post_init__(self) -> None:
        checks.check(self, ConfigError)
        if self.dim % (2 * self.heads):
            raise ConfigError(
                f"dim is {self.dim}; expected an even multiple of heads, which is {self.heads}"
            )
        if self.kind == "recurrent" and self.heads != 1:
            raise ConfigError(
                f"heads is {self.heads}; expected 1 where kind is 'recurrent', which has no "
                "attention"
            )
        self._check_scales()
        self._check_memory()

    def _check_memory(self) -> None:
        """Check the size of the memory."""
        if self.memory != "none" and self.kind != "transformer":
            raise ConfigError(
                f"memory is {self.memory!r}; expected 'none' where kind is {self.kind!r}"
            )
        match self.memory:
            case "none":
                sizes, reason = range(1), "there is no memory"
            case "archive":
                least = max(ARCHIVE_TOP, self.window + 1)
                sizes = range(least, 4097)
                reason = f"a frame reads {ARCHIVE_TOP} that have left the window of {self.window}"
            case "state_space":
                sizes, reason = range(1, 65), "it is the side of every token's state"
            case "spatial_map":
                sizes, reason = (
                    range(3, 129, 2),
                    "it is the side of a map with the agent in its middle",
                )
        if self.memory_size not in sizes:
            expected = "0" if self.memory == "none" else f"{sizes[0]} to {sizes[-1]}"
            odd = ", odd" if sizes.step == 2 else ""
            raise ConfigError(
                f"memory_size is {self.memory_size}; expected {expected}{odd} where memory is "
                f"{self.memory!r}: {reason}"
            )

    def _check_scales(self) -> None:
        """Check the scales of kind `multiscale`."""
        multiscale = self.kind == "multiscale"
        for name, value in (("fine_patch", self.fine_patch), ("fine_dim", self.fine_dim)):
            if bool(value) != multiscale:
                expected = "1 or more" if multiscale else "0"
                raise ConfigError(
                    f"{name} is {value}; expected {expected} where kind is {self.kind!r}"
                )
        if not multiscale:
            return
        patches = [self.patch >> i for i in range(self.patch.bit_length())]
        allowed = [patch for i, patch in enumerate(patches) if patch << i == self.patch]
        if self.fine_patch not in allowed:
            raise ConfigError(
                f"fine_patch is {self.fine_patch}; expected {' or '.join(map(str, allowed))}, "
                f"since patch is {self.patch}"
            )
        if self.fine_dim > self.dim or (self.fine_patch == self.patch and self.fine_dim < self.dim):
            raise ConfigError(
                f"fine_dim is {self.fine_dim}; expected at most dim, which is {self.dim}, and "
                "equal to it where fine_patch is patch"
            )

    @property
    def memory_places(self) -> list[int]:
        """The numbers of the blocks that a memory stands before."""
        return [] if self.memory == "none" else [0]

    @property
    def history(self) -> int:
        """How many given frames of the past are read: the window, or with a memory many more."""
        return self.window if self.memory == "none" else HISTORY

    @property
    def ages(self) -> int:
        """How many past frames' pixels kind `multiscale` sees."""
        return min(PAST, self.window)

    @property
    def patches(self) -> list[int]:
        """Cells along each side of a token at each scale, from fine to coarse."""
        count = (self.patch // (self.fine_patch or self.patch)).bit_length()
        return [self.patch >> i for i in reversed(range(count))]

    @property
    def widths(self) -> list[int]:
        """Width of a token at each scale, from fine to coarse."""
        finer = len(self.patches) - 1
        return [*(min(self.fine_dim << i, self.dim) for i in range(finer)), self.dim]

    def numbers(self, height: int, width: int) -> int:
        """Count the numbers in all tokens of a frame, over all scales."""
        scales = zip(self.patches, self.widths, strict=True)
        return sum(height * width // patch**2 * dim for patch, dim in scales)

    def check_game(self, game: GameSpec) -> None:
        """Check that a network of these dials can be built for a game.

        Raises:
            ConfigError: the patch does not divide the frame, or a mixture has no colours.
        """
        if game.height % self.patch or game.width % self.patch:
            raise ConfigError(
                f"patch is {self.patch}; expected a divisor of the frame's height and width, "
                f"{game.height} and {game.width}"
            )
        if self.mixture > 1 and not game.categorical:
            raise ConfigError(
                f"mixture is {self.mixture}; expected 1 where frames have no palette of colours"
            )
        if self.memory == "spatial_map" and self.memory_size < 2 * max(game.height, game.width) - 1:
            least = 2 * max(game.height, game.width) - 1
            raise ConfigError(
                f"memory_size is {self.memory_size}; expected at least {least}, a map in whose "
                f"middle a view of {game.height} x {game.width} cells begins"
            )

    def cache_size(self, game: GameSpec) -> int:
        """Return how many numbers a network of these dials keeps of one row's past."""
        tokens = game.height * game.width // self.patch**2
        match self.kind:
            case "transformer":  # keys and values
                attended = 2 * self.depth * (self.window + 1) * tokens * self.dim
                return attended + len(self.memory_places) * self._memory_numbers(tokens)
            case "recurrent":  # the latent before the frame and after it
                return 2 * tokens * self.dim
            case "multiscale":  # keys and values, and the pixels of the last frames and of its own
                pixels = game.height * game.width * game.channels * (self.ages + 1)
                return pixels + 2 * self.depth * (self.window + 1) * tokens * self.dim

    def _memory_numbers(self, tokens: int) -> int:
        """Count the numbers that one memory keeps of a row."""
        size = self.memory_size
        match self.memory:
            case "none":
                return 0
            case "archive":  # cells, sight, poses and stamps; the free slot; where the agent is
                view = tokens * self.patch**2 * (MAP_CHANNELS + 2)
                return (size + 1) * (view + 8) + 2 * (MAP_AHEAD + 4)
            case "state_space":
                view = tokens * self.patch**2 * (MAP_CHANNELS + 1)
                return 2 * (tokens * size**2 + view + 3 + MAP_AHEAD)
            case "spatial_map":
                view = tokens * self.patch**2 * MAP_CHANNELS
                return size**2 * MAP_CHANNELS + 2 * (view + 4 + MAP_AHEAD)


@dataclass(frozen=True)
class GameSpec:
    """What a game fixes of a network."""

    height: int
    """Height of a frame at model size, cells."""
    width: int
    """Width of a frame at model size, cells."""
    channels: int
    """Channels of an encoded frame."""
    categorical: bool
    """Whether channels are one-hot colours, so that a mean is their expectation."""
    actions: int | tuple[Component, ...]
    """Number of discrete actions, or the parts of an action of another kind. "No action led here"
    is the index `actions` itself or, of parts, a row of NaN."""
    rewards: int
    """Number of reward buckets."""
