"""What estimates promise, against enumeration and a chain whose tilted mean is known."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.model.transformer import FramePrediction
from dfgym.planning.guidance import Guidance, GuidedDream
from dfgym.planning.reward import gradient_bytes, log_tilt, look_ahead
from dfgym.world import runtime
from dfgym.world.bundle import Starts, World
from dfgym.world.card import Episode, Frames, Sampler
from dfgym.world.conditions import Conditioner
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from toys.memory import peak
from toys.world import toy_card, toy_starts, toy_weights

ROWS = 3


def toy(depth: int = 2, **changes: Any) -> World:
    card = toy_card(
        model=ModelConfig(16, depth, 1, patch=2, window=3),
        sampler=Sampler(denoising_steps=4, shift=1.0, context_mode="clean", context_noise=0.0),
        **changes,
    )
    return World(card, "", Path(), toy_weights(card), toy_starts(card))


def begin(dream: GuidedDream | Dynamics, world: World, rows: int = ROWS) -> None:
    frames, actions = world.starts.episode(0)
    dream.reset(np.arange(rows), np.arange(rows), [(frames[:3], actions[:2])] * rows)


@pytest.mark.parametrize("survival", [0.0, 1.5])
def test_the_tilt_is_the_mean_over_all_that_may_be_drawn(survival: float) -> None:
    """Of two estimates with three futures of two frames: every reward and end, by enumeration."""
    random = torch.Generator().manual_seed(0)
    weight, values, futures = 1.3, torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64), 3

    def draw(count: int) -> tuple[Tensor, Tensor]:
        shape = {"generator": random, "dtype": torch.float64}
        return 2 * torch.randn(count, 3, **shape), 2 * torch.randn(count, **shape)  # type: ignore[call-overload]

    heads = [draw(2), draw(2 * futures), draw(2 * futures)]
    expected = torch.zeros(2, dtype=torch.float64)
    for estimate, future in itertools.product(range(2), range(futures)):
        rows = [estimate, *[estimate * futures + future] * 2]
        rewards = [h[0][row].softmax(-1) for h, row in zip(heads, rows, strict=True)]
        ends = [h[1][row].sigmoid() for h, row in zip(heads, rows, strict=True)]
        for buckets in itertools.product(range(3), repeat=3):
            for last in range(4):  # the frame that ends the game; 3: none does
                chance = torch.ones((), dtype=torch.float64)
                for i in range(min(last + 1, 3)):
                    chance = chance * (ends[i] if i == last else 1 - ends[i])
                for i in range(3):  # rewards behind the end are drawn too, and do not count
                    chance = chance * rewards[i][buckets[i]]
                total = values[list(buckets[: last + 1])].sum() + survival * (last == 3)
                expected[estimate] += chance * torch.exp(weight * total) / futures
    assert torch.allclose(log_tilt(heads, values, weight, survival).exp(), expected, rtol=1e-12)


def test_a_small_weight_counts_what_is_expected() -> None:
    """The tilt's slope at weight 0 is the mean over futures of the expected reward."""
    heads = [(torch.tensor([[0.3, 0.7]]).log(), torch.tensor([0.0]))]
    heads += [(torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log(), torch.tensor([-50.0, -50.0]))]
    values = torch.tensor([0.0, 1.0])
    small = log_tilt(heads, values, 1e-3, 2.0) / 1e-3
    assert small.item() == pytest.approx(0.7 + 0.5 * (0.3 + 2.0), abs=2e-3)


RHO, STD, SLOPE, SIDE = 0.8, 0.25, 2.0, 4


class Chain:
    """Stands in for a network: each pixel an AR(1) chain, one pixel's logit the chance of reward.

    Its estimates are exact, and its cache holds the last frame.
    """

    def empty_cache(self, rows: int, device: torch.device) -> list[tuple[Tensor]]:
        return [(torch.zeros(rows, 2, SIDE, SIDE, 3),)]

    def conditioning(self, tau: float) -> float:
        return tau

    def cache_position(self, time: Tensor) -> Tensor:
        return time

    def look(self, tau: float, actions: Tensor, time: Tensor, cache: Any) -> tuple[Tensor, Tensor]:
        return time, time

    def step(self, frames: Tensor, tau: float, actions: Tensor, time: Tensor, cache: Any) -> Tensor:
        ((past,),) = cache
        rows, variance = torch.arange(len(frames)), STD**2 * (1 - RHO**2)
        mean = RHO * past[rows, (time + 1) % 2]
        past[rows, time % 2] = frames
        gain = tau * variance / (tau**2 * variance + (1 - tau) ** 2)
        return mean + gain * (frames - tau * mean)

    def predict_frame(self, estimate: Tensor) -> FramePrediction:
        return FramePrediction(estimate[:, None], torch.zeros(len(estimate), 1), categorical=False)

    def predict_transition(self, estimate: Tensor) -> tuple[Tensor, Tensor]:
        chance = SLOPE * estimate[:, 0, 0, 0]
        reward = torch.stack((torch.zeros_like(chance), chance), 1)
        return reward, torch.full_like(chance, -50.0)


