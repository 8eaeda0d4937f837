"""How fast a world is stepped as its users step it, and what their shells add to its dynamics."""

from __future__ import annotations

import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch

import dfgym  # registers the ids
from dfgym.errors import ConfigError
from dfgym.model import build_empty
from dfgym.world import shelf
from dfgym.world.device import pick_device
from dfgym.world.dynamics import Dynamics

if TYPE_CHECKING:
    from dfgym.world.card import Card

BATCH = 64
PERCENTILES = (50, 95, 99)
NETWORK = ("now", "step", "picture", "outcome")
"""The methods of a network that a step calls; none of them calls another."""
Around = Callable[[str, Callable[..., Any]], Callable[..., Any]]
MANY = 997
"""So many steps' actions are drawn beforehand, and then taken again and again."""


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
        sampler: keywords of the environments; the card's if left out.

    Returns:
        `single_steps_per_second`, `vector_frames_per_second` (64 a step), each with the median, the
        95th and the 99th percentile of a step in milliseconds, `outside_network` (share of a vector
        step that is not spent in the network), `device` and `threads`.

    Raises:
        ConfigError: `seconds` is not above 0, or another value is not allowed.
        WorldError: there is no such world, or it is damaged.
    """
    check_seconds(seconds)
    keywords = {"world": os.fspath(world), "device": device, **sampler}
    card = shelf.card(world)
    env, step = _single(keywords, card)
    single = repeat(step, seconds)
    env.close()
    batch = vector(world, BATCH, seconds, device, **sampler)
    return {
        "single_steps_per_second": float(1 / single.mean()),
        **{f"single_{name}": value for name, value in percentiles(single).items()},
        "vector_frames_per_second": batch["frames_per_second"],
        **{f"vector_p{p}_ms": batch[f"p{p}_ms"] for p in PERCENTILES},
        "outside_network": batch["outside_network"],
        "device": str(pick_device(device)),
        "threads": torch.get_num_threads(),
    }


def vector(
    world: str | os.PathLike[str], rows: int, seconds: float, device: str = "auto", **sampler: Any
) -> dict[str, float]:
    """Time `gym.make_vec` under random actions.

    Args:
        world: a name on the shelf, or the path of a folder.
        rows: `num_envs`.
        seconds: of the measurement, after a tenth of it to warm up.
        device: where it runs.
        sampler: as for `bench`.

    Returns:
        `batch`, `frames_per_second` (`rows` a step), `p50_ms`, `p95_ms` and `p99_ms` of a step, and
        `outside_network`, the share of a step that is not spent in the network.
    """
    keywords = {"world": os.fspath(world), "device": device, **sampler}
    envs, step = _vector(keywords, shelf.card(world), rows)
    inside: list[tuple[str, float]] = []
    with network_clock(envs.unwrapped._rows.dynamics, inside):
        times = repeat(step, seconds, inside.clear)
    envs.close()
    return {
        "batch": rows,
        "frames_per_second": float(rows / times.mean()),
        **percentiles(times),
        "outside_network": float(1 - sum(spent for _, spent in inside) / times.sum()),
    }


def shells(
    world: str | os.PathLike[str], rows: int, seconds: float, device: str = "auto", **sampler: Any
) -> dict[str, float]:
    """What the shells add to the time spent in the dynamics below them, in the same calls.

    Args:
        world: a name on the shelf, or the path of a folder.
        rows: in the batched shells.
        seconds: of each of the three.
        device: where the dream runs.
        sampler: as for `bench`.

    Returns:
        `env` (`gym.make`), `vector` (`gym.make_vec`) and `sb3` (`dfgym.make_sb3`): time outside
        `Dynamics.step` and `Dynamics.reset` over time in them, so 0.02 is 2 % more.
    """
    keywords = {"world": os.fspath(world), "device": device, **sampler}
    card = shelf.card(world)
    makers: dict[str, Callable[[], tuple[Any, Callable[[], Any]]]] = {
        "env": lambda: _single(keywords, card),
        "vector": lambda: _vector(keywords, card, rows),
        "sb3": lambda: _sb3(keywords, card, rows),
    }
    added = {}
    for name, make in makers.items():
        env, step = make()
        inside: list[tuple[str, float]] = []
        with clock(Dynamics, ("step", "reset"), inside):
            total = repeat(step, seconds, inside.clear).sum()
        env.close()
        below = sum(spent for _, spent in inside)
        added[name] = float(total / below - 1)
    return added


def actions(card: Card, rows: int) -> Iterator[np.ndarray]:
    """Random actions without end, each int64 `(rows,)`; drawn beforehand, so they cost nothing."""
    drawn = np.random.default_rng(0).integers(card.actions.n, size=(MANY, rows))
    return itertools.cycle(drawn)


def _single(keywords: dict[str, Any], card: Card) -> tuple[Any, Callable[[], Any]]:
    env = gym.make("DFWorld-v0", **keywords)
    env.reset(seed=0)
    drawn = actions(card, 1)

    def step() -> None:
        _, _, terminated, truncated, _ = env.step(next(drawn)[0])
        if terminated or truncated:
            env.reset()

    return env, step


def _vector(keywords: dict[str, Any], card: Card, rows: int) -> tuple[Any, Callable[[], Any]]:
    envs = gym.make_vec("DFWorld-v0", num_envs=rows, **keywords)
    envs.reset(seed=0)
    drawn = actions(card, rows)
    return envs, lambda: envs.step(next(drawn))


def _sb3(keywords: dict[str, Any], card: Card, rows: int) -> tuple[Any, Callable[[], Any]]:
    envs = dfgym.make_sb3("DFWorld-v0", num_envs=rows, **keywords)
    envs.seed(0)
    envs.reset()
    drawn = actions(card, rows)
    return envs, lambda: envs.step(next(drawn))


# Clocks


def check_seconds(seconds: float) -> None:
    """Refuse a time in which nothing can be measured; raises ConfigError."""
    if not 0 < seconds < math.inf:
        raise ConfigError(f"seconds is {seconds!r}; give a number above 0, like 2")


def repeat(
    step: Callable[[], Any], seconds: float, ready: Callable[[], Any] = lambda: None
) -> np.ndarray:
    """Seconds of each call, float `(n,)`, n >= 1; `ready` is called when the warming up is over."""
    _repeat(step, seconds / 10)
    ready()
    return np.array(_repeat(step, seconds))


def _repeat(step: Callable[[], Any], seconds: float) -> list[float]:
    times: list[float] = []
    begun = time.perf_counter()
    while not times or time.perf_counter() - begun < seconds:
        times.append(seconds_of(step))
    return times


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds of one call, whatever device it works on."""
    wait()
    before = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - before


