"""Scripted players that see nothing but pixels, so they play the real game and its dream alike."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from dfgym.games.cartpole import CartPolePolicy, check_shares

# MinAtar's colours, told apart by their red channel alone.
EMPTY, PADDLE, BALL, TRAIL, BRICK = 0, 22, 84, 208, 193
NOOP, LEFT, RIGHT = 0, 1, 2
MOTION = {NOOP: 0, LEFT: -1, RIGHT: 1}  # of the paddle, in columns
FORESIGHT = 60  # steps to look ahead; the longest flight from paddle to paddle is shorter

Ball = tuple[int, int, int, int, bool]  # x, y, dx, dy, and whether it broke a brick just now


class BreakoutPolicy:
    """Plays MinAtar Breakout: follow the ball, foresee where it lands, stand there.

    Frames are uint8 `(10 k, 10 k, 3)` with any cell size k. Where the picture does not tell (the
    ball is drawn under the bricks, and the trail does not always show where it heads), the policy
    remembers. It meets the ball now with one side of the paddle, now with the other, by chance,
    since always the same side runs in circles that break no brick.

    Args:
        epsilon: the share of actions drawn at random instead, in [0, 1].
        seed: of the policy's own generator; an episode's actions follow from it and the frames.
        dawdle: the share of the ball's flights, in [0, 1], in which it moves about at random for as
            long as it can still be in time. Then a sticky action at the last moment loses the ball,
            which a player that waits in its place never shows, and agents that learn often do.
    """

    def __init__(
        self,
        epsilon: float = 0.0,
        seed: int | np.random.SeedSequence = 0,
        dawdle: float = 0.0,
    ) -> None:
        check_shares(epsilon=epsilon, dawdle=dawdle)
        self.epsilon, self.dawdle = epsilon, dawdle
        self.random = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self.ball: Ball | None = None
        self.bricks = bytes(100)
        self.straight = True
        self.late = self.dawdle > 0 and self.random.random() < self.dawdle

    def __call__(self, observation: np.ndarray) -> int:
        """Choose 0 (no-op), 1 (left) or 2 (right)."""
        return self._choose(self._see(observation))

    def plan(self, observations: np.ndarray, count: int) -> list[int]:
        """Choose the action for now and, as the game should go on, those after it.

        The first is what `__call__` would choose; the others follow from the game's rules, by
        which every action is obeyed. A ball not seen yet is not waited for: in an episode's first
        frame it hides, so a plan from there of more than five actions can lose it.

        Args:
            observations: `(t, 10 k, 10 k, 3)`, every frame since the last call, oldest first.
            count: of actions, at least 1.

        Returns:
            Actions, `count` of them.

        Raises:
            ValueError: there is no frame, or `count` is less than 1.
        """
        if len(observations) < 1 or count < 1:
            raise ValueError(
                f"plan takes at least 1 frame and makes at least 1 action, not {count}"
            )
        for observation in observations:
            paddle = self._see(observation)
        actions = [self._choose(paddle)]
        seen = self.ball, self.bricks, self.straight, self.late
        while len(actions) < count:
            paddle = min(max(paddle + MOTION[actions[-1]], 0), 9)
            if self.ball is not None:
                self._foresee(self.ball, paddle)
            actions.append(self._choose(paddle))
        self.ball, self.bricks, self.straight, self.late = seen
        return actions

    def _see(self, observation: np.ndarray) -> int:
        """Follow the game into its next frame; returns the paddle's column."""
        cell = observation.shape[0] // 10
        cells = observation[::cell, ::cell, 0].tobytes()
        paddle = max(cells.find(PADDLE, 90) - 90, 0)
        self._track(cells, paddle)
        return paddle

    def _choose(self, paddle: int) -> int:
        """What to do where the remembered game stands."""
        if self.epsilon and self.random.random() < self.epsilon:
            return int(self.random.integers(3))
        if self.ball is None:
            return NOOP
        target, steps = self._target(self.ball, self.bricks, paddle)
        if self.late and abs(target - paddle) <= steps - 2:
            return int(self.random.integers(3))
        return NOOP if target == paddle else LEFT if target < paddle else RIGHT

    def _foresee(self, ball: Ball, paddle: int) -> None:
        """Move the remembered ball one step by the rules."""
        bricks = bytearray(self.bricks)
        self.ball, lands = _move(ball, bricks, paddle)
        if lands and BRICK not in bricks:
            bricks[10:40] = bytes([BRICK]) * 30  # a new wall
        self.bricks = bytes(bricks)
        if self.ball[3] < 0 < ball[3] and self.ball[1] == 8:  # off the paddle
            self.straight = bool(self.random.integers(2))
            self.late = self.dawdle > 0 and self.random.random() < self.dawdle

    def _track(self, cells: bytes, paddle: int) -> None:
        """Move the remembered ball one step; where the picture disagrees, believe the picture."""
        ball, trail = cells.find(BALL), cells.find(TRAIL)
        if self.ball is not None:
            self._foresee(self.ball, paddle)
        self.bricks = cells
        if ball < 0 or (self.ball is not None and ball == self.ball[1] * 10 + self.ball[0]):
            return
        y, x = divmod(ball, 10)
        # A trail that hides in the bricks: the ball was just served, from a wall to the middle.
        last_y, last_x = divmod(trail, 10) if trail >= 0 else (y - 1, x - (1 if x < 5 else -1))
        dx = x - last_x or (1 if x == 0 else -1)
        dy = y - last_y or (-1 if y == 8 else 1)
        self.ball = x, y, 1 if dx > 0 else -1, 1 if dy > 0 else -1, False

    def _target(self, ball: Ball, cells: bytes, paddle: int) -> tuple[int, int]:
        """The column to stand in, and the actions until then, this one included.

        It is the ball's column before or after it crosses the paddle's row.
        """
        bricks = bytearray(cells)
        for step in range(1, FORESIGHT):
            landing, lands = _move(ball, bricks, None)
            if lands:
                choices = [ball[0], landing[0]] if self.straight else [landing[0], ball[0]]
                near = [column for column in choices if abs(column - paddle) < step]
                best = near or sorted(choices, key=lambda column: abs(column - paddle))
                return best[0], step
            ball = landing
        return ball[0], FORESIGHT


