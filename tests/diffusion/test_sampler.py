"""The sampler against closed forms: Gaussian data, two modes, a point; and the levels it visits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfgym.diffusion.draws import Draws
from dfgym.diffusion.levels import (
    Stops,
    context_levels,
    denoising_levels,
    shifted,
    target_levels,
)
from dfgym.diffusion.path import interpolate
from dfgym.diffusion.sampler import sample

NOISE = torch.randn(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gaussian(mean: float, std: float) -> Callable[[Tensor, float, int], Tensor]:
    """E[x | x_tau] for x ~ N(mean, std^2) on the path x_tau = tau x + (1 - tau) eps."""

    def denoise(x: Tensor, tau: float, i: int) -> Tensor:
        gain = tau * std**2 / (tau**2 * std**2 + (1 - tau) ** 2)
        return mean + gain * (x - tau * mean)

    return denoise


def coin(rare: float, distance: float = 4.0) -> Callable[[Tensor, float, int], Tensor]:
    """E[x | x_tau] for x = distance with probability `rare`, else 0."""

    def denoise(x: Tensor, tau: float, i: int) -> Tensor:
        s = tau * distance
        odds = (2 * s * x - s**2) / (2 * (1 - tau) ** 2) + math.log(rare / (1 - rare))
        return distance * odds.sigmoid()

    return denoise


def test_gaussian_data_the_flow_map_is_affine_and_the_order_is_two() -> None:
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    exact = 0.7 + 0.5 * noise  # the flow carries the quantiles of N(0, 1) to those of N(0.7, 0.25)
    errors = []
    for steps in (8, 16, 32, 64, 128, 256):
        x = sample(gaussian(0.7, 0.5), noise, denoising_levels(steps, 1.0))
        errors.append((x - exact).abs().max().item())
    order = math.log2(errors[-2] / errors[-1])
    assert errors[-1] < 3e-4
    assert 1.8 < order < 2.2


def test_the_first_estimate_is_the_mean_and_a_point_is_reached_in_one_step() -> None:
    estimates = []

    def denoise(x: Tensor, tau: float, i: int) -> Tensor:
        estimates.append(gaussian(0.3, 0.5)(x, tau, i))
        return estimates[-1]

    sample(denoise, NOISE[:5], denoising_levels(4, 2.0))
    assert len(estimates) == 4
    assert torch.allclose(estimates[0], torch.full_like(estimates[0], 0.3))
    x = sample(gaussian(0.3, 0.0), NOISE[:5], denoising_levels(1, 1.0))
    assert torch.allclose(x, torch.full_like(x, 0.3))


@pytest.mark.parametrize("rare", [0.01, 0.1, 0.3])
def test_many_steps_give_each_mode_its_share(rare: float) -> None:
    x = sample(coin(rare), NOISE, denoising_levels(64, 2.0))
    tolerance = 5 * math.sqrt(rare * (1 - rare) / len(NOISE)) + 0.01 * rare
    assert abs((x > 2).double().mean() - rare) < tolerance
    assert ((x > 0.4) & (x < 3.6)).double().mean() < 1e-4


def test_few_steps_keep_most_of_a_rare_mode_where_euler_loses_it() -> None:
    def euler(steps: int) -> float:
        x, levels = NOISE, [*denoising_levels(steps, 2.0), 1.0]
        for tau, after in itertools.pairwise(levels):
            x = x + (after - tau) * (coin(0.1)(x, tau, 0) - x) / (1 - tau)
        return (x > 2).double().mean().item()

    ours = {n: (sample(coin(0.1), NOISE, denoising_levels(n, 2.0)) > 2) for n in (2, 3, 4)}
    assert {n: round(x.double().mean().item(), 2) for n, x in ours.items()} == {
        2: 0.10,
        3: 0.09,
        4: 0.10,
    }
    assert euler(3) < 0.06 and euler(4) < 0.07


def test_draws_of_what_is_possible_keep_each_modes_share_in_any_steps() -> None:
    chance = torch.Generator().manual_seed(1)

    def draw(x: Tensor, tau: float, i: int) -> Tensor:
        odds = coin(0.1)(x, tau, i) / 4
        return 4.0 * (torch.rand(x.shape, generator=chance, dtype=x.dtype) < odds)

    for levels in ([0.0], [0.0, 0.5], [0.0, 0.2, 0.9], denoising_levels(8, 1.0)):
        x = sample(draw, NOISE, levels, first_order=True)
        assert abs((x > 2).double().mean() - 0.1) < 5 * math.sqrt(0.1 * 0.9 / len(NOISE))
        assert ((x == 0) | (x == 4)).all()


def test_golden_values() -> None:
    x = sample(coin(0.3, 2.0), torch.tensor([-1.0, 0.0, 1.0]), denoising_levels(4, 1.5))
    torch.testing.assert_close(x, torch.tensor([-0.155139, -0.549162, 3.024161]), rtol=0, atol=1e-5)


@given(st.integers(1, 64), st.floats(0.1, 10))
def test_levels_rise_from_pure_noise_and_stay_below_clean(steps: int, shift: float) -> None:
    levels = denoising_levels(steps, shift)
    assert len(levels) == steps and levels[0] == 0 and levels[-1] < 1
    assert all(a < b for a, b in itertools.pairwise(levels))


def test_shift_leaves_the_ends_and_leans_to_noise() -> None:
    u = torch.tensor([0.0, 0.5, 1.0])
    assert shifted(u, 3.0).tolist() == [0.0, 0.25, 1.0]


def test_training_levels_are_independent_and_spread_as_documented() -> None:
    draws = Draws([0])
    target = target_levels((4000, 16), 2.0, draws)
    assert abs((target == 0).double().mean() - 0.1) < 0.01
    moving = target[target > 0]
    expected = shifted(torch.linspace(0, 1, 101)[1:-1], 2.0)
    result = torch.quantile(moving[:100_000], torch.linspace(0, 1, 101)[1:-1])
    assert (result - expected).abs().max() < 0.01
    context = context_levels((4000, 16), draws)
    assert abs((context == 1).double().mean() - 0.6) < 0.01
    assert abs((context < 0.7).double().mean() - 0.07) < 0.01
    for levels in (target, context):
        centred = levels - levels.mean()
        neighbours = (centred[:, 1:] * centred[:, :-1]).mean() / centred.square().mean()
        assert abs(neighbours) < 0.02


def test_what_one_denoising_step_meets_can_be_learned_more_often() -> None:
    """Pure noise after a clean past: all that such a sampler ever sees."""
    draws = Draws([0])
    target = target_levels((4000, 16), 1.0, draws, noise_share=0.75)
    assert abs((target == 0).double().mean() - 0.75) < 0.01
    context = context_levels((4000, 16), draws, clean_share=0.75)
    whole = (context == 1).all(1)
    assert abs(whole.double().mean() - 0.75) < 0.03  # by chance 0.6 ** 16 are
    assert abs((context[~whole] == 1).double().mean() - 0.6) < 0.02


def test_the_levels_of_a_sampler_of_few_steps_can_be_learned_more_often() -> None:
    levels = denoising_levels(3, 2.0)
    draws = Draws([0])
    target = target_levels((4000, 16), 1.0, draws, noise_share=0, stops=Stops(levels, 0.9))
    for level in levels:
        assert abs(torch.isclose(target, torch.tensor(level)).double().mean() - 0.3) < 0.01
    rest = target[~torch.isclose(target[..., None], torch.tensor(levels)).any(-1)]
    assert abs(rest.mean() - 0.5) < 0.02, "the others lie anywhere"
    plain, none = (
        target_levels((4, 4), 1.0, Draws([0]), stops=stops) for stops in (None, Stops(levels, 0.0))
    )
    assert torch.equal(plain, none)


def test_path_ends_at_noise_and_at_the_frame() -> None:
    clean, noise = torch.randn(2, 3, 4, 4, 1), torch.randn(2, 3, 4, 4, 1)
    tau = torch.tensor([[0.0, 1.0, 0.25], [1.0, 0.0, 0.5]])
    x = interpolate(clean, noise, tau)
    assert torch.equal(x[0, 0], noise[0, 0]) and torch.equal(x[0, 1], clean[0, 1])
    torch.testing.assert_close(x[1, 2], (clean[1, 2] + noise[1, 2]) / 2)


@pytest.mark.parametrize(("steps", "undecided"), [(1, 1.0), (2, 0.03), (3, 0.005), (4, 0.0)])
def test_steps_decide_what_a_mixture_cannot_tell_apart(steps: int, undecided: float) -> None:
    """A row of Freeway after a crossing: a trail left or right of the car, in one of five colours.

    Eight such rows have 10^8 outcomes. From noise alone the likeliest colour of both cells is none.
    """
    trails = -torch.ones(10, 2, 6, dtype=torch.float64)  # one-hot: no trail, then five colours
    for row, (side, colour) in enumerate(itertools.product((0, 1), range(1, 6))):
        trails[row, side, colour] = trails[row, 1 - side, 0] = 1
    outcomes = trails.flatten(1)

    def denoise(x: Tensor, tau: float, i: int) -> Tensor:
        distance = (x[:, None] - tau * outcomes).square().sum(-1)
        return (-distance / (2 * (1 - tau) ** 2)).softmax(-1) @ outcomes

    noise = torch.randn(4000, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = sample(denoise, noise, denoising_levels(steps, 1.0)).unflatten(1, (2, 6))
    cells = x.argmax(-1)
    assert abs(((cells > 0).sum(1) != 1).double().mean() - undecided) < 0.01
    counts = torch.bincount(cells.amax(1), minlength=6)[1:].double()
    assert undecided == 1.0 or (counts / counts.sum() - 0.2).abs().max() < 0.03
