"""Context modes against a world whose every answer is known: frames whose pixels are AR(1) chains.

The exact denoiser of the chain stands in the network's place; sampler, levels, context plan, noise,
codec and the batched state machine are those that run in production. What is told to the denoiser
and what is done to the frames decide, in closed form, the variance and the lag-1 correlation that
a long dream must have, for the right pairings and for the wrong ones.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import toy_card
from torch import Tensor

from dfgym.diffusion.context import CONTEXT_MODES, ContextPlan, plan_context
from dfgym.diffusion.levels import denoising_levels
from dfgym.errors import ConfigError
from dfgym.world import dynamics as module
from dfgym.world.bundle import Starts, World
from dfgym.world.card import Frames
from dfgym.world.dynamics import Dynamics
from dfgym.world.sampling import Sampling

RHO = 0.9
STD = 0.22  # of a pixel in [-1, 1]: four and a half sigma fit
WINDOW = 4
SIDE = 16
SHIFT = 0.15  # such narrow distributions are decided near the clean end


def regression(told: list[float], tau: float) -> tuple[np.ndarray, float]:
    """Weights of E[x_n | y] and Var[x_n | y], y = past frames at `told` levels and x_n at `tau`."""
    levels = np.array([*told, tau])
    index = np.arange(len(levels))
    chain = STD**2 * RHO ** np.abs(index[:, None] - index)
    signal = levels[:, None] * chain * levels + np.diag((1 - levels) ** 2)
    cross = chain[-1] * levels
    weights = np.linalg.lstsq(signal, cross, rcond=None)[0]
    return weights, float(chain[-1, -1] - weights @ cross)


def predicted(applied: float, told: float) -> tuple[float, float]:
    """Variance (of the chain's own) and lag-1 correlation of a dream with such a context.

    A generated frame is `a . y + sqrt(v) w`, with `a`, `v` of the told levels and y really at the
    applied one, its noise frozen. So frames are a linear recursion of order WINDOW; its stationary
    covariance is summed up from its impulse response.
    """
    weights, variance = regression([told] * WINDOW, 0.0)
    a = weights[:-1][::-1]  # nearest frame first
    response = [1.0]
    for _ in range(2000):
        past = response[::-1][:WINDOW]
        response.append(applied * float(np.dot(a[: len(past)], past)))
    h = np.array(response)
    # Driving noise: w of the frame itself, and the context noise of the frame when it is looked
    # at later: (1 - applied) * eps enters through a_k at lag k, like x does but without `applied`.
    later = h[1:] / applied * (1 - applied)
    var = variance * h @ h + later @ later
    lag = variance * h[1:] @ h[:-1] + later[1:] @ later[:-1]
    return var / STD**2, lag / var


class Exact:
    """Stands in for a `Transformer`; its rings keep frames and levels instead of keys."""

    def __init__(self) -> None:
        self.cache: dict[tuple[float, ...], np.ndarray] = {}

    def empty_rings(self, rows: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
        slots = WINDOW + 1
        return [(torch.zeros(rows, slots, SIDE, SIDE, 3), torch.zeros(rows, slots))]

    def told(self, tau: float, jump: int) -> float:
        return tau

    def now(self, time: Tensor) -> int:
        return int(time[0])

    def step(
        self,
        frames: Tensor,
        tau: float,
        actions: Tensor,
        now: int,
        rings: list[tuple[Tensor, Tensor]],
    ) -> Tensor:
        ((shown, told),) = rings
        slots = WINDOW + 1
        shown[:, now % slots], told[:, now % slots] = frames, tau
        order = [t % slots for t in range(max(0, now - WINDOW), now + 1)]
        key = tuple(told[0, order].tolist())
        if key not in self.cache:
            self.cache[key] = regression(list(key[:-1]), key[-1])[0]
        weights = torch.from_numpy(self.cache[key]).float()
        return torch.einsum("bthwc,t->bhwc", shown[:, order], weights)

    def picture(self, estimate: Tensor) -> tuple[Tensor, Tensor]:
        return estimate, estimate

    def outcome(self, estimate: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(estimate), 2), torch.full((len(estimate),), -50.0)


def dream(
    monkeypatch: pytest.MonkeyPatch, plan: ContextPlan, denoising_steps: int
) -> tuple[float, float]:
    """Variance (of the chain's own) and lag-1 correlation of a long dream."""
    card = toy_card(frames=Frames(SIDE, SIDE, 1, 15, ()))
    card = dataclasses.replace(card, model=dataclasses.replace(card.model, window=WINDOW))
    nothing = np.zeros(0, np.int64)
    starts = Starts(np.zeros((0, SIDE, SIDE, 3), np.uint8), nothing, np.zeros(1, np.int64), nothing)
    exact = Exact()
    monkeypatch.setattr(module, "_network", lambda world, device: exact)
    levels = denoising_levels(denoising_steps, SHIFT)
    monkeypatch.setattr(module, "choose_sampling", lambda *_: Sampling(levels, plan, 0))
    world = World(card, "", Path(), {}, starts)
    rows = np.arange(2)
    run = Dynamics(world, 2, device="cpu")
    grey = np.full((1, SIDE, SIDE, 3), 128, np.uint8)
    run.reset(rows, rows, [(grey, nothing)] * 2)
    film = np.stack([run.step(np.zeros(2, np.int64)).frames for _ in range(150)])[40:]
    x = (film.astype(np.float64) - 127.5) / 127.5
    var = (x**2).mean()
    return var / STD**2, (x[1:] * x[:-1]).mean() / var


@pytest.mark.parametrize(
    ("mode", "noise"),
    [("clean", 0.0), ("noised", 0.1), ("noised", 0.3), ("told_noisy", 0.1), ("told_noisy", 0.3)],
)
def test_a_dream_has_the_statistics_its_context_mode_predicts(
    monkeypatch: pytest.MonkeyPatch, mode: str, noise: float
) -> None:
    steps = 32
    plan = plan_context(mode, noise, steps)
    ((applied, told),) = plan.levels
    var, lag = dream(monkeypatch, plan, steps)
    expected = predicted(applied, told)
    assert (var, lag) == pytest.approx(expected, abs=0.04)
    if mode == "told_noisy":  # told noisy but clean: detectably wrong
        assert abs(expected[0] - 1) > 0.08 if noise == 0.3 else abs(expected[0] - 1) > 0.01


def test_noised_but_told_clean_gives_the_predicted_wrong_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 32
    var, lag = dream(monkeypatch, ContextPlan(((0.8, 1.0),), (0,) * steps), steps)
    expected = predicted(0.8, 1.0)
    assert abs(expected[0] - 1) > 0.1 or abs(expected[1] - RHO) > 0.05
    assert (var, lag) == pytest.approx(expected, abs=0.06)


def test_clean_context_of_the_exact_denoiser_gives_the_chain_itself() -> None:
    assert predicted(1.0, 1.0) == pytest.approx((1.0, RHO), abs=1e-6)


def test_dynamic_context_loses_less_of_the_chain_than_noised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 12
    noised = dream(monkeypatch, plan_context("noised", 0.3, steps), steps)[1]
    dynamic = dream(monkeypatch, plan_context("dynamic", 0.3, steps), steps)[1]
    assert noised + 0.05 < dynamic < RHO + 0.02


@pytest.mark.parametrize("mode", CONTEXT_MODES)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_plans(mode: str, steps: int) -> None:
    plan = plan_context(mode, 0.2, steps)
    assert len(plan.reads) == steps
    seen = [plan.levels[i] for i in plan.reads]
    assert set(seen) == set(plan.levels)
    assert plan.levels[-1] == seen[-1]
    match mode:
        case "clean":
            assert seen == [(1.0, 1.0)] * steps
        case "told_noisy":
            assert seen == [(1.0, 0.8)] * steps
        case "noised":
            assert seen == [(0.8, 0.8)] * steps
        case "dynamic":
            assert seen[-1] == (1.0, 1.0)
            assert seen[0] == (0.8, 0.8) or steps == 1
            assert all(a < b for a, b in itertools.pairwise(seen))


@pytest.mark.parametrize(("mode", "noise"), [("dirty", 0.1), ("noised", 1.0), ("noised", -0.1)])
def test_what_is_not_allowed_is_named(mode: str, noise: float) -> None:
    with pytest.raises(ConfigError, match=r"allowed"):
        plan_context(mode, noise, 4)
