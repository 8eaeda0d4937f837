"""A row's noise is a function of its seed and its frame count alone, and it is standard normal."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from dfgym.diffusion import noise

INT63 = st.integers(0, 2**63 - 1)


def rows(*pairs: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    seeds, counters = zip(*pairs, strict=True)
    return torch.tensor(seeds), torch.tensor(counters)


@given(st.lists(st.tuples(INT63, INT63), min_size=1, max_size=9), st.integers(0, 3), st.data())
def test_a_row_draws_the_same_in_any_company(
    pairs: list[tuple[int, int]], stream: int, data: st.DataObject
) -> None:
    values = noise.normal(*rows(*pairs), stream, 31)
    i = data.draw(st.integers(0, len(pairs) - 1))
    alone = noise.normal(*rows(pairs[i]), stream, 31)
    torch.testing.assert_close(values[i : i + 1], alone, rtol=0, atol=1e-6)
    assert torch.equal(
        noise.uniform(*rows(*pairs), stream, 31)[i : i + 1],
        noise.uniform(*rows(pairs[i]), stream, 31),
    )


def test_standard_normal_and_uncorrelated_over_seeds_counters_and_streams() -> None:
    seeds, counters = torch.arange(400), torch.arange(400) // 2
    x = noise.normal(seeds, counters, noise.FRAME, 1000)
    n = x.numel()
    assert abs(x.mean()) < 5 / math.sqrt(n)
    assert abs(x.square().mean() - 1) < 5 * math.sqrt(2 / n)
    assert abs((x**3).mean()) < 5 * math.sqrt(15 / n)
    assert abs((x**4).mean() - 3) < 5 * math.sqrt(96 / n)
    others = (
        noise.normal(seeds + 1, counters, noise.FRAME, 1000),
        noise.normal(seeds, counters + 1, noise.FRAME, 1000),
        noise.normal(seeds, counters, noise.CONTEXT, 1000),
        x.roll(1, 1),
        x.roll(500, 1),
    )
    for other in others:
        assert abs((x * other).mean()) < 5 / math.sqrt(n)


def test_uniform_is_uniform() -> None:
    u = noise.uniform(torch.arange(500), torch.zeros(500, dtype=torch.int64), noise.HEADS, 400)
    assert 0 <= u.min() and u.max() < 1
    counts = torch.histc(u, 20, 0, 1)
    chi_square = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_square < 50  # 19 degrees of freedom: 50 has a chance of 1e-4


def test_no_global_generator_is_touched() -> None:
    before = torch.get_rng_state()
    noise.normal(*rows((1, 2)), noise.FRAME, 8)
    noise.mix(1, 2)
    assert torch.equal(before, torch.get_rng_state())


@given(INT63, st.integers(0, 10**6))
def test_mixed_seeds_fit_in_int64_and_differ(seed: int, counter: int) -> None:
    mixed = noise.mix(seed, counter)
    assert 0 <= mixed < 2**63
    assert mixed != noise.mix(seed, counter + 1)
    assert mixed != noise.mix((seed + 1) % 2**63, counter)