def wait() -> None:
    """A GPU works behind the program's back."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


@contextmanager
def clock(owner: type, names: tuple[str, ...], spent: list[tuple[str, float]]) -> Iterator[None]:
    """Note name and seconds of every call of these methods of a class while this lasts."""
    with replaced(owner, names, _timed(spent)):
        yield


@contextmanager
def network_clock(dynamics: Dynamics, spent: list[tuple[str, float]]) -> Iterator[None]:
    """Note name and seconds of every call of the network below dynamics while this lasts."""
    with around_network(dynamics, _timed(spent)):
        yield


@contextmanager
def around_network(dynamics: Dynamics, by: Around) -> Iterator[None]:
    """Put `by(name, method)` around `NETWORK` of the network below dynamics while this lasts."""
    network = type(build_empty(dynamics.world.card))
    # Dynamics have chosen how to run their passes; resets run them plainly, not through that.
    with replaced(network, NETWORK, by), replaced(dynamics, ("_step",), by):
        yield


def _timed(spent: list[tuple[str, float]]) -> Around:
    def timed(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            wait()
            before = time.perf_counter()
            result = original(*args, **kwargs)
            wait()
            spent.append((name.lstrip("_"), time.perf_counter() - before))
            return result

        return call

    return timed


@contextmanager
def replaced(owner: object, names: tuple[str, ...], by: Around) -> Iterator[None]:
    """Put `by(name, method)` in the place of what these names of an object are while this lasts."""
    originals = {name: getattr(owner, name) for name in names}
    for name, original in originals.items():
        setattr(owner, name, by(name, original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(owner, name, original)


def percentiles(times: np.ndarray) -> dict[str, float]:
    """Median, 95th and 99th percentile of seconds, in milliseconds: `p50_ms` and so on."""
    values = np.percentile(1000 * times, PERCENTILES)
    return {f"p{p}_ms": float(value) for p, value in zip(PERCENTILES, values, strict=True)}
