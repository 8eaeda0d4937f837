"""The learned world as a Gymnasium environment."""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dfgym import checks
from dfgym.env.actions import check_action, key_codes
from dfgym.env.render import RENDER_MODES, check_render_mode, draw
from dfgym.env.rows import Rows, exclusive
from dfgym.env.starts import parse
from dfgym.errors import ConfigError, StateError
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from dfgym.world.shelf import DEFAULT


class DreamEnv(gym.Env[np.ndarray, Any]):  # actions of any integer type
    """A learned game: every step denoises the next frame.

    Observations are uint8 `(h, w, 3)`, actions `Discrete(n)`, rewards the game's own. Episode k
    after `reset(seed=s)` is a function of (s, k) and the actions alone.

    An episode is truncated after the card's `max_steps`, unless the id was registered with a limit
    of its own (as dfgym's ids are): then `gym.make` adds the wrapper that does it, and follows its
    own `max_episode_steps`. That wrapper knows the id's own world alone. So with another `world`
    the card's limit counts beside it, and a warning says so if the id's is the shorter one.

    Pickles and deep copies continue where the original stands. They hold the world's name (its
    folder, if it was given as one) and hash, not its weights.
    """

    # Gymnasium's form. It adds `human` and `rgb_array_list` by wrapping.
    metadata = {"render_modes": RENDER_MODES, "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        world: str | os.PathLike[str] = DEFAULT,
        *,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        """Load a world.

        Args:
            world: a world's name on the shelf, or the path of its folder.
            render_mode: `rgb_array` or None; through `gym.make` also `rgb_array_list` and `human`.
            **settings: fields of `dfgym.world.settings.Settings`: `device`, `denoising_steps`,
                `context_mode`, `context_noise`, `compile`, `precision`.

        Raises:
            WorldError: there is no such world, or it is damaged.
            ConfigError: another keyword is unknown, or has a value that is not allowed.
            DeviceError: the device is missing.
        """
        self.render_mode = check_render_mode(render_mode)
        self._rows: Rows | None = Rows(
            world, 1, None, checks.convert(Settings, settings, ConfigError)
        )
        card = self._rows.world.card
        self.observation_space, self.action_space = spaces(self._rows)
        self.metadata = {**self.metadata, "render_fps": card.frames.fps}

    @exclusive
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode from real frames.

        Args:
            seed: begins a new series of episodes; without it the next of the series begins.
            options: `start`: "episode" (default), the first frame of a held-out real episode, or
                "anywhere" in one; `index`: which one; or `frames` and `actions`: a start of the
                caller's own, uint8 `(t, h, w, 3)` at observation or model size and ints `(t - 1,)`.

        Returns:
            The observation, and info: `start_episode` and `start_frame`, the held-out episode and
            the frame in it that the dream begins with (-1 and t - 1 for own frames).

        Raises:
            ConfigError, ActionError: an option is not allowed; nothing has changed.
            StateError: the environment is closed.
        """
        rows = self._open()
        start = parse(rows.world, options)
        super().reset(seed=seed)
        rows.max_steps = self._own_limit()
        info = rows.begin(np.array([0]), start, self.np_random, [seed])[0]
        return rows.observe(rows.dynamics.frames()[0]), dict(info)

    @exclusive
    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Denoise the next frame.

        Args:
            action: an int, a NumPy integer or an integer array of shape `()`.

        Returns:
            Observation, reward, terminated, truncated, and info: `termination_probability`, the
            model's that this transition ended the episode, and `uncertainty`, see
            `dfgym.world.dynamics.Transition`.

        Raises:
            ActionError: the action is not an int in range; nothing has changed.
            StateError: before the first reset, after the episode's end, or after close.
        """
        rows = self._running()
        if rows.ended[0]:
            raise StateError("the episode has ended: call reset() before step()")
        index = check_action(action, rows.world.card.actions.n)
        transition, truncated = rows.step(np.array([index]))
        info = {
            "termination_probability": float(transition.termination_probability[0]),
            "uncertainty": float(transition.uncertainty[0]),
        }
        return (
            rows.observe(transition.frames[0]),
            float(transition.rewards[0]),
            bool(transition.terminated[0]),
            bool(truncated[0]),
            info,
        )

    def render(self) -> np.ndarray:
        """Draw the current frame, uint8 `(H, W, 3)` with H and W at least 256.

        Raises:
            ConfigError: no render mode was given to `gym.make`.
            StateError: before the first reset, or after close.
        """
        return draw(self.render_mode, self._running().dynamics.frames()[0])

    @property
    def dynamics(self) -> Dynamics:
        """The batched state machine that the environment is a shell of.

        Raises:
            StateError: the environment is closed.
        """
        return self._open().dynamics

    def close(self) -> None:
        """Let go of the model; closing twice is fine, any other call then raises StateError."""
        self._rows = None

    @exclusive
    def clone_state(self, include_rng: bool = True) -> bytes:
        """Return all that the future depends on, as bytes that are equal for equal states.

        Args:
            include_rng: with it, a restored environment gets the very same future for the same
                actions; without it, the same present and another chance.

        Raises:
            StateError: before the first reset, or after close.
        """
        return self._running().clone(include_rng)

    @exclusive
    def restore_state(self, state: bytes) -> np.ndarray:
        """Continue from a state of the same world, in any process; returns the observation there.

        A state without its generator continues with this environment's own next noise, another at
        each call. Wrappers such as `TimeLimit` have a state of their own, which this leaves alone.

        Raises:
            StateError: the state is damaged or of another world and nothing has changed, or the
                environment is closed.
        """
        rows = self._open()
        rows.max_steps = self._own_limit()
        rows.restore(state, self.np_random)
        return rows.observe(rows.dynamics.frames()[0])

    def get_keys_to_action(self) -> dict[tuple[int, ...], int]:
        """Return which key plays which action, as `gymnasium.utils.play` wants it."""
        return key_codes(self._open().world.card.actions.keys)

    def _open(self) -> Rows:
        if self._rows is None:
            raise StateError("the environment is closed: make a new one")
        return self._rows

    def _running(self) -> Rows:
        rows = self._open()
        if not rows.begun:
            raise StateError("no episode has begun: call reset() first")
        return rows

    def _own_limit(self) -> int | None:
        """The steps after which to truncate; None: Gymnasium's wrapper does it, or nobody shall."""
        card = self._open().world.card
        limit, (registered, foreign) = card.episode.max_steps, registered_limit(self.spec)
        if registered is None or (foreign and limit < registered):
            return limit
        if foreign and limit > registered:
            gym.logger.warn(
                f"{card.name} has episodes of up to {limit} steps, and an id registered with "
                f"{registered} for another world cuts them there, unless max_episode_steps says "
                f"otherwise: give gym.make max_episode_steps={limit}"
            )
        return None


def registered_limit(spec: EnvSpec | None) -> tuple[int | None, bool]:
    """Return the limit that an id was registered with, and whether for another world than made."""
    registered = gym.registry.get(spec.id) if spec is not None else None
    if spec is None or registered is None:
        return None, False
    foreign = spec.kwargs.get("world", DEFAULT) != registered.kwargs.get("world", DEFAULT)
    return registered.max_episode_steps, foreign


def spaces(rows: Rows) -> tuple[gym.spaces.Box, gym.spaces.Discrete]:
    """Return the observation and the action space of one row."""
    frames, scale = rows.world.card.frames, rows.world.card.frames.observation_scale
    shape = (frames.height * scale, frames.width * scale, 3)
    return gym.spaces.Box(0, 255, shape, np.uint8), gym.spaces.Discrete(rows.world.card.actions.n)
