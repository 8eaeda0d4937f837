"""How many operations a frame takes, how many the machine can do, and where a step's time goes.

An operation is one multiplication or one addition of a matrix product or a convolution, so that a
product of `(m, k)` and `(k, n)` is 2 m k n of them. Sums over tokens, norms and the like are not
counted, as publications do not count them either.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.benchmark import timer
from torch.utils.flop_counter import FlopCounterMode

from dfgym.bench.clock import SectionClock, check_seconds, duration, durations, percentiles
from dfgym.bench.speed import random_actions
from dfgym.world.bundle import World
from dfgym.world.card import Card
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

MATRIX = {"cpu": 2048, "cuda": 8192}
"""The rows of the square matrices whose product is timed."""
BEST_OF = 5
CLOCKED_STEPS = 5
"""The steps whose operations are timed one by one."""
PASSES = ("dfgym::denoise", "dfgym::commit")
"""The sections of a step that run the whole network."""
LABELS = {
    "dfgym::denoise": "denoising passes",
    "dfgym::commit": "commit passes",
    "dfgym::predict_frame": "picture",
    "dfgym::predict_transition": "reward and termination",
    "dfgym::cache_position": "positions in time",
}


def begin(world: World, rows: int, settings: Settings = Settings()) -> Dynamics:
    """Return dynamics in which every row has begun an episode with noise of its own."""
    dynamics = Dynamics(world, rows, settings)
    frames, actions = world.starts.episode(0)
    dynamics.reset(np.arange(rows), np.arange(rows), [(frames[:1], actions[:0])] * rows)
    return dynamics


def stepper(dynamics: Dynamics) -> Callable[[], Any]:
    """Return a function that steps dynamics under random actions."""
    actions = itertools.cycle(random_actions(dynamics.world.card, dynamics.num_rows))
    return lambda: dynamics.step(next(actions))


def count(dynamics: Dynamics) -> dict[str, float]:
    """Count the operations of one step, which advances the rows.

    Args:
        dynamics: they must not be compiled: the counter sees nothing of what is.

    Returns:
        `operations_per_frame`, all; `attention_per_frame`, the share of it that `attention` gives,
        since torch's counter does not see it; `passes`, how often the network is run for a frame.
    """
    dynamics.section = clock = SectionClock(*PASSES)
    counted = flops(stepper(dynamics))
    passes = sum(clock.calls.values())
    unseen = passes * attention(dynamics.world.card)
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
    """Return the operations of one frame's attention over its KV cache in one pass.

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
        products: dict[str, Callable[[], Tensor]] = {
            "matrix_product": lambda: torch.mm(a, b),
            "convolution": lambda: F.conv2d(image, b[:, :, None, None]),
        }
        rates = {}
        for name, product in products.items():
            product()
            rates[name] = 2 * n**3 / min(duration(product) for _ in range(BEST_OF))
    return {**rates, "size": n}


def measure(
    world: World,
    rows: int,
    seconds: float,
    rates: dict[str, float] | None = None,
    settings: Settings = Settings(),
) -> dict[str, float]:
    """Time steps of the dynamics alone, without a shell.

    Args:
        world: the world to step.
        rows: the rows of the batch.
        seconds: the length of the measurement.
        rates: the result of `matrix_rate`.
        settings: how the world is run; operations are counted without `compile`.

    Returns:
        `batch`, `steps` (how many were timed), `frames_per_second`, `p50_ms`, `p95_ms`, `p99_ms`,
        the entries of `count`, and with rates `share` of the matrix product's rate and
        `share_of_best` of the better one.
    """
    check_seconds(seconds)
    counted = count(begin(world, rows, replace(settings, compile=False)))
    times = durations(stepper(begin(world, rows, settings)), seconds)
    speed = float(rows / times.mean())
    result = {
        "batch": rows,
        "steps": len(times),
        "frames_per_second": speed,
        **percentiles(times),
        **counted,
    }
    if rates is not None:
        reached, product = speed * counted["operations_per_frame"], rates["matrix_product"]
        result["share"] = reached / product
        result["share_of_best"] = reached / max(product, rates["convolution"])
    return result


def passes(dynamics: Dynamics, seconds: float) -> dict[str, float]:
    """Return the shares of a step's time that its passes through the network take; sum 1."""
    check_seconds(seconds)
    dynamics.section = clock = SectionClock(*LABELS)
    total = float(durations(stepper(dynamics), seconds, clock.clear).sum())
    shares = {label: clock.seconds[name] / total for name, label in LABELS.items()}
    return {**shares, "outside the network": 1 - sum(shares.values())}


def kinds(dynamics: Dynamics) -> dict[str, float]:
    """Return the shares of a step's time that each kind of operation takes; they add up to 1.

    Every call of a torch function is timed; what Python does between them is left out. A GPU is
    waited for after each, and clocks slow what is small, so take a big batch. Not for compiled
    dynamics, which are one call.

    Why not `torch.profiler`: its notes of shapes, which tell a 3 x 3 convolution from a projection,
    break up the memory that a big tensor has just left, so that the next one comes on fresh pages.
    At batch 64 the attention's products took 100 times as long under it.
    """
    clock = _KindClock()
    step = stepper(dynamics)
    step()  # the first step of a batch size is slow
    dynamics.section = clock.section
    with clock:
        for _ in range(CLOCKED_STEPS):
            step()
    total = sum(clock.seconds.values())
    descending = sorted(clock.seconds.items(), key=lambda item: -item[1])
    return {kind: seconds / total for kind, seconds in descending}


class _KindClock(TorchFunctionMode):
    """Times torch's functions while it is active, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.current = ""

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Note in which section of the step functions are called; the innermost one counts."""
        outer, self.current = self.current, name
        yield
        self.current = outer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a torch function and note how long it took."""
        begin = timer()
        result = func(*args, **kwargs or {})
        seconds = timer() - begin
        if self.current in PASSES:
            kind = _kind(func.__name__, [a.shape for a in args if isinstance(a, Tensor)])
        elif self.current in ("dfgym::predict_frame", "dfgym::predict_transition"):
            kind = LABELS[self.current]
        else:
            kind = "outside the network's passes"
        self.seconds[kind] += seconds
        return result


def _kind(name: str, shapes: list[torch.Size]) -> str:
    """Return the kind of a torch function that a pass calls with tensors of these shapes."""
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
