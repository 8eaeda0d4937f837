"""The learned world as a Gymnasium environment."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dfgym.actions.forms import is_whole
from dfgym.env.keys import action_meanings, key_codes
from dfgym.env.render import RENDER_MODES, check_render_mode, draw
from dfgym.env.rows import Rows, exclusive
from dfgym.env.starts import check_frames, check_seed, parse
from dfgym.errors import ConfigError, StateError
from dfgym.games.spaces import to_gymnasium
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from dfgym.world.shelf import DEFAULT


class EnvOutcomes(NamedTuple):
    """What a step may lead to: k outcomes, in a batch of n environments n times as many.

    Attributes:
        observations: uint8 `(k, h, w, 3)`, in a batch `(n, k, h, w, 3)`; some may be equal.
        probabilities: float64 `(k,)` or `(n, k)`, which sum to 1.
        rewards: float64 `(k,)` or `(n, k)`, expected.
        termination_probability: float64 `(k,)` or `(n, k)`.
        exact: whether these are all outcomes, which `step` draws by these probabilities; otherwise
            they are equally likely samples, since the world tells no outcomes apart.
        states: `restore_state` of one environment continues from each; in a batch a list for each.
    """

    observations: np.ndarray
    probabilities: np.ndarray
    rewards: np.ndarray
    termination_probability: np.ndarray
    exact: bool
    states: list[Any]


class DreamEnv(gym.Env[np.ndarray, Any]):  # actions of any integer type
    """A learned game: every step denoises the next frame.

    Observations are uint8 `(h, w, 3)`, actions and rewards the game's own, but for choices that
    all count from 0. Episode k after `reset(seed=s)` is a function of (s, k) and the actions alone.

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
        self._rows: Rows | None = Rows(world, 1, None, Settings.from_keywords(settings))
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
                caller's own, uint8 `(t, h, w, 3)` at observation or model size and t - 1 actions,
                as a vector environment of as many rows takes them.

        Returns:
            The observation, and info: `start_episode` and `start_frame`, the held-out episode and
            the frame in it that the dream begins with (-1 and t - 1 for own frames); and, at 0, the
            numbers of a step: libraries want one structure of both.

        Raises:
            ConfigError, ActionError: an option is not allowed; nothing has changed.
            StateError: the environment is closed.

        Warns:
            UserWarning: an option is unknown, and ignored.
        """
        rows = self._open()
        start, seed = parse(rows.world, options), check_seed(seed)
        super().reset(seed=seed)
        rows.max_steps = self._own_limit()
        rows.begin(np.array([0]), start, self.np_random, [seed])
        return rows.draw(rows.dynamics.frames()[0]), _of_one(rows.info())

    @exclusive
    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Denoise the next frame.

        After the episode's end nothing moves: the last frame comes again, with a reward of 0 and
        the same flags. Built-in environments go on alike, and films and other libraries' batches
        step once more than an episode has steps.

        Args:
            action: for `Discrete` an int, or a NumPy integer or an integer array or tensor of shape
                `()`; else an array, dict or tuple of the form of `action_space`.

        Returns:
            Observation, reward, terminated, truncated, and info of NumPy numbers: `start_episode`
            and `start_frame` as `reset` returned them, `termination_probability`, the
            model's that this transition ended the episode, `uncertainty`, where the world tells
            outcomes apart `outcome_entropy`, where it has a palette `epistemic`, and with luck
            `luck_divergence`: see `dfgym.world.outcomes.Transition`.

        Raises:
            ActionError: the action is of another form or out of range; nothing has changed.
            StateError: before the first reset, or after close.

        Warns:
            UserWarning: the episode has ended.
        """
        rows = self._running()
        row = rows.world.card.actions.row(action)
        if rows.ended[0]:
            self._check_begun(rows)
            gym.logger.warn("the episode has ended: until reset(), step() repeats its last frame")
            frame = rows.draw(rows.dynamics.frames()[0])
            return frame, 0.0, *rows.end(0), _of_one(rows.info())
        transition, truncated = rows.step(np.array([row]))
        return (
            rows.draw(transition.frames[0]),
            float(transition.rewards[0]),
            bool(transition.terminated[0]),
            bool(truncated[0]),
            _of_one(rows.info(transition)),
        )

    @exclusive
    def observe(
        self, action: Any, frame: np.ndarray
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Follow a game that is played elsewhere: commit its next frame instead of a dreamt one.

        The dream then stands where the game does, as if `reset` had begun with all frames and
        actions so far, and can be stepped, cloned and asked for its outcomes from there.

        Args:
            action: as for `step`.
            frame: uint8 `(h, w, 3)` at observation or model size, that the action led to.

        Returns:
            As `step`, but the reward is the expected one, `terminated` is False, since the game
            elsewhere knows it, and info has `termination_probability` alone.

        Raises:
            ActionError, ConfigError: the action or the frame is not allowed; nothing has changed.
            StateError: before the first reset, after the episode's end, or after close.
        """
        rows = self._playing("observe()")
        row = rows.world.card.actions.row(action)
        batch = frame[None] if isinstance(frame, np.ndarray) else frame
        frames = check_frames(rows.world, batch, "frame", 1)
        transition, truncated = rows.observe(np.array([row]), frames)
        info = {"termination_probability": float(transition.termination_probability[0])}
        reward = float(transition.rewards[0])
        return rows.draw(transition.frames[0]), reward, False, bool(truncated[0]), info

    @exclusive
    def outcomes(self, action: Any, samples: int = 8) -> EnvOutcomes:
        """Work out what a step may lead to; nothing moves.

        Args:
            action: as for `step`.
            samples: how many samples to take in a world that tells no outcomes apart.

        Raises:
            ActionError, ConfigError: an argument is not allowed.
            StateError: as for `observe`.
        """
        rows = self._playing("outcomes()")
        row = rows.world.card.actions.row(action)
        batch, states = rows.outcomes(np.array([row]), check_samples(samples))
        return EnvOutcomes(
            rows.draw(batch.frames[0]),
            batch.probabilities[0],
            batch.rewards[0],
            batch.termination_probability[0],
            batch.exact,
            states[0],
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
        return rows.draw(rows.dynamics.frames()[0])

    def get_keys_to_action(self) -> dict[tuple[int, ...], Any]:
        """Return which key plays which action, as `gymnasium.utils.play` wants it."""
        return key_codes(self._open().world.card.actions)

    def get_action_meanings(self) -> list[str]:
        """Return what each action means, in the form of the Arcade Learning Environment.

        Raises:
            ConfigError: actions are not discrete.
        """
        return action_meanings(self._open().world.card.actions)

    def _open(self) -> Rows:
        if self._rows is None:
            raise StateError("the environment is closed: make a new one")
        return self._rows

    def _running(self) -> Rows:
        rows = self._open()
        if not rows.begun:
            raise StateError("no episode has begun: call reset() first")
        return rows

    def _playing(self, call: str) -> Rows:
        rows = self._running()
        if rows.ended[0]:
            self._check_begun(rows)
            raise StateError(f"the episode has ended: call reset() before {call}")
        return rows

    def _check_begun(self, rows: Rows) -> None:
        if rows.elapsed[0] < 0:
            raise StateError("an interrupt: the episode has ended before it began; call reset()")

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


def _of_one(info: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the one row's NumPy numbers."""
    return {name: values[0] for name, values in info.items()}


def check_samples(samples: Any) -> int:
    """Check how many samples to take.

    Raises:
        ConfigError: it is no int of at least 1.
    """
    if not is_whole(samples) or samples < 1:
        raise ConfigError(f"samples = {samples!r} must be an int of at least 1")
    return int(samples)


def registered_limit(spec: EnvSpec | None) -> tuple[int | None, bool]:
    """Return the limit that an id was registered with, and whether for another world than made."""
    registered = gym.registry.get(spec.id) if spec is not None else None
    if spec is None or registered is None:
        return None, False
    foreign = spec.kwargs.get("world", DEFAULT) != registered.kwargs.get("world", DEFAULT)
    return registered.max_episode_steps, foreign


def spaces(rows: Rows) -> tuple[gym.spaces.Box, gym.Space[Any]]:
    """Return the observation and the action space of one row."""
    frames, scale = rows.world.card.frames, rows.world.card.frames.observation_scale
    shape = (frames.height * scale, frames.width * scale, 3)
    return gym.spaces.Box(0, 255, shape, np.uint8), to_gymnasium(rows.world.card.actions)
