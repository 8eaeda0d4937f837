"""MinAtar Asterix: a scripted policy that sees only pixels, and the judge of its rules.

A frame shows the player, unless a trail covers it, and every enemy and treasure with its direction:
a trail is behind it, or the edge it came from. It does not show when they move and when the next
one comes, and how fast both have become, nor the action that a sticky action repeats.

Chance is wide in one step of about ten: what comes may be an enemy or a treasure, from the left or
the right, in any row that is free, which is up to 32 outcomes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from dfgym.games import Game, Seed, begin_play, check_plan, rules
from dfgym.games.minatar import SIZE, STICKINESS, MinAtarEnv, env_id, palette, red_table
from dfgym.games.rules import Outcome

# What a cell shows.
PLAYER, ENEMY, TRAIL, TREASURE = range(1, 5)
CHANNELS = 4
ROWS = range(1, SIZE - 1)  # where the player may be, and where one thing a row comes and goes
EDGES = (0, SIZE - 1)  # the columns where things come
NOOP, LEFT, UP, RIGHT, DOWN = range(5)
MOTION = {NOOP: (0, 0), LEFT: (0, -1), UP: (-1, 0), RIGHT: (0, 1), DOWN: (1, 0)}
SPAWN, PACE = 10, 5  # steps from one thing to the next, and from one move to the next, at first
RAMP = 100  # after so many steps and two more both may become fewer
FORESIGHT = 10  # steps to look ahead
DISCOUNT, DEATH = 0.9, 3.0  # of a treasure a step later; what an enemy costs
RISK, CENTRE = 0.1, 0.01  # what a step at an edge costs, and a column away from the middle
STRETCH, WISH = 30, 4  # steps that the policy dawdles, or does not, and heads one way, at a time


class Thing(NamedTuple):
    """An enemy or a treasure."""

    column: int
    direction: int
    treasure: bool


class Scene(NamedTuple):
    """What the policy knows of the game: the player's row and column, and the things by their rows.

    They moved `since` steps ago, and do so again `pace` steps after that.
    """

    row: int
    column: int
    things: dict[int, Thing]
    since: int
    pace: int


class AsterixPolicy:
    """Plays MinAtar Asterix: goes where it foresees most treasure and no enemy.

    Frames are uint8 `(10 k, 10 k, 3)` with any cell size k.

    Args:
        dawdle: the share of the time, in [0, 1], in which the policy does not look but wanders, and
            so meets enemies and edges.
    """

    _code = red_table(palette(CHANNELS))

    def __init__(self, epsilon: float = 0.0, seed: Seed = 0, dawdle: float = 0.0) -> None:
        self.random = begin_play(epsilon, dawdle, seed)
        self.epsilon, self.dawdle = epsilon, dawdle
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self.scene: Scene | None = None
        self.clock = 0
        self.idle = False
        self.wish = NOOP

    def __call__(self, observation: np.ndarray) -> int:
        """Choose an action on seeing a frame."""
        return self.plan(observation[None], 1)[0]

    def plan(self, observations: np.ndarray, count: int) -> list[int]:
        """Choose the action for now and, as the game should go on, those after it.

        The first is what `__call__` would choose; the others follow from the game's rules, by
        which every action is obeyed. What comes meanwhile is not foreseen.
        """
        check_plan(observations, count)
        for observation in observations:
            self._observe(observation)
        assert self.scene is not None
        actions = [self._choose(self.scene)]
        scene, clock, idle, wish = self.scene, self.clock, self.idle, self.wish
        while len(actions) < count:
            scene = _advance(scene, actions[-1])
            self._tick()
            actions.append(self._choose(scene))
        self.clock, self.idle, self.wish = clock, idle, wish
        return actions

    def _observe(self, observation: np.ndarray) -> None:
        """Read the frame; what it does not show follows from the scene before."""
        self._tick()
        cell = observation.shape[0] // SIZE
        code = self._code[observation[::cell, ::cell, 0]]
        before, things = self.scene, read_things(code)
        places = np.argwhere(code == PLAYER)
        if before is None:
            row, column = places[0].tolist() if len(places) else (SIZE // 2, SIZE // 2)
            self.scene = Scene(row, column, things, -1, PACE)
            return
        row, column = places[0].tolist() if len(places) else (before.row, before.column)
        since, pace = before.since + 1, before.pace
        remain = [at for at, thing in before.things.items() if _is_same(thing, things.get(at))]
        if any(things[at].column != before.things[at].column for at in remain):
            since, pace = 0, max(min(pace, since), 1)  # they become faster, never slower
        elif not remain:
            since %= pace  # as they would have moved
        self.scene = Scene(row, column, things, since, pace)

    def _tick(self) -> None:
        """Count a frame; at the beginning of each stretch, decide whether to dawdle in it."""
        if self.dawdle and self.clock % STRETCH == 0:
            self.idle = bool(self.random.random() < self.dawdle)
        if self.dawdle and self.clock % WISH == 0:
            self.wish = int(self.random.integers(len(MOTION)))
        self.clock += 1

    def _choose(self, scene: Scene) -> int:
        """Choose an action for a scene."""
        if self.epsilon and self.random.random() < self.epsilon:
            return int(self.random.integers(len(MOTION)))
        if self.idle:
            return self.wish
        return int(np.argmax(_foresee(scene)[:, scene.row, scene.column]))


def read_things(code: np.ndarray) -> dict[int, Thing]:
    """Read the enemies and treasures off a frame's cells `(10, 10)`, by their rows."""
    things = {}
    for row in ROWS:
        line = code[row].tolist()
        column = next((i for i, cell in enumerate(line) if cell in (ENEMY, TREASURE)), -1)
        if column < 0:
            continue
        comes_from_left = line[column - 1] == TRAIL if column else line[1] != TRAIL
        things[row] = Thing(column, 1 if comes_from_left else -1, line[column] == TREASURE)
    return things


