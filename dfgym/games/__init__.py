"""Real games: opening any of them, and what is known of some.

A game that is known has one file here, named after it, which defines a `GAME`; `find` finds it by
its Gymnasium id, and nothing else needs an edit. A game without a file is recorded, learned and
measured like any other: only what needs knowledge of its rules or of its drawing is left out.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np

from dfgym.actions import ActionSpace, Row, discrete

POLICY_VERSION = 2
"""Of all policies here and in `dfgym.agents`: raise it when one plays otherwise than before."""

HARMLESS = frozenset({"max_episode_steps", "render_mode"})
"""Keywords of `gym.make` that make no game another one."""

Seed = int | np.random.SeedSequence


class Policy(Protocol):
    """Chooses an action from each frame of an episode."""

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""

    def __call__(self, observation: np.ndarray) -> Row:
        """Choose an action, as a row, on seeing a frame uint8 `(h, w, 3)`."""
        ...


class ScriptedPolicy(Protocol):
    """A policy that knows its game's rules, and so can choose actions ahead."""

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""

    def __call__(self, observation: np.ndarray) -> Row:
        """Choose an action, as a row, on seeing a frame uint8 `(h, w, 3)`."""
        ...

    def plan(self, observations: np.ndarray, count: int) -> Sequence[Row]:
        """Choose the action for now and, as the game should go on, those after it.

        Args:
            observations: uint8 `(t, h, w, 3)`, every frame since the last call, oldest first.
            count: the number of actions, at least 1.

        Raises:
            ValueError: There is no frame, or `count` is less than 1.
        """
        ...


class MakePolicy(Protocol):
    """Makes a game's scripted policy."""

    def __call__(self, epsilon: float = 0.0, seed: Seed = 0, dawdle: float = 0.0) -> ScriptedPolicy:
        """Make a policy.

        Args:
            epsilon: the share of actions drawn at random instead, in [0, 1].
            seed: of the policy's own generator; actions follow from it and from the frames.
            dawdle: the share of the play, in [0, 1], in which the policy does not play well but
                visits what a good player never shows.

        Raises:
            ValueError: A share is out of range.
        """
        ...


