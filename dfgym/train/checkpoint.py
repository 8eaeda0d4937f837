"""Checkpoints: all that a run needs to go on exactly where it was, in safetensors and JSON.

Data, levels and noise are functions of the seed and the step, so the step number is their state.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from dfgym.checks import convert, shorten
from dfgym.data.layout import identity
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError
from dfgym.files import write_atomic
from dfgym.train.config import SCHEDULE, fixed_settings, from_table

FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Origin:
    """What a run learns from, which stays the same from its first step to its last."""

    settings: dict[str, Any]
    """The fixed settings of its configuration, see `config.fixed_settings`."""
    data: Annotated[list[str], Meta(min_length=1)]
    """The identities of its data sets, see `data.layout.identity`."""
    objective: str
    """The name of its objective."""


@dataclass(frozen=True)
class Head:
    """What a checkpoint holds beside its tensors."""

    step: Annotated[int, Meta(ge=0)]
    """Steps taken."""
    origin: Origin
    """What the run learns from."""
    seconds: Annotated[float, Meta(ge=0)]
    """The wall time of the run, over all calls."""
    threads: Annotated[int, Meta(ge=1)] = 1
    """CPU threads that it was trained on: with others the last bits can be others."""


class Checkpoint(NamedTuple):
    """A checkpoint as it was read."""

    tensors: dict[str, Tensor]
    step: int
    origin: Origin
    seconds: float = 0.0
    """The wall time of the run, over all calls."""
    threads: int = 1
    """The CPU threads that it was trained on."""


def save_checkpoint(
    folder: Path,
    step: int,
    origin: Origin,
    network: nn.Module,
    average: AveragedModel,
    optimizers: list[Optimizer],
    seconds: float = 0.0,
) -> None:
    """Write a checkpoint atomically: a full disk or a kill leaves the one before it whole."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{k}": v for k, v in state.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_atomic(folder / FILE, save(tensors, metadata(step, origin, tensors, seconds)))


def metadata(
    step: int, origin: Origin, tensors: dict[str, Tensor], seconds: float = 0.0
) -> dict[str, str]:
    """Return what a checkpoint holds beside its tensors, as safetensors keeps it."""
    head = Head(step, origin, seconds, torch.get_num_threads())
    text = json.dumps(dataclasses.asdict(head))
    return {"head": text, "sha256": _digest(text, tensors)}


def _digest(head: str, tensors: dict[str, Tensor]) -> str:
    """Hash a checkpoint: its head, and each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(head.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DataError: it is missing, damaged or not a checkpoint of this version.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{folder} holds no {FILE}; train first, or name a run's folder")
    data = path.read_bytes()
    try:
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        saved = json.loads(data[8 : 8 + size])["__metadata__"]
        if saved["sha256"] != _digest(saved["head"], tensors):
            raise DataError("it has changed since it was written")
        head = convert(Head, json.loads(saved["head"]), DataError)
    except (
        *(SafetensorError, DataError, KeyError, TypeError, ValueError),
        *(OverflowError, RecursionError),
    ) as reason:
        raise DataError(
            f"{path} is not a whole checkpoint of this version of dfgym: {reason}; bring back a "
            "whole one, or train anew with another --out"
        ) from reason
    return Checkpoint(tensors, head.step, head.origin, head.seconds, head.threads)


def check_settings(run: Path, saved: Origin, now: Origin) -> None:
    """Refuse to go on with other settings than those that decide what is learned.

    Args:
        run: the folder of the checkpoint.
        saved: what the checkpoint was trained on.
        now: what it is to be trained on. Its data may lie elsewhere, see `check_data`.

    Raises:
        ConfigError: names the setting that is another one.
    """
    before = {**fixed_settings(from_table(saved.settings, run)), "objective": saved.objective}
    for name, value in {**now.settings, "objective": now.objective}.items():
        if before[name] != value and name not in (*SCHEDULE, "data"):
            raise ConfigError(
                f"{run} was trained with {name} = {before[name]!r}, now {value!r}; "
                "use the same settings to go on, or another --out"
            )


def check_data(run: Path, origin: Origin, stores: Sequence[EpisodeStore]) -> None:
    """Refuse other data than those that a checkpoint was trained on.

    Args:
        run: the folder of the checkpoint.
        origin: what the checkpoint was trained on.
        stores: the data sets to compare with.

    Raises:
        DataError: names the data set that is another one.
    """
    if len(stores) != len(origin.data):
        raise DataError(
            f"{run} was trained on {len(origin.data)} data sets, now there are {len(stores)}; name "
            "as many, in the same order, or train anew with another --out"
        )
    for store, then in zip(stores, origin.data, strict=True):
        if (now := identity(store.episodes)) != then:
            raise DataError(
                f"{run} was trained on other data than {store.path} holds now: {then} then, {now} "
                "now; bring the data back as they were, or train anew with another --out"
            )


def load_checkpoint(
    tensors: dict[str, Tensor],
    network: nn.Module,
    average: AveragedModel,
    optimizers: list[Optimizer],
) -> None:
    """Put the tensors of a checkpoint back.

    Raises:
        DataError: some are missing, or their sizes are not those they were saved with.
    """
    try:
        network.load_state_dict(_without_prefix(tensors, "network"))
        average.load_state_dict(_without_prefix(tensors, "average"))
    except RuntimeError as reason:
        raise DataError(f"{FILE} does not fit its network: {reason}") from reason
    for number, optimizer in enumerate(optimizers):
        _load_optimizer(f"optimizer.{number}", tensors, optimizer)


def _load_optimizer(prefix: str, tensors: dict[str, Tensor], optimizer: Optimizer) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _without_prefix(tensors, prefix).items():
        index, _, name = key.partition(".")
        if not index.isdecimal():
            raise DataError(f"{FILE} holds an unknown tensor {shorten(f'{prefix}.{key}')}")
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    names = {name for tensor in state.values() for name in tensor}
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    indices = [index for group in groups for index in group["params"]]
    for index, shape in zip(indices, shapes, strict=True):
        entry = state.pop(index, {})
        if missing := names - entry.keys():
            raise DataError(f"{FILE} lacks {prefix}.{index}.{min(missing)}")
        for name, value in entry.items():
            if value.shape not in ((), shape):  # a count of steps, or one number for each weight
                raise DataError(
                    f"{FILE}: {prefix}.{index}.{name} has shape {list(value.shape)}; its weights "
                    f"have {list(shape)}"
                )
        state[index] = entry
    if unknown := state.keys() - set(indices):
        raise DataError(f"{FILE} holds an unknown tensor {prefix}.{min(unknown)}")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def averaged_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the averaged network's weights as float32: what a world ships."""
    weights = _without_prefix(_without_prefix(tensors, "average"), "module")
    return {name: value.to(torch.float32) for name, value in weights.items()}


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, named without it."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
