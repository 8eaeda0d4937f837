"""The real twin of a world: its source game, brought to the world's own spaces."""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import numpy as np

from dfgym.env.keys import action_meanings, key_codes
from dfgym.env.render import RENDER_MODES, check_render_mode, draw
from dfgym.env.starts import check_seed
from dfgym.errors import (
    ConfigError,
    KeywordError,
    MissingPackageError,
    StateError,
    WorldError,
)
from dfgym.frames import upscale
from dfgym.games import packages
from dfgym.games.source import Opening, open_source
from dfgym.games.spaces import to_gymnasium
from dfgym.world import shelf
from dfgym.world.card import Card

_TWIN = "DFReal/"


class RealEnv(gym.Env[np.ndarray, Any]):
    """The real game that a world was learned from, with the same observations and actions.

    Whatever a dream refuses (`DreamEnv`: actions, calls at the wrong time), this refuses alike.
    Observation: uint8 `(h * scale, w * scale, 3)`; `scale` is the card's `observation_scale`.
    Rewards, ends and `info` are the game's own.

    Args:
        world: a world's name on the shelf, or the path of its folder; only its card is read.
        render_mode: `rgb_array` or None.
        trust: whether the modules that the card names may be imported, which runs them; without
            it, those of packages that dfgym knows and those in `$DFGYM_TRUST`.

    Raises:
        WorldError: there is no such world, the game's actions are not the card's, or the card's
            source leads back to itself.
        KeywordError: a keyword is unknown.
        ConfigError: the render mode is another, or a module is neither known nor trusted.
        MissingPackageError: the game's package is missing; the message names the extra.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": 10}  # noqa: RUF012  Gymnasium's form

    def __init__(
        self,
        world: str | os.PathLike[str] = shelf.DEFAULT,
        render_mode: str | None = None,
        trust: bool = False,
        **others: Any,
    ) -> None:
        if others:
            raise KeywordError(
                f"unexpected keyword argument {min(others)!r}; the real game takes world, "
                "render_mode, trust and max_episode_steps alone, the others are a dream's"
            )
        self.render_mode = check_render_mode(render_mode)
        card = shelf.card(world)
        _check_source(card)
        self.card = card
        self.metadata = {**self.metadata, "render_fps": card.frames.fps}
        height, width = card.frames.height, card.frames.width
        self.scale = card.frames.observation_scale
        self.observation_space = gym.spaces.Box(
            0, 255, (height * self.scale, width * self.scale, 3), np.uint8
        )
        self.action_space = to_gymnasium(card.actions)
        self._frame: np.ndarray | None = None
        self._last: tuple[bool, bool, dict[str, Any]] | None = None  # of an episode that has ended
        self._closed = False
        try:
            self.source = open_source(opening(card), trust)
        except MissingPackageError as reason:
            if not card.source.extra:
                raise
            raise MissingPackageError(
                f"the real game of {card.name} needs more packages: "
                f'pip install "dfgym[{card.source.extra}]" ({reason})'
            ) from reason
        if self.source.actions.network_form != card.actions.network_form:
            self.source.env.close()
            raise WorldError(
                f"{card.name} has actions {card.actions} and its source {card.source.env} "
                f"{self.source.actions}: the card does not fit the installed game"
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode of the real game.

        Raises:
            ConfigError: options are no dict.
            StateError: the environment is closed.

        Warns:
            UserWarning: there are options, and they are ignored: the real game begins where it
                begins.
        """
        self._check_open()
        if not isinstance(options, dict | None):
            raise ConfigError(f"options {options!r} must be a dict; the real game takes none")
        if options:
            text = f"reset() of the real game ignores the options {options}; only dreams take some"
            gym.logger.warn("%s", text)
        seed = check_seed(seed)
        super().reset(seed=seed)
        observation, info = self.source.env.reset(seed=seed)
        self._frame, self._last = self.source.frame(observation), None
        return upscale(self._frame, self.scale), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Step the real game; after the episode's end nothing moves, as in `DreamEnv.step`.

        Raises:
            ActionError: the action is of another form or out of range; the game has not moved.
            StateError: before the first reset, or after close.

        Warns:
            UserWarning: the episode has ended.
        """
        frame = self._running()
        game_action = self.source.to_env(self.card.actions.row(action))
        if self._last is not None:
            gym.logger.warn("the episode has ended: until reset(), step() repeats its last frame")
            return upscale(frame, self.scale), 0.0, *self._last
        observation, reward, terminated, truncated, info = self.source.env.step(game_action)
        self._frame = self.source.frame(observation)
        end = bool(terminated), bool(truncated)
        self._last = (*end, info) if any(end) else None
        return upscale(self._frame, self.scale), float(reward), *end, info

    def render(self) -> np.ndarray:
        """Draw the current frame as the dream's are drawn, uint8 with both sides at least 256.

        Raises:
            ConfigError: no render mode was given to `gym.make`.
            StateError: before the first reset, or after close.
        """
        return draw(self.render_mode, self._running())

    def get_keys_to_action(self) -> dict[tuple[int, ...], Any]:
        """Return which key plays which action, as `gymnasium.utils.play` wants it."""
        return key_codes(self.card.actions)

    def get_action_meanings(self) -> list[str]:
        """Return what each action means; as `DreamEnv.get_action_meanings`."""
        return action_meanings(self.card.actions)

    def close(self) -> None:
        """Close the real game; closing twice is fine."""
        self._closed = True
        self.source.env.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StateError("the environment is closed: make a new one")

    def _running(self) -> np.ndarray:
        self._check_open()
        if self._frame is None:
            raise StateError("no episode has begun: call reset() first")
        return self._frame


def _check_source(card: Card) -> None:
    """Refuse a card whose source, followed from twin to twin, comes back to itself."""
    visited = []
    while card.source.env.startswith(_TWIN):
        if card.name in visited:
            raise WorldError(
                f"the source of {card.name} is {card.source.env}, which leads back to itself: "
                "source.env must come to a game in the end"
            )
        visited.append(card.name)
        name = card.source.env.removeprefix(_TWIN)
        card = shelf.card(card.source.kwargs.get("world", name))


def opening(card: Card) -> Opening:
    """Return how a world's real game is opened, as its card says, in frames of the world's size."""
    source = card.source
    return Opening(
        env=source.env,
        kwargs=source.kwargs,
        module=source.module,
        wrappers=source.wrappers,
        image_key=source.image_key,
        render=source.render,
        size=(card.frames.height, card.frames.width),
        filter=source.filter,
    )


def trust_source(world: str | os.PathLike[str]) -> None:
    """Let the modules that a world's card names be imported, here and by processes started here."""
    source = shelf.card(world).source
    packages.trust(source.module, *(packages.split_wrapper(text)[0] for text in source.wrappers))