def _move(ball: Ball, bricks: bytearray, paddle: int | None) -> tuple[Ball, bool]:
    """One step of the ball by MinAtar's rules; breaks bricks in place.

    Returns:
        The ball after the step, and whether it came to the paddle's row.
    """
    x, y, dx, dy, strike = ball
    new_x, new_y = x + dx, y + dy
    struck = lands = False
    if not 0 <= new_x <= 9:
        new_x, dx = x, -dx
    if new_y < 0:
        new_y, dy = 0, -dy
    elif new_y > 9:
        return (new_x, 9, dx, dy, False), True
    elif bricks[new_y * 10 + new_x] == BRICK:
        struck = True
        if not strike:
            bricks[new_y * 10 + new_x] = EMPTY
            new_y, dy, strike = y, -dy, True
    elif new_y == 9:
        lands = True
        if x == paddle:
            new_y, dy = y, -dy
        elif new_x == paddle:
            new_y, dx, dy = y, -dx, -dy
    return (new_x, new_y, dx, dy, strike and struck), lands


Policy: TypeAlias = BreakoutPolicy | CartPolePolicy


def make(
    name: str,
    epsilon: float = 0.0,
    seed: int | np.random.SeedSequence = 0,
    dawdle: float = 0.0,
) -> Policy:
    """Make the scripted player of a game.

    Args:
        name: any id or world name that speaks of MinAtar's Breakout or of CartPole, e.g.
            `DFWorld/minatar-breakout-v0`.
        epsilon: the share of random actions, in [0, 1].
        seed: of the policy's own generator.
        dawdle: the share of flights in which it comes at the last moment, or of time in which it
            wanders, in [0, 1].

    Raises:
        ValueError: no scripted player knows the game, or a share is out of range.
    """
    game = name.lower()
    if "minatar" in game and "breakout" in game:
        return BreakoutPolicy(epsilon, seed, dawdle)
    if "cartpole" in game:
        return CartPolePolicy(epsilon, seed, dawdle)
    raise ValueError(f"no scripted player for {name!r}; there are MinAtar Breakout and CartPole")
