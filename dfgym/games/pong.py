"""Pong as the Arcade Learning Environment draws it: reading ball and paddles off a frame, a player.

Positions are read by colour, as shares of the frame's height and width, so at any size that keeps
the ball (the filter `contrast`). The player goes to where the ball will arrive.

Legend: h w a frame's size; the agent's paddle is the right one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dfgym.games import Game, Seed, begin_play, check_plan

ENV = "ALE/Pong-v5"
STAY, UP, DOWN = 0, 2, 3
NUM_ACTIONS = 6
HEIGHT, WIDTH = 210, 160  # of the drawing at full size, pixels
TOP, BOTTOM = 34, 194  # rows of the field there, between the two bars
BALL, OWN, OTHER = (236, 236, 236), (92, 186, 92), (213, 130, 74)
TOLERANCE = 48  # a pixel shows a thing if each channel is as near to its colour
OWN_FACE, OTHER_FACE = 140 / WIDTH, 20 / WIDTH  # the columns where the paddles return the ball
LARGEST_BALL = 0.004  # share of the field; a larger white thing is none
REACH = 0.03  # of the height: nearer to its aim the player stays
PHASE = 60  # steps that a dawdling player heads for one place, on average


class Positions(NamedTuple):
    """Where things are, as shares of height and width; NaN for what is not there."""

    ball_row: float
    ball_column: float
    own: float
    other: float

    @property
    def has_ball(self) -> bool:
        """Whether there is a ball in the field."""
        return self.ball_row == self.ball_row


def read(frame: np.ndarray) -> Positions:
    """Read the middles of ball and paddles off a frame, uint8 `(h, w, 3)`."""
    height, width = frame.shape[:2]
    first, last = -(-TOP * height // HEIGHT), BOTTOM * height // HEIGHT  # wholly in the field
    field = frame[first:last].astype(np.int16)
    right = round(width * OWN_FACE) - 1  # columns from here on can show the agent's paddle
    ball = _middle(_shows(field, BALL), LARGEST_BALL)
    own = _middle(_shows(field[:, right:], OWN))[0]
    other = _middle(_shows(field[:, : width - right], OTHER))[0]
    rows = ((row + first) / height for row in (ball[0], own, other))
    ball_row, own, other = rows
    return Positions(ball_row, ball[1] / width, own, other)


def _shows(field: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray((np.abs(field - np.array(colour, np.int16)) <= TOLERANCE).all(-1))


def _middle(shows: np.ndarray, largest: float = 1.0) -> tuple[float, float]:
    """Return the middle row and column of the cells that show a thing, NaN where none do."""
    rows, columns = shows.nonzero()
    if not 0 < len(rows) <= max(6, largest * shows.size):
        return np.nan, np.nan
    return float(rows.mean()) + 0.5, float(columns.mean()) + 0.5


def arrival(row: float) -> float:
    """Return where a ball is that would be at `row` if there were no bars to reflect it."""
    top, bottom = TOP / HEIGHT, BOTTOM / HEIGHT
    span = bottom - top
    place = (row - top) % (2 * span)
    return top + (place if place <= span else 2 * span - place)


class PongPolicy:
    """Goes to where the ball will arrive, and waits in the middle while it flies away.

    Args:
        dawdle: the share of its time, in [0, 1], in which it heads for some place of the field
            instead, and misses balls.
    """

    def __init__(self, epsilon: float = 0.0, seed: Seed = 0, dawdle: float = 0.0) -> None:
        self.random = begin_play(epsilon, dawdle, seed)
        self.epsilon, self.dawdle = epsilon, dawdle
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self.last: Positions | None = None
        self.offset = 0.0
        self.target: float | None = None

    def __call__(self, observation: np.ndarray) -> int:
        """Choose an action on seeing a frame."""
        return self.plan(observation[None], 1)[0]

    def plan(self, observations: np.ndarray, count: int) -> list[int]:
        """Choose the action for now and, with the ball flying on, those after it."""
        check_plan(observations, count)
        before = read(observations[-2]) if len(observations) > 1 else self.last
        now = self.last = read(observations[-1])
        speed = (0.0, 0.0)
        if before is not None and before.has_ball and now.has_ball:
            speed = now.ball_row - before.ball_row, now.ball_column - before.ball_column
        return [self._choose(now, speed) for _ in range(count)]

    def _choose(self, now: Positions, speed: tuple[float, float]) -> int:
        if self.random.random() < 1 / PHASE:
            wanders = self.dawdle > 0 and self.random.random() < self.dawdle
            self.target = float(self.random.uniform(TOP, BOTTOM)) / HEIGHT if wanders else None
            self.offset = float(self.random.uniform(-0.03, 0.03))  # where on the paddle it lands
        if self.epsilon and self.random.random() < self.epsilon:
            return int(self.random.integers(NUM_ACTIONS))
        aim = self._aim(now, speed) if self.target is None else self.target
        if now.own != now.own or abs(aim - now.own) < REACH:
            return STAY
        return UP if aim < now.own else DOWN

    def _aim(self, now: Positions, speed: tuple[float, float]) -> float:
        """Return the row to go to."""
        if not now.has_ball or speed[1] <= 0:
            return now.ball_row if now.has_ball and speed[1] == 0 else (TOP + BOTTOM) / 2 / HEIGHT
        steps = max(0.0, (OWN_FACE - now.ball_column) / speed[1])
        return arrival(now.ball_row + steps * speed[0]) + self.offset


GAME = Game(ENV, PongPolicy)
