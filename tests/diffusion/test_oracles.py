"""Every schedule against a world whose answers are known: frames that are an AR(1) chain.

In the network's place stands the exact denoiser, the mean of a Gaussian given all that is seen, at
whatever levels. All is linear, so that the matrix sampler run on unit vectors gives the rollout as
a matrix, hence its covariance without any chance: what is left is the solver's error, which must
fall as the square of the denoising steps. (Production dynamics, with rounding and drawn noise:
tests/world/test_context.py.)

Two frames, one past frame and a target, have closed forms. Let the past be at level t0 and the
target at t1, `s^2 = t^2 + (1 - t)^2`, `D = s0^2 s1^2 - (rho t0 t1)^2`. The target's flow is

    dy1/dt1 = 1/2 (d ln D / d t1 at fixed t0) y1 + rho t0 (1 - t1) / D y0,

from which a generated frame is `sum of weights x what y0 is made of + b eps1`, with `b = exp 1/2
int (d ln D / d t1) dt1`. Under a causal mask this is exact for whatever pace: y0 takes no notice of
y1. (a) Past at 1: b^2 = 1 - rho^2, the truth. (b) Past at the same level: b^2 = sqrt(1 - rho^2),
not the truth: to be true the past would have to bend to the target.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dfgym.diffusion.context import ContextLevel, ContextPlan, plan_context
from dfgym.diffusion.joint_sampler import Pass, sample_jointly
from dfgym.diffusion.levels import denoising_levels
from dfgym.diffusion.schedules import Schedule, autoregressive, parse

RHO = 0.8
AGE = (torch.arange(32)[:, None] - torch.arange(32)).abs()


def exact(rho: float) -> Callable[[Tensor, Pass], Tensor]:
    """E[clean frames | what each sees], of frames that are one number each."""
    chain = rho ** AGE.double()

    def denoise(x: Tensor, view: Pass) -> Tensor:
        own = chain[view.frames][:, view.frames]
        cross, tau = own * view.tau, view.tau
        joint = tau[:, None] * cross + torch.diag((1 - tau) ** 2)
        out = torch.full_like(x, torch.nan)
        for i in view.wanted.nonzero()[:, 0].tolist():
            past = view.visible[i]
            out[:, i] = x[:, past] @ torch.linalg.solve(joint[past][:, past], cross[i, past])
        return out

    return denoise


def covariance(schedule: Schedule, plan: ContextPlan, rho: float = RHO) -> Tensor:
    """The covariance of all frames of a rollout, from its answers to unit noises."""
    t = schedule.levels.shape[1]
    unit = torch.eye(2 * t, dtype=torch.float64)
    noise, context_noise = unit[:, :t], unit[:, t:]
    answer = sample_jointly(exact(rho), noise, noise[:, :0], schedule, plan, context_noise)
    return answer.T @ answer


def distance(name: str, steps: int, causal: bool) -> float:
    """Largest error of a covariance; a slope of x in a name stands for x times the steps."""
    kind, _, number = name.partition(":")
    if kind in ("pyramid", "trapezoid"):
        name = f"{kind}:{float(number) * steps}"
    schedule = parse(name, 6, denoising_levels(steps, 1.0), window=5, causal=causal)
    result = covariance(schedule, plan_context("clean", 0.0, steps))
    return (result - RHO ** AGE[:6, :6].double()).abs().max().item()


@pytest.mark.parametrize(
    ("name", "causal"),
    [
        ("autoregressive", True),
        ("chunked:5", True),
        ("full_sequence", False),
        ("pyramid:0.25", False),
        ("pyramid:0.5", False),
        ("pyramid:1", True),
        ("fifo:4", False),
        ("trapezoid:0.5", False),
        ("chunked:1", False),
        ("chunked:3", False),
        ("hierarchical:2", False),
        ("hierarchical:4", False),
    ],
)
def test_where_overlapping_frames_see_each_other_the_chain_comes_out_at_second_order(
    name: str, causal: bool
) -> None:
    errors = [distance(name, steps, causal) for steps in (16, 32, 64)]
    assert errors[-1] < 6e-3
    assert 1.6 < math.log2(errors[1] / errors[2]) < 2.4


def flow(past: Callable[[Tensor], Tensor], rho: float) -> tuple[Tensor, Tensor, float]:
    """The target's levels t1, by how much each adds of the past as it then is (dt1 included), b."""
    t1 = torch.linspace(0, 1, 8001, dtype=torch.float64)
    t0 = past(t1)
    s0, s1 = (t**2 + (1 - t) ** 2 for t in (t0, t1))
    d = s0 * s1 - (rho * t0 * t1) ** 2
    growth = (s0 * (2 * t1 - 1) - rho**2 * t0**2 * t1) / d
    log = torch.cat((t1[:1], torch.cumulative_trapezoid(growth, t1)))
    rule = torch.full_like(t1, 1 / 8000)
    rule[0] = rule[-1] = 1 / 16000
    return t1, rule * (log[-1] - log).exp() * rho * t0 * (1 - t1) / d, log[-1].exp().item()


