"""Whether a batch fits memory: an estimate, made before anything is allocated."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from dfgym.errors import ConfigError
from dfgym.model import build_empty, weight_shapes
from dfgym.world.card import Card

LIMIT = Path("/sys/fs/cgroup/memory.max")
"""What a container may use, where one runs."""
TOKEN, SLOT, CELL = 14, 2, 10
"""At the peak of a step so many numbers are held for each number of all tokens, of a ring's slots
and of a frame: fitted from above to what torch allocates, see tests/test_bench_memory.py."""


def row_bytes(card: Card, levels: int, frames: int = 1) -> int:
    """Estimate what a row of a batch needs.

    Args:
        card: the world's.
        levels: context levels, each with rings of its own.
        frames: passed through the network together; more than one have no need of a ring.
    """
    model = card.model
    rings = sum(
        tensor.numel() * tensor.element_size()
        for ring in build_empty(card).empty_rings(1, torch.device("meta"))
        for tensor in ring
    )
    cells = card.frames.height * card.frames.width
    channels = (len(card.frames.palette) or 3) * (frames + model.mixture - 1)  # of the last alone
    tokens = cells // model.patch**2 * model.dim
    attended = SLOT * (model.window + 1) * tokens if frames == 1 else 0
    return levels * rings + 4 * (frames * (TOKEN * tokens + attended) + CELL * cells * channels)


def available_bytes(device: torch.device) -> int:
    """What is free on a device now; on the CPU no more than the container's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    page = os.sysconf("SC_PAGE_SIZE")
    # Not every system says how many pages are free.
    name = next(n for n in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES") if n in os.sysconf_names)
    free = page * os.sysconf(name)
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():  # here caches count as free, which they are
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].split()[0])
    if LIMIT.is_file() and (limit := LIMIT.read_text().strip()) != "max":
        free = min(free, int(limit))
    return free


def check(card: Card, batch: int, levels: int, device: torch.device, frames: int = 1) -> None:
    """Refuse a batch that does not fit; the message names the largest that would.

    Raises:
        ConfigError: `batch` rows of `row_bytes` and the weights need more than is available.
    """
    free = available_bytes(device)
    weights = 4 * sum(math.prod(shape) for shape in weight_shapes(card).values())
    row = row_bytes(card, levels, frames)
    largest = max(0, (free - weights) // row)
    if batch > largest:
        fix = f"the largest batch that would fit is {largest}"
        if largest == 0:
            fix = "not even a batch of 1 would fit: make dim, depth or window smaller"
        raise ConfigError(
            f"a batch of {batch} needs about {(weights + batch * row) / 2**30:.3g} GiB and "
            f"{device} has {free / 2**30:.3g} GiB free; {fix}"
        )
