"""Judge each transition of an episode by the real game's own rules.

A frame does not show everything. So the judge keeps the SET of hidden states that fit all that was
drawn, hands each of them to the real game (the rule book), and calls a transition legal if one of
them draws exactly the next frame, under the commanded action or under the action that was executed
last (sticky actions). Which states there are, and how the game is put into them, is each game's
own `RuleBook`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from dfgym.errors import ConfigError
from dfgym.games import Verdicts
from dfgym.games.minatar import SIZE, read_cells

Hidden = TypeVar("Hidden", bound=Hashable)


class Outcome(NamedTuple):
    """One way in which the real game draws the next frame."""

    hidden: Hashable
    reward: float
    terminal: bool
    sticky: bool


class RuleBook(Protocol[Hidden]):
    """A real MinAtar game that can be put into any state. Cells are int8 `(10, 10)`.

    Attributes:
        palette: the game's colours, uint8 `(channels + 1, 3)`.
    """

    palette: np.ndarray

    def first(self, cells: np.ndarray) -> set[Hidden]:
        """Return the hidden states of the game's start if it draws these cells; maybe none."""
        ...

    def act(
        self, cells: np.ndarray, states: Iterable[Hidden], action: int, after: np.ndarray
    ) -> list[Outcome]:
        """Return every way in which one of the states, which draw `cells`, draws `after` next."""
        ...

    def drawing(self, cells: np.ndarray) -> Iterable[Hidden]:
        """Return every hidden state, of a game that goes on, that draws these cells."""
        ...


def judge_by(
    rule_book: Callable[[], RuleBook[Hidden]],
) -> Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Verdicts]:
    """Return a judge of one episode by a rule book, which is made anew for each; see `judge`."""
    return lambda *episode: judge(rule_book(), *episode)


def judge(
    book: RuleBook[Hidden],
    frames: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    terminated: np.ndarray,
) -> Verdicts:
    """Judge one episode, which may begin anywhere and be cut anywhere.

    A first frame that is the game's start frame is held to be a start: the action that a sticky
    action could repeat is then "no-op". After an illegal transition every hidden state that draws
    the new frame is a candidate again, so that one fault counts once. (A ball that is lost may be
    under the bricks, where it can stay for some steps: such a dream is illegal every third step or
    so.) While a frame is one that the game cannot draw at all, as another game's frame, no state
    fits, and each transition is illegal.

    Args:
        book: the game's rules.
        frames: uint8 `(t, 10, 10, 3)` in the game's palette.
        actions: int `(t - 1,)`, numbered as the environment numbers them; `actions[i]` leads to
            `frames[i + 1]`.
        rewards: float `(t - 1,)`.
        terminated: bool `(t - 1,)`.

    Raises:
        ConfigError: The shapes do not fit each other.
    """
    count = len(frames) - 1
    if frames.shape[1:] != (SIZE, SIZE, 3) or count < 0:
        raise ConfigError(f"`frames` has shape {frames.shape}; expected (t, 10, 10, 3)")
    lengths = (len(actions), len(rewards), len(terminated))
    if set(lengths) != {count}:
        raise ConfigError(
            f"`actions`, `rewards`, `terminated` have lengths {lengths}; expected {count} of each, "
            f"one less than frames"
        )
    cells = read_cells(frames, book.palette)
    legal, sticky, wrong = (np.zeros(count, bool) for _ in range(3))
    hidden = np.zeros(count, int)
    states = book.first(cells[0]) or set(book.drawing(cells[0]))
    for i in range(count):
        outcomes = book.act(cells[i], states, int(actions[i]), cells[i + 1])
        legal[i] = bool(outcomes)
        if outcomes:
            sticky[i] = all(outcome.sticky for outcome in outcomes)
            claim = (float(rewards[i]), bool(terminated[i]))
            agreeing = [o for o in outcomes if (o.reward, o.terminal) == claim]
            wrong[i] = not agreeing
            # Nothing follows the end of the game, so a terminal state is not carried on.
            states = {o.hidden for o in agreeing or outcomes if not o.terminal}  # type: ignore[misc]
        else:
            states = set(book.drawing(cells[i + 1]))
        hidden[i] = len(states)
    return Verdicts(legal, sticky, wrong, hidden)
