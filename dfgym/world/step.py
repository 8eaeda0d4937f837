"""One step of a world as a function of arrays alone, which can be written as ONNX.

The same parts as in `dfgym.world.dynamics`, put together without a state: noise from the row's
seed and time, the denoising steps, the choice of an outcome, rounding, the commit passes, reward
and end. A host keeps the caches: each is a ring of r slots, and a frame's own slot is `time % r`.

Legend: b rows, h w a frame, r slots of a cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dfgym.diffusion import noise
from dfgym.diffusion.path import interpolate
from dfgym.diffusion.sampler import sample
from dfgym.errors import ConfigError, MissingPackageError
from dfgym.frames import Codec
from dfgym.world import runtime
from dfgym.world.bundle import World
from dfgym.world.cache import Cache
from dfgym.world.outcomes import ignorance
from dfgym.world.sampling import resolve_sampling
from dfgym.world.settings import Settings

CPU = torch.device("cpu")


class Step:
    """Computes a step of any number of rows.

    Args:
        world: the world.
        settings: how it is run.

    Raises:
        ConfigError: the settings demand what no file can hold.
    """

    def __init__(self, world: World, settings: Settings) -> None:
        if (memory := world.card.model.memory) != "none":
            raise ConfigError(
                f"the world {world.card.name} has the memory {memory!r}, which ONNX does not "
                "express yet; step it by PyTorch"
            )
        settings = replace(settings, runtime="onnx")  # which refuses the others
        self._card = card = world.card
        self._levels, self._plan = resolve_sampling(card, settings)
        if self._plan.kept:  # by the card's own choice
            replace(settings, context_mode="kept")
        self._network = runtime.load_network(world, CPU)
        self._codec = Codec(card.frames.palette)
        self._rewards = torch.tensor(card.rewards.values, dtype=torch.float64)

    def empty_caches(self, rows: int) -> list[Cache]:
        """Return the cache of each context level, of rows without a past.

        Raises:
            ConfigError: so many rows do not fit into memory.
        """
        runtime.check_memory(self._card, rows, len(self._plan.levels), CPU)
        return [self._network.empty_cache(rows, CPU) for _ in self._plan.levels]

    def inputs(self, rows: int) -> dict[str, Tensor]:
        """Return an example of the inputs, by name."""
        card, long = self._card, torch.zeros(rows, dtype=torch.int64)
        size = (rows, card.frames.height, card.frames.width, 3)
        tensors = flatten(self.empty_caches(rows))
        return {
            "action": torch.from_numpy(card.actions.fill(rows)),
            "seed": long,
            "time": long.clone(),
            "observed": torch.zeros(size, dtype=torch.uint8),
            "is_observed": torch.zeros(rows, dtype=torch.bool),
            **{f"cache.{i}": tensor for i, tensor in enumerate(tensors)},
        }

    def __call__(
        self,
        action: Tensor,
        seed: Tensor,
        time: Tensor,
        observed: Tensor,
        is_observed: Tensor,
        *tensors: Tensor,
    ) -> dict[str, Tensor]:
        """Make every row's next frame, or follow a given one, and commit it.

        Args:
            action: rows of `dfgym.actions`, int64 `(b,)` or float32 `(b, parts)`.
            seed: int64 `(b,)`, of each row's noise.
            time: int64 `(b,)`, how many frames each row has had.
            observed: uint8 `(b, h, w, 3)`.
            is_observed: bool `(b,)`, whether the row takes its frame from there.
            tensors: the caches' own, each `(b, r, ...)`; they are written in place.

        Returns:
            `frame` uint8 `(b, h, w, 3)`; `reward` float64 `(b,)`; `termination_probability`
            float64, `terminated` bool, `uncertainty` float64, where the world tells outcomes apart
            in one denoising step `outcome_entropy`, and with a palette `epistemic`, all `(b,)`; and
            `slot.i` of each `cache.i`, `(b, ...)`, which goes into slot `time % r`.
        """
        card, network, plan = self._card, self._network, self._plan
        caches = self._unflatten(list(tensors))
        discrete = card.actions.is_discrete
        rows = None if discrete else action
        places = action if discrete else torch.arange(len(action))
        mixture = card.model.mixture > 1
        draws = len(self._levels) * mixture
        uniforms = noise.uniform(seed, time, noise.HEADS, 2 + draws).double()
        position, predictions = network.cache_position(time), []

        def denoise(x: Tensor, tau: float, i: int) -> Tensor:
            condition = network.conditioning(tau, rows)
            tokens = network.step(x, condition, places, position, caches[plan.reads[i]])
            predictions.append(network.predict_frame(tokens))
            return predictions[-1].sample(uniforms[:, 2 + i]) if mixture else predictions[-1].mean

        game = card.game_spec
        shape = (game.height, game.width, game.channels)
        start = noise.normal(seed, time, noise.FRAME, math.prod(shape)).view(-1, *shape)
        generated = sample(denoise, start, self._levels, first_order=mixture)
        frames, clean = self._codec.round(generated)
        spread = (clean - predictions[0].mean).square().mean((1, 2, 3)).sqrt() / 2
        follows = is_observed[:, None, None, None]
        frames = torch.where(follows, observed, frames)
        clean = torch.where(follows, self._codec.encode(observed), clean)
        tokens: Any = None
        for level, cache in zip(plan.levels, caches, strict=True):
            x = clean
            if level.applied < 1:
                eps = noise.normal(seed, time, noise.CONTEXT, math.prod(shape)).view(-1, *shape)
                x = interpolate(clean, eps, clean.new_tensor(level.applied))
            condition = network.conditioning(level.stated, rows)
            tokens = network.step(x, condition, places, position, cache)
        reward, termination = network.predict_transition(tokens)
        ends = termination.double().sigmoid()
        below = reward.double().softmax(-1).cumsum(-1)
        bucket = (below < uniforms[:, :1]).sum(-1).clamp(max=len(self._rewards) - 1)
        results = {
            "frame": frames,
            "reward": self._rewards[bucket],
            "termination_probability": ends,
            "terminated": uniforms[:, 1] < ends,
            "uncertainty": spread.double(),
        }
        if mixture and len(self._levels) == 1:
            results["outcome_entropy"] = predictions[0].entropy
        if card.frames.palette:
            results["epistemic"] = ignorance(generated)
        index = torch.arange(len(time))
        own = [tensor[index, time % tensor.shape[1]] for tensor in flatten(caches)]
        return results | {f"slot.{i}": slot for i, slot in enumerate(own)}

    def _unflatten(self, tensors: list[Tensor]) -> list[Cache]:
        """Put caches back together."""
        caches: list[Cache] = []
        for cache in self.empty_caches(1):
            sizes = [len(layer) for layer in cache]
            caches.append([tuple(tensors.pop(0) for _ in range(size)) for size in sizes])
        return caches


def flatten(caches: Sequence[Cache]) -> list[Tensor]:
    """Return the tensors of caches, one after another."""
    return [tensor for cache in caches for layer in cache for tensor in layer]


def export_step(world: World, rows: int = 1, settings: Settings = Settings()) -> bytes:
    """Write a step of so many rows as an ONNX file, see `Step.__call__` for what goes in and out.

    Raises:
        ConfigError: ONNX cannot express the world, or its settings, or the rows do not fit.
        MissingPackageError: onnx is missing.
    """
    step = Step(world, settings)
    try:
        from dfgym.tracing.record import record
    except ImportError as reason:
        raise MissingPackageError(
            'ONNX needs the package onnx: pip install "dfgym[export]"'
        ) from reason
    doc = f"{world.card.name}: {world.card.description} sha256 of its card: {world.hash}"
    return record(step, step.inputs(rows), doc)
