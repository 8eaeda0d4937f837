"""Shortcut forcing: a long jump lands where short ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfgym.diffusion.draws import Draws
from dfgym.diffusion.levels import denoising_levels
from dfgym.diffusion.sampler import sample
from dfgym.study.blocks import RolloutSpec, StudyModel, block, matrix
from dfgym.study.methods.objectives import Method
from dfgym.study.methods.shortcut import (
    JumpingSequences,
    bootstrap,
    draw_jumps,
    join_halves,
    jump_of,
    move_toward,
    span,
)
from dfgym.train.batches import Batch
from dfgym.train.config import TrainConfig
from dfgym.world.bundle import World
from dfgym.world.card import Card, Sampler
from toys.world import toy_card, toy_starts, toy_weights

FINEST: Literal[16] = 16
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
    second = ideal(move_toward(x, first, tau, half), tau + half, jump - 1)
    return join_halves(first, second, tau, half)


def draw(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(st.integers(0, 5), st.integers(0, 31), st.integers(0, 2**31))
def test_a_joined_jump_leads_where_its_halves_lead(jump: int, place: int, seed: int) -> None:
    length = 2.0**jump / 32
    tau = torch.tensor([[(place % (32 >> jump)) * length]], dtype=torch.float64)
    half = torch.full_like(tau, length / 2)
    generator = torch.Generator().manual_seed(seed)
    x, first, second = torch.randn(3, 1, 1, 2, 2, 3, generator=generator, dtype=torch.float64)
    there = move_toward(move_toward(x, first, tau, half), second, tau + half, half)
    torch.testing.assert_close(
        move_toward(x, join_halves(first, second, tau, half), tau, 2 * half), there
    )
    ones = torch.ones_like(x)
    assert torch.equal(join_halves(ones, ones, tau, half), ones), "probabilities stay probabilities"
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    joined = join_halves(first, second, tau, half)
    assert (joined >= low - 1e-9).all() and (joined <= high + 1e-9).all()


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 16])
def test_few_ideal_jumps_equal_many_small_steps(steps: int) -> None:
    start = draw(2, 3, 2, 2, 3)

    def run(count: int, jump: int) -> Tensor:
        def denoise(x: Tensor, tau: float, i: int) -> Tensor:
            return ideal(x, torch.full((2, 3), tau, dtype=torch.float64), jump)

        return sample(denoise, start, denoising_levels(count, 1.0), first_order=True)

    torch.testing.assert_close(run(steps, jump_of(steps, FINEST)), run(FINEST, 0))


def test_the_jump_of_a_number_of_steps() -> None:
    result = [jump_of(steps, FINEST) for steps in (1, 2, 3, 4, 5, 8, 16, 32)]
    assert result == [4, 3, 0, 2, 0, 1, 0, 0]
    assert [jump_of(steps, 0) for steps in (1, 2, 4)] == [0, 0, 0]


def test_jumps_are_drawn_alike_and_stay_on_the_path() -> None:
    tau, jump = draw_jumps((1000, 16), FINEST, Draws([0]))
    length = span(jump, FINEST)
    assert jump.unique().tolist() == [1, 2, 3, 4]
    assert (jump.flatten().bincount()[1:] / jump.numel() - 0.25).abs().max() < 0.02
    assert (tau + length).max() == 1 and tau.min() == 0
    assert torch.equal(tau / length, (tau / length).round())
    assert (tau / length)[jump == 2].unique().tolist() == [0, 1, 2, 3]


def noise_batch(clean: Tensor, step: int, method: Method) -> tuple[Batch, JumpingSequences]:
    """A batch of a run whose last 50 steps teach jumps, and the inputs made from it."""
    nothing = torch.zeros(clean.shape[:2], dtype=torch.int64)
    is_valid = torch.ones_like(nothing, dtype=torch.bool)
    batch = Batch(step, "videos", clean, nothing, nothing, nothing, nothing.bool(), is_valid)
    config = TrainConfig(data=(Path("data"),), out=Path("run"), steps=100, image_steps=0)
    noised = method.objective().corrupt(batch, config, Draws([1]))
    assert isinstance(noised, JumpingSequences)
    return batch, noised


def test_bootstrapped_targets_are_those_of_two_ideal_halves() -> None:
    b, t = 12, 5
    clean = draw(b, t, 2, 2, 3)
    _, noised = noise_batch(clean, 50, Method(finest=FINEST))
    assert not noised.jump[3:].any() and not noised.jump[:, :t].any()
    noised = JumpingSequences(*(tensor[:3] for tensor in noised))

    def estimate(inputs: JumpingSequences) -> Tensor:
        assert torch.equal(inputs.frames[:, :t], noised.frames[:, :t]), "the past stays"
        estimates = torch.zeros_like(inputs.frames)
        for jump in range(4):
            here = inputs.jump == jump
            estimates[here] = ideal(inputs.frames[here], inputs.tau[here].double(), jump)
        return estimates

    target = bootstrap(estimate, noised, FINEST)
    for jump in range(1, 5):
        here = noised.jump[:, t:] == jump
        if here.any():
            x, tau = noised.frames[:, t:][here], noised.tau[:, t:][here].double()
            torch.testing.assert_close(target[here], ideal(x, tau, jump))


def jumping_weights(card: Card) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    jumps = 0.2 * torch.randn(FINEST.bit_length() - 1, card.model.dim, generator=generator)
    return {f"network.{k}": v for k, v in toy_weights(card).items()} | {"embed_jump": jumps}


def test_only_rows_that_jump_learn_from_the_averaged_network() -> None:
    card, method = toy_card(), Method(finest=FINEST)
    network = method.build(card.model, card.game_spec)
    network.load_state_dict(jumping_weights(card))
    clean = torch.nn.functional.one_hot(torch.zeros(4, 3, 8, 8, dtype=torch.int64), 3) * 2.0 - 1

    def loss(scale: float, step: int) -> Tensor:
        batch, noised = noise_batch(clean, step, method)
        average = method.build(card.model, card.game_spec)
        average.load_state_dict({k: scale * w for k, w in jumping_weights(card).items()})
        return method.objective().loss(network, noised, batch, average).frame

    assert loss(1.0, 49) == loss(0.5, 49), "nobody jumps yet"
    assert loss(1.0, 50) != loss(0.5, 50)
    jumps = network.get_parameter("embed_jump")
    network.zero_grad()
    loss(1.0, 50).backward()
    assert jumps.grad is not None and jumps.grad.abs().sum() > 0
    network.zero_grad()
    loss(1.0, 49).backward()
    assert jumps.grad is None or not jumps.grad.any(), "a jump that is not trained adds nothing"


def jumping_model(scale: float = 1.0, shift: float = 1.0) -> StudyModel:
    card, method = toy_card(sampler=Sampler(4, shift, "clean", 0.0)), Method(finest=FINEST)
    weights = jumping_weights(card)
    weights["embed_jump"] = scale * weights["embed_jump"]
    return StudyModel(World(card, "", Path(), weights, toy_starts(card)), method)


@torch.inference_mode()
def test_a_dream_conditions_on_its_jumps_where_the_steps_fit() -> None:
    def frames(steps: int, scale: float) -> Tensor:
        model = jumping_model(scale)
        clean = draw(8, 2, 8, 8, 3).float()
        actions = torch.zeros(1, 8, 3, dtype=torch.int64)
        keys = torch.arange(8)
        return block(model, RolloutSpec(steps=steps), clean, actions, keys, torch.zeros_like(keys))

    for steps, jumps in ((1, True), (2, True), (4, True), (8, True), (3, False), (16, False)):
        assert (frames(steps, 0.0) != frames(steps, 9.0)).any() == jumps, steps


def test_jumps_go_over_equal_parts_of_the_path_and_other_steps_where_the_card_says() -> None:
    def path(steps: int) -> list[float]:
        return matrix(jumping_model(shift=2.0), RolloutSpec(steps=steps), 1).levels[:, 1].tolist()

    assert path(4) == [0, 0.25, 0.5, 0.75, 1]
    assert path(3) == pytest.approx([0, 1 / 5, 1 / 2, 1])  # shifted(1/3, 2), shifted(2/3, 2)
