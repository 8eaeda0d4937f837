"""The learned world as a Gymnasium vector environment: one batched denoising call a step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from dfgym.actions.forms import is_whole
from dfgym.env.env import EnvOutcomes, check_samples, registered_limit, spaces
from dfgym.env.keys import action_meanings
from dfgym.env.render import RENDER_MODES, check_render_mode, draw
from dfgym.env.rows import Rows, exclusive
from dfgym.env.starts import check_frames, parse
from dfgym.errors import ConfigError, StateError
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from dfgym.world.shelf import DEFAULT

MAX_ENVS = 2**16


class DreamVectorEnv(VectorEnv[np.ndarray, Any, np.ndarray]):
    """N dreams in one batch: row i is what `DreamEnv` plays when seeded with `seed + i`.

    Observations uint8 `(n, h, w, 3)`, actions int `(n,)` or, of other spaces than `Discrete`, as
    Gymnasium batches them, rewards float64 `(n,)`, terminations and
    truncations bool `(n,)`; infos are dicts of arrays with their masks, all as Gymnasium has them.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        world: str | os.PathLike[str] = DEFAULT,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        """Load a world.

        Args:
            num_envs: rows in the batch, 1 to 65,536.
            max_episode_steps: steps after which a row is truncated; None: the card's, -1: never.
                What an id was registered with for another world than `world` counts as None.
            autoreset_mode: Gymnasium's: `NEXT_STEP`, `SAME_STEP` or `DISABLED`.
            world: a world's name on the shelf, or the path of its folder.
            render_mode: `rgb_array` or None.
            **settings: as for `DreamEnv`.

        Raises:
            WorldError, ConfigError, DeviceError: as for `DreamEnv`.
        """
        if not is_whole(num_envs) or not 1 <= num_envs <= MAX_ENVS:
            raise ConfigError(f"num_envs = {num_envs!r} must be an int from 1 to {MAX_ENVS}")
        limit = max_episode_steps
        if limit is not None and (not is_whole(limit) or (limit < 1 and limit != -1)):
            raise ConfigError(
                f"max_episode_steps = {limit!r} must be an int of at least 1, -1 for no limit, or "
                f"None for the card's"
            )
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            allowed = ", ".join(repr(mode.value) for mode in AutoresetMode)
            raise ConfigError(
                f"autoreset_mode = {autoreset_mode!r} must be an AutoresetMode or one of {allowed}"
            ) from None
        self.render_mode = check_render_mode(render_mode)
        self._rows: Rows | None = Rows(
            world,
            int(num_envs),
            None if limit == -1 else limit,
            Settings.from_keywords(settings),
        )
        card = self._rows.world.card
        if limit is None:
            self._rows.max_steps = card.episode.max_steps
        self.num_envs = int(num_envs)
        self.single_observation_space, self.single_action_space = spaces(self._rows)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {
            "render_modes": list(RENDER_MODES),
            "render_fps": card.frames.fps,
            "autoreset_mode": self.autoreset_mode,
        }

    @exclusive
    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every row, or in those of `options["reset_mask"]`.

        Args:
            seed: `s` seeds row i with `s + i`; a list has one seed, or None, for each row; None
                begins the next episode of each row's series.
            options: `reset_mask`, bool `(n,)`, and those of `DreamEnv.reset`, for all rows alike.

        Raises:
            ConfigError, ActionError: an argument is not allowed; nothing has changed.
            StateError: the environment is closed.

        Warns:
            UserWarning: an option is unknown, and ignored.
        """
        rows = self._open()
        mask = np.ones(self.num_envs, bool)
        if isinstance(options, dict) and "reset_mask" in options:
            mask = self._check_mask(options["reset_mask"])
            options = {key: value for key, value in options.items() if key != "reset_mask"}
        start = parse(rows.world, options)
        seeds = self._check_seeds(seed)
        self._follow_card()
        super().reset(seed=int(seed) if is_whole(seed) else None)
        begun = np.flatnonzero(mask)
        rows.begin(begun, start, self.np_random, [seeds[row] for row in begun])
        return rows.draw(rows.dynamics.frames()), _masked(rows.info(), mask)

    @exclusive
    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Denoise the next frame of every row.

        Infos: of every row those of `DreamEnv.step` or, if it begins anew, of `DreamEnv.reset`;
        with SAME_STEP also `final_obs` and `final_info` of rows that ended.

        Raises:
            ActionError: the batch or an action in it is not allowed; nothing has changed.
            StateError: before the first reset or after close; with DISABLED, a row has ended.
        """
        rows = self._running()
        actions = rows.world.card.actions.rows(actions, self.num_envs)
        resting = rows.ended  # rows.step makes a new array
        if self.autoreset_mode is not AutoresetMode.NEXT_STEP:
            self._playing("step()")
        transition, truncated = rows.step(actions)
        rewards, terminated = transition.rewards, transition.terminated
        observations = rows.draw(transition.frames)
        infos = rows.info(transition)
        match self.autoreset_mode:
            case AutoresetMode.NEXT_STEP:
                again = resting
                rewards[again], terminated[again], truncated[again] = 0.0, False, False
            case AutoresetMode.SAME_STEP:
                again = terminated | truncated
            case AutoresetMode.DISABLED:
                again = np.zeros(self.num_envs, bool)
        finals: dict[str, Any] = {}
        if again.any():
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                last = np.full(self.num_envs, None, dtype=object)
                for row in np.flatnonzero(again):
                    last[row] = observations[row].copy()
                finals = _masked({"final_obs": last, "final_info": _masked(infos, again)}, again)
            rows.begin(np.flatnonzero(again), parse(rows.world, None), self.np_random)
            observations[again] = rows.draw(rows.dynamics.frames()[again])
            infos = {key: np.where(again, new, infos[key]) for key, new in rows.info().items()}
        infos = _masked(infos, np.ones(self.num_envs, bool)) | finals
        return observations, rewards, terminated, truncated, infos

    @exclusive
    def observe(
        self, actions: np.ndarray, frames: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Follow games that are played elsewhere; row by row as `DreamEnv.observe`.

        Args:
            actions: as for `step`.
            frames: uint8 `(n, h, w, 3)` at observation or model size, that the actions led to.

        Raises:
            ActionError, ConfigError: an argument is not allowed; nothing has changed.
            StateError: before the first reset, after close, or a row has ended.
        """
        rows = self._playing("observe()")
        actions = rows.world.card.actions.rows(actions, self.num_envs)
        small = check_frames(rows.world, frames, "frames", self.num_envs)
        transition, truncated = rows.observe(actions, small)
        infos = {"termination_probability": transition.termination_probability}
        observations = rows.draw(transition.frames)
        masked = _masked(infos, np.ones(self.num_envs, bool))
        return observations, transition.rewards, transition.terminated, truncated, masked

    @exclusive
    def outcomes(self, actions: Any, samples: int = 8) -> EnvOutcomes:
        """Work out what a step of every row may lead to; row by row as `DreamEnv.outcomes`.

        Raises:
            ActionError, ConfigError, StateError: as for `observe`.
        """
        rows = self._playing("outcomes()")
        actions = rows.world.card.actions.rows(actions, self.num_envs)
        batch, states = rows.outcomes(actions, check_samples(samples))
        observations = rows.draw(batch.frames)
        return EnvOutcomes(observations, *batch[1:5], states)

    def get_action_meanings(self) -> list[str]:
        """Return what each action of a row means; as `DreamEnv.get_action_meanings`."""
        return action_meanings(self._open().world.card.actions)

    def render(self) -> tuple[np.ndarray, ...]:
        """Draw every row's current frame, as `DreamEnv.render` does."""
        return tuple(draw(self.render_mode, frame) for frame in self._running().dynamics.frames())

    @property
    def dynamics(self) -> Dynamics:
        """The batched state machine that the environment is a shell of.

        Raises:
            StateError: the environment is closed.
        """
        return self._open().dynamics

    def close_extras(self, **kwargs: Any) -> None:
        """Let go of the model; closing twice is fine, any other call then raises StateError."""
        self._rows = None

    @exclusive
    def clone_state(self, include_rng: bool = True) -> bytes:
        """Return all rows' state; as `DreamEnv.clone_state`."""
        return self._running().clone(include_rng)

    @exclusive
    def restore_state(self, state: bytes) -> np.ndarray:
        """Continue all rows from a state of the same world and as many; returns observations.

        Raises:
            StateError: as for `DreamEnv.restore_state`.
        """
        rows = self._open()
        self._follow_card()
        rows.restore(state, self.np_random)
        return rows.draw(rows.dynamics.frames())

    def _playing(self, call: str) -> Rows:
        rows = self._running()
        if rows.ended.any():
            raise StateError(
                f"rows {np.flatnonzero(rows.ended).tolist()} have ended: reset them with "
                f"options={{'reset_mask': mask}} before {call}"
            )
        return rows

    def _follow_card(self) -> None:
        """Put the card's limit for one that came with the id, which knew another world."""
        rows, (registered, foreign) = self._open(), registered_limit(self.spec)
        if foreign and registered is not None and rows.max_steps == registered:
            rows.max_steps = rows.world.card.episode.max_steps

    def _check_mask(self, mask: Any) -> np.ndarray:
        if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != (self.num_envs,):
            raise ConfigError(
                f"option reset_mask = {mask!r} must be a bool array of shape ({self.num_envs},)"
            )
        if not mask.any():
            raise ConfigError("option reset_mask names no row: set at least one to True")
        return mask

    def _check_seeds(self, seed: Any) -> list[int | None]:
        if seed is None or is_whole(seed):
            seeds = [None if seed is None else int(seed) + row for row in range(self.num_envs)]
        elif isinstance(seed, list | tuple) or (isinstance(seed, np.ndarray) and seed.ndim == 1):
            seeds = list(seed)
        else:
            raise ConfigError(
                f"seed {seed!r} must be an int of at least 0, a list of one for each row, or None"
            )
        if len(seeds) != self.num_envs:
            raise ConfigError(f"seed has {len(seeds)} values: give {self.num_envs}, one a row")
        for value in seeds:
            if value is not None and not (is_whole(value) and value >= 0):
                raise ConfigError(f"seed {value!r} must be an int of at least 0, or None")
        return [None if value is None else int(value) for value in seeds]

    def _open(self) -> Rows:
        if self._rows is None:
            raise StateError("the environment is closed: make a new one")
        return self._rows

    def _running(self) -> Rows:
        rows = self._open()
        if not rows.begun:
            raise StateError("not every row has begun an episode: call reset() first")
        return rows


def _masked(values: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Pair each array with its mask and blank what that leaves out."""
    infos: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, np.ndarray) and value.dtype != object:
            value = np.where(mask, value, np.zeros_like(value))
        infos[key], infos[f"_{key}"] = value, mask.copy()
    return infos
