"""The sizes of a network: its dials, and what the game fixes. Importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from dfgym import checks
from dfgym.actions import Component
from dfgym.errors import ConfigError

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
    kind: Literal["transformer", "recurrent"] = "transformer"
    """The network: attention over a window, or a latent that is carried on."""

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
