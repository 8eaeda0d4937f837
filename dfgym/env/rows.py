"""Episodes running side by side in one `Dynamics`: what the single and the batched shell share."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from dfgym.diffusion.noise import mix
from dfgym.env.starts import Start, choose
from dfgym.errors import StateError
from dfgym.frames import upscale
from dfgym.world.cache import Present
from dfgym.world.dynamics import Dynamics
from dfgym.world.exclusive import Exclusive
from dfgym.world.format1 import STATE_NAMES
from dfgym.world.outcomes import Outcomes, Transition
from dfgym.world.settings import Settings
from dfgym.world.shelf import load

_DIGEST = hashlib.sha256().digest_size
_SEEDS = ("row.seed", "row.episode", "dynamics.seed")


class Rows:
    """A dynamics and, for each of its rows, the seed, the episode's number and how far it is.

    Row i's start and noise are a function of (its seed, its episode's number) alone. Pickles and
    deep copies carry the world's name and hash and the rows' state, never the weights.

    An interrupt, as by Ctrl-C, leaves a step taken whole or not at all. One in the middle of
    `begin` or `restore` leaves the rows ended, with -1 steps elapsed.

    Attributes:
        world: the world.
        dynamics: the batched state machine.
        max_steps: the steps after which a row is truncated; None for never.
        seeds: uint64 `(n,)`, each row's seed.
        episodes: int64 `(n,)`, episodes begun since that seed was given, less one; -1 before any.
        elapsed: int64 `(n,)`, steps since the episode began.
        ended: bool `(n,)`, whether the episode terminated or was truncated.
        terminated: bool `(n,)`, whether it terminated.
        starts: int64 `(n, 2)`, the held-out episode, and the frame in it, that it began with; see
            `dfgym.env.starts.choose`.
        exclusive: the context in which one thread at a time uses the rows; see `exclusive`.
    """

    def __init__(
        self,
        world: str | os.PathLike[str],
        num_rows: int,
        max_steps: int | None,
        settings: Settings,
    ) -> None:
        """Load a world by its name or folder, to be run as `settings` demand."""
        self.world = load(world)
        # A name means the same in every process, as an address does; a relative path does not.
        lasting = world == self.world.card.name or str(world).startswith("hf://")
        self._where = str(world) if lasting else str(self.world.path)
        self._settings = settings
        self.dynamics = Dynamics(self.world, num_rows, settings)
        self.max_steps = max_steps
        self.seeds = np.zeros(num_rows, np.uint64)
        self.episodes = np.full(num_rows, -1)
        self.elapsed = np.zeros(num_rows, np.int64)
        self.ended = np.zeros(num_rows, bool)
        self.terminated = np.zeros(num_rows, bool)
        self.starts = np.full((num_rows, 2), -1)
        names = {
            "outcome_entropy": self.dynamics.exact,
            "epistemic": bool(self.world.card.frames.palette),
            "luck_divergence": bool(settings.luck),
        }
        self._numbers = ["termination_probability", "uncertainty"]
        self._numbers += [name for name, there in names.items() if there]
        self.exclusive = Exclusive("this environment")

    @property
    def begun(self) -> bool:
        """Whether every row has begun an episode."""
        return bool((self.episodes >= 0).all())

    def info(self, transition: Transition | None = None) -> dict[str, np.ndarray]:
        """Return every row's info as fresh arrays `(n,)`: the same keys after a reset and a step.

        Args:
            transition: what the step brought; None: no step led here, so its numbers are 0.
        """
        info = {"start_episode": self.starts[:, 0].copy(), "start_frame": self.starts[:, 1].copy()}
        for name in self._numbers:
            info[name] = (
                np.zeros(len(self.ended)) if transition is None else getattr(transition, name)
            )
        return info

    def begin(
        self,
        rows: np.ndarray,
        start: Start,
        np_random: np.random.Generator,
        seeds: Sequence[int | None] | None = None,
    ) -> None:
        """Begin a new episode in the given rows.

        A row that is given a seed counts its episodes from there; one that never had any draws it
        from `np_random`.
        """
        new, new_seeds, episodes = self._next_seeds(rows, np_random, seeds or [None] * len(rows))
        contexts = [choose(self.world, int(seed), start) for seed in new]
        elapsed, ended, terminated = self.elapsed.copy(), self.ended.copy(), self.terminated.copy()
        elapsed[rows], ended[rows], terminated[rows] = 0, False, False
        starts = self.starts.copy()
        starts[rows] = [place for _, _, place in contexts]
        self._abandon(rows)
        self.dynamics.reset(rows, new, [(frames, actions) for frames, actions, _ in contexts])
        self.seeds, self.episodes, self.starts = new_seeds, episodes, starts
        # The last statement makes the rows whole, all at once as in `_advance`.
        self.elapsed, self.ended, self.terminated = elapsed, ended, terminated

    def step(self, actions: np.ndarray) -> tuple[Transition, np.ndarray]:
        """Advance every row by a checked action; returns the transition, and truncated `(n,)`."""
        transition, present = self.dynamics.propose(actions)
        return transition, self._advance(transition, present)

    def _advance(self, transition: Transition, present: Present) -> np.ndarray:
        """Take a step that has been computed; returns truncated, bool `(n,)`."""
        elapsed, dynamics = self.elapsed + 1, self.dynamics
        if self.max_steps is None:
            truncated = np.zeros(len(self.ended), bool)
        else:
            truncated = elapsed >= self.max_steps
        end = transition.terminated.copy()
        ended = end | truncated
        # Python raises an interrupt at calls and jumps, of which this statement has none.
        dynamics.present, self.elapsed, self.ended, self.terminated = present, elapsed, ended, end
        return truncated

    def end(self, row: int) -> tuple[bool, bool]:
        """Return how a row's episode that has ended did: terminated, truncated."""
        terminated = bool(self.terminated[row])
        cut = self.max_steps is not None and self.elapsed[row] >= self.max_steps
        return terminated, bool(cut or not terminated)

    def observe(self, actions: np.ndarray, frames: np.ndarray) -> tuple[Transition, np.ndarray]:
        """Commit given frames, checked and at model size, instead of dreamt ones; as `step`."""
        transition, present = self.dynamics.follow(actions, frames)
        return transition, self._advance(transition, present)

    def outcomes(self, actions: np.ndarray, samples: int) -> tuple[Outcomes, list[list[bytes]]]:
        """Work out what a step by checked actions may lead to; no row moves.

        Returns:
            The outcomes, and the state behind each as `clone` writes it of a row by itself.
        """
        outcomes = self.dynamics.outcomes(actions, samples)
        elapsed = self.elapsed + 1
        ended = np.zeros(len(elapsed), bool)
        if self.max_steps is not None:
            ended = elapsed >= self.max_steps
        states = []
        for row in range(len(elapsed)):
            own = {
                "row.seed": self.seeds[[row]],
                "row.episode": self.episodes[[row]],
                "row.elapsed": elapsed[[row]],
                "row.ended": ended[[row]],
                "row.terminated": np.zeros(1, bool),
                "row.start": self.starts[[row]],
            }
            inner = [
                {name: value[row, [i]] for name, value in outcomes.state.items()}
                for i in range(outcomes.frames.shape[1])
            ]
            states.append([self._write(own | _prefixed(state)) for state in inner])
        return outcomes, states

    def draw(self, frames: np.ndarray) -> np.ndarray:
        """Draw frames at observation size, freshly allocated."""
        return upscale(frames, self.world.card.frames.observation_scale)

    def clone(self, include_rng: bool = True) -> bytes:
        """Write the rows' whole state, or all but where their noise comes from.

        Returns:
            safetensors, after the sha256 of them: a changed state is told from a whole one.
        """
        tensors = self._state()
        if not include_rng:
            tensors = {name: tensor for name, tensor in tensors.items() if name not in _SEEDS}
        return self._write(tensors)

    def _write(self, tensors: dict[str, np.ndarray]) -> bytes:
        data = safetensors.numpy.save({**tensors, "world": np.frombuffer(self._tag, np.uint8)})
        return hashlib.sha256(data).digest() + data

    def restore(self, state: bytes, np_random: np.random.Generator) -> None:
        """Continue from a state: with its own noise or, if it has none, the rows' next.

        Raises:
            StateError: the state is damaged, of another world or of another number of rows; nothing
                has changed.
        """
        if not isinstance(state, bytes):
            raise StateError(f"a {type(state).__name__} is no state: clone_state() returns bytes")
        digest, data = state[:_DIGEST], state[_DIGEST:]
        if digest != hashlib.sha256(data).digest():
            raise StateError(
                "this is no state that clone_state() returned, or it has changed since"
            )
        try:
            tensors = safetensors.numpy.load(data)
        except (safetensors.SafetensorError, TypeError, KeyError) as reason:
            raise StateError(f"this is no state that clone_state() returned: {reason}") from reason
        tensors = {STATE_NAMES.get(name, name): tensor for name, tensor in tensors.items()}
        rows = np.arange(len(self.ended))
        tag = tensors.pop("world", np.zeros(0, np.uint8)).tobytes()
        if tag != self._tag:
            raise StateError(
                f"the state belongs to the world {tag.decode(errors='replace')!r}, this is "
                f"{self._tag.decode()!r}: restore it in an environment of its own world"
            )
        expected = self._state()
        if not any(name in tensors for name in _SEEDS):
            expected = {name: tensor for name, tensor in expected.items() if name not in _SEEDS}
        for name in sorted(expected.keys() | tensors.keys()):
            here, there = (_form(source.get(name)) for source in (expected, tensors))
            if here != there:
                raise StateError(
                    f"the state's {name} is {there}, here it is {here}: restore it with the same "
                    f"number of rows, context_mode and denoising_steps, and the same dfgym"
                )
        seeds, episodes = tensors.get("row.seed"), tensors.get("row.episode")
        if seeds is None or episodes is None:
            new, seeds, episodes = self._next_seeds(rows, np_random, [None] * len(rows))
            tensors["dynamics.seed"] = new
        prefix = "dynamics."
        inner = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        elapsed, ended = tensors["row.elapsed"], tensors["row.ended"]
        self._abandon(rows)
        self.dynamics.set_state(rows, inner)
        self.seeds, self.episodes, self.starts = seeds, episodes, tensors["row.start"]
        self.elapsed, self.ended, self.terminated = elapsed, ended, tensors["row.terminated"]

    def _abandon(self, rows: np.ndarray) -> None:
        """End the rows' episodes, whose past is about to be overwritten."""
        elapsed, ended = self.elapsed.copy(), self.ended.copy()
        elapsed[rows], ended[rows] = -1, True
        self.elapsed, self.ended = elapsed, ended

    @property
    def _tag(self) -> bytes:
        return f"{self.world.card.name} {self.world.hash}".encode()

    def _state(self) -> dict[str, np.ndarray]:
        inner = self.dynamics.get_state(np.arange(len(self.ended)))
        return {
            "row.seed": self.seeds,
            "row.episode": self.episodes,
            "row.elapsed": self.elapsed,
            "row.ended": self.ended,
            "row.terminated": self.terminated,
            "row.start": self.starts,
            **_prefixed(inner),
        }

    def _next_seeds(
        self, rows: np.ndarray, np_random: np.random.Generator, seeds: Sequence[int | None]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Advance the rows' episode numbers, and change nothing yet.

        Returns:
            The seeds, int64, of what they begin now; and all rows' `seeds` and `episodes` then.
        """
        all_seeds, episodes = self.seeds.copy(), self.episodes.copy()
        for row, seed in zip(rows, seeds, strict=True):
            if seed is not None:
                all_seeds[row], episodes[row] = seed % 2**64, -1  # all of it that `mix` uses
            elif episodes[row] < 0:
                all_seeds[row] = np_random.integers(2**63)
        episodes[rows] += 1
        mixed = [mix(int(all_seeds[row]), int(episodes[row])) for row in rows]
        return np.array(mixed, dtype=np.int64), all_seeds, episodes

    def __getstate__(self) -> dict[str, Any]:
        with self.exclusive:
            state = self.clone()
        return {
            "world": self._where,
            "hash": self.world.hash,
            "num_rows": len(self.ended),
            "max_steps": self.max_steps,
            "settings": self._settings,
            "state": state,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        names = ("world", "num_rows", "max_steps", "settings")
        Rows.__init__(self, *(state[name] for name in names))
        if self.world.hash != state["hash"]:
            raise StateError(
                f"the world {state['world']} is not the one this environment was pickled with: its "
                f"hash is {self.world.hash}, it was {state['hash']}; put that world back"
            )
        self.restore(state["state"], np.random.default_rng())


def _prefixed(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name the tensors of a dynamics's state as those of rows have them."""
    return {f"dynamics.{name}": np.ascontiguousarray(value) for name, value in state.items()}


def _form(tensor: np.ndarray | None) -> str:
    return "missing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


Call = ParamSpec("Call")
Result = TypeVar("Result")


def exclusive(
    method: Callable[Concatenate[Any, Call], Result],
) -> Callable[Concatenate[Any, Call], Result]:
    """Refuse a call of an environment's method while another thread is inside one of them."""

    @functools.wraps(method)
    def call(self: Any, *args: Call.args, **keywords: Call.kwargs) -> Result:
        with self._open().exclusive:
            return method(self, *args, **keywords)

    return call
