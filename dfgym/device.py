"""The device that a name stands for; worlds, training and agents use the same names."""

from __future__ import annotations

import os

import torch

from dfgym.errors import ConfigError, DeviceError


def pick_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device; `auto` prefers CUDA.

    Of the processes that `torchrun` starts on a machine, each takes a CUDA device of its own.

    Raises:
        ConfigError: the name is another.
        DeviceError: the name is of a CUDA device that this machine or this torch build lacks.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as reason:
        raise ConfigError(f"device is {name!r}; allowed are auto, cpu, cuda, cuda:N") from reason
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device is {name!r}; allowed are auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device is {name!r}, but this machine or this torch build has "
            f"{torch.cuda.device_count()} CUDA devices; use device='cpu', or install a CUDA build"
        )
    if str(device) == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    return device