def spread(t: Tensor) -> Tensor:
    """What the first frame's own flow has made of its noise at level t, a frame of variance 1."""
    return (t**2 + (1 - t) ** 2).sqrt()


@pytest.mark.parametrize("slope", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_under_a_causal_mask_overlap_gives_the_predicted_wrong_answer(
    slope: float, rho: float
) -> None:
    """However good the network: the frame behind cannot move the frame before it."""
    t1, weight, b = flow(lambda t: (t + slope).clamp(max=1), rho)
    a = (weight * spread((t1 + slope).clamp(max=1))).sum().item()
    if slope == 1:
        assert (a, b) == pytest.approx((rho, math.sqrt(1 - rho**2)), abs=1e-6)
    if slope == 0:
        assert b == pytest.approx((1 - rho**2) ** 0.25, abs=1e-6)
    expected = torch.tensor([[1, a], [a, a * a + b * b]], dtype=torch.float64)
    errors = []
    for steps in (32, 64, 128):
        levels = denoising_levels(steps, 1.0)
        schedule = parse(f"pyramid:{slope * steps}", 2, levels, window=1)
        result = covariance(schedule, plan_context("clean", 0.0, steps), rho)
        errors.append((result - expected).abs().max().item())
    assert errors[-1] < 2e-3
    assert 1.6 < math.log2(errors[1] / errors[2]) < 2.4
    if slope < 1:  # detectably wrong: too little of the past
        assert a < rho - 0.02


def test_a_causal_mask_costs_a_long_sequence_variance_and_correlation() -> None:
    """Six frames at one level, and six on a pyramid: the gentler the slope, the worse."""

    def last(name: str) -> tuple[float, float]:
        schedule = parse(name, 6, denoising_levels(64, 1.0), window=5)
        c = covariance(schedule, plan_context("clean", 0.0, 64))
        return c[5, 5].item(), (c[5, 4] / (c[5, 5] * c[4, 4]).sqrt()).item()

    result = [last(name) for name in ("full_sequence", "pyramid:16", "pyramid:32", "pyramid:64")]
    for (var, lag), (next_var, next_lag) in itertools.pairwise(result):
        assert var < next_var - 0.02 and lag < next_lag - 0.01
    assert result[-1] == pytest.approx((1, RHO), abs=6e-3)


STEPS, FRAMES = 64, 10


def tail(plan: ContextPlan) -> tuple[float, float]:
    """Variance of a rollout's last frame, which sees one past frame, and correlation with it."""
    schedule = autoregressive(FRAMES, denoising_levels(STEPS, 1.0), window=1)
    c = covariance(schedule, plan)
    return c[-1, -1].item(), (c[-1, -2] / (c[-1, -1] * c[-2, -2]).sqrt()).item()


def recursion(weight: float, driving: float, frames: int = FRAMES) -> tuple[float, float]:
    """The same of `x' = weight x + sqrt(driving) w`, whose first frame has variance 1."""
    limit = driving / (1 - weight**2)
    last, var = (limit + (1 - limit) * weight ** (2 * n) for n in (frames - 2, frames - 1))
    return var, weight * math.sqrt(last / var)


def context_weights(applied: float, conditioned: float) -> tuple[float, float]:
    """Weight and driving variance of a context at one level that is taken to be at another.

    A frame is `a (applied x + (1 - applied) eps) + sqrt(1 - a^2 s^2) w`, with
    `a = rho conditioned / s^2`.
    """
    s = conditioned**2 + (1 - conditioned) ** 2
    a = RHO * conditioned / s
    return a * applied, a**2 * (1 - applied) ** 2 + 1 - a**2 * s


@pytest.mark.parametrize(
    ("mode", "level"), [("clean", 0.0), ("noised", 0.1), ("noised", 0.3), ("told_noisy", 0.1)]
)
def test_context_modes_give_their_closed_forms(mode: str, level: float) -> None:
    plan = plan_context(mode, level, STEPS)
    ((applied, conditioned),) = plan.levels
    weight, driving = context_weights(applied, conditioned)
    assert tail(plan) == pytest.approx(recursion(weight, driving), abs=8e-3)
    limit = driving / (1 - weight**2)  # the variance of a dream without end
    match mode:
        case "clean":
            assert (limit, weight) == pytest.approx((1, RHO))
        case "noised":  # honest: the variance is true, what was hidden of the past is lost
            share = applied**2 / (applied**2 + (1 - applied) ** 2)
            assert (limit, weight) == pytest.approx((1, RHO * share))
        case "told_noisy":  # takes what it sees for the rest of something greater
            assert limit > 1.1 and weight > RHO + 0.05


@pytest.mark.parametrize(("applied", "conditioned"), [(0.8, 1.0), (0.7, 1.0), (1.0, 0.7)])
def test_wrong_pairings_give_the_closed_forms_wrong_variance(
    applied: float, conditioned: float
) -> None:
    expected = recursion(*context_weights(applied, conditioned))
    assert abs(expected[0] - 1) > 0.1
    plan = ContextPlan((ContextLevel(applied, conditioned),), (0,) * STEPS)
    assert tail(plan) == pytest.approx(expected, rel=8e-3)


@pytest.mark.parametrize("tau", [0.5, 0.8, 0.95])
def test_kept_context_gives_its_closed_form(tau: float) -> None:
    """Frames whose successors see the state at the last level, see tests/world/test_context.py.

    States are a chain of the honest variance s^2, `y' = tau a y + q w`. A frame is `a y + b w`, its
    b that of a last step along the tangent, which takes it from the true variance, a^2 s^2 + v.
    """
    s2 = tau**2 + (1 - tau) ** 2
    a, v = RHO * tau / s2, 1 - RHO**2 * tau**2 / s2
    q = math.sqrt(tau**2 * v + (1 - tau) ** 2)
    b = tau * v / q + (1 - tau) ** 2 * v / q**3
    var, lag = a**2 * s2 + b**2, a * (tau * a**2 * s2 + q * b)
    levels = [tau * step / (STEPS - 1) for step in range(STEPS)]
    plan = plan_context("kept", 0.0, STEPS)
    c = covariance(autoregressive(FRAMES, levels, window=1), plan)
    result = c[-1, -1].item(), c[-1, -2].item()
    assert result == pytest.approx((var, lag), abs=8e-3)
    # Were that step exact: the truth, and more of the past than `noised` keeps at this level.
    assert a**2 * s2 + v == pytest.approx(1)
    assert RHO * tau**2 / s2 < a * (tau * a**2 * s2 + q * math.sqrt(v)) < RHO


def test_dynamic_context_gives_what_the_flow_predicts() -> None:
    """Context noise that falls from 0.3 to exactly 0 while the target forms."""
    t1, weights, b = flow(lambda t: 1 - 0.3 * (1 - t), RHO)
    applied = 1 - 0.3 * (1 - t1)
    weight, eps = (weights * applied).sum().item(), (weights * (1 - applied)).sum().item()
    plan = plan_context("dynamic", 0.3, STEPS)
    assert plan.levels[-1] == (1.0, 1.0)
    assert tail(plan) == pytest.approx(recursion(weight, eps**2 + b**2), abs=8e-3)
    # Keeps more of the past than the same noise throughout, but not all, and some variance goes:
    # what formed first saw a noisy past.
    assert context_weights(0.7, 0.7)[0] + 0.05 < weight < RHO - 0.02
    assert 0.93 < (eps**2 + b**2) / (1 - weight**2) < 0.97
