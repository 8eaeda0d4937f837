"""Checkpoints: all a run needs to go on exactly where it was, in safetensors and JSON.

Data, levels and noise are functions of the seed and the step, so the step number is their state.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def save_checkpoint(
    folder: Path,
    step: int,
    config: dict[str, Any],
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
    metadata = {"step": str(step), "config": json.dumps(config)}
    write_atomic(folder / FILE, save(tensors, metadata))


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], int, dict[str, Any]]:
    """Read a checkpoint's tensors, step and configuration.

    Raises:
        DataError: it is missing, damaged or not a checkpoint.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{folder} holds no {FILE}; train first, or name a run's folder")
    data = path.read_bytes()
    try:
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        return tensors, int(metadata["step"]), dict(json.loads(metadata["config"]))
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError) as reason:
        raise DataError(f"{path} is not a whole checkpoint: {reason}") from reason


def check_data(run: Path, recorded: list[str] | None, stores: Sequence[EpisodeStore]) -> None:
    """Refuse other data than those that a checkpoint was trained on.

    Args:
        run: the checkpoint's folder.
        recorded: the identities in its configuration; None where an earlier dfgym wrote it, which
            did not keep them.
        stores: the data sets to compare with.

    Raises:
        DataError: names the data set that is another one.
    """
    for store, was in zip(stores, recorded or (), strict=False):
        if (now := identity(store.episodes)) != was:
            raise DataError(
                f"{run} was trained on other data than {store.path} holds now: {was} then, {now} "
                "now; bring the data back as they were, or train anew with another --out"
            )


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {k.removeprefix(name + "."): v for k, v in tensors.items() if k.startswith(name + ".")}


def load_checkpoint(
    tensors: dict[str, Tensor],
    network: nn.Module,
    average: AveragedModel,
    optimizers: list[Optimizer],
) -> None:
    """Put a checkpoint's tensors back.

    Raises:
        DataError: some are missing, or their sizes are not those they were saved with.
    """
    try:
        network.load_state_dict(part(tensors, "network"))
        average.load_state_dict(part(tensors, "average"))
    except RuntimeError as reason:
        raise DataError(f"{FILE} does not fit its network: {reason}") from reason
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in part(tensors, f"optimizer.{number}").items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        groups = optimizer.state_dict()["param_groups"]
        names = {name for tensor in state.values() for name in tensor}
        for index in (index for group in groups for index in group["params"]):
            if missing := names - state.get(index, {}).keys():
                raise DataError(f"{FILE} lacks optimizer.{number}.{index}.{min(missing)}")
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def averaged_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The averaged network's weights, as float32: what a world ships."""
    weights = part(part(tensors, "average"), "module")
    return {name: value.to(torch.float32) for name, value in weights.items()}
