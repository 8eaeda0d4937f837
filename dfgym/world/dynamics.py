"""The batched state machine: actions in, the learned game's next frames out.

Legend: b rows (environments), h w a frame, c channels inside the model, R reward buckets.

A step of every row is `denoising_steps` network passes that make the next frame and one commit
pass for each context level (none in the context mode `kept`). The last pass leaves in the cache
what later frames read, and predicts reward and termination. Nothing here knows an environment:
shells check actions and end episodes.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfgym.device import Threads, pick_device
from dfgym.diffusion import noise
from dfgym.diffusion.path import interpolate
from dfgym.diffusion.sampler import sample
from dfgym.errors import ConfigError
from dfgym.frames import Codec
from dfgym.model.transformer import FramePrediction
from dfgym.world import runtime
from dfgym.world.bundle import World
from dfgym.world.cache import Batch, Cache, Present, restore_rows, write_rows
from dfgym.world.conditions import Conditioner, Conditions, in_turn
from dfgym.world.exclusive import Exclusive
from dfgym.world.luck import Judge, check_luck, choose
from dfgym.world.onnx import OnnxStep
from dfgym.world.outcomes import Outcomes, Transition, ignorance, read_state, work_out
from dfgym.world.sampling import resolve_sampling
from dfgym.world.settings import Settings

RESET_GROUP = 8
"""Rows reset together: always so many, so that a row's bits do not depend on how many others are
reset beside it."""

logger = logging.getLogger("dfgym")


class Dynamics:
    """`num_rows` independent copies of a learned game on one device.

    A row's noise is a function of its seed and its own frame count, and its cache of its own past,
    so at a fixed `num_rows` a row's bits depend on no other row.

    One thread at a time may use it: another gets a StateError. A step that is interrupted, as by
    Ctrl-C, has not happened.

    Args:
        world: the loaded world.
        num_rows: b, at least 1.
        settings: how it is run.

    Attributes:
        present: the moment that the rows have come to.
        network: the world's, shared by all who use the world.
        levels: the signal levels that a frame passes through, the first 0.
        threads: the context in which all is computed: how many threads of a CPU it takes.
        section: the context that every part of a step runs in, which receives the part's name, such
            as `dfgym::denoise`. By default it does nothing. `torch.profiler.record_function` shows
            the parts in a profile; `dfgym.bench` puts a clock here.
        luck, judge: how kind chance is, and what it holds frames for worth, see `dfgym.world.luck`.

    Raises:
        ConfigError: a value outside what is allowed, or more rows than memory can hold.
        DeviceError: the device is not there, or nothing to compile with.
    """

    def __init__(self, world: World, num_rows: int, settings: Settings = Settings()) -> None:
        if type(num_rows) is not int or num_rows < 1:
            raise ConfigError(f"the number of environments is {num_rows!r}; allowed is 1 or more")
        self.world, self.num_rows = world, num_rows
        self.section: runtime.Section = nullcontext
        self.judge: Judge | None = None
        self.device = pick_device("cpu" if settings.runtime == "onnx" else settings.device)
        subject = "a single environment" if num_rows == 1 else "a batch of environments"
        self.threads = Threads(subject, 1 if num_rows == 1 or self.device.type != "cpu" else None)
        self.levels, self._plan = resolve_sampling(world.card, settings)
        self.luck = check_luck(world.card, settings.luck, self.exact)
        runtime.check_memory(world.card, num_rows, len(self._plan.levels), self.device)
        self.codec = Codec(world.card.frames.palette)
        self.network = runtime.load_network(world, self.device)
        # Of batches of any size, which a compiled step does not take.
        eager = replace(settings, compile=False)
        fused = settings if world.card.model.memory != "none" else eager
        step, look = self.network.step, self.network.look
        self._step, self._eager = (runtime.prepare(step, self.device, s) for s in (settings, eager))
        self._look, self._eager_look = (
            runtime.prepare(look, self.device, s) for s in (fused, eager)
        )
        onnx = settings.runtime == "onnx"
        self._onnx = OnnxStep(world, num_rows, settings, self.threads.count) if onnx else None
        self._rewards = np.array(world.card.rewards.values, np.float64)
        shape = (num_rows, world.card.frames.height, world.card.frames.width, 3)
        self._seeds = torch.zeros(num_rows, dtype=torch.int64, device=self.device)
        self.present = Present(np.zeros(shape, np.uint8), torch.zeros_like(self._seeds))
        self._exclusive = Exclusive("this world's dynamics")
        with runtime.computing(self.device):
            self._caches = self._empty_caches(num_rows)
            levels = {*self.levels, *(level.stated for level in self._plan.levels)}
            self.condition = Conditioner(self.network, world.card.actions, levels, self.device)
        if settings.compile:
            with self.threads:
                self._warm_up()

    @torch.inference_mode()
    def _warm_up(self) -> None:
        name, rows = self.world.card.name, self.num_rows
        logger.info("compiling %s for batches of %d; a first time takes a minute", name, rows)
        frames = self.codec.encode(torch.from_numpy(self.present.frames).to(self.device))
        levels, places = self.condition(self.world.card.actions.fill(rows))
        runtime.pin(self._caches, self.device)
        look = partial(runtime.warm_up, self._look)
        positions = self.position(Conditions(levels, places), self.batch, look)
        for cache, both in zip(self._caches, positions, strict=True):
            for level, position in itertools.product(levels.values(), both):
                runtime.warm_up(self._step, frames, level, places, position, cache)

    def _empty_caches(self, rows: int) -> list[Cache]:
        """Return a cache for each context level."""
        return [self.network.empty_cache(rows, self.device) for _ in self._plan.levels]

    @contextmanager
    def _computing(self, section: str) -> Iterator[None]:
        """The context of every call that computes; raises StateError if a thread is inside."""
        with self._exclusive, self.threads, runtime.computing(self.device), self.section(section):
            yield

    def frames(self) -> np.ndarray:
        """Return the current frames of every row, uint8 `(b, h, w, 3)`, freshly allocated."""
        return self.present.frames.copy()

    def reset(
        self,
        rows: np.ndarray,
        seeds: np.ndarray,
        contexts: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Begin new episodes in some rows, each from real frames.

        Args:
            rows: int64 `(n,)`, indices of the rows to reset.
            seeds: int64 `(n,)`, seeds of their noise.
            contexts: for each row uint8 frames `(t, h, w, 3)`, t >= 1, and the t - 1 actions
                between them, rows of `dfgym.actions`; the last ones count, `ModelConfig.history`.
        """
        size = min(RESET_GROUP, self.num_rows)
        with self._computing("dfgym::reset"):
            for first in range(0, len(rows), size):
                group = slice(first, first + size)
                self._reset_group(rows[group], seeds[group], list(contexts[group]), size)

    def _reset_group(
        self,
        rows: np.ndarray,
        seeds: np.ndarray,
        contexts: list[tuple[np.ndarray, np.ndarray]],
        size: int,
    ) -> None:
        count, history = len(rows), self.world.card.model.history
        contexts = [(frames[-history:], actions[-history:]) for frames, actions in contexts]
        contexts += contexts[:1] * (size - count)
        lengths = torch.tensor([len(frames) for frames, _ in contexts], device=self.device)
        group_seeds = torch.from_numpy(np.resize(seeds, size)).to(self.device)
        batch = Batch(self._empty_caches(size), torch.zeros_like(lengths), group_seeds)
        for frames, actions, time in in_turn(contexts, self.world.card):
            self.commit(
                self.codec.encode(torch.from_numpy(frames).to(self.device)),
                self.condition(actions),
                batch._replace(time=torch.tensor(time, device=self.device)),
                self.network.step,
            )
        index = torch.from_numpy(rows).to(self.device)
        write_rows(self._caches, index, batch.caches)
        self.present.time[index] = lengths[:count]
        self._seeds[index] = group_seeds[:count]
        self.present.frames[rows] = np.stack([frames[-1] for frames, _ in contexts[:count]])

    def commit(
        self,
        clean: Tensor,
        conditions: Conditions,
        batch: Batch,
        step: runtime.Step | None = None,
        positions: list[tuple[Any, Any]] | None = None,
    ) -> Any:
        """Commit frames, at their `position`, to every level's cache; returns the last tokens."""
        tokens: Any = None
        if positions is None:
            positions = [(self.network.cache_position(batch.time),) * 2] * len(batch.caches)
        for level, cache, (_, last) in zip(self._plan.levels, batch.caches, positions, strict=True):
            frames, conditioning = clean, conditions.levels[level.stated]
            if level.applied < 1:
                eps = noise.normal(batch.seeds, batch.time, noise.CONTEXT, clean[0].numel())
                eps = eps.view_as(clean)
                frames = interpolate(clean, eps, clean.new_tensor(level.applied))
            with self.section("dfgym::commit"):
                run = step or self._eager
                tokens = run(frames, conditioning, conditions.places, last, cache)
        return tokens

    def step(self, actions: np.ndarray) -> Transition:
        """Step every row; `actions` are rows, int64 `(b,)` or float32 `(b, parts)`, checked."""
        with self._computing("dfgym::step"):
            transition, self.present = self._next(actions)
        return transition

    def propose(self, actions: np.ndarray) -> tuple[Transition, Present]:
        """Compute a step without taking it: to take it, put what is returned in `present`.

        Whoever keeps a state of the rows beside this one can so change both in one statement,
        between whose parts Python lets no interrupt in.
        """
        with self._computing("dfgym::step"):
            return self._next(actions)

    def observe(self, actions: np.ndarray, frames: np.ndarray) -> Transition:
        """Follow a game that is played elsewhere: commit its next frames instead of dreamt ones.

        Every row then stands where `reset` with the same frames and actions would have put it, bit
        for bit as long as its window covers them all.

        Args:
            actions: as for `step`.
            frames: uint8 `(b, h, w, 3)` at model size, that the actions led to.

        Returns:
            The frames; the reward that is expected on arrival there; `terminated` False, since the
            game elsewhere knows it; the probability of an end; and an uncertainty of 0.
        """
        transition, self.present = self.follow(actions, frames)
        return transition

    def follow(self, actions: np.ndarray, frames: np.ndarray) -> tuple[Transition, Present]:
        """Compute what `observe` does without doing it, as `propose` does of `step`."""
        size, numbers = min(RESET_GROUP, self.num_rows), []
        with self._computing("dfgym::observe"):
            clean = self.codec.encode(torch.from_numpy(frames).to(self.device))
            for first in range(0, self.num_rows, size):
                rows = torch.arange(first, first + size, device=self.device)
                filled = rows.clamp(max=self.num_rows - 1)  # all groups are of one size
                batch, rows = self.batch.select(filled), rows[: self.num_rows - first]
                conditions = self.condition(actions[filled.cpu().numpy()])
                group = self.commit(clean[filled], conditions, batch, self.network.step)
                write_rows(self._caches, rows, batch.caches)
                numbers.append(np.stack(self.expect(group))[:, : len(rows)])
        rewards, ends = np.concatenate(numbers, 1)
        present = Present(frames.copy(), self.present.time + 1)
        nothing = np.zeros(self.num_rows)
        return Transition(frames.copy(), rewards, nothing > 0, ends, nothing), present

    @property
    def commits(self) -> bool:
        """Whether finished frames are committed by a pass of their own."""
        return not self._plan.kept

    @property
    def exact(self) -> bool:
        """Whether `outcomes` are all that may happen, instead of samples of it.

        They are where the network tells outcomes apart and a frame takes one denoising step.
        """
        return self.world.card.model.mixture > 1 and len(self.levels) == 1

    def outcomes(self, actions: np.ndarray, samples: int = 8) -> Outcomes:
        """Work out what a step of every row may lead to; no row moves.

        Where `exact` holds, `step` draws one of these outcomes with these probabilities (up to
        rounding, since more rows than one pass the network together here). They are the game's own
        chance: `luck`, which bends what `step` draws, does not bend them.

        Args:
            actions: as for `step`.
            samples: k where outcomes are samples.
        """
        with self._computing("dfgym::outcomes"):
            return work_out(self, self.condition(actions), samples)

    def predict(
        self,
        conditions: Conditions,
        batch: Batch,
        step: runtime.Step | None = None,
        noisy: tuple[Tensor, int, Any] | None = None,
    ) -> tuple[FramePrediction, Any]:
        """Predict the next frames of the rows `batch` in one denoising step.

        `step` is the network's, or a function that does the same. `noisy` are the frames so far,
        the number of the denoising step, and `position(conditions, batch)`; None for the first
        step, which begins from noise. Returns the prediction and the pass's tokens.
        """
        x, i, positions = noisy or (self.start(batch), 0, self.position(conditions, batch))
        with self.section("dfgym::denoise"):
            read, levels = self._plan.reads[i], conditions.levels
            step, cache = step or self._eager, batch.caches[read]
            position = positions[read][not self.commits]
            tokens = step(x, levels[self.levels[i]], conditions.places, position, cache)
        with self.section("dfgym::predict_frame"):
            return self.network.predict_frame(tokens), tokens

    def position(
        self, conditions: Conditions, batch: Batch, look: runtime.Step | None = None
    ) -> list[tuple[Any, Any]]:
        """Compute what the network needs of rows in all passes of a frame.

        `look` is the network's, or a function that does the same. Returns for each cache the
        positions of passes after which another follows, and of the last one.
        """
        with self.section("dfgym::cache_position"):
            position, look = self.network.cache_position(batch.time), look or self._eager_look
            level = conditions.levels[self.levels[0]]  # each knows the actions
            return [look(level, conditions.places, position, cache) for cache in batch.caches]

    def generate(self, conditions: Conditions, batch: Batch) -> tuple[Tensor, Tensor, Any]:
        """Sample rows' next frames; returns them decoded and encoded, and the last tokens."""
        uniforms = self.uniforms(batch)[:, 2:]
        positions = self.position(conditions, batch)
        generated, _, tokens = self._denoise(conditions, uniforms, batch, self._eager, positions)
        return *self.codec.round(generated), tokens

    def expect(self, tokens: Any) -> tuple[np.ndarray, np.ndarray]:
        """Read the expected reward and the probability of an end, float64 `(b,)`, off tokens."""
        reward, termination = self.network.predict_transition(tokens)
        expected = reward.double().softmax(-1).cpu().numpy() @ self._rewards
        return expected, termination.double().sigmoid().cpu().numpy()

    def _next(self, actions: np.ndarray) -> tuple[Transition, Present]:
        """Generate the next frame, commit it, and sample reward and termination."""
        if self._onnx:
            transition = self._onnx(actions, self.batch)
            return transition, Present(transition.frames.copy(), self.present.time + 1)
        conditions, batch = self.condition(actions), self.batch
        uniforms, tokens, entropy = self.uniforms(batch), None, None
        epistemic = divergence = None
        positions = self.position(conditions, batch, self._look)
        if self.exact:
            noisy = (self.start(batch), 0, positions)
            prediction, _ = self.predict(conditions, batch, self._step, noisy)
            generated, mean = prediction.sample(uniforms[:, 2]), prediction.mean
            entropy = prediction.entropy.cpu().numpy()
            if self.luck:
                generated, divergence = choose(self, conditions, prediction, uniforms[:, 2])
        else:
            draws = uniforms[:, 2:]
            generated, mean, tokens = self._denoise(conditions, draws, batch, self._step, positions)
        frames, clean = self.codec.round(generated)
        if self.world.card.frames.palette:
            epistemic = ignorance(generated).cpu().numpy()
        if not self._plan.kept:
            tokens = self.commit(clean, conditions, batch, self._step, positions)
        with self.section("dfgym::predict_transition"):
            reward, termination = self.network.predict_transition(tokens)
        ends = termination.double().sigmoid()
        below = reward.double().softmax(-1).cumsum(-1)
        bucket = (below < uniforms[:, :1]).sum(-1).clamp(max=len(self._rewards) - 1)
        spread = (clean - mean).square().mean((1, 2, 3)).sqrt() / 2
        numbers = (bucket.double(), ends, (uniforms[:, 1] < ends).double(), spread.double())
        runtime.check_finite(self.world.card.name, results := torch.stack(numbers).cpu().numpy())
        bucket, ends, ended, spread = results
        present = Present(frames.cpu().numpy(), batch.time + 1)
        rewards = self._rewards[bucket.astype(np.int64)]
        chances = (ended > 0, ends, spread, entropy, epistemic, divergence)
        return Transition(present.frames.copy(), rewards, *chances), present

    @property
    def batch(self) -> Batch:
        """All rows as they stand now."""
        return Batch(self._caches, self.present.time, self._seeds)

    def uniforms(self, batch: Batch) -> Tensor:
        """Draw what decides rows' next reward, end, and outcome in each denoising step."""
        # In mode `kept` the last pass's cache entry becomes context, so no outcome may be sampled
        # after it.
        draws = (len(self.levels) - self._plan.kept) * (self.world.card.model.mixture > 1)
        return noise.uniform(batch.seeds, batch.time, noise.HEADS, 2 + draws).double()

    def _denoise(
        self,
        conditions: Conditions,
        uniforms: Tensor,
        batch: Batch,
        step: runtime.Step,
        positions: list[tuple[Any, Any]],
    ) -> tuple[Tensor, Tensor, Any]:
        """Generate every row's next frame from noise.

        The first of the steps sample an outcome, with `uniforms`, `(b, draws)`; others take the
        mean. Returns the frames and the mean of the first prediction, `(b, h, w, c)`, and the last
        tokens. For the other arguments see `predict`.
        """
        start, means, tokens = self.start(batch), [], []

        def denoise(x: Tensor, tau: float, i: int) -> Tensor:
            prediction, last = self.predict(conditions, batch, step, (x, i, positions))
            tokens.append(last)
            if not i or i >= uniforms.shape[1]:  # nowhere else, since it is slow of many outcomes
                means.append(prediction.mean)
            return prediction.sample(uniforms[:, i]) if i < uniforms.shape[1] else means[-1]

        frames = sample(denoise, start, self.levels, first_order=uniforms.shape[1] > 0)
        return frames, means[0], tokens[-1]

    def start(self, batch: Batch) -> Tensor:
        """Draw the noise that rows' next frames begin from, `(b, h, w, c)`."""
        game = self.world.card.game_spec
        shape = (game.height, game.width, game.channels)
        return noise.normal(batch.seeds, batch.time, noise.FRAME, math.prod(shape)).view(-1, *shape)

    @torch.inference_mode()
    def get_state(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Copy everything that the futures of some rows depend on.

        Equal situations give equal bytes, however they were reached.
        """
        with self._exclusive:
            index = torch.from_numpy(rows).to(self.device)
            return read_state(self.network, self.present.frames[rows], self.batch, index)

    @torch.inference_mode()
    def set_state(self, rows: np.ndarray, state: dict[str, np.ndarray]) -> None:
        """Put back what `get_state` copied, into as many rows of a dynamics of the same settings.

        Raises:
            ConfigError: the state was made with another context mode or number of its levels.
            StateError: another thread is in the middle of a call.
        """
        index = torch.from_numpy(rows).to(self.device)
        saved = torch.from_numpy(state["cache"]).to(self.device)
        if saved.shape[1] != len(self._caches):
            raise ConfigError(
                f"the state has {saved.shape[1]} context levels and this environment "
                f"{len(self._caches)}; restore it with the context_mode and denoising_steps it "
                "was cloned with"
            )
        with self._exclusive:
            restore_rows(self._caches, index, saved)
            self.present.frames[rows] = state["frame"]
            self._seeds[index] = torch.from_numpy(state["seed"]).to(self.device)
            self.present.time[index] = torch.from_numpy(state["time"]).to(self.device)
