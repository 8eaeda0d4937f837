"""CartPole: reading its state off its pixels, a scripted policy, the judge of its drawing.

The policy plays by what is read off the frames. The judge reads cart and pole off a frame, and the
real game, put into that state, draws it: what the two pictures differ by is not CartPole. The
reading errs a little, since the game draws in whole pixels of its own, and so does the drawing that
it leads to. So the drawing is read as well, and the first reading is corrected by its error there.

Legend: t frames, h w their size.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.errors import ConfigError
from dfgym.games import Drawings, Game, Reading, Seed, begin_play, check_plan
from dfgym.games.source import Opening, Source, open_source

ENV = "CartPole-v1"

# Of Gymnasium's drawing, 600 x 400 render pixels for a track of 4.8 units.
WIDTH, HEIGHT, TRACK = 600, 400, 4.8
AXLE = (HEIGHT - 107.5) / HEIGHT  # height of the pole's pivot, as a share of the frame from above
POLE = 101  # how far the pole's red exceeds its blue; of all else drawn it does not
LEFT, RIGHT = 0, 1
WANDER = 6.0  # how far out a wandering player may head; the episode ends at 2.4, and it should
PHASE = 150  # steps that it heads to one place, on average: enough to get there
GAINS = (0.05, 0.1, 1.0, 0.25)  # of position, speed (a second), angle, turn (a second)
STEP = 0.02  # seconds
# Of Gymnasium's cart and pole.
GRAVITY, FORCE, CART_MASS, POLE_MASS, HALF_LENGTH = 9.8, 10.0, 1.0, 0.1, 0.5
MEMORY = 6  # frames from which a plan reads how fast cart and pole move
REACH = TRACK / 2 + 1.25  # beyond this place of the cart nothing of it or of its pole is drawn
NOWHERE = 2 * TRACK  # a cart here leaves the track empty
NOISE = 0.2  # the judge ignores less of the pole's colour; the policy's 0.05 errs in faint noise

State = tuple[float, float, float, float]  # position, speed (a second), angle, turn (a second)


def read(frame: np.ndarray, noise: float = 0.05) -> tuple[float, float] | None:
    """Read the cart's position and the pole's angle off a drawing of CartPole.

    A line is fitted through the pole, whose colour nothing else has, and followed to the axle. The
    error is about 0.3 degrees.

    Args:
        frame: `(h, w, 3)`, uint8 or float in [0, 255], of any size.
        noise: pixels with less than this share of the pole's colour, in [0, 1), are taken for a
            learned picture's noise and ignored.

    Returns:
        The position in units of the game (0 in the middle) and the angle in radians (positive to
        the right); None where there is too little of a pole.
    """
    pole = np.clip(frame[..., 0].astype(np.float64) - frame[..., 2], 0, POLE) / POLE
    pole[pole < noise] = 0
    mass = pole.sum()
    height, width = pole.shape
    if mass < 2e-3 * height * width:  # a whole pole covers half a hundredth of the frame
        return None
    y, x = (np.arange(n) + 0.5 for n in (height, width))
    mean_y, mean_x = (pole.sum(1) @ y) / mass, (pole.sum(0) @ x) / mass
    spread = (pole.sum(1) @ (y - mean_y) ** 2) / mass
    lean = ((y - mean_y) @ pole @ (x - mean_x)) / mass / max(spread, 1e-9)
    axle = mean_x + lean * (AXLE * height - mean_y)
    angle = math.atan(-lean * (WIDTH / width) / (HEIGHT / height))
    return (axle / width - 0.5) * TRACK, angle


def advance(state: State, action: int) -> State:
    """Take one Euler step of the game's equations of motion (Florian 2007, as in Gymnasium).

    Args:
        state: position in units, speed in units a second, angle in radians, turn in radians a
            second.
        action: 0 pushes left, 1 right.
    """
    x, speed, angle, turn = state
    mass = CART_MASS + POLE_MASS
    sine, cosine = math.sin(angle), math.cos(angle)
    force = FORCE if action == RIGHT else -FORCE
    pushed = (force + POLE_MASS * HALF_LENGTH * turn**2 * sine) / mass
    inertia = HALF_LENGTH * (4 / 3 - POLE_MASS * cosine**2 / mass)
    twist = (GRAVITY * sine - cosine * pushed) / inertia
    push = pushed - POLE_MASS * HALF_LENGTH * twist * cosine / mass
    return (
        x + STEP * speed,
        speed + STEP * push,
        angle + STEP * turn,
        turn + STEP * twist,
    )


class CartPolePolicy:
    """Balances CartPole's pole by linear feedback on what the last three frames show.

    Args:
        dawdle: the share of its time, in [0, 1], in which it heads for some place along the track,
            or beyond its end, instead of the middle.
    """

    def __init__(self, epsilon: float = 0.0, seed: Seed = 0, dawdle: float = 0.0) -> None:
        self.random = begin_play(epsilon, dawdle, seed)
        self.epsilon, self.dawdle = epsilon, dawdle
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self.readings: list[tuple[float, float]] = []
        self.actions: list[int | None] = []  # that led to each reading; None where not known
        self.planned: list[int] = []
        self._choose_target()

    def __call__(self, observation: np.ndarray) -> int:
        """Choose an action on seeing a frame."""
        return self.plan(observation[None], 1)[0]

    def plan(self, observations: np.ndarray, count: int) -> list[int]:
        """Choose the action for now and, as the game should go on, those after it.

        The first is what `__call__` would choose; the others follow from the equations of motion,
        in which every action is obeyed. If as many frames come as the last plan had actions, the
        plan is taken for the actions between the frames.
        """
        check_plan(observations, count)
        follows = len(self.planned) == len(observations)
        actions: Sequence[int | None] = self.planned if follows else [None] * len(observations)
        for observation, action in zip(observations, actions, strict=True):
            self._observe(observation, action)
        self.planned = [self._choose(self._recent_state())]
        if count > 1:
            state = self._fitted_state()
            while len(self.planned) < count:
                if state is not None:
                    state = advance(state, self.planned[-1])
                self.planned.append(self._choose(state))
        return list(self.planned)

    def _observe(self, observation: np.ndarray, action: int | None) -> None:
        if (reading := read(observation)) is not None:
            self.readings = [*self.readings[1 - MEMORY :], reading]
            self.actions = [*self.actions[1 - MEMORY :], action]

    def _choose(self, state: State | None) -> int:
        """Choose an action in a state; None stands for one of which nothing has been read."""
        if self.random.random() < 1 / PHASE:
            self._choose_target()
        if self.epsilon and self.random.random() < self.epsilon:
            return int(self.random.integers(2))
        if state is None:
            return LEFT
        x, speed, angle, turn = state
        errors = (x - self.target, speed, angle, turn)
        return RIGHT if sum(k * s for k, s in zip(GAINS, errors, strict=True)) > 0 else LEFT

    def _recent_state(self) -> State | None:
        """Return the state that the last three frames show; its speeds lag by a frame."""
        if not self.readings:
            return None
        (x, angle), (old_x, old_angle) = self.readings[-1], self.readings[-3:][0]
        seconds = STEP * max(len(self.readings[-3:]) - 1, 1)
        return x, (x - old_x) / seconds, angle, (angle - old_angle) / seconds

    def _fitted_state(self) -> State | None:
        """Return the state that fits the last frames by the equations of motion.

        The speeds are those with which the known actions lead from the oldest frame to the newest.
        """
        steps = 0  # backward, as far as the actions are known
        while steps < len(self.actions) - 1 and self.actions[-1 - steps] is not None:
            steps += 1
        if not steps:
            return self._recent_state()
        (x, angle), (last_x, last_angle) = self.readings[-1 - steps], self.readings[-1]
        speed = turn = 0.0
        for _ in range(3):  # the aim is nearly linear in the speeds
            state = x, speed, angle, turn
            for action in self.actions[-steps:]:
                assert action is not None
                state = advance(state, action)
            speed += (last_x - state[0]) / (steps * STEP)
            turn += (last_angle - state[2]) / (steps * STEP)
        return state

    def _choose_target(self) -> None:
        wanders = self.dawdle > 0 and self.random.random() < self.dawdle
        self.target = float(self.random.uniform(-WANDER, WANDER)) if wanders else 0.0


def compare(frames: np.ndarray) -> Drawings:
    """Compare frames with the real game's own drawing of what is read off them.

    Where no pole is found, a frame is compared with the empty track.

    Args:
        frames: uint8 `(t, h, w, 3)`, t at least 1.

    Returns:
        Readings are the position in units and the angle in radians. Sharpness is the energy of the
        Laplacian of the pole's colour in the box around the pole, relative to the drawing's.

    Raises:
        ConfigError: The frames have another shape or type.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or len(frames) < 1 or frames.dtype != np.uint8:
        raise ConfigError(f"`frames` is {frames.dtype} {frames.shape}; expected uint8 (t, h, w, 3)")
    source = _open(frames.shape[1:3])
    empty = _draw(source, np.array([NOWHERE, 0.0]))
    values = np.array([_compare_frame(source, frame, empty) for frame in frames])
    return Drawings(values[:, :2], values[:, 2], values[:, 3])


