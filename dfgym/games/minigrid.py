"""MiniGrid's rooms as an honest Gymnasium environment, one cell a tile, and a player of FourRooms.

The agent sees 7 x 7 tiles, itself at the middle of the lower edge, looking up; what stands behind a
wall is dark. A row above and a column to the right are dark too, since 8 x 8 divides into patches.
What has left the view matters here: a world must remember it to draw it again. So that nobody can
guess it, each tile of FourRooms' floor has one of three colours, at random in every layout.

Legend: x to the right and y down in the room; headings 0 to 3 are right, down, left and up.
"""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium as gym
import numpy as np

from dfgym.errors import ActionError, ConfigError, MissingPackageError
from dfgym.games import Game, Seed, begin_play, check_plan
from dfgym.games.minatar import read_cells

ENV = "DFSource/MiniGrid-FourRooms-v1"
GAMES = {
    "four_rooms": ("FourRooms-v1", "fourrooms:FourRoomsEnv", {}),
    "memory": ("Memory-v0", "memory:MemoryEnv", {"size": 13}),
    "memory_s7": ("MemoryS7-v0", "memory:MemoryEnv", {"size": 7}),
}
"""Of each game the end of its id, its class in `minigrid.envs`, and that class's keywords."""
VIEW, SIZE = 7, 8  # tiles along each side of the view, and cells of a frame
LEFT, RIGHT, FORWARD = range(3)
HEADINGS = ((1, 0), (0, 1), (-1, 0), (0, -1))
DARK, FLOOR, WALL, GOAL, KEY, BALL, RED, PURPLE = range(8)
PALETTE = np.array(
    [
        (48, 48, 48),
        (0, 0, 0),
        (100, 100, 100),
        (0, 255, 0),
        (255, 255, 0),
        (0, 0, 255),
        (127, 0, 0),
        (56, 19, 97),
    ],
    np.uint8,
)
"""MiniGrid's own colours of floors, wall and goal. Its keys and balls are both green and differ in
shape, which one cell cannot show, so they have two more of its colours here."""
KINDS = {"unseen": DARK, "empty": FLOOR, "wall": WALL, "goal": GOAL, "key": KEY, "ball": BALL}
FLOORS = {FLOOR: None, RED: "red", PURPLE: "purple"}
"""The kinds of floor, and MiniGrid's word for the colour of each."""


def register() -> None:
    """Register all of `GAMES` with Gymnasium; MiniGrid is imported when one is made."""
    for game, (name, _, _) in GAMES.items():
        kwargs = {"game": game}
        gym.register(f"DFSource/MiniGrid-{name}", f"{__name__}:MiniGridEnv", kwargs=kwargs)


