"""The card: all about a world but its weights and starts, as dataclasses and as `world.toml`.

A card comes from strangers, so nothing in it is trusted: types, unknown and missing keys and ranges
are checked here, before anything is allocated, and no key can name an import path.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfgym.errors import WorldError
from dfgym.files import read_capped
from dfgym.world import fields

FORMAT = 1
CARD_FILE = "world.toml"
CONTEXT_MODES = ("clean", "told_noisy", "noised", "dynamic", "kept")
TARGETS = ("x", "v", "eps")
MAX_CARD_BYTES = 64 * 1024
MAX_LINE = 1024  # tomllib takes quadratic time in a dotted key's parts: 64 kB of "a.a.a" is minutes
MAX_SIDE = 2048  # pixels of an observation
KEYS = ("left", "right", "up", "down", "space", "return")  # besides single characters

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*-v[0-9]+", re.ASCII)
# Without ":", since `gym.make("module:Id-v0")` imports the module.
_ENV_ID = re.compile(r"(?:[A-Za-z0-9_.-]{1,64}/)?[A-Za-z0-9_.-]{1,64}", re.ASCII)
_EXTRA = re.compile(r"(?:[a-z0-9]+(?:-[a-z0-9]+)*)?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def check_name(name: str) -> str:
    """Return a world's name if it is well formed.

    Raises:
        WorldError: it is not like `minatar-breakout-v0`, or longer than 64 characters.
    """
    if not isinstance(name, str) or len(name) > 64 or not _NAME.fullmatch(name):
        raise WorldError(
            f"a world cannot be named {fields.shown(name)}: use at most 64 of a-z, 0-9 and "
            f"single hyphens, and end with a version, like minatar-breakout-v0"
        )
    return name


@dataclass(frozen=True)
class Source:
    """The real game: how to make it, which versions recorded it, what it may be used for."""

    env: str
    """Gymnasium id, without a module prefix."""
    kwargs: dict[str, Any]
    """Keywords of `gym.make`, plain values."""
    versions: dict[str, str]
    """Package versions at recording."""
    extra: str
    """The extra of dfgym that installs the game's package; empty if none is needed."""
    licence: str

    def __post_init__(self) -> None:
        fields.text("source.licence", self.licence, 200)
        fields.matches("source.env", self.env, _ENV_ID, "a Gymnasium id without ':'")
        fields.matches(
            "source.extra", self.extra, _EXTRA, "the name of an extra of dfgym, or nothing"
        )
        fields.plain("source.kwargs", self.kwargs)
        fields.plain("source.versions", self.versions)


@dataclass(frozen=True)
class Frames:
    """Frames as the model sees them, and how they become observations."""

    height: int
    width: int
    observation_scale: int
    """Each model pixel is drawn this many pixels high and wide."""
    fps: int
    palette: tuple[tuple[int, int, int], ...]
    """The game's colours, or nothing for plain RGB."""

    def __post_init__(self) -> None:
        fields.between("frames.height", self.height, 1, 512)
        fields.between("frames.width", self.width, 1, 512)
        fields.between("frames.observation_scale", self.observation_scale, 1, 32)
        fields.between("frames.fps", self.fps, 1, 1000)
        side = max(self.height, self.width) * self.observation_scale
        fields.between("frames: the longer side times observation_scale", side, 1, MAX_SIDE)
        if self.palette:
            fields.between("frames.palette: colours", len(self.palette), 2, 256)
        if len(set(self.palette)) < len(self.palette):
            raise WorldError("frames.palette holds a colour twice")
        for value in (value for colour in self.palette for value in colour):
            fields.between("frames.palette: a value", value, 0, 255)


@dataclass(frozen=True)
class Actions:
    """The action space, what each action means and which key plays it."""

    n: int
    meanings: tuple[str, ...]
    keys: dict[str, int]
    """Keyboard key (a character, or a name like "left") to action."""
    kind: str = "discrete"

    def __post_init__(self) -> None:
        fields.one_of("actions.kind", self.kind, ("discrete",))
        fields.between("actions.n", self.n, 1, 1024)
        if len(self.meanings) != self.n:
            raise WorldError(
                f"actions.meanings names {len(self.meanings)} actions, actions.n is {self.n}"
            )
        for meaning in self.meanings:
            fields.text("actions.meanings", meaning, 64)
        for key, action in self.keys.items():
            if key not in KEYS and not (len(key) == 1 and key.isprintable()):
                raise WorldError(
                    f"actions.keys: no key is named {fields.shown(key)}: use one printable "
                    f"character, or {', '.join(KEYS)}"
                )
            fields.between(f"actions.keys.{key}", action, 0, self.n - 1)


@dataclass(frozen=True)
class Episode:
    """Where an episode is cut off."""

    max_steps: int

    def __post_init__(self) -> None:
        fields.between("episode.max_steps", self.max_steps, 1, 10**7)