def obeys(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Return whether the cart is further to the right after pushes to the right, bool `(b,)`.

    Args:
        frames: after pushes to the left, and after pushes to the right, uint8 `(b, h, w, 3)` each.
    """
    left, right = (
        np.array([np.nan if (place := read(frame)) is None else place[0] for frame in rows])
        for rows in frames
    )
    return np.asarray(right > left)


@functools.lru_cache(maxsize=4)
def _open(size: tuple[int, int]) -> Source:
    """Open the game and keep it: that takes as long as to draw a dozen frames."""
    source = open_source(Opening(ENV, size=size))
    source.env.reset(seed=0)
    return source


def _compare_frame(source: Source, frame: np.ndarray, empty: np.ndarray) -> tuple[float, ...]:
    """Return position, angle, difference from the drawing, sharpness."""
    first = _place(frame)
    if first is None:
        return np.nan, np.nan, _difference(frame, empty), 0.0
    place, drawing = first, _draw(source, first)
    error = _difference(frame, drawing)
    if error and (again := _place(drawing)) is not None:
        better = _draw(source, place + first - again)
        if (less := _difference(frame, better)) < error:
            place, drawing, error = place + first - again, better, less
    return *place, error, _sharpness(frame, drawing)


def _place(frame: np.ndarray) -> np.ndarray | None:
    """Read position and angle; None where there is no pole, or one that leads off the picture."""
    reading = read(frame, NOISE)
    return None if reading is None or abs(reading[0]) > REACH else np.array(reading)


def _draw(source: Source, place: np.ndarray) -> np.ndarray:
    """Return the real game's picture of a position and an angle."""
    game: Any = source.env.unwrapped
    game.state = np.array([place[0], 0.0, place[1], 0.0])
    return source.frame(None)


def _difference(frame: np.ndarray, drawing: np.ndarray) -> float:
    return float(np.sqrt(((frame.astype(np.float32) - drawing) ** 2).mean()))


def _sharpness(frame: np.ndarray, drawing: np.ndarray) -> float:
    real = _pole(drawing)
    rows, columns = (np.flatnonzero(real.any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0.0
    box = tuple(slice(max(0, at[0] - 1), at[-1] + 2) for at in (rows, columns))
    energy = (_laplacian(real)[box] ** 2).sum()
    return float((_laplacian(_pole(frame))[box] ** 2).sum() / energy)


def _pole(frame: np.ndarray) -> np.ndarray:
    """Return how much of the pole's colour, which nothing else has, is in each pixel."""
    return np.clip(frame[..., 0].astype(np.float64) - frame[..., 2], 0, None)


def _laplacian(values: np.ndarray) -> np.ndarray:
    """Return the Laplacian of `(h, w)` by the four neighbours; the border is continued."""
    wide = np.pad(values, 1, mode="edge")
    beside = wide[1:-1, :-2] + wide[1:-1, 2:] + wide[:-2, 1:-1] + wide[2:, 1:-1]
    return np.asarray(beside - 4 * values)


GAME = Game(
    ENV,
    CartPolePolicy,
    compare=compare,
    read=functools.partial(read, noise=NOISE),
    readings={"position": Reading("units"), "angle": Reading("degrees", 180 / math.pi)},
    obeys=obeys,
    harmless=frozenset({"sutton_barto_reward"}),
    obedience="left the cart further to the side it pushes to",
)