@dataclass(frozen=True)
class Verdicts:
    """A judgement by the rules of each of the `t - 1` transitions of one episode.

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
class Drawings:
    """A comparison of `t` frames with the real game's own drawing of what they show.

    Attributes:
        readings: float `(t, readings)`, what was read off each frame, in the game's units and in
            the order of `Game.readings`; NaN where nothing can be read.
        error: float `(t,)`, the root mean square difference from the drawing in grey levels, over
            all pixels and colours.
        sharpness: float `(t,)`, fine detail relative to that of the drawing: 1 if as sharp, less if
            blurred, more if noisy, 0 where nothing can be read.
    """

    readings: np.ndarray
    error: np.ndarray
    sharpness: np.ndarray


class Reading(NamedTuple):
    """How a number that is read off a frame is reported: its unit, and the factor to that unit."""

    unit: str
    scale: float = 1.0


@dataclass(frozen=True)
class Game:
    """What is known of one real game; what is not known of it is None.

    Attributes:
        env_id: the game's Gymnasium id.
        policy: makes the scripted policy.
        frame: height and width of the only frames that show the game; None: it is drawn at any
            size. (The policy also takes frames that are enlarged by a whole factor.)
        judge: judges an episode by the game's rules, from frames uint8 `(t, h, w, 3)` and actions,
            rewards and terminations `(t - 1,)`, entry `i` of which leads to frame `i + 1`.
        compare: compares frames uint8 `(t, h, w, 3)` with the game's own drawing.
        read: reads numbers off one frame `(h, w, 3)`; None where there is nothing to read. Given
            for games without chance, where the same actions must lead to the same numbers.
        readings: the name of each number that `read` returns, and how it is reported.
        obeys: says of each row, from its frames after each action was held for some steps,
            a list over the actions of uint8 `(b, h, w, 3)`, whether the game obeyed, bool `(b,)`.
            Where it is None, any difference between two actions' frames counts.
        obedience: what `obeys` looks for, in words that follow "another action ...".
        timers: of the game's hidden timers by name, which of the `t - 1` transitions between frames
            uint8 `(t, h, w, 3)` ran it out, bool `(t - 1,)`.
        hides_layout: what comes into sight was laid out at the reset. A dream that lays it out
            otherwise is right, and yet no state of the real game from that reset explains it.
        harmless: keywords of `gym.make` that leave its rules and drawing as they are known here.
    """

    env_id: str
    policy: MakePolicy
    frame: tuple[int, int] | None = None
    judge: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Verdicts] | None = None
    compare: Callable[[np.ndarray], Drawings] | None = None
    read: Callable[[np.ndarray], tuple[float, ...] | None] | None = None
    readings: Mapping[str, Reading] = field(default_factory=dict)
    obeys: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None
    obedience: str = "led to another frame"
    timers: Callable[[np.ndarray], Mapping[str, np.ndarray]] | None = None
    hides_layout: bool = False
    harmless: frozenset[str] = frozenset()

    def is_drawn_at(self, height: int, width: int) -> bool:
        """Whether the game is drawn in frames of this size."""
        return self.frame in (None, (height, width))

    def can_play(self, height: int, width: int) -> bool:
        """Whether the scripted policy can read frames of this size."""
        if self.frame is None:
            return True
        return height % self.frame[0] == 0 and width * self.frame[0] == height * self.frame[1]


def find(
    env_id: str,
    size: tuple[int, int] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Game | None:
    """Return what is known of a real game, or None.

    Args:
        env_id: its Gymnasium id; a `module:` before it does not matter.
        size: height and width of the frames; None is also returned if the game is not drawn so.
        kwargs: keywords of `gym.make`; None is also returned if one of them could make it another
            game, by other rules or drawn otherwise.
    """
    name = env_id.rpartition(":")[2]
    game = next((game for game in all_games() if game.env_id == name), None)
    if game is None or (size is not None and not game.is_drawn_at(*size)):
        return None
    spec = gym.registry.get(name)
    usual: Mapping[str, Any] = {} if spec is None else spec.kwargs
    changes = {key for key, value in (kwargs or {}).items() if usual.get(key, ...) != value}
    return game if changes <= HARMLESS | game.harmless else None


@functools.cache
def all_games() -> tuple[Game, ...]:
    """Return every game that has a file in this folder."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules: list[Any] = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(module.GAME for module in modules if hasattr(module, "GAME"))


class RandomPolicy:
    """Draws actions, as rows, evenly from its own generator.

    Args:
        actions: the action space, or the number of discrete actions.
        seed: of the policy's own generator.
        hold: the probability that the last action is repeated instead, in [0, 1).
    """

    def __init__(self, actions: ActionSpace | int, seed: Seed, hold: float = 0.0) -> None:
        self.actions = discrete(actions) if isinstance(actions, int) else actions
        self.hold = hold
        self.random = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        """Draw the action that could be held first."""
        self.last_action: Row = self.actions.sample(self.random)

    def __call__(self, observation: np.ndarray) -> Row:
        """Draw an action."""
        if not self.hold or self.random.random() >= self.hold:
            self.last_action = self.actions.sample(self.random)
        return self.last_action


def begin_play(epsilon: float, dawdle: float, seed: Seed) -> np.random.Generator:
    """Return a scripted policy's own generator.

    Raises:
        ValueError: A share is outside [0, 1]; it names the share and its value.
    """
    for name, share in (("epsilon", epsilon), ("dawdle", dawdle)):
        if not 0 <= share <= 1:
            raise ValueError(f"`{name}` is {share!r}; expected a number in [0, 1]")
    return np.random.default_rng(seed)


def check_plan(observations: np.ndarray, count: int) -> None:
    """Refuse a plan from no frame, or of no action.

    Raises:
        ValueError: It names both numbers.
    """
    if len(observations) < 1 or count < 1:
        raise ValueError(
            f"`observations` and `count` are {len(observations)} and {count}; expected 1 or more "
            "of each"
        )
