"""Checkpoints: all that a run needs to go on exactly where it was, in safetensors and JSON.

Data, levels and noise are functions of the seed and the step, so the step number is their state.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from dfgym.data.layout import identity
from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError
from dfgym.files import write_atomic

FILE = "checkpoint.safetensors"


class Origin(NamedTuple):
    """What a run learns from, which stays the same from its first step to its last.

    Attributes:
        settings: the fixed settings of its configuration, see `config.fixed_settings`.
        data: the identities of its data sets, see `data.layout.identity`.
        objective: the name of its objective.
    """

    settings: dict[str, Any]
    data: list[str]
    objective: str


class Checkpoint(NamedTuple):
    """A checkpoint as it was read."""

    tensors: dict[str, Tensor]
    step: int
    origin: Origin


def save_checkpoint(
    folder: Path,
    step: int,
    origin: Origin,
    network: nn.Module,
    average: AveragedModel,
    optimizers: list[Optimizer],
) -> None:
    """Write a checkpoint atomically: a full disk or a kill leaves the one before it whole."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{k}": v for k, v in state.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_atomic(folder / FILE, save(tensors, metadata(step, origin)))


def metadata(step: int, origin: Origin) -> dict[str, str]:
    """Return what a checkpoint holds beside its tensors, as safetensors keeps it."""
    return {"step": str(step), "origin": json.dumps(origin._asdict())}


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
        return Checkpoint(tensors, int(saved["step"]), Origin(**json.loads(saved["origin"])))
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError) as reason:
        raise DataError(
            f"{path} is not a whole checkpoint of this version of dfgym: {reason}"
        ) from reason


def check_data(run: Path, origin: Origin, stores: Sequence[EpisodeStore]) -> None:
    """Refuse other data than those that a checkpoint was trained on.

    Args:
        run: the folder of the checkpoint.
        origin: what the checkpoint was trained on.
        stores: the data sets to compare with.

    Raises:
        DataError: names the data set that is another one.
    """
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
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _without_prefix(tensors, f"optimizer.{number}").items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        groups = optimizer.state_dict()["param_groups"]
        names = {name for tensor in state.values() for name in tensor}
        for index in (index for group in groups for index in group["params"]):
            if missing := names - state.get(index, {}).keys():
                raise DataError(f"{FILE} lacks optimizer.{number}.{index}.{min(missing)}")
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def averaged_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the averaged network's weights as float32: what a world ships."""
    weights = _without_prefix(_without_prefix(tensors, "average"), "module")
    return {name: value.to(torch.float32) for name, value in weights.items()}


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, named without it."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
