"""What an estimate of a frame promises: the tilt of dreams toward reward, over sampled futures.

A dream whose futures are weighed by exp(weight R), R the reward that they bring, has the score

    grad log p(x) + grad log E[exp(weight R) | x]

at the noisy frame x. So what is wanted is the gradient of the *log of the mean of exponentials*; it
is that of the mean of R, by which Monte-Carlo guidance (Chen et al. 2024, section 3.4) pulls, only
while weight R varies little: a future that pays much counts in proportion to what it tilts, and not
as one of many. The expectation is over

- the clean frame, of which the mean estimate is taken (Janner et al. 2022);
- the frames that follow it under random play: the mean over `futures` samples, each a function of
  the estimate and of noise of its own, so that the gradient flows through their denoising steps.
  The log of a mean of samples is consistent, and too low by the order of 1 / futures;
- what is drawn on arrival at each frame, its reward r with p(r) and the end with e, in closed form:

    T = log sum_r p(r) exp(weight r) + log(e + (1 - e) exp(T')),

  where T' is that of the next frame, and behind the last one weight * survival.

Legend: n estimates, k futures of each, R reward buckets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dfgym.diffusion.sampler import sample
from dfgym.errors import ConfigError
from dfgym.world import runtime
from dfgym.world.cache import Batch
from dfgym.world.conditions import Conditions
from dfgym.world.dynamics import Dynamics
from dfgym.world.luck import branch, random_actions

Heads = tuple[Tensor, Tensor]
"""What a network predicts on arrival at frames: reward, logits `(n, R)`, and end, `(n,)`."""
Condition = Callable[[np.ndarray], Conditions]


def look_ahead(
    dynamics: Dynamics,
    condition: Condition,
    arrival: tuple[Tensor, Conditions],
    futures: int,
    horizon: int,
) -> list[Heads]:
    """Predict what comes on arrival at estimates, and at the frames that follow in some futures.

    No row moves. The frames that follow are not rounded, since rounding has no gradient.

    Args:
        dynamics: the dream, whose rows the estimates are the next frames of.
        condition: embeds actions.
        arrival: the estimates `(n, h, w, c)`, encoded, and the conditions that lead to them.
        futures: k, at least 1.
        horizon: how many frames follow in each; 0 or more.

    Returns:
        The heads of the estimates, n, and of each of the frames that follow, n * k.
    """
    clean, conditions = arrival
    batch = dynamics.batch.copy()
    tokens = dynamics.commit(clean, conditions, batch)
    heads = [dynamics.network.predict_transition(tokens)]
    batch = batch._replace(time=batch.time + 1)
    if horizon:
        batch = branch(batch, futures)
    for _ in range(horizon):
        conditions = condition(random_actions(dynamics, batch))
        tokens, batch = _follow(dynamics, conditions, batch)
        heads.append(dynamics.network.predict_transition(tokens))
    return heads


def _follow(dynamics: Dynamics, conditions: Conditions, batch: Batch) -> tuple[object, Batch]:
    """Dream the next frames; returns their commit's tokens, and the batch behind them."""
    positions = dynamics.position(conditions, batch)

    def denoise(x: Tensor, tau: float, i: int) -> Tensor:
        return dynamics.predict(conditions, batch.copy(), None, (x, i, positions))[0].mean

    clean, batch = sample(denoise, dynamics.start(batch), dynamics.levels), batch.copy()
    tokens = dynamics.commit(clean, conditions, batch, positions=positions)
    return tokens, batch._replace(time=batch.time + 1)


def log_tilt(heads: Sequence[Heads], values: Tensor, weight: float, survival: float) -> Tensor:
    """Compute log E[exp(weight R)] of each estimate, `(n,)`, see the module's text.

    Args:
        heads: of the estimates and of the frames that follow, see `look_ahead`.
        values: `(R,)`, the reward of each bucket.
        weight: in nats for a unit of reward.
        survival: how many units a game counts as that goes on behind the last frame.
    """
    own, *following = [
        ((reward.log_softmax(-1) + weight * values).logsumexp(-1), end) for reward, end in heads
    ]
    later = torch.full_like(heads[-1][1], weight * survival)
    for reward, end in reversed(following):
        later = reward + torch.logaddexp(F.logsigmoid(end), F.logsigmoid(-end) + later)
    reward, end = own
    later = later.view(len(end), -1)
    later = later.logsumexp(1) - math.log(later.shape[1])
    return reward + torch.logaddexp(F.logsigmoid(end), F.logsigmoid(-end) + later)


def check_futures(dynamics: Dynamics, futures: int, horizon: int) -> None:
    """Refuse futures that cannot be sampled in a dream.

    Raises:
        ConfigError: names the reason, and what to do.
    """
    card = dynamics.world.card
    if not card.actions.is_discrete:
        raise ConfigError(
            f"futures is {futures}, and {card.name} has actions of kind '{card.actions.kind}'; "
            "futures are random play of 'discrete' ones; leave futures out"
        )
    if horizon > card.episode.max_steps:
        raise ConfigError(
            f"horizon is {horizon}, and an episode of {card.name} has {card.episode.max_steps} "
            "steps at most; give no more"
        )
    needed = gradient_bytes(dynamics, futures, horizon)
    if needed > (free := runtime.available_bytes(dynamics.device)):
        raise ConfigError(
            f"{dynamics.num_rows} rows with {futures} futures of {horizon} frames need about "
            f"{needed / 2**30:.3g} GiB and {dynamics.device} has {free / 2**30:.3g} GiB free; take "
            "fewer rows, fewer futures or a shorter horizon"
        )


def gradient_bytes(dynamics: Dynamics, futures: int, horizon: int) -> int:
    """Estimate the memory of a gradient through futures, for which every pass is held."""
    card, levels = dynamics.world.card, len(dynamics.batch.caches)
    passes = 2 + futures * horizon * (len(dynamics.levels) + levels)
    caches = 4 * levels * card.model.cache_size(card.game_spec)
    inside = runtime.row_bytes(card, levels) - caches  # a step lets go of what a layer held
    return dynamics.num_rows * passes * (caches + card.model.depth * inside)
