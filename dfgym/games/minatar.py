"""MinAtar as an honest Gymnasium environment: RGB frames, a seed that reaches the game."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np

from dfgym.errors import ActionError, ConfigError, MissingPackageError

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
SIZE = 10  # height and width of every game's grid
STICKINESS = frozenset({"sticky_action_prob"})
"""Any share of sticky actions is the same game: the judges allow both outcomes."""
FOREIGN = 255  # stands for a cell of no colour of the game where cells are bytes
MEANINGS = {"n": "noop", "l": "left", "u": "up", "r": "right", "d": "down", "f": "fire"}


def palette(channels: int) -> np.ndarray:
    """MinAtar's own colours: black, then one for each channel of the game's state.

    They are those of seaborn's `color_palette("cubehelix", channels)`, which samples the 256
    entries of matplotlib's colour map of that name at even distances (D. A. Green 2011,
    "A colour scheme for the display of astronomical intensity images", with start 0.5, -1.5
    rotations, hue 1 and gamma 1). Worked out here, since MinAtar's drawing needs neither package.

    Returns:
        uint8 `(channels + 1, 3)`.
    """
    entries = (np.linspace(0, 1, channels + 2)[1:-1] * 256).astype(int)
    grey = entries[:, None] / 255
    angle = 2 * np.pi * (0.5 / 3 - 1.5 * grey)
    cosine = np.array([-0.14861, -0.29227, 1.97294])
    sine = np.array([1.78277, -0.90649, 0.0])
    spread = grey * (1 - grey) / 2
    colours = grey + spread * (cosine * np.cos(angle) + sine * np.sin(angle))
    black = np.zeros((1, 3))
    return np.concatenate([black, colours * 255]).round().astype(np.uint8)


def env_id(game: str) -> str:
    """Return the Gymnasium id of one of `GAMES`, like `DFSource/MinAtar-SpaceInvaders-v0`."""
    return f"DFSource/MinAtar-{game.title().replace('_', '')}-v0"


def register() -> None:
    """Register all of `GAMES` with Gymnasium; MinAtar itself is imported when one is made."""
    for game in GAMES:
        gym.register(env_id(game), f"{__name__}:MinAtarEnv", kwargs={"game": game})


def read_cells(frames: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Read which channel each cell shows.

    Args:
        frames: uint8 `(..., 3)`.
        colours: a palette, uint8 `(channels + 1, 3)`.

    Returns:
        int8 `(...)`: 0 for black, the channel's number from 1, or -1 for a colour that the palette
        does not have.
    """
    match = _pack(frames)[..., None] == _pack(colours)
    return np.where(match.any(-1), match.argmax(-1), -1).astype(np.int8)


def red_table(colours: np.ndarray) -> np.ndarray:
    """Return a table from a cell's red value to what it shows, uint8 `(256,)`.

    Red alone tells a MinAtar game's colours apart, and to look it up is a hundred times as fast as
    `read_cells`. Values that no colour has are `FOREIGN`.
    """
    table = np.full(256, FOREIGN, np.uint8)
    table[colours[:, 0]] = np.arange(len(colours))
    assert len(set(colours[:, 0].tolist())) == len(colours)
    return table


class MinAtarEnv(gym.Env[np.ndarray, Any]):
    """A MinAtar game (Young and Tian 2019) with its standard protocol.

    Observation: uint8 `(10, 10, 3)`, drawn as MinAtar draws itself (where channels overlap the
    last one shows). Actions: the game's minimal set. Rewards are the game's own; it terminates by
    the game's rules and never truncates.

    With `sticky_action_prob` the action of the step before is repeated instead of the given one.
    MinAtar keeps that action across episodes; here an episode begins with no-op as its last
    action, so that an episode is a function of its seed and its actions.

    Attributes:
        game: MinAtar's own game object; `game.act(action_set[action])` are the rules.
        action_set: MinAtar's action number for each of this environment's actions.
        last_action: the action that the game carried out last (the one that may stick).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  Gymnasium's form

    def __init__(
        self,
        game: str = "breakout",
        sticky_action_prob: float = 0.1,
        render_mode: str | None = None,
    ) -> None:
        if game not in GAMES:
            raise ConfigError(f"`game` is {game!r}; allowed are {', '.join(GAMES)}")
        if not 0 <= sticky_action_prob < 1:
            raise ConfigError(
                f"`sticky_action_prob` is {sticky_action_prob!r}; expected a number in [0, 1)"
            )
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"`render_mode` is {render_mode!r}; allowed are 'rgb_array' and None")
        self.game = import_game(game).Env(ramping=True)
        self.sticky_action_prob = sticky_action_prob
        self.render_mode = render_mode
        self.action_set: list[int] = self.game.minimal_action_set()
        self.last_action = 0
        height, width, channels = self.game.state_shape()
        self.palette = palette(channels)
        self._ranks = np.arange(1, channels + 1, dtype=np.uint8)
        self.observation_space = gym.spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(len(self.action_set))

    @property
    def action_meanings(self) -> list[str]:
        """The meaning of each action, in words."""
        return [MEANINGS[self.game.action_map[action]] for action in self.action_set]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; every chance in it follows from one draw of `np_random`."""
        super().reset(seed=seed)
        self.game.random = np.random.RandomState(int(self.np_random.integers(2**32)))
        self.game.reset()
        self.last_action = 0
        return self._draw(), {}

    def step(
        self, action: int | np.integer[Any]
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Carry out the action, or with `sticky_action_prob` the last one again.

        Raises:
            ActionError: the action is not in the action space; the game has not moved.
        """
        if not self.action_space.contains(action):
            raise ActionError(
                f"`action` is {action!r}; expected an integer in [0, {len(self.action_set) - 1}]"
            )
        number = self.action_set[action]
        if self.game.random.rand() < self.sticky_action_prob:
            number = self.last_action
        self.last_action = number
        reward, terminated = self.game.act(number)
        return self._draw(), float(reward), bool(terminated), False, {}

    def redraw(self, seed: int) -> None:
        """Let every chance from here on, in this episode, follow from another seed."""
        self.game.random = np.random.RandomState(seed)

    def show(self, game: Any) -> np.ndarray:
        """Put a game of the same kind in the place of this one, and return its frame."""
        self.game = game
        return self._draw()

    def render(self) -> np.ndarray | None:
        """Return the current frame, uint8 `(10, 10, 3)`, in render mode `rgb_array`."""
        return self._draw() if self.render_mode == "rgb_array" else None

    def _draw(self) -> np.ndarray:
        return self.palette[(self.game.state() * self._ranks).max(axis=2)]


def import_game(game: str) -> ModuleType:
    """Import a game of MinAtar, but not seaborn, which takes seconds and only draws its own window.

    MinAtar's modules get a stand-in, which imports seaborn when something of it is asked for.

    Raises:
        MissingPackageError: MinAtar is not installed.
    """
    stand_in = ModuleType("seaborn")
    stand_in.__getattr__ = lambda name: getattr(importlib.import_module("seaborn"), name)  # type: ignore[method-assign]
    absent = sys.modules.setdefault("seaborn", stand_in) is stand_in
    try:
        return importlib.import_module(f"minatar.environments.{game}")
    except ModuleNotFoundError as reason:
        raise MissingPackageError(
            'the real MinAtar games need the package minatar: pip install "dfgym[minatar]"'
        ) from reason
    finally:
        if absent:
            sys.modules.pop("seaborn", None)


def _pack(colours: np.ndarray) -> np.ndarray:
    """Turn RGB `(..., 3)` into one number each."""
    return (colours.astype(np.int32) << np.array([16, 8, 0])).sum(-1)
