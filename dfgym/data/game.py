"""A real game whose answers are checked before they are used; what is wrong is said in one line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dfgym.checks import shorten
from dfgym.errors import ConfigError, DfgymError, MissingPackageError
from dfgym.games.source import Source

MAX_SEED = 2**31
"""Games that keep their seed in a C int take seeds below this."""
MAX_REWARD = float(np.finfo(np.float32).max)


class Game:
    """A source whose answers are checked before they are used.

    What it says wrongly, and what it raises, becomes a ConfigError that names the game, the episode
    and the step. An interrupt stays one.

    Args:
        source: the game.
        name: its id, and of which episode it is, for errors.
    """

    def __init__(self, source: Source, name: str) -> None:
        self.source, self.name = source, name
        self.step_number = 0
        self._shape: tuple[int, ...] | None = None

    def reset(self, seed: int) -> tuple[Any, dict[str, Any], np.ndarray, int]:
        """Begin an episode.

        Returns:
            The observation, the info, the frame, and the seed that the game took: one of at least
            `MAX_SEED` is taken modulo it by a game that refuses it.
        """
        self.step_number = 0
        with self._naming("reset()"):
            try:
                answer: Any = self.source.env.reset(seed=seed)
            except (OverflowError, ValueError):
                if seed < MAX_SEED:
                    raise
                seed %= MAX_SEED
                answer = self.source.env.reset(seed=seed)
        if not isinstance(answer, tuple) or len(answer) != 2:
            self._refuse("reset()", answer, "(observation, info), as in Gymnasium since 0.26")
        return *answer, self._frame(answer[0]), seed

    def step(self, row: Any) -> tuple[Any, np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play a row; returns observation, frame, reward, terminated, truncated and info."""
        self.step_number += 1
        with self._naming("step()"):
            answer: Any = self.source.env.step(self.source.to_env(row))
        if not isinstance(answer, tuple) or len(answer) != 5:
            form = "(observation, reward, terminated, truncated, info), as in Gymnasium since 0.26"
            self._refuse("step()", answer, form)
        observation, reward, terminated, truncated, info = answer
        with self._naming("the reward of step()"):
            number = float(reward)
        if not math.isfinite(number) or abs(number) > MAX_REWARD:
            self._refuse("the reward of step()", reward, "a finite number that float32 can hold")
        frame = self._frame(observation)
        return observation, frame, number, bool(terminated), bool(truncated), info

    def _frame(self, observation: Any) -> np.ndarray:
        with self._naming("the picture of its observation or of render()"):
            frame = self.source.frame(observation)
        self._shape = self._shape or frame.shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            form = f"{frame.dtype} {frame.shape}"
            self._refuse("its picture", form, "uint8 (height, width, 3)")
        if frame.shape != self._shape:
            text = f"of {frame.shape[:2]}"
            fix = f"the size of the first one, {self._shape[:2]}; or record with --resize"
            self._refuse("its picture", text, fix)
        return frame

    @contextmanager
    def _naming(self, call: str) -> Iterator[None]:
        try:
            yield
        except (MissingPackageError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except DfgymError as reason:
            raise ConfigError(f"{self._where}: {call}: {reason}") from reason
        except BaseException as reason:  # a game's code is not ours: it raises anything
            raise ConfigError(
                f"{self._where}: {call} raised {type(reason).__name__}: "
                f"{shorten(str(reason))}; mend the game: what was recorded before is kept"
            ) from reason

    def _refuse(self, subject: str, value: Any, expected: str) -> None:
        plain = isinstance(value, str | int | float | tuple | None)
        text = shorten(value) if plain else f"of type {type(value).__name__}"
        raise ConfigError(
            f"{self._where}: {subject} is {text}; expected {expected}; what was recorded "
            "before is kept"
        )

    @property
    def _where(self) -> str:
        return f"{self.name}, step {self.step_number}"
