"""Shooting against problems whose answer is known: linear control, a tilted mean, a lock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dfgym.actions import ActionSpace, discrete
from dfgym.errors import ConfigError
from dfgym.games.spaces import describe
from dfgym.planning import shooting
from dfgym.planning.shooting import Plan, Shooting
from dfgym.world import bundle
from dfgym.world.dynamics import Dynamics
from toys.actions import SPACES, marker_world

FORCE = ActionSpace(kind="box", shape=(1,), low=(-2.0,), high=(2.0,))
WIDE = ActionSpace(kind="box", shape=(2,), low=(-1e3, -1e3), high=(1e3, 1e3))


def mass(plans: np.ndarray) -> np.ndarray:
    """The return of pushing a mass from 1 to 0: `x' = x + v / 2`, `v' = v + u / 2`."""
    x, v = np.ones(plans.shape[:2]), np.zeros(plans.shape[:2])
    cost = np.zeros(plans.shape[:2])
    for step in range(plans.shape[2]):
        u = plans[:, :, step, 0]
        cost += x**2 + 0.1 * v**2 + 0.1 * u**2
        x, v = x + 0.5 * v, v + 0.5 * u
    return -(cost + 5 * x**2 + 5 * v**2)


def optimum(horizon: int) -> float:
    """The best return of `mass`, which is quadratic in the plan: its maximum by a linear solve."""
    zero = np.zeros((1, 1, horizon, 1))
    base = mass(zero)[0, 0]
    units = np.eye(horizon)[None, :, :, None]
    gradient = (mass(units) - mass(-units))[0] / 2
    hessian = np.zeros((horizon, horizon))
    for i in range(horizon):
        pairs = (np.eye(horizon) + np.eye(horizon)[i])[None, :, :, None]
        alone = mass(units)[0]
        hessian[i] = mass(pairs)[0] - alone - alone[i] + base
    plan = np.linalg.solve(-hessian, gradient)
    assert np.abs(plan).max() < 2  # the bounds do not bind
    return float(mass(plan[None, None, :, None])[0, 0])


ICEM = Shooting(horizon=8, samples=400, iterations=25, elites=40, momentum=0.4, colour=0.5)
MPPI = Shooting(horizon=8, samples=400, iterations=60, deviation=0.1, colour=0.5, temperature=0.02)


@pytest.mark.parametrize(("method", "config"), [(shooting.icem, ICEM), (shooting.mppi, MPPI)])
def test_a_mass_is_brought_to_rest_as_linear_control_does(
    method: Callable[..., Plan], config: Shooting
) -> None:
    plan = shooting.begin(FORCE, 3, config)
    plan = method(mass, FORCE, plan, config, np.random.default_rng(0))
    best = optimum(8)
    assert (plan.value <= best + 1e-9).all()
    assert (plan.value > best - 0.02 * abs(best)).all()
    assert np.allclose(mass(plan.best[:, None])[:, 0], plan.value)


def test_mppi_s_mean_is_that_of_the_tilted_normal() -> None:
    """N(0, s^2) times exp(-(u - t)^2 / 2 / temperature) is a normal of a known mean."""
    target, scale = np.array([0.3e3, -0.2e3]), 1e3
    config = Shooting(
        horizon=1, samples=200_000, iterations=1, deviation=0.1, colour=0.0, temperature=0.02
    )

    def score(plans: np.ndarray) -> np.ndarray:
        return -(((plans[:, :, 0] - target) / scale) ** 2).sum(-1) / 2

    plan = shooting.begin(WIDE, 1, config)
    plan = shooting.mppi(score, WIDE, plan, config, np.random.default_rng(0))
    expected = target / scale / config.temperature / (1 / 0.1**2 + 1 / config.temperature)
    assert np.allclose(plan.mean[0, 0], expected, atol=2e-3)


@pytest.mark.parametrize("space", [discrete(4), describe(SPACES["dict"], "dict")], ids=str)
def test_a_lock_is_opened(space: ActionSpace) -> None:
    """Each step has one right action; values count by how near they are."""
    config = Shooting(horizon=4, samples=200, iterations=12, elites=20, deviation=1.0, colour=0.0)
    right = space.sample(np.random.default_rng(5), 4)

    def score(plans: np.ndarray) -> np.ndarray:
        if space.is_discrete:
            return (plans == right).sum(-1).astype(float)
        low, high = space.bounds
        return -(np.abs(plans - right) / (high - low)).sum((-1, -2))

    plan = shooting.begin(space, 2, config)
    plan = shooting.icem(score, space, plan, config, np.random.default_rng(0))
    if space.is_discrete:
        assert (plan.best == right).all()
    else:
        assert (plan.value > -0.5).all()
        choices = [item.n > 0 for item in space.parts]
        assert (plan.best[..., choices] == right[..., choices]).all()


@pytest.mark.parametrize("kind", SPACES)
def test_every_plan_is_made_of_actions(kind: str) -> None:
    space = describe(SPACES[kind], kind)
    latents = np.random.default_rng(0).normal(size=(5, 7, shooting.latent_size(space)))
    rows = shooting.decode(space, latents)
    assert rows.shape == (5, 7, *space.row_shape) and rows.dtype == space.dtype_of_rows
    for row in rows.reshape(-1, *space.row_shape):
        assert np.array_equal(space.row(space.native(row)), row)


@pytest.mark.parametrize(("colour", "steps"), [(0.0, 16), (2.0, 16), (2.0, 15), (1.0, 1)])
def test_noise_has_its_colour(colour: float, steps: int) -> None:
    noise = shooting.coloured_noise((4000, steps, 2), colour, np.random.default_rng(0))
    assert noise.std() == pytest.approx(1, abs=0.03)
    if steps > 1:
        power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean((0, 2))[1:-1]
        frequency = np.fft.rfftfreq(steps)[1:-1]
        slope = np.polyfit(np.log(frequency), np.log(power), 1)[0]
        assert slope == pytest.approx(-colour, abs=0.1)


def test_the_next_decision_goes_on_where_the_last_was() -> None:
    config = Shooting(horizon=3, samples=8, elites=4)
    plan = shooting.begin(discrete(3), 1, config)
    plan = plan._replace(best=np.array([[0, 1, 2]]), value=np.ones(1))
    later = shooting.shift(plan)
    assert later.best.tolist() == [[1, 2, 2]] and later.value[0] == -np.inf


@pytest.mark.usefixtures("marker_id")
@pytest.mark.parametrize("kind", ["discrete", "dict"])
def test_plans_are_dreamed_as_they_would_be_played(kind: str, tmp_path: Path) -> None:
    world = bundle.load(marker_world(kind, tmp_path / "toy-marker-v0"))
    space, games, count, horizon = world.card.actions, 2, 5, 3
    dynamics = Dynamics(world, games * count)
    rows = np.arange(games * count)
    starts = [(world.starts.frames[i : i + 1], world.starts.actions[:0]) for i in (0, 7)]
    dynamics.reset(rows, rows, [starts[row // count] for row in rows])
    state = dynamics.get_state(np.array([0, count]))
    plans = space.sample(np.random.default_rng(0), games * count * horizon)
    plans = plans.reshape(games, count, horizon, *space.row_shape)
    plans[:, -1] = plans[:, 0]
    returns = shooting.dream_returns(dynamics, state, 0.9)(plans)
    assert np.array_equal(returns[:, -1], returns[:, 0])  # the same chance for the same actions
    dynamics.set_state(rows, {name: value[rows // count] for name, value in state.items()})
    total = np.zeros(games * count)
    for step in range(horizon):
        actions = plans.reshape(games * count, horizon, *space.row_shape)[:, step]
        total += 0.9**step * dynamics.step(np.ascontiguousarray(actions)).rewards
    assert np.allclose(returns.reshape(-1), total)
    short = shooting.dream_returns(dynamics, state, 0.9, np.array([1, 2]))(plans)
    first = shooting.dream_returns(dynamics, state, 0.9)(plans[:, :, :1])
    second = shooting.dream_returns(dynamics, state, 0.9)(plans[:, :, :2])
    assert np.allclose(short, [first[0], second[1]]), "plans shrink to the episode's end"
    with pytest.raises(ConfigError, match="2 x 6 plans and 10 rows"):
        shooting.dream_returns(dynamics, state)(np.repeat(plans, 2, 1)[:, :6])


@pytest.mark.parametrize(
    "fields",
    [
        {"horizon": 0},
        {"samples": 1},
        {"iterations": 0},
        {"elites": 65},
        {"temperature": 0.0},
        {"deviation": float("nan")},
    ],
)
def test_budgets_without_sense_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        Shooting(**fields)  # type: ignore[arg-type]
