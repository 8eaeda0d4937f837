"""How many operations a frame takes, how many the machine can do, and where a step's time goes.

An operation is one multiplication or one addition of a matrix product or convolution, so that a
product of `(m, k)` and `(k, n)` is 2 m k n of them. Sums over tokens, norms and the like are not
counted, as publications do not count them either.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from dfgym.bench.speed import (
    actions,
    around_network,
    check_seconds,
    network_clock,
    percentiles,
    repeat,
    replaced,
    seconds_of,
    wait,
)
from dfgym.world.bundle import World
from dfgym.world.card import Card
from dfgym.world.dynamics import Dynamics

MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows of the square matrices whose product is timed."""
BEST_OF = 5
CLOCKED = 5
"""Steps whose operations are timed one by one."""


def begin(world: World, rows: int, device: str = "auto", **sampler: Any) -> Dynamics:
    """Dynamics whose rows have all begun, each with a noise of its own."""
    dynamics = Dynamics(world, rows, device=device, **sampler)
    frames, led = world.starts.episode(0)
    dynamics.reset(np.arange(rows), np.arange(rows), [(frames[:1], led[:0])] * rows)
    return dynamics


def stepper(dynamics: Dynamics) -> Callable[[], Any]:
    """What steps dynamics under random actions."""
    drawn = actions(dynamics.world.card, dynamics.num_rows)
    return lambda: dynamics.step(next(drawn))


def count(dynamics: Dynamics) -> dict[str, float]:
    """Count the operations of one step as it stands, uncompiled; advances the rows.

    Returns:
        `operations_per_frame`, all; `attention_per_frame`, the part of it that torch's counter does
        not see, worked out by `attention`; `passes`, how often the network is run for a frame.
    """
    spent: list[tuple[str, float]] = []
    card, step, network = dynamics.world.card, stepper(dynamics), dynamics._network
    # The counter does not see into what is compiled.
    with replaced(dynamics, ("_step",), lambda *_: network.step), network_clock(dynamics, spent):
        counted = flops(step)
    passes = sum(name == "step" for name, _ in spent)
    unseen = passes * attention(card)
    return {
        "operations_per_frame": counted / dynamics.num_rows + unseen,
        "attention_per_frame": unseen,
        "passes": passes,
    }


