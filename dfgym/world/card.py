"""The card: all about a world but its weights and starts, as dataclasses and as `world.toml`.

A card comes from strangers, so nothing in it is trusted: types, unknown and missing keys and ranges
are checked here, before anything is allocated. Modules that it names are text here: what may be
imported is decided where a game is opened (`dfgym.games.packages`).
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from dfgym import checks
from dfgym.actions import ActionSpace, Row
from dfgym.checks import shorten
from dfgym.diffusion.context import ContextMode
from dfgym.errors import ActionError, ConfigError, WorldError
from dfgym.files import read_capped
from dfgym.model.config import GameSpec, ModelConfig
from dfgym.world import format1
from dfgym.world.settings import MAX_DENOISING_STEPS

FORMAT: Literal[2] = 2
CARD_FILE = "world.toml"
MAX_CARD_BYTES = 64 * 1024
MAX_LINE = 1024  # tomllib takes quadratic time in a dotted key's parts: 64 kB of "a.a.a" is minutes
MAX_CACHE_BYTES = 2**31  # of one row: few bytes of weights can ask for any number of them
MAX_SIDE = 2048  # pixels of an observation
MAX_DEPTH = 8  # tables and lists within a free table
MAX_TEXT = 1024
KEYS = ("left", "right", "up", "down", "space", "return")  # besides single characters

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*-v[0-9]+", re.ASCII)
# Without ":", since `gym.make("module:Id-v0")` imports the module.
_ENV_ID = re.compile(r"(?:[A-Za-z0-9_.-]{1,64}/)?[A-Za-z0-9_.-]{1,64}", re.ASCII)
_MODULE = re.compile(r"(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)?", re.ASCII)
_WRAPPER = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(?: \{[ -~]*\})?", re.ASCII)
_EXTRA = re.compile(r"(?:[a-z0-9]+(?:-[a-z0-9]+)*)?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_COLOUR = re.compile(r"#[0-9a-f]{6}", re.ASCII)

Channel = Annotated[int, Meta(ge=0, le=255)]
Colour = tuple[Channel, Channel, Channel]


def check_name(name: str) -> str:
    """Return a world's name if it is well formed.

    Raises:
        WorldError: it is not like `minatar-breakout-v0`, or longer than 64 characters.
    """
    if not isinstance(name, str) or len(name) > 64 or not _NAME.fullmatch(name):
        raise WorldError(
            f"a world cannot be named {shorten(name)}: use at most 64 of a-z, 0-9 and "
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
    licence: Annotated[str, Meta(max_length=200)]
    """Licence of the game."""
    module: str = ""
    """The module that registers the id; as the next four part of how the game is opened again, see
    `dfgym.games.source.Opening`. A module is imported only if it is known or trusted."""
    wrappers: Annotated[tuple[str, ...], Meta(max_length=16)] = ()
    """Wrappers around the game, from the inside out, as `module:Class` with keywords as JSON."""
    image_key: str = ""
    """The way to the picture through the game's observations."""
    render: bool = False
    """Whether frames are rendered though observations have a picture."""
    filter: Literal["area", "nearest", "contrast"] = "area"
    """How the game's frames are brought to the world's size."""

    def __post_init__(self) -> None:
        checks.check(self, WorldError)
        _check_printable("licence", self.licence)
        _check_printable("image_key", self.image_key)
        _check_match("module", self.module, _MODULE, "a module's dotted name, or nothing")
        for wrapper in self.wrappers:
            _check_match("wrappers", wrapper, _WRAPPER, "module:Class with keywords as JSON")
        _check_match("env", self.env, _ENV_ID, "a Gymnasium id without ':'")
        _check_match("extra", self.extra, _EXTRA, "the name of an extra of dfgym, or nothing")
        _check_plain("kwargs", self.kwargs)
        _check_plain("versions", self.versions)


@dataclass(frozen=True)
class Frames:
    """Frames as the model sees them, and how they become observations."""

    height: Annotated[int, Meta(ge=1, le=512)]
    """Cells, at model size."""
    width: Annotated[int, Meta(ge=1, le=512)]
    """Cells, at model size."""
    observation_scale: Annotated[int, Meta(ge=1, le=32)]
    """Each model pixel is drawn this many pixels high and wide."""
    fps: Annotated[int, Meta(ge=1, le=1000)]
    """Frames a second at which people play the game."""
    palette: Annotated[tuple[Colour, ...], Meta(max_length=256)]
    """The game's colours, or nothing for plain RGB; in the file each is like "#163d4e"."""

    def __post_init__(self) -> None:
        checks.check(self, WorldError)
        side = max(self.height, self.width) * self.observation_scale
        if side > MAX_SIDE:
            raise WorldError(
                f"observation_scale is {self.observation_scale}; expected the longer side times it "
                f"to be at most {MAX_SIDE}, it is {side}"
            )
        if len(self.palette) == 1:
            raise WorldError("palette has 1 colour; expected none, or 2 to 256")
        if len(set(self.palette)) < len(self.palette):
            raise WorldError("palette holds a colour twice; expected different ones")


