"""MinAtar Breakout: a scripted policy that sees nothing but pixels, and the judge of its rules.

A frame does not show everything: the ball hides under the trail and under bricks, and nobody sees
its direction, whether it has just struck a brick, or the action that a sticky action repeats. So
the policy remembers where the ball was, and the judge keeps the set of hidden states that fit all
that was drawn (`dfgym.games.rules`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from dfgym.games import Game, Seed, begin_play, check_plan, rules
from dfgym.games.minatar import SIZE, STICKINESS, MinAtarEnv, env_id, palette, red_table
from dfgym.games.rules import Outcome

# What a cell shows, in the order in which the game draws: the highest one hides the others.
EMPTY, PADDLE, BALL, TRAIL, BRICK = range(5)
CHANNELS = 4
BRICK_ROWS = slice(1, 4)
NOOP, LEFT, RIGHT = 0, 1, 2
MOTION = {NOOP: 0, LEFT: -1, RIGHT: 1}  # of the paddle, in columns
FORESIGHT = 60  # steps to look ahead; the longest flight from paddle to paddle is shorter

Ball = tuple[int, int, int, int, bool]  # x, y, dx, dy, and whether it broke a brick just now


class BreakoutPolicy:
    """Plays MinAtar Breakout: follow the ball, foresee where it lands, stand there.

    Frames are uint8 `(10 k, 10 k, 3)` with any cell size k. Where the picture is not clear (the
    ball is drawn under the bricks, and the trail does not always show where it heads), the policy
    remembers. It meets the ball now with one side of the paddle, now with the other, by chance,
    since a policy that always uses the same side runs in circles that break no brick.

    Args:
        dawdle: the share of the ball's flights, in [0, 1], in which the policy moves about at
            random for as long as it can still be in time. Then a sticky action at the last moment
            loses the ball, which a player that waits in its place never shows, and agents that
            learn often do.
    """

    _code = red_table(palette(CHANNELS))

    def __init__(self, epsilon: float = 0.0, seed: Seed = 0, dawdle: float = 0.0) -> None:
        self.random = begin_play(epsilon, dawdle, seed)
        self.epsilon, self.dawdle = epsilon, dawdle
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self.ball: Ball | None = None
        self.bricks = bytes(100)
        self.straight = True
        self.late = self.dawdle > 0 and self.random.random() < self.dawdle

    def __call__(self, observation: np.ndarray) -> int:
        """Choose an action on seeing a frame."""
        return self.plan(observation[None], 1)[0]

    def plan(self, observations: np.ndarray, count: int) -> list[int]:
        """Choose the action for now and, as the game should go on, those after it.

        The first is what `__call__` would choose; the others follow from the game's rules, by
        which every action is obeyed. The plan does not wait for a ball that has not been observed:
        in an episode's first frame it hides, so a plan of more than five actions can lose it.
        """
        check_plan(observations, count)
        for observation in observations:
            paddle = self._observe(observation)
        actions = [self._choose(paddle)]
        observed = self.ball, self.bricks, self.straight, self.late
        while len(actions) < count:
            paddle = min(max(paddle + MOTION[actions[-1]], 0), 9)
            if self.ball is not None:
                self._foresee(self.ball, paddle)
            actions.append(self._choose(paddle))
        self.ball, self.bricks, self.straight, self.late = observed
        return actions

    def _observe(self, observation: np.ndarray) -> int:
        """Follow the game into its next frame; returns the paddle's column."""
        cell = observation.shape[0] // SIZE
        cells = self._code[observation[::cell, ::cell, 0]].tobytes()
        paddle = max(cells.find(PADDLE, 90) - 90, 0)
        self._track(cells, paddle)
        return paddle

    def _choose(self, paddle: int) -> int:
        """Choose an action for the remembered state of the game."""
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
        """Move the remembered ball one step; where the frame disagrees, believe the frame."""
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
        """Return the column to stand in, and the actions until then, this one included.

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
    """Move the ball one step by MinAtar's rules, and break bricks in place.

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


class Hidden(NamedTuple):
    """What a frame does not show (paddle and bricks are always drawn)."""

    ball_x: int
    ball_y: int
    ball_dir: int
    strike: bool
    last_action: int