@dataclass(frozen=True)
class Rewards:
    """The rewards the game can give: increasing bucket values that cover the recorded ones."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        fields.between("rewards.values: their number", len(self.values), 1, 256)
        for value in self.values:
            fields.between("rewards.values", value, -1e9, 1e9)
        if any(low >= high for low, high in zip(self.values, self.values[1:], strict=False)):
            raise WorldError(f"rewards.values = {list(self.values)}: must increase")


@dataclass(frozen=True)
class Model:
    """The network's dials; frames, actions and rewards give the rest."""

    dim: int
    depth: int
    heads: int
    patch: int
    window: int
    """Frames that the transformer can attend to, and that any model is given of a start."""
    shortcut: int = 0
    """Finest number of denoising steps whose jumps it is told, a power of two; 0: it knows none."""
    mixture: int = 1
    """Joint outcomes of a frame that the network tells apart; one is drawn in each denoising step.
    1: each cell of a frame goes by its own mean."""
    target: str = "x"
    """What the network says of a frame, see `diffusion.targets`."""
    kind: str = "transformer"

    def __post_init__(self) -> None:
        fields.one_of("model.kind", self.kind, ("transformer", "recurrent"))
        fields.between("model.dim", self.dim, 1, 2048)
        fields.between("model.depth", self.depth, 1, 64)
        fields.between("model.heads", self.heads, 1, 64)
        fields.between("model.patch", self.patch, 1, 64)
        fields.between("model.window", self.window, 1, 1024)
        fields.one_of("model.target", self.target, TARGETS)
        if self.shortcut and (self.target != "x" or self.mixture > 1):  # jumps are taught by means
            raise WorldError(f"model.shortcut = {self.shortcut}: needs target 'x' and mixture 1")
        fields.between("model.mixture", self.mixture, 1, 64)
        fields.one_of("model.shortcut", self.shortcut, (0, 2, 4, 8, 16, 32, 64, 128))
        if self.dim % (2 * self.heads):
            raise WorldError(
                f"model.dim = {self.dim}: must be an even multiple of model.heads = {self.heads}"
            )
        if self.kind == "recurrent" and self.heads != 1:
            raise WorldError(
                f"model.heads = {self.heads}: must be 1 where model.kind is 'recurrent', which has "
                "no attention"
            )


@dataclass(frozen=True)
class Sampler:
    """How a frame is denoised and how finished frames are shown to the model."""

    denoising_steps: int
    shift: float
    context_mode: str
    context_noise: float

    def __post_init__(self) -> None:
        fields.between("sampler.denoising_steps", self.denoising_steps, 1, 128)
        fields.between("sampler.shift", self.shift, 1e-3, 1e3)
        fields.one_of("sampler.context_mode", self.context_mode, CONTEXT_MODES)
        fields.between("sampler.context_noise", self.context_noise, 0, math.nextafter(1, 0))


@dataclass(frozen=True)
class Files:
    """sha256 of the world's other files, 64 hexadecimal digits each."""

    weights: str
    starts: str

    def __post_init__(self) -> None:
        fields.matches("files.weights", self.weights, _SHA256, "64 hexadecimal digits")
        fields.matches("files.starts", self.starts, _SHA256, "64 hexadecimal digits")


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that is known about a world."""

    format: int = FORMAT
    name: str
    description: str
    source: Source
    frames: Frames
    actions: Actions
    episode: Episode
    rewards: Rewards
    model: Model
    sampler: Sampler
    files: Files
    data: dict[str, Any]
    """How the data was made; like the next two a free table of plain values."""
    training: dict[str, Any]
    """How it was trained: steps, wall time, device."""
    measured: dict[str, Any]
    """What was measured: fidelity, transfer, speed."""

    def __post_init__(self) -> None:
        fields.one_of("format", self.format, (FORMAT,))
        check_name(self.name)
        fields.text("description", self.description, 500)
        for side in ("height", "width"):
            if (size := getattr(self.frames, side)) % self.model.patch:
                raise WorldError(
                    f"model.patch = {self.model.patch}: must divide frames.{side} = {size}"
                )
        if self.frames.palette and self.model.target != "x":
            raise WorldError(
                f"model.target = {self.model.target!r}: must be x where frames.palette has colours"
            )
        if self.model.mixture > 1 and not self.frames.palette:
            raise WorldError(
                f"model.mixture = {self.model.mixture}: must be 1 where frames.palette has no "
                "colours to tell apart"
            )
        for key in ("data", "training", "measured"):
            fields.plain(key, getattr(self, key))

    @classmethod
    def from_toml(cls, text: bytes, where: str) -> Card:
        """Read a card; `where` names the file in errors.

        Raises:
            WorldError: the text is not TOML, a key is unknown or missing, or a value has the wrong
                type or is out of range.
        """
        try:
            if len(text) > MAX_CARD_BYTES or max(map(len, text.split(b"\n"))) > MAX_LINE:
                raise WorldError(f"allowed are {MAX_CARD_BYTES} bytes and {MAX_LINE} a line")
            try:
                table = tomllib.loads(text.decode())
            except (ValueError, RecursionError) as reason:
                raise WorldError(f"not valid TOML: {reason}") from None
            if table.get("format", FORMAT) != FORMAT:
                raise WorldError(
                    f"format = {fields.shown(table['format'])}: this dfgym reads format {FORMAT}; "
                    f"a newer dfgym may read it"
                )
            return fields.read(cls, table)
        except WorldError as reason:
            raise WorldError(f"{where}: {reason}") from None

    def to_toml(self) -> str:
        """Write the card; `from_toml` reads it back equal."""
        import tomli_w

        return tomli_w.dumps(dataclasses.asdict(self))


def read_bytes(folder: Path) -> bytes:
    """Read a world folder's `world.toml`, whose sha256 is the world's hash."""
    return read_capped(folder / CARD_FILE, MAX_CARD_BYTES, WorldError)