def tilted_mean(weight: float, horizon: int) -> float:
    """The mean of the chain's next value after 0, tilted by exp(weight R), by quadrature."""
    x = np.linspace(-2, 2, 801)
    deviation = STD * math.sqrt(1 - RHO**2)

    def chances(mean: Any) -> np.ndarray:
        density = np.exp(-0.5 * ((x - mean) / deviation) ** 2)
        return np.asarray(density / density.sum(-1, keepdims=True))

    pay = 1 / (1 + np.exp(-SLOPE * x))
    own = 1 - pay + pay * math.exp(weight)
    value = own
    for _ in range(horizon):
        value = own * (chances(RHO * x[:, None]) @ value)
    density = chances(0.0) * value
    return float(density @ x / density.sum())


@pytest.mark.parametrize(("futures", "horizon"), [(0, 1), (1, 1), (2, 2)])
def test_a_dream_is_pulled_to_the_tilted_mean(
    monkeypatch: pytest.MonkeyPatch, futures: int, horizon: int
) -> None:
    """The first pixel moves as far as the oracle says, against the same noise, and no other."""
    rows, weight, steps = 64, 3.0, 24
    card = toy_card(
        frames=Frames(SIDE, SIDE, 1, 15, ()),
        sampler=Sampler(steps, 0.15, "clean", 0.0),
    )
    monkeypatch.setattr(runtime, "load_network", lambda world, device: Chain())
    nothing = np.zeros(0, np.int64)
    starts = Starts(np.zeros((0, SIDE, SIDE, 3), np.uint8), nothing, np.zeros(1, np.int64), nothing)
    world, grey = World(card, "", Path(), {}, starts), np.full((1, SIDE, SIDE, 3), 128, np.uint8)
    frames = []
    for strength in (1e-9, weight):
        guidance = Guidance(reward=strength, futures=futures, horizon=horizon)
        dream = GuidedDream(world, rows, guidance, Settings("cpu"))
        dream.reset(np.arange(rows), np.arange(rows), [(grey, nothing)] * rows)
        frames.append(dream.step(np.zeros(rows, np.int64)).frames / 127.5)
    moved = frames[1] - frames[0]
    expected = tilted_mean(weight, horizon if futures else 0)
    assert moved[:, 0, 0, 0].mean() == pytest.approx(expected, rel=0.01)
    assert (moved[:, 1:] == 0).all()


def test_the_gradient_comes_through_the_futures() -> None:
    """In a network with random weights, against differences; no row moves meanwhile."""
    world = toy()
    dynamics = Dynamics(world, ROWS, Settings("cpu"))
    begin(dynamics, world)
    before = dynamics.get_state(np.arange(ROWS))
    with torch.no_grad():
        levels = {*dynamics.levels, 1.0}
        condition = Conditioner(dynamics.network, world.card.actions, levels, dynamics.device)
    conditions, values = condition(np.arange(ROWS)), torch.tensor([0.0, 1.0])

    def energy(clean: Tensor) -> Tensor:
        heads = look_ahead(dynamics, condition, (clean, conditions), 2, 3)
        assert [len(end) for _, end in heads] == [ROWS, *[2 * ROWS] * 3]
        return log_tilt(heads, values, 4.0, 1.0)

    clean = torch.randn(ROWS, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    clean.requires_grad_()
    (slope,) = torch.autograd.grad(energy(clean).sum(), clean)
    step = 0.02 * slope / slope.norm()
    with torch.no_grad():
        change = energy(clean + step) - energy(clean - step)
    assert change.sum().item() == pytest.approx(2 * (slope * step).sum().item(), rel=0.02)
    for name, value in dynamics.get_state(np.arange(ROWS)).items():
        assert np.array_equal(value, before[name]), name


@pytest.mark.parametrize("futures", [0, 2])
def test_a_row_is_a_function_of_its_seed_and_actions(futures: int) -> None:
    """Whatever the number of rows, and however often; and another one without guidance."""
    world, frames = toy(), []
    world.weights["head_out.weight"] *= 10  # else nothing is worth a colour
    for rows, weight in ((ROWS, 50.0), (ROWS, 50.0), (1, 50.0), (1, 1e-6)):
        guidance = Guidance(reward=weight, futures=futures, horizon=2 if futures else 1)
        dream = GuidedDream(world, rows, guidance, Settings("cpu"))
        begin(dream, world, rows)
        frames.append([dream.step(np.full(rows, action)).frames[0] for action in range(3)])
    assert np.array_equal(frames[0], frames[1]) and np.array_equal(frames[0], frames[2])
    assert not np.array_equal(frames[0], frames[3])


def test_futures_that_mean_nothing_are_refused() -> None:
    def refused(text: str, world: World, **changes: Any) -> None:
        with pytest.raises(ConfigError, match=text):
            GuidedDream(world, ROWS, Guidance(reward=1.0, **changes), Settings("cpu"))

    refused("horizon is 101, and an episode .* has 100 steps", toy(), futures=1, horizon=101)
    refused("has 3 steps", toy(episode=Episode(max_steps=3)), futures=1, horizon=4)
    refused(r"3 rows with 10000000 futures of 100 frames need about .* GiB .* fewer futures",
            toy(), futures=10**7, horizon=100)  # fmt: skip


@pytest.mark.parametrize("depth", [1, 3])
def test_the_estimate_covers_what_a_gradient_holds(depth: int) -> None:
    world = toy(depth=depth)
    dream = GuidedDream(world, 4, Guidance(reward=1.0, futures=2, horizon=3), Settings("cpu"))
    begin(dream, world, 4)
    height = peak(lambda: dream.step(np.zeros(4, np.int64)))
    assert height < gradient_bytes(dream.dynamics, 2, 3) < 3 * height
