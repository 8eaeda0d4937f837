"""How a network's passes are run: compiled or as they stand, and in which precision."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dfgym.errors import ConfigError, DeviceError
from dfgym.world.rings import Rings

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)

Step = Callable[..., Tensor]
"""`Network.step`, or what does the same."""


def check(device: torch.device, compile: bool, precision: str) -> None:
    """Refuse a way of running that there is not.

    Raises:
        ConfigError: a value is not allowed.
        DeviceError: there is nothing to compile with.
    """
    if type(compile) is not bool:
        raise ConfigError(f"compile is {compile!r}; allowed are True and False")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is {precision!r}; allowed are {', '.join(PRECISIONS)}")
    if compile and (lack := _lack(device)) is not None:
        raise DeviceError(f"compile is True, but there is no {lack}; install one or leave it out")


def prepare(call: Step, device: torch.device, compile: bool, precision: str) -> Step:
    """A network's method as it is to be run.

    Args:
        call: the method, of a network on the device.
        device: where it runs.
        compile: have `torch.compile` fuse it, for one batch size; on CUDA it is also recorded as a
            graph, so rings given to it must stay where they are, and what it returns is
            overwritten by the next call.
        precision: of the matrix products; what is kept between passes is float32 in either.

    Raises:
        ConfigError, DeviceError: as for `check`.
    """
    check(device, compile, precision)
    run = call
    if precision == "bfloat16":

        def run(*arguments: Any) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16):
                return call(*arguments)

    if not compile:
        return run
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    return torch.compile(run, fullgraph=True, dynamic=False, mode=mode)


def keep_in_place(levels: Sequence[Rings], device: torch.device) -> None:
    """Promise a compiled step that rings stay where they are.

    On CUDA a graph writes where it wrote when it was recorded.
    """
    if device.type == "cuda":
        for part in (part for level in levels for ring in level for part in ring):
            torch._dynamo.mark_static_address(part)


def _lack(device: torch.device) -> str | None:
    """What `torch.compile` needs on the device and does not find."""
    compilers = (os.environ.get("CXX"), "c++", "g++", "clang++")
    if not any(name and shutil.which(name) for name in compilers):
        return "C++ compiler"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton"
    return None


def warm_up(step: Step, *arguments: Any) -> None:
    """Call a compiled step a first time, which compiles it.

    Raises:
        DeviceError: it cannot be compiled here.
    """
    try:
        step(*arguments)
    except RuntimeError as reason:
        raise DeviceError(f"compile is True, but torch cannot compile here: {reason}") from reason
