"""Pendulum: a scripted policy that sees nothing but pixels, and what can be read off a frame.

The game has no chance: a frame shows the angle, two frames the speed, and the rest follows. (What a
frame shows beside them, an arrow around the axle, is the torque that led to it.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dfgym.games import Game, Reading, Seed, begin_play, check_plan

ENV = "Pendulum-v1"
ROD = 127  # by how much more red than blue the rod is
GRAVITY, PUSH = 15.0, 3.0  # how much an angle, and a unit of torque, turn faster in a second
MOST_TORQUE, MOST_SPEED = 2.0, 8.0
STEP = 0.05  # seconds
GAINS = (10.0, 3.0)  # of angle and speed, near the top
TOP = 0.35  # radians from the top within which the motor can hold the rod
PHASE = 15  # steps that a torque without an aim is held, on average


class State(NamedTuple):
    """Angle in radians, 0 at the top and positive to the left, and speed a second."""

    angle: float
    speed: float


def read(frame: np.ndarray) -> tuple[float, float] | None:
    """Read where the rod points off a drawing of the game.

    Args:
        frame: `(h, w, 3)`, uint8 or float in [0, 255], of any size.

    Returns:
        The sine and the cosine of the angle; None where there is too little of a rod.
    """
    rod = np.clip(frame[..., 0].astype(np.float64) - frame[..., 2], 0, ROD) / ROD
    rod[rod < 0.1] = 0
    height, width = rod.shape
    mass = rod.sum()
    if mass < 0.01 * height * width:  # a whole rod covers five hundredths of the frame
        return None
    rows, columns = ((np.arange(n) + 0.5) / n - 0.5 for n in (height, width))
    left, up = -float(rod.sum(0) @ columns / mass), -float(rod.sum(1) @ rows / mass)
    length = math.hypot(left, up)
    return (left / length, up / length) if length > 0.02 else None


def advance(state: State, torque: float) -> State:
    """Take one step of the game's equations of motion (as in Gymnasium)."""
    push = PUSH * float(np.clip(torque, -MOST_TORQUE, MOST_TORQUE))
    speed = state.speed + (GRAVITY * math.sin(state.angle) + push) * STEP
    speed = float(np.clip(speed, -MOST_SPEED, MOST_SPEED))
    return State(state.angle + speed * STEP, speed)


class PendulumPolicy:
    """Swings the rod up by its energy (Åström and Furuta 2000) and holds it by linear feedback.

    Args:
        dawdle: the share of its time, in [0, 1], in which it holds any torque instead, so that the
            rod falls, turns over and hangs.
    """

    def __init__(self, epsilon: float = 0.0, seed: Seed = 0, dawdle: float = 0.0) -> None:
        self.random = begin_play(epsilon, dawdle, seed)
        self.epsilon, self.dawdle = epsilon, dawdle
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self.angle: float | None = None  # of the last frame
        self.torque: float | None = None  # that is held, while it dawdles

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Choose a torque, float32 `(1,)`, on seeing a frame."""
        return self.plan(observation[None], 1)[0]

    def plan(self, observations: np.ndarray, count: int) -> list[np.ndarray]:
        """Choose the torque for now and, by the equations of motion, those after it."""
        check_plan(observations, count)
        state = State(math.pi, 0.0)
        for observation in observations:
            state = self._observe(observation)
        torques: list[float] = []
        while len(torques) < count:
            torques.append(self._choose(state))
            state = advance(state, torques[-1])
        return [np.array([torque], np.float32) for torque in torques]

    def _observe(self, observation: np.ndarray) -> State:
        """Read a frame; one without a rod is taken for one of a rod that hangs still."""
        before, reading = self.angle, read(observation)
        if reading is None:
            self.angle = None
            return State(math.pi, 0.0)
        self.angle = math.atan2(*reading)
        turn = 0.0 if before is None else math.remainder(self.angle - before, 2 * math.pi)
        return State(self.angle, turn / STEP)

    def _choose(self, state: State) -> float:
        if self.random.random() < 1 / PHASE:
            dawdles = self.dawdle > 0 and self.random.random() < self.dawdle
            self.torque = self._draw() if dawdles else None
        if self.epsilon and self.random.random() < self.epsilon:
            return self._draw()
        if self.torque is not None:
            return self.torque
        if abs(state.angle) < TOP:
            torque = -GAINS[0] * state.angle - GAINS[1] * state.speed
            return float(np.clip(torque, -MOST_TORQUE, MOST_TORQUE))
        missing = GRAVITY * (1 - math.cos(state.angle)) - state.speed**2 / 2
        return math.copysign(MOST_TORQUE, missing * (state.speed or 1.0))

    def _draw(self) -> float:
        return float(self.random.uniform(-MOST_TORQUE, MOST_TORQUE))


GAME = Game(
    ENV,
    PendulumPolicy,
    read=read,
    readings={"side": Reading("rod lengths"), "height": Reading("rod lengths")},
)