@dataclass(frozen=True, kw_only=True)
class Actions(ActionSpace):
    """The action space, what each choice means and which key plays what."""

    keys: dict[str, int | dict[str, float]]
    """Keyboard key (a character, or a name like "left") to discrete action or, where actions have
    parts, to what it does while it is held: values of parts by their names."""
    error: ClassVar = WorldError

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_discrete and not self.meanings:
            raise WorldError("meanings is empty; expected one for each action")
        for key, action in self.keys.items():
            if key not in KEYS and not (len(key) == 1 and key.isprintable()):
                raise WorldError(
                    f"keys has the key {shorten(key)}; expected one printable character, or one "
                    f"of {', '.join(KEYS)}"
                )
            try:
                self.press(action)
            except ActionError as reason:
                fix = (
                    f"; expected an action, 0 to {self.count - 1}"
                    if self.is_discrete
                    else f": {reason}"
                )
                raise WorldError(f"keys.{key} is {shorten(action)}{fix}") from None

    def press(self, *actions: int | dict[str, float]) -> Row:
        """Return the action of keys that are held together, given by their entries in `keys`.

        The last one counts where actions are discrete, and where two set the same part. Without
        any it is `idle`.

        Raises:
            ActionError: an entry is no action.
        """
        row = self.idle
        for action in actions:
            if isinstance(row, int) and isinstance(action, int):
                row = self.row(action)
            elif isinstance(row, int) or isinstance(action, int):
                raise ActionError("give values of parts by their names")
            else:
                for name, value in action.items():
                    if name not in self.part_names:
                        names = ", ".join(self.part_names)
                        raise ActionError(f"give parts of {names}, and not {shorten(name)}")
                    row[self.part_names.index(name)] = value
                self.check_rows(row[None])
        return row

    @property
    def idle(self) -> Row:
        """What is played while no key is held: what no key plays, or each part at rest."""
        if self.is_discrete:
            played = [action for action in self.keys.values() if isinstance(action, int)]
            return next((action for action in range(self.count) if action not in played), 0)
        return self.rest


@dataclass(frozen=True)
class Episode:
    """Where an episode is cut off."""

    max_steps: Annotated[int, Meta(ge=1, le=10**7)]
    """Steps after which an episode is truncated."""

    def __post_init__(self) -> None:
        checks.check(self, WorldError)


@dataclass(frozen=True)
class Rewards:
    """The rewards the game can give: increasing bucket values that cover the recorded ones."""

    values: Annotated[
        tuple[Annotated[float, Meta(ge=-1e9, le=1e9)], ...], Meta(min_length=1, max_length=256)
    ]
    """The buckets' values."""

    def __post_init__(self) -> None:
        checks.check(self, WorldError)
        if any(low >= high for low, high in zip(self.values, self.values[1:], strict=False)):
            raise WorldError(f"values are {shorten(self.values)}; expected increasing ones")


@dataclass(frozen=True)
class Sampler:
    """How a frame is denoised and how finished frames are shown to the model."""

    denoising_steps: Annotated[int, Meta(ge=1, le=MAX_DENOISING_STEPS)]
    """Network passes that make a frame."""
    shift: Annotated[float, Meta(ge=1e-3, le=1e3)]
    """How far the signal levels lean to noise, see `dfgym.diffusion.levels.shifted`."""
    context_mode: ContextMode
    """How finished frames are shown to the network, see `dfgym.diffusion.context`."""
    context_noise: Annotated[float, Meta(ge=0, lt=1)]
    """How noisy they are shown, where the mode shows them noisy."""

    def __post_init__(self) -> None:
        checks.check(self, WorldError)


