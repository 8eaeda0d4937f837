"""The training loop, to be read downward.

    dfgym train ...                                 # as many processes as cores or GPUs
    torchrun ... -m dfgym.cli train ...             # on several machines

A window, its levels and its noise are functions of (seed, step, place in the batch) alone, so a run
that was stopped anywhere goes on from its checkpoint as if it never had been, bit for bit on a CPU,
and any number of processes learns from the same batches.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from dfgym.data.layout import identity
from dfgym.data.store import EpisodeStore
from dfgym.device import Threads, pick_device
from dfgym.errors import ConfigError, DeviceError
from dfgym.files import lock_folder, remove_drafts
from dfgym.model.config import GameSpec, ModelConfig
from dfgym.model.network import build
from dfgym.train.batches import Batch, Batches, Process, make_draws
from dfgym.train.checkpoint import (
    FILE,
    Origin,
    check_data,
    check_settings,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from dfgym.train.config import TrainConfig, fixed_settings
from dfgym.train.finetune import load_weights, survey_run
from dfgym.train.loss import Losses, Objective, diffusion_forcing
from dfgym.train.observe import LOG_FILE, Observer, is_strip_due
from dfgym.train.optimizer import make_average, make_optimizers, set_rates
from dfgym.train.schedule import Progress, Schedule
from dfgym.train.survey import Survey
from dfgym.world.runtime import Section

logger = logging.getLogger("dfgym")


@contextlib.contextmanager
def _processes(device: torch.device) -> Iterator[Process]:
    """Join the other processes for the time of a run."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Process(0, 1)
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    store, rank, size = next(dist.rendezvous("env://"))
    # Where `torchrun` starts all of them again, the store may still hold the dead ones' addresses.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"dfgym/{attempt}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield Process(dist.get_rank(), size)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the copy of the network
        raise
    finally:
        # The copy, which refers to itself, must not outlive the group: its end would wait for the
        # group's threads, and those for the interpreter that it holds, or find it gone and abort.
        gc.collect()
        dist.destroy_process_group()


def _threads(config: TrainConfig, device: torch.device) -> Threads:
    """Choose the CPU threads of a run: those that it began with, since other sums have other bits.

    Of several processes each has one: `torchrun` sets it.
    """
    begun = (config.out / FILE).is_file()
    count = read_checkpoint(config.out).threads if begun else None
    return Threads("training", 1 if device.type != "cpu" else None, count)


def _precision(config: TrainConfig, device: torch.device) -> torch.dtype:
    """The number format of the matrix products."""
    match config.precision, device.type:
        case "float32", _:
            return torch.float32
        case "bfloat16", _:
            return torch.bfloat16
        case _, "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        case _:
            fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
            return torch.bfloat16 if fast else torch.float32


def _resume(
    config: TrainConfig, origin: Origin, stores: list[EpisodeStore], learner: Learner
) -> tuple[int, float]:
    """Load the run folder's checkpoint, if there is one; return its step and its wall time."""
    if not (config.out / FILE).is_file():
        return 0, 0.0
    tensors, step, saved, seconds, _ = read_checkpoint(config.out)
    check_settings(config.out, saved, origin)
    check_data(config.out, saved, stores)
    load_checkpoint(tensors, learner.network, learner.average, learner.optimizers)
    return step, seconds


def _check_finite(
    config: TrainConfig, step: int, losses: Losses, norm: Tensor, subject: str
) -> None:
    """Stop where the loss, or the norm of the subject, is not finite: in all processes alike.

    Raises:
        ConfigError: the training has diverged.
    """
    if not (losses.total.isfinite() and norm.isfinite()):
        raise ConfigError(
            f"training has diverged: at step {step} the loss is {losses.total:g} and the norm of "
            f"the {subject} {norm:g}; the last checkpoint in {config.out}, if there is one, "
            f"stands; train again with a lower learning_rate (now {config.learning_rate:g}) or "
            f"muon_rate (now {config.muon_rate:g}) and another --out"
        )


def _average(losses: Losses, process: Process) -> Losses:
    """Return the mean of the losses over the processes, detached."""
    values = torch.stack([loss.detach().float() for loss in losses])
    if process.size > 1:
        dist.all_reduce(values)  # a sum is finite where its parts are
        values /= process.size
    return Losses(*values)


Build = Callable[[ModelConfig, GameSpec], nn.Module]