class MiniGridEnv(gym.Env[np.ndarray, Any]):
    """A MiniGrid game (Chevalier-Boisvert et al. 2023), drawn one cell a tile.

    Observation: uint8 `(8, 8, 3)`. Actions: turn left, turn right, go forward. The reward is 1 for
    success and else 0 (MiniGrid's own shrinks with every step, which no frame shows). It terminates
    by the game's rules, and is truncated after `max_steps`.

    Attributes:
        game: MiniGrid's own game object, of which an episode can be copied.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012  Gymnasium's form
    action_meanings = ("left", "right", "forward")

    def __init__(
        self, game: str = "four_rooms", max_steps: int = 256, render_mode: str | None = None
    ) -> None:
        if game not in GAMES:
            raise ConfigError(f"`game` is {game!r}; allowed are {', '.join(GAMES)}")
        if type(max_steps) is not int or max_steps < 1:
            raise ConfigError(f"`max_steps` is {max_steps!r}; expected an int of 1 or more")
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"`render_mode` is {render_mode!r}; allowed are 'rgb_array' and None")
        self.game, floors = _make(game, max_steps)
        self._floors = floors if game == "four_rooms" else {}
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in a new layout, which follows from `np_random`."""
        super().reset(seed=seed)
        self.game.reset(seed=int(self.np_random.integers(2**31)))
        if self._floors:
            for x, y in np.ndindex(self.game.width, self.game.height):
                if self.game.grid.get(x, y) is None:
                    self.lay_floor((x, y), self._random_floor())
        return self.draw(), self._info()

    def step(
        self, action: int | np.integer[Any]
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Carry out an action.

        Raises:
            ActionError: the action is not in the action space; the game has not moved.
        """
        if not self.action_space.contains(action):
            raise ActionError(f"`action` is {action!r}; expected an integer in [0, 2]")
        view, reward, terminated, truncated, _ = self.game.step(int(action))
        return (
            self._draw(view["image"]),
            float(reward > 0),
            bool(terminated),
            bool(truncated),
            self._info(),
        )

    def render(self) -> np.ndarray | None:
        """Return the current frame, uint8 `(8, 8, 3)`, in render mode `rgb_array`."""
        return self.draw() if self.render_mode == "rgb_array" else None

    @property
    def pose(self) -> tuple[int, int, int]:
        """Where the agent is: x, y and heading."""
        x, y = self.game.agent_pos
        return int(x), int(y), int(self.game.agent_dir)

    def _info(self) -> dict[str, Any]:
        return dict(zip(("x", "y", "heading"), self.pose, strict=True))

    def draw(self) -> np.ndarray:
        """Return the current frame, uint8 `(8, 8, 3)`."""
        return self._draw(self.game.gen_obs()["image"])

    def _draw(self, image: np.ndarray) -> np.ndarray:
        """Draw what MiniGrid says is in view: kinds, colours and states, `(columns, rows, 3)`."""
        kinds, colours, _ = image.T  # rows, columns
        cells = np.full((SIZE, SIZE), DARK)
        cells[SIZE - VIEW :, :VIEW] = self.game.kind_cells[kinds, colours]
        under = self.game.grid.get(*self.game.agent_pos)  # which MiniGrid does not draw
        if under is not None:
            kind, colour, _ = under.encode()
            cells[-1, VIEW // 2] = self.game.kind_cells[kind, colour]
        return PALETTE[cells]

    def floor(self, place: tuple[int, int]) -> int | None:
        """Return which of `FLOORS` a tile of the room is, None for what is no floor."""
        tile = self.game.grid.get(*place)
        return next((kind for kind, item in self._floors.items() if item is tile), None)

    def lay_floor(self, place: tuple[int, int], kind: int) -> None:
        """Make a tile of the room one of `FLOORS`."""
        self.game.grid.set(*place, self._floors[kind])

    def _random_floor(self) -> int:
        return list(FLOORS)[int(self.np_random.integers(len(FLOORS)))]


def view_places(pose: tuple[int, int, int]) -> np.ndarray:
    """Return which tile of the room each tile of the view shows: x and y, `(7, 7, 2)`."""
    x, y, heading = pose
    ahead = np.array(HEADINGS[heading])
    right = np.array(HEADINGS[(heading + 1) % 4])
    rows, columns = np.mgrid[:VIEW, :VIEW][..., None]
    return np.array((x, y)) + (VIEW - 1 - rows) * ahead + (columns - VIEW // 2) * right


def read_view(frame: np.ndarray) -> np.ndarray:
    """Read what each tile of the view shows off a frame, or one enlarged by a whole factor.

    Returns:
        int8 `(7, 7)`: a place in `PALETTE`, or -1 for another colour.
    """
    scale = frame.shape[0] // SIZE
    cells = read_cells(frame[scale // 2 :: scale, scale // 2 :: scale], PALETTE)
    return cells[SIZE - VIEW :, :VIEW]


class ExcursionPolicy:
    """Wanders, and again and again goes or looks away for a while and returns the same way.

    The way back is turned around: about-face, the steps in reverse, about-face. It avoids goals,
    so that episodes are long.

    Args:
        epsilon: the share of actions drawn at random instead; one ends an excursion.
        seed: of the policy's generator.
        dawdle: the share of the goals ahead that it does not avoid. With 1 it also walks to every
            goal in view.
    """

    LONGEST = 24  # steps away, so that it is gone for at most 52

    def __init__(self, epsilon: float = 0.0, seed: Seed = 0, dawdle: float = 0.0) -> None:
        self.random = begin_play(epsilon, dawdle, seed)
        self.epsilon, self.dawdle = epsilon, dawdle
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self._plan: list[int] = []
        self._way: list[int] = []
        self._away = 0
        self._turn = LEFT

    def __call__(self, observation: np.ndarray) -> int:
        """Choose an action on seeing a frame."""
        view = read_view(observation)
        ahead = int(view[-2, VIEW // 2])
        if self.epsilon and self.random.random() < self.epsilon:
            self._plan, self._away = [], 0
            return int(self.random.integers(3))
        if self.dawdle == 1 and (action := step_to_goal(view)) is not None:
            self._plan, self._away = [], 0
            return action
        if self._plan and not (self._plan[0] == FORWARD and ahead in (WALL, GOAL)):
            return self._plan.pop(0)
        self._plan = []
        action = self.wander(ahead)
        if self._away:
            self._way.append(action)
            self._away -= 1
            if not self._away:
                self._plan = way_back(self._way)
        elif self.random.random() < 0.3:
            self._way = []
            self._away = round(float(np.exp(self.random.uniform(0, np.log(self.LONGEST)))))
        return action

    def wander(self, ahead: int) -> int:
        """Choose a step without an aim, given what the tile ahead shows."""
        blocked = ahead in (WALL, KEY, BALL)
        if ahead == GOAL:
            blocked = self.random.random() >= self.dawdle
        if not blocked and self.random.random() < 0.65:
            if self.random.random() < 0.5:
                self._turn = int(self.random.integers(2))
            return FORWARD
        return self._turn if self.random.random() < 0.8 else 1 - self._turn

    def plan(self, observations: np.ndarray, count: int) -> list[int]:
        """Choose the actions for now and for the frames to come, as if those were like the last."""
        check_plan(observations, count)
        return [self(observations[-1]) for _ in range(count)]


def step_to_goal(view: np.ndarray) -> int | None:
    """Return the next action toward a goal in view; None if there is none, or a wall before it."""
    for row, column in np.argwhere(view == GOAL).tolist():
        if row == VIEW - 1:
            return LEFT if column < VIEW // 2 else RIGHT
        return None if view[-2, VIEW // 2] == WALL else FORWARD
    return None


def way_back(way: list[int]) -> list[int]:
    """Return the actions that undo a way on which every step forward was free."""
    undo = {LEFT: RIGHT, RIGHT: LEFT, FORWARD: FORWARD}
    back = [undo[action] for action in reversed(way)]
    return [LEFT, LEFT, *back, LEFT, LEFT] if FORWARD in back else back


def _make(game: str, max_steps: int) -> tuple[Any, dict[int, Any]]:
    """Make MiniGrid's game, and its tile of each of `FLOORS`."""
    _, place, kwargs = GAMES[game]
    module, name = place.split(":")
    try:
        constants = importlib.import_module("minigrid.core.constants")
        tile = importlib.import_module("minigrid.core.world_object").Floor
        kind = getattr(importlib.import_module(f"minigrid.envs.{module}"), name)
    except ModuleNotFoundError as reason:
        raise MissingPackageError(
            'the real MiniGrid games need the package minigrid: pip install "dfgym[minigrid]"'
        ) from reason
    kinds, colours = constants.OBJECT_TO_IDX, constants.COLOR_TO_IDX
    opened = kind(max_steps=max_steps, **kwargs)
    opened.kind_cells = np.full((max(kinds.values()) + 1, len(colours)), DARK)
    for word, cell in KINDS.items():
        opened.kind_cells[kinds[word]] = cell
    for cell, colour in FLOORS.items():
        if colour is not None:
            opened.kind_cells[kinds["floor"], colours[colour]] = cell
    return opened, {cell: colour and tile(colour) for cell, colour in FLOORS.items()}


GAME = Game(
    ENV,
    ExcursionPolicy,
    frame=(SIZE, SIZE),
    hides_layout=True,
    harmless=frozenset({"max_steps"}),
)
