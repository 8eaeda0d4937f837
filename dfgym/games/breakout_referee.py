"""Judge each transition of MinAtar Breakout by the real game's own rules.

A frame does not show everything: the ball hides under the trail and under bricks, and nobody sees
its direction, whether it has just struck a brick, or the action that a sticky action repeats. So
the referee keeps the SET of hidden states that fit all that was drawn, hands each of them to the
real game's `act` (the rule book), and calls a transition legal if one of them draws exactly the
next frame, under the commanded action or under the last executed one (sticky actions).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dfgym.errors import ConfigError
from dfgym.evaluation.rollout import Episode, Game, players, roll
from dfgym.games.minatar import MinAtarEnv

if TYPE_CHECKING:
    from dfgym.world.card import Card

# What a cell shows, in the order in which the game draws: the highest one wins.
EMPTY, PADDLE, BALL, TRAIL, BRICK = range(5)
SIZE = 10
BRICK_ROWS = slice(1, 4)


class Hidden(NamedTuple):
    """What a frame does not show (paddle and bricks are always drawn)."""

    ball_x: int
    ball_y: int
    ball_dir: int
    strike: bool
    last_action: int


@dataclass(frozen=True)
class Verdicts:
    """The referee's word on each of the `t - 1` transitions of one episode.

    Attributes:
        legal: bool `(t - 1,)`, the real game could have drawn this frame next.
        sticky: bool `(t - 1,)`, legal, and only the repeated last action explains it.
        wrong: bool `(t - 1,)`, legal, but reward or termination is not that of the real game.
        hidden: int `(t - 1,)`, how many hidden states still fit afterwards.
    """

    legal: np.ndarray
    sticky: np.ndarray
    wrong: np.ndarray
    hidden: np.ndarray


@dataclass(frozen=True)
class Legality:
    """The referee's counts over many episodes."""

    transitions: int
    illegal: int
    wrong: int
    """Legal, with the wrong reward or termination."""
    sticky: int
    """Legal, and only the sticky outcome explains them."""

    @property
    def illegal_per_1000(self) -> float:
        """Illegal ones among 1,000 transitions."""
        return 1000 * self.illegal / max(1, self.transitions)

    @property
    def wrong_per_1000(self) -> float:
        """Reward or termination wrong among 1,000 legal transitions."""
        return 1000 * self.wrong / max(1, self.transitions - self.illegal)

    @property
    def sticky_share(self) -> float:
        """Share of the transitions in which the sticky outcome is visible, in [0, 1]."""
        return self.sticky / max(1, self.transitions)


def judge(episodes: Iterable[Episode]) -> Legality:
    """Judge whole episodes (of `rollout.roll`) and count."""
    verdicts = [judge_one(episode) for episode in episodes]
    return Legality(
        transitions=sum(len(v.legal) for v in verdicts),
        illegal=sum(int((~v.legal).sum()) for v in verdicts),
        wrong=sum(int(v.wrong.sum()) for v in verdicts),
        sticky=sum(int(v.sticky.sum()) for v in verdicts),
    )


def judge_one(episode: Episode) -> Verdicts:
    """`judge_episode` for an episode of `rollout.roll`."""
    return judge_episode(episode.frames, episode.actions, episode.rewards, episode.terminated)


def rollout(
    game: Game,
    card: Card,
    transitions: int = 10_000,
    epsilon: float = 0.2,
    max_steps: int = 500,
    seed: int = 0,
) -> Legality:
    """Have the scripted player, with a share `epsilon` of random actions, play and judge it all."""
    return judge(roll(game, players(card, game.num_rows, epsilon, seed), transitions, max_steps))


def judge_episode(
    frames: np.ndarray, actions: np.ndarray, rewards: np.ndarray, terminated: np.ndarray
) -> Verdicts:
    """Judge one episode, which may begin anywhere and be cut anywhere.

    A first frame that is the game's start frame is held to be a start: the action that a sticky
    action could repeat is then "no-op". After an illegal transition every hidden state that draws
    the new frame is a candidate again, so that one fault counts once. (A ball that is lost may be
    under the bricks, where it can stay for some steps: such a dream is illegal every third step or
    so.) While a frame is one that the game cannot draw at all, no state fits, and each transition
    is illegal.

    Args:
        frames: uint8 `(t, 10, 10, 3)` in MinAtar's palette.
        actions: int `(t - 1,)`, 0 no-op, 1 left, 2 right; `actions[i]` leads to `frames[i + 1]`.
        rewards: float `(t - 1,)`.
        terminated: bool `(t - 1,)`.

    Raises:
        ConfigError: if the shapes do not fit each other.
        MissingPackageError: if `minatar` is not installed.
    """
    count = len(frames) - 1
    if frames.shape[1:] != (SIZE, SIZE, 3) or count < 0:
        raise ConfigError(f"frames have shape {frames.shape}; the referee needs (t, 10, 10, 3)")
    if not len(actions) == len(rewards) == len(terminated) == count:
        lengths = (len(actions), len(rewards), len(terminated))
        raise ConfigError(f"actions, rewards, terminated have lengths {lengths}; needed: {count}")
    book = _RuleBook()
    cells = book.read(frames)
    legal, sticky, wrong = (np.zeros(count, bool) for _ in range(3))
    hidden = np.zeros(count, int)
    fitting = book.first(cells[0])
    for i in range(count):
        outcomes = book.act(cells[i], fitting, int(actions[i]), cells[i + 1])
        legal[i] = bool(outcomes)
        if outcomes:
            sticky[i] = all(outcome.sticky for outcome in outcomes)
            told = (float(rewards[i]), bool(terminated[i]))
            agreeing = [o for o in outcomes if (o.reward, o.terminal) == told]
            wrong[i] = not agreeing
            # Nothing follows the end of the game, so a terminal state is not carried on.
            fitting = {o.hidden for o in agreeing or outcomes if not o.terminal}
        else:
            fitting = set(book.drawing(cells[i + 1]))
        hidden[i] = len(fitting)
    return Verdicts(legal, sticky, wrong, hidden)


