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
Side = Annotated[int, Meta(ge=1, le=64)]


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

    def cache_size(self, game: GameSpec) -> int:
        """Return how many numbers a network of these dials keeps of one row's past."""
        tokens = game.height * game.width // self.patch**2
        match self.kind:
            case "transformer":  # keys and values
                return 2 * self.depth * (self.window + 1) * tokens * self.dim
            case "recurrent":  # the latent before the frame and after it
                return 2 * tokens * self.dim
            case "multiscale":  # keys and values, and the pixels of the last frames and of its own
                pixels = game.height * game.width * game.channels * (self.ages + 1)
                return pixels + 2 * self.depth * (self.window + 1) * tokens * self.dim


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
