"""Context modes against a world whose every answer is known: frames whose pixels are AR(1) chains.

The exact denoiser of the chain stands in the network's place; sampler, levels, context plan, noise,
codec and the batched state machine are those that run in production. What is told to the denoiser
and what is done to the frames decide, in closed form, the variance and the lag-1 correlation that
a long dream must have, for the right pairings and for the wrong ones.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dfgym.diffusion.context import (
    CONTEXT_MODES,
    ContextLevel,
    ContextPlan,
    plan_context,
)
from dfgym.diffusion.levels import denoising_levels, shifted
from dfgym.errors import ConfigError
from dfgym.model.transformer import FramePrediction
from dfgym.world import dynamics as module
from dfgym.world.bundle import Starts, World
from dfgym.world.card import Frames
from dfgym.world.dynamics import Dynamics
from dfgym.world.sampling import Sampling
from dfgym.world.settings import Settings
from toys.world import toy_card

RHO = 0.9
STD = 0.22  # of a pixel in [-1, 1]: four and a half sigma fit
WINDOW = 4
SIDE = 24
SHIFT = 0.15  # such narrow distributions are decided near the clean end


def regression(stated: list[float], tau: float) -> tuple[np.ndarray, float]:
    """Return the weights of E[x_n | y] and Var[x_n | y] for y at `stated` levels, x_n at `tau`."""
    levels = np.array([*stated, tau])
    index = np.arange(len(levels))
    chain = STD**2 * RHO ** np.abs(index[:, None] - index)
    signal = levels[:, None] * chain * levels + np.diag((1 - levels) ** 2)
    cross = chain[-1] * levels
    weights = np.linalg.lstsq(signal, cross, rcond=None)[0]
    return weights, float(chain[-1, -1] - weights @ cross)


def stationary(past: np.ndarray, hidden: np.ndarray, own: float) -> tuple[float, float]:
    """Variance (of the chain's own) and lag-1 correlation of a linear recursion.

    A frame is `past . x + hidden . eps + own * w`: x and eps are the frames before, nearest first,
    and their context noise, which stays as it is whenever they are looked at. The stationary
    covariance is summed up from the impulse response.
    """
    response = [1.0]
    for _ in range(2000):
        before = response[::-1][:WINDOW]
        response.append(float(np.dot(past[: len(before)], before)))
    h = np.array(response)
    # What one frame's eps does to the frames after it.
    later = np.convolve(hidden, h)
    var = own**2 * h @ h + later @ later
    lag = own**2 * h[1:] @ h[:-1] + later[1:] @ later[:-1]
    return var / STD**2, lag / var


def predicted(applied: float, stated: float) -> tuple[float, float]:
    """The statistics of a dream whose context is really at `applied` and told to be at `told`.

    A frame is `a . y + sqrt(v) w`, with `a`, `v` of the told levels and y at the applied one.
    """
    weights, variance = regression([stated] * WINDOW, 0.0)
    a = weights[:-1][::-1]  # nearest frame first
    return stationary(applied * a, (1 - applied) * a, math.sqrt(variance))


def predicted_flow(level: Callable[[float], float]) -> tuple[float, float]:
    """The same of an honest context whose level changes with u, the place on the solver's way.

    `dx/dtau = (D - x) / (1 - tau)` is linear in x and the context, `D = c . y + d x`, so that its
    solution is two integrals.
    """
    u = (np.arange(4000) + 0.5) / 4000
    ends = np.linspace(0, 1, 4001)
    tau, edge = (value / (value + SHIFT * (1 - value)) for value in (u, ends))
    y = np.array([level(value) for value in u])
    weights = np.array([regression([p] * WINDOW, t)[0] for p, t in zip(y, tau, strict=True)])
    step = np.diff(edge) / (1 - tau)
    growth = (weights[:, -1] - 1) * step
    after = np.exp(growth[::-1].cumsum()[::-1] - growth / 2)
    share = (after * step)[:, None] * weights[:, -2::-1]
    past, hidden = y @ share, (1 - y) @ share
    return stationary(past, hidden, math.exp(growth.sum()))


def predicted_kept(tau: float) -> tuple[float, float]:
    """The same of a dream whose context are its own frames' states y at the last level, tau.

    Given honest states of the past, a new state is `tau a . y + q w`, `q^2 = tau^2 v + (1 -
    tau)^2`: their autocovariance stays the honest one, `tau^2 rho^k`, plus `(1 - tau)^2` at 0. The
    frame is `a . y + b w` of the same w. Were the last step exact, b would be sqrt(v) and the
    frame's variance the chain's. It goes along the tangent of the estimate `a . y + (tau v / q) w`.
    """
    weights, v = regression([tau] * WINDOW, 0.0)
    a = weights[:-1][::-1]
    q = math.sqrt(tau**2 * v + (1 - tau) ** 2)
    b = tau * v / q + (1 - tau) * v * (1 - tau) / q**3
    index = np.arange(WINDOW)
    age = np.abs(index[:, None] - index - np.arange(2)[:, None, None])  # of y, to y and to the last
    same, shifted = tau**2 * STD**2 * RHO**age + (1 - tau) ** 2 * (age == 0)
    var = a @ same @ a + b**2
    return var / STD**2, (a @ shifted @ a + a[0] * q * b) / var


class Exact:
    """Stands in for a `Transformer`; its cache keeps frames and levels instead of keys."""

    def __init__(self) -> None:
        self.weights: dict[tuple[float, ...], np.ndarray] = {}

    def empty_cache(self, rows: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
        slots = WINDOW + 1
        return [(torch.zeros(rows, slots, SIDE, SIDE, 3), torch.zeros(rows, slots))]

    def conditioning(self, tau: float) -> float:
        return tau

    def cache_position(self, time: Tensor) -> int:
        return int(time[0])

    def look(
        self, tau: float, actions: Tensor, position: int, cache: list[tuple[Tensor, Tensor]]
    ) -> tuple[int, int]:
        return position, position

    def step(
        self,
        frames: Tensor,
        tau: float,
        actions: Tensor,
        position: int,
        cache: list[tuple[Tensor, Tensor]],
    ) -> Tensor:
        ((frames_kept, levels_kept),) = cache
        slots = WINDOW + 1
        frames_kept[:, position % slots], levels_kept[:, position % slots] = frames, tau
        order = [t % slots for t in range(max(0, position - WINDOW), position + 1)]
        key = tuple(levels_kept[0, order].tolist())
        if key not in self.weights:
            self.weights[key] = regression(list(key[:-1]), key[-1])[0]
        weights = torch.from_numpy(self.weights[key]).float()
        return torch.einsum("bthwc,t->bhwc", frames_kept[:, order], weights)

    def predict_frame(self, estimate: Tensor) -> FramePrediction:
        return FramePrediction(estimate[:, None], torch.zeros(len(estimate), 1), categorical=False)

    def predict_transition(self, estimate: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(estimate), 2), torch.full((len(estimate),), -50.0)


def dream(
    monkeypatch: pytest.MonkeyPatch, plan: ContextPlan, levels: list[float]
) -> tuple[float, float]:
    """Variance (of the chain's own) and lag-1 correlation of a long dream."""
    card = toy_card(frames=Frames(SIDE, SIDE, 1, 15, ()))
    card = dataclasses.replace(card, model=dataclasses.replace(card.model, window=WINDOW))
    nothing = np.zeros(0, np.int64)
    starts = Starts(np.zeros((0, SIDE, SIDE, 3), np.uint8), nothing, np.zeros(1, np.int64), nothing)
    exact = Exact()
    monkeypatch.setattr(module.runtime, "load_network", lambda world, device: exact)
    monkeypatch.setattr(module, "resolve_sampling", lambda *_: Sampling(levels, plan))
    world = World(card, "", Path(), {}, starts)
    rows = np.arange(2)
    run = Dynamics(world, 2, Settings("cpu"))
    grey = np.full((1, SIDE, SIDE, 3), 128, np.uint8)
    run.reset(rows, rows, [(grey, nothing)] * 2)
    film = np.stack([run.step(np.zeros(2, np.int64)).frames for _ in range(100)])[40:]
    x = (film.astype(np.float64) - 127.5) / 127.5
    var = (x**2).mean()
    return var / STD**2, (x[1:] * x[:-1]).mean() / var


LEVELS = denoising_levels(32, SHIFT)


@pytest.mark.parametrize(
    ("mode", "noise"),
    [("clean", 0.0), ("noised", 0.1), ("noised", 0.3), ("told_noisy", 0.1), ("told_noisy", 0.3)],
)
def test_a_dream_has_the_statistics_its_context_mode_predicts(
    monkeypatch: pytest.MonkeyPatch, mode: str, noise: float
) -> None:
    plan = plan_context(mode, noise, len(LEVELS))
    ((applied, stated),) = plan.levels
    expected = predicted(applied, stated)
    assert dream(monkeypatch, plan, LEVELS) == pytest.approx(expected, abs=0.04)
    match mode:
        case "told_noisy":  # told noisy but clean: detectably wrong
            assert abs(expected[0] - 1) > (0.08 if noise == 0.3 else 0.01)
        case "noised":  # the variance is true, and some of the past is lost
            assert expected[0] == pytest.approx(1) and expected[1] < RHO - 0.05
        case "clean":
            assert expected == pytest.approx((1, RHO))


@pytest.mark.parametrize(("applied", "stated"), [(0.8, 1.0), (1.0, 0.8), (1.0, 0.6)])
def test_wrong_pairings_give_the_predicted_wrong_answer(
    monkeypatch: pytest.MonkeyPatch, applied: float, stated: float
) -> None:
    expected = predicted(applied, stated)
    assert abs(expected[0] - 1) > 0.1
    plan = ContextPlan((ContextLevel(applied, stated),), (0,) * len(LEVELS))
    assert dream(monkeypatch, plan, LEVELS) == pytest.approx(expected, abs=0.06)


def test_the_flow_of_a_context_that_does_not_change_is_the_regression() -> None:
    for level in (1.0, 0.9, 0.7):
        result = predicted_flow(lambda u, level=level: level)  # type: ignore[misc]
        assert result == pytest.approx(predicted(level, level), abs=2e-4)


def test_dynamic_context_gives_what_the_flow_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = predicted_flow(lambda u: 1 - 0.3 * (1 - u))
    assert predicted(0.7, 0.7)[1] + 0.05 < expected[1] < RHO - 0.02
    plan = plan_context("dynamic", 0.3, len(LEVELS))
    assert plan.levels[plan.reads[-1]] == (1.0, 1.0)
    assert dream(monkeypatch, plan, LEVELS) == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("tau", [0.7, 0.8, 0.9])
def test_kept_context_gives_what_its_states_predict(
    monkeypatch: pytest.MonkeyPatch, tau: float
) -> None:
    """With all levels but the last dense, so that the last step alone is coarse."""
    levels = [*(tau * shifted(torch.linspace(0, 1, 32).double(), 0.5)).tolist()]
    expected = predicted_kept(tau)
    plan = plan_context("kept", 0.0, len(levels))
    assert dream(monkeypatch, plan, levels) == pytest.approx(expected, abs=0.04)
    assert predicted(tau, tau)[1] - 1e-3 < expected[1] < RHO  # loses no more than `noised` does


@pytest.mark.parametrize("mode", CONTEXT_MODES)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_plans(mode: str, steps: int) -> None:
    plan = plan_context(mode, 0.2, steps)
    assert len(plan.reads) == steps
    contexts_read = [plan.levels[i] for i in plan.reads]
    assert set(contexts_read) == set(plan.levels)
    assert plan.levels[-1] == contexts_read[-1] and plan.kept == (mode == "kept")
    match mode:
        case "clean" | "kept":  # of given frames
            assert contexts_read == [(1.0, 1.0)] * steps
        case "told_noisy":
            assert contexts_read == [(1.0, 0.8)] * steps
        case "noised":
            assert contexts_read == [(0.8, 0.8)] * steps
        case "dynamic":
            assert contexts_read[-1] == (1.0, 1.0)
            assert contexts_read[0] == (0.8, 0.8) or steps == 1
            assert all(a < b for a, b in itertools.pairwise(contexts_read))


@pytest.mark.parametrize(("mode", "noise"), [("dirty", 0.1), ("noised", 1.0), ("noised", -0.1)])
def test_what_is_not_allowed_is_named(mode: str, noise: float) -> None:
    with pytest.raises(ConfigError, match=r"allowed"):
        plan_context(mode, noise, 4)