def train(
    config: TrainConfig, objective: Objective = diffusion_forcing, build: Build = build
) -> Path:
    """Train, or go on training, in `config.out`; return that folder.

    Args:
        config: the run.
        objective: how frames are noised and what is minimised.
        build: makes the network with fresh weights.

    Raises:
        DataError: the data cannot be trained on, or another process is training in the folder.
        ConfigError: the folder holds a run with other settings, or the training diverges.
        DeviceError: the device is not there.
    """
    device = pick_device(config.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if config.precision == "bfloat16" and device.type == "mps":
        raise DeviceError("precision is 'bfloat16'; on mps use 'float32'")
    stores = [EpisodeStore.open(path) for path in config.data]
    with _threads(config, device), _processes(device) as process:
        if process.rank == 0:
            for store in stores:
                store.verify()
        game = survey_run(config, stores)
        learner = begin(config, game.game_spec, device, objective, build)
        _train(config, game, stores, process, device, learner)
    return config.out


def _lock(out: Path) -> Callable[[], None]:
    """Lock the run's folder; returns the function that gives it free."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise ConfigError(f"out {out} cannot be made ({reason}); name another folder") from reason
    lock = lock_folder(out, "trained in", "train with another --out")
    remove_drafts(out, FILE, LOG_FILE)
    return lock.release


class Learner(NamedTuple):
    """What the steps of a run change, and how they run the network.

    Attributes:
        objective: how frames are noised and what is minimised.
        network: the network that is learned.
        parallel: the network as it is called: itself, or one of several processes' copies.
        average: the moving average of its weights.
        optimizers: the optimisers of its weights.
        precision: the number format of the matrix products.
        section: the context that every part of a step runs in, see
            `dfgym.world.dynamics.Dynamics`.
    """

    objective: Objective
    network: nn.Module
    parallel: nn.Module
    average: AveragedModel
    optimizers: list[torch.optim.Optimizer]
    precision: torch.dtype
    section: Section = contextlib.nullcontext


def begin(
    config: TrainConfig,
    game: GameSpec,
    device: torch.device,
    objective: Objective = diffusion_forcing,
    build: Build = build,
) -> Learner:
    """Return a network with the first weights of a run, and what updates them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # noqa: TID251 - the fork gives it back
        network = build(config.model, game)
    if config.from_world:
        load_weights(network, config)
    network = network.to(device)
    average, optimizers = make_average(network, config), make_optimizers(network, config)
    precision = _precision(config, device)
    return Learner(objective, network, network, average, optimizers, precision)


def advance(
    learner: Learner, config: TrainConfig, process: Process, batch: Batch, progress: Progress
) -> tuple[Losses, Tensor, float]:
    """Take one optimiser step.

    Args:
        learner: what is changed.
        config: the run.
        process: this process.
        batch: the data of the step.
        progress: where the step stands in the run, which decides the learning rates.

    Returns:
        The losses, the norm of the gradient and the share of the peak rates.

    Raises:
        ConfigError: the training diverges.
    """
    objective, network, parallel, average, optimizers, dtype, section = learner
    with section("dfgym::corrupt"):
        noised = objective.corrupt(batch, config, make_draws(config, batch, process))
    autocast = torch.autocast(batch.clean.device.type, dtype, enabled=dtype != torch.float32)
    with section("dfgym::losses"), autocast:
        losses = objective.loss(parallel, noised, batch, average.module)
    with section("dfgym::backward"):
        losses.total.backward()
    with section("dfgym::clip_gradient"):
        # Far above the usual norm: it only stops a freak batch from undoing the run.
        norm = nn.utils.clip_grad_norm_(network.parameters(), 50.0)
    losses = _average(losses, process)
    _check_finite(config, batch.step, losses, norm, "gradient")
    rate = set_rates(optimizers, config, progress)
    for optimizer in optimizers:
        with section(f"dfgym::{type(optimizer).__name__}"):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    with section("dfgym::average"):
        average.update_parameters(network)
    return losses, norm, rate


def _train(
    config: TrainConfig,
    game: Survey,
    stores: list[EpisodeStore],
    process: Process,
    device: torch.device,
    learner: Learner,
) -> None:
    network, average, optimizers = learner.network, learner.average, learner.optimizers
    batches = Batches(config, game, stores, process)
    identities = [identity(store.episodes) for store in stores]
    origin = Origin(fixed_settings(config), identities, learner.objective.name)
    count = sum(p.numel() for p in network.parameters())
    observer = None
    with contextlib.ExitStack() as stack:
        if process.rank == 0:
            stack.callback(_lock(config.out))
        step, seconds = _resume(config, origin, stores, learner)
        if process.size > 1:
            learner = learner._replace(parallel=DistributedDataParallel(network))
        if process.rank == 0:
            precision = learner.precision
            logger.info("training %d parameters on %s in %s", count, device, precision)
            observer = stack.enter_context(Observer(config, game, stores, device, step))
        schedule = stack.enter_context(Schedule(config, process, device, seconds))
        progress = schedule.look(step)
        while not progress.finished:
            losses, norm, rate = advance(learner, config, process, batches(step, device), progress)
            if observer is not None:
                observer.log(step, losses, norm, rate, progress.total)
            step += 1
            if observer is not None and is_strip_due(step, config.strip_every):
                observer.strips.draw(step, average.module)
            progress = schedule.look(step)
            ends = progress.finished or progress.interrupted
            if ends or step % config.checkpoint_every == 0:
                # A finite loss may have led to weights that are not.
                weights = nn.utils.parameters_to_vector(network.parameters())
                _check_finite(config, step - 1, losses, weights.norm(), "weights")
                if observer is not None:
                    observer.sync()
                    save_checkpoint(
                        config.out, step, origin, network, average, optimizers, progress.seconds
                    )
            if progress.interrupted and not progress.finished:
                schedule.stop()
            if progress.finished and observer is not None and config.strip_every:
                observer.strips.draw(step, average.module)
