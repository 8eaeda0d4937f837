"""What a world's network runs on: its memory, precision and compiler."""

from __future__ import annotations

import functools
import importlib.util
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from dfgym.errors import ConfigError, DeviceError, WorldError
from dfgym.model.network import Network, build_empty, weight_shapes
from dfgym.world.bundle import World
from dfgym.world.cache import Cache
from dfgym.world.card import Card
from dfgym.world.settings import Settings

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""How many bytes a container may use, where there is one; psutil knows the machine alone."""
TOKEN, SLOT, CELL = 14, 2, 10
"""At the peak of a step so many numbers are held for each number of all tokens, of a cache's slots
and of a frame: fitted from above to what torch allocates, see tests/world/test_memory.py."""

Section = Callable[[str], AbstractContextManager[Any]]
"""Returns the context in which a part of a computation runs, given the part's name."""
Step = Callable[..., Any]
"""`Network.step`, or a function that does the same."""

logger = logging.getLogger("dfgym")


def require_compiler(device: torch.device) -> None:
    """Check that `torch.compile` finds what it needs on a device.

    Raises:
        DeviceError: there is nothing to compile with.
    """
    compilers = (os.environ.get("CXX"), "c++", "g++", "clang++")
    if not any(name and shutil.which(name) for name in compilers):
        missing = "C++ compiler"
    elif device.type == "cuda" and importlib.util.find_spec("triton") is None:
        missing = "triton"
    else:
        return
    raise DeviceError(f"compile is True, but there is no {missing}; install one or leave it out")


def prepare(call: Step, device: torch.device, settings: Settings) -> Step:
    """Wrap a network's method as the settings' `compile` and `precision` demand.

    A compiled method serves one batch size. On CUDA it is also recorded as a graph, so caches given
    to it must stay where they are, and what it returns is overwritten by the next call.

    Args:
        call: the method, of a network on the device.
        device: where it runs.
        settings: how it runs.

    Raises:
        DeviceError: there is nothing to compile with.
    """
    run = call
    if settings.precision == "bfloat16":

        def run(*arguments: Any) -> Any:
            with torch.autocast(device.type, torch.bfloat16):
                return call(*arguments)

    if not settings.compile:
        return run
    require_compiler(device)
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    return torch.compile(run, fullgraph=True, dynamic=False, mode=mode)


@functools.lru_cache(maxsize=8)
def load_network(world: World, device: torch.device) -> Network:
    """The world's network on a device, shared by all who use the world: nobody writes to it."""
    # First without gradients: weights that were loaded in inference mode can have none.
    network = build_empty(world.card.model, world.card.game_spec).eval().requires_grad_(False)
    weights = {name: value.to(device) for name, value in world.weights.items()}
    network.load_state_dict(weights, assign=True)
    logger.info("world %s on %s", world.card.name, device)
    return network


@contextmanager
def computing(device: torch.device) -> Iterator[None]:
    """The context of all that is computed: no gradients, and no autocast of the caller's."""
    with torch.autocast(device.type, enabled=False), torch.inference_mode():
        yield


def check_finite(name: str, numbers: np.ndarray) -> None:
    """Refuse numbers that finite weights can still lead to, if they are large enough.

    Raises:
        WorldError: some are not finite.
    """
    if not np.isfinite(numbers).all():
        raise WorldError(
            f"the world {name} computes numbers that are not finite, so its weights are useless; "
            "take another world, or train it anew"
        )


def pin(caches: Sequence[Cache], device: torch.device) -> None:
    """Promise a compiled step that caches stay where they are.

    On CUDA a graph writes where it wrote when it was recorded.
    """
    if device.type == "cuda":
        for tensor in (tensor for cache in caches for layer in cache for tensor in layer):
            torch._dynamo.mark_static_address(tensor)


def warm_up(step: Step, *arguments: Any) -> Any:
    """Call a compiled step a first time, which compiles it; returns what it does.

    Raises:
        DeviceError: it cannot be compiled here.
    """
    try:
        return step(*arguments)
    except RuntimeError as reason:
        raise DeviceError(f"compile is True, but torch cannot compile here: {reason}") from reason


def row_bytes(card: Card, levels: int, frames: int = 1) -> int:
    """Estimate the memory that a row of a batch needs.

    Args:
        card: the world's.
        levels: context levels, each with a cache of its own.
        frames: passed through the network together; more than one need no cache.
    """
    model = card.model
    cache = 4 * model.cache_size(card.game_spec)
    cells = card.frames.height * card.frames.width
    channels = (len(card.frames.palette) or 3) * (frames + model.mixture - 1)  # of the last alone
    tokens = model.numbers(card.frames.height, card.frames.width)
    attended = SLOT * (model.window + 1) * cells // model.patch**2 * model.dim if frames == 1 else 0
    return levels * cache + 4 * (frames * (TOKEN * tokens + attended) + CELL * cells * channels)


def available_bytes(device: torch.device) -> int:
    """Return the free memory of a device; on the CPU no more than the container's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    if CONTAINER_LIMIT.is_file() and (limit := CONTAINER_LIMIT.read_text().strip()) != "max":
        free = min(free, int(limit))
    return free


def check_memory(
    card: Card, batch: int, levels: int, device: torch.device, frames: int = 1
) -> None:
    """Refuse a batch that does not fit; the message names the largest that would.

    Raises:
        ConfigError: `batch` rows of `row_bytes` and the weights need more than is available.
    """
    free = available_bytes(device)
    shapes = weight_shapes(card.model, card.game_spec)
    weights = 4 * sum(math.prod(shape) for shape in shapes.values())
    row = row_bytes(card, levels, frames)
    largest = max(0, (free - weights) // row)
    if batch > largest:
        fix = f"the largest batch that would fit is {largest}"
        if largest == 0:
            fix = "not even a batch of 1 would fit: take a world of smaller dim, depth or window"
        raise ConfigError(
            f"a batch of {batch} needs about {(weights + batch * row) / 2**30:.3g} GiB and "
            f"{device} has {free / 2**30:.3g} GiB free; {fix}"
        )