def flops(call: Callable[[], Any]) -> int:
    """Count the operations of a call's convolutions, matrix products and fused attention."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def attention(card: Card) -> int:
    """Operations of one frame's attention over its ring in one pass.

    The transformer multiplies and sums there without a matrix product: each token with the keys and
    then the values of `window + 1` slots. Other networks do nothing that the counter would miss.
    """
    if card.model.kind != "transformer":
        return 0
    tokens = card.frames.height * card.frames.width // card.model.patch**2
    return card.model.depth * 2 * 2 * (card.model.window + 1) * tokens * card.model.dim


def matrix_rate(
    device: torch.device, size: int | None = None, dtype: torch.dtype = torch.float32
) -> dict[str, float]:
    """Measure operations a second of one big matrix product, the best of a few.

    Returns:
        `matrix_product`, by `torch.mm`; `convolution`, the same product as a convolution, which is
        how the networks ask for it and on some processors another library; `size`.
    """
    n = size or MATRIX[device.type]
    with torch.inference_mode():
        generator = torch.Generator(device).manual_seed(0)
        a, b = (torch.randn(n, n, device=device, generator=generator).to(dtype) for _ in range(2))
        image = a[None, None].permute(0, 3, 1, 2)  # channels last: rows are sites
        ways = {
            "matrix_product": lambda: torch.mm(a, b),
            "convolution": lambda: F.conv2d(image, b[:, :, None, None]),
        }
        rates = {}
        for name, way in ways.items():
            way()
            rates[name] = 2 * n**3 / min(seconds_of(way) for _ in range(BEST_OF))
    return {**rates, "size": n}


def measure(
    dynamics: Dynamics, seconds: float, rates: dict[str, float] | None = None
) -> dict[str, float]:
    """Time steps of the dynamics alone, without a shell.

    Args:
        dynamics: which have begun.
        seconds: of the measurement.
        rates: of `matrix_rate`.

    Returns:
        `batch`, `steps` (how many were timed), `frames_per_second`, `p50_ms`, `p95_ms`, `p99_ms`,
        what `count` says, and with rates `share` of the matrix product's and `share_of_best` of the
        better one.
    """
    check_seconds(seconds)
    counted = count(dynamics)
    times = repeat(stepper(dynamics), seconds)
    speed = float(dynamics.num_rows / times.mean())
    found = {
        "batch": dynamics.num_rows,
        "steps": len(times),
        "frames_per_second": speed,
        **percentiles(times),
        **counted,
    }
    if rates is not None:
        reached, product = speed * counted["operations_per_frame"], rates["matrix_product"]
        found["share"] = reached / product
        found["share_of_best"] = reached / max(product, rates["convolution"])
    return found


def passes(dynamics: Dynamics, seconds: float) -> dict[str, float]:
    """Shares of a step's time by what the network is run for; they add up to 1.

    A pass whose tokens are read as a picture is a denoising pass, any other one a commit.
    """
    check_seconds(seconds)
    spent: list[tuple[str, float]] = []
    with network_clock(dynamics, spent):
        total = float(repeat(stepper(dynamics), seconds, spent.clear).sum())
    names = {"picture": "picture", "outcome": "reward and termination", "now": "positions in time"}
    shares = dict.fromkeys(("denoising passes", "commit passes", *names.values()), 0.0)
    for (name, taken), (after, _) in itertools.pairwise([*spent, ("", 0.0)]):
        if name == "step":
            label = "denoising passes" if after == "picture" else "commit passes"
        else:
            label = names[name]
        shares[label] += taken / total
    shares["outside the network"] = 1 - sum(shares.values())
    return shares


def kinds(dynamics: Dynamics) -> dict[str, float]:
    """Shares of a step's time by kind of operation; they add up to 1.

    Clocks around every call of a torch function; what Python does between them is left out. A GPU
    is waited for after each, and clocks slow what is small, so take a big batch. Not for compiled
    dynamics, which are one call.

    Not by `torch.profiler`: what it notes of shapes breaks up the memory that a big tensor has just
    left, so that the next one comes on fresh pages. At batch 64 the attention's products took 100
    times as long under it.
    """
    clock = _Clock()
    step = stepper(dynamics)
    step()  # the first step of a batch size is slow
    with around_network(dynamics, clock.labelled), clock:
        for _ in range(CLOCKED):
            step()
    total = sum(clock.times.values())
    most = sorted(clock.times.items(), key=lambda item: -item[1])
    return {kind: taken / total for kind, taken in most}


class _Clock(TorchFunctionMode):
    """Times torch's functions while it is on, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.times: defaultdict[str, float] = defaultdict(float)
        self.region = ""

    def labelled(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Knows a method of the network as the region of what it calls."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.region = name.lstrip("_")
            result = original(*args, **kwargs)
            self.region = ""
            return result

        return call

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a torch function and note how long it took."""
        wait()
        before = time.perf_counter()
        result = func(*args, **kwargs or {})
        wait()
        kind = _kind(self.region, func.__name__, [a.shape for a in args if isinstance(a, Tensor)])
        self.times[kind] += time.perf_counter() - before
        return result


def _kind(region: str, name: str, shapes: list[torch.Size]) -> str:
    """What a call counts as: by the network's method that it is in, then by itself."""
    match region:
        case "step":
            return _kind_of(name, shapes)
        case "picture":
            return "picture"
        case "outcome":
            return "reward and termination"
    return "outside the network's passes"


def _kind_of(name: str, shapes: list[torch.Size]) -> str:
    axes = len(shapes[0]) if shapes else 0
    match name:
        case "conv2d" if shapes[1][-1] > 1:
            return "space convolutions"
        case "conv2d" | "linear":
            return "projections"
        case "layer_norm" | "addcmul":
            return "norms and modulation"
        case "softmax":
            return "attention over time"
        case "silu" | "sigmoid" | "tanh" | "lerp":
            return "activations"
        case "__setitem__":
            return "writing the past"
        case "mul" | "sum" if axes == 5:  # keys and values: b r s H e
            return "attention over time"
    return "turns, residual sums, indexing and copies"
