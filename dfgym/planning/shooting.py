"""Planning by shooting: draw plans, dream them, and draw better ones, for actions of every kind.

`icem` (the improved cross-entropy method, Pinneri et al. 2020) keeps the best plans and draws near
them; `mppi` (model predictive path integral control, Williams et al. 2017) weighs all by the
exponential of their returns. Both draw plans as numbers of a latent space, in which a value is one
number in [-1, 1], brought to its bounds, and a choice among n is n numbers, of which the largest
wins. So one method plans discrete actions, values, and both together.

Legend: b games, n plans of each, h steps ahead, z latent numbers of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta

from dfgym.actions import ActionSpace
from dfgym.checks import check
from dfgym.errors import ConfigError
from dfgym.world.dynamics import Dynamics

Score = Callable[[np.ndarray], np.ndarray]
"""Returns `(b, n)` of plans `(b, n, h, ...)`, whose actions are rows of `dfgym.actions`."""


@dataclass(frozen=True)
class Shooting:
    """How plans are drawn.

    Raises:
        ConfigError: a value is out of range, or there are more elites than samples.
    """

    horizon: Annotated[int, Meta(ge=1, le=1024)] = 12
    """Steps of a plan."""
    samples: Annotated[int, Meta(ge=2)] = 64
    """Plans in an iteration."""
    iterations: Annotated[int, Meta(ge=1)] = 3
    """Iterations of a decision."""
    elites: Annotated[int, Meta(ge=1)] = 8
    """Best plans, near which `icem` draws the next."""
    kept: Annotated[float, Meta(ge=0, le=1)] = 0.3
    """Share of the elites that `icem` tries again in the next iteration and decision."""
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    """How much of its mean and deviation `icem` keeps in each iteration."""
    deviation: Annotated[float, Meta(gt=0)] = 0.5
    """Deviation of the first draws, in the latent space."""
    colour: Annotated[float, Meta(ge=0)] = 2.0
    """Power of the noise falls with its frequency to this power: 0 is white, 2 changes slowly."""
    temperature: Annotated[float, Meta(gt=0)] = 0.5
    """By how much more a plan must return to weigh e times as much in `mppi`."""

    def __post_init__(self) -> None:
        check(self, ConfigError)
        if self.elites > self.samples:
            raise ConfigError(
                f"elites is {self.elites}; expected at most samples, which is {self.samples}"
            )


class Plan(NamedTuple):
    """What a decision came to; `shift` makes it the beginning of the next.

    Attributes:
        best: `(b, h, ...)`, rows of actions: the best plan of each game that was tried.
        value: float64 `(b,)`, its return.
        mean: float64 `(b, h, z)`, around which plans are drawn.
        elites: float64 `(b, k, h, z)`, plans to be tried again.
    """

    best: np.ndarray
    value: np.ndarray
    mean: np.ndarray
    elites: np.ndarray


def latent_size(space: ActionSpace) -> int:
    """Return how many numbers stand for an action."""
    return sum(max(item.n, 1) for item in space.parts)


def decode(space: ActionSpace, latents: np.ndarray) -> np.ndarray:
    """Turn latent numbers `(..., z)` into rows of actions, `(...)` or `(..., parts)`."""
    columns, first = [], 0
    for item in space.parts:
        last = first + max(item.n, 1)
        numbers = latents[..., first:last]
        if item.n:
            columns.append(numbers.argmax(-1).astype(np.float64))
        else:
            share = (np.clip(numbers[..., 0], -1, 1) + 1) / 2
            columns.append(item.low + share * (item.high - item.low))
        first = last
    rows = np.stack(columns, -1)
    return rows[..., 0].astype(np.int64) if space.is_discrete else space.round(rows)


def coloured_noise(
    shape: tuple[int, ...], colour: float, random: np.random.Generator
) -> np.ndarray:
    """Draw noise of variance 1 whose power falls with frequency, along the axis before the last.

    (Timmer and Koenig 1995.)

    Args:
        shape: `(..., h, z)`.
        colour: the power of the frequency.
        random: the generator.
    """
    steps = shape[-2]
    frequencies = np.fft.rfftfreq(steps)
    frequencies[0] = frequencies[1] if steps > 1 else 1.0
    scale = frequencies ** (-colour / 2)
    spectrum = (*shape[:-2], len(scale), shape[-1])
    real, imaginary = random.normal(size=(2, *spectrum))
    imaginary[..., 0, :] = 0
    real[..., 0, :] *= 2**0.5
    if steps % 2 == 0:
        imaginary[..., -1, :] = 0
        real[..., -1, :] *= 2**0.5
    noise = np.fft.irfft((real + 1j * imaginary) * scale[:, None], steps, axis=-2)
    weights = np.full(len(scale), 2.0)
    weights[0] = 1.0
    if steps % 2 == 0:
        weights[-1] = 1.0
    return noise / (np.sqrt(2 * (weights * scale**2).sum()) / steps)


def begin(space: ActionSpace, games: int, config: Shooting) -> Plan:
    """Return the plan of which nothing is decided yet."""
    shape = (games, config.horizon, latent_size(space))
    mean = np.zeros(shape)
    elites = np.zeros((games, 0, *shape[1:]))
    return Plan(decode(space, mean), np.full(games, -np.inf), mean, elites)


def shift(plan: Plan) -> Plan:
    """Return a plan one step later: the second step comes first, and the last is repeated."""

    def later(steps: np.ndarray, axis: int) -> np.ndarray:
        index = np.minimum(np.arange(steps.shape[axis]) + 1, steps.shape[axis] - 1)
        return steps.take(index, axis)

    value = np.full_like(plan.value, -np.inf)  # of another moment
    return Plan(later(plan.best, 1), value, later(plan.mean, 1), later(plan.elites, 2))


def icem(
    score: Score, space: ActionSpace, plan: Plan, config: Shooting, random: np.random.Generator
) -> Plan:
    """Improve plans by the cross-entropy method with coloured noise and elites that stay.

    Args:
        score: dreams plans.
        space: of the actions.
        plan: `begin`, or the last decision's, shifted.
        config: how plans are drawn.
        random: the generator.
    """
    games, (_, horizon, z) = len(plan.mean), plan.mean.shape
    mean, elites, best, value = plan.mean, plan.elites, plan.best, plan.value
    deviation = np.full_like(mean, config.deviation)
    kept = round(config.kept * config.elites)
    for iteration in range(config.iterations):
        noise = coloured_noise((games, config.samples, horizon, z), config.colour, random)
        plans = np.concatenate([mean[:, None] + deviation[:, None] * noise, elites], 1)
        if iteration == config.iterations - 1:
            plans = np.concatenate([plans, mean[:, None]], 1)  # the mean itself is often best
        rows = decode(space, plans)
        returns = score(rows)
        order = np.argsort(-returns, axis=1, kind="stable")[:, : config.elites]
        top = np.take_along_axis(plans, order[:, :, None, None], 1)
        best, value = _better(best, value, rows, returns, order[:, 0])
        keep = config.momentum
        mean = keep * mean + (1 - keep) * top.mean(1)
        deviation = keep * deviation + (1 - keep) * top.std(1)
        elites = top[:, :kept]
    return Plan(best, value, mean, elites)


def mppi(
    score: Score, space: ActionSpace, plan: Plan, config: Shooting, random: np.random.Generator
) -> Plan:
    """Improve plans by their mean, weighted by the exponential of their returns.

    Arguments as for `icem`. `best` is the best that was tried, and `decode(space, mean)` the plan
    that the method itself proposes.
    """
    games, (_, horizon, z) = len(plan.mean), plan.mean.shape
    mean, best, value = plan.mean, plan.best, plan.value
    for _ in range(config.iterations):
        noise = coloured_noise((games, config.samples, horizon, z), config.colour, random)
        plans = mean[:, None] + config.deviation * noise
        rows = decode(space, plans)
        returns = score(rows)
        best, value = _better(best, value, rows, returns, returns.argmax(1))
        weights = np.exp((returns - returns.max(1, keepdims=True)) / config.temperature)
        weights /= weights.sum(1, keepdims=True)
        mean = np.einsum("bn,bnhz->bhz", weights, plans)
    return Plan(best, value, mean, plan.elites)


def dream_returns(
    dynamics: Dynamics,
    state: dict[str, np.ndarray],
    discount: float = 1.0,
    steps_left: np.ndarray | None = None,
) -> Score:
    """Return the score that dreams plans from a state of each game.

    All plans of a game meet the same chance, so that they differ by their actions alone. After an
    episode's end nothing is earned, so that plans shrink toward it.

    Args:
        dynamics: of as many rows as there are plans in all, b * n or more; their state is lost.
        state: what `Dynamics.get_state` returns of b rows.
        discount: of rewards, for each step.
        steps_left: int `(b,)`, until each game's episode is cut; None where that is far.
    """

    def score(plans: np.ndarray) -> np.ndarray:
        games, count = plans.shape[:2]
        if games * count > dynamics.num_rows:
            raise ConfigError(
                f"there are {games} x {count} plans and {dynamics.num_rows} rows to dream them in; "
                "make a dynamics of more rows, or draw fewer samples"
            )
        rows = np.arange(dynamics.num_rows)
        owners = np.minimum(rows // count, games - 1)  # rows left over repeat the last game
        dynamics.set_state(rows, {name: value[owners] for name, value in state.items()})
        places = np.minimum(rows, games * count - 1)
        flat = plans.reshape(games * count, *plans.shape[2:])[places]
        returns, alive, weight = np.zeros(len(rows)), np.ones(len(rows), bool), 1.0
        left = np.full(games, plans.shape[2]) if steps_left is None else steps_left
        for step in range(min(plans.shape[2], int(left.max()))):
            alive &= step < left[owners]
            transition = dynamics.step(np.ascontiguousarray(flat[:, step]))
            returns += weight * alive * transition.rewards
            alive &= ~transition.terminated
            weight *= discount
        return returns[: games * count].reshape(games, count)

    return score


def _better(
    best: np.ndarray, value: np.ndarray, rows: np.ndarray, returns: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    games = np.arange(len(rows))
    improved = returns[games, first] > value
    mask = improved.reshape(-1, *(1,) * (best.ndim - 1))
    new = rows[games, first]
    return np.where(mask, new, best), np.where(improved, returns[games, first], value)
