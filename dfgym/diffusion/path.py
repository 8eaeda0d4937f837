"""The noise path: a straight line from noise (tau = 0) to a clean frame (tau = 1).

Legend: b batch, t frames, h w c one frame. Flow matching's linear path (Lipman et al. 2023), with
one level for each frame as diffusion forcing asks (Chen et al. 2024, section 3.1).
"""

from __future__ import annotations

from torch import Tensor


def interpolate(clean: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
    """Noise frames to their levels: `x_tau = tau * x + (1 - tau) * eps`.

    Args:
        clean: `(b, t, h, w, c)`, or any shape that begins with tau's.
        noise: like `clean`, standard normal.
        tau: `(b, t)`, signal levels in [0, 1].
    """
    tau = tau.reshape(tau.shape + (1,) * (clean.dim() - tau.dim()))
    return tau * clean + (1 - tau) * noise
