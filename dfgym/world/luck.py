"""The luck dial: a dream whose chance is kinder, or harsher, than the game's.

A network that tells outcomes apart gives their probabilities p_k, so the distribution that is
tilted towards outcomes of high value is exact and needs no gradient:

    q_k proportional to p_k exp(luck V_k),    KL(q, p) = luck E_q[V] - log E_p[exp(luck V)].

V_k is what the outcome brings on arrival and in `STEPS` more of random play in the dream, the mean
over `COPIES` futures (Monte-Carlo guidance's expectation over futures, Chen et al. 2024, section
3.4); a game that goes on after them counts as 1 more. Where an agent judges frames
(`Dynamics.judge`), V_k is what the outcome brings on arrival and what the agent holds its frame for
worth, which is nearer to the agent's own fortune, and much cheaper. Outcomes that draw the same
frame are one: where a step leaves one open only, there is nothing to tilt and it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dfgym.diffusion import noise
from dfgym.errors import ConfigError
from dfgym.model.transformer import FramePrediction
from dfgym.world.cache import Batch
from dfgym.world.card import Card
from dfgym.world.conditions import Conditions
from dfgym.world.outcomes import merge

if TYPE_CHECKING:
    from dfgym.world.dynamics import Dynamics

Judge = Callable[[np.ndarray], np.ndarray]
"""From frames, uint8 `(n, h, w, 3)` at model size, to what they are worth, float64 `(n,)`."""

STEPS = 8
COPIES = 4
DISCOUNT = 0.98
LEAST = 1e-3
"""Outcomes that are less likely are left out, where any is tilted."""


def check_luck(card: Card, luck: float, exact: bool) -> float:
    """Return the luck, but refuse it where it means nothing.

    Raises:
        ConfigError: the world, as it is sampled, tells no outcomes apart, or its actions cannot be
            drawn one by one.
    """
    if luck and not exact and card.model.mixture > 1:
        raise ConfigError(
            f"luck is {luck}, and a frame takes several denoising steps, in which outcomes are not "
            "told apart; set denoising_steps to 1, or leave luck out"
        )
    if luck and not exact:
        raise ConfigError(
            f"luck is {luck}, and {card.name} tells no outcomes apart, which luck could reweight: "
            "its mixture is 1; leave luck out"
        )
    if luck and not card.actions.is_discrete:
        raise ConfigError(
            f"luck is {luck}, and {card.name} has actions of kind '{card.actions.kind}'; outcomes "
            "are valued by random play of 'discrete' ones; leave it out"
        )
    return luck


def tilt(weights: np.ndarray, values: np.ndarray, luck: float) -> tuple[np.ndarray, np.ndarray]:
    """Tilt distributions `(b, k)` towards high values `(b, k)`.

    Returns:
        The tilted distributions, and their divergences from the given ones, `(b,)`, in nats.
    """
    with np.errstate(divide="ignore"):
        scores = np.log(weights) + luck * values
    scores -= scores.max(1, keepdims=True)
    tilted = np.exp(scores)
    tilted /= tilted.sum(1, keepdims=True)
    there = tilted > 0
    ratio = np.log(np.where(there, tilted, 1) / np.where(there, weights, 1))
    return tilted, (tilted * ratio).sum(1).clip(min=0)  # rounding may end below


def choose(
    dynamics: Dynamics,
    conditions: Conditions,
    prediction: FramePrediction,
    uniforms: Tensor,
) -> tuple[Tensor, np.ndarray]:
    """Choose every row's next outcome by the tilted distribution.

    Args:
        dynamics: the dream, whose rows do not move.
        conditions: of the rows' actions.
        prediction: of all rows' next frames.
        uniforms: `(b,)`, in [0, 1).

    Returns:
        The frames before they are rounded, `(b, h, w, c)`, and the divergence of the tilted
        distribution from the game's, float64 `(b,)`, in nats.
    """
    batch = dynamics.batch
    weights = prediction.log_weights.double().softmax(-1).cpu().numpy()
    frames, clean = dynamics.codec.round(prediction.outcomes)
    weights, order = merge(weights, frames.cpu().numpy(), weights.shape[1], LEAST)
    values = np.zeros_like(weights)
    rows, outcomes = np.nonzero((weights > 0) & (weights < 1))
    places = torch.from_numpy(order[rows, outcomes]).to(dynamics.device)
    index = torch.from_numpy(rows).to(dynamics.device)
    if len(rows):
        own = conditions._replace(places=conditions.places[index])
        future = clean[index, places], batch.select(index)
        if dynamics.judge is None:
            values[rows, outcomes] = value(dynamics, own, *future)
        else:
            reward, end = dynamics.expect(dynamics.commit(future[0], own, future[1]))
            judged = dynamics.judge(frames[index, places].cpu().numpy())
            values[rows, outcomes] = reward + DISCOUNT * (1 - end) * judged
    tilted, divergence = tilt(weights, values, dynamics.luck)
    below = uniforms.cpu().numpy()[:, None] * tilted.sum(1, keepdims=True)
    outcome = (tilted.cumsum(1) <= below).sum(1).clip(max=tilted.shape[1] - 1)
    b = np.arange(len(order))
    own_place = torch.from_numpy(order[b, outcome]).to(dynamics.device)
    index = torch.arange(len(order), device=dynamics.device)
    return prediction.outcomes[index, own_place], divergence


def value(dynamics: Dynamics, conditions: Conditions, clean: Tensor, batch: Batch) -> np.ndarray:
    """Estimate what outcomes are worth, float64 `(n,)`.

    The futures of a row's outcomes have the same chance, so that they differ by the outcome alone.

    Args:
        dynamics: the dream.
        conditions: of the actions that led to the outcomes.
        clean: encoded frames `(n, h, w, c)`.
        batch: the rows that they are outcomes of, copied.
    """
    reward, end = dynamics.expect(dynamics.commit(clean, conditions, batch))
    total, weight = reward.repeat(COPIES), (1 - end).repeat(COPIES) * DISCOUNT
    batch = branch(batch._replace(time=batch.time + 1), COPIES)
    for _ in range(STEPS):
        random_play = dynamics.condition(random_actions(dynamics, batch))
        _, clean, _ = dynamics.generate(random_play, batch)
        reward, end = dynamics.expect(dynamics.commit(clean, random_play, batch))
        batch = batch._replace(time=batch.time + 1)
        total += weight * reward
        weight *= (1 - end) * DISCOUNT
    return (total + weight).reshape(-1, COPIES).mean(1)


def branch(batch: Batch, copies: int) -> Batch:
    """Copy rows as the beginnings of so many futures each, copies of a row side by side."""
    copy = torch.arange(copies, device=batch.time.device).repeat(len(batch.time))
    batch = batch.repeat(copies)
    # Another stream for each future, whose own noise lies far from that of the game itself.
    return batch._replace(seeds=~batch.seeds - copy)


def random_actions(dynamics: Dynamics, batch: Batch) -> np.ndarray:
    """Draw each row's next action at random, int64 `(b,)`; a function of its seed and time."""
    uniform = noise.uniform(batch.seeds, batch.time, noise.HEADS, 1)[:, 0].cpu().numpy()
    return (uniform * dynamics.world.card.actions.count).astype(np.int64)