@dataclass(frozen=True)
class Files:
    """sha256 of the world's other files, 64 hexadecimal digits each."""

    weights: str
    """Of `weights.safetensors`."""
    starts: str
    """Of `starts.safetensors`."""

    def __post_init__(self) -> None:
        checks.check(self, WorldError)
        _check_match("weights", self.weights, _SHA256, "64 hexadecimal digits")
        _check_match("starts", self.starts, _SHA256, "64 hexadecimal digits")


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that is known about a world."""

    format: Literal[1, 2] = FORMAT
    """Of the file that the card was read from, which names of weights follow."""
    name: str
    """Like minatar-breakout-v0."""
    description: Annotated[str, Meta(max_length=500)]
    """One sentence."""
    source: Source
    frames: Frames
    actions: Actions
    episode: Episode
    rewards: Rewards
    model: ModelConfig
    sampler: Sampler
    files: Files
    data: dict[str, Any]
    """How the data was made; like the next two a free table of plain values."""
    training: dict[str, Any]
    """How it was trained: steps, wall time, device."""
    measured: dict[str, Any]
    """What was measured: fidelity, transfer, speed."""

    def __post_init__(self) -> None:
        checks.check(self, WorldError)
        check_name(self.name)
        _check_printable("description", self.description)
        try:
            self.model.check_game(self.game_spec)
        except ConfigError as reason:
            raise WorldError(f"model.{reason}") from None
        cache = 4 * self.model.cache_size(self.game_spec)
        if cache > MAX_CACHE_BYTES:
            raise WorldError(
                f"model keeps {cache} bytes of each environment's past; expected at most "
                f"{MAX_CACHE_BYTES}: a larger patch, or a smaller window, depth or dim"
            )
        for key in ("data", "training", "measured"):
            _check_plain(key, getattr(self, key))

    @property
    def game_spec(self) -> GameSpec:
        """What the game fixes of a network."""
        frames = self.frames
        return GameSpec(
            height=frames.height,
            width=frames.width,
            channels=len(frames.palette) or 3,
            categorical=bool(frames.palette),
            actions=self.actions.network_form,
            rewards=len(self.rewards.values),
        )

    @classmethod
    def from_toml(cls, text: bytes, where: str) -> Card:
        """Read a card; `where` names the file in errors.

        Raises:
            WorldError: the text is not TOML, a key is unknown or missing, or a value has the wrong
                type or is out of range.
        """
        try:
            return checks.convert(cls, _with_colours(_read_table(text)), WorldError)
        except WorldError as reason:
            raise WorldError(f"{where}: {reason}") from None

    def to_toml(self) -> str:
        """Write the card, in the newest format; `from_toml` reads it back equal."""
        import tomli_w

        table = dataclasses.asdict(self) | {"format": FORMAT}
        table["actions"] = self.actions.to_table() | {"keys": self.actions.keys}
        table["frames"]["palette"] = ["#{:02x}{:02x}{:02x}".format(*c) for c in self.frames.palette]
        return tomli_w.dumps(table)


def read_episode(text: bytes) -> Episode:
    """Read where an episode is cut off, and nothing else of a card, in a third of the time.

    Raises:
        WorldError: the text is not TOML, or has no such table.
    """
    return checks.convert(Episode, _read_table(text).get("episode"), WorldError)


def _read_table(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_CARD_BYTES or max(map(len, text.split(b"\n"))) > MAX_LINE:
        raise WorldError(f"allowed are {MAX_CARD_BYTES} bytes and {MAX_LINE} a line")
    try:
        table = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as reason:
        raise WorldError(f"not valid TOML: {reason}") from None
    version = table.get("format")
    if type(version) is not int or version not in (1, FORMAT):
        raise WorldError(
            f"format is {shorten(version)}; this dfgym reads 1 and {FORMAT}, a newer one may read "
            "others"
        )
    return format1.upgrade_card(table) if version == 1 else table


def read_bytes(folder: Path) -> bytes:
    """Read a world folder's `world.toml`, whose sha256 is the world's hash."""
    return read_capped(folder / CARD_FILE, MAX_CARD_BYTES, WorldError)


def _with_colours(table: dict[str, Any]) -> dict[str, Any]:
    """Return a card's table with its palette as numbers.

    Raises:
        WorldError: a colour is not like "#163d4e".
    """
    frames = table.get("frames")
    palette = frames.get("palette") if isinstance(frames, dict) else None
    if not isinstance(frames, dict) or not isinstance(palette, list):
        return table
    for colour in palette:
        if not isinstance(colour, str) or not _COLOUR.fullmatch(colour):
            raise WorldError(
                f'frames.palette has the colour {shorten(colour)}; expected one like "#163d4e"'
            )
    return table | {"frames": frames | {"palette": [list(bytes.fromhex(c[1:])) for c in palette]}}


def _check_match(name: str, value: str, pattern: re.Pattern[str], expected: str) -> None:
    if not pattern.fullmatch(value):
        raise WorldError(f"{name} is {shorten(value)}; expected {expected}")


def _check_printable(name: str, value: str) -> None:
    """Refuse a long string, and one that is not printable: escape codes would reach a terminal."""
    if len(value) > MAX_TEXT or not value.isprintable():
        raise WorldError(
            f"{name} is {shorten(value)}; expected printable text of at most {MAX_TEXT} characters"
        )


def _check_plain(name: str, value: Any, depth: int = 0) -> None:
    """Check that a value is made of printable strings, booleans, numbers, lists and tables only."""
    if depth > MAX_DEPTH:
        raise WorldError(f"{name} is nested too deep; expected at most {MAX_DEPTH} levels")
    if type(value) is dict:
        for key, item in value.items():
            _check_printable(f"a key of {name}", key)
            _check_plain(f"{name}.{key}", item, depth + 1)
    elif type(value) in (list, tuple):
        for item in value:
            _check_plain(name, item, depth + 1)
    elif type(value) is str:
        _check_printable(name, value)
    elif type(value) not in (bool, int, float):
        raise WorldError(
            f"{name} is {shorten(value)}; expected a string, boolean, number, list or table"
        )
    elif type(value) is float and not math.isfinite(value):
        raise WorldError(f"{name} is {value}; expected a finite number")