class RuleBook:
    """The real game as a rule book: put into any state, it draws what follows."""

    def __init__(self) -> None:
        env = MinAtarEnv("breakout")
        self.palette = env.palette
        self._game: Any = env.game
        self._codes = env.action_set  # the environment's action number -> the game's own

    def first(self, cells: np.ndarray) -> set[Hidden]:
        """Return the hidden states of the game's two starts that draw these cells."""
        starts = {}
        for side in range(2):
            self._game.random = _Coin(side)
            self._game.reset()
            starts[self._hidden(last_action=0)] = self._draw()
        return {start for start, drawing in starts.items() if np.array_equal(drawing, cells)}

    def act(
        self, cells: np.ndarray, states: Iterable[Hidden], action: int, after: np.ndarray
    ) -> list[Outcome]:
        """Return every way in which one of the states, which draw `cells`, draws `after` next."""
        target = after.tobytes()
        bricks = (cells == BRICK).astype(float)
        paddle = int((cells[-1] == PADDLE).argmax())
        game = self._game
        results: dict[tuple[Any, ...], tuple[Hidden, float, bool] | None] = {}

        def execute(state: Hidden, executed: int) -> tuple[Hidden, float, bool] | None:
            game.brick_map = bricks.copy()
            game.pos, game.terminal = paddle, False
            game.ball_x, game.ball_y, game.ball_dir, game.strike, _ = state
            reward, terminal = game.act(self._codes[executed])
            if after[-1, game.pos] != PADDLE or self._draw().tobytes() != target:
                return None
            return self._hidden(executed), float(reward), bool(terminal)

        outcomes = []
        for state in states:
            for executed in {action, state.last_action}:
                key = (*state[:4], executed)
                if key not in results:
                    results[key] = execute(state, executed)
                result = results[key]
                if result is not None:
                    outcomes.append(Outcome(*result, sticky=executed != action))
        return outcomes

    def _hidden(self, last_action: int) -> Hidden:
        game = self._game
        return Hidden(game.ball_x, game.ball_y, game.ball_dir, game.strike, last_action)

    def drawing(self, cells: np.ndarray) -> Iterable[Hidden]:
        """Return every hidden state, of a game that goes on, that draws these cells."""
        count = np.bincount(cells.ravel() + 1, minlength=6)[1:]
        bricks = cells == BRICK
        # One paddle, in the last row, that nothing covers while the game goes on; bricks in
        # their rows; one ball and one trail, above the last row; no foreign colour.
        if (
            (cells < 0).any()
            or count[PADDLE] != 1
            or not (cells[-1] == PADDLE).any()
            or bricks[BRICK_ROWS].sum() != count[BRICK]
            or count[BALL] > 1
            or count[TRAIL] > 1
            or np.isin(cells[-1], (BALL, TRAIL)).any()
        ):
            return
        under_bricks = [tuple(map(int, cell)) for cell in np.argwhere(bricks)]
        trail = [tuple(map(int, cell)) for cell in np.argwhere(cells == TRAIL)]
        ball = [tuple(map(int, cell)) for cell in np.argwhere(cells == BALL)]
        if not trail and not under_bricks:
            return  # a trail is always drawn, unless a brick covers it
        for y, x in ball or trail + under_bricks:
            for direction, strike, last in product(
                range(4), (False, True), range(len(self._codes))
            ):
                yield Hidden(x, y, direction, strike, last)

    def _draw(self) -> np.ndarray:
        """Return the cells as the game shows its state (`minatar.Environment.display_state`)."""
        game = self._game
        cells = np.zeros((SIZE, SIZE), np.int8)
        cells[-1, game.pos] = PADDLE
        cells[game.ball_y, game.ball_x] = BALL
        cells[game.last_y, game.last_x] = TRAIL
        cells[game.brick_map == 1] = BRICK
        return cells


class _Coin:
    """Stands in for the game's random generator, to obtain either start."""

    def __init__(self, side: int) -> None:
        self.side = side

    def randint(self, _: int) -> int:
        return self.side


GAME = Game(
    env_id("breakout"),
    BreakoutPolicy,
    frame=(SIZE, SIZE),
    judge=rules.judge_by(RuleBook),
    harmless=STICKINESS,
)
