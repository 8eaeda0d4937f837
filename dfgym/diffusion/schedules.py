"""Scheduling matrices: which frame is denoised when, as data.

A matrix has a column for each frame and a row for each state of a rollout; an entry is the signal
level of the frame after that row. Row 0 is the start: 1 for the context, 0 for the frames to make.
Every schedule here is one lag for each frame: a frame waits as many rows, then takes one denoising
step a row along `levels[0] = 0, ..., levels[steps - 1]` to `levels[steps]` = 1 exactly:

    tau(row, n) = levels[clip(row - lag(n), 0, steps)]

| kind | lag of new frame n of N | frames made together |
|---|---|---|
| `autoregressive` | steps * n | 1 |
| `pyramid` | floor(scale * n) (Chen et al. 2024, section 3.3) | those in flight |
| `fifo` | steps / queue * n: the queue moves up by one frame (Kim et al. 2024) | queue |
| `full_sequence` | 0 | N |
| `trapezoid` | floor(scale * min(n, N - 1 - n)): both ends first | all that have begun |
| `chunked` | steps * floor(n / (window + 1 - k)) | window + 1 - k |
| `hierarchical` | steps * generation(n): key frames, then halves of the gaps | a generation |

A schedule also holds which frames each one may see while it is denoised. A matrix is one block: a
longer rollout is a chain of blocks, with the frames just made as context (`fifo` and
`autoregressive` need no second block). What a schedule costs and how late it reacts is counted from
its matrix, in `dfgym.study.methods.delays`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dfgym.errors import ConfigError

KINDS = "autoregressive | pyramid:SCALE | fifo:QUEUE | full_sequence | trapezoid:SCALE | "
KINDS += "chunked:K | hierarchical:STRIDE"


@dataclass(frozen=True, eq=False)
class Schedule:
    """A scheduling matrix, and which frame sees which.

    Attributes:
        name: the kind and its number, as `parse` reads them.
        context: the number of first frames that are known from the start.
        levels: float64 `(rows + 1, frames)`, the signal level of each frame before the first row
            and after each.
        visible: bool `(frames, frames)`; `visible[i, j]`: frame i may see frame j while i is
            denoised.
    """

    name: str
    context: int
    levels: Tensor
    visible: Tensor

    def moving(self) -> Tensor:
        """Return which frames each row denoises, bool `(rows, frames)`."""
        return self.levels[1:] > self.levels[:-1]

    def read(self) -> Tensor:
        """Return which frames each row's network pass needs, bool `(rows, frames)`.

        They are those that move and what these see. Pure noise carries no information, so frames
        that have not begun are left out.
        """
        moving = self.moving()
        visible = (moving.float() @ self.visible.float()) > 0
        return moving | (visible & (self.levels[:-1] > 0))


def autoregressive(new: int, levels: Sequence[float], *, context: int = 0, window: int) -> Schedule:
    """One frame after the other, each from noise to clean.

    Args:
        new: the number of frames to make.
        levels: rising signal levels in [0, 1), the first 0: see `levels.denoising_levels`.
        context: the number of known frames before them.
        window: the number of past frames that a frame may see.

    Raises:
        ConfigError: a number is out of range (so do all the others).
    """
    lags = [len(levels) * n for n in range(new)]
    return _schedule("autoregressive", lags, levels, context, _near(new + context, window, True))


def pyramid(
    new: int,
    levels: Sequence[float],
    *,
    scale: float,
    context: int = 0,
    window: int,
    causal: bool = True,
) -> Schedule:
    """Each frame `scale` denoising steps behind the one before: the far future stays uncertain.

    `causal` is the network's: whether a frame sees only earlier ones, or later ones too. Where
    frames overlap, a causal network cannot draw from the true joint distribution, however good it
    is (tests/diffusion/test_oracles.py gives the size of the error).
    """
    _allow_scale(scale, levels)
    lags = [math.floor(scale * n) for n in range(new)]
    visible = _near(new + context, window, causal)
    return _schedule(f"pyramid:{scale}", lags, levels, context, visible)


def fifo(
    new: int,
    levels: Sequence[float],
    *,
    queue: int,
    context: int = 0,
    window: int,
    causal: bool = True,
) -> Schedule:
    """A queue on a diagonal: every `steps / queue` rows one frame leaves and one enters.

    The steady state of a pyramid with `scale = steps / queue`; before it the queue fills, after it
    the queue empties.
    """
    divides = type(queue) is int and 1 <= queue <= len(levels) and len(levels) % queue == 0
    allowed = f"a divisor of the {len(levels)} denoising steps"
    _allow(f"fifo's queue is {queue!r}", divides, allowed)
    lags = [len(levels) // queue * n for n in range(new)]
    visible = _near(new + context, window, causal)
    return _schedule(f"fifo:{queue}", lags, levels, context, visible)


def full_sequence(
    new: int, levels: Sequence[float], *, context: int = 0, window: int, causal: bool = True
) -> Schedule:
    """All frames at one shared level."""
    visible = _near(new + context, window, causal)
    return _schedule("full_sequence", [0] * new, levels, context, visible)


def trapezoid(
    new: int, levels: Sequence[float], *, scale: float, context: int = 0, window: int
) -> Schedule:
    """Both ends first, the middle last; not causal."""
    _allow_scale(scale, levels)
    lags = [math.floor(scale * min(n, new - 1 - n)) for n in range(new)]
    visible = _near(new + context, window, False)
    return _schedule(f"trapezoid:{scale}", lags, levels, context, visible)


def chunked(
    new: int,
    levels: Sequence[float],
    *,
    k: int,
    context: int = 0,
    window: int,
    causal: bool = True,
) -> Schedule:
    """The last `k` frames are the context of the next `f - k`, of a window of `f = window + 1`.

    With `k = f - 1` it is autoregressive.
    """
    allowed = f"an int from 1 to {window}, below the window's {window + 1} frames"
    _allow(f"chunked's k is {k!r}", type(k) is int and 1 <= k <= window, allowed)
    size = window + 1 - k
    index = torch.arange(new + context)
    start = context + (index - context).div(size, rounding_mode="floor") * size
    visible = (index >= start[:, None] - k) & (index < start[:, None] + size)
    if causal:
        visible = visible & (index <= index[:, None])
    lags = [len(levels) * (n // size) for n in range(new)]
    return _schedule(f"chunked:{k}", lags, levels, context, visible)


def hierarchical(
    new: int, levels: Sequence[float], *, stride: int, context: int = 0, window: int
) -> Schedule:
    """Every `stride`-th frame first, then the middles of the gaps, and so on; not causal.

    Each generation is a video at a slower rate: of the frames that lie on its grid it sees the
    `window // 2` nearest on either side, context included.
    """
    power = type(stride) is int and 2 <= stride <= new and stride.bit_count() == 1
    allowed = f"a power of two from 2 to the {new} new frames"
    _allow(f"hierarchical's stride is {stride!r}", power, allowed)
    _allow(f"the window is {window!r} and the schedule hierarchical", window >= 2, "2 or more")
    position = torch.arange(new + context) - context + 1  # the last known frame is at 0
    gap = torch.full_like(position, stride)
    while bool((off := position % gap != 0).any()):
        gap[off] //= 2
    on_grid = position % gap[:, None] == 0
    visible = on_grid & ((position - position[:, None]).abs() <= window // 2 * gap[:, None])
    gaps = gap[context:].tolist()
    lags = [len(levels) * (stride.bit_length() - step.bit_length()) for step in gaps]
    return _schedule(f"hierarchical:{stride}", lags, levels, context, visible)


def parse(
    name: str,
    new: int,
    levels: Sequence[float],
    *,
    context: int = 0,
    window: int,
    causal: bool = True,
) -> Schedule:
    """Build the schedule that a setting names, as `pyramid:0.5`.

    Raises:
        ConfigError: no such kind, or its number is missing, too much or out of range; or it lets
            frames see later ones and `causal` forbids that.
    """
    kind, _, number = name.partition(":") if isinstance(name, str) else ("", "", "")
    common = {"context": context, "window": window}
    try:
        match kind, number:
            case "autoregressive", "":
                return autoregressive(new, levels, **common)
            case "full_sequence", "":
                return full_sequence(new, levels, **common, causal=causal)
            case "pyramid", _:
                return pyramid(new, levels, scale=float(number), **common, causal=causal)
            case "fifo", _:
                return fifo(new, levels, queue=int(number), **common, causal=causal)
            case "chunked", _:
                return chunked(new, levels, k=int(number), **common, causal=causal)
            case "trapezoid", _:
                schedule = trapezoid(new, levels, scale=float(number), **common)
            case "hierarchical", _:
                schedule = hierarchical(new, levels, stride=int(number), **common)
            case _:
                raise ValueError
    except ConfigError:
        raise
    except ValueError:
        raise ConfigError(f"schedule is {name!r}; allowed are {KINDS}") from None
    _allow(f"schedule is {name!r}, which needs a model that sees later frames", not causal, KINDS)
    return schedule


def _allow(value: str, is_allowed: bool, allowed: str) -> None:
    """Raise an error that names the value and what is allowed, unless it is."""
    if not is_allowed:
        raise ConfigError(f"{value}; allowed is {allowed}")


def _allow_scale(scale: float, levels: Sequence[float]) -> None:
    """Allow no more than all denoising steps: a larger scale would only wait."""
    allowed = f"a number from 0 to the {len(levels)} denoising steps"
    _allow(f"the schedule's scale is {scale!r}", 0 <= scale <= len(levels), allowed)


def _near(frames: int, window: int, causal: bool) -> Tensor:
    _allow(f"the window is {window!r}", type(window) is int and window >= 1, "an int from 1 up")
    index = torch.arange(frames)
    age = index[:, None] - index
    return (age <= window) & (age >= (0 if causal else -window))


def _schedule(
    name: str, lags: Sequence[int], levels: Sequence[float], context: int, visible: Tensor
) -> Schedule:
    """The matrix of these lags."""
    _allow("the schedule has no new frame", len(lags) > 0, "1 or more")
    steps = len(levels)
    path = torch.tensor([*levels, 1.0], dtype=torch.float64)
    assert path[0] == 0 and bool((path.diff() > 0).all()), "levels rise from 0 and stay below 1"
    rows = torch.arange(steps + max(lags) + 1)
    new = path[(rows[:, None] - torch.tensor(lags)).clamp(0, steps)]
    clean = torch.ones(len(rows), context, dtype=torch.float64)
    return Schedule(name, context, torch.cat((clean, new), 1), visible)