def _is_same(thing: Thing, later: Thing | None) -> bool:
    """Whether a thing may be another one a step later."""
    if later is None or later[1:] != thing[1:]:
        return False
    return later.column - thing.column in (0, thing.direction)


def _advance(scene: Scene, action: int) -> Scene:
    """Foresee the next scene by the rules, if the action is obeyed."""
    down, right = MOTION[action]
    row = min(max(scene.row + down, ROWS[0]), ROWS[-1])
    column = min(max(scene.column + right, 0), SIZE - 1)
    things, since = scene.things, scene.since + 1
    if since >= scene.pace:
        since = 0
        moved = {at: t._replace(column=t.column + t.direction) for at, t in things.items()}
        things = {at: thing for at, thing in moved.items() if 0 <= thing.column < SIZE}
    met = things.get(row)
    if met and met.column == column and met.treasure:
        things = {at: thing for at, thing in things.items() if at != row}
    return Scene(row, column, things, since, scene.pace)


def _foresee(scene: Scene) -> np.ndarray:
    """Foresee what each action is worth in each cell, `(5, 10, 10)`, by dynamic programming."""
    worth = np.zeros((FORESIGHT + 1, SIZE, SIZE))
    worth[:, :, EDGES] -= RISK
    worth -= CENTRE * np.abs(np.arange(SIZE) - (SIZE - 1) / 2)
    later = scene
    for step in range(FORESIGHT + 1):
        for row, thing in later.things.items():  # met by the player's step, and by their own
            worth[step : step + 2, row, thing.column] = 1.0 if thing.treasure else -DEATH
        later = _advance(later._replace(row=0), NOOP)
    values = np.zeros((SIZE, SIZE))
    for step in range(FORESIGHT, 0, -1):
        arrival = worth[step] + DISCOUNT * values
        by_action = np.stack([_arrivals(arrival, action) for action in MOTION])
        values = by_action.max(0)
    return by_action


def _arrivals(arrival: np.ndarray, action: int) -> np.ndarray:
    """Return for each cell what stands in the one that an action leads to."""
    down, right = MOTION[action]
    rows = np.clip(np.arange(SIZE) + down, ROWS[0], ROWS[-1])
    columns = np.clip(np.arange(SIZE) + right, 0, SIZE - 1)
    return arrival[rows[:, None], columns]


class Hidden(NamedTuple):
    """What a frame does not show.

    `ramp` counts down to the step in which the things may become faster; -1 is that step itself,
    and `UNKNOWN` says that any step may be it.
    """

    place: tuple[int, int]  # the player's row and column, since a trail can cover it
    spawn: int  # steps to the next thing
    move: int  # steps to their next move
    ramp: int
    level: int  # how often they have become faster
    last_action: int


UNKNOWN = -2


