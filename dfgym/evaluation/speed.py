"""`dfgym bench`: how fast a world is stepped, as its users step it."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import dfgym  # noqa: F401  registers the ids
from dfgym.model import Transformer
from dfgym.world import shelf
from dfgym.world.device import pick_device

BATCH = 64


def bench(
    world: str | os.PathLike[str] = shelf.DEFAULT,
    seconds: float = 5.0,
    device: str = "auto",
    **sampler: Any,
) -> dict[str, Any]:
    """Time `gym.make` and `gym.make_vec` of 64 under random actions, on this thread's settings.

    Args:
        world: a name on the shelf, or the path of a folder.
        seconds: of each of the two measurements, after a tenth of it to warm up.
        device: where the dream runs.
        sampler: `denoising_steps`, `context_mode`, `context_noise`; the card's if left out.

    Returns:
        `single_steps_per_second`, `vector_frames_per_second` (64 a step), each with the median and
        95th percentile of a step in milliseconds, `outside_network` (share of a vector step that
        is not spent in the network), `device` and `threads`.
    """
    keywords = {"world": os.fspath(world), "device": device, **sampler}
    env = gym.make("DFWorld-v0", **keywords)
    env.reset(seed=0)
    env.action_space.seed(0)

    def step() -> None:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()

    single = _time(step, seconds)
    env.close()
    envs = gym.make_vec("DFWorld-v0", num_envs=BATCH, **keywords)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    inside: list[float] = []
    with _clock(inside):
        vector = _time(lambda: envs.step(envs.action_space.sample()), seconds, inside.clear)
    envs.close()
    return {
        "single_steps_per_second": float(1 / single.mean()),
        **_percentiles("single", single),
        "vector_frames_per_second": float(BATCH / vector.mean()),
        **_percentiles("vector", vector),
        "outside_network": float(1 - sum(inside) / vector.sum()),
        "device": str(pick_device(device)),
        "threads": torch.get_num_threads(),
    }


def _time(
    step: Callable[[], Any], seconds: float, ready: Callable[[], Any] = lambda: None
) -> np.ndarray:
    """Seconds of each call, float `(n,)`; `ready` is called when the warming up is over."""
    _repeat(step, seconds / 10)
    ready()
    return np.array(_repeat(step, seconds))


def _repeat(step: Callable[[], Any], seconds: float) -> list[float]:
    times: list[float] = []
    begun = time.perf_counter()
    while not times or time.perf_counter() - begun < seconds:
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    return times


@contextmanager
def _clock(spent: list[float]) -> Iterator[None]:
    """Note the seconds of every call of the network while this lasts."""
    originals = {name: getattr(Transformer, name) for name in ("now", "step", "picture", "outcome")}

    def timed(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            _wait()
            before = time.perf_counter()
            result = original(*args, **kwargs)
            _wait()
            spent.append(time.perf_counter() - before)
            return result

        return call

    for name, original in originals.items():
        setattr(Transformer, name, timed(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(Transformer, name, original)


def _wait() -> None:
    """A GPU works behind the program's back."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _percentiles(name: str, times: np.ndarray) -> dict[str, float]:
    median, slow = np.percentile(1000 * times, [50, 95])
    return {f"{name}_p50_ms": float(median), f"{name}_p95_ms": float(slow)}
