"""The sampler: one frame from noise to clean along a list of levels, its noise injected.

The probability-flow equation of the linear path, `dx/dtau = (D(x, tau) - x) / (1 - tau)` with `D`
the estimate of the clean frame, is solved by a second-order multistep rule: the estimate is
extrapolated through its last two values and the equation then integrated exactly (Adams-Bashforth
in exponential form; compare DPM-Solver++ 2M, Lu et al. 2022). It costs no extra network pass. On a
coin flip of 0.9 to 0.1 four such steps give 0.097 of the rarer outcome where four of Euler's give
0.064 (docs/lab/training.md), which is why it is the rule where `D` is the mean.

Where the network predicts more than the mean, `D` may be drawn from all that it holds possible at
x. Then a step straight toward it is exact at any length: it keeps the noise that, with this `D`,
would have made x, and the two together are a draw from what x leaves open (compare Ho et al. 2020).
An outcome of a mixture is such a draw as far as it leaves no cell open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

Denoise = Callable[[Tensor, float, int], Tensor]


def sample(
    denoise: Denoise, noise: Tensor, levels: Sequence[float], *, first_order: bool = False
) -> Tensor:
    """Denoise from `levels[0]` = 0 to 1.

    Args:
        denoise: `(x, tau, i) -> estimate of the clean x`, the shape of x; `i` counts denoising
            steps.
        noise: the start, standard normal, of any shape.
        levels: rising signal levels in [0, 1), the first 0.
        first_order: take Euler's steps, straight toward each estimate; exact where `denoise`
            returns a sample of the clean x instead of its mean.

    Returns:
        The clean sample.
    """
    x = noise
    before: float | None = None
    previous: Tensor | None = None
    for i, (tau, after) in enumerate(zip(levels, [*levels[1:], 1.0], strict=True)):
        estimate = denoise(x, tau, i)
        x = multistep_update(x, estimate, previous, *multistep_weights(tau, after, before))
        if not first_order:
            before, previous = tau, estimate
    return x


def multistep_weights(tau: float, after: float, before: float | None) -> tuple[float, float, float]:
    """Work out the numbers of one step of the multistep rule.

    Args:
        tau: the level of x.
        after: the level to go to.
        before: the level of the previous estimate; None where there is none.

    Returns:
        The share of x that is kept, the weight of the estimate's slope, and the distance in level
        between the two estimates.
    """
    u0, u1 = 1 - tau, 1 - after
    if before is None:
        return u1 / u0, 0.0, 1.0
    return u1 / u0, u0 - u1 - (u1 * math.log(u0 / u1) if u1 else 0.0), tau - before


def multistep_update(
    x: Tensor,
    estimate: Tensor,
    previous: Tensor | None,
    keep: float | Tensor,
    bend: float | Tensor,
    distance: float | Tensor,
) -> Tensor:
    """Take one step toward an estimate of the clean x, see the module's text.

    Args:
        x: the noisy sample, of any shape.
        estimate: the estimate of the clean x, likewise.
        previous: the estimate at the previous level; None takes Euler's step.
        keep: the share of x that is kept, see `multistep_weights`; a number, or a tensor that
            broadcasts to x.
        bend: the weight of the estimate's slope, likewise.
        distance: the distance in level between the two estimates, likewise.
    """
    step = estimate + (x - estimate) * keep
    return step if previous is None else step + (estimate - previous) / distance * bend