def speeds(level: int) -> tuple[int, int]:
    """Return the steps between two things that come, and between two moves, at a level."""
    return max(SPAWN - level, 1), max(PACE - level // 2, 1)


class _Spawn:
    """Stands in for the game's generator, and draws one thing: its side, its kind and its row."""

    def __init__(self, numbers: tuple[float, float, int]) -> None:
        self._sides, self._row = iter(numbers[:2]), int(numbers[2])

    def rand(self) -> float:
        return float(next(self._sides))

    def randint(self, count: int) -> int:
        return min(self._row, count - 1)


SPAWNS = list(itertools.product((0.0, 1.0), (0.0, 1.0), range(len(ROWS))))


class RuleBook:
    """The real game as a rule book: put into any state, it draws what follows."""

    def __init__(self) -> None:
        env = MinAtarEnv("asterix")
        self.palette = env.palette
        self._game: Any = env.game
        self._codes = env.action_set  # the environment's action number -> the game's own
        self._ranks = np.arange(1, CHANNELS + 1, dtype=np.int8)

    def first(self, cells: np.ndarray) -> set[Hidden]:
        """Return the hidden state of the game's start if these cells are one: the player alone."""
        hidden = Hidden((SIZE // 2, SIZE // 2), SPAWN, PACE, RAMP, 0, NOOP)
        self._put(hidden, {})
        return {hidden} if np.array_equal(self._draw(), cells) else set()

    def act(
        self, cells: np.ndarray, states: Iterable[Hidden], action: int, after: np.ndarray
    ) -> list[Outcome]:
        """Return every way in which one of the states, which draw `cells`, draws `after` next."""
        things, outcomes, fits = read_things(cells), [], dict[tuple[Any, ...], bool]()
        for state in states:
            spawns = SPAWNS if state.spawn == 0 and len(things) < len(ROWS) else SPAWNS[:1]
            ramps = (state.ramp,) if state.ramp != UNKNOWN else (-1, RAMP)
            executed = {action, state.last_action}
            for code, numbers, ramp in itertools.product(executed, spawns, ramps):
                # Many states draw the same, as timers count only when they have run out.
                look = (state.place, state.spawn == 0, state.move == 0, code, numbers)
                if not fits.get(look, True):
                    continue
                self._put(state._replace(ramp=ramp), things)
                self._game.random = _Spawn(numbers)
                reward, terminal = self._game.act(self._codes[code])
                if look not in fits:
                    fits[look] = np.array_equal(self._draw(), after)
                if fits[look]:
                    hidden = self._hidden(code)
                    if state.ramp == UNKNOWN:
                        hidden = hidden._replace(ramp=UNKNOWN)
                    outcomes.append(Outcome(hidden, float(reward), terminal, code != action))
        return outcomes

    def drawing(self, cells: np.ndarray) -> Iterator[Hidden]:
        """Return every hidden state, of a game that goes on, that draws these cells."""
        things = read_things(cells)
        for place in itertools.product(ROWS, range(SIZE)):
            if cells[place] not in (PLAYER, TRAIL):
                continue
            self._put(Hidden(place, 0, 0, 0, 0, NOOP), things)
            if not np.array_equal(self._draw(), cells):
                continue
            for level in range(SPAWN):
                spawn, move = speeds(level)
                for timers in itertools.product(range(spawn + 2), range(move + 2)):
                    for last_action in range(len(self._codes)):
                        yield Hidden(place, *timers, UNKNOWN, level, last_action)

    def _put(self, state: Hidden, things: dict[int, Thing]) -> None:
        """Put the game into a state."""
        game = self._game
        game.player_y, game.player_x = state.place
        game.spawn_timer, game.move_timer, game.ramp_timer = state.spawn, state.move, state.ramp
        game.ramp_index, game.terminal = state.level, False
        game.spawn_speed, game.move_speed = speeds(state.level)
        game.entities = [None] * len(ROWS)
        for row, thing in things.items():
            entity = [thing.column, row, thing.direction > 0, thing.treasure]
            game.entities[row - 1] = entity

    def _hidden(self, last_action: int) -> Hidden:
        """Read the hidden state off the game."""
        game = self._game
        place, timers = (game.player_y, game.player_x), (game.spawn_timer, game.move_timer)
        return Hidden(place, *timers, game.ramp_timer, game.ramp_index, last_action)

    def _draw(self) -> np.ndarray:
        """Return the cells as the game shows its state (`minatar.Environment.display_state`)."""
        cells: np.ndarray = (self._game.state() * self._ranks).max(axis=2)
        return cells


GAME = Game(
    env_id("asterix"),
    AsterixPolicy,
    frame=(SIZE, SIZE),
    judge=rules.judge_by(RuleBook),
    harmless=STICKINESS,
)
