"""Noise as a function of a row's seed and its own frame count alone.

Counter-based: every number is a hash of (seed, counter, stream, index), so a row draws the same
noise at any batch size and position, a batch of any size costs one vectorised call, and cloning a
generator is copying two integers (Salmon et al. 2011; the mixer is SplitMix64's, Steele et al.
2014).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FRAME, CONTEXT, HEADS, START = range(4)
"""Streams: a frame's noise, the noise its successors see it through, reward and termination, and
the choice of a start."""

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def _signed(value: int) -> int:
    value &= _MASK
    return value - 2**64 if value >= 2**63 else value


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right logically: torch's own shift of int64 carries the sign along."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _hash(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _signed(_MULTIPLIERS[0])
    x = (x ^ _shift(x, 27)) * _signed(_MULTIPLIERS[1])
    return x ^ _shift(x, 31)


def mix(seed: int, counter: int) -> int:
    """Derive a new seed in [0, 2**63) from a seed and a counter, e.g. a row's next episode."""
    z = (seed * _GOLDEN + (counter + 1) * _MULTIPLIERS[0]) & _MASK
    for shift, multiplier in ((30, _MULTIPLIERS[0]), (27, _MULTIPLIERS[1])):
        z = ((z ^ (z >> shift)) * multiplier) & _MASK
    return (z ^ (z >> 31)) >> 1


def _bits(seeds: Tensor, counters: Tensor, stream: int, count: int) -> Tensor:
    key = _hash(seeds + _signed(_GOLDEN) * (counters * 4 + stream + 1))
    index = torch.arange(1, count + 1, device=seeds.device) * _signed(_GOLDEN)
    return _hash(key[:, None] + index)


def uniform(seeds: Tensor, counters: Tensor, stream: int, count: int) -> Tensor:
    """Draw float32 `(b, count)` in [0, 1) for int64 `(b,)` seeds and counters."""
    return _shift(_bits(seeds, counters, stream, count), 40).float() * 2.0**-24


def normal(seeds: Tensor, counters: Tensor, stream: int, count: int) -> Tensor:
    """Draw float32 `(b, count)`, standard normal, for int64 `(b,)` seeds and counters."""
    half = (count + 1) // 2
    bits = _bits(seeds, counters, stream, half)
    radius = (-2 * ((_shift(bits, 40) + 1).float() * 2.0**-24).log()).sqrt()
    angle = (bits & 0xFFFFFF).float() * (2 * math.pi * 2.0**-24)
    return torch.cat((radius * angle.cos(), radius * angle.sin()), 1)[:, :count]
