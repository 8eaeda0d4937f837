"""How open the future is, and actions for a future that is open: entropy, and coupled draws.

Where a frame is still noise while the action that leads to the next one is chosen (a pyramid of
noise levels), that action is chosen again as the frame becomes clear. Drawn anew each time it would
change though its probabilities had not, and what was denoised by the old one would be of no use. So
all draws of an action share their chance: it changes as seldom as its probabilities allow.

Legend: b rows, h steps ahead, a actions.
"""

from __future__ import annotations

import numpy as np

from dfgym.errors import ConfigError
from dfgym.world.dynamics import Dynamics


def future_entropy(dynamics: Dynamics, plan: np.ndarray) -> np.ndarray:
    """Measure how open each step of a plan is, by the rows of a dream that stand at one moment.

    By the chain rule the entropy of the whole future is the sum of what each frame adds, given
    those before it, on the mean over these; so `cumsum` of the answer is the entropy of the frames
    up to each step. After an episode's end nothing is open.

    Args:
        dynamics: the more rows, the better the mean; they move on.
        plan: h actions, which all rows take.

    Returns:
        float64 `(h,)`, in nats.

    Raises:
        ConfigError: the world tells no outcomes apart, whose entropy is not known.
    """
    entropies, alive = np.zeros(len(plan)), np.ones(dynamics.num_rows, bool)
    for step, action in enumerate(plan):
        transition = dynamics.step(np.repeat(np.asarray(action)[None], dynamics.num_rows, 0))
        if transition.outcome_entropy is None:
            raise ConfigError(
                f"{dynamics.world.card.name} tells no outcomes apart, so that the entropy of its "
                "futures is not known; take a world of model.mixture above 1 and one denoising step"
            )
        entropies[step] = (alive * transition.outcome_entropy).mean()
        alive &= ~transition.terminated
    return entropies


def couple(probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Draw actions so that those of other probabilities and the same uniforms are mostly the same.

    Action i is taken, unless one before it was, where its uniform is under the probability that it
    is i if it is none of those before (its hazard). So a draw has exactly these probabilities, and
    a change of them changes it only where a hazard moves past its uniform.

    Args:
        probabilities: `(..., a)`, which sum to 1.
        uniforms: in [0, 1), of that shape: the chance that all draws share.

    Returns:
        int64 `(...)`.
    """
    left = np.maximum(1 - np.cumsum(probabilities, -1) + probabilities, 1e-12)
    hazards = np.minimum(probabilities / left, 1.0)
    hazards[..., -1] = 1.0
    return np.asarray((uniforms < hazards).argmax(-1))
