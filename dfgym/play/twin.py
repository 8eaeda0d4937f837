"""The real game beside the dream: from the same start, with the same actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dfgym.actions import Row
from dfgym.env.real import RealEnv
from dfgym.errors import StateError
from dfgym.frames import downscale
from dfgym.play.timeline import RealMoment, Timeline
from dfgym.world.bundle import World

CHANCE_NOTE = (
    "The real game has the same start and the same actions. A game with chance in it (sticky "
    "actions, random serves) lawfully takes another way than the dream: not every difference is "
    "an error of the dream."
)


class Twin:
    """A real game that is stepped along with a dream.

    It goes back by being played again from its reset, so every chance in it must follow from the
    reset's seed, as it does in Gymnasium's games.

    Args:
        world: the world whose game this is; its held-out episodes tell how to reach each start.

    Raises:
        MissingPackageError: the game's package is missing.
        WorldError, ConfigError: the installed game is not the card's.
    """

    def __init__(self, world: World) -> None:
        self._env = RealEnv(world.path)
        self._starts = world.starts
        self._start = 0, 0

    def begin(self, episode: int, frame: int) -> RealMoment:
        """Go to a start: a frame of a held-out episode.

        Raises:
            StateError: the episode's seed is unknown, or the installed game, played again, does
                not reach the recorded frame.
        """
        self._start = episode, frame
        if self._starts.seeds[episode] < 0:
            raise StateError(
                "the real game cannot be shown: this world does not say with which seed its "
                f"held-out episode {episode} was played"
            )
        real = self._restart()
        if not np.array_equal(real.frame, self._starts.episode(episode)[0][frame]):
            raise StateError(
                f"the real game cannot be shown: played again, held-out episode {episode} does not "
                f"come to its frame {frame}; another version of the game may be installed"
            )
        return real

    def step(self, before: RealMoment, action: Row, t: int, dream: np.ndarray | None) -> RealMoment:
        """Play one step; after the game's end its last frame stays.

        Args:
            before: the moment before the step.
            action: the action, as a row.
            t: the number of the frame that the step leads to.
            dream: the dream's frame t to compare with; None if it was dropped.
        """
        if before.terminated:
            real = dataclasses.replace(before, reward=0.0)
        else:
            observation, reward, terminated, _, _ = self._env.step(
                self._env.card.actions.native(action)
            )
            frame = downscale(observation, self._env.scale)
            score = before.score + reward
            real = RealMoment(frame, reward, score, terminated, before.difference, before.diverged)
        if dream is None:
            return real
        difference = float((real.frame != dream).any(-1).mean())
        diverged = t if real.diverged is None and difference > 0 else real.diverged
        return dataclasses.replace(real, difference=difference, diverged=diverged)

    def rewind(self, actions: Sequence[Row]) -> None:
        """Go back to the start and play these actions again."""
        real = self._restart()
        for t, action in enumerate(actions, 1):
            real = self.step(real, action, t, None)

    def replay(self, timeline: Timeline) -> None:
        """Go back to the start and play a whole timeline, adding the real game to its moments."""
        real = self._restart()
        for t in range(timeline.length + 1):
            has_moment = t >= timeline.first
            if t > 0:
                dream = timeline.moment(t).frame if has_moment else None
                real = self.step(real, timeline.actions[t - 1], t, dream)
            if has_moment:
                moment = dataclasses.replace(timeline.moment(t), real=real)
                timeline.moments[t - timeline.first] = moment

    def close(self) -> None:
        """Close the real game."""
        self._env.close()

    def _restart(self) -> RealMoment:
        episode, frame = self._start
        observation, _ = self._env.reset(seed=int(self._starts.seeds[episode]))
        for action in self._starts.episode(episode)[1][:frame]:
            observation, *_ = self._env.step(self._env.card.actions.native(action))
        return RealMoment(downscale(observation, self._env.scale), 0.0, 0.0, False, 0.0, None)
