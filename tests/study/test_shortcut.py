"""Shortcut forcing: a long jump lands where short ones do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfgym.diffusion.forcing import Forced, bootstrap, force
from dfgym.diffusion.levels import denoising_levels
from dfgym.diffusion.sampler import sample
from dfgym.diffusion.shortcut import draw_jumps, join, jump_of, span, toward
from dfgym.errors import WorldError
from dfgym.model import build
from dfgym.train.loss import losses
from dfgym.world.bundle import Starts, World
from dfgym.world.card import Sampler
from dfgym.world.dynamics import Dynamics
from dfgym.world.sampling import choose_sampling
from toys.world import toy_card, toy_weights

FINEST = 16
MEAN, STD = 0.3, 0.5


def exact(x: Tensor, tau: Tensor) -> Tensor:
    """The expected clean x of Gaussian data."""
    tau = tau[..., None, None, None]
    gain = tau * STD**2 / ((tau * STD) ** 2 + (1 - tau) ** 2)
    return MEAN + gain * (x - tau * MEAN)


def ideal(x: Tensor, tau: Tensor, jump: int) -> Tensor:
    """What a network would estimate that has learned all jumps without error."""
    if not jump:
        return exact(x, tau)
    half = span(torch.full_like(tau, jump), FINEST) / 2
    first = ideal(x, tau, jump - 1)
    second = ideal(toward(x, first, tau, half), tau + half, jump - 1)
    return join(first, second, tau, half)


def noise(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(st.integers(0, 5), st.integers(0, 31), st.integers(0, 2**31))
def test_a_joined_jump_leads_where_its_halves_lead(jump: int, place: int, seed: int) -> None:
    length = 2.0**jump / 32
    tau = torch.tensor([[(place % (32 >> jump)) * length]], dtype=torch.float64)
    half = torch.full_like(tau, length / 2)
    generator = torch.Generator().manual_seed(seed)
    x, first, second = torch.randn(3, 1, 1, 2, 2, 3, generator=generator, dtype=torch.float64)
    there = toward(toward(x, first, tau, half), second, tau + half, half)
    torch.testing.assert_close(toward(x, join(first, second, tau, half), tau, 2 * half), there)
    ones = torch.ones_like(x)
    assert torch.equal(join(ones, ones, tau, half), ones), "probabilities stay probabilities"
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    joined = join(first, second, tau, half)
    assert (joined >= low - 1e-9).all() and (joined <= high + 1e-9).all()


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 16])
def test_few_ideal_jumps_equal_many_small_steps(steps: int) -> None:
    start = noise(2, 3, 2, 2, 3)

    def run(count: int, jump: int) -> Tensor:
        def denoise(x: Tensor, tau: float, i: int) -> Tensor:
            return ideal(x, torch.full((2, 3), tau, dtype=torch.float64), jump)

        return sample(denoise, start, denoising_levels(count, 1.0), straight=True)

    torch.testing.assert_close(run(steps, jump_of(steps, FINEST)), run(FINEST, 0))


def test_the_jump_of_a_number_of_steps() -> None:
    found = [jump_of(steps, FINEST) for steps in (1, 2, 3, 4, 5, 8, 16, 32)]
    assert found == [4, 3, 0, 2, 0, 1, 0, 0]
    assert [jump_of(steps, 0) for steps in (1, 2, 4)] == [0, 0, 0]


def test_jumps_are_drawn_alike_and_stay_on_the_path() -> None:
    tau, jump = draw_jumps((1000, 16), FINEST, torch.Generator().manual_seed(0))
    length = span(jump, FINEST)
    assert jump.unique().tolist() == [1, 2, 3, 4]
    assert (jump.flatten().bincount()[1:] / jump.numel() - 0.25).abs().max() < 0.02
    assert (tau + length).max() == 1 and tau.min() == 0
    assert torch.equal(tau / length, (tau / length).round())
    assert (tau / length)[jump == 2].unique().tolist() == [0, 1, 2, 3]


def test_bootstrapped_goals_are_those_of_two_ideal_halves() -> None:
    b, t = 3, 5
    clean = noise(b, t, 2, 2, 3)
    actions = torch.zeros(b, t, dtype=torch.int64)
    forced = force(
        clean,
        actions,
        torch.zeros(b, t),
        window=2,
        shift=1.0,
        generator=torch.Generator().manual_seed(1),
        shortcut=FINEST,
        jumping=b,
    )

    def estimate(told: Forced) -> Tensor:
        assert torch.equal(told.frames[:, :t], forced.frames[:, :t]), "the past stays"
        found = torch.zeros_like(told.frames)
        for jump in range(4):
            here = told.jump == jump
            found[here] = ideal(told.frames[here], told.tau[here].double(), jump)
        return found

    goal = bootstrap(estimate, forced, FINEST)
    for jump in range(1, 5):
        here = forced.jump[:, t:] == jump
        assert here.any()
        x, tau = forced.frames[:, t:][here], forced.tau[:, t:][here].double()
        torch.testing.assert_close(goal[here], ideal(x, tau, jump))


def test_only_rows_that_jump_learn_from_the_teacher() -> None:
    card = toy_card()
    card = dataclasses.replace(card, model=dataclasses.replace(card.model, shortcut=FINEST))
    network = build(card)
    network.load_state_dict(toy_weights(card))
    clean = torch.nn.functional.one_hot(torch.zeros(4, 3, 8, 8, dtype=torch.int64), 3) * 2.0 - 1
    truth = (torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 3, dtype=torch.bool))
    valid = torch.ones(4, 3, dtype=torch.bool)

    def loss(teacher: float, jumping: int) -> Tensor:
        forced = force(
            clean,
            truth[0],
            torch.zeros(4, 3),
            window=2,
            shift=1.0,
            generator=torch.Generator().manual_seed(0),
            shortcut=FINEST,
            jumping=jumping,
        )
        other = build(card)
        other.load_state_dict({name: teacher * w for name, w in toy_weights(card).items()})
        found = losses(
            network,
            forced,
            clean,
            *truth,
            valid,
            jumping,
            categorical=True,
            teacher=other,
            shortcut=FINEST,
        )
        return found.frame

    assert loss(1.0, 0) == loss(0.5, 0)
    assert loss(1.0, 2) != loss(0.5, 2)
    network.zero_grad()
    loss(1.0, 2).backward()
    assert network.embed_jump.grad is not None and network.embed_jump.grad.abs().sum() > 0
    network.zero_grad()
    loss(1.0, 0).backward()
    assert not network.embed_jump.grad.any(), "an untrained jump is told apart by nothing"


def test_a_world_is_told_its_jumps_where_the_steps_fit() -> None:
    card = toy_card()
    card = dataclasses.replace(
        card,
        model=dataclasses.replace(card.model, shortcut=FINEST),
        sampler=dataclasses.replace(card.sampler, shift=1.0),
    )
    weights = toy_weights(card)
    start = np.full((1, card.frames.height, card.frames.width, 3), 0, np.uint8)
    none = np.zeros(0, np.int64)
    starts = Starts(start, np.zeros(1, np.int64), np.array([0, 1]), np.zeros(1, np.int64))

    def frames(steps: int, scale: float) -> np.ndarray:
        changed = {**weights, "embed_jump": scale * weights["embed_jump"]}
        world = World(card, "", Path(), changed, starts)
        run = Dynamics(world, 1, device="cpu", denoising_steps=steps)
        run.reset(np.arange(1), np.arange(1), [(start, none)])
        return np.concatenate([run.step(np.zeros(1, np.int64)).frames for _ in range(8)])

    for steps, jumps in ((1, True), (2, True), (4, True), (8, True), (3, False), (16, False)):
        assert (frames(steps, 0.0) != frames(steps, 9.0)).any() == jumps, steps


def test_jumps_go_over_equal_parts_of_the_path_and_other_steps_where_the_card_says() -> None:
    card = toy_card(sampler=Sampler(4, 2.0, "clean", 0.0))
    card = dataclasses.replace(card, model=dataclasses.replace(card.model, shortcut=FINEST))
    assert choose_sampling(card, None, None, None).levels == [0, 0.25, 0.5, 0.75]
    third = pytest.approx([0, 1 / 5, 1 / 2])  # shifted(1/3, 2), shifted(2/3, 2)
    assert choose_sampling(card, 3, None, None).levels == third
    with pytest.raises(WorldError, match=r"model.shortcut = 6: must be one of"):
        dataclasses.replace(card.model, shortcut=6)
