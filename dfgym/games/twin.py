"""The real game as a judge that needs no rules: does any of its states explain the frames so far?

A *twin* brings the real game back to a moment of a recorded episode. From there it keeps the set of
real states that have drawn every frame since. Each is stepped by the commanded action, by the one
that stickiness repeats, and in every way in which the game's chance can fall; those that draw
another frame are dropped. When none is left, the frame is the first illegal one.

Games are brought back in one of three ways. MinAtar's are copied, with a generator put in that
walks through all that it could return. The Arcade Learning Environment saves and restores its
state, and stickiness is tried for every part of a step. Any other game is played again from its
seed by the same actions, and its chance is walked through as in MinAtar, if it comes from
Gymnasium's `np_random`. A game that steps by a generator of its own is refused: its chance would
fall as the seed has it, and whatever else a dream draws would seem to be illegal.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from dfgym.actions import Row
from dfgym.errors import NotMeasuredError
from dfgym.games.decisions import Decisions, walk
from dfgym.games.minatar import MinAtarEnv
from dfgym.games.outcomes import Belief, Outcome, Twin, freeze, play_again
from dfgym.games.replay import ReplayTwin, generators_used
from dfgym.games.source import Opening, Source, open_source

MOST_STATES, MOST_DRAWS = 64, 1000
"""See `Twin`, of games whose states are copied or restored."""


class Play(Protocol):
    """Frames uint8 `(t, h, w, 3)`, and t - 1 actions, rewards and ends that lead from each on."""

    @property
    def frames(self) -> np.ndarray:
        """The frames."""
        ...

    @property
    def actions(self) -> np.ndarray:
        """The actions, as rows."""
        ...

    @property
    def rewards(self) -> np.ndarray:
        """The rewards."""
        ...

    @property
    def terminated(self) -> np.ndarray:
        """Whether the episode ends."""
        ...


@dataclass(frozen=True)
class Lifetime:
    """How long a dream obeys the real game.

    Attributes:
        lawful: transitions that some real state explains, from the beginning on.
        end: why no more were judged: the next is `illegal`, the dream was `cut` or ended, or the
            game's chance is too `wide` to say.
        wrong: lawful transitions with another reward or end than the real game's.
        sticky: lawful ones that only a repeated last action explains.
        chance: lawful ones in whose place the game could have drawn another frame.
    """

    lawful: int
    end: Literal["illegal", "cut", "wide"]
    wrong: int
    sticky: int
    chance: int = 0


def open_twin(opening: Opening) -> Twin:
    """Open the real game so that it can be brought back to its states.

    Raises:
        ConfigError: the game cannot be opened.
        MissingPackageError: its package is missing.
        NotMeasuredError: its chance comes from where it cannot be walked through.
    """
    source = open_source(opening)
    game: Any = source.env.unwrapped
    if isinstance(game, MinAtarEnv):
        return _MinAtarTwin(source, game)
    if hasattr(game, "ale") and not opening.wrappers:
        quiet = {**opening.kwargs, "repeat_action_probability": 0.0}
        return _AleTwin(source, open_source(replace(opening, kwargs=quiet)))
    if hasattr(game, "ale") and game.ale.getFloat("repeat_action_probability"):
        raise NotMeasuredError(
            f"{opening.env} has wrappers, around which its emulator is not brought back, and "
            "repeats actions by chance; set repeat_action_probability to 0, or leave them out"
        )
    if own := generators_used(source):
        raise NotMeasuredError(
            f"{opening.env} draws its chance from a generator of its own ({', '.join(own)}), which "
            "cannot be walked through; let it draw from Gymnasium's `self.np_random` alone"
        )
    return ReplayTwin(source)


def follow(twin: Twin, seed: int, past: Iterable[Row], play: Play, tolerance: int = 0) -> Lifetime:
    """Judge what was played from a moment of a real episode on.

    Args:
        twin: the real game.
        seed: of the episode's reset.
        past: the actions that lead from there to the moment.
        play: the dream; its first frame is the moment's.
        tolerance: grey levels by which a frame may be off in any pixel and still be drawn.

    Raises:
        NotMeasuredError: the game does not come back to the moment by the seed and the actions.
    """
    belief, frame = twin.begin(seed, list(past))
    states = [state for state, _ in belief]
    if not np.array_equal(frame, play.frames[0]):
        raise NotMeasuredError(
            "the real game does not come back to a moment by its seed and its actions, so it has "
            "chance that its seed does not rule"
        )
    wrong = sticky = chance = 0
    for i, action in enumerate(play.actions):
        try:
            ways = [way for state in states for way in twin.outcomes(state, action)]
        except NotMeasuredError:
            return Lifetime(i, "wide", wrong, sticky, chance)
        matches = [way for way in ways if _draws(way, play.frames[i + 1], tolerance)]
        if not matches:
            return Lifetime(i, "illegal", wrong, sticky, chance)
        reward, ends = float(play.rewards[i]), bool(play.terminated[i])
        agreeing = [m for m in matches if np.isclose(m.reward, reward) and m.terminated == ends]
        wrong += not agreeing
        sticky += all(match.sticky for match in matches)
        chance += len(matches) < len(ways)
        if ends:
            return Lifetime(i + 1, "cut", wrong, sticky, chance)
        # Nothing follows the end of the game, so a terminal state is not carried on.
        going = {m.key: m.state for m in agreeing or matches if not m.terminated}
        states = list(going.values())
        if len(states) > twin.most_states:
            return Lifetime(i + 1, "wide", wrong, sticky, chance)
    return Lifetime(len(play.actions), "cut", wrong, sticky, chance)


def _draws(way: Outcome, frame: np.ndarray, tolerance: int) -> bool:
    """Whether the game draws this frame."""
    return int(np.abs(way.frame.astype(np.int16) - frame).max()) <= tolerance


class _MinAtarTwin:
    """MinAtar: states are copies of the game, with the action that may stick."""

    most_states, most_draws = MOST_STATES, MOST_DRAWS

    def __init__(self, source: Source, env: MinAtarEnv) -> None:
        self.source, self.env = source, env

    def begin(self, seed: int, actions: Sequence[Row]) -> tuple[Belief, np.ndarray]:
        self.env.game = copy.deepcopy(self.env.game)  # a state shown last must not be reset
        frames = play_again(self.source, seed, actions)
        self.env.game.random = None  # a reset brings another
        true = (copy.deepcopy(self.env.game), self.env.last_action)
        try:
            return self._explain(frames, actions) or [(true, 1.0)], frames[-1]
        except NotMeasuredError:
            return [(true, 1.0)], frames[-1]

    def _explain(self, frames: Sequence[np.ndarray], actions: Sequence[Row]) -> Belief:
        """Return every state that draws all frames of an episode; none if they are too many.

        What no frame has shown, as where a ball will fly, may be otherwise in a dream.
        """

        def start(decisions: Decisions) -> Outcome:
            game = copy.deepcopy(self.env.game)
            game.random = decisions
            game.reset()
            game.random = None
            frame = self.source.frame(self.env.show(game))
            key, chance = freeze(vars(game)), decisions.probability
            return Outcome((game, 0), key, frame, 0.0, False, False, chance)

        belief = _condition(((item, 1.0) for item in walk(start)), frames[0])
        for action, frame in zip(actions, frames[1:], strict=True):
            ways = ((item, w) for s, w in belief for item in self.outcomes(s, action))
            belief = _condition(ways, frame)
            if len(belief) > self.most_states:
                return []
        return belief

    def outcomes(self, state: Any, action: Row) -> Iterator[Outcome]:
        game, last = state
        commanded = self.env.action_set[int(action)]
        stickiness = self.env.sticky_action_prob if commanded != last else 0.0
        executed = {commanded: 1 - stickiness}
        if stickiness:
            executed[last] = stickiness
        for number, chance in executed.items():

            def play(decisions: Decisions, number: int = number, chance: float = chance) -> Outcome:
                way = self._act(game, number, decisions)
                probability = chance * decisions.probability
                return way._replace(sticky=number != commanded, probability=probability)

            yield from walk(play)

    def draw(self, state: Any, action: Row, seed: int) -> Outcome:
        game, last = state
        commanded, random = self.env.action_set[int(action)], np.random.RandomState(seed)
        number = last if random.rand() < self.env.sticky_action_prob else commanded
        return self._act(game, number, random)._replace(sticky=number != commanded)

    def _act(self, game: Any, number: int, random: Any) -> Outcome:
        """Step a copy of the game, whose chance comes from `random`."""
        after = copy.deepcopy(game)
        after.random = random
        reward, terminal = after.act(number)
        after.random = None
        frame = self.source.frame(self.env.show(after))
        key = (freeze(vars(after)), number)
        return Outcome((after, number), key, frame, float(reward), bool(terminal), False)


def _condition(ways: Iterable[tuple[Outcome, float]], frame: np.ndarray) -> Belief:
    """Return the states that draw this frame, with their probabilities by Bayes' rule.

    Args:
        ways: in which the game can have gone on, each with its state's probability.
        frame: what it has drawn.
    """
    states: dict[Any, Any] = {}
    weights: defaultdict[Any, float] = defaultdict(float)
    for way, weight in ways:
        if not way.terminated and np.array_equal(way.frame, frame):
            states[way.key] = way.state
            weights[way.key] += weight * way.probability
    total = sum(weights.values()) or 1.0
    return [(state, weights[key] / total) for key, state in states.items()]


class _AleTwin:
    """The Arcade Learning Environment: states are its own, with the action that may stick."""

    most_states, most_draws = MOST_STATES, MOST_DRAWS

    def __init__(self, source: Source, quiet: Source) -> None:
        self.source, self.quiet = source, quiet
        game: Any = quiet.env.unwrapped
        honest: Any = source.env.unwrapped
        self.game, self.honest, self.ale = game, honest, game.ale
        self.sticky = float(honest.ale.getFloat("repeat_action_probability"))
        skip = game._frameskip
        self.skips = (skip,) if isinstance(skip, int) else tuple(range(*skip))
        quiet.env.reset(seed=0)

    def begin(self, seed: int, actions: Sequence[Row]) -> tuple[Belief, np.ndarray]:
        frame = play_again(self.source, seed, actions)[-1]
        state = self.honest.ale.cloneState()
        # Which action may stick is the game's secret: the last one, unless stickiness lasted for
        # all parts of the step, and for all of the step before.
        belief: dict[Any, float] = defaultdict(float)
        recent, rest = [self._number(action) for action in actions[-3:]] or [self._number(0)], 1.0
        for place, number in enumerate(reversed(recent)):
            late = self.sticky ** max(self.skips) if place + 1 < len(recent) else 0.0
            belief[number] += rest * (1 - late)
            rest *= late
        return [((state, last), weight) for last, weight in belief.items()], frame

    def _number(self, action: Row) -> Any:
        return self.game._action_set[self.source.to_env(action)]

    def outcomes(self, state: Any, action: Row) -> Iterator[Outcome]:
        saved, last = state
        commanded = self._number(action)
        for skip in self.skips:
            stickiness = self.sticky if last != commanded else 0.0
            for repeats in range(skip + 1) if stickiness else (0,):
                self.ale.restoreState(saved)
                numbers = [last] * repeats + [commanded] * (skip - repeats)
                reward = sum(self.ale.act(number) for number in numbers)
                frame = self.quiet.frame(self.game._get_obs())
                after, end = self.ale.cloneState(), bool(self.ale.game_over(with_truncation=False))
                key = (after.serialize(), numbers[-1])
                chance = stickiness**repeats * (1 - stickiness if repeats < skip else 1)
                chance /= len(self.skips)
                going = (after, numbers[-1])
                yield Outcome(going, key, frame, float(reward), end, repeats > 0, chance)

    def draw(self, state: Any, action: Row, seed: int) -> Outcome:
        ways = list(self.outcomes(state, action))
        weights = np.array([way.probability for way in ways])
        return ways[np.random.default_rng(seed).choice(len(ways), p=weights / weights.sum())]
