"""How long a training step takes on this machine, timed on the recording itself."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch

from dfgym.data.store import EpisodeStore
from dfgym.train import loop
from dfgym.train.batches import Batches, Process
from dfgym.train.config import TrainConfig
from dfgym.train.schedule import Progress
from dfgym.train.survey import Survey

HALFWAY = Progress(0.5, 0.5, 1, finished=False, interrupted=False, seconds=0.0)


def measure_step(
    config: TrainConfig,
    game: Survey,
    stores: list[EpisodeStore],
    device: torch.device,
    processes: int,
    seconds: float,
) -> float:
    """Take video steps with fresh weights and return the usual time of one, in seconds.

    Args:
        config: the run; nothing is written.
        game: the survey of its data.
        stores: its data.
        device: where it trains.
        processes: how many will share the batch; one process's part is timed, in one thread on a
            CPU, as `launch` trains.
        seconds: how long to take steps for; two are taken at least.
    """
    own = dataclasses.replace(config, batch=config.batch // processes, image_steps=0)
    batches = Batches(own, game, stores, Process(0, 1))
    learner = loop.begin(own, game.game_spec, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times: list[float] = []
        while len(times) < 2 or sum(times) < seconds:
            began = time.perf_counter()
            batch = batches(len(times), device)
            # The loss is read, so that a device's work is done when the clock is read.
            losses, _, _ = loop.advance(learner, own, batches.process, batch, HALFWAY)
            losses.total.item()
            times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return float(np.median(times[1:]))  # the first makes the optimisers' memory