class _Outcome(NamedTuple):
    """One way in which the real game draws the next frame."""

    hidden: Hidden
    reward: float
    terminal: bool
    sticky: bool


class _RuleBook:
    """The real game, put into any state and asked what follows."""

    def __init__(self) -> None:
        env = MinAtarEnv("breakout")
        self.game: Any = env.game
        self.codes = env.action_set  # our action number -> the game's own
        self.palette = _pack(env.palette)

    def read(self, frames: np.ndarray) -> np.ndarray:
        """What each cell shows: int8 `(t, 10, 10)`, -1 for a colour that the game does not have."""
        match = _pack(frames)[..., None] == self.palette
        return np.where(match.any(-1), match.argmax(-1), -1).astype(np.int8)

    def first(self, cells: np.ndarray) -> set[Hidden]:
        """Hidden states that fit an episode's first frame."""
        starts = {}
        for side in range(2):
            self.game.random = _Coin(side)
            self.game.reset()
            starts[self._hidden(last_action=0)] = self._draw()
        fitting = {start for start, drawn in starts.items() if np.array_equal(drawn, cells)}
        return fitting or set(self.drawing(cells))

    def act(
        self, cells: np.ndarray, fitting: Iterable[Hidden], action: int, after: np.ndarray
    ) -> list[_Outcome]:
        """Every way in which one of the fitting states draws `after` next."""
        target = after.tobytes()
        bricks = (cells == BRICK).astype(float)
        paddle = int((cells[-1] == PADDLE).argmax())
        game = self.game
        asked: dict[tuple[Any, ...], tuple[Hidden, float, bool] | None] = {}

        def ask(state: Hidden, executed: int) -> tuple[Hidden, float, bool] | None:
            game.brick_map = bricks.copy()
            game.pos, game.terminal = paddle, False
            game.ball_x, game.ball_y, game.ball_dir, game.strike, _ = state
            reward, terminal = game.act(self.codes[executed])
            if after[-1, game.pos] != PADDLE or self._draw().tobytes() != target:
                return None
            return self._hidden(executed), float(reward), bool(terminal)

        outcomes = []
        for state in fitting:
            for executed in {action, state.last_action}:
                question = (*state[:4], executed)
                if question not in asked:
                    asked[question] = ask(state, executed)
                answer = asked[question]
                if answer is not None:
                    outcomes.append(_Outcome(*answer, sticky=executed != action))
        return outcomes

    def _hidden(self, last_action: int) -> Hidden:
        game = self.game
        return Hidden(game.ball_x, game.ball_y, game.ball_dir, game.strike, last_action)

    def drawing(self, cells: np.ndarray) -> Iterable[Hidden]:
        """Every hidden state, of a game that goes on, that draws these cells; maybe none."""
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
            for direction, strike, last in product(range(4), (False, True), range(len(self.codes))):
                yield Hidden(x, y, direction, strike, last)

    def _draw(self) -> np.ndarray:
        """Cells as the game shows its state (`minatar.Environment.display_state`)."""
        game = self.game
        cells = np.zeros((SIZE, SIZE), np.int8)
        cells[-1, game.pos] = PADDLE
        cells[game.ball_y, game.ball_x] = BALL
        cells[game.last_y, game.last_x] = TRAIL
        cells[game.brick_map == 1] = BRICK
        return cells


class _Coin:
    """Stands in for the game's random generator, to ask for either start."""

    def __init__(self, side: int) -> None:
        self.side = side

    def randint(self, _: int) -> int:
        return self.side


def _pack(colours: np.ndarray) -> np.ndarray:
    """RGB `(..., 3)` as one number each."""
    return (colours.astype(np.int32) << np.array([16, 8, 0])).sum(-1)
