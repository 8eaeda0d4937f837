"""MinAtar Freeway: a scripted policy that sees only pixels, and the judge of its rules.

A frame shows every car, its direction and its speed (by the trail behind it), and the chicken
unless a trail covers it. It does not show when each car moves next, when the chicken may move
again, and the action that a sticky action repeats.

Chance is wide at one event: each time the chicken has crossed, the speed and the direction of all
eight cars are drawn anew, which is one of ten outcomes in each row and 10^8 in all. As all of them
show at once, the judge reads them off the frame that follows instead of trying each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from dfgym.games import Game, Seed, begin_play, check_plan, rules
from dfgym.games.minatar import SIZE, STICKINESS, MinAtarEnv, env_id, palette, red_table
from dfgym.games.rules import Outcome

# What a cell shows: the chicken, a car, or a trail, which tells the car's speed.
CHICKEN, CAR, TRAIL = 1, 2, 2  # a trail of speed s is shown as TRAIL + s
CHANNELS = 7
SPEEDS = range(1, 6)  # a car of speed s moves every s + 1 steps
CARS = range(1, SIZE - 1)  # the rows of the road
COLUMN, START = 4, SIZE - 1  # where the chicken runs, and the row where it begins
NOOP, UP, DOWN = range(3)
MOTION = {NOOP: 0, UP: -1, DOWN: 1}  # of the chicken, in rows
PACE = 3  # steps from one of the chicken's moves to the next
TIMEOUT = 2500  # steps of an episode
FORESIGHT = 48  # steps to look ahead: more than a crossing takes
REUSE = 16  # steps for which a way across is not looked for anew
STRETCH = 30  # steps that the policy dawdles, or does not, at a time


class Car(NamedTuple):
    """A car; `wait` is how many steps it stands before its next move."""

    column: int
    speed: int
    direction: int
    wait: int

    def step(self) -> Car:
        """Return the car a step later."""
        if self.wait:
            return self._replace(wait=self.wait - 1)
        return self._replace(column=(self.column + self.direction) % SIZE, wait=self.speed)


class Scene(NamedTuple):
    """What the policy knows of the game: the chicken, its timer, and the cars by their rows."""

    row: int
    timer: int
    cars: dict[int, Car]


class Ways(NamedTuple):
    """The ways across, as they are foreseen.

    Attributes:
        steps: `(FORESIGHT, 3, 10, PACE + 1)`, how many it takes, by the step from the first one on,
            the action in it, and the chicken's row and timer.
        cars: as they should be now.
        age: steps since the ways were foreseen.
    """

    steps: np.ndarray
    cars: dict[int, Car]
    age: int


class FreewayPolicy:
    """Plays MinAtar Freeway: take the quickest way across on which no car is met.

    Frames are uint8 `(10 k, 10 k, 3)` with any cell size k.

    Args:
        dawdle: the share of the time, in [0, 1], in which the policy does not cross but wanders up
            and down among the cars.
    """

    _code = red_table(palette(CHANNELS))

    def __init__(self, epsilon: float = 0.0, seed: Seed = 0, dawdle: float = 0.0) -> None:
        self.random = begin_play(epsilon, dawdle, seed)
        self.epsilon, self.dawdle = epsilon, dawdle
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self.scene: Scene | None = None
        self.ways: Ways | None = None
        self.clock = 0
        self.idle = False
        self.wish = NOOP

    def __call__(self, observation: np.ndarray) -> int:
        """Choose an action on seeing a frame."""
        return self.plan(observation[None], 1)[0]

    def plan(self, observations: np.ndarray, count: int) -> list[int]:
        """Choose the action for now and, as the game should go on, those after it.

        The first is what `__call__` would choose; the others follow from the game's rules, by
        which every action is obeyed. The cars after a crossing are not foreseen.
        """
        check_plan(observations, count)
        for observation in observations:
            self._observe(observation)
        assert self.scene is not None
        actions = [self._choose(self.scene)]
        scene, clock, idle, wish, ways = self.scene, self.clock, self.idle, self.wish, self.ways
        while len(actions) < count:
            scene = _advance(scene, actions[-1])
            self._tick()
            actions.append(self._choose(scene))
        self.clock, self.idle, self.wish, self.ways = clock, idle, wish, ways
        return actions

    def _observe(self, observation: np.ndarray) -> None:
        """Read the frame; what it does not show follows from the scene before."""
        self._tick()
        cell = observation.shape[0] // SIZE
        code = self._code[observation[::cell, ::cell, 0]]
        before = self.scene
        cars = {
            row: _watch(car, before.cars.get(row) if before else None)
            for row, car in read_cars(code).items()
        }
        row = code[:, COLUMN].tobytes().find(CHICKEN)
        if before is None:
            self.scene = Scene(START if row < 0 else row, PACE, cars)
            return
        row = before.row if row < 0 else row
        moved = row != before.row
        self.scene = Scene(row, PACE - 1 if moved else max(before.timer - 1, 0), cars)

    def _tick(self) -> None:
        """Count a frame; at the beginning of each stretch, decide whether to dawdle in it."""
        if self.dawdle and self.clock % STRETCH == 0:
            self.idle = bool(self.random.random() < self.dawdle)
        if self.dawdle and self.clock % PACE == 0:
            self.wish = int(self.random.choice([NOOP, UP, UP, DOWN]))
        self.clock += 1

    def _choose(self, scene: Scene) -> int:
        """Choose an action for a scene."""
        ways = self.ways
        if ways is None or ways.age == REUSE or ways.cars != scene.cars:
            ways = Ways(_steps_to_cross(scene.cars), scene.cars, 0)
        after = {row: car.step() for row, car in scene.cars.items()}
        self.ways = Ways(ways.steps, after, ways.age + 1)
        if self.epsilon and self.random.random() < self.epsilon:
            return int(self.random.integers(3))
        if self.idle:
            return self.wish
        return int(np.argmin(ways.steps[ways.age, :, scene.row, scene.timer]))


def read_cars(code: np.ndarray) -> dict[int, Car]:
    """Read the cars off a frame's cells, by their rows; a car has one trail, beside it.

    A car that stands as long as it can (`wait` is its speed) is what they look like.

    Args:
        code: `(10, 10)`, what each cell shows.
    """
    cars = {}
    for row in CARS:
        line = code[row].tobytes()
        column = line.find(CAR)
        if column < 0:
            continue
        for direction in (1, -1):
            speed = line[(column - direction) % SIZE] - TRAIL
            if speed in SPEEDS:
                cars[row] = Car(column, speed, direction, speed)
    return cars


def _watch(car: Car, before: Car | None) -> Car:
    """Work out how long a car stands, from how it was before."""
    if before is None or car.column != before.column:
        return car  # it has just moved, or the game has just begun
    if (car.speed, car.direction) != (before.speed, before.direction):
        return car._replace(wait=car.speed - 1)  # drawn anew in the step of the crossing
    return car._replace(wait=max(before.wait - 1, 0))


def _blocked(cars: dict[int, Car]) -> np.ndarray:
    """Foresee in which rows a car stands in the chicken's way, bool `(steps + 1, 10)`."""
    steps = np.arange(FORESIGHT + 1)
    blocked = np.zeros((len(steps), SIZE), bool)
    for row, car in cars.items():
        moves = np.where(steps > car.wait, 1 + (steps - car.wait - 1) // (car.speed + 1), 0)
        blocked[:, row] = (car.column + car.direction * moves) % SIZE == COLUMN
    return blocked


def _steps_to_cross(cars: dict[int, Car]) -> np.ndarray:
    """Foresee after how many steps the chicken has crossed, see `Ways.steps`."""
    blocked, rows = _blocked(cars), np.arange(SIZE)
    # Indexed by row and timer; at the horizon the road counts as free.
    cost = np.add.outer(PACE * rows, np.arange(PACE + 1.0))
    rest = np.maximum(np.arange(PACE + 1) - 1, 0)
    steps = np.empty((FORESIGHT, len(MOTION), SIZE, PACE + 1))
    for step in reversed(range(FORESIGHT)):
        met = blocked[step] | blocked[step + 1]  # before the car moves, or after it
        cost[0] = 0  # the other side
        after = 1 + np.where(met[:, None], cost[START], cost)
        steps[step] = after[:, rest]
        for action in (UP, DOWN):
            steps[step, action, :, 0] = after[np.clip(rows + MOTION[action], 0, START), PACE - 1]
        cost = steps[step].min(0)
    return steps


def _advance(scene: Scene, action: int) -> Scene:
    """Foresee the next scene by the rules, if the action is obeyed."""
    row, timer = scene.row, max(scene.timer - 1, 0)
    if action != NOOP and scene.timer == 0:
        row, timer = min(row + MOTION[action], START), PACE - 1
    cars = {at: car.step() for at, car in scene.cars.items()}
    met = any(row in them and them[row].column == COLUMN for them in (scene.cars, cars))
    return Scene(START if row == 0 or met else row, timer, cars)


class Hidden(NamedTuple):
    """What a frame does not show.

    The rules ask of a car's timer only whether it is zero, and the cars do not depend on each
    other. So each timer is a set of values, and one `Hidden` stands for all their combinations.
    """

    row: int  # the chicken's, since a trail can cover it
    timer: int  # the chicken's
    waits: tuple[frozenset[int], ...]  # the cars'
    last_action: int
    clock: int  # steps so far; -1: unknown


class _Reading:
    """Stands in for the game's generator, and draws the cars that a frame shows."""

    def __init__(self, cars: dict[int, Car]) -> None:
        self.cars = [cars[row] for row in CARS]

    def randint(self, *_: int) -> np.ndarray:
        return np.array([car.speed for car in self.cars])

    def rand(self, _: int) -> np.ndarray:
        return np.array([0.5 + 0.25 * car.direction for car in self.cars])


class RuleBook:
    """The real game as a rule book: put into any state, it draws what follows."""

    def __init__(self) -> None:
        env = MinAtarEnv("freeway")
        self.palette = env.palette
        self._game: Any = env.game
        self._codes = env.action_set  # the environment's action number -> the game's own
        self._ranks = np.arange(1, CHANNELS + 1, dtype=np.int8)

    def first(self, cells: np.ndarray) -> set[Hidden]:
        """Return the hidden state of the game's start if these cells are one: all cars at the left.

        Later they are never all there again, as far as anyone will see.
        """
        cars = read_cars(cells)
        if len(cars) < len(CARS) or any(car.column for car in cars.values()):
            return set()
        waits = tuple(frozenset([car.speed]) for car in cars.values())
        hidden = Hidden(START, PACE, waits, NOOP, 0)
        self._put(hidden, cars, [car.speed for car in cars.values()])
        return {hidden} if np.array_equal(self._draw(), cells) else set()

    def act(
        self, cells: np.ndarray, states: Iterable[Hidden], action: int, after: np.ndarray
    ) -> list[Outcome]:
        """Return every way in which one of the states, which draw `cells`, draws `after` next."""
        cars, then = read_cars(cells), read_cars(after)
        if len(cars) < len(CARS) or len(then) < len(CARS):
            return []
        self._game.random = _Reading(then)
        moved = [cars[row].column != then[row].column for row in CARS]
        outcomes = []
        for state in states:
            # A car that moves was due; one that does not was not, if its timer leaves the choice.
            groups = [
                frozenset(wait for wait in waits if (wait == 0) == moves) or waits
                for waits, moves in zip(state.waits, moved, strict=True)
            ]
            before = [min(group) for group in groups]
            for executed in {action, state.last_action}:
                self._put(state, cars, before)
                reward, terminal = self._game.act(self._codes[executed])
                if not np.array_equal(self._draw(), after):
                    continue
                waits = tuple(
                    frozenset(wait + int(car[2]) - old for wait in group)
                    for group, car, old in zip(groups, self._game.cars, before, strict=True)
                )
                if reward:  # which sets every timer
                    waits = tuple(frozenset([int(car[2])]) for car in self._game.cars)
                clock = state.clock + 1 if state.clock >= 0 else -1
                hidden = Hidden(self._game.pos, self._game.move_timer, waits, executed, clock)
                sticky = executed != action
                outcomes.append(Outcome(hidden, float(reward), bool(terminal), sticky))
                if state.clock < 0:  # any step may be the last one
                    outcomes.append(Outcome(hidden, float(reward), True, sticky))
        return outcomes

    def drawing(self, cells: np.ndarray) -> Iterable[Hidden]:
        """Return every hidden state, of a game that goes on, that draws these cells."""
        cars = read_cars(cells)
        if len(cars) < len(CARS):
            return
        waits = tuple(frozenset(range(car.speed + 1)) for car in cars.values())
        for row in range(1, SIZE):
            self._put(Hidden(row, 0, waits, NOOP, -1), cars, [0] * len(CARS))
            if np.array_equal(self._draw(), cells) and cells[row, COLUMN] != CAR:
                for timer in range(PACE + 1):
                    for last_action in range(len(self._codes)):
                        yield Hidden(row, timer, waits, last_action, -1)

    def _put(self, state: Hidden, cars: dict[int, Car], waits: list[int]) -> None:
        """Put the game into a state."""
        game = self._game
        game.pos, game.move_timer, game.terminal = state.row, state.timer, False
        game.terminate_timer = TIMEOUT - max(state.clock, 0)
        game.cars = [
            [car.column, row, wait, car.speed * car.direction]
            for (row, car), wait in zip(cars.items(), waits, strict=True)
        ]

    def _draw(self) -> np.ndarray:
        """Return the cells as the game shows its state (`minatar.Environment.display_state`)."""
        cells: np.ndarray = (self._game.state() * self._ranks).max(axis=2)
        return cells


GAME = Game(
    env_id("freeway"),
    FreewayPolicy,
    frame=(SIZE, SIZE),
    judge=rules.judge_by(RuleBook),
    harmless=STICKINESS,
)
