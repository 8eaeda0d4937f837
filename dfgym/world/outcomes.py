"""What may happen next, all of it at once: the joint outcomes of a step, with their chances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dfgym.diffusion.noise import mix
from dfgym.world.cache import Batch, copy_rows


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


def sample_seeds(seeds: Tensor, samples: int) -> Tensor:
    """Derive the seeds of samples of each row's future, int64 `(b * samples,)`."""
    mixed = [mix(seed, i) for seed in seeds.tolist() for i in range(samples)]
    return torch.tensor(mixed, dtype=torch.int64, device=seeds.device)


def read_state(frames: np.ndarray, batch: Batch, rows: Tensor) -> dict[str, np.ndarray]:
    """Write all that the futures of some rows of a batch depend on as arrays.

    Args:
        frames: uint8 `(n, h, w, 3)`, the rows' current ones.
        batch: the rows and others.
        rows: int64 `(n,)`, their numbers in the batch.
    """
    return {
        "frame": frames,
        "cache": copy_rows(batch.caches, rows, batch.time[rows]).cpu().numpy(),
        "seed": batch.seeds[rows].cpu().numpy(),
        "time": batch.time[rows].cpu().numpy(),
    }


def collect(
    frames: Tensor, numbers: tuple[np.ndarray, np.ndarray, np.ndarray], exact: bool, batch: Batch
) -> Outcomes:
    """Sort outcomes by the rows that they belong to.

    Args:
        frames: uint8 `(b * k, h, w, 3)`.
        numbers: probabilities `(b, k)`, and expected rewards and probabilities of an end, `(b *
            k,)`.
        exact: see `Outcomes`.
        batch: what the frames were committed to, at the time before them.
    """
    weights, rewards, ends = numbers
    shape, rows = weights.shape, torch.arange(len(frames), device=frames.device)
    state = read_state(frames.cpu().numpy(), batch._replace(time=batch.time + 1), rows)
    state = {name: value.reshape(*shape, *value.shape[1:]) for name, value in state.items()}
    pictures = state["frame"].copy()
    return Outcomes(pictures, weights, rewards.reshape(shape), ends.reshape(shape), exact, state)
