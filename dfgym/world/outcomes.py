"""What a step has brought, and all that it might bring: joint outcomes, with their chances."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dfgym.diffusion.noise import mix
from dfgym.model.network import Network
from dfgym.world.cache import Batch, copy_rows
from dfgym.world.conditions import Conditions

if TYPE_CHECKING:
    from dfgym.world.dynamics import Dynamics


class Transition(NamedTuple):
    """The results of one step of every row; fresh numpy arrays.

    Attributes:
        frames: uint8 `(b, h, w, 3)`, model size.
        rewards: float64 `(b,)`.
        terminated: bool `(b,)`, sampled with `termination_probability`.
        termination_probability: float64 `(b,)`.
        uncertainty: float64 `(b,)` in [0, 1]: root mean square distance between the frame and its
            conditional mean, both in units of the frame's range. The mean is the first estimate,
            made from noise alone (the past's posterior mean, unless it jumps; Efron 2011), so the
            square is a one-sample estimate of the predictive variance: large where the outcome
            was chance or the model undecided. With one denoising step and no mixture the frame
            is that mean, and this the rounding to colours or grey levels.
        outcome_entropy: float64 `(b,)`, of the frames that this step might have brought, in nats:
            the game's own chance. None where the world tells no
            outcomes apart.
        epistemic: float64 `(b,)` in [0, 1), how unsure the network is of the frame's least sure
            cell, within the outcome that was drawn: 1 less the probability of its likeliest colour.
            Outcomes hold the game's chance, so what is open within one is the model's ignorance.
            None for frames without a palette.
        luck_divergence: float64 `(b,)`, how far luck has bent this step's chance from the game's,
            KL in nats; None where there is no luck.
    """

    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    termination_probability: np.ndarray
    uncertainty: np.ndarray
    outcome_entropy: np.ndarray | None = None
    epistemic: np.ndarray | None = None
    luck_divergence: np.ndarray | None = None


class Outcomes(NamedTuple):
    """What a step of every row may lead to; k outcomes a row.

    Attributes:
        frames: uint8 `(b, k, h, w, 3)`, model size. Several outcomes may draw one frame.
        probabilities: float64 `(b, k)`; they sum to 1.
        rewards: float64 `(b, k)`, expected on arrival.
        termination_probability: float64 `(b, k)`, that the episode ends on arrival.
        exact: whether these are all outcomes with the probabilities that `step` draws them by. If
            not, the world tells no outcomes apart, and these are k equally likely samples.
        state: what `Dynamics.set_state` continues an outcome from, arrays `(b, k, ...)`.
    """

    frames: np.ndarray
    probabilities: np.ndarray
    rewards: np.ndarray
    termination_probability: np.ndarray
    exact: bool
    state: dict[str, np.ndarray]


def ignorance(generated: Tensor) -> Tensor:
    """Return how unsure frames `(b, h, w, c)` of colours are, before rounding: float64 `(b,)`.

    It is `Transition.epistemic`.
    """
    return (generated.amax(-1) * -0.5 + 0.5).flatten(1).amax(1).double()


def sample_seeds(seeds: Tensor, samples: int) -> Tensor:
    """Derive the seeds of samples of each row's future, int64 `(b * samples,)`."""
    mixed = [mix(seed, i) for seed in seeds.tolist() for i in range(samples)]
    return torch.tensor(mixed, dtype=torch.int64, device=seeds.device)


def read_state(
    network: Network, frames: np.ndarray, batch: Batch, rows: Tensor
) -> dict[str, np.ndarray]:
    """Write all that the futures of some rows of a batch depend on as arrays.

    Args:
        network: that they pass.
        frames: uint8 `(n, h, w, 3)`, the rows' current ones.
        batch: the rows and others.
        rows: int64 `(n,)`, their numbers in the batch.
    """
    return {
        "frame": frames,
        "cache": copy_rows(network, batch.caches, rows, batch.time[rows]).cpu().numpy(),
        "seed": batch.seeds[rows].cpu().numpy(),
        "time": batch.time[rows].cpu().numpy(),
    }


def work_out(dynamics: Dynamics, conditions: Conditions, samples: int) -> Outcomes:
    """Work out what a step of every row may lead to, see `Dynamics.outcomes`."""
    if dynamics.exact:
        prediction, _ = dynamics.predict(conditions, dynamics.batch)
        weights = prediction.log_weights.double().softmax(-1).cpu().numpy()
        frames, clean = dynamics.codec.round(prediction.outcomes.flatten(0, 1))
        batch = dynamics.batch.repeat(weights.shape[1])
        conditions = conditions.repeat(weights.shape[1])
    else:
        weights = np.full((dynamics.num_rows, samples), 1 / samples)
        batch, conditions = dynamics.batch.repeat(samples), conditions.repeat(samples)
        batch = batch._replace(seeds=sample_seeds(dynamics.batch.seeds, samples))
        frames, clean, tokens = dynamics.generate(conditions, batch)
    if dynamics.commits:
        tokens = dynamics.commit(clean, conditions, batch)
    reward, end = dynamics.expect(tokens)
    shape, rows = weights.shape, torch.arange(len(frames), device=frames.device)
    batch = batch._replace(time=batch.time + 1)
    state = read_state(dynamics.network, frames.cpu().numpy(), batch, rows)
    state = {name: value.reshape(*shape, *value.shape[1:]) for name, value in state.items()}
    numbers = (weights, reward.reshape(shape), end.reshape(shape))
    return Outcomes(state["frame"].copy(), *numbers, dynamics.exact, state)


def merge(
    weights: np.ndarray, frames: np.ndarray, count: int, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Add up the probabilities of outcomes that draw the same frame, and keep the likeliest.

    Args:
        weights: `(b, m)`, probabilities.
        frames: `(b, m, h, w, 3)`.
        count: k, how many outcomes are kept at most.
        least: outcomes that are less likely are left out, but for the likeliest.

    Returns:
        Probabilities `(b, k)`, likeliest first, which sum to 1, with 0 for what is left out; and
        the outcomes' numbers `(b, k)` among the m.
    """
    b, m = weights.shape
    flat = frames.reshape(b, m, -1)
    same = (flat[:, :, None] == flat[:, None]).all(-1)
    first = same.argmax(2)  # the first outcome that draws the same
    total = (same * weights[:, None]).sum(2) * (first == np.arange(m))
    order = np.argsort(-total, axis=1, kind="stable")[:, :count]
    merged = np.take_along_axis(total, order, 1)
    merged[:, 1:] *= merged[:, 1:] >= least
    if order.shape[1] < count:  # fewer outcomes than are allowed
        missing = count - order.shape[1]
        order, merged = (np.pad(array, ((0, 0), (0, missing))) for array in (order, merged))
    return merged / merged.sum(1, keepdims=True), order
