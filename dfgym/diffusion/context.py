"""How finished frames are shown to the model while the next one is denoised.

| mode | really noised to | told to the model |
|---|---|---|
| `clean` | nothing | clean |
| `told_noisy` | nothing | `context_noise` (Chen et al. 2024, section 3.3: out of distribution) |
| `noised` | `context_noise` | `context_noise` |
| `dynamic` | `context_noise` in the first denoising step, falling to exactly 0 | the same |
| `kept` | as the last denoising step found it, its level the last one before 1 | the same |

`dynamic` is Oasis' dynamic noise augmentation: low frequencies form first and need no detail of
the past, high frequencies form last and must not inherit its noise.

`kept` lets what the last denoising pass left stand (a latent, or keys and values) and runs no
commit pass: one pass of `steps + 1` is saved. Chen et al. 2024, appendix B.6, do it with their
latent and call it stable by itself. Successors never see the finished frame, nor its rounding to
grey levels, but a noisy state of it, rightly told. What is noise there belongs to the very frame
that comes of it, so less of the past is lost than in `noised` at that level. Given frames, which
no denoising pass has seen, are committed clean: most of the past seen in training is, neighbours at
other levels are usual there too, and no detail of a real frame need be hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from dfgym.errors import ConfigError

ContextMode = Literal["clean", "told_noisy", "noised", "dynamic", "kept"]
CONTEXT_MODES: tuple[str, ...] = get_args(ContextMode)
NOISELESS_MODES = ("clean", "kept")
"""Those that no `context_noise` is of effect in."""


class ContextLevel(NamedTuple):
    """The signal levels at which finished frames are shown.

    Attributes:
        applied: the level that they are really noised to.
        stated: the level that the network is conditioned on.
    """

    applied: float
    stated: float


@dataclass(frozen=True)
class ContextPlan:
    """The levels a finished frame is committed at, and which of them each denoising step reads.

    Attributes:
        levels: one for each commit pass. The last commit pass, which reads reward and termination,
            sees the frame as the last denoising step sees its context.
        reads: for each denoising step the index of its level.
        kept: only given frames are committed; of a generated one stays what its last denoising pass
            left, which reads reward and termination too.
    """

    levels: tuple[ContextLevel, ...]
    reads: tuple[int, ...]
    kept: bool = False


def plan_context(mode: str, context_noise: float, denoising_steps: int) -> ContextPlan:
    """Lay out the context of one frame's denoising steps.

    Args:
        mode: one of `CONTEXT_MODES`.
        context_noise: 1 - tau of the context, in [0, 1).
        denoising_steps: how many denoising steps a frame takes.

    Raises:
        ConfigError: an unknown mode, or a context noise outside [0, 1).
    """
    if type(context_noise) not in (int, float) or not 0 <= context_noise < 1:
        raise ConfigError(f"context_noise is {context_noise!r}; allowed is a number in [0, 1)")
    tau = 1 - context_noise
    match mode:
        case "clean" | "kept":
            levels = [(1.0, 1.0)] * denoising_steps
        case "told_noisy":
            levels = [(1.0, tau)] * denoising_steps
        case "noised":
            levels = [(tau, tau)] * denoising_steps
        case "dynamic":
            last = max(denoising_steps - 1, 1)
            noises = [context_noise * (1 - i / last) for i in range(denoising_steps - 1)] + [0.0]
            levels = [(1 - noise, 1 - noise) for noise in noises]
        case _:
            allowed = ", ".join(CONTEXT_MODES)
            raise ConfigError(f"context_mode is {mode!r}; allowed are {allowed}")
    distinct = tuple(ContextLevel(*level) for level in dict.fromkeys(levels))
    reads = tuple(distinct.index(ContextLevel(*level)) for level in levels)
    return ContextPlan(distinct, reads, mode == "kept")
